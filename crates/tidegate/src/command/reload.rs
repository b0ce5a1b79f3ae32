//! `tidegate reload`: a running process reads its configuration again, and says what came of it.

use std::fmt::Write as _;

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::remote::{Asking, unexpected};
use super::signature::Signature;
use crate::exit::{Exit, Failure};

/// Let a running process read its configuration again.
///
/// The answer comes when it is decided: which generation serves, with which content and what that
/// changes, or every problem as `tidegate check` shows it. Refused means that nothing changed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Reload {
    #[command(flatten)]
    signature: Signature,
    #[command(flatten)]
    asking: Asking,
}

const EXAMPLES: &str = "\
Examples:
  tidegate reload
  tidegate reload --reason 'more room for eu-west'
  tidegate reload --json | jq '.generation, .hash'

Exit status: 0 it serves, or nothing changed, 1 refused, 2 the process could not be asked.";

/// What came of it, as far as it is told in words.
#[derive(Deserialize)]
struct Told {
    verdict: String,
    generation: u64,
    hash: String,
    #[serde(default)]
    changed: Value,
    restored: Option<Restored>,
    kept: Option<Kept>,
    #[serde(default)]
    warnings: Vec<Warning>,
}

#[derive(Deserialize)]
struct Restored {
    generation: u64,
    differs: bool,
}

#[derive(Deserialize)]
struct Kept {
    on: String,
    problem: Option<String>,
}

#[derive(Deserialize)]
struct Warning {
    message: String,
    file: Option<String>,
    line: Option<u64>,
    column: Option<u64>,
}

impl Reload {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let asking = &self.asking;
        asking.ask_as(&self.signature, Method::POST, &["reload"], &[], words)
    }
}

impl Warning {
    /// Where it is, with the file: there may be several.
    fn place(&self) -> String {
        match (&self.file, self.line.zip(self.column)) {
            (Some(file), Some((line, column))) => format!(" ({file}:{line}:{column})"),
            (None, Some((line, column))) => format!(" (line {line}, column {column})"),
            _ => String::new(),
        }
    }
}

/// What a reload, a rollback or an activation led to.
pub(super) fn words(answer: &Value) -> Result<String, Failure> {
    let told = Told::deserialize(answer).map_err(unexpected)?;
    let (generation, hash) = (told.generation, told.hash.get(..12).unwrap_or(&told.hash));
    let mut text = match told.verdict.as_str() {
        "activated" => format!(
            "generation {generation} serves (content {hash}): {}\n",
            changes(&told.changed)
        ),
        _ => format!("nothing changed, generation {generation} goes on serving (content {hash})\n"),
    };
    if let Some(restored) = &told.restored {
        text += &brought_back(restored);
    }
    for warning in &told.warnings {
        let at = warning.place();
        let _ = writeln!(text, "warning: {}{at}", warning.message);
    }
    text += &kept(told.kept.as_ref());
    Ok(text)
}

/// `routes +1 ~2 (api, cart)`.
fn changes(changed: &Value) -> String {
    let mut parts = Vec::new();
    for kind in ["regions", "upstreams", "routes"] {
        let signs = [("added", '+'), ("removed", '-'), ("changed", '~')];
        let counted = signs.iter().filter_map(|(key, sign)| {
            let names = &changed[kind][*key];
            let count = names["count"].as_u64().filter(|count| *count > 0)?;
            Some(format!("{sign}{count} ({})", listed(names, count)))
        });
        let counted: Vec<_> = counted.collect();
        if !counted.is_empty() {
            parts.push(format!("{kind} {}", counted.join(" ")));
        }
    }
    if changed["other"] == true {
        parts.push("what is not of regions, upstreams or routes".to_owned());
    }
    match parts.is_empty() {
        true => "nothing that serves".to_owned(),
        false => parts.join(", "),
    }
}

fn listed(names: &Value, count: u64) -> String {
    let first = names["first"].as_array().map_or(&[][..], Vec::as_slice);
    let first: Vec<_> = first.iter().filter_map(Value::as_str).take(5).collect();
    let more = if count > first.len() as u64 {
        ", ..."
    } else {
        ""
    };
    format!("{}{more}", first.join(", "))
}

fn brought_back(restored: &Restored) -> String {
    let number = restored.generation;
    match restored.differs {
        false => format!("it is generation {number} again\n"),
        true => format!(
            "it is made of the texts of generation {number}, which mean something else now: files that \
             they refer to, or the environment, have changed since\n"
        ),
    }
}

fn kept(kept: Option<&Kept>) -> String {
    match kept {
        Some(Kept {
            problem: Some(problem),
            ..
        }) => {
            format!("warning: it is not kept beyond the end of the process: {problem}\n")
        }
        Some(Kept { on, .. }) if on == "memory" => {
            "it is kept in memory only; with `state.dir` it can be gone back to after a restart\n"
                .to_owned()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_came_of_it_is_told_in_a_line() {
        let check = |answer: Value, expected: &str| assert_eq!(words(&answer).unwrap(), expected);
        let names = json!({ "count": 6, "first": ["a", "b", "c", "d", "e", "f"] });
        let none = json!({ "count": 0, "first": [] });
        let same = json!({ "added": none, "removed": none, "changed": none });
        let changed = json!({
            "regions": same, "upstreams": same,
            "routes": { "added": names, "removed": none, "changed": { "count": 1, "first": ["x"] } },
            "other": false,
        });
        check(
            json!({ "verdict": "activated", "generation": 3, "hash": "0123456789abcdef",
                    "changed": changed, "restored": null, "kept": { "on": "disk", "problem": null },
                    "warnings": [{ "message": "hm", "line": 2, "column": 1 },
                        { "message": "oh", "file": "p/a.yaml", "line": 3, "column": 4 }] }),
            "generation 3 serves (content 0123456789ab): routes +6 (a, b, c, d, e, ...) ~1 (x)\n\
             warning: hm (line 2, column 1)\nwarning: oh (p/a.yaml:3:4)\n",
        );
        check(
            json!({ "verdict": "unchanged", "generation": 3, "hash": "0123", "restored": null,
                    "kept": { "on": "memory", "problem": "disk full" }, "warnings": [] }),
            "nothing changed, generation 3 goes on serving (content 0123)\n\
             warning: it is not kept beyond the end of the process: disk full\n",
        );
    }
}
