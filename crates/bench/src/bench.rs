//! What every dimension shares: who takes part, the upstream, and rounds that are interleaved.
//!
//! For each cell the rounds go through all proxies in turn, each started for its round alone, so
//! that neighbours in time are compared and nobody idles beside the one that is measured. Where a
//! measurement is short and the difference small, all are there and measured by turns of a second
//! ([`Bench::cell_by_turns`]): a machine that is shared changes within seconds. A round that others on
//! the machine disturbed is measured again, or else kept and counted as such.

use tidegate_lab::{Authority, Leaf};

use crate::Options;
use crate::error::BenchError;
use crate::figures::{self, CellReport, Round};
use crate::peer::{self, HOST, Kind, Peer, Process, Shape};
use crate::progress::Progress;
use crate::quiet::Watch;
use crate::report::Report;
use crate::upstream::Upstream;

/// A run of one dimension.
pub(crate) struct Bench<'a> {
    /// What the user asked for.
    pub(crate) options: &'a Options,
    /// Who is installed, in the order of a round.
    pub(crate) peers: Vec<Peer>,
    /// The upstream of all proxies.
    pub(crate) upstream: Upstream,
    /// The number of the round that is measured, from 0; a repeated one keeps its number.
    pub(crate) round: u32,
    /// Who has signed the proxies' certificate.
    pub(crate) authority: Authority,
    leaf: Leaf,
    report: Report,
    progress: Progress,
}

/// What a cell is called and what its figures are.
pub(crate) struct Heading {
    /// Its name; `--only` selects by it.
    pub(crate) cell: String,
    /// What the main figure is, for the table's head: `us/req`. A cost: less is better.
    pub(crate) unit: &'static str,
    /// What the other figures of a round are, in their order.
    pub(crate) also: &'static [&'static str],
}

impl<'a> Bench<'a> {
    /// Looks for everybody, starts the upstream and prints who takes part. `what` says in a few
    /// words what is measured, `steps` how many proxies are started in all.
    ///
    /// # Errors
    /// When the machine cannot measure.
    pub(crate) fn start(
        dimension: &'static str,
        what: &'static str,
        options: &'a Options,
        kinds: &[Kind],
        cells: usize,
    ) -> Result<Self, BenchError> {
        check_machine()?;
        let (peers, skipped) = find(options, kinds);
        let authority = Authority::new("bench")?;
        let steps = cells * peers.len() * options.rounds as usize;
        let report = Report::new(dimension, what, options, &peers, &skipped);
        report.print_head();
        Ok(Self {
            options,
            upstream: Upstream::start()?,
            round: 0,
            leaf: authority.issue(&[HOST])?,
            authority,
            report,
            progress: Progress::new(steps),
            peers,
        })
    }

    /// Starts a proxy, formed as `shape` says.
    ///
    /// # Errors
    /// When it cannot be started; whether it serves shows later.
    pub(crate) fn launch(&self, peer: &Peer, shape: &Shape) -> Result<Process, BenchError> {
        peer.start(shape, self.upstream.addresses(), &self.leaf)
    }

    /// Measures a cell: all rounds of all proxies that `able` names, interleaved; prints its table.
    ///
    /// # Errors
    /// The first thing that makes a figure worthless.
    pub(crate) async fn cell(
        &mut self,
        heading: Heading,
        able: impl Fn(&Peer) -> bool,
        mut measure: impl AsyncFnMut(&Self, &Peer) -> Result<Round, BenchError>,
    ) -> Result<(), BenchError> {
        let (able, mut rounds) = self.able(able);
        let mut disturbed = 0;
        for number in 0..self.options.rounds {
            self.round = number;
            for place in 0..rounds.len() {
                let turn = turn(number, place, able.len());
                let (peer, (_, own)) = (&able[turn], &mut rounds[turn]);
                let step = format!("{}: {}", heading.cell, peer.kind.name());
                self.progress.step(&step);
                let measure = async |bench: &Self| measure(bench, peer).await;
                let (round, quiet) = self.quietly(measure).await?;
                own.push(round);
                disturbed += u32::from(!quiet);
            }
        }
        self.enter(heading, &rounds, disturbed);
        Ok(())
    }

