//! Where the parts of an expression are in its text. The parser remembers one sign of each part (an
//! operator, a bracket, a dot); what belongs to it is found from there.

use cel::IdedExpr;
use cel::common::ast::{Expr, SelectExpr, operators};

use super::lower::Lowering;

impl Lowering<'_> {
    /// The bytes of a part with all that belongs to it.
    pub(super) fn place(&self, expr: &IdedExpr) -> (usize, usize) {
        let own = self.places.offset_for(expr.id);
        let mut place = own.map_or((usize::MAX, 0), |(start, last)| {
            (start as usize, last as usize + 1)
        });
        let mut cover = |(start, end): (usize, usize)| {
            place = (place.0.min(start), place.1.max(end));
        };
        match &expr.expr {
            Expr::Call(call) => {
                let parts = call.target.as_deref().into_iter().chain(&call.args);
                parts.for_each(|part| cover(self.place(part)));
                if !call.func_name.starts_with(['_', '!', '-', '@']) {
                    cover(self.name_place(expr, &call.func_name));
                }
                if let Some(close) = self.closing(&call.func_name, place.1) {
                    place.1 = close;
                }
            }
            Expr::Select(select) => {
                let field = self.field_place(expr, select);
                cover(self.place(&select.operand));
                cover(field);
            }
            Expr::List(list) => {
                list.elements
                    .iter()
                    .for_each(|part| cover(self.place(part)));
                if let Some(close) = self.closing(operators::INDEX, place.1) {
                    place.1 = close;
                }
            }
            _ => {}
        }
        (place.0.min(place.1), place.1)
    }

    /// The end of the bracket that closes right after `from`, where one does.
    fn closing(&self, function: &str, from: usize) -> Option<usize> {
        let bracket = match function {
            operators::INDEX => ']',
            name if name.starts_with(['_', '!', '-', '@']) => return None,
            _ => ')',
        };
        let rest = self.text.get(from..)?;
        let gap = rest.find(|c: char| !c.is_whitespace())?;
        rest[gap..].starts_with(bracket).then_some(from + gap + 1)
    }

    /// The bytes of a field's name: behind the dot, which is what the parser remembers.
    pub(super) fn field_place(&self, expr: &IdedExpr, select: &SelectExpr) -> (usize, usize) {
        let dot = self.places.offset_for(expr.id);
        let after = dot.map_or(0, |(dot, _)| dot as usize + 1);
        let rest = self.text.get(after..).unwrap_or("");
        let gap = rest.find(|c: char| !c.is_whitespace()).unwrap_or(0);
        (after + gap, after + gap + select.field.len())
    }

    /// The bytes of a function's name: before the bracket, which is what the parser remembers.
    pub(super) fn name_place(&self, expr: &IdedExpr, name: &str) -> (usize, usize) {
        let bracket = self.places.offset_for(expr.id);
        let bracket = bracket.map_or(0, |(start, _)| start as usize);
        let before = self.text.get(..bracket).unwrap_or("").trim_end().len();
        (before.saturating_sub(name.len()), before)
    }
}
