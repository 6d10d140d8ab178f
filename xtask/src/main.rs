//! Chores of the repository, in Rust so that every machine that builds msd can run them:
//! `cargo xtask tidy` checks what compiler and clippy cannot see, `cargo xtask nightly` runs what
//! is too slow for every change, `cargo xtask bench-table` writes what is measured into the
//! documents. Owns no product code and depends on none, so that it still builds, and can say what
//! is wrong, when nothing else does.

mod bench_table;
mod manifest;
mod nightly;
mod rust_source;
mod tidy;
mod tree;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "\
usage: cargo xtask <task>

tasks:
  tidy          check layout, dependencies, style and links; exit status 1 if anything is found
  nightly       slow checks: valgrind, licences, the planner against measurements, long property tests
                (PROPTEST_CASES, default 4096)
  bench-table   measure linear layers for minutes; write the tables of docs/performance.md and README.md";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tidy"] => tidy::run(&root()),
        ["nightly"] => nightly::run(&root()),
        ["bench-table"] => bench_table::run(&root()),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(true)
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the repository: the parent of the package cargo is running.
fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    package.and_then(|p| p.parent().map(PathBuf::from)).unwrap_or_else(|| PathBuf::from("."))
}

/// The cargo that is running, in the repository.
fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}
