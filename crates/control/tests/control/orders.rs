//! Drains and dials as an operator orders them, over real connections to the admin listener.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_control::{Deadlines, DrainOrder};
use tidegate_core::{Dial, Drain, Health, InFlight};

use crate::support::{Answer, Site, ask, assert_problem, config, until};

/// A site, and its admin listener.
struct Desk {
    site: Site,
    admin: tidegate_control::Admin,
}

impl Desk {
    async fn new(text: &str) -> Self {
        let site = Site::new(text);
        let (admin, _) = site.admin().await;
        Self { site, admin }
    }

    async fn ask(&self, method: &str, target: &str) -> Answer {
        ask(self.admin.address(), method, target, &[]).await
    }

    async fn done(&self, method: &str, target: &str) -> Value {
        let answer = self.ask(method, target).await;
        assert_eq!(answer.status, 200, "{method} {target}: {}", answer.body);
        answer.json()
    }

    async fn refused(&self, target: &str, status: u16, name: &str) -> Value {
        assert_problem(&self.ask("POST", target).await, status, name)
    }

    /// What the first upstream sees of the first region.
    async fn seen(&self) -> Value {
        self.done("GET", "/regions").await[0]["upstreams"][0].clone()
    }

    fn dial(&self, upstream: &str, region: &str) -> Option<f64> {
        let cell = self.site.shared.board.region(upstream, region);
        cell.dial().map(Dial::share)
    }

    fn drain(&self, region: &str) -> Drain {
        self.site.shared.board.region("shop", region).drain()
    }

    fn set_health(&self, region: &str, health: Health) {
        let cell = self.site.shared.board.region("shop", region);
        cell.set_health(health);
    }

    fn events(&self, kind: &str) -> Vec<Value> {
        let events = self.site.shared.events.since(0);
        let values = events
            .iter()
            .map(|event| serde_json::to_value(&**event).unwrap());
        values.filter(|event| event["kind"] == kind).collect()
    }
}

/// Two upstreams in the same two regions.
fn two_upstreams() -> String {
    let one = config("5s");
    let (before, rest) = one.split_once("  shop:\n").unwrap();
    let (shop, routes) = rest.split_once("routes:").unwrap();
    format!("{before}  shop:\n{shop}  cart:\n{shop}routes:{routes}")
}

#[tokio::test]
async fn a_dial_is_set_told_and_given_back() {
    let desk = Desk::new(&config("5s")).await;
    let dials = |operator: Value, by: &str, effective: f64| json!({ "plan": 1.0, "operator": operator, "by": by, "effective": effective });
    assert_eq!(desk.seen().await["dials"], dials(Value::Null, "plan", 1.0));
    for target in [
        "/regions/eu-west/dial?to=25%",
        "/regions/eu-west/dial?to=25%25",
        "/regions/eu-west/dial?to=0.25&force=false",
    ] {
        let told = desk.done("POST", target).await;
        assert_eq!(
            (&told["to"], &told["upstreams"]),
            (&json!(0.25), &json!({"shop": 0.25}))
        );
    }
    assert_eq!(desk.dial("shop", "eu-west"), Some(0.25));
    assert_eq!(desk.dial("shop", "us-east"), None);
    assert_eq!(
        desk.seen().await["dials"],
        dials(json!(0.25), "operator", 0.25)
    );
    let told = desk.done("DELETE", "/regions/eu-west/dial").await;
    assert_eq!(
        (&told["to"], &told["changed"]),
        (&Value::Null, &json!(true))
    );
    assert_eq!(desk.dial("shop", "eu-west"), None);
    desk.done("POST", "/regions/eu-west/dial?to=0%").await;
    assert_eq!(desk.seen().await["takes_requests"], json!(false));
    desk.done("POST", "/regions/eu-west/dial?to=plan").await;
    let events = desk.events("dial");
    let told: Vec<_> = events
        .iter()
        .map(|one| (&one["dial"], &one["operator"]))
        .collect();
    let (yes, no) = (&json!(true), &json!(false));
    let (quarter, whole, nothing) = (&json!(0.25), &json!(1.0), &json!(0.0));
    assert_eq!(
        told,
        [(quarter, yes), (whole, no), (nothing, yes), (whole, no)]
    );
}

