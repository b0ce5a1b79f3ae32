//! How connections to an upstream are made and kept: protocol, TLS, limits.

use std::path::PathBuf;

use tidegate_core::plan::{
    ClientIdentity, ConnectionPolicy, RetryPolicy, Standby, UpstreamProtocol, UpstreamRegion,
    UpstreamTls,
};

use crate::compile::{Context, certificates, syntax};
use crate::defaults;
use crate::problem::Problem;
use crate::raw::{self, Protocol};
use crate::span::Span;
use crate::units;
use crate::yaml::Field;

/// The files of an upstream's TLS profile, as joined paths.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFiles {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

/// Compiles the connections of an upstream that lives in `regions`.
pub(crate) fn compile(
    cx: &mut Context<'_>,
    raw: &raw::Upstream,
    regions: &[UpstreamRegion],
) -> (ConnectionPolicy, TlsFiles) {
    let (tls, files) = match raw.tls.get() {
        Some(tls) => {
            let (tls, files) = upstream_tls(cx, tls, raw.tls.span());
            (Some(tls), files)
        }
        None => (None, TlsFiles::default()),
    };
    let default = raw::Connection::default();
    let connection = raw.connection.get().unwrap_or(&default);
    let idle_max = cx.number(&connection.idle_max, 0..=100_000, defaults::IDLE_MAX) as u32;
    let policy = ConnectionPolicy {
        protocol: protocol(cx, raw),
        tls,
        connect_timeout: cx.duration(&connection.connect_timeout, defaults::CONNECT_TIMEOUT),
        idle_timeout: cx.duration(&connection.idle_timeout, defaults::UPSTREAM_IDLE_TIMEOUT),
        idle_max,
        warm_standby: warm_standby(cx, &connection.warm_standby, idle_max, regions.len()),
    };
    check_warm(cx, connection, &policy, regions);
    (policy, files)
}

/// By default only where connections are kept and another region is there.
fn warm_standby(cx: &mut Context<'_>, field: &Field<u64>, idle_max: u32, regions: usize) -> u32 {
    let possible = idle_max > 0 && regions > 1;
    let default = if possible { defaults::WARM_STANDBY } else { 0 };
    let count = cx.number(field, 0..=100, default) as u32;
    if field.is_absent() || count == 0 || regions == 0 {
        return count;
    }
    if idle_max == 0 {
        cx.unused(field.span(), "warm_standby", "`idle_max` above 0");
    }
    if regions == 1 {
        let message = "the upstream lives in one region, so there is no other to keep ready";
        let problem = Problem::warning("nowhere_to_retry", message).at(field.span());
        cx.report(problem.help("add a region, or remove the key".to_owned()));
    }
    count
}

/// A region that stands by with connections of which none is kept.
fn check_warm(
    cx: &mut Context<'_>,
    raw: &raw::Connection,
    policy: &ConnectionPolicy,
    regions: &[UpstreamRegion],
) {
    let warm = regions.iter().any(|region| region.standby == Standby::Warm);
    let span = raw.warm_standby.span().or(raw.idle_max.span());
    if !warm || policy.warm_standby > 0 || regions.len() < 2 {
        return;
    }
    let message = "a region stands by `warm`, and no connections to it are kept";
    let problem = Problem::warning("no_effect", message).at(span);
    let help = "it is probed, but its first requests wait for connections; keep some with `warm_standby`, and `idle_max` above 0";
    cx.report(problem.help(help.to_owned()));
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

/// A TLS profile, and its files.
pub(crate) fn upstream_tls(
    cx: &mut Context<'_>,
    raw: &raw::UpstreamTls,
    span: Option<Span>,
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

/// A connect limit above the limit of the whole attempt never takes effect; the default gives way.
pub(crate) fn fit_attempt(
    cx: &mut Context<'_>,
    raw: &raw::Upstream,
    connection: &mut ConnectionPolicy,
    retry: &RetryPolicy,
) {
    let Some(per_try) = retry
        .per_try
        .filter(|most| connection.connect_timeout > *most)
    else {
        return;
    };
    let given = raw.connection.get();
    match given.and_then(|given| given.connect_timeout.span()) {
        None => connection.connect_timeout = per_try,
        Some(span) => {
            let place = raw.retry.get().and_then(|retry| retry.per_try.span());
            let shown = units::show_duration(per_try);
            let message = format!("`connect_timeout` is longer than `per_try` ({shown})");
            let problem = Problem::error("impossible_timeout", message).at(span);
            let problem = problem.label(place, "the limit of an attempt");
            let help =
                "an attempt ends before its connection could time out; lower it or raise `per_try`";
            cx.report(problem.help(help.to_owned()));
        }
    }
}
