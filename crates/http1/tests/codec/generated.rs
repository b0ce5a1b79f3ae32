//! Streams of mostly valid messages, and the small damage that attacks are made of.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Pieces that change where a message, a line or a value ends.
const NASTY: &[&str] = &[
    "\r",
    "\n",
    "\r\n",
    "\r\n\r\n",
    "\0",
    " ",
    "\t",
    ":",
    ",",
    ";",
    "#",
    "\"",
    "0",
    "5",
    "f",
    "\u{e9}",
    "\x0b",
    "\x7f",
    "0\r\n\r\n",
    "chunked",
    "close",
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Host: b\r\n",
    "Connection: close\r\n",
    "HTTP/1.0",
    "+",
    "_",
];

/// One stroke of damage.
#[derive(Clone, Debug)]
pub(crate) enum Damage {
    Insert(Index, &'static str),
    Replace(Index, &'static str),
    Remove(Index),
    Repeat(Index, Index),
}

impl Damage {
    pub(crate) fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let len = bytes.len();
        match self {
            Self::Insert(at, piece) => {
                drop(bytes.splice(at.index(len)..at.index(len), piece.bytes()))
            }
            Self::Replace(at, piece) => {
                let at = at.index(len);
                let end = (at + piece.len()).min(len);
                bytes.splice(at..end, piece.bytes());
            }
            Self::Remove(at) => drop(bytes.remove(at.index(len))),
            Self::Repeat(from, to) => {
                let (from, to) = (from.index(len), to.index(len));
                let piece = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.extend_from_slice(&piece);
            }
        }
    }
}

pub(crate) fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let piece = || select(NASTY);
    let stroke = prop_oneof![
        (any::<Index>(), piece()).prop_map(|(at, piece)| Damage::Insert(at, piece)),
        (any::<Index>(), piece()).prop_map(|(at, piece)| Damage::Replace(at, piece)),
        any::<Index>().prop_map(Damage::Remove),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Damage::Repeat(from, to)),
    ];
    vec(stroke, 0..3)
}

/// Where to cut a stream of any length.
pub(crate) fn cuts() -> impl Strategy<Value = Vec<Index>> {
    vec(any::<Index>(), 0..12)
}

/// `bytes` in pieces, cut at `cuts`.
pub(crate) fn pieces<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(bytes.len());
    let starts = std::iter::once(0).chain(ends.clone());
    starts
        .zip(ends.clone())
        .map(|(start, end)| &bytes[start..end])
        .collect()
}

/// One to three requests on one connection, damaged a little.
pub(crate) fn request_stream() -> impl Strategy<Value = Vec<u8>> {
    stream(vec(message(request_line(), "Host: a\r\n"), 1..4))
}

/// An answer or two, damaged a little.
pub(crate) fn response_stream() -> impl Strategy<Value = Vec<u8>> {
    stream(vec(message(status_line(), ""), 1..3))
}

fn stream(messages: impl Strategy<Value = Vec<Vec<u8>>>) -> impl Strategy<Value = Vec<u8>> {
    (messages, damage()).prop_map(|(messages, damage)| {
        let mut bytes = messages.concat();
        damage.iter().for_each(|stroke| stroke.apply(&mut bytes));
        bytes
    })
}

fn request_line() -> impl Strategy<Value = String> {
    let methods = [
        "GET", "POST", "PUT", "OPTIONS", "DELETE", "HEAD", "M-SEARCH", "CONNECT",
    ];
    let targets = [
        "/",
        "/a/b?c=d&e",
        "http://a/x",
        "http://a",
        "*",
        "a:80",
        "/%41;b=|",
        "//",
    ];
    let versions = ["1.1", "1.1", "1.1", "1.0"];
    (
        select(methods.to_vec()),
        select(targets.to_vec()),
        select(versions.to_vec()),
    )
        .prop_map(|(method, target, version)| format!("{method} {target} HTTP/{version}"))
}

fn status_line() -> impl Strategy<Value = String> {
    let lines = [
        "1.1 200 OK",
        "1.1 200",
        "1.1 404 ",
        "1.1 204 X",
        "1.1 304 X",
        "1.1 100 X",
    ];
    let more = ["1.0 200 OK", "1.1 103 Early", "1.1 500 caf\u{e9}"];
    select([&lines[..], &more].concat()).prop_map(|line| format!("HTTP/{line}"))
}

fn message(
    start: impl Strategy<Value = String>,
    first: &'static str,
) -> impl Strategy<Value = Vec<u8>> {
    (start, vec(field_line(), 0..5), framed_body()).prop_map(move |(start, lines, body)| {
        let (framing, body) = body;
        let head = format!("{start}\r\n{first}{}{framing}\r\n", lines.concat());
        [head.into_bytes(), body].concat()
    })
}

fn field_line() -> impl Strategy<Value = String> {
    let lines = [
        "Accept: */*",
        "X-Empty:",
        "x-spaced: \t v \t",
        "Cookie: a=1; b=\"2\"",
        "Cookie: c=3",
        "Connection: keep-alive",
        "Connection: x-a, te",
        "X-A: hop",
        "TE: trailers",
        "Via: 1.1 b",
        "Expect: 100-continue",
        "Keep-Alive: timeout=5",
        "X-Latin: caf\u{e9}",
        "Trailer: x-t",
        "Connection: close",
        "Upgrade: h2c",
    ];
    select(lines.to_vec()).prop_map(|line| format!("{line}\r\n"))
}

fn framed_body() -> impl Strategy<Value = (String, Vec<u8>)> {
    let data = || vec(any::<u8>(), 0..40);
    prop_oneof![
        Just((String::new(), Vec::new())),
        data().prop_map(|data| (format!("Content-Length: {}\r\n", data.len()), data)),
        (vec((data(), chunk_extension()), 0..4), trailers()).prop_map(chunked),
    ]
}

fn chunk_extension() -> impl Strategy<Value = &'static str> {
    select(&["", "", "", ";a", ";a=b", " ; a = \"b;\\\"c\""][..])
}

fn trailers() -> impl Strategy<Value = &'static str> {
    select(&["", "", "X-T: 1\r\n", "X-T: 1\r\nGrpc-Status: 0\r\n"][..])
}

fn chunked((chunks, trailers): (Vec<(Vec<u8>, &str)>, &str)) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (data, extension) in chunks.iter().filter(|(data, _)| !data.is_empty()) {
        body.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
        body.extend_from_slice(data);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    ("Transfer-Encoding: chunked\r\n".to_owned(), body)
}