#[tokio::test]
async fn a_dial_of_one_upstream_leaves_the_others_alone() {
    let desk = Desk::new(&two_upstreams()).await;
    let both = || ["shop", "cart"].map(|upstream| desk.dial(upstream, "eu-west"));
    desk.done("POST", "/regions/eu-west/dial?to=50%&upstream=cart")
        .await;
    assert_eq!(both(), [None, Some(0.5)]);
    desk.done("POST", "/regions/eu-west/dial?to=10%").await;
    assert_eq!(both(), [Some(0.1), Some(0.1)]);
    desk.done("DELETE", "/regions/eu-west/dial?upstream=shop")
        .await;
    assert_eq!(both(), [None, Some(0.1)]);
    let problem = desk.refused(
        "/regions/eu-west/dial?to=1%&upstream=crat",
        404,
        "no_upstream",
    );
    assert_eq!(problem.await["closest"], json!("cart"));
    desk.refused("/regions/eu-wset/dial?to=1%", 404, "no_region")
        .await;
    for query in [
        "",
        "?to=",
        "?to=1",
        "?to=101%",
        "?to=half",
        "?to=5%&fast=true",
    ] {
        let target = format!("/regions/eu-west/dial{query}");
        desk.refused(&target, 400, "bad_request").await;
    }
    let answer = desk.ask("DELETE", "/regions/eu-west/dial?to=5%").await;
    assert_problem(&answer, 400, "bad_request");
    assert_eq!(both(), [None, Some(0.1)]);
}

/// An order is kept by name: through a reload, through an absence, for upstreams that come later.
#[tokio::test]
async fn a_dial_survives_reloads() {
    let desk = Desk::new(&config("5s")).await;
    desk.done("POST", "/regions/eu-west/dial?to=30%").await;
    desk.done("POST", "/regions/us-east/dial?to=60%&upstream=shop")
        .await;
    let other = config("5s").replace("shop:", "cart:");
    desk.site
        .write(&other.replace("upstream: shop", "upstream: cart"));
    desk.done("POST", "/reload").await;
    assert_eq!(desk.dial("cart", "eu-west"), Some(0.3));
    assert_eq!(desk.dial("cart", "us-east"), None, "it was about shop");
    desk.done("DELETE", "/regions/eu-west/dial").await;
    desk.site.write(&two_upstreams());
    desk.done("POST", "/reload").await;
    assert_eq!(desk.dial("shop", "eu-west"), None, "given back meanwhile");
    assert_eq!(desk.dial("shop", "us-east"), Some(0.6));
}

#[tokio::test]
async fn the_last_region_is_not_taken_away_unless_it_is_forced() {
    let desk = Desk::new(&config("5s")).await;
    desk.done("POST", "/regions/eu-west/drain").await;
    for order in ["drain", "drain?now=true", "drain?deadline=5m", "dial?to=0%"] {
        let target = format!("/regions/us-east/{order}");
        let problem = desk.refused(&target, 409, "last_region").await;
        assert_eq!(
            problem["left"],
            json!([{ "upstream": "shop", "route": null }])
        );
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("upstream `shop`"), "{detail}");
    }
    assert_eq!(
        (desk.drain("us-east"), desk.dial("shop", "us-east")),
        (Drain::No, None)
    );
    desk.done("POST", "/regions/us-east/dial?to=1%").await;
    // One that is drained already may be drained faster.
    desk.done("POST", "/regions/eu-west/drain?now=true").await;
    desk.done("POST", "/regions/us-east/dial?to=0%&force=true")
        .await;
    assert_eq!(desk.dial("shop", "us-east"), Some(0.0));
    desk.done("POST", "/regions/us-east/drain?force=true").await;
    assert_eq!(desk.drain("us-east"), Drain::Soft);
}

#[tokio::test]
async fn who_is_ill_replaces_nobody() {
    let desk = Desk::new(&config("5s")).await;
    desk.set_health("us-east", Health::Unhealthy);
    desk.refused("/regions/eu-west/drain", 409, "last_region")
        .await;
    // Both are ill: nobody takes anything from anybody.
    desk.set_health("eu-west", Health::Unhealthy);
    desk.done("POST", "/regions/eu-west/drain").await;
    desk.refused("/regions/us-east/drain", 409, "last_region")
        .await;
}

