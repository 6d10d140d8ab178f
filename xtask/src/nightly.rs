//! `cargo xtask nightly`: checks too slow for every change, each with its time. A step whose tool
//! is not installed is reported as skipped, never as passed; one that fails does not keep the
//! others from running, and fails the whole.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::cargo;

/// Cases per property when the environment does not say; proptest's own default is 256.
const CASES: &str = "4096";

/// How a step ended.
#[derive(Debug, PartialEq)]
enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

/// A named check of the repository at a root.
struct Step {
    name: &'static str,
    run: fn(&Path) -> Outcome,
}

const STEPS: &[Step] = &[
    Step { name: "oldest Rust", run: oldest_rust },
    Step { name: "generated code under valgrind", run: valgrind },
    Step { name: "licences of dependencies", run: licences },
    Step { name: "long property tests", run: properties },
    Step { name: "the planner against measurements", run: planner },
];

/// Runs every step and prints a summary; whether none failed.
pub(crate) fn run(root: &Path) -> Result<bool, String> {
    let mut results = Vec::new();
    for step in STEPS {
        println!("\n== {}", step.name);
        let start = Instant::now();
        let outcome = (step.run)(root);
        results.push((step.name, outcome, start.elapsed()));
    }
    println!("\n== summary");
    for (name, outcome, time) in &results {
        println!("{}", line(name, outcome, *time));
    }
    Ok(!results.iter().any(|(_, outcome, _)| matches!(outcome, Outcome::Failed(_))))
}

fn line(name: &str, outcome: &Outcome, time: Duration) -> String {
    let text = match outcome {
        Outcome::Passed => "passed".to_string(),
        Outcome::Failed(why) => format!("FAILED ({why})"),
        Outcome::Skipped(why) => format!("skipped ({why})"),
    };
    format!("{:>8.1} s  {name}: {text}", time.as_secs_f64())
}

/// Everything compiles with the version that the manifest promises. Where that is the installed one,
/// the other steps say so as well.
fn oldest_rust(root: &Path) -> Outcome {
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap_or_default();
    let Some(version) = rust_version(&manifest) else {
        return Outcome::Failed("Cargo.toml states no rust-version".to_string());
    };
    let version = format!("{version}.0");
    if !answers("rustup", &["run", &version, "rustc", "--version"]) {
        return Outcome::Skipped(format!("Rust {version} is not installed"));
    }
    let mut check = Command::new("rustup");
    check.args(["run", &version, "cargo", "check", "--workspace", "--all-targets", "--all-features"]);
    // Cargo tells its children which compiler it uses; this one brings its own.
    for variable in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        check.env_remove(variable);
    }
    check.current_dir(root);
    finish(check)
}

/// The `rust-version` of a manifest.
fn rust_version(manifest: &str) -> Option<&str> {
    let value = manifest.lines().find_map(|line| line.strip_prefix("rust-version = \""))?;
    value.strip_suffix('"')
}

/// Reads and writes out of bounds in generated code, and memory that is never freed. Valgrind
/// knows no AVX-512 and hides it from the program, so such code is not covered.
fn valgrind(root: &Path) -> Outcome {
    if !answers("valgrind", &["--version"]) {
        return Outcome::Skipped("valgrind is not installed".to_string());
    }
    let Some(host) = host() else {
        return Outcome::Failed("rustc does not name its host".to_string());
    };
    // Cargo runs each test binary through this. Generated code changes under valgrind's feet, so
    // it may cache none; fair scheduling keeps a waiting pool from starving its worker.
    let runner = "valgrind --quiet --error-exitcode=1 --smc-check=all --fair-sched=try \
                  --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite";
    let variable = format!("CARGO_TARGET_{}_RUNNER", host.to_uppercase().replace(['-', '.'], "_"));
    let mut test = cargo(root);
    test.args(["test", "--package", "msd", "--test", "filetests", "--test", "safety", "--test", "steady"]);
    test.env(variable, runner).env("MSD_ZERO_SIGNS_LOST", "1");
    finish(test)
}

/// Licences of everything we link, against the list of deny.toml.
fn licences(root: &Path) -> Outcome {
    if !answers("cargo", &["deny", "--version"]) {
        return Outcome::Skipped("cargo-deny is not installed".to_string());
    }
    let mut deny = cargo(root);
    deny.args(["deny", "--all-features", "check", "licenses"]);
    finish(deny)
}

/// The whole suite with more cases per property.
fn properties(root: &Path) -> Outcome {
    let cases = std::env::var("PROPTEST_CASES").unwrap_or_else(|_| CASES.to_string());
    println!("PROPTEST_CASES={cases}");
    let mut test = cargo(root);
    test.args(["test", "--workspace", "--release"]).env("PROPTEST_CASES", cases).env("MSD_EXHAUSTIVE", "1");
    finish(test)
}

/// What the planner takes is not much slower than what it does not.
fn planner(root: &Path) -> Outcome {
    let mut bench = cargo(root);
    bench.args(["bench", "--bench", "planner"]);
    finish(bench)
}

fn finish(mut command: Command) -> Outcome {
    match command.status() {
        Ok(status) if status.success() => Outcome::Passed,
        Ok(status) => Outcome::Failed(status.to_string()),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

/// Whether the program is there and content.
fn answers(program: &str, args: &[&str]) -> bool {
    let status = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|s| s.success())
}

/// The target triple tests are built for.
fn host() -> Option<String> {
    let output = Command::new("rustc").arg("-vV").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().find_map(|line| line.strip_prefix("host: ")).map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_not_an_answer() {
        assert!(!answers("no-such-program-anywhere", &[]));
        assert!(answers("rustc", &["--version"]));
        assert!(!answers("rustc", &["--no-such-flag"]));
    }

    #[test]
    fn the_promised_version_is_found() {
        assert_eq!(rust_version("[workspace.package]\nrust-version = \"1.95\"\n"), Some("1.95"));
        assert_eq!(rust_version("[package]\n"), None);
    }

    #[test]
    fn a_failing_or_missing_command_fails_its_step() {
        let mut bad = Command::new("rustc");
        bad.arg("--no-such-flag").stderr(Stdio::null());
        assert!(matches!(finish(bad), Outcome::Failed(_)));
        assert!(matches!(finish(Command::new("no-such-program-anywhere")), Outcome::Failed(_)));
    }

    #[test]
    fn the_summary_tells_skipped_from_passed() {
        let time = Duration::from_millis(1250);
        assert_eq!(line("a", &Outcome::Passed, time), "     1.2 s  a: passed");
        assert_eq!(line("a", &Outcome::Skipped("b".into()), time), "     1.2 s  a: skipped (b)");
        assert_eq!(line("a", &Outcome::Failed("c".into()), time), "     1.2 s  a: FAILED (c)");
    }
}
