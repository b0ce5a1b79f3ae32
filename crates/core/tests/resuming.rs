//! Wherever an answer breaks off, and whatever the places say that it is asked of next, the client has
//! bytes of one representation from its first byte on: all of them, or visibly not.

use proptest::prelude::*;
use tidegate_core::plan::Resume;
use tidegate_core::resume::{AnswerFacts, Misfit, Representation, Span, Spliced, Transfer};

/// What a place has, and how it answers a request for a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The same, by the book.
    Same,
    /// Every byte is another one, under the same tag and length.
    Other,
    /// The same, under another tag.
    Retagged,
    /// All of it, from the first byte on.
    Whole,
    /// One byte later than asked, and says so.
    Later,
    /// One byte later than asked, and says that it is not.
    LaterInSecret,
    /// A byte more than asked behind the part, without a length.
    TooMuch,
    /// None.
    Missing,
}

const PLACES: [Place; 8] = [
    Place::Same,
    Place::Other,
    Place::Retagged,
    Place::Whole,
    Place::Later,
    Place::LaterInSecret,
    Place::TooMuch,
    Place::Missing,
];
const TAG: &[u8] = b"\"v1\"";

/// One place, asked in turn, that breaks off after so many bytes of its answer's body.
#[derive(Clone, Copy, Debug)]
struct Visit {
    place: Place,
    breaks_after: usize,
}

struct Reply {
    status: u16,
    tag: &'static [u8],
    range: Option<String>,
    body: Vec<u8>,
}

impl Place {
    fn answer(self, content: &[u8], asked: Span) -> Reply {
        let (first, last) = (asked.first as usize, asked.last as usize);
        let said = |first: usize| Some(format!("bytes {first}-{last}/{}", content.len()));
        let other = || content.iter().map(|byte| !byte).collect::<Vec<_>>();
        let later = (first + 1).min(last);
        let (status, range, body) = match self {
            Self::Same | Self::Retagged => (206, said(first), content[first..=last].to_vec()),
            Self::Other => (206, said(first), other()[first..=last].to_vec()),
            Self::Whole => (200, None, content.to_vec()),
            Self::Later => (206, said(later), content[later..=last].to_vec()),
            Self::LaterInSecret => (206, said(first), content[later..=last].to_vec()),
            Self::TooMuch => (206, said(first), [&content[first..=last], b"x"].concat()),
            Self::Missing => (404, None, b"no such thing".to_vec()),
        };
        let tag = match self {
            Self::Retagged => &b"\"v2\""[..],
            _ => TAG,
        };
        Reply {
            status,
            tag,
            range,
            body,
        }
    }
}

/// What the client got, and whether it was told that this is all.
#[derive(Debug, PartialEq, Eq)]
struct Got {
    bytes: Vec<u8>,
    whole: bool,
}

/// A download that begins with all of `content` from `begin` on, breaks off after `breaks_after` bytes
/// and goes on through `visits`, in pieces of the sizes that `piece` gives.
fn download(
    content: &[u8],
    begin: usize,
    breaks_after: usize,
    visits: &[Visit],
    mut piece: impl FnMut() -> usize,
) -> Got {
    let range = format!("bytes {begin}-{}/{}", content.len() - 1, content.len());
    let facts = AnswerFacts {
        status: 206,
        etag: Some(TAG),
        content_range: Some(range.as_bytes()),
        ..AnswerFacts::default()
    };
    let what = Representation::of(&Resume::default(), &facts).expect("a strong tag");
    let mut transfer = Transfer::new(what);
    let mut bytes = Vec::new();
    let mut body = &content[begin..];
    let mut visits = visits.iter();
    let mut breaks_after = breaks_after;
    let mut replies: Vec<Reply>;
    loop {
        match flow(
            &mut transfer,
            &body[..body.len().min(breaks_after)],
            &mut bytes,
            &mut piece,
        ) {
            Err(_) => {
                return Got {
                    bytes,
                    whole: false,
                };
            }
            Ok(()) if transfer.is_whole() => return Got { bytes, whole: true },
            Ok(()) => {}
        }
        let fits = loop {
            let Some(visit) = visits.next() else {
                return Got {
                    bytes,
                    whole: false,
                };
            };
            let reply = visit.place.answer(content, transfer.span());
            if accept(&mut transfer, &reply).is_ok() {
                breaks_after = visit.breaks_after;
                break reply;
            }
        };
        replies = vec![fits];
        body = &replies[0].body;
    }
}

