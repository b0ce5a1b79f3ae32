//! Notices that the configuration or a certificate changed on the disk, however it was changed.
//!
//! Directories are watched, not files: editors rename a new file over the old one, Kubernetes turns
//! a link, deployments turn a link further up. A notice only says "look"; what counts is what the
//! files look like then, so an access log in the same directory causes no reload. After a change
//! the files must look the same for a moment of silence before they are read: half-written content
//! would only be refused, but why ask. It never decides whether content is good.

mod directories;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::origin::Cause;
use crate::reload::{Reloader, Watched};
use crate::stamp::Stamps;
use directories::Directories;

/// Files must look the same for so long after a change.
const SILENCE: Duration = Duration::from_millis(150);
/// A file that never stops changing is read after so many rounds of [`SILENCE`] anyway.
const ROUNDS_MAX: usize = 20;
/// Least time between two looks: a busy directory costs a look every so often, not one a write.
const PAUSE: Duration = Duration::from_millis(50);

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watcher(JoinHandle<()>);

/// Why files cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot watch the configuration's files for changes ({0}); SIGHUP and POST /reload still work. \
     If the system's limit is the reason, raise fs.inotify.max_user_watches and max_user_instances"
)]
pub struct WatchError(#[from] notify::Error);

struct Watch {
    reloader: Arc<Reloader>,
    watched: watch::Receiver<Watched>,
    seen: Stamps,
    notices: mpsc::Receiver<()>,
    notify: mpsc::Sender<()>,
    directories: Directories,
}

impl Watcher {
    /// Watches the files of `reloader`'s configuration. Changes made since they were read count.
    /// Needs a tokio runtime with time.
    ///
    /// # Errors
    /// [`WatchError`] when the system refuses.
    pub fn start(reloader: Arc<Reloader>) -> Result<Self, WatchError> {
        let mut watched = reloader.watched();
        let Watched { paths, stamps } = watched.borrow_and_update().clone();
        let (notify, notices) = mpsc::channel(1);
        let watch = Watch {
            directories: Directories::watch(&paths, &notify)?,
            reloader,
            watched,
            seen: stamps,
            notices,
            notify,
        };
        Ok(Self(tokio::spawn(watch.run())))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Watch {
    async fn run(mut self) {
        loop {
            let now = self.seen.again();
            if now != self.seen {
                self.seen = settled(now).await;
                // Whoever wrote the file may also have sent the signal.
                if !self.reloader.has_read(&self.seen) {
                    self.reloader.reload(Cause::File).await;
                }
                // A directory may have been replaced with its files.
                self.follow();
                continue;
            }
            tokio::select! {
                Some(()) = self.notices.recv() => {}
                Ok(()) = self.watched.changed() => self.follow(),
                else => return,
            }
            sleep(PAUSE).await;
        }
    }

    /// Watches what the serving configuration is made of now.
    fn follow(&mut self) {
        let Watched { paths, stamps } = self.watched.borrow_and_update().clone();
        self.seen = Stamps::merged(&self.seen, &stamps, &paths);
        if self.directories.are_those_of(&paths) {
            return;
        }
        match Directories::watch(&paths, &self.notify) {
            Ok(directories) => self.directories = directories,
            Err(error) => tracing::warn!("{}", WatchError(error)),
        }
    }
}

/// Waits until the files have looked the same for a while.
async fn settled(mut last: Stamps) -> Stamps {
    for _ in 0..ROUNDS_MAX {
        sleep(SILENCE).await;
        let now = last.again();
        if now == last {
            break;
        }
        last = now;
    }
    last
}
