//! What a route's actions come to for one request: the target that upstreams get, the fields that are
//! edited, the fault that is injected, the answer that the route gives by itself.
//!
//! It is reckoned once, when the request is admitted, so that every attempt, hedge, continuation and copy
//! sends the same. The client's own head stays as it is: routes, hashes, bonds and logs keep to it. A
//! request of a route without actions costs one look at a pointer.

pub(crate) mod fields;
mod inject;
mod reply;

use std::rc::Rc;
use std::sync::Arc;

use http::StatusCode;
use tidegate_core::action::{Injected, Unwritable};
use tidegate_core::plan::{Actions, HostRewrite};
use tidegate_core::route::RequestFacts;
use tidegate_core::{Lot, Termination};

use crate::context::Context;
use crate::held::HeldRoute;
use crate::keys::Parts;
use crate::pipeline::Serving;
use crate::problem::Refusal;

pub(crate) use reply::{Replied, ReplyHead, answer};

/// What is done with one request. Shared with its copy.
pub(crate) struct Acts {
    pub(crate) actions: Arc<Actions>,
    /// Path and query that upstreams get, if they are others than the client's.
    target: Option<Box<str>>,
    injected: Injected,
}

impl Acts {
    /// What the actions of `route` come to for the request that has this lot. None if it has none.
    ///
    /// # Errors
    /// The request cannot be rewritten.
    pub(crate) fn of(
        route: &HeldRoute,
        parts: &Parts<'_>,
        lot: Lot,
    ) -> Result<Option<Rc<Self>>, Refusal> {
        let Some(actions) = &route.route.actions else {
            return Ok(None);
        };
        let target = match &actions.path {
            Some(rewrite) => {
                let captured = route.route.matches.captures(parts.path());
                let target = rewrite.target(parts.head.path_and_query(), &captured);
                target.map_err(refusal)?
            }
            None => None,
        };
        Ok(Some(Rc::new(Self {
            actions: actions.clone(),
            target: target.map(Into::into),
            injected: actions.fault.draw(lot),
        })))
    }

    /// Path and query that upstreams get, if they are others than the client's.
    pub(crate) fn target(&self) -> Option<&str> {
        self.target.as_deref()
    }

    /// What is injected.
    pub(crate) fn injected(&self) -> Injected {
        self.injected
    }
}

/// The answer to a request that cannot be rewritten.
fn refusal(why: Unwritable) -> Refusal {
    let refusal = Refusal::new(Termination::BadRequest, Some(why.to_string()));
    match why {
        Unwritable::TooLong => refusal.with_status(StatusCode::URI_TOO_LONG),
        Unwritable::DotSegment | Unwritable::NoHost => refusal,
    }
}

impl Serving {
    /// Path and query as upstreams get them.
    pub(crate) fn target(&self) -> &str {
        let acts = self.admitted.acts.as_deref();
        let rewritten = acts.and_then(Acts::target);
        rewritten.unwrap_or_else(|| self.head.path_and_query())
    }

    /// The same, for whoever copies it.
    pub(crate) fn target_bytes(&self) -> &[u8] {
        match &self.admitted.acts {
            None => self.head.path_and_query_bytes(),
            Some(_) => self.target().as_bytes(),
        }
    }

    /// The host as upstreams get it, over a connection that speaks TLS or does not.
    pub(crate) fn authority(&self, tls: bool) -> &str {
        let acts = self.admitted.acts.as_deref();
        match acts.and_then(|acts| acts.actions.host.as_ref()) {
            None => self.head.authority(),
            Some(HostRewrite::Fixed(host)) => host,
            Some(HostRewrite::Upstream) => {
                let endpoint = self.finish.attempted();
                endpoint.map_or("", |endpoint| without_default_port(endpoint, tls))
            }
        }
    }
}

/// An address without the port that its scheme has anyway.
fn without_default_port(address: &str, tls: bool) -> &str {
    let port = if tls { ":443" } else { ":80" };
    address.strip_suffix(port).unwrap_or(address)
}

/// The name of the client's protocol, for values of fields.
fn scheme(context: &Context) -> &'static str {
    context.facts.scheme()
}

#[cfg(test)]
mod tests {
    use super::without_default_port;

    #[test]
    fn a_default_port_is_not_told() {
        let check = |address, tls, expected| {
            assert_eq!(without_default_port(address, tls), expected);
        };
        check("a.example:80", false, "a.example");
        check("a.example:443", false, "a.example:443");
        check("a.example:443", true, "a.example");
        check("[::1]:8080", false, "[::1]:8080");
        check("[::80]:80", false, "[::80]");
    }
}
