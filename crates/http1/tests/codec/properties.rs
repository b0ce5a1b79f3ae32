//! What holds for every stream of bytes.

use bytes::{BufMut, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_http1::{Limits, RequestContext, encode};

use super::transcript::{self, End};
use super::{differential, generated};

/// Small enough that generated streams run into every one of them.
const SMALL: Limits = Limits {
    head_bytes: 200,
    fields: 5,
    target_bytes: 8,
    chunk_line_bytes: 8,
    chunk_extension_bytes: 10,
    trailer_bytes: 24,
};

/// At least `cases`; `PROPTEST_CASES` asks for more.
fn config(cases: u32) -> ProptestConfig {
    let base = ProptestConfig::default();
    ProptestConfig {
        cases: base.cases.max(cases),
        failure_persistence: None,
        ..base
    }
}

fn contexts() -> impl Strategy<Value = RequestContext> {
    any::<[bool; 3]>().prop_map(|[head_request, connect, upgrade]| RequestContext {
        head_request,
        connect,
        upgrade,
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    let any = (
        0..300_usize,
        0..9_usize,
        0..20_usize,
        0..20_usize,
        0..20_usize,
        0..40_usize,
    );
    let any = any.prop_map(|(head, fields, target, line, extension, trailer)| Limits {
        head_bytes: head,
        fields,
        target_bytes: target,
        chunk_line_bytes: line,
        chunk_extension_bytes: extension,
        trailer_bytes: trailer,
    });
    prop_oneof![Just(Limits::default()), Just(SMALL), any]
}

proptest! {
    #![proptest_config(config(2048))]

    #[test]
    fn any_split_of_requests_gives_the_same_events(
        bytes in generated::request_stream(), cuts in generated::cuts(), limits in limits(),
    ) {
        let whole = transcript::requests([&bytes[..]], &limits);
        let split = transcript::requests(generated::pieces(&bytes, &cuts), &limits);
        prop_assert_eq!(&whole, &split);
        prop_assert_eq!(whole, transcript::requests(bytes.chunks(1), &limits));
    }

    #[test]
    fn any_split_of_answers_gives_the_same_events(
        bytes in generated::response_stream(), cuts in generated::cuts(),
        context in contexts(), limits in limits(),
    ) {
        let whole = transcript::responses([&bytes[..]], context, &limits);
        let split = transcript::responses(generated::pieces(&bytes, &cuts), context, &limits);
        prop_assert_eq!(&whole, &split);
        prop_assert_eq!(whole, transcript::responses(bytes.chunks(1), context, &limits));
    }

    #[test]
    fn noise_is_refused_or_waited_for(bytes in vec(any::<u8>(), 0..600), cut in 1..50_usize) {
        let requests = transcript::requests(bytes.chunks(cut), &SMALL);
        let context = RequestContext::default();
        let responses = transcript::responses(bytes.chunks(cut), context, &SMALL);
        for transcript in [requests, responses] {
            prop_assert!(transcript.messages.is_empty());
            let waits = bytes.len() < SMALL.head_bytes;
            prop_assert!(waits || transcript.end != End::Open);
        }
    }

    #[test]
    fn noise_after_a_chunked_head_never_breaks_its_bounds(
        noise in vec(prop_oneof![any::<u8>(), proptest::sample::select(&b"0123af;=\"\r\n \t:x"[..])], 0..300),
        cut in 1..50_usize,
    ) {
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        let bytes = [head, noise].concat();
        let whole = transcript::requests([&bytes[..]], &SMALL);
        prop_assert_eq!(whole, transcript::requests(bytes.chunks(cut), &SMALL));
    }

    #[test]
    fn what_is_encoded_is_decoded(
        pieces in vec(vec(any::<u8>(), 1..300), 0..6),
        trailers in vec(("[a-z]{1,8}-x", "[!-~]{0,9}"), 0..4),
        cuts in generated::cuts(),
    ) {
        let mut out = BytesMut::new();
        encode::request_line(&mut out, &http::Method::PUT, b"/up?load");
        encode::field(&mut out, b"Host", b"a");
        encode::chunked(&mut out);
        encode::end(&mut out);
        for piece in &pieces {
            encode::chunk_head(&mut out, piece.len());
            out.put_slice(piece);
            encode::chunk_end(&mut out);
        }
        let lines = trailers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        encode::last_chunk(&mut out, lines);
        let read = transcript::requests(generated::pieces(&out, &cuts), &Limits::default());
        prop_assert_eq!((read.end, read.messages.len()), (End::Open, 1));
        let message = &read.messages[0];
        prop_assert_eq!(&message.start, "PUT  /up?load");
        prop_assert_eq!(&message.body, &pieces.concat());
        let sent = trailers.into_iter().map(|(name, value)| (name, value.into_bytes()));
        prop_assert_eq!(&message.trailers, &transcript::sorted(sent.collect()));
    }
}

proptest! {
    #![proptest_config(config(1024))]

    #[test]
    fn requests_mean_the_same_to_hyper(bytes in generated::request_stream()) {
        differential::request(&bytes);
    }

    #[test]
    fn answers_mean_the_same_to_hyper(
        choice in any::<u8>(), bytes in generated::response_stream(),
    ) {
        differential::response(&[vec![choice], bytes].concat());
    }
}
