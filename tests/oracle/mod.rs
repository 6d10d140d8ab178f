//! Runs one graph through the reference evaluator and through the JIT at every instruction set
//! this machine has and several numbers of threads, and compares bits. Owns the comparison and
//! its report; which graphs and inputs are worth comparing is the tests' business.

pub(crate) mod draw;

use msd::Argument;
use msd::ir::diag::{Code, Diagnostic};
use msd::ir::dim::Sizes;
use msd::ir::dtype::DType;
use msd::ir::eval::evaluate;
use msd::ir::graph::{Kernel, Value};
use msd::ir::input::Input;
use msd::ir::tensor::{Data, Tensor};
use msd::ir::text;
use msd::jit::isa::{Isa, Level};
use msd::jit::kernel::{CompiledKernel, Workspace, compile};
use msd::jit::pool::Pool;

/// The executors of this machine.
pub(crate) struct Oracle {
    isas: Vec<Isa>,
    pools: Vec<Pool>,
}

impl Oracle {
    /// Every level this machine has, with pools of these numbers of threads.
    pub(crate) fn new(threads: &[usize]) -> Oracle {
        let available = Level::ALL.iter().filter(|l| l.is_available());
        let isas = available.map(|l| Isa::host(*l).unwrap_or_else(|d| panic!("{}: {}", l.name(), d.message)));
        Oracle { isas: isas.collect(), pools: threads.iter().map(|t| Pool::new(*t)).collect() }
    }

    /// Compiles `kernel` for `fixed` sizes at each level and runs each set of `inputs` on each
    /// pool, one workspace for all, so that what an earlier run left behind shows.
    ///
    /// # Errors
    /// The first difference in bits, or a diagnostic of either executor, with the graph.
    pub(crate) fn check(&self, kernel: &Kernel, fixed: &Sizes, inputs: &[Vec<Input>]) -> Result<(), String> {
        self.compare(kernel, fixed, inputs).map_err(|what| {
            let first = self.first_wrong_node(kernel, fixed, inputs);
            format!("{what}\n{first}{}", text::print(kernel))
        })
    }

    /// Whether code can be generated without the sizes that `fixed` lacks; only some may stay open.
    pub(crate) fn compiles_open(&self, kernel: &Kernel, fixed: &Sizes) -> bool {
        let refused = compile(kernel, fixed, &self.isas[0], false).err();
        !refused.is_some_and(|d| matches!(d.code, Code::DimensionUnset | Code::DimensionTooComplex))
    }

    fn compare(&self, kernel: &Kernel, fixed: &Sizes, inputs: &[Vec<Input>]) -> Result<(), String> {
        let said = |d: Diagnostic| format!("{} {}", d.code.as_str(), d.message);
        let expected: Result<Vec<_>, _> = inputs.iter().map(|i| evaluate(kernel, fixed, i)).collect();
        let expected = expected.map_err(|d| format!("evaluator: {}", said(d)))?;
        for isa in &self.isas {
            let level = isa.level().map_or("foreign", Level::name);
            let code = compile(kernel, fixed, isa, false).map_err(|d| format!("compile {level}: {}", said(d)))?;
            let mut workspace = Workspace::default();
            for pool in &self.pools {
                for (set, (inputs, expected)) in inputs.iter().zip(&expected).enumerate() {
                    let at = format!("{level}, {} thread(s), input set {set}", pool.threads());
                    let actual = run(&code, inputs, &mut workspace, pool);
                    let actual = actual.map_err(|d| format!("run {at}: {}", said(d)))?;
                    same_bits(expected, &actual).map_err(|e| format!("{at}: {e}"))?;
                }
            }
        }
        Ok(())
    }

    /// The first node that comes out differently when it is the result.
    fn first_wrong_node(&self, kernel: &Kernel, fixed: &Sizes, inputs: &[Vec<Input>]) -> String {
        for (index, node) in kernel.nodes.iter().enumerate() {
            for result in 0..node.types.len() {
                if node.types[result].tensor().is_none() {
                    continue;
                }
                let mut prefix = kernel.clone();
                prefix.nodes.truncate(index + 1);
                prefix.results = vec![Value { node: index, result }];
                if let Err(what) = self.compare(&prefix, fixed, inputs) {
                    let (op, operands) = (&node.op, &node.operands);
                    let of: Vec<String> = operands.iter().map(|v| kernel.ty(*v).to_string()).collect();
                    let types = of.join(", ");
                    return format!("first wrong as a result: node {index}.{result} {op:?} of ({types}): {what}\n");
                }
            }
        }
        "no node is wrong as the only result\n".to_string()
    }
}

