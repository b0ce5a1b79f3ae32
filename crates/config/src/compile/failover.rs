//! What a route says of failover: which of its requests may be sent again and where, how long
//! clients wait, whether answers are continued, when a second attempt runs beside the first.

use std::time::Duration;

use http::{HeaderName, Method, header};
use tidegate_core::plan::{Hedge, HedgeAfter, HedgeTo, ReplayScope, Resume};

use crate::compile::context::SHARE_MIN;
use crate::compile::{Context, headers};
use crate::defaults;
use crate::problem::Problem;
use crate::raw;
use crate::units::{self, UnitError, show_duration};
use crate::yaml::{Field, WordOr};

/// A hedge before this would double every request.
const AFTER_MIN: Duration = Duration::from_millis(1);

/// What `defaults::HEDGE_AFTER` means.
const AFTER_DEFAULT: HedgeAfter = HedgeAfter::Percentile(0.95);

/// Longest name of the deadline header: it is compared with those of every request.
const NAME_MAX: usize = 64;

/// Fields that end at each connection or frame what is on it.
const OF_ONE_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The same, which the library has no names for.
const OF_ONE_HOP_TOO: [&str; 2] = ["keep-alive", "proxy-connection"];

/// Fields that say something else, to the proxy itself or to services.
const TAKEN: [&str; 13] = [
    "authorization",
    "content-encoding",
    "content-type",
    "cookie",
    "forwarded",
    "idempotency-key",
    "if-range",
    "range",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
];

/// Whether the route's requests are repeatable, and whether those with a key are.
pub(crate) fn idempotency(cx: &mut Context<'_>, raw: &raw::Route) -> (bool, bool) {
    let (idempotent, key) = (raw.idempotent.or(false), raw.idempotency_key.or(false));
    if idempotent && key {
        let message = "with `idempotent: true` the key makes no difference";
        let problem = Problem::warning("no_effect", message).at(raw.idempotency_key.span());
        let problem = problem.label(raw.idempotent.span(), "holds for every request");
        cx.report(problem.help("remove one of the two".to_owned()));
    }
    (idempotent, key)
}

/// Where a request that may have been processed may be sent again.
pub(crate) fn replay_scope(field: &Field<raw::ReplayScope>) -> ReplayScope {
    match field.or(raw::ReplayScope::Auto) {
        raw::ReplayScope::Auto => ReplayScope::Auto,
        raw::ReplayScope::Region => ReplayScope::Region,
        raw::ReplayScope::Global => ReplayScope::Global,
    }
}

/// The field in which clients say how much time they give.
pub(crate) fn deadline_header(cx: &mut Context<'_>, field: &Field<String>) -> Option<HeaderName> {
    let text = field.get()?;
    let name = headers::name(cx, text, field.span())?;
    if let Some(help) = refused(&name) {
        cx.invalid(field.span(), "header", "a header for deadlines", text, help);
        return None;
    }
    Some(name)
}

fn refused(name: &HeaderName) -> Option<&'static str> {
    match name.as_str() {
        "grpc-timeout" => Some("`grpc-timeout` always counts; remove the key"),
        text if text.len() > NAME_MAX => Some("at most 64 characters"),
        text if OF_ONE_HOP.contains(name) || OF_ONE_HOP_TOO.contains(&text) => {
            Some("it belongs to one connection and is not passed on; choose another name")
        }
        text if TAKEN.contains(&text) => Some("it says something else; choose another name"),
        _ => None,
    }
}

/// Whether and by what answers are continued from another region.
pub(crate) fn resume(cx: &mut Context<'_>, raw: &raw::Route) -> Resume {
    let enabled = raw.resume.or(raw::Resume::Auto) == raw::Resume::Auto;
    let last_modified = raw.validators.or(raw::Validators::Etag) == raw::Validators::Global;
    if last_modified && !enabled {
        let message = "with `resume: off` nothing is compared, so `validators` makes no difference";
        let problem = Problem::warning("no_effect", message).at(raw.validators.span());
        let problem = problem.label(raw.resume.span(), "nothing is continued");
        cx.report(problem.help("remove it".to_owned()));
    }
    Resume {
        enabled,
        last_modified: last_modified && enabled,
    }
}

/// When a second attempt is made beside a slow one, on a route to `upstream` of these methods and
/// this limit.
pub(crate) fn hedge(
    cx: &mut Context<'_>,
    route: &raw::Route,
    upstream: Option<&raw::Upstream>,
    methods: &[Method],
    timeout: Duration,
) -> Option<Hedge> {
    let WordOr::Value(raw) = route.hedge.get()? else {
        return None;
    };
    check_methods(cx, route, methods);
    check_attempts(cx, route, upstream);
    let hedge = Hedge {
        after: cx.unit(&raw.after, after).unwrap_or(AFTER_DEFAULT),
        budget: cx.percent_within(&raw.budget, SHARE_MIN..=1.0, defaults::HEDGE_BUDGET),
        to: match raw.to.or(raw::HedgeTo::Endpoint) {
            raw::HedgeTo::Endpoint => HedgeTo::Endpoint,
            raw::HedgeTo::Region => HedgeTo::Region,
        },
    };
    check_after(cx, route, raw, hedge.after, timeout);
    check_regions(cx, raw, upstream);
    Some(hedge)
}

/// A hedge that is to go where nothing is.
fn check_regions(cx: &mut Context<'_>, raw: &raw::Hedge, upstream: Option<&raw::Upstream>) {
    let regions = upstream.and_then(|upstream| upstream.regions.get());
    let alone = regions.is_some_and(|regions| regions.0.len() == 1);
    if alone && matches!(raw.to.get(), Some(raw::HedgeTo::Region)) {
        let message = "the upstream lives in one region, so no hedge can leave it";
        let problem = Problem::warning("nowhere_to_retry", message).at(raw.to.span());
        cx.report(problem.help("add a region, or write `to: endpoint`".to_owned()));
    }
}

