//! A program that starts a region: run without a shell, in a process group of its own, which is killed
//! when its time is over or nobody waits for it any more.
//!
//! What it leaves behind when it ends by itself goes on: that may be just what was to be started.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tidegate_telemetry::labels::StartResult;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::ledger::Place;
use super::{Ended, KEPT_BYTES};

/// What was written before the end is read within this.
const FLUSHED: Duration = Duration::from_secs(1);
/// Read at a time.
const PIECE_BYTES: usize = 4_096;

/// Runs `command` for `place`, at most for `limit`.
pub(super) async fn run(command: &[Arc<str>], place: &Place, limit: Duration) -> Ended {
    let Some((program, arguments)) = command.split_first() else {
        return Ended::failed("there is no command");
    };
    let mut child = match spawn(program, arguments, place) {
        Ok(child) => child,
        Err(error) => return Ended::failed(format!("cannot run `{program}`: {error}")),
    };
    let (tail, mut readers) = read(&mut child);
    let mut group = Group(child.id());
    let ended = timeout(limit, child.wait()).await;
    let mut ended = match ended {
        Ok(Ok(status)) => {
            group.0 = None;
            Ended {
                result: match status.success() {
                    true => StartResult::Started,
                    false => StartResult::Failed,
                },
                how: status.to_string(),
                output: Vec::new(),
            }
        }
        Ok(Err(error)) => Ended::failed(error),
        Err(_elapsed) => Ended::timeout(limit),
    };
    drop(group);
    let all = async { while readers.join_next().await.is_some() {} };
    let _ = timeout(FLUSHED, all).await;
    ended.output = tail.taken();
    ended
}

fn spawn(program: &str, arguments: &[Arc<str>], place: &Place) -> std::io::Result<Child> {
    let (upstream, region) = place;
    Command::new(program)
        .args(arguments.iter().map(|argument| &**argument))
        .env("TIDEGATE_UPSTREAM", &**upstream)
        .env("TIDEGATE_REGION", &**region)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// The process group of a child that has not been waited for: until then its number is nobody else's.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let group = self.0.and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(group) = group
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            tracing::debug!(%error, "a starter's process group is gone");
        }
    }
}

/// The end of what a child writes.
#[derive(Clone, Default)]
struct Tail(Arc<Mutex<Vec<u8>>>);

impl Tail {
    fn push(&self, piece: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(piece);
        let excess = kept.len().saturating_sub(KEPT_BYTES);
        kept.drain(..excess);
    }

    fn taken(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads whatever the child writes, so that it never waits for us. Ends when the readers are dropped.
fn read(child: &mut Child) -> (Tail, JoinSet<()>) {
    let (tail, mut readers) = (Tail::default(), JoinSet::new());
    if let Some(stdout) = child.stdout.take() {
        readers.spawn(copy(stdout, tail.clone()));
    }
    if let Some(stderr) = child.stderr.take() {
        readers.spawn(copy(stderr, tail.clone()));
    }
    (tail, readers)
}

async fn copy(mut from: impl AsyncRead + Unpin, tail: Tail) {
    let mut piece = [0; PIECE_BYTES];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        tail.push(&piece[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(command: &[&str], limit: Duration, result: StartResult, detail: &str) {
        let command: Vec<Arc<str>> = command.iter().map(|word| (*word).into()).collect();
        let place = ("shop".into(), "eu-west".into());
        let ended = run(&command, &place, limit).await;
        assert_eq!(ended.result, result, "{ended:?}");
        assert!(ended.detail().contains(detail), "{}", ended.detail());
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_program_runs_without_a_shell_and_knows_its_place() {
        let place = ["sh", "-c", "echo $TIDEGATE_UPSTREAM/$TIDEGATE_REGION"];
        check(&place, LONG, StartResult::Started, "shop/eu-west").await;
        let literal = ["echo", "$HOME", "; false"];
        check(&literal, LONG, StartResult::Started, "$HOME ; false").await;
    }

    #[tokio::test]
    async fn failures_say_why() {
        let failing = ["sh", "-c", "echo no quota >&2; exit 3"];
        check(
            &failing,
            LONG,
            StartResult::Failed,
            "exit status: 3: no quota",
        )
        .await;
        let missing = ["/nowhere/start"];
        check(
            &missing,
            LONG,
            StartResult::Failed,
            "cannot run `/nowhere/start`",
        )
        .await;
        check(&[], LONG, StartResult::Failed, "no command").await;
    }

    #[tokio::test]
    async fn of_a_flood_the_end_is_kept() {
        let flood = [
            "sh",
            "-c",
            "head -c 3000000 /dev/zero | tr '\\0' x; echo the end",
        ];
        check(&flood, LONG, StartResult::Started, "xxxthe end").await;
        let tail = Tail::default();
        tail.push(&[b'a'; KEPT_BYTES]);
        tail.push(b"bc");
        let kept = tail.taken();
        assert_eq!((kept.len(), kept.ends_with(b"abc")), (KEPT_BYTES, true));
    }

    /// The group goes, not only its leader: the reader of the pipe sees its end.
    #[tokio::test]
    async fn what_hangs_is_killed_with_all_that_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("alive");
        let pipe = pipe.to_str().unwrap();
        assert!(
            std::process::Command::new("mkfifo")
                .arg(pipe)
                .status()
                .unwrap()
                .success()
        );
        let script = format!("exec 3>{pipe}; sleep 1000 & echo begun; wait");
        let command = ["sh", "-c", &script];
        let limit = Duration::from_millis(500);
        let reader = tokio::fs::File::open(pipe);
        let (mut reader, ()) = tokio::join!(
            async { reader.await.unwrap() },
            check(
                &command,
                limit,
                StartResult::Timeout,
                "given up after 500ms"
            )
        );
        let mut read = Vec::new();
        reader.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"");
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("alive");
        let pipe = pipe.to_str().unwrap().to_owned();
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        let script = format!("exec 3>{pipe}; sleep 1000 & wait");
        let task = tokio::spawn(async move {
            check(&["sh", "-c", &script], LONG, StartResult::Started, "").await;
        });
        let mut reader = tokio::fs::File::open(&pipe).await.unwrap();
        task.abort();
        let mut read = Vec::new();
        reader.read_to_end(&mut read).await.unwrap();
        assert!(task.await.unwrap_err().is_cancelled());
    }
}
