//! The hand-written GEMMs: their values against plain loops, exactly; no finding and no race; their cycles
//! against the published timings. The page on the model shows what is checked here.

mod page;

use std::borrow::Cow;

use msd_ascend::chip::Chip;
use msd_ascend::isa::memory::{Core, Pipe};
use msd_ascend::program::Program;
use msd_ascend::{race, text, timing, values, verify};
use msd_ir::dtype::DType;
use msd_ir::tensor::Tensor;
use page::check_page;

const F16: &str = include_str!("../../kernels/npu/gemm_f16.npu");
const BF16: &str = include_str!("../../kernels/npu/gemm_bf16.npu");
const I8: &str = include_str!("../../kernels/npu/gemm_i8.npu");
const I4: &str = include_str!("../../kernels/npu/gemm_i4.npu");
const MXFP8: &str = include_str!("../../kernels/npu/gemm_mxfp8.npu");
const MXFP4: &str = include_str!("../../kernels/npu/gemm_mxfp4.npu");
const DIGITS: &str = include_str!("../../kernels/npu/msd_w8.npu");
const DEQUANT: &str = include_str!("../../kernels/npu/dequant_w8.npu");

fn program(source: &str, sizes: [i64; 3]) -> Program {
    let mut program = text::parse(source).expect("a stream of ours");
    for (name, size) in ["M", "N", "K"].into_iter().zip(sizes) {
        assert!(program.set(name, size));
    }
    program
}

/// Every tensor that is read, filled with numbers of its type.
fn inputs(program: &Program, sizes: &[usize]) -> Vec<Option<Cow<'static, Tensor>>> {
    let mut state = 7u64;
    let mut next = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as i64
    };
    let tensors = program.tensors.iter().zip(sizes);
    let fill = tensors.map(|(tensor, size)| {
        let n = *size;
        let made = match tensor.dtype {
            _ if n == 0 => return None,
            DType::I8 => Tensor::from_codes(DType::I8, vec![n], (0..n).map(|_| next() % 256 - 128)),
            DType::I4 => Tensor::from_codes(DType::I4, vec![n], (0..n).map(|_| next() % 16 - 8)),
            // Scales from 2^-7 to 2^8.
            DType::E8M0 => Tensor::from_codes(DType::E8M0, vec![n], (0..n).map(|_| 120 + next() % 16)),
            // All codes but NaN.
            DType::E4M3 => Tensor::from_codes(DType::E4M3, vec![n], (0..n).map(|_| next() % 127 + 128 * (next() % 2))),
            DType::E2M1 => Tensor::from_codes(DType::E2M1, vec![n], (0..n).map(|_| next() % 16)),
            dtype => {
                let values: Vec<f32> = (0..n).map(|_| (next() % 4001 - 2000) as f32 / 1000.0).collect();
                Tensor::from_f32(dtype, vec![n], &values)
            }
        };
        Some(Cow::Owned(made.expect("values of their type")))
    });
    fill.collect()
}

fn clean(program: &Program, chip: &Chip) {
    assert_eq!(verify::verify(program, chip), Ok(()));
    assert_eq!(race::find(program, chip), Ok(()));
}

/// Shapes with tails in every direction, and one of whole tiles.
const SHAPES: [[i64; 3]; 4] = [[1, 15, 32], [130, 270, 576], [17, 300, 1088], [256, 512, 256]];

#[test]
fn values_of_gemms_are_those_of_plain_loops() {
    let old = Chip::named("ascend-910b").expect("it comes along");
    for (source, exact) in [(I8, true), (I4, true), (F16, false), (BF16, false)] {
        for [m, n, k] in SHAPES {
            let program = program(source, [m, n, k]);
            clean(&program, &old);
            let (m, n, k) = (m as usize, n as usize, k as usize);
            let inputs = inputs(&program, &[m * k, n * k, 0]);
            let results = values::run(&program, &old, &inputs).expect("it runs");
            let (a, b, c) = (&results[0], &results[1], &results[2]);
            for i in 0..m {
                for j in 0..n {
                    let got = c.value(i * n + j);
                    let wanted = match exact {
                        true => (0..k).map(|x| (a.value(i * k + x) * b.value(j * k + x)) as i64).sum::<i64>() as f64,
                        false => (0..k)
                            .fold(0f32, |sum, x| (a.value(i * k + x) as f32).mul_add(b.value(j * k + x) as f32, sum))
                            as f64,
                    };
                    assert_eq!(got, wanted, "{} {m} {n} {k}: row {i}, column {j}", program.name);
                }
            }
        }
    }
}

