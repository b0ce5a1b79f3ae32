//! Which regions a residency rule allows. Fail-closed: a rule that cannot be met is refused here,
//! before a request meets it.

use std::sync::Arc;

use tidegate_core::ids::{MAX_REGIONS, RegionIdx, RegionSet};

use crate::compile::regions::Regions;
use crate::compile::{Context, names};
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::yaml::Field;

/// A compiled rule: the allowed regions and the rule's words.
pub(crate) type Rule = (RegionSet, Box<[Arc<str>]>);

/// The rule of a route whose upstream lives in `lives_in`. Everywhere without a rule.
pub(crate) fn compile(
    cx: &mut Context<'_>,
    field: &Field<raw::Residency>,
    regions: &Regions,
    lives_in: &[RegionIdx],
) -> Rule {
    let Some(residency) = field.get() else {
        return (RegionSet::ALL, Box::default());
    };
    let Some(allow) = cx.required(&residency.allow, field.span(), "allow") else {
        return (RegionSet::EMPTY, Box::default());
    };
    let words: Vec<&str> = allow
        .iter()
        .filter_map(|word| known(cx, word, regions))
        .collect();
    let allowed = allowed(regions, &words);
    if allow.is_empty() || (!words.is_empty() && nowhere(allowed, lives_in)) {
        cx.report(leaves_none(&words, regions, lives_in).at(residency.allow.span()));
    }
    (allowed, words.into_iter().map(Arc::from).collect())
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
    if !exists {
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

fn leaves_none(words: &[&str], regions: &Regions, lives_in: &[RegionIdx]) -> Problem {
    let list = |names: Vec<String>| names.join(", ");
    let rule = list(words.iter().map(|word| quoted(word)).collect());
    let places = list(
        lives_in
            .iter()
            .map(|i| quoted(&regions.list[i.get()].name))
            .collect(),
    );
    let message = match words {
        [] => "the residency rule allows no jurisdiction".to_owned(),
        _ => format!("residency leaves the upstream no region: none of {places} is in {rule}"),
    };
    Problem::error("residency_leaves_no_region", message).help(
        "every request of this route would fail; allow a jurisdiction that the upstream lives in"
            .to_owned(),
    )
}
