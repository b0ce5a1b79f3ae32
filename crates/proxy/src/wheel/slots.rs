//! The slots of the wheel: where timers queue by tick. Plain data; no clock, no task.
//!
//! Timers live in a slab and know their place in a slot, so taking one off costs the same wherever
//! it is. A slot is a list of keys in no order: everything in it is looked at when its tick passes.

use std::task::{Context, Poll, Waker};

/// Slots of the near level, one tick wide.
const NEAR: u64 = 512;
/// Slots of the far level, `NEAR` ticks wide.
const FAR: u64 = 64;
/// Tick of a timer without a deadline.
const NEVER: u64 = u64::MAX;
/// Words of the map of near slots that are not empty.
const WORDS: usize = (NEAR / 64) as usize;

/// Every timer of one wheel.
pub(super) struct Slots {
    timers: Vec<Entry>,
    free: Vec<u32>,
    slots: Box<[Vec<u32>]>,
    occupied: [u64; WORDS],
    queued: usize,
    queued_far: usize,
    swept: u64,
}

struct Entry {
    deadline: u64,
    place: Option<Place>,
    waker: Option<Waker>,
    hears: Hears,
}

/// Which news wake the task that waits on a timer before its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hears {
    /// Those that are for everybody.
    All,
    /// Those of regions, too.
    Regions,
}

/// Where a timer is queued.
#[derive(Clone, Copy)]
struct Place {
    slot: u32,
    position: u32,
    /// When the sweeper looks there. Never after the deadline that it was queued for.
    tick: u64,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            timers: Vec::new(),
            free: Vec::new(),
            slots: (0..NEAR + FAR).map(|_| Vec::new()).collect(),
            occupied: [0; WORDS],
            queued: 0,
            queued_far: 0,
            swept: 0,
        }
    }
}

impl Slots {
    /// A new timer, with no deadline.
    pub(super) fn insert(&mut self, hears: Hears) -> u32 {
        if let Some(key) = self.free.pop() {
            self.timers[key as usize].hears = hears;
            return key;
        }
        self.timers.push(Entry {
            deadline: NEVER,
            place: None,
            waker: None,
            hears,
        });
        (self.timers.len() - 1) as u32
    }

    /// Forgets a timer. Its waker is the caller's to drop, once nothing is borrowed. The place stays until
    /// the sweeper passes: the next timer of the key, whose deadline is later, needs no other.
    pub(super) fn remove(&mut self, key: u32) -> Option<Waker> {
        self.disarm(key);
        self.free.push(key);
        self.timers[key as usize].waker.take()
    }

    /// Whether no timer is queued.
    pub(super) fn is_empty(&self) -> bool {
        self.queued == 0
    }

    /// Sets a deadline. Returns the tick at which the timer is looked at if it was queued anew.
    pub(super) fn arm(&mut self, key: u32, deadline: u64) -> Option<u64> {
        let entry = &mut self.timers[key as usize];
        entry.deadline = deadline;
        match entry.place {
            // Looked at in time where it is: it will be queued anew from there.
            Some(place) if place.tick <= deadline => None,
            _ if deadline <= self.swept => Some(self.requeue(key, self.swept + 1)),
            _ => Some(self.requeue(key, deadline)),
        }
    }

    /// Takes a deadline back; the timer leaves its slot when the sweeper passes.
    pub(super) fn disarm(&mut self, key: u32) {
        self.timers[key as usize].deadline = NEVER;
    }

    /// The tick of the deadline.
    pub(super) fn deadline(&self, key: u32) -> Option<u64> {
        let deadline = self.timers[key as usize].deadline;
        (deadline != NEVER).then_some(deadline)
    }

