//! One endpoint after the other, each as often as its weight says.
//!
//! Whose turn it is follows from the number of the turn alone (the "static stride" of gRPC's proposal
//! A58): the only state is one counter, threads share it without a lock, and a decision that nobody
//! acts on leaves it as it is. Endpoints are visited in order, round after round; in each round one
//! of weight `w` is taken with a chance of `w` in the heaviest's weight, not by chance but when the sum
//! of its weights wraps. The sums start apart, so that the light ones do not come in a row.

use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;

use super::Picked;
use super::among::Among;
use super::draw::left_over;
use super::eyes::{Eyes, Sight};

/// Rounds before what is left is drawn from at random: what takes part of its share, or is heavy and
/// not open, could otherwise make the others' turn come late.
const ROUNDS: u64 = 4;

/// 2^32 by the golden ratio: its multiples spread evenly however many there are.
const GOLDEN: u64 = 0x9E37_79B9;

/// Whose turn it is.
#[derive(Debug)]
pub(super) struct Stride {
    heaviest: u64,
    next: Box<Counter>,
}

/// Written with every attempt, so away from what every decision reads.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter(AtomicU64);

impl Stride {
    /// The turns of members with these weights.
    pub(super) fn new(weights: impl Iterator<Item = u32>) -> Self {
        Self {
            heaviest: weights.max().unwrap_or(1).into(),
            next: Box::default(),
        }
    }

    /// The endpoint whose turn is next, those left out that cannot take it.
    pub(super) fn pick(&self, among: &Among<'_, impl Eyes>, rng: &mut Rng) -> Option<Picked> {
        let next = || self.next.0.load(Ordering::Relaxed);
        let (first, members) = (among.eyes.see(Sight::Turn, 0, next), among.range());
        let (start, count) = (members.start, members.len());
        let mut round = first / count as u64;
        let mut member = (first % count as u64) as usize;
        for turn in first..first + ROUNDS * count as u64 {
            let at = start + member;
            let has_turn = self.has_turn(member, among.set.endpoints[at].weight, round);
            if has_turn && among.open(at) && among.passes(at, rng) {
                let after = turn + 1;
                return Some(Picked { at, after });
            }
            member += 1;
            if member == count {
                (member, round) = (0, round + 1);
            }
        }
        let at = left_over(among, rng)?;
        let after = first + ROUNDS * count as u64;
        Some(Picked { at, after })
    }

    fn has_turn(&self, at: usize, weight: u32, round: u64) -> bool {
        let (weight, heaviest) = (u64::from(weight), self.heaviest);
        if weight == heaviest {
            return true;
        }
        let spread = (at as u64 * GOLDEN) & u64::from(u32::MAX);
        let offset = (spread * heaviest) >> 32;
        (weight * round + offset) % heaviest >= heaviest - weight
    }

    /// An attempt was made: the next turn is `after`, unless others are further already.
    pub(super) fn taken(&self, after: u64) {
        self.next.0.fetch_max(after, Ordering::Relaxed);
    }
}
