//! Clients that wait to be accepted.
//!
//! To ask for a client where there is none costs the kernel a socket and a file that it makes and throws away:
//! 2.4 us, a twentieth of a connection with one request. But before the reactor tells of the next client
//! (edge-triggered, epoll(7)) somebody must have heard that nobody is left. `poll` says so for a fifth.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;

const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// The backlog of one listening socket.
pub(super) struct Backlog {
    socket: AsyncFd<TcpListener>,
    /// Whether somebody was accepted since the reactor told of it: perhaps that was the last.
    took: bool,
}

impl Backlog {
    /// The backlog of `socket`, which does not block. Within a runtime.
    #[expect(
        unsafe_code,
        reason = "tokio's own listener cannot be told that nobody waits"
    )]
    pub(super) fn new(socket: TcpListener) -> io::Result<Self> {
        // SAFETY: a `TcpListener` owns one open descriptor and never changes it.
        let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        Ok(Self {
            socket: registered?,
            took: false,
        })
    }

    /// The next client.
    pub(super) fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        loop {
            let mut readable = ready!(self.socket.poll_read_ready(cx))?;
            let socket = readable.get_inner();
            let accepted = match self.took && is_empty(socket)? {
                true => Err(Errno::WOULDBLOCK.into()),
                false => accept(socket),
            };
            match accepted {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.took = false;
                    readable.clear_ready();
                }
                accepted => {
                    self.took = true;
                    return Poll::Ready(accepted);
                }
            }
        }
    }

    /// The socket, which the reactor forgets.
    pub(super) fn into_socket(self) -> TcpListener {
        self.socket.into_inner()
    }
}

fn is_empty(socket: &TcpListener) -> io::Result<bool> {
    let mut asked = [PollFd::new(socket, PollFlags::IN)];
    match poll(&mut asked, Some(&AT_ONCE)) {
        Err(Errno::INTR) => Ok(false),
        ready => Ok(ready? == 0),
    }
}

fn accept(socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (stream, client) = acceptfrom_with(socket, flags)?;
    let client = client.ok_or(Errno::AFNOSUPPORT)?;
    Ok((TcpStream::from_std(stream.into())?, client.try_into()?))
}
