//! The vector unit.

use super::*;
use proptest::sample::select;

/// An operand in UB with noise of how it is addressed.
#[derive(Clone, Copy, Debug)]
struct Rows {
    offset: i64,
    /// 0 repeats the first row, 1 is dense, 2 and more leave gaps.
    apart: i64,
    block: i64,
}

impl Rows {
    fn any(offset: i64) -> impl Strategy<Value = Rows> {
        (0..4i64, select(&[0i64, 32, 64])).prop_map(move |(apart, block)| Rows { offset, apart, block })
    }

    /// One that writes each byte once.
    fn written(offset: i64) -> impl Strategy<Value = Rows> {
        (1..4i64, select(&[32i64, 64])).prop_map(move |(apart, block)| Rows {
            offset,
            apart: if block == 64 { apart.max(2) } else { apart },
            block,
        })
    }

    fn row(self) -> Option<i64> {
        match self.apart {
            0 => Some(0),
            1 => None,
            apart => Some(448 + apart * 32),
        }
    }

    fn place(self) -> Place {
        Place { row: self.row(), block: self.block, ..place(Space::Ub, self.offset) }
    }

    /// Bit of element `(i, j)` of `cols`, each of so many bits.
    fn bit(self, bits: i64, cols: i64, i: i64, j: i64) -> i64 {
        let row = self.row().unwrap_or(up(cols * bits, 8) / 8);
        let within = j * bits;
        (self.offset + i * row + within / 256 * self.block) * 8 + within % 256
    }
}

const NUMBERS: [DType; 4] = [DType::F32, DType::F16, DType::I32, DType::I16];
const FLOATS: [DType; 2] = [DType::F32, DType::F16];
const BITS: [DType; 2] = [DType::I32, DType::I16];

/// What is cast: the first to others only.
const CAST: &[DType] = &[
    DType::E8M0,
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::I32,
    DType::I16,
    DType::I8,
    DType::U8,
    DType::I4,
    DType::U4,
    DType::E4M3,
    DType::E5M2,
    DType::E2M1,
    DType::E1M2,
];

/// A function of up to three operands in each kind of number. F16 is computed in F64, where its sums, products,
/// quotients and roots are exact or have so many more bits that rounding again changes nothing.
struct Meaning {
    op: Op,
    types: &'static [DType],
    /// Operands that are read, of `[dst, a, b]`.
    reads: std::ops::Range<usize>,
    single: fn([f32; 3], f32) -> f32,
    double: fn([f64; 3], f64) -> f64,
    integer: fn([i64; 3], i64) -> i64,
}

fn most(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a > b {
        a
    } else {
        b
    }
}

fn fewest(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a < b {
        a
    } else {
        b
    }
}

