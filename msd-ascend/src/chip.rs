//! Chips as data: sizes, rates, latencies and abilities of a chip, each number with its source.
//! Owns the file format, the chips that come along, and which numbers make no sense; what a number
//! costs an instruction is [`crate::isa`]'s.
//!
//! Bytes, cycles, and bytes per cycle throughout. *Per core* means per cube core: the vector cores
//! of a cube core share its part of GM's bandwidth.

use std::collections::BTreeMap;
use std::ops::Deref;

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::dtype::DType;
use msd_ir::span::Span;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

/// A number of a chip and where it is from: a paper, a product page, "published timing" (then it is
/// fitted to the timings that docs/npu-model.md lists) or "assumed".
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sourced<T> {
    value: T,
    source: String,
}

impl<T> Sourced<T> {
    /// Where the number is from.
    pub fn source(&self) -> &str {
        &self.source
    }
}

impl<T> Deref for Sourced<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A number of a chip.
pub struct Number<'a> {
    /// Its name in the file.
    pub name: &'static str,
    /// What it is.
    pub meaning: &'static str,
    /// Its value and source.
    pub number: &'a Sourced<u64>,
    /// Least and greatest that make sense.
    range: (u64, u64),
}

macro_rules! groups {
    ($(
        $(#[$doc:meta])*
        $group:ident { $(#[doc = $field_doc:literal] $field:ident: $low:literal ..= $high:literal,)* }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $group { $(#[doc = $field_doc] pub $field: Sourced<u64>,)* }

            impl $group {
                fn numbers(&self) -> Vec<Number<'_>> {
                    vec![$(Number {
                        name: stringify!($field),
                        meaning: $field_doc.trim(),
                        number: &self.$field,
                        range: ($low, $high),
                    },)*]
                }
            }
        )*
    };
}

groups! {
    /// How many cores.
    Cores {
        /// Cube cores.
        cube: 1..=128,
        /// Vector cores beside each cube core.
        vectors_per_cube: 0..=4,
    }
    /// Sizes of memories in bytes.
    Memory {
        /// Of each cube core, between GM and L0.
        l1: 0..=268435456,
        /// Left operands of the cube.
        l0a: 0..=268435456,
        /// Right operands of the cube.
        l0b: 0..=268435456,
        /// Accumulators of the cube.
        l0c: 0..=268435456,
        /// Of each vector core.
        ub: 0..=268435456,
        /// Block scales of L0A, and as many of L0B.
        l0_scales: 0..=268435456,
        /// Shared by all.
        l2: 0..=4294967296,
        /// What L2 fetches and evicts at once.
        l2_line: 256..=65536,
    }
    /// Bytes per cycle.
    Rates {
        /// HBM's part of a cube core; all of them together are the bandwidth of the chip.
        hbm_per_core: 1..=65536,
        /// Most that a cube core and its vector cores read through L2.
        l2_read_per_core: 1..=65536,
        /// Most that they write.
        l2_write_per_core: 1..=65536,
        /// Most that one vector core reads.
        gm_to_ub: 1..=65536,
        /// Most that one vector core writes.
        ub_to_gm: 1..=65536,
        /// Of results on their way out of L0C, counted in accumulators.
        l0c_out: 1..=65536,
        /// L1 to L0A.
        l1_to_l0a: 1..=65536,
        /// L1 to L0B.
        l1_to_l0b: 1..=65536,
    }
    /// Cycles.
    Latency {
        /// From a transfer's last byte through its port to its arrival.
        gm: 0..=1000000,
        /// For which a transfer keeps its pipe from the next one, beside its bytes.
        dma_issue: 0..=1000000,
        /// Start of a transfer from L1.
        mte1: 0..=1000000,
        /// Start of a product.
        mmad: 0..=1000000,
        /// Start of a transfer out of L0C.
        l0c_out: 0..=1000000,
        /// Start of a vector operation.
        vector_start: 0..=1000000,
        /// From the last element a vector operation reads to its result.
        vector_tail: 0..=1000000,
        /// From a flag's setting to its sight.
        flag: 0..=1000000,
        /// The same between cores.
        cross_core: 0..=1000000,
        /// For which the scalar unit is busy with one instruction.
        issue: 1..=1000000,
    }
    /// Sizes of what orders pipes.
    Limits {
        /// Instructions a pipe holds before the scalar unit waits.
        queue: 1..=65536,
        /// Flags between two pipes.
        flags: 1..=64,
        /// Counters between cores.
        counters: 1..=64,
    }
    /// The vector unit: cycles for each `bytes` of an operation's widest operand.
    Vector {
        /// Bytes at a time.
        bytes: 32..=65536,
        /// Operations on one source.
        one_source: 1..=1000,
        /// Operations on two sources, and more.
        two_sources: 1..=1000,
        /// Casts.
        cast: 1..=1000,
        /// Divisions.
        divide: 1..=1000,
        /// Exponentials, logarithms and roots.
        exp: 1..=1000,
        /// Reductions of rows.
        reduce: 1..=1000,
    }
}

/// How an operand of the cube lies in L0A, in fractals of 16 rows of 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Fractals by rows (Z), each by rows (z).
    Zz,
    /// Fractals by columns (N), each by rows (z).
    Nz,
}

/// What the cube multiplies.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cube {
    /// How L0A holds its operand.
    pub l0a_layout: Sourced<Layout>,
    /// Rows, depth and columns of one cycle, by the type of the operands.
    multiply: BTreeMap<String, Sourced<[u64; 3]>>,
}

