//! Whom a fault meets.

use std::time::Duration;

use http::StatusCode;

use crate::lot::Lot;
use crate::plan::Fault;

/// What is injected into one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// It waits so long before anything is attempted for it.
    pub delay: Option<Duration>,
    /// Then it is answered with this.
    pub abort: Option<StatusCode>,
}

impl Fault {
    /// What meets the request that has this lot: neither share depends on the other.
    pub fn draw(&self, lot: Lot) -> Injected {
        let delay = self.delay.filter(|delay| delay.share.passes(lot.delay()));
        let abort = self.abort.filter(|abort| abort.share.passes(lot.abort()));
        Injected {
            delay: delay.map(|delay| delay.time),
            abort: abort.map(|abort| abort.status),
        }
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::plan::{Abort, Delay};
    use crate::standing::Dial;

    #[test]
    fn each_share_is_its_own() {
        let fault = Fault {
            delay: Some(Delay {
                time: Duration::from_millis(200),
                share: Dial::new(0.5),
            }),
            abort: Some(Abort {
                status: StatusCode::SERVICE_UNAVAILABLE,
                share: Dial::new(0.1),
            }),
        };
        let mut rng = Rng::with_seed(7);
        let mut draw = || fault.draw(Lot::draw(&mut rng));
        let drawn: Vec<_> = (0..10_000).map(|_| draw()).collect();
        let count = |is: &dyn Fn(&Injected) -> bool| drawn.iter().filter(|one| is(one)).count();
        let near = |count: usize, expected: usize| count.abs_diff(expected) < 200;
        assert!(near(count(&|one| one.delay.is_some()), 5000));
        assert!(near(count(&|one| one.abort.is_some()), 1000));
        assert!(near(
            count(&|one| one.delay.is_some() && one.abort.is_some()),
            500
        ));
        let never = Fault::default();
        assert_eq!(never.draw(Lot::draw(&mut rng)), Injected::default());
    }
}
