//! One upstream: steering, health, retry, connections, bodies.

use std::path::PathBuf;
use std::time::Duration;

use tidegate_core::plan::{
    Balance, BodyPolicy, ClientIdentity, ConnectionPolicy, HealthPolicy, Probe, ProbeKind, RetryOn,
    RetryPolicy, Steering, Tolerance, Upstream, UpstreamProtocol, UpstreamRegion, UpstreamTls,
};

use crate::compile::{Context, certificates, matches, syntax};
use crate::defaults;
use crate::problem::{Problem, quoted};
use crate::raw::{self, Policy, Protocol};
use crate::suggest;
use crate::units;
use crate::yaml::{Field, WordOr};

/// Largest body that may be kept or accepted, in bytes: 1 TiB.
const BODY_MAX: u64 = 1 << 40;

/// The files of an upstream's TLS profile, as joined paths.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFiles {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

pub(crate) fn compile(
    cx: &mut Context<'_>,
    name: &str,
    raw: &raw::Upstream,
    regions: Vec<UpstreamRegion>,
) -> (Upstream, TlsFiles) {
    let (connection, files) = connection(cx, raw);
    let retry = retry(
        cx,
        raw.retry.get().unwrap_or(&raw::Retry::default()),
        regions.len(),
    );
    warn_of_unreachable_connect(cx, raw, &connection, &retry);
    let upstream = Upstream {
        name: name.into(),
        steering: steering(cx, raw),
        balance: match raw.balance.or(raw::Balance::PeakEwma) {
            raw::Balance::PeakEwma => Balance::PeakEwma,
        },
        health: health(cx, raw.health.get().unwrap_or(&raw::Health::default())),
        retry,
        connection,
        body: body(cx, raw.body.get().unwrap_or(&raw::Body::default())),
        regions: regions.into(),
    };
    (upstream, files)
}

fn steering(cx: &mut Context<'_>, raw: &raw::Upstream) -> Steering {
    let default = raw::Steering::default();
    let steering = raw.steering.get().unwrap_or(&default);
    let policy = steering.policy.or(Policy::Latency);
    if policy != Policy::Latency && !steering.tolerance.is_absent() {
        unused(
            cx,
            steering.tolerance.span(),
            "tolerance",
            "`policy: latency`",
        );
    }
    if policy != Policy::Priority {
        warn_of_tiers(cx, raw);
    }
    match policy {
        Policy::Latency => Steering::Latency {
            tolerance: tolerance(cx, &steering.tolerance),
        },
        Policy::Priority => Steering::Priority,
        Policy::Weighted => Steering::Weighted,
    }
}

/// A key that would do nothing where it stands.
fn unused(cx: &mut Context<'_>, span: Option<crate::span::Span>, key: &str, only_with: &str) {
    let message = format!("`{key}` has no effect here");
    let help = format!("it is only used with {only_with}; remove it");
    cx.report(Problem::error("unused_key", message).at(span).help(help));
}

fn warn_of_tiers(cx: &mut Context<'_>, raw: &raw::Upstream) {
    let entries = raw.regions.get().into_iter().flat_map(|entries| &entries.0);
    for span in entries.filter_map(|entry| entry.value.get()?.tier.span()) {
        unused(cx, Some(span), "tier", "`policy: priority`");
    }
}

fn tolerance(cx: &mut Context<'_>, field: &Field<raw::Tolerance>) -> Tolerance {
    let parse = |text: &str| match text.ends_with('%') {
        true => units::percent(text).map(Tolerance::Relative),
        false => units::duration(text).map(Tolerance::Absolute),
    };
    let default = Tolerance::Absolute(super::default_duration(defaults::TOLERANCE));
    cx.unit(field, parse).unwrap_or(default)
}

fn health(cx: &mut Context<'_>, raw: &raw::Health) -> HealthPolicy {
    let probe = match raw.probe.get() {
        Some(WordOr::Word(_)) => None,
        Some(WordOr::Value(raw_probe)) => Some(probe(cx, raw_probe)),
        None => Some(probe(cx, &raw::Probe::default())),
    };
    let default = raw::RegionHealth::default();
    let region = raw.region.get().unwrap_or(&default);
    HealthPolicy {
        probe,
        min_healthy: cx.percent(&region.min_healthy, 1.0, defaults::MIN_HEALTHY),
    }
}

