//! What an evaluation gives: a value that borrows its text, or why there is none.

use std::cmp::Ordering;

use jiff::Timestamp;
use thiserror::Error;

use super::node::Comparison;

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A truth.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// A text.
    Text(&'a str),
    /// A moment.
    Time(Timestamp),
}

/// Why an evaluation gives no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// The request does not have what is asked for.
    #[error("the request does not have it")]
    Missing,
    /// A value of the request is no text: not UTF-8.
    #[error("a value is not UTF-8")]
    NotText,
    /// A number leaves its range.
    #[error("a number is out of range")]
    Overflow,
    /// A whole number is divided by 0.
    #[error("division by zero")]
    DivisionByZero,
    /// A text is no number.
    #[error("a text is not a number")]
    NotNumber,
    /// A text is no address.
    #[error("a text is not an IP address")]
    NotAddress,
    /// The texts that it makes are too long.
    #[error("the texts that it makes are too long")]
    TooLong,
    /// It took too many steps.
    #[error("it takes too many steps")]
    Budget,
    /// A value has the wrong type. It was made by hand, and wrong.
    #[error("a value has the wrong type")]
    Mismatch,
}

impl<'a> Value<'a> {
    /// The truth that it is.
    ///
    /// # Errors
    /// It is none.
    pub fn truth(self) -> Result<bool, Fault> {
        match self {
            Self::Bool(truth) => Ok(truth),
            _ => Err(Fault::Mismatch),
        }
    }

    /// The text that it is.
    ///
    /// # Errors
    /// It is none.
    pub fn text(self) -> Result<&'a str, Fault> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(Fault::Mismatch),
        }
    }

    /// Whether `self` and `other` compare so. What is no number compares as nothing.
    pub(super) fn compares(self, how: Comparison, other: Self) -> Result<bool, Fault> {
        let equal = match how {
            Comparison::Equal => true,
            Comparison::NotEqual => false,
            how => return self.is_ordered(how, other),
        };
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => Ok((a == b) == equal),
            (Self::Bool(a), Self::Bool(b)) => Ok((a == b) == equal),
            (Self::Int(a), Self::Int(b)) => Ok((a == b) == equal),
            (Self::Double(a), Self::Double(b)) => Ok((a == b) == equal),
            (Self::Time(a), Self::Time(b)) => Ok((a == b) == equal),
            _ => Err(Fault::Mismatch),
        }
    }

    #[inline(never)]
    fn is_ordered(self, how: Comparison, other: Self) -> Result<bool, Fault> {
        let order = match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(&b)),
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(&b)),
            (Self::Double(a), Self::Double(b)) => a.partial_cmp(&b),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Time(a), Self::Time(b)) => Some(a.cmp(&b)),
            _ => return Err(Fault::Mismatch),
        };
        Ok(match how {
            Comparison::Equal => order == Some(Ordering::Equal),
            Comparison::NotEqual => order != Some(Ordering::Equal),
            Comparison::Less => order == Some(Ordering::Less),
            Comparison::LessOrEqual => order.is_some_and(Ordering::is_le),
            Comparison::Greater => order == Some(Ordering::Greater),
            Comparison::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        })
    }
}
