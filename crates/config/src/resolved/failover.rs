//! Retries, bodies that are kept, hedges.

use std::path::Path;
use std::time::Duration;

use tidegate_core::plan::{
    Backoff, BodyPolicy, Hedge, HedgeAfter, HedgeTo, ReplayLimits, ReplayScope, Resume, RetryOn,
    RetryPolicy, UnknownOutcome,
};

use super::{duration, off_or, path, percent, size};
use crate::compile::percentile_word;
use crate::emit::Doc;
use crate::grpc;

/// A limit of time that may be off.
pub(super) fn limit(limit: Option<Duration>) -> Doc<'static> {
    limit.map_or(Doc::word("off"), duration)
}

/// Retries of an upstream whose routes have timeouts from `shortest` on. A limit of an attempt above
/// one of them can only be the default, and would be refused if it were written.
pub(super) fn retry(retry: &RetryPolicy, shortest: Duration) -> Doc<'static> {
    let per_try = (retry.per_try <= Some(shortest)).then(|| limit(retry.per_try));
    let unknown = match retry.on_unknown_outcome {
        UnknownOutcome::Wait => "wait",
        UnknownOutcome::Fail => "fail",
    };
    Doc::map([
        ("attempts", Some(Doc::plain(retry.attempts))),
        ("on", Some(retry_on(&retry.on))),
        ("per_try", per_try),
        ("first_byte", Some(limit(retry.first_byte))),
        ("backoff", Some(backoff(&retry.backoff))),
        ("budget", Some(percent(retry.budget))),
        (
            "cross_region_budget",
            Some(percent(retry.cross_region_budget)),
        ),
        ("on_unknown_outcome", Some(Doc::word(unknown))),
    ])
}

fn retry_on(on: &RetryOn) -> Doc<'static> {
    let failures = [
        (on.connect, "connect"),
        (on.reset, "reset"),
        (on.timeout, "timeout"),
        (on.bad_response, "bad_response"),
    ];
    let listed = failures.into_iter().filter(|(listed, _)| *listed);
    let words = listed.map(|(_, word)| Doc::word(word));
    let statuses = on.statuses.iter().map(Doc::plain);
    let codes = on.grpc.iter().filter_map(|code| grpc::word(*code));
    let codes = codes.map(Doc::plain);
    Doc::List(words.chain(statuses).chain(codes).collect())
}

fn backoff(backoff: &Backoff) -> Doc<'static> {
    Doc::map([
        ("base", Some(duration(backoff.base))),
        ("max", Some(duration(backoff.max))),
    ])
}

pub(super) fn body(body: &BodyPolicy) -> Doc<'static> {
    Doc::map([
        ("replay", Some(size_or_off(body.replay_bytes))),
        ("spool", Some(size_or_off(body.spool_bytes))),
        ("gather", Some(size_or_off(body.gather_bytes))),
        ("max", Some(body.max_bytes.map_or(Doc::word("off"), size))),
    ])
}

pub(super) fn replay(limits: &ReplayLimits, base: &Path) -> Doc<'static> {
    Doc::map([
        ("memory", Some(size_or_off(limits.memory_bytes))),
        ("spool", Some(size_or_off(limits.spool_bytes))),
        ("spool_dir", Some(path(&limits.spool_dir, base))),
    ])
}

fn size_or_off(bytes: u64) -> Doc<'static> {
    match bytes {
        0 => Doc::word("off"),
        bytes => size(bytes),
    }
}

pub(super) fn replay_scope(scope: ReplayScope) -> Doc<'static> {
    Doc::word(match scope {
        ReplayScope::Auto => "auto",
        ReplayScope::Region => "region",
        ReplayScope::Global => "global",
    })
}

pub(super) fn resume(resume: &Resume) -> Doc<'static> {
    Doc::word(if resume.enabled { "auto" } else { "off" })
}

pub(super) fn validators(resume: &Resume) -> Doc<'static> {
    let global = resume.last_modified;
    Doc::word(if global { "global" } else { "etag" })
}

pub(super) fn hedge(hedge: Option<&Hedge>) -> Doc<'static> {
    off_or(hedge, |hedge| {
        let after = match hedge.after {
            HedgeAfter::Fixed(after) => duration(after),
            HedgeAfter::Percentile(share) => Doc::plain(percentile_word(share)),
        };
        let to = match hedge.to {
            HedgeTo::Endpoint => "endpoint",
            HedgeTo::Region => "region",
        };
        Doc::map([
            ("after", Some(after)),
            ("budget", Some(percent(hedge.budget))),
            ("to", Some(Doc::word(to))),
        ])
    })
}
