//! The proxies under test: found or skipped by name, started for one round, gone when it is over.
//!
//! Each has its template in a file of its own. All keep connections alive without limit on both
//! sides, and write no access log unless their name says so.

pub(crate) mod copy;
mod envoy;
pub(crate) mod failover;
mod haproxy;
mod nginx;
mod process;
mod site;
mod tidegate;

use std::ffi::{OsStr, OsString};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use tidegate_lab::Leaf;

use crate::Options;
use crate::cell::Wire;
use crate::error::BenchError;
use crate::upstream::Addresses;

pub(crate) use process::{Process, Staged};
use site::Site;

/// The name that clients ask for.
pub(crate) const HOST: &str = "shop.example.com";

/// A proxy, by construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// A raw TCP copy: the least that a second process costs.
    Copy,
    /// nginx, to which the others are compared.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// Envoy.
    Envoy,
    /// Tidegate as users run it, without an access log.
    Tidegate,
    /// The same with an access log.
    TidegateLogged,
}

impl Kind {
    /// All, in the order of a round.
    pub(crate) const ALL: [Self; 6] = [
        Self::Copy,
        Self::Nginx,
        Self::Haproxy,
        Self::Envoy,
        Self::Tidegate,
        Self::TidegateLogged,
    ];

    /// For tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Copy => "raw copy",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Envoy => "Envoy",
            Self::Tidegate => "Tidegate",
            Self::TidegateLogged => "Tidegate, logging",
        }
    }

    fn program(self, options: &Options) -> Option<PathBuf> {
        match self {
            Self::Copy => std::env::current_exe().ok(),
            Self::Nginx => installed("nginx"),
            Self::Haproxy => installed("haproxy"),
            Self::Envoy => installed("envoy").or_else(|| envoy::packaged(&options.peers)),
            Self::Tidegate | Self::TidegateLogged => existing(&options.tidegate),
        }
    }

    /// Tidegate and those it is compared with, without the logging variant and the copy.
    pub(crate) const PROXIES: [Self; 4] = [Self::Nginx, Self::Haproxy, Self::Envoy, Self::Tidegate];

    /// What was set for it, in a few words.
    pub(crate) fn knobs(self) -> &'static str {
        match self {
            Self::Copy => "moves bytes, reads nothing into them",
            Self::Nginx => nginx::KNOBS,
            Self::Haproxy => haproxy::KNOBS,
            Self::Envoy => envoy::KNOBS,
            Self::Tidegate | Self::TidegateLogged => tidegate::KNOBS,
        }
    }

    /// Writes the files of its configuration, or writes them anew.
    fn write(self, site: &Site) -> Result<(), BenchError> {
        match self {
            Self::Copy => Ok(()),
            Self::Nginx => nginx::write(site),
            Self::Haproxy => haproxy::write(site),
            Self::Envoy => envoy::write(site),
            Self::Tidegate => tidegate::write(site, false),
            Self::TidegateLogged => tidegate::write(site, true),
        }
    }

    fn arguments(self, site: &Site) -> Vec<OsString> {
        match self {
            Self::Copy => copy::arguments(site),
            Self::Nginx => nginx::arguments(site),
            Self::Haproxy => haproxy::arguments(site),
            Self::Envoy => envoy::arguments(site),
            Self::Tidegate | Self::TidegateLogged => tidegate::arguments(site),
        }
    }

    /// What tells it to read its files again; nothing where the new file itself does.
    fn reload_signal(self) -> Option<Signal> {
        match self {
            Self::Copy | Self::Envoy => None,
            Self::Nginx | Self::Tidegate | Self::TidegateLogged => Some(Signal::HUP),
            Self::Haproxy => Some(Signal::USR2),
        }
    }
}

/// How a proxy is formed for a round. Not every proxy can take every form; what it cannot is said
/// where the form is used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Worker threads, from core 0 upwards.
    pub(crate) threads: u32,
    /// Routes: number `n`, from 0, takes `/r/{n}/...`. Four more take the plain load; everything
    /// else is answered 404, so that a route that is new or gone shows.
    pub(crate) routes: u32,
    /// Endpoints of the preferred region, all the same upstream.
    pub(crate) endpoints: u32,
    /// Whether each endpoint has an active check, every two seconds.
    pub(crate) checks: bool,
    /// Whether the upstream is spoken to in h2c.
    pub(crate) h2c: bool,
}

