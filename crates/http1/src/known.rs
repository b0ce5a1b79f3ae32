//! The field names that a proxy asks for, recognised once while a head is read.
//!
//! Afterwards a name is one byte, so that no rule and no policy compares strings per request.

macro_rules! known {
    ($($variant:ident = $name:literal,)+) => {
        /// A field name that the codec or the proxy gives a meaning to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Known {
            $(#[doc = concat!("`", $name, "`")] $variant,)+
            /// Any other name.
            Other,
        }

        impl Known {
            const ALL: &[Known] = &[$(Known::$variant,)+];

            /// The name in lower case; empty for [`Known::Other`].
            pub const fn name(self) -> &'static str {
                match self {
                    $(Known::$variant => $name,)+
                    Known::Other => "",
                }
            }
        }
    };
}

known! {
    AcceptRanges = "accept-ranges",
    Authorization = "authorization",
    CacheControl = "cache-control",
    Connection = "connection",
    ContentEncoding = "content-encoding",
    ContentLength = "content-length",
    ContentRange = "content-range",
    ContentType = "content-type",
    Cookie = "cookie",
    Date = "date",
    EndpointLoadMetrics = "endpoint-load-metrics",
    EndpointLoadMetricsBin = "endpoint-load-metrics-bin",
    ETag = "etag",
    Expect = "expect",
    Forwarded = "forwarded",
    GrpcRetryPushbackMs = "grpc-retry-pushback-ms",
    GrpcStatus = "grpc-status",
    GrpcTimeout = "grpc-timeout",
    Host = "host",
    IdempotencyKey = "idempotency-key",
    IfRange = "if-range",
    KeepAlive = "keep-alive",
    LastModified = "last-modified",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    ProxyConnection = "proxy-connection",
    Range = "range",
    RetryAfter = "retry-after",
    Server = "server",
    ServerTiming = "server-timing",
    SetCookie = "set-cookie",
    Te = "te",
    TidegateHealth = "tidegate-health",
    TidegateMirror = "tidegate-mirror",
    TidegateRegion = "tidegate-region",
    Traceparent = "traceparent",
    Trailer = "trailer",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    Via = "via",
    XEnvoyImmediateHealthCheckFail = "x-envoy-immediate-health-check-fail",
    XForwardedFor = "x-forwarded-for",
    XForwardedHost = "x-forwarded-host",
    XForwardedProto = "x-forwarded-proto",
    XRequestId = "x-request-id",
}

/// Every name at the slot that [`slot`] gives it, which no other name shares.
static BY_SLOT: [(Known, &[u8]); SLOTS] = by_slot();

const SLOTS: usize = 256;

impl Known {
    /// Recognises `name` in any case. What is no token is none of them.
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        let (known, lower) = BY_SLOT[slot(name)];
        if is_in_some_case(lower, name) {
            known
        } else {
            Self::Other
        }
    }

    /// Whether the field is for the next hop only (RFC 9110 section 7.6.1), whoever nominates it.
    /// `Trailer` is not: it announces fields that are forwarded.
    pub const fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyAuthenticate
                | Self::ProxyAuthorization
                | Self::ProxyConnection
                | Self::Te
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }

    /// Whether a `Connection` option may name this field. Nominating a field that frames, routes
    /// or authorises a message asks the proxy to remove what the next hop decides by.
    pub(crate) const fn may_be_nominated(self) -> bool {
        let framing = matches!(self, Self::TransferEncoding);
        matches!(self, Self::Other | Self::Trailer) || (self.is_hop_by_hop() && !framing)
    }

    /// Whether the field may not stand in a trailer section (RFC 9110 section 6.5.1).
    pub(crate) const fn is_forbidden_in_trailers(self) -> bool {
        self.is_hop_by_hop()
            || matches!(
                self,
                Self::Authorization
                    | Self::ContentEncoding
                    | Self::ContentLength
                    | Self::ContentRange
                    | Self::ContentType
                    | Self::Cookie
                    | Self::Expect
                    | Self::Forwarded
                    | Self::Host
                    | Self::IdempotencyKey
                    | Self::Range
                    | Self::Trailer
                    | Self::XForwardedFor
                    | Self::XForwardedHost
                    | Self::XForwardedProto
            )
    }

    /// The bit of this name in a set of names; `Other` has one too.
    pub(crate) const fn bit(self) -> u64 {
        1 << self as u8
    }
}

