//! Active probes: what is asked, how often, and over what connection.

mod request;
mod steps;

use std::ops::RangeInclusive;
use std::time::Duration;

use tidegate_core::plan::{ConnectionPolicy, Probe, ProbeKind, ProbeTls, UpstreamProtocol};

use crate::compile::probe::request::Parts;
use crate::compile::{Context, TlsFiles, connection, matches};
use crate::defaults;
use crate::problem::Problem;
use crate::raw;
use crate::span::Span;
use crate::yaml::WordOr;

/// Faster is an attack, slower is no probe.
const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);

/// Longest name of a gRPC service.
const SERVICE_MAX: usize = 256;

/// Compiles the probe of an upstream whose requests connect like this. With the files of its TLS.
pub(crate) fn compile(
    cx: &mut Context<'_>,
    raw: &raw::Probe,
    connection: &ConnectionPolicy,
) -> (Probe, TlsFiles) {
    let chosen = chosen(cx, raw);
    report_unused(cx, raw, chosen);
    let kind = match chosen {
        "http" => http(cx, raw),
        "grpc" => grpc(cx, raw, connection),
        "steps" => steps::compile(cx, raw),
        _ => ProbeKind::Tcp,
    };
    let (tls, files) = tls(cx, raw, chosen, connection);
    let port = raw.port.get();
    let interval = cx.duration_within(&raw.interval, INTERVALS, defaults::PROBE_INTERVAL);
    let probe = Probe {
        kind,
        port: port.map(|_| cx.number(&raw.port, 1..=65_535, 1) as u16),
        tls,
        interval,
        fast_interval: fast_interval(cx, raw, interval),
        jitter: cx.percent(&raw.jitter, 0.5, defaults::JITTER),
        timeout: cx.duration(&raw.timeout, defaults::PROBE_TIMEOUT),
        rise: cx.number(&raw.rise, 1..=1000, defaults::RISE) as u32,
        fall: cx.number(&raw.fall, 1..=1000, defaults::FALL) as u32,
    };
    check_timeout(cx, raw, &probe);
    (probe, files)
}

