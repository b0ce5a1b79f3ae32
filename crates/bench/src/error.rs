//! Why a benchmark ends without figures.

use std::io;

/// What went wrong, with what a person needs to act.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// A program that every run needs is missing.
    #[error("{0} is not installed; `make bench-install` installs it")]
    Missing(&'static str),
    /// One core for the proxy and one for the rest are the least.
    #[error("the benchmark needs two cores, this machine has {0}")]
    Cores(usize),
    /// `--only` leaves nothing.
    #[error("no cell's name contains {0:?}")]
    NoCell(String),
    /// No report of any dimension.
    #[error("{0} has no report; `make bench` writes them")]
    NothingMeasured(String),
    /// Runs that cannot be published as one.
    #[error("the runs of {0} differ in machine, proxies, versions or cells; publish one of them")]
    OtherRun(String),
    /// The page has no place for a part.
    #[error("the page has no `<!-- begin {0} -->` with its end")]
    NoMarker(String),
    /// A proxy does not serve.
    #[error("{peer} does not serve: {why}")]
    NotServing {
        /// Which.
        peer: &'static str,
        /// The last answer, or its own words.
        why: String,
    },
    /// A proxy's answers are wrong, missing, or not as many as the upstream gave.
    #[error("{peer}, {cell}: {why}")]
    Wrong {
        /// Which.
        peer: &'static str,
        /// In which cell.
        cell: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The load generator said something unexpected, or nothing in time.
    #[error("h2load: {0}")]
    Load(String),
    /// The system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The certificate could not be made.
    #[error("the certificate: {0}")]
    Tls(#[from] tidegate_lab::tls::TlsError),
    /// A region of the laboratory did not start.
    #[error(transparent)]
    Region(#[from] tidegate_lab::region::RegionError),
    /// A link of the laboratory did not start or switch.
    #[error(transparent)]
    Link(#[from] tidegate_lab::link::LinkError),
}

impl BenchError {
    /// The exit status: 1 for a wrong answer, 2 for none.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Wrong { .. } => 1,
            _ => 2,
        }
    }

    /// For `map_err`: what was tried when the system refused.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
