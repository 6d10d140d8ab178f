//! Rows into digits on the vector cores. Owns the same arithmetic as `msd_ir::quant::decompose` in the instructions
//! that there are: F32 and integers of 16 and 32 bits. Units are F32; a row too small for that is scaled by a power
//! of two first.

use msd_ir::diag::Diagnostic;
use msd_ir::dtype::DType;
use msd_ir::graph::Value;
use msd_ir::math::Lanes;
use msd_ir::quant::scheme::{Family, Scheme};

use super::code::{Code, Condition, Reg};
use super::numbers::{Number, stored};
use super::region::{Region, internal};
use super::rows::RowWork;
use super::schedule::Scheduler;
use super::tiles::Fold;
use super::view::View;
use crate::chip::Chip;
use crate::isa::Op;
use crate::program::Purpose;

use DType::{F16, F32, I16, I32};

/// Splits rows by a scheme; the outputs are the digits, most significant first, and the unit.
struct Split {
    scheme: Scheme,
    part: SplitPart,
}

/// What of a split is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SplitPart {
    /// Digits and unit.
    Rows,
    /// The unit alone.
    Units,
    /// Digits of blocks, and their units over those of their rows, which are loaded beside them.
    Blocks,
}

/// What becomes of a row of a certain magnitude, a number for each row.
struct Scales {
    /// The elements are multiplied with these, one after the other.
    factors: Vec<Reg>,
    /// The value of one unit of the weighted sum.
    unit: Reg,
    /// The largest magnitude of elements so multiplied, where the digits depend on it.
    largest: Option<Reg>,
}

impl Scheduler<'_> {
    /// `decompose(x, scheme)`
    pub(crate) fn place_decompose(&mut self, value: Value, scheme: Scheme) -> Result<(), Diagnostic> {
        let operand = self.kernel.node(value).operands[0];
        let (digits, mut outs) = self.digit_places(value, scheme, false)?;
        let unit = self.home(value.sibling(1), Purpose::Activation);
        outs.push(unit.clone());
        let note = format!("{}, {}", self.note(value), scheme.name());
        self.push_rows(operand, &Split { scheme, part: SplitPart::Rows }, &outs, note)?;
        self.set(value, digits);
        self.set(value.sibling(1), unit);
        Ok(())
    }

    /// Digits `[.., D*M, K]` of a value, and the window of each of them `[.., M, K]`; those of blocks `[.., G, D*M, K]`
    /// lie side by side, and their windows are `[.., M, G, K]`.
    fn digit_places(
        &mut self,
        value: Value,
        scheme: Scheme,
        are_blocks: bool,
    ) -> Result<(View, Vec<View>), Diagnostic> {
        let dtype = stored(scheme.digit_dtype(), self.chip);
        let mut shape = self.shape(value).to_vec();
        let mut axes: Vec<usize> = (0..shape.len()).collect();
        let rows = shape.len() - if are_blocks { 3 } else { 2 };
        if are_blocks {
            shape.swap(rows, rows + 1);
            axes.swap(rows, rows + 1);
        }
        let digits = self.tensor("digits", dtype, &shape, Purpose::Activation);
        let count = scheme.weights().len() as i64;
        let mut apart = shape.clone();
        apart[rows] /= count;
        apart.insert(rows, count);
        let split = digits.reshaped(&apart).ok_or_else(|| internal("digits that do not come apart"))?;
        Ok((digits.transposed(&axes), (0..count).map(|digit| split.at(rows, digit)).collect()))
    }

    /// `decompose_blocks(x, scheme, size)`: the units of rows first, then blocks as rows of their own.
    pub(crate) fn place_blocks(&mut self, value: Value, scheme: Scheme, size: i64) -> Result<(), Diagnostic> {
        let operand = self.kernel.node(value).operands[0];
        let note = format!("{}, {}", self.note(value), scheme.name());
        let row_unit = self.home(value.sibling(2), Purpose::Activation);
        let units = Split { scheme, part: SplitPart::Units };
        self.push_rows(operand, &units, std::slice::from_ref(&row_unit), format!("{note}: units of rows"))?;
        let (digits, mut outs) = self.digit_places(value, scheme, true)?;
        let rank = digits.rank();
        let mut axes: Vec<usize> = (0..rank).collect();
        axes.swap(rank - 3, rank - 2);
        let relative = self.home(value.sibling(1), Purpose::Activation);
        outs.push(relative.transposed(&axes));
        let x = self.view(operand)?;
        let mut shape = x.shape.clone();
        let blocks = shape[rank - 2] / size.max(1);
        shape[rank - 2] = blocks;
        shape.push(size);
        let x = match x.reshaped(&shape) {
            Some(x) => x,
            None => {
                let dense = self.dense(&x, note.clone())?;
                dense.reshaped(&shape).ok_or_else(|| internal("rows that do not come apart"))?
            }
        };
        // The unit of its row for each block.
        let mut of_blocks = shape.clone();
        of_blocks[rank - 1] = 1;
        let each = self.tensor("units", F32, &of_blocks, Purpose::Activation);
        let mut wide = row_unit.shape.clone();
        wide.push(1);
        let once = row_unit.reshaped(&wide).ok_or_else(|| internal("units of another shape"))?.stretched(&of_blocks);
        self.push_map(Region::of_view(once), F32, each.clone(), format!("{note}: units of rows for each block"))?;
        let mut region = Region::of_view(x);
        let root = region.root;
        region.leaves.push((root, each.stretched(&shape)));
        self.push_rows_of(region, &Split { scheme, part: SplitPart::Blocks }, &outs, note)?;
        self.set(value, digits);
        self.set(value.sibling(1), relative);
        self.set(value.sibling(2), row_unit);
        Ok(())
    }
}

