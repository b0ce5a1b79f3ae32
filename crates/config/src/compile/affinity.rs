//! What keeps a client at one region: what is hashed, or a cookie that we set.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use tidegate_core::plan::{
    Affinity, AffinityBy, AffinityCookie, AffinityScope, HashKey, SameSite, WhenGone,
};

use crate::compile::upstream::Of;
use crate::compile::{Context, balance, secrets};
use crate::defaults;
use crate::problem::Problem;
use crate::raw::{self, AffinityWord};
use crate::span::Span;
use crate::units::{self, UnitError};
use crate::yaml::{Field, WordOr};

/// Browsers drop longer names and paths with the cookie.
const TEXT_MAX: usize = 1024;

/// Browsers keep none longer than 400 days.
const TTL_MAX: Duration = Duration::from_secs(400 * 24 * 3600);

/// Compiles the affinity of an upstream, with the files of its secrets.
pub(crate) fn compile(
    cx: &mut Context<'_>,
    of: &Of<'_>,
    steering: &raw::Steering,
) -> (Option<Affinity>, Vec<PathBuf>) {
    let Some(WordOr::Value(raw)) = steering.affinity.get() else {
        return Default::default();
    };
    let span = steering.affinity.span();
    let by = cx.required(&raw.by, span, "by");
    let (by, files) = match by {
        None => return Default::default(),
        Some(WordOr::Word(AffinityWord::Cookie)) => match cookie(cx, of, raw, span) {
            Some((cookie, files)) => (AffinityBy::Cookie(Arc::new(cookie)), files),
            None => return Default::default(),
        },
        Some(hashed) => {
            refuse_options(cx, raw);
            check_twice(cx, steering, raw.by.span());
            let key = hash_key(cx, hashed, raw.by.span());
            (AffinityBy::Hash(key.into_iter().collect()), Vec::new())
        }
    };
    let affinity = Affinity {
        by,
        scope: scope(&raw.scope),
        when_gone: when_gone(&raw.when_gone),
    };
    check_strict(cx, of, raw, &affinity);
    (Some(affinity), files)
}

/// The cookie by which an upstream knows clients again, if it is by one.
pub(crate) fn cookie_of(upstream: &raw::Upstream) -> Option<&raw::AffinityCookie> {
    match upstream.steering.get()?.affinity.get()? {
        WordOr::Value(affinity) => affinity.cookie.get(),
        WordOr::Word(_) => None,
    }
}

fn scope(field: &Field<raw::AffinityScope>) -> AffinityScope {
    match field.or(raw::AffinityScope::Region) {
        raw::AffinityScope::Region => AffinityScope::Region,
        raw::AffinityScope::Endpoint => AffinityScope::Endpoint,
    }
}

fn when_gone(field: &Field<raw::WhenGone>) -> WhenGone {
    match field.or(raw::WhenGone::Rebind) {
        raw::WhenGone::Rebind => WhenGone::Rebind,
        raw::WhenGone::Temporary => WhenGone::Temporary,
        raw::WhenGone::Strict => WhenGone::Strict,
    }
}

/// A hash names no place, so there is none to be gone.
fn refuse_options(cx: &mut Context<'_>, raw: &raw::Affinity) {
    let only_with = "`by: cookie`";
    cx.unused_if_given(raw.cookie.span(), "cookie", only_with);
    cx.unused_if_given(raw.when_gone.span(), "when_gone", only_with);
}

/// Two hashes for one decision.
fn check_twice(cx: &mut Context<'_>, steering: &raw::Steering, span: Option<Span>) {
    let hashes = steering.hash_on.get().is_some_and(|list| !list.is_empty());
    if hashes {
        let message = "a request's region is decided by `hash_on` or by affinity";
        let problem = Problem::error("conflicting_keys", message).at(span);
        let problem = problem.label(steering.hash_on.span(), "and here");
        cx.report(problem.help("remove one".to_owned()));
    }
}

fn hash_key(
    cx: &mut Context<'_>,
    by: &WordOr<AffinityWord, raw::HashKey>,
    span: Option<Span>,
) -> Option<HashKey> {
    match by {
        WordOr::Word(_) => Some(HashKey::ClientAddress),
        WordOr::Value(key) => balance::named_key(cx, key, span),
    }
}

