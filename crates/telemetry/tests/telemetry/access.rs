//! Lines of the access log, read back by a JSON parser that is not ours.

use std::io::{self, Write};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime};

use http::StatusCode;
use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_core::decision::{Because, Exclusion};
use tidegate_core::retry::Phase;
use tidegate_core::{Generation, Termination};
use tidegate_telemetry::access::{
    AccessLog, AccessRecord, Acts, AttemptRecord, ConnectionWords, Excluded, Saving, TlsRecord,
    rfc3339,
};
use tidegate_telemetry::labels::{HedgeCause, Label, ReplayLost};
use tidegate_telemetry::{AttemptOutcome, Metrics};

static CONNECTION: LazyLock<ConnectionWords> = LazyLock::new(|| {
    let client = "[2001:db8::7]:40000".parse().unwrap();
    let tls = TlsRecord {
        sni: Some("shop.example.com"),
        alpn: Some("h2"),
        version: "TLSv1.3",
    };
    ConnectionWords::new(client, "https", Some(tls))
});

/// Calls `with` with a record that has everything: a rescued request.
pub(crate) fn full_record(at: SystemTime, with: impl FnOnce(&AccessRecord<'_>)) {
    let attempt = AttemptRecord {
        region: "eu-west",
        endpoint: "10.1.0.10:8080",
        because: Because::Nearest,
        phase: Phase::Connecting,
        outcome: AttemptOutcome::ConnectTimeout,
        status: None,
        connect: None,
        reused: false,
        took: Duration::from_millis(250),
        grpc: None,
        hedge: None,
        resume: false,
        bytes: None,
        detail: None,
    };
    let answered = AttemptRecord {
        region: "us-east",
        endpoint: "10.2.0.10:8080",
        because: Because::Farther,
        phase: Phase::BodyUnderWay,
        outcome: AttemptOutcome::Answered,
        status: Some(StatusCode::OK),
        connect: Some(Duration::from_micros(81_000)),
        reused: false,
        took: Duration::from_micros(163_042),
        ..attempt
    };
    with(&AccessRecord {
        at,
        id: b"0b5e7c1a9f",
        connection: &CONNECTION,
        protocol: "h2",
        method: "GET",
        host: b"shop.example.com",
        path: b"/api/items?token=secret",
        acts: Acts::default(),
        route: Some("api"),
        upstream: Some("shop"),
        generation: Generation(12),
        status: Some(StatusCode::OK),
        reason: Termination::Completed,
        bytes_in: 0,
        bytes_out: 1_024,
        duration: Duration::from_micros(413_500),
        ttfb: Some(Duration::from_micros(413_042)),
        rescued: true,
        saving: Saving::default(),
        attempts: &[attempt, answered],
        excluded: &[Excluded {
            region: "ap-south",
            why: Exclusion::Residency,
        }],
    });
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `write` leaves in the log.
fn written(write: impl FnOnce(&mut tidegate_telemetry::AccessWriter)) -> String {
    let memory = Memory::default();
    let log = AccessLog::to(memory.clone(), Metrics::new()).unwrap();
    write(&mut log.thread());
    drop(log);
    let bytes = memory.0.lock().unwrap().clone();
    String::from_utf8(bytes).expect("UTF-8")
}

/// The lines that `write` leaves in the log.
fn lines(write: impl FnOnce(&mut tidegate_telemetry::AccessWriter)) -> Vec<Value> {
    let text = written(write);
    assert!(text.ends_with('\n'));
    text.lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

#[test]
fn a_line_tells_the_whole_story() {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_225_599_120);
    let found = lines(|writer| full_record(at, |record| writer.write(record)));
    let expected = json!({
        "ts": "2025-12-31T23:59:59.120Z", "id": "0b5e7c1a9f",
        "client": "[2001:db8::7]:40000", "listener": "https", "protocol": "h2",
        "tls": { "sni": "shop.example.com", "alpn": "h2", "version": "TLSv1.3" },
        "method": "GET", "host": "shop.example.com", "path": "/api/items",
        "route": "api", "upstream": "shop", "generation": 12,
        "status": 200, "reason": "completed", "bytes_in": 0, "bytes_out": 1024,
        "duration_us": 413500, "ttfb_us": 413042, "rescued": true,
        "attempts": [
            { "region": "eu-west", "endpoint": "10.1.0.10:8080", "because": "nearest",
              "phase": "connecting", "outcome": "connect_timeout", "reused": false, "us": 250000 },
            { "region": "us-east", "endpoint": "10.2.0.10:8080", "because": "farther",
              "phase": "body_under_way", "outcome": "answered", "status": 200,
              "connect_us": 81000, "reused": false, "us": 163042 },
        ],
        "excluded": [{ "region": "ap-south", "why": "residency" }],
    });
    assert_eq!(found, [expected]);
}

/// What reads lines by eye or by `cut` relies on more than JSON promises.
#[test]
fn a_line_is_the_same_byte_for_byte() {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_225_599_120);
    let found = written(|writer| {
        full_record(at, |record| {
            writer.write(&AccessRecord {
                path: b"/a\"b\\c\x1f\xc3\xa9\xff",
                acts: Acts {
                    rewritten: Some(b"/new?x"),
                    delayed: true,
                    aborted: true,
                },
                saving: Saving {
                    replay_lost: Some(ReplayLost::TotalLimit),
                    gathered: true,
                    resumes: 1,
                    why_not: Some("no_candidate"),
                },
                ..record.clone()
            });
        });
    });
    let expected = [
        r#"{"ts":"2025-12-31T23:59:59.120Z","id":"0b5e7c1a9f","client":"[2001:db8::7]:40000","#,
        r#""listener":"https","protocol":"h2","#,
        r#""tls":{"sni":"shop.example.com","alpn":"h2","version":"TLSv1.3"},"#,
        r#""method":"GET","host":"shop.example.com","path":"/a\"b\\c\u001fé�","#,
        r#""rewritten":"/new","faults":["delay","abort"],"#,
        r#""route":"api","upstream":"shop","generation":12,"status":200,"reason":"completed","#,
        r#""bytes_in":0,"bytes_out":1024,"duration_us":413500,"ttfb_us":413042,"rescued":true,"#,
        r#""resumes":1,"gathered":true,"replay":"lost:total_limit","why_not":"no_candidate","#,
        r#""attempts":[{"region":"eu-west","endpoint":"10.1.0.10:8080","because":"nearest","#,
        r#""phase":"connecting","outcome":"connect_timeout","reused":false,"us":250000},"#,
        r#"{"region":"us-east","endpoint":"10.2.0.10:8080","because":"farther","#,
        r#""phase":"body_under_way","outcome":"answered","status":200,"connect_us":81000,"#,
        r#""reused":false,"us":163042}],"#,
        r#""excluded":[{"region":"ap-south","why":"residency"}]}"#,
        "\n",
    ];
    assert_eq!(found, expected.concat());
}

/// A download that broke twice, and was continued once.
#[test]
fn a_line_tells_why_a_request_was_saved_and_then_was_not() {
    let found = lines(|writer| {
        full_record(SystemTime::now(), |record| {
            let truncated = AttemptRecord {
                outcome: AttemptOutcome::Truncated,
                bytes: Some(70_000),
                hedge: Some(HedgeCause::Slow),
                ..record.attempts[1]
            };
            let resumed = AttemptRecord {
                hedge: None,
                resume: true,
                bytes: Some(30_000),
                grpc: Some(14),
                detail: Some("unexpected \"end\""),
                ..truncated
            };
            writer.write(&AccessRecord {
                rescued: false,
                saving: Saving {
                    replay_lost: Some(ReplayLost::TotalLimit),
                    gathered: true,
                    resumes: 1,
                    why_not: Some("no_candidate"),
                },
                attempts: &[truncated, resumed],
                ..record.clone()
            });
        });
    });
    let line = &found[0];
    let check = |value: &Value, expected: Value| assert_eq!(*value, expected, "{line}");
    check(&line["replay"], json!("lost:total_limit"));
    check(&line["gathered"], json!(true));
    check(&line["resumes"], json!(1));
    check(&line["why_not"], json!("no_candidate"));
    let [first, second] = [0, 1].map(|nth| &line["attempts"][nth]);
    check(&first["hedge"], json!("slow"));
    check(&first["bytes"], json!(70_000));
    check(&first["resume"], Value::Null);
    check(&second["hedge"], Value::Null);
    check(&second["resume"], json!(true));
    check(&second["bytes"], json!(30_000));
    check(&second["grpc"], json!(14));
    check(&second["detail"], json!("unexpected \"end\""));
}

#[test]
fn every_word_of_a_lost_replay_is_the_metrics_word() {
    for why in ReplayLost::ALL {
        let found = lines(|writer| {
            full_record(SystemTime::now(), |record| {
                let saving = Saving {
                    replay_lost: Some(*why),
                    ..Saving::default()
                };
                writer.write(&AccessRecord {
                    saving,
                    ..record.clone()
                });
            });
        });
        assert_eq!(found[0]["replay"], format!("lost:{}", why.word()));
    }
}

#[test]
fn long_fields_are_cut() {
    let path = [b'a'; 5_000];
    let found = lines(|writer| {
        full_record(SystemTime::now(), |record| {
            writer.write(&AccessRecord {
                path: &path,
                host: &path,
                ..record.clone()
            });
        });
    });
    let length = |field: &str| found[0][field].as_str().unwrap().chars().count();
    assert_eq!(
        (length("path"), length("host")),
        (2_049, 257),
        "the limit and an ellipsis"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_clients_send_a_line_is_json(
        host in prop::collection::vec(any::<u8>(), 0..300),
        path in prop::collection::vec(any::<u8>(), 0..3_000),
        id in any::<String>(),
        route in any::<String>(),
        millis in 0u64..200_000_000_000_000,
    ) {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        let found = lines(|writer| full_record(at, |record| {
            writer.write(&AccessRecord {
                host: &host, path: &path, id: id.as_bytes(), route: Some(&route), ..record.clone()
            });
        }));
        prop_assert_eq!(found.len(), 1, "a line stays one line");
        let seen = |field: &str| found[0][field].as_str().unwrap().to_owned();
        prop_assert_eq!(seen("ts"), rfc3339(at));
        if host.len() <= 256 {
            prop_assert_eq!(seen("host"), String::from_utf8_lossy(&host));
        }
        if id.len() <= 256 {
            prop_assert_eq!(seen("id"), id);
        }
        prop_assert!(!seen("path").contains('?'), "no query is logged");
        prop_assert!(seen("path").chars().count() <= 2_049);
    }
}
