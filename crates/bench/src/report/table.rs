//! A cell as a table: for the terminal, and in Markdown.

use crate::figures::{CellReport, Row};

impl CellReport {
    /// Prints its rows.
    pub(crate) fn print(&self) {
        let also: String = self.also.iter().map(|name| format!("{name:>14}")).collect();
        println!(
            "\n{:<32}{:>10}{:>10}{also}",
            self.cell, self.unit, "x nginx"
        );
        for row in &self.rows {
            let also: String = row
                .also
                .iter()
                .map(|v| format!("{:>14}", short(*v)))
                .collect();
            let (value, ratio) = (short(row.value), ratio(row));
            println!("  {:<30}{value:>10}{ratio:>10}{also}", row.peer);
        }
        if self.disturbed > 0 {
            println!(
                "  disturbed by others on this machine: {} rounds",
                self.disturbed
            );
        }
    }

    /// Its rows in Markdown: one line a proxy.
    pub(crate) fn markdown(&self) -> String {
        let also: String = self.also.iter().map(|name| format!(" {name} |")).collect();
        let rule = " ---: |".repeat(2 + self.also.len());
        let rows: String = self.rows.iter().map(line).collect();
        format!(
            "| {} | {} | x nginx |{also}\n| --- |{rule}\n{rows}",
            self.cell, self.unit
        )
    }
}

fn line(row: &Row) -> String {
    let also: String = row
        .also
        .iter()
        .map(|v| format!(" {} |", short(*v)))
        .collect();
    // Ours is what the reader looks for.
    let bold = if row.peer == crate::peer::Kind::Tidegate.name() {
        "**"
    } else {
        ""
    };
    let (peer, value, ratio) = (&row.peer, short(row.value), ratio(row));
    format!("| {bold}{peer}{bold} | {value} | {bold}{ratio}{bold} |{also}\n")
}

/// Two digits after the point; `-` where nginx does not take part.
pub(crate) fn ratio(row: &Row) -> String {
    let ratio = row.to_nginx;
    ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
}

/// Three digits that matter: `0.317`, `5.23`, `41.2`, `18230`.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_matter() {
        let table = [
            (0.3171, "0.317"),
            (5.234, "5.23"),
            (41.24, "41.2"),
            (18_230.4, "18230"),
            (0.0, "0.00"),
        ];
        for (value, expected) in table {
            assert_eq!(short(value), expected);
        }
    }

    #[test]
    fn ours_is_set_off() {
        let row = |peer: &str, to_nginx| Row {
            peer: peer.to_owned(),
            value: 5.0,
            to_nginx,
            also: vec![7.0],
            rounds: Vec::new(),
        };
        let cell = CellReport {
            cell: "1 KB".to_owned(),
            unit: "us/req".to_owned(),
            also: vec!["req/s".to_owned()],
            disturbed: 0,
            rows: vec![row("Envoy", None), row("Tidegate", Some(0.5))],
        };
        let expected = "| 1 KB | us/req | x nginx | req/s |\n| --- | ---: | ---: | ---: |\n\
                        | Envoy | 5.00 | - | 7.00 |\n| **Tidegate** | 5.00 | **0.50** | 7.00 |\n";
        assert_eq!(cell.markdown(), expected);
    }
}
