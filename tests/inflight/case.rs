//! What is tried: one request that meets one fault.

use http::{HeaderName, HeaderValue, Method};
use tidegate_lab::{Cut, Death, Ending, Expect, Protocol, RequestSpec};

pub(super) const KB: u64 = 1_000;
pub(super) const MB: u64 = 1_000 * KB;

/// Where in the receipt of an upload its region dies.
const IN_RECEIPT: u64 = 20;

/// What the near region does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Refuse,
    ResetBeforeHead,
    ResetInUpload,
    ResetInAnswer,
    EarlyFinInAnswer,
    BlackHoleBeforeHead,
    BlackHoleInUpload,
    BlackHoleInAnswer,
    Unavailable,
}

pub(super) const FAULTS: [Fault; 9] = [
    Fault::Refuse,
    Fault::ResetBeforeHead,
    Fault::ResetInUpload,
    Fault::ResetInAnswer,
    Fault::EarlyFinInAnswer,
    Fault::BlackHoleBeforeHead,
    Fault::BlackHoleInUpload,
    Fault::BlackHoleInAnswer,
    Fault::Unavailable,
];

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Get,
    Put,
    Post,
    /// A POST with an `Idempotency-Key`, on a route that accepts it.
    Keyed,
    /// The same on a route that says that all regions know the keys.
    KeyedAnywhere,
    /// A POST on a route that says that twice is the same as once.
    Declared,
}

pub(super) const KINDS: [Kind; 6] = [
    Kind::Get,
    Kind::Put,
    Kind::Post,
    Kind::Keyed,
    Kind::KeyedAnywhere,
    Kind::Declared,
];

/// One row of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) fault: Fault,
    pub(super) kind: Kind,
    /// Of the answer with GET, else of the upload.
    pub(super) bytes: u64,
    /// What the client speaks.
    pub(super) down: Protocol,
    /// What the regions are spoken to in.
    pub(super) up: Protocol,
}

impl Case {
    /// Whether there is such a place in such a request.
    pub(super) fn makes_sense(self) -> bool {
        let upload = self.kind != Kind::Get;
        match self.fault {
            Fault::ResetInUpload | Fault::BlackHoleInUpload => upload && self.bytes > 0,
            _ if self.is_in_answer() => upload || self.bytes > 0,
            _ => true,
        }
    }

    /// Whether the region dies after its head.
    pub(super) fn is_in_answer(self) -> bool {
        let within = [
            Fault::ResetInAnswer,
            Fault::EarlyFinInAnswer,
            Fault::BlackHoleInAnswer,
        ];
        within.contains(&self.fault)
    }

    /// How the near region dies; none where it is not even reached.
    pub(super) fn death(self) -> Option<Death> {
        let cut = Ending::Cut;
        let upload = |how| Death::InUpload {
            after: self.bytes / 10 * 9,
            how: cut(how),
        };
        let answer = |how| Death::InAnswer {
            after: match self.kind {
                Kind::Get => self.bytes / 2,
                _ => IN_RECEIPT,
            },
            how,
        };
        Some(match self.fault {
            Fault::Refuse => return None,
            Fault::ResetBeforeHead => Death::AtHead(cut(Cut::Reset)),
            Fault::ResetInUpload => upload(Cut::Reset),
            Fault::ResetInAnswer => answer(Cut::Reset),
            Fault::EarlyFinInAnswer => answer(Cut::Fin),
            Fault::BlackHoleBeforeHead => Death::AtHead(cut(Cut::BlackHole)),
            Fault::BlackHoleInUpload => upload(Cut::BlackHole),
            Fault::BlackHoleInAnswer => answer(Cut::BlackHole),
            // After the whole upload: an early answer may get lost behind the reset of what was not read.
            Fault::Unavailable => Death::InUpload {
                after: u64::MAX,
                how: Ending::Status(http::StatusCode::SERVICE_UNAVAILABLE),
            },
        })
    }

    /// The request; the right answer proves every byte.
    pub(super) fn request(self) -> RequestSpec {
        let upload = |method| RequestSpec {
            method,
            expect: Expect::UploadDigest,
            ..RequestSpec::digest(self.bytes)
        };
        match self.kind {
            Kind::Get => RequestSpec::content(self.bytes),
            Kind::Put => upload(Method::PUT),
            Kind::Post | Kind::Declared => upload(Method::POST),
            Kind::Keyed | Kind::KeyedAnywhere => upload(Method::POST).with(
                HeaderName::from_static("idempotency-key"),
                HeaderValue::from_static("\"once\""),
            ),
        }
    }

    /// What its route says beside name, match and upstream.
    pub(super) fn route(self) -> &'static str {
        match self.kind {
            Kind::Get | Kind::Put | Kind::Post => "",
            Kind::Keyed => "idempotency_key: true,",
            Kind::KeyedAnywhere => "idempotency_key: true, replay_scope: global,",
            Kind::Declared => "idempotent: true,",
        }
    }

    /// How much of the machine it takes while it runs: what mostly waits takes none.
    pub(super) fn weight(self) -> u32 {
        match self.bytes {
            0..MB if self.waits() => 0,
            0..MB => 1,
            MB..50_000_000 => 12,
            _ => 36,
        }
    }

    /// Whether time must pass before anything is known.
    pub(super) fn waits(self) -> bool {
        let silent = [
            Fault::BlackHoleBeforeHead,
            Fault::BlackHoleInUpload,
            Fault::BlackHoleInAnswer,
        ];
        silent.contains(&self.fault)
    }
}

/// Every case: all of the small ones, a few that are spooled, and 100 MB where it says something.
pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (down, up) in both_ways() {
        for fault in FAULTS {
            for kind in KINDS {
                let sizes = [0, 10 * KB, 10 * MB].into_iter();
                let sizes = sizes.filter(|bytes| *bytes < MB || is_worth_it(kind, down, up));
                cases.extend(sizes.map(|bytes| Case {
                    fault,
                    kind,
                    bytes,
                    down,
                    up,
                }));
            }
        }
    }
    cases.extend(huge());
    cases.retain(|case| case.makes_sense());
    cases
}

fn both_ways() -> impl Iterator<Item = (Protocol, Protocol)> {
    let both = [Protocol::H1, Protocol::H2];
    let pairs = both.map(|down| both.map(|up| (down, up)));
    pairs.into_iter().flatten()
}

/// Large bodies of each kind of request; what is kept like PUT is tried as PUT in all pairs.
fn is_worth_it(kind: Kind, down: Protocol, up: Protocol) -> bool {
    match kind {
        Kind::Get | Kind::Put => true,
        Kind::Post => down == up,
        Kind::Keyed | Kind::KeyedAnywhere | Kind::Declared => false,
    }
}

/// 100 MB: spooled, or continued.
fn huge() -> Vec<Case> {
    let case = |fault, kind, down, up| Case {
        fault,
        kind,
        bytes: 100 * MB,
        down,
        up,
    };
    vec![
        case(Fault::ResetInUpload, Kind::Put, Protocol::H1, Protocol::H1),
        case(
            Fault::BlackHoleInUpload,
            Kind::Put,
            Protocol::H2,
            Protocol::H2,
        ),
        case(Fault::ResetInAnswer, Kind::Get, Protocol::H1, Protocol::H2),
        case(Fault::ResetInUpload, Kind::Post, Protocol::H2, Protocol::H1),
        case(Fault::Refuse, Kind::Post, Protocol::H1, Protocol::H1),
    ]
}
