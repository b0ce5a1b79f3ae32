//! Request bodies that are kept for another attempt, in memory and on disk, and those that are read
//! whole before anything is sent. Whatever way a request ends, nothing of its body is left.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Method, Request};
use tempfile::TempDir;
use tidegate_lab::{Action, Cut, Death, Ending, World, content};

use crate::harness::{Answer, Ask, Down, H1, H2, HOST, PATIENCE, Rig, Setup, answering};
use crate::harness::{raw, until, world};

const BOTH: [Down; 2] = [Down::H1, Down::H2];
const KIB: usize = 1024;
const MB: usize = 1_000_000;

const MEMORY: &str = r#"tidegate_replay_bytes{store="memory"}"#;
const SPOOL: &str = r#"tidegate_replay_bytes{store="spool"}"#;

/// A rig that spools into a directory of its own.
struct Spooling {
    rig: Rig,
    dir: TempDir,
}

fn spooling(mut setup: Setup, change: impl FnOnce(&mut Setup)) -> Spooling {
    let dir = tempfile::tempdir().unwrap();
    setup.replay.spool_dir = dir.path().into();
    setup.upstream().body.spool_bytes = 1 << 30;
    change(&mut setup);
    let rig = setup.start();
    Spooling { rig, dir }
}

impl Spooling {
    /// Waits until nothing is kept, neither counted nor as an open file.
    async fn until_empty(&self) {
        until("nothing kept", || {
            self.rig.metric(MEMORY) + self.rig.metric(SPOOL) == 0
                && spools(self.dir.path()).is_empty()
        })
        .await;
        assert_eq!(self.dir.path().read_dir().unwrap().count(), 0);
        self.rig.until_idle().await;
    }

    fn lost(&self, why: &str) -> u64 {
        let series = format!("tidegate_replay_lost_total{{why=\"{why}\"}}");
        self.rig.metric(&series)
    }
}

/// Open files of this process without a name that were made in `dir`, as paths to open them by.
fn spools(dir: &Path) -> Vec<PathBuf> {
    let dir = dir.to_str().unwrap();
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let is_spool = |open: &PathBuf| {
        std::fs::read_link(open).is_ok_and(|target| {
            let target = target.to_string_lossy();
            target.starts_with(dir) && target.ends_with("(deleted)")
        })
    };
    let paths = open.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(is_spool).collect()
}

/// The first region reads so much of an upload and resets the connection.
fn die_in_upload(world: &World, after: usize) {
    let death = Death::InUpload {
        after: after as u64,
        how: Ending::Cut(Cut::Reset),
    };
    let region = &world.site("eu").unwrap().region;
    region.change(|behaviour| behaviour.death = Some(death));
}

fn assert_receipt(answer: &Answer, body: &Bytes, what: &str) {
    assert_eq!(answer.status, 200, "{what}: {}", answer.text());
    let receipt = answer.json();
    assert_eq!(receipt["bytes"], body.len(), "{what}");
    let hash = content::sha256_hex(content::SEED, body.len() as u64);
    assert_eq!(receipt["sha256"], hash.as_str(), "{what}");
}

/// What a client sends.
fn upload(length: usize) -> Bytes {
    content::bytes(content::SEED, 0, length)
}

fn put(body: &Bytes) -> Ask {
    Ask {
        method: Method::PUT,
        ..Ask::post("/sha256", body.clone())
    }
}

async fn check_rescue(size: usize, down: Down, h2_up: bool, ask: impl Fn(&Bytes) -> Ask) {
    let world = world(&["eu", "us"]).await;
    let spooling = spooling(Setup::world(&world), |setup| setup.h2_up(h2_up));
    let what = format!("{size} {down:?} {h2_up}");
    die_in_upload(&world, size / 10 * 9);
    let body = upload(size);
    let answer = ask(&body).send(down, spooling.rig.addr()).await;
    assert_receipt(&answer, &body, &what);
    let line = &spooling.rig.log(1).await[0];
    assert_eq!(line["attempts"].as_array().unwrap().len(), 2, "{line}");
    let spooled = spooling.rig.metric("tidegate_replay_spooled_bytes_total");
    assert!(spooled as usize >= size / 2, "{what}: {spooled}");
    assert_eq!(spooling.rig.total("tidegate_replay_lost_total"), 0);
    spooling.until_empty().await;
}

#[tokio::test]
async fn a_hundred_megabytes_survive_the_death_of_a_region() {
    check_rescue(100 * MB, Down::H1, false, put).await;
}

