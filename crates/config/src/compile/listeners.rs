//! Listeners: where clients connect.

use std::collections::HashMap;
use std::net::SocketAddr;

use tidegate_core::settings::{
    CertificateFiles, Listener, ListenerLimits, ListenerTls, Network, TlsVersion,
};

use crate::compile::{Context, certificates, names, syntax};
use crate::defaults;
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::span::Span;
use crate::yaml::Field;

/// More sockets than anybody needs; their addresses are compared pair by pair.
const LISTENERS_MAX: usize = 256;

/// Stands in for an address that was reported; never reaches a process.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

pub(crate) fn compile(cx: &mut Context<'_>, config: &raw::Config) -> Vec<Listener> {
    let Some(list) = cx.required(&config.listeners, None, "listeners") else {
        return Vec::new();
    };
    if list.is_empty() && cx.gaps.is_whole("listeners") {
        let problem = Problem::error("empty_listeners", "no listener is defined");
        cx.report(
            problem
                .at(config.listeners.span())
                .help("clients need somewhere to connect".to_owned()),
        );
    }
    if let Some(field) = list.get(LISTENERS_MAX) {
        let message = format!(
            "{} listeners, at most {LISTENERS_MAX} are supported",
            list.len()
        );
        cx.report(Problem::error("too_many_listeners", message).at(field.span()));
    }
    let mut names = HashMap::new();
    let given = list
        .iter()
        .take(LISTENERS_MAX)
        .filter_map(|field| Some((field.get()?, field.span())));
    given
        .map(|(raw, span)| listener(cx, raw, span, &mut names))
        .collect()
}

/// The admin listener's address.
pub(crate) fn admin(cx: &mut Context<'_>, config: &raw::Config) -> Option<SocketAddr> {
    let admin = config.admin.get()?;
    let field = cx
        .required(&admin.bind, config.admin.span(), "bind")
        .map(|_| &admin.bind)?;
    let bind = bind(cx, field)?;
    if !bind.ip().is_loopback() {
        let message = format!(
            "{} is not a loopback address",
            quoted(field.get()?.as_ref())
        );
        let problem = Problem::warning("admin_exposed", message).at(field.span());
        cx.report(
            problem.help(
                "whoever reaches the admin listener controls the process; bind it to `127.0.0.1`"
                    .to_owned(),
            ),
        );
    }
    Some(bind)
}

fn listener(
    cx: &mut Context<'_>,
    raw: &raw::Listener,
    span: Option<Span>,
    names: &mut HashMap<String, Option<Span>>,
) -> Listener {
    let bind = cx
        .required(&raw.bind, span, "bind")
        .is_some()
        .then(|| bind(cx, &raw.bind))
        .flatten();
    Listener {
        name: name(cx, raw, names),
        bind: bind.unwrap_or(NOWHERE),
        tls: raw
            .tls
            .get()
            .map(|tls| listener_tls(cx, tls, raw.tls.span())),
        limits: raw
            .limits
            .get()
            .map(|raw| limits(cx, raw))
            .unwrap_or_default(),
        trusted: trusted(cx, &raw.trusted),
    }
}

fn name(
    cx: &mut Context<'_>,
    raw: &raw::Listener,
    names: &mut HashMap<String, Option<Span>>,
) -> String {
    let named = names::check_label(cx, "listener", &raw.name);
    let bind = raw.bind.get().map(|bind| bind.as_ref().to_owned());
    let name = raw
        .name
        .get()
        .filter(|_| named)
        .cloned()
        .or(bind)
        .unwrap_or_default();
    let span = raw.name.span().or(raw.bind.span());
    if let (Some(first), false) = (names.insert(name.clone(), span), name.is_empty())
        && named
    {
        let message = format!("two listeners are named {}", quoted(&name));
        let problem = Problem::error("duplicate_name", message).at(span);
        cx.report(
            problem
                .label(first, "first here")
                .help("give each listener its own name".to_owned()),
        );
    }
    name
}

fn bind(cx: &mut Context<'_>, field: &Field<raw::Address>) -> Option<SocketAddr> {
    let text = field.get()?.as_ref();
    let report = |help: String| {
        cx.invalid(
            field.span(),
            "address",
            "an IP address and a port",
            text,
            &help,
        )
    };
    syntax::bind(text).map_err(report).ok()
}

