//! What a part of an expression is while it is checked: a value of a known type, or one of the few
//! things that are no value by themselves.

use std::fmt;

use tidegate_core::expression::{List, MapName, Node};

/// A part of an expression.
pub(super) enum Thing {
    /// A value.
    Value(Node, Kind),
    /// A list of literals of one type, and how many were written.
    List(List, Kind, usize),
    /// A map of the request.
    Map(MapName),
    /// `request`
    Request,
    /// `request.client`
    Client,
}

/// The type of a value, by CEL's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int,
    Double,
    Text,
    Time,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "a bool",
            Self::Int => "an int",
            Self::Double => "a double",
            Self::Text => "a string",
            Self::Time => "a timestamp",
        })
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_, kind) => kind.fmt(f),
            Self::List(..) => f.write_str("a list"),
            Self::Map(_) => f.write_str("a map"),
            Self::Request => f.write_str("the request as a whole"),
            Self::Client => f.write_str("the client as a whole"),
        }
    }
}
