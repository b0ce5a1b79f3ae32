//! The proxies under test: found or skipped by name, started for one round, gone when it is over.
//!
//! Each has its template in a file of its own. All keep connections alive without limit on both
//! sides, have one worker, and write no access log unless their name says so.

pub(crate) mod copy;
mod envoy;
mod haproxy;
mod nginx;
mod process;
mod tidegate;

use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use tidegate_lab::Leaf;

use crate::Options;
use crate::cell::Wire;
use crate::error::BenchError;

pub(crate) use process::Process;

/// The name that clients ask for.
pub(crate) const HOST: &str = "shop.example.com";

/// A proxy, by construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    fn launch(self, site: &Site<'_>) -> Result<Vec<OsString>, BenchError> {
        match self {
            Self::Copy => Ok(copy::arguments(site)),
            Self::Nginx => nginx::arguments(site),
            Self::Haproxy => haproxy::arguments(site),
            Self::Envoy => envoy::arguments(site),
            Self::Tidegate => tidegate::arguments(site, false),
            Self::TidegateLogged => tidegate::arguments(site, true),
        }
    }
}

/// How a proxy is formed for a round. Not every proxy can take every form; what it cannot is said
/// where the form is used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Worker threads, from core 0 upwards.
    pub(crate) threads: u32,
    /// Routes; the load takes the last one unless it names others.
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

    /// Starts it on its core, in a directory of its own.
    ///
    /// # Errors
    /// When a file cannot be written or the program not be started.
    pub(crate) fn start(
        &self,
        shape: &Shape,
        regions: [SocketAddr; 3],
        leaf: &Leaf,
    ) -> Result<Process, BenchError> {
        let name = self.kind.name();
        let directory = tempfile::tempdir().map_err(BenchError::io(name))?;
        let (chain, key) = leaf.write_to(directory.path(), "edge")?;
        let [http, https] = free_addresses().map_err(BenchError::io("a free port"))?;
        let site = Site {
            directory: directory.path(),
            shape,
            regions,
            http,
            https,
            chain: &chain,
            key: &key,
        };
        let mut command = pinned(crate::PROXY_CORE, self.program.as_os_str());
        command.args(self.kind.launch(&site)?);
        Process::start(self.kind, command, directory, http, https)
    }
}

/// What a template is filled with.
pub(crate) struct Site<'a> {
    /// For files; removed after the round.
    pub(crate) directory: &'a Path,
    /// How to form it.
    pub(crate) shape: &'a Shape,
    /// The upstream, one address a region; proxies without regions use the first.
    pub(crate) regions: [SocketAddr; 3],
    /// Where to serve plaintext.
    pub(crate) http: SocketAddr,
    /// Where to serve TLS, `h2` preferred.
    pub(crate) https: SocketAddr,
    /// The certificate, PEM.
    pub(crate) chain: &'a Path,
    /// Its key, PEM.
    pub(crate) key: &'a Path,
}

impl Site<'_> {
    /// Writes a file into the directory and returns where it is.
    fn write(&self, name: &str, text: &str) -> Result<OsString, BenchError> {
        let path = self.directory.join(name);
        std::fs::write(&path, text).map_err(BenchError::io(path.display().to_string()))?;
        Ok(path.into_os_string())
    }
}

/// A command that runs `program` on one core, with its own process id.
pub(crate) fn pinned(core: u32, program: &OsStr) -> Command {
    let mut command = Command::new("taskset");
    command.arg("-c").arg(core.to_string()).arg(program);
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

/// Two ports that were free a moment ago; a proxy that finds one taken does not start, and says so.
fn free_addresses() -> std::io::Result<[SocketAddr; 2]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (one, other) = (bind()?, bind()?);
    Ok([one.local_addr()?, other.local_addr()?])
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn free_addresses_differ() {
        let [one, other] = free_addresses().unwrap();
        assert_ne!(one, other);
    }
}
