//! Bounds of what is under way at endpoints and regions, and how a new endpoint starts.

use std::ops::RangeInclusive;
use std::time::Duration;

use tidegate_core::plan::{CircuitBreaker, Limits, SlowStart, UpstreamRegion};

use crate::compile::{Context, ejection};
use crate::defaults;
use crate::problem::Problem;
use crate::raw;
use crate::span::Span;
use crate::yaml::{Field, WordOr};

/// Highest bound; more is none.
const LIMIT_MAX: u32 = 10_000_000;

/// Times in which a slow start is one.
const WINDOWS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// Compiles the circuit breaker of an upstream that lives in `regions`.
pub(crate) fn compile(
    cx: &mut Context<'_>,
    field: &Field<raw::CircuitBreaker>,
    regions: &[UpstreamRegion],
) -> CircuitBreaker {
    let (default, none) = (
        raw::CircuitBreaker::default(),
        raw::BreakerLimits::default(),
    );
    let raw = field.get().unwrap_or(&default);
    let raw_endpoint = raw.endpoint.get().unwrap_or(&none);
    let raw_region = raw.region.get().unwrap_or(&none);
    let breaker = CircuitBreaker {
        endpoint: limits(cx, raw_endpoint),
        region: limits(cx, raw_region),
        ejection: ejection::compile(cx, &raw.ejection, regions),
    };
    let endpoint = named(&breaker.endpoint, raw_endpoint);
    let region = named(&breaker.region, raw_region);
    for (lower, upper) in endpoint.into_iter().zip(region) {
        check_order(cx, lower, upper);
    }
    breaker
}

fn limits(cx: &mut Context<'_>, raw: &raw::BreakerLimits) -> Limits {
    let limits = Limits {
        max_connections: cx.count(&raw.max_connections, 1..=LIMIT_MAX, None),
        max_pending: cx.count(&raw.max_pending, 0..=LIMIT_MAX, None),
        max_requests: cx.count(&raw.max_requests, 1..=LIMIT_MAX, None),
        max_retries: cx.count(&raw.max_retries, 0..=LIMIT_MAX, None),
    };
    let is_off = raw
        .max_connections
        .get()
        .is_none_or(|text| text.as_ref() == "off");
    if limits.max_pending.is_some() && is_off {
        cx.unused(raw.max_pending.span(), "max_pending", "`max_connections`");
    }
    limits
}

/// A bound: its key, its value, its place.
type Bound = (&'static str, Option<u32>, Option<Span>);

fn named(limits: &Limits, raw: &raw::BreakerLimits) -> [Bound; 4] {
    [
        (
            "max_connections",
            limits.max_connections,
            raw.max_connections.span(),
        ),
        ("max_pending", limits.max_pending, raw.max_pending.span()),
        ("max_requests", limits.max_requests, raw.max_requests.span()),
        ("max_retries", limits.max_retries, raw.max_retries.span()),
    ]
}

/// An endpoint's bound above its region's is never reached.
fn check_order(cx: &mut Context<'_>, (key, endpoint, span): Bound, (_, region, of_region): Bound) {
    let (Some(endpoint), Some(region)) = (endpoint, region) else {
        return;
    };
    if endpoint > region {
        let message = format!("an endpoint's `{key}` is above its region's ({region})");
        let problem = Problem::warning("unreachable_limit", message).at(span);
        let problem = problem.label(of_region, "the region's");
        let help = "it is never reached; swap the two, or remove one";
        cx.report(problem.help(help.to_owned()));
    }
}

/// How an endpoint that comes up takes its share; none when it takes it at once.
pub(crate) fn slow_start(
    cx: &mut Context<'_>,
    field: &Field<raw::OffOrMap<raw::SlowStart>>,
) -> Option<SlowStart> {
    let WordOr::Value(raw) = field.get()? else {
        return None;
    };
    let most = "100% is no slow start";
    let min_weight = cx.percent(&raw.min_weight_percent, 1.0, defaults::MIN_WEIGHT);
    if min_weight >= 1.0 {
        let problem = Problem::error("invalid_value", most).at(raw.min_weight_percent.span());
        cx.report(problem.help("lower it, or write `slow_start: off`".to_owned()));
    }
    Some(SlowStart {
        window: cx.duration_within(&raw.window, WINDOWS, defaults::SLOW_START_WINDOW),
        aggression: cx.float(&raw.aggression, 0.1..=10.0, defaults::AGGRESSION),
        min_weight,
    })
}
