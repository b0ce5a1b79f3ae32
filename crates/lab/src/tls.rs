//! A certificate authority for one test run, and TLS settings that trust only it.
//!
//! The aws-lc-rs provider is named in every configuration, so nothing depends on a process-wide default that two
//! tests could fight over. Keys live in memory until somebody asks for PEM. Never for anything that faces a user.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Why a certificate or a TLS configuration could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A name is neither a DNS name nor an address, or the key could not be made.
    #[error("cannot issue a certificate for {names:?}")]
    Issue {
        /// The names asked for.
        names: Vec<String>,
        /// What the certificate library says.
        #[source]
        source: rcgen::Error,
    },
    /// rustls refused certificate, key or trust root.
    #[error("rustls refuses the configuration")]
    Config(#[from] rustls::Error),
    /// A PEM file could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// The application protocols offered or accepted (ALPN, RFC 7301), in order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// `http/1.1` only.
    H1,
    /// `h2` only.
    H2,
    /// `h2`, then `http/1.1`.
    Both,
    /// No ALPN extension.
    Absent,
}

impl Alpn {
    fn protocols(self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            Self::H1 => &[b"http/1.1"],
            Self::H2 => &[b"h2"],
            Self::Both => &[b"h2", b"http/1.1"],
            Self::Absent => &[],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }
}

/// A self-made certificate authority (P-256).
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate signed by an [`Authority`], with its key. Good for servers and for clients.
pub struct Leaf {
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    certificate_pem: String,
    key_pem: String,
}

impl Authority {
    /// A new authority whose common name is `name`.
    ///
    /// # Errors
    /// [`TlsError::Issue`] when the key or the certificate cannot be made.
    pub fn new(name: &str) -> Result<Self, TlsError> {
        let fail = |source| TlsError::Issue {
            names: vec![name.to_owned()],
            source,
        };
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(fail)?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(fail)?;
        Ok(Self { issuer })
    }

    /// Issues a certificate for DNS names (one wildcard label allowed) and addresses.
    ///
    /// # Errors
    /// [`TlsError::Issue`] when a name is not a valid one.
    pub fn issue(&self, names: &[&str]) -> Result<Leaf, TlsError> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.sign(&names)
            .map_err(|source| TlsError::Issue { names, source })
    }

    fn sign(&self, names: &[String]) -> Result<Leaf, rcgen::Error> {
        let mut params = CertificateParams::new(names)?;
        let common_name = names.first().map_or("tidegate lab", String::as_str);
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf {
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    /// The authority's own certificate in PEM, for a trust file.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A trust store that holds this authority alone.
    ///
    /// # Errors
    /// [`TlsError::Config`] when rustls refuses the root.
    pub fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone())?;
        Ok(roots)
    }

    /// Client settings that trust this authority alone and offer `alpn`.
    ///
    /// # Errors
    /// [`TlsError::Config`] when rustls refuses them.
    pub fn client_config(&self, alpn: Alpn) -> Result<Arc<ClientConfig>, TlsError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?)
            .with_no_client_auth();
        config.alpn_protocols = alpn.protocols();
        Ok(Arc::new(config))
    }

    /// As [`Authority::client_config`], and shows `leaf` to a server that asks for a client certificate.
    ///
    /// # Errors
    /// [`TlsError::Config`] when rustls refuses them.
    pub fn client_config_as(&self, leaf: &Leaf, alpn: Alpn) -> Result<Arc<ClientConfig>, TlsError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(leaf.chain(), leaf.private_key())?;
        config.alpn_protocols = alpn.protocols();
        Ok(Arc::new(config))
    }
}

impl Leaf {
    /// Server settings that present this certificate, ask for none, and accept `alpn`.
    ///
    /// # Errors
    /// [`TlsError::Config`] when rustls refuses them.
    pub fn server_config(&self, alpn: Alpn) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(self.chain(), self.private_key())?;
        config.alpn_protocols = alpn.protocols();
        Ok(Arc::new(config))
    }

    /// The chain to present: the certificate alone, since its issuer is the root.
    #[must_use]
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone()]
    }

    /// The private key (PKCS #8).
    #[must_use]
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }

    /// The chain in PEM.
    #[must_use]
    pub fn chain_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key in PEM.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Writes `{stem}.pem` and `{stem}.key` into `directory` and returns the two paths in that order. Only
    /// the owner may read the key.
    ///
    /// # Errors
    /// [`TlsError::Write`] with the file that could not be written.
    pub fn write_to(&self, directory: &Path, stem: &str) -> Result<(PathBuf, PathBuf), TlsError> {
        let chain = directory.join(format!("{stem}.pem"));
        let key = directory.join(format!("{stem}.key"));
        write(&chain, &self.certificate_pem, 0o644)?;
        write(&key, &self.key_pem, 0o600)?;
        Ok((chain, key))
    }
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(mode);
    let written = file.open(path).and_then(|mut file| {
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())
    });
    written.map_err(|source| TlsError::Write {
        path: path.to_owned(),
        source,
    })
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_is_what_it_says() {
        let authority = Authority::new("lab root").unwrap();
        let leaf = authority.issue(&["shop.example.com", "127.0.0.1"]).unwrap();
        assert!(authority.pem().starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(leaf.chain_pem().starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(leaf.key_pem().starts_with("-----BEGIN PRIVATE KEY-----"));
        assert_ne!(leaf.chain_pem(), authority.pem());
    }

    #[test]
    fn configurations_carry_the_protocols() {
        let authority = Authority::new("lab root").unwrap();
        let leaf = authority.issue(&["localhost"]).unwrap();
        let server = leaf.server_config(Alpn::Both).unwrap();
        assert_eq!(server.alpn_protocols, [&b"h2"[..], b"http/1.1"]);
        let client = authority.client_config_as(&leaf, Alpn::Absent).unwrap();
        assert!(client.alpn_protocols.is_empty() && client.client_auth_cert_resolver.has_certs());
    }

    #[test]
    fn a_bad_name_is_named() {
        let authority = Authority::new("lab root").unwrap();
        let Err(error) = authority.issue(&["not ascii \u{e9}"]) else {
            panic!("must be refused")
        };
        assert!(error.to_string().contains("not ascii"), "{error}");
    }
}
