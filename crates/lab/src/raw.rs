//! An upstream that says exactly what it is told to, byte for byte, and remembers exactly what it was sent.
//!
//! No HTTP library stands in the way, so it can give answers that none would write (two lengths, a bare LF, a body
//! cut short) and can prove that not one smuggled byte reached it. Receiving goes on whatever the script waits
//! for. Scripts, connections and recordings are bounded.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::sync::locked;
use crate::tasks::{EndOnDrop, Tasks};
use crate::wait::WaitError;

const RECORDING_MAX: usize = 4 * 1024 * 1024;
const CONNECTIONS_MAX: usize = 1024;
/// How long an orderly close waits for the peer's own FIN before the socket goes.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// One step of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write these bytes.
    Send(Bytes),
    /// Wait for the end of the next head (CRLF CRLF) after what earlier steps consumed.
    ReadHead,
    /// Wait for this many bytes after what earlier steps consumed.
    ReadBytes(usize),
    /// Wait until the peer ends its direction.
    ReadAll,
    /// Wait a while, for answers that come in two parts.
    Pause(Duration),
    /// End our direction (FIN) and go on with the script.
    HalfClose,
    /// Orderly end: FIN after everything sent; what still arrives is recorded for up to a second.
    Close,
    /// RST at once.
    Reset,
    /// Keep the connection and do nothing more; what arrives is still recorded.
    Stall,
}

impl Action {
    /// [`Action::Send`] for text or bytes.
    pub fn send(bytes: impl AsRef<[u8]>) -> Self {
        Self::Send(Bytes::copy_from_slice(bytes.as_ref()))
    }

    /// Reads one head and gives one complete answer.
    pub fn answer(bytes: impl AsRef<[u8]>) -> Vec<Self> {
        vec![Self::ReadHead, Self::send(bytes)]
    }
}

/// What one connection sent to us.
#[derive(Clone, Debug, Default)]
struct Recording {
    bytes: Vec<u8>,
    ended: bool,
}

type Recordings = Arc<Mutex<Vec<watch::Receiver<Recording>>>>;

/// A TCP server that plays scripts. Dropping it resets its connections.
pub struct RawUpstream {
    addr: SocketAddr,
    recordings: Recordings,
    _tasks: EndOnDrop,
}

impl RawUpstream {
    /// Listens on an ephemeral loopback port. Connection number i plays script i; when they run out, the last one
    /// is played again. Without scripts every connection stalls. A script that runs out closes in order.
    ///
    /// # Errors
    /// When no loopback port can be bound.
    pub async fn start(scripts: Vec<Vec<Action>>) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let tasks = Tasks::new();
        let recordings = Recordings::default();
        tasks.spawn(accept(
            listener,
            scripts,
            Arc::clone(&recordings),
            tasks.clone(),
        ));
        Ok(Self {
            addr,
            recordings,
            _tasks: EndOnDrop(tasks),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many connections were accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        locked(&self.recordings).len()
    }

    /// Everything connection `index` has sent so far (the first 4 MiB); `None` while there is no such connection.
    #[must_use]
    pub fn received(&self, index: usize) -> Option<Vec<u8>> {
        let recording = locked(&self.recordings).get(index)?.clone();
        Some(recording.borrow().bytes.clone())
    }

    /// Waits until `enough` likes what connection `index` has sent, and returns those bytes.
    ///
    /// # Errors
    /// [`WaitError`] when that does not happen `within` the time, the connection's own arrival included.
    pub async fn wait_received(
        &self,
        index: usize,
        within: Duration,
        mut enough: impl FnMut(&[u8]) -> bool,
    ) -> Result<Vec<u8>, WaitError> {
        let what = format!("expected bytes on raw upstream connection {index}");
        let found = Mutex::new(Vec::new());
        crate::wait_until(&what, within, || {
            let bytes = self.received(index).filter(|bytes| enough(bytes));
            let done = bytes.is_some();
            *locked(&found) = bytes.unwrap_or_default();
            async move { done }
        })
        .await?;
        Ok(found.into_inner().unwrap_or_default())
    }

    /// Whether connection `index` has ended its direction (or was reset).
    #[must_use]
    pub fn peer_ended(&self, index: usize) -> bool {
        locked(&self.recordings)
            .get(index)
            .is_some_and(|recording| recording.borrow().ended)
    }
}

async fn accept(
    listener: TcpListener,
    scripts: Vec<Vec<Action>>,
    recordings: Recordings,
    tasks: Tasks,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (recorder, recording) = watch::channel(Recording::default());
        let index = {
            let mut all = locked(&recordings);
            all.push(recording.clone());
            all.len() - 1
        };
        let last = scripts.len().saturating_sub(1);
        let script = scripts
            .get(index.min(last))
            .cloned()
            .unwrap_or(vec![Action::Stall]);
        tasks.spawn(converse(stream, script, recorder, recording));
        if index + 1 >= CONNECTIONS_MAX {
            return;
        }
    }
}

