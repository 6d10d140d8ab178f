//! Every diagnostic the crate raises. Each file of `malformed/` states code and place of its
//! errors in its first lines; messages and helps are in the snapshots.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use msd_grammar::{check, check_bytes};
use msd_ir::diag::{Code, Diagnostic};

fn malformed() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/malformed");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    files
}

fn place(fault: &Diagnostic, text: &str) -> String {
    let (line, column) = fault.span.unwrap().line_column(text);
    format!("{line}:{column}")
}

/// `line:column code message / label / help`
fn render(faults: &[Diagnostic], text: &str) -> String {
    let mut out = String::new();
    for fault in faults {
        out += &format!("{} {} {}\n", place(fault, text), fault.code.as_str(), fault.message);
        for label in &fault.labels {
            let (line, column) = label.span.line_column(text);
            out += &format!("    {line}:{column} {}\n", label.text);
        }
        out += &format!("    help: {}\n", fault.help.as_deref().expect("every diagnostic has a help"));
    }
    out
}

#[test]
fn every_malformed_file_gives_the_stated_errors() {
    let mut failures = String::new();
    let mut all = String::new();
    for path in malformed() {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().to_string();
        let expected: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("// expect: ")).collect();
        assert!(!expected.is_empty(), "{name} states no error");
        let faults = check(&text).err().unwrap_or_default();
        let found: Vec<String> = faults.iter().map(|f| format!("{} {}", f.code.as_str(), place(f, &text))).collect();
        if found != expected {
            failures += &format!("{name}: expected {expected:?}, found\n{}", render(&faults, &text));
        }
        all += &format!("== {name}\n{}", render(&faults, &text));
    }
    assert!(failures.is_empty(), "{failures}");
    insta::assert_snapshot!(all);
}

/// Codes of the text stages: what the files above must cover between them.
#[test]
fn the_files_cover_every_code_of_text_names_and_types() {
    let mut covered: BTreeSet<Code> = BTreeSet::from([Code::InvalidUtf8]);
    for path in malformed() {
        let text = fs::read_to_string(&path).unwrap();
        covered.extend(check(&text).unwrap_err().iter().map(|f| f.code));
    }
    let of_text = |code: &&Code| code.as_str() < "E0505" && **code != Code::UnknownKernel;
    let missing: Vec<&Code> = Code::ALL.iter().filter(of_text).filter(|c| !covered.contains(c)).collect();
    assert!(missing.is_empty(), "no file raises {missing:?}");
}

#[test]
fn invalid_utf8_is_reported_at_its_byte() {
    let bytes = b"// a comment\nkernel f(a: f32[N]) -> f32[N] { \xff }\n";
    let faults = check_bytes(bytes).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].code, Code::InvalidUtf8);
    assert_eq!(faults[0].span.unwrap().start, bytes.iter().position(|b| *b == 0xff).unwrap());
    insta::assert_snapshot!(render(&faults, &String::from_utf8_lossy(bytes)));
}

#[test]
fn an_error_does_not_cascade() {
    let text = "kernel f(a: f33[N], b: f32[N]) -> f32[N] { let c = a + b; let d = exp(c); d * a }";
    assert_eq!(check(text).unwrap_err().len(), 1);
    let text = "kernel f(a: f32[N], b f32[K]) -> f32[K] { let c = b * K; exp(b + c) }";
    assert_eq!(check(text).unwrap_err().len(), 1);
    let text = "kernel f(a: f32[N]) -> f32[N] { let b = a a; let c = a let d = c; a + b + c + d }";
    assert_eq!(check(text).unwrap_err().len(), 2);
}
