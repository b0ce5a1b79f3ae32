//! The buffers that workers fill, and the log that owns them.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tidegate_core::settings;

use super::record::AccessRecord;
use super::sink::{OpenError, Sink};
use super::time::Stamp;
use crate::metrics::Metrics;

/// Records wait no longer than this before they are written.
const PERIOD: Duration = Duration::from_millis(100);
/// A buffer that holds so much is written at once.
const BATCH: usize = 64 * 1024;
/// A buffer that holds so much takes no more records: the log is too slow.
pub(super) const LIMIT: usize = 4 * 1024 * 1024;
/// A buffer that grew beyond this in a burst is given back.
const KEEP: usize = 256 * 1024;
/// When the log is closed, what is buffered gets so long to be written.
const CLOSE: Duration = Duration::from_secs(2);

/// The access log of a process. Cheap to clone; clones share. Dropping the last one closes it.
#[derive(Clone, Debug)]
pub struct AccessLog(Option<Arc<Open>>);

/// A log that is not off, with its thread.
#[derive(Debug)]
struct Open {
    shared: Arc<Shared>,
    thread: Mutex<Option<(JoinHandle<()>, Receiver<()>)>>,
}

/// One thread's way into the log. Without a log it does nothing.
#[derive(Debug)]
pub struct AccessWriter {
    stamp: Stamp,
    out: Option<(Arc<Shared>, Arc<Buffer>)>,
}

#[derive(Debug)]
struct Shared {
    buffers: Mutex<Vec<Arc<Buffer>>>,
    wake: SyncSender<()>,
    reopen: AtomicBool,
    closing: AtomicBool,
    metrics: Arc<Metrics>,
}

/// Lines of one worker. Aligned so that workers do not share a line of cache.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Buffer(Mutex<Vec<u8>>);

impl AccessLog {
    /// Opens the log at `destination`; `metrics` counts what has to be dropped.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread cannot be started.
    pub fn start(
        destination: &settings::AccessLog,
        metrics: Arc<Metrics>,
    ) -> Result<Self, OpenError> {
        match destination {
            settings::AccessLog::Off => Ok(Self::off()),
            settings::AccessLog::Stdout => Self::run(Sink::to(std::io::stdout()), metrics),
            settings::AccessLog::File(path) => Self::run(Sink::file(path)?, metrics),
        }
    }

    /// A log that writes to `out`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn to(out: impl Write + Send + 'static, metrics: Arc<Metrics>) -> Result<Self, OpenError> {
        Self::run(Sink::to(out), metrics)
    }

    /// A log that writes nothing.
    pub fn off() -> Self {
        Self(None)
    }

    fn run(sink: Sink, metrics: Arc<Metrics>) -> Result<Self, OpenError> {
        let (wake, woken) = sync_channel(1);
        let (ended, end) = sync_channel(1);
        let shared = Arc::new(Shared {
            buffers: Mutex::default(),
            wake,
            reopen: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            metrics,
        });
        let for_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || {
                for_thread.run(sink, &woken);
                // Nobody waits any more when the log was too slow to close.
                let _ = ended.send(());
            })
            .map_err(OpenError::Thread)?;
        let thread = Mutex::new(Some((thread, end)));
        Ok(Self(Some(Arc::new(Open { shared, thread }))))
    }

    /// A writer for the calling thread.
    pub fn thread(&self) -> AccessWriter {
        let out = self.0.as_ref().map(|open| {
            let buffer = Arc::<Buffer>::default();
            open.shared.buffers().push(buffer.clone());
            (open.shared.clone(), buffer)
        });
        AccessWriter {
            stamp: Stamp::default(),
            out,
        }
    }

    /// Opens the file again by its name, after somebody has moved it away. What cannot be opened
    /// is logged, and the old file goes on.
    pub fn reopen(&self) {
        if let Some(open) = &self.0 {
            open.shared.reopen.store(true, Ordering::Release);
            open.shared.wake();
        }
    }

    /// Writes what is buffered, within two seconds, and takes no more. End the workers first:
    /// what they enter later is lost. Closing twice is closing once.
    pub fn close(&self) {
        if let Some(open) = &self.0 {
            open.close();
        }
    }
}

impl Open {
    fn close(&self) {
        let taken = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some((thread, end)) = taken else {
            return;
        };
        self.shared.closing.store(true, Ordering::Release);
        self.shared.wake();
        if end.recv_timeout(CLOSE).is_ok() {
            // It has ended, so joining does not wait; a panic in it was reported there.
            let _ = thread.join();
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.close();
    }
}

impl AccessWriter {
    /// Whether records go anywhere; where they do not, none needs to be made.
    pub fn is_on(&self) -> bool {
        self.out.is_some()
    }

    /// Enters one record. Never waits for the log: when it is too slow, the record is dropped and
    /// counted.
    pub fn write(&mut self, record: &AccessRecord<'_>) {
        let Some((shared, buffer)) = &self.out else {
            return;
        };
        let mut lines = buffer.lock();
        let before = lines.len();
        if before >= LIMIT {
            drop(lines);
            shared.metrics.access_log_dropped(1);
            return;
        }
        record.append(&mut lines, &mut self.stamp);
        let after = lines.len();
        drop(lines);
        if before < BATCH && after >= BATCH {
            shared.wake();
        }
    }

    /// Asks for what is buffered to be written now. Does not wait until it is.
    pub fn flush(&self) {
        if let Some((shared, _)) = &self.out {
            shared.wake();
        }
    }
}

impl Buffer {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn run(&self, mut sink: Sink, woken: &Receiver<()>) {
        let mut spare = Vec::new();
        loop {
            // Read before draining: what was entered before the log was closed is written.
            let closing = self.closing.load(Ordering::Acquire);
            if self.reopen.swap(false, Ordering::AcqRel) {
                sink.reopen();
            }
            self.drain(&mut sink, &mut spare);
            if closing {
                return;
            }
            // Woken or not, there may be something to write.
            let _ = woken.recv_timeout(PERIOD);
        }
    }

    fn drain(&self, sink: &mut Sink, spare: &mut Vec<u8>) {
        let buffers = self.buffers().clone();
        for buffer in &buffers {
            std::mem::swap(&mut *buffer.lock(), spare);
            if !spare.is_empty() {
                self.metrics.access_log_dropped(sink.write(spare));
            }
            spare.clear();
            spare.shrink_to(KEEP);
        }
        drop(buffers);
        // A buffer that only the list holds gets no more lines.
        self.buffers()
            .retain(|buffer| Arc::strong_count(buffer) > 1 || !buffer.lock().is_empty());
    }

    /// Wakes the thread; a wake that is due already is enough.
    fn wake(&self) {
        let _ = self.wake.try_send(());
    }

    fn buffers(&self) -> MutexGuard<'_, Vec<Arc<Buffer>>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
