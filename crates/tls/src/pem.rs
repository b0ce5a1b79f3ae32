//! PEM texts (RFC 7468). Sections of other kinds between those that are wanted are skipped.

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::{InvalidTls, Material};

/// The certificates of `text`, in its order; at least one. `material` is for the error.
pub(crate) fn certificates(
    text: &str,
    material: Material,
) -> Result<Vec<CertificateDer<'static>>, InvalidTls> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(found) if found.is_empty() => Err(InvalidTls::Missing { material }),
        Ok(found) => Ok(found),
        Err(source) => Err(InvalidTls::Pem { material, source }),
    }
}

/// The first private key of `text`: PKCS #8, PKCS #1 or SEC 1, not encrypted.
pub(crate) fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, InvalidTls> {
    let material = Material::ClientKey;
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|source| match source {
        pem::Error::NoItemsFound => InvalidTls::Missing { material },
        source => InvalidTls::Pem { material, source },
    })
}
