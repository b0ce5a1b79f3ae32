//! How long a request may take: what its client gives it, what its route allows, and what an
//! upstream is told of that.
//!
//! A client says so in `grpc-timeout` (calls of gRPC only) or in the route's `deadline_header`, and
//! its time runs from its request's head. The route's `timeout` runs from the moment at which the
//! client's body is read, so that a slow uploader takes nothing from the upstream. Clients that the
//! listener trusts are believed, above the route's `timeout` too; everybody else waits no longer than
//! that for a head, and a call, whose time includes its streams, ends with `max_duration` where there
//! is one. Every attempt is
//! told anew what is left then, rounded down; with nothing left nothing is sent.
//!
//! A `grpc-timeout` that breaks its grammar is not heeded and passed on as it is: its server answers
//! that. A deadline header that is not understood goes no further. Both cost a request without them
//! one look at a set of bits.

use std::time::{Duration, Instant};

use http::HeaderName;
use tidegate_core::Termination;
use tidegate_core::plan::Route;
use tidegate_http1::Known;

use crate::attempt::EndedBy;
use crate::clock::now;
use crate::grpc::Dialect;
use crate::head::RequestHead;
use crate::pipeline::Serving;

/// No client's word counts for longer; clocks end, and `99999999H` would end beyond them.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The digits that `grpc-timeout` may have.
const DIGITS: usize = 8;

/// The units of `grpc-timeout` with their nanoseconds, finest first.
const UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

/// The time limits of one request.
#[derive(Debug)]
pub(crate) struct Allowance {
    given: Option<Given>,
    /// When the route's `max_duration` is over.
    whole: Option<Instant>,
    /// When the route's `timeout` is over; none until the request's body is read.
    route: Option<Instant>,
    grpc: bool,
    /// Its client reads trailers: those of gRPC-Web would have to be in the body.
    trailers: bool,
}

/// What a client gives its request, as far as it is believed.
#[derive(Clone, Copy, Debug)]
struct Given {
    until: Instant,
    /// It stands in the place of the route's `timeout`.
    instead: bool,
    /// `grpc-timeout` said so.
    call: bool,
    /// The deadline header said so, in this form.
    header: Option<Form>,
}

/// How a deadline header is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `1500`: whole milliseconds.
    Plain,
    /// `1500ms`: with a unit.
    Unit,
}

/// When an exchange must be over, both of its bodies included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) at: Instant,
    /// Its client speaks gRPC and can be told in trailers.
    pub(crate) grpc: bool,
}

/// What an attempt is told of the time that is left. Fields that it tells replace the client's.
#[derive(Debug, Default)]
pub(crate) struct Told<'a> {
    /// The value of `grpc-timeout`.
    pub(crate) call: Option<String>,
    /// The route's field, and its value unless there is none.
    pub(crate) header: Option<(&'a HeaderName, Option<String>)>,
}

impl Allowance {
    /// The limits of a request whose head arrived at `at`. `trusted`: its client is believed.
    #[inline(always)]
    pub(crate) fn new(
        head: &RequestHead,
        dialect: Option<Dialect>,
        route: &Route,
        trusted: bool,
        at: Instant,
    ) -> Self {
        let call = dialect.and_then(|_| call_timeout(head));
        let header = route.deadline_header.as_ref();
        let header = header.and_then(|name| header_timeout(value_of(head, name)?));
        let bound = match (trusted, dialect, route.max_duration) {
            (true, ..) => LONGEST,
            // It includes the streams, which nothing would bound without it either.
            (false, Some(_), whole) => whole.unwrap_or(LONGEST),
            (false, None, _) => route.timeout,
        };
        let times = [call, header.map(|(time, _)| time)];
        let given = times.into_iter().flatten().min().map(|time| Given {
            until: at + time.min(bound).min(LONGEST),
            instead: trusted,
            call: call.is_some(),
            header: header.map(|(_, form)| form),
        });
        Self {
            given,
            whole: route.max_duration.map(|whole| at + whole),
            route: None,
            grpc: dialect.is_some(),
            trailers: dialect == Some(Dialect::Grpc),
        }
    }