fn cookie(
    cx: &mut Context<'_>,
    of: &Of<'_>,
    affinity: &raw::Affinity,
    span: Option<Span>,
) -> Option<(AffinityCookie, Vec<PathBuf>)> {
    let raw = cx.required(&affinity.cookie, span, "cookie")?;
    let given = cx.required(&raw.secret_files, affinity.cookie.span(), "secret_files");
    let list = given.map_or(&[][..], Vec::as_slice);
    let (secrets, files) = match given {
        Some(_) => secrets::read(cx, list, raw.secret_files.span()),
        None => Default::default(),
    };
    let cookie = AffinityCookie {
        name: name(cx, of, &raw.name),
        ttl: ttl(cx, &raw.ttl),
        path: path(cx, &raw.path),
        secure: raw.secure.or(of.has_tls),
        same_site: match raw.same_site.or(raw::SameSite::Lax) {
            raw::SameSite::Lax => SameSite::Lax,
            raw::SameSite::Strict => SameSite::Strict,
            raw::SameSite::None => SameSite::None,
        },
        secrets: secrets.into(),
    };
    check_secure(cx, raw, &cookie);
    Some((cookie, files))
}

fn name(cx: &mut Context<'_>, of: &Of<'_>, field: &Field<String>) -> Arc<str> {
    let Some(name) = field.get() else {
        return format!("tidegate-{}", of.name).into();
    };
    // A token of RFC 9110, which is also what a name of a header is.
    let token = HeaderName::from_bytes(name.as_bytes()).is_ok();
    if !token || name.len() > TEXT_MAX {
        let help = "letters, digits and `-_.`, without `=`, `;` and spaces";
        cx.invalid(field.span(), "name", "a name of a cookie", name, help);
    }
    name.as_str().into()
}

fn ttl(cx: &mut Context<'_>, field: &Field<raw::OffOrDuration>) -> Option<Duration> {
    let whole = |text: &str| match units::duration(text)? {
        ttl if ttl.subsec_nanos() != 0 || ttl.is_zero() || ttl > TTL_MAX => Err(UnitError {
            message: "not what browsers can keep".to_owned(),
            help: "whole seconds from `1s` to `9600h` (400 days)".to_owned(),
        }),
        ttl => Ok(ttl),
    };
    let parsed = cx.unless_off(field, "off", |cx, field| cx.unit(field, whole));
    parsed.flatten()
}

fn path(cx: &mut Context<'_>, field: &Field<String>) -> Arc<str> {
    let path = field.get().map_or(defaults::COOKIE_PATH, String::as_str);
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b';';
    if !path.starts_with('/') || path.len() > TEXT_MAX || !path.bytes().all(fits) {
        let help = "it begins with `/` and has no `;` and no spaces";
        cx.invalid(field.span(), "path", "a path of a cookie", path, help);
    }
    path.into()
}

/// What browsers drop because it is not secure.
fn check_secure(cx: &mut Context<'_>, raw: &raw::AffinityCookie, cookie: &AffinityCookie) {
    let of_host = cookie.name.starts_with("__Host-");
    let prefixed = of_host || cookie.name.starts_with("__Secure-");
    let wrong = if cookie.same_site == SameSite::None && !cookie.secure {
        Some((
            "`same_site: none` needs `secure: true`",
            raw.same_site.span(),
        ))
    } else if prefixed && !cookie.secure {
        Some((
            "a cookie of this name needs `secure: true`",
            raw.name.span(),
        ))
    } else if of_host && &*cookie.path != "/" {
        Some(("a cookie of this name needs `path: /`", raw.name.span()))
    } else {
        None
    };
    if let Some((message, span)) = wrong {
        let problem = Problem::error("insecure_cookie", message).at(span);
        let problem = problem.label(raw.secure.span(), "it is not");
        cx.report(problem.help("browsers drop it, so nobody would be bound".to_owned()));
    }
}

/// What is given for requests that leave, where bound ones never do.
fn check_strict(cx: &mut Context<'_>, of: &Of<'_>, raw: &raw::Affinity, affinity: &Affinity) {
    let strict = affinity.when_gone == WhenGone::Strict;
    let Some(retry) = of
        .raw
        .retry
        .get()
        .filter(|_| strict && raw.when_gone.span().is_some())
    else {
        return;
    };
    let whole = affinity.scope == AffinityScope::Endpoint;
    let (key, span, what) = if let Some(span) = retry.cross_region_budget.span() {
        ("cross_region_budget", span, "region")
    } else if let Some(span) = retry
        .attempts
        .span()
        .filter(|_| whole && retry.attempts.or(1) > 1)
    {
        ("attempts", span, "endpoint")
    } else {
        return;
    };
    let message =
        format!("requests of bound clients never leave their {what}, so `{key}` is not for them");
    let problem = Problem::warning("no_effect", message).at(raw.when_gone.span());
    let problem = problem.label(span.into(), "only for clients that are not bound yet");
    cx.report(problem.help("with `rebind` or `temporary` they outlive it".to_owned()));
}
