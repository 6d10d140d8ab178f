//! Tables 6 and 7: how much vector work attention costs with its cache dequantized, over what it
//! costs with the queries decomposed: closed forms of the paper's section 4.4. Owns
//! the rows; the forms are the cost model's.

use msd::ir::cost::attention::Attention;

use super::{Row, Table};

/// Cached keys.
const KEYS: f64 = 8192.0;

/// Table 6: heads of 128.
pub(crate) fn small_heads() -> Table {
    table(
        6,
        "vector operations of attention, dequant over MSD, d = 128",
        128.0,
        &[(1.0, 20.0, 0), (4.0, 5.3, 1), (12.0, 2.0, 1), (24.0, 1.2, 1), (32.0, 1.0, 1)],
    )
}

/// Table 7: keys of 576, as multi-head latent attention has them.
pub(crate) fn latent_heads() -> Table {
    table(
        7,
        "vector operations of attention, dequant over MSD, d = 576",
        576.0,
        &[(1.0, 31.0, 0), (12.0, 3.0, 1), (32.0, 1.4, 1), (48.0, 1.0, 1)],
    )
}

/// Rows of: query rows, the paper's ratio, the decimals it gives.
fn table(id: u32, title: &'static str, depth: f64, published: &[(f64, f64, usize)]) -> Table {
    let row = |(queries, ratio, decimals): &(f64, f64, usize)| {
        let attention = Attention::paper(*queries, KEYS, depth);
        Row::new(format!("N = {queries}"), "x", *decimals, attention.vector_ratio()).paper(*ratio, *decimals)
    };
    Table {
        id,
        title,
        setup: format!("closed forms, {KEYS} keys in blocks of 64, N query rows of a head"),
        notes: Vec::new(),
        rows: published.iter().map(row).collect(),
        figures: Vec::new(),
    }
}
