//! What a client is told to do, and the check that it can be done.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery};
use http::{HeaderName, HeaderValue, Method};

use super::Expect;
use crate::content;
use crate::content_body::Framing;

/// The HTTP version to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, one request at a time per connection.
    H1,
    /// HTTP/2, by ALPN with TLS and by prior knowledge (h2c) without.
    H2,
}

/// When the next request is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As soon as a worker is free.
    Closed,
    /// At fixed intended times, whatever happens to the ones before.
    Open {
        /// Requests a second, more than 0.
        per_second: f64,
    },
}

/// One kind of request in the mix.
#[derive(Clone, Debug)]
pub struct RequestSpec {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// More header fields. Host, length and `x-lab-id` are set by the client.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Length of the request's body. Its content differs from request to request.
    pub body_bytes: u64,
    /// Whether the body's length is announced.
    pub framing: Framing,
    /// The only right status.
    pub status: u16,
    /// The only right body.
    pub expect: Expect,
    /// When the client goes away without waiting for the end. `None`: never.
    pub leave: Option<Leave>,
    /// Share in the mix, relative to the others; 0 is never sent.
    pub weight: u32,
}

/// When a client goes away: HTTP/1.1 closes the connection, HTTP/2 resets the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Once so many bytes of the request's body were given to the connection. Never, if there are fewer.
    Sending(u64),
    /// So long after all of the request was given to the connection, if no head has come by then.
    Waiting(Duration),
    /// Once so many bytes of the answer's body have come. Never, if there are fewer.
    Receiving(u64),
}

impl RequestSpec {
    /// A request without a body that must be answered 200, with whatever body.
    #[must_use]
    pub fn new(method: Method, path: &str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            headers: Vec::new(),
            body_bytes: 0,
            framing: Framing::Sized,
            status: 200,
            expect: Expect::Anything,
            leave: None,
            weight: 1,
        }
    }

    /// GET.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new(Method::GET, path)
    }

    /// `GET /bytes/{n}` of a region, every byte checked.
    #[must_use]
    pub fn content(bytes: u64) -> Self {
        let expect = Expect::Content {
            seed: content::SEED,
            bytes,
        };
        Self {
            expect,
            ..Self::get(&format!("/bytes/{bytes}"))
        }
    }

    /// `POST /echo` of a region, every byte checked on its way back.
    #[must_use]
    pub fn echo(bytes: u64) -> Self {
        Self {
            body_bytes: bytes,
            expect: Expect::Upload,
            ..Self::new(Method::POST, "/echo")
        }
    }

    /// `PUT /sha256` of a region: the region must have received exactly what was sent.
    #[must_use]
    pub fn digest(bytes: u64) -> Self {
        let put = Self::new(Method::PUT, "/sha256");
        Self {
            body_bytes: bytes,
            expect: Expect::UploadDigest,
            ..put
        }
    }

    /// The same with another field.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The same by a client that goes away.
    #[must_use]
    pub fn leaving(self, leave: Leave) -> Self {
        Self {
            leave: Some(leave),
            ..self
        }
    }

    /// The same with another share in the mix.
    #[must_use]
    pub fn weighing(self, weight: u32) -> Self {
        Self { weight, ..self }
    }
}

/// What a client does.
#[derive(Clone)]
pub struct ClientSpec {
    /// Where to connect.
    pub target: SocketAddr,
    /// `Host` or `:authority`; its name is also the one the certificate must have. A port may follow.
    pub host: String,
    /// TLS with these settings, or plaintext. ALPN is set from `protocol`.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// HTTP version.
    pub protocol: Protocol,
    /// Connections that HTTP/2 spreads its requests over; at least 1. HTTP/1.1 opens as many as it needs.
    pub h2_connections: usize,
    /// Requests at a time, 1 to 65,536.
    pub concurrency: usize,
    /// Open or closed loop.
    pub pace: Pace,
    /// Stop after so many requests; `None` goes on until stopped.
    pub requests: Option<u64>,
    /// From the moment of sending to the end of the answer, connecting included.
    pub timeout: Duration,
    /// Requests that are right but took longer are kept as incidents too.
    pub slow_after: Duration,
    /// What to send. Request n is the same kind in every run with the same seed.
    pub mix: Vec<RequestSpec>,
    /// Seed of the choice from the mix.
    pub seed: u64,
}

impl ClientSpec {
    /// Plaintext HTTP/1.1, 8 requests at a time in a closed loop, 10 s timeout, `GET /`.
    #[must_use]
    pub fn new(target: SocketAddr, host: &str) -> Self {
        Self {
            target,
            host: host.to_owned(),
            tls: None,
            protocol: Protocol::H1,
            h2_connections: 1,
            concurrency: 8,
            pace: Pace::Closed,
            requests: None,
            timeout: Duration::from_secs(10),
            slow_after: Duration::from_secs(1),
            mix: vec![RequestSpec::get("/")],
            seed: 1,
        }
    }

