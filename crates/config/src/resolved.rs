//! The configuration as it was understood: every default written out, units in their shortest
//! form. Made from the compiled values and not from the file, so it shows what will happen. It is
//! also what the content hash is taken over: comments, order of keys and spelling do not count.

mod action;
mod balance;
mod breaker;
mod failover;
mod generations;
mod geo;
mod health;
mod matching;
mod region;
mod split;
mod steering;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use sha2::{Digest, Sha256};
use tidegate_core::plan::{
    AffinityBy, ConnectionPolicy, Location, Plan, Policy, ProbeTls, Route, Upstream,
    UpstreamProtocol, UpstreamTls,
};
use tidegate_core::settings::{AccessLog, Listener, ListenerLimits, ListenerTls, TlsVersion};

use crate::compile::{Compiled, TlsFiles, UpstreamFiles};
use crate::emit::{self, Doc};
use crate::units::{show_duration, show_percent, show_size};

/// Changes when equal text would be understood differently.
const HASH_VERSION: &[u8] = b"tidegate-config-1\n";

/// The resolved configuration as YAML; files are named relative to `base` where they lie below it.
pub(crate) fn yaml(compiled: &Compiled, base: &Path) -> String {
    let (settings, plan) = (&compiled.settings, &compiled.plan);
    let threads = if compiled.threads_auto {
        Doc::plain("auto")
    } else {
        Doc::plain(settings.threads)
    };
    let upstreams = plan.upstreams.iter().zip(&compiled.tls_files);
    let shortest = shortest_timeouts(plan);
    let upstreams = upstreams.zip(&shortest);
    let regions = plan.regions.iter();
    let mut yaml = emit::yaml(&Doc::map([
        ("pop", Some(pop(plan))),
        (
            "listeners",
            Some(Doc::List(
                settings
                    .listeners
                    .iter()
                    .map(|l| listener(l, base))
                    .collect(),
            )),
        ),
        (
            "admin",
            settings
                .admin
                .map(|bind| Doc::map([("bind", Some(Doc::text(bind)))])),
        ),
        ("threads", Some(threads)),
        (
            "shutdown_timeout",
            Some(duration(settings.shutdown_timeout)),
        ),
        ("access_log", Some(access_log(&settings.access_log))),
        ("state", Some(generations::state(&settings.state, base))),
        (
            "rollback",
            Some(generations::rollback(plan.rollback.as_ref())),
        ),
        ("replay", Some(failover::replay(&plan.replay, base))),
        (
            "metrics",
            Some(Doc::map([(
                "max_series",
                Some(Doc::plain(plan.metrics.max_series)),
            )])),
        ),
        (
            "explain",
            Some(off_or(plan.explain.as_ref(), |explain| {
                Doc::map([
                    ("sample", Some(percent(explain.share()))),
                    ("keep", Some(Doc::plain(explain.keep))),
                ])
            })),
        ),
        ("geo", compiled.geo.as_ref().map(|geo| geo::geo(geo, base))),
        (
            "regions",
            Some(Doc::Map(
                regions
                    .map(|r| (r.name.as_ref().into(), region(r)))
                    .collect(),
            )),
        ),
        (
            "upstreams",
            Some(Doc::Map(
                upstreams
                    .map(|((u, files), shortest)| {
                        let doc = upstream(plan, u, files, *shortest, base);
                        (u.name.as_ref().into(), doc)
                    })
                    .collect(),
            )),
        ),
    ]));
    let routes = plan.routes.iter().map(|r| route(plan, r));
    emit::append_list(&mut yaml, "routes", routes);
    yaml
}

/// The shortest timeout of the routes to each upstream; the longest there is where none leads.
fn shortest_timeouts(plan: &Plan) -> Vec<Duration> {
    let mut shortest = vec![Duration::MAX; plan.upstreams.len()];
    for route in &plan.routes {
        for upstream in route.upstreams() {
            let shortest = &mut shortest[upstream.get()];
            *shortest = route.timeout.min(*shortest);
        }
    }
    shortest
}