fn listener_tls(cx: &mut Context<'_>, raw: &raw::ListenerTls, span: Option<Span>) -> ListenerTls {
    let list = cx.required(&raw.certificates, span, "certificates");
    if list.is_some_and(Vec::is_empty) {
        let problem = Problem::error("empty_certificates", "TLS needs at least one certificate");
        cx.report(problem.at(raw.certificates.span()));
    }
    let given = list
        .into_iter()
        .flatten()
        .filter_map(|field| Some((field.get()?, field.span())));
    ListenerTls {
        certificates: given
            .filter_map(|(raw, span)| certificate(cx, raw, span))
            .collect(),
        min_version: min_version(cx, &raw.min_version),
        client_ca: certificates::authorities(cx, &raw.client_ca).map(|file| file.path),
    }
}

fn certificate(
    cx: &mut Context<'_>,
    raw: &raw::Certificate,
    span: Option<Span>,
) -> Option<CertificateFiles> {
    cx.required(&raw.chain, span, "chain");
    cx.required(&raw.key, span, "key");
    let pair = certificates::pair(cx, &raw.chain, &raw.key)?;
    Some(CertificateFiles {
        chain: pair.chain.path,
        key: pair.key.path,
    })
}

fn min_version(cx: &mut Context<'_>, field: &Field<raw::Version>) -> TlsVersion {
    match field
        .get()
        .map_or(defaults::MIN_VERSION, |version| version.as_ref())
    {
        "1.2" => TlsVersion::V1_2,
        "1.3" => TlsVersion::V1_3,
        other => {
            let help = "write `\"1.2\"` or `\"1.3\"`; older versions are not supported";
            cx.invalid(
                field.span(),
                "value",
                "a version of TLS that is supported",
                other,
                help,
            );
            TlsVersion::V1_3
        }
    }
}

fn limits(cx: &mut Context<'_>, raw: &raw::Limits) -> ListenerLimits {
    let default = ListenerLimits::default();
    ListenerLimits {
        connections: cx.number(&raw.connections, 1..=10_000_000, defaults::CONNECTIONS) as usize,
        handshake_timeout: cx.duration(&raw.handshake_timeout, defaults::HANDSHAKE_TIMEOUT),
        header_timeout: cx.duration(&raw.header_timeout, defaults::HEADER_TIMEOUT),
        idle_timeout: cx.duration(&raw.idle_timeout, defaults::CLIENT_IDLE_TIMEOUT),
        header_bytes: cx
            .size(&raw.header_size, 1024..=16 * 1024 * 1024)
            .map_or(default.header_bytes, |bytes| bytes as usize),
        header_fields: cx.number(&raw.header_fields, 1..=4096, defaults::HEADER_FIELDS) as usize,
        h2_streams: cx.number(&raw.h2_streams, 1..=65_535, defaults::H2_STREAMS) as u32,
    }
}

fn trusted(cx: &mut Context<'_>, field: &Field<Vec<Field<raw::Network>>>) -> Vec<Network> {
    field
        .get()
        .into_iter()
        .flatten()
        .filter_map(|field| network(cx, field))
        .collect()
}

fn network(cx: &mut Context<'_>, field: &Field<raw::Network>) -> Option<Network> {
    let text = field.get()?.as_ref();
    let report = |help: String| cx.invalid(field.span(), "network", "an IP network", text, &help);
    let network = syntax::network(text).map_err(report).ok()?;
    if network.prefix == 0 {
        let problem = Problem::warning(
            "trusts_everybody",
            format!("{} trusts every client", quoted(text)),
        );
        cx.report(
            problem
                .at(field.span())
                .help("any client can then claim any address; name your own proxies".to_owned()),
        );
    }
    Some(network)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units;

    #[test]
    fn the_documented_defaults_are_those_of_core() {
        let core = ListenerLimits::default();
        let seconds = |text| units::duration(text).unwrap();
        assert_eq!(defaults::CONNECTIONS, core.connections as u64);
        assert_eq!(seconds(defaults::HANDSHAKE_TIMEOUT), core.handshake_timeout);
        assert_eq!(seconds(defaults::HEADER_TIMEOUT), core.header_timeout);
        assert_eq!(seconds(defaults::CLIENT_IDLE_TIMEOUT), core.idle_timeout);
        assert_eq!(
            units::size(defaults::HEADER_SIZE).unwrap(),
            core.header_bytes as u64
        );
        assert_eq!(defaults::HEADER_FIELDS, core.header_fields as u64);
        assert_eq!(defaults::H2_STREAMS, u64::from(core.h2_streams));
    }
}
