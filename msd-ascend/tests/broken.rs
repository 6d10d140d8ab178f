//! Streams broken by hand, each in one place: a flag that is missing, buffers that overlap, a loop too far. Each
//! must be refused for the right reason; the snapshot holds what is said.

use std::borrow::Cow;
use std::fmt::Write;

use msd_ascend::chip::Chip;
use msd_ascend::expr::Expr;
use msd_ascend::program::{Instruction, Program, Statement};
use msd_ascend::{race, text, values, verify};
use msd_ir::diag::{Code, Diagnostic};
use msd_ir::dtype::DType;
use msd_ir::tensor::Tensor;

const F16: &str = include_str!("../../kernels/npu/gemm_f16.npu");
const I4: &str = include_str!("../../kernels/npu/gemm_i4.npu");
const MXFP8: &str = include_str!("../../kernels/npu/gemm_mxfp8.npu");
const DEQUANT: &str = include_str!("../../kernels/npu/dequant_w8.npu");

/// What is done to a stream: every `.0` becomes `.1`.
type Edits = &'static [(&'static str, &'static str)];

struct Case {
    name: &'static str,
    base: &'static str,
    chip: &'static str,
    edits: Edits,
    code: Code,
}

const fn f16(name: &'static str, edits: Edits, code: Code) -> Case {
    Case { name, base: F16, chip: "ascend-910b", edits, code }
}

const fn dequant(name: &'static str, edits: Edits, code: Code) -> Case {
    Case { name, base: DEQUANT, chip: "ascend-910b", edits, code }
}

const fn mxfp8(name: &'static str, edits: Edits, code: Code) -> Case {
    Case { name, base: MXFP8, chip: "ascend-950", edits, code }
}

use Code::*;