/// What a chip can do.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Abilities {
    /// Accumulators go to the vector cores on chip.
    pub l0c_to_ub: Sourced<bool>,
    /// Results of the vector cores go to L1 on chip.
    pub ub_to_l1: Sourced<bool>,
    /// A vector operation starts before the one before it is through, so that a barrier must stand between two where
    /// one needs the other's result; without it, an operation waits for the results it needs.
    pub vector_is_pipelined: Sourced<bool>,
    /// Casts in one step, as `from.to`.
    casts: Sourced<Vec<String>>,
}

/// A chip.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chip {
    /// Its name.
    pub name: String,
    /// Cycles per nanosecond.
    pub clock_ghz: Sourced<f64>,
    /// On the device, before the first instruction of a core, microseconds.
    pub kernel_start_us: Sourced<f64>,
    /// How many cores.
    pub cores: Cores,
    /// Sizes of memories.
    pub memory: Memory,
    /// Bytes per cycle.
    pub rates: Rates,
    /// Cycles.
    pub latency: Latency,
    /// Flags, counters and queues.
    pub limits: Limits,
    /// The matrix unit.
    pub cube: Cube,
    /// The vector unit.
    pub vector: Vector,
    /// What it can do.
    pub abilities: Abilities,
}

/// The chips that come along: name and file.
const BUILT_IN: &[(&str, &str)] = &[
    ("ascend-910b", include_str!("../chips/ascend-910b.toml")),
    ("ascend-950", include_str!("../chips/ascend-950.toml")),
];

/// Tables a file of a chip may hold within each other; more is no chip.
const MAX_DEPTH: usize = 8;

impl Chip {
    /// Names of the chips that come along.
    pub fn names() -> impl Iterator<Item = &'static str> + Clone {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// A chip that comes along.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn named(name: &str) -> Result<Chip, Diagnostic> {
        let Some((_, text)) = BUILT_IN.iter().find(|(n, _)| *n == name) else {
            let known: Vec<&str> = Chip::names().collect();
            return Err(Diagnostic::new(Code::UnknownTarget, format!("no chip is called `{name}`"))
                .help(format!("there are {}; a file of your own ends in `.toml`", known.join(" and "))));
        };
        Chip::parse(text)
    }

    /// The chip of a file. `extends = "ascend-910b"` takes everything that the file does not say
    /// from that chip.
    ///
    /// # Errors
    /// Places are byte ranges of `text`.
    pub fn parse(text: &str) -> Result<Chip, Diagnostic> {
        let table = DeTable::parse(text).map_err(|e| malformed(&e))?;
        let chip = Chip::deserialize(Deserializer::from(extended(table)?)).map_err(|e| malformed(&e))?;
        chip.check().map_err(|Odd { name, fault }| match place(text, &name) {
            Some(place) => fault.at(place),
            None => fault,
        })?;
        Ok(chip)
    }

    /// Rows, depth and columns that the cube multiplies in one cycle; none if it does not.
    pub fn multiplies(&self, dtype: DType) -> Option<[u64; 3]> {
        self.cube.multiply.get(dtype.name()).map(|shape| **shape)
    }

    /// Whether the vector unit casts so in one step.
    pub fn casts(&self, from: DType, to: DType) -> bool {
        let cast = format!("{from}.{to}", from = from.name(), to = to.name());
        self.abilities.casts.contains(&cast)
    }

    /// Cycles before the first instruction of a kernel.
    pub fn kernel_start(&self) -> u64 {
        (*self.kernel_start_us * *self.clock_ghz * 1e3).round() as u64
    }

    /// Its whole numbers by group.
    pub fn groups(&self) -> [(&'static str, Vec<Number<'_>>); 6] {
        [
            ("cores", self.cores.numbers()),
            ("memory", self.memory.numbers()),
            ("rates", self.rates.numbers()),
            ("latency", self.latency.numbers()),
            ("limits", self.limits.numbers()),
            ("vector", self.vector.numbers()),
        ]
    }

    /// Whether every number makes sense: nothing later divides by zero or counts without end.
    fn check(&self) -> Result<(), Odd> {
        for (group, numbers) in self.groups() {
            for Number { name, number, range: (low, high), .. } in numbers {
                in_range(&format!("{group}.{name}"), **number, low, high)?;
            }
        }
        for (name, shape) in &self.cube.multiply {
            if DType::from_name(name).is_none() {
                return Err(Odd::new(&format!("cube.multiply.{name}"), "no type is called so"));
            }
            for extent in **shape {
                in_range(&format!("cube.multiply.{name}"), extent, 1, 4096)?;
            }
        }
        let is_cast = |cast: &str| cast.split_once('.').is_some_and(|(a, b)| both_types(a, b));
        if let Some(cast) = self.abilities.casts.iter().find(|c| !is_cast(c)) {
            let message = format!("`{cast}` is no cast; one is written `i8.f16`");
            return Err(Odd::new("abilities.casts", &message));
        }
        if !(*self.clock_ghz > 0.0 && *self.clock_ghz <= 100.0) {
            return Err(Odd::new("clock_ghz", "more than 0 and at most 100"));
        }
        if !(*self.kernel_start_us >= 0.0 && *self.kernel_start_us <= 1e6) {
            return Err(Odd::new("kernel_start_us", "0 to 1000000"));
        }
        Ok(())
    }
}

