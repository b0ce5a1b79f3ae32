//! What a query asks for: its parameters by name, each understood or refused in words.
//!
//! Every handler says which parameters it knows. One that it does not know, or that comes twice, is
//! refused rather than passed over: who writes `?fro=10m` must not get something without an end.

use std::time::Duration;

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;

use super::problem::Problem;
use crate::named::closest;

/// Longest time that can be asked for.
const TIME_MAX: Duration = Duration::from_secs(30 * 86_400);
/// An error repeats no more of what was asked, in characters.
const SHOWN_MAX: usize = 100;

/// The parameters as they came.
#[derive(Debug, Default)]
pub(super) struct Asked(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let pairs = Query::try_from_uri(&parts.uri);
        let Query(pairs) = pairs.map_err(|error| Problem::bad_request(error.body_text()))?;
        Ok(Self(pairs))
    }
}

impl Asked {
    /// The same, if it has no other parameters than these, and none of them twice.
    ///
    /// # Errors
    /// 400, with what there is.
    pub(super) fn knowing(self, known: &[&str]) -> Result<Self, Problem> {
        for (at, (name, _)) in self.0.iter().enumerate() {
            if !known.contains(&&**name) {
                return Err(Problem::bad_request(unknown(name, known)));
            }
            if self.0[..at].iter().any(|(other, _)| other == name) {
                return Err(Problem::bad_request(format!("`{name}` is given twice")));
            }
        }
        Ok(self)
    }

    /// All of them, in the order in which they came.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The value of a parameter; none without it.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let mut pairs = self.pairs();
        pairs.find(|(of, _)| *of == name).map(|(_, value)| value)
    }

    /// Whether any of these is there.
    pub(super) fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.text(name).is_some())
    }

    /// A whole number; `meaning` says what it stands for, for who gave something else.
    ///
    /// # Errors
    /// 400 when it is none.
    pub(super) fn number(&self, name: &str, meaning: &str) -> Result<Option<u64>, Problem> {
        let parsed = self.text(name).map(|text| {
            let wrong = || not(name, text, "a whole number", meaning);
            text.parse().map_err(|_| wrong())
        });
        parsed.transpose()
    }

    /// Whether it is `true`; without it, it is not.
    ///
    /// # Errors
    /// 400 when it is neither `true` nor `false`.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(not(name, other, "`true` or `false`", "leave it out for no")),
        }
    }

    /// A time with its unit, above 0 and at most 30 days.
    ///
    /// # Errors
    /// 400 when it is none.
    pub(super) fn time(&self, name: &str) -> Result<Option<Duration>, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let parsed = tidegate_config::parse_duration(text);
        let time = parsed.map_err(|why| Problem::bad_request(format!("`{name}`: {why}")))?;
        match time.is_zero() || time > TIME_MAX {
            true => Err(Problem::bad_request(format!(
                "`{name}` is more than 0 and at most 30 days"
            ))),
            false => Ok(Some(time)),
        }
    }
}

fn not(name: &str, value: &str, kind: &str, meaning: &str) -> Problem {
    let value = shown(value);
    Problem::bad_request(format!(
        "`{name}` is `{value}`, which is not {kind}: {meaning}"
    ))
}

fn unknown(name: &str, known: &[&str]) -> String {
    let name = shown(name);
    match closest(&name, known) {
        Some(closest) => format!("there is no parameter `{name}`; did you mean `{closest}`?"),
        None if known.is_empty() => format!("there is no parameter `{name}`, nor any other"),
        None => format!(
            "there is no parameter `{name}`; there are: {}",
            known.join(", ")
        ),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}
