//! What routes do besides sending requests on: they answer, rewrite, edit fields and inject faults, in
//! both protocols, and nothing else changes.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method, StatusCode};
use tidegate_core::action::{Capture, Hole, PathRewrite, Template, Word};
use tidegate_core::plan::{
    Abort, Actions, Delay, Edit, Fault, HostRewrite, Mirror, Redirect, RedirectTo, Reply, Respond,
    UrlTemplate,
};
use tidegate_core::route::{self, PathMatch};
use tidegate_core::{Dial, UpstreamIdx};
use tidegate_lab::{Action, RawUpstream};

use crate::grpc::{call, code};
use crate::harness::{ADDED, Answer, Ask, Down, H1, H2, HOST, Rig, Setup, answering};
use crate::harness::{golden, one_head, raw, received, until, world};

const BOTH: [Down; 2] = [Down::H1, Down::H2];
const OK: &str =
    "HTTP/1.1 200 OK\r\nserver: theirs\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";

fn value(text: &str) -> Template<Word> {
    Template::parse(text, Word::named).unwrap()
}

fn edits<const N: usize>(list: [(&'static str, &str); N]) -> Box<[Edit]> {
    let edit = |(name, text): (&'static str, &str)| Edit {
        name: HeaderName::from_static(name),
        value: value(text),
    };
    list.map(edit).into()
}

fn names<const N: usize>(list: [&'static str; N]) -> Box<[HeaderName]> {
    list.map(HeaderName::from_static).into()
}

fn prefix(matched: &str, to: &str) -> Option<PathRewrite> {
    Some(PathRewrite::Prefix {
        matched: matched.into(),
        to: to.into(),
    })
}

/// A route for everything that answers by itself.
fn replying(reply: Reply) -> Setup {
    let mut setup = Setup::new([]);
    setup.upstreams.clear();
    setup.route().upstream = None;
    act(&mut setup, |actions| actions.reply = Some(reply));
    setup
}

fn act(setup: &mut Setup, change: impl FnOnce(&mut Actions)) {
    let mut actions = Actions::default();
    change(&mut actions);
    setup.route().actions = Some(Arc::new(actions));
}

fn redirect(origin: &str, rest: &str) -> Reply {
    let hole = |name: &str| {
        let named = Hole::NAMED.into_iter().find(|(known, _)| *known == name);
        named.map(|(_, hole)| hole)
    };
    Reply::Redirect(Redirect {
        status: StatusCode::PERMANENT_REDIRECT,
        to: RedirectTo::Url(UrlTemplate {
            origin: Template::parse(origin, hole).unwrap(),
            rest: Template::parse(rest, hole).unwrap(),
            fragment: None,
        }),
        keep_query: true,
    })
}

fn respond(status: u16, body: &str) -> Reply {
    Reply::Respond(Respond {
        status: StatusCode::from_u16(status).unwrap(),
        content_type: "text/plain".into(),
        body: body.as_bytes().into(),
        fields: edits([("x-by", "{pop} {route} {region}")]),
    })
}

fn check_counted(rig: &Rig, reason: &str, count: u64) {
    let ended = format!(r#"tidegate_request_terminations_total{{reason="{reason}"}}"#);
    assert_eq!(rig.metric(&ended), count);
    assert_eq!(rig.total("tidegate_requests_lost_total"), 0);
    assert_eq!(rig.total("tidegate_attempts_total"), 0);
}

#[tokio::test]
async fn clients_are_sent_elsewhere() {
    let rig = replying(redirect("https://new.test", "{path}")).start();
    for down in BOTH {
        let answer = Ask::get("/a?b=c").send(down, rig.addr()).await;
        assert_eq!(answer.status, 308);
        assert_eq!(answer.header("location"), "https://new.test/a?b=c");
        assert_eq!(answer.header("content-length"), "0");
        assert_eq!(answer.header("content-type"), "");
        assert!(!answer.header("x-request-id").is_empty());
    }
    for line in rig.log(2).await {
        assert_eq!(line["reason"], "redirected", "{line}");
        assert_eq!(line["route"], "all", "{line}");
        assert_eq!(line["upstream"], serde_json::Value::Null, "{line}");
    }
    check_counted(&rig, "redirected", 2);
    let requests = r#"tidegate_requests_total{route="all",region="none",status_class="3xx"}"#;
    assert_eq!(rig.metric(requests), 2);
}

/// A body, none, and the length of one that is not sent.
#[tokio::test]
async fn a_route_says_the_same_to_everybody() {
    let cases = [
        (Method::GET, 200, "hello", "5", "hello"),
        (Method::HEAD, 200, "hello", "5", ""),
        (Method::GET, 404, "", "0", ""),
        (Method::GET, 204, "", "", ""),
        (Method::GET, 304, "", "", ""),
        (Method::GET, 205, "", "0", ""),
    ];
    for (method, status, body, length, got) in cases {
        let rig = replying(respond(status, body)).start();
        for down in BOTH {
            let ask = Ask::new(method.clone(), "/");
            let answer = ask.send(down, rig.addr()).await;
            let what = format!("{method} {status} {down:?} {answer:?}");
            assert_eq!(answer.status, status, "{what}");
            assert_eq!(answer.header("content-length"), length, "{what}");
            assert_eq!(answer.text(), got, "{what}");
            assert_eq!(answer.header("x-by"), "fra1 all none", "{what}");
            let kind = if body.is_empty() { "" } else { "text/plain" };
            assert_eq!(answer.header("content-type"), kind, "{what}");
            assert!(answer.is_whole(), "{what}");
        }
        rig.log(2).await;
        check_counted(&rig, "responded", 2);
    }
}

/// The next request on the connection is answered as well, whatever became of a body before it.
/// A 200 would open a tunnel for who asks for a WebSocket over HTTP/2 (RFC 8441 section 5).
#[tokio::test]
async fn no_answer_of_the_routes_is_a_tunnel() {
    for (told, expected) in [(200, 400), (204, 400), (404, 404)] {
        let rig = replying(respond(told, "")).start();
        let mut client = H2::connect(rig.addr()).await;
        until("extended CONNECT", || {
            client.send.is_extended_connect_protocol_enabled()
        })
        .await;
        let request = http::Request::connect(format!("http://{HOST}/ws"));
        let websocket = h2::ext::Protocol::from_static("websocket");
        let request = request.extension(websocket).body(()).unwrap();
        let sending = client.open(request, true).await;
        let answer = sending.response.await.unwrap();
        assert_eq!(answer.status(), expected, "{told}");
    }
}

#[tokio::test]
async fn a_connection_goes_on_after_an_answer_of_the_routes() {
    let rig = replying(respond(200, "hello")).start();
    let mut client = H1::connect(rig.addr()).await;
    for _ in 0..3 {
        assert_eq!(client.ask(&Ask::get("/")).await.text(), "hello");
    }
    let post = Ask::post("/", "x").send(Down::H1, rig.addr()).await;
    assert_eq!((post.status, post.text().as_str()), (200, "hello"));
    rig.log(4).await;
}

#[tokio::test]
async fn a_call_is_told_by_a_code() {
    let cases = [
        (respond(403, "no"), "7", "responded: 403"),
        (respond(503, ""), "14", "responded: 503"),
        (respond(200, "hello"), "2", "responded: 200"),
        (redirect("", "/x"), "2", "redirected: 308 /x"),
    ];
    for (reply, expected, words) in cases {
        let rig = replying(reply).start();
        for down in BOTH {
            let answer = call().send(down, rig.addr()).await;
            assert_eq!(code(&answer), expected, "{answer:?}");
            assert_eq!(answer.header("grpc-message"), words);
            assert_eq!(answer.header("content-type"), "application/grpc");
            assert_eq!(answer.header("location"), "");
            assert!(answer.body.is_empty());
        }
    }
}

/// What is edited of our answers, and what never is of those that say what went wrong.
#[tokio::test]
async fn answers_of_ours_are_edited_but_for_what_they_say_of_themselves() {
    let edit = |actions: &mut Actions| {
        actions.response.set = edits([
            ("cache-control", "max-age=60"),
            ("content-type", "text/html"),
            ("strict-transport-security", "max-age=1"),
        ]);
        actions.response.append = edits([("x-way", "{region}")]);
        actions.response.remove = names(["retry-after"]);
    };
    let mut fixed = replying(respond(200, "hello"));
    let reply = fixed.route().actions.as_ref().unwrap().reply.clone();
    act(&mut fixed, |actions| {
        actions.reply = reply;
        edit(actions);
    });
    let mut down = Setup::to(crate::harness::nowhere().await);
    act(&mut down, edit);
    let (fixed, down) = (fixed.start(), down.start());
    for protocol in BOTH {
        let answer = Ask::get("/").send(protocol, fixed.addr()).await;
        assert_eq!(answer.header("cache-control"), "max-age=60");
        assert_eq!(answer.header("content-type"), "text/html");
        assert_eq!(answer.header("strict-transport-security"), "max-age=1");
        assert_eq!(answer.header("content-length"), "5");
        let problem = Ask::get("/").send(protocol, down.addr()).await;
        assert_eq!(problem.reason(), "connect_failed");
        assert_eq!(problem.header("cache-control"), "no-store");
        assert_eq!(problem.header("retry-after"), "1");
        assert_eq!(problem.header("strict-transport-security"), "max-age=1");
        assert_eq!(problem.header("x-way"), "none");
    }
}

/// What the upstream gets of `ask` from a route with these actions.
async fn forwarded(ask: &Ask, change: impl FnOnce(&mut Setup)) -> String {
    let upstream = raw(vec![answering(OK)]).await;
    let mut setup = Setup::to(upstream.addr());
    change(&mut setup);
    let rig = setup.start();
    let answer = ask.send(Down::H1, rig.addr()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    received(&upstream, 0, one_head).await
}

#[tokio::test]
async fn upstreams_get_the_path_and_the_host_of_the_rewrite() {
    let ask = Ask::get("/api/x?q=/api");
    let got = forwarded(&ask, |setup| {
        act(setup, |actions| {
            actions.path = prefix("/api", "/v2");
            actions.host = Some(HostRewrite::Fixed("inner.test:81".into()));
        });
    });
    let expected = format!("GET /v2/x?q=/api HTTP/1.1\r\nhost: inner.test:81\r\n{ADDED}\r\n");
    assert_eq!(got.await, expected);
    let ask = Ask::get("/users/7/orders?a");
    let got = forwarded(&ask, |setup| {
        let template = route::Template::new("/users/{id}/orders").unwrap();
        setup.route().matches.path = Some(PathMatch::Template(Arc::new(template)));
        let hole = |name: &str| {
            Some(Hole::Captured(Capture {
                name: name.into(),
                at: 1,
            }))
        };
        let whole = Template::parse("/o/{id}", hole).unwrap();
        act(setup, |actions| {
            actions.path = Some(PathRewrite::Whole(whole))
        });
    });
    assert!(
        got.await
            .starts_with("GET /o/7?a HTTP/1.1\r\nhost: a.test\r\n")
    );
}

/// Over HTTP/2 as well, to whatever endpoint the attempt goes; the log tells both paths.
#[tokio::test]
async fn the_endpoints_own_host_is_that_of_the_attempt() {
    for h2_up in [false, true] {
        let world = world(&["eu"]).await;
        let mut setup = Setup::world(&world);
        setup.h2_up(h2_up);
        let endpoint = setup.upstream().regions[0].endpoints[0].address.clone();
        act(&mut setup, |actions| {
            let fixed = Template::parse("/headers", |_| None).unwrap();
            actions.path = Some(PathRewrite::Whole(fixed));
            actions.host = Some(HostRewrite::Upstream);
            actions.request.append = edits([("x-way", "{region} {upstream}")]);
        });
        let rig = setup.start();
        for down in BOTH {
            let answer = Ask::get("/any?x").send(down, rig.addr()).await;
            let text = answer.text();
            assert!(text.contains(&*endpoint), "{endpoint} {text}");
            assert!(text.contains("eu shop"), "{text}");
            assert!(text.contains(HOST), "x-forwarded-host: {text}");
        }
        for line in rig.log(2).await {
            assert_eq!(line["path"], "/any", "{line}");
            assert_eq!(line["rewritten"], "/headers", "{line}");
        }
    }
}

#[tokio::test]
async fn fields_of_requests_are_edited() {
    let ask = Ask::get("/p?secret")
        .field("x-debug", "1")
        .field("x-way", "client")
        .field("x-real-ip", "192.0.2.1")
        .field("cookie", "a=b");
    let got = forwarded(&ask, |setup| {
        act(setup, |actions| {
            actions.request.remove = names(["cookie", "x-debug"]);
            actions.request.set = edits([("x-real-ip", "{client.address}")]);
            actions.request.append =
                edits([("x-way", "{region}:{route}:{request.path}:{request.scheme}")]);
        });
    });
    let expected = format!(
        "GET /p?secret HTTP/1.1\r\nhost: {HOST}\r\nx-way: client\r\n{ADDED}\
         x-real-ip: 127.0.0.1\r\nx-way: eu:all:/p:http\r\n\r\n"
    );
    assert_eq!(got.await, expected);
}

/// Neither an underscore nor a trailer brings in what the route takes out or sets.
#[tokio::test]
async fn edits_of_requests_are_not_got_round() {
    let ask = Ask::get("/").field("x_debug", "1").field("x_user", "root");
    let change = |actions: &mut Actions| {
        actions.request.remove = names(["x-debug"]);
        actions.request.set = edits([("x-user", "robot")]);
    };
    let got = forwarded(&ask, |setup| act(setup, change)).await;
    let expected = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n{ADDED}x-user: robot\r\n\r\n");
    assert_eq!(got, expected);
    let world = world(&["eu"]).await;
    for down in BOTH {
        let mut setup = Setup::world(&world);
        act(&mut setup, change);
        let rig = setup.start();
        let ask = Ask::post("/sha256", "x").field("te", "trailers");
        let ask = ask.trailer("x-debug", "1").trailer("x-user", "root");
        let answer = ask.trailer("x-sum", "7").send(down, rig.addr()).await;
        let expected = serde_json::json!([["x-sum", "7"]]);
        assert_eq!(answer.json()["trailers"], expected, "{down:?}");
    }
}

#[tokio::test]
async fn fields_of_answers_are_edited() {
    let upstream = raw(vec![answering(OK), answering(OK)]).await;
    let mut setup = Setup::to(upstream.addr());
    act(&mut setup, |actions| {
        actions.response.remove = names(["server"]);
        actions.response.set = edits([("x-from", "{region} {upstream}")]);
    });
    let rig = setup.start();
    let mut client = H1::connect(rig.addr()).await;
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    let head = golden(client.head().await.as_bytes());
    let expected = "HTTP/1.1 200 OK\r\nvia: 1.1 fra1\r\nx-request-id: <id>\r\n\
         x-from: eu shop\r\ncontent-length: 2\r\n\r\n";
    assert_eq!(head, expected);
    let answer = Ask::get("/").send(Down::H2, rig.addr()).await;
    assert_eq!(answer.header("server"), "");
    assert_eq!(answer.header("x-from"), "eu shop");
}

/// A retry and a copy send what the first attempt sent; the region is each one's own.
#[tokio::test]
async fn every_attempt_and_copy_gets_the_same() {
    let eu = raw(vec![vec![Action::ReadHead, Action::Reset]]).await;
    let (us, dark) = (
        raw(vec![answering(OK)]).await,
        raw(vec![answering(OK)]).await,
    );
    let mut setup = Setup::new([("eu", eu.addr()), ("us", us.addr())]).one_thread();
    let shadow = setup.add_upstream("shadow", [("dark", dark.addr())]);
    setup.route().mirror = Some(Mirror {
        upstream: shadow,
        ..Mirror::default()
    });
    act(&mut setup, |actions| {
        actions.path = prefix("/api", "/v2");
        actions.request.set = edits([("x-region", "{region}")]);
    });
    let rig = setup.start();
    let answer = Ask::get("/api/x").send(Down::H1, rig.addr()).await;
    assert_eq!(answer.status, 200);
    for (upstream, region) in [(&eu, "eu"), (&us, "us"), (&dark, "dark")] {
        let got: String = received(upstream, 0, one_head).await;
        assert!(got.starts_with("GET /v2/x HTTP/1.1\r\n"), "{region}: {got}");
        assert!(got.contains(&format!("x-region: {region}\r\n")), "{got}");
    }
    assert_eq!(rig.log(1).await[0]["rescued"], true);
}

#[tokio::test]
async fn what_must_not_be_rewritten_is_refused() {
    let upstream = raw(vec![]).await;
    let mut setup = Setup::to(upstream.addr());
    act(&mut setup, |actions| {
        actions.path = prefix("/files", "/static")
    });
    let rig = setup.start();
    for down in BOTH {
        let answer = Ask::get("/files/../secret").send(down, rig.addr()).await;
        assert_eq!(
            (answer.status, answer.reason()),
            (400, "bad_request".into())
        );
        assert!(answer.detail().contains("dot segment"), "{answer:?}");
    }
}

fn fault(delay: Option<Duration>, abort: Option<u16>) -> Fault {
    let share = Dial::FULL;
    Fault {
        delay: delay.map(|time| Delay { time, share }),
        abort: abort.map(|status| Abort {
            status: StatusCode::from_u16(status).unwrap(),
            share,
        }),
    }
}

fn faults(rig: &Rig, kind: &str) -> u64 {
    rig.metric(&format!(
        r#"tidegate_faults_injected_total{{fault="{kind}"}}"#
    ))
}

fn faulty(upstream: &RawUpstream, fault: Fault) -> Setup {
    let mut setup = Setup::to(upstream.addr());
    act(&mut setup, |actions| actions.fault = fault);
    setup
}

#[tokio::test]
async fn an_injected_error_reaches_no_upstream() {
    let upstream = raw(vec![]).await;
    let rig = faulty(&upstream, fault(None, Some(418))).start();
    for down in BOTH {
        let answer = Ask::get("/").send(down, rig.addr()).await;
        assert_eq!(
            (answer.status, answer.reason()),
            (418, "fault_injected".into())
        );
        let post = Ask::post("/", "x").send(down, rig.addr()).await;
        assert_eq!(post.status, 418);
    }
    for line in rig.log(4).await {
        assert_eq!(line["reason"], "fault_injected", "{line}");
        assert_eq!(line["faults"], serde_json::json!(["abort"]), "{line}");
        assert_eq!(line["attempts"], serde_json::json!([]), "{line}");
    }
    assert_eq!((faults(&rig, "abort"), faults(&rig, "delay")), (4, 0));
    check_counted(&rig, "fault_injected", 4);
    let rig = faulty(&upstream, fault(None, Some(503))).start();
    let answer: Answer = call().send(Down::H2, rig.addr()).await;
    assert_eq!(code(&answer), "14", "{answer:?}");
}

/// The delay passes, the request is served, and the log tells of it; a route of which nobody is meant
/// injects nothing.
#[tokio::test]
async fn a_delayed_request_is_served() {
    let upstream = raw(vec![answering(OK), answering(OK)]).await;
    let rig = faulty(&upstream, fault(Some(Duration::from_millis(20)), None)).start();
    let answer = Ask::post("/", "x").send(Down::H1, rig.addr()).await;
    assert_eq!(answer.status, 200);
    let line = &rig.log(1).await[0];
    assert_eq!(line["reason"], "completed", "{line}");
    assert_eq!(line["faults"], serde_json::json!(["delay"]), "{line}");
    assert!(line["duration_us"].as_u64().unwrap() >= 20_000, "{line}");
    assert_eq!(faults(&rig, "delay"), 1);
    let none = Dial::NONE;
    let mut nobody = fault(Some(Duration::from_secs(3600)), Some(500));
    nobody.delay.as_mut().unwrap().share = none;
    nobody.abort.as_mut().unwrap().share = none;
    let rig = faulty(&upstream, nobody).start();
    assert_eq!(Ask::get("/").send(Down::H1, rig.addr()).await.status, 200);
    assert_eq!(rig.log(1).await[0].get("faults"), None);
}

/// A delay counts against the route's time, and ends with the client.
#[tokio::test]
async fn a_delay_ends_with_the_deadline_and_with_the_client() {
    let upstream = raw(vec![]).await;
    let hours = Duration::from_secs(7200);
    let mut setup = faulty(&upstream, fault(Some(hours), None));
    setup.route().timeout = Duration::from_millis(30);
    let rig = setup.start();
    for down in BOTH {
        let answer = Ask::get("/").send(down, rig.addr()).await;
        let told = (answer.status, answer.reason());
        assert_eq!(told, (504, "deadline_exceeded".into()), "{down:?}");
    }
    let rig = faulty(&upstream, fault(Some(hours), Some(500))).start();
    let mut client = H1::connect(rig.addr()).await;
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    until("the delay", || faults(&rig, "delay") == 1).await;
    drop(client);
    let line = &rig.log(1).await[0];
    assert_eq!(line["reason"], "client_gone", "{line}");
    assert_eq!(faults(&rig, "abort"), 0);
}

/// A copy is sent at once, whatever is injected into its original.
#[tokio::test]
async fn copies_get_no_faults() {
    let dark = raw(vec![answering(OK)]).await;
    let eu = raw(vec![]).await;
    let mut setup = faulty(&eu, fault(None, Some(500)));
    let shadow: UpstreamIdx = setup.add_upstream("shadow", [("dark", dark.addr())]);
    setup.route().mirror = Some(Mirror {
        upstream: shadow,
        ..Mirror::default()
    });
    let rig = setup.start();
    assert_eq!(Ask::get("/").send(Down::H1, rig.addr()).await.status, 500);
    let got: String = received(&dark, 0, one_head).await;
    assert!(got.starts_with("GET / HTTP/1.1\r\n"), "{got}");
}
