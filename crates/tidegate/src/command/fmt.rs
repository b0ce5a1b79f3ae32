//! `tidegate fmt`: one way to write a configuration.

use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use tidegate_config::Report;

use crate::exit::{Exit, Failure};
use crate::terminal;

/// Write configurations in one way.
///
/// Two spaces of indentation, one space where one belongs, at most one empty line, no needless quotes.
/// Comments, the order of keys, the ends of lines and the meaning stay. A file that is not YAML is
/// refused with its problems; nothing else is asked of it, so that included files can be formatted too.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Fmt {
    /// The files; `-` reads standard input and writes standard output.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Change nothing; say which files would change.
    #[arg(long)]
    check: bool,
    /// Print what became of each file as JSON.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  tidegate fmt tidegate.yaml policies/*.yaml
  tidegate fmt --check configs/*.yaml
  tidegate fmt - < draft.yaml

Exit status: 0 formatted, 1 refused (with --check: or a file would change), 2 cannot be read or written.";

/// Larger files are not read: no formatter accepts them.
const BYTES_MAX: u64 = 8 * 1024 * 1024 + 1;

/// What became of one file.
enum Verdict {
    Same,
    /// Written, or to be written with `--check`.
    Changed,
    Refused(Report),
    Failed(io::Error),
}

impl Fmt {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let is_stdin = |path: &PathBuf| path.as_os_str() == "-";
        if self.files.iter().any(is_stdin) {
            return self.standard_input();
        }
        let verdicts = self
            .files
            .iter()
            .map(|path| (path.as_path(), self.file(path)));
        let verdicts: Vec<_> = verdicts.collect();
        match self.json {
            true => terminal::print(&format!("{:#}\n", as_json(&verdicts)))?,
            false => verdicts.iter().try_for_each(|verdict| self.tell(verdict))?,
        }
        let exits = verdicts.iter().map(|(_, verdict)| self.exit(verdict));
        Ok(exits.max_by_key(|exit| *exit as u8).unwrap_or(Exit::Fine))
    }

    fn standard_input(&self) -> Result<Exit, Failure> {
        if self.files.len() > 1 || self.json {
            let message = "`-` stands alone: its text goes to standard output";
            return Err(Failure::could_not_ask(message));
        }
        let mut text = String::new();
        let mut input = io::stdin().lock().take(BYTES_MAX);
        let read = input.read_to_string(&mut text);
        read.map_err(|error| Failure::could_not_ask(format!("cannot read: {error}")))?;
        let formatted = tidegate_config::format("standard input", &text);
        let formatted = formatted.map_err(|report| terminal::refused(&report))?;
        match self.check {
            true if formatted != text => {
                terminal::print("standard input: not formatted\n")?;
                Ok(Exit::No)
            }
            true => Ok(Exit::Fine),
            false => terminal::print(&formatted).map(|()| Exit::Fine),
        }
    }

    fn file(&self, path: &Path) -> Verdict {
        let (text, metadata) = match read(path) {
            Ok(read) => read,
            Err(error) => return Verdict::Failed(error),
        };
        match tidegate_config::format(&path.display().to_string(), &text) {
            Err(report) => Verdict::Refused(report),
            Ok(formatted) if formatted == text => Verdict::Same,
            Ok(_) if self.check => Verdict::Changed,
            Ok(formatted) => match replace(path, &metadata, &formatted) {
                Ok(()) => Verdict::Changed,
                Err(error) => Verdict::Failed(error),
            },
        }
    }

    fn tell(&self, (path, verdict): &(&Path, Verdict)) -> Result<(), Failure> {
        let path = path.display();
        match verdict {
            Verdict::Same => Ok(()),
            Verdict::Changed if self.check => terminal::print(&format!("{path}: not formatted\n")),
            Verdict::Changed => terminal::print(&format!("{path}: formatted\n")),
            Verdict::Refused(report) => {
                terminal::show(report);
                Ok(())
            }
            Verdict::Failed(error) => {
                terminal::tell(&format!("error: {path}: {error}\n"));
                Ok(())
            }
        }
    }

    fn exit(&self, verdict: &Verdict) -> Exit {
        match verdict {
            Verdict::Same => Exit::Fine,
            Verdict::Changed if self.check => Exit::No,
            Verdict::Changed => Exit::Fine,
            Verdict::Refused(_) => Exit::No,
            Verdict::Failed(_) => Exit::CouldNotAsk,
        }
    }
}

fn as_json(verdicts: &[(&Path, Verdict)]) -> serde_json::Value {
    let file = |(path, verdict): &(&Path, Verdict)| {
        let (word, problems, error) = match verdict {
            Verdict::Same => ("same", json!([]), None),
            Verdict::Changed => ("changed", json!([]), None),
            Verdict::Refused(report) => ("refused", report.to_json()["problems"].take(), None),
            Verdict::Failed(error) => ("failed", json!([]), Some(error.to_string())),
        };
        json!({
            "file": path.display().to_string(),
            "verdict": word,
            "problems": problems,
            "error": error,
        })
    };
    json!({ "files": verdicts.iter().map(file).collect::<Vec<_>>() })
}

/// A regular file's text.
fn read(path: &Path) -> io::Result<(String, Metadata)> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    let mut text = String::new();
    File::open(path)?
        .take(BYTES_MAX)
        .read_to_string(&mut text)?;
    Ok((text, metadata))
}

/// Puts a text in place of a file's, whole or not at all: whoever reads it meanwhile gets one of the two.
/// A link stays a link; the file that it leads to is replaced, and keeps its mode and, where that is
/// allowed, its owner.
fn replace(path: &Path, metadata: &Metadata, text: &str) -> io::Result<()> {
    let target = std::fs::canonicalize(path)?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    // Hidden, so that no pattern of an `include` finds it.
    let beside = target.with_file_name(format!(".{name}.fmt-{}", std::process::id()));
    let written = write(&beside, metadata, text).and_then(|()| std::fs::rename(&beside, &target));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

fn write(path: &Path, metadata: &Metadata, text: &str) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.set_permissions(metadata.permissions())?;
    let _ = std::os::unix::fs::fchown(&file, Some(metadata.uid()), Some(metadata.gid()));
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