    /// The same of proxies that are all there during a round: `measure` returns the rounds of those that
    /// it is given, in their order.
    ///
    /// # Errors
    /// The first thing that makes a figure worthless.
    pub(crate) async fn cell_by_turns(
        &mut self,
        heading: Heading,
        able: impl Fn(&Peer) -> bool,
        mut measure: impl AsyncFnMut(&Self, &[Peer]) -> Result<Vec<Round>, BenchError>,
    ) -> Result<(), BenchError> {
        let (able, mut rounds) = self.able(able);
        let mut disturbed = 0;
        for number in 0..self.options.rounds {
            self.round = number;
            let turns = (0..able.len()).map(|place| turn(number, place, able.len()));
            let turns: Vec<_> = turns.collect();
            let peers: Vec<_> = turns.iter().map(|turn| able[*turn].clone()).collect();
            for _ in &peers {
                self.progress.step(&format!("{}: by turns", heading.cell));
            }
            let measure = async |bench: &Self| measure(bench, &peers).await;
            let (all, quiet) = self.quietly(measure).await?;
            for (turn, round) in turns.into_iter().zip(all) {
                rounds[turn].1.push(round);
            }
            disturbed += u32::from(!quiet) * able.len() as u32;
        }
        self.enter(heading, &rounds, disturbed);
        Ok(())
    }

    /// Who takes part in a cell, and room for the rounds of each.
    fn able(&self, able: impl Fn(&Peer) -> bool) -> (Vec<Peer>, Vec<(Kind, Vec<Round>)>) {
        let peers = self.peers.iter();
        let able: Vec<_> = peers.filter(|peer| able(peer)).cloned().collect();
        let rounds = able.iter().map(|peer| (peer.kind, Vec::new())).collect();
        (able, rounds)
    }

    /// Prints a cell's table and keeps it.
    fn enter(&mut self, heading: Heading, rounds: &[(Kind, Vec<Round>)], disturbed: u32) {
        self.progress.clear();
        let report = CellReport {
            cell: heading.cell,
            unit: heading.unit.to_owned(),
            also: heading.also.iter().map(ToString::to_string).collect(),
            disturbed,
            rows: figures::rows(rounds),
        };
        report.print();
        self.report.cells.push(report);
    }

    /// Measures until nobody else has used the cores meanwhile, as often as the user allows. Says
    /// whether the round that it returns was quiet.
    async fn quietly<T>(
        &self,
        mut measure: impl AsyncFnMut(&Self) -> Result<T, BenchError>,
    ) -> Result<(T, bool), BenchError> {
        let mut left = self.options.repeats;
        loop {
            let watch = Watch::start()?;
            let round = measure(self).await?;
            let quiet = watch.was_quiet()?;
            if quiet || left == 0 {
                return Ok((round, quiet));
            }
            left -= 1;
        }
    }

    /// Writes what was measured.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn finish(self) -> Result<(), BenchError> {
        self.report.write_to(&self.options.out)
    }
}

/// Whose turn it is at a place of a round, of so many: every round begins with another one, so that no
/// place favours anybody.
fn turn(round: u32, place: usize, of: usize) -> usize {
    (round as usize + place) % of
}

/// The cores of this machine; 0 when the system does not say.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

fn check_machine() -> Result<(), BenchError> {
    if cores() < 2 {
        return Err(BenchError::Cores(cores()));
    }
    let needed = ["taskset", "h2load"];
    let missing = needed
        .into_iter()
        .find(|name| peer::installed(name).is_none());
    missing.map_or(Ok(()), |name| Err(BenchError::Missing(name)))
}

/// Who of `kinds` is asked for and installed, and the names of those who are not installed.
fn find(options: &Options, kinds: &[Kind]) -> (Vec<Peer>, Vec<&'static str>) {
    let (mut found, mut skipped) = (Vec::new(), Vec::new());
    let asked = |kind: &&Kind| options.proxy.is_empty() || options.proxy.contains(kind);
    for kind in kinds.iter().filter(asked) {
        match Peer::find(*kind, options) {
            Some(peer) => found.push(peer),
            None => skipped.push(kind.name()),
        }
    }
    (found, skipped)
}
