//! Every fact of a client's connection that later steps need, as one typed value.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use tidegate_core::hash::xxh64;

/// What is known of a client's connection once it is accepted and, under TLS, shaken hands with.
/// One per connection, shared by its requests.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionFacts {
    /// The listener's name.
    pub(crate) listener: Arc<str>,
    /// Who connected.
    pub(crate) client: SocketAddr,
    /// Whether the listener believes this client's `X-Forwarded-*` and deadline fields.
    pub(crate) trusted: bool,
    /// TLS, unless the listener is plaintext.
    pub(crate) tls: Option<TlsFacts>,
}

/// What the TLS handshake told.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFacts {
    /// The name that the client asked for.
    pub(crate) sni: Option<Arc<str>>,
    /// The protocol that was agreed on: `h2`, `http/1.1`, or none.
    pub(crate) alpn: Option<&'static str>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub(crate) version: &'static str,
    /// The subject of the client's certificate as RFC 4514 writes it; none without mutual TLS, or if it
    /// has none.
    pub(crate) client_subject: Option<Arc<str>>,
    /// The client's certificate chain in DER, leaf first; empty without mutual TLS.
    pub(crate) client_certificates: Vec<Bytes>,
}

impl ConnectionFacts {
    /// What the connection is known by where some are to be told from others: XXH64 of the client's
    /// address and port, the same as long as it lasts.
    pub(crate) fn key(&self) -> u64 {
        let port = u64::from(self.client.port());
        match self.client.ip() {
            IpAddr::V4(ip) => xxh64(port, &ip.octets()),
            IpAddr::V6(ip) => xxh64(port, &ip.octets()),
        }
    }

    /// `https` or `http`, as the client sees it.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}
