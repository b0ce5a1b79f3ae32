//! An answer breaks off: it is continued from another place, byte for byte, or ends visibly; and the
//! books say which.

mod shelf;

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderName;
use serde_json::Value;
use tidegate_core::Health;
use tidegate_core::plan::Actions;
use tidegate_lab::{Mode, content};

use crate::harness::{Answer, Ask, Down, H1, HOST, Rig, Setup, nowhere, until, world};
use shelf::{Cut, Habit, MODIFIED, Seen, Server, Shelf};

const SIZE: usize = 200_000;
const OVERLAP: usize = 16 * 1024;
/// Client and upstream: HTTP/1.1 or HTTP/2 each.
const WAYS: [(Down, bool); 4] = [
    (Down::H1, false),
    (Down::H1, true),
    (Down::H2, false),
    (Down::H2, true),
];

fn file() -> Bytes {
    content::bytes(content::SEED, 0, SIZE)
}

/// Servers in regions `eu`, `us` and `ap`, the first preferred.
struct Places {
    servers: Vec<Server>,
    rig: Rig,
}

impl Places {
    async fn new(shelves: impl IntoIterator<Item = Shelf>, h2_up: bool) -> Self {
        Self::with(shelves, h2_up, |_| {}).await
    }

    async fn with(
        shelves: impl IntoIterator<Item = Shelf>,
        h2_up: bool,
        change: impl FnOnce(&mut Setup),
    ) -> Self {
        let mut servers = Vec::new();
        for shelf in shelves {
            servers.push(shelf.start(h2_up).await);
        }
        let addresses = servers.iter().map(Server::addr);
        let mut setup = Setup::new(["eu", "us", "ap"].into_iter().zip(addresses));
        setup.h2_up(h2_up);
        change(&mut setup);
        let rig = setup.start();
        Self { servers, rig }
    }

    async fn get(&self, down: Down) -> Answer {
        Ask::get("/file").send(down, self.rig.addr()).await
    }

    /// The one line of the log, once nothing is under way any more.
    async fn line(&self) -> Value {
        self.rig.until_idle().await;
        self.rig.log(1).await.remove(0)
    }

