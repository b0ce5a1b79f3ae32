//! Bodies that are read, kept, and read again: from a real client's side of a connection, with real
//! files.

use std::cell::RefCell;
use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;

use proptest::prelude::*;
use tempfile::TempDir;
use tidegate_core::plan::ReplayLimits;
use tidegate_http1::Limits;
use tidegate_telemetry::metrics::Metrics;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::task::{LocalSet, spawn_local};

use super::*;
use crate::conn::Conn;
use crate::io::Stream;
use crate::wheel::Wheel;

const KIB: usize = 1024;
const PLENTY: u64 = 1 << 30;

/// What bodies are kept in.
struct Bench {
    metrics: Arc<Metrics>,
    totals: Arc<Totals>,
    ledger: Rc<Ledger>,
    _dir: TempDir,
}

impl Bench {
    fn new(memory_bytes: u64, spool_bytes: u64) -> Self {
        let dir = TempDir::new().unwrap();
        Self::at(dir.path().into(), dir, memory_bytes, spool_bytes)
    }

    fn at(path: Arc<Path>, dir: TempDir, memory_bytes: u64, spool_bytes: u64) -> Self {
        let metrics = Metrics::new();
        let totals = Totals::new(metrics.clone()).unwrap();
        let wheel = Wheel::new(crate::clock::now());
        spawn_local(wheel.run());
        let ledger = Ledger::new(totals.clone(), wheel);
        ledger.limit(&ReplayLimits {
            memory_bytes,
            spool_bytes,
            spool_dir: path,
        });
        Self {
            metrics,
            totals,
            ledger,
            _dir: dir,
        }
    }

    /// A body that a client sends in these pieces, with a trailer, and then waits.
    fn body(&self, memory: u64, spool: u64, sizes: &[usize]) -> ReplayBody {
        let (near, far) = tokio::io::duplex(64 * KIB);
        spawn_local(send(near, wire(sizes)));
        self.body_over(far, Framing::Chunked, memory, spool)
    }

    fn body_over(&self, io: DuplexStream, framing: Framing, memory: u64, spool: u64) -> ReplayBody {
        let conn = Rc::new(RefCell::new(Conn::new(Stream::Memory(io))));
        let (reader, _) = BodyReader::new(conn, framing, &Limits::default());
        let caps = Caps { memory, spool };
        ReplayBody::new(Upload::H1(reader), framing, caps, u64::MAX, &self.ledger)
    }

    fn metric(&self, series: &str) -> f64 {
        let text = self.metrics.render(None);
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
        found.unwrap_or_default()
    }

    fn lost(&self, why: &str) -> f64 {
        self.metric(&format!("tidegate_replay_lost_total{{why=\"{why}\"}}"))
    }

    fn kept(&self, store: &str) -> f64 {
        self.metric(&format!("tidegate_replay_bytes{{store=\"{store}\"}}"))
    }

    /// Waits until nothing is kept any more.
    async fn until_empty(&self) {
        while self.kept("memory") + self.kept("spool") > 0.0 {
            tokio::task::yield_now().await;
        }
    }
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}

fn wire(sizes: &[usize]) -> Vec<u8> {
    let content = content(sizes.iter().sum());
    let mut rest = &content[..];
    let mut wire = Vec::new();
    for size in sizes {
        let (piece, later) = rest.split_at(*size);
        wire.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        wire.extend_from_slice(piece);
        wire.extend_from_slice(b"\r\n");
        rest = later;
    }
    wire.extend_from_slice(b"0\r\nx-sum: 7\r\n\r\n");
    wire
}

async fn send(mut near: DuplexStream, wire: Vec<u8>) {
    // A body that is dropped early ends the connection.
    let _refused = near.write_all(&wire).await;
    std::future::pending::<()>().await;
}

/// What one attempt was given so far.
#[derive(Debug, Default, PartialEq)]
struct Given {
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
}

impl Given {
    /// Takes the next piece; false at the end.
    async fn take(&mut self, body: &mut ReplayBody) -> bool {
        match poll_fn(|cx| body.poll_piece(cx)).await {
            Some(Ok(Piece::Data(data))) => {
                assert!(!data.is_empty() && self.trailers.is_none());
                self.data.extend_from_slice(&data);
                assert_eq!(body.given_bytes, self.data.len() as u64);
            }
            Some(Ok(Piece::Trailers(map))) => assert!(self.trailers.replace(*map).is_none()),
            Some(Err(error)) => panic!("{error}"),
            None => return false,
        }
        true
    }

