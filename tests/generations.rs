//! Generations outlive the process: they are numbered on, gone back to, and what crashes or is no good
//! leaves its place to the last good one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tidegate_lab::World;

use crate::harness::{Config, Finished, Tidegate, ask, tidegate as run, until};

/// A configuration and a state directory that outlive processes.
struct Site {
    world: World,
    place: TempDir,
}

impl Site {
    async fn new() -> Self {
        let world = World::builder().region("eu-west", Duration::from_millis(1));
        Self {
            world: world.start().await.unwrap(),
            place: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self) -> PathBuf {
        self.place.path().join("tidegate.yaml")
    }

    fn state(&self) -> PathBuf {
        self.place.path().join("state")
    }

    /// A configuration that only knows this path.
    fn only(&self, path: &str) -> String {
        let route = format!("  - {{ match: {{ path: {path} }}, upstream: shop }}\n");
        Config::of(&self.world).routes(&route).yaml()
    }

    fn save(&self, text: &str) {
        let new = self.place.path().join("new.yaml");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }

    async fn start(&self) -> Tidegate {
        let state: &Path = &self.state();
        let directory = tempfile::tempdir().unwrap();
        Tidegate::start_with(directory, &self.file(), &[("STATE_DIRECTORY", state)]).await
    }

    /// With this configuration, ended in good order: it has proven itself.
    async fn has_served(&self, path: &str) {
        self.save(&self.only(path));
        end(self.start().await).await;
    }
}

async fn end(mut tidegate: Tidegate) {
    tidegate.signal(Signal::TERM);
    assert!(tidegate.ended().await.success());
}

/// Which of these paths is served; exactly one is.
async fn serves(tidegate: &Tidegate, paths: &[&'static str]) -> &'static str {
    let mut served = Vec::new();
    for path in paths {
        if ask(tidegate.http(), Method::GET, path).await.status == StatusCode::OK {
            served.push(*path);
        }
    }
    assert_eq!(served.len(), 1, "{served:?}");
    served[0]
}

async fn generations(tidegate: &Tidegate) -> Value {
    tidegate.admin_get("/generations").await.json()
}

fn numbers(generations: &Value) -> Vec<u64> {
    let history = generations["history"].as_array().unwrap();
    let numbers = history
        .iter()
        .map(|entry| entry["generation"].as_u64().unwrap());
    numbers.collect()
}

/// Runs a command against the process, with an author.
fn tell(tidegate: &Tidegate, arguments: &[&str]) -> Finished {
    let admin = tidegate.admin().to_string();
    run([arguments, &["--admin", &admin, "--author", "ann@edge"]].concat())
}

#[tokio::test]
async fn a_rollback_holds_until_somebody_wants_otherwise() {
    let site = Site::new().await;
    site.save(&site.only("/a"));
    let tidegate = site.start().await;
    site.save(&site.only("/b"));
    let reloaded = tell(&tidegate, &["reload", "--reason", "b is better"]);
    assert_eq!(reloaded.code, 0, "{}", reloaded.stderr);
    assert!(
        reloaded.stdout.starts_with("generation 2 serves (content "),
        "{}",
        reloaded.stdout
    );
    assert_eq!(serves(&tidegate, &["/a", "/b"]).await, "/b");

    let back = tell(&tidegate, &["rollback", "--reason", "b fails"]);
    assert_eq!(back.code, 0, "{}", back.stderr);
    assert!(
        back.stdout.contains("it is generation 1 again"),
        "{}",
        back.stdout
    );
    assert_eq!(serves(&tidegate, &["/a", "/b"]).await, "/a");
    let told = generations(&tidegate).await;
    assert_eq!(
        (told["serving"].as_u64(), numbers(&told)),
        (Some(3), vec![3, 2, 1])
    );
    assert_eq!(told["history"][0]["restores"], 1);
    assert_eq!(told["history"][1]["fate"]["kind"], "rolled_back");
    assert_eq!(told["history"][1]["fate"]["by"]["reason"], "b fails");
    assert_eq!(told["history"][1]["who"], "ann@edge");
    assert_eq!(told["instead_of_file"]["why"], "rolled_back");
    assert_eq!(tidegate.events("rolled_back").await[0]["who"], "ann@edge");
    let metrics = tidegate.metrics().await;
    assert_eq!(
        metrics.sum("tidegate_rollbacks_total", &[("why", "operator")]),
        1
    );

    // The same content in a new file brings nothing back.
    site.save(&format!("# touched\n{}", site.only("/b")));
    until("the file was looked at", || async {
        tidegate.status().await["last_reload"]["verdict"] == "withheld"
    })
    .await;
    assert_eq!(serves(&tidegate, &["/a", "/b"]).await, "/a");

    // Nor does a restart, however the process ended; the number stays as well.
    drop(tidegate);
    let tidegate = site.start().await;
    assert_eq!(serves(&tidegate, &["/a", "/b"]).await, "/a");
    let told = generations(&tidegate).await;
    assert_eq!(
        (told["serving"].as_u64(), numbers(&told)),
        (Some(3), vec![3, 2, 1])
    );
    let event = tidegate.events("file_withheld").await.remove(0);
    assert_eq!(event["why"], "rolled_back", "{event}");
    assert!(
        event["detail"].as_str().unwrap().contains("b fails"),
        "{event}"
    );

    // Whoever asks gets the file, and a restart then serves it.
    assert_eq!(tell(&tidegate, &["reload"]).code, 0);
    assert_eq!(serves(&tidegate, &["/a", "/b"]).await, "/b");
    assert_eq!(generations(&tidegate).await["instead_of_file"], Value::Null);
    drop(tidegate);
    let tidegate = site.start().await;
    assert_eq!(serves(&tidegate, &["/a", "/b"]).await, "/b");
    assert_eq!(generations(&tidegate).await["serving"], 4);
}

/// A file that says something new is served, also after a rollback.
#[tokio::test]
async fn a_changed_file_serves_after_a_rollback() {
    let site = Site::new().await;
    site.has_served("/a").await;
    site.has_served("/b").await;
    let tidegate = site.start().await;
    assert_eq!(tell(&tidegate, &["rollback", "1"]).code, 0);
    assert_eq!(serves(&tidegate, &["/a", "/b", "/c"]).await, "/a");
    site.save(&site.only("/c"));
    until("the new file is served", || async {
        ask(tidegate.http(), Method::GET, "/c").await.status == StatusCode::OK
    })
    .await;
    drop(tidegate);
    let tidegate = site.start().await;
    assert_eq!(serves(&tidegate, &["/a", "/b", "/c"]).await, "/c");
}

#[tokio::test]
async fn what_cannot_be_gone_back_to_is_refused() {
    let site = Site::new().await;
    site.save(&site.only("/a"));
    let tidegate = site.start().await;
    let check = |arguments: &[&str], code: i32, words: &str| {
        let finished = tell(&tidegate, arguments);
        assert_eq!(finished.code, code, "{arguments:?}: {}", finished.stderr);
        assert!(
            finished.stderr.contains(words),
            "{arguments:?}: {}",
            finished.stderr
        );
    };
    check(&["rollback"], 1, "nothing before generation 1 is kept");
    check(
        &["rollback", "7"],
        1,
        "generation 7 is not kept; there are: 1",
    );
    let listed = tell_plain(&tidegate, &["generations"]);
    assert!(
        listed.stdout.contains("serving") && listed.stdout.contains("KEPT"),
        "{}",
        listed.stdout
    );
    assert_eq!(run(["rollback", "--admin", "127.0.0.1:1"]).code, 2);

    // What touches what only a restart changes is refused by name.
    site.save(&site.only("/b").replace("threads: 2", "threads: 3"));
    check(&["reload"], 1, "threads");
    // And problems are printed as `check` prints them.
    site.save(&site.only("/b").replace("retry:", "retri:"));
    let checked = run([Path::new("check"), &site.file()]);
    let reloaded = tell(&tidegate, &["reload"]);
    assert_eq!((reloaded.code, checked.code), (1, 1));
    assert_eq!(reloaded.stderr, checked.stderr);
    assert_eq!(serves(&tidegate, &["/a", "/b"]).await, "/a");
}

fn tell_plain(tidegate: &Tidegate, arguments: &[&str]) -> Finished {
    let admin = tidegate.admin().to_string();
    run([arguments, &["--admin", &admin]].concat())
}

/// What the process does not live through twice is left for what has served well.
#[tokio::test]
async fn what_crashes_at_the_start_is_left_after_two_tries() {
    let site = Site::new().await;
    site.has_served("/good").await;
    site.save(&site.only("/bad"));
    for _ in 0..2 {
        let tidegate = site.start().await;
        assert_eq!(serves(&tidegate, &["/good", "/bad"]).await, "/bad");
        // SIGKILL, before it has served for a while.
        drop(tidegate);
    }
    for _ in 0..2 {
        let tidegate = site.start().await;
        assert_eq!(serves(&tidegate, &["/good", "/bad"]).await, "/good");
        let told = generations(&tidegate).await;
        assert_eq!(told["instead_of_file"]["why"], "crashed", "{told}");
        let event = tidegate.events("file_withheld").await.remove(0);
        assert_eq!(event["why"], "crashed", "{event}");
        let said = tidegate.diagnostics();
        assert!(said.contains("did not live through two starts"), "{said}");
        end(tidegate).await;
    }
    // It changes, and gets its chance.
    site.save(&site.only("/better"));
    let tidegate = site.start().await;
    assert_eq!(
        serves(&tidegate, &["/good", "/bad", "/better"]).await,
        "/better"
    );
}

/// The last good generation is more than nothing.
#[tokio::test]
async fn a_file_that_is_no_good_at_the_start_leaves_its_place() {
    let site = Site::new().await;
    site.has_served("/a").await;
    let good = site.only("/b");
    for bad in [
        "",
        "listeners: [",
        &good[..good.len() / 2],
        &good.replace("retry:", "retri:"),
    ] {
        site.save(bad);
        let tidegate = site.start().await;
        assert_eq!(serves(&tidegate, &["/a", "/b"]).await, "/a");
        let told = generations(&tidegate).await;
        assert_eq!(told["instead_of_file"]["why"], "invalid", "{told}");
        assert_eq!(tidegate.events("file_withheld").await.len(), 1);
        end(tidegate).await;
    }
    std::fs::remove_file(site.file()).unwrap();
    end(site.start().await).await;
    site.save("listeners: [");
    let (file, state) = (site.file(), site.state());
    let strict = [
        "run".as_ref(),
        file.as_os_str(),
        "--strict".as_ref(),
        "--state".as_ref(),
    ];
    let refused = run(strict.into_iter().chain([state.as_os_str()]));
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    // It is mended while the other one serves.
    let tidegate = site.start().await;
    site.save(&good);
    until("the mended file is served", || async {
        ask(tidegate.http(), Method::GET, "/b").await.status == StatusCode::OK
    })
    .await;
}

/// Nothing in the state directory keeps a process from serving.
#[tokio::test]
async fn a_damaged_state_directory_stops_nothing() {
    let site = Site::new().await;
    site.has_served("/a").await;
    site.has_served("/b").await;
    let damage = |name: &str, bytes: &[u8]| {
        std::fs::write(site.state().join(name), bytes).unwrap();
    };
    damage("history.json", b"{");
    damage("starts.json", b"\xff\xfe");
    damage("generation-2.json", b"{\"tidegate_state\":1,\"name\":\"x\"");
    damage("history.json.writing", b"half");
    let tidegate = site.start().await;
    assert_eq!(serves(&tidegate, &["/a", "/b"]).await, "/b");
    let told = generations(&tidegate).await;
    assert_eq!(numbers(&told), [3, 1], "numbers go on: {told}");
    assert!(tidegate.events("state_problem").await.len() >= 3);
    assert!(site.state().join("history.json.aside").exists());
    assert_eq!(tell(&tidegate, &["rollback", "1"]).code, 0);
    assert_eq!(serves(&tidegate, &["/a", "/b"]).await, "/a");
    // Another process does not write between.
    let second = site.start().await;
    assert_eq!(generations(&second).await["state_dir"], Value::Null);
    assert_eq!(second.events("state_problem").await.len(), 1);
}

/// The process is killed while it writes, again and again; what it left is always whole.
#[tokio::test]
async fn a_kill_at_any_point_of_a_write_leaves_something_good() {
    let site = Site::new().await;
    site.has_served("/0").await;
    let mut last = 1;
    for round in 0..4_u64 {
        let tidegate = site.start().await;
        let told = generations(&tidegate).await;
        let serving = told["serving"].as_u64().unwrap();
        assert!(
            serving >= last,
            "numbers never go back: {serving} after {last}"
        );
        assert!(tidegate.events("state_problem").await.is_empty(), "{told}");
        let admin = tidegate.admin();
        let asking = tokio::spawn(async move { while ask_again(admin).await {} });
        for number in 0..6 {
            site.save(&site.only(&format!("/r{round}-{number}")));
            tokio::task::yield_now().await;
            last = tidegate.status().await["generation"].as_u64().unwrap();
        }
        drop(tidegate);
        asking.abort();
        let _ = asking.await;
        // A start that is killed twice would be left; this is not about that.
        end(site.start().await).await;
    }
}

async fn ask_again(admin: std::net::SocketAddr) -> bool {
    let Ok(stream) = tokio::net::TcpStream::connect(admin).await else {
        return false;
    };
    let request = format!("POST /reload HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
    let (mut read, mut write) = stream.into_split();
    let mut answer = Vec::new();
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    write.write_all(request.as_bytes()).await.is_ok()
        && read
            .read_to_end(&mut answer)
            .await
            .is_ok_and(|bytes| bytes > 0)
}

/// A plan under which requests fail goes again by itself, once.
#[tokio::test]
async fn a_plan_that_fails_goes_again_by_itself() {
    let site = Site::new().await;
    let limits = "rollback: { watch: 3s, min_requests: 20 }\n";
    let failing = "  - { match: { path: /a }, respond: { status: 503, body: no } }\n";
    let config = |routes: &str| {
        let config = Config::of(&site.world).routes(routes).yaml();
        format!("{limits}{config}")
    };
    site.save(&config("  - { match: { path: /a }, upstream: shop }\n"));
    let tidegate = site.start().await;
    let http = tidegate.http();
    let asking = tokio::spawn(async move {
        loop {
            ask(http, Method::GET, "/a").await;
        }
    });
    let requests = || async {
        let metrics = tidegate.metrics().await;
        metrics.sum("tidegate_request_terminations_total", &[])
    };
    until("requests were counted", || async { requests().await > 300 }).await;
    site.save(&config(failing));
    assert_eq!(tell(&tidegate, &["reload"]).code, 0);
    until("it was left", || async {
        !tidegate.events("rolled_back").await.is_empty()
    })
    .await;
    asking.abort();
    let _ = asking.await;
    assert_eq!(ask(http, Method::GET, "/a").await.status, StatusCode::OK);
    let told = generations(&tidegate).await;
    assert_eq!(told["serving"], 3, "{told}");
    assert_eq!(told["history"][0]["cause"], "automatic_rollback");
    let reason = told["history"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("of the requests failed since"), "{reason}");
    // It is counted once everything else of it is done.
    until("the rollback was counted", || async {
        let metrics = tidegate.metrics().await;
        metrics.sum("tidegate_rollbacks_total", &[("why", "errors")]) == 1
    })
    .await;
    let metrics = tidegate.metrics().await;
    assert_eq!(metrics.sum("tidegate_rollbacks_total", &[]), 1);
}
