//! What happens, while it happens: a block that refreshes in a terminal, a line a second elsewhere.

use std::collections::VecDeque;
use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::time::Duration;

use tidegate_core::Health;

use super::figures::Latency;
use super::script::Scene;
use super::stage::{Seen, Stage};
use super::traffic::{Books, Traffic};
use crate::exit::Failure;
use crate::terminal;

/// Cells of a region's line: as many frames are remembered.
const CELLS: usize = 48;

/// The history and the pen.
pub(super) struct Timeline {
    terminal: bool,
    colour: bool,
    last: Option<Books>,
    /// Shares of the regions, 0 to 1, newest last.
    shares: VecDeque<Vec<f64>>,
    /// Lines of the block on the screen, to be drawn over.
    drawn: usize,
}

/// What one frame shows beside the regions.
struct Frame {
    at: Duration,
    total: Duration,
    requests: u64,
    rescued: u64,
    lost: u64,
    wrong: u64,
    latency: Latency,
}

impl Timeline {
    /// Introduces the show.
    pub(super) fn start(introduction: &str) -> Result<Self, Failure> {
        let out = io::stdout();
        terminal::print(&format!("{introduction}\n"))?;
        Ok(Self {
            terminal: out.is_terminal() && std::env::var_os("TERM").is_some_and(|t| t != "dumb"),
            colour: terminal::colour(&out),
            last: None,
            shares: VecDeque::new(),
            drawn: 0,
        })
    }

    /// Time between two frames.
    pub(super) fn interval(&self) -> Duration {
        match self.terminal {
            true => Duration::from_millis(250),
            false => Duration::from_secs(1),
        }
    }

    /// Announces a scene, above the block.
    pub(super) fn scene(&mut self, scene: &Scene, at: Duration) -> Result<(), Failure> {
        let told = self.painted("1", scene.told);
        let block = self.erased();
        terminal::print(&format!("{block}{}  {told}\n", clock(at)))
    }

    /// Shows how things are.
    pub(super) fn frame(
        &mut self,
        stage: &Stage,
        traffic: &Traffic,
        total: Duration,
    ) -> Result<(), Failure> {
        let books = traffic.books();
        let part = self.last.as_ref().map(|last| books.since(last));
        let part = part.as_ref().unwrap_or(&books);
        let regions = stage.seen();
        let frame = Frame {
            at: traffic.elapsed(),
            total,
            requests: books.ended(),
            rescued: stage.counted("tidegate_requests_rescued_total"),
            lost: books.lost(),
            wrong: books.sum(|book| book.wrong_bodies()),
            latency: Latency::of(part),
        };
        self.remember(&regions, part);
        self.last = Some(books);
        match self.terminal {
            true => self.draw(&frame, &regions),
            false => terminal::print(&self.line(&frame, &regions)),
        }
    }

    /// Leaves the last block where it is.
    pub(super) fn end(&mut self) -> Result<(), Failure> {
        self.drawn = 0;
        terminal::print("\n")
    }

    fn remember(&mut self, regions: &[Seen], part: &Books) {
        let answered = regions
            .iter()
            .map(|region| part.of_region(region.name) as f64);
        let counts: Vec<f64> = answered.collect();
        let all = counts.iter().sum::<f64>().max(1.0);
        self.shares
            .push_back(counts.iter().map(|count| count / all).collect());
        if self.shares.len() > CELLS {
            self.shares.pop_front();
        }
    }

    fn line(&self, frame: &Frame, regions: &[Seen]) -> String {
        let shares = regions.iter().enumerate().map(|(at, region)| {
            let share = self.share(at) * 100.0;
            format!("{} {share:.0}%{}", region.name, remark(region))
        });
        let shares: Vec<String> = shares.collect();
        format!(
            "{}  {}  {}\n",
            clock(frame.at),
            shares.join(" | "),
            frame.figures()
        )
    }

    fn share(&self, region: usize) -> f64 {
        self.shares.back().map_or(0.0, |shares| shares[region])
    }

    fn draw(&mut self, frame: &Frame, regions: &[Seen]) -> Result<(), Failure> {
        let mut block = self.erased();
        for (at, region) in regions.iter().enumerate() {
            let _infallible = writeln!(block, "{}", self.region(at, region));
        }
        let (at, total) = (clock(frame.at), clock(frame.total));
        let _infallible = writeln!(block, "  {at} of {total}  {}", frame.figures());
        self.drawn = regions.len() + 1;
        terminal::print(&block)
    }

    fn region(&self, at: usize, region: &Seen) -> String {
        let cells: String = self.shares.iter().map(|shares| cell(shares[at])).collect();
        let code = match region.health.usable() && !region.draining {
            true => "32",
            false => "31",
        };
        format!(
            "  {:9}{:>4} ms  {}{} {:>3.0}%{}",
            region.name,
            region.rtt.as_millis(),
            self.painted(code, &cells),
            " ".repeat(CELLS - self.shares.len()),
            self.share(at) * 100.0,
            remark(region),
        )
    }

    /// What takes the block off the screen.
    fn erased(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        }
    }

    fn painted(&self, code: &str, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

impl Frame {
    fn figures(&self) -> String {
        format!(
            "{} requests, {} rescued, {} lost, {} wrong, p50 {:.0} ms, p99 {:.0} ms",
            self.requests, self.rescued, self.lost, self.wrong, self.latency.p50, self.latency.p99,
        )
    }
}

/// What is worth a word beside a region.
fn remark(region: &Seen) -> String {
    match (region.draining, region.health) {
        (true, _) => " draining".to_owned(),
        (false, Health::Healthy) => String::new(),
        (false, health) => format!(" {health}"),
    }
}

/// A share from 0 to 1 as a bar of one cell.
fn cell(share: f64) -> char {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let height = (share.clamp(0.0, 1.0) * 8.0).ceil() as usize;
    BARS[height.min(8)]
}

fn clock(at: Duration) -> String {
    let seconds = at.as_secs();
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_bars() {
        let check = |share: f64, bar: char| assert_eq!(cell(share), bar, "{share}");
        check(0.0, ' ');
        check(0.01, '▁');
        check(0.5, '▄');
        check(1.0, '█');
        check(f64::NAN, ' ');
        check(7.0, '█');
    }

    #[test]
    fn time_is_told_in_minutes() {
        assert_eq!(clock(Duration::from_millis(61_900)), "01:01");
    }
}
