//! Publishes what was measured: figures go from the JSON of each dimension into a page, between its
//! markers, and the pictures beside it. No figure is ever copied by hand.
//!
//! What is outside the markers is written by people and never touched. A dimension that was not
//! measured keeps what stands there.

mod sections;

use std::path::{Path, PathBuf};

use crate::error::BenchError;
use crate::report::Report;

pub(crate) use sections::number;

/// In the order of the page.
const DIMENSIONS: [&str; 7] = [
    "size",
    "handshake",
    "idle",
    "latency",
    "routes",
    "endpoints",
    "cores",
];

/// Write the figures of earlier runs into a page.
#[derive(clap::Args)]
pub(crate) struct Publish {
    /// Where the JSON is; several runs of the same become one, with the rounds of all
    #[arg(long, default_value = "bench-results")]
    from: Vec<PathBuf>,
    /// The page; the pictures go to the directory of its name
    #[arg(long, default_value = "docs/performance.md")]
    to: PathBuf,
    /// The page of the last `failover`, if there was one
    #[arg(long, default_value = "docs/failover.md")]
    failover: PathBuf,
}

impl Publish {
    /// Rewrites the page and draws the pictures.
    ///
    /// # Errors
    /// When nothing was measured, a report cannot be read, runs are not of the same, or the page lacks a
    /// marker: the page is as it was then.
    pub(crate) fn run(&self) -> Result<(), BenchError> {
        let mut reports = Vec::new();
        for dimension in DIMENSIONS {
            reports.extend(self.read(dimension)?);
        }
        let mut failover = false;
        for from in &self.from {
            failover |= crate::failover::publish(from, &self.failover)?;
        }
        if failover && reports.is_empty() {
            return Ok(());
        }
        if reports.is_empty() {
            let places: Vec<_> = self
                .from
                .iter()
                .map(|from| from.to_string_lossy())
                .collect();
            return Err(BenchError::NothingMeasured(places.join(", ")));
        }
        let io = |source| BenchError::io(self.to.display().to_string())(source);
        let page = filled(&std::fs::read_to_string(&self.to).map_err(io)?, &reports)?;
        self.draw(&reports)?;
        std::fs::write(&self.to, page).map_err(io)?;
        println!("{}: {} dimensions", self.to.display(), reports.len());
        Ok(())
    }

    fn draw(&self, reports: &[Report]) -> Result<(), BenchError> {
        let pictures = self.to.with_extension("");
        let mut reports = reports.iter();
        reports.try_for_each(|report| report.draw_into(&pictures))
    }

    /// What all runs say of a dimension; `None` where none measured it.
    fn read(&self, dimension: &str) -> Result<Option<Report>, BenchError> {
        let mut all: Option<Report> = None;
        for from in &self.from {
            let Some(report) = read(from, dimension)? else {
                continue;
            };
            all = Some(match all {
                Some(all) => all.join(report)?,
                None => report,
            });
        }
        Ok(all)
    }
}

/// `None` where the dimension was not measured.
fn read(from: &Path, dimension: &str) -> Result<Option<Report>, BenchError> {
    let path = from.join(format!("{dimension}.json"));
    if !path.exists() {
        return Ok(None);
    }
    let io = |source| BenchError::io(path.display().to_string())(source);
    let text = std::fs::read_to_string(&path).map_err(io)?;
    let report = serde_json::from_str(&text);
    report.map(Some).map_err(|error| io(error.into()))
}

/// The page with everything that these reports say.
fn filled(page: &str, reports: &[Report]) -> Result<String, BenchError> {
    let mut page = page.to_owned();
    for report in reports {
        page = replaced(&page, &report.dimension, &sections::figures(report))?;
    }
    page = replaced(&page, "machine", &sections::machine(reports))?;
    page = replaced(&page, "knobs", &sections::knobs(reports))?;
    replaced(&page, "losses", &sections::losses(reports))
}

