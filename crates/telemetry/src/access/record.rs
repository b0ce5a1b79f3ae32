//! What one line of the access log tells.
//!
//! A record borrows everything: it is built on the stack when a request ends. The query of the
//! target is left out on purpose, as are header fields: they carry what users type.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use tidegate_core::decision::{Because, Exclusion};
use tidegate_core::retry::Phase;
use tidegate_core::{Generation, Termination};

use super::connection::ConnectionWords;
use super::json::{Json, key, text, word};
use super::time::Stamp;
use crate::labels::{AttemptOutcome, FaultKind, HedgeCause, Label, ReplayLost};

/// Bytes of a path that are logged.
const MAX_PATH: usize = 2_048;
/// Bytes of a host, a method, a request id and any other text that are logged.
pub(super) const MAX_TEXT: usize = 256;
/// Attempts that are logged. Policy allows 16.
const MAX_ATTEMPTS: usize = 32;

/// One request that ended.
#[derive(Clone, Debug)]
pub struct AccessRecord<'a> {
    /// When its head had arrived.
    pub at: SystemTime,
    /// The request id, as in `x-request-id`.
    pub id: &'a [u8],
    /// The connection that it came by.
    pub connection: &'a ConnectionWords,
    /// `http/1.1` or `h2`. A word of ours.
    pub protocol: &'a str,
    /// Method, as the client wrote it.
    pub method: &'a str,
    /// Host, as the client wrote it. Empty: none.
    pub host: &'a [u8],
    /// Path without query, as the client wrote it.
    pub path: &'a [u8],
    /// What its route did besides sending it on.
    pub acts: Acts<'a>,
    /// The route that matched.
    pub route: Option<&'a str>,
    /// The route's upstream.
    pub upstream: Option<&'a str>,
    /// The plan that decided.
    pub generation: Generation,
    /// The status that the client got; none if it got no answer.
    pub status: Option<StatusCode>,
    /// Why the request ended.
    pub reason: Termination,
    /// Bytes of the request's body that were read.
    pub bytes_in: u64,
    /// Bytes of the answer's body that were sent.
    pub bytes_out: u64,
    /// From the request's head to the end of its answer.
    pub duration: Duration,
    /// From the request's head to the first byte of the final answer's head; none without one.
    pub ttfb: Option<Duration>,
    /// Whether it was answered because of a later attempt.
    pub rescued: bool,
    /// What was done to save it, or kept it from being saved.
    pub saving: Saving<'a>,
    /// Every attempt, in order.
    pub attempts: &'a [AttemptRecord<'a>],
    /// The regions that were not eligible for the last decision, with the reason.
    pub excluded: &'a [Excluded<'a>],
}

/// What a route did to a request besides sending it on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Acts<'a> {
    /// The path without query that upstreams got, if it is another than the client's.
    pub rewritten: Option<&'a [u8]>,
    /// Whether a delay was injected.
    pub delayed: bool,
    /// Whether an error was injected.
    pub aborted: bool,
}

/// What was done to save a request, and what kept it from being saved.
#[derive(Clone, Copy, Debug, Default)]
pub struct Saving<'a> {
    /// Why its body was no longer kept, if so.
    pub replay_lost: Option<ReplayLost>,
    /// Whether its body was read whole before it was sent.
    pub gathered: bool,
    /// How often its answer was continued after it had broken.
    pub resumes: u8,
    /// Why no other attempt was made after the last that failed. A word of ours.
    pub why_not: Option<&'a str>,
}

/// TLS of the client's connection.
#[derive(Clone, Copy, Debug)]
pub struct TlsRecord<'a> {
    /// The name that the client asked for.
    pub sni: Option<&'a str>,
    /// The protocol that was agreed on.
    pub alpn: Option<&'a str>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'a str,
}

/// One attempt.
#[derive(Clone, Copy, Debug)]
pub struct AttemptRecord<'a> {
    /// Region.
    pub region: &'a str,
    /// `host:port`.
    pub endpoint: &'a str,
    /// Why the region was chosen.
    pub because: Because,
    /// How far it got.
    pub phase: Phase,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// The status of its head, if one came.
    pub status: Option<StatusCode>,
    /// Time to open its connection; none on a kept one, or before there was one.
    pub connect: Option<Duration>,
    /// Whether it used a kept connection.
    pub reused: bool,
    /// From its start to its head, or to its failure.
    pub took: Duration,
    /// The code of gRPC that it failed with, if so.
    pub grpc: Option<u8>,
    /// Why it was made beside another, if so.
    pub hedge: Option<HedgeCause>,
    /// Whether it was made to continue an answer that broke.
    pub resume: bool,
    /// Bytes of the answer's body that came from it, if not all did.
    pub bytes: Option<u64>,
    /// What a person needs to know of its failure.
    pub detail: Option<&'a str>,
}

/// A region that was not eligible.
#[derive(Clone, Copy, Debug)]
pub struct Excluded<'a> {
    /// Region.
    pub region: &'a str,
    /// Why not.
    pub why: Exclusion,
}

