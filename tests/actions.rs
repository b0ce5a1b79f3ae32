//! Routes that answer, rewrite and edit, as a configuration asks for them and clients of both protocols
//! meet them.

use http::{Method, StatusCode};
use tidegate_lab::World;

use crate::harness::{Session, Tidegate, tidegate as run, until};

/// No upstream and no region: every route answers by itself.
const ALONE: &str = "\
listeners:
  - { name: http, bind: \"127.0.0.1:0\" }
admin: { bind: \"127.0.0.1:0\" }
threads: 1
routes:
  - name: moved
    match: { path: \"/old/{rest=**}\" }
    redirect: { to: \"https://new.example.com/{rest}\", status: 301 }
  - name: robots
    match: { path: /robots.txt }
    respond: { body: \"Disallow: /\", headers: { cache-control: max-age=60 } }
  - name: gone
    respond: { status: 410 }
    headers: { response: { set: { x-route: \"{route}\" } } }
";

fn forwarding(world: &World) -> String {
    let addr = world.site("home").unwrap().addr();
    format!(
        "listeners:\n  - {{ name: http, bind: \"127.0.0.1:0\" }}\n\
         admin: {{ bind: \"127.0.0.1:0\" }}\nthreads: 1\nregions: {{ home: {{}} }}\n\
         upstreams:\n  shop:\n    regions: {{ home: {{ endpoints: [\"{addr}\"] }} }}\n\
         \x20   health: {{ probe: off }}\nroutes:\n\
         \x20 - name: api\n    match: {{ path: /api/** }}\n    upstream: shop\n\
         \x20   rewrite: {{ path: /headers, host: upstream }}\n    headers:\n\
         \x20     request: {{ set: {{ x-real-ip: \"{{client.address}}\" }}, remove: [x-debug] }}\n\
         \x20     response: {{ set: {{ x-served: \"{{region}} {{route}}\" }} }}\n\
         \x20 - name: broken\n    match: {{ path: /broken }}\n    upstream: shop\n\
         \x20   fault: {{ abort: {{ status: 503, share: 100% }} }}\n"
    )
}

async fn both(tidegate: &Tidegate) -> [Session; 2] {
    let http = tidegate.http();
    [Session::h1(http).await, Session::h2c(http).await]
}

fn field<'a>(reply: &'a crate::harness::Reply, name: &str) -> &'a str {
    let value = reply.headers.get(name);
    value.map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_process_without_upstreams_answers() {
    let tidegate = Tidegate::start(ALONE).await;
    until("ready", async || {
        tidegate.admin_get("/readyz").await.status == StatusCode::OK
    })
    .await;
    for mut session in both(&tidegate).await {
        let reply = session.get("/old/a/b?c=d").await;
        assert_eq!(reply.status, StatusCode::MOVED_PERMANENTLY);
        let location = field(&reply, "location");
        assert_eq!(location, "https://new.example.com/a/b?c=d");
        let reply = session.get("/robots.txt").await;
        assert_eq!(reply.body, "Disallow: /");
        assert_eq!(field(&reply, "cache-control"), "max-age=60");
        let reply = session.get("/else").await;
        assert_eq!(reply.status, StatusCode::GONE);
        assert_eq!(field(&reply, "x-route"), "gone");
        let call = [("content-type", "application/grpc"), ("te", "trailers")];
        let sent = session.send(Method::POST, "/svc/Call", &call, "").await;
        let reply = sent.unwrap();
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(field(&reply, "grpc-status"), "2");
        assert_eq!(field(&reply, "grpc-message"), "responded: 410");
    }
    let metrics = tidegate.metrics().await;
    let count = |route: &str| {
        let labels = [("route", route), ("region", "none")];
        metrics.sum("tidegate_requests_total", &labels)
    };
    assert_eq!((count("moved"), count("robots"), count("gone")), (2, 2, 4));
    let config = tidegate.config();
    let config = config.to_str().unwrap();
    let checked = run(["check", config]);
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    let told = run(["explain", config, "GET", "/old/x"]);
    let expected = "answers   301, to https://new.example.com/x";
    assert!(told.stdout.contains(expected), "{}", told.stdout);
    assert_eq!(told.code, 0, "{}", told.stderr);
}

#[tokio::test]
async fn upstreams_get_what_the_route_makes_of_a_request() {
    let builder = World::builder().region("home", std::time::Duration::from_millis(1));
    let world = builder.start().await.unwrap();
    let tidegate = Tidegate::start(&forwarding(&world)).await;
    let addr = world.site("home").unwrap().addr().to_string();
    for mut session in both(&tidegate).await {
        let fields = [("x-debug", "1"), ("x-real-ip", "192.0.2.1")];
        let sent = session.send(Method::GET, "/api/any?q", &fields, "").await;
        let reply = sent.unwrap();
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(field(&reply, "x-served"), "home api");
        let seen = String::from_utf8(reply.body.to_vec()).unwrap();
        assert!(seen.contains(&addr), "the host is the endpoint's: {seen}");
        assert!(seen.contains(r#"["x-real-ip","127.0.0.1"]"#), "{seen}");
        assert!(!seen.contains("x-debug"), "{seen}");
        let reply = session.get("/broken").await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        let problem = String::from_utf8(reply.body.to_vec()).unwrap();
        assert!(problem.contains("fault_injected"), "{problem}");
    }
    let lines = tidegate.logged(4).await;
    let rewritten = lines.iter().filter(|line| line["rewritten"] == "/headers");
    assert_eq!(rewritten.count(), 2, "{lines:#?}");
    let broken = lines
        .iter()
        .filter(|line| line["reason"] == "fault_injected");
    assert_eq!(broken.count(), 2);
    let config = tidegate.config();
    let told = run(["explain", config.to_str().unwrap(), "GET", "/api/x"]);
    assert!(
        told.stdout.contains("path      /headers"),
        "{}",
        told.stdout
    );
    assert!(told.stdout.contains("upstream  shop"), "{}", told.stdout);
}
