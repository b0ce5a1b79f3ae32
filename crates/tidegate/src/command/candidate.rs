//! What the commands about a candidate have in common: what the process tells of it, in words.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;

use super::remote::unexpected;
use crate::exit::Failure;
use crate::terminal::{percent, seconds};

/// Routes, reasons and samples that are printed; --json has more.
const ROUTES_MAX: usize = 10;
const REASONS_MAX: usize = 4;
const SAMPLES_MAX: usize = 2;

/// A candidate as the process tells of it.
#[derive(Deserialize)]
pub(super) struct Told {
    pub(super) candidate: u64,
    pub(super) state: String,
    detail: Option<String>,
    pub(super) generation: Option<u64>,
    compared_with: u64,
    began_anew: u32,
    pub(super) over: bool,
    elapsed_s: f64,
    pub(super) left_s: f64,
    pub(super) compared: Compared,
    pub(super) limits: Limits,
    pub(super) stage: Option<Stage>,
}

#[derive(Deserialize)]
pub(super) struct Compared {
    pub(super) requests: u64,
    missed: u64,
    errors: u64,
    differ: u64,
    pub(super) share: f64,
    aspects: Vec<Count>,
    routes: Vec<ByRoute>,
    more_routes: usize,
}

#[derive(Deserialize)]
struct Count {
    aspect: String,
    requests: u64,
    share: f64,
}

#[derive(Deserialize)]
struct ByRoute {
    route: String,
    requests: u64,
    differ: u64,
    reasons: Vec<Reason>,
    samples: Vec<Sample>,
}

#[derive(Deserialize)]
struct Reason {
    aspect: String,
    change: String,
    requests: Option<u64>,
}

#[derive(Deserialize)]
struct Sample {
    method: String,
    host: String,
    path: String,
    before: Decided,
    after: Decided,
}

#[derive(Deserialize)]
struct Decided {
    route: Option<String>,
    regions: Vec<String>,
    end: String,
}

#[derive(Deserialize)]
pub(super) struct Limits {
    pub(super) hold: bool,
    words: Vec<String>,
}

/// What serves a part.
#[derive(Deserialize)]
pub(super) struct Stage {
    generation: u64,
    part: String,
    serving: Came,
    staged: Came,
}

#[derive(Deserialize)]
struct Came {
    generation: u64,
    requests: u64,
    error_rate: f64,
    mean_ms: f64,
}

impl Told {
    /// Reads an answer.
    pub(super) fn of(answer: &Value) -> Result<Self, Failure> {
        Self::deserialize(answer).map_err(unexpected)
    }

    /// The report that people read.
    pub(super) fn report(&self) -> String {
        let mut text = self.headline();
        self.compared.tell(&mut text);
        text + &self.verdict()
    }

    fn headline(&self) -> String {
        let Compared {
            requests, differ, ..
        } = self.compared;
        let beside = format!(
            "compared with generation {} for {}",
            self.compared_with,
            seconds(self.elapsed_s.round() as u64)
        );
        let anew = match self.began_anew {
            0 => String::new(),
            _ => ", counted anew because another plan served meanwhile".to_owned(),
        };
        match (requests, differ) {
            (0, _) => format!("No request came to be {beside}{anew}.\n"),
            (_, 0) => format!(
                "None of {} requests would change ({beside}{anew}).\n",
                thousands(requests)
            ),
            _ => format!(
                "{} of {} requests would change ({beside}{anew}):\n",
                percent(self.compared.share),
                thousands(requests)
            ),
        }
    }

    fn verdict(&self) -> String {
        let detail = self.detail.as_deref().unwrap_or_default();
        match (self.state.as_str(), self.generation) {
            ("activated", Some(generation)) => format!("Generation {generation} serves.\n"),
            ("kept", _) => format!("Not activated: {detail}.\n"),
            ("abandoned", _) => format!("It serves nothing any more: {detail}.\n"),
            _ if self.limits.hold => "Its limits hold.\n".to_owned(),
            _ => format!(
                "Its limits do not hold: {}.\n",
                self.limits.words.join("; ")
            ),
        }
    }
}

impl Compared {
    fn tell(&self, text: &mut String) {
        for Count {
            aspect,
            requests,
            share,
        } in &self.aspects
        {
            let count = thousands(*requests);
            let _infallible = writeln!(text, "  {aspect:<10} {:>7}  {count}", percent(*share));
        }
        for route in self.routes.iter().take(ROUTES_MAX) {
            route.tell(text);
        }
        let more = self.routes.len().saturating_sub(ROUTES_MAX) + self.more_routes;
        if more > 0 {
            let _infallible = writeln!(text, "and on {more} more routes; --json shows more");
        }
        if self.missed > 0 {
            let missed = thousands(self.missed);
            let _infallible = writeln!(text, "{missed} more came too fast to be compared as well.");
        }
        if self.errors > 0 {
            let errors = thousands(self.errors);
            let _infallible = writeln!(text, "{errors} could not be compared: this is a defect.");
        }
    }
}

impl ByRoute {
    fn tell(&self, text: &mut String) {
        let (differ, requests) = (thousands(self.differ), thousands(self.requests));
        let _infallible = writeln!(text, "route {}: {differ} of {requests}", self.route);
        for reason in self.reasons.iter().take(REASONS_MAX) {
            let Reason {
                aspect,
                change,
                requests,
            } = reason;
            let count = requests.map_or(String::new(), |count| format!("  x {}", thousands(count)));
            let _infallible = writeln!(text, "  {aspect:<10} {change}{count}");
        }
        // Requests that read alike are one example.
        let mut examples: Vec<_> = self.samples.iter().map(Sample::words).collect();
        examples.dedup();
        examples.truncate(SAMPLES_MAX);
        text.extend(examples);
    }
}

impl Sample {
    fn words(&self) -> String {
        let Self {
            method, host, path, ..
        } = self;
        let (before, after) = (self.before.words(), self.after.words());
        format!(
            "  for example {method} {host}{path}\n      now      {before}\n      then     {after}\n"
        )
    }
}

impl Decided {
    fn words(&self) -> String {
        let route = self.route.as_deref().unwrap_or("no route");
        match (self.regions.is_empty(), self.end.as_str()) {
            (false, _) => format!("{route}: {}", self.regions.join(", ")),
            (true, "served") => format!("{route}: answered by the route"),
            (true, end) => format!("{route}: {end}"),
        }
    }
}

impl Stage {
    /// What it serves, and how it does beside the other one.
    pub(super) fn words(&self) -> String {
        let mut text = format!("Generation {} serves {}.\n", self.generation, self.part);
        for came in [&self.serving, &self.staged] {
            let Came {
                generation,
                requests,
                error_rate,
                mean_ms,
            } = came;
            let (requests, errors) = (thousands(*requests), percent(*error_rate));
            let _infallible = writeln!(
                text,
                "  generation {generation:<5} {requests:>10} requests  {errors:>7} errors  {mean_ms:>9.1} ms on average"
            );
        }
        text
    }
}

/// `12,430`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_told_apart() {
        let check = |number, expected: &str| assert_eq!(thousands(number), expected);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(12_430, "12,430");
        check(1_234_567, "1,234,567");
    }
}
