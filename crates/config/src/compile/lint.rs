//! What is wrong between sections: addresses that clash, things that nothing uses.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use tidegate_core::plan::Plan;
use tidegate_core::route::PathMatch;
use tidegate_core::settings::Settings;

use crate::compile::{Context, given, upstreams};
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::span::Span;
use crate::yaml::Entry;

/// As many regular expressions may be tried for one request; from there on somebody should know.
const PATTERNS_MANY: usize = 100;

/// Two listeners, or a listener and the admin listener, on one address.
pub(crate) fn binds(cx: &mut Context<'_>, config: &raw::Config, settings: &Settings) {
    let fields = config
        .listeners
        .get()
        .into_iter()
        .flatten()
        .filter_map(|field| field.get());
    let spans = fields.map(|raw| raw.bind.span());
    let listeners = settings
        .listeners
        .iter()
        .map(|listener| listener.bind)
        .zip(spans);
    let admin_span = config.admin.get().and_then(|admin| admin.bind.span());
    let admin = settings.admin.map(|bind| (bind, admin_span));
    let mut seen: Vec<(SocketAddr, Option<Span>)> = Vec::new();
    for (bind, span) in listeners.chain(admin).filter(|(bind, _)| bind.port() != 0) {
        if let Some((_, first)) = seen.iter().find(|(other, _)| clash(bind, *other)) {
            let message = format!("{} is bound twice", quoted(&bind.to_string()));
            let problem = Problem::error("address_in_use", message)
                .at(span)
                .label(*first, "also here");
            cx.report(problem.help("give each listener its own port".to_owned()));
        }
        seen.push((bind, span));
    }
}

/// Whether two addresses cannot both be bound.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let covers =
        |a: IpAddr, b: IpAddr| a == b || (a.is_unspecified() && a.is_ipv4() == b.is_ipv4());
    a.port() == b.port() && (covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
}

/// Regions that no upstream lives in, upstreams that no route leads to.
pub(crate) fn unused(cx: &mut Context<'_>, config: &raw::Config) {
    let regions = config.regions.get().map_or(&[][..], |entries| &entries.0);
    let upstreams = config.upstreams.get().map_or(&[][..], |entries| &entries.0);
    let routes = config.routes.get().map_or(&[][..], Vec::as_slice);
    let lived_in = upstreams
        .iter()
        .filter_map(|entry| entry.value.get()?.regions.get());
    let lived_in: HashSet<&str> = lived_in
        .flat_map(|entries| &entries.0)
        .map(|entry| entry.name.as_str())
        .collect();
    let routes = routes.iter().filter_map(|route| route.get());
    let targets: HashSet<&str> = routes.flat_map(named).collect();
    // A misspelled name may be meant for any.
    let (upstreams_known, routes_known) = (
        cx.knows("upstreams", &["regions"], 1),
        cx.knows("routes", &["upstream", "split", "mirror"], usize::MAX),
    );
    let unused = |entry: &&Entry<raw::Region>| !lived_in.contains(entry.name.as_str());
    for entry in regions.iter().filter(|_| upstreams_known).filter(unused) {
        let message = format!("no upstream lives in the region {}", quoted(&entry.name));
        cx.report(Problem::warning("unused_region", message).at(entry.name_span));
    }
    let unused = |entry: &&Entry<raw::Upstream>| !targets.contains(entry.name.as_str());
    for entry in upstreams.iter().filter(|_| routes_known).filter(unused) {
        let message = format!("no route leads to the upstream {}", quoted(&entry.name));
        cx.report(Problem::warning("unused_upstream", message).at(entry.name_span));
    }
}

/// Redirects that send clients who came by TLS on without it.
pub(crate) fn redirects(cx: &mut Context<'_>, config: &raw::Config) {
    if !upstreams::has_tls(config) {
        return;
    }
    let routes = config.routes.get().into_iter().flatten();
    for redirect in routes.filter_map(|route| route.get()?.redirect.get()) {
        let to = redirect.to.get();
        let plain = to.is_some_and(|to| to.to_ascii_lowercase().starts_with("http://"))
            || matches!(redirect.scheme.get(), Some(raw::Scheme::Http));
        if plain {
            let message = "clients that came by TLS are sent on without it";
            let span = redirect.to.span().or(redirect.scheme.span());
            let problem = Problem::warning("insecure_redirect", message).at(span);
            let help = "anybody on the way can read and change what follows; write `https`";
            cx.report(problem.help(help.to_owned()));
        }
    }
}

/// Hosts with many different regular expressions, which are tried one by one. `plan` is that of `config`.
pub(crate) fn patterns(cx: &mut Context<'_>, config: &raw::Config, plan: &Plan) {
    let mut seen: HashMap<Option<&str>, HashSet<&str>> = HashMap::new();
    for (route, (_, raw)) in plan.routes.iter().zip(given(config)) {
        let Some(PathMatch::Regex(pattern)) = &route.matches.path else {
            continue;
        };
        let of_host = seen.entry(route.matches.host.as_deref()).or_default();
        if of_host.insert(pattern.text()) && of_host.len() == PATTERNS_MANY + 1 {
            let host = route
                .matches
                .host
                .as_deref()
                .map_or("any host".to_owned(), quoted);
            let message = format!(
                "more than {PATTERNS_MANY} different regular expressions for paths of {host}"
            );
            let raw = raw.r#match.get();
            let problem =
                Problem::warning("many_patterns", message).at(raw.and_then(|raw| raw.path.span()));
            let help = "each request may have to try them all; templates and prefixes are found at once, however many there are";
            cx.report(problem.help(help.to_owned()));
        }
    }
}

/// The upstreams that a route names.
fn named(route: &raw::Route) -> impl Iterator<Item = &str> {
    let split = route.split.get().into_iter().flatten();
    let split = split.filter_map(|target| Some(&target.get()?.upstream));
    let mirror = route.mirror.get().map(|mirror| &mirror.upstream);
    let all = split.chain(mirror).chain([&route.upstream]);
    all.filter_map(|field| Some(field.get()?.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_covers_its_family() {
        let check = |a: &str, b: &str, expected| {
            assert_eq!(
                clash(a.parse().unwrap(), b.parse().unwrap()),
                expected,
                "{a} {b}"
            );
            assert_eq!(
                clash(b.parse().unwrap(), a.parse().unwrap()),
                expected,
                "{b} {a}"
            );
        };
        check("127.0.0.1:80", "127.0.0.1:80", true);
        check("127.0.0.1:80", "127.0.0.2:80", false);
        check("0.0.0.0:80", "127.0.0.1:80", true);
        check("0.0.0.0:80", "127.0.0.1:81", false);
        check("[::]:80", "[::1]:80", true);
        check("[::]:80", "127.0.0.1:80", false);
    }
}
