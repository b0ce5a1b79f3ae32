//! A configuration in a directory of its own, what runs on it, and a client for the admin listener.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_control::{
    Admin, AdminOptions, Author, Candidates, Certificate, Certificates, DrainOrder, Drained,
    NoTraffic, OrderTerms, Readiness, Refused, Reloader, Shared, State,
};

/// A condition that has not come true by then never will.
const PATIENCE: Duration = Duration::from_secs(20);

/// Two regions, one upstream, one route with this timeout.
pub(crate) fn config(timeout: &str) -> String {
    format!(
        "listeners: [{{ name: http, bind: \"127.0.0.1:0\" }}]\n\
         regions:\n  eu-west: {{ jurisdictions: [eu] }}\n  us-east: {{ jurisdictions: [us] }}\n\
         upstreams:\n  shop:\n    regions:\n      \
         eu-west: {{ endpoints: [\"127.0.0.1:7001\"] }}\n      \
         us-east: {{ endpoints: [\"127.0.0.1:7002\"] }}\n\
         routes:\n  - {{ name: all, match: {{ path: /shop/** }}, upstream: shop, timeout: {timeout} }}\n"
    )
}

/// A directory with a configuration that serves.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    pub(crate) shared: Shared,
    pub(crate) reloader: Arc<Reloader>,
}

impl Site {
    pub(crate) fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::in_dir(dir, "tidegate.yaml", text)
    }

    pub(crate) fn in_dir(dir: TempDir, name: &str, text: &str) -> Self {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let shared = Shared::new(Instant::now());
        let opened =
            Reloader::open(path.as_path(), shared.clone()).unwrap_or_else(|r| panic!("{r}"));
        Self {
            dir,
            shared,
            reloader: opened.reloader,
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("tidegate.yaml")
    }

    pub(crate) fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }

    pub(crate) fn generation(&self) -> u64 {
        self.shared.plan.newest().unwrap().generation.0
    }

    /// The timeout of the only route of the plan that serves.
    pub(crate) fn timeout(&self) -> Duration {
        self.shared.plan.newest().unwrap().plan.routes[0].timeout
    }

    /// Drains a region.
    pub(crate) fn drain(&self, region: &str, order: DrainOrder) -> Result<Drained, Refused> {
        let Shared { orders, .. } = &self.shared;
        let terms = OrderTerms::default();
        orders.drain(region, order, &terms, &self.shared, SystemTime::now())
    }

    /// Ends its drain.
    pub(crate) fn undrain(&self, region: &str) -> Result<Drained, Refused> {
        let Shared { orders, .. } = &self.shared;
        let by = Author::default();
        orders.undrain(region, &by, &self.shared, SystemTime::now())
    }

    /// The kinds of the events so far.
    pub(crate) fn events(&self) -> Vec<String> {
        let events = self.shared.events.since(0);
        let kind = |event| {
            serde_json::to_value(event).unwrap()["kind"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        events.iter().map(|event| kind(&**event)).collect()
    }

    /// Whether the metrics have this line.
    pub(crate) fn has_metric(&self, line: &str) -> bool {
        let live = self.shared.plan.newest();
        let text = self.shared.metrics.render(live.as_deref());
        text.lines().any(|found| found == line)
    }

    /// Reloads that ended so; what never happened has no line.
    pub(crate) fn reloads(&self, result: &str) -> u64 {
        let start = format!("tidegate_reloads_total{{result=\"{result}\"}} ");
        let text = self.shared.metrics.render(None);
        let mut values = text.lines().filter_map(|line| line.strip_prefix(&start));
        values.next().map_or(0, |value| value.parse().unwrap())
    }

    pub(crate) async fn admin(&self) -> (Admin, Arc<Readiness>) {
        let readiness = Arc::new(Readiness::default());
        readiness.set(State::Accepting);
        let admin = Admin::start(AdminOptions {
            bind: ([127, 0, 0, 1], 0).into(),
            shared: self.shared.clone(),
            reloader: self.reloader.clone(),
            candidates: Candidates::new(
                self.shared.clone(),
                self.reloader.clone(),
                Arc::new(NoTraffic),
            ),
            readiness: readiness.clone(),
            listeners: vec![("http".to_owned(), ([127, 0, 0, 1], 8080).into())],
            started: Instant::now(),
            version: "1.2.3",
        });
        (admin.await.unwrap(), readiness)
    }
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Certificates that count how often they are read, and fail on demand.
#[derive(Default)]
pub(crate) struct Counting {
    pub(crate) read: AtomicUsize,
    pub(crate) problem: Mutex<Option<String>>,
}

impl Counting {
    fn one() -> Vec<Certificate> {
        vec![Certificate {
            name: "shop.example.com".to_owned(),
            not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000),
        }]
    }
}

impl Certificates for Counting {
    fn serving(&self) -> Vec<Certificate> {
        Self::one()
    }

    fn reload(&self) -> Result<Vec<Certificate>, Box<dyn Error + Send + Sync>> {
        self.read.fetch_add(1, Ordering::SeqCst);
        match &*self.problem.lock().unwrap() {
            Some(problem) => Err(problem.clone().into()),
            None => Ok(Self::one()),
        }
    }
}

/// One answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// Asks the listener at `address`, on a connection of its own.
pub(crate) async fn ask(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::builder().method(method).uri(target);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", address.to_string());
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

/// A refusal in the form of a problem document.
pub(crate) fn assert_problem(answer: &Answer, status: u16, name: &str) -> Value {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["status"], json!(status));
    assert_eq!(
        problem["type"],
        json!(format!("urn:tidegate:problem:{name}"))
    );
    assert!(problem["title"].is_string() && problem["detail"].is_string());
    problem
}
