//! What becomes of what was read: the verdict, the swap, and everything that follows from it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tidegate_config::Problem;
use tidegate_core::Live;
use tidegate_telemetry::EventKind;
use tidegate_telemetry::labels::RollbackCause;

use super::read::{Bound, Read, Ready, report};
use super::{Activation, Document, Reloader, tell};
use crate::certificates::Certificate;
use crate::changes::{Changes, same_content};
use crate::generations::{Entry, Fate, Instead, Why};
use crate::origin::{Cause, Origin};
use crate::outcome::{CertificateOutcome, Outcome, Restored, Verdict};
use crate::restart::differing;
use crate::retire::Leaving;
use crate::shared::Shared;
use crate::stamp::Stamps;

/// Where a plan that is to serve comes from.
pub(super) struct From {
    pub(super) origin: Origin,
    /// Whether it is what the file says.
    pub(super) is_file: bool,
    /// The generation that is brought back.
    pub(super) restores: Option<Entry>,
    /// The generation that is left by it; refused when another one serves by then. None: whichever.
    pub(super) leaves: Option<u64>,
    /// What it changes, in words.
    pub(super) changed: String,
}

impl Reloader {
    pub(super) fn decide(
        &self,
        read: Read,
        stamps: &mut Stamps,
        origin: Origin,
        began: Instant,
    ) -> Outcome {
        if let Some(seen) = read.seen {
            self.read.store(Arc::new(seen));
        }
        let certificates = self.certificates_read(read.certificates, read.stamps, stamps);
        let restored = read.restores.as_ref().zip(read.ready.as_ref().ok());
        let restored = restored.map(|(entry, ready)| Restored {
            generation: entry.number,
            differs: entry.hash != ready.plan.plan().content_hash,
        });
        let from = From {
            origin: origin.clone(),
            is_file: read.is_file,
            restores: read.restores,
            leaves: read.leaves,
            changed: read
                .changes
                .as_ref()
                .map_or(String::new(), Changes::to_string),
        };
        let warnings = read.ready.as_ref().ok().map(|ready| ready.warnings.clone());
        let database = read.ready.as_ref().ok().map(|ready| ready.database.clone());
        let verdict = match read.ready {
            Err(report) => Verdict::Refused { report },
            Ok(ready) => self.judge(ready, read.changes, from),
        };
        if let Some(database) = database {
            self.places.tell(database, &verdict, &self.shared);
        }
        Outcome {
            origin,
            verdict,
            restored,
            kept: None,
            certificates,
            warnings,
            took: began.elapsed(),
        }
    }

    fn judge(&self, ready: Ready, changes: Option<Changes>, from: From) -> Verdict {
        let fields = differing(&self.settings, &ready.settings);
        if !fields.is_empty() {
            return Verdict::RestartNeeded { fields };
        }
        if let Some(verdict) = self.withheld(&ready, &from) {
            return verdict;
        }
        if let Some(verdict) = self.lost(&ready).or_else(|| self.overtaken(&from)) {
            return verdict;
        }
        self.watch(&ready.watched, from.is_file);
        if from.is_file {
            self.generations.saw_file(&ready.plan.plan().content_hash);
        }
        let serving = self.shared.plan.newest();
        match serving {
            Some(live) if same_content(&live.plan, ready.plan.plan()) => {
                if from.is_file {
                    self.generations.serves_instead(None);
                }
                Verdict::Unchanged {
                    generation: live.generation.0,
                    hash: live.plan.content_hash.clone(),
                }
            }
            serving => {
                let leaving = serving.map(|live| Leaving::of(live, &self.shared.metrics));
                let document = self.install(ready, from);
                if let Some(leaving) = leaving {
                    leaving.retire(self.quiet.clone(), self.shared.board.clone());
                }
                Verdict::Activated {
                    generation: document.generation,
                    hash: document.hash.clone(),
                    changes: Box::new(changes.unwrap_or_default()),
                }
            }
        }
    }

    /// A file that changed its looks but not its content is no reason to serve again what was left.
    fn withheld(&self, ready: &Ready, from: &From) -> Option<Verdict> {
        let hash = &ready.plan.plan().content_hash;
        let shunned = || self.marks().is_shunned(&ready.texts);
        let left = || self.generations.withholds(hash) || shunned();
        let serving = self.shared.plan.newest()?;
        let other = *serving.plan.content_hash != **hash;
        (from.origin.cause == Cause::File && other && left()).then(|| Verdict::Withheld {
            generation: serving.generation.0,
            hash: hash.clone(),
        })
    }

    /// What serves a share may have been abandoned a moment ago.
    fn lost(&self, ready: &Ready) -> Option<Verdict> {
        let Bound::Staged(live) = &ready.plan else {
            return None;
        };
        let stage = self.shared.plan.stage();
        let is_there = stage
            .as_ref()
            .is_some_and(|stage| Arc::ptr_eq(&stage.live, live));
        let message = "what was to serve everything is not staged any more";
        (!is_there).then(|| Verdict::Refused {
            report: report(&self.path, Problem::error("not_staged", message)),
        })
    }

