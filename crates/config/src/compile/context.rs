//! What compiling needs at hand: where problems go, where files come from, what time it is; and
//! the small conversions that every section uses.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::compile::default_duration;
use tidegate_core::geo::Atlas;

use crate::compile::flaws::Flaws;
use crate::files::{Files, Opened};
use crate::gaps::Gaps;
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::source::Sources;
use crate::span::Span;
use crate::units::{self, UnitError};
use crate::yaml::Field;

/// Longest duration anywhere: what is longer is a typo, and timers stay far from overflow.
const DURATION_MAX: Duration = Duration::from_secs(720 * 3600);

/// Shortest duration that is more than none.
const DURATION_MIN: Duration = Duration::from_micros(1);

/// Smallest share where none at all would make no sense.
pub(crate) const SHARE_MIN: f64 = 0.0001;

/// The state of one compilation.
pub(crate) struct Context<'a> {
    pub(crate) problems: Vec<Problem>,
    pub(crate) now: SystemTime,
    pub(crate) watched: BTreeSet<PathBuf>,
    files: &'a dyn Files,
    pub(crate) base: &'a Path,
    /// The texts that spans are of.
    pub(crate) text: Sources,
    /// What could not be read.
    pub(crate) gaps: Gaps,
    /// The objects that could not be decoded.
    pub(crate) flaws: Flaws,
    /// What tells where clients are in the plan that serves, to be shared or kept.
    pub(crate) atlas: Option<Arc<Atlas>>,
}

/// A file that the configuration names.
pub(crate) struct NamedFile {
    pub(crate) path: PathBuf,
    /// None when it could not be read, which was reported.
    pub(crate) content: Option<Vec<u8>>,
}

impl<'a> Context<'a> {
    /// Files are looked up from `base` unless their paths are absolute.
    pub(crate) fn new(files: &'a dyn Files, base: &'a Path, now: SystemTime) -> Self {
        Self {
            problems: Vec::new(),
            now,
            watched: BTreeSet::new(),
            files,
            base,
            text: Sources::from(""),
            gaps: Gaps::default(),
            flaws: Flaws::default(),
            atlas: None,
        }
    }

    /// Whether nothing is missing of what the objects of a section say by some of their `keys`, as far
    /// down as `depth` below their values.
    pub(crate) fn knows(&self, section: &str, keys: &[&str], depth: usize) -> bool {
        self.gaps.is_whole(section) && !self.flaws.touch(section, keys, depth)
    }

    pub(crate) fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Reports a value that breaks the grammar of its key: code `invalid_<kind>`.
    pub(crate) fn invalid(
        &mut self,
        span: Option<Span>,
        kind: &'static str,
        what: &str,
        value: &str,
        help: &str,
    ) {
        let message = format!("{} is not {what}", quoted(value));
        self.report(
            Problem::error(invalid_code(kind), message)
                .at(span)
                .help(help.to_owned()),
        );
    }

    /// Reports a key that would do nothing where it stands.
    pub(crate) fn unused(&mut self, span: Option<Span>, key: &str, only_with: &str) {
        let message = format!("`{key}` has no effect here");
        let help = format!("it is only used with {only_with}; remove it");
        self.report(Problem::error("unused_key", message).at(span).help(help));
    }

    /// The same of a key that may be absent, which is fine.
    pub(crate) fn unused_if_given(&mut self, span: Option<Span>, key: &str, only_with: &str) {
        if span.is_some() {
            self.unused(span, key, only_with);
        }
    }