/// SHA-256 of the resolved text and of the files that became part of the plan, in lower-case hex.
pub(crate) fn content_hash(resolved: &str, plan: &Plan) -> String {
    let mut hasher = Sha256::new();
    hasher.update(HASH_VERSION);
    hasher.update(resolved);
    for tls in plan.upstreams.iter().flat_map(|one| profiles(one)) {
        let identity = tls.client_identity.as_ref();
        let parts = [
            tls.roots.as_ref(),
            identity.map(|id| &id.chain),
            identity.map(|id| &id.key),
        ];
        for part in parts {
            update_sized(&mut hasher, part.map_or("", |part| part).as_bytes());
        }
    }
    for secret in plan.upstreams.iter().flat_map(|one| secrets(one)) {
        update_sized(&mut hasher, secret);
    }
    if let Some(database) = plan.atlas.as_ref().and_then(|atlas| atlas.database()) {
        let print = database.fingerprint();
        hasher.update(print.bytes.to_be_bytes());
        hasher.update(print.hash.to_be_bytes());
    }
    let digest = hasher.finalize();
    digest
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// A part with its length before it, so that parts cannot run into each other.
fn update_sized(hasher: &mut Sha256, part: &[u8]) {
    hasher.update((part.len() as u64).to_be_bytes());
    hasher.update(part);
}

/// The secrets of an upstream's affinity. They are long enough that a hash over them tells nothing.
fn secrets(upstream: &Upstream) -> &[Arc<[u8]>] {
    let affinity = upstream.steering.affinity.as_ref();
    match affinity.map(|affinity| &affinity.by) {
        Some(AffinityBy::Cookie(cookie)) => &cookie.secrets,
        Some(AffinityBy::Hash(_)) | None => &[],
    }
}

/// The TLS profiles of an upstream, whose files became part of the plan.
fn profiles(upstream: &Upstream) -> impl Iterator<Item = &UpstreamTls> {
    let probe = upstream.health.probe.as_ref();
    let of_probe = probe.and_then(|probe| match &probe.tls {
        Some(ProbeTls::On(tls)) => Some(tls),
        Some(ProbeTls::Off) | None => None,
    });
    upstream.connection.tls.iter().chain(of_probe)
}

fn duration(duration: Duration) -> Doc<'static> {
    Doc::plain(show_duration(duration))
}

fn size(bytes: u64) -> Doc<'static> {
    Doc::plain(show_size(bytes))
}

fn percent(share: f64) -> Doc<'static> {
    Doc::plain(show_percent(share))
}

fn texts<T: ToString>(values: impl IntoIterator<Item = T>) -> Doc<'static> {
    Doc::List(values.into_iter().map(Doc::text).collect())
}

/// `off` when there is none.
fn off_or<T>(value: Option<&T>, show: impl FnOnce(&T) -> Doc<'static>) -> Doc<'static> {
    value.map_or(Doc::word("off"), show)
}

/// Header fields by name.
fn fields(headers: &[(HeaderName, Arc<str>)]) -> Doc<'static> {
    let entries = headers.iter();
    let entries = entries.map(|(name, value)| (name.to_string().into(), Doc::text(value)));
    Doc::Map(entries.collect())
}

/// Paths came from text, so the lossy form is exact.
fn path(path: &Path, base: &Path) -> Doc<'static> {
    Doc::text(
        below(path, base)
            .unwrap_or(path.to_owned())
            .to_string_lossy(),
    )
}

/// An absolute path lies below a base that was named relatively as well: the same configuration has one
/// hash, wherever it is looked at from.
fn below(path: &Path, base: &Path) -> Option<PathBuf> {
    let below = |base: &Path| path.strip_prefix(base).ok().map(Path::to_owned);
    match path.is_absolute() == base.is_absolute() {
        true => below(base),
        false => below(
            &std::path::absolute(base)
                .or_else(|_| std::env::current_dir())
                .ok()?,
        ),
    }
}

