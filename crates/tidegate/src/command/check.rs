//! `tidegate check`: one validator for the command line, the start and every reload.

mod connect;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use tidegate_config::{Loaded, Report};

use crate::exit::{Exit, Failure};
use crate::terminal;

/// Check a configuration.
///
/// Contacts nobody (but with --connect) and binds nothing; reads the certificates that the configuration names. Every
/// problem is told at once, with its place. The same judgement as at the start and at a reload.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Check {
    /// The configuration.
    config: PathBuf,
    /// Print the configuration with every default written out.
    #[arg(long, conflicts_with = "json")]
    resolved: bool,
    /// Ask every endpoint once, as requests and probes would: name, connection, TLS, answer.
    #[arg(long, conflicts_with = "resolved")]
    connect: bool,
    /// Print the verdict as JSON.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  tidegate check tidegate.yaml
  tidegate check tidegate.yaml --resolved | less
  tidegate check tidegate.yaml --connect           can its endpoints be reached from here?
  tidegate check tidegate.yaml --json | jq '.problems[].message'

Exit status: 0 valid (there may be warnings), 1 invalid, or an endpoint that --connect does not
reach, 2 cannot be read.";

impl Check {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        match tidegate_config::load(&self.config) {
            Ok(loaded) => self.accept(&loaded),
            Err(report) => self.refuse(&report),
        }
    }

    fn accept(&self, loaded: &Loaded) -> Result<Exit, Failure> {
        let report = loaded.report();
        if !self.json {
            terminal::show(&report);
        }
        let survey = match self.connect {
            true => Some(connect::survey(&loaded.plan)?),
            false => None,
        };
        if self.json {
            terminal::print(&accepted_json(loaded, &report, survey.as_ref()))?;
        } else if self.resolved {
            terminal::print(&loaded.resolved)?;
        } else {
            terminal::print(&verdict(&self.config, loaded))?;
            terminal::print(
                &survey
                    .as_ref()
                    .map(connect::Survey::table)
                    .unwrap_or_default(),
            )?;
        }
        let is_reached = survey.is_none_or(|survey| survey.is_reached());
        Ok(if is_reached { Exit::Fine } else { Exit::No })
    }

    fn refuse(&self, report: &Report) -> Result<Exit, Failure> {
        if self.json {
            let mut verdict = report.to_json();
            verdict["ok"] = json!(false);
            terminal::print(&format!("{verdict:#}\n"))?;
            return Ok(terminal::exit_of(report));
        }
        Err(terminal::refused(report))
    }
}

fn verdict(path: &Path, loaded: &Loaded) -> String {
    let plan = &loaded.plan;
    format!(
        "{}: ok ({}, {}, {}, content {})\n",
        path.display(),
        counted(plan.routes.len(), "route"),
        counted(plan.upstreams.len(), "upstream"),
        counted(plan.regions.len(), "region"),
        plan.content_hash.get(..12).unwrap_or(&plan.content_hash),
    )
}

fn accepted_json(loaded: &Loaded, report: &Report, survey: Option<&connect::Survey>) -> String {
    let plan = &loaded.plan;
    let mut verdict = report.to_json();
    verdict["ok"] = json!(true);
    verdict["hash"] = json!(&*plan.content_hash);
    verdict["routes"] = json!(plan.routes.len());
    verdict["upstreams"] = json!(plan.upstreams.len());
    verdict["regions"] = json!(plan.regions.len());
    if let Some(survey) = survey {
        verdict["reached"] = json!(survey.is_reached());
        verdict["endpoints"] = survey.to_json();
    }
    format!("{verdict:#}\n")
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
