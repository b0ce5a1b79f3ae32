//! What the path of a request must be.

use std::sync::Arc;

use super::{Captures, Pattern, Template};

/// What a path must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// Exactly this, byte for byte.
    Exact(Arc<str>),
    /// This path and everything below it, by whole segments: `/api` matches `/api` and `/api/x`,
    /// not `/apix`. One `/` at the end makes no difference; `/` matches everything.
    Prefix(Arc<str>),
    /// As the template says. One that ends in a rest takes the place of a prefix.
    Template(Arc<Template>),
    /// The pattern is found in it.
    Regex(Arc<Pattern>),
}

/// One step of a path as routes give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step<'a> {
    /// These bytes, with the slash before them.
    Literal(&'a str),
    /// Any segment that is not empty.
    Any,
}

/// Where a route stands among those of its host. Two routes of one place match the same paths.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place<'a> {
    /// At the end of these steps.
    Closed(Vec<Step<'a>>),
    /// At the end of these steps and below it. Without steps it is any path.
    Open(Vec<Step<'a>>),
    /// Where this pattern is found.
    Found(&'a str),
}

impl PathMatch {
    /// What its names and groups stand for in `path`; none if it does not match.
    pub(super) fn captures<'a>(&'a self, path: &'a str) -> Option<Captures<'a>> {
        match self {
            Self::Exact(_) | Self::Prefix(_) => None,
            Self::Template(template) => template.captures(path),
            Self::Regex(pattern) => pattern.find(path).map(|(_, captures)| captures),
        }
    }
}

impl<'a> Place<'a> {
    pub(super) fn of(path: Option<&'a PathMatch>) -> Self {
        match path {
            None => Self::Open(Vec::new()),
            Some(PathMatch::Exact(path)) => Self::Closed(literals(path)),
            // Without the slash at its end: `/` becomes empty and has no segment.
            Some(PathMatch::Prefix(path)) => {
                Self::Open(literals(path.strip_suffix('/').unwrap_or(path)))
            }
            Some(PathMatch::Template(template)) => match template.is_open() {
                true => Self::Open(template.steps().collect()),
                false => Self::Closed(template.steps().collect()),
            },
            Some(PathMatch::Regex(pattern)) => Self::Found(pattern.text()),
        }
    }

    /// Whether the path has to be looked at for more than the segments that are given.
    pub(super) fn is_pattern(&self) -> bool {
        match self {
            Self::Closed(steps) | Self::Open(steps) => steps.contains(&Step::Any),
            Self::Found(_) => true,
        }
    }
}

fn literals(path: &str) -> Vec<Step<'_>> {
    let (mut steps, mut rest) = (Vec::new(), path);
    while let Some((segment, after)) = split_segment(rest) {
        steps.push(Step::Literal(segment));
        rest = after;
    }
    steps
}

/// Takes the first segment off a path, with the slash before it: `/api`, then `/x`. A slash at the
/// end is a segment of its own, so that `/api/` is not `/api`; a path without one (`*`) is too.
pub(super) fn split_segment(path: &str) -> Option<(&str, &str)> {
    path.split_at_checked(segment_len(path.as_bytes())?)
}

/// The same of a path that is only compared.
pub(super) fn split_bytes(path: &[u8]) -> Option<(&[u8], &[u8])> {
    path.split_at_checked(segment_len(path)?)
}

fn segment_len(path: &[u8]) -> Option<usize> {
    let after_first = path.get(1..)?;
    let slash = after_first.iter().position(|&byte| byte == b'/');
    Some(slash.map_or(path.len(), |at| at + 1))
}

/// What a name stands for in a segment with its slash; none if the segment is empty.
pub(super) fn named(segment: &str) -> Option<&str> {
    segment.strip_prefix('/').filter(|name| !name.is_empty())
}

/// Whether a name stands for anything in a segment.
pub(super) fn is_named(segment: &[u8]) -> bool {
    matches!(segment, [b'/', _, ..])
}
