//! What keeps a client at one place: what its request brings, and what its answer takes along.
//!
//! By hash there is nothing to bring or to set: the hash decides instead of chance. By cookie the
//! client brings a token that we signed; `core` heeds it as a [`Pin`], which residency, drains, dials
//! and health come before, so that a cookie, forged or not, opens nothing. Whatever is no token of ours
//! (forged, cut, too long, of a secret that is gone, or there twice) is as if it were not there, and
//! the client is bound anew. The cookie is set when an answer's head is passed on and never before, and
//! only by the place that gave the answer. It is ours: upstreams do not see it.
//!
//! An answer that is nobody's own carries none, since a cache on the way would hand one client's bond
//! to the others: 304, and what `Cache-Control` calls `public` or gives an `s-maxage`. Nor does the
//! error of a place that was the last to be tried bind anybody to it.

mod cookie;
mod token;

use std::fmt::Write as _;
use std::sync::Arc;

use http::StatusCode;
use tidegate_core::decision::{Pin, PinnedBy};
use tidegate_core::hash::xxh64;
use tidegate_core::plan::{
    Affinity, AffinityBy, AffinityCookie, AffinityScope, Plan, SameSite, Upstream, WhenGone,
};
use tidegate_core::{Ask, EndpointSet, RegionIdx, Termination};
use tidegate_http1::Known;
use tidegate_telemetry::labels::AffinityResult;

use crate::attempt::Place;
use crate::head::{RequestHead, ResponseHead};
use crate::pipeline::Serving;
use cookie::Found;
use token::{Named, Seal};

pub(crate) use cookie::others;

/// The cookie of one upstream: how it is read and written. Made once for each plan.
pub(crate) struct Bonds {
    cookie: Arc<AffinityCookie>,
    scope: AffinityScope,
    when_gone: WhenGone,
    seal: Seal,
    /// XXH64 of the names of the upstream's regions.
    regions: Box<[(u64, RegionIdx)]>,
    /// What follows the token in `Set-Cookie`.
    attributes: Box<str>,
}

/// What a request brought of a cookie of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Brought {
    /// None.
    #[default]
    Nothing,
    /// Something that is no token of ours.
    Nonsense,
    /// A token for a region that the upstream does not have any more.
    Gone,
    /// A token.
    Bond,
}

/// Where an answer came from.
#[derive(Clone, Copy)]
struct Served<'a> {
    region: RegionIdx,
    /// Its endpoint's address.
    address: &'a str,
}

impl Bonds {
    /// The bonds of `upstream`; none if no cookie keeps its clients.
    pub(crate) fn of(plan: &Plan, upstream: &Upstream) -> Option<Self> {
        let Affinity {
            by: AffinityBy::Cookie(cookie),
            scope,
            when_gone,
        } = upstream.steering.affinity.as_ref()?
        else {
            return None;
        };
        let region = |index: RegionIdx| (name_of(&plan.region(index).name), index);
        let secrets = cookie.secrets.iter().map(|secret| &**secret);
        Some(Self {
            cookie: cookie.clone(),
            scope: *scope,
            when_gone: *when_gone,
            seal: Seal::new(&upstream.name, secrets)?,
            regions: upstream
                .regions
                .iter()
                .map(|one| region(one.region))
                .collect(),
            attributes: attributes(cookie).into(),
        })
    }

    /// The cookie's name.
    fn name(&self) -> &str {
        &self.cookie.name
    }

    /// Enters the place that a request is bound to, unless it is to go to another one that was named.
    pub(crate) fn read(&self, head: &RequestHead, ask: &mut Ask) -> Brought {
        let (brought, pin) = self.brought(cookie::find(head, self.name()));
        ask.pin = ask.pin.or(pin);
        brought
    }

    fn brought(&self, found: Found<'_>) -> (Brought, Option<Pin>) {
        let value = match found {
            Found::None => return (Brought::Nothing, None),
            Found::Many => return (Brought::Nonsense, None),
            Found::One(value) => value,
        };
        let Some(named) = self.seal.read(value) else {
            return (Brought::Nonsense, None);
        };
        match self.regions.iter().find(|(name, _)| *name == named.region) {
            Some((_, region)) => (Brought::Bond, Some(self.pin(*region, named))),
            None => (Brought::Gone, None),
        }
    }

    fn pin(&self, region: RegionIdx, named: Named) -> Pin {
        Pin {
            region,
            endpoint: named.endpoint.filter(|_| self.is_narrow()),
            by: PinnedBy::Affinity(self.when_gone),
        }
    }

    fn is_narrow(&self) -> bool {
        self.scope == AffinityScope::Endpoint
    }

    /// What affinity does for a request that brought this, was pinned so, and is answered from there;
    /// none if it was not asked, because a trusted peer had named the region.
    fn result(
        brought: Brought,
        pin: Option<Pin>,
        bind: bool,
        served: Served<'_>,
    ) -> Option<AffinityResult> {
        let Some(pin) = pin else {
            return Some(match brought {
                Brought::Nothing | Brought::Bond => AffinityResult::Set,
                Brought::Nonsense => AffinityResult::Invalid,
                Brought::Gone => AffinityResult::Rebound,
            });
        };
        let is_there = |endpoint| endpoint == EndpointSet::name_of(served.address);
        let there = pin.region == served.region && pin.endpoint.is_none_or(is_there);
        match (pin.by, there, bind) {
            (PinnedBy::Override, ..) => None,
            (_, true, false) => Some(AffinityResult::Kept),
            (_, false, false) => Some(AffinityResult::Temporary),
            (_, true, true) => Some(AffinityResult::Set),
            (_, false, true) => Some(AffinityResult::Rebound),
        }
    }

