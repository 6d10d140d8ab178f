//! Tables 1 and 13 to 16: activations in digits of small floats. Owns the experiments.
//!
//! What they measure is the error of the activations: put together again from the digits of their
//! scheme, or through a compiled product with a weight that is exact as stored, whose own roundings are
//! of F32 and below every figure here.

use msd::ir::quant::decompose::decompose_row;
use msd::ir::tensor::Data;
use msd::{Argument, DType, Kernel, Lowering, Options, PowerRule, QuantTensor, Result, Scheme, Tensor};

use super::baselines::{Bf16, product};
use super::draws::Distribution;
use super::errors::Errors;
use super::parallel::parts;
use super::{Effort, Figure, Row, SEED, Table};
use crate::bench::accuracy::sample_indices;
use crate::inputs::random::Stream;
use crate::report::svg::{Across, Axis, Chart, Series};

/// Rows of the matrices whose elements alone are compared, and their size in the paper's products.
const ROWS: usize = 1024;
const SIZE: usize = 2048;

/// What the paper's tables of distributions call MSD-MXFP4 and MXFP8.
const PAIR: [(Scheme, &str); 2] = [(Scheme::Mxfp4x2, "MSD-MXFP4"), (Scheme::Mxfp8x1, "MXFP8")];

const WORST: &str = "-log2(bound/Mb), Mb the largest element of a block: a/Mb lies in (0.538, 1.0756], so the worst \
    relative error is 1.0756/64; the paper's corollary 5.2 has this ratio upside down, and its 6.6 bits are an average";
const WORST_V: &str = "-log2(bound/Mb): a/Mb is at most 8/7, so the worst relative error is 1/56 for v1 and v2 alike";
const CLIPPED: &str = "MXFP8 has scales rounded up to 2^ceil(log2(Mb/448)), so that nothing clips";
const OCP: &str =
    "ours: 2^(floor(log2 Mb) - 8) clips what lies between 448 and 512 of it, which the paper's figures rule out";
const HEAVY: &str = "a few elements of a heavy tail have most of the norm, so the figure depends on the seed";
const TRUNCATED: &str = "activations truncated to BF16 before they are split, against the product of the F32 ones: the \
    paper's figures fit this reading, as truncation alone is 0.0033";
const KEPT: &str = "ours: activations split as F32";

/// Table 1: configurations of two digits of FP4.
pub(crate) fn configurations(effort: Effort) -> Result<Table> {
    let size = SIZE.min(effort.size);
    let weight = weight(1, size, effort.threads)?;
    let gemm = Product::draw(1, Distribution::Normal(1.0), &weight, effort);
    let all = Distribution::Normal(1.0).draws(activations(1, size), 0..(size * size) as u64);
    let published = [
        (Scheme::Mxfp4x2V1, "v1 (1.75, a/8)", 5.79, 0.0182, WORST_V),
        (Scheme::Mxfp4x2V2, "v2 (1.75, a/16)", 6.55, 0.0107, WORST_V),
        (Scheme::Mxfp4x2, "v3 (1.859375, a/16)", 6.65, 0.0101, WORST),
    ];
    let mut rows = Vec::new();
    for (scheme, name, bits, l2, worst) in published {
        let errors = errors(scheme, &all.chunks(size).collect::<Vec<_>>(), effort.threads);
        rows.push(Row::new(format!("{name}: effective bits (L2)"), "bits", 3, errors.bits()).paper(bits, 2));
        let row = Row::new(format!("{name}: L2 error of the product"), "", 5, gemm.l2(scheme, None, effort.threads)?);
        rows.push(row.paper(l2, 4).note(ACTIVATIONS));
        let name = format!("{name}: effective bits (worst case)");
        rows.push(Row::new(name, "bits", 2, -scheme.bound().log2()).note(worst));
    }
    Ok(Table {
        id: 1,
        title: "configurations of MXFP4 in two passes",
        setup: format!(
            "N(0,1) in F32, {size} x {size}: bits of all elements; product with an MXFP4 weight, {}",
            gemm.sampled()
        ),
        notes: vec!["bits are -log2 of the relative L2 error of the activations unless called worst case"],
        rows,
        figures: Vec::new(),
    })
}

const ACTIVATIONS: &str = "the weight is exact, so this is the error of the activations once more, on the sampled rows";

