//! Work that must not delay requests: on a thread of its own, behind everything else on its core.
//!
//! The data plane's threads sleep most of the time, and whoever wakes up goes before a thread of a
//! lower priority at once; among equals the kernel lets the one that runs end its slice of some
//! milliseconds. On a machine without an idle moment the thread still gets a tenth of a core. It is
//! one thread and not one a job, so that what a plan leaves behind is reused by the next: allocators
//! keep memory by thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tokio::sync::oneshot;

/// The niceness of the thread (`sched(7)`): a weight of 110 against the usual 1,024.
pub(crate) const NICENESS: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// The thread. It ends when all clones of this are gone and what they asked for is done.
#[derive(Clone, Debug)]
pub(crate) struct Quiet(Sender<Job>);

/// The work was not done to its end: it has panicked, or there is no thread.
#[derive(Debug, thiserror::Error)]
#[error("the thread for it failed")]
pub(crate) struct QuietError;

impl Quiet {
    /// Starts the thread. Where the system gives none, every job fails.
    pub(crate) fn start() -> Self {
        let (ask, jobs) = channel();
        let thread = std::thread::Builder::new().name("tidegate-quiet".to_owned());
        if let Err(error) = thread.spawn(move || run(&jobs)) {
            tracing::error!("no thread for reloads: {error}");
        }
        Self(ask)
    }

    /// Does `work` quietly, after what was asked for before. Dropping the future does not stop it.
    ///
    /// # Errors
    /// [`QuietError`] when it has panicked or there is no thread.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, QuietError> {
        let (tell, told) = oneshot::channel();
        // Nobody may be waiting any more.
        let job: Job = Box::new(move || drop(tell.send(work())));
        self.0.send(job).map_err(|_| QuietError)?;
        told.await.map_err(|_| QuietError)
    }
}

fn run(jobs: &Receiver<Job>) {
    // Where it is refused the work is done all the same.
    let _ = setpriority_process(Some(gettid()), NICENESS);
    for job in jobs {
        // Whoever asked sees that there is no result; the panic itself has been printed.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::getpriority_process;

    use super::*;

    #[tokio::test]
    async fn only_the_work_is_quiet() {
        let own = || getpriority_process(Some(gettid())).unwrap();
        let before = own();
        let during = Quiet::start().run(own).await.unwrap();
        assert_eq!(during, before.max(NICENESS));
        assert_eq!(own(), before);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_thread_goes_on() {
        let quiet = Quiet::start();
        let ended = quiet.run(|| assert_eq!(1, 2, "on purpose")).await;
        assert!(ended.is_err());
        assert_eq!(quiet.run(|| 7).await.unwrap(), 7);
    }
}
