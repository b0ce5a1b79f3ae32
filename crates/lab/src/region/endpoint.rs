//! The paths a region serves.
//!
//! A path is parsed once into a value with its numbers; a path that starts like one of ours and has a bad or
//! absurd number is answered 400, and every other path gets the same small JSON as `/`, so that any route of any
//! configuration has something to serve.

/// Largest body of `/bytes` and `/chunked`: 64 GiB.
const BYTES_MAX: u64 = 64 << 30;
/// Longest wait a path can ask for: 10 minutes.
const MILLIS_MAX: u64 = 600_000;
/// Most messages of `/grpc/stream`.
const MESSAGES_MAX: u64 = 1_000_000;

/// What a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/` and every path not listed here: JSON with region, method, path and the forwarding headers.
    Describe,
    /// `/bytes/{n}`: n bytes of content with length, entity tag and ranges.
    Bytes(u64),
    /// `/chunked/{n}`: the same bytes without a length or ranges.
    Chunked(u64),
    /// `/echo`: the request's body and trailers, as they arrive.
    Echo,
    /// `/sha256`: JSON with hash, length and trailers of the request's body.
    Sha256,
    /// `/status/{code}`: that status, 200 to 599, without content.
    Status(u16),
    /// `/slow/{ms}`: waits before the head.
    Slow(u64),
    /// `/slow-body/{n}/{ms}`: n bytes in pieces of 1 KiB with a pause between them.
    SlowBody(u64, u64),
    /// `/early`: answers without reading the request's body.
    Early,
    /// `/headers`: JSON list of the request's header fields.
    Headers,
    /// `/hints` or `/hints/{ms}`: 103, the wait, then 200. HTTP/1.1 only; 200 alone on HTTP/2.
    Hints(u64),
    /// `/ws`: WebSocket echo, by HTTP/1.1 upgrade or extended CONNECT.
    WebSocket,
    /// `/grpc/unary`: the request's messages back, then trailers.
    GrpcUnary,
    /// `/grpc/stream/{n}`: n messages, then trailers.
    GrpcStream(u64),
    /// `/grpc/status/{code}`: a trailers-only answer.
    GrpcStatus(u16),
    /// `/healthz`: 200 or 503.
    Health,
    /// One of ours with an argument that does not fit.
    Malformed,
}

impl Endpoint {
    /// Reads a request's path, without the query.
    #[must_use]
    pub fn parse(path: &str) -> Self {
        let mut parts = path.trim_start_matches('/').split('/');
        let head = parts.next().unwrap_or("");
        let arguments: Vec<&str> = parts.take(3).collect();
        let parsed = match head {
            "grpc" => grpc(&arguments),
            "status" => one(&arguments, 599)
                .filter(|code| *code >= 200)
                .map(narrow(Self::Status)),
            "bytes" => one(&arguments, BYTES_MAX).map(Self::Bytes),
            "chunked" => one(&arguments, BYTES_MAX).map(Self::Chunked),
            "slow" => one(&arguments, MILLIS_MAX).map(Self::Slow),
            "slow-body" => slow_body(&arguments),
            "hints" if arguments.is_empty() => Some(Self::Hints(0)),
            "hints" => one(&arguments, MILLIS_MAX).map(Self::Hints),
            _ => Some(Self::plain(head, &arguments)),
        };
        parsed.unwrap_or(Self::Malformed)
    }

    fn plain(head: &str, arguments: &[&str]) -> Self {
        match head {
            _ if !arguments.is_empty() => Self::Describe,
            "echo" => Self::Echo,
            "sha256" => Self::Sha256,
            "early" => Self::Early,
            "headers" => Self::Headers,
            "ws" => Self::WebSocket,
            "healthz" => Self::Health,
            _ => Self::Describe,
        }
    }

    /// The path class in the ledger: the path without its arguments.
    #[must_use]
    pub fn class(self) -> &'static str {
        match self {
            Self::Describe => "/",
            Self::Bytes(_) => "/bytes",
            Self::Chunked(_) => "/chunked",
            Self::Echo => "/echo",
            Self::Sha256 => "/sha256",
            Self::Status(_) => "/status",
            Self::Slow(_) => "/slow",
            Self::SlowBody(..) => "/slow-body",
            Self::Early => "/early",
            Self::Headers => "/headers",
            Self::Hints(_) => "/hints",
            Self::WebSocket => "/ws",
            Self::GrpcUnary => "/grpc/unary",
            Self::GrpcStream(_) => "/grpc/stream",
            Self::GrpcStatus(_) => "/grpc/status",
            Self::Health => "/healthz",
            Self::Malformed => "malformed",
        }
    }
}

fn grpc(arguments: &[&str]) -> Option<Endpoint> {
    match arguments {
        ["unary"] => Some(Endpoint::GrpcUnary),
        ["stream", rest @ ..] => one(rest, MESSAGES_MAX).map(Endpoint::GrpcStream),
        ["status", rest @ ..] => one(rest, 16).map(narrow(Endpoint::GrpcStatus)),
        _ => None,
    }
}

fn slow_body(arguments: &[&str]) -> Option<Endpoint> {
    let [bytes, millis] = arguments else {
        return None;
    };
    Some(Endpoint::SlowBody(
        number(bytes, BYTES_MAX)?,
        number(millis, MILLIS_MAX)?,
    ))
}

fn one(arguments: &[&str], max: u64) -> Option<u64> {
    let [only] = arguments else { return None };
    number(only, max)
}

fn number(text: &str, max: u64) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number <= max)
}

/// Makes an endpoint from a number that was checked to be small.
fn narrow(make: fn(u16) -> Endpoint) -> impl Fn(u64) -> Endpoint {
    move |number| u16::try_from(number).map_or(Endpoint::Malformed, make)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read() {
        let cases = [
            ("/", Endpoint::Describe),
            ("", Endpoint::Describe),
            ("/api/orders/7", Endpoint::Describe),
            ("/echo/more", Endpoint::Describe),
            ("/echo", Endpoint::Echo),
            ("/bytes/0", Endpoint::Bytes(0)),
            ("/bytes/68719476736", Endpoint::Bytes(BYTES_MAX)),
            ("/bytes/68719476737", Endpoint::Malformed),
            ("/bytes/+1", Endpoint::Malformed),
            ("/bytes/", Endpoint::Malformed),
            ("/bytes", Endpoint::Malformed),
            ("/bytes/1/2", Endpoint::Malformed),
            ("/chunked/5", Endpoint::Chunked(5)),
            ("/status/204", Endpoint::Status(204)),
            ("/status/101", Endpoint::Malformed),
            ("/status/600", Endpoint::Malformed),
            ("/slow/20", Endpoint::Slow(20)),
            ("/slow-body/10/2", Endpoint::SlowBody(10, 2)),
            ("/slow-body/10", Endpoint::Malformed),
            ("/hints", Endpoint::Hints(0)),
            ("/hints/9", Endpoint::Hints(9)),
            ("/grpc/unary", Endpoint::GrpcUnary),
            ("/grpc/stream/3", Endpoint::GrpcStream(3)),
            ("/grpc/status/14", Endpoint::GrpcStatus(14)),
            ("/grpc/status/17", Endpoint::Malformed),
            ("/grpc", Endpoint::Malformed),
            ("/healthz", Endpoint::Health),
        ];
        for (path, expected) in cases {
            assert_eq!(Endpoint::parse(path), expected, "{path}");
        }
    }
}
