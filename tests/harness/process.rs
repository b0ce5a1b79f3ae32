//! The binary as it serves: a child process with its files in a directory of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::captured::Captured;
use super::{Metrics, PATIENCE, Reply, ask, until};

/// A running `tidegate run`. Dropping it kills it and removes its files.
pub(crate) struct Tidegate {
    child: Child,
    directory: TempDir,
    addresses: Value,
    stdout: Captured,
    stderr: Captured,
}

impl Tidegate {
    /// Starts with this configuration, and waits until it accepts connections.
    pub(crate) async fn start(config: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config).await
    }

    /// The same with files beside the configuration.
    pub(crate) async fn start_in(directory: TempDir, config: &str) -> Self {
        let path = directory.path().join("tidegate.yaml");
        std::fs::write(&path, config).unwrap();
        Self::start_at(directory, &path).await
    }

    /// Starts with the configuration at `path`; `directory` is the process's own.
    pub(crate) async fn start_at(directory: TempDir, path: &Path) -> Self {
        Self::start_with(directory, path, &[]).await
    }

    /// The same with these variables in its environment. The soft limit of open files is as low as a
    /// careless shell's.
    pub(crate) async fn start_with(
        directory: TempDir,
        path: &Path,
        environment: &[(&str, &Path)],
    ) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", "ulimit -S -n 64 && exec \"$@\"", "sh"])
            .arg(env!("CARGO_BIN_EXE_tidegate"))
            .arg("run")
            .arg(path)
            .arg("--addresses")
            .arg(directory.path().join("addresses.json"))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = Captured::new(child.stdout.take().unwrap());
        let stderr = Captured::new(child.stderr.take().unwrap());
        let mut process = Self {
            child,
            directory,
            addresses: Value::Null,
            stdout,
            stderr,
        };
        process.addresses = process.announced().await;
        process
    }

    /// As [`Tidegate::start`], and waits until every region is known to be well.
    pub(crate) async fn start_healthy(config: &str) -> Self {
        let process = Self::start(config).await;
        process.all_healthy().await;
        process
    }

    async fn announced(&mut self) -> Value {
        let path = self.directory.path().join("addresses.json");
        let waited = tidegate_lab::wait_until("the addresses", PATIENCE, || {
            let ended = matches!(self.child.try_wait(), Ok(Some(_)));
            let there = path.exists();
            async move { there || ended }
        });
        waited.await.unwrap();
        let text = std::fs::read_to_string(path);
        let text = text.unwrap_or_else(|_| panic!("it did not start"));
        serde_json::from_str(&text).unwrap()
    }

    /// Where the listener `http` is.
    pub(crate) fn http(&self) -> SocketAddr {
        self.listener("http")
    }

    /// Where a listener is.
    pub(crate) fn listener(&self, name: &str) -> SocketAddr {
        self.addresses["listeners"][name]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Where the admin listener is.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.addresses["admin"].as_str().unwrap().parse().unwrap()
    }

    /// Asks the admin listener.
    pub(crate) async fn admin_get(&self, path: &str) -> Reply {
        ask(self.admin(), Method::GET, path).await
    }

    /// Tells the admin listener.
    pub(crate) async fn admin_post(&self, path: &str) -> Reply {
        ask(self.admin(), Method::POST, path).await
    }

    /// `/metrics`.
    pub(crate) async fn metrics(&self) -> Metrics {
        Metrics::parse(self.admin_get("/metrics").await.text())
    }

    /// `/status`.
    pub(crate) async fn status(&self) -> Value {
        self.admin_get("/status").await.json()
    }

    /// All events of one kind so far.
    pub(crate) async fn events(&self, kind: &str) -> Vec<Value> {
        let mut answer = self.admin_get("/events").await.json();
        let Value::Array(events) = answer["events"].take() else {
            panic!("no events in {answer}")
        };
        let of_kind = |event: &Value| event["kind"] == kind;
        events.into_iter().filter(of_kind).collect()
    }

    /// The first upstream's view of a region.
    pub(crate) async fn region(&self, name: &str) -> Value {
        let status = self.status().await;
        let regions = status["upstreams"][0]["regions"].as_array().unwrap();
        let found = regions.iter().find(|region| region["name"] == name);
        found.unwrap().clone()
    }

    /// Waits until a region has this health.
    pub(crate) async fn region_is(&self, name: &str, health: &str) {
        until(&format!("{name} is {health}"), || async {
            self.region(name).await["health"] == health
        })
        .await;
    }

    async fn all_healthy(&self) {
        until("every region is healthy", || async {
            let status = self.status().await;
            let regions = status["upstreams"][0]["regions"].as_array().unwrap();
            regions.iter().all(|region| region["health"] == "healthy")
        })
        .await;
    }

    /// The configuration's file.
    pub(crate) fn config(&self) -> PathBuf {
        self.directory.path().join("tidegate.yaml")
    }

    /// The directory of its files.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Saves as editors do: a new file is renamed over the old one.
    pub(crate) fn save(&self, config: &str) {
        let new = self.directory.path().join(".tidegate.yaml.new");
        std::fs::write(&new, config).unwrap();
        std::fs::rename(new, self.config()).unwrap();
    }

    /// How many files it may open: the soft limit and the hard one (proc(5)).
    pub(crate) fn file_limits(&self) -> [u64; 2] {
        let path = format!("/proc/{}/limits", self.child.id());
        let limits = std::fs::read_to_string(path).unwrap();
        let line = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"));
        let mut words = line.unwrap().split_whitespace();
        [(); 2].map(|()| words.next().unwrap().parse().unwrap())
    }

    /// What its open descriptors stand for (proc(5)): paths, and `socket:[…]` and the like.
    pub(crate) fn open_files(&self) -> Vec<PathBuf> {
        let directory = format!("/proc/{}/fd", self.child.id());
        let entries = std::fs::read_dir(directory).unwrap();
        // One that is closed meanwhile has no target.
        let targets = entries.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        targets.collect()
    }

    /// Memory that it has in use, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.unwrap().split_whitespace().next().unwrap();
        kilobytes.parse::<u64>().unwrap() * 1024
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let waited = tidegate_lab::wait_until("the end of the process", PATIENCE, || {
            let ended = !self.runs();
            async move { ended }
        });
        waited.await.unwrap();
        self.stdout.finish();
        self.stderr.finish();
        self.child.wait().unwrap()
    }

    /// Diagnostics so far.
    pub(crate) fn diagnostics(&self) -> String {
        self.stderr.text()
    }

    /// The access log so far.
    pub(crate) fn access_log(&self) -> Vec<Value> {
        let lines = self.stdout.lines().into_iter();
        let parsed = lines.map(|line| {
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
        });
        parsed.collect()
    }

    /// Waits until so many requests are in the access log, and returns them.
    pub(crate) async fn logged(&self, requests: u64) -> Vec<Value> {
        until(&format!("{requests} lines in the access log"), || async {
            self.stdout.lines().len() as u64 >= requests
        })
        .await;
        self.access_log()
    }
}

impl Drop for Tidegate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.stderr.finish();
            eprintln!("--- diagnostics of the process:\n{}", self.diagnostics());
        }
    }
}
