//! A kernel on an NPU: planned for a chip, lowered to its instructions, and run by the interpreters. Owns the order of
//! these steps and nothing of what they do.

use msd_ascend::chip::Chip;
use msd_ascend::lower::{self, Lowered, Model};
use msd_ascend::program::Program;
use msd_ascend::timing::{self, Report};
use msd_ascend::{race, text, values, verify};
use msd_ir::diag::{Code, Diagnostic};
use msd_ir::dim::Sizes;
use msd_ir::dtype::DType;
use msd_ir::graph::{Kernel as Graph, Lowering};
use msd_ir::input::Input;
use msd_ir::plan::{Abilities, Request};
use msd_ir::quant::scheme::Scheme;
use msd_ir::tensor::Tensor;

use crate::options::Options;
use crate::session::Rewritten;

/// What can be done otherwise in a lowering.
///
/// The default is what the MSD paper compares with: weights are dequantized to BF16, the scale applied in the
/// conversion, all of the weight written to memory and read back; digits are merged on the vector cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NpuVariant {
    /// Scales of dequantized weights are applied to the sums, where that is possible.
    pub hoisted: bool,
    /// Weights are dequantized to F16 in place of BF16. What F16 does not reach becomes infinite.
    pub f16: bool,
    /// What is dequantized lies in a few buffers that are used again and stay in L2.
    pub l2: bool,
    /// Digits are merged on their way out of the cube, where each weight has 11 bits at most, no zero point is taken
    /// off and groups have no scales; cores then share no contraction. Every digit's sum times its weight is rounded
    /// to F32, and so is each addition. Vector cores fuse both: half an ulp of F32 is lost for each digit beyond the
    /// second, and for each weight that is no power of two; nothing with `int8x2-pow2`.
    pub fix: bool,
}

impl NpuVariant {
    fn lowering(self) -> lower::Options {
        let dequantized = if self.f16 { DType::F16 } else { DType::BF16 };
        lower::Options { dequantized, reuses_workspace: self.l2, merges_in_fix: self.fix }
    }
}

/// A kernel as an instruction stream for a chip.
///
/// ```
/// use msd::ascend::chip::Chip;
/// use msd::{NpuVariant, Npu, Options, Source};
///
/// let text = "kernel f(w: i8[N, K] scale f32[N], x: bf16[M, K]) -> f32[M, N] { x @ dequant(w).T }";
/// let checked = Source::new("f.msd", text).check()?;
/// let sizes = [("M", 4), ("N", 64), ("K", 128)].map(|(name, size)| (name.into(), size)).into();
/// let chip = Chip::named("ascend-910b")?;
/// let npu = Npu::new(checked.kernel(None)?, &sizes, &chip, &Options::new(), NpuVariant::default())?;
/// assert!(npu.cycles()?.cycles > 0);
/// assert!(npu.stream().starts_with("program f"));
/// # Ok::<(), msd::Error>(())
/// ```
pub struct Npu {
    rewritten: Rewritten,
    lowered: Lowered,
    chip: Chip,
    because: String,
}

impl Npu {
    /// Plans and lowers a kernel, all of whose sizes are given. Where neither the options nor the kernel say which
    /// lowering, it is the one that takes fewer cycles by the closed form: weights as stored or dequantized, and with a
    /// tolerance that one digit meets, one digit.
    ///
    /// # Errors
    /// If a size is missing, a tolerance cannot be met, or the chip cannot compute an op of the kernel.
    pub fn new(
        kernel: &Graph,
        sizes: &Sizes,
        chip: &Chip,
        options: &Options,
        variant: NpuVariant,
    ) -> Result<Npu, Diagnostic> {
        let asked = options.request.lowering.or(kernel.attributes.lowering).unwrap_or(Lowering::Auto);
        if asked != Lowering::Auto {
            let because = format!("`{asked}` asked for");
            return Npu::planned(kernel, sizes, chip, options, variant, because);
        }
        let list = Npu::alternatives(kernel, sizes, chip, options, variant);
        let predicted: Vec<String> = list.iter().filter_map(|(_, npu)| npu.as_ref().ok()).map(Npu::predicted).collect();
        // A fault counts only if there is nothing else.
        let cycles = |npu: &Result<Npu, _>| npu.as_ref().map_or(f64::INFINITY, |npu: &Npu| npu.model().cycles);
        let best = list.into_iter().min_by(|(_, a), (_, b)| cycles(a).total_cmp(&cycles(b)));
        let Some((way, best)) = best else { return Err(Diagnostic::new(Code::Internal, "no alternative")) };
        let mut best = best?;
        let mut because = format!("predicted cycles: {}", predicted.join(", "));
        if let Some(mixed) = best.by_site(way, kernel, chip, options, variant) {
            because += &format!(", and {} by product", mixed.predicted());
            best = mixed;
        }
        Ok(Npu { because, ..best })
    }

