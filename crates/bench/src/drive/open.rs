//! The open loop: a request every so often, whether or not the last one was answered.
//!
//! What a request takes counts from when it should have been sent, so that a proxy that stalls is
//! charged for all who would have come meanwhile. A thread gives the beat, because the timer of the
//! runtime rounds to milliseconds.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::{Asked, Connection, Requests, Tally, expected};
use crate::error::BenchError;

/// What came of an open loop.
#[derive(Debug, Default)]
pub(crate) struct Open {
    /// Right, wrong and lost.
    pub(crate) tally: Tally,
    /// Of each right answer: when its request should have been sent, and how long after that it
    /// was there. In no order.
    pub(crate) samples: Vec<(Instant, Duration)>,
}

struct Job {
    intended: Instant,
    request: Bytes,
}

/// A beat. A thread gives it, on the core of whoever starts it, until this is dropped.
pub(crate) struct Beat {
    due: UnboundedReceiver<Instant>,
}

impl Beat {
    /// Starts it; the first beat is due at once.
    pub(crate) fn start(interval: Duration) -> Self {
        let (tell, due) = unbounded_channel();
        let mut next = Instant::now();
        std::thread::spawn(move || {
            while tell.send(next).is_ok() {
                next += interval;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        Self { due }
    }

    /// Waits for the next beat, and says when it was due.
    pub(crate) async fn next(&mut self) -> Instant {
        let due = self.due.recv().await;
        due.unwrap_or_else(Instant::now)
    }

    /// Forgets the beats that nobody waited for.
    pub(crate) fn catch_up(&mut self) {
        while self.due.try_recv().is_ok() {}
    }
}

/// Sends `per_second` requests a second over `connections` in turn, to random routes, until
/// `until` is over; then waits for what is under way. Comes back with what `until` does.
///
/// # Errors
/// When the load itself breaks; wrong and lost answers are in the tally.
pub(crate) async fn open<T>(
    asked: Asked,
    connections: u32,
    per_second: u32,
    until: impl Future<Output = Result<T, BenchError>>,
) -> Result<(Open, T), BenchError> {
    let mut tasks = JoinSet::new();
    let lanes: Vec<_> = (0..connections.max(1))
        .map(|_| {
            let (lane, jobs) = unbounded_channel();
            tasks.spawn(run(asked.target, jobs, expected()));
            lane
        })
        .collect();
    let requests = Requests::new(asked.routes, 0);
    let every = Duration::from_secs(1) / per_second.max(1);
    let ended = tokio::select! {
        ended = until => ended?,
        error = pace(&lanes, requests, every) => return Err(error),
    };
    drop(lanes);
    let mut open = Open::default();
    while let Some(lane) = tasks.join_next().await {
        let lane = lane.map_err(|error| BenchError::Load(error.to_string()))?;
        open.tally.take(lane.tally);
        open.samples.extend(lane.samples);
    }
    Ok((open, ended))
}

/// Hands out requests on the beat, for ever.
async fn pace(
    lanes: &[UnboundedSender<Job>],
    mut requests: Requests,
    every: Duration,
) -> BenchError {
    let mut beat = Beat::start(every);
    for lane in lanes.iter().cycle() {
        let (intended, request) = (beat.next().await, requests.next());
        if lane.send(Job { intended, request }).is_err() {
            break;
        }
    }
    BenchError::Load("a connection's task has ended".to_owned())
}

/// A lane: one connection at a time, replaced when the proxy ends it.
async fn run(target: SocketAddr, mut jobs: UnboundedReceiver<Job>, expected: Bytes) -> Open {
    let mut own = Open::default();
    let mut held: Option<Connection> = None;
    loop {
        let job = tokio::select! {
            // A client that knows that its connection is gone does not send on it.
            biased;
            () = gone(held.as_ref()) => {
                held = None;
                continue;
            }
            job = jobs.recv() => job,
        };
        let Some(Job { intended, request }) = job else {
            return own;
        };
        let answer = ask(&mut held, target, &request).await;
        let right = own.tally.right;
        own.tally.count(&answer, &expected);
        if own.tally.right > right {
            own.samples.push((intended, intended.elapsed()));
        }
    }
}

async fn gone(held: Option<&Connection>) {
    match held {
        Some(connection) => connection.gone().await,
        None => std::future::pending().await,
    }
}

/// Asks on the connection that is held, or on a new one; holds it on unless it ends.
async fn ask(
    held: &mut Option<Connection>,
    target: SocketAddr,
    request: &[u8],
) -> std::io::Result<super::Answer> {
    let mut connection = match held.take() {
        Some(connection) => connection,
        None => Connection::open(target).await?,
    };
    let answer = connection.ask(request).await?;
    if !answer.closes {
        *held = Some(connection);
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves one request a connection without a word about its end.
    async fn abrupt() -> SocketAddr {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 1024]).await;
                let head = "HTTP/1.1 200 OK\r\ncontent-length: 1024\r\n\r\n";
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.write_all(&expected()).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn requests_go_out_while_the_work_goes_on() {
        let target = crate::upstream::start().await.unwrap().http1[0];
        let asked = Asked { target, routes: 50 };
        let work = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(7)
        };
        let (open, ended) = open(asked, 4, 1_000, work).await.unwrap();
        assert_eq!((ended, open.tally.wrong, open.tally.lost), (7, 0, 0));
        assert!(open.tally.right > 0);
        assert_eq!(open.samples.len() as u64, open.tally.right);
    }

    #[tokio::test]
    async fn a_connection_that_is_gone_is_replaced() {
        let target = abrupt().await;
        let request = Requests::new(1, 0).next();
        let mut held = None;
        assert!(crate::drive::is_right(
            &ask(&mut held, target, &request).await.unwrap()
        ));
        gone(held.as_ref()).await;
        held = None;
        assert!(ask(&mut held, target, &request).await.is_ok() && held.is_some());
        assert!(ask(&mut held, target, &request).await.is_err() && held.is_none());
    }

    #[tokio::test]
    async fn a_beat_says_when_each_was_due() {
        let interval = Duration::from_millis(1);
        let mut beat = Beat::start(interval);
        let mut last = beat.next().await;
        for _ in 0..5 {
            let due = beat.next().await;
            assert_eq!(due - last, interval);
            last = due;
        }
    }
}
