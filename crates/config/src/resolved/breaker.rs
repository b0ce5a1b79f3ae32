//! Bounds of endpoints and regions, ejection, slow start.

use tidegate_core::plan::{
    CircuitBreaker, Ejection, FailurePercentage, Limits, SlowStart, SuccessRate,
};

use super::{duration, off_or, percent, truth};
use crate::emit::Doc;

pub(super) fn circuit_breaker(breaker: &CircuitBreaker) -> Doc<'static> {
    let ejection = breaker.ejection.as_ref();
    Doc::map([
        ("endpoint", Some(limits(&breaker.endpoint))),
        ("region", Some(limits(&breaker.region))),
        ("ejection", Some(off_or(ejection, self::ejection))),
    ])
}

pub(super) fn slow_start(slow_start: Option<&SlowStart>) -> Doc<'static> {
    off_or(slow_start, |slow| {
        Doc::map([
            ("window", Some(duration(slow.window))),
            ("aggression", Some(Doc::plain(slow.aggression))),
            ("min_weight_percent", Some(percent(slow.min_weight))),
        ])
    })
}

fn count(count: Option<u32>) -> Option<Doc<'static>> {
    Some(off_or(count.as_ref(), |count| Doc::plain(count)))
}

fn limits(limits: &Limits) -> Doc<'static> {
    Doc::map([
        ("max_connections", count(limits.max_connections)),
        ("max_pending", count(limits.max_pending)),
        ("max_requests", count(limits.max_requests)),
        ("max_retries", count(limits.max_retries)),
    ])
}

fn ejection(ejection: &Ejection) -> Doc<'static> {
    let split = ejection.split_external_local_origin_errors;
    let local = ejection.consecutive_local_origin_failure;
    let success_rate = ejection.success_rate.as_ref();
    let failure_percentage = ejection.failure_percentage.as_ref();
    Doc::map([
        ("consecutive_5xx", count(ejection.consecutive_5xx)),
        (
            "consecutive_gateway_failure",
            count(ejection.consecutive_gateway_failure),
        ),
        (
            "consecutive_local_origin_failure",
            split.then(|| count(local)).flatten(),
        ),
        ("split_external_local_origin_errors", Some(truth(split))),
        ("interval", Some(duration(ejection.interval))),
        (
            "base_ejection_time",
            Some(duration(ejection.base_ejection_time)),
        ),
        (
            "max_ejection_time",
            Some(duration(ejection.max_ejection_time)),
        ),
        ("max_ejection_percent", Some(percent(ejection.max_ejection))),
        (
            "always_eject_one_host",
            Some(truth(ejection.always_eject_one_host)),
        ),
        (
            "success_rate",
            Some(off_or(success_rate, self::success_rate)),
        ),
        (
            "failure_percentage",
            Some(off_or(failure_percentage, self::failure_percentage)),
        ),
    ])
}

fn success_rate(rate: &SuccessRate) -> Doc<'static> {
    Doc::map([
        ("minimum_hosts", Some(Doc::plain(rate.minimum_hosts))),
        ("request_volume", Some(Doc::plain(rate.request_volume))),
        ("stdev_factor", Some(Doc::plain(rate.stdev_factor))),
    ])
}

fn failure_percentage(percentage: &FailurePercentage) -> Doc<'static> {
    Doc::map([
        ("threshold", Some(percent(percentage.threshold))),
        ("minimum_hosts", Some(Doc::plain(percentage.minimum_hosts))),
        (
            "request_volume",
            Some(Doc::plain(percentage.request_volume)),
        ),
    ])
}