#[test]
fn values_of_block_scaled_gemms() {
    let new = Chip::named("ascend-950").expect("it comes along");
    for source in [MXFP8, MXFP4] {
        for [m, n, k] in SHAPES {
            let program = program(source, [m, n, k]);
            clean(&program, &new);
            let (m, n, k) = (m as usize, n as usize, k as usize);
            let inputs = inputs(&program, &[m * k, m * k / 32, n * k, n * k / 32, 0]);
            let results = values::run(&program, &new, &inputs).expect("it runs");
            let [a, sa, b, sb, c] = &results[..] else { unreachable!("five tensors") };
            for i in 0..m {
                for j in 0..n {
                    let sum = (0..k / 32).fold(0f32, |sum, block| {
                        let of = |x: usize| a.value(i * k + x) * b.value(j * k + x);
                        let exact: f64 = (block * 32..block * 32 + 32).map(of).sum();
                        let scale = sa.value(i * (k / 32) + block) * sb.value(j * (k / 32) + block);
                        (f64::from(sum) + exact * scale) as f32
                    });
                    let wanted = half::bf16::from_f32(sum).to_f64();
                    assert_eq!(c.value(i * n + j), wanted, "{} {m} {n} {k}: row {i}, column {j}", program.name);
                }
            }
        }
    }
}

#[test]
fn values_of_a_weight_dequantized_through_a_workspace() {
    let old = Chip::named("ascend-910b").expect("it comes along");
    for [m, n, k] in [[5, 300, 576], [16, 64, 32], [16, 3200, 96]] {
        let program = program(DEQUANT, [m, n, k]);
        clean(&program, &old);
        let (m, n, k) = (m as usize, n as usize, k as usize);
        let inputs = inputs(&program, &[m * k, n * k, n, 0, 0]);
        let results = values::run(&program, &old, &inputs).expect("it runs");
        let [x, w, s, _, y] = &results[..] else { unreachable!("five tensors") };
        for i in 0..m {
            for j in 0..n {
                let sum = (0..k).fold(0f32, |sum, l| {
                    let weight = half::bf16::from_f32(w.value(j * k + l) as f32 * s.value(j) as f32).to_f32();
                    (x.value(i * k + l) as f32).mul_add(weight, sum)
                });
                assert_eq!(y.value(i * n + j) as f32, sum, "{m} {n} {k}: row {i}, column {j}");
            }
        }
    }
}

#[test]
fn values_of_a_weight_multiplied_as_stored() {
    let old = Chip::named("ascend-910b").expect("it comes along");
    for [m, n, k] in [[1, 300, 544], [5, 40, 4096], [16, 1600, 96]] {
        let program = program(DIGITS, [m, n, k]);
        clean(&program, &old);
        let (m, n, k) = (m as usize, n as usize, k as usize);
        let inputs = inputs(&program, &[m * k, n * k, n, 0, 0, 0, 0]);
        let results = values::run(&program, &old, &inputs).expect("it runs");
        let [x, w, s, .., y] = &results[..] else { unreachable!("seven tensors") };
        for i in 0..m {
            let row: Vec<f64> = (0..k).map(|l| x.value(i * k + l)).collect();
            let largest = row.iter().fold(0f64, |most, v| most.max(v.abs()));
            let unit = (largest / 32639.0).log2().ceil().exp2();
            let digits = row.iter().map(|v| (v / unit).round_ties_even() as i64);
            let digits: Vec<[i64; 2]> = digits.map(|n| [(n + 128) >> 8, n - 256 * ((n + 128) >> 8)]).collect();
            for j in 0..n {
                let sum = |d: usize| (0..k).map(|l| digits[l][d] * w.value(j * k + l) as i64).sum::<i64>() as f32;
                let wanted = (256.0 * sum(0) + sum(1)) * s.value(j) as f32 * unit as f32;
                assert_eq!(y.value(i * n + j) as f32, wanted, "{m} {n} {k}: row {i}, column {j}");
            }
        }
    }
}

/// Published timings, launch excluded: milliseconds and the part of the time in which the cube worked.
const PUBLISHED: [(&str, &str, i64, f64, f64); 4] = [
    (F16, "ascend-910b", 1536, 0.0388, 0.545),
    (F16, "ascend-910b", 6144, 1.506, 0.867),
    (MXFP8, "ascend-950", 2048, 0.0383, 0.58),
    (MXFP8, "ascend-950", 6144, 0.602, 0.92),
];

#[test]
fn cycles_agree_with_published_timings() {
    let mut table =
        String::from("| program | chip | size | published | modelled | | cube busy, published | modelled |\n");
    table += "|---|---|---|---|---|---|---|---|\n";
    for (source, chip, size, published, busy) in PUBLISHED {
        let chip = Chip::named(chip).expect("it comes along");
        let program = program(source, [size; 3]);
        let report = timing::cycles(&program, &chip).expect("it runs");
        let (modelled, works) = (report.microseconds / 1e3, report.busy(Core::Cube, Pipe::M).expect("cubes ran"));
        let error = modelled / published - 1.0;
        assert!(error.abs() <= 0.12, "{} {size}: {modelled:.4} ms against {published} ms", program.name);
        assert!((works - busy).abs() <= 0.05, "{} {size}: cube busy {works:.3} against {busy}", program.name);
        table += &format!(
            "| `{}` | {} | {size}^3 | {published} ms | {modelled:.4} ms | {:+.1} % | {:.1} % | {:.1} % |\n",
            program.name,
            chip.name,
            error * 100.0,
            busy * 100.0,
            works * 100.0
        );
    }
    check_page("points", &table);
}

#[test]
fn the_page_shows_the_stream_and_the_chips_that_are_checked() {
    check_page("chips", &msd_ascend::reference::chips());
    check_page("stream", &format!("```\n{F16}```\n"));
}