fn probe(cx: &mut Context<'_>, raw: &raw::Probe) -> Probe {
    let probe = Probe {
        kind: probe_kind(cx, raw),
        interval: cx.duration(&raw.interval, defaults::PROBE_INTERVAL),
        timeout: cx.duration(&raw.timeout, defaults::PROBE_TIMEOUT),
        rise: cx.number(&raw.rise, 1..=1000, defaults::RISE) as u32,
        fall: cx.number(&raw.fall, 1..=1000, defaults::FALL) as u32,
    };
    if probe.timeout > probe.interval {
        let message = "the probe's timeout is longer than its interval";
        let help = "probes of one endpoint would overlap; make `timeout` at most `interval`";
        let span = raw.timeout.span().or(raw.interval.span());
        cx.report(
            Problem::error("impossible_timeout", message)
                .at(span)
                .help(help.to_owned()),
        );
    }
    probe
}

fn probe_kind(cx: &mut Context<'_>, raw: &raw::Probe) -> ProbeKind {
    let Some(path) = raw.http.get() else {
        for (key, span) in [("host", raw.host.span()), ("expect", raw.expect.span())] {
            if span.is_some() && raw.http.is_absent() {
                unused(cx, span, key, "`http: /path`");
            }
        }
        if raw.tcp.get() == Some(&false) {
            let help = "remove the key, give `http: /path`, or write `probe: off`".to_owned();
            let problem = Problem::error("invalid_value", "a probe without `http` is a TCP probe");
            cx.report(problem.at(raw.tcp.span()).help(help));
        }
        return ProbeKind::Tcp;
    };
    if raw.tcp.get() == Some(&true) {
        let problem = Problem::error("conflicting_keys", "a probe is either `http` or `tcp`");
        cx.report(
            problem
                .at(raw.tcp.span())
                .label(raw.http.span(), "and here")
                .help("remove one".to_owned()),
        );
    }
    matches::check_literal_path(cx, path, raw.http.span());
    ProbeKind::Http {
        path: path.as_str().into(),
        host: probe_host(cx, &raw.host),
        expect: expect(cx, &raw.expect),
    }
}

fn probe_host(cx: &mut Context<'_>, field: &Field<String>) -> Option<std::sync::Arc<str>> {
    let text = field.get()?;
    let host = text
        .rsplit_once(':')
        .filter(|(_, port)| port.parse::<u16>().is_ok())
        .map_or(text.as_str(), |(host, _)| host);
    if let Err(help) = syntax::match_host(host).and_then(|host| match host.contains('*') {
        true => Err("without `*`".to_owned()),
        false => Ok(host),
    }) {
        cx.invalid(field.span(), "host", "a host", text, &help);
    }
    Some(text.as_str().into())
}

fn expect(cx: &mut Context<'_>, field: &Field<Vec<Field<raw::StatusRange>>>) -> Box<[(u16, u16)]> {
    let default = || syntax::status_range(defaults::EXPECT).into_iter().collect();
    let Some(list) = field.get() else {
        return default();
    };
    if list.is_empty() {
        let problem = Problem::error("empty_list", "no status would count as healthy");
        cx.report(problem.at(field.span()));
    }
    let mut ranges: Vec<_> = list
        .iter()
        .filter_map(|field| status_range(cx, field))
        .collect();
    ranges.sort_unstable();
    ranges.dedup();
    ranges.into()
}

fn status_range(cx: &mut Context<'_>, field: &Field<raw::StatusRange>) -> Option<(u16, u16)> {
    let text = field.get()?.as_ref();
    let range = syntax::status_range(text);
    if range.is_none() {
        let help = "write a status from 100 to 599, or a range like `200-299`";
        cx.invalid(
            field.span(),
            "status",
            "a status or a range of statuses",
            text,
            help,
        );
    }
    range
}

