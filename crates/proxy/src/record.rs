//! What only the access log wants of a request. Kept apart, so that it costs nothing while the log
//! is off.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use smallvec::SmallVec;
use tidegate_core::choose::MAX_ATTEMPTS;
use tidegate_core::{Decision, Termination};
use tidegate_telemetry::access::{AccessRecord, Acts, AttemptRecord, Excluded, Saving, TlsRecord};
use tidegate_telemetry::labels::{AttemptOutcome, FaultKind, ReplayLost};

use crate::context::Context;
use crate::finish::{Made, Try};
use crate::head::RequestHead;
use crate::held::{HeldRoute, HeldUpstream};
use crate::request_id::RequestId;

/// Longest path and query that is kept.
const TARGET_LIMIT: usize = 2048;

/// The words of a request's head, and its last decision.
pub(crate) struct Record {
    at: SystemTime,
    id: RequestId,
    protocol: &'static str,
    method: http::Method,
    host: Box<str>,
    path: Box<str>,
    decision: Decision,
    replay_lost: Option<ReplayLost>,
    gathered: bool,
    /// The path that upstreams got, if it is another.
    rewritten: Option<Box<str>>,
    delayed: bool,
    aborted: bool,
}

/// How the request ended.
pub(crate) struct Ended<'a> {
    pub(crate) route: Option<&'a HeldRoute>,
    pub(crate) upstream: Option<&'a HeldUpstream>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) reason: Termination,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) took: Duration,
    pub(crate) first_byte: Option<Duration>,
    pub(crate) rescued: bool,
    pub(crate) resumes: u8,
    pub(crate) why_not: Option<&'static str>,
    pub(crate) tries: &'a [Try],
}

/// The path of a target, as far as it is kept.
fn path_of(target: &str) -> &str {
    let path = target.split('?').next().unwrap_or_default();
    path.get(..TARGET_LIMIT).unwrap_or(path)
}

impl Record {
    /// The record of a request with this head.
    pub(crate) fn of(head: &RequestHead, id: &RequestId) -> Self {
        let path = path_of(head.path_and_query());
        Self {
            protocol: match head.version() {
                http::Version::HTTP_2 => "h2",
                http::Version::HTTP_10 => "http/1.0",
                _ => "http/1.1",
            },
            method: head.method().clone(),
            host: head.authority().into(),
            path: path.into(),
            ..Self::unparsed(id)
        }
    }

    /// The record of something that was no request.
    pub(crate) fn unparsed(id: &RequestId) -> Self {
        Self {
            at: SystemTime::now(),
            id: id.clone(),
            protocol: "http/1.1",
            method: http::Method::default(),
            host: "".into(),
            path: "".into(),
            decision: Decision::default(),
            replay_lost: None,
            gathered: false,
            rewritten: None,
            delayed: false,
            aborted: false,
        }
    }

    /// A decision fell; the last one is logged.
    pub(crate) fn decided(&mut self, decision: &Decision) {
        self.decision = decision.clone();
    }

    /// The request's body is no longer kept.
    pub(crate) fn replay_lost(&mut self, why: ReplayLost) {
        self.replay_lost = Some(why);
    }

    /// The request's body was read whole before it was sent.
    pub(crate) fn gathered(&mut self) {
        self.gathered = true;
    }

    /// Upstreams get another path and query.
    pub(crate) fn rewritten(&mut self, target: &str) {
        self.rewritten = Some(path_of(target).into());
    }

    /// A fault was injected.
    pub(crate) fn injected(&mut self, kind: FaultKind) {
        match kind {
            FaultKind::Delay => self.delayed = true,
            FaultKind::Abort => self.aborted = true,
        }
    }

    /// Writes the line.
    pub(crate) fn write(&self, context: &Context, ended: &Ended<'_>) {
        let attempts: SmallVec<[AttemptRecord<'_>; MAX_ATTEMPTS]> = ended
            .tries
            .iter()
            .map(|tried| attempt(tried, ended))
            .collect();
        let excluded = self.excluded(ended);
        let facts = &context.facts;
        context.worker.access.borrow_mut().write(&AccessRecord {
            at: self.at,
            id: self.id.as_str(),
            client: context.client(),
            listener: &facts.listener,
            protocol: self.protocol,
            tls: facts.tls.as_ref().map(|tls| TlsRecord {
                sni: tls.sni.as_deref(),
                alpn: tls.alpn,
                version: tls.version,
            }),
            method: self.method.as_str(),
            host: self.host.as_bytes(),
            path: self.path.as_bytes(),
            acts: Acts {
                rewritten: self.rewritten.as_deref().map(str::as_bytes),
                delayed: self.delayed,
                aborted: self.aborted,
            },
            route: ended.route.map(|held| &*held.route.name),
            upstream: ended.upstream.map(|held| &*held.wanted.name),
            generation: ended.route.map(|held| held.generation).unwrap_or_default(),
            status: ended.status,
            reason: ended.reason,
            bytes_in: ended.received,
            bytes_out: ended.sent,
            duration: ended.took,
            ttfb: ended.first_byte,
            rescued: ended.rescued,
            saving: Saving {
                replay_lost: self.replay_lost,
                gathered: self.gathered,
                resumes: ended.resumes,
                why_not: ended.why_not,
            },
            attempts: &attempts,
            excluded: &excluded,
        });
    }

    fn excluded<'a>(&self, ended: &Ended<'a>) -> Vec<Excluded<'a>> {
        let Some(route) = ended.route else {
            return Vec::new();
        };
        let named = self.decision.excluded.iter().map(|excluded| Excluded {
            region: route.region(excluded.region),
            why: excluded.why,
        });
        named.collect()
    }
}

fn attempt<'a>(attempt: &'a Try, ended: &Ended<'a>) -> AttemptRecord<'a> {
    let region = |route: &'a HeldRoute| &**route.region(attempt.place.region);
    AttemptRecord {
        region: ended.route.map(region).unwrap_or_default(),
        endpoint: &attempt.endpoint,
        because: attempt.place.because,
        phase: attempt.phase,
        outcome: attempt.outcome.unwrap_or(AttemptOutcome::Abandoned),
        status: attempt.status,
        connect: attempt.connect,
        reused: attempt.reused,
        took: attempt.took(),
        grpc: attempt.grpc,
        hedge: match attempt.made {
            Made::Beside(cause) => Some(cause),
            Made::Alone | Made::ToResume => None,
        },
        resume: attempt.made == Made::ToResume,
        bytes: attempt.bytes,
        detail: attempt.detail.as_deref(),
    }
}
