//! One request and its answer by HTTP/1.1.
//!
//! The data plane's codec reads the answer: an endpoint whose answers would be refused there is not
//! well, whatever a more lenient reader makes of them. Bytes are read into the stack first, so that
//! a check that waits, and a connection that is kept, own no buffer.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::ready;

use bytes::{Buf, BytesMut};
use tidegate_http1::{
    BodyDecoder, Decoded, Limits, RequestContext, ResponseHead, ResponseParser, Version,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::answer::{ANSWER_BYTES_MAX, Answer, Head};
use crate::error::ProbeError;
use crate::request::Request;

/// So much is read at a time; most answers are smaller.
const PIECE_BYTES: usize = 4 * 1024;

/// Sends `request` and reads the answer.
pub(crate) async fn exchange<S>(stream: &mut S, request: &Request) -> Result<Answer, ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request.http1()?).await?;
    stream.flush().await?;
    let mut inbox = Inbox {
        stream,
        bytes: BytesMut::new(),
        read: 0,
        limits: Limits {
            head_bytes: ANSWER_BYTES_MAX,
            ..Limits::default()
        },
    };
    let head = inbox.head(request.context).await?;
    // HTTP/1.0 has it as an extension that old proxies break (RFC 9112 C.2.2).
    let lasting = head.keep_alive && head.version == Version::Http11;
    let mut content = Vec::new();
    let kept = request.keep.then_some(&mut content);
    let (whole, ended) = inbox.body(&head, kept).await?;
    Ok(Answer {
        status: head.status.as_u16(),
        reusable: whole && !ended && lasting && inbox.bytes.is_empty(),
        head: Head::Http1(head),
        content,
        whole,
        trailers: None,
    })
}

/// Whether nothing has come on a connection that nobody asked anything, not even its end. Costs no
/// system call unless something has.
pub(crate) async fn is_quiet<S: AsyncRead + Unpin>(stream: &mut S) -> bool {
    poll_fn(|cx| {
        let mut byte = [0];
        let polled = Pin::new(&mut *stream).poll_read(cx, &mut ReadBuf::new(&mut byte));
        polled.is_pending().into()
    })
    .await
}

/// What has come of one answer.
struct Inbox<'a, S> {
    stream: &'a mut S,
    bytes: BytesMut,
    /// Bytes read for this answer, those that are gone from `bytes` included.
    read: usize,
    limits: Limits,
}

impl<S: AsyncRead + Unpin> Inbox<'_, S> {
    /// Reads heads up to the first that is not interim.
    async fn head(&mut self, context: RequestContext) -> Result<Box<ResponseHead>, ProbeError> {
        let mut parser = ResponseParser::new();
        while self.more().await? {
            while let Some(head) = parser.parse(&mut self.bytes, context, &self.limits)? {
                if !head.is_interim() {
                    return Ok(head);
                }
            }
            if self.read > ANSWER_BYTES_MAX {
                return Err(broken("interim answers without end"));
            }
        }
        Err(broken("the connection ended before the head did"))
    }

    /// Reads the body into `kept`, if that is wanted. Says whether it came to its end, and whether
    /// the connection ended with it.
    async fn body(
        &mut self,
        head: &ResponseHead,
        mut kept: Option<&mut Vec<u8>>,
    ) -> Result<(bool, bool), ProbeError> {
        let mut decoder = BodyDecoder::new(head.framing, &self.limits);
        loop {
            match decoder.decode(&self.bytes)? {
                Decoded::Data { skip, len } => {
                    if let Some(kept) = &mut kept {
                        kept.extend_from_slice(&self.bytes[skip..skip + len]);
                    }
                    self.bytes.advance(skip + len);
                }
                Decoded::End { skip } | Decoded::Trailers { skip, .. } => {
                    self.bytes.advance(skip);
                    return Ok((true, false));
                }
                Decoded::More { skip } => {
                    self.bytes.advance(skip);
                    if self.read > ANSWER_BYTES_MAX {
                        return Ok((false, false));
                    }
                    if !self.more().await? {
                        decoder.on_eof()?;
                        return Ok((true, true));
                    }
                }
            }
        }
    }

    /// Waits for more bytes; false if there are none to come.
    async fn more(&mut self) -> Result<bool, ProbeError> {
        let Self { stream, bytes, .. } = self;
        let read = poll_fn(|cx| {
            let mut piece = [MaybeUninit::uninit(); PIECE_BYTES];
            let mut piece = ReadBuf::uninit(&mut piece);
            ready!(Pin::new(&mut **stream).poll_read(cx, &mut piece))?;
            bytes.extend_from_slice(piece.filled());
            Ok::<_, std::io::Error>(piece.filled().len()).into()
        });
        let read = read.await?;
        self.read += read;
        Ok(read > 0)
    }
}

fn broken(how: &str) -> ProbeError {
    ProbeError::Protocol(how.to_owned())
}