/// How a script ends.
enum Ending {
    Close,
    Reset,
}

async fn converse(
    mut stream: TcpStream,
    script: Vec<Action>,
    recorder: watch::Sender<Recording>,
    recording: watch::Receiver<Recording>,
) {
    // Until the orderly end, letting go of the socket means RST.
    let _ = stream.set_zero_linger();
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.split();
    let ending = tokio::select! {
        ending = play(script, writer, recording) => ending,
        () = record(reader, recorder) => Ending::Reset,
    };
    if matches!(ending, Ending::Close) {
        let _ = socket2::SockRef::from(&stream).set_linger(None);
    }
}

/// Records until the peer ends, then waits to be dropped.
async fn record(mut reader: ReadHalf<'_>, recorder: watch::Sender<Recording>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(n @ 1..) = reader.read(&mut buffer).await {
        recorder.send_modify(|recording| {
            let room = RECORDING_MAX.saturating_sub(recording.bytes.len());
            recording.bytes.extend_from_slice(&buffer[..n.min(room)]);
        });
    }
    recorder.send_modify(|recording| recording.ended = true);
    std::future::pending().await
}

/// Plays the steps; `Reset` is also how a step ends that can no longer be fulfilled.
async fn play(
    script: Vec<Action>,
    mut writer: WriteHalf<'_>,
    mut recording: watch::Receiver<Recording>,
) -> Ending {
    let mut consumed = 0;
    for action in script {
        let done = match action {
            Action::Send(bytes) => writer.write_all(&bytes).await.is_ok(),
            Action::ReadHead => consume(&mut recording, &mut consumed, head_end).await,
            Action::ReadBytes(n) => {
                let end = |bytes: &[u8]| (bytes.len() >= n).then_some(n);
                consume(&mut recording, &mut consumed, end).await
            }
            Action::ReadAll => recording
                .wait_for(|recording| recording.ended)
                .await
                .is_ok(),
            Action::Pause(pause) => {
                tokio::time::sleep(pause).await;
                true
            }
            Action::HalfClose => writer.shutdown().await.is_ok(),
            Action::Close => break,
            Action::Reset => return Ending::Reset,
            Action::Stall => std::future::pending().await,
        };
        if !done {
            return Ending::Reset;
        }
    }
    close(writer, recording).await
}

async fn close(mut writer: WriteHalf<'_>, mut recording: watch::Receiver<Recording>) -> Ending {
    let _ = writer.shutdown().await;
    let peer_ends = recording.wait_for(|recording| recording.ended);
    let _ = tokio::time::timeout(CLOSE_WAIT, peer_ends).await;
    Ending::Close
}

/// Waits until `end` finds its end in what was not consumed yet. False when the peer ended before that.
async fn consume(
    recording: &mut watch::Receiver<Recording>,
    consumed: &mut usize,
    end: impl Fn(&[u8]) -> Option<usize>,
) -> bool {
    let from = *consumed;
    let mut found = None;
    let waited = recording
        .wait_for(|recording| {
            found = end(&recording.bytes[from..]);
            found.is_some() || recording.ended
        })
        .await
        .is_ok();
    *consumed += found.unwrap_or(0);
    waited && found.is_some()
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|at| at + 4)
}
