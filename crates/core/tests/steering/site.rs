//! A region as it really is: what it answers, when, and how long the queue before it is.

use std::time::Duration;

use crate::scene::RegionSpec;

/// The server gives up what has waited for so long; nobody waits for it any more.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// How a region meets an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meets {
    /// It answers after so long, its queue included.
    Answers(Duration),
    /// It is too full: no answer within [`PATIENCE`].
    Late,
    /// It refuses the connection.
    Refuses,
    /// It says nothing.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Up,
    Down,
    Silent,
}

pub(crate) struct Site {
    pub(crate) spec: RegionSpec,
    pub(crate) state: State,
    /// Whether each of its endpoints lives.
    pub(crate) alive: Vec<bool>,
    /// Requests that wait.
    backlog: f64,
}

impl Site {
    pub(crate) fn new(spec: &RegionSpec) -> Self {
        Self {
            spec: spec.clone(),
            state: State::Up,
            alive: vec![true; spec.endpoints],
            backlog: 0.0,
        }
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        let served = self.rate() * time.as_secs_f64();
        self.backlog = (self.backlog - served).max(0.0);
    }

    /// So many requests a second it serves.
    fn rate(&self) -> f64 {
        let alive = self.alive.iter().filter(|alive| **alive).count();
        self.spec.limit_rps * alive as f64 / self.alive.len() as f64
    }

    /// Whether it serves anybody.
    pub(crate) fn works(&self) -> bool {
        self.state == State::Up && self.alive.contains(&true)
    }

    /// How long a request waits that comes now.
    pub(crate) fn wait(&self) -> Duration {
        match self.rate() {
            rate if rate > 0.0 => Duration::from_secs_f64((self.backlog / rate).min(60.0)),
            _ => PATIENCE,
        }
    }

    pub(crate) fn takes(&mut self, endpoint: usize) -> Meets {
        match self.state {
            State::Down => Meets::Refuses,
            State::Silent => Meets::Nothing,
            State::Up if !self.alive[endpoint] => Meets::Refuses,
            State::Up if self.wait() >= PATIENCE => Meets::Late,
            State::Up => {
                let wait = self.wait();
                self.backlog += 1.0;
                Meets::Answers(wait + self.spec.service)
            }
        }
    }

    /// The first endpoints die, the others live.
    pub(crate) fn lose(&mut self, part: f64) {
        let dead = (part * self.alive.len() as f64).round() as usize;
        for (at, alive) in self.alive.iter_mut().enumerate() {
            *alive = at >= dead;
        }
    }
}
