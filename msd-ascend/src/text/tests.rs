//! What is wrong with a text is said at its place, all at once; what is right reads back as it was printed.

use std::fmt::Write;

use msd_ir::diag::Code;
use proptest::prelude::*;

use super::{parse, print};
use crate::program::{MAX_NESTING, Program};

const PROGRAMS: [&str; 8] = [
    include_str!("../../../kernels/npu/msd_w8.npu"),
    include_str!("../../../kernels/npu/gemm_f16.npu"),
    include_str!("../../../kernels/npu/gemm_bf16.npu"),
    include_str!("../../../kernels/npu/gemm_i8.npu"),
    include_str!("../../../kernels/npu/gemm_i4.npu"),
    include_str!("../../../kernels/npu/gemm_mxfp8.npu"),
    include_str!("../../../kernels/npu/gemm_mxfp4.npu"),
    include_str!("../../../kernels/npu/dequant_w8.npu"),
];

/// The program without places.
fn bare(text: &str) -> Program {
    let mut program = parse(&print(&parse(text).unwrap())).unwrap();
    program.tensors.iter_mut().for_each(|t| t.span = None);
    program
}

#[test]
fn printed_programs_read_back() {
    for text in PROGRAMS {
        let printed = print(&parse(text).unwrap());
        assert_eq!(print(&parse(&printed).unwrap()), printed);
        assert_eq!(bare(text).tensors, bare(&printed).tensors);
    }
}

#[test]
fn every_form_reads_back() {
    let text = "program all\nparam N = -3\ntensor T: f32[8] output\nblocks 1\n\nvector {\n    \
                let a = (core + 1) * (sub - 2 - (blocks - N)) / 3 % max(a, min(2, N))\n    \
                if a <= N {\n        vdup.f32 UB[0], rows=1, cols=8, value=-1.5e-7  // a note\n    } else {\n        \
                vcmp.f32 UB[0 row 32 block 0], UB[64], UB[128 row 0], rows=2, cols=8, cond=ge\n    }\n    \
                for i in a..a + 3 step 2 {\n        store.f32 T[i], UB[0], rows=1, cols=1, atomic=add\n    }\n    \
                cross_set MTE3, 2, to=all\n    barrier_all\n    vdup.f32 UB[0], rows=1, cols=8, value=inf\n}\n";
    assert_eq!(print(&parse(text).unwrap()), text);
}

/// Each faulty line, with what is said of it.
#[test]
fn faults_have_code_place_and_help() {
    let lines = [
        "nd2nx.f16 L1[0], A[0], rows=1, cols=1",
        "nd2nz.f17 L1[0], A[0], rows=1, cols=1",
        "nd2nz.f32 L1[0], A[0], rows=1, cols=1",
        "nd2nz L1[0], A[0], rows=1, cols=1",
        "fix.f32 A[0], L0C[0], m=1, n=1",
        "nd2nz.f16 UB[0], A[0], rows=1, cols=1",
        "nd2nz.f16 L1[0], Z[0], rows=1, cols=1",
        "nd2nz.f16 L1[0], A[0], rows=1",
        "nd2nz.f16 L1[0], A[0], rows=1, cols=1, rows=1",
        "nd2nz.f16 L1[0], A[0], L1[0], rows=1, cols=1",
        "nd2nz.f16 L1[0], A[0] rows=1, cols=1",
        "nd2nz.f16 L1[0, A[0], rows=1, cols=1",
        "nd2nz.f16 L1[x], A[0], rows=1, cols=1",
        "nd2nz.f16 L1[99999999999999999999], A[0], rows=1, cols=1",
        "set_flag MTE9, M, 0",
        "set_flag MTE2, M",
        "fix.f32.f32 A[0], L0C[0], m=1, n=1, atomic=sub",
        "fix.f32.f32 A[0], L0C[0], m=1, n=1, scale=much",
        "let L1 = 3",
        "let A = 3",
        "let N = 3",
        "let x 3",
        "for i in 0 {",
        "barrier M barrier M",
        "let y = 1 < 2 < 3",
        "let y = (1",
        "let y = 1 # 2",
        "= 3",
    ];
    let mut report = String::new();
    for line in lines {
        let text = format!("program p\nparam N = 1\ntensor A: f16[8] weight\ncube {{\n    {line}\n}}\n");
        let faults = parse(&text).unwrap_err();
        let fault = &faults[0];
        let (line_number, column) = fault.span.unwrap().line_column(&text);
        let help = fault.help.as_deref().unwrap_or("-");
        let _ =
            writeln!(report, "{line}\n  {line_number}:{column} {} {}\n  {help}", fault.code.as_str(), fault.message);
    }
    insta::assert_snapshot!(report);
}

