//! What is published: a table a scene in the terminal, everything as JSON, a picture.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::caught::Catch;
use super::figures;
use super::picture;
use super::scene::{LaneReport, Scene};
use super::warm;
use crate::error::BenchError;
use crate::peer::Peer;
use crate::report::{Participant, kernel, processor};

/// A run.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) cores: usize,
    /// As it calls itself.
    pub(super) processor: String,
    pub(super) kernel: String,
    pub(super) peers: Vec<Participant>,
    /// Who was not installed.
    pub(super) skipped: Vec<String>,
    pub(super) scenes: Vec<Scene>,
    /// What became of requests in flight; empty where it was not measured.
    #[serde(default)]
    pub(super) caught: Vec<Catch>,
    /// What warm standby saves; empty where it was not measured.
    #[serde(default)]
    pub(super) warm: Vec<warm::Row>,
}

/// The columns of a table, in their order.
pub(super) const COLUMNS: [&str; 12] = [
    "errors",
    "late .5s",
    "late 1s",
    "worst s",
    "last err s",
    "last late s",
    "into dead",
    "twice",
    "first s",
    "95 % s",
    "step %",
    "step x",
];

impl Report {
    /// An empty one that knows who takes part and how.
    pub(super) fn new(peers: &[Peer], skipped: &[&str]) -> Self {
        let participant = |peer: &Peer| Participant {
            peer: peer.kind.name().to_owned(),
            version: peer.version.clone(),
            knobs: peer.kind.failover_knobs().to_owned(),
        };
        Self {
            cores: crate::bench::cores(),
            processor: processor().unwrap_or_else(|| "unknown".to_owned()),
            kernel: kernel(),
            peers: peers.iter().map(participant).collect(),
            skipped: skipped.iter().map(ToString::to_string).collect(),
            scenes: Vec::new(),
            caught: Vec::new(),
            warm: Vec::new(),
        }
    }

    /// Takes all of the last run, if there was one, because only a part is measured anew; who took
    /// part comes along.
    pub(super) fn take_parts_of(&mut self, directory: &Path) {
        let text = std::fs::read_to_string(directory.join("failover.json")).unwrap_or_default();
        if let Ok(last) = serde_json::from_str::<Self>(&text) {
            *self = last;
        }
    }

    /// Prints what warm standby saves.
    pub(super) fn print_warm(&self) {
        println!("\nwarm standby, a region 160 ms away over TLS and HTTP/2");
        println!(
            "  {:>6}{:>12}{:>12}{:>12}{:>12}",
            "kept", "added ms", "dear", "usual ms", "errors"
        );
        for row in &self.warm {
            let (kept, errors) = (row.kept, row.errors);
            let [added, dear, usual] = [row.added_ms, row.dear, row.usual_ms];
            println!("  {kept:>6}{added:>12.0}{dear:>12.0}{usual:>12.0}{errors:>12}");
        }
    }

    /// Prints who takes part and who does not.
    pub(super) fn print_head(&self) {
        println!("failover: a region dies and comes back, all proxies at the same time");
        for Participant { peer, version, .. } in &self.peers {
            println!("  {peer:<10} {version}");
        }
        for peer in &self.skipped {
            println!("  {peer:<10} skipped: not installed (make bench-install)");
        }
    }

    /// Writes `failover.json` and `failover.svg` into `directory`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn write_to(&self, directory: &Path) -> Result<(), BenchError> {
        let io = |source| BenchError::io(directory.display().to_string())(source);
        let json = serde_json::to_string(self).map_err(|error| io(error.into()))?;
        std::fs::create_dir_all(directory).map_err(io)?;
        let file = directory.join("failover.json");
        std::fs::write(&file, json).map_err(io)?;
        std::fs::write(directory.join("failover.svg"), picture::svg(&self.scenes)).map_err(io)?;
        println!("\n{} and .svg", file.display());
        Ok(())
    }
}

impl Scene {
    /// Prints its table.
    pub(super) fn print(&self) {
        let heads: String = COLUMNS.iter().map(|name| format!("{name:>12}")).collect();
        println!("\n{} ({} s)", self.name(), self.lasts_s);
        println!("  {:<10}{heads}", "");
        for lane in &self.lanes {
            let cells: String = lane
                .cells(self.watch_s)
                .iter()
                .map(|cell| format!("{cell:>12}"))
                .collect();
            println!("  {:<10}{cells}", lane.peer);
        }
        self.remarks()
            .iter()
            .for_each(|remark| println!("  {remark}"));
    }

