//! The data plane's requests in the shape that control knows.

use tidegate_control::Traffic;
use tidegate_core::shadow::Case;
use tidegate_proxy::Tap;

/// What the tap shows.
pub(super) struct Shown(pub(super) Tap);

impl Traffic for Shown {
    fn open(&self) {
        self.0.open();
    }

    fn close(&self) {
        self.0.close();
    }

    fn take(&self, cases: &mut Vec<Case>) -> u64 {
        self.0.take(cases)
    }
}
