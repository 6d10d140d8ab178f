//! Kernels in Rust source: [`macro@msd_kernel`], [`msd!`] and [`msd_file!`]. Owns the way from Rust's
//! tokens to those of the language, and from checked kernels to Rust; grammar, rules and wording
//! of faults are those of `.msd` files, and what the generated functions do is the library's.
//! Meant to be used through the crate `msd`, whose paths the expansions name.

use std::collections::HashSet;

use msd_grammar::lexer::Spanned;
use msd_grammar::parse;
use msd_ir::diag::Code;
use msd_ir::graph::Kernel;
use msd_ir::span::Span as Place;
use proc_macro2::{Span, TokenStream};

mod error;
mod expand;
mod file;
mod kernel_fn;
mod rust;
mod tokens;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]
mod tests;

use crate::error::{Fault, compile_errors};
use crate::expand::Interface;
use crate::file::File;
use crate::kernel_fn::{Attribute, KernelFn};
use crate::tokens::{Form, Tokens};

/// Makes a Rust function a kernel.
///
/// Parameters and results have types of the `.msd` language, written in `t!`. The body is an
/// expression in Rust form, with methods for what Rust has no operator for (`matmul(x, y)` or
/// `x.matmul(y)` for `@`, `x.t()` for `.T`), or `msd!(x @ y.T)` anywhere in it, or one
/// `msd! { ... }` that is the whole body, in the language itself. `r#where` is the language's
/// `where`.
///
/// ```text
/// /// A linear layer.
/// #[msd_kernel]
/// #[tolerance(1e-4)]
/// pub fn linear(w: t!(i8[N, K] scale f32[N]), x: t!(bf16[M, K]), bias: t!(f32[N])) -> t!(bf16[M, N]) {
///     let product = x.matmul(w.dequant().t());
///     product + bias
/// }
/// ```
///
/// The language's attributes `tolerance`, `scheme` and `lowering` stand below `#[msd_kernel]`;
/// others are passed on. The kernel is checked when the function is compiled, and each fault
/// points at the tokens it is about.
///
/// The function takes a `msd::View` for a plain parameter and anything that becomes a
/// `msd::QuantArgument` (a `QuantTensor`, a `Weight`) for a quantized one, and gives a
/// `msd::Result<msd::Array<..>>`, of a tuple of arrays if there are several results. Beside it
/// stands a module of the same name and visibility:
///
/// * `SOURCE`, the kernel as `.msd` text;
/// * `Kernel`, the handle: `Kernel::new(&options)`, `call`, `call_into`, and by `Deref` all that
///   `msd::Kernel` does;
/// * `kernel()`, the handle with default options, made once: `kernel()?.quantize("w", ..)`, say;
/// * `into(..)`, the function with a `msd::ViewMut` for each result behind the parameters.
///
/// A view on the right side of a product is packed on every call. A plain weight that stays the
/// same is packed once as a `msd::Weight`, which `msd::Kernel::call` takes for any parameter.
#[proc_macro_attribute]
pub fn msd_kernel(arguments: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    expand_kernel_fn(arguments.into(), item.into()).into()
}

/// Embeds kernels written in the `.msd` language.
///
/// ```text
/// msd::msd! {
///     /// A linear layer.
///     #[tolerance(1e-4)]
///     kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> bf16[M, N] { X @ dequant(W).T }
/// }
/// ```
///
/// Each kernel becomes what [`macro@msd_kernel`] makes of a `pub` function of that name. Within the
/// body of such a function, `msd!(value)` is a value in the language.
#[proc_macro]
pub fn msd(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    expand_kernels(input.into()).into()
}

/// Embeds the kernels of a `.msd` file: `msd_file!("kernels/linear.msd")`, relative to the
/// package's `Cargo.toml`. A change of the file rebuilds the crate. Otherwise as [`msd!`].
#[proc_macro]
pub fn msd_file(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    expand_file(input.into()).into()
}

