//! `msd bench`: its object and what competes. Nothing here looks at how long anything took.

use std::fs;

use serde_json::Value;

use crate::{dir, json, msd, repository};

fn positive(value: &Value) -> bool {
    value.as_f64().is_some_and(|v| v > 0.0 && v.is_finite())
}

#[test]
fn rows_hold_what_is_promised() {
    let dir = dir(&[]);
    let kernel = repository("kernels/ffn_up.msd");
    let sizes = ["-D", "N=48,K=64", "-D", "M=1,3", "--threads", "1,2"];
    let args = [&["bench", &kernel, "--lowering", "msd", "--rounds", "2"], &sizes[..]].concat();
    let (status, object) = json(&dir, &args, "msd.bench/1");
    assert_eq!(status, 0, "{object}");
    let machine = &object["machine"];
    assert!(machine["cpu"].is_string() && machine["features"].is_array());
    assert!(["read_gbs", "int8_gmacs", "f32_gmacs"].iter().all(|k| positive(&machine[k])), "{machine}");
    let rows = object["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2 * 2 * 3, "sizes, threads, contenders");
    for row in rows {
        for key in ["seconds", "weight_gbs", "gmacs", "rel_l2", "compile_ms"] {
            assert!(positive(&row[key]), "{key} of {row}");
        }
        for key in ["read_gbs", "int8_gmacs", "f32_gmacs"] {
            assert!(positive(&row["limits"][key]), "{key} of {row}");
        }
        assert!(row["isa"].is_string() && row["tile"].is_string(), "{row}");
        let m = row["dims"]["M"].as_f64().unwrap();
        let macs = row["gmacs"].as_f64().unwrap() * row["seconds"].as_f64().unwrap() * 1e9;
        assert!((macs / (m * 48.0 * 64.0) - 1.0).abs() < 1e-9, "{row}");
        // Codes and F32 scales as stored; the contender over F32 weights reads its own.
        let stored = if row["lowering"] == "f32" { 4.0 * 48.0 * 64.0 } else { 48.0 * 64.0 + 4.0 * 48.0 };
        let bytes = row["weight_gbs"].as_f64().unwrap() * row["seconds"].as_f64().unwrap() * 1e9;
        assert!((bytes / stored - 1.0).abs() < 1e-9, "{row}");
        // Where nothing but F32 rounds, the error is that of F32.
        let most = if row["lowering"] == "msd" { 4e-5 } else { 1e-6 };
        assert!(row["rel_l2"].as_f64().unwrap() < most, "{row}");
    }
    let row = |i: usize| (rows[i]["dims"]["M"].as_u64().unwrap(), rows[i]["threads"].as_u64().unwrap());
    assert_eq!([row(0), row(3), row(6), row(9)], [(1, 1), (1, 2), (3, 1), (3, 2)]);
    let lowerings: Vec<_> = rows[..3].iter().map(|r| r["lowering"].as_str().unwrap()).collect();
    assert_eq!(lowerings, ["msd", "dequant", "f32"]);
}

#[test]
fn contenders_by_name_and_half_bytes() {
    let text = "#[lowering(msd)]
kernel two(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }";
    let dir = dir(&[("two.msd", text.as_bytes())]);
    let args =
        ["bench", "two.msd", "-D", "N=8,K=16,M=2", "--rounds", "1", "--against", "int8x1,int8x2-pow2,int8x3-pow2"];
    let (status, object) = json(&dir, &args, "msd.bench/1");
    let schemes: Vec<_> = object["rows"].as_array().unwrap().iter().map(|r| r["scheme"].clone()).collect();
    assert_eq!((status, schemes), (0, ["int8x2-pow2", "int8x1", "int8x3-pow2"].map(Value::from).to_vec()), "{object}");
    let errors: Vec<f64> = object["rows"].as_array().unwrap().iter().map(|r| r["rel_l2"].as_f64().unwrap()).collect();
    assert!(errors[1] > errors[0] && errors[0] > errors[2], "{errors:?}");

    let kernel = repository("kernels/grouped.msd");
    let args =
        ["bench", &kernel, "-D", "N=8,K=256,M=1", "--rounds", "1", "--lowering", "dequant", "--against", "dequant"];
    let (status, object) = json(&dir, &args, "msd.bench/1");
    let row = &object["rows"][0];
    let bytes = row["weight_gbs"].as_f64().unwrap() * row["seconds"].as_f64().unwrap() * 1e9;
    // 4-bit codes, F16 scales and 4-bit zero points.
    let stored = 8.0 * 256.0 / 2.0 + 8.0 * 2.0 * 2.0 + 8.0 * 2.0 / 2.0;
    assert!(status == 0 && (bytes / stored - 1.0).abs() < 1e-9, "{object}");
    assert_eq!(object["rows"].as_array().unwrap().len(), 1, "the plan is what it competes against");
}

#[test]
fn real_data_and_people() {
    let dir = dir(&[("p.msd", b"kernel p(X: f32[M, K], Y: f32[K, N]) -> f32[M, N] { X @ Y }")]);
    let (kernel, data) = (repository("kernels/ffn_up.msd"), repository("tests/data/minilm/ffn_up_l0.safetensors"));
    let ran = msd(&dir, &["bench", &kernel, "-i", &format!("@{data}"), "--rounds", "1"]);
    assert!(ran.status == 0 && ran.stderr.is_empty(), "{}", ran.stderr);
    for words in ["K=384 M=64 N=1536", "GB/s", "of f32", "dequant", "ffn_up.msd:8:5 weight"] {
        assert!(ran.stdout.contains(words), "{words} in {}", ran.stdout);
    }
    let (status, object) = json(&dir, &["bench", "p.msd", "-D", "M=2,K=3,N=4", "--rounds", "1"], "msd.bench/1");
    let row = &object["rows"][0];
    assert_eq!((status, &row["lowering"], &row["scheme"]), (0, &"plain".into(), &Value::Null), "{object}");
    assert!(row["weight_gbs"].is_null() && object["rows"].as_array().unwrap().len() == 1);
}

#[test]
fn bench_times_compiled_code_only() {
    let dir = dir(&[]);
    let ran = msd(&dir, &["bench", &repository("kernels/linear.msd"), "-D", "N=4,K=4,M=1", "--target", "reference"]);
    assert!(ran.status == 2 && ran.stderr.contains("reference"), "{}", ran.stderr);
    let open = msd(&dir, &["bench", &repository("kernels/linear.msd"), "-D", "N=4,K=4"]);
    assert!(open.status == 1 && open.stderr.contains("`M`"), "{}", open.stderr);
}

#[test]
fn a_page_has_the_rows() {
    let dir = dir(&[]);
    let kernel = repository("kernels/ffn_up.msd");
    let sizes = ["-D", "N=16,K=32", "-D", "M=1,3", "--threads", "1,2", "--rounds", "1"];
    let args = [&["bench", &kernel, "--lowering", "msd", "--markdown", "pages/bench.md"], &sizes[..]].concat();
    let (status, object) = json(&dir, &args, "msd.bench/1");
    assert_eq!(status, 0, "{object}");
    let page = fs::read_to_string(dir.path().join("pages/bench.md")).unwrap();
    let mut lines = page.lines();
    let machine = lines.next().unwrap();
    let named = machine.starts_with(object["machine"]["cpu"].as_str().unwrap());
    assert!(named && machine.contains("at 1 thread: reads ") && machine.contains("at 2 threads: reads "), "{page}");
    assert!(lines.next() == Some("") && lines.next().unwrap().starts_with("| sizes | threads |"), "{page}");
    assert!(lines.next().unwrap().starts_with("|---|---:|"), "{page}");
    let rows = object["rows"].as_array().unwrap();
    let shown: Vec<Vec<&str>> = lines.map(|line| line.split('|').map(str::trim).collect()).collect();
    assert_eq!(shown.len(), rows.len(), "{page}");
    for (row, cells) in rows.iter().zip(&shown) {
        let name = row["scheme"].as_str().or(row["lowering"].as_str()).unwrap();
        let sizes = format!("K=32 M={} N=16", row["dims"]["M"]);
        assert_eq!([cells[1], cells[2], cells[3]], [&sizes, &row["threads"].to_string(), name], "{page}");
        let tile = format!("{} {}", row["emitter"].as_str().unwrap(), row["tile"].as_str().unwrap());
        let limit = if name == "int8x2-pow2" { "% of int8/2" } else { "% of f32" };
        assert!(cells[4] == tile && cells[6].ends_with(" %") && cells[8].ends_with(limit), "{page}");
        assert_eq!(cells[9], format!("{:.2e}", row["rel_l2"].as_f64().unwrap()), "{page}");
        assert_eq!(cells.len(), 11, "nine columns between bars");
    }
}

#[test]
fn a_run_that_failed_leaves_no_page() {
    let text = b"kernel p(X: f32[M, K], Y: f32[K, N]) -> f32[M, N] { X @ Y }";
    let dir = dir(&[("p.msd", text), ("file", b"")]);
    let bench =
        |sizes: &str, page: &str| msd(&dir, &["bench", "p.msd", "-D", sizes, "--rounds", "1", "--markdown", page]);
    let open = bench("M=2,K=3", "page.md");
    assert!(open.status == 1 && open.stderr.contains("`N`"), "{}", open.stderr);
    let nowhere = bench("M=2,K=3,N=4", "file/page.md");
    assert!(
        nowhere.status == 1 && nowhere.stdout.is_empty() && nowhere.stderr.contains("page.md"),
        "{}",
        nowhere.stderr
    );
    let itself = bench("M=2,K=3,N=4", "./p.msd");
    assert!(itself.status == 2 && itself.stderr.contains("is what the command reads"), "{}", itself.stderr);
    assert_eq!(fs::read(dir.path().join("p.msd")).unwrap(), text);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "only what was there before");
}
