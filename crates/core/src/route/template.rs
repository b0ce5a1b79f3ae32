//! Paths with names in them: `/users/{id}/orders`, `/files/{rest=**}`.
//!
//! A name stands for one whole segment that is not empty, or, at the end and with `=**`, for everything
//! that follows. Nothing else has a meaning, so that a table of templates can be searched segment by
//! segment; what needs more is a pattern.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrayvec::ArrayVec;

use super::captures::{CAPTURES_MAX, Captures};
use super::path::{Step, named, split_segment};

/// A path with names in it. Two are equal if they are written alike.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    text: Arc<str>,
    segments: Box<[Segment]>,
    end: End,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// These bytes, with the slash before them.
    Literal(Box<str>),
    /// Any segment that is not empty.
    Name(Box<str>),
}

/// What follows the segments.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// Nothing.
    Whole,
    /// Anything, under this name if it has one.
    Rest(Option<Box<str>>),
}

/// Why a text is no template. Each says where, in bytes of the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// A brace without its other half.
    #[error("`{{` without `}}`, or the other way round")]
    Unclosed(Range<usize>),
    /// A name that shares its segment with something else.
    #[error("a name stands for a whole segment")]
    NotWhole(Range<usize>),
    /// A name that is none.
    #[error("a name is letters, digits and `_`, a letter or `_` first")]
    Name(Range<usize>),
    /// `=**` before the last segment.
    #[error("only the last segment takes the rest")]
    NotLast(Range<usize>),
    /// A name that was there before.
    #[error("the name is there twice")]
    Twice(Range<usize>),
    /// More names than captures are kept.
    #[error("more than {CAPTURES_MAX} names")]
    TooMany(Range<usize>),
}

impl InvalidTemplate {
    /// Where, in bytes of the text.
    pub fn at(&self) -> Range<usize> {
        match self {
            Self::Unclosed(at)
            | Self::NotWhole(at)
            | Self::Name(at)
            | Self::NotLast(at)
            | Self::Twice(at)
            | Self::TooMany(at) => at.clone(),
        }
    }
}

impl Template {
    /// Reads a template: a path that starts with `/`; `/**` at its end is a rest without a name.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn new(text: &str) -> Result<Self, InvalidTemplate> {
        let (mut segments, mut end, mut at) = (Vec::new(), End::Whole, 0);
        let mut names: ArrayVec<&str, CAPTURES_MAX> = ArrayVec::new();
        while let Some((segment, after)) = split_segment(&text[at..]) {
            let slash = usize::from(segment.starts_with('/'));
            let place = at + slash..at + segment.len();
            at = place.end;
            let part = read(&segment[slash..], place.clone(), after.is_empty())?;
            if let Part::Name(name) | Part::Rest(Some(name)) = part {
                check_name(&mut names, name, place)?;
            }
            match part {
                Part::Literal => segments.push(Segment::Literal(segment.into())),
                Part::Name(name) => segments.push(Segment::Name(name.into())),
                Part::Rest(name) => end = End::Rest(name.map(Into::into)),
            }
        }
        Ok(Self {
            text: text.into(),
            segments: segments.into(),
            end,
        })
    }

    /// What was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let segments = self.segments.iter().filter_map(|segment| match segment {
            Segment::Name(name) => Some(&**name),
            Segment::Literal(_) => None,
        });
        let rest = match &self.end {
            End::Rest(name) => name.as_deref(),
            End::Whole => None,
        };
        segments.chain(rest)
    }

    /// What its names stand for in `path`; none if it does not match. The rest is without the slash
    /// before it.
    pub fn captures<'a>(&'a self, path: &'a str) -> Option<Captures<'a>> {
        let (mut captures, mut rest) = (Captures::default(), path);
        for wanted in &self.segments {
            let (segment, after) = split_segment(rest)?;
            match wanted {
                Segment::Literal(literal) => (**literal == *segment).then_some(())?,
                Segment::Name(name) => captures.push(Some(name), named(segment)?),
            }
            rest = after;
        }
        match &self.end {
            End::Whole => rest.is_empty().then_some(captures),
            End::Rest(None) => Some(captures),
            End::Rest(Some(name)) => {
                captures.push(Some(name), rest.strip_prefix('/').unwrap_or(rest));
                Some(captures)
            }
        }
    }

    pub(super) fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        self.segments.iter().map(|segment| match segment {
            Segment::Literal(literal) => Step::Literal(literal),
            Segment::Name(_) => Step::Any,
        })
    }

    /// Whether it takes what is below its segments, too.
    pub(super) fn is_open(&self) -> bool {
        self.end != End::Whole
    }
}

