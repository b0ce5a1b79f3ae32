//! Injected faults.

use std::time::Duration;

use http::StatusCode;
use tidegate_core::Dial;
use tidegate_core::plan::{Abort, Delay, Fault};

use crate::compile::Context;
use crate::compile::context::SHARE_MIN;
use crate::problem::Problem;
use crate::raw;
use crate::span::Span;
use crate::units::show_duration;
use crate::yaml::Field;

/// Stands for values that are absent or broken, which was reported.
const STAND_IN: (&str, &str, u16) = ("1s", "1%", 503);

/// The route's limit, and where it is written.
type Limit = (Duration, Option<Span>);

pub(super) fn compile(
    cx: &mut Context<'_>,
    field: &Field<Box<raw::Fault>>,
    timeout: Limit,
) -> Fault {
    let Some(raw) = field.get() else {
        return Fault::default();
    };
    if raw.delay.is_absent() && raw.abort.is_absent() {
        let problem = Problem::error("missing_key", "the fault injects nothing");
        let problem = problem.at(field.span());
        cx.report(problem.help("give it a `delay` or an `abort`".to_owned()));
    }
    Fault {
        delay: raw
            .delay
            .get()
            .map(|delay| self::delay(cx, delay, raw.delay.span(), timeout)),
        abort: raw
            .abort
            .get()
            .map(|abort| self::abort(cx, abort, raw.abort.span())),
    }
}

fn delay(
    cx: &mut Context<'_>,
    raw: &raw::Delay,
    span: Option<Span>,
    (timeout, place): Limit,
) -> Delay {
    cx.required(&raw.time, span, "time");
    cx.required(&raw.share, span, "share");
    let time = cx.duration(&raw.time, STAND_IN.0);
    if time >= timeout && !raw.time.is_absent() {
        let (shown, limit) = (show_duration(time), show_duration(timeout));
        let message = format!("the delay ({shown}) is not shorter than `timeout` ({limit})");
        let problem = Problem::error("impossible_timeout", message).at(raw.time.span());
        let problem = problem.label(place, "the route's limit");
        let help = "every delayed request would fail; to make some fail write `abort`";
        cx.report(problem.help(help.to_owned()));
    }
    Delay {
        time,
        share: share(cx, &raw.share),
    }
}

fn share(cx: &mut Context<'_>, field: &Field<impl AsRef<str>>) -> Dial {
    Dial::new(cx.percent_within(field, SHARE_MIN..=1.0, STAND_IN.1))
}

fn abort(cx: &mut Context<'_>, raw: &raw::Abort, span: Option<Span>) -> Abort {
    cx.required(&raw.share, span, "share");
    let written = cx.required(&raw.status, span, "status").copied();
    let known = written
        .and_then(|written| u16::try_from(written).ok())
        .filter(|status| (400..600).contains(status));
    if let Some(written) = written.filter(|_| known.is_none()) {
        let what = "a status of an error";
        let written = written.to_string();
        cx.invalid(raw.status.span(), "status", what, &written, "400 to 599");
    }
    let status = StatusCode::from_u16(known.unwrap_or(STAND_IN.2));
    Abort {
        status: status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
        share: share(cx, &raw.share),
    }
}
