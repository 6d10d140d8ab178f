//! The way from text to results, stage by stage. Owns the order of passes and nothing of what
//! they do.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use msd_ir::certificate::compose::{Composed, compose};
use msd_ir::class::fixed_sizes;
use msd_ir::diag::{Code, Diagnostic};
use msd_ir::dim::Sizes;
use msd_ir::eval::{evaluate, evaluate_f64};
use msd_ir::graph::Kernel;
use msd_ir::input::Input;
use msd_ir::pass::{self, Lowered, Observer, Pass};
use msd_ir::plan::{Plan, Site};
use msd_ir::rewrite::lowering::AS_STORED;
use msd_ir::rewrite::{Event, EventResult};
use msd_ir::tensor::{Tensor, TensorViewMut};
use msd_jit::argument::Argument;
use msd_jit::bound::Bound;
use msd_jit::isa::{DotForm, Isa};
use msd_jit::kernel::{CompiledKernel, Workspace, compile};
use msd_jit::pool::Pool;

use crate::options::Options;

/// A kernel file before anything is known of it.
///
/// ```
/// use msd::Source;
///
/// let faults = Source::new("a.msd", "kernel a(x: f32[N]) -> f32[N] { x + z }").check().err().unwrap();
/// assert_eq!(faults[0].message, "`z` is not defined");
/// // Bytes that are not text have their diagnostic too.
/// assert!(Source::from_bytes("b.msd", vec![0xff]).is_err());
/// ```
pub struct Source {
    name: String,
    text: String,
}

impl Source {
    /// A source of that name, which is used in messages only.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Source {
        Source { name: name.into(), text: text.into() }
    }

    /// The same from bytes that may not be text.
    ///
    /// # Errors
    /// If they are not UTF-8: one diagnostic, at the first bad byte.
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Result<Source, Vec<Diagnostic>> {
        let not_text = |bytes: &[u8]| {
            let unexpected = || vec![Diagnostic::new(Code::Internal, "bytes that are not UTF-8 passed the check")];
            msd_grammar::check_bytes(bytes).err().unwrap_or_else(unexpected)
        };
        let text = String::from_utf8(bytes).map_err(|e| not_text(e.as_bytes()))?;
        Ok(Source::new(name, text))
    }

    /// Parses and checks every kernel.
    ///
    /// # Errors
    /// All faults of the file, in the order of their places.
    pub fn check(self) -> Result<Checked, Vec<Diagnostic>> {
        let kernels = msd_grammar::check(&self.text)?;
        Ok(Checked { source: self, kernels })
    }
}

/// A file whose kernels are well-typed.
///
/// ```
/// use msd::Source;
///
/// let text = "kernel a(x: f32[N]) -> f32[N] { x }  kernel b(x: f32[M, N]) -> f32[N, M] { x.T }";
/// let checked = Source::new("two.msd", text).check()?;
/// assert_eq!(checked.kernels().len(), 2);
/// assert_eq!(checked.kernel(Some("b"))?.params[0].ty.to_string(), "f32[M, N]");
/// assert!(checked.kernel(None).is_err());
/// # Ok::<(), msd::Error>(())
/// ```
pub struct Checked {
    source: Source,
    kernels: Vec<Kernel>,
}

/// A pass that ran: its name, what came out, and how long it took. See [`Rewritten::passes`].
///
/// ```
/// use msd::{Options, Source};
///
/// let checked = Source::new("f.msd", "kernel f(x: f32[M, N]) -> f32[M, N] { x.T.T }").check()?;
/// let rewritten = checked.rewrite(checked.kernel(None)?, &Default::default(), &Options::new())?;
/// let changed: Vec<_> = rewritten.passes.iter().filter(|p| p.changed).map(|p| p.pass).collect();
/// assert_eq!(changed, ["canonical"]);
/// # Ok::<(), msd::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PassEvent {
    /// Name in the pass table.
    pub pass: &'static str,
    /// The kernel after it.
    pub kernel: Kernel,
    /// Whether it changed the graph.
    pub changed: bool,
    /// Wall time.
    pub elapsed: Duration,
}

impl Checked {
    /// Name of the file.
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// Text of the file.
    pub fn text(&self) -> &str {
        &self.source.text
    }

