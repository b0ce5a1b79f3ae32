//! What a simulated region does to a request, as plain data that can be swapped while requests run.
//!
//! A region reads its behaviour once per request, so a switch holds for every request that arrives after it and
//! for none that arrived before. Chance comes from a generator the caller seeds.

use std::time::Duration;

use http::StatusCode;

use crate::content;
use crate::death::Death;

/// No sampled latency is longer, whatever the tail of the distribution says.
const LATENCY_MAX: Duration = Duration::from_secs(60);

/// How long a region thinks before it answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Latency {
    /// Always the same. Zero answers without a timer.
    Fixed(Duration),
    /// Evenly between the two ends; swapped ends are put right.
    Uniform {
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
    },
    /// The long-tailed shape of real services: half of the answers are faster than `median`.
    LogNormal {
        /// The middle of the distribution.
        median: Duration,
        /// Standard deviation of the logarithm: 0 is fixed, 0.5 mild, 1 heavy. Not finite counts as 0.
        sigma: f64,
    },
}

impl Latency {
    /// Draws one latency, at most 60 seconds.
    #[must_use]
    pub fn sample(&self, rng: &mut fastrand::Rng) -> Duration {
        let drawn = match *self {
            Self::Fixed(latency) => latency,
            Self::Uniform { min, max } => between(min.min(max), min.max(max), rng),
            Self::LogNormal { median, sigma } => log_normal(median, sigma, rng),
        };
        drawn.min(LATENCY_MAX)
    }
}

fn between(min: Duration, max: Duration, rng: &mut fastrand::Rng) -> Duration {
    min + (max - min).mul_f64(rng.f64())
}

/// Box-Muller (Annals of Mathematical Statistics 29, 1958) for the normal deviate.
fn log_normal(median: Duration, sigma: f64, rng: &mut fastrand::Rng) -> Duration {
    let sigma = if sigma.is_finite() { sigma } else { 0.0 };
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    let normal = radius * (std::f64::consts::TAU * rng.f64()).cos();
    let seconds = median.as_secs_f64() * (sigma * normal).exp();
    Duration::try_from_secs_f64(seconds).unwrap_or(LATENCY_MAX)
}

/// A body that trickles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowBody {
    /// Bytes written at a time, at least 1, at most 64 KiB.
    pub piece_bytes: usize,
    /// Pause between two pieces.
    pub pause: Duration,
}

/// What the entity tag of `/bytes/{n}` stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EtagScheme {
    /// Changes with the content, as a strong tag must.
    #[default]
    Content,
    /// Looks strong and is made of the length alone, as some servers do: equal for different contents.
    Size,
    /// No tag at all.
    Absent,
}

impl EtagScheme {
    /// The tag of the first `len` bytes of content `seed`; `None` for [`EtagScheme::Absent`].
    pub(crate) fn tag(self, seed: u64, len: u64) -> Option<String> {
        match self {
            Self::Content => Some(content::etag(seed, len)),
            Self::Size => Some(format!("\"{len:x}\"")),
            Self::Absent => None,
        }
    }
}

/// How a region treats the requests that arrive from now on.
#[derive(Clone, Debug, PartialEq)]
pub struct Behaviour {
    /// Time before the request is looked at. Health checks wait as well.
    pub latency: Latency,
    /// Share of requests, 0 to 1, answered with `error_status` at once. Health checks are exempt.
    pub error_rate: f64,
    /// The status of a made-up error.
    pub error_status: StatusCode,
    /// Pace of `/bytes` and `/chunked`; `None` is as fast as the socket takes it.
    pub slow_body: Option<SlowBody>,
    /// Whether `/healthz` answers 200 (else 503).
    pub healthy: bool,
    /// Which content `/bytes` and `/chunked` serve. Regions agree unless a test makes them differ.
    pub content_seed: u64,
    /// What the entity tag is made of.
    pub etag: EtagScheme,
    /// Where it dies in a request. A made-up error comes before that.
    pub death: Option<Death>,
}

impl Default for Behaviour {
    /// Instant, without errors, healthy, honest tags.
    fn default() -> Self {
        Self {
            latency: Latency::Fixed(Duration::ZERO),
            error_rate: 0.0,
            error_status: StatusCode::INTERNAL_SERVER_ERROR,
            slow_body: None,
            healthy: true,
            content_seed: content::SEED,
            etag: EtagScheme::Content,
            death: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn samples(latency: Latency) -> Vec<Duration> {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut all: Vec<_> = (0..2_000).map(|_| latency.sample(&mut rng)).collect();
        all.sort();
        all
    }

    /// Checks the ends and the middle of 2,000 samples.
    fn check(latency: Latency, shortest: Duration, middle: [Duration; 2], longest: Duration) {
        let all = samples(latency);
        assert!(all[0] >= shortest, "{latency:?}: {:?}", all[0]);
        assert!(all[1_999] <= longest, "{latency:?}: {:?}", all[1_999]);
        let median = all[1_000];
        assert!(
            middle[0] <= median && median <= middle[1],
            "{latency:?}: {median:?}"
        );
    }

    #[test]
    fn distributions_have_their_shape() {
        check(Latency::Fixed(5 * MS), 5 * MS, [5 * MS; 2], 5 * MS);
        let uniform = Latency::Uniform {
            min: 10 * MS,
            max: 20 * MS,
        };
        check(uniform, 10 * MS, [14 * MS, 16 * MS], 20 * MS);
        let swapped = Latency::Uniform {
            min: 20 * MS,
            max: 10 * MS,
        };
        check(swapped, 10 * MS, [14 * MS, 16 * MS], 20 * MS);
        let tailed = Latency::LogNormal {
            median: 100 * MS,
            sigma: 0.5,
        };
        check(tailed, MS, [95 * MS, 105 * MS], LATENCY_MAX);
        assert!(samples(tailed)[1_980] > 250 * MS, "the tail must be long");
    }

    #[test]
    fn absurd_parameters_are_capped() {
        let day = Duration::from_secs(86_400);
        check(
            Latency::Fixed(day),
            LATENCY_MAX,
            [LATENCY_MAX; 2],
            LATENCY_MAX,
        );
        let wild = Latency::LogNormal {
            median: 5 * MS,
            sigma: f64::NAN,
        };
        check(wild, 5 * MS, [5 * MS; 2], 5 * MS);
    }

    #[test]
    fn one_seed_gives_one_sequence() {
        let latency = Latency::LogNormal {
            median: MS,
            sigma: 1.0,
        };
        assert_eq!(samples(latency), samples(latency));
    }

    #[test]
    fn tags_say_what_they_are_made_of() {
        assert_ne!(EtagScheme::Content.tag(1, 9), EtagScheme::Content.tag(2, 9));
        assert_eq!(EtagScheme::Size.tag(1, 9), EtagScheme::Size.tag(2, 9));
        assert_eq!(EtagScheme::Absent.tag(1, 9), None);
    }
}
