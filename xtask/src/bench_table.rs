//! `cargo xtask bench-table`: measures linear layers and writes the tables into docs/performance.md, and part of
//! the first into README.md where that has a place for it; where matrix registers multiply, there are tables without
//! them too. Owns what is measured and where tables stand; how they are measured and look is `msd bench`'s.

use std::fs;
use std::path::Path;

use crate::cargo;

/// The lines between which a table stands.
const OPEN: &str = "<!-- bench-table: written by cargo xtask bench-table -->";
const CLOSE: &str = "<!-- /bench-table -->";

const PAGE: &str = "docs/performance.md";
const README: &str = "README.md";

/// Returns F32, so that errors are those of the product.
const KERNEL: &str = "kernels/ffn_up.msd";
/// N and K of each table.
const SHAPES: &[(u32, u32)] = &[(4096, 4096), (14336, 4096), (4096, 14336)];
const TOKENS: &str = "M=1,4,16,64,256";
/// Rows of the first table that README.md shows.
const README_TOKENS: &[&str] = &["M=1", "M=16", "M=64"];
const THREADS: &str = "1,2";
/// The instruction set below matrix registers, and what the tile of a row begins with that has them.
const VECTORS: &str = "avx512vnni";
const MATRICES: &str = "| amx ";
/// What competes with two digits.
const AGAINST: &str = "int8x1,int8x3-pow2,dequant";

/// Measures and writes; nothing is written unless everything was measured.
pub(crate) fn run(root: &Path) -> Result<bool, String> {
    // What is wrong with a page is better known before minutes of measuring.
    written(root, &[])?;
    let measure_all = |isa| SHAPES.iter().map(|shape| measure(root, *shape, isa)).collect::<Result<Vec<_>, _>>();
    let mut tables = measure_all("native")?;
    if tables.iter().any(|table| table.contains(MATRICES)) {
        tables.extend(measure_all(VECTORS)?.into_iter().map(|table| format!("With `--isa {VECTORS}`: {table}")));
    }
    for (path, text) in written(root, &tables)? {
        fs::write(root.join(path), text).map_err(|e| format!("cannot write {path}: {e}"))?;
        println!("{path} written");
    }
    Ok(true)
}

/// The table of a shape on an instruction set, with the line above it.
fn measure(root: &Path, (n, k): (u32, u32), isa: &str) -> Result<String, String> {
    let page = format!("target/bench-table-{n}x{k}.md");
    let sizes = format!("N={n},K={k}");
    let mut bench = cargo(root);
    // `msd` is asked for so that its two digits are measured whatever the planner thinks of them.
    bench.args(["run", "--release", "--quiet", "--", "bench", KERNEL, "--lowering", "msd", "--isa", isa]);
    bench.args(["-D", &sizes, "-D", TOKENS, "--threads", THREADS, "--against", AGAINST, "--markdown", &page]);
    let status = bench.status().map_err(|e| format!("cargo does not start: {e}"))?;
    if !status.success() {
        return Err(format!("`msd bench` with {sizes}: {status}"));
    }
    let path = root.join(&page);
    let table = fs::read_to_string(&path).map_err(|e| format!("cannot read {page}: {e}"))?;
    fs::remove_file(&path).map_err(|e| format!("cannot remove {page}: {e}"))?;
    Ok(table)
}

/// The pages that show tables, with these in their places.
fn written(root: &Path, tables: &[String]) -> Result<Vec<(&'static str, String)>, String> {
    let read = |path: &str| fs::read_to_string(root.join(path)).map_err(|e| format!("cannot read {path}: {e}"));
    let mut pages = vec![(PAGE, spliced(PAGE, &read(PAGE)?, &tables.join("\n"))?)];
    let readme = read(README)?;
    if readme.contains(OPEN) || readme.contains(CLOSE) {
        let table = tables.first().map(|table| rows_of(table, README_TOKENS)).unwrap_or_default();
        pages.push((README, spliced(README, &readme, &table)?));
    }
    Ok(pages)
}

/// The text of a page with `table` between the markers.
fn spliced(path: &str, text: &str, table: &str) -> Result<String, String> {
    let around = text.split_once(OPEN).and_then(|(before, rest)| Some((before, rest.split_once(CLOSE)?.1)));
    let (before, after) =
        around.ok_or_else(|| format!("{path} has no `{OPEN}` with a `{CLOSE}` behind it; write both, a line each"))?;
    Ok(format!("{before}{OPEN}\n\n{}\n\n{CLOSE}{after}", table.trim_end()))
}

/// A table with those rows alone that have one of these sizes, and everything above its rows.
fn rows_of(table: &str, sizes: &[&str]) -> String {
    let mut in_rows = false;
    let mut kept = String::new();
    for line in table.lines() {
        let of_sizes = || line.split([' ', '|']).any(|word| sizes.contains(&word));
        if !in_rows || of_sizes() {
            kept += line;
            kept.push('\n');
        }
        in_rows |= line.starts_with("|---");
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(table: &str) -> String {
        format!("# Title\n\nBefore.\n\n{OPEN}\n{table}{CLOSE}\n\nBehind.\n")
    }

    #[test]
    fn what_stands_around_a_table_is_kept() {
        let first = spliced("a.md", &page(""), "| a |\n");
        assert_eq!(first, Ok(page("\n| a |\n\n")));
        assert_eq!(first.and_then(|text| spliced("a.md", &text, "| b |\n")), Ok(page("\n| b |\n\n")));
    }

    #[test]
    fn a_page_without_a_place_is_named() {
        for text in ["", OPEN, CLOSE, &format!("{CLOSE}\n{OPEN}\n")] {
            assert!(spliced("docs/a.md", text, "| a |").is_err_and(|e| e.starts_with("docs/a.md ")), "{text}");
        }
    }

    #[test]
    fn rows_are_chosen_by_whole_sizes() {
        let head = "cpu; limits at M=1 or so.\n\n| sizes | x |\n|---|---:|\n";
        let rows = ["| K=1 M=1 N=4 | 1 |\n", "| K=1 M=16 N=4 | 2 |\n", "| K=1 M=4 N=4 | 3 |\n"];
        let table = format!("{head}{}", rows.concat());
        assert_eq!(rows_of(&table, &["M=1", "M=4"]), format!("{head}{}{}", rows[0], rows[2]));
    }

    #[test]
    fn the_pages_of_this_repository_have_their_places() {
        let pages = written(&crate::root(), &["cpu.\n\n| a |\n|---|\n| M=2 |\n".to_string()]);
        assert!(pages.is_ok_and(|pages| pages[0].0 == PAGE && pages[0].1.contains("| M=2 |")));
    }
}
