//! What only the access log wants of a request. Kept apart, so that it costs nothing while the log
//! is off.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use smallvec::SmallVec;
use tidegate_core::{Decision, Termination, decision};
use tidegate_telemetry::access::{AccessRecord, Acts, AttemptRecord, Excluded, Saving};
use tidegate_telemetry::labels::{AttemptOutcome, FaultKind, ReplayLost};

use crate::context::Context;
use crate::finish::{Made, Try};
use crate::head::RequestHead;
use crate::held::{HeldRoute, HeldUpstream};
use crate::request_id::RequestId;

/// Attempts that find room on the stack: more than few requests make, and not so many that moving them
/// costs every request.
const USUAL_ATTEMPTS: usize = 2;

/// Longest path that is kept.
const TARGET_LIMIT: usize = 2048;

/// The words of a request's head, and what its last decision left out.
pub(crate) struct Record {
    at: SystemTime,
    protocol: &'static str,
    method: http::Method,
    /// Host, then path without query: one piece of memory for both.
    host_and_path: Box<[u8]>,
    host_length: usize,
    /// The regions that were not eligible for the last decision.
    excluded: Vec<decision::Excluded>,
    replay_lost: Option<ReplayLost>,
    gathered: bool,
    /// The path that upstreams got, if it is another.
    rewritten: Option<Box<[u8]>>,
    delayed: bool,
    aborted: bool,
}

/// How the request ended.
pub(crate) struct Ended<'a> {
    pub(crate) id: &'a RequestId,
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

/// A path as far as it is kept. A letter that the limit would part keeps one byte more: so the log, which
/// writes no more than the limit, marks the cut.
fn kept(path: &[u8]) -> &[u8] {
    let continues = |byte: u8| byte & 0xC0 == 0x80;
    match path.get(TARGET_LIMIT) {
        None => path,
        Some(next) if continues(*next) => &path[..=TARGET_LIMIT],
        Some(_) => &path[..TARGET_LIMIT],
    }
}

impl Record {
    /// The record of a request with this head.
    pub(crate) fn of(head: &RequestHead) -> Self {
        let host = head.authority().as_bytes();
        Self {
            protocol: match head.version() {
                http::Version::HTTP_2 => "h2",
                http::Version::HTTP_10 => "http/1.0",
                _ => "http/1.1",
            },
            method: head.method().clone(),
            host_and_path: [host, kept(head.path_bytes())].concat().into(),
            host_length: host.len(),
            ..Self::unparsed()
        }
    }

    /// The record of something that was no request.
    pub(crate) fn unparsed() -> Self {
        Self {
            at: SystemTime::now(),
            protocol: "http/1.1",
            method: http::Method::default(),
            host_and_path: Box::default(),
            host_length: 0,
            excluded: Vec::new(),
            replay_lost: None,
            gathered: false,
            rewritten: None,
            delayed: false,
            aborted: false,
        }
    }

    /// A decision fell; the last one is logged.
    pub(crate) fn decided(&mut self, decision: &Decision) {
        self.excluded.clear();
        self.excluded.extend_from_slice(&decision.excluded);
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
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        self.rewritten = Some(kept(path.as_bytes()).into());
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
        let attempts: SmallVec<[AttemptRecord<'_>; USUAL_ATTEMPTS]> = ended
            .tries
            .iter()
            .map(|tried| attempt(tried, ended))
            .collect();
        let excluded = self.excluded(ended);
        let (host, path) = self.host_and_path.split_at(self.host_length);
        context.worker.access.borrow_mut().write(&AccessRecord {
            at: self.at,
            id: ended.id.as_bytes(),
            connection: context.log_words(),
            protocol: self.protocol,
            method: self.method.as_str(),
            host,
            path,
            acts: Acts {
                rewritten: self.rewritten.as_deref(),
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
        let named = self.excluded.iter().map(|excluded| Excluded {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_kept_up_to_the_limit_and_a_byte_more_of_a_parted_letter() {
        let check = |path: &str, length| assert_eq!(kept(path.as_bytes()).len(), length);
        check("", 0);
        check("/a", 2);
        let full = "a".repeat(TARGET_LIMIT);
        check(&full, TARGET_LIMIT);
        check(&(full.clone() + "bc"), TARGET_LIMIT);
        check(&(full.clone() + "é"), TARGET_LIMIT);
        check(&(full[1..].to_owned() + "éé"), TARGET_LIMIT + 1);
        check(&(full[1..].to_owned() + "a"), TARGET_LIMIT);
    }
}
