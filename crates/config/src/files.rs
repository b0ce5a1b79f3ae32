//! Reading the files that a configuration names. The only side effect of this crate sits behind
//! this trait, so that tests and `compile` need no disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::defaults;

/// Certificates and certificate authorities larger than this are refused: nothing real comes near.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The bit of a file's mode that lets everybody read it.
#[cfg(unix)]
const READ_BY_OTHERS: u32 = 0o004;

/// Where named files come from.
pub trait Files {
    /// The content of the file at `path`, already joined to the configuration's directory.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The regular file at `path`, to be read piece by piece.
    fn open(&self, path: &Path) -> io::Result<Opened> {
        let content = self.read(path)?;
        Ok(Opened {
            bytes: content.len() as u64,
            content: Box::new(io::Cursor::new(content)),
        })
    }

    /// Whether there is a directory, and nothing else, at `path`. An error when nothing is there, or
    /// when it may not be looked at.
    fn is_dir(&self, path: &Path) -> io::Result<bool>;

    /// Whether every user of the machine may read the file at `path`. No by default: what holds no
    /// files shows none.
    fn is_exposed(&self, _path: &Path) -> io::Result<bool> {
        Ok(false)
    }
}

/// A file that may be too large to be read at once.
pub struct Opened {
    /// How long it was when it was opened.
    pub bytes: u64,
    /// What is in it.
    pub content: Box<dyn Read>,
}

/// The file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

/// Files held in memory: for tests, the demo and fuzzing.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    files: BTreeMap<PathBuf, Vec<u8>>,
    exposed: BTreeSet<PathBuf>,
}

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        read_bounded(path, FILE_BYTES_MAX)
    }

    fn open(&self, path: &Path) -> io::Result<Opened> {
        let file = std::fs::metadata(path)?;
        if !file.is_file() {
            return Err(not_regular());
        }
        Ok(Opened {
            bytes: file.len(),
            content: Box::new(std::fs::File::open(path)?),
        })
    }

    fn is_dir(&self, path: &Path) -> io::Result<bool> {
        std::fs::metadata(path).map(|found| found.is_dir())
    }

    #[cfg(unix)]
    fn is_exposed(&self, path: &Path) -> io::Result<bool> {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).map(|found| found.permissions().mode() & READ_BY_OTHERS != 0)
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files
            .get(path)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Directories are those of its files, and the one that every system has.
    fn is_dir(&self, path: &Path) -> io::Result<bool> {
        if self.files.contains_key(path) {
            return Ok(false);
        }
        let holds_some = self.files.keys().any(|file| file.starts_with(path));
        match holds_some || path == Path::new(defaults::SPOOL_DIR) {
            true => Ok(true),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn is_exposed(&self, path: &Path) -> io::Result<bool> {
        Ok(self.exposed.contains(path))
    }
}

impl Memory {
    /// No files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file, replacing one of the same path.
    #[must_use]
    pub fn with(mut self, path: impl Into<PathBuf>, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.into(), content.into());
        self
    }

    /// Says of a path that every user of the machine may read it.
    #[must_use]
    pub fn exposed(mut self, path: impl Into<PathBuf>) -> Self {
        self.exposed.insert(path.into());
        self
    }
}

/// Reads a regular file of at most `bytes_max` bytes. Devices and pipes are refused, because they
/// may block or never end.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let is = std::fs::metadata(path)?;
    if !is.is_file() {
        return Err(not_regular());
    }
    // Room for all of it and the end: a file that grows on the way is copied, as it would be otherwise.
    let room = usize::try_from(is.len().min(bytes_max) + 1).unwrap_or_default();
    let mut content = Vec::with_capacity(room);
    std::fs::File::open(path)?
        .take(bytes_max + 1)
        .read_to_end(&mut content)?;
    match content.len() as u64 > bytes_max {
        true => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {bytes_max} bytes"),
        )),
        false => Ok(content),
    }
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}
