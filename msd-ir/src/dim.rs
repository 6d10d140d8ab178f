//! Symbolic sizes: polynomials with rational coefficients over dimension names, in a canonical
//! form so that equal expressions are equal values. Owns arithmetic, printing and evaluation;
//! which names exist and where they come from is the builder's business.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Most terms an expression may have; products beyond it are refused, not computed.
const MAX_TERMS: usize = 32;
/// Most factors a term may have.
const MAX_DEGREE: usize = 16;

/// What a term multiplies: a name, or a quotient that no polynomial expresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Factor {
    Name(Arc<str>),
    Quotient(Arc<(Dim, Dim)>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Term {
    /// Sorted, repeated for powers; empty for the constant term.
    factors: Vec<Factor>,
    /// Lowest terms, denominator positive, never zero.
    numerator: i64,
    denominator: i64,
}

/// A size: `K`, `4096`, `K/128`, `2*M + 1`, ...
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dim {
    /// Sorted by factors, no two alike; empty for zero. Quotients that cancel are not shown
    /// here; the kernel keeps them (see [`crate::graph::Kernel::quotients`]).
    terms: Vec<Term>,
}

/// Sizes of dimension names.
pub type Sizes = BTreeMap<Arc<str>, u64>;

/// Why an expression has no size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DimError {
    /// A name has no size yet.
    Unset(Arc<str>),
    /// A quotient leaves a remainder.
    Indivisible(Dim, u64, Dim, u64),
    /// The size is negative or beyond 2^48.
    OutOfRange(Dim),
}

/// Largest size and element count accepted anywhere.
pub const MAX_SIZE: u64 = 1 << 48;

impl Dim {
    /// An integer.
    pub fn constant(value: u64) -> Dim {
        let value = value.min(MAX_SIZE) as i64;
        Dim::from_terms(vec![Term { factors: Vec::new(), numerator: value, denominator: 1 }])
    }

    /// A dimension name.
    pub fn name(name: &str) -> Dim {
        let factors = vec![Factor::Name(name.into())];
        Dim::from_terms(vec![Term { factors, numerator: 1, denominator: 1 }])
    }

    fn from_terms(mut terms: Vec<Term>) -> Dim {
        terms.retain(|t| t.numerator != 0);
        Dim { terms }
    }

    /// The value, if the expression is a non-negative integer.
    pub fn as_constant(&self) -> Option<u64> {
        match self.terms.as_slice() {
            [] => Some(0),
            [t] if t.factors.is_empty() && t.denominator == 1 => u64::try_from(t.numerator).ok(),
            _ => None,
        }
    }