const CASES: &[Case] = &[
    // Flags.
    f16("L1 never said to be full", &[("set_flag MTE2, MTE1, p", "")], Deadlock),
    f16("L1 never waited to be full", &[("wait_flag MTE2, MTE1, p", "")], FlagSetTwice),
    f16("L1 not free at first", &[("    set_flag MTE1, MTE2, 0\n", "")], Deadlock),
    f16("second buffer of L1 not free at first", &[("    set_flag MTE1, MTE2, 1\n", "")], Deadlock),
    f16(
        "L0C not free at first",
        &[("wait_flag FIX, M, 0\n                }", "wait_flag FIX, M, 1\n                }")],
        Deadlock,
    ),
    f16("L0 never said to be free", &[("                set_flag M, MTE1, q\n", "")], Deadlock),
    f16("L0 never said to be full", &[("set_flag MTE1, M, q", "")], Deadlock),
    f16("last flag of FIX left", &[("    wait_flag FIX, M, 0\n}", "}")], FlagLeft),
    f16("last flag of L1 left", &[("    wait_flag MTE1, MTE2, 1\n", "")], FlagLeft),
    f16("flag to FIX set twice", &[("set_flag M, FIX, 0", "set_flag M, FIX, 0\n set_flag M, FIX, 0")], FlagSetTwice),
    f16(
        "L0 said to be full twice",
        &[("set_flag MTE1, M, q", "set_flag MTE1, M, q\n set_flag MTE1, M, q")],
        FlagSetTwice,
    ),
    f16("L0 waited for under the wrong number", &[("wait_flag MTE1, M, q", "wait_flag MTE1, M, 1 - q")], FlagSetTwice),
    f16("flag in the wrong direction", &[("wait_flag M, FIX, 0", "wait_flag FIX, M, 0")], Deadlock),
    f16("waited for twice", &[("wait_flag M, FIX, 0", "wait_flag M, FIX, 0\n wait_flag M, FIX, 0")], Deadlock),
    f16("scalar unit waits for nothing", &[("let q = 0", "let q = 0\n wait_flag MTE2, S, 0")], Deadlock),
    f16(
        "barrier before what the pipes wait for",
        &[("let q = 0", "let q = 0\n wait_flag M, FIX, 3\n barrier_all\n set_flag M, FIX, 3")],
        Deadlock,
    ),
    f16(
        "set behind more than the queue of a pipe holds",
        &[(
            "let q = 0",
            "let q = 0\n wait_flag FIX, MTE2, 3\n for i in 0..64 {\n barrier MTE2\n }\n set_flag FIX, MTE2, 3",
        )],
        Deadlock,
    ),
    f16(
        "flag set again before it is surely taken",
        &[("let q = 0", "let q = 0\n for i in 0..2 {\n set_flag MTE2, FIX, 3\n wait_flag MTE2, FIX, 3\n }")],
        FlagSetTwice,
    ),
    // Order of accesses.
    f16(
        "sums leave before they are complete",
        &[("        set_flag M, FIX, 0\n        wait_flag M, FIX, 0\n", "")],
        Race,
    ),
    f16(
        "product of what is not in L0 yet",
        &[("set_flag MTE1, M, q", ""), ("wait_flag MTE1, M, q", "")],
        Uninitialized,
    ),
    f16(
        "L0 filled from what is not in L1 yet",
        &[("set_flag MTE2, MTE1, p", ""), ("wait_flag MTE2, MTE1, p", "")],
        Race,
    ),
    f16(
        "L0 filled while it is multiplied",
        &[
            ("    set_flag M, MTE1, 0\n    set_flag M, MTE1, 1\n", ""),
            ("wait_flag M, MTE1, q", ""),
            ("set_flag M, MTE1, q", ""),
            ("    wait_flag M, MTE1, 0\n    wait_flag M, MTE1, 1\n", ""),
        ],
        Race,
    ),
    f16(
        "L1 filled while it is read",
        &[
            ("    set_flag MTE1, MTE2, 0\n    set_flag MTE1, MTE2, 1\n", ""),
            ("wait_flag MTE1, MTE2, p", ""),
            ("set_flag MTE1, MTE2, p", ""),
            ("    wait_flag MTE1, MTE2, 0\n    wait_flag MTE1, MTE2, 1\n", ""),
        ],
        Race,
    ),
    f16("sums overwritten before they left", &[("set_flag FIX, M, 0", ""), ("wait_flag FIX, M, 0", "")], Race),
    f16("A's second buffer in B's first", &[("L1[131072 + p * 131072", "L1[65536 + p * 131072")], Race),
    f16("buffers of L0B overlap", &[("L0B[q * 32768]", "L0B[q * 16384]")], Race),
    f16(
        "L1 said to be full before B is there",
        &[
            ("            nd2nz.f16 L1[131072", "            set_flag MTE2, MTE1, p\n            nd2nz.f16 L1[131072"),
            ("ld=K\n            set_flag MTE2, MTE1, p\n            wait", "ld=K\n            wait"),
        ],
        Race,
    ),
    f16("two cores write the same tile", &[("for t in core..", "for t in 0..")], Race),
    dequant(
        "operation on what the one before has not written yet",
        &[("rows=1\n            barrier V\n", "rows=1\n")],
        Race,
    ),
    dequant("result stored before it is there", &[("set_flag V, MTE3, 0", ""), ("wait_flag V, MTE3, 0", "")], Race),
    dequant(
        "codes overwritten while they are read",
        &[("set_flag MTE3, MTE2, 0", ""), ("wait_flag MTE3, MTE2, 0", "")],
        Race,
    ),
    dequant("workspace said to be full before it is", &[("cross_set MTE3, 0", "cross_set V, 0")], Race),
    dequant("workspace read without asking", &[("cross_set MTE3, 0", ""), ("cross_wait MTE2, 0", "")], Uninitialized),
    dequant("workspace overwritten while it is read", &[("cross_wait MTE3, 1", ""), ("cross_set MTE2, 1", "")], Race),
    dequant("workspace of one slab for all cores", &[("(slab % 2 * blocks + core)", "(slab % 2 * blocks)")], Race),
    // Counters.
    dequant("workspace never said to be full", &[("cross_set MTE3, 0", "")], Deadlock),
    dequant("workspace never said to be free", &[("cross_set MTE2, 1", "")], Deadlock),
    dequant("told to the wrong cores", &[("cross_set MTE3, 0", "cross_set MTE3, 0, to=all")], Deadlock),
    dequant(
        "one vector core says nothing",
        &[("cross_set MTE3, 0", "if sub == 0 {\n cross_set MTE3, 0\n }")],
        Deadlock,
    ),
    dequant(
        "one counter for two pipes",
        &[("cross_wait MTE2, 0", "cross_wait MTE1, 0\n cross_wait MTE2, 0")],
        CounterShared,
    ),
    dequant(
        "one counter for a group and for all",
        &[("cross_wait MTE2, 0", "cross_set MTE2, 0, to=all\n cross_wait MTE2, 0")],
        CounterShared,
    ),
    dequant(
        "one counter set in two pipes",
        &[("cross_set MTE3, 0", "cross_set MTE3, 0\n cross_set V, 0")],
        CounterShared,
    ),
    dequant("counter left up", &[("for s in 0..min(2, slab) {", "for s in 0..min(1, slab) {")], FlagLeft),
    // What nobody wrote.
    f16("sums start from nothing", &[("init=k1 + k0 == 0", "init=0")], Uninitialized),
    f16("height of another matrix", &[("k0 * 2 * rows_a", "k0 * 2 * 128")], Uninitialized),
    f16(
        "A taken from where B does not lie",
        &[("L1[131072 + p * 131072 + k0 * 2 * rows_b]", "L1[458752 + k0 * 2 * rows_b]")],
        OutOfMemory,
    ),
    mxfp8(
        "no scales of A",
        &[("load_scales.e8m0 L0AS[q * 1024], L1[262144 + p * 8192 + k0 / 32 row 32], rows=m, blocks=k / 32", "")],
        Uninitialized,
    ),
    mxfp8(
        "scales of fewer rows",
        &[(
            "L0BS[q * 1024], L1[278528 + p * 8192 + k0 / 32 row 32], rows=n",
            "L0BS[q * 1024], L1[278528 + p * 8192 + k0 / 32 row 32], rows=n - 1",
        )],
        Uninitialized,
    ),
    f16("an output that a core leaves out", &[("for t in core..", "for t in core * 2..")], Uninitialized),
    dequant(
        "a counter that nobody waits for",
        &[(
            "let slab = 0\n    for n0 in core * 64..N",
            "for i in 0..1100 {\n cross_set MTE2, 9\n }\n let slab = 0\n    for n0 in core * 64..N",
        )],
        FlagSetTwice,
    ),
    // Capacity.
    f16("beyond L1", &[("L1[131072 + p * 131072", "L1[131072 + p * 393216")], OutOfMemory),
    f16("beyond L0A", &[("L0A[q * 32768]", "L0A[q * 65536]")], OutOfMemory),
    f16("beyond L0C", &[("L0C[0]", "L0C[1024]")], OutOfMemory),
    f16("beyond A", &[("A[m0 * K + k1]", "A[m0 * K + k1 + 1]")], OutOfMemory),
    f16("rows beyond M", &[("min(128, M - m0)", "128")], OutOfMemory),
    f16("before B", &[("B[n0 * K + k1]", "B[n0 * K + k1 - 1]")], OutOfMemory),
    dequant("beyond UB", &[("UB[32768]", "UB[196576]")], OutOfMemory),
    f16("more than the memory of a chip", &[("f16[M, K]", "f16[M, K, 1000000000]")], OutOfMemory),
    // Alignment and layout.
    f16("L1 not aligned", &[("L1[p * 65536]", "L1[p * 65536 + 8]")], Misaligned),
    f16("L0B not aligned", &[("L0B[q * 32768]", "L0B[q * 32768 + 32]")], Misaligned),
    f16("L0C not aligned", &[("L0C[0]", "L0C[512]")], Misaligned),
    f16("rows of A overlap", &[("rows=m, cols=k_l1, ld=K", "rows=m, cols=k_l1, ld=16")], Misaligned),
    f16("rows of C overlap", &[("n=n, ld=N", "n=n, ld=8")], Misaligned),
    f16("matrix lower than its rows", &[("rows=m, cols=k_l1, ld=K", "rows=m, cols=k_l1, ld=K, height=16")], Misaligned),
    dequant("blocks that are no blocks", &[("block 0]", "block 8]")], Misaligned),
    Case {
        name: "half a byte",
        base: I4,
        chip: "ascend-910b",
        edits: &[("A[m0 * K + k1]", "A[m0 * K + k1 + 1]")],
        code: Misaligned,
    },
    // Loops and numbers.
    f16("tiles beyond C", &[("core..tiles_m * tiles_n", "core..tiles_m * tiles_n + 2")], BadOperand),
    f16("beyond K", &[("0..K step 256", "0..K + 256 step 256")], BadOperand),
    f16("a loop that stands still", &[("0..K step 256", "0..K step K - K")], BadOperand),
    f16("a loop without end", &[("let q = 0", "let q = 0\n for z in 0..1000000000000 {\n }")], StreamTooLong),
    f16("divided by zero", &[("/ tiles_m * 256", "/ (tiles_m - tiles_m) * 256")], NoValue),
    f16("beyond 64 bits", &[("let q = 0", "let q = 0 * (M * 4611686018427387904)")], NoValue),
    f16("more than the cube takes", &[("m=m, k=k, n=n, init", "m=m, k=k + 4096, n=n, init")], BadOperand),
    f16("a variable that nothing set", &[("let q = 0\n", "for z in 0..0 {\n let q = 0\n }\n")], NoValue),
    f16(
        "rows of another width than the tensor's",
        &[("nd2nz.f16 L1[p * 65536], A", "nd2nz.i8 L1[p * 65536], A")],
        BadOperand,
    ),
    f16(
        "added to on chip",
        &[("fix.f32.f32 C[m0 * N + n0], L0C[0], m=m, n=n, ld=N", "fix.f32.f16 L1[0], L0C[0], m=m, n=n, atomic=add")],
        NotOnChip,
    ),
    f16(
        "distances where there are no rows",
        &[("load_a.f16 L0A[q * 32768]", "load_a.f16 L0A[q * 32768 row 64]")],
        BadOperand,
    ),
    // What a chip lacks.
    f16("a type that the cube lacks", &[("mmad.f16", "mmad.e4m3")], NotOnChip),
    Case { name: "INT4 on a chip without", base: I4, chip: "ascend-950", edits: &[], code: NotOnChip },
    Case {
        name: "block scales on a chip without",
        base: MXFP8,
        chip: "ascend-910b",
        edits: &[("blocks 1", "blocks 1")],
        code: NotOnChip,
    },
    mxfp8("FP8 and FP4 in one product", &[("mmad_mx.e4m3.e4m3", "mmad_mx.e4m3.e2m1")], NotOnChip),
    f16(
        "a vector operation on a cube core",
        &[("let q = 0", "let q = 0\n vabs.f32 UB[0], UB[0], rows=1, cols=8")],
        NotOnChip,
    ),
    f16("a pipe that cube cores lack", &[("let q = 0", "let q = 0\n barrier V")], NotOnChip),
    f16("a flag too many", &[("wait_flag M, FIX, 0", "wait_flag M, FIX, 8")], NotOnChip),
    f16("more cores than there are", &[("blocks 2", "blocks 25")], NotOnChip),
    f16("no cores at all", &[("blocks 2", "blocks 0")], NotOnChip),
    f16(
        "from L0C to UB",
        &[("fix.f32.f32 C[m0 * N + n0], L0C[0], m=m, n=n, ld=N", "fix.f32.f32 UB[0], L0C[0], m=m, n=n")],
        NotOnChip,
    ),
    dequant(
        "from UB to L1",
        &[(
            "store.bf16 V[((slab % 2 * blocks + core) * 64 + r) * K], UB[32768], rows=1, cols=K",
            "store_nz.bf16 L1[0], UB[32768], rows=1, cols=K",
        )],
        NotOnChip,
    ),
    dequant("a cast in one step that takes two", &[("vcast.i8.f16", "vcast.i8.bf16")], NotOnChip),
];

