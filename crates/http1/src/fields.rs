//! A field section as positions in the bytes that it arrived in.
//!
//! Nothing is copied, folded to lower case or hashed: a proxy mostly reads a few fields and
//! forwards the rest as they are, in their order. What a name means is decided once (`Known`).

use std::fmt;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::encode;
use crate::grammar;
use crate::known::Known;
use crate::words;

/// Room for the lines of most sections.
const LINES: usize = 24;

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

/// The positions of all lines, and which known names occur among them, once or more than once.
#[derive(Clone, Default)]
pub(crate) struct Lines {
    list: Vec<Line>,
    present: u64,
    repeated: u64,
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

    /// A section without a line.
    pub(crate) const fn empty() -> Self {
        Self {
            head: Bytes::new(),
            lines: Lines {
                list: Vec::new(),
                present: 0,
                repeated: 0,
            },
        }
    }

    /// Makes room for the lines of most sections in one that has none.
    pub(crate) fn make_room(&mut self) {
        self.lines.list = Vec::with_capacity(LINES);
    }

    /// The positions, to be read before [`lie_in`](Self::lie_in) says in what.
    pub(crate) fn lines_mut(&mut self) -> &mut Lines {
        &mut self.lines
    }

    /// The positions are those in `head`.
    pub(crate) fn lie_in(&mut self, head: Bytes) {
        self.head = head;
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

    /// Appends every line that `keep` keeps to `out`, in the order sent. Lines that were sent as
    /// `name: value` and follow each other are copied in one piece, byte for byte.
    pub fn copy_to<'a>(&'a self, out: &mut BytesMut, mut keep: impl FnMut(FieldRef<'a>) -> bool) {
        let mut run = 0..0;
        for line in &self.lines.list {
            if !keep(self.view(line)) {
                continue;
            }
            match self.plain(line) {
                Some(plain) if plain.start == run.end => run.end = plain.end,
                Some(plain) => {
                    out.extend_from_slice(&self.head[std::mem::replace(&mut run, plain)])
                }
                None => {
                    out.extend_from_slice(&self.head[std::mem::take(&mut run)]);
                    let FieldRef { name, value, .. } = self.view(line);
                    encode::field(out, name, value);
                }
            }
        }
        out.extend_from_slice(&self.head[run]);
    }

    /// Where a line is, if it was sent the way in which it is written.
    fn plain(&self, line: &Line) -> Option<Range<usize>> {
        let start = line.name_start as usize;
        let colon = start + usize::from(line.name_len);
        let (value, end) = (colon + 2, colon + 2 + line.value_len as usize);
        let plain = line.value_start as usize == value
            && self.head.get(colon..value)? == b": "
            && self.head.get(end..end + 2)? == b"\r\n";
        plain.then_some(start..end + 2)
    }

    /// Whether a line with this name exists. Constant time.
    pub fn contains(&self, known: Known) -> bool {
        self.lines.present & known.bit() != 0
    }

    /// Whether a line with one of these names exists. Constant time, for names that are constant.
    #[inline]
    pub fn contains_any(&self, names: &[Known]) -> bool {
        let set = names.iter().fold(0, |set, name| set | name.bit());
        self.lines.present & set != 0
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
    pub fn get_all_named<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let named = move |field: &FieldRef<'_>| field.name.eq_ignore_ascii_case(name.as_bytes());
        self.iter().filter(named).map(|field| field.value)
    }

    /// The value of line `index` without a copy: it keeps the whole head alive. `None` beyond
    /// the last line.
    pub fn value_bytes(&self, index: usize) -> Option<Bytes> {
        self.lines.value(index, &self.head)
    }

    /// The head once more, in memory of just its size, for values that are kept longer than a request: those of
    /// [`Fields::value_bytes`] keep the buffer alive into which the head was read.
    pub fn copied(&self) -> Copied<'_> {
        Copied {
            lines: &self.lines,
            head: Bytes::copy_from_slice(&self.head),
        }
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
        if self.lines.repeated & known.bit() != 0 {
            return Err(self.get_all(known).count());
        }
        self.get(known).ok_or(0)
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

/// A copy of a head, see [`Fields::copied`].
pub struct Copied<'a> {
    lines: &'a Lines,
    head: Bytes,
}

impl Copied<'_> {
    /// The value of line `index`; it keeps the copy alive. `None` beyond the last line.
    pub fn value_bytes(&self, index: usize) -> Option<Bytes> {
        self.lines.value(index, &self.head)
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
    fn value(&self, index: usize, head: &Bytes) -> Option<Bytes> {
        let line = self.list.get(index)?;
        let start = line.value_start as usize;
        Some(head.slice(start..start + line.value_len as usize))
    }

    /// Reads the field lines from `start` of `head` on, and the empty line that ends them; where that
    /// ends. Read in place, since they are the largest part of a head. `None` if the empty line has not
    /// arrived, if there are more than `max` lines or if anything about their bytes is wrong.
    pub(crate) fn read(&mut self, head: &[u8], start: usize, max: usize) -> Option<usize> {
        // Then no position below can be truncated.
        u32::try_from(head.len()).ok()?;
        let (mut at, mut present, mut repeated) = (start, 0, 0);
        self.list.clear();
        while *head.get(at)? != b'\r' {
            if self.list.len() == max {
                return None;
            }
            let (line, end) = Line::read(head, at)?;
            repeated |= present & line.known.bit();
            present |= line.known.bit();
            self.list.push(line);
            at = end;
        }
        (self.present, self.repeated) = (present, repeated);
        (*head.get(at + 1)? == b'\n').then_some(at + 2)
    }
}

impl Line {
    /// The line that starts at `start`, and where the next one does.
    #[inline]
    fn read(head: &[u8], start: usize) -> Option<(Self, usize)> {
        let name = &head[start..];
        let name = &name[..words::colon(name)?];
        let known = Known::of(name);
        if known == Known::Other && !grammar::is_token(name) {
            return None;
        }
        let rest = &head[start + name.len() + 1..];
        let len = value_len(rest)?;
        let end = head.len() - rest.len() + len + 2;
        if rest.get(len..len + 2)? != b"\r\n" {
            return None;
        }
        let value = grammar::trim_ows_end(&rest[..len]);
        let before = match value {
            [b' ', next, ..] if !grammar::is_ows(*next) => 1,
            _ => value.iter().take_while(|b| grammar::is_ows(**b)).count(),
        };
        let line = Self {
            name_start: start as u32,
            value_start: (end - 2 - len + before) as u32,
            value_len: (value.len() - before) as u32,
            name_len: u16::try_from(name.len()).ok()?,
            known,
            hop_by_hop: known.is_hop_by_hop(),
        };
        Some((line, end))
    }
}

/// How long the value at the front of `bytes` is, with the whitespace around it. `None` if it has no end.
#[inline(always)]
pub(crate) fn value_len(bytes: &[u8]) -> Option<usize> {
    let mut len = words::value_end(bytes)?;
    while bytes[len] == b'\t' {
        len += 1 + words::value_end(&bytes[len + 1..])?;
    }
    Some(len)
}

#[cfg(test)]
mod tests {
    use crate::{Limits, parse_request};

