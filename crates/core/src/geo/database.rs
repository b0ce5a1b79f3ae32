//! A database in MaxMind's format, held in memory.
//!
//! It comes from a stranger's download, so nothing in it is believed: when it is opened, every record
//! that any look-up can reach is read once. What cannot be read is refused then, and what was opened
//! answers every address. It is never mapped into memory: a file that somebody shortens would end the
//! process.

use std::fmt;
use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::Arc;

use maxminddb::{MaxMindDbError, Reader, WithinOptions};
use thiserror::Error;
use twox_hash::XxHash64;

use crate::geo::Origin;
use crate::geo::record::Record;

/// Networks that a tree may have for each of its nodes: one more than nodes, and the same again for
/// each of the three ranges of IPv6 that usually repeat those of IPv4.
const NETWORKS_A_NODE_MAX: usize = 8;

/// What compressed files and archives begin with.
const PACKED: [(&[u8], &str); 5] = [
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "zip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
];

/// An opened database.
pub struct Database {
    name: Arc<str>,
    reader: Reader<Vec<u8>>,
    fingerprint: Fingerprint,
}

/// Why bytes are no database of places.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidDatabase {
    /// There are none.
    #[error("is empty")]
    Empty,
    /// It is packed.
    #[error("is packed ({0}); unpack it first")]
    Packed(&'static str),
    /// It is not in MaxMind's format, cut off, or damaged.
    #[error("is not a whole database in MaxMind's format ({0})")]
    Damaged(String),
    /// No record of it tells a country, a continent or coordinates.
    #[error(
        "tells no places: it is of the type `{0}`, and no record in it has a country, a continent or \
         coordinates"
    )]
    Placeless(String),
}

/// What tells two contents apart: how long they are, and their XXH64. It keeps nobody out; it saves
/// keeping the same database twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// Length in bytes.
    pub bytes: u64,
    /// XXH64 with seed 0.
    pub hash: u64,
}

/// Makes a [`Fingerprint`] of bytes that come in pieces.
#[derive(Clone, Debug)]
pub struct Fingerprinter {
    bytes: u64,
    hasher: XxHash64,
}

impl Database {
    /// Opens a database. `name` is for people, and tells whether two are from the same file.
    ///
    /// It reads all of it, so it takes a while: about a second for a hundred megabytes.
    ///
    /// # Errors
    /// [`InvalidDatabase`] when any look-up could fail, or none could tell anything.
    pub fn open(name: impl Into<Arc<str>>, bytes: Vec<u8>) -> Result<Self, InvalidDatabase> {
        if bytes.is_empty() {
            return Err(InvalidDatabase::Empty);
        }
        if let Some((_, format)) = PACKED.iter().find(|(magic, _)| bytes.starts_with(magic)) {
            return Err(InvalidDatabase::Packed(format));
        }
        let fingerprint = Fingerprint::of(&bytes);
        let reader = Reader::from_source(bytes).map_err(|error| damaged(&error))?;
        if !tells_places(&reader, fingerprint.bytes)? {
            let kind = shown(&reader.metadata().database_type);
            return Err(InvalidDatabase::Placeless(kind));
        }
        Ok(Self {
            name: name.into(),
            reader,
            fingerprint,
        })
    }

    /// Where this address is; none if nothing is said of it.
    pub fn find(&self, address: IpAddr) -> Option<Origin> {
        let found = self.reader.lookup(address.to_canonical()).ok()?;
        found.decode::<Record>().ok()??.origin()
    }

    /// What it is called.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What its maker calls it, like `GeoLite2-City`; at most 200 characters.
    pub fn kind(&self) -> String {
        shown(&self.reader.metadata().database_type)
    }

    /// When it was made, in seconds since 1970.
    pub fn built(&self) -> u64 {
        self.reader.metadata().build_epoch
    }

    /// What tells its content from others'.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// Reads whatever look-ups can reach; whether any of it tells a place.
fn tells_places(reader: &Reader<Vec<u8>>, bytes: u64) -> Result<bool, InvalidDatabase> {
    // Networks without data and repeated ones are counted as well, so that no tree takes for ever.
    let every = WithinOptions::default()
        .include_networks_without_data()
        .include_aliased_networks();
    let nodes = reader.metadata().node_count as usize;
    let networks_max = nodes.saturating_mul(NETWORKS_A_NODE_MAX).saturating_add(1);
    let mut read = vec![0_u64; bytes as usize / 64 + 1];
    let mut tells = false;
    let networks = reader.networks(every).map_err(|error| damaged(&error))?;
    for (count, network) in networks.enumerate() {
        if count > networks_max {
            return Err(InvalidDatabase::Damaged(
                "its tree runs in circles".to_owned(),
            ));
        }
        let network = network.map_err(|error| damaged(&error))?;
        if network
            .offset()
            .is_some_and(|offset| is_first(&mut read, offset))
        {
            let record = network
                .decode::<Record>()
                .map_err(|error| damaged(&error))?;
            tells |= record.is_some_and(|record| record.origin().is_some());
        }
    }
    Ok(tells)
}

/// Enters a position in a set of bits; whether it is new there.
fn is_first(seen: &mut [u64], at: usize) -> bool {
    let (word, bit) = (at / 64, 1 << (at % 64));
    let Some(word) = seen.get_mut(word) else {
        return true;
    };
    let new = *word & bit == 0;
    *word |= bit;
    new
}

fn damaged(error: &MaxMindDbError) -> InvalidDatabase {
    InvalidDatabase::Damaged(shown(&error.to_string()))
}

/// Words out of a file, fit for a line of a log.
fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(CHARS_MAX).collect()
}

impl Fingerprint {
    /// The fingerprint of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut maker = Fingerprinter::default();
        maker.add(bytes);
        maker.finish()
    }
}

impl Default for Fingerprinter {
    fn default() -> Self {
        Self {
            bytes: 0,
            hasher: XxHash64::with_seed(0),
        }
    }
}

impl Fingerprinter {
    /// Takes the next piece.
    pub fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hasher.write(bytes);
    }

    /// How many bytes it has taken.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The fingerprint of all pieces.
    pub fn finish(self) -> Fingerprint {
        Fingerprint {
            bytes: self.bytes,
            hash: self.hasher.finish(),
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({:?}, {})", self.name, self.kind())
    }
}
