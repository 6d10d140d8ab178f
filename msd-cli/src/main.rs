//! The command `msd`. This file owns the way from the arguments to the exit status and nothing
//! else: parsing is [`args`], work is [`cmd`], what people and programs read is [`report`].

mod args;
mod bench;
mod cmd;
mod crash;
mod inputs;
mod kernel_args;
mod names;
mod npu;
mod origin;
mod paper;
mod progress;
mod report;
mod request;
mod source;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::report::{Outcome, Rendered};

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let json = args::wants_json(&args);
    let rendered = crash::contain(|| render(&args, json, run(&args)))
        .unwrap_or_else(|crash| render(&args, json, Outcome::failure(vec![crash.into()])));
    report::emit(&rendered)
}

/// Parses the arguments and does what they ask.
fn run(args: &[OsString]) -> Outcome {
    match Cli::try_parse_from(args) {
        Err(error) => args::refusal(&error),
        Ok(cli) => match cli.command {
            Command::Check(args) => cmd::check::run(&args),
            Command::Fmt(args) => cmd::fmt::run(&args),
            Command::Run(args) => cmd::run::run(&args),
            Command::Explain(args) => cmd::explain::run(&args),
            Command::Bench(args) => cmd::bench::run(&args),
            Command::Opt(args) => cmd::opt::run(&args),
            Command::Npu(args) => cmd::npu::run(&args),
            Command::Paper(args) => cmd::paper::run(&args),
            Command::Completions(args) => cmd::completions::run(&args),
        },
    }
}

/// Turns an outcome into bytes; a fault of ours leaves a reproducer on the way.
fn render(args: &[OsString], json: bool, outcome: Outcome) -> Rendered {
    let reproducer = outcome.fault_of_ours().map(|message| crash::write_reproducer(args, &message));
    report::render(&args::command_name(args), json, outcome, reproducer)
}
