//! A connection that asks for one kilobyte and compares every byte of the answer.

use std::io;
use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use tidegate_lab::content;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinHandle;

use crate::peer::HOST;

/// Bytes of an answer's body.
pub(crate) const BODY_BYTES: usize = 1024;

/// Fields of an answer; every proxy here adds fewer than ten.
const FIELDS_MAX: usize = 64;

const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What is asked for, in HTTP/1.1.
static REQUEST: LazyLock<String> =
    LazyLock::new(|| format!("GET /bytes/{BODY_BYTES} HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));

static BODY: LazyLock<Bytes> = LazyLock::new(|| content::bytes(content::SEED, 0, BODY_BYTES));

/// What bytes go through, TLS or not.
pub(super) type Pipe = Box<dyn Both>;

/// A stream in both directions.
pub(super) trait Both: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Both for T {}

/// An open connection.
pub(super) enum Session {
    /// HTTP/1.1.
    H1(Pipe),
    /// HTTP/2, driven by a task.
    H2(SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>),
}

impl Session {
    /// Ready to be asked.
    pub(super) async fn new(pipe: Pipe, h2: bool) -> io::Result<Self> {
        if !h2 {
            return Ok(Self::H1(pipe));
        }
        let (send, connection) = h2::client::handshake(pipe)
            .await
            .map_err(io::Error::other)?;
        Ok(Self::H2(send, tokio::spawn(connection)))
    }

    /// One request.
    ///
    /// # Errors
    /// When the answer is not the right one or does not come.
    pub(super) async fn ask(&mut self) -> io::Result<()> {
        match self {
            Self::H1(pipe) => ask_h1(pipe).await,
            Self::H2(send, _) => ask_h2(send).await,
        }
    }

    /// Closes in both directions: comes back when the other side has closed too, so that what this
    /// costs it lies before.
    ///
    /// # Errors
    /// When more bytes come.
    pub(super) async fn close(self) -> io::Result<()> {
        match self {
            Self::H1(pipe) => close_h1(pipe).await,
            Self::H2(send, driver) => {
                drop(send);
                let ended = driver.await.map_err(io::Error::other)?;
                ended.map_err(io::Error::other)
            }
        }
    }
}

async fn ask_h1(pipe: &mut Pipe) -> io::Result<()> {
    pipe.write_all(REQUEST.as_bytes()).await?;
    pipe.flush().await?;
    let mut answer = BytesMut::with_capacity(2 * BODY_BYTES);
    loop {
        if pipe.read_buf(&mut answer).await? == 0 {
            return Err(io::Error::other("closed before the answer's end"));
        }
        let Some(head_bytes) = head_bytes(&answer)? else {
            continue;
        };
        if answer.len() >= head_bytes + BODY_BYTES {
            return check_body(&answer[head_bytes..]);
        }
    }
}

/// Bytes of the head of a right answer; `None` while it is incomplete.
fn head_bytes(answer: &[u8]) -> io::Result<Option<usize>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(bytes) = head.parse(answer).map_err(io::Error::other)? else {
        return match answer.len() > HEAD_BYTES_MAX {
            true => Err(io::Error::other("an answer without a body")),
            false => Ok(None),
        };
    };
    check_status(head.code.unwrap_or_default())?;
    let name = "content-length";
    let mut fields = head.headers.iter();
    let length = fields.find(|field| field.name.eq_ignore_ascii_case(name));
    if length.is_none_or(|field| field.value != BODY_BYTES.to_string().as_bytes()) {
        return Err(io::Error::other("an answer of another length"));
    }
    Ok(Some(bytes))
}

fn check_status(status: u16) -> io::Result<()> {
    match status {
        200 => Ok(()),
        other => Err(io::Error::other(format!("status {other}"))),
    }
}

fn check_body(body: &[u8]) -> io::Result<()> {
    match body == &BODY[..] {
        true => Ok(()),
        false => Err(io::Error::other("wrong bytes in the answer")),
    }
}

async fn ask_h2(send: &mut SendRequest<Bytes>) -> io::Result<()> {
    let uri = format!("https://{HOST}/bytes/{BODY_BYTES}");
    let request = http::Request::get(uri).body(()).map_err(io::Error::other)?;
    let mut ready = send.clone().ready().await.map_err(io::Error::other)?;
    let (answer, _) = ready
        .send_request(request, true)
        .map_err(io::Error::other)?;
    let answer = answer.await.map_err(io::Error::other)?;
    check_status(answer.status().as_u16())?;
    let mut incoming = answer.into_body();
    let mut body = BytesMut::with_capacity(BODY_BYTES);
    while let Some(part) = incoming.data().await {
        let part = part.map_err(io::Error::other)?;
        let released = incoming.flow_control().release_capacity(part.len());
        released.map_err(io::Error::other)?;
        body.extend_from_slice(&part);
    }
    check_body(&body)
}

async fn close_h1(mut pipe: Pipe) -> io::Result<()> {
    pipe.shutdown().await?;
    let mut rest = [0; 16];
    match pipe.read(&mut rest).await {
        Ok(0) => Ok(()),
        Ok(_) => Err(io::Error::other("more than the answer")),
        // The whole answer is here: how a proxy says goodbye is its own affair.
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_right_wrong_or_not_yet_there() {
        let right = "HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n";
        assert_eq!(head_bytes(right.as_bytes()).unwrap(), Some(right.len()));
        assert_eq!(head_bytes(b"HTTP/1.1 200 OK\r\n").unwrap(), None);
        let wrong = [
            "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 1024\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1023\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "nonsense\r\n\r\n",
        ];
        for head in wrong {
            assert!(head_bytes(head.as_bytes()).is_err(), "{head}");
        }
    }

    #[test]
    fn one_wrong_byte_is_noticed() {
        let mut body = BODY.to_vec();
        assert!(check_body(&body).is_ok());
        body[1023] ^= 1;
        assert!(check_body(&body).is_err());
        body.push(0);
        assert!(check_body(&body).is_err() && check_body(&[]).is_err());
    }
}