fn flow(
    transfer: &mut Transfer,
    mut body: &[u8],
    bytes: &mut Vec<u8>,
    piece: &mut impl FnMut() -> usize,
) -> Result<(), Spliced> {
    while !body.is_empty() {
        let (data, rest) = body.split_at(piece().clamp(1, body.len()));
        let known = transfer.take(data)?;
        bytes.extend_from_slice(&data[known..]);
        body = rest;
    }
    Ok(())
}

fn accept(transfer: &mut Transfer, reply: &Reply) -> Result<(), Misfit> {
    let facts = AnswerFacts {
        status: reply.status,
        etag: Some(reply.tag),
        content_range: reply.range.as_deref().map(str::as_bytes),
        ..AnswerFacts::default()
    };
    transfer.accept(&facts)
}

/// Bytes that differ from their neighbours and do not repeat soon.
fn content(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at ^ (at >> 8) ^ (at >> 13)) as u8)
        .collect()
}

/// Whether what the client got is the beginning of one of both contents, and all of it if it was told so.
fn is_honest(got: &Got, content: &[u8], begin: usize) -> bool {
    let other: Vec<u8> = content.iter().map(|byte| !byte).collect();
    [content, &other].iter().any(|content| {
        let promised = &content[begin..];
        promised.starts_with(&got.bytes) && (!got.whole || got.bytes.len() == promised.len())
    })
}

#[test]
fn a_break_at_every_byte_is_healed() {
    const LENGTH: usize = 3_000;
    let content = content(LENGTH);
    for breaks_after in 0..LENGTH {
        let visit = Visit {
            place: Place::Same,
            breaks_after: usize::MAX,
        };
        let got = download(&content, 0, breaks_after, &[visit], || 700);
        assert!(got.whole && got.bytes == content, "{breaks_after}");
    }
}

#[test]
fn two_breaks_at_every_pair_of_bytes_are_healed() {
    const LENGTH: usize = 60;
    let content = content(LENGTH);
    for first in 0..LENGTH {
        for second in 0..=first + LENGTH {
            let visits = [second, usize::MAX].map(|breaks_after| Visit {
                place: Place::Same,
                breaks_after,
            });
            let got = download(&content, 0, first, &visits, || 7);
            assert!(got.whole && got.bytes == content, "{first} {second}");
        }
    }
}

#[test]
fn a_place_that_has_something_else_never_adds_a_byte() {
    const LENGTH: usize = 400;
    let content = content(LENGTH);
    for place in PLACES {
        for breaks_after in 1..LENGTH {
            let visit = Visit {
                place,
                breaks_after: usize::MAX,
            };
            let got = download(&content, 0, breaks_after, &[visit], || 33);
            let heals = matches!(place, Place::Same);
            assert_eq!(got.whole, heals, "{place:?} {breaks_after}");
            let bytes = if heals { LENGTH } else { breaks_after };
            // The byte too many may come after all that was promised, and never reaches the client.
            if place != Place::TooMuch {
                assert_eq!(got.bytes.len(), bytes, "{place:?} {breaks_after}");
            }
            assert!(content.starts_with(&got.bytes), "{place:?} {breaks_after}");
        }
    }
}

fn visit(longest: usize) -> impl Strategy<Value = Visit> {
    let place = prop_oneof![4 => Just(Place::Same), 1 => prop::sample::select(&PLACES[..])];
    let breaks_after = prop_oneof![2 => 0..longest, 1 => Just(usize::MAX)];
    (place, breaks_after).prop_map(|(place, breaks_after)| Visit {
        place,
        breaks_after,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn many_breaks_of_large_bodies_end_whole_or_visibly(
        length in 1_usize..120_000,
        begin in any::<prop::sample::Index>(),
        breaks_after in 0_usize..120_000,
        visits in prop::collection::vec(visit(60_000), 0..8),
        pieces in prop::collection::vec(1_usize..40_000, 1..8),
    ) {
        let content = content(length);
        let begin = begin.index(length);
        let mut sizes = pieces.iter().cycle();
        let got = download(&content, begin, breaks_after, &visits, || *sizes.next().unwrap());
        prop_assert!(is_honest(&got, &content, begin), "{} bytes, {}", got.bytes.len(), got.whole);
        let heals = visits.iter().all(|visit| visit.place == Place::Same)
            && visits.last().is_some_and(|visit| visit.breaks_after == usize::MAX);
        if heals {
            prop_assert!(got.whole);
        }
    }
}
