//! The directory in which a process keeps what must outlive it: generations, orders.
//!
//! Small JSON documents with a version, each replaced as a whole (a new file, synced, renamed over the
//! old one, the directory synced), so that whoever reads one sees the old or the new, whatever killed
//! the writer. What is there and is none of ours is set aside and reported, never guessed at and never
//! a reason not to serve. Everything here blocks on the disk: call it on the quiet thread.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The form of the documents.
const VERSION: u32 = 1;
/// No document is larger: a configuration of 64 MiB, every character of it escaped.
const BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Only its owner looks into the directory, and into its files.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Held by the process that uses the directory.
const LOCK: &str = "lock";
/// The ends of names that are no documents: one that is being written, one that was none of ours.
const WRITING: &str = ".writing";
const ASIDE: &str = ".aside";

/// A state directory that this process has for itself. Cheap to clone; clones share.
#[derive(Clone, Debug)]
pub struct StateDir(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// One document is written at a time.
    writing: Mutex<()>,
    /// Its lock goes when the process does.
    _lock: File,
}

/// Why something is not kept, or not found again.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory cannot be used.
    #[error("the state directory {} cannot be used: {why}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system says.
        why: io::Error,
    },
    /// Another process has it.
    #[error("the state directory {} is in use by another process; give each its own", .0.display())]
    InUse(PathBuf),
    /// It belongs to somebody else, who could put anything there.
    #[error("the state directory {} belongs to another user", .0.display())]
    Foreign(PathBuf),
    /// A document cannot be read or written.
    #[error("{}: {why}", path.display())]
    Disk {
        /// Which.
        path: PathBuf,
        /// What the system says.
        why: io::Error,
    },
    /// What is there is no document of this version; it was renamed.
    #[error("{} is not what Tidegate writes ({why}); it was set aside as {}", path.display(), aside.display())]
    SetAside {
        /// Where it was.
        path: PathBuf,
        /// Where it is now.
        aside: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// What is around every content.
#[derive(Serialize, Deserialize)]
struct Document<'a, T> {
    tidegate_state: u32,
    name: std::borrow::Cow<'a, str>,
    content: T,
}

