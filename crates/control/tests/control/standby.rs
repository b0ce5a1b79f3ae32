//! Cold regions: started when they are needed, once, whatever becomes of what starts them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidegate_control::Starter;
use tidegate_core::Health;
use tidegate_core::plan::{self, ColdStart, Standby};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Site, ask, config, until};

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(100);

/// Two regions of one upstream; `us-east` is cold.
struct Cold {
    site: Site,
    _starter: Starter,
}

impl Cold {
    fn new(by: plan::Starter, timeout: Duration) -> Self {
        let site = Site::new(&config("5s"));
        let this = Self {
            _starter: Starter::start(site.shared.clone()),
            site,
        };
        this.set_health("us-east", Health::Unhealthy);
        this.plan(by, timeout);
        this
    }

    /// Puts a plan in place.
    fn plan(&self, by: plan::Starter, timeout: Duration) {
        let mut plan = tidegate_config::load(&self.site.path()).unwrap().plan;
        let below = 0.5;
        let cold = ColdStart { below, by, timeout };
        let upstream = Arc::get_mut(&mut plan.upstreams[0]).unwrap();
        upstream.regions[1].standby = Standby::Cold(Arc::new(cold));
        self.site
            .shared
            .plan
            .activate(plan, &self.site.shared.board);
    }

    fn set_health(&self, region: &str, health: Health) {
        self.site
            .shared
            .board
            .region("shop", region)
            .set_health(health);
    }

    /// A file of its own for the starter.
    fn file(&self) -> PathBuf {
        self.site.dir.path().join("started")
    }

    fn starts(&self) -> usize {
        std::fs::read_to_string(self.file()).map_or(0, |text| text.lines().count())
    }

    /// How starts ended so far, and what is told of them; those that have begun are none.
    fn ended(&self) -> Vec<(String, String)> {
        let told = self
            .told()
            .into_iter()
            .filter(|event| !event["result"].is_null());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        told.map(|event| (text(&event["result"]), text(&event["detail"])))
            .collect()
    }

    fn told(&self) -> Vec<Value> {
        let events = self.site.shared.events.since(0);
        let values = events
            .iter()
            .map(|event| serde_json::to_value(&**event).unwrap());
        values
            .filter(|event| event["kind"] == "standby_start")
            .collect()
    }

    async fn until_ended(&self, result: &str) -> String {
        until(result, || !self.ended().is_empty()).await;
        let (is, detail) = self.ended().remove(0);
        assert_eq!(is, result, "{detail}");
        detail
    }
}

/// Lets everything run that news have woken.
async fn looked() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

fn command(script: &str) -> plan::Starter {
    let words = ["sh", "-c", script].map(Arc::from);
    plan::Starter::Command(words.into())
}

/// Appends a line to a file in the site's directory.
fn note(site: &Site) -> plan::Starter {
    let file = site.dir.path().join("started");
    command(&format!(
        "echo $TIDEGATE_UPSTREAM $TIDEGATE_REGION | tee -a {}",
        file.display()
    ))
}

#[tokio::test]
async fn a_cold_region_is_started_once_when_the_others_fail() {
    let cold = Cold::new(command("exit 9"), LONG);
    cold.plan(note(&cold.site), LONG);
    assert_eq!(cold.told(), [] as [Value; 0], "nobody needs it");
    cold.set_health("eu-west", Health::Unhealthy);
    let detail = cold.until_ended("started").await;
    assert!(detail.contains("shop us-east"), "{detail}");
    let told = cold.told();
    assert_eq!(told[0]["by"], "command");
    assert_eq!(
        told[0]["detail"],
        "0 % of what serves before it is usable, it starts below 50 %"
    );
    let counted =
        "tidegate_standby_starts_total{upstream=\"shop\",region=\"us-east\",result=\"started\"} 1";
    assert!(cold.site.has_metric(counted));
    assert_eq!(cold.starts(), 1);
    // Neither more bad news nor a reload start it again.
    for health in [Health::Degraded, Health::Unhealthy] {
        cold.set_health("eu-west", health);
        cold.plan(note(&cold.site), LONG);
        looked().await;
        assert_eq!(cold.told().len(), 2, "one start, begun and ended");
    }
    // It came up, went down again, and is needed: that is another need.
    let mut up = false;
    until("the next start", || {
        up = !up;
        let health = if up {
            Health::Healthy
        } else {
            Health::Unhealthy
        };
        cold.set_health("us-east", health);
        cold.starts() == 2
    })
    .await;
}

