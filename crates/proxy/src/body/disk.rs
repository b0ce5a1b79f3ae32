//! The threads that read and write spooled bodies: few, of their own, and for the whole process.
//!
//! Not the workers' own blocking threads: names are resolved there, and a disk that hangs must not
//! keep anybody from connecting. Threads start when there is something to do and end when there is
//! nothing for a while.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// A disk serves no more requests at a time any better.
pub(super) const THREADS: usize = 4;

/// What works on the disk. Dropping it waits for nothing.
pub(super) struct Disk {
    /// Never runs a task: only its pool of threads is used. None within `drop` alone.
    runtime: Option<Runtime>,
}

/// Work under way. Dropping it neither stops nor waits for it.
pub(super) struct Work<T>(JoinHandle<io::Result<T>>);

impl Disk {
    /// No thread is started yet.
    pub(super) fn new() -> io::Result<Self> {
        let mut builder = Builder::new_current_thread();
        builder
            .max_blocking_threads(THREADS)
            .thread_name("tidegate-disk");
        Ok(Self {
            runtime: Some(builder.build()?),
        })
    }

    /// Does `work` on another thread, after what was asked for before.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Work<T> {
        let runtime = self.runtime.as_ref().expect("there is one until the end");
        Work(runtime.spawn_blocking(work))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl<T> Future for Work<T> {
    type Output = io::Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|done| done.unwrap_or_else(|lost| Err(io::Error::other(lost))))
    }
}
