//! The generated part of the page: the machine, the picture, a table a scene, the knobs.

use std::fmt::Write;
use std::path::Path;

use super::caught::{self, Catch};
use super::report::{COLUMNS, Report};
use super::scene::Scene;
use crate::error::BenchError;

/// Writes the last run in `from` into the page `to`, and the picture beside it. False where
/// there was no run: nothing is written then.
///
/// # Errors
/// When the report cannot be read, or the page lacks a marker: the page is as it was then.
pub(crate) fn publish(from: &Path, to: &Path) -> Result<bool, BenchError> {
    let path = from.join("failover.json");
    if !path.exists() {
        return Ok(false);
    }
    let io = |source| BenchError::io(to.display().to_string())(source);
    let text = std::fs::read_to_string(&path).map_err(io)?;
    let report: Report = serde_json::from_str(&text).map_err(|error| io(error.into()))?;
    let page = std::fs::read_to_string(to).map_err(io)?;
    let page = crate::publish::replaced(&page, "run", &run(&report))?;
    let page = crate::publish::replaced(&page, "scenes", &scenes(&report))?;
    let page = crate::publish::replaced(&page, "knobs", &knobs(&report))?;
    let page = crate::publish::replaced(&page, "in flight", &caught(&report))?;
    let page = crate::publish::replaced(&page, "warm", &warm(&report))?;
    let pictures = to.with_extension("");
    std::fs::create_dir_all(&pictures).map_err(io)?;
    std::fs::copy(from.join("failover.svg"), pictures.join("failover.svg")).map_err(io)?;
    std::fs::write(to, page).map_err(io)?;
    println!("{}: {} scenes", to.display(), report.scenes.len());
    Ok(true)
}

fn run(report: &Report) -> String {
    let Report {
        processor,
        cores,
        kernel,
        ..
    } = report;
    let mut text =
        format!("| | |\n|---|---|\n| machine | {processor}, {cores} cores, Linux {kernel} |\n");
    for peer in &report.peers {
        let _ = writeln!(
            text,
            "| {} | {} |",
            peer.peer,
            crate::publish::number(&peer.version)
        );
    }
    if let Some(scene) = report.scenes.first() {
        let (regions, endpoints, rate) = (scene.regions, scene.endpoints, scene.rate);
        let _ = writeln!(
            text,
            "| each proxy | {regions} regions of {endpoints} endpoints, {rate} requests a second |"
        );
    }
    if !report.skipped.is_empty() {
        let _ = writeln!(text, "\nNot installed: {}.", report.skipped.join(", "));
    }
    text
}

fn scenes(report: &Report) -> String {
    let picture = "![a region dies and comes back](failover/failover.svg)\n\n";
    picture.to_owned() + &report.scenes.iter().map(scene).collect::<String>()
}

fn scene(scene: &Scene) -> String {
    let lanes = scene.lanes.iter();
    let lines = lanes.map(|lane| (&*lane.peer, lane.cells(scene.watch_s)));
    table(&scene.name(), &COLUMNS, lines, &scene.remarks())
}

/// A table of so many columns, a line a proxy, and what is to be said of it.
fn table<'a, const N: usize>(
    name: &str,
    columns: &[&str; N],
    lines: impl Iterator<Item = (&'a str, [String; N])>,
    remarks: &[String],
) -> String {
    let rule = " ---: |".repeat(N);
    let mut text = format!("| {name} | {} |\n|---|{rule}\n", columns.join(" | "));
    for (peer, cells) in lines {
        // Ours is what the reader looks for.
        let bold = if peer == "Tidegate" { "**" } else { "" };
        let _ = writeln!(text, "| {bold}{peer}{bold} | {} |", cells.join(" | "));
    }
    text.push('\n');
    if !remarks.is_empty() {
        let _ = writeln!(text, "{}.\n", remarks.join("; "));
    }
    text
}

fn caught(report: &Report) -> String {
    match report.caught.is_empty() {
        true => "Not measured in this run.\n".to_owned(),
        false => report.caught.iter().map(catch).collect(),
    }
}

fn catch(catch: &Catch) -> String {
    let lines = catch.rows.iter().map(|row| (&*row.peer, row.cells()));
    table(&catch.name(), &caught::COLUMNS, lines, &catch.remarks())
}

fn warm(report: &Report) -> String {
    let head = "| connections kept | first answer, added ms | answers 100 ms dearer | usual ms | errors |\n";
    let mut text = format!("{head}| ---: | ---: | ---: | ---: | ---: |\n");
    for row in &report.warm {
        let (kept, errors) = (row.kept, row.errors);
        let [added, dear, usual] = [row.added_ms, row.dear, row.usual_ms];
        let _ = writeln!(
            text,
            "| {kept} | {added:.0} | {dear:.0} | {usual:.0} | {errors} |"
        );
    }
    match report.warm.is_empty() {
        true => "Not measured in this run.\n".to_owned(),
        false => text,
    }
}

fn knobs(report: &Report) -> String {
    let lines = report
        .peers
        .iter()
        .map(|peer| format!("| {} | {} |\n", peer.peer, peer.knobs));
    "| | |\n|---|---|\n".to_owned() + &lines.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::scene;
    use super::*;

    #[test]
    fn a_run_is_published_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path(), directory.path().join("page.md"));
        assert!(!publish(from, &to).unwrap(), "nothing was measured");
        let names = ["run", "scenes", "knobs", "in flight", "warm"];
        let page = names.map(|name| format!("<!-- begin {name} -->\n<!-- end {name} -->\n"));
        std::fs::write(&to, page.concat()).unwrap();
        let report = Report {
            scenes: vec![scene()],
            ..Report::default()
        };
        report.write_to(from).unwrap();
        assert!(publish(from, &to).unwrap());
        let page = std::fs::read_to_string(&to).unwrap();
        assert!(
            page.contains("| **Tidegate** | 3 | 0 | 0 | 1.23 |"),
            "{page}"
        );
        assert!(directory.path().join("page/failover.svg").exists());
        assert!(publish(from, &to).unwrap());
        assert_eq!(std::fs::read_to_string(&to).unwrap(), page);
    }
}
