//! The picture: a small chart a cell, a bar a proxy, a line where nginx is.
//!
//! Bars are ratios to nginx, all on one scale, so that cells can be compared by eye; beside them the
//! ratio and the figure itself. A cell without nginx has a scale of its own, its longest bar is the
//! dearest proxy. Text is ours alone and needs no escaping. Colours follow the reader's light or dark
//! setting; the ground is the picture's own.

use std::fmt::Write;

use super::table::short;
use crate::figures::{CellReport, Row};

const WIDTH: usize = 880;
const MARGIN: usize = 24;
/// Above the charts: title and legend.
const HEAD: usize = 74;
/// Of a chart: its name, its bars, the space below.
const NAME: usize = 26;
const BAR: usize = 13;
const STEP: usize = 18;
/// From a bar's top to the line its text stands on.
const BASE: usize = 11;
const GAP: usize = 20;
/// Within a chart: names of proxies left of the bars, values right of them.
const LABELS: usize = 116;
const VALUES: usize = 96;
/// Of the figure itself, right of the ratio.
const FIGURE: usize = 52;
/// Between the columns.
const GUTTER: usize = 36;

/// Ratios beyond this have a cut bar; the number beside it still tells.
const RATIO_MAX: f64 = 2.5;

/// A picture reaches at least this far beyond nginx, so that its line is not the edge.
const RATIO_MIN: f64 = 1.25;

