//! What a command answers, and how it reaches people and programs: text on standard output and
//! drawn diagnostics on standard error, or one JSON object on standard output. Owns the exit
//! status and the two streams; no other module writes to either.

pub(crate) mod bench;
mod draw;
mod json;
pub(crate) mod npu;
pub(crate) mod page;
pub(crate) mod paper;
pub(crate) mod site;
pub(crate) mod svg;
pub(crate) mod table;

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

pub(crate) use self::json::{Body, CheckedFile, Function, JsonLimits, LaidOutFile, Machine, Output, Pass, Row};
use crate::origin::{Fault, Origin, Status};

/// What a command answers.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// For people, on standard output.
    text: String,
    /// For programs.
    body: Body,
    /// What went wrong.
    faults: Vec<Fault>,
    /// The least status, whatever the faults: `fmt --check` fails without any.
    at_least: Status,
}

impl Outcome {
    /// Success.
    pub(crate) fn done(text: String, body: Body) -> Outcome {
        Outcome { text, body, faults: Vec::new(), at_least: Status::Done }
    }

    /// Nothing but faults.
    pub(crate) fn failure(faults: Vec<Fault>) -> Outcome {
        Outcome { faults, ..Outcome::done(String::new(), Body::Empty {}) }
    }

    /// The same answer with faults beside it.
    pub(crate) fn with_faults(self, faults: Vec<Fault>) -> Outcome {
        Outcome { faults, ..self }
    }

    /// The same answer, but not a success.
    pub(crate) fn but_failed(self) -> Outcome {
        Outcome { at_least: Status::Input, ..self }
    }

    /// The worst of its faults decides.
    pub(crate) fn status(&self) -> Status {
        self.faults.iter().map(Fault::status).fold(self.at_least, Status::max)
    }

    /// The message of the first fault of msd itself.
    pub(crate) fn fault_of_ours(&self) -> Option<String> {
        let ours = self.faults.iter().find(|f| f.status() == Status::Ours);
        ours.map(|f| f.diagnostic.message.clone())
    }
}

/// An outcome as bytes.
#[derive(Debug)]
pub(crate) struct Rendered {
    /// For standard output; may hold terminal colours unless `json`.
    pub(crate) stdout: String,
    /// For standard error; may hold terminal colours.
    pub(crate) stderr: String,
    /// Whether standard output gets an object.
    pub(crate) json: bool,
    /// Exit status.
    pub(crate) status: Status,
}

/// Draws an outcome, or writes it as the object of `command`. `reproducer` is the file that
/// repeats a fault of ours, or why there is none.
pub(crate) fn render(
    command: &str,
    json: bool,
    mut outcome: Outcome,
    reproducer: Option<io::Result<PathBuf>>,
) -> Rendered {
    let status = outcome.status();
    if let Some(reproducer) = &reproducer {
        let help = match reproducer {
            Ok(path) => format!("this is a defect of msd; please report it with `{}`", path.display()),
            Err(e) => format!("this is a defect of msd; please report it (no reproducer could be written: {e})"),
        };
        for fault in outcome.faults.iter_mut().filter(|f| f.status() == Status::Ours) {
            fault.diagnostic.help = Some(help.clone());
        }
    }
    if json {
        let path = reproducer.and_then(Result::ok);
        let stdout = json::object(command, &outcome.body, &outcome.faults, path.as_deref());
        return Rendered { stdout, stderr: String::new(), json, status };
    }
    let stderr = draw::draw(&outcome.faults);
    Rendered { stdout: outcome.text, stderr, json, status }
}

/// Writes both streams. Colours reach terminals only, and not where `NO_COLOR` is set. A reader
/// that hung up has seen enough; any other failure to write standard output is a failure.
pub(crate) fn emit(rendered: &Rendered) -> ExitCode {
    // Nobody is left to tell when standard error fails.
    let complain = |text: &str| drop(anstream::stderr().write_all(text.as_bytes()));
    complain(&rendered.stderr);
    let written = if rendered.json { write(io::stdout(), rendered) } else { write(anstream::stdout(), rendered) };
    let status = match written {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            complain(&format!("cannot write to standard output: {e}\n"));
            rendered.status.max(Status::Input)
        }
        _ => rendered.status,
    };
    ExitCode::from(status as u8)
}

fn write(mut stdout: impl Write, rendered: &Rendered) -> io::Result<()> {
    stdout.write_all(rendered.stdout.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use msd::ir::diag::{Code, Diagnostic};
    use msd::ir::span::Span;

    use super::*;

    #[test]
    fn the_worst_fault_decides() {
        let outcome =
            |codes: &[Code]| Outcome::failure(codes.iter().map(|c| Diagnostic::new(*c, "x").into()).collect()).status();
        assert_eq!(outcome(&[]), Status::Done);
        assert_eq!(outcome(&[Code::MissingInput]), Status::Input);
        assert_eq!(outcome(&[Code::UnknownInput, Code::MissingInput]), Status::Usage);
        assert_eq!(outcome(&[Code::Internal, Code::BadUsage]), Status::Ours);
    }

    #[test]
    fn a_name_in_a_file_is_the_files_fault() {
        let unknown = Diagnostic::new(Code::UnknownScheme, "x");
        assert_eq!(Fault::from(unknown.clone()).status(), Status::Usage);
        assert_eq!(Fault::from(unknown.at(Span::new(0, 1))).status(), Status::Input);
    }
}