    async fn at_least(&mut self, bytes: usize, body: &mut ReplayBody) {
        while self.data.len() < bytes && self.take(body).await {}
    }

    async fn all(mut self, body: &mut ReplayBody) -> Self {
        while self.take(body).await {}
        assert!(body.is_done());
        self
    }

    fn assert_whole(&self, length: usize) {
        assert!(self.data == content(length), "{} bytes", self.data.len());
        let sum = self.trailers.as_ref().map(|map| &map["x-sum"]);
        assert_eq!(sum.unwrap(), "7");
    }
}

fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, test)
}

#[test]
fn a_body_is_kept_in_memory_and_then_on_disk() {
    run(async {
        let bench = Bench::new(PLENTY, PLENTY);
        let sizes = [100 * KIB; 30];
        let length = sizes.iter().sum::<usize>();
        let mut body = bench.body(256 * KIB as u64, PLENTY, &sizes);
        assert_eq!(
            (body.state(), body.is_done()),
            (BodyState::Untouched, false)
        );
        let mut first = Given::default();
        first.at_least(length * 9 / 10, &mut body).await;
        assert_eq!(body.state(), BodyState::Kept);
        assert!(!body.is_read() && !body.stays_kept());
        let in_memory = first.data.len() - bench.kept("spool") as usize;
        assert!((128 * KIB..=256 * KIB).contains(&in_memory), "{in_memory}");
        for _ in 0..3 {
            body.rewind();
            assert_eq!(body.given_bytes, 0);
            Given::default().all(&mut body).await.assert_whole(length);
            assert!(body.is_read() && body.stays_kept());
        }
        assert_eq!((body.read_bytes(), body.lost()), (length as u64, None));
        assert!(bench.metric("tidegate_replay_spooled_bytes_total") > length as f64 / 2.0);
        drop(body);
        bench.until_empty().await;
    });
}

/// What is read until a limit is crossed, why nothing is kept then, and what is counted.
fn check_lost(limits: (u64, u64), caps: (u64, u64), why: ReplayLost) {
    run(async {
        let bench = Bench::new(limits.0, limits.1);
        let sizes = [10 * KIB; 100];
        let mut body = bench.body(caps.0, caps.1, &sizes);
        let mut given = Given::default();
        given.at_least(20 * KIB, &mut body).await;
        assert_eq!(
            (body.state(), body.lost()),
            (BodyState::Kept, None),
            "{why:?}"
        );
        let given = given.all(&mut body).await;
        given.assert_whole(sizes.len() * 10 * KIB);
        assert_eq!((body.state(), body.lost()), (BodyState::Lost, Some(why)));
        assert!(!body.stays_kept());
        assert_eq!(bench.lost(why.word()), 1.0);
        bench.until_empty().await;
    });
}

#[test]
fn a_body_that_crosses_a_limit_streams_on() {
    let some = 100 * KIB as u64;
    check_lost((PLENTY, PLENTY), (some, 0), ReplayLost::RequestLimit);
    check_lost((PLENTY, PLENTY), (some, some), ReplayLost::RequestLimit);
    check_lost((PLENTY, PLENTY), (0, some), ReplayLost::RequestLimit);
    check_lost((some, PLENTY), (PLENTY, 0), ReplayLost::TotalLimit);
    check_lost((some, some), (PLENTY, PLENTY), ReplayLost::TotalLimit);
    check_lost((0, some), (PLENTY, PLENTY), ReplayLost::TotalLimit);
}

#[test]
fn two_bodies_share_the_total() {
    run(async {
        let some = 100 * KIB;
        let bench = Bench::new(some as u64, 0);
        let mut one = bench.body(PLENTY, 0, &[60 * KIB]);
        let mut other = bench.body(PLENTY, 0, &[60 * KIB]);
        Given::default().all(&mut one).await.assert_whole(60 * KIB);
        Given::default()
            .all(&mut other)
            .await
            .assert_whole(60 * KIB);
        assert_eq!(one.state(), BodyState::Kept);
        assert_eq!(other.lost(), Some(ReplayLost::TotalLimit));
        drop((one, other));
        let mut third = bench.body(PLENTY, 0, &[60 * KIB]);
        Given::default()
            .all(&mut third)
            .await
            .assert_whole(60 * KIB);
        assert_eq!(third.state(), BodyState::Kept);
    });
}

