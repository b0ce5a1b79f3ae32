//! Limits of time on a route, and those of its upstream that would never be reached within them.

use std::time::Duration;

use crate::compile::Context;
use crate::defaults;
use crate::problem::Problem;
use crate::raw;
use crate::span::Span;
use crate::units::{self, show_duration};
use crate::yaml::Field;

/// The limits of a route's requests: to the head, and in all.
pub(crate) fn compile(cx: &mut Context<'_>, raw: &raw::Route) -> (Duration, Option<Duration>) {
    let timeout = cx.duration(&raw.timeout, defaults::ROUTE_TIMEOUT);
    let in_all = cx.unless_off(&raw.max_duration, "off", |cx, field| {
        cx.duration(field, defaults::ROUTE_TIMEOUT)
    });
    let Some(in_all) = in_all.filter(|in_all| *in_all < timeout) else {
        return (timeout, in_all);
    };
    if let Some(span) = raw.timeout.span() {
        let shown = (show_duration(in_all), show_duration(timeout));
        let message = format!(
            "`max_duration` ({}) is shorter than `timeout` ({})",
            shown.0, shown.1
        );
        let problem = Problem::error("impossible_timeout", message).at(raw.max_duration.span());
        let problem = problem.label(span.into(), "up to the response's head");
        let help = "the exchange ends before its head could be late; raise it or lower `timeout`";
        cx.report(problem.help(help.to_owned()));
    }
    (in_all, Some(in_all))
}

/// A limit of one attempt above that of the whole request never takes effect, so no attempt is
/// ever given up for another.
pub(crate) fn check_attempt(
    cx: &mut Context<'_>,
    route: &raw::Route,
    timeout: Duration,
    upstream: Option<&raw::Upstream>,
) {
    let Some(retry) = upstream.and_then(|upstream| upstream.retry.get()) else {
        return;
    };
    for (key, field) in [
        ("per_try", &retry.per_try),
        ("first_byte", &retry.first_byte),
    ] {
        if let Some(limit) = written(field)
            && limit > timeout
        {
            report(cx, (key, limit, field.span()), route, timeout);
        }
    }
}

/// The limit that a key gives; none when it is absent, `off` or not a duration.
fn written(field: &Field<raw::OffOrDuration>) -> Option<Duration> {
    let text = field.get()?;
    units::duration(text.as_ref()).ok()
}

/// A limit of an attempt: its key, its value, its place.
type Limit = (&'static str, Duration, Option<Span>);

fn report(cx: &mut Context<'_>, limit: Limit, route: &raw::Route, timeout: Duration) {
    let (key, limit, of_limit) = limit;
    let (limit, timeout) = (show_duration(limit), show_duration(timeout));
    let message = format!("`{key}` ({limit}) is longer than the route's `timeout` ({timeout})");
    let (span, label) = match route.timeout.span() {
        Some(span) => (Some(span), of_limit),
        None => (of_limit, None),
    };
    let problem = Problem::error("impossible_timeout", message)
        .at(span)
        .label(label, "one attempt");
    let help = format!(
        "the request ends before its first attempt could be given up; raise `timeout` or lower `{key}`"
    );
    cx.report(problem.help(help));
}
