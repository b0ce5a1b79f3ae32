//! Orders outlive the process: they are in the state directory, and in force before the first request of
//! the next one.
//!
//! An order is in force at once, and then written down; whoever gave it is answered when that is done, or
//! is told that it is not. What is read back is not believed before it has been looked at: somebody may
//! have written there.

use std::future::Future;
use std::sync::PoisonError;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tidegate_core::ids::MAX_REGIONS;
use tidegate_telemetry::EventKind;

use super::order::{Order, What};
use super::{Orders, bereft};
use crate::origin::Author;
use crate::outcome::Keeping;
use crate::shared::Shared;
use crate::state::StateError;

const NAME: &str = "orders.json";
/// What is more, or longer, is none of ours.
const ORDERS_MAX: usize = 100_000;
const NAME_CHARS_MAX: usize = 500;

/// What is in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(try_from = "Found")]
struct Kept {
    orders: Vec<Order>,
}

/// The same before it was looked at.
#[derive(Deserialize)]
struct Found {
    orders: Vec<Order>,
}

impl TryFrom<Found> for Kept {
    type Error = String;

    fn try_from(found: Found) -> Result<Self, String> {
        let Found { mut orders } = found;
        if orders.len() > ORDERS_MAX {
            return Err(format!("{} orders", orders.len()));
        }
        for order in &mut orders {
            inspect(order)?;
        }
        Ok(Self { orders })
    }
}

/// Refuses what no order of ours can be.
fn inspect(order: &mut Order) -> Result<(), String> {
    let is_name = |name: &str| {
        let is_short = name.chars().take(NAME_CHARS_MAX + 1).count() <= NAME_CHARS_MAX;
        !name.is_empty() && is_short && !name.chars().any(char::is_control)
    };
    if !order.what.names().into_iter().all(|name| is_name(name)) {
        return Err("a name that is none".to_owned());
    }
    match &order.what {
        What::Dial { to: Some(to), .. } if !(0.0..=1.0).contains(to) => {
            return Err(format!("a dial at {to}"));
        }
        What::Order { regions, .. } if regions.is_empty() || regions.len() > MAX_REGIONS => {
            return Err(format!("an order of {} regions", regions.len()));
        }
        _ => {}
    }
    let author = &order.note.author;
    let reason = author.reason.as_ref().map(|reason| reason.as_bytes());
    let author = Author::new(Some(author.who.as_bytes()), reason);
    order.note.author = author.map_err(|error| error.to_string())?;
    Ok(())
}

impl Orders {
    /// Puts the orders in force that the process before this one has left, without those whose time is
    /// over. Blocks on the disk. What is wrong there is answered, and stops nothing.
    pub(crate) fn restore(&self, shared: &Shared) -> Vec<StateError> {
        let Some(store) = shared.state() else {
            return Vec::new();
        };
        let kept = match store.read::<Kept>(NAME) {
            Ok(kept) => kept.map(|kept| kept.orders).unwrap_or_default(),
            Err(error) => return vec![error],
        };
        let now = SystemTime::now();
        let (over, kept): (Vec<_>, Vec<_>) =
            kept.into_iter().partition(|order| order.note.is_over(now));
        let itself = Author::itself("its time was over while the process did not run");
        for order in &over {
            order.tell("expired", &itself, &shared.events);
        }
        {
            let mut book = self.lock();
            kept.into_iter().for_each(|order| book.put(order));
        }
        if over.is_empty() {
            return Vec::new();
        }
        self.write(shared);
        Vec::new()
    }

    /// Says which orders were found again, and what they leave without any region. For the moment when
    /// the first plan serves.
    pub(crate) fn tell_restored(&self, shared: &Shared) {
        let itself = Author::itself("kept from before the start");
        let orders = self.list();
        for order in &orders {
            order.tell("restored", &itself, &shared.events);
        }
        let Some(live) = shared.plan.newest() else {
            return;
        };
        let left = bereft::without_any(&live);
        if orders.is_empty() || left.is_empty() {
            return;
        }
        shared.events.record(EventKind::Order {
            what: "leaves_nothing",
            order: format!(
                "orders kept from before the start leave no region to {}",
                bereft::listed(&left)
            ),
            given_by: itself.who.clone(),
            who: itself.who,
            reason: itself.reason,
            expires: None,
        });
    }

    /// Writes down what is in force. That begins at once, and goes on if the future is dropped. Needs a
    /// tokio runtime.
    pub(crate) fn keep(shared: &Shared) -> impl Future<Output = Keeping> + use<> {
        let shared = shared.clone();
        let writing = tokio::task::spawn_blocking(move || shared.orders.write(&shared));
        async move {
            let written = writing.await;
            written.unwrap_or_else(|error| Keeping::Failed(error.to_string()))
        }
    }

    /// Why the orders in force are not on the disk, although they should be; none when they are, and where
    /// there is no state directory.
    pub(crate) fn unkept(&self) -> Option<String> {
        let unkept = self.unkept.lock().unwrap_or_else(PoisonError::into_inner);
        unkept.clone()
    }

    fn write(&self, shared: &Shared) -> Keeping {
        let Some(store) = shared.state() else {
            return Keeping::Memory;
        };
        // The last one writes what is in force then, whoever came first.
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let orders = self.lock().list();
        let problem = store.write(NAME, &Kept { orders }).err();
        let problem = problem.map(|error| error.to_string());
        let mut unkept = self.unkept.lock().unwrap_or_else(PoisonError::into_inner);
        if problem.is_some() && *unkept != problem {
            // Tried again from time to time.
            self.deadline.notify_one();
            shared.metrics.state_problem();
            let problem = problem.clone().unwrap_or_default();
            shared.events.record(EventKind::StateProblem { problem });
        }
        unkept.clone_from(&problem);
        problem.map_or(Keeping::Disk, Keeping::Failed)
    }
}
