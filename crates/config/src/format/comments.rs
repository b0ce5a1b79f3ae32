//! Comments: that all of them survive, and stay where their author put them. Those beside values keep
//! the column in which they were aligned, as far as the values leave room; those on lines of their own
//! keep their level, because what is commented out has to be right when it comes back.

use std::ops::Range;

use yaml_parser::SyntaxKind;

/// One comment of a text.
struct Comment<'a> {
    /// The line that it ends, up to itself, without the spaces before it.
    value: &'a str,
    text: &'a str,
    /// Where its line starts.
    line: usize,
    /// Characters before it.
    column: usize,
    /// The columns at which the blocks above it start, the outermost first.
    levels: Vec<usize>,
}

impl Comment<'_> {
    fn is_beside_a_value(&self) -> bool {
        !self.value.trim_start().is_empty()
    }

    /// The column that it is to have when its neighbourhood is laid out as `after` is; none when any
    /// will do.
    fn column_in(&self, after: &Self) -> Option<usize> {
        match (self.is_beside_a_value(), after.is_beside_a_value()) {
            (true, true) => {
                let least = after.value.chars().count() + 1;
                let is_aligned = self.column > self.value.chars().count() + 1;
                is_aligned.then_some(self.column.max(least))
            }
            (false, false) if self.levels.len() == after.levels.len() => {
                let level = self.levels.iter().position(|level| *level == self.column)?;
                Some(after.levels[level])
            }
            _ => None,
        }
    }
}

/// What the comments of a text say, in their order.
pub(super) fn words(text: &str) -> Vec<&str> {
    comments(text).iter().map(|comment| comment.text).collect()
}

/// The text `after` with its comments where they are in `before`.
pub(super) fn put_back(before: &str, after: &str) -> String {
    let (old, new) = (comments(before), comments(after));
    let mut out = String::with_capacity(after.len());
    let mut done = 0;
    for (old, new) in old.iter().zip(&new) {
        let Some(column) = old.column_in(new) else {
            continue;
        };
        let (value, width) = match new.is_beside_a_value() {
            true => (new.value, new.value.chars().count()),
            false => ("", 0),
        };
        let end = new.line + value.len();
        out.push_str(&after[done..end]);
        out.extend(std::iter::repeat_n(' ', column.saturating_sub(width)));
        done = end + after[end..].find('#').unwrap_or(0);
    }
    out + &after[done..]
}

fn comments(text: &str) -> Vec<Comment<'_>> {
    let Ok(root) = yaml_parser::parse(text) else {
        return Vec::new();
    };
    let tokens = root.descendants_with_tokens();
    let mut ranges = tokens
        .filter(|element| element.kind() == SyntaxKind::COMMENT)
        .map(|element| Range::<usize>::from(element.text_range()))
        .peekable();
    let (mut found, mut levels) = (Vec::new(), Vec::new());
    let mut line = 0;
    for content in text.split_inclusive('\n') {
        let next_line = line + content.len();
        let comment = ranges.next_if(|range| range.start < next_line);
        let value = comment
            .as_ref()
            .map_or(content, |range| &text[line..range.start]);
        descend(&mut levels, value);
        if let Some(Range { start, end }) = comment {
            found.push(Comment {
                value: text[line..start].trim_end(),
                text: text[start..end].trim_end(),
                line,
                column: text[line..start].chars().count(),
                levels: levels.clone(),
            });
        }
        line = next_line;
    }
    found
}

/// Goes from the levels of the lines before to those of one more line: where it starts, and where what
/// follows each dash does.
fn descend(levels: &mut Vec<usize>, line: &str) {
    let mut rest = line.trim_start_matches(' ');
    if rest.trim().is_empty() {
        return;
    }
    let mut column = line.len() - rest.len();
    levels.retain(|level| *level < column);
    levels.push(column);
    while let Some(after) = rest.strip_prefix("- ") {
        rest = after.trim_start_matches(' ');
        column = line.len() - rest.len();
        levels.push(column);
    }
}
