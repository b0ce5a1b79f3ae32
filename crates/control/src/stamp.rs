//! What the file system says of files without reading them: enough to see that one was changed,
//! replaced, removed or put back.
//!
//! Symbolic links are followed, so a link that is turned to another file is a change too. The time
//! of the inode's change is part of it, because a tool may rewrite a file and restore its times.
//! A pattern of an `include` stands for itself and for every file that matches it at the moment, so that
//! a file that comes to match is a change.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The state of some files at one moment, in the order of their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamps(Vec<(PathBuf, Option<Stamp>)>);

/// One file's; none when it cannot be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamps {
    /// Looks at `paths`, and at what matches those that are patterns.
    pub(crate) fn of<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Self {
        let mut stamps: Vec<_> = paths
            .into_iter()
            .flat_map(|path| expanded(path.as_ref()))
            .map(|path| {
                let stamp = Stamp::of(&path);
                (path, stamp)
            })
            .collect();
        stamps.sort_by(|(a, _), (b, _)| a.cmp(b));
        stamps.dedup_by(|(a, _), (b, _)| a == b);
        Self(stamps)
    }

    /// Looks at the same files again.
    pub(crate) fn again(&self) -> Self {
        Self::of(self.0.iter().map(|(path, _)| path))
    }

    /// The stamps of `paths`: as seen in `first`, else as in `second`, else as they look now.
    pub(crate) fn merged(first: &Self, second: &Self, paths: &[PathBuf]) -> Self {
        let all = [&first.0[..], &second.extended_to(paths).0[..]].concat();
        let mut known = Self(all);
        // Stable: of two entries of one path, the one of `first` stays.
        known.0.sort_by(|(a, _), (b, _)| a.cmp(b));
        known.0.dedup_by(|(a, _), (b, _)| a == b);
        known.extended_to(paths)
    }

    /// Looks at `paths`; those that were looked at before keep their old stamp. What matches a pattern and
    /// is neither known nor in `paths` is left out: nobody has read it, so it is a change still to be seen.
    pub(crate) fn extended_to(&self, paths: &[PathBuf]) -> Self {
        let mut next = Self::of(paths);
        next.0.retain_mut(|(path, stamp)| {
            match self.0.binary_search_by(|(known, _)| known.cmp(path)) {
                Ok(known) => *stamp = self.0[known].1,
                Err(_) => return paths.contains(path),
            }
            true
        });
        next
    }
}

/// A path, and the files that match it.
fn expanded(path: &Path) -> Vec<PathBuf> {
    let mut all = tidegate_config::matching(path);
    all.push(path.to_owned());
    all
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let file = std::fs::metadata(path).ok()?;
        Some(Self {
            device: file.dev(),
            inode: file.ino(),
            bytes: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_change_shows() {
        let dir = tempfile::tempdir().unwrap();
        let (file, other) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&file, "1").unwrap();
        let mut last = Stamps::of([&file, &other]);
        let mut check = |what: &str, expected: bool| {
            let now = last.again();
            assert_eq!(now != last, expected, "{what}");
            last = now;
        };
        check("nothing", false);
        std::fs::write(&file, "22").unwrap();
        check("rewritten", true);
        std::fs::write(&other, "22").unwrap();
        check("the second appears", true);
        std::fs::rename(&other, &file).unwrap();
        check("renamed over", true);
        std::fs::remove_file(&file).unwrap();
        check("removed", true);
        check("still removed", false);
    }

    #[test]
    fn a_file_that_comes_to_match_is_a_change_until_it_was_read() {
        let dir = tempfile::tempdir().unwrap();
        let (pattern, a) = (dir.path().join("p/*.yaml"), dir.path().join("p/a.yaml"));
        let before = Stamps::of([&pattern]);
        assert_eq!(before.again(), before, "nothing there");
        std::fs::create_dir(dir.path().join("p")).unwrap();
        std::fs::write(dir.path().join("p/.a.yaml.swp"), "").unwrap();
        assert_eq!(before.again(), before, "nothing that matches");
        std::fs::write(&a, "1").unwrap();
        let seen = before.again();
        assert_ne!(seen, before, "a file matches");
        // The plan that serves does not have it: it was refused, or it came after the reading.
        let unread = before.extended_to(std::slice::from_ref(&pattern));
        assert_ne!(unread.again(), unread, "nobody has read it");
        let refused = seen.extended_to(std::slice::from_ref(&pattern));
        assert_eq!(refused.again(), refused, "it was read and refused");
        std::fs::write(&a, "22").unwrap();
        assert_ne!(refused.again(), refused, "it was mended in place");
        let read = refused.again().extended_to(&[pattern, a.clone()]);
        assert_eq!(read.again(), read, "it was read");
        std::fs::remove_file(&a).unwrap();
        assert_ne!(read.again(), read, "it is gone");
    }

    #[test]
    fn a_new_list_keeps_what_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let before = Stamps::of([&a]);
        std::fs::write(&a, "1").unwrap();
        let after = before.extended_to(&[b.clone(), a.clone()]);
        assert_ne!(
            after,
            Stamps::of([&a, &b]),
            "the change of `a` is still to be seen"
        );
        assert_eq!(after.again(), Stamps::of([&a, &b]));
    }
}
