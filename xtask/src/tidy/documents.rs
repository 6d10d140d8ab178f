//! Rules about text files and documents.
//!
//! * `machine-path`: no path of the machine it was written on. It works there, and nowhere else.
//! * `code-map`: ARCHITECTURE.md mentions each crate and each top-level directory. A map with
//!   rooms missing is not trusted for the others either.
//! * `links`: relative links of Markdown files lead to files of the repository. Renames break
//!   them silently.

use std::collections::BTreeSet;

use super::{Report, Rule, dependencies};
use crate::tree::Tree;

pub(super) const RULES: &[Rule] = &[
    Rule { name: "machine-path", check: machine_path },
    Rule { name: "code-map", check: code_map },
    Rule { name: "links", check: links },
];

/// Where checkouts and homes lie, without the leading slash, so that this file passes.
const MACHINE_ROOTS: &[&str] = &["work/", "home/", "root/", "tmp/wt"];

const MAP: &str = "ARCHITECTURE.md";

fn machine_path(tree: &Tree, report: &mut Report<'_>) {
    for (path, text) in tree.texts() {
        for (index, line) in text.lines().enumerate() {
            // Inside a longer path or an address the same name is a directory like any other.
            let is_root = |at: usize| {
                let before = line[..at].chars().next_back();
                let rest = &line[at + 1..];
                !before.is_some_and(|c| c.is_alphanumeric() || "._-~/}".contains(c))
                    && MACHINE_ROOTS.iter().any(|root| rest.starts_with(root))
            };
            if line.match_indices('/').any(|(at, _)| is_root(at)) {
                report.at(path, index + 1, "an absolute path of one machine");
            }
        }
    }
}

fn code_map(tree: &Tree, report: &mut Report<'_>) {
    let map = tree.text(MAP).unwrap_or_default();
    let directories: BTreeSet<&str> = tree.paths().filter_map(|p| p.split_once('/').map(|(first, _)| first)).collect();
    for directory in directories.into_iter().filter(|d| !mentions(map, &format!("{d}/"))) {
        report.at(MAP, 1, format!("does not mention the directory `{directory}/`"));
    }
    for (name, _) in dependencies::names(tree).into_iter().filter(|(name, _)| !mentions(map, name)) {
        report.at(MAP, 1, format!("does not mention the crate `{name}`"));
    }
}

/// Whether `name` stands in `text` and is not the end or the beginning of a longer name.
fn mentions(text: &str, name: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || "._-/".contains(c);
    text.match_indices(name).any(|(at, _)| {
        let after = text[at + name.len()..].chars().next();
        let longer = !name.ends_with('/') && after.is_some_and(|c| c.is_alphanumeric() || "_-".contains(c));
        !longer && !text[..at].chars().next_back().is_some_and(is_name)
    })
}

fn links(tree: &Tree, report: &mut Report<'_>) {
    for (path, text) in tree.texts().filter(|(path, _)| path.ends_with(".md")) {
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        for (line, target) in targets(text) {
            let file = target.split('#').next().unwrap_or_default();
            let is_address = target.contains("://") || target.starts_with("mailto:");
            if is_address || file.is_empty() {
                continue;
            }
            if !resolve(directory, file).is_some_and(|file| tree.contains(&file)) {
                report.at(path, line, format!("`{target}` leads nowhere"));
            }
        }
    }
}

/// Line and target of each `[text](target)` and `[name]: target` outside code.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        let prose = without_code(line);
        let inline = prose.match_indices("](").map(|(at, opening)| at + opening.len());
        let named = prose.starts_with('[').then(|| prose.find("]: ").map(|at| at + 3)).flatten();
        for start in inline.chain(named) {
            found.push((index + 1, line[start..].split([')', ' ']).next().unwrap_or_default()));
        }
    }
    found
}

/// The line with the insides of `code` blank, byte for byte.
fn without_code(line: &str) -> String {
    let piece = |(i, piece): (usize, &str)| if i % 2 == 0 { piece.to_string() } else { " ".repeat(piece.len()) };
    line.split('`').enumerate().map(piece).collect::<Vec<_>>().join("`")
}

/// The path from the root; `None` if it leaves the repository.
fn resolve(directory: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in directory.split('/').chain(link.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::found_by;

    #[test]
    fn machine_paths_are_found() {
        for root in MACHINE_ROOTS {
            let text = format!("first\ncd \"/{root}x\"\n");
            assert_eq!(found_by(machine_path, &[("a.md", &text)]), ["a.md:2: an absolute path of one machine"]);
            let elsewhere = format!("https://example.org/{root}x and frame{root}x and ${{X}}/{root}");
            assert!(found_by(machine_path, &[("a.md", &elsewhere)]).is_empty());
        }
    }

    #[test]
    fn the_map_has_every_room() {
        let files = [
            ("Cargo.toml", "[workspace]\nmembers = [\".\", \"grammar\"]\n[package]\nname = \"msd\""),
            ("grammar/Cargo.toml", "[package]\nname = \"msd-grammar\""),
            (".ci/run", ""),
            ("src/lib.rs", ""),
            (MAP, "`grammar/` holds msd-grammar; see msd-io/src/a.rs.\n"),
        ];
        assert_eq!(
            found_by(code_map, &files),
            [
                "ARCHITECTURE.md:1: does not mention the directory `.ci/`",
                "ARCHITECTURE.md:1: does not mention the directory `src/`",
                "ARCHITECTURE.md:1: does not mention the crate `msd`",
            ]
        );
    }

    #[test]
    fn links_lead_somewhere() {
        let text = "\
[a](b.md#part) [b](../README.md) [c](https://example.org/x.md) [d](#here) `[e](gone.md)`
```
[f](gone.md)
```
[g](gone.md), [`h`](gone.rs) [i](../../out.md)
[j]: lost.md
";
        let files = [("docs/a.md", text), ("docs/b.md", ""), ("README.md", "[docs](docs/), [own](./docs/a.md)")];
        assert_eq!(
            found_by(links, &files),
            [
                "docs/a.md:5: `gone.md` leads nowhere",
                "docs/a.md:5: `gone.rs` leads nowhere",
                "docs/a.md:5: `../../out.md` leads nowhere",
                "docs/a.md:6: `lost.md` leads nowhere",
            ]
        );
    }
}
