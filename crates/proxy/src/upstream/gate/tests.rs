//! Bounds on connections against real servers on loopback, with threads where they matter.

use std::future::Future;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::poll;
use tidegate_core::plan::UpstreamProtocol;

use super::*;
use crate::upstream::connect::{ConnectError, ConnectErrorKind};
use crate::upstream::directory::Directory;
use crate::upstream::pool::{Checked, Freshness, Link, Pool};
use crate::upstream::testing::*;

const NONE: Limits = Limits {
    max_connections: None,
    max_pending: None,
    max_requests: None,
    max_retries: None,
};

fn connections(max: u32) -> Limits {
    Limits {
        max_connections: Some(max),
        ..NONE
    }
}

fn pending(max: u32) -> Limits {
    Limits {
        max_pending: Some(max),
        ..connections(1)
    }
}

type Checkout<'a> = std::pin::Pin<Box<dyn Future<Output = Result<Checked, ConnectError>> + 'a>>;

/// A request that stands in line by now.
async fn waiting<'a>(pool: &'a Pool, known: &'a Known) -> Checkout<'a> {
    let mut checkout: Checkout<'a> = Box::pin(async {
        let target = known.target();
        pool.checkout(&target, Freshness::Any).await
    });
    assert!(poll!(&mut checkout).is_pending(), "it has to wait");
    checkout
}

async fn refused(pool: &Pool, known: &Known) -> ConnectError {
    let refused = pool.checkout(&known.target(), Freshness::Any).await.err();
    let error = refused.expect("no connection");
    assert_eq!(error.kind, ConnectErrorKind::Full, "{error}");
    error
}

fn refusals(known: &Known, limit: &str) -> f64 {
    let labels = format!("upstream=\"shop\",region=\"eu\",limit=\"{limit}\"");
    metric(
        known,
        &format!("tidegate_circuit_breaker_refused_total{{{labels}}}"),
    )
}

fn open(known: &Known) -> f64 {
    metric(known, "tidegate_upstream_connections{")
}

fn h1(upstream: &Upstream) -> Known {
    Known::new(upstream.address, UpstreamProtocol::Http1)
}

#[test]
fn who_finds_no_room_waits_for_a_connection_that_is_put_down() {
    let upstream = Upstream::start(Speaks::Echo);
    for (endpoint, region) in [(connections(1), NONE), (NONE, connections(1))] {
        let known = h1(&upstream).bounded(1, endpoint, region);
        on_runtime(async {
            let pool = pool(0, &Directory::new(1));
            let first = take(&pool, &known, Freshness::Any).await;
            let second = waiting(&pool, &known).await;
            put(first);
            let second = second.await.unwrap();
            assert!(second.reused && second.connect.is_none());
            let (mut used, home) = conn(second);
            echo(&mut used).await;
            home.put(used);
            assert_eq!((open(&known), idle(&known)), (1.0, 1.0));
        });
    }
    assert_eq!(upstream.accepted(), 2, "one in each case");
}

#[test]
fn a_closed_connection_makes_room_for_a_new_one() {
    let upstream = Upstream::start(Speaks::Echo);
    let known = h1(&upstream).bounded(1, connections(1), NONE);
    on_runtime(async {
        let pool = pool(0, &Directory::new(1));
        let first = take(&pool, &known, Freshness::Any).await;
        let second = waiting(&pool, &known).await;
        drop(first);
        assert!(!second.await.unwrap().reused);
        until(|| upstream.accepted() == 2).await;
        assert_eq!(open(&known), 0.0);
    });
}

#[test]
fn they_are_served_in_the_order_in_which_they_came() {
    let upstream = Upstream::start(Speaks::Echo);
    let known = h1(&upstream).bounded(1, connections(1), NONE);
    on_runtime(async {
        let pool = pool(0, &Directory::new(1));
        let mut held = take(&pool, &known, Freshness::Any).await;
        let mut line = Vec::new();
        for _ in 0..4 {
            line.push(waiting(&pool, &known).await);
        }
        for turn in 0..4 {
            // Put down or closed: it is the next one's turn.
            if turn % 2 == 0 {
                put(held);
            } else {
                drop(held);
            }
            // Nobody overtakes: what is free belongs to the first in line already.
            let late = waiting(&pool, &known).await;
            held = line.remove(0).await.unwrap();
            for later in &mut line {
                assert!(poll!(later).is_pending(), "turn {turn}");
            }
            drop(late);
        }
    });
}

