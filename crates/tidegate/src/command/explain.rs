//! `tidegate explain`: what was decided for a request, and what would be for one that nobody sent.
//!
//! What is asked shows in how much is said: a request's identity alone asks for its record, a method
//! and a URL ask the process that runs, and a configuration before them asks that instead.

use std::path::Path;
use std::time::Instant;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use fastrand::Rng;
use serde::Deserialize;
use serde_json::Value;
use tidegate_control::{Question, Told};
use tidegate_core::{Board, PlanHandle};

use super::remote::{Asking, unexpected};
use crate::exit::{Exit, Failure};
use crate::terminal::{self, Paint, Table};

/// Tell what was decided for a request, or what would be, and why.
///
/// With a request's identity (`x-request-id` of its answer, `id` in the access log): the record that the
/// process keeps of it, as a story. Requests that lost the answer that they were owed, or needed more than
/// one attempt, are always recorded, of the others the share `explain.sample`. With --replay what was
/// decided is decided again of what was recorded, bit for bit, or as another generation would decide it.
///
/// With a method and a URL: what the process that runs would do with such a request now. With a
/// configuration before them: what that would do while nothing is measured yet. Neither sends anything.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = USAGE)]
pub(super) struct Explain {
    /// REQUEST-ID, or METHOD URL, or FILE METHOD URL.
    #[arg(
        num_args = 1..=3,
        value_name = "WHAT",
        required_unless_present = "recent",
        value_parser = NonEmptyStringValueParser::new()
    )]
    what: Vec<String>,
    /// A header field of the request that is asked about, as `Name: value`. May be repeated.
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    headers: Vec<String>,
    /// Make the recorded decisions again.
    #[arg(long)]
    replay: bool,
    /// Make them again with this generation instead of the one that decided.
    #[arg(long, value_name = "N", requires = "replay")]
    generation: Option<u64>,
    /// List the newest records.
    #[arg(long, conflicts_with_all = ["what", "replay", "headers"])]
    recent: bool,
    /// List only requests that failed.
    #[arg(long, requires = "recent")]
    failed: bool,
    #[command(flatten)]
    asking: Asking,
}

const USAGE: &str = "\
tidegate explain [OPTIONS] <REQUEST-ID> [--replay [--generation <N>]]
       tidegate explain [OPTIONS] <METHOD> <URL> [-H <FIELD>]...
       tidegate explain [OPTIONS] <FILE> <METHOD> <URL> [-H <FIELD>]...
       tidegate explain [OPTIONS] --recent [--failed]";

const EXAMPLES: &str = "\
Examples:
  tidegate explain 4f0c9d7a61b24e0f8c1d5b7e9a3f2c10
  tidegate explain 4f0c9d7a61b24e0f8c1d5b7e9a3f2c10 --replay
  tidegate explain 4f0c9d7a61b24e0f8c1d5b7e9a3f2c10 --replay --generation 7
  tidegate explain --recent --failed
  tidegate explain GET https://shop.example.com/api/cart -H 'X-Tier: gold'
  tidegate explain tidegate.yaml POST /orders -H 'Host: shop.example.com' --json

Exit status: 0 there is an answer (with --replay: the same one), 1 no route, no region, no record,
an invalid configuration, or a replay that differs, 2 the question could not be put.";

/// Draws among equals, alike in every run.
const SEED: u64 = 1;

