//! One order as a whole, for people and for the disk.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidegate_core::{Dial, Live};
use tidegate_telemetry::access::rfc3339;
use tidegate_telemetry::{EventKind, Events};

use super::note::{Note, maybe_millis, seconds_until};
use crate::origin::Author;

/// What is ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum What {
    Drain {
        region: Arc<str>,
        now: bool,
        #[serde(with = "maybe_millis", rename = "deadline_ms")]
        deadline: Option<SystemTime>,
    },
    Dial {
        region: Arc<str>,
        /// None: every one that lives there.
        upstream: Option<Arc<str>>,
        /// None: as the plan says, whatever is ordered of the others.
        to: Option<f64>,
    },
    Order {
        upstream: Arc<str>,
        /// The first first.
        regions: Vec<Arc<str>>,
    },
}

/// An order that is in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    #[serde(flatten)]
    pub(crate) what: What,
    #[serde(flatten)]
    pub(crate) note: Note,
}

/// `dial of eu-west at 25% for shop`.
impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drain {
                region, now: true, ..
            } => write!(f, "drain of {region}, at once"),
            Self::Drain { region, .. } => write!(f, "drain of {region}"),
            Self::Dial {
                region,
                upstream,
                to,
            } => {
                match to {
                    Some(to) => write!(f, "dial of {region} at {}%", rounded(to * 100.0))?,
                    None => write!(f, "dial of {region} as planned")?,
                }
                match upstream {
                    Some(upstream) => write!(f, " for {upstream}"),
                    None => Ok(()),
                }
            }
            Self::Order { upstream, regions } => {
                write!(f, "order {} for {upstream}", regions.join(", "))
            }
        }
    }
}

fn rounded(percent: f64) -> f64 {
    (percent * 10_000.0).round() / 10_000.0
}

impl What {
    /// Every name in it.
    pub(super) fn names(&self) -> Vec<&Arc<str>> {
        match self {
            Self::Drain { region, .. } => vec![region],
            Self::Dial {
                region, upstream, ..
            } => [Some(region), upstream.as_ref()]
                .into_iter()
                .flatten()
                .collect(),
            Self::Order { upstream, regions } => [upstream].into_iter().chain(regions).collect(),
        }
    }

    /// Whether it is the dial of this upstream, or of all.
    pub(super) fn is_dial_of(&self, of: Option<&str>) -> bool {
        matches!(self, Self::Dial { upstream, .. } if upstream.as_deref() == of)
    }

    /// Whether both are about the same, whatever they want of it.
    pub(super) fn is_about(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Drain { region, .. }, Self::Drain { region: other, .. }) => region == other,
            (
                Self::Dial {
                    region, upstream, ..
                },
                Self::Dial {
                    region: other,
                    upstream: of,
                    ..
                },
            ) => (region, upstream) == (other, of),
            (
                Self::Order { upstream, .. },
                Self::Order {
                    upstream: other, ..
                },
            ) => upstream == other,
            _ => false,
        }
    }

    /// Whether the plan has what it names: of an order of regions, any of them.
    fn is_in(&self, live: &Live) -> bool {
        let lives = |upstream: Option<&Arc<str>>, region: &Arc<str>| {
            let mut upstreams = live.plan.upstreams.iter();
            upstreams.any(|wanted| {
                let mut regions = wanted.regions.iter();
                upstream.is_none_or(|upstream| *upstream == wanted.name)
                    && regions.any(|spec| live.plan.region(spec.region).name == *region)
            })
        };
        match self {
            Self::Drain { region, .. } => lives(None, region),
            Self::Dial {
                region, upstream, ..
            } => lives(upstream.as_ref(), region),
            Self::Order { upstream, regions } => {
                regions.iter().any(|region| lives(Some(upstream), region))
            }
        }
    }
}

impl Order {
    pub(super) fn drain(region: &Arc<str>, draining: &super::Draining) -> Self {
        let what = What::Drain {
            region: region.clone(),
            now: draining.pace == tidegate_core::Drain::Now,
            deadline: draining.deadline,
        };
        let note = draining.note.clone();
        Self { what, note }
    }

    pub(super) fn dial(
        region: &Arc<str>,
        upstream: Option<&Arc<str>>,
        to: Option<Dial>,
        note: &Note,
    ) -> Self {
        let what = What::Dial {
            region: region.clone(),
            upstream: upstream.cloned(),
            to: to.map(Dial::share),
        };
        let note = note.clone();
        Self { what, note }
    }

    /// As `GET /orders` tells it.
    pub(crate) fn to_json(&self, live: Option<&Live>, now: SystemTime) -> Value {
        let mut told = match &self.what {
            What::Drain {
                region,
                now: at_once,
                deadline,
            } => json!({
                "kind": "drain", "region": region, "now": at_once,
                "deadline_s": deadline.map(|at| seconds_until(at, now)),
            }),
            What::Dial {
                region,
                upstream,
                to,
            } => json!({ "kind": "dial", "region": region, "upstream": upstream, "to": to }),
            What::Order { upstream, regions } => {
                json!({ "kind": "order", "upstream": upstream, "regions": regions })
            }
        };
        told["words"] = json!(self.what.to_string());
        told["in_plan"] = json!(live.is_some_and(|live| self.what.is_in(live)));
        let note = self.note.to_json(now);
        if let (Value::Object(told), Value::Object(note)) = (&mut told, note) {
            told.extend(note);
        }
        told
    }

    /// Tells what has become of it, by whom.
    pub(super) fn tell(&self, what: &'static str, by: &Author, events: &Events) {
        events.record(EventKind::Order {
            what,
            order: self.what.to_string(),
            given_by: self.note.author.who.clone(),
            who: by.who.clone(),
            reason: by.reason.clone(),
            expires: self.note.expires,
        });
    }
}

impl Note {
    /// `{author, reason, since, expires, expires_s}`.
    pub(crate) fn to_json(&self, now: SystemTime) -> Value {
        json!({
            "author": self.author.who,
            "reason": self.author.reason,
            "since": rfc3339(self.since),
            "expires": self.expires.map(rfc3339),
            "expires_s": self.expires.map(|at| seconds_until(at, now)),
        })
    }
}