#[tokio::test]
async fn a_hundred_megabytes_survive_the_death_of_a_region_over_http_2() {
    check_rescue(100 * MB, Down::H2, true, put).await;
}

#[tokio::test]
async fn what_is_spooled_is_replayed_in_every_combination_of_protocols() {
    for down in BOTH {
        for h2_up in [false, true] {
            check_rescue(5 * MB, down, h2_up, put).await;
            check_rescue(5 * MB, down, h2_up, |body| put(body).chunked()).await;
        }
    }
}

#[tokio::test]
async fn trailers_are_replayed() {
    let with_trailer = |body: &Bytes| put(body).field("te", "trailers").trailer("x-sum", "7");
    for down in BOTH {
        let world = world(&["eu", "us"]).await;
        let spooling = spooling(Setup::world(&world), |_| {});
        // It reads the body to its end, and is gone before it answers.
        die_in_upload(&world, MB);
        let body = upload(MB);
        let answer = with_trailer(&body).send(down, spooling.rig.addr()).await;
        assert_receipt(&answer, &body, "trailers");
        assert_eq!(answer.json()["trailers"][0][1], "7", "{down:?}");
        spooling.until_empty().await;
    }
}

/// What must not be sent twice takes no room on disk.
#[tokio::test]
async fn what_no_attempt_could_use_is_not_spooled() {
    let world = world(&["eu"]).await;
    let spooling = spooling(Setup::world(&world), |_| {});
    let body = upload(MB);
    for (ask, lost) in [(Ask::post("/sha256", body.clone()), 1), (put(&body), 1)] {
        let answer = ask.send(Down::H1, spooling.rig.addr()).await;
        assert_receipt(&answer, &body, "streamed");
        assert_eq!(spooling.lost("request_limit"), lost);
        let spooled = spooling.rig.metric("tidegate_replay_spooled_bytes_total");
        assert_eq!(spooled > 0, ask.method == Method::PUT);
    }
    spooling.until_empty().await;
}

/// A limit that is crossed costs nobody anything as long as nothing fails.
async fn check_lost(why: &str, change: impl Fn(&mut Setup)) {
    let world = world(&["eu", "us"]).await;
    for down in BOTH {
        let spooling = spooling(Setup::world(&world), &change);
        let body = upload(3 * MB);
        let answer = put(&body).send(down, spooling.rig.addr()).await;
        assert_receipt(&answer, &body, why);
        assert_eq!(spooling.lost(why), 1, "{down:?} {why}");
        let line = &spooling.rig.log(1).await[0];
        assert_eq!(line["replay"], format!("lost:{why}"), "{line}");
        spooling.until_empty().await;
    }
}

#[tokio::test]
async fn a_limit_that_is_crossed_is_told_and_is_no_error() {
    check_lost("request_limit", |setup| {
        setup.upstream().body.spool_bytes = MB as u64;
    })
    .await;
    check_lost("total_limit", |setup| setup.replay.spool_bytes = MB as u64).await;
    check_lost("spool_failed", |setup| {
        setup.replay.spool_dir = setup.replay.spool_dir.join("missing").into();
    })
    .await;
}

#[tokio::test]
async fn a_body_that_is_lost_is_not_sent_again() {
    let world = world(&["eu", "us"]).await;
    let spooling = spooling(Setup::world(&world), |setup| {
        setup.upstream().body.spool_bytes = MB as u64;
    });
    die_in_upload(&world, 4 * MB);
    let body = upload(5 * MB);
    let ask = put(&body).chunked();
    let answer = ask.send(Down::H2, spooling.rig.addr()).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (502, "upstream_reset")
    );
    assert!(answer.detail().contains("body_lost"), "{}", answer.detail());
    let us = &world.site("us").unwrap().region;
    assert_eq!(us.snapshot().requests.values().sum::<u64>(), 0);
    spooling.until_empty().await;
}

/// A part of a body that cannot be read back is never left out: the request fails and says so.
#[tokio::test]
async fn what_cannot_be_read_back_is_a_failure() {
    let world = world(&["eu", "us"]).await;
    let spooling = spooling(Setup::world(&world), |_| {});
    die_in_upload(&world, 2 * MB + 5);
    let mut client = H1::connect(spooling.rig.addr()).await;
    let length = 2 * MB + 10;
    let head = format!("PUT /sha256 HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {length}\r\n\r\n");
    client.send(head).await;
    client.send(vec![b'x'; 2 * MB]).await;
    let metric = |series| spooling.rig.metric(series) as usize;
    until("all but the last batch on disk", || {
        metric(SPOOL) + 64 * KIB >= 2 * MB && metric(MEMORY) < (64 + 256) * KIB
    })
    .await;
    for spool in spools(spooling.dir.path()) {
        let file = std::fs::File::options().write(true).open(spool).unwrap();
        file.set_len(300_000).unwrap();
    }
    client.send("0123456789").await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (503, "overloaded")
    );
    assert!(
        answer.detail().contains("cannot be read back"),
        "{}",
        answer.detail()
    );
    drop(client);
    spooling.until_empty().await;
}

