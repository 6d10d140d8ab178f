//! Which instructions generated code may use. Levels are chosen by flag or detected once; they
//! change speed, never a bit of a result.

use std::fmt;
use std::str::FromStr;

use crate::micro::Emitter;
use cranelift_codegen::isa::{self, CallConv, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use msd_ir::diag::{Code, Diagnostic};

/// Instruction set levels of `--isa`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// The least every machine of the architecture has: SSE4.1 on x86-64, NEON on aarch64.
    Portable,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// The same with AVX-VNNI.
    AvxVnni,
    /// x86-64 with AVX-512 and its VNNI.
    Avx512Vnni,
    /// The same with the matrix registers of AMX.
    Amx,
    /// Whatever this machine has.
    Native,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = Diagnostic;

    fn from_str(name: &str) -> Result<Level, Diagnostic> {
        Level::from_name(name).ok_or_else(|| {
            let names: Vec<&str> = Level::ALL.iter().map(|l| l.name()).collect();
            let fault = Diagnostic::new(Code::BadUsage, format!("there is no instruction set level `{name}`"));
            fault.help(format!("levels are {}", names.join(", ")))
        })
    }
}

impl Level {
    /// Every level, weakest first.
    pub const ALL: &'static [Level] =
        &[Level::Portable, Level::Avx2, Level::AvxVnni, Level::Avx512Vnni, Level::Amx, Level::Native];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::AvxVnni => "avxvnni",
            Level::Avx512Vnni => "avx512vnni",
            Level::Amx => "amx",
            Level::Native => "native",
        }
    }

    /// The level of that name.
    pub fn from_name(name: &str) -> Option<Level> {
        Level::ALL.iter().copied().find(|l| l.name() == name)
    }

    /// Cranelift's flags of an x86-64 level.
    fn x86_flags(self) -> Vec<&'static str> {
        let portable = ["has_sse3", "has_ssse3", "has_sse41"];
        let avx2 = ["has_sse42", "has_popcnt", "has_avx", "has_avx2", "has_fma", "has_bmi1", "has_bmi2", "has_lzcnt"];
        let avx512 = ["has_avx512f", "has_avx512vl", "has_avx512dq", "has_avx512vnni"];
        match self {
            Level::Portable => portable.to_vec(),
            Level::Avx2 => [&portable[..], &avx2].concat(),
            Level::AvxVnni => [&portable[..], &avx2, &["has_avx_vnni"]].concat(),
            Level::Avx512Vnni | Level::Amx | Level::Native => [&portable[..], &avx2, &avx512].concat(),
        }
    }

    /// Whether this machine can run code of this level.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let sse = std::is_x86_feature_detected!("sse4.1") && std::is_x86_feature_detected!("ssse3");
            let avx2 = std::is_x86_feature_detected!("avx2")
                && std::is_x86_feature_detected!("fma")
                && std::is_x86_feature_detected!("bmi2")
                && std::is_x86_feature_detected!("lzcnt");
            match self {
                Level::Portable | Level::Native => sse,
                Level::Avx2 => avx2,
                Level::AvxVnni => avx2 && std::is_x86_feature_detected!("avxvnni"),
                Level::Avx512Vnni | Level::Amx => {
                    let has_vectors = avx2
                        && std::is_x86_feature_detected!("avx512vnni")
                        && std::is_x86_feature_detected!("avx512vl")
                        && std::is_x86_feature_detected!("avx512dq");
                    has_vectors && (self != Level::Amx || crate::amx::is_available())
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            matches!(self, Level::Portable | Level::Native)
        }
    }
}

/// How integer dot products are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DotForm {
    /// Unsigned times signed bytes, four at a time: x86 VNNI. Signed weights are stored with 128 added.
    UnsignedBytes,
    /// Signed bytes, four at a time: aarch64 dot product.
    SignedBytes,
    /// Signed 16-bit pairs (`pmaddwd`): everywhere.
    Pairs,
}