    /// Every kernel, in the order of the file.
    pub fn kernels(&self) -> &[Kernel] {
        &self.kernels
    }

    /// The kernel of that name, or the only one.
    ///
    /// # Errors
    /// If there is no such kernel, or several and none was named.
    pub fn kernel(&self, name: Option<&str>) -> Result<&Kernel, Vec<Diagnostic>> {
        let names: Vec<&str> = self.kernels.iter().map(|k| &*k.name).collect();
        let found = match (name, self.kernels.as_slice()) {
            (Some(name), kernels) => kernels.iter().find(|k| &*k.name == name),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        found.ok_or_else(|| {
            let message = match name {
                Some(name) => format!("no kernel is called `{name}`"),
                None => "there are several kernels".to_string(),
            };
            vec![Diagnostic::new(Code::UnknownKernel, message).help(format!("choose one of: {}", names.join(", ")))]
        })
    }

    /// Plans and rewrites a kernel. Sizes the plan needs and `sizes` lacks count as open.
    ///
    /// # Errors
    /// If a tolerance cannot be met.
    pub fn rewrite(&self, kernel: &Kernel, sizes: &Sizes, options: &Options) -> Result<Rewritten, Vec<Diagnostic>> {
        Rewritten::new(kernel, sizes, options).map_err(|d| vec![d])
    }
}

/// A kernel after planning and rewriting, with the record of how it came about.
///
/// ```
/// use msd::{Lowering, Options, Source};
///
/// let text = "kernel f(w: i8[N, K] scale f32[N], x: bf16[M, K]) -> f32[M, N] { x @ dequant(w).T }";
/// let checked = Source::new("f.msd", text).check()?;
/// let options = Options::new().lowering(Lowering::Msd);
/// let rewritten = checked.rewrite(checked.kernel(None)?, &Default::default(), &options)?;
/// assert_eq!(rewritten.lowering(), "msd");
/// // The rewritten graph is `.msd` text again.
/// assert!(rewritten.kernel.to_string().contains("msd.decompose(x, \"int8x2-pow2\")"));
/// # Ok::<(), msd::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rewritten {
    /// As checked.
    pub source: Kernel,
    /// In canonical form, as the plan refers to it.
    pub canonical: Kernel,
    /// As rewritten.
    pub kernel: Kernel,
    /// What was decided at each site.
    pub plan: Plan,
    /// What the rules did, sites referring to the canonical kernel.
    pub events: Vec<Event>,
    /// The passes in order.
    pub passes: Vec<PassEvent>,
    /// Sizes the plan was made for.
    pub sizes: Sizes,
}

impl Rewritten {
    /// Plans and rewrites a checked kernel.
    ///
    /// # Errors
    /// If a tolerance cannot be met.
    pub fn new(source: &Kernel, sizes: &Sizes, options: &Options) -> Result<Rewritten, Diagnostic> {
        let mut watch = Watch { start: Instant::now(), passes: Vec::new() };
        let Lowered { canonical, kernel, plan, events } = pass::run(source, sizes, &options.request, &mut watch)?;
        let (source, passes, sizes) = (source.clone(), watch.passes, sizes.clone());
        Ok(Rewritten { source, canonical, kernel, plan, events, passes, sizes })
    }

    /// Code for these sizes and that target, in the form of digits it multiplies fastest.
    fn compile_code(&self, fixed: &Sizes, isa: &Isa, listing: bool) -> Result<CompiledKernel, Diagnostic> {
        if isa.dot() != DotForm::Pairs {
            return compile(&self.kernel, fixed, isa, listing);
        }
        let (kernel, _) = pass::recombined(&self.canonical, &self.plan)?;
        compile(&kernel, fixed, isa, listing)
    }

    /// Compiles for the host. Sizes of quantized parameters are compiled in, token counts stay open
    /// (see [`fixed_sizes`]).
    ///
    /// # Errors
    /// If the host lacks the instruction set.
    pub fn compile(&self, options: &Options) -> Result<Compiled, Vec<Diagnostic>> {
        self.compile_for(&fixed_sizes(&self.kernel, &self.sizes, |_| true), options)
    }

