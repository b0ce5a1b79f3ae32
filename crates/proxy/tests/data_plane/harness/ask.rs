//! A request in the abstract, the protocols that can carry it, and what came back.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::{H1, H2};

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) fields: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
    /// HTTP/1.1 sends the body in chunks, HTTP/2 without a length.
    pub(crate) unsized_body: bool,
    pub(crate) trailers: Vec<(&'static str, &'static str)>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: HeaderMap,
    /// The 1xx answers before it.
    pub(crate) interims: Vec<(u16, HeaderMap)>,
    pub(crate) end: End,
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As announced.
    Whole,
    /// Visibly early: by a closed or reset connection, or by the reason of a stream's reset.
    Cut(String),
}

/// What the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Down {
    H1,
    H2,
}

impl Ask {
    pub(crate) fn new(method: Method, path: &str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            fields: Vec::new(),
            body: Bytes::new(),
            unsized_body: false,
            trailers: Vec::new(),
        }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn post(path: &str, body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            ..Self::new(Method::POST, path)
        }
    }

    pub(crate) fn field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    pub(crate) fn chunked(self) -> Self {
        Self {
            unsized_body: true,
            ..self
        }
    }

    pub(crate) fn trailer(mut self, name: &'static str, value: &'static str) -> Self {
        self.trailers.push((name, value));
        self.chunked()
    }

    /// Sends it over a connection of its own.
    pub(crate) async fn send(&self, down: Down, addr: SocketAddr) -> Answer {
        match down {
            Down::H1 => H1::connect(addr).await.ask(self).await,
            Down::H2 => H2::connect(addr).await.ask(self).await,
        }
    }
}

impl Answer {
    /// The only value of this field; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map_or("", |value| value.to_str().unwrap());
        assert!(
            values.next().is_none(),
            "{name} is there twice: {:?}",
            self.headers
        );
        value
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {text:?}"))
    }

    /// The `reason` of a problem document.
    pub(crate) fn reason(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        problem["reason"].as_str().unwrap().to_owned()
    }

    /// The `detail` of a problem document; empty if it has none.
    pub(crate) fn detail(&self) -> String {
        self.json()["detail"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.end == End::Whole
    }
}
