//! Kernels from a `.msd` file. Owns the reading of the file and how a fault inside it is shown,
//! since the compiler can underline nothing but the file's name.

use std::path::PathBuf;

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::graph::Kernel;
use msd_ir::span::Span as Place;
use proc_macro2::{Span, TokenStream, TokenTree};
use quote::quote;

use crate::error::Fault;

/// A file named by `msd_file!`.
pub(crate) struct File {
    /// As written.
    name: String,
    /// Where the name is written.
    pub(crate) span: Span,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl File {
    /// Reads the file that `input` names, relative to the package being built.
    pub(crate) fn read(input: TokenStream) -> Result<File, Fault> {
        let mut trees = input.into_iter();
        let first = trees.next();
        let span = first.as_ref().map_or(Span::call_site(), TokenTree::span);
        let literal = match (&first, trees.next()) {
            (Some(TokenTree::Literal(literal)), None) => literal.to_string(),
            _ => String::new(),
        };
        let name = literal.strip_prefix('"').and_then(|l| l.strip_suffix('"')).filter(|l| !l.contains('\\'));
        let Some(name) = name else {
            let help = "write it relative to the package: `msd_file!(\"kernels/linear.msd\")`";
            return Err(Fault::at(Code::BadArgument, "`msd_file!` takes the path of one file", help, span));
        };
        let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
        let path = package.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(File { name: name.to_string(), span, path, bytes }),
            Err(error) => {
                let message = format!("`{name}` cannot be read: {error}");
                let help = "the path is relative to the package's `Cargo.toml`; `/` separates folders";
                Err(Fault::at(Code::FileUnreadable, &message, help, span))
            }
        }
    }

    /// An item that makes the compiler depend on the file.
    pub(crate) fn dependency(&self) -> TokenStream {
        // A path that is no UTF-8 cannot be written as a literal; such a file is read all the same.
        let path = self.path.to_str().into_iter();
        quote!(#(const _: &[::core::primitive::u8] = ::core::include_bytes!(#path);)*)
    }

    /// The file's text, as far as it is text.
    pub(crate) fn text(&self) -> &str {
        let sound = std::str::from_utf8(&self.bytes).map_or_else(|fault| fault.valid_up_to(), str::len);
        std::str::from_utf8(self.bytes.get(..sound).unwrap_or_default()).unwrap_or_default()
    }

    /// The kernels, or every fault.
    pub(crate) fn check(&self) -> Result<Vec<Kernel>, Vec<Fault>> {
        msd_grammar::check_bytes(&self.bytes).map_err(|diagnostics| diagnostics.iter().map(|d| self.fault(d)).collect())
    }

    fn fault(&self, diagnostic: &Diagnostic) -> Fault {
        let text = self.text();
        let line = |start| Place::new(start, start).line_column(text).0;
        let mut shown = diagnostic.clone();
        if let Some(place) = diagnostic.span {
            let (line, column) = place.line_column(text);
            let source = text.lines().nth(line - 1).unwrap_or_default();
            let width =
                text.get(place.start..place.end).and_then(|t| t.lines().next()).map_or(1, |t| t.chars().count());
            // A tab takes one column here as there.
            let indent: String = source.chars().take(column - 1).map(|c| if c == '\t' { c } else { ' ' }).collect();
            let marks = "^".repeat(width.max(1));
            shown.message += &format!("\n{}:{line}:{column}\n    {source}\n    {indent}{marks}", self.name);
        }
        Fault::new(&shown, (self.span, self.span), line)
    }
}