/// The stream in a shape with tails, on two cores.
fn broken(case: &Case) -> Result<Program, Vec<Diagnostic>> {
    let mut source = case.base.replace("blocks 24", "blocks 2").replace("blocks 32", "blocks 2");
    for (from, to) in case.edits {
        assert!(source.contains(from) || from == to, "{}: the stream has no `{from}`", case.name);
        source = source.replace(from, to);
    }
    let mut program = text::parse(&source)?;
    for (name, value) in [("M", 130), ("N", 300), ("K", 576)] {
        program.set(name, value);
    }
    if case.base == DEQUANT {
        program.set("M", 5);
    }
    Ok(program)
}

fn findings(case: &Case) -> Vec<Diagnostic> {
    let chip = Chip::named(case.chip).expect("a chip that comes along");
    let program = match broken(case) {
        Ok(program) => program,
        Err(diagnostics) => return diagnostics,
    };
    let mut found = verify::verify(&program, &chip).err().unwrap_or_default();
    found.extend(race::find(&program, &chip).err().unwrap_or_default());
    found
}

#[test]
fn broken_streams_are_refused_for_the_right_reason() {
    let mut report = String::new();
    let mut wrong = Vec::new();
    for case in CASES {
        let found = findings(case);
        // Without one order, others are no longer sure either; the verifier may say so first.
        match found.iter().find(|d| d.code == case.code) {
            Some(d) => {
                let help = d.help.as_deref().unwrap_or("-");
                let _ = writeln!(report, "{}\n  {} {}\n  {help}", case.name, d.code.as_str(), d.message);
            }
            None => wrong.push(format!("{}: {:?} expected, found {found:?}", case.name, case.code)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(CASES.len() >= 60);
    insta::assert_snapshot!(report);
}

/// What the checks say of operations of one vector core.
fn of_vector(body: &str) -> Vec<Code> {
    let source = format!("tensor T: f32[64] workspace\nvector {{\nif core + sub == 0 {{\n{body}\n}}\n}}");
    let program = text::parse(&source).expect("a stream");
    let chip = Chip::named("ascend-910b").expect("it comes along");
    let mut found = verify::verify(&program, &chip).err().unwrap_or_default();
    found.extend(race::find(&program, &chip).err().unwrap_or_default());
    found.iter().map(|d| d.code).collect()
}

#[test]
fn the_vector_unit_needs_barriers_or_flags() {
    let there = "vdup.f32 UB[0], rows=1, cols=64\nset_flag V, MTE3, 0\nwait_flag V, MTE3, 0\n\
                 store.f32 T[0], UB[0], rows=1, cols=64\n";
    let back = "set_flag MTE3, V, 0\nwait_flag MTE3, V, 0\n";
    let reads = "vadds.f32 UB[256], UB[0], rows=1, cols=64";
    assert_eq!(of_vector(&format!("{there}{reads}")), [Code::Race]);
    assert_eq!(of_vector(&format!("{there}barrier V\n{reads}")), []);
    // Who heard that a flag behind it was set need not wait for it once more.
    assert_eq!(of_vector(&format!("{there}{back}{reads}")), []);
}

#[test]
fn blocks_that_lie_apart_leave_gaps() {
    let apart = "vdup.f32 UB[0 block 64], rows=1, cols=16\nbarrier V\n";
    assert_eq!(of_vector(&format!("{apart}vadds.f32 UB[1024], UB[32], rows=1, cols=8")), [Code::Uninitialized]);
    assert_eq!(of_vector(&format!("{apart}vadds.f32 UB[1024], UB[64], rows=1, cols=8")), []);
    let two = "vdup.f32 UB[0], rows=1, cols=8\nvdup.f32 UB[64], rows=1, cols=8\nbarrier V\n";
    assert_eq!(of_vector(&format!("{two}vadds.f32 UB[1024], UB[0 block 64], rows=1, cols=16")), []);
    // Rows of three blocks, the last of them half full.
    let rows = "vdup.f32 UB[0 row 256 block 64], rows=2, cols=20\nbarrier V\n";
    assert_eq!(of_vector(&format!("{rows}vadds.f32 UB[1024], UB[384 row 32], rows=1, cols=4")), []);
    assert_eq!(of_vector(&format!("{rows}vadds.f32 UB[1024], UB[384 row 32], rows=1, cols=8")), [Code::Uninitialized]);
}

#[test]
fn operands_that_make_no_sense_are_refused() {
    for body in [
        "vadds.f32 UB[32], UB[0], rows=1, cols=1024",
        "vdup.f32 UB[0 row 100], rows=4, cols=8",
        "store.i8 T[0], UB[0], rows=1, cols=8",
        "vdup.f32 UB[x], rows=1, cols=8\nlet x = 0",
    ] {
        let source = format!("tensor T: f32[64] workspace\nvector {{\nlet y = 0\n{body}\n}}");
        let chip = Chip::named("ascend-910b").expect("it comes along");
        let found = text::parse(&source).and_then(|program| verify::verify(&program, &chip));
        assert!(found.is_err(), "{body}");
    }
}

#[test]
fn sums_that_leave_their_type_are_said_at_their_place() {
    let source = "tensor T: i32[256] weight\ntensor O: i32[256] output\nvector {\nif core + sub == 0 {\n\
                  load.i32 UB[0], T[0], rows=1, cols=256\nset_flag MTE2, MTE3, 0\nwait_flag MTE2, MTE3, 0\n\
                  store.i32 O[0], UB[0], rows=1, cols=256\nstore.i32 O[0], UB[0], rows=1, cols=256, atomic=add\n}\n}";
    let program = text::parse(source).expect("a stream");
    let chip = Chip::named("ascend-910b").expect("it comes along");
    let of = |value| Tensor::from_codes(DType::I32, vec![256], (0..256).map(|_| value)).expect("codes");
    let run = |value| values::run(&program, &chip, &[Some(Cow::Owned(of(value))), None]);
    assert_eq!(run(1 << 29).expect("it fits")[1].value(255), f64::from(1 << 30));
    let fault = run(1 << 30).expect_err("2^31 does not fit");
    assert_eq!((fault.code, fault.span.expect("a place").line_column(source).0), (Code::AccumulatorRange, 9));
}

#[test]
fn a_chip_without_vector_cores_runs_no_vector_program() {
    let source =
        "extends = \"ascend-910b\"\nname = \"cubes\"\n[cores]\nvectors_per_cube = { value = 0, source = \"a test\" }";
    let chip = Chip::parse(source).expect("a chip");
    let program = text::parse("vector {\nvdup.f32 UB[0], rows=1, cols=8\n}").expect("a stream");
    let found = verify::verify(&program, &chip).expect_err("nobody runs it");
    assert_eq!(found[0].code, Code::NotOnChip);
}

/// More accesses to keep than the detector does: said, and not taken for a race.
#[test]
fn races_are_not_looked_for_without_bound() {
    let source = "tensor T: f32[16777216] workspace\nvector {\nif core + sub == 0 {\nvdup.f32 UB[0], rows=1, cols=8\n\
                  set_flag V, MTE3, 0\nwait_flag V, MTE3, 0\nfor i in 0..1048580 {\n\
                  store.f32 T[i * 8], UB[0], rows=1, cols=1\n}\n}\n}";
    let program = text::parse(source).expect("a stream");
    let chip = Chip::named("ascend-910b").expect("it comes along");
    let found = race::find(&program, &chip).expect_err("it gives up");
    assert_eq!(found.iter().map(|d| d.code).collect::<Vec<_>>(), [Code::TooLarge]);
}

/// Programs that a text could not say.
#[test]
fn programs_that_were_not_parsed_are_checked_as_well() {
    let chip = Chip::named("ascend-910b").expect("it comes along");
    let good =
        text::parse("tensor T: f32[64] output\ncube {\nload_a.f16 L0A[0], L1[0], m=16, k=16\n}").expect("a stream");
    let refused = |change: &dyn Fn(&mut Program)| {
        let mut program = good.clone();
        change(&mut program);
        verify::verify(&program, &chip).is_err()
    };
    assert!(!refused(&|_| ()));
    let instruction = |program: &mut Program, change: &dyn Fn(&mut Instruction)| match &mut program.cube[0] {
        Statement::Instruction(instruction) => change(instruction),
        _ => unreachable!("one instruction"),
    };
    assert!(refused(&|p| instruction(p, &|i| i.args.swap(0, 1))));
    assert!(refused(&|p| instruction(p, &|i| i.types = [None, None])));
    assert!(refused(&|p| instruction(p, &|i| i.args.truncate(3))));
    assert!(refused(&|p| p.cube.push(Statement::Let(77, 0.into()))));
    assert!(refused(&|p| p.variables.clear()));
    assert!(refused(&|p| p.blocks = Expr::variable(0)));
    assert!(refused(&|p| p.tensors[0].shape = vec![Expr::variable(1)]));
}

#[test]
fn unbroken_they_run() {
    for (base, chip) in [(F16, "ascend-910b"), (I4, "ascend-910b"), (MXFP8, "ascend-950"), (DEQUANT, "ascend-910b")] {
        let case = Case { name: "unbroken", base, chip, edits: &[], code: Internal };
        assert_eq!(findings(&case), [], "{chip}");
    }
}
