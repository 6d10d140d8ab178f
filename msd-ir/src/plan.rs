//! The planner: for each product with a dequantized weight, which lowering and which scheme, with
//! the reason, the certified bound and what the alternatives would have cost. Decisions depend on
//! the kernel, its sizes and a machine profile, never on threads or instruction sets, so that a
//! plan means the same bits everywhere.

mod choose;
mod signs;

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::certificate::Certificate;
use crate::cost::cpu::{Cost, Groups, Product};
use crate::cost::linear::Linear;
use crate::diag::{Code, Diagnostic};
use crate::dim::{Dim, Sizes};
use crate::dtype::DType;
use crate::graph::{Kernel, Lowering, Value};
use crate::machine::Machine;
use crate::ops::Op;
use crate::quant::scheme::Scheme;
use crate::rewrite::form::{Codes, Form, activations};
use crate::rewrite::lowering::{native_codes, native_left};
use crate::rewrite::pattern::Weight;
use crate::span::Span;
use crate::types::Part;

use choose::{Facts, choose};
use signs::never_negative;

/// What the machine that executes a plan can do, as far as plans depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Whether it multiplies digits that are never negative.
    pub unsigned_digits: bool,
    /// Whether scales are applied behind a product with a dequantized weight, where that is possible. They are part of
    /// the dequantization otherwise.
    pub hoists_scales: bool,
    /// Whether it multiplies small floats with a power of two for each 32 of them as they are, on both sides.
    pub block_products: bool,
}

/// What the caller asks for; attributes of the kernel stand where this is silent.
#[derive(Clone, Debug)]
pub struct Request {
    /// `--lowering`
    pub lowering: Option<Lowering>,
    /// `--scheme`
    pub scheme: Option<Scheme>,
    /// Most error a result may have, as `#[tolerance(t)]` says it; finite and above 0.
    pub tolerance: Option<f64>,
    /// `--block`: activations get a scale for each so many elements of the contraction.
    pub block: Option<u64>,
    /// `--machine`
    pub machine: Machine,
    /// What whoever executes the plan can do.
    pub abilities: Abilities,
    /// What is asked for single sites, by their place in [`Plan::sites`]: a lowering, and a scheme if it is not that of
    /// all. It comes from whoever weighs a kernel as a whole.
    pub sites: BTreeMap<usize, (Lowering, Option<Scheme>)>,
}

impl Default for Request {
    fn default() -> Self {
        let abilities = Abilities { unsigned_digits: true, hoists_scales: true, block_products: false };
        let machine = Machine::default_profile();
        let sites = BTreeMap::new();
        Request { lowering: None, scheme: None, tolerance: None, block: None, machine, abilities, sites }
    }
}

impl Request {
    /// What is asked for one site.
    fn of_site(&self, site: usize) -> Cow<'_, Request> {
        match self.sites.get(&site) {
            Some((lowering, scheme)) => {
                let (lowering, scheme) = (Some(*lowering), scheme.or(self.scheme));
                Cow::Owned(Request { lowering, scheme, ..self.clone() })
            }
            None => Cow::Borrowed(self),
        }
    }

    /// Refuses what no plan could be made for.
    ///
    /// # Errors
    /// If a tolerance or a block is no number to plan with.
    pub fn check(&self) -> Result<(), Diagnostic> {
        if self.block == Some(0) {
            let fault = Diagnostic::new(Code::BadAttribute, "a block of no elements");
            return Err(fault.help("a block is a number of elements above 0, such as 128"));
        }
        match self.tolerance {
            Some(t) if !(t.is_finite() && t > 0.0) => {
                let fault = Diagnostic::new(Code::BadAttribute, format!("a tolerance of {t}"));
                Err(fault.help("a tolerance is a finite number above 0, such as 1e-4"))
            }
            _ => Ok(()),
        }
    }
}

/// What the rules are told to do with a product.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// [`Lowering::Msd`] or [`Lowering::Dequant`].
    pub lowering: Lowering,
    /// The scheme, should the lowering be `msd`.
    pub scheme: Scheme,
    /// Elements of the contraction that share a scale of the activations; the whole row if nothing
    /// is said.
    pub block: Option<u64>,
    /// How the weight can be multiplied as stored, under the sizes planned for; nothing if it cannot.
    pub form: Option<Form>,
    /// Whether two digits of 8 bits are to be multiplied as one of 16. It changes the graph, and no
    /// bit of a result, so that the plan leaves it to whoever knows the target.
    pub recombine: bool,
    /// Whether scales leave a weight that is dequantized.
    pub hoists_scales: bool,
    /// Why.
    pub because: String,
}

/// A choice without its reason: what decides the bits of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method {
    /// [`Lowering::Msd`] or [`Lowering::Dequant`].
    pub lowering: Lowering,
    /// How activations are split, should the lowering be `msd`.
    pub scheme: Option<Scheme>,
    /// Elements that share a scale of the activations, likewise.
    pub block: Option<u64>,
    /// How the weight is multiplied as stored, likewise; nothing if it is dequantized all the same.
    pub form: Option<Form>,
}

