//! "What would happen to this request?", asked of a plan that serves or of one that might.
//!
//! The answer comes from the same functions that serve requests, with what is observed at this
//! moment; nothing is sent anywhere and nothing is recorded.

use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use fastrand::Rng;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde::Serialize;
use tidegate_core::action::Acted;
use tidegate_core::plan::Route;
use tidegate_core::{Ask, Explanation, Live, Snapshot, Termination, choose};

/// Header fields that a question may carry.
const FIELDS_MAX: usize = 128;

/// A request that nobody sent. It comes from nowhere, so `X-Forwarded-For` tells its client's address.
#[derive(Clone, Debug)]
pub struct Question(Snapshot);

/// What would happen to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// Number of the plan that was asked.
    pub generation: u64,
    /// Route, regions in order, exclusions; none when no route matches.
    #[serde(flatten)]
    pub explanation: Option<Explanation>,
    /// What the route would do besides sending it on; none if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actions: Option<Acted>,
    /// How the request would fail at once; none when there is somewhere to go, or an answer.
    pub termination: Option<Termination>,
    /// The same in words, in aligned lines, without a line end.
    pub story: String,
}

/// Why a question cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuestion {
    /// Not a method.
    #[error("`{0}` is not a method; write for example GET")]
    Method(String),
    /// Not a URL with a path.
    #[error(
        "`{0}` is not a URL; write for example https://shop.example.com/api/cart, or /api/cart"
    )]
    Url(String),
    /// Not a header field.
    #[error("`{0}` is not a header field; write it as `Name: value`")]
    Header(String),
    /// More fields than a request may have.
    #[error("more than {FIELDS_MAX} header fields")]
    TooMany,
}

impl Question {
    /// Reads a question. `url` is absolute or a path; without a host in it, the field `Host`
    /// counts. `headers` are lines of the form `Name: value`.
    ///
    /// # Errors
    /// [`InvalidQuestion`] with the part that cannot be read.
    pub fn new<H: AsRef<str>>(
        method: &str,
        url: &str,
        headers: &[H],
    ) -> Result<Self, InvalidQuestion> {
        let invalid_url = || InvalidQuestion::Url(shortened(url));
        let uri: Uri = url.parse().map_err(|_| invalid_url())?;
        if !uri.path().starts_with('/') && uri.path() != "*" {
            return Err(invalid_url());
        }
        let fields = read_headers(headers)?;
        let method = method
            .parse()
            .map_err(|_| InvalidQuestion::Method(shortened(method)))?;
        let target = uri.path_and_query().map_or("", |target| target.as_str());
        let asked = Snapshot::new(method, &host_of(&uri, &fields), target);
        Ok(Self(Snapshot {
            scheme: match uri.scheme_str() {
                Some("https") => "https",
                _ => "http",
            },
            client: client(&fields),
            at: SystemTime::now(),
            fields: fields
                .iter()
                .map(|(name, value)| (name.clone(), value.as_bytes().into()))
                .collect(),
            ..asked
        }))
    }

    /// What is asked about.
    pub fn request(&self) -> &Snapshot {
        &self.0
    }

    /// Puts the question to `live`. `rng` draws among equals, as it does for requests.
    pub fn ask(&self, live: &Live, now: Instant, rng: &mut Rng) -> Told {
        let generation = live.generation.0;
        let Some(route) = live.plan.table.find(&self.0) else {
            return Told::new(generation, None, Some(Termination::NoRoute));
        };
        let matched = live.plan.route(route);
        let Some(upstream) = live.plan.upstream_for(matched, &self.0, || rng.u64(..)) else {
            return Told::answered(generation, matched, Acted::of(matched, &self.0));
        };
        let wanted = live.plan.upstream(upstream);
        let hashing = wanted.balance.hashing();
        let hashed = hashing.and_then(|hashing| hashing.of(&self.0));
        let mut ask = Ask::of(matched, wanted, &self.0, now);
        let atlas = live.plan.atlas.as_ref();
        ask.origin = atlas.and_then(|atlas| atlas.find(self.0.client?));
        let (decision, choice) = choose(live.upstream(upstream), &ask, rng);
        let (plan, way) = (&live.plan, (route, upstream));
        let explanation = Explanation::within(plan, way, &decision, choice.as_ref());
        let explanation = explanation
            .hashed_on(hashed.map(|hashed| hashed.key))
            .seen_from(ask.origin);
        let termination = choice.is_none().then(|| decision.termination());
        let told = Told::new(generation, Some(explanation), termination);
        told.with(Acted::of(matched, &self.0))
    }
}

impl Told {
    fn new(
        generation: u64,
        explanation: Option<Explanation>,
        termination: Option<Termination>,
    ) -> Self {
        let mut story = match (&explanation, termination) {
            (Some(explanation), _) => explanation.to_string(),
            (None, _) => "no route matches".to_owned(),
        };
        if let Some(end) = termination {
            story += &format!("\nends      {} ({})", end.status(), end.as_str());
        }
        Self {
            generation,
            explanation,
            termination,
            actions: None,
            story,
        }
    }