fn both_types(from: &str, to: &str) -> bool {
    DType::from_name(from).is_some() && DType::from_name(to).is_some()
}

fn bad(message: String) -> Diagnostic {
    Diagnostic::new(Code::BadChip, message)
}

/// A number that makes no sense, by its name, and why.
struct Odd {
    name: String,
    fault: Diagnostic,
}

impl Odd {
    fn new(name: &str, why: &str) -> Odd {
        let fault = bad(format!("{name}: {why}")).help("docs/npu-model.md lists what every number means");
        Odd { name: name.to_owned(), fault }
    }
}

/// Where a file says a number; nowhere, if it has it from the chip that it extends.
fn place(text: &str, name: &str) -> Option<Span> {
    let mut value: DeValue<'_> = DeValue::Table(DeTable::parse(text).ok()?.into_inner());
    let mut at = None;
    for part in name.split('.') {
        let DeValue::Table(mut table) = value else { return None };
        let found = table.remove(part)?;
        at = Some(span(found.span()));
        value = found.into_inner();
    }
    at
}

fn in_range(name: &str, value: u64, low: u64, high: u64) -> Result<(), Odd> {
    match (low..=high).contains(&value) {
        true => Ok(()),
        false => Err(Odd::new(name, &format!("{value} is not in {low} to {high}"))),
    }
}

fn malformed(error: &toml::de::Error) -> Diagnostic {
    let diagnostic = bad(error.message().trim_end().replace('\n', "; "))
        .help("every number is written `{ value = 32, source = \"where it is from\" }`; docs/npu-model.md lists them");
    match error.span() {
        Some(range) => diagnostic.at(span(range)),
        None => diagnostic,
    }
}

/// What `table` says, and of the chip that it extends, if it does, the rest.
fn extended<'t>(table: Spanned<DeTable<'t>>) -> Result<Spanned<DeTable<'t>>, Diagnostic> {
    let place = table.span();
    let mut table = table.into_inner();
    let Some(base) = table.remove("extends") else { return Ok(Spanned::new(place, table)) };
    let name = base.get_ref().as_str().unwrap_or_default();
    let Some((_, text)) = BUILT_IN.iter().find(|(n, _)| *n == name) else {
        let known: Vec<&str> = Chip::names().collect();
        let fault = bad(format!("extends: no chip is called `{name}`")).at(span(base.span()));
        return Err(fault.help(format!("there are {}", known.join(" and "))));
    };
    if !table.contains_key("name") {
        let message = format!("name: the chip needs a name of its own beside `{name}`");
        return Err(bad(message).help("write `name = \"mine\"`; reports say it"));
    }
    let mut merged = DeTable::parse(text).map_err(|e| malformed(&e))?.into_inner();
    merge(&mut merged, table, 0)?;
    Ok(Spanned::new(place, merged))
}

