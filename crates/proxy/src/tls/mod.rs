//! TLS, towards clients (`server`, `certificates`) and towards upstreams (`client`), by rustls.
//!
//! One provider for both: AWS-LC, with the post-quantum hybrid X25519MLKEM768 preferred. One
//! configuration per listener and one per upstream profile, shared by all threads, because
//! sessions resume only within one configuration. Early data is never accepted nor sent: it can be
//! replayed by anyone on the path.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};

mod buffered;
mod certificates;
pub(crate) mod client;
pub(crate) mod server;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use buffered::Buffered;
pub use certificates::LoadedCertificate;
pub use server::CertificateHandle;

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

/// The one provider of cryptography. The order of key exchanges is said here and not left to a
/// feature of the library.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        Arc::new(CryptoProvider {
            kx_groups: vec![
                kx_group::X25519MLKEM768,
                kx_group::X25519,
                kx_group::SECP256R1,
                kx_group::SECP384R1,
            ],
            ..aws_lc_rs::default_provider()
        })
    });
    PROVIDER.clone()
}
