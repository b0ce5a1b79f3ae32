//! What a process is started with: listeners, admin, threads, limits, log. Restart-only, except
//! that certificates are read again when their files change.
//!
//! Plain data, so that `config` can build it and `proxy` can use it without knowing each other.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Everything that needs a restart to change.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where clients connect. Never empty.
    pub listeners: Vec<Listener>,
    /// The admin listener; none when the configuration has no `admin`.
    pub admin: Option<SocketAddr>,
    /// Worker threads; one per core by default. At least 1.
    pub threads: usize,
    /// In-flight requests get so long after SIGTERM.
    pub shutdown_timeout: Duration,
    /// The access log.
    pub access_log: AccessLog,
    /// Where what outlives the process is kept.
    pub state: State,
}

/// Where a process keeps its generations and orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The directory; none: the configuration names none.
    pub dir: Option<PathBuf>,
    /// How many generations are kept. At least 2.
    pub keep: usize,
}

impl Default for State {
    fn default() -> Self {
        Self {
            dir: None,
            keep: 20,
        }
    }
}

/// One place where clients connect.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Unique name.
    pub name: String,
    /// Address and port; port 0 lets the system choose.
    pub bind: SocketAddr,
    /// TLS; plaintext HTTP/1.1 and h2c by prior knowledge without.
    pub tls: Option<ListenerTls>,
    /// Limits of clients.
    pub limits: ListenerLimits,
    /// Clients whose `X-Forwarded-*`, `Forwarded` and deadline headers are believed, as CIDR
    /// networks. Empty: nobody's.
    pub trusted: Vec<Network>,
}

/// An IP network: the leading `prefix` bits of `address` count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Any address of the network.
    pub address: IpAddr,
    /// Leading bits, 0 to 32 or 128.
    pub prefix: u8,
}

/// Leading bits of IPv4 in IPv6 form (RFC 4291 section 2.5.5.2).
const MAPPED: u8 = 96;

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerTls {
    /// Certificates, chosen by SNI; the first answers clients whose name matches none.
    pub certificates: Vec<CertificateFiles>,
    /// Oldest version accepted.
    pub min_version: TlsVersion,
    /// Certificate authorities whose clients are let in (mutual TLS).
    pub client_ca: Option<PathBuf>,
}

/// Two PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// Chain, leaf first.
    pub chain: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// Versions of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// Limits of one listener's clients.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerLimits {
    /// Open connections; more wait in the kernel's backlog.
    pub connections: usize,
    /// A TLS handshake must be done within this.
    pub handshake_timeout: Duration,
    /// A request's head must be complete within this, from its first byte (from the accept, for
    /// the first request).
    pub header_timeout: Duration,
    /// A connection without a request is closed after this.
    pub idle_timeout: Duration,
    /// Largest request head.
    pub header_bytes: usize,
    /// Most header fields of a request.
    pub header_fields: usize,
    /// Concurrent streams of one HTTP/2 connection.
    pub h2_streams: u32,
}

/// Where access records go.
#[derive(Clone, Debug, PartialEq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Appended to a file.
    File(PathBuf),
}

impl Network {
    /// The same network in one form: one of IPv4 in IPv6 form as one of IPv4, and no prefix longer than
    /// an address.
    pub fn canonical(self) -> Self {
        match (self.address, self.address.to_canonical()) {
            (IpAddr::V6(_), address @ IpAddr::V4(_)) if self.prefix >= MAPPED => Self {
                address,
                prefix: (self.prefix - MAPPED).min(32),
            },
            (address, _) => Self {
                address,
                prefix: self.prefix.min(if address.is_ipv4() { 32 } else { 128 }),
            },
        }
    }

    /// Whether `ip` lies in the network. IPv4 in IPv6 form counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let Self { address, prefix } = self.canonical();
        match (address, ip.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                leading_equal(net.to_bits().into(), ip.to_bits().into(), prefix, 32)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                leading_equal(net.to_bits(), ip.to_bits(), prefix, 128)
            }
            _ => false,
        }
    }
}

fn leading_equal(a: u128, b: u128, prefix: u8, width: u8) -> bool {
    prefix == 0 || (a ^ b) >> width.saturating_sub(prefix) == 0
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            connections: 50_000,
            handshake_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            header_bytes: 64 * 1024,
            header_fields: 128,
            h2_streams: 128,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_by_prefix() {
        let check = |net: &str, prefix, ip: &str, expected| {
            let network = Network {
                address: net.parse().unwrap(),
                prefix,
            };
            assert_eq!(
                network.contains(ip.parse().unwrap()),
                expected,
                "{net}/{prefix} {ip}"
            );
        };
        check("10.0.0.0", 8, "10.255.1.1", true);
        check("10.0.0.0", 8, "11.0.0.0", false);
        check("0.0.0.0", 0, "1.2.3.4", true);
        check("192.0.2.1", 32, "192.0.2.1", true);
        check("192.0.2.1", 32, "192.0.2.2", false);
        check("10.0.0.0", 8, "::ffff:10.1.1.1", true);
        check("2001:db8::", 32, "2001:db8:1::1", true);
        check("2001:db8::", 32, "10.0.0.1", false);
        check("::ffff:10.0.0.0", 104, "10.255.1.1", true);
        check("::ffff:10.0.0.0", 104, "::ffff:10.1.1.1", true);
        check("::ffff:10.0.0.0", 104, "11.0.0.0", false);
        check("::ffff:0.0.0.0", 96, "192.0.2.1", true);
        check("::ffff:0.0.0.0", 96, "2001:db8::1", false);
        check("::ffff:192.0.2.1", 128, "192.0.2.1", true);
        check("::ffff:192.0.2.1", 128, "192.0.2.2", false);
        check("::ffff:0.0.0.0", 90, "0.0.0.0", false);
        check("::", 0, "10.0.0.1", false);
    }
}
