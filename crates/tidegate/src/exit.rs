//! How the process ends, for scripts: 0 fine, 1 the answer is no, 2 the question could not be put.

use std::fmt::Display;
use std::process::ExitCode;

/// The status of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done; the answer is yes.
    Fine = 0,
    /// Done; the answer is no: an invalid configuration, a lost request.
    No = 1,
    /// Not done: a file cannot be read, an argument makes no sense.
    CouldNotAsk = 2,
}

/// Why a command ended without its answer.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) hint: Option<&'static str>,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Failure {
    /// The answer is no.
    pub(crate) fn no(message: impl Display) -> Self {
        Self::new(Exit::No, message)
    }

    /// The question could not be put.
    pub(crate) fn could_not_ask(message: impl Display) -> Self {
        Self::new(Exit::CouldNotAsk, message)
    }

    /// Says what to do about it.
    pub(crate) fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    fn new(exit: Exit, message: impl Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
            hint: None,
        }
    }
}