    /// The value of a key that must be there; its absence is reported at `parent`.
    pub(crate) fn required<'f, T>(
        &mut self,
        field: &'f Field<T>,
        parent: Option<Span>,
        key: &str,
    ) -> Option<&'f T> {
        let may_be_unread = parent.is_none() && self.gaps.may_hold(key);
        if field.is_absent() && !may_be_unread {
            let message = format!("the key `{key}` is missing");
            let whole_file =
                "a configuration needs `listeners`, `regions`, `upstreams` and `routes`";
            let help = parent.is_none().then(|| whole_file.to_owned());
            self.report(Problem::error("missing_key", message).at(parent).help(help));
        }
        field.get()
    }

    /// A duration above zero, at most 720 hours.
    pub(crate) fn duration(&mut self, field: &Field<impl AsRef<str>>, default: &str) -> Duration {
        self.duration_within(field, DURATION_MIN..=DURATION_MAX, default)
    }

    /// A duration that may be zero, at most 720 hours.
    pub(crate) fn duration_or_zero(
        &mut self,
        field: &Field<impl AsRef<str>>,
        default: &str,
    ) -> Duration {
        self.duration_within(field, Duration::ZERO..=DURATION_MAX, default)
    }

    /// A duration within `range`.
    pub(crate) fn duration_within(
        &mut self,
        field: &Field<impl AsRef<str>>,
        range: RangeInclusive<Duration>,
        default: &str,
    ) -> Duration {
        let show = units::show_duration;
        let (shortest, longest) = (*range.start(), *range.end());
        let parse = |text: &str| match units::duration(text)? {
            d if d < shortest => {
                let message = match d.is_zero() {
                    true => "must be more than 0",
                    false => "too short",
                };
                let help = format!("the shortest is `{}`", show(shortest));
                Err(out_of_range(message, &help))
            }
            d if d > longest => {
                let help = format!("the longest is `{}`", show(longest));
                Err(out_of_range("too long", &help))
            }
            d => Ok(d),
        };
        self.unit(field, parse)
            .unwrap_or_else(|| default_duration(default))
    }

    /// What `parse` makes of a value that is not `off`, which an absent one is only if `default` is.
    pub(crate) fn unless_off<T, F: AsRef<str>>(
        &mut self,
        field: &Field<F>,
        default: &str,
        parse: impl FnOnce(&mut Self, &Field<F>) -> T,
    ) -> Option<T> {
        let written = field.get().map_or(default, AsRef::as_ref);
        (written != "off").then(|| parse(self, field))
    }

    /// A size, in bytes, within `range`.
    pub(crate) fn size(
        &mut self,
        field: &Field<impl AsRef<str>>,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let bounds = (
            units::show_size(*range.start()),
            units::show_size(*range.end()),
        );
        self.unit(field, |text| match units::size(text)? {
            bytes if range.contains(&bytes) => Ok(bytes),
            _ => Err(out_of_range(
                "out of range",
                &format!("from `{}` to `{}`", bounds.0, bounds.1),
            )),
        })
    }

    /// A size in bytes, at most `max`; `off` is none.
    pub(crate) fn size_or_off(
        &mut self,
        field: &Field<impl AsRef<str>>,
        max: u64,
        default: &str,
    ) -> u64 {
        let default = || match default {
            "off" => 0,
            size => units::size(size).expect("defaults are sizes"),
        };
        match field.get().map(AsRef::as_ref) {
            None => default(),
            Some("off") => 0,
            Some(_) => self.size(field, 0..=max).unwrap_or_else(default),
        }
    }

    /// A share from 0 to `max`.
    pub(crate) fn percent(
        &mut self,
        field: &Field<impl AsRef<str>>,
        max: f64,
        default: &str,
    ) -> f64 {
        self.percent_within(field, 0.0..=max, default)
    }

    /// A share within `range`.
    pub(crate) fn percent_within(
        &mut self,
        field: &Field<impl AsRef<str>>,
        range: RangeInclusive<f64>,
        default: &str,
    ) -> f64 {
        let (least, most) = (*range.start(), units::show_percent(*range.end()));
        let parsed = self.unit(field, |text| match units::percent(text)? {
            share if range.contains(&share) => Ok(share),
            _ if least > 0.0 => {
                let least = units::show_percent(least);
                Err(out_of_range(
                    "out of range",
                    &format!("from `{least}` to `{most}`"),
                ))
            }
            _ => Err(out_of_range("out of range", &format!("at most `{most}`"))),
        });
        parsed.unwrap_or_else(|| units::percent(default).expect("defaults are percentages"))
    }

    /// The value of a scalar with a unit; none when it is absent or was reported.
    pub(crate) fn unit<T>(
        &mut self,
        field: &Field<impl AsRef<str>>,
        parse: impl FnOnce(&str) -> Result<T, UnitError>,
    ) -> Option<T> {
        let text = field.get()?.as_ref();
        parse(text)
            .map_err(|error| {
                let message = format!("{}: {}", quoted(text), error.message);
                let problem = Problem::error("invalid_unit", message);
                self.report(problem.at(field.span()).help(error.help));
            })
            .ok()
    }

    /// A whole number within `range`, or `default` when it is absent or out of range.
    pub(crate) fn number(
        &mut self,
        field: &Field<u64>,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        match field.get() {
            Some(number) if !range.contains(number) => {
                let message = format!("{number} is out of range");
                let help = format!("a whole number from {} to {}", range.start(), range.end());
                let problem = Problem::error("out_of_range", message);
                self.report(problem.at(field.span()).help(help));
                default
            }
            number => number.copied().unwrap_or(default),
        }
    }

    /// A whole number within `range`, or `off`; `default` when it is absent or neither.
    pub(crate) fn count(
        &mut self,
        field: &Field<raw::OffOrCount>,
        range: RangeInclusive<u32>,
        default: Option<u32>,
    ) -> Option<u32> {
        let Some(text) = field.get().map(AsRef::as_ref) else {
            return default;
        };
        if text == "off" {
            return None;
        }
        let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        let help = format!(
            "a whole number from {} to {}, or `off`",
            range.start(),
            range.end()
        );
        match text.parse() {
            Ok(count) if digits && range.contains(&count) => Some(count),
            _ if digits => {
                let message = format!("{} is out of range", quoted(text));
                let problem = Problem::error("out_of_range", message);
                self.report(problem.at(field.span()).help(help));
                default
            }
            _ => {
                self.invalid(field.span(), "value", "a number", text, &help);
                default
            }
        }
    }

    /// A number within `range`, or `default` when it is absent or out of range.
    pub(crate) fn float(
        &mut self,
        field: &Field<f64>,
        range: RangeInclusive<f64>,
        default: f64,
    ) -> f64 {
        match field.get() {
            Some(number) if !range.contains(number) => {
                let message = format!("{number} is out of range");
                let help = format!("a number from {} to {}", range.start(), range.end());
                let problem = Problem::error("out_of_range", message);
                self.report(problem.at(field.span()).help(help));
                default
            }
            number => number.copied().unwrap_or(default),
        }
    }

    /// The directory that a key names, or `default`; told when it is `needed` and not there, which
    /// may change.
    pub(crate) fn directory(
        &mut self,
        field: &Field<String>,
        default: &str,
        needed: bool,
    ) -> PathBuf {
        let name = field.get().map_or(default, String::as_str);
        let path = self.base.join(name);
        if !is_path(name) {
            self.invalid(field.span(), "path", "a path", name, "name a directory");
        } else if needed && let Some(problem) = self.not_a_directory(&path) {
            self.report(problem.at(field.span()));
        }
        path
    }

    fn not_a_directory(&self, path: &Path) -> Option<Problem> {
        let shown = quoted(&path.display().to_string());
        let message = match self.files.is_dir(path) {
            Ok(true) => return None,
            Ok(false) => format!("{shown} is not a directory"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                format!("there is no directory {shown}")
            }
            Err(error) => format!("cannot look at the directory {shown}: {error}"),
        };
        let help =
            "nothing can be kept on disk there; create it, name another, or write `spool: off`";
        Some(Problem::warning("missing_directory", message).help(help.to_owned()))
    }

    /// Whether every user of the machine may read a file that was read; not where that cannot be told.
    pub(crate) fn is_exposed(&self, path: &Path) -> bool {
        self.files.is_exposed(path).unwrap_or(false)
    }

    /// The file that a key names: watched, and read.
    pub(crate) fn file(&mut self, field: &Field<String>) -> Option<NamedFile> {
        let name = field.get()?;
        let path = self.base.join(name);
        if !is_path(name) {
            self.invalid(field.span(), "path", "a path", name, "name a file");
            return Some(NamedFile {
                path,
                content: None,
            });
        }
        self.watched.insert(path.clone());
        let content = match self.files.read(&path) {
            Ok(content) => Some(content),
            Err(error) => {
                self.report(unreadable(&path, &error).at(field.span()));
                None
            }
        };
        Some(NamedFile { path, content })
    }

    /// Where the file lies that a key names, and watches it; none when that is no path.
    pub(crate) fn watched_path(&mut self, field: &Field<String>) -> Option<PathBuf> {
        let name = field.get()?;
        if !is_path(name) {
            self.invalid(field.span(), "path", "a path", name, "name a file");
            return None;
        }
        let path = self.base.join(name);
        self.watched.insert(path.clone());
        Some(path)
    }

    /// A file, to be read piece by piece.
    pub(crate) fn open(&self, path: &Path) -> io::Result<Opened> {
        self.files.open(path)
    }
}

