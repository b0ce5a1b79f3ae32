//! A difference for people: what comes, what goes, what is otherwise, a line each.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use super::fields::{Field, shown};
use super::{Change, Diff, Moved, RouteChange, Shift, What};

/// So many of each kind are printed; the others are counted.
const PRINTED_MAX: usize = 100;
/// So many names of routes are printed for a region.
const NAMES_MAX: usize = 5;

impl Display for Diff {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing differs\n");
        }
        section(f, "routes", &self.routes)?;
        section(f, "upstreams", &self.upstreams)?;
        section(f, "regions", &self.regions)?;
        self.write_eligibility(f)?;
        if !self.other.is_empty() {
            writeln!(f, "other")?;
            lines(f, &self.other)?;
        }
        if !self.restart.is_empty() {
            writeln!(f, "needs a restart\n    {}", self.restart.join(", "))?;
        }
        if self.hidden {
            let what = "certificates, secrets or values of the environment";
            writeln!(f, "{what} differ, which are not shown")?;
        }
        Ok(())
    }
}

impl Diff {
    fn write_eligibility(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.eligibility.is_empty() {
            return Ok(());
        }
        writeln!(f, "who may use which region")?;
        for (region, Shift { gained_by, lost_by }) in &self.eligibility {
            let sides = [("gained by", gained_by), ("lost by", lost_by)];
            for (verb, routes) in sides.iter().filter(|(_, routes)| !routes.is_empty()) {
                writeln!(f, "    {region}: {verb} {}", counted(routes))?;
            }
        }
        Ok(())
    }
}

/// `2 routes (a, b)`.
fn counted(routes: &[Arc<str>]) -> String {
    let names: Vec<&str> = routes.iter().take(NAMES_MAX).map(|name| &**name).collect();
    let more = if routes.len() > NAMES_MAX {
        ", ..."
    } else {
        ""
    };
    let plural = if routes.len() == 1 { "" } else { "s" };
    format!(
        "{} route{plural} ({}{more})",
        routes.len(),
        names.join(", ")
    )
}

fn section<T: Display>(f: &mut Formatter<'_>, title: &str, all: &[T]) -> fmt::Result {
    if all.is_empty() {
        return Ok(());
    }
    writeln!(f, "{title}")?;
    for one in all.iter().take(PRINTED_MAX) {
        one.fmt(f)?;
    }
    match all.len().checked_sub(PRINTED_MAX) {
        None | Some(0) => Ok(()),
        Some(more) => writeln!(f, "    and {more} more; --json has them all"),
    }
}

fn lines(f: &mut Formatter<'_>, fields: &[Field]) -> fmt::Result {
    for Field { key, from, to } in fields {
        let (from, to) = (shown(from.as_ref()), shown(to.as_ref()));
        writeln!(f, "    {key}: {from} -> {to}")?;
    }
    Ok(())
}

/// The sign, the name, and below it what has another value.
impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {} {}", self.what.sign(), self.name)?;
        lines(f, &self.fields)
    }
}

impl Display for RouteChange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.change.fmt(f)?;
        match self.change.what {
            What::Changed => {
                regions(f, "loses", &self.loses)?;
                regions(f, "gains", &self.gains)?;
            }
            What::Added | What::Removed => {}
        }
        self.write_requests(f)?;
        // What requests of nobody gain, and what those lose that nobody takes, goes without saying.
        let of_another = match (self.change.what, &self.requests) {
            (What::Added, Some(requests)) => requests.from.is_some(),
            (What::Removed, Some(requests)) => requests.to.is_some(),
            _ => false,
        };
        if of_another {
            regions(f, "they lose", &self.loses)?;
            regions(f, "they gain", &self.gains)?;
        }
        Ok(())
    }
}

impl RouteChange {
    fn write_requests(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(requests) = &self.requests else {
            return Ok(());
        };
        let name = |route: &Option<Arc<str>>| match route {
            Some(route) => format!("`{route}`"),
            None => "no route (404)".to_owned(),
        };
        let (from, to) = (name(&requests.from), name(&requests.to));
        match (
            self.change.what,
            requests.to.as_ref() == Some(&self.change.name),
        ) {
            (What::Added, true) => writeln!(f, "    takes requests that took {from}"),
            (What::Added, false) => writeln!(f, "    a plain request for it still takes {to}"),
            (What::Removed, _) => writeln!(f, "    its requests take {to}"),
            (What::Changed, _) => writeln!(f, "    its requests took {from}, and take {to}"),
        }
    }
}

fn regions(f: &mut Formatter<'_>, verb: &str, all: &[Moved]) -> fmt::Result {
    for Moved { region, why } in all {
        let tense = if verb.contains("gain") {
            "before: "
        } else {
            ""
        };
        writeln!(f, "    {verb} {region} ({tense}{})", why.words())?;
    }
    Ok(())
}

impl What {
    fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Removed => '-',
            Self::Changed => '~',
        }
    }
}
