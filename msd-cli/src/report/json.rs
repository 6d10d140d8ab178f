//! The objects of `--json`: every field that programs may rely on is declared here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use msd::ir::tensor::Tensor;
use serde::Serialize;

use super::npu::JsonRun;
use super::paper::JsonTable;
use super::site::{JsonResult, JsonSite};
use super::{Fault, Origin};
use crate::npu::predict::Prediction;
use crate::source::display;

/// What all objects share, around what the command answers.
#[derive(Serialize)]
struct Object<'a> {
    /// `msd.<command>/1`; the number grows when a field changes its meaning.
    schema: String,
    #[serde(flatten)]
    body: &'a Body,
    diagnostics: Vec<JsonDiagnostic<'a>>,
    /// The file that repeats a fault of msd itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    reproducer: Option<String>,
}

/// What each command answers.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Body {
    /// Nothing but diagnostics.
    Empty {},
    /// `msd check`
    Check {
        /// The files without faults.
        files: Vec<CheckedFile>,
    },
    /// `msd fmt`
    Fmt {
        /// The files without faults.
        files: Vec<LaidOutFile>,
    },
    /// `msd run`
    Run {
        /// The kernel's name.
        kernel: String,
        /// The results.
        outputs: Vec<Output>,
        /// Of the sites, `mixed` if they differ; null where nothing was split into digits.
        scheme: Option<&'static str>,
        /// `msd`, `dequant`, `mixed`, or `plain` where nothing is dequantized.
        lowering: &'static str,
        /// `cpu` or `reference`.
        target: String,
        /// Instruction set level; null on the reference evaluator.
        isa: Option<&'static str>,
        /// Threads of the execution.
        threads: usize,
        /// Compilation; null on the reference evaluator.
        compile_ms: Option<f64>,
        /// The one execution.
        seconds: f64,
        /// The plan.
        sites: Vec<JsonSite>,
    },
    /// `msd explain`
    Explain {
        /// The kernel's name.
        kernel: String,
        /// As of a run.
        lowering: &'static str,
        /// As of a run.
        scheme: Option<&'static str>,
        /// The machine profile the costs are predicted for.
        profile: String,
        /// The uses of dequantized weights, in the order of their places.
        sites: Vec<JsonSite>,
        /// What is certified of each result.
        results: Vec<JsonResult>,
        /// What is predicted for the chip that is the target.
        #[serde(skip_serializing_if = "Option::is_none")]
        npu: Option<Prediction>,
    },
    /// `msd opt`
    Opt {
        /// The kernel's name.
        kernel: String,
        /// The level that was asked for.
        emit: &'static str,
        /// The passes in order.
        passes: Vec<Pass>,
        /// The rewritten kernel as text; of `--emit ir`.
        ir: Option<String>,
        /// The plan; of `--emit plan`.
        sites: Option<Vec<JsonSite>>,
        /// Code of each function; of `--emit clif` and `--emit asm`.
        functions: Option<Vec<Function>>,
    },
    /// `msd bench`
    Bench {
        /// The kernel's name.
        kernel: String,
        /// This machine, with its limits at the first number of threads.
        machine: Machine,
        /// What was measured.
        rows: Vec<Row>,
    },
    /// `msd npu`
    Npu {
        /// The stream's name.
        program: String,
        /// The chip.
        chip: String,
        /// One per combination of sizes.
        runs: Vec<JsonRun>,
    },
    /// `msd paper`
    Paper {
        /// The tables that were run, in the paper's order.
        tables: Vec<JsonTable>,
    },
    /// `msd completions`
    Completions {
        /// The shell.
        shell: String,
        /// Its script.
        script: String,
    },
    /// `--help` and `--version`
    Text {
        /// What a person would read.
        text: String,
    },
}

/// A file that checks.
#[derive(Debug, Serialize)]
pub(crate) struct CheckedFile {
    /// Its path as given.
    pub(crate) file: String,
    /// The names of its kernels, in order.
    pub(crate) kernels: Vec<String>,
}

/// A file that was, or could be, laid out.
#[derive(Debug, Serialize)]
pub(crate) struct LaidOutFile {
    /// Its path as given.
    pub(crate) file: String,
    /// Whether the canonical layout differs from what the file held.
    pub(crate) changed: bool,
}

/// The machine of a benchmark.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// Its processor.
    pub(crate) cpu: String,
    /// Vector features of it.
    pub(crate) features: Vec<&'static str>,
    /// Its limits.
    #[serde(flatten)]
    pub(crate) limits: JsonLimits,
}

/// Measured limits of a machine; medians of the samples of one run.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct JsonLimits {
    /// Memory read bandwidth, 1e9 bytes per second.
    pub(crate) read_gbs: f64,
    /// 8-bit multiply-accumulates of vector registers, 1e9 per second.
    pub(crate) int8_gmacs: f64,
    /// The same of matrix registers (AMX), where the machine has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) amx_gmacs: Option<f64>,
    /// F32 multiply-adds, 1e9 per second.
    pub(crate) f32_gmacs: f64,
}

