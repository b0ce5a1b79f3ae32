//! How fast a region that works worse than it should is left, and how fast it is gone back to.
//!
//! It may be slow or fail only because it has too much to do. To move all of its load to the next one at
//! once would make that one slow instead, and to move all of it back once the first has recovered would
//! begin anew. So it is left fast but not at once, and gone back to slowly: what is halfway enough is
//! found on the way, as TCP finds its share of a path.

use std::time::Duration;

/// Its part falls by a factor of e in so long.
const DOWN: Duration = Duration::from_millis(500);
/// And grows by the same in so long.
const UP: Duration = Duration::from_secs(5);
/// From here on nothing is left of it, and from here it grows again.
const LEAST: f64 = 0.02;

/// The part of its share that a region takes because of how well it works.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ease(f64);

impl Default for Ease {
    fn default() -> Self {
        Self(1.0)
    }
}

impl Ease {
    /// 0 to 1.
    pub(super) fn part(self) -> f64 {
        self.0
    }

    /// Time has passed in which the region worked worse than it should, or not.
    pub(super) fn look(&mut self, ails: bool, passed: Duration) {
        let by = |time: Duration| passed.div_duration_f64(time).exp();
        self.0 = match ails {
            true if self.0 < LEAST => 0.0,
            true => self.0 / by(DOWN),
            false => (self.0.max(LEAST) * by(UP)).min(1.0),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(250);

    #[test]
    fn it_is_left_within_seconds_and_gone_back_to_slowly() {
        let mut ease = Ease::default();
        let mut look = |ails, count: usize| {
            (0..count).for_each(|_| ease.look(ails, LOOK));
            ease.part()
        };
        assert_eq!(look(false, 10), 1.0);
        assert!((0.59..0.62).contains(&look(true, 1)), "not at once");
        assert!(look(true, 3) < 0.14, "within a second");
        assert_eq!(look(true, 6), 0.0);
        assert!((0.02..0.03).contains(&look(false, 4)));
        assert!((0.1..0.2).contains(&look(false, 36)), "ten seconds later");
        assert_eq!(look(false, 60), 1.0);
    }
}
