//! Which answers can be continued, and which answers continue them.

use crate::plan::Resume;

use super::Span;

/// What the head of an answer to a GET says, as far as a resume depends on it. A field that is there
/// more than once has no meaning: leave such heads alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnswerFacts<'a> {
    /// Status.
    pub status: u16,
    /// The body's length as announced (`Content-Length`).
    pub length: Option<u64>,
    /// `ETag`.
    pub etag: Option<&'a [u8]>,
    /// `Last-Modified`.
    pub last_modified: Option<&'a [u8]>,
    /// Whether `Date` is so long after `Last-Modified` that a second change cannot hide in the same
    /// moment (RFC 9110 section 8.8.2.2).
    pub settled: bool,
    /// `Content-Range`.
    pub content_range: Option<&'a [u8]>,
    /// `Content-Encoding`.
    pub content_encoding: Option<&'a [u8]>,
    /// `Accept-Ranges`.
    pub accept_ranges: Option<&'a [u8]>,
}

/// The part of a representation that an answer promised, and what tells the representation apart
/// from every other one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Representation {
    validator: Validator,
    coding: Box<[u8]>,
    span: Span,
    complete: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Validator {
    ETag(Box<[u8]>),
    LastModified(Box<[u8]>),
}

/// Why an answer is not the continuation that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It has another status than 206.
    #[error("it answered with status {0} instead of a part")]
    Status(u16),
    /// It says no single range of bytes, or not in the words of RFC 9110 section 14.4.
    #[error("its Content-Range names no single part")]
    Range,
    /// The part begins elsewhere.
    #[error("its part begins at byte {0}")]
    Start(u64),
    /// The part ends elsewhere, or its length is not that of its range.
    #[error("its part is not as long as what is missing")]
    End,
    /// The whole is not as long.
    #[error("the whole has another length there")]
    Complete,
    /// It has another validator, or none.
    #[error("it has another version, or does not say which")]
    Validator,
    /// It has another content coding.
    #[error("it is coded otherwise")]
    Coding,
}

impl Representation {
    /// What an answer promised, if it can be continued: a status of 200 or a single part, a known
    /// length, and a validator that `rules` accept. A strong `ETag` counts; a weak one says that bytes
    /// may differ, so that `Last-Modified` counts only beside none (RFC 9110 section 13.1.5).
    pub fn of(rules: &Resume, answer: &AnswerFacts<'_>) -> Option<Self> {
        if !rules.enabled || answer.accept_ranges.is_some_and(refuses_ranges) {
            return None;
        }
        let (span, complete) = promised(answer)?;
        Some(Self {
            validator: Validator::of(rules, answer)?,
            coding: coding(answer).into(),
            span,
            complete,
        })
    }

    /// Position of the answer's first byte in the whole representation.
    pub fn first(&self) -> u64 {
        self.span.first
    }

    /// Position of its last byte.
    pub fn last(&self) -> u64 {
        self.span.last
    }

    /// Length of its body in bytes, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> u64 {
        self.span.len()
    }

    /// A value for `If-Range`.
    pub fn validator(&self) -> &[u8] {
        match &self.validator {
            Validator::ETag(value) | Validator::LastModified(value) => value,
        }
    }

    /// Whether `answer` has exactly `asked` of the same representation. What a part does not say of its
    /// coding is as it was: an answer to `If-Range` need not repeat it (RFC 9110 section 15.3.7).
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn continues(&self, asked: Span, answer: &AnswerFacts<'_>) -> Result<(), Misfit> {
        if answer.status != 206 {
            return Err(Misfit::Status(answer.status));
        }
        let range = answer.content_range.and_then(parse_range);
        let (span, complete) = range.ok_or(Misfit::Range)?;
        let coded = answer.content_encoding.is_some();
        let length = answer.length.unwrap_or(span.len());
        [
            (span.first == asked.first, Misfit::Start(span.first)),
            (span.last == asked.last, Misfit::End),
            (length == span.len(), Misfit::End),
            (complete == self.complete, Misfit::Complete),
            (self.validator.is_of(answer), Misfit::Validator),
            (
                !coded || coding(answer).eq_ignore_ascii_case(&self.coding),
                Misfit::Coding,
            ),
        ]
        .into_iter()
        .find_map(|(holds, misfit)| (!holds).then_some(Err(misfit)))
        .unwrap_or(Ok(()))
    }
}

