//! Synthetic transactions: what one step hands to the next, and which step it is that fails.

use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderName;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use tidegate_core::Health;
use tidegate_core::plan::{Extract, ExtractFrom, HttpProbe, Probe, ProbeKind, UpstreamProtocol};
use tidegate_lab::{Action, RawUpstream};

use crate::server::{Answer, Script, Server};
use crate::support::{Scene, Spec, patient, until};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn transaction(steps: impl Into<Box<[HttpProbe]>>) -> Probe {
    Probe {
        kind: ProbeKind::Steps(steps.into()),
        ..patient()
    }
}

fn get(path: &str) -> HttpProbe {
    HttpProbe {
        path: path.into(),
        ..HttpProbe::default()
    }
}

fn header(name: &str, field: &'static str) -> Extract {
    Extract {
        name: name.into(),
        from: ExtractFrom::Header(HeaderName::from_static(field)),
    }
}

fn json(name: &str, pointer: &str) -> Extract {
    Extract {
        name: name.into(),
        from: ExtractFrom::Json(pointer.into()),
    }
}

/// Log in, put something into the cart, look at it.
fn shopping() -> [HttpProbe; 3] {
    let fields = |name: &'static str, value: &str| [(HeaderName::from_static(name), value.into())];
    [
        HttpProbe {
            method: Method::POST,
            extract: [header("session", "x-session"), json("cart", "/carts/0/id")].into(),
            ..get("/login")
        },
        HttpProbe {
            method: Method::PUT,
            headers: fields("authorization", "Bearer ${session}").into(),
            body: Some("{\"cart\": ${cart}}".into()),
            extract: [json("item", "/item")].into(),
            ..get("/carts/${cart}")
        },
        HttpProbe {
            headers: fields("authorization", "Bearer ${session}").into(),
            expect_body: Some("one item".into()),
            ..get("/items/${item}?of=${cart}")
        },
    ]
}

