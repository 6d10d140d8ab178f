//! What went wrong, for callers: the diagnostics of the crates below with the source they point
//! into. Owns how they read as plain text; drawing source lines belongs to the command line.

use std::fmt;
use std::sync::Arc;

use msd_ir::diag::{Code, Diagnostic};

/// One fault or several, each with a stable code, a message and mostly a way out.
///
/// Printed one fault a line, with line and column where it has a place in a known source. `Debug`
/// prints the same, because that is what `unwrap` and `main` show.
///
/// ```
/// use msd::ir::diag::Code;
/// use msd::{Kernel, Options};
///
/// let text = "kernel k(x: f32[N]) -> f32[N] { x + y }";
/// let fault = Kernel::new(text, &Options::new()).unwrap_err();
/// assert_eq!(fault.code(), Code::UnknownName);
/// assert!(fault.to_string().starts_with("text:1:37: [E0201]"));
/// ```
#[derive(Clone)]
pub struct Error {
    /// Never empty.
    diagnostics: Vec<Diagnostic>,
    text: Option<Arc<Text>>,
}

/// A source text and the name of where it came from.
struct Text {
    name: String,
    text: String,
}

impl Error {
    /// Every fault found, in the order of their places; at least one.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// The kind of the first fault.
    pub fn code(&self) -> Code {
        self.diagnostics.first().map_or(Code::Internal, |d| d.code)
    }

    /// Name and text of the source that spans point into, if one is known.
    pub fn text(&self) -> Option<(&str, &str)> {
        self.text.as_ref().map(|t| (&*t.name, &*t.text))
    }

    /// The error with the source that its spans point into, unless it has one already. `name` is
    /// for messages only.
    ///
    /// ```
    /// use msd::ir::{diag::{Code, Diagnostic}, span::Span};
    ///
    /// let fault = Diagnostic::new(Code::UnknownName, "unknown name `y`").at(Span::new(5, 6));
    /// let error = msd::Error::from(fault).with_source("sum.msd", "x +\n y");
    /// assert_eq!(error.to_string(), "sum.msd:2:2: [E0201] unknown name `y`");
    /// ```
    #[must_use]
    pub fn with_source(mut self, name: &str, text: &str) -> Error {
        self.text.get_or_insert_with(|| Arc::new(Text { name: name.into(), text: text.into() }));
        self
    }
}

impl From<Diagnostic> for Error {
    fn from(diagnostic: Diagnostic) -> Error {
        Error { diagnostics: vec![diagnostic], text: None }
    }
}

impl From<Vec<Diagnostic>> for Error {
    fn from(mut diagnostics: Vec<Diagnostic>) -> Error {
        if diagnostics.is_empty() {
            diagnostics.push(Diagnostic::new(Code::Internal, "a failure without a reason"));
        }
        Error { diagnostics, text: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.diagnostics.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            if let (Some(source), Some(span)) = (&self.text, diagnostic.span) {
                let (line, column) = span.line_column(&source.text);
                write!(f, "{}:{line}:{column}: ", source.name)?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use msd_ir::span::Span;

    use super::*;

    #[test]
    fn faults_are_printed_one_a_line() {
        let fault = |span| Diagnostic::new(Code::InputShape, "too long").help("cut it").at(span);
        let faults = vec![fault(Span::new(0, 1)), fault(Span::new(3, 4)), Diagnostic::new(Code::TooLarge, "too much")];
        let error = Error::from(faults).with_source("a.msd", "ab\ncd").with_source("b.msd", "");
        let text = "a.msd:1:1: [E0604] too long (help: cut it)\n\
                    a.msd:2:1: [E0604] too long (help: cut it)\n[E0612] too much";
        assert_eq!((error.to_string(), format!("{error:?}")), (text.into(), text.into()));
        assert_eq!((error.code(), error.diagnostics().len()), (Code::InputShape, 3));
        assert_eq!(error.text(), Some(("a.msd", "ab\ncd")));
    }

    #[test]
    fn errors_cross_threads_and_have_a_reason() {
        fn crosses_threads<T: Send + Sync + Clone + std::error::Error + 'static>(_: &T) {}
        let error = Error::from(Vec::new());
        crosses_threads(&error);
        assert_eq!((error.code(), error.diagnostics().len(), error.text()), (Code::Internal, 1, None));
    }
}
