//! The part of one body that is kept on disk: a file without a name, written and read in batches by
//! other threads.
//!
//! What is not on disk yet is in memory, and can be read there. While a batch is written the next one
//! is filled; when that is full too, the client has to wait. The file is made with its first batch
//! and goes with its last user, so nothing is left whatever way a request ends.

use std::fs::File;
use std::future::Future;
use std::io;
use std::ops::Deref;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tidegate_telemetry::labels::{ReplayLost, ReplayStore};

use super::disk::Work;
use super::run::Run;
use super::totals::{Held, Ledger};
use crate::clock::now;
use crate::wheel::Timer;

/// What is written or read at a time, in bytes.
const BATCH: u64 = 256 * 1024;
/// The same while all requests together keep as much in memory as they may.
const BATCH_SHORT: u64 = 16 * 1024;
/// A disk that takes longer for a batch has failed: the client waits for it.
const STALL: Duration = Duration::from_secs(5);

/// What one request keeps on disk, or on the way there.
pub(super) struct Spool {
    ledger: Rc<Ledger>,
    file: Owned,
    limit: u64,
    /// Bytes on disk. Behind them come those of `writing`, and then those of `filling`.
    written: u64,
    writing: Option<Writing>,
    filling: Batch,
    reading: Option<Reading>,
    stall: Timer,
}

/// Bytes in memory that count there.
struct Batch {
    run: Run,
    held: Held,
}

struct Writing {
    batch: Arc<Batch>,
    /// None once it has failed.
    work: Option<Work<()>>,
}

struct Reading {
    at: u64,
    work: Work<Bytes>,
}

/// A spool's hold on its file: freeing what was written takes the disk's time, not the worker's.
struct Owned(Option<Arc<SpoolFile>>);

struct SpoolFile {
    dir: Arc<Path>,
    file: OnceLock<File>,
    held: Held,
}

/// What was read back, which counts as memory until it was sent.
struct ReadBack {
    data: Vec<u8>,
    _held: Held,
}

impl Spool {
    /// An empty one, for at most `limit` bytes.
    pub(super) fn new(ledger: &Rc<Ledger>, limit: u64) -> Self {
        Self {
            file: Owned(Some(Arc::new(SpoolFile {
                dir: ledger.spool_dir(),
                file: OnceLock::new(),
                held: Held::new(&ledger.totals, ReplayStore::Spool),
            }))),
            limit,
            written: 0,
            writing: None,
            filling: Batch::new(ledger),
            reading: None,
            stall: ledger.timer(),
            ledger: ledger.clone(),
        }
    }

    /// How many bytes are kept.
    pub(super) fn bytes(&self) -> u64 {
        self.written + self.in_writing() + self.filling.run.bytes()
    }

    fn in_writing(&self) -> u64 {
        let writing = self.writing.as_ref();
        writing.map_or(0, |writing| writing.batch.run.bytes())
    }

    /// Keeps a piece, unless a limit forbids it.
    pub(super) fn push(&mut self, data: &Bytes) -> Result<(), ReplayLost> {
        let length = data.len() as u64;
        if self.bytes() + length > self.limit {
            return Err(ReplayLost::RequestLimit);
        }
        if !self.file.held.try_more(length, self.ledger.spool_limit()) {
            return Err(ReplayLost::TotalLimit);
        }
        self.filling.held.more(length);
        self.filling.run.push(data);
        Ok(())
    }

