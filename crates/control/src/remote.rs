//! The admin listener of a process that runs, asked from outside: what the command line does.

use std::time::Duration;

use http::uri::{Authority, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use crate::admin::author::{AUTHOR, REASON};
use crate::call::{Answer, call};
use crate::origin::Author;

/// A process that does not answer within this does not answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer is no longer: thousands of upstreams in every region.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// An admin listener.
#[derive(Clone, Debug)]
pub struct Remote {
    at: Authority,
    author: Author,
}

/// It is no address of an admin listener.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address of an admin listener; write it like 127.0.0.1:9901")]
pub struct InvalidAddress(String);

/// Why there is no answer, or why it is no.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Nobody answers, or nobody whom we understand.
    #[error("the admin listener at {at} does not answer: {why}")]
    NoAnswer {
        /// Its address.
        at: String,
        /// What happened.
        why: String,
    },
    /// It does not understand the question.
    #[error("{0}")]
    NotUnderstood(String),
    /// It says no.
    #[error("{detail}")]
    Refused {
        /// Why, in words.
        detail: String,
        /// The whole of the refusal.
        document: Value,
    },
}

impl Remote {
    /// The admin listener at `address`: host and port, with or without `http://` before it.
    ///
    /// # Errors
    /// [`InvalidAddress`] for anything else.
    pub fn new(address: &str) -> Result<Self, InvalidAddress> {
        let bare = address.strip_prefix("http://").unwrap_or(address);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        let authority = bare.parse::<Authority>().ok();
        let usable = authority
            .filter(|authority| authority.port().is_some() && !authority.as_str().contains('@'));
        usable
            .map(|at| Self {
                at,
                author: Author::default(),
            })
            .ok_or_else(|| InvalidAddress(address.to_owned()))
    }

    /// The same, asked by `author`.
    #[must_use]
    pub fn by(self, author: Author) -> Self {
        Self { author, ..self }
    }

    /// Asks for the path of these segments with these parameters; the answer is JSON.
    ///
    /// # Errors
    /// [`RemoteError`] for every answer but a good one.
    pub async fn ask(
        &self,
        method: Method,
        segments: &[&str],
        parameters: &[(&str, &str)],
    ) -> Result<Value, RemoteError> {
        self.send(method, segments, parameters, None).await
    }

    /// The same with a document, which is JSON.
    ///
    /// # Errors
    /// [`RemoteError`] for every answer but a good one.
    pub async fn send(
        &self,
        method: Method,
        segments: &[&str],
        parameters: &[(&str, &str)],
        json: Option<String>,
    ) -> Result<Value, RemoteError> {
        let answer = self.answer(method, segments, parameters, json).await?;
        let other = || self.no_answer(format!("it answered {}", answer.status));
        understood(&answer).ok_or_else(other)?
    }

    /// Asks for a text.
    ///
    /// # Errors
    /// [`RemoteError`] for every answer but a good one.
    pub async fn text(&self, segments: &[&str]) -> Result<String, RemoteError> {
        let answer = self.answer(Method::GET, segments, &[], None).await?;
        if answer.status != StatusCode::OK {
            return Err(self.no_answer(format!("it answered {}", answer.status)));
        }
        String::from_utf8(answer.body).map_err(|error| self.no_answer(error.to_string()))
    }

    async fn answer(
        &self,
        method: Method,
        segments: &[&str],
        parameters: &[(&str, &str)],
        json: Option<String>,
    ) -> Result<Answer, RemoteError> {
        let target = target(segments, parameters);
        let url = format!("http://{}{target}", self.at).parse::<Uri>();
        let url = url.map_err(|error| RemoteError::NotUnderstood(error.to_string()))?;
        let asked = timeout(
            PATIENCE,
            call(method, &url, json, signed(&self.author), ANSWER_BYTES_MAX),
        )
        .await;
        match asked {
            Ok(answered) => answered.map_err(|error| self.no_answer(error.to_string())),
            Err(_elapsed) => Err(self.no_answer(format!("no answer within {PATIENCE:?}"))),
        }
    }

    fn no_answer(&self, why: String) -> RemoteError {
        RemoteError::NoAnswer {
            at: self.at.to_string(),
            why,
        }
    }
}

/// The fields that say who asks, and why.
fn signed(author: &Author) -> HeaderMap {
    let reason = author.reason.as_ref();
    let all = [(AUTHOR, Some(&author.who)), (REASON, reason)];
    // An author is printable, so nothing is left out here.
    let fields = all.into_iter().filter_map(|(name, text)| {
        let value = HeaderValue::from_bytes(text?.as_bytes()).ok()?;
        Some((HeaderName::from_static(name), value))
    });
    fields.collect()
}

/// What an answer of an admin listener says; none for one of something else.
fn understood(answer: &Answer) -> Option<Result<Value, RemoteError>> {
    let document: Value = serde_json::from_slice(&answer.body).ok()?;
    if answer.status == StatusCode::OK {
        return Some(Ok(document));
    }
    let detail = document["detail"].as_str()?.to_owned();
    Some(Err(match answer.status {
        StatusCode::BAD_REQUEST => RemoteError::NotUnderstood(detail),
        _ => RemoteError::Refused { detail, document },
    }))
}

/// Path and query (RFC 3986), everything else than unreserved characters encoded.
fn target(segments: &[&str], parameters: &[(&str, &str)]) -> String {
    let mut target = String::new();
    for segment in segments {
        target.push('/');
        encode(segment, &mut target);
    }
    for (at, (name, value)) in parameters.iter().enumerate() {
        target.push(if at == 0 { '?' } else { '&' });
        encode(name, &mut target);
        target.push('=');
        encode(value, &mut target);
    }
    target
}

fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                into.push(char::from(byte));
            }
            _ => into.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for good in [
            "127.0.0.1:9901",
            "[::1]:1",
            "http://edge.example:80",
            "http://a:1/",
        ] {
            assert!(Remote::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "localhost",
            "https://a:1",
            "a:1/status",
            "u:p@a:1",
            "a b:1",
            ":",
        ] {
            assert!(Remote::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_cannot_leave_their_place() {
        let check = |segments: &[&str], parameters: &[(&str, &str)], expected: &str| {
            assert_eq!(target(segments, parameters), expected);
        };
        check(&["regions"], &[], "/regions");
        check(
            &["regions", "a/b?c", "dial"],
            &[("to", "25%"), ("upstream", "x&y")],
            "/regions/a%2Fb%3Fc/dial?to=25%25&upstream=x%26y",
        );
        check(&["é"], &[], "/%C3%A9");
    }
}
