//! Promise 7: every decision can be printed and made again.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;
use tidegate_lab::{Mode, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Config, Finished, Reply, Session, Tidegate, tidegate as run, until};

const NEAREST: &str = "eu-west";
const NEXT: &str = "us-east";
const ALL: &str = "explain: { sample: 100% }\n";
/// Only what fails or is tried again.
const FAILURES: &str = "explain: { sample: 0% }\n";

async fn world() -> World {
    let builder = World::builder()
        .region(NEAREST, Duration::from_millis(2))
        .region(NEXT, Duration::from_millis(4));
    builder.start().await.unwrap()
}

fn config(world: &World, explain: &str) -> Config {
    let mut config = Config::of(world).jurisdictions(&["eu", "us"]);
    config.top += explain;
    config
}

async fn visit(tidegate: &Tidegate, path: &str, fields: &[(&str, &str)]) -> Reply {
    let mut session = Session::h1(tidegate.http()).await;
    session.send(Method::GET, path, fields, "").await.unwrap()
}

/// What the command line tells, and how it exits.
fn explain(tidegate: &Tidegate, arguments: &[&str]) -> Finished {
    let admin = tidegate.admin().to_string();
    let words = ["explain", "--admin", &admin];
    run(words.iter().chain(arguments))
}

/// What the command line tells if it exits with this code; each of `parts` is in it.
fn tells(tidegate: &Tidegate, arguments: &[&str], code: i32, parts: &[&str]) -> String {
    let told = explain(tidegate, arguments);
    assert_eq!(told.code, code, "{}\n{}", told.stdout, told.stderr);
    let all = told.stdout + &told.stderr;
    for part in parts {
        assert!(all.contains(part), "{part} in\n{all}");
    }
    all
}

/// The record of an answered request: it is written when the answer has ended.
async fn record(tidegate: &Tidegate, reply: &Reply) -> Value {
    let path = format!("/explain/{}", reply.header("x-request-id"));
    until("the request is recorded", || async {
        tidegate.admin_get(&path).await.status == StatusCode::OK
    })
    .await;
    tidegate.admin_get(&path).await.json()
}

async fn replayed(tidegate: &Tidegate, reply: &Reply, more: &str) -> Value {
    let id = reply.header("x-request-id");
    let replayed = tidegate
        .admin_get(&format!("/explain/{id}?replay{more}"))
        .await;
    assert_eq!(replayed.status, StatusCode::OK, "{replayed:?}");
    replayed.json()
}

/// The decisions made again, the same or not, by the same plan or not.
async fn compared(
    tidegate: &Tidegate,
    reply: &Reply,
    more: &str,
    same: bool,
    same_plan: bool,
) -> Value {
    let replayed = replayed(tidegate, reply, more).await;
    let found = (&replayed["same"], &replayed["same_plan"]);
    assert_eq!(found, (&same.into(), &same_plan.into()), "{replayed:#}");
    replayed
}

#[tokio::test]
async fn a_request_of_the_sample_is_told_and_made_again() {
    let world = world().await;
    let tidegate = Tidegate::start_healthy(&config(&world, ALL).yaml()).await;
    let fields = [("authorization", "Bearer very-secret"), ("x-tier", "gold")];
    let reply = visit(&tidegate, "/cart?id=7&token=hush-hush", &fields).await;
    let told = record(&tidegate, &reply).await;
    assert_eq!(told["route"], "all", "{told:#}");
    assert_eq!(told["reason"], "completed");
    assert_eq!(told["sampled"], true);
    assert_eq!(told["decisions"][0]["candidates"][0]["region"], NEAREST);
    assert_eq!(told["decisions"][0]["saw"][1]["region"], NEXT);
    assert_eq!(told["tries"][0]["status"], 200);
    assert_eq!(told["request"]["target"], "/cart?id=7&token=~");

    let id = reply.header("x-request-id").to_owned();
    let parts = [
        &*id,
        "route     all",
        "by its tier",
        "goes to eu-west at",
        "answered 200",
    ];
    let story = tells(&tidegate, &[&id], 0, &parts);
    let everything = format!("{told}{story}");
    assert!(everything.contains("x-tier") && everything.contains("gold"));
    for secret in ["very-secret", "hush-hush"] {
        assert!(!everything.contains(secret), "{everything}");
    }

    let exact = ["the same, bit for bit"];
    tells(&tidegate, &[&id, "--replay"], 0, &exact);
}

