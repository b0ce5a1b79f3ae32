//! Writes heads and chunks.
//!
//! Everything is appended to a buffer that the caller keeps, so that head and first data leave in
//! one write. Nothing is checked again here: names and values come from [`crate::Fields`] or from
//! the `http` crate's types, which cannot hold a line end. Debug builds assert it.

use bytes::{BufMut, BytesMut};
use http::{Method, StatusCode};

use crate::grammar;

/// The most bytes that [`chunk_head`] appends.
pub const CHUNK_HEAD_BYTES_MAX: usize = 16 + CRLF.len();

const CRLF: &[u8] = b"\r\n";

/// `METHOD target HTTP/1.1`. The target is origin-form or `*`; the authority for `CONNECT`.
pub fn request_line(out: &mut BytesMut, method: &Method, target: &[u8]) {
    debug_assert!(!target.is_empty() && grammar::is_visible(target));
    append(
        out,
        [method.as_str().as_bytes(), b" ", target, b" HTTP/1.1\r\n"],
    );
}

/// The same and `host`, which most heads begin with.
pub fn request_line_and_host(out: &mut BytesMut, method: &Method, target: &[u8], host: &[u8]) {
    debug_assert!(!target.is_empty() && grammar::is_visible(target) && is_value(host));
    let method = method.as_str().as_bytes();
    append(
        out,
        [method, b" ", target, b" HTTP/1.1\r\nhost: ", host, CRLF],
    );
}

/// `HTTP/1.1 status reason`. Without a reason, the registered one, or none.
pub fn status_line(out: &mut BytesMut, status: StatusCode, reason: Option<&[u8]>) {
    let registered = || status.canonical_reason().unwrap_or_default().as_bytes();
    let reason = reason.unwrap_or_else(registered);
    debug_assert!(is_value(reason));
    // Most answers: one piece that the compiler knows.
    if status == StatusCode::OK && reason == b"OK" {
        return out.put_slice(b"HTTP/1.1 200 OK\r\n");
    }
    append(
        out,
        [b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", reason, CRLF],
    );
}

/// One field line. `name` is a token, `value` holds no control byte but HTAB.
pub fn field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    debug_assert!(grammar::is_token(name) && is_value(value));
    append(out, [name, b": ", value, CRLF]);
}

/// One field line whose value is made of parts.
pub fn field_of_parts<'a>(
    out: &mut BytesMut,
    name: &[u8],
    parts: impl Iterator<Item = &'a [u8]> + Clone,
) {
    debug_assert!(grammar::is_token(name) && parts.clone().all(is_value));
    let size: usize = parts.clone().map(<[u8]>::len).sum();
    out.reserve(name.len() + size + b": ".len() + CRLF.len());
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    parts.for_each(|part| out.extend_from_slice(part));
    out.extend_from_slice(CRLF);
}

/// Whole field lines, put together by who knows them: see [`field`] for what they hold.
pub fn lines<const N: usize>(out: &mut BytesMut, parts: [&[u8]; N]) {
    append(out, parts);
}

/// `content-length`
pub fn content_length(out: &mut BytesMut, length: u64) {
    let mut digits = [0; 20];
    let start = write_digits::<10>(&mut digits, length);
    append(out, [b"content-length: ", &digits[start..], CRLF]);
}

/// `transfer-encoding: chunked`
pub fn chunked(out: &mut BytesMut) {
    out.put_slice(b"transfer-encoding: chunked\r\n");
}

/// The empty line that ends a head.
pub fn end(out: &mut BytesMut) {
    out.put_slice(CRLF);
}

/// The line before `len` bytes of chunk data. `len` 0 would end the body, so it must not be 0.
pub fn chunk_head(out: &mut BytesMut, len: usize) {
    debug_assert!(len > 0);
    let mut digits = [0; 16];
    let start = write_digits::<16>(&mut digits, len as u64);
    append(out, [&digits[start..], CRLF]);
}

/// What follows the data of a chunk.
pub fn chunk_end(out: &mut BytesMut) {
    out.put_slice(CRLF);
}

/// The last chunk, the trailers (see [`field`]) and the end of the body.
pub fn last_chunk<'a>(
    out: &mut BytesMut,
    trailers: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
) {
    out.put_slice(b"0\r\n");
    for (name, value) in trailers {
        field(out, name, value);
    }
    end(out);
}

/// Appends all parts after making room once.
fn append<const N: usize>(out: &mut BytesMut, parts: [&[u8]; N]) {
    out.reserve(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Writes `number` at the end of `digits` and returns where it starts.
fn write_digits<const BASE: u64>(digits: &mut [u8], mut number: u64) -> usize {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[(number % BASE) as usize];
        number /= BASE;
        if number == 0 {
            return at;
        }
    }
}

fn is_value(value: &[u8]) -> bool {
    value.iter().all(|&b| grammar::is_value_byte(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(write: impl FnOnce(&mut BytesMut), expected: &str) {
        let mut out = BytesMut::from("kept|");
        write(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), format!("kept|{expected}"));
    }

    #[test]
    fn heads_are_written() {
        check(
            |out| request_line(out, &Method::GET, b"/a?b"),
            "GET /a?b HTTP/1.1\r\n",
        );
        check(
            |out| status_line(out, StatusCode::OK, None),
            "HTTP/1.1 200 OK\r\n",
        );
        check(
            |out| status_line(out, StatusCode::OK, Some(b"Fine")),
            "HTTP/1.1 200 Fine\r\n",
        );
        check(
            |out| status_line(out, StatusCode::OK, Some(b"")),
            "HTTP/1.1 200 \r\n",
        );
        let odd = StatusCode::from_u16(599).expect("a status");
        check(|out| status_line(out, odd, None), "HTTP/1.1 599 \r\n");
        check(|out| field(out, b"A", b"b c"), "A: b c\r\n");
        check(chunked, "transfer-encoding: chunked\r\n");
        check(end, "\r\n");
    }

    #[test]
    fn numbers_are_written() {
        for number in [0, 7, 10, 1024, u64::from(u32::MAX), u64::MAX] {
            check(
                |out| content_length(out, number),
                &format!("content-length: {number}\r\n"),
            );
        }
        for len in [1, 0xF, 0x10, 0xabc, usize::MAX] {
            check(|out| chunk_head(out, len), &format!("{len:x}\r\n"));
        }
    }

    #[test]
    fn the_last_chunk_carries_trailers() {
        check(|out| last_chunk(out, []), "0\r\n\r\n");
        check(
            |out| last_chunk(out, [(&b"a"[..], &b"1"[..])]),
            "0\r\na: 1\r\n\r\n",
        );
        check(chunk_end, "\r\n");
    }
}
