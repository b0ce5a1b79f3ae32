//! Probes, the judgement of regions, and the way back.

use std::path::Path;

use tidegate_core::plan::{
    Extract, ExtractFrom, Failback, HealthPolicy, HttpProbe, Probe, ProbeKind, ProbeTls, Readiness,
    RegionPolicy, Silence,
};

use super::{duration, fields, off_or, percent, texts, truth, upstream_tls};
use crate::compile::TlsFiles;
use crate::emit::Doc;

pub(super) fn health(health: &HealthPolicy, files: &TlsFiles, base: &Path) -> Doc<'static> {
    let probe = health.probe.as_ref();
    let readiness = match health.readiness {
        Readiness::Required => "required",
        Readiness::Counted => "counted",
        Readiness::Ignored => "ignored",
    };
    Doc::map([
        (
            "probe",
            Some(off_or(probe, |probe| self::probe(probe, files, base))),
        ),
        ("region", Some(region(&health.region))),
        ("failback", Some(failback(&health.failback))),
        ("said", Some(truth(health.said))),
        ("readiness", Some(Doc::word(readiness))),
    ])
}

fn probe(probe: &Probe, files: &TlsFiles, base: &Path) -> Doc<'static> {
    let mut entries = asked(&probe.kind);
    let tls = probe.tls.as_ref().map(|tls| match tls {
        ProbeTls::Off => Doc::word("off"),
        ProbeTls::On(tls) => upstream_tls(tls, files, base),
    });
    let rest = Doc::map([
        ("port", probe.port.map(Doc::plain)),
        ("tls", tls),
        ("interval", Some(duration(probe.interval))),
        ("fast_interval", probe.fast_interval.map(duration)),
        ("jitter", Some(percent(probe.jitter))),
        ("timeout", Some(duration(probe.timeout))),
        ("rise", Some(Doc::plain(probe.rise))),
        ("fall", Some(Doc::plain(probe.fall))),
    ]);
    append(&mut entries, rest);
    entries
}

/// Goes on with the keys of another mapping.
fn append(to: &mut Doc<'static>, more: Doc<'static>) {
    if let (Doc::Map(entries), Doc::Map(more)) = (to, more) {
        entries.extend(more);
    }
}

/// What is asked, and what only that kind of probe has.
fn asked(kind: &ProbeKind) -> Doc<'static> {
    match kind {
        ProbeKind::Tcp => Doc::map([("tcp", Some(truth(true)))]),
        ProbeKind::Http(probe) => request("http", probe),
        ProbeKind::Grpc { service, host } => Doc::map([
            ("grpc", Some(Doc::text(service))),
            ("host", host.as_ref().map(Doc::text)),
        ]),
        ProbeKind::Steps(steps) => {
            Doc::map([("steps", Some(Doc::List(steps.iter().map(step).collect())))])
        }
    }
}

fn step(step: &HttpProbe) -> Doc<'static> {
    let mut entries = request("path", step);
    let extract = step.extract.iter();
    let extract = extract.map(|value| (value.name.to_string().into(), self::extract(value)));
    let extract = Doc::map([("extract", Some(Doc::Map(extract.collect())))]);
    append(&mut entries, extract);
    entries
}

fn extract(value: &Extract) -> Doc<'static> {
    match &value.from {
        ExtractFrom::Header(name) => Doc::map([("header", Some(Doc::text(name)))]),
        ExtractFrom::Json(pointer) => Doc::map([("json", Some(Doc::text(pointer)))]),
    }
}

fn request(path: &'static str, probe: &HttpProbe) -> Doc<'static> {
    let expect = probe
        .expect
        .iter()
        .map(|(first, last)| format!("{first}-{last}"));
    Doc::map([
        (path, Some(Doc::text(&probe.path))),
        ("method", Some(Doc::text(&probe.method))),
        ("host", probe.host.as_ref().map(Doc::text)),
        ("headers", Some(fields(&probe.headers))),
        ("body", probe.body.as_ref().map(Doc::text)),
        ("expect", Some(texts(expect))),
        ("expect_body", probe.expect_body.as_ref().map(Doc::text)),
        ("expect_headers", Some(fields(&probe.expect_headers))),
    ])
}

fn region(region: &RegionPolicy) -> Doc<'static> {
    let judged = region.error_rate.is_some()
        || region.silence.is_some()
        || region.degraded_latency.is_some();
    let (silence, floor) = match region.silence {
        Some(Silence::Auto { at_least }) => (Doc::word("auto"), Some(duration(at_least))),
        Some(Silence::After(time)) => (duration(time), None),
        None => (Doc::word("off"), None),
    };
    Doc::map([
        ("min_healthy", Some(percent(region.min_healthy))),
        (
            "error_rate",
            Some(off_or(region.error_rate.as_ref(), |rate| percent(*rate))),
        ),
        ("window", judged.then(|| duration(region.window))),
        (
            "min_requests",
            judged.then(|| Doc::plain(region.min_requests)),
        ),
        ("silence", Some(silence)),
        ("silence_floor", floor),
        (
            "degraded_latency",
            Some(off_or(region.degraded_latency.as_ref(), |part| {
                percent(*part)
            })),
        ),
    ])
}

fn failback(failback: &Failback) -> Doc<'static> {
    let mode = if failback.manual {
        "manual"
    } else {
        "automatic"
    };
    let ramp = failback.probation < 1.0 || failback.ramp.is_zero();
    Doc::map([
        ("mode", Some(Doc::word(mode))),
        ("hold", Some(duration(failback.hold))),
        ("hold_max", Some(duration(failback.hold_max))),
        ("probation", Some(percent(failback.probation))),
        ("ramp", ramp.then(|| duration(failback.ramp))),
        (
            "drain",
            Some(off_or(failback.drain.as_ref(), |time| duration(*time))),
        ),
    ])
}