fn expand_kernel_fn(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut function = match kernel_fn::parse(item.clone()) {
        Ok(function) => function,
        // Whatever it is, it stays for those who use it.
        Err(fault) => return [compile_errors(vec![fault], &TokenStream::new()), item].into_iter().collect(),
    };
    if let Some(first) = arguments.into_iter().next() {
        let help = "write attributes of the kernel below it: `#[msd_kernel] #[tolerance(1e-4)]`";
        function.tokens.report(Fault::at(Code::BadAttribute, "`#[msd_kernel]` takes no arguments", help, first.span()));
    }
    let KernelFn { attributes, visibility, name, params, receiver, tokens } = function;
    let is_condition = |a: &&Attribute| a.name == "cfg";
    let conditions: TokenStream = attributes.iter().filter(is_condition).map(|a| a.tokens.clone()).collect();
    let others = attributes.iter().filter(|a| !is_condition(a)).map(|a| a.tokens.clone()).collect();
    let at = name.span();
    let place = |place| tokens.spans(place, at).0;
    let (errors, mut interface) = match tokens.check(at).map(|kernels| kernels.into_iter().next()) {
        Ok(Some(kernel)) => (TokenStream::new(), Interface::of(&kernel, name, place)),
        Ok(None) => return TokenStream::new(),
        Err(faults) => {
            let spanned = tokens.spanned();
            let file = parse::file(&spanned);
            (compile_errors(faults, &conditions), Interface::stand_in(name, params, file.pieces.first()))
        }
    };
    interface.attributes = others;
    interface.conditions = conditions;
    interface.visibility = visibility;
    interface.receiver = receiver;
    [errors, interface.expand()].into_iter().collect()
}

fn expand_kernels(input: TokenStream) -> TokenStream {
    let mut tokens = Tokens::default();
    let start = input.clone().into_iter().next();
    tokens.read(input, Form::Kernels);
    if let Some(first) = start.filter(|_| tokens.docs.is_empty()) {
        let message = "no kernel in `msd!`";
        let help = "`msd! { kernel name(x: f32[M, N]) -> f32[M, N] { ... } }` embeds kernels; `msd!(x @ y)` stands in \
                    the body of a function under `#[msd_kernel]`";
        let fault = Fault::at(Code::StrayText, message, help, first.span());
        return compile_errors(vec![fault], &TokenStream::new());
    }
    let place = |place| tokens.spans(place, Span::call_site()).0;
    match tokens.check(Span::call_site()) {
        Ok(kernels) => {
            let docs = tokens.docs.iter().cloned().chain(std::iter::repeat(TokenStream::new()));
            let expand = |(kernel, docs): (&Kernel, TokenStream)| {
                // The name stands behind the word `kernel`.
                let name = rust::ident(&kernel.name, &[], place(Place::new(kernel.span.start + 2, kernel.span.end)));
                let mut interface = Interface::of(kernel, name, place);
                interface.attributes = docs;
                interface.expand()
            };
            kernels.iter().zip(docs).map(expand).collect()
        }
        Err(faults) => {
            let errors = compile_errors(faults, &TokenStream::new());
            [errors, stand_ins(&tokens.spanned(), place)].into_iter().collect()
        }
    }
}

fn expand_file(input: TokenStream) -> TokenStream {
    let file = match File::read(input) {
        Ok(file) => file,
        Err(fault) => return compile_errors(vec![fault], &TokenStream::new()),
    };
    let items = match file.check() {
        Ok(kernels) => {
            let interface = |kernel| Interface::of(kernel, rust::ident(&kernel.name, &[], file.span), |_| file.span);
            kernels.iter().map(|kernel| interface(kernel).expand()).collect()
        }
        Err(faults) => {
            let tokens = msd_grammar::tokens(file.text());
            let errors = compile_errors(faults, &TokenStream::new());
            [errors, stand_ins(&tokens, |_| file.span)].into_iter().collect()
        }
    };
    [file.dependency(), items].into_iter().collect()
}

/// What stands in for faulty kernels, as far as their heads can be read.
fn stand_ins(tokens: &[Spanned<'_>], place: impl Fn(Place) -> Span) -> TokenStream {
    let mut seen = HashSet::new();
    let file = parse::file(tokens);
    let mut items = TokenStream::new();
    for piece in &file.pieces {
        if let Some(name) = piece.kernel.name.filter(|name| seen.insert(name.text)) {
            let name = rust::ident(name.text, &[], place(name.span));
            items.extend(Interface::stand_in(name, piece.kernel.params.len(), Some(piece)).expand());
        }
    }
    items
}
