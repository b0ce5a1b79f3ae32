//! How a region is judged, and how it comes back. Probes have a module of their own.

use std::ops::RangeInclusive;
use std::time::Duration;

use tidegate_core::plan::{
    ConnectionPolicy, Failback, HealthPolicy, Readiness, RegionPolicy, RetryPolicy, Silence,
};

use crate::compile::context::SHARE_MIN;
use crate::compile::{Context, TlsFiles, probe};
use crate::defaults;
use crate::problem::Problem;
use crate::raw;
use crate::units;
use crate::yaml::WordOr;

/// A judge that looks every 50 ms sees little in less; in more, a region is down for too long.
const WINDOWS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// Times of silence that can mean something.
const SILENCES: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);

/// Compiles the health of an upstream whose connections and attempts are like this. With the files
/// of the probe's TLS.
pub(crate) fn compile(
    cx: &mut Context<'_>,
    upstream: &raw::Upstream,
    connection: &ConnectionPolicy,
    retry: &RetryPolicy,
) -> (HealthPolicy, TlsFiles) {
    let default = raw::Health::default();
    let raw = upstream.health.get().unwrap_or(&default);
    let probe = match raw.probe.get() {
        Some(WordOr::Word(_)) => None,
        Some(WordOr::Value(raw)) => Some(probe::compile(cx, raw, connection)),
        None => Some(probe::compile(cx, &raw::Probe::default(), connection)),
    };
    let (probe, files) = probe.unzip();
    let region = region(
        cx,
        raw.region.get().unwrap_or(&raw::RegionHealth::default()),
    );
    check_against_attempt(cx, upstream, &region, retry);
    let policy = HealthPolicy {
        probe,
        region,
        failback: failback(cx, raw.failback.get().unwrap_or(&raw::Failback::default())),
        said: raw.said.or(defaults::SAID),
        readiness: match raw.readiness.or(raw::Readiness::Counted) {
            raw::Readiness::Required => Readiness::Required,
            raw::Readiness::Counted => Readiness::Counted,
            raw::Readiness::Ignored => Readiness::Ignored,
        },
    };
    (policy, files.unwrap_or_default())
}

fn region(cx: &mut Context<'_>, raw: &raw::RegionHealth) -> RegionPolicy {
    let error_rate = cx.unless_off(&raw.error_rate, defaults::ERROR_RATE, |cx, field| {
        cx.percent_within(field, 0.01..=1.0, defaults::ERROR_RATE)
    });
    let latency = defaults::DEGRADED_LATENCY;
    let degraded_latency = cx.unless_off(&raw.degraded_latency, latency, |cx, field| {
        cx.percent_within(field, 1.01..=1000.0, latency)
    });
    let policy = RegionPolicy {
        min_healthy: cx.percent(&raw.min_healthy, 1.0, defaults::MIN_HEALTHY),
        error_rate,
        window: cx.duration_within(&raw.window, WINDOWS, defaults::WINDOW),
        min_requests: cx.number(&raw.min_requests, 1..=1_000_000, defaults::MIN_REQUESTS) as u32,
        silence: silence(cx, raw),
        degraded_latency,
    };
    let judged = [
        policy.error_rate.is_some(),
        policy.silence.is_some(),
        policy.degraded_latency.is_some(),
    ];
    if judged == [false; 3] {
        let only_with = "`error_rate`, `silence` or `degraded_latency` that is not `off`";
        cx.unused_if_given(raw.window.span(), "window", only_with);
        cx.unused_if_given(raw.min_requests.span(), "min_requests", only_with);
    }
    policy
}

fn silence(cx: &mut Context<'_>, raw: &raw::RegionHealth) -> Option<Silence> {
    let written = raw.silence.get().map_or(defaults::SILENCE, AsRef::as_ref);
    if written == "auto" {
        let at_least = cx.duration_within(&raw.silence_floor, SILENCES, defaults::SILENCE_FLOOR);
        return Some(Silence::Auto { at_least });
    }
    cx.unused_if_given(raw.silence_floor.span(), "silence_floor", "`silence: auto`");
    if !written.starts_with(|c: char| c.is_ascii_digit()) && written != "off" {
        let help = "`auto`, `off`, or a duration like `500ms`";
        cx.invalid(
            raw.silence.span(),
            "value",
            "a time of silence",
            written,
            help,
        );
        return None;
    }
    cx.unless_off(&raw.silence, defaults::SILENCE, |cx, field| {
        Silence::After(cx.duration_within(field, SILENCES, defaults::SILENCE_FLOOR))
    })
}

