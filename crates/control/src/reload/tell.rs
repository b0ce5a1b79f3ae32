//! What a reload counts and tells: metrics, events, diagnostics.

use tidegate_config::{Report, Severity};
use tidegate_telemetry::EventKind;
use tidegate_telemetry::labels::ReloadResult;

use crate::certificates::Certificate;
use crate::outcome::{CertificateOutcome, Outcome, Verdict};
use crate::shared::Shared;

/// Counts, and tells what did not take effect.
pub(super) fn record(shared: &Shared, outcome: &Outcome) {
    shared.metrics.reloaded(match outcome.verdict {
        Verdict::Activated { .. } => ReloadResult::Applied,
        Verdict::Unchanged { .. } | Verdict::Withheld { .. } => ReloadResult::Unchanged,
        Verdict::Refused { .. } | Verdict::RestartNeeded { .. } => ReloadResult::Refused,
    });
    events_of(outcome).for_each(|event| shared.events.record(event));
    match &outcome.verdict {
        Verdict::Refused { report } => tracing::error!("{report}"),
        verdict => tracing::info!(origin = %outcome.origin, "reload: {verdict}"),
    }
}

/// When the certificates that serve expire.
pub(super) fn expiries(shared: &Shared, certificates: &[Certificate]) {
    let unix_seconds = |certificate: &Certificate| {
        let since = certificate.not_after.duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| since.as_secs().try_into().unwrap_or(i64::MAX))
    };
    let told = certificates
        .iter()
        .map(|certificate| (certificate.name.clone(), unix_seconds(certificate)));
    shared.metrics.set_certificates(told.collect());
}

/// The events of what is not already told by the swap itself.
fn events_of(outcome: &Outcome) -> impl Iterator<Item = EventKind> {
    let trigger = outcome.origin.cause.as_str();
    let refused = match &outcome.verdict {
        Verdict::Refused { report } => Some((first_error(report), report.errors())),
        Verdict::RestartNeeded { fields } => {
            let problem = format!("a restart is needed to change {}", fields.join(", "));
            Some((problem, fields.len()))
        }
        Verdict::Activated { .. } | Verdict::Unchanged { .. } | Verdict::Withheld { .. } => None,
    };
    let refused = refused.map(|(problem, problems)| EventKind::ReloadRefused {
        trigger,
        problem,
        problems,
    });
    let certificates = match &outcome.certificates {
        CertificateOutcome::Kept { problem } => Some(EventKind::CertificatesRefused {
            problem: problem.clone(),
        }),
        CertificateOutcome::Read { names, changed } if *changed => {
            Some(EventKind::CertificatesReloaded {
                names: names.clone(),
            })
        }
        CertificateOutcome::Read { .. } => None,
    };
    refused.into_iter().chain(certificates)
}

/// Where and what, in one line: `tidegate.yaml:3:7: unknown key ...`.
pub(crate) fn first_error(report: &Report) -> String {
    let mut errors = report
        .problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error);
    let Some(problem) = errors.next() else {
        return String::new();
    };
    let Some(place) = problem.span.map(|span| report.place(span)) else {
        return format!("{}: {}", report.source_name, problem.message);
    };
    let file = place.file.as_deref().unwrap_or(&report.source_name);
    let at = place.position;
    format!("{file}:{}:{}: {}", at.line, at.column, problem.message)
}
