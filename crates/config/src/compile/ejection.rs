//! When requests find an endpoint to be an outlier. Settings that look reasonable and eject nobody
//! are the rule here, not the exception, so they are told.

use std::ops::RangeInclusive;
use std::time::Duration;

use tidegate_core::plan::{Ejection, FailurePercentage, SuccessRate, UpstreamRegion};

use crate::compile::Context;
use crate::compile::context::SHARE_MIN;
use crate::defaults;
use crate::problem::Problem;
use crate::raw;
use crate::span::Span;
use crate::units::{show_duration, show_percent};
use crate::yaml::{Field, WordOr};

/// Most failures in a row that are counted.
const CONSECUTIVE_MAX: u32 = 10_000;

/// Times between two looks in which requests can add up to something.
const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);

/// What is compared by default; nobody asked for it, so nobody is told where it has no effect.
const USUAL: SuccessRate = SuccessRate {
    minimum_hosts: defaults::MINIMUM_HOSTS as u32,
    request_volume: defaults::SUCCESS_RATE_VOLUME as u32,
    stdev_factor: defaults::STDEV_FACTOR,
};

/// Compiles the ejection from the regions of an upstream; none when it is off.
pub(crate) fn compile(
    cx: &mut Context<'_>,
    field: &Field<raw::OffOrMap<raw::Ejection>>,
    regions: &[UpstreamRegion],
) -> Option<Ejection> {
    let default = raw::Ejection::default();
    let raw = match field.get() {
        None => &default,
        Some(WordOr::Word(_)) => return None,
        Some(WordOr::Value(raw)) => raw,
    };
    let largest = regions.iter().map(|region| region.endpoints.len()).max();
    let largest = largest.unwrap_or(0);
    let (base_ejection_time, max_ejection_time) = times(cx, raw);
    let split = raw
        .split_external_local_origin_errors
        .or(defaults::SPLIT_ERRORS);
    let consecutive = 1..=CONSECUTIVE_MAX;
    let ejection = Ejection {
        consecutive_5xx: cx.count(
            &raw.consecutive_5xx,
            consecutive.clone(),
            Some(defaults::CONSECUTIVE_5XX),
        ),
        consecutive_gateway_failure: cx.count(&raw.consecutive_gateway_failure, consecutive, None),
        consecutive_local_origin_failure: local_origin(cx, raw, split),
        split_external_local_origin_errors: split,
        interval: cx.duration_within(&raw.interval, INTERVALS, defaults::EJECTION_INTERVAL),
        base_ejection_time,
        max_ejection_time,
        max_ejection: cx.percent(&raw.max_ejection_percent, 1.0, defaults::MAX_EJECTION),
        always_eject_one_host: raw.always_eject_one_host.or(defaults::ALWAYS_EJECT_ONE),
        success_rate: success_rate(cx, &raw.success_rate, largest),
        failure_percentage: failure_percentage(cx, &raw.failure_percentage, largest),
    };
    check_gateway(cx, raw, &ejection);
    check_ejects(cx, raw, field.span(), &ejection, largest);
    Some(ejection)
}

fn times(cx: &mut Context<'_>, raw: &raw::Ejection) -> (Duration, Duration) {
    let base = cx.duration(&raw.base_ejection_time, defaults::BASE_EJECTION_TIME);
    let max = cx.duration(&raw.max_ejection_time, defaults::MAX_EJECTION_TIME);
    if raw.max_ejection_time.is_absent() {
        return (base, max.max(base));
    }
    if base > max {
        let shown = show_duration(base);
        let message = format!("`max_ejection_time` is shorter than `base_ejection_time` ({shown})");
        let problem = Problem::error("conflicting_times", message).at(raw.max_ejection_time.span());
        let problem = problem.label(raw.base_ejection_time.span(), "the first ejection");
        let help = "raise it, or lower `base_ejection_time`";
        cx.report(problem.help(help.to_owned()));
    }
    (base, max)
}

fn local_origin(cx: &mut Context<'_>, raw: &raw::Ejection, split: bool) -> Option<u32> {
    let field = &raw.consecutive_local_origin_failure;
    if split {
        let default = Some(defaults::CONSECUTIVE_LOCAL_ORIGIN);
        return cx.count(field, 1..=CONSECUTIVE_MAX, default);
    }
    let only_with = "`split_external_local_origin_errors: true`";
    cx.unused_if_given(field.span(), "consecutive_local_origin_failure", only_with);
    None
}

