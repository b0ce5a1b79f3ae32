//! Time windows: days, times of a day, zones.

use std::sync::Arc;

use tidegate_core::route::{DAY_NAMES, Days, TimeWindow, Zone};

use crate::compile::Context;
use crate::defaults;
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::suggest;
use crate::yaml::Field;

pub(super) fn compile(
    cx: &mut Context<'_>,
    field: &Field<Box<raw::TimeWindow>>,
) -> Option<Arc<TimeWindow>> {
    let raw = field.get()?;
    let days = days(cx, &raw.days);
    let from = clock(cx, &raw.from, defaults::WINDOW_FROM);
    let to = clock(cx, &raw.to, defaults::WINDOW_TO);
    let zone = zone(cx, &raw.zone);
    let (days, from, to, zone) = (days?, from?, to?, zone?);
    let shown = |field: &Field<raw::ClockTime>| field.span();
    if from == 24 * 60 {
        let help = "the last moment of a day is `23:59`; a day begins at `00:00`";
        cx.invalid(shown(&raw.from), "time", "a time to begin", "24:00", help);
        return None;
    }
    if from == to {
        let message = "the window is empty: it ends when it begins";
        let problem = Problem::error("empty_window", message).at(raw.to.span().or(raw.from.span()));
        let problem = problem.label(raw.to.span().and(raw.from.span()), "it begins here");
        cx.report(problem.help("for whole days leave `from` and `to` out".to_owned()));
        return None;
    }
    if days == Days::ALL && (from, to) == (0, 24 * 60) {
        let problem = Problem::warning("always", "this window never ends").at(field.span());
        cx.report(problem.help("give `days`, or `from` and `to`, or remove it".to_owned()));
    }
    Some(Arc::new(TimeWindow {
        days,
        from,
        to,
        zone,
    }))
}

fn days(cx: &mut Context<'_>, field: &Field<Vec<Field<raw::DayRange>>>) -> Option<Days> {
    let Some(list) = field.get() else {
        return field.is_absent().then_some(Days::ALL);
    };
    if list.is_empty() {
        return Some(Days::ALL);
    }
    let mut days = Some(Days::NONE);
    for field in list {
        let range = day_range(cx, field);
        days = days
            .zip(range)
            .map(|(days, (first, last))| days.with(first, last));
    }
    days
}

fn day_range(cx: &mut Context<'_>, field: &Field<raw::DayRange>) -> Option<(usize, usize)> {
    let text = field.get()?.as_ref();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let day = |name: &str| DAY_NAMES.iter().position(|day| *day == name);
    let range = day(first).zip(day(last));
    if range.is_none() {
        let wrong = if day(first).is_none() { first } else { last };
        let short: String = wrong.to_lowercase().chars().take(3).collect();
        let help = match day(&short) {
            Some(_) => format!("did you mean `{short}`?"),
            None => suggest::one_of(wrong, DAY_NAMES),
        };
        cx.invalid(field.span(), "day", "a day or a range of days", text, &help);
    }
    range
}

/// Minutes since midnight.
fn clock(cx: &mut Context<'_>, field: &Field<raw::ClockTime>, default: &str) -> Option<u16> {
    let text = match field.get() {
        Some(text) => text.as_ref(),
        None if field.is_absent() => default,
        None => return None,
    };
    let minutes = minutes(text);
    if minutes.is_none() {
        let help = "hours and minutes, two digits each, in quotes: `\"08:00\"`";
        cx.invalid(field.span(), "time", "a time of a day", text, help);
    }
    minutes
}

fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|c| c.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    let all = hours * 60 + minutes;
    (minutes < 60 && all <= 24 * 60).then_some(all)
}

/// A zone; reported when there is none of this name.
fn zone(cx: &mut Context<'_>, field: &Field<String>) -> Option<Zone> {
    let name = match field.get() {
        Some(name) => name.as_str(),
        None if field.is_absent() => defaults::WINDOW_ZONE,
        None => return None,
    };
    let zone = Zone::named(name);
    if zone.is_none() {
        let all = Zone::all();
        let known: Vec<&str> = all.iter().map(String::as_str).collect();
        let cities = known
            .iter()
            .filter(|zone| zone.ends_with(&format!("/{name}")));
        let city = cities.copied().next();
        let message = format!("there is no time zone {}", quoted(name));
        let help = match city.or_else(|| suggest::nearest(name, &known)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "a name of the IANA database, like `Europe/Berlin`".to_owned(),
        };
        cx.report(
            Problem::error("unknown_zone", message)
                .at(field.span())
                .help(help),
        );
    }
    zone
}
