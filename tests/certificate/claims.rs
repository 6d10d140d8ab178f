//! What the plan claims of each product, against the checker's own derivation: never below it, and
//! not sloppily above.

use msd::Rewritten;
use msd::ir::certificate::Measure;
use msd::ir::graph::{Kernel, Lowering};
use msd::ir::plan::Request;
use msd::ir::quant::decompose::decompose_row;
use msd::ir::quant::scheme::Scheme;

use super::checker::{derive, digit_error, digit_sum};
use super::{files, kernels, rewritten, sizes};

/// Where scales and zero points stand, each with a contraction of 256.
pub(crate) const PLACEMENTS: &[&str] = &[
    "i8[N, K] scale f32[1]",
    "i8[N, K] scale f32[N]",
    "i8[N, K] scale bf16[K]",
    "i8[N, K] scale f32[N, K/32]",
    "i4[N, K] scale f16[N/128, K/128]",
    "u8[N, K] scale f32[N] zero u8[N]",
    "u8[N, K] scale f32[N] zero f32[N]",
    "u8[N, K] scale f32[1] zero i32[1]",
    "i8[N, K] scale f32[N] zero i8[K]",
    "u4[N, K] scale f16[N, K/128] zero u4[N, K/128]",
    "u4[N, K] scale f32[N, K/64] zero f16[N, K/128]",
    "u4[N, K] scale f32[N] zero u4[N, K/32]",
    "i8[N, K] scale f32[K] zero i8[N]",
    "u4[N, K] scale f32[K] zero u4[N, K/32]",
    "u8[N, K] scale f32[K] zero u8[K]",
    "i8[N, K] scale f32[N, K]",
    "mxfp4[N, K]",
    "e1m2[N, K] scale e8m0[N, K/32]",
    "e2m1[N, K] scale e4m3[N, K/16]",
    "e2m1[N, K] scale f32[N]",
    "e1m2[N, K] scale e8m0[K]",
    "i8[N, K] scale e8m0[N, K/32]",
    "u8[N, K] scale e8m0[N, K/32] zero u8[N, K/32]",
    "i8[N, K] scale e8m0[N]",
    "mxfp8[N, K]",
    "e4m3[N, K] scale f32[N]",
    "e4m3[N, K] scale f32[K]",
    "e5m2[N, K] scale f32[N/128, K/128]",
    "e4m3[N, K] scale e8m0[N, K]",
];

/// Every request worth telling apart.
pub(crate) fn requests() -> impl Iterator<Item = Request> {
    let of = |lowering, scheme, block| Request {
        lowering: Some(lowering),
        scheme: Some(scheme),
        block,
        ..Request::default()
    };
    let split = Scheme::ALL.iter().flat_map(move |s| [None, Some(32)].map(|b| of(Lowering::Msd, *s, b)));
    split.chain([of(Lowering::Dequant, Scheme::Int8x1, None)])
}

fn check(file: &str, kernel: &Kernel) -> usize {
    let sizes = sizes(kernel);
    let mut count = 0;
    for request in requests() {
        let Some(rewritten) = rewritten(kernel, &sizes, &request) else { continue };
        count += check_plan(&rewritten).unwrap_or_else(|e| panic!("{file}: {e}\n{request:?}\n{}", rewritten.kernel));
    }
    count
}

fn check_plan(rewritten: &Rewritten) -> Result<usize, String> {
    let derived = derive(&rewritten.kernel, &rewritten.sizes);
    let sites = &rewritten.plan.sites;
    if derived.len() != sites.len() {
        return Err(format!("{} products planned, {} found: {derived:?}", sites.len(), derived.len()));
    }
    for (site, derived) in sites.iter().zip(&derived) {
        let claimed = site.certificate.as_ref().ok_or("no certificate")?;
        let (bound, own) = (claimed.bound, derived.bound);
        let same = site.weight == derived.weight && (claimed.measure == Measure::Absorbed) == derived.absorbed;
        let terms: f64 = claimed.terms.iter().map(|t| t.error).sum();
        if !same || (terms / bound - 1.0).abs() > 1e-12 {
            return Err(format!("{claimed:?} is claimed of `{}`, found is {derived:?}", site.weight));
        }
        // The claim rounds up, the derivation to nearest.
        if bound < own * (1.0 - 1e-12) || bound > 1.5 * own {
            return Err(format!("claimed of `{}` is {bound:e}, derived {own:e}", site.weight));
        }
    }
    Ok(sites.len())
}

