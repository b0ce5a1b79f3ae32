//! `state` and `rollback`: where generations are kept, and when a new one goes again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegate_core::plan::Rollback;
use tidegate_core::settings::State;

use super::Context;
use crate::bundle::Bundle;
use crate::defaults;
use crate::problem::Problem;
use crate::raw;
use crate::units::{self, UnitError};
use crate::yaml::{self, Field, WordOr};

/// What is concluded from less than a second is chance; what takes longer than an hour is not the
/// plan's fault alone.
const WATCH_MIN: Duration = Duration::from_secs(1);
const WATCH_MAX: Duration = Duration::from_secs(3600);
/// Largest factor of latency: more is a typo.
const FACTOR_MAX: f64 = 100.0;

/// Where what outlives the process is kept.
pub(super) fn state(cx: &mut Context<'_>, field: &Field<raw::State>) -> State {
    let default = raw::State::default();
    let raw = field.get().unwrap_or(&default);
    let dir = raw.dir.get().map(String::as_str);
    if dir == Some("") {
        let help = "name a directory, or leave the key away";
        cx.invalid(raw.dir.span(), "path", "a path", "", help);
    }
    State {
        dir: dir.map(|dir| cx.base.join(dir)),
        keep: cx.number(&raw.keep, 2..=1_000, defaults::STATE_KEEP) as usize,
    }
}

/// The directory that a configuration names as `state.dir`, found in its texts without understanding
/// anything else of them: whoever looks for what served before a file was broken needs it. None when it
/// names none, or nothing can be made of what it names without the environment.
pub fn state_dir(bundle: &Bundle) -> Option<PathBuf> {
    let mut sections = bundle
        .files
        .iter()
        .filter_map(|(_, text)| section(text, "state"));
    let dir = sections.find_map(|section| {
        let (root, _) = yaml::parse(section);
        let (state, _) = yaml::decode::<Sections>(&root?);
        state.state.get()?.dir.get().cloned()
    })?;
    let base = bundle.main.parent().unwrap_or(Path::new(""));
    (!dir.is_empty() && !dir.contains("${")).then(|| base.join(dir))
}

/// What is read of a section that stands alone.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Sections {
    state: Field<raw::State>,
}

/// The lines of a top-level key in block style.
fn section<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut starts = Vec::new();
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with(|c: char| !c.is_whitespace() && c != '#' && c != '}') {
            starts.push(offset);
        }
        offset += line.len();
    }
    starts.push(text.len());
    let mut parts = starts.windows(2).map(|pair| &text[pair[0]..pair[1]]);
    parts.find(|part| {
        let rest = part.strip_prefix(key);
        rest.is_some_and(|rest| rest.starts_with(':'))
    })
}

/// When a new plan goes again; none when it never does by itself.
pub(super) fn rollback(
    cx: &mut Context<'_>,
    field: &Field<raw::OffOrMap<raw::Rollback>>,
) -> Option<Rollback> {
    let WordOr::Value(raw) = field.get()? else {
        return None;
    };
    let (rate, latency) = (defaults::ROLLBACK_ERROR_RATE, defaults::ROLLBACK_LATENCY);
    let rollback = Rollback {
        watch: cx.duration_within(&raw.watch, WATCH_MIN..=WATCH_MAX, defaults::ROLLBACK_WATCH),
        max_error_rate: limit(cx, &raw.max_error_rate, rate, rise),
        max_latency: limit(cx, &raw.max_latency, latency, factor),
        min_requests: cx.number(
            &raw.min_requests,
            10..=1_000_000,
            defaults::ROLLBACK_MIN_REQUESTS,
        ),
    };
    if rollback.max_error_rate.is_none() && rollback.max_latency.is_none() {
        let message = "with both limits `off` nothing is ever rolled back";
        let problem = Problem::warning("no_effect", message).at(field.span());
        cx.report(problem.help("write `rollback: off`, or give one of the two".to_owned()));
    }
    Some(rollback)
}

/// A limit that may be off; the default where nothing is said or it makes no sense.
fn limit(
    cx: &mut Context<'_>,
    field: &Field<impl AsRef<str>>,
    default: &str,
    parse: fn(&str) -> Result<f64, UnitError>,
) -> Option<f64> {
    cx.unless_off(field, default, |cx, field| cx.unit(field, parse))?
        .or_else(|| parse(default).ok())
}

/// `+5%`: points above what was before.
fn rise(text: &str) -> Result<f64, UnitError> {
    let help =
        || "write how many points it may rise, like `+5%`; from `+0.1%` to `+100%`".to_owned();
    let wrong = |message: &str| UnitError {
        message: message.to_owned(),
        help: help(),
    };
    let Some(share) = text.strip_prefix('+') else {
        return Err(wrong("not a rise"));
    };
    match units::percent(share)? {
        share if (0.001..=1.0).contains(&share) => Ok(share),
        _ => Err(wrong("out of range")),
    }
}

/// `2x`: times what was before.
fn factor(text: &str) -> Result<f64, UnitError> {
    let factor = text.strip_suffix('x').and_then(|n| n.parse::<f64>().ok());
    match factor {
        Some(factor) if factor > 1.0 && factor <= FACTOR_MAX => Ok(factor),
        other => Err(UnitError {
            message: match other {
                Some(_) => "out of range".to_owned(),
                None => "not a factor".to_owned(),
            },
            help: "write how many times as long requests may take, like `2x`; above 1, at most 100"
                .to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_found_in_a_broken_file() {
        let check = |text: &str, expected: Option<&str>| {
            let found = state_dir(&Bundle::of("/etc/t.yaml", text));
            assert_eq!(found, expected.map(PathBuf::from), "{text}");
        };
        check("state: { dir: /var/lib/t }\nroutes: [", Some("/var/lib/t"));
        check(
            "a: b\nstate:\n  # here\n  dir: s\n  keep: x\nlisteners: {{",
            Some("/etc/s"),
        );
        check("state: { dir: s, whatever: 1 }", Some("/etc/s"));
        for none in [
            "",
            "a: { state: { dir: x } }",
            "state:",
            "state: { dir: ${X} }",
            "state: {",
        ] {
            check(none, None);
        }
    }

    #[test]
    fn limits_say_that_they_are_relative() {
        let check = |parse: fn(&str) -> Result<f64, UnitError>, text: &str, expected| {
            assert_eq!(parse(text).ok(), expected, "{text}");
        };
        check(rise, "+5%", Some(0.05));
        check(rise, "+0.1%", Some(0.001));
        for bad in ["5%", "+0%", "+101%", "+5", "5", "", "+"] {
            check(rise, bad, None);
        }
        check(factor, "2x", Some(2.0));
        check(factor, "1.5x", Some(1.5));
        for bad in [
            "2", "1x", "0.5x", "-2x", "NaNx", "infx", "101x", "x", "200%",
        ] {
            check(factor, bad, None);
        }
    }
}
