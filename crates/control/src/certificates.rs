//! The listeners' certificates, as far as control needs to know them: they can be read again.
//!
//! The composition implements this for what the data plane offers, so that neither knows the other.

use std::error::Error;
use std::time::SystemTime;

/// One certificate that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The first name it is for.
    pub name: String,
    /// When it expires.
    pub not_after: SystemTime,
}

/// Certificates that can be read again from their files.
pub trait Certificates: Send + Sync {
    /// The certificates that serve now; empty without a TLS listener.
    fn serving(&self) -> Vec<Certificate>;

    /// Reads every file again, all or nothing: with an error, those before go on serving. May
    /// block on the disk.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    fn reload(&self) -> Result<Vec<Certificate>, Box<dyn Error + Send + Sync>>;
}

/// No TLS listener.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCertificates;

impl Certificates for NoCertificates {
    fn serving(&self) -> Vec<Certificate> {
        Vec::new()
    }

    fn reload(&self) -> Result<Vec<Certificate>, Box<dyn Error + Send + Sync>> {
        Ok(Vec::new())
    }
}
