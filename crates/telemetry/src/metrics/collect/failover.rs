//! What was done to save requests: rescues, budgets, bodies kept, hedges, re-dispatches, resumes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tidegate_core::Live;
use tidegate_core::budget::Purse;

use super::{Upstreams, add_counted, add_distribution};
use crate::catalogue;
use crate::exposition::Exposition;
use crate::labels::{HedgeCause, HedgeResult, Label, ReplayLost, ReplayStore};
use crate::metrics::shard::{Counts, Distribution, total};
use crate::metrics::{Metrics, UpstreamSeries};

type Hedges = [Counts<HedgeResult, { HedgeResult::ALL.len() }>; HedgeCause::ALL.len()];

pub(super) fn rescued(metrics: &Metrics, out: &mut Exposition) {
    let mut family = out.family(&catalogue::REQUESTS_RESCUED);
    for ((from, to, why), shards) in metrics.rescued.sorted() {
        let counts = shards.iter().map(|shard| shard.0.load(Ordering::Relaxed));
        family.add(&[&from, &to, why], counts.sum::<u64>());
    }
}

pub(super) fn rescue_added(upstreams: &Upstreams, out: &mut Exposition) {
    let mut by_upstream = BTreeMap::<&str, Distribution>::new();
    for ((upstream, _), shards) in upstreams {
        let taken = Distribution::of(shards, |shard: &UpstreamSeries| &shard.rescue_added);
        by_upstream.entry(upstream).or_default().add(&taken);
    }
    let mut family = out.family(&catalogue::RESCUE_ADDED);
    for (upstream, taken) in &by_upstream {
        add_distribution(&mut family, &[upstream], taken);
    }
}

pub(super) fn budgets(live: Option<&Live>, out: &mut Exposition) {
    let now = Instant::now();
    let mut family = out.family(&catalogue::RETRY_BUDGET_USED);
    let Some(live) = live else { return };
    for (upstream, bound) in live.plan.upstreams.iter().zip(&live.upstreams) {
        for purse in Purse::ALL {
            let used = bound.budget.used(purse, now);
            family.add(&[&upstream.name, purse.word()], used);
        }
    }
}

pub(super) fn replay(metrics: &Metrics, out: &mut Exposition) {
    let parts = || metrics.global.iter().map(|shard| &shard.replay);
    let mut family = out.family(&catalogue::REPLAY_BYTES);
    for store in ReplayStore::ALL {
        // A scrape that runs between two threads may see what was freed before what was kept.
        let bytes: i64 = parts().map(|part| part.bytes(*store)).sum();
        family.add(&[store.word()], bytes.max(0));
    }
    let spooled: u64 = parts().map(|part| part.spooled_total()).sum();
    out.family(&catalogue::REPLAY_SPOOLED).add(&[], spooled);
    let mut family = out.family(&catalogue::REPLAY_LOST);
    add_counted(&mut family, &[], |why: ReplayLost| {
        total(&metrics.global, |shard| &shard.replay.lost, why)
    });
    let gathered: u64 = parts().map(|part| part.gathered_total()).sum();
    out.family(&catalogue::REQUESTS_GATHERED).add(&[], gathered);
}

pub(super) fn resumes(metrics: &Metrics, out: &mut Exposition) {
    let mut family = out.family(&catalogue::RESUMES);
    for ((from, to, result), count) in metrics.resumes.sorted() {
        family.add(&[&from, &to, result], count);
    }
}

pub(super) fn redispatches(upstreams: &Upstreams, out: &mut Exposition) {
    let mut family = out.family(&catalogue::REDISPATCHES);
    for ((upstream, region), shards) in upstreams {
        let count = UpstreamSeries::redispatched_total(shards);
        if count > 0 {
            family.add(&[upstream, region], count);
        }
    }
}

pub(super) fn hedges(upstreams: &Upstreams, out: &mut Exposition) {
    let mut by_upstream = BTreeMap::<&str, Hedges>::new();
    for ((upstream, _), shards) in upstreams {
        let sums = by_upstream.entry(upstream).or_default();
        for (at, sums) in sums.iter().enumerate() {
            for result in HedgeResult::ALL {
                sums.add_many(*result, total(shards, |shard| &shard.hedges[at], *result));
            }
        }
    }
    let mut family = out.family(&catalogue::HEDGES);
    for (upstream, sums) in &by_upstream {
        for (cause, sums) in HedgeCause::ALL.iter().zip(sums) {
            add_counted(&mut family, &[upstream, cause.word()], |result| {
                sums.get(result)
            });
        }
    }
}