/// Table 13: effective bits of the activations by distribution.
pub(crate) fn distributions(effort: Effort) -> Result<Table> {
    let published = [
        (Distribution::Normal(0.1), 6.60, 5.24),
        (Distribution::Normal(1.0), 6.62, 5.24),
        (Distribution::Uniform(1.0), 6.83, 5.40),
        (Distribution::Uniform(3.0), 7.36, 5.20),
        (Distribution::Laplace, 6.32, 5.24),
        (Distribution::StudentT3, 6.05, 5.24),
        (Distribution::Cauchy, 6.84, 5.47),
    ];
    let rows_of = ROWS.min(effort.size);
    let mut rows = Vec::new();
    let mut bars = PAIR.map(|(_, name)| Series { name: name.into(), points: Vec::new() });
    for (i, (distribution, four, eight)) in published.into_iter().enumerate() {
        let groups = matrix(distribution, rows_of, 13, effort.threads);
        let groups: Vec<&[f32]> = groups.iter().map(Vec::as_slice).collect();
        for (j, (scheme, name)) in PAIR.into_iter().enumerate() {
            let bits = errors(scheme, &groups, effort.threads).bits();
            let row = Row::new(format!("{}: {name}", distribution.name()), "bits", 3, bits);
            let row = row.paper(if j == 0 { four } else { eight }, 2);
            let heavy = matches!(distribution, Distribution::StudentT3 | Distribution::Cauchy);
            rows.push(if heavy { row.note(HEAVY) } else { row });
            bars[j].points.push((i as f64, bits));
        }
        let bits = clipped(&groups, effort.threads)?.bits();
        rows.push(Row::new(format!("{}: MXFP8, scales by OCP's rule", distribution.name()), "bits", 3, bits).note(OCP));
    }
    for ((scheme, name), note) in PAIR.into_iter().zip([WORST, WORST_EIGHT]) {
        let name = format!("any: {name}, worst case");
        rows.push(Row::new(name, "bits", 2, -scheme.bound().log2()).note(note));
    }
    let names = published.iter().map(|(distribution, ..)| distribution.name()).collect();
    let chart = Chart {
        title: "Effective bits (L2) of activations by distribution".into(),
        x: Across::Names(names),
        y: Axis { label: "bits".into(), range: (0.0, 8.0), logarithmic: false },
        series: bars.into(),
    };
    Ok(Table {
        id: 13,
        title: "effective bits (L2) of activations by distribution",
        setup: format!("{rows_of} x {ROWS} elements in F32, blocks of 32"),
        notes: vec![CLIPPED, "activations in BF16 would lose 0.02 to 0.1 bit of MSD's figures"],
        rows,
        figures: vec![Figure { name: "bits-by-distribution", chart }],
    })
}

const WORST_EIGHT: &str =
    "-log2(bound/Mb) of one E4M3 digit: half a step where steps have just doubled, 16 of 256 units";

/// Table 14: error of products by distribution.
pub(crate) fn products(effort: Effort) -> Result<Table> {
    let published = [
        (Distribution::Normal(0.5), 0.0109, 0.0266),
        (Distribution::Uniform(1.0), 0.0095, 0.0235),
        (Distribution::Uniform(3.0), 0.0074, 0.0272),
        (Distribution::Laplace, 0.0132, 0.0266),
        (Distribution::StudentT3, 0.0156, 0.0262),
    ];
    let size = SIZE.min(effort.size);
    let mut rows = Vec::new();
    let mut setup = String::new();
    let weight = weight(14, size, effort.threads)?;
    for (distribution, four, eight) in published {
        let gemm = Product::draw(14, distribution, &weight, effort);
        setup = format!("{size} x {size}, MXFP4 weight; {}", gemm.sampled());
        rows.extend(gemm.pair(&distribution.name(), [four, eight], effort.threads)?);
    }
    Ok(Table {
        id: 14,
        title: "relative L2 error of a product with an MXFP4 weight, by distribution of the activations",
        setup,
        notes: vec![CLIPPED],
        rows,
        figures: Vec::new(),
    })
}

/// Table 15: error of products by size.
pub(crate) fn sizes(effort: Effort) -> Result<Table> {
    let mut rows = Vec::new();
    for size in [256, 512, 1024, 2048, 4096].into_iter().filter(|size| *size <= effort.size) {
        let weight = weight(15, size, effort.threads)?;
        let gemm = Product::draw(15, Distribution::Normal(0.5), &weight, effort);
        rows.extend(gemm.pair(&size.to_string(), [0.0109, 0.0266], effort.threads)?);
    }
    Ok(Table {
        id: 15,
        title: "relative L2 error of a product with an MXFP4 weight, by size",
        setup: format!("activations N(0,0.5), MXFP4 weight; at most {} rows of each product compared", effort.rows),
        notes: vec![
            "the paper's errors are flat over the sizes; beside ours stands its figure for N(0,0.5) in table 14",
            CLIPPED,
        ],
        rows,
        figures: Vec::new(),
    })
}

