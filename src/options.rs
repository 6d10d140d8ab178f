//! How kernels are planned, compiled and run: one set of choices for the stages and for
//! [`Kernel`](crate::Kernel).

use msd_ir::diag::Diagnostic;
use msd_ir::graph::Lowering;
use msd_ir::machine::Machine;
use msd_ir::plan::Request;
use msd_ir::quant::scheme::Scheme;
use msd_jit::isa::{Isa, Level};

/// Choices a caller may make. What is left alone is decided by the kernel's attributes, then by
/// the cost model. Neither threads nor instruction set change a bit of a result.
///
/// ```
/// use msd::{Lowering, Options, Scheme};
///
/// let options = Options::new().lowering(Lowering::Msd).scheme(Scheme::Int8x3Pow2).threads(2);
/// assert_eq!(options.threads, 2);
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    /// Lowering, scheme, tolerance and machine profile.
    pub request: Request,
    /// Instruction set of the code.
    pub level: Level,
    /// Threads of a call, the caller's included. Kernels of as many threads share one pool. Compiling takes up to four
    /// of its own whatever this says.
    pub threads: usize,
    /// Whether to keep the text of generated code.
    pub listing: bool,
    /// Most shape classes a [`Kernel`](crate::Kernel) keeps compiled.
    pub classes: usize,
}

/// Shape classes kept unless told otherwise: the layers of one model that share a kernel, each with
/// its sizes.
const CLASSES: usize = 16;

impl Default for Options {
    fn default() -> Self {
        Options { request: Request::default(), level: Level::Native, threads: 1, listing: false, classes: CLASSES }
    }
}

impl Options {
    /// The defaults: everything planned, one thread, the best instructions this machine has.
    pub fn new() -> Options {
        Options::default()
    }

    /// How products with dequantized weights are computed, whatever the kernel's attribute says.
    /// [`Lowering::Msd`] binds where a rule multiplies the weight as stored; others are dequantized all
    /// the same, and [`Kernel::explain`](crate::Kernel::explain) names the guard that stopped the rule.
    ///
    /// ```
    /// use msd::{Kernel, Lowering, Options};
    ///
    /// let text = "kernel f(w: i8[N, K] scale f32[N], x: f32[M, K]) -> f32[M, N] { x @ dequant(w).T }";
    /// let plan = Kernel::new(text, &Options::new().lowering(Lowering::Dequant))?.plan(&[])?;
    /// assert_eq!(plan.sites[0].choice.lowering, Lowering::Dequant);
    /// # Ok::<(), msd::Error>(())
    /// ```
    #[must_use]
    pub fn lowering(mut self, lowering: Lowering) -> Options {
        self.request.lowering = Some(lowering);
        self
    }

    /// How activations are split into digits, whatever the kernel's attribute says; where they are,
    /// see [`Options::lowering`].
    ///
    /// ```
    /// use msd::{Kernel, Options, Scheme};
    ///
    /// let text = "kernel f(w: i8[N, K] scale f32[N], x: f32[M, K]) -> f32[M, N] { x @ dequant(w).T }";
    /// let plan = Kernel::new(text, &Options::new().scheme(Scheme::Int8x3Pow2))?.plan(&[])?;
    /// assert_eq!(plan.sites[0].choice.scheme, Scheme::Int8x3Pow2);
    /// # Ok::<(), msd::Error>(())
    /// ```
    #[must_use]
    pub fn scheme(mut self, scheme: Scheme) -> Options {
        self.request.scheme = Some(scheme);
        self
    }

    /// Most error a result may have: `|y - y*| <= tolerance * max|x| * sum|w|` with `y*` the exact
    /// product, `max|x|` the largest activation of the row and `sum|w|` over the weights of the
    /// channel. The cheapest scheme that is certified to it is chosen.
    ///
    /// ```
    /// use msd::{Kernel, Options};
    ///
    /// let text = "kernel f(w: i8[N, K] scale f32[N], x: f32[M, K]) -> f32[M, N] { x @ dequant(w).T }";
    /// let sizes = [("N", 4096), ("K", 4096), ("M", 1)];
    /// let plan = Kernel::new(text, &Options::new().tolerance(1e-6))?.plan(&sizes)?;
    /// assert!(plan.sites[0].bound().unwrap() <= 1e-6);
    /// let unmet = Kernel::new(text, &Options::new().tolerance(1e-12))?.plan(&sizes).unwrap_err();
    /// assert!(unmet.to_string().contains("the best bound here is"));
    /// # Ok::<(), msd::Error>(())
    /// ```
    #[must_use]
    pub fn tolerance(mut self, tolerance: f64) -> Options {
        self.request.tolerance = Some(tolerance);
        self
    }

    /// A scale of the activations for each `block` elements of the contraction instead of for each
    /// row, which keeps an outlier from coarsening the whole row. It holds where it divides the
    /// contraction and the groups of the weight; [`Kernel::explain`](crate::Kernel::explain) says where.
    ///
    /// ```
    /// use msd::{Kernel, Options};
    ///
    /// let text = "kernel f(w: i8[N, K] scale f32[N], x: f32[M, K]) -> f32[M, N] { x @ dequant(w).T }";
    /// let plan = Kernel::new(text, &Options::new().block(128))?.plan(&[("K", 1024)])?;
    /// assert_eq!(plan.sites[0].choice.block, Some(128));
    /// # Ok::<(), msd::Error>(())
    /// ```
    #[must_use]
    pub fn block(mut self, block: u64) -> Options {
        self.request.block = Some(block);
        self
    }

    /// What the cost model believes about the machine. Another profile may choose another
    /// lowering, and so other bits.
    #[must_use]
    pub fn machine(mut self, machine: Machine) -> Options {
        self.request.machine = machine;
        self
    }

    /// Threads of a call, the caller's included; at least 1, and no more than 256 are started.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Options {
        self.threads = threads.max(1);
        self
    }

    /// Instruction set of the code; [`Level::Native`] takes the best there is.
    #[must_use]
    pub fn isa(mut self, level: Level) -> Options {
        self.level = level;
        self
    }

    /// Most shape classes a [`Kernel`](crate::Kernel) keeps compiled, at least 1; beyond it the one
    /// not used for longest is dropped.
    #[must_use]
    pub fn classes(mut self, classes: usize) -> Options {
        self.classes = classes.max(1);
        self
    }

    /// Refuses what no kernel could be compiled with.
    pub(crate) fn check(&self) -> Result<(), Diagnostic> {
        Isa::host(self.level)?;
        self.request.check()
    }
}
