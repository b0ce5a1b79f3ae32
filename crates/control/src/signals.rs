//! The signals that a process of this kind gets, as values.

use std::io;

use tokio::signal::unix::{Signal as Source, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: end.
    Stop,
    /// SIGHUP: read the configuration and the certificates again, and open the logs anew.
    Reload,
}

/// Signals from the moment of [`Signals::install`] on; none is lost between two waits.
#[derive(Debug)]
pub struct Signals {
    terminate: Source,
    interrupt: Source,
    hangup: Source,
}

impl Signals {
    /// Takes over SIGTERM, SIGINT and SIGHUP. Needs a tokio runtime with I/O.
    ///
    /// # Errors
    /// When the system refuses to install a handler.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one. Several of a kind that come between two waits count as one. Safe
    /// to cancel.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }
}