const STYLE: &str = "
  text { font: 12px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; fill: #4b5563 }
  .title { font-size: 17px; font-weight: 600; fill: #111827 }
  .name { font-size: 13px; font-weight: 600; fill: #111827 }
  .own { font-weight: 600; fill: #0f766e }
  .soft { fill: #6b7280 }
  .ground { fill: #f8fafc; stroke: #e2e8f0 }
  .other { fill: #b6c2d1 } .nginx { fill: #7c8da3 } .ours { fill: #0d9488 } .logging { fill: #7cc8bf }
  .one { stroke: #334155; stroke-width: 1; stroke-dasharray: 3 2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #a8b3c2 } .title, .name { fill: #f1f5f9 } .own { fill: #5eead4 }
    .soft { fill: #94a3b8 } .ground { fill: #161b22; stroke: #30363d }
    .other { fill: #4a5768 } .nginx { fill: #7486a0 } .ours { fill: #14b8a6 } .logging { fill: #2b6f69 }
    .one { stroke: #cbd5e1 }
  }
";

/// All cells as one SVG document. `what` says what is compared.
pub(super) fn svg(what: &str, cells: &[CellReport]) -> String {
    let columns = if cells.len() > 3 { 2 } else { 1 };
    let width = (WIDTH - 2 * MARGIN - (columns - 1) * GUTTER) / columns;
    let scale = scale(cells);
    let mut charts = String::new();
    let mut y = HEAD;
    for row in cells.chunks(columns) {
        for (column, cell) in row.iter().enumerate() {
            charts += &chart(cell, scale, [MARGIN + column * (width + GUTTER), y], width);
        }
        y += row.iter().map(height).max().unwrap_or(0);
    }
    let height = y + MARGIN - GAP;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{what}\">\n\
         <style>{STYLE}</style>\n\
         <rect class=\"ground\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"10\"/>\n\
         <text class=\"title\" x=\"{MARGIN}\" y=\"32\">{what}</text>\n{}{charts}</svg>\n",
        WIDTH - 1,
        height - 1,
        legend()
    )
}

/// The ratio that fills the room of the bars.
fn scale(cells: &[CellReport]) -> f64 {
    let ratios = cells.iter().flat_map(|cell| &cell.rows);
    let ratios = ratios.filter_map(|row| row.to_nginx);
    ratios.fold(RATIO_MIN, f64::max).min(RATIO_MAX)
}

fn legend() -> String {
    let mut legend = String::new();
    let mut x = MARGIN;
    let marks = [
        ("ours", "Tidegate", 84),
        ("nginx", "nginx", 68),
        ("other", "others", 70),
    ];
    for (class, name, width) in marks {
        legend += &format!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"46\" width=\"11\" height=\"11\" rx=\"2\"/>\
             <text x=\"{}\" y=\"56\">{name}</text>\n",
            x + 16
        );
        x += width;
    }
    legend += &format!(
        "<path class=\"one\" d=\"M{x}.5 45v13\"/><text x=\"{}\" y=\"56\">nginx = 1; a shorter bar is \
         better</text>\n",
        x + 10
    );
    legend
}

fn height(cell: &CellReport) -> usize {
    NAME + cell.rows.len() * STEP + GAP
}

fn chart(cell: &CellReport, scale: f64, [x, y]: [usize; 2], width: usize) -> String {
    let (bars, room) = (x + LABELS, width - LABELS - VALUES);
    let unit = unit(cell);
    let mut chart = format!(
        "<text class=\"name\" x=\"{x}\" y=\"{}\">{} <tspan class=\"soft\" font-weight=\"400\">\
         {}</tspan></text>\n",
        y + 14,
        cell.cell,
        cell.unit
    );
    for (n, row) in cell.rows.iter().enumerate() {
        let top = y + NAME + n * STEP;
        let length = length(row, scale, unit, room);
        chart += &bar(row, [x, top], length);
        chart += &value(row, x + width, top);
    }
    if cell.rows.iter().any(|row| row.to_nginx.is_some()) {
        let one = bars + (room as f64 / scale) as usize;
        let (top, tall) = (y + NAME - 3, cell.rows.len() * STEP + 1);
        let _ = writeln!(chart, "<path class=\"one\" d=\"M{one}.5 {top}v{tall}\"/>");
    }
    chart
}

/// The value that fills a chart without ratios; nothing when there are ratios.
fn unit(cell: &CellReport) -> Option<f64> {
    let without = cell.rows.iter().all(|row| row.to_nginx.is_none());
    let values = cell.rows.iter().map(|row| row.value);
    without.then(|| values.fold(f64::MIN_POSITIVE, f64::max))
}

/// Pixels of a bar in `room`; 0 where there is nothing to compare with.
fn length(row: &Row, scale: f64, unit: Option<f64>, room: usize) -> usize {
    let share = match (row.to_nginx, unit) {
        (Some(ratio), _) => ratio / scale,
        (None, Some(dearest)) => row.value / dearest,
        (None, None) => 0.0,
    };
    (share.clamp(0.0, 1.0) * room as f64).round() as usize
}

fn bar(row: &Row, [x, y]: [usize; 2], length: usize) -> String {
    let class = match row.peer.as_str() {
        "Tidegate" => "ours",
        "nginx" => "nginx",
        name if name.starts_with("Tidegate") => "logging",
        _ => "other",
    };
    let (peer, base, left) = (&row.peer, y + BASE, x + LABELS);
    format!(
        "<text{} x=\"{x}\" y=\"{base}\">{peer}</text>\
         <rect class=\"{class}\" x=\"{left}\" y=\"{y}\" width=\"{length}\" height=\"{BAR}\" rx=\"2\"/>",
        emphasis(row)
    )
}

/// The ratio, if there is one, and the figure, flush right at `right`.
fn value(row: &Row, right: usize, y: usize) -> String {
    let (base, left) = (y + BASE, right - FIGURE);
    let number = |x, class: &str, text: String| {
        format!("<text{class} x=\"{x}\" y=\"{base}\" text-anchor=\"end\">{text}</text>")
    };
    let figure = short(row.value);
    match row.to_nginx {
        Some(ratio) => {
            let ratio = number(left, emphasis(row), format!("{ratio:.2}"));
            ratio + &number(right, " class=\"soft\"", figure) + "\n"
        }
        None => number(right, emphasis(row), figure) + "\n",
    }
}

/// Ours is what the reader looks for.
fn emphasis(row: &Row) -> &'static str {
    match row.peer.as_str() {
        "Tidegate" => " class=\"own\"",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(peer: &str, value: f64, to_nginx: Option<f64>) -> Row {
        Row {
            peer: peer.to_owned(),
            value,
            to_nginx,
            also: Vec::new(),
            rounds: Vec::new(),
        }
    }

    fn cell(rows: Vec<Row>) -> CellReport {
        CellReport {
            cell: "1 KB".to_owned(),
            unit: "us/req".to_owned(),
            also: Vec::new(),
            disturbed: 0,
            rows,
        }
    }

    #[test]
    fn a_ratio_has_its_length_within_the_room() {
        let table = [
            (Some(1.25), None, 50),
            (Some(90.0), None, 100),
            (None, None, 0),
            (None, Some(20.0), 25),
        ];
        for (ratio, unit, expected) in table {
            assert_eq!(length(&row("Envoy", 5.0, ratio), 2.5, unit, 100), expected);
        }
    }

    #[test]
    fn the_scale_holds_all_bars_but_absurd_ones() {
        let of = |ratio| scale(&[cell(vec![row("Envoy", 5.0, ratio)])]);
        for (ratio, expected) in [
            (None, 1.25),
            (Some(0.5), 1.25),
            (Some(2.0), 2.0),
            (Some(9.0), 2.5),
        ] {
            assert!((of(ratio) - expected).abs() < 1e-9, "{ratio:?}");
        }
    }

    #[test]
    fn the_line_is_where_nginx_is() {
        let with = cell(vec![
            row("nginx", 5.0, Some(1.0)),
            row("Tidegate", 4.0, Some(0.8)),
        ]);
        let text = svg("CPU", &[with]);
        assert_eq!(text.matches("class=\"ours\"").count(), 2);
        assert_eq!(text.matches("class=\"one\"").count(), 2);
        assert!(text.contains(">0.80<") && text.contains(">4.00<"));
        let without = cell(vec![row("Envoy", 5.0, None)]);
        assert_eq!(svg("CPU", &[without]).matches("class=\"one\"").count(), 1);
    }
}
