//! TLS towards clients: one configuration per listener, shared by all threads, swapped as a whole.
//!
//! A reload reads every file first and swaps only when all of them can be used; handshakes under
//! way end with what they began with. Tickets are sealed with keys of this process that rotate by
//! themselves; they survive a renewal of certificates, but not a change of the client authorities:
//! nobody whom the new ones would not let in resumes a session of the old.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::{
    CipherSuite, CommonState, ProtocolVersion, RootCertStore, ServerConfig,
    SupportedProtocolVersion, version,
};
use tidegate_core::settings::{ListenerTls, TlsVersion};
use tidegate_telemetry::labels::HandshakeFailure;

use super::certificates::{Certificates, LoadedCertificate};
use super::handshake::Handshake;
use super::session::Session;
use super::{TlsError, subject};
use crate::facts::TlsFacts;
use crate::tcp::Tcp;
use crate::wheel::{self, Timer};

/// A client's stream under TLS.
pub(crate) type ClientStream = Session<Tcp>;

/// What a listener does TLS with.
pub(crate) struct ServerTls {
    settings: ListenerTls,
    active: ArcSwap<Active>,
}

/// One loaded state of the files.
struct Active {
    /// The first of our cipher suites that the client knows.
    config: Arc<ServerConfig>,
    /// The first of the client's that we know.
    as_client_prefers: Arc<ServerConfig>,
    certificates: Vec<LoadedCertificate>,
    /// DER of the client authorities; empty without mutual TLS.
    authorities: Vec<CertificateDer<'static>>,
}

/// A state that was loaded and does not serve yet.
pub(crate) struct Prepared(Active);

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// It took too long.
    #[error("the handshake was not done in time")]
    Timeout,
    /// The connection ended or failed below TLS.
    #[error("the connection ended in the handshake: {0}")]
    Closed(io::Error),
    /// The two sides have no version or algorithm in common.
    #[error("nothing in common with the client: {0}")]
    Incompatible(rustls::Error),
    /// The client's certificate is missing or not accepted.
    #[error("the client's certificate: {0}")]
    ClientCertificate(rustls::Error),
    /// The client refused, most often our certificate.
    #[error("the client refused: {0}")]
    Alert(rustls::Error),
    /// Anything else that is not TLS as it should be.
    #[error("not a valid handshake: {0}")]
    Protocol(io::Error),
}

impl ServerTls {
    /// Reads all files of `settings`.
    pub(crate) fn new(settings: &ListenerTls) -> Result<Self, TlsError> {
        let active = load(settings, None)?;
        Ok(Self {
            settings: settings.clone(),
            active: ArcSwap::from_pointee(active),
        })
    }

    /// Reads the files again, without using them yet.
    pub(crate) fn prepare(&self) -> Result<Prepared, TlsError> {
        load(&self.settings, Some(&self.active.load())).map(Prepared)
    }

    /// Lets every handshake from now on use what was prepared.
    pub(crate) fn commit(&self, prepared: Prepared) {
        self.active.store(Arc::new(prepared.0));
    }

    /// The certificates that serve.
    pub(crate) fn certificates(&self) -> Vec<LoadedCertificate> {
        self.active.load().certificates.clone()
    }

    /// Every file that a reload reads.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let pairs = self.settings.certificates.iter();
        pairs
            .flat_map(|pair| [&pair.chain, &pair.key])
            .chain(&self.settings.client_ca)
    }

    /// Shakes hands with a client, until `deadline` at most.
    pub(crate) async fn accept(
        &self,
        stream: Tcp,
        timer: &Timer,
        deadline: Instant,
    ) -> Result<(Box<ClientStream>, TlsFacts), HandshakeError> {
        let (stream, facts) = wheel::within(timer, deadline, self.shake_hands(stream))
            .await
            .map_err(|_elapsed| HandshakeError::Timeout)?
            .map_err(HandshakeError::classify)?;
        Ok((Box::new(stream), facts))
    }

    async fn shake_hands(&self, stream: Tcp) -> io::Result<(ClientStream, TlsFacts)> {
        let mut handshake = Handshake::new(stream);
        let greeting = handshake.greeting().await?;
        let hello = greeting.client_hello();
        let config = self.active.load().config_for(&hello);
        let sni = hello.server_name().map(Arc::from);
        drop(greeting);
        handshake.shake(config, |agreed| facts(agreed, sni)).await
    }
}

impl Active {
    /// A client that has ChaCha20 before AES has no instructions for AES: its order counts then, ours
    /// otherwise.
    fn config_for(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        let known = |suite: &&CipherSuite| {
            let ours = &self.config.crypto_provider().cipher_suites;
            ours.iter().any(|ours| ours.suite() == **suite)
        };
        let config = match hello.cipher_suites().iter().find(known) {
            Some(first) if is_chacha(*first) => &self.as_client_prefers,
            _ => &self.config,
        };
        config.clone()
    }
}

fn is_chacha(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    )
}

