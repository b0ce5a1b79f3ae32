//! From what a probe saw to what is believed of the endpoint and its region, and to the events
//! that say so.

use std::time::Instant;

use tidegate_core::health::roll_up;
use tidegate_core::{Health, RegionCell};
use tidegate_telemetry::labels::ProbeResult;
use tidegate_telemetry::{EventKind, Events};

use crate::check::Seen;
use crate::error::ProbeError;
use crate::target::{Group, Target};

/// Equal results in a row, for words in events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Streak {
    success: bool,
    length: u32,
}

impl Streak {
    fn enter(&mut self, success: bool) {
        let length = if self.success == success {
            self.length.saturating_add(1)
        } else {
            1
        };
        *self = Self { success, length };
    }
}

/// Enters what a probe of `target` saw on the board; tells `events` what changed by it. Returns
/// whether it leaves a doubt: a result that contradicts what is (still) believed.
pub(crate) fn apply(
    target: &Target,
    streak: &mut Streak,
    seen: &Seen,
    now: Instant,
    events: &Events,
) -> bool {
    let success = seen.result.is_ok();
    streak.enter(success);
    let label = seen
        .result
        .as_ref()
        .err()
        .map_or(ProbeResult::Success, ProbeError::label);
    target.group.series.probed(label);
    measure(&target.group.cell, seen, now);
    if let Some(change) = target.cell.probed(success, target.group.check.probe()) {
        let evidence = evidence(*streak, seen);
        tell(target, change.from, change.to, &evidence, events);
        settle(
            &target.group,
            Some(&format!("{}: {evidence}", target.address)),
            events,
        );
    }
    success != target.cell.health().usable()
}

/// A round trip is measured by connecting. In between, an answer over a kept connection took at least
/// one: if it was faster than what is believed, the path has become shorter.
fn measure(region: &RegionCell, seen: &Seen, now: Instant) {
    let shorter = seen.answered.filter(|took| Some(*took) < region.rtt());
    if let Some(rtt) = seen.rtt.or(shorter) {
        region.observe_rtt(rtt, now);
    }
    if let Some(took) = seen.answered {
        region.observe_probe(took, now);
    }
}

fn evidence(streak: Streak, seen: &Seen) -> String {
    let probes = match streak.length {
        1 => "1 probe".to_owned(),
        more => format!("{more} probes in a row"),
    };
    match &seen.result {
        Ok(()) => {
            let millis = seen.rtt.unwrap_or_default().as_secs_f64() * 1_000.0;
            format!("{probes} succeeded, connected in {millis:.1} ms")
        }
        Err(error) if streak.length == 1 => format!("{probes} failed: {error}"),
        Err(error) => format!("{probes} failed, the last: {error}"),
    }
}

/// That an endpoint turns out to be well at the start is no news: with a thousand endpoints it
/// would push everything else out of the history.
fn tell(target: &Target, from: Health, to: Health, evidence: &str, events: &Events) {
    let Group {
        upstream, region, ..
    } = &*target.group;
    let endpoint = target.address.clone();
    if (from, to) == (Health::Unknown, Health::Healthy) {
        tracing::debug!("endpoint {upstream}/{region}/{endpoint} is {to}: {evidence}");
        return;
    }
    events.record(EventKind::EndpointHealth {
        upstream: upstream.clone(),
        region: region.clone(),
        endpoint,
        from,
        to,
        evidence: evidence.to_owned(),
    });
}

/// Concludes from the endpoints to the region; `cause` is what set it off, if it was an endpoint.
pub(crate) fn settle(group: &Group, cause: Option<&str>, events: &Events) {
    let (from, to, mut evidence) = conclude(group);
    if !group.cell.set_health(to) {
        return;
    }
    if let Some(cause) = cause {
        evidence = format!("{evidence}; {cause}");
    }
    events.record(EventKind::RegionHealth {
        upstream: group.upstream.clone(),
        region: group.region.clone(),
        from,
        to,
        evidence,
    });
}

fn conclude(group: &Group) -> (Health, Health, String) {
    let set = group.slot.load();
    let healths = || set.endpoints.iter().map(|endpoint| endpoint.cell.health());
    let (usable, all) = (
        healths().filter(|health| health.usable()).count(),
        set.endpoints.len(),
    );
    let needed = group.min_healthy * 100.0;
    let evidence = format!("{usable} of {all} endpoints usable, {needed:.0}% needed");
    (
        group.cell.health(),
        roll_up(healths(), group.min_healthy),
        evidence,
    )
}

/// Nobody probes these endpoints any more: nothing is known of them, nor of the region if it has
/// no others.
pub(crate) fn forget(target: &Target) {
    target.cell.set_health(Health::Unknown);
}

/// The same for a region, once its endpoints have been forgotten.
pub(crate) fn forget_region(group: &Group) {
    let (_, to, _) = conclude(group);
    group.cell.set_health(to);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// `(connected, answered)` in milliseconds, a minute apart; round trip and latency after them.
    fn check(seen: &[(Option<u64>, Option<u64>)], rtt: Option<u64>, latency: Option<u64>) {
        let (origin, ms) = (Instant::now(), Duration::from_millis);
        let region = RegionCell::new(origin);
        for (minute, (connected, answered)) in (1..).zip(seen) {
            let seen = Seen {
                rtt: connected.map(ms),
                answered: answered.map(ms),
                result: Ok(()),
                link: None,
            };
            measure(&region, &seen, origin + Duration::from_secs(60 * minute));
        }
        let whole = |found: Option<Duration>| {
            found.map(|found| found.as_secs_f64().mul_add(1e3, 0.5) as u64)
        };
        assert_eq!(
            (whole(region.rtt()), whole(region.latency())),
            (rtt, latency),
            "{seen:?}"
        );
    }

    #[test]
    fn connecting_measures_the_round_trip_and_answers_bound_it() {
        check(&[(None, Some(90))], None, Some(90));
        check(&[(Some(80), None)], Some(80), Some(80));
        check(
            &[(Some(80), Some(90)), (None, Some(100))],
            Some(80),
            Some(90),
        );
        // The path has become shorter, and nobody has connected yet.
        check(
            &[(Some(80), Some(90)), (None, Some(20)), (None, Some(20))],
            Some(20),
            Some(20),
        );
        // It has become longer: answers tell within a minute.
        check(
            &[(Some(20), Some(20)), (None, Some(90)), (None, Some(90))],
            Some(20),
            Some(90),
        );
    }
}
