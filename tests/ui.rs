//! Kernels in Rust source as a user writes them: `ui/pass/` are programs that must run, `ui/fail/`
//! kernels that must not compile, each with what the compiler says of it. The messages are part of
//! the interface; TESTING.md says how they are accepted.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use std::fs;
use std::path::Path;

#[test]
fn right_and_wrong_kernels() {
    lay_out_files();
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
}

/// `msd_file!` looks in the package that is built. That of the cases is one of trybuild's making,
/// beside the folder that cargo gives to tests.
fn lay_out_files() {
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tests").join("trybuild/msd/files");
    fs::create_dir_all(&package).unwrap();
    for file in fs::read_dir("tests/ui/files").unwrap() {
        let path = file.unwrap().path();
        fs::copy(&path, package.join(path.file_name().unwrap())).unwrap();
    }
}