/// What is asked.
enum What<'a> {
    Record(&'a str),
    Live(&'a str, &'a str),
    File(&'a Path, &'a str, &'a str),
}

#[derive(Deserialize)]
struct Story {
    story: String,
    /// Of a replay: whether nothing differs.
    #[serde(default = "yes")]
    same: bool,
    #[serde(default)]
    same_id: Vec<Value>,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    method: Option<String>,
    url: Option<String>,
    reason: String,
    status: Option<u16>,
    attempts: usize,
    rescued: bool,
    took_us: u64,
}

impl Explain {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        if self.recent {
            return self.list();
        }
        match what(&self.what, self.replay, !self.headers.is_empty())? {
            What::Record(id) => self.record(id),
            What::Live(method, url) => self.live(method, url),
            What::File(path, method, url) => self.file(path, method, url),
        }
    }

    fn record(&self, id: &str) -> Result<Exit, Failure> {
        let generation = self.generation.map(|number| number.to_string());
        let mut parameters = Vec::new();
        if self.replay {
            parameters.push(("replay", "true"));
        }
        if let Some(generation) = &generation {
            parameters.push(("generation", generation));
        }
        let answer = self.asking.fetch(&["explain", id], &parameters)?;
        let told = Story::deserialize(&answer).map_err(unexpected)?;
        match self.asking.is_json() {
            true => terminal::print(&format!("{answer:#}\n"))?,
            false => terminal::print(&told.words())?,
        }
        Ok(if told.same { Exit::Fine } else { Exit::No })
    }

    fn live(&self, method: &str, url: &str) -> Result<Exit, Failure> {
        // What cannot be read is said before anybody is asked.
        Question::new(method, url, &self.headers).map_err(Failure::could_not_ask)?;
        let mut parameters = vec![("method", method), ("url", url)];
        let fields = self.headers.iter().map(|field| ("header", field.as_str()));
        parameters.extend(fields);
        let answer = self.asking.fetch(&["explain"], &parameters)?;
        match self.asking.is_json() {
            true => terminal::print(&format!("{answer:#}\n"))?,
            false => {
                let story = answer["story"].as_str().unwrap_or_default();
                terminal::print(&format!("request   {method} {url}\n{story}\n"))?;
            }
        }
        Ok(match answer["termination"].is_null() {
            true => Exit::Fine,
            false => Exit::No,
        })
    }

    fn file(&self, path: &Path, method: &str, url: &str) -> Result<Exit, Failure> {
        let question = Question::new(method, url, &self.headers);
        let question = question.map_err(Failure::could_not_ask)?;
        let loaded = tidegate_config::load(path).map_err(|r| terminal::refused(&r))?;
        let now = Instant::now();
        let live = PlanHandle::new().activate(loaded.plan, &Board::new(now));
        let told = question.ask(&live, now, &mut Rng::with_seed(SEED));
        terminal::print(&self.rendered(&told, method, url)?)?;
        match told.termination {
            None => Ok(Exit::Fine),
            Some(_) => Ok(Exit::No),
        }
    }

    fn rendered(&self, told: &Told, method: &str, url: &str) -> Result<String, Failure> {
        if self.asking.is_json() {
            let json = serde_json::to_string_pretty(told).map_err(Failure::could_not_ask)?;
            return Ok(json + "\n");
        }
        Ok(format!("request   {method} {url}\n{}\n", told.story()))
    }

    fn list(&self) -> Result<Exit, Failure> {
        let parameters: &[_] = match self.failed {
            true => &[("failed", "true")],
            false => &[],
        };
        let answer = self.asking.fetch(&["explain", "recent"], parameters)?;
        if self.asking.is_json() {
            terminal::print(&format!("{answer:#}\n"))?;
            return Ok(Exit::Fine);
        }
        terminal::print(&table(&Vec::deserialize(&answer).map_err(unexpected)?))?;
        Ok(Exit::Fine)
    }
}

impl Story {
    fn words(&self) -> String {
        let mut text = self.story.trim_end().to_owned() + "\n";
        if !self.same_id.is_empty() {
            let others = self.same_id.len();
            text +=
                &format!("\n{others} more with this identity were recorded; this is the newest\n");
        }
        text
    }
}

