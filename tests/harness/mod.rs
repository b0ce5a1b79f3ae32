//! What the tests stand on: the binary as a child, requests of every kind, and the laboratory's
//! regions behind it.

mod captured;
mod command;
mod config;
mod metrics;
mod process;
mod session;
mod traffic;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use command::{Finished, tidegate};
pub(crate) use config::{Config, HOST, Keys};
pub(crate) use metrics::Metrics;
pub(crate) use process::Tidegate;
pub(crate) use session::{Reply, Session, ask};
pub(crate) use traffic::{Books, Traffic};

/// Longer than anything takes on a machine that is busy with other things; a test that waits for
/// so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` holds.
///
/// # Panics
/// With `what`, when it does not come true.
pub(crate) async fn until<F, Fut>(what: &str, condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let waited = tidegate_lab::wait_until(what, PATIENCE, condition).await;
    waited.unwrap_or_else(|error| panic!("{error}"));
}

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `directory` with this extension, sorted.
pub(crate) fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}
