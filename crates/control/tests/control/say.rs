//! What operators say of regions and endpoints, and what it means for readiness.

use serde_json::{Value, json};
use tidegate_core::Health;

use crate::support::{Site, ask, config};

#[tokio::test]
async fn an_operator_says_what_a_region_is_and_takes_it_back() {
    let site = Site::new(&config("5s"));
    let (admin, _) = site.admin().await;
    let check = async |method: &str, target: &str, said: Health, lasts: Value, changed: bool| {
        let answer = ask(admin.address(), method, target, &[]).await;
        assert_eq!(answer.status, 200, "{method} {target}: {}", answer.body);
        let told = answer.json();
        assert_eq!(told["said"], json!(said), "{told}");
        assert_eq!(told["for_s"], lasts, "{told}");
        assert_eq!(told["changed"], json!(changed), "{told}");
        assert_eq!(told["upstreams"], json!(["shop"]), "{told}");
        assert_eq!(site.shared.board.region("shop", "eu-west").said(), said);
        let regions = ask(admin.address(), "GET", "/regions", &[]).await.json();
        assert_eq!(regions[0]["upstreams"][0]["said"], json!(said));
    };
    let health = "/regions/eu-west/health";
    let is = |rest: &str| format!("{health}?is={rest}");
    check("POST", &is("degraded"), Health::Degraded, Value::Null, true).await;
    let drains = is("draining&for=10m&upstream=shop");
    check("POST", &drains, Health::Draining, json!(600), true).await;
    check("POST", &drains, Health::Draining, json!(600), false).await;
    check("DELETE", health, Health::Unknown, Value::Null, true).await;
    check("DELETE", health, Health::Unknown, Value::Null, false).await;
}

#[tokio::test]
async fn who_said_it_and_why_is_kept() {
    let site = Site::new(&config("5s"));
    let (admin, _) = site.admin().await;
    let by = [
        ("tidegate-author", "ann@edge"),
        ("tidegate-reason", "its disk"),
    ];
    let target = "/regions/eu-west/health?is=degraded&for=10m";
    let told = ask(admin.address(), "POST", target, &by).await.json();
    assert_eq!(
        (&told["who"], &told["reason"]),
        (&json!("ann@edge"), &json!("its disk"))
    );
    let event = json!(site.shared.events.since(0).pop().unwrap());
    assert_eq!(
        (&event["kind"], &event["said"]),
        (&json!("said"), &json!("degraded"))
    );
    assert_eq!(
        (&event["who"], &event["for_s"]),
        (&json!("ann@edge"), &json!(600))
    );
}

#[tokio::test]
async fn an_operator_says_what_an_endpoint_is() {
    let site = Site::new(&config("5s"));
    let (admin, _) = site.admin().await;
    let target = "/regions/us-east/health?is=unhealthy&endpoint=127.0.0.1:7002";
    let told = ask(admin.address(), "POST", target, &[]).await.json();
    assert_eq!(told["endpoint"], json!("127.0.0.1:7002"), "{told}");
    let board = &site.shared.board;
    let cell = board.endpoint("shop", "us-east", "127.0.0.1:7002");
    assert_eq!(cell.said(), Health::Unhealthy);
    assert_eq!(board.region("shop", "us-east").said(), Health::Unknown);
    let status = ask(admin.address(), "GET", "/status", &[]).await.json();
    let endpoint = &status["upstreams"][0]["regions"][1]["endpoints"][0];
    assert_eq!(endpoint["health"], json!("unhealthy"), "{endpoint}");
    assert_eq!(endpoint["ejected"], json!(false), "{endpoint}");
    assert_eq!(endpoint["share"], json!(1.0), "{endpoint}");
}

#[tokio::test]
async fn a_region_that_waits_is_let_come_back() {
    let site = Site::new(&config("5s"));
    let (admin, _) = site.admin().await;
    let cell = site.shared.board.region("shop", "eu-west");
    let target = "/regions/eu-west/failback";
    let told = ask(admin.address(), "POST", target, &[]).await.json();
    let expected = json!({
        "region": "eu-west", "upstreams": ["shop"], "who": "unknown", "reason": null,
    });
    assert_eq!(told, expected);
    let event = site.shared.events.since(0).pop().unwrap();
    assert_eq!(json!(event)["kind"], "failback");
    assert!(cell.take_release() && !cell.take_release());
}

