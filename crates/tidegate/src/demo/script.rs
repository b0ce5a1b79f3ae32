//! What goes wrong, when, and what was counted meanwhile.

use std::time::Duration;

use tidegate_lab::Mode;
use tokio::time::{Instant, sleep_until};

use super::figures::Figures;
use super::stage::Stage;
use super::timeline::Timeline;
use super::traffic::{Books, Traffic};
use crate::exit::Failure;

/// One part of the script. Acts on the nearest region, at its beginning.
pub(super) struct Scene {
    /// A short name, for the table and for tools.
    pub(super) name: &'static str,
    /// What happens, in words.
    pub(super) told: &'static str,
    /// Parts of a hundred of the whole.
    share: u32,
    act: Act,
}

impl Scene {
    /// Whether something is taken away, so that the time to get over it means something.
    pub(super) fn is_fault(&self) -> bool {
        matches!(self.act, Act::Drain(true))
            || matches!(self.act, Act::Link(mode) if mode != Mode::Up)
    }
}

#[derive(Clone, Copy)]
enum Act {
    Nothing,
    Link(Mode),
    Drain(bool),
}

const fn scene(name: &'static str, share: u32, act: Act, told: &'static str) -> Scene {
    Scene {
        name,
        told,
        share,
        act,
    }
}

const SCENES: [Scene; 7] = [
    scene("calm", 14, Act::Nothing, "everything is well"),
    scene(
        "black hole",
        22,
        Act::Link(Mode::Unreachable),
        "eu-west goes silent: open connections stay open, new ones hang, nothing comes back",
    ),
    scene("back", 14, Act::Link(Mode::Up), "eu-west answers again"),
    scene(
        "drain",
        12,
        Act::Drain(true),
        "an operator drains eu-west: no new attempts go there",
    ),
    scene("undrain", 10, Act::Drain(false), "the drain ends"),
    scene(
        "resets",
        16,
        Act::Link(Mode::Reset),
        "eu-west resets every connection, open or new",
    ),
    scene("recovery", 12, Act::Link(Mode::Up), "eu-west is well again"),
];

/// The scenes with their lengths.
pub(super) struct Script {
    total: Duration,
}

/// What a scene's end finds: its figures so far, and how to tell the rest.
pub(super) struct Played {
    /// One for each scene, in order.
    pub(super) figures: Vec<Figures>,
    /// How long it all took.
    pub(super) took: Duration,
}

/// What was counted at one moment.
struct Mark {
    at: Duration,
    books: Books,
    rescued: u64,
}

impl Mark {
    fn now(stage: &Stage, traffic: &Traffic) -> Self {
        Self {
            at: traffic.elapsed(),
            books: traffic.books(),
            rescued: stage.counted("tidegate_requests_rescued_total"),
        }
    }

    fn until(&self, end: &Self, scene: &Scene) -> Figures {
        let part = end.books.since(&self.books);
        Figures::new(scene, &part, self.at..end.at, end.rescued - self.rescued)
    }
}

impl Script {
    /// The script, stretched to so many seconds.
    pub(super) fn scaled(seconds: u64) -> Self {
        Self {
            total: Duration::from_secs(seconds),
        }
    }

    /// Plays every scene, showing what happens.
    pub(super) async fn play(
        &self,
        stage: &Stage,
        traffic: &Traffic,
        timeline: &mut Timeline,
    ) -> Result<Played, Failure> {
        let mut figures = Vec::with_capacity(SCENES.len());
        let mut mark = Mark::now(stage, traffic);
        let mut ends = Instant::now();
        for scene in &SCENES {
            ends += self.total * scene.share / 100;
            act(stage, scene.act).await?;
            timeline.scene(scene, traffic.elapsed())?;
            self.watch(ends, stage, traffic, timeline).await?;
            let end = Mark::now(stage, traffic);
            figures.push(mark.until(&end, scene));
            mark = end;
        }
        timeline.end()?;
        Ok(Played {
            figures,
            took: traffic.elapsed(),
        })
    }

    async fn watch(
        &self,
        ends: Instant,
        stage: &Stage,
        traffic: &Traffic,
        timeline: &mut Timeline,
    ) -> Result<(), Failure> {
        loop {
            let next = (Instant::now() + timeline.interval()).min(ends);
            sleep_until(next).await;
            if next == ends {
                return Ok(());
            }
            timeline.frame(stage, traffic, self.total)?;
        }
    }
}

async fn act(stage: &Stage, act: Act) -> Result<(), Failure> {
    match act {
        Act::Nothing => Ok(()),
        Act::Link(mode) => stage.set_link(mode).await,
        Act::Drain(draining) => stage.set_draining(draining),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scenes_fill_the_time() {
        assert_eq!(SCENES.iter().map(|scene| scene.share).sum::<u32>(), 100);
    }
}
