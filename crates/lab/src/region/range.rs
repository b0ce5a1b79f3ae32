//! Byte ranges (RFC 9110, section 14) as a pure decision: header values in, which bytes to send out.
//!
//! One range is honoured; several at once may be ignored by the RFC and are. What does not parse is ignored, as
//! the RFC demands, so that only a well-formed range beyond the end is an error.

/// Which part of a representation to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// All of it, status 200.
    Whole,
    /// `first..=last`, status 206.
    Part { first: u64, last: u64 },
    /// Nothing fits, status 416.
    Unsatisfiable,
}

/// Decides for a representation of `complete` bytes with entity tag `etag`.
///
/// `If-Range` must equal the tag (strong comparison, section 13.1.5); a date never does, since we have none.
pub(super) fn select(
    range: Option<&str>,
    if_range: Option<&str>,
    etag: Option<&str>,
    complete: u64,
) -> Selection {
    let fresh = if_range.is_none_or(|wanted| etag == Some(wanted.trim()));
    match range.filter(|_| fresh).and_then(parse) {
        Some(wanted) => wanted.within(complete),
        None => Selection::Whole,
    }
}

#[derive(Clone, Copy)]
enum Wanted {
    From(u64),
    Between(u64, u64),
    Last(u64),
}

impl Wanted {
    fn within(self, complete: u64) -> Selection {
        let (first, last) = match self {
            Self::From(first) => (first, u64::MAX),
            Self::Between(first, last) => (first, last),
            Self::Last(0) => return Selection::Unsatisfiable,
            Self::Last(n) => (complete.saturating_sub(n), u64::MAX),
        };
        if first >= complete {
            return Selection::Unsatisfiable;
        }
        Selection::Part {
            first,
            last: last.min(complete - 1),
        }
    }
}

fn parse(value: &str) -> Option<Wanted> {
    let (unit, set) = value.split_once('=')?;
    let (first, last) = set.trim().split_once('-')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    match (first, last) {
        ("", last) => Some(Wanted::Last(position(last)?)),
        (first, "") => Some(Wanted::From(position(first)?)),
        (first, last) => {
            let (first, last) = (position(first)?, position(last)?);
            (first <= last).then_some(Wanted::Between(first, last))
        }
    }
}

fn position(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(first: u64, last: u64) -> Selection {
        Selection::Part { first, last }
    }

    #[test]
    fn ranges_of_a_hundred_bytes() {
        let cases = [
            ("bytes=0-9", part(0, 9)),
            ("bytes=90-", part(90, 99)),
            ("bytes=-10", part(90, 99)),
            ("bytes=-1000", part(0, 99)),
            ("bytes=50-1000", part(50, 99)),
            ("Bytes=99-99", part(99, 99)),
            ("bytes=100-", Selection::Unsatisfiable),
            ("bytes=-0", Selection::Unsatisfiable),
            ("bytes=9-0", Selection::Whole),
            ("bytes=0-1,5-6", Selection::Whole),
            ("bytes=+1-2", Selection::Whole),
            ("lines=0-9", Selection::Whole),
            ("bytes=-", Selection::Whole),
            ("bytes", Selection::Whole),
        ];
        for (range, expected) in cases {
            assert_eq!(
                select(Some(range), None, Some("\"a\""), 100),
                expected,
                "{range}"
            );
        }
    }

    #[test]
    fn a_stale_condition_gets_the_whole() {
        let cases = [
            (Some("\"a\""), Some("\"a\""), part(0, 9)),
            (Some("\"b\""), Some("\"a\""), Selection::Whole),
            (Some("W/\"a\""), Some("\"a\""), Selection::Whole),
            (
                Some("Sat, 29 Oct 1994 19:43:31 GMT"),
                Some("\"a\""),
                Selection::Whole,
            ),
            (Some("\"a\""), None, Selection::Whole),
            (None, None, part(0, 9)),
        ];
        for (if_range, etag, expected) in cases {
            let got = select(Some("bytes=0-9"), if_range, etag, 100);
            assert_eq!(got, expected, "{if_range:?} {etag:?}");
        }
    }

    #[test]
    fn an_empty_file_has_no_ranges() {
        assert_eq!(
            select(Some("bytes=0-"), None, None, 0),
            Selection::Unsatisfiable
        );
        assert_eq!(
            select(Some("bytes=-5"), None, None, 0),
            Selection::Unsatisfiable
        );
        assert_eq!(select(None, None, None, 0), Selection::Whole);
    }
}
