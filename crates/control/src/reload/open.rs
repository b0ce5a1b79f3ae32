//! The first configuration of a process: found, put in place, and told of when it is not the file.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use tidegate_config::Report;
use tidegate_core::Generation;
use tidegate_telemetry::EventKind;
use tokio::sync::{Mutex, watch};

use super::judge::From as Source;
use super::read::{Ready, certificate_files};
use super::{Document, Opened, Reloader, Watched};
use crate::generations::{Entry, Instead, Why};
use crate::launch::{Launch, Launched};
use crate::origin::{Cause, Origin};
use crate::places::Places;
use crate::quiet::Quiet;
use crate::shared::Shared;
use crate::stamp::Stamps;
use crate::state::StateError;

impl Reloader {
    /// Reads the configuration, or what is to serve instead of it, and lets it serve. Blocks on the
    /// disk.
    ///
    /// # Errors
    /// Every problem, when it is refused and nothing can be served instead; nothing serves then.
    pub fn open(launch: impl Into<Launch>, shared: Shared) -> Result<Opened, Report> {
        let launch = launch.into();
        let path = std::path::absolute(&launch.config).unwrap_or_else(|_| launch.config.clone());
        let before = Stamps::of([&path]);
        let launched = launch.launch()?;
        tell(&launched.problems, &shared);
        let (settings, warnings) = (launched.loaded.settings.clone(), launched.loaded.report());
        let same = count(&launched, &shared);
        shared.set_state(launched.generations.store());
        tell(&shared.orders.restore(&shared), &shared);
        let Launched {
            loaded,
            generations,
            marks,
            restored,
            ..
        } = launched;
        let reloader = Self {
            watched: watch::Sender::new(watched(&path, &before, &loaded.watched)),
            path,
            shared,
            settings: settings.clone(),
            certificates: OnceLock::new(),
            under_way: Mutex::new(Stamps::of(certificate_files(&settings))),
            document: ArcSwap::from_pointee(Document {
                generation: 0,
                hash: loaded.plan.content_hash.clone(),
                resolved: String::new(),
            }),
            last: ArcSwapOption::empty(),
            read: ArcSwap::default(),
            quiet: Quiet::start(),
            places: Places::default(),
            generations: Arc::new(generations),
            marks: Arc::new(std::sync::Mutex::new(marks)),
            series: ArcSwapOption::empty(),
            served: ArcSwap::default(),
            activated: watch::Sender::new(None),
        };
        reloader.begin(Ready::from(loaded), restored, same);
        reloader.shared.orders.tell_restored(&reloader.shared);
        Ok(Opened {
            reloader: Arc::new(reloader),
            settings,
            warnings,
        })
    }

    /// Lets the first plan serve. What served last goes on under the same number.
    fn begin(&self, ready: Ready, restored: Option<(Entry, Why, String)>, same: bool) {
        let mut origin = Origin::itself(Cause::Start);
        if let Some((_, _, detail)) = &restored {
            origin = origin.because(format!("instead of the file: {detail}"));
        }
        let brought_back = restored.as_ref().map(|(entry, ..)| entry.clone());
        let document = self.install(
            ready,
            Source {
                origin,
                is_file: restored.is_none(),
                restores: brought_back.filter(|_| !same),
                leaves: None,
                changed: String::new(),
            },
        );
        self.shared
            .plan
            .count_after(Generation(self.generations.last()));
        let instead = restored.map(|(_, why, detail)| Instead {
            why,
            generation: document.generation,
            detail,
        });
        if let Some(instead) = &instead {
            tracing::error!("{instead}");
            self.shared.events.record(EventKind::FileWithheld {
                generation: instead.generation,
                why: instead.why.as_str(),
                detail: instead.detail.clone(),
            });
        }
        self.generations.begins_instead(instead);
        if let Err(error) = self.generations.flush() {
            tell(&[error], &self.shared);
        }
    }
}

/// Lets numbers go on where they stopped. Whether the first plan is what served last, and goes on under
/// its number.
fn count(launched: &Launched, shared: &Shared) -> bool {
    let last = launched.generations.last();
    let hash = &launched.loaded.plan.content_hash;
    let serving = launched.generations.serving();
    let same = serving.filter(|serving| serving.hash == *hash && serving.fate.is_none());
    let before = same
        .as_ref()
        .map_or(last, |same| same.number.saturating_sub(1));
    shared.plan.count_after(Generation(before));
    same.is_some()
}

/// The configuration itself is watched even while something else serves.
fn watched(path: &Path, before: &Stamps, paths: &[std::path::PathBuf]) -> Watched {
    let mut paths = paths.to_vec();
    paths.push(path.to_owned());
    paths.sort();
    paths.dedup();
    Watched {
        stamps: before.extended_to(&paths),
        paths,
    }
}

/// What is wrong with the state directory stops nothing, and must be known.
pub(super) fn tell(problems: &[StateError], shared: &Shared) {
    for problem in problems {
        shared.metrics.state_problem();
        let problem = problem.to_string();
        shared.events.record(EventKind::StateProblem { problem });
    }
}
