//! The directories in which a change of some files shows, and the system's watch on them.
//!
//! For each file: the directory that it lies in, and the directory of every symbolic link on the
//! way to it. Of a directory that does not exist (yet, or any more), the nearest one above.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Links that are followed on the way to one file, as many as Linux follows.
const LINKS_MAX: usize = 40;

/// A watch on directories; ends when dropped.
#[derive(Debug)]
pub(super) struct Directories {
    _watcher: RecommendedWatcher,
}

impl Directories {
    /// Watches for changes of `paths`. A notice that nobody has taken yet stands for all since.
    pub(super) fn watch(paths: &[PathBuf], notify: &mpsc::Sender<()>) -> notify::Result<Self> {
        let notify = notify.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error (a queue that ran over) says that something happened unseen.
            if event.map_or(true, |event| is_change(&event.kind)) {
                let _ = notify.try_send(());
            }
        })?;
        for directory in directories(paths) {
            watcher.watch(&directory, RecursiveMode::NonRecursive)?;
        }
        Ok(Self { _watcher: watcher })
    }
}

/// Reading is no change; without this, our own reading would be noticed.
fn is_change(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(mode)) => *mode == AccessMode::Write,
        EventKind::Access(_) => false,
        _ => true,
    }
}

fn directories(paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for path in paths {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let mut links_left = LINKS_MAX;
        add(absolute, &mut found, &mut links_left);
    }
    found
}

fn add(path: PathBuf, found: &mut BTreeSet<PathBuf>, links_left: &mut usize) {
    let exists = |path: &&Path| path.is_dir();
    found.extend(path.ancestors().skip(1).find(exists).map(Path::to_owned));
    for link in path.ancestors() {
        let (Ok(target), Some(parent)) = (std::fs::read_link(link), link.parent()) else {
            continue;
        };
        found.insert(parent.to_owned());
        if let (Some(left), Ok(rest)) = (links_left.checked_sub(1), path.strip_prefix(link)) {
            *links_left = left;
            add(parent.join(target).join(rest), found, links_left);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn check(root: &Path, path: &str, expected: &[&str]) {
        let expected: BTreeSet<_> = expected.iter().map(|path| root.join(path)).collect();
        let found = directories(&[root.join(path)]);
        let found: BTreeSet<_> = found.into_iter().map(tidied).collect();
        assert_eq!(found, expected.into_iter().map(tidied).collect(), "{path}");
    }

    /// Without `..` and a `.` or `/` at the end.
    fn tidied(path: PathBuf) -> PathBuf {
        path.components().collect()
    }

    #[test]
    fn every_link_on_the_way_is_watched() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path();
        for directory in ["plain", "k8s/..2026", "releases/v1"] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        symlink("..2026", root.join("k8s/..data")).unwrap();
        symlink("..data/a.yaml", root.join("k8s/a.yaml")).unwrap();
        symlink(root.join("releases/v1"), root.join("current")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        check(root, "plain/a.yaml", &["plain"]);
        check(root, "plain/gone/deep/a.yaml", &["plain"]);
        check(root, "k8s/a.yaml", &["k8s", "k8s/..data", "k8s/..2026"]);
        check(root, "current/a.yaml", &["current", "releases/v1", ""]);
        check(root, "loop/a.yaml", &[""]);
    }
}