    /// How requests failed, and what spoils a figure.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut remarks = self.stalls();
        for lane in &self.lanes {
            let (peer, harm) = (&lane.peer, &lane.harm);
            let kinds = harm
                .kinds
                .iter()
                .map(|(kind, count)| format!("{count} {kind}"));
            let kinds: Vec<_> = kinds.collect();
            if !kinds.is_empty() {
                let posts = match harm.errors_post {
                    0 => String::new(),
                    posts => format!(" ({posts} of them POST)"),
                };
                remarks.push(format!("{peer} failed: {}{posts}", kinds.join(", ")));
            }
            if harm.before + lane.forgotten > 0 {
                let (before, forgotten) = (harm.before, lane.forgotten);
                remarks.push(format!(
                    "{peer}: {before} failed or late before the fault, {forgotten} not remembered"
                ));
            }
        }
        remarks
    }
}

impl Scene {
    /// When everything stood still at once: what is late then is no proxy's doing.
    fn stalls(&self) -> Vec<String> {
        // All lanes are sampled by the same loop.
        let Some(lane) = self.lanes.first() else {
            return Vec::new();
        };
        let told = figures::stalls(&lane.samples).map(|(at_ms, gap_ms)| {
            let since = (at_ms as f64 - lane.times.fault_ms as f64) / 1_000.0;
            let gap = gap_ms as f64 / 1_000.0;
            format!("the machine stood still for {gap:.1} s, {since:.1} s after the fault")
        });
        told.collect()
    }
}

impl LaneReport {
    /// The cells of its line, one a column.
    pub(super) fn cells(&self, watch_s: f64) -> [String; 12] {
        let (harm, back) = (&self.harm, &self.back);
        let since = |s: Option<f64>| s.map_or_else(|| "-".to_owned(), |s| format!("{s:.1}"));
        let within = |s: Option<f64>| match s {
            _ if !back.left => "stayed".to_owned(),
            Some(s) => format!("{s:.1}"),
            None => format!("> {watch_s:.0}"),
        };
        [
            harm.errors.to_string(),
            harm.late.to_string(),
            harm.very_late.to_string(),
            format!("{:.2}", self.worst_ms as f64 / 1_000.0),
            since(harm.last_error_s),
            since(harm.last_late_s),
            self.into_dead
                .map_or_else(|| "?".to_owned(), |tries| tries.to_string()),
            self.twice.to_string(),
            within(back.first_s),
            within(back.full_s),
            format!("{:.0}", 100.0 * back.step),
            format!("{:.1}", back.ratio),
        ]
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fault::Fault;
    use super::super::figures::{Harm, Mishap, Return, Sample, Times};
    use super::*;

    /// A scene of one lane with three errors, whose near region came back at once.
    pub(in crate::failover) fn scene() -> Scene {
        let lane = LaneReport {
            peer: "Tidegate".to_owned(),
            sent: [400, 100],
            harm: Harm {
                errors: 3,
                errors_post: 1,
                kinds: [("reset".to_owned(), 3)].into(),
                last_error_s: Some(1.26),
                ..Harm::default()
            },
            worst_ms: 1_234,
            into_dead: None,
            twice: 0,
            back: Return {
                left: true,
                first_s: Some(0.3),
                full_s: None,
                step: 0.96,
                ratio: 20.0,
            },
            forgotten: 0,
            times: Times {
                fault_ms: 1_000,
                heal_ms: 2_000,
                end_ms: 4_000,
            },
            samples: vec![Sample::default()],
            mishaps: vec![Mishap {
                ended_ms: 1_500,
                took_ms: 20,
                error: Some("reset".to_owned()),
                post: false,
            }],
        };
        Scene {
            fault: Fault::BlackHole,
            rate: 200.0,
            posts: 0.2,
            regions: 3,
            endpoints: 2,
            lasts_s: 1.0,
            watch_s: 2.0,
            lanes: vec![lane],
        }
    }

    #[test]
    fn a_line_says_what_is_unknown_and_what_did_not_happen() {
        let scene = scene();
        let cells = scene.lanes[0].cells(scene.watch_s);
        let expected = [
            "3", "0", "0", "1.23", "1.3", "-", "?", "0", "0.3", "> 2", "96", "20.0",
        ];
        assert_eq!(cells, expected.map(str::to_owned));
        assert_eq!(
            scene.remarks(),
            ["Tidegate failed: 3 reset (1 of them POST)"]
        );
        assert_eq!(scene.name(), "black hole, 20 % POST");
    }
}