    /// What was to be left may have been replaced while this waited for its turn.
    fn overtaken(&self, from: &From) -> Option<Verdict> {
        let left = from.leaves?;
        let serving = self.shared.plan.newest()?.generation.0;
        let message =
            format!("generation {left}, which was to be left, was replaced by {serving} meanwhile");
        (serving != left).then(|| Verdict::Refused {
            report: report(&self.path, Problem::error("overtaken", message)),
        })
    }

    /// The swap, and everything that follows from it.
    pub(super) fn install(&self, ready: Ready, from: From) -> Arc<Document> {
        let Shared {
            plan,
            board,
            events,
            orders,
            metrics,
            ..
        } = &self.shared;
        let before = plan.newest();
        let series = ready.arriving.map(|arriving| metrics.arrive(arriving));
        let live = match ready.plan {
            Bound::Plan(new) => orders.activate(new, plan, board),
            Bound::Staged(live) => orders.promote(&live.plan, plan, board).unwrap_or(live),
        };
        self.series.store(series.map(Arc::new));
        board.forget_unused();
        self.served.store(Arc::new(ready.texts));
        let document = Arc::new(Document {
            generation: live.generation.0,
            hash: live.plan.content_hash.clone(),
            resolved: ready.resolved,
        });
        self.document.store(document.clone());
        events.record(EventKind::PlanActivated {
            generation: document.generation,
            hash: document.hash.clone(),
            trigger: from.origin.cause.as_str(),
        });
        self.enter(&live, before.as_deref(), ready.bundle, from);
        document
    }

    /// Enters the new generation in the books.
    fn enter(
        &self,
        live: &Arc<Live>,
        before: Option<&Live>,
        bundle: tidegate_config::Bundle,
        from: From,
    ) {
        let number = live.generation.0;
        if let (true, Some(before)) = (from.origin.cause.is_rollback(), before) {
            self.left(before.generation.0, number, &from.origin);
        }
        let instead = self.instead(live, &from);
        let activation = Activation {
            generation: number,
            before: before.map(|before| before.generation.0),
            cause: from.origin.cause,
        };
        let entry = Entry {
            changed: from.changed,
            restores: from.restores.as_ref().map(Entry::content),
            ..Entry::new(number, live.plan.content_hash.clone(), from.origin)
        };
        self.generations.serves(entry, bundle);
        if self.started() {
            self.generations.serves_instead(instead);
        }
        self.activated.send_replace(Some(activation));
    }

    /// Enters that generation `from` was rolled back from.
    fn left(&self, from: u64, generation: u64, by: &Origin) {
        // Who exceeded which limit, the watch knows.
        if by.cause == Cause::Rollback {
            self.shared.metrics.rolled_back(RollbackCause::Operator);
        }
        self.shared.events.record(EventKind::RolledBack {
            from,
            generation,
            trigger: by.cause.as_str(),
            who: by.who.to_string(),
            reason: by.reason.as_ref().map(ToString::to_string),
        });
        self.generations
            .ended(from, Fate::RolledBack { by: by.clone() });
    }

    /// Why the file does not serve from now on; none when it does.
    fn instead(&self, live: &Live, from: &From) -> Option<Instead> {
        let is_file = from.is_file || self.generations.is_file(&live.plan.content_hash);
        let why = match from.origin.cause.is_rollback() {
            true => Why::RolledBack,
            false => Why::Activated,
        };
        (!is_file).then(|| Instead {
            why,
            generation: live.generation.0,
            detail: format!(
                "{}; the file is left until it changes, or `tidegate reload` asks for it",
                from.origin
            ),
        })
    }

    fn certificates_read(
        &self,
        read: Result<Vec<Certificate>, String>,
        now: Stamps,
        last: &mut Stamps,
    ) -> CertificateOutcome {
        let changed = *last != now;
        match read {
            Ok(certificates) => {
                *last = now;
                tell::expiries(&self.shared, &certificates);
                let names = certificates.into_iter().map(|certificate| certificate.name);
                CertificateOutcome::Read {
                    names: names.collect(),
                    changed,
                }
            }
            Err(problem) => CertificateOutcome::Kept { problem },
        }
    }

    /// The files of what serves are watched, and those of the configuration even while something else
    /// serves.
    fn watch(&self, paths: &[PathBuf], is_file: bool) {
        self.watched.send_if_modified(|watched| {
            let mut paths = paths.to_vec();
            if !is_file {
                paths.extend_from_slice(&watched.paths);
                paths.sort();
                paths.dedup();
            }
            let differs = watched.paths != paths;
            if differs {
                watched.stamps = watched.stamps.extended_to(&paths);
                watched.paths = paths;
            }
            differs
        });
    }
}
