//! The picture: one group of bars a cell, each bar a proxy's figure as a ratio to nginx's.
//!
//! A proxy without a ratio has no bar. Text is ours alone, so nothing needs to be escaped.

use crate::figures::CellReport;

const BAR_HEIGHT: usize = 14;

const CELL_HEAD: usize = 26;

const LEFT: usize = 150;

const WIDTH: usize = 720;

/// Pixels of nginx's bar.
const UNIT: f64 = 200.0;

/// Ratios beyond this leave the picture; the number beside the bar still tells.
const RATIO_MAX: f64 = 2.4;

/// All cells as one SVG document.
pub(super) fn svg(what: &str, cells: &[CellReport]) -> String {
    let mut body = String::new();
    let mut y = 10;
    for cell in cells {
        let name = &cell.cell;
        body += &format!(
            "<text x=\"10\" y=\"{}\" font-weight=\"bold\">{name}</text>\n",
            y + 14
        );
        y += CELL_HEAD;
        for row in &cell.rows {
            let Some(ratio) = row.to_nginx else { continue };
            body += &bar(row.peer, ratio, y);
            y += BAR_HEIGHT;
        }
    }
    let height = y + 10;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"12\" fill=\"gray\">{what}, nginx = 1</text>\n\
         {body}</svg>\n"
    )
}

fn bar(peer: &str, ratio: f64, y: usize) -> String {
    let colour = if peer.starts_with("Tidegate") {
        "teal"
    } else {
        "silver"
    };
    let width = ratio.min(RATIO_MAX) * UNIT;
    let (height, text) = (BAR_HEIGHT - 3, y + 9);
    let number = LEFT as f64 + width + 5.0;
    format!(
        "<text x=\"20\" y=\"{text}\">{peer}</text>\
         <rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.0}\" height=\"{height}\" fill=\"{colour}\"/>\
         <text x=\"{number:.0}\" y=\"{text}\">{ratio:.2}</text>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Row;

    fn row(to_nginx: Option<f64>) -> Row {
        Row {
            peer: "Tidegate",
            value: 1.0,
            to_nginx,
            also: Vec::new(),
            rounds: Vec::new(),
        }
    }

    #[test]
    fn a_bar_for_each_ratio_within_the_picture() {
        let rows = vec![row(Some(0.5)), row(Some(90.0)), row(None)];
        let cell = CellReport {
            cell: "1 KB".to_owned(),
            unit: "us/req",
            also: &[],
            rows,
        };
        let svg = svg("CPU", &[cell]);
        assert_eq!(svg.matches("fill=\"teal\"").count(), 2);
        assert!(svg.contains("width=\"100\"") && svg.contains("width=\"480\""));
        assert!(svg.contains(">0.50<") && svg.contains(">90.00<"));
    }
}