/// The key that says what is asked.
fn chosen(cx: &mut Context<'_>, raw: &raw::Probe) -> &'static str {
    let tcp = raw.tcp.span().filter(|_| raw.tcp.or(true));
    let kinds = [
        ("http", raw.http.span()),
        ("grpc", raw.grpc.span()),
        ("steps", raw.steps.span()),
        ("tcp", tcp),
    ];
    let mut given = kinds.into_iter().filter(|(_, span)| span.is_some());
    let Some((chosen, first)) = given.next() else {
        if !raw.tcp.is_absent() {
            let message = "a probe without `http`, `grpc` and `steps` is a TCP probe";
            let help = "remove the key, give `http: /path`, or write `probe: off`".to_owned();
            let problem = Problem::error("invalid_value", message);
            cx.report(problem.at(raw.tcp.span()).help(help));
        }
        return "tcp";
    };
    for (other, span) in given {
        let message = format!("a probe is either `{chosen}` or `{other}`");
        let problem = Problem::error("conflicting_keys", message).at(span);
        let problem = problem.label(first, "and here");
        cx.report(problem.help("remove one".to_owned()));
    }
    chosen
}

/// Keys that say nothing to a probe of this kind.
fn report_unused(cx: &mut Context<'_>, raw: &raw::Probe, chosen: &str) {
    let of_http = [
        ("method", raw.method.span()),
        ("headers", raw.headers.span()),
        ("body", raw.body.span()),
        ("expect", raw.expect.span()),
        ("expect_body", raw.expect_body.span()),
        ("expect_headers", raw.expect_headers.span()),
    ];
    let only_with = match chosen {
        "http" => return,
        "steps" => "`http: /path`, and each step has its own",
        _ => "`http: /path`",
    };
    for (key, span) in of_http {
        cx.unused_if_given(span, key, only_with);
    }
    if chosen == "tcp" {
        let only_with = "`http`, `grpc` or `steps`";
        cx.unused_if_given(raw.host.span(), "host", only_with);
        cx.unused_if_given(raw.tls.span(), "tls", only_with);
    }
}

fn http(cx: &mut Context<'_>, raw: &raw::Probe) -> ProbeKind {
    let Some(path) = raw.http.get() else {
        return ProbeKind::Tcp;
    };
    matches::check_target(cx, path, raw.http.span());
    let parts = Parts {
        method: &raw.method,
        headers: &raw.headers,
        body: &raw.body,
        expect: &raw.expect,
        expect_body: &raw.expect_body,
        expect_headers: &raw.expect_headers,
    };
    let host = request::host(cx, &raw.host);
    ProbeKind::Http(request::compile(cx, path, host, &parts))
}

fn grpc(cx: &mut Context<'_>, raw: &raw::Probe, connection: &ConnectionPolicy) -> ProbeKind {
    let service = raw.grpc.get().map_or("", String::as_str);
    check_service(cx, service, raw.grpc.span());
    // Another port may speak something else.
    if connection.protocol == UpstreamProtocol::Http1 && raw.port.is_absent() {
        let message = "gRPC needs HTTP/2, and this upstream speaks HTTP/1.1";
        let problem = Problem::error("grpc_without_http2", message).at(raw.grpc.span());
        let help = "write `protocol: http2` in the upstream, or probe another `port`";
        cx.report(problem.help(help.to_owned()));
    }
    ProbeKind::Grpc {
        service: service.into(),
        host: request::host(cx, &raw.host),
    }
}

fn check_service(cx: &mut Context<'_>, service: &str, span: Option<Span>) {
    let part = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let help = match service {
        "true" | "false" => "for the server as a whole write `grpc: \"\"`",
        _ if service.len() <= SERVICE_MAX && service.chars().all(part) => return,
        _ => "write it like `shop.v1.Cart`, or `\"\"` for the server as a whole",
    };
    cx.invalid(span, "value", "a name of a gRPC service", service, help);
}

fn tls(
    cx: &mut Context<'_>,
    raw: &raw::Probe,
    chosen: &str,
    connection: &ConnectionPolicy,
) -> (Option<ProbeTls>, TlsFiles) {
    match raw.tls.get() {
        None => Default::default(),
        Some(WordOr::Word(_)) => {
            if connection.tls.is_none() && chosen != "tcp" {
                cx.unused(raw.tls.span(), "tls: off", "an upstream that has `tls`");
            }
            (Some(ProbeTls::Off), TlsFiles::default())
        }
        Some(WordOr::Value(profile)) => {
            let (profile, files) = connection::upstream_tls(cx, profile, raw.tls.span());
            (Some(ProbeTls::On(profile)), files)
        }
    }
}

fn fast_interval(cx: &mut Context<'_>, raw: &raw::Probe, interval: Duration) -> Option<Duration> {
    raw.fast_interval.get()?;
    let fast = cx.duration_within(&raw.fast_interval, INTERVALS, defaults::PROBE_INTERVAL);
    if fast > interval {
        let message = "`fast_interval` is longer than `interval`";
        let problem = Problem::error("conflicting_times", message).at(raw.fast_interval.span());
        let problem = problem.label(raw.interval.span(), "while all is well");
        let help = "in doubt it is probed more often, not less; make it at most `interval`";
        cx.report(problem.help(help.to_owned()));
    }
    Some(fast)
}

fn check_timeout(cx: &mut Context<'_>, raw: &raw::Probe, probe: &Probe) {
    if probe.timeout <= probe.interval {
        return;
    }
    let message = "the probe's timeout is longer than its interval";
    let help = "probes of one endpoint would overlap; make `timeout` at most `interval`";
    let span = raw.timeout.span().or(raw.interval.span());
    let problem = Problem::error("impossible_timeout", message).at(span);
    cx.report(problem.help(help.to_owned()));
}
