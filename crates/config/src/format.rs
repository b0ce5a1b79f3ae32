//! One way to write a file: two spaces of indentation, one around braces, at most one empty line, no
//! quotes around plain names. What a file means, its comments, the order of its keys and where its lines
//! break are the author's.
//!
//! The layout is `pretty_yaml`'s, which keeps every token that means something. It is not trusted: what
//! comes out is read again, and unless it is the same tree with the same comments, nothing is changed.

mod comments;
mod quotes;

use pretty_yaml::config::{
    FormatOptions, LanguageOptions, LayoutOptions, LineBreak, ProseWrap, Quotes,
};

use crate::problem::Problem;
use crate::report::Report;
use crate::yaml::{self, Node};

/// Larger files are not formatted: nobody reads those.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// How often the layout is applied at most, until nothing changes any more.
const ROUNDS_MAX: usize = 4;

/// The text as it should be written. Formatting it again changes nothing. `name` is what the text is
/// called in the report.
///
/// # Errors
/// It is not YAML as configurations are written in (whether it is a valid configuration does not matter),
/// or larger than 8 MiB.
pub fn format(name: &str, text: &str) -> Result<String, Report> {
    formatted(text).map_err(|problems| Report::new(name, text.into(), problems))
}

fn formatted(text: &str) -> Result<String, Vec<Problem>> {
    if text.len() > BYTES_MAX {
        let message = "the file is too large to be formatted";
        return Err(vec![Problem::error("too_large", message)]);
    }
    let (tree, problems) = yaml::parse(text);
    let Some(tree) = tree.filter(|_| problems.is_empty()) else {
        return Err(problems);
    };
    let mut last = text.to_owned();
    for _ in 0..ROUNDS_MAX {
        let next = once(&last).ok_or_else(unable)?;
        if next == last {
            break;
        }
        last = next;
    }
    match is_the_same(text, &tree, &last) {
        true => Ok(last),
        false => Err(unable()),
    }
}

/// One round; none when the layout cannot be made.
fn once(text: &str) -> Option<String> {
    let bare = quotes::without_needless(text)?;
    let laid_out = pretty_yaml::format_text(&bare, &options()).ok()?;
    let put_back = comments::put_back(text, &laid_out);
    // A comment that moves can end up inside a text of several lines.
    let tree = yaml::parse(&laid_out).0?;
    Some(match is_the_same(&laid_out, &tree, &put_back) {
        true => put_back,
        false => laid_out,
    })
}

fn options() -> FormatOptions {
    FormatOptions {
        layout: LayoutOptions {
            // Lines break where the author broke them.
            print_width: usize::MAX / 2,
            indent_width: 2,
            line_break: LineBreak::Lf,
        },
        language: LanguageOptions {
            quotes: Quotes::PreferDouble,
            prose_wrap: ProseWrap::Preserve,
            trim_trailing_zero: false,
            // There is no way to have a part left alone: one file, one way to write it.
            ignore_comment_directive: "\0".to_owned(),
            ..LanguageOptions::default()
        },
    }
}

/// Whether a text means what it did before, and says what it did beside that.
fn is_the_same(before: &str, tree: &Node<'_>, after: &str) -> bool {
    let (again, problems) = yaml::parse(after);
    problems.is_empty()
        && again.is_some_and(|again| again.means(tree))
        && comments::words(before) == comments::words(after)
}

fn unable() -> Vec<Problem> {
    let message = "this file cannot be formatted without a change of what it means";
    let help =
        "it is left as it is; scalars over several lines, tags and anchors are the usual reasons";
    vec![Problem::error("not_formatted", message).help(help.to_owned())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let formatted = format("x.yaml", text).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(formatted, expected, "{text:?}");
        assert_eq!(format("x.yaml", &formatted).unwrap(), expected, "again");
    }

    #[test]
    fn layout_is_made_uniform() {
        check("a:   1", "a: 1\n");
        check("\n\na: 1\n\n\n\nb: 2\n\n", "a: 1\n\nb: 2\n");
        check("a:\n    b:\n          c: 1\n", "a:\n  b:\n    c: 1\n");
        check(
            "a:\n- 1\n-   b: 2\n    c: 3\n",
            "a:\n  - 1\n  - b: 2\n    c: 3\n",
        );
        check("a: {b: [1,2 ], c: {  }}\n", "a: { b: [1, 2], c: {} }\n");
        check("a: 1\r\nb: 2\r\n", "a: 1\nb: 2\n");
        check("# only\n", "# only\n");
    }

    #[test]
    fn quotes_stay_where_they_are_needed() {
        check("a: \"shop\"\n", "a: shop\n");
        check("'a-b': '/x/y'\n", "a-b: /x/y\n");
        check("a: '10.0.0.1:80'\n", "a: \"10.0.0.1:80\"\n");
        for kept in [
            "1.2", "true", "no", "off", "", "a b", "~", "Null", "x: y", "*", "-",
        ] {
            let text = format!("a: \"{kept}\"\n");
            check(&text, &text);
        }
        check("a: 'it''s \\d'\n", "a: 'it''s \\d'\n");
        check("a: ['b', \"c\"]\n", "a: [b, c]\n");
        check("\"true\": 1\n", "\"true\": 1\n");
    }

    #[test]
    fn comments_stay_and_keep_their_columns() {
        check("# a\n\n\n# b\na: 1 # c\n", "# a\n\n# b\na: 1 # c\n");
        check(
            "a:     1       # x\nbb: 'long-er'  # y\nccc: 3 # z\n",
            "a: 1           # x\nbb: long-er    # y\nccc: 3 # z\n",
        );
        check(
            "a:\n    b:\n        c: 1\n        # d: 2\n    # e: 3\nf: 4\n",
            "a:\n  b:\n    c: 1\n    # d: 2\n  # e: 3\nf: 4\n",
        );
        check(
            "a:\n  - b: 1\n    # c: 2\n  # - d: 3\n# e\n",
            "a:\n  - b: 1\n    # c: 2\n  # - d: 3\n# e\n",
        );
        check("a: \"# no\"    # yes\n", "a: \"# no\"    # yes\n");
        check(
            "a: |\n  # no\n\n\n  x\nb: 1\n",
            "a: |\n  # no\n\n\n  x\nb: 1\n",
        );
    }

    #[test]
    fn anchors_aliases_and_tags_stay() {
        check(
            "a:   &x {b: 1}\nc: *x\nd:\n   <<:   *x\n",
            "a: &x { b: 1 }\nc: *x\nd:\n  <<: *x\n",
        );
    }

    #[test]
    fn what_is_no_yaml_is_refused_with_its_place() {
        let report = format("x.yaml", "a: [1\nb: 2\n").unwrap_err();
        assert!(report.problems[0].span.is_some(), "{report}");
        let report = format("x.yaml", "a: 1\na: 2\n").unwrap_err();
        assert_eq!(report.problems[0].code, "duplicate_key");
    }
}
