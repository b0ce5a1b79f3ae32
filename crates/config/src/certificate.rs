//! What can be known about a certificate before anybody connects: that it is PEM, that the key is
//! its key, and until when it is valid. Pure functions of bytes and time.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::InconsistentKeys;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The certificates of a PEM file, in its order.
#[derive(Debug)]
pub(crate) struct Chain(Vec<CertificateDer<'static>>);

/// A private key that can sign.
#[derive(Debug)]
pub(crate) struct Key(PrivateKeyDer<'static>);

/// A certificate that is renewed by itself is long before this, in seconds: 14 days.
const SOON: i64 = 14 * 24 * 3600;

/// When a certificate can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Validity {
    Valid,
    /// Not before this date.
    NotYet(String),
    /// Not after this date, which is near.
    Soon(String),
    /// Not after this date.
    Expired(String),
}

impl Chain {
    /// At least one certificate that can be parsed. The error is a sentence about the file.
    pub(crate) fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        match certificates {
            Err(error) => Err(format!("is not PEM: {error}")),
            Ok(list) if list.is_empty() && has_key(pem) => {
                Err("holds a private key, no certificate".to_owned())
            }
            Ok(list) if list.is_empty() => Err("holds no certificate in PEM form".to_owned()),
            Ok(list) => match list
                .iter()
                .all(|der| X509Certificate::from_der(der).is_ok())
            {
                true => Ok(Self(list)),
                false => Err("holds something that is not an X.509 certificate".to_owned()),
            },
        }
    }

    /// Whether the leaf is valid at `now`.
    pub(crate) fn validity(&self, now: SystemTime) -> Validity {
        let Ok((_, leaf)) = X509Certificate::from_der(&self.0[0]) else {
            return Validity::Valid;
        };
        let (from, until) = (leaf.validity().not_before, leaf.validity().not_after);
        let now = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs() as i64);
        match now {
            now if now < from.timestamp() => Validity::NotYet(from.to_string()),
            now if now > until.timestamp() => Validity::Expired(until.to_string()),
            now if now > until.timestamp() - SOON => Validity::Soon(until.to_string()),
            _ => Validity::Valid,
        }
    }

    /// The names of hosts that the leaf is for; empty when it has none.
    pub(crate) fn names(&self) -> Vec<String> {
        let Ok((_, leaf)) = X509Certificate::from_der(&self.0[0]) else {
            return Vec::new();
        };
        let Ok(Some(names)) = leaf.subject_alternative_name() else {
            return Vec::new();
        };
        let names = names.value.general_names.iter();
        let hosts = names.filter_map(|name| match name {
            GeneralName::DNSName(host) => Some(host.to_ascii_lowercase()),
            _ => None,
        });
        hosts.collect()
    }
}

impl Key {
    /// The first private key of a PEM file. The error is a sentence about the file.
    pub(crate) fn from_pem(pem: &[u8]) -> Result<Self, String> {
        if memmem(pem, b"-----BEGIN ENCRYPTED PRIVATE KEY-----") {
            return Err("holds an encrypted key, which is not supported".to_owned());
        }
        let key = PrivateKeyDer::from_pem_slice(pem)
            .map_err(|_| "holds no private key in PEM form".to_owned())?;
        any_supported_type(&key)
            .map_err(|_| "holds a private key of an unsupported kind".to_owned())?;
        Ok(Self(key))
    }

    /// Whether this is the key of the chain's leaf. True when it cannot be told.
    pub(crate) fn fits(&self, chain: &Chain) -> bool {
        let Ok(key) = any_supported_type(&self.0) else {
            return true;
        };
        let mismatch = rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch);
        CertifiedKey::new(chain.0.clone(), key).keys_match() != Err(mismatch)
    }
}

fn has_key(pem: &[u8]) -> bool {
    memmem(pem, b"PRIVATE KEY-----")
}

fn memmem(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn pair() -> (Vec<u8>, Vec<u8>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        (
            certificate.pem().into_bytes(),
            key.serialize_pem().into_bytes(),
        )
    }

    #[test]
    fn a_key_fits_its_own_chain_only() {
        let (chain, key) = pair();
        let chain = Chain::from_pem(&chain).unwrap();
        assert!(Key::from_pem(&key).unwrap().fits(&chain));
        assert!(!Key::from_pem(&pair().1).unwrap().fits(&chain));
    }

    #[test]
    fn validity_is_judged_by_the_given_time() {
        let chain = Chain::from_pem(&pair().0).unwrap();
        let at = |year: u64| {
            chain.validity(UNIX_EPOCH + Duration::from_secs((year - 1970) * 31_557_600))
        };
        assert!(matches!(at(2019), Validity::NotYet(_)));
        assert_eq!(at(2025), Validity::Valid);
        let days_before = |days: u64| UNIX_EPOCH + Duration::from_secs((21_915 - days) * 86_400);
        let chain = Chain::from_pem(&pair().0).unwrap();
        assert_eq!(chain.validity(days_before(15)), Validity::Valid);
        assert!(matches!(chain.validity(days_before(13)), Validity::Soon(_)));
        assert!(matches!(at(2031), Validity::Expired(_)));
    }

    #[test]
    fn other_files_are_told_apart() {
        let (chain, key) = pair();
        let check = |pem: &[u8], expected: &str| {
            assert!(
                Chain::from_pem(pem).unwrap_err().contains(expected),
                "{expected}"
            );
        };
        check(b"hello", "holds no certificate");
        check(b"", "holds no certificate");
        check(&key, "holds a private key, no certificate");
        check(
            b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
            "is not PEM",
        );
        check(
            b"-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n",
            "not an X.509",
        );
        assert!(
            Key::from_pem(&chain)
                .unwrap_err()
                .contains("no private key")
        );
        let locked = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\naGVsbG8=\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert!(Key::from_pem(locked).unwrap_err().contains("encrypted"));
    }
}
