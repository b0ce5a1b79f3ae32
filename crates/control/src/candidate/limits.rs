//! Under which limits a candidate is activated without anybody looking, and whether they hold.

use std::fmt;

use serde::Serialize;
use tidegate_core::Dial;
use tidegate_core::shadow::Aspect;

use super::tally::Tally;
use crate::orders::parse_dial;

/// Fewer requests tell nothing.
const MIN_REQUESTS: u64 = 100;

/// What of the requests may change.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The part of the requests, 0 to 1, that may change in anything.
    pub change: Option<f64>,
    /// The same for one aspect alone, in the order in which they were given.
    pub aspects: Vec<(Aspect, f64)>,
    /// So many requests must have been compared.
    pub min_requests: u64,
}

/// A limit that does not hold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Broken {
    /// Its name, as it is given: `max_region_change`.
    pub limit: String,
    /// What it allows: a part of the requests, or how many there must be.
    pub allowed: f64,
    /// What was found.
    pub found: f64,
}

/// Something that is no limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLimit {
    /// The name says nothing.
    #[error(
        "`{0}` is no limit; there are max_change, max_ASPECT_change and min_requests, with one of route, action, upstream, residency, region, order, timeout, end"
    )]
    Unknown(String),
    /// The value is no part.
    #[error("`{name}` is a part of the requests from 0 to 100%, like 5%; `{value}` is none")]
    Part {
        /// The limit's name.
        name: String,
        /// What was given.
        value: String,
    },
    /// The value is no number.
    #[error("`{name}` is a number of requests; `{value}` is none")]
    Number {
        /// The limit's name.
        name: String,
        /// What was given.
        value: String,
    },
}

impl Default for Limits {
    /// No request changes where residency allows it to go, and none ends at once that was served; anything
    /// else may change.
    fn default() -> Self {
        Self {
            change: None,
            aspects: vec![(Aspect::Residency, 0.0), (Aspect::End, 0.0)],
            min_requests: MIN_REQUESTS,
        }
    }
}

impl Limits {
    /// Takes `max_region_change=5%` and the like.
    ///
    /// # Errors
    /// [`InvalidLimit`] when there is no such limit or the value makes no sense.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), InvalidLimit> {
        match name {
            "min_requests" => self.min_requests = number(name, value)?,
            "max_change" => self.change = Some(part(name, value)?),
            _ => {
                let aspect = aspect(name).ok_or_else(|| InvalidLimit::Unknown(short(name)))?;
                let part = part(name, value)?;
                self.aspects.retain(|(has, _)| *has != aspect);
                self.aspects.push((aspect, part));
            }
        }
        Ok(())
    }

    /// Those that `tally` breaks. Empty: they hold.
    pub fn broken(&self, tally: &Tally) -> Vec<Broken> {
        let requests = tally.requests();
        let mut broken = Vec::new();
        if requests < self.min_requests {
            broken.push(Broken {
                limit: "min_requests".to_owned(),
                allowed: self.min_requests as f64,
                found: requests as f64,
            });
        }
        let mut check = |limit: String, allowed: f64, count: u64| {
            let found = tally.part(count);
            if found > allowed {
                broken.push(Broken {
                    limit,
                    allowed,
                    found,
                });
            }
        };
        if let Some(allowed) = self.change {
            check("max_change".to_owned(), allowed, tally.differing());
        }
        for (aspect, allowed) in &self.aspects {
            check(name_of(*aspect), *allowed, tally.of(*aspect));
        }
        if tally.errors() > 0 {
            check("errors".to_owned(), 0.0, tally.errors());
        }
        broken
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            limit,
            allowed,
            found,
        } = self;
        match limit.as_str() {
            "min_requests" => write!(f, "{found} requests were compared, {allowed} are asked for"),
            "errors" => f.write_str("some requests could not be compared"),
            _ => {
                let percent = |part: f64| (part * 1e4).round() / 1e2;
                let (found, allowed) = (percent(*found), percent(*allowed));
                write!(f, "{limit}: {found}% change, {allowed}% may")
            }
        }
    }
}

fn name_of(aspect: Aspect) -> String {
    format!("max_{aspect}_change")
}

fn aspect(name: &str) -> Option<Aspect> {
    Aspect::ALL.into_iter().find(|one| name_of(*one) == name)
}

fn part(name: &str, value: &str) -> Result<f64, InvalidLimit> {
    let dial = parse_dial(value).ok().flatten();
    dial.map(Dial::share).ok_or_else(|| InvalidLimit::Part {
        name: name.to_owned(),
        value: short(value),
    })
}

fn number(name: &str, value: &str) -> Result<u64, InvalidLimit> {
    value.parse().map_err(|_| InvalidLimit::Number {
        name: name.to_owned(),
        value: short(value),
    })
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_or_refused_by_name() {
        let mut limits = Limits::default();
        limits.set("max_region_change", "5%").unwrap();
        limits.set("max_residency_change", "1%").unwrap();
        limits.set("min_requests", "7").unwrap();
        let given = |aspect| limits.aspects.iter().find(|(one, _)| *one == aspect);
        assert_eq!(given(Aspect::Region), Some(&(Aspect::Region, 0.05)));
        assert_eq!(given(Aspect::Residency), Some(&(Aspect::Residency, 0.01)));
        assert_eq!((limits.aspects.len(), limits.min_requests), (3, 7));
        let mut check = |name: &str, value: &str| {
            assert!(limits.set(name, value).is_err(), "{name}={value}");
        };
        check("max_regin_change", "5%");
        check("max_region_change", "5");
        check("max_region_change", "plan");
        check("max_change", "101%");
        check("min_requests", "-1");
    }
}
