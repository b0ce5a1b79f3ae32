//! TLS towards an upstream that is probed: trusted and identified like its requests.

use std::sync::{Arc, OnceLock};

use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tidegate_core::plan::{ClientIdentity, UpstreamProtocol, UpstreamTls};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::ProbeError;

/// A client configuration, and the name to expect.
#[derive(Clone)]
pub(crate) struct Tls {
    connector: TlsConnector,
    server_name: Option<ServerName<'static>>,
}

impl Tls {
    /// TLS as `settings` want it, offering what `protocol` speaks.
    ///
    /// # Errors
    /// What about the settings cannot be used, in words.
    pub(crate) fn new(settings: &UpstreamTls, protocol: UpstreamProtocol) -> Result<Self, String> {
        let server_name = settings
            .server_name
            .as_deref()
            .map(server_name)
            .transpose()?;
        let mut config = client_config(settings)?;
        config.alpn_protocols = match protocol {
            UpstreamProtocol::Http1 => vec![b"http/1.1".to_vec()],
            UpstreamProtocol::Http2 => vec![b"h2".to_vec()],
            UpstreamProtocol::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            server_name,
        })
    }

    /// Shakes hands over `stream` with the endpoint at `address` (`host:port`).
    pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        address: &str,
    ) -> Result<TlsStream<S>, ProbeError> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => server_name(host(address)).map_err(ProbeError::Tls)?,
        };
        let handshake = self.connector.connect(name, stream);
        handshake
            .await
            .map_err(|error| ProbeError::Tls(error.to_string()))
    }
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| format!("{host:?} is neither a host name nor an IP address"))
}

fn client_config(settings: &UpstreamTls) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = if settings.insecure_skip_verify {
        let anyone = Arc::new(Anyone(provider));
        builder.dangerous().with_custom_certificate_verifier(anyone)
    } else {
        builder.with_root_certificates(roots(settings.roots.as_deref())?)
    };
    identify(builder, settings.client_identity.as_ref())
}

fn identify(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    identity: Option<&ClientIdentity>,
) -> Result<ClientConfig, String> {
    let Some(identity) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())
        .map_err(|error| format!("unusable client key: {error}"))?;
    builder
        .with_client_auth_cert(certificates(&identity.chain)?, key)
        .map_err(|error| format!("unusable client certificate: {error}"))
}

fn roots(pem: Option<&str>) -> Result<Arc<RootCertStore>, String> {
    let Some(pem) = pem else {
        return system_roots();
    };
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem)? {
        store
            .add(certificate)
            .map_err(|error| format!("unusable root certificate: {error}"))?;
    }
    Ok(Arc::new(store))
}

/// What the system trusts, read at most once.
fn system_roots() -> Result<Arc<RootCertStore>, String> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut store = RootCertStore::empty();
        // A few odd certificates among the system's do not spoil the others.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(store)
    });
    let missing = "the system has no root certificates".to_owned();
    if roots.is_empty() {
        Err(missing)
    } else {
        Ok(roots.clone())
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(chain) if chain.is_empty() => Err("no certificate in the PEM text".to_owned()),
        Ok(chain) => Ok(chain),
        Err(error) => Err(format!("unusable certificate: {error}")),
    }
}

/// Lets every certificate pass (`insecure_skip_verify`); signatures are still checked.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_found_in_an_address() {
        let check = |address, expected| assert_eq!(host(address), expected);
        check("10.0.0.1:80", "10.0.0.1");
        check("shop.internal:8443", "shop.internal");
        check("[2001:db8::1]:443", "2001:db8::1");
    }

    #[test]
    fn unusable_settings_say_why() {
        let check = |server_name: Option<&str>, roots: &str, problem: &str| {
            let settings = UpstreamTls {
                server_name: server_name.map(Into::into),
                roots: Some(roots.into()),
                client_identity: None,
                insecure_skip_verify: false,
            };
            let found = Tls::new(&settings, UpstreamProtocol::Auto).err().unwrap();
            assert!(found.contains(problem), "{found}");
        };
        check(Some("a b"), "", "\"a b\" is neither");
        check(None, "", "no certificate");
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        check(None, broken, "unusable root certificate");
    }
}
