//! The subject of a client's certificate as text, in the one form of RFC 4514.
//!
//! Routes compare it, so it must not be possible to put a name into a certificate that reads like
//! another: every character that means something between values is escaped within them, what is no text
//! is written as its bytes, and so is every type without a name. The library's own text escapes nothing.

use std::fmt::Write;
use std::sync::Arc;

use x509_parser::asn1_rs::ToDer;
use x509_parser::prelude::{AttributeTypeAndValue, FromDer, X509Certificate};

/// Types with names: those of RFC 4514 section 3, and those beside them that OpenSSL names.
const TYPES: [(&str, &str); 15] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "street"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.12", "title"),
    ("2.5.4.42", "GN"),
    ("2.5.4.97", "organizationIdentifier"),
];

/// The subject of a certificate in DER, the most specific part first; none if it has none, or is no
/// certificate.
pub(super) fn of(certificate: &[u8]) -> Option<Arc<str>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let parts: Vec<_> = certificate.subject().iter().collect();
    let mut text = String::new();
    for part in parts.iter().rev() {
        push_separator(&mut text, ',');
        for (at, value) in part.iter().enumerate() {
            if at > 0 {
                text.push('+');
            }
            push_value(&mut text, value);
        }
    }
    (!text.is_empty()).then(|| text.into())
}

fn push_separator(text: &mut String, separator: char) {
    if !text.is_empty() {
        text.push(separator);
    }
}

fn push_value(text: &mut String, value: &AttributeTypeAndValue<'_>) {
    let oid = value.attr_type().to_id_string();
    let named = TYPES.iter().find(|(known, _)| *known == oid);
    text.push_str(named.map_or(&oid, |(_, name)| name));
    text.push('=');
    match value.as_str() {
        Ok(value) if named.is_some() => push_escaped(text, value),
        _ => push_bytes(text, value),
    }
}

/// RFC 4514 section 2.4. Control characters are escaped too: the text ends up in logs.
fn push_escaped(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (at, c) in value.chars().enumerate() {
        let is_edge = (c == ' ' && (at == 0 || at == last)) || (c == '#' && at == 0);
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', c]),
            _ if is_edge => text.extend(['\\', c]),
            _ if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    // Writing to a string cannot fail.
                    let _ = write!(text, "\\{byte:02X}");
                }
            }
            _ => text.push(c),
        }
    }
}

/// The value as it is encoded, tag and length included.
fn push_bytes(text: &mut String, value: &AttributeTypeAndValue<'_>) {
    // What came as bytes can be written as bytes.
    let bytes = value.attr_value().to_der_vec().unwrap_or_default();
    text.push('#');
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02X}");
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};

    use super::*;

    fn subject(names: &[(DnType, DnValue)]) -> Option<String> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        of(certificate.der()).map(|text| text.to_string())
    }

    fn utf8(text: &str) -> DnValue {
        DnValue::Utf8String(text.to_owned())
    }

    #[test]
    fn the_most_specific_part_comes_first() {
        let names = [
            (
                DnType::CountryName,
                DnValue::PrintableString("DE".try_into().unwrap()),
            ),
            (DnType::OrganizationName, utf8("Example")),
            (DnType::OrganizationalUnitName, utf8("shop")),
            (DnType::CommonName, utf8("billing")),
        ];
        assert_eq!(
            subject(&names).unwrap(),
            "CN=billing,OU=shop,O=Example,C=DE"
        );
        assert_eq!(subject(&[]), None);
        assert_eq!(of(b"no certificate"), None);
    }

    #[test]
    fn no_value_reads_like_another_part() {
        let check = |value: &str, expected: &str| {
            let text = subject(&[(DnType::CommonName, utf8(value))]).unwrap();
            assert_eq!(text, format!("CN={expected}"), "{value:?}");
        };
        check("a,O=Example", "a\\,O=Example");
        check("a+OU=b", "a\\+OU=b");
        check("a\\,b", "a\\\\\\,b");
        check(" a  b ", "\\ a  b\\ ");
        check("#1 #2", "\\#1 #2");
        check("\"<>;=", "\\\"\\<\\>\\;=");
        check("a\0b\n", "a\\00b\\0A");
        check("Bär", "Bär");
        check(" ", "\\ ");
    }

    #[test]
    fn what_has_no_name_or_is_no_text_is_written_as_bytes() {
        let own = DnType::from_oid(&[1, 2, 3, 4]);
        assert_eq!(subject(&[(own, utf8("ab"))]).unwrap(), "1.2.3.4=#0C026162");
        let bmp = DnValue::BmpString("a".try_into().unwrap());
        assert_eq!(
            subject(&[(DnType::CommonName, bmp)]).unwrap(),
            "CN=#1E020061"
        );
    }
}