/// Tables entry by entry; numbers with their source as a whole.
fn merge<'t>(into: &mut DeTable<'t>, from: DeTable<'t>, depth: usize) -> Result<(), Diagnostic> {
    if depth > MAX_DEPTH {
        return Err(bad(format!("tables nest deeper than {MAX_DEPTH}")));
    }
    for (key, value) in from {
        let place = value.span();
        match (into.get_mut(&**key.get_ref()).map(Spanned::get_mut), value.into_inner()) {
            (Some(DeValue::Table(old)), DeValue::Table(new)) if !new.contains_key("value") => {
                merge(old, new, depth + 1)?;
            }
            (_, value) => {
                // The name's place is to be the file's as well.
                into.remove(&**key.get_ref());
                into.insert(key, Spanned::new(place, value));
            }
        }
    }
    Ok(())
}

fn span(range: std::ops::Range<usize>) -> Span {
    Span::new(range.start, range.end)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn chips_that_come_along_are_chips() {
        for name in Chip::names() {
            let chip = Chip::named(name).unwrap();
            assert_eq!(chip.name, name);
            assert!(!chip.rates.hbm_per_core.source().is_empty());
        }
        assert_eq!(Chip::named("ascend-910c").unwrap_err().code, Code::UnknownTarget);
    }

    #[test]
    fn facts_of_the_generations() {
        let (old, new) = (Chip::named("ascend-910b").unwrap(), Chip::named("ascend-950").unwrap());
        assert_eq!((*old.cores.cube, *new.cores.cube), (24, 32));
        assert_eq!(old.multiplies(DType::I8), Some([16, 32, 16]));
        assert_eq!((old.multiplies(DType::E4M3), new.multiplies(DType::I4)), (None, None));
        assert!(old.casts(DType::I8, DType::F16) && !old.casts(DType::I8, DType::BF16));
        assert!(!old.casts(DType::F32, DType::I8) && new.casts(DType::E2M1, DType::BF16));
        assert_eq!(old.kernel_start(), 13_875);
    }

    #[test]
    fn a_file_of_ones_own() {
        let text = "extends = \"ascend-950\"\nname = \"fast\"\n[rates]\n\
                    hbm_per_core = { value = 80, source = \"4 TB/s\" }\n";
        let chip = Chip::parse(text).unwrap();
        assert_eq!((chip.name.as_str(), *chip.rates.hbm_per_core, *chip.cores.cube), ("fast", 80, 32));
        let why = |text: &str| Chip::parse(text).unwrap_err();
        assert_eq!(why("extends = \"m1\"").code, Code::BadChip);
        assert!(why("extends = \"ascend-950\"").message.contains("needs a name of its own"));
        assert!(why("name = 3").span.is_some());
        for (group, said, place, message) in [
            (
                "rates",
                "hbm_per_core = { value = 0, source = \"\" }",
                "{ value = 0, source = \"\" }",
                "0 is not in 1 to 65536",
            ),
            ("rates", "hbm = 3", "hbm", "unknown field `hbm`"),
            ("rates", "hbm_per_core = { value = \"x\", source = \"\" }", "\"x\"", "expected u64"),
            ("rates", "hbm_per_core = { value = 3 }", "{ value = 3 }", "missing field `source`"),
            (
                "cube.multiply",
                "i9 = { value = [1, 1, 1], source = \"\" }",
                "{ value = [1, 1, 1], source = \"\" }",
                "no type",
            ),
            (
                "abilities",
                "casts = { value = [\"f32\"], source = \"\" }",
                "{ value = [\"f32\"], source = \"\" }",
                "`f32` is no cast",
            ),
        ] {
            let text = format!("extends = \"ascend-950\"\nname = \"x\"\n[{group}]\n{said}\n");
            let fault = why(&text);
            assert!(fault.message.contains(message), "{text}: {fault:?}");
            let span = fault.span.unwrap();
            assert_eq!(&text[span.start..span.end], place, "{text}: {fault:?}");
        }
        let base = why("name = \"x\"\nextends = \"ascend-91\"");
        assert_eq!((base.code, base.span), (Code::BadChip, Some(Span::new(21, 32))));
        let nested = format!("extends = \"ascend-950\"\n[cube.multiply]\nx{} = 1", ".x".repeat(40));
        assert_eq!(why(&nested).code, Code::BadChip);
    }
}
