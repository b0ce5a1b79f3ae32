//! An HTTP/1.1 connection: one request at a time, every byte of the answer's body checked.

use std::io;
use std::time::Duration;

use bytes::Bytes;

use super::link::Link;

/// Fields of an answer; every proxy here sends fewer than ten.
const FIELDS_MAX: usize = 32;

/// An answer and its head, with room to spare.
const BUFFER_BYTES: usize = 8 * 1024;

/// A connection.
pub(super) struct Http1 {
    link: Link,
    request: Bytes,
    body: Bytes,
    /// When the request that waits for its answer was due.
    due: Option<Duration>,
    buffer: Box<[u8]>,
    filled: usize,
}

impl Http1 {
    /// Sends `request` again and again; `body` is that of the right answer.
    pub(super) fn new(link: Link, request: Bytes, body: Bytes) -> Self {
        Self {
            link,
            request,
            body,
            due: None,
            buffer: vec![0; BUFFER_BYTES].into(),
            filled: 0,
        }
    }

    /// Sends the request that was due at `due`; the one before must have been answered.
    ///
    /// # Errors
    /// As [`Link::write`].
    pub(super) fn send(&mut self, due: Duration) -> io::Result<()> {
        self.due = Some(due);
        self.link.write(&self.request)
    }

    /// Reads all that there is; calls `answered` with when it was due for the answer that is
    /// complete.
    ///
    /// # Errors
    /// A wrong answer, one that nobody asked for, or the end.
    pub(super) fn advance(&mut self, mut answered: impl FnMut(Duration)) -> io::Result<()> {
        while let Some(bytes) = self.link.read(&mut self.buffer[self.filled..])? {
            self.filled += bytes;
            if is_whole(&self.buffer[..self.filled], &self.body)? {
                self.filled = 0;
                let due = self.due.take();
                answered(due.ok_or_else(|| io::Error::other("an answer to no request"))?);
            } else if self.filled == self.buffer.len() {
                return Err(io::Error::other("an answer that is too long"));
            }
        }
        Ok(())
    }
}

/// Whether `bytes` is an answer in full; an error when it is not a right one and only one.
fn is_whole(bytes: &[u8], body: &[u8]) -> io::Result<bool> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(bytes).map_err(io::Error::other)?;
    let httparse::Status::Complete(head_bytes) = parsed else {
        return Ok(false);
    };
    if response.code != Some(200) {
        return Err(io::Error::other(format!("status {:?}", response.code)));
    }
    let is_length = |field: &&httparse::Header| field.name.eq_ignore_ascii_case("content-length");
    let length = response.headers.iter().find(is_length);
    let length = length.and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok());
    if length != Some(body.len()) {
        return Err(io::Error::other("an answer of another length"));
    }
    let got = &bytes[head_bytes..];
    match got.len() < body.len() {
        true => Ok(false),
        false if got == body => Ok(true),
        false => Err(io::Error::other("an answer of another content")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_right_incomplete_or_wrong() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
        let check = |text: &str| is_whole(text.as_bytes(), b"ab").ok();
        assert_eq!(check(&head[..head.len() - 1]), Some(false));
        assert_eq!(check(&format!("{head}a")), Some(false));
        assert_eq!(check(&format!("{head}ab")), Some(true));
        for wrong in ["ac", "abc"] {
            assert_eq!(check(&format!("{head}{wrong}")), None, "{wrong}");
        }
        let heads = [
            "HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
        ];
        for head in heads {
            assert_eq!(check(&format!("{head}ab")), None, "{head}");
        }
    }
}