/// Table 16: what the bound promises.
pub(crate) fn bounds(effort: Effort) -> Result<Table> {
    let distributions = [
        Distribution::Normal(0.1),
        Distribution::Normal(1.0),
        Distribution::Uniform(1.0),
        Distribution::Uniform(3.0),
        Distribution::Laplace,
        Distribution::StudentT3,
        Distribution::Cauchy,
    ];
    let rows_of = ROWS.min(effort.size);
    let mut rows = Vec::new();
    for distribution in distributions {
        let groups = matrix(distribution, rows_of, 16, effort.threads);
        let reach = parts(effort.threads, groups.len(), |i| {
            groups[i].chunks(BLOCK).map(Reach::of).fold(Reach::default(), Reach::merge)
        });
        let reach = reach.into_iter().fold(Reach::default(), Reach::merge);
        let name = distribution.name();
        rows.push(
            Row::new(format!("{name}: largest error over a/64"), "", 4, reach.largest).paper(1.0, 0).note(AT_MOST),
        );
        let note = matches!(distribution, Distribution::Cauchy).then_some(TINY);
        let clipped = 100.0 * reach.clipped as f64 / reach.count as f64;
        let row = Row::new(format!("{name}: second digits that clip"), "%", 2, clipped);
        rows.push(Row { paper: super::Published::Range(10.8, 13.0, 1), note, ..row });
    }
    Ok(Table {
        id: 16,
        title: "the bound of MXFP4 in two passes",
        setup: format!("{rows_of} x {ROWS} elements in F32, blocks of 32"),
        notes: vec![CLIPS],
        rows,
        figures: Vec::new(),
    })
}

const AT_MOST: &str = "the paper: never above 1";
const TINY: &str = "beside the largest of a block of Cauchy's most elements are so small that the first digit is 0 and \
    the second has room; whether the paper's range covers this distribution is not known to us";
const CLIPS: &str = "the second digit clips where what the first leaves is beyond 1.75 a/16; what is then left is \
    at most a/64, as it is elsewhere";

/// Elements that share a scale.
const BLOCK: usize = 32;

/// How far `mxfp4x2` is off.
#[derive(Clone, Copy, Debug, Default)]
struct Reach {
    /// Largest error over a/64.
    largest: f64,
    clipped: u64,
    count: u64,
}

impl Reach {
    /// Of one block.
    fn of(block: &[f32]) -> Reach {
        let digits = decompose_row(Scheme::Mxfp4x2, block);
        // A step of E1M2 is a quarter, and the second digit's unit is a/16.
        let unit = digits.scale;
        let mut reach = Reach { count: block.len() as u64, ..Reach::default() };
        for (k, x) in block.iter().enumerate() {
            let [first, second] = [0, 1].map(|d| f64::from(digits.digits[d][k]));
            let rest = f64::from(*x) / unit - 16.0 * first;
            reach.largest = reach.largest.max((rest - second).abs());
            reach.clipped += u64::from(rest.abs() > 7.0);
        }
        reach
    }

    fn merge(self, other: Reach) -> Reach {
        Reach {
            largest: self.largest.max(other.largest),
            clipped: self.clipped + other.clipped,
            count: self.count + other.count,
        }
    }
}

/// The errors of rows as MXFP8 with the scales of OCP's rule.
fn clipped(rows: &[&[f32]], threads: usize) -> Result<Errors> {
    let kernel = Kernel::new("kernel f(X: mxfp8[K]) -> f32[K] { dequant(X) }", &Options::new())?;
    let of_row = |row: &[f32]| -> Result<Errors> {
        let x = kernel.quantize_with("X", row, &[row.len()], PowerRule::Ocp)?;
        let value = |k: usize| x.codes().value(k) * x.scale().value(k / BLOCK);
        Ok(Errors::of((0..row.len()).map(value), row.iter().map(|x| f64::from(*x))))
    };
    let all = parts(threads, rows.len(), |i| of_row(rows[i]));
    Ok(all.into_iter().collect::<Result<Vec<_>>>()?.iter().fold(Errors::default(), Errors::merge))
}

/// The errors of rows put together from their digits.
pub(crate) fn errors(scheme: Scheme, rows: &[&[f32]], threads: usize) -> Errors {
    let of_row = |row: &[f32]| Errors::of(restore(scheme, row), row.iter().map(|x| f64::from(*x)));
    let all = parts(threads, rows.len(), |i| of_row(rows[i]));
    all.iter().fold(Errors::default(), Errors::merge)
}

/// A row as its digits have it.
fn restore(scheme: Scheme, row: &[f32]) -> Vec<f64> {
    let group = scheme.block().map_or(row.len(), |block| block as usize);
    let restore_group = |group: &[f32]| {
        let digits = decompose_row(scheme, group);
        let value = |k: usize| {
            let weighted = scheme.weights().iter().zip(&digits.digits).map(|(w, d)| *w as f64 * f64::from(d[k]));
            weighted.sum::<f64>() * digits.scale
        };
        (0..group.len()).map(value).collect::<Vec<f64>>()
    };
    row.chunks(group.max(1)).flat_map(restore_group).collect()
}