    /// Ready once the deadline's tick has been swept; else remembers who asked.
    pub(super) fn poll_expired(&mut self, key: u32, cx: &mut Context<'_>) -> Poll<()> {
        let entry = &mut self.timers[key as usize];
        if entry.deadline <= self.swept {
            return Poll::Ready(());
        }
        if !entry
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            entry.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The wakers of those who wait and hear this; each is remembered anew when it asks again.
    pub(super) fn take_wakers(&mut self, news: Hears) -> Vec<Waker> {
        self.timers
            .iter_mut()
            .filter(|entry| entry.hears >= news)
            .filter_map(|entry| entry.waker.take())
            .collect()
    }

    /// Moves on to `tick` while nothing is queued.
    pub(super) fn skip_to(&mut self, tick: u64) {
        self.swept = self.swept.max(tick);
    }

    /// Looks at every slot up to and including `now`; adds the wakers of what is due to `due`.
    pub(super) fn advance(&mut self, now: u64, due: &mut Vec<Waker>) {
        while self.swept < now {
            match self.next_stop() {
                Some(stop) if stop <= now => self.visit(stop, due),
                _ => self.swept = now,
            }
        }
    }

    /// The next tick at which there is something to look at; none while nothing is queued.
    pub(super) fn next_stop(&self) -> Option<u64> {
        let near = (self.queued > self.queued_far)
            .then(|| self.next_near())
            .flatten();
        let far = (self.queued_far > 0).then(|| (self.swept / NEAR + 1) * NEAR);
        near.into_iter().chain(far).min()
    }

    fn next_near(&self) -> Option<u64> {
        let from = (self.swept + 1) % NEAR;
        let (word, bit) = ((from / 64) as usize, from % 64);
        // The word of `from` comes first without the slots before it, and last with them.
        (0..=WORDS).find_map(|step| {
            let at = (word + step) % WORDS;
            let mask = if step == 0 { u64::MAX << bit } else { u64::MAX };
            let found = self.occupied[at] & mask;
            (found != 0).then(|| {
                let slot = at as u64 * 64 + u64::from(found.trailing_zeros());
                self.swept + 1 + (slot + NEAR - from) % NEAR
            })
        })
    }

    /// Looks at the slots of one tick: the far one first, for it may hold what is due now.
    fn visit(&mut self, tick: u64, due: &mut Vec<Waker>) {
        self.swept = tick;
        if tick.is_multiple_of(NEAR) {
            self.visit_slot(far_slot(tick / NEAR), due);
        }
        self.visit_slot((tick % NEAR) as u32, due);
    }

    fn visit_slot(&mut self, slot: u32, due: &mut Vec<Waker>) {
        // Nothing is queued back into the slot that is being emptied: its next lap is too far.
        while let Some(&key) = self.slots[slot as usize].last() {
            self.unqueue(key);
            let entry = &mut self.timers[key as usize];
            match entry.deadline {
                NEVER => {}
                deadline if deadline <= self.swept => due.extend(entry.waker.take()),
                deadline => self.queue(key, deadline),
            }
        }
    }

    fn requeue(&mut self, key: u32, tick: u64) -> u64 {
        self.unqueue(key);
        self.queue(key, tick);
        self.timers[key as usize]
            .place
            .map_or(tick, |place| place.tick)
    }

    /// Queues a timer for `tick`, which must lie after `swept`.
    fn queue(&mut self, key: u32, tick: u64) {
        let lap = self.swept / NEAR;
        let (slot, tick) = if tick - self.swept < NEAR {
            ((tick % NEAR) as u32, tick)
        } else {
            let lap = (tick / NEAR).min(lap + FAR - 1);
            (far_slot(lap), lap * NEAR)
        };
        let keys = &mut self.slots[slot as usize];
        self.timers[key as usize].place = Some(Place {
            slot,
            position: keys.len() as u32,
            tick,
        });
        keys.push(key);
        self.queued += 1;
        match slot_kind(slot) {
            Kind::Near => self.occupied[slot as usize / 64] |= 1 << (slot % 64),
            Kind::Far => self.queued_far += 1,
        }
    }

    fn unqueue(&mut self, key: u32) {
        let Some(place) = self.timers[key as usize].place.take() else {
            return;
        };
        let keys = &mut self.slots[place.slot as usize];
        keys.swap_remove(place.position as usize);
        if let Some(&moved) = keys.get(place.position as usize)
            && let Some(moved) = &mut self.timers[moved as usize].place
        {
            moved.position = place.position;
        }
        self.queued -= 1;
        match slot_kind(place.slot) {
            Kind::Near if keys.is_empty() => {
                self.occupied[place.slot as usize / 64] &= !(1 << (place.slot % 64));
            }
            Kind::Near => {}
            Kind::Far => self.queued_far -= 1,
        }
    }
}

enum Kind {
    Near,
    Far,
}

fn slot_kind(slot: u32) -> Kind {
    if u64::from(slot) < NEAR {
        Kind::Near
    } else {
        Kind::Far
    }
}

/// The slot of the far level for a lap of the near one.
fn far_slot(lap: u64) -> u32 {
    (NEAR + lap % FAR) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Arm(usize, u64),
        Disarm(usize),
        Replace(usize),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let far = prop_oneof![0..5_u64, 0..600_u64, 0..100_000_u64];
        prop_oneof![
            (0..8_usize, far.clone()).prop_map(|(timer, after)| Step::Arm(timer, after)),
            (0..8_usize).prop_map(Step::Disarm),
            (0..8_usize).prop_map(Step::Replace),
            far.prop_map(Step::Advance),
        ]
    }

