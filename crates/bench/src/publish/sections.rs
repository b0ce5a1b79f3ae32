//! The generated parts of the page, in Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::figures::{CellReport, Row};
use crate::peer::Kind;
use crate::report::{Report, ratio, short};

/// Picture, table and, folded, everything else that was measured.
pub(super) fn figures(report: &Report) -> String {
    let Report {
        dimension, what, ..
    } = report;
    let all: String = report
        .cells
        .iter()
        .map(|cell| cell.markdown() + "\n")
        .collect();
    format!(
        "![{what}](performance/{dimension}.svg)\n\n{}\n{}<details><summary>Everything that was \
         measured</summary>\n\n{all}</details>\n",
        table(report),
        notes(report)
    )
}

/// A line a cell, a column a proxy: the figure and, in parentheses, its ratio to nginx.
fn table(report: &Report) -> String {
    let peers: Vec<_> = report.peers.iter().map(|peer| peer.peer.as_str()).collect();
    let mut table = format!(
        "| | {} |\n|---|{}\n",
        peers.join(" | "),
        " ---: |".repeat(peers.len())
    );
    let units: Vec<_> = report.cells.iter().map(|cell| &cell.unit).collect();
    let one_unit = units.windows(2).all(|pair| pair[0] == pair[1]);
    if let (true, Some(unit)) = (one_unit, units.first()) {
        table = table.replacen("| |", &format!("| {unit} (x nginx) |"), 1);
    }
    for cell in &report.cells {
        let unit = if one_unit {
            String::new()
        } else {
            format!(", {}", cell.unit)
        };
        let row = |peer: &&str| cell.rows.iter().find(|row| row.peer == *peer);
        let values: String = peers.iter().map(|peer| value(row(peer)) + " |").collect();
        let _ = writeln!(table, "| {}{unit} |{values}", cell.cell);
    }
    table
}

fn value(row: Option<&Row>) -> String {
    let Some(row) = row else {
        return " ".to_owned();
    };
    let value = match row.to_nginx {
        Some(_) => format!("{} ({})", short(row.value), ratio(row)),
        None => short(row.value),
    };
    match row.peer == Kind::Tidegate.name() {
        true => format!(" **{value}**"),
        false => format!(" {value}"),
    }
}

/// What a reader must know about this run; mostly nothing.
fn notes(report: &Report) -> String {
    let mut notes = String::new();
    let disturbed = report.disturbed();
    if disturbed > 0 {
        let all: usize = report.cells.iter().map(rounds).sum();
        let _ = writeln!(
            notes,
            "{disturbed} of {all} rounds were disturbed by others on the machine.\n"
        );
    }
    if report.percent < 100 {
        let percent = report.percent;
        let _ = writeln!(
            notes,
            "Coarse: measured with {percent} % of the usual requests.\n"
        );
    }
    if !report.skipped.is_empty() {
        let _ = writeln!(notes, "Not installed: {}.\n", report.skipped.join(", "));
    }
    notes
}

fn rounds(cell: &CellReport) -> usize {
    cell.rows.iter().map(|row| row.rounds.len()).sum()
}

/// The machine, the versions, how often was measured; each variant once.
pub(super) fn machine(reports: &[Report]) -> String {
    let machines = reports.iter().map(|report| {
        let Report {
            processor,
            cores,
            kernel,
            rounds,
            ..
        } = report;
        format!(
            "| machine | {processor}, {cores} cores, Linux {kernel}; medians of {rounds} rounds |\n"
        )
    });
    let versions = reports
        .iter()
        .flat_map(|report| &report.peers)
        .filter_map(|peer| {
            let ours = peer.peer == Kind::Copy.name() || peer.peer == Kind::TidegateLogged.name();
            (!ours).then(|| format!("| {} | {} |\n", peer.peer, number(&peer.version)))
        });
    format!(
        "| | |\n|---|---|\n{}{}",
        distinct(machines),
        distinct(versions)
    )
}

/// The version in a line that states it: what begins with a digit and has a point.
pub(crate) fn number(version: &str) -> &str {
    let mut words = version.split([' ', '/']);
    let is_number =
        |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
    words.find(is_number).unwrap_or(version)
}

/// What was set for whom.
pub(super) fn knobs(reports: &[Report]) -> String {
    let peers = reports.iter().flat_map(|report| &report.peers);
    let others = peers.filter(|peer| peer.peer != Kind::TidegateLogged.name());
    let lines = others.map(|peer| format!("| {} | {} |\n", peer.peer, peer.knobs));
    format!("| | |\n|---|---|\n{}", distinct(lines))
}

/// Lines without those that were there before.
fn distinct(lines: impl Iterator<Item = String>) -> String {
    let mut seen = BTreeMap::new();
    for (place, line) in lines.enumerate() {
        seen.entry(line).or_insert(place);
    }
    let mut lines: Vec<_> = seen.into_iter().collect();
    lines.sort_by_key(|(_, place)| *place);
    lines.into_iter().map(|(line, _)| line).collect()
}

