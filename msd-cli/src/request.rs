//! From the common flags to the stages of the library: the kernel a command is about, and the
//! options it is planned with. Owns which kernel, which machine profile and whose faults; what the
//! stages do is [`msd`]'s.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use msd::ir::diag::{Code, Diagnostic};
use msd::ir::graph::Kernel;
use msd::ir::machine::Machine as Profile;
use msd::ir::plan::Request;
use msd::jit::probe::{Limits, Probe};
use msd::{Options, Source};

use crate::kernel_args::{Machine, PlanArgs};
use crate::names;
use crate::origin::Fault;
use crate::source::{SourceFile, display};

/// A kernel and the file it comes from.
pub(crate) struct Subject {
    /// The file.
    pub(crate) source: Rc<SourceFile>,
    /// The kernel as checked.
    pub(crate) kernel: Kernel,
}

impl Subject {
    /// Reads and checks the file and picks the kernel.
    pub(crate) fn read(args: &PlanArgs) -> Result<Subject, Vec<Fault>> {
        Subject::of(&args.file, args.kernel.as_deref())
    }

    /// The same by the file and the kernel's name.
    pub(crate) fn of(file: &Path, name: Option<&str>) -> Result<Subject, Vec<Fault>> {
        let source = Rc::new(SourceFile::read(file).map_err(|d| vec![Fault::in_file(d, &display(file))])?);
        let checked = Source::from_bytes(&source.name, source.bytes.clone()).and_then(Source::check);
        let checked = checked.map_err(|d| Fault::in_source(d, &source))?;
        let kernel = checked.kernel(name).cloned().map_err(|mut faults| {
            if let (Some(name), Some(fault)) = (name, faults.first_mut()) {
                fault.help = Some(names::help(name, checked.kernels().iter().map(|k| &*k.name)));
            }
            Fault::in_source(faults, &source)
        })?;
        Ok(Subject { source, kernel })
    }

    /// Diagnostics with places in the file.
    pub(crate) fn faults(&self, diagnostics: Vec<Diagnostic>) -> Vec<Fault> {
        Fault::in_source(diagnostics, &self.source)
    }
}

/// Refuses to write results over the file they come from.
pub(crate) fn check_not_source<'f>(
    source: &Path,
    mut files: impl Iterator<Item = &'f PathBuf>,
) -> Result<(), Diagnostic> {
    let place = source.canonicalize().ok();
    let Some(file) = files.find(|f| place.is_some() && f.canonicalize().ok() == place) else {
        return Ok(());
    };
    let message = format!("`{}` is what the command reads", file.display());
    Err(Diagnostic::new(Code::BadUsage, message).help("name another file for the result"))
}

/// The options of the stages. Measures the machine if the flags say so.
pub(crate) fn options(args: &PlanArgs, threads: u16) -> Options {
    let machine = match args.machine {
        Machine::Default => Profile::default_profile(),
        Machine::Measured => measured_profile(),
    };
    Options {
        request: Request {
            lowering: args.lowering,
            scheme: args.scheme,
            block: args.block,
            machine,
            ..Request::default()
        },
        level: args.isa.level(),
        threads: usize::from(threads),
        ..Options::default()
    }
}

/// Samples of each limit, of which the best counts: other work only ever slows a sample down.
const SAMPLES: usize = 3;

/// What tiles reach of the peak of matrix registers, whose operands come from a cache.
const SHARE_OF_MATRICES: f64 = 0.3;

/// This machine as the cost model sees it. Its products are taken at the peak of the vector registers or at a share
/// of that of matrix registers, and elementwise work, which no probe measures, at the rate of the default profile.
fn measured_profile() -> Profile {
    let probe = Probe::new(1);
    let samples: Vec<Limits> = (0..SAMPLES).map(|_| probe.limits()).collect();
    let best = |rate: fn(&Limits) -> f64| samples.iter().map(rate).fold(f64::MIN_POSITIVE, f64::max);
    Profile {
        name: "measured".to_owned(),
        read_gbs: best(|l| l.read_gbs),
        int8_gmacs: best(|l| l.int8_gmacs.max(SHARE_OF_MATRICES * l.amx_gmacs.unwrap_or(0.0))),
        f32_gmacs: best(|l| l.f32_gmacs),
        ..Profile::default_profile()
    }
}