impl StateDir {
    /// Makes the directory if there is none, and takes it for this process alone, until the last
    /// clone is gone.
    ///
    /// # Errors
    /// [`StateError`] when it cannot be used or another process uses it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let unusable = |why| StateError::Directory {
            path: path.to_owned(),
            why,
        };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(DIR_MODE);
        builder.create(path).map_err(unusable)?;
        let found = std::fs::metadata(path).map_err(unusable)?;
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(StateError::Foreign(path.to_owned()));
        }
        if found.mode() & 0o077 != 0 {
            std::fs::set_permissions(path, Permissions::from_mode(DIR_MODE)).map_err(unusable)?;
        }
        let lock = file_of_ours().open(path.join(LOCK)).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(StateError::InUse(path.to_owned()));
            }
            Err(std::fs::TryLockError::Error(why)) => return Err(unusable(why)),
        }
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            writing: Mutex::new(()),
            _lock: lock,
        })))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The content of the document `name` (letters, digits, dots and dashes); none when there is none.
    ///
    /// # Errors
    /// [`StateError::SetAside`] when what is there is not what was written, [`StateError::Disk`] when
    /// it cannot be read.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StateError> {
        let path = self.path_of(name);
        let bytes = match read_bounded(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(StateError::Disk { path, why }),
        };
        let content = content(name, &bytes).map_err(|why| self.set_aside(name, why))?;
        Ok(Some(content))
    }

    /// Replaces the document `name`. When this returns, it is on the disk.
    ///
    /// # Errors
    /// [`StateError::Disk`]; what was there before is untouched then.
    pub fn write<T: Serialize>(&self, name: &str, content: &T) -> Result<(), StateError> {
        let _one = self.lock();
        let path = self.path_of(name);
        let new = self.path_of(&format!("{name}{WRITING}"));
        let written = write_new(&new, name, content).and_then(|()| {
            std::fs::rename(&new, &path)?;
            File::open(&self.0.path)?.sync_all()
        });
        written.map_err(|why| {
            // Nobody reads it; the next one of this name goes over it.
            let _ = std::fs::remove_file(&new);
            StateError::Disk { path, why }
        })
    }

    /// Removes the document `name`, if there is one.
    ///
    /// # Errors
    /// [`StateError::Disk`].
    pub fn remove(&self, name: &str) -> Result<(), StateError> {
        let _one = self.lock();
        let path = self.path_of(name);
        match std::fs::remove_file(&path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => {
                Err(StateError::Disk { path, why })
            }
            _ => Ok(()),
        }
    }

    /// The names of all documents, sorted; whether they are any good shows when they are read.
    ///
    /// # Errors
    /// [`StateError::Directory`] when it cannot be listed.
    pub fn names(&self) -> Result<Vec<String>, StateError> {
        let unusable = |why| StateError::Directory {
            path: self.0.path.clone(),
            why,
        };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.0.path).map_err(unusable)? {
            let name = entry.map_err(unusable)?.file_name();
            let name = name.to_str().filter(|name| is_document(name));
            names.extend(name.map(str::to_owned));
        }
        names.sort();
        Ok(names)
    }

    fn set_aside(&self, name: &str, why: String) -> StateError {
        let (path, aside) = (self.path_of(name), self.path_of(&format!("{name}{ASIDE}")));
        match std::fs::rename(&path, &aside) {
            Ok(()) => StateError::SetAside { path, aside, why },
            Err(why) => StateError::Disk { path, why },
        }
    }

    fn path_of(&self, name: &str) -> PathBuf {
        debug_assert!(!name.is_empty() && !name.contains(['/', '\0']) && !name.starts_with('.'));
        self.0.path.join(name)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ()> {
        self.0
            .writing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_document(name: &str) -> bool {
    name != LOCK && !name.ends_with(WRITING) && !name.ends_with(ASIDE)
}

fn file_of_ours() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    options.mode(FILE_MODE);
    options
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn content<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, String> {
    #[derive(Deserialize)]
    struct Version {
        tidegate_state: u32,
    }
    let version: Version = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if version.tidegate_state != VERSION {
        return Err(format!("version {}", version.tidegate_state));
    }
    let document: Document<'_, T> =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    match document.name == name {
        true => Ok(document.content),
        false => Err(format!("it is `{}`", document.name)),
    }
}

fn write_new<T: Serialize>(path: &Path, name: &str, content: &T) -> io::Result<()> {
    let document = Document {
        tidegate_state: VERSION,
        name: name.into(),
        content,
    };
    let mut file = file_of_ours().open(path)?;
    file.write_all(&serde_json::to_vec(&document)?)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> (tempfile::TempDir, StateDir) {
        let place = tempfile::tempdir().unwrap();
        let state = StateDir::open(&place.path().join("a/state")).unwrap();
        (place, state)
    }

    #[test]
    fn what_was_written_is_read_again_by_its_owner_alone() {
        let (_place, state) = dir();
        assert_eq!(state.read::<Vec<u32>>("numbers.json").unwrap(), None);
        state.write("numbers.json", &[1, 2]).unwrap();
        state.write("numbers.json", &[3]).unwrap();
        assert_eq!(
            state.read::<Vec<u32>>("numbers.json").unwrap(),
            Some(vec![3])
        );
        assert_eq!(state.names().unwrap(), ["numbers.json"]);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(state.path()), 0o700);
        assert_eq!(mode(&state.path().join("numbers.json")), 0o600);
        state.remove("numbers.json").unwrap();
        state.remove("numbers.json").unwrap();
        assert_eq!(state.read::<Vec<u32>>("numbers.json").unwrap(), None);
    }

    #[test]
    fn a_directory_has_one_process_and_is_shut_to_others() {
        let (place, state) = dir();
        let path = place.path().join("a/state");
        assert!(matches!(StateDir::open(&path), Err(StateError::InUse(_))));
        drop(state);
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        StateDir::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        let file = place.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(
            StateDir::open(&file),
            Err(StateError::Directory { .. })
        ));
    }

    /// Whatever a crash, a full disk or somebody else has left there.
    #[test]
    fn what_is_not_ours_is_set_aside() {
        let (_place, state) = dir();
        state.write("good.json", &[1]).unwrap();
        let good = std::fs::read(state.path().join("good.json")).unwrap();
        let check = |bytes: &[u8], why: &str| {
            std::fs::write(state.path().join("a.json"), bytes).unwrap();
            let error = state.read::<Vec<u32>>("a.json").unwrap_err();
            assert!(matches!(error, StateError::SetAside { .. }), "{error}");
            assert!(error.to_string().contains(why), "{error}");
            assert_eq!(state.read::<Vec<u32>>("a.json").unwrap(), None, "{why}");
            assert!(state.path().join("a.json.aside").exists());
        };
        for end in 0..good.len() {
            check(&good[..end], "");
        }
        check(&good, "it is `good.json`");
        let text = String::from_utf8(good).unwrap();
        check(text.replace("1,\"name", "2,\"name").as_bytes(), "version 2");
        check(text.replace("[1]", "{}").as_bytes(), "invalid type");
        check(b"\xff\xfe", "");
        assert_eq!(state.names().unwrap(), ["good.json"]);
    }

    /// A write that was killed leaves its new file behind, whole or not.
    #[test]
    fn a_write_that_was_killed_changes_nothing() {
        let (_place, state) = dir();
        state.write("a.json", &[1]).unwrap();
        std::fs::write(state.path().join("a.json.writing"), "{\"tideg").unwrap();
        assert_eq!(state.read::<Vec<u32>>("a.json").unwrap(), Some(vec![1]));
        assert_eq!(state.names().unwrap(), ["a.json"]);
        state.write("a.json", &[2]).unwrap();
        assert_eq!(state.read::<Vec<u32>>("a.json").unwrap(), Some(vec![2]));
    }

    #[test]
    fn a_disk_that_takes_nothing_keeps_what_was_there() {
        let (_place, state) = dir();
        state.write("a.json", &[1]).unwrap();
        std::fs::create_dir(state.path().join("a.json.writing")).unwrap();
        assert!(matches!(
            state.write("a.json", &[2]),
            Err(StateError::Disk { .. })
        ));
        assert_eq!(state.read::<Vec<u32>>("a.json").unwrap(), Some(vec![1]));
    }
}
