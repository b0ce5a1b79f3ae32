//! When a request may be tried again.

use tidegate_core::plan::{Backoff, RetryOn, RetryPolicy, UnknownOutcome};

use crate::compile::{Context, syntax};
use crate::defaults;
use crate::grpc;
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::suggest;
use crate::units::show_duration;
use crate::yaml::Field;

/// The failures, in our words; HAProxy's are other spellings.
const FAILURES: [&str; 4] = ["connect", "reset", "timeout", "bad_response"];

/// What HAProxy's `all-retryable-errors` stands for, but for early data that was rejected.
const ALL_RETRYABLE: [&str; 8] = [
    "connect",
    "reset",
    "timeout",
    "bad_response",
    "500",
    "502",
    "503",
    "504",
];

/// HAProxy's words for the same.
const OF_HAPROXY: [&str; 6] = [
    "conn-failure",
    "empty-response",
    "response-timeout",
    "junk-response",
    "all-retryable-errors",
    "none",
];

/// HAProxy's word for early data that a server rejected.
const EARLY_DATA: &str = "0rtt-rejected";

/// Compiles the retries of an upstream that lives in so many regions.
pub(crate) fn compile(cx: &mut Context<'_>, raw: &raw::Retry, regions: usize) -> RetryPolicy {
    if regions == 1 && !raw.cross_region_budget.is_absent() {
        let message = "the upstream lives in one region, so no retry can leave it";
        let problem =
            Problem::warning("nowhere_to_retry", message).at(raw.cross_region_budget.span());
        cx.report(problem.help("add a region, or remove the key".to_owned()));
    }
    let policy = RetryPolicy {
        attempts: cx.number(&raw.attempts, 1..=16, defaults::ATTEMPTS) as u8,
        on: retry_on(cx, &raw.on),
        per_try: cx.unless_off(&raw.per_try, defaults::PER_TRY, |cx, field| {
            cx.duration(field, defaults::PER_TRY)
        }),
        first_byte: cx.unless_off(&raw.first_byte, "off", |cx, field| {
            cx.duration(field, defaults::PER_TRY)
        }),
        backoff: backoff(cx, raw.backoff.get().unwrap_or(&raw::Backoff::default())),
        budget: cx.percent(&raw.budget, 10.0, defaults::BUDGET),
        cross_region_budget: cx.percent(
            &raw.cross_region_budget,
            10.0,
            defaults::CROSS_REGION_BUDGET,
        ),
        on_unknown_outcome: match raw.on_unknown_outcome.or(raw::UnknownOutcome::Wait) {
            raw::UnknownOutcome::Wait => UnknownOutcome::Wait,
            raw::UnknownOutcome::Fail => UnknownOutcome::Fail,
        },
    };
    check_first_byte(cx, raw, &policy);
    if regions > 1 {
        check_ways_out(cx, raw, &policy);
    }
    policy
}

/// Several regions, and a key that keeps every retry from the others.
fn check_ways_out(cx: &mut Context<'_>, raw: &raw::Retry, policy: &RetryPolicy) {
    let keys = [
        (policy.attempts == 1, raw.attempts.span(), "raise it"),
        (
            policy.cross_region_budget == 0.0,
            raw.cross_region_budget.span(),
            "give it a share, like `20%`",
        ),
    ];
    for (_, span, help) in keys.into_iter().filter(|(closed, ..)| *closed) {
        let message = "with this no retry ever leaves a region that dies";
        let problem = Problem::warning("nowhere_to_retry", message).at(span);
        let help = format!("its requests fail until health finds out; {help}, or remove the key");
        cx.report(problem.help(help));
    }
}

/// A limit of a part of an attempt above that of the whole never takes effect.
fn check_first_byte(cx: &mut Context<'_>, raw: &raw::Retry, policy: &RetryPolicy) {
    if let (Some(first_byte), Some(per_try)) = (policy.first_byte, policy.per_try)
        && first_byte > per_try
    {
        let (first_byte, per_try) = (show_duration(first_byte), show_duration(per_try));
        let message = format!("`first_byte` ({first_byte}) is longer than `per_try` ({per_try})");
        let problem = Problem::error("impossible_timeout", message)
            .at(raw.first_byte.span())
            .label(raw.per_try.span(), "the limit of an attempt");
        let help =
            "an attempt ends before its first byte could be late; lower it or raise `per_try`";
        cx.report(problem.help(help.to_owned()));
    }
}

