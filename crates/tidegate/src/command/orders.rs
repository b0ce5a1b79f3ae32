//! `tidegate orders`: what operators have ordered of a running process.

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::remote::{Asking, unexpected};
use crate::exit::{Exit, Failure};
use crate::terminal::{self, Paint, Table, seconds};

/// Show what operators have ordered: drains, dials and orders of regions.
///
/// Each with who gave it, when, for how much longer, and why. What names something that the
/// configuration does not have any more is kept, and holds again when it comes back.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Orders {
    #[command(flatten)]
    asking: Asking,
}

const EXAMPLES: &str = "\
Examples:
  tidegate orders
  tidegate orders --json | jq '.orders[] | select(.expires == null)'

Exit status: 0, or 2 when the process could not be asked.";

#[derive(Deserialize)]
struct Told {
    orders: Vec<Order>,
    state_dir: Option<String>,
    problem: Option<String>,
}

#[derive(Deserialize)]
struct Order {
    words: String,
    in_plan: bool,
    author: String,
    reason: Option<String>,
    since: String,
    expires_s: Option<u64>,
}

impl Orders {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        self.asking.ask(Method::GET, &["orders"], &[], words)
    }
}

fn words(answer: &Value) -> Result<String, Failure> {
    let told = Told::deserialize(answer).map_err(unexpected)?;
    if told.orders.is_empty() {
        return Ok("nothing is ordered: all goes as the configuration says\n".to_owned());
    }
    let mut table = Table::new(["ORDER", "BY", "SINCE", "LEFT", "PLAN", "REASON"]);
    for order in &told.orders {
        let plain = |text: String| (text, Paint::Plain);
        let left = order.expires_s.map_or("-".to_owned(), seconds);
        table.row([
            plain(order.words.clone()),
            plain(order.author.clone()),
            plain(order.since.get(..19).unwrap_or(&order.since).to_owned() + "Z"),
            plain(left),
            match order.in_plan {
                true => plain("-".to_owned()),
                false => ("not in the plan".to_owned(), Paint::Odd),
            },
            plain(order.reason.clone().unwrap_or_default()),
        ]);
    }
    let mut text = table.render(terminal::colour(&std::io::stdout()));
    match (&told.problem, &told.state_dir) {
        (Some(problem), _) => text += &format!("\nThey end with this process: {problem}\n"),
        (None, None) => text += "\nThey end with this process. See `state.dir`.\n",
        (None, Some(_)) => {}
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_order_is_a_line_with_its_author_and_reason() {
        let order = json!({
            "words": "drain of eu-west", "in_plan": false, "author": "ann@edge", "reason": "power",
            "since": "2026-11-22T02:00:00.000Z", "expires_s": 7_200,
        });
        let told = |problem: Value, dir: Value| {
            let answer = json!({ "orders": [order], "problem": problem, "state_dir": dir });
            words(&answer).unwrap()
        };
        let text = told(Value::Null, json!("/state"));
        for part in [
            "drain of eu-west",
            "ann@edge",
            "2026-11-22T02:00:00Z",
            "power",
            "not in the plan",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("end with"), "{text}");
        assert!(told(Value::Null, Value::Null).contains("state.dir"));
        assert!(told(json!("full"), json!("/state")).contains("process: full"));
        let none = json!({ "orders": [], "problem": null, "state_dir": null });
        assert!(words(&none).unwrap().starts_with("nothing is ordered"));
    }
}
