//! The index finds what a plain search over all routes finds: by the rules as the manual has them, written
//! a second time without an index.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Method;
use http::header::{ACCEPT, COOKIE, RANGE};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use tidegate_core::route::{
    Days, Networks, PathMatch, Pattern, RouteMatch, RouteTable, Template, TimeWindow, ValueMatch,
    Zone, shadowed,
};
use tidegate_core::settings::Network;
use tidegate_core::{RouteIdx, Snapshot};

/// Names short enough that routes and requests meet often.
fn host() -> impl Strategy<Value = String> {
    vec(select(vec!["a", "b", "shop"]), 1..4).prop_map(|labels| labels.join("."))
}

fn path() -> impl Strategy<Value = String> {
    let segment = select(vec!["", "x", "y", "xy", "..", "%2F"]);
    let absolute = vec(segment, 0..4).prop_map(|segments| format!("/{}", segments.join("/")));
    prop_oneof![20 => absolute, 1 => Just("*".to_owned()), 1 => Just(String::new())]
}

fn route_host() -> impl Strategy<Value = String> {
    prop_oneof![host(), host().prop_map(|host| format!("*.{host}"))]
}

/// Exact paths, prefixes, templates and patterns, few enough that many of them match one path.
fn route_path() -> impl Strategy<Value = PathMatch> {
    let exact = path().prop_map(|path| PathMatch::Exact(path.into()));
    let prefix = path().prop_map(|path| PathMatch::Prefix(path.into()));
    let part = select(vec!["x", "y", "{}", "{}", ""]);
    let end = select(vec!["", "", "/**", "/{rest=**}"]);
    let template = (vec(part, 1..4), end).prop_map(|(parts, end)| {
        let named = parts.iter().enumerate().map(|(at, part)| match *part {
            "{}" => format!("/{{n{at}}}"),
            literal => format!("/{literal}"),
        });
        let template = Template::new(&(named.collect::<String>() + end));
        PathMatch::Template(Arc::new(template.expect("a template")))
    });
    let found = select(vec!["^/x", "y$", "/[xy]/", "^$", "%2F"]);
    let regex = found.prop_map(|text| PathMatch::Regex(pattern(text)));
    prop_oneof![2 => exact, 2 => prefix, 3 => template, 1 => regex]
}

fn pattern(text: &str) -> Arc<Pattern> {
    Arc::new(Pattern::new(text).expect("a pattern"))
}

/// Values that the conditions on values tell apart.
fn value() -> impl Strategy<Value = String> {
    select(vec!["", "a", "ab", "b"]).prop_map(str::to_owned)
}

fn value_match() -> impl Strategy<Value = ValueMatch> {
    prop_oneof![
        value().prop_map(|text| ValueMatch::Exact(text.into())),
        Just(ValueMatch::Present),
        Just(ValueMatch::Absent),
        select(vec!["a", "ab"]).prop_map(|text| ValueMatch::Prefix(text.into())),
        select(vec!["^a", "b$"]).prop_map(|text| ValueMatch::Regex(pattern(text))),
    ]
}

fn network() -> impl Strategy<Value = Network> {
    let nets = [
        ("10.0.0.0", 8),
        ("10.1.0.0", 16),
        ("192.0.2.1", 32),
        ("2001:db8::", 32),
        ("::", 0),
    ];
    select(nets.to_vec()).prop_map(|(address, prefix)| Network {
        address: address.parse().expect("an address"),
        prefix,
    })
}

/// Hours of a day in which the moments of [`moment`] are told apart.
fn window() -> impl Strategy<Value = TimeWindow> {
    let days = (0..7usize, 0..7usize).prop_map(|(first, last)| Days::NONE.with(first, last));
    let hours = (0..24u16, 1..24u16);
    (days, hours).prop_map(|(days, (from, length))| TimeWindow {
        days,
        from: from * 60,
        to: (from + length) % 24 * 60,
        zone: Zone::named("UTC").expect("a zone"),
    })
}

