//! When an endpoint is an outlier among its region's, as Envoy's outlier detection has it
//! (ALGORITHMS 5.6): failures in a row, a success rate below mean minus k standard deviations, a
//! failure percentage.
//!
//! The caps are per region: an endpoint of one region must not stay in because another region's are
//! out. That a whole region fails is found elsewhere; here it would hide in its own mean.

use std::time::Duration;

use super::evidence::{Evidence, Row};
use crate::cell::EndpointTally;
use crate::plan::{Ejection, FailurePercentage, SuccessRate};

/// Attempts and failures of one endpoint in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Volume {
    pub(super) attempts: u64,
    pub(super) failed: u64,
}

/// The bounds that an interval gives.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Bounds {
    /// Mean success rate, and the rate below which one stands out.
    success_rate: Option<(f64, f64)>,
    /// Whether enough endpoints had enough requests for failure percentages.
    percentage: bool,
}

impl Volume {
    /// Between two tallies. With errors split by origin only what answers told counts.
    pub(super) fn between(before: &EndpointTally, now: &EndpointTally, policy: &Ejection) -> Self {
        let server = now.server_errors - before.server_errors;
        let local = now.local_errors - before.local_errors;
        let attempts = now.attempts - before.attempts;
        if policy.split_external_local_origin_errors {
            Self {
                attempts: attempts.saturating_sub(local),
                failed: server,
            }
        } else {
            Self {
                attempts,
                failed: server + local,
            }
        }
    }

    fn success(self) -> f64 {
        1.0 - self.failed as f64 / self.attempts.max(1) as f64
    }
}

/// The row of failures that is long enough, if one is.
pub(super) fn in_a_row(policy: &Ejection, tally: &EndpointTally) -> Option<Evidence> {
    let rows = tally.rows;
    let split = policy.split_external_local_origin_errors;
    let (any, gateway) = match split {
        true => (rows.external, rows.external_gateway),
        false => (rows.any, rows.gateway),
    };
    let local = policy.consecutive_local_origin_failure.filter(|_| split);
    let limits = [
        (Row::Any, any, policy.consecutive_5xx),
        (Row::Gateway, gateway, policy.consecutive_gateway_failure),
        (Row::LocalOrigin, rows.local, local),
    ];
    let reached = limits
        .into_iter()
        .find(|(_, count, limit)| limit.is_some_and(|limit| *count >= limit.max(1)));
    reached.map(|(row, count, _)| Evidence::InARow { row, count })
}

/// What an interval's volumes give as bounds.
pub(super) fn bounds(policy: &Ejection, volumes: impl Iterator<Item = Volume> + Clone) -> Bounds {
    let enough = |least: u32| {
        let least = u64::from(least).max(1);
        volumes
            .clone()
            .filter(move |volume| volume.attempts >= least)
    };
    let rates = |policy: &SuccessRate| {
        let rates = enough(policy.request_volume).map(Volume::success);
        let (mean, deviation, hosts) = mean_and_deviation(rates);
        let many = hosts > 0 && hosts >= policy.minimum_hosts;
        many.then_some((mean, mean - policy.stdev_factor * deviation))
    };
    let many = |policy: &FailurePercentage| {
        enough(policy.request_volume).count() as u64 >= u64::from(policy.minimum_hosts)
    };
    Bounds {
        success_rate: policy.success_rate.as_ref().and_then(rates),
        percentage: policy.failure_percentage.as_ref().is_some_and(many),
    }
}

/// Of the whole population, as Envoy computes it.
fn mean_and_deviation(rates: impl Iterator<Item = f64>) -> (f64, f64, u32) {
    let (mut sum, mut squares, mut hosts) = (0.0, 0.0, 0u32);
    for rate in rates {
        sum += rate;
        squares += rate * rate;
        hosts += 1;
    }
    let count = f64::from(hosts.max(1));
    let mean = sum / count;
    let variance = (squares / count - mean * mean).max(0.0);
    (mean, variance.sqrt(), hosts)
}

impl Bounds {
    /// Why an endpoint with this volume is an outlier, if it is.
    pub(super) fn outlier(&self, policy: &Ejection, volume: Volume) -> Option<Evidence> {
        let enough = |least: u32| volume.attempts >= u64::from(least).max(1);
        if let (Some(rates), Some((mean, bound))) = (&policy.success_rate, self.success_rate)
            && enough(rates.request_volume)
            && volume.success() < bound
        {
            let own = volume.success();
            return Some(Evidence::SuccessRate { own, mean, bound });
        }
        let percentage = policy
            .failure_percentage
            .as_ref()
            .filter(|_| self.percentage)?;
        let failing = 1.0 - volume.success() >= percentage.threshold;
        (enough(percentage.request_volume) && failing).then_some(Evidence::FailurePercentage {
            failed: volume.failed,
            of: volume.attempts,
        })
    }
}

/// Whether one more of `total` endpoints may be ejected while `ejected` are.
pub(super) fn may_eject(policy: &Ejection, ejected: usize, total: usize) -> bool {
    let within = (ejected + 1) as f64 <= policy.max_ejection * total as f64 + 1e-9;
    within || (policy.always_eject_one_host && ejected == 0 && total >= 2)
}

