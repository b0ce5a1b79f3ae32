//! HTTP/2 requests that would mean something else, or more than one thing, in HTTP/1.1. They are
//! written frame by frame, since no library would send them; not one may reach an upstream.

use tidegate_lab::RawUpstream;

use crate::harness::{H1, Rig, Setup, answering, patiently, raw};

/// Types of frames (RFC 9113 section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

type Fields<'a> = &'a [(&'a [u8], &'a [u8])];

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// A head with this first byte: `:status` 200, 204, 400 and others have one of their own
    /// (RFC 7541 appendix A).
    Answered(u8),
    Reset,
    Closed,
}

const OK: Fate = Fate::Answered(0x88);
const BAD_REQUEST: Fate = Fate::Answered(0x8c);

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Every field as a literal with a literal name (RFC 7541 section 6.2.2).
fn block(fields: Fields<'_>) -> Vec<u8> {
    let text = |text: &[u8]| [&[u8::try_from(text.len()).unwrap()], text].concat();
    fields
        .iter()
        .flat_map(|(name, value)| [vec![0], text(name), text(value)].concat())
        .collect()
}

/// Sends one request with these fields and, if there is one, this body.
async fn fate(rig: &Rig, fields: Fields<'_>, body: &[u8]) -> Fate {
    let mut client = H1::connect(rig.addr()).await;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    let last = if body.is_empty() { END_STREAM } else { 0 };
    bytes.extend(frame(HEADERS, END_HEADERS | last, 1, &block(fields)));
    if !body.is_empty() {
        bytes.extend(frame(DATA, END_STREAM, 1, body));
    }
    client.send(bytes).await;
    let fate = async {
        loop {
            let head = client.bytes(9).await;
            let Ok(head) = <[u8; 9]>::try_from(head) else {
                return Fate::Closed;
            };
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let payload = client.bytes(usize::try_from(length).unwrap()).await;
            match head[3] {
                HEADERS => return Fate::Answered(payload[0]),
                RST_STREAM => return Fate::Reset,
                GOAWAY => return Fate::Closed,
                _ => {}
            }
        }
    };
    patiently("a fate", fate).await
}

async fn upstream() -> (RawUpstream, Rig) {
    let ok = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let upstream = raw(vec![answering(ok)]).await;
    let rig = Setup::to(upstream.addr()).start();
    (upstream, rig)
}

const GET: [(&[u8], &[u8]); 3] = [
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":path", b"/"),
];
const AUTHORITY: (&[u8], &[u8]) = (b":authority", b"a.test");

fn with<'a>(fields: Fields<'a>) -> Vec<(&'a [u8], &'a [u8])> {
    [&GET[..], &[AUTHORITY], fields].concat()
}

#[tokio::test]
async fn nothing_is_smuggled_through_fields() {
    let (upstream, rig) = upstream().await;
    let cases: [Fields<'_>; 19] = [
        &[(b"x", b"a\r\nhost: b.test")],
        &[(b"x", b"a\nb")],
        &[(b"x", b"a\rb")],
        &[(b"x", b"a\0b")],
        &[(b"x\r\ny", b"a")],
        &[(b"x: y", b"a")],
        &[(b"x y", b"a")],
        &[(b"X", b"a")],
        &[(b"", b"a")],
        &[(b"connection", b"close")],
        &[(b"keep-alive", b"5")],
        &[(b"proxy-connection", b"close")],
        &[(b"transfer-encoding", b"chunked")],
        &[(b"upgrade", b"h2c")],
        &[(b"te", b"gzip")],
        &[(b"content-length", b"5")],
        &[(b"content-length", b"0"), (b"content-length", b"1")],
        &[(b"content-length", b"+0")],
        &[(b":method", b"POST")],
    ];
    for fields in cases {
        let fate = fate(&rig, &with(fields), b"").await;
        assert_ne!(fate, OK, "{:?}", fields.escape());
    }
    assert_eq!(upstream.connections(), 0);
    assert_eq!(
        fate(&rig, &with(&[(b"x", b"a")]), b"").await,
        OK,
        "the frames themselves are right"
    );
}

