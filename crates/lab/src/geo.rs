//! Databases of places in MaxMind's format, made here, so that nobody has to download one.
//!
//! The format is public (MaxMind DB File Format Specification 2.0): a tree of bits over IPv6 with IPv4
//! in its first 96 zero bits, a section of values, and metadata at the end. What is written is what real
//! databases have: records of 24 bits, strings that are pointers from their second time on, equal
//! records once, and IPv4 again under `::ffff:0:0/96`.

use std::collections::HashMap;
use std::net::IpAddr;

use serde_json::{Value, json};

/// What stands before the metadata.
const METADATA: &[u8] = b"\xab\xcd\xefMaxMind.com";
/// Zero bytes between tree and values.
const SEPARATOR: usize = 16;
/// IPv4 lies here, and again under the second one.
const IPV4: (u128, u8) = (0, 96);
const IPV4_MAPPED: (u128, u8) = (0xffff << 32, 96);
/// The middle of 2026, as seconds since 1970.
const BUILT: u64 = 1_782_000_000;

/// Types of values, by their numbers in the specification.
mod kind {
    pub(super) const STRING: u8 = 2;
    pub(super) const DOUBLE: u8 = 3;
    pub(super) const UINT16: u8 = 5;
    pub(super) const UINT32: u8 = 6;
    pub(super) const MAP: u8 = 7;
    pub(super) const INT32: u8 = 8;
    pub(super) const UINT64: u8 = 9;
    pub(super) const ARRAY: u8 = 11;
    pub(super) const BOOLEAN: u8 = 14;
}

/// A database to be written: networks with the records of their addresses.
#[derive(Clone, Debug)]
pub struct GeoDatabase {
    kind: String,
    built: u64,
    networks: Vec<(u128, u8, Value)>,
}

impl GeoDatabase {
    /// An empty database that calls itself `kind`, like `GeoLite2-City`.
    pub fn new(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            built: BUILT,
            networks: Vec::new(),
        }
    }

    /// Says that the addresses of `network` (`192.0.2.0/24`, `2001:db8::/32`, or one address) have this
    /// record. Of two networks that hold an address the smaller one counts, and of equal ones the later.
    ///
    /// # Panics
    /// When it is no network.
    #[must_use]
    pub fn with(mut self, network: &str, record: Value) -> Self {
        let (address, prefix) = network.split_once('/').unwrap_or((network, ""));
        let address: IpAddr = address.parse().expect("an address");
        let (bits, wide) = match address {
            IpAddr::V4(v4) => (v4.to_bits().into(), 96),
            IpAddr::V6(v6) => (v6.to_bits(), 0),
        };
        let prefix = match prefix {
            "" => 128,
            given => wide + given.parse::<u8>().expect("a length of a prefix"),
        };
        self.networks.push((bits, prefix, record));
        self
    }

    /// The same, made at another time (seconds since 1970).
    #[must_use]
    pub fn built(mut self, seconds: u64) -> Self {
        self.built = seconds;
        self
    }

    /// The content of its file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut values = Values::default();
        let mut records: HashMap<String, usize> = HashMap::new();
        let mut tree = Tree::default();
        let mut networks: Vec<_> = self.networks.iter().collect();
        // A smaller network takes its part of a larger one that is there already.
        networks.sort_by_key(|(_, prefix, _)| *prefix);
        for (bits, prefix, record) in networks {
            let at = *records
                .entry(record.to_string())
                .or_insert_with(|| values.root(record));
            tree.put(*bits, *prefix, Child::Record(at));
        }
        let ipv4 = tree.node(IPV4.0, IPV4.1);
        tree.put(IPV4_MAPPED.0, IPV4_MAPPED.1, Child::Node(ipv4));
        let mut file = tree.bytes();
        file.extend([0; SEPARATOR]);
        file.extend(values.bytes);
        file.extend(METADATA);
        file.extend(self.metadata(tree.0.len()));
        file
    }

    fn metadata(&self, nodes: usize) -> Vec<u8> {
        let mut out = Values::plain();
        out.head(kind::MAP, 9);
        for (key, number) in [
            ("binary_format_major_version", 2_u16),
            ("binary_format_minor_version", 0),
            ("ip_version", 6),
            ("record_size", 24),
        ] {
            out.text(key);
            out.number(kind::UINT16, &number.to_be_bytes());
        }
        out.text("build_epoch");
        out.number(kind::UINT64, &self.built.to_be_bytes());
        out.text("node_count");
        out.number(kind::UINT32, &(nodes as u32).to_be_bytes());
        for (key, value) in [
            ("database_type", json!(self.kind)),
            ("description", json!({ "en": "made for tests" })),
            ("languages", json!(["en"])),
        ] {
            out.text(key);
            out.value(&value);
        }
        out.bytes
    }
}

/// The record of GeoLite2-City for a place, with what nobody looks at as well.
pub fn city(country: &str, continent: &str, location: (f64, f64)) -> Value {
    let mut record = self::country(country, continent);
    record["city"] =
        json!({ "geoname_id": 2_950_159, "names": { "en": "Somewhere", "de": "Irgendwo" } });
    record["location"] = json!({
        "accuracy_radius": 20,
        "latitude": location.0,
        "longitude": location.1,
        "time_zone": "Etc/UTC",
    });
    record["subdivisions"] = json!([{ "iso_code": "XX", "names": { "en": "Somewhere" } }]);
    record
}

/// The record of GeoLite2-Country for a country.
pub fn country(country: &str, continent: &str) -> Value {
    let of_country = json!({
        "geoname_id": 2_921_044,
        "is_in_european_union": continent == "EU",
        "iso_code": country,
        "names": { "en": country },
    });
    json!({
        "continent": { "code": continent, "geoname_id": 6_255_148, "names": { "en": continent } },
        "country": of_country,
        "registered_country": of_country,
    })
}