impl HandshakeError {
    fn classify(error: io::Error) -> Self {
        use rustls::Error as Tls;
        let Some(tls) = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Tls>())
        else {
            return Self::Closed(error);
        };
        match tls {
            Tls::PeerIncompatible(_) => Self::Incompatible(tls.clone()),
            Tls::NoCertificatesPresented | Tls::InvalidCertificate(_) => {
                Self::ClientCertificate(tls.clone())
            }
            Tls::AlertReceived(_) => Self::Alert(tls.clone()),
            _ => Self::Protocol(error),
        }
    }

    /// The label for metrics.
    pub(crate) fn label(&self) -> HandshakeFailure {
        match self {
            Self::Timeout => HandshakeFailure::Timeout,
            Self::Closed(_) => HandshakeFailure::Closed,
            Self::ClientCertificate(_) => HandshakeFailure::ClientCertificate,
            Self::Alert(_) => HandshakeFailure::Alert,
            Self::Incompatible(_) | Self::Protocol(_) => HandshakeFailure::Protocol,
        }
    }
}

/// Reads the certificates of all TLS listeners again. May be called from any thread; reads files.
#[derive(Clone, Default)]
pub struct CertificateHandle {
    listeners: Vec<(Arc<str>, Arc<ServerTls>)>,
}

impl CertificateHandle {
    pub(crate) fn new(listeners: Vec<(Arc<str>, Arc<ServerTls>)>) -> Self {
        Self { listeners }
    }

    /// Reads the files of every listener and, only if all can be used, lets every handshake from
    /// now on use them. Connections that exist are not touched. Returns what serves now.
    pub fn reload(&self) -> Result<Vec<LoadedCertificate>, TlsError> {
        let prepare = |(_, tls): &(_, Arc<ServerTls>)| tls.prepare().map(|new| (tls.clone(), new));
        let prepared = self
            .listeners
            .iter()
            .map(prepare)
            .collect::<Result<Vec<_>, _>>()?;
        prepared
            .into_iter()
            .for_each(|(tls, prepared)| tls.commit(prepared));
        Ok(self.certificates())
    }

    /// The certificates that serve, listener by listener. Empty without TLS.
    pub fn certificates(&self) -> Vec<LoadedCertificate> {
        self.listeners
            .iter()
            .flat_map(|(_, tls)| tls.certificates())
            .collect()
    }

    /// Every file that [`reload`](Self::reload) reads, to be watched. Sorted, each once.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = self
            .listeners
            .iter()
            .flat_map(|(_, tls)| tls.files().cloned())
            .collect();
        files.sort();
        files.dedup();
        files
    }
}

impl std::fmt::Debug for CertificateHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.listeners.iter().map(|(name, _)| name))
            .finish()
    }
}

fn load(settings: &ListenerTls, previous: Option<&Active>) -> Result<Active, TlsError> {
    let certificates = Certificates::load(&settings.certificates)?;
    let loaded = certificates.loaded().to_vec();
    let authorities = settings
        .client_ca
        .as_ref()
        .map(read_authorities)
        .transpose()?;
    let authorities = authorities.unwrap_or_default();
    let builder = ServerConfig::builder_with_provider(super::provider())
        .with_protocol_versions(versions(settings.min_version))?;
    let builder = match &settings.client_ca {
        Some(path) => builder.with_client_cert_verifier(verifier(path, &authorities)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = match previous {
        Some(previous) if previous.authorities == authorities => previous.config.ticketer.clone(),
        _ => new_tickets()?,
    };
    // Tickets hold the whole session; a store of sessions would only be a lock between threads.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // `Session` goes on with the keys.
    config.enable_secret_extraction = true;
    let as_client_prefers = Arc::new(config.clone());
    config.ignore_client_order = true;
    Ok(Active {
        config: Arc::new(config),
        as_client_prefers,
        certificates: loaded,
        authorities,
    })
}

fn new_tickets() -> Result<Arc<dyn ProducesTickets>, TlsError> {
    Ok(rustls::crypto::aws_lc_rs::Ticketer::new()?)
}

fn versions(oldest: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static NEWEST_FIRST: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    match oldest {
        TlsVersion::V1_2 => &NEWEST_FIRST,
        TlsVersion::V1_3 => &NEWEST_FIRST[..1],
    }
}

fn read_authorities(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let authorities = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| TlsError::Pem {
            path: path.clone(),
            source,
        })?;
    if authorities.is_empty() {
        return Err(TlsError::NoCertificate { path: path.clone() });
    }
    Ok(authorities)
}

fn verifier(
    path: &Path,
    authorities: &[CertificateDer<'static>],
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let unusable = |detail: String| TlsError::ClientAuthority {
        path: path.to_owned(),
        detail,
    };
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots
            .add(authority.clone())
            .map_err(|error| unusable(error.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), super::provider())
        .build()
        .map_err(|error| unusable(error.to_string()))
}

fn facts(connection: &CommonState, sni: Option<Arc<str>>) -> TlsFacts {
    let certificates = connection.peer_certificates().unwrap_or_default();
    TlsFacts {
        sni,
        alpn: match connection.alpn_protocol() {
            Some(b"h2") => Some("h2"),
            Some(b"http/1.1") => Some("http/1.1"),
            _ => None,
        },
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        },
        client_subject: certificates.first().and_then(|leaf| subject::of(leaf)),
        client_certificates: certificates
            .iter()
            .map(|certificate| Bytes::copy_from_slice(certificate))
            .collect(),
    }
}
