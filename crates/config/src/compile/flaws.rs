//! Which objects have errors, so that what is looked for between sections leaves those alone: an
//! upstream with a misspelled region may live in any, and a route with a broken match may take
//! anything. Found in one walk over the tree, and only when something is wrong.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::follow::is_judgement;
use crate::problem::{Problem, Severity};
use crate::span::Span;
use crate::yaml::{Node, Value};

/// The objects with errors: entries of the mappings and items of the lists at the top.
#[derive(Debug, Default)]
pub(crate) struct Flaws {
    /// Something is wrong of which nobody can say where it belongs.
    anywhere: bool,
    sections: HashMap<String, Flawed>,
    objects: HashSet<(String, usize)>,
}

/// What is wrong in a section.
#[derive(Debug, Default)]
struct Flawed {
    /// How many errors there are.
    count: usize,
    /// The section as a whole, or an object of it.
    whole: bool,
    /// Keys of objects, and how far below their values the topmost error is.
    keys: HashMap<String, usize>,
}

/// What is looked for, and what was found.
struct Search {
    wanted: BTreeMap<Span, bool>,
    flaws: Flaws,
}

impl Flaws {
    /// The objects that errors of `problems` are in.
    pub(crate) fn find(problems: &[Problem], root: &Node<'_>) -> Self {
        let errors = problems
            .iter()
            .filter(|one| one.severity == Severity::Error && !is_judgement(one));
        let mut search = Search {
            wanted: BTreeMap::new(),
            flaws: Self::default(),
        };
        for problem in errors {
            // Of a key that is there twice the first stayed, and may not be the one that is meant.
            let place = match (problem.code, problem.related.first()) {
                ("duplicate_key", Some(first)) => Some(first.span),
                _ => problem.span,
            };
            match place {
                Some(span) => drop(search.wanted.insert(span, false)),
                None => search.flaws.anywhere = true,
            }
        }
        if let (Value::Map(sections), false) = (&root.value, search.wanted.is_empty()) {
            for (key, section) in sections {
                search.flaws.anywhere |= search.hits(key.span);
                search.section(&key.text, section);
            }
        }
        search.flaws.anywhere |= search.wanted.values().any(|found| !found);
        search.flaws
    }

    /// Whether nothing is wrong with an object of a section, by its position in the file.
    pub(crate) fn is_sound(&self, section: &str, index: usize) -> bool {
        self.objects.is_empty() || !self.objects.contains(&(section.to_owned(), index))
    }

    /// Whether an error may change what objects of a section say by some of their `keys`, as far down
    /// as `depth` below their values. Errors in a key that nobody knows may change anything.
    pub(crate) fn touch(&self, section: &str, keys: &[&str], depth: usize) -> bool {
        let Some(flawed) = self.sections.get(section) else {
            return self.anywhere;
        };
        let within = |key: &&str| flawed.keys.get(*key).is_some_and(|below| *below <= depth);
        self.anywhere || flawed.whole || keys.iter().any(within)
    }

    fn count(&self, section: &str) -> usize {
        self.sections.get(section).map_or(0, |flawed| flawed.count)
    }
}

impl Search {
    fn hits(&mut self, span: Span) -> bool {
        let found = self.wanted.get_mut(&span);
        found.map(|found| *found = true).is_some()
    }

    /// Whether an error is at a scalar, or at a part of its text.
    fn hits_part(&mut self, span: Span) -> bool {
        let at = |start| Span { start, len: 0 };
        let within = self.wanted.range_mut(at(span.start)..=at(span.end()));
        let mut hit = false;
        for (_, found) in within.filter(|(part, _)| part.end() <= span.end()) {
            (*found, hit) = (true, true);
        }
        hit
    }

    fn section(&mut self, name: &str, node: &Node<'_>) {
        if self.hits(node.span) {
            self.note(name, None, 0);
        }
        match &node.value {
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.object(name, index, item, false);
                }
            }
            Value::Map(entries) => {
                for (index, (key, value)) in entries.iter().enumerate() {
                    let named = self.hits(key.span);
                    self.object(name, index, value, named);
                }
            }
            Value::Scalar(..) if self.hits_part(node.span) => self.note(name, None, 0),
            Value::Null | Value::Scalar(..) | Value::Broken => {}
        }
    }

    fn object(&mut self, section: &str, index: usize, node: &Node<'_>, named: bool) {
        let before = self.flaws.count(section);
        if named | self.hits(node.span) {
            self.note(section, None, 0);
        }
        if let Value::Map(entries) = &node.value {
            for (key, value) in entries {
                if self.hits(key.span) {
                    self.note(section, None, 0);
                }
                self.value(section, &key.text, value, 0);
            }
        } else {
            self.value(section, "", node, 0);
        }
        if self.flaws.count(section) > before {
            self.flaws.objects.insert((section.to_owned(), index));
        }
    }

    fn value(&mut self, section: &str, key: &str, node: &Node<'_>, below: usize) {
        if self.hits(node.span) {
            self.note(section, Some(key), below);
        }
        match &node.value {
            Value::List(items) => {
                for item in items {
                    self.value(section, key, item, below + 1);
                }
            }
            Value::Map(entries) => {
                for (name, value) in entries {
                    if self.hits(name.span) {
                        self.note(section, Some(key), below + 1);
                    }
                    self.value(section, key, value, below + 1);
                }
            }
            Value::Scalar(..) if self.hits_part(node.span) => {
                self.note(section, Some(key), below);
            }
            Value::Null | Value::Scalar(..) | Value::Broken => {}
        }
    }

    fn note(&mut self, section: &str, key: Option<&str>, below: usize) {
        let flawed = self.flaws.sections.entry(section.to_owned()).or_default();
        flawed.count += 1;
        let Some(key) = key else {
            flawed.whole = true;
            return;
        };
        let least = flawed.keys.entry(key.to_owned()).or_insert(below);
        *least = below.min(*least);
    }
}