impl Choice {
    /// The choice without its reason.
    pub fn method(&self) -> Method {
        match self.lowering {
            Lowering::Msd => {
                Method { lowering: self.lowering, scheme: Some(self.scheme), block: self.block, form: self.form }
            }
            lowering => Method { lowering, scheme: None, block: None, form: None },
        }
    }
}

/// One way to compute a product.
#[derive(Clone, Debug, PartialEq)]
pub struct Alternative {
    /// `msd` or `dequant`.
    pub lowering: Lowering,
    /// The scheme of an `msd` alternative.
    pub scheme: Option<Scheme>,
    /// Certified bound; `None` where it depends on a size that is not known.
    pub certificate: Option<Certificate>,
    /// Predicted cost; `None` where a size is not known.
    pub cost: Option<Cost>,
}

impl Alternative {
    /// The certified bound, as a number.
    pub fn bound(&self) -> Option<f64> {
        self.certificate.as_ref().map(|c| c.bound)
    }
}

/// A product with a dequantized weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// The product's node in the canonical kernel.
    pub node: usize,
    /// Its place in the source.
    pub span: Span,
    /// Name of the quantized parameter.
    pub weight: String,
    /// What is to be done.
    pub choice: Choice,
    /// Certificate of what is to be done.
    pub certificate: Option<Certificate>,
    /// Everything considered, chosen one included.
    pub alternatives: Vec<Alternative>,
}

impl Site {
    /// The certified bound of what is to be done, as a number.
    pub fn bound(&self) -> Option<f64> {
        self.certificate.as_ref().map(|c| c.bound)
    }
}

/// Decisions for every site of a kernel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In node order.
    pub sites: Vec<Site>,
}

impl Plan {
    /// How each site is computed, in order: plans that agree in this give the same bits.
    pub fn methods(&self) -> Vec<Method> {
        self.sites.iter().map(|s| s.choice.method()).collect()
    }

    /// The choices by node, as the rewrite driver wants them.
    pub fn choices(&self) -> BTreeMap<usize, Choice> {
        self.sites.iter().map(|s| (s.node, s.choice.clone())).collect()
    }
}

/// Plans a kernel in canonical form (see [`crate::rewrite::canonical::RULES`]).
///
/// # Errors
/// If the request cannot be planned for, or no scheme meets its tolerance.
pub fn plan(kernel: &Kernel, sizes: &Sizes, request: &Request) -> Result<Plan, Diagnostic> {
    request.check()?;
    let mut sites = Vec::new();
    let positive = never_negative(kernel);
    for (node, n) in kernel.nodes.iter().enumerate() {
        if n.op != Op::MatMul {
            continue;
        }
        let Some(weight) = Weight::find(kernel, n.operands[1]) else { continue };
        let request = &*request.of_site(sites.len());
        let x = n.operands[0];
        let form = activations(kernel, x).and_then(|()| Form::under(&weight, sizes));
        let native =
            || native_codes(&weight).and_then(|()| Form::native(&weight)).and_then(|()| native_left(kernel, x));
        let is_native = form.is_ok() && native().is_ok();
        let facts = Facts {
            is_native,
            is_positive: positive[x.node],
            is_dequantized: Weight::find(kernel, x).is_some(),
            declared: declared(kernel, x),
            k: kernel.tensor_ty(x).shape.last().and_then(|d| d.eval(sizes).ok()),
            form: form.ok(),
            asked: request.scheme.or(kernel.attributes.scheme),
            abilities: request.abilities,
        };
        let product = product(&weight, n.types[0].shape(), kernel.tensor_ty(x).dtype, facts.k, sizes);
        let alternatives = alternatives(&product, &facts, request);
        let weight = match kernel.node(weight.param).op {
            Op::Param { index } => kernel.params[index].name.to_string(),
            _ => String::new(),
        };
        let mut choice = choose(kernel, request, &alternatives, &facts).map_err(|d| {
            let message = format!("product with `{weight}`: {}", d.message);
            Diagnostic { message, ..d }.at(n.span)
        })?;
        if request.abilities.block_products && is_block_scaled(kernel, n.operands[1]) && is_block_scaled(kernel, x) {
            let because = "both operands are multiplied as stored, with their block scales".to_string();
            choice = Choice { lowering: Lowering::Dequant, hoists_scales: false, because, ..choice };
        }
        // Where no rule multiplies the weight as stored it is dequantized, whatever was asked for.
        let done = alternatives
            .iter()
            .find(|a| a.lowering == choice.lowering && a.scheme.is_none_or(|s| s == choice.scheme))
            .or(alternatives.last());
        let certificate = done.and_then(|a| a.certificate.clone());
        sites.push(Site { node, span: n.span, weight, choice, certificate, alternatives });
    }
    Ok(Plan { sites })
}