    /// The request's body is read: the route's `timeout` is over at `by`, unless it runs already.
    fn runs(&mut self, by: Instant) {
        self.route.get_or_insert(by);
    }

    /// Whether the route's `timeout` runs.
    fn is_running(&self) -> bool {
        self.route.is_some()
    }

    /// The limits of another request, for the rest of an answer that broke off, whose head must be
    /// there by `by`. What the client gave was for the first.
    pub(crate) fn for_the_rest(&self, by: Instant) -> Self {
        Self {
            given: None,
            route: Some(by),
            ..*self
        }
    }

    /// When the answer's head must be there, as far as is known by now.
    pub(crate) fn head_by(&self) -> Option<Instant> {
        let given = self.given.map(|given| given.until);
        let instead = self.given.is_some_and(|given| given.instead);
        let route = self.route.filter(|_| !instead);
        [given, self.whole, route].into_iter().flatten().min()
    }

    /// Whether the head must be there before the route's own time is over: missing that says nothing
    /// of an upstream.
    fn hurries(&self) -> bool {
        match (self.head_by(), self.route) {
            (Some(by), Some(route)) => by < route,
            (by, None) => by.is_some(),
            (None, Some(_)) => false,
        }
    }

    /// When the exchange must be over. Only a call's own time includes its streams.
    pub(crate) fn ends(&self) -> Option<Ends> {
        let call = self.given.filter(|_| self.grpc).map(|given| given.until);
        let at = [call, self.whole].into_iter().flatten().min()?;
        let grpc = self.trailers;
        Some(Ends { at, grpc })
    }

    /// What an attempt that is sent at `at` is told. None if no time is left.
    fn tell<'a>(&self, header: Option<&'a HeaderName>, at: Instant) -> Option<Told<'a>> {
        let Some(given) = self.given else {
            let header = header.map(|name| (name, None));
            return Some(Told { call: None, header });
        };
        let by = self.head_by().unwrap_or(given.until).min(given.until);
        // The head's limit is no limit of the streams that follow it.
        let call = self.ends().map_or(by, |ends| ends.at);
        let left = |until: Instant| until.saturating_duration_since(at);
        let written = |form| write_header(left(if self.grpc { call } else { by }), form);
        Some(Told {
            call: match given.call {
                true => Some(write_call(left(call))?),
                false => None,
            },
            header: match (header, given.header) {
                (Some(name), Some(form)) => Some((name, Some(written(form)?))),
                (name, _) => name.map(|name| (name, None)),
            },
        })
    }
}

impl Told<'_> {
    /// Whether a client's field goes no further because of what is told. Underscores count as
    /// hyphens, as CGI-like upstreams read them.
    pub(crate) fn replaces(&self, known: Known, name: &[u8]) -> bool {
        let is_it = |header: &HeaderName| {
            let same = |(own, its): (&u8, &u8)| match its {
                b'_' => *own == b'-' || *own == b'_',
                its => own.eq_ignore_ascii_case(its),
            };
            let own = header.as_str().as_bytes();
            own.len() == name.len() && own.iter().zip(name).all(same)
        };
        (known == Known::GrpcTimeout && self.call.is_some())
            || self
                .header
                .as_ref()
                .is_some_and(|(header, _)| is_it(header))
    }
}

impl Serving {
    /// The whole request was read by `at`: from then on its route's own time runs, unless it does
    /// already.
    pub(crate) fn time_runs(&mut self, at: Instant) {
        if !self.allowance.is_running() {
            self.allowance.runs(at + self.route().timeout);
            self.deadline = self.allowance.head_by();
        }
    }

    /// `at`, or the deadline if that is earlier.
    pub(crate) fn no_later(&self, at: Instant) -> Instant {
        self.deadline.map_or(at, |deadline| deadline.min(at))
    }

