//! Faults of msd itself: panics are contained here and become a diagnostic, and a file is left
//! that holds what it takes to repeat them. Owns nothing that a fault of the input could reach.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Parser;
use msd::ir::diag::{Code, Diagnostic};

use crate::args::Cli;
use crate::origin::Fault;
use crate::source::SourceFile;

/// A panic that was contained.
#[derive(Clone, Debug)]
pub(crate) struct Crash {
    /// The first panic of any thread: its message, file and line.
    message: String,
}

impl From<Crash> for Fault {
    fn from(crash: Crash) -> Fault {
        Diagnostic::new(Code::Internal, crash.message).into()
    }
}

/// Runs `work`. If it panics, the panic is returned instead of being printed: the first one of any
/// thread, since the panic that reaches us may only report that a worker is gone.
pub(crate) fn contain<R>(work: impl FnOnce() -> R) -> Result<R, Crash> {
    let first: Arc<Mutex<Option<String>>> = Arc::default();
    let seen = first.clone();
    let former = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied().map(str::to_owned);
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".into());
        let place = info.location().map(|l| format!(" ({}:{})", l.file(), l.line())).unwrap_or_default();
        seen.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| text + &place);
    }));
    // What `work` leaves half done is never looked at again: the process ends.
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    panic::set_hook(former);
    result.map_err(|_| {
        let message = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        Crash { message: message.unwrap_or_else(|| "panic without a message".into()) }
    })
}

/// Writes what repeats a fault into a new file of the temporary directory: version, machine,
/// arguments and the text of every `.msd` file they name. Tensors stay where the arguments say.
pub(crate) fn write_reproducer(args: &[OsString], message: &str) -> io::Result<PathBuf> {
    let mut file = tempfile::Builder::new().prefix("msd-reproducer-").suffix(".txt").tempfile()?;
    file.write_all(reproducer(args, message).as_bytes())?;
    let (_, path) = file.keep()?;
    Ok(path)
}

fn reproducer(args: &[OsString], message: &str) -> String {
    let mut text = format!("msd {}: {message}\n", env!("CARGO_PKG_VERSION"));
    // Writing to a String cannot fail.
    let _ = writeln!(text, "machine: {} {}", std::env::consts::ARCH, std::env::consts::OS);
    let _ = writeln!(text, "arguments: {args:?}");
    // Parsing may be what failed; then there is no file to name.
    let sources = contain(|| Cli::try_parse_from(args).map(|cli| cli.command.sources().to_vec()));
    for path in sources.into_iter().flatten().flatten() {
        let _ = write!(text, "\n==== {} ====\n{}\n", path.display(), content(&path));
    }
    text
}

fn content(path: &Path) -> String {
    match SourceFile::read(path) {
        Ok(source) => source.text().to_owned(),
        Err(fault) => format!("({})", fault.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Status;
    use crate::report::{self, Outcome};

    #[test]
    #[allow(clippy::panic, clippy::unwrap_used, reason = "the panic is what is tested")]
    fn a_panic_becomes_status_3_one_object_and_a_reproducer() {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("k.msd");
        std::fs::write(&input, "kernel k(X: f32[N]) -> f32[N] { X }").unwrap();
        let args: Vec<OsString> = vec!["msd".into(), "check".into(), input.into(), "--json".into()];

        let worker = || std::thread::spawn(|| panic!("tile {} too wide", 7)).join().map_err(|_| panic!("worker lost"));
        let crash = contain(worker).unwrap_err();
        let outcome = Outcome::failure(vec![crash.into()]);
        let message = outcome.fault_of_ours().unwrap();
        assert!(message.starts_with("tile 7 too wide (msd-cli/src/crash.rs:"), "{message}");

        let rendered = report::render("check", true, outcome, Some(write_reproducer(&args, &message)));
        assert_eq!(rendered.status, Status::Ours);
        let object: serde_json::Value = serde_json::from_str(&rendered.stdout).unwrap();
        assert_eq!(object["schema"], "msd.check/1");
        assert_eq!(object["diagnostics"][0]["code"], "E0901");
        let path = object["reproducer"].as_str().unwrap();
        assert!(object["diagnostics"][0]["help"].as_str().unwrap().contains(path));
        let text = std::fs::read_to_string(path).unwrap();
        std::fs::remove_file(path).unwrap();
        assert!(
            text.contains("tile 7 too wide") && text.contains("\"check\"") && text.contains("kernel k(X"),
            "{text}"
        );
    }

    #[test]
    fn work_that_ends_is_returned() {
        assert_eq!(contain(|| 7).ok(), Some(7));
    }
}