#[test]
fn who_goes_away_frees_its_place() {
    let upstream = Upstream::start(Speaks::Echo);
    let known = h1(&upstream).bounded(1, pending(2), NONE);
    on_runtime(async {
        let pool = pool(0, &Directory::new(1));
        let first = take(&pool, &known, Freshness::Any).await;
        let (gone, given) = (waiting(&pool, &known).await, waiting(&pool, &known).await);
        drop(gone);
        let last = waiting(&pool, &known).await;
        put(first);
        // It was given the connection and goes away before it has noticed.
        drop(given);
        let (used, home) = conn(last.await.unwrap());
        // The same with a place for a new one.
        let (given, last) = (waiting(&pool, &known).await, waiting(&pool, &known).await);
        drop((used, home));
        drop(given);
        assert!(!last.await.unwrap().reused);
        until(|| upstream.accepted() == 2).await;
    });
}

#[test]
fn no_more_wait_than_allowed() {
    let upstream = Upstream::start(Speaks::Echo);
    for (endpoint, region, level) in [
        (pending(1), NONE, "circuit_breaker.endpoint allows 1 "),
        (NONE, pending(1), "circuit_breaker.region allows 1 "),
    ] {
        let known = h1(&upstream).bounded(1, endpoint, region);
        on_runtime(async {
            let pool = pool(0, &Directory::new(1));
            let _held = take(&pool, &known, Freshness::Any).await;
            let waits = waiting(&pool, &known).await;
            let error = refused(&pool, &known).await;
            assert!(error.to_string().contains(level), "{error}");
            assert_eq!(refusals(&known, "max_pending"), 1.0);
            drop(waits);
            let _waits_instead = waiting(&pool, &known).await;
        });
        let nobody = known.bounded(2, pending(0), NONE);
        on_runtime(async {
            let pool = pool(0, &Directory::new(1));
            let _held = take(&pool, &nobody, Freshness::Any).await;
            refused(&pool, &nobody).await;
        });
    }
}

#[test]
fn a_line_has_an_end_even_if_none_is_given() {
    let upstream = Upstream::start(Speaks::Echo);
    let known = h1(&upstream).bounded(1, connections(1), NONE);
    on_runtime(async {
        let pool = pool(0, &Directory::new(1));
        let held = take(&pool, &known, Freshness::Any).await;
        let mut line = Vec::new();
        for _ in 0..PENDING {
            line.push(waiting(&pool, &known).await);
        }
        refused(&pool, &known).await;
        drop(held);
        let served = join_all(line.drain(..).map(|checkout| async {
            put(checkout.await.unwrap());
        }));
        served.await;
    });
}

#[test]
fn nobody_waits_for_longer_than_connecting_may_take() {
    let upstream = Upstream::start(Speaks::Echo);
    let mut known = h1(&upstream).bounded(1, connections(1), NONE);
    known.profile = Arc::new(crate::tls::client::Profile {
        connect_timeout: Duration::from_millis(20),
        ..(*known.profile).clone()
    });
    on_runtime(async {
        let pool = pool(0, &Directory::new(1));
        let held = take(&pool, &known, Freshness::Any).await;
        let error = refused(&pool, &known).await;
        assert!(error.to_string().contains("within 20 ms"), "{error}");
        assert_eq!(refusals(&known, "max_connections"), 1.0);
        put(held);
        assert!(take(&pool, &known, Freshness::Any).await.reused);
    });
}

#[test]
fn another_threads_connection_comes_over_when_it_is_put_down() {
    let upstream = Upstream::start(Speaks::Echo);
    let known = h1(&upstream).bounded(1, connections(1), NONE);
    let directory = Directory::new(2);
    let (taken, is_taken) = tokio::sync::oneshot::channel();
    let (go, may_go) = tokio::sync::oneshot::channel();
    let (theirs, shelves) = (known.clone(), directory.clone());
    let thread = std::thread::spawn(move || {
        on_runtime(async move {
            let pool = pool(1, &shelves);
            let held = take(&pool, &theirs, Freshness::Any).await;
            taken.send(()).unwrap();
            may_go.await.unwrap();
            put(held);
        });
    });
    on_runtime(async {
        is_taken.await.unwrap();
        let own = pool(0, &directory);
        let waits = waiting(&own, &known).await;
        go.send(()).unwrap();
        let (mut used, _home) = conn(waits.await.unwrap());
        echo(&mut used).await;
    });
    thread.join().unwrap();
    assert_eq!(upstream.accepted(), 1);
}