/// A target for code generation.
pub struct Isa {
    /// The level, if this is the host: then code for it may run here.
    level: Option<Level>,
    pub(crate) target: OwnedTargetIsa,
    pub(crate) dot: DotForm,
    /// Whether a multiply-add is an instruction.
    pub(crate) has_fma: bool,
    /// The widest emitter of tiles.
    pub(crate) emitter: Emitter,
}

impl Isa {
    /// The machine this runs on, at `level`.
    pub fn host(level: Level) -> Result<Isa, Diagnostic> {
        if !level.is_available() {
            let message = format!("this machine cannot run `{}` code", level.name());
            let available: Vec<&str> = Level::ALL.iter().filter(|l| l.is_available()).map(|l| l.name()).collect();
            return Err(
                Diagnostic::new(Code::IsaUnavailable, message).help(format!("it has: {}", available.join(", ")))
            );
        }
        let mut builder = cranelift_native::builder_with_options(level == Level::Native).map_err(internal)?;
        if level != Level::Native && cfg!(target_arch = "x86_64") {
            for flag in level.x86_flags() {
                builder.enable(flag).map_err(internal)?;
            }
        }
        let has_matrices = matches!(level, Level::Amx | Level::Native) && Level::Amx.is_available();
        Isa::finish(builder, Some(level), has_matrices)
    }

    /// A target this machine need not be, such as `aarch64`, to inspect the code it would get.
    pub fn foreign(triple: &str, features: &[&str]) -> Result<Isa, Diagnostic> {
        let mut builder = isa::lookup_by_name(triple).map_err(internal)?;
        for feature in features {
            builder.enable(feature).map_err(internal)?;
        }
        Isa::finish(builder, None, false)
    }

    /// The dot product the target is good at.
    pub fn dot(&self) -> DotForm {
        self.dot
    }

    /// The level asked for; `None` for a target that need not be this machine.
    pub fn level(&self) -> Option<Level> {
        self.level
    }

    /// Whether the target has the instructions of x86-64.
    pub(crate) fn is_x86(&self) -> bool {
        self.target.name() == "x64"
    }

    fn finish(builder: isa::Builder, level: Option<Level>, has_matrices: bool) -> Result<Isa, Diagnostic> {
        let mut flags = settings::builder();
        let choices = [
            ("opt_level", "speed"),
            ("use_colocated_libcalls", "false"),
            ("is_pic", "false"),
            ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
        ];
        for (name, value) in choices {
            flags.set(name, value).map_err(internal)?;
        }
        let target = builder.finish(settings::Flags::new(flags)).map_err(internal)?;
        let has = |name: &str| target.isa_flags().iter().any(|f| f.name == name && f.as_bool() == Some(true));
        let evex = has("has_avx512vnni") && has("has_avx512vl");
        let dot = if evex || has("has_avx_vnni") {
            DotForm::UnsignedBytes
        } else if has("has_dotprod") {
            DotForm::SignedBytes
        } else {
            DotForm::Pairs
        };
        // Machine code is written for the System V convention, and by a program of the same architecture.
        let is_ours =
            cfg!(target_arch = "x86_64") && target.name() == "x64" && target.default_call_conv() == CallConv::SystemV;
        let emitter = match is_ours {
            true if evex && has("has_avx512f") && has("has_avx512dq") => {
                if has_matrices {
                    Emitter::Amx
                } else {
                    Emitter::Zmm
                }
            }
            true if has("has_avx2") && has("has_fma") && (!evex || has("has_avx_vnni")) => Emitter::Ymm,
            _ => Emitter::Portable,
        };
        let has_fma = target.name() != "x64" || has("has_fma");
        Ok(Isa { level, target, dot, has_fma, emitter })
    }
}

/// A failure inside the code generator, which no input should cause.
pub(crate) fn internal(error: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::new(Code::Internal, format!("code generation failed: {error}"))
        .help("please report this with the kernel that caused it")
}