macro_rules! meanings {
    ($($op:ident $types:ident $reads:expr, |$x:pat_param, $v:pat_param| $float:expr, $integer:expr;)*) => {
        &[$(Meaning {
            op: Op::$op,
            types: &$types,
            reads: $reads,
            single: |$x, $v| { #[allow(unused_imports, reason = "some rows call them")] use single::*; $float as f32 },
            double: |$x, $v| { #[allow(unused_imports, reason = "some rows call them")] use double::*; $float as f64 },
            integer: $integer,
        },)*]
    };
}

/// What rows call on F32.
mod single {
    pub(super) fn greater(a: f32, b: f32) -> f32 {
        super::most(a.into(), b.into()) as f32
    }
    pub(super) fn smaller(a: f32, b: f32) -> f32 {
        super::fewest(a.into(), b.into()) as f32
    }
}

/// What rows call on F64.
mod double {
    pub(super) use super::{fewest as smaller, most as greater};
}

const MEANINGS: &[Meaning] = meanings! {
    Vdup NUMBERS 1..1, |_, v| v, |_, v| v;
    Vcopy NUMBERS 1..2, |[_, a, _], _| a, |[_, a, _], _| a;
    Vabs FLOATS 1..2, |[_, a, _], _| a.abs(), |_, _| 0;
    Vrelu FLOATS 1..2, |[_, a, _], _| greater(a, 0.0), |_, _| 0;
    Vadds NUMBERS 1..2, |[_, a, _], v| a + v, |[_, a, _], v| a + v;
    Vmuls NUMBERS 1..2, |[_, a, _], v| a * v, |[_, a, _], v| a * v;
    Vmaxs NUMBERS 1..2, |[_, a, _], v| greater(a, v), |[_, a, _], v| a.max(v);
    Vmins NUMBERS 1..2, |[_, a, _], v| smaller(a, v), |[_, a, _], v| a.min(v);
    Vshl BITS 1..2, |[_, a, _], _| a, |[_, a, _], bits| a << bits;
    Vshr BITS 1..2, |[_, a, _], _| a, |[_, a, _], bits| a.div_euclid(1 << bits);
    Vsqrt FLOATS 1..2, |[_, a, _], _| a.sqrt(), |_, _| 0;
    Vadd NUMBERS 1..3, |[_, a, b], _| a + b, |[_, a, b], _| a + b;
    Vsub NUMBERS 1..3, |[_, a, b], _| a - b, |[_, a, b], _| a - b;
    Vmul NUMBERS 1..3, |[_, a, b], _| a * b, |[_, a, b], _| a * b;
    Vdiv FLOATS 1..3, |[_, a, b], _| a / b, |_, _| 0;
    Vmax NUMBERS 1..3, |[_, a, b], _| greater(a, b), |[_, a, b], _| a.max(b);
    Vmin NUMBERS 1..3, |[_, a, b], _| smaller(a, b), |[_, a, b], _| a.min(b);
    Vand BITS 1..3, |[_, a, _], _| a, |[_, a, b], _| a & b;
    Vor BITS 1..3, |[_, a, _], _| a, |[_, a, b], _| a | b;
    Vmla FLOATS 0..3, |[d, a, b], _| a.mul_add(b, d), |_, _| 0;
};

/// `a * b + d` of halves, exact in units of 2^-48 and rounded once.
fn fused_half(d: f64, a: f64, b: f64) -> f64 {
    if !(a.is_finite() && b.is_finite() && d.is_finite()) {
        return a * b + d;
    }
    let [a_int, b_int, d_int] = [a, b, d].map(|x| (x * 2f64.powi(24)) as i128);
    let exact: i128 = a_int * b_int + (d_int << 24);
    if exact == 0 {
        // F64 is exact here too, and has the zero's sign.
        return a * b + d;
    }
    // Half has 11 bits, and none below 2^-24.
    let unit = 1i128 << (128 - exact.unsigned_abs().leading_zeros() as i32 - 11).max(24);
    let (below, rest) = (exact.div_euclid(unit), exact.rem_euclid(unit));
    let up = rest * 2 > unit || rest * 2 == unit && below % 2 != 0;
    let rounded = (below + i128::from(up)) as f64 * unit as f64 / 2f64.powi(48);
    // What rounds to zero keeps its sign.
    rounded.copysign(exact as f64)
}

/// Numbers that a generator of noise alone rarely meets: zeros, halves of units, the ends of types.
fn season(memory: &mut Memory, dtype: DType) {
    let some = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 127.0, 128.0, -129.0, 32767.5, 65504.0, 3e9, -3e9, 1e-7];
    for (index, value) in some.iter().cycle().take(4000).enumerate() {
        memory.set_code(dtype, Space::Ub, (index as i64 * 13 % 8192) * width(dtype), encode(dtype, *value));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn elements_become_what_the_table_says(
        meaning in (0..MEANINGS.len()), kind in 0..4usize, rows in 1..8i64, cols in 1..50i64,
        dst in Rows::written(16384), a in Rows::any(0), b in Rows::any(8192), in_place: bool,
        value in -70000f32..70000.0, small: bool,
        seasoned: bool, seed: u64,
    ) {
        let meaning = &MEANINGS[meaning];
        let dtype = meaning.types[kind % meaning.types.len()];
        let a = if in_place { dst } else { a };
        let mut before = Memory::noise(seed, Layout::Zz);
        if seasoned {
            season(&mut before, dtype);
        }
        let value = if small { value / 3e4 } else { value };
        let is_shift = matches!(meaning.op, Op::Vshl | Op::Vshr);
        let said = if is_shift { i64::from(seed as u8 % 32) } else { value.to_bits().into() };
        let places = [dst, a, b].map(Rows::place);
        let after = before.after(&issue(meaning.op, [Some(dtype), None], &places, &[rows, cols, said])).unwrap();
        let as_element = decode(dtype, encode(dtype, value.into()));
        let as_integer = if is_shift { said } else { as_element as i64 };
        let mut expected = before.clone();
        for i in 0..rows {
            for j in 0..cols {
                let mut x = [0.0; 3];
                for read in meaning.reads.clone() {
                    x[read] = before.value(dtype, Space::Ub, [dst, a, b][read].bit(width(dtype), cols, i, j));
                }
                let at = dst.bit(width(dtype), cols, i, j);
                let result = match dtype {
                    DType::F32 => f64::from((meaning.single)(x.map(|x| x as f32), as_element as f32)),
                    DType::F16 if meaning.op == Op::Vmla => fused_half(x[0], x[1], x[2]),
                    DType::F16 => (meaning.double)(x, as_element),
                    _ => {
                        let whole = (meaning.integer)(x.map(|x| x as i64), as_integer);
                        if dtype == DType::I32 { f64::from(whole as i32) } else { f64::from(whole as i16) }
                    }
                };
                expected.expect(&after, dtype, Space::Ub, at, result);
            }
        }
        after.same_as(&expected)?;
    }

    #[test]
    fn exponentials_and_logarithms_are_near(
        op in select(&[Op::Vexp, Op::Vln]), dtype in select(&FLOATS), a in -110f64..100.0, shift in -140..120i32,
    ) {
        let x = if op == Op::Vexp { a } else { a.abs() * 2f64.powi(shift) };
        let mut memory = Memory::noise(1, Layout::Zz);
        memory.set_code(dtype, Space::Ub, 0, encode(dtype, x));
        let x = memory.value(dtype, Space::Ub, 0);
        let places = [place(Space::Ub, 32), place(Space::Ub, 0)];
        let after = memory.after(&issue(op, [Some(dtype), None], &places, &[1, 1])).unwrap();
        let found = after.value(dtype, Space::Ub, 256);
        let exact = if op == Op::Vexp { x.exp() } else { x.ln() };
        // 2 units of F32, which are absolute where it is subnormal; then the rounding of the type.
        let error = (exact.abs() * 2f64.powi(-22)).max(2f64.powi(-148));
        let [low, high] = [exact - error, exact + error].map(|v| decode(dtype, encode(dtype, v)));
        let is_near = exact == found || (low..=high).contains(&found);
        prop_assert!(is_near, "{} of {}: {}, not {}", op.spec().mnemonic, x, found, exact);
    }

    #[test]
    fn types_change(
        // F32 to I32 sees the most of rounding.
        (from, to) in prop_oneof![(select(CAST), select(&CAST[1..])), (Just(DType::F32), Just(DType::I32))],
        round in 0..4i64, rows in 1..5i64, cols in 1..50i64, dst in Rows::written(16384), a in Rows::any(0),
        exponents in select(&[0u32, 0x3F, 0x40, 0x43, 0x4A, 0x4E]), seed: u64,
    ) {
        let mut before = Memory::noise(seed, Layout::Zz);
        if from == DType::F32 && exponents > 0 {
            for byte in (3..1 << 14).step_by(4) {
                let sign = before.bytes(Space::Ub)[byte] & 0x80;
                before.bytes_mut(Space::Ub)[byte] = sign | exponents as u8;
            }
        } else if from != DType::E8M0 {
            season(&mut before, from);
        }
        let places = [dst, a].map(Rows::place);
        let after = before.after(&issue(Op::Vcast, [Some(from), Some(to)], &places, &[rows, cols, round])).unwrap();
        let mut expected = before.clone();
        for i in 0..rows {
            for j in 0..cols + cols * width(to) / 4 % 2 {
                let at = dst.bit(width(to), cols, i, j);
                if j == cols {
                    // The half that is left of a byte.
                    expected.set_code(to, Space::Ub, at, 0);
                    continue;
                }
                let x = before.value(from, Space::Ub, a.bit(width(from), cols, i, j));
                let x = match round {
                    _ if !from.is_float() || to.is_float() => x,
                    0 => x,
                    1 => x.floor(),
                    2 => x.ceil(),
                    _ => x.trunc(),
                };
                let x = if x.is_nan() && to.is_int() { 0.0 } else { x };
                expected.expect(&after, to, Space::Ub, at, x);
            }
        }
        after.same_as(&expected)?;
    }

    #[test]
    fn comparisons_give_bits_and_bits_choose(
        dtype in select(&NUMBERS), condition in 0..6i64, rows in 1..6i64, cols in 1..50i64,
        mask in Rows::written(24576), a in Rows::any(0), b in Rows::any(8192), dst in Rows::written(16384), seed: u64,
    ) {
        let mut before = Memory::noise(seed, Layout::Zz);
        season(&mut before, dtype);
        let places = [mask, a, b].map(Rows::place);
        let compared = before.after(&issue(Op::Vcmp, [Some(dtype), None], &places, &[rows, cols, condition])).unwrap();
        let places = [dst, mask, a, b].map(Rows::place);
        let chosen = compared.after(&issue(Op::Vsel, [Some(dtype), None], &places, &[rows, cols])).unwrap();
        let (mut bits, mut choice) = (before.clone(), compared.clone());
        for i in 0..rows {
            for j in 0..up(cols, 8) {
                let bit = |rows: Rows| rows.bit(width(dtype), cols, i, j);
                let holds = j < cols && {
                    let [x, y] = [a, b].map(|rows| before.value(dtype, Space::Ub, bit(rows)));
                    [x < y, x <= y, x == y, x != y, x >= y, x > y][condition as usize]
                };
                bits.set_bit(Space::Ub, mask.bit(1, cols, i, j), holds.into());
                if j < cols {
                    let code = before.code(dtype, Space::Ub, bit(if holds { a } else { b }));
                    choice.set_code(dtype, Space::Ub, bit(dst), code);
                }
            }
        }
        compared.same_as(&bits)?;
        chosen.same_as(&choice)?;
    }

    #[test]
    fn rows_become_one_element(
        dtype in select(&FLOATS), rows in 1..8i64, cols in 1..70i64, a in Rows::any(0), apart in 0..3i64, tame: bool,
        seed: u64,
    ) {
        let mut before = Memory::noise(seed, Layout::Zz);
        if tame {
            for bit in (0..1 << 16).step_by(width(dtype) as usize) {
                let x = before.value(DType::I16, Space::Ub, bit) / 300.0;
                before.set_code(dtype, Space::Ub, bit, encode(dtype, x));
            }
        }
        let dst = Place { row: (apart > 0).then_some(apart * 32), ..place(Space::Ub, 16384) };
        let types = [Some(dtype), None];
        let greatest = before.after(&issue(Op::Vrmax, types, &[dst, a.place()], &[rows, cols])).unwrap();
        let sums = before.after(&issue(Op::Vrsum, types, &[dst, a.place()], &[rows, cols])).unwrap();
        let (mut of_max, mut of_sum) = (before.clone(), before.clone());
        for i in 0..rows {
            let row: Vec<f64> =
                (0..cols).map(|j| before.value(dtype, Space::Ub, a.bit(width(dtype), cols, i, j))).collect();
            let at = 16384 * 8 + i * dst.row.map_or(width(dtype), |row| row * 8);
            let has_nan = row.iter().any(|x| x.is_nan());
            let most = if has_nan { f64::NAN } else { row.iter().copied().fold(row[0], f64::max) };
            // Of zeros any.
            let found = greatest.value(dtype, Space::Ub, at);
            of_max.expect(&greatest, dtype, Space::Ub, at, if most == found { found } else { most });
            of_sum.expect(&sums, dtype, Space::Ub, at, sum_from(&row, dtype, 0, 1));
        }
        greatest.same_as(&of_max)?;
        sums.same_as(&of_sum)?;
    }

    #[test]
    fn elements_fill_blocks(dtype in select(&NUMBERS), rows in 1..100i64, seed: u64) {
        let before = Memory::noise(seed, Layout::Zz);
        let places = [place(Space::Ub, 64), place(Space::Ub, 16384)];
        let after = before.after(&issue(Op::Vbrcb, [Some(dtype), None], &places, &[rows])).unwrap();
        let mut expected = before.clone();
        for i in 0..rows {
            let code = before.code(dtype, Space::Ub, 16384 * 8 + i * width(dtype));
            (0..c(dtype)).for_each(|j| expected.set_code(dtype, Space::Ub, (64 + i * 32) * 8 + j * width(dtype), code));
        }
        after.same_as(&expected)?;
    }
}

/// The sum of elements `j`, `j + step`, ...: of the two halves with twice the step, until each is one element.
fn sum_from(row: &[f64], dtype: DType, j: usize, step: usize) -> f64 {
    if step >= row.len() {
        return row.get(j).copied().unwrap_or(0.0);
    }
    let (even, odd) = (sum_from(row, dtype, j, step * 2), sum_from(row, dtype, j + step, step * 2));
    decode(dtype, encode(dtype, even + odd))
}

#[test]
fn halves_are_fused_and_rounded_once() {
    let least = 2f64.powi(-24);
    for ([d, a, b], expected) in [
        // Just below the middle of two halves; F32 rounds it to the middle.
        ([2050.0, 1.0 + 2f64.powi(-10), 1.0 - 2f64.powi(-10)], 2050.0_f64),
        // What vanishes keeps its sign, also beside a zero of the other; what cancels does not.
        ([0.0, least, -least], -0.0),
        ([-0.0, least, least], 0.0),
        ([-0.0, 0.0, -1.0], -0.0),
        ([0.0, 0.0, -1.0], 0.0),
        ([1.0, 1.0, -1.0], 0.0),
    ] {
        let mut memory = Memory::noise(1, Layout::Zz);
        let places = [0, 32, 64].map(|offset| place(Space::Ub, offset));
        for (place, value) in places.iter().zip([d, a, b]) {
            memory.set_code(DType::F16, Space::Ub, place.offset * 8, encode(DType::F16, value));
        }
        let after = memory.after(&issue(Op::Vmla, [Some(DType::F16), None], &places, &[1, 1])).unwrap();
        let found = after.value(DType::F16, Space::Ub, 0);
        assert_eq!((found, found.is_sign_negative()), (expected, expected.is_sign_negative()), "{d} + {a} * {b}");
        assert_eq!(fused_half(d, a, b).to_bits(), expected.to_bits(), "{d} + {a} * {b}");
    }
}

/// Above the middle of two BF16, where F32 has the middle, and beside it a float of odd mantissa.
#[test]
fn integers_become_floats_rounded_once() {
    for above in [1, 127] {
        let mut memory = Memory::noise(1, Layout::Zz);
        memory.set_code(DType::I32, Space::Ub, 0, (1 << 30) + (1 << 22) + above);
        let places = [place(Space::Ub, 32), place(Space::Ub, 0)];
        let cast = issue(Op::Vcast, [Some(DType::I32), Some(DType::BF16)], &places, &[1, 1, 0]);
        let found = memory.after(&cast).unwrap().value(DType::BF16, Space::Ub, 256);
        assert_eq!(found, f64::from((1 << 30) + (1 << 23)));
    }
}
