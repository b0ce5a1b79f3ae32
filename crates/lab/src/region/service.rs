//! One request at a region: arrival, behaviour, endpoint, and the marks that every answer carries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::answer::{Body, Visited, boxed, json, status, text};
use super::dying::{self, Dying};
use super::fuse::Fuse;
use super::ledger::Visit;
use super::metered::Interjection;
use super::{Endpoint, Shared, files, grpc, websocket};
use crate::behaviour::Behaviour;
use crate::content::hex;
use crate::death::Death;
use crate::sync::locked;
use crate::{ID_HEADER, REGION_HEADER};

const EARLY_HINTS: &[u8] =
    b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload; as=style\r\n\r\n";

/// The request fields that `/` shows, when they are there.
const SHOWN: [&str; 8] = [
    "forwarded",
    "host",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
    ID_HEADER,
];

/// What `/` answers.
#[derive(Serialize)]
struct Description<'a> {
    region: &'a str,
    method: &'a str,
    path: &'a str,
    version: String,
    authority: Option<&'a str>,
    headers: BTreeMap<&'static str, String>,
}

/// What `/sha256` answers.
#[derive(Serialize)]
struct Receipt {
    sha256: String,
    bytes: u64,
    trailers: Vec<(String, String)>,
}

/// Answers the requests of one connection.
#[derive(Clone)]
pub(super) struct Visitor {
    pub(super) shared: Arc<Shared>,
    pub(super) interjection: Interjection,
    pub(super) fuse: Fuse,
}

