//! Nothing that is fed to the crate makes it panic, and every error has a code, a place within
//! the text and a help.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use msd_grammar::{check, check_bytes, format, lexer};
use proptest::prelude::*;

const LANGUAGE: &str = include_str!("language.msd");
const WORDS: &[&str] = &[
    "kernel",
    "let",
    "f",
    "a",
    "b",
    "N",
    "M",
    "K",
    "msd",
    "dequant",
    "cast",
    "softmax",
    "reshape",
    "concat",
    "slice",
    "where",
    "decompose",
    "scale",
    "zero",
    "i8",
    "f32",
    "bf16",
    "mxfp4",
    "nvfp4",
    "1",
    "0",
    "128",
    "1e-4",
    "9e99",
    "1.5",
    "128K",
    "\"int8x1\"",
    "\"",
    "T",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ";",
    ":",
    ".",
    "#",
    "->",
    "=",
    "==",
    "<",
    "-",
    "+",
    "*",
    "/",
    "@",
    "$",
    "é",
    "// c\n",
    "\n",
    "kernel f(a: f32[M, N]) -> f32[M, N] {",
    "tolerance",
    "scheme",
    "int8x2-pow2",
];

fn assert_total(text: &str) {
    if let Err(faults) = check(text) {
        assert!(!faults.is_empty());
        for fault in &faults {
            let span = fault.span.unwrap_or_else(|| panic!("no place: {fault}"));
            assert!(span.start <= span.end && span.end <= text.len(), "{fault} at {span:?}");
            assert!(fault.help.is_some(), "no help: {fault}");
        }
        assert!(faults.windows(2).all(|w| w[0].span.unwrap().start <= w[1].span.unwrap().start), "not in order");
    }
    if let Ok(once) = format(text) {
        assert_eq!(format(&once).unwrap(), once, "{text}");
    }
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Err(faults) = check_bytes(&bytes) {
            prop_assert!(!faults.is_empty());
        }
    }

    #[test]
    fn random_text(text in "\\PC{0,200}") {
        assert_total(&text);
    }

    #[test]
    fn token_soup(words in proptest::collection::vec(proptest::sample::select(WORDS), 0..120)) {
        assert_total(&words.join(" "));
    }

    #[test]
    fn soup_in_a_body(words in proptest::collection::vec(proptest::sample::select(WORDS), 0..20)) {
        let head = "kernel f(a: f32[M, N], W: i8[N, K] scale f32[N]) -> f32[M, N]";
        assert_total(&format!("{head} {{ {} }}", words.join(" ")));
    }

    #[test]
    fn valid_text_with_tokens_changed(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), proptest::sample::select(WORDS)), 1..6),
    ) {
        let mut tokens: Vec<String> = lexer::lex(LANGUAGE).iter().map(|t| t.1.to_string() + "\n").collect();
        for (at, word) in edits {
            let at = at.index(tokens.len());
            tokens[at] = format!("{word}\n");
        }
        assert_total(&tokens.join(" "));
    }
}

#[test]
fn truncations() {
    for end in 0..LANGUAGE.len() {
        assert_total(&LANGUAGE[..end]);
        assert_total(&LANGUAGE[end..]);
    }
}
