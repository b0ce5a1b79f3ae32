//! One upstream, put together from what its sections compile to.

use std::path::PathBuf;

use tidegate_core::plan::{Upstream, UpstreamRegion};

use crate::compile::body::{self, Totals};
use crate::compile::regions::Regions;
use crate::compile::{Context, TlsFiles, balance, breaker, connection, health, retry, steering};
use crate::raw;

/// The files that an upstream names, as joined paths.
#[derive(Clone, Debug, Default)]
pub(crate) struct UpstreamFiles {
    /// Those of its connections.
    pub(crate) connection: TlsFiles,
    /// Those of its probes' own connections.
    pub(crate) probe: TlsFiles,
    /// Those of the secrets of its affinity's cookie.
    pub(crate) secrets: Vec<PathBuf>,
}

/// What an upstream is compiled of.
pub(crate) struct Of<'a> {
    pub(crate) name: &'a str,
    pub(crate) raw: &'a raw::Upstream,
    /// Whether clients can connect by TLS.
    pub(crate) has_tls: bool,
}

/// Compiles one upstream that lives in `regions`, some of `all`.
pub(crate) fn compile(
    cx: &mut Context<'_>,
    of: &Of<'_>,
    regions: Vec<UpstreamRegion>,
    all: &Regions,
    totals: &Totals,
) -> (Upstream, UpstreamFiles) {
    let raw = of.raw;
    let (mut connection, connection_files) = connection::compile(cx, raw, &regions);
    let retry = retry::compile(
        cx,
        raw.retry.get().unwrap_or(&raw::Retry::default()),
        raw.regions.get().map_or(0, |written| written.0.len()),
    );
    connection::fit_attempt(cx, raw, &mut connection, &retry);
    let (health, probe_files) = health::compile(cx, raw, &connection, &retry);
    let (steering, secrets) = steering::compile(cx, of, &regions, all);
    let upstream = Upstream {
        name: of.name.into(),
        steering,
        balance: balance::compile(cx, &raw.balance, &regions),
        health,
        circuit_breaker: breaker::compile(cx, &raw.circuit_breaker, &regions),
        slow_start: breaker::slow_start(cx, &raw.slow_start),
        retry,
        connection,
        body: body::compile(cx, raw.body.get().unwrap_or(&raw::Body::default()), totals),
        regions: regions.into(),
    };
    let files = UpstreamFiles {
        connection: connection_files,
        probe: probe_files,
        secrets,
    };
    (upstream, files)
}
