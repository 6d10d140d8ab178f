//! Faults with the place they come from and the exit status they mean. Owns who is to blame; how
//! a fault is shown is the report's.

use std::rc::Rc;

use msd::ir::diag::{Code, Diagnostic};

use crate::source::SourceFile;

/// Exit status of the process, as docs/language.md fixes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    /// Everything asked for was done.
    Done = 0,
    /// A file or tensor is at fault.
    Input = 1,
    /// The command line is at fault.
    Usage = 2,
    /// msd is at fault.
    Ours = 3,
}

/// Where a diagnostic belongs.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// To the command line or the machine.
    Nowhere,
    /// To a file without a text to show.
    File(String),
    /// To a source text; spans are places in it.
    Source(Rc<SourceFile>),
}

/// A diagnostic and where it belongs.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// What is wrong.
    pub(crate) diagnostic: Diagnostic,
    /// Where.
    pub(crate) origin: Origin,
}

impl Fault {
    /// A fault of a file as a whole.
    pub(crate) fn in_file(diagnostic: Diagnostic, name: &str) -> Fault {
        Fault { diagnostic, origin: Origin::File(name.to_owned()) }
    }

    /// The faults of one source text.
    pub(crate) fn in_source(diagnostics: Vec<Diagnostic>, source: &Rc<SourceFile>) -> Vec<Fault> {
        let fault = |diagnostic| Fault { diagnostic, origin: Origin::Source(source.clone()) };
        diagnostics.into_iter().map(fault).collect()
    }

    /// Who is to blame. A name that exists nowhere is a slip on the command line, unless a place
    /// says that it stands in a file.
    pub(crate) fn status(&self) -> Status {
        match self.diagnostic.code {
            Code::Internal => Status::Ours,
            Code::BadUsage | Code::UnknownTarget | Code::IsaUnavailable => Status::Usage,
            Code::UnknownKernel | Code::UnknownInput | Code::UnknownScheme if self.diagnostic.span.is_none() => {
                Status::Usage
            }
            _ => Status::Input,
        }
    }
}

impl From<Diagnostic> for Fault {
    fn from(diagnostic: Diagnostic) -> Fault {
        Fault { diagnostic, origin: Origin::Nowhere }
    }
}