    /// Whether the answer's head comes too late by now.
    pub(crate) fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now())
    }

    /// Whether the time that the client gave, or that the whole exchange may take, is over.
    pub(crate) fn is_out_of_time(&self) -> bool {
        self.allowance.hurries() && self.is_late()
    }

    /// What the attempt that is sent now is told of the time that is left.
    ///
    /// # Errors
    /// None is left: nothing may be sent.
    pub(crate) fn tell_time(&self) -> Result<Told<'_>, EndedBy> {
        let header = self.route().deadline_header.as_ref();
        let told = self.allowance.tell(header, now());
        let told = told.filter(|_| !self.is_late());
        told.ok_or(EndedBy::Client(Termination::DeadlineExceeded))
    }
}

fn value_of<'a>(head: &'a RequestHead, name: &HeaderName) -> Option<&'a str> {
    match Known::of(name.as_str().as_bytes()) {
        Known::Other => head.field_named(name),
        known => head.field(known, name),
    }
}

/// What `grpc-timeout` says: up to eight digits and a unit.
fn call_timeout(head: &RequestHead) -> Option<Duration> {
    let name = HeaderName::from_static("grpc-timeout");
    parse_call(head.field(Known::GrpcTimeout, &name)?)
}

fn parse_call(value: &str) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    let (_, nanoseconds) = UNITS.iter().find(|(name, _)| name == unit)?;
    let count = parse_digits(digits).filter(|_| digits.len() <= DIGITS)?;
    let seconds = Duration::from_secs(nanoseconds / 1_000_000_000);
    Some(match seconds.is_zero() {
        true => Duration::from_nanos(count * nanoseconds),
        false => seconds.saturating_mul(u32::try_from(count).ok()?),
    })
}

/// In the finest unit that eight digits can say it in; none if nothing is left.
fn write_call(left: Duration) -> Option<String> {
    let nanoseconds = u64::try_from(left.as_nanos()).ok()?;
    let limit = 10u64.pow(DIGITS as u32);
    let (unit, length) = UNITS
        .iter()
        .find(|(_, length)| nanoseconds / length < limit)?;
    let count = nanoseconds / length;
    (count > 0).then(|| format!("{count}{}", char::from(*unit)))
}

fn header_timeout(value: &str) -> Option<(Duration, Form)> {
    match parse_digits(value.as_bytes()) {
        Some(milliseconds) => Some((Duration::from_millis(milliseconds), Form::Plain)),
        None => Some((parse_duration(value)?, Form::Unit)),
    }
}

