//! Text to syntax tree, by the `cel` crate. Its messages speak of its grammar; ours name what stands
//! there and what was probably meant.

use std::collections::HashMap;

use cel::common::ast::SourceInfo;
use cel::{Env, IdedExpr, ParseError};

use super::Complaint;
use crate::problem::{Problem, quoted};

/// How deep an expression may be nested in brackets. Deeper ones cost the parser stack.
const NESTING: u16 = 30;

/// A syntax tree, and where its parts are.
pub(super) struct Parsed {
    pub(super) root: IdedExpr,
    pub(super) places: SourceInfo,
}

/// What people write who know other languages, and what CEL has for it.
const ELSEWHERE: [(&str, &str); 5] = [
    ("=", "`==` compares"),
    ("&", "`&&` means and"),
    ("|", "`||` means or"),
    ("and", "`&&` means and"),
    ("or", "`||` means or"),
];

pub(super) fn parse(text: &str) -> Result<Parsed, Box<Complaint>> {
    if text.trim().is_empty() {
        let problem = Problem::error("invalid_expression", "the expression is empty");
        return Err(Box::new(Complaint::whole(problem, text)));
    }
    // Without macros `has` and `exists` stay the calls that they are written as.
    let env = Env::default().with_optional_support(false);
    let parser = env.parser().max_recursion_depth(NESTING);
    match parser.parse_with_source_info(text) {
        Ok((root, places)) => Ok(Parsed { root, places }),
        Err(errors) => Err(Box::new(complaint(text, errors.errors.first()))),
    }
}

fn complaint(text: &str, error: Option<&ParseError>) -> Complaint {
    let Some(error) = error else {
        let problem = Problem::error("invalid_expression", "this is no expression");
        return Complaint::whole(problem, text);
    };
    let start = offset(text, error.pos);
    let token = token_at(text, start);
    let end = start + token.len();
    let problem = match () {
        () if error.msg.contains("Recursion limit") => {
            let message = format!("the expression is nested more than {NESTING} deep");
            Problem::error("expression_too_complex", message)
        }
        () if error.msg.starts_with("reserved") => {
            let message = format!("{} is reserved in CEL", quoted(token));
            Problem::error("invalid_expression", message)
        }
        () if token.is_empty() => {
            let message = "the expression ends too early";
            Problem::error("invalid_expression", message).help(unclosed(text))
        }
        () => {
            let message = format!("{} does not belong here", quoted(token));
            let elsewhere: HashMap<_, _> = ELSEWHERE.into_iter().collect();
            let help = match token {
                _ if token.starts_with(['"', '\'']) && !closed(token) => {
                    Some("the text has no end; close its quotation mark".to_owned())
                }
                _ => elsewhere.get(token).map(|help| (*help).to_owned()),
            };
            Problem::error("invalid_expression", message).help(help)
        }
    };
    Complaint {
        problem,
        start,
        end,
    }
}

/// The bracket that is not closed, if it is that.
fn unclosed(text: &str) -> Option<String> {
    let count = |c| text.matches(c).count();
    let pairs = [('(', ')'), ('[', ']'), ('{', '}')];
    let open = pairs
        .into_iter()
        .find(|(open, close)| count(*open) > count(*close));
    open.map(|(_, close)| format!("a `{close}` is missing"))
}

fn closed(token: &str) -> bool {
    let mut chars = token.chars();
    token.len() > 1 && chars.next() == chars.next_back()
}

/// Line and column, from 1, as bytes from the start.
fn offset(text: &str, (line, column): (isize, isize)) -> usize {
    let number = |from_one: isize| usize::try_from(from_one - 1).unwrap_or(0);
    let mut lines = text.split_inclusive('\n');
    let before: usize = lines.by_ref().take(number(line)).map(str::len).sum();
    let line = lines.next().unwrap_or("");
    let within = line.char_indices().nth(number(column));
    before + within.map_or(line.len(), |(at, _)| at)
}

/// The word, text or sign that starts here.
fn token_at(text: &str, start: usize) -> &str {
    let rest = text.get(start..).unwrap_or("");
    let Some(first) = rest.chars().next() else {
        return "";
    };
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let len = match first {
        '"' | '\'' => {
            let inner = rest.get(1..).unwrap_or("");
            inner.find(first).map_or(rest.len(), |at| at + 2)
        }
        _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
        _ => first.len_utf8(),
    };
    rest.get(..len).unwrap_or(rest)
}
