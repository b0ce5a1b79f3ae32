//! Nothing but broken attempts: connections refused or broken one after the other, and no answer in
//! between.
//!
//! That is evidence long before a share over a window is: the window is still full of what went well
//! before. An answer of any status ends the row.

use std::time::{Duration, Instant};

use super::window::{Counts, Span};
use crate::cell::ErrorClass;

/// So many attempts in a row.
const ROW: u64 = 5;
/// And over so long: what breaks at one instant is one event (a restart, a balancer that drops its
/// connections), however many attempts it meets.
const LASTS: Duration = Duration::from_millis(100);
/// A row is over when nothing of the kind was met for so long.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// Attempts in a row that met no answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unanswered {
    since: Option<Instant>,
    last: Option<Instant>,
    met: Counts,
}

impl Unanswered {
    /// Enters what ended since the last look.
    pub(super) fn enter(&mut self, met: &Counts, now: Instant) {
        let of = |class| met.errors[class as usize];
        let said = of(ErrorClass::ServerError) + of(ErrorClass::Declared);
        let broken = of(ErrorClass::Connect) + of(ErrorClass::Tls) + of(ErrorClass::Reset);
        let forgotten = (self.last).is_some_and(|at| now.saturating_duration_since(at) > FORGOTTEN);
        if met.answered + said > 0 || forgotten {
            *self = Self::default();
        } else if broken > 0 {
            self.since.get_or_insert(now);
            self.last = Some(now);
            self.met.add(met);
        }
    }

    /// The row, if it says that the region is down.
    pub(super) fn alarm(&self, now: Instant) -> Option<Span> {
        let within = now.saturating_duration_since(self.since?);
        let broken = self.met.failed() - self.met.errors[ErrorClass::Timeout as usize];
        (broken >= ROW && within >= LASTS).then_some(Span {
            counts: self.met,
            within,
        })
    }

    /// Whether the row is of connections that were not made: then the region is unreachable,
    /// whatever its siblings meet.
    pub(super) fn is_unreachable(&self) -> bool {
        let of = |class| self.met.errors[class as usize];
        of(ErrorClass::Connect) + of(ErrorClass::Tls) == self.met.failed()
    }

    /// Whether a row has begun.
    pub(super) fn doubtful(&self) -> bool {
        self.met.failed() >= 2
    }

    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks 50 ms apart: `c`onnect, `r`eset, `t`imeout, `5`xx, `.` answered, `-` nothing; letters
    /// up to a space are one look. The look at which the alarm comes first, from 1.
    fn check(looks: &str, expected: Option<usize>, unreachable: bool) {
        let (mut row, start) = (Unanswered::default(), Instant::now());
        let alarm = looks.split(' ').enumerate().find(|(look, letters)| {
            let now = start + Duration::from_millis(50) * *look as u32;
            let mut met = Counts::default();
            for letter in letters.chars() {
                match letter {
                    'c' => met.errors[ErrorClass::Connect as usize] += 1,
                    'r' => met.errors[ErrorClass::Reset as usize] += 1,
                    't' => met.errors[ErrorClass::Timeout as usize] += 1,
                    '5' => met.errors[ErrorClass::ServerError as usize] += 1,
                    '.' => met.answered += 1,
                    _ => {}
                }
            }
            row.enter(&met, now);
            row.alarm(now).is_some()
        });
        assert_eq!(alarm.map(|(look, _)| look + 1), expected, "{looks}");
        assert_eq!(row.is_unreachable(), unreachable, "{looks}");
    }

    #[test]
    fn five_broken_attempts_in_a_row_over_a_tenth_of_a_second_are_a_row() {
        check("cc cc cc", Some(3), true);
        check("c c c c c", Some(5), true);
        check("rr rr rr", Some(3), false);
        check("rrrrrrrrrr - -", Some(3), false);
        check("rrrrrrrrrr .", None, true);
        check("cc cc c. cc cc", None, true);
        check("cc cc 5 cc cc", None, true);
        check("t t t t t t t t", None, true);
        check("c c c c t", None, true);
        check("c c ct c c", Some(5), false);
    }
}
