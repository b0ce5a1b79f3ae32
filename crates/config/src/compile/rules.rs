//! Rules of `geo`: which regions clients of which places prefer.

use tidegate_core::ids::RegionIdx;
use tidegate_core::plan::{GeoRule, UpstreamRegion};

use crate::compile::regions::Regions;
use crate::compile::{Context, names, places};
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::span::Span;
use crate::yaml::Field;

/// Places that earlier rules, or earlier words of a rule, decide about.
type Seen = Vec<([u8; 2], &'static str, Option<Span>)>;

/// The rules of an upstream that lives in `lives_in`.
pub(crate) fn compile(
    cx: &mut Context<'_>,
    field: &Field<Vec<Field<raw::GeoRule>>>,
    lives_in: &[UpstreamRegion],
    regions: &Regions,
) -> Box<[GeoRule]> {
    let mut seen = Seen::new();
    let given = field.get().into_iter().flatten();
    given
        .filter_map(|field| rule(cx, field, lives_in, regions, &mut seen))
        .collect()
}

fn rule(
    cx: &mut Context<'_>,
    field: &Field<raw::GeoRule>,
    lives_in: &[UpstreamRegion],
    regions: &Regions,
    seen: &mut Seen,
) -> Option<GeoRule> {
    let raw = field.get()?;
    let empty = |list: &Field<Vec<Field<String>>>| list.get().is_none_or(Vec::is_empty);
    if empty(&raw.countries) && empty(&raw.continents) {
        let message = "a rule needs `countries` or `continents`";
        let problem = Problem::error("one_of", message).at(field.span());
        cx.report(problem.help("without a rule clients go to the nearest region".to_owned()));
    }
    let countries = words(cx, &raw.countries, places::country, ("country", seen));
    let continents = words(cx, &raw.continents, places::continent, ("continent", seen));
    Some(GeoRule {
        countries,
        continents,
        regions: preferred(cx, &raw.regions, field.span(), lives_in, regions),
    })
}

/// The regions that the rule at `span` prefers, best first.
pub(crate) fn preferred(
    cx: &mut Context<'_>,
    field: &Field<Vec<Field<raw::Name>>>,
    span: Option<Span>,
    lives_in: &[UpstreamRegion],
    regions: &Regions,
) -> Box<[RegionIdx]> {
    let Some(list) = cx.required(field, span, "regions") else {
        return Box::default();
    };
    if list.is_empty() {
        let problem = Problem::error("empty_regions", "the rule prefers no region");
        let help = "name regions of the upstream, best first".to_owned();
        cx.report(problem.at(field.span()).help(help));
    }
    preferred_regions(cx, list, lives_in, regions)
}

/// The places of a list; told where an earlier rule has one already.
fn words(
    cx: &mut Context<'_>,
    field: &Field<Vec<Field<String>>>,
    parse: fn(&mut Context<'_>, &Field<String>) -> Option<[u8; 2]>,
    (kind, seen): (&'static str, &mut Seen),
) -> Box<[[u8; 2]]> {
    let mut places = Vec::new();
    for field in field.get().into_iter().flatten() {
        let Some(place) = parse(cx, field) else {
            continue;
        };
        let earlier = seen
            .iter()
            .find(|(known, of, _)| *known == place && *of == kind);
        if let Some((_, _, first)) = earlier {
            let shown = String::from_utf8_lossy(&place).into_owned();
            let message = format!("{} never decides", quoted(&shown));
            let problem = Problem::warning("unreachable_key", message).at(field.span());
            let problem = problem.label(*first, "this one");
            cx.report(problem.help("the first rule that fits counts; remove it".to_owned()));
        }
        seen.push((place, kind, field.span()));
        places.push(place);
    }
    places.into()
}

fn preferred_regions(
    cx: &mut Context<'_>,
    list: &[Field<raw::Name>],
    lives_in: &[UpstreamRegion],
    regions: &Regions,
) -> Box<[RegionIdx]> {
    let mut preferred: Vec<RegionIdx> = Vec::new();
    for field in list {
        let Some(name) = field.get().map(AsRef::as_ref) else {
            continue;
        };
        let index = regions.by_name.get(name).copied();
        let here = index.filter(|index| lives_in.iter().any(|region| region.region == *index));
        match here {
            Some(index) if preferred.contains(&index) => {
                let message = format!("the region {} is listed twice", quoted(name));
                let problem = Problem::error("duplicate_name", message).at(field.span());
                cx.report(problem.help("remove one".to_owned()));
            }
            Some(index) => preferred.push(index),
            None if lives_in.is_empty() => {}
            None => {
                let list = lives_in
                    .iter()
                    .filter_map(|lives| regions.list.get(lives.region.get()));
                let known = list.map(|region| region.name.as_ref());
                let message = format!("this upstream has no region {}", quoted(name));
                names::unknown_as(cx, "unknown_region", message, name, field.span(), known);
            }
        }
    }
    preferred.into()
}
