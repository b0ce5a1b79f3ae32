//! A client's stream under TLS, once the handshake is done: records in, records out.
//!
//! What is read goes into a buffer of the thread, is opened there and copied to who asked; what is written
//! is sealed in a buffer of the thread and sent from there. A connection holds bytes of its own only while
//! a record is not complete, or the peer does not read.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{
    AlertDescription, ExtractedSecrets, ProtocolVersion, SupportedCipherSuite, Tls12CipherSuite,
    Tls13CipherSuite,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::buffered::SCRATCH;
use super::record::{CONTENT_MAX, Content, Opener, Sealer};

/// Most content that is sealed before it is sent: four full records.
const SEAL_MAX: usize = 4 * CONTENT_MAX;

/// What could not be sent and is less than this goes along with what is sealed next.
const ALONG_MAX: usize = 4 * 1024;

/// Records in a row that bring no content: more are an attempt to keep us busy.
const FRUITLESS_MAX: u8 = 32;

/// A message that a key is replaced, without asking the peer for the same (RFC 8446 section 4.6.3).
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

/// A warning that the keys of TLS 1.2 are not agreed on anew (RFC 5246 section 7.2.2).
const NO_RENEGOTIATION: [u8; 2] = [1, 100];

thread_local! {
    static SEALED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Why a stream under TLS ends before its time.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the client sent what is not TLS as it should be: {0:?}")]
    Misbehaved(AlertDescription),
    #[error("the client ended the connection: alert {0}")]
    Alerted(u8),
    #[error("the keys are used up")]
    WornOut,
    #[error("TLS: {0}")]
    Keys(#[from] rustls::Error),
}

impl From<AlertDescription> for Ended {
    fn from(alert: AlertDescription) -> Self {
        Self::Misbehaved(alert)
    }
}

impl From<Ended> for io::Error {
    fn from(ended: Ended) -> Self {
        Self::new(io::ErrorKind::InvalidData, ended)
    }
}

/// How far the peer's direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Open,
    /// The peer said that it sends no more.
    Closed,
    /// The peer sent what ends the connection.
    Broken,
}

/// What is left over from the handshake.
#[derive(Default)]
pub(super) struct Leftovers {
    /// Read, and not yet opened.
    pub(super) sealed: BytesMut,
    /// Opened, and not yet taken.
    pub(super) opened: Bytes,
    /// To be sent before anything else.
    pub(super) out: Vec<u8>,
    /// Whether the client said that it sends no more.
    pub(super) closed: bool,
}

/// A client's stream under TLS over a socket `S`.
pub(crate) struct Session<S> {
    io: S,
    opener: Opener,
    sealer: Sealer,
    /// What makes the next keys.
    keys: KernelConnection<ServerConnectionData>,
    /// Read, and not yet opened.
    sealed: BytesMut,
    /// Opened, and not yet taken.
    opened: Bytes,
    /// Sealed, and not yet sent.
    out: BytesMut,
    reading: Reading,
    /// Whether the end of our direction was said.
    shut: bool,
    /// Whether the peer wants our key replaced.
    update_due: bool,
    /// Whether the peer was told that keys are not agreed on anew.
    refused: bool,
    fruitless: u8,
}

impl<S> Session<S> {
    /// A stream over `io` that goes on where a handshake ended.
    ///
    /// # Errors
    /// When the cipher that was agreed on is not known here.
    pub(super) fn new(
        io: S,
        secrets: ExtractedSecrets,
        keys: KernelConnection<ServerConnectionData>,
        left: Leftovers,
    ) -> Result<Self, rustls::Error> {
        let version = keys.protocol_version();
        let limit = limit(keys.negotiated_cipher_suite());
        Ok(Self {
            io,
            opener: Opener::new(version, secrets.rx)?,
            sealer: Sealer::new(version, secrets.tx, limit)?,
            keys,
            // Without the room that the handshake had.
            sealed: BytesMut::from(&left.sealed[..]),
            opened: left.opened,
            out: BytesMut::from(&left.out[..]),
            reading: match left.closed {
                true => Reading::Closed,
                false => Reading::Open,
            },
            shut: false,
            update_due: false,
            refused: false,
            fruitless: 0,
        })
    }

