//! Answers that break and are continued elsewhere, and those that must not be: what the client has is
//! always the same bytes, or visibly broken.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tidegate_lab::client::{Fault, Outcome};
use tidegate_lab::{
    Behaviour, Client, ClientSpec, Cut, Death, EtagScheme, Expect, Protocol, RequestSpec, World,
    content,
};

use crate::harness::{Config, HOST, Tidegate, until};

const BYTES: u64 = 600_000;
const CUTS: [Cut; 3] = [Cut::Reset, Cut::Fin, Cut::BlackHole];
const REGIONS: [&str; 3] = ["near", "next", "last"];

/// Three regions; the first ones die after so many bytes of their answers.
async fn world(dying: &[u64], how: Cut) -> World {
    let builder = REGIONS.into_iter().fold(World::builder(), |world, name| {
        world.region(name, Duration::from_millis(1))
    });
    let world = builder.start().await.unwrap();
    for (site, after) in world.sites().iter().zip(dying) {
        let after = *after;
        site.region
            .change(|it| it.death = Some(Death::InAnswer { after, how }));
    }
    world
}

fn everywhere(world: &World, change: impl Fn(usize, &mut Behaviour)) {
    for (at, site) in world.sites().iter().enumerate() {
        site.region.change(|behaviour| change(at, behaviour));
    }
}

async fn start(world: &World, up: &str) -> Tidegate {
    let mut config = Config::of(world).routes("  - { upstream: shop, idle_timeout: 10s }\n");
    config.upstream += &format!("    protocol: {up}\n");
    Tidegate::start_healthy(&config.yaml()).await
}

async fn outcome(tidegate: &Tidegate, protocol: Protocol, request: RequestSpec) -> Outcome {
    let spec = ClientSpec {
        protocol,
        requests: Some(1),
        timeout: Duration::from_secs(60),
        mix: vec![request],
        ..ClientSpec::new(tidegate.http(), HOST)
    };
    let books = Client::start(spec).unwrap().finish().await;
    *books.outcomes.keys().next().unwrap()
}

async fn resumes(tidegate: &Tidegate) -> u64 {
    let resumed = [("result", "resumed")];
    tidegate
        .metrics()
        .await
        .sum("tidegate_resumes_total", &resumed)
}

fn part(first: u64, last: u64) -> RequestSpec {
    let range = HeaderValue::try_from(format!("bytes={first}-{last}")).unwrap();
    let (seed, bytes) = (content::SEED, last - first + 1);
    RequestSpec {
        status: 206,
        expect: Expect::Part { seed, first, bytes },
        ..RequestSpec::content(BYTES).with(HeaderName::from_static("range"), range)
    }
}

/// What is spoken upstream and by the client. Silence takes time until it is known to be a death.
fn pairs(how: Cut) -> Vec<(&'static str, Protocol)> {
    let crossed = [("http1", Protocol::H2), ("http2", Protocol::H1)];
    let straight = [("http1", Protocol::H1), ("http2", Protocol::H2)];
    match how {
        Cut::BlackHole => crossed.into(),
        Cut::Reset | Cut::Fin => [crossed, straight].concat(),
    }
}

/// A whole answer and a part of one, each continued more than once.
async fn go_on(world: &World, how: Cut, up: &str, down: Protocol) {
    let tidegate = start(world, up).await;
    let told = format!("{how:?} {up} {down:?}");
    let whole = RequestSpec::content(BYTES);
    assert_eq!(outcome(&tidegate, down, whole).await, Outcome::Ok, "{told}");
    assert!(resumes(&tidegate).await >= 2, "{told}");
    let range = part(50_001, 550_000);
    assert_eq!(outcome(&tidegate, down, range).await, Outcome::Ok, "{told}");
}

/// Whatever way each region dies, over all protocols.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_go_on_however_often_they_break() {
    for how in CUTS {
        let world = world(&[100_000, 400_000], how).await;
        let all = pairs(how);
        let all = all.iter().map(|(up, down)| go_on(&world, how, up, *down));
        futures_util::future::join_all(all).await;
    }
}

/// What the regions say of their content, and whether an answer may go on elsewhere.
async fn check(told: &str, behave: impl Fn(usize, &mut Behaviour), goes_on: bool) {
    // Less than what is asked for again as proof: the region that broke gets nobody further.
    let world = world(&[10_000], Cut::Reset).await;
    everywhere(&world, behave);
    let tidegate = start(&world, "http1").await;
    for protocol in [Protocol::H1, Protocol::H2] {
        let got = outcome(&tidegate, protocol, RequestSpec::content(BYTES)).await;
        // A stream may be reset before its head has been looked at.
        let broken = matches!(got, Outcome::Transport(Fault::Body | Fault::Reset));
        assert_eq!(got == Outcome::Ok, goes_on, "{told} {protocol:?}: {got:?}");
        assert_eq!(broken, !goes_on, "{told} {protocol:?}: {got:?}");
    }
    let lost = if goes_on { 0 } else { 2 };
    until("every break is counted", || async {
        tidegate
            .metrics()
            .await
            .sum("tidegate_requests_lost_total", &[])
            == lost
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_may_differ_break_off() {
    let by_size = |_: usize, it: &mut Behaviour| it.etag = EtagScheme::Size;
    let another = |at: usize, it: &mut Behaviour| it.content_seed += at as u64;
    check("honest", |_, _| (), true).await;
    check("tags by size", by_size, true).await;
    check("other content", another, false).await;
    let lying = |at: usize, it: &mut Behaviour| {
        by_size(at, it);
        another(at, it);
    };
    check("other content, the same tag", lying, false).await;
    let untagged = |_: usize, it: &mut Behaviour| it.etag = EtagScheme::Absent;
    check("no tag", untagged, false).await;
}
