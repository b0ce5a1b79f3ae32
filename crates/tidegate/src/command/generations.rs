//! `tidegate generations`: which are alive, what holds them, and which can be gone back to.

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::remote::{Asking, unexpected};
use crate::exit::{Exit, Failure};
use crate::terminal::{self, Paint, Table};

/// Show the generations of a running process.
///
/// First those that are in memory, with what holds them: workers that have them at hand, requests, and
/// streams that began with them. Then those that can be gone back to, the newest first.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Generations {
    #[command(flatten)]
    asking: Asking,
}

const EXAMPLES: &str = "\
Examples:
  tidegate generations
  tidegate generations --json | jq '.history[0]'
  tidegate rollback 41

Exit status: 0, or 2 when the process could not be asked.";

#[derive(Deserialize)]
struct Told {
    serving: Option<u64>,
    instead_of_file: Option<Instead>,
    state_dir: Option<String>,
    alive: Vec<Alive>,
    history: Vec<Entry>,
}

#[derive(Deserialize)]
struct Instead {
    generation: u64,
    detail: String,
}

#[derive(Deserialize)]
struct Alive {
    generation: u64,
    role: String,
    bytes: u64,
    pinned_by: PinnedBy,
}

#[derive(Deserialize)]
struct PinnedBy {
    workers: u64,
    requests: u64,
    answers: u64,
    resumable: u64,
    tunnels: u64,
    copies: u64,
}

#[derive(Deserialize)]
struct Entry {
    generation: u64,
    hash: String,
    at: String,
    cause: String,
    who: String,
    reason: Option<String>,
    changed: String,
    restores: Option<u64>,
    fate: Option<Value>,
    held: Option<String>,
}

impl Generations {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        self.asking.ask(Method::GET, &["generations"], &[], words)
    }
}

fn words(answer: &Value) -> Result<String, Failure> {
    let told = Told::deserialize(answer).map_err(unexpected)?;
    let colour = terminal::colour(&std::io::stdout());
    let mut text = String::new();
    if let Some(Instead { generation, detail }) = &told.instead_of_file {
        text += &format!("Generation {generation} serves instead of the file: {detail}.\n\n");
    }
    text += &alive(&told.alive).render(colour);
    text.push('\n');
    text += &history(&told).render(colour);
    for entry in &told.history {
        if let Some(why) = &entry.held {
            text += &format!("\n{} was not rolled back: {why}.\n", entry.generation);
        }
    }
    if told.state_dir.is_none() {
        text += "\nThey are kept in memory only: a restart forgets them. See `state.dir`.\n";
    }
    Ok(text)
}

fn alive(alive: &[Alive]) -> Table<8> {
    let mut table = Table::new([
        "ALIVE", "ROLE", "KIB", "WORKERS", "REQUESTS", "ANSWERS", "TUNNELS", "COPIES",
    ]);
    for one in alive {
        let number = |number: u64| (number.to_string(), Paint::Plain);
        let paint = match one.role.as_str() {
            "serving" => Paint::Good,
            _ => Paint::Odd,
        };
        let pins = &one.pinned_by;
        table.row([
            number(one.generation),
            (one.role.clone(), paint),
            number(one.bytes.div_ceil(1024)),
            number(pins.workers),
            number(pins.requests),
            number(pins.answers + pins.resumable),
            number(pins.tunnels),
            number(pins.copies),
        ]);
    }
    table
}

fn history(told: &Told) -> Table<7> {
    let mut table = Table::new([
        "KEPT", "SINCE", "CONTENT", "BY", "CHANGED", "STATE", "REASON",
    ]);
    for entry in &told.history {
        let plain = |text: String| (text, Paint::Plain);
        table.row([
            plain(entry.generation.to_string()),
            plain(entry.at.get(..19).unwrap_or(&entry.at).to_owned() + "Z"),
            plain(entry.hash.get(..12).unwrap_or(&entry.hash).to_owned()),
            plain(by(entry)),
            plain(changed(entry)),
            state(entry, told.serving),
            plain(entry.reason.clone().unwrap_or_default()),
        ]);
    }
    table
}

fn by(entry: &Entry) -> String {
    match entry.who.as_str() {
        "tidegate" => entry.cause.clone(),
        who => format!("{}, {who}", entry.cause),
    }
}

fn changed(entry: &Entry) -> String {
    match entry.restores {
        Some(number) => format!("{number} again"),
        None if entry.changed.is_empty() => "-".to_owned(),
        None => entry.changed.clone(),
    }
}

fn state(entry: &Entry, serving: Option<u64>) -> (String, Paint) {
    let fate = entry.fate.as_ref().map(|fate| fate["kind"].as_str());
    match fate {
        _ if serving == Some(entry.generation) => ("serves".to_owned(), Paint::Good),
        Some(Some("rolled_back")) => ("rolled back".to_owned(), Paint::Bad),
        Some(Some(kind)) => (kind.to_owned(), Paint::Bad),
        _ => ("replaced".to_owned(), Paint::Plain),
    }
}