#[tokio::test]
async fn a_rescued_request_is_told_without_the_sample() {
    let world = world().await;
    let tidegate = Tidegate::start_healthy(&config(&world, FAILURES).yaml()).await;
    let fine = visit(&tidegate, "/", &[]).await;
    world
        .site(NEAREST)
        .unwrap()
        .link
        .set(Mode::Reset)
        .await
        .unwrap();
    let reply = visit(&tidegate, "/cart", &[]).await;
    assert_eq!((reply.status, reply.region()), (StatusCode::OK, NEXT));

    let told = record(&tidegate, &reply).await;
    assert_eq!(
        (&told["rescued"], &told["sampled"]),
        (&true.into(), &false.into())
    );
    let tries = told["tries"].as_array().unwrap();
    assert!(tries.len() > 1, "{told:#}");
    assert_eq!(tries[0]["region"], NEAREST);
    assert!(
        tries[0]["then"].as_str().unwrap().contains("tried again"),
        "{told:#}"
    );
    let decisions = told["decisions"].as_array().unwrap();
    assert_eq!(decisions.len(), tries.len(), "{told:#}");
    assert!(
        decisions[0]["saw"].is_null(),
        "nobody knew that it would matter"
    );
    assert!(decisions[1]["saw"].is_array());
    let replayed = replayed(&tidegate, &reply, "").await;
    assert_eq!(replayed["same"], true, "{replayed:#}");
    assert!(replayed["decisions"][0]["missing"].is_string());
    assert!(replayed["decisions"][1]["missing"].is_null());

    let id = fine.header("x-request-id");
    tells(&tidegate, &[id], 1, &["explain.sample"]);
}

#[tokio::test]
async fn a_request_that_residency_keeps_here_is_told_and_another_plan_is_asked() {
    let world = world().await;
    let mut config = config(&world, FAILURES);
    config.routes =
        "  - { name: accounts, upstream: shop, residency: { allow: [eu] } }\n".to_owned();
    let tidegate = Tidegate::start_healthy(&config.yaml()).await;
    tidegate
        .admin_post("/regions/eu-west/drain?force=true")
        .await;
    let reply = visit(&tidegate, "/accounts/7", &[]).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.json()["request_id"], reply.header("x-request-id"));

    let told = record(&tidegate, &reply).await;
    let excluded = &told["decisions"][0]["excluded"];
    assert_eq!(excluded[0]["why"], "draining", "{told:#}");
    assert_eq!(excluded[1]["why"], "residency", "{told:#}");
    let first = compared(&tidegate, &reply, "", true, true).await;
    assert!(first["decisions"][0]["missing"].is_null(), "{first:#}");

    config.routes = "  - { name: accounts, upstream: shop }\n".to_owned();
    tidegate.save(&config.yaml());
    let reload = tidegate.admin_post("/reload").await;
    assert_eq!(reload.status, StatusCode::OK, "{reload:?}");
    let second = compared(&tidegate, &reply, "&generation=2", false, false).await;
    let story = second["story"].as_str().unwrap();
    assert!(
        story.contains("goes to us-east at") && story.contains("instead of nowhere"),
        "{story}"
    );
    // The plan that decided serves no more; its texts are kept.
    compared(&tidegate, &reply, "", true, true).await;

    let id = reply.header("x-request-id");
    let with = |generation| [id, "--replay", "--generation", generation];
    tells(&tidegate, &with("2"), 1, &["goes to us-east at"]);
    tells(&tidegate, &with("99"), 1, &["99"]);
    tells(&tidegate, &["--recent", "--failed"], 0, &[id]);
}

/// Who asks what would happen now asks the process that runs.
#[tokio::test]
async fn a_live_process_is_asked_what_it_would_do() {
    let world = world().await;
    let tidegate = Tidegate::start_healthy(&config(&world, ALL).yaml()).await;
    let asked = ["GET", "/cart", "-H", "Host: shop.example.com"];
    tells(&tidegate, &asked, 0, &["chosen    eu-west"]);
    tidegate.admin_post("/regions/eu-west/drain").await;
    let drained = ["being drained", "chosen    us-east"];
    tells(&tidegate, &["GET", "/cart"], 0, &drained);
    let alone = ["https://shop.example.com/cart"];
    tells(&tidegate, &alone, 2, &["GET https"]);
}

