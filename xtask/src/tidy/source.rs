//! Rules about Rust files.
//!
//! * `unsafe-place`: `unsafe` stands only where [`UNSAFE`] says, each block and impl under a
//!   `SAFETY:` comment. Memory safety is then an argument about three places; lints cannot say
//!   "this file but not its neighbour".
//! * `file-name`: files are nouns. A drawer that may hold anything soon does, and nobody looks
//!   for anything there.
//! * `file-length`: at most [`MAX_LINES`] lines: beyond that a file has two subjects.
//! * `line-length`: at most [`MAX_COLUMNS`] characters: two files side by side on one screen;
//!   rustfmt leaves strings, comments and macros alone.
//! * `module-doc`: a module opens with what it owns and refuses to own, or the next change has no
//!   way to know whether it belongs there.
//! * `unfinished`: no placeholders, switched-off tests or notes to self. A gap is an error with a
//!   code, or an entry in a list someone reads.
//! * `silenced-lint`: an `allow` or `expect` says why, so that it can be removed once that changes.

use std::path::Path;

use super::{Report, Rule};
use crate::rust_source::{RustSource, line_of, words};
use crate::tree::Tree;

pub(super) const RULES: &[Rule] = &[
    Rule { name: "unsafe-place", check: unsafe_place },
    Rule { name: "file-name", check: file_name },
    Rule { name: "file-length", check: file_length },
    Rule { name: "line-length", check: line_length },
    Rule { name: "module-doc", check: module_doc },
    Rule { name: "unfinished", check: unfinished },
    Rule { name: "silenced-lint", check: silenced_lint },
];

/// Where `unsafe` may stand: generated code is called, a file is mapped, C calls in.
const UNSAFE: &[&str] = &["msd-jit/src/", "msd-jit/tests/", "msd-io/src/mapped.rs", "msd-capi/src/"];

/// Names of drawers.
const DRAWERS: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc"];

/// The habit is about 500 lines; the margin lets a file grow by its tests before it is split.
const MAX_LINES: usize = 600;

/// rustfmt's `max_width`.
const MAX_COLUMNS: usize = 120;

/// Macros that stand for code to come, or for a look at a value.
const PLACEHOLDERS: &[&str] = &["todo", "unimplemented", "dbg"];

/// Notes to self.
const NOTES: &[&str] = &["FIXME", "XXX", "HACK", "TODO"];

fn unsafe_place(tree: &Tree, report: &mut Report<'_>) {
    for (path, text) in tree.rust() {
        let source = RustSource::parse(text);
        let allowed = UNSAFE.iter().any(|place| path.starts_with(place));
        for at in words(&source.code, "unsafe") {
            let line = line_of(text, at);
            let after = source.code[at + "unsafe".len()..].trim_start();
            let argued = after.starts_with('{') || words(after, "impl").next() == Some(0);
            if !allowed {
                report.at(path, line, "`unsafe` outside the places that may hold it");
            } else if argued && !has_argument(&source, line) {
                report.at(path, line, "`unsafe` without a `SAFETY:` comment above it");
            }
        }
    }
}

/// Whether a `SAFETY:` comment stands on the line, or above the statement it belongs to.
fn has_argument(source: &RustSource, line: usize) -> bool {
    let code: Vec<&str> = source.code.lines().collect();
    let comments: Vec<&str> = source.comments.lines().collect();
    let mut index = line - 1;
    loop {
        if comments.get(index).is_some_and(|c| c.contains("SAFETY:")) {
            return true;
        }
        let Some(above) = index.checked_sub(1) else { return false };
        let ends_statement = code[above].trim_end().ends_with([';', '{', '}', ',']);
        let is_blank = code[above].trim().is_empty() && comments[above].trim().is_empty();
        if ends_statement || is_blank {
            return false;
        }
        index = above;
    }
}

