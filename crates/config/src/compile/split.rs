//! Where else a route's requests go: split between upstreams, copied to another, kept in a region.

use std::collections::{HashMap, HashSet};

use tidegate_core::Dial;
use tidegate_core::plan::{Isolation, Mirror, Split, SplitTarget};

use crate::compile::context::SHARE_MIN;
use crate::compile::routes::{Place, Targets};
use crate::compile::{Context, affinity, keys};
use crate::defaults;
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::span::Span;
use crate::units;
use crate::yaml::{Field, WordOr};

/// Largest weight.
const WEIGHT_MAX: u64 = 1_000_000;

/// Largest body that may be copied, in bytes: copies are held in memory.
const MIRROR_BODY_MAX: u64 = 64 << 20;

/// The upstreams that share a route's requests, and their places in the file. No split when the
/// route has none.
pub(crate) fn split<'t, 'a>(
    cx: &mut Context<'_>,
    raw: &raw::Route,
    targets: &'t Targets<'a>,
) -> (Option<Box<Split>>, Vec<Place<'t, 'a>>) {
    let Some(list) = raw.split.get() else {
        cx.unused_if_given(raw.split_on.span(), "split_on", "`split`");
        return (None, Vec::new());
    };
    let hash_on = keys::compile(cx, &raw.split_on);
    check_length(cx, list.len(), raw.split.span());
    let mut seen = HashMap::new();
    let given: Vec<_> = list
        .iter()
        .filter_map(|field| target(cx, field, targets, &mut seen))
        .collect();
    check_weights(cx, list, &given);
    if hash_on.is_empty() {
        check_cookies(cx, raw.split.span(), &given);
    }
    let parts = given.iter().map(|(part, _)| *part).collect();
    let split = Split {
        targets: parts,
        hash_on,
    };
    let places = given.into_iter().map(|(_, place)| place).collect();
    (Some(Box::new(split)), places)
}

fn check_length(cx: &mut Context<'_>, length: usize, span: Option<Span>) {
    let (problem, help) = match length {
        0 => (
            Problem::error("empty_split", "the split has no upstream"),
            "name two or more, or write `upstream`",
        ),
        1 => (
            Problem::warning("single_target", "a split with one upstream splits nothing"),
            "add another, or write `upstream`",
        ),
        _ => return,
    };
    cx.report(problem.at(span).help(help.to_owned()));
}

fn target<'t, 'a>(
    cx: &mut Context<'_>,
    field: &Field<raw::SplitTarget>,
    targets: &'t Targets<'a>,
    seen: &mut HashMap<String, Option<Span>>,
) -> Option<(SplitTarget, Place<'t, 'a>)> {
    let raw = field.get()?;
    let weight = cx.number(&raw.weight, 0..=WEIGHT_MAX, defaults::WEIGHT) as u32;
    let place = targets.place(cx, &raw.upstream, field.span())?;
    let name = raw.upstream.get()?.as_ref();
    if let Some(first) = seen.insert(name.to_owned(), place.span) {
        let message = format!("the upstream {} is in the split twice", quoted(name));
        let problem = Problem::error("duplicate_name", message).at(place.span);
        let problem = problem.label(first, "first here");
        cx.report(problem.help("add up their weights".to_owned()));
    }
    let part = SplitTarget {
        upstream: place.target.index,
        weight,
    };
    Some((part, place))
}

fn check_weights(
    cx: &mut Context<'_>,
    list: &[Field<raw::SplitTarget>],
    given: &[(SplitTarget, Place<'_, '_>)],
) {
    if given.is_empty() || given.iter().any(|(part, _)| part.weight > 0) {
        return;
    }
    let place = list.iter().find_map(|field| field.get()?.weight.span());
    let problem = Problem::error(
        "all_weights_zero",
        "every upstream of the split has weight 0",
    );
    cx.report(
        problem
            .at(place)
            .help("no request would go anywhere; give one a weight".to_owned()),
    );
}

