//! Attempts stay within the formula, whatever comes in whatever order.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_core::budget::{Budget, Purse, RESERVE, WINDOW_S};

#[derive(Clone, Copy, Debug)]
enum Step {
    Requests(u16),
    Retries(Purse, u16),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..400u16).prop_map(Step::Requests),
        (0..400u16).prop_map(|n| Step::Retries(Purse::InRegion, n)),
        (0..400u16).prop_map(|n| Step::Retries(Purse::CrossRegion, n)),
        (0..4_000u64).prop_map(Step::Wait),
        (0..40_000u64).prop_map(Step::Wait),
    ]
}

/// What happened, with its second.
#[derive(Default)]
struct Ledger {
    requests: Vec<u64>,
    retries: [Vec<u64>; 2],
}

fn run(budget: &Budget, origin: Instant, steps: &[Step]) -> Ledger {
    let (mut ledger, mut elapsed) = (Ledger::default(), Duration::ZERO);
    for step in steps {
        let now = origin + elapsed;
        match *step {
            Step::Wait(ms) => elapsed += Duration::from_millis(ms),
            Step::Requests(n) => (0..n).for_each(|_| {
                budget.deposit(now);
                ledger.requests.push(elapsed.as_secs());
            }),
            Step::Retries(purse, n) => {
                let granted = (0..n).filter(|_| budget.withdraw(purse, now)).count();
                ledger.retries[purse as usize].extend(vec![elapsed.as_secs(); granted]);
            }
        }
    }
    ledger
}

fn count(seconds: &[u64], from: u64, to: u64) -> f64 {
    seconds
        .iter()
        .filter(|second| (from..=to).contains(second))
        .count() as f64
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn retries_stay_within_share_and_reserve(
        shares in (0.0..2.0f64, 0.0..2.0f64),
        steps in vec(step(), 1..60),
    ) {
        let origin = Instant::now();
        let budget = Budget::new(origin);
        budget.configure(shares.0, shares.1);
        let ledger = run(&budget, origin, &steps);
        let end = ledger.requests.iter().chain(&ledger.retries[0]).chain(&ledger.retries[1]).max();
        let end = end.copied().unwrap_or(0);
        for (retries, share) in ledger.retries.iter().zip([shares.0, shares.1]) {
            // Counted back from every retry ...
            for &to in retries.iter().collect::<BTreeSet<_>>() {
                let from = to.saturating_sub(WINDOW_S.into());
                let limit = share * count(&ledger.requests, from, to) + f64::from(RESERVE);
                prop_assert!(count(retries, from, to) <= limit, "seconds {from} to {to}");
            }
            // ... and over all time, the reserve once a window.
            let windows = (end / u64::from(WINDOW_S + 1) + 1) as f64;
            let limit = share * ledger.requests.len() as f64 + f64::from(RESERVE) * windows;
            prop_assert!(retries.len() as f64 <= limit, "{} retries of {limit}", retries.len());
        }
    }
}
