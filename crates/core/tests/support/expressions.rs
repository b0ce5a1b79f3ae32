//! Expressions that ask the same as plain conditions do, and a few that only expressions can ask.

use std::sync::Arc;

use http::HeaderName;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use regex::Regex;
use tidegate_core::expression::{
    Arithmetic, Comparison, Conversion, Expression, Fact, List, MapName, Node, Range, Search,
    TimePart,
};
use tidegate_core::route::RouteMatch;
use tidegate_core::settings::Network;

/// Conditions of `matching` that [`equal`] knows.
pub(crate) const EQUALS: [&str; 10] = [
    "methods",
    "header",
    "header prefix",
    "header absent",
    "header regex",
    "query",
    "cookie",
    "clients",
    "subject",
    "time",
];

/// What only expressions can ask.
pub(crate) const OTHERS: [&str; 4] = ["either", "reckoned", "loop", "made texts"];

/// The expression that asks what the condition of this name asks. The request of `matching` meets it.
pub(crate) fn equal(name: &str) -> Arc<Expression> {
    let tier = || Node::Header(HeaderName::from_static("x-tier"));
    let root = match name {
        "methods" => one_of(Node::Fact(Fact::Method), &["PUT", "GET"]),
        "header" => is(tier(), "gold"),
        "header prefix" => Node::Search(Search::Start, pair(tier(), text("go"))),
        "header absent" => Node::Not(Node::HasHeader(http::header::ACCEPT).into()),
        "header regex" => Node::Matches(tier().into(), Regex::new("^go+ld$").expect("a regex")),
        "query" => is(Node::Entry(MapName::Query, "page".into()), "2"),
        "cookie" => is(Node::Entry(MapName::Cookies, "beta".into()), "1"),
        "clients" => Node::ClientIn(Box::new((0..1_000).map(network).collect())),
        "subject" => is(Node::Fact(Fact::ClientSubject), "CN=billing,O=Example"),
        "time" => Node::And([weekday(), hours()].into()),
        "either" => Node::Or(
            [is(tier(), "silver"), is(Node::Fact(Fact::Host), "a"), {
                is(Node::Entry(MapName::Query, "page".into()), "2")
            }]
            .into(),
        ),
        "reckoned" => Node::Compare(Comparison::Less, pair(doubled_page(), Node::Int(5))),
        "loop" => Node::Exists(
            Range::Names(MapName::Query),
            is(Node::Local(0), "page").into(),
        ),
        "made texts" => is(
            Node::Concat(pair(Node::Fact(Fact::ClientIp), tier())),
            "10.7.0.1gold",
        ),
        other => panic!("{other} has no expression"),
    };
    Arc::new(Expression::new(name.into(), root).expect("a small one"))
}

/// A route with the expression in the place of the condition.
pub(crate) fn asking(name: &str) -> RouteMatch {
    RouteMatch {
        when: Some(equal(name)),
        ..RouteMatch::default()
    }
}

fn text(text: &str) -> Node {
    Node::Text(text.into())
}

fn pair(left: Node, right: Node) -> Box<[Node; 2]> {
    Box::new([left, right])
}

fn is(node: Node, wanted: &str) -> Node {
    Node::Compare(Comparison::Equal, pair(node, text(wanted)))
}

fn one_of(node: Node, texts: &[&str]) -> Node {
    let texts = texts.iter().map(|text| Box::from(*text));
    Node::In(node.into(), List::texts(texts))
}

/// `int(request.query.page) * 2`
fn doubled_page() -> Node {
    let page = Node::Entry(MapName::Query, "page".into());
    let page = Node::Convert(Conversion::Int, page.into());
    Node::Arithmetic(Arithmetic::Multiply, pair(page, Node::Int(2)))
}

fn berlin() -> TimeZone {
    let zones = TimeZoneDatabase::bundled();
    zones.get("Europe/Berlin").expect("a zone")
}

fn part(part: TimePart) -> Node {
    Node::TimePart(part, berlin(), Node::Fact(Fact::Time).into())
}

fn weekday() -> Node {
    let days = List::Ints([1, 2, 3, 4, 5].into());
    Node::In(part(TimePart::DayOfWeek).into(), days)
}

fn hours() -> Node {
    let after = Node::Compare(
        Comparison::GreaterOrEqual,
        pair(part(TimePart::Hours), Node::Int(8)),
    );
    let before = Node::Compare(Comparison::Less, pair(part(TimePart::Hours), Node::Int(18)));
    Node::And([after, before].into())
}

/// Of the same thousand as the plain condition has.
fn network(at: u16) -> Network {
    let at = at * 2;
    Network {
        address: [10, (at >> 8) as u8, at as u8, 0].into(),
        prefix: 24,
    }
}