impl Visitor {
    pub(super) async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let endpoint = Endpoint::parse(request.uri().path());
        let id = request.headers().get(ID_HEADER).map(HeaderValue::as_bytes);
        let visit = self
            .shared
            .ledger
            .arrive(request.method(), endpoint.class(), id);
        let behaviour = self.shared.behaviour.load_full();
        let (latency, fails) = self.draw(&behaviour);
        pause(latency).await;
        let response = if fails && endpoint != Endpoint::Health {
            status(behaviour.error_status)
        } else {
            self.live_or_die(endpoint, request, &behaviour).await
        };
        self.mark(response, visit)
    }

    /// Draws in a fixed order, so that one seed gives one sequence.
    fn draw(&self, behaviour: &Behaviour) -> (Duration, bool) {
        let mut rng = locked(&self.shared.rng);
        let latency = behaviour.latency.sample(&mut rng);
        (latency, rng.f64() < behaviour.error_rate)
    }

    async fn live_or_die(
        &self,
        endpoint: Endpoint,
        request: Request<Incoming>,
        how: &Behaviour,
    ) -> Response<Body> {
        let death = how.death.filter(|_| endpoint != Endpoint::Health);
        if let Some((after, ending)) = death.and_then(Death::before_answer) {
            return dying::instead(request.into_body(), after, ending, &self.fuse).await;
        }
        let version = request.version();
        let response = self.serve(endpoint, request, how).await;
        match death.and_then(Death::within_answer) {
            Some((after, cut)) => {
                let fuse = self.fuse.clone();
                response.map(|body| boxed(Dying::new(body, after, cut, version, fuse)))
            }
            None => response,
        }
    }

    async fn serve(
        &self,
        endpoint: Endpoint,
        request: Request<Incoming>,
        how: &Behaviour,
    ) -> Response<Body> {
        match endpoint {
            Endpoint::Describe => self.describe(&request),
            Endpoint::Bytes(n) => files::bytes(&request, n, how),
            Endpoint::Chunked(n) => files::chunked(n, how),
            Endpoint::SlowBody(n, ms) => files::slow(n, Duration::from_millis(ms), how),
            Endpoint::Echo => echo(request),
            Endpoint::Sha256 => receipt(request.into_body()).await,
            Endpoint::Status(code) => {
                status(StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST))
            }
            Endpoint::Slow(ms) => {
                pause(Duration::from_millis(ms)).await;
                self.describe(&request)
            }
            Endpoint::Early => text("early\n"),
            Endpoint::Headers => json(&all_headers(&request)),
            Endpoint::Hints(ms) => {
                self.hints(request.version(), Duration::from_millis(ms))
                    .await
            }
            Endpoint::WebSocket => websocket::accept(request, &self.shared.tasks),
            Endpoint::GrpcUnary => grpc::unary(request.into_body()).await,
            Endpoint::GrpcStream(n) => grpc::messages(request.into_body(), n).await,
            Endpoint::GrpcStatus(code) => grpc::trailers_only(code),
            Endpoint::Health if how.healthy => text("healthy\n"),
            Endpoint::Health => status(StatusCode::SERVICE_UNAVAILABLE),
            Endpoint::Malformed => status(StatusCode::BAD_REQUEST),
        }
    }

    fn describe(&self, request: &Request<Incoming>) -> Response<Body> {
        let headers = request.headers();
        let shown = SHOWN
            .iter()
            .filter_map(|name| Some((*name, joined(headers, name)?)));
        json(&Description {
            region: self.shared.name.to_str().unwrap_or_default(),
            method: request.method().as_str(),
            path: request
                .uri()
                .path_and_query()
                .map_or("", |path| path.as_str()),
            version: format!("{:?}", request.version()),
            authority: request
                .uri()
                .authority()
                .map(|authority| authority.as_str()),
            headers: shown.collect(),
        })
    }

    async fn hints(&self, version: Version, wait: Duration) -> Response<Body> {
        if version == Version::HTTP_11 {
            self.interjection.leave(Bytes::from_static(EARLY_HINTS));
        }
        pause(wait).await;
        text("hinted\n")
    }

    fn mark(&self, response: Response<Body>, visit: Visit) -> Response<Body> {
        let mut response = response.map(|body| boxed(Visited::new(body, visit)));
        response
            .headers_mut()
            .insert(REGION_HEADER, self.shared.name.clone());
        response
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// The body comes back frame by frame; a length or the announced trailers come back as they were given.
fn echo(request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let mut response = Response::new(boxed(body));
    for name in [header::CONTENT_TYPE, header::TRAILER] {
        if let Some(value) = head.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

async fn receipt(mut body: Incoming) -> Response<Body> {
    let (mut hash, mut bytes, mut trailers) = (Sha256::new(), 0, Vec::new());
    while let Some(frame) = body.frame().await {
        // The request broke off: there is nobody to answer, and a hash would be of something else.
        let Ok(frame) = frame else {
            return status(StatusCode::BAD_REQUEST);
        };
        if let Some(data) = frame.data_ref() {
            hash.update(data);
            bytes += data.len() as u64;
        }
        if let Some(fields) = frame.trailers_ref() {
            trailers.extend(pairs(fields));
        }
    }
    json(&Receipt {
        sha256: hex(&hash.finalize()),
        bytes,
        trailers,
    })
}

/// Pseudo fields first on HTTP/2, then the fields in the order of their names' first arrival; values of a repeated
/// name stand together, since the map of the HTTP library forgets what was between them.
fn all_headers(request: &Request<Incoming>) -> Vec<(String, String)> {
    let uri = request.uri();
    let mut all = Vec::new();
    if request.version() == Version::HTTP_2 {
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        all.push((":method".to_owned(), request.method().to_string()));
        all.push((
            ":scheme".to_owned(),
            uri.scheme_str().unwrap_or("").to_owned(),
        ));
        all.push((
            ":authority".to_owned(),
            uri.authority().map_or("", |a| a.as_str()).to_owned(),
        ));
        all.push((":path".to_owned(), path.to_owned()));
    }
    all.extend(pairs(request.headers()));
    all
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (String, String)> + '_ {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), lossy(value)))
}

fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> = headers.get_all(name).iter().map(lossy).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn lossy(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}
