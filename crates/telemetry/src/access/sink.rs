//! Where the log's bytes go: a file, standard output, or a stand-in for them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Why the access log cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be opened for appending.
    #[error("cannot open the access log {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The thread that writes it cannot be started.
    #[error("cannot start the thread of the access log: {0}")]
    Thread(io::Error),
}

/// An open log.
pub(super) struct Sink {
    out: Box<dyn Write + Send>,
    path: Option<PathBuf>,
    failing: bool,
    /// The last write ended within a line.
    torn: bool,
}

impl Sink {
    /// A log that is appended to the file at `path`.
    pub(super) fn file(path: &Path) -> Result<Self, OpenError> {
        let file = append_to(path).map_err(|source| OpenError::File {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: Some(path.to_owned()),
            ..Self::to(file)
        })
    }

    /// A log that is written to `out`.
    pub(super) fn to(out: impl Write + Send + 'static) -> Self {
        Self {
            out: Box::new(out),
            path: None,
            failing: false,
            torn: false,
        }
    }

    /// Opens the file again by its name; keeps the old one if that fails.
    pub(super) fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match append_to(path) {
            Ok(file) => {
                self.out = Box::new(file);
                self.torn = false;
            }
            Err(error) => {
                tracing::error!("cannot reopen the access log {}: {error}", path.display());
            }
        }
    }

    /// Writes whole lines. Returns how many of them were lost.
    pub(super) fn write(&mut self, lines: &[u8]) -> u64 {
        let (written, result) = self.push(lines);
        let lost = memchr::memchr_iter(b'\n', &lines[written..]).count();
        match result {
            Ok(()) if std::mem::take(&mut self.failing) => {
                tracing::info!("the access log is written again");
            }
            Ok(()) => {}
            Err(error) => {
                self.torn |= written > 0 && lines[written - 1] != b'\n';
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!("cannot write the access log, records are lost: {error}");
                }
            }
        }
        lost as u64
    }

    fn push(&mut self, lines: &[u8]) -> (usize, io::Result<()>) {
        if self.torn {
            // Ends the piece of a line that an earlier failure left behind.
            if let Err(error) = self.out.write_all(b"\n") {
                return (0, Err(error));
            }
            self.torn = false;
        }
        let mut written = 0;
        while written < lines.len() {
            match self.out.write(&lines[written..]) {
                Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (written, Err(error)),
            }
        }
        (written, self.out.flush())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Takes so many bytes, then fails until it is given room again.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(usize, Vec<u8>)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (room, content) = &mut *self.0.lock().unwrap();
            let taken = bytes.len().min(*room);
            content.extend_from_slice(&bytes[..taken]);
            *room -= taken;
            if taken == 0 {
                Err(io::ErrorKind::StorageFull.into())
            } else {
                Ok(taken)
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_full_disk_tears_does_not_spoil_the_next_line() {
        let disk = Disk::default();
        let mut sink = Sink::to(disk.clone());
        let room = |bytes| disk.0.lock().unwrap().0 = bytes;
        room(6);
        assert_eq!(sink.write(b"one\ntwo\nthree\n"), 2);
        assert_eq!(sink.write(b"four\n"), 1);
        room(100);
        assert_eq!(sink.write(b"five\n"), 0);
        assert_eq!(disk.0.lock().unwrap().1, b"one\ntw\nfive\n");
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut sink = Sink::file(&path).unwrap();
        sink.write(b"one\n");
        std::fs::rename(&path, folder.path().join("access.log.1")).unwrap();
        sink.write(b"two\n");
        sink.reopen();
        sink.write(b"three\n");
        let read = |name| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("access.log.1"), "one\ntwo\n");
        assert_eq!(read("access.log"), "three\n");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let error = Sink::file(Path::new("/nowhere/access.log")).err().unwrap();
        assert!(
            error
                .to_string()
                .starts_with("cannot open the access log /nowhere/access.log: ")
        );
    }
}
