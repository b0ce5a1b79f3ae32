//! Answers of our own: what went wrong, as `application/problem+json` (RFC 9457) with the
//! termination reason. A call of gRPC is told the same in its own words: status 200 and a code
//! without a message, because its client would make a guess of any other status.

use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tidegate_core::Termination;
use tidegate_core::plan::Fallback;

use crate::answer::{Answer, AnswerHead, AnswerWords};
use crate::context::Context;
use crate::download::Download;
use crate::finish::Finish;
use crate::grpc::{CallEnd, Dialect};
use crate::request_id::RequestId;

/// Longest detail that is shown, in bytes.
const DETAIL_LIMIT: usize = 300;

/// Why a request is answered by ourselves.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) termination: Termination,
    status: StatusCode,
    detail: Option<String>,
    outcome_unknown: bool,
    dialect: Option<Dialect>,
    instead: Option<Arc<Fallback>>,
}

impl Refusal {
    /// The answer for this reason, with what a person needs to know.
    pub(crate) fn new(termination: Termination, detail: Option<String>) -> Self {
        Self {
            termination,
            status: termination.status(),
            detail,
            outcome_unknown: false,
            dialect: None,
            instead: None,
        }
    }

    /// What a person needs to know; its title where there is nothing to add.
    pub(crate) fn said(&self) -> &str {
        let title = || title(self.termination, self.outcome_unknown);
        self.detail.as_deref().map_or_else(title, shorten)
    }

    /// Another status than the reason's usual one.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The request was sent and may have been processed: nobody knows.
    pub(crate) fn outcome_unknown(mut self, unknown: bool) -> Self {
        self.outcome_unknown = unknown;
        self
    }

    /// The request is a call of gRPC, if it is one.
    pub(crate) fn spoken(mut self, dialect: Option<Dialect>) -> Self {
        self.dialect = dialect;
        self
    }

    /// What the upstream's plan wants answered where no region serves. Residency's own refusal is not
    /// that, nor is what may have been done; and a call of gRPC is told in its own words.
    pub(crate) fn or_fallback(mut self, fallback: Option<&Arc<Fallback>>) -> Self {
        let fits = self.dialect.is_none() && !self.outcome_unknown && self.is_for_want_of_regions();
        self.instead = fallback.filter(|_| fits).cloned();
        self
    }

    fn is_for_want_of_regions(&self) -> bool {
        matches!(
            self.termination,
            Termination::NoHealthyRegion
                | Termination::AffinityLost
                | Termination::Isolated
                | Termination::UpstreamFull
                | Termination::ConnectFailed
        )
    }

    fn body(&self, id: &RequestId) -> Bytes {
        let reason = self.termination.as_str();
        let kind = if self.outcome_unknown {
            "outcome-unknown"
        } else {
            reason
        };
        let mut json = String::with_capacity(256);
        json.push_str("{\"type\":\"urn:tidegate:problem:");
        json.push_str(kind);
        json.push_str("\",\"title\":");
        quote(&mut json, title(self.termination, self.outcome_unknown));
        let _infallible = write!(
            json,
            ",\"status\":{},\"reason\":\"{reason}\"",
            self.status.as_u16()
        );
        if let Some(detail) = &self.detail {
            json.push_str(",\"detail\":");
            quote(&mut json, shorten(detail));
        }
        json.push_str(",\"request_id\":");
        quote(&mut json, id.as_str());
        json.push_str("}\n");
        json.into()
    }

    /// The same for a call of gRPC: reason, title and detail in one line.
    fn call_end(&self) -> CallEnd {
        let title = title(self.termination, self.outcome_unknown);
        let mut words = format!("{}: {title}", self.termination.as_str());
        if let Some(detail) = &self.detail {
            words.push_str("; ");
            words.push_str(shorten(detail));
        }
        let end = match self.termination {
            Termination::FaultInjected => CallEnd::of_status(self.status, &words),
            reason => CallEnd::new(reason, self.outcome_unknown, &words),
        };
        match self.retry_after() {
            Some(seconds) => end.again_after(Duration::from_secs(seconds.into())),
            None => end,
        }
    }

    /// Seconds after which trying again may help. What may have been done is not to be tried again.
    fn retry_after(&self) -> Option<u32> {
        use Termination::{
            AffinityLost, BudgetExhausted, ConnectFailed, Isolated, NoHealthyRegion, Overloaded,
            ShuttingDown, UpstreamFull,
        };
        let passes = matches!(
            self.termination,
            AffinityLost
                | BudgetExhausted
                | ConnectFailed
                | Isolated
                | NoHealthyRegion
                | Overloaded
                | ShuttingDown
                | UpstreamFull
        );
        (passes && !self.outcome_unknown).then_some(1)
    }

    /// The status that its client sees.
    fn shown(&self) -> StatusCode {
        match (self.dialect, &self.instead) {
            (Some(_), _) => StatusCode::OK,
            (None, Some(fallback)) => fallback.status,
            (None, None) => self.status,
        }
    }

    fn head_and_body(&self, id: &RequestId) -> (AnswerHead, Download) {
        if let Some(fallback) = &self.instead {
            let body = Bytes::from_owner(fallback.body.clone());
            return (self.head_of(fallback), Download::full(body));
        }
        match self.dialect {
            Some(dialect) => {
                let head = AnswerHead::Local {
                    content_type: dialect.content_type(),
                    retry_after: None,
                    call: Some(Box::new(self.call_end())),
                };
                (head, Download::empty())
            }
            None => {
                let head = AnswerHead::Local {
                    content_type: "application/problem+json",
                    retry_after: self.retry_after(),
                    call: None,
                };
                (head, Download::full(self.body(id)))
            }
        }
    }

