//! The paper's experiments, run again: one function a table, each row beside the paper's figure.
//! Owns what is drawn, what is compared with what, and why ours differs where it does; how rows look
//! is the report's. What is ours is computed by the project's own code, schemes and compiled kernels;
//! what the paper compares it with is [`baselines`].
//!
//! Seeds are fixed, and no figure depends on the number of threads. Where the float64 product of the
//! whole would take too long a sample of its rows is compared: rows are drawn independently of each
//! other, and row and element of a draw have their place in the stream, so a sampled row is that row.

mod attention;
mod baselines;
mod draws;
mod errors;
mod floats;
mod linear;
mod operations;
mod parallel;

use msd::Result;

use crate::report::svg::Chart;

/// Seed of every draw.
const SEED: u64 = 2026;

/// A table of the paper, or a part of the paper's experiments at another size.
#[derive(Debug)]
pub(crate) struct Table {
    /// Its number in the paper.
    pub(crate) id: u32,
    /// What is compared.
    pub(crate) title: &'static str,
    /// What was drawn and how much of it was compared.
    pub(crate) setup: String,
    /// What holds for the whole of it.
    pub(crate) notes: Vec<&'static str>,
    /// The figures.
    pub(crate) rows: Vec<Row>,
    /// What of it is drawn.
    pub(crate) figures: Vec<Figure>,
}

/// A figure of a table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What is measured.
    pub(crate) name: String,
    /// Unit of both figures; empty for pure numbers.
    pub(crate) unit: &'static str,
    /// The paper's.
    pub(crate) paper: Published,
    /// Ours, rounded to `decimals`.
    pub(crate) ours: f64,
    /// Decimals of it that are worth printing.
    pub(crate) decimals: usize,
    /// Why they differ, or what ours adds.
    pub(crate) note: Option<&'static str>,
}

/// A chart of a table, and the name of its file without directory and ending.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// Lower-case words joined by hyphens.
    pub(crate) name: &'static str,
    /// What is drawn.
    pub(crate) chart: Chart,
}

/// What the paper says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Published {
    /// Nothing: the row is ours.
    Nothing,
    /// A figure, and the decimals it is printed with.
    Value(f64, usize),
    /// Figures from here to there, and their decimals.
    Range(f64, f64, usize),
}

impl Row {
    fn new(name: impl Into<String>, unit: &'static str, decimals: usize, ours: f64) -> Row {
        let power = 10f64.powi(decimals as i32);
        let ours = (ours * power).round() / power;
        Row { name: name.into(), unit, paper: Published::Nothing, ours, decimals, note: None }
    }

    fn paper(self, value: f64, decimals: usize) -> Row {
        Row { paper: Published::Value(value, decimals), ..self }
    }

    fn note(self, note: &'static str) -> Row {
        Row { note: Some(note), ..self }
    }
}

/// How much of each experiment is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Most rows of a product that are compared with float64.
    pub(crate) rows: usize,
    /// Largest size of a matrix; larger ones of the paper are cut to it.
    pub(crate) size: usize,
    /// Threads.
    pub(crate) threads: usize,
}

impl Effort {
    /// The paper's sizes.
    pub(crate) fn full(threads: usize) -> Effort {
        Effort { rows: 64, size: usize::MAX, threads }
    }
}

/// A table that can be run.
pub(crate) struct Experiment {
    /// Its number.
    pub(crate) id: u32,
    /// Runs it.
    pub(crate) run: fn(Effort) -> Result<Table>,
}

/// Every table, in the paper's order.
pub(crate) const EXPERIMENTS: &[Experiment] = &[
    Experiment { id: 1, run: floats::configurations },
    Experiment { id: 6, run: |_| Ok(operations::small_heads()) },
    Experiment { id: 7, run: |_| Ok(operations::latent_heads()) },
    Experiment { id: 9, run: linear::distance },
    Experiment { id: 10, run: linear::shares },
    Experiment { id: 11, run: linear::sizes },
    Experiment { id: 12, run: attention::flash },
    Experiment { id: 13, run: floats::distributions },
    Experiment { id: 14, run: floats::products },
    Experiment { id: 15, run: floats::sizes },
    Experiment { id: 16, run: floats::bounds },
];

#[cfg(test)]
mod tests;