/// Plays the shop; 409 for whoever has not got the values right.
fn shop(request: &Request<Bytes>) -> Answer {
    let token = request.headers().get("authorization");
    let knows = token.is_some_and(|token| token == "Bearer s/1");
    let path = request.uri().path_and_query().unwrap().as_str();
    let (status, body) = match (request.method(), path) {
        (&Method::POST, "/login") => (200, r#"{"carts": [{"id": 42}]}"#),
        (&Method::PUT, "/carts/42") if knows && request.body() == "{\"cart\": 42}" => {
            (201, r#"{"item": "a/b c"}"#)
        }
        (&Method::GET, "/items/a%2Fb%20c?of=42") if knows => (200, "one item"),
        _ => (409, ""),
    };
    let response = Response::builder()
        .status(status)
        .header("x-session", "s/1");
    response.body(Full::from(body).boxed()).unwrap()
}

#[tokio::test]
async fn values_are_handed_on_over_one_connection() {
    for (version, protocol) in [
        (http::Version::HTTP_11, UpstreamProtocol::Http1),
        (http::Version::HTTP_2, UpstreamProtocol::Http2),
    ] {
        let server = Server::of(None, version, |request| shop(&request)).await;
        let mut spec = Spec::new(&[&server.address], transaction(shopping()));
        spec.connection.protocol = protocol;
        let scene = Scene::start(&spec);
        scene.becomes(&server.address, Health::Healthy).await;
        until(|| server.requests() >= 9, || "three times".into()).await;
        scene.assert_no_failure();
        // One that is under way may not have sent everything yet.
        assert!(server.requests() > 3 * (server.connections() - 1));
        assert!(scene.region().latency().is_some());
    }
}

#[tokio::test]
async fn a_connection_that_ends_between_steps_is_replaced() {
    let closing = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    for script in [
        [Action::answer(closing), vec![Action::Stall]].concat(),
        [Action::answer(OK), vec![Action::Close]].concat(),
    ] {
        let raw = RawUpstream::start(vec![script]).await.unwrap();
        let address = raw.addr().to_string();
        let probe = transaction([get("/1"), get("/2"), get("/3")]);
        let scene = Scene::start(&Spec::new(&[&address], probe));
        scene.becomes(&address, Health::Healthy).await;
        assert!(raw.connections() >= 3);
    }
}

async fn problem_of(address: &str, probe: Probe) -> String {
    let mut scene = Scene::start(&Spec::new(&[address], probe));
    let (health, found) = scene.endpoint_news().await;
    assert_eq!(health, Health::Unhealthy);
    found
}

#[tokio::test]
async fn a_failure_names_its_step() {
    let server = Server::of(None, http::Version::HTTP_11, |request| shop(&request)).await;
    let check = async |change: fn(&mut [HttpProbe; 3]), problem: &str| {
        let mut steps = shopping();
        change(&mut steps);
        let found = problem_of(&server.address, transaction(steps)).await;
        assert!(found.ends_with(problem), "{found}");
    };
    check(
        |steps| steps[1].path = "/carts/43".into(),
        "step 2 of 3: answered with status 409",
    )
    .await;
    check(
        |steps| steps[2].expect_body = Some("two items".into()),
        "step 3 of 3: the answer is not as expected: its body does not contain `two items`: `one item`",
    )
    .await;
    check(
        |steps| steps[0].extract = [json("cart", "/carts/1/id")].into(),
        "step 1 of 3: the answer is not as expected: \
         there is no string or number at `/carts/1/id` to take `cart` from",
    )
    .await;
    check(
        |steps| steps[0].extract = [header("cart", "x-cart")].into(),
        "step 1 of 3: the answer is not as expected: it has no field `x-cart` to take `cart` from",
    )
    .await;
    check(
        |steps| steps[2].extract = [json("x", "/x")].into(),
        "step 3 of 3: the answer is not as expected: \
         its body is not valid JSON: expected value at line 1 column 1",
    )
    .await;
    check(
        |steps| steps[1].extract = [].into(),
        "step 3 of 3: the request cannot be made: no earlier step gives `item`",
    )
    .await;
}

#[tokio::test]
async fn a_value_cannot_become_another_request() {
    let evil = "HTTP/1.1 200 OK\r\nx: a\tb\r\ncontent-length: 14\r\n\r\n{\"y\":\"\\r\\nz:\"}";
    let raw = RawUpstream::start(vec![Action::answer(evil)])
        .await
        .unwrap();
    let first = HttpProbe {
        extract: [json("y", "/y")].into(),
        ..get("/")
    };
    let second = HttpProbe {
        headers: [(HeaderName::from_static("x"), "${y}".into())].into(),
        ..get("/")
    };
    let found = problem_of(&raw.addr().to_string(), transaction([first, second])).await;
    assert!(
        found.contains("step 2 of 2: the request cannot be made"),
        "{found}"
    );
}

#[tokio::test]
async fn all_steps_together_have_the_time_of_the_probe() {
    let script = [Action::answer(OK), vec![Action::Stall]].concat();
    let raw = RawUpstream::start(vec![script]).await.unwrap();
    let probe = Probe {
        timeout: Duration::from_millis(60),
        ..transaction([get("/1"), get("/2")])
    };
    let found = problem_of(&raw.addr().to_string(), probe).await;
    assert!(
        found.ends_with("step 2 of 2: no complete answer within 60ms"),
        "{found}"
    );
}

#[tokio::test]
async fn an_answer_without_end_gives_no_values() {
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{{\"a\": \"{}", "x".repeat(200_000));
    let endpoint = Script::start(endless, false).await;
    let step = HttpProbe {
        extract: [json("a", "/a")].into(),
        ..get("/")
    };
    let found = problem_of(&endpoint.address, transaction([step])).await;
    assert!(
        found.ends_with("its body is too long to take values from"),
        "{found}"
    );
}