    /// The value of `Set-Cookie` that binds a client to the place of its answer.
    fn set_cookie(&self, served: Served<'_>) -> Option<Box<str>> {
        let mut regions = self.regions.iter();
        let (region, _) = regions.find(|(_, region)| *region == served.region)?;
        let token = self.seal.sign(Named {
            region: *region,
            endpoint: self
                .is_narrow()
                .then(|| EndpointSet::name_of(served.address)),
        });
        Some(format!("{}={token}{}", self.name(), self.attributes).into())
    }
}

impl Serving {
    /// The name of the cookie of ours that the client sent, if it did.
    pub(crate) fn cookie_of_ours(&self) -> Option<&str> {
        match self.brought {
            Brought::Nothing => None,
            _ => self.admitted.served_by().bonds.as_ref().map(Bonds::name),
        }
    }

    /// Counts what affinity does for an answer that is about to be passed on; `Set-Cookie` if it binds
    /// the client. An answer that was `passed` on for want of a better one binds nobody.
    pub(crate) fn bind(
        &self,
        place: Place,
        head: &ResponseHead,
        passed: Option<Termination>,
    ) -> Option<Box<str>> {
        let bonds = self.bonds()?;
        if place.bind && (passed.is_some() || !is_ones_own(head)) {
            return None;
        }
        let served = Served {
            region: place.region,
            address: self.finish.answering()?,
        };
        let result = Bonds::result(self.brought, self.ask.pin, place.bind, served);
        self.count_affinity(result?);
        place.bind.then(|| bonds.set_cookie(served))?
    }

    /// Counts a request that ends because the place is gone to which its client is bound.
    pub(crate) fn count_lost(&self, termination: Termination) {
        if termination == Termination::AffinityLost {
            self.count_affinity(AffinityResult::Lost);
        }
    }

    fn count_affinity(&self, result: AffinityResult) {
        let series = &self.admitted.upstream.series;
        series.service().bound(result);
    }

    fn bonds(&self) -> Option<&Bonds> {
        self.admitted.upstream.bonds.as_ref()
    }
}

/// Whether an answer with this head may carry the bond of one client.
fn is_ones_own(head: &ResponseHead) -> bool {
    head.status() != StatusCode::NOT_MODIFIED
        && !head.any_value(Known::CacheControl, is_for_everybody)
}

/// Whether `Cache-Control` lets caches that serve many keep an answer in so many words (RFC 9111
/// section 5.2.2).
fn is_for_everybody(value: &[u8]) -> bool {
    let mut directives = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    directives.any(|directive| {
        let name = directive.split(|byte| *byte == b'=').next();
        let name = name.unwrap_or_default().trim_ascii_end();
        name.eq_ignore_ascii_case(b"public") || name.eq_ignore_ascii_case(b"s-maxage")
    })
}

fn name_of(region: &str) -> u64 {
    xxh64(0, region.as_bytes())
}

/// Scripts never need it, so they never get it.
fn attributes(cookie: &AffinityCookie) -> String {
    let mut text = format!("; Path={}; HttpOnly", cookie.path);
    if let Some(ttl) = cookie.ttl {
        let _infallible = write!(text, "; Max-Age={}", ttl.as_secs());
    }
    if cookie.secure {
        text.push_str("; Secure");
    }
    text.push_str(match cookie.same_site {
        SameSite::Lax => "; SameSite=Lax",
        SameSite::Strict => "; SameSite=Strict",
        SameSite::None => "; SameSite=None",
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_caches_keep_for_everybody_is_nobodys_own() {
        let check = |value: &str, expected| {
            assert_eq!(is_for_everybody(value.as_bytes()), expected, "{value}");
        };
        check("", false);
        check("max-age=60", false);
        check("private, max-age=60", false);
        check("no-cache=\"public-key\"", false);
        check("publicity", false);
        check("public", true);
        check("max-age=60,Public", true);
        check("max-age=1, s-maxage = 60", true);
    }

    #[test]
    fn attributes_are_what_the_plan_says() {
        let cookie = AffinityCookie {
            name: "at".into(),
            ttl: None,
            path: "/".into(),
            secure: false,
            same_site: SameSite::Lax,
            secrets: Box::default(),
        };
        assert_eq!(attributes(&cookie), "; Path=/; HttpOnly; SameSite=Lax");
        let cookie = AffinityCookie {
            ttl: Some(std::time::Duration::from_millis(90_500)),
            path: "/shop".into(),
            secure: true,
            same_site: SameSite::None,
            ..cookie
        };
        let expected = "; Path=/shop; HttpOnly; Max-Age=90; Secure; SameSite=None";
        assert_eq!(attributes(&cookie), expected);
    }
}
