//! Integer expressions over loop variables, block index and parameters: the addresses and bounds of a
//! stream. Owns their arithmetic, which is checked; names are the program's.

use std::fmt;
use std::ops::{Add, Div, Mul, Rem, Sub};

/// Steps of an expression; more is refused, so that evaluating one is bounded.
pub const MAX_STEPS: usize = 256;

/// A variable: its place among [`crate::program::Program::variables`].
pub type Slot = u16;

/// What two numbers become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b` of Euclid: the remainder is never negative
    Div,
    /// `a % b`, never negative
    Rem,
    /// `min(a, b)`
    Min,
    /// `max(a, b)`
    Max,
    /// `a < b`, 1 or 0
    Lt,
    /// `a <= b`
    Le,
    /// `a == b`
    Eq,
    /// `a != b`
    Ne,
}

impl Binary {
    /// Sign between the operands; none if it is written as a call.
    pub fn sign(self) -> Option<&'static str> {
        Some(match self {
            Binary::Add => "+",
            Binary::Sub => "-",
            Binary::Mul => "*",
            Binary::Div => "/",
            Binary::Rem => "%",
            Binary::Lt => "<",
            Binary::Le => "<=",
            Binary::Eq => "==",
            Binary::Ne => "!=",
            Binary::Min | Binary::Max => return None,
        })
    }

    /// How tightly it binds: 0 comparison, 1 sum, 2 product, 3 call.
    pub fn level(self) -> u8 {
        match self {
            Binary::Lt | Binary::Le | Binary::Eq | Binary::Ne => 0,
            Binary::Add | Binary::Sub => 1,
            Binary::Mul | Binary::Div | Binary::Rem => 2,
            Binary::Min | Binary::Max => 3,
        }
    }

    /// The value; none if it is none.
    fn apply(self, a: i64, b: i64) -> Option<i64> {
        match self {
            Binary::Add => a.checked_add(b),
            Binary::Sub => a.checked_sub(b),
            Binary::Mul => a.checked_mul(b),
            Binary::Div => a.checked_div_euclid(b),
            Binary::Rem => a.checked_rem_euclid(b),
            Binary::Min => Some(a.min(b)),
            Binary::Max => Some(a.max(b)),
            Binary::Lt => Some(i64::from(a < b)),
            Binary::Le => Some(i64::from(a <= b)),
            Binary::Eq => Some(i64::from(a == b)),
            Binary::Ne => Some(i64::from(a != b)),
        }
    }
}

/// A step of an expression on a stack of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Pushes a number.
    Number(i64),
    /// Pushes a variable's value.
    Variable(Slot),
    /// Takes two, pushes one.
    Binary(Binary),
}

/// An expression, as the steps of a stack machine: nothing recurses on its depth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expr {
    steps: Vec<Step>,
}

/// The value of a variable that nothing has set.
pub const UNSET: i64 = i64::MIN;

/// Why an expression has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoValue;

impl fmt::Display for NoValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the expression has no value: it divides by zero, leaves 64 bits, or reads what nothing set")
    }
}

impl From<i64> for Expr {
    fn from(number: i64) -> Expr {
        Expr { steps: vec![Step::Number(number)] }
    }
}

/// Operators, for whoever writes programs in Rust. What changes nothing leaves no step behind; text is read as it is
/// written.
macro_rules! operators {
    ($($name:ident $method:ident;)*) => {$(
        impl<T: Into<Expr>> $name<T> for Expr {
            type Output = Expr;

            fn $method(self, other: T) -> Expr {
                let other = other.into();
                match (Binary::$name, self.number(), other.number()) {
                    (Binary::Add | Binary::Sub, _, Some(0)) | (Binary::Mul | Binary::Div, _, Some(1)) => self,
                    (Binary::Add, Some(0), _) | (Binary::Mul, Some(1), _) => other,
                    (Binary::Mul, Some(0), _) | (Binary::Mul, _, Some(0)) | (Binary::Rem, _, Some(1)) => Expr::from(0),
                    _ => Expr::binary(Binary::$name, self, other),
                }
            }
        }
    )*};
}

operators! {
    Add add;
    Sub sub;
    Mul mul;
    Div div;
    Rem rem;
}

impl Expr {
    /// The least of two.
    pub fn min(self, other: impl Into<Expr>) -> Expr {
        Expr::binary(Binary::Min, self, other.into())
    }

    /// The greatest of two.
    pub fn max(self, other: impl Into<Expr>) -> Expr {
        Expr::binary(Binary::Max, self, other.into())
    }

    /// 1 where it is less than `other`, else 0.
    pub fn lt(self, other: impl Into<Expr>) -> Expr {
        Expr::binary(Binary::Lt, self, other.into())
    }

    /// 1 where both are the same, else 0.
    pub fn equals(self, other: impl Into<Expr>) -> Expr {
        Expr::binary(Binary::Eq, self, other.into())
    }

    /// The smallest multiple of a number that is not less.
    pub fn round_up(self, multiple: i64) -> Expr {
        (self + (multiple - 1)) / multiple * multiple
    }

    /// The value of a variable.
    pub fn variable(slot: Slot) -> Expr {
        Expr { steps: vec![Step::Variable(slot)] }
    }

