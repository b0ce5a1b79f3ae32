//! The dimension `failover`: a region dies and comes back before all proxies at once.
//!
//! In a scene every proxy has regions, links and clients of its own, all alike, and the same fault at
//! the same moment. The load is open: a request that waits delays none of the others. CPU is not
//! measured, so that all share the cores at a rate that needs little of them. Nothing is asserted and
//! nothing left out: what fails is a figure, Tidegate's own included.

mod burden;
mod caught;
mod fault;
mod figures;
mod lane;
mod page;
mod picture;
mod report;
mod scene;
mod sites;
mod warm;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tidegate_lab::Authority;

use crate::Options;
use crate::error::BenchError;
use crate::peer::{HOST, Kind, Peer};
use crate::progress::Progress;
use caught::Catch;
use fault::Fault;
use report::Report;
use scene::Script;

pub(crate) use page::publish;

/// How long everything is well before a fault: before most, and before one that can only be seen by
/// who has learned what is usual.
const CALM: [Duration; 2] = [Duration::from_secs(4), Duration::from_secs(70)];

/// How long the come-back is watched: of some faults, and of the others.
const WATCH: [Duration; 2] = [Duration::from_secs(90), Duration::from_secs(20)];

/// Faults that are also measured with POSTs among the requests, and their share.
const WITH_POSTS: [Fault; 3] = [Fault::Reset, Fault::BlackHole, Fault::HiddenErrors];
const POSTS: f64 = 0.2;

/// How to compare failover.
#[derive(Args)]
pub(crate) struct Failover {
    /// The release binary of Tidegate
    #[arg(long, default_value = "target/dist/tidegate")]
    tidegate: PathBuf,
    /// Only this fault; may be given several times
    #[arg(long, value_enum)]
    fault: Vec<Fault>,
    /// Share of POST in per cent, in every scene; by default every fault without, some with 20
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=90))]
    posts: Option<u8>,
    /// Seconds that the come-back is watched; by default 90 for some faults, 20 for the others
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: Option<u64>,
    /// Seconds that a fault lasts
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    lasts: u64,
    /// Requests a second at each proxy
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(10..=2000))]
    rate: u16,
    /// Regions, two or three
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=3))]
    regions: u8,
    /// Endpoints of each region
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    endpoints: u8,
    /// Only the proxies whose name contains this text
    #[arg(long, default_value = "")]
    only: String,
    /// Warm standby alone: what the first requests that fail over pay
    #[arg(long, conflicts_with = "fault")]
    warm: bool,
    /// Requests in flight alone: what becomes of long waits, downloads and uploads
    #[arg(long, conflicts_with_all = ["fault", "warm"])]
    in_flight: bool,
    /// Where the JSON and the picture go
    #[arg(long, default_value = "bench-results")]
    out: PathBuf,
    /// Where `make bench-install` put Envoy
    #[arg(long, default_value = "target/bench-peers")]
    peers: PathBuf,
}

impl Failover {
    /// Plays all scenes, prints and writes everything.
    ///
    /// # Errors
    /// When something cannot be started, or a proxy does not survive.
    pub(crate) async fn run(&self) -> Result<(), BenchError> {
        let (peers, skipped) = self.find();
        if peers.is_empty() {
            return Err(BenchError::Missing("every proxy that was asked for"));
        }
        let authority = Authority::new("bench")?;
        let mut report = Report::new(&peers, &skipped);
        report.print_head();
        match self.warm || self.in_flight {
            true => report.take_parts_of(&self.out),
            false => self.play(&mut report, &peers, &authority).await?,
        }
        if self.fault.is_empty() && !self.warm {
            let leaf = authority.issue(&[HOST])?;
            let mut progress = Progress::new(1);
            progress.step("in flight");
            report.caught = caught::measure(&peers, &leaf, |what| progress.say(what)).await?;
            progress.clear();
            report.caught.iter().for_each(Catch::print);
        }
        let ours = peers.iter().find(|peer| peer.kind == Kind::Tidegate);
        if let Some(peer) = ours.filter(|_| self.fault.is_empty() && !self.in_flight) {
            let mut progress = Progress::new(1);
            progress.step("warm standby");
            report.warm = warm::measure(peer, &authority, |what| progress.say(what)).await?;
            progress.clear();
            report.print_warm();
        }
        report.write_to(&self.out)
    }

    async fn play(
        &self,
        report: &mut Report,
        peers: &[Peer],
        authority: &Authority,
    ) -> Result<(), BenchError> {
        let leaf = authority.issue(&[HOST])?;
        let scripts = self.scripts();
        let mut progress = Progress::new(scripts.len());
        for script in scripts {
            progress.step(script.fault.name());
            let tell = |what: &str| progress.say(&format!("{}: {what}", script.fault.name()));
            let scene = scene::play(&script, peers, &leaf, tell).await?;
            progress.clear();
            scene.print();
            report.scenes.push(scene);
        }
        Ok(())
    }

    /// Who is installed, and the names of those who are not.
    fn find(&self) -> (Vec<Peer>, Vec<&'static str>) {
        let options = Options {
            tidegate: self.tidegate.clone(),
            rounds: 1,
            percent: 100,
            repeats: 0,
            proxy: Vec::new(),
            only: String::new(),
            out: self.out.clone(),
            peers: self.peers.clone(),
        };
        let mut skipped = Vec::new();
        let chosen = Kind::PROXIES
            .into_iter()
            .filter(|kind| kind.name().contains(&self.only));
        let found = chosen.filter_map(|kind| {
            let peer = Peer::find(kind, &options);
            if peer.is_none() {
                skipped.push(kind.name());
            }
            peer
        });
        (found.collect(), skipped)
    }

    fn scripts(&self) -> Vec<Script> {
        let all = || match self.fault.is_empty() {
            true => Fault::ALL.to_vec(),
            false => self.fault.clone(),
        };
        let plain = f64::from(self.posts.unwrap_or(0)) / 100.0;
        let mut scripts: Vec<_> = all()
            .into_iter()
            .map(|fault| self.script(fault, plain))
            .collect();
        if self.posts.is_none() {
            let with_posts = all().into_iter().filter(|fault| WITH_POSTS.contains(fault));
            scripts.extend(with_posts.map(|fault| Script {
                watch: self.seconds.map_or(WATCH[1], Duration::from_secs),
                ..self.script(fault, POSTS)
            }));
        }
        scripts
    }

    fn script(&self, fault: Fault, posts: f64) -> Script {
        let watch = WATCH[usize::from(!fault.is_watched_long())];
        Script {
            fault,
            rate: f64::from(self.rate),
            posts,
            regions: usize::from(self.regions),
            endpoints: usize::from(self.endpoints),
            calm: CALM[usize::from(fault == Fault::Slow)],
            lasts: Duration::from_secs(self.lasts),
            watch: self.seconds.map_or(watch, Duration::from_secs),
        }
    }
}
