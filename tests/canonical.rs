//! What the canonical rules promise for every kernel of the filetests and samples: the value stays,
//! a second run changes nothing, and no depth or width of a kernel makes them overflow or explode.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

#[path = "oracle/draw.rs"]
#[allow(dead_code, reason = "shared with tests that draw more")]
mod draw;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use draw::{Draw, Values};
use msd::Source;
use msd::ir::dim::Sizes;
use msd::ir::eval::evaluate_f64;
use msd::ir::graph::Kernel;
use msd::ir::rewrite::{Event, EventResult, canonical, rewrite};
use msd::ir::types::Type;

fn canonicalised(kernel: &Kernel) -> (Kernel, Vec<Event>) {
    rewrite(kernel, canonical::RULES, &BTreeMap::new()).unwrap()
}

fn kernels(folder: &str) -> Vec<Kernel> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "msd"));
    files.sort();
    let checked = files.iter().map(|p| Source::new(p.to_string_lossy(), fs::read_to_string(p).unwrap()).check());
    // Some files are about faults.
    checked.filter_map(Result::ok).flat_map(|c| c.kernels().to_vec()).collect()
}

/// Sizes that every quotient of the kernels divides.
fn sizes(kernel: &Kernel) -> Sizes {
    kernel.dimensions().into_iter().zip([64, 128, 256, 64, 128, 64, 64]).collect()
}

#[test]
fn a_second_run_changes_nothing() {
    let folders = ["kernels", "tests/filetests/rewrite", "tests/filetests/run", "tests/filetests/jit"];
    let all: Vec<Kernel> = folders.into_iter().flat_map(kernels).collect();
    assert!(all.len() > 60, "{}", all.len());
    for kernel in all {
        let (once, _) = canonicalised(&kernel);
        let (twice, events) = canonicalised(&once);
        assert!(twice.same_graph(&once), "{}\n{}", kernel.name, msd::ir::text::print(&twice));
        assert!(!events.iter().any(|e| matches!(e.result, EventResult::Fired { .. })), "{}", kernel.name);
    }
}

#[test]
fn the_value_stays() {
    let mut changed = 0;
    for kernel in kernels("tests/filetests/rewrite") {
        if kernel.name.starts_with("overlap") {
            // Groups of 48 divide no power of two; its rules are lowering's.
            continue;
        }
        let (after, _) = canonicalised(&kernel);
        changed += u32::from(!after.same_graph(&kernel));
        let sizes = sizes(&kernel);
        let inputs = Draw::new(4).inputs(&kernel, &sizes, Values::Ordinary);
        let before = evaluate_f64(&kernel, &sizes, &inputs).unwrap();
        let after = evaluate_f64(&after, &sizes, &inputs).unwrap();
        for (before, after) in before.iter().zip(&after) {
            let most = before.iter().filter(|x| x.is_finite()).fold(0f64, |m, x| m.max(x.abs()));
            for (x, y) in before.iter().zip(after) {
                // A folded literal is rounded to F32; divisors drawn near zero cost digits.
                let is_equal = (x - y).abs() <= 1e-6 * most || x == y || x.is_nan() && y.is_nan();
                assert!(is_equal, "{}: {x} became {y}, largest is {most}", kernel.name);
            }
        }
    }
    assert!(changed > 20, "{changed}");
}

/// A chain of `length` steps, each from the value before, and a product with its end.
fn chain(length: usize, start: &str, step: &str, product: &str) -> (Kernel, Vec<Event>) {
    let mut text = format!(
        "kernel chain(W: i8[4, 4] scale f32[4, 1], V: i8[4, 4] scale f32[4, 1], L: f32[4, 4], v: f32[4], \
        u: f32[4, 1], X: bf16[4, 4], Y: bf16[4, {}]) -> f32[4, 4] {{\n",
        4 * (length + 1)
    );
    writeln!(text, "let a0 = {start};").unwrap();
    for i in 0..length {
        writeln!(text, "let a{} = {};", i + 1, step.replace('#', &format!("a{i}"))).unwrap();
    }
    writeln!(text, "{}\n}}", product.replace('#', &format!("a{length}"))).unwrap();
    let checked = Source::new("chain.msd", text).check().unwrap();
    canonicalised(checked.kernel(None).unwrap())
}

