//! A kernel as a value: checked once, compiled for each class of shapes it is called with, called
//! from any thread. Owns the way from arguments to the stages of `session.rs` and back; no step of
//! it is done here.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use msd_ascend::chip::Chip;
use msd_ir::certificate::compose::Composed;
use msd_ir::class::fixed_sizes;
use msd_ir::diag::{Code, Diagnostic};
use msd_ir::dim::{MAX_SIZE, Sizes};
use msd_ir::graph::Kernel as Graph;
use msd_ir::input::{InputView, bind};
use msd_ir::plan::{Method, Plan};
use msd_ir::quant::quantize::{PowerRule, quantize_with};
use msd_ir::quant::tensor::QuantTensor;
use msd_ir::tensor::{Tensor, TensorViewMut};
use msd_ir::types::Type;
use msd_jit::argument::Argument;

use crate::cache::{Cache, Call, Class, ClassKey};
use crate::explain::Explanation;
use crate::npu::{Npu, NpuVariant};
use crate::options::Options;
use crate::session::{Rewritten, Source};
use crate::{Error, Result};

/// A kernel that can be called.
///
/// Sizes are found from the arguments. The first call of a *shape class* compiles machine code for
/// it (a few milliseconds); a class fixes the sizes of the weights and the plan, and leaves the
/// number of tokens open, so decoding and prefill run the same code unless the plan decides
/// otherwise for one of them. Classes are kept, up to [`Options::classes`].
///
/// Clones share everything. Calls from several threads run at once; each kernel with
/// [`Options::threads`] above 1 takes turns on the pool it shares with others of as many threads.
///
/// ```
/// use msd::{Argument, Kernel, Options, QuantTensor, Tensor, Weight};
///
/// let text = "kernel linear(w: i8[N, K] scale f32[N], x: f32[M, K]) -> f32[M, N] { x @ dequant(w).T }";
/// let linear = Kernel::new(text, &Options::new())?;
///
/// let w = Weight::from(linear.quantize("w", &[1.0, -0.5, 0.25, 0.75, 0.5, -1.0], &[2, 3])?);
/// let x = Tensor::from(vec![1.0f32, 2.0, 4.0]).reshaped(vec![1, 3])?;
/// let y = linear.call(&[Argument::from(&w), Argument::from(&x)])?;
/// assert_eq!(y[0].shape(), [1, 2]);
/// assert!((y[0].value(0) - 1.0).abs() < 0.02);
/// # Ok::<(), msd::Error>(())
/// ```
#[derive(Clone)]
pub struct Kernel {
    inner: Arc<Inner>,
}

/// What messages call the text of a kernel.
const TEXT: &str = "text";

struct Inner {
    graph: Graph,
    options: Options,
    cache: Cache,
}

/// A compiled shape class of a [`Kernel`], as [`Kernel::classes`] lists them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClassReport {
    /// The sizes compiled in; every other dimension is open.
    pub fixed: Sizes,
    /// What is done at each product with a dequantized weight, in order.
    pub methods: Vec<Method>,
    /// Time spent compiling.
    pub compile_time: Duration,
    /// Calls so far.
    pub calls: u64,
}

impl Kernel {
    /// The only kernel of a `.msd` text.
    ///
    /// # Errors
    /// Every fault of the text, with line and column; a text of several kernels (see
    /// [`Kernel::named`]); options out of range.
    pub fn new(text: &str, options: &Options) -> Result<Kernel> {
        Kernel::of(text, None, options)
    }

    /// The kernel of that name in a `.msd` text.
    ///
    /// # Errors
    /// As [`Kernel::new`], and if there is none of that name.
    ///
    /// ```
    /// use msd::{Kernel, Options};
    ///
    /// let text = "kernel a(x: f32[N]) -> f32[N] { x }  kernel b(x: f32[N]) -> f32[N] { -x }";
    /// assert_eq!(Kernel::named(text, "b", &Options::new())?.name(), "b");
    /// assert!(Kernel::named(text, "c", &Options::new()).is_err());
    /// # Ok::<(), msd::Error>(())
    /// ```
    pub fn named(text: &str, name: &str, options: &Options) -> Result<Kernel> {
        Kernel::of(text, Some(name), options)
    }