/// Runs `code` on arguments as given, into memory that holds something else.
pub(crate) fn run(
    code: &CompiledKernel,
    inputs: &[Input],
    workspace: &mut Workspace,
    pool: &Pool,
) -> Result<Vec<Tensor>, Diagnostic> {
    let arguments: Vec<Argument<'_>> = inputs.iter().map(Argument::from).collect();
    let bound = code.bind(&arguments)?;
    let used = |dtype: &DType, shape: &[usize]| {
        let ones = vec![1.0; shape.iter().product()];
        Tensor::from_f32(*dtype, shape.to_vec(), &ones)
    };
    let results = bound.outputs().iter().map(|(dtype, shape)| used(dtype, shape));
    let mut results = results.collect::<Result<Vec<_>, _>>()?;
    let mut outputs: Vec<_> = results.iter_mut().map(Tensor::view_mut).collect();
    code.run(&bound, &arguments, &mut outputs, workspace, pool)?;
    Ok(results)
}

/// Whether two lists of tensors are equal bit for bit; else where they first differ.
pub(crate) fn same_bits(expected: &[Tensor], actual: &[Tensor]) -> Result<(), String> {
    if expected.len() != actual.len() {
        return Err(format!("{} results expected, {} found", expected.len(), actual.len()));
    }
    for (result, (e, a)) in expected.iter().zip(actual).enumerate() {
        if e.dtype() != a.dtype() || e.shape() != a.shape() {
            let types = (e.dtype().name(), e.shape(), a.dtype().name(), a.shape());
            return Err(format!("result {result}: expected {}{:?}, found {}{:?}", types.0, types.1, types.2, types.3));
        }
        let (left, right) = (bits(e), bits(a));
        let wrong = left.iter().zip(&right).filter(|(l, r)| l != r).count();
        if let Some(at) = (0..e.len()).find(|i| left[*i] != right[*i]) {
            let (index, values) = (indices(at, e.shape()), (e.value(at), a.value(at)));
            return Err(format!(
                "result {result} {}{:?} at {index:?}: expected {:?} ({:#x}), found {:?} ({:#x}); {wrong} of {} differ",
                e.dtype().name(),
                e.shape(),
                values.0,
                left[at],
                values.1,
                right[at],
                e.len()
            ));
        }
    }
    Ok(())
}

/// Valgrind computes `c - a * b`, fused, as `-(a * b - c)`, which is -0 where the result is +0; nightly says so
/// with this variable. Everywhere else the sign of zero counts.
const ZERO_SIGNS_LOST: &str = "MSD_ZERO_SIGNS_LOST";

fn bits(tensor: &Tensor) -> Vec<u64> {
    let mut bits = exact_bits(tensor);
    if std::env::var_os(ZERO_SIGNS_LOST).is_some() && tensor.dtype().is_float() {
        bits.iter_mut().enumerate().filter(|(i, _)| tensor.value(*i) == 0.0).for_each(|(_, b)| *b = 0);
    }
    bits
}

fn exact_bits(tensor: &Tensor) -> Vec<u64> {
    match tensor.data() {
        Data::F32(v) => v.iter().map(|x| x.to_bits() as u64).collect(),
        // Never a declared result, so its NaN need not be canonical.
        Data::F64(v) => v.iter().map(|x| if x.is_nan() { f64::NAN.to_bits() } else { x.to_bits() }).collect(),
        Data::U16(v) => v.iter().map(|x| *x as u64).collect(),
        Data::I16(v) => v.iter().map(|x| *x as u16 as u64).collect(),
        Data::I32(v) => v.iter().map(|x| *x as u32 as u64).collect(),
        Data::I64(v) => v.iter().map(|x| *x as u64).collect(),
        Data::I8(v) => v.iter().map(|x| *x as u8 as u64).collect(),
        Data::U8(v) => v.iter().map(|x| *x as u64).collect(),
    }
}

fn indices(flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = flat;
    let mut indices = vec![0; shape.len()];
    for (axis, size) in shape.iter().enumerate().rev() {
        indices[axis] = rest % size;
        rest /= size;
    }
    indices
}
