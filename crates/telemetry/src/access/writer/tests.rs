//! The log under real threads: complete, bounded, and never in a worker's way.

use std::io;
use std::path::PathBuf;
use std::sync::{Condvar, LazyLock};
use std::time::SystemTime;

use tidegate_core::{Generation, Termination};

use super::super::connection::ConnectionWords;
use super::super::record::{Acts, Saving};
use super::*;

static CONNECTION: LazyLock<ConnectionWords> =
    LazyLock::new(|| ConnectionWords::new(([127, 0, 0, 1], 40_000).into(), "https", None));

fn record(id: &str) -> AccessRecord<'_> {
    AccessRecord {
        at: SystemTime::UNIX_EPOCH,
        id: id.as_bytes(),
        connection: &CONNECTION,
        protocol: "h2",
        method: "GET",
        host: b"shop.example.com",
        path: b"/",
        acts: Acts::default(),
        route: None,
        upstream: None,
        generation: Generation(1),
        status: None,
        reason: Termination::NoRoute,
        bytes_in: 0,
        bytes_out: 0,
        duration: Duration::from_micros(7),
        ttfb: None,
        rescued: false,
        saving: Saving::default(),
        attempts: &[],
        excluded: &[],
    }
}

/// A pipe that can be stopped up, and that tells when something arrived.
#[derive(Clone, Default)]
struct Pipe(Arc<(Mutex<Content>, Condvar)>);

#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    stopped: bool,
}

impl Pipe {
    fn stop(&self, stopped: bool) {
        self.0.0.lock().unwrap().stopped = stopped;
        self.0.1.notify_all();
    }

    fn lines(&self) -> Vec<String> {
        let content = self.0.0.lock().unwrap();
        let text = String::from_utf8(content.bytes.clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn wait_for(&self, lines: usize) {
        let mut content = self.0.0.lock().unwrap();
        while content.bytes.iter().filter(|byte| **byte == b'\n').count() < lines {
            content = self.0.1.wait(content).unwrap();
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut content = self.0.0.lock().unwrap();
        while content.stopped {
            content = self.0.1.wait(content).unwrap();
        }
        content.bytes.extend_from_slice(bytes);
        self.0.1.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn dropped(metrics: &Metrics) -> u64 {
    let text = metrics.render(None);
    let line = text
        .lines()
        .find(|line| line.starts_with("tidegate_access_log_dropped_total "));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn every_record_of_every_thread_is_written_once() {
    const THREADS: usize = 4;
    const EACH: usize = 5_000;
    let pipe = Pipe::default();
    let metrics = Metrics::new();
    let log = AccessLog::to(pipe.clone(), metrics.clone()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let mut writer = log.thread();
            scope.spawn(move || {
                (0..EACH).for_each(|at| writer.write(&record(&format!("{thread}-{at}"))));
            });
        }
    });
    drop(log);
    let mut ids: Vec<String> = pipe
        .lines()
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].to_string())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(
        (ids.len(), pipe.lines().len()),
        (THREADS * EACH, THREADS * EACH)
    );
    assert_eq!(dropped(&metrics), 0);
}

#[test]
fn a_lone_record_is_written_without_being_asked_for() {
    let pipe = Pipe::default();
    let log = AccessLog::to(pipe.clone(), Metrics::new()).unwrap();
    let mut writer = log.thread();
    writer.write(&record("lone"));
    pipe.wait_for(1);
}

#[test]
fn a_stopped_pipe_costs_records_but_no_time() {
    let pipe = Pipe::default();
    let metrics = Metrics::new();
    let log = AccessLog::to(pipe.clone(), metrics.clone()).unwrap();
    let mut writer = log.thread();
    pipe.stop(true);
    let mut written = 0u64;
    // Ends only because records are dropped: were the writer to wait, this would hang.
    while dropped(&metrics) == 0 {
        for _ in 0..1_000 {
            writer.write(&record("stopped"));
            written += 1;
        }
    }
    pipe.stop(false);
    drop(log);
    assert_eq!(pipe.lines().len() as u64 + dropped(&metrics), written);
    let line = pipe.lines()[0].len();
    assert!(
        pipe.lines().len() * line < 2 * LIMIT + 2 * BATCH,
        "memory is bounded"
    );
}

#[test]
fn a_writer_that_is_gone_leaves_nothing_behind() {
    let pipe = Pipe::default();
    let log = AccessLog::to(pipe.clone(), Metrics::new()).unwrap();
    log.thread().write(&record("last words"));
    pipe.wait_for(1);
    // The next round of the thread finds the buffer orphaned and empty.
    let other = log.thread();
    while log.0.as_ref().unwrap().shared.buffers().len() > 1 {
        other.flush();
        std::thread::yield_now();
    }
}

#[test]
fn a_file_is_opened_again_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let destination = settings::AccessLog::File(path.clone());
    let log = AccessLog::start(&destination, Metrics::new()).unwrap();
    let mut writer = log.thread();
    writer.write(&record("before"));
    let moved = folder.path().join("moved");
    wait_until(|| read(&path).contains("before"));
    std::fs::rename(&path, &moved).unwrap();
    log.reopen();
    wait_until(|| path.exists());
    writer.write(&record("after"));
    log.close();
    assert!(read(&moved).contains("before") && !read(&moved).contains("after"));
    assert!(read(&path).contains("after"));
}

#[test]
fn without_a_log_nothing_is_made() {
    let log = AccessLog::start(&settings::AccessLog::Off, Metrics::new()).unwrap();
    let mut writer = log.thread();
    writer.write(&record("nowhere"));
    assert!(!writer.is_on());
    log.reopen();
    log.close();
}

fn read(path: &PathBuf) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        std::thread::yield_now();
    }
}