#[test]
fn a_dead_connection_that_is_put_down_makes_room_for_a_new_one() {
    let upstream = Upstream::start(Speaks::Echo);
    let known = h1(&upstream).bounded(1, connections(1), NONE);
    on_runtime(async {
        let pool = pool(0, &Directory::new(1));
        let (mut used, home) = conn(take(&pool, &known, Freshness::Any).await);
        let (first, mut second) = (waiting(&pool, &known).await, waiting(&pool, &known).await);
        echo(&mut used).await;
        upstream.hang_up.send(()).await.unwrap();
        let ended = std::future::poll_fn(|cx| used.poll_fill(cx)).await;
        assert!(!matches!(ended, Ok(1..)), "it ends");
        home.put(used);
        let first = first.await.unwrap();
        assert!(!first.reused, "the first in line stays the first");
        assert!(poll!(&mut second).is_pending());
        put(first);
        assert!(second.await.unwrap().reused);
    });
}

#[test]
fn what_idles_in_the_way_is_closed() {
    let (here, there) = (Upstream::start(Speaks::Echo), Upstream::start(Speaks::Echo));
    let known = h1(&here).bounded(1, NONE, connections(1));
    let neighbour = known.neighbour(there.address);
    on_runtime(async {
        let pool = pool(0, &Directory::new(1));
        put(take(&pool, &known, Freshness::Any).await);
        let other = take(&pool, &neighbour, Freshness::Any).await;
        assert_eq!((open(&known), idle(&known)), (1.0, 0.0));
        // Put down while somebody waits whom it keeps waiting.
        let waits = waiting(&pool, &known).await;
        put(other);
        put(waits.await.unwrap());
        // Too old for this request, although it is the endpoint's own.
        assert!(!take(&pool, &known, Freshness::New).await.reused);
        assert_eq!((open(&known), idle(&known)), (0.0, 0.0));
        until(|| (here.accepted(), there.accepted()) == (3, 1)).await;
    });
}

#[test]
fn full_endpoints_do_not_hold_up_their_neighbours() {
    let (here, there) = (Upstream::start(Speaks::Echo), Upstream::start(Speaks::Echo));
    let known = h1(&here).bounded(1, connections(1), connections(3));
    let neighbour = known.neighbour(there.address);
    on_runtime(async {
        let pool = pool(0, &Directory::new(1));
        let _held = take(&pool, &known, Freshness::Any).await;
        let mut waits = waiting(&pool, &known).await;
        put(take(&pool, &neighbour, Freshness::Any).await);
        assert!(poll!(&mut waits).is_pending());
    });
}

#[test]
fn a_reload_changes_the_bound() {
    let upstream = Upstream::start(Speaks::Echo);
    let known = h1(&upstream).bounded(2, connections(1), NONE);
    on_runtime(async {
        let pool = pool(0, &Directory::new(1));
        let gate = pool.gate(&known.target());
        let first = take(&pool, &known, Freshness::Any).await;
        let mut second = waiting(&pool, &known).await;
        gate.learn(known.bounded(1, NONE, NONE).profile.allowed);
        assert!(poll!(&mut second).is_pending(), "an old plan says nothing");
        gate.learn(known.bounded(3, connections(2), NONE).profile.allowed);
        let second = second.await.unwrap();
        // The next plan allows fewer than are open.
        let lower = known.bounded(4, connections(1), NONE);
        let mut third = waiting(&pool, &lower).await;
        drop(first);
        assert!(poll!(&mut third).is_pending(), "there is still one");
        drop(second);
        assert!(!third.await.unwrap().reused);
    });
}

#[test]
fn a_stream_that_ends_goes_to_who_waits() {
    let upstream = Upstream::start(Speaks::H2 { streams: 2 });
    let known = Known::new(upstream.address, UpstreamProtocol::Http2);
    let known = known.bounded(1, connections(1), NONE);
    on_runtime(async {
        let pool = pool(0, &Directory::new(1));
        // The first answer brings the peer's limit with it.
        assert_eq!(
            ask(take(&pool, &known, Freshness::Any).await, "/").await,
            200
        );
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(start(take(&pool, &known, Freshness::Any).await, "/hold"));
        }
        let (first, mut second) = (waiting(&pool, &known).await, waiting(&pool, &known).await);
        drop(held.remove(0));
        let given = first.await.unwrap();
        assert!(given.reused && matches!(given.link, Link::H2(_)));
        assert!(poll!(&mut second).is_pending());
        assert_eq!(ask(given, "/").await, 200);
        assert_eq!(ask(second.await.unwrap(), "/").await, 200);
    });
    assert_eq!(upstream.accepted(), 1);
}

