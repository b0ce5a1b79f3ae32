//! One connection of a client that a test leads by hand: HTTP/1.1 or HTTP/2, plaintext or TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

use super::HOST;

type Body = Full<Bytes>;

/// A connection that stays open until it is dropped.
pub(crate) struct Session {
    sender: Sender,
    authority: String,
    certificate: Option<CertificateDer<'static>>,
}

enum Sender {
    H1(http1::SendRequest<Body>),
    H2(http2::SendRequest<Body>),
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

impl Session {
    /// HTTP/1.1, plaintext.
    pub(crate) async fn h1(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self::over_h1(stream, None).await
    }

    /// HTTP/1.1 to the server by its address, as a person would call the admin listener.
    pub(crate) async fn direct(address: SocketAddr) -> Self {
        let session = Self::h1(address).await;
        Self {
            authority: address.to_string(),
            ..session
        }
    }

    /// HTTP/2 by prior knowledge, plaintext.
    pub(crate) async fn h2c(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self::over_h2(stream, None).await
    }

    /// TLS; the protocol is what ALPN comes to.
    pub(crate) async fn tls(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        Self::tls_to(address, HOST, config).await
    }

    /// The same that asks for another name in the handshake; its requests are still for the tests' host.
    pub(crate) async fn tls_to(
        address: SocketAddr,
        name: &'static str,
        config: Arc<ClientConfig>,
    ) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from(name).unwrap();
        let stream = TlsConnector::from(config)
            .connect(name, stream)
            .await
            .unwrap();
        let tls = stream.get_ref().1;
        let h2 = tls.alpn_protocol() == Some(b"h2");
        let chain = tls.peer_certificates().unwrap_or_default();
        let certificate = chain.first().cloned().map(CertificateDer::into_owned);
        match h2 {
            true => Self::over_h2(stream, certificate).await,
            false => Self::over_h1(stream, certificate).await,
        }
    }

    async fn over_h1<S>(stream: S, certificate: Option<CertificateDer<'static>>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self {
            sender: Sender::H1(sender),
            authority: HOST.to_owned(),
            certificate,
        }
    }

    async fn over_h2<S>(stream: S, certificate: Option<CertificateDer<'static>>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        Self {
            sender: Sender::H2(sender),
            authority: HOST.to_owned(),
            certificate,
        }
    }

    /// What the server showed in the handshake.
    pub(crate) fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.certificate.as_ref()
    }

    /// Whether it speaks HTTP/2.
    pub(crate) fn is_h2(&self) -> bool {
        matches!(self.sender, Sender::H2(_))
    }

    /// GET.
    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        let sent = self.send(Method::GET, path, &[], "").await;
        sent.unwrap_or_else(|error| panic!("GET {path}: {error:?}"))
    }

    /// Any request. An error is one of the connection, not a status.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> hyper::Result<Reply> {
        let uri = match &self.sender {
            Sender::H1(_) => path.to_owned(),
            Sender::H2(_) => format!("http://{}{path}", self.authority),
        };
        let mut request = Request::builder().method(method).uri(uri);
        if !self.is_h2() {
            request = request.header("host", &self.authority);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let answer = match &mut self.sender {
            Sender::H1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::H2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (head, body) = answer.into_parts();
        let body = body.collect().await?;
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            trailers: body.trailers().cloned().unwrap_or_default(),
            body: body.to_bytes(),
        })
    }
}

impl Reply {
    /// The value of a field; empty without it.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The region that served it, as it says itself.
    pub(crate) fn region(&self) -> &str {
        self.header(tidegate_lab::REGION_HEADER)
    }
}

/// One request on a connection of its own, to the server by its address.
pub(crate) async fn ask(address: SocketAddr, method: Method, path: &str) -> Reply {
    let mut session = Session::direct(address).await;
    let sent = session.send(method, path, &[], "").await;
    sent.unwrap_or_else(|error| panic!("{path}: {error:?}"))
}