    /// Ready once there is room for another piece: not while the disk lags behind. Errors are the
    /// disk's; what is kept can be read all the same.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let full = self.filling.run.bytes() >= self.batch_bytes();
            match self.poll_written(cx)? {
                Poll::Ready(()) if full => self.write(),
                Poll::Pending if full => {
                    return self.stall.poll_expired(cx).map(|()| Err(stalled()));
                }
                _ => return Poll::Ready(Ok(())),
            }
        }
    }

    fn batch_bytes(&self) -> u64 {
        match self.ledger.is_short() {
            true => BATCH_SHORT,
            false => BATCH,
        }
    }

    /// Ready once nothing is being written.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(writing) = &mut self.writing else {
            return Poll::Ready(Ok(()));
        };
        let Some(work) = &mut writing.work else {
            return Poll::Ready(Err(io::Error::other("a write has failed before")));
        };
        let done = ready!(Pin::new(work).poll(cx));
        writing.work = None;
        if done.is_ok() {
            self.written += writing.batch.run.bytes();
            self.writing = None;
        }
        Poll::Ready(done)
    }

    fn write(&mut self) {
        let mut batch = std::mem::replace(&mut self.filling, Batch::new(&self.ledger));
        batch.run.close();
        let batch = Arc::new(batch);
        // A request that has ended by then wants nothing to be written, and a disk that hangs must not
        // hold what it had.
        let (file, at) = (Arc::downgrade(&self.file), self.written);
        let writes = Arc::downgrade(&batch);
        let write = move || match file.upgrade().zip(writes.upgrade()) {
            Some((file, batch)) => file.write(at, &batch.run),
            None => Ok(()),
        };
        let work = self.ledger.totals.disk.run(write);
        let work = Some(work);
        self.writing = Some(Writing { batch, work });
        self.stall.set(now() + STALL);
    }

    /// What begins at byte `at`, which is not behind the end.
    pub(super) fn poll_from(
        &mut self,
        cx: &mut Context<'_>,
        at: u64,
    ) -> Poll<io::Result<Option<Bytes>>> {
        if at >= self.written {
            return Poll::Ready(Ok(self.in_memory(at - self.written)));
        }
        if self.reading.as_ref().is_none_or(|reading| reading.at != at) {
            self.read(at);
        }
        let Some(reading) = &mut self.reading else {
            return Poll::Pending;
        };
        let Poll::Ready(data) = Pin::new(&mut reading.work).poll(cx) else {
            return self.stall.poll_expired(cx).map(|()| Err(stalled()));
        };
        self.reading = None;
        let data = data?;
        self.read(at + data.len() as u64);
        Poll::Ready(Ok(Some(data)))
    }

    fn in_memory(&mut self, at: u64) -> Option<Bytes> {
        match &self.writing {
            Some(writing) if at < writing.batch.run.bytes() => writing.batch.run.closed_from(at),
            _ => self.filling.run.from(at - self.in_writing()),
        }
    }

    /// Begins to read what is on disk at byte `at`; nothing if that is the end.
    fn read(&mut self, at: u64) {
        let length = (self.written - at).min(BATCH);
        if length == 0 {
            return;
        }
        let file = Arc::downgrade(&self.file);
        let read = move || match file.upgrade() {
            Some(file) => file.read(at, length as usize),
            None => Err(no_file()),
        };
        let work = self.ledger.totals.disk.run(read);
        self.reading = Some(Reading { at, work });
        self.stall.set(now() + STALL);
    }

    /// Forgets what was read ahead: another attempt begins.
    pub(super) fn rewind(&mut self) {
        self.reading = None;
    }
}

impl Batch {
    fn new(ledger: &Ledger) -> Self {
        Self {
            run: Run::default(),
            held: Held::new(&ledger.totals, ReplayStore::Memory),
        }
    }
}

impl Deref for Owned {
    type Target = Arc<SpoolFile>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("it is there until the end")
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Where none was made yet, none will be, or whoever makes it holds it.
        if let Some(file) = self.0.take().filter(|file| file.file.get().is_some()) {
            let totals = file.held.totals().clone();
            let _detached = totals.disk.run(move || {
                drop(file);
                Ok(())
            });
        }
    }
}

/// On the disk's threads.
impl SpoolFile {
    fn write(&self, at: u64, run: &Run) -> io::Result<()> {
        let written = self.write_all(at, run);
        written.map_err(|error| in_dir(&self.dir, &error))?;
        self.held.totals().metrics.spooled(run.bytes());
        Ok(())
    }

    fn write_all(&self, mut at: u64, run: &Run) -> io::Result<()> {
        let file = self.file()?;
        for piece in run.pieces() {
            file.write_all_at(piece, at)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Only one batch is written at a time, so the file is made once.
    fn file(&self) -> io::Result<&File> {
        if self.file.get().is_none() {
            let _first = self.file.set(tempfile::tempfile_in(&self.dir)?);
        }
        self.file.get().ok_or_else(no_file)
    }

    fn read(&self, at: u64, length: usize) -> io::Result<Bytes> {
        let held = Held::new(self.held.totals(), ReplayStore::Memory);
        held.more(length as u64);
        let mut data = vec![0; length];
        let file = self.file.get().ok_or_else(no_file)?;
        file.read_exact_at(&mut data, at)?;
        Ok(Bytes::from_owner(ReadBack { data, _held: held }))
    }
}

impl AsRef<[u8]> for ReadBack {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

/// The file has no name: what tells a person which disk it is is the directory.
fn in_dir(dir: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", dir.display()))
}

fn stalled() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the disk took too long")
}

fn no_file() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "nothing was written before")
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tidegate_core::plan::ReplayLimits;
    use tidegate_telemetry::metrics::Metrics;