/// Routes that answer, fail, split and copy; and one for everything else that is sent on.
const ROUTES: &str = "  - name: moved
    match: { path: \"/old/{rest=**}\" }
    redirect: { to: \"https://new.example.com/{rest}\", status: 301, keep_query: true }
  - name: broken
    match: { path: /broken }
    upstream: shop
    fault: { abort: { status: 503, share: 100% }, delay: { time: 1ms, share: 50% } }
  - name: parted
    match: { path: /parted/** }
    split: [{ upstream: shop, weight: 50 }, { upstream: next, weight: 50 }]
    mirror: { upstream: next, share: 50% }
  - name: kept
    match: { path: /kept/** }
    split: [{ upstream: shop, weight: 50 }, { upstream: next, weight: 50 }]
    split_on: [{ cookie: user }]
  - { name: small, match: { path: /small }, upstream: shop }
";

fn busy(world: &World, explain: &str) -> Config {
    let mut config = config(world, explain).routes(ROUTES);
    let addr = world.site(NEXT).unwrap().addr();
    config.upstream += &format!(
        "    body: {{ max: 100B }}\n  next:\n    regions: {{ {NEXT}: {{ endpoints: [\"{addr}\"] }} }}\n\
         \x20   health: {{ probe: off }}\n"
    );
    config
}

/// Tells of a request with `parts`, makes it again, and again with generation 2, which `differs` in this.
async fn check_whole(tidegate: &Tidegate, reply: &Reply, parts: &[&str], differs: &str) {
    record(tidegate, reply).await;
    let id = reply.header("x-request-id");
    tells(tidegate, &[id], 0, parts);
    tells(tidegate, &[id, "--replay"], 0, &["nothing differs"]);
    let second = ["--replay", "--generation", "2"];
    tells(tidegate, &[&[id][..], &second].concat(), 1, &[differs]);
    tells(tidegate, &["--recent"], 0, &[id]);
}

#[tokio::test]
async fn requests_that_no_region_is_asked_for_are_told_and_made_again() {
    let world = world().await;
    let config = busy(&world, ALL);
    let tidegate = Tidegate::start_healthy(&config.yaml()).await;
    let moved = visit(&tidegate, "/old/a?b=c&token=hush", &[]).await;
    assert_eq!(moved.status, StatusCode::MOVED_PERMANENTLY);
    let nowhere = visit(&tidegate, "/nowhere", &[]).await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
    let broken = visit(&tidegate, "/broken", &[]).await;
    assert_eq!(broken.status, StatusCode::SERVICE_UNAVAILABLE);
    let mut session = Session::h1(tidegate.http()).await;
    let sent = session.send(Method::POST, "/small", &[], "x".repeat(101));
    let large = sent.await.unwrap();
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);

    let abort = "abort: { status: 503, share: 100% }, ";
    let other = ROUTES.replace("301", "302").replace(abort, "");
    let all = "  - { name: all, upstream: next }\n";
    let other = other.replace(
        "{ name: small, match: { path: /small }, upstream: shop }",
        "x",
    );
    tidegate.save(&config.clone().routes(&other.replace("  - x\n", all)).yaml());
    let reload = tidegate.admin_post("/reload").await;
    assert_eq!(reload.status, StatusCode::OK, "{reload:?}");

    let told = [
        "route     moved",
        "answers   301, to https://new.example.com/a?b=c&token=~",
        "redirected",
    ];
    check_whole(&tidegate, &moved, &told, "answers by itself: 302").await;
    let told = [
        "generation 1",
        "route     none matches",
        "no_route, status 404",
    ];
    check_whole(&tidegate, &nowhere, &told, "upstream `next` by route `all`").await;
    let told = [
        "route     broken",
        "below 1: is answered 503",
        "fault_injected",
    ];
    check_whole(
        &tidegate,
        &broken,
        &told,
        "upstream `shop` by route `broken`",
    )
    .await;
    let told = [
        "route     small",
        "refused   the body has 101 bytes, 100 are allowed",
    ];
    check_whole(&tidegate, &large, &told, "upstream `next` by route `all`").await;
    let failed = explain(&tidegate, &["--recent", "--failed"]).stdout;
    let id = |reply: &Reply| reply.header("x-request-id").to_owned();
    assert!(
        !failed.contains(&id(&moved)),
        "it got what it asked for: {failed}"
    );
    assert!(
        failed.contains(&id(&broken)) && failed.contains(&id(&nowhere)),
        "{failed}"
    );
}

/// Who is refused can ask as often as he likes: he must not have the room of those who lost an answer.
#[tokio::test]
async fn what_is_refused_is_recorded_by_the_sample_only() {
    let world = world().await;
    let tidegate = Tidegate::start_healthy(&busy(&world, FAILURES).yaml()).await;
    for path in ["/nowhere", "/old/a", "/broken"] {
        let reply = visit(&tidegate, path, &[]).await;
        let id = reply.header("x-request-id");
        tells(&tidegate, &[id], 1, &["refused ones", "explain.sample"]);
    }
    tidegate.logged(3).await;
    let recent = tidegate.admin_get("/explain/recent").await;
    assert_eq!(recent.json(), serde_json::json!([]));
}

#[tokio::test]
async fn what_is_no_request_is_told() {
    let world = world().await;
    let tidegate = Tidegate::start_healthy(&config(&world, ALL).yaml()).await;
    let mut stream = TcpStream::connect(tidegate.http()).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost : a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let id = answer
        .split("x-request-id: ")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    let id = id.unwrap_or_else(|| panic!("{answer}"));
    until("it is recorded", || async {
        tidegate.admin_get(&format!("/explain/{id}")).await.status == StatusCode::OK
    })
    .await;
    let parts = ["could not be read as a request", "refused   ", "whitespace"];
    tells(&tidegate, &[id], 0, &parts);
    tells(&tidegate, &[id, "--replay"], 0, &["nothing differs"]);
}

#[tokio::test]
async fn what_a_split_drew_is_told_and_drawn_again() {
    let world = world().await;
    let config = busy(&world, ALL);
    let tidegate = Tidegate::start_healthy(&config.yaml()).await;
    let (mut drawn, mut hashed) = (Vec::new(), Vec::new());
    for nth in 0..6 {
        drawn.push(visit(&tidegate, "/parted/a", &[]).await);
        let cookie = format!("user={nth}");
        hashed.push(visit(&tidegate, "/kept/a", &[("cookie", &cookie)]).await);
    }
    // The same two upstreams, all weight with one.
    let moved = ROUTES.replace("shop, weight: 50", "shop, weight: 0");
    tidegate.save(&config.clone().routes(&moved).yaml());
    let reload = tidegate.admin_post("/reload").await;
    assert_eq!(reload.status, StatusCode::OK, "{reload:?}");

    for (replies, by) in [
        (&drawn, "by chance"),
        (&hashed, "by the hash of cookie user"),
    ] {
        for reply in replies {
            let told = record(&tidegate, reply).await;
            let split = &told["drawn"]["split"];
            assert_eq!(split["by"], by, "{told:#}");
            let shares = split["shares"].as_array().unwrap();
            let score = |share: &&Value| share["score"].as_f64().unwrap();
            let winner = shares.iter().min_by(|a, b| score(a).total_cmp(&score(b)));
            assert_eq!(winner.unwrap()["upstream"], told["upstream"], "{told:#}");
            let id = reply.header("x-request-id");
            let story = tells(&tidegate, &[id], 0, &["split ", by, "the lowest wins"]);
            assert_eq!(
                story.contains("mirror    draws 0."),
                by == "by chance",
                "{story}"
            );
            let again = replayed(&tidegate, reply, "").await;
            assert_eq!(again["same"], true, "{again:#}");
            let other = replayed(&tidegate, reply, "&generation=2").await;
            assert_eq!(other["uncertain"], serde_json::json!([]), "{other:#}");
            let stays = told["upstream"] == "next";
            assert_eq!(
                other["differences"] == serde_json::json!([]),
                stays,
                "{other:#}"
            );
        }
    }
}

#[tokio::test]
async fn nothing_is_recorded_that_is_not_wanted() {
    let world = world().await;
    let tidegate = Tidegate::start_healthy(&config(&world, "explain: off\n").yaml()).await;
    world
        .site(NEAREST)
        .unwrap()
        .link
        .set(Mode::Reset)
        .await
        .unwrap();
    let reply = visit(&tidegate, "/", &[]).await;
    assert_eq!(reply.region(), NEXT);
    tidegate.logged(1).await;
    let recent = tidegate.admin_get("/explain/recent").await;
    assert_eq!(recent.json(), serde_json::json!([]));
    let id = reply.header("x-request-id");
    let unknown = tidegate.admin_get(&format!("/explain/{id}")).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert!(unknown.text().contains("is off"), "{unknown:?}");
}