    /// Checks what can be checked before the first request.
    pub(super) fn validated(self) -> Result<Prepared, SpecError> {
        let host = self.host.clone();
        let authority: Authority = host
            .parse()
            .map_err(|_| SpecError::Host { host: host.clone() })?;
        if !(1..=CONCURRENCY_MAX).contains(&self.concurrency) {
            return Err(SpecError::Concurrency {
                given: self.concurrency,
            });
        }
        if let Pace::Open { per_second } = self.pace
            && !(RATE_MIN..=RATE_MAX).contains(&per_second)
        {
            return Err(SpecError::Rate { given: per_second });
        }
        let weight = self
            .mix
            .iter()
            .map(|request| u64::from(request.weight))
            .sum();
        if weight == 0 {
            return Err(SpecError::Mix);
        }
        let paths = self.mix.iter().map(path).collect::<Result<_, _>>()?;
        let tls_name = rustls::pki_types::ServerName::try_from(authority.host().to_owned())
            .map_err(|_| SpecError::Host { host })?;
        Ok(Prepared {
            spec: self,
            authority,
            tls_name,
            paths,
            weight,
        })
    }
}

const CONCURRENCY_MAX: usize = 65_536;
const RATE_MIN: f64 = 0.001;
const RATE_MAX: f64 = 1e6;

fn path(request: &RequestSpec) -> Result<PathAndQuery, SpecError> {
    let parsed = request
        .path
        .parse()
        .ok()
        .filter(|_| request.path.starts_with('/'));
    parsed.ok_or_else(|| SpecError::Path {
        path: request.path.clone(),
    })
}

/// Why a specification cannot be carried out.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum SpecError {
    /// Not a host name or address.
    #[error("host {host:?} is not a name or address with an optional port")]
    Host {
        /// As given.
        host: String,
    },
    /// No worker, or absurdly many.
    #[error("concurrency {given} is not within 1 to 65536")]
    Concurrency {
        /// As given.
        given: usize,
    },
    /// Not a rate.
    #[error("rate {given} is not within 0.001 to 1000000 requests a second")]
    Rate {
        /// As given.
        given: f64,
    },
    /// Nothing to send.
    #[error("the request mix is empty or has only zero weights")]
    Mix,
    /// Not a path.
    #[error("path {path:?} is not an absolute path with an optional query")]
    Path {
        /// As given.
        path: String,
    },
}

/// A specification that was checked, with what follows from it.
pub(super) struct Prepared {
    pub(super) spec: ClientSpec,
    pub(super) authority: Authority,
    pub(super) tls_name: rustls::pki_types::ServerName<'static>,
    paths: Vec<PathAndQuery>,
    weight: u64,
}

impl Prepared {
    /// The kind of request `number` and its path.
    pub(super) fn pick(&self, number: u64) -> (&RequestSpec, &PathAndQuery) {
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.spec.seed;
        let mut left = fastrand::Rng::with_seed(mixed).u64(..self.weight);
        for (request, path) in self.spec.mix.iter().zip(&self.paths) {
            match left.checked_sub(u64::from(request.weight)) {
                Some(rest) => left = rest,
                None => return (request, path),
            }
        }
        // Not reached: the draw is below the sum of the weights, which validation found to be above zero.
        (&self.spec.mix[0], &self.paths[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ClientSpec {
        ClientSpec::new(
            SocketAddr::from(([127, 0, 0, 1], 9)),
            "shop.example.com:8443",
        )
    }

    fn check(change: impl FnOnce(&mut ClientSpec), expected: &str) {
        let mut spec = spec();
        change(&mut spec);
        let refused = spec
            .validated()
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(
            refused.starts_with(expected),
            "{refused:?} is not {expected:?}"
        );
    }

    #[test]
    fn what_cannot_work_is_refused() {
        assert!(spec().validated().is_ok());
        check(|spec| spec.host = "a b".to_owned(), "host \"a b\"");
        check(|spec| spec.concurrency = 0, "concurrency 0");
        check(|spec| spec.pace = Pace::Open { per_second: 0.0 }, "rate 0");
        check(
            |spec| {
                spec.pace = Pace::Open {
                    per_second: f64::NAN,
                }
            },
            "rate NaN",
        );
        check(|spec| spec.mix.clear(), "the request mix");
        check(|spec| spec.mix[0].weight = 0, "the request mix");
        check(|spec| spec.mix[0].path = "x".to_owned(), "path \"x\"");
    }

    #[test]
    fn shares_follow_weights_and_repeat() {
        let mut spec = spec();
        spec.mix = vec![
            RequestSpec::get("/a").weighing(3),
            RequestSpec::get("/b").weighing(0),
            RequestSpec::get("/c"),
        ];
        let prepared = spec.validated().unwrap();
        let picks: Vec<_> = (0..4_000).map(|n| prepared.pick(n).1.as_str()).collect();
        let share = |path| picks.iter().filter(|pick| **pick == path).count();
        assert!((2_850..3_150).contains(&share("/a")), "{}", share("/a"));
        assert_eq!(share("/b"), 0);
        assert_eq!(prepared.pick(17).1, prepared.pick(17).1);
    }
}
