//! Pools against real servers on loopback; two threads where sharing is what is tested.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use tidegate_core::plan::UpstreamProtocol;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::tls::client::Profile;
use crate::upstream::testing::*;

#[test]
fn a_connection_is_used_again_by_the_same_thread() {
    let upstream = Upstream::start(Speaks::Echo);
    on_runtime(async {
        let pool = pool(0, &Directory::new(1));
        let known = Known::new(upstream.address, UpstreamProtocol::Http1);
        let first = take(&pool, &known, Freshness::Any).await;
        assert!(!first.reused && first.connect.is_some());
        let (mut used, home) = conn(first);
        echo(&mut used).await;
        home.put(used);
        for freshness in [Freshness::Any, Freshness::Recent] {
            let again = take(&pool, &known, freshness).await;
            assert!(again.reused && again.connect.is_none(), "{freshness:?}");
            put(again);
        }
        assert_eq!(upstream.accepted(), 1);
        assert!(
            known.region.rtt().is_some(),
            "the handshake's round trip is known"
        );
    });
}

#[test]
fn who_wants_a_new_connection_gets_one() {
    let upstream = Upstream::start(Speaks::Echo);
    on_runtime(async {
        let pool = pool(0, &Directory::new(1));
        let known = Known::new(upstream.address, UpstreamProtocol::Http1);
        for freshness in [Freshness::New, Freshness::Upgrade] {
            put(take(&pool, &known, Freshness::Any).await);
            assert!(
                !take(&pool, &known, freshness).await.reused,
                "{freshness:?}"
            );
        }
        until(|| upstream.accepted() == 3).await;
    });
}

#[test]
fn endpoints_and_profiles_do_not_share_connections() {
    let upstream = Upstream::start(Speaks::Echo);
    on_runtime(async {
        let pool = pool(0, &Directory::new(1));
        let known = Known::new(upstream.address, UpstreamProtocol::Http1);
        put(take(&pool, &known, Freshness::Any).await);
        let other_cell = Known::new(upstream.address, UpstreamProtocol::Http1);
        assert!(!take(&pool, &other_cell, Freshness::Any).await.reused);
        let mut other_profile = known.clone();
        other_profile.profile = Arc::new(Profile {
            id: 999,
            ..(*known.profile).clone()
        });
        assert!(!take(&pool, &other_profile, Freshness::Any).await.reused);
    });
}

#[test]
fn a_request_that_must_not_be_sent_twice_takes_no_old_connection() {
    let upstream = Upstream::start(Speaks::Echo);
    on_runtime(async {
        let pool = pool(0, &Directory::new(1));
        let known = Known::new(upstream.address, UpstreamProtocol::Http1);
        let (old, home) = conn(take(&pool, &known, Freshness::Any).await);
        let since = now().checked_sub(Duration::from_secs(1)).unwrap();
        let put_down = pool.0.shelf().put(home.origin, old, since);
        assert!(put_down.surplus.is_none());
        assert!(!take(&pool, &known, Freshness::Recent).await.reused);
        assert!(
            take(&pool, &known, Freshness::Any).await.reused,
            "it was left for others"
        );
    });
}

#[test]
fn a_connection_that_the_upstream_ended_is_not_used() {
    let upstream = Upstream::start(Speaks::Echo);
    on_runtime(async {
        let pool = pool(0, &Directory::new(1));
        let known = Known::new(upstream.address, UpstreamProtocol::Http1);
        for freshness in [Freshness::Any, Freshness::Recent] {
            let (mut used, home) = conn(take(&pool, &known, freshness).await);
            echo(&mut used).await;
            upstream.hang_up.send(()).await.unwrap();
            let ended = std::future::poll_fn(|cx| used.poll_fill(cx)).await;
            assert!(
                !matches!(ended, Ok(1..)),
                "it ends, and so the reactor knows"
            );
            home.put(used);
            assert!(
                !take(&pool, &known, freshness).await.reused,
                "{freshness:?}"
            );
        }
    });
}

#[test]
fn a_connection_with_bytes_to_read_is_not_used() {
    let upstream = Upstream::start(Speaks::Echo);
    on_runtime(async {
        let pool = pool(0, &Directory::new(1));
        let known = Known::new(upstream.address, UpstreamProtocol::Http1);
        let (mut used, home) = conn(take(&pool, &known, Freshness::Any).await);
        used.io_mut().write_all(b"x").await.unwrap();
        until(|| !socket(&mut used).unwrap().is_silent()).await;
        home.put(used);
        assert!(!take(&pool, &known, Freshness::Recent).await.reused);
    });
}

#[test]
fn no_more_than_idle_max_are_kept_and_the_oldest_goes() {
    let upstream = Upstream::start(Speaks::Echo);
    on_runtime(async {
        let directory = Directory::new(1);
        let pool = pool(0, &directory);
        let known = Known::new(upstream.address, UpstreamProtocol::Http1);
        let target = known.target();
        let three = join_all((0..3).map(|_| pool.checkout(&target, Freshness::Any))).await;
        three.into_iter().for_each(|checked| put(checked.unwrap()));
        assert_eq!(idle(&known), 2.0);
        let kept = [
            take(&pool, &known, Freshness::Any).await,
            take(&pool, &known, Freshness::Any).await,
        ];
        assert!(kept.iter().all(|checked| checked.reused));
        assert!(!take(&pool, &known, Freshness::Any).await.reused);
        assert_eq!(idle(&known), 0.0);
    });
}

