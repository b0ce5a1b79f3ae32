//! The files of certificates, keys and authorities: read and judged, so that a bad one is found by
//! `check` and not by the first client.

use std::path::Path;
use std::sync::Arc;

use tidegate_core::plan::Plan;

use crate::certificate::{Chain, Key, Validity};
use crate::compile::Context;
use crate::compile::context::NamedFile;
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::span::Span;
use crate::yaml::Field;

/// A certificate chain and its key, read.
pub(crate) struct Pair {
    pub(crate) chain: NamedFile,
    pub(crate) key: NamedFile,
}

/// The files of a chain and its key, if both are named.
pub(crate) fn pair(
    cx: &mut Context<'_>,
    chain_field: &Field<String>,
    key_field: &Field<String>,
) -> Option<Pair> {
    let (chain_file, key_file) = (cx.file(chain_field), cx.file(key_field));
    let chain = chain_file
        .as_ref()
        .and_then(|file| chain(cx, file, chain_field.span()));
    let key = key_file
        .as_ref()
        .and_then(|file| key(cx, file, key_field.span()));
    if let (Some(chain), Some(key)) = (chain, key)
        && !key.fits(&chain)
    {
        let problem = Problem::error("key_mismatch", "the key is not the key of the certificate");
        let problem = problem
            .at(key_field.span())
            .label(chain_field.span(), "of this certificate");
        cx.report(problem.help("the chain must begin with the key's own certificate".to_owned()));
    }
    Some(Pair {
        chain: chain_file?,
        key: key_file?,
    })
}

/// A file of certificate authorities: at least one certificate.
pub(crate) fn authorities(cx: &mut Context<'_>, field: &Field<String>) -> Option<NamedFile> {
    let file = cx.file(field)?;
    let content = file.content.as_deref();
    if let Some(Err(reason)) = content.map(Chain::from_pem) {
        cx.report(bad_file("invalid_certificate", &file.path, &reason).at(field.span()));
    }
    Some(file)
}

/// The text of a PEM file; none when it could not be read.
pub(crate) fn text(file: &NamedFile) -> Option<Arc<str>> {
    let content = file.content.as_deref()?;
    std::str::from_utf8(content).ok().map(Arc::from)
}

fn chain(cx: &mut Context<'_>, file: &NamedFile, span: Option<Span>) -> Option<Chain> {
    match Chain::from_pem(file.content.as_deref()?) {
        Ok(chain) => {
            warn_of_dates(cx, &chain, file, span);
            Some(chain)
        }
        Err(reason) => {
            cx.report(bad_file("invalid_certificate", &file.path, &reason).at(span));
            None
        }
    }
}

fn key(cx: &mut Context<'_>, file: &NamedFile, span: Option<Span>) -> Option<Key> {
    let key = Key::from_pem(file.content.as_deref()?);
    if cx.is_exposed(&file.path) {
        let shown = quoted(&file.path.display().to_string());
        let message = format!("every user of this machine may read the key {shown}");
        let problem = Problem::warning("exposed_secret", message).at(span);
        cx.report(problem.help("take that right away: `chmod o-rwx`".to_owned()));
    }
    key.map_err(|reason| cx.report(bad_file("invalid_key", &file.path, &reason).at(span)))
        .ok()
}

/// Dates only warn: a certificate that expired at night must not also keep a reload from draining
/// a region.
fn warn_of_dates(cx: &mut Context<'_>, chain: &Chain, file: &NamedFile, span: Option<Span>) {
    let shown = quoted(&file.path.display().to_string());
    let (code, message) = match chain.validity(cx.now) {
        Validity::Valid => return,
        Validity::NotYet(date) => (
            "certificate_not_yet_valid",
            format!("the certificate {shown} is valid only from {date}"),
        ),
        Validity::Soon(date) => {
            let message = format!("the certificate {shown} expires on {date}");
            let problem = Problem::warning("certificate_expires_soon", message).at(span);
            cx.report(problem.help("renew it before; the files are watched".to_owned()));
            return;
        }
        Validity::Expired(date) => (
            "certificate_expired",
            format!("the certificate {shown} expired on {date}"),
        ),
    };
    let help = "peers that check it will refuse the connection".to_owned();
    cx.report(Problem::warning(code, message).at(span).help(help));
}

/// Certificates of listeners that are for none of the hosts that routes take. `plan` is that of `config`.
pub(crate) fn check_names(cx: &mut Context<'_>, config: &raw::Config, plan: &Plan) {
    if !cx.knows("routes", &["match"], usize::MAX) {
        return;
    }
    let hosts = plan
        .routes
        .iter()
        .map(|route| route.matches.host.as_deref());
    // A route for any host fits every certificate.
    let Some(hosts) = hosts.collect::<Option<Vec<&str>>>() else {
        return;
    };
    let listeners = config.listeners.get().into_iter().flatten();
    let profiles = listeners.filter_map(|listener| listener.get()?.tls.get());
    let certificates = profiles.filter_map(|tls| tls.certificates.get()).flatten();
    for field in certificates.filter_map(|certificate| Some(&certificate.get()?.chain)) {
        let content = cx.file(field).and_then(|file| file.content);
        let Some(Ok(chain)) = content.map(|content| Chain::from_pem(&content)) else {
            continue;
        };
        let names = chain.names();
        let fits = |name: &String| hosts.iter().any(|host| covers(name, host));
        let (Some(first), false) = (names.first(), names.iter().any(fits)) else {
            continue;
        };
        let message = format!(
            "no route takes a host that this certificate is for: {}",
            quoted(first)
        );
        let problem = Problem::warning("unmatched_certificate", message).at(field.span());
        let help = "whoever connects by its names is answered 404; name them in a route, or another certificate";
        cx.report(problem.help(help.to_owned()));
    }
}

/// Whether some host is both one of a certificate's name and one of a route's.
fn covers(name: &str, host: &str) -> bool {
    let below = |wild: &str, host: &str| {
        let parent = wild.strip_prefix('*');
        parent.is_some_and(|parent| parent.starts_with('.') && host.ends_with(parent))
    };
    name.eq_ignore_ascii_case(host) || below(name, host) || below(host, name)
}

fn bad_file(code: &'static str, path: &Path, reason: &str) -> Problem {
    Problem::error(
        code,
        format!("{} {reason}", quoted(&path.display().to_string())),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_hosts_meet_where_one_is_among_the_other() {
        let check = |name: &str, host: &str, expected| {
            assert_eq!(covers(name, host), expected, "{name} {host}");
        };
        check("shop.example.com", "shop.example.com", true);
        check("shop.example.com", "old.example.com", false);
        check("*.example.com", "shop.example.com", true);
        check("*.example.com", "*.example.com", true);
        check("shop.example.com", "*.example.com", true);
        check("*.example.com", "example.com", false);
        check("*.example.com", "badexample.com", false);
        check("shop.example.com", "*.example.net", false);
    }
}
