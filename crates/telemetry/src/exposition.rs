//! Writes the Prometheus text format (version 0.0.4).
//!
//! Names, types and label names come from the catalogue; a caller gives values only, so whatever
//! is written is in the catalogue. A family without samples is left out whole.

use std::fmt::{Display, Write};
use std::time::Duration;

use crate::catalogue::Metric;

/// Text under construction.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    text: String,
}

/// The samples of one metric.
pub(crate) struct Samples<'a> {
    text: &'a mut String,
    metric: &'a Metric,
    begun: bool,
}

impl Exposition {
    /// The samples of `metric`. Each metric may be begun once.
    pub(crate) fn family<'a>(&'a mut self, metric: &'a Metric) -> Samples<'a> {
        Samples {
            text: &mut self.text,
            metric,
            begun: false,
        }
    }

    /// The whole text.
    pub(crate) fn finish(self) -> String {
        self.text
    }
}

impl Samples<'_> {
    /// Adds one sample; `labels` are the values of the catalogue's labels, in its order.
    pub(crate) fn add(&mut self, labels: &[&str], value: impl Display) {
        self.line("", labels, None, value);
    }

    /// Adds a histogram: `counts` holds one more entry than `bounds`, for what lies above them.
    pub(crate) fn add_histogram(
        &mut self,
        labels: &[&str],
        bounds: &[Duration],
        counts: &[u64],
        sum: Duration,
    ) {
        let mut running = 0;
        for (position, count) in counts.iter().enumerate() {
            running += count;
            let bound = bounds.get(position).map(Duration::as_secs_f64);
            let le = bound.map_or_else(|| "+Inf".to_owned(), |bound| bound.to_string());
            self.line("_bucket", labels, Some(&le), running);
        }
        self.line("_sum", labels, None, sum.as_secs_f64());
        self.line("_count", labels, None, running);
    }

    fn line(&mut self, suffix: &str, labels: &[&str], le: Option<&str>, value: impl Display) {
        debug_assert_eq!(
            labels.len(),
            self.metric.labels.len(),
            "{}",
            self.metric.name
        );
        self.begin();
        self.text.push_str(self.metric.name);
        self.text.push_str(suffix);
        let pairs = self
            .metric
            .labels
            .iter()
            .copied()
            .zip(labels.iter().copied());
        let mut separator = '{';
        for (name, value) in pairs.chain(le.map(|le| ("le", le))) {
            push_label(self.text, separator, name, value);
            separator = ',';
        }
        let close = if separator == ',' { "}" } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{close} {value}");
    }

    fn begin(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let Metric {
            name, help, kind, ..
        } = self.metric;
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        let kind = kind.as_str();
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }
}

fn push_label(text: &mut String, separator: char, name: &str, value: &str) {
    text.push(separator);
    text.push_str(name);
    text.push_str("=\"");
    for character in value.chars() {
        match character {
            '\\' => text.push_str(r"\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str(r"\n"),
            other => text.push(other),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{PLAN_GENERATION, REQUEST_DURATION, REQUESTS_LOST};

    #[test]
    fn labels_are_escaped() {
        let check = |value: &str, written: &str| {
            let mut out = Exposition::default();
            out.family(&REQUESTS_LOST).add(&[value], 7);
            let text = out.finish();
            let expected = format!("tidegate_requests_lost_total{{why=\"{written}\"}} 7");
            assert_eq!(text.lines().nth(2), Some(expected.as_str()));
        };
        check("plain", "plain");
        check("a\"b", "a\\\"b");
        check("a\\b", "a\\\\b");
        check("a\nb", "a\\nb");
        check("größe", "größe");
        check("", "");
    }

    #[test]
    fn a_metric_without_labels_has_no_braces() {
        let mut out = Exposition::default();
        out.family(&PLAN_GENERATION).add(&[], 3);
        assert!(out.finish().ends_with("\ntidegate_plan_generation 3\n"));
    }

    #[test]
    fn a_family_without_samples_is_absent() {
        let mut out = Exposition::default();
        let _ = out.family(&PLAN_GENERATION);
        assert_eq!(out.finish(), "");
    }

    #[test]
    fn histograms_accumulate() {
        let mut out = Exposition::default();
        let bounds = [Duration::from_millis(5), Duration::from_secs(1)];
        let sum = Duration::from_millis(2500);
        out.family(&REQUEST_DURATION)
            .add_histogram(&["r", "e"], &bounds, &[2, 0, 1], sum);
        let text = out.finish();
        let samples: Vec<_> = text.lines().skip(2).collect();
        let name = "tidegate_request_duration_seconds";
        let labels = "route=\"r\",region=\"e\"";
        assert_eq!(
            samples,
            [
                format!("{name}_bucket{{{labels},le=\"0.005\"}} 2"),
                format!("{name}_bucket{{{labels},le=\"1\"}} 2"),
                format!("{name}_bucket{{{labels},le=\"+Inf\"}} 3"),
                format!("{name}_sum{{{labels}}} 2.5"),
                format!("{name}_count{{{labels}}} 3"),
            ]
        );
    }
}