/// Rows of [`ROWS`] elements.
fn matrix(distribution: Distribution, rows: usize, table: u64, threads: usize) -> Vec<Vec<f32>> {
    let stream = Stream::new(SEED, table << 32);
    parts(threads, rows, |m| distribution.draws(stream, (m * ROWS) as u64..((m + 1) * ROWS) as u64))
}

/// `X @ dequant(W).T` with square `W`, on a sample of the rows of `X`.
struct Product<'a> {
    size: usize,
    x: Vec<f32>,
    weight: &'a QuantTensor,
    exact: Vec<f64>,
}

const TEXT: &str = "kernel linear(W: mxfp4[N, K], X: f32[M, K]) -> f32[M, N] { X @ dequant(W).T }";

impl<'a> Product<'a> {
    fn draw(table: u64, distribution: Distribution, weight: &'a QuantTensor, effort: Effort) -> Product<'a> {
        let size = weight.shape()[0];
        let kept = sample_indices(size as u64, effort.rows.min(size) as u64);
        let stream = activations(table, size);
        let x: Vec<f32> = kept.iter().flat_map(|m| distribution.draws(stream, span(*m, size))).collect();
        let (codes, scales) = (weight.codes(), weight.scale());
        let channel = |n: usize| {
            (n * size..(n + 1) * size).map(|i| codes.value(i) * scales.value(i / BLOCK)).collect::<Vec<f64>>()
        };
        let exact = product(effort.threads, &x.iter().map(|x| f64::from(*x)).collect::<Vec<_>>(), size, size, channel);
        Product { size, x, weight, exact }
    }

    /// Relative L2 error of the compiled product with activations in digits, rounded before or not.
    fn l2(&self, scheme: Scheme, rounding: Option<Bf16>, threads: usize) -> Result<f64> {
        let x = rounding.map_or_else(|| self.x.clone(), |rounding| rounding.round_all(&self.x));
        let x = Tensor::from(x).reshaped(vec![self.x.len() / self.size, self.size])?;
        let options = Options::new().lowering(Lowering::Msd).scheme(scheme).threads(threads);
        let results = Kernel::new(TEXT, &options)?.call(&[Argument::from(self.weight), Argument::from(&x)])?;
        let values = results.first().map(Tensor::to_f32).unwrap_or_default();
        Ok(Errors::of(values.into_iter().map(f64::from), self.exact.iter().copied()).l2())
    }

    /// Rows for both formats, with activations as the paper has them and as they are.
    fn pair(&self, name: &str, published: [f64; 2], threads: usize) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for (i, (scheme, format)) in PAIR.into_iter().enumerate() {
            let ours = self.l2(scheme, Some(Bf16::Truncated), threads)?;
            let row = Row::new(format!("{name}: {format}, {}", Bf16::Truncated.name()), "", 5, ours);
            rows.push(row.paper(published[i], 4).note(TRUNCATED));
            let ours = self.l2(scheme, None, threads)?;
            rows.push(Row::new(format!("{name}: {format}, F32"), "", 5, ours).note(KEPT));
        }
        Ok(rows)
    }

    fn sampled(&self) -> String {
        format!("{} of {} rows compared with float64", self.x.len() / self.size, self.size)
    }
}

/// Where the activations of a product are drawn from.
fn activations(table: u64, size: usize) -> Stream {
    Stream::new(SEED, (table << 32) | size as u64)
}

/// The draws of a row.
fn span(row: usize, size: usize) -> std::ops::Range<u64> {
    (row * size) as u64..((row + 1) * size) as u64
}

/// A normal weight, quantized channel by channel.
fn weight(table: u64, size: usize, threads: usize) -> Result<QuantTensor> {
    let stream = Stream::new(SEED, (table << 32) | (1 << 16) | size as u64);
    let kernel = Kernel::new(TEXT, &Options::new())?;
    let channels = parts(threads, size, |n| {
        let values = Distribution::Normal(1.0).draws(stream, span(n, size));
        kernel.quantize("W", &values, &[1, size])
    });
    let channels = channels.into_iter().collect::<Result<Vec<_>>>()?;
    let joined = |part: fn(&QuantTensor) -> &Tensor, dtype: DType, columns: usize| {
        let bytes = channels.iter().flat_map(|w| match part(w).data() {
            Data::U8(codes) => codes.as_slice(),
            _ => &[],
        });
        Tensor::new(dtype, vec![size, columns], Data::U8(bytes.copied().collect()))
    };
    let codes = joined(QuantTensor::codes, DType::E2M1, size)?;
    Ok(QuantTensor::new(codes, joined(QuantTensor::scale, DType::E8M0, size / BLOCK)?, None)?)
}
