//! Inputs of a kernel as tensors of its stream, and those as its results. Owns what differs between the two: types that
//! the chip lacks, and rows of 4-bit elements, each of which starts with a byte.

use std::borrow::Cow;

use msd_ir::diag::Diagnostic;
use msd_ir::dtype::DType;
use msd_ir::graph::Kernel;
use msd_ir::input::Input;
use msd_ir::tensor::{Data, Tensor};

use super::region::internal;
use super::view::stored_row;
use super::{Given, Lowered, Part};

impl Lowered {
    /// What each tensor of the stream is given, for inputs of the kernel that were bound to it.
    ///
    /// # Errors
    /// Only through a fault of ours.
    pub fn inputs<'i>(&self, inputs: &'i [Input]) -> Result<Vec<Option<Cow<'i, Tensor>>>, Diagnostic> {
        let mut tensors = vec![None; self.program.tensors.len()];
        for (index, given) in &self.given {
            let declared = &self.program.tensors[*index];
            let shape = sizes(&declared.shape);
            tensors[*index] = Some(match given {
                Given::Indexes => {
                    let count = shape.iter().product::<usize>();
                    Cow::Owned(Tensor::from((0..count).map(|i| i as f32).collect::<Vec<f32>>()))
                }
                Given::Param { index, part } => {
                    let input = inputs.get(*index);
                    let tensor = input.and_then(|input| match part {
                        Part::Codes => Some(&input.tensor),
                        Part::Scale => input.scale.as_ref(),
                        Part::Zero => input.zero.as_ref(),
                    });
                    let tensor = tensor.ok_or_else(|| internal("a tensor of the stream that no input is for"))?;
                    stored(tensor, declared.dtype)?
                }
            });
        }
        Ok(tensors)
    }

    /// The results of `kernel` among the stream's tensors as they were left.
    ///
    /// # Errors
    /// Only through a fault of ours.
    pub fn results(&self, kernel: &Kernel, tensors: &[Tensor]) -> Result<Vec<Tensor>, Diagnostic> {
        let results = self.outputs.iter().zip(kernel.result_types()).zip(&self.shapes);
        results.map(|((index, ty), shape)| declared(&tensors[*index], ty.dtype, shape)).collect()
    }
}

fn sizes(shape: &[crate::expr::Expr]) -> Vec<usize> {
    shape.iter().map(|size| size.number().unwrap_or(0) as usize).collect()
}

/// Codes of a tensor, one after the other.
fn codes(tensor: &Tensor) -> Vec<i64> {
    match tensor.data() {
        Data::I8(v) => v.iter().map(|x| i64::from(*x)).collect(),
        Data::U8(v) => v.iter().map(|x| i64::from(*x)).collect(),
        Data::U16(v) => v.iter().map(|x| i64::from(*x)).collect(),
        Data::I16(v) => v.iter().map(|x| i64::from(*x)).collect(),
        Data::I32(v) => v.iter().map(|x| i64::from(*x)).collect(),
        Data::I64(v) => v.clone(),
        Data::F32(_) | Data::F64(_) => Vec::new(),
    }
}

fn stored(tensor: &Tensor, to: DType) -> Result<Cow<'_, Tensor>, Diagnostic> {
    let cols = tensor.shape().last().copied().unwrap_or(1);
    let padded = stored_row(cols as i64, to) as usize;
    if tensor.dtype() == to && padded == cols {
        return Ok(Cow::Borrowed(tensor));
    }
    let mut all = codes(tensor);
    if padded != cols {
        all = all.chunks(cols.max(1)).flat_map(|row| row.iter().copied().chain([0])).collect();
    }
    let count = all.len();
    Tensor::from_codes(to, vec![count], all.into_iter()).map(Cow::Owned)
}

fn declared(tensor: &Tensor, dtype: DType, shape: &[usize]) -> Result<Tensor, Diagnostic> {
    if tensor.dtype() == dtype && tensor.len() == shape.iter().product::<usize>() {
        return tensor.clone().reshaped(shape.to_vec());
    }
    let cols = shape.last().copied().unwrap_or(1);
    let padded = stored_row(cols as i64, tensor.dtype()) as usize;
    let all = codes(tensor);
    let kept: Vec<i64> = all.chunks(padded.max(1)).flat_map(|row| row.iter().take(cols).copied()).collect();
    Tensor::from_codes(dtype, shape.to_vec(), kept.into_iter())
}