/// Every cell in which another proxy's figure is lower than Tidegate's, as printed.
pub(super) fn losses(reports: &[Report]) -> String {
    let mut lines = String::new();
    for report in reports {
        for cell in &report.cells {
            let dimension = &report.dimension;
            if let Some(loss) = loss(cell) {
                let _ = writeln!(
                    lines,
                    "| {dimension} | {}, {} | {loss} |",
                    cell.cell, cell.unit
                );
            }
        }
    }
    match lines.is_empty() {
        true => "In none of the cells above.\n".to_owned(),
        false => format!(
            "| dimension | cell | Tidegate | less than Tidegate |\n|---|---|---:|---|\n{lines}"
        ),
    }
}

fn loss(cell: &CellReport) -> Option<String> {
    let ours = cell
        .rows
        .iter()
        .find(|row| row.peer == Kind::Tidegate.name())?;
    let rivals = [Kind::Nginx, Kind::Haproxy, Kind::Envoy].map(Kind::name);
    let rivals = cell
        .rows
        .iter()
        .filter(|row| rivals.contains(&row.peer.as_str()));
    let ahead: Vec<_> = rivals
        .filter(|row| compared(row) < compared(ours))
        .map(|row| format!("{} {}", row.peer, printed(row)))
        .collect();
    (!ahead.is_empty()).then(|| format!("{} | {}", printed(ours), ahead.join(", ")))
}

fn printed(row: &Row) -> String {
    match row.to_nginx {
        Some(_) => ratio(row),
        None => short(row.value),
    }
}

/// The printed figure as a number, so that nobody is ahead by what cannot be seen.
fn compared(row: &Row) -> f64 {
    printed(row).parse().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    #[test]
    fn a_loss_is_said_and_a_tie_is_none() {
        let table = [
            (
                &[("nginx", 10.0), ("Tidegate", 11.0)][..],
                Some("1.10 | nginx 1.00"),
            ),
            (&[("nginx", 10.0), ("Tidegate", 10.04)], None),
            (&[("nginx", 10.0), ("Tidegate", 9.0)], None),
            (
                &[("nginx", 10.0), ("Envoy", 8.0), ("Tidegate", 9.0)],
                Some("0.90 | Envoy 0.80"),
            ),
            (
                &[
                    ("raw copy", 1.0),
                    ("Tidegate, logging", 8.0),
                    ("Tidegate", 9.0),
                ],
                None,
            ),
            (&[("nginx", 10.0)], None),
        ];
        for (rows, expected) in table {
            let report = report("size", rows);
            assert_eq!(loss(&report.cells[0]).as_deref(), expected, "{rows:?}");
        }
        let worse = report("size", &[("nginx", 10.0), ("Tidegate", 11.0)]);
        assert!(losses(&[worse]).ends_with("| size | 1 KB, us/req | 1.10 | nginx 1.00 |\n"));
        assert!(losses(&[]).starts_with("In none"));
    }

    #[test]
    fn a_version_is_found_in_its_line() {
        let table = [
            ("nginx/1.22.1", "1.22.1"),
            (
                "HAProxy version 2.6.12-1 2026/10/17 - https://haproxy.org/",
                "2.6.12-1",
            ),
            ("9e5580933739/1.40.0/Clean/RELEASE", "1.40.0"),
            ("unknown", "unknown"),
        ];
        for (line, expected) in table {
            assert_eq!(number(line), expected);
        }
    }

    #[test]
    fn what_spoils_a_run_is_said() {
        let mut spoilt = report("size", &[("nginx", 10.0)]);
        assert_eq!(notes(&spoilt), "");
        spoilt.percent = 5;
        spoilt.cells[0].disturbed = 1;
        spoilt.skipped.push("Envoy".to_owned());
        let notes = notes(&spoilt);
        for part in ["1 of 1 rounds", "5 %", "Not installed: Envoy"] {
            assert!(notes.contains(part), "{notes}");
        }
    }

    #[test]
    fn what_all_reports_share_is_said_once() {
        let peers = [
            ("nginx", 10.0),
            ("Tidegate", 9.0),
            ("Tidegate, logging", 9.0),
        ];
        let both = [report("size", &peers), report("idle", &peers)];
        let text = machine(&both) + &knobs(&both);
        for part in [
            "Some CPU, 2 cores",
            "| nginx | 1.2 |",
            "| Tidegate | knobs of Tidegate |",
        ] {
            assert_eq!(text.matches(part).count(), 1, "{text}");
        }
        assert!(!text.contains("logging"));
    }

    #[test]
    fn a_table_has_a_line_a_cell_and_one_unit() {
        let mut report = report("size", &[("nginx", 10.0), ("Tidegate", 9.0)]);
        let start = "| us/req (x nginx) | nginx | Tidegate |\n|---| ---: | ---: |\n";
        assert!(table(&report).starts_with(start), "{}", table(&report));
        report.cells.push(CellReport {
            cell: "idle".to_owned(),
            unit: "KB".to_owned(),
            also: Vec::new(),
            disturbed: 0,
            rows: Vec::new(),
        });
        assert!(
            table(&report).contains("| idle, KB |  |  |\n"),
            "{}",
            table(&report)
        );
    }
}
