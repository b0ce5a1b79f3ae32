//! Upstreams as a list: their names, and what is wrong between them.

use std::collections::HashMap;

use tidegate_core::plan::Upstream;

use crate::compile::body::Totals;
use crate::compile::regions::Regions;
use crate::compile::{Context, UpstreamFiles, action, affinity, lives_in, names, upstream};
use crate::defaults;
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::yaml::Entry;

/// Indices of upstreams are 16 bits wide.
const UPSTREAMS_MAX: usize = 65_535;

pub(crate) fn compile(
    cx: &mut Context<'_>,
    config: &raw::Config,
    regions: &Regions,
    totals: &Totals,
) -> (Vec<Upstream>, Vec<UpstreamFiles>) {
    let needed = action::needs_upstreams(config);
    if !needed && config.upstreams.is_absent() {
        return Default::default();
    }
    let Some(entries) = cx.required(&config.upstreams, None, "upstreams") else {
        return Default::default();
    };
    if entries.0.is_empty() && needed && cx.gaps.is_whole("upstreams") {
        let problem = Problem::error("empty_upstreams", "no upstream is defined");
        cx.report(
            problem
                .at(config.upstreams.span())
                .help("routes need somewhere to go".to_owned()),
        );
    }
    if let Some(entry) = entries.0.get(UPSTREAMS_MAX) {
        let message = format!(
            "{} upstreams, at most {UPSTREAMS_MAX} are supported",
            entries.0.len()
        );
        cx.report(Problem::error("too_many_upstreams", message).at(entry.name_span));
    }
    let has_tls = has_tls(config);
    let nothing = raw::Upstream::default();
    let compiled = entries.0.iter().take(UPSTREAMS_MAX).map(|entry| {
        names::check(cx, "upstream", &entry.name, entry.name_span);
        let lives_in = entry
            .value
            .get()
            .map(|raw| lives_in::compile(cx, entry, raw, regions));
        let of = upstream::Of {
            name: &entry.name,
            // What stands in for a broken one keeps the places of those after it.
            raw: entry.value.get().unwrap_or(&nothing),
            has_tls,
        };
        upstream::compile(cx, &of, lives_in.unwrap_or_default(), regions, totals)
    });
    let compiled = compiled.unzip();
    check_cookies(cx, &entries.0);
    compiled
}

/// Whether a client can connect by TLS.
pub(crate) fn has_tls(config: &raw::Config) -> bool {
    let listeners = config.listeners.get().into_iter().flatten();
    let mut listeners = listeners.filter_map(|listener| listener.get());
    listeners.any(|listener| !listener.tls.is_absent())
}

/// Upstreams that set a cookie of one name for the same requests: each takes the other's for none,
/// and moves the client.
fn check_cookies(cx: &mut Context<'_>, entries: &[Entry<raw::Upstream>]) {
    let cookies = entries
        .iter()
        .filter_map(|entry| affinity::cookie_of(entry.value.get()?));
    let mut seen: HashMap<&str, Vec<&raw::AffinityCookie>> = HashMap::new();
    for cookie in cookies {
        let Some(name) = cookie.name.get() else {
            continue;
        };
        let others = seen.entry(name).or_default();
        if let Some(first) = others
            .iter()
            .find(|other| overlap(path(other), path(cookie)))
        {
            let message = format!("two upstreams set the cookie {}", quoted(name));
            let problem = Problem::warning("shared_cookie", message).at(cookie.name.span());
            let problem = problem.label(first.name.span(), "first here");
            let help = "a client of both is moved each time it changes between them; give each its own name, or leave the key out";
            cx.report(problem.help(help.to_owned()));
        }
        others.push(cookie);
    }
}

fn path(cookie: &raw::AffinityCookie) -> &str {
    cookie
        .path
        .get()
        .map_or(defaults::COOKIE_PATH, String::as_str)
}

/// Whether browsers send cookies of both paths with some request.
fn overlap(a: &str, b: &str) -> bool {
    a.starts_with(b) || b.starts_with(a)
}
