//! Which regions a residency rule allows. Fail-closed: a rule that cannot be met is refused here,
//! before a request meets it.

use std::sync::Arc;

use tidegate_core::ids::{MAX_REGIONS, RegionIdx, RegionSet};

use crate::compile::regions::Regions;
use crate::compile::routes::Place;
use crate::compile::{Context, names};
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::yaml::Field;

/// What to do about a rule that nothing meets.
const HELP: &str =
    "every request of this route would fail; allow a jurisdiction that the upstream lives in";

/// A compiled rule: the allowed regions and the rule's words.
pub(crate) type Rule = (RegionSet, Box<[Arc<str>]>);

/// A rule of a route, to be held against the upstreams that the route leads to.
pub(crate) struct Checked<'a> {
    pub(crate) field: &'a Field<raw::Residency>,
    pub(crate) allowed: RegionSet,
    pub(crate) words: &'a [Arc<str>],
    pub(crate) regions: &'a Regions,
}

/// The rule of a route. Everywhere without one.
pub(crate) fn compile(
    cx: &mut Context<'_>,
    field: &Field<raw::Residency>,
    regions: &Regions,
) -> Rule {
    let Some(residency) = field.get() else {
        return (RegionSet::ALL, Box::default());
    };
    let Some(allow) = cx.required(&residency.allow, field.span(), "allow") else {
        return (RegionSet::EMPTY, Box::default());
    };
    if allow.is_empty() {
        let message = "the residency rule allows no jurisdiction";
        let problem = Problem::error("residency_leaves_no_region", message);
        cx.report(problem.at(residency.allow.span()).help(HELP.to_owned()));
    }
    let words: Vec<&str> = allow
        .iter()
        .filter_map(|word| known(cx, word, regions))
        .collect();
    let allowed = allowed(regions, &words);
    (allowed, words.into_iter().map(Arc::from).collect())
}

impl Checked<'_> {
    /// Every upstream of the route, and the one that gets copies, keeps a region.
    pub(crate) fn check(
        &self,
        cx: &mut Context<'_>,
        own: &[Place<'_, '_>],
        copies: Option<Place<'_, '_>>,
    ) {
        if !cx.knows("regions", &["jurisdictions"], usize::MAX) {
            return;
        }
        // Without words the rule was reported.
        let Some(rule) = self.field.get() else {
            return;
        };
        let allow = rule.allow.span();
        let unknown = |words: &Vec<_>| words.len() != self.words.len();
        if rule.allow.get().is_none_or(unknown) {
            return;
        }
        let several = own.len() > 1;
        let places = own.iter().map(|place| (place, several));
        let places = places.chain(copies.as_ref().map(|place| (place, true)));
        for (place, by_place) in places.filter(|_| !self.words.is_empty()) {
            let lives_in = &place.target.lives_in;
            if nowhere(self.allowed, lives_in) {
                let problem = self.leaves_none(lives_in);
                cx.report(match by_place {
                    true => problem.at(place.span).label(allow, "the rule"),
                    false => problem.at(allow),
                });
            }
        }
    }

    fn leaves_none(&self, lives_in: &[RegionIdx]) -> Problem {
        let list = |names: Vec<String>| names.join(", ");
        let rule = list(self.words.iter().map(|word| quoted(word)).collect());
        let name = |index: &RegionIdx| quoted(&self.regions.list[index.get()].name);
        let places = list(lives_in.iter().map(name).collect());
        let message =
            format!("residency leaves the upstream no region: none of {places} is in {rule}");
        Problem::error("residency_leaves_no_region", message).help(HELP.to_owned())
    }
}

fn known<'f>(
    cx: &mut Context<'_>,
    word: &'f Field<raw::Name>,
    regions: &Regions,
) -> Option<&'f str> {
    let name = word.get()?.as_ref();
    let all = || {
        regions
            .list
            .iter()
            .flat_map(|region| region.jurisdictions.iter())
    };
    let exists = all().any(|jurisdiction| jurisdiction.as_ref() == name);
    if !exists && cx.knows("regions", &["jurisdictions"], usize::MAX) {
        let mut known: Vec<&str> = all().map(AsRef::as_ref).collect();
        known.sort_unstable();
        known.dedup();
        let what = "region in the jurisdiction";
        if known.is_empty() {
            let message = format!("there is no {what} {}", quoted(name));
            let help = "no region has any; list those of each region under `jurisdictions`";
            let problem = Problem::error("unknown_jurisdiction", message).at(word.span());
            cx.report(problem.help(help.to_owned()));
            return None;
        }
        names::unknown(cx, "unknown_jurisdiction", what, name, word.span(), known);
    }
    exists.then_some(name)
}

fn allowed(regions: &Regions, words: &[&str]) -> RegionSet {
    let in_one =
        |jurisdictions: &[Arc<str>]| jurisdictions.iter().any(|j| words.contains(&j.as_ref()));
    let regions = regions.list.iter().take(MAX_REGIONS).enumerate();
    regions
        .filter(|(_, region)| in_one(&region.jurisdictions))
        .map(|(index, _)| RegionIdx(index as u8))
        .collect()
}

/// Unknown upstreams have no regions; that was reported already.
fn nowhere(allowed: RegionSet, lives_in: &[RegionIdx]) -> bool {
    !lives_in.is_empty() && !lives_in.iter().any(|region| allowed.contains(*region))
}
