//! What one typical head costs: read from a connection's buffer, and written for the next hop.
//!
//! The allocation columns are the point as much as the time: parsing may only turn the read
//! buffer into a shared one and box the head, and writing into a warm buffer allocates nothing.

use bytes::BytesMut;
use divan::{AllocProfiler, Bencher, black_box};
use tidegate_http1::{
    Limits, RequestContext, RequestHead, ResponseHead, encode, parse_request, parse_response,
};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

const REQUEST: &[u8] = b"GET /api/v1/items/4711?expand=price&lang=en HTTP/1.1\r\n\
    Host: shop.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: application/json, text/plain, */*\r\n\
    Accept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
    X-Request-Id: 7f3c9a52-0d1e-4b8e-9a55-0a1b2c3d4e5f\r\n\
    Connection: keep-alive\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Date: Mon, 06 Jul 2026 08:49:37 GMT\r\n\
    Server: nginx\r\n\
    Content-Type: application/json; charset=utf-8\r\n\
    Content-Length: 1024\r\n\
    ETag: \"5f3c9a520d1e4b8e\"\r\n\
    Cache-Control: private, max-age=60\r\n\
    Vary: Accept-Encoding\r\n\
    X-Request-Id: 7f3c9a52-0d1e-4b8e-9a55-0a1b2c3d4e5f\r\n\r\n";

fn main() {
    divan::main();
}

fn request(buf: &mut BytesMut) -> Box<RequestHead> {
    let head = parse_request(buf, &Limits::default()).expect("valid");
    head.expect("complete")
}

fn response(buf: &mut BytesMut) -> Box<ResponseHead> {
    let head = parse_response(buf, RequestContext::default(), &Limits::default()).expect("valid");
    head.expect("complete")
}

#[divan::bench(sample_size = 100)]
fn request_parse(bencher: Bencher) {
    bencher
        .with_inputs(|| BytesMut::from(REQUEST))
        .bench_local_refs(request);
}

#[divan::bench(sample_size = 100)]
fn response_parse(bencher: Bencher) {
    bencher
        .with_inputs(|| BytesMut::from(RESPONSE))
        .bench_local_refs(response);
}

#[divan::bench]
fn request_encode(bencher: Bencher) {
    let head = request(&mut BytesMut::from(REQUEST));
    let mut out = BytesMut::with_capacity(4096);
    bencher.bench_local(|| {
        out.clear();
        let target = head.path_and_query().as_bytes();
        encode::request_line(&mut out, &head.method, target);
        for field in head.fields.iter().filter(|field| !field.hop_by_hop) {
            encode::field(&mut out, field.name, field.value);
        }
        encode::end(&mut out);
        black_box(out.len())
    });
}

#[divan::bench]
fn response_encode(bencher: Bencher) {
    let head = response(&mut BytesMut::from(RESPONSE));
    let mut out = BytesMut::with_capacity(4096);
    bencher.bench_local(|| {
        out.clear();
        encode::status_line(&mut out, head.status, Some(&head.reason));
        for field in head.fields.iter().filter(|field| !field.hop_by_hop) {
            encode::field(&mut out, field.name, field.value);
        }
        encode::end(&mut out);
        black_box(out.len())
    });
}

/// The tokeniser alone: the floor under `request_parse`.
#[divan::bench]
fn request_tokenise_only() -> usize {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let status = request.parse(black_box(REQUEST)).expect("valid");
    status.unwrap()
}
