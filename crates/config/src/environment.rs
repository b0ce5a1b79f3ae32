//! `${NAME}` in the values of a configuration: what differs from machine to machine, and what is not
//! to stand in a file.
//!
//! Values are put into scalars of the tree, after the text was parsed: whatever a variable holds, it is
//! a value there, and can never become a key, a list or another line of the file. Keys are never looked
//! at. What came from the environment is remembered with its place ([`Masks`]), so that no message and
//! no printed configuration shows it. It never reads the environment by itself.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;

use crate::mask::{Hidden, Masks};
use crate::problem::{Problem, quoted};
use crate::source::Sources;
use crate::yaml::{Kind, Node, Value};

/// How a variable starts, and how these two characters are written when they are meant.
pub(crate) const START: &str = "${";
pub(crate) const ESCAPED: &str = "$${";

/// The list below which `${name}` may be a value that an earlier step of a probe finds.
pub(crate) const STEPS: &str = "steps";

/// The key of a step that names what it finds.
const EXTRACT: &str = "extract";

/// Longest name of a variable.
const NAME_BYTES_MAX: usize = 255;

/// Longest scalar that is made of variables, and all of them together.
const SCALAR_BYTES_MAX: usize = 64 * 1024;
const ALL_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Where the values of variables come from.
pub trait Environment {
    /// The value of a variable; none when it is not set.
    fn get(&self, name: &str) -> Option<OsString>;
}

/// The environment of this process, as it was when it started.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

/// Variables held in memory: for tests, and for what is to depend on no environment. None by default.
#[derive(Clone, Debug, Default)]
pub struct Variables(BTreeMap<String, String>);

impl Environment for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }
}

impl Environment for Variables {
    fn get(&self, name: &str) -> Option<OsString> {
        self.0.get(name).map(OsString::from)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        Self(
            pairs
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

/// Puts values into a tree.
struct Filler<'e> {
    environment: &'e dyn Environment,
    sources: &'e Sources,
    masks: Masks,
    problems: Vec<Problem>,
    bytes_left: usize,
    /// Inside the steps of a probe: the names of the values that they find, which are no variables.
    found: Option<HashSet<String>>,
}

/// What is wrong with one use of a variable.
struct Unfit {
    code: &'static str,
    message: String,
    help: Option<String>,
}

/// A scalar with its variables' values in it, and those that the environment gave, with their names.
#[derive(Default)]
struct Filled {
    text: String,
    values: Vec<(String, String)>,
    is_template: bool,
    /// How many `${` are left to the steps of a probe.
    kept: usize,
}

/// A variable's value.
struct Found {
    text: String,
    /// Whether it is the environment's, and not the default in the file.
    is_secret: bool,
}

/// Puts the values of `environment` into the scalars of `root`. A scalar that cannot be filled is
/// broken afterwards, which was reported.
pub(crate) fn fill(
    root: &mut Node<'_>,
    environment: &dyn Environment,
    sources: &Sources,
) -> (Masks, Vec<Problem>) {
    let mut filler = Filler {
        environment,
        sources,
        masks: Masks::default(),
        problems: Vec::new(),
        bytes_left: ALL_BYTES_MAX,
        found: None,
    };
    if sources.contains(START) || sources.contains('\\') {
        filler.node(root);
    }
    (filler.masks, filler.problems)
}

impl Filler<'_> {
    fn node(&mut self, node: &mut Node<'_>) {
        match &mut node.value {
            Value::List(items) => items.iter_mut().for_each(|item| self.node(item)),
            Value::Map(entries) => {
                for (key, value) in entries {
                    match are_steps(&key.text, value) {
                        true => self.steps(value),
                        false => self.node(value),
                    }
                }
            }
            Value::Scalar(text, _) if text.contains(START) => {
                let written = text.to_string();
                node.value = self.scalar(node, written);
            }
            Value::Null | Value::Scalar(..) | Value::Broken => {}
        }
    }

    fn steps(&mut self, steps: &mut Node<'_>) {
        let outside = self.found.replace(found_by(steps));
        match &mut steps.value {
            Value::List(items) => items.iter_mut().for_each(|item| self.node(item)),
            _ => self.node(steps),
        }
        self.found = outside;
    }

    fn scalar<'a>(&mut self, node: &Node<'a>, written: String) -> Value<'a> {
        let filled = match self.filled(&written) {
            Ok(filled) => filled,
            Err(unfit) => {
                let problem = Problem::error(unfit.code, unfit.message);
                self.problems.push(problem.at(node.span).help(unfit.help));
                return Value::Broken;
            }
        };
        let kind = match filled.text.as_str() {
            "true" | "false" if self.is_plain(node) => Kind::Bool,
            _ => Kind::Text,
        };
        if filled.is_template {
            self.masks.add(Hidden {
                span: node.span,
                written,
                expanded: filled.text.clone(),
                values: filled.values,
            });
        }
        Value::Scalar(Cow::Owned(filled.text), kind)
    }

    /// Whether a scalar stands without quotes, so that `true` is not a text.
    fn is_plain(&self, node: &Node<'_>) -> bool {
        let rest = self.sources.get(node.span.start..).unwrap_or_default();
        !rest.starts_with(['"', '\'', '|', '>'])
    }

    fn filled(&mut self, written: &str) -> Result<Filled, Unfit> {
        let mut filled = Filled::default();
        let mut rest = written;
        while let Some(at) = rest.find(START) {
            let (before, from) = rest.split_at(at);
            if let Some(kept) = self.kept(from) {
                filled.text.push_str(&rest[..at + kept]);
                filled.kept += 1;
                rest = &from[kept..];
                continue;
            }
            if let Some(before) = before.strip_suffix('$') {
                filled.text.push_str(before);
                filled.text.push_str(START);
                rest = &from[START.len()..];
                continue;
            }
            filled.text.push_str(before);
            let (inside, after) = from[START.len()..].split_once('}').ok_or_else(unclosed)?;
            let (name, value) = self.value(inside)?;
            filled.is_template = true;
            filled.text.push_str(&value.text);
            if value.is_secret {
                filled.values.push((name.to_owned(), value.text));
            }
            rest = after;
            self.count(filled.text.len())?;
        }
        filled.text.push_str(rest);
        if self.found.is_some() && filled.text.matches(START).count() != filled.kept {
            return Err(unsendable());
        }
        self.bytes_left = self.bytes_left.saturating_sub(filled.text.len());
        Ok(filled)
    }

    /// How much of a text that starts with `${` is left to the steps of a probe: what they find, and what
    /// is no variable either, which they know more about.
    fn kept(&self, from: &str) -> Option<usize> {
        let found = self.found.as_ref()?;
        let Some((inside, _)) = from[START.len()..].split_once('}') else {
            return Some(START.len());
        };
        let name = inside.split_once(":-").map_or(inside, |(name, _)| name);
        let is_unset = name == inside && self.environment.get(name).is_none();
        let is_theirs = found.contains(inside) || !is_name(name) || is_unset;
        is_theirs.then_some(START.len() + inside.len() + 1)
    }

    fn count(&self, bytes: usize) -> Result<(), Unfit> {
        match bytes > SCALAR_BYTES_MAX.min(self.bytes_left) {
            true => Err(Unfit {
                code: "too_large",
                message: "the values of variables are larger than is accepted".to_owned(),
                help: Some("one value has at most 64 KiB, all together 16 MiB".to_owned()),
            }),
            false => Ok(()),
        }
    }

    /// The value of what stands between the braces: `NAME` or `NAME:-default`. The default also counts for
    /// a variable that is set to nothing.
    fn value<'w>(&self, inside: &'w str) -> Result<(&'w str, Found), Unfit> {
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if !is_name(name) {
            return Err(misnamed(inside));
        }
        let found = |text, is_secret| Ok((name, Found { text, is_secret }));
        match (self.environment.get(name), default) {
            (None, None) => Err(Unfit {
                code: "unset_variable",
                message: format!("the environment has no variable `{name}`"),
                help: Some(format!("set it, or give a default: `${{{name}:-...}}`")),
            }),
            (None, Some(default)) => found(default.to_owned(), false),
            (Some(value), Some(default)) if value.is_empty() => found(default.to_owned(), false),
            (Some(value), _) => match value.into_string() {
                Ok(value) => found(value, true),
                Err(_) => Err(Unfit {
                    code: "not_utf8",
                    message: format!("the variable `{name}` is not UTF-8"),
                    help: None,
                }),
            },
        }
    }
}