    /// The same with these sizes compiled in, which must be enough of them.
    ///
    /// # Errors
    /// If the host lacks the instruction set, or a size that code generation needs is not there.
    pub fn compile_for(&self, fixed: &Sizes, options: &Options) -> Result<Compiled, Vec<Diagnostic>> {
        let start = Instant::now();
        let isa = Isa::host(options.level).map_err(|d| vec![d])?;
        let code = self.compile_code(fixed, &isa, options.listing).map_err(|d| vec![d])?;
        let elapsed = start.elapsed();
        Ok(Compiled { code, pool: Pool::shared(options.threads.max(1)), workspaces: Mutex::default(), elapsed })
    }

    /// Runs the rewritten graph in the reference evaluator.
    ///
    /// # Errors
    /// If the inputs do not fit the kernel.
    pub fn evaluate(&self, inputs: &[Input]) -> Result<Vec<Tensor>, Vec<Diagnostic>> {
        evaluate(&self.kernel, &self.sizes, inputs).map_err(|d| vec![d])
    }

    /// The source graph's value in F64, to measure errors against.
    ///
    /// # Errors
    /// If the inputs do not fit the kernel.
    pub fn evaluate_f64(&self, inputs: &[Input]) -> Result<Vec<Vec<f64>>, Vec<Diagnostic>> {
        evaluate_f64(&self.source, &self.sizes, inputs).map_err(|d| vec![d])
    }

    /// How far each result can be from the exact one, as a kernel over the same parameters.
    ///
    /// # Errors
    /// Only through a fault of ours.
    ///
    /// ```
    /// use msd::{Options, Source};
    ///
    /// let text = "kernel f(W: i8[N, K] scale f32[N], X: bf16[M, K], b: f32[N]) -> bf16[M, N] {
    ///     X @ dequant(W).T + b
    /// }";
    /// let checked = Source::new("f.msd", text).check()?;
    /// let rewritten = checked.rewrite(checked.kernel(None)?, &Default::default(), &Options::new())?;
    /// let certificate = rewritten.certificate()?;
    /// let bound = certificate.results[0].as_ref().unwrap();
    /// assert_eq!(bound.expression, "3.088e-5 max|X| sum|W| + 5.960e-8 |b|");
    /// // Run it on the inputs of the kernel, and it gives the bound of each output.
    /// assert_eq!(&*certificate.kernel.unwrap().name, "f_bound");
    /// # Ok::<(), Vec<msd::ir::diag::Diagnostic>>(())
    /// ```
    pub fn certificate(&self) -> Result<Composed, Vec<Diagnostic>> {
        compose(&self.canonical, &self.plan, &self.sizes).map_err(|d| vec![d])
    }

    /// What became of the whole kernel: `msd` or `dequant` if all sites agree, `mixed` if they do
    /// not, `plain` if there is none.
    pub fn lowering(&self) -> &'static str {
        let is_msd = |site: &Site| {
            self.events.iter().any(|e| {
                e.node == site.node && AS_STORED.contains(&e.rule) && matches!(e.result, EventResult::Fired { .. })
            })
        };
        let sites = &self.plan.sites;
        match sites.iter().filter(|s| is_msd(s)).count() {
            _ if sites.is_empty() => "plain",
            0 => "dequant",
            n if n == sites.len() => "msd",
            _ => "mixed",
        }
    }
}

/// Times the passes and keeps what each made.
struct Watch {
    start: Instant,
    passes: Vec<PassEvent>,
}

impl Observer for Watch {
    fn before(&mut self, _: &'static Pass) {
        self.start = Instant::now();
    }

    fn after(&mut self, pass: &'static Pass, kernel: &Kernel, changed: bool) {
        let elapsed = self.start.elapsed();
        self.passes.push(PassEvent { pass: pass.name, kernel: kernel.clone(), changed, elapsed });
    }
}

/// Most workspaces kept between calls, and most bytes of them, but for one that always is. Calls at
/// once beyond that allocate theirs.
const MAX_WORKSPACES: usize = 16;
const MAX_KEPT_BYTES: usize = 256 << 20;

