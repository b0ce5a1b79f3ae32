//! What happens between the start and the end: signals, and an orderly shutdown.

use std::sync::Arc;

use tidegate_control::{Cause, Signal, Signals, State};
use tidegate_proxy::Drained;
use tidegate_telemetry::EventKind;

use super::Process;

impl Process {
    /// Serves until it is told to end, then ends: not ready any more, nothing new accepted,
    /// requests under way finished. A second signal to end ends at once.
    pub(super) async fn live(self, mut signals: Signals) {
        while signals.next().await == Signal::Reload {
            self.reload();
        }
        self.readiness.set(State::Stopping);
        // It has lived through its start, however short its life was.
        self.reloader.prove().await;
        self.shared.events.record(EventKind::ShuttingDown);
        let draining = self.proxy.shutdown(self.settings.shutdown_timeout);
        tokio::select! {
            drained = draining => tell(drained),
            () = told_to_end(&mut signals) => tracing::warn!("told again to end: ends at once"),
        }
        self.access.close();
        if let Some(admin) = self.admin {
            admin.stop().await;
        }
    }

    /// Reads everything again, beside whatever else goes on.
    fn reload(&self) {
        self.access.reopen();
        let reloader = Arc::clone(&self.reloader);
        tokio::spawn(async move { reloader.reload(Cause::Signal).await });
    }
}

async fn told_to_end(signals: &mut Signals) {
    while signals.next().await == Signal::Reload {}
}

fn tell(drained: Drained) {
    match drained.finished {
        true => tracing::info!("every connection has ended"),
        false => tracing::warn!(
            connections = drained.cut,
            "shutdown_timeout is over: connections were cut"
        ),
    }
}