    /// The name, if the expression is a bare name.
    pub fn as_name(&self) -> Option<&str> {
        match self.terms.as_slice() {
            [Term { factors, numerator: 1, denominator: 1 }] => match factors.as_slice() {
                [Factor::Name(name)] => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether this is the integer 1.
    pub fn is_one(&self) -> bool {
        self.as_constant() == Some(1)
    }

    /// Whether no sizes make this negative, as far as its terms tell one by one.
    pub fn is_never_negative(&self) -> bool {
        let is_sure = |f: &Factor| match f {
            Factor::Name(_) => true,
            Factor::Quotient(q) => q.0.is_never_negative() && q.1.is_never_negative(),
        };
        self.terms.iter().all(|t| t.numerator >= 0 && t.factors.iter().all(is_sure))
    }

    /// `self + other`, or nothing if it grows too complex.
    pub fn add(&self, other: &Dim) -> Option<Dim> {
        Dim::sum(self.terms.iter().chain(&other.terms).cloned())
    }

    /// `self - other`.
    pub fn sub(&self, other: &Dim) -> Option<Dim> {
        let mut terms = self.terms.clone();
        for t in &other.terms {
            terms.push(Term { numerator: t.numerator.checked_neg()?, ..t.clone() });
        }
        Dim::sum(terms)
    }

    /// `self * other`.
    pub fn mul(&self, other: &Dim) -> Option<Dim> {
        if self.terms.len() * other.terms.len() > MAX_TERMS * MAX_TERMS {
            return None;
        }
        let mut terms = Vec::new();
        for a in &self.terms {
            for b in &other.terms {
                let mut factors = [a.factors.as_slice(), b.factors.as_slice()].concat();
                if factors.len() > MAX_DEGREE {
                    return None;
                }
                factors.sort();
                let numerator = a.numerator.checked_mul(b.numerator)?;
                let denominator = a.denominator.checked_mul(b.denominator)?;
                terms.push(Term { factors, numerator, denominator });
            }
        }
        Dim::sum(terms)
    }

    /// `self / other`; whether it divides is known only with sizes. Division by zero is refused.
    pub fn div(&self, other: &Dim) -> Option<Dim> {
        if self == other && !other.terms.is_empty() {
            return Some(Dim::constant(1));
        }
        match other.terms.as_slice() {
            [] => None,
            [t] if t.factors.is_empty() => {
                let mut terms = self.terms.clone();
                for term in &mut terms {
                    term.numerator = term.numerator.checked_mul(t.denominator)?;
                    term.denominator = term.denominator.checked_mul(t.numerator)?;
                }
                Dim::sum(terms)
            }
            _ if self.terms.is_empty() => Some(self.clone()),
            _ => {
                if self.depth() + other.depth() >= MAX_DEGREE {
                    return None;
                }
                let factors = vec![Factor::Quotient(Arc::new((self.clone(), other.clone())))];
                Some(Dim::from_terms(vec![Term { factors, numerator: 1, denominator: 1 }]))
            }
        }
    }

    /// How deeply quotients nest; bounded, so recursion over them is.
    fn depth(&self) -> usize {
        let factors = self.terms.iter().flat_map(|t| &t.factors);
        let quotients = factors.filter_map(|f| match f {
            Factor::Quotient(q) => Some(1 + q.0.depth() + q.1.depth()),
            Factor::Name(_) => None,
        });
        quotients.max().unwrap_or(0)
    }

    fn sum(terms: impl IntoIterator<Item = Term>) -> Option<Dim> {
        let mut by_factors: BTreeMap<Vec<Factor>, (i64, i64)> = BTreeMap::new();
        for t in terms {
            let (n, d) = by_factors.entry(t.factors).or_insert((0, 1));
            let left = n.checked_mul(t.denominator)?;
            let right = t.numerator.checked_mul(*d)?;
            (*n, *d) = reduce(left.checked_add(right)?, d.checked_mul(t.denominator)?);
        }
        let terms: Vec<Term> = by_factors
            .into_iter()
            .filter(|(_, (n, _))| *n != 0)
            .map(|(factors, (numerator, denominator))| Term { factors, numerator, denominator })
            .collect();
        (terms.len() <= MAX_TERMS).then(|| Dim::from_terms(terms))
    }

    /// Every name the expression mentions, in order of first appearance.
    pub fn names(&self) -> Vec<Arc<str>> {
        let mut names = Vec::new();
        self.collect_names(&mut names);
        names
    }

    fn collect_names(&self, names: &mut Vec<Arc<str>>) {
        for factor in self.terms.iter().flat_map(|t| &t.factors) {
            match factor {
                Factor::Name(n) if !names.contains(n) => names.push(n.clone()),
                Factor::Name(_) => {}
                Factor::Quotient(q) => {
                    q.0.collect_names(names);
                    q.1.collect_names(names);
                }
            }
        }
    }

    /// `self / other` where that is a positive integer whatever the sizes, such as `K / (K/128)`.
    pub fn constant_ratio(&self, other: &Dim) -> Option<u64> {
        if self.terms.len() != other.terms.len() || self.terms.is_empty() {
            return None;
        }
        let mut ratio = None;
        for (a, b) in self.terms.iter().zip(&other.terms) {
            if a.factors != b.factors {
                return None;
            }
            let n = a.numerator.checked_mul(b.denominator)?;
            let d = a.denominator.checked_mul(b.numerator)?;
            if d == 0 || n % d != 0 || *ratio.get_or_insert(n / d) != n / d {
                return None;
            }
        }
        ratio.and_then(|r| u64::try_from(r).ok()).filter(|r| *r > 0)
    }

    /// The expression with the names in `sizes` replaced by their sizes.
    pub fn with(&self, sizes: &Sizes) -> Option<Dim> {
        let mut sum = Dim::constant(0);
        for t in &self.terms {
            let coefficient = Term { factors: Vec::new(), ..t.clone() };
            let mut product = Dim::from_terms(vec![coefficient]);
            for f in &t.factors {
                let factor = match f {
                    Factor::Name(name) => sizes.get(name).map_or_else(|| Dim::name(name), |s| Dim::constant(*s)),
                    Factor::Quotient(q) => q.0.with(sizes)?.div(&q.1.with(sizes)?)?,
                };
                product = product.mul(&factor)?;
            }
            sum = sum.add(&product)?;
        }
        Some(sum)
    }

    /// The size under `sizes`.
    pub fn eval(&self, sizes: &Sizes) -> Result<u64, DimError> {
        let out_of_range = || DimError::OutOfRange(self.clone());
        let mut numerator = 0i128;
        let mut denominator = 1i128;
        for t in &self.terms {
            let mut n = t.numerator as i128;
            for f in &t.factors {
                let size = match f {
                    Factor::Name(name) => *sizes.get(name).ok_or_else(|| DimError::Unset(name.clone()))?,
                    Factor::Quotient(q) => exact_quotient(&q.0, &q.1, sizes)?,
                };
                n = n.checked_mul(size as i128).filter(|n| n.abs() < 1 << 100).ok_or_else(out_of_range)?;
            }
            let d = t.denominator as i128;
            let left = numerator.checked_mul(d).ok_or_else(out_of_range)?;
            let right = n.checked_mul(denominator).ok_or_else(out_of_range)?;
            numerator = left.checked_add(right).ok_or_else(out_of_range)?;
            denominator = denominator.checked_mul(d).ok_or_else(out_of_range)?;
        }
        if numerator % denominator != 0 {
            let n = u64::try_from(numerator).map_err(|_| out_of_range())?;
            let d = u64::try_from(denominator).map_err(|_| out_of_range())?;
            let whole = self.mul(&Dim::constant(d)).unwrap_or_else(|| self.clone());
            return Err(DimError::Indivisible(whole, n, Dim::constant(d), d));
        }
        u64::try_from(numerator / denominator).ok().filter(|s| *s <= MAX_SIZE).ok_or_else(out_of_range)
    }
}

/// `a / b` under `sizes`, which must leave no remainder.
pub fn exact_quotient(a: &Dim, b: &Dim, sizes: &Sizes) -> Result<u64, DimError> {
    let (x, y) = (a.eval(sizes)?, b.eval(sizes)?);
    if y == 0 || x % y != 0 {
        return Err(DimError::Indivisible(a.clone(), x, b.clone(), y));
    }
    Ok(x / y)
}

fn gcd(n: i64, d: i64) -> i64 {
    let (mut a, mut b) = (n.unsigned_abs(), d.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    i64::try_from(a.max(1)).unwrap_or(1)
}

fn reduce(n: i64, d: i64) -> (i64, i64) {
    let g = gcd(n, d);
    if d < 0 { (-(n / g), -(d / g)) } else { (n / g, d / g) }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.terms.is_empty() {
            return f.write_str("0");
        }
        // Text has no unary minus over dimensions, so a positive term leads where there is one.
        let mut terms: Vec<&Term> = self.terms.iter().collect();
        terms.sort_by_key(|t| (t.numerator < 0, t.factors.is_empty()));
        // One quotient over the whole sum: `(K + M)/2` asks less than `K/2 + M/2`.
        let common = terms.iter().try_fold(1i64, |d, t| (d / gcd(d, t.denominator)).checked_mul(t.denominator));
        let scaled = |t: &Term| common.and_then(|c| t.numerator.checked_mul(c / t.denominator));
        match common {
            Some(common) if common > 1 && terms.len() > 1 && terms.iter().all(|t| scaled(t).is_some()) => {
                f.write_str("(")?;
                for (i, t) in terms.iter().enumerate() {
                    write_term(f, t, scaled(t).unwrap_or(t.numerator), 1, i == 0)?;
                }
                write!(f, ")/{common}")
            }
            _ => terms.iter().enumerate().try_for_each(|(i, t)| write_term(f, t, t.numerator, t.denominator, i == 0)),
        }
    }
}

fn write_term(f: &mut fmt::Formatter<'_>, t: &Term, numerator: i64, denominator: i64, leads: bool) -> fmt::Result {
    match (leads, numerator < 0) {
        (true, false) => {}
        (true, true) => f.write_str("0 - ")?,
        (false, false) => f.write_str(" + ")?,
        (false, true) => f.write_str(" - ")?,
    }
    let n = numerator.unsigned_abs();
    let mut first = true;
    if n != 1 || t.factors.is_empty() {
        write!(f, "{n}")?;
        first = false;
    }
    for factor in &t.factors {
        if !first {
            f.write_str("*")?;
        }
        first = false;
        match factor {
            Factor::Name(name) => f.write_str(name)?,
            Factor::Quotient(q) => write!(f, "(({})/({}))", q.0, q.1)?,
        }
    }
    if denominator != 1 {
        write!(f, "/{denominator}")?;
    }
    Ok(())
}

impl fmt::Display for DimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DimError::Unset(name) => write!(f, "dimension `{name}` has no size"),
            DimError::Indivisible(a, x, b, y) if b.as_constant() == Some(*y) => {
                write!(f, "`{a}` = {x} is not divisible by {y}")
            }
            DimError::Indivisible(a, x, b, y) => write!(f, "`{a}` = {x} is not divisible by `{b}` = {y}"),
            DimError::OutOfRange(d) => write!(f, "`{d}` is negative or larger than 2^48"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn sizes(list: &[(&str, u64)]) -> Sizes {
        list.iter().map(|(n, s)| (Arc::from(*n), *s)).collect()
    }

    #[test]
    fn equal_expressions_are_equal() {
        let (k, c128) = (Dim::name("K"), Dim::constant(128));
        let q = k.div(&c128).unwrap();
        assert_eq!(q.mul(&c128).unwrap(), k);
        assert_eq!(k.add(&k).unwrap(), k.mul(&Dim::constant(2)).unwrap());
        assert_eq!(k.sub(&k).unwrap().as_constant(), Some(0));
        assert_eq!(k.constant_ratio(&q), Some(128));
        assert_eq!(q.to_string(), "K/128");
        let half = k.add(&Dim::name("M")).unwrap().div(&Dim::constant(2)).unwrap();
        assert_eq!(half.to_string(), "(K + M)/2");
    }

    #[test]
    fn a_remainder_names_both_sides() {
        let q = Dim::name("K").div(&Dim::constant(128)).unwrap();
        let e = q.eval(&sizes(&[("K", 100)])).unwrap_err();
        assert_eq!(e.to_string(), "`K` = 100 is not divisible by 128");
        assert_eq!(q.eval(&sizes(&[("K", 256)])), Ok(2));
    }

    #[test]
    fn growth_is_refused() {
        let mut d = Dim::name("A").add(&Dim::name("B")).unwrap();
        let mut squared = 0;
        while let Some(next) = d.mul(&d) {
            d = next;
            squared += 1;
            assert!(squared < 10);
        }
    }
}