/// The page with this text between the markers of this name.
pub(crate) fn replaced(page: &str, name: &str, text: &str) -> Result<String, BenchError> {
    let (begin, end) = (
        format!("<!-- begin {name} -->\n"),
        format!("<!-- end {name} -->"),
    );
    let parts = page.split_once(&begin);
    let parts = parts.and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let (before, after) = parts.ok_or_else(|| BenchError::NoMarker(name.to_owned()))?;
    Ok(format!("{before}{begin}{text}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{CellReport, Round, Row};
    use crate::report::Participant;

    /// A report of one cell in which the others have these values, nginx 10.
    pub(super) fn report(dimension: &str, others: &[(&str, f64)]) -> Report {
        let row = |(peer, value): &(&str, f64)| Row {
            peer: (*peer).to_owned(),
            value: *value,
            to_nginx: Some(value / 10.0),
            also: vec![1_000.0],
            rounds: vec![Round {
                value: *value,
                also: vec![1_000.0],
            }],
        };
        let participant = |(peer, _): &(&str, f64)| Participant {
            peer: (*peer).to_owned(),
            version: format!("{peer}/1.2"),
            knobs: format!("knobs of {peer}"),
        };
        Report {
            dimension: dimension.to_owned(),
            what: "CPU".to_owned(),
            cores: 2,
            processor: "Some CPU".to_owned(),
            kernel: "6.1".to_owned(),
            rounds: 3,
            percent: 100,
            peers: others.iter().map(participant).collect(),
            skipped: Vec::new(),
            cells: vec![CellReport {
                cell: "1 KB".to_owned(),
                unit: "us/req".to_owned(),
                also: vec!["req/s".to_owned()],
                disturbed: 0,
                rows: others.iter().map(row).collect(),
            }],
        }
    }

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let page = "a\n<!-- begin size -->\nold\n<!-- end size -->\nb\n";
        let new = "a\n<!-- begin size -->\nnew\n<!-- end size -->\nb\n";
        assert_eq!(replaced(page, "size", "new\n").unwrap(), new);
        let error = replaced(page, "idle", "new\n").unwrap_err();
        assert!(error.to_string().contains("<!-- begin idle -->"), "{error}");
    }

    #[test]
    fn the_page_of_the_repository_has_every_marker() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let page = std::fs::read_to_string(root.join("docs/performance.md")).unwrap();
        let everybody = [("nginx", 10.0), ("Tidegate", 9.0)];
        let reports = DIMENSIONS.map(|dimension| report(dimension, &everybody));
        let once = filled(&page, &reports).unwrap();
        assert_eq!(filled(&once, &reports).unwrap(), once);
    }

    #[test]
    fn a_run_is_published_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (
            directory.path().to_owned(),
            directory.path().join("page.md"),
        );
        let publish = Publish {
            from: vec![from.clone(), from.join("again")],
            to: to.clone(),
            failover: directory.path().join("failover.md"),
        };
        assert!(matches!(publish.run(), Err(BenchError::NothingMeasured(_))));
        let names = ["size", "machine", "knobs", "losses"];
        let page = names.map(|name| format!("<!-- begin {name} -->\n<!-- end {name} -->\n"));
        std::fs::write(&to, page.concat()).unwrap();
        report("size", &[("nginx", 10.0), ("Tidegate", 9.0)])
            .write_to(&from)
            .unwrap();
        publish.run().unwrap();
        let page = || std::fs::read_to_string(&to).unwrap();
        let one = page();
        assert!(
            one.contains("| 1 KB | 10.0 (1.00) | **9.00 (0.90)** |"),
            "{one}"
        );
        assert!(directory.path().join("page/size.svg").exists());

        let again = from.join("again");
        let other = report("size", &[("nginx", 10.0), ("Envoy", 9.0)]);
        other.write_to(&again).unwrap();
        assert!(matches!(publish.run(), Err(BenchError::OtherRun(_))));
        assert_eq!(page(), one);
        let same = report("size", &[("nginx", 10.0), ("Tidegate", 9.0)]);
        same.write_to(&again).unwrap();
        publish.run().unwrap();
        let both = one.replace("medians of 3 rounds", "medians of 6 rounds");
        assert_eq!(page(), both);
    }
}
