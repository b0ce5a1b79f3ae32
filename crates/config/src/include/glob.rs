//! Patterns of file names: `*` for any characters, `?` for one. Hidden files match only a pattern that
//! starts with a dot itself: editors and Kubernetes keep what is not meant to be read in those.

/// A pattern for one name, without separators.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pattern<'a>(&'a str);

impl<'a> Pattern<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// Whether a path is a pattern, as opposed to a name.
    pub(super) fn is_one(path: &str) -> bool {
        path.contains(['*', '?'])
    }

    /// Whether a name matches. Time is bounded by the product of both lengths.
    pub(super) fn matches(self, name: &str) -> bool {
        let hidden = name.starts_with('.') && !self.0.starts_with('.');
        !hidden
            && matches(
                &self.0.chars().collect::<Vec<_>>(),
                &name.chars().collect::<Vec<_>>(),
            )
    }
}

/// Without recursion: of several `*`, only the last one may have to take more.
fn matches(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match &mut star {
                None => return false,
                Some((at, taken)) => {
                    *taken += 1;
                    (p, n) = (*at + 1, *taken);
                }
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_a_shell() {
        let check = |pattern: &str, name: &str, expected: bool| {
            let matches = Pattern::new(pattern).matches(name);
            assert_eq!(matches, expected, "{pattern} {name}");
        };
        check("*.yaml", "a.yaml", true);
        check("*.yaml", ".yaml", false);
        check("*.yaml", ".a.yaml", false);
        check(".*.yaml", ".a.yaml", true);
        check("*.yaml", "a.yaml~", false);
        check("*.yaml", "a.yml", false);
        check("?.yaml", "ä.yaml", true);
        check("?.yaml", "ab.yaml", false);
        check("a*b*c", "a-b-b-c", true);
        check("a*b*c", "a-b-b", false);
        check("*", "", true);
        check("", "", true);
        check("a", "b", false);
    }

    #[test]
    fn hostile_patterns_end() {
        let pattern = "*a".repeat(500);
        assert!(!Pattern::new(&pattern).matches(&"a".repeat(499)));
        assert!(Pattern::new(&pattern).matches(&"a".repeat(500)));
    }
}