#[test]
fn what_idles_too_long_is_closed() {
    let upstream = Upstream::start(Speaks::Echo);
    on_runtime(async {
        let directory = Directory::new(1);
        let pool = pool(0, &directory);
        let known = Known::new(upstream.address, UpstreamProtocol::Http1);
        put(take(&pool, &known, Freshness::Any).await);
        let limit = known.profile.idle_timeout;
        assert!(pool.0.shelf().sweep(now() + limit / 2), "too early");
        assert!(!pool.0.shelf().sweep(now() + limit), "nothing is left");
        assert_eq!(idle(&known), 0.0);
        assert_eq!(
            Arc::strong_count(&known.endpoint.cell),
            1,
            "the endpoint is let go"
        );
    });
}

#[test]
fn an_idle_h2_connection_is_closed_but_not_a_busy_one() {
    let upstream = Upstream::start(Speaks::H2 { streams: 10 });
    on_runtime(async {
        let directory = Directory::new(1);
        let pool = pool(0, &directory);
        let known = Known::new(upstream.address, UpstreamProtocol::Http2);
        let limit = known.profile.idle_timeout;
        let busy = take(&pool, &known, Freshness::Any).await;
        assert!(pool.0.shelf().sweep(now() + 10 * limit), "a stream is open");
        assert_eq!(idle(&known), 0.0);
        drop(busy);
        assert!(
            pool.0.shelf().sweep(now() + 10 * limit),
            "busy at the last look"
        );
        assert_eq!(idle(&known), 1.0);
        assert!(!pool.0.shelf().sweep(now() + 12 * limit));
        assert_eq!(idle(&known), 0.0);
    });
}

#[test]
fn what_died_is_swept_before_its_time() {
    let upstream = Upstream::start(Speaks::Echo);
    on_runtime(async {
        let pool = pool(0, &Directory::new(1));
        let known = Known::new(upstream.address, UpstreamProtocol::Http1);
        let (mut used, home) = conn(take(&pool, &known, Freshness::Any).await);
        echo(&mut used).await;
        home.put(used);
        upstream.hang_up.send(()).await.unwrap();
        until(|| !pool.0.shelf().sweep(now())).await;
    });
}

#[test]
fn another_threads_idle_connection_is_taken_over() {
    let upstream = Upstream::start(Speaks::Echo);
    let directory = Directory::new(2);
    let known = Known::new(upstream.address, UpstreamProtocol::Http1);
    on_runtime(async {
        let own = pool(0, &directory);
        let (mut used, home) = conn(take(&own, &known, Freshness::Any).await);
        echo(&mut used).await;
        home.put(used);
        let theirs = known.clone();
        on_another_thread(&directory, |pool| async move {
            for freshness in [Freshness::Any, Freshness::Recent] {
                let taken = take(&pool, &theirs, freshness).await;
                assert!(taken.reused, "{freshness:?}");
                let (mut used, home) = conn(taken);
                echo(&mut used).await;
                home.put(used);
            }
        });
        // Put down there, taken back here, though that thread and its reactor are gone.
        let (mut used, _home) = conn(take(&own, &known, Freshness::Any).await);
        echo(&mut used).await;
        assert_eq!(upstream.accepted(), 1);
    });
}

#[test]
fn another_threads_dead_connection_is_not_taken_over() {
    let upstream = Upstream::start(Speaks::Echo);
    let directory = Directory::new(2);
    let known = Known::new(upstream.address, UpstreamProtocol::Http1);
    on_runtime(async {
        let own = pool(0, &directory);
        let (mut used, home) = conn(take(&own, &known, Freshness::Any).await);
        echo(&mut used).await;
        upstream.hang_up.send(()).await.unwrap();
        // The system knows; whether this thread's reactor does is no matter.
        until(|| !socket(&mut used).unwrap().is_silent()).await;
        home.put(used);
        let theirs = known.clone();
        on_another_thread(&directory, |pool| async move {
            assert!(!take(&pool, &theirs, Freshness::Any).await.reused);
        });
    });
}

