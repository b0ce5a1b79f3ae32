//! From what a probe saw to what is believed of the endpoint.

use std::time::Instant;

use tidegate_core::{Health, RegionCell};
use tidegate_telemetry::events::Probes;
use tidegate_telemetry::labels::ProbeResult;

use crate::check::Seen;
use crate::error::ProbeError;
use crate::report::Report;
use crate::target::Target;

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

/// What followed from a probe.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// A result that contradicts what is (still) believed.
    pub(crate) doubt: bool,
    /// What changed, in words; none if nothing did.
    pub(crate) change: Option<String>,
}

/// Enters what a probe of `target` saw on the board; reports what changed by it.
pub(crate) fn apply(
    target: &Target,
    streak: &mut Streak,
    seen: &Seen,
    now: Instant,
    report: &Report,
) -> Verdict {
    let success = seen.result.is_ok();
    streak.enter(success);
    let error = seen.result.as_ref().err();
    let result = error.map_or(ProbeResult::Success, ProbeError::label);
    target.group.series.probed(result);
    target.group.cell.probed(success);
    measure(&target.group.cell, seen, now);
    let changed = target.cell.probed(success, target.group.check.probe());
    let change = changed.map(|change| {
        let evidence = evidence(*streak, seen);
        let probes = Probes {
            in_a_row: streak.length,
            result,
            connected: seen.rtt.map(|rtt| rtt.as_secs_f64()),
        };
        report.probed(target, change, &evidence, probes);
        format!("{}: {evidence}", target.address)
    });
    Verdict {
        doubt: success != target.cell.probed_health().usable(),
        change,
    }
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

/// Nobody probes it any more: nothing is known of it.
pub(crate) fn forget(target: &Target) {
    target.cell.set_health(Health::Unknown);
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
