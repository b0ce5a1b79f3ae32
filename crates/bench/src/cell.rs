//! The cells of a table: what is asked, over which protocol, how many at a time.

use tidegate_lab::{Protocol, RequestSpec};

/// Connections of the load, in every cell.
pub(crate) const CONNECTIONS: u32 = 32;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Sizes that the upstream answers with.
pub(crate) const SIZES: [u64; 3] = [KIB, 64 * KIB, MIB];

/// What the client speaks. The upstream speaks HTTP/1.1 without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

impl Transfer {
    /// The path that the load asks for.
    pub(crate) fn path(self) -> String {
        match self {
            Self::Down(bytes) => format!("/bytes/{bytes}"),
            Self::Up(_) => "/sink".to_owned(),
        }
    }

    /// Bytes of every answer's body.
    pub(crate) fn answer_bytes(self) -> u64 {
        match self {
            Self::Down(bytes) => bytes,
            Self::Up(_) => crate::upstream::SINK_ANSWER.len() as u64,
        }
    }

    /// The request by which the content is checked; an upload is sent back to be compared.
    pub(crate) fn sample(self) -> RequestSpec {
        match self {
            Self::Down(bytes) => RequestSpec::content(bytes),
            Self::Up(bytes) => RequestSpec::echo(bytes),
        }
    }

    /// Requests of a round: enough that ticks of 10 ms do not show.
    fn requests(self) -> u64 {
        match self {
            Self::Down(KIB) => 100_000,
            Self::Down(MIB) | Self::Up(_) => 3_000,
            Self::Down(_) => 30_000,
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
}

impl Cell {
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
    }
}

/// The cells of `size`.
pub(crate) const SIZE: [Cell; 12] = [
    cell("1 KB, h1", Wire::H1, 1, Transfer::Down(KIB)),
    cell("1 KB, TLS h1", Wire::TlsH1, 1, Transfer::Down(KIB)),
    cell("1 KB, TLS h2 x 10", Wire::TlsH2, 10, Transfer::Down(KIB)),
    cell("1 KB, TLS h2 x 1", Wire::TlsH2, 1, Transfer::Down(KIB)),
    cell("64 KB, h1", Wire::H1, 1, Transfer::Down(64 * KIB)),
    cell("64 KB, TLS h1", Wire::TlsH1, 1, Transfer::Down(64 * KIB)),
    cell("1 MB down, h1", Wire::H1, 1, Transfer::Down(MIB)),
    cell("1 MB down, TLS h1", Wire::TlsH1, 1, Transfer::Down(MIB)),
    cell("1 MB down, TLS h2 x 1", Wire::TlsH2, 1, Transfer::Down(MIB)),
    cell("1 MB up, h1", Wire::H1, 1, Transfer::Up(MIB)),
    cell("1 MB up, TLS h1", Wire::TlsH1, 1, Transfer::Up(MIB)),
    cell("1 MB up, TLS h2 x 1", Wire::TlsH2, 1, Transfer::Up(MIB)),
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
        }
    }

    #[test]
    fn few_requests_still_use_every_stream() {
        let multiplexed = SIZE[2];
        assert_eq!(multiplexed.requests(1), 1_000);
        assert_eq!(
            cell("", Wire::TlsH2, 10, Transfer::Up(MIB)).requests(1),
            320
        );
    }
}
