//! A proxy's process: what it says is kept for errors, and it is gone when this is dropped.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::Kind;
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
    directory: TempDir,
    http: SocketAddr,
    https: SocketAddr,
}

impl Process {
    /// Starts `command`. Its output goes to files in `directory`, because a pipe that nobody reads
    /// fills up and stops it.
    pub(super) fn start(
        kind: Kind,
        mut command: Command,
        directory: TempDir,
        http: SocketAddr,
        https: SocketAddr,
    ) -> Result<Self, BenchError> {
        let file = |name| File::create(directory.path().join(name));
        let io = |source| BenchError::io(kind.name())(source);
        command.stdout(file("stdout").map_err(io)?);
        command.stderr(file("stderr").map_err(io)?);
        // The copy ends when its standard input does; the others do not look.
        command.stdin(Stdio::piped());
        let child = command.spawn().map_err(io)?;
        Ok(Self {
            kind,
            child,
            directory,
            http,
            https,
        })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// Where clients connect, with TLS or without.
    pub(crate) fn address(&self, tls: bool) -> SocketAddr {
        if tls { self.https } else { self.http }
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
        let said = std::fs::read(self.directory.path().join("stderr")).unwrap_or_default();
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
    use std::net::Ipv4Addr;
    use std::path::PathBuf;

    use super::*;

    fn start(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let directory = tempfile::tempdir().unwrap();
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Process::start(Kind::Copy, command, directory, nowhere, nowhere).unwrap()
    }

    #[test]
    fn nothing_is_left_of_it() {
        let process = start("exec sleep 1000");
        let directory = process.directory.path().to_owned();
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
