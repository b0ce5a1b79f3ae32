//! Where the process really listens, port 0 resolved: for people, and for whoever started it.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Map, Value, json};
use tidegate_telemetry::tracing_setup::LogFormat;

use crate::terminal;

type Named = (String, SocketAddr);

/// One line for each listener on standard error, whatever the filter of diagnostics is.
pub(super) fn tell(listeners: &[Named], admin: Option<SocketAddr>, format: LogFormat) {
    let admin = admin.map(|address| ("admin".to_owned(), address));
    for (name, address) in listeners.iter().chain(&admin) {
        match format {
            LogFormat::Text => terminal::tell(&format!("listening name={name} addr={address}\n")),
            LogFormat::Json => {
                let line = json!({ "message": "listening", "name": name, "addr": address });
                terminal::tell(&format!("{line}\n"));
            }
        }
    }
}

/// Writes `{listeners: {name: address}, admin: address or null}` to `path`, in one step: whoever
/// sees the file sees all of it.
pub(super) fn write(path: &Path, listeners: &[Named], admin: Option<SocketAddr>) -> io::Result<()> {
    let listeners: Map<String, Value> = listeners
        .iter()
        .map(|(name, address)| (name.clone(), json!(address)))
        .collect();
    let document = json!({ "listeners": listeners, "admin": admin });
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let mut file = tempfile::NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
    writeln!(file, "{document:#}")?;
    file.persist(path)?;
    Ok(())
}