impl Misfit {
    /// Whether the place is no better a moment later: it has something else, or no parts. Otherwise it
    /// has only failed.
    pub fn is_lasting(self) -> bool {
        !matches!(self, Self::Status(408 | 429 | 500..))
    }

    /// The word for logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Status(_) => "no_part",
            Self::Range => "no_range",
            Self::Start(_) => "other_start",
            Self::End => "other_end",
            Self::Complete => "other_length",
            Self::Validator => "other_version",
            Self::Coding => "other_coding",
        }
    }
}

impl Span {
    /// How many bytes it is.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(self) -> u64 {
        self.last - self.first + 1
    }
}

impl Validator {
    fn of(rules: &Resume, answer: &AnswerFacts<'_>) -> Option<Self> {
        match (answer.etag, answer.last_modified) {
            (Some(tag), _) => is_strong(tag).then(|| Self::ETag(tag.into())),
            (None, Some(date)) if rules.last_modified && answer.settled && !date.is_empty() => {
                Some(Self::LastModified(date.into()))
            }
            (None, _) => None,
        }
    }

    fn is_of(&self, answer: &AnswerFacts<'_>) -> bool {
        match self {
            Self::ETag(tag) => answer.etag == Some(tag),
            Self::LastModified(date) => answer.last_modified == Some(date),
        }
    }
}

/// An entity tag by the grammar of RFC 9110 section 8.8.3, without the mark of a weak one.
fn is_strong(tag: &[u8]) -> bool {
    let inner = tag
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    inner.is_some_and(|inner| {
        let allowed = |byte: &u8| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..);
        inner.iter().all(allowed)
    })
}

fn refuses_ranges(accept_ranges: &[u8]) -> bool {
    accept_ranges.eq_ignore_ascii_case(b"none")
}

fn coding<'a>(answer: &AnswerFacts<'a>) -> &'a [u8] {
    answer.content_encoding.unwrap_or(b"identity")
}

/// The part that an answer carries, and the length of the whole.
fn promised(answer: &AnswerFacts<'_>) -> Option<(Span, u64)> {
    match answer.status {
        200 => {
            let complete = answer.length?;
            let last = complete.checked_sub(1)?;
            Some((Span { first: 0, last }, complete))
        }
        206 => parse_range(answer.content_range?)
            .filter(|(span, _)| answer.length.is_none_or(|length| length == span.len())),
        _ => None,
    }
}

/// `bytes 10-19/100`. None for an unknown length of the whole, and for what cannot be.
fn parse_range(value: &[u8]) -> Option<(Span, u64)> {
    let text = std::str::from_utf8(value).ok()?;
    let (unit, rest) = text.split_once(' ')?;
    let (range, complete) = rest.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let span = Span {
        first: position(first)?,
        last: position(last)?,
    };
    let complete = position(complete)?;
    let holds =
        unit.eq_ignore_ascii_case("bytes") && span.first <= span.last && span.last < complete;
    holds.then_some((span, complete))
}

