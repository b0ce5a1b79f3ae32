//! From rounds to figures: medians, and ratios to nginx of the same round.

use serde::{Deserialize, Serialize};

use crate::peer::Kind;

/// What one round of one proxy in one cell measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Round {
    /// The figure that is compared.
    pub(crate) value: f64,
    /// Others, in the order of the cell's heading.
    pub(crate) also: Vec<f64>,
}

/// One proxy in one cell.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) peer: String,
    /// Median of the figure.
    pub(crate) value: f64,
    /// Median over the rounds of its figure by nginx's in the same round; nothing without nginx.
    pub(crate) to_nginx: Option<f64>,
    /// Medians of the others.
    pub(crate) also: Vec<f64>,
    /// All rounds, in order.
    pub(crate) rounds: Vec<Round>,
}

/// A cell with its figures. All are costs: less is better.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CellReport {
    /// Its name.
    pub(crate) cell: String,
    /// What the figure is.
    pub(crate) unit: String,
    /// What the others are.
    pub(crate) also: Vec<String>,
    /// Rounds that others on the machine disturbed, and that were kept after all.
    pub(crate) disturbed: u32,
    /// A row a proxy.
    pub(crate) rows: Vec<Row>,
}

/// The rows of a cell, from the rounds of each proxy.
pub(crate) fn rows(rounds: &[(Kind, Vec<Round>)]) -> Vec<Row> {
    let named = rounds.iter();
    let named: Vec<_> = named.map(|(kind, own)| (kind.name(), &own[..])).collect();
    rows_of(&named)
}

fn rows_of(rounds: &[(&str, &[Round])]) -> Vec<Row> {
    let nginx = rounds.iter().find(|(peer, _)| *peer == Kind::Nginx.name());
    let row = |(peer, own): &(&str, &[Round])| Row {
        peer: (*peer).to_owned(),
        value: median(own.iter().map(|round| round.value)).unwrap_or(f64::NAN),
        to_nginx: nginx.and_then(|(_, nginx)| ratio(own, nginx)),
        also: others(own),
        rounds: own.to_vec(),
    };
    rounds.iter().map(row).collect()
}

impl CellReport {
    /// Adds the rounds of the same proxies in the same cell of another run; says whether they are the same.
    pub(crate) fn join(&mut self, other: Self) -> bool {
        let of = |cell: &Self| cell.rows.iter().map(|row| row.peer.clone()).collect();
        let (here, there): (Vec<_>, Vec<_>) = (of(self), of(&other));
        if (&self.cell, &self.unit, here) != (&other.cell, &other.unit, there) {
            return false;
        }
        for (row, other) in self.rows.iter_mut().zip(other.rows) {
            row.rounds.extend(other.rounds);
        }
        let named = self.rows.iter();
        let named: Vec<_> = named.map(|row| (&row.peer[..], &row.rounds[..])).collect();
        self.rows = rows_of(&named);
        self.disturbed += other.disturbed;
        true
    }
}

fn others(own: &[Round]) -> Vec<f64> {
    let count = own.first().map_or(0, |round| round.also.len());
    let of = |index| {
        own.iter()
            .filter_map(move |round| round.also.get(index).copied())
    };
    (0..count).filter_map(|index| median(of(index))).collect()
}

/// Nothing where nginx's figure is zero: less than one tick of CPU, after very few requests.
fn ratio(own: &[Round], nginx: &[Round]) -> Option<f64> {
    let pairs = own.iter().zip(nginx).filter(|(_, nginx)| nginx.value > 0.0);
    median(pairs.map(|(own, nginx)| own.value / nginx.value))
}

/// One round of several of the same proxy: the means.
pub(crate) fn mean(rounds: &[Round]) -> Round {
    let count = rounds.len() as f64;
    let also = rounds.first().map_or(0, |round| round.also.len());
    let mean = |of: &dyn Fn(&Round) -> f64| rounds.iter().map(of).sum::<f64>() / count;
    Round {
        value: mean(&|round| round.value),
        also: (0..also).map(|at| mean(&|round| round.also[at])).collect(),
    }
}

/// The middle value, or the mean of the two in the middle; `None` of nothing.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
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

    fn rounds(values: [f64; 3]) -> Vec<Round> {
        let round = |value| Round {
            value,
            also: vec![2.0 * value],
        };
        values.map(round).to_vec()
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
    fn several_rounds_are_one_by_their_means() {
        let one = mean(&rounds([1.0, 2.0, 6.0]));
        assert_eq!((one.value, one.also), (3.0, vec![6.0]));
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
    fn runs_of_the_same_become_one() {
        let cell = |nginx, ours| CellReport {
            cell: "1 KB".to_owned(),
            unit: "us/req".to_owned(),
            also: vec!["req/s".to_owned()],
            disturbed: 1,
            rows: rows(&[(Kind::Nginx, rounds(nginx)), (Kind::Tidegate, rounds(ours))]),
        };
        let mut both = cell([10.0; 3], [9.0; 3]);
        assert!(both.join(cell([20.0; 3], [16.0, 16.0, 20.0])));
        let ours = &both.rows[1];
        assert_eq!((ours.rounds.len(), both.disturbed), (6, 2));
        assert_eq!((ours.value, ours.to_nginx), (12.5, Some(0.9)));
        let mut other = cell([1.0; 3], [1.0; 3]);
        other.rows.pop();
        assert!(!both.join(other));
    }

    #[test]
    fn without_nginx_there_is_no_ratio() {
        let alone = rows(&[(Kind::Envoy, rounds([1.0, 2.0, 3.0]))]);
        assert_eq!(alone[0].to_nginx, None);
        assert_eq!((alone[0].value, &alone[0].also), (2.0, &vec![4.0]));
        let idle = [
            (Kind::Nginx, rounds([0.0; 3])),
            (Kind::Envoy, rounds([1.0; 3])),
        ];
        assert_eq!(rows(&idle)[1].to_nginx, None);
    }
}
