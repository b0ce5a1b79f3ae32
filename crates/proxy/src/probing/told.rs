//! What an endpoint says of itself when it is probed, in `endpoint-load-metrics`.
//!
//! Of the named metrics of ORCA's report two count: `rif`, requests in flight there from everybody, and
//! `latency_ms`, how long requests take that find so many in flight (the median of recent ones, says
//! the paper). `TEXT named_metrics.rif=12, named_metrics.latency_ms=8.5` and `JSON {"named_metrics":
//! {"rif": 12, "latency_ms": 8.5}}` are read, up to 4 KiB; whatever is none of both, or no number in its
//! range, counts as not said.

use std::time::Duration;

use tidegate_core::balance::prequal::Told;

const REPORT_BYTES: usize = 4 * 1024;
const RIF: &str = "rif";
const LATENCY: &str = "latency_ms";
/// No endpoint has more in flight, and none takes longer: an hour.
const RIF_MAX: f64 = 1e9;
const LATENCY_MS_MAX: f64 = 3_600_000.0;

/// What the field's value says.
pub(super) fn read(value: &[u8]) -> Told {
    let text = std::str::from_utf8(value).ok();
    match text.filter(|text| text.len() <= REPORT_BYTES) {
        Some(text) => match text.split_once(' ') {
            Some(("TEXT", report)) => told(|name| in_text(report, name)),
            Some(("JSON", report)) => in_json(report),
            _ => Told::default(),
        },
        None => Told::default(),
    }
}

fn told(find: impl Fn(&str) -> Option<f64>) -> Told {
    let within = |name, most| find(name).filter(|value| (0.0..=most).contains(value));
    Told {
        in_flight: within(RIF, RIF_MAX).map(|rif| rif.round() as u32),
        latency: within(LATENCY, LATENCY_MS_MAX).map(|ms| Duration::from_secs_f64(ms / 1e3)),
    }
}

fn in_text(report: &str, name: &str) -> Option<f64> {
    let mut pairs = report.split(',').filter_map(|pair| pair.split_once('='));
    let named = |(key, value): (&str, &str)| {
        let key = key.trim().strip_prefix("named_metrics.")?;
        (key == name).then(|| value.trim().parse().ok()).flatten()
    };
    pairs.find_map(named)
}

fn in_json(report: &str) -> Told {
    let report: Option<serde_json::Value> = serde_json::from_str(report).ok();
    let metrics = report.as_ref().and_then(|report| {
        report
            .get("named_metrics")
            .or_else(|| report.get("namedMetrics"))
    });
    told(|name| metrics?.get(name)?.as_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, in_flight: Option<u32>, latency_us: Option<u64>) {
        let expected = Told {
            in_flight,
            latency: latency_us.map(Duration::from_micros),
        };
        assert_eq!(read(value.as_bytes()), expected, "{value}");
    }

    #[test]
    fn two_metrics_count_and_what_is_none_is_not_said() {
        let text = "TEXT named_metrics.rif=12, named_metrics.latency_ms=8.5";
        check(text, Some(12), Some(8_500));
        check(
            "TEXT cpu_utilization=0.3,named_metrics.rif=0",
            Some(0),
            None,
        );
        check("TEXT rif=12", None, None);
        check(
            "TEXT named_metrics.rif=-1,named_metrics.latency_ms=1e99",
            None,
            None,
        );
        check(
            "TEXT named_metrics.rif=NaN,named_metrics.latency_ms=inf",
            None,
            None,
        );
        let json = r#"JSON {"named_metrics": {"rif": 3, "latency_ms": 0.25}}"#;
        check(json, Some(3), Some(250));
        check(r#"JSON {"namedMetrics": {"rif": "3"}}"#, None, None);
        check(r#"JSON {"rif": 3}"#, None, None);
        check("JSON {", None, None);
        check("BIN CZqZmZmZmbk/", None, None);
        check("", None, None);
        let long = format!(
            "TEXT {}named_metrics.rif=1",
            "a=1,".repeat(REPORT_BYTES / 4)
        );
        check(&long, None, None);
        assert_eq!(read(b"TEXT \xFF"), Told::default());
    }
}