#[test]
fn of_every_file() {
    let count: usize = files().iter().map(|(file, kernel)| check(file, kernel)).sum();
    assert!(count > 500, "{count} products were checked");
}

/// The type with its codes, and parts of their rank, stored the other way round.
fn swapped(placement: &str) -> String {
    let swap = |shape: &str| match shape.split_once(", ") {
        Some((n, k)) => format!("{k}, {n}"),
        None => shape.to_string(),
    };
    let parts = placement.split_inclusive(']').map(|part| match part.trim_end_matches(']').split_once('[') {
        Some((head, shape)) => format!("{head}[{}]", swap(shape)),
        None => part.to_string(),
    });
    parts.collect()
}

#[test]
fn of_every_placement() {
    for placement in PLACEMENTS {
        let columns = swapped(placement);
        let texts = [
            format!("kernel rows(W: {placement}, X: f32[M, K]) -> f32[M, N] {{ X @ dequant(W).T }}"),
            format!("kernel left(W: {placement}, X: bf16[K, M]) -> f32[N, M] {{ 2 * dequant(W) @ X }}"),
            format!("kernel positive(W: {placement}, X: f16[M, K]) -> f32[M, N] {{ exp(X) @ dequant(W).T }}"),
            format!(
                "kernel stored(W: {placement}, X: i8[M, K] scale f32[M, K]) -> f32[M, N] {{
                    dequant(X) @ dequant(W).T
                }}"
            ),
            format!(
                "kernel native(W: {placement}, X: i8[M, K] scale f32[M]) -> f32[M, N] {{ dequant(X) @ dequant(W).T }}"
            ),
            format!("kernel columns(W: {columns}, X: f32[M, K]) -> f32[M, N] {{ X @ dequant(W) }}"),
        ];
        for text in &texts {
            check(text, &kernels(text)[0]);
        }
    }
}

/// The checker's tables of schemes are right: digits are found that are off by as much, and none by
/// more, nor any that add up to more.
#[test]
fn of_digits() {
    for scheme in Scheme::ALL {
        let limit = digit_error(*scheme);
        let mut worst: f64 = 0.0;
        // Largest magnitudes on both sides of where a power-of-two unit doubles.
        let switches = [32639.0f32 / 16384.0, 8355711.0 / 4194304.0, 1.859375, 1.75, 2.25, 2.3125, 272.0, 264.5];
        for largest in switches.into_iter().flat_map(|s| [s, s.next_up()]).chain([1.0, 1.000001, 1.5, 1.99999]) {
            let steps = 40_000;
            let row: Vec<f32> = (0..=steps).map(|i| largest * (i as f32 / steps as f32)).collect();
            let digits = decompose_row(*scheme, &row);
            for (k, x) in row.iter().enumerate() {
                let n: f64 = scheme.weights().iter().zip(&digits.digits).map(|(w, d)| *w as f64 * d[k] as f64).sum();
                worst = worst.max((*x as f64 - digits.scale * n).abs() / largest as f64);
                let all: f64 =
                    scheme.weights().iter().zip(&digits.digits).map(|(w, d)| *w as f64 * d[k].abs() as f64).sum();
                let sum = digits.scale * all / largest as f64;
                assert!(sum <= digit_sum(*scheme), "{}: digits of {x} add up to {sum}", scheme.name());
            }
        }
        let ratio = worst / limit;
        // F32 itself is not much finer than three digits.
        let least = if limit > 1e-6 { 0.9 } else { 0.4 };
        assert!(ratio <= 1.0 + 1e-6 && ratio > least, "{}: {ratio} of {limit:e}", scheme.name());
    }
}