    fn head_of(&self, fallback: &Arc<Fallback>) -> AnswerHead {
        let unavailable = fallback.status == StatusCode::SERVICE_UNAVAILABLE;
        AnswerHead::Fallback {
            fallback: fallback.clone(),
            retry_after: self.retry_after().filter(|_| unavailable),
        }
    }
}

/// The answer to a request that was not admitted.
pub(crate) fn answer(
    context: &Context,
    id: RequestId,
    finish: Box<Finish>,
    refusal: Refusal,
) -> Box<Answer> {
    let words = plain_words(context, id);
    local(refusal, words, finish)
}

/// An answer of our own with these words.
pub(crate) fn local(refusal: Refusal, words: AnswerWords, mut finish: Box<Finish>) -> Box<Answer> {
    let (head, body) = refusal.head_and_body(&words.request_id);
    let status = refusal.shown();
    finish.answered_locally(status);
    Box::new(Answer {
        status,
        head,
        body,
        tunnel: None,
        words,
        finish,
    })
}

/// The answer to bytes that are no valid request. `reason` is the rule's stable name.
pub(crate) fn refused(
    context: &Rc<Context>,
    status: StatusCode,
    reason: &str,
    said: &str,
) -> Box<Answer> {
    let detail = format!("{reason}: {said}");
    unparsed(
        context,
        Refusal::new(Termination::BadRequest, Some(detail)).with_status(status),
    )
}

/// The answer to a head that did not come in time.
pub(crate) fn late(context: &Rc<Context>) -> Box<Answer> {
    let detail = "the request's head was not complete in time".to_owned();
    unparsed(
        context,
        Refusal::new(Termination::ClientTimeout, Some(detail)),
    )
}

fn unparsed(context: &Rc<Context>, refusal: Refusal) -> Box<Answer> {
    let id = RequestId::make(&mut context.worker.rng.borrow_mut());
    let mut finish = Finish::unparsed(context, &id);
    finish.refused(None, &refusal, None);
    answer(context, id, finish, refusal)
}

fn plain_words(context: &Context, id: RequestId) -> AnswerWords {
    let bound = context.worker.bound();
    let pop = bound.map_or_else(|| "tidegate".into(), |bound| bound.pop.clone());
    AnswerWords {
        request_id: id,
        pop,
        region: None,
        attempts: None,
        server_timing: None,
        set_cookie: None,
        edits: None,
    }
}

/// The reason in words for people.
pub(crate) fn title(termination: Termination, outcome_unknown: bool) -> &'static str {
    if outcome_unknown {
        return "The request was sent, no answer came, and its outcome is unknown";
    }
    match termination {
        Termination::Completed
        | Termination::Tunnelled
        | Termination::DrainedHome
        | Termination::Redirected
        | Termination::Responded => "Done",
        Termination::ClientGone => "The client went away",
        Termination::BadRequest => "The request is not acceptable",
        Termination::ClientTimeout => "The request did not arrive in time",
        Termination::NoRoute => "No route matches the request",
        Termination::ResidencyBlocked => "No region is left that the route's residency allows",
        Termination::NoHealthyRegion => "No usable region is left",
        Termination::AffinityLost => "The place that serves this client cannot be used",
        Termination::Isolated => "The region that this route must not leave cannot be used",
        Termination::UpstreamFull => "Every usable region is at a limit of its circuit breaker",
        Termination::ConnectFailed => "No connection to the service could be made",
        Termination::UpstreamReset => "The service ended the connection before it answered",
        Termination::UpstreamTruncated => "The service ended the connection within its answer",
        Termination::BadResponse => "The service's answer was not valid HTTP",
        Termination::UpstreamTimeout => "The service did not answer in time",
        Termination::DeadlineExceeded => "The request's deadline passed",
        Termination::IdleTimeout => "The exchange did not move for too long",
        Termination::BudgetExhausted => "The service fails and the budget for retries is used up",
        Termination::Overloaded => "A limit of the proxy was reached",
        Termination::BodyTooLarge => "The request's body is too large",
        Termination::ShuttingDown => "The proxy is shutting down",
        Termination::StatusPassed => "The service answered with an error",
        Termination::FaultInjected => "The proxy was told to fail this request",
    }
}

fn shorten(detail: &str) -> &str {
    let mut end = detail.len().min(DETAIL_LIMIT);
    while !detail.is_char_boundary(end) {
        end -= 1;
    }
    &detail[..end]
}

/// Appends `text` as a JSON string (RFC 8259 section 7).
fn quote(json: &mut String, text: &str) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            control if control < ' ' => {
                let _infallible = write!(json, "\\u{:04x}", control as u32);
            }
            other => json.push(other),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_reason_and_request() {
        let refusal = Refusal::new(Termination::NoRoute, Some("quote \" and \n".to_owned()));
        let body = refusal.body(&RequestId::given("id-1").unwrap());
        let text = std::str::from_utf8(&body).unwrap();
        assert!(
            text.contains(r#""type":"urn:tidegate:problem:no_route""#),
            "{text}"
        );
        assert!(text.contains(r#""detail":"quote \" and \u000a""#), "{text}");
        assert!(
            text.contains(r#""request_id":"id-1""#) && text.contains(r#""status":404"#),
            "{text}"
        );
    }

    #[test]
    fn an_unknown_outcome_is_the_problems_type() {
        let refusal = Refusal::new(Termination::UpstreamTimeout, None).outcome_unknown(true);
        let body = refusal.body(&RequestId::given("id").unwrap());
        assert!(
            std::str::from_utf8(&body)
                .unwrap()
                .contains("urn:tidegate:problem:outcome-unknown")
        );
    }

    #[test]
    fn details_are_bounded_at_a_character() {
        let detail = "é".repeat(400);
        assert!(shorten(&detail).len() <= DETAIL_LIMIT);
    }
}