    /// What a route would do that answers by itself.
    fn answered(generation: u64, route: &Route, actions: Option<Acted>) -> Self {
        Self {
            generation,
            explanation: None,
            termination: None,
            actions: None,
            story: format!("route     {}", route.name),
        }
        .with(actions)
    }

    /// Adds what the route does besides sending the request on.
    fn with(mut self, actions: Option<Acted>) -> Self {
        if let Some(acted) = &actions {
            self.story += &format!("\n{acted}");
        }
        self.actions = actions;
        self
    }

    /// What would happen, in words.
    pub fn story(&self) -> &str {
        &self.story
    }
}

fn client(fields: &HeaderMap) -> Option<IpAddr> {
    let field = fields.get("x-forwarded-for")?.to_str().ok()?;
    let mut members = field.rsplit(',');
    members.find_map(|member| member.trim().parse().ok())
}

fn read_headers<H: AsRef<str>>(lines: &[H]) -> Result<HeaderMap, InvalidQuestion> {
    if lines.len() > FIELDS_MAX {
        return Err(InvalidQuestion::TooMany);
    }
    lines
        .iter()
        .map(|line| read_header(line.as_ref()))
        .collect()
}

fn read_header(line: &str) -> Result<(HeaderName, HeaderValue), InvalidQuestion> {
    let invalid = || InvalidQuestion::Header(shortened(line));
    let (name, value) = line.split_once(':').ok_or_else(invalid)?;
    let name = name.parse().map_err(|_| invalid())?;
    let value = value.trim().parse().map_err(|_| invalid())?;
    Ok((name, value))
}

fn host_of(uri: &Uri, headers: &HeaderMap) -> String {
    let field = headers.get(http::header::HOST);
    let field = field.and_then(|value| value.to_str().ok()?.parse::<Authority>().ok());
    uri.host()
        .map(str::to_owned)
        .or_else(|| field.map(|authority| authority.host().to_owned()))
        .unwrap_or_default()
}

fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use tidegate_core::hash::xxh64;
    use tidegate_core::plan::{HashKey, Hashing};
    use tidegate_core::route::RequestFacts;

    use super::*;

    #[test]
    fn questions_are_read() {
        let check = |url: &str, headers: &[&str], host: &str, path: &str| {
            let question = Question::new("GET", url, headers).unwrap();
            let question = question.request();
            assert_eq!((question.host(), question.path()), (host, path), "{url}");
        };
        check(
            "https://shop.example.com:8443/a?b",
            &[],
            "shop.example.com",
            "/a",
        );
        check(
            "/a",
            &["Host: shop.example.com:80"],
            "shop.example.com",
            "/a",
        );
        check("/a", &[], "", "/a");
        check("http://a.example", &["host: b.example"], "a.example", "/");
    }

    #[test]
    fn fields_match_by_value() {
        let question = Question::new("GET", "/", &["X-Tier: gold", "x-tier:silver"]).unwrap();
        let name = HeaderName::from_static("x-tier");
        assert!(
            question.request().has_header(&name, "gold")
                && question.request().has_header(&name, "silver")
        );
        assert!(!question.request().has_header(&name, "bronze"));
    }

    #[test]
    fn what_decides_about_an_endpoint_is_found() {
        let hashing = |key| Hashing {
            on: [key].into(),
            balance_factor: None,
        };
        let fields = ["Cookie: a=1; user=7", "X-Forwarded-For: 192.0.2.9, unknown"];
        let question = Question::new("GET", "https://a.example/b?user=7&c", &fields).unwrap();
        let hash = |key| {
            hashing(key)
                .of(question.request())
                .map(|hashed| hashed.hash)
        };
        let seven = Some(xxh64(0, b"7"));
        assert_eq!(hash(HashKey::Cookie("user".into())), seven);
        assert_eq!(hash(HashKey::Query("user".into())), seven);
        assert_eq!(hash(HashKey::Path), Some(xxh64(0, b"/b")));
        let address = Some(xxh64(0, &[192, 0, 2, 9]));
        assert_eq!(hash(HashKey::ClientAddress), address);
        let nobody = Question::new::<&str>("GET", "/", &[]).unwrap();
        let key = hashing(HashKey::ClientAddress);
        assert_eq!(
            key.of(nobody.request()),
            None,
            "a question comes from nowhere"
        );
    }

    #[test]
    fn nonsense_is_refused_by_its_part() {
        let check = |method: &str, url: &str, header: &str, expected: InvalidQuestion| {
            assert_eq!(Question::new(method, url, &[header]).unwrap_err(), expected);
        };
        check(
            "G T",
            "/",
            "a: b",
            InvalidQuestion::Method("G T".to_owned()),
        );
        check(
            "GET",
            "shop",
            "a: b",
            InvalidQuestion::Url("shop".to_owned()),
        );
        check("GET", "a b", "a: b", InvalidQuestion::Url("a b".to_owned()));
        check("GET", "/", "a", InvalidQuestion::Header("a".to_owned()));
        check(
            "GET",
            "/",
            "a b: c",
            InvalidQuestion::Header("a b: c".to_owned()),
        );
        let many = vec!["a: b"; FIELDS_MAX + 1];
        assert_eq!(
            Question::new("GET", "/", &many).unwrap_err(),
            InvalidQuestion::TooMany
        );
    }
}
