//! What the command line writes, and whether in colour: only on a terminal, and never against the
//! reader's `NO_COLOR`.

mod table;

use std::io::{self, IsTerminal, Write};

use tidegate_config::{RenderStyle, Report};

use crate::exit::{Exit, Failure};

pub(crate) use table::{Paint, Table};

/// Whether `stream` should get colours.
pub(crate) fn colour(stream: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal() && !refused && !dumb
}

/// Writes to standard output. A reader that has left (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let message = format!("cannot write to standard output: {error}");
            Err(Failure::could_not_ask(message))
        }
        _ => Ok(()),
    }
}

/// Shows the problems of a configuration on standard error. Nothing without problems.
pub(crate) fn show(report: &Report) {
    let style = RenderStyle {
        colour: colour(&io::stderr()),
        unicode: io::stderr().is_terminal(),
        ..RenderStyle::PLAIN
    };
    tell(&report.render(style));
}

/// Says why the command failed.
pub(crate) fn complain(failure: &Failure) {
    let colour = colour(&io::stderr());
    let paint = |code: &str, word: &str| match colour {
        true => format!("\x1b[{code}m{word}\x1b[0m"),
        false => word.to_owned(),
    };
    if !failure.message.is_empty() {
        tell(&format!(
            "{}: {}\n",
            paint("1;31", "error"),
            failure.message
        ));
    }
    if let Some(hint) = failure.hint {
        tell(&format!("{}: {hint}\n", paint("1;36", "hint")));
    }
}

/// Writes to standard error; there is nowhere to complain when that fails.
pub(crate) fn tell(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// The failure of a command whose configuration was refused: the report is shown, and says it all.
pub(crate) fn refused(report: &Report) -> Failure {
    show(report);
    Failure {
        exit: exit_of(report),
        message: String::new(),
        hint: None,
    }
}

/// How the process ends over a refused configuration: one that cannot be read was not judged.
pub(crate) fn exit_of(report: &Report) -> Exit {
    let mut problems = report.problems.iter();
    let unread = report.text.is_empty() && problems.any(|p| p.code == "unreadable_file");
    match unread {
        true => Exit::CouldNotAsk,
        false => Exit::No,
    }
}

/// A part as people write it: `25%`, `12.5%`.
pub(crate) fn percent(part: f64) -> String {
    // A hundredth of a per cent is as fine as anybody reads.
    let percent = (part * 10_000.0).round() / 100.0;
    format!("{percent}%")
}

/// Whole seconds as people write them: `45s`, `4m58s`, `2h5m`.
pub(crate) fn seconds(all: u64) -> String {
    let (days, hours) = (all / 86_400, all / 3_600 % 24);
    let (minutes, seconds) = (all / 60 % 60, all % 60);
    let pair = |one: u64, unit: &str, other: u64, next: &str| match other {
        0 => format!("{one}{unit}"),
        _ => format!("{one}{unit}{other}{next}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => pair(minutes, "m", seconds, "s"),
        (0, _, _) => pair(hours, "h", minutes, "m"),
        _ => pair(days, "d", hours, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_times_are_short() {
        let check = |part, expected: &str| assert_eq!(percent(part), expected);
        check(0.25, "25%");
        check(0.125, "12.5%");
        check(1.0, "100%");
        check(0.333_333, "33.33%");
        let check = |all, expected: &str| assert_eq!(seconds(all), expected);
        check(0, "0s");
        check(45, "45s");
        check(298, "4m58s");
        check(300, "5m");
        check(7_500, "2h5m");
        check(90_000, "1d1h");
    }
}