    /// Opens the records that `bytes` begin with until `buf` is full. Returns how many bytes they were.
    fn open(&mut self, bytes: &mut [u8], buf: &mut ReadBuf<'_>) -> Result<usize, Ended> {
        let mut at = 0;
        while buf.remaining() > 0 && self.reading == Reading::Open {
            let rest = &mut bytes[at..];
            let Some(record) = (self.opener.frame(rest)?).and_then(|len| rest.get_mut(..len))
            else {
                break;
            };
            at += record.len();
            match self.opener.open(record)? {
                (Content::Data, data) if !data.is_empty() => {
                    self.fruitless = 0;
                    let (now, later) = data.split_at(data.len().min(buf.remaining()));
                    buf.put_slice(now);
                    self.opened = Bytes::copy_from_slice(later);
                }
                (content, message) => self.take_note(content, message)?,
            }
        }
        Ok(at)
    }

    /// Acts on a record that brings no content.
    fn take_note(&mut self, content: Content, message: &[u8]) -> Result<(), Ended> {
        self.fruitless += 1;
        if self.fruitless > FRUITLESS_MAX {
            return Err(AlertDescription::UnexpectedMessage.into());
        }
        match content {
            Content::Data => Ok(()),
            Content::Alert => self.take_alert(message),
            Content::Handshake if self.opener.is_tls13() => self.take_key_update(message),
            Content::Handshake => self.refuse_renegotiation(),
        }
    }

    /// Says no once: who asks again and again would have us keep an answer to each.
    fn refuse_renegotiation(&mut self) -> Result<(), Ended> {
        match mem::replace(&mut self.refused, true) {
            false => self.queue(Content::Alert, &NO_RENEGOTIATION),
            true => Err(AlertDescription::UnexpectedMessage.into()),
        }
    }

    /// Only an announced end and, as by RFC 8446 section 6.1, a user's change of mind leave the connection
    /// standing; in TLS 1.2 every warning does.
    fn take_alert(&mut self, alert: &[u8]) -> Result<(), Ended> {
        let &[level, alert] = alert else {
            return Err(AlertDescription::DecodeError.into());
        };
        match AlertDescription::from(alert) {
            AlertDescription::CloseNotify => self.reading = Reading::Closed,
            AlertDescription::UserCanceled => {}
            _ if level == 1 && !self.opener.is_tls13() => {}
            _ => return Err(Ended::Alerted(alert)),
        }
        Ok(())
    }

    /// The peer replaced its key, and may want us to replace ours (RFC 8446 section 4.6.3). The message fills
    /// its record, because the next one is under the next key.
    fn take_key_update(&mut self, message: &[u8]) -> Result<(), Ended> {
        let &[24, 0, 0, 1, wanted] = message else {
            return Err(AlertDescription::UnexpectedMessage.into());
        };
        match wanted {
            0 => {}
            1 => self.update_due = true,
            _ => return Err(AlertDescription::IllegalParameter.into()),
        }
        let secrets = self.keys.update_rx_secret()?;
        self.opener = Opener::new(ProtocolVersion::TLSv1_3, secrets)?;
        Ok(())
    }

    /// Seals `message` behind what waits to be sent.
    fn queue(&mut self, content: Content, message: &[u8]) -> Result<(), Ended> {
        let mut sealed = Vec::new();
        self.sealer
            .seal(content, &mut sealed, |out| out.extend_from_slice(message))?;
        self.out.extend_from_slice(&sealed);
        Ok(())
    }

    /// Appends to `out` the content of `bufs`, of at most [`SEAL_MAX`] bytes; returns of how many.
    fn seal(&mut self, bufs: &[IoSlice<'_>], out: &mut Vec<u8>) -> Result<usize, Ended> {
        let all = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        let (mut left, mut pieces) = (all.min(SEAL_MAX), Pieces::new(bufs));
        let taken = left;
        while left > 0 {
            if self.update_due || self.sealer.is_worn() {
                self.replace_key(out)?;
            }
            let len = left.min(CONTENT_MAX);
            self.sealer
                .seal(Content::Data, out, |out| pieces.append(out, len))?;
            left -= len;
        }
        Ok(taken)
    }

    /// Announces and makes the next key of ours. TLS 1.2 has none: the connection ends before its key is
    /// worn out.
    fn replace_key(&mut self, out: &mut Vec<u8>) -> Result<(), Ended> {
        if !self.opener.is_tls13() {
            return Err(Ended::WornOut);
        }
        self.sealer.seal(Content::Handshake, out, |out| {
            out.extend_from_slice(&KEY_UPDATE);
        })?;
        let (secrets, limit) = (self.keys.update_tx_secret()?, self.sealer.limit);
        self.sealer = Sealer::new(ProtocolVersion::TLSv1_3, secrets, limit)?;
        self.update_due = false;
        Ok(())
    }
}

/// So many records may be sealed with one key of this cipher.
fn limit(suite: SupportedCipherSuite) -> u64 {
    match suite {
        SupportedCipherSuite::Tls12(Tls12CipherSuite { common, .. })
        | SupportedCipherSuite::Tls13(Tls13CipherSuite { common, .. }) => {
            common.confidentiality_limit
        }
    }
}

/// Lets `kept` be `bytes`, and nothing on the heap if there are none.
fn keep(kept: &mut BytesMut, bytes: &[u8]) {
    if !kept.is_empty() || !bytes.is_empty() {
        *kept = BytesMut::from(bytes);
    }
}

/// What is left of several slices.
struct Pieces<'a> {
    rest: &'a [IoSlice<'a>],
    first: &'a [u8],
}

