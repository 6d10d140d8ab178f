//! Expansions and errors, read from token streams without a compiler around; `tests/ui/` of the
//! library shows both as a user sees them.

use std::str::FromStr;

use proc_macro2::{TokenStream, TokenTree};

use super::{expand_kernel_fn, expand_kernels};

fn tokens(text: &str) -> TokenStream {
    TokenStream::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn kernel_fn(text: &str) -> TokenStream {
    expand_kernel_fn(TokenStream::new(), tokens(text))
}

/// The expansion as a formatted file, which also shows that it is Rust.
fn file(expansion: TokenStream) -> String {
    let parsed = syn::parse2(expansion.clone()).unwrap_or_else(|e| panic!("{expansion}: {e}"));
    prettyplease::unparse(&parsed)
}

/// Each error: what the compiler would underline, and its text.
fn errors(expansion: TokenStream) -> String {
    let trees: Vec<TokenTree> = expansion.into_iter().collect();
    let mut out = String::new();
    for window in trees.windows(3) {
        let [TokenTree::Ident(name), _, TokenTree::Group(group)] = window else { continue };
        if name == "compile_error" {
            let text = group.stream().to_string();
            let text = text.trim_matches('"').replace("\\n", "\n    ");
            let (start, end) = (name.span().start(), group.span().end());
            out += &format!("{}:{}-{}:{} {text}\n", start.line, start.column, end.line, end.column);
        }
    }
    out
}

/// Errors of a function, whose stand-in must be Rust.
fn faults(text: &str) -> String {
    let expansion = kernel_fn(text);
    file(expansion.clone());
    let errors = errors(expansion);
    assert!(!errors.is_empty(), "no error in {text}");
    errors
}

#[test]
fn a_function_and_its_module() {
    insta::assert_snapshot!(file(kernel_fn(
        "/// A linear layer.
         #[must_use]
         #[tolerance(1e-4)]
         #[cfg(unix)]
         pub(crate) fn linear(w: t!(i8[N, K] scale f32[N]), x: t!(bf16[M, K]), out: t!(f32[N])) -> t!(bf16[M, N]) {
             let product = x.matmul(w.dequant().t());
             product + out
         }"
    )));
}

#[test]
fn several_results_become_a_tuple() {
    let expansion = file(expand_kernels(tokens(
        "/// Codes and\n/// their sum.
         kernel parts(q: u4[M, N], x: f16[M, N]) -> (u4[M, N], f32[M, 1], bool[M, N]) { (q, sum(x), q > x) }",
    )));
    insta::assert_snapshot!(expansion);
}

#[test]
fn a_faulty_kernel_leaves_a_stand_in() {
    insta::assert_snapshot!(file(kernel_fn(
        "pub fn linear(w: t!(i8[N, K] scale f32[N]), x: t!(bf16[M, K])) -> t!(bf16[M, N]) { x.matmul(w) }"
    )));
}

#[test]
fn both_front_ends_build_the_same_kernel() {
    let text = |expansion: TokenStream| {
        let text = expansion.to_string();
        let start = text.find("\"kernel ").unwrap_or_else(|| panic!("no kernel in {text}"));
        text[start..].split_inclusive("}\\n\"").next().map(str::to_string)
    };
    let pairs = [
        (
            "fn f(w: t!(i8[N, K/2*2] scale f32[N]), x: t!(bf16[M, K])) -> t!(bf16[M, N]) { matmul(x, dequant(w).t()) }",
            "kernel f(w: i8[N, K/2*2] scale f32[N], x: bf16[M, K]) -> bf16[M, N] { x @ dequant(w).T }",
        ),
        (
            "fn f(x: t!(f32[M, N])) -> (t!(f32[M, N]), t!(f32[M, N])) {
                 let y = msd!(x * 2 @ x.T @ x) + 1_000.0_f32; (r#where(y >= -1., y, 1.5e-3f32), msd::msd!(y -> y)) }",
            "",
        ),
        (
            "fn f(x: t!(f32[M, N])) -> (t!(f32[M, N]), t!(f32[N, M])) {
                 let y = msd!(x + where(x == 0, 1, x)) + 1_000.0_f32; (r#where(y >= -1., y, 1.5e-3f32), x.t()) }",
            "kernel f(x: f32[M, N]) -> (f32[M, N], f32[N, M]) {
                 let y = x + where(x == 0, 1, x) + 1000; (where(y >= -1, y, 0.0015), x.T) }",
        ),
        (
            "fn f(r#in: t!(f32[M, N])) -> t!(f32[M, N]) { msd! { let y = in * in; y / (y + 1) } }",
            "kernel f(in: f32[M, N]) -> f32[M, N] { let y = in * in; y / (y + 1) }",
        ),
    ];
    for (rust, language) in pairs.iter().filter(|(_, language)| !language.is_empty()) {
        assert_eq!(text(kernel_fn(rust)), text(expand_kernels(tokens(language))), "{rust}");
    }
    assert_eq!(errors(kernel_fn(pairs[1].0)).matches("[E").count(), 1);
}

#[test]
fn functions_that_are_no_kernels() {
    let texts = [
        "struct S { x: f32 }",
        "async unsafe extern \"C\" fn f(x: t!(f32[M])) -> t!(f32[M]) { x }",
        "fn f<T: Fn() -> i32, const N: usize>(x: t!(f32[M])) -> t!(f32[M]) where T: Copy { x }",
        "fn f(&self, x: t!(f32[M])) -> t!(f32[M]) { x }",
        "fn f((a, b): t!(f32[M]), mut c: t!(f32[M]), _: t!(f32[M])) -> t!(f32[M]) { a + b + c }",
        "fn f(x: &[f32], y: Vec<Vec<f32>, A>, z: t!(f32[M, N], f32[M])) -> t!(f32[M]) { x + y }",
        "fn f(x: t!(f32[M])) { x }",
        "fn f(x: t!(f32[M])) -> Vec<f32> { x }",
        "fn f(x: t!(f32[M])) -> (t!(f32[M]), f32) { (x, x) }",
        "fn f(#[allow(x)] x: t!(f32[M])) -> t!(f32[M]) { x }",
        "#[tolernce(1e-4)] fn f(x: t!(f32[M])) -> t!(f32[M]) { x }",
        "fn kernel(kernel: t!(f32[M])) -> t!(f32[M]) { kernel }",
        "fn f(x: t!()) -> t!(f32[M]) { x }",
        "fn f(größe: t!(f32[M])) -> t!(f32[M]) { größe }",
    ];
    let all: String = texts
        .iter()
        .map(|text| {
            format!("== {text}\n{}", if text.starts_with("struct") { errors(kernel_fn(text)) } else { faults(text) })
        })
        .collect();
    insta::assert_snapshot!(all);
}

#[test]
fn rust_that_the_language_lacks() {
    let bodies = [
        "if x > 0 { x } else { -x }",
        "let mut y = x; y",
        "let y = &x; *y",
        "return x;",
        "let y = x as bf16; y",
        "let y = { x }; y",
        "x.iter().map(|v| v + 1)",
        "x + 1u8",
        "x + 0x10 + 'c' + b\"t\"",
        "let y: f32 = x; y",
        "x += 1; x",
        "f32::exp(x)",
        "exp(x)?",
        "for i in 0..3 { x } x",
        "println!(\"{}\", x); x",
        "x && !x",
        "x.0",
        "x[0]",
        "let y = msd!(x @ ); let z = true; y + unknown",
        "match x { 0 => x, _ => x }",
        "x = 1; x",
        "kernel + x",
        "let (a, b) = x; let y = x.exp; a",
        "x",
    ];
    let function = |body: &str| format!("fn f(x: t!(f32[M])) -> t!(f32[M])\n{{ {body} }}");
    let all = bodies.iter().map(|body| (body, errors(kernel_fn(&function(body)))));
    let all: String = all.map(|(body, errors)| format!("== {body}\n{errors}")).collect();
    insta::assert_snapshot!(all);
}

#[test]
fn faults_of_embedded_kernels() {
    let texts = [
        "x @ y",
        "kernel f(x: f32[M]) -> f32[M] { x } kernel f(x: f32[M]) -> f32[M] { y }",
        "kernel f(x: f32[M]) -> f32[M]",
        "kernel f(x: f32[M]) -> f32[M] { x; { x } } trailing",
        "struct S; kernel f(self: f32[M], fn: f32[M]) -> f32[M] { self + fn } ",
        "/// Docs\n kernel f(/// more docs\n x: f32[M]) -> f32[M] { let x = x; x }",
        "kernel (x: f32[M]) -> f32[M] { x | x }",
        "kernel f(x: f32[M]) -> (f32[M], f32 M) { (x, x) }",
    ];
    let all: String = texts
        .iter()
        .map(|text| {
            let expansion = expand_kernels(tokens(text));
            file(expansion.clone());
            format!("== {text}\n{}", errors(expansion))
        })
        .collect();
    insta::assert_snapshot!(all);
}

#[test]
fn names_that_rust_reserves_or_the_module_has() {
    let text =
        "kernel type(self: f32[M], in: f32[M], SOURCE: f32[M], Kernel: f32[M], out: f32[M], None: f32[M]) -> f32[M] {
                    self + in + SOURCE + Kernel + out + None }";
    let expansion = file(expand_kernels(tokens(text)));
    let heads: Vec<&str> =
        expansion.split("fn ").filter(|f| f.contains("self_:")).filter_map(|f| f.split('{').next()).collect();
    insta::assert_snapshot!(heads.join("\n"));
}

#[test]
fn deep_groups_need_no_stack() {
    let depth = 3000;
    let nested = (0..depth).fold(TokenStream::from_str("x").unwrap_or_default(), |inner, _| {
        TokenTree::from(proc_macro2::Group::new(proc_macro2::Delimiter::Parenthesis, inner)).into()
    });
    let mut read = crate::tokens::Tokens::default();
    read.read(nested, crate::tokens::Form::Rust);
    assert_eq!(read.spanned().len(), 2 * depth + 1);
}
