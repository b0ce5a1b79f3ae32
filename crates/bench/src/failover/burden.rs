//! What is under way when a region dies: long waits, downloads, uploads.

use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};
use tidegate_lab::behaviour::SlowBody;
use tidegate_lab::link::Shape;
use tidegate_lab::{Behaviour, RequestSpec};

use super::fault::well;
use crate::peer::failover::Demands;

/// How long an answer is waited for.
const WAIT_MS: u64 = 2_000;

/// Of a download, and of an upload.
const BYTES: u64 = 256 * 1024;

/// A download comes in such pieces, one after each pause: 1.6 s.
const PIECE_BYTES: usize = 16 * 1024;
const PAUSE: Duration = Duration::from_millis(100);

/// A client that uploads is so far away and has so few bytes on the way that its body takes 1.6 s.
const CLIENT: Shape = Shape {
    delay_one_way: PAUSE,
    jitter: Duration::ZERO,
    bandwidth: None,
};

/// Seconds until a try is given up where answers take two.
const PATIENT_S: u64 = 15;

/// A kind of request that takes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Burden {
    /// GETs that are answered after two seconds.
    Waiting,
    /// GETs whose answers come slowly.
    Download,
    /// PUTs of clients that send slowly.
    Put,
    /// POSTs of clients that send slowly.
    Post,
}

impl Burden {
    /// All, in the order of a run.
    pub(super) const ALL: [Self; 4] = [Self::Waiting, Self::Download, Self::Put, Self::Post];

    /// For tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Waiting => "GET, 2 s until the answer",
            Self::Download => "GET, 256 KiB in 1.6 s",
            Self::Put => "PUT, 256 KiB in 1.6 s",
            Self::Post => "POST, 256 KiB in 1.6 s",
        }
    }

    /// What clients send.
    pub(super) fn request(self) -> RequestSpec {
        match self {
            Self::Waiting => RequestSpec::get(&format!("/slow/{WAIT_MS}")),
            Self::Download => RequestSpec::content(BYTES),
            Self::Put => RequestSpec::digest(BYTES),
            Self::Post => RequestSpec {
                method: Method::POST,
                ..RequestSpec::digest(BYTES)
            },
        }
    }

    /// How regions treat it.
    pub(super) fn behaviour(self) -> Behaviour {
        let slow_body = SlowBody {
            piece_bytes: PIECE_BYTES,
            pause: PAUSE,
        };
        Behaviour {
            slow_body: (self == Self::Download).then_some(slow_body),
            ..well()
        }
    }

    /// The way of clients that are slow; none for the others, whose way is as good as none.
    pub(super) fn way(self) -> Option<(Shape, usize)> {
        matches!(self, Self::Put | Self::Post).then_some((CLIENT, PIECE_BYTES))
    }

    /// What the settings must take into account.
    pub(super) fn demands(self) -> Demands {
        Demands {
            try_s: match self {
                Self::Waiting => PATIENT_S,
                _ => Demands::default().try_s,
            },
            uploads: matches!(self, Self::Put | Self::Post),
        }
    }

    /// Whether a request may be sent again once it was sent.
    pub(super) fn is_post(self) -> bool {
        self == Self::Post
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_takes_about_as_long() {
        let pieces = BYTES / PIECE_BYTES as u64;
        let took = PAUSE * u32::try_from(pieces).unwrap();
        assert!((1..=2).contains(&took.as_secs()), "{took:?}");
        for burden in Burden::ALL {
            let uploads = burden.request().body_bytes > 0;
            assert_eq!(burden.way().is_some(), uploads, "{burden:?}");
            assert_eq!(burden.demands().uploads, uploads, "{burden:?}");
        }
    }
}
