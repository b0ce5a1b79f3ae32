//! The requests under way, and their attempts.

use tidegate_core::retry::Phase;

use crate::clock::AttemptId;
use crate::physics::Traits;
use crate::request::{Attempt, Request};

/// All requests under way.
#[derive(Default)]
pub(crate) struct Requests {
    slots: Vec<Option<Request>>,
    free: Vec<usize>,
    /// Attempts made so far, of which each has its number.
    pub(crate) attempts: u64,
}

impl Requests {
    /// Keeps a request; says where.
    pub(crate) fn insert(&mut self, request: Request) -> usize {
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = Some(request);
                slot
            }
            None => {
                self.slots.push(Some(request));
                self.slots.len() - 1
            }
        }
    }

    /// Ends a request.
    pub(crate) fn remove(&mut self, slot: usize) -> Request {
        self.free.push(slot);
        self.slots[slot].take().expect("a request ends once")
    }

    pub(crate) fn get(&mut self, slot: usize) -> &mut Request {
        self.slots[slot].as_mut().expect("its request lives on")
    }

    /// The attempt, if it is still under way.
    pub(crate) fn attempt(&mut self, id: AttemptId) -> Option<(&mut Attempt, Traits)> {
        let request = self.slots[id.request].as_mut()?;
        let mut attempts = request.under_way.iter_mut();
        let attempt = attempts.find(|attempt| attempt.number == id.number)?;
        Some((attempt, request.traits))
    }

    /// Ends the attempt, which is under way.
    pub(crate) fn end(&mut self, id: AttemptId) -> Attempt {
        let under_way = &mut self.get(id.request).under_way;
        let at = under_way
            .iter()
            .position(|attempt| attempt.number == id.number);
        under_way.remove(at.expect("it is under way"))
    }

    /// The attempts in a region that wait for their head.
    pub(crate) fn waiting_in(&self, position: u8) -> Vec<AttemptId> {
        self.those_of(|attempt| {
            attempt.position == position && attempt.phase != Phase::BodyUnderWay
        })
    }

    /// The attempts in a region.
    pub(crate) fn under_way_in(&self, position: u8) -> Vec<AttemptId> {
        self.those_of(|attempt| attempt.position == position)
    }

    fn those_of(&self, wanted: impl Fn(&Attempt) -> bool) -> Vec<AttemptId> {
        let mut there = Vec::new();
        for (slot, request) in self.slots.iter().enumerate() {
            let under_way = request.iter().flat_map(|request| &request.under_way);
            let here = under_way.filter(|attempt| wanted(attempt));
            there.extend(here.map(|attempt| AttemptId {
                request: slot,
                number: attempt.number,
            }));
        }
        there
    }
}
