//! Candidates at odd moments: one takes another's place, one is what serves already, who asked goes away, a
//! process begins again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_config::Bundle;
use tidegate_control::{
    Author, Candidates, Cause, NoTraffic, Reloader, Shared, StageTerms, Terms, Traffic, Unwanted,
};
use tidegate_core::Part;
use tidegate_core::shadow::Case;
use tidegate_core::standing::Dial;

use crate::support::{Site, ask, assert_problem, config, until};

/// Remembers how it was opened and closed.
#[derive(Default)]
struct Log(Mutex<Vec<&'static str>>);

impl Traffic for Log {
    fn open(&self) {
        self.0.lock().unwrap().push("open");
    }

    fn close(&self) {
        self.0.lock().unwrap().push("close");
    }

    fn take(&self, _cases: &mut Vec<Case>) -> u64 {
        0
    }
}

fn candidates(site: &Site, traffic: Arc<dyn Traffic>) -> Arc<Candidates> {
    Candidates::new(site.shared.clone(), site.reloader.clone(), traffic)
}

fn bundle(site: &Site, text: &str) -> Bundle {
    Bundle::of(site.path(), text)
}

fn tenth() -> Part {
    Part::Share(Dial::new(0.1))
}

async fn put(candidates: &Arc<Candidates>, site: &Site, text: &str) {
    let author = Author::default();
    let put = candidates.put(bundle(site, text), Terms::default(), author);
    put.await.unwrap();
}

/// What the one before it does last must not shut out what comes to the next.
#[tokio::test]
async fn a_candidate_that_takes_another_ones_place_is_shown_what_comes() {
    let site = Site::new(&config("5s"));
    let log = Arc::<Log>::default();
    let candidates = candidates(&site, log.clone());
    let calls = || log.0.lock().unwrap().clone();
    put(&candidates, &site, &config("6s")).await;
    until("requests are shown", || calls().len() == 1).await;
    put(&candidates, &site, &config("7s")).await;
    until("both have begun", || calls().len() >= 3).await;
    assert_eq!(calls(), ["open", "close", "open"]);
}

/// Its content is what serves, so that nothing has to take its place; its part ends all the same.
#[tokio::test]
async fn a_part_of_what_serves_already_ends_when_it_is_activated() {
    let site = Site::new(&config("5s"));
    let candidates = candidates(&site, Arc::new(NoTraffic));
    put(
        &candidates,
        &site,
        &format!("# other words\n{}", config("5s")),
    )
    .await;
    let staged = candidates.stage(tenth(), StageTerms::default()).await;
    staged.unwrap();
    let (told, _) = candidates.activate(Author::default()).await.unwrap();
    assert_eq!(
        (&told["state"], &told["generation"]),
        (&"activated".into(), &1.into())
    );
    assert!(!site.shared.plan.is_staged());
    put(&candidates, &site, &config("6s")).await;
}

/// A client that hangs up stops nothing halfway.
#[tokio::test]
async fn an_activation_is_entered_when_who_asked_has_gone_away() {
    for staged in [false, true] {
        let site = Site::new(&config("5s"));
        let candidates = candidates(&site, Arc::new(NoTraffic));
        put(&candidates, &site, &config("6s")).await;
        if staged {
            candidates
                .stage(tenth(), StageTerms::default())
                .await
                .unwrap();
        }
        {
            let mut asked = std::pin::pin!(candidates.activate(Author::default()));
            let once = std::future::poll_fn(|cx| {
                std::task::Poll::Ready(std::future::Future::poll(asked.as_mut(), cx).is_ready())
            });
            assert!(!once.await);
        }
        until("it serves", || site.timeout() == Duration::from_secs(6)).await;
        until("it is entered", || {
            candidates.told().unwrap()["state"] == "activated"
        })
        .await;
        let entered = || {
            site.events()
                .iter()
                .filter(|kind| *kind == "candidate")
                .count()
        };
        until("it is told", || entered() == 2 + usize::from(staged)).await;
    }
}

/// What comes between leaves no candidate in a state of its own.
#[tokio::test]
async fn a_part_is_given_back_tried_over_and_reloaded_over() {
    let site = Site::new(&config("5s"));
    let candidates = candidates(&site, Arc::new(NoTraffic));
    let stage = async || candidates.stage(tenth(), StageTerms::default()).await;
    let state = || candidates.told().unwrap()["state"].clone();
    put(&candidates, &site, &config("6s")).await;
    stage().await.unwrap();
    // Another one may not take the place of what serves a part.
    let other = candidates.put(
        bundle(&site, &config("7s")),
        Terms::default(),
        Author::default(),
    );
    assert!(matches!(other.await, Err(Unwanted::Staged)));
    assert_eq!(
        (state(), site.shared.plan.is_staged()),
        ("staged".into(), true)
    );
    // Given back, and not twice; it may serve a part again, or everything.
    candidates.abandon(&Author::default()).await.unwrap();
    let again = candidates.abandon(&Author::default()).await;
    assert!(matches!(again, Err(Unwanted::NotStaged)));
    stage().await.unwrap();
    candidates.abandon(&Author::default()).await.unwrap();
    let (told, _) = candidates.activate(Author::default()).await.unwrap();
    assert_eq!(told["state"], "activated");
    assert_eq!(site.timeout(), Duration::from_secs(6));
    // A reload ends the part; nothing is left to give back, and it may be staged anew.
    put(&candidates, &site, &config("8s")).await;
    stage().await.unwrap();
    site.write(&config("9s"));
    assert!(site.reloader.reload(Cause::Api).await.took_effect());
    assert!(!site.shared.plan.is_staged());
    until("its end is noticed", || state() == "abandoned").await;
    let gone = candidates.abandon(&Author::default()).await;
    assert!(matches!(gone, Err(Unwanted::NotStaged)));
    stage().await.unwrap();
    // So does a rollback.
    site.reloader.rollback(None, Cause::Rollback).await.unwrap();
    assert!(!site.shared.plan.is_staged());
    candidates.activate(Author::default()).await.unwrap();
    assert_eq!(site.timeout(), Duration::from_secs(8));
}

/// Requests have been served and logged under the number of a part.
#[tokio::test]
async fn the_number_of_a_part_never_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let kept = |timeout: &str| {
        let state = dir.path().join("state");
        format!("state: {{ dir: {} }}\n{}", state.display(), config(timeout))
    };
    let site = Site::new(&kept("5s"));
    let candidates = candidates(&site, Arc::new(NoTraffic));
    put(&candidates, &site, &kept("6s")).await;
    candidates
        .stage(tenth(), StageTerms::default())
        .await
        .unwrap();
    assert_eq!(site.shared.plan.stage().as_ref().unwrap().generation().0, 2);
    candidates.withdraw().await.unwrap();
    drop(candidates);
    let Site {
        dir,
        shared,
        reloader,
    } = site;
    drop((shared, reloader));
    let path = dir.path().join("tidegate.yaml");
    let again = || {
        let shared = Shared::new(std::time::Instant::now());
        let opened = Reloader::open(path.as_path(), shared.clone()).unwrap();
        (shared, opened.reloader)
    };
    let mut begun = again();
    until("the directory is free", || {
        let has = begun.1.generations().store().is_some();
        if !has {
            begun = again();
        }
        has
    })
    .await;
    let (shared, reloader) = begun;
    let generation = || shared.plan.newest().unwrap().generation.0;
    assert_eq!(generation(), 1, "what served goes on under its number");
    std::fs::write(&path, kept("7s")).unwrap();
    reloader.reload(Cause::Api).await;
    assert_eq!(generation(), 3);
}

