//! The database of clients' places, as far as control tells of it: what became of its file, and what
//! it is.
//!
//! It is part of the plan, so it serves and goes with one. What is kept here is only what is wrong with
//! its file at the moment, while the last good one serves.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use serde::Serialize;
use tidegate_config::DatabaseRead;
use tidegate_core::Plan;
use tidegate_core::geo::Database;
use tidegate_telemetry::EventKind;
use tidegate_telemetry::labels::ReloadResult;

use crate::outcome::Verdict;
use crate::shared::Shared;

/// What is known of the database's file.
#[derive(Debug, Default)]
pub(crate) struct Places {
    problem: ArcSwapOption<String>,
}

/// What tells where clients are.
#[derive(Debug, Serialize)]
pub(crate) struct PlacesStatus {
    /// The database; null where only networks are listed.
    database: Option<DatabaseStatus>,
    /// How many networks the configuration lists.
    networks: usize,
}

#[derive(Debug, Serialize)]
struct DatabaseStatus {
    file: Arc<str>,
    /// What its maker calls it, like `GeoLite2-City`.
    #[serde(rename = "type")]
    kind: String,
    /// When it was made, in seconds since 1970.
    built: u64,
    bytes: u64,
    /// Why its file cannot be used, while this one goes on serving; null when it can.
    problem: Option<Arc<String>>,
}

impl Places {
    /// Counts and tells what became of the database when a configuration was read that was not refused.
    pub(crate) fn tell(&self, read: Option<DatabaseRead>, verdict: &Verdict, shared: &Shared) {
        let Some(read) = read else {
            self.problem.store(None);
            return;
        };
        let problem = match read {
            DatabaseRead::New if matches!(verdict, Verdict::RestartNeeded { .. }) => return,
            DatabaseRead::New => {
                shared.metrics.geo_reloaded(ReloadResult::Applied);
                shared.events.record(reloaded(shared));
                None
            }
            DatabaseRead::Same => {
                shared.metrics.geo_reloaded(ReloadResult::Unchanged);
                None
            }
            DatabaseRead::Kept { problem } => {
                shared.metrics.geo_reloaded(ReloadResult::Refused);
                Some(problem)
            }
        };
        let before = self.problem.swap(problem.clone().map(Arc::new));
        // Told once, not at every reload until somebody mends it.
        match problem {
            Some(problem) if before.as_deref() != Some(&problem) => {
                shared.events.record(EventKind::GeoRefused { problem });
            }
            None if before.is_some() => {
                tracing::info!("the database of clients' places can be read again");
            }
            _ => {}
        }
    }

    /// What serves, and what is wrong with its file; none without the section `geo`.
    pub(crate) fn status(&self, plan: &Plan) -> Option<PlacesStatus> {
        let atlas = plan.atlas.as_ref()?;
        let status = |database: &Arc<Database>| DatabaseStatus {
            file: database.name().clone(),
            kind: database.kind(),
            built: database.built(),
            bytes: database.fingerprint().bytes,
            problem: self.problem.load_full(),
        };
        Some(PlacesStatus {
            database: atlas.database().map(status),
            networks: atlas.networks().count(),
        })
    }
}

fn reloaded(shared: &Shared) -> EventKind {
    let live = shared.plan.newest();
    let atlas = live.as_ref().and_then(|live| live.plan.atlas.as_ref());
    let database = atlas.and_then(|atlas| atlas.database());
    EventKind::GeoReloaded {
        database: database.map(|database| database.kind()).unwrap_or_default(),
        built: database.map_or(0, |database| database.built()),
    }
}
