//! What an operator means by a name: a region, in one upstream or in all that live there.

use std::fmt;
use std::sync::Arc;

use tidegate_core::plan::UpstreamRegion;
use tidegate_core::{Live, LiveRegion};

/// A region as one upstream sees it.
pub(crate) struct Named<'a> {
    /// The upstream.
    pub(crate) upstream: Arc<str>,
    /// What the plan wants of it there.
    pub(crate) spec: &'a UpstreamRegion,
    /// What it observes of the region.
    pub(crate) region: &'a LiveRegion,
}

/// What a name should have named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A region of the plan.
    Region,
    /// An upstream that lives in the region.
    Upstream,
    /// An endpoint of the region.
    Endpoint,
}

/// The serving plan has nothing of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {kind} `{name}`; {}", advice(closest, known))]
pub struct UnknownName {
    /// What it should have named.
    pub kind: Kind,
    /// The name asked for.
    pub name: String,
    /// The most similar name, if one is similar.
    pub closest: Option<Arc<str>>,
    /// The names there are.
    pub known: Vec<Arc<str>>,
}

/// Names less similar than this are no suggestion.
const SIMILAR_MIN: f64 = 0.7;
/// An error repeats no more of a name, and of the names there are: what comes from outside may be
/// long, and similarity costs the product of the lengths.
const NAME_MAX: usize = 100;
const KNOWN_MAX: usize = 32;

fn advice(closest: &Option<Arc<str>>, known: &[Arc<str>]) -> String {
    match closest {
        Some(name) => format!("did you mean `{name}`?"),
        None if known.is_empty() => "no plan serves yet".to_owned(),
        None => format!("there are: {}", known.join(", ")),
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Region => "region",
            Self::Upstream => "upstream",
            Self::Endpoint => "endpoint",
        })
    }
}

impl UnknownName {
    pub(crate) fn region(name: &str, known: Vec<Arc<str>>) -> Self {
        Self::new(Kind::Region, name, known)
    }

    pub(crate) fn new(kind: Kind, name: &str, mut known: Vec<Arc<str>>) -> Self {
        let name: String = name.chars().take(NAME_MAX).collect();
        let closest = closest(&name, &known).cloned();
        known.truncate(KNOWN_MAX);
        Self {
            kind,
            name,
            closest,
            known,
        }
    }
}

/// Which of the `known` names may have been meant by `name`; none that is similar enough.
pub(crate) fn closest<'a, T: AsRef<str>>(name: &str, known: &'a [T]) -> Option<&'a T> {
    let similarity = |known: &T| strsim::jaro_winkler(name, known.as_ref());
    known
        .iter()
        .max_by(|a, b| similarity(a).total_cmp(&similarity(b)))
        .filter(|known| similarity(known) >= SIMILAR_MIN)
}

/// The region of this name in every upstream that lives there. Empty when none does.
pub(crate) fn regions<'a>(live: &'a Live, region: &str) -> Vec<Named<'a>> {
    let upstreams = live.plan.upstreams.iter().zip(&live.upstreams);
    let all = upstreams.flat_map(|(wanted, observed)| {
        let regions = wanted.regions.iter().zip(&observed.regions);
        regions.map(|(spec, region)| Named {
            upstream: wanted.name.clone(),
            spec,
            region,
        })
    });
    all.filter(|named| *live.plan.region(named.spec.region).name == *region)
        .collect()
}
