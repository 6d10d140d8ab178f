//! `cargo xtask tidy`: what the compiler and clippy do not check. A rule is a function of the
//! file tree; it stands in one of the three modules below, next to its reason, with a test that
//! shows it a breach. A rule that needs an exception gets it here in the open, never by a marker
//! in the file that breaks it.

mod dependencies;
mod documents;
mod source;

use std::fmt;
use std::path::Path;

use crate::tree::Tree;

/// One breach of one rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    /// 1-based; 1 where the whole file is meant.
    line: usize,
    rule: &'static str,
    message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.message)
    }
}

/// What a rule reports through: it knows the rule's name.
struct Report<'a> {
    rule: &'static str,
    findings: &'a mut Vec<Finding>,
}

impl Report<'_> {
    fn at(&mut self, path: &str, line: usize, message: impl Into<String>) {
        let (path, message) = (path.to_string(), message.into());
        self.findings.push(Finding { path, line, rule: self.rule, message });
    }
}

/// A rule by name.
struct Rule {
    name: &'static str,
    check: fn(&Tree, &mut Report<'_>),
}

/// Checks the repository at `root` and prints the findings; whether there were none.
pub(crate) fn run(root: &Path) -> Result<bool, String> {
    let tree = Tree::read(root)?;
    let findings = findings(&tree);
    for finding in &findings {
        println!("{finding}");
    }
    let (files, rules) = (tree.paths().count(), rules().count());
    println!("tidy: {} found in {files} files by {rules} rules", findings.len());
    Ok(findings.is_empty())
}

fn rules() -> impl Iterator<Item = &'static Rule> {
    [dependencies::RULES, source::RULES, documents::RULES].into_iter().flatten()
}

fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in rules() {
        (rule.check)(tree, &mut Report { rule: rule.name, findings: &mut findings });
    }
    findings.sort();
    findings
}

/// What one rule finds, as `path:line: message`, for tests.
#[cfg(test)]
fn found_by(check: fn(&Tree, &mut Report<'_>), files: &[(&str, &str)]) -> Vec<String> {
    let mut findings = Vec::new();
    check(&Tree::of(files), &mut Report { rule: "rule", findings: &mut findings });
    findings.into_iter().map(|f| format!("{}:{}: {}", f.path, f.line, f.message)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_name_file_line_and_rule_in_order() {
        let tree = Tree::of(&[("a/src/lib.rs", "fn f() { dbg!(1); }\n"), ("ARCHITECTURE.md", "a/")]);
        let lines: Vec<String> = findings(&tree).iter().map(Finding::to_string).collect();
        assert_eq!(
            lines,
            ["a/src/lib.rs:1: module-doc: opens without a `//!` doc", "a/src/lib.rs:1: unfinished: `dbg!` left in",]
        );
    }

    #[test]
    fn names_of_rules_are_unique() {
        let mut names: Vec<&str> = rules().map(|r| r.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), rules().count());
    }
}
