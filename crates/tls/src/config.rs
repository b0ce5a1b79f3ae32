//! The client configuration of one profile.

use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::{ClientConfig, ConfigBuilder};
use tidegate_core::plan::{ClientIdentity, UpstreamProtocol, UpstreamTls};

use crate::pem::{certificates, private_key};
use crate::roots::roots;
use crate::verifier::AnyCertificate;
use crate::{InvalidTls, Material, provider};

/// A client configuration as `tls` says, offering the protocols of `alpn` (RFC 7301), the preferred
/// one first; none: without the extension. TLS 1.2 and 1.3, no early data, which anyone on the path
/// could replay. The server name is not part of it: see [`server_name`](crate::server_name). With
/// neither roots nor `insecure_skip_verify`, the first call reads the system's roots from files.
///
/// # Errors
/// What of the settings cannot be used.
pub fn client_config(tls: &UpstreamTls, alpn: Vec<Vec<u8>>) -> Result<ClientConfig, InvalidTls> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(InvalidTls::Setup)?;
    let builder = if tls.insecure_skip_verify {
        let any = Arc::new(AnyCertificate::new(&provider));
        builder.dangerous().with_custom_certificate_verifier(any)
    } else {
        builder.with_root_certificates(roots(tls.roots.as_deref())?)
    };
    let mut config = identify(builder, tls.client_identity.as_ref())?;
    config.alpn_protocols = alpn;
    Ok(config)
}

fn identify(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    identity: Option<&ClientIdentity>,
) -> Result<ClientConfig, InvalidTls> {
    let Some(identity) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(&identity.chain, Material::ClientCertificate)?;
    let key = private_key(&identity.key)?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(InvalidTls::Identity)
}

/// The protocols to offer for `protocol`, the preferred one first.
pub fn alpn(protocol: UpstreamProtocol) -> Vec<Vec<u8>> {
    let (h1, h2) = (b"http/1.1".to_vec(), b"h2".to_vec());
    match protocol {
        UpstreamProtocol::Http1 => vec![h1],
        UpstreamProtocol::Http2 => vec![h2],
        UpstreamProtocol::Auto => vec![h2, h1],
    }
}
