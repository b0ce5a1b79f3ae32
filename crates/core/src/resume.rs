//! Whether an answer that breaks off may be continued from another place, and the proof that it is
//! the same bytes.
//!
//! A strong validator and an equal complete length are what servers *say*; tags that are made of
//! time and size look strong and are not. So the other place is asked for a little more than is
//! missing, and what overlaps is compared, byte by byte, with what the client has got. Whatever does
//! not fit is an error with a name: a body is continued exactly or not at all, never guessed.
//!
//! Data in, data out: heads' facts, bytes, durations. Who asks, waits and writes is the data plane.

mod answer;
mod pace;
mod tail;

use std::time::Instant;

use crate::budget::{Budget, Purse};
use crate::plan::RetryPolicy;
use crate::retry::{Failure, NextTries, NextTry, Phase, Reach, Situation, WhyNot, next_try};

pub use answer::{AnswerFacts, Misfit, Representation};
pub use pace::Pace;
use tail::Tail;

/// So much of what the client has got is asked for again and compared, in bytes. It is also what is
/// kept in memory of each answer that can be continued.
pub const OVERLAP_BYTES: usize = 16 * 1024;

/// Attempts count anew once so many further bytes have come, so that a place that breaks off after
/// every byte cannot have the overlap sent for ever.
pub const PROGRESS_BYTES: u64 = OVERLAP_BYTES as u64;

/// One answer is continued so often at most.
pub const RESUMES_MAX: u32 = 64;

/// The body of one answer on its way to the client, through as many places as it takes.
#[derive(Debug)]
pub struct Transfer {
    what: Representation,
    /// Bytes of the body that were passed on.
    passed: u64,
    tail: Tail,
    /// What is still to be compared, in bytes.
    overlap: usize,
}

/// The bytes of the representation that are asked for: first and last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Position of the first.
    pub first: u64,
    /// Position of the last.
    pub last: u64,
}

/// The bytes are not those that were announced. What was passed on cannot be taken back, and nothing
/// may follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Spliced {
    /// The overlap is not the same.
    #[error("its bytes are not those that were passed on before")]
    Differs,
    /// More came than was announced.
    #[error("more bytes came than were announced")]
    TooLong,
}

impl Spliced {
    /// The word for logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Differs => "other_bytes",
            Self::TooLong => "too_long",
        }
    }
}

impl Transfer {
    /// Nothing of `what` was passed on yet. Allocates [`OVERLAP_BYTES`], or less for what is shorter.
    pub fn new(what: Representation) -> Self {
        let room = usize::try_from(what.len()).unwrap_or(OVERLAP_BYTES);
        Self {
            tail: Tail::new(room.min(OVERLAP_BYTES)),
            what,
            passed: 0,
            overlap: 0,
        }
    }

    /// Bytes of the body that were passed on.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// Whether all of it was passed on, and all that had to be compared was.
    pub fn is_whole(&self) -> bool {
        self.passed == self.what.len() && self.overlap == 0
    }

    /// Whether nothing is left to be compared: the place where it continues has the same bytes.
    pub fn is_proved(&self) -> bool {
        self.overlap == 0
    }

    /// What another place is to be asked for.
    pub fn span(&self) -> Span {
        Span {
            first: self.what.first() + self.passed - self.tail.len() as u64,
            last: self.what.last(),
        }
    }

    /// What is on its way.
    pub fn representation(&self) -> &Representation {
        &self.what
    }

    /// Takes the answer to a request for [`span`](Self::span) as the continuation, to be proved by its
    /// first bytes.
    ///
    /// # Errors
    /// What does not fit. Another place may be asked.
    pub fn accept(&mut self, answer: &AnswerFacts<'_>) -> Result<(), Misfit> {
        self.what.continues(self.span(), answer)?;
        self.overlap = self.tail.len();
        Ok(())
    }

    /// Enters bytes that came. Returns how many of them, at the front, the client has got already; the
    /// others count as passed on.
    ///
    /// # Errors
    /// They are not to be passed on, and nothing after them.
    pub fn take(&mut self, data: &[u8]) -> Result<usize, Spliced> {
        let compared = self.overlap.min(data.len());
        let (known, fresh) = data.split_at(compared);
        if !self.tail.has(self.tail.len() - self.overlap, known) {
            return Err(Spliced::Differs);
        }
        if fresh.len() as u64 > self.what.len() - self.passed {
            return Err(Spliced::TooLong);
        }
        self.overlap -= compared;
        self.tail.push(fresh);
        self.passed += fresh.len() as u64;
        Ok(compared)
    }
}

