//! Numbers as CEL reckons: whole ones of 64 bits that fail rather than wrap, and IEEE 754 doubles.

use super::node::Arithmetic;
use super::value::Fault;

/// Of two whole numbers.
pub(super) fn ints(how: Arithmetic, a: i64, b: i64) -> Result<i64, Fault> {
    let divides = matches!(how, Arithmetic::Divide | Arithmetic::Remainder);
    if divides && b == 0 {
        return Err(Fault::DivisionByZero);
    }
    let result = match how {
        Arithmetic::Add => a.checked_add(b),
        Arithmetic::Subtract => a.checked_sub(b),
        Arithmetic::Multiply => a.checked_mul(b),
        Arithmetic::Divide => a.checked_div(b),
        Arithmetic::Remainder => a.checked_rem(b),
    };
    result.ok_or(Fault::Overflow)
}

/// Of two doubles; there is no remainder.
pub(super) fn doubles(how: Arithmetic, a: f64, b: f64) -> Result<f64, Fault> {
    match how {
        Arithmetic::Add => Ok(a + b),
        Arithmetic::Subtract => Ok(a - b),
        Arithmetic::Multiply => Ok(a * b),
        Arithmetic::Divide => Ok(a / b),
        Arithmetic::Remainder => Err(Fault::Mismatch),
    }
}

/// A double, cut off after the point.
pub(super) fn truncated(number: f64) -> Result<i64, Fault> {
    /// The first above all whole numbers of 64 bits, and exact as a double.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    match number > -BEYOND && number < BEYOND {
        true => Ok(number as i64),
        false => Err(Fault::Overflow),
    }
}