/// What would change is told against what serves now.
#[tokio::test]
async fn what_would_change_is_told_against_what_serves() {
    let site = Site::new(&config("5s"));
    let candidates = candidates(&site, Arc::new(NoTraffic));
    put(&candidates, &site, &config("6s")).await;
    let changes = || candidates.told().unwrap()["changes"].clone();
    let before = changes();
    site.write(&config("6s"));
    site.reloader.reload(Cause::Api).await;
    assert_ne!(changes(), before);
    let none = serde_json::to_value(tidegate_control::Changes::default()).unwrap();
    assert_eq!(changes(), none);
}

/// A configuration that names regions of its own leaves nothing behind when it is withdrawn.
#[tokio::test]
async fn a_candidate_that_is_withdrawn_leaves_nothing_on_the_board() {
    let site = Site::new(&config("5s"));
    let candidates = candidates(&site, Arc::new(NoTraffic));
    let other = config("5s")
        .replace("shop:", "cart:")
        .replace("upstream: shop", "upstream: cart");
    put(&candidates, &site, &other).await;
    candidates
        .stage(tenth(), StageTerms::default())
        .await
        .unwrap();
    candidates.withdraw().await.unwrap();
    let known = |wanted: &str| {
        let endpoints = site.shared.board.endpoints();
        let mut upstreams = endpoints.iter().map(|((upstream, ..), _)| &**upstream);
        upstreams.any(|upstream| upstream == wanted)
    };
    until("it is forgotten", || !known("cart")).await;
    assert!(known("shop"));
    assert!(matches!(candidates.told(), Err(Unwanted::None)));
}

/// The process may read what whoever asks it may not.
#[tokio::test]
async fn a_file_that_is_named_is_not_shown() {
    let site = Site::new(&config("5s"));
    let (admin, _) = site.admin().await;
    let path = site.dir.path().join("key.pem");
    for text in ["-----BEGIN\nhidden\n: hidden: [\n", "hidden: 1\n", "hidden"] {
        std::fs::write(&path, text).unwrap();
        let target = format!("/candidate?path={}", path.display());
        let answer = ask(admin.address(), "POST", &target, &[]).await;
        let problem = assert_problem(&answer, 422, "configuration_refused");
        assert!(!answer.body.contains("hidden"), "{}", answer.body);
        assert!(problem["problems"][0]["code"].is_string());
    }
}

/// A part that was given back and taken again is the same plan under two numbers; both have to go.
#[tokio::test]
async fn parts_that_were_given_back_are_thrown_away() {
    let site = Site::new(&config("5s"));
    let candidates = candidates(&site, Arc::new(NoTraffic));
    put(&candidates, &site, &config("6s")).await;
    for _ in 0..2 {
        let staged = candidates.stage(tenth(), StageTerms::default()).await;
        staged.unwrap();
        candidates.abandon(&Author::default()).await.unwrap();
    }
    assert_eq!(site.shared.plan.held().len(), 3);
    until("they are gone", || site.shared.plan.held().len() == 1).await;
}