/// What counts is what routes may reach.
#[tokio::test]
async fn the_last_region_of_a_jurisdiction_is_the_last() {
    let text = config("5s").replace("timeout: 5s", "timeout: 5s, residency: { allow: [eu] }");
    let desk = Desk::new(&text).await;
    let problem = desk
        .refused("/regions/eu-west/drain", 409, "last_region")
        .await;
    assert_eq!(
        problem["left"],
        json!([{ "upstream": "shop", "route": "all" }])
    );
    desk.done("POST", "/regions/us-east/drain").await;
}

#[tokio::test]
async fn a_drain_has_its_time_and_tells_what_is_left() {
    let desk = Desk::new(&config("5s")).await;
    let _deadlines = Deadlines::start(desk.site.shared.clone());
    let board = &desk.site.shared.board;
    let endpoint = board.endpoint("shop", "eu-west", "127.0.0.1:7001");
    let begin = || InFlight::begin(endpoint.clone(), board.region("shop", "eu-west"));
    let (mut waits, streams) = (begin(), begin());
    waits.sent();
    let told = desk
        .done("POST", "/regions/eu-west/drain?deadline=1h")
        .await;
    assert_eq!(
        (&told["now"], &told["deadline_s"]),
        (&json!(false), &json!(3600))
    );
    assert_eq!(
        (&told["in_flight"], &told["waiting"]),
        (&json!(2), &json!(1))
    );
    let listed = desk.done("GET", "/regions").await;
    let left = listed[0]["drain"]["deadline_s"].as_u64().unwrap();
    assert!((3500..=3600).contains(&left), "{listed}");
    assert_eq!(listed[0]["upstreams"][0]["waiting"], json!(1));
    // A milder word changes nothing, another deadline does.
    let told = desk.done("POST", "/regions/eu-west/drain").await;
    assert!(told["deadline_s"].as_u64().unwrap() > 3500, "{told}");
    desk.done("POST", "/regions/eu-west/drain?deadline=20ms")
        .await;
    until("its time is over", || desk.drain("eu-west") == Drain::Now).await;
    drop(streams);
    until("it is told", || !desk.events("drain_due").is_empty()).await;
    let due = &desk.events("drain_due")[0];
    let told = ["upstream", "region", "in_flight", "left", "waiting"].map(|name| &due[name]);
    assert_eq!(
        told,
        [
            &json!("shop"),
            &json!("eu-west"),
            &json!(2),
            &json!(1),
            &json!(1)
        ]
    );
    let drains = desk.events("drain");
    let paces: Vec<_> = drains
        .iter()
        .map(|one| (&one["now"], &one["deadline_s"]))
        .collect();
    let no = &json!(false);
    let expected = [
        (no, &json!(3600)),
        (no, &json!(1)),
        (&json!(true), &Value::Null),
    ];
    assert_eq!(paces, expected);
    assert_eq!(
        desk.done("GET", "/regions").await[0]["drain"]["now"],
        json!(true)
    );
}

#[tokio::test]
async fn the_end_of_a_drain_ends_its_deadline() {
    let desk = Desk::new(&config("5s")).await;
    let _deadlines = Deadlines::start(desk.site.shared.clone());
    let order = |deadline| DrainOrder {
        deadline: Some(Duration::from_millis(deadline)),
        ..DrainOrder::default()
    };
    desk.site.drain("eu-west", order(3_600_000)).unwrap();
    desk.done("DELETE", "/regions/eu-west/drain").await;
    desk.done("POST", "/regions/eu-west/drain").await;
    let listed = desk.done("GET", "/regions").await;
    let told = ["now", "deadline_s", "author", "expires"].map(|name| &listed[0]["drain"][name]);
    let none = &Value::Null;
    assert_eq!(told, [&json!(false), none, &json!("unknown"), none]);
    // Deadlines that come later are kept in their order, and a reload keeps them.
    desk.site
        .drain(
            "us-east",
            DrainOrder {
                force: true,
                ..order(30)
            },
        )
        .unwrap();
    desk.site.write(&config("6s"));
    desk.done("POST", "/reload").await;
    until("the other's time is over", || {
        desk.drain("us-east") == Drain::Now
    })
    .await;
    assert_eq!(desk.drain("eu-west"), Drain::Soft);
    for query in [
        "now=true&deadline=5m",
        "deadline=0s",
        "deadline=5",
        "deadline=31d",
        "deadline=",
    ] {
        let target = format!("/regions/eu-west/drain?{query}");
        desk.refused(&target, 400, "bad_request").await;
    }
}
