//! How health is found out: the probe of endpoints, and when a region counts as usable.

use std::sync::Arc;

use tidegate_core::plan::{HealthPolicy, HttpProbe, Probe, ProbeKind, RegionPolicy};

use crate::compile::{Context, matches, syntax};
use crate::defaults;
use crate::problem::Problem;
use crate::raw;
use crate::yaml::{Field, WordOr};

pub(crate) fn compile(cx: &mut Context<'_>, raw: &raw::Health) -> HealthPolicy {
    let probe = match raw.probe.get() {
        Some(WordOr::Word(_)) => None,
        Some(WordOr::Value(raw_probe)) => Some(probe(cx, raw_probe)),
        None => Some(probe(cx, &raw::Probe::default())),
    };
    let default = raw::RegionHealth::default();
    let region = raw.region.get().unwrap_or(&default);
    HealthPolicy {
        probe,
        region: RegionPolicy {
            min_healthy: cx.percent(&region.min_healthy, 1.0, defaults::MIN_HEALTHY),
            ..RegionPolicy::default()
        },
        ..HealthPolicy::default()
    }
}

fn probe(cx: &mut Context<'_>, raw: &raw::Probe) -> Probe {
    let kind = probe_kind(cx, raw);
    let probe = Probe {
        interval: cx.duration(&raw.interval, defaults::PROBE_INTERVAL),
        timeout: cx.duration(&raw.timeout, defaults::PROBE_TIMEOUT),
        rise: cx.number(&raw.rise, 1..=1000, defaults::RISE) as u32,
        fall: cx.number(&raw.fall, 1..=1000, defaults::FALL) as u32,
        ..Probe::new(kind)
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
                cx.unused(span, key, "`http: /path`");
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
    matches::check_target(cx, path, raw.http.span());
    ProbeKind::Http(HttpProbe {
        path: path.as_str().into(),
        host: probe_host(cx, &raw.host),
        expect: expect(cx, &raw.expect),
        ..HttpProbe::default()
    })
}

fn probe_host(cx: &mut Context<'_>, field: &Field<String>) -> Option<Arc<str>> {
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