fn file_name(tree: &Tree, report: &mut Report<'_>) {
    for path in tree.paths().filter(|p| p.ends_with(".rs")) {
        for part in path.trim_end_matches(".rs").split('/').filter(|part| DRAWERS.contains(part)) {
            report.at(path, 1, format!("`{part}` names no subject; call it after what it holds"));
        }
    }
}

fn file_length(tree: &Tree, report: &mut Report<'_>) {
    for (path, text) in tree.rust() {
        let lines = text.lines().count();
        if lines > MAX_LINES {
            report.at(path, MAX_LINES + 1, format!("{lines} lines, at most {MAX_LINES}: split it by subject"));
        }
    }
}

fn line_length(tree: &Tree, report: &mut Report<'_>) {
    for (path, text) in tree.rust() {
        for (index, line) in text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > MAX_COLUMNS {
                report.at(path, index + 1, format!("{columns} characters, at most {MAX_COLUMNS}"));
            }
        }
    }
}

fn module_doc(tree: &Tree, report: &mut Report<'_>) {
    for (path, text) in tree.rust() {
        let in_source = path.starts_with("src/") || path.contains("/src/");
        let is_build = Path::new(path).file_name().is_some_and(|name| name == "build.rs");
        if (in_source || is_build) && !text.trim_start().starts_with("//!") {
            report.at(path, 1, "opens without a `//!` doc");
        }
    }
}

fn unfinished(tree: &Tree, report: &mut Report<'_>) {
    for (path, text) in tree.rust() {
        let source = RustSource::parse(text);
        for name in PLACEHOLDERS {
            for at in words(&source.code, name) {
                if source.code[at + name.len()..].starts_with('!') {
                    report.at(path, line_of(text, at), format!("`{name}!` left in"));
                }
            }
        }
        for (at, _) in source.code.match_indices("#[ignore") {
            report.at(path, line_of(text, at), "a test is switched off; mend or remove it");
        }
        for note in NOTES {
            for at in words(&source.comments, note) {
                report.at(path, line_of(text, at), format!("a note to self: `{note}`"));
            }
        }
    }
}

fn silenced_lint(tree: &Tree, report: &mut Report<'_>) {
    for (path, text) in tree.rust() {
        let code = RustSource::parse(text).code;
        for (at, attribute) in attributes(&code) {
            let silences = ["allow", "expect"]
                .iter()
                .any(|word| words(attribute, word).any(|w| attribute[w + word.len()..].trim_start().starts_with('(')));
            if silences && words(attribute, "reason").next().is_none() {
                report.at(path, line_of(text, at), "silences a lint without `reason = \"...\"`");
            }
        }
    }
}