/// Whether `name` is `lower` in some case: by its first word and its last, which may overlap, and by those
/// between them.
#[inline]
fn is_in_some_case(lower: &[u8], name: &[u8]) -> bool {
    if lower.len() != name.len() {
        return false;
    }
    let (Some(lower_end), Some(name_end)) = (lower.last_chunk(), name.last_chunk()) else {
        return is_same_word(short(lower), short(name));
    };
    let same = |(lower, name): (&[u8; 8], &[u8; 8])| {
        is_same_word(u64::from_ne_bytes(*lower), u64::from_ne_bytes(*name))
    };
    let mut words = lower.as_chunks().0.iter().zip(name.as_chunks().0);
    same((lower_end, name_end))
        && words.next().is_none_or(same)
        && (lower.len() <= 16 || words.all(same))
}

/// Up to eight bytes as a word, different for different bytes of the same number.
#[inline]
fn short(bytes: &[u8]) -> u64 {
    let half = |half: Option<&[u8; 4]>| half.map(|bytes| u64::from(u32::from_ne_bytes(*bytes)));
    match (half(bytes.first_chunk()), half(bytes.last_chunk())) {
        (Some(start), Some(end)) => start << 32 | end,
        _ => bytes.iter().fold(0, |word, b| word << 8 | u64::from(*b)),
    }
}

/// Whether a word of a name is `lower` in some case. `lower` has only small letters and hyphens, and of
/// those the letters have [`LETTERS`]: no other byte passes for one of them.
#[inline]
fn is_same_word(lower: u64, name: u64) -> bool {
    name | ((lower & LETTERS) >> 1) == lower
}

/// In each byte the bit that letters have and hyphens do not; one bit below it is that of case.
const LETTERS: u64 = 0x4040_4040_4040_4040;

/// A hash of the length and of the first and last byte in lower case. The factor was searched for
/// so that no two known names meet; that is checked when this is compiled.
const fn slot(name: &[u8]) -> usize {
    let (Some(first), Some(last)) = (name.first(), name.last()) else {
        return 0;
    };
    let ends = (*first | 0x20).wrapping_mul(25).wrapping_add(*last | 0x20);
    ends.wrapping_add(name.len() as u8) as usize
}

const fn by_slot() -> [(Known, &'static [u8]); SLOTS] {
    let mut table: [(Known, &[u8]); SLOTS] = [(Known::Other, b""); SLOTS];
    let mut at = 0;
    while at < Known::ALL.len() {
        let name = Known::ALL[at].name().as_bytes();
        let entry = &mut table[slot(name)];
        assert!(
            entry.1.is_empty(),
            "two names share a slot: choose another factor"
        );
        *entry = (Known::ALL[at], name);
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case_and_nothing_else_is() {
        for &known in Known::ALL {
            assert_eq!(Known::of(known.name().as_bytes()), known);
            assert_eq!(
                Known::of(known.name().to_ascii_uppercase().as_bytes()),
                known
            );
            assert_eq!(
                Known::of(format!("{}x", known.name()).as_bytes()),
                Known::Other
            );
            assert!(crate::grammar::is_token(known.name().as_bytes()));
            for at in 0..known.name().len() {
                let mut name = known.name().as_bytes().to_vec();
                for b in 0..=255 {
                    name[at] = b;
                    let same = name.eq_ignore_ascii_case(known.name().as_bytes());
                    assert_eq!(Known::of(&name) == known, same, "{name:?}");
                }
            }
        }
        for name in [
            "",
            "x",
            "content_length",
            "hos",
            "a-name-of-no-special-meaning",
        ] {
            assert_eq!(Known::of(name.as_bytes()), Known::Other, "{name}");
        }
    }

    #[test]
    fn the_set_of_names_fits_its_bits() {
        assert!((Known::Other as u8) < 64);
    }
}