    /// Every way to compute all products of the kernel that the cost model chooses from.
    fn alternatives(
        kernel: &Graph,
        sizes: &Sizes,
        chip: &Chip,
        options: &Options,
        variant: NpuVariant,
    ) -> Vec<(Way, Result<Npu, Diagnostic>)> {
        let mut list = Vec::new();
        for way in ways(kernel, options) {
            let npu = Npu::planned(kernel, sizes, chip, &asking(options, way), variant, String::new());
            let is_plain = npu.as_ref().is_ok_and(|npu| npu.lowering() == "plain");
            list.push((way, npu));
            if is_plain {
                break;
            }
        }
        list
    }

    /// The kernel with single products computed in another way, where that takes fewer cycles: one after the other,
    /// each with those before it as they were found best.
    fn by_site(&self, way: Way, kernel: &Graph, chip: &Chip, options: &Options, variant: NpuVariant) -> Option<Npu> {
        let sites = self.rewritten.plan.sites.len();
        if !(2..=MOST_SITES).contains(&sites) {
            return None;
        }
        let others: Vec<Way> = ways(kernel, options).into_iter().filter(|other| *other != way).collect();
        let mut options = asking(options, way);
        let mut best: Option<Npu> = None;
        for site in 0..sites {
            for other in others.iter().copied() {
                let mut asked = options.clone();
                asked.request.sites.insert(site, other);
                let Ok(npu) = Npu::planned(kernel, &self.rewritten.sizes, chip, &asked, variant, String::new()) else {
                    continue;
                };
                if npu.model().cycles < best.as_ref().unwrap_or(self).model().cycles {
                    (best, options) = (Some(npu), asked);
                }
            }
        }
        best
    }

    fn planned(
        kernel: &Graph,
        sizes: &Sizes,
        chip: &Chip,
        options: &Options,
        variant: NpuVariant,
        because: String,
    ) -> Result<Npu, Diagnostic> {
        let mut options = options.clone();
        let abilities = Abilities {
            unsigned_digits: false,
            hoists_scales: variant.hoisted,
            block_products: chip.multiplies(DType::E4M3).is_some() && *chip.memory.l0_scales > 0,
        };
        options.request.abilities = abilities;
        let rewritten = Rewritten::new(kernel, sizes, &options)?;
        let lowered = lower::lower(&rewritten.kernel, sizes, chip, &variant.lowering())?;
        Ok(Npu { rewritten, lowered, chip: chip.clone(), because })
    }

    /// The smallest of `sizes[dim]`, doubled again and again up to `most`, from which on dequantizing the weights is
    /// predicted to be cheaper than multiplying them as stored; nothing if it never is.
    ///
    /// # Errors
    /// As [`Npu::new`].
    pub fn crossover(
        kernel: &Graph,
        sizes: &Sizes,
        (dim, most): (&str, u64),
        chip: &Chip,
        options: &Options,
    ) -> Result<Option<u64>, Diagnostic> {
        let mut size = 1;
        while size <= most {
            let mut sizes = sizes.clone();
            sizes.insert(dim.into(), size);
            let with = |lowering: Lowering| {
                let (options, variant) = (asking(options, (lowering, None)), NpuVariant::default());
                Npu::planned(kernel, &sizes, chip, &options, variant, String::new()).map(|npu| npu.model().cycles)
            };
            if with(Lowering::Dequant)? < with(Lowering::Msd)? {
                return Ok(Some(size));
            }
            size *= 2;
        }
        Ok(None)
    }

