//! The answer of `/metrics`, as far as tests ask it.

use std::collections::{BTreeMap, BTreeSet};

/// One scrape.
pub(crate) struct Metrics(Vec<Sample>);

struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Reads the text format (0.0.4). Label values in tests have no escapes.
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.map(sample).collect())
    }

    /// The sum of all series of `name` that carry these labels; 0 without any.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let fits = |sample: &&Sample| {
            let has = |(key, value): &(&str, &str)| {
                sample.labels.get(*key).is_some_and(|found| found == value)
            };
            sample.name == name && labels.iter().all(has)
        };
        let values = self.0.iter().filter(fits).map(|sample| sample.value);
        values.sum::<f64>() as u64
    }

    /// All series of `name`, by the value of one label; the same label value adds up.
    pub(crate) fn by(&self, name: &str, label: &str) -> BTreeMap<String, u64> {
        let mut found = BTreeMap::new();
        for sample in self.0.iter().filter(|sample| sample.name == name) {
            let key = sample.labels.get(label).cloned().unwrap_or_default();
            *found.entry(key).or_default() += sample.value as u64;
        }
        found
    }

    /// The names of all samples.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.0.iter().map(|sample| sample.name.as_str()).collect()
    }
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let pairs = labels.trim_end_matches('}').split(',');
    let pairs = pairs.filter_map(|pair| pair.split_once('='));
    Sample {
        name: name.to_owned(),
        labels: pairs
            .map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned()))
            .collect(),
        value: value.parse().unwrap(),
    }
}
