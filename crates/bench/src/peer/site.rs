//! What a template is filled with: addresses, the shape, the certificate, a directory for files.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tidegate_lab::Leaf;

use super::Shape;
use crate::error::BenchError;
use crate::upstream::Addresses;

/// The paths of load that names no route: contents, uploads, calls.
const PLAIN: [&str; 4] = ["/bytes/", "/sink", "/echo", "/bench.Content/"];

/// The place of one proxy in one round.
pub(crate) struct Site {
    /// For files; removed with it.
    directory: TempDir,
    /// How to form the proxy.
    pub(super) shape: Shape,
    /// The upstream.
    upstream: Addresses,
    /// Where to serve plaintext.
    pub(super) http: SocketAddr,
    /// Where to serve TLS, `h2` preferred.
    pub(super) https: SocketAddr,
    /// The certificate, PEM.
    pub(super) chain: PathBuf,
    /// Its key, PEM.
    pub(super) key: PathBuf,
    /// Where files go that are not to be read yet.
    stage: Option<PathBuf>,
}

impl Site {
    /// A new directory with the certificate, and two free ports.
    ///
    /// # Errors
    /// When the system refuses one of them.
    pub(super) fn new(shape: &Shape, upstream: Addresses, leaf: &Leaf) -> Result<Self, BenchError> {
        let directory = tempfile::tempdir().map_err(BenchError::io("a proxy's directory"))?;
        let (chain, key) = leaf.write_to(directory.path(), "edge")?;
        let [http, https] = free_addresses().map_err(BenchError::io("a free port"))?;
        Ok(Self {
            directory,
            shape: *shape,
            upstream,
            http,
            https,
            chain,
            key,
            stage: None,
        })
    }

    /// Where its files are.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where a file is.
    pub(super) fn file(&self, name: &str) -> OsString {
        self.directory().join(name).into_os_string()
    }

    /// Puts a file into the directory, or another in its place: whole, so that nobody reads half.
    /// While a stage is set, it goes there instead.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), BenchError> {
        let place = match &self.stage {
            Some(stage) => stage.clone(),
            None => self.directory().to_owned(),
        };
        let (new, path) = (place.join("new"), place.join(name));
        let written = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &path));
        written.map_err(BenchError::io(path.display().to_string()))
    }

    /// Lets what is written go to a directory of its own for now, to be entered later.
    pub(super) fn set_stage(&mut self, name: &str) -> std::io::Result<()> {
        let stage = self.directory().join(name);
        std::fs::create_dir(&stage)?;
        self.stage = Some(stage);
        Ok(())
    }

    /// Ends the stage and returns where it is.
    pub(super) fn end_stage(&mut self) -> Option<PathBuf> {
        self.stage.take()
    }

    /// Puts the files of a stage in the place of those that are there, in the order of their names.
    /// Moves no content, and the stage can be entered again.
    pub(super) fn enter(&self, stage: &Path) -> std::io::Result<()> {
        let entries = std::fs::read_dir(stage)?;
        let names: Result<Vec<_>, _> = entries.map(|entry| Ok(entry?.file_name())).collect();
        let mut names = names.map_err(|error: std::io::Error| error)?;
        names.sort();
        let new = self.directory().join("new");
        for name in names {
            std::fs::hard_link(stage.join(&name), &new)?;
            std::fs::rename(&new, self.directory().join(&name))?;
            // Where the file is there already, the system leaves both names (rename(2)).
            let _ = std::fs::remove_file(&new);
        }
        Ok(())
    }

    /// The upstream, one address a region; proxies without regions use the first.
    pub(super) fn regions(&self) -> [SocketAddr; 3] {
        match self.shape.h2c {
            true => self.upstream.h2c,
            false => self.upstream.http1,
        }
    }

    /// The endpoints of the preferred region: one upstream by many addresses of the loopback network.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = SocketAddr> {
        let first = self.regions()[0];
        (0..self.shape.endpoints.max(1)).map(move |n| {
            let ip = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + n);
            SocketAddr::new(IpAddr::V4(ip), first.port())
        })
    }

    /// The prefixes of all routes: those of the plain load, then `/r/0/` and so on. Everything else
    /// is not found, so that a route that is new or gone shows.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = String> {
        let numbered = (0..self.shape.routes).map(|n| format!("/r/{n}/"));
        PLAIN.into_iter().map(str::to_owned).chain(numbered)
    }
}

/// A line for each item.
pub(super) fn lines<T>(of: impl Iterator<Item = T>, line: impl Fn(usize, T) -> String) -> String {
    of.enumerate()
        .map(|(n, item)| line(n, item) + "\n")
        .collect()
}

/// Two ports that were free a moment ago; a proxy that finds one taken does not start, and says so.
fn free_addresses() -> std::io::Result<[SocketAddr; 2]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (one, other) = (bind()?, bind()?);
    Ok([one.local_addr()?, other.local_addr()?])
}

#[cfg(test)]
pub(super) mod tests {
    use tidegate_lab::Authority;

    use super::*;

    /// A site of this shape whose upstream does not exist.
    pub(in crate::peer) fn site(shape: Shape) -> Site {
        let authority = Authority::new("bench").unwrap();
        let leaf = authority.issue(&[super::super::HOST]).unwrap();
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let upstream = Addresses {
            http1: [1, 2, 3].map(address),
            h2c: [4, 5, 6].map(address),
        };
        Site::new(&shape, upstream, &leaf).unwrap()
    }

    #[test]
    fn endpoints_differ_in_address_only() {
        let shape = Shape {
            endpoints: 300,
            h2c: true,
            ..Shape::default()
        };
        let all: Vec<_> = site(shape).endpoints().map(|e| e.to_string()).collect();
        assert_eq!(all.len(), 300);
        assert_eq!(
            (all[0].as_str(), all[299].as_str()),
            ("127.0.0.1:4", "127.0.1.44:4")
        );
    }

    #[test]
    fn a_file_is_replaced() {
        let site = site(Shape::default());
        site.write("a", "long").unwrap();
        site.write("a", "b").unwrap();
        assert_eq!(std::fs::read_to_string(site.file("a")).unwrap(), "b");
    }

    #[test]
    fn a_stage_is_entered_as_often_as_one_likes() {
        let mut site = site(Shape::default());
        let read = |site: &Site| std::fs::read_to_string(site.file("a")).unwrap();
        site.write("a", "one").unwrap();
        site.set_stage("two").unwrap();
        site.write("a", "two").unwrap();
        let stage = site.end_stage().unwrap();
        assert_eq!(read(&site), "one");
        for _ in 0..2 {
            site.enter(&stage).unwrap();
            site.enter(&stage).unwrap();
            assert_eq!(read(&site), "two");
            site.write("a", "three").unwrap();
        }
    }

    #[test]
    fn free_addresses_differ() {
        let [one, other] = free_addresses().unwrap();
        assert_ne!(one, other);
    }
}
