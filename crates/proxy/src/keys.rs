//! What of a request decides about its upstream, region and endpoint: what splits and policies hash,
//! what its route says, what a trusted peer names.
//!
//! It is looked at once, when the request is admitted, and only as far as its upstream's policies ask
//! for it; every attempt has the same hashes. `core` says which part counts and how it is hashed; this
//! says where the parts are in a head, and who the client is.

use std::net::{IpAddr, SocketAddr};
use std::time::{Instant, SystemTime};

use http::{HeaderName, Method};
use tidegate_core::decision::{Pin, PinnedBy};
use tidegate_core::geo::Origin;
use tidegate_core::hash::KeyFacts;
use tidegate_core::plan::{Plan, Policy, Route, Upstream};
use tidegate_core::route::RequestFacts;
use tidegate_core::{Ask, Lot, UpstreamIdx};

use crate::admit::Admitted;
use crate::context::Context;
use crate::head::{RequestHead, host_of};

/// Where `X-Forwarded-For` is looked for.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What a request asks for at first.
#[inline(always)]
pub(crate) fn ask(context: &Context, head: &RequestHead, admitted: &Admitted, at: Instant) -> Ask {
    let (route, upstream) = (&admitted.route.route, &admitted.upstream.wanted);
    let mut ask = Ask::of(route, upstream, &Parts { context, head }, at);
    ask.pin = admitted.named.map(|region| Pin {
        region,
        endpoint: None,
        by: PinnedBy::Override,
    });
    ask.origin = admitted.origin;
    ask
}

/// Where the client is, if its upstream steers by that and something tells it.
pub(crate) fn origin(
    context: &Context,
    head: &RequestHead,
    plan: &Plan,
    upstream: &Upstream,
) -> Option<Origin> {
    let by_place = matches!(upstream.steering.policy, Policy::Geo { .. });
    let atlas = plan.atlas.as_deref().filter(|_| by_place)?;
    let client = Parts { context, head }.client()?;
    context.origin.of(client, atlas)
}

/// The upstream of a request of `route`: if that is split, by what it hashes, if the request has that,
/// else by the request's lot. None: the route answers by itself.
pub(crate) fn upstream(
    context: &Context,
    head: &RequestHead,
    plan: &Plan,
    route: &Route,
    lot: Lot,
) -> Option<UpstreamIdx> {
    plan.upstream_for(route, &Parts { context, head }, || lot.split())
}

/// A request as `core` looks at it: its head, and what is known of its client's connection.
pub(crate) struct Parts<'a> {
    pub(crate) context: &'a Context,
    pub(crate) head: &'a RequestHead,
}

impl RequestFacts for Parts<'_> {
    fn method(&self) -> &Method {
        self.head.method()
    }

    #[inline]
    fn host(&self) -> &str {
        host_of(self.head.authority())
    }

    fn path_bytes(&self) -> &[u8] {
        self.head.path_bytes()
    }

    fn scheme(&self) -> &'static str {
        self.context.facts.scheme()
    }

    fn server_name(&self) -> Option<&str> {
        self.context.facts.tls.as_ref()?.sni.as_deref()
    }

    fn client_subject(&self) -> Option<&str> {
        self.context.facts.tls.as_ref()?.client_subject.as_deref()
    }

    fn at(&self) -> SystemTime {
        SystemTime::now()
    }

    fn each_field<'s>(&'s self, mut show: impl FnMut(&'s [u8], &'s [u8])) {
        match self.head {
            RequestHead::H1(head) => {
                let fields = head.fields.iter();
                fields.for_each(|field| show(field.name, field.value));
            }
            RequestHead::H2(parts) => {
                let fields = parts.headers.iter();
                fields.for_each(|(name, value)| show(name.as_str().as_bytes(), value.as_bytes()));
            }
        }
    }
}

impl KeyFacts for Parts<'_> {
    /// Who connected; of a client that the listener trusts, whom it says it speaks for.
    fn client(&self) -> Option<IpAddr> {
        let listener = &self.context.listener;
        let mut behind = Behind::default();
        if self.context.words.trusted() {
            self.find_field(&FORWARDED_FOR, |line| {
                behind.hear(line, |address| listener.trusts(address));
                None::<()>
            });
        }
        Some(behind.client().unwrap_or(self.context.facts.client.ip()))
    }

    fn find_field<'s, T>(
        &'s self,
        name: &HeaderName,
        find: impl FnMut(&'s [u8]) -> Option<T>,
    ) -> Option<T> {
        match self.head {
            RequestHead::H1(head) => head.fields.get_all_named(name.as_str()).find_map(find),
            RequestHead::H2(parts) => {
                let values = parts.headers.get_all(name).iter();
                values.map(|value| value.as_bytes()).find_map(find)
            }
        }
    }

    fn path_and_query(&self) -> &str {
        self.head.path_and_query()
    }
}

/// Whom a chain of proxies speaks for: each adds at the end who asked it, so it is the last one that is
/// no trusted proxy itself. What stands before that, anybody may have written.
#[derive(Debug, Default)]
struct Behind {
    first: Option<IpAddr>,
    stranger: Option<IpAddr>,
}

impl Behind {
    /// Reads one line of `X-Forwarded-For`. What is no address is passed over.
    fn hear(&mut self, line: &[u8], trusts: impl Fn(IpAddr) -> bool) {
        let members = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        for address in members.filter_map(address) {
            self.first.get_or_insert(address);
            if !trusts(address) {
                self.stranger = Some(address);
            }
        }
    }

    fn client(&self) -> Option<IpAddr> {
        self.stranger.or(self.first)
    }
}

/// `192.0.2.1`, `2001:db8::1`, and both with a port (the latter in brackets), as proxies write them.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse().ok().or_else(with_port).or_else(in_brackets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_the_last_one_that_is_no_trusted_proxy() {
        let ours = |address: IpAddr| address.to_string().starts_with("10.");
        let check = |lines: &[&str], expected: Option<&str>| {
            let mut behind = Behind::default();
            lines
                .iter()
                .for_each(|line| behind.hear(line.as_bytes(), ours));
            let expected = expected.map(|text| text.parse::<IpAddr>().unwrap());
            assert_eq!(behind.client(), expected, "{lines:?}");
        };
        check(&[], None);
        check(&["192.0.2.1"], Some("192.0.2.1"));
        check(&["198.51.100.9, 192.0.2.1"], Some("192.0.2.1"));
        check(&["198.51.100.9,192.0.2.1 , 10.0.0.1"], Some("192.0.2.1"));
        check(&["192.0.2.1", "10.0.0.1, 10.0.0.2"], Some("192.0.2.1"));
        check(&["10.0.0.1, 10.0.0.2"], Some("10.0.0.1"));
        check(&["192.0.2.1:4711, unknown"], Some("192.0.2.1"));
        check(&["[2001:db8::1]:443"], Some("2001:db8::1"));
        check(&["[2001:db8::2]", "", ",,"], Some("2001:db8::2"));
        check(&["_hidden, 1.2.3.4.5, \u{e9}"], None);
    }
}
