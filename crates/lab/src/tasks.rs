//! The tasks that belong to one part of the lab, ended together when the part is dropped.
//!
//! hyper spawns a task per HTTP/2 stream through the executor it is given. Handing it this set, not the runtime,
//! is what makes "everything dies on drop" true for a stream that sleeps in a handler. Finished tasks are reaped
//! at the next spawn, so the set holds about as many entries as there are running tasks.

use std::future::Future;
use std::sync::{Arc, Mutex};

use tokio::task::JoinSet;

use crate::sync::locked;

/// A shared set of running tasks. Clones name the same set.
#[derive(Clone)]
pub(crate) struct Tasks {
    running: Arc<Mutex<Option<JoinSet<()>>>>,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self {
            running: Arc::new(Mutex::new(Some(JoinSet::new()))),
        }
    }

    /// Starts `task`, or drops it unstarted when the set has been ended.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(set) = locked(&self.running).as_mut() {
            while set.try_join_next().is_some() {}
            set.spawn(task);
        }
    }

    /// Aborts every task and refuses new ones.
    pub(crate) fn end(&self) {
        // Dropped outside the lock: a task's destructor may call `spawn`.
        let set = locked(&self.running).take();
        drop(set);
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}

/// Ends the set when the owning handle goes. Kept apart from [`Tasks`], whose clones live inside the tasks.
pub(crate) struct EndOnDrop(pub(crate) Tasks);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}
