//! What the NPU's model says of compiled kernels: published timings, decode layers in both lowerings, where
//! dequantizing becomes cheaper, and how near the closed form is. The tables of docs/npu-model.md are written here.

#[path = "../msd-ascend/tests/page/mod.rs"]
mod page;

use std::fmt::Write as _;

use msd::ascend::chip::Chip;
use msd::ascend::isa::memory::{Core, Pipe};
use msd::ascend::program::Purpose;
use msd::ascend::timing::Report;
use msd::ir::dim::Sizes;
use msd::{Lowering, Npu, NpuVariant, Options, Source};
use page::check_page;

const GATE_UP: &str = "kernel f(G: i8[N, K] scale f32[N], U: i8[N, K] scale f32[N], X: bf16[M, K]) -> bf16[M, N] {
    silu(X @ dequant(G).T) * (X @ dequant(U).T) }";
const LINEAR: &str = include_str!("../kernels/linear.msd");
const GEMM: &str = "kernel gemm(A: f16[M, K], B: f16[N, K]) -> f32[M, N] { A @ B.T }";
const MXFP8: &str = "kernel gemm(A: mxfp8[M, K], B: mxfp8[N, K]) -> bf16[M, N] { dequant(A) @ dequant(B).T }";

fn lowered(text: &str, chip: &Chip, [m, n, k]: [u64; 3], lowering: Lowering, variant: NpuVariant) -> Npu {
    let checked = Source::new("test.msd", text).check().expect("a kernel");
    let sizes: Sizes = [("M", m), ("N", n), ("K", k)].map(|(name, size)| (name.into(), size)).into();
    let kernel = checked.kernel(None).expect("the only one");
    let options = Options::new().lowering(lowering);
    Npu::new(kernel, &sizes, chip, &options, variant).expect("it is lowered")
}

fn cycles(npu: &Npu) -> Report {
    npu.cycles().expect("a stream of ours runs")
}

fn chip(name: &str) -> Chip {
    Chip::named(name).expect("a chip of ours")
}

/// The most that a pipe of a core is busy with.
fn binding(report: &Report) -> (Core, Pipe, f64) {
    let kinds = [Core::Cube, Core::Vector].into_iter().flat_map(|core| Pipe::ALL.map(|pipe| (core, pipe)));
    let busy = kinds.filter_map(|(core, pipe)| report.busy(core, pipe).map(|busy| (core, pipe, busy)));
    busy.max_by(|a, b| a.2.total_cmp(&b.2)).expect("something ran")
}

/// Bytes of HBM and of L2 that move for each of `weight` elements of a weight, itself or dequantized.
fn of_weight(report: &Report, weight: f64) -> [f64; 2] {
    let mut sum = [0, 0];
    for (purpose, moved) in &report.traffic {
        if matches!(purpose, Purpose::Weight | Purpose::Workspace) {
            sum[0] += moved.hbm_read + moved.hbm_write;
            sum[1] += moved.l2_read + moved.l2_write;
        }
    }
    sum.map(|bytes| bytes as f64 / weight)
}

#[test]
fn compiled_gemms_come_near_the_published_timings() {
    let mut table =
        "| kernel | chip | size | published | modelled | | cube busy, published | modelled | closed form |\n\
                     |---|---|---|---|---|---|---|---|---|\n"
            .to_string();
    for (name, text, chip_name, size, published, busy) in [
        ("FP16", GEMM, "ascend-910b", 1536, 0.0388, 0.545),
        ("FP16", GEMM, "ascend-910b", 6144, 1.506, 0.867),
        ("MXFP8", MXFP8, "ascend-950", 2048, 0.0383, 0.58),
        ("MXFP8", MXFP8, "ascend-950", 6144, 0.602, 0.92),
    ] {
        let npu = lowered(text, &chip(chip_name), [size; 3], Lowering::Auto, NpuVariant::default());
        assert_eq!(npu.lowering(), "plain");
        let report = cycles(&npu);
        let modelled = report.microseconds / 1e3;
        let error = modelled / published - 1.0;
        assert!(error.abs() <= 0.12, "{name} {size}: {modelled} ms");
        let form = npu.model().cycles / report.cycles as f64 - 1.0;
        assert!(form.abs() <= 0.15, "{name} {size}: closed form {form}");
        let _ = writeln!(
            table,
            "| {name} | {chip_name} | {size}^3 | {published} ms | {modelled:.4} ms | {:+.1} % \
             | {:.1} % | {:.1} % | {:+.1} % |",
            error * 100.0,
            busy * 100.0,
            report.busy(Core::Cube, Pipe::M).unwrap_or(0.0) * 100.0,
            form * 100.0,
        );
    }
    check_page("compiled", &table);
}