/// An hour of the first two weeks of 1970, which began on a Thursday.
fn moment() -> impl Strategy<Value = SystemTime> {
    (0..14 * 24u64).prop_map(|hour| SystemTime::UNIX_EPOCH + Duration::from_secs(3600 * hour))
}

fn named<N: Clone + std::fmt::Debug + 'static>(
    names: Vec<N>,
) -> impl Strategy<Value = Vec<(N, ValueMatch)>> {
    subsequence(names, 0..=2)
        .prop_flat_map(|names| {
            let values = vec(value_match(), names.len());
            (Just(names), values)
        })
        .prop_map(|(names, values)| names.into_iter().zip(values).collect())
}

/// The conditions beside host and path; mostly few, or nothing would be found.
fn conditions() -> impl Strategy<Value = RouteMatch> {
    let methods = subsequence(vec![Method::GET, Method::PUT], 0..=2);
    let names = || vec!["k".into(), "l".into()];
    let values = (
        prop_oneof![4 => Just(Vec::new()), 1 => named(vec![ACCEPT, RANGE])],
        prop_oneof![4 => Just(Vec::new()), 1 => named(names())],
        prop_oneof![4 => Just(Vec::new()), 1 => named(names())],
    );
    let connection = (
        option::weighted(0.2, vec(network(), 1..3)),
        option::weighted(0.2, route_host()),
        option::weighted(0.2, value_match()),
    );
    let time = option::weighted(0.2, window());
    (methods, values, connection, time).prop_map(|(methods, values, connection, time)| {
        let (headers, query, cookies) = values;
        let (clients, server_name, client_subject) = connection;
        RouteMatch {
            methods: methods.into(),
            headers: headers.into(),
            query: query.into(),
            cookies: cookies.into(),
            clients: clients.map(|list| Arc::new(Networks::new(list))),
            server_name: server_name.map(Into::into),
            client_subject,
            time: time.map(Arc::new),
            ..RouteMatch::default()
        }
    })
}

fn route() -> impl Strategy<Value = RouteMatch> {
    let bare = prop_oneof![Just(RouteMatch::default()), conditions()];
    let place = (option::of(route_host()), option::of(route_path()));
    (place, bare).prop_map(|((host, path), conditions)| RouteMatch {
        host: host.map(Into::into),
        path,
        ..conditions
    })
}

fn pairs() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    vec((select(vec!["k", "l", "m"]), value()), 0..3)
}

fn joined(pairs: &[(&str, String)], by: &str) -> String {
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join(by)
}

fn client() -> impl Strategy<Value = IpAddr> {
    let addresses = ["10.1.2.3", "10.2.2.3", "192.0.2.1", "2001:db8::1", "::1"];
    select(
        addresses
            .map(|text| text.parse().expect("an address"))
            .to_vec(),
    )
}

fn request_host() -> impl Strategy<Value = String> {
    let dressed = (host(), any::<bool>(), "\\.{0,2}").prop_map(|(host, upper, dots)| {
        let host = if upper {
            host.to_ascii_uppercase()
        } else {
            host
        };
        host + &dots
    });
    prop_oneof![20 => dressed, 1 => "[.a]{0,3}"]
}

fn request() -> impl Strategy<Value = Snapshot> {
    let method = select(vec![Method::GET, Method::PUT, Method::POST]);
    let headers = vec((select(vec![ACCEPT, RANGE]), value()), 0..3);
    let connection = (
        option::of(client()),
        option::of(request_host()),
        option::of(value()),
        moment(),
    );
    let said = (method, request_host(), path(), pairs(), pairs(), headers);
    (said, connection).prop_map(|(said, connection)| {
        let (method, host, path, query, cookies, mut headers) = said;
        let (client, server_name, client_subject, at) = connection;
        if !cookies.is_empty() {
            headers.push((COOKIE, joined(&cookies, "; ")));
        }
        let target = match query.is_empty() {
            true => path,
            false => format!("{path}?{}", joined(&query, "&")),
        };
        Snapshot {
            client,
            server_name: server_name.map(Into::into),
            client_subject: client_subject.map(Into::into),
            at,
            ..Snapshot::new(method, &host, &target).with_fields(headers)
        }
    })
}

