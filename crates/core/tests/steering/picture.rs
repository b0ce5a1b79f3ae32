//! One world as a picture: the share of each region over time, its load against its capacity, what was
//! overloaded, what was lost, what switched.

use std::fmt::Write;

use crate::ledger::Ledger;
use crate::scene::Scene;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 74.0;
const SHARE: f64 = 120.0;
const GAP: f64 = 34.0;
const LOAD: f64 = 90.0;
/// Seconds that one step of the picture stands for.
const STEP: usize = 3;

const STYLE: &str = "
  text { font: 12px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; fill: #4b5563 }
  .title { font-size: 17px; font-weight: 600; fill: #111827 }
  .soft { fill: #6b7280 } .small { font-size: 9px; fill: #6b7280 }
  .ground { fill: #f8fafc; stroke: #e2e8f0 }
  .r0 { fill: #0d9488 } .r1 { fill: #7c8da3 } .r2 { fill: #d9a441 } .r3 { fill: #a78bfa }
  .l0 { stroke: #0d9488 } .l1 { stroke: #7c8da3 } .l2 { stroke: #d9a441 } .l3 { stroke: #a78bfa }
  .line { fill: none; stroke-width: 1.6 }
  .one { stroke: #334155; stroke-width: 1; stroke-dasharray: 3 2 }
  .axis { stroke: #cbd5e1; stroke-width: 1 }
  .bad { fill: #dc2626 }
  @media (prefers-color-scheme: dark) {
    text { fill: #a8b3c2 } .title { fill: #f1f5f9 } .soft { fill: #94a3b8 }
    .ground { fill: #161b22; stroke: #30363d } .axis { stroke: #30363d } .one { stroke: #cbd5e1 }
    .r0 { fill: #14b8a6 } .l0 { stroke: #14b8a6 } .bad { fill: #f87171 }
  }
";

/// The picture, as SVG.
pub(crate) fn draw(scene: &Scene, ledger: &Ledger) -> String {
    let height = TOP + SHARE + GAP + LOAD + 64.0;
    let mut out = String::new();
    let (width, inner) = (WIDTH + LEFT + 40.0, format!("{} steering", scene.name));
    let _ = write!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" aria-label="{inner}"><style>{STYLE}</style><rect class="ground" x="0.5" y="0.5" width="{}" height="{}" rx="10"/>"#,
        width - 1.0,
        height - 1.0
    );
    let _ = write!(
        out,
        r#"<text class="title" x="24" y="32">{}</text><text class="soft" x="24" y="50">{}</text>"#,
        scene.name, scene.about
    );
    legend(&mut out, scene, width);
    shares(&mut out, scene, ledger);
    loads(&mut out, scene, ledger);
    marks(&mut out, scene, ledger);
    times(&mut out, scene, ledger);
    out.push_str("</svg>\n");
    out
}

fn legend(out: &mut String, scene: &Scene, width: f64) {
    let count = scene.regions.len();
    for (at, region) in scene.regions.iter().enumerate() {
        let x = width - 30.0 - 92.0 * (count - at) as f64;
        let _ = write!(
            out,
            r#"<rect class="r{at}" x="{x}" y="22" width="11" height="11" rx="2"/><text x="{}" y="32">{}</text>"#,
            x + 16.0,
            region.name
        );
    }
}

fn x_of(second: usize, ledger: &Ledger) -> f64 {
    let seconds = (ledger.seconds.len() - 1).max(1) as f64;
    LEFT + WIDTH * (second as f64 / seconds).min(1.0)
}

fn steps(ledger: &Ledger) -> impl Iterator<Item = usize> {
    (0..(ledger.seconds.len() - 1) / STEP).map(|step| step * STEP)
}

/// Who got which part of the requests, one region upon the other.
fn shares(out: &mut String, scene: &Scene, ledger: &Ledger) {
    let regions = scene.regions.len();
    let below = |region: usize, at: usize| -> f64 {
        (0..region)
            .map(|one| ledger.share(one, at..at + STEP))
            .sum()
    };
    let y = |part: f64| TOP + SHARE * (1.0 - part.min(1.0));
    for region in 0..regions {
        let mut path = String::new();
        for at in steps(ledger) {
            let (x0, x1) = (x_of(at, ledger), x_of(at + STEP, ledger));
            let top = y(below(region + 1, at));
            let _ = write!(
                path,
                "{}{x0:.1} {top:.1}L{x1:.1} {top:.1}",
                if at == 0 { "M" } else { "L" }
            );
        }
        for at in steps(ledger).collect::<Vec<_>>().into_iter().rev() {
            let (x0, x1) = (x_of(at, ledger), x_of(at + STEP, ledger));
            let bottom = y(below(region, at));
            let _ = write!(path, "L{x1:.1} {bottom:.1}L{x0:.1} {bottom:.1}");
        }
        let _ = write!(out, r#"<path class="r{region}" d="{path}Z"/>"#);
    }
    for (part, label) in [(0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %")] {
        let _ = write!(
            out,
            r#"<text class="soft" x="{}" y="{:.1}" text-anchor="end">{label}</text>"#,
            LEFT - 8.0,
            y(part) + 4.0
        );
    }
    let _ = write!(
        out,
        r#"<text x="24" y="{}">share of requests by region</text>"#,
        TOP - 8.0
    );
}

/// What each region got against its capacity.
fn loads(out: &mut String, scene: &Scene, ledger: &Ledger) {
    let top = TOP + SHARE + GAP;
    let y = |load: f64| top + LOAD * (1.0 - (load / 1.5).min(1.0));
    for (region, spec) in scene.regions.iter().enumerate() {
        let mut path = String::new();
        for at in steps(ledger) {
            let load = ledger.rate(region, at..at + STEP) / spec.capacity_rps;
            let middle = (x_of(at, ledger) + x_of(at + STEP, ledger)) / 2.0;
            let _ = write!(
                path,
                "{}{middle:.1} {:.1}",
                if at == 0 { "M" } else { "L" },
                y(load)
            );
        }
        let _ = write!(out, r#"<path class="line l{region}" d="{path}"/>"#);
    }
    let _ = write!(
        out,
        r#"<path class="one" d="M{LEFT} {0:.1}H{1}"/><text class="soft" x="{2}" y="{3:.1}" text-anchor="end">100 %</text><text x="24" y="{4}">load against capacity</text>"#,
        y(1.0),
        LEFT + WIDTH,
        LEFT - 8.0,
        y(1.0) + 4.0,
        top - 10.0
    );
}

/// Overload, losses and switches, each in its row.
fn marks(out: &mut String, scene: &Scene, ledger: &Ledger) {
    let top = TOP + SHARE + GAP + LOAD + 10.0;
    for (at, second) in ledger.seconds.iter().enumerate() {
        let x = x_of(at, ledger);
        let width = WIDTH / ledger.seconds.len() as f64 + 0.3;
        if second.overloaded.contains(&true) {
            let _ = write!(
                out,
                r#"<rect class="bad" opacity="0.45" x="{x:.1}" y="{top}" width="{width:.1}" height="5"/>"#
            );
        }
        if second.lost > 0 {
            let _ = write!(
                out,
                r#"<rect class="bad" x="{x:.1}" y="{}" width="{width:.1}" height="5"/>"#,
                top + 7.0
            );
        }
    }
    for (row, word) in ["overload", "lost"].iter().enumerate() {
        let y = top + 6.0 + 8.0 * row as f64;
        let _ = write!(
            out,
            r#"<text class="small" x="{}" y="{y}" text-anchor="end">{word}</text>"#,
            LEFT - 6.0
        );
    }
    for (at, ..) in ledger.switches() {
        let x = x_of(at, ledger);
        let _ = write!(
            out,
            r#"<path class="one" d="M{x:.1} {TOP}V{}"/>"#,
            TOP + SHARE
        );
    }
    let _ = write!(
        out,
        r#"<text class="soft" x="24" y="{}">{} switches, {} s of overload, {} of {} requests lost, {} rescued; answers {:.0} ms at the median, {:.0} ms at p99</text>"#,
        top + 44.0,
        ledger.switches().len(),
        ledger.overload(0),
        ledger.lost,
        ledger.requests,
        ledger.rescued,
        ledger.quantile(0.5),
        ledger.quantile(0.99)
    );
    for (turn, (at, event)) in scene.events.iter().enumerate() {
        let x = x_of(at.as_secs() as usize, ledger);
        let bottom = TOP + SHARE + GAP + LOAD;
        let words = event.told(scene);
        let _ = write!(
            out,
            r#"<path class="axis" d="M{x:.1} {}V{bottom}"/><text class="soft" x="{:.1}" y="{}">{words}</text>"#,
            TOP + SHARE,
            x + 3.0,
            TOP + SHARE + 12.0 + 11.0 * (turn % 2) as f64
        );
    }
}

fn times(out: &mut String, scene: &Scene, ledger: &Ledger) {
    let y = TOP + SHARE + GAP + LOAD + 36.0;
    let length = scene.length.as_secs() as usize;
    for quarter in 0..=4 {
        let second = length * quarter / 4;
        let _ = write!(
            out,
            r#"<text class="soft" x="{:.1}" y="{y}" text-anchor="middle">{second} s</text>"#,
            x_of(second, ledger)
        );
    }
}