impl Split {
    fn scales(&self, code: &mut Code, mx: Reg) -> Scales {
        let number = |code: &mut Code, value: f32| code.number(value);
        // Small rows are lifted so that no number below is subnormal, large ones lowered so that no inverse is.
        let (lift, lower) = (number(code, 2f32.powi(64)), number(code, 2f32.powi(-64)));
        let (one, small, large) = (number(code, 1.0), number(code, 2f32.powi(-60)), number(code, 2f32.powi(60)));
        let is_small = code.compare(Condition::Lt, F32, mx, small);
        let is_large = code.compare(Condition::Gt, F32, mx, large);
        let (up, down) = (code.choose(is_small, lift, one), code.choose(is_small, lower, one));
        let (up, down) = (code.choose(is_large, lower, up), code.choose(is_large, lift, down));
        let mx_up = code.mul(mx, up);
        let mut largest = None;
        let (factors, unit) = match self.scheme.family() {
            Family::Pow2 { largest } => {
                let (unit, inverse) = power_unit(code, mx_up, largest as f32);
                (vec![inverse], unit)
            }
            Family::Minifloat { format, limit_128ths, .. } => {
                let (unit, inverse) = power_unit(code, mx_up, limit_128ths as f32);
                let inverse = code.with_number(Op::Vmuls, F32, inverse, 1.0 / 128.0);
                let step = if self.scheme.digit_dtype().is_int() { format.step() } else { 1.0 };
                let first = self.scheme.weights()[0] as f32;
                (vec![inverse], code.with_number(Op::Vmuls, F32, unit, 128.0 * step / first))
            }
            Family::Radix { largest } => {
                let mask = code.int_number(0x7F80_0000);
                let power = code.and(mx_up, mask);
                let inverse = inverse_power(code, power);
                let mn = code.mul(mx_up, inverse);
                let largest = code.number(largest as f32);
                let (ratio, unit) = (code.div(largest, mn), code.div(mn, largest));
                (vec![inverse, ratio], code.mul(unit, power))
            }
            Family::Greedy { largest_hundredths } => {
                let mask = code.int_number(0x7F80_0000);
                let power = code.and(mx_up, mask);
                let inverse = inverse_power(code, power);
                let mn = code.mul(mx_up, inverse);
                largest = Some(mn);
                // The last digit's unit: mn / largest * w / w_0.
                let weights = self.scheme.weights();
                let ratio = 100.0 / (f64::from(largest_hundredths) * weights[0] as f64);
                let unit = code.with_number(Op::Vmuls, F32, mn, ratio as f32);
                (vec![inverse], code.mul(unit, power))
            }
        };
        let unit = code.mul(unit, down);
        // Rows of zeros have some unit, those that are not finite none and no digits.
        let (zero, infinity, nan) = (number(code, 0.0), number(code, f32::INFINITY), number(code, f32::NAN));
        let is_zero = code.compare(Condition::Eq, F32, mx, zero);
        let unit = code.choose(is_zero, one, unit);
        let is_finite = code.compare(Condition::Lt, F32, mx, infinity);
        let unit = code.choose(is_finite, unit, nan);
        let is_plain = |code: &mut Code, factor: Reg| {
            let factor = code.choose(is_zero, zero, factor);
            code.choose(is_finite, factor, zero)
        };
        let mut all = vec![up];
        for factor in factors {
            let factor = is_plain(code, factor);
            all.push(factor);
        }
        Scales { factors: all, unit, largest }
    }

