//! One request: build it, send it once, read the answer, judge it.

use std::error::Error;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, Uri, Version, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::sync::watch;

use super::expect::{BodyCheck, Mismatch, Upload};
use super::lane::{Lane, Lanes};
use super::snapshot::{Fault, Outcome};
use super::spec::{ClientSpec, Leave, Prepared, Protocol, RequestSpec};
use crate::content_body::ContentBody;
use crate::tasks::Tasks;
use crate::{ID_HEADER, REGION_HEADER};

/// How many connections may turn out closed before anything of a request was written.
const HANDOVERS_MAX: usize = 4;
/// A problem is short; what is longer is looked at so far.
const PROBLEM_BYTES_MAX: usize = 16 * 1024;

/// How a request ended and who answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    pub(super) region: Option<String>,
    pub(super) wrong_at: Option<u64>,
    pub(super) problem: Option<String>,
}

impl Answer {
    fn nobody(outcome: Outcome) -> Self {
        Self {
            outcome,
            region: None,
            wrong_at: None,
            problem: None,
        }
    }
}

/// Why an answer is not the right one.
enum Wrong {
    Broken(Fault),
    Body(Mismatch),
    /// Not wrong: the client went away.
    Left,
}

pub(super) struct Exchanger {
    prepared: Prepared,
    lanes: Lanes,
    id_prefix: u64,
}

impl Exchanger {
    pub(super) fn new(prepared: Prepared, tasks: Tasks) -> Self {
        let lanes = Lanes::new(&prepared, tasks);
        // Not from the spec's seed: two clients of one spec must not share ids.
        Self {
            prepared,
            lanes,
            id_prefix: fastrand::u64(..),
        }
    }

    pub(super) fn spec(&self) -> &ClientSpec {
        &self.prepared.spec
    }

    pub(super) fn connections(&self) -> u64 {
        self.lanes.opened()
    }

    pub(super) fn id_of(&self, number: u64) -> String {
        format!("{:016x}-{number}", self.id_prefix)
    }

    /// Runs request `number` to its end or its timeout.
    pub(super) async fn run(&self, number: u64) -> Answer {
        match tokio::time::timeout(self.spec().timeout, self.exchange(number)).await {
            Ok(answer) => answer,
            Err(_) => Answer::nobody(Outcome::TimedOut),
        }
    }

    async fn exchange(&self, number: u64) -> Answer {
        let kind = self.prepared.pick(number).0;
        let upload = Upload {
            seed: self.id_prefix ^ number,
            bytes: kind.body_bytes,
        };
        let (giving, given) = watch::channel(0);
        let body = ContentBody::new(upload.seed, 0, upload.bytes).telling(Arc::new(giving));
        let Some(request) = self.request(number, body) else {
            return Answer::nobody(Outcome::Transport(Fault::Other));
        };
        let sent = tokio::select! {
            biased;
            sent = self.send(request, number) => sent,
            () = time_to_leave(kind, given) => return Answer::nobody(Outcome::Left),
        };
        match sent {
            Ok((lane, response)) => self.receive(lane, response, kind, upload).await,
            Err(fault) => Answer::nobody(Outcome::Transport(fault)),
        }
    }

    /// `None` for a combination that `http` refuses, which validation leaves none of.
    fn request(&self, number: u64, body: ContentBody) -> Option<Request<ContentBody>> {
        let (kind, path) = self.prepared.pick(number);
        let mut request = Request::new(body.framed(kind.framing));
        *request.method_mut() = kind.method.clone();
        let headers = request.headers_mut();
        headers.insert(ID_HEADER, HeaderValue::try_from(self.id_of(number)).ok()?);
        for (name, value) in &kind.headers {
            headers.append(name, value.clone());
        }
        let mut uri = Uri::builder().path_and_query(path.clone());
        if self.spec().protocol == Protocol::H2 {
            let scheme = if self.spec().tls.is_some() {
                "https"
            } else {
                "http"
            };
            uri = uri
                .scheme(scheme)
                .authority(self.prepared.authority.clone());
            *request.version_mut() = Version::HTTP_2;
        } else {
            let host = HeaderValue::from_str(self.prepared.authority.as_str()).ok()?;
            request.headers_mut().insert(header::HOST, host);
        }
        *request.uri_mut() = uri.build().ok()?;
        Some(request)
    }

