//! The formatter: canonical examples, comments, idempotence and meaning.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use msd_grammar::{check, format, lexer};
use proptest::prelude::*;

const LANGUAGE: &str = include_str!("language.msd");

fn formatted(text: &str) -> String {
    format(text).unwrap_or_else(|faults| panic!("{text}\n{faults:?}"))
}

/// Comments in order, and every other token but the commas before closing brackets.
fn tokens(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut comments, mut rest) = (Vec::new(), Vec::<String>::new());
    for (_, token, _) in lexer::lex(text) {
        match token {
            lexer::Token::Comment(c) => comments.push(c.to_string()),
            lexer::Token::ParenClose | lexer::Token::BracketClose => {
                rest.pop_if(|t| t == ",");
                rest.push(token.to_string());
            }
            _ => rest.push(token.to_string()),
        }
    }
    (comments, rest)
}

fn assert_sound(text: &str) -> String {
    let once = formatted(text);
    assert_eq!(formatted(&once), once, "not idempotent:\n{text}");
    assert_eq!(tokens(text), tokens(&once), "tokens changed:\n{text}\n---\n{once}");
    assert!(once.lines().all(|l| l.trim_end() == l), "trailing spaces:\n{once}");
    if let Ok(kernels) = check(text) {
        let again = check(&once).unwrap();
        assert!(kernels.iter().zip(&again).all(|(a, b)| a.same_graph(b)), "meaning changed:\n{text}");
    }
    once
}

#[test]
fn the_examples_of_the_reference() {
    insta::assert_snapshot!(assert_sound(LANGUAGE));
}

#[test]
fn comments_stay_where_they_are() {
    let text = [
        "// head",
        "",
        "",
        "// second",
        "#[tolerance( 1e-4 )] // strict",
        "#[scheme(int8x2 - pow2)]",
        "kernel f( // params",
        "  a:f32[M,N], // first",
        "  // between",
        "  b : i8[M,N] scale f32 [M] // last",
        ") -> // result",
        " f32[M,N]{ // body",
        "",
        " // lead",
        " let c=a+ // mid",
        " -b1; // after c",
        "",
        "",
        "",
        " let (d , e)=msd.decompose( a,\"int8x1\" ) ;",
        " // why",
        " where(a<-c,a,c * M/ 2) // final",
        " // end",
        "}",
        "// behind",
        "kernel g(x:f32[K / 2+1,K])->f32[]{1}// tail",
        "// last",
    ]
    .join("\n");
    insta::assert_snapshot!(assert_sound(&text));
}

#[test]
fn long_lines_break_at_brackets() {
    let long = "a_rather_long_name".repeat(3);
    let text = format!(
        "kernel f({long}: f32[N], a: f32[N]) -> f32[N] {{ \
         where({long} < max(a, {long}), {long} + a, rms_norm(a, a, 1e-6)) }}"
    );
    insta::assert_snapshot!(assert_sound(&text));
}

#[test]
fn faulty_text_is_left_alone() {
    assert_eq!(format("kernel f(").unwrap_err().len(), 1);
    assert_eq!(format("").unwrap(), "");
    assert_eq!(format("// only\n").unwrap(), "// only\n");
    // Types are the checker's business.
    assert!(format("kernel f(a: f33[n]) -> f32[N] { b }").is_ok());
}

/// Commas and parentheses wherever they may stand.
const COMMAS: &str = "kernel f(a: f32[M, N], b: f32[2*M, N/2 - 1],) -> (f32[M, N], f32[],) { let (c, d) = (-a, - 1); \
                      let e = where(a < -c, (a), reshape((((a + c))), [M, N,],),) ; (e, d) }";

/// Tokens of valid text with white space and comments strewn between them.
fn strewn() -> impl Strategy<Value = String> {
    let gap = prop_oneof![
        6 => Just(" "),
        2 => Just("\n"),
        1 => Just("\n\n\n"),
        1 => Just(" // x\n"),
        1 => Just("\n// y\n"),
        1 => Just("\n\n // z\n\n"),
    ];
    let source = prop_oneof![
        3 => Just(LANGUAGE),
        1 => Just(COMMAS),
    ];
    let count = lexer::lex(LANGUAGE).len() + 100;
    (source, proptest::collection::vec(gap, count)).prop_map(|(source, gaps)| {
        let tokens = lexer::lex(source).into_iter().filter(|t| !matches!(t.1, lexer::Token::Comment(_)));
        tokens.zip(gaps).map(|((_, token, _), gap)| format!("{token}{gap}")).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_white_space_and_comments(text in strewn()) {
        assert_sound(&text);
    }
}