/// Whether a system could have it.
fn is_path(name: &str) -> bool {
    !name.is_empty() && !name.contains('\0')
}

pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Problem {
    let shown = quoted(&path.display().to_string());
    match error.kind() {
        io::ErrorKind::NotFound => {
            Problem::error("missing_file", format!("there is no file {shown}"))
                .help("paths are relative to the directory of the configuration".to_owned())
        }
        _ => Problem::error("unreadable_file", format!("cannot read {shown}: {error}")),
    }
}

fn out_of_range(message: impl Display, help: &str) -> UnitError {
    UnitError {
        message: message.to_string(),
        help: help.to_owned(),
    }
}

/// Codes are literals, so that they can be listed and never depend on input.
fn invalid_code(kind: &'static str) -> &'static str {
    match kind {
        "address" => "invalid_address",
        "cookie" => "invalid_cookie",
        "day" => "invalid_day",
        "endpoint" => "invalid_endpoint",
        "header" => "invalid_header",
        "host" => "invalid_host",
        "jurisdiction" | "name" => "invalid_name",
        "method" => "invalid_method",
        "network" => "invalid_network",
        "parameter" => "invalid_parameter",
        "path" => "invalid_path",
        "status" => "invalid_status",
        "subject" => "invalid_subject",
        "time" => "invalid_time",
        _ => "invalid_value",
    }
}