    fn resumes(&self, to: &str, result: &str) -> u64 {
        let labels = format!(r#"{{from="eu",to="{to}",result="{result}"}}"#);
        self.rig.metric(&format!("tidegate_resumes_total{labels}"))
    }

    fn rescued(&self, to: &str) -> u64 {
        let labels = format!(r#"{{from="eu",to="{to}",why="truncated"}}"#);
        self.rig
            .metric(&format!("tidegate_requests_rescued_total{labels}"))
    }

    fn errors(&self, region: &str) -> u64 {
        let tally = self.rig.board.region("shop", region).tally();
        tally.errors.iter().sum()
    }
}

/// How the attempts ended: `eu truncated`.
fn attempts(line: &Value) -> Vec<String> {
    let word = |attempt: &Value, name: &str| attempt[name].as_str().unwrap().to_owned();
    let attempts = line["attempts"].as_array().unwrap();
    let outcome = |attempt| word(attempt, "region") + " " + &word(attempt, "outcome");
    attempts.iter().map(outcome).collect()
}

fn assert_whole(answer: &Answer, expected: &[u8], what: &str) {
    assert!(answer.is_whole(), "{what}: {:?}", answer.end);
    assert_eq!(answer.body.len(), expected.len(), "{what}");
    assert!(answer.body == expected, "{what}: other bytes");
}

/// The client has the first bytes of the file, and sees that they are not all.
fn assert_cut(answer: &Answer, least: usize, what: &str) {
    assert!(!answer.is_whole(), "{what}: {} bytes", answer.body.len());
    assert!(answer.body.len() >= least.min(1), "{what}");
    assert!(file().starts_with(&answer.body), "{what}: spliced");
}

#[tokio::test]
async fn an_answer_that_ends_early_goes_on_in_another_region() {
    goes_on_elsewhere(Cut::Fin).await;
}

#[tokio::test]
async fn an_answer_that_is_reset_goes_on_in_another_region() {
    goes_on_elsewhere(Cut::Reset).await;
}

#[tokio::test]
async fn an_answer_that_stops_goes_on_in_another_region() {
    goes_on_elsewhere(Cut::Hole).await;
}

async fn goes_on_elsewhere(cut: Cut) {
    for (down, h2_up) in WAYS {
        let what = format!("{down:?} {h2_up} {cut:?}");
        let shelf = Shelf::of(&file());
        let places = Places::new([shelf.clone().cut(90_000, cut), shelf], h2_up).await;
        assert_whole(&places.get(down).await, &file(), &what);
        let line = places.line().await;
        assert_eq!(attempts(&line), ["eu truncated", "us answered"], "{what}");
        let told = (&line["reason"], &line["rescued"], &line["resumes"]);
        let expected = (&"completed".into(), &true.into(), &1.into());
        assert_eq!(told, expected, "{what} {line}");
        assert_eq!(line["bytes_out"], SIZE, "{what}");
        assert_eq!(line["attempts"][0]["phase"], "body_under_way", "{what}");
        assert_eq!(places.resumes("us", "resumed"), 1, "{what}");
        assert_eq!(places.rescued("us"), 1, "{what}");
        assert_eq!(places.errors("eu"), 1, "{what}: the region hears of it");
        assert_eq!(places.errors("us"), 0, "{what}");
        let [asked] = &places.servers[1].seen()[..] else {
            panic!("{what}: {:?}", places.servers[1].seen())
        };
        let first = line["attempts"][0]["bytes"].as_u64().unwrap() as usize - OVERLAP;
        let range = format!("bytes={first}-{}", SIZE - 1);
        assert_eq!(asked.range.as_deref(), Some(&*range), "{what}");
        assert_eq!(asked.if_range.as_deref(), Some("\"v1\""), "{what}");
        let given_up = usize::from(cut == Cut::Hole);
        until("the first to be cancelled", || {
            places.servers[0].given_up() == given_up
        })
        .await;
    }
}

/// What a route takes out of its clients' fields does not take out what we ask for ourselves.
#[tokio::test]
async fn a_route_that_takes_ranges_out_goes_on() {
    let mut actions = Actions::default();
    actions.request.remove = ["range", "if-range"].map(HeaderName::from_static).into();
    let shelf = Shelf::of(&file());
    let shelves = [shelf.clone().cut(90_000, Cut::Fin), shelf];
    let change = |setup: &mut Setup| setup.route().actions = Some(Arc::new(actions));
    let places = Places::with(shelves, false, change).await;
    assert_whole(&places.get(Down::H1).await, &file(), "whole");
    assert_eq!(places.resumes("us", "resumed"), 1);
}

#[tokio::test]
async fn wherever_it_breaks_off() {
    const LENGTH: usize = 40_000;
    let file = file().slice(..LENGTH);
    let edges = [
        0,
        1,
        2,
        OVERLAP - 1,
        OVERLAP,
        OVERLAP + 1,
        LENGTH - 2,
        LENGTH - 1,
    ];
    let cuts: Vec<_> = edges
        .into_iter()
        .chain((0..LENGTH).step_by(1_501))
        .collect();
    for (down, h2_up) in WAYS {
        let shelf = Shelf::of(&file);
        let broken = cuts
            .iter()
            .fold(shelf.clone(), |shelf, at| shelf.cut(*at, Cut::Fin));
        let places = Places::new([broken, shelf], h2_up).await;
        for at in &cuts {
            let answer = places.get(down).await;
            assert_whole(&answer, &file, &format!("{down:?} {h2_up} {at}"));
        }
        let log = places.rig.log(cuts.len()).await;
        let rescued = log.iter().filter(|line| line["rescued"] == true).count();
        assert_eq!(rescued, cuts.len(), "{down:?} {h2_up}");
    }
}

#[tokio::test]
async fn several_breaks_in_one_answer() {
    for (down, h2_up) in WAYS {
        let what = format!("{down:?} {h2_up}");
        let shelf = Shelf::of(&file());
        let eu = shelf.clone().cut(50_000, Cut::Fin).cut(40_000, Cut::Fin);
        let us = shelf.clone().cut(60_000, Cut::Fin).cut(45_000, Cut::Fin);
        let places = Places::new([eu, us], h2_up).await;
        assert_whole(&places.get(down).await, &file(), &what);
        let line = places.line().await;
        let expected = [
            "eu truncated",
            "us truncated",
            "eu truncated",
            "us truncated",
            "eu answered",
        ];
        assert_eq!(attempts(&line), expected, "{what}");
        let bytes = line["attempts"].as_array().unwrap().iter();
        let bytes: u64 = bytes
            .map(|attempt| attempt["bytes"].as_u64().unwrap())
            .sum();
        assert_eq!(bytes, SIZE as u64, "{what} {line}");
    }
}

#[tokio::test]
async fn a_region_that_has_not_failed_comes_before_those_that_have() {
    for (down, h2_up) in WAYS {
        let what = format!("{down:?} {h2_up}");
        let shelf = Shelf::of(&file());
        let eu = shelf.clone().cut(50_000, Cut::Fin).cut(40_000, Cut::Fin);
        let us = shelf.clone().cut(60_000, Cut::Fin).cut(45_000, Cut::Fin);
        let places = Places::new([eu, us, shelf], h2_up).await;
        assert_whole(&places.get(down).await, &file(), &what);
        let expected = ["eu truncated", "us truncated", "ap answered"];
        assert_eq!(attempts(&places.line().await), expected, "{what}");
    }
}

#[tokio::test]
async fn a_clients_own_range_goes_on() {
    for (down, h2_up) in WAYS {
        let what = format!("{down:?} {h2_up}");
        let shelf = Shelf::of(&file());
        let places = Places::new([shelf.clone().cut(70_000, Cut::Fin), shelf], h2_up).await;
        let ask = Ask::get("/file")
            .field("range", "bytes=1000-150000")
            .field("if-range", "\"v1\"")
            .field("if-none-match", "\"v0\"")
            .field("accept", "text/plain");
        let answer = ask.send(down, places.rig.addr()).await;
        assert_eq!(answer.status, 206, "{what}");
        assert_whole(&answer, &file()[1000..=150_000], &what);
        let line = places.line().await;
        let passed = line["attempts"][0]["bytes"].as_u64().unwrap() as usize;
        let asked = Seen {
            range: Some(format!("bytes={}-150000", 1000 + passed - OVERLAP)),
            if_range: Some("\"v1\"".to_owned()),
            if_none_match: None,
            accept: Some("text/plain".to_owned()),
        };
        assert_eq!(places.servers[1].seen(), [asked], "{what}");
    }
}

/// Servers that make tags of the length alone: only the bytes themselves tell.
#[tokio::test]
async fn other_bytes_under_the_same_tag_are_never_spliced() {
    let other: Bytes = file().iter().map(|byte| !byte).collect::<Vec<_>>().into();
    for (down, h2_up) in WAYS {
        // Over HTTP/2 an early end takes with it what came just before: then nothing was passed on, and
        // all of the other file would be no splice.
        for (at, cut) in [(1, Cut::Reset), (90_000, Cut::Fin), (90_000, Cut::Reset)] {
            let what = format!("{down:?} {h2_up} {at} {cut:?}");
            let shelf = Shelf::of(&file()).cut(at, cut);
            let places = Places::new([shelf, Shelf::of(&other)], h2_up).await;
            assert_cut(&places.get(down).await, 1, &what);
            let line = places.line().await;
            assert_eq!(attempts(&line), ["eu truncated", "us mismatch"], "{what}");
            assert_eq!(line["reason"], "upstream_truncated", "{what}");
            assert_eq!(line["why_not"], "other_bytes", "{what}");
            assert_eq!(places.resumes("us", "refused"), 1, "{what}");
            assert_eq!(places.rescued("us"), 0, "{what}");
        }
    }
}

#[tokio::test]
async fn a_place_that_has_something_else_does_not_go_on() {
    let habits = [
        (Habit::Whole, "no_part"),
        (Habit::Later, "other_start"),
        (Habit::Shorter, "other_end"),
        (Habit::Retagged, "other_version"),
        (Habit::Grown, "other_length"),
        (Habit::Coded, "other_coding"),
        (Habit::Status(404), "no_part"),
        (Habit::Status(412), "no_part"),
        (Habit::Status(416), "no_part"),
        (Habit::Status(503), "no_part"),
    ];
    for (down, h2_up) in WAYS {
        for (habit, why) in habits {
            let what = format!("{down:?} {h2_up} {habit:?}");
            let shelf = Shelf::of(&file());
            let eu = shelf.clone().cut(90_000, Cut::Fin).cut(0, Cut::Fin);
            let us = shelf.clone().habit(habit);
            let places = Places::with([eu, us], h2_up, |setup| setup.retry().attempts = 2).await;
            assert_cut(&places.get(down).await, 1, &what);
            let line = places.line().await;
            let second = refusal(habit);
            assert_eq!(attempts(&line), ["eu truncated", second], "{what}");
            for attempt in line["attempts"].as_array().unwrap() {
                assert!(attempt["detail"].is_string(), "{what} {line}");
            }
            assert_eq!(line["reason"], "upstream_truncated", "{what}");
            assert_eq!(line["why_not"], why, "{what}");
            assert_eq!(places.resumes("us", "refused"), 1, "{what}");
        }
    }
}

/// How the attempt ends that meets this habit.
fn refusal(habit: Habit) -> &'static str {
    match habit {
        Habit::Status(500..) => "us status",
        _ => "us mismatch",
    }
}

#[tokio::test]
async fn the_next_place_is_asked_when_one_has_something_else() {
    for habit in [
        Habit::Whole,
        Habit::Retagged,
        Habit::Status(404),
        Habit::Status(503),
    ] {
        let what = format!("{habit:?}");
        let shelf = Shelf::of(&file());
        let eu = shelf.clone().cut(90_000, Cut::Fin);
        let us = shelf.clone().habit(habit);
        let places = Places::new([eu, us, shelf], false).await;
        assert_whole(&places.get(Down::H1).await, &file(), &what);
        let line = places.line().await;
        let expected = ["eu truncated", refusal(habit), "ap answered"];
        assert_eq!(attempts(&line), expected, "{what}");
        assert!(!line.to_string().contains("residency"), "{what} {line}");
        assert_eq!(places.resumes("ap", "resumed"), 1, "{what}");
    }
}

#[tokio::test]
async fn a_place_that_cannot_be_reached_is_passed_over() {
    let shelf = Shelf::of(&file());
    let (eu, ap) = (shelf.clone().cut(90_000, Cut::Fin), shelf);
    let servers = vec![eu.start(false).await, ap.start(false).await];
    let addresses = [servers[0].addr(), nowhere().await, servers[1].addr()];
    let rig = Setup::new(["eu", "us", "ap"].into_iter().zip(addresses)).start();
    let places = Places { servers, rig };
    assert_whole(&places.get(Down::H1).await, &file(), "refused");
    let line = places.line().await;
    assert_eq!(
        attempts(&line),
        ["eu truncated", "us connect", "ap answered"]
    );
}

/// What has stopped may still come: it is left for another place only.
#[tokio::test]
async fn what_stops_waits_on_when_there_is_no_other_place() {
    let world = world(&["eu"]).await;
    let rig = Setup::world(&world).start();
    let link = &world.site("eu").unwrap().link;
    link.set_shape(tidegate_lab::link::Shape {
        bandwidth: Some(20_000_000),
        ..Default::default()
    });
    let addr = rig.addr();
    let asked = tokio::spawn(async move { Ask::get("/bytes/20000000").send(Down::H1, addr).await });
    until("the body to flow", || {
        link.stats().bytes_to_client > 100_000
    })
    .await;
    let cell = rig.board.region("shop", "eu");
    link.set(Mode::BlackHole).await.unwrap();
    cell.set_health(Health::Unhealthy);
    // Longer than a region that is out is waited for.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    cell.set_health(Health::Healthy);
    link.set(Mode::Up).await.unwrap();
    let answer = asked.await.unwrap();
    assert!(answer.is_whole(), "{:?}", answer.end);
    assert_eq!(
        content::first_difference(content::SEED, 0, &answer.body),
        None
    );
    assert_eq!(attempts(&rig.log(1).await[0]), ["eu answered"]);
}

/// Clients that do not read fill the window of a connection that they share with others: those wait,
/// and that is nobody's death.
#[tokio::test]
async fn who_waits_for_other_clients_is_not_moved() {
    // More than enough: what of its window a stream has not been given back yet it cannot fill.
    const UNREAD: usize = 10;
    let world = world(&["eu", "us"]).await;
    let mut setup = Setup::world(&world).one_thread();
    setup.h2_up(true);
    let rig = setup.start();
    let mut unread = Vec::new();
    for _ in 0..UNREAD {
        let mut client = H1::connect(rig.addr()).await;
        let head = format!(
            "GET /chunked/{} HTTP/1.1\r\nhost: {HOST}\r\n\r\n",
            1u64 << 32
        );
        client.send(head).await;
        client.head().await;
        unread.push(client);
    }
    let (addr, cell) = (rig.addr(), rig.board.region("shop", "eu"));
    let asked = loop {
        cell.set_health(Health::Healthy);
        let before = cell.tally().attempts();
        let ask = async move { Ask::get("/bytes/2000000").send(Down::H1, addr).await };
        let asked = tokio::spawn(ask);
        until("its head", || cell.tally().attempts() > before).await;
        cell.set_health(Health::Unhealthy);
        // Longer than a region that is out is waited for.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        assert_eq!(world.site("us").unwrap().link.stats().connections, 0);
        // The others have not filled the window yet if it was not held up.
        if !asked.is_finished() {
            break asked;
        }
    };
    // From here on only the machine holds it up, which a region that is out would be left for.
    cell.set_health(Health::Healthy);
    drop(unread);
    let answer = asked.await.unwrap();
    assert!(answer.is_whole(), "{:?}", answer.end);
    assert_eq!(
        content::first_difference(content::SEED, 0, &answer.body),
        None
    );
    let errors: u64 = cell.tally().errors.iter().sum();
    assert_eq!(errors, 0, "nothing is held against the region");
}

/// A single place may go on by itself.
#[tokio::test]
async fn the_same_place_is_asked_when_there_is_no_other() {
    let places = Places::new([Shelf::of(&file()).cut(90_000, Cut::Reset)], false).await;
    assert_whole(&places.get(Down::H1).await, &file(), "again");
    let line = places.line().await;
    assert_eq!(attempts(&line), ["eu truncated", "eu answered"]);
}

#[tokio::test]
async fn more_than_was_announced_is_never_passed_on() {
    for (down, h2_up) in WAYS {
        let what = format!("{down:?} {h2_up}");
        let shelf = Shelf::of(&file());
        let us = shelf.clone().habit(Habit::TooMuch);
        let places = Places::new([shelf.cut(90_000, Cut::Fin), us], h2_up).await;
        let answer = places.get(down).await;
        assert!(file().starts_with(&answer.body), "{what}");
        assert!(!answer.is_whole() || answer.body.len() == SIZE, "{what}");
        let line = places.line().await;
        assert_ne!(line["reason"], "completed", "{what}");
        assert_eq!(line["rescued"], false, "{what}");
    }
}

#[tokio::test]
async fn without_a_strong_validator_nothing_goes_on() {
    let shelves = [
        Shelf::of(&file()).tag(None),
        Shelf::of(&file()).tag(Some("W/\"v1\"")),
        Shelf::of(&file()).tag(Some("v1")),
        Shelf::of(&file()).field("etag", "\"v1\""),
        Shelf::of(&file()).field("accept-ranges", "none"),
        Shelf {
            modified: true,
            ..Shelf::of(&file()).tag(None)
        },
    ];
    for (at, shelf) in shelves.into_iter().enumerate() {
        for (down, h2_up) in [WAYS[0], WAYS[3]] {
            let what = format!("{at} {down:?} {h2_up}");
            let eu = shelf.clone().cut(90_000, Cut::Fin);
            let places = Places::new([eu, shelf.clone()], h2_up).await;
            assert_cut(&places.get(down).await, 1, &what);
            let line = places.line().await;
            assert_eq!(attempts(&line), ["eu truncated"], "{what}");
            assert!(places.servers[1].seen().is_empty(), "{what}");
        }
    }
}

#[tokio::test]
async fn dates_count_where_the_route_says_so() {
    let shelf = Shelf {
        modified: true,
        ..Shelf::of(&file()).tag(None)
    };
    for (down, h2_up) in WAYS {
        let what = format!("{down:?} {h2_up}");
        let shelves = [shelf.clone().cut(90_000, Cut::Fin), shelf.clone()];
        let by_date = |setup: &mut Setup| setup.route().resume.last_modified = true;
        let places = Places::with(shelves, h2_up, by_date).await;
        assert_whole(&places.get(down).await, &file(), &what);
        let asked = places.servers[1].seen();
        assert_eq!(asked[0].if_range.as_deref(), Some(MODIFIED), "{what}");
    }
}

#[tokio::test]
async fn routes_and_budgets_may_forbid_it() {
    type Change = fn(&mut Setup);
    let cases: [(Change, Value); 4] = [
        (
            |setup| setup.route().resume.enabled = false,
            "committed".into(),
        ),
        (|setup| setup.retry().attempts = 1, "attempts".into()),
        (
            |setup| {
                setup.retry().budget = 0.0;
                setup.retry().cross_region_budget = 0.0;
            },
            "budget".into(),
        ),
        (
            |setup| {
                let eu = tidegate_core::RegionIdx(0);
                setup.route().allowed = tidegate_core::RegionSet::from_iter([eu]);
                setup.retry().budget = 0.0;
            },
            "budget".into(),
        ),
    ];
    for (at, (change, why)) in cases.into_iter().enumerate() {
        let shelf = Shelf::of(&file());
        let shelves = [shelf.clone().cut(90_000, Cut::Fin), shelf];
        let places = Places::with(shelves, false, change).await;
        assert_cut(&places.get(Down::H1).await, 1, &at.to_string());
        let line = places.line().await;
        assert_eq!(attempts(&line), ["eu truncated"], "{at}");
        assert_eq!(line["why_not"], why, "{at}");
        assert!(places.servers[1].seen().is_empty(), "{at}");
    }
}

/// Places that break off after every few bytes have the attempts used up.
#[tokio::test]
async fn breaks_without_progress_end_it() {
    let shelf = Shelf::of(&file());
    let many = |shelf: Shelf| (0..40).fold(shelf, |shelf, _| shelf.cut(OVERLAP + 10, Cut::Fin));
    let eu = many(shelf.clone().cut(90_000, Cut::Fin));
    let places = Places::new([eu, many(shelf)], false).await;
    assert_cut(&places.get(Down::H1).await, 1, "no progress");
    let line = places.line().await;
    assert_eq!(
        attempts(&line),
        ["eu truncated", "us truncated", "eu truncated"]
    );
    assert_eq!(line["why_not"], "attempts");
}

/// What stops is left at once when its region is known to be out.
#[tokio::test]
async fn a_region_that_is_out_needs_no_patience() {
    for (down, h2_up) in WAYS {
        let what = format!("{down:?} {h2_up}");
        let shelf = Shelf::of(&file());
        let shelves = [shelf.clone().cut(90_000, Cut::Hole), shelf];
        let slow =
            |setup: &mut Setup| setup.route().idle_timeout = std::time::Duration::from_secs(3600);
        let places = Places::with(shelves, h2_up, slow).await;
        let addr = places.rig.addr();
        let asked = tokio::spawn(async move { Ask::get("/file").send(down, addr).await });
        let eu = places.rig.board.region("shop", "eu");
        until("the answer to begin", || eu.tally().attempts() == 1).await;
        eu.set_health(Health::Unhealthy);
        assert_whole(&asked.await.unwrap(), &file(), &what);
        let line = places.line().await;
        assert_eq!(attempts(&line), ["eu truncated", "us answered"], "{what}");
    }
}

/// A client that leaves while another place is being asked takes that attempt with it.
#[tokio::test]
async fn nobody_asks_on_for_a_client_that_has_gone() {
    for (down, h2_up) in WAYS {
        let what = format!("{down:?} {h2_up}");
        let shelf = Shelf::of(&file());
        let hole = shelf.clone().cut(0, Cut::Hole);
        let us = Shelf {
            habit: Habit::Book,
            ..hole
        };
        let places = Places::new([shelf.cut(90_000, Cut::Fin), us], h2_up).await;
        let addr = places.rig.addr();
        let asked = tokio::spawn(async move { Ask::get("/file").send(down, addr).await });
        until("the second to be asked", || {
            !places.servers[1].seen().is_empty()
        })
        .await;
        asked.abort();
        let line = places.line().await;
        assert_eq!(line["reason"], "client_gone", "{what}");
        assert_eq!(attempts(&line)[0], "eu truncated", "{what}");
        assert!(line["bytes_out"].as_u64().unwrap() > 0, "{what}");
        until("the second to be cancelled", || {
            places.servers[1].given_up() == 1
        })
        .await;
        assert_eq!(
            places.rig.total("tidegate_requests_lost_total"),
            0,
            "{what}"
        );
    }
}

/// More break off at once than there are tokens: those who find none wait for one.
#[tokio::test]
async fn what_cannot_be_paid_at_once_goes_on_later() {
    const MANY: usize = tidegate_core::budget::RESERVE as usize + 10;
    let shelf = Shelf::of(&file());
    let broken = (0..MANY).fold(shelf.clone(), |shelf, _| shelf.cut(90_000, Cut::Fin));
    let poor = |setup: &mut Setup| {
        setup.retry().cross_region_budget = 0.001;
        setup.retry().budget = 0.0;
    };
    let places = Places::with([broken, shelf], false, poor).await;
    let addr = places.rig.addr();
    let asks = (0..MANY).map(|_| async move { Ask::get("/file").send(Down::H1, addr).await });
    for answer in futures_util::future::join_all(asks).await {
        assert_whole(&answer, &file(), "late");
    }
    places.rig.until_idle().await;
    assert_eq!(places.resumes("us", "resumed"), MANY as u64);
}

/// Breaks of every kind at random bytes of random parts, until the attempts are used up or not: the
/// client has what it asked for, or the beginning of it and sees that.
#[tokio::test]
async fn whatever_happens_nothing_is_spliced() {
    const ROUNDS: usize = 60;
    let mut rng = fastrand::Rng::with_seed(11);
    for (down, h2_up) in WAYS {
        let shelf = Shelf::of(&file());
        let mut broken = || {
            (0..ROUNDS * 2).fold(shelf.clone(), |shelf, _| {
                shelf.cut(rng.usize(..SIZE), [Cut::Fin, Cut::Reset][rng.usize(..2)])
            })
        };
        let places = Places::new([broken(), broken(), broken()], h2_up).await;
        let mut whole = 0;
        for round in 0..ROUNDS {
            let (first, last) = (rng.usize(..SIZE / 2), rng.usize(SIZE / 2..SIZE));
            let range = format!("bytes={first}-{last}");
            let ask = Ask::get("/file").field("range", &*range);
            let answer = ask.send(down, places.rig.addr()).await;
            let what = format!("{down:?} {h2_up} {round} {range}");
            if answer.status == 206 {
                let expected = &file()[first..=last];
                assert!(expected.starts_with(&answer.body), "{what}: spliced");
                assert_eq!(
                    answer.is_whole(),
                    answer.body.len() == expected.len(),
                    "{what}"
                );
                whole += usize::from(answer.is_whole());
            }
        }
        assert!(whole > ROUNDS / 2, "{down:?} {h2_up}: {whole}");
        places.rig.until_idle().await;
    }
}

/// Many at once, on one connection each, through the same break.
#[tokio::test]
async fn a_region_that_dies_under_many_downloads_costs_none() {
    const MANY: usize = 50;
    for (down, h2_up) in WAYS {
        let shelf = Shelf::of(&file());
        let broken = (0..MANY).fold(shelf.clone(), |shelf, at| {
            let cut = [Cut::Fin, Cut::Reset][at % 2];
            shelf.cut(17_000 + at * 3_001, cut)
        });
        let places = Places::new([broken, shelf], h2_up).await;
        let addr = places.rig.addr();
        let asks = (0..MANY).map(|_| async move { Ask::get("/file").send(down, addr).await });
        for answer in futures_util::future::join_all(asks).await {
            assert_whole(&answer, &file(), &format!("{down:?} {h2_up}"));
        }
        places.rig.until_idle().await;
        assert_eq!(
            places.resumes("us", "resumed"),
            MANY as u64,
            "{down:?} {h2_up}"
        );
        assert_eq!(places.rig.total("tidegate_requests_lost_total"), 0);
    }
}
