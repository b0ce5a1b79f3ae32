//! What upstreams say of themselves in the heads of their answers: that they are draining, how
//! loaded they are, when they want to be asked again.
//!
//! Four dialects: `tidegate-health` (`degraded; for=30s`), Envoy's
//! `x-envoy-immediate-health-check-fail`, reports of load ([`orca`]), and `Retry-After` (RFC 9110
//! section 10.2.3). A word counts for the endpoint that said it, a report for its region besides where
//! that is steered by load, and for a bounded time; what is not understood is as if it had not been
//! said. An answer without such fields costs one look at a bit set. All but `Retry-After` is for us
//! alone: [`is_for_us`].

use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;
use tidegate_core::health::Health;
use tidegate_core::plan::{Policy, Upstream};
use tidegate_core::{EndpointCell, InFlight};
use tidegate_http1::Known;

use crate::head::ResponseHead;
use crate::orca::{self, Load, Malformed};

/// A word without a time of its own counts for so long: whoever is asked no more cannot take it back.
const USUAL: Duration = Duration::from_secs(30);
/// No word counts for longer.
const LONGEST: Duration = Duration::from_secs(3600);
/// No wish to be asked later counts for longer.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

const WORDS: [Known; 4] = [
    Known::TidegateHealth,
    Known::XEnvoyImmediateHealthCheckFail,
    Known::EndpointLoadMetrics,
    Known::EndpointLoadMetricsBin,
];

/// What of an upstream is listened to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ears {
    /// What endpoints say of themselves.
    pub(crate) endpoints: bool,
    /// What load their regions have.
    pub(crate) regions: bool,
}

/// Whether a field of an upstream's answer is meant for us, and stops here.
pub(crate) fn is_for_us(known: Known) -> bool {
    WORDS.contains(&known)
}

impl Ears {
    /// Those for `upstream`.
    pub(crate) fn of(upstream: &Upstream) -> Self {
        Self {
            endpoints: upstream.health.said,
            regions: matches!(upstream.steering.policy, Policy::LeastLoad),
        }
    }

    /// Whether nothing is listened to.
    pub(crate) fn are_shut(self) -> bool {
        self == Self::default()
    }

    /// Enters what an answer's head says of the place that sent it. `listed`: the retry policy counts
    /// its status as the endpoint's failure.
    ///
    /// # Errors
    /// It has a report of load that is none; all else was entered.
    pub(crate) fn hear(
        self,
        head: &ResponseHead,
        listed: bool,
        from: &InFlight,
        at: Instant,
    ) -> Result<(), Malformed> {
        let speaks = says_something(head);
        if self.endpoints && speaks {
            hear_words(head, from.endpoint(), at);
        }
        if self.endpoints && rejects(head.status(), listed) {
            hear_wait(head, from.endpoint(), at);
        }
        match speaks.then(|| orca::in_head(head)).flatten() {
            Some(report) => self.hear_load(report, from, at),
            None => Ok(()),
        }
    }

    /// Enters a report of load.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn hear_load(
        self,
        report: Load,
        from: &InFlight,
        at: Instant,
    ) -> Result<(), Malformed> {
        if let Some(load) = report? {
            if self.endpoints {
                from.endpoint().report_load(load);
            }
            if self.regions {
                from.region().reported(load, at);
            }
        }
        Ok(())
    }
}

/// A 429 is usually about one client, and says something of the endpoint only to those who list it.
fn rejects(status: StatusCode, listed: bool) -> bool {
    status == StatusCode::SERVICE_UNAVAILABLE || (status == StatusCode::TOO_MANY_REQUESTS && listed)
}

fn says_something(head: &ResponseHead) -> bool {
    match head {
        ResponseHead::H1(head) => head.fields.contains_any(&WORDS),
        ResponseHead::H2(parts) => parts.headers.keys().any(|name| is_word(name.as_str())),
    }
}

/// Compares lengths first, which is all that nearly every name needs.
fn is_word(name: &str) -> bool {
    WORDS.iter().any(|word| word.name() == name)
}

fn hear_words(head: &ResponseHead, endpoint: &EndpointCell, at: Instant) {
    match field(head, Known::TidegateHealth).and_then(health) {
        Some((Health::Healthy, _)) => take_back(endpoint),
        Some((health, time)) => say(endpoint, health, at + time),
        None if field(head, Known::XEnvoyImmediateHealthCheckFail).is_some() => {
            say(endpoint, Health::Unhealthy, at + USUAL);
        }
        None => {}
    }
}

/// The wish counts as load: see [`EndpointCell::charge_wait`].
fn hear_wait(head: &ResponseHead, endpoint: &EndpointCell, at: Instant) {
    let Some(wait) = retry_after(head).filter(|wait| !wait.is_zero()) else {
        return;
    };
    endpoint.charge_wait(wait, at);
    // What it has said outright is worse, or was said for longer.
    if matches!(endpoint.said(), Health::Unknown | Health::Healthy) {
        say(endpoint, Health::Degraded, at + wait);
    }
}

fn say(endpoint: &EndpointCell, health: Health, until: Instant) {
    endpoint.say(health, Some(until));
}