    use super::*;

    #[test]
    fn a_value_of_a_copy_keeps_no_buffer() {
        const ROOM: usize = 4096;
        let reclaims = |value: fn(&Fields) -> Option<Bytes>| {
            let mut buffer = BytesMut::with_capacity(ROOM);
            buffer.extend_from_slice(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            let parsed = parse_request(&mut buffer, &Limits::default());
            let head = parsed.expect("valid").expect("whole");
            let value = value(&head.fields);
            drop(head);
            assert_eq!(value.as_deref(), Some(&b"a"[..]));
            buffer.try_reclaim(ROOM)
        };
        assert!(reclaims(|fields| fields.copied().value_bytes(0)));
        assert!(!reclaims(|fields| fields.value_bytes(0)));
    }

    /// Whatever the spelling, what is copied is what would be written field by field.
    #[test]
    fn lines_are_copied_as_they_would_be_written() {
        let lines = [
            "Host: a\r\n",
            "a: b\r\n",
            "B:c\r\n",
            "C:  d\r\n",
            "D: e \r\n",
            "E:\r\n",
            "F: \r\n",
            "g: h i\r\n",
        ];
        for kept in 0_u32..1 << lines.len() {
            for rotated in 0..lines.len() {
                let mut lines = lines;
                lines.rotate_left(rotated);
                let head = format!("GET / HTTP/1.1\r\n{}\r\n", lines.concat());
                let parsed = parse_request(&mut BytesMut::from(&*head), &Limits::default());
                let fields = parsed.expect("valid").expect("whole").fields;
                let keeps = |index: usize| kept & (1 << index) != 0;
                let (mut copied, mut written) = (BytesMut::new(), BytesMut::new());
                let mut index = 0..;
                fields.copy_to(&mut copied, |_| index.next().is_some_and(keeps));
                for (_, field) in fields.iter().enumerate().filter(|(at, _)| keeps(*at)) {
                    encode::field(&mut written, field.name, field.value);
                }
                assert_eq!(copied, written, "{head:?} {kept:b}");
            }
        }
    }
}
