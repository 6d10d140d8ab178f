//! The rows of a benchmark as people read them: a table for the terminal, a page of Markdown. Owns the
//! form of its figures and which limit a row is held against; what they are is [`crate::bench`].

use std::fmt;

use msd::ir::quant::scheme::Scheme;

use super::table::{Column, table as aligned};
use super::{JsonLimits, Row};

/// The limits of the machine at one number of threads.
pub(crate) struct Ceiling {
    pub(crate) threads: u16,
    pub(crate) limits: JsonLimits,
    /// The instructions that reach the peaks.
    pub(crate) int8_instruction: &'static str,
    pub(crate) amx_instruction: Option<&'static str>,
    pub(crate) f32_instruction: &'static str,
}

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ceiling { threads, limits, int8_instruction, amx_instruction, f32_instruction } = self;
        let JsonLimits { read_gbs, int8_gmacs, amx_gmacs, f32_gmacs } = limits;
        let plural = if *threads == 1 { "" } else { "s" };
        write!(f, "limits at {threads} thread{plural}: reads {read_gbs:.1} GB/s; ")?;
        write!(f, "int8 {int8_gmacs:.0} GMAC/s ({int8_instruction}); ")?;
        if let (Some(gmacs), Some(instruction)) = (amx_gmacs, amx_instruction) {
            write!(f, "amx {gmacs:.0} GMAC/s ({instruction}); ")?;
        }
        write!(f, "f32 {f32_gmacs:.0} GMAC/s ({f32_instruction})")
    }
}

/// The rows for a terminal.
pub(crate) fn table(rows: &[Row]) -> String {
    let text = |head| Column { head, numeric: false };
    let number = |head| Column { head, numeric: true };
    let columns = [
        text("sizes"),
        number("threads"),
        text("lowering"),
        text("scheme"),
        text("isa"),
        text("tile"),
        text("blocking"),
        number("time"),
        number("weight GB/s"),
        number("of read"),
        number("GMAC/s"),
        number("of limit"),
        number("rel L2"),
        number("vs dequant"),
        number("compile"),
    ];
    aligned(&columns, rows.iter().map(|row| cells(row, rows).into()))
}

/// The rows as a page, below a line with the machine and its limits.
pub(crate) fn markdown(cpu: &str, ceilings: &[Ceiling], rows: &[Row]) -> String {
    let limits: Vec<String> = ceilings.iter().map(Ceiling::to_string).collect();
    let mut page = format!("{cpu}; {}.\n\n", limits.join("; "));
    page += "| sizes | threads | computed by | tile | time | of read | GMAC/s | of limit | rel L2 |\n";
    page += "|---|---:|---|---|---:|---:|---:|---:|---:|\n";
    for row in rows {
        let [sizes, threads, .., tile, _, time, _, of_read, gmacs, of_limit, rel_l2, _, _] = cells(row, rows);
        let name = contender(row);
        let shown = [sizes, threads, name, tile, time, of_read, gmacs, of_limit, rel_l2];
        page += &format!("| {} |\n", shown.join(" | "));
    }
    page
}

/// The name of a row's contender: its scheme where that says it all.
fn contender(row: &Row) -> String {
    match (row.lowering, row.scheme) {
        ("msd", Some(scheme)) if scheme != "mixed" => scheme.to_owned(),
        (lowering, Some(scheme)) => format!("{lowering} {scheme}"),
        (lowering, None) => lowering.to_owned(),
    }
}

/// The cells of [`table`].
fn cells(row: &Row, rows: &[Row]) -> [String; 15] {
    let none = || "-".to_owned();
    let percent = |part: f64, whole: f64| format!("{:.0} %", 100.0 * part / whole);
    let same = |r: &&Row| r.lowering == "dequant" && r.dims == row.dims && r.threads == row.threads;
    let dequant = rows.iter().find(same);
    let has_products = row.gmacs > 0.0;
    let (limit_name, limit) = compute_limit(row);
    let sizes: Vec<String> = row.dims.iter().map(|(name, size)| format!("{name}={size}")).collect();
    [
        sizes.join(" "),
        row.threads.to_string(),
        row.lowering.to_owned(),
        row.scheme.unwrap_or("-").to_owned(),
        row.isa.to_owned(),
        tile(row),
        row.blocking.clone().unwrap_or_else(none),
        time(row.seconds),
        row.weight_gbs.map_or_else(none, |w| format!("{w:.2}")),
        row.weight_gbs.map_or_else(none, |w| percent(w, row.limits.read_gbs)),
        if has_products { format!("{:.1}", row.gmacs) } else { none() },
        if has_products { format!("{} of {limit_name}", percent(row.gmacs, limit)) } else { none() },
        row.rel_l2.map_or_else(none, |e| format!("{e:.2e}")),
        dequant.map_or_else(none, |d| format!("{:.2}x", d.seconds / row.seconds)),
        format!("{:.1} ms", row.compile_ms),
    ]
}

/// What bounds the products of a row: a digit costs an integer product of its own; products of
/// several kinds are held against the integer peak, which none of them exceeds. The peak is that of the registers that
/// multiply.
fn compute_limit(row: &Row) -> (String, f64) {
    let JsonLimits { int8_gmacs, amx_gmacs, f32_gmacs, .. } = row.limits;
    let has_matrices = row.emitter.iter().any(|names| names.contains("amx"));
    let (name, integers) = match amx_gmacs.filter(|_| has_matrices) {
        Some(gmacs) => ("amx", gmacs),
        None => ("int8", int8_gmacs),
    };
    match (row.lowering, row.scheme.and_then(Scheme::from_name).map(|s| s.weights().len())) {
        ("msd", Some(digits)) => (format!("{name}/{digits}"), integers / digits as f64),
        ("msd" | "mixed", _) => (name.to_owned(), integers),
        _ => ("f32".to_owned(), f32_gmacs),
    }
}

/// Emitter and tile.
fn tile(row: &Row) -> String {
    let parts: Vec<&str> = row.emitter.iter().chain(&row.tile).map(String::as_str).collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(" ") }
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.2} us", s * 1e6),
        s if s < 1.0 => format!("{:.3} ms", s * 1e3),
        s => format!("{s:.3} s"),
    }
}
