//! Texts of a transaction's steps, in which `${name}` stands for a value from an earlier answer.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use crate::error::ProbeError;

/// A text with places for values. What only looks like the start of a place stands for itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Template(Box<[Piece]>);

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(Arc<str>),
    Value(Arc<str>),
}

/// Values by name; of equal names the last counts.
#[derive(Debug, Default)]
pub(crate) struct Values(Vec<(Arc<str>, String)>);

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As they are.
    Plain,
    /// As a part of a path or query: every byte but unreserved characters percent-encoded (RFC 3986
    /// section 2.3), so that a value cannot become another path.
    Encoded,
}

impl Values {
    pub(crate) fn set(&mut self, name: Arc<str>, value: String) {
        self.0.push((name, value));
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(known, _)| **known == *name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Template {
    pub(crate) fn parse(text: &str) -> Self {
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, name, after)) = next_place(rest) {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.into()));
            }
            pieces.push(Piece::Value(name.into()));
            rest = after;
        }
        if !rest.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Text(rest.into()));
        }
        Self(pieces.into())
    }

    /// The text with the values in their places.
    ///
    /// # Errors
    /// When there is no value for a place.
    pub(crate) fn fill(&self, values: &Values, manner: Manner) -> Result<Cow<'_, str>, ProbeError> {
        if let [Piece::Text(text)] = &*self.0 {
            return Ok(Cow::Borrowed(text));
        }
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Value(name) => {
                    let value = values.get(name).ok_or_else(|| unknown(name))?;
                    write(&mut out, value, manner);
                }
            }
        }
        Ok(Cow::Owned(out))
    }
}

/// What is before the first place of `text`, its name, and what is after it.
fn next_place(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("${")?;
    let (name, after) = rest.split_once('}')?;
    Some((before, name, after))
}

fn unknown(name: &str) -> ProbeError {
    ProbeError::Request(format!("no earlier step gives `{}`", name.escape_debug()))
}

fn write(out: &mut String, value: &str, manner: Manner) {
    if manner == Manner::Plain {
        return out.push_str(value);
    }
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            // Writing to a string cannot fail.
            other => drop(write!(out, "%{other:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_take_their_places() {
        let mut values = Values::default();
        values.set("id".into(), "old".into());
        values.set("id".into(), "a/../b?c=\u{e9}".into());
        values.set("n".into(), "7".into());
        let check = |text: &str, plain: &str, encoded: &str| {
            let template = Template::parse(text);
            assert_eq!(template.fill(&values, Manner::Plain).unwrap(), plain);
            assert_eq!(template.fill(&values, Manner::Encoded).unwrap(), encoded);
        };
        check("", "", "");
        check("/cart", "/cart", "/cart");
        check("/${n}", "/7", "/7");
        check(
            "/${id}/${n}${n}.",
            "/a/../b?c=\u{e9}/77.",
            "/a%2F..%2Fb%3Fc%3D%C3%A9/77.",
        );
        check("$n {n} ${n", "$n {n} ${n", "$n {n} ${n");
    }

    #[test]
    fn a_place_without_a_value_is_an_error() {
        let template = Template::parse("/${token}");
        let filled = template.fill(&Values::default(), Manner::Plain);
        let problem = filled.unwrap_err().to_string();
        assert!(
            problem.contains("no earlier step gives `token`"),
            "{problem}"
        );
    }
}
