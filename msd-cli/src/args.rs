//! The command line as types: every command, declared once. Owns parsing and the wording of usage
//! errors; the flags of commands that take a kernel are [`crate::kernel_args`].

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use msd::ir::diag::{Code, Diagnostic};

use crate::kernel_args::{BenchArgs, ExplainArgs, NpuArgs, OptArgs, RunArgs};
use crate::origin::Fault;
use crate::report::{Body, Outcome};

/// Multiply quantized weights as stored, with a proved error bound.
#[derive(Debug, Parser)]
#[command(name = "msd", bin_name = "msd", version, arg_required_else_help = false)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print one JSON object on standard output, whatever the exit status
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check syntax, types and shapes
    Check(CheckArgs),
    /// Lay files out canonically
    Fmt(FmtArgs),
    /// Execute a kernel once
    Run(RunArgs),
    /// Say how each dequantized weight is multiplied, why, and with which error
    Explain(ExplainArgs),
    /// Time a kernel against its alternatives and the limits of the machine
    Bench(BenchArgs),
    /// Show a kernel at a level of compilation
    Opt(OptArgs),
    /// Run an NPU's instruction stream: what is wrong with it, its cycles, its values
    Npu(NpuArgs),
    /// Run the paper's experiments again, beside its figures
    Paper(PaperArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

impl Command {
    /// The `.msd` files the command reads.
    pub(crate) fn sources(&self) -> &[PathBuf] {
        let one = std::slice::from_ref::<PathBuf>;
        match self {
            Command::Check(args) => &args.files,
            Command::Fmt(args) => &args.files,
            Command::Run(args) => one(&args.plan.file),
            Command::Explain(args) => one(&args.plan.file),
            Command::Bench(args) => one(&args.plan.file),
            Command::Opt(args) => one(&args.plan.file),
            Command::Npu(args) => one(&args.file),
            Command::Paper(_) | Command::Completions(_) => &[],
        }
    }
}

/// `msd check`
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Files to check
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

/// `msd fmt`
#[derive(Debug, Args)]
pub(crate) struct FmtArgs {
    /// Files to lay out
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Change nothing; name the files that would change and exit with status 1
    #[arg(long)]
    pub(crate) check: bool,
}

/// `msd paper`
#[derive(Debug, Args)]
pub(crate) struct PaperArgs {
    /// The table to run [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) table: Option<u32>,
    /// Write the charts of the tables into this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) svg: Option<PathBuf>,
    /// Write the tables into this file as Markdown, with charts from its directory `paper`
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
}

/// `msd completions`
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

/// Whether the object is wanted; known before parsing, since usage errors are objects as well.
pub(crate) fn wants_json(args: &[OsString]) -> bool {
    args.iter().skip(1).take_while(|a| *a != "--").any(|a| a == "--json")
}

/// The command of the arguments, for the schema; `usage` where there is none.
pub(crate) fn command_name(args: &[OsString]) -> String {
    let mut words = args.iter().skip(1).filter_map(|a| a.to_str()).filter(|a| !a.starts_with('-'));
    let word = words.next().unwrap_or_default();
    let cli = Cli::command();
    let known = cli.get_subcommands().any(|c| c.get_name() == word);
    if known || word == "help" { word.to_owned() } else { "usage".to_owned() }
}

/// What to answer where clap did not hand over a command: help, the version, or a usage error.
pub(crate) fn refusal(error: &clap::Error) -> Outcome {
    let text = error.render();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            Outcome::done(text.ansi().to_string(), Body::Text { text: text.to_string() })
        }
        _ => Outcome::failure(vec![Fault::from(usage_diagnostic(&text.to_string()))]),
    }
}

/// Clap writes `error: …`, tips and the usage as paragraphs; the first is the message, the rest
/// is help.
fn usage_diagnostic(text: &str) -> Diagnostic {
    let mut paragraphs = text.trim_start_matches("error: ").split("\n\n");
    let one_line = |p: &str| p.split_whitespace().collect::<Vec<_>>().join(" ");
    let message = one_line(paragraphs.next().unwrap_or_default());
    let help: Vec<String> = paragraphs
        .flat_map(|p| p.split("\n  tip: "))
        .map(|p| one_line(p.trim_start().trim_start_matches("tip: ")))
        .filter(|p| !p.is_empty() && !p.starts_with("For more information"))
        .collect();
    let diagnostic = Diagnostic::new(Code::BadUsage, message);
    if help.is_empty() { diagnostic } else { diagnostic.help(help.join("\n")) }
}
