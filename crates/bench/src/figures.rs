//! From rounds to figures: medians, and ratios to nginx of the same round.

use serde::Serialize;

use crate::peer::Kind;

/// What one round of one proxy in one cell measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Round {
    /// CPU of the proxy, microseconds a request.
    pub(crate) cpu_us: f64,
    /// Requests a second; load and upstream share a core, so this is theirs as much as the proxy's.
    pub(crate) per_second: f64,
}

/// One proxy in one cell.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) peer: &'static str,
    /// Median CPU, microseconds a request.
    pub(crate) cpu_us: f64,
    /// Median over the rounds of its CPU by nginx's in the same round; nothing without nginx.
    pub(crate) to_nginx: Option<f64>,
    /// Median requests a second.
    pub(crate) per_second: f64,
    /// All rounds, in order.
    pub(crate) rounds: Vec<Round>,
}

/// The rows of a cell, from the rounds of each proxy.
pub(crate) fn rows(rounds: &[(Kind, Vec<Round>)]) -> Vec<Row> {
    let nginx = rounds.iter().find(|(kind, _)| *kind == Kind::Nginx);
    let nginx = nginx.map(|(_, rounds)| rounds.as_slice());
    let row = |(kind, own): &(Kind, Vec<Round>)| Row {
        peer: kind.name(),
        cpu_us: median(own.iter().map(|round| round.cpu_us)).unwrap_or(f64::NAN),
        to_nginx: nginx.and_then(|nginx| ratio(own, nginx)),
        per_second: median(own.iter().map(|round| round.per_second)).unwrap_or(f64::NAN),
        rounds: own.clone(),
    };
    rounds.iter().map(row).collect()
}

/// Nothing where nginx used less than one tick, which only happens with very few requests.
fn ratio(own: &[Round], nginx: &[Round]) -> Option<f64> {
    let pairs = own
        .iter()
        .zip(nginx)
        .filter(|(_, nginx)| nginx.cpu_us > 0.0);
    median(pairs.map(|(own, nginx)| own.cpu_us / nginx.cpu_us))
}

/// The middle value, or the mean of the two in the middle; `None` of nothing.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<_> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    match sorted.len() % 2 {
        1 => Some(upper),
        _ => Some((sorted[sorted.len() / 2 - 1] + upper) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(cpu_us: [f64; 3]) -> Vec<Round> {
        let per_second = 1.0;
        cpu_us.map(|cpu_us| Round { cpu_us, per_second }).to_vec()
    }

    #[test]
    fn medians() {
        let table: [(&[f64], Option<f64>); 4] = [
            (&[], None),
            (&[2.0], Some(2.0)),
            (&[9.0, 1.0, 2.0], Some(2.0)),
            (&[4.0, 1.0, 2.0, 9.0], Some(3.0)),
        ];
        for (values, expected) in table {
            assert_eq!(median(values.iter().copied()), expected, "{values:?}");
        }
    }

    #[test]
    fn a_ratio_is_taken_within_a_round() {
        // The machine slows down threefold; the ratio does not notice.
        let all = [
            (Kind::Nginx, rounds([10.0, 20.0, 30.0])),
            (Kind::Tidegate, rounds([5.0, 10.0, 15.0])),
        ];
        let rows = rows(&all);
        assert_eq!(rows[0].to_nginx, Some(1.0));
        assert_eq!(rows[1].to_nginx, Some(0.5));
    }

    #[test]
    fn without_nginx_there_is_no_ratio() {
        let alone = rows(&[(Kind::Envoy, rounds([1.0, 2.0, 3.0]))]);
        assert_eq!(alone[0].to_nginx, None);
        assert_eq!(alone[0].cpu_us, 2.0);
        let idle = [
            (Kind::Nginx, rounds([0.0; 3])),
            (Kind::Envoy, rounds([1.0; 3])),
        ];
        assert_eq!(rows(&idle)[1].to_nginx, None);
    }
}