fn retry(cx: &mut Context<'_>, raw: &raw::Retry, regions: usize) -> RetryPolicy {
    if regions == 1 && !raw.cross_region_budget.is_absent() {
        let message = "the upstream lives in one region, so no retry can leave it";
        let problem =
            Problem::warning("nowhere_to_retry", message).at(raw.cross_region_budget.span());
        cx.report(problem.help("add a region, or remove the key".to_owned()));
    }
    RetryPolicy {
        attempts: cx.number(&raw.attempts, 1..=16, defaults::ATTEMPTS) as u8,
        on: retry_on(cx, &raw.on),
        per_try: per_try(cx, &raw.per_try),
        budget: cx.percent(&raw.budget, 10.0, defaults::BUDGET),
        cross_region_budget: cx.percent(
            &raw.cross_region_budget,
            10.0,
            defaults::CROSS_REGION_BUDGET,
        ),
    }
}

fn per_try(cx: &mut Context<'_>, field: &Field<raw::OffOrDuration>) -> Option<Duration> {
    let is_off = field.get().is_some_and(|text| text.as_ref() == "off");
    (!is_off).then(|| cx.duration(field, defaults::PER_TRY))
}

fn retry_on(cx: &mut Context<'_>, field: &Field<Vec<Field<raw::RetryOn>>>) -> RetryOn {
    let mut on = RetryOn::default();
    let mut statuses = Vec::new();
    match field.get() {
        None => defaults::RETRY_ON.iter().for_each(|word| {
            enter(word, &mut on, &mut statuses);
        }),
        Some(list) => list
            .iter()
            .for_each(|field| retry_word(cx, field, &mut on, &mut statuses)),
    }
    statuses.sort_unstable();
    statuses.dedup();
    RetryOn {
        statuses: statuses.into(),
        ..on
    }
}

fn retry_word(
    cx: &mut Context<'_>,
    field: &Field<raw::RetryOn>,
    on: &mut RetryOn,
    statuses: &mut Vec<u16>,
) {
    let Some(word) = field.get().map(AsRef::as_ref) else {
        return;
    };
    if enter(word, on, statuses) {
        return;
    }
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        let help = "statuses are from 100 to 599, each on its own";
        cx.invalid(field.span(), "status", "a status", word, help);
        return;
    }
    let help = suggest::one_of(word, ["connect", "reset", "timeout", "bad_response"]);
    let message = format!("{} is not a failure that can be retried", quoted(word));
    cx.report(
        Problem::error("unknown_value", message)
            .at(field.span())
            .help(help),
    );
}

/// Enters a failure or a status; false when it is neither.
fn enter(word: &str, on: &mut RetryOn, statuses: &mut Vec<u16>) -> bool {
    match word {
        "connect" => on.connect = true,
        "reset" => on.reset = true,
        "timeout" => on.timeout = true,
        "bad_response" => on.bad_response = true,
        _ => match syntax::status(word) {
            Some(status) => statuses.push(status),
            None => return false,
        },
    }
    true
}

fn connection(cx: &mut Context<'_>, raw: &raw::Upstream) -> (ConnectionPolicy, TlsFiles) {
    let (tls, files) = match raw.tls.get() {
        Some(tls) => {
            let (tls, files) = upstream_tls(cx, tls, raw.tls.span());
            (Some(tls), files)
        }
        None => (None, TlsFiles::default()),
    };
    let default = raw::Connection::default();
    let connection = raw.connection.get().unwrap_or(&default);
    let policy = ConnectionPolicy {
        protocol: protocol(cx, raw),
        tls,
        connect_timeout: cx.duration(&connection.connect_timeout, defaults::CONNECT_TIMEOUT),
        idle_timeout: cx.duration(&connection.idle_timeout, defaults::UPSTREAM_IDLE_TIMEOUT),
        idle_max: cx.number(&connection.idle_max, 0..=100_000, defaults::IDLE_MAX) as u32,
    };
    (policy, files)
}