impl Default for Shape {
    /// As users run it, on one core.
    fn default() -> Self {
        Self {
            threads: 1,
            routes: 100,
            endpoints: 1,
            checks: true,
            h2c: false,
        }
    }
}

/// A proxy that is installed.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Which.
    pub(crate) kind: Kind,
    /// Where its program is.
    pub(crate) program: PathBuf,
    /// The line in which it states its version.
    pub(crate) version: String,
}

impl Peer {
    /// Looks for it; `None` when it is not installed.
    pub(crate) fn find(kind: Kind, options: &Options) -> Option<Self> {
        let program = kind.program(options)?;
        let version = version(kind, &program);
        Some(Self {
            kind,
            program,
            version,
        })
    }

    /// Whether it can serve clients that speak `wire`.
    pub(crate) fn speaks(&self, wire: Wire) -> bool {
        self.kind != Kind::Copy || wire == Wire::H1
    }

    /// Starts it on its cores, in a directory of its own.
    ///
    /// # Errors
    /// When a file cannot be written or the program not be started.
    pub(crate) fn start(
        &self,
        shape: &Shape,
        upstream: Addresses,
        leaf: &Leaf,
    ) -> Result<Process, BenchError> {
        let site = Site::new(shape, upstream, leaf)?;
        self.kind.write(&site)?;
        let last = crate::PROXY_CORE + shape.threads.max(1) - 1;
        let mut command = pinned_to(crate::PROXY_CORE..=last, self.program.as_os_str());
        command.args(self.kind.arguments(&site));
        Process::start(self.kind, command, site)
    }
}

/// A command that runs `program` on one core, with its own process id.
pub(crate) fn pinned(core: u32, program: &OsStr) -> Command {
    pinned_to(core..=core, program)
}

/// The same on several cores.
pub(crate) fn pinned_to(cores: RangeInclusive<u32>, program: &OsStr) -> Command {
    let (first, last) = (cores.start(), cores.end());
    let mut command = Command::new("taskset");
    command
        .arg("-c")
        .arg(format!("{first}-{last}"))
        .arg(program);
    command
}

/// Where a program is on `PATH`, or where distributions keep those of servers.
pub(crate) fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = [PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")];
    let places = std::env::split_paths(&path).chain(system);
    places
        .filter_map(|place| existing(&place.join(name)))
        .next()
}

fn existing(path: &Path) -> Option<PathBuf> {
    path.is_file().then(|| path.to_owned())
}

