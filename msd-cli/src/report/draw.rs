//! Diagnostics drawn for people: the line, an underline, help. Owns the drawing's form; colours
//! are always there, and whoever writes to a stream removes them where they do not belong.

use std::fmt::Write as _;
use std::ops::Range;

use ariadne::{Color, Config, IndexType, Label, Report, ReportKind, Source};
use msd::ir::diag::Diagnostic;
use msd::ir::span::Span;

use super::{Fault, Origin};
use crate::source::SourceFile;

/// A line longer than this is not drawn: it would bury its underline, once for each fault in it.
const MAX_LINE: usize = 500;

/// A file name and a byte range of its text.
type Place<'a> = (&'a str, Range<usize>);

/// All faults, one after the other.
pub(super) fn draw(faults: &[Fault]) -> String {
    let mut out = String::new();
    let mut drawn: Option<(&SourceFile, Source<String>)> = None;
    for fault in faults {
        match &fault.origin {
            Origin::Source(source) => {
                if drawn.as_ref().is_none_or(|(last, _)| !std::ptr::eq(*last, &**source)) {
                    drawn = Some((source, Source::from(drawable(source.text()))));
                }
                let text = drawn.as_ref().map(|(_, text)| text);
                out += &text.and_then(|t| with_lines(&fault.diagnostic, source, t)).unwrap_or_else(|| plain(fault));
            }
            Origin::File(_) | Origin::Nowhere => out += &plain(fault),
        }
    }
    out
}

/// One diagnostic over the lines it is about; nothing if it has no place, or no line fit to show.
fn with_lines(diagnostic: &Diagnostic, source: &SourceFile, text: &Source<String>) -> Option<String> {
    let span = diagnostic.span?;
    let spans = std::iter::once(span).chain(diagnostic.labels.iter().map(|l| l.span));
    if spans.into_iter().any(|s| source.longest_line(s) > MAX_LINE) {
        return None;
    }
    let place = |span: Span| -> Place<'_> {
        let start = source.boundary(span.start);
        (&source.name, start..source.boundary(span.end).max(start))
    };
    let here = diagnostic.here.as_deref().unwrap_or(diagnostic.code.title());
    let mut labels = vec![(span, here, Color::Red)];
    labels.extend(diagnostic.labels.iter().map(|l| (l.span, l.text.as_str(), Color::Blue)));
    // Labels out of the order of their lines would be drawn as excerpts apart.
    labels.sort_by_key(|(span, _, _)| (span.end, span.start));
    let mut report = Report::build(ReportKind::Error, place(span))
        .with_config(Config::default().with_index_type(IndexType::Byte))
        .with_code(diagnostic.code.as_str())
        .with_message(&diagnostic.message);
    for (span, text, color) in labels {
        report.add_label(Label::new(place(span)).with_message(text).with_color(color));
    }
    if let Some(help) = &diagnostic.help {
        report.set_help(help);
    }
    let mut bytes = Vec::new();
    report.finish().write((source.name.as_str(), text), &mut bytes).ok()?;
    String::from_utf8(bytes).ok()
}

/// One diagnostic in words alone.
fn plain(fault: &Fault) -> String {
    let diagnostic = &fault.diagnostic;
    let mut out =
        format!("\x1b[31m[{}] Error:\x1b[0m {}\n", diagnostic.code.as_str(), drawable_line(&diagnostic.message));
    if let (Origin::Source(source), Some(span)) = (&fault.origin, diagnostic.span) {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  at {}", source.locate(span));
    }
    for line in diagnostic.help.iter().flat_map(|h| h.lines()) {
        let _ = writeln!(out, "  help: {}", drawable_line(line));
    }
    out
}

/// The text with the same byte offsets, but nothing that would move the terminal's cursor or that
/// ariadne and we count differently as a line end; and with something to underline at its end.
fn drawable(text: &str) -> String {
    let mut out: String = text.chars().map(|c| if c == '\n' { c } else { drawable_char(c) }).collect();
    if out.is_empty() || out.ends_with('\n') {
        out.push(' ');
    }
    out
}

/// A message on one line or several, without control characters.
fn drawable_line(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { drawable_char(c) }).collect()
}

/// A character of the same length in UTF-8 that is safe to print.
fn drawable_char(c: char) -> char {
    match c {
        '\t' => c,
        '\u{2028}' | '\u{2029}' => '\u{2003}',
        _ if c.is_control() && c.len_utf8() == 2 => '\u{A0}',
        _ if c.is_control() => ' ',
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use msd::ir::diag::Code;

    use super::*;

    fn drawing(text: &str, span: Span) -> String {
        let source = Rc::new(SourceFile::new("t.msd".into(), text.into()));
        let diagnostic = Diagnostic::new(Code::UnexpectedToken, "unexpected").at(span);
        let drawn = draw(&Fault::in_source(vec![diagnostic], &source));
        anstream::adapter::strip_str(&drawn).to_string()
    }

    /// Ariadne prints the place it computed itself; it must be ours, at every offset.
    #[test]
    fn every_offset_is_drawn_at_its_place() {
        for text in ["", "a", "a\n", "α\r\nβ\u{2028}γ\u{85}δ\x0Bε\rζ\n\n", "\u{1b}[31mé"] {
            for start in 0..=text.len() + 1 {
                for end in [start, start + 1, text.len() + 9] {
                    let span = Span::new(start, end);
                    let (line, column) = span.line_column(text);
                    let drawn = drawing(text, span);
                    assert!(drawn.contains(&format!("t.msd:{line}:{column} ")), "{text:?} {span:?}\n{drawn}");
                    assert!(!drawn.contains('\u{1b}'));
                }
            }
        }
    }

    #[test]
    fn a_drawing() {
        let text = "kernel k(X: f32[N]) -> f32[N] {\n    let y = x;\n    y\n}\n";
        let source = Rc::new(SourceFile::new("k.msd".into(), text.into()));
        let diagnostic = Diagnostic::new(Code::UnknownName, "unknown name `x`")
            .at(Span::new(44, 45))
            .here("not defined here")
            .label(Span::new(9, 10), "a parameter")
            .help("did you mean `X`?");
        let drawn = draw(&Fault::in_source(vec![diagnostic], &source));
        let plain = anstream::adapter::strip_str(&drawn).to_string();
        let lines: Vec<&str> = plain.lines().map(str::trim_end).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        [E0201] Error: unknown name `x`
           ╭─[ k.msd:2:13 ]
           │
         1 │ kernel k(X: f32[N]) -> f32[N] {
           │          ┬
           │          ╰── a parameter
         2 │     let y = x;
           │             ┬
           │             ╰── not defined here
           │
           │ Help: did you mean `X`?
        ───╯
        ");
    }

    #[test]
    fn a_long_line_is_named_but_not_drawn() {
        let drawn = drawing(&"x".repeat(MAX_LINE + 1), Span::new(7, 8));
        assert_eq!(drawn, "[E0103] Error: unexpected\n  at t.msd:1:8\n");
    }
}
