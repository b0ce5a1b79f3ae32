//! Who changes something through the admin listener, and why: `tidegate-author`, `tidegate-reason`.
//!
//! A claim (see [`crate::origin`]): it is written down, and nothing is allowed because of it.

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;

use super::problem::Problem;
use crate::origin::Author;

/// The field with a name like `ann@edge-1`.
pub(crate) const AUTHOR: &str = "tidegate-author";
/// The field with a reason.
pub(crate) const REASON: &str = "tidegate-reason";

/// An argument of a handler: `By(author): By`. Refused with 400 when a field is too long or not
/// printable; without the fields it is `unknown`, without a reason.
pub(super) struct By(pub(super) Author);

impl<S: Sync> FromRequestParts<S> for By {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        of(&parts.headers).map(Self)
    }
}

fn of(headers: &HeaderMap) -> Result<Author, Problem> {
    let field = |name| headers.get(name).map(http::HeaderValue::as_bytes);
    let author = Author::new(field(AUTHOR), field(REASON));
    author.map_err(|error| {
        let detail = format!("`{AUTHOR}` and `{REASON}`: {error}");
        Problem::bad_request(detail)
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn fields_are_taken_or_refused() {
        let mut headers = HeaderMap::new();
        assert_eq!(of(&headers).unwrap(), Author::default());
        let name = HeaderValue::from_bytes("Ännchen".as_bytes()).unwrap();
        headers.insert(AUTHOR, name);
        headers.insert(REASON, HeaderValue::from_static("more room"));
        let author = of(&headers).unwrap();
        assert_eq!(&*author.who, "Ännchen");
        assert_eq!(author.reason.as_deref(), Some("more room"));
        headers.insert(REASON, HeaderValue::from_bytes(b"\xff").unwrap());
        assert!(of(&headers).is_err());
    }
}
