//! A route for each condition that a match may have, and a request that meets all of them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{ACCEPT, COOKIE};
use http::{HeaderName, Method};
use tidegate_core::Snapshot;
use tidegate_core::route::{
    Days, Networks, PathMatch, Pattern, RouteMatch, Template, TimeWindow, ValueMatch, Zone,
};
use tidegate_core::settings::Network;

/// What [`conditional`] knows.
pub(crate) const CONDITIONS: [&str; 18] = [
    "nothing",
    "exact",
    "prefix",
    "template",
    "rest",
    "path regex",
    "methods",
    "header",
    "header prefix",
    "header absent",
    "header regex",
    "query",
    "cookie",
    "clients",
    "server name",
    "subject",
    "subject regex",
    "time",
];

/// A route that has this condition and no other.
pub(crate) fn conditional(name: &str) -> RouteMatch {
    let mut route = RouteMatch::default();
    let tier = HeaderName::from_static("x-tier");
    match name {
        "nothing" => {}
        "exact" => route.path = Some(PathMatch::Exact("/users/7/orders".into())),
        "prefix" => route.path = Some(PathMatch::Prefix("/users".into())),
        "template" => route.path = Some(template("/users/{id}/orders")),
        "rest" => route.path = Some(template("/users/{rest=**}")),
        "path regex" => route.path = Some(PathMatch::Regex(pattern("^/users/([0-9]+)/"))),
        "methods" => route.methods = [Method::PUT, Method::GET].into(),
        "header" => route.headers = [(tier, "gold".into())].into(),
        "header prefix" => route.headers = [(tier, ValueMatch::Prefix("go".into()))].into(),
        "header absent" => route.headers = [(ACCEPT, ValueMatch::Absent)].into(),
        "header regex" => route.headers = [(tier, ValueMatch::Regex(pattern("^go+ld$")))].into(),
        "query" => route.query = [("page".into(), "2".into())].into(),
        "cookie" => route.cookies = [("beta".into(), "1".into())].into(),
        "clients" => route.clients = Some(Arc::new(networks())),
        "server name" => route.server_name = Some("*.example.com".into()),
        "subject" => route.client_subject = Some("CN=billing,O=Example".into()),
        "subject regex" => route.client_subject = Some(ValueMatch::Regex(pattern("^CN=bill"))),
        "time" => route.time = Some(Arc::new(window())),
        other => panic!("{other} is no condition"),
    }
    route
}

/// A request that meets each of them.
pub(crate) fn meeting() -> Snapshot {
    let fields = [
        (
            COOKIE,
            "theme=dark; session=5f2c9e1ab37d; beta=1".to_owned(),
        ),
        (HeaderName::from_static("x-tier"), "gold".to_owned()),
    ];
    let target = "/users/7/orders?size=20&page=2";
    Snapshot {
        client: Some([10, 7, 0, 1].into()),
        server_name: Some("shop.example.com".into()),
        client_subject: Some("CN=billing,O=Example".into()),
        // A Wednesday, 10:00 in Berlin.
        at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_784_102_400),
        ..Snapshot::new(Method::GET, "shop.example.com", target).with_fields(fields)
    }
}

fn pattern(text: &str) -> Arc<Pattern> {
    Arc::new(Pattern::new(text).expect("a pattern"))
}

fn template(text: &str) -> PathMatch {
    PathMatch::Template(Arc::new(Template::new(text).expect("a template")))
}

/// A thousand networks.
fn networks() -> Networks {
    let network = |at: u16| Network {
        address: [10, (at >> 8) as u8, at as u8, 0].into(),
        prefix: 24,
    };
    (0..1_000).map(|at| network(at * 2)).collect()
}

fn window() -> TimeWindow {
    TimeWindow {
        days: Days::NONE.with(0, 4),
        from: 8 * 60,
        to: 18 * 60,
        zone: Zone::named("Europe/Berlin").expect("a zone"),
    }
}