#[test]
fn declarations_have_faults_too() {
    let code = |text: &str| parse(text).unwrap_err()[0].code;
    assert_eq!(code(""), Code::EmptyFile);
    assert_eq!(code("program p"), Code::EmptyFile);
    assert_eq!(code("barrier M"), Code::UnexpectedToken);
    assert_eq!(code("param M = 1\nparam M = 2"), Code::DuplicateName);
    assert_eq!(code("param core = 1 / 0"), Code::DuplicateName);
    assert_eq!(code("param M = 1 / 0"), Code::NoValue);
    assert_eq!(code("param m = 1"), Code::UnexpectedToken);
    assert_eq!(code("tensor A: f16[8] toys"), Code::UnknownName);
    assert_eq!(code("tensor A: f16[8] weight\ntensor A: f16[8] weight"), Code::DuplicateName);
    assert_eq!(code("tensor UB: f16[8] weight"), Code::DuplicateName);
    assert_eq!(code("cube {\n barrier M"), Code::UnexpectedEnd);
    let two = parse("param = 1\ntensor A f16[8] weight\ncube {\n foo\n barrier\n}").unwrap_err();
    assert_eq!(two.len(), 4, "all faults come at once: {two:?}");
}

#[test]
fn depth_is_bounded() {
    let nested = format!("cube {{{}", "\nif 1 {".repeat(100_000));
    assert_eq!(parse(&nested).unwrap_err()[0].code, Code::NestingTooDeep);
    let fine = format!("cube {{{}\nbarrier M\n{}}}", "\nif 1 {".repeat(MAX_NESTING), "}\n".repeat(MAX_NESTING));
    assert!(parse(&fine).is_ok());
    let brackets = format!("cube {{\nlet a = {}1", "(".repeat(100_000));
    assert_eq!(parse(&brackets).unwrap_err()[0].code, Code::NestingTooDeep);
    let minus = format!("cube {{\nlet a = {}1", "-".repeat(100_000));
    assert_eq!(parse(&minus).unwrap_err()[0].code, Code::NestingTooDeep);
    let long = format!("cube {{\nlet a = core{}\n}}", " + core".repeat(100_000));
    assert!(parse(&long).is_err());
}

proptest! {
    #[test]
    fn no_text_panics(text in "[ -~\n]{0,200}") {
        let _ = parse(&text);
    }

    /// Words of the language in any order.
    #[test]
    fn no_words_panic(words in prop::collection::vec(0usize..44, 0..80)) {
        const WORDS: [&str; 44] = [
            "program", "param", "tensor", "blocks", "cube", "vector", "{", "}", "\n", "let", "for", "in", "..", "step",
            "if", "else", "nd2nz", ".f16", ".f32", "L1[0]", "A[", "]", "row", "block", ",", "rows=", "cols=", "1", "0",
            "-", "+", "*", "/", "(", ")", "min", "<", "==", "set_flag", "MTE2", "barrier", "// x", "=", "9999999999999",
        ];
        let text: Vec<&str> = words.into_iter().map(|i| WORDS[i]).collect();
        if let Ok(program) = parse(&text.join(" ")) {
            let printed = print(&program);
            prop_assert_eq!(print(&parse(&printed).unwrap()), printed);
        }
    }
}
