//! A webhook that starts a region: a POST with the names of what is to be started. Its status counts;
//! redirects are not followed.

use std::time::Duration;

use http::{HeaderMap, Method, Uri};
use serde_json::json;
use tidegate_telemetry::labels::StartResult;
use tokio::time::timeout;

use super::ledger::Place;
use super::{Ended, KEPT_BYTES};
use crate::call::call;

/// Asks `url` to start `place`, and waits for the answer at most for `limit`.
pub(super) async fn send(url: &str, place: &Place, limit: Duration) -> Ended {
    let url: Uri = match url.parse() {
        Ok(url) => url,
        Err(error) => return Ended::failed(error),
    };
    let (upstream, region) = place;
    let document = json!({ "upstream": &**upstream, "region": &**region }).to_string();
    let asked = call(
        Method::POST,
        &url,
        Some(document),
        HeaderMap::new(),
        KEPT_BYTES,
    );
    match timeout(limit, asked).await {
        Err(_elapsed) => Ended::timeout(limit),
        Ok(Err(error)) => Ended::failed(error),
        Ok(Ok(answer)) => Ended {
            result: match answer.status.is_success() {
                true => StartResult::Started,
                false => StartResult::Failed,
            },
            how: format!("answered {}", answer.status),
            output: answer.body,
        },
    }
}
