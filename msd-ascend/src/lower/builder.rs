//! Programs, statement by statement. Owns names, sections and the order of operands; what is worth saying is
//! the business of those who lower something.

use std::collections::HashSet;

use msd_ir::dtype::DType;

use crate::expr::{Expr, Slot};
use crate::isa::Op;
use crate::isa::memory::{Core, Pipe, Space};
use crate::program::{Arg, BUILT_IN_VARIABLES, Instruction, PlaceExpr, Program, Purpose, Statement, Tensor};
use crate::text::unsaid;

/// An operand in memory on chip.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    pub(crate) space: Space,
    pub(crate) offset: Expr,
    pub(crate) row: Option<i64>,
    pub(crate) block: Option<i64>,
}

impl Local {
    pub(crate) fn new(space: Space, offset: impl Into<Expr>) -> Local {
        Local { space, offset: offset.into(), row: None, block: None }
    }

    /// Rows so many bytes apart.
    pub(crate) fn rows(self, row: i64) -> Local {
        Local { row: Some(row), ..self }
    }
}

impl From<Local> for Arg {
    fn from(local: Local) -> Arg {
        let Local { space, offset, row, block } = local;
        Arg::Place(PlaceExpr { space, tensor: 0, offset, row: row.map(Expr::from), block: block.map(Expr::from) })
    }
}

/// An operand in GM: a tensor from an element on.
pub(crate) fn global(tensor: u16, offset: impl Into<Expr>) -> Arg {
    Arg::Place(PlaceExpr { space: Space::Gm, tensor, offset: offset.into(), row: None, block: None })
}

/// An operand by its name.
pub(crate) fn int(name: &'static str, value: impl Into<Expr>) -> (&'static str, Arg) {
    (name, Arg::Int(value.into()))
}

/// Builds a program.
pub(crate) struct Builder {
    program: Program,
    /// Blocks that are being written, outermost first, of each section.
    open: [Vec<Vec<Statement>>; 2],
    section: usize,
    names: HashSet<String>,
    /// What the instructions that follow are for.
    note: Option<String>,
    /// Tensors that no instruction names after all.
    dropped: Vec<u16>,
}

impl Builder {
    pub(crate) fn new(name: &str, blocks: i64) -> Builder {
        let program = Program {
            name: name.to_string(),
            variables: BUILT_IN_VARIABLES.map(str::to_string).to_vec(),
            params: Vec::new(),
            tensors: Vec::new(),
            blocks: Expr::from(blocks),
            cube: Vec::new(),
            vector: Vec::new(),
        };
        let names = program.variables.iter().cloned().collect();
        Builder {
            program,
            open: [vec![Vec::new()], vec![Vec::new()]],
            section: 0,
            names,
            note: None,
            dropped: Vec::new(),
        }
    }

    /// The program, and the number of each tensor in it.
    pub(crate) fn finish(mut self) -> (Program, Vec<u16>) {
        let [cube, vector] = self.open;
        self.program.cube = cube.into_iter().next().unwrap_or_default();
        self.program.vector = vector.into_iter().next().unwrap_or_default();
        let mut numbers = Vec::new();
        let mut left = 0;
        for tensor in 0..self.program.tensors.len() {
            numbers.push(left);
            left += u16::from(!self.dropped.contains(&(tensor as u16)));
        }
        let mut own = 0..;
        self.program.tensors.retain(|_| own.next().is_some_and(|tensor| !self.dropped.contains(&tensor)));
        let numbers_of = |tensor: u16| {
            debug_assert!(!self.dropped.contains(&tensor), "a tensor that was dropped is named");
            numbers[usize::from(tensor)]
        };
        renumber(&mut self.program.cube, &numbers_of);
        renumber(&mut self.program.vector, &numbers_of);
        (self.program, numbers)
    }

    /// The index of the cube core.
    pub(crate) fn core() -> Expr {
        Expr::variable(0)
    }

    /// The index of a vector core beside its cube core.
    pub(crate) fn sub() -> Expr {
        Expr::variable(1)
    }

