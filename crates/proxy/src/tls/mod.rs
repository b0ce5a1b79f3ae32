//! TLS, towards clients (`server`, `certificates`) and towards upstreams (`client`), by rustls.
//!
//! One provider for both, that of `tidegate-tls`, which also makes the configurations towards
//! upstreams. One configuration per listener and one per upstream profile, shared by all threads,
//! because sessions resume only within one configuration. Early data is never accepted nor sent: it
//! can be replayed by anyone on the path.

use std::path::PathBuf;

mod buffered;
mod certificates;
pub(crate) mod client;
mod handshake;
mod record;
pub(crate) mod server;
mod session;
mod subject;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use buffered::Buffered;
pub use certificates::LoadedCertificate;
pub use server::CertificateHandle;
pub(crate) use tidegate_tls::provider;

/// Why TLS material cannot be used. Says which file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read, or is not PEM.
    #[error("{path}: {source}", path = path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// A file holds no certificate.
    #[error("{path} holds no certificate", path = path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A certificate does not parse.
    #[error("{path}: the certificate cannot be read: {detail}", path = path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A key cannot be used, or belongs to another certificate.
    #[error("{key} cannot serve {chain}: {source}", key = key.display(), chain = chain.display())]
    Key {
        /// The chain's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The authorities for client certificates cannot be used.
    #[error("{path}: {detail}", path = path.display())]
    ClientAuthority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A TLS listener without a certificate.
    #[error("a TLS listener needs at least one certificate")]
    NoCertificates,
    /// The library refused the configuration as a whole.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}
