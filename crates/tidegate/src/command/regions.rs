//! `tidegate regions`: how the regions of a running process stand.

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::remote::{Asking, unexpected};
use crate::exit::{Exit, Failure};
use crate::terminal::{self, Paint, Table, percent, seconds};

/// Show how the regions of a running process stand.
///
/// One line for each region and upstream: health, dial (an operator's in place of the plan's is
/// marked by *, its place in an operator's order by #1), the part of its load that it takes before it sheds, the requests a second that it
/// could still take, latency, attempts in flight and those of them that wait for an answer.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Regions {
    #[command(flatten)]
    asking: Asking,
}

const EXAMPLES: &str = "\
Examples:
  tidegate regions
  tidegate regions --admin 10.0.0.7:9901
  tidegate regions --json | jq '.[] | select(.draining) | .name'

Exit status: 0, or 2 when the process could not be asked.";

#[derive(Deserialize)]
struct Region {
    name: String,
    drain: Option<Drain>,
    upstreams: Vec<Seen>,
}

#[derive(Deserialize)]
struct Drain {
    now: bool,
    deadline_s: Option<u64>,
    #[serde(default)]
    expires_s: Option<u64>,
}

#[derive(Deserialize)]
struct Seen {
    upstream: String,
    health: String,
    suspected: bool,
    probation: bool,
    dials: Dials,
    #[serde(default)]
    place: Option<u8>,
    steered: Steered,
    standby: String,
    starting: bool,
    rtt_us: Option<u64>,
    in_flight: u32,
    waiting: u32,
}

#[derive(Deserialize)]
struct Dials {
    by: String,
    effective: f64,
}

#[derive(Deserialize)]
struct Steered {
    take: f64,
    spare_per_second: Option<f64>,
    latency_us: Option<u64>,
}

const HEAD: [&str; 11] = [
    "REGION",
    "UPSTREAM",
    "HEALTH",
    "DIAL",
    "TAKE",
    "SPARE/S",
    "LATENCY",
    "IN FLIGHT",
    "WAITING",
    "STANDBY",
    "DRAIN",
];

impl Regions {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        self.asking.ask(Method::GET, &["regions"], &[], words)
    }
}

fn words(answer: &Value) -> Result<String, Failure> {
    let regions = Vec::<Region>::deserialize(answer).map_err(unexpected)?;
    let mut table = Table::new(HEAD);
    for region in &regions {
        for seen in &region.upstreams {
            table.row(row(region, seen));
        }
    }
    Ok(table.render(terminal::colour(&std::io::stdout())))
}

fn row(region: &Region, seen: &Seen) -> [(String, Paint); 11] {
    let plain = |text: String| (text, Paint::Plain);
    let spare = seen.steered.spare_per_second;
    let latency = seen.steered.latency_us.or(seen.rtt_us);
    [
        plain(region.name.clone()),
        plain(seen.upstream.clone()),
        health(seen),
        dial(seen),
        take(seen.steered.take),
        plain(spare.map_or("-".to_owned(), |spare| format!("{spare:.0}"))),
        plain(latency.map_or("-".to_owned(), milliseconds)),
        plain(seen.in_flight.to_string()),
        plain(seen.waiting.to_string()),
        standby(seen),
        region
            .drain
            .as_ref()
            .map_or_else(|| plain("-".to_owned()), drain),
    ]
}

fn health(seen: &Seen) -> (String, Paint) {
    let paint = match &*seen.health {
        "unhealthy" => Paint::Bad,
        "healthy" if !seen.suspected => Paint::Good,
        "unknown" => Paint::Plain,
        _ => Paint::Odd,
    };
    let stage = match seen {
        Seen {
            suspected: true, ..
        } => ", suspected",
        Seen {
            probation: true, ..
        } => ", probation",
        _ => "",
    };
    (format!("{}{stage}", seen.health), paint)
}

fn dial(seen: &Seen) -> (String, Paint) {
    let dials = &seen.dials;
    let mark = if dials.by == "operator" { "*" } else { "" };
    let place = seen.place.map(|place| format!(" #{place}"));
    let paint = match (dials.effective, mark, &place) {
        (0.0, ..) => Paint::Bad,
        (_, "*", _) | (.., Some(_)) => Paint::Odd,
        _ => Paint::Plain,
    };
    let place = place.unwrap_or_default();
    (format!("{}{mark}{place}", percent(dials.effective)), paint)
}

fn take(take: f64) -> (String, Paint) {
    let paint = if take < 1.0 { Paint::Odd } else { Paint::Plain };
    (percent(take), paint)
}

fn standby(seen: &Seen) -> (String, Paint) {
    match seen.starting {
        true => (format!("{}, starting", seen.standby), Paint::Odd),
        false => (seen.standby.clone(), Paint::Plain),
    }
}

fn drain(drain: &Drain) -> (String, Paint) {
    let text = match drain.deadline_s {
        _ if drain.now => "now".to_owned(),
        Some(left) => format!("{} left", seconds(left)),
        None => "soft".to_owned(),
    };
    let back = drain.expires_s;
    let back = back.map_or_else(String::new, |left| format!(", back in {}", seconds(left)));
    (text + &back, Paint::Odd)
}

fn milliseconds(micros: u64) -> String {
    format!("{:.1}ms", micros as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_region_is_a_line_for_each_upstream() {
        let seen = |upstream: &str, dial: f64, by: &str, take: f64| {
            json!({
                "upstream": upstream, "health": "healthy", "suspected": false, "probation": true,
                "dials": { "by": by, "effective": dial }, "standby": "cold", "starting": true, "rtt_us": 10_250, "place": null,
                "steered": { "take": take, "spare_per_second": 12.4, "latency_us": null },
                "in_flight": 7, "waiting": 2,
            })
        };
        let drain = json!({ "now": false, "deadline_s": 298 });
        let both = [
            seen("shop", 0.25, "operator", 1.0),
            seen("cart", 1.0, "plan", 0.5),
        ];
        let answer = json!([{ "name": "eu-west", "drain": drain, "upstreams": both }]);
        let text = words(&answer).unwrap();
        let lines: Vec<Vec<_>> = text
            .lines()
            .map(|line| line.split("  ").collect())
            .collect();
        let cells = |at: usize| -> Vec<_> {
            let cells = lines[at].iter().map(|cell| cell.trim());
            cells.filter(|cell| !cell.is_empty()).collect()
        };
        assert_eq!(cells(0), HEAD);
        let shop =
            "eu-west/shop/healthy, probation/25%*/100%/12/10.2ms/7/2/cold, starting/4m58s left";
        assert_eq!(cells(1), shop.split('/').collect::<Vec<_>>());
        assert_eq!(cells(2)[3..5], ["100%", "50%"]);
        assert!(words(&json!([{ "name": "eu-west" }])).is_err());
    }
}
