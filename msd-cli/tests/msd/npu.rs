//! `msd npu` on streams and on kernels: its object and its files, and what it refuses.

use std::fs;

use serde_json::Value;

use crate::{dir, json, msd};

const GEMM: &[u8] = include_bytes!("../../../kernels/npu/gemm_i8.npu");
const LINEAR: &[u8] = include_bytes!("../../../kernels/linear.msd");
const MXFP8: &[u8] = include_bytes!("../../../kernels/npu/gemm_mxfp8.npu");

fn is_part(value: &Value) -> bool {
    value.as_f64().is_some_and(|part| (0.0..=1.0).contains(&part))
}

#[test]
fn a_run_says_what_it_cost() {
    let dir = dir(&[("gemm.npu", GEMM)]);
    let (status, object) = json(&dir, &["npu", "gemm.npu", "-D", "N=300,K=700", "-D", "M=5,50"], "msd.npu/1");
    let runs = object["runs"].as_array().unwrap();
    assert_eq!(
        (status, runs.len(), &object["program"], &object["chip"]),
        (0, 2, &"gemm_i8".into(), &"ascend-910b".into())
    );
    for (run, m) in runs.iter().zip([5, 50]) {
        assert_eq!((&run["lowering"], &run["dims"]["M"]), (&"stream".into(), &m.into()));
        let (cycles, microseconds) = (run["cycles"].as_f64().unwrap(), run["microseconds"].as_f64().unwrap());
        assert!((microseconds * 1850.0 - cycles).abs() < 1.0);
        for lane in ["SCALAR", "MTE1", "MTE2", "CUBE", "FIXP"] {
            assert!(is_part(&run["busy"][lane]), "{run}");
            let stalls = run["stalls"].as_array().unwrap().iter().filter(|s| s["pipe"] == lane);
            let idle: f64 = stalls.map(|s| s["fraction"].as_f64().unwrap()).sum();
            let busy = run["busy"][lane].as_f64().unwrap();
            assert!((busy + idle - 1.0).abs() < 1e-9, "{lane}: {busy} busy and {idle} not, together all of the time");
        }
        let traffic = &run["traffic"];
        assert_eq!(traffic["by_purpose"]["output"]["hbm_write"], m * 300 * 4);
        // Every line of the weight once.
        let weight = traffic["by_purpose"]["weight"]["hbm_read"].as_u64().unwrap();
        assert!((300 * 700..300 * 700 + 512).contains(&weight), "{weight}");
        assert!(traffic["hbm_read"].as_u64().unwrap() > weight);
    }
    let text = msd(&dir, &["npu", "gemm.npu", "-D", "M=5,N=300,K=700"]).stdout;
    assert!(text.contains("modelled, launch excluded") && text.contains("CUBE"), "{text}");
}

#[test]
fn values_come_from_files_and_go_to_files() {
    let dir = dir(&[("gemm.npu", GEMM)]);
    let sizes = ["-D", "M=3,N=20,K=40"];
    let feeds = ["--functional", "-i", "A=const:2", "-i", "B=const:-3", "-o", "c.npy"];
    let ran = msd(&dir, &[&["npu", "gemm.npu"][..], &sizes, &feeds].concat());
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("C: i32[3, 20], min -240.000000, max -240.000000"), "{}", ran.stdout);
    let bytes = fs::read(dir.path().join("c.npy")).unwrap();
    assert!(bytes.ends_with(&(-240i32).to_le_bytes()));
    // What was written feeds as well.
    let again = ["--functional", "-i", "A=@c.npy"];
    let (status, object) = json(&dir, &[&["npu", "gemm.npu"][..], &sizes, &again].concat(), "msd.npu/1");
    assert_eq!((status, &object["diagnostics"][0]["code"]), (1, &"E0604".into()), "{object}");
}

