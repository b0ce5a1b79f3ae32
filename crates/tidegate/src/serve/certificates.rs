//! The data plane's certificates in the shape that control knows.

use std::error::Error;

use tidegate_control::{Certificate, Certificates};
use tidegate_proxy::{CertificateHandle, LoadedCertificate};

/// The certificates of all listeners.
pub(super) struct Listeners(pub(super) CertificateHandle);

impl Certificates for Listeners {
    fn serving(&self) -> Vec<Certificate> {
        told(self.0.certificates())
    }

    fn reload(&self) -> Result<Vec<Certificate>, Box<dyn Error + Send + Sync>> {
        Ok(told(self.0.reload()?))
    }
}

fn told(certificates: Vec<LoadedCertificate>) -> Vec<Certificate> {
    let told = certificates.into_iter().map(|certificate| Certificate {
        name: certificate.name,
        not_after: certificate.not_after,
    });
    told.collect()
}
