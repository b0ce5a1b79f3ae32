//! The admin listener over real connections.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tidegate_control::{DrainOrder, State};
use tidegate_core::Health;
use tidegate_core::cell::Drain;

use crate::support::{Answer, Site, ask, assert_problem, config};

async fn get(address: SocketAddr, target: &str) -> Answer {
    ask(address, "GET", target, &[]).await
}

#[tokio::test]
async fn readiness_follows_the_process_and_its_regions() {
    let site = Site::new(&config("5s"));
    let (admin, readiness) = site.admin().await;
    let address = admin.address();
    assert_eq!(get(address, "/healthz").await.status, 200);
    assert_eq!(get(address, "/readyz").await.status, 200);
    for region in ["eu-west", "us-east"] {
        site.shared
            .board
            .region("shop", region)
            .set_health(Health::Unhealthy);
    }
    let problem = assert_problem(&get(address, "/readyz").await, 503, "not_ready");
    assert!(problem["detail"].as_str().unwrap().contains("no upstream"));
    site.shared
        .board
        .region("shop", "us-east")
        .set_health(Health::Degraded);
    assert_eq!(get(address, "/readyz").await.status, 200);
    readiness.set(State::Stopping);
    assert_problem(&get(address, "/readyz").await, 503, "not_ready");
    assert_eq!(get(address, "/healthz").await.status, 200);
    admin.stop().await;
    assert!(
        tokio::net::TcpStream::connect(address).await.is_err(),
        "closed after the stop"
    );
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let site = Site::new(&config("5s"));
    let (admin, _) = site.admin().await;
    let answer = get(admin.address(), "/metrics").await;
    assert_eq!(
        answer.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert!(
        answer.body.contains("\ntidegate_plan_generation 1\n"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn reload_answers_with_its_verdict() {
    let site = Site::new(&config("5s"));
    let (admin, _) = site.admin().await;
    let address = admin.address();
    let reload = async || ask(address, "POST", "/reload", &[]).await;
    let answer = reload().await;
    assert_eq!(
        (answer.status, &answer.json()["verdict"]),
        (200, &json!("unchanged"))
    );
    site.write(&config("6s"));
    let answer = reload().await;
    assert_eq!(
        (answer.status, &answer.json()["verdict"]),
        (200, &json!("activated"))
    );
    assert_eq!(answer.json()["generation"], json!(2));
    assert_eq!(
        answer.json()["changed"]["routes"]["changed"]["first"],
        json!(["all"])
    );
    site.write(&config("6x"));
    let problem = assert_problem(&reload().await, 422, "configuration_refused");
    let first = &problem["reload"]["report"]["problems"][0];
    assert_eq!(first["line"], json!(11), "{problem}");
    assert!(
        problem["detail"].as_str().unwrap().contains("6x"),
        "{problem}"
    );
    site.write(&format!("threads: 7\n{}", config("6s")));
    let problem = assert_problem(&reload().await, 422, "restart_needed");
    assert_eq!(problem["reload"]["fields"], json!(["threads"]));
    assert_eq!(site.generation(), 2);
}

#[tokio::test]
async fn regions_drain_and_come_back() {
    let site = Site::new(&config("5s"));
    let (admin, _) = site.admin().await;
    let address = admin.address();
    let check = async |method: &str, target: &str, draining: bool, changed: bool| {
        let answer = ask(address, method, target, &[]).await;
        assert_eq!(answer.status, 200, "{method} {target}: {}", answer.body);
        let told = answer.json();
        assert_eq!(
            (&told["draining"], &told["changed"]),
            (&json!(draining), &json!(changed))
        );
        assert_eq!(
            site.shared.board.region("shop", "eu-west").draining(),
            draining
        );
        let regions = get(address, "/regions").await.json();
        assert_eq!(regions[0]["draining"], json!(draining));
        assert_eq!(
            regions[0]["upstreams"][0]["takes_requests"],
            json!(!draining)
        );
    };
    check("POST", "/regions/eu-west/drain", true, true).await;
    check("POST", "/regions/eu-west/drain", true, false).await;
    check("DELETE", "/regions/eu-west/drain", false, true).await;
    check("POST", "/regions/eu-west/drain", true, true).await;
    check("POST", "/regions/eu-west/undrain", false, true).await;
    let answer = ask(address, "POST", "/regions/eu-wset/drain", &[]).await;
    let problem = assert_problem(&answer, 404, "no_region");
    assert_eq!(problem["closest"], json!("eu-west"));
    let answer = ask(address, "POST", "/regions/mars/drain", &[]).await;
    let problem = assert_problem(&answer, 404, "no_region");
    assert_eq!(problem["regions"], json!(["eu-west", "us-east"]));
}

/// A drain may be told to empty its region at once; a later, milder word does not slow it down, a reload
/// keeps it, for upstreams that come later as well, and only its end takes it back.
#[tokio::test]
async fn a_drain_with_now_is_told_kept_and_taken_back() {
    let site = Site::new(&config("5s"));
    let (admin, _) = site.admin().await;
    let drain = |upstream: &str| site.shared.board.region(upstream, "eu-west").drain();
    let check = async |method: &str, target: &str, expected: Drain, changed: bool| {
        let told = ask(admin.address(), method, target, &[]).await.json();
        let is = (&told["draining"], &told["now"], &told["changed"]);
        let (draining, now) = (expected != Drain::No, expected == Drain::Now);
        assert_eq!(
            is,
            (&json!(draining), &json!(now), &json!(changed)),
            "{told}"
        );
        assert_eq!(drain("shop"), expected, "{method} {target}");
        let regions = get(admin.address(), "/regions").await.json();
        assert_eq!(regions[0]["upstreams"][0]["leaving"], json!(now));
        let events = get(admin.address(), "/events").await.json();
        let mut events = events["events"].as_array().unwrap().iter().rev();
        let last = events.find(|event| event["kind"] == "drain").unwrap();
        assert_eq!(
            (&last["draining"], &last["now"]),
            (&json!(draining), &json!(now))
        );
    };
    check("POST", "/regions/eu-west/drain", Drain::Soft, true).await;
    check("POST", "/regions/eu-west/drain?now=true", Drain::Now, true).await;
    check("POST", "/regions/eu-west/drain?now=true", Drain::Now, false).await;
    check(
        "POST",
        "/regions/eu-west/drain?now=false",
        Drain::Now,
        false,
    )
    .await;
    let other = config("5s").replace("shop:", "cart:");
    site.write(&other.replace("upstream: shop", "upstream: cart"));
    assert_eq!(
        ask(admin.address(), "POST", "/reload", &[]).await.status,
        200
    );
    assert_eq!((drain("shop"), drain("cart")), (Drain::Now, Drain::Now));
    assert!(site.undrain("eu-west").unwrap().changed);
    assert_eq!(drain("cart"), Drain::No);
    for pace in ["now=perhaps", "later=true"] {
        let target = format!("/regions/eu-west/drain?{pace}");
        let answer = ask(admin.address(), "POST", &target, &[]).await;
        assert_problem(&answer, 400, "bad_request");
    }
    assert_eq!(drain("cart"), Drain::No);
}

#[tokio::test]
async fn status_tells_what_is_wanted_and_observed() {
    let site = Site::new(&config("5s"));
    let (admin, _) = site.admin().await;
    site.drain("us-east", DrainOrder::default()).unwrap();
    let status = get(admin.address(), "/status").await.json();
    assert_eq!(status["version"], json!("1.2.3"));
    assert_eq!(
        (&status["generation"], &status["ready"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(status["draining"], json!(["us-east"]));
    assert_eq!(status["listeners"][0]["address"], json!("127.0.0.1:8080"));
    let regions = &status["upstreams"][0]["regions"];
    assert_eq!(
        regions[0]["endpoints"][0]["address"],
        json!("127.0.0.1:7001")
    );
    assert_eq!(regions[0]["health"], json!("unknown"));
    assert_eq!(
        (&regions[1]["name"], &regions[1]["draining"]),
        (&json!("us-east"), &json!(true))
    );
}

#[tokio::test]
async fn the_plan_can_be_read_and_asked() {
    let site = Site::new(&config("5s"));
    let (admin, _) = site.admin().await;
    let address = admin.address();
    let plan = get(address, "/plan").await;
    assert_eq!(plan.body, site.reloader.document().resolved);
    assert!(plan.body.contains("eu-west"));
    let told = get(
        address,
        "/explain?url=https://a.example/shop/1&header=x-a:%20b",
    )
    .await
    .json();
    assert_eq!(
        (&told["route"], &told["termination"]),
        (&json!("all"), &Value::Null)
    );
    assert_eq!(told["candidates"].as_array().unwrap().len(), 2);
    let told = get(address, "/explain?method=POST&url=/other").await.json();
    assert_eq!(
        (&told["termination"], told.get("route")),
        (&json!("no_route"), None)
    );
    for query in [
        "",
        "?method=GET",
        "?url=/a&method=G%20T",
        "?url=/a&header=x",
        "?url=/a&x=1",
    ] {
        let answer = get(address, &format!("/explain{query}")).await;
        assert_problem(&answer, 400, "bad_request");
    }
}

/// What keeps requests together, or at home, holds for those that are asked about.
#[tokio::test]
async fn it_is_explained_where_a_client_stays() {
    let text = config("5s").replace(
        "  shop:\n",
        "  shop:\n    steering: { policy: weighted, hash_on: [{ header: x-user }] }\n",
    );
    let text = text.replace("timeout: 5s", "timeout: 5s, isolation: strict");
    let site = Site::new(&text);
    let (admin, _) = site.admin().await;
    let mut homes = std::collections::HashSet::new();
    for user in 0..20 {
        let target = format!("/explain?url=/shop/1&header=x-user:%20{user}");
        let first = get(admin.address(), &target).await.json();
        assert_eq!(first["candidates"][0]["because"], json!("hash"), "{first}");
        assert_eq!(first["excluded"][0]["why"], json!("isolation"), "{first}");
        for _ in 0..5 {
            let again = get(admin.address(), &target).await.json();
            assert_eq!(again["chosen"], first["chosen"]);
        }
        homes.insert(first["chosen"]["region"].to_string());
    }
    assert_eq!(homes.len(), 2, "not all at one place");
}

#[tokio::test]
async fn events_go_on_where_one_stopped() {
    let site = Site::new(&config("5s"));
    let (admin, _) = site.admin().await;
    let first = get(admin.address(), "/events").await.json();
    assert_eq!(
        (&first["events"][0]["kind"], &first["next"]),
        (&json!("plan_activated"), &json!(1))
    );
    site.drain("us-east", DrainOrder::default()).unwrap();
    let news = get(admin.address(), "/events?since=1").await.json();
    assert_eq!(
        (&news["events"][1]["kind"], &news["next"]),
        (&json!("drain"), &json!(3))
    );
    let none = get(admin.address(), "/events?since=3").await.json();
    assert_eq!((&none["events"], &none["next"]), (&json!([]), &json!(3)));
    assert_problem(
        &get(admin.address(), "/events?since=x").await,
        400,
        "bad_request",
    );
    assert_problem(
        &get(admin.address(), "/events?sinse=1").await,
        400,
        "bad_request",
    );
}

#[tokio::test]
async fn wrong_paths_methods_and_origins_are_told_apart() {
    let site = Site::new(&config("5s"));
    let (admin, _) = site.admin().await;
    let address = admin.address();
    let answer = get(address, "/nothing").await;
    let problem = assert_problem(&answer, 404, "no_endpoint");
    assert!(problem["detail"].as_str().unwrap().contains("/readyz"));
    let answer = ask(address, "GET", "/reload", &[]).await;
    assert_problem(&answer, 405, "wrong_method");
    assert_eq!(answer.header("allow"), "POST");
    let foreign = [("origin", "http://evil.example")];
    let answer = ask(address, "POST", "/regions/eu-west/drain", &foreign).await;
    assert_problem(&answer, 403, "foreign_origin");
    assert!(!site.shared.board.region("shop", "eu-west").draining());
    let rebound = [("host", "evil.example")];
    assert_problem(
        &ask(address, "GET", "/plan", &rebound).await,
        403,
        "foreign_origin",
    );
    assert_eq!(ask(address, "HEAD", "/healthz", &[]).await.status, 200);
}

/// What cannot be understood is said in words, with what could be.
#[tokio::test]
async fn parameters_are_refused_in_words() {
    let site = Site::new(&config("5s"));
    let (admin, _) = site.admin().await;
    let check = async |method: &str, target: &str, words: &str| {
        let answer = ask(admin.address(), method, target, &[]).await;
        assert_eq!(answer.status, 400, "{target}: {}", answer.body);
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains(words), "{target}: {detail}");
        assert!(!detail.contains("deserialize"), "{target}: {detail}");
    };
    let number = "`to` is `abc`, which is not a whole number: the number of a generation";
    check("POST", "/rollback?to=abc", number).await;
    check("POST", "/rollback?to=-1", "not a whole number").await;
    check("POST", "/rollback?To=1", "there are: to").await;
    check("POST", "/rollback?to=1&to=2", "given twice").await;
    check("GET", "/events?since=x", "the number of an event").await;
    check("GET", "/events?x=1", "there are: since").await;
    let drain = "/regions/eu-west/drain";
    check("POST", &format!("{drain}?now=yes"), "`true` or `false`").await;
    check(
        "POST",
        &format!("{drain}?dedline=5m"),
        "did you mean `deadline`?",
    )
    .await;
    check("POST", &format!("{drain}?for=10"), "`for`: ").await;
    check("POST", "/regions/eu-west/dial?to=much", "`to`: ").await;
    check("POST", "/regions/eu-west/health?is=ill", "say what it is").await;
    check(
        "POST",
        "/upstreams/shop/order?region=a",
        "did you mean `regions`?",
    )
    .await;
    assert_eq!(site.generation(), 1);
}
