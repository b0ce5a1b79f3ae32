//! One HTTP request to somewhere else, and a bounded part of its answer.
//!
//! For what control asks now and then: webhooks, and the admin listener of another process. A
//! connection of its own, HTTP/1.1, `https` with the system's root certificates, no redirects, no
//! proxies. Whoever calls bounds the time.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tidegate_core::plan::UpstreamTls;
use tidegate_tls::InvalidTls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// An answer, as far as it was read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// As many bytes as were allowed, or all.
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The address cannot be called.
    #[error("it is no http or https address with a host")]
    Address,
    /// Nobody there.
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    /// No TLS.
    #[error("TLS: {0}")]
    Tls(#[from] InvalidTls),
    /// The TLS handshake failed.
    #[error("TLS: {0}")]
    Handshake(std::io::Error),
    /// It was not HTTP, or broke off.
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    /// The request could not be made.
    #[error("the request cannot be made: {0}")]
    Request(#[from] http::Error),
}

/// Sends one request with these fields, with a JSON body if there is one, and reads `max` bytes of the answer.
///
/// # Errors
/// [`CallError`]; a status is none.
pub(crate) async fn call(
    method: Method,
    url: &Uri,
    json: Option<String>,
    fields: HeaderMap,
    max: usize,
) -> Result<Answer, CallError> {
    let host = url.host().ok_or(CallError::Address)?;
    let tls = match url.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(CallError::Address),
    };
    let port = url.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let mut request = request(method, url, host, json)?;
    request.headers_mut().extend(fields);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((bare, port)).await;
    let stream = stream.map_err(CallError::Connect)?;
    if !tls {
        return exchange(stream, request, max).await;
    }
    let name = tidegate_tls::server_name(bare)?;
    let stream = connector()?.connect(name, stream).await;
    exchange(stream.map_err(CallError::Handshake)?, request, max).await
}

fn request(
    method: Method,
    url: &Uri,
    host: &str,
    json: Option<String>,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    let host = match url.port_u16() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .header(header::HOST, host)
        .header(header::CONNECTION, "close");
    if json.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    request.body(Full::new(json.unwrap_or_default().into()))
}

fn connector() -> Result<TlsConnector, InvalidTls> {
    let usual = UpstreamTls {
        server_name: None,
        roots: None,
        client_identity: None,
        insecure_skip_verify: false,
    };
    let config = tidegate_tls::client_config(&usual, vec![b"http/1.1".to_vec()])?;
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    max: usize,
) -> Result<Answer, CallError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = read(answer.into_body(), max).await?;
        Ok(Answer { status, body })
    };
    // The connection goes away with the call, whoever drops it.
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        _ended = &mut connection => exchange.await,
    }
}

async fn read(mut body: hyper::body::Incoming, max: usize) -> Result<Vec<u8>, hyper::Error> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        let piece = frame.data_ref().map_or(&[][..], |data| data);
        read.extend_from_slice(&piece[..piece.len().min(max - read.len())]);
        if read.len() == max {
            break;
        }
    }
    Ok(read)
}
