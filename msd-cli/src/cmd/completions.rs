//! `msd completions`: the script that completes `msd`'s arguments in a shell.

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs};
use crate::report::{Body, Outcome};

/// Generates the script.
pub(crate) fn run(args: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "msd", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    Outcome::done(script.clone(), Body::Completions { shell: args.shell.to_string(), script })
}
