//! What no request can reach, seen from all routes together: regions that stand by for nobody,
//! regions that can never be found healthy, rules that leave only what does not serve.

use std::collections::HashMap;

use tidegate_core::ids::MAX_REGIONS;
use tidegate_core::plan::{Plan, Route, Standby, Upstream, UpstreamRegion};
use tidegate_core::{Dial, RegionIdx, RegionSet, UpstreamIdx};

use crate::compile::{Context, given};
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::span::Span;

/// `plan` is that of `config`, without what has errors.
pub(crate) fn check(cx: &mut Context<'_>, config: &raw::Config, plan: &Plan) {
    let goes = ["upstream", "split", "mirror", "residency"];
    let all_known = cx.knows("routes", &goes, usize::MAX) && knows_regions(cx);
    let reached = match all_known {
        true => reached(plan),
        false => HashMap::new(),
    };
    let entries = config.upstreams.get().map_or(&[][..], |entries| &entries.0);
    for (index, (upstream, entry)) in plan.upstreams.iter().zip(entries).enumerate() {
        if !cx.flaws.is_sound("upstreams", index) {
            continue;
        }
        let allowed = reached.get(&UpstreamIdx(index as u16)).copied();
        let raw = entry.value.get().and_then(|raw| raw.regions.get());
        let given = raw.map_or(&[][..], |raw| &raw.0);
        for (region, raw) in upstream.regions.iter().zip(given) {
            let place = raw.value.get().and_then(|raw| raw.standby.span());
            check_standby(cx, upstream, region, allowed, place);
        }
    }
    check_dials(cx, config, plan);
    if knows_regions(cx) {
        for (route, (_, raw)) in plan.routes.iter().zip(given(config)) {
            check_route(cx, plan, route, raw);
        }
    }
}

/// Whether it is known which jurisdictions hold where.
fn knows_regions(cx: &Context<'_>) -> bool {
    cx.knows("regions", &["jurisdictions"], usize::MAX)
}

/// Regions that every upstream that lives there dials to nothing.
fn check_dials(cx: &mut Context<'_>, config: &raw::Config, plan: &Plan) {
    if !cx.knows("upstreams", &["regions"], usize::MAX) {
        return;
    }
    let lived_in = plan.upstreams.iter().flat_map(|one| one.regions.iter());
    let (mut closed, mut open) = (RegionSet::EMPTY, RegionSet::EMPTY);
    for region in lived_in {
        match region.dial == Dial::NONE {
            true => closed.insert(region.region),
            false => open.insert(region.region),
        }
    }
    let entries = config.regions.get().map_or(&[][..], |entries| &entries.0);
    for (index, entry) in entries.iter().take(MAX_REGIONS).enumerate() {
        let region = RegionIdx(index as u8);
        if closed.contains(region) && !open.contains(region) {
            let shown = quoted(&entry.name);
            let message = format!("nothing is sent to the region {shown}: its every dial is 0%");
            let problem = Problem::warning("unreachable_region", message).at(entry.name_span);
            let help =
                "dial it up where it is to serve; for a drain that ends use `tidegate drain`";
            cx.report(problem.help(help.to_owned()));
        }
    }
}

/// The regions that some route may go to, of every upstream that one leads to.
fn reached(plan: &Plan) -> HashMap<UpstreamIdx, RegionSet> {
    let mut reached: HashMap<UpstreamIdx, RegionSet> = HashMap::new();
    for route in &plan.routes {
        for upstream in route
            .upstreams()
            .chain(route.mirror.map(|mirror| mirror.upstream))
        {
            let lives_in = plan.upstream(upstream).regions.iter();
            let allowed = lives_in.map(|region| region.region);
            let allowed = allowed.filter(|region| route.allowed.contains(*region));
            let regions = reached.entry(upstream).or_insert(RegionSet::EMPTY);
            allowed.for_each(|region| regions.insert(region));
        }
    }
    reached
}

fn check_standby(
    cx: &mut Context<'_>,
    upstream: &Upstream,
    region: &UpstreamRegion,
    reached: Option<RegionSet>,
    place: Option<Span>,
) {
    if region.standby == Standby::Hot {
        return;
    }
    if reached.is_some_and(|reached| !reached.contains(region.region)) {
        let message = "this region stands by for nobody: residency keeps every route from it";
        let problem = Problem::warning("idle_standby", message).at(place);
        let help = "allow one of its jurisdictions in a route, or remove the region";
        cx.report(problem.help(help.to_owned()));
    }
    if matches!(region.standby, Standby::Cold(_)) && upstream.health.probe.is_none() {
        let message = format!(
            "a cold region of {} is never found healthy: there is no probe",
            quoted(&upstream.name)
        );
        let problem = Problem::error("unprobed_standby", message).at(place);
        let help = "it takes traffic once its probe says so; give the upstream one in `health`, or make it `warm`";
        cx.report(problem.help(help.to_owned()));
    }
}

/// A rule that leaves regions, none of which serves.
fn check_route(cx: &mut Context<'_>, plan: &Plan, route: &Route, raw: &raw::Route) {
    let Some(rule) = raw.residency.get() else {
        return;
    };
    for upstream in route.upstreams().map(|index| plan.upstream(index)) {
        let regions = upstream.regions.iter();
        let mut left = regions.filter(|region| route.allowed.contains(region.region));
        // That none is left at all was told where the rule was compiled.
        if left.clone().next().is_none() {
            continue;
        }
        let shown = quoted(&upstream.name);
        let problem = if left.clone().all(|region| region.dial == Dial::NONE) {
            let message = format!("residency leaves {shown} only regions that are dialed to 0%");
            Problem::error("residency_leaves_no_region", message).help(
                "every request of this route would fail; dial one up, or allow another".to_owned(),
            )
        } else if left.all(|region| matches!(region.standby, Standby::Cold(_))) {
            let message = format!("residency leaves {shown} only cold regions");
            Problem::warning("only_cold", message)
                .help("requests of this route fail until one was started and is healthy".to_owned())
        } else {
            continue;
        };
        cx.report(problem.at(rule.allow.span()));
    }
}