#[tokio::test]
async fn it_is_started_again_while_it_does_not_come_up() {
    let cold = Cold::new(command("exit 9"), SHORT);
    cold.plan(note(&cold.site), SHORT);
    cold.set_health("eu-west", Health::Unhealthy);
    until("three starts", || cold.starts() >= 3).await;
    cold.set_health("us-east", Health::Healthy);
}

#[tokio::test]
async fn a_starter_that_hangs_is_given_up_and_its_next_does_not_overlap() {
    let cold = Cold::new(command("exit 9"), SHORT);
    let lock = cold.file();
    // A second one at the same time would not get the lock.
    let script = format!("flock -n {0} sleep 1000 || echo overlap", lock.display());
    cold.plan(command(&script), SHORT);
    cold.set_health("eu-west", Health::Unhealthy);
    let (admin, _) = cold.site.admin().await;
    until("it hangs", || !cold.told().is_empty()).await;
    let starting = async || {
        let regions = ask(admin.address(), "GET", "/regions", &[]).await.json();
        [0, 1].map(|at| regions[at]["upstreams"][0]["starting"] == true)
    };
    let mut seen = starting().await;
    while !seen[1] {
        seen = starting().await;
    }
    assert!(!seen[0], "only the cold one");
    until("three ends", || cold.ended().len() >= 3).await;
    let given_up = ("timeout".to_owned(), "given up after 100ms".to_owned());
    assert!(
        cold.ended().iter().all(|end| *end == given_up),
        "{:?}",
        cold.ended()
    );
}

#[tokio::test]
async fn a_program_that_is_not_there_hurts_nobody() {
    let missing = plan::Starter::Command(Box::new(["/nowhere/start".into()]));
    let cold = Cold::new(missing, LONG);
    cold.set_health("eu-west", Health::Unhealthy);
    let detail = cold.until_ended("failed").await;
    assert!(detail.contains("/nowhere/start"), "{detail}");
}

/// Answers one request with `answer`; without one it keeps the client waiting. Returns the request.
async fn hook(listener: TcpListener, answer: Option<&str>) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"}") {
        let mut piece = [0; 1_024];
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&request));
        request.extend_from_slice(&piece[..read]);
    }
    match answer {
        Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
        None => ended(&mut stream).await,
    }
    String::from_utf8(request).unwrap()
}

async fn ended(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
}

async fn webhook(answer: Option<&str>, timeout: Duration) -> (String, (String, String)) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("http://{address}/start?token=7");
    let cold = Cold::new(plan::Starter::Webhook(url.into()), timeout);
    cold.set_health("eu-west", Health::Unhealthy);
    let request = hook(listener, answer).await;
    until("the end", || !cold.ended().is_empty()).await;
    (request, cold.ended().remove(0))
}

#[tokio::test]
async fn a_webhook_is_told_what_to_start() {
    let (request, end) = webhook(
        Some("HTTP/1.1 202 Accepted\r\ncontent-length: 3\r\n\r\nyes"),
        LONG,
    )
    .await;
    assert!(
        request.starts_with("POST /start?token=7 HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains("content-type: application/json\r\n"),
        "{request}"
    );
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({ "upstream": "shop", "region": "us-east" })
    );
    assert_eq!(end, ("started".into(), "answered 202 Accepted: yes".into()));
}

#[tokio::test]
async fn a_webhook_that_fails_floods_or_hangs_is_told() {
    let check = async |answer: Option<&str>, timeout, result: &str, detail: &str| {
        let (_, (is, told)) = webhook(answer, timeout).await;
        assert_eq!((&*is, told.contains(detail)), (result, true), "{told}");
    };
    let busy = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\r\nno quota";
    check(
        Some(busy),
        LONG,
        "failed",
        "answered 503 Service Unavailable: no quota",
    )
    .await;
    let moved = "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
    check(Some(moved), LONG, "failed", "302").await;
    check(Some("nonsense\r\n\r\n"), LONG, "failed", "no answer").await;
    let flood = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}",
        "x".repeat(100_000)
    );
    check(Some(&flood), LONG, "started", "xxx").await;
    check(None, SHORT, "timeout", "given up").await;
}

#[tokio::test]
async fn a_webhook_that_cannot_be_reached_is_told() {
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let url = format!("http://{gone}/");
    let cold = Cold::new(plan::Starter::Webhook(url.into()), LONG);
    cold.set_health("eu-west", Health::Unhealthy);
    let detail = cold.until_ended("failed").await;
    assert!(detail.contains("cannot connect"), "{detail}");
}
