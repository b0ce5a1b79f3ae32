//! An HTTP/2 client on the bare `h2` crate.

use std::future::poll_fn;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::{Answer, Ask, End, HOST, patiently};

/// A client's connection.
pub(crate) struct H2 {
    pub(crate) send: SendRequest<Bytes>,
    task: JoinHandle<Result<(), h2::Error>>,
}

/// A request under way.
pub(crate) struct Sending {
    pub(crate) response: ResponseFuture,
    pub(crate) upload: SendStream<Bytes>,
}

impl Drop for H2 {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl H2 {
    /// By prior knowledge.
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let stream = patiently("a connection", TcpStream::connect(addr))
            .await
            .unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream).await
    }

    pub(crate) async fn over(io: impl super::h1::Io + 'static) -> Self {
        Self::with(Builder::new().initial_window_size(1024 * 1024), io).await
    }

    pub(crate) async fn with(builder: &Builder, io: impl super::h1::Io + 'static) -> Self {
        let shaken = patiently("a handshake", builder.handshake(io)).await;
        let (send, connection) = shaken.unwrap();
        Self {
            send,
            task: tokio::spawn(connection),
        }
    }

    /// How the connection ended.
    pub(crate) async fn ended(&mut self) -> Result<(), h2::Error> {
        patiently("the connection's end", &mut self.task)
            .await
            .unwrap()
    }

    /// Opens a stream with this head; the body is the caller's to send.
    pub(crate) async fn open(&mut self, request: Request<()>, end: bool) -> Sending {
        let ready = patiently("a stream", self.send.clone().ready()).await;
        let (response, upload) = ready.unwrap().send_request(request, end).unwrap();
        Sending { response, upload }
    }

    /// Sends a request and reads its answer, both at the same time. A stream that is reset before
    /// its head has status 0.
    pub(crate) async fn ask(&mut self, ask: &Ask) -> Answer {
        let end = ask.body.is_empty() && ask.trailers.is_empty() && !ask.unsized_body;
        let Sending { response, upload } = self.open(head(ask), end).await;
        let sending = async {
            if !end {
                let _refused = send_body(upload, ask).await;
            }
        };
        let both = async { tokio::join!(sending, read(response)).1 };
        patiently("an answer", both).await
    }
}

impl Sending {
    /// Reads the answer to its end.
    pub(crate) async fn answer(self) -> Answer {
        patiently("an answer", read(self.response)).await
    }
}

/// The head of `ask` as HTTP/2 has it.
pub(crate) fn head(ask: &Ask) -> Request<()> {
    let uri = format!("http://{HOST}{}", ask.path);
    let mut request = Request::builder().method(ask.method.clone()).uri(uri);
    for (name, value) in &ask.fields {
        request = request.header(*name, value);
    }
    if !ask.unsized_body && !ask.body.is_empty() {
        request = request.header("content-length", ask.body.len());
    }
    request.body(()).unwrap()
}

async fn send_body(mut upload: SendStream<Bytes>, ask: &Ask) -> Result<(), h2::Error> {
    let mut rest = ask.body.clone();
    while !rest.is_empty() {
        upload.reserve_capacity(rest.len().min(64 * 1024));
        let room = match poll_fn(|cx| upload.poll_capacity(cx)).await {
            Some(room) => room?,
            None => return Ok(()),
        };
        let part = rest.split_to(room.min(rest.len()));
        let last = rest.is_empty() && ask.trailers.is_empty();
        upload.send_data(part, last)?;
    }
    if !ask.trailers.is_empty() {
        return upload.send_trailers(map(&ask.trailers));
    }
    if ask.body.is_empty() {
        upload.send_data(Bytes::new(), true)?;
    }
    Ok(())
}

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    };
    fields.iter().map(pair).collect()
}

async fn read(mut response: ResponseFuture) -> Answer {
    let mut interims = Vec::new();
    while let Some(Ok(interim)) = poll_fn(|cx| response.poll_informational(cx)).await {
        interims.push((interim.status().as_u16(), interim.headers().clone()));
    }
    let mut answer = Answer {
        status: 0,
        headers: HeaderMap::new(),
        body: Vec::new(),
        trailers: HeaderMap::new(),
        interims,
        end: End::Whole,
    };
    let read = match response.await {
        Ok(response) => {
            let (parts, body) = response.into_parts();
            answer.status = parts.status.as_u16();
            answer.headers = parts.headers;
            read_body(body, &mut answer).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = read {
        answer.end = End::Cut(
            error
                .reason()
                .map_or(error.to_string(), |why| format!("{why:?}")),
        );
    }
    answer
}

async fn read_body(mut body: RecvStream, answer: &mut Answer) -> Result<(), h2::Error> {
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        answer.body.extend_from_slice(&data);
    }
    if let Some(trailers) = body.trailers().await? {
        answer.trailers = trailers;
    }
    Ok(())
}
