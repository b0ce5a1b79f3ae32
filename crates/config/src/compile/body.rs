//! What is kept of request bodies, so that they can be sent again: of each request by its upstream,
//! and of all requests together. What one request is promised and all together do not have is told.

use tidegate_core::plan::{BodyPolicy, ReplayLimits};

use crate::compile::Context;
use crate::defaults;
use crate::problem::Problem;
use crate::raw;
use crate::span::Span;
use crate::units::show_size;
use crate::yaml::Field;

/// Most of one body that may be kept in memory, in bytes: 1 GiB.
const REPLAY_MAX: u64 = 1 << 30;

/// Largest limit of a body, and most of it that may be kept on disk, in bytes: 1 TiB.
const BODY_MAX: u64 = 1 << 40;

/// Most that all together may keep in one store, in bytes: 16 TiB.
const TOTAL_MAX: u64 = 1 << 44;

/// What all requests together may keep, and where that is written.
pub(crate) struct Totals {
    pub(crate) limits: ReplayLimits,
    memory: Option<Span>,
    spool: Option<Span>,
}

/// Where bodies are kept: the key of an upstream, and what all of them share.
struct Store {
    key: &'static str,
    only_with: &'static str,
    total: u64,
    span: Option<Span>,
}

/// Compiles what all requests together may keep.
pub(crate) fn totals(cx: &mut Context<'_>, field: &Field<raw::Replay>) -> Totals {
    let default = raw::Replay::default();
    let raw = field.get().unwrap_or(&default);
    let memory_bytes = cx.size_or_off(&raw.memory, TOTAL_MAX, defaults::REPLAY_MEMORY);
    let spool_bytes = cx.size_or_off(&raw.spool, TOTAL_MAX, defaults::REPLAY_SPOOL);
    let spool_dir = cx.directory(&raw.spool_dir, defaults::SPOOL_DIR, spool_bytes > 0);
    Totals {
        limits: ReplayLimits {
            memory_bytes,
            spool_bytes,
            spool_dir: spool_dir.into(),
        },
        memory: raw.memory.span(),
        spool: raw.spool.span(),
    }
}

/// Compiles what an upstream keeps of each body.
pub(crate) fn compile(cx: &mut Context<'_>, raw: &raw::Body, totals: &Totals) -> BodyPolicy {
    let (memory, spool) = totals.stores();
    let replay_bytes = kept(cx, &raw.replay, REPLAY_MAX, defaults::REPLAY, &memory);
    let spool_bytes = kept(cx, &raw.spool, BODY_MAX, defaults::SPOOL, &spool);
    let unlimited = raw.max.get().is_none_or(|text| text.as_ref() == "off");
    let max_bytes = match unlimited {
        true => None,
        false => cx.size(&raw.max, 0..=BODY_MAX),
    };
    let policy = BodyPolicy {
        replay_bytes,
        spool_bytes,
        gather_bytes: cx.size_or_off(&raw.gather, BODY_MAX, "off"),
        max_bytes,
    };
    check_gather(cx, raw, &policy, &totals.limits);
    policy
}

impl Totals {
    fn stores(&self) -> (Store, Store) {
        let memory = Store {
            key: "replay",
            only_with: "`memory` of the top-level `replay` above 0",
            total: self.limits.memory_bytes,
            span: self.memory,
        };
        let spool = Store {
            key: "spool",
            only_with: "`spool` of the top-level `replay` above 0",
            total: self.limits.spool_bytes,
            span: self.spool,
        };
        (memory, spool)
    }
}

/// Bytes of one body in a store; none where all together have none.
fn kept(
    cx: &mut Context<'_>,
    field: &Field<raw::OffOrSize>,
    max: u64,
    default: &str,
    store: &Store,
) -> u64 {
    let bytes = cx.size_or_off(field, max, default);
    if store.total == 0 && bytes > 0 {
        cx.unused_if_given(field.span(), store.key, store.only_with);
        return 0;
    }
    if bytes > store.total && !field.is_absent() {
        let (key, total) = (store.key, show_size(store.total));
        let message = format!("`{key}` is above what all requests together may keep ({total})");
        let problem = Problem::warning("unreachable_limit", message).at(field.span());
        let help = "it is never reached; lower it, or raise the total under `replay`";
        cx.report(
            problem
                .label(store.span, "all together")
                .help(help.to_owned()),
        );
    }
    bytes
}

/// A body that is to be gathered needs room.
fn check_gather(cx: &mut Context<'_>, raw: &raw::Body, policy: &BodyPolicy, totals: &ReplayLimits) {
    let (gather, span) = (policy.gather_bytes, raw.gather.span());
    let one = policy.replay_bytes + policy.spool_bytes;
    let all = totals.memory_bytes + totals.spool_bytes;
    if gather > one.min(all) {
        let (room, whose) = match one <= all {
            true => (one, "`replay` and `spool` together have room for"),
            false => (all, "all requests together may keep"),
        };
        let message = format!(
            "`gather` ({}) is more than {whose} ({})",
            show_size(gather),
            show_size(room)
        );
        let problem = Problem::error("impossible_size", message).at(span);
        let help = "a body of that size could not be read whole; lower it, or raise `spool`";
        cx.report(problem.help(help.to_owned()));
    }
    if let Some(max) = policy.max_bytes
        && gather > max
    {
        let message = format!("`gather` is above `max` ({})", show_size(max));
        let problem = Problem::warning("unreachable_limit", message).at(span);
        let problem = problem.label(raw.max.span(), "more is refused");
        cx.report(problem.help("it is never reached; lower it".to_owned()));
    }
}
