//! Promise 5 after the swap: a plan under which requests fare worse goes again by itself, back to the last
//! one that is trusted, and one that is not to blame stays.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;
use tidegate_lab::{Mode, World};
use tokio::task::JoinHandle;

use crate::harness::{Config, Tidegate, ask, until};

/// Between two requests of an asker: a look of the watch sees some.
const PACE: Duration = Duration::from_millis(5);

/// `/a` goes to the one region, `/b` is answered by the process.
struct Scene {
    world: World,
    tidegate: Tidegate,
}

/// Asks again and again until it is dropped.
struct Asker {
    asks: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Asker {
    fn start(http: SocketAddr, path: &'static str) -> Self {
        let asks = Arc::new(AtomicBool::new(true));
        let goes_on = asks.clone();
        let task = tokio::spawn(async move {
            while goes_on.load(Ordering::Relaxed) {
                ask(http, Method::GET, path).await;
                tokio::time::sleep(PACE).await;
            }
        });
        Self { asks, task }
    }

    async fn stop(self) {
        self.asks.store(false, Ordering::Relaxed);
        self.task.await.unwrap();
    }
}

const GOOD: &str = "upstream: shop";
const BAD: &str = "respond: { status: 503, body: no }";

impl Scene {
    async fn start() -> Self {
        let world = World::builder().region("eu-west", Duration::from_millis(1));
        let world = world.start().await.unwrap();
        let config = config(&world, GOOD, "respond: { status: 200 }");
        let tidegate = Tidegate::start_healthy(&config).await;
        Self { world, tidegate }
    }

    async fn becomes(&self, a: &str, b: &str) {
        self.tidegate.save(&config(&self.world, a, b));
        let reply = self.tidegate.admin_post("/reload").await;
        assert_eq!(reply.json()["verdict"], "activated", "{reply:?}");
    }

    async fn dies(&self) {
        let link = &self.world.site("eu-west").unwrap().link;
        link.set(Mode::Refuse).await.unwrap();
    }

    async fn requests(&self) -> u64 {
        let metrics = self.tidegate.metrics().await;
        metrics.sum("tidegate_request_terminations_total", &[])
    }

    async fn more_requests(&self, more: u64) {
        let goal = self.requests().await + more;
        until("more requests have ended", || async {
            self.requests().await >= goal
        })
        .await;
    }

    /// The first event of this kind, once it is there.
    async fn told(&self, kind: &str) -> Value {
        until(kind, || async {
            !self.tidegate.events(kind).await.is_empty()
        })
        .await;
        self.tidegate.events(kind).await.remove(0)
    }

    async fn generations(&self) -> Value {
        self.tidegate.admin_get("/generations").await.json()
    }
}

fn config(world: &World, a: &str, b: &str) -> String {
    let routes = format!(
        "  - {{ name: a, match: {{ path: /a }}, {a} }}\n  - {{ name: b, match: {{ path: /b }}, {b} }}\n"
    );
    let config = Config::of(world).routes(&routes).yaml();
    format!("rollback: {{ watch: 20s, min_requests: 20 }}\n{config}")
}

/// The region would have died under any plan.
#[tokio::test]
async fn a_plan_is_not_left_because_a_region_dies() {
    let scene = Scene::start().await;
    let asker = Asker::start(scene.tidegate.http(), "/a");
    scene.more_requests(600).await;
    scene.becomes(GOOD, "respond: { status: 204 }").await;
    scene.more_requests(30).await;
    scene.dies().await;
    let held = scene.told("rollback_held").await;
    assert_eq!(held["generation"], 2, "{held}");
    assert_eq!(
        held["regions"],
        serde_json::json!(["shop/eu-west"]),
        "{held}"
    );
    scene.more_requests(200).await;
    asker.stop().await;
    let told = scene.generations().await;
    assert_eq!(told["serving"], 2, "{told}");
    let why = told["history"][0]["held"].as_str().unwrap();
    assert!(why.contains("shop/eu-west went down meanwhile"), "{why}");
    assert!(scene.tidegate.events("rolled_back").await.is_empty());
}

/// What the plan broke itself counts, whatever else goes on.
#[tokio::test]
async fn a_bad_plan_is_left_also_while_a_region_is_dead() {
    let scene = Scene::start().await;
    let http = scene.tidegate.http();
    let asker = Asker::start(http, "/a");
    scene.more_requests(600).await;
    scene.becomes(GOOD, BAD).await;
    scene.dies().await;
    scene.told("rollback_held").await;
    let other = Asker::start(http, "/b");
    let left = scene.told("rolled_back").await;
    assert_eq!((&left["from"], &left["generation"]), (&2.into(), &3.into()));
    asker.stop().await;
    other.stop().await;
    assert_eq!(ask(http, Method::GET, "/b").await.status, StatusCode::OK);
    let told = scene.generations().await;
    assert_eq!(told["history"][0]["restores"], 1, "{told}");
}

/// What was counted under a plan that has not passed its watch is no measure for the next.
#[tokio::test]
async fn a_second_bad_plan_does_not_hide_the_first() {
    let scene = Scene::start().await;
    let http = scene.tidegate.http();
    let asker = Asker::start(http, "/a");
    scene.more_requests(600).await;
    asker.stop().await;
    scene.becomes(BAD, "respond: { status: 200 }").await;
    // Too few to say anything of it.
    for _ in 0..10 {
        assert_eq!(ask(http, Method::GET, "/a").await.status, 503);
    }
    scene.becomes(BAD, "respond: { status: 204 }").await;
    let asker = Asker::start(http, "/a");
    let left = scene.told("rolled_back").await;
    assert_eq!(left["from"], 3, "{left}");
    asker.stop().await;
    assert_eq!(ask(http, Method::GET, "/a").await.status, StatusCode::OK);
    let told = scene.generations().await;
    assert_eq!(told["history"][0]["restores"], 1, "{told}");
}
