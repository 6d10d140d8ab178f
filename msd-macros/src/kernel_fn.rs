//! `#[msd_kernel]`: a Rust function as tokens of a kernel. Owns which functions are kernels. The
//! compiler has parsed the function already, so its form is not in doubt here, and a few loops
//! over its tokens do without a parser of Rust.

use std::iter::Peekable;
use std::vec::IntoIter;

use msd_grammar::nearest::nearest;
use msd_ir::diag::Code;
use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};

use crate::error::Fault;
use crate::tokens::{Form, Tokens, is_punct};

/// A function under `#[msd_kernel]`.
pub(crate) struct KernelFn {
    /// What stands before the function and is none of the language's business.
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: TokenStream,
    pub(crate) name: Ident,
    /// How many parameters it has, however faulty.
    pub(crate) params: usize,
    /// Its `self`, if someone tried.
    pub(crate) receiver: Option<TokenStream>,
    /// The kernel.
    pub(crate) tokens: Tokens,
}

/// `#[name ...]`
pub(crate) struct Attribute {
    pub(crate) name: String,
    pub(crate) span: Span,
    pub(crate) tokens: TokenStream,
}

type Trees = Peekable<IntoIter<TokenTree>>;

/// Reads the function; an error if there is none to read.
pub(crate) fn parse(item: TokenStream) -> Result<KernelFn, Fault> {
    let mut rest: Trees = item.into_iter().collect::<Vec<_>>().into_iter().peekable();
    let mut tokens = Tokens::default();
    let all = attributes(&mut rest);
    let visibility = visibility(&mut rest);
    let first = rest.peek().map_or(Span::call_site(), TokenTree::span);
    let no_function = || {
        let help = "a kernel is written `fn name(x: t!(f32[M, N])) -> t!(f32[M, N]) { ... }`";
        signature("`#[msd_kernel]` stands on a function", help, first)
    };
    let qualifiers = qualifiers(&mut rest).ok_or_else(no_function)?;
    let Some(TokenTree::Ident(name)) = rest.next() else { return Err(no_function()) };
    for (word, span) in qualifiers {
        let help = format!("remove `{word}`: a kernel is called like any function, from any thread");
        tokens.report(signature(&format!("a kernel is not `{word}`"), &help, span));
    }
    if let Some(span) = generics(&mut rest) {
        let help = "sizes are names in the types, `t!(f32[M, N])`, and any are taken; element types are fixed";
        tokens.report(signature("a kernel has no generic parameters", help, span));
    }
    let (for_language, attributes): (Vec<_>, Vec<_>) = all.into_iter().partition(is_of_language);
    for attribute in for_language {
        tokens.read(attribute.tokens, Form::Inline);
    }
    tokens.push("kernel", name.span(), name.span());
    tokens.name(name.to_string().trim_start_matches("r#"), name.span(), Form::Inline);
    let Some(TokenTree::Group(list)) = rest.next() else { return Err(no_function()) };
    let (params, receiver) = read_params(&list, &mut tokens);
    read_results(&mut rest, &name, &mut tokens);
    let Some(TokenTree::Group(body)) = rest.next() else {
        return Err(signature("this function has no body", "a kernel has one", name.span()));
    };
    read_body(&body, &mut tokens);
    Ok(KernelFn { attributes, visibility, name, params, receiver, tokens })
}

fn signature(message: &str, help: &str, span: Span) -> Fault {
    Fault::at(Code::NotASignature, message, help, span)
}

