//! What an operator says of a region or an endpoint, against or beside what is observed.
//!
//! A word is believed like an upstream's own: the judge of the upstream reads it at its next look and
//! tells what follows as an event; who said it, and why, is an event of its own. Words survive reloads,
//! because cells do, and not restarts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tidegate_core::{Health, Live};
use tidegate_telemetry::{EventKind, Events};

use crate::named::{self, Kind, Named, UnknownName};
use crate::origin::Author;

/// Whom a word is about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Whom<'a> {
    /// The region.
    pub region: &'a str,
    /// In this upstream only; else in all that live there.
    pub upstream: Option<&'a str>,
    /// This endpoint of it only (`host:port`); else the region as a whole.
    pub endpoint: Option<&'a str>,
}

/// What a word did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said {
    /// The region.
    pub region: Arc<str>,
    /// The endpoint, if the word was about one.
    pub endpoint: Option<Arc<str>>,
    /// What is said of it now; `unknown` when nothing.
    pub said: Health,
    /// For how many seconds; none: until it is taken back.
    pub for_s: Option<u64>,
    /// Whether that is new anywhere.
    pub changed: bool,
    /// The upstreams that were told.
    pub upstreams: Vec<Arc<str>>,
    /// Who said it, and why.
    #[serde(flatten)]
    pub author: Author,
}

/// Regions that were asked to come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Released {
    /// The region.
    pub region: Arc<str>,
    /// The upstreams that were told.
    pub upstreams: Vec<Arc<str>>,
    /// Who said it, and why.
    #[serde(flatten)]
    pub author: Author,
}

/// Says of `whom` what its health is, for so long or until it is taken back; `Unknown` takes it back.
/// That is an event, also where it is nothing new: its time may be.
///
/// # Errors
/// [`UnknownName`] when the serving plan does not know whom.
pub fn say(
    live: &Live,
    whom: Whom<'_>,
    (said, lasts): (Health, Option<Duration>),
    now: Instant,
    author: &Author,
    events: &Events,
) -> Result<Said, UnknownName> {
    let named = find(live, whom)?;
    let until = lasts.map(|lasts| now + lasts);
    let changed = match whom.endpoint {
        None => told(&named, |named| named.region.cell.say(said, until)),
        Some(address) => say_of_endpoint(&named, address, said, until)?,
    };
    let done = Said {
        region: whom.region.into(),
        endpoint: whom.endpoint.map(Into::into),
        said,
        for_s: lasts.map(|lasts| lasts.as_secs()),
        changed,
        upstreams: named.into_iter().map(|named| named.upstream).collect(),
        author: author.clone(),
    };
    events.record(EventKind::Said {
        region: done.region.clone(),
        endpoint: done.endpoint.clone(),
        upstreams: done.upstreams.clone(),
        said,
        for_s: done.for_s,
        who: author.who.clone(),
        reason: author.reason.clone(),
    });
    Ok(done)
}

/// Lets a region that waits for it (`failback.mode: manual`) come back; one that does not wait takes
/// no notice.
///
/// # Errors
/// [`UnknownName`] when the serving plan does not know whom.
pub fn release(
    live: &Live,
    whom: Whom<'_>,
    author: &Author,
    events: &Events,
) -> Result<Released, UnknownName> {
    let named = find(live, whom)?;
    named
        .iter()
        .for_each(|named| named.region.cell.ask_release());
    let done = Released {
        region: whom.region.into(),
        upstreams: named.into_iter().map(|named| named.upstream).collect(),
        author: author.clone(),
    };
    events.record(EventKind::Failback {
        region: done.region.clone(),
        upstreams: done.upstreams.clone(),
        who: author.who.clone(),
        reason: author.reason.clone(),
    });
    Ok(done)
}

fn find<'a>(live: &'a Live, whom: Whom<'_>) -> Result<Vec<Named<'a>>, UnknownName> {
    let mut named = named::regions(live, whom.region);
    if named.is_empty() {
        let known = live.plan.regions.iter().map(|region| region.name.clone());
        return Err(UnknownName::region(whom.region, known.collect()));
    }
    if let Some(upstream) = whom.upstream {
        let known = named.iter().map(|named| named.upstream.clone()).collect();
        named.retain(|named| *named.upstream == *upstream);
        if named.is_empty() {
            return Err(UnknownName::new(Kind::Upstream, upstream, known));
        }
    }
    Ok(named)
}

/// Tells everybody; says whether it was new to anybody.
fn told<T>(all: &[T], mut tell: impl FnMut(&T) -> bool) -> bool {
    all.iter().fold(false, |changed, one| tell(one) | changed)
}

fn say_of_endpoint(
    named: &[Named<'_>],
    address: &str,
    said: Health,
    until: Option<Instant>,
) -> Result<bool, UnknownName> {
    let sets: Vec<_> = named
        .iter()
        .map(|named| named.region.endpoints.load())
        .collect();
    let all = || sets.iter().flat_map(|set| &set.endpoints);
    let meant: Vec<_> = all()
        .filter(|endpoint| *endpoint.address == *address)
        .collect();
    if meant.is_empty() {
        let known = all().map(|endpoint| endpoint.address.clone()).collect();
        return Err(UnknownName::new(Kind::Endpoint, address, known));
    }
    Ok(told(&meant, |endpoint| endpoint.cell.say(said, until)))
}
