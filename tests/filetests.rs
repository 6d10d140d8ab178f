//! Filetests: one `.msd` file goes through a stage and gives what its comments say. TESTING.md
//! describes the directives; `MSD_BLESS=1` rewrites the expectations.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

#[path = "npu/on_chip.rs"]
mod on_chip;
mod oracle;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use msd::ir::dim::Sizes;
use msd::ir::graph::{Kernel, Lowering};
use msd::ir::pass::recombined;
use msd::ir::plan::Request;
use msd::ir::quant::scheme::Scheme;
use msd::ir::rewrite::{Event, EventResult};
use msd::ir::text;
use msd::jit::inspect;
use msd::jit::isa::{Isa, Level};
use msd::{Checked, Options, Rewritten, Source};

use oracle::Oracle;
use oracle::draw::{Draw, Values};

/// What stands before the expectations, which run to the end of the file.
const EXPECTED: &str = "// expected:";

/// What is to be done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Check,
    Rewrite,
    Asm,
    Run,
}

impl Kind {
    const ALL: [(Kind, &'static str); 4] =
        [(Kind::Check, "check"), (Kind::Rewrite, "rewrite"), (Kind::Asm, "asm"), (Kind::Run, "run")];

    /// The folder whose files must be of this kind.
    fn folder(self) -> &'static str {
        match self {
            Kind::Check => "check",
            Kind::Rewrite => "rewrite",
            Kind::Asm => "jit",
            Kind::Run => "run",
        }
    }
}

/// The directives of a file.
#[derive(Default)]
struct Directives {
    kinds: BTreeSet<Kind>,
    sizes: Vec<Sizes>,
    /// `run`: dimensions whose sizes the code is also compiled without.
    open: Vec<String>,
    request: Request,
    seed: u64,
    /// Whether digits are recombined, as for targets that multiply 16-bit integers as fast as bytes.
    int16: bool,
    /// `asm`: the level of this machine the kernel is compiled for, or
    level: Option<Level>,
    /// the target and its features, which need not be this machine's.
    target: Option<(String, Vec<String>)>,
    /// `asm`: part of the name of the functions looked at.
    function: String,
    has: Vec<String>,
    lacks: Vec<String>,
}

impl Directives {
    /// The comments at the top of a file.
    fn parse(text: &str) -> Result<Directives, String> {
        let mut d = Directives::default();
        for line in text.lines().take_while(|l| l.starts_with("//")) {
            let Some((name, value)) = line.trim_start_matches('/').trim().split_once(": ") else { continue };
            let value = value.trim();
            let unknown = |what: &str| format!("no {what} is called `{value}`");
            match name {
                "test" => {
                    let kind = Kind::ALL.iter().find(|(_, n)| *n == value);
                    d.kinds.insert(kind.ok_or_else(|| unknown("kind of test"))?.0);
                }
                "sizes" => d.sizes.push(sizes(value).ok_or_else(|| format!("`{value}` are no sizes"))?),
                "open" => d.open.extend(value.split(',').map(|n| n.trim().to_string())),
                "lowering" => d.request.lowering = Some(Lowering::from_name(value).ok_or_else(|| unknown("lowering"))?),
                "scheme" => d.request.scheme = Some(Scheme::from_name(value).ok_or_else(|| unknown("scheme"))?),
                "block" => d.request.block = Some(value.parse().map_err(|_| unknown("block"))?),
                "int16" => d.int16 = value == "yes",
                "seed" => d.seed = value.parse().map_err(|_| format!("`{value}` is no seed"))?,
                "level" => d.level = Some(Level::from_name(value).ok_or_else(|| unknown("level"))?),
                "target" => {
                    let mut words = value.split_whitespace().map(str::to_string);
                    d.target = words.next().map(|triple| (triple, words.collect()));
                }
                "function" => d.function = value.to_string(),
                "has" => d.has.push(value.to_string()),
                "lacks" => d.lacks.push(value.to_string()),
                name if name.contains(' ') => {}
                name => return Err(format!("no directive is called `{name}`")),
            }
        }
        if d.kinds.is_empty() {
            return Err("a filetest says what it is: `// test: run`".to_string());
        }
        if d.sizes.is_empty() {
            d.sizes.push(Sizes::new());
        }
        Ok(d)
    }
}

/// Sizes from a list such as `M=3, N=17`.
fn sizes(text: &str) -> Option<Sizes> {
    let pairs = text.split(',').map(str::trim).filter(|p| !p.is_empty());
    pairs
        .map(|pair| {
            let (name, size) = pair.split_once('=')?;
            Some((Arc::from(name.trim()), size.trim().parse().ok()?))
        })
        .collect()
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests");
    let mut files = Vec::new();
    find(&root, &mut files);
    files.sort();
    let trials = files.into_iter().map(|path| {
        let name = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
        let missing = needs(&path).filter(|level| !level.is_available());
        let kind = missing.map_or(String::new(), |l| format!("skipped: no {}", l.name()));
        Trial::test(name, move || test(&path).map_err(Failed::from))
            .with_kind(kind)
            .with_ignored_flag(missing.is_some())
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|e| e == "msd") {
            files.push(path);
        }
    }
}

/// The level without which the file tests nothing.
fn needs(path: &Path) -> Option<Level> {
    Directives::parse(&fs::read_to_string(path).unwrap()).ok().and_then(|d| d.level)
}

fn test(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
    let directives = Directives::parse(&text)?;
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    if !directives.kinds.iter().any(|k| folder == k.folder()) {
        return Err(format!("a file of {folder:?} must be of that kind"));
    }
    // Whatever is rewritten is run as well.
    let mut kinds = directives.kinds.clone();
    if kinds.contains(&Kind::Rewrite) {
        kinds.insert(Kind::Run);
    }
    let (body, expected) = match text.find(EXPECTED) {
        Some(at) => (&text[..at], &text[at..]),
        None => (text.as_str(), ""),
    };
    let checked = Source::new(path.to_string_lossy(), body).check();
    let mut found = String::new();
    for kind in kinds {
        match (kind, &checked) {
            (Kind::Check, _) => found.push_str(&check(&checked, body)),
            (_, Err(faults)) => return Err(faults.iter().map(|d| format!("{d:?}\n")).collect()),
            (Kind::Rewrite, Ok(checked)) => found.push_str(&rewrite(checked, &directives)?),
            (Kind::Asm, Ok(checked)) => asm(checked, &directives)?,
            (Kind::Run, Ok(checked)) => run(checked, &directives)?,
        }
    }
    compare(path, body, expected, &found)
}

/// Compares the expectations with what was found, or writes them.
fn compare(path: &Path, body: &str, expected: &str, found: &str) -> Result<(), String> {
    let comments: String = found.lines().map(|l| format!("// {l}").trim_end().to_string() + "\n").collect();
    let found = if found.is_empty() { String::new() } else { format!("{EXPECTED}\n{comments}") };
    if expected == found {
        return Ok(());
    }
    if std::env::var_os("MSD_BLESS").is_some() {
        return fs::write(
            path,
            format!("{}\n{}", body.trim_end(), if found.is_empty() { String::new() } else { format!("\n{found}") }),
        )
        .map_err(|e| e.to_string());
    }
    Err(format!("expected:\n{expected}\nfound:\n{found}\nMSD_BLESS=1 accepts it"))
}

/// `check`: each kernel's signature, or each diagnostic with its place.
fn check(checked: &Result<Checked, Vec<msd::ir::diag::Diagnostic>>, text: &str) -> String {
    let mut out = String::new();
    match checked {
        Ok(checked) => {
            for kernel in checked.kernels() {
                let params: Vec<String> = kernel.params.iter().map(|p| p.ty.to_string()).collect();
                let results: Vec<String> = kernel.result_types().iter().map(|t| t.to_string()).collect();
                writeln!(out, "{}: ({}) -> ({})", kernel.name, params.join(", "), results.join(", ")).unwrap();
            }
        }
        Err(faults) => {
            for d in faults {
                let place = d.span.map_or("nowhere".to_string(), |s| {
                    let before = &text[..s.start];
                    let line = before.matches('\n').count() + 1;
                    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
                    format!("{line}:{column}")
                });
                writeln!(out, "{place}: {} {}", d.code.as_str(), d.message).unwrap();
            }
        }
    }
    out
}

fn rewritten(kernel: &Kernel, sizes: &Sizes, directives: &Directives) -> Result<Rewritten, String> {
    let options = Options { request: directives.request.clone(), ..Options::default() };
    let mut rewritten = Rewritten::new(kernel, sizes, &options).map_err(|d| format!("{d:?}"))?;
    if directives.int16 {
        let (whole, events) = recombined(&rewritten.canonical, &rewritten.plan).map_err(|d| format!("{d:?}"))?;
        (rewritten.kernel, rewritten.events) = (whole, events);
    }
    Ok(rewritten)
}

/// `rewrite`: the trace of the rules and the graph after them.
fn rewrite(checked: &Checked, directives: &Directives) -> Result<String, String> {
    let mut out = String::new();
    for kernel in checked.kernels() {
        let rewritten = rewritten(kernel, &directives.sizes[0], directives)?;
        for event in &rewritten.events {
            writeln!(out, "{}", trace_line(event)).unwrap();
        }
        let printed = text::print(&rewritten.kernel);
        let parsed = Source::new("printed", &*printed).check().map_err(|d| format!("{printed}\n{d:?}"))?;
        if !parsed.kernels()[0].same_graph(&rewritten.kernel) {
            return Err(format!("the printed graph parses to another:\n{printed}"));
        }
        out.push_str(&printed);
    }
    Ok(out)
}

fn trace_line(event: &Event) -> String {
    match &event.result {
        EventResult::Fired { .. } => format!("{}: fired", event.rule),
        EventResult::Stopped { guard, reason } => format!("{}: stopped {guard}: {reason}", event.rule),
    }
}

/// The modelled chips.
const CHIPS: [&str; 2] = ["ascend-910b", "ascend-950"];

/// `run`: evaluator and JIT give the same bits, for the source graph and the rewritten one, with
/// every size compiled in and with some left open; an NPU comes near.
fn run(checked: &Checked, directives: &Directives) -> Result<(), String> {
    let oracle = Oracle::new(&[1, 2]);
    for kernel in checked.kernels() {
        for (index, sizes) in directives.sizes.iter().enumerate() {
            let mut draw = Draw::new(directives.seed);
            let inputs: Vec<_> =
                [Values::Ordinary, Values::Special].map(|values| draw.inputs(kernel, sizes, values)).into();
            let mut known = sizes.clone();
            known.retain(|name, _| !directives.open.iter().any(|open| **open == **name));
            let variants = if known == *sizes { vec![sizes] } else { vec![sizes, &known] };
            for known in variants {
                let rewritten = rewritten(kernel, known, directives)?;
                if known == sizes {
                    // Each graph on one of the chips; both see all of them in the end.
                    let chips = if index % 2 == 0 { CHIPS } else { [CHIPS[1], CHIPS[0]] };
                    for (graph, chip) in [kernel, &rewritten.kernel].into_iter().zip(chips) {
                        let result = on_chip::check(graph, sizes, &inputs[0], chip);
                        result.map_err(|e| format!("{sizes:?}: {e}\n{}", text::print(graph)))?;
                    }
                }
                for (name, graph) in [("source", kernel), ("rewritten", &rewritten.kernel)] {
                    // Rules bring tokens to the rows, whose count may stay open; columns may not.
                    if name == "source" && !oracle.compiles_open(graph, known) {
                        continue;
                    }
                    let result = oracle.check(graph, known, &inputs);
                    result.map_err(|e| format!("{name} graph, {sizes:?}, compiled for {known:?}: {e}"))?;
                }
            }
        }
    }
    Ok(())
}

/// `asm`: what the machine code holds and lacks.
fn asm(checked: &Checked, directives: &Directives) -> Result<(), String> {
    let isa = match (&directives.level, &directives.target) {
        (Some(level), None) => Isa::host(*level),
        (None, Some((triple, features))) => {
            Isa::foreign(triple, &features.iter().map(String::as_str).collect::<Vec<_>>())
        }
        _ => return Err("an asm test names its `level` or its `target`".to_string()),
    };
    let isa = isa.map_err(|d| d.message)?;
    for kernel in checked.kernels() {
        let rewritten = rewritten(kernel, &directives.sizes[0], directives)?;
        let all = inspect::asm(&rewritten.kernel, &rewritten.sizes, &isa).map_err(|d| d.message)?;
        let functions: Vec<_> = all.iter().filter(|(name, _)| name.contains(&directives.function)).collect();
        if functions.is_empty() {
            let names: Vec<&str> = all.iter().map(|(n, _)| n.as_str()).collect();
            return Err(format!("no function is called `{}`: {names:?}", directives.function));
        }
        for (name, text) in functions {
            contains(name, text, directives)?;
        }
    }
    Ok(())
}

fn contains(name: &str, text: &str, directives: &Directives) -> Result<(), String> {
    if let Some(missing) = directives.has.iter().find(|p| !text.contains(p.as_str())) {
        return Err(format!("`{name}` lacks `{missing}`:\n{text}"));
    }
    if let Some(extra) = directives.lacks.iter().find(|p| text.contains(p.as_str())) {
        return Err(format!("`{name}` has `{extra}`:\n{text}"));
    }
    Ok(())
}
