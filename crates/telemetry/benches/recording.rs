//! What one request pays: its metrics, alone and on several threads, and its access record.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot start may fail")]

#[allow(dead_code, reason = "tests need more of it")]
#[path = "../tests/telemetry/support.rs"]
mod support;

use std::time::{Duration, SystemTime};

use divan::{AllocProfiler, Bencher};
use http::StatusCode;
use tidegate_core::decision::Because;
use tidegate_core::ids::{RegionIdx, RouteIdx, UpstreamIdx};
use tidegate_core::retry::Phase;
use tidegate_core::{Generation, Termination};
use tidegate_telemetry::access::{
    AccessLog, AccessRecord, Acts, AttemptRecord, ConnectionWords, Saving, TlsRecord,
};
use tidegate_telemetry::{AttemptOutcome, Metrics};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// The metrics of a request that went well. On two threads it should cost what it costs on one.
#[divan::bench(threads = [1, 2], sample_size = 10_000)]
fn metrics_of_a_request(bencher: Bencher<'_, '_>) {
    let metrics = Metrics::new();
    let series = metrics.route_series(&support::plan(&["eu", "us"], &["api"], 10));
    let took = Duration::from_micros(1_234);
    bencher.bench(|| {
        series
            .route(RouteIdx(0))
            .get(Some(RegionIdx(1)))
            .record(Some(StatusCode::OK), divan::black_box(took));
        series
            .upstream(UpstreamIdx(0))
            .region(1)
            .attempted(AttemptOutcome::Answered);
        metrics.terminated(Termination::Completed);
    });
}

/// One record, entered by one thread while the log's thread writes to nowhere.
#[divan::bench(sample_size = 1_000)]
fn access_record(bencher: Bencher<'_, '_>) {
    let log = AccessLog::to(std::io::sink(), Metrics::new()).unwrap();
    let mut writer = log.thread();
    let attempts = [AttemptRecord {
        region: "eu-west",
        endpoint: "10.1.0.10:8080",
        because: Because::Nearest,
        phase: Phase::BodyUnderWay,
        outcome: AttemptOutcome::Answered,
        status: Some(StatusCode::OK),
        connect: None,
        reused: true,
        took: Duration::from_micros(1_042),
        grpc: None,
        hedge: None,
        resume: false,
        bytes: None,
        detail: None,
    }];
    let tls = TlsRecord {
        sni: Some("shop.example.com"),
        alpn: Some("h2"),
        version: "TLSv1.3",
    };
    let client = ([192, 0, 2, 7], 40_000).into();
    let connection = ConnectionWords::new(client, "https", Some(tls));
    let record = AccessRecord {
        at: SystemTime::now(),
        id: b"0b5e7c1a9f0b5e7c1a9f0b5e7c1a9f00",
        connection: &connection,
        protocol: "h2",
        method: "GET",
        host: b"shop.example.com",
        path: b"/api/items/42?colour=blue",
        acts: Acts::default(),
        route: Some("api"),
        upstream: Some("shop"),
        generation: Generation(12),
        status: Some(StatusCode::OK),
        reason: Termination::Completed,
        bytes_in: 0,
        bytes_out: 1_024,
        duration: Duration::from_micros(1_234),
        ttfb: Some(Duration::from_micros(1_042)),
        rescued: false,
        saving: Saving::default(),
        attempts: &attempts,
        excluded: &[],
    };
    bencher.bench_local(|| writer.write(divan::black_box(&record)));
}