fn products(kernel: &Kernel) -> usize {
    kernel.nodes.iter().filter(|n| n.op == msd::ir::ops::Op::MatMul).count()
}

#[test]
fn chains_beyond_the_limit_are_left_alone() {
    let steps = ["# + L", "L - #", "# + #", "(# * v).T", "# / u", "2 * (# + L)"];
    let joins = [("concat(#, L, 0)", "slice(X @ #.T, 1, 0, 4)"), ("concat(L, #, 0)", "Y @ #")];
    for (step, product) in steps.into_iter().map(|s| (s, "X @ #")).chain(joins) {
        let (kernel, events) = chain(5000, "dequant(W)", step, product);
        assert_eq!(products(&kernel), 1, "{step}");
        assert!(events.iter().any(|e| matches!(e.result, EventResult::Stopped { guard: "size", .. })), "{step}");
    }
    // Transposes are moved all at once, whatever their number; so are scalars, but each product with
    // a step of their chain would repeat them.
    let (kernel, events) = chain(5000, "dequant(W)", "(-# * 3).T", "X @ #");
    assert_eq!(products(&kernel), 1);
    assert!(events.iter().any(|e| e.rule == "hoist-scalar" && matches!(e.result, EventResult::Stopped { .. })));
    let (kernel, events) = chain(2000, "dequant(W)", "-(# * 3)", "X @ a32 + X @ #");
    assert_eq!((products(&kernel), events.len()), (2, 2));
}

#[test]
fn chains_within_the_limit_are_peeled_to_their_ends() {
    let (kernel, _) = chain(64, "dequant(W)", "-(# + L).T", "X @ #");
    assert_eq!(products(&kernel), 3, "X with W, L and L.T");
    let (kernel, _) = chain(64, "dequant(W)", "(# * v).T / 3", "X @ #");
    assert_eq!(products(&kernel), 1);
    let (kernel, _) = chain(64, "dequant(W)", "concat(#, L, 0)", "slice(X @ #.T, 1, 0, 4)");
    assert_eq!(products(&kernel), 2, "X with W.T and L.T");
    let (kernel, _) = chain(64, "dequant(W)", "concat(L, #, 0)", "Y @ #");
    assert_eq!(products(&kernel), 65, "a slice of Y with each part");
    // Sums on both sides: no weight on the right but the one.
    let (kernel, _) = chain(31, "dequant(W)", "# * v + L", "(# + dequant(V)).T @ (# + L)");
    assert!(kernel.nodes.len() < 5000, "{}", kernel.nodes.len());
}

#[test]
fn what_is_no_product_with_a_weight_is_left_alone() {
    let (kernel, events) = chain(900, "L", "# @ L + L @ #", "X @ # + dequant(W)");
    assert_eq!((products(&kernel), events), (1800, Vec::new()));
    let (kernel, _) = chain(5000, "L", "# @ L + #", "X @ # + dequant(W)");
    assert_eq!(products(&kernel), 5001);
    // Each product sees all the steps before it.
    let (kernel, _) = chain(1000, "L", "# * 3 + X @ (-#)", "X @ # + dequant(W)");
    assert_eq!(products(&kernel), 1001);
    let (kernel, _) = chain(2000, "dequant(W)", "# + X @ #", "#");
    assert!(kernel.nodes.len() < 60_000, "{}", kernel.nodes.len());
}

#[test]
fn literals_fold_to_the_bits_of_the_evaluator() {
    let text = "kernel f(x: f32[1]) -> (f32[], f32[1]) { (exp(1 / 3) * -2, x + exp(1 / 3) * -2) }";
    let checked = Source::new("f.msd", text).check().unwrap();
    let kernel = checked.kernel(None).unwrap();
    let (after, _) = canonicalised(kernel);
    assert_eq!(after.nodes.len(), 3);
    let x = Draw::new(1).inputs(kernel, &Sizes::new(), Values::Ordinary);
    let evaluate = |k: &Kernel| msd::ir::eval::evaluate(k, &Sizes::new(), &x).unwrap();
    assert_eq!(evaluate(kernel), evaluate(&after));
    assert!(kernel.params.iter().all(|p| matches!(p.ty, Type::Tensor(_))));
}