/// Offset and text of each `#[...]` and `#![...]`, up to the matching bracket.
fn attributes(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices('#') {
        let body = code[at + 1..].trim_start_matches('!');
        if !body.starts_with('[') {
            continue;
        }
        let mut depth = 0usize;
        for (end, c) in body.char_indices() {
            match c {
                '[' => depth += 1,
                ']' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                found.push((at, &body[..=end]));
                break;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::found_by;

    #[test]
    fn unsafe_stays_in_its_places() {
        let text = "// unsafe\nfn f() {\n    // SAFETY: checked above.\n    unsafe { g() }\n}\nlet s = \"unsafe\";\n";
        assert_eq!(
            found_by(unsafe_place, &[("msd-ir/src/eval.rs", text)]),
            ["msd-ir/src/eval.rs:4: `unsafe` outside the places that may hold it"]
        );
        assert!(found_by(unsafe_place, &[("msd-jit/src/func.rs", text)]).is_empty());
        assert!(found_by(unsafe_place, &[("msd-io/src/mapped.rs", text)]).is_empty());
        assert_eq!(found_by(unsafe_place, &[("msd-io/src/npy.rs", text)]).len(), 1);
        assert!(found_by(unsafe_place, &[("msd-io/src/npy.rs", "#![deny(unsafe_code)]")]).is_empty());
    }

    #[test]
    fn unsafe_has_its_argument() {
        let check = |text: &str| found_by(unsafe_place, &[("msd-jit/src/func.rs", text)]).len();
        assert_eq!(check("f();\nunsafe { g() }\n"), 1);
        assert_eq!(check("// SAFETY: far away.\nf();\nunsafe { g() }\n"), 1);
        assert_eq!(check("// SAFETY: far away.\n\nunsafe { g() }\n"), 1);
        assert_eq!(check("unsafe impl Send for T {}\n"), 1);
        assert_eq!(check("// SAFETY: read only.\n#[rustfmt::skip]\nunsafe impl Send for T {}\n"), 0);
        assert_eq!(check("// SAFETY: of this statement.\nlet x =\n    unsafe { g() };\n"), 0);
        assert_eq!(check("unsafe extern \"C\" fn f() {}\n"), 0);
    }

    #[test]
    fn drawers_are_found_as_files_and_directories() {
        let files = [("a/src/utils.rs", ""), ("tests/common/mod.rs", ""), ("a/src/utility_bill.rs", "")];
        assert_eq!(found_by(file_name, &files).len(), 2);
    }

    #[test]
    fn lengths_are_bounded() {
        let at_limit = "//\n".repeat(MAX_LINES);
        assert!(found_by(file_length, &[("a.rs", at_limit.as_str())]).is_empty());
        let beyond = format!("{at_limit}//\n");
        let snapshot = ("a.snap", beyond.as_str());
        assert_eq!(
            found_by(file_length, &[("a.rs", beyond.as_str()), snapshot]),
            ["a.rs:601: 601 lines, at most 600: split it by subject"]
        );
        let wide = "é".repeat(MAX_COLUMNS);
        assert!(found_by(line_length, &[("a.rs", wide.as_str())]).is_empty());
        let wider = format!("\n{wide}é\n");
        assert_eq!(found_by(line_length, &[("a.rs", wider.as_str())]), ["a.rs:2: 121 characters, at most 120"]);
    }

    #[test]
    fn modules_open_with_a_doc() {
        let files = [
            ("grammar/build.rs", "fn main() {}"),
            ("src/a.rs", "use std::fmt;\n//! late\n"),
            ("src/b.rs", "\n//! B.\n"),
            ("tests/c.rs", "fn test() {}"),
        ];
        let expected = ["grammar/build.rs:1: opens without a `//!` doc", "src/a.rs:1: opens without a `//!` doc"];
        assert_eq!(found_by(module_doc, &files), expected);
    }

    #[test]
    fn unfinished_work_is_found() {
        let check = |text: &str| found_by(unfinished, &[("a.rs", text)]).len();
        for name in PLACEHOLDERS {
            assert_eq!(check(&format!("fn f() {{ {name}!(1) }}")), 1);
            assert_eq!(check(&format!("fn {name}() {{}} // {name}!")), 0);
        }
        for note in NOTES {
            assert_eq!(check(&format!("// {note}: later")), 1);
            assert_eq!(check(&format!("let s = \"{note}\"; // {note}S")), 0);
        }
        assert_eq!(check("#[test]\n#[ignore = \"slow\"]\nfn f() {}"), 1);
    }

    #[test]
    fn silenced_lints_say_why() {
        let check = |text: &str| found_by(silenced_lint, &[("a.rs", text)]).len();
        assert_eq!(check("#[allow(dead_code)]\nfn f() {}"), 1);
        assert_eq!(check("#![expect(dead_code)]"), 1);
        assert_eq!(check("#[cfg_attr(test, allow(dead_code))]"), 1);
        assert_eq!(check("#[allow(dead_code, reason = \"[kept] for the C ABI\")]\nfn f() {}"), 0);
        assert_eq!(check("#[deny(dead_code)] fn f() { allow(x[0]); x.expect(\"\") }"), 0);
    }
}