/// A hedge is an attempt.
fn check_attempts(cx: &mut Context<'_>, route: &raw::Route, upstream: Option<&raw::Upstream>) {
    let retry = upstream.and_then(|upstream| upstream.retry.get());
    let Some(attempts) = retry.map(|retry| &retry.attempts) else {
        return;
    };
    if attempts.get() == Some(&1) {
        let message = "the upstream allows one attempt, so nothing is hedged";
        let problem = Problem::warning("no_effect", message).at(route.hedge.span());
        let problem = problem.label(attempts.span(), "the only attempt");
        cx.report(problem.help("raise `attempts`, or remove the hedge".to_owned()));
    }
}

/// Only what is safe is sent twice at a time.
fn check_methods(cx: &mut Context<'_>, route: &raw::Route, methods: &[Method]) {
    if !methods.is_empty() && !methods.iter().any(Method::is_safe) {
        let message = "no method of this route is safe, so none of its requests is hedged";
        let problem = Problem::warning("no_effect", message).at(route.hedge.span());
        let methods = route.r#match.get().and_then(|raw| raw.methods.span());
        let help = "only safe requests (GET, HEAD, OPTIONS) are sent twice at a time; remove it";
        cx.report(problem.label(methods, "its methods").help(help.to_owned()));
    }
}

/// A hedge at the end of the request's time is none.
fn check_after(
    cx: &mut Context<'_>,
    route: &raw::Route,
    raw: &raw::Hedge,
    after: HedgeAfter,
    timeout: Duration,
) {
    let HedgeAfter::Fixed(after) = after else {
        return;
    };
    if after >= timeout {
        let (after, timeout) = (show_duration(after), show_duration(timeout));
        let message = format!("`after` ({after}) is not before the route's `timeout` ({timeout})");
        let problem = Problem::error("impossible_timeout", message).at(raw.after.span());
        let problem = problem.label(route.timeout.span(), "the request ends here");
        let help = "the request ends before a hedge is sent; lower it, or write `hedge: off`";
        cx.report(problem.help(help.to_owned()));
    }
}

/// `p95` or `200ms`.
fn after(text: &str) -> Result<HedgeAfter, UnitError> {
    if let Some(number) = text.strip_prefix('p') {
        return percentile(number).map(HedgeAfter::Percentile);
    }
    let number = text.strip_suffix('%').unwrap_or(text);
    if let Ok(share) = percentile(number) {
        let percentile = percentile_word(share);
        return Err(UnitError {
            message: "neither a duration nor a percentile".to_owned(),
            help: format!("did you mean `{percentile}` or `{number}ms`?"),
        });
    }
    match units::duration(text)? {
        after if after >= AFTER_MIN => Ok(HedgeAfter::Fixed(after)),
        _ => Err(UnitError {
            message: "too short".to_owned(),
            help: format!("the shortest is `{}`", show_duration(AFTER_MIN)),
        }),
    }
}

/// `95` as 0.95, between 50 and 100 to two decimals.
fn percentile(number: &str) -> Result<f64, UnitError> {
    let plain = number.bytes().all(|c| c.is_ascii_digit() || c == b'.');
    let parsed = number.parse::<f64>().ok().filter(|_| plain);
    let hundredths = parsed.map(|n| (n * 100.0).round());
    match hundredths {
        Some(n) if (5_001.0..=9_999.0).contains(&n) => Ok(n / 10_000.0),
        _ => Err(UnitError {
            message: "not a percentile that tells the slow from the rest".to_owned(),
            help: "above `p50` and below `p100`, like `p95` or `p99.9`".to_owned(),
        }),
    }
}

/// `p95` of 0.95.
pub(crate) fn percentile_word(share: f64) -> String {
    let percent = units::show_percent(share);
    format!("p{}", percent.trim_end_matches('%'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hedge_waits_for_a_time_or_a_percentile() {
        let check = |text: &str, expected: Result<HedgeAfter, &str>| {
            let actual = after(text).map_err(|error| error.message);
            assert_eq!(actual, expected.map_err(str::to_owned), "{text:?}");
        };
        let fixed = |millis| Ok(HedgeAfter::Fixed(Duration::from_millis(millis)));
        check("200ms", fixed(200));
        check("1ms", fixed(1));
        check("p95", Ok(HedgeAfter::Percentile(0.95)));
        check("p99.9", Ok(HedgeAfter::Percentile(0.999)));
        check("p50.01", Ok(HedgeAfter::Percentile(0.5001)));
        check("999us", Err("too short"));
        check("95", Err("neither a duration nor a percentile"));
        check("95%", Err("neither a duration nor a percentile"));
        check("5", Err("a duration needs a unit"));
        check("", Err("not a duration"));
        for text in [
            "p", "p50", "p50.001", "p99.999", "p100", "p-95", "p9e1", "pinf", "p9.5.1",
        ] {
            check(
                text,
                Err("not a percentile that tells the slow from the rest"),
            );
        }
    }

    #[test]
    fn the_default_is_what_it_is_said_to_be() {
        assert_eq!(after(defaults::HEDGE_AFTER), Ok(AFTER_DEFAULT));
    }

    #[test]
    fn percentiles_read_back_the_same() {
        for text in ["p95", "p99.9", "p50.01", "p99.99", "p75.5"] {
            let HedgeAfter::Percentile(share) = after(text).unwrap() else {
                panic!("{text}")
            };
            assert_eq!(percentile_word(share), text);
        }
    }
}
