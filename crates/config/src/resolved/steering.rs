//! How a region is chosen. Of secrets only the files are shown.

use std::path::{Path, PathBuf};

use tidegate_core::ids::RegionIdx;
use tidegate_core::plan::{
    Affinity, AffinityBy, AffinityCookie, AffinityScope, Fallback, GeoRule, Panic, Plan, Policy,
    Preference, SameSite, Spread, Steering, Tolerance, Upstream, WhenGone,
};

use super::balance::{hash_key, hash_keys};
use super::{duration, off_or, path, percent, truth};
use crate::compile::sheds;
use crate::emit::Doc;

pub(super) fn steering<'a>(
    plan: &Plan,
    upstream: &'a Upstream,
    secrets: &[PathBuf],
    base: &Path,
) -> Doc<'a> {
    let steering = &upstream.steering;
    let mut keys = policy(plan, &steering.policy);
    if sheds(&steering.policy, &upstream.regions) {
        keys.extend(spill(steering));
    }
    if !steering.prefer.is_empty() {
        let prefer = steering.prefer.iter();
        let prefer = prefer.map(|rule| preference(plan, rule));
        keys.push(("prefer", Doc::List(prefer.collect())));
    }
    keys.push(("panic", panic(&steering.panic)));
    let affinity = match &steering.affinity {
        Some(affinity) => self::affinity(affinity, secrets, base),
        None => Doc::word("off"),
    };
    keys.push(("affinity", affinity));
    let keys = keys.into_iter().map(|(key, value)| (key.into(), value));
    Doc::Map(keys.collect())
}

type Keys<'a> = Vec<(&'static str, Doc<'a>)>;

fn policy<'a>(plan: &Plan, policy: &'a Policy) -> Keys<'a> {
    let mut keys = vec![("policy", Doc::plain(policy.as_str()))];
    match policy {
        Policy::Latency {
            tolerance,
            hysteresis,
        } => keys.extend([
            ("tolerance", width(*tolerance)),
            ("hysteresis", width(*hysteresis)),
        ]),
        Policy::Priority { overprovisioning } => {
            keys.push(("overprovisioning", Doc::plain(overprovisioning)));
        }
        Policy::Weighted { hash_on } => keys.push(("hash_on", hash_keys(hash_on))),
        Policy::Capacity { spread } => keys.push(("spread", Doc::word(spread_word(*spread)))),
        Policy::Geo { rules } => {
            let rules = rules.iter().map(|rule| self::rule(plan, rule));
            keys.push(("rules", Doc::List(rules.collect())));
        }
        Policy::LeastLoad => {}
    }
    keys
}

fn width(tolerance: Tolerance) -> Doc<'static> {
    match tolerance {
        Tolerance::Absolute(width) => duration(width),
        Tolerance::Relative(share) => percent(share),
    }
}

fn spread_word(spread: Spread) -> &'static str {
    match spread {
        Spread::Waterfall => "waterfall",
        Spread::Spray => "spray",
    }
}

fn rule(plan: &Plan, rule: &GeoRule) -> Doc<'static> {
    let codes = |codes: &[[u8; 2]]| {
        let codes = codes
            .iter()
            .map(|code| Doc::text(String::from_utf8_lossy(code)));
        Doc::List(codes.collect())
    };
    Doc::map([
        ("countries", Some(codes(&rule.countries))),
        ("continents", Some(codes(&rule.continents))),
        ("regions", Some(names(plan, &rule.regions))),
    ])
}

fn preference<'a>(plan: &Plan, rule: &'a Preference) -> Doc<'a> {
    Doc::map([
        ("when", Some(Doc::quote(rule.when.source()))),
        ("regions", Some(names(plan, &rule.regions))),
    ])
}

fn names(plan: &Plan, regions: &[RegionIdx]) -> Doc<'static> {
    let names = regions.iter();
    Doc::List(
        names
            .map(|region| Doc::text(&plan.region(*region).name))
            .collect(),
    )
}

fn spill(steering: &Steering) -> Keys<'static> {
    let spill = &steering.spill;
    vec![
        ("spill_at", percent(spill.at)),
        ("return_at", percent(spill.back)),
        ("smoothing", duration(spill.smoothing)),
    ]
}

fn panic(panic: &Panic) -> Doc<'static> {
    if *panic == Panic::default() {
        return Doc::word("fail_closed");
    }
    let fail_open = off_or(panic.fail_open.as_ref(), |share| percent(*share));
    Doc::map([
        ("fail_open", Some(fail_open)),
        ("fallback", panic.fallback.as_deref().map(fallback)),
    ])
}

fn fallback(fallback: &Fallback) -> Doc<'static> {
    let status = ("status", Some(Doc::plain(fallback.status.as_u16())));
    if let Some(location) = &fallback.location {
        return Doc::map([status, ("redirect", Some(Doc::text(location)))]);
    }
    let body = (!fallback.body.is_empty()).then(|| String::from_utf8_lossy(&fallback.body));
    let content_type = body.as_ref().map(|_| Doc::text(&fallback.content_type));
    Doc::map([
        status,
        ("body", body.map(Doc::text)),
        ("content_type", content_type),
    ])
}

fn affinity<'a>(affinity: &'a Affinity, secrets: &[PathBuf], base: &Path) -> Doc<'a> {
    match &affinity.by {
        AffinityBy::Hash(keys) => {
            let by = keys.first().map(hash_key);
            Doc::map([
                ("by", by),
                ("scope", Some(Doc::word(scope(affinity.scope)))),
            ])
        }
        AffinityBy::Cookie(cookie) => Doc::map([
            ("by", Some(Doc::word("cookie"))),
            ("cookie", Some(self::cookie(cookie, secrets, base))),
            ("scope", Some(Doc::word(scope(affinity.scope)))),
            ("when_gone", Some(Doc::word(when_gone(affinity.when_gone)))),
        ]),
    }
}

fn cookie<'a>(cookie: &'a AffinityCookie, secrets: &[PathBuf], base: &Path) -> Doc<'a> {
    let files = secrets.iter().map(|file| path(file, base));
    let same_site = match cookie.same_site {
        SameSite::Lax => "lax",
        SameSite::Strict => "strict",
        SameSite::None => "none",
    };
    Doc::map([
        ("name", Some(Doc::quote(&cookie.name))),
        ("ttl", Some(cookie.ttl.map_or(Doc::word("off"), duration))),
        ("path", Some(Doc::quote(&cookie.path))),
        ("secure", Some(truth(cookie.secure))),
        ("same_site", Some(Doc::word(same_site))),
        ("secret_files", Some(Doc::List(files.collect()))),
    ])
}

fn scope(scope: AffinityScope) -> &'static str {
    match scope {
        AffinityScope::Region => "region",
        AffinityScope::Endpoint => "endpoint",
    }
}

fn when_gone(when_gone: WhenGone) -> &'static str {
    match when_gone {
        WhenGone::Rebind => "rebind",
        WhenGone::Temporary => "temporary",
        WhenGone::Strict => "strict",
    }
}
