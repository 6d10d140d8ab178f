//! The Rust that a kernel becomes: a function, and a module of the same name with its text, its
//! handle and the function that writes where it is told. Owns their form; types and meaning are
//! the library's, reached by absolute paths alone.

use msd_grammar::ast;
use msd_grammar::parse::Piece;
use msd_ir::dtype::DType;
use msd_ir::graph::Kernel;
use msd_ir::span::Span as Place;
use msd_ir::types::Type;
use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};

use crate::rust;

/// What a parameter of the function takes.
enum Given {
    /// Codes and scale, or a weight packed before.
    Quantized,
    /// A view of elements.
    View(Array),
    /// Anything: the kernel is faulty, and its caller is to see no second error.
    Anything,
}

/// Element type and number of axes.
struct Array {
    element: TokenStream,
    rank: usize,
    /// The element type of the language, where `element` only stores its codes.
    codes: Option<Ident>,
}

/// A kernel as a Rust function, without what it computes.
pub(crate) struct Interface {
    name: Ident,
    params: Vec<(Ident, Given)>,
    results: Vec<Array>,
    /// Attributes of the function, its doc comments among them.
    pub(crate) attributes: TokenStream,
    /// Conditions (`#[cfg]`) of the function, and so of the module.
    pub(crate) conditions: TokenStream,
    pub(crate) visibility: TokenStream,
    /// Stands before the other parameters; only where it is an error.
    pub(crate) receiver: Option<TokenStream>,
    /// The kernel's text; empty in place of a faulty kernel.
    source: String,
}

impl Interface {
    /// The function of a kernel; `place` says where in the user's source a name stands.
    pub(crate) fn of(kernel: &Kernel, name: Ident, place: impl Fn(Place) -> Span) -> Interface {
        let names: Vec<&str> = kernel.params.iter().map(|p| &*p.name).collect();
        let given = |ty: &Type| match ty {
            Type::Tensor(t) => Given::View(Array::new(t.dtype, t.rank())),
            Type::Quant(_) => Given::Quantized,
        };
        let params = kernel.params.iter().map(|p| (rust::ident(&p.name, &names, place(p.span)), given(&p.ty)));
        let results = kernel.result_types().iter().map(|t| Array::new(t.dtype, t.rank())).collect();
        Interface::new(name, params.collect(), results, kernel.to_string())
    }

    fn new(name: Ident, params: Vec<(Ident, Given)>, results: Vec<Array>, source: String) -> Interface {
        Interface {
            name,
            params,
            results,
            attributes: TokenStream::new(),
            conditions: TokenStream::new(),
            visibility: quote!(pub),
            receiver: None,
            source,
        }
    }