/// What the words on the command line ask.
fn what(words: &[String], replay: bool, has_fields: bool) -> Result<What<'_>, Failure> {
    let asks = match words {
        [one] if is_url(one) => {
            return Err(too_little("a URL alone", &format!("GET {one}")));
        }
        [one] if Path::new(one).is_file() => {
            return Err(too_little("a configuration alone", &format!("{one} GET /")));
        }
        [one] if is_method(one) => {
            return Err(too_little("a method alone", &format!("{one} /")));
        }
        [id] => What::Record(id),
        [file, method] if Path::new(file).is_file() => {
            let asked = format!("{file} {method} /");
            return Err(too_little("a configuration and a method", &asked));
        }
        [method, url] => What::Live(method, url),
        [file, method, url] => What::File(Path::new(file), method, url),
        _ => return Err(Failure::could_not_ask("say what is asked: see --help")),
    };
    let is_record = matches!(asks, What::Record(_));
    match () {
        () if replay && !is_record => Err(Failure::could_not_ask(
            "--replay makes recorded decisions again: it wants the identity of a request",
        )),
        () if has_fields && is_record => Err(Failure::could_not_ask(
            "-H is for a request that nobody sent: what was sent is recorded",
        )),
        () => Ok(asks),
    }
}

fn too_little(what: &str, complete: &str) -> Failure {
    Failure::could_not_ask(format!(
        "{what} says too little; write for example: tidegate explain {complete}"
    ))
}

fn is_url(word: &str) -> bool {
    word.starts_with('/') || word.contains("://")
}

/// Whether it can only be meant as a method: identities of requests have no capitals.
fn is_method(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_uppercase())
}

const HEAD: [&str; 6] = ["REQUEST", "ENDED", "STATUS", "ATTEMPTS", "TOOK", "WHAT"];

/// How requests end that got what they asked for.
const FINE: [&str; 5] = [
    "completed",
    "tunnelled",
    "drained_home",
    "redirected",
    "responded",
];

fn table(records: &[Listed]) -> String {
    let mut table = Table::new(HEAD);
    for record in records {
        let plain = |text: String| (text, Paint::Plain);
        let fine = FINE.contains(&&*record.reason);
        let ended = match record.rescued {
            true => format!("{}, rescued", record.reason),
            false => record.reason.clone(),
        };
        let status = record
            .status
            .map_or("-".to_owned(), |status| status.to_string());
        let method = record.method.as_deref().unwrap_or("-");
        let url = record.url.as_deref().unwrap_or("-");
        table.row([
            plain(record.id.clone()),
            (ended, if fine { Paint::Good } else { Paint::Bad }),
            plain(status),
            plain(record.attempts.to_string()),
            plain(format!("{:.1}ms", record.took_us as f64 / 1e3)),
            plain(format!("{method} {url}")),
        ]);
    }
    table.render(terminal::colour(&std::io::stdout()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str], replay: bool, has_fields: bool) -> Result<&'static str, ()> {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        match what(&words, replay, has_fields) {
            Ok(What::Record(_)) => Ok("record"),
            Ok(What::Live(..)) => Ok("live"),
            Ok(What::File(..)) => Ok("file"),
            Err(_) => Err(()),
        }
    }

    #[test]
    fn how_much_is_said_says_what_is_asked() {
        let check = |words: &[&str], expected| {
            assert_eq!(asked(words, false, false), expected, "{words:?}");
        };
        check(&["4f0c9d7a61b24e0f"], Ok("record"));
        check(&["GET", "/a"], Ok("live"));
        check(&["tidegate.yaml", "GET", "/a"], Ok("file"));
        check(&["https://shop.example.com/"], Err(()));
        check(&["/api"], Err(()));
        check(&["GET"], Err(()));
        check(
            &[file!().rsplit('/').next().unwrap_or_default()],
            Ok("record"),
        );
        check(&["Cargo.toml"], Err(()));
        check(&["Cargo.toml", "GET"], Err(()));
        assert_eq!(asked(&["abc"], true, false), Ok("record"));
        assert_eq!(asked(&["GET", "/a"], true, false), Err(()));
        assert_eq!(asked(&["abc"], false, true), Err(()));
    }
}