fn half_sent(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: {HOST}\r\n{fields}content-length: 102400\r\n\r\n")
}

#[tokio::test]
async fn requests_share_the_total() {
    let world = world(&["eu"]).await;
    let spooling = spooling(Setup::world(&world), |setup| {
        setup.upstream().body.spool_bytes = 0;
        setup.upstream().body.replay_bytes = MB as u64;
        // What a thread has leased and does not use is not there for the other.
        setup.replay.memory_bytes = 101 * KIB as u64;
    });
    let whole = upload(100 * KIB);
    let (first, rest) = whole.split_at(60 * KIB);
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = H1::connect(spooling.rig.addr()).await;
        client.send(half_sent("PUT", "/sha256", "")).await;
        client.send(first).await;
        clients.push(client);
        let lost = clients.len() as u64 - 1;
        until("what is kept", || {
            spooling.rig.metric(MEMORY) >= 60 * KIB as u64 && spooling.lost("total_limit") == lost
        })
        .await;
    }
    for client in &mut clients {
        client.send(rest).await;
        assert_receipt(&client.answer().await, &whole, "shared");
    }
    assert_eq!(spooling.lost("total_limit"), 1);
    spooling.until_empty().await;
    let answer = put(&whole).send(Down::H1, spooling.rig.addr()).await;
    assert_receipt(&answer, &whole, "alone");
    assert_eq!(spooling.lost("total_limit"), 1);
}

/// Half of an upload is out.
#[tokio::test]
async fn what_must_not_be_sent_twice_is_not_kept_once_some_of_it_is_out() {
    for (method, kept) in [("PUT", 60 * KIB as u64), ("POST", 0)] {
        let script = vec![
            Action::ReadHead,
            Action::ReadBytes(100 * KIB),
            Action::send(OK),
        ];
        let upstream = raw(vec![script]).await;
        let setup = Setup::to(upstream.addr());
        let spooling = spooling(setup, |setup| {
            setup.upstream().body.replay_bytes = MB as u64;
        });
        let whole = upload(100 * KIB);
        let (first, rest) = whole.split_at(60 * KIB);
        let mut client = H1::connect(spooling.rig.addr()).await;
        client.send(half_sent(method, "/", "")).await;
        client.send(first).await;
        let out = upstream.wait_received(0, PATIENCE, |bytes| bytes.len() > first.len());
        out.await.unwrap();
        until("what is kept", || spooling.rig.metric(MEMORY) == kept).await;
        client.send(rest).await;
        assert_eq!(client.answer().await.status, 200, "{method}");
        drop(client);
        spooling.until_empty().await;
    }
}

fn gathering(setup: Setup) -> Spooling {
    spooling(setup, |setup| {
        setup.upstream().body.gather_bytes = 10 * MB as u64;
        setup.upstream().body.replay_bytes = 0;
    })
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// The upstream hears nothing before all of it is on disk, or on its way there.
#[tokio::test]
async fn a_slow_upload_reaches_an_upstream_whole_or_not_at_all() {
    for down in BOTH {
        let upstream = raw(vec![answering(OK)]).await;
        let spooling = gathering(Setup::to(upstream.addr()));
        let body = upload(100 * KIB);
        let (first, rest) = (body.slice(..60 * KIB), body.slice(60 * KIB..));
        let half = || async {
            until("half of it", || {
                spooling.rig.metric(SPOOL) == 60 * KIB as u64
            })
            .await;
            assert_eq!(upstream.connections(), 0, "{down:?}");
        };
        let answer = match down {
            Down::H1 => {
                let mut client = H1::connect(spooling.rig.addr()).await;
                client.send(half_sent("POST", "/", "")).await;
                client.send(&first).await;
                half().await;
                client.send(&rest).await;
                client.answer().await
            }
            Down::H2 => {
                let mut client = H2::connect(spooling.rig.addr()).await;
                let request =
                    Request::post(format!("http://{HOST}/")).header("content-length", 102_400);
                let mut sending = client.open(request.body(()).unwrap(), false).await;
                sending.upload.send_data(first, false).unwrap();
                half().await;
                sending.upload.send_data(rest, true).unwrap();
                sending.answer().await
            }
        };
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "ok"),
            "{down:?}"
        );
        let all = |bytes: &[u8]| bytes.ends_with(&body);
        upstream.wait_received(0, PATIENCE, all).await.unwrap();
        assert_eq!(spooling.rig.metric("tidegate_requests_gathered_total"), 1);
        assert_eq!(spooling.rig.log(1).await[0]["gathered"], true);
        spooling.until_empty().await;
    }
}