    /// A timer as the wheel must appear: its key, its deadline, whether its task has been woken.
    struct Model {
        keys: Vec<u32>,
        deadlines: BTreeMap<usize, u64>,
        wakes: Vec<Arc<Count>>,
        waiting: Vec<bool>,
        now: u64,
    }

    impl Model {
        fn apply(&mut self, slots: &mut Slots, step: Step) {
            match step {
                Step::Arm(timer, after) => {
                    slots.arm(self.keys[timer], self.now + after);
                    self.deadlines.insert(timer, self.now + after);
                }
                Step::Disarm(timer) => {
                    slots.disarm(self.keys[timer]);
                    self.deadlines.remove(&timer);
                }
                Step::Replace(timer) => {
                    drop(slots.remove(self.keys[timer]));
                    self.keys[timer] = slots.insert(Hears::All);
                    self.deadlines.remove(&timer);
                }
                Step::Advance(by) => {
                    self.now += by;
                    let mut due = Vec::new();
                    slots.advance(self.now, &mut due);
                    due.into_iter().for_each(Waker::wake);
                }
            }
        }

        /// Who is due was woken and sees it; who is not does not, and the sweeper will come in time.
        fn check(&mut self, slots: &mut Slots, step: Step) {
            for (timer, key) in self.keys.iter().enumerate() {
                let due = self.deadlines.get(&timer).is_some_and(|at| *at <= self.now);
                let woken = self.wakes[timer].0.swap(0, Ordering::Relaxed) > 0;
                assert!(!woken || due, "timer {timer} woken early by {step:?}");
                let must_wake = due && self.waiting[timer] && matches!(step, Step::Advance(1..));
                assert!(woken || !must_wake, "timer {timer} forgotten by {step:?}");
                let waker = Waker::from(self.wakes[timer].clone());
                let expired = slots
                    .poll_expired(*key, &mut Context::from_waker(&waker))
                    .is_ready();
                assert_eq!(expired, due, "timer {timer} after {step:?}");
                self.waiting[timer] = !expired;
                assert_eq!(slots.deadline(*key), self.deadlines.get(&timer).copied());
            }
            let next = self.deadlines.values().filter(|at| **at > self.now).min();
            if let Some(next) = next {
                assert!(
                    slots.next_stop().is_some_and(|stop| stop <= *next),
                    "{next} {step:?}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn behaves_like_a_list_of_deadlines(steps in prop::collection::vec(step(), 1..60)) {
            let mut slots = Slots::default();
            let keys = (0..8).map(|_| slots.insert(Hears::All)).collect();
            let wakes = (0..8).map(|_| Arc::default()).collect();
            let mut model = Model { keys, deadlines: BTreeMap::new(), wakes, waiting: vec![false; 8], now: 0 };
            for step in steps {
                model.apply(&mut slots, step);
                model.check(&mut slots, step);
            }
            model.keys.into_iter().for_each(|key| drop(slots.remove(key)));
            let mut due = Vec::new();
            slots.advance(model.now + NEAR * FAR, &mut due);
            prop_assert!(due.is_empty() && slots.is_empty());
            prop_assert_eq!(slots.occupied, [0; WORDS]);
            prop_assert_eq!(slots.queued_far, 0);
        }
    }
}
