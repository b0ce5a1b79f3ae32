//! What of a configuration could not be read, so that nobody reports as unknown or missing what only
//! stands in the unread part. A broken file may have held any section but those that were read of it
//! by themselves; a section of the wrong type may have defined any name.

use std::collections::BTreeSet;

/// Which sections may lack something.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gaps {
    /// The sections that files with gaps have in full; none while no file has a gap.
    read: Option<BTreeSet<String>>,
    /// Sections that are there, or have to be, and could not be taken.
    hidden: BTreeSet<&'static str>,
}

impl Gaps {
    /// Notes a file of which only these sections were read.
    pub(crate) fn file(&mut self, read: BTreeSet<String>) {
        self.read = Some(match self.read.take() {
            None => read,
            Some(known) => known.intersection(&read).cloned().collect(),
        });
    }

    /// Notes a file, or files, of which nothing was read.
    pub(crate) fn unread(&mut self) {
        self.file(BTreeSet::new());
    }

    /// Notes a section that could not be taken.
    pub(crate) fn hide(&mut self, section: &'static str) {
        self.hidden.insert(section);
    }

    /// Whether all of a section is known.
    pub(crate) fn is_whole(&self, section: &str) -> bool {
        let read = self.read.as_ref();
        read.is_none_or(|read| read.contains(section)) && !self.hidden.contains(section)
    }

    /// Whether a section that is not there may stand in what was not read.
    pub(crate) fn may_hold(&self, section: &str) -> bool {
        self.read
            .as_ref()
            .is_some_and(|read| !read.contains(section))
    }
}
