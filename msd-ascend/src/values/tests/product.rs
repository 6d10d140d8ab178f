//! Products, and the way of their sums out of L0C.

use super::*;
use proptest::sample::select;

/// How wild the elements are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Noise {
    /// All codes, NaN and infinities among them.
    Any,
    /// Only finite ones, of whatever exponent.
    Finite,
    /// Finite ones whose exponents are moderate.
    Tame,
    /// Numbers whose products F32 has barely or barely not, by their least bits.
    Tiny,
    /// The same by their greatest bits.
    Huge,
}

/// Replaces elements that are wilder than asked for.
fn tame(memory: &mut Memory, dtype: DType, space: Space, noise: Noise) {
    if noise == Noise::Any {
        return;
    }
    for bit in (0..(memory.bytes(space).len() * 8) as i64).step_by(width(dtype) as usize) {
        // BF16's exponent is F32's; 127 is that of 1.
        let exponent = match (noise, dtype) {
            (Noise::Tiny, DType::BF16) => Some(50..70),
            (Noise::Tiny, DType::F32) => Some(0..8),
            (Noise::Huge, DType::BF16) => Some(180..196),
            (Noise::Huge, DType::F32) => Some(250..255),
            _ => None,
        };
        if let Some(range) = exponent {
            let code = memory.code(dtype, space, bit);
            let exponent = range.start + code % range.len() as u32;
            let (sign, mantissa) = (code >> (dtype.bits() - 1), code & ((1 << (dtype.bits() - 9)) - 1));
            let code = sign << (dtype.bits() - 1) | exponent << (dtype.bits() - 9) | mantissa;
            memory.set_code(dtype, space, bit, code);
            continue;
        }
        let value = memory.value(dtype, space, bit).abs();
        let is_fine = value.is_finite() && (noise != Noise::Tame || value == 0.0 || (1e-9..1e9).contains(&value));
        if !is_fine {
            memory.set_code(dtype, space, bit, encode(dtype, 0.75));
        }
    }
}

fn operands() -> [Place; 5] {
    [(Space::L0c, 1024), (Space::L0a, 512), (Space::L0b, 512), (Space::L0as, 32), (Space::L0bs, 64)]
        .map(|(space, offset)| place(space, offset))
}