/// A number, perhaps with a fraction, and its unit: `1.5s`.
fn parse_duration(value: &str) -> Option<Duration> {
    let number = value.trim_end_matches(|unit: char| unit.is_ascii_lowercase());
    let seconds = match &value[number.len()..] {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    parse_digits(whole.as_bytes())?;
    parse_digits(fraction.as_bytes())?;
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

/// None if less than a millisecond is left.
fn write_header(left: Duration, form: Form) -> Option<String> {
    let milliseconds = left.as_millis();
    (milliseconds > 0).then(|| match form {
        Form::Plain => milliseconds.to_string(),
        Form::Unit => format!("{milliseconds}ms"),
    })
}

/// A number of digits and nothing else.
fn parse_digits(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use tidegate_core::UpstreamIdx;
    use tidegate_core::route::RouteMatch;

    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_grpc_timeout_is_up_to_eight_digits_and_a_unit() {
        let check = |value, expected| assert_eq!(parse_call(value), expected, "{value}");
        check("1H", Some(seconds(3600)));
        check("2M", Some(seconds(120)));
        check("10S", Some(seconds(10)));
        check("1500m", Some(Duration::from_millis(1500)));
        check("7u", Some(Duration::from_micros(7)));
        check("99999999n", Some(Duration::from_nanos(99_999_999)));
        check("0S", Some(Duration::ZERO));
        check("00000001S", Some(seconds(1)));
        check("99999999H", Some(seconds(99_999_999 * 3600)));
        for malformed in [
            "",
            "S",
            "1",
            "1s",
            "1h",
            "-1S",
            "+1S",
            "1.5S",
            " 1S",
            "1S ",
            "1 S",
            "123456789S",
            "1SS",
            "é",
            "1é",
        ] {
            check(malformed, None);
        }
    }

    #[test]
    fn a_grpc_timeout_is_written_in_the_finest_unit_and_never_longer() {
        let check = |left: Duration, expected: Option<&str>| {
            let written = write_call(left);
            assert_eq!(written.as_deref(), expected, "{left:?}");
            let read = written.as_deref().and_then(parse_call).unwrap_or_default();
            assert!(read <= left, "{left:?}");
        };
        check(Duration::ZERO, None);
        check(Duration::from_nanos(1), Some("1n"));
        check(Duration::from_nanos(99_999_999), Some("99999999n"));
        check(Duration::from_nanos(100_000_999), Some("100000u"));
        check(Duration::from_millis(1999), Some("1999000u"));
        check(Duration::new(99, 999_999_999), Some("99999999u"));
        check(seconds(100), Some("100000m"));
        check(seconds(100_000), Some("100000S"));
        check(seconds(100_000_000), Some("1666666M"));
        check(LONGEST, Some("31536000S"));
    }

    #[test]
    fn a_deadline_header_is_milliseconds_or_has_a_unit() {
        let check = |value, expected| assert_eq!(header_timeout(value), expected, "{value}");
        check("1500", Some((Duration::from_millis(1500), Form::Plain)));
        check("0", Some((Duration::ZERO, Form::Plain)));
        check("250ms", Some((Duration::from_millis(250), Form::Unit)));
        check("2s", Some((seconds(2), Form::Unit)));
        check("1h", Some((seconds(3600), Form::Unit)));
        check("1.5s", Some((Duration::from_millis(1500), Form::Unit)));
        check("0.25m", Some((seconds(15), Form::Unit)));
        for malformed in [
            "",
            "-1",
            "+1",
            "1.5",
            "1 s",
            "1S",
            "soon",
            "99999999999999999999",
        ] {
            check(malformed, None);
        }
        let write = |left, form| write_header(left, form);
        assert_eq!(
            write(Duration::from_micros(1999), Form::Plain).as_deref(),
            Some("1")
        );
        assert_eq!(write(seconds(2), Form::Unit).as_deref(), Some("2000ms"));
        assert_eq!(write(Duration::from_micros(999), Form::Plain), None);
    }

    fn head(fields: &[(&str, &str)]) -> RequestHead {
        let mut request = Request::post("http://a.test/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        RequestHead::H2(Box::new(request.body(()).unwrap().into_parts().0))
    }

    fn route(timeout: u64, whole: Option<u64>) -> Route {
        Route {
            timeout: seconds(timeout),
            max_duration: whole.map(seconds),
            deadline_header: Some(HeaderName::from_static("x-left")),
            ..Route::new("all", RouteMatch::default(), UpstreamIdx(0))
        }
    }

    const GRPC: (&str, &str) = ("content-type", "application/grpc");

    /// Seconds from the head until the answer's head must be there, when the body was read after
    /// one; until the end; and whether the deadline is another than the route's own.
    fn check(
        fields: &[(&str, &str)],
        (timeout, whole): (u64, Option<u64>),
        trusted: bool,
        expected: (Option<u64>, Option<u64>, bool),
    ) {
        let (at, head) = (Instant::now(), head(fields));
        let route = route(timeout, whole);
        let mut allowance = Allowance::new(&head, Dialect::of(&head), &route, trusted, at);
        allowance.runs(at + seconds(1) + route.timeout);
        allowance.runs(at + seconds(1000));
        let since = |until: Instant| until.duration_since(at).as_secs();
        let found = (
            allowance.head_by().map(since),
            allowance.ends().map(|ends| since(ends.at)),
            allowance.hurries(),
        );
        assert_eq!(found, expected, "{fields:?} {timeout} {whole:?} {trusted}");
    }

    #[test]
    fn a_clients_time_is_bounded_by_the_route_unless_it_is_trusted() {
        let left = |value| ("x-left", value);
        let call = |value| [GRPC, ("grpc-timeout", value)];
        check(&[], (10, None), false, (Some(11), None, false));
        check(&[], (10, Some(5)), false, (Some(5), Some(5), true));
        check(&[], (10, Some(60)), false, (Some(11), Some(60), false));
        check(&[left("4s")], (10, None), false, (Some(4), None, true));
        check(&[left("40s")], (10, None), false, (Some(10), None, true));
        check(&[left("40s")], (10, None), true, (Some(40), None, false));
        check(
            &[left("40s")],
            (10, Some(20)),
            true,
            (Some(20), Some(20), false),
        );
        check(&[left("junk")], (10, None), true, (Some(11), None, false));
        check(&call("4S"), (10, None), false, (Some(4), Some(4), true));
        check(&call("40S"), (10, None), false, (Some(11), Some(40), false));
        check(
            &call("40S"),
            (10, Some(60)),
            false,
            (Some(11), Some(40), false),
        );
        check(
            &call("99999999H"),
            (10, Some(60)),
            false,
            (Some(11), Some(60), false),
        );
        check(&call("40S"), (10, None), true, (Some(40), Some(40), false));
        check(&call("40"), (10, None), true, (Some(11), None, false));
        let both = [GRPC, ("grpc-timeout", "4S"), left("3000")];
        check(&both, (10, None), false, (Some(3), Some(3), true));
        // To anything but a call it says nothing.
        check(
            &[("grpc-timeout", "4S")],
            (10, None),
            true,
            (Some(11), None, false),
        );
        let long = LONGEST.as_secs();
        check(
            &call("99999999H"),
            (10, None),
            true,
            (Some(long), Some(long), false),
        );
    }

    #[test]
    fn an_attempt_is_told_what_is_left_when_it_is_sent() {
        let tell = |fields: &[(&str, &str)], after: u64| {
            let (at, head, route) = (Instant::now(), head(fields), route(10, None));
            let allowance = Allowance::new(&head, Dialect::of(&head), &route, true, at);
            let told = allowance.tell(route.deadline_header.as_ref(), at + seconds(after))?;
            Some((told.call, told.header.and_then(|(_, left)| left)))
        };
        let some = |value: &str| Some(value.to_owned());
        assert_eq!(tell(&[], 1), Some((None, None)));
        assert_eq!(tell(&[("x-left", "9s")], 2), Some((None, some("7000ms"))));
        assert_eq!(tell(&[("x-left", "9000")], 2), Some((None, some("7000"))));
        assert_eq!(tell(&[("x-left", "junk")], 2), Some((None, None)));
        let call = [GRPC, ("grpc-timeout", "9S")];
        assert_eq!(tell(&call, 2), Some((some("7000000u"), None)));
        assert_eq!(tell(&call, 9), None);
        assert_eq!(tell(&[("x-left", "9s")], 10), None);
        let both = [GRPC, ("grpc-timeout", "9S"), ("x-left", "8000")];
        assert_eq!(tell(&both, 2), Some((some("6000000u"), some("6000"))));
    }

    #[test]
    fn what_is_told_replaces_what_the_client_said() {
        let name = HeaderName::from_static("x-left");
        let told = Told {
            call: Some("1S".to_owned()),
            header: Some((&name, None)),
        };
        let check = |field: &str, expected| {
            let field = field.as_bytes();
            assert_eq!(
                told.replaces(Known::of(field), field),
                expected,
                "{field:?}"
            );
            assert!(!Told::default().replaces(Known::of(field), field));
        };
        check("grpc-timeout", true);
        check("X-Left", true);
        check("x_left", true);
        check("x-lef", false);
        check("x-leftt", false);
        check("x.left", false);
        check("xxleft", false);
    }
}
