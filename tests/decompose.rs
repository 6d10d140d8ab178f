//! Digits from machine code: every BF16 bit pattern under several row maxima, every scheme, every
//! instruction set of this machine, equal to the reference evaluator bit for bit. (That the
//! evaluator keeps the certified bounds is tested where it lives, in msd-ir.)
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use msd::ir::dtype::DType;
use msd::ir::input::Input;
use msd::ir::quant::scheme::Scheme;
use msd::ir::tensor::{Data, Tensor};
use msd::jit::isa::Level;
use msd::{Argument, Options, Source};

/// Largest magnitudes of the rows: one, an odd mantissa, the largest finite, the least normal, and
/// subnormals down to the last.
const MAXIMA: [u16; 7] = [0x3F80, 0x3FC5, 0x7F7F, 0x0080, 0x007F, 0x0002, 0x0001];

/// All patterns of magnitude at most `largest`, both signs, in an order that mixes magnitudes.
fn row(largest: u16, width: usize) -> Vec<u16> {
    let patterns: Vec<u16> = (0..=largest).flat_map(|m| [m, m | 0x8000]).collect();
    (0..width).map(|i| patterns[i * 7919 % patterns.len().max(1)]).chain([largest]).collect()
}

#[test]
fn every_bf16_splits_as_the_evaluator_says() {
    let width = 2 * 0x7F80;
    let mut rows: Vec<u16> = MAXIMA.iter().flat_map(|m| row(*m, width)).collect();
    // A row of zeros, and rows that an infinity and a NaN spoil.
    rows.extend(vec![0x8000; width + 1]);
    for spoiler in [0xFF80, 0x7FC0] {
        rows.extend((0..width).map(|i| (i % 0x7F80) as u16).chain([spoiler]));
    }
    let count = MAXIMA.len() + 3;
    let x = Input::from(Tensor::new(DType::BF16, vec![count, width + 1], Data::U16(rows)).unwrap());
    for scheme in Scheme::ALL {
        let digits = scheme.weights().len();
        let text = format!(
            "kernel f(X: bf16[M, K]) -> (i32[{digits}*M, K], f32[M, 1], f32[M, 1]) {{
                let (d, g) = msd.decompose(X, \"{}\");
                (d, cast(g, f32), cast(g * 1e30 * 1e20, f32))
            }}",
            scheme.name()
        );
        let checked = Source::new("decompose.msd", text).check().unwrap();
        let kernel = checked.kernel(None).unwrap();
        for level in Level::ALL.iter().copied().filter(|l| l.is_available()) {
            let options = Options { level, threads: 2, ..Options::default() };
            let rewritten = checked.rewrite(kernel, &Default::default(), &options).unwrap();
            let expected = rewritten.evaluate(std::slice::from_ref(&x)).unwrap();
            let found = rewritten.compile(&options).unwrap().call(&[Argument::from(&x)]).unwrap();
            for (part, (e, f)) in expected.iter().zip(&found).enumerate() {
                let bits = |t: &Tensor| t.to_f32().into_iter().map(f32::to_bits).collect::<Vec<_>>();
                let (e, f) = (bits(e), bits(f));
                let differs = (0..e.len()).find(|i| e[*i] != f[*i]);
                assert_eq!(differs, None, "{} {level:?}: result {part}", scheme.name());
            }
        }
    }
}