    /// What became of the whole kernel: `msd`, `dequant`, `mixed`, or `plain` if there was nothing to decide: no
    /// weight, or such as the cube multiplies as they are.
    pub fn lowering(&self) -> &'static str {
        if self.lowered.is_native { "plain" } else { self.rewritten.lowering() }
    }

    /// The lowering with its scheme and predicted cycles.
    fn predicted(&self) -> String {
        let scheme = self.rewritten.scheme().map_or(String::new(), |scheme| format!(" ({scheme})"));
        format!("{}{scheme} {:.0}", self.lowering(), self.model().cycles)
    }

    /// Why this lowering.
    pub fn because(&self) -> &str {
        &self.because
    }

    /// What was decided, and the graph that was lowered.
    pub fn rewritten(&self) -> &Rewritten {
        &self.rewritten
    }

    /// The stream.
    pub fn program(&self) -> &Program {
        &self.lowered.program
    }

    /// The stream as text.
    pub fn stream(&self) -> String {
        text::print(&self.lowered.program)
    }

    /// What the stream would cost by formulas alone.
    pub fn model(&self) -> &Model {
        &self.lowered.model
    }

    /// What is said of a fault in a stream that was made of a kernel. Sizes may be too large to run, and sums too large
    /// for their type; all else is no fault of whoever wrote the kernel.
    pub fn at_fault(fault: Diagnostic) -> Diagnostic {
        if matches!(fault.code, Code::StreamTooLong | Code::AccumulatorRange | Code::Internal) {
            return fault;
        }
        let message = format!("the stream made of the kernel is at fault: {}, {}", fault.code.as_str(), fault.message);
        Diagnostic::new(Code::Internal, message)
    }

    /// Looks for faults of the stream and for races.
    ///
    /// # Errors
    /// What there is: a fault of ours.
    pub fn check(&self) -> Result<(), Vec<Diagnostic>> {
        let ours = |faults: Vec<Diagnostic>| faults.into_iter().map(Npu::at_fault).collect::<Vec<_>>();
        verify::verify(&self.lowered.program, &self.chip).map_err(ours)?;
        race::find(&self.lowered.program, &self.chip).map_err(ours)
    }

    /// Runs the stream for its cycles.
    ///
    /// # Errors
    /// Only through a fault of ours.
    pub fn cycles(&self) -> Result<Report, Diagnostic> {
        timing::cycles(&self.lowered.program, &self.chip).map_err(Npu::at_fault)
    }

    /// Runs the stream for its values, on inputs that fit the kernel.
    ///
    /// # Errors
    /// If the inputs do not fit, a sum leaves 32 bits, or there are too many products to compute.
    pub fn call(&self, inputs: &[Input]) -> Result<Vec<Tensor>, Diagnostic> {
        msd_ir::input::bind_owned(&self.rewritten.source, inputs, &self.rewritten.sizes)?;
        let given = self.lowered.inputs(inputs)?;
        let tensors = values::run(&self.lowered.program, &self.chip, &given).map_err(Npu::at_fault)?;
        self.lowered.results(&self.rewritten.kernel, &tensors)
    }
}

/// Most products of a kernel that are weighed one by one.
const MOST_SITES: usize = 16;

/// A way to compute a product: a lowering, and a scheme if it is not the default.
type Way = (Lowering, Option<Scheme>);

/// The ways to choose from: with a tolerance, one digit is one.
fn ways(kernel: &Graph, options: &Options) -> Vec<Way> {
    let Request { tolerance, scheme, .. } = options.request;
    let one_digit =
        tolerance.or(kernel.attributes.tolerance).is_some() && scheme.or(kernel.attributes.scheme).is_none();
    let mut list = vec![(Lowering::Msd, None), (Lowering::Dequant, None)];
    list.extend(one_digit.then_some((Lowering::Msd, Some(Scheme::Int8x1))));
    list
}

/// Options that ask for a way.
fn asking(options: &Options, (lowering, scheme): Way) -> Options {
    let mut options = options.clone();
    options.request.lowering = Some(lowering);
    options.request.scheme = scheme.or(options.request.scheme);
    options
}
