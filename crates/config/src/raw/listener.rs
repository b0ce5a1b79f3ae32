//! Listeners: where clients connect, and what they may do.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::defaults;
use crate::raw::text::{Address, Duration, Network, Size, Version};
use crate::yaml::Field;

/// A listener: one address where clients connect.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["bind"]))]
pub(crate) struct Listener {
    /// Its unique name, for logs and metrics. By default the text of `bind`.
    pub(crate) name: Field<String>,
    /// IP address and port, IPv6 in brackets. Port 0 lets the system choose.
    pub(crate) bind: Field<Address>,
    /// TLS. Absent: plaintext HTTP/1.1, and HTTP/2 by prior knowledge.
    pub(crate) tls: Field<ListenerTls>,
    /// Limits of clients.
    pub(crate) limits: Field<Limits>,
    /// Networks of clients whose `Forwarded`, `X-Forwarded-*` and deadline headers are believed. Empty: nobody's.
    #[schemars(extend("default" = []))]
    pub(crate) trusted: Field<Vec<Field<Network>>>,
}

/// TLS towards clients.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["certificates"]))]
pub(crate) struct ListenerTls {
    /// Certificates, chosen by the name that the client asks for (SNI). The first answers when none fits.
    pub(crate) certificates: Field<Vec<Field<Certificate>>>,
    /// Oldest version of TLS that is accepted: `"1.2"` or `"1.3"`.
    #[schemars(extend("default" = defaults::MIN_VERSION))]
    pub(crate) min_version: Field<Version>,
    /// PEM file of certificate authorities: only clients with a certificate of theirs are let in (mutual TLS). Absent: everybody.
    pub(crate) client_ca: Field<String>,
}

/// A certificate chain and its key. Paths are relative to the configuration's directory; the files are read again when they change.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["chain", "key"]))]
pub(crate) struct Certificate {
    /// PEM file of the chain, leaf first.
    pub(crate) chain: Field<String>,
    /// PEM file of the leaf's private key, not encrypted.
    pub(crate) key: Field<String>,
}

/// Limits of one listener's clients.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// Open connections; more wait until one ends.
    #[schemars(extend("default" = defaults::CONNECTIONS))]
    pub(crate) connections: Field<u64>,
    /// A TLS handshake must be done within this.
    #[schemars(extend("default" = defaults::HANDSHAKE_TIMEOUT))]
    pub(crate) handshake_timeout: Field<Duration>,
    /// A request's head must be complete within this.
    #[schemars(extend("default" = defaults::HEADER_TIMEOUT))]
    pub(crate) header_timeout: Field<Duration>,
    /// A connection without a request is closed after this.
    #[schemars(extend("default" = defaults::CLIENT_IDLE_TIMEOUT))]
    pub(crate) idle_timeout: Field<Duration>,
    /// Largest request head; more is answered 431.
    #[schemars(extend("default" = defaults::HEADER_SIZE))]
    pub(crate) header_size: Field<Size>,
    /// Most header fields of a request; more is answered 431.
    #[schemars(extend("default" = defaults::HEADER_FIELDS))]
    pub(crate) header_fields: Field<u64>,
    /// Concurrent streams of one HTTP/2 connection.
    #[schemars(extend("default" = defaults::H2_STREAMS))]
    pub(crate) h2_streams: Field<u64>,
}
