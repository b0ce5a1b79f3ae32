//! Why a value cannot be decoded, in the words of the person who wrote it.

use std::fmt;

use serde::de;

use crate::hint;
use crate::problem::{Problem, quoted};
use crate::span::Span;
use crate::suggest;

/// A failed value, before its place is known.
#[derive(Debug)]
pub(crate) struct DecodeError {
    code: &'static str,
    message: String,
    help: Option<String>,
}

impl DecodeError {
    pub(crate) fn wrong_type(expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        let (expected, found) = (expected.to_string(), found.to_string());
        Self {
            code: "wrong_type",
            message: format!("expected {expected}, found {found}"),
            help: hint::of_type(&expected, &found).map(str::to_owned),
        }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }

    pub(crate) fn into_problem(self, span: Span) -> Problem {
        Problem::error(self.code, self.message)
            .at(span)
            .help(self.help)
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            code: "wrong_type",
            message: message.to_string(),
            help: None,
        }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::wrong_type(expected, found)
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::wrong_type(expected, found)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self {
            code: "unknown_value",
            message: format!(
                "{} is not one of the values that are known here",
                quoted(variant)
            ),
            help: Some(suggest::one_of(variant, expected.iter().copied())),
        }
    }
}
