//! A whole program's values. Owns the memories of a run and the way of tensors into GM and out of it; instructions
//! are executed as they start, in an order that flags and counters allow. A program without races has one result,
//! whatever the order ([`crate::race`]), but for floats that several cores add to the same place of GM.

use std::borrow::Cow;

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::dtype::DType;
use msd_ir::tensor::{Data, Tensor};

use super::{Fault, Local, View};
use crate::check::{Machine, capacity};
use crate::chip::{Chip, Layout};
use crate::engine::{self, Observer, Start, core_name};
use crate::isa::Op;
use crate::isa::memory::Space;
use crate::program::Program;

/// Most bytes of all tensors of a run.
const MAX_BYTES: i64 = 1 << 33;

struct Interpreter<'a> {
    machine: &'a Machine,
    locals: Vec<Local>,
    gm: Vec<Vec<u8>>,
    l0a: Layout,
    /// Multiplications that may still be made.
    products: i64,
}

/// Most multiplications of a run.
const MAX_PRODUCTS: i64 = 1 << 41;

/// Executes a program. `inputs` are one per tensor of the program, with as many elements; a tensor without one starts
/// as zeros.
///
/// # Returns
/// Every tensor of the program as it was left.
///
/// # Errors
/// As [`engine::run`]; if an input does not fit its tensor, a sum leaves its type, or the tensors are too large.
pub fn run(program: &Program, chip: &Chip, inputs: &[Option<Cow<'_, Tensor>>]) -> Result<Vec<Tensor>, Diagnostic> {
    let machine = Machine::new(program, chip)?;
    let total: i64 = machine.tensors.iter().sum();
    if total > MAX_BYTES {
        let message = format!("the program's tensors have {total} bytes");
        return Err(Diagnostic::new(Code::TooLarge, message).help(format!("values are computed for up to {MAX_BYTES}")));
    }
    let mut gm = Vec::new();
    for (index, tensor) in program.tensors.iter().enumerate() {
        let bytes = machine.tensors[index] as usize;
        gm.push(match inputs.get(index).and_then(Option::as_deref) {
            Some(input) => stored(input, &tensor.name, tensor.dtype, bytes)?,
            None => vec![0; bytes],
        });
    }
    let size = |space: Space| capacity(space, chip) as usize;
    let locals = machine.cores.iter().map(|_| Local::new(size)).collect();
    let mut interpreter =
        Interpreter { machine: &machine, locals, gm, l0a: *chip.cube.l0a_layout, products: MAX_PRODUCTS };
    engine::run(program, chip, &mut interpreter)?;
    let tensors = program.tensors.iter().zip(interpreter.gm).zip(machine.shapes);
    tensors.map(|((tensor, bytes), shape)| loaded(&bytes, tensor.dtype, shape)).collect()
}

impl<'p> Observer<'p> for Interpreter<'_> {
    fn start(&mut self, start: &Start<'_, 'p>) -> Result<(), Diagnostic> {
        let id = self.machine.cores[start.core];
        if matches!(start.issue.op, Op::Mmad | Op::MmadMx) {
            let [m, k, n, ..] = start.issue.ints;
            self.products -= m * k * n;
        }
        if self.products < 0 {
            let message = format!("values of more than {MAX_PRODUCTS} products");
            return Err(
                Diagnostic::new(Code::StreamTooLong, message).help("cycles need no values; take a smaller shape")
            );
        }
        let dst = start.issue.places[0].space;
        let owner = self.machine.owner(start.core, id, dst);
        // A way on chip to a core of the other kind: its memory is lent for the instruction.
        self.lend(start.core, owner, dst);
        let view = &mut View { local: &mut self.locals[start.core], gm: &mut self.gm, l0a: self.l0a };
        let done = (start.issue.op.spec().run)(start.issue, view);
        self.lend(start.core, owner, dst);
        let diagnostic = match done {
            Ok(()) => return Ok(()),
            Err(Fault::Range(why)) => {
                let diagnostic = Diagnostic::new(Code::AccumulatorRange, format!("{}: {why}", core_name(id)));
                diagnostic.help("split the contraction: each part adds up on its own")
            }
            Err(Fault::Unchecked(why)) => Diagnostic::new(Code::Internal, format!("{}: {why}", core_name(id))),
        };
        Err(diagnostic.at_known(start.instruction.span))
    }
}

impl Interpreter<'_> {
    fn lend(&mut self, core: usize, owner: usize, space: Space) {
        if core == owner {
            return;
        }
        let taken = std::mem::take(&mut self.locals[owner].memories[space as usize]);
        let other = std::mem::replace(&mut self.locals[core].memories[space as usize], taken);
        self.locals[owner].memories[space as usize] = other;
    }
}

/// A tensor as it lies in GM: little end first, 4-bit elements two to a byte, low half first.
fn stored(tensor: &Tensor, name: &str, dtype: DType, bytes: usize) -> Result<Vec<u8>, Diagnostic> {
    if tensor.dtype() != dtype {
        let message = format!("`{name}` holds {}, not {}", dtype.name(), tensor.dtype().name());
        return Err(Diagnostic::new(Code::InputType, message).help("convert the values"));
    }
    let mut data: Vec<u8> = match tensor.data() {
        Data::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::F64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::U16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::I16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::I32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::I64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::I8(v) => v.iter().map(|x| *x as u8).collect(),
        Data::U8(v) => v.clone(),
    };
    if dtype.bits() == 4 {
        data = data.chunks(2).map(|pair| pair[0] & 15 | pair.get(1).map_or(0, |high| high << 4)).collect();
    }
    if data.len() != bytes {
        let message = format!("`{name}` takes {bytes} bytes, but {} were given", data.len());
        return Err(Diagnostic::new(Code::InputShape, message).help("its number of elements is the declared one"));
    }
    Ok(data)
}

/// The tensor that lies in GM so.
fn loaded(bytes: &[u8], dtype: DType, shape: Vec<usize>) -> Result<Tensor, Diagnostic> {
    if dtype.bits() == 4 {
        return Tensor::from_nibbles(dtype, vec![bytes.len() * 2], bytes)?.reshaped(shape);
    }
    let data = match dtype {
        DType::F32 => Data::F32(words(bytes).map(f32::from_le_bytes).collect()),
        DType::F64 => Data::F64(words(bytes).map(f64::from_le_bytes).collect()),
        DType::F16 | DType::BF16 => Data::U16(words(bytes).map(u16::from_le_bytes).collect()),
        DType::I16 => Data::I16(words(bytes).map(i16::from_le_bytes).collect()),
        DType::I32 => Data::I32(words(bytes).map(i32::from_le_bytes).collect()),
        DType::I64 => Data::I64(words(bytes).map(i64::from_le_bytes).collect()),
        DType::I8 => Data::I8(bytes.iter().map(|b| *b as i8).collect()),
        _ => Data::U8(bytes.to_vec()),
    };
    Tensor::new(dtype, shape, data)
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes.as_chunks::<N>().0.iter().copied()
}