#[tokio::test]
async fn nothing_is_smuggled_through_the_target() {
    let (upstream, rig) = upstream().await;
    let target = |method, path, authority| {
        vec![
            (&b":method"[..], method),
            (&b":scheme"[..], &b"http"[..]),
            (&b":path"[..], path),
            (&b":authority"[..], authority),
        ]
    };
    let cases: [[&[u8]; 3]; 12] = [
        [b"GET / HTTP/1.1\r\nx: y", b"/", b"a.test"],
        [b"GET ", b"/", b"a.test"],
        [b"", b"/", b"a.test"],
        [b"GET", b"/ HTTP/1.1\r\nx: y", b"a.test"],
        [b"GET", b"/a b", b"a.test"],
        [b"GET", b"/\0", b"a.test"],
        [b"GET", b"x", b"a.test"],
        [b"GET", b"", b"a.test"],
        [b"GET", b"http://b.test/", b"a.test"],
        [b"GET", b"/", b"a.test\r\nx: y"],
        [b"GET", b"/", b"a.test/x"],
        [b"GET", b"/", b"a.test\"x"],
    ];
    for [method, path, authority] in cases {
        let fate = fate(&rig, &target(method, path, authority), b"").await;
        let what = [method, path, authority].map(|part| part.escape_ascii().to_string());
        assert_ne!(fate, OK, "{what:?}");
    }
    assert_eq!(upstream.connections(), 0);
    // The library cuts fragments off; what matters is that none goes on.
    assert_eq!(
        fate(&rig, &target(b"GET", b"/#x", b"a.test"), b"").await,
        OK
    );
    assert!(
        upstream
            .received(0)
            .unwrap()
            .starts_with(b"GET / HTTP/1.1\r\n")
    );
}

/// Without `:authority` the `Host` field names the authority, and is held to the same rules.
#[tokio::test]
async fn a_host_field_is_held_to_the_rules_of_an_authority() {
    let (upstream, rig) = upstream().await;
    let hosts: [Fields<'_>; 8] = [
        &[],
        &[(b"host", b"")],
        &[(b"host", b"a.test"), (b"host", b"a.test")],
        &[(b"host", b"user@a.test")],
        &[(b"host", b"a.test/x")],
        &[(b"host", b"a.test, b.test")],
        // It would end the quoted string in `Forwarded`, and say more there.
        &[(b"host", b"a\";for=192.0.2.1;x=\"")],
        &[(b"host", b"a.test"), AUTHORITY, (b"host", b"b.test")],
    ];
    for fields in hosts {
        let fields = [&GET[..], fields].concat();
        let fate = fate(&rig, &fields, b"").await;
        assert!(
            matches!(fate, BAD_REQUEST | Fate::Reset | Fate::Closed),
            "{fate:?} {}",
            fields.escape()
        );
    }
    assert_eq!(upstream.connections(), 0);
    let fields = [&GET[..], &[(b"host", b"a.test")]].concat();
    assert_eq!(fate(&rig, &fields, b"").await, OK);
}

/// A body and its length must agree, or it would go on in the next request.
#[tokio::test]
async fn a_body_and_its_length_agree() {
    let (upstream, rig) = upstream().await;
    let post = |length: &'static [u8]| {
        let mut fields = with(&[]);
        fields[0].1 = b"POST";
        fields.push((b"content-length", length));
        fields
    };
    for length in [&b"3"[..], b"10", b"0"] {
        let fate = fate(&rig, &post(length), b"hello").await;
        assert_ne!(fate, OK, "{}", length.escape_ascii());
    }
    for index in 0..upstream.connections() {
        let seen = upstream.received(index).unwrap();
        let whole = seen.windows(4).position(|window| window == b"\r\n\r\n");
        let body = whole.map_or(0, |at| seen.len() - at - 4);
        assert!(body < 5, "{}", seen.escape_ascii());
    }
    assert_eq!(fate(&rig, &post(b"5"), b"hello").await, OK);
}

trait Escape {
    fn escape(&self) -> String;
}

impl Escape for [(&[u8], &[u8])] {
    fn escape(&self) -> String {
        let pair = |(name, value): &(&[u8], &[u8])| {
            format!("{}: {}; ", name.escape_ascii(), value.escape_ascii())
        };
        self.iter().map(pair).collect()
    }
}
