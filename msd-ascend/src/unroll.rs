//! Follows a program on one core: loops and conditions run, and each instruction comes out with the values of
//! its operands. Owns control flow and its bounds; nothing in a stream depends on data, so this order is known
//! without executing anything.

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::span::Span;

use crate::expr::{Expr, NoValue, UNSET};
use crate::isa::memory::{Core, Place, Space};
use crate::isa::{Issue, Kind, MAX_ID, MAX_INTS, MAX_PLACES, Operand};
use crate::program::{Arg, BUILT_IN_VARIABLES, Instruction, PlaceExpr, Program, Statement};

/// Statements that all cores together may execute; more is refused.
pub const MAX_STEPS: u64 = 100_000_000;

/// Which core runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoreId {
    /// Its kind.
    pub kind: Core,
    /// Index of its cube core.
    pub group: u32,
    /// Index beside its cube core.
    pub sub: u32,
}

/// An instruction of a core, with the statements since the one before.
#[derive(Clone, Copy, Debug)]
pub struct Step<'p> {
    /// As written.
    pub instruction: &'p Instruction,
    /// With values.
    pub issue: Issue,
    /// Statements, itself included.
    pub statements: u64,
}

enum Frame<'p> {
    Block { rest: &'p [Statement] },
    Loop { slot: usize, next: i64, to: i64, step: i64, body: &'p [Statement] },
}

/// A program on its way on one core.
pub struct Unroll<'p> {
    frames: Vec<Frame<'p>>,
    variables: Vec<i64>,
}

impl<'p> Unroll<'p> {
    /// Before the first statement.
    pub fn new(program: &'p Program, core: CoreId, blocks: i64) -> Unroll<'p> {
        let body = match core.kind {
            Core::Cube => &program.cube,
            Core::Vector => &program.vector,
        };
        let variables = program.start(i64::from(core.group), i64::from(core.sub), blocks);
        Unroll { frames: vec![Frame::Block { rest: body }], variables }
    }

    /// The next instruction; none at the end. Takes the statements it passes off `budget`.
    ///
    /// # Errors
    /// If an operand or a bound has no value or one out of its range, or the budget is spent.
    pub fn next(&mut self, budget: &mut u64) -> Result<Option<Step<'p>>, Diagnostic> {
        let before = *budget;
        loop {
            let Some(frame) = self.frames.last_mut() else { return Ok(None) };
            *budget = budget.checked_sub(1).ok_or_else(too_long)?;
            let statement = match frame {
                Frame::Loop { slot, next, to, step, body } => {
                    if *next >= *to {
                        self.frames.pop();
                        continue;
                    }
                    self.variables[*slot] = *next;
                    // A loop that ends at the last number there is ends there.
                    *next = next.checked_add(*step).unwrap_or(*to);
                    let rest = *body;
                    self.frames.push(Frame::Block { rest });
                    continue;
                }
                Frame::Block { rest } => match rest.split_first() {
                    None => {
                        self.frames.pop();
                        continue;
                    }
                    Some((statement, after)) => {
                        *rest = after;
                        statement
                    }
                },
            };
            match statement {
                Statement::Instruction(instruction) => {
                    let issue = self.issue(instruction)?;
                    return Ok(Some(Step { instruction, issue, statements: before - *budget }));
                }
                Statement::Let(slot, value) => self.variables[usize::from(*slot)] = self.value(value, None)?,
                Statement::For { slot, from, to, step, body } => {
                    let (next, to, step) = (self.value(from, None)?, self.value(to, None)?, self.value(step, None)?);
                    if step < 1 {
                        let message = format!("a loop goes on by {step} each time");
                        return Err(Diagnostic::new(Code::BadOperand, message).help("a step is at least 1"));
                    }
                    self.frames.push(Frame::Loop { slot: usize::from(*slot), next, to, step, body });
                }
                Statement::If { value, then, other } => {
                    let rest = if self.value(value, None)? != 0 { then } else { other };
                    self.frames.push(Frame::Block { rest });
                }
            }
        }
    }

    /// Values of loop variables and bindings, as text for a message.
    pub fn place(&self, program: &Program) -> String {
        let named = program.variables.iter().zip(&self.variables).skip(BUILT_IN_VARIABLES.len());
        let is_own = |name: &str, value: i64| value != UNSET && program.param_names().all(|param| param != name);
        let shown = named.filter(|(name, value)| is_own(name, **value)).map(|(name, value)| format!("{name}={value}"));
        shown.collect::<Vec<_>>().join(" ")
    }

    fn value(&self, expr: &Expr, span: Option<Span>) -> Result<i64, Diagnostic> {
        expr.value(&self.variables).map_err(|e| no_value(e, span))
    }

    fn issue(&self, instruction: &Instruction) -> Result<Issue, Diagnostic> {
        let nowhere = Place { space: Space::Gm, tensor: 0, offset: 0, row: None, block: 32 };
        let mut issue =
            Issue { op: instruction.op, types: instruction.types, places: [nowhere; MAX_PLACES], ints: [0; MAX_INTS] };
        let (mut places, mut ints) = (issue.places.iter_mut(), issue.ints.iter_mut());
        for (operand, arg) in instruction.spec().operands.iter().zip(&instruction.args) {
            if let Arg::Place(place) = arg {
                if let Some(slot) = places.next() {
                    *slot = self.evaluated(place, instruction.span)?;
                }
            } else if let Some(slot) = ints.next() {
                *slot = self.int(operand, arg, instruction.span)?;
            }
        }
        Ok(issue)
    }

    fn evaluated(&self, place: &PlaceExpr, span: Option<Span>) -> Result<Place, Diagnostic> {
        let value = |expr: &Expr| self.value(expr, span);
        Ok(Place {
            space: place.space,
            tensor: place.tensor,
            offset: value(&place.offset)?,
            row: place.row.as_ref().map(value).transpose()?,
            block: place.block.as_ref().map_or(Ok(32), value)?,
        })
    }

    fn int(&self, operand: &Operand, arg: &Arg, span: Option<Span>) -> Result<i64, Diagnostic> {
        let (low, high) = match operand.kind {
            Kind::Int(low, high, _) => (low, high),
            _ => (0, MAX_ID),
        };
        match (operand.kind, arg) {
            (Kind::Int(..) | Kind::Id, Arg::Int(expr)) => {
                let value = self.value(expr, span)?;
                if (low..=high).contains(&value) {
                    return Ok(value);
                }
                let message = format!("`{}` is {value}, which is not in {low} to {high}", operand.name);
                let diagnostic = Diagnostic::new(Code::BadOperand, message)
                    .help("a bound of a loop around it may be wrong, or a tail not cut with `min`");
                Err(diagnostic.at_known(span))
            }
            (_, Arg::Float(value)) => Ok(i64::from(value.to_bits())),
            (_, Arg::Pipe(pipe)) => Ok(pipe.index() as i64),
            (_, Arg::Word(word)) => Ok(i64::from(*word)),
            (_, Arg::Int(_) | Arg::Place(_)) => {
                Err(Diagnostic::new(Code::BadOperand, format!("`{}` is of the wrong kind", operand.name)))
            }
        }
    }
}

fn no_value(why: NoValue, span: Option<Span>) -> Diagnostic {
    let diagnostic = Diagnostic::new(Code::NoValue, why.to_string())
        .help("look at its divisors, its products, and at what sets its variables");
    diagnostic.at_known(span)
}

fn too_long() -> Diagnostic {
    Diagnostic::new(Code::StreamTooLong, format!("the cores execute more than {MAX_STEPS} statements"))
        .help("a loop may run further than it was meant to; larger tiles make fewer instructions")
}
