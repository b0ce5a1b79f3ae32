//! What a caller is told to do, as a line.

use std::fmt;

/// One order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// So many connections with one request each, closed after its answer.
    Visit(u32),
    /// So many more connections with one request each, held.
    Open(u32),
    /// One more request on each that is held.
    Ask,
}

impl Order {
    /// The order that a line means.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (word, count) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "visit" => count.parse().ok().map(Self::Visit),
            "open" => count.parse().ok().map(Self::Open),
            "ask" if count.is_empty() => Some(Self::Ask),
            _ => None,
        }
    }

    /// What of it falls to one of `lanes`; the first ones take what is left over.
    pub(super) fn share(self, lane: u32, lanes: u32) -> Self {
        let of = |count: u32| count / lanes + u32::from(lane < count % lanes);
        match self {
            Self::Visit(count) => Self::Visit(of(count)),
            Self::Open(count) => Self::Open(of(count)),
            Self::Ask => Self::Ask,
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Visit(count) => write!(f, "visit {count}"),
            Self::Open(count) => write!(f, "open {count}"),
            Self::Ask => write!(f, "ask"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_the_order_it_was() {
        for order in [Order::Visit(7), Order::Open(10_000), Order::Ask] {
            assert_eq!(Order::parse(&order.to_string()), Some(order));
        }
        for line in ["", "ask 2", "visit", "visit x", "open -1", "close"] {
            assert_eq!(Order::parse(line), None, "{line}");
        }
    }

    #[test]
    fn shares_add_up() {
        for count in [0, 1, 15, 16, 17, 9_999] {
            let shares = (0..16).map(|lane| match Order::Visit(count).share(lane, 16) {
                Order::Visit(share) => share,
                other => panic!("{other}"),
            });
            assert_eq!(shares.sum::<u32>(), count);
        }
    }
}
