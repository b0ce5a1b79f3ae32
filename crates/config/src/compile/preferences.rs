//! Which requests prefer which regions of an upstream.

use std::sync::Arc;

use tidegate_core::expression::Expression;
use tidegate_core::plan::{Preference, UpstreamRegion};

use crate::compile::regions::Regions;
use crate::compile::{Context, expression, rules};
use crate::problem::Problem;
use crate::raw;
use crate::span::Span;
use crate::yaml::Field;

/// Most rules of an upstream. The first that holds counts, so a request may ask all of them.
const RULES_MAX: usize = 64;

/// The preferences of an upstream that lives in `lives_in`.
pub(crate) fn compile(
    cx: &mut Context<'_>,
    field: &Field<Vec<Field<raw::Preference>>>,
    lives_in: &[UpstreamRegion],
    regions: &Regions,
) -> Box<[Preference]> {
    let given = field.get().map_or(&[][..], Vec::as_slice);
    if let Some(beyond) = given.get(RULES_MAX) {
        let message = format!("{} rules, at most {RULES_MAX} are allowed", given.len());
        cx.report(Problem::error("out_of_range", message).at(beyond.span()));
    }
    let mut found: Vec<(Preference, Option<Span>)> = Vec::new();
    for field in given.iter().take(RULES_MAX) {
        let Some(raw) = field.get() else { continue };
        let preferred = rules::preferred(cx, &raw.regions, field.span(), lives_in, regions);
        cx.required(&raw.when, field.span(), "when");
        let Some(when) = expression::condition(cx, &raw.when, "`when`") else {
            continue;
        };
        check_reached(cx, &when, raw.when.span(), &found);
        let rule = Preference {
            when,
            regions: preferred,
        };
        found.push((rule, raw.when.span()));
    }
    found.into_iter().map(|(rule, _)| rule).collect()
}

/// A rule whose condition an earlier one has already is never asked.
fn check_reached(
    cx: &mut Context<'_>,
    when: &Arc<Expression>,
    span: Option<Span>,
    found: &[(Preference, Option<Span>)],
) {
    let Some((_, first)) = found.iter().find(|(rule, _)| rule.when == *when) else {
        return;
    };
    let problem = Problem::warning("unreachable_key", "this rule never decides").at(span);
    let problem = problem.label(*first, "the same condition");
    cx.report(problem.help("the first rule that holds counts; remove it".to_owned()));
}
