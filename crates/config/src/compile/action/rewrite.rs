//! Rewriting of paths and hosts.

use std::sync::Arc;

use tidegate_core::action::{PathRewrite, Template, is_origin_form};
use tidegate_core::plan::HostRewrite;
use tidegate_core::route::{PathMatch, Pattern, RouteMatch};

use super::holes::Holes;
use crate::compile::{Context, syntax};
use crate::problem::Problem;
use crate::raw;
use crate::yaml::{Field, WordOr};

/// What stands in a hole while a text is looked at.
const SAMPLE: &str = "x";

/// Another path. None when it is absent, or broken, which was reported.
pub(super) fn path(
    cx: &mut Context<'_>,
    field: &Field<raw::PathRewrite>,
    matches: &RouteMatch,
) -> Option<PathRewrite> {
    match field.get()? {
        WordOr::Word(text) => {
            let template = Holes::of_path(matches, None).read(cx, text, field.span())?;
            check_path(cx, field, text, &template).then_some(PathRewrite::Whole(template))
        }
        WordOr::Value(edit) => self::edit(cx, edit, field, matches),
    }
}

fn edit(
    cx: &mut Context<'_>,
    edit: &raw::PathEdit,
    field: &Field<raw::PathRewrite>,
    matches: &RouteMatch,
) -> Option<PathRewrite> {
    if edit.regex.is_absent() {
        cx.unused_if_given(edit.to.span(), "to", "`regex`");
        return prefix(cx, edit, field, matches);
    }
    if let Some(span) = edit.prefix.span() {
        let message = "a path is rewritten by `prefix` or by `regex`";
        let problem = Problem::error("conflicting_keys", message).at(span);
        let problem = problem.label(edit.regex.span(), "and here");
        cx.report(problem.help("remove one".to_owned()));
    }
    let to = cx.required(&edit.to, field.span(), "to");
    let text = edit.regex.get()?;
    let regex = match Pattern::new(text) {
        Ok(regex) => Arc::new(regex),
        Err(error) => {
            let help = error.to_string();
            cx.invalid(edit.regex.span(), "value", "an expression", text, &help);
            return None;
        }
    };
    let holes = Holes::of_path(matches, Some(&regex));
    let to = holes.read(cx, to?, edit.to.span())?;
    let wrong = to.texts().find(|text| !is_origin_form(&format!("/{text}")));
    if let Some(text) = wrong {
        let help = "write spaces, controls, `?`, `#` and what is beyond ASCII percent-encoded";
        cx.invalid(edit.to.span(), "path", "a part of a path", text, help);
        return None;
    }
    Some(PathRewrite::Regex { regex, to })
}

fn prefix(
    cx: &mut Context<'_>,
    edit: &raw::PathEdit,
    field: &Field<raw::PathRewrite>,
    matches: &RouteMatch,
) -> Option<PathRewrite> {
    let to = cx.required(&edit.prefix, field.span(), "prefix")?;
    let matched = match &matches.path {
        Some(PathMatch::Prefix(prefix)) => prefix.trim_end_matches('/'),
        None => "",
        Some(_) => {
            let message = "the route's `path` is no prefix that could be another";
            let problem = Problem::error("no_prefix", message).at(edit.prefix.span());
            let help = "match a path that ends in `/**`, or write the whole path";
            cx.report(problem.help(help.to_owned()));
            return None;
        }
    };
    let plain = Template::parse(to, |_| None::<tidegate_core::action::Hole>).ok();
    if plain.is_none_or(|plain| plain.fixed().is_none()) || !is_path(to) {
        cx.invalid(edit.prefix.span(), "path", "a prefix of a path", to, PATH);
        return None;
    }
    // `/v2/` and `/v2/**` mean what `/v2` does.
    let to = to.strip_suffix("/**").unwrap_or(to);
    let to = match to.trim_end_matches('/') {
        "" => "/",
        to => to,
    };
    Some(PathRewrite::Prefix {
        matched: matched.into(),
        to: to.into(),
    })
}

/// The hint for what is no path.
const PATH: &str = "it begins with one `/` and has no `?`, `#`, `..` and spaces; escape others";

/// Whether a text can be a path that we make.
fn is_path(path: &str) -> bool {
    let dots = path.split('/').any(|part| matches!(part, "." | ".."));
    is_origin_form(path) && !path.contains('?') && !path.starts_with("//") && !dots
}

fn check_path(
    cx: &mut Context<'_>,
    field: &Field<raw::PathRewrite>,
    text: &str,
    template: &Template<tidegate_core::action::Hole>,
) -> bool {
    let mut sample: String = template.parts(|_| SAMPLE).collect();
    if text.starts_with("{path}") {
        sample.insert(0, '/');
    }
    let valid = is_path(&sample);
    if !valid {
        cx.invalid(field.span(), "path", "a path", text, PATH);
    }
    valid
}

/// Another host. None when it is absent, or broken, which was reported.
pub(super) fn host(cx: &mut Context<'_>, field: &Field<String>) -> Option<HostRewrite> {
    let text = field.get()?;
    if text == "upstream" {
        return Some(HostRewrite::Upstream);
    }
    let host = match text.rsplit_once(':') {
        Some((_, port)) if port.bytes().all(|c| c.is_ascii_digit()) => syntax::endpoint(text),
        _ => syntax::match_host(text).and_then(|host| match host.contains('*') {
            true => Err("one host, not a pattern".to_owned()),
            false => Ok(host),
        }),
    };
    match host {
        Ok(host) => Some(HostRewrite::Fixed(host.into())),
        Err(help) => {
            cx.invalid(field.span(), "host", "a host", text, &help);
            None
        }
    }
}