fn success_rate(
    cx: &mut Context<'_>,
    field: &Field<raw::OffOrMap<raw::SuccessRate>>,
    largest: usize,
) -> Option<SuccessRate> {
    let default = raw::SuccessRate::default();
    let raw = match field.get() {
        None => &default,
        Some(WordOr::Word(_)) => return None,
        Some(WordOr::Value(raw)) => raw,
    };
    let rate = SuccessRate {
        minimum_hosts: minimum_hosts(cx, &raw.minimum_hosts),
        request_volume: request_volume(cx, &raw.request_volume, defaults::SUCCESS_RATE_VOLUME),
        stdev_factor: cx.float(&raw.stdev_factor, 0.1..=10.0, defaults::STDEV_FACTOR),
    };
    // One dead endpoint of n is (n-1)/n below 1 and, with the others at 1, sqrt(n-1) standard
    // deviations below the mean: below the threshold only if n - 1 exceeds the factor's square.
    let needed = (rate.stdev_factor.powi(2) + 1.0).floor() as usize + 1;
    let needed = needed.max(rate.minimum_hosts as usize);
    if rate != USUAL && (1..needed).contains(&largest) {
        let reason = format!(
            "with these numbers one endpoint that fails everything stands out only among {needed} \
             or more; `consecutive_5xx` and `failure_percentage` compare nothing"
        );
        warn_never(cx, field.span(), "`success_rate`", &reason, largest);
    }
    Some(rate)
}

fn failure_percentage(
    cx: &mut Context<'_>,
    field: &Field<raw::OffOrMap<raw::FailurePercentage>>,
    largest: usize,
) -> Option<FailurePercentage> {
    let WordOr::Value(raw) = field.get()? else {
        return None;
    };
    let volume = defaults::FAILURE_PERCENTAGE_VOLUME;
    let percentage = FailurePercentage {
        threshold: cx.percent_within(&raw.threshold, SHARE_MIN..=1.0, defaults::FAILURE_THRESHOLD),
        minimum_hosts: minimum_hosts(cx, &raw.minimum_hosts),
        request_volume: request_volume(cx, &raw.request_volume, volume),
    };
    let needed = percentage.minimum_hosts as usize;
    if (1..needed).contains(&largest) {
        let reason = format!("its `minimum_hosts` is {needed}");
        warn_never(cx, field.span(), "`failure_percentage`", &reason, largest);
    }
    Some(percentage)
}

fn minimum_hosts(cx: &mut Context<'_>, field: &Field<u64>) -> u32 {
    cx.number(field, 1..=10_000, defaults::MINIMUM_HOSTS) as u32
}

fn request_volume(cx: &mut Context<'_>, field: &Field<u64>, default: u64) -> u32 {
    cx.number(field, 1..=1_000_000, default) as u32
}

fn warn_never(cx: &mut Context<'_>, span: Option<Span>, what: &str, reason: &str, largest: usize) {
    let endpoints = match largest {
        1 => "1 endpoint".to_owned(),
        n => format!("{n} endpoints"),
    };
    let message = format!("{what} never ejects: the largest region has {endpoints}");
    let problem = Problem::warning("never_ejects", message).at(span);
    cx.report(problem.help(reason.to_owned()));
}

/// Gateway failures are errors of 500 and above too, so whichever count is lower decides.
fn check_gateway(cx: &mut Context<'_>, raw: &raw::Ejection, ejection: &Ejection) {
    let (Some(all), Some(gateway)) = (
        ejection.consecutive_5xx,
        ejection.consecutive_gateway_failure,
    ) else {
        return;
    };
    if gateway >= all {
        let message = format!("`consecutive_5xx` ({all}) is never reached later");
        let problem = Problem::warning("unreachable_limit", message)
            .at(raw.consecutive_gateway_failure.span());
        let problem = problem.label(raw.consecutive_5xx.span(), "this one");
        let help = "502, 503 and 504 count for both; make it lower, or `consecutive_5xx: off`";
        cx.report(problem.help(help.to_owned()));
    }
}

/// Whether anybody can be ejected at all.
fn check_ejects(
    cx: &mut Context<'_>,
    raw: &raw::Ejection,
    whole: Option<Span>,
    ejection: &Ejection,
    largest: usize,
) {
    let by_count = [
        ejection.consecutive_5xx,
        ejection.consecutive_gateway_failure,
        ejection.consecutive_local_origin_failure,
    ];
    let judged = by_count.iter().any(Option::is_some)
        || ejection.success_rate.is_some()
        || ejection.failure_percentage.is_some();
    if !judged {
        let message = "the ejection never ejects: everything that it could look at is off";
        let problem = Problem::warning("never_ejects", message).at(whole);
        return cx.report(problem.help("write `ejection: off`".to_owned()));
    }
    let most = (ejection.max_ejection * largest as f64 + 1e-9).floor();
    if !ejection.always_eject_one_host && largest > 0 && most < 1.0 {
        let reason = format!(
            "{} of them is less than one; raise `max_ejection_percent`, or leave out \
             `always_eject_one_host: false`",
            show_percent(ejection.max_ejection)
        );
        let span = raw.always_eject_one_host.span();
        warn_never(cx, span, "the ejection", &reason, largest);
    }
}