impl AccessRecord<'_> {
    /// Appends the record to `line` as one JSON object and a line feed.
    pub(super) fn append(&self, line: &mut Vec<u8>, stamp: &mut Stamp) {
        Json::new(line).object(|json| {
            word!(json, "ts", stamp.format(self.at));
            text!(json, "id", self.id, MAX_TEXT);
            self.connection.append(self.protocol, json);
            self.append_request(json);
            self.append_answer(json);
            key!(json, "attempts").array(|json| {
                self.attempts
                    .iter()
                    .take(MAX_ATTEMPTS)
                    .for_each(|attempt| attempt.append(json));
            });
            self.append_excluded(json);
        });
        line.push(b'\n');
    }

    fn append_request(&self, json: &mut Json<'_>) {
        text!(json, "method", self.method, MAX_TEXT);
        text!(json, "host", self.host, MAX_TEXT);
        text!(json, "path", without_query(self.path), MAX_PATH);
        self.acts.append(json);
        if let Some(route) = self.route {
            text!(json, "route", route, MAX_TEXT);
        }
        if let Some(upstream) = self.upstream {
            text!(json, "upstream", upstream, MAX_TEXT);
        }
        key!(json, "generation").number(self.generation.0);
    }

    fn append_answer(&self, json: &mut Json<'_>) {
        if let Some(status) = self.status {
            key!(json, "status").number(status.as_u16().into());
        }
        word!(json, "reason", self.reason.as_str());
        key!(json, "bytes_in").number(self.bytes_in);
        key!(json, "bytes_out").number(self.bytes_out);
        key!(json, "duration_us").number(micros(self.duration));
        if let Some(ttfb) = self.ttfb {
            key!(json, "ttfb_us").number(micros(ttfb));
        }
        key!(json, "rescued").boolean(self.rescued);
        self.saving.append(json);
    }

    fn append_excluded(&self, json: &mut Json<'_>) {
        if self.excluded.is_empty() {
            return;
        }
        key!(json, "excluded").array(|json| {
            for excluded in self.excluded {
                json.object(|json| {
                    text!(json, "region", excluded.region, MAX_TEXT);
                    word!(json, "why", excluded.why.as_str());
                });
            }
        });
    }
}

impl Acts<'_> {
    fn append(&self, json: &mut Json<'_>) {
        if let Some(path) = self.rewritten {
            text!(json, "rewritten", without_query(path), MAX_PATH);
        }
        if !self.delayed && !self.aborted {
            return;
        }
        key!(json, "faults").array(|json| {
            for (injected, kind) in [
                (self.delayed, FaultKind::Delay),
                (self.aborted, FaultKind::Abort),
            ] {
                if injected {
                    json.word(kind.word());
                }
            }
        });
    }
}

impl Saving<'_> {
    fn append(&self, json: &mut Json<'_>) {
        if self.resumes > 0 {
            key!(json, "resumes").number(self.resumes.into());
        }
        if self.gathered {
            key!(json, "gathered").boolean(true);
        }
        if let Some(why) = self.replay_lost {
            let word = match why {
                ReplayLost::RequestLimit => "lost:request_limit",
                ReplayLost::TotalLimit => "lost:total_limit",
                ReplayLost::SpoolFailed => "lost:spool_failed",
            };
            word!(json, "replay", word);
        }
        if let Some(why) = self.why_not {
            word!(json, "why_not", why);
        }
    }
}

impl AttemptRecord<'_> {
    fn append(&self, json: &mut Json<'_>) {
        json.object(|json| {
            text!(json, "region", self.region, MAX_TEXT);
            text!(json, "endpoint", self.endpoint, MAX_TEXT);
            word!(json, "because", self.because.as_str());
            word!(json, "phase", self.phase.word());
            word!(json, "outcome", self.outcome.word());
            if let Some(status) = self.status {
                key!(json, "status").number(status.as_u16().into());
            }
            if let Some(connect) = self.connect {
                key!(json, "connect_us").number(micros(connect));
            }
            key!(json, "reused").boolean(self.reused);
            key!(json, "us").number(micros(self.took));
            self.append_rare(json);
        });
    }

    /// What attempts that went well do not have.
    fn append_rare(&self, json: &mut Json<'_>) {
        if let Some(cause) = self.hedge {
            word!(json, "hedge", cause.word());
        }
        if self.resume {
            key!(json, "resume").boolean(true);
        }
        if let Some(bytes) = self.bytes {
            key!(json, "bytes").number(bytes);
        }
        if let Some(code) = self.grpc {
            key!(json, "grpc").number(code.into());
        }
        if let Some(detail) = self.detail {
            text!(json, "detail", detail, MAX_TEXT);
        }
    }
}

/// The promise that no query is logged does not depend on the caller.
fn without_query(path: &[u8]) -> &[u8] {
    memchr::memchr2(b'?', b'#', path).map_or(path, |end| &path[..end])
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
