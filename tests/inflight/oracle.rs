//! What must come of a case, from the rules alone: what was certainly not processed goes elsewhere
//! whatever it is; what may have been processed only if twice is the same as once; an answer under
//! way goes on only if it is provably the same bytes; everything else fails honestly.

use tidegate_lab::client::{Fault as Broken, Outcome};

use super::case::{Case, Fault, Kind};

/// `retry.attempts` of every case.
pub(super) const ATTEMPTS: u64 = 4;

const PROBLEM: &str = "urn:tidegate:problem:";

/// How a request may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The right answer, every byte of it.
    Saved,
    /// 504, and nobody knows whether it was done.
    TimedOutUnknown,
    /// 502, and nobody knows whether it was done.
    ResetUnknown,
    /// The service's own 503.
    Passed,
    /// The client saw its answer break.
    BrokenOff,
    /// Anything else: never right.
    Wrong,
}

/// The ends that are right. Where there are two, what the client has already seen decides: a small
/// answer is held for a moment only.
pub(super) fn right_ends(case: Case) -> &'static [End] {
    let twice = may_go_elsewhere(case.kind);
    match case.fault {
        Fault::Refuse => &[End::Saved],
        _ if case.is_in_answer() && case.kind == Kind::Get => &[End::Saved],
        Fault::BlackHoleInAnswer => &[End::BrokenOff],
        _ if case.is_in_answer() && twice => &[End::Saved, End::BrokenOff],
        _ if case.is_in_answer() => &[End::ResetUnknown, End::BrokenOff],
        _ if twice => &[End::Saved],
        Fault::Unavailable => &[End::Passed],
        Fault::BlackHoleBeforeHead | Fault::BlackHoleInUpload => &[End::TimedOutUnknown],
        _ => &[End::ResetUnknown],
    }
}

/// Whether a request that may have been processed may be sent to another region.
fn may_go_elsewhere(kind: Kind) -> bool {
    match kind {
        Kind::Get | Kind::Put | Kind::KeyedAnywhere | Kind::Declared => true,
        Kind::Post | Kind::Keyed => false,
    }
}

/// Whether the near region and the far one may have seen it so often: what must not be done twice
/// once, what a key makes repeatable only where the key was seen first, and nothing beyond the policy.
pub(super) fn may_be_seen(case: Case, [near, far]: [u64; 2]) -> bool {
    match case.kind {
        Kind::Post => near + far <= 1,
        Kind::Keyed if near > 0 => near <= ATTEMPTS && far == 0,
        _ => near + far <= ATTEMPTS,
    }
}

/// What a client's words mean.
pub(super) fn end(outcome: Outcome, problem: Option<&str>) -> End {
    let ours = problem.and_then(|text| text.strip_prefix(PROBLEM));
    match (outcome, ours) {
        (Outcome::Ok, _) => End::Saved,
        (Outcome::WrongStatus(504), Some("outcome-unknown")) => End::TimedOutUnknown,
        (Outcome::WrongStatus(502), Some("outcome-unknown")) => End::ResetUnknown,
        (Outcome::WrongStatus(503), None) => End::Passed,
        (Outcome::Transport(Broken::Body), _) => End::BrokenOff,
        _ => End::Wrong,
    }
}