    /// Two expressions as one. Numbers alone are worked out at once.
    pub fn binary(operation: Binary, a: Expr, b: Expr) -> Expr {
        if let (Some(x), Some(y)) = (a.number(), b.number())
            && let Some(value) = operation.apply(x, y)
        {
            return Expr::from(value);
        }
        let mut steps = a.steps;
        steps.extend(b.steps);
        steps.push(Step::Binary(operation));
        Expr { steps }
    }

    /// Its number, if it is one.
    pub fn number(&self) -> Option<i64> {
        match self.steps[..] {
            [Step::Number(number)] => Some(number),
            _ => None,
        }
    }

    /// Variables that it reads.
    pub fn variables(&self) -> impl Iterator<Item = Slot> + '_ {
        self.steps.iter().filter_map(|step| match step {
            Step::Variable(slot) => Some(*slot),
            Step::Number(_) | Step::Binary(_) => None,
        })
    }

    /// How many steps it takes.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it takes none; it never does.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Its value where variables have the given ones.
    ///
    /// # Errors
    /// If it divides by zero, leaves 64 bits or reads a variable that nothing has set.
    pub fn value(&self, variables: &[i64]) -> Result<i64, NoValue> {
        // Most are a number, a variable, or one of each.
        match self.steps[..] {
            [Step::Number(number)] => return Ok(number),
            [Step::Variable(slot)] => return read(variables, slot),
            _ => {}
        }
        let mut stack = Vec::with_capacity(8);
        for step in &self.steps {
            match *step {
                Step::Number(number) => stack.push(number),
                Step::Variable(slot) => stack.push(read(variables, slot)?),
                Step::Binary(operation) => {
                    let (b, a) = (stack.pop().ok_or(NoValue)?, stack.pop().ok_or(NoValue)?);
                    stack.push(operation.apply(a, b).ok_or(NoValue)?);
                }
            }
        }
        stack.pop().ok_or(NoValue)
    }

    /// As text, with the names of variables.
    pub fn text(&self, names: &[String]) -> String {
        let mut stack: Vec<(String, u8)> = Vec::new();
        for step in &self.steps {
            let done = match *step {
                Step::Number(number) => (number.to_string(), if number < 0 { 1 } else { 3 }),
                Step::Variable(slot) => (names.get(usize::from(slot)).cloned().unwrap_or_default(), 3),
                Step::Binary(operation) => {
                    let b = stack.pop().unwrap_or_default();
                    let a = stack.pop().unwrap_or_default();
                    (joined(operation, a, b), operation.level())
                }
            };
            stack.push(done);
        }
        stack.pop().unwrap_or_default().0
    }
}

fn read(variables: &[i64], slot: Slot) -> Result<i64, NoValue> {
    variables.get(usize::from(slot)).copied().filter(|value| *value != UNSET).ok_or(NoValue)
}

/// The operation's text; operands that bind less tightly stand in brackets.
fn joined(operation: Binary, (a, level_a): (String, u8), (b, level_b): (String, u8)) -> String {
    let level = operation.level();
    let in_brackets = |text: String, needed: bool| if needed { format!("({text})") } else { text };
    match operation.sign() {
        None => {
            let name = if operation == Binary::Min { "min" } else { "max" };
            format!("{name}({a}, {b})")
        }
        Some(sign) => {
            // All are left-associative but comparisons, which are not associative.
            let (a, b) =
                (in_brackets(a, level_a < level || level == 0 && level_a == 0), in_brackets(b, level_b <= level));
            format!("{a} {sign} {b}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        vec!["m".to_string(), "k".to_string()]
    }

    #[test]
    fn values_and_texts() {
        let (m, k) = (Expr::variable(0), Expr::variable(1));
        let sum = Expr::binary(Binary::Add, m.clone(), 3.into());
        let product = Expr::binary(Binary::Mul, sum, k.clone());
        assert_eq!(product.text(&names()), "(m + 3) * k");
        assert_eq!(product.value(&[4, 5]), Ok(35));
        let twice = Expr::binary(Binary::Sub, m.clone(), Expr::binary(Binary::Sub, k.clone(), m.clone()));
        assert_eq!(twice.text(&names()), "m - (k - m)");
        let least = Expr::binary(Binary::Min, Expr::binary(Binary::Rem, m, k.clone()), 7.into());
        assert_eq!(least.text(&names()), "min(m % k, 7)");
        assert_eq!(least.value(&[-1, 5]), Ok(4));
        assert_eq!(Expr::binary(Binary::Mul, 6.into(), 7.into()).number(), Some(42));
    }

    #[test]
    fn no_value_is_an_error() {
        let zero = Expr::binary(Binary::Div, Expr::variable(0), Expr::variable(1));
        assert_eq!(zero.value(&[1, 0]), Err(NoValue));
        let big = Expr::binary(Binary::Mul, Expr::variable(0), Expr::variable(0));
        assert_eq!(big.value(&[i64::MAX]), Err(NoValue));
        assert_eq!(Expr::variable(9).value(&[1]), Err(NoValue));
        assert_eq!(Expr::binary(Binary::Div, 1.into(), 0.into()).number(), None);
    }
}