#[test]
fn decode_layers_in_both_lowerings() {
    let chip = chip("ascend-910b");
    let bandwidth = (*chip.rates.hbm_per_core * *chip.cores.cube) as f64;
    let variants = [
        NpuVariant::default(),
        NpuVariant { hoisted: true, ..Default::default() },
        NpuVariant { hoisted: true, f16: true, ..Default::default() },
        NpuVariant { hoisted: true, f16: true, l2: true, ..Default::default() },
    ];
    let mut table = "| N x K | M | `msd` | of HBM's bandwidth | behind the start \
                     | `dequant` | hoisted | hoisted, f16 | hoisted, f16, l2 |\n\
                     |---|---|---|---|---|---|---|---|---|\n"
        .to_string();
    for [n, k] in [[14336, 4096], [4096, 14336]] {
        for m in [1, 4, 16] {
            let msd = lowered(LINEAR, &chip, [m, n, k], Lowering::Msd, NpuVariant::default());
            assert_eq!(msd.lowering(), "msd");
            let report = cycles(&msd);
            let weight = (n * k) as f64;
            let [hbm, l2] = of_weight(&report, weight);
            assert!((0.99..1.01).contains(&hbm) && l2 < 0.01, "{hbm} {l2} bytes a weight");
            let total = report.total();
            let bytes = (total.hbm_read + total.hbm_write) as f64;
            let used = bytes / bandwidth / report.cycles as f64;
            let behind = bytes / bandwidth / (report.cycles - chip.kernel_start()) as f64;
            assert!(used >= 0.8 && behind > 0.92, "{n} x {k}, M = {m}: {used}, {behind}");
            let mut row =
                format!("| {n} x {k} | {m} | {} | {:.1} % | {:.1} % |", report.cycles, used * 100.0, behind * 100.0);
            for variant in variants {
                let dequant = cycles(&lowered(LINEAR, &chip, [m, n, k], Lowering::Dequant, variant));
                let ratio = dequant.cycles as f64 / report.cycles as f64;
                assert!(ratio > 1.0, "{n} x {k}, M = {m}, {variant:?}: {ratio}");
                if variant == NpuVariant::default() {
                    let [hbm, l2] = of_weight(&dequant, weight);
                    assert!((hbm + l2 - 5.0).abs() < 0.05, "{hbm} and {l2} bytes a weight");
                }
                let _ = write!(row, " {} ({ratio:.2}x) |", dequant.cycles);
            }
            table += &(row + "\n");
        }
    }
    check_page("decode", &table);
}

#[test]
fn where_dequantizing_becomes_cheaper() {
    let mut table = "| chip | M | `msd` | closed form | binds | `dequant` | closed form | binds | chosen |\n\
                     |---|---|---|---|---|---|---|---|---|\n"
        .to_string();
    for name in ["ascend-910b", "ascend-950"] {
        let chip = chip(name);
        let (mut simulated, mut predicted) = (None, None);
        let sizes = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096];
        for (step, m) in sizes.into_iter().enumerate() {
            let mut row = format!("| {name} | {m} |");
            let mut both = Vec::new();
            for lowering in [Lowering::Msd, Lowering::Dequant] {
                let npu = lowered(LINEAR, &chip, [m, 4096, 4096], lowering, NpuVariant::default());
                let report = cycles(&npu);
                let form = npu.model().cycles / report.cycles as f64 - 1.0;
                let (core, pipe, busy) = binding(&report);
                if name == "ascend-950" && m == 16 {
                    // One byte of HBM, with parts of lines, and nothing written: it never lies dequantized in GM.
                    let [hbm, l2] = of_weight(&report, 4096.0 * 4096.0);
                    assert!((1.0..1.01).contains(&hbm) && l2 < 1.0, "{lowering}: {hbm} {l2}");
                }
                // Of the rest, several pipes have a part.
                assert!(busy < 0.7 || form.abs() <= 0.15, "{name}, M = {m}, {lowering}: {form}");
                let of = if core == Core::Cube { "" } else { " of vector cores" };
                let _ = write!(
                    row,
                    " {} | {:+.0} % | {}{of} {:.0} % |",
                    report.cycles,
                    form * 100.0,
                    pipe.lane(),
                    busy * 100.0
                );
                both.push((report.cycles as f64, npu.model().cycles));
            }
            if both[1].0 < both[0].0 {
                simulated.get_or_insert(step);
            }
            let auto = lowered(LINEAR, &chip, [m, 4096, 4096], Lowering::Auto, NpuVariant::default());
            let by_model = if both[1].1 < both[0].1 { "dequant" } else { "msd" };
            assert_eq!(auto.lowering(), by_model);
            if by_model == "dequant" {
                predicted.get_or_insert(step);
            }
            let _ = writeln!(table, "{row} {by_model} |");
        }
        let (simulated, predicted) = (simulated.expect("it does"), predicted.expect("it is said to"));
        assert!(simulated.abs_diff(predicted) <= 1, "{name}: {} against {}", sizes[simulated], sizes[predicted]);
    }
    check_page("crossover", &table);
}

