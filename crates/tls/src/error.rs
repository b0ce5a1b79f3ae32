//! Why TLS towards an upstream cannot be set up, in words that a person can act on.

use std::fmt;

use rustls::pki_types::pem;

/// Why TLS settings of an upstream cannot be used. Never shows a key.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTls {
    /// A name to expect in the certificate that no certificate can carry.
    #[error("`{}` is neither a host name nor an IP address", name.escape_debug())]
    ServerName {
        /// The name as given.
        name: String,
    },
    /// A text that is not PEM.
    #[error("the {material} cannot be read: {source}")]
    Pem {
        /// What the text should have been.
        material: Material,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// A text without what it is for. Empty texts end here.
    #[error("no {} in the PEM text of the {material}", material.wanted())]
    Missing {
        /// What the text should have been.
        material: Material,
    },
    /// A root that is no X.509 certificate.
    #[error("a root certificate cannot be used: {0}")]
    Root(#[source] rustls::Error),
    /// A client certificate or key of an unknown kind, or two that do not belong together.
    #[error("the client certificate and key cannot be used: {0}")]
    Identity(#[source] rustls::Error),
    /// The system's root certificates cannot be read.
    #[error("the system's root certificates cannot be read (mend that, or set `ca`): {0}")]
    SystemRoots(#[source] rustls_native_certs::Error),
    /// The system has no usable root certificate.
    #[error("the system has no root certificates; install them or set `ca`")]
    NoSystemRoots,
    /// The library refused the configuration as a whole.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[source] rustls::Error),
}

/// The texts that come with the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Material {
    /// The certificate authorities to trust.
    Roots,
    /// Our certificate for mutual TLS, with its chain.
    ClientCertificate,
    /// The key of that certificate.
    ClientKey,
}

impl Material {
    fn wanted(self) -> &'static str {
        match self {
            Self::Roots | Self::ClientCertificate => "certificate",
            Self::ClientKey => "private key",
        }
    }
}

impl fmt::Display for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Roots => "root certificates",
            Self::ClientCertificate => "client certificate",
            Self::ClientKey => "client key",
        })
    }
}
