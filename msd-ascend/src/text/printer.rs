//! A program as text that [`super::parse`] reads back. Operands that are what they are when not said are not said.

use std::fmt::Write;

use super::operands::unsaid;
use crate::expr::Expr;
use crate::isa::Kind;
use crate::isa::memory::Space;
use crate::program::{Arg, Instruction, PlaceExpr, Program, Statement};

/// Disassembles a program.
pub fn print(program: &Program) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_program(&mut out, program);
    out
}

fn write_program(out: &mut String, program: &Program) -> std::fmt::Result {
    writeln!(out, "program {}", program.name)?;
    for param in &program.params {
        let value = param.value.text(&program.variables);
        writeln!(out, "param {} = {value}", program.variables[usize::from(param.slot)])?;
    }
    for tensor in &program.tensors {
        let shape: Vec<String> = tensor.shape.iter().map(|size| size.text(&program.variables)).collect();
        let (name, dtype, purpose) = (&tensor.name, tensor.dtype.name(), tensor.purpose.name());
        writeln!(out, "tensor {name}: {dtype}[{}] {purpose}", shape.join(", "))?;
    }
    writeln!(out, "blocks {}", program.blocks.text(&program.variables))?;
    for (name, body) in [("cube", &program.cube), ("vector", &program.vector)] {
        if !body.is_empty() {
            writeln!(out, "\n{name} {{")?;
            write_block(out, program, body, 1)?;
            writeln!(out, "}}")?;
        }
    }
    Ok(())
}

fn write_block(out: &mut String, program: &Program, body: &[Statement], depth: usize) -> std::fmt::Result {
    let indent = "    ".repeat(depth);
    let text = |expr: &Expr| expr.text(&program.variables);
    let name = |slot: u16| &program.variables[usize::from(slot)];
    for statement in body {
        match statement {
            Statement::Instruction(instruction) => {
                writeln!(out, "{indent}{}", instruction_text(instruction, program))?;
            }
            Statement::Let(slot, value) => writeln!(out, "{indent}let {} = {}", name(*slot), text(value))?,
            Statement::For { slot, from, to, step, body } => {
                let step = match step.number() {
                    Some(1) => String::new(),
                    _ => format!(" step {}", text(step)),
                };
                writeln!(out, "{indent}for {} in {}..{}{step} {{", name(*slot), text(from), text(to))?;
                write_block(out, program, body, depth + 1)?;
                writeln!(out, "{indent}}}")?;
            }
            Statement::If { value, then, other } => {
                writeln!(out, "{indent}if {} {{", text(value))?;
                write_block(out, program, then, depth + 1)?;
                if !other.is_empty() {
                    writeln!(out, "{indent}}} else {{")?;
                    write_block(out, program, other, depth + 1)?;
                }
                writeln!(out, "{indent}}}")?;
            }
        }
    }
    Ok(())
}

/// One instruction, its note behind it.
pub(crate) fn instruction_text(instruction: &Instruction, program: &Program) -> String {
    let spec = instruction.spec();
    let types: String = instruction.types.iter().flatten().map(|t| format!(".{}", t.name())).collect();
    let said = spec.operands.iter().zip(&instruction.args).filter(|(o, arg)| unsaid(o).as_ref() != Some(arg));
    let args = said.map(|(operand, arg)| {
        let value = match arg {
            Arg::Place(place) => return place_text(place, program),
            Arg::Pipe(pipe) => return pipe.name().to_string(),
            Arg::Int(expr) if operand.kind == Kind::Id => return expr.text(&program.variables),
            Arg::Int(expr) => expr.text(&program.variables),
            // Integers to the last digit: bits of another type may be meant.
            Arg::Float(value) if value.fract() == 0.0 && value.abs() < 1e10 => format!("{:?}", f64::from(*value)),
            Arg::Float(value) => format!("{value:?}"),
            Arg::Word(word) => match operand.kind {
                Kind::Word(words) => words.get(usize::from(*word)).copied().unwrap_or_default().to_string(),
                _ => String::new(),
            },
        };
        format!("{}={value}", operand.name)
    });
    let mut text = format!("{}{types} {}", spec.mnemonic, args.collect::<Vec<_>>().join(", ")).trim_end().to_string();
    if let Some(note) = &instruction.note {
        text += "  // ";
        text += note;
    }
    text
}

fn place_text(place: &PlaceExpr, program: &Program) -> String {
    let name = match place.space {
        Space::Gm => program.tensors.get(usize::from(place.tensor)).map_or("", |t| &t.name),
        space => space.name(),
    };
    let text = |expr: &Expr| expr.text(&program.variables);
    let row = place.row.as_ref().map(|row| format!(" row {}", text(row))).unwrap_or_default();
    let block = place.block.as_ref().map(|block| format!(" block {}", text(block))).unwrap_or_default();
    format!("{name}[{}{row}{block}]", text(&place.offset))
}