/// A client whose requests go now here, now there, and who is bound under one name by both.
fn check_cookies(cx: &mut Context<'_>, span: Option<Span>, given: &[(SplitTarget, Place<'_, '_>)]) {
    let drawn = given.iter().filter(|(part, _)| part.weight > 0);
    let raws = drawn.filter_map(|(_, place)| place.target.raw);
    let mut names = raws.filter_map(|raw| affinity::cookie_of(raw)?.name.get());
    let mut seen = HashSet::new();
    let Some(name) = names.find(|name| !seen.insert(name.as_str())) else {
        return;
    };
    let message = format!(
        "each request of a client is drawn anew between upstreams that set the same cookie, {}",
        quoted(name)
    );
    let problem = Problem::warning("shared_cookie", message).at(span);
    let help =
        "it is moved again and again; add `split_on`, or give each upstream a cookie of its own";
    cx.report(problem.help(help.to_owned()));
}

/// Who gets copies, and its place in the file. `own` are the upstreams of the requests themselves.
pub(crate) fn mirror<'t, 'a>(
    cx: &mut Context<'_>,
    raw: &raw::Route,
    targets: &'t Targets<'a>,
    own: &[Place<'_, '_>],
) -> Option<(Mirror, Place<'t, 'a>)> {
    let mirror = raw.mirror.get()?;
    let place = targets.place(cx, &mirror.upstream, raw.mirror.span());
    let share = cx.percent_within(&mirror.share, SHARE_MIN..=1.0, defaults::MIRROR_SHARE);
    let max_body = cx.size(&mirror.max_body, 0..=MIRROR_BODY_MAX);
    let place = place?;
    let same = own
        .iter()
        .find(|own| own.target.index == place.target.index);
    if let Some(same) = same {
        let message = "copies go to the upstream that serves the request itself";
        let problem = Problem::warning("mirror_to_itself", message).at(place.span);
        let problem = problem.label(same.span, "the same one");
        let help = "it does the work of each copied request twice; name another upstream";
        cx.report(problem.help(help.to_owned()));
    }
    let default = || units::size(defaults::MIRROR_BODY).expect("defaults are sizes");
    let mirror = Mirror {
        upstream: place.target.index,
        share: Dial::new(share),
        max_body: max_body.unwrap_or_else(default),
    };
    Some((mirror, place))
}

/// Whether load or failure may move a route's requests away.
pub(crate) fn isolation(
    cx: &mut Context<'_>,
    raw: &raw::Route,
    own: &[Place<'_, '_>],
) -> Isolation {
    let isolation = match raw.isolation.or(raw::Isolation::Off) {
        raw::Isolation::Off => return Isolation::Off,
        raw::Isolation::Nearest => Isolation::Nearest,
        raw::Isolation::Strict => Isolation::Strict,
    };
    if !own.is_empty() && own.iter().all(|place| place.target.lives_in.len() == 1) {
        let message = "the upstream lives in one region, so there is nowhere to move to";
        let problem = Problem::warning("no_effect", message).at(raw.isolation.span());
        cx.report(problem.help("remove the key".to_owned()));
    }
    check_hedge(cx, raw, isolation);
    isolation
}

/// A second attempt in another region, where there is none.
fn check_hedge(cx: &mut Context<'_>, raw: &raw::Route, isolation: Isolation) {
    let Some(WordOr::Value(hedge)) = raw.hedge.get() else {
        return;
    };
    let elsewhere = matches!(hedge.to.get(), Some(raw::HedgeTo::Region));
    if elsewhere && isolation == Isolation::Strict {
        let message = "no request of this route leaves its region, so none is hedged in another";
        let problem = Problem::warning("no_effect", message).at(hedge.to.span());
        let problem = problem.label(raw.isolation.span(), "it stays");
        cx.report(problem.help("write `to: endpoint`".to_owned()));
    }
}
