//! Generations: which are alive and what holds them, which can be gone back to, and going back.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};
use tidegate_core::pins::Alive;

use super::asked::Asked;
use super::author::By;
use super::plan::answer;
use super::problem::Problem;
use super::{AdminOptions, Context};
use crate::generations::{Entry, NoGeneration};
use crate::origin::{Cause, Origin};

pub(super) async fn list(State(context): Context) -> Json<Value> {
    let generations = context.reloader.generations();
    let serving = generations.serving().map(|entry| entry.number);
    let staged = context.shared.plan.stage();
    let staged = staged.as_ref().map(|stage| stage.live.generation.0);
    let tell = |alive: &Alive| alive_json(alive, serving, staged);
    let alive: Vec<_> = context.shared.plan.held().iter().rev().map(tell).collect();
    let entries = generations.entries();
    let history: Vec<_> = entries.iter().rev().map(Entry::to_json).collect();
    Json(json!({
        "serving": serving,
        "stage": crate::candidate::staged(&context.shared.plan),
        "instead_of_file": generations.instead(),
        "state_dir": generations.store().map(|store| store.path()),
        "alive": alive,
        "history": history,
    }))
}

fn alive_json(alive: &Alive, serving: Option<u64>, staged: Option<u64>) -> Value {
    let number = Some(alive.generation.0);
    let role = match () {
        () if number == serving => "serving",
        () if number == staged => "staged",
        () => "draining",
    };
    let under_way = &alive.under_way;
    json!({
        "generation": alive.generation.0,
        "hash": alive.content_hash,
        "role": role,
        "whole": alive.whole,
        "bytes": if alive.whole { alive.plan_bytes as u64 } else { alive.route_bytes },
        "pinned_by": {
            "workers": alive.holders.workers,
            "others": alive.holders.others,
            "requests": under_way.requests,
            "answers": under_way.answers,
            "resumable": under_way.resumable,
            "tunnels": under_way.tunnels,
            "copies": under_way.copies,
            "routes": alive.routes,
        },
    })
}

pub(super) async fn rollback(State(context): Context, By(author): By, asked: Asked) -> Response {
    match roll_back(&context, Origin::by(Cause::Rollback, author), asked).await {
        Ok(answer) => answer,
        Err(problem) => problem.into_response(),
    }
}

async fn roll_back(
    context: &AdminOptions,
    origin: Origin,
    asked: Asked,
) -> Result<Response, Problem> {
    let meaning = "the number of a generation, as `tidegate generations` lists them; leave it out for \
                   the one before";
    let to = asked.knowing(&["to"])?.number("to", meaning)?;
    let outcome = context.reloader.rollback(to, origin).await;
    let outcome = outcome.map_err(|error| no_generation(&error))?;
    Ok(answer(&outcome))
}

fn no_generation(error: &NoGeneration) -> Problem {
    let title = "There is no such generation to go back to; nothing changed";
    let detail = error.to_string();
    Problem::new(StatusCode::NOT_FOUND, "no_generation", title, detail)
}