/// How specific the host is that matched: exact, wildcard by length, any.
fn host_rank(wanted: Option<&str>, host: &str) -> Option<usize> {
    let Some(wanted) = wanted else {
        return Some(0);
    };
    let host = host.to_ascii_lowercase();
    let host = host.trim_end_matches('.');
    match wanted.strip_prefix("*.") {
        None => (wanted == host).then_some(usize::MAX),
        Some(below) => host
            .strip_suffix(below)
            .and_then(|label| label.strip_suffix('.'))
            .filter(|label| !label.is_empty())
            .map(|_| below.len()),
    }
}

/// How specific the path is that matched: its kind first, then what each of its segments is (2: a literal,
/// 1: a name), then, for patterns, their order.
type PathRank = (u8, Vec<u8>, Reverse<usize>);

fn path_rank(routes: &[RouteMatch], route: &RouteMatch, path: &str) -> Option<PathRank> {
    let whole = |kind, steps| (kind, steps, Reverse(0));
    match &route.path {
        None => Some(whole(0, Vec::new())),
        Some(PathMatch::Exact(wanted)) => (**wanted == *path).then(|| whole(4, Vec::new())),
        Some(PathMatch::Prefix(prefix)) => {
            let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
            let rest = path.strip_prefix(prefix)?;
            let is_whole = prefix.is_empty() || rest.is_empty() || rest.starts_with('/');
            let steps = vec![2; segments(prefix)];
            is_whole.then(|| whole(if prefix.is_empty() { 0 } else { 2 }, steps))
        }
        Some(PathMatch::Template(template)) => {
            let text = template.text();
            let open = ["/**", "/{rest=**}"]
                .iter()
                .find_map(|end| text.strip_suffix(end));
            let rank = template_rank(open.unwrap_or(text), open.is_some(), path)?;
            Some(match (open.is_some(), rank.is_empty(), rank.contains(&1)) {
                (true, true, _) => whole(0, rank),
                (true, false, _) => whole(2, rank),
                (false, _, true) => whole(3, rank),
                (false, _, false) => whole(4, Vec::new()),
            })
        }
        Some(PathMatch::Regex(wanted)) => {
            let is_it = |route: &RouteMatch| route.path == Some(PathMatch::Regex(wanted.clone()));
            let first = routes
                .iter()
                .position(|other| is_it(other) && other.host == route.host);
            let found = regex_finds(wanted.text(), path);
            found.then(|| (1, Vec::new(), Reverse(first.expect("itself"))))
        }
    }
}

/// The patterns of [`route_path`], by hand.
fn regex_finds(text: &str, path: &str) -> bool {
    match text {
        "^/x" => path.starts_with("/x"),
        "y$" => path.ends_with('y'),
        "/[xy]/" => path.contains("/x/") || path.contains("/y/"),
        "^$" => path.is_empty(),
        "%2F" => path.contains("%2F"),
        other => panic!("{other} is not known"),
    }
}

fn segments(path: &str) -> usize {
    path.matches('/').count().max(usize::from(!path.is_empty()))
}

/// What each segment of a template without its rest is, if it matches.
fn template_rank(template: &str, open: bool, path: &str) -> Option<Vec<u8>> {
    let wanted: Vec<&str> = template.split('/').skip(1).collect();
    let given: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let fits = if open {
        given.len() >= wanted.len()
    } else {
        given.len() == wanted.len()
    };
    let rank = wanted
        .iter()
        .zip(&given)
        .map(|(wanted, given)| match *wanted {
            name if name.starts_with('{') => (!given.is_empty()).then_some(1),
            literal => (literal == *given).then_some(2),
        });
    fits.then(|| rank.collect()).flatten()
}

/// Every value of each name, as the client sent them.
fn values_of(text: &str, by: &str) -> HashMap<String, Vec<String>> {
    let mut values: HashMap<String, Vec<String>> = HashMap::new();
    for pair in text.split(by).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').expect("pairs");
        let all = values.entry(name.to_owned()).or_default();
        all.push(value.to_owned());
    }
    values
}

