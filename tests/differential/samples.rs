//! The sample kernels, whole: among them a decoder layer with norms, rotations, slices of a joint
//! weight, residuals and four results.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use msd::ir::dim::Sizes;
use msd::ir::pass::recombined;
use msd::{Options, Rewritten, Source};

use super::oracle::Oracle;
use super::oracle::draw::{Draw, Values};

/// Sizes that every quotient of the samples divides.
const SIZES: &[(&str, u64)] =
    &[("M", 5), ("N", 128), ("K", 256), ("F", 128), ("D", 128), ("H", 2), ("E", 16), ("T", 9), ("G", 3)];

#[test]
fn sample_kernels() {
    let oracle = Oracle::new(&[1, 2]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let files = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "msd")).collect();
    files.sort();
    assert!(files.len() >= 10, "{files:?}");
    for path in files {
        let checked = Source::new(path.to_string_lossy(), fs::read_to_string(&path).unwrap()).check().unwrap();
        for kernel in checked.kernels() {
            let known = |name: &Arc<str>| SIZES.iter().find(|(n, _)| **n == **name).map(|(_, size)| *size);
            let sizes: Sizes = kernel.dimensions().into_iter().map(|n| (n.clone(), known(&n).unwrap())).collect();
            let rewritten = Rewritten::new(kernel, &sizes, &Options::new()).unwrap();
            let (whole, _) = recombined(&rewritten.canonical, &rewritten.plan).unwrap();
            let inputs = [Values::Ordinary, Values::Special].map(|v| Draw::new(3).inputs(kernel, &sizes, v));
            for graph in [&rewritten.kernel, &whole] {
                oracle.check(graph, &sizes, &inputs).unwrap_or_else(|e| panic!("{}: {e}", kernel.name));
            }
        }
    }
}
