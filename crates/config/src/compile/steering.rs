//! How the regions of an upstream are ordered. Options belong to policies; one that its policy does
//! not have is refused, because a number that does nothing would be believed.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use tidegate_core::plan::{self, Spill, Spread, Steering, Tolerance, UpstreamRegion};

use crate::compile::regions::Regions;
use crate::compile::upstream::Of;
use crate::compile::{Context, affinity, default_duration, fallback, keys, preferences, rules};
use crate::defaults;
use crate::problem::Problem;
use crate::raw::{self, Policy};
use crate::units::{self, UnitError};
use crate::yaml::{Entry, Field};

/// Policies under which a region sheds what is beyond its capacity.
const SHEDDING: [Policy; 4] = [
    Policy::Latency,
    Policy::Geo,
    Policy::Capacity,
    Policy::Weighted,
];

/// The same in words.
const SHEDDING_WORDS: &str = "`policy: latency`, `capacity`, `geo` and `weighted`";

/// How full a region may be said to be.
const FILL: RangeInclusive<f64> = 0.01..=10.0;

/// `return_at` by default, as a part of `spill_at`.
const RETURN_PART: f64 = 0.9;

/// Shorter is no average, longer is no reaction.
const SMOOTHING: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(600);

/// Compiles the steering of an upstream that lives in `regions`, some of `all`. With the files of
/// the secrets of its affinity.
pub(crate) fn compile(
    cx: &mut Context<'_>,
    of: &Of<'_>,
    regions: &[UpstreamRegion],
    all: &Regions,
) -> (Steering, Vec<PathBuf>) {
    let default = raw::Steering::default();
    let raw = of.raw.steering.get().unwrap_or(&default);
    let chosen = raw.policy.or(Policy::Latency);
    refuse_options(cx, chosen, raw);
    refuse_spill(cx, chosen, raw, regions);
    if chosen != Policy::Priority {
        refuse_tiers(cx, of.raw);
    }
    check_capacities(cx, of.raw, chosen);
    let (affinity, secrets) = affinity::compile(cx, of, raw);
    let steering = Steering {
        policy: policy(cx, chosen, raw, regions, all),
        spill: spill(cx, raw),
        panic: fallback::panic(cx, &raw.panic),
        affinity,
        prefer: preferences::compile(cx, &raw.prefer, regions, all),
    };
    (steering, secrets)
}

fn policy(
    cx: &mut Context<'_>,
    policy: Policy,
    raw: &raw::Steering,
    regions: &[UpstreamRegion],
    all: &Regions,
) -> plan::Policy {
    match policy {
        Policy::Latency => plan::Policy::Latency {
            tolerance: tolerance(cx, &raw.tolerance, defaults::TOLERANCE),
            hysteresis: tolerance(cx, &raw.hysteresis, defaults::HYSTERESIS),
        },
        Policy::Priority => plan::Policy::Priority {
            overprovisioning: overprovisioning(cx, &raw.overprovisioning),
        },
        Policy::Weighted => plan::Policy::Weighted {
            hash_on: keys::compile(cx, &raw.hash_on),
        },
        Policy::Capacity => plan::Policy::Capacity {
            spread: match raw.spread.or(raw::Spread::Waterfall) {
                raw::Spread::Waterfall => Spread::Waterfall,
                raw::Spread::Spray => Spread::Spray,
            },
        },
        Policy::Geo => plan::Policy::Geo {
            rules: rules::compile(cx, &raw.rules, regions, all),
        },
        Policy::LeastLoad => plan::Policy::LeastLoad,
    }
}

/// Every option with the one policy that has it.
fn refuse_options(cx: &mut Context<'_>, policy: Policy, raw: &raw::Steering) {
    use Policy::{Capacity, Geo, Latency, Priority, Weighted};
    let options = [
        (
            "tolerance",
            raw.tolerance.span(),
            Latency,
            "`policy: latency`",
        ),
        (
            "hysteresis",
            raw.hysteresis.span(),
            Latency,
            "`policy: latency`",
        ),
        (
            "overprovisioning",
            raw.overprovisioning.span(),
            Priority,
            "`policy: priority`",
        ),
        (
            "hash_on",
            raw.hash_on.span(),
            Weighted,
            "`policy: weighted`",
        ),
        ("spread", raw.spread.span(), Capacity, "`policy: capacity`"),
        ("rules", raw.rules.span(), Geo, "`policy: geo`"),
    ];
    for (key, span, of, only_with) in options {
        if policy != of {
            cx.unused_if_given(span, key, only_with);
        }
    }
}

/// Nothing is shed by a policy that does not look at capacity, nor where there is none.
fn refuse_spill(
    cx: &mut Context<'_>,
    policy: Policy,
    raw: &raw::Steering,
    regions: &[UpstreamRegion],
) {
    let only_with = match SHEDDING.contains(&policy) {
        true if regions.is_empty() || has_capacity(regions) => return,
        true => "`capacity_rps` of a region",
        false => SHEDDING_WORDS,
    };
    cx.unused_if_given(raw.spill_at.span(), "spill_at", only_with);
    cx.unused_if_given(raw.return_at.span(), "return_at", only_with);
    cx.unused_if_given(raw.smoothing.span(), "smoothing", only_with);
}

