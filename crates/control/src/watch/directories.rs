//! The directories in which a change of some files shows, and the system's watch on them.
//!
//! For each file: the directory that it lies in, and the directory of every symbolic link on the
//! way to it. Of a directory that does not exist (yet, or any more), the nearest one above.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Links that are followed on the way to one file, as many as Linux follows.
const LINKS_MAX: usize = 40;

/// A watch on directories; ends when dropped.
#[derive(Debug)]
pub(super) struct Directories {
    watched: BTreeMap<PathBuf, Option<Identity>>,
    _watcher: RecommendedWatcher,
}

/// By what a directory is told from one that takes its place: numbers of inodes are given out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    born: SystemTime,
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
        // Before they are watched: one that is replaced meanwhile is another one at the next look.
        let watched = identified(paths);
        for directory in watched.keys() {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
        Ok(Self {
            watched,
            _watcher: watcher,
        })
    }

    /// Whether these are the directories of `paths` as they are now. The system's watch on a directory ends
    /// with it, and a new watch takes a thread and a good part of a millisecond: time for those that are
    /// other ones, not at every reload. No, where a file system does not tell when a directory was made.
    pub(super) fn are_those_of(&self, paths: &[PathBuf]) -> bool {
        self.watched.values().all(Option::is_some) && self.watched == identified(paths)
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

impl Identity {
    fn of(directory: &Path) -> Option<Self> {
        let is = std::fs::metadata(directory).ok()?;
        Some(Self {
            device: is.dev(),
            inode: is.ino(),
            born: is.created().ok()?,
        })
    }
}

fn identified(paths: &[PathBuf]) -> BTreeMap<PathBuf, Option<Identity>> {
    let all = directories(paths).into_iter();
    all.map(|directory| (directory.clone(), Identity::of(&directory)))
        .collect()
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

    #[test]
    fn a_directory_that_takes_the_place_of_another_is_another_one() {
        let temporary = tempfile::tempdir().unwrap();
        let (path, other) = (temporary.path().join("a"), temporary.path().join("b"));
        std::fs::create_dir(&path).unwrap();
        let files = [path.join("a.yaml")];
        let (notify, _notices) = mpsc::channel(1);
        let watch = || Directories::watch(&files, &notify).unwrap();
        let tells = std::fs::metadata(&path).unwrap().created().is_ok();
        let watched = watch();
        std::fs::write(&files[0], "1").unwrap();
        assert_eq!(watched.are_those_of(&files), tells, "another file in it");
        assert!(
            !watched.are_those_of(&[other.join("a.yaml")]),
            "others are asked for"
        );
        // It stays, so that nothing has its number.
        std::fs::rename(&path, &other).unwrap();
        assert!(!watched.are_those_of(&files), "it is gone");
        let above = watch();
        std::fs::create_dir(&path).unwrap();
        assert!(!watched.are_those_of(&files), "another one by its name");
        assert!(!above.are_those_of(&files), "the one below is there again");
        assert_eq!(watch().are_those_of(&files), tells);
    }

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