    /// The digits of elements in units of the row, as numbers.
    fn digits(&self, code: &mut Code, t: Reg, chip: &Chip) -> Vec<Reg> {
        let dtype = self.scheme.digit_dtype();
        let home = stored(dtype, chip);
        match self.scheme.family() {
            Family::Minifloat { format, .. } => {
                let weights = self.scheme.weights();
                let mut rest = t;
                let mut digits = Vec::new();
                for (d, weight) in weights.iter().enumerate() {
                    let nearest = code.nearest(rest, format);
                    let digit = if dtype.is_int() {
                        code.with_number(Op::Vmuls, F32, nearest, 1.0 / format.step())
                    } else {
                        nearest
                    };
                    let digit = code.narrowed(Number::Float(digit), home, chip);
                    digits.push(code.fresh(digit));
                    if let Some(next) = weights.get(d + 1) {
                        let left = code.sub(rest, nearest);
                        rest = code.with_number(Op::Vmuls, F32, left, (weight / next) as f32);
                    }
                }
                digits
            }
            family => {
                let largest = match family {
                    Family::Pow2 { largest } | Family::Radix { largest } => largest as f32,
                    _ => 0.0,
                };
                let least = if self.scheme.is_unsigned() { 0.0 } else { -largest };
                // A ratio may be rounded up, a power of two is as it is.
                let t = match family {
                    Family::Radix { .. } => {
                        let t = code.with_number(Op::Vmins, F32, t, largest);
                        code.with_number(Op::Vmaxs, F32, t, least)
                    }
                    _ => t,
                };
                let wide = largest >= 32767.0 - 128.0 + 1.0;
                let dtype = if wide { I32 } else { I16 };
                let whole = code.cast(F32, dtype, t);
                self.split(code, whole, dtype, home)
            }
        }
    }

    /// Digits each of which rounds what those before it left over, of elements whose largest magnitude is `mn`. With
    /// `e` what is left over in units in which `mn` is `largest_hundredths`, a digit is `e * (w / w') / (100 mn)`,
    /// rounded; what F32 rounds wrong shows in what is left over then, and is put right by one. (The definition is in
    /// F64: where it has a tie by its own rounding, a digit here may be another.)
    fn greedy(&self, code: &mut Code, t: Reg, mn: Reg, chip: &Chip) -> Vec<Reg> {
        let Family::Greedy { largest_hundredths } = self.scheme.family() else { return Vec::new() };
        let weights = self.scheme.weights();
        let (mut rest, mut divisor) = (
            code.with_number(Op::Vmuls, F32, t, largest_hundredths as f32),
            code.with_number(Op::Vmuls, F32, mn, 100.0),
        );
        let mut digits = Vec::new();
        for d in 0..weights.len() {
            if d > 0 {
                // Of integers where the ratio is none.
                let is_whole = weights[d - 1] % weights[d] == 0;
                let (times, over) =
                    if is_whole { (weights[d - 1] / weights[d], 1) } else { (weights[d - 1], weights[d]) };
                rest = code.with_number(Op::Vmuls, F32, rest, times as f32);
                divisor = code.with_number(Op::Vmuls, F32, divisor, over as f32);
            }
            // A row of zeros has digits of 0.
            let (zero, one) = (code.number(0.0), code.number(1.0));
            let is_zero = code.compare(Condition::Eq, F32, divisor, zero);
            let safe = code.choose(is_zero, one, divisor);
            let inverse = code.div(one, safe);
            let digit = code.mul(rest, inverse);
            let digit = code.cast(F32, I32, digit);
            let digit = code.cast(I32, F32, digit);
            let left = code.without(rest, digit, divisor);
            let half = code.with_number(Op::Vmuls, F32, divisor, 0.5);
            let negative_half = code.with_number(Op::Vmuls, F32, divisor, -0.5);
            let minus_one = code.number(-1.0);
            let is_above = code.compare(Condition::Gt, F32, left, half);
            let is_below = code.compare(Condition::Lt, F32, left, negative_half);
            let by = code.choose(is_above, one, zero);
            let by = code.choose(is_below, minus_one, by);
            let digit = code.add(digit, by);
            let digit = code.with_number(Op::Vmins, F32, digit, 127.0);
            let digit = code.with_number(Op::Vmaxs, F32, digit, -127.0);
            rest = code.without(rest, digit, divisor);
            let stored = code.narrowed(Number::Float(digit), DType::I8, chip);
            digits.push(code.fresh(stored));
        }
        digits
    }