    fn of(text: &str, name: Option<&str>, options: &Options) -> Result<Kernel> {
        options.check()?;
        let checked = Source::new(TEXT, text).check().map_err(|faults| Error::from(faults).with_source(TEXT, text))?;
        let graph = checked.kernel(name)?.clone();
        let inner = Inner { graph, options: options.clone(), cache: Cache::default() };
        Ok(Kernel { inner: Arc::new(inner) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.graph.name
    }

    /// Its graph as checked, before any rewriting: parameters, results, attributes.
    pub fn graph(&self) -> &Graph {
        &self.inner.graph
    }

    /// The options it was made with.
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// The kernel as an instruction stream for a modelled NPU, with these sizes. Weights that are dequantized are so in
    /// the paper's way; for others see [`Npu::new`].
    ///
    /// # Errors
    /// If a size is missing or out of range, no lowering meets the tolerance, or the chip cannot compute an op of the
    /// kernel.
    ///
    /// ```
    /// use msd::ascend::chip::Chip;
    /// use msd::{Kernel, Options};
    ///
    /// let text = "kernel linear(w: i8[N, K] scale f32[N], x: bf16[M, K]) -> f32[M, N] { x @ dequant(w).T }";
    /// let sizes = [("M", 1), ("N", 512), ("K", 1024)].map(|(name, size)| (name.into(), size)).into();
    /// let npu = Kernel::new(text, &Options::new())?.npu(&Chip::named("ascend-910b")?, &sizes)?;
    /// println!("{} cycles", npu.cycles()?.cycles);
    /// # Ok::<(), msd::Error>(())
    /// ```
    pub fn npu(&self, chip: &Chip, sizes: &Sizes) -> Result<Npu> {
        Ok(Npu::new(&self.inner.graph, sizes, chip, &self.inner.options, NpuVariant::default())?)
    }

    /// Calls the kernel with one argument per parameter, in order, and allocates its results.
    ///
    /// # Errors
    /// If the arguments do not fit the kernel (element types, shapes, sizes that disagree, codes out
    /// of range, scales that are not finite), if no lowering meets the tolerance, or if memory is
    /// lacking. Each diagnostic names the parameter.
    pub fn call(&self, arguments: &[Argument<'_>]) -> Result<Vec<Tensor>> {
        let call = self.lookup(arguments)?;
        let results = call.class.compiled.call_bound(&call.bound, arguments)?;
        call.class.calls.fetch_add(1, Ordering::Relaxed);
        Ok(results)
    }

    /// Calls the kernel and writes its results over `outputs`, one per result, in order. Allocates
    /// nothing once these shapes have been called, by as many threads at a time as now (up to 16).
    ///
    /// # Errors
    /// As [`Kernel::call`], and if an output has another element type or shape than its result.
    /// After an error the outputs hold nothing of use.
    ///
    /// ```
    /// use msd::{Argument, Kernel, Options, Tensor};
    ///
    /// let double = Kernel::new("kernel double(x: f32[N]) -> f32[N] { x + x }", &Options::new())?;
    /// let (x, mut y) = (Tensor::from(vec![1.0f32, 2.0]), Tensor::from(vec![0.0f32; 2]));
    /// double.call_into(&[Argument::from(&x)], &mut [y.view_mut()])?;
    /// assert_eq!(y.to_f32(), [2.0, 4.0]);
    /// # Ok::<(), msd::Error>(())
    /// ```
    pub fn call_into(&self, arguments: &[Argument<'_>], outputs: &mut [TensorViewMut<'_>]) -> Result<()> {
        let call = self.lookup(arguments)?;
        call.class.compiled.run(&call.bound, arguments, outputs)?;
        call.class.calls.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Compiles for these arguments and packs their weights, so that the first call need not. Scratch
    /// memory is still allocated then.
    ///
    /// # Errors
    /// As [`Kernel::call`].
    pub fn prepare(&self, arguments: &[Argument<'_>]) -> Result<()> {
        let call = self.lookup(arguments)?;
        Ok(call.class.compiled.prepare(&call.bound, arguments)?)
    }

    /// Quantizes F32 values of that shape, row-major, to the declared type of a parameter: symmetric,
    /// or with a zero point if it declares one. Scales are as small as they may be without clipping.
    /// For `nvfp4` take [`crate::quantize_nvfp4`], which has the factor of the tensor too: without it
    /// scales of small weights are among the few least values of their type.
    ///
    /// # Errors
    /// If there is no such quantized parameter, the shape does not fit its type, or a value is not
    /// finite.
    pub fn quantize(&self, param: &str, values: &[f32], shape: &[usize]) -> Result<QuantTensor> {
        self.quantize_with(param, values, shape, PowerRule::NoClip)
    }

    /// [`Kernel::quantize`], with a rule for scales that are powers of two (`mxfp4`, `mxfp8`).
    ///
    /// # Errors
    /// As [`Kernel::quantize`].
    ///
    /// ```
    /// use msd::{Kernel, Options, PowerRule};
    ///
    /// let mx = Kernel::new("kernel mx(w: mxfp4[N, K]) -> f32[N, K] { dequant(w) }", &Options::new())?;
    /// // The largest code is 6: either the scale is 2, or OCP's rule makes it 1 and 7 is clipped.
    /// assert_eq!(mx.quantize("w", &[7.0; 32], &[1, 32])?.scale().to_f32(), [2.0]);
    /// assert_eq!(mx.quantize_with("w", &[7.0; 32], &[1, 32], PowerRule::Ocp)?.scale().to_f32(), [1.0]);
    /// # Ok::<(), msd::Error>(())
    /// ```
    pub fn quantize_with(&self, param: &str, values: &[f32], shape: &[usize], rule: PowerRule) -> Result<QuantTensor> {
        let params = &self.inner.graph.params;
        let known = || params.iter().map(|p| format!("`{}: {}`", p.name, p.ty)).collect::<Vec<_>>().join(", ");
        let Some(found) = params.iter().find(|p| *p.name == *param) else {
            let fault = Diagnostic::new(Code::UnknownInput, format!("there is no parameter `{param}`"));
            return Err(fault.help(format!("the parameters are {}", known())).into());
        };
        let Type::Quant(ty) = &found.ty else {
            let fault = Diagnostic::new(Code::ScaleUnexpected, format!("`{param}` is not quantized"));
            return Err(fault.help(format!("the parameters are {}", known())).into());
        };
        Ok(quantize_with(ty, values, shape, rule)?)
    }

    /// What is decided at each product with a dequantized weight, for these sizes; a size that is
    /// not given counts as open.
    ///
    /// # Errors
    /// If no lowering meets the tolerance, or there is no such dimension.
    ///
    /// ```
    /// use msd::{Kernel, Lowering, Options};
    ///
    /// let text = "kernel linear(w: i8[N, K] scale f32[N], x: bf16[M, K]) -> f32[M, N] { x @ dequant(w).T }";
    /// let plan = Kernel::new(text, &Options::new())?.plan(&[("N", 4096), ("K", 4096), ("M", 1)])?;
    /// assert_eq!(plan.sites[0].choice.lowering, Lowering::Msd);
    /// assert!(plan.sites[0].bound().unwrap() < 4e-5);
    /// # Ok::<(), msd::Error>(())
    /// ```
    pub fn plan(&self, sizes: &[(&str, u64)]) -> Result<Plan> {
        Ok(self.rewrite(sizes)?.plan)
    }

    /// The plan with its reasons, rules, certified bounds and the costs of the alternatives, to be
    /// printed or read.
    ///
    /// # Errors
    /// As [`Kernel::plan`].
    ///
    /// ```
    /// use msd::{Kernel, Options};
    ///
    /// let text = "kernel linear(w: i8[N, K] scale f32[N], x: bf16[M, K]) -> f32[M, N] { x @ dequant(w).T }";
    /// let explanation = Kernel::new(text, &Options::new())?.explain(&[("K", 4096)])?;
    /// assert!(explanation.to_string().contains("digit-split"));
    /// # Ok::<(), msd::Error>(())
    /// ```
    pub fn explain(&self, sizes: &[(&str, u64)]) -> Result<Explanation> {
        Ok(self.rewrite(sizes)?.explain(&self.inner.options))
    }

    /// How far each result can be from the exact one: what is certified of every product, composed
    /// through the linear ops that follow it.
    ///
    /// # Errors
    /// As [`Kernel::plan`].
    ///
    /// ```
    /// use msd::{Kernel, Options};
    ///
    /// let text = "kernel f(w: i8[N, K] scale f32[N], x: bf16[M, K]) -> (f32[M, N], f32[M, N]) {
    ///     let y = x @ dequant(w).T;
    ///     (-2 * y, exp(y))
    /// }";
    /// let certificate = Kernel::new(text, &Options::new())?.certificate(&[("K", 4096)])?;
    /// assert_eq!(certificate.results[0].as_ref().unwrap().expression, "3.088e-5 max|x| sum|w| * 2");
    /// assert_eq!(certificate.results[1].as_ref().unwrap_err().reason, "ends at `exp`");
    /// # Ok::<(), msd::Error>(())
    /// ```
    pub fn certificate(&self, sizes: &[(&str, u64)]) -> Result<Composed> {
        Ok(self.rewrite(sizes)?.certificate()?)
    }

    /// The shape classes compiled so far.
    ///
    /// ```
    /// use msd::{Argument, Kernel, Options, Tensor};
    ///
    /// let double = Kernel::new("kernel double(x: f32[N]) -> f32[N] { x + x }", &Options::new())?;
    /// for n in [3, 5, 3] {
    ///     double.call(&[Argument::from(&Tensor::from(vec![1.0f32; n]))])?;
    /// }
    /// assert_eq!(double.classes().len(), 1);
    /// assert_eq!(double.classes()[0].calls, 3);
    /// # Ok::<(), msd::Error>(())
    /// ```
    pub fn classes(&self) -> Vec<ClassReport> {
        let report = |class: &Arc<Class>| ClassReport {
            fixed: class.key.fixed.clone(),
            methods: class.key.methods.clone(),
            compile_time: class.compiled.compile_time(),
            calls: class.calls.load(Ordering::Relaxed),
        };
        self.inner.cache.classes().iter().map(report).collect()
    }

    /// Forgets all compiled code and its scratch memory. Calls that are running finish unharmed.
    pub fn clear(&self) {
        self.inner.cache.clear();
    }

    fn lookup(&self, arguments: &[Argument<'_>]) -> Result<Arc<Call>> {
        let Inner { graph, options, cache } = &*self.inner;
        if let Some(call) = cache.find(arguments) {
            return Ok(call);
        }
        let views: Vec<InputView<'_>> = arguments.iter().map(Argument::view).collect();
        let sizes = bind(graph, &views, &Sizes::new())?;
        let rewritten = Rewritten::new(graph, &sizes, options)?;
        let is_weight = |param: usize| arguments[param].weight().is_some();
        let fixed = fixed_sizes(&rewritten.kernel, &sizes, is_weight);
        let key = ClassKey { fixed, methods: rewritten.plan.methods() };
        let class = cache.class(&key, || rewritten.compile_for(&key.fixed, options))?;
        let bound = class.compiled.bind(arguments)?;
        Ok(cache.insert(arguments, class, bound, options.classes))
    }

    fn rewrite(&self, sizes: &[(&str, u64)]) -> Result<Rewritten> {
        let Inner { graph, options, .. } = &*self.inner;
        let dimensions = graph.dimensions();
        for (name, _) in sizes {
            if !dimensions.iter().any(|d| **d == **name) {
                let fault = Diagnostic::new(Code::UnknownDimension, format!("`{name}` is no dimension of the kernel"));
                return Err(fault.help(format!("its dimensions are {}", dimensions.join(", "))).into());
            }
        }
        let mut known = Sizes::new();
        for (name, size) in sizes {
            let twice = known.insert(Arc::from(*name), *size).is_some();
            if twice || *size > MAX_SIZE {
                let message = if twice { format!("two sizes for `{name}`") } else { format!("`{name}` = {size}") };
                let fault = Diagnostic::new(Code::DimensionRange, message);
                return Err(fault.help("give each dimension one size between 0 and 2^48").into());
            }
        }
        Ok(Rewritten::new(graph, &known, options)?)
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").field("name", &self.name()).field("classes", &self.classes()).finish_non_exhaustive()
    }
}
