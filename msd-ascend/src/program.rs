//! Programs: what every core of a kind runs, with its block index. Owns their structure and its
//! limits; instructions are [`crate::isa`]'s, the text form [`crate::text`]'s.

use msd_ir::dtype::DType;
use msd_ir::span::Span;

use crate::expr::{Expr, Slot, UNSET};
use crate::isa::memory::{Pipe, Space};
use crate::isa::{Op, Spec};

/// Loops and conditions within each other.
pub const MAX_NESTING: usize = 32;
/// Statements of a program.
pub const MAX_STATEMENTS: usize = 100_000;
/// Tensors of a program.
pub const MAX_TENSORS: usize = 1024;
/// Dimensions of a tensor.
pub const MAX_RANK: usize = 8;
/// Variables of a program, those that are always there included.
pub const MAX_VARIABLES: usize = 4096;
/// Bytes of all tensors: the memory of a chip.
pub const MAX_GM_BYTES: u64 = 1 << 36;

/// Variables that every program has: the index of the cube core (a vector core has that of its
/// cube core), the index of a vector core beside its cube core (0 on a cube core), and the number
/// of cube cores that run the program.
pub const BUILT_IN_VARIABLES: [&str; 3] = ["core", "sub", "blocks"];

/// The variable of [`BUILT_IN_VARIABLES`] that is known before any core starts.
pub(crate) const BLOCKS: Slot = 2;

/// What a tensor in GM is for; traffic is counted by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// Weights, their scales and zero points, and a cache of keys and values.
    Weight,
    /// Activations and their digits.
    Activation,
    /// What one core writes for another to read: a dequantized weight.
    Workspace,
    /// Accumulators on their way from cube to vector cores.
    Accumulator,
    /// Results.
    Output,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Purpose; 5] =
        [Purpose::Weight, Purpose::Activation, Purpose::Workspace, Purpose::Accumulator, Purpose::Output];

    /// Its name in text and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Purpose::Weight => "weight",
            Purpose::Activation => "activation",
            Purpose::Workspace => "workspace",
            Purpose::Accumulator => "accumulator",
            Purpose::Output => "output",
        }
    }
}

/// A tensor in GM: its elements one after the other, the last axis fastest, 4-bit elements two to a byte.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Type of its elements.
    pub dtype: DType,
    /// Its shape, over parameters alone.
    pub shape: Vec<Expr>,
    /// What it is for.
    pub purpose: Purpose,
    /// Where it is declared.
    pub span: Option<Span>,
}

/// A number that whoever runs the program may set.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Its variable.
    pub slot: Slot,
    /// Its value, over parameters before it.
    pub value: Expr,
}

/// Where an operand lies.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaceExpr {
    /// Which memory.
    pub space: Space,
    /// Which tensor, in GM.
    pub tensor: u16,
    /// From where: bytes on chip, elements in GM.
    pub offset: Expr,
    /// Bytes from row to row, where an instruction reads rows; dense if not said.
    pub row: Option<Expr>,
    /// Bytes from 32 bytes of a row to the next 32, for vector operations: 32 if not said, 0 to
    /// read the same 32 bytes again.
    pub block: Option<Expr>,
}

/// An operand as written.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// In memory.
    Place(PlaceExpr),
    /// An integer.
    Int(Expr),
    /// A number.
    Float(f32),
    /// A pipe.
    Pipe(Pipe),
    /// One of a few words, by its index.
    Word(u8),
}

/// An instruction as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// What it does.
    pub op: Op,
    /// Types of its operands, as many as its row of the table says.
    pub types: [Option<DType>; 2],
    /// Operands in the order of the table.
    pub args: Vec<Arg>,
    /// Which op of a kernel it is from.
    pub note: Option<String>,
    /// Where it stands.
    pub span: Option<Span>,
}

impl Instruction {
    /// Its row of the table.
    pub fn spec(&self) -> &'static Spec {
        self.op.spec()
    }
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// An instruction.
    Instruction(Instruction),
    /// `let name = value`
    Let(Slot, Expr),
    /// `for name in from..to step step { body }`; the step is at least 1.
    For {
        /// Its variable.
        slot: Slot,
        /// First value.
        from: Expr,
        /// One past the last.
        to: Expr,
        /// From one to the next.
        step: Expr,
        /// What is repeated.
        body: Vec<Statement>,
    },
    /// `if value { then } else { other }`: `then` unless the value is 0.
    If {
        /// The condition.
        value: Expr,
        /// Where it is not 0.
        then: Vec<Statement>,
        /// Where it is.
        other: Vec<Statement>,
    },
}

/// A program.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Names of variables, by slot; the first are [`BUILT_IN_VARIABLES`].
    pub variables: Vec<String>,
    /// What may be set.
    pub params: Vec<Param>,
    /// What lies in GM.
    pub tensors: Vec<Tensor>,
    /// Cube cores that run it, with their vector cores; over parameters alone.
    pub blocks: Expr,
    /// What each cube core runs.
    pub cube: Vec<Statement>,
    /// What each vector core runs.
    pub vector: Vec<Statement>,
}

impl Program {
    /// Sets a parameter; whether there is one of that name.
    pub fn set(&mut self, name: &str, value: i64) -> bool {
        let variables = &self.variables;
        let found = self.params.iter_mut().find(|p| variables[usize::from(p.slot)] == name);
        found.map(|p| p.value = Expr::from(value)).is_some()
    }

    /// Names of what may be set.
    pub fn param_names(&self) -> impl Iterator<Item = &str> {
        self.params.iter().map(|p| self.variables[usize::from(p.slot)].as_str())
    }

    /// Variables before the first statement, on a core.
    pub fn start(&self, core: i64, sub: i64, blocks: i64) -> Vec<i64> {
        let mut values = vec![UNSET; self.variables.len()];
        values.iter_mut().zip([core, sub, blocks]).for_each(|(value, built_in)| *value = built_in);
        for param in &self.params {
            let value = param.value.value(&values).unwrap_or(UNSET);
            if let Some(slot) = values.get_mut(usize::from(param.slot)) {
                *slot = value;
            }
        }
        values
    }

    /// Names and values of what may be set.
    pub fn param_values(&self) -> Vec<(String, i64)> {
        let values = self.start(0, 0, 0);
        self.params
            .iter()
            .map(|p| usize::from(p.slot))
            .map(|slot| (self.variables[slot].clone(), values[slot]))
            .collect()
    }
}