fn attributes(rest: &mut Trees) -> Vec<Attribute> {
    let mut found = Vec::new();
    while let Some(hash) = rest.next_if(|tree| is_punct(Some(tree), '#')) {
        let Some(TokenTree::Group(group)) = rest.next() else { break };
        let mut inner = group.stream().into_iter();
        let (name, span) = match inner.next() {
            Some(TokenTree::Ident(name)) if !is_punct(inner.next().as_ref(), ':') => (name.to_string(), name.span()),
            _ => (String::new(), group.span()),
        };
        found.push(Attribute { name, span, tokens: quote!(#hash #group) });
    }
    found
}

/// Whether the language has that attribute, or it is a slip of one the language has. Rust's own
/// are far enough from those.
fn is_of_language(attribute: &Attribute) -> bool {
    let names = msd_grammar::ATTRIBUTES;
    names.contains(&attribute.name.as_str()) || nearest(&attribute.name, names).is_some()
}

fn visibility(rest: &mut Trees) -> TokenStream {
    let Some(public) = rest.next_if(|tree| is_word(tree, "pub")) else { return TokenStream::new() };
    let is_scope = |tree: &TokenTree| matches!(tree, TokenTree::Group(g) if g.delimiter() == Delimiter::Parenthesis);
    let scope = rest.next_if(is_scope);
    quote!(#public #scope)
}

/// The words before `fn`, and `fn` itself; nothing if there is no `fn`.
fn qualifiers(rest: &mut Trees) -> Option<Vec<(String, Span)>> {
    let mut found = Vec::new();
    loop {
        match rest.next()? {
            TokenTree::Ident(word) if word == "fn" => return Some(found),
            TokenTree::Ident(word) => found.push((word.to_string(), word.span())),
            // The name of a foreign ABI.
            TokenTree::Literal(_) => {}
            TokenTree::Group(_) | TokenTree::Punct(_) => return None,
        }
    }
}

/// `<...>`, if it stands here.
fn generics(rest: &mut Trees) -> Option<Span> {
    let open = rest.next_if(|tree| is_punct(Some(tree), '<'))?;
    let mut angles = Angles { depth: 1, ..Angles::default() };
    while angles.depth > 0 {
        angles.pass(&rest.next()?);
    }
    Some(open.span())
}

/// Counts `<` and `>`, which are no groups to the compiler; the arrow is neither.
#[derive(Default)]
struct Angles {
    depth: usize,
    after_minus: bool,
}

impl Angles {
    fn pass(&mut self, tree: &TokenTree) {
        if is_punct(Some(tree), '<') {
            self.depth += 1;
        } else if is_punct(Some(tree), '>') && !self.after_minus {
            self.depth = self.depth.saturating_sub(1);
        }
        self.after_minus = is_punct(Some(tree), '-');
    }
}

fn is_word(tree: &TokenTree, word: &str) -> bool {
    matches!(tree, TokenTree::Ident(ident) if ident == word)
}

/// The items between commas, each with the comma behind it.
fn items(list: TokenStream) -> Vec<(Vec<TokenTree>, Option<Span>)> {
    let mut items = Vec::new();
    let mut item = Vec::new();
    let mut angles = Angles::default();
    for tree in list {
        if angles.depth == 0 && is_punct(Some(&tree), ',') {
            items.push((std::mem::take(&mut item), Some(tree.span())));
        } else {
            angles.pass(&tree);
            item.push(tree);
        }
    }
    if !item.is_empty() {
        items.push((item, None));
    }
    items
}

/// The parameters; how many there are beside `self`, and that.
fn read_params(list: &Group, tokens: &mut Tokens) -> (usize, Option<TokenStream>) {
    let (mut count, mut receiver) = (0, None);
    tokens.push("(", list.span_open(), list.span_open());
    for (trees, comma) in items(list.stream()) {
        let mut rest = trees.into_iter().peekable();
        for attribute in attributes(&mut rest).iter().filter(|a| a.name != "doc") {
            let help = "put it on the function, or remove it";
            tokens.report(signature("a parameter of a kernel has no attributes", help, attribute.span));
        }
        let trees: Vec<TokenTree> = rest.collect();
        let Some(first) = trees.first().map(TokenTree::span) else { continue };
        let pattern = trees.iter().position(|tree| is_punct(Some(tree), ':')).unwrap_or(trees.len());
        if let Some(own) = trees[..pattern].iter().find(|tree| is_word(tree, "self")) {
            let help = "a kernel stands by itself: take what it reads as parameters";
            tokens.report(signature("a kernel has no `self`", help, own.span()));
            receiver = Some(trees.into_iter().collect());
            continue;
        }
        count += 1;
        read_param(&trees, pattern, tokens);
        let last = trees.last().map_or(first, TokenTree::span);
        let comma = comma.unwrap_or(last);
        tokens.push(",", comma, comma);
    }
    tokens.push(")", list.span_close(), list.span_close());
    (count, receiver)
}

/// `name: t!(type)`; `pattern` is where the colon stands.
fn read_param(trees: &[TokenTree], pattern: usize, tokens: &mut Tokens) {
    let (names, ty) = (&trees[..pattern], trees.get(pattern + 1..).unwrap_or_default());
    let first = trees.first().map_or(Span::call_site(), TokenTree::span);
    let last = names.last().map_or(first, TokenTree::span);
    match names {
        [TokenTree::Ident(name)] if name != "_" => {
            tokens.name(name.to_string().trim_start_matches("r#"), name.span(), Form::Inline);
        }
        _ => {
            let help = "write `name: t!(f32[M, N])`; several tensors are several parameters";
            tokens.refuse(signature("a parameter of a kernel is one name", help, first), first, last);
            // The names are known, so that their uses are no further faults.
            names.iter().for_each(|tree| tokens.read(tree.to_token_stream(), Form::Inline));
        }
    }
    let colon = trees.get(pattern).map_or(last, TokenTree::span);
    tokens.push(":", colon, colon);
    match read_type(ty, colon, "parameter") {
        Ok(ty) => tokens.read(ty, Form::Inline),
        Err(fault) => tokens.refuse_type(fault, colon, trees.last().map_or(colon, TokenTree::span)),
    }
}

/// The type in its macro, `t!(f32[M, N])`, or what is wrong with it. `before` is where a missing
/// one is missed.
fn read_type(trees: &[TokenTree], before: Span, what: &str) -> Result<TokenStream, Fault> {
    let help = "write it as `t!(f32[M, N])`, quantized as `t!(i8[N, K] scale f32[N])`";
    let Some(group) = type_macro(trees) else {
        let message = format!("this {what} has a type of Rust, not one of the language");
        return Err(signature(&message, help, trees.first().map_or(before, TokenTree::span)));
    };
    let comma = group.stream().into_iter().find(|tree| is_punct(Some(tree), ','));
    if group.stream().is_empty() || comma.is_some() {
        let at = comma.map_or(group.span(), |comma| comma.span());
        return Err(signature("`t!` holds one type", help, at));
    }
    Ok(group.stream())
}

/// What stands in `t!(...)` or `msd::t!(...)`.
fn type_macro(trees: &[TokenTree]) -> Option<Group> {
    match trees {
        // What a macro by example put here: `$t`.
        [TokenTree::Group(group)] if group.delimiter() == Delimiter::None => {
            type_macro(&group.stream().into_iter().collect::<Vec<_>>())
        }
        [path @ .., TokenTree::Ident(name), bang, TokenTree::Group(group)]
            if name == "t" && is_punct(Some(bang), '!') && path.last().is_none_or(|t| is_punct(Some(t), ':')) =>
        {
            Some(group.clone())
        }
        _ => None,
    }
}

/// `-> t!(type)` or `-> (t!(type), t!(type))`, up to the body.
fn read_results(rest: &mut Trees, name: &Ident, tokens: &mut Tokens) {
    let mut trees = Vec::new();
    let is_body = |tree: &TokenTree| matches!(tree, TokenTree::Group(g) if g.delimiter() == Delimiter::Brace);
    while let Some(tree) = rest.next_if(|tree| !is_body(tree) && !is_word(tree, "where")) {
        trees.push(tree);
        // `t!{...}` is a type as well.
        if let [.., last] = trees.as_slice()
            && is_punct(Some(last), '!')
        {
            trees.extend(rest.next());
        }
    }
    if let Some(clause) = rest.next_if(|tree| is_word(tree, "where")) {
        let help = "remove it: sizes and element types are fixed by the parameters";
        tokens.report(signature("a kernel has no `where` clause", help, clause.span()));
        while rest.next_if(|tree| !is_body(tree)).is_some() {}
    }
    let [minus, arrow, ty @ ..] = trees.as_slice() else {
        let help = "declare it: `-> t!(f32[M, N])`";
        let span = name.span();
        return tokens.refuse_type(signature(&format!("`{name}` has no result type"), help, span), span, span);
    };
    let tuple = match ty {
        [TokenTree::Group(group)] if group.delimiter() == Delimiter::Parenthesis && !group.stream().is_empty() => {
            Some(group)
        }
        _ => None,
    };
    let parts = match tuple {
        Some(tuple) => items(tuple.stream()).into_iter().map(|(part, _)| part).collect(),
        None => vec![ty.to_vec()],
    };
    let types: Vec<_> = parts.iter().map(|part| read_type(part, arrow.span(), "result")).collect();
    if types.iter().any(Result::is_err) {
        // One token in place of all: the grammar knows a fault of the results, not of one of them.
        let last = ty.last().map_or(arrow.span(), TokenTree::span);
        return types
            .into_iter()
            .filter_map(Result::err)
            .for_each(|fault| tokens.refuse_type(fault, arrow.span(), last));
    }
    tokens.push("->", minus.span(), arrow.span());
    let Some(tuple) = tuple else { return types.into_iter().flatten().for_each(|ty| tokens.read(ty, Form::Inline)) };
    tokens.push("(", tuple.span_open(), tuple.span_open());
    for ty in types.into_iter().flatten() {
        tokens.read(ty, Form::Inline);
        tokens.push(",", tuple.span_close(), tuple.span_close());
    }
    tokens.push(")", tuple.span_close(), tuple.span_close());
}

fn read_body(body: &Group, tokens: &mut Tokens) {
    let trees: Vec<TokenTree> = body.stream().into_iter().collect();
    tokens.push("{", body.span_open(), body.span_open());
    match trees.as_slice() {
        // A body that is one `msd!{...}` is in the language altogether, `let` lines included.
        [TokenTree::Ident(name), bang, TokenTree::Group(group)]
            if name == "msd" && is_punct(Some(bang), '!') && group.delimiter() == Delimiter::Brace =>
        {
            tokens.read(group.stream(), Form::Inline);
        }
        _ => tokens.read(body.stream(), Form::Rust),
    }
    tokens.push("}", body.span_close(), body.span_close());
}
