//! What is asked for with a candidate: how long it is tried, what becomes of it then, under which limits.

use std::time::Duration;

use tidegate_core::{Dial, Part};

use super::limits::{InvalidLimit, Limits};
use super::stage::{Guard, max_error_rate};
use crate::orders::parse_dial;

/// How long a candidate is tried, if nobody says.
const LASTS: Duration = Duration::from_secs(60);
/// Longest time that one is.
const LASTS_MAX: Duration = Duration::from_secs(86_400);
/// Routes that can be named for a stage.
const ROUTES_MAX: usize = 1_000;

/// How a candidate is tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// For so long.
    pub lasts: Duration,
    /// Whether it serves afterwards, if its limits hold.
    pub activate: bool,
    /// What may change.
    pub limits: Limits,
}

/// How a candidate serves a part.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StageTerms {
    max_error_rate: Option<Option<f64>>,
    min_requests: Option<u64>,
}

/// What cannot be asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTerms {
    /// A limit that is none.
    #[error(transparent)]
    Limit(#[from] InvalidLimit),
    /// Something else, in words.
    #[error("{0}")]
    Other(String),
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            lasts: LASTS,
            activate: false,
            limits: Limits::default(),
        }
    }
}

impl Terms {
    /// Reads `for`, `activate` and limits.
    ///
    /// # Errors
    /// [`InvalidTerms`] with the one that makes no sense.
    pub fn of<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, InvalidTerms> {
        let mut terms = Self::default();
        for (name, value) in pairs {
            match name {
                "for" => terms.lasts = lasts(value)?,
                "activate" => terms.activate = yes_or_no(name, value)?,
                _ => terms.limits.set(name, value)?,
            }
        }
        Ok(terms)
    }
}

impl StageTerms {
    /// Reads `share` or `route` (which may be repeated), `max_error_rate` and `min_requests`. Without
    /// `share` and `route` there is no part: the whole is meant.
    ///
    /// # Errors
    /// [`InvalidTerms`] with the one that makes no sense.
    pub fn of<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(Option<Part>, Self), InvalidTerms> {
        let (mut share, mut routes, mut terms) = (None, Vec::new(), Self::default());
        for (name, value) in pairs {
            match name {
                "share" => share = Some(part(value)?),
                "route" => routes.push(value.into()),
                "max_error_rate" => {
                    let rate = max_error_rate(value);
                    terms.max_error_rate = Some(rate.ok_or_else(|| {
                        let words =
                            "`max_error_rate` is by how much more may fail, like +5%, or off";
                        InvalidTerms::Other(words.to_owned())
                    })?);
                }
                "min_requests" => {
                    let number = value.parse().map_err(|_| {
                        let words = "`min_requests` is a number of requests";
                        InvalidTerms::Other(words.to_owned())
                    })?;
                    terms.min_requests = Some(number);
                }
                _ => {
                    let words = "the parameters are share, route, max_error_rate and min_requests";
                    return Err(InvalidTerms::Other(words.to_owned()));
                }
            }
        }
        if routes.len() > ROUTES_MAX || (share.is_some() && !routes.is_empty()) {
            let words = format!("a part is a `share`, or at most {ROUTES_MAX} routes");
            return Err(InvalidTerms::Other(words));
        }
        let routes = (!routes.is_empty()).then_some(Part::Routes(routes));
        Ok((share.or(routes), terms))
    }

    /// The guard that these make of the usual one, or of the one that is `kept`.
    pub(super) fn over(self, guard: Guard, kept: bool) -> Guard {
        let before = if kept { guard } else { Guard::default() };
        Guard {
            max_error_rate: self.max_error_rate.unwrap_or(before.max_error_rate),
            min_requests: self.min_requests.unwrap_or(before.min_requests),
        }
    }
}

fn part(text: &str) -> Result<Part, InvalidTerms> {
    let share = parse_dial(text).ok().flatten();
    let share = share.filter(|share| *share > Dial::NONE);
    share.map(Part::Share).ok_or_else(|| {
        let words = "`share` is a part of the connections, above 0 and at most 100%, like 10%";
        InvalidTerms::Other(words.to_owned())
    })
}

fn lasts(text: &str) -> Result<Duration, InvalidTerms> {
    let other = |words: String| Err(InvalidTerms::Other(words));
    match tidegate_config::parse_duration(text) {
        Err(why) => other(format!("`for`: {why}")),
        Ok(lasts) if lasts.is_zero() || lasts > LASTS_MAX => {
            other("`for` is more than 0 and at most a day".to_owned())
        }
        Ok(lasts) => Ok(lasts),
    }
}

fn yes_or_no(name: &str, value: &str) -> Result<bool, InvalidTerms> {
    value
        .parse()
        .map_err(|_| InvalidTerms::Other(format!("`{name}` is true or false")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read_or_refused() {
        let terms = Terms::of([("for", "5m"), ("activate", "true"), ("max_change", "1%")]);
        let terms = terms.unwrap();
        assert_eq!(
            (terms.lasts, terms.activate),
            (Duration::from_secs(300), true)
        );
        assert_eq!(terms.limits.change, Some(0.01));
        for bad in [
            ("for", "5"),
            ("for", "2d"),
            ("for", "0s"),
            ("activate", "yes"),
            ("x", "y"),
        ] {
            assert!(Terms::of([bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_part_is_a_share_or_routes() {
        let part = |pairs: &[(&'static str, &'static str)]| {
            StageTerms::of(pairs.iter().copied()).map(|(part, _)| part)
        };
        let share = |share| Ok(Some(Part::Share(Dial::new(share))));
        assert_eq!(part(&[]), Ok(None));
        assert_eq!(part(&[("share", "10%")]), share(0.1));
        let routes = vec!["a".into(), "b".into()];
        let named = part(&[("route", "a"), ("route", "b")]);
        assert_eq!(named, Ok(Some(Part::Routes(routes))));
        for bad in ["0", "0%", "plan", "101%", "ten"] {
            assert!(part(&[("share", bad)]).is_err(), "{bad}");
        }
        assert!(part(&[("share", "5%"), ("route", "a")]).is_err());
        assert!(part(&[("shar", "5%")]).is_err());
    }
}