/// Whether an operand is a dequantized parameter of small floats with a power of two for each 32 along its contraction,
/// as stored or transposed.
fn is_block_scaled(kernel: &Kernel, operand: Value) -> bool {
    let Some(weight) = Weight::find(kernel, operand).filter(|w| w.factors.is_empty() && w.windows.is_empty()) else {
        return false;
    };
    let last = weight.ty.codes.rank() - 1;
    let along = weight.ty.scale.along.iter().enumerate();
    let mut fits =
        along.map(|(axis, along)| along.as_ref().is_some_and(|a| a.group == if axis == last { 32 } else { 1 }));
    weight.ty.codes.dtype.minifloat().is_some()
        && weight.ty.scale.ty.dtype == DType::E8M0
        && weight.ty.zero.is_none()
        && fits.all(|fits| fits)
}

/// The element type that the activations were declared with, before they were moved, or took over
/// a factor that is the same for all tokens: the default scheme goes by it.
fn declared(kernel: &Kernel, mut x: Value) -> DType {
    loop {
        let (node, shape) = (kernel.node(x), &kernel.tensor_ty(x).shape);
        let is_whole = |v: &Value| kernel.tensor_ty(*v).shape == *shape;
        let is_shared = |v: &Value| {
            let own = &kernel.tensor_ty(*v).shape;
            !is_whole(v) && own.len().checked_sub(2).is_none_or(|tokens| own[tokens].is_one())
        };
        x = match (&node.op, node.operands.as_slice()) {
            (Op::Transpose { .. } | Op::Reshape { .. } | Op::Slice { .. } | Op::Broadcast { .. }, [inner]) => *inner,
            (Op::Mul, [factor, inner]) if is_whole(inner) && is_shared(factor) => *inner,
            (Op::Mul | Op::Div, [inner, factor]) if is_whole(inner) && is_shared(factor) => *inner,
            _ => return kernel.tensor_ty(x).dtype,
        };
    }
}

/// The product's sizes, if all are known.
fn product(weight: &Weight, shape: &[Dim], x: DType, k: Option<u64>, sizes: &Sizes) -> Option<Product> {
    let count = |shape: &[Dim]| shape.iter().try_fold(1.0, |n, d| d.eval(sizes).ok().map(|s| n * s as f64));
    let rank = shape.len();
    let codes = &weight.ty.codes;
    let elements = count(&codes.shape)?;
    let part_bits = |p: &Part| count(&p.ty.shape).map(|n| n * p.ty.dtype.bits() as f64);
    let parts = part_bits(&weight.ty.scale)? + weight.ty.zero.as_ref().map_or(Some(0.0), part_bits)?;
    let layer = Linear {
        m: count(&shape[rank - 2..rank - 1])?,
        n: count(&shape[rank - 1..])?,
        k: k? as f64,
        weight_bits: codes.dtype.bits() as f64 + if elements > 0.0 { parts / elements } else { 0.0 },
        activation_bits: x.bits() as f64,
        result_bits: 32.0,
    };
    let batches = count(&shape[..rank - 2])?;
    Some(Product { layer, batches, has_integer_codes: Codes::of(codes.dtype) != Codes::Floats })
}

fn alternatives(product: &Option<Product>, facts: &Facts, request: &Request) -> Vec<Alternative> {
    let machine = &request.machine;
    let rounded = |c: Certificate| if facts.is_dequantized { c.of_rounded_activations() } else { c };
    let mut list: Vec<Alternative> = Vec::new();
    if facts.is_native {
        list.push(Alternative {
            lowering: Lowering::Msd,
            scheme: None,
            certificate: Some(Certificate::native()),
            cost: product.map(|p| p.native(machine)),
        });
    } else if let Some(form) = &facts.form {
        list.extend(Scheme::ALL.iter().filter(|s| facts.offers(**s)).map(|scheme| {
            let block = facts.block(request, *scheme);
            let form = Form { unit: block.or(form.unit), ..*form };
            let has_units = block.is_some();
            let groups = form.unit.zip(facts.k).map(|(unit, k)| Groups { count: k.div_ceil(unit), has_units });
            Alternative {
                lowering: Lowering::Msd,
                scheme: Some(*scheme),
                certificate: Certificate::digits(*scheme, &form, has_units, facts.k).map(rounded),
                cost: product.map(|p| p.msd(*scheme, groups, machine)),
            }
        }));
    }
    let groups_of = facts.form.as_ref().and_then(Form::float_groups);
    // How often a result is scaled, where the weight is not written out.
    let scalings = match facts.form {
        Some(form) if form.is_plain() => Some(1),
        _ => groups_of.zip(facts.k).map(|(length, k)| k.div_ceil(length)),
    };
    list.push(Alternative {
        lowering: Lowering::Dequant,
        scheme: None,
        certificate: facts.k.map(|k| Certificate::dequant(k, groups_of)).map(rounded),
        cost: product.map(|p| p.dequant(scalings, machine)),
    });
    list
}
