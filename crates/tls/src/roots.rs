//! Whom to trust: the authorities of the settings, or else the system's.

use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls_native_certs::load_native_certs;

use crate::pem::certificates;
use crate::{InvalidTls, Material};

/// The authorities in `pem`, every one of which must be usable; the system's without a text.
pub(crate) fn roots(pem: Option<&str>) -> Result<Arc<RootCertStore>, InvalidTls> {
    let Some(pem) = pem else {
        return system_roots();
    };
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem, Material::Roots)? {
        store.add(certificate).map_err(InvalidTls::Root)?;
    }
    Ok(Arc::new(store))
}

/// What the system trusts: read for the first profile that needs it, then kept. A failure is not
/// kept, so that it can be mended while we run.
fn system_roots() -> Result<Arc<RootCertStore>, InvalidTls> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(known) = ROOTS.get() {
        return Ok(known.clone());
    }
    let found = load_native_certs();
    let store = usable(found.certs, found.errors)?;
    Ok(ROOTS.get_or_init(|| Arc::new(store)).clone())
}

/// The store of what could be read. Systems carry a few odd certificates, and files that are not
/// for us; they must not cost the use of the others.
fn usable(
    certificates: Vec<CertificateDer<'static>>,
    errors: Vec<rustls_native_certs::Error>,
) -> Result<RootCertStore, InvalidTls> {
    let mut store = RootCertStore::empty();
    let (added, _odd) = store.add_parsable_certificates(certificates);
    match (added, errors.into_iter().next()) {
        (0, Some(error)) => Err(InvalidTls::SystemRoots(error)),
        (0, None) => Err(InvalidTls::NoSystemRoots),
        _ => Ok(store),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls_native_certs::{Error, ErrorKind};

    use super::*;

    fn authority() -> CertificateDer<'static> {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        issuer.der().clone()
    }

    #[test]
    fn one_usable_root_is_enough_of_the_systems() {
        let odd = || CertificateDer::from(vec![0; 4]);
        let unreadable = || Error {
            context: "cannot open it",
            kind: ErrorKind::Os("no permission".into()),
        };
        let check = |certificates, errors, expected: Result<usize, &str>| {
            let found = usable(certificates, errors);
            match (found, expected) {
                (Ok(store), Ok(count)) => assert_eq!(store.len(), count),
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{error}");
                }
                (found, expected) => panic!("{found:?}, not {expected:?}"),
            }
        };
        let none = "the system has no root certificates";
        check(vec![], vec![], Err(none));
        check(vec![odd()], vec![], Err(none));
        check(vec![odd()], vec![unreadable()], Err("no permission"));
        check(vec![odd(), authority()], vec![unreadable()], Ok(1));
        check(vec![authority(), authority()], vec![], Ok(2));
    }
}