    use super::super::disk::THREADS;
    use super::super::totals::Totals;
    use super::*;
    use crate::wheel::Wheel;

    const BYTES: usize = 2 * BATCH as usize;

    fn empty(dir: &tempfile::TempDir) -> Spool {
        let totals = Totals::new(Metrics::new()).unwrap();
        let ledger = Ledger::new(totals, Wheel::new(now()));
        ledger.limit(&ReplayLimits {
            spool_dir: dir.path().into(),
            ..ReplayLimits::default()
        });
        Spool::new(&ledger, u64::MAX)
    }

    /// Keeps every thread of the disk busy until this is dropped.
    fn hang(spool: &Spool) -> Vec<std::sync::mpsc::Sender<()>> {
        let hang = |_| {
            let (held, hangs) = std::sync::mpsc::channel();
            let _detached = spool.ledger.totals.disk.run(move || {
                let _dropped: Result<(), _> = hangs.recv();
                Ok(())
            });
            held
        };
        (0..THREADS).map(hang).collect()
    }

    /// One whose first batches are on disk.
    async fn written(dir: &tempfile::TempDir) -> Spool {
        let mut spool = empty(dir);
        spool.push(&Bytes::from(vec![7; BYTES])).unwrap();
        poll_fn(|cx| spool.poll_room(cx)).await.unwrap();
        poll_fn(|cx| spool.poll_written(cx)).await.unwrap();
        assert_eq!((spool.bytes(), spool.written), (BYTES as u64, BYTES as u64));
        spool
    }

    #[tokio::test]
    async fn a_file_has_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = written(&dir).await;
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let mut at = 0;
        while let Some(data) = poll_fn(|cx| spool.poll_from(cx, at)).await.unwrap() {
            assert!(data.iter().all(|byte| *byte == 7));
            at += data.len() as u64;
        }
        assert_eq!(at, BYTES as u64);
    }

    /// A disk that hangs holds nothing of requests that have ended.
    #[tokio::test]
    async fn what_waits_for_the_disk_goes_with_its_request() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = empty(&dir);
        let (hung, totals) = (hang(&spool), spool.ledger.totals.clone());
        spool.push(&Bytes::from(vec![7; BYTES])).unwrap();
        poll_fn(|cx| spool.poll_room(cx)).await.unwrap();
        assert!(spool.writing.is_some());
        drop(spool);
        assert_eq!(totals.taken(ReplayStore::Memory), 0);
        assert_eq!(totals.taken(ReplayStore::Spool), 0);
        drop(hung);

        let mut spool = written(&dir).await;
        let (hung, totals) = (hang(&spool), spool.ledger.totals.clone());
        let mut asked = std::pin::pin!(poll_fn(|cx| spool.poll_from(cx, 0)));
        assert!(futures_util::poll!(asked.as_mut()).is_pending());
        drop(spool);
        assert_eq!(totals.taken(ReplayStore::Memory), 0);
        drop(hung);
    }

    /// Who reads of it learns which disk it is.
    #[tokio::test]
    async fn a_disk_that_fails_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = empty(&dir);
        let path = dir.path().display().to_string();
        dir.close().unwrap();
        spool.push(&Bytes::from(vec![7; BYTES])).unwrap();
        // The disk may have said so by now, or says so once everything is asked for.
        let failed = match poll_fn(|cx| spool.poll_room(cx)).await {
            Err(failed) => failed,
            Ok(()) => poll_fn(|cx| spool.poll_written(cx)).await.unwrap_err(),
        };
        assert_eq!(failed.kind(), io::ErrorKind::NotFound);
        assert!(failed.to_string().starts_with(&path), "{failed}");
    }

    /// Nobody takes what is missing for the end.
    #[tokio::test]
    async fn what_cannot_be_read_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = written(&dir).await;
        spool.file.file().unwrap().set_len(BATCH + 1).unwrap();
        assert!(poll_fn(|cx| spool.poll_from(cx, 0)).await.is_ok());
        let missing = poll_fn(|cx| spool.poll_from(cx, BATCH)).await;
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
