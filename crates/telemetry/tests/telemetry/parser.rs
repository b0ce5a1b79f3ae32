//! A strict reader of the Prometheus text format (0.0.4), written from its description and not
//! from our writer: whatever a scraper may reject is an error here.

use std::collections::{BTreeMap, HashSet};

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: f64,
}

/// One family: the samples under one HELP and TYPE.
#[derive(Clone, Debug, Default)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) help: String,
    pub(crate) samples: Vec<Sample>,
}

impl Sample {
    /// The labels, `le` left out.
    pub(crate) fn own_labels(&self) -> Vec<(String, String)> {
        self.labels
            .iter()
            .filter(|(name, _)| name != "le")
            .cloned()
            .collect()
    }
}

/// Reads a whole text into families by name.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, Family>, String> {
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line must end".into());
    }
    let mut families = BTreeMap::<String, Family>::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').ok_or("HELP without text")?;
            let family = Family {
                help: help.to_owned(),
                ..Family::default()
            };
            if families.insert(name.to_owned(), family).is_some() {
                return Err(format!("{name} begins twice"));
            }
            current = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').ok_or("TYPE without a kind")?;
            if name != current || !["counter", "gauge", "histogram"].contains(&kind) {
                return Err(format!("misplaced or unknown TYPE: {line}"));
            }
            families.get_mut(name).ok_or("TYPE before HELP")?.kind = kind.to_owned();
        } else {
            let sample = parse_sample(line)?;
            let family = families
                .get_mut(&current)
                .ok_or("a sample before any HELP")?;
            check_name(&sample.name, &current, &family.kind)?;
            family.samples.push(sample);
        }
    }
    families
        .iter()
        .try_for_each(|(name, family)| check_family(name, family))?;
    Ok(families)
}

fn check_name(sample: &str, family: &str, kind: &str) -> Result<(), String> {
    let suffix = sample
        .strip_prefix(family)
        .ok_or(format!("{sample} outside its family"))?;
    let allowed: &[&str] = match kind {
        "histogram" => &["_bucket", "_sum", "_count"],
        "" => return Err(format!("{family} has no TYPE")),
        _ => &[""],
    };
    allowed
        .contains(&suffix)
        .then_some(())
        .ok_or(format!("{sample} in a {kind}"))
}

fn check_family(name: &str, family: &Family) -> Result<(), String> {
    if family.samples.is_empty() {
        return Err(format!("{name} has no samples"));
    }
    let mut seen = HashSet::new();
    for sample in &family.samples {
        let mut labels = sample.labels.clone();
        labels.sort();
        if !seen.insert((sample.name.clone(), labels)) {
            return Err(format!("twice the same series: {sample:?}"));
        }
        if family.kind != "gauge" && (sample.value < 0.0 || sample.value.is_nan()) {
            return Err(format!("a counter below zero: {sample:?}"));
        }
    }
    if family.kind == "histogram" {
        check_histogram(name, family)
    } else {
        Ok(())
    }
}

fn check_histogram(name: &str, family: &Family) -> Result<(), String> {
    let mut by_labels = BTreeMap::<_, Vec<&Sample>>::new();
    for sample in &family.samples {
        by_labels
            .entry(sample.own_labels())
            .or_default()
            .push(sample);
    }
    for (labels, samples) in by_labels {
        let buckets: Vec<_> = samples
            .iter()
            .filter(|sample| sample.name.ends_with("_bucket"))
            .collect();
        let bound = |sample: &Sample| {
            sample
                .labels
                .iter()
                .find(|(name, _)| name == "le")
                .map(|(_, le)| le.clone())
        };
        let bounds: Vec<f64> = buckets
            .iter()
            .map(|sample| {
                bound(sample)
                    .and_then(|le| le.replace("+Inf", "inf").parse().ok())
                    .unwrap_or(f64::NAN)
            })
            .collect();
        let counts: Vec<f64> = buckets.iter().map(|sample| sample.value).collect();
        let one = |suffix: &str| {
            let found: Vec<_> = samples
                .iter()
                .filter(|sample| sample.name == format!("{name}{suffix}"))
                .collect();
            (found.len() == 1).then(|| found[0].value)
        };
        let whole = bounds.is_sorted_by(|a, b| a < b)
            && bounds.last() == Some(&f64::INFINITY)
            && counts.is_sorted()
            && one("_count").as_ref() == counts.last()
            && one("_sum").is_some();
        if !whole {
            return Err(format!("{name}{labels:?} is no histogram"));
        }
    }
    Ok(())
}

fn parse_sample(line: &str) -> Result<Sample, String> {
    let name_end = line.find(['{', ' ']).ok_or(format!("no value: {line}"))?;
    let (name, rest) = line.split_at(name_end);
    let legal = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => parse_labels(rest)?,
        None => (Vec::new(), rest),
    };
    if !legal(name) || !labels.iter().all(|(name, _)| legal(name)) {
        return Err(format!("illegal name: {line}"));
    }
    let value = rest
        .strip_prefix(' ')
        .ok_or(format!("no space before the value: {line}"))?;
    let value = value.parse().map_err(|_| format!("no number: {line}"))?;
    Ok(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

type Labels = Vec<(String, String)>;

fn parse_labels(mut rest: &str) -> Result<(Labels, &str), String> {
    let mut labels = Vec::new();
    loop {
        let (name, after) = rest.split_once("=\"").ok_or("a label without a value")?;
        let (value, after) = parse_value(after)?;
        labels.push((name.to_owned(), value));
        rest = match (after.strip_prefix(','), after.strip_prefix('}')) {
            (Some(more), _) => more,
            (_, Some(end)) => return Ok((labels, end)),
            _ => return Err(format!("neither , nor }} after a label: {after}")),
        };
    }
}

fn parse_value(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(match characters.next() {
                Some((_, 'n')) => '\n',
                Some((_, escaped @ ('\\' | '"'))) => escaped,
                other => return Err(format!("unknown escape {other:?}")),
            }),
            other => value.push(other),
        }
    }
    Err("a label value without an end".into())
}

#[test]
fn the_reader_refuses_what_a_scraper_would() {
    let check = |text: &str, problem: &str| {
        let found = parse(text).err().unwrap_or_default();
        assert!(found.contains(problem), "{text:?}: {found:?}");
    };
    let head = "# HELP a b\n# TYPE a counter\n";
    check("a 1\n", "before any HELP");
    check("# HELP a b\na 1\n", "no TYPE");
    check(head, "no samples");
    check(&format!("{head}a 1"), "must end");
    check(&format!("{head}b 1\n"), "outside its family");
    check(&format!("{head}a_sum 1\n"), "in a counter");
    check(&format!("{head}a x\n"), "no number");
    check(&format!("{head}a -1\n"), "below zero");
    check(&format!("{head}a 1\na 1\n"), "twice the same series");
    check(&format!("{head}a 1\n{head}a 1\n"), "begins twice");
    check(&format!("{head}a{{l=\"x\\t\"}} 1\n"), "unknown escape");
    check(&format!("{head}a{{l=\"x 1\n"), "without an end");
    check(&format!("{head}a{{1l=\"x\"}} 1\n"), "illegal name");
    let histogram = "# HELP a b\n# TYPE a histogram\n";
    check(
        &format!("{histogram}a_bucket{{le=\"1\"}} 1\na_sum 1\na_count 1\n"),
        "no histogram",
    );
    check(
        &format!(
            "{histogram}a_bucket{{le=\"1\"}} 2\na_bucket{{le=\"+Inf\"}} 1\na_sum 1\na_count 1\n"
        ),
        "no histogram",
    );
}