/// One contender at one combination of sizes and threads.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// The size of every dimension.
    pub(crate) dims: BTreeMap<String, u64>,
    /// Threads.
    pub(crate) threads: usize,
    /// As of a run, or `f32`: the same kernel over F32 weights.
    pub(crate) lowering: &'static str,
    /// As of a run.
    pub(crate) scheme: Option<&'static str>,
    /// Instruction set level.
    pub(crate) isa: &'static str,
    /// Who wrote the tiles: `amx`, `zmm`, `ymm` or, of 128-bit vectors, `128`. Several products are joined by `+`
    /// here and in the next two, which are null without one.
    pub(crate) emitter: Option<String>,
    /// What multiplies: tokens and digits, panels and their channels, element types of rows and panels.
    pub(crate) tile: Option<String>,
    /// Tokens of a block, number of blocks and of those done together; channels of a unit of work; elements
    /// along K of a block.
    pub(crate) blocking: Option<String>,
    /// Of one call: median over rounds.
    pub(crate) seconds: f64,
    /// Weights as stored (codes, scales, zero points) over time, 1e9 bytes per second; null without
    /// quantized parameters.
    pub(crate) weight_gbs: Option<f64>,
    /// Multiply-accumulates of the source's products over time, 1e9 per second.
    pub(crate) gmacs: f64,
    /// Distance from the F64 value of the source over its norm; null where that is zero or not
    /// finite, or too large to compute.
    pub(crate) rel_l2: Option<f64>,
    /// Compilation.
    pub(crate) compile_ms: f64,
    /// Rounds of the measurement.
    pub(crate) rounds: usize,
    /// The machine in the same rounds.
    pub(crate) limits: JsonLimits,
}

/// A pass that ran.
#[derive(Debug, Serialize)]
pub(crate) struct Pass {
    /// Its name.
    pub(crate) pass: &'static str,
    /// Whether it changed the kernel.
    pub(crate) changed: bool,
    /// Its time.
    pub(crate) ms: f64,
    /// The kernel after it, where `--print-after` asks for it.
    pub(crate) ir: Option<String>,
}

/// A function of a compiled kernel.
#[derive(Debug, Serialize)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// Its code.
    pub(crate) text: String,
}

/// A result of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Output {
    /// Position among the results.
    pub(crate) index: usize,
    /// Declared element type.
    pub(crate) dtype: &'static str,
    /// Shape.
    pub(crate) shape: Vec<usize>,
    /// Where it was written.
    pub(crate) file: Option<String>,
    /// Least element that is a number; null if there is none, as the next two.
    pub(crate) min: Option<f64>,
    /// Greatest.
    pub(crate) max: Option<f64>,
    /// Mean of those that are numbers.
    pub(crate) mean: Option<f64>,
}

impl Output {
    /// A result, with the file it goes to.
    pub(crate) fn new(index: usize, tensor: &Tensor, file: Option<&PathBuf>) -> Output {
        let numbers = (0..tensor.len()).map(|i| tensor.value(i)).filter(|v| !v.is_nan());
        let none = (0u64, f64::INFINITY, f64::NEG_INFINITY, 0.0);
        let (count, least, most, sum) =
            numbers.fold(none, |(n, least, most, sum), v| (n + 1, v.min(least), v.max(most), sum + v));
        let of_numbers = |value: f64| (count > 0).then_some(value);
        Output {
            index,
            dtype: tensor.dtype().name(),
            shape: tensor.shape().to_vec(),
            file: file.map(|path| display(path)),
            min: of_numbers(least),
            max: of_numbers(most),
            mean: of_numbers(sum / count as f64),
        }
    }
}

#[derive(Serialize)]
struct JsonDiagnostic<'a> {
    code: &'static str,
    severity: &'static str,
    message: &'a str,
    file: Option<&'a str>,
    line: Option<usize>,
    column: Option<usize>,
    help: Option<&'a str>,
}

impl<'a> JsonDiagnostic<'a> {
    fn new(fault: &'a Fault) -> JsonDiagnostic<'a> {
        let diagnostic = &fault.diagnostic;
        let (file, place) = match &fault.origin {
            Origin::Nowhere => (None, None),
            Origin::File(name) => (Some(name.as_str()), None),
            Origin::Source(source) => (Some(source.name.as_str()), diagnostic.span.map(|s| source.place(s))),
        };
        JsonDiagnostic {
            code: diagnostic.code.as_str(),
            severity: "error",
            message: &diagnostic.message,
            file,
            line: place.map(|p| p.line),
            column: place.map(|p| p.column),
            help: diagnostic.help.as_deref(),
        }
    }
}

/// The one object, with a newline after it.
pub(super) fn object(command: &str, body: &Body, faults: &[Fault], reproducer: Option<&Path>) -> String {
    let object = Object {
        schema: format!("msd.{command}/1"),
        body,
        diagnostics: faults.iter().map(JsonDiagnostic::new).collect(),
        reproducer: reproducer.map(|p| p.display().to_string()),
    };
    // Only a map with keys that are no strings could fail, and no struct here holds one.
    serde_json::to_string_pretty(&object).map_or_else(|e| format!("{{\"error\": \"{e}\"}}\n"), |text| text + "\n")
}
