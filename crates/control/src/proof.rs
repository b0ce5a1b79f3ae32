//! When a plan has proven that it can serve: after it has for a while.
//!
//! Until then a start with it is marked (see [`crate::launch`]), and what ends the process counts
//! against it. Whoever ends the process in good order says so by [`Reloader::prove`].

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::reload::Reloader;

/// What a plan does to a process it has done by then.
const WHILE: Duration = Duration::from_secs(10);

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Proof(JoinHandle<()>);

impl Proof {
    /// Waits for every plan that `reloader` puts in place to serve for ten seconds, the one that serves
    /// now included. Needs a tokio runtime with time.
    pub fn start(reloader: Arc<Reloader>) -> Self {
        Self(tokio::spawn(wait(reloader)))
    }
}

impl Drop for Proof {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn wait(reloader: Arc<Reloader>) {
    let mut activations = reloader.activations();
    loop {
        activations.mark_unchanged();
        match timeout(WHILE, activations.changed()).await {
            Ok(Ok(())) => continue,
            Ok(Err(_ended)) => return,
            Err(_elapsed) => reloader.prove().await,
        }
        if activations.changed().await.is_err() {
            return;
        }
    }
}