fn value_holds(wanted: &ValueMatch, values: &[String]) -> bool {
    match wanted {
        ValueMatch::Exact(text) => values.iter().any(|value| **value == **text),
        ValueMatch::Present => !values.is_empty(),
        ValueMatch::Absent => values.is_empty(),
        ValueMatch::Prefix(text) => values.iter().any(|value| value.starts_with(&**text)),
        ValueMatch::Regex(pattern) => values.iter().any(|value| match pattern.text() {
            "^a" => value.starts_with('a'),
            "b$" => value.ends_with('b'),
            other => panic!("{other} is not known"),
        }),
    }
}

fn all_hold<N: AsRef<str>>(
    wanted: &[(N, ValueMatch)],
    given: &HashMap<String, Vec<String>>,
) -> bool {
    wanted.iter().all(|(name, wanted)| {
        let values = given.get(name.as_ref());
        value_holds(wanted, values.map_or(&[], Vec::as_slice))
    })
}

fn in_network(net: &Network, address: IpAddr) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (32, u128::from(address.to_bits()) << 96),
        IpAddr::V6(address) => (128, address.to_bits()),
    };
    let ((width, net_bits), (other, bits)) = (bits(net.address), bits(address));
    let same = (0..u32::from(net.prefix)).all(|bit| (net_bits ^ bits) >> (127 - bit) & 1 == 0);
    width == other && same
}

fn in_window(window: &TimeWindow, at: SystemTime) -> bool {
    let seconds = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    let hours = seconds.as_secs() / 3600;
    let names: Vec<&str> = window.days.names().collect();
    // 1970 began on a Thursday. Hours are walked back to the one in which the window begins.
    let day =
        |hours: u64| ["thu", "fri", "sat", "sun", "mon", "tue", "wed"][(hours / 24 % 7) as usize];
    let length = (window.to / 60 + 24 - window.from / 60) % 24;
    (0..u64::from(length)).any(|back| {
        let begin = hours + 7 * 24 - back;
        begin % 24 == u64::from(window.from / 60) && names.contains(&day(begin))
    })
}

/// How many conditions there are, if all of them hold.
fn conditions_held(route: &RouteMatch, request: &Snapshot) -> Option<usize> {
    let mut fields: HashMap<String, Vec<String>> = HashMap::new();
    for (name, value) in &request.fields {
        let value = String::from_utf8(value.to_vec()).expect("text");
        fields.entry(name.to_string()).or_default().push(value);
    }
    let query = request
        .target
        .split_once('?')
        .map_or("", |(_, query)| query);
    let (query, lines) = (values_of(query, "&"), fields.get("cookie"));
    let cookies = values_of(lines.map_or("", |lines| &lines[0]), "; ");
    let headers: Vec<(&str, ValueMatch)> = route
        .headers
        .iter()
        .map(|(name, wanted)| (name.as_str(), wanted.clone()))
        .collect();
    let subject: Vec<String> = request
        .client_subject
        .iter()
        .map(ToString::to_string)
        .collect();
    let given = [
        (
            !route.methods.is_empty(),
            route.methods.contains(&request.method),
        ),
        (
            route.clients.is_some(),
            request.client.is_some_and(|client| {
                let networks = route.clients.as_ref();
                networks.is_some_and(|list| list.iter().any(|net| in_network(net, client)))
            }),
        ),
        (
            route.server_name.is_some(),
            request
                .server_name
                .as_deref()
                .is_some_and(|name| host_rank(route.server_name.as_deref(), name).is_some()),
        ),
        (
            route.client_subject.is_some(),
            route
                .client_subject
                .as_ref()
                .is_some_and(|wanted| value_holds(wanted, &subject)),
        ),
        (
            route.time.is_some(),
            route
                .time
                .as_ref()
                .is_some_and(|window| in_window(window, request.at)),
        ),
    ];
    let hold = given.iter().all(|(wanted, holds)| !wanted || *holds)
        && all_hold(&headers, &fields)
        && all_hold(&route.query, &query)
        && all_hold(&route.cookies, &cookies);
    let lists = route.headers.len() + route.query.len() + route.cookies.len();
    hold.then(|| lists + given.iter().filter(|(wanted, _)| *wanted).count())
}