/// Where an answer that broke off is continued, and the token for it: the best of [`ways`] that can be
/// paid.
///
/// # Errors
/// Those of [`ways`], and those of [`NextTries::pay`].
pub fn next(
    policy: &RetryPolicy,
    situation: &Situation,
    reach: Reach,
    budget: &Budget,
    now: Instant,
) -> Result<NextTry, WhyNot> {
    ways(policy, situation, reach)?.pay(budget, now)
}

/// The ways to continue an answer that broke off, best first. `situation.attempts` counts those
/// without progress; the failure's kind and the list of `retry.on` do not matter, for the request is
/// safe and the route has said that answers are to be continued.
///
/// Another region comes first, as its neighbours may share what the endpoint died of; then another
/// endpoint, and the same one when nothing else is left.
///
/// # Errors
/// [`WhyNot::Attempts`] and [`WhyNot::Deadline`].
pub fn ways(
    policy: &RetryPolicy,
    situation: &Situation,
    reach: Reach,
) -> Result<NextTries, WhyNot> {
    if situation.attempts >= policy.attempts {
        return Err(WhyNot::Attempts);
    }
    if situation.left.is_zero() {
        return Err(WhyNot::Deadline);
    }
    let failure = match situation.failure {
        Failure::Full => Failure::Full,
        _ => Failure::RegionDown,
    };
    let situation = Situation {
        failure,
        phase: Phase::BodyUnderWay,
        ..*situation
    };
    Ok(next_try(policy, &situation, situation.scope, reach))
}

