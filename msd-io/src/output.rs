//! Outputs that appear whole or not at all. Each is written to a temporary file in the directory
//! of its target and takes the target's name when all of them are complete.
//!
//! A crash leaves at most a temporary file behind (`.msd-*.tmp`). Data is not forced to disk: after
//! a loss of power a file system may show an output without its contents.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use msd_ir::diag::{Code, Diagnostic};
use tempfile::NamedTempFile;

use crate::raw::Origin;

/// A complete output without its name. Dropped, it vanishes.
#[derive(Debug)]
pub struct Staged {
    temp: NamedTempFile,
    /// Absolute, with symbolic links resolved.
    target: PathBuf,
    origin: Origin,
}

/// Where staged bytes go.
pub(crate) type Sink<'a> = BufWriter<&'a fs::File>;

impl Staged {
    /// A file of these bytes.
    ///
    /// # Errors
    /// `FileUnwritable` if the directory does not exist or `path` names something other than a regular
    /// file, such as a device.
    pub fn bytes(path: &Path, bytes: &[u8]) -> Result<Staged, Diagnostic> {
        Staged::write(path, |sink| sink.write_all(bytes))
    }

    /// Writes a temporary file for `path`. `FileUnwritable` if the directory does not exist or
    /// `path` names something other than a regular file, such as a device.
    pub(crate) fn write(path: &Path, fill: impl FnOnce(&mut Sink<'_>) -> io::Result<()>) -> Result<Staged, Diagnostic> {
        let origin = Origin::file(path);
        let staged = || -> io::Result<(NamedTempFile, PathBuf)> {
            let target = resolve(path)?;
            let temp = create_beside(&target)?;
            let mut sink = BufWriter::with_capacity(1 << 16, temp.as_file());
            fill(&mut sink)?;
            sink.flush()?;
            drop(sink);
            Ok((temp, target))
        };
        match staged() {
            Ok((temp, target)) => Ok(Staged { temp, target, origin }),
            Err(e) => Err(unwritable(&origin, &e)),
        }
    }
}

/// Gives every output its name, replacing files of that name.
///
/// # Errors
/// `FileUnwritable` if two outputs have one target or a name cannot be given. Then no output
/// remains: those that had their name already are removed, but what they replaced is lost.
pub fn commit(outputs: Vec<Staged>) -> Result<(), Diagnostic> {
    for (i, output) in outputs.iter().enumerate() {
        if outputs[..i].iter().any(|other| other.target == output.target) {
            return Err(output.origin.fault(Code::FileUnwritable, "is the target of two outputs"));
        }
    }
    let mut committed = Vec::new();
    for output in outputs {
        if let Err(e) = output.temp.persist(&output.target) {
            for path in &committed {
                // The fault to report is the first one; a file that stays is named by nobody's result.
                let _ = fs::remove_file(path);
            }
            return Err(unwritable(&output.origin, &e.error));
        }
        committed.push(output.target);
    }
    Ok(())
}

fn unwritable(origin: &Origin, error: &io::Error) -> Diagnostic {
    origin.fault(Code::FileUnwritable, format_args!("cannot be written: {error}"))
}

/// The file that writing to `path` would change. Renaming onto a symbolic link or a device would
/// replace the link or the device itself.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    match fs::metadata(path) {
        Ok(existing) if existing.is_file() => fs::canonicalize(path),
        Ok(_) => Err(io::Error::other("it is not a regular file")),
        Err(_) => {
            let name = path.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
            let directory = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Ok(fs::canonicalize(directory)?.join(name))
        }
    }
}

fn create_beside(target: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".msd-").suffix(".tmp");
    // A temporary file is private by default; an output has the permissions of any new file
    // (these, less the umask).
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(target.parent().unwrap_or(Path::new(".")))
}
