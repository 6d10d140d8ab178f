//! How a stored weight can be multiplied by digits: what its codes are, and where its scale and its
//! zero point vary, decides, and what no form covers is refused with its reason. Owns that decision;
//! the graphs of each form are [`super::lowering`]'s.

use super::pattern::{Graph, Weight};
use crate::dim::{Dim, Sizes};
use crate::dtype::DType;
use crate::graph::Value;
use crate::quant::scheme::Scheme;
use crate::types::{Part, Type};

/// Names of the rules that take a form; which takes which is [`super::lowering`]'s.
pub(super) const ABSORB_SCALE: &str = "absorb-scale";
pub(super) const SPLIT_GROUPS: &str = "split-groups";
pub(super) const FOLD_ZERO: &str = "fold-zero";
pub(super) const DIGIT_SPLIT: &str = "digit-split";

/// What stops a weight from being multiplied as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// The rule that would have had to deal with it.
    pub rule: &'static str,
    /// Name of the guard.
    pub guard: &'static str,
    /// What the guard found.
    pub reason: String,
}

fn stopped(rule: &'static str, guard: &'static str, reason: String) -> Stopped {
    Stopped { rule, guard, reason }
}

/// What becomes of the zero point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Zero {
    /// There is none.
    None,
    /// The same along the contraction, or along a group of it: `S - z * R`, `R` the row sum of the
    /// digits.
    Folded,
    /// One for each contraction channel: `S - R`, `R` the digits' product with the zero points.
    Channels,
}

/// What stored codes are to a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codes {
    /// Integers.
    Integers,
    /// Floats of 4 bits: integers in steps of their type.
    Steps,
    /// Floats of 8 bits, which span too many powers of two for integers.
    Floats,
}

impl Codes {
    /// What codes of a type are.
    pub fn of(dtype: DType) -> Codes {
        match (dtype.is_int(), dtype.bits()) {
            (true, _) => Codes::Integers,
            (false, 4) => Codes::Steps,
            (false, _) => Codes::Floats,
        }
    }

    /// Whether products with the digits of a scheme are exact integers. Others are F32.
    pub fn is_exact_with(self, scheme: Scheme) -> bool {
        self != Codes::Floats && scheme.digit_dtype().is_int()
    }
}

/// A way to multiply a weight as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Form {
    /// What is multiplied.
    pub codes: Codes,
    /// Whether the scale varies with each contraction channel and goes into the activations.
    pub absorbs: bool,
    /// What becomes of the zero point.
    pub zero: Zero,
    /// Elements of the contraction whose products are summed before a scale is applied; all of
    /// them where nothing is said.
    pub unit: Option<u64>,
    /// Whether the scales of groups are powers of two, so that exact sums add up in F64.
    pub has_power_scales: bool,
}

/// How a part varies along the contraction.
enum Along {
    Constant,
    Channel,
    Group(u64),
}

fn along(part: &Part, contracted: usize) -> Along {
    match &part.along[contracted] {
        None => Along::Constant,
        Some(a) if a.group == 1 => Along::Channel,
        Some(a) => Along::Group(a.group),
    }
}

impl Form {
    /// The form of `weight` on the right of a product, or what stops it from being multiplied as
    /// stored, whatever the sizes.
    ///
    /// # Errors
    /// What stops it.
    pub fn of(weight: &Weight) -> Result<Form, Stopped> {
        Form::under(weight, &Sizes::new())
    }

