//! A proxy's process: what it says is kept for errors, and it is gone when this is dropped.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::site::Site;
use super::{Kind, Shape};
use crate::cpu;
use crate::error::BenchError;

/// How long a proxy may take to end when asked, before it is made to.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// How much of its words an error repeats.
const WORDS_BYTES_MAX: usize = 600;

/// A running proxy.
pub(crate) struct Process {
    kind: Kind,
    child: Child,
    site: Site,
    started: Instant,
}

/// A configuration that is written, but not where the proxy reads it.
#[derive(Debug)]
pub(crate) struct Staged(PathBuf);

impl Process {
    /// Starts `command`. Its output goes to files at `site`, because a pipe that nobody reads fills
    /// up and stops it.
    pub(super) fn start(kind: Kind, mut command: Command, site: Site) -> Result<Self, BenchError> {
        let file = |name| File::create(site.directory().join(name));
        let io = |source| BenchError::io(kind.name())(source);
        command.stdout(file("stdout").map_err(io)?);
        command.stderr(file("stderr").map_err(io)?);
        // The copy ends when its standard input does; the others do not look.
        command.stdin(Stdio::piped());
        let started = Instant::now();
        let child = command.spawn().map_err(io)?;
        Ok(Self {
            kind,
            child,
            site,
            started,
        })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// Where clients connect, with TLS or without.
    pub(crate) fn address(&self, tls: bool) -> SocketAddr {
        if tls { self.site.https } else { self.site.http }
    }

    /// Where its configuration and its output (`stdout`, `stderr`) are.
    pub(crate) fn directory(&self) -> &Path {
        self.site.directory()
    }

    /// Its process id: that of the master where it has workers.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), BenchError> {
        let sent = kill_process(Pid::from_child(&self.child), signal);
        sent.map_err(|error| BenchError::io(self.name())(error.into()))
    }

    /// When its program was started; its configuration was written before.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Writes a configuration formed as `shape` says, and leaves the one that it reads alone. `name`
    /// tells stages apart.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn stage(&mut self, name: &str, shape: &Shape) -> Result<Staged, BenchError> {
        let io = |source| BenchError::io(self.kind.name())(source);
        let serving = std::mem::replace(&mut self.site.shape, *shape);
        self.site.set_stage(name).map_err(io)?;
        let written = self.kind.write(&self.site);
        let stage = self.site.end_stage().unwrap_or_default();
        self.site.shape = serving;
        written.map(|()| Staged(stage))
    }

    /// Puts a configuration in place and tells it to reload. Takes next to no time, so that it can
    /// be done beside a load.
    ///
    /// # Errors
    /// When a file cannot be replaced, or it is gone.
    pub(crate) fn enter(&self, staged: &Staged) -> Result<(), BenchError> {
        let entered = self.site.enter(&staged.0);
        entered.map_err(BenchError::io(self.name()))?;
        let signal = self.kind.reload_signal();
        signal.map_or(Ok(()), |signal| self.signal(signal))
    }

    /// CPU time it has used so far to the nanosecond, workers included, of threads that still live.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn cpu_exact(&self) -> Result<Duration, BenchError> {
        cpu::of_threads(self.child.id())
    }

    /// Memory in bytes, its workers included; what they share counts once.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn memory(&self) -> Result<u64, BenchError> {
        cpu::memory(self.child.id())
    }

    /// CPU time it has used so far, its workers included.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn cpu(&self) -> Result<Duration, BenchError> {
        cpu::of_tree(self.child.id())
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// The last of what it said on standard error; empty when it said nothing.
    pub(crate) fn words(&self) -> String {
        let said = std::fs::read(self.directory().join("stderr")).unwrap_or_default();
        let tail = &said[said.len().saturating_sub(WORDS_BYTES_MAX)..];
        String::from_utf8_lossy(tail).trim().to_owned()
    }

    /// Asks it to end, so that it takes its workers along; false when it did not in time.
    fn end(&mut self) -> bool {
        drop(self.child.stdin.take());
        if self.has_ended() {
            return true;
        }
        let asked = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let until = Instant::now() + END_PATIENCE;
        while asked.is_ok() && Instant::now() < until {
            if self.has_ended() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.end() {
            // It has ended already, or nothing more can be done.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::site::tests::site;
    use super::*;

    fn start(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start(Kind::Copy, command, site(Shape::default())).unwrap()
    }

    #[test]
    fn nothing_is_left_of_it() {
        let process = start("exec sleep 1000");
        let directory = process.directory().to_owned();
        let entry = PathBuf::from(format!("/proc/{}", process.child.id()));
        assert!(entry.exists() && directory.exists());
        drop(process);
        assert!(!entry.exists() && !directory.exists());
    }

    #[test]
    fn its_words_are_kept_and_cut() {
        let mut process = start("printf '%2000d' 7 >&2; echo end >&2");
        process.child.wait().unwrap();
        assert!(process.has_ended());
        let words = process.words();
        assert!(
            words.ends_with("7end") && words.len() <= WORDS_BYTES_MAX,
            "{words}"
        );
        assert!(process.cpu().is_err());
    }
}