/// How long the `ejections`th ejection in a row lasts.
pub(super) fn lasts(policy: &Ejection, ejections: u32) -> Duration {
    let times = policy.base_ejection_time.saturating_mul(ejections.max(1));
    times.min(policy.max_ejection_time.max(policy.base_ejection_time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Rows;

    /// Envoy's defaults, with what it leaves off by default switched on.
    fn envoy() -> Ejection {
        Ejection {
            consecutive_5xx: Some(5),
            consecutive_gateway_failure: None,
            consecutive_local_origin_failure: Some(5),
            split_external_local_origin_errors: false,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection: 0.1,
            always_eject_one_host: false,
            success_rate: Some(SuccessRate {
                minimum_hosts: 5,
                request_volume: 100,
                stdev_factor: 1.9,
            }),
            failure_percentage: Some(FailurePercentage {
                threshold: 0.85,
                minimum_hosts: 5,
                request_volume: 50,
            }),
        }
    }

    /// `rows` are any, gateway, external, external gateway, local.
    fn check_row(policy: &Ejection, rows: [u32; 5], expected: Option<(Row, u32)>) {
        let [any, gateway, external, external_gateway, local] = rows;
        let rows = Rows {
            any,
            gateway,
            external,
            external_gateway,
            local,
        };
        let tally = EndpointTally {
            rows,
            ..EndpointTally::default()
        };
        let expected = expected.map(|(row, count)| Evidence::InARow { row, count });
        assert_eq!(in_a_row(policy, &tally), expected, "{rows:?}");
    }

    #[test]
    fn rows_count_by_origin_only_when_split() {
        let plain = envoy();
        check_row(&plain, [4, 4, 4, 4, 4], None);
        check_row(&plain, [5, 0, 0, 0, 0], Some((Row::Any, 5)));
        check_row(&plain, [4, 9, 9, 9, 9], None);
        let gateway = Ejection {
            consecutive_gateway_failure: Some(3),
            ..envoy()
        };
        check_row(&gateway, [4, 3, 0, 0, 0], Some((Row::Gateway, 3)));
        let split = Ejection {
            split_external_local_origin_errors: true,
            ..gateway
        };
        check_row(&split, [9, 9, 4, 2, 4], None);
        check_row(&split, [9, 9, 5, 2, 4], Some((Row::Any, 5)));
        check_row(&split, [9, 9, 4, 3, 4], Some((Row::Gateway, 3)));
        check_row(&split, [9, 9, 4, 2, 6], Some((Row::LocalOrigin, 6)));
    }

    /// Attempts and failures per endpoint; the positions that stand out.
    fn check_interval(policy: &Ejection, volumes: &[(u64, u64)], expected: &[usize]) {
        let volumes: Vec<_> = volumes
            .iter()
            .map(|&(attempts, failed)| Volume { attempts, failed })
            .collect();
        let bounds = bounds(policy, volumes.iter().copied());
        let outlier = |at: &usize| bounds.outlier(policy, volumes[*at]).is_some();
        let found: Vec<_> = (0..volumes.len()).filter(outlier).collect();
        assert_eq!(found, expected, "{volumes:?}");
    }

    #[test]
    fn an_interval_shows_who_stands_out() {
        let policy = envoy();
        let of_ten = |bad: usize, failed| {
            let mut volumes = vec![(200, 0); 10];
            volumes[..bad].fill((200, failed));
            volumes
        };
        check_interval(&policy, &of_ten(0, 0), &[]);
        check_interval(&policy, &of_ten(1, 40), &[0]);
        check_interval(&policy, &of_ten(2, 40), &[0, 1]);
        // ALGORITHMS 5.6: above 21.7 % the mean hides them; the percentage still finds the dead.
        check_interval(&policy, &of_ten(3, 40), &[]);
        check_interval(&policy, &of_ten(3, 200), &[0, 1, 2]);
        check_interval(
            &policy,
            &[(200, 200), (99, 0), (99, 0), (99, 0), (40, 0)],
            &[],
        );
        check_interval(
            &policy,
            &[(60, 60), (60, 0), (60, 0), (60, 0), (60, 0)],
            &[0],
        );
        check_interval(&policy, &[(200, 200); 4], &[]);
    }

    #[test]
    fn with_origins_split_only_answers_count_for_rates() {
        let split = Ejection {
            split_external_local_origin_errors: true,
            ..envoy()
        };
        let now = EndpointTally {
            attempts: 100,
            server_errors: 10,
            local_errors: 30,
            ..EndpointTally::default()
        };
        let volume = |policy| {
            let volume = Volume::between(&EndpointTally::default(), &now, policy);
            (volume.attempts, volume.failed)
        };
        assert_eq!((volume(&envoy()), volume(&split)), ((100, 40), (70, 10)));
    }

    #[test]
    fn the_cap_is_a_regions_own() {
        let check = |max, always, ejected, total, expected| {
            let policy = Ejection {
                max_ejection: max,
                always_eject_one_host: always,
                ..envoy()
            };
            let may = may_eject(&policy, ejected, total);
            assert_eq!(may, expected, "{max} {always} {ejected} {total}");
        };
        check(0.1, false, 0, 10, true);
        check(0.1, false, 1, 10, false);
        check(0.1, false, 0, 9, false);
        check(0.1, true, 0, 9, true);
        check(0.1, true, 1, 9, false);
        check(0.1, true, 0, 1, false);
        check(1.0, false, 0, 1, true);
        check(0.5, false, 1, 4, true);
        check(0.5, false, 2, 4, false);
    }

    #[test]
    fn an_ejection_lasts_longer_each_time_up_to_a_bound() {
        let check = |ejections, seconds| {
            assert_eq!(lasts(&envoy(), ejections), Duration::from_secs(seconds));
        };
        check(1, 30);
        check(2, 60);
        check(10, 300);
        check(u32::MAX, 300);
    }
}
