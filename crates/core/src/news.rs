//! That something on the board has changed, told to whoever must act at once.
//!
//! The board's cells hold numbers that anybody can read; that is enough for the next request, not for
//! those that already wait in a region. Whoever owns such waiting registers here, and is called with
//! no lock held that matters to a request. Changes of health and drain are rare.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

type Listener = Box<dyn Fn() + Send + Sync>;

/// Who is told of changes. Clones share.
#[derive(Clone, Default)]
pub struct News(Arc<RwLock<Vec<Listener>>>);

impl News {
    /// Has `listener` called after every change from now on, for good. It must return at once.
    pub fn subscribe(&self, listener: impl Fn() + Send + Sync + 'static) {
        let mut listeners = self.0.write().unwrap_or_else(PoisonError::into_inner);
        listeners.push(Box::new(listener));
    }

    /// Tells everybody.
    pub(crate) fn tell(&self) {
        let listeners = self.0.read().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().for_each(|listener| listener());
    }
}

impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("News")
    }
}