/// An endpoint that says in every answer that it is well must not cost a write each time.
fn take_back(endpoint: &EndpointCell) {
    if endpoint.said() != Health::Unknown {
        endpoint.say(Health::Unknown, None);
    }
}

fn field(head: &ResponseHead, known: Known) -> Option<&str> {
    std::str::from_utf8(head.field(known)?).ok()
}

/// `draining; for=30s`: the health, and for how long it counts.
fn health(value: &str) -> Option<(Health, Duration)> {
    let mut parts = value.split(';').map(str::trim);
    let health = match parts.next()? {
        "healthy" => Health::Healthy,
        "degraded" => Health::Degraded,
        "draining" => Health::Draining,
        "unhealthy" => Health::Unhealthy,
        _ => return None,
    };
    let time = parts.find_map(|part| part.strip_prefix("for="));
    let time = time.map_or(Some(USUAL), duration)?;
    Some((health, time.min(LONGEST)))
}

/// A whole number with its unit: `500ms`, `30s`, `5m`, `1h`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u32 = number.parse().ok()?;
    Some(match unit {
        "ms" => Duration::from_millis(number.into()),
        "s" => Duration::from_secs(number.into()),
        "m" => Duration::from_secs(u64::from(number) * 60),
        "h" => Duration::from_secs(u64::from(number) * 3600),
        _ => return None,
    })
}

/// How long an answer asks not to be asked again; 300 s at most.
pub(crate) fn retry_after(head: &ResponseHead) -> Option<Duration> {
    wait(field(head, Known::RetryAfter)?, SystemTime::now)
}

/// Seconds, or a date, of `Retry-After`. The clock is asked only for a date.
fn wait(value: &str, now: impl FnOnce() -> SystemTime) -> Option<Duration> {
    let wait = match value.parse::<u32>() {
        Ok(seconds) => Duration::from_secs(seconds.into()),
        Err(_) => {
            let date = httpdate::parse_http_date(value).ok()?;
            date.duration_since(now()).ok()?
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidegate_core::RegionCell;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_word_has_a_health_and_a_bounded_time() {
        let check = |value, expected| assert_eq!(health(value), expected, "{value}");
        let seconds = Duration::from_secs;
        check("healthy", Some((Health::Healthy, USUAL)));
        check("degraded", Some((Health::Degraded, USUAL)));
        check("draining; for=5m", Some((Health::Draining, seconds(300))));
        check("unhealthy;for=90s", Some((Health::Unhealthy, seconds(90))));
        check(
            "degraded; x=y; for=500ms",
            Some((Health::Degraded, seconds(1) / 2)),
        );
        check("draining; for=2h", Some((Health::Draining, HOUR)));
        check("draining; for=4294967295h", Some((Health::Draining, HOUR)));
        for hostile in [
            "",
            "Healthy",
            "well",
            "degraded; for=",
            "degraded; for=30",
            "degraded; for=-1s",
            "degraded; for=4294967296s",
            "degraded; for=1e9s",
            "unknown; for=1s",
        ] {
            check(hostile, None);
        }
    }

    #[test]
    fn a_wait_is_seconds_or_a_date_and_bounded() {
        let now = || SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let check = |value, expected: Option<u64>| {
            assert_eq!(
                wait(value, now),
                expected.map(Duration::from_secs),
                "{value}"
            );
        };
        check("0", Some(0));
        check("120", Some(120));
        check("4294967295", Some(300));
        check("Sun, 06 Nov 1994 08:49:47 GMT", Some(10));
        check("Sat, 06 Nov 2094 08:49:47 GMT", Some(300));
        check("Sun, 06 Nov 1994 08:49:36 GMT", None);
        check("4294967296", None);
        check("-1", None);
        check("soon", None);
    }

    #[test]
    fn only_what_is_worse_than_a_wait_outlives_it() {
        let at = Instant::now();
        let endpoint = Arc::new(EndpointCell::new(at));
        let from = InFlight::begin(endpoint.clone(), Arc::new(RegionCell::new(at)));
        let ears = Ears {
            endpoints: true,
            regions: false,
        };
        let head = |fields: &[(&'static str, &'static str)]| {
            let mut response = http::Response::builder().status(503);
            for (name, value) in fields {
                response = response.header(*name, *value);
            }
            let (parts, ()) = response.body(()).unwrap().into_parts();
            ResponseHead::H2(Box::new(parts))
        };
        let check = |fields: &[_], expected| {
            let _no_report = ears.hear(&head(fields), true, &from, at);
            assert_eq!(endpoint.said(), expected, "{fields:?}");
        };
        check(&[], Health::Unknown);
        check(&[("retry-after", "0")], Health::Unknown);
        check(&[("retry-after", "9")], Health::Degraded);
        check(&[("tidegate-health", "draining")], Health::Draining);
        check(&[("retry-after", "9")], Health::Draining);
        check(&[("tidegate-health", "nonsense")], Health::Draining);
        check(&[("tidegate-health", "healthy")], Health::Unknown);
        check(
            &[("x-envoy-immediate-health-check-fail", "")],
            Health::Unhealthy,
        );
        assert!(endpoint.expire_said(at + USUAL + Duration::from_secs(1)));
    }
}
