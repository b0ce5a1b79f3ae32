//! A client's connection: HTTP/1.1, one request at a time, answers with a length.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// Fields of an answer; every proxy here sends fewer than ten.
const FIELDS_MAX: usize = 32;

const READ_BYTES: usize = 4 * 1024;

/// A connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
}

/// An answer in full.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Its body.
    pub(crate) body: Bytes,
    /// Whether the proxy has said that it closes the connection.
    pub(crate) closes: bool,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn open(target: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(target).await?;
        stream.set_nodelay(true)?;
        let buffer = BytesMut::with_capacity(READ_BYTES);
        Ok(Self { stream, buffer })
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// The connection breaks, the answer is no answer, or it takes ten seconds.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        let answer = tokio::time::timeout(PATIENCE, self.exchange(request));
        answer.await.map_err(io::Error::from)?
    }

    /// Comes back when the proxy closes the connection, or says something that nobody asked for:
    /// nothing more can be asked here.
    pub(crate) async fn gone(&self) {
        // What it says, or how it ends, makes no difference.
        let _ = self.stream.peek(&mut [0]).await;
    }

    async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        loop {
            if let Some(answer) = parse(&mut self.buffer)? {
                return Ok(answer);
            }
            self.buffer.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Takes an answer off the front; `None` while it is incomplete.
fn parse(buffer: &mut BytesMut) -> io::Result<Option<Answer>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(buffer).map_err(io::Error::other)?;
    let httparse::Status::Complete(head_bytes) = parsed else {
        return Ok(None);
    };
    let status = response.code.unwrap_or_default();
    let value = |name: &str| {
        let mut fields = response.headers.iter();
        let field = fields.find(|field| field.name.eq_ignore_ascii_case(name));
        field.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    let closes = value("connection").is_some_and(|word| word.eq_ignore_ascii_case("close"));
    let length = value("content-length").and_then(|length| length.parse().ok());
    let body_bytes: usize = length.ok_or_else(|| io::Error::other("an answer without a length"))?;
    if buffer.len() < head_bytes + body_bytes {
        return Ok(None);
    }
    let mut whole = buffer.split_to(head_bytes + body_bytes);
    let body = whole.split_off(head_bytes).freeze();
    Ok(Some(Answer {
        status,
        body,
        closes,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> io::Result<Option<Answer>> {
        parse(&mut BytesMut::from(text.as_bytes()))
    }

    #[test]
    fn an_answer_is_taken_when_it_is_complete() {
        let head = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: Close\r\n\r\n";
        assert!(answer(&head[..head.len() - 1]).unwrap().is_none());
        assert!(answer(&format!("{head}a")).unwrap().is_none());
        let whole = answer(&format!("{head}abHTTP/1.1")).unwrap().unwrap();
        assert_eq!((whole.status, whole.closes), (404, true));
        assert_eq!(whole.body, "ab");
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        assert!(answer("ICY 200 OK\r\n\r\n").is_err());
        assert!(answer("HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(answer("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n").is_err());
    }
}
