//! temporary
use msd_ir::diag::Diagnostic;
#[derive(Clone, Debug)]
pub struct Error(pub Vec<Diagnostic>);
impl From<Diagnostic> for Error {
    fn from(d: Diagnostic) -> Self {
        Error(vec![d])
    }
}
impl From<Vec<Diagnostic>> for Error {
    fn from(d: Vec<Diagnostic>) -> Self {
        Error(d)
    }
}
impl Error {
    pub fn with_source(self, _: &str, _: &str) -> Self {
        self
    }
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.0
    }
}
impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
impl std::error::Error for Error {}