#[test]
fn what_is_announced_too_long_can_be_sent_until_it_is_touched() {
    run(async {
        let bench = Bench::new(PLENTY, PLENTY);
        let announced = |memory, spool| {
            let (mut near, far) = tokio::io::duplex(64 * KIB);
            spawn_local(async move { near.write_all(&content(101)).await });
            bench.body_over(far, Framing::Length(101), memory, spool)
        };
        let mut body = announced(50, 50);
        assert_eq!((body.state(), body.lost()), (BodyState::Untouched, None));
        assert!(!body.stays_kept());
        body.rewind();
        let given = Given::default().all(&mut body).await;
        assert_eq!(given.data, content(101));
        assert_eq!(
            (body.state(), bench.lost("request_limit")),
            (BodyState::Lost, 1.0)
        );
        // Where nothing was to be kept no limit was crossed.
        let mut body = announced(0, 0);
        Given::default().all(&mut body).await;
        assert_eq!((body.state(), body.lost()), (BodyState::Lost, None));
        assert_eq!(bench.lost("request_limit"), 1.0);
        assert!(announced(50, 51).stays_kept());
    });
}

#[test]
fn a_disk_that_fails_costs_the_replay_alone() {
    run(async {
        let dir = TempDir::new().unwrap();
        let missing: Arc<Path> = dir.path().join("missing").into();
        let bench = Bench::at(missing, dir, PLENTY, PLENTY);
        let sizes = [50 * KIB; 100];
        let mut body = bench.body(0, PLENTY, &sizes);
        Given::default()
            .all(&mut body)
            .await
            .assert_whole(sizes.len() * 50 * KIB);
        assert_eq!(body.lost(), Some(ReplayLost::SpoolFailed));
        assert_eq!(bench.lost("spool_failed"), 1.0);
        bench.until_empty().await;
    });
}

/// Keeps every thread of the disk busy until the sender is dropped.
fn hang(bench: &Bench) -> mpsc::Sender<()> {
    let (end, ends) = mpsc::channel::<()>();
    let ends = Arc::new(std::sync::Mutex::new(ends));
    for _ in 0..4 {
        let ends = ends.clone();
        let _hung = bench.totals.disk.run(move || {
            let _ended = ends.lock().unwrap().recv();
            Ok(())
        });
    }
    end
}

