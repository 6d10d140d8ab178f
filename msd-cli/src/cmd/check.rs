//! `msd check`: syntax, types and shapes of files. All faults of all files come in one run.

use std::path::Path;
use std::rc::Rc;

use msd::grammar;

use crate::args::CheckArgs;
use crate::origin::Fault;
use crate::report::{Body, CheckedFile, Outcome};
use crate::source::{SourceFile, display};

/// Checks every file.
pub(crate) fn run(args: &CheckArgs) -> Outcome {
    let mut files = Vec::new();
    let mut faults = Vec::new();
    for path in &args.files {
        match check(path) {
            Ok(file) => files.push(file),
            Err(found) => faults.extend(found),
        }
    }
    let text = files.iter().map(|f| format!("{}: {}\n", f.file, f.kernels.join(", "))).collect();
    Outcome::done(text, Body::Check { files }).with_faults(faults)
}

fn check(path: &Path) -> Result<CheckedFile, Vec<Fault>> {
    let source = Rc::new(SourceFile::read(path).map_err(|d| vec![Fault::in_file(d, &display(path))])?);
    let kernels = grammar::check_bytes(&source.bytes).map_err(|d| Fault::in_source(d, &source))?;
    Ok(CheckedFile { file: source.name.clone(), kernels: kernels.iter().map(|k| k.name.to_string()).collect() })
}