    /// Integers of `dtype` as balanced digits.
    fn split(&self, code: &mut Code, whole: Reg, dtype: DType, home: DType) -> Vec<Reg> {
        let count = self.scheme.weights().len();
        let bits = self.scheme.digit_dtype().bits() as u8;
        let half = if self.scheme.is_unsigned() { 0.0 } else { (1 << (bits - 1)) as f32 };
        let mut rest = whole;
        let mut digits = Vec::new();
        for _ in 1..count {
            let raised = code.with_number(Op::Vadds, dtype, rest, half);
            let next = code.shift(Op::Vshr, dtype, raised, bits);
            let high = code.shift(Op::Vshl, dtype, next, bits);
            digits.push(code.binary(Op::Vsub, dtype, rest, high));
            rest = next;
        }
        digits.push(rest);
        digits.reverse();
        let narrow = |digit: Reg| {
            if home == dtype {
                return code.fresh(digit);
            }
            let half = match dtype {
                I16 => code.cast(I16, F16, digit),
                _ => {
                    let float = code.cast(I32, F32, digit);
                    if home == I16 {
                        return code.cast(F32, I16, float);
                    }
                    code.cast(F32, F16, float)
                }
            };
            code.cast(F16, home, half)
        };
        digits.into_iter().map(narrow).collect()
    }
}

impl Code {
    /// `rest - digit * divisor`, rounded once.
    fn without(&mut self, rest: Reg, digit: Reg, divisor: Reg) -> Reg {
        let negated = self.with_number(Op::Vmuls, F32, digit, -1.0);
        self.fma(negated, divisor, rest)
    }
}

/// The least power of two that is not below `mx / largest`, and its inverse. The quotient is at least one place of
/// F32 above a power of two wherever it is above it, so that its rounding changes nothing.
fn power_unit(code: &mut Code, mx: Reg, largest: f32) -> (Reg, Reg) {
    let largest = code.number(largest);
    let quotient = code.div(mx, largest);
    let (up, mask) = (code.int_number(0x7F_FFFF), code.int_number(0x7F80_0000));
    let raised = code.iadd(quotient, up);
    let unit = code.and(raised, mask);
    (unit, inverse_power(code, unit))
}

/// `1 / x` of a power of two: its exponent taken off twice the bias.
fn inverse_power(code: &mut Code, power: Reg) -> Reg {
    let twice = code.int_number(254 << 23);
    code.isub(twice, power)
}

impl RowWork for Split {
    fn stats(&self) -> usize {
        1
    }

    fn stat(&self, code: &mut Code, x: Number, _: &[Reg]) -> (Reg, Fold) {
        let x = code.as_float(x);
        (code.unary(Op::Vabs, F32, x), Fold::Max)
    }

    fn finish(&self, code: &mut Code, x: &[Number], stats: &[Reg], outs: &[View], chip: &Chip) -> Vec<(Reg, View)> {
        let Scales { mut factors, mut unit, largest } = self.scales(code, stats[0]);
        if self.part == SplitPart::Units {
            return vec![(code.fresh(unit), outs[0].clone())];
        }
        if let (SplitPart::Blocks, Some(whole)) = (self.part, x.get(1)) {
            // What belongs to a row that is not finite is nothing, and so is a block of zeros.
            let whole = code.as_float(*whole);
            let zero = code.number(0.0);
            let is_number = code.eq(whole, whole);
            for factor in &mut factors {
                *factor = code.choose(is_number, *factor, zero);
            }
            let relative = code.div(unit, whole);
            let is_zero = code.compare(Condition::Eq, F32, stats[0], zero);
            let relative = code.choose(is_zero, zero, relative);
            unit = code.choose(is_number, relative, zero);
        }
        let mut t = code.as_float(x[0]);
        for factor in factors {
            t = code.mul(t, factor);
        }
        let digits = match largest {
            Some(mn) => self.greedy(code, t, mn, chip),
            None => self.digits(code, t, chip),
        };
        let unit = code.fresh(unit);
        digits.into_iter().chain([unit]).zip(outs.iter().cloned()).collect()
    }

    fn of_nothing(&self) -> Vec<f32> {
        vec![0.0]
    }
}