fn version(kind: Kind, program: &Path) -> String {
    let argument = match kind {
        Kind::Copy => return env!("CARGO_PKG_VERSION").to_owned(),
        Kind::Nginx | Kind::Haproxy => "-v",
        Kind::Envoy | Kind::Tidegate | Kind::TidegateLogged => "--version",
    };
    let Ok(output) = Command::new(program).arg(argument).output() else {
        return "unknown".to_owned();
    };
    // nginx states it on standard error.
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().find(|line| !line.trim().is_empty());
    let line = line.map_or("unknown", str::trim);
    // nginx and Envoy put words before it, Envoy its own path.
    let bare = line.split_once("version: ").map_or(line, |(_, bare)| bare);
    bare.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tidegate_lab::client::Outcome;
    use tidegate_lab::tls::Alpn;
    use tidegate_lab::{Authority, Client, ClientSpec, Protocol, RequestSpec};

    use super::*;

    #[test]
    fn programs_are_found_or_absent() {
        assert!(installed("sh").is_some());
        assert!(installed("no-such-program-anywhere").is_none());
    }

    #[test]
    fn the_copy_speaks_plaintext_only() {
        let peer = |kind| Peer {
            kind,
            program: PathBuf::new(),
            version: String::new(),
        };
        assert!(peer(Kind::Copy).speaks(Wire::H1));
        assert!(!peer(Kind::Copy).speaks(Wire::TlsH1));
        assert!(peer(Kind::Nginx).speaks(Wire::TlsH2));
    }

    const PATIENCE: Duration = Duration::from_secs(15);

    fn ask(process: &Process, ca: &Authority, protocol: Protocol, path: &str) -> ClientSpec {
        let (alpn, tls) = match protocol {
            Protocol::H1 => (Alpn::H1, false),
            Protocol::H2 => (Alpn::H2, true),
        };
        let content = RequestSpec {
            path: path.to_owned(),
            ..RequestSpec::content(1024)
        };
        ClientSpec {
            requests: Some(8),
            protocol,
            tls: tls.then(|| ca.client_config(alpn).unwrap()),
            mix: vec![content],
            ..ClientSpec::new(process.address(tls), HOST)
        }
    }

    /// Waits until this path is answered right, over plaintext h1 and over TLS h2; says why not.
    async fn serves(
        process: &mut Process,
        ca: &Authority,
        path: &str,
        patience: Duration,
    ) -> Result<(), String> {
        let until = Instant::now() + patience;
        for protocol in [Protocol::H1, Protocol::H2] {
            loop {
                let client = Client::start(ask(process, ca, protocol, path)).unwrap();
                let ended = client.finish().await;
                if ended.ok() == 8 {
                    break;
                }
                if process.has_ended() || Instant::now() > until {
                    let (name, words) = (process.name(), process.words());
                    return Err(format!("{name} {path} {:?} {words}", ended.outcomes));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Enters a shape until it takes: HAProxy's master forgets a signal that comes while it starts.
    async fn must_enter(process: &mut Process, ca: &Authority, shape: Shape) {
        let staged = process.stage("more", &shape).unwrap();
        let path = format!("/r/{}/bytes/1024", shape.routes - 1);
        let mut ended = Ok(());
        for _ in 0..PATIENCE.as_secs() {
            process.enter(&staged).unwrap();
            ended = serves(process, ca, &path, Duration::from_secs(1)).await;
            if ended.is_ok() {
                break;
            }
        }
        assert_eq!(ended, Ok(()));
    }

    /// Whoever is installed takes the shape, and more routes when told to reload.
    async fn check(kind: Kind, shape: Shape) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let built = |profile| existing(&root.join("target").join(profile).join("tidegate"));
        let tidegate = built("release").or_else(|| built("debug"));
        let program = match kind {
            Kind::Nginx => installed("nginx"),
            Kind::Haproxy => installed("haproxy"),
            Kind::Envoy => envoy::packaged(&root.join("target/bench-peers")),
            _ => tidegate,
        };
        let Some(program) = program else { return };
        let peer = Peer {
            kind,
            program,
            version: String::new(),
        };
        let upstream = crate::upstream::start().await.unwrap();
        let authority = Authority::new("bench").unwrap();
        let leaf = authority.issue(&[HOST]).unwrap();
        let mut process = peer.start(&shape, upstream, &leaf).unwrap();
        for path in ["/bytes/1024", "/r/9/bytes/1024"] {
            let ended = serves(&mut process, &authority, path, PATIENCE).await;
            assert_eq!(ended, Ok(()));
        }
        let beyond = ask(&process, &authority, Protocol::H1, "/r/10/bytes/1024");
        let missing = Client::start(beyond).unwrap().finish().await;
        let not_found = |outcome: &Outcome| *outcome == Outcome::WrongStatus(404);
        assert_eq!(
            missing.count(not_found),
            8,
            "{kind:?} {:?}",
            missing.outcomes
        );
        let more = Shape {
            routes: 200,
            ..shape
        };
        must_enter(&mut process, &authority, more).await;
    }

    const SMALL: Shape = Shape {
        threads: 1,
        routes: 10,
        endpoints: 3,
        checks: true,
        h2c: false,
    };

    #[tokio::test]
    async fn proxies_take_their_shape() {
        for kind in Kind::PROXIES {
            check(kind, SMALL).await;
        }
    }

    #[tokio::test]
    async fn proxies_speak_h2c_where_they_can() {
        let h2c = Shape {
            h2c: true,
            threads: 2,
            ..SMALL
        };
        for kind in [Kind::Haproxy, Kind::Envoy, Kind::Tidegate] {
            check(kind, h2c).await;
        }
    }
}
