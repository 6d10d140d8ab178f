//! The same kernel over plain floats: every quantized parameter becomes an F32 parameter that
//! holds the dequantized values. It is what benchmarks measure stored weights against. Owns the
//! graph and its inputs; refuses kernels that look at codes, as printed IR does.

use std::sync::Arc;

use crate::builder::Builder;
use crate::diag::{Code, Diagnostic};
use crate::dim::Sizes;
use crate::dtype::DType;
use crate::eval::evaluate;
use crate::graph::{Attributes, Kernel, Param, Value};
use crate::input::Input;
use crate::ops::Op;
use crate::types::{TensorType, Type};

/// `kernel` with F32 parameters in place of quantized ones, and no attributes, as there is nothing
/// left to plan.
///
/// # Errors
/// If the kernel reads codes, scales or zero points by themselves.
pub fn plain_floats(kernel: &Kernel) -> Result<Kernel, Diagnostic> {
    let mut b = Builder::new();
    let mut renamed: Vec<Value> = Vec::with_capacity(kernel.nodes.len());
    for node in &kernel.nodes {
        let operands: Vec<Value> =
            node.operands.iter().map(|v| renamed[v.node].sibling(renamed[v.node].result + v.result)).collect();
        let value = match &node.op {
            Op::Param { index } => {
                let param = &kernel.params[*index];
                b.param(&param.name, plain_type(param), param.span)
            }
            Op::Const { bits } => b.constant(f32::from_bits(*bits), node.span),
            Op::Dequant => operands[0],
            Op::Codes | Op::Scale | Op::Zero => {
                let message = "the kernel reads the codes of a quantized parameter, so it has no form over floats";
                return Err(Diagnostic::new(Code::WrongType, message).at(node.span).help("write it with `dequant`"));
            }
            op => b.push(op.clone(), &operands, node.span)?,
        };
        for (result, name) in node.names.iter().enumerate() {
            if let Some(name) = name {
                b.name(value.sibling(value.result + result), name);
            }
        }
        renamed.push(value);
    }
    let results = kernel.results.iter().map(|v| renamed[v.node].sibling(renamed[v.node].result + v.result)).collect();
    let mut plain = b.finish(&kernel.name, results, Attributes::default(), kernel.span);
    plain.quotients = kernel.quotients.clone();
    Ok(plain)
}

fn plain_type(param: &Param) -> Type {
    match &param.ty {
        Type::Tensor(t) => Type::Tensor(t.clone()),
        Type::Quant(q) => Type::Tensor(TensorType::new(DType::F32, q.codes.shape.clone())),
    }
}

/// The inputs of [`plain_floats`] that equal `inputs` of `kernel`: dequantized, each value rounded
/// to F32 once.
///
/// # Errors
/// As [`evaluate`].
pub fn plain_inputs(kernel: &Kernel, inputs: &[Input], sizes: &Sizes) -> Result<Vec<Input>, Diagnostic> {
    let plain = |(param, input): (&Param, &Input)| match &param.ty {
        Type::Tensor(_) => Ok(input.clone()),
        Type::Quant(_) => dequantized(param, input, sizes),
    };
    kernel.params.iter().zip(inputs).map(plain).collect()
}

fn dequantized(param: &Param, input: &Input, sizes: &Sizes) -> Result<Input, Diagnostic> {
    let mut b = Builder::new();
    let codes = b.param(&param.name, param.ty.clone(), param.span);
    let floats = b.dequant(codes, param.span)?;
    let kernel = b.finish("dequantized", vec![floats], Attributes::default(), param.span);
    let own: Sizes =
        param.ty.shape().iter().flat_map(|d| d.names()).filter_map(|n| sizes.get_key_value(&n)).map(owned).collect();
    let results = evaluate(&kernel, &own, std::slice::from_ref(input))?;
    results.into_iter().next().map(Input::from).ok_or_else(|| Diagnostic::new(Code::Internal, "dequant gave no result"))
}

fn owned((name, size): (&Arc<str>, &u64)) -> (Arc<str>, u64) {
    (name.clone(), *size)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::dim::Dim;
    use crate::span::Span;
    use crate::tensor::Tensor;
    use crate::types::QuantType;

    fn linear() -> Kernel {
        let span = Span::new(0, 1);
        let dims = |names: [&str; 2]| names.map(Dim::name).to_vec();
        let codes = TensorType::new(DType::I8, dims(["N", "K"]));
        let scale = TensorType::new(DType::F32, vec![Dim::name("N")]);
        let mut b = Builder::new();
        let quant = QuantType::new(codes, scale, None).unwrap();
        let w = b.param("W", Type::Quant(Arc::new(quant)), span);
        let x = b.param("X", Type::Tensor(TensorType::new(DType::F32, dims(["M", "K"]))), span);
        let float = b.dequant(w, span).unwrap();
        let turned = b.t(float, span).unwrap();
        let y = b.matmul(x, turned, span).unwrap();
        b.finish("linear", vec![y], Attributes::default(), span)
    }

    #[test]
    fn the_plain_kernel_computes_the_same() {
        let kernel = linear();
        let codes = Tensor::from_codes(DType::I8, vec![2, 3], [1, -2, 3, 4, 5, -127].into_iter()).unwrap();
        let scale = Tensor::from_f32(DType::F32, vec![2], &[0.5, 2.0]).unwrap();
        let x = Tensor::from_f32(DType::F32, vec![1, 3], &[1.0, 10.0, 100.0]).unwrap();
        let inputs = [Input { tensor: codes, scale: Some(scale), zero: None }, x.into()];

        let plain = plain_floats(&kernel).unwrap();
        let floats = plain_inputs(&kernel, &inputs, &Sizes::new()).unwrap();
        assert_eq!(plain.params[0].ty.to_string(), "f32[N, K]");
        assert_eq!(floats[0].tensor.to_f32(), [0.5, -1.0, 1.5, 8.0, 10.0, -254.0]);
        let results = evaluate(&plain, &Sizes::new(), &floats).unwrap();
        assert_eq!(results, evaluate(&kernel, &Sizes::new(), &inputs).unwrap());
        assert_eq!(results[0].to_f32(), [140.5, -25292.0]);
    }

    #[test]
    fn a_kernel_that_reads_codes_is_refused() {
        let kernel = linear();
        let mut b = Builder::new();
        let span = kernel.span;
        let w = b.param("W", kernel.params[0].ty.clone(), span);
        let codes = b.codes(w, span).unwrap();
        let kernel = b.finish("codes", vec![codes], Attributes::default(), span);
        assert_eq!(plain_floats(&kernel).unwrap_err().code, Code::WrongType);
    }
}