#[tokio::test]
async fn an_expectation_is_answered_while_gathering() {
    let upstream = raw(vec![answering(OK)]).await;
    let spooling = gathering(Setup::to(upstream.addr()));
    let mut client = H1::connect(spooling.rig.addr()).await;
    let head = half_sent("POST", "/", "expect: 100-continue\r\n");
    client.send(head).await;
    assert!(client.head().await.starts_with("HTTP/1.1 100 "));
    assert_eq!(upstream.connections(), 0);
    client.send(vec![b'x'; 102_400]).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.interims.len()), (200, 0));
    let head = upstream
        .wait_received(0, PATIENCE, |bytes| bytes.len() > 102_400)
        .await
        .unwrap();
    let head = String::from_utf8_lossy(&head);
    assert!(!head.contains("expect:"), "{}", &head[..500]);
}

/// Whoever must not be served twice is served once, and by the region that lives when it is whole.
#[tokio::test]
async fn only_what_must_not_be_sent_twice_is_gathered() {
    let world = world(&["eu"]).await;
    let spooling = spooling(Setup::world(&world), |setup| {
        setup.upstream().body.gather_bytes = MB as u64;
        setup.route().idempotency_key = true;
    });
    let small = upload(100 * KIB);
    let large = upload(2 * MB);
    let post = |body: &Bytes| Ask::post("/sha256", body.clone());
    for (ask, gathered) in [
        (post(&small), 1),
        (post(&small).field("idempotency-key", "k"), 1),
        (post(&large), 0),
        (post(&small).chunked(), 0),
        (put(&small), 0),
        (Ask::get("/bytes/10"), 0),
    ] {
        let before = spooling.rig.metric("tidegate_requests_gathered_total");
        for down in BOTH {
            assert_eq!(ask.send(down, spooling.rig.addr()).await.status, 200);
        }
        let after = spooling.rig.metric("tidegate_requests_gathered_total");
        assert_eq!(after - before, 2 * gathered, "{ask:?}");
    }
    spooling.until_empty().await;
}

#[tokio::test]
async fn a_client_that_stops_while_it_is_gathered_has_so_long() {
    let upstream = raw(vec![answering(OK)]).await;
    let mut setup = Setup::to(upstream.addr());
    setup.route().idle_timeout = std::time::Duration::from_millis(20);
    let spooling = gathering(setup);
    let mut client = H1::connect(spooling.rig.addr()).await;
    client.send(half_sent("POST", "/", "")).await;
    client.send("some").await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (408, "client_timeout")
    );
    assert_eq!(upstream.connections(), 0);
    spooling.until_empty().await;
}

/// A client that leaves takes everything with it, while it is gathered as while it is spooled.
#[tokio::test]
async fn a_client_that_leaves_leaves_nothing() {
    for (method, gathered) in [("POST", true), ("PUT", false)] {
        for down in BOTH {
            let world = world(&["eu"]).await;
            let spooling = gathering(Setup::world(&world));
            let part = Bytes::from(vec![b'x'; 60 * KIB]);
            let kept = || async {
                until("a part", || spooling.rig.metric(SPOOL) == 60 * KIB as u64).await;
                until("an attempt", || gathered || spooling.rig.in_flight() == 1).await;
            };
            match down {
                Down::H1 => {
                    let mut client = H1::connect(spooling.rig.addr()).await;
                    client.send(half_sent(method, "/sha256", "")).await;
                    client.send(&part).await;
                    kept().await;
                }
                Down::H2 => {
                    let mut client = H2::connect(spooling.rig.addr()).await;
                    let request = Request::builder().method(method);
                    let request = request.uri(format!("http://{HOST}/sha256"));
                    let request = request.header("content-length", 102_400).body(()).unwrap();
                    let mut sending = client.open(request, false).await;
                    sending.upload.send_data(part, false).unwrap();
                    kept().await;
                }
            }
            spooling.until_empty().await;
            let line = &spooling.rig.log(1).await[0];
            assert_eq!(line["reason"], "client_gone", "{method} {down:?}");
        }
    }
}