    /// In place of a faulty kernel: takes anything and has the declared result, as far as `piece`
    /// tells it.
    pub(crate) fn stand_in(name: Ident, params: usize, piece: Option<&Piece<'_>>) -> Interface {
        let params = (0..params).map(|i| (format_ident!("argument{i}"), Given::Anything)).collect();
        let declared = piece.and_then(|piece| piece.kernel.results.as_deref()).unwrap_or_default();
        let array = |ty: &ast::TypeExpr<'_>| {
            Array::new(DType::from_name(ty.tensor.dtype.text).unwrap_or(DType::F32), ty.tensor.dims.len())
        };
        let mut results: Vec<Array> = declared.iter().map(array).collect();
        if results.is_empty() {
            results.push(Array::new(DType::F32, 0));
        }
        Interface::new(name, params, results, String::new())
    }

    /// The function and its module.
    pub(crate) fn expand(&self) -> TokenStream {
        let function = self.function();
        // An associated function that was meant to be a kernel; there are no modules in an `impl`.
        if self.receiver.is_some() {
            return function;
        }
        let module = self.module();
        quote!(#function #module)
    }

    fn function(&self) -> TokenStream {
        let Interface { name, attributes, conditions, visibility, receiver, .. } = self;
        let (lifetime, params, result) = (self.lifetime(), self.typed_params(), self.result());
        let receiver = receiver.iter();
        let docs = self.docs();
        let names = self.names();
        let body = match &self.receiver {
            Some(_) => self.unreachable(),
            None => quote!(#name::kernel()?.call(#(#names),*)),
        };
        quote! {
            #attributes
            #conditions
            #docs
            #[allow(dead_code, reason = "perhaps only the module is used")]
            #[allow(non_snake_case, reason = "matrices have capital letters")]
            #[allow(clippy::too_many_arguments, reason = "a kernel has as many as it needs")]
            #visibility fn #name #lifetime(#(#receiver,)* #(#params),*) -> #result {
                #body
            }
        }
    }

    fn docs(&self) -> TokenStream {
        if self.source.is_empty() {
            return quote!(#[doc = "A faulty kernel."]);
        }
        let name = &self.name;
        let summary = if self.attributes.is_empty() { format!("The kernel `{name}`.\n") } else { String::new() };
        let text = format!(
            "{summary}\n```text\n{}```\n\nThe module `{name}` has its handle, and more ways to call it.\n\n# Errors\n\n\
             If the arguments do not fit the types above, where each name is one size.",
            self.source
        );
        quote!(#[doc = #text])
    }

    fn module(&self) -> TokenStream {
        let Interface { name, conditions, visibility, source, .. } = self;
        let about = format!("The kernel `{name}`: its text and its handle.");
        let handle = self.handle();
        let into = self.in_place();
        quote! {
            #conditions
            #[doc = #about]
            #[allow(dead_code, unreachable_pub, reason = "every kernel has them, whoever needs them")]
            #[allow(non_snake_case, reason = "matrices have capital letters")]
            #[allow(clippy::too_many_arguments, reason = "a kernel has as many as it needs")]
            #visibility mod #name {
                /// The kernel as `.msd` text.
                pub const SOURCE: &::core::primitive::str = #source;

                #handle

                /// The kernel with default options. It is made on first use and kept, with what it compiles.
                ///
                /// # Errors
                ///
                /// None that checking the kernel has left: it fails only by a fault of msd itself.
                pub fn kernel() -> ::msd::Result<&'static Kernel> {
                    static KERNEL: ::std::sync::OnceLock<::msd::Result<Kernel>> = ::std::sync::OnceLock::new();
                    let made = KERNEL.get_or_init(|| Kernel::new(&::msd::Options::new()));
                    made.as_ref().map_err(::core::clone::Clone::clone)
                }

                #into
            }
        }
    }

    /// `Kernel`, with methods that have the kernel's types.
    fn handle(&self) -> TokenStream {
        let (lifetime, params, result) = (self.lifetime(), self.typed_params(), self.result());
        let (outputs, output_params) = self.outputs();
        let (mut call, mut call_into) = (self.unreachable(), self.unreachable());
        if !self.source.is_empty() {
            let arguments = self.arguments();
            let result = quote!(::msd::expansion::result(&mut results));
            let results = match self.results.len() {
                1 => result,
                several => {
                    let results = std::iter::repeat_n(result, several);
                    quote!(::core::result::Result::Ok((#(#results?),*)))
                }
            };
            call = quote! {
                let mut results = ::core::iter::IntoIterator::into_iter(self.0.call(&[#(#arguments),*])?);
                #results
            };
            let write = |(name, Array { codes, .. }): (&Ident, &Array)| match codes {
                None => quote!(#name.tensor_mut()),
                Some(dtype) => quote!(#name.codes_mut(::msd::DType::#dtype)?),
            };
            let outputs = outputs.iter().zip(&self.results).map(write);
            call_into = quote!(self.0.call_into(&[#(#arguments),*], &mut [#(#outputs),*]));
        }
        quote! {
            /// The kernel with options of one's own, to be called. A clone is the same kernel and
            /// shares what is compiled.
            #[derive(::core::clone::Clone, ::core::fmt::Debug)]
            pub struct Kernel(::msd::Kernel);

            impl Kernel {
                /// The kernel with these options.
                ///
                /// # Errors
                ///
                /// If the options are out of range, or name instructions that this machine lacks.
                pub fn new(options: &::msd::Options) -> ::msd::Result<Kernel> {
                    ::msd::Kernel::new(SOURCE, options).map(Kernel)
                }

                /// Computes the result.
                ///
                /// # Errors
                ///
                /// If the arguments do not fit.
                pub fn call #lifetime(&self, #(#params),*) -> #result {
                    #call
                }

                /// Computes the result where it is to stand.
                ///
                /// # Errors
                ///
                /// If the arguments or the place of the result do not fit.
                pub fn call_into #lifetime(&self, #(#params,)* #(#output_params),*) -> ::msd::Result<()> {
                    #call_into
                }
            }

            impl ::core::ops::Deref for Kernel {
                type Target = ::msd::Kernel;

                fn deref(&self) -> &::msd::Kernel {
                    &self.0
                }
            }
        }
    }

    /// `into`, which calls the default handle.
    fn in_place(&self) -> TokenStream {
        let (lifetime, params) = (self.lifetime(), self.typed_params());
        let names = self.names();
        let (outputs, output_params) = self.plain_outputs();
        quote! {
            /// Computes the result where it is to stand.
            ///
            /// # Errors
            ///
            /// If the arguments or the place of the result do not fit.
            pub fn into #lifetime(#(#params,)* #(#output_params),*) -> ::msd::Result<()> {
                kernel()?.call_into(#(#names,)* #(#outputs),*)
            }
        }
    }

    fn names(&self) -> Vec<&Ident> {
        self.params.iter().map(|(name, _)| name).collect()
    }

    fn lifetime(&self) -> TokenStream {
        match self.params.iter().any(|(_, given)| matches!(given, Given::Quantized)) {
            true => quote!(<'a>),
            false => TokenStream::new(),
        }
    }

    fn typed_params(&self) -> Vec<TokenStream> {
        let typed = |(name, given): &(Ident, Given)| match given {
            Given::Quantized => quote!(#name: impl ::core::convert::Into<::msd::QuantArgument<'a>>),
            Given::View(Array { element, rank, .. }) => quote!(#name: ::msd::View<'_, #element, #rank>),
            Given::Anything => quote!(#name: impl ::core::marker::Sized),
        };
        self.params.iter().map(typed).collect()
    }

    /// The arguments as the untyped kernel takes them.
    fn arguments(&self) -> Vec<TokenStream> {
        let argument = |(name, given): &(Ident, Given)| match given {
            Given::View(Array { codes: None, .. }) => quote!(::core::convert::Into::into(#name.tensor())),
            Given::View(Array { codes: Some(dtype), .. }) => {
                quote!(::core::convert::Into::into(#name.codes(::msd::DType::#dtype)?))
            }
            Given::Quantized => {
                quote!(::msd::Argument::from(::core::convert::Into::<::msd::QuantArgument<'_>>::into(#name)))
            }
            Given::Anything => quote!(::core::convert::Into::into(#name)),
        };
        self.params.iter().map(argument).collect()
    }

    fn result(&self) -> TokenStream {
        let arrays = self.results.iter().map(|Array { element, rank, .. }| quote!(::msd::Array<#element, #rank>));
        let arrays = tuple(arrays.collect());
        quote!(::msd::Result<#arrays>)
    }

    /// Names for the places of the results, and those with their types.
    fn plain_outputs(&self) -> (Vec<Ident>, Vec<TokenStream>) {
        let params: Vec<String> = self.names().iter().map(|name| name.to_string()).collect();
        let params: Vec<&str> = params.iter().map(String::as_str).collect();
        let name = |i: usize| match self.results.len() {
            1 => rust::fresh("out", &params, Span::mixed_site()),
            _ => rust::fresh(&format!("out{i}"), &params, Span::mixed_site()),
        };
        let names: Vec<Ident> = (0..self.results.len()).map(name).collect();
        let typed = names.iter().zip(&self.results);
        let typed = typed.map(|(name, Array { element, rank, .. })| quote!(#name: ::msd::ViewMut<'_, #element, #rank>));
        let typed = typed.collect();
        (names, typed)
    }

    /// The same, to be written to.
    fn outputs(&self) -> (Vec<Ident>, Vec<TokenStream>) {
        let (names, typed) = self.plain_outputs();
        match self.source.is_empty() {
            true => (names, typed),
            false => (names, typed.into_iter().map(|param| quote!(mut #param)).collect()),
        }
    }

    /// The body of what stands in for a faulty kernel.
    fn unreachable(&self) -> TokenStream {
        let names = self.names();
        quote! {
            let _ = (#(#names,)*);
            ::core::unreachable!()
        }
    }
}

impl Array {
    /// The element type that stores `dtype`: codes of 4 bits take a byte each.
    fn new(dtype: DType, rank: usize) -> Array {
        let (element, is_itself) = match dtype {
            DType::F16 => (quote!(::msd::f16), true),
            DType::BF16 => (quote!(::msd::bf16), true),
            DType::F32 => (quote!(::core::primitive::f32), true),
            DType::I32 => (quote!(::core::primitive::i32), true),
            DType::I8 => (quote!(::core::primitive::i8), true),
            DType::U8 => (quote!(::core::primitive::u8), true),
            DType::Bool => (quote!(::core::primitive::bool), true),
            DType::I4 => (quote!(::core::primitive::i8), false),
            DType::U4 | DType::E4M3 | DType::E5M2 | DType::E2M1 | DType::E1M2 | DType::E8M0 => {
                (quote!(::core::primitive::u8), false)
            }
            // Digits and accumulators, which no kernel declares.
            DType::I16 | DType::I64 | DType::F64 => (quote!(::core::primitive::f32), true),
        };
        Array { element, rank, codes: (!is_itself).then(|| format_ident!("{dtype:?}")) }
    }
}

/// One alone, several as a tuple.
fn tuple(items: Vec<TokenStream>) -> TokenStream {
    match items.as_slice() {
        [one] => one.clone(),
        several => quote!((#(#several),*)),
    }
}