/// Attempts that have ended are not silent any more.
fn check_against_attempt(
    cx: &mut Context<'_>,
    upstream: &raw::Upstream,
    region: &RegionPolicy,
    retry: &RetryPolicy,
) {
    let raw = upstream.health.get().and_then(|health| health.region.get());
    let (Some(raw), Some(per_try)) = (raw, retry.per_try) else {
        return;
    };
    let (least, field) = match region.silence {
        Some(Silence::Auto { at_least }) => (at_least, raw.silence_floor.span()),
        Some(Silence::After(least)) => (least, raw.silence.span()),
        None => return,
    };
    let Some(span) = field.filter(|_| least >= per_try) else {
        return;
    };
    let message = format!(
        "silence counts after {}, which is not sooner than `per_try` ({})",
        units::show_duration(least),
        units::show_duration(per_try)
    );
    let limit = upstream.retry.get().and_then(|retry| retry.per_try.span());
    let problem = Problem::warning("late_silence", message).at(span);
    let problem = problem.label(limit, "the limit of an attempt");
    let help = "attempts time out before anybody notices that nothing comes; lower it";
    cx.report(problem.help(help.to_owned()));
}

fn failback(cx: &mut Context<'_>, raw: &raw::Failback) -> Failback {
    let drain = cx.unless_off(&raw.drain, defaults::DRAIN, |cx, field| {
        cx.duration(field, defaults::DRAIN)
    });
    let (hold, hold_max) = hold(cx, raw);
    let failback = Failback {
        manual: raw.mode.or(raw::FailbackMode::Automatic) == raw::FailbackMode::Manual,
        hold,
        hold_max,
        probation: cx.percent_within(&raw.probation, SHARE_MIN..=1.0, defaults::PROBATION),
        ramp: cx.duration_or_zero(&raw.ramp, defaults::RAMP),
        drain,
    };
    check_ramp(cx, raw, &failback);
    failback
}

fn hold(cx: &mut Context<'_>, raw: &raw::Failback) -> (Duration, Duration) {
    let hold = cx.duration_or_zero(&raw.hold, defaults::HOLD);
    let hold_max = cx.duration(&raw.hold_max, defaults::HOLD_MAX);
    if raw.hold_max.is_absent() {
        return (hold, hold_max.max(hold));
    }
    if hold > hold_max {
        let message = format!(
            "`hold_max` is shorter than `hold` ({})",
            units::show_duration(hold)
        );
        let problem = Problem::error("conflicting_times", message).at(raw.hold_max.span());
        let help = "no relapse could keep the region out longer than the first time; raise it, or lower `hold`";
        cx.report(
            problem
                .label(raw.hold.span(), "how long at first")
                .help(help.to_owned()),
        );
    }
    (hold, hold_max)
}

/// Whoever doubles once a second needs log2 of the factor in seconds.
fn check_ramp(cx: &mut Context<'_>, raw: &raw::Failback, failback: &Failback) {
    let span = raw.ramp.span();
    if span.is_none() || failback.ramp.is_zero() {
        return;
    }
    if failback.probation >= 1.0 {
        return cx.unused(span, "ramp", "`probation` below 100%");
    }
    let gentle = (-failback.probation.log2() * 10.0).ceil() / 10.0;
    if failback.ramp.as_secs_f64() >= gentle {
        return;
    }
    let message =
        "the ramp is so short that the region's traffic more than doubles within a second";
    let help = format!(
        "from {} on it takes {gentle}s; `0s` gives everything back at once",
        units::show_percent(failback.probation)
    );
    let problem = Problem::warning("steep_ramp", message).at(span);
    cx.report(problem.help(help));
}
