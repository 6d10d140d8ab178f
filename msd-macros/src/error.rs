//! Diagnostics as errors of the Rust compiler. Owns how one looks there and which of the user's
//! tokens it underlines; what is wrong, and the words for it, come from elsewhere.

use msd_ir::diag::{Code, Diagnostic};
use proc_macro2::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};

/// A diagnostic at tokens of the user's source. The diagnostic's own places are of no use here.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    code: Code,
    /// What is wrong, then a line for each note and for the help.
    text: String,
    first: Span,
    last: Span,
}

impl Fault {
    /// A fault that stands from one token to another. `line` gives the line of a label's place.
    pub(crate) fn new(diagnostic: &Diagnostic, (first, last): (Span, Span), line: impl Fn(usize) -> usize) -> Fault {
        let mut text = diagnostic.message.clone();
        for label in &diagnostic.labels {
            text += &format!("\nnote: {}: line {}", label.text, line(label.span.start));
        }
        let fault = Fault { code: diagnostic.code, text, first, last };
        match &diagnostic.help {
            Some(help) => fault.line(&format!("help: {help}")),
            None => fault,
        }
    }

    /// A fault of Rust's own forms, which the language knows nothing of.
    pub(crate) fn at(code: Code, message: &str, help: &str, span: Span) -> Fault {
        let diagnostic = Diagnostic::new(code, message).help(help);
        Fault::new(&diagnostic, (span, span), |_| 0)
    }

    /// Adds a line of text.
    fn line(mut self, line: &str) -> Fault {
        self.text.push('\n');
        self.text += line;
        self
    }

    /// Where it begins, to put several in order.
    fn position(&self) -> (usize, usize) {
        let start = self.first.start();
        (start.line, start.column)
    }

    /// `::core::compile_error! { text }`. The compiler underlines from the span of the first of
    /// these tokens to that of the last.
    fn to_tokens(&self) -> TokenStream {
        let punct = |c: char, spacing| TokenTree::from(Punct::new(c, spacing));
        let word = |text: &str| TokenTree::from(Ident::new(text, self.first));
        let path = [
            punct(':', Spacing::Joint),
            punct(':', Spacing::Alone),
            word("core"),
            punct(':', Spacing::Joint),
            punct(':', Spacing::Alone),
            word("compile_error"),
            punct('!', Spacing::Alone),
        ];
        let text = Literal::string(&format!("[{}] {}", self.code.as_str(), self.text));
        let group = Group::new(Delimiter::Brace, TokenTree::from(text).into());
        let at = |mut tree: TokenTree, span| {
            tree.set_span(span);
            tree
        };
        let path = path.into_iter().map(|tree| at(tree, self.first));
        path.chain([at(group.into(), self.last)]).collect()
    }
}

/// Every fault, in the order of the source; `attributes` go before each.
pub(crate) fn compile_errors(mut faults: Vec<Fault>, attributes: &TokenStream) -> TokenStream {
    faults.sort_by_key(Fault::position);
    faults.iter().flat_map(|fault| [attributes.clone(), fault.to_tokens()]).collect()
}
