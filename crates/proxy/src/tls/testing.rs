//! Certificates and handshakes for tests.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ED25519,
    SignatureAlgorithm,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CipherSuite, ClientConfig, HandshakeKind, NamedGroup, RootCertStore};
use tempfile::TempDir;
use tidegate_core::settings::{CertificateFiles, ListenerTls, TlsVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsConnector, client};

use super::server::{ClientStream, HandshakeError, ServerTls};
use crate::clock::now;
use crate::facts::TlsFacts;
use crate::tcp::Tcp;
use crate::wheel::Wheel;

/// An authority that issues certificates into a directory of its own.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

/// A certificate with its key, in files and at hand.
pub(crate) struct Issued {
    pub(crate) files: CertificateFiles,
    pub(crate) leaf: CertificateDer<'static>,
    key: Vec<u8>,
}

/// What a client saw of a handshake and of one byte that followed it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) leaf: CertificateDer<'static>,
    pub(crate) alpn: Option<Vec<u8>>,
    pub(crate) group: Option<NamedGroup>,
    pub(crate) suite: Option<CipherSuite>,
    pub(crate) resumed: bool,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self {
            issuer,
            dir: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// The authority's own certificate as a file.
    pub(crate) fn file(&self) -> PathBuf {
        let path = self.dir.path().join("authority.pem");
        std::fs::write(&path, self.pem()).unwrap();
        path
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A certificate for `names`, in files called `file`, which are replaced if they exist.
    pub(crate) fn issue(&self, file: &str, names: &[&str]) -> Issued {
        self.issue_with(file, names, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    pub(crate) fn issue_ed25519(&self, file: &str, names: &[&str]) -> Issued {
        self.issue_with(file, names, &PKCS_ED25519)
    }

    fn issue_with(&self, file: &str, names: &[&str], kind: &'static SignatureAlgorithm) -> Issued {
        let key = KeyPair::generate_for(kind).unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let files = CertificateFiles {
            chain: self.path().join(format!("{file}.pem")),
            key: self.path().join(format!("{file}.key")),
        };
        std::fs::write(&files.chain, leaf.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        Issued {
            files,
            leaf: leaf.der().clone(),
            key: key.serialize_der(),
        }
    }

    /// A client that trusts this authority.
    pub(crate) fn client(&self) -> ClientConfig {
        self.client_builder(rustls::DEFAULT_VERSIONS)
            .with_no_client_auth()
    }

    /// The same, speaking `version` alone.
    pub(crate) fn client_of(
        &self,
        version: &'static rustls::SupportedProtocolVersion,
    ) -> ClientConfig {
        self.client_builder(&[version]).with_no_client_auth()
    }

    /// The same, with a certificate of its own.
    pub(crate) fn client_as(&self, identity: &Issued) -> ClientConfig {
        let key = PrivateKeyDer::try_from(identity.key.clone()).unwrap();
        self.client_builder(rustls::DEFAULT_VERSIONS)
            .with_client_auth_cert(vec![identity.leaf.clone()], key)
            .unwrap()
    }

    fn client_builder(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        ClientConfig::builder_with_provider(super::provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots())
    }

    /// This authority alone.
    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }
}

/// A listener's TLS with these certificates.
pub(crate) fn settings(certificates: &[&Issued]) -> ListenerTls {
    ListenerTls {
        certificates: certificates
            .iter()
            .map(|issued| issued.files.clone())
            .collect(),
        min_version: TlsVersion::V1_2,
        client_ca: None,
    }
}

/// Accepts one client from `listener`.
pub(crate) async fn accept(
    tls: &ServerTls,
    listener: &TcpListener,
) -> Result<(Box<ClientStream>, TlsFacts), HandshakeError> {
    let (stream, _) = listener.accept().await.unwrap();
    // Nobody sweeps this wheel: without its sweeper a deadline never comes.
    let timer = Wheel::new(now()).timer();
    tls.accept(Tcp::new(stream), &timer, now() + Duration::from_secs(3600))
        .await
}

/// Connects a client, and reads the byte with which [`serve_one`] ends: only then are tickets
/// here, and a refused client certificate known.
pub(crate) async fn connect(
    listener: &TcpListener,
    config: &Arc<ClientConfig>,
    name: &str,
) -> io::Result<(client::TlsStream<TcpStream>, Seen)> {
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut stream = TlsConnector::from(config.clone())
        .connect(name, stream)
        .await?;
    stream.read_exact(&mut [0]).await?;
    let connection = stream.get_ref().1;
    let seen = Seen {
        leaf: connection.peer_certificates().unwrap()[0].clone(),
        alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
        group: connection
            .negotiated_key_exchange_group()
            .map(|group| group.name()),
        suite: connection
            .negotiated_cipher_suite()
            .map(|suite| suite.suite()),
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
    };
    Ok((stream, seen))
}

/// One whole handshake, seen from both sides.
pub(crate) async fn shake_hands(
    tls: &ServerTls,
    config: &Arc<ClientConfig>,
    name: &str,
) -> (Result<TlsFacts, HandshakeError>, io::Result<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serving = async {
        let (mut stream, facts) = accept(tls, &listener).await?;
        stream.write_all(b"!").await.unwrap();
        stream.flush().await.unwrap();
        Ok(facts)
    };
    let connecting = async { connect(&listener, config, name).await.map(|(_, seen)| seen) };
    tokio::join!(serving, connecting)
}