#[test]
fn a_new_h2_connection_serves_all_who_wait() {
    let upstream = Upstream::start(Speaks::H2 { streams: 10 });
    let known = Known::new(upstream.address, UpstreamProtocol::Http2);
    let known = known.bounded(1, NONE, connections(1));
    // Its place is taken by a neighbour that idles only as far as the last stream has ended.
    let other = Upstream::start(Speaks::H2 { streams: 10 });
    let neighbour = known.neighbour(other.address);
    on_runtime(async {
        let pool = pool(0, &Directory::new(1));
        let busy = start(take(&pool, &neighbour, Freshness::Any).await, "/hold");
        let mut line = Vec::new();
        for _ in 0..5 {
            line.push(waiting(&pool, &known).await);
        }
        drop(busy);
        for served in join_all(line).await {
            assert_eq!(ask(served.unwrap(), "/").await, 200);
        }
        until(|| (upstream.accepted(), other.accepted()) == (1, 1)).await;
    });
}

/// Threads that take and put down, close, cancel and give up at random never exceed the bound, and
/// nobody is forgotten: whoever keeps waiting is served in the end.
#[test]
fn threads_share_the_bound() {
    const THREADS: usize = 4;
    const BOUND: u32 = 3;
    let upstream = Upstream::start(Speaks::Echo);
    let known = h1(&upstream).bounded(1, connections(BOUND), NONE);
    let directory = Directory::new(THREADS);
    let in_use = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for index in 0..THREADS {
            let (known, directory, in_use) = (&known, &directory, &in_use);
            scope.spawn(move || {
                on_runtime(async move {
                    let pool = pool(index, directory);
                    let mut rng = fastrand::Rng::with_seed(index as u64);
                    for _ in 0..40 {
                        let seeds: Vec<_> = (0..4).map(|_| rng.u8(..)).collect();
                        let uses = seeds
                            .into_iter()
                            .map(|seed| use_one(&pool, known, in_use, seed));
                        join_all(uses).await;
                    }
                });
            });
        }
    });
    assert_eq!(open(&known), idle(&known), "what is left is idle");
    assert!(open(&known) <= f64::from(BOUND));
}

/// The same with streams: two at a time on the one connection that the threads share.
#[test]
fn threads_share_the_streams_of_one_connection() {
    const THREADS: usize = 3;
    let upstream = Upstream::start(Speaks::H2 { streams: 2 });
    let known = Known::new(upstream.address, UpstreamProtocol::Http2);
    let known = known.bounded(1, connections(1), NONE);
    let directory = Directory::new(THREADS);
    let (ready, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for index in 0..THREADS {
            let (known, directory, ready, done) = (&known, &directory, &ready, &done);
            scope.spawn(move || {
                on_runtime(async move {
                    let pool = pool(index, directory);
                    if index == 0 {
                        // The first answer brings the peer's limit with it.
                        ask(take(&pool, known, Freshness::Any).await, "/").await;
                        ready.store(1, Ordering::SeqCst);
                    }
                    until(|| ready.load(Ordering::SeqCst) == 1).await;
                    for _ in 0..30 {
                        let asks = (0..4).map(|_| async {
                            ask(take(&pool, known, Freshness::Any).await, "/").await
                        });
                        let statuses = join_all(asks).await;
                        assert!(statuses.iter().all(|status| *status == 200));
                    }
                    // The connection lives on one of the threads.
                    done.fetch_add(1, Ordering::SeqCst);
                    until(|| done.load(Ordering::SeqCst) == THREADS).await;
                });
            });
        }
    });
    assert_eq!(upstream.accepted(), 1);
}

async fn use_one(pool: &Pool, known: &Known, in_use: &AtomicUsize, seed: u8) {
    if seed.is_multiple_of(5) {
        // Gives up, perhaps with something just given.
        let target = known.target();
        let mut checkout = Box::pin(pool.checkout(&target, Freshness::Any));
        let _maybe = poll!(&mut checkout);
        tokio::task::yield_now().await;
        return;
    }
    let (mut used, home) = conn(take(pool, known, Freshness::Any).await);
    let before = in_use.fetch_add(1, Ordering::SeqCst);
    assert!(before < 3, "{before} were in use");
    echo(&mut used).await;
    in_use.fetch_sub(1, Ordering::SeqCst);
    if !seed.is_multiple_of(7) {
        home.put(used);
    }
}
