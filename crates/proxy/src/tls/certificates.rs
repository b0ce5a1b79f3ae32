//! A listener's certificates: loaded from files, chosen by the name that the client asks for.
//!
//! A table is immutable; a reload builds another one. Several certificates may bear the same name,
//! with different kinds of keys: the first in the configuration's order that the client can verify
//! answers it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::SignatureScheme;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tidegate_core::settings::CertificateFiles;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::TlsError;

/// A certificate that serves, for people and for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedCertificate {
    /// The first DNS name that it is for, else its subject.
    pub name: String,
    /// When it expires.
    pub not_after: SystemTime,
}

/// The certificates of one listener.
#[derive(Debug)]
pub(super) struct Certificates {
    all: Vec<Arc<CertifiedKey>>,
    exact: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    loaded: Vec<LoadedCertificate>,
}

struct Facts {
    names: Vec<String>,
    loaded: LoadedCertificate,
}

impl Certificates {
    /// Reads all files. The first certificate answers clients whose name matches none.
    pub(super) fn load(files: &[CertificateFiles]) -> Result<Self, TlsError> {
        if files.is_empty() {
            return Err(TlsError::NoCertificates);
        }
        let mut table = Self {
            all: Vec::new(),
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            loaded: Vec::new(),
        };
        for pair in files {
            table.add(pair)?;
        }
        Ok(table)
    }

    /// What serves, in the configuration's order.
    pub(super) fn loaded(&self) -> &[LoadedCertificate] {
        &self.loaded
    }

    fn add(&mut self, files: &CertificateFiles) -> Result<(), TlsError> {
        let chain = read_chain(files)?;
        let facts = read_facts(files, &chain[0])?;
        let key = Arc::new(read_key(files, chain)?);
        for name in &facts.names {
            let (table, name) = match name.strip_prefix("*.") {
                Some(suffix) => (&mut self.wildcard, suffix),
                None => (&mut self.exact, name.as_str()),
            };
            table.entry(name.into()).or_default().push(key.clone());
        }
        self.all.push(key);
        self.loaded.push(facts.loaded);
        Ok(())
    }

    /// An exact name before a wildcard, a wildcard before the default. A wildcard stands for
    /// exactly one label (RFC 6125, section 6.4.3). Among equals, the first that the client can
    /// verify; failing that the first, so that the client is told why by its own library.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let candidates = name.and_then(|name| self.named(name)).unwrap_or(&self.all);
        candidates
            .iter()
            .find(|key| key.key.choose_scheme(schemes).is_some())
            .or(candidates.first())
            .cloned()
    }

    fn named(&self, name: &str) -> Option<&Vec<Arc<CertifiedKey>>> {
        let name = name.to_ascii_lowercase();
        self.exact.get(name.as_str()).or_else(|| {
            let (_label, suffix) = name.split_once('.')?;
            self.wildcard.get(suffix)
        })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

fn read_chain(files: &CertificateFiles) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = |source| TlsError::Pem {
        path: files.chain.clone(),
        source,
    };
    let chain = CertificateDer::pem_file_iter(&files.chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(pem)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate {
            path: files.chain.clone(),
        });
    }
    Ok(chain)
}

fn read_key(
    files: &CertificateFiles,
    chain: Vec<CertificateDer<'static>>,
) -> Result<CertifiedKey, TlsError> {
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| TlsError::Pem {
        path: files.key.clone(),
        source,
    })?;
    CertifiedKey::from_der(chain, key, &super::provider()).map_err(|source| TlsError::Key {
        chain: files.chain.clone(),
        key: files.key.clone(),
        source,
    })
}

fn read_facts(files: &CertificateFiles, leaf: &CertificateDer<'_>) -> Result<Facts, TlsError> {
    let broken = |detail: String| TlsError::Certificate {
        path: files.chain.clone(),
        detail,
    };
    let (_, certificate) =
        X509Certificate::from_der(leaf).map_err(|error| broken(error.to_string()))?;
    let names = dns_names(&certificate).map_err(broken)?;
    let name = names
        .first()
        .cloned()
        .unwrap_or_else(|| certificate.subject().to_string());
    let seconds = certificate.validity().not_after.timestamp();
    let not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.max(0).unsigned_abs());
    Ok(Facts {
        names,
        loaded: LoadedCertificate { name, not_after },
    })
}

/// The DNS names of the subject's alternative names, in lower case. Empty without any: such a
/// certificate can only be the default.
fn dns_names(certificate: &X509Certificate<'_>) -> Result<Vec<String>, String> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| error.to_string())?;
    let names = names
        .iter()
        .flat_map(|extension| &extension.value.general_names);
    Ok(names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::{Authority, Issued, settings};

    #[test]
    fn among_equals_the_first_that_the_client_can_verify() {
        let authority = Authority::new();
        let edwards = authority.issue_ed25519("edwards", &["a.test"]);
        let ecdsa = authority.issue("ecdsa", &["a.test"]);
        let table = Certificates::load(&settings(&[&edwards, &ecdsa]).certificates).unwrap();
        let check = |name: Option<&str>, schemes: &[SignatureScheme], expected: &Issued| {
            let chosen = table.choose(name, schemes).unwrap();
            assert_eq!(chosen.cert[0], expected.leaf, "{name:?} {schemes:?}");
        };
        let (ed, ec) = (
            SignatureScheme::ED25519,
            SignatureScheme::ECDSA_NISTP256_SHA256,
        );
        check(Some("a.test"), &[ec], &ecdsa);
        check(Some("a.test"), &[ed], &edwards);
        check(Some("a.test"), &[ec, ed], &edwards);
        check(Some("b.test"), &[ec], &ecdsa);
        check(None, &[ec], &ecdsa);
        check(None, &[], &edwards);
    }

    #[test]
    fn a_table_needs_a_certificate() {
        assert!(matches!(
            Certificates::load(&[]),
            Err(TlsError::NoCertificates)
        ));
    }
}
