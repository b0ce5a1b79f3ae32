//! Expressions and requests at random: such as type, and such as have something to do with each other.

use http::{HeaderName, Method};
use proptest::prelude::*;
use proptest::sample::select;
use tidegate_core::Snapshot;

const TEXTS: [&str; 14] = [
    "''",
    "'a'",
    "'GET'",
    "'POST'",
    "'/a'",
    "'/a/b'",
    "'gold'",
    "'1'",
    "'-3'",
    "'2.5'",
    "'10.1.2.3'",
    "'shop.example'",
    "'ä'",
    "'https'",
];

const FACTS: [&str; 15] = [
    "request.method",
    "request.host",
    "request.path",
    "request.scheme",
    "request.server_name",
    "request.client.ip",
    "request.client.subject",
    "request.headers['x-tier']",
    "request.headers['x-count']",
    "request.headers.accept",
    "request.query['page']",
    "request.query.q",
    "request.cookies['user']",
    "request.cookies.beta",
    "string(int(request.query.page))",
];

const PRESENT: [&str; 9] = [
    "has(request.server_name)",
    "has(request.client.subject)",
    "has(request.method)",
    "has(request.query.page)",
    "has(request.cookies.user)",
    "has(request.headers.accept)",
    "'x-tier' in request.headers",
    "'q' in request.query",
    "'beta' in request.cookies",
];

const INTS: [&str; 7] = [
    "0",
    "1",
    "-2",
    "3",
    "7",
    "9223372036854775807",
    "-9223372036854775808",
];

const DOUBLES: [&str; 6] = ["0.0", "1.0", "-2.5", "3.75", "1e300", "1e18"];

const PATTERNS: [&str; 6] = ["'^/a'", "'[0-9]+$'", "'(?i)get'", "'a|b'", "'.'", "'ä$'"];

const PARTS: [&str; 9] = [
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getMinutes",
    "getSeconds",
];

const ZONES: [&str; 5] = [
    "",
    "'UTC'",
    "'Europe/Berlin'",
    "'America/New_York'",
    "'+05:30'",
];

const ORDERS: [&str; 6] = ["==", "!=", "<", "<=", ">", ">="];

const TARGETS: [&str; 6] = [
    "/",
    "/a",
    "/a/b?page=1",
    "/a?q=%C3%A4&page=-3",
    "/a/b?page=x&q=",
    "/?q",
];

const CLIENTS: [[u8; 4]; 2] = [[10, 1, 2, 3], [192, 0, 2, 1]];

type Texts = BoxedStrategy<String>;

/// Expressions of each type, up to some depth.
#[derive(Clone)]
struct Level {
    truth: Texts,
    int: Texts,
    double: Texts,
    text: Texts,
}

fn words(words: &'static [&'static str]) -> Texts {
    select(words).prop_map(str::to_owned).boxed()
}

/// A text made of others, in their places.
macro_rules! made {
    ($format:literal, $($part:expr),+) => {
        made!(@ $format, [$($part),+])
    };
    (@ $format:literal, [$a:expr]) => {
        ($a).prop_map(|a| format!($format, a)).boxed()
    };
    (@ $format:literal, [$a:expr, $b:expr]) => {
        ($a, $b).prop_map(|(a, b)| format!($format, a, b)).boxed()
    };
    (@ $format:literal, [$a:expr, $b:expr, $c:expr]) => {
        ($a, $b, $c).prop_map(|(a, b, c)| format!($format, a, b, c)).boxed()
    };
}

impl Level {
    fn first() -> Self {
        let part = (select(&PARTS[..]), select(&ZONES[..]));
        Self {
            truth: prop_oneof![words(&["true", "false"]), words(&PRESENT)].boxed(),
            int: prop_oneof![
                words(&INTS),
                part.prop_map(|(part, zone)| format!("request.time.{part}({zone})")),
            ]
            .boxed(),
            double: words(&DOUBLES),
            text: prop_oneof![words(&TEXTS), words(&FACTS)].boxed(),
        }
    }

