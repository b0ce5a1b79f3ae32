//! The observed state of one region and of one endpoint: atomics that any thread updates and reads
//! without a lock.
//!
//! A cell belongs to an identity (upstream, region, address), not to a plan, so a reload carries it
//! over. It holds no clock: `now` comes with every call. The *epoch* steps on every change of
//! health, suspicion or drain, so that whoever waits on a region can notice cheaply; those who wait
//! are told by the board's [`News`](crate::news::News).

mod allotment;
mod changes;
mod demand;
mod drain;
mod endpoint;
mod in_flight;
mod region;
mod reported;
mod said;
mod tally;
mod under_way;

use std::sync::atomic::{AtomicU64, Ordering};

pub use allotment::Allotment;
pub use changes::Changes;
pub use demand::Demand;
pub use drain::Drain;
pub use endpoint::{EndpointCell, Outcome};
pub use in_flight::InFlight;
pub use region::RegionCell;
pub use tally::{EndpointTally, ErrorClass, LatencyCounts, Rows, Tally};

/// Two cache lines of its own (processors fetch them in pairs). What every attempt writes is kept
/// apart from what every decision reads, and neighbours are written by different cores.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line<T>(T);

/// Steps `epoch` after a change, so that whoever sees the new number sees the new state.
fn stepped(changed: bool, epoch: &AtomicU64) -> bool {
    if changed {
        epoch.fetch_add(1, Ordering::Release);
    }
    changed
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::Standing;
    use crate::health::{Health, Transition};
    use crate::plan::{Probe, ProbeKind};
    use std::time::Instant;

    /// Probes in order (`+` success, `-` failure) and the health after each, by first letter (`x`
    /// for draining).
    fn check_probes(start: Health, probes: &str, expected: &str) {
        let cell = EndpointCell::new(Instant::now());
        cell.set_health(start);
        let letter = |health: Health| match health {
            Health::Draining => 'x',
            other => other.as_str().chars().next().unwrap_or('?'),
        };
        let after = |probe| {
            let (from, epoch) = (cell.health(), cell.epoch());
            let transition = cell.probed(probe == '+', &Probe::new(ProbeKind::Tcp));
            let to = cell.health();
            assert_eq!(transition, (from != to).then_some(Transition { from, to }));
            assert_eq!(
                cell.epoch() - epoch,
                u64::from(from != to),
                "one step a change"
            );
            letter(to)
        };
        assert_eq!(
            probes.chars().map(after).collect::<String>(),
            expected,
            "{start} {probes}"
        );
    }

    #[test]
    fn probes_move_an_endpoint_by_rise_and_fall() {
        check_probes(Health::Unknown, "+", "h");
        check_probes(Health::Unknown, "-", "u");
        check_probes(Health::Healthy, "--+---", "hhhhhu");
        check_probes(Health::Unhealthy, "+-++-", "uuuhh");
        check_probes(Health::Degraded, "++", "dh");
        check_probes(Health::Draining, "++---+++", "xxxxxxxx");
    }

    #[test]
    fn attempts_count_while_their_guard_lives() {
        let now = Instant::now();
        let (endpoint, region) = (
            Arc::new(EndpointCell::new(now)),
            Arc::new(RegionCell::new(now)),
        );
        let guards = [(); 3].map(|()| InFlight::begin(endpoint.clone(), region.clone()));
        assert_eq!((endpoint.in_flight(), region.in_flight()), (3, 3));
        assert_eq!(endpoint.cost(now), 4.0 * crate::ewma::DEFAULT_RTT_US);
        assert_eq!(
            endpoint.cost_per_weight(3, now),
            2.0 * crate::ewma::DEFAULT_RTT_US
        );
        drop(guards);
        assert_eq!((endpoint.in_flight(), region.in_flight()), (0, 0));
    }

    #[test]
    fn outcomes_are_counted_unless_abandoned() {
        let (now, cell) = (Instant::now(), EndpointCell::new(Instant::now()));
        for outcome in [
            Outcome::Answered(Duration::ZERO),
            Outcome::failed(ErrorClass::Reset),
            Outcome::Abandoned,
        ] {
            cell.record(outcome, now);
        }
        assert_eq!(cell.totals(), (2, 1));
    }

    #[test]
    fn a_region_steps_its_epoch_with_each_change_only() {
        let cell = RegionCell::new(Instant::now());
        let steps = [
            (cell.set_health(Health::Healthy), true),
            (cell.set_health(Health::Healthy), false),
            (cell.set_draining(true), true),
            (cell.set_draining(true), false),
            (cell.set_draining(false), true),
        ];
        assert!(
            steps.iter().all(|(changed, expected)| changed == expected),
            "{steps:?}"
        );
        assert_eq!(cell.epoch(), 3);
    }

    #[test]
    fn a_drain_has_a_pace_and_keeps_it() {
        let cell = RegionCell::new(Instant::now());
        let steps = [
            (cell.set_drain(Drain::Soft), true),
            (cell.set_draining(true), false),
            (cell.set_drain(Drain::Now), true),
            (cell.set_drain(Drain::Now), false),
            (cell.set_draining(true), false),
        ];
        assert!(steps.iter().all(|(is, expected)| is == expected));
        assert_eq!((cell.drain(), cell.draining()), (Drain::Now, true));
        assert!(cell.set_draining(false));
        assert_eq!((cell.drain(), cell.draining()), (Drain::No, false));
        assert_eq!(cell.epoch(), 3);
    }

    #[test]
    fn a_region_keeps_network_and_service_time_apart() {
        let (now, cell) = (Instant::now(), RegionCell::new(Instant::now()));
        assert_eq!((cell.rtt(), cell.service()), (None, None));
        cell.observe_rtt(Duration::from_millis(80), now);
        cell.observe_service(Duration::from_millis(200), now);
        assert_eq!(cell.rtt(), Some(Duration::from_millis(80)));
        assert_eq!(cell.service(), Some(Duration::from_millis(200)));
    }

    #[test]
    fn what_is_usual_is_of_the_last_minute_and_not_below_the_round_trip() {
        let (start, cell) = (Instant::now(), RegionCell::new(Instant::now()));
        let ms = Duration::from_millis;
        let usual = |after| cell.usual(start + ms(after));
        assert_eq!(usual(0), None);
        cell.observe_probe(ms(900), start);
        assert_eq!(usual(0), None, "a probe is no request");
        cell.observe_service(ms(200), start);
        assert_eq!(usual(0), Some(ms(200)));
        cell.observe_rtt(ms(80), start);
        assert_eq!(
            (usual(59_000), usual(61_000)),
            (Some(ms(200)), Some(ms(80)))
        );
        cell.observe_rtt(ms(8_000), start + ms(600_000));
        cell.observe_service(ms(1), start + ms(600_000));
        assert_eq!(usual(600_000), cell.rtt());
    }

    #[test]
    fn an_endpoint_is_as_well_as_the_worst_that_is_known_of_it() {
        use Health::{Degraded, Draining, Healthy, Unhealthy, Unknown};
        let check = |probed, said, ejected, expected| {
            let cell = EndpointCell::new(Instant::now());
            cell.set_health(probed);
            cell.say(said, None);
            cell.set_ejected(ejected);
            assert_eq!(cell.health(), expected, "{probed} {said} {ejected}");
        };
        check(Unknown, Unknown, false, Unknown);
        check(Healthy, Unknown, false, Healthy);
        check(Healthy, Degraded, false, Degraded);
        check(Healthy, Draining, false, Draining);
        check(Degraded, Healthy, false, Degraded);
        check(Unhealthy, Draining, false, Unhealthy);
        check(Draining, Degraded, false, Draining);
        check(Healthy, Unknown, true, Unhealthy);
    }

    #[test]
    fn what_an_endpoint_said_is_over_at_its_moment() {
        let (now, cell) = (Instant::now(), EndpointCell::new(Instant::now()));
        let at = |seconds| now + Duration::from_secs(seconds);
        assert!(cell.say(Health::Draining, Some(at(5))));
        assert!(!cell.say(Health::Draining, Some(at(9))));
        assert!(!cell.expire_said(at(8)) && cell.expire_said(at(10)));
        assert_eq!(cell.said(), Health::Unknown);
        cell.say(Health::Degraded, None);
        assert!(!cell.expire_said(at(1_000)));
    }

    #[test]
    fn what_is_said_of_a_region_is_told_and_is_over_at_its_moment() {
        let (now, cell) = (Instant::now(), RegionCell::new(Instant::now()));
        let at = |seconds| now + Duration::from_secs(seconds);
        assert!(cell.say(Health::Draining, Some(at(5))));
        assert!(!cell.say(Health::Draining, Some(at(9))));
        assert_eq!(
            (cell.said(), cell.health()),
            (Health::Draining, Health::Unknown)
        );
        assert!(!cell.expire_said(at(8)) && cell.expire_said(at(10)));
        assert_eq!((cell.said(), cell.epoch()), (Health::Unknown, 2));
    }

    #[test]
    fn a_release_is_taken_once() {
        let cell = RegionCell::new(Instant::now());
        assert!(!cell.take_release());
        cell.ask_release();
        assert!(cell.take_release() && !cell.take_release());
    }

    #[test]
    fn an_attempt_waits_from_its_request_to_its_answer() {
        let now = Instant::now();
        let (endpoint, region) = (
            Arc::new(EndpointCell::new(now)),
            Arc::new(RegionCell::new(now)),
        );
        let begin = || InFlight::begin(endpoint.clone(), region.clone());
        let (mut answered, mut failed, mut dropped, unsent) = (begin(), begin(), begin(), begin());
        for attempt in [&mut answered, &mut failed, &mut dropped] {
            attempt.sent();
            attempt.sent();
        }
        assert_eq!(region.tally().waiting(), 3);
        answered.answered(Duration::from_millis(3), 200, false, now);
        failed.failed(ErrorClass::Reset, now);
        drop((dropped, unsent));
        let tally = region.tally();
        assert_eq!((tally.waiting(), tally.sent), (0, 3));
        assert_eq!((tally.attempts(), tally.errors.iter().sum()), (2, 1));
        assert_eq!(tally.heard, Some(Duration::ZERO));
    }

    #[test]
    fn a_retry_blames_a_region_only_for_connections() {
        let now = Instant::now();
        let check = |retry: bool, class, expected| {
            let (endpoint, region) = (
                Arc::new(EndpointCell::new(now)),
                Arc::new(RegionCell::new(now)),
            );
            let attempt = InFlight::begin(endpoint.clone(), region.clone());
            let mut attempt = if retry { attempt.retry() } else { attempt };
            attempt.failed(class, now);
            assert_eq!(region.tally().errors[class as usize], expected, "{class:?}");
            assert_eq!(endpoint.totals(), (1, 1), "the endpoint's record has it");
        };
        for class in ErrorClass::ALL {
            let unmade = matches!(class, ErrorClass::Connect | ErrorClass::Tls);
            check(false, class, 1);
            check(true, class, u64::from(unmade));
        }
    }

    #[test]
    fn statuses_count_as_what_they_are() {
        let now = Instant::now();
        let check = |status, listed, errors: [u64; 2], rows: [u32; 2]| {
            let (endpoint, region) = (
                Arc::new(EndpointCell::new(now)),
                Arc::new(RegionCell::new(now)),
            );
            let mut attempt = InFlight::begin(endpoint.clone(), region.clone());
            attempt.answered(Duration::from_millis(3), status, listed, now);
            let (tally, found) = (region.tally(), endpoint.tally().rows);
            let of = |class| tally.errors[class as usize];
            let classes = [ErrorClass::ServerError, ErrorClass::Declared].map(of);
            assert_eq!(classes, errors, "{status}");
            assert_eq!([found.external, found.external_gateway], rows, "{status}");
        };
        check(200, false, [0, 0], [0, 0]);
        check(404, false, [0, 0], [0, 0]);
        check(429, true, [0, 1], [1, 0]);
        check(500, false, [1, 0], [1, 0]);
        check(503, true, [1, 0], [1, 1]);
    }

    #[test]
    fn changes_are_told_and_the_dial_is_not() {
        let board = crate::Board::new(Instant::now());
        let told = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let count = told.clone();
        board.news().subscribe(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let cell = board.region("u", "r");
        let healthy = Standing::full(Health::Healthy);
        let dialled = Standing {
            dial: crate::Dial::new(0.5),
            ..healthy
        };
        let suspected = Standing {
            suspected: true,
            ..dialled
        };
        for standing in [healthy, healthy, dialled, suspected] {
            cell.set_standing(standing);
        }
        assert_eq!((told.load(Ordering::Relaxed), cell.epoch()), (2, 2));
    }
}