/// Factors at `(i, t)` and `(t, j)`, and where the sum is.
fn factors(
    memory: &Memory,
    [of_a, of_b]: [DType; 2],
    (m, k, n): (i64, i64, i64),
    (i, t, j): (i64, i64, i64),
) -> (f64, f64) {
    let a = memory.value(of_a, Space::L0a, 4096 + l0a(memory.l0a, of_a, (m, k), i, t));
    (a, memory.value(of_b, Space::L0b, 4096 + l0b(of_b, n, t, j)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn floats_are_summed_fused_and_in_order(
        dtype in select(&[DType::F16, DType::BF16, DType::E4M3, DType::E5M2, DType::E2M1, DType::E1M2]),
        extents in (1..40i64, 1..100i64, 1..40i64), layout in select(&[Layout::Zz, Layout::Nz]), init: bool,
        noise in select(&[Noise::Any, Noise::Finite, Noise::Tame, Noise::Tiny, Noise::Huge]), seed: u64,
    ) {
        let (m, k, n) = extents;
        let mut before = Memory::noise(seed, layout);
        tame(&mut before, dtype, Space::L0a, noise);
        tame(&mut before, dtype, Space::L0b, noise);
        tame(&mut before, DType::F32, Space::L0c, noise);
        let after = before.after(&issue(Op::Mmad, [Some(dtype), None], &operands(), &[m, k, n, init.into()])).unwrap();
        let mut expected = before.clone();
        for i in 0..m {
            for j in 0..n {
                let at = 8192 + l0c(m, i, j);
                let mut sum = if init { 0.0 } else { before.value(DType::F32, Space::L0c, at) as f32 };
                for t in 0..k {
                    let (a, b) = factors(&before, [dtype, dtype], extents, (i, t, j));
                    sum = (a as f32).mul_add(b as f32, sum);
                }
                expected.expect(&after, DType::F32, Space::L0c, at, sum.into());
            }
        }
        after.same_as(&expected)?;
    }

    #[test]
    fn integers_are_summed_exactly_or_refused(
        dtype in select(&[DType::I8, DType::I4]), extents in (1..20i64, 1..100i64, 1..40i64),
        layout in select(&[Layout::Zz, Layout::Nz]), init: bool, full: bool, seed: u64,
    ) {
        let (m, k, n) = extents;
        let mut before = Memory::noise(seed, layout);
        for bit in (0..1 << 18).step_by(32).filter(|_| !full) {
            let quarter = before.value(DType::I32, Space::L0c, bit) / 4.0;
            before.set_code(DType::I32, Space::L0c, bit, encode(DType::I32, quarter));
        }
        let result = before.after(&issue(Op::Mmad, [Some(dtype), None], &operands(), &[m, k, n, init.into()]));
        let (mut expected, mut beyond) = (before.clone(), Vec::new());
        for i in 0..m {
            for j in 0..n {
                let at = 8192 + l0c(m, i, j);
                let mut sum = if init { 0 } else { before.value(DType::I32, Space::L0c, at) as i64 };
                for t in 0..k {
                    let (a, b) = factors(&before, [dtype, dtype], extents, (i, t, j));
                    sum += a as i64 * b as i64;
                }
                match i32::try_from(sum) {
                    Ok(sum) => expected.set_code(DType::I32, Space::L0c, at, sum as u32),
                    Err(_) => beyond.push(format!("the sum of row {i}, column {j} leaves 32 bits")),
                }
            }
        }
        match result {
            Ok(after) => {
                prop_assert!(beyond.is_empty());
                after.same_as(&expected)?;
            }
            Err(Fault::Range(why)) => prop_assert!(beyond.contains(&why), "{}", why),
            Err(fault) => prop_assert!(false, "{:?}", fault),
        }
    }

    #[test]
    fn blocks_are_summed_exactly_and_scaled(
        types in select(&[DType::E4M3, DType::E5M2, DType::E2M1, DType::E1M2]).prop_flat_map(|a| {
            let others = [DType::E4M3, DType::E5M2, DType::E2M1, DType::E1M2].map(|b| [a, b]);
            select(others.into_iter().filter(|[a, b]| a.bits() == b.bits()).collect::<Vec<_>>())
        }),
        extents in (1..20i64, 1..200i64, 1..40i64), layout in select(&[Layout::Zz, Layout::Nz]), init: bool, any: bool,
        wild: bool, seed: u64,
    ) {
        let (m, k, n) = extents;
        let mut before = Memory::noise(seed, layout);
        for (dtype, space) in [(types[0], Space::L0a), (types[1], Space::L0b), (DType::F32, Space::L0c)] {
            tame(&mut before, dtype, space, if any { Noise::Any } else { Noise::Finite });
        }
        for space in [Space::L0as, Space::L0bs] {
            before.bytes_mut(space).iter_mut().filter(|_| !wild).for_each(|code| *code = *code % 32 + 111);
        }
        let types_of = types.map(Some);
        let after = before.after(&issue(Op::MmadMx, types_of, &operands(), &[m, k, n, init.into()])).unwrap();
        let mut expected = before.clone();
        let blocks = (k + 31) / 32;
        for i in 0..m {
            for j in 0..n {
                let at = 8192 + l0c(m, i, j);
                let mut sum = if init { 0.0 } else { before.value(DType::F32, Space::L0c, at) as f32 };
                for block in 0..blocks {
                    let steps = block * 32..k.min(block * 32 + 32);
                    let exact = exact_sum(steps.map(|t| factors(&before, types, extents, (i, t, j))));
                    let a = before.value(DType::E8M0, Space::L0as, (32 + i * blocks + block) * 8);
                    let b = before.value(DType::E8M0, Space::L0bs, (64 + j * blocks + block) * 8);
                    sum = (f64::from(sum) + exact * a * b) as f32;
                }
                expected.expect(&after, DType::F32, Space::L0c, at, sum.into());
            }
        }
        after.same_as(&expected)?;
    }

    #[test]
    fn sums_leave_scaled_and_rounded(
        types in select(&[
            (DType::F32, DType::F32), (DType::F32, DType::F16), (DType::F32, DType::BF16), (DType::F32, DType::I8),
            (DType::I32, DType::I32), (DType::I32, DType::F16), (DType::I32, DType::F32), (DType::I32, DType::I8),
        ]),
        m in 1..40i64, n in 1..50i64, more in 0..3i64, above in 0..3i64,
        space in select(&[Space::Gm, Space::L1, Space::Ub]), add: bool, relu: bool, by_column: bool,
        scale in select(&[1.0f32, -0.37, 3e-5, 1.0009, 12345.678, 0.0]), seed: u64,
    ) {
        let mut before = Memory::noise(seed, Layout::Zz);
        tame(&mut before, DType::F32, Space::L1, Noise::Tame);
        // Sums of I32 with what is there must fit.
        for bit in (0..1 << 18).step_by(32).filter(|_| types.1 == DType::I32) {
            for space in [space, Space::L0c] {
                let some = before.value(DType::I32, space, bit) / 2e7;
                before.set_code(DType::I32, space, bit, encode(DType::I32, some));
            }
        }
        let scales_at = 1 << 14;
        for j in 0..n {
            let some = if types.1 == DType::I32 { scale } else { f32::from_bits(j as u32 * 0x1E_EF00 + 0x3F00_0001) };
            before.set_code(DType::F32, Space::L1, scales_at * 8 + j * 32, some.to_bits());
        }
        let ld = match space {
            Space::L1 if more > 0 => up(m, 16) + more * 16,
            Space::Gm if more > 0 => n + more,
            _ => 0,
        };
        let row = (space == Space::Ub && more > 0).then_some(256 + more * 32);
        let dst = Place { row, ..place(space, if space == Space::Gm { 5 } else { 64 }) };
        let height = if above == 0 { 0 } else { up(m, 16) + above * 16 };
        let places = [dst, place(Space::L0c, 1024), place(Space::L1, scales_at)];
        let (op, numbers) = match by_column {
            true => (Op::FixColumns, vec![m, n, ld, add.into(), relu.into(), height]),
            false => (Op::Fix, vec![m, n, ld, add.into(), relu.into(), height, scale.to_bits().into()]),
        };
        let after = before.after(&issue(op, [Some(types.0), Some(types.1)], &places, &numbers)).unwrap();
        let mut expected = before.clone();
        for i in 0..m {
            for j in 0..n {
                let by = before.value(DType::F32, Space::L1, scales_at * 8 + j * 32) as f32;
                let by = if by_column { by } else { scale };
                let value = drained(&before, types, (m.max(height), i, j), by, relu);
                let at = match space {
                    Space::Gm => (5 + i * if ld == 0 { n } else { ld } + j) * width(types.1),
                    Space::Ub => (64 + i * row.unwrap_or(up(n * width(types.1) / 8, 32))) * 8 + j * width(types.1),
                    _ => 64 * 8 + nz(types.1, if ld == 0 { up(m, 16) } else { ld }, i, j),
                };
                let there = if add { before.value(types.1, space, at) } else { 0.0 };
                let rounded = decode(types.1, encode(types.1, value));
                expected.expect(&after, types.1, space, at, if add { there + rounded } else { value });
            }
        }
        after.same_as(&expected)?;
    }
}

/// The sum of products as F64 has it if it were exact before: in units of 2^-32, of which every product of small floats
/// is a multiple.
fn exact_sum(factors: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let products = factors.map(|(a, b)| a * b);
    if products.clone().any(|p| !p.is_finite()) {
        return products.sum();
    }
    products.map(|p| (p * 2f64.powi(32)) as i128).sum::<i128>() as f64 / 2f64.powi(32)
}

/// What leaves L0C at `(i, j)`, before it is rounded to its type.
fn drained(memory: &Memory, (from, to): (DType, DType), (m, i, j): (i64, i64, i64), scale: f32, relu: bool) -> f64 {
    let sum = memory.value(from, Space::L0c, 8192 + l0c(m, i, j));
    // 11 bits with the leading one; no scale of the test is subnormal.
    let unit = if scale == 0.0 { 1.0 } else { 2f64.powi(f64::from(scale.abs()).log2().floor() as i32 - 10) };
    let scale = (f64::from(scale) / unit).trunc() * unit;
    let value = match (from, to) {
        (DType::I32, DType::I32) if scale == 1.0 => sum,
        _ => f64::from(sum as f32 * scale as f32),
    };
    match to {
        _ if relu && value <= 0.0 => 0.0,
        DType::I8 | DType::I32 if value.is_nan() => 0.0,
        _ => value,
    }
}

/// More steps than F32 adds up exactly, of the largest products.
#[test]
fn the_longest_sums_are_exact() {
    for (dtype, code, k) in [(DType::I8, 0x80, 480), (DType::I8, 0x7F, 1999), (DType::I4, 0x88, 4095)] {
        let mut memory = Memory::noise(1, Layout::Nz);
        memory.bytes_mut(Space::L0a).fill(code);
        memory.bytes_mut(Space::L0b).fill(code);
        let each = decode(dtype, u32::from(code) & ((1 << dtype.bits()) - 1)) as i64;
        let places = [place(Space::L0c, 0), place(Space::L0a, 0), place(Space::L0b, 0)];
        let after = memory.after(&issue(Op::Mmad, [Some(dtype), None], &places, &[1, k, 1, 1]));
        assert_eq!(after.unwrap().value(DType::I32, Space::L0c, 0) as i64, each * each * k);
    }
}

/// The largest products cancel, and leave the smallest one.
#[test]
fn sums_of_a_block_lose_nothing() {
    for (dtype, largest, smallest) in [(DType::E5M2, 57344.0, 2f64.powi(-16)), (DType::E4M3, 448.0, 2f64.powi(-9))] {
        let mut memory = Memory::noise(1, Layout::Nz);
        for (t, factor) in [largest, smallest, -largest].into_iter().enumerate() {
            let at = t as i64 * 8;
            memory.set_code(dtype, Space::L0a, 4096 + at, encode(dtype, factor));
            memory.set_code(dtype, Space::L0b, 4096 + at, encode(dtype, factor.abs()));
        }
        memory.bytes_mut(Space::L0as)[32] = 127;
        memory.bytes_mut(Space::L0bs)[64] = 128;
        let after = memory.after(&issue(Op::MmadMx, [Some(dtype); 2], &operands(), &[1, 3, 1, 1])).unwrap();
        assert_eq!(after.value(DType::F32, Space::L0c, 8192), 2.0 * smallest * smallest);
    }
}

/// An odd I32 that F32 lacks passes through, unless it is scaled.
#[test]
fn integers_pass_unchanged() {
    let mut memory = Memory::noise(1, Layout::Zz);
    memory.set_code(DType::I32, Space::L0c, 0, 0x7FFF_FFF1);
    let places = [place(Space::Gm, 0), place(Space::L0c, 0)];
    let fix = |scale: f32| {
        let numbers = [1, 1, 0, 0, 0, 0, scale.to_bits().into()];
        let after = memory.after(&issue(Op::Fix, [Some(DType::I32), Some(DType::I32)], &places, &numbers)).unwrap();
        after.value(DType::I32, Space::Gm, 0) as i32
    };
    assert_eq!((fix(1.0), fix(0.5), fix(-2.0)), (0x7FFF_FFF1, 0x4000_0000, i32::MIN));
}
