//! Pages and charts that a command writes beside its answer. Owns where they may go: a directory that
//! is missing is made. What they say is the report's; that they appear together or not at all is
//! [`msd::io::commit`]'s.

use std::fs;
use std::path::Path;

use msd::io::Staged;

use crate::origin::Fault;

/// A file yet to appear.
pub(crate) fn stage(path: &Path, content: &str) -> Result<Staged, Vec<Fault>> {
    let directory = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A directory that cannot be made is one that cannot be written into, which staging words.
    let _ = fs::create_dir_all(directory);
    Staged::bytes(path, content.as_bytes()).map_err(|d| vec![d.into()])
}
