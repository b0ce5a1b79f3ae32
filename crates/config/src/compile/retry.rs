//! When a request may be tried again.

use tidegate_core::plan::{RetryOn, RetryPolicy};

use crate::compile::{Context, syntax};
use crate::defaults;
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::suggest;
use crate::yaml::Field;

pub(crate) fn compile(cx: &mut Context<'_>, raw: &raw::Retry, regions: usize) -> RetryPolicy {
    if regions == 1 && !raw.cross_region_budget.is_absent() {
        let message = "the upstream lives in one region, so no retry can leave it";
        let problem =
            Problem::warning("nowhere_to_retry", message).at(raw.cross_region_budget.span());
        cx.report(problem.help("add a region, or remove the key".to_owned()));
    }
    RetryPolicy {
        attempts: cx.number(&raw.attempts, 1..=16, defaults::ATTEMPTS) as u8,
        on: retry_on(cx, &raw.on),
        per_try: cx.unless_off(&raw.per_try, defaults::PER_TRY, |cx, field| {
            cx.duration(field, defaults::PER_TRY)
        }),
        budget: cx.percent(&raw.budget, 10.0, defaults::BUDGET),
        cross_region_budget: cx.percent(
            &raw.cross_region_budget,
            10.0,
            defaults::CROSS_REGION_BUDGET,
        ),
        ..RetryPolicy::default()
    }
}

fn retry_on(cx: &mut Context<'_>, field: &Field<Vec<Field<raw::RetryOn>>>) -> RetryOn {
    let mut on = RetryOn::default();
    let mut statuses = Vec::new();
    match field.get() {
        None => defaults::RETRY_ON.iter().for_each(|word| {
            enter(word, &mut on, &mut statuses);
        }),
        Some(list) => list
            .iter()
            .for_each(|field| retry_word(cx, field, &mut on, &mut statuses)),
    }
    statuses.sort_unstable();
    statuses.dedup();
    RetryOn {
        statuses: statuses.into(),
        ..on
    }
}

fn retry_word(
    cx: &mut Context<'_>,
    field: &Field<raw::RetryOn>,
    on: &mut RetryOn,
    statuses: &mut Vec<u16>,
) {
    let Some(word) = field.get().map(AsRef::as_ref) else {
        return;
    };
    if enter(word, on, statuses) {
        return;
    }
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        let help = "statuses are from 100 to 599, each on its own";
        cx.invalid(field.span(), "status", "a status", word, help);
        return;
    }
    let help = suggest::one_of(word, ["connect", "reset", "timeout", "bad_response"]);
    let message = format!("{} is not a failure that can be retried", quoted(word));
    cx.report(
        Problem::error("unknown_value", message)
            .at(field.span())
            .help(help),
    );
}

/// Enters a failure or a status; false when it is neither.
fn enter(word: &str, on: &mut RetryOn, statuses: &mut Vec<u16>) -> bool {
    match word {
        "connect" => on.connect = true,
        "reset" => on.reset = true,
        "timeout" => on.timeout = true,
        "bad_response" => on.bad_response = true,
        _ => match syntax::status(word) {
            Some(status) => statuses.push(status),
            None => return false,
        },
    }
    true
}
