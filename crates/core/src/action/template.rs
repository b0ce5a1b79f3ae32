//! Text with holes: `/users/{id}`. `{{` and `}}` stand for single braces. Texts are read when a plan is
//! compiled; filling them is a walk over their pieces.

use std::fmt;
use std::sync::Arc;

/// Text with holes of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template<H> {
    pieces: Box<[Piece<H>]>,
    /// Holes of the form `$1` are read too, and `$$` is a `$`.
    groups: bool,
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<H> {
    /// Text as it is.
    Text(Arc<str>),
    /// What is filled in.
    Hole(H),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// A brace opens and none closes.
    #[error("`{{` is not closed")]
    Unclosed,
    /// A brace closes and none opened.
    #[error("`}}` closes nothing")]
    Unopened,
    /// `$` is followed by no number.
    #[error("`$` is followed by no number")]
    Dollar,
    /// Nothing of this name can be filled in.
    #[error("there is no `{0}`")]
    Unknown(String),
}

impl<H> Template<H> {
    /// Reads a text; `hole` knows what stands between braces.
    ///
    /// # Errors
    /// [`InvalidTemplate`], the first that is wrong.
    pub fn parse(text: &str, hole: impl FnMut(&str) -> Option<H>) -> Result<Self, InvalidTemplate> {
        Self::read(text, hole, false)
    }

    /// The same of a text with holes like `$1` too, which `hole` is asked for as they are.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_with_groups(
        text: &str,
        hole: impl FnMut(&str) -> Option<H>,
    ) -> Result<Self, InvalidTemplate> {
        Self::read(text, hole, true)
    }

    fn read(
        text: &str,
        mut hole: impl FnMut(&str) -> Option<H>,
        groups: bool,
    ) -> Result<Self, InvalidTemplate> {
        let mut reader = Reader {
            pieces: Vec::new(),
            text: String::new(),
        };
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            rest = match first {
                '{' | '}' if rest[1..].starts_with(first) => reader.push(first, &rest[2..]),
                '{' => {
                    let (name, rest) =
                        rest[1..].split_once('}').ok_or(InvalidTemplate::Unclosed)?;
                    reader.hole(known(name, &mut hole)?);
                    rest
                }
                '}' => return Err(InvalidTemplate::Unopened),
                '$' if groups && rest[1..].starts_with('$') => reader.push('$', &rest[2..]),
                '$' if groups => {
                    let digits = rest[1..].bytes().take_while(u8::is_ascii_digit).count();
                    let (group, rest) = rest.split_at(1 + digits);
                    if digits == 0 {
                        return Err(InvalidTemplate::Dollar);
                    }
                    reader.hole(known(group, &mut hole)?);
                    rest
                }
                other => reader.push(other, &rest[other.len_utf8()..]),
            };
        }
        Ok(reader.end(groups))
    }

    /// Its pieces, in order.
    pub fn pieces(&self) -> &[Piece<H>] {
        &self.pieces
    }

    /// Its holes, in order.
    pub fn holes(&self) -> impl Iterator<Item = &H> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Hole(hole) => Some(hole),
            Piece::Text(_) => None,
        })
    }

    /// Its texts, in order.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(&**text),
            Piece::Hole(_) => None,
        })
    }

    /// The text, if there is nothing to fill in.
    pub fn fixed(&self) -> Option<&str> {
        match &*self.pieces {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Gives every piece as text, in order; `fill` knows what stands for a hole.
    pub fn parts<'a>(
        &'a self,
        fill: impl Fn(&'a H) -> &'a str + Clone + 'a,
    ) -> impl Iterator<Item = &'a str> + Clone {
        self.pieces.iter().map(move |piece| match piece {
            Piece::Text(text) => text,
            Piece::Hole(hole) => fill(hole),
        })
    }
}

/// What was read so far.
struct Reader<H> {
    pieces: Vec<Piece<H>>,
    text: String,
}

impl<H> Reader<H> {
    fn push<'t>(&mut self, character: char, rest: &'t str) -> &'t str {
        self.text.push(character);
        rest
    }

    fn hole(&mut self, hole: H) {
        self.flush();
        self.pieces.push(Piece::Hole(hole));
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.pieces.push(Piece::Text(self.text.as_str().into()));
            self.text.clear();
        }
    }

    fn end(mut self, groups: bool) -> Template<H> {
        self.flush();
        Template {
            pieces: self.pieces.into(),
            groups,
        }
    }
}

fn known<H>(name: &str, hole: &mut impl FnMut(&str) -> Option<H>) -> Result<H, InvalidTemplate> {
    hole(name).ok_or_else(|| InvalidTemplate::Unknown(name.to_owned()))
}

/// As it would be written.
impl<H: fmt::Display> fmt::Display for Template<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Hole(hole) => write!(f, "{hole}")?,
                Piece::Text(text) => {
                    let text = text.replace('{', "{{").replace('}', "}}");
                    match self.groups {
                        true => f.write_str(&text.replace('$', "$$"))?,
                        false => f.write_str(&text)?,
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knows `{a}`, `{1}` and groups.
    fn hole(name: &str) -> Option<String> {
        match name {
            "a" | "1" => Some(format!("{{{name}}}")),
            group if group.starts_with('$') => Some(group.to_owned()),
            _ => None,
        }
    }

    fn told(template: &Template<String>) -> Vec<&str> {
        let pieces = template.pieces().iter();
        pieces
            .map(|piece| match piece {
                Piece::Text(text) => text,
                Piece::Hole(hole) => hole.as_str(),
            })
            .collect()
    }

    #[test]
    fn texts_and_holes_are_read_and_written_again() {
        let check = |text: &str, pieces: &[&str]| {
            let read = Template::parse(text, hole).unwrap();
            assert_eq!(told(&read), pieces, "{text}");
            assert_eq!(read.to_string(), text);
        };
        check("", &[]);
        check("/x", &["/x"]);
        check("{a}", &["{a}"]);
        check("/u/{a}/é{a}", &["/u/", "{a}", "/é", "{a}"]);
        check("{{\"a\":1}}", &["{\"a\":1}"]);
        check("$1", &["$1"]);
    }

    #[test]
    fn groups_are_read_where_they_are_known() {
        let check = |text: &str, pieces: &[&str]| {
            let read = Template::parse_with_groups(text, hole).unwrap();
            assert_eq!(told(&read), pieces, "{text}");
            assert_eq!(read.to_string(), text);
        };
        check("/$1/$2x", &["/", "$1", "/", "$2", "x"]);
        check("$1{1}", &["$1", "{1}"]);
        check("/$$1{a}", &["/$1", "{a}"]);
        let refused = |text| Template::parse_with_groups(text, hole).unwrap_err();
        assert_eq!(refused("/$x"), InvalidTemplate::Dollar);
        assert_eq!(refused("/$"), InvalidTemplate::Dollar);
    }

    #[test]
    fn what_is_no_template_is_refused() {
        let check = |text: &str, expected| {
            assert_eq!(Template::parse(text, hole).unwrap_err(), expected, "{text}");
        };
        check("{a", InvalidTemplate::Unclosed);
        check("a}", InvalidTemplate::Unopened);
        check("{b}", InvalidTemplate::Unknown("b".to_owned()));
        check("{}", InvalidTemplate::Unknown(String::new()));
        check("{{{", InvalidTemplate::Unclosed);
    }
}