    /// The same under known sizes, which tell whether a slice cuts through groups.
    ///
    /// # Errors
    /// What stops it.
    pub fn under(weight: &Weight, sizes: &Sizes) -> Result<Form, Stopped> {
        let (codes, scale, contracted) = (&weight.ty.codes, &weight.ty.scale, weight.contraction_axis());
        windows_fit(weight, sizes)?;
        let per_channel = |part: &Part| part.along[weight.channel_axis()].is_some();
        let (mut absorbs, mut units) = (false, Vec::new());
        match along(scale, contracted) {
            Along::Constant => {}
            Along::Channel if per_channel(scale) => {
                let reason = format!("the scale `{}` belongs to single elements of `{codes}`", scale.ty);
                return Err(stopped(ABSORB_SCALE, "scale-placement", reason));
            }
            Along::Channel => absorbs = true,
            Along::Group(group) => units.push(group),
        }
        let mut zero = Zero::None;
        if let Some(part) = &weight.ty.zero {
            zero = Zero::Folded;
            match along(part, contracted) {
                Along::Constant => {}
                Along::Channel if per_channel(part) || !part.ty.dtype.is_int() || part.ty.dtype.bits() > 8 => {
                    let reason = format!(
                        "the zero point `{}` varies along the contracted dimension `{}`, which takes integers of 8 \
                         bits that are the same for all output channels",
                        part.ty, codes.shape[contracted]
                    );
                    return Err(stopped(FOLD_ZERO, "zero-placement", reason));
                }
                Along::Channel => zero = Zero::Channels,
                Along::Group(group) => units.push(group),
            }
        }
        let unit = units.iter().copied().min();
        if let Some(unit) = unit
            && let Some(group) = units.iter().find(|g| *g % unit != 0)
        {
            let reason = format!("groups of {group} and of {unit} along `{}` overlap", codes.shape[contracted]);
            return Err(stopped(SPLIT_GROUPS, "group-sizes", reason));
        }
        // Scales of other widths along the contraction have a rounding each in the contract.
        let is_grouped = unit.is_some() && zero == Zero::None && !absorbs;
        let has_power_scales = is_grouped && scale.ty.dtype == DType::E8M0;
        Ok(Form { codes: Codes::of(codes.dtype), absorbs, zero, unit, has_power_scales })
    }

    /// Whether a product with the codes only lacks the scale.
    pub fn is_plain(&self) -> bool {
        !self.absorbs && self.zero == Zero::None && self.unit.is_none()
    }

    /// Elements of a group, where the codes are multiplied as floats by activations that are not split,
    /// and a scale for each group is all there is to apply.
    pub fn float_groups(&self) -> Option<u64> {
        self.unit.filter(|_| self.codes == Codes::Floats && !self.absorbs && self.zero == Zero::None)
    }

    /// Whether exact sums of groups are added up in F64, with digits of `scheme`.
    pub fn is_wide_with(&self, scheme: Scheme) -> bool {
        self.has_power_scales && self.codes.is_exact_with(scheme)
    }

    /// The form of an operand of a product of which codes are all there is to add up.
    ///
    /// # Errors
    /// What stops it.
    pub fn native(weight: &Weight) -> Result<(), Stopped> {
        let form = Form::of(weight)?;
        let (codes, contracted) = (&weight.ty.codes, weight.contraction_axis());
        if let (Some(zero), true) = (&weight.ty.zero, form.zero != Zero::None) {
            return Err(stopped(FOLD_ZERO, "zero-point", format!("the weight has a zero point `{}`", zero.ty)));
        }
        if form.absorbs || form.unit.is_some() {
            let (ty, dim) = (&weight.ty.scale.ty, &codes.shape[contracted]);
            let reason = format!("the scale `{ty}` varies along the contracted dimension `{dim}`");
            return Err(stopped(SPLIT_GROUPS, "scale-placement", reason));
        }
        Ok(())
    }
}

/// A slice must not cut through groups.
fn windows_fit(weight: &Weight, sizes: &Sizes) -> Result<(), Stopped> {
    let parts = std::iter::once(&weight.ty.scale).chain(&weight.ty.zero);
    for (part, window) in parts.flat_map(|p| weight.windows.iter().map(move |w| (p, w))) {
        let Some(along) = part.along[window.axis].as_ref().filter(|a| a.group > 1) else { continue };
        let cuts = |end: &Dim| end.eval(sizes).map_or(true, |e| e % along.group != 0);
        if cuts(&window.start) || cuts(&window.stop) {
            let (start, stop, group) = (&window.start, &window.stop, along.group);
            let reason = format!("the slice from `{start}` to `{stop}` may cut groups of {group}");
            return Err(stopped(SPLIT_GROUPS, "slice", reason));
        }
    }
    Ok(())
}

/// What stops the other operand from being split into digits.
///
/// # Errors
/// What stops it.
pub fn activations(graph: &impl Graph, x: Value) -> Result<(), Stopped> {
    match graph.ty(x) {
        Type::Tensor(t) if t.dtype.is_float() && t.dtype != DType::F64 => Ok(()),
        other => {
            let reason = format!("the other operand is `{other}`, no float to split");
            Err(stopped(DIGIT_SPLIT, "activation-type", reason))
        }
    }
}
