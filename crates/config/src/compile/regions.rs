//! Regions, and where things are.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_core::ids::{MAX_REGIONS, RegionIdx};
use tidegate_core::plan::{Location, Region};

use crate::compile::{Context, action, names};
use crate::problem::Problem;
use crate::raw;
use crate::yaml::{Entry, Field};

/// The regions by index and by name.
#[derive(Default)]
pub(crate) struct Regions {
    pub(crate) list: Vec<Region>,
    pub(crate) by_name: HashMap<String, RegionIdx>,
}

impl Regions {
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|region| region.name.as_ref())
    }
}

pub(crate) fn compile(cx: &mut Context<'_>, config: &raw::Config) -> Regions {
    let mut regions = Regions::default();
    let needed = action::needs_upstreams(config) || !config.upstreams.is_absent();
    if !needed && config.regions.is_absent() {
        return regions;
    }
    let Some(entries) = cx.required(&config.regions, None, "regions") else {
        assume(cx, config, &mut regions);
        return regions;
    };
    let needed = action::needs_upstreams(config) && cx.gaps.is_whole("regions");
    if entries.0.is_empty() && needed {
        let problem = Problem::error("empty_regions", "no region is defined");
        cx.report(
            problem
                .at(config.regions.span())
                .help("define where upstreams live".to_owned()),
        );
    }
    for (index, entry) in entries.0.iter().enumerate() {
        if index == MAX_REGIONS {
            let message = format!(
                "{} regions, at most {MAX_REGIONS} are supported",
                entries.0.len()
            );
            cx.report(Problem::error("too_many_regions", message).at(entry.name_span));
        }
        names::check(cx, "region", &entry.name, entry.name_span);
        // Names beyond the limit stay known, so that references to them are no second problem.
        let last = index.min(MAX_REGIONS - 1);
        regions
            .by_name
            .insert(entry.name.clone(), RegionIdx(last as u8));
        regions.list.push(region(cx, entry));
    }
    assume(cx, config, &mut regions);
    regions
}

/// Takes it that the regions are there that upstreams live in, where those that are defined are not
/// all known.
fn assume(cx: &Context<'_>, config: &raw::Config, regions: &mut Regions) {
    if cx.gaps.is_whole("regions") {
        return;
    }
    let upstreams = config.upstreams.get().map_or(&[][..], |entries| &entries.0);
    let named = upstreams
        .iter()
        .filter_map(|entry| entry.value.get()?.regions.get());
    for entry in named.flat_map(|entries| &entries.0) {
        let next = regions.list.len();
        if next < MAX_REGIONS && !regions.by_name.contains_key(&entry.name) {
            let index = RegionIdx(next as u8);
            regions.by_name.insert(entry.name.clone(), index);
            regions.list.push(Region {
                name: entry.name.as_str().into(),
                location: None,
                jurisdictions: Box::default(),
            });
        }
    }
}

fn region(cx: &mut Context<'_>, entry: &Entry<raw::Region>) -> Region {
    let raw = entry.value.get();
    Region {
        name: entry.name.as_str().into(),
        location: raw.and_then(|raw| location(cx, &raw.location)),
        jurisdictions: raw.map(|raw| jurisdictions(cx, raw)).unwrap_or_default(),
    }
}

fn jurisdictions(cx: &mut Context<'_>, region: &raw::Region) -> Box<[Arc<str>]> {
    let given = region.jurisdictions.get().into_iter().flatten();
    let valid = given.filter_map(|name| names::checked(cx, "jurisdiction", name));
    let mut list: Vec<Arc<str>> = Vec::new();
    for name in valid {
        if !list.iter().any(|known| known.as_ref() == name) {
            list.push(name.into());
        }
    }
    list.into()
}

/// Coordinates: a latitude and a longitude, both in range.
pub(crate) fn location(cx: &mut Context<'_>, field: &Field<raw::Coordinates>) -> Option<Location> {
    let list = &field.get()?.0;
    let [latitude, longitude] = list.as_slice() else {
        let message = format!("a location is two numbers, found {}", list.len());
        let problem = Problem::error("invalid_location", message).at(field.span());
        cx.report(problem.help("write `[latitude, longitude]`, like `[50.11, 8.68]`".to_owned()));
        return None;
    };
    let latitude = degrees(cx, latitude, "latitude", 90.0)?;
    let longitude = degrees(cx, longitude, "longitude", 180.0)?;
    Some(Location {
        latitude,
        longitude,
    })
}

fn degrees(cx: &mut Context<'_>, field: &Field<f64>, what: &str, max: f64) -> Option<f64> {
    let value = *field.get()?;
    if value.abs() <= max {
        // -0.0 and 0.0 are the same place and must hash alike.
        return Some(value + 0.0);
    }
    let problem = Problem::error("invalid_location", format!("{value} is not a {what}"));
    cx.report(
        problem
            .at(field.span())
            .help(format!("degrees from -{max} to {max}")),
    );
    None
}
