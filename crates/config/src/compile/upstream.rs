//! One upstream: how its region and endpoint are chosen. Health, retry, bodies and connections have
//! modules of their own.

use tidegate_core::plan::{self, Steering, Tolerance, Upstream, UpstreamRegion};

use crate::compile::body::{self, Totals};
use crate::compile::{
    Context, TlsFiles, balance, breaker, connection, default_duration, health, retry,
};
use crate::defaults;
use crate::raw::{self, Policy};
use crate::units::{self, UnitError};
use crate::yaml::Field;

/// The files of an upstream's TLS profiles, as joined paths.
#[derive(Clone, Debug, Default)]
pub(crate) struct UpstreamFiles {
    /// Those of its connections.
    pub(crate) connection: TlsFiles,
    /// Those of its probes' own connections.
    pub(crate) probe: TlsFiles,
}

/// Compiles one upstream that lives in `regions`.
pub(crate) fn compile(
    cx: &mut Context<'_>,
    name: &str,
    raw: &raw::Upstream,
    regions: Vec<UpstreamRegion>,
    totals: &Totals,
) -> (Upstream, UpstreamFiles) {
    let (connection, connection_files) = connection::compile(cx, raw, regions.len());
    let retry = retry::compile(
        cx,
        raw.retry.get().unwrap_or(&raw::Retry::default()),
        regions.len(),
    );
    connection::check_against_attempt(cx, raw, &connection, &retry);
    let (health, probe_files) = health::compile(cx, raw, &connection, &retry);
    let upstream = Upstream {
        name: name.into(),
        steering: steering(cx, raw),
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
    };
    (upstream, files)
}

fn steering(cx: &mut Context<'_>, raw: &raw::Upstream) -> Steering {
    let default = raw::Steering::default();
    let steering = raw.steering.get().unwrap_or(&default);
    let policy = steering.policy.or(Policy::Latency);
    if policy != Policy::Latency && !steering.tolerance.is_absent() {
        cx.unused(steering.tolerance.span(), "tolerance", "`policy: latency`");
    }
    if policy != Policy::Priority {
        refuse_tiers(cx, raw);
    }
    match policy {
        Policy::Latency => plan::Policy::latency(tolerance(cx, &steering.tolerance)).into(),
        Policy::Priority => plan::Policy::priority().into(),
        Policy::Weighted => plan::Policy::weighted().into(),
    }
}

fn refuse_tiers(cx: &mut Context<'_>, raw: &raw::Upstream) {
    let entries = raw.regions.get().into_iter().flat_map(|entries| &entries.0);
    for span in entries.filter_map(|entry| entry.value.get()?.tier.span()) {
        cx.unused(Some(span), "tier", "`policy: priority`");
    }
}

fn tolerance(cx: &mut Context<'_>, field: &Field<raw::Tolerance>) -> Tolerance {
    let parse = |text: &str| match text.ends_with('%') {
        true => units::percent(text).map(Tolerance::Relative),
        false => units::duration(text)
            .map(Tolerance::Absolute)
            .map_err(|error| {
                let bare = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
                let both = format!("did you mean `{text}ms` or `{text}%`?");
                UnitError {
                    help: if bare { both } else { error.help },
                    ..error
                }
            }),
    };
    let default = Tolerance::Absolute(default_duration(defaults::TOLERANCE));
    cx.unit(field, parse).unwrap_or(default)
}