#[test]
fn a_trace_and_a_table_for_other_tools() {
    let dir = dir(&[("gemm.npu", MXFP8)]);
    let args =
        ["npu", "gemm.npu", "--chip", "ascend-950", "-D", "M=64,N=300,K=512", "--trace", "t.json", "--csv", "t.csv"];
    assert_eq!(msd(&dir, &args).status, 0);
    let trace: Value = serde_json::from_str(&fs::read_to_string(dir.path().join("t.json")).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let lanes: Vec<&str> =
        events.iter().filter(|e| e["name"] == "thread_name").filter_map(|e| e["args"]["name"].as_str()).collect();
    for lane in ["SCALAR", "CUBE", "MTE1", "MTE2", "FIXP"] {
        assert!(lanes.contains(&lane), "{lanes:?}");
    }
    let complete = |e: &&Value| e["ph"] == "X" && e["ts"].is_number() && e["dur"].is_number() && e["pid"].is_number();
    assert!(events.iter().filter(complete).any(|e| e["name"] == "mmad_mx"));
    for lane in 0..2 {
        assert!(events.iter().filter(complete).any(|e| e["tid"] == lane), "nothing in lane {lane}");
    }
    let table = fs::read_to_string(dir.path().join("t.csv")).unwrap();
    let (head, row) = table.trim_end().split_once('\n').unwrap();
    assert_eq!(head.split(',').count(), row.split(',').count());
    assert!(head.contains("aic_mac_ratio") && head.contains("aiv_vec_ratio"));
}

#[test]
fn a_chip_of_ones_own() {
    let fast =
        "extends = \"ascend-910b\"\nname = \"fast\"\n[rates]\nhbm_per_core = { value = 320, source = \"a dream\" }\n";
    let dir = dir(&[("gemm.npu", GEMM), ("fast.toml", fast.as_bytes()), ("odd.toml", b"name = 1")]);
    let cycles = |chip: &str| {
        let args = ["npu", "gemm.npu", "-D", "M=16,N=4096,K=512", "--chip", chip];
        json(&dir, &args, "msd.npu/1").1["runs"][0]["cycles"].as_u64().unwrap()
    };
    assert!(cycles("fast.toml") < cycles("ascend-910b"));
    let (status, object) = json(&dir, &["npu", "gemm.npu", "--chip", "odd.toml"], "msd.npu/1");
    let fault = &object["diagnostics"][0];
    assert_eq!((status, &fault["code"], &fault["file"]), (1, &"E1101".into(), &"odd.toml".into()));
    assert_eq!(fault["line"], 1);
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    let broken = String::from_utf8(GEMM.to_vec()).unwrap().replace("set_flag M, FIX, 0", "");
    let slip = String::from_utf8(GEMM.to_vec()).unwrap().replace("mmad.i8", "mmda.i8");
    let dir = dir(&[
        ("gemm.npu", GEMM),
        ("broken.npu", broken.as_bytes()),
        ("slip.npu", slip.as_bytes()),
        ("k.msd", b""),
        ("linear.msd", LINEAR),
    ]);
    let fault = |args: &[&str]| {
        let (status, object) = json(&dir, args, "msd.npu/1");
        (status, object["diagnostics"][0].clone())
    };
    let (status, deadlock) = fault(&["npu", "broken.npu"]);
    let at = broken.lines().position(|l| l.contains("wait_flag M, FIX, 0")).unwrap() + 1;
    assert_eq!((status, &deadlock["code"], &deadlock["line"]), (1, &"E1111".into(), &at.into()), "{deadlock}");
    let (status, unknown) = fault(&["npu", "slip.npu"]);
    assert_eq!((status, &unknown["code"]), (1, &"E1102".into()));
    for (args, status, code) in [
        (&["npu", "gemm.npu", "--chip", "ascend-910c"][..], 2, "E0802"),
        (&["npu", "gemm.npu", "-D", "L=3"], 2, "E0801"),
        (&["npu", "gemm.npu", "-i", "A=const:1"], 2, "E0801"),
        (&["npu", "gemm.npu", "-D", "M=1,2", "--trace", "t.json"], 2, "E0801"),
        (&["npu", "gemm.npu", "-D", "M=1000000000,N=1000000000"], 1, "E1105"),
        (&["npu", "k.msd"], 1, "E0107"),
        (&["npu", "gemm.npu", "--lowering", "msd"], 2, "E0801"),
        (&["npu", "gemm.npu", "--sweep", "s.svg"], 2, "E0801"),
        (&["npu", "linear.msd", "-D", "N=4,K=4"], 1, "E0606"),
        (&["npu", "linear.msd", "-D", "L=4"], 2, "E0801"),
        (&["npu", "linear.msd", "-D", "N=4,K=4,M=1", "--lowering", "msd", "--dequant-variant", "f16"], 2, "E0801"),
        (&["npu", "linear.msd", "-D", "N=4,K=4,M=1", "--lowering", "dequant", "--merge", "fix"], 2, "E0801"),
        (&["npu", "linear.msd", "-D", "N=4,K=4", "-D", "M=1,2", "--csv", "t.csv"], 2, "E0801"),
        (&["npu", "gemm.npu", "--csv", "gemm.npu"], 2, "E0801"),
        (&["npu", "gemm.npu", "--functional", "-o", "./gemm.npu"], 2, "E0801"),
        (&["npu", "nowhere.npu"], 1, "E0701"),
    ] {
        let (found, fault) = fault(args);
        assert_eq!((found, &fault["code"]), (status, &code.into()), "{args:?}: {fault}");
    }
    // All sizes that are missing, at once.
    for args in [&["npu", "linear.msd"][..], &["explain", "linear.msd", "--target", "ascend-950"]] {
        let missing = msd(&dir, args);
        assert!(missing.status == 1 && missing.stderr.contains("needs the size of N, K, M"), "{}", missing.stderr);
    }
    assert!(!dir.path().join("t.json").exists());
    assert_eq!(fs::read(dir.path().join("gemm.npu")).unwrap(), GEMM, "what is read is never written over");
}

#[test]
fn a_kernel_in_both_lowerings() {
    let dir = dir(&[("linear.msd", LINEAR)]);
    let sizes = ["-D", "N=512,K=1024", "-D", "M=1,64"];
    let args =
        [&["npu", "linear.msd", "--check", "--functional", "--sweep", "s.svg", "--bars", "b.svg"][..], &sizes].concat();
    let (status, object) = json(&dir, &args, "msd.npu/1");
    let runs = object["runs"].as_array().unwrap();
    let lowerings: Vec<&str> = runs.iter().filter_map(|run| run["lowering"].as_str()).collect();
    assert_eq!((status, lowerings.as_slice()), (0, &["msd", "dequant", "msd", "dequant"][..]), "{object}");
    for run in runs {
        let (cycles, model) = (run["cycles"].as_f64().unwrap(), run["model"]["cycles"].as_f64().unwrap());
        assert!((0.5..2.0).contains(&(model / cycles)), "closed form {model}, interpreter {cycles}");
        let weight = run["traffic"]["by_purpose"]["weight"]["hbm_read"].as_u64().unwrap();
        assert!((512 * 1024..512 * 1024 + 8192).contains(&weight), "{weight}");
        let workspace = &run["traffic"]["by_purpose"]["workspace"];
        let moved = workspace["l2_write"].as_u64().unwrap();
        assert_eq!(moved, if run["lowering"] == "msd" { 0 } else { 2 * 512 * 1024 });
        assert_eq!((&run["races_checked"], &run["outputs"][0]["dtype"]), (&true.into(), &"bf16".into()), "{run}");
    }
    let chart = fs::read_to_string(dir.path().join("s.svg")).unwrap();
    assert!(chart.starts_with("<svg") && chart.contains("dequant, closed form"), "{chart}");
    let bars = fs::read_to_string(dir.path().join("b.svg")).unwrap();
    assert!(bars.contains("K=1024 M=1 N=512") && bars.contains("workspace, L2"), "{bars}");
    let text = msd(&dir, &["npu", "linear.msd", "-D", "N=512,K=1024,M=4"]).stdout;
    assert!(text.contains("dequant / msd") && text.contains("closed form"), "{text}");
    // Nothing to rewrite: one run.
    fs::write(dir.path().join("gemm.msd"), "kernel g(A: f16[M, K], B: f16[N, K]) -> f32[M, N] { A @ B.T }").unwrap();
    let (_, object) = json(&dir, &["npu", "gemm.msd", "-D", "M=64,N=64,K=64"], "msd.npu/1");
    let runs = object["runs"].as_array().unwrap();
    assert_eq!((runs.len(), &runs[0]["lowering"]), (1, &"plain".into()));
}

#[test]
fn variants_of_dequantization() {
    let dir = dir(&[("linear.msd", LINEAR)]);
    let cycles = |variant: &[&str]| {
        let args = ["npu", "linear.msd", "-D", "N=2048,K=4096,M=1", "--lowering", "dequant"];
        json(&dir, &[&args[..], variant].concat(), "msd.npu/1").1["runs"][0]["cycles"].as_u64().unwrap()
    };
    let paper = cycles(&[]);
    assert!(cycles(&["--dequant-variant", "hoisted,f16"]) < paper);
    assert!(cycles(&["--dequant-variant", "l2"]) < paper * 3 / 2);
    // Each run says what was asked of it.
    let both = ["npu", "linear.msd", "-D", "N=64,K=64,M=1", "--dequant-variant", "f16,hoisted", "--merge", "fix"];
    let (_, object) = json(&dir, &both, "msd.npu/1");
    let said = |run: usize| object["runs"][run]["variant"].to_string();
    assert_eq!([said(0), said(1)], [r#"["fix"]"#, r#"["hoisted","f16"]"#]);
    let text = msd(&dir, &both).stdout;
    assert!(text.contains("msd (int8x2-pow2, fix), ") && text.contains("dequant (hoisted, f16), "), "{text}");
}

#[test]
fn a_choice_says_why() {
    let dir = dir(&[("linear.msd", LINEAR)]);
    let auto = ["npu", "linear.msd", "-D", "N=512,K=1024,M=4", "--lowering", "auto"];
    let (status, object) = json(&dir, &auto, "msd.npu/1");
    let because = object["runs"][0]["chosen_because"].as_str().unwrap();
    assert!(status == 0 && because.contains("predicted cycles: msd") && because.contains("dequant"), "{object}");
    assert!(msd(&dir, &auto).stdout.contains(&format!("chosen by {because}")));
    let asked = json(&dir, &[&auto[..4], &["--lowering", "msd"]].concat(), "msd.npu/1").1;
    assert!(asked["runs"][0].get("chosen_because").is_none(), "{asked}");
    // Nothing to choose from.
    fs::write(dir.path().join("gemm.msd"), "kernel g(A: f16[M, K], B: f16[N, K]) -> f32[M, N] { A @ B.T }").unwrap();
    let plain = msd(&dir, &["explain", "gemm.msd", "-D", "M=64,N=64,K=64", "--target", "ascend-910b"]).stdout;
    assert!(plain.contains("predicted cycles, launch excluded: plain ") && !plain.contains("cheaper"), "{plain}");
    assert!(plain.starts_with("on ascend-910b: plain") && plain.contains("on this machine: kernel g"), "{plain}");
}

#[test]
fn a_chip_may_be_too_small_for_kernels() {
    let dir = dir(&[("linear.msd", LINEAR)]);
    for (base, group, number, value) in [
        ("ascend-910b", "cores", "vectors_per_cube", 0),
        ("ascend-910b", "memory", "ub", 65536),
        ("ascend-910b", "limits", "flags", 7),
        ("ascend-910b", "limits", "queue", 3),
        ("ascend-910b", "limits", "counters", 9),
        // The way from UB to L1 takes two more.
        ("ascend-950", "limits", "counters", 11),
    ] {
        let changed = format!("[{group}]\n{number} = {{ value = {value}, source = \"test\" }}\n");
        let text = format!("extends = \"{base}\"\nname = \"small\"\n{changed}");
        fs::write(dir.path().join("small.toml"), text).unwrap();
        let args = ["npu", "linear.msd", "-D", "N=64,K=64,M=1", "--chip", "small.toml"];
        let (status, object) = json(&dir, &args, "msd.npu/1");
        let fault = &object["diagnostics"][0];
        let message = fault["message"].as_str().unwrap();
        assert_eq!((status, &fault["code"]), (1, &"E1104".into()), "{object}");
        assert!(message.contains(&format!("{group}.{number} is {value}")), "{message}");
    }
}

#[test]
fn a_printed_stream_is_the_one_that_runs() {
    let dir = dir(&[("linear.msd", LINEAR)]);
    let sizes = ["-D", "N=300,K=500,M=5", "--lowering", "msd"];
    let printed = msd(&dir, &[&["opt", "linear.msd", "--emit", "npu", "--target", "ascend-950"][..], &sizes].concat());
    assert!(printed.status == 0 && printed.stdout.contains("// msd.decompose"), "{}", printed.stderr);
    fs::write(dir.path().join("linear.npu"), &printed.stdout).unwrap();
    let chip = ["--chip", "ascend-950"];
    let cycles = |args: &[&str]| {
        let (status, object) = json(&dir, &[&["npu"][..], args, &chip].concat(), "msd.npu/1");
        assert_eq!(status, 0, "{object}");
        object["runs"][0]["cycles"].as_u64().unwrap()
    };
    assert_eq!(cycles(&["linear.npu"]), cycles(&[&["linear.msd"][..], &sizes].concat()));
    // The other levels are those of the same plan, which is not this machine's.
    let many = ["opt", "linear.msd", "-D", "N=4096,K=4096,M=1024", "--emit"];
    let level = |rest: &[&str]| msd(&dir, &[&many[..], rest].concat());
    assert!(level(&["ir"]).stdout.contains("msd.decompose"));
    let on_chip = level(&["ir", "--target", "ascend-950", "--print-after", "all"]).stdout;
    assert!(on_chip.contains("dequant(W)") && on_chip.contains("// after "), "{on_chip}");
    let plan = level(&["plan", "--target", "ascend-950"]).stdout;
    assert!(plan.contains("dequant"), "{plan}");
    let refused = level(&["asm", "--target", "ascend-950"]);
    assert!(refused.status == 2 && refused.stderr.contains("--emit npu"), "{}", refused.stderr);
}

#[test]
fn a_chip_is_a_target() {
    let dir = dir(&[("linear.msd", LINEAR)]);
    let args = ["run", "linear.msd", "-D", "N=40,K=90,M=3", "-i", "W=randn:1", "-i", "X=randn:2", "-i", "bias=randn:3"];
    let ran = |target: &str| {
        let (status, object) = json(&dir, &[&args[..], &["--target", target]].concat(), "msd.run/1");
        assert_eq!(status, 0, "{object}");
        object["outputs"][0]["mean"].as_f64().unwrap()
    };
    assert!((ran("ascend-910b") - ran("reference")).abs() < 1e-2);
    let explained = ["explain", "linear.msd", "-D", "N=4096,K=4096,M=16", "--target", "ascend-910b"];
    let (_, object) = json(&dir, &explained, "msd.explain/1");
    let npu = &object["npu"];
    assert_eq!((&npu["lowering"], &npu["tokens"]), (&"msd".into(), &"M".into()), "{npu}");
    assert!(npu["crossover"].as_u64().is_some_and(|m| m > 256), "{npu}");
}
