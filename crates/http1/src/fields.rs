//! A field section as positions in the bytes that it arrived in.
//!
//! Nothing is copied, folded to lower case or hashed: a proxy mostly reads a few fields and
//! forwards the rest as they are, in their order. What a name means is decided once (`Known`).

use std::fmt;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::known::Known;

/// Sections of up to so many lines need no allocation.
const INLINE: usize = 24;

/// A field section that passed every rule of RFC 9110 section 5, in the order and the case in
/// which it was sent. Its memory is the head's.
#[derive(Clone, Default)]
pub struct Fields {
    head: Bytes,
    lines: Lines,
}

/// One field line, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldRef<'a> {
    /// The name as sent; compare it with `eq_ignore_ascii_case`.
    pub name: &'a [u8],
    /// The value without the whitespace around it. May be empty, and may hold bytes >= 0x80.
    pub value: &'a [u8],
    /// What the name means.
    pub known: Known,
    /// Whether the line must not be forwarded: by its name, because `Connection` nominates it,
    /// or because the message may not carry it (`Content-Length` with a 204).
    pub hop_by_hop: bool,
}

/// The positions of all lines, and which known names occur among them.
#[derive(Clone, Default)]
pub(crate) struct Lines {
    list: SmallVec<[Line; INLINE]>,
    present: u64,
}

#[derive(Clone, Copy)]
struct Line {
    name_start: u32,
    value_start: u32,
    value_len: u32,
    name_len: u16,
    known: Known,
    hop_by_hop: bool,
}

impl Fields {
    pub(crate) fn new(head: Bytes, lines: Lines) -> Self {
        Self { head, lines }
    }

    /// The number of lines.
    pub fn len(&self) -> usize {
        self.lines.list.len()
    }

    /// Whether there is no line at all.
    pub fn is_empty(&self) -> bool {
        self.lines.list.is_empty()
    }

    /// Every line in the order sent.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = FieldRef<'_>> {
        self.lines.list.iter().map(|line| self.view(line))
    }

    /// Whether a line with this name exists. Constant time.
    pub fn contains(&self, known: Known) -> bool {
        self.lines.present & known.bit() != 0
    }

    /// The value of the first line with this name.
    pub fn get(&self, known: Known) -> Option<&[u8]> {
        if !self.contains(known) {
            return None;
        }
        self.get_all(known).next()
    }

    /// The values of all lines with this name, in the order sent.
    pub fn get_all(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        let lines = self
            .lines
            .list
            .iter()
            .filter(move |line| line.known == known);
        lines.map(|line| self.value(line))
    }

    /// The value of the first line whose name is `name` in any case. For names that
    /// [`Known`] does not list.
    pub fn get_named(&self, name: &str) -> Option<&[u8]> {
        let named = |field: &FieldRef<'_>| field.name.eq_ignore_ascii_case(name.as_bytes());
        self.iter().find(named).map(|field| field.value)
    }

    /// The values of all lines whose name is `name` in any case, in the order sent.
    pub fn get_all_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = |field: &FieldRef<'_>| field.name.eq_ignore_ascii_case(name.as_bytes());
        self.iter().filter(named).map(|field| field.value)
    }

    /// The value of line `index` without a copy: it keeps the whole head alive. `None` beyond
    /// the last line.
    pub fn value_bytes(&self, index: usize) -> Option<Bytes> {
        let line = self.lines.list.get(index)?;
        let start = line.value_start as usize;
        Some(self.head.slice(start..start + line.value_len as usize))
    }

    /// The value of the first line with this name, like [`Fields::value_bytes`].
    pub fn get_bytes(&self, known: Known) -> Option<Bytes> {
        let index = self
            .lines
            .list
            .iter()
            .position(|line| line.known == known)?;
        self.value_bytes(index)
    }

    /// The only value of this name, or how many there are.
    pub(crate) fn sole(&self, known: Known) -> Result<&[u8], usize> {
        let mut values = self.get_all(known);
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value),
            (None, _) => Err(0),
            _ => Err(2 + values.count()),
        }
    }

    /// Keeps every line with this name from being forwarded.
    pub(crate) fn withhold(&mut self, known: Known) {
        let lines = self
            .lines
            .list
            .iter_mut()
            .filter(|line| line.known == known);
        lines.for_each(|line| line.hop_by_hop = true);
    }

    /// Keeps every line named `name` (in any case) from being forwarded.
    pub(crate) fn withhold_named(&mut self, name: &[u8]) {
        for line in &mut self.lines.list {
            let start = line.name_start as usize;
            let own = &self.head[start..start + usize::from(line.name_len)];
            line.hop_by_hop |= own.eq_ignore_ascii_case(name);
        }
    }

    fn view(&self, line: &Line) -> FieldRef<'_> {
        let start = line.name_start as usize;
        FieldRef {
            name: &self.head[start..start + usize::from(line.name_len)],
            value: self.value(line),
            known: line.known,
            hop_by_hop: line.hop_by_hop,
        }
    }

    fn value(&self, line: &Line) -> &[u8] {
        let start = line.value_start as usize;
        &self.head[start..start + line.value_len as usize]
    }
}

/// Names only: values hold credentials, and this ends up in logs.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self
            .iter()
            .map(|field| String::from_utf8_lossy(field.name).into_owned());
        f.debug_list().entries(names).finish()
    }
}

impl Lines {
    /// Takes the positions of `headers`, which the tokeniser found in `head`. Filled in place,
    /// since this is the largest part of a head. `None` if a name is too long or a line before
    /// one of them does not end in CRLF: the tokeniser takes a bare LF.
    pub(crate) fn fill(&mut self, head: &[u8], headers: &[httparse::Header<'_>]) -> Option<()> {
        // Then no position below can be truncated.
        u32::try_from(head.len()).ok()?;
        let (mut clean, mut present) = (true, 0);
        self.list.clear();
        self.list.extend(headers.iter().map(|header| {
            let line = Line::new(head, header);
            clean &= ends_line(&head[..line.name_start as usize])
                && usize::from(line.name_len) == header.name.len();
            present |= line.known.bit();
            line
        }));
        self.present = present;
        clean.then_some(())
    }
}

impl Line {
    #[inline]
    fn new(head: &[u8], header: &httparse::Header<'_>) -> Self {
        let known = Known::of(header.name.as_bytes());
        Self {
            name_start: offset(head, header.name.as_bytes()) as u32,
            value_start: offset(head, header.value) as u32,
            value_len: header.value.len() as u32,
            name_len: header.name.len() as u16,
            known,
            hop_by_hop: known.is_hop_by_hop(),
        }
    }
}

/// Whether `bytes` is empty or ends in CRLF.
pub(crate) fn ends_line(bytes: &[u8]) -> bool {
    matches!(bytes, [] | [.., b'\r', b'\n'])
}

/// Where `part` starts in `whole`, of which it is a piece.
fn offset(whole: &[u8], part: &[u8]) -> usize {
    let distance = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    // An empty piece may point anywhere; then any position will do.
    distance.min(whole.len())
}
