//! What an expression is made of once it is checked. Whoever makes such a tree sees to the types; a
//! wrong one fails when it is evaluated ([`Fault::Mismatch`](super::Fault::Mismatch)) and harms nobody.

use http::HeaderName;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use regex::Regex;

use crate::route::Networks;

/// A part of an expression.
#[derive(Clone, Debug)]
pub enum Node {
    /// `true`, `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// A text.
    Text(Box<str>),
    /// A moment.
    Time(Timestamp),
    /// A fact of the request.
    Fact(Fact),
    /// Whether the request has it.
    HasFact(Fact),
    /// The first field of this name. Its value must be UTF-8.
    Header(HeaderName),
    /// Whether there is a field of this name, whatever its value.
    HasHeader(HeaderName),
    /// The first value of this name in a map that is not that of the headers.
    Entry(MapName, Box<str>),
    /// Whether there is one.
    HasEntry(MapName, Box<str>),
    /// Something that can never be there, as an entry: a header's name that no field can have.
    Nothing,
    /// The variable of a loop, counted from the outermost.
    Local(u8),
    /// `!x`
    Not(Box<Node>),
    /// `-x`
    Negate(Box<Node>),
    /// `x && y && ...`: false if one is, whatever becomes of the others.
    And(Box<[Node]>),
    /// `x || y || ...`: true if one is, whatever becomes of the others.
    Or(Box<[Node]>),
    /// `x ? y : z`
    Choose(Box<[Node; 3]>),
    /// `x == y` and so on, of two of one type.
    Compare(Comparison, Box<[Node; 2]>),
    /// `x + y` and so on, of two of one type.
    Arithmetic(Arithmetic, Box<[Node; 2]>),
    /// `x + y`, of two texts.
    Concat(Box<[Node; 2]>),
    /// `x in [..]`
    In(Box<Node>, List),
    /// The number of code points of a text.
    Size(Box<Node>),
    /// Whether the first text has the second at its start, its end, or somewhere.
    Search(Search, Box<[Node; 2]>),
    /// Whether the pattern matches somewhere in the text.
    Matches(Box<Node>, Regex),
    /// A value of another type.
    Convert(Conversion, Box<Node>),
    /// Whether the client is in one of these networks.
    ClientIn(Box<Networks>),
    /// Whether the address that the text is, is in one of these networks.
    AddressIn(Box<Node>, Box<Networks>),
    /// A part of a moment as a clock in this zone shows it.
    TimePart(TimePart, TimeZone, Box<Node>),
    /// `range.exists(x, body)`: true if it is for one element, whatever becomes of the others.
    Exists(Range, Box<Node>),
    /// `range.all(x, body)`: false if it is for one element, whatever becomes of the others.
    ForAll(Range, Box<Node>),
}

/// A fact of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Its method, in the case that it has.
    Method,
    /// Its host, in lower case, without port and without dots at its end.
    Host,
    /// Its path, as it is written.
    Path,
    /// `https` or `http`.
    Scheme,
    /// The client's address: an IPv4 address that came as IPv6 as IPv4.
    ClientIp,
    /// The subject of the client's certificate. Not there without one.
    ClientSubject,
    /// The name of the TLS handshake. Not there without one.
    ServerName,
    /// The moment.
    Time,
}

/// A map of texts that a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapName {
    /// The fields, their names in lower case.
    Headers,
    /// The parameters of the query, as they are written; one without `=` is empty.
    Query,
    /// The cookies.
    Cookies,
}

/// What is gone through.
#[derive(Clone, Debug)]
pub enum Range {
    /// A list.
    List(List),
    /// The names of a map's entries.
    Names(MapName),
}

/// A list of values that are known when it is compiled. Its order is that of texts, so that it can be
/// searched; nothing that can be asked of a list depends on it.
#[derive(Clone, Debug)]
pub enum List {
    /// Sorted, each once.
    Texts(Box<[Box<str>]>),
    /// Whole numbers.
    Ints(Box<[i64]>),
    /// Numbers.
    Doubles(Box<[f64]>),
    /// Truths.
    Bools(Box<[bool]>),
    /// Moments.
    Times(Box<[Timestamp]>),
}

/// How two are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// What is made of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`, of whole numbers.
    Remainder,
}

/// Where one text is looked for in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// At its start.
    Start,
    /// At its end.
    End,
    /// Anywhere.
    Anywhere,
}

/// What a value is made into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// A whole number: of a text, of a number (towards 0), of a moment (seconds since 1970).
    Int,
    /// A number: of a text, of a whole number.
    Double,
    /// A text: of a whole number, of a truth.
    Text,
}

/// A part of a moment, with CEL's counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimePart {
    /// The year.
    FullYear,
    /// From 0.
    Month,
    /// Of the month, from 1.
    Date,
    /// Of the month, from 0.
    DayOfMonth,
    /// From 0, Sunday.
    DayOfWeek,
    /// From 0.
    DayOfYear,
    /// 0 to 23.
    Hours,
    /// 0 to 59.
    Minutes,
    /// 0 to 59.
    Seconds,
    /// 0 to 999.
    Milliseconds,
}

impl Node {
    /// The nodes right below it.
    pub fn children(&self) -> &[Node] {
        match self {
            Node::Not(one)
            | Node::Negate(one)
            | Node::In(one, _)
            | Node::Size(one)
            | Node::Matches(one, _)
            | Node::Convert(_, one)
            | Node::AddressIn(one, _)
            | Node::TimePart(_, _, one)
            | Node::Exists(_, one)
            | Node::ForAll(_, one) => std::slice::from_ref(one),
            Node::Compare(_, two)
            | Node::Arithmetic(_, two)
            | Node::Concat(two)
            | Node::Search(_, two) => &two[..],
            Node::Choose(three) => &three[..],
            Node::And(many) | Node::Or(many) => many,
            Node::Bool(_)
            | Node::Int(_)
            | Node::Double(_)
            | Node::Text(_)
            | Node::Time(_)
            | Node::Fact(_)
            | Node::HasFact(_)
            | Node::Header(_)
            | Node::HasHeader(_)
            | Node::Entry(..)
            | Node::HasEntry(..)
            | Node::Nothing
            | Node::Local(_)
            | Node::ClientIn(_) => &[],
        }
    }
}

impl List {
    /// A list of texts.
    pub fn texts(texts: impl IntoIterator<Item = Box<str>>) -> Self {
        let mut texts: Vec<_> = texts.into_iter().collect();
        texts.sort();
        texts.dedup();
        Self::Texts(texts.into())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Texts(list) => list.len(),
            Self::Ints(list) => list.len(),
            Self::Doubles(list) => list.len(),
            Self::Bools(list) => list.len(),
            Self::Times(list) => list.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
