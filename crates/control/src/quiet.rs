//! Work that must not delay requests: on a thread of its own, behind everything else on its core.
//!
//! The thread is `SCHED_IDLE` (`sched(7)`) where that can be undone: whoever wakes up goes before it at once.
//! Among threads of the usual policy the kernel lets the one that has just woken up end its slice of some
//! milliseconds, however nice it is, and once a reload that is a request's p99. A machine without an idle
//! moment gives such a thread next to nothing, so whoever has waited for a while makes it a usual one of low
//! priority, with a tenth of a core. It is one thread and not one a job, so that what a plan leaves behind is
//! reused by the next: allocators keep memory by thread.

mod policy;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::process::{Pid, setpriority_process};
use rustix::thread::gettid;
use tokio::sync::oneshot;

/// The niceness of the thread (`sched(7)`): a weight of 110 against the usual 1,024.
const NICENESS: i32 = 10;

/// How long work may take behind everything else.
const PATIENCE: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce() + Send>;

/// The thread. It ends when all clones of this are gone and what they asked for is done.
#[derive(Clone, Debug)]
pub(crate) struct Quiet {
    ask: Sender<Job>,
    /// The thread, if it is behind everything else and can be taken out of there.
    last: Arc<OnceLock<Pid>>,
}

/// The work was not done to its end: it has panicked, or there is no thread.
#[derive(Debug, thiserror::Error)]
#[error("the thread for it failed")]
pub(crate) struct QuietError;

impl Quiet {
    /// Starts the thread. Where the system gives none, every job fails.
    pub(crate) fn start() -> Self {
        let (ask, jobs) = channel();
        let last = Arc::new(OnceLock::new());
        let own = last.clone();
        let thread = std::thread::Builder::new().name("tidegate-quiet".to_owned());
        if let Err(error) = thread.spawn(move || run(&jobs, &own)) {
            tracing::error!("no thread for reloads: {error}");
        }
        Self { ask, last }
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
        self.ask.send(job).map_err(|_| QuietError)?;
        let mut told = pin!(told);
        if let Ok(told) = tokio::time::timeout(PATIENCE, &mut told).await {
            return told.map_err(|_| QuietError);
        }
        self.hasten();
        told.await.map_err(|_| QuietError)
    }

    /// Drops `what` quietly, after what was asked for before; without the thread it is dropped here.
    pub(crate) fn let_go(&self, what: impl Send + 'static) {
        let _ = self.ask.send(Box::new(move || drop(what)));
    }

    /// Takes the thread out from behind everything else, until its next job.
    fn hasten(&self) {
        if let Some(thread) = self.last.get() {
            // It was found to be possible.
            let _ = policy::usual(*thread);
        }
    }
}

/// Makes this thread one of low priority, for good.
pub(crate) fn step_back() {
    // Where it is refused the work is done all the same.
    let _ = setpriority_process(Some(gettid()), NICENESS);
}

fn run(jobs: &Receiver<Job>, last: &OnceLock<Pid>) {
    step_back();
    if policy::can_be_undone() {
        let _ = last.set(gettid());
    }
    for job in jobs {
        if let Some(thread) = last.get() {
            // As above.
            let _ = policy::idle(*thread);
        }
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

    /// Behind everything else a machine that is busy would never end it.
    #[tokio::test]
    async fn what_takes_long_is_hastened() {
        let quiet = Quiet::start();
        let usual = || while policy::of_this_thread() != libc::SCHED_OTHER {};
        quiet.run(usual).await.unwrap();
        let next = quiet.run(policy::of_this_thread).await.unwrap();
        let expected = match quiet.last.get() {
            Some(_) => libc::SCHED_IDLE,
            None => libc::SCHED_OTHER,
        };
        assert_eq!(next, expected);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_thread_goes_on() {
        let quiet = Quiet::start();
        let ended = quiet.run(|| assert_eq!(1, 2, "on purpose")).await;
        assert!(ended.is_err());
        assert_eq!(quiet.run(|| 7).await.unwrap(), 7);
    }
}
