//! A load generator of our own, for what `h2load` cannot do: another path for each request, intended
//! send times, connections that are held idle and then used. HTTP/1.1 without TLS.
//!
//! It runs on the core of the load in a thread of this process, and checks status and body of every
//! single answer. Paths come from a seed, uniform over all routes, so that every proxy and every
//! round is asked the same.

mod closed;
mod connection;
mod open;

use std::net::SocketAddr;

use bytes::Bytes;
use tidegate_lab::content;

use crate::error::BenchError;
use crate::peer::HOST;

pub(crate) use closed::closed;
pub(crate) use connection::{Answer, Connection};
pub(crate) use open::{Beat, Open, open};

/// Bytes of every answer's body.
const BODY_BYTES: usize = 1024;

/// Where the paths start; any number would do.
const SEED: u64 = 0x7469_6465;

/// Wrong answers that are described; more are only counted.
const DESCRIBED_MAX: usize = 3;

/// Whom to ask and for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// The proxy.
    pub(crate) target: SocketAddr,
    /// Its routes; at least one.
    pub(crate) routes: u32,
}

/// What came of requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Requests with a right answer.
    pub(crate) right: u64,
    /// Requests with a wrong answer: status or body.
    pub(crate) wrong: u64,
    /// Requests without an answer.
    pub(crate) lost: u64,
    /// The first of what went wrong, for people.
    pub(crate) words: Vec<String>,
}

impl Tally {
    /// Why not all of `requests` were answered right; `None` when they were.
    pub(crate) fn fault(&self, requests: u64) -> Option<String> {
        let Self { right, words, .. } = self;
        (*right != requests).then(|| format!("{right} of {requests} right: {}", words.join(", ")))
    }

    fn take(&mut self, other: Self) {
        self.right += other.right;
        self.wrong += other.wrong;
        self.lost += other.lost;
        let room = DESCRIBED_MAX.saturating_sub(self.words.len());
        self.words.extend(other.words.into_iter().take(room));
    }

    fn count(&mut self, answer: &std::io::Result<Answer>, expected: &[u8]) {
        match answer {
            Ok(answer) if is(answer, expected) => self.right += 1,
            Ok(answer) => {
                self.wrong += 1;
                self.describe(format!(
                    "{} with {} bytes",
                    answer.status,
                    answer.body.len()
                ));
            }
            Err(error) => {
                self.lost += 1;
                self.describe(error.to_string());
            }
        }
    }

    fn describe(&mut self, what: String) {
        if self.words.len() < DESCRIBED_MAX {
            self.words.push(what);
        }
    }
}

/// An endless sequence of requests for random routes.
struct Requests {
    routes: u64,
    state: u64,
}

impl Requests {
    /// Different for each `stream`, the same at each call.
    fn new(routes: u32, stream: u64) -> Self {
        let routes = u64::from(routes.max(1));
        let state = SEED ^ stream.wrapping_mul(0xd129_0d3f_0a4b_27a5);
        Self { routes, state }
    }

    /// The next route, uniform over all but for a share far below one in a billion.
    fn route(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let wide = u128::from(z ^ (z >> 31)) * u128::from(self.routes);
        (wide >> 64) as u64
    }

    fn next(&mut self) -> Bytes {
        request(&format!("/r/{}/bytes/{BODY_BYTES}", self.route()))
    }
}

/// A request as it goes over the wire.
pub(crate) fn request(path: &str) -> Bytes {
    let text = format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\nuser-agent: bench\r\n\r\n");
    Bytes::from(text)
}

/// A request for the last of so many routes.
pub(crate) fn last_route(routes: u32) -> Bytes {
    request(&format!(
        "/r/{}/bytes/{BODY_BYTES}",
        routes.saturating_sub(1)
    ))
}

/// Whether an answer is what a route's upstream gives.
pub(crate) fn is_right(answer: &Answer) -> bool {
    is(answer, &expected())
}

fn is(answer: &Answer, body: &[u8]) -> bool {
    answer.status == 200 && answer.body == body
}

/// What every answer's body has to be.
fn expected() -> Bytes {
    content::bytes(content::SEED, 0, BODY_BYTES)
}

/// Runs `work` on the core of the load, on a thread and a runtime of its own.
///
/// # Errors
/// When the thread cannot be had; else what `work` says.
pub(crate) async fn on_load_core<T, F>(
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<T, BenchError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, BenchError>>,
{
    let thread = tokio::task::spawn_blocking(move || {
        let mut core = rustix::thread::CpuSet::new();
        core.set(crate::LOAD_CORE as usize);
        let io = |source| BenchError::io("a thread on the core of the load")(source);
        let before = rustix::thread::sched_getaffinity(None).map_err(|error| io(error.into()))?;
        rustix::thread::sched_setaffinity(None, &core).map_err(|error| io(error.into()))?;
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().map_err(io)?;
        let ended = runtime.block_on(work());
        // The thread goes back to a pool.
        let back = rustix::thread::sched_setaffinity(None, &before);
        back.map_err(|error| io(error.into()))?;
        ended
    });
    let ended = thread.await;
    ended.unwrap_or_else(|error| Err(BenchError::Load(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_routes_get_their_share_and_each_stream_its_own() {
        let mut seen = [0_u32; 10];
        let mut requests = Requests::new(10, 1);
        (0..10_000).for_each(|_| seen[requests.route() as usize] += 1);
        assert!(seen.iter().all(|&n| (800..1_200).contains(&n)), "{seen:?}");
        let few = |stream| {
            let mut requests = Requests::new(1_000_000, stream);
            [0; 4].map(|_| requests.route())
        };
        assert_eq!(few(1), few(1));
        assert_ne!(few(1), few(2));
    }

    #[test]
    fn a_tally_says_what_is_wrong() {
        let answer = |status, body: &'static [u8]| {
            Ok(Answer {
                status,
                body: Bytes::from_static(body),
                closes: false,
            })
        };
        let mut tally = Tally::default();
        tally.count(&answer(200, b"right"), b"right");
        assert_eq!(tally.fault(1), None);
        tally.count(&answer(200, b"left"), b"right");
        tally.count(&answer(503, b"right"), b"right");
        tally.count(&Err(std::io::Error::other("reset")), b"right");
        assert_eq!((tally.right, tally.wrong, tally.lost), (1, 2, 1));
        let fault = tally.fault(4).unwrap();
        assert_eq!(
            fault,
            "1 of 4 right: 200 with 4 bytes, 503 with 5 bytes, reset"
        );
    }
}