    /// A name nobody has, as near to the given one as can be.
    fn fresh(&mut self, name: &str) -> String {
        let mut fresh = name.to_string();
        let mut number = 2;
        while !self.names.insert(fresh.clone()) {
            fresh = format!("{name}_{number}");
            number += 1;
        }
        fresh
    }

    pub(crate) fn tensor(&mut self, name: &str, dtype: DType, shape: &[i64], purpose: Purpose) -> u16 {
        let name = self.fresh(name);
        let shape = shape.iter().map(|size| Expr::from(*size)).collect();
        self.program.tensors.push(Tensor { name, dtype, shape, purpose, span: None });
        (self.program.tensors.len() - 1) as u16
    }

    /// The program has no such tensor: no instruction names it.
    pub(crate) fn drop_tensor(&mut self, tensor: u16) {
        self.dropped.push(tensor);
    }

    pub(crate) fn tensors(&mut self) -> &mut [Tensor] {
        &mut self.program.tensors
    }

    /// What follows is for the core of this kind.
    pub(crate) fn on(&mut self, core: Core) {
        self.section = match core {
            Core::Cube => 0,
            Core::Vector => 1,
        };
    }

    /// What the instructions that follow are for.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.note = Some(note.into());
    }

    fn push(&mut self, statement: Statement) {
        if let Some(block) = self.open[self.section].last_mut() {
            block.push(statement);
        }
    }

    fn variable(&mut self, name: &str) -> Slot {
        let name = self.fresh(name);
        self.program.variables.push(name);
        (self.program.variables.len() - 1) as Slot
    }

    /// What is left of `all` from `at` on, but `most` at most: a number where every piece has as much.
    pub(crate) fn rest(&mut self, name: &str, at: &Expr, most: i64, all: &Expr) -> Expr {
        match all.number() {
            Some(all) if all % most == 0 => Expr::from(most),
            Some(all) if all < most => Expr::from(all),
            _ => self.bind(name, (all.clone() - at.clone()).min(most)),
        }
    }

    /// A name for a value; numbers need none.
    pub(crate) fn bind(&mut self, name: &str, value: impl Into<Expr>) -> Expr {
        let value = value.into();
        if value.number().is_some() {
            return value;
        }
        let slot = self.variable(name);
        self.push(Statement::Let(slot, value));
        Expr::variable(slot)
    }

    /// A variable that [`Builder::set`] changes.
    pub(crate) fn cell(&mut self, name: &str, value: impl Into<Expr>) -> Slot {
        let slot = self.variable(name);
        self.push(Statement::Let(slot, value.into()));
        slot
    }

    pub(crate) fn set(&mut self, slot: Slot, value: impl Into<Expr>) {
        self.push(Statement::Let(slot, value.into()));
    }

    /// A loop, whose variable the body is given. One that runs once is none.
    pub(crate) fn repeat(
        &mut self,
        name: &str,
        (from, to, step): (Expr, Expr, i64),
        body: impl FnOnce(&mut Builder, Expr),
    ) {
        if let (Some(from), Some(to)) = (from.number(), to.number())
            && from < to
            && from + step >= to
        {
            return body(self, Expr::from(from));
        }
        let slot = self.variable(name);
        self.open[self.section].push(Vec::new());
        body(self, Expr::variable(slot));
        let body = self.open[self.section].pop().unwrap_or_default();
        self.push(Statement::For { slot, from, to, step: Expr::from(step), body });
    }

    /// What is done where a value is not 0. A number decides at once.
    pub(crate) fn when(&mut self, value: Expr, then: impl FnOnce(&mut Builder)) {
        self.either(value, then, |_| {});
    }

    /// The same, and what is done where it is 0.
    pub(crate) fn either(&mut self, value: Expr, then: impl FnOnce(&mut Builder), other: impl FnOnce(&mut Builder)) {
        match value.number() {
            Some(0) => return other(self),
            Some(_) => return then(self),
            None => {}
        }
        self.open[self.section].push(Vec::new());
        then(self);
        let then = self.open[self.section].pop().unwrap_or_default();
        self.open[self.section].push(Vec::new());
        other(self);
        let other = self.open[self.section].pop().unwrap_or_default();
        self.push(Statement::If { value, then, other });
    }

    /// An instruction: operands in memory in their order, others by name; those left out are what they are
    /// when not said.
    pub(crate) fn emit(&mut self, op: Op, types: &[DType], places: Vec<Arg>, others: Vec<(&'static str, Arg)>) {
        let mut places = places.into_iter();
        let mut args = Vec::new();
        for operand in op.spec().operands {
            let said = others.iter().find(|(name, _)| *name == operand.name).map(|(_, arg)| arg.clone());
            let arg = if operand.is_place() { places.next() } else { said.or_else(|| unsaid(operand)) };
            debug_assert!(arg.is_some(), "{} without `{}`", op.spec().mnemonic, operand.name);
            args.extend(arg);
        }
        let types = [types.first().copied(), types.get(1).copied()];
        let note = self.note.take();
        self.push(Statement::Instruction(Instruction { op, types, args, note, span: None }));
    }

    fn order(&mut self, op: Op, args: Vec<Arg>) {
        let note = None;
        self.push(Statement::Instruction(Instruction { op, types: [None, None], args, note, span: None }));
    }

    pub(crate) fn set_flag(&mut self, from: Pipe, to: Pipe, id: impl Into<Expr>) {
        self.order(Op::SetFlag, vec![Arg::Pipe(from), Arg::Pipe(to), Arg::Int(id.into())]);
    }

    pub(crate) fn wait_flag(&mut self, from: Pipe, to: Pipe, id: impl Into<Expr>) {
        self.order(Op::WaitFlag, vec![Arg::Pipe(from), Arg::Pipe(to), Arg::Int(id.into())]);
    }

    /// Orders two pipes here: the second goes on once the first is through.
    pub(crate) fn flag(&mut self, from: Pipe, to: Pipe, id: impl Into<Expr>) {
        let id = id.into();
        self.set_flag(from, to, id.clone());
        self.wait_flag(from, to, id);
    }

    pub(crate) fn barrier(&mut self, pipe: Pipe) {
        self.order(Op::Barrier, vec![Arg::Pipe(pipe)]);
    }

    pub(crate) fn barrier_all(&mut self) {
        self.order(Op::BarrierAll, Vec::new());
    }

    /// Between a cube core and its vector cores.
    pub(crate) fn cross_set(&mut self, pipe: Pipe, id: i64) {
        self.order(Op::CrossSet, vec![Arg::Pipe(pipe), Arg::Int(id.into()), Arg::Word(0)]);
    }

    /// Between all cores of this kind.
    pub(crate) fn cross_set_all(&mut self, pipe: Pipe, id: i64) {
        self.order(Op::CrossSet, vec![Arg::Pipe(pipe), Arg::Int(id.into()), Arg::Word(1)]);
    }

    pub(crate) fn cross_wait(&mut self, pipe: Pipe, id: i64) {
        self.order(Op::CrossWait, vec![Arg::Pipe(pipe), Arg::Int(id.into())]);
    }
}

