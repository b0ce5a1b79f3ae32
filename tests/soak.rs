//! Promise 8 under cancellation: clients that go away at every moment of a request leave nothing
//! behind. After a storm of them descriptors, spooled files, kept bytes, requests under way and
//! memory are back where they were.
//!
//! `make soak` lets it blow for as long as `TIDEGATE_SOAK_SECONDS` says; a test run takes two short
//! rounds.

use std::path::Path;
use std::time::{Duration, Instant};

use tidegate_lab::{
    Client, ClientSpec, Cut, Death, Leave, Protocol, RequestSpec, SlowBody, Snapshot, World,
};

use crate::harness::{HOST, Tidegate, until};

/// What answers with a head and half a body, and then is silent.
const SICK: &str = "sick.example.com";

/// Requests of one client in one round; four clients run at a time.
const REQUESTS: u64 = 60;

/// By how much memory may have grown after the last round, compared with the first. The allocator
/// keeps some for each thread, whatever happened; a body of each cancelled request would be 100 MB.
const GROWTH_BYTES: u64 = 24 << 20;

const CONFIG: &str = "
    steering: { policy: priority }
    health: { probe: off, region: { silence: off, error_rate: off } }
    circuit_breaker: { ejection: off }
    connection: { warm_standby: 0, idle_timeout: 1s }
    retry: { attempts: 3, per_try: 1500ms }
    body: { replay: 16KiB, spool: 64MiB }
";

async fn world() -> World {
    let builder = World::builder()
        .region("well", Duration::from_millis(1))
        .region("sick", Duration::from_millis(1));
    let world = builder.region("far", Duration::from_millis(1));
    let world = world.start().await.unwrap();
    let death = Death::InAnswer {
        after: 100_000,
        how: Cut::BlackHole,
    };
    let sick = world.site("sick").unwrap();
    sick.region.change(|how| how.death = Some(death));
    let slow = SlowBody {
        piece_bytes: 20_000,
        pause: Duration::from_millis(1),
    };
    for name in ["well", "far"] {
        let site = world.site(name).unwrap();
        site.region.change(|how| how.slow_body = Some(slow));
    }
    world
}

fn config(world: &World) -> String {
    let [well, sick, far] = ["well", "sick", "far"].map(|name| world.site(name).unwrap().addr());
    let upstream = |name: &str, protocol, near| {
        format!(
            "  {name}:\n    regions:\n      near: {{ endpoints: [\"{near}\"] }}\n\
             \x20     far: {{ endpoints: [\"{far}\"] }}\n    protocol: {protocol}{CONFIG}"
        )
    };
    let (well, sick) = (
        upstream("well", "http1", well),
        upstream("sick", "http2", sick),
    );
    format!(
        "listeners:\n  - {{ name: http, bind: \"127.0.0.1:0\" }}\n\
         admin: {{ bind: \"127.0.0.1:0\" }}\nthreads: 2\nreplay: {{ spool_dir: spool }}\n\
         regions: {{ near: {{}}, far: {{}} }}\nupstreams:\n{well}{sick}routes:\n\
         \x20 - {{ name: sick, match: {{ host: {SICK} }}, upstream: sick, idle_timeout: 1s }}\n\
         \x20 - {{ name: well, upstream: well, hedge: {{ after: 20ms, to: region, budget: 100% }} }}\n"
    )
}

/// Requests that are given up before the head, within an upload that is spooled, within an answer,
/// while an answer is continued and while a hedge runs; and as many that are not.
fn mix(host: &str, rng: &mut fastrand::Rng) -> Vec<RequestSpec> {
    let mut mix = vec![RequestSpec::content(5_000), RequestSpec::digest(300_000)];
    for _ in 0..16 {
        let upload = RequestSpec::digest(2_000_000).leaving(Leave::Sending(rng.u64(1..2_000_000)));
        let answer = RequestSpec::content(400_000).leaving(Leave::Receiving(rng.u64(1..400_000)));
        let waiting = Leave::Waiting(Duration::from_millis(rng.u64(1..60)));
        let waiting = RequestSpec::get("/slow/60000").leaving(waiting);
        mix.extend([upload, answer]);
        // A death is in the answer: there is no head to wait for in vain at the sick one.
        mix.extend((host == HOST).then_some(waiting));
    }
    mix
}

