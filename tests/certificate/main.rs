//! Certificates, doubted: what the planner claims of every product is derived again from the
//! rewritten graph by a checker that shares no code with planner and rewriter, bounds of results
//! are compared with errors, and rows and weights are made to break each bound. The evaluator
//! computes; that machine code gives its bits is tested in `differential/`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod adversary;
mod bounds;
mod checker;
mod claims;
mod decomposition;
#[allow(dead_code, reason = "these tests draw no special values")]
#[path = "../oracle/draw.rs"]
mod draw;
mod results;

use std::sync::Arc;

use msd::ir::diag::Code;
use msd::ir::dim::Sizes;
use msd::ir::graph::Kernel;
use msd::ir::plan::Request;
use msd::{Options, Rewritten, Source};

use draw::Draw;

/// The kernels of a text.
fn kernels(text: &str) -> Vec<Kernel> {
    let checked = Source::new("test.msd", text).check().unwrap_or_else(|d| panic!("{text}\n{d:?}"));
    checked.kernels().to_vec()
}

/// The kernel under a plan; nothing if no plan meets its tolerance.
fn rewritten(kernel: &Kernel, sizes: &Sizes, request: &Request) -> Option<Rewritten> {
    let options = Options { request: request.clone(), ..Options::default() };
    match Rewritten::new(kernel, sizes, &options) {
        Ok(rewritten) => Some(rewritten),
        Err(d) if d.code == Code::ToleranceUnmet => None,
        Err(d) => panic!("{kernel}\n{sizes:?} {request:?}: {d:?}"),
    }
}

/// Sizes for a kernel of any file: few tokens, contractions that hold several groups.
fn sizes(kernel: &Kernel) -> Sizes {
    let size = |name: &str| match name {
        "M" | "G" => 3,
        "H" | "B" => 2,
        // Groups of 48 and of 128.
        "K" => 768,
        _ => 256,
    };
    kernel.dimensions().into_iter().map(|name| (name.clone(), size(&name))).collect()
}

fn named(list: &[(&str, usize)]) -> Sizes {
    list.iter().map(|(name, size)| (Arc::from(*name), *size as u64)).collect()
}

/// The kernels of the samples, and of the filetests of rewriting.
fn files() -> Vec<(String, Kernel)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["kernels", "tests/filetests/rewrite"] {
        let mut paths: Vec<_> = std::fs::read_dir(root.join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
        paths.sort();
        for path in paths.iter().filter(|p| p.extension().is_some_and(|e| e == "msd")) {
            let text = std::fs::read_to_string(path).unwrap();
            found.extend(kernels(&text).into_iter().map(|k| (path.display().to_string(), k)));
        }
    }
    found
}

/// Runs `case` for `count` seeds, times what `PROPTEST_CASES` says over proptest's own default of
/// 256. The seed of a failure, given in `MSD_SEED`, runs that case alone.
fn for_seeds(count: u64, case: impl Fn(&mut Draw) -> Result<(), String>) {
    let variable = |name| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let scaled = variable("PROPTEST_CASES").map_or(count, |cases| count * cases / 256);
    let seeds = variable("MSD_SEED").map_or(0..scaled.max(1), |seed| seed..seed + 1);
    for seed in seeds {
        if let Err(what) = case(&mut Draw::new(seed)) {
            panic!("case MSD_SEED={seed}: {what}");
        }
    }
}