impl<'a> Pieces<'a> {
    fn new(rest: &'a [IoSlice<'a>]) -> Self {
        Self { rest, first: &[] }
    }

    /// Appends the next `len` bytes to `out`, of which there must be as many.
    fn append(&mut self, out: &mut Vec<u8>, mut len: usize) {
        while len > 0 {
            if self.first.is_empty() {
                let Some((first, rest)) = self.rest.split_first() else {
                    return;
                };
                (self.first, self.rest) = (first, rest);
            }
            let (now, later) = self.first.split_at(self.first.len().min(len));
            out.extend_from_slice(now);
            (self.first, len) = (later, len - now.len());
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Opens what is here, and if that is not a record, reads once more.
    fn poll_open(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.sealed.is_empty() {
            let (mut sealed, before) = (mem::take(&mut self.sealed), buf.filled().len());
            let opened = self.open(&mut sealed, buf);
            sealed.advance(self.checked(cx, opened)?);
            if !sealed.is_empty() {
                self.sealed = sealed;
            }
            if buf.filled().len() > before || self.reading != Reading::Open {
                return Poll::Ready(Ok(()));
            }
        }
        SCRATCH.with_borrow_mut(|scratch| {
            // Less than a record, of which the scratch has room for some.
            let kept = self.sealed.len();
            scratch[..kept].copy_from_slice(&self.sealed);
            let mut read = ReadBuf::new(&mut scratch[kept..]);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
            let len = kept + read.filled().len();
            if len == kept {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let opened = self.open(&mut scratch[..len], buf);
            let used = self.checked(cx, opened)?;
            keep(&mut self.sealed, &scratch[used..len]);
            Poll::Ready(Ok(()))
        })
    }

    /// Tells a peer that misbehaved which alert it has earned, as far as it reads.
    fn checked<T>(&mut self, cx: &mut Context<'_>, opened: Result<T, Ended>) -> io::Result<T> {
        if let Err(ended) = &opened {
            self.reading = Reading::Broken;
            if let Ended::Misbehaved(alert) = ended {
                self.queue(Content::Alert, &[2, u8::from(*alert)])?;
                let _told_or_gone = self.poll_drain(cx);
            }
        }
        Ok(opened?)
    }

    /// Sends what is sealed and was not sent.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.out))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.out.advance(sent),
            }
        }
        self.out = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Seals and sends what fits.
    fn poll_seal(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.out.len() > ALONG_MAX {
            ready!(self.poll_drain(cx))?;
        }
        SEALED.with_borrow_mut(|sealed| {
            sealed.clear();
            sealed.extend_from_slice(&self.out);
            let taken = self.seal(bufs, sealed)?;
            if sealed.is_empty() {
                return Poll::Ready(Ok(0));
            }
            let sent = match Pin::new(&mut self.io).poll_write(cx, sealed) {
                Poll::Ready(sent) => sent?,
                Poll::Pending => 0,
            };
            keep(&mut self.out, &sealed[sent..]);
            Poll::Ready(Ok(taken))
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Session<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if !this.opened.is_empty() {
            let now = this.opened.len().min(buf.remaining());
            buf.put_slice(&this.opened.split_to(now));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        while this.reading == Reading::Open && buf.filled().len() == before {
            ready!(this.poll_open(cx, buf))?;
        }
        match this.reading {
            Reading::Broken => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Session<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_seal(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_seal(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.shut {
            this.queue(
                Content::Alert,
                &[1, u8::from(AlertDescription::CloseNotify)],
            )?;
            this.shut = true;
        }
        ready!(this.poll_drain(cx))?;
        match ready!(Pin::new(&mut this.io).poll_shutdown(cx)) {
            // Gone is shut, too.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            done => Poll::Ready(done),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
