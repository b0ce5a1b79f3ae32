//! The rules for HTTP/2 requests that the `h2` crate leaves to its users.
//!
//! It has refused connection-specific fields, `TE` other than `trailers`, misplaced or doubled
//! pseudo-fields and bad lengths (RFC 9113 section 8.2.2). Left are the target and its agreement
//! with `Host`, which decide where a request goes and so must mean the same to everybody.

use http::request::Parts;
use http::{Method, header};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// Neither `:authority` nor `Host`.
    #[error("the request names no authority")]
    NoAuthority,
    /// `:authority` and `Host` differ, or there is more than one `Host` (RFC 9113 section 8.3.1).
    #[error(":authority and Host do not agree")]
    Authority,
    /// User information in the authority (RFC 9110 section 4.2.4).
    #[error("the authority has user information")]
    UserInfo,
    /// The path does not start with `/`, or holds what no path may.
    #[error("the path is not valid")]
    Path,
}

impl Malformed {
    /// The rule's stable name.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::NoAuthority => "no_authority",
            Self::Authority => "authority_mismatch",
            Self::UserInfo => "authority_user_info",
            Self::Path => "path_invalid",
        }
    }
}

/// Checks what is known of a request before its body.
pub(super) fn validate(parts: &Parts) -> Result<(), Malformed> {
    authority(parts)?;
    let tunnel = parts.extensions.get::<h2::ext::Protocol>().is_some();
    // Plain CONNECT has no path (RFC 9113 section 8.5).
    if parts.method == Method::CONNECT && !tunnel {
        Ok(())
    } else {
        path(parts)
    }
}

fn authority(parts: &Parts) -> Result<(), Malformed> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    let pseudo = parts.uri.authority().map(|authority| authority.as_str());
    let name = match (pseudo, host) {
        (_, Some(_)) if second.is_some() => return Err(Malformed::Authority),
        (Some(pseudo), Some(host)) if !pseudo.as_bytes().eq_ignore_ascii_case(host.as_bytes()) => {
            return Err(Malformed::Authority);
        }
        (Some(pseudo), _) => pseudo,
        (None, Some(host)) => host.to_str().map_err(|_| Malformed::Authority)?,
        (None, None) => "",
    };
    match name {
        "" => Err(Malformed::NoAuthority),
        name if name.contains('@') => Err(Malformed::UserInfo),
        name if name.bytes().any(|byte| !AUTHORITY[usize::from(byte)]) => Err(Malformed::Authority),
        _ => Ok(()),
    }
}

/// Which bytes an authority may have; what else is wrong with it, `http::Uri` has refused.
static AUTHORITY: [bool; 256] = {
    let refused = b"/?#\\,\"<>^`{|}\x7f";
    let mut table = [true; 256];
    let mut at = 0;
    while at <= b' ' as usize {
        table[at] = false;
        at += 1;
    }
    at = 0;
    while at < refused.len() {
        table[refused[at] as usize] = false;
        at += 1;
    }
    table
};

fn path(parts: &Parts) -> Result<(), Malformed> {
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let server_wide = path == "*" && parts.method == Method::OPTIONS;
    let clean = path
        .bytes()
        .all(|byte| byte > b' ' && byte != b'#' && byte != 0x7f);
    if server_wide || (path.starts_with('/') && clean) {
        Ok(())
    } else {
        Err(Malformed::Path)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_target_must_mean_one_thing() {
        let check = |method: &str, uri: &str, hosts: &[&str], expected: Result<(), Malformed>| {
            let mut request = Request::builder().method(method).uri(uri);
            for host in hosts {
                request = request.header(header::HOST, *host);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(validate(&parts), expected, "{method} {uri} {hosts:?}");
        };
        check("GET", "https://a.b/x?y", &[], Ok(()));
        check("GET", "https://a.b:443/", &["A.b:443"], Ok(()));
        check("GET", "/x", &["a.b"], Ok(()));
        check("GET", "https://[::1]:80/", &[], Ok(()));
        check("GET", "https://a.b/", &["c.d"], Err(Malformed::Authority));
        check(
            "GET",
            "https://a.b/",
            &["a.b:443"],
            Err(Malformed::Authority),
        );
        check(
            "GET",
            "https://a.b/",
            &["a.b", "a.b"],
            Err(Malformed::Authority),
        );
        check("GET", "/x", &["a.b", "c.d"], Err(Malformed::Authority));
        check("GET", "/x", &["a.b/c"], Err(Malformed::Authority));
        check("GET", "/x", &["a b"], Err(Malformed::Authority));
        // It would end the quoted host in `Forwarded`.
        check("GET", "/x", &["a\";for=b"], Err(Malformed::Authority));
        check("GET", "/x", &["a,b"], Err(Malformed::Authority));
        check("GET", "/x", &[], Err(Malformed::NoAuthority));
        check("GET", "/x", &[""], Err(Malformed::NoAuthority));
        check("GET", "https://user@a.b/", &[], Err(Malformed::UserInfo));
        check("GET", "/x", &["user:pw@a.b"], Err(Malformed::UserInfo));
        check("OPTIONS", "*", &["a.b"], Ok(()));
        check("GET", "*", &["a.b"], Err(Malformed::Path));
        check("CONNECT", "a.b:443", &[], Ok(()));
        check(
            "CONNECT",
            "a.b:443",
            &["c.d:443"],
            Err(Malformed::Authority),
        );
    }

    #[test]
    fn an_extended_connect_needs_a_path() {
        let mut request = Request::connect("https://a.b/chat").body(()).unwrap();
        request
            .extensions_mut()
            .insert(h2::ext::Protocol::from_static("websocket"));
        assert_eq!(validate(&request.into_parts().0), Ok(()));
    }
}
