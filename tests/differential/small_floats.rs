//! The same of weights and digits that are small floats: codes of FP4, FP8 and integers, scales of
//! every type, groups and blocks as models have them, digits of every scheme, also where they do not
//! fit. What is checked of each case is [`super::linear`]'s.

use msd::ir::dtype::DType;
use msd::ir::graph::Lowering;
use msd::ir::plan::Request;
use msd::ir::quant::scheme::{Family, Scheme};

use super::SIZES;
use super::case::{Case, Epilogue, MAX_MACS, Orientation};
use super::linear::shard;
use super::oracle::draw::Draw;

/// Codes, type of the scale and size of its groups, as the formats of that name have them: MXFP4, the
/// same of E1M2, NVFP4, MXFP8 of both kinds, MXINT8.
const NAMED: &[(&str, &str, usize)] = &[
    ("e2m1", "e8m0", 32),
    ("e1m2", "e8m0", 32),
    ("e2m1", "e4m3", 16),
    ("e4m3", "e8m0", 32),
    ("e5m2", "e8m0", 32),
    ("i8", "e8m0", 32),
];

/// A rule or guard that no case reaches is not tested.
const WANTED: &[&str] = &[
    "digit-split",
    "fold-zero",
    "split-groups",
    "absorb-scale",
    "post-scale",
    "stopped scale-placement",
    "stopped plan",
    "stopped slice",
    "orient-left",
    "hoist-scalar",
    "hoist-add",
    "hoist-concat",
    "hoist-vector",
    "e2m1 by i8, added up in F64",
    "e1m2 by i8, added up in F64",
    "i8 by i8, added up in F64",
    "e2m1 by i8",
    "e1m2 by i8",
    "e4m3 by i8",
    "e5m2 by i8",
    "e4m3 by e4m3",
    "e5m2 by e4m3",
    "e2m1 by e4m3",
    "e1m2 by e4m3",
    "i8 by e4m3",
    "u4 by e4m3",
    "refused: needs activations that are never negative",
    "refused: has blocks of 32, which do not fit the contraction or its groups",
    "refused: has products that are rounded before a zero point could be taken off",
];

pub(crate) fn draw(draw: &mut Draw) -> Case {
    let orientation = *draw.pick(&[Orientation::Rows, Orientation::Columns, Orientation::Left]);
    let epilogue = Epilogue::draw(draw);
    let all = ["e2m1", "e1m2", "e4m3", "e5m2", "i8", "u8", "i4", "u4"];
    let (codes, scale, group) = match draw.below(3) {
        0 => *draw.pick(NAMED),
        _ => (*draw.pick(&all), *draw.pick(&["e8m0", "f32", "f16", "bf16", "e4m3"]), *draw.pick(&[16, 32, 64, 128])),
    };
    let (sizes, rows) = sizes(draw, group, epilogue.halves());
    let floats: Vec<Scheme> = Scheme::ALL.iter().copied().filter(|s| is_float(*s)).collect();
    let scheme = if draw.below(3) > 0 { *draw.pick(&floats) } else { *draw.pick(Scheme::ALL) };
    let lowering = *draw.pick(&[Lowering::Msd, Lowering::Msd, Lowering::Msd, Lowering::Auto, Lowering::Dequant]);
    let request = Request {
        lowering: Some(if draw.below(2) == 0 { Lowering::Msd } else { lowering }),
        scheme: (draw.below(5) > 0).then_some(scheme),
        block: (draw.below(6) == 0).then_some(group as u64),
        ..Request::default()
    };
    let mut case = Case {
        orientation,
        epilogue,
        batch: (draw.below(5) == 0).then(|| 1 + draw.below(3)),
        is_batched: draw.below(3) == 0,
        codes,
        scale: (scale, String::new()),
        zero: None,
        x: *draw.pick(&[DType::BF16, DType::F16, DType::F32]),
        positive: draw.below(6) == 0,
        result: draw.pick::<&str>(&["f32", "f32", "f32", "bf16", "f16"]),
        request,
        sizes,
        is_fixed: draw.below(3) > 0,
        span: *draw.pick(&[0, 0, 16, 24, 64]),
    };
    case.scale.1 = part(&case, draw, group, rows);
    if all[4..].contains(&codes) && draw.below(3) == 0 {
        case.zero = Some(format!("{}{}", draw.pick(&[codes, codes, "f32"]), part(&case, draw, group, rows)));
    }
    case
}

fn is_float(scheme: Scheme) -> bool {
    matches!(scheme.family(), Family::Minifloat { .. })
}

/// Sizes of M, N and K, and the height of a block of scales.
fn sizes(draw: &mut Draw, group: usize, halves: bool) -> ([usize; 3], usize) {
    let (style, rows) = (draw.below(4), *draw.pick(&[16, 32, 64, 128]));
    loop {
        let mut one = || if draw.below(40) == 0 { 0 } else { *draw.pick(SIZES) };
        let [m, n, k] = [one(), one(), one()];
        let sizes = match style {
            0 => [m, n, k],
            1 => [m, n, group * draw.below(5)],
            2 => [m, rows * (1 + draw.below(3)), group * (1 + draw.below(3))],
            _ => [m, 4 * (1 + n % 12), 32.max(group) * (1 + draw.below(3))],
        };
        let sizes = if halves { [sizes[0], sizes[1] / 2 * 2, sizes[2] / 2 * 2] } else { sizes };
        if sizes.iter().product::<usize>() <= MAX_MACS {
            return (sizes, rows);
        }
    }
}

/// Where a scale or zero point varies.
fn part(case: &Case, draw: &mut Draw, group: usize, rows: usize) -> String {
    let [_, n, k] = case.sizes;
    let whole = case.batch.is_some() && case.is_batched;
    let pair = |n: &str, k: &str, batch: &str| {
        let (first, second) = if case.orientation == Orientation::Columns { (k, n) } else { (n, k) };
        if whole { format!("[{batch}, {first}, {second}]") } else { format!("[{first}, {second}]") }
    };
    let groups = format!("K/{group}");
    match draw.below(14) {
        0 => "[1]".to_string(),
        1 => "[K]".to_string(),
        2..8 if k % group == 0 => pair("N", &groups, "H"),
        8..12 if k % group == 0 && n % rows == 0 => pair(&format!("N/{rows}"), &groups, "1"),
        12 if k % group == 0 => format!("[{groups}]"),
        13 if draw.below(2) == 0 => pair("N", "K", "H"),
        _ if whole && draw.below(2) == 0 => "[H, N]".to_string(),
        _ => "[N]".to_string(),
    }
}

#[test]
fn small_floats_first() {
    shard(4, draw, WANTED);
}

#[test]
fn small_floats_second() {
    shard(5, draw, WANTED);
}