/// Whether to wait, after [`next`] has found no way for this reason: what is missing comes back by
/// itself, and what the client has waits with it. A purse that is shut never pays.
pub fn is_worth_waiting(
    policy: &RetryPolicy,
    situation: &Situation,
    reach: Reach,
    why: WhyNot,
) -> bool {
    let share = |way: &NextTry| match way.purse() {
        Purse::InRegion => policy.budget,
        Purse::CrossRegion => policy.cross_region_budget,
    };
    match why {
        WhyNot::RetriesFull => true,
        WhyNot::Budget => ways(policy, situation, reach)
            .is_ok_and(|ways| ways.as_slice().iter().any(|way| share(way) > 0.0)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::Resume;
    use crate::retry::{Destination, Scope};

    const TAG: &[u8] = b"\"v1\"";

    fn transfer(length: u64) -> Transfer {
        let facts = AnswerFacts {
            status: 200,
            length: Some(length),
            etag: Some(TAG),
            ..AnswerFacts::default()
        };
        Transfer::new(Representation::of(&Resume::default(), &facts).expect("a strong tag"))
    }

    fn accept(transfer: &mut Transfer, complete: u64) {
        let Span { first, last } = transfer.span();
        let range = format!("bytes {first}-{last}/{complete}");
        let facts = AnswerFacts {
            status: 206,
            etag: Some(TAG),
            content_range: Some(range.as_bytes()),
            ..AnswerFacts::default()
        };
        transfer.accept(&facts).expect("what was asked for");
    }

    fn bytes(range: std::ops::Range<usize>) -> Vec<u8> {
        range.map(|at| (at * 7 % 251) as u8).collect()
    }

    #[test]
    fn the_overlap_is_what_was_passed_on_last() {
        let check = |passed: usize, first: u64| {
            let mut transfer = transfer(100_000);
            assert_eq!(transfer.take(&bytes(0..passed)), Ok(0));
            assert_eq!(
                transfer.span(),
                Span {
                    first,
                    last: 99_999
                },
                "{passed}"
            );
        };
        check(0, 0);
        check(1, 0);
        check(OVERLAP_BYTES, 0);
        check(OVERLAP_BYTES + 1, 1);
        check(100_000, 100_000 - OVERLAP_BYTES as u64);
    }

    #[test]
    fn the_overlap_is_compared_and_not_passed_on() {
        let mut transfer = transfer(100);
        transfer.take(&bytes(0..10)).expect("the beginning");
        accept(&mut transfer, 100);
        assert!(!transfer.is_proved());
        assert_eq!(transfer.take(&bytes(0..4)), Ok(4));
        assert_eq!(transfer.take(&bytes(4..20)), Ok(6));
        assert!(transfer.is_proved() && !transfer.is_whole());
        assert_eq!(transfer.take(&bytes(20..100)), Ok(0));
        assert!(transfer.is_whole());
        assert_eq!(transfer.passed(), 100);
    }

    #[test]
    fn a_break_within_the_overlap_begins_it_anew() {
        let mut transfer = transfer(100);
        transfer.take(&bytes(0..50)).expect("the beginning");
        accept(&mut transfer, 100);
        assert_eq!(transfer.take(&bytes(0..30)), Ok(30));
        assert_eq!(transfer.span().first, 0);
        accept(&mut transfer, 100);
        assert_eq!(transfer.take(&bytes(0..100)), Ok(50));
        assert!(transfer.is_whole());
    }

    #[test]
    fn one_other_byte_ends_it() {
        for at in [0, 1, 49] {
            let mut transfer = transfer(100);
            transfer.take(&bytes(0..50)).expect("the beginning");
            accept(&mut transfer, 100);
            let mut other = bytes(0..100);
            other[at] ^= 1;
            assert_eq!(transfer.take(&other), Err(Spliced::Differs), "{at}");
            assert_eq!(transfer.passed(), 50);
        }
    }

    #[test]
    fn more_than_was_announced_ends_it() {
        let mut transfer = transfer(100);
        assert_eq!(transfer.take(&bytes(0..100)), Ok(0));
        assert_eq!(transfer.take(&[0]), Err(Spliced::TooLong));
        assert_eq!(transfer.passed(), 100);
    }

    const SITUATION: Situation = Situation {
        phase: Phase::BodyUnderWay,
        ..crate::retry::tests::SITUATION
    };

    fn everything() -> Reach {
        Reach {
            here: true,
            again: true,
            elsewhere: true,
            ..Reach::default()
        }
    }

    fn check_next(situation: Situation, reach: Reach, expected: Result<Destination, WhyNot>) {
        let now = Instant::now();
        let budget = Budget::new(now);
        budget.configure(0.2, 1.0);
        let next = next(&RetryPolicy::default(), &situation, reach, &budget, now);
        let to = next.map(|next| next.to);
        assert_eq!(to, expected, "{situation:?} {reach:?}");
    }

    #[test]
    fn another_region_comes_first_whatever_retries_are_for() {
        let here = Reach {
            elsewhere: false,
            ..everything()
        };
        let again = Reach {
            here: false,
            ..here
        };
        let nothing = Reach::default();
        for failure in [Failure::Reset, Failure::Timeout, Failure::BadResponse] {
            let situation = Situation {
                failure,
                ..SITUATION
            };
            check_next(situation, everything(), Ok(Destination::OtherRegion));
            check_next(situation, here, Ok(Destination::OtherEndpoint));
            check_next(situation, again, Ok(Destination::SameEndpoint));
            check_next(situation, nothing, Err(WhyNot::NoCandidate));
        }
        let region = Situation {
            scope: Scope::Region,
            ..SITUATION
        };
        check_next(region, everything(), Ok(Destination::OtherEndpoint));
    }

    #[test]
    fn attempts_time_and_budget_bound_it() {
        let used_up = Situation {
            attempts: 3,
            ..SITUATION
        };
        check_next(used_up, everything(), Err(WhyNot::Attempts));
        let late = Situation {
            left: Duration::ZERO,
            ..SITUATION
        };
        check_next(late, everything(), Err(WhyNot::Deadline));
        let now = Instant::now();
        let shut = Budget::new(now);
        let refused = next(
            &RetryPolicy::default(),
            &SITUATION,
            everything(),
            &shut,
            now,
        );
        assert_eq!(refused, Err(WhyNot::Budget));
    }

    #[test]
    fn a_token_is_waited_for_where_there_will_be_one() {
        let check = |budget, cross_region_budget, reach, why, worth| {
            let policy = RetryPolicy {
                budget,
                cross_region_budget,
                ..RetryPolicy::default()
            };
            let found = is_worth_waiting(&policy, &SITUATION, reach, why);
            assert_eq!(found, worth, "{budget} {cross_region_budget} {why:?}");
        };
        let here = Reach {
            elsewhere: false,
            ..everything()
        };
        check(0.0, 1.0, everything(), WhyNot::Budget, true);
        check(0.2, 0.0, everything(), WhyNot::Budget, true);
        check(0.0, 0.0, everything(), WhyNot::Budget, false);
        check(0.0, 1.0, here, WhyNot::Budget, false);
        check(0.2, 0.0, here, WhyNot::Budget, true);
        check(0.0, 0.0, here, WhyNot::RetriesFull, true);
        for why in [WhyNot::Attempts, WhyNot::Deadline, WhyNot::NoCandidate] {
            check(0.2, 1.0, everything(), why, false);
        }
    }

    #[test]
    fn the_first_move_to_another_region_waits_for_nothing() {
        let now = Instant::now();
        let budget = Budget::new(now);
        budget.configure(0.2, 1.0);
        let check = |moved, waits| {
            let reach = Reach {
                moved,
                ..everything()
            };
            let next = next(&RetryPolicy::default(), &SITUATION, reach, &budget, now);
            assert_eq!(!next.expect("a way").backoff.is_zero(), waits);
        };
        check(false, false);
        check(true, true);
    }
}
