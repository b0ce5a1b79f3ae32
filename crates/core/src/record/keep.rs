//! Where records are kept: a ring for each worker, the newest in the place of the oldest.
//!
//! A ring is locked only when a record is written or asked for, and its worker is the only one that
//! writes: requests of which nothing is recorded never come near it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Record, USUAL_BYTES};
use crate::plan::Explain;

/// The records of all workers.
#[derive(Debug, Default)]
pub struct Records {
    rings: Mutex<Vec<Arc<Ring>>>,
}

/// The records of one worker, oldest first.
#[derive(Debug, Default)]
pub struct Ring(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    records: VecDeque<Arc<Record>>,
    bytes: usize,
    /// How many rings share what may be kept.
    rings: usize,
}

impl Records {
    /// A ring for one more worker.
    pub fn ring(&self) -> Arc<Ring> {
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        rings.push(Arc::default());
        for ring in rings.iter() {
            ring.lock().rings = rings.len();
        }
        rings[rings.len() - 1].clone()
    }

    /// The records of the request with this identity, newest first. A client that is trusted may have
    /// given several the same.
    pub fn find(&self, id: &str) -> Vec<Arc<Record>> {
        self.newest(usize::MAX, |record| &*record.id == id)
    }

    /// The newest records that `wanted` says yes to, at most so many, newest first.
    pub fn newest(&self, most: usize, wanted: impl Fn(&Record) -> bool) -> Vec<Arc<Record>> {
        let rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for ring in rings.iter() {
            let kept = ring.lock();
            let records = kept.records.iter().rev();
            let records = records.filter(|record| wanted(record)).take(most);
            found.extend(records.cloned());
        }
        found.sort_by_key(|record| std::cmp::Reverse(record.at));
        found.truncate(most);
        found
    }

    /// How many there are, and how many bytes they take.
    pub fn size(&self) -> (usize, usize) {
        let rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let sizes = rings.iter().map(|ring| {
            let kept = ring.lock();
            (kept.records.len(), kept.bytes)
        });
        sizes.fold((0, 0), |(records, bytes), (more, larger)| {
            (records + more, bytes + larger)
        })
    }
}

impl Ring {
    /// Adds a record; the oldest go that are beyond the ring's part of what `policy` keeps, in number
    /// or, each counted as usual, in bytes. The newest stays whatever its size.
    pub fn write(&self, record: Record, policy: &Explain) {
        let mut gone = Vec::new();
        let mut kept = self.lock();
        let most = (policy.keep as usize).div_ceil(kept.rings.max(1)).max(1);
        kept.bytes += record.bytes();
        kept.records.push_back(Arc::new(record));
        while kept.records.len() > most
            || kept.bytes > most.saturating_mul(USUAL_BYTES) && kept.records.len() > 1
        {
            let Some(oldest) = kept.records.pop_front() else {
                break;
            };
            kept.bytes = kept.bytes.saturating_sub(oldest.bytes());
            gone.push(oldest);
        }
        // What is thrown away is so without the lock.
        drop(kept);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::{Drawn, End, Record};
    use super::*;
    use crate::ids::Generation;
    use crate::termination::Termination;

    fn record(id: &str, at: u64) -> Record {
        Record {
            id: id.into(),
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(at),
            generation: Generation(1),
            content_hash: "".into(),
            regions: [].into(),
            facts: None,
            way: None,
            chances: None,
            drawn: Drawn::default(),
            early: None,
            sampled: at.is_multiple_of(2),
            decisions: Vec::new(),
            attempts: [].into(),
            end: End {
                reason: Termination::NoRoute,
                status: Some(404),
                took: Duration::ZERO,
                first_byte: None,
                rescued: false,
                why_not: None,
            },
        }
    }

    #[test]
    fn the_newest_take_the_places_of_the_oldest() {
        let records = Records::default();
        let (a, b) = (records.ring(), records.ring());
        let policy = Explain::new(0.0, 4);
        for at in 0..6 {
            a.write(record(&format!("a{at}"), at), &policy);
        }
        b.write(record("b", 3), &policy);
        let ids = |most, wanted: fn(&Record) -> bool| -> Vec<String> {
            let found = records.newest(most, wanted);
            found.iter().map(|record| record.id.to_string()).collect()
        };
        assert_eq!(ids(9, |_| true), ["a5", "a4", "b"]);
        assert_eq!(ids(1, |_| true), ["a5"]);
        assert_eq!(ids(9, |record| record.sampled), ["a4"]);
        assert_eq!((records.find("b").len(), records.find("a0").len()), (1, 0));
        assert_eq!(records.size().0, 3);
    }

    #[test]
    fn large_records_leave_room_for_fewer() {
        let records = Records::default();
        let ring = records.ring();
        let policy = Explain::new(0.0, 4);
        for at in 0..4 {
            ring.write(record(&"x".repeat(2 * USUAL_BYTES), at), &policy);
            assert!(records.size().1 <= 4 * USUAL_BYTES);
        }
        assert_eq!(records.size().0, 1);
        ring.write(record(&"x".repeat(9 * USUAL_BYTES), 9), &policy);
        assert_eq!(records.size().0, 1, "the newest is always there");
        ring.write(record("small", 10), &Explain::new(0.0, 1));
        assert_eq!(records.size().0, 1);
        assert_eq!(records.find("small").len(), 1);
    }
}
