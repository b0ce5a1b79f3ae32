//! What is allowed and hardly ever meant: the changes that somebody makes at night and finds out about
//! from clients. Each is certain from the file alone; what only may be a mistake is not told.

use std::net::SocketAddr;

use tidegate_core::Dial;
use tidegate_core::plan::{Fault, Plan};
use tidegate_core::settings::Settings;

use crate::compile::{Context, affinity, given, upstreams};
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::span::Span;
use crate::yaml::WordOr;

/// `plan` is that of `config`, without what has errors.
pub(crate) fn check(cx: &mut Context<'_>, config: &raw::Config, settings: &Settings, plan: &Plan) {
    cookies(cx, config, settings);
    faults(cx, config, plan);
    endpoints(cx, config, settings);
}

/// Cookies that browsers keep for TLS, where nobody can come by TLS. A proxy in front may speak it for
/// us: one that is trusted, or one on this machine.
fn cookies(cx: &mut Context<'_>, config: &raw::Config, settings: &Settings) {
    let listeners = &settings.listeners;
    let in_front = listeners.iter().any(|one| !one.trusted.is_empty())
        || listeners.iter().all(|one| one.bind.ip().is_loopback());
    let known = cx.knows("listeners", &["tls", "trusted"], usize::MAX);
    if in_front || !known || upstreams::has_tls(config) {
        return;
    }
    let entries = config.upstreams.get().map_or(&[][..], |entries| &entries.0);
    for cookie in entries
        .iter()
        .filter_map(|entry| affinity::cookie_of(entry.value.get()?))
        .filter(|cookie| cookie.secure.or(false))
    {
        let message = "no client ever sends this cookie back: no listener has `tls`";
        let problem = Problem::warning("unsent_cookie", message).at(cookie.secure.span());
        let help = "give a listener `tls`, name the proxy that speaks it for you in `trusted`, or leave `secure` out";
        cx.report(problem.help(help.to_owned()));
    }
}

/// Faults that meet every request, as a drill that nobody ended.
fn faults(cx: &mut Context<'_>, config: &raw::Config, plan: &Plan) {
    let aborts = |fault: &Fault| fault.abort.is_some_and(|abort| abort.share == Dial::FULL);
    for (route, (_, raw)) in plan.routes.iter().zip(given(config)) {
        let every = route.actions.as_ref().is_some_and(|one| aborts(&one.fault));
        let abort = raw.fault.get().and_then(|fault| fault.abort.get());
        if let (Some(abort), true) = (abort, every) {
            let message = "every request of this route is aborted, and none gets to its upstream";
            let problem = Problem::warning("always_aborted", message).at(abort.share.span());
            let help =
                "lower `share` once the drill is over; to answer them all for good write `respond`";
            cx.report(problem.help(help.to_owned()));
        }
    }
}

/// Endpoints that are listeners of this very process: requests would come back until the loop is cut.
fn endpoints(cx: &mut Context<'_>, config: &raw::Config, settings: &Settings) {
    let entries = config.upstreams.get().map_or(&[][..], |entries| &entries.0);
    let regions = entries
        .iter()
        .filter_map(|entry| entry.value.get()?.regions.get());
    let regions = regions.flat_map(|entries| &entries.0);
    let lists = regions.filter_map(|entry| entry.value.get()?.endpoints.get());
    for field in lists.flatten() {
        let (text, span) = match field.get() {
            None => continue,
            Some(WordOr::Word(text)) => (text.as_str(), field.span()),
            Some(WordOr::Value(one)) => (
                one.address.get().map_or("", String::as_str),
                one.address.span(),
            ),
        };
        if let Ok(address) = text.parse() {
            endpoint(cx, settings, address, span);
        }
    }
}

fn endpoint(cx: &mut Context<'_>, settings: &Settings, address: SocketAddr, span: Option<Span>) {
    let is_it = |bind: SocketAddr| {
        let any = bind.ip().is_unspecified() && address.ip().is_loopback();
        let any = any && bind.is_ipv4() == address.is_ipv4();
        bind.port() == address.port() && bind.port() != 0 && (bind.ip() == address.ip() || any)
    };
    let listeners = settings.listeners.iter().map(|one| (one.bind, &*one.name));
    let admin = settings.admin.map(|bind| (bind, "admin"));
    let Some((_, name)) = listeners.chain(admin).find(|(bind, _)| is_it(*bind)) else {
        return;
    };
    let shown = quoted(&address.to_string());
    let message = format!(
        "the endpoint {shown} is this process itself: its listener {}",
        quoted(name)
    );
    let problem = Problem::warning("own_address", message).at(span);
    let help = "requests would come back here until the loop is cut; name the service's own port";
    cx.report(problem.help(help.to_owned()));
}