#[test]
fn a_stream_is_borrowed_while_an_own_connection_is_opened() {
    let upstream = Upstream::start(Speaks::H2 { streams: 10 });
    let directory = Directory::new(2);
    let known = Known::new(upstream.address, UpstreamProtocol::Http2);
    let (ready, go) = std::sync::mpsc::channel();
    let (done, finished) = tokio::sync::oneshot::channel();
    let (theirs, shelves, accepted) = (known.clone(), directory.clone(), upstream.accepted.clone());
    let thread = std::thread::spawn(move || {
        let () = go.recv().unwrap();
        on_runtime(async move {
            let pool = pool(1, &shelves);
            let borrowed = take(&pool, &theirs, Freshness::Recent).await;
            assert!(borrowed.reused);
            assert_eq!(ask(borrowed, "/").await, 200);
            until(|| accepted.load(Ordering::SeqCst) == 2 && pool.has_channel(&theirs.target()))
                .await;
            done.send(()).unwrap();
        });
    });
    on_runtime(async {
        let own = pool(0, &directory);
        assert_eq!(
            ask(take(&own, &known, Freshness::Any).await, "/").await,
            200
        );
        ready.send(()).unwrap();
        finished.await.unwrap();
    });
    thread.join().unwrap();
    assert_eq!(upstream.accepted(), 2);
}

#[test]
fn simultaneous_requests_share_one_connect() {
    let upstream = Upstream::start(Speaks::H2 { streams: 100 });
    on_runtime(async {
        let pool = pool(0, &Directory::new(1));
        let known = Known::new(upstream.address, UpstreamProtocol::Http2);
        let target = known.target();
        let all = join_all((0..50).map(|_| pool.checkout(&target, Freshness::Any))).await;
        let all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
        assert!(
            all.iter()
                .all(|checked| !checked.reused && checked.connect.is_some())
        );
        assert_eq!(
            metric(&known, "tidegate_upstream_connect_duration_seconds_count{"),
            1.0
        );
        let statuses = join_all(all.into_iter().map(|checked| ask(checked, "/"))).await;
        assert!(statuses.iter().all(|status| *status == 200));
        assert_eq!(upstream.accepted(), 1);
        assert!(
            take(&pool, &known, Freshness::New).await.reused,
            "HTTP/2 is never too old"
        );
    });
}

#[test]
fn a_failed_connect_fails_all_who_share_it() {
    // Bound, then freed: nobody listens there.
    let vacant = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    on_runtime(async {
        for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
            let pool = pool(0, &Directory::new(1));
            let known = Known::new(vacant, protocol);
            let target = known.target();
            for outcome in join_all((0..8).map(|_| pool.checkout(&target, Freshness::Any))).await {
                let error = outcome.err().unwrap();
                assert_eq!(
                    error.kind,
                    ConnectErrorKind::Refused,
                    "{protocol:?}: {error}"
                );
                assert!(error.to_string().contains(&vacant.to_string()), "{error}");
            }
        }
    });
}

#[test]
fn a_request_that_stops_waiting_leaves_the_connect_to_others() {
    let upstream = Upstream::start(Speaks::H2 { streams: 10 });
    on_runtime(async {
        let pool = pool(0, &Directory::new(1));
        let known = Known::new(upstream.address, UpstreamProtocol::Http2);
        let target = known.target();
        let mut first = Box::pin(pool.checkout(&target, Freshness::Any));
        assert!(futures_util::poll!(&mut first).is_pending());
        let second = pool.checkout(&target, Freshness::Any);
        drop(first);
        assert_eq!(ask(second.await.unwrap(), "/").await, 200);
        assert_eq!(upstream.accepted(), 1);
    });
}

#[test]
fn a_full_connection_is_joined_by_another() {
    let upstream = Upstream::start(Speaks::H2 { streams: 2 });
    on_runtime(async {
        let pool = pool(0, &Directory::new(1));
        let known = Known::new(upstream.address, UpstreamProtocol::Http2);
        // The first answer brings the peer's limit with it.
        assert_eq!(
            ask(take(&pool, &known, Freshness::Any).await, "/").await,
            200
        );
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(start(take(&pool, &known, Freshness::Any).await, "/hold"));
        }
        drop(held.remove(0));
        let spare = take(&pool, &known, Freshness::Any).await;
        assert!(spare.reused);
        assert_eq!(ask(spare, "/").await, 200);
        until(|| upstream.accepted() == 2).await;
    });
}

#[test]
fn a_connection_that_ended_leaves_the_pool() {
    let upstream = Upstream::start(Speaks::H2 { streams: 10 });
    on_runtime(async {
        let directory = Directory::new(1);
        let pool = pool(0, &directory);
        let known = Known::new(upstream.address, UpstreamProtocol::Http2);
        assert_eq!(
            ask(take(&pool, &known, Freshness::Any).await, "/").await,
            200
        );
        upstream.hang_up.send(()).await.unwrap();
        until(|| !pool.0.shelf().sweep(now())).await;
        let again = take(&pool, &known, Freshness::Any).await;
        assert!(!again.reused);
        assert_eq!(ask(again, "/").await, 200);
    });
}

#[test]
fn a_protocol_switch_shares_the_connection_where_only_http2_is_spoken() {
    let upstream = Upstream::start(Speaks::H2 { streams: 10 });
    on_runtime(async {
        let pool = pool(0, &Directory::new(1));
        let known = Known::new(upstream.address, UpstreamProtocol::Http2);
        let checked = take(&pool, &known, Freshness::Upgrade).await;
        assert!(matches!(checked.link, Link::H2(_)));
    });
}