#[tokio::test]
async fn what_names_nothing_or_says_nothing_is_refused_with_advice() {
    let site = Site::new(&config("5s"));
    let (admin, _) = site.admin().await;
    let check = async |method: &str, target: &str, status: u16, word: &str| {
        let answer = ask(admin.address(), method, target, &[]).await;
        assert_eq!(answer.status, status, "{method} {target}: {}", answer.body);
        assert!(answer.body.contains(word), "{target}: {}", answer.body);
    };
    let health = "/regions/eu-west/health";
    check("POST", health, 400, "is=degraded").await;
    for (rest, word) in [
        ("is=healthy", "degraded"),
        ("is=degraded&for=soon", "for"),
        ("is=degraded&for=0s", "more than 0"),
        ("is=degraded&for=9999h", "30 days"),
        ("is=degraded&colour=red", "colour"),
    ] {
        check("POST", &format!("{health}?{rest}"), 400, word).await;
    }
    check("DELETE", &format!("{health}?is=degraded"), 400, "take").await;
    let failback = "/regions/eu-west/failback?endpoint=x";
    check("POST", failback, 400, "as a whole").await;
    let misspelt = "/regions/eu-wset/health?is=degraded";
    check("POST", misspelt, 404, "did you mean `eu-west`").await;
    check("POST", "/regions/mars/failback", 404, "us-east").await;
    let upstream = format!("{health}?is=degraded&upstream=shpo");
    check("POST", &upstream, 404, "did you mean `shop`").await;
    let endpoint = format!("{health}?is=degraded&endpoint=10.0.0.1:1");
    check("POST", &endpoint, 404, "127.0.0.1:7001").await;
    assert_eq!(
        site.shared.board.region("shop", "eu-west").said(),
        Health::Unknown
    );
}

/// Two upstreams, each in a region of its own: `shop` with this readiness, `blog` with the other.
fn two(shop: &str, blog: &str) -> String {
    let upstream = |name: &str, region: &str, port: u16, readiness: &str| {
        format!(
            "  {name}:\n    health: {{ readiness: {readiness} }}\n    \
             regions: {{ {region}: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n"
        )
    };
    format!(
        "listeners: [{{ name: http, bind: \"127.0.0.1:0\" }}]\n\
         regions: {{ eu-west: {{}}, us-east: {{}} }}\nupstreams:\n{}{}\
         routes:\n  - {{ name: shop, match: {{ path: /shop/** }}, upstream: shop }}\n  \
         - {{ name: blog, match: {{ path: /blog/** }}, upstream: blog }}\n",
        upstream("shop", "eu-west", 7001, shop),
        upstream("blog", "us-east", 7002, blog),
    )
}

#[tokio::test]
async fn readiness_counts_the_upstreams_as_they_ask_for_it() {
    let check = async |readiness: [&str; 2], down: &str, ready: bool| {
        let site = Site::new(&two(readiness[0], readiness[1]));
        let (admin, _) = site.admin().await;
        for (upstream, region) in [("shop", "eu-west"), ("blog", "us-east")] {
            if down.contains(upstream) {
                let cell = site.shared.board.region(upstream, region);
                cell.set_health(Health::Unhealthy);
            }
        }
        let answer = ask(admin.address(), "GET", "/readyz", &[]).await;
        let expected = if ready { 200 } else { 503 };
        assert_eq!(
            answer.status, expected,
            "{readiness:?}, down: {down}: {}",
            answer.body
        );
        answer.body
    };
    check(["counted", "counted"], "", true).await;
    check(["counted", "counted"], "shop", true).await;
    check(["counted", "counted"], "shop blog", false).await;
    let told = check(["required", "counted"], "shop", false).await;
    assert!(told.contains("`shop`"), "{told}");
    check(["required", "counted"], "blog", true).await;
    check(["ignored", "counted"], "shop", true).await;
    check(["ignored", "counted"], "blog", false).await;
    check(["ignored", "ignored"], "shop blog", true).await;
}