fn protocol(cx: &mut Context<'_>, raw: &raw::Upstream) -> UpstreamProtocol {
    let has_tls = !raw.tls.is_absent();
    match raw.protocol.get() {
        Some(Protocol::Http1) => UpstreamProtocol::Http1,
        Some(Protocol::Http2) => UpstreamProtocol::Http2,
        Some(Protocol::Auto) if !has_tls => {
            let problem = Problem::error(
                "auto_without_tls",
                "without TLS there is nothing to choose a protocol by",
            );
            let help = "write `http1` or `http2`, or give the upstream `tls: {}`".to_owned();
            cx.report(problem.at(raw.protocol.span()).help(help));
            UpstreamProtocol::Http1
        }
        Some(Protocol::Auto) => UpstreamProtocol::Auto,
        None if has_tls => UpstreamProtocol::Auto,
        None => UpstreamProtocol::Http1,
    }
}

fn upstream_tls(
    cx: &mut Context<'_>,
    raw: &raw::UpstreamTls,
    span: Option<crate::span::Span>,
) -> (UpstreamTls, TlsFiles) {
    let ca = certificates::authorities(cx, &raw.ca);
    let pair = certificates::pair(cx, &raw.cert, &raw.key);
    match (raw.cert.is_absent(), raw.key.is_absent()) {
        (true, false) => {
            cx.required(&raw.cert, span, "cert");
        }
        (false, true) => {
            cx.required(&raw.key, span, "key");
        }
        _ => {}
    }
    let insecure_skip_verify = raw.insecure_skip_verify.or(false);
    if insecure_skip_verify {
        let problem = Problem::warning(
            "insecure_tls",
            "certificates of this upstream are not checked",
        );
        let help = "anybody on the way can read and change everything; trust a private authority with `ca`";
        cx.report(
            problem
                .at(raw.insecure_skip_verify.span())
                .help(help.to_owned()),
        );
    }
    let identity = pair.as_ref().and_then(|pair| {
        let (chain, key) = (
            certificates::text(&pair.chain)?,
            certificates::text(&pair.key)?,
        );
        Some(ClientIdentity { chain, key })
    });
    let tls = UpstreamTls {
        server_name: server_name(cx, &raw.server_name).map(Into::into),
        roots: ca.as_ref().and_then(certificates::text),
        client_identity: identity,
        insecure_skip_verify,
    };
    let (cert, key) = pair.map(|pair| (pair.chain.path, pair.key.path)).unzip();
    (
        tls,
        TlsFiles {
            ca: ca.map(|file| file.path),
            cert,
            key,
        },
    )
}

fn server_name(cx: &mut Context<'_>, field: &Field<String>) -> Option<String> {
    let text = field.get()?;
    let report = |help: String| cx.invalid(field.span(), "host", "a host", text, &help);
    syntax::hostname(text).map_err(report).ok()
}

fn body(cx: &mut Context<'_>, raw: &raw::Body) -> BodyPolicy {
    let replay = cx.size(&raw.replay, 0..=BODY_MAX);
    let unlimited = raw.max.get().is_none_or(|text| text.as_ref() == "off");
    BodyPolicy {
        replay_bytes: replay.unwrap_or_else(|| units::size(defaults::REPLAY).expect("a default")),
        max_bytes: if unlimited {
            None
        } else {
            cx.size(&raw.max, 0..=BODY_MAX)
        },
    }
}

/// A connect limit above the limit of the whole attempt never takes effect.
fn warn_of_unreachable_connect(
    cx: &mut Context<'_>,
    raw: &raw::Upstream,
    connection: &ConnectionPolicy,
    retry: &RetryPolicy,
) {
    let span = raw
        .connection
        .get()
        .and_then(|connection| connection.connect_timeout.span());
    if let (Some(span), Some(per_try)) = (span, retry.per_try)
        && connection.connect_timeout > per_try
    {
        let per_try_span = raw.retry.get().and_then(|retry| retry.per_try.span());
        let message = format!(
            "`connect_timeout` is longer than `per_try` ({})",
            units::show_duration(per_try)
        );
        let problem = Problem::error("impossible_timeout", message)
            .at(span)
            .label(per_try_span, "the limit of an attempt");
        cx.report(
            problem.help(
                "an attempt ends before its connection could time out; lower it or raise `per_try`"
                    .to_owned(),
            ),
        );
    }
}
