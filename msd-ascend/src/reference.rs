//! The instruction reference, made from the table: `docs/isa.md` is its output, and a test keeps it so. The same for
//! the numbers of chips, a part of `docs/npu-model.md`.

use std::fmt::Write;

use msd_ir::dtype::DType;

use crate::chip::{Chip, Sourced};
use crate::isa::memory::{Core, Pipe, Space};
use crate::isa::{Kind, Op, Spec, Types, Unit};
use crate::text::form;

/// What stands before the table.
const HEAD: &str = "# Instructions of the NPU

Made from the table of `msd-ascend`; do not edit. [npu-model.md](npu-model.md) says how a program is written, how long \
its instructions take and how far that was checked.

An instruction is written as its first column says: a name, the types of its elements, operands. Operands in memory \
are `TENSOR[offset]` in elements or `MEMORY[offset]` in bytes, perhaps with `row` and `block` distances in bytes; what \
stands in brackets here may stay unsaid. On chip, operands start at multiples of 32 bytes, in L0A and L0B of 512, in \
L0C of 1024. Cycles are those of the pipe, in the names of [a chip's numbers](npu-model.md#numbers-of-a-chip).

";

/// The reference in Markdown.
pub fn markdown() -> String {
    let mut text = HEAD.to_string();
    for (title, is_in) in SECTIONS {
        let _ = writeln!(
            text,
            "## {title}\n\n| written | core | operands | types | meaning | cycles |\n|---|---|---|---|---|---|"
        );
        for op in Op::ALL.iter().filter(|op| is_in(op.spec())) {
            let spec = op.spec();
            let core = spec.core.map_or("both", Core::name);
            let _ = writeln!(
                text,
                "| `{}` | {core} | {} | {} | {} | {} |",
                form(*op),
                operands(spec),
                types(spec),
                spec.meaning.trim().replace('|', "\\|"),
                spec.cost.words
            );
        }
        text.push('\n');
    }
    text.push_str(
        "## What a chip multiplies and casts\n\n| chip | cube: rows x depth x columns per cycle |\n|---|---|\n",
    );
    for name in Chip::names() {
        let Ok(chip) = Chip::named(name) else { continue };
        let shapes = DType::ALL.iter().filter_map(|d| chip.multiplies(*d).map(|[m, k, n]| (d, m, k, n)));
        let shapes: Vec<String> = shapes.map(|(d, m, k, n)| format!("`{}` {m} x {k} x {n}", d.name())).collect();
        let _ = writeln!(text, "| {name} | {} |", shapes.join(", "));
    }
    text.push_str("\n| chip | casts in one step |\n|---|---|\n");
    for name in Chip::names() {
        let Ok(chip) = Chip::named(name) else { continue };
        let pairs = DType::ALL.iter().flat_map(|a| DType::ALL.iter().map(move |b| (*a, *b)));
        let casts = pairs.filter(|(a, b)| chip.casts(*a, *b)).map(|(a, b)| format!("`{}.{}`", a.name(), b.name()));
        let _ = writeln!(text, "| {name} | {} |", casts.collect::<Vec<_>>().join(", "));
    }
    text
}

/// The numbers of the chips that come along, for docs/npu-model.md.
pub fn chips() -> String {
    let chips: Vec<Chip> = Chip::names().filter_map(|name| Chip::named(name).ok()).collect();
    let names: Vec<&str> = chips.iter().map(|chip| chip.name.as_str()).collect();
    let mut text =
        format!("| number | is | {} | source |\n|---|---|{}---|\n", names.join(" | "), "---|".repeat(chips.len()));
    let mut row = |name: &str, meaning: &str, values: Vec<(String, &str)>| {
        let mut sources: Vec<&str> = values.iter().map(|(_, source)| *source).collect();
        sources.dedup();
        let values: Vec<&str> = values.iter().map(|(value, _)| value.as_str()).collect();
        let _ = writeln!(text, "| `{name}` | {meaning} | {} | {} |", values.join(" | "), sources.join("; "));
    };
    let of = |number: fn(&Chip) -> &Sourced<f64>| {
        chips.iter().map(|chip| (number(chip).to_string(), number(chip).source())).collect()
    };
    row("clock_ghz", "Cycles per nanosecond.", of(|chip| &chip.clock_ghz));
    row(
        "kernel_start_us",
        "On the device, before the first instruction, microseconds.",
        of(|chip| &chip.kernel_start_us),
    );
    let groups: Vec<_> = chips.iter().map(Chip::groups).collect();
    for group in 0..groups.first().map_or(0, |g| g.len()) {
        let (name, numbers) = &groups[0][group];
        for (index, number) in numbers.iter().enumerate() {
            let each = groups.iter().map(|g| &g[group].1[index]);
            let values = each.map(|n| (n.number.to_string(), n.number.source())).collect();
            row(&format!("{name}.{}", number.name), number.meaning, values);
        }
    }
    text
}

type Section = (&'static str, fn(&Spec) -> bool);

const SECTIONS: [Section; 7] = [
    ("MTE2: GM to the core", |s| s.unit == Unit::Pipe(Pipe::Mte2)),
    ("MTE1: L1 to L0", |s| s.unit == Unit::Pipe(Pipe::Mte1)),
    ("M: cube", |s| s.unit == Unit::Pipe(Pipe::M)),
    ("FIX: out of L0C", |s| s.unit == Unit::Pipe(Pipe::Fix)),
    ("V: vector unit", |s| s.unit == Unit::Pipe(Pipe::V)),
    ("MTE3: out of UB", |s| s.unit == Unit::Pipe(Pipe::Mte3)),
    ("Order", |s| matches!(s.unit, Unit::Operand(_) | Unit::Pipe(Pipe::S))),
];

fn operands(spec: &Spec) -> String {
    let texts = spec.operands.iter().filter_map(|operand| {
        let name = operand.name;
        match operand.kind {
            Kind::Place { spaces, .. } => {
                let spaces: Vec<&str> = spaces.iter().copied().map(Space::name).collect();
                Some(format!("`{name}` in {}", spaces.join(", ")))
            }
            Kind::Int(low, high, None) => Some(format!("`{name}` {low} to {high}")),
            Kind::Word(words) => Some(format!("`{name}` {}", words.join(", "))),
            Kind::Float(value) => Some(format!("`{name}` {value}")),
            Kind::Int(..) | Kind::Pipe | Kind::Id => None,
        }
    });
    texts.collect::<Vec<_>>().join("; ")
}

fn types(spec: &Spec) -> String {
    match spec.types {
        Types::None => String::new(),
        Types::One(list) => list.iter().map(|d| d.name()).collect::<Vec<_>>().join(", "),
        Types::Pair(list) => {
            list.iter().map(|(a, b)| format!("{}.{}", a.name(), b.name())).collect::<Vec<_>>().join(", ")
        }
        Types::Scaled => "two floats of 8 bits, or two of 4".to_string(),
        Types::Cast => "a cast of the chip".to_string(),
    }
}
