//! How long to wait before another attempt.

use std::time::Duration;

use super::Situation;
use crate::plan::Backoff;

/// An endpoint that asks for more time than this (`Retry-After`) is not asked again: whoever waits
/// for an answer is better off with an error now.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);

/// The upper end of the wait before retry number `retry`, counted from 1: `(2^retry - 1) x base`, at
/// most `max`. Drawing uniformly below it ("full jitter") keeps retries from marching in step.
pub fn backoff(bounds: &Backoff, retry: u8) -> Duration {
    let steps = 2u32.saturating_pow(retry.into()).saturating_sub(1);
    bounds.base.saturating_mul(steps).min(bounds.max)
}

/// Whether the endpoint that failed may be asked again as far as it has a say in that (`Retry-After`,
/// RFC 9110 section 10.2.3): what it asks for is neither more than what is left nor than
/// [`RETRY_AFTER_MAX`].
pub(super) fn may_ask_again(situation: &Situation) -> bool {
    let asked = situation.retry_after.unwrap_or_default();
    asked <= RETRY_AFTER_MAX && asked < situation.left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_bound() {
        let check = |base, max, expected: &[u64]| {
            let ms = Duration::from_millis;
            let bounds = Backoff {
                base: ms(base),
                max: ms(max),
            };
            let waits = (0..).map(|retry| backoff(&bounds, retry).as_millis() as u64);
            let waits: Vec<_> = waits.take(expected.len()).collect();
            assert_eq!(waits, expected);
            assert_eq!(
                backoff(&bounds, u8::MAX),
                ms(if base == 0 { 0 } else { max })
            );
        };
        check(25, 250, &[0, 25, 75, 175, 250, 250]);
        check(100, 150, &[0, 100, 150, 150]);
        check(0, 250, &[0, 0, 0, 0]);
    }
}
