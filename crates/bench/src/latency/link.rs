//! A client's socket, plaintext or TLS, that never waits once it is open.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::peer::HOST;

/// Whether a socket may have something to read. The poll sets it, a read that got all clears it:
/// that saves the read that would only say that there is nothing more.
pub(super) type Readable = Rc<Cell<bool>>;

/// A connection's bytes.
pub(super) struct Link {
    socket: Socket,
    tls: Option<Box<ClientConnection>>,
}

struct Socket {
    stream: TcpStream,
    readable: Readable,
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !self.readable.get() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let read = self.stream.read(into);
        // What comes after a short read is a new event (epoll(7)).
        self.readable
            .set(matches!(read, Ok(bytes) if bytes == into.len()));
        read
    }
}

impl Link {
    /// Connects and shakes hands, which waits.
    ///
    /// # Errors
    /// What the system or TLS says.
    pub(super) fn open(target: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let mut stream = TcpStream::connect(target)?;
        stream.set_nodelay(true)?;
        let tls = tls
            .map(|config| shake_hands(&mut stream, config))
            .transpose()?;
        stream.set_nonblocking(true)?;
        let readable = Readable::default();
        let socket = Socket { stream, readable };
        Ok(Self { socket, tls })
    }

    /// For the poll, to say that there is something.
    pub(super) fn readable(&self) -> Readable {
        Rc::clone(&self.socket.readable)
    }

    /// Reads what there is; `None` when there is nothing now.
    ///
    /// # Errors
    /// What the system or TLS says, and the end: nothing here expects it.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        match self.read_some(into) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read_some(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.socket.read(into);
        };
        loop {
            match tls.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            if tls.read_tls(&mut self.socket)? == 0 {
                return Ok(0);
            }
            tls.process_new_packets().map_err(io::Error::other)?;
        }
    }

    /// Writes everything.
    ///
    /// # Errors
    /// What the system says, and when it does not take everything at once: a proxy that does not
    /// read the few bytes that are sent here is broken.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            return self.socket.stream.write_all(bytes);
        };
        tls.writer().write_all(bytes)?;
        while tls.wants_write() {
            tls.write_tls(&mut self.socket.stream)?;
        }
        Ok(())
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.stream.as_fd()
    }
}

fn shake_hands(
    stream: &mut TcpStream,
    config: &Arc<ClientConfig>,
) -> io::Result<Box<ClientConnection>> {
    let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
    let tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    let mut tls = Box::new(tls);
    while tls.is_handshaking() {
        tls.complete_io(stream)?;
    }
    Ok(tls)
}
