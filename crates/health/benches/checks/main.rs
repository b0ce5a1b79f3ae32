//! What one check costs the process that probes: CPU microseconds, as the kernel's scheduler counts
//! them for all of its threads.
//!
//! The endpoints are answered by another process, whose CPU is not counted. Loopback makes the
//! sender pay for what the network card's interrupts would do, so the figures are upper bounds.
//! With arguments (`http|closing|https|h2c|tcp`, endpoints, interval in ms, seconds, control threads)
//! one line is measured instead of the table, for profilers. Nothing is asserted.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot start may fail")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_core::plan::{HttpProbe, Plan, Probe, ProbeKind, UpstreamProtocol, UpstreamTls};
use tidegate_core::{Board, PlanHandle};
use tidegate_health::Prober;
use tidegate_telemetry::{Events, Metrics};

#[path = "../../tests/health/plan.rs"]
mod plan;
mod responder;

use plan::{Spec, plan_of};
use responder::{Manner, Responder};

/// What is measured in one line of the table.
struct Line {
    name: &'static str,
    manner: Manner,
    tcp: bool,
    endpoints: usize,
    interval: Duration,
    lasts: Duration,
    /// Worker threads of the runtime; 0 for a current-thread runtime.
    threads: usize,
}

/// Counters at one moment.
struct Reading {
    cpu: Duration,
    checks: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [responder::RESPOND, manner] => return responder::respond(manner),
        [kind, endpoints, interval, seconds, threads] => {
            let number = |word: &str| word.parse::<usize>().unwrap();
            let interval = number(interval) as u64;
            let mut line = line(kind, number(endpoints), interval, number(seconds) as u64);
            line.threads = number(threads);
            return measure(&line);
        }
        // `cargo test` runs benches too, to see that they work; there is nothing to see here.
        words if !words.contains(&"--bench") => return,
        _ => {}
    }
    println!("checks         endpoints  interval     checks   us/check      RSS");
    for kind in ["http", "closing", "https", "h2c", "tcp"] {
        measure(&line(kind, 1_000, 100, 4));
    }
    for endpoints in [10, 100, 1_000] {
        measure(&line("http", endpoints, 2_000, 10));
    }
}

fn line(kind: &str, endpoints: usize, interval: u64, seconds: u64) -> Line {
    let (name, manner) = match kind {
        "closing" => ("http, closing", Manner::Closes),
        "https" => ("https", Manner::Tls),
        "h2c" => ("h2c", Manner::Http2),
        "tcp" => ("tcp", Manner::Keeps),
        _ => ("http", Manner::Keeps),
    };
    Line {
        name,
        manner,
        tcp: kind == "tcp",
        endpoints,
        interval: Duration::from_millis(interval),
        lasts: Duration::from_secs(seconds),
        // As the product runs it.
        threads: 2,
    }
}

fn measure(line: &Line) {
    let responder = Responder::start(line.manner);
    let runtime = match line.threads {
        0 => tokio::runtime::Builder::new_current_thread(),
        threads => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(threads);
            builder
        }
    }
    .enable_all()
    .build()
    .unwrap();
    let (plan, metrics) = (Arc::new(PlanHandle::new()), Metrics::new());
    plan.activate(
        wanted(line, &responder.addresses),
        &Arc::new(Board::new(Instant::now())),
    );
    let (from, to) = runtime.block_on(async {
        let _prober = Prober::start(plan, metrics.clone(), Events::new());
        // The first round makes the connections; the second finds its pace.
        tokio::time::sleep(2 * line.interval + Duration::from_millis(500)).await;
        let from = Reading::now(&metrics);
        tokio::time::sleep(line.lasts).await;
        (from, Reading::now(&metrics))
    });
    let checks = to.checks - from.checks;
    println!(
        "{:13} {:>10} {:>9?} {:>10} {:>10.1} {:>5} KB",
        line.name,
        line.endpoints,
        line.interval,
        checks,
        (to.cpu - from.cpu).as_secs_f64() * 1e6 / checks as f64,
        rss_kb(),
    );
    assert!(
        !metrics.render(None).contains("result=\"timeout\""),
        "the responder was too slow"
    );
}

/// As many upstreams as it takes, since all of one upstream must have different addresses.
fn wanted(line: &Line, addresses: &[String]) -> Plan {
    let spec = |addresses: &[String]| Spec {
        endpoints: addresses.to_vec(),
        probe: Some(probe(line)),
        ..Spec::new(&[], probe(line))
    };
    let full = std::iter::repeat_n(addresses, line.endpoints / addresses.len());
    let rest = &addresses[..line.endpoints % addresses.len()];
    let mut specs: Vec<Spec> = full.chain([rest]).map(spec).collect();
    for spec in &mut specs {
        if line.manner == Manner::Http2 {
            spec.connection.protocol = UpstreamProtocol::Http2;
        }
        spec.connection.tls = (line.manner == Manner::Tls).then(|| UpstreamTls {
            server_name: Some("probe.test".into()),
            roots: None,
            client_identity: None,
            insecure_skip_verify: true,
        });
    }
    plan_of(&specs)
}

fn probe(line: &Line) -> Probe {
    let http = ProbeKind::Http(HttpProbe {
        path: "/healthz".into(),
        ..HttpProbe::default()
    });
    Probe {
        interval: line.interval,
        timeout: Duration::from_secs(60),
        ..Probe::new(if line.tcp { ProbeKind::Tcp } else { http })
    }
}

impl Reading {
    fn now(metrics: &Metrics) -> Self {
        let text = metrics.render(None);
        let count = |line: &str| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
        let probes = text
            .lines()
            .filter(|line| line.starts_with("tidegate_probes_total{"));
        Self {
            checks: probes.map(count).sum(),
            cpu: cpu(),
        }
    }
}

/// What the threads of this process have run, to the nanosecond.
fn cpu() -> Duration {
    let threads = Path::new("/proc/self/task").read_dir().unwrap();
    let nanos = threads.map(|thread| {
        let stat = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
        stat.split(' ').next().unwrap().parse::<u64>().unwrap()
    });
    Duration::from_nanos(nanos.sum())
}

/// Resident memory; what was allocated for earlier lines of a table may still be in it.
fn rss_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.unwrap().parse().unwrap()
}
