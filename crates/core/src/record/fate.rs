//! What becomes of a request before any region is asked for: it is answered, refused, or sent on.
//!
//! What became of a request then is read from its record; what a plan would make of it is reckoned from
//! what was kept of the request. Two fates are the same if the client would not tell them apart, so the
//! words of a refusal do not count, and an upstream is compared apart.

use std::fmt;
use std::sync::Arc;

use http::{HeaderName, Method};

use super::{Facts, Recalled, Record};
use crate::action::Acted;
use crate::hash::KeyFacts;
use crate::plan::{Plan, Reply, Route, Upstream};
use crate::route::RequestFacts;
use crate::termination::Termination;

/// Where a trusted peer names a region.
const REGION: HeaderName = HeaderName::from_static("tidegate-region");

/// How a request ended that no region was looked at for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Early {
    /// Its route answered by itself.
    Answered(Answered),
    /// It was refused, in these words.
    Refused(Box<str>),
}

/// What a route answers by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The status that it gives; a call of gRPC hears of it in its own words.
    pub status: u16,
    /// Where it sends its client, as far as the request was kept.
    pub location: Option<Box<str>>,
}

/// What becomes of a request before any region is asked for.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    /// No route matches.
    NoRoute,
    /// Its route answers by itself.
    Answered(Arc<str>, Answered),
    /// It is refused, in these words.
    Refused(Box<str>),
    /// It is answered with an injected error.
    Aborted(u16),
    /// It goes to an upstream.
    Sent,
}

impl Early {
    /// What `route` answers to a request by itself. None: it sends it on, or refuses it.
    pub fn of(route: &Route, facts: &Facts) -> Option<Self> {
        match Fate::by_itself(route, &facts.recall())? {
            Fate::Answered(_, answered) => Some(Self::Answered(answered)),
            _ => None,
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Answered(answered) => answered.location.as_ref().map_or(0, |to| to.len()),
            Self::Refused(words) => words.len(),
        }
    }
}

impl Fate {
    /// What became of the request of `record`.
    pub(super) fn of(record: &Record) -> Self {
        match (&record.early, &record.way, record.end.reason) {
            (Some(Early::Answered(answered)), Some(way), _) => {
                Self::Answered(way.route.clone(), answered.clone())
            }
            (Some(Early::Refused(words)), _, _) => Self::Refused(words.clone()),
            (_, None, Termination::NoRoute) => Self::NoRoute,
            (_, _, Termination::FaultInjected) => {
                let injected = record.drawn.injected(record.chances.as_deref());
                let told = record.end.status.unwrap_or_default();
                Self::Aborted(injected.abort.map_or(told, |status| status.as_u16()))
            }
            _ => Self::Sent,
        }
    }

    /// What `route` does with the request if it has no upstream.
    pub(super) fn by_itself(route: &Route, request: &Recalled<'_>) -> Option<Self> {
        let reply = route.actions.as_ref()?.reply.as_ref()?;
        let acted = Acted::of(route, request)?;
        if let Some(why) = acted.refused {
            return Some(Self::Refused(why));
        }
        let is_tunnel = *request.method() == Method::CONNECT;
        match reply {
            Reply::Respond(respond) if is_tunnel && respond.status.is_success() => {
                Some(Self::Refused("there is nothing to connect to".into()))
            }
            _ => Some(Self::Answered(
                route.name.clone(),
                Answered {
                    status: acted.status.unwrap_or_default(),
                    location: acted.location,
                },
            )),
        }
    }

    /// Why a request is refused that goes to `upstream`; none if it is not. That a peer may name a
    /// region shows in that it was heard (`trusted`).
    pub(super) fn refusal(
        (plan, route, upstream): (&Plan, &Route, &Upstream),
        request: &Recalled<'_>,
        trusted: bool,
    ) -> Option<Self> {
        let words = too_large(upstream, request)
            .or_else(|| unknown_region(plan, upstream, request).filter(|_| trusted))
            .or_else(|| Some(Acted::of(route, request)?.refused?.into()));
        words.map(|words| Self::Refused(words.into()))
    }

    /// Whether a client would not tell them apart, but for the upstream.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Answered(route, answered), Self::Answered(other, then)) => {
                route == other && answered == then
            }
            (Self::Aborted(status), Self::Aborted(then)) => status == then,
            (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
        }
    }
}

fn too_large(upstream: &Upstream, request: &Recalled<'_>) -> Option<String> {
    let length = |value: &[u8]| std::str::from_utf8(value).ok()?.parse::<u64>().ok();
    let (length, max) = (
        request.find_field(&http::header::CONTENT_LENGTH, length)?,
        upstream.body.max_bytes?,
    );
    (length > max).then(|| format!("the body has {length} bytes, {max} are allowed"))
}

fn unknown_region(plan: &Plan, upstream: &Upstream, request: &Recalled<'_>) -> Option<String> {
    let name = request.find_field(&REGION, |name| Some(name.to_owned()))?;
    let mut regions = upstream.regions.iter();
    let known = regions.any(|one| plan.region(one.region).name.as_bytes() == name);
    let (upstream, name) = (&upstream.name, name.escape_ascii());
    (!known).then(|| format!("{upstream} has no region {name} ({REGION})"))
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Some(to) => write!(f, "{}, to {to}", self.status),
            None => write!(f, "{}", self.status),
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoute => f.write_str("no route matches"),
            Self::Answered(route, answered) => {
                write!(f, "route `{route}` answers by itself: {answered}")
            }
            Self::Refused(words) => write!(f, "it is refused: {words}"),
            Self::Aborted(status) => write!(f, "it is answered {status}, which is injected"),
            Self::Sent => f.write_str("it is sent on"),
        }
    }
}