/// What one bit of an address leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Child {
    #[default]
    Nothing,
    Node(usize),
    /// A value at this position of its section.
    Record(usize),
}

/// Nodes with their two children; the first is the root.
struct Tree(Vec<[Child; 2]>);

impl Default for Tree {
    fn default() -> Self {
        Self(vec![[Child::Nothing; 2]])
    }
}

impl Tree {
    /// Lets everything under the first `prefix` bits lead to `child`; of an empty prefix, nothing.
    fn put(&mut self, bits: u128, prefix: u8, child: Child) {
        if let Some(last) = prefix.checked_sub(1) {
            let node = self.node(bits, last);
            self.0[node][bit(bits, last)] = child;
        }
    }

    /// The node after the first `depth` bits, made with what led there before on both of its sides.
    fn node(&mut self, bits: u128, depth: u8) -> usize {
        let mut node = 0;
        for at in 0..depth {
            let side = bit(bits, at);
            node = match self.0[node][side] {
                Child::Node(next) => next,
                leaf => {
                    self.0.push([leaf; 2]);
                    let next = self.0.len() - 1;
                    self.0[node][side] = Child::Node(next);
                    next
                }
            };
        }
        node
    }

    fn bytes(&self) -> Vec<u8> {
        let nodes = self.0.len();
        let number = |child: &Child| match child {
            Child::Nothing => nodes,
            Child::Node(node) => *node,
            Child::Record(at) => nodes + SEPARATOR + at,
        };
        let children = self.0.iter().flatten().map(number);
        children
            .flat_map(|number| {
                assert!(number < 1 << 24, "too much for records of 24 bits");
                let [_, bytes @ ..] = (number as u32).to_be_bytes();
                bytes
            })
            .collect()
    }
}

fn bit(bits: u128, at: u8) -> usize {
    usize::from(bits >> (127 - at) & 1 == 1)
}

/// A section of values.
#[derive(Default)]
struct Values {
    bytes: Vec<u8>,
    /// Where each string was written first; none where every string is written out.
    strings: Option<HashMap<String, usize>>,
}

impl Values {
    /// Metadata has no pointers.
    fn plain() -> Self {
        Self::default()
    }

    /// Writes the value of a record, and tells where.
    fn root(&mut self, value: &Value) -> usize {
        self.strings.get_or_insert_default();
        let at = self.bytes.len();
        self.value(value);
        at
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.head(kind::MAP, 0),
            Value::Bool(truth) => self.head(kind::BOOLEAN, usize::from(*truth)),
            Value::String(text) => self.text(text),
            Value::Array(members) => {
                self.head(kind::ARRAY, members.len());
                members.iter().for_each(|member| self.value(member));
            }
            Value::Object(entries) => {
                self.head(kind::MAP, entries.len());
                for (key, value) in entries {
                    self.text(key);
                    self.value(value);
                }
            }
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) if number <= u32::MAX.into() => {
                    self.number(kind::UINT32, &number.to_be_bytes());
                }
                (Some(number), _, _) => self.number(kind::UINT64, &number.to_be_bytes()),
                (_, Some(number), _) => {
                    self.head(kind::INT32, 4);
                    self.bytes.extend((number as i32).to_be_bytes());
                }
                (_, _, number) => {
                    self.head(kind::DOUBLE, 8);
                    self.bytes.extend(number.unwrap_or(f64::NAN).to_be_bytes());
                }
            },
        }
    }

    /// A number without its leading zero bytes.
    fn number(&mut self, kind: u8, big_endian: &[u8]) {
        let zeros = big_endian.iter().take_while(|byte| **byte == 0).count();
        let significant = &big_endian[zeros..];
        self.head(kind, significant.len());
        self.bytes.extend(significant);
    }

    fn text(&mut self, text: &str) {
        let at = self.bytes.len();
        if let Some(strings) = &mut self.strings {
            if let Some(known) = strings.get(text) {
                let known = *known;
                return self.pointer(known);
            }
            strings.insert(text.to_owned(), at);
        }
        self.head(kind::STRING, text.len());
        self.bytes.extend(text.as_bytes());
    }

    /// The control byte: three bits of type and five of size, both with ways to say more.
    fn head(&mut self, kind: u8, size: usize) {
        let (short, more): (u8, &[u8]) = match size {
            0..29 => (size as u8, &[]),
            29..285 => (29, &((size - 29) as u32).to_be_bytes()[3..]),
            285..65_821 => (30, &((size - 285) as u32).to_be_bytes()[2..]),
            _ => (31, &((size - 65_821) as u32).to_be_bytes()[1..]),
        };
        match kind {
            1..=7 => self.bytes.push(kind << 5 | short),
            _ => self.bytes.extend([short, kind - 7]),
        }
        self.bytes.extend(more);
    }

    fn pointer(&mut self, to: usize) {
        let value = |minus: usize| ((to - minus) as u32).to_be_bytes();
        match to {
            0..2_048 => {
                let [_, _, high, low] = value(0);
                self.bytes.extend([0x20 | high, low]);
            }
            2_048..526_336 => {
                let [_, high, middle, low] = value(2_048);
                self.bytes.extend([0x28 | high, middle, low]);
            }
            526_336..134_744_064 => {
                let [high, a, b, c] = value(526_336);
                self.bytes.extend([0x30 | high, a, b, c]);
            }
            _ => {
                self.bytes.push(0x38);
                self.bytes.extend(value(0));
            }
        }
    }
}
