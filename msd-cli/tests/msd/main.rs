//! The binary as its users meet it: exit status, streams, objects, files.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod bench;
mod cli;
mod levels;
mod npu;
mod paper;
mod quickstart;
mod run;

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// What one run of `msd` left behind.
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn command(dir: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_msd"));
    command.args(args).current_dir(dir.path()).stdin(Stdio::null());
    command
}

pub(crate) fn msd(dir: &TempDir, args: &[&str]) -> Ran {
    let output = command(dir, args).output().unwrap();
    Ran {
        status: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs with `--json`; standard output must be exactly one object of that schema, and standard
/// error empty.
pub(crate) fn json(dir: &TempDir, args: &[&str], schema: &str) -> (i32, Value) {
    let ran = msd(dir, &[args, &["--json"]].concat());
    let object: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {}", ran.stdout));
    assert_eq!(object["schema"], schema, "{object}");
    assert_eq!(ran.stderr, "");
    for diagnostic in object["diagnostics"].as_array().unwrap() {
        let fields: Vec<&str> = diagnostic.as_object().unwrap().keys().map(String::as_str).collect();
        let mut wanted = ["code", "severity", "message", "file", "line", "column", "help"];
        wanted.sort_unstable();
        let mut fields = fields;
        fields.sort_unstable();
        assert_eq!(fields, wanted);
    }
    (ran.status, object)
}

pub(crate) fn dir(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(dir.path().join(name), content).unwrap();
    }
    dir
}

/// A file of the repository, whatever directory a command runs in.
pub(crate) fn repository(path: &str) -> String {
    format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))
}

/// The diagnostics of an object as one text each: code, message and help.
pub(crate) fn diagnostics(object: &Value) -> Vec<String> {
    let list = object["diagnostics"].as_array().unwrap();
    list.iter().map(|d| format!("{} {} {}", d["code"], d["message"], d["help"])).collect()
}
