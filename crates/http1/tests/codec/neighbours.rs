//! Heads that differ in one byte from a good one, read by this codec and by httparse.
//!
//! Every byte of a head becomes every other byte, goes, or has any byte before it. What is taken must be
//! what httparse takes, line for line; and what httparse takes in CRLF is refused for no field line of it,
//! so that nothing is refused only because of where in a word of the reader a byte is.

use bytes::BytesMut;
use tidegate_http1::{Fields, Limits, MessageError, RequestContext, RequestError, ResponseError};
use tidegate_http1::{parse_request, parse_response};

const REQUEST: &str = concat!(
    "GET /a/b?c=d HTTP/1.1\r\nHost: a.example:80\r\nX-Odd:  \tb c\t d \r\nempty:\r\n",
    "Content-Length: 0\r\naccept-encoding: gzip, br\r\nDate:x\r\n\r\n"
);
const RESPONSE: &str = concat!(
    "HTTP/1.1 200 Well done\r\nServer: x\r\nETag: \"6720d0f4-400\"\r\nX-Odd:  \tb c\t d \r\nempty:\r\n",
    "Content-Length: 0\r\nLast-Modified: Tue, 29 Oct 2024 12:02:28 GMT\r\nVia:x\r\n\r\n"
);

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// `good` and all that is one byte from it.
fn neighbours(good: &str) -> impl Iterator<Item = Vec<u8>> {
    (0..good.len()).flat_map(move |at| {
        let head = good.as_bytes();
        let (before, rest) = head.split_at(at);
        let changed = (0..=255_u8).flat_map(move |b| {
            [
                [before, &[b], &rest[1..]].concat(),
                [before, &[b], rest].concat(),
            ]
        });
        changed.chain([[before, &rest[1..]].concat()])
    })
}

fn pairs(fields: &Fields) -> Pairs {
    let pair = |field: tidegate_http1::FieldRef<'_>| (field.name.to_vec(), field.value.to_vec());
    fields.iter().map(pair).collect()
}

/// What httparse found in `head`, unless a line of it ends in a bare LF.
fn theirs(head: &[u8], headers: &[httparse::Header<'_>]) -> Option<Pairs> {
    let pair = |h: &httparse::Header<'_>| (h.name.as_bytes().to_vec(), h.value.to_vec());
    let mut lines = head.split_inclusive(|&b| b == b'\n');
    lines
        .all(|line| line.ends_with(b"\r\n"))
        .then(|| headers.iter().map(pair).collect())
}

/// Bytes for a message, made into text only if it is shown.
struct Shown<'a>(&'a [u8]);

impl std::fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        String::from_utf8_lossy(self.0).fmt(f)
    }
}

#[test]
fn requests_one_byte_from_a_good_one_are_read_as_httparse_reads_them() {
    for head in neighbours(REQUEST) {
        let shown = Shown(&head);
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut read = httparse::Request::new(&mut headers);
        let end = match read.parse(&head) {
            Ok(httparse::Status::Complete(end)) => Some(end),
            _ => None,
        };
        let theirs = end.and_then(|end| theirs(&head[..end], read.headers));
        match parse_request(&mut BytesMut::from(&*head), &Limits::default()) {
            Ok(Some(ours)) => {
                assert_eq!(Some(pairs(&ours.fields)), theirs, "{shown:?}");
                assert_eq!(Some(ours.method.as_str()), read.method, "{shown:?}");
                assert_eq!(Some(ours.path_and_query()), read.path, "{shown:?}");
            }
            Err(RequestError::Message(MessageError::Fields(error))) => {
                assert_eq!(theirs, None, "{error}: {shown:?}")
            }
            _ => {}
        }
    }
}

#[test]
fn answers_one_byte_from_a_good_one_are_read_as_httparse_reads_them() {
    for head in neighbours(RESPONSE) {
        let shown = Shown(&head);
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut read = httparse::Response::new(&mut headers);
        let end = match read.parse(&head) {
            Ok(httparse::Status::Complete(end)) => Some(end),
            _ => None,
        };
        let theirs = end.and_then(|end| theirs(&head[..end], read.headers));
        let (mut buf, context) = (BytesMut::from(&*head), RequestContext::default());
        match parse_response(&mut buf, context, &Limits::default()) {
            Ok(Some(ours)) => {
                assert_eq!(Some(pairs(&ours.fields)), theirs, "{shown:?}");
                assert_eq!(Some(ours.status.as_u16()), read.code, "{shown:?}");
            }
            Err(ResponseError::Message(MessageError::Fields(error))) => {
                assert_eq!(theirs, None, "{error}: {shown:?}")
            }
            _ => {}
        }
    }
}
