//! An explanation in words. Owns wording and alignment; where a byte of the source stands is the
//! caller's to say, who holds the source.

use std::fmt::{self, Display, Formatter};

use msd_ir::plan::Alternative;
use msd_ir::span::Span;

use super::{Explanation, SiteReport};

impl Explanation {
    /// The same text, each site headed by what `place` says of its span.
    ///
    /// ```
    /// use msd::{Kernel, Options};
    ///
    /// let text = "kernel linear(w: i8[N, K] scale f32[N], x: bf16[M, K]) -> f32[M, N] {\n    x @ dequant(w).T\n}";
    /// let explanation = Kernel::new(text, &Options::new())?.explain(&[])?;
    /// let located = explanation.with_places(|span| {
    ///     let (line, column) = span.line_column(text);
    ///     format!("linear.msd:{line}:{column}")
    /// });
    /// assert!(located.to_string().contains("\nlinear.msd:2:5 w: rule digit-split with int8x2-pow2\n"));
    /// # Ok::<(), msd::Error>(())
    /// ```
    pub fn with_places(&self, place: impl Fn(Span) -> String) -> impl Display {
        fmt::from_fn(move |f| self.write(f, |span| place(span) + " "))
    }

    fn write(&self, f: &mut Formatter<'_>, place: impl Fn(Span) -> String) -> fmt::Result {
        let size = |(name, size): &(String, Option<u64>)| match size {
            Some(size) => format!("{name}={size}"),
            None => format!("{name} open"),
        };
        let sizes: Vec<String> = self.sizes.iter().map(size).collect();
        let sizes = if sizes.is_empty() { "none".to_owned() } else { sizes.join(", ") };
        let Explanation { kernel, lowering, profile, .. } = self;
        writeln!(f, "kernel {kernel}: {lowering}; sizes {sizes}; costs of one thread of the {profile} machine")?;
        if self.sites.is_empty() {
            writeln!(f, "nothing is dequantized, so nothing is rewritten")?;
        }
        for site in &self.sites {
            write!(f, "\n{}", place(site.span))?;
            site.write(f)?;
        }
        if self.sites.is_empty() {
            return Ok(());
        }
        writeln!(f)?;
        for (index, result) in self.results.iter().enumerate() {
            match result {
                Ok(bound) => writeln!(f, "result {index}: |y - y*| <= {}", bound.expression)?,
                Err(ended) => writeln!(f, "result {index}: not certified: {}", ended.reason)?,
            }
        }
        Ok(())
    }
}

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write(f, |_| String::new())
    }
}

/// The decision as one line, without the end of it.
impl Display for SiteReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.weight)?;
        match (self.rule, self.scheme) {
            (Some(rule), Some(scheme)) => write!(f, "{rule}, {}", scheme.name())?,
            (Some(rule), None) => write!(f, "{rule}")?,
            (None, _) => write!(f, "no rule, the weight is materialised as f32")?,
        }
        match &self.certificate {
            Some(c) => write!(f, "; |error| <= {:.3e} {}", c.bound, c.measure.text())?,
            None if self.alternatives.is_empty() => {}
            None => write!(f, "; no bound while sizes are open")?,
        }
        write!(f, "; {}", self.chosen_because)
    }
}

impl SiteReport {
    /// Everything, on several lines.
    fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.weight)?;
        match (self.rule, self.scheme) {
            (Some(rule), Some(scheme)) => writeln!(f, "rule {rule} with {}", scheme.name())?,
            (Some(rule), None) => writeln!(f, "rule {rule}")?,
            (None, _) => writeln!(f, "no rule; the weight is materialised as f32")?,
        }
        writeln!(f, "  because  {}", self.chosen_because)?;
        for stopped in &self.stopped {
            writeln!(f, "  stopped  {} by its guard {}: {}", stopped.rule, stopped.guard, stopped.reason)?;
        }
        if let (Some(before), Some(after)) = (&self.before, &self.after) {
            writeln!(f, "  before   {before}\n  after    {after}")?;
        }
        if let Some(certificate) = &self.certificate {
            writeln!(f, "  bound    |y - y*| <= {:.3e} {}, the sum of", certificate.bound, certificate.measure.text())?;
            for term in &certificate.terms {
                writeln!(f, "           {:.3e}  {}", term.error, term.what)?;
            }
        } else if !self.alternatives.is_empty() {
            writeln!(f, "  bound    open until the contracted size is known")?;
        }
        if self.alternatives.is_empty() { Ok(()) } else { write_columns(f, &self.table()) }
    }

    /// What was considered, under its heads. "Paper bytes" leave out what the paper does not count
    /// ([`msd_ir::cost::Counts`]).
    fn table(&self) -> Vec<[String; COLUMNS]> {
        let number = |v: Option<f64>| v.map_or_else(|| "open".to_owned(), |v| format!("{v:.3e}"));
        let paper_bytes = |a: &Alternative| match a.cost.map(|c| c.counts) {
            Some(c) if c.bytes == c.bytes_published => "same".to_owned(),
            counts => number(counts.map(|c| c.bytes_published)),
        };
        let time = |v: Option<f64>| v.map_or_else(|| "open".to_owned(), |v| format!("{:.1} us", v * 1e6));
        let row = |a: &Alternative| {
            let chosen = a.lowering == self.lowering && a.scheme == self.scheme;
            let name = a.scheme.map_or(a.lowering.name(), |s| s.name());
            [
                format!("{} {name}", if chosen { "*" } else { " " }),
                number(a.bound()),
                number(a.cost.map(|c| c.counts.bytes)),
                paper_bytes(a),
                number(a.cost.map(|c| c.counts.flops())),
                number(a.cost.map(|c| c.counts.vector_ops)),
                time(a.cost.map(|c| c.seconds)),
            ]
        };
        let heads = ["  alternative", "bound", "bytes", "paper bytes", "FLOPs", "vector ops", "predicted"];
        std::iter::once(heads.map(str::to_owned)).chain(self.alternatives.iter().map(row)).collect()
    }
}

/// Columns of the table of alternatives.
const COLUMNS: usize = 7;

/// The first column to the left, the others, which are numbers, to the right. Cells are ASCII.
fn write_columns(f: &mut Formatter<'_>, rows: &[[String; COLUMNS]]) -> fmt::Result {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    for row in rows {
        write!(f, "{:<1$}", row[0], widths[0])?;
        for (cell, width) in row.iter().zip(widths).skip(1) {
            write!(f, "  {cell:>width$}")?;
        }
        writeln!(f)?;
    }
    Ok(())
}