fn has_capacity(regions: &[UpstreamRegion]) -> bool {
    regions.iter().any(|region| region.capacity_rps.is_some())
}

fn refuse_tiers(cx: &mut Context<'_>, raw: &raw::Upstream) {
    for (_, region) in given(raw) {
        cx.unused_if_given(region.tier.span(), "tier", "`policy: priority`");
    }
}

/// The regions of an upstream that are not broken.
fn given(
    raw: &raw::Upstream,
) -> impl Iterator<Item = (&Entry<raw::UpstreamRegion>, &raw::UpstreamRegion)> {
    let entries = raw.regions.get().into_iter().flat_map(|entries| &entries.0);
    entries.filter_map(|entry| Some((entry, entry.value.get()?)))
}

/// A policy that compares capacities needs them of all regions.
fn check_capacities(cx: &mut Context<'_>, raw: &raw::Upstream, policy: Policy) {
    let lacks = |region: &raw::UpstreamRegion| region.capacity_rps.is_absent();
    let chosen = raw
        .steering
        .get()
        .and_then(|steering| steering.policy.span());
    let told = given(raw).find_map(|(_, region)| region.capacity_rps.span());
    for (entry, _) in given(raw).filter(|(_, region)| lacks(region)) {
        let (problem, label) = match policy {
            Policy::Capacity => {
                let message = "the key `capacity_rps` is missing";
                let help = "requests a second that the region can serve; `policy: capacity` fills regions by it";
                (
                    Problem::error("missing_key", message).help(help.to_owned()),
                    chosen,
                )
            }
            Policy::Priority | Policy::LeastLoad if told.is_some() => {
                let message =
                    "this region has no `capacity_rps` to be compared with that of others";
                let help = "it counts as 1 beside them; give it to all regions or to none";
                (
                    Problem::warning("partial_capacity", message).help(help.to_owned()),
                    told,
                )
            }
            _ => continue,
        };
        let why = match policy {
            Policy::Capacity => "needed by this",
            _ => "another has one",
        };
        cx.report(problem.at(entry.name_span).label(label, why));
    }
}

fn spill(cx: &mut Context<'_>, raw: &raw::Steering) -> Spill {
    let at = cx.percent_within(&raw.spill_at, FILL, defaults::SPILL_AT);
    let back = match raw.return_at.is_absent() {
        true => default_return(at),
        false => cx.percent_within(&raw.return_at, FILL, defaults::RETURN_AT),
    };
    if back > at {
        let shown = (units::show_percent(back), units::show_percent(at));
        let message = format!(
            "`return_at` ({}) is above `spill_at` ({})",
            shown.0, shown.1
        );
        let problem = Problem::error("conflicting_shares", message).at(raw.return_at.span());
        let problem = problem.label(raw.spill_at.span(), "it sheds from here on");
        let help = "a region takes everything again once it is well below the load at which it sheds; lower it";
        cx.report(problem.help(help.to_owned()));
    }
    Spill {
        at,
        back,
        smoothing: cx.duration_within(&raw.smoothing, SMOOTHING, defaults::SMOOTHING),
    }
}

/// Rounded to what is written of it, so that it reads back the same.
fn default_return(at: f64) -> f64 {
    let default = units::percent(defaults::RETURN_AT).unwrap_or(RETURN_PART);
    let part = units::percent(&units::show_percent(at * RETURN_PART));
    part.unwrap_or(default).min(default)
}

fn overprovisioning(cx: &mut Context<'_>, field: &Field<f64>) -> f64 {
    match field.get() {
        Some(percent) if (100.0..=1000.0).contains(percent) => {
            let problem = Problem::error("out_of_range", format!("{percent} is out of range"));
            let help = format!(
                "did you mean `{}`? It is a factor, not a percentage",
                percent / 100.0
            );
            cx.report(problem.at(field.span()).help(help));
            defaults::OVERPROVISIONING
        }
        _ => cx.float(field, 1.0..=10.0, defaults::OVERPROVISIONING),
    }
}

fn tolerance(cx: &mut Context<'_>, field: &Field<raw::Tolerance>, default: &str) -> Tolerance {
    cx.unit(field, width)
        .unwrap_or_else(|| match width(default) {
            Ok(width) => width,
            Err(_) => Tolerance::Absolute(default_duration(defaults::TOLERANCE)),
        })
}

/// A duration or a share.
fn width(text: &str) -> Result<Tolerance, UnitError> {
    if text.ends_with('%') {
        return units::percent(text).map(Tolerance::Relative);
    }
    let duration = units::duration(text).map(Tolerance::Absolute);
    duration.map_err(|error| {
        let bare = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        let both = format!("did you mean `{text}ms` or `{text}%`?");
        UnitError {
            help: if bare { both } else { error.help },
            ..error
        }
    })
}

/// Whether what a region does beyond its capacity matters under this policy.
pub(crate) fn sheds(policy: &plan::Policy, regions: &[UpstreamRegion]) -> bool {
    use plan::Policy::{Capacity, Geo, Latency, Weighted};
    let shedding = matches!(
        policy,
        Latency { .. } | Geo { .. } | Capacity { .. } | Weighted { .. }
    );
    shedding && has_capacity(regions)
}
