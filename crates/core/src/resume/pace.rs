//! When a body that has stopped counts as dead, from the transfer's own pace.
//!
//! A fixed limit is either too long for a fast path or too short for a slow source. What a transfer
//! has shown is the better measure: several times its usual gap, and more than the largest, with a
//! floor for the schedulers and lost packets on the way. Only waits for the upstream count: while the
//! client does not read, nothing is expected.

use std::time::Duration;

/// Less patience than this takes a lost packet for a death: TCP sends again after 200 ms at least.
const FLOOR: Duration = Duration::from_millis(500);
/// Until the pace is known.
const UNKNOWN: Duration = Duration::from_secs(2);
/// So many pieces tell the pace.
const KNOWN_AFTER: u32 = 8;
/// The floor where something else speaks against the place as well.
const FLOOR_IN_DOUBT: Duration = Duration::from_millis(50);

/// The gaps between the pieces of one body.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pace {
    pieces: u32,
    usual: Duration,
    largest: Duration,
}

impl Pace {
    /// A piece came after so long a wait; zero if it was there already.
    pub fn came(&mut self, waited: Duration) {
        self.pieces = self.pieces.saturating_add(1);
        self.usual = (self.usual * 7 + waited) / 8;
        self.largest = self.largest.max(waited);
    }

    /// How long a wait is no death yet, for a place that is `rtt` away. At least half a second, two
    /// while little is known of the pace; at most `most`, which is to be less than the limit at which
    /// the request ends.
    pub fn patience(&self, rtt: Option<Duration>, most: Duration) -> Duration {
        let floor = match self.pieces < KNOWN_AFTER {
            true => UNKNOWN,
            false => FLOOR,
        };
        floor
            .max(self.usual.saturating_mul(16))
            .max(self.largest.saturating_mul(4))
            .max(rtt.unwrap_or_default().saturating_mul(4))
            .min(most)
    }

    /// The same where the region is out by other evidence, or by an operator's word: long enough to
    /// tell a stop from the usual gap.
    pub fn patience_in_doubt(&self, rtt: Option<Duration>, most: Duration) -> Duration {
        FLOOR_IN_DOUBT
            .max(self.usual.saturating_mul(2))
            .max(rtt.unwrap_or_default())
            .min(self.patience(rtt, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn check(gaps: &[u64], rtt: u64, most: Duration, patience: [u64; 2]) {
        let mut pace = Pace::default();
        gaps.iter().for_each(|gap| pace.came(ms(*gap)));
        let rtt = (rtt > 0).then_some(ms(rtt));
        let found = [pace.patience(rtt, most), pace.patience_in_doubt(rtt, most)];
        assert_eq!(
            found.map(|found| found.as_millis() as u64),
            patience,
            "{gaps:?} {rtt:?}"
        );
    }

    #[test]
    fn patience_follows_the_pace() {
        check(&[], 0, MINUTE, [2000, 50]);
        check(&[0; 7], 0, MINUTE, [2000, 50]);
        check(&[0; 8], 0, MINUTE, [500, 50]);
        check(&[0; 8], 300, MINUTE, [1200, 300]);
        check(&[10; 100], 0, MINUTE, [500, 50]);
        check(&[100; 100], 0, MINUTE, [1599, 199]);
        check(&[&[0; 8][..], &[1000]].concat(), 0, MINUTE, [4000, 250]);
        check(&[30_000; 8], 0, MINUTE, [60_000, 39_383]);
        check(&[], 0, ms(100), [100, 50]);
        check(&[], 0, ms(20), [20, 20]);
    }
}
