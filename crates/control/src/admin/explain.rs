//! What was decided for a request, told and made again; and what would be decided for one now.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use http::StatusCode;
use serde::Serialize;
use serde_json::json;
use tidegate_core::Plan;
use tidegate_core::record::{self, Record, Replayed, Summary, Told as Recorded};

use super::Context;
use super::problem::Problem;
use crate::question::{Question, Told};

/// The most records that a list shows, and how many it shows unless asked.
const LIST_MAX: usize = 1000;
const LIST_USUAL: usize = 50;

type Pairs = Vec<(String, String)>;
type Asked = Result<Query<Pairs>, QueryRejection>;

/// A record, or what came of making its decisions again.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Answer {
    Recorded(Box<Whole>),
    Replayed(Box<Again>),
}

#[derive(Serialize)]
pub(super) struct Whole {
    #[serde(flatten)]
    told: Recorded,
    /// Other requests that came with the same identity.
    same_id: Vec<Summary>,
}

#[derive(Serialize)]
pub(super) struct Again {
    id: Box<str>,
    generation: u64,
    #[serde(flatten)]
    replayed: Replayed,
    story: String,
}

/// What would happen to a request now.
pub(super) async fn ask(State(context): Context, pairs: Asked) -> Result<Json<Told>, Problem> {
    let question = question(&pairs_of(pairs)?)?;
    let live = context.shared.plan.newest().ok_or_else(Problem::no_plan)?;
    let mut rng = fastrand::Rng::new();
    Ok(Json(question.ask(&live, Instant::now(), &mut rng)))
}

fn pairs_of(pairs: Asked) -> Result<Pairs, Problem> {
    let Query(pairs) = pairs.map_err(|error| Problem::bad_request(error.body_text()))?;
    Ok(pairs)
}

fn question(pairs: &Pairs) -> Result<Question, Problem> {
    let (mut method, mut url, mut headers) = ("GET", None, Vec::new());
    for (name, value) in pairs {
        match name.as_str() {
            "method" => method = value,
            "url" => url = Some(value),
            "header" => headers.push(value),
            _ => {
                let detail = "the parameters are method, url and header (which may be repeated)";
                return Err(Problem::bad_request(detail).with("parameter", json!(name)));
            }
        }
    }
    let url = url.ok_or_else(|| Problem::bad_request("the parameter url is missing"))?;
    Question::new(method, url, &headers).map_err(|error| Problem::bad_request(error.to_string()))
}

/// The newest records.
pub(super) async fn recent(
    State(context): Context,
    pairs: Asked,
) -> Result<Json<Vec<Summary>>, Problem> {
    let (mut failed, mut limit) = (false, LIST_USUAL);
    for (name, value) in pairs_of(pairs)? {
        match name.as_str() {
            "failed" if matches!(&*value, "" | "true") => failed = true,
            "limit" => limit = number(&name, &value)?,
            _ => {
                let detail = "the parameters are failed and limit=N";
                return Err(Problem::bad_request(detail).with("parameter", json!(name)));
            }
        }
    }
    let limit = limit.min(LIST_MAX);
    let records = context
        .shared
        .records
        .newest(limit, |record| !failed || record.failed());
    Ok(Json(
        records.iter().map(|record| record.summary()).collect(),
    ))
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, Problem> {
    let wrong = |_| Problem::bad_request(format!("`{value}` is no number for {name}"));
    value.parse().map_err(wrong)
}

/// The record of a request, as a story or made again.
pub(super) async fn recorded(
    State(context): Context,
    Path(id): Path<String>,
    pairs: Asked,
) -> Result<Json<Answer>, Problem> {
    let (mut replay, mut generation) = (false, None);
    for (name, value) in pairs_of(pairs)? {
        match name.as_str() {
            "replay" if matches!(&*value, "" | "true") => replay = true,
            "generation" => generation = Some(number(&name, &value)?),
            _ => {
                let detail = "the parameters are replay and, with it, generation=N";
                return Err(Problem::bad_request(detail).with("parameter", json!(name)));
            }
        }
    }
    let mut records = context.shared.records.find(&id).into_iter();
    let record = records.next().ok_or_else(|| not_recorded(&context, &id))?;
    if !replay && generation.is_none() {
        let (told, same_id) = (record.told(), records.map(|one| one.summary()).collect());
        return Ok(Json(Answer::Recorded(Box::new(Whole { told, same_id }))));
    }
    let number = generation.unwrap_or(record.generation.0);
    let plan = plan_of(&context, number, &record).await?;
    let id = record.id.clone();
    let again = move || {
        let replayed = record::replay(&record, &plan);
        let story = replayed.story(&record, number);
        (replayed, story)
    };
    let again = context.reloader.quiet().run(again).await;
    let (replayed, story) = again.map_err(|error| cannot(error.to_string()))?;
    Ok(Json(Answer::Replayed(Box::new(Again {
        id,
        generation: number,
        replayed,
        story,
    }))))
}

/// Why there is no record, and what to do for the next one.
fn not_recorded(context: &super::AdminOptions, id: &str) -> Problem {
    let policy = context
        .shared
        .plan
        .newest()
        .and_then(|live| live.plan.explain);
    let (kept, bytes) = context.shared.records.size();
    let detail = match policy {
        None => "nothing is recorded: `explain` is off in the configuration".to_owned(),
        Some(policy) => format!(
            "no record of request `{id}`. {kept} of at most {} are kept. Requests that lose the answer \
             that they are owed, or need more than one attempt, are recorded until newer ones take their \
             places; of all others, refused ones and those that a route answers by itself among them, \
             {}% are: raise `explain.sample` for more, `explain.keep` for longer",
            policy.keep,
            policy.share() * 100.0
        ),
    };
    let title = "There is no record of such a request";
    Problem::new(StatusCode::NOT_FOUND, "not_recorded", title, detail)
        .with("records", json!(kept))
        .with("bytes", json!(bytes))
}

/// The plan of a generation: one that is alive, or made again of its texts.
async fn plan_of(
    context: &super::AdminOptions,
    number: u64,
    record: &Arc<Record>,
) -> Result<Arc<Plan>, Problem> {
    let alive = context.shared.plan.alive();
    if let Some(live) = alive.iter().find(|live| live.generation.0 == number) {
        return Ok(live.plan.clone());
    }
    let same = |live: &&Arc<tidegate_core::Live>| live.plan.content_hash == record.content_hash;
    if let Some(live) = alive
        .iter()
        .find(same)
        .filter(|_| number == record.generation.0)
    {
        return Ok(live.plan.clone());
    }
    let (generations, serving) = (
        context.reloader.generations().clone(),
        alive.first().cloned(),
    );
    let compile = move || {
        let bundle = generations
            .bundle(number)
            .map_err(|error| error.to_string())?;
        let serving = serving.as_ref().map(|live| &*live.plan);
        let loaded = tidegate_config::load_bundle(&bundle, serving);
        loaded
            .map_err(|report| format!("generation {number} cannot be compiled any more: {report}"))
    };
    let compiled = context.reloader.quiet().run(compile).await;
    let loaded = compiled.map_err(|error| cannot(error.to_string()))?;
    Ok(Arc::new(loaded.map_err(cannot)?.plan))
}

fn cannot(detail: String) -> Problem {
    let title = "The decisions cannot be made again with that generation";
    Problem::new(StatusCode::NOT_FOUND, "no_generation", title, detail)
}
