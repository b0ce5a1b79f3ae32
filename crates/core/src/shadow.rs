//! What another plan would do with a request that the serving one gets.
//!
//! Both plans are asked the same question, in the same words, at the same moment, with the same draws; what
//! each would do is its [`Outlook`], told by names, because two plans number things each in their own way.
//! A [`Comparison`] says in which [`Aspect`]s they differ, and why. Nothing is sent and nothing is
//! recorded. A plan never differs from itself.

mod outlook;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::decision::PinnedBy;
use crate::handle::Live;
use crate::snapshot::Snapshot;

pub use outlook::{Action, Ending, Outlook, Residency, Times};

/// So often a comparison is made again because what is observed has changed between its two looks.
const LOOKS: usize = 3;

/// One request, as both plans are asked about it.
#[derive(Clone, Debug)]
pub struct Case {
    /// The request.
    pub request: Snapshot,
    /// Where the serving plan had to send it, if its client is bound to a place or a peer named one.
    pub pinned: Option<Pinned>,
    /// What is drawn by chance is drawn from this, for both.
    pub seed: u64,
}

/// A place that a request is pinned to, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The region.
    pub region: Arc<str>,
    /// XXH64 of its endpoint's address, if that is named.
    pub endpoint: Option<u64>,
    /// Who says so.
    pub by: PinnedBy,
}

/// What of a request two plans may see differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    /// Which route it takes.
    Route,
    /// What the route does with it.
    Action,
    /// Which upstream it goes to.
    Upstream,
    /// Which jurisdictions and regions its route allows, or whether that leaves any.
    Residency,
    /// The region of its first attempt.
    Region,
    /// The order of the regions.
    Order,
    /// How much time it has.
    Timeout,
    /// Whether it ends at once, and why.
    End,
}

/// What two plans do with one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What the plan does that serves.
    pub before: Outlook,
    /// What the other one would do.
    pub after: Outlook,
    /// In what they differ, and why, in the order of [`Aspect::ALL`]. Empty: in nothing.
    pub reasons: Vec<(Aspect, String)>,
}

impl Aspect {
    /// Every aspect, in the order in which differences are told.
    pub const ALL: [Self; 8] = [
        Self::Route,
        Self::Action,
        Self::Upstream,
        Self::Residency,
        Self::Region,
        Self::Order,
        Self::Timeout,
        Self::End,
    ];

    /// The word for documents and limits.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Action => "action",
            Self::Upstream => "upstream",
            Self::Residency => "residency",
            Self::Region => "region",
            Self::Order => "order",
            Self::Timeout => "timeout",
            Self::End => "end",
        }
    }
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Comparison {
    fn of(before: Outlook, after: Outlook) -> Self {
        let told = |aspect| Some((aspect, reason(aspect, &before, &after)?));
        Self {
            reasons: Aspect::ALL.into_iter().filter_map(told).collect(),
            before,
            after,
        }
    }

    /// Whether they differ in anything.
    pub fn differs(&self) -> bool {
        !self.reasons.is_empty()
    }

    /// Whether they differ in this.
    pub fn differs_in(&self, aspect: Aspect) -> bool {
        self.reasons.iter().any(|(has, _)| *has == aspect)
    }
}

/// What `other` would do with the request of `case`, beside what `serving` does.
///
/// What is observed goes on changing while this looks. So a difference counts only if the first look,
/// taken again, shows the same; where it does not, in a few tries, the last look at both stands.
pub fn compare(serving: &Live, other: &Live, case: &Case, now: Instant) -> Comparison {
    let mut before = Outlook::of(serving, case, now);
    for _ in 0..LOOKS {
        let after = Outlook::of(other, case, now);
        if before == after {
            return Comparison::of(before, after);
        }
        let again = Outlook::of(serving, case, now);
        if again == before {
            return Comparison::of(before, after);
        }
        before = again;
    }
    let after = Outlook::of(other, case, now);
    Comparison::of(before, after)
}

/// Why they differ in `aspect`, in words; none if they do not.
fn reason(aspect: Aspect, before: &Outlook, after: &Outlook) -> Option<String> {
    let (old, new) = (before, after);
    match aspect {
        Aspect::Route => differs(&named(&old.route), &named(&new.route)),
        Aspect::Action => action(&old.action, &new.action),
        Aspect::Upstream if old.is_sent() && new.is_sent() => {
            differs(&named(&old.upstream), &named(&new.upstream))
        }
        Aspect::Upstream => None,
        Aspect::Residency => (!old.residency.agrees(&new.residency))
            .then(|| format!("{} -> {}", old.residency, new.residency)),
        Aspect::Region => region(old, new),
        Aspect::Order => {
            (old.regions != new.regions).then(|| format!("{} -> {}", order(old), order(new)))
        }
        Aspect::Timeout => times(old.times.as_ref()?, new.times.as_ref()?),
        Aspect::End => differs(&old.ending, &new.ending),
    }
}

fn differs<T: PartialEq + fmt::Display>(old: &T, new: &T) -> Option<String> {
    (old != new).then(|| format!("{old} -> {new}"))
}

/// Two actions may be called alike and not be the same.
fn action(old: &Action, new: &Action) -> Option<String> {
    let alike = old != new && old.words == new.words;
    match alike {
        true => Some(format!("{new}, otherwise than before")),
        false => differs(old, new),
    }
}

fn named(name: &Option<Arc<str>>) -> &str {
    name.as_deref().unwrap_or("none")
}

fn order(outlook: &Outlook) -> String {
    match outlook.regions.is_empty() {
        true => "none".to_owned(),
        false => outlook.regions.join(", "),
    }
}

/// The first regions, why the new one is first, and why the old one is not there any more.
fn region(old: &Outlook, new: &Outlook) -> Option<String> {
    let (was, is) = (old.regions.first(), new.regions.first());
    if was == is {
        return None;
    }
    let word = |region: Option<&Arc<str>>| region.map_or("none", |region| region).to_owned();
    let mut text = format!("{} -> {}", word(was), word(is));
    if let Some(because) = new.because {
        text = format!("{text} ({})", because.told());
    }
    let left_out = was.and_then(|was| new.excluded.iter().find(|(name, _)| name == was));
    if let Some((name, why)) = left_out {
        text = format!("{text}; {name}: {}", why.told());
    }
    Some(text)
}

fn times(old: &Times, new: &Times) -> Option<String> {
    let each = old.each().into_iter().zip(new.each());
    let differing = each.filter(|(old, new)| old != new);
    let told = differing.map(|((name, old), (_, new))| {
        let time = |time: Option<Duration>| time.map_or("none".to_owned(), |it| format!("{it:?}"));
        format!("{name} {} -> {}", time(old), time(new))
    });
    let told: Vec<_> = told.collect();
    (!told.is_empty()).then(|| told.join(", "))
}