/// Whether these are the steps of a probe.
pub(crate) fn are_steps(key: &str, value: &Node<'_>) -> bool {
    key == STEPS && matches!(value.value, Value::List(_))
}

/// The names of everything that steps extract.
fn found_by(steps: &Node<'_>) -> HashSet<String> {
    let Value::List(steps) = &steps.value else {
        return HashSet::new();
    };
    let extracts = steps.iter().filter_map(|step| step.entry(EXTRACT));
    let entries = extracts.flat_map(|extract| match &extract.value {
        Value::Map(entries) => &entries[..],
        _ => &[],
    });
    entries.map(|(key, _)| key.text.to_string()).collect()
}

/// Whether a variable may have this name.
pub(crate) fn is_name(text: &str) -> bool {
    let first = text.bytes().next();
    first.is_some_and(|c| c.is_ascii_alphabetic() || c == b'_')
        && text.len() <= NAME_BYTES_MAX
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

fn unclosed() -> Unfit {
    Unfit {
        code: "invalid_variable",
        message: "`${` without `}`".to_owned(),
        help: Some("write `${NAME}`, or `$${` where `${` itself is meant".to_owned()),
    }
}

fn misnamed(inside: &str) -> Unfit {
    Unfit {
        code: "invalid_variable",
        message: format!("{} is not the name of a variable", quoted(inside)),
        help: Some(
            "write `${NAME}` or `${NAME:-default}`, or `$${` where `${` itself is meant".to_owned(),
        ),
    }
}

fn unsendable() -> Unfit {
    Unfit {
        code: "invalid_variable",
        message: "here `${` is the name of a value that a step extracts".to_owned(),
        help: Some("steps cannot send `${` itself; no variable may hold it".to_owned()),
    }
}

/// The text so that nothing of it is taken for a variable.
pub(crate) fn escaped(text: &str) -> String {
    text.replace(START, ESCAPED)
}
