//! Moments as RFC 3339 in UTC with milliseconds.
//!
//! The calendar is asked once per second; what changes from record to record is three digits.

use std::time::{Duration, SystemTime};

/// `2026-01-31T12:00:00.000Z`.
const LENGTH: usize = 24;
const MILLIS_AT: usize = 20;
const EPOCH: [u8; LENGTH] = *b"1970-01-01T00:00:00.000Z";

/// Formats moments, and remembers the last second that it formatted.
#[derive(Debug)]
pub(crate) struct Stamp {
    second: u64,
    text: [u8; LENGTH],
}

/// `at` as RFC 3339 in UTC with milliseconds. Moments before 1970 and from the last day of 9999 on are written as
/// the beginning of 1970.
pub fn rfc3339(at: SystemTime) -> String {
    String::from_utf8_lossy(Stamp::default().format(at)).into_owned()
}

impl Default for Stamp {
    fn default() -> Self {
        Self {
            second: 0,
            text: EPOCH,
        }
    }
}

impl Stamp {
    /// `at` as text.
    pub(crate) fn format(&mut self, at: SystemTime) -> &[u8; LENGTH] {
        let since = at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        if since.as_secs() != self.second {
            self.second = since.as_secs();
            self.text = calendar(self.second);
        }
        let millis = since.subsec_millis();
        for (place, unit) in [100, 10, 1].into_iter().enumerate() {
            self.text[MILLIS_AT + place] = b'0' + (millis / unit % 10) as u8;
        }
        &self.text
    }
}

fn calendar(second: u64) -> [u8; LENGTH] {
    let mut text = EPOCH;
    let moment = i64::try_from(second)
        .ok()
        .and_then(|second| jiff::Timestamp::from_second(second).ok());
    // Whole seconds are written as `2026-01-31T12:00:00Z`; a year beyond 9999 would be longer.
    let written = moment.map(|moment| moment.to_string()).unwrap_or_default();
    if written.len() == MILLIS_AT {
        text[..MILLIS_AT - 1].copy_from_slice(&written.as_bytes()[..MILLIS_AT - 1]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_utc_with_milliseconds() {
        let check = |millis: u64, expected: &str| {
            assert_eq!(
                rfc3339(SystemTime::UNIX_EPOCH + Duration::from_millis(millis)),
                expected
            );
        };
        check(0, "1970-01-01T00:00:00.000Z");
        check(7, "1970-01-01T00:00:00.007Z");
        check(951_782_400_999, "2000-02-29T00:00:00.999Z");
        check(1_767_225_599_120, "2025-12-31T23:59:59.120Z");
        check(253_402_128_000_001, "9999-12-30T00:00:00.001Z");
    }

    #[test]
    fn a_stamp_follows_the_clock_both_ways() {
        let mut stamp = Stamp::default();
        let mut at = |millis| {
            let moment = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
            String::from_utf8(stamp.format(moment).to_vec()).unwrap()
        };
        assert_eq!(at(1_500), "1970-01-01T00:00:01.500Z");
        assert_eq!(at(1_501), "1970-01-01T00:00:01.501Z");
        assert_eq!(at(61_000), "1970-01-01T00:01:01.000Z");
        assert_eq!(at(999), "1970-01-01T00:00:00.999Z");
    }

    #[test]
    fn absurd_moments_are_the_beginning() {
        assert_eq!(
            rfc3339(SystemTime::UNIX_EPOCH - Duration::from_secs(1)),
            "1970-01-01T00:00:00.000Z"
        );
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(400_000_000_000);
        assert_eq!(rfc3339(far), "1970-01-01T00:00:00.000Z");
    }
}
