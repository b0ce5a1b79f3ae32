//! What a region is while others serve, and how a cold one is started. Nothing is run here, and
//! whether a program is there is not looked at: it may come later.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::plan::{ColdStart, Standby, Starter};

use crate::compile::context::SHARE_MIN;
use crate::compile::{Context, urls};
use crate::defaults;
use crate::problem::Problem;
use crate::raw::{self, StandbyWord};
use crate::span::Span;
use crate::yaml::{Field, WordOr};

/// Less starts nothing, more is nobody's failover.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// Longest program with its arguments, and the most of them.
const COMMAND_BYTES_MAX: usize = 64 * 1024;
const COMMAND_PARTS_MAX: usize = 256;

pub(crate) fn compile(cx: &mut Context<'_>, field: &Field<raw::StandbyEntry>) -> Standby {
    match field.get() {
        None | Some(WordOr::Word(StandbyWord::Hot)) => Standby::Hot,
        Some(WordOr::Word(StandbyWord::Warm)) => Standby::Warm,
        Some(WordOr::Word(StandbyWord::Cold)) => {
            let message = "a cold region has to be started by something";
            let problem = Problem::error("missing_key", message).at(field.span());
            let help = "write `{ cold: { start: [program, argument] } }` or `{ cold: { webhook: https://... } }`; `warm` if it runs";
            cx.report(problem.help(help.to_owned()));
            Standby::Warm
        }
        Some(WordOr::Value(standby)) => match cx.required(&standby.cold, field.span(), "cold") {
            Some(raw) => cold(cx, raw, standby.cold.span()),
            None => Standby::Warm,
        },
    }
}

fn cold(cx: &mut Context<'_>, raw: &raw::ColdStart, span: Option<Span>) -> Standby {
    let below = cx.percent_within(&raw.below, SHARE_MIN..=1.0, defaults::COLD_BELOW);
    let timeout = cx.duration_within(&raw.timeout, TIMEOUTS, defaults::COLD_TIMEOUT);
    match starter(cx, raw, span) {
        Some(by) => Standby::Cold(Arc::new(ColdStart { below, by, timeout })),
        None => Standby::Warm,
    }
}

fn starter(cx: &mut Context<'_>, raw: &raw::ColdStart, span: Option<Span>) -> Option<Starter> {
    if raw.start.is_absent() == raw.webhook.is_absent() {
        let message = "exactly one of `start` and `webhook` is needed here";
        let problem = Problem::error("one_of", message).at(span);
        let help = "a program with its arguments, like `[/usr/local/bin/start-region, us-east]`, or an address that is sent a POST";
        cx.report(problem.help(help.to_owned()));
        return None;
    }
    if let Some(url) = raw.webhook.get() {
        return urls::absolute(cx, url, raw.webhook.span()).map(Starter::Webhook);
    }
    command(cx, raw.start.get()?, raw.start.span())
}

fn command(cx: &mut Context<'_>, list: &[Field<String>], span: Option<Span>) -> Option<Starter> {
    let parts: Vec<&str> = list
        .iter()
        .filter_map(|part| Some(part.get()?.as_str()))
        .collect();
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    let wrong = match parts.first() {
        // Broken parts were reported.
        None if !list.is_empty() => return None,
        None => Some("it is empty; name a program"),
        Some(program) if program.trim().is_empty() => Some("the program has no name"),
        _ if parts.iter().any(|part| part.contains('\0')) => Some("no system takes a zero byte"),
        _ if bytes > COMMAND_BYTES_MAX || parts.len() > COMMAND_PARTS_MAX => {
            Some("at most 256 arguments and 64 KiB in all; put it into a script")
        }
        _ => None,
    };
    if let Some(help) = wrong {
        cx.invalid(
            span,
            "value",
            "a program with its arguments",
            &parts.join(" "),
            help,
        );
        return None;
    }
    Some(Starter::Command(
        parts.into_iter().map(Into::into).collect(),
    ))
}