/// Two weights under one activation function: what vector cores make is counted for each of them once.
#[test]
fn two_weights_in_both_lowerings() {
    for name in ["ascend-910b", "ascend-950"] {
        // What is dequantized of the second is more than L2 holds.
        for (m, n) in [(16, 4096), (128, 4096), (512, 4096), (16, 14336), (64, 14336), (256, 14336)] {
            for lowering in [Lowering::Msd, Lowering::Dequant] {
                let npu = lowered(GATE_UP, &chip(name), [m, n, 4096], lowering, NpuVariant::default());
                let report = cycles(&npu);
                let form = npu.model().cycles / report.cycles as f64 - 1.0;
                assert!(form.abs() <= 0.15, "{name}, M = {m}, N = {n}, {lowering}: {form}");
                let again = report.traffic[Purpose::Workspace as usize].1.hbm_read;
                assert_eq!(again, 0, "{name}, M = {m}, N = {n}, {lowering}: L2 holds it until it is read");
            }
        }
    }
}

/// Formats that are not multiplied as they are stored, or whose groups have scales.
#[test]
fn other_formats_in_both_lowerings() {
    let mut table = "| weight | M | ascend-910b `msd` | `dequant` | chosen | ascend-950 `msd` | `dequant` | chosen |\n\
                     |---|---|---|---|---|---|---|---|\n"
        .to_string();
    for (name, weight) in [
        ("INT8, groups of 128", "i8[N, K] scale f16[N, K/128]"),
        ("UINT8 with zero points", "u8[N, K] scale f16[N] zero u8[N]"),
        ("INT4", "i4[N, K] scale f16[N]"),
        ("INT4, groups of 128", "i4[N, K] scale f16[N, K/128]"),
        ("UINT4, groups of 128 with zero points", "u4[N, K] scale f16[N, K/128] zero u4[N, K/128]"),
        ("FP8", "e4m3[N, K] scale f32[N]"),
        ("MXFP4", "mxfp4[N, K]"),
    ] {
        let text = format!("kernel k(W: {weight}, X: bf16[M, K]) -> bf16[M, N] {{ X @ dequant(W).T }}");
        for m in [1, 16, 128] {
            let mut row = format!("| {name} | {m} |");
            for chip_name in ["ascend-910b", "ascend-950"] {
                let chip = chip(chip_name);
                let run = |lowering: Lowering| {
                    let npu = lowered(&text, &chip, [m, 4096, 4096], lowering, NpuVariant::default());
                    (cycles(&npu).cycles as f64, npu.lowering())
                };
                let [msd, dequant] = [Lowering::Msd, Lowering::Dequant].map(|lowering| run(lowering).0);
                let (auto, chosen) = run(Lowering::Auto);
                let _ = write!(row, " {msd} | {dequant} | {chosen} |");
                // The closed form need not know which of two is cheaper if they are alike.
                assert!(auto <= 1.15 * msd.min(dequant), "{name}, M = {m}, {chip_name}: {msd}, {dequant}, {chosen}");
            }
            table += &(row + "\n");
        }
    }
    check_page("formats", &table);
}
