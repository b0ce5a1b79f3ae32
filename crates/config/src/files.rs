//! Reading the files that a configuration names. The only side effect of this crate sits behind
//! this trait, so that tests and `compile` need no disk.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::defaults;

/// Certificates and certificate authorities larger than this are refused: nothing real comes near.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Where named files come from.
pub trait Files {
    /// The content of the file at `path`, already joined to the configuration's directory.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Whether there is a directory, and nothing else, at `path`. An error when nothing is there, or
    /// when it may not be looked at.
    fn is_dir(&self, path: &Path) -> io::Result<bool>;
}

/// The file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

/// Files held in memory: for tests, the demo and fuzzing.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        read_bounded(path, FILE_BYTES_MAX)
    }

    fn is_dir(&self, path: &Path) -> io::Result<bool> {
        std::fs::metadata(path).map(|found| found.is_dir())
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
}

/// Reads a regular file of at most `bytes_max` bytes. Devices and pipes are refused, because they
/// may block or never end.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    let mut content = Vec::new();
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
