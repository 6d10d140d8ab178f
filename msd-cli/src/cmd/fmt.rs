//! `msd fmt`: the canonical layout of files. A file with faults is left alone; the others are
//! laid out all the same.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;

use msd::grammar;
use msd::ir::diag::{Code, Diagnostic};

use crate::args::FmtArgs;
use crate::origin::Fault;
use crate::report::{Body, LaidOutFile, Outcome};
use crate::source::{SourceFile, display};

/// Lays out every file, or with `--check` names those whose layout differs.
pub(crate) fn run(args: &FmtArgs) -> Outcome {
    let mut files = Vec::new();
    let mut faults = Vec::new();
    for path in &args.files {
        match lay_out(path, args.check) {
            Ok(file) => files.push(file),
            Err(found) => faults.extend(found),
        }
    }
    let changed: String = files.iter().filter(|f| f.changed).map(|f| format!("{}\n", f.file)).collect();
    let failed = args.check && !changed.is_empty();
    let outcome = Outcome::done(changed, Body::Fmt { files }).with_faults(faults);
    if failed { outcome.but_failed() } else { outcome }
}

fn lay_out(path: &Path, check: bool) -> Result<LaidOutFile, Vec<Fault>> {
    let source = Rc::new(SourceFile::read(path).map_err(|d| vec![Fault::in_file(d, &display(path))])?);
    let Some(text) = source.utf8() else {
        // The grammar words the faults of bytes that are no text.
        let none = || vec![Diagnostic::new(Code::Internal, "bytes that are not UTF-8 passed the check")];
        let found = grammar::check_bytes(&source.bytes).err().unwrap_or_else(none);
        return Err(Fault::in_source(found, &source));
    };
    let formatted = grammar::format(text).map_err(|d| Fault::in_source(d, &source))?;
    let changed = formatted != text;
    if changed && !check {
        replace(path, formatted.as_bytes()).map_err(|e| {
            let message = format!("cannot write `{}`: {e}", source.name);
            let help = "check the permissions of the file and of its directory";
            vec![Fault::in_file(Diagnostic::new(Code::FileUnwritable, message).help(help), &source.name)]
        })?;
    }
    Ok(LaidOutFile { file: source.name.clone(), changed })
}

/// Replaces a file's content in one step: a reader sees the old text or the new. A link keeps
/// pointing at the file, which keeps its permissions.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let permissions = fs::metadata(&path)?.permissions();
    // Renaming over a read-only file would succeed.
    if permissions.readonly() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file is read-only"));
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(content)?;
    file.as_file().set_permissions(permissions)?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    Ok(())
}
