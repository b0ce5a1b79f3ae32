//! The caller's TLS: version 1.3, the key exchange that is measured, tickets only where it is resumed.
//!
//! Every handshake is looked at afterwards: a proxy that agrees to something else, or does not
//! resume, would be measured at what it does not do.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, HandshakeKind, NamedGroup, ProtocolVersion,
    RootCertStore,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Call, lane};
use crate::peer::HOST;

/// Another would cost another hash, and one proxy more than the next.
const SUITE: CipherSuite = CipherSuite::TLS13_AES_128_GCM_SHA256;

/// Settings for `call`, with a store of tickets of their own; `None` without TLS.
pub(super) fn config(call: &Call) -> io::Result<Option<Arc<ClientConfig>>> {
    let Some(ca) = &call.ca else {
        return Ok(None);
    };
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(ca).map_err(io::Error::other)?;
    roots.add(certificate).map_err(io::Error::other)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider(call)))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol(call).to_vec()];
    if !call.resume {
        config.resumption = Resumption::disabled();
    }
    Ok(Some(Arc::new(config)))
}

fn protocol(call: &Call) -> &'static [u8] {
    if call.h2 { b"h2" } else { b"http/1.1" }
}

/// With the hybrid goes X25519, and AES with 128 bits comes first, as browsers do it; what was agreed is
/// checked.
fn provider(call: &Call) -> CryptoProvider {
    let kx_groups = match call.hybrid {
        true => vec![kx_group::X25519MLKEM768, kx_group::X25519],
        false => vec![kx_group::X25519],
    };
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups,
        ..default_provider()
    }
}

/// Does the handshake.
pub(super) async fn connect(
    stream: TcpStream,
    config: &Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
    let connector = TlsConnector::from(Arc::clone(config));
    connector.connect(name, stream).await
}

/// Whether the handshake was what `call` says, from a ticket if there was one.
pub(super) fn check(tls: &ClientConnection, call: &Call, had_ticket: bool) -> io::Result<()> {
    let kind = match had_ticket {
        true => HandshakeKind::Resumed,
        false => HandshakeKind::Full,
    };
    let group = match call.hybrid {
        true => NamedGroup::X25519MLKEM768,
        false => NamedGroup::X25519,
    };
    let right = tls.handshake_kind() == Some(kind)
        && group_of(tls) == Some(group)
        && suite_of(tls) == Some(SUITE)
        && tls.protocol_version() == Some(ProtocolVersion::TLSv1_3)
        && tls.alpn_protocol() == Some(protocol(call));
    if right {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the handshake was {:?}, {:?}, {:?}, {:?}, ALPN {:?}; it should have been {kind:?}, \
         {group:?}, {SUITE:?}, {:?}",
        tls.protocol_version(),
        tls.handshake_kind(),
        group_of(tls),
        suite_of(tls),
        tls.alpn_protocol().map(String::from_utf8_lossy),
        String::from_utf8_lossy(protocol(call)),
    )))
}

fn group_of(tls: &ClientConnection) -> Option<NamedGroup> {
    let group = tls.negotiated_key_exchange_group();
    group.map(rustls::crypto::SupportedKxGroup::name)
}

fn suite_of(tls: &ClientConnection) -> Option<CipherSuite> {
    tls.negotiated_cipher_suite().map(|suite| suite.suite())
}

/// Whether the hybrid is what one handshake with both agrees on.
pub(super) async fn agrees_to_hybrid(call: &Call) -> io::Result<bool> {
    let Some(config) = config(call)? else {
        return Ok(false);
    };
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let stream = lane::connect(anywhere, call.target).await?;
    let stream = connect(stream, &config).await?;
    Ok(group_of(stream.get_ref().1) == Some(NamedGroup::X25519MLKEM768))
}