/// One round of the storm: every client of it ends.
async fn round(tidegate: &Tidegate, rng: &mut fastrand::Rng) -> Vec<Snapshot> {
    let mut clients = Vec::new();
    for host in [HOST, SICK] {
        for protocol in [Protocol::H1, Protocol::H2] {
            let spec = ClientSpec {
                protocol,
                requests: Some(REQUESTS),
                concurrency: 24,
                timeout: Duration::from_secs(60),
                mix: mix(host, rng),
                seed: rng.u64(..),
                ..ClientSpec::new(tidegate.http(), host)
            };
            clients.push(Client::start(spec).unwrap());
        }
    }
    let mut books = Vec::new();
    for client in clients {
        books.push(client.finish().await);
    }
    books
}

/// Waits until nothing of the storm is left but memory.
async fn calm(tidegate: &Tidegate, files_before: usize) {
    until("nothing is under way and nothing is kept", || async {
        let metrics = tidegate.metrics().await;
        let gauges = [
            "tidegate_upstream_in_flight",
            "tidegate_replay_bytes",
            "tidegate_upstream_connections",
            "tidegate_downstream_connections",
        ];
        gauges.iter().all(|gauge| metrics.sum(gauge, &[]) == 0)
    })
    .await;
    let spool = tidegate.directory().join("spool");
    let spooled = |path: &Path| path.starts_with(&spool);
    until("every descriptor is closed", || async {
        let files = tidegate.open_files();
        files.len() <= files_before && !files.iter().any(|path| spooled(path))
    })
    .await;
    assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 0);
}

/// For how long it blows, if it was asked to blow for long.
fn wanted() -> Duration {
    let seconds = std::env::var("TIDEGATE_SOAK_SECONDS");
    let seconds = seconds.ok().map(|text| text.parse().unwrap());
    Duration::from_secs(seconds.unwrap_or(0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_go_away_leave_nothing() {
    let world = world().await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("spool")).unwrap();
    let tidegate = Tidegate::start_in(directory, &config(&world)).await;
    let files = tidegate.open_files().len();
    let mut rng = fastrand::Rng::with_seed(11);
    let (begun, mut books) = (Instant::now(), round(&tidegate, &mut rng).await);
    calm(&tidegate, files).await;
    let memory = tidegate.resident_bytes();
    loop {
        books.extend(round(&tidegate, &mut rng).await);
        calm(&tidegate, files).await;
        if begun.elapsed() >= wanted() {
            break;
        }
    }
    let grown = tidegate.resident_bytes().saturating_sub(memory);
    assert!(
        grown <= GROWTH_BYTES,
        "{grown} bytes more than after one round of {memory}"
    );
    it_was_a_storm(&tidegate, &books).await;
}

/// Everything that may leave something behind has happened, and every request is accounted for.
async fn it_was_a_storm(tidegate: &Tidegate, books: &[Snapshot]) {
    for book in books {
        book.check_balance().unwrap();
        assert_eq!(book.wrong_bodies(), 0, "{:?}", book.outcomes);
        assert!(book.left() > 0 && book.ok() > 0, "{:?}", book.outcomes);
    }
    let metrics = tidegate.metrics().await;
    for name in [
        "tidegate_replay_spooled_bytes_total",
        "tidegate_hedges_total",
        "tidegate_resumes_total",
    ] {
        assert!(metrics.sum(name, &[]) > 0, "{name}");
    }
    let gone = [("reason", "client_gone")];
    let gone = metrics.sum("tidegate_request_terminations_total", &gone);
    let left: u64 = books.iter().map(Snapshot::left).sum();
    assert!(gone > 0 && gone <= left, "{gone} gone, {left} left");
}
