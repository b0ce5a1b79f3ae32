//! Tables for people: columns as wide as their widest cell, two spaces between them.

/// How a cell looks where there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    /// As it should be.
    Good,
    /// Something that somebody has done, or that passes.
    Odd,
    /// Something that is wrong.
    Bad,
}

/// A table under construction.
pub(crate) struct Table<const COLUMNS: usize> {
    rows: Vec<[(String, Paint); COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// A table with this head and no rows.
    pub(crate) fn new(head: [&str; COLUMNS]) -> Self {
        let head = head.map(|name| (name.to_owned(), Paint::Plain));
        Self { rows: vec![head] }
    }

    pub(crate) fn row(&mut self, cells: [(String, Paint); COLUMNS]) {
        self.rows.push(cells);
    }

    /// The lines, without spaces at their ends.
    pub(crate) fn render(&self, colour: bool) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].0.chars().count());
            cells.max().unwrap_or_default()
        };
        let widths: Vec<_> = (0..COLUMNS).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let start = text.len();
            for ((cell, paint), width) in row.iter().zip(&widths) {
                let fill = " ".repeat(width - cell.chars().count() + 2);
                text += &painted(cell, *paint, colour);
                text += &fill;
            }
            let kept = start + text[start..].trim_end().len();
            text.truncate(kept);
            text.push('\n');
        }
        text
    }
}

fn painted(cell: &str, paint: Paint, colour: bool) -> String {
    let code = match paint {
        _ if !colour => return cell.to_owned(),
        Paint::Plain => return cell.to_owned(),
        Paint::Good => 32,
        Paint::Odd => 33,
        Paint::Bad => 31,
    };
    format!("\x1b[{code}m{cell}\x1b[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let mut table = Table::new(["A", "LONG"]);
        table.row([
            ("région".to_owned(), Paint::Bad),
            ("x".to_owned(), Paint::Plain),
        ]);
        assert_eq!(table.render(false), "A       LONG\nrégion  x\n");
        assert_eq!(
            table.render(true),
            "A       LONG\n\x1b[31mrégion\x1b[0m  x\n"
        );
    }
}
