//! Certificates of products: how far a result can be from the exact product of the dequantized
//! weight, before the final cast, and why (docs/numerics.md, "The certificate"). Owns the sums
//! that make up a bound; what the numbers of a scheme are is [`crate::quant::scheme`]'s to say.

pub mod compose;
mod reach;

use crate::quant::scheme::Scheme;
use crate::rewrite::form::Form;

/// What a bound is relative to, `w` being a column of the dequantized weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// `max|x| * sum|w|`
    Product,
    /// `max|x * s| * sum|q - z|`, `s` being the scale along the contraction that the activations
    /// take over: what is multiplied are `x * s` and the codes.
    Absorbed,
}

impl Measure {
    /// The measure as written.
    pub fn text(self) -> &'static str {
        match self {
            Measure::Product => "max|x| sum|w|",
            Measure::Absorbed => "max|x*s| sum|q-z|",
        }
    }
}

/// One cause of error.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// The cause.
    pub what: String,
    /// Its share of the bound.
    pub error: f64,
}

/// `|y - y*| <= bound * measure`, as long as no intermediate leaves the range of normal F32 numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// The bound.
    pub bound: f64,
    /// What it multiplies.
    pub measure: Measure,
    /// What adds up to it.
    pub terms: Vec<Term>,
}

/// Half a unit in the last place of F32: the relative error of one rounding.
const ROUNDING: f64 = 1.0 / (1u64 << 24) as f64;

/// What the magnitudes of a row's digits, each times its weight, add up to at most, over the row's
/// largest magnitude: the first digit is off by at most 2/9 of it, and the others make up for that,
/// which is 1 + 2 * 2/9 and the error of the whole.
const SPREAD: f64 = 1.5;

/// Relative error of `n` roundings in a row. A rounding of F64 is 2^-53: 2^-28 of the ones of F32
/// that stand beside it, which this counts in.
fn roundings(n: u64) -> f64 {
    let each = ROUNDING * (1.0 + 1.0 / (1u64 << 20) as f64);
    let all = n as f64 * each;
    // (1 + u)^n - 1 <= nu / (1 - nu)
    if all < 1.0 { all / (1.0 - all) } else { f64::INFINITY }
}

impl Certificate {
    fn new(measure: Measure, terms: Vec<Term>) -> Certificate {
        // Adding a handful of positive numbers rounds by less than this.
        let bound = terms.iter().map(|t| t.error).sum::<f64>() * (1.0 + 1.0 / (1u64 << 50) as f64);
        Certificate { bound, measure, terms }
    }

    /// Digits of `scheme` times codes in `form`, over a contraction of `k`. Nothing if a sum of
    /// groups, or products that are rounded, make the bound depend on a `k` that is not known. A zero
    /// point costs nothing: it is part of the exact sum (a float one is, to 2^-53).
    pub fn digits(scheme: Scheme, form: &Form, blocks: bool, k: Option<u64>) -> Option<Certificate> {
        let digits = scheme.bound();
        if form.is_wide_with(scheme) {
            return Some(Certificate::wide(scheme, k?.div_ceil(form.unit?), blocks));
        }
        let is_exact = form.codes.is_exact_with(scheme);
        let mut terms = vec![Term { what: format!("digits of `{}`", scheme.name()), error: digits }];
        let sum = if is_exact { "the exact sum" } else { "the sum of the digits' products" };
        let mut causes = vec![sum.to_string()];
        let mut count = 1;
        if !is_exact {
            let length = form.unit.or(k)?;
            causes.insert(0, format!("{length} multiply-adds along the contraction"));
            count += length;
        }
        match form.unit {
            Some(unit) => {
                let groups = k?.div_ceil(unit);
                causes.push(format!("{groups} multiply-adds of groups"));
                count += groups;
                // The unit of a block is kept over that of its row, in F32.
                if blocks && !scheme.has_power_units() {
                    causes.push("the relative unit of each block".to_string());
                    count += 1;
                }
                if blocks && !form.absorbs {
                    causes.push("its product with the weight's scale".to_string());
                    count += 1;
                }
            }
            None if form.absorbs => {}
            None => {
                causes.push("its product with the weight's scale".to_string());
                count += 1;
            }
        }
        causes.push("that with the row's unit".to_string());
        count += 1;
        let most = if is_exact { 1.0 + digits } else { SPREAD };
        let error = most * roundings(count);
        terms.push(Term { what: format!("{count} roundings of 2^-24: {}", causes.join(", ")), error });
        if form.absorbs {
            let rest: f64 = terms.iter().map(|t| t.error).sum();
            let what = "one rounding of 2^-24 for the product of activations and scale".to_string();
            terms.push(Term { what, error: ROUNDING * (1.0 + rest) });
        }
        let measure = if form.absorbs { Measure::Absorbed } else { Measure::Product };
        Some(Certificate::new(measure, terms))
    }

    /// Exact sums of `groups`, added up in F64.
    fn wide(scheme: Scheme, groups: u64, blocks: bool) -> Certificate {
        let digits = scheme.bound();
        let is_relative = blocks && !scheme.has_power_units();
        let count = 1 + u64::from(is_relative);
        let relative = if is_relative { ", the relative unit of each block" } else { "" };
        // One rounding of 2^-53 for each group, its integer and the row's unit.
        let double = (groups as f64 + 2.0) * ROUNDING / (1u64 << 29) as f64 * 1.001;
        let plural = if count == 1 { "" } else { "s" };
        let what = format!("{count} rounding{plural} of 2^-24: the result{relative}");
        let terms = vec![
            Term { what: format!("digits of `{}`", scheme.name()), error: digits },
            Term { what, error: (1.0 + digits) * roundings(count) },
            Term { what: format!("{groups} multiply-adds of groups in F64"), error: (1.0 + digits) * double },
        ];
        Certificate::new(Measure::Product, terms)
    }

    /// Two stored operands multiplied as they are.
    pub fn native() -> Certificate {
        let what = "3 roundings of 2^-24: the exact sum, its product with each scale".to_string();
        Certificate::new(Measure::Product, vec![Term { what, error: roundings(3) }])
    }

    /// The dequantized weight: `k` multiply-adds in sequence, and one rounding of the scaled result
    /// or of each weight. Or so many in each group, and one more for each group.
    pub fn dequant(k: u64, groups_of: Option<u64>) -> Certificate {
        let (count, causes) = match groups_of {
            None => (k + 1, "the scale, and each multiply-add along the contraction".to_string()),
            Some(length) => {
                let groups = k.div_ceil(length);
                let causes = format!("{length} multiply-adds along a group, {groups} multiply-adds of groups");
                (length + groups, causes)
            }
        };
        let what = format!("{count} roundings of 2^-24: {causes}");
        Certificate::new(Measure::Product, vec![Term { what, error: roundings(count) }])
    }

    /// The same for activations that are rounded once each beforehand.
    pub fn of_rounded_activations(self) -> Certificate {
        let what = "one rounding of 2^-24 for each activation, itself dequantized".to_string();
        let error = ROUNDING * (1.0 + self.bound);
        let mut terms = self.terms;
        terms.push(Term { what, error });
        Certificate::new(self.measure, terms)
    }
}
