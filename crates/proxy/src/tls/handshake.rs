//! The handshake with a client, by rustls, over buffers that go away with it.
//!
//! A first look at the client's greeting picks the configuration; then rustls is given the same bytes from
//! the start. What comes out is a [`Session`] with the keys that were agreed on.

use std::io;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use rustls::server::{Accepted, Acceptor, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{ProtocolVersion, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::session::{Leftovers, Session};
use crate::clock;

/// Read at a time.
const READ: usize = 4096;

/// Most that a client may have sent of what is not complete yet.
const PENDING_MAX: usize = 64 * 1024;

/// A handshake under way.
pub(super) struct Handshake<S> {
    io: S,
    /// Read, and not yet taken by rustls, which knows where in it an incomplete message lies.
    sealed: BytesMut,
    came: Came,
}

/// What came of the bytes so far.
#[derive(Default)]
struct Came {
    /// Content that followed the handshake at once.
    opened: BytesMut,
    /// To be sent.
    out: Vec<u8>,
    /// Whether the client said that it sends no more.
    closed: bool,
}

/// What a handshake needs before it goes on.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Again,
    Send,
    Read,
    Done,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Handshake<S> {
    /// A handshake with who is at the other end of `io`.
    pub(super) fn new(io: S) -> Self {
        Self {
            io,
            sealed: BytesMut::new(),
            came: Came::default(),
        }
    }

    /// Waits for the client's greeting.
    ///
    /// # Errors
    /// When the client goes away, or when it does not speak TLS, which it is told.
    pub(super) async fn greeting(&mut self) -> io::Result<Accepted> {
        let mut acceptor = Acceptor::default();
        loop {
            let before = self.sealed.len();
            self.read().await?;
            let mut new = &self.sealed[before..];
            while !new.is_empty() {
                acceptor.read_tls(&mut new)?;
                match acceptor.accept() {
                    Ok(Some(accepted)) => return Ok(accepted),
                    Ok(None) => {}
                    Err((error, mut alert)) => {
                        alert.write_all(&mut self.came.out)?;
                        return Err(self.refuse(error).await);
                    }
                }
            }
        }
    }

    /// Goes through the handshake from the greeting on. `agreed` looks at what came of it.
    ///
    /// # Errors
    /// When the client goes away or refuses, or when nothing can be agreed on, which it is told.
    pub(super) async fn shake<T>(
        mut self,
        config: Arc<ServerConfig>,
        agreed: impl FnOnce(&UnbufferedServerConnection) -> T,
    ) -> io::Result<(Session<S>, T)> {
        let mut tls = UnbufferedServerConnection::new(config).map_err(invalid)?;
        loop {
            match self.step(&mut tls) {
                Ok(Step::Again) => {}
                Ok(Step::Send) => self.send().await?,
                Ok(Step::Read) => self.read().await?,
                Ok(Step::Done) => break,
                Err(error) => return Err(self.give_up(&mut tls, error).await),
            }
        }
        let agreed = agreed(&tls);
        let keys = tls.dangerous_into_kernel_connection();
        let (secrets, keys) = keys.map_err(invalid)?;
        let left = Leftovers {
            sealed: self.sealed,
            opened: self.came.opened.freeze(),
            out: self.came.out,
            closed: self.came.closed,
        };
        let session = Session::new(self.io, secrets, keys, left).map_err(invalid)?;
        Ok((session, agreed))
    }

    fn step(&mut self, tls: &mut UnbufferedServerConnection) -> Result<Step, rustls::Error> {
        // A signature takes as long as dozens of requests.
        clock::spent();
        let UnbufferedStatus { discard, state } = tls.process_tls_records(&mut self.sealed);
        let step = self.came.act_on(state);
        self.sealed.advance(discard);
        match step {
            // Tickets: they wait for the first answer.
            Ok(Step::Send) if is_done(tls) => Ok(Step::Again),
            step => step,
        }
    }

    /// Sends the alert that rustls has for a client with which nothing could be agreed on.
    async fn give_up(
        &mut self,
        tls: &mut UnbufferedServerConnection,
        error: rustls::Error,
    ) -> io::Error {
        while let UnbufferedStatus {
            discard,
            state: Ok(ConnectionState::EncodeTlsData(alert)),
        } = tls.process_tls_records(&mut self.sealed)
        {
            match encode(alert, &mut self.came.out) {
                Ok(()) => self.sealed.advance(discard),
                Err(error) => return invalid(error),
            }
        }
        self.refuse(error).await
    }

    async fn read(&mut self) -> io::Result<()> {
        if self.sealed.len() >= PENDING_MAX {
            return Err(invalid(rustls::Error::General("too long a message".into())));
        }
        self.sealed.reserve(READ);
        match self.io.read_buf(&mut self.sealed).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn send(&mut self) -> io::Result<()> {
        self.io.write_all(&self.came.out).await?;
        self.came.out.clear();
        Ok(())
    }

    /// Sends the alert that is ready, as far as the client reads.
    async fn refuse(&mut self, error: rustls::Error) -> io::Error {
        let _told_or_gone = self.send().await;
        invalid(error)
    }
}

impl Came {
    fn act_on<D>(
        &mut self,
        state: Result<ConnectionState<'_, '_, D>, rustls::Error>,
    ) -> Result<Step, rustls::Error> {
        Ok(match state? {
            ConnectionState::EncodeTlsData(data) => {
                encode(data, &mut self.out)?;
                Step::Again
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                Step::Send
            }
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    self.opened.extend_from_slice(record?.payload);
                }
                Step::Again
            }
            ConnectionState::PeerClosed => {
                self.closed = true;
                Step::Again
            }
            ConnectionState::BlockedHandshake => Step::Read,
            ConnectionState::WriteTraffic(_) => Step::Done,
            state => return Err(rustls::Error::General(format!("{state:?} in a handshake"))),
        })
    }
}

/// Whether the client has all that it needs. In TLS 1.2 our last message may be a part of the handshake.
fn is_done(tls: &UnbufferedServerConnection) -> bool {
    !tls.is_handshaking() && tls.protocol_version() == Some(ProtocolVersion::TLSv1_3)
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Appends what is encoded to `out`.
fn encode<D>(mut data: EncodeTlsData<'_, D>, out: &mut Vec<u8>) -> Result<(), rustls::Error> {
    let from = out.len();
    // The first call tells how much room it takes.
    let needed = match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(size)) => size.required_size,
        _ => 0,
    };
    out.resize(from + needed, 0);
    data.encode(&mut out[from..])
        .map(|_written| ())
        .map_err(|error| rustls::Error::General(error.to_string()))
}