    async fn send(
        &self,
        mut request: Request<ContentBody>,
        number: u64,
    ) -> Result<(Lane, Response<Incoming>), Fault> {
        for _ in 0..HANDOVERS_MAX {
            let mut lane = self.lanes.take(&self.prepared, number).await?;
            let sent = match &mut lane {
                Lane::H1(lane) => lane.try_send_request(request).await,
                Lane::H2(lane) => lane.try_send_request(request).await,
            };
            match sent {
                Ok(response) => return Ok((lane, response)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(fault(error.error())),
                },
            }
        }
        Err(Fault::Unsent)
    }

    async fn receive(
        &self,
        lane: Lane,
        response: Response<Incoming>,
        kind: &RequestSpec,
        upload: Upload,
    ) -> Answer {
        let (head, body) = response.into_parts();
        let region = head.headers.get(REGION_HEADER);
        let region = region
            .and_then(|name| name.to_str().ok())
            .map(str::to_owned);
        if head.status.as_u16() != kind.status {
            // The body of an error is read too, to keep the connection.
            let (text, ended) = read_some(body).await;
            if ended {
                self.lanes.give_back(lane);
            }
            return Answer {
                outcome: Outcome::WrongStatus(head.status.as_u16()),
                region,
                wrong_at: None,
                problem: problem(&text),
            };
        }
        let check = BodyCheck::new(&kind.expect, upload);
        let (outcome, wrong_at) = match read(body, check, kind.leave).await {
            Ok(()) => {
                self.lanes.give_back(lane);
                (Outcome::Ok, None)
            }
            Err(Wrong::Broken(fault)) => (Outcome::Transport(fault), None),
            Err(Wrong::Body(wrong)) => (Outcome::WrongBody(wrong.kind), Some(wrong.at)),
            Err(Wrong::Left) => (Outcome::Left, None),
        };
        Answer {
            outcome,
            region,
            wrong_at,
            problem: None,
        }
    }
}

/// Comes to its end when it is time to go away before the head of the answer.
async fn time_to_leave(kind: &RequestSpec, mut given: watch::Receiver<u64>) {
    let (goal, then) = match kind.leave {
        Some(Leave::Sending(bytes)) => (bytes, Duration::ZERO),
        Some(Leave::Waiting(time)) => (kind.body_bytes, time),
        Some(Leave::Receiving(_)) | None => (u64::MAX, Duration::ZERO),
    };
    if given.wait_for(|given| *given >= goal).await.is_err() {
        // The body went, and will never get so far.
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(then).await;
}

async fn read(mut body: Incoming, mut check: BodyCheck, leave: Option<Leave>) -> Result<(), Wrong> {
    let limit = match leave {
        Some(Leave::Receiving(bytes)) => bytes,
        _ => u64::MAX,
    };
    let mut got = 0;
    while got < limit
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|_| Wrong::Broken(Fault::Body))?;
        if let Some(data) = frame.data_ref() {
            got += data.len() as u64;
            check.feed(data).map_err(Wrong::Body)?;
        }
    }
    if got >= limit {
        return Err(Wrong::Left);
    }
    check.finish().map_err(Wrong::Body)
}

/// The beginning of a body, which is read to its end, and whether that came in order.
async fn read_some(mut body: Incoming) -> (Vec<u8>, bool) {
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return (text, false);
        };
        if let Some(data) = frame.data_ref() {
            let room = PROBLEM_BYTES_MAX - text.len();
            text.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    (text, true)
}

/// The `type` of a problem (RFC 9457, section 3.1.1).
fn problem(text: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Problem {
        r#type: String,
    }
    let problem = serde_json::from_slice::<Problem>(text).ok()?;
    Some(problem.r#type)
}

/// Sorts an error that came before the head of the answer.
fn fault(error: &hyper::Error) -> Fault {
    if error.is_parse() {
        return Fault::Protocol;
    }
    if error.is_incomplete_message() || error.is_closed() {
        return Fault::Closed;
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io_fault(io.kind());
        }
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            return h2_fault(h2);
        }
        cause = error.source();
    }
    Fault::Other
}

fn h2_fault(error: &h2::Error) -> Fault {
    match error.get_io() {
        Some(io) => io_fault(io.kind()),
        None if error.is_reset() => Fault::Reset,
        None if error.is_go_away() => Fault::Closed,
        None => Fault::Protocol,
    }
}

fn io_fault(kind: ErrorKind) -> Fault {
    match kind {
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
            Fault::Reset
        }
        ErrorKind::UnexpectedEof => Fault::Closed,
        _ => Fault::Other,
    }
}