#[test]
fn a_slow_disk_slows_the_client() {
    run(async {
        let bench = Bench::new(PLENTY, PLENTY);
        let disk = hang(&bench);
        let sizes = [100 * KIB; 50];
        let mut body = bench.body(0, PLENTY, &sizes);
        let mut given = Given::default();
        let mut idle = 0;
        while idle < 100 {
            let piece = futures_util::poll!(std::pin::pin!(given.take(&mut body)));
            idle = if piece.is_pending() { idle + 1 } else { 0 };
            tokio::task::yield_now().await;
        }
        let read = body.read_bytes();
        assert!((512..1024).contains(&(read / KIB as u64)), "{read}");
        assert_eq!(bench.kept("memory"), read as f64);
        // What is not on disk yet can be replayed all the same.
        body.rewind();
        given = Given::default();
        given.at_least(read as usize, &mut body).await;
        drop(disk);
        let given = given.all(&mut body).await;
        given.assert_whole(sizes.len() * 100 * KIB);
        assert_eq!(body.state(), BodyState::Kept);
    });
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_has_failed() {
    let test = async {
        let bench = Bench::new(PLENTY, PLENTY);
        let _disk = hang(&bench);
        let sizes = [100 * KIB; 50];
        let mut body = bench.body(0, PLENTY, &sizes);
        Given::default()
            .all(&mut body)
            .await
            .assert_whole(sizes.len() * 100 * KIB);
        assert_eq!(body.lost(), Some(ReplayLost::SpoolFailed));
    };
    LocalSet::new().run_until(test).await;
}

#[test]
fn what_no_attempt_will_need_again_goes_with_the_last() {
    run(async {
        let bench = Bench::new(PLENTY, PLENTY);
        let sizes = [100 * KIB; 20];
        let mut body = bench.body(PLENTY, 0, &sizes);
        Given::default().at_least(1000 * KIB, &mut body).await;
        body.rewind();
        let mut given = Given::default();
        given.at_least(500 * KIB, &mut body).await;
        body.settle();
        assert!(bench.kept("memory") >= 1000.0 * KIB as f64);
        let given = given.all(&mut body).await;
        given.assert_whole(2000 * KIB);
        assert_eq!((bench.kept("memory"), body.lost()), (0.0, None));
        // And at once if that has it already.
        let mut body = bench.body(PLENTY, 0, &sizes);
        let mut given = Given::default();
        given.at_least(500 * KIB, &mut body).await;
        body.settle();
        assert_eq!(bench.kept("memory"), 0.0);
        given.all(&mut body).await.assert_whole(2000 * KIB);
    });
}

async fn gather(body: &mut ReplayBody) -> bool {
    poll_fn(|cx| body.poll_gather(cx)).await.unwrap()
}

#[test]
fn a_gathered_body_is_all_there() {
    run(async {
        let bench = Bench::new(PLENTY, PLENTY);
        let mut body = bench.body(100, PLENTY, &[300 * KIB, 1, 300 * KIB]);
        assert!(gather(&mut body).await);
        assert_eq!((body.state(), body.is_read()), (BodyState::Kept, true));
        assert!(!body.is_done());
        for _ in 0..2 {
            let given = Given::default().all(&mut body).await;
            given.assert_whole(600 * KIB + 1);
            body.rewind();
        }
    });
}

/// The attempts get what was gathered until one has been given what could not be kept.
#[test]
fn what_cannot_be_gathered_is_not_lost_before_it_is_sent() {
    run(async {
        let bench = Bench::new(PLENTY, PLENTY);
        let mut body = bench.body(100, 0, &[60, 30, 20, 10]);
        assert!(!gather(&mut body).await);
        assert_eq!((body.state(), body.read_bytes()), (BodyState::Kept, 110));
        let mut given = Given::default();
        given.at_least(90, &mut body).await;
        assert_eq!((body.state(), body.lost()), (BodyState::Kept, None));
        body.rewind();
        Given::default().all(&mut body).await.assert_whole(120);
        assert_eq!(body.lost(), Some(ReplayLost::RequestLimit));
    });
}

#[test]
fn no_more_than_allowed_is_accepted() {
    run(async {
        let bench = Bench::new(PLENTY, PLENTY);
        let mut body = bench.body(PLENTY, 0, &[60, 60]);
        body.max_bytes = 100;
        let mut given = Given::default();
        given.at_least(60, &mut body).await;
        let refused = poll_fn(|cx| body.poll_piece(cx)).await;
        assert!(matches!(refused, Some(Err(UploadError::TooLarge))));
    });
}

#[derive(Clone, Debug)]
struct Case {
    sizes: Vec<usize>,
    limits: (u64, u64),
    caps: (u64, u64),
    gather: bool,
    /// Each attempt but the last ends after so much of the body, in thousandths.
    attempts: Vec<usize>,
}

fn case() -> impl Strategy<Value = Case> {
    let size = prop_oneof![3 => 1..2000usize, 3 => 1..20_000usize, 1 => 1..300_000usize];
    let bytes = || prop_oneof![Just(0), 0..100_000u64, 0..2_000_000u64, Just(PLENTY)];
    let attempts = prop::collection::vec(0..1000usize, 0..4);
    let sizes = prop::collection::vec(size, 1..40);
    (
        sizes,
        (bytes(), bytes()),
        (bytes(), bytes()),
        any::<bool>(),
        attempts,
    )
        .prop_map(|(sizes, limits, caps, gather, attempts)| Case {
            sizes,
            limits,
            caps,
            gather,
            attempts,
        })
}

async fn check(case: &Case) {
    let bench = Bench::new(case.limits.0, case.limits.1);
    let length: usize = case.sizes.iter().sum();
    let mut body = bench.body(case.caps.0, case.caps.1, &case.sizes);
    let whole = case.gather && gather(&mut body).await;
    assert!(!whole || body.is_read());
    let mut given = Given::default();
    for part in &case.attempts {
        given.at_least(length * part / 1000, &mut body).await;
        assert!(content(length).starts_with(&given.data));
        if body.state() == BodyState::Lost {
            break;
        }
        body.rewind();
        given = Given::default();
    }
    let given = given.all(&mut body).await;
    given.assert_whole(length);
    assert_eq!(body.read_bytes(), length as u64);
    let fits = |bytes: u64| length as u64 <= bytes;
    if fits(case.caps.0) && fits(case.limits.0) {
        assert_eq!(body.state(), BodyState::Kept);
    }
    if fits(case.caps.1) && fits(case.limits.1) {
        assert_eq!(body.state(), BodyState::Kept);
    }
    drop(body);
    bench.until_empty().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever the pieces, the limits and the attempts: each is given the body from its beginning.
    #[test]
    fn every_attempt_is_given_the_original(case in case()) {
        run(check(&case));
    }
}
