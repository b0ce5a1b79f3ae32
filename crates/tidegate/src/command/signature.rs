//! Who asks a process to change something, and why.

use clap::Args;
use tidegate_control::Author;

use crate::exit::Failure;

/// Where Linux tells what the machine is called.
const HOSTNAME: &str = "/proc/sys/kernel/hostname";

/// Who, and why: both are written down beside the change.
#[derive(Debug, Default, Args)]
pub(super) struct Signature {
    /// Who does it. [default: the user at this machine]
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// Why, in a few words.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Signature {
    /// The author that it names, else the one that the environment does.
    pub(super) fn author(&self) -> Result<Author, Failure> {
        let who = self.author.clone().or_else(user);
        let bytes = |text: &Option<String>| text.clone().map(String::into_bytes);
        let (who, reason) = (bytes(&who), bytes(&self.reason));
        Author::new(who.as_deref(), reason.as_deref()).map_err(Failure::could_not_ask)
    }
}

/// `ann@edge-1`, as far as it is known.
fn user() -> Option<String> {
    let named = |name| std::env::var(name).ok().filter(|user| !user.is_empty());
    let user = named("USER").or_else(|| named("LOGNAME"))?;
    let host = std::fs::read_to_string(HOSTNAME).unwrap_or_default();
    Some(match host.trim() {
        "" => user,
        host => format!("{user}@{host}"),
    })
}
