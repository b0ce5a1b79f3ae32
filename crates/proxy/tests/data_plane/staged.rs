//! Two plans serve: each connection, or each request of some routes, has its own, and nobody is lost when
//! that changes. And: requests can be shown to somebody without being held up.

use std::sync::Arc;

use tidegate_core::shadow::Case;
use tidegate_core::{Dial, Part, Stage};
use tidegate_lab::World;

use crate::harness::{Ask, H1, H2, Rig, Setup, until, world};

fn share(part: f64) -> Part {
    Part::Share(Dial::new(part))
}

/// Generation 1: everything to `eu`, another route for `/a`. Generation 2 is the same towards `us`.
async fn two_plans() -> (World, Rig, Arc<tidegate_core::Plan>) {
    let world = world(&["eu", "us"]).await;
    let setup = |region: usize| {
        let place = world.endpoints().nth(region).unwrap();
        let mut setup = Setup::new([place]);
        setup.add_route("/a", tidegate_core::UpstreamIdx(0));
        setup
    };
    let rig = setup(0).start();
    let next = Arc::new(setup(1).into_plan());
    (world, rig, next)
}

fn stage(rig: &Rig, next: &Arc<tidegate_core::Plan>, part: Part) -> Arc<Stage> {
    let staged = rig.plan.stage_plan(next.clone(), part, &rig.board);
    staged.expect("a good stage")
}

/// The region that answers each of these connections now.
async fn regions(clients: &mut [H1]) -> Vec<String> {
    let mut regions = Vec::new();
    for client in clients {
        let answer = client.ask(&Ask::get("/")).await;
        assert_eq!(answer.status, 200);
        regions.push(answer.header("x-lab-region").to_owned());
    }
    regions
}

async fn connect(rig: &Rig, count: usize) -> Vec<H1> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(H1::connect(rig.addr()).await);
    }
    clients
}

#[tokio::test]
async fn connections_stay_with_their_plan_and_go_over_and_back_whole() {
    let (_world, rig, next) = two_plans().await;
    let mut clients = connect(&rig, 200).await;
    let all = |region: &str| vec![region.to_owned(); 200];
    assert_eq!(regions(&mut clients).await, all("eu"));
    stage(&rig, &next, share(0.3));
    let first = regions(&mut clients).await;
    let new = first.iter().filter(|region| *region == "us").count();
    assert!((30..=90).contains(&new), "{new} of 200 for 30%");
    for _ in 0..3 {
        assert_eq!(regions(&mut clients).await, first, "nobody changes");
    }
    rig.plan.restage(share(0.7)).expect("a good part");
    let second = regions(&mut clients).await;
    let back = first.iter().zip(&second);
    let back = back.filter(|(was, is)| *was == "us" && *is == "eu");
    assert_eq!(back.count(), 0, "who has the new plan keeps it");
    rig.plan.abandon();
    assert_eq!(regions(&mut clients).await, all("eu"));
    // A request is counted after its client has the answer, and must not be by the next part.
    rig.log(200 * 7).await;
    let last = stage(&rig, &next, share(0.5));
    regions(&mut clients).await;
    let counted = last.serving().requests + last.staged().requests;
    assert!(counted <= 200 && last.staged().errors == 0);
    rig.plan.promote(&rig.board);
    assert_eq!(regions(&mut clients).await, all("us"));
    let log = rig.log(200 * 9).await;
    let generation = |line: &serde_json::Value| line["generation"].as_u64();
    assert_eq!(generation(&log[1_799]), Some(3));
    assert_eq!(rig.total("tidegate_requests_lost_total"), 0);
}

/// All streams of a connection are its plan's.
#[tokio::test]
async fn streams_of_one_connection_have_one_plan() {
    let (_world, rig, next) = two_plans().await;
    stage(&rig, &next, share(0.5));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..24 {
        let mut client = H2::connect(rig.addr()).await;
        let first = client.ask(&Ask::get("/")).await;
        let region = first.header("x-lab-region").to_owned();
        for _ in 0..4 {
            let answer = client.ask(&Ask::get("/")).await;
            assert_eq!(answer.header("x-lab-region"), region);
        }
        seen.insert(region);
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
}

#[tokio::test]
async fn routes_take_the_new_plan_and_the_others_do_not() {
    let (_world, rig, next) = two_plans().await;
    let stage = stage(&rig, &next, Part::Routes(vec!["/a".into()]));
    let mut client = H1::connect(rig.addr()).await;
    for (path, region) in [("/a", "us"), ("/a/b", "us"), ("/", "eu"), ("/b", "eu")] {
        let answer = client.ask(&Ask::get(path)).await;
        assert_eq!(
            (answer.status, answer.header("x-lab-region")),
            (200, region)
        );
    }
    until("the requests are counted", || {
        (stage.serving().requests, stage.staged().requests) == (2, 2)
    })
    .await;
    rig.plan.abandon();
    assert_eq!(
        client.ask(&Ask::get("/a")).await.header("x-lab-region"),
        "eu"
    );
}

/// What an operator drains is drained under both plans.
#[tokio::test]
async fn a_drain_holds_in_both_plans() {
    let world = world(&["eu", "us"]).await;
    let rig = Setup::world(&world).start();
    let next = Arc::new(Setup::world(&world).into_plan());
    stage(&rig, &next, share(0.5));
    rig.board.region("shop", "eu").set_draining(true);
    let mut clients = connect(&rig, 40).await;
    assert_eq!(regions(&mut clients).await, vec!["us"; 40]);
}

/// A plan that is abandoned is let go of by workers that nobody asks for anything.
#[tokio::test]
async fn who_has_no_requests_keeps_no_plan() {
    let (_world, rig, next) = two_plans().await;
    let live = stage(&rig, &next, share(1.0)).live.clone();
    let mut clients = connect(&rig, 8).await;
    regions(&mut clients).await;
    rig.plan.abandon();
    until("nobody holds the plan", || Arc::strong_count(&live) == 1).await;
}

#[tokio::test]
async fn requests_are_shown_while_somebody_looks() {
    let (_world, rig, _next) = two_plans().await;
    let tap = rig.running().tap();
    let mut client = H1::connect(rig.addr()).await;
    let ask = Ask::get("/a?b=c").field("cookie", "session=7");
    client.ask(&ask).await;
    let mut cases: Vec<Case> = Vec::new();
    assert_eq!((tap.take(&mut cases), cases.len()), (0, 0), "it is closed");
    tap.open();
    client.ask(&ask).await;
    assert_eq!((tap.take(&mut cases), cases.len()), (0, 1));
    let shown = &cases[0].request;
    assert_eq!((&*shown.target, &*shown.host), ("/a?b=c", "a.test"));
    let cookie = shown.fields.iter().find(|(name, _)| name == "cookie");
    assert_eq!(cookie.map(|(_, value)| &**value), Some(&b"session=7"[..]));
    client.ask(&ask).await;
    tap.close();
    assert_eq!((tap.take(&mut cases), cases.len()), (0, 1), "thrown away");
}

/// Who does not come to look gets the first ones, and how many he has missed.
#[tokio::test]
async fn what_nobody_takes_is_bounded() {
    let (_world, rig, _next) = two_plans().await;
    let tap = rig.running().tap();
    tap.open();
    let mut client = H1::connect(rig.addr()).await;
    for _ in 0..300 {
        assert_eq!(client.ask(&Ask::get("/")).await.status, 200);
    }
    let mut cases = Vec::new();
    assert_eq!((tap.take(&mut cases), cases.len()), (44, 256));
}
