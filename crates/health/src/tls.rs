//! TLS towards an upstream that is probed: trusted and identified like its requests.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tidegate_core::plan::{UpstreamProtocol, UpstreamTls};
use tidegate_tls::{InvalidTls, alpn, client_config, server_name};
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
    /// What of the settings cannot be used.
    pub(crate) fn new(
        settings: &UpstreamTls,
        protocol: UpstreamProtocol,
    ) -> Result<Self, InvalidTls> {
        let server_name = settings
            .server_name
            .as_deref()
            .map(server_name)
            .transpose()?;
        let config = client_config(settings, alpn(protocol))?;
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            server_name,
        })
    }

    /// Shakes hands over `stream` with the endpoint whose address has this host.
    pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        host: &str,
    ) -> Result<TlsStream<S>, ProbeError> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => server_name(host).map_err(|error| ProbeError::Tls(error.to_string()))?,
        };
        let handshake = self.connector.connect(name, stream);
        handshake
            .await
            .map_err(|error| ProbeError::Tls(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_settings_say_why() {
        let check = |server_name: Option<&str>, problem: &str| {
            let settings = UpstreamTls {
                server_name: server_name.map(Into::into),
                roots: Some("".into()),
                client_identity: None,
                insecure_skip_verify: false,
            };
            let found = Tls::new(&settings, UpstreamProtocol::Auto).err().unwrap();
            assert!(found.to_string().contains(problem), "{found}");
        };
        check(Some("a b"), "`a b` is neither");
        check(None, "no certificate");
    }
}