/// Gives the tensors that instructions name other numbers.
fn renumber(statements: &mut [Statement], number: &impl Fn(u16) -> u16) {
    for statement in statements {
        match statement {
            Statement::Instruction(instruction) => {
                for arg in &mut instruction.args {
                    if let Arg::Place(place) = arg
                        && place.space == Space::Gm
                    {
                        place.tensor = number(place.tensor);
                    }
                }
            }
            Statement::Let(..) => {}
            Statement::For { body, .. } => renumber(body, number),
            Statement::If { then, other, .. } => {
                renumber(then, number);
                renumber(other, number);
            }
        }
    }
}

/// Places along outer axes of the `index`-th of all.
pub(crate) fn outer_place(b: &mut Builder, index: Expr, shape: &[i64]) -> Vec<Expr> {
    if shape.iter().product::<i64>() == 1 {
        return shape.iter().map(|_| Expr::from(0)).collect();
    }
    let index = b.bind("o", index);
    let mut apart: i64 = 1;
    let mut place = Vec::new();
    for (axis, size) in shape.iter().enumerate().rev() {
        let at = index.clone() / apart;
        place.push(if *size == 1 {
            Expr::from(0)
        } else if axis == 0 {
            at
        } else {
            at % *size
        });
        apart *= size;
    }
    place.reverse();
    place
}
