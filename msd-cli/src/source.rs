//! A `.msd` file as read: its bytes, its text for drawing, its lines. Owns reading and positions;
//! what the text means is the grammar's.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use msd::ir::diag::{Code, Diagnostic};
use msd::ir::span::Span;

/// A path as people wrote it.
pub(crate) fn display(path: &Path) -> String {
    path.display().to_string()
}

/// Most bytes a `.msd` file may have; so `/dev/zero` ends.
const MAX_BYTES: u64 = 16 << 20;

/// One file.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// The path as given.
    pub(crate) name: String,
    /// The bytes as read.
    pub(crate) bytes: Vec<u8>,
    /// The text; bytes that are not UTF-8 are replaced, after which offsets differ from the bytes'.
    text: String,
    /// Where each line starts.
    line_starts: Vec<usize>,
}

/// A place for people: 1-based, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Line.
    pub(crate) line: usize,
    /// Column.
    pub(crate) column: usize,
}

impl SourceFile {
    /// Reads a file whole.
    pub(crate) fn read(path: &Path) -> Result<SourceFile, Diagnostic> {
        let name = display(path);
        let unreadable = |reason: String| {
            let message = format!("cannot read `{name}`: {reason}");
            Diagnostic::new(Code::FileUnreadable, message)
        };
        if path.is_dir() {
            let help = format!("name the files, such as `{}`", path.join("kernel.msd").display());
            return Err(unreadable("it is a directory".into()).help(help));
        }
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|e| unreadable(e.to_string()).help("check the path and its permissions"))?;
        if bytes.len() as u64 > MAX_BYTES {
            let fault = unreadable(format!("it is larger than {} MiB", MAX_BYTES >> 20));
            return Err(fault.help("a `.msd` file holds kernels; tensors are given with `-i`"));
        }
        Ok(SourceFile::new(name, bytes))
    }

    /// A file of that name and content.
    pub(crate) fn new(name: String, bytes: Vec<u8>) -> SourceFile {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        SourceFile { name, bytes, text, line_starts }
    }

    /// The text, if the bytes are UTF-8.
    pub(crate) fn utf8(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }

    /// The text, with replacements where the bytes are not UTF-8.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The largest character boundary not beyond `offset` nor the end.
    pub(crate) fn boundary(&self, offset: usize) -> usize {
        self.text.floor_char_boundary(offset)
    }

    /// Line and column of a span's first byte, also at the end of the file. As
    /// [`Span::line_column`], but with the lines found once, since a file may hold many faults.
    pub(crate) fn place(&self, span: Span) -> Place {
        let start = self.boundary(span.start);
        let line = self.line_of(start);
        let column = self.text[self.line_starts[line]..start].chars().count() + 1;
        Place { line: line + 1, column }
    }

    /// A place with the file's name before it.
    pub(crate) fn locate(&self, span: Span) -> String {
        let Place { line, column } = self.place(span);
        format!("{}:{line}:{column}", self.name)
    }

    /// Bytes of the longest line a span touches.
    pub(crate) fn longest_line(&self, span: Span) -> usize {
        let (first, last) = (self.line_of(span.start), self.line_of(span.end));
        let start = |line: usize| self.line_starts.get(line).copied().unwrap_or(self.text.len());
        (first..=last.max(first)).map(|l| start(l + 1) - start(l)).max().unwrap_or(0)
    }

    /// Index of the line that holds byte `offset`.
    fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|s| *s <= offset).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_spans() {
        for text in ["", "\n", "a", "a\n", "α\nβγ\r\n\nx", "no newline at the end é"] {
            let file = SourceFile::new("t".into(), text.into());
            for offset in 0..text.len() + 3 {
                let span = Span::new(offset, offset);
                let place = file.place(span);
                assert_eq!((place.line, place.column), span.line_column(text), "{text:?} at {offset}");
            }
        }
    }

    #[test]
    fn bytes_before_an_invalid_one_keep_their_place() {
        let file = SourceFile::new("t".into(), b"ab\ncd\xFFef".to_vec());
        assert_eq!(file.utf8(), None);
        assert_eq!(file.place(Span::new(5, 6)), Place { line: 2, column: 3 });
    }
}