/// Digits and nothing else.
fn position(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: AnswerFacts<'static> = AnswerFacts {
        status: 200,
        length: Some(100),
        etag: Some(b"\"v1\""),
        last_modified: None,
        settled: false,
        content_range: None,
        content_encoding: None,
        accept_ranges: None,
    };
    const PART: AnswerFacts<'static> = AnswerFacts {
        status: 206,
        length: Some(90),
        content_range: Some(b"bytes 10-99/100"),
        ..WHOLE
    };
    const DATE: &[u8] = b"Sat, 29 Oct 1994 19:43:31 GMT";
    const BY_TAG: Resume = Resume {
        enabled: true,
        last_modified: false,
    };
    const BY_DATE: Resume = Resume {
        enabled: true,
        last_modified: true,
    };

    fn check(rules: Resume, answer: AnswerFacts<'_>, resumable: Option<(u64, u64)>) {
        let found = Representation::of(&rules, &answer);
        let span = found.map(|found| (found.first(), found.last()));
        assert_eq!(span, resumable, "{answer:?}");
    }

    #[test]
    fn answers_with_a_strong_tag_and_a_known_length_can_be_continued() {
        check(BY_TAG, WHOLE, Some((0, 99)));
        check(BY_TAG, PART, Some((10, 99)));
        let unsized_part = AnswerFacts {
            length: None,
            ..PART
        };
        check(BY_TAG, unsized_part, Some((10, 99)));
        let off = Resume {
            enabled: false,
            last_modified: true,
        };
        check(off, WHOLE, None);
        for status in [201, 203, 204, 304, 404, 416, 500] {
            check(BY_TAG, AnswerFacts { status, ..WHOLE }, None);
        }
        for length in [None, Some(0)] {
            check(BY_TAG, AnswerFacts { length, ..WHOLE }, None);
        }
        let longer = AnswerFacts {
            length: Some(91),
            ..PART
        };
        check(BY_TAG, longer, None);
    }

    #[test]
    fn what_refuses_ranges_is_not_asked_for_any() {
        for (accept_ranges, span) in [
            (&b"bytes"[..], Some((0, 99))),
            (b"none", None),
            (b"None", None),
            (b"", Some((0, 99))),
        ] {
            let answer = AnswerFacts {
                accept_ranges: Some(accept_ranges),
                ..WHOLE
            };
            check(BY_TAG, answer, span);
        }
    }

    #[test]
    fn only_strong_tags_count() {
        for (etag, strong) in [
            (&b"\"v1\""[..], true),
            (b"\"\"", true),
            (b"\"\xe4\"", true),
            (b"W/\"v1\"", false),
            (b"w/\"v1\"", false),
            (b"v1", false),
            (b"\"", false),
            (b"\"a\"b\"", false),
            (b"\"a b\"", false),
            (b"", false),
        ] {
            let answer = AnswerFacts {
                etag: Some(etag),
                ..WHOLE
            };
            check(BY_TAG, answer, strong.then_some((0, 99)));
        }
    }

    #[test]
    fn dates_count_where_the_route_says_so_and_beside_no_tag() {
        let dated = AnswerFacts {
            etag: None,
            last_modified: Some(DATE),
            settled: true,
            ..WHOLE
        };
        check(BY_DATE, dated, Some((0, 99)));
        check(BY_TAG, dated, None);
        let fresh = AnswerFacts {
            settled: false,
            ..dated
        };
        check(BY_DATE, fresh, None);
        let weak = AnswerFacts {
            etag: Some(b"W/\"v1\""),
            ..dated
        };
        check(BY_DATE, weak, None);
        let none = AnswerFacts {
            last_modified: None,
            ..dated
        };
        check(BY_DATE, none, None);
    }

    #[test]
    fn ranges_are_read_strictly() {
        let check = |text: &str, expected: Option<(u64, u64, u64)>| {
            let found = parse_range(text.as_bytes());
            let found = found.map(|(span, complete)| (span.first, span.last, complete));
            assert_eq!(found, expected, "{text}");
        };
        check("bytes 0-0/1", Some((0, 0, 1)));
        check("Bytes 10-99/100", Some((10, 99, 100)));
        let last = u64::MAX - 1;
        check(
            &format!("bytes 0-{last}/{}", u64::MAX),
            Some((0, last, u64::MAX)),
        );
        for bad in [
            "bytes 10-99/*",
            "bytes */100",
            "bytes 99-10/100",
            "bytes 10-100/100",
            "bytes=10-99/100",
            "bytes 10-99",
            "bytes +10-99/100",
            "bytes 10-99/100 ",
            "bytes  10-99/100",
            "bytes -99/100",
            "bytes 10-/100",
            "bytes 0-18446744073709551616/18446744073709551617",
            "lines 10-99/100",
            "",
        ] {
            check(bad, None);
        }
    }

    fn check_fit(first: AnswerFacts<'_>, then: AnswerFacts<'_>, expected: Result<(), Misfit>) {
        let rules = BY_DATE;
        let what = Representation::of(&rules, &first).expect("resumable");
        let asked = Span {
            first: 10,
            last: 99,
        };
        assert_eq!(what.continues(asked, &then), expected, "{then:?}");
    }

    #[test]
    fn a_continuation_has_exactly_what_was_asked_for() {
        check_fit(WHOLE, PART, Ok(()));
        check_fit(PART, PART, Ok(()));
        let unsized_part = AnswerFacts {
            length: None,
            ..PART
        };
        check_fit(WHOLE, unsized_part, Ok(()));
        check_fit(WHOLE, WHOLE, Err(Misfit::Status(200)));
        for status in [404, 412, 416, 503] {
            let refused = AnswerFacts { status, ..PART };
            check_fit(WHOLE, refused, Err(Misfit::Status(status)));
        }
        for (range, length, misfit) in [
            (&b"bytes 11-99/100"[..], 89, Misfit::Start(11)),
            (b"bytes 9-99/100", 91, Misfit::Start(9)),
            (b"bytes 10-98/100", 89, Misfit::End),
            (b"bytes 10-99/100", 91, Misfit::End),
            (b"bytes 10-99/101", 90, Misfit::Complete),
            (b"bytes 10-99/*", 90, Misfit::Range),
        ] {
            let answer = AnswerFacts {
                content_range: Some(range),
                length: Some(length),
                ..PART
            };
            check_fit(WHOLE, answer, Err(misfit));
        }
        let multipart = AnswerFacts {
            content_range: None,
            ..PART
        };
        check_fit(WHOLE, multipart, Err(Misfit::Range));
    }

    #[test]
    fn a_continuation_has_the_same_validator() {
        for etag in [None, Some(&b"\"v2\""[..]), Some(b"W/\"v1\"")] {
            check_fit(WHOLE, AnswerFacts { etag, ..PART }, Err(Misfit::Validator));
        }
        let dated = AnswerFacts {
            etag: None,
            last_modified: Some(DATE),
            settled: true,
            ..WHOLE
        };
        let part = |last_modified| AnswerFacts {
            etag: None,
            last_modified,
            ..PART
        };
        check_fit(dated, part(Some(DATE)), Ok(()));
        check_fit(dated, part(None), Err(Misfit::Validator));
        let later = Some(&b"Sat, 29 Oct 1994 19:43:32 GMT"[..]);
        check_fit(dated, part(later), Err(Misfit::Validator));
    }

    #[test]
    fn a_continuation_is_coded_the_same_way() {
        let coded = |facts, coding| AnswerFacts {
            content_encoding: coding,
            ..facts
        };
        let check = |first: Option<&'static [u8]>, then: Option<&'static [u8]>, fits: bool| {
            let expected = fits.then_some(()).ok_or(Misfit::Coding);
            check_fit(coded(WHOLE, first), coded(PART, then), expected);
        };
        check(Some(b"gzip"), Some(b"gzip"), true);
        check(Some(b"gzip"), Some(b"GZIP"), true);
        check(Some(b"gzip"), None, true);
        check(None, Some(b"identity"), true);
        check(None, Some(b"gzip"), false);
        check(Some(b"gzip"), Some(b"br"), false);
        check(Some(b"gzip"), Some(b"identity"), false);
    }
}