fn location(location: Option<Location>) -> Option<Doc<'static>> {
    let Location {
        latitude,
        longitude,
    } = location?;
    Some(Doc::List(vec![Doc::plain(latitude), Doc::plain(longitude)]))
}

fn pop(plan: &Plan) -> Doc<'static> {
    Doc::map([
        ("name", Some(Doc::text(&plan.pop.name))),
        ("location", location(plan.pop.location)),
    ])
}

fn access_log(log: &AccessLog) -> Doc<'static> {
    match log {
        AccessLog::Off => Doc::plain("off"),
        AccessLog::Stdout => Doc::plain("stdout"),
        AccessLog::File(file) => Doc::map([("file", Some(Doc::text(file.to_string_lossy())))]),
    }
}

fn listener(listener: &Listener, base: &Path) -> Doc<'static> {
    let trusted = listener
        .trusted
        .iter()
        .map(|net| format!("{}/{}", net.address, net.prefix));
    Doc::map([
        ("name", Some(Doc::text(&listener.name))),
        ("bind", Some(Doc::text(listener.bind))),
        (
            "tls",
            listener.tls.as_ref().map(|tls| listener_tls(tls, base)),
        ),
        ("limits", Some(limits(&listener.limits))),
        ("trusted", Some(texts(trusted))),
    ])
}

fn listener_tls(tls: &ListenerTls, base: &Path) -> Doc<'static> {
    let version = match tls.min_version {
        TlsVersion::V1_2 => "1.2",
        TlsVersion::V1_3 => "1.3",
    };
    let pairs = tls.certificates.iter().map(|files| {
        Doc::map([
            ("chain", Some(path(&files.chain, base))),
            ("key", Some(path(&files.key, base))),
        ])
    });
    Doc::map([
        ("certificates", Some(Doc::List(pairs.collect()))),
        ("min_version", Some(Doc::text(version))),
        ("client_ca", tls.client_ca.as_ref().map(|ca| path(ca, base))),
    ])
}

fn limits(limits: &ListenerLimits) -> Doc<'static> {
    Doc::map([
        ("connections", Some(Doc::plain(limits.connections))),
        (
            "handshake_timeout",
            Some(duration(limits.handshake_timeout)),
        ),
        ("header_timeout", Some(duration(limits.header_timeout))),
        ("idle_timeout", Some(duration(limits.idle_timeout))),
        ("header_size", Some(size(limits.header_bytes as u64))),
        ("header_fields", Some(Doc::plain(limits.header_fields))),
        ("h2_streams", Some(Doc::plain(limits.h2_streams))),
    ])
}

fn region(region: &tidegate_core::plan::Region) -> Doc<'static> {
    Doc::map([
        ("location", location(region.location)),
        ("jurisdictions", Some(texts(region.jurisdictions.iter()))),
    ])
}

fn upstream<'a>(
    plan: &Plan,
    upstream: &'a Upstream,
    files: &UpstreamFiles,
    shortest: Duration,
    base: &Path,
) -> Doc<'a> {
    let priority = matches!(upstream.steering.policy, Policy::Priority { .. });
    let regions = upstream.regions.iter().map(|region| {
        (
            plan.region(region.region).name.to_string().into(),
            region::upstream_region(region, priority),
        )
    });
    let connection = &upstream.connection;
    Doc::map([
        ("regions", Some(Doc::Map(regions.collect()))),
        (
            "steering",
            Some(steering::steering(plan, upstream, &files.secrets, base)),
        ),
        ("balance", Some(balance::balance(&upstream.balance))),
        (
            "health",
            Some(health::health(&upstream.health, &files.probe, base)),
        ),
        (
            "circuit_breaker",
            Some(breaker::circuit_breaker(&upstream.circuit_breaker)),
        ),
        (
            "slow_start",
            Some(breaker::slow_start(upstream.slow_start.as_ref())),
        ),
        ("retry", Some(failover::retry(&upstream.retry, shortest))),
        ("protocol", Some(Doc::plain(protocol(connection.protocol)))),
        (
            "tls",
            connection
                .tls
                .as_ref()
                .map(|tls| upstream_tls(tls, &files.connection, base)),
        ),
        ("connection", Some(self::connection(connection))),
        ("body", Some(failover::body(&upstream.body))),
    ])
}

