//! What is asked of endpoints for the sake of balance, and how often.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::plan::Prequal;

use crate::compile::{Context, matches};
use crate::defaults;
use crate::problem::Problem;
use crate::raw;
use crate::span::Span;
use crate::yaml::Field;

/// One probe a request keeps a pool of one; the paper saw requests pile up there.
const RATES: RangeInclusive<f64> = 0.1..=8.0;
const POOL_SIZES: RangeInclusive<u64> = 2..=64;
/// What is older says nothing of now.
const AGES: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
/// With so few, two draws see nearly everybody.
const FEW: usize = 4;

/// Compiles the probes of an upstream whose largest region has so many endpoints.
pub(super) fn prequal(
    cx: &mut Context<'_>,
    raw: &raw::Balance,
    whole: Option<Span>,
    largest: usize,
) -> Prequal {
    let default = raw::BalanceProbe::default();
    let probe = cx.required(&raw.probe, whole, "probe").unwrap_or(&default);
    if largest > 0 && largest <= FEW {
        let message = format!("probes of {largest} endpoints cost more than they find out");
        let help = "`peak_ewma` sees as much where there are so few, and asks nobody";
        let problem = Problem::warning("few_endpoints", message).at(whole);
        cx.report(problem.help(help.to_owned()));
    }
    Prequal {
        path: path(cx, &probe.path, raw.probe.span()),
        rate: cx.float(&probe.rate, RATES, defaults::PROBE_RATE),
        pool_size: cx.number(&probe.pool_size, POOL_SIZES, defaults::PROBE_POOL_SIZE) as u8,
        max_age: cx.duration_within(&probe.max_age, AGES, defaults::PROBE_MAX_AGE),
        timeout: cx.duration_within(&probe.timeout, AGES, defaults::PROBE_TIMEOUT_OF_BALANCE),
        hot_quantile: cx.percent(&probe.hot_quantile, 1.0, defaults::PROBE_HOT_QUANTILE),
    }
}

fn path(cx: &mut Context<'_>, field: &Field<String>, probe: Option<Span>) -> Arc<str> {
    // Of one thing that is missing one is told.
    let path = probe.and_then(|_| cx.required(field, probe, "path"));
    let Some(path) = path else {
        return "/".into();
    };
    matches::check_target(cx, path, field.span());
    path.as_str().into()
}