/// Every route looked at, the best rank taken.
fn reference(routes: &[RouteMatch], request: &Snapshot) -> Option<RouteIdx> {
    let path = request.target.split('?').next().unwrap_or_default();
    let ranked = routes.iter().enumerate().filter_map(|(at, route)| {
        let host = host_rank(route.host.as_deref(), &request.host)?;
        let path = path_rank(routes, route, path)?;
        Some((host, path, conditions_held(route, request)?, Reverse(at)))
    });
    ranked.max().map(|(.., Reverse(at))| RouteIdx(at as u32))
}

/// Routes and requests made of any bytes, judged by both: what the fuzz target calls.
///
/// # Panics
/// When the index and the plain search disagree.
#[allow(dead_code, reason = "for the fuzz target")]
pub(crate) fn made_of(bytes: &[u8]) {
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    // The bytes are a seed and not the choices themselves: those would run out, and what draws again
    // until it likes what it has drawn would never end.
    let mut seed = [0; 32];
    let taken = bytes.len().min(seed.len());
    seed[..taken].copy_from_slice(&bytes[..taken]);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let all = (vec(route(), 0..40), vec(request(), 1..20));
    let Ok(made) = all.new_tree(&mut runner) else {
        return;
    };
    let (routes, requests) = made.current();
    let table = RouteTable::new(&routes);
    for request in requests {
        let expected = reference(&routes, &request);
        assert_eq!(table.find(&request), expected, "{request:?} of {routes:?}");
    }
}

/// The seeds of the fuzz target, and bytes cut from them.
#[test]
fn the_seeds_of_routes_hold() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/routes");
    let entries = std::fs::read_dir(corpus).expect("the corpus is there");
    for entry in entries {
        let bytes = std::fs::read(entry.expect("readable").path()).expect("readable");
        for cut in (0..bytes.len()).step_by(32) {
            made_of(&bytes[cut..]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn the_index_agrees_with_a_plain_search(routes in vec(route(), 0..40), requests in vec(request(), 1..20)) {
        let table = RouteTable::new(&routes);
        for request in requests {
            let found = table.find(&request);
            prop_assert_eq!(found, reference(&routes, &request), "{:?}", request);
        }
    }

    #[test]
    fn a_shadowed_route_is_never_found(routes in vec(route(), 0..40), requests in vec(request(), 1..20)) {
        let never: Vec<_> = shadowed(&routes).into_iter().map(|(route, _)| route).collect();
        for request in requests {
            let found = reference(&routes, &request);
            prop_assert!(found.is_none_or(|found| !never.contains(&found)));
        }
    }

    /// What captures of a template are put back in their places make the path again.
    #[test]
    fn captures_make_the_path_again(wanted in route_path(), path in path()) {
        let route = RouteMatch { path: Some(wanted.clone()), ..RouteMatch::default() };
        let PathMatch::Template(template) = wanted else { return Ok(()) };
        let matches = path_rank(std::slice::from_ref(&route), &route, &path).is_some();
        prop_assert_eq!(template.captures(&path).is_some(), matches);
        if matches {
            let captures = route.captures(&path);
            let made = captures.iter().fold(template.text().to_owned(), |text, (name, value)| {
                let name = name.expect("names");
                text.replace(&format!("{{{name}}}"), value).replace(&format!("{{{name}=**}}"), value)
            });
            let made = made.strip_suffix("/**").unwrap_or(&made);
            prop_assert!(path.starts_with(made.strip_suffix('/').unwrap_or(made)), "{} {}", path, made);
        }
    }

    #[test]
    fn any_text_is_a_request(host in ".{0,300}", path in "[^?]{0,300}", routes in vec(route(), 0..10)) {
        let asked = Snapshot::new(Method::GET, &host, &path);
        let found = RouteTable::new(&routes).find(&asked);
        if asked.host.trim_end_matches('.').len() <= 253 {
            prop_assert_eq!(found, reference(&routes, &asked));
        }
    }
}
