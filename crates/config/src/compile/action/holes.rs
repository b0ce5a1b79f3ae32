//! Texts of paths and addresses with something to be filled in: what a request has, what the route's
//! match captures.

use std::sync::Arc;

use tidegate_core::action::{Capture, Hole, InvalidTemplate, Template};
use tidegate_core::route::{PathMatch, Pattern, RouteMatch};

use crate::compile::{Context, names};
use crate::problem::{Problem, quoted};
use crate::span::Span;

/// Longest text.
const TEXT_MAX: usize = 2048;

/// What can be filled into a text.
pub(super) struct Holes<'m> {
    /// By name and by number, in this order.
    captures: Vec<(String, Hole)>,
    /// How many groups the expression has beside which the text stands, if there is one.
    groups: Option<usize>,
    named: &'m [(&'static str, Hole)],
}

/// What can be filled into a path.
const IN_PATH: [(&str, Hole); 1] = [("path", Hole::Path)];

impl Holes<'static> {
    /// What can be filled into a path.
    pub(super) fn of_path(matches: &RouteMatch, regex: Option<&Pattern>) -> Self {
        Self {
            captures: captures(matches),
            groups: regex.map(|regex| regex.groups().len()),
            named: &IN_PATH,
        }
    }

    /// What can be filled into an address.
    pub(super) fn of_url(matches: &RouteMatch) -> Self {
        Self {
            captures: captures(matches),
            groups: None,
            named: &Hole::NAMED,
        }
    }

    /// Reads a text; reports it when it is none.
    pub(super) fn read(
        &self,
        cx: &mut Context<'_>,
        text: &str,
        span: Option<Span>,
    ) -> Option<Template<Hole>> {
        if text.len() > TEXT_MAX {
            let message = format!("{} bytes are too long", text.len());
            let problem = Problem::error("out_of_range", message).at(span);
            cx.report(problem.help(format!("at most {TEXT_MAX}")));
            return None;
        }
        let hole = |name: &str| self.find(name);
        let read = match self.groups {
            Some(_) => Template::parse_with_groups(text, hole),
            None => Template::parse(text, hole),
        };
        match read {
            Ok(template) => Some(template),
            Err(error) => {
                self.report(cx, &error, text, span);
                None
            }
        }
    }

    fn find(&self, name: &str) -> Option<Hole> {
        if let Some(group) = name.strip_prefix('$') {
            let (groups, at) = (self.groups?, group.parse().ok()?);
            let capture = Capture {
                name: name.into(),
                at,
            };
            return (1..=groups).contains(&at).then_some(Hole::Group(capture));
        }
        let own = self.captures.iter().find(|(known, _)| known == name);
        let named = || self.named.iter().find(|(known, _)| *known == name);
        match own {
            Some((_, hole)) => Some(hole.clone()),
            None => named().map(|(_, hole)| hole.clone()),
        }
    }

    fn report(
        &self,
        cx: &mut Context<'_>,
        error: &InvalidTemplate,
        text: &str,
        span: Option<Span>,
    ) {
        let InvalidTemplate::Unknown(name) = error else {
            let help = format!("{error}; write `{{{{` for a brace");
            return cx.invalid(span, "value", "a text with `{names}`", text, &help);
        };
        let message = format!("nothing captures {}", quoted(name));
        let captures = self.captures.iter().map(|(name, _)| name.as_str());
        let groups = (1..=self.groups.unwrap_or(0)).map(|at| format!("${at}"));
        let groups: Vec<_> = groups.collect();
        let named = self.named.iter().map(|(name, _)| *name);
        let known = groups.iter().map(String::as_str).chain(captures);
        names::unknown_as(
            cx,
            "unknown_capture",
            message,
            name,
            span,
            known.chain(named),
        );
    }
}

/// What a match captures of a path: names, or numbers where there are no names.
fn captures(matches: &RouteMatch) -> Vec<(String, Hole)> {
    let captured = |(at, name): (usize, Option<&str>)| {
        let name = name.map_or_else(|| (at + 1).to_string(), str::to_owned);
        let capture = Capture {
            name: Arc::from(name.as_str()),
            at: at + 1,
        };
        (name, Hole::Captured(capture))
    };
    match &matches.path {
        Some(PathMatch::Template(template)) => {
            let names = template.names().map(Some).enumerate();
            names.map(captured).collect()
        }
        Some(PathMatch::Regex(regex)) => regex.groups().enumerate().map(captured).collect(),
        Some(PathMatch::Exact(_) | PathMatch::Prefix(_)) | None => Vec::new(),
    }
}
