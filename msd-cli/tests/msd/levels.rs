//! `msd explain` and `msd opt`: what was decided and what came of it.

use std::fs;

use serde_json::Value;

use crate::{diagnostics, dir, json, msd, repository};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn explain_gives_every_field_of_a_site() {
    let dir = dir(&[]);
    let args = ["explain", &repository("kernels/linear.msd"), "-D", "N=4096,K=4096", "-D", "M=1"];
    let (status, object) = json(&dir, &args, "msd.explain/1");
    assert_eq!((status, object["sites"].as_array().unwrap().len()), (0, 1));
    let site = &object["sites"][0];
    for key in ["weight", "line", "column", "rule", "scheme", "lowering", "bound", "chosen_because", "stopped"] {
        assert!(keys(site).contains(&key), "{key}");
    }
    assert_eq!((&site["weight"], &site["line"], &site["column"]), (&"W".into(), &8.into(), &5.into()));
    assert_eq!((&site["rule"], &site["scheme"]), (&"digit-split".into(), &"int8x2-pow2".into()));
    // The digits' 1/32639 and three roundings of 2^-24.
    let bound = site["bound"].as_f64().unwrap();
    assert!(bound > 1.0 / 32639.0 && bound < 1.0 / 32639.0 + 4.0 / 16777216.0, "{bound:e}");
    assert!(site["before"].as_str().unwrap().contains("dequant(W)"));
    assert!(site["after"].as_str().unwrap().contains("msd.decompose(X, \"int8x2-pow2\")"));
    let alternatives = site["alternatives"].as_array().unwrap();
    assert!(alternatives.iter().any(|a| a["lowering"] == "dequant" && a["scheme"].is_null()));
    for a in alternatives {
        for key in ["bound", "bytes", "bytes_published", "macs", "flops", "vector_ops", "seconds"] {
            assert!(a[key].as_f64().unwrap() > 0.0, "{key} of {a}");
        }
        assert_eq!(a["flops"].as_f64().unwrap(), 2.0 * a["macs"].as_f64().unwrap());
    }
    let digits = |name: &str| alternatives.iter().find(|a| a["scheme"] == name).unwrap()["macs"].as_f64().unwrap();
    assert_eq!(digits("int8x3-pow2"), 3.0 * digits("int8x1"));
    let result = &object["results"][0];
    assert_eq!((&result["certified"], &result["ends_at"]), (&true.into(), &Value::Null));
    assert_eq!(result["expression"], "3.088e-5 max|X| sum|W| + 5.960e-8 |bias|");
    let text = msd(&dir, &args).stdout;
    for words in [
        "linear.msd:8:5 W",
        "result 0: |y - y*| <= 3.088e-5 max|X| sum|W|",
        "digits of `int8x2-pow2`",
        "because",
        "FLOPs",
    ] {
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn explain_works_with_open_sizes() {
    let dir = dir(&[]);
    let (status, object) = json(&dir, &["explain", &repository("kernels/gate_up.msd")], "msd.explain/1");
    let sites = object["sites"].as_array().unwrap();
    assert_eq!((&object["results"][0]["certified"], &object["results"][0]["ends_at"]), (&false.into(), &"exp".into()));
    assert_eq!((status, sites.len()), (0, 2));
    assert!(sites.iter().all(|s| s["alternatives"][0]["seconds"].is_null() && s["bound"].is_f64()));
    assert!(msd(&dir, &["explain", &repository("kernels/gate_up.msd")]).stdout.contains("F open"));
}

#[test]
fn explain_says_why_no_rule_fired() {
    let text = "kernel e(W: i8[N, K] scale f32[N], X: f32[M, K]) -> (f32[M, N], f32[N, K]) {
    (X @ dequant(W).T, dequant(W) + 1)
}";
    let dir = dir(&[("e.msd", text.as_bytes()), ("p.msd", b"kernel p(X: f32[N]) -> f32[N] { X }")]);
    let (status, object) = json(&dir, &["explain", "e.msd"], "msd.explain/1");
    let sites = object["sites"].as_array().unwrap();
    assert_eq!((status, sites.len()), (0, 2), "{object}");
    let elementwise = sites.iter().find(|s| s["rule"].is_null()).unwrap();
    assert_eq!(elementwise["chosen_because"], "materialised: used elementwise");
    assert!(sites.iter().any(|s| s["rule"] == "digit-split"));
    let (status, object) = json(&dir, &["explain", "p.msd"], "msd.explain/1");
    assert_eq!((status, &object["sites"], &object["lowering"]), (0, &serde_json::json!([]), &"plain".into()));
}

#[test]
fn explain_names_the_guard_that_stopped_a_rule() {
    // The cost model has no say where `dequant` is asked for.
    let dir = dir(&[]);
    let args = ["explain", &repository("kernels/linear.msd"), "--lowering", "dequant"];
    let (_, object) = json(&dir, &args, "msd.explain/1");
    let site = &object["sites"][0];
    assert_eq!(
        (&site["lowering"], &site["rule"], &site["scheme"]),
        (&"dequant".into(), &"post-scale".into(), &Value::Null)
    );
    let stopped = &site["stopped"][0];
    assert_eq!((&stopped["rule"], &stopped["guard"]), (&"digit-split".into(), &"plan".into()));
    assert!(!stopped["reason"].as_str().unwrap().is_empty());
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let dir = dir(&[]);
    let kernel = repository("kernels/grouped.msd");
    let cases = [("-DK=100", 1, "E0607"), ("-DZ=1", 2, "`Z`"), ("-DM=1,2", 2, "E0801")];
    for (flag, wanted, words) in cases {
        for command in ["explain", "opt"] {
            let (status, object) = json(&dir, &[command, &kernel, flag], &format!("msd.{command}/1"));
            let found = diagnostics(&object);
            assert!(status == wanted && found[0].contains(words), "{command} {flag}: {found:?}");
        }
    }
}

#[test]
fn blocks_of_activations() {
    let dir = dir(&[]);
    let kernel = repository("kernels/linear.msd");
    let because = |flags: &[&str]| {
        let (status, object) =
            json(&dir, &[&["explain", &kernel, "-DN=64,K=192,M=1"][..], flags].concat(), "msd.explain/1");
        assert_eq!(status, 0, "{object}");
        object["sites"][0]["chosen_because"].as_str().unwrap().to_owned()
    };
    assert!(because(&["--block", "64"]).ends_with("in blocks of 64"));
    assert!(because(&["--block", "128", "--lowering", "msd"]).contains("blocks of 128 do not fit"));
    let printed = msd(&dir, &["opt", &kernel, "-DN=64,K=192,M=1", "--block", "64"]).stdout;
    assert!(printed.contains("msd.decompose_blocks(X, \"int8x2-pow2\", 64)"), "{printed}");
    let none = msd(&dir, &["opt", &kernel, "--block", "0"]);
    assert_eq!(none.status, 2, "{}", none.stderr);
}

#[test]
fn a_bound_is_the_sum_of_its_causes() {
    let dir = dir(&[]);
    let args = ["explain", &repository("kernels/grouped.msd"), "-DN=64,K=1024,M=1"];
    let (status, object) = json(&dir, &args, "msd.explain/1");
    assert_eq!(status, 0, "{object}");
    let site = &object["sites"][0];
    assert_eq!((&site["rule"], &site["bound_of"]), (&"split-groups".into(), &"max|x| sum|w|".into()));
    let causes = site["derivation"].as_array().unwrap();
    let sum: f64 = causes.iter().map(|c| c["error"].as_f64().unwrap()).sum();
    let bound = site["bound"].as_f64().unwrap();
    assert!(causes.len() == 2 && (sum - bound).abs() < 1e-12 * bound.max(1e-6), "{site}");
    assert!(causes[1]["what"].as_str().unwrap().contains("8 multiply-adds of groups"), "{site}");
}

#[test]
fn printed_ir_is_a_kernel_file() {
    let dir = dir(&[]);
    let alone =
        ["decode_attention", "decoder_layer", "ffn_up", "gate_up", "grouped", "linear", "linear_columns", "nvfp4"];
    let together = [("fp8", "fp8"), ("fp8", "fp8_blocks"), ("fp8", "mxfp8")];
    for (file, name) in alone.map(|name| (name, name)).into_iter().chain(together) {
        let ran = msd(&dir, &["opt", &repository(&format!("kernels/{file}.msd")), "--kernel", name]);
        assert_eq!(ran.status, 0, "{name}: {}", ran.stderr);
        fs::write(dir.path().join("ir.msd"), &ran.stdout).unwrap();
        let check = msd(&dir, &["check", "ir.msd"]);
        assert_eq!((check.status, check.stdout), (0, format!("ir.msd: {name}\n")), "{}\n{}", ran.stdout, check.stderr);
        let again = msd(&dir, &["opt", "ir.msd"]);
        assert_eq!(again.stdout, ran.stdout, "a rewritten kernel has nothing left to rewrite");
    }
}

#[test]
fn passes_are_printed_where_asked() {
    let dir = dir(&[]);
    let kernel = repository("kernels/linear_columns.msd");
    let printed = |flags: &[&str]| -> Vec<String> {
        let (status, object) = json(&dir, &[&["opt", &kernel][..], flags].concat(), "msd.opt/1");
        assert_eq!(status, 0, "{object}");
        let passes = object["passes"].as_array().unwrap().iter();
        passes.filter(|p| p["ir"].is_string()).map(|p| p["pass"].as_str().unwrap().to_owned()).collect()
    };
    assert!(printed(&[]).is_empty());
    assert_eq!(printed(&["--print-after", "canonical"]), ["canonical"]);
    assert_eq!(printed(&["--print-after", "change"]), printed(&["--print-after", "all"]));
    let text = msd(&dir, &["opt", &kernel, "--print-after", "lower"]).stdout;
    assert!(text.starts_with("// after lower: ") && text.matches("kernel linear_columns").count() == 2, "{text}");
    let unknown = msd(&dir, &["opt", &kernel, "--print-after", "canonicl"]);
    assert!(unknown.status == 2 && unknown.stderr.contains("`canonical`"), "{}", unknown.stderr);
}

#[test]
fn levels_below_the_ir() {
    let dir = dir(&[]);
    let kernel = repository("kernels/linear.msd");
    let plan = msd(&dir, &["opt", &kernel, "--emit", "plan"]).stdout;
    assert!(plan.contains(":8:5 W: digit-split, int8x2-pow2"), "{plan}");
    for (level, words) in [("clif", "function"), ("asm", "ret")] {
        let open = msd(&dir, &["opt", &kernel, "--emit", level, "-D", "N=32,K=32"]);
        assert!(open.status == 1 && open.stderr.contains("the size of M"), "{}", open.stderr);
        let args = ["opt", &kernel, "--emit", level, "-D", "N=32,K=32,M=1"];
        let (status, object) = json(&dir, &args, "msd.opt/1");
        let functions = object["functions"].as_array().unwrap();
        assert!(status == 0 && !functions.is_empty(), "{object}");
        assert!(functions.iter().all(|f| f["text"].as_str().unwrap().contains(words)), "{object}");
        assert!(msd(&dir, &args).stdout.contains(functions[0]["name"].as_str().unwrap()));
    }
}
