//! The picture: a panel a scene, a lane a proxy, time to the right.
//!
//! In each lane bars stand for requests that failed (red) and were late (amber), each in the half
//! second in which it ended, and a line for the near region's share of the answers. The fault is
//! shaded. Bars are of one scale in a panel, so that proxies can be compared by eye. Text is ours
//! alone and needs no escaping; colours follow the reader's light or dark setting.

use std::fmt::Write;

use super::figures::{self, LATE_MS};
use super::scene::{LaneReport, Scene};

const WIDTH: usize = 980;
const MARGIN: usize = 24;
/// Above the panels: title and legend.
const HEAD: usize = 74;
const COLUMNS: usize = 2;
const GUTTER: usize = 32;
/// Of a panel: its name, its lanes, the space below.
const NAME: usize = 24;
const LANE: usize = 38;
const STEP: usize = 46;
const GAP: usize = 22;
/// Names of proxies left of the lanes.
const LABELS: usize = 66;
/// One bar, in milliseconds.
const BIN_MS: u64 = 500;

const STYLE: &str = "
  text { font: 12px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; fill: #4b5563 }
  .title { font-size: 17px; font-weight: 600; fill: #111827 }
  .name { font-size: 13px; font-weight: 600; fill: #111827 }
  .own { font-weight: 600; fill: #0f766e } .soft { fill: #6b7280 }
  .ground { fill: #f8fafc; stroke: #e2e8f0 } .lane { fill: #eef2f7 } .fault { fill: #fde2e2 }
  .error { fill: #dc2626 } .late { fill: #f59e0b }
  .share { fill: none; stroke: #0d9488; stroke-width: 1.5; stroke-linejoin: round }
  @media (prefers-color-scheme: dark) {
    text { fill: #a8b3c2 } .title, .name { fill: #f1f5f9 } .own { fill: #5eead4 }
    .soft { fill: #94a3b8 } .ground { fill: #161b22; stroke: #30363d } .lane { fill: #1f2731 }
    .fault { fill: #46262a } .error { fill: #f87171 } .late { fill: #fbbf24 }
    .share { stroke: #2dd4bf }
  }
";

/// All scenes as one SVG document.
pub(super) fn svg(scenes: &[Scene]) -> String {
    let width = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GUTTER) / COLUMNS;
    let (mut panels, mut y) = (String::new(), HEAD);
    for row in scenes.chunks(COLUMNS) {
        for (column, scene) in row.iter().enumerate() {
            panels += &panel(scene, [MARGIN + column * (width + GUTTER), y], width);
        }
        let lanes = row.iter().map(|scene| scene.lanes.len()).max().unwrap_or(0);
        y += NAME + lanes * STEP + GAP;
    }
    let (title, height) = ("A region dies and comes back", y + MARGIN - GAP);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\n\
         <style>{STYLE}</style>\n\
         <rect class=\"ground\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"10\"/>\n\
         <text class=\"title\" x=\"{MARGIN}\" y=\"32\">{title}</text>\n{}{panels}</svg>\n",
        WIDTH - 1,
        height - 1,
        legend()
    )
}

fn legend() -> String {
    let marks = [
        ("error", "failed requests", 124),
        ("late", "later than 0.5 s", 128),
        ("fault", "fault of the near region", 168),
    ];
    let (mut legend, mut x) = (String::new(), MARGIN);
    for (class, name, width) in marks {
        let _ = writeln!(
            legend,
            "<rect class=\"{class}\" x=\"{x}\" y=\"46\" width=\"11\" height=\"11\" rx=\"2\"/>\
             <text x=\"{}\" y=\"56\">{name}</text>",
            x + 16
        );
        x += width;
    }
    let _ = writeln!(
        legend,
        "<path class=\"share\" d=\"M{x} 51h16\"/><text x=\"{}\" y=\"56\">share of the near region, \
         0 to 100 %; bars in half seconds, one scale a panel</text>",
        x + 22
    );
    legend
}

fn panel(scene: &Scene, [x, y]: [usize; 2], width: usize) -> String {
    let most = scene
        .lanes
        .iter()
        .flat_map(bars)
        .map(|(_, error, late)| error + late);
    let most = most.max().unwrap_or(0).max(1);
    let mut panel = format!(
        "<text class=\"name\" x=\"{x}\" y=\"{}\">{} <tspan class=\"soft\" font-weight=\"400\">\
         {} s, then {} s; full bar {most}</tspan></text>\n",
        y + 14,
        scene.name(),
        scene.lasts_s,
        scene.watch_s
    );
    for (n, lane) in scene.lanes.iter().enumerate() {
        let class = if lane.peer == "Tidegate" {
            "own"
        } else {
            "soft"
        };
        let top = y + NAME + n * STEP;
        let _ = writeln!(
            panel,
            "<text class=\"{class}\" x=\"{x}\" y=\"{}\">{}</text>",
            top + LANE / 2 + 4,
            lane.peer
        );
        let scale = Scale {
            left: (x + LABELS) as f64,
            top: top as f64,
            width: (width - LABELS) as f64,
            end_ms: lane.times.end_ms.max(1) as f64,
        };
        panel += &scale.lane(lane, most);
    }
    panel
}

/// Failed and late requests by the half second in which they ended; only where there are any.
fn bars(lane: &LaneReport) -> Vec<(u64, u64, u64)> {
    let mut bars = std::collections::BTreeMap::<u64, (u64, u64)>::new();
    for mishap in &lane.mishaps {
        let (error, late) = bars.entry(mishap.ended_ms / BIN_MS).or_default();
        match &mishap.error {
            Some(_) => *error += 1,
            None => *late += u64::from(mishap.took_ms > LATE_MS),
        }
    }
    bars.into_iter()
        .map(|(bin, (error, late))| (bin, error, late))
        .collect()
}

/// Where things of one lane are.
struct Scale {
    left: f64,
    top: f64,
    width: f64,
    end_ms: f64,
}

impl Scale {
    /// Where a moment is; what ended after the watch is at its end.
    fn x(&self, ms: u64) -> f64 {
        self.left + self.width * (ms as f64 / self.end_ms).min(1.0)
    }

    /// Where a share from 0 to 1 is.
    fn y(&self, share: f64) -> f64 {
        self.top + LANE as f64 * (1.0 - share.clamp(0.0, 1.0))
    }

    fn rect(&self, class: &str, from_ms: u64, to_ms: u64, [low, high]: [f64; 2]) -> String {
        let (x, y) = (self.x(from_ms), self.y(high));
        let (width, height) = (self.x(to_ms) - x, self.y(low) - y);
        format!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
             height=\"{height:.1}\"/>"
        )
    }

    fn lane(&self, lane: &LaneReport, most: u64) -> String {
        let times = lane.times;
        let mut drawn = self.rect("lane", 0, times.end_ms, [0.0, 1.0]);
        drawn += &self.rect("fault", times.fault_ms, times.heal_ms, [0.0, 1.0]);
        for (bin, error, late) in bars(lane) {
            let (from, to) = (bin * BIN_MS, (bin + 1) * BIN_MS);
            let (error, late) = (error as f64 / most as f64, late as f64 / most as f64);
            if error > 0.0 {
                drawn += &self.rect("error", from, to, [0.0, error]);
            }
            if late > 0.0 {
                drawn += &self.rect("late", from, to, [error, error + late]);
            }
        }
        drawn + &self.share(lane) + "\n"
    }

    /// The line of the near region's share, by seconds that overlap by half.
    fn share(&self, lane: &LaneReport) -> String {
        let points = (2..=lane.times.end_ms / BIN_MS).map(|bin| {
            let at = bin * BIN_MS;
            let share = figures::share(&lane.samples, at - 2 * BIN_MS, at);
            format!("{:.1},{:.1}", self.x(at - BIN_MS), self.y(share))
        });
        let points: Vec<_> = points.collect();
        format!(
            "<polyline class=\"share\" points=\"{}\"/>",
            points.join(" ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::scene;
    use super::*;

    #[test]
    fn every_failure_is_in_a_bar() {
        let text = svg(&[scene()]);
        assert_eq!(text.matches("class=\"error\"").count(), 2, "legend and bar");
        assert_eq!(text.matches("class=\"late\"").count(), 1, "legend alone");
        assert_eq!(text.matches("<polyline").count(), 1);
        assert!(text.contains(">black hole, 20 % POST "));
    }

    #[test]
    fn what_ended_after_the_watch_is_drawn_at_its_end() {
        let scale = Scale {
            left: 10.0,
            top: 0.0,
            width: 100.0,
            end_ms: 1_000.0,
        };
        assert!((scale.x(5_000) - 110.0).abs() < 1e-9);
        let mut scene = scene();
        scene.lanes[0].mishaps[0].ended_ms = 4_200;
        assert_eq!(bars(&scene.lanes[0]), [(8, 1, 0)]);
    }
}
