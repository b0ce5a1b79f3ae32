//! Files that hold a secret. What is in them goes into the plan and nowhere else: messages name the
//! file, and the resolved configuration too.

use std::path::PathBuf;
use std::sync::Arc;

use crate::compile::Context;
use crate::compile::context::NamedFile;
use crate::problem::{Problem, quoted};
use crate::span::Span;
use crate::yaml::Field;

/// Shortest secret: as long as the code that it signs with.
const BYTES_MIN: usize = 32;

/// A secret that is longer is another kind of file.
const BYTES_MAX: usize = 4096;

/// What a cookie says is checked by each of them: more would be work for whoever forges cookies.
const SECRETS_MAX: usize = 8;

/// Reads the files of a list that is given at `span`; reported unless there are one to eight.
pub(crate) fn read(
    cx: &mut Context<'_>,
    list: &[Field<String>],
    span: Option<Span>,
) -> (Vec<Arc<[u8]>>, Vec<PathBuf>) {
    if list.is_empty() {
        let problem = Problem::error("empty_secrets", "no secret to sign with").at(span);
        cx.report(problem.help(help()));
    }
    if list.len() > SECRETS_MAX {
        let message = format!("{} secrets, at most {SECRETS_MAX} are accepted", list.len());
        let help = "keep the one that signs and those that cookies under way are signed with";
        cx.report(
            Problem::error("too_many_secrets", message)
                .at(span)
                .help(help.to_owned()),
        );
    }
    let mut secrets = Vec::with_capacity(list.len());
    let mut paths = Vec::with_capacity(list.len());
    for field in list.iter().take(SECRETS_MAX) {
        let Some(file) = cx.file(field) else { continue };
        secrets.extend(secret(cx, &file, field.span()));
        paths.push(file.path);
    }
    (secrets, paths)
}

fn help() -> String {
    "make one with `openssl rand -hex 32`, in a file that only this process may read".to_owned()
}

/// The secret of a file, without the end of its line.
fn secret(cx: &mut Context<'_>, file: &NamedFile, span: Option<Span>) -> Option<Arc<[u8]>> {
    let content = file.content.as_deref()?;
    let line = content.strip_suffix(b"\n").unwrap_or(content);
    let secret = line.strip_suffix(b"\r").unwrap_or(line);
    let shown = quoted(&file.path.display().to_string());
    let even = secret.iter().all(|byte| Some(byte) == secret.first());
    let wrong = match secret.len() {
        0 => Some(format!("the file {shown} is empty")),
        length if length < BYTES_MIN => Some(format!(
            "the secret in {shown} is {length} bytes long, at least {BYTES_MIN} are needed"
        )),
        length if length > BYTES_MAX => Some(format!(
            "{length} bytes in {shown} are no secret, at most {BYTES_MAX} are one"
        )),
        _ if even => Some(format!("the secret in {shown} is one byte over and over")),
        _ => None,
    };
    if let Some(message) = wrong {
        cx.report(Problem::error("weak_secret", message).at(span).help(help()));
        return None;
    }
    if cx.is_exposed(&file.path) {
        let message = format!("every user of this machine may read the secret {shown}");
        let problem = Problem::warning("exposed_secret", message).at(span);
        cx.report(problem.help("take that right away: `chmod o-rwx`".to_owned()));
    }
    Some(secret.into())
}
