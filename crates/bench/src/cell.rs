//! The cells of a table: what is asked, over which protocol, how many at a time.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidegate_lab::{Protocol, RequestSpec};

use crate::upstream;

/// Connections of the load, in every cell.
pub(crate) const CONNECTIONS: u32 = 32;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Sizes that the upstream answers with.
pub(crate) const SIZES: [u64; 3] = [KIB, 64 * KIB, MIB];

/// Bytes of the message that a call sends.
const MESSAGE_BYTES: usize = 16;

/// What the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wire {
    /// HTTP/1.1, plaintext.
    H1,
    /// HTTP/1.1 over TLS 1.3.
    TlsH1,
    /// HTTP/2 over TLS 1.3.
    TlsH2,
}

impl Wire {
    /// Whether the client speaks TLS.
    pub(crate) fn is_tls(self) -> bool {
        self != Self::H1
    }

    /// The HTTP version.
    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::TlsH2 => Protocol::H2,
            Self::H1 | Self::TlsH1 => Protocol::H1,
        }
    }
}

/// The body that moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// So many bytes to the client.
    Down(u64),
    /// So many bytes to the upstream, a short answer back.
    Up(u64),
    /// A unary gRPC call: a short message there, 1 KB back, its status in the trailers.
    Call,
}

impl Transfer {
    /// The path that the load asks for.
    pub(crate) fn path(self) -> String {
        match self {
            Self::Down(bytes) => format!("/bytes/{bytes}"),
            Self::Up(_) => "/sink".to_owned(),
            Self::Call => upstream::METHOD.to_owned(),
        }
    }

    /// Bytes of every answer's body.
    pub(crate) fn answer_bytes(self) -> u64 {
        match self {
            Self::Down(bytes) => bytes,
            Self::Up(_) => upstream::SINK_ANSWER.len() as u64,
            Self::Call => upstream::framed(&[0; KIB as usize]).len() as u64,
        }
    }

    /// The request by which the content is checked; an upload is sent back to be compared. `None`
    /// for a call, which that client cannot make.
    pub(crate) fn sample(self) -> Option<RequestSpec> {
        match self {
            Self::Down(bytes) => Some(RequestSpec::content(bytes)),
            Self::Up(bytes) => Some(RequestSpec::echo(bytes)),
            Self::Call => None,
        }
    }

    /// The body of each request of the load; empty for a download.
    pub(crate) fn body(self) -> Bytes {
        match self {
            Self::Down(_) => Bytes::new(),
            Self::Up(bytes) => vec![b'u'; bytes as usize].into(),
            Self::Call => upstream::framed(&[b'c'; MESSAGE_BYTES]),
        }
    }

    /// Requests of a round: half a second of work and more, so that a start or a pause of somebody
    /// else does not show.
    fn requests(self) -> u64 {
        match self {
            Self::Down(KIB) | Self::Call => 60_000,
            Self::Down(MIB) | Self::Up(_) => 1_000,
            Self::Down(_) => 12_000,
        }
    }
}

/// One cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    /// For the tables.
    pub(crate) name: &'static str,
    /// Protocol.
    pub(crate) wire: Wire,
    /// Requests at a time on a connection; 1 without HTTP/2.
    pub(crate) streams: u32,
    /// The body.
    pub(crate) transfer: Transfer,
    /// Whether the proxy speaks h2c to the upstream; HTTP/1.1 otherwise.
    pub(crate) h2c: bool,
}

impl Cell {
    /// Whether its requests are so short that what the machine does for a second decides what they cost.
    pub(crate) fn is_short(&self) -> bool {
        matches!(self.transfer, KB | Transfer::Call)
    }

    /// Requests of a round at `percent` of the usual number, at least one for every stream.
    pub(crate) fn requests(&self, percent: u64) -> u64 {
        let least = u64::from(CONNECTIONS * self.streams);
        (self.transfer.requests() * percent / 100).max(least)
    }
}

const fn cell(name: &'static str, wire: Wire, streams: u32, transfer: Transfer) -> Cell {
    Cell {
        name,
        wire,
        streams,
        transfer,
        h2c: false,
    }
}

const fn over_h2c(cell: Cell) -> Cell {
    Cell { h2c: true, ..cell }
}

/// 1 KB to the client.
pub(crate) const KB: Transfer = Transfer::Down(KIB);
const KB64: Transfer = Transfer::Down(64 * KIB);
const DOWN: Transfer = Transfer::Down(MIB);
const UP: Transfer = Transfer::Up(MIB);

/// The cells of `size`.
pub(crate) const SIZE: [Cell; 19] = [
    cell("1 KB, h1", Wire::H1, 1, KB),
    cell("1 KB, TLS h1", Wire::TlsH1, 1, KB),
    cell("1 KB, TLS h2 x 10", Wire::TlsH2, 10, KB),
    cell("1 KB, TLS h2 x 1", Wire::TlsH2, 1, KB),
    cell("64 KB, h1", Wire::H1, 1, KB64),
    cell("64 KB, TLS h1", Wire::TlsH1, 1, KB64),
    cell("64 KB, TLS h2 x 10", Wire::TlsH2, 10, KB64),
    cell("64 KB, TLS h2 x 1", Wire::TlsH2, 1, KB64),
    cell("1 MB down, h1", Wire::H1, 1, DOWN),
    cell("1 MB down, TLS h1", Wire::TlsH1, 1, DOWN),
    cell("1 MB down, TLS h2 x 10", Wire::TlsH2, 10, DOWN),
    cell("1 MB down, TLS h2 x 1", Wire::TlsH2, 1, DOWN),
    cell("1 MB up, h1", Wire::H1, 1, UP),
    cell("1 MB up, TLS h1", Wire::TlsH1, 1, UP),
    cell("1 MB up, TLS h2 x 10", Wire::TlsH2, 10, UP),
    cell("1 MB up, TLS h2 x 1", Wire::TlsH2, 1, UP),
    over_h2c(cell("1 KB, h1, upstream h2c", Wire::H1, 1, KB)),
    over_h2c(cell("1 KB, TLS h2 x 10, upstream h2c", Wire::TlsH2, 10, KB)),
    over_h2c(cell(
        "gRPC unary, TLS h2 x 10",
        Wire::TlsH2,
        10,
        Transfer::Call,
    )),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upstream_has_what_the_cells_ask_for() {
        for cell in SIZE {
            if let Transfer::Down(bytes) = cell.transfer {
                assert!(SIZES.contains(&bytes), "{}", cell.name);
            }
            assert!(
                cell.wire == Wire::TlsH2 || cell.streams == 1,
                "{}",
                cell.name
            );
            let call = cell.transfer == Transfer::Call;
            assert!(!call || cell.h2c, "{}", cell.name);
        }
    }

    #[test]
    fn few_requests_still_use_every_stream() {
        let multiplexed = SIZE[2];
        assert_eq!(multiplexed.requests(1), 600);
        assert_eq!(
            cell("", Wire::TlsH2, 10, Transfer::Up(MIB)).requests(1),
            320
        );
    }
}
