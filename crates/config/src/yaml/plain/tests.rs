use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_saphyr::options::DuplicateKeyPolicy;

use super::*;
use crate::yaml::parse::read;

/// A tree as text; whether a scalar is borrowed makes no difference.
fn show(node: &Node<'_>) -> String {
    format!("{node:#?}")
}

/// What is read the fast way is what the full reader reads. Whether it was read.
fn check(text: &str) -> bool {
    let Some(fast) = parse(text) else {
        return false;
    };
    let full = read(text, DuplicateKeyPolicy::Error);
    let full = full.unwrap_or_else(|error| panic!("only the fast way reads\n{text}\n{error}"));
    let (fast, full) = (show(&fast), show(&full));
    let differ = fast
        .lines()
        .zip(full.lines())
        .find(|(fast, full)| fast != full);
    assert!(fast == full, "{differ:?} in\n{text}");
    true
}

#[test]
fn what_configurations_are_made_of_is_read() {
    let table = [
        "a: 1\n",
        "a: 1",
        "\n# first\n\na: 1 # one\n\n# last",
        "a:\n  b: c\n  d:\n    e: f\ng: h\n",
        "  a: b\n  c: d\n",
        "a:\n- b\n- c\nd: e\n",
        "a:\n  - b\n  - c: d\n    e: f\n  -   g: h\n      i: j\n  -\n    k: l\n",
        "a: []\nb: {}\nc: [ ]\nd: { }\n",
        "a: [b, \"c d\", 'e', {f: g}, [h]]\nb: { c: [d], e: { f: 1 } }\n",
        "a: [\n    b, # one\n\n    # two\n    c\n  ]\nd: {\n  e: f,\n  g: h }\n",
        "a: \"x # y: z\"\nb: 'it is: #'\nc: \"\"\n",
        "a: /api/**\nb: { path: /x/**, host: h.example.com }\n",
        "a: 127.0.0.1:80\nb: 10s\nc: 50%\nd: 16MiB\ne: 10.0.0.0/8\nf: 2h\n",
        "a: 1.25\nb: -6.26\nc: -1\nd: 0\ne: [53.35, -6.26]\nf: 0.5\n",
        "a: true\nb: false\nc: off\nd: on\ne: yes\nf: no\ng: y\nh: n\n",
        "a: b  c   \nd: e#f # g\nh: http://x:1/y\n",
        "a-b_c.d: e\nn: x\ny: z\n",
        "# für alle\na: b\n",
    ];
    for text in table {
        assert!(check(text), "{text}");
    }
}

#[test]
fn what_is_rare_doubtful_or_wrong_is_left_to_the_full_reader() {
    let table = [
        "",
        "a",
        "- a\n",
        "{a: b}\n",
        "--- \na: b\n",
        "a: &x b\nc: *x\n",
        "a: !!str b\n",
        "a: |\n  b\n",
        "a: >\n  b\n",
        "a: b\n  c\n",
        "a: \"b\n  c\"\n",
        "a: \"\\n\"\n",
        "a: 'b''c'\n",
        "a:\tb\n",
        "a: b\r\n",
        "a: é\n",
        "a: b: c\n",
        "a: [b, c: d]\n",
        "a: [b,]\n",
        "a: {b}\n",
        "a: {b: }\n",
        "a: [b\nc]\n",
        "a: [b\n  c]\n",
        "a: [b # c\n  d]\n",
        "a: ~\n",
        "a:\n",
        "a: null\n",
        "a: True\n",
        "a: .5\n",
        "a: 0x10\n",
        "a: 010\n",
        "a: 1e5\n",
        "a: 1_000\n",
        "a: +1\n",
        "a: 12345678901234567890\n",
        "a: .nan\n",
        "a: 2001:db8::1\n",
        "a: 1\na: 2\n",
        "a: {b: 1, b: 2}\n",
        "a: 1\n b: 2\n",
        "a:\n  b: 1\n c: 2\n",
        "a:\n  - b\n c: d\n",
        "a: - b\n",
        "a:\n-\n  b: c\n",
        "a: - - b\n",
        "? a\n: b\n",
        "<<: {a: b}\n",
        "true: a\n",
        "1: a\n",
        "\"a\": b\n",
        "a : b\n",
        "a: b\n...\n",
        "%YAML 1.2\n---\na: b\n",
        "\u{feff}a: b\n",
        "a: [b] c\n",
        "a: \"b\" c\n",
        "a: \"b\"# c\n",
        "a: [b]# c\n",
    ];
    for text in table {
        assert!(parse(text).is_none(), "{text}");
    }
}

#[test]
fn bounds_hold() {
    let nested = |depth: usize| format!("a: {}{}\n", "[".repeat(depth), "]".repeat(depth));
    assert!(check(&nested(DEPTH_MAX)));
    assert!(!check(&nested(DEPTH_MAX + 1)));
    let key = |len: usize| format!("{}: b\n", "k".repeat(len));
    assert!(check(&key(KEY_BYTES_MAX)));
    assert!(!check(&key(KEY_BYTES_MAX + 1)));
    let keys = |last: &str| (0..100).map(|n| format!("k{n}: v\n")).collect::<String>() + last;
    assert!(check(&keys("")));
    assert!(!check(&keys("k7: v\n")));
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            found.push(path);
        }
    }
}

#[test]
fn every_configuration_at_hand_reads_the_same() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut fast) = (Vec::new(), 0);
    files(&root.join("tests/cases"), &mut found);
    files(&root.join("../../configs"), &mut found);
    for path in &found {
        // Some are not UTF-8 on purpose.
        let Ok(text) = std::fs::read_to_string(path) else {
            continue;
        };
        fast += usize::from(check(&text));
    }
    assert!(fast * 2 > found.len(), "{fast} of {}", found.len());
}

/// Pieces that meet in configurations, and those that turn one construct into another.
fn piece() -> impl Strategy<Value = String> {
    let pieces = [
        "a: ",
        "b:",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "-",
        "c",
        "1",
        "1.5",
        "10s",
        "\"x\"",
        "'y'",
        "[",
        "]",
        "{",
        "}",
        ", ",
        ",",
        ": ",
        ":",
        " ",
        "#",
        " # z",
        "true",
        "off",
        "/p/**",
        "&",
        "*",
        "!",
        "|",
        "é",
        "\t",
        "~",
        "?",
        "\\",
        "<<",
        "k: v\n",
        "l: {m: n}\n",
        "- o: p\n",
        "q:\n  r: s\n",
        "127.0.0.1:80",
        "-1",
        "0x1",
        "null",
    ];
    proptest::sample::select(pieces.to_vec()).prop_map(str::to_owned)
}

const SOUND: &str = "a:
  b: { c: 1, d: [x, \"y z\", 10s] }  # e
  f:
  - g: h
    i: /j/**
  - { k: l }
m: 127.0.0.1:80
n: 'o'
";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn random_pieces_read_the_same(pieces in prop::collection::vec(piece(), 1..12)) {
        check(&pieces.concat());
    }

    #[test]
    fn a_sound_text_with_something_put_in_reads_the_same(
        at in prop::collection::vec((0..SOUND.len(), piece(), 0..4_usize), 1..3),
    ) {
        let mut text = SOUND.to_owned();
        for (at, piece, drop) in at {
            let at = at.min(text.len());
            if let (true, Some(end)) = (text.is_char_boundary(at), text.get(at..).map(|rest| {
                at + rest.char_indices().nth(drop).map_or(rest.len(), |(at, _)| at)
            })) {
                text.replace_range(at..end, &piece);
            }
        }
        check(&text);
    }
}