/// What a segment without its slash is.
enum Part<'t> {
    Literal,
    Name(&'t str),
    Rest(Option<&'t str>),
}

fn read(segment: &str, at: Range<usize>, is_last: bool) -> Result<Part<'_>, InvalidTemplate> {
    if segment == "**" && is_last {
        return Ok(Part::Rest(None));
    }
    if !segment.contains(['{', '}']) {
        return Ok(Part::Literal);
    }
    let inner = segment.strip_prefix('{');
    let Some(inner) = inner.and_then(|inner| inner.strip_suffix('}')) else {
        return Err(match balanced(segment) {
            true => InvalidTemplate::NotWhole(at),
            false => InvalidTemplate::Unclosed(at),
        });
    };
    let (name, is_rest) = match inner.strip_suffix("=**") {
        Some(name) => (name, true),
        None => (inner, false),
    };
    match is_name(name) {
        false if name.contains(['{', '}']) => Err(InvalidTemplate::NotWhole(at)),
        false => Err(InvalidTemplate::Name(at)),
        true if is_rest && !is_last => Err(InvalidTemplate::NotLast(at)),
        true if is_rest => Ok(Part::Rest(Some(name))),
        true => Ok(Part::Name(name)),
    }
}

fn check_name<'t>(
    names: &mut ArrayVec<&'t str, CAPTURES_MAX>,
    name: &'t str,
    at: Range<usize>,
) -> Result<(), InvalidTemplate> {
    if names.contains(&name) {
        return Err(InvalidTemplate::Twice(at));
    }
    names
        .try_push(name)
        .map_err(|_full| InvalidTemplate::TooMany(at))
}

/// Whether every brace has its other half.
fn balanced(text: &str) -> bool {
    let mut open = false;
    let braces = text.chars().filter(|c| matches!(c, '{' | '}'));
    braces.fold(true, |fine, brace| {
        let expected = open == (brace == '}');
        open = brace == '{';
        fine && expected
    }) && !open
}

fn is_name(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_segments_and_the_rest() {
        let check = |template: &str, path: &str, expected: Option<&[(&str, &str)]>| {
            let read = Template::new(template).unwrap();
            let found = read.captures(path).map(|captures| {
                let named = captures.iter().map(|(name, value)| (name.unwrap(), value));
                named.collect::<Vec<_>>()
            });
            assert_eq!(found.as_deref(), expected, "{template} {path}");
        };
        let orders = "/users/{id}/orders";
        check(orders, "/users/7/orders", Some(&[("id", "7")]));
        check(orders, "/users/a%2Fb/orders", Some(&[("id", "a%2Fb")]));
        check(orders, "/users/7/orders/", None);
        check(orders, "/users//orders", None);
        check(orders, "/users/7", None);
        check("/{a}/{b}", "/x/y", Some(&[("a", "x"), ("b", "y")]));
        check("/{a}/", "/x/", Some(&[("a", "x")]));
        check("/{a}", "*", None);
        let files = "/files/{rest=**}";
        check(files, "/files/a/b", Some(&[("rest", "a/b")]));
        check(files, "/files/", Some(&[("rest", "")]));
        check(files, "/files", Some(&[("rest", "")]));
        check(files, "/filesx", None);
        check("/{a}/**", "/x/y/z", Some(&[("a", "x")]));
        check("/{all=**}", "/x/y", Some(&[("all", "x/y")]));
        check("/{all=**}", "/", Some(&[("all", "")]));
    }

    #[test]
    fn what_is_no_template_says_where() {
        use InvalidTemplate::*;
        let check = |text: &str, expected: InvalidTemplate| {
            assert_eq!(Template::new(text), Err(expected), "{text}");
        };
        check("/a/{id", Unclosed(3..6));
        check("/a/id}", Unclosed(3..6));
        check("/a/{{id}}", NotWhole(3..9));
        check("/a/x-{id}", NotWhole(3..9));
        check("/a/{id}.json", NotWhole(3..12));
        check("/a/{a}{b}", NotWhole(3..9));
        check("/a/{}", Name(3..5));
        check("/a/{1}", Name(3..6));
        check("/a/{a-b}", Name(3..8));
        check("/a/{b=*}", Name(3..8));
        check("/{b=**}/c", NotLast(1..7));
        check("/{b}/{c}/{b}", Twice(9..12));
        check("/{b}/{b=**}", Twice(5..11));
        let many: String = (0..17).map(|n| format!("/{{n{n}}}")).collect();
        assert!(matches!(Template::new(&many), Err(TooMany(_))));
        assert!(Template::new(&many[..many.len() - 6]).is_ok());
    }
}