/// A bound that is not written gives way to the one that is.
fn backoff(cx: &mut Context<'_>, raw: &raw::Backoff) -> Backoff {
    let base = cx.duration_or_zero(&raw.base, defaults::BACKOFF_BASE);
    let max = cx.duration_or_zero(&raw.max, defaults::BACKOFF_MAX);
    match (raw.base.is_absent(), raw.max.is_absent()) {
        (true, _) => {
            return Backoff {
                base: base.min(max),
                max,
            };
        }
        (_, true) => {
            return Backoff {
                base,
                max: max.max(base),
            };
        }
        (false, false) => {}
    }
    if base > max {
        let (base, max) = (show_duration(base), show_duration(max));
        let message = format!("`base` ({base}) is longer than `max` ({max})");
        let problem = Problem::error("conflicting_times", message).at(raw.base.span());
        let problem = problem.label(raw.max.span(), "the longest");
        cx.report(problem.help("lower it, or raise `max`".to_owned()));
    }
    Backoff { base, max }
}

/// What was listed so far.
#[derive(Default)]
struct Listed {
    on: RetryOn,
    statuses: Vec<u16>,
    grpc: Vec<u8>,
}

fn retry_on(cx: &mut Context<'_>, field: &Field<Vec<Field<raw::RetryOn>>>) -> RetryOn {
    let mut listed = Listed::default();
    match field.get() {
        None => listed.enter_all(&defaults::RETRY_ON),
        Some(list) => {
            for word in list {
                retry_word(cx, word, list.len(), &mut listed);
            }
        }
    }
    listed.finish()
}

fn retry_word(
    cx: &mut Context<'_>,
    field: &Field<raw::RetryOn>,
    words: usize,
    listed: &mut Listed,
) {
    let Some(word) = field.get().map(AsRef::as_ref) else {
        return;
    };
    if word == "none" && words > 1 {
        let problem = Problem::error("conflicting_words", "`none` stands beside other words");
        let help = "it stands alone, for a request that is never tried again";
        cx.report(problem.at(field.span()).help(help.to_owned()));
        return;
    }
    if listed.enter(word) {
        return;
    }
    if word.starts_with(|c: char| c.is_ascii_digit()) && word != EARLY_DATA {
        let help = "statuses are from 100 to 599, each on its own";
        cx.invalid(field.span(), "status", "a status", word, help);
        return;
    }
    let message = format!("{} is not a failure that can be retried", quoted(word));
    let problem = Problem::error("unknown_value", message).at(field.span());
    cx.report(problem.help(hint(word)));
}

/// What to write instead of a word that means nothing here.
fn hint(word: &str) -> String {
    match word {
        EARLY_DATA => {
            return "upstreams are never sent early data, so none is rejected; remove it"
                .to_owned();
        }
        "grpc-ok" => return "a call that ended so is no failure; remove it".to_owned(),
        _ => {}
    }
    let with_prefix = format!("grpc-{}", word.to_ascii_lowercase().replace('_', "-"));
    let codes = grpc::retryable();
    if codes.contains(&with_prefix) {
        return format!("did you mean `{with_prefix}`?");
    }
    let words: Vec<&str> = FAILURES
        .into_iter()
        .chain(OF_HAPROXY)
        .chain(codes.iter().map(String::as_str))
        .collect();
    match suggest::nearest(word, &words) {
        Some(nearest) => format!("did you mean {}?", quoted(nearest)),
        None => suggest::one_of(
            word,
            FAILURES.into_iter().chain(["grpc-unavailable", "503"]),
        ),
    }
}

impl Listed {
    /// Enters a failure, a status or a code; false when it is none of them.
    fn enter(&mut self, word: &str) -> bool {
        match word {
            "connect" | "conn-failure" => self.on.connect = true,
            "reset" | "empty-response" => self.on.reset = true,
            "timeout" | "response-timeout" => self.on.timeout = true,
            "bad_response" | "junk-response" => self.on.bad_response = true,
            "all-retryable-errors" => self.enter_all(&ALL_RETRYABLE),
            "none" => {}
            _ => return self.enter_number(word),
        }
        true
    }

    fn enter_all(&mut self, words: &[&str]) {
        for word in words {
            self.enter(word);
        }
    }

    fn enter_number(&mut self, word: &str) -> bool {
        match (syntax::status(word), grpc::code(word)) {
            (Some(status), _) => self.statuses.push(status),
            (None, Some(code @ 1..)) => self.grpc.push(code),
            (None, Some(0) | None) => return false,
        }
        true
    }

    fn finish(mut self) -> RetryOn {
        self.statuses.sort_unstable();
        self.statuses.dedup();
        self.grpc.sort_unstable();
        self.grpc.dedup();
        RetryOn {
            statuses: self.statuses.into(),
            grpc: self.grpc.into(),
            ..self.on
        }
    }
}
