//! Evaluator and JIT agree bit for bit on generated kernels, at every instruction set and number
//! of threads, on awkward sizes and values. A failure names the case's seed and prints the graph.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod graphs;
mod linear;
#[path = "../oracle/mod.rs"]
mod oracle;

use oracle::draw::Draw;

/// Sizes that fill vectors, tiles and panels, miss them by one, or are prime.
const SIZES: &[usize] = &[1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33, 63, 65, 127, 257, 1000];

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
