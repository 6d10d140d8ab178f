//! Whether a program is one: names there are, instructions with the operands that their row of the table says.
//! Programs that were parsed are; those that a lowering builds are asked here as well. Owns form alone: what
//! depends on a chip is [`crate::check`]'s.

use msd_ir::diag::{Code, Diagnostic};

use crate::expr::Expr;
use crate::isa::memory::Space;
use crate::isa::{Kind, Operand};
use crate::program::{Arg, BUILT_IN_VARIABLES, Instruction, Program, Statement};
use crate::text::form;

/// Checks a program's form.
///
/// # Errors
/// The first thing that is no form of a program.
pub(crate) fn check(program: &Program) -> Result<(), Diagnostic> {
    let built_in = program.variables.iter().map(String::as_str).take(BUILT_IN_VARIABLES.len());
    if !built_in.eq(BUILT_IN_VARIABLES) {
        let message = format!("the first variables are {}", BUILT_IN_VARIABLES.join(", "));
        return Err(Diagnostic::new(Code::BadOperand, message).help("start from these and add names behind"));
    }
    let sizes = program.tensors.iter().flat_map(|t| &t.shape).chain([&program.blocks]);
    let params = program.params.iter().map(|p| &p.value);
    sizes.chain(params).try_for_each(|expr| known(expr, program))?;
    program.params.iter().try_for_each(|p| known(&Expr::variable(p.slot), program))?;
    let mut stack: Vec<&Statement> = program.cube.iter().chain(&program.vector).collect();
    while let Some(statement) = stack.pop() {
        match statement {
            Statement::Instruction(instruction) => {
                operands(instruction, program).map_err(|d| d.at_known(instruction.span))?;
            }
            Statement::Let(slot, value) => {
                known(&Expr::variable(*slot), program)?;
                known(value, program)?;
            }
            Statement::For { slot, from, to, step, body } => {
                known(&Expr::variable(*slot), program)?;
                [from, to, step].into_iter().try_for_each(|expr| known(expr, program))?;
                stack.extend(body);
            }
            Statement::If { value, then, other } => {
                known(value, program)?;
                stack.extend(then.iter().chain(other));
            }
        }
    }
    Ok(())
}

fn known(expr: &Expr, program: &Program) -> Result<(), Diagnostic> {
    match expr.variables().all(|slot| usize::from(slot) < program.variables.len()) {
        true => Ok(()),
        false => Err(Diagnostic::new(Code::UnknownName, "a variable without a name").help("name it first")),
    }
}

fn operands(instruction: &Instruction, program: &Program) -> Result<(), Diagnostic> {
    let spec = instruction.spec();
    let wrong = |what: &str| {
        Diagnostic::new(Code::BadOperand, format!("`{}`: {what}", spec.mnemonic)).help(form(instruction.op))
    };
    if !spec.types.allow(instruction.types) {
        return Err(wrong("not these types"));
    }
    if spec.operands.len() != instruction.args.len() {
        return Err(wrong(&format!("{} operands, not {}", spec.operands.len(), instruction.args.len())));
    }
    for (operand, arg) in spec.operands.iter().zip(&instruction.args) {
        if !fits(operand, arg, program) {
            return Err(wrong(&format!("`{}` is of the wrong kind", operand.name)));
        }
        match arg {
            Arg::Int(expr) => known(expr, program)?,
            Arg::Place(place) => {
                let distances = [&place.row, &place.block].into_iter().flatten();
                distances.chain([&place.offset]).try_for_each(|expr| known(expr, program))?;
            }
            Arg::Float(_) | Arg::Pipe(_) | Arg::Word(_) => {}
        }
    }
    Ok(())
}

fn fits(operand: &Operand, arg: &Arg, program: &Program) -> bool {
    match (operand.kind, arg) {
        (Kind::Place { spaces, .. }, Arg::Place(place)) => {
            let exists = place.space != Space::Gm || usize::from(place.tensor) < program.tensors.len();
            spaces.contains(&place.space) && exists
        }
        (Kind::Int(..) | Kind::Id, Arg::Int(_)) => true,
        (Kind::Float(_), Arg::Float(_)) | (Kind::Pipe, Arg::Pipe(_)) => true,
        (Kind::Word(words), Arg::Word(word)) => usize::from(*word) < words.len(),
        _ => false,
    }
}
