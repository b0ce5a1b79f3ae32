//! How an endpoint is chosen: the policy's name, with its options if it has any.

use tidegate_core::plan::{Balance, HashKey, Hashing, Prequal};

use super::{duration, off_or, percent};
use crate::emit::Doc;

pub(super) fn balance(balance: &Balance) -> Doc<'_> {
    let policy = Some(Doc::plain(balance.as_str()));
    match balance {
        Balance::PeakEwma | Balance::RoundRobin | Balance::Random => Doc::plain(balance.as_str()),
        Balance::LeastRequest { choice_count } => Doc::map([
            ("policy", policy),
            ("choice_count", Some(Doc::plain(choice_count))),
        ]),
        Balance::RingHash(ring) => Doc::map([
            ("policy", policy),
            ("hash_on", Some(hash_on(&ring.hashing))),
            ("hash_balance_factor", Some(factor(&ring.hashing))),
            (
                "minimum_ring_size",
                Some(Doc::plain(ring.minimum_ring_size)),
            ),
            (
                "maximum_ring_size",
                Some(Doc::plain(ring.maximum_ring_size)),
            ),
        ]),
        Balance::Maglev(maglev) => Doc::map([
            ("policy", policy),
            ("hash_on", Some(hash_on(&maglev.hashing))),
            ("hash_balance_factor", Some(factor(&maglev.hashing))),
            ("table_size", Some(Doc::plain(maglev.table_size.get()))),
        ]),
        Balance::Prequal(probe) => Doc::map([("policy", policy), ("probe", Some(prequal(probe)))]),
    }
}

fn prequal(probe: &Prequal) -> Doc<'_> {
    Doc::map([
        ("path", Some(Doc::quote(&probe.path))),
        ("rate", Some(Doc::plain(probe.rate))),
        ("pool_size", Some(Doc::plain(probe.pool_size))),
        ("max_age", Some(duration(probe.max_age))),
        ("timeout", Some(duration(probe.timeout))),
        ("hot_quantile", Some(percent(probe.hot_quantile))),
    ])
}

fn factor(hashing: &Hashing) -> Doc<'static> {
    off_or(hashing.balance_factor.as_ref(), |factor| percent(*factor))
}

fn hash_on(hashing: &Hashing) -> Doc<'_> {
    hash_keys(&hashing.on)
}

pub(super) fn hash_keys(keys: &[HashKey]) -> Doc<'_> {
    Doc::List(keys.iter().map(hash_key).collect())
}

pub(super) fn hash_key(key: &HashKey) -> Doc<'_> {
    let named = |kind, name| Doc::map([(kind, Some(Doc::quote(name)))]);
    match key {
        HashKey::ClientAddress => Doc::plain("client_address"),
        HashKey::Path => Doc::plain("path"),
        HashKey::Header(name) => named("header", name.as_str()),
        HashKey::Cookie(name) => named("cookie", name),
        HashKey::Query(name) => named("query", name),
    }
}