fn connection(connection: &ConnectionPolicy) -> Doc<'static> {
    Doc::map([
        (
            "connect_timeout",
            Some(duration(connection.connect_timeout)),
        ),
        ("idle_timeout", Some(duration(connection.idle_timeout))),
        ("idle_max", Some(Doc::plain(connection.idle_max))),
        ("warm_standby", Some(Doc::plain(connection.warm_standby))),
    ])
}

fn protocol(protocol: UpstreamProtocol) -> &'static str {
    match protocol {
        UpstreamProtocol::Http1 => "http1",
        UpstreamProtocol::Http2 => "http2",
        UpstreamProtocol::Auto => "auto",
    }
}

fn upstream_tls(tls: &UpstreamTls, files: &TlsFiles, base: &Path) -> Doc<'static> {
    let file = |file: &Option<std::path::PathBuf>| file.as_ref().map(|file| path(file, base));
    Doc::map([
        ("server_name", tls.server_name.as_ref().map(Doc::text)),
        ("ca", file(&files.ca)),
        ("cert", file(&files.cert)),
        ("key", file(&files.key)),
        (
            "insecure_skip_verify",
            Some(Doc::plain(tls.insecure_skip_verify)),
        ),
    ])
}

fn route<'a>(plan: &'a Plan, route: &'a Route) -> Doc<'a> {
    if route.upstream.is_none() {
        return answering(route);
    }
    let residency = (!route.residency.is_empty())
        .then(|| Doc::map([("allow", Some(texts(route.residency.iter())))]));
    let reveal = &route.reveal;
    let split = route.split.as_deref();
    let actions = route.actions.as_deref();
    Doc::map([
        ("name", Some(Doc::quote(&route.name))),
        ("match", Some(matching::matches(&route.matches))),
        ("upstream", split::upstream(plan, route)),
        ("split", split.map(|split| split::targets(plan, split))),
        (
            "split_on",
            split.map(|split| balance::hash_keys(&split.hash_on)),
        ),
        (
            "mirror",
            route.mirror.map(|mirror| split::mirror(plan, &mirror)),
        ),
        ("rewrite", action::rewrite(actions)),
        ("headers", action::headers(actions)),
        ("fault", action::fault(actions)),
        ("timeout", Some(duration(route.timeout))),
        ("max_duration", Some(failover::limit(route.max_duration))),
        ("idle_timeout", Some(duration(route.idle_timeout))),
        ("residency", residency),
        ("isolation", Some(split::isolation(route.isolation))),
        ("idempotent", Some(truth(route.idempotent))),
        ("idempotency_key", Some(truth(route.idempotency_key))),
        (
            "replay_scope",
            Some(failover::replay_scope(route.replay_scope)),
        ),
        (
            "deadline_header",
            route
                .deadline_header
                .as_ref()
                .map(|name| Doc::quote(name.as_str())),
        ),
        ("resume", Some(failover::resume(&route.resume))),
        ("validators", Some(failover::validators(&route.resume))),
        ("hedge", Some(failover::hedge(route.hedge.as_ref()))),
        (
            "reveal",
            Some(Doc::map([
                ("region", Some(truth(reveal.region))),
                ("attempts", Some(truth(reveal.attempts))),
                ("server_timing", Some(truth(reveal.server_timing))),
            ])),
        ),
    ])
}

/// A route that answers by itself: what holds for requests that are sent on has no place there.
fn answering(route: &Route) -> Doc<'_> {
    let actions = route.actions.as_deref();
    Doc::map([
        ("name", Some(Doc::quote(&route.name))),
        ("match", Some(matching::matches(&route.matches))),
        ("redirect", action::redirect(actions)),
        ("respond", action::respond(actions)),
        ("headers", action::headers(actions)),
    ])
}

fn truth(value: bool) -> Doc<'static> {
    Doc::word(if value { "true" } else { "false" })
}