    /// One deeper than this.
    fn next(&self) -> Self {
        let Self {
            truth,
            int,
            double,
            text,
        } = self.clone();
        let orders = || select(&ORDERS[..]);
        Self {
            truth: prop_oneof![
                1 => truth.clone(),
                3 => made!("({} && {})", truth.clone(), truth.clone()),
                3 => made!("({} || {})", truth.clone(), truth.clone()),
                1 => made!("!({})", truth.clone()),
                1 => made!("({} ? {} : {})", truth.clone(), truth.clone(), truth.clone()),
                4 => made!("{} {} {}", text.clone(), orders(), text.clone()),
                2 => made!("{} {} {}", int.clone(), orders(), int.clone()),
                2 => made!("{} {} {}", double.clone(), orders(), double.clone()),
                2 => made!("{} in [{}, {}]", text.clone(), words(&TEXTS), words(&TEXTS)),
                1 => made!("{} in [{}, {}]", int.clone(), words(&INTS), words(&INTS)),
                1 => made!("{}.startsWith({})", text.clone(), text.clone()),
                1 => made!("{}.endsWith({})", text.clone(), text.clone()),
                1 => made!("{}.contains({})", text.clone(), text.clone()),
                1 => made!("{}.matches({})", text.clone(), words(&PATTERNS)),
                1 => made!("ip_in({}, '10.0.0.0/8')", text.clone()),
                1 => made!("[{}, {}].exists(x, x == {})", words(&TEXTS), words(&TEXTS), text.clone()),
                1 => made!("[{}, {}].all(x, {} / x > 1)", words(&INTS), words(&INTS), int.clone()),
                1 => made!("request.query.exists(x, x + {} == {})", text.clone(), text.clone()),
                1 => made!("request.headers.all(x, x != {} || {})", words(&TEXTS), truth.clone()),
                1 => words(&["request.time > timestamp('2026-01-01T00:00:00Z')"]),
            ]
            .boxed(),
            int: prop_oneof![
                2 => int.clone(),
                3 => made!("({} {} {})", int.clone(), select(&["+", "-", "*", "/", "%"][..]), int.clone()),
                1 => made!("-({})", int.clone()),
                1 => made!("size({})", text.clone()),
                1 => made!("int({})", text.clone()),
                1 => made!("int({})", double.clone()),
                1 => made!("({} ? {} : {})", truth.clone(), int.clone(), int.clone()),
            ]
            .boxed(),
            double: prop_oneof![
                2 => double.clone(),
                3 => made!("({} {} {})", double.clone(), select(&["+", "-", "*", "/"][..]), double.clone()),
                1 => made!("-({})", double.clone()),
                1 => made!("double({})", int.clone()),
                1 => made!("double({})", text.clone()),
            ]
            .boxed(),
            text: prop_oneof![
                4 => text.clone(),
                1 => made!("({} + {})", text.clone(), text.clone()),
                1 => made!("({} ? {} : {})", truth.clone(), text.clone(), text),
                1 => made!("string({})", int),
                1 => made!("string({})", truth),
            ]
            .boxed(),
        }
    }
}

/// An expression that is a truth.
pub(crate) fn expression() -> impl Strategy<Value = String> {
    let shallow = Level::first().next();
    let deep = shallow.next();
    prop_oneof![shallow.truth, deep.truth.clone(), deep.next().truth]
}

fn maybe(
    name: &'static str,
    values: &'static [&'static str],
) -> BoxedStrategy<Option<(HeaderName, String)>> {
    let value = proptest::option::of(select(values));
    let field = move |value: &str| (HeaderName::from_static(name), value.to_owned());
    value.prop_map(move |value| value.map(field)).boxed()
}

fn fields() -> impl Strategy<Value = Vec<(HeaderName, String)>> {
    let fields = (
        maybe("x-tier", &["gold", "", "GET", "ä"]),
        maybe("x-count", &["1", "-3", "2.5", "a", " 1"]),
        maybe("accept", &["a", "/a"]),
        maybe("cookie", &["user=a", "beta=1; user=gold", "x=1;beta="]),
    );
    fields.prop_map(|(a, b, c, d)| [a, b, c, d].into_iter().flatten().collect())
}

/// A request.
pub(crate) fn request() -> impl Strategy<Value = Snapshot> {
    let seconds = 0u64..4_000_000_000;
    (
        select(vec![Method::GET, Method::POST]),
        select(vec!["shop.example", "Shop.Example", "a"]),
        select(&TARGETS[..]).prop_map(str::to_owned),
        fields(),
        seconds,
        select(&CLIENTS[..]),
        any::<[bool; 3]>(),
    )
        .prop_map(
            |(method, host, target, fields, seconds, client, [tls, named, known])| Snapshot {
                scheme: if tls { "https" } else { "http" },
                at: std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds),
                client: Some(client.into()),
                server_name: named.then(|| "shop.example".into()),
                client_subject: known.then(|| "CN=a".into()),
                ..Snapshot::new(method, host, &target).with_fields(fields)
            },
        )
}
