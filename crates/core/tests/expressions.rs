//! Expressions ask what plain conditions ask, and allocate nothing.

use std::hint::black_box;

use http::{HeaderName, Method};
use proptest::prelude::*;
use tidegate_core::Snapshot;
use tidegate_core::expression::{
    Expression, Fault, List, MAX_DEPTH, MAX_LOOPS, MAX_NODES, MapName, Node, Range, Search,
    TooComplex,
};
use tidegate_core::route::{RouteMatch, RouteTable};

#[path = "support/counting.rs"]
mod counting;
#[path = "support/expressions.rs"]
mod expressions;
#[path = "support/matching.rs"]
mod matching;

use counting::allocations;
use expressions::{EQUALS, OTHERS, asking, equal};
use matching::{CONDITIONS, conditional, meeting};

fn takes(route: &RouteMatch, request: &Snapshot) -> bool {
    RouteTable::new([route]).find(request).is_some()
}

/// Requests that differ from the one that meets everything in what conditions ask for.
fn requests() -> Vec<Snapshot> {
    let met = meeting();
    let field = |name, value: &str| (HeaderName::from_static(name), value.as_bytes().into());
    let with = |change: &dyn Fn(&mut Snapshot)| {
        let mut request = met.clone();
        change(&mut request);
        request
    };
    vec![
        met.clone(),
        with(&|one| one.method = Method::POST),
        with(&|one| one.target = "/users/7/orders?page=3".into()),
        with(&|one| one.fields = Box::default()),
        with(&|one| one.fields = Box::new([field("x-tier", "gooold"), field("accept", "*/*")])),
        with(&|one| one.client = Some([10, 7, 1, 1].into())),
        with(&|one| one.client = None),
        with(&|one| one.client_subject = None),
        with(&|one| one.at += std::time::Duration::from_secs(12 * 3600)),
        with(&|one| one.at += std::time::Duration::from_secs(4 * 86_400)),
    ]
}

#[test]
fn an_expression_asks_what_the_plain_condition_asks() {
    for name in EQUALS {
        let mut outcomes = [0, 0];
        for request in requests() {
            let plain = takes(&conditional(name), &request);
            assert_eq!(takes(&asking(name), &request), plain, "{name} {request:?}");
            outcomes[usize::from(plain)] += 1;
        }
        assert!(
            outcomes.iter().all(|count| *count > 0),
            "{name} tells nothing apart"
        );
        assert!(CONDITIONS.contains(&name));
    }
}

#[test]
fn evaluating_allocates_nothing() {
    let mut request = meeting();
    request.host = "Shop.Example.COM".into();
    for name in EQUALS.into_iter().chain(OTHERS) {
        let expression = equal(name);
        // A regular expression makes its scratch memory at its first search on a thread.
        assert!(expression.holds(&request), "{name}");
        let count = allocations(|| {
            black_box(expression.holds(&request));
        });
        assert_eq!(count, 0, "{name}");
    }
}

#[test]
fn a_tree_is_bounded() {
    let source = || "x".into();
    let deep = (0..MAX_DEPTH).fold(Node::Bool(true), |node, _| Node::Not(node.into()));
    assert_eq!(Expression::new(source(), deep), Err(TooComplex::Depth));
    let each = |body: Node| Node::Exists(Range::List(List::Bools([true].into())), body.into());
    let loops = (0..=MAX_LOOPS).fold(Node::Bool(true), |body, _| each(body));
    assert_eq!(Expression::new(source(), loops), Err(TooComplex::Loops));
    let wide = |parts: usize| Node::And(vec![Node::Bool(true); parts].into());
    assert!(Expression::new(source(), wide(MAX_NODES - 1)).is_ok());
    assert_eq!(
        Expression::new(source(), wide(MAX_NODES)),
        Err(TooComplex::Nodes(MAX_NODES + 1))
    );
}

#[test]
fn a_tree_with_wrong_types_fails_and_harms_nobody() {
    let number = || Node::Int(1);
    let wrong = [
        Node::Not(number().into()),
        Node::Negate(Node::Bool(true).into()),
        Node::And([number()].into()),
        Node::Size(number().into()),
        Node::Local(3),
        Node::Int(1),
        Node::Concat([number(), number()].into()),
    ];
    for root in wrong {
        let expression = Expression::new("x".into(), root.clone()).expect("small");
        assert_eq!(
            expression.decide(&meeting()),
            Err(Fault::Mismatch),
            "{root:?}"
        );
    }
}

fn named_like(map: MapName, start: &str) -> Node {
    let starts = [Node::Local(0), Node::Text(start.into())];
    Node::Exists(
        Range::Names(map),
        Node::Search(Search::Start, starts.into()).into(),
    )
}

/// However much a client sends before it.
#[test]
fn a_loop_comes_to_the_field_that_counts() {
    let expression = Expression::new("x".into(), named_like(MapName::Headers, "x-debug-"));
    let expression = expression.expect("small");
    let field = |name: String| {
        let name = HeaderName::try_from(name).expect("a name");
        (name, b"1"[..].into())
    };
    let filler = |n| field(format!("x-filler-that-is-rather-long-{n}"));
    let mut request = meeting();
    request.fields = (0..120).map(filler).collect();
    assert_eq!(expression.decide(&request), Ok(false));
    let last = field("x-debug-all".to_owned());
    request.fields = (0..120).map(filler).chain([last]).collect();
    assert_eq!(expression.decide(&request), Ok(true));
}

/// What is no text costs steps as well: loops in loops over it end.
#[test]
fn names_that_are_no_texts_are_counted() {
    let inner = named_like(MapName::Cookies, "a");
    let both = Node::And([Node::Bool(true), inner].into());
    let outer = Node::Exists(Range::Names(MapName::Cookies), both.into());
    let expression = Expression::new("x".into(), outer).expect("small");
    let mut request = meeting();
    let line: Vec<u8> = b"x=;".iter().copied().cycle().take(30_000).collect();
    let line = [&line[..], &b"\xff=;".repeat(10_000)].concat();
    request.fields = Box::new([(http::header::COOKIE, line[..].into())]);
    assert_eq!(expression.decide(&request), Err(Fault::Budget));
    let line = b"\xff=;".repeat(20_000);
    request.fields = Box::new([(http::header::COOKIE, line[..].into())]);
    assert_eq!(expression.decide(&request), Err(Fault::Budget));
}

proptest! {
    /// Whatever the fields of a request hold, an expression that asks for them ends.
    #[test]
    fn no_field_breaks_an_evaluation(value in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut request = meeting();
        request.fields = Box::new([
            (HeaderName::from_static("x-tier"), value.clone().into()),
            (http::header::COOKIE, value.clone().into()),
        ]);
        for name in EQUALS.into_iter().chain(OTHERS) {
            let decided = equal(name).decide(&request);
            let is_text = std::str::from_utf8(&value).is_ok();
            prop_assert!(is_text || name != "header" || decided == Err(Fault::NotText));
        }
    }
}