/// A kernel in machine code with its thread pool and scratch memory. Calls may run at once.
///
/// ```
/// use msd::{Argument, Options, Source, Tensor};
///
/// let checked = Source::new("f.msd", "kernel f(x: f32[M, N]) -> f32[M, 1] { sum(x) }").check()?;
/// let options = Options::new();
/// let rewritten = checked.rewrite(checked.kernel(None)?, &Default::default(), &options)?;
/// let compiled = rewritten.compile(&options)?;
///
/// let x = Tensor::from(vec![1.0f32, 2.0, 3.0, 4.0]).reshaped(vec![2, 2])?;
/// let arguments = [Argument::from(&x)];
/// let bound = compiled.bind(&arguments)?;
/// assert_eq!(bound.outputs()[0].1, [2, 1]);
/// let mut y = Tensor::zeros(bound.outputs()[0].0, bound.outputs()[0].1.clone())?;
/// compiled.run(&bound, &arguments, &mut [y.view_mut()])?;
/// assert_eq!(y.to_f32(), [3.0, 7.0]);
/// # Ok::<(), msd::Error>(())
/// ```
pub struct Compiled {
    code: CompiledKernel,
    pool: Arc<Pool>,
    /// Those no call is using.
    workspaces: Mutex<Vec<Workspace>>,
    elapsed: Duration,
}

impl Compiled {
    /// The handle of the machine code.
    pub fn code(&self) -> &CompiledKernel {
        &self.code
    }

    /// Time spent compiling.
    pub fn compile_time(&self) -> Duration {
        self.elapsed
    }

    /// Binds the kernel to the shapes of its arguments, for [`Compiled::run`].
    ///
    /// # Errors
    /// If the arguments do not fit the kernel or the sizes it was compiled for.
    pub fn bind(&self, arguments: &[Argument<'_>]) -> Result<Bound, Diagnostic> {
        self.code.bind(arguments)
    }

    /// Packs every weight among `arguments` that is not packed yet, so that no later call does.
    ///
    /// # Errors
    /// If the arguments do not have the bound shapes, or memory is lacking.
    pub fn prepare(&self, bound: &Bound, arguments: &[Argument<'_>]) -> Result<(), Diagnostic> {
        self.code.prepare(bound, arguments, &self.pool)
    }

    /// Runs the kernel and writes its results over `outputs`.
    ///
    /// # Errors
    /// If arguments or outputs are not what `bound` says, or their values are refused.
    pub fn run(
        &self,
        bound: &Bound,
        arguments: &[Argument<'_>],
        outputs: &mut [TensorViewMut<'_>],
    ) -> Result<(), Diagnostic> {
        let mut workspace = self.take_workspace();
        let result = self.code.run(bound, arguments, outputs, &mut workspace, &self.pool);
        self.keep_workspace(workspace);
        result
    }

    /// The largest workspace that is free, so that a lone call never grows a small one.
    fn take_workspace(&self) -> Workspace {
        let mut free = self.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        let largest = free.iter().enumerate().max_by_key(|(_, w)| w.bytes()).map(|(i, _)| i);
        largest.map(|i| free.swap_remove(i)).unwrap_or_default()
    }

    fn keep_workspace(&self, workspace: Workspace) {
        let mut free = self.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: usize = free.iter().map(Workspace::bytes).sum();
        if free.is_empty() || (free.len() < MAX_WORKSPACES && kept + workspace.bytes() <= MAX_KEPT_BYTES) {
            free.push(workspace);
        }
    }

    /// Binds, allocates the results and runs.
    ///
    /// # Errors
    /// As [`Compiled::bind`] and [`Compiled::run`].
    pub fn call(&self, arguments: &[Argument<'_>]) -> Result<Vec<Tensor>, Diagnostic> {
        let bound = self.bind(arguments)?;
        self.call_bound(&bound, arguments)
    }

    /// Allocates the results and runs.
    ///
    /// # Errors
    /// As [`Compiled::run`].
    pub fn call_bound(&self, bound: &Bound, arguments: &[Argument<'_>]) -> Result<Vec<Tensor>, Diagnostic> {
        let results = bound.outputs().iter().map(|(dtype, shape)| Tensor::zeros(*dtype, shape.clone()));
        let mut results = results.collect::<Result<Vec<_>, _>>()?;
        let mut outputs: Vec<_> = results.iter_mut().map(Tensor::view_mut).collect();
        self.run(bound, arguments, &mut outputs)?;
        Ok(results)
    }
}
