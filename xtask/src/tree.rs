//! The files of the repository, read once. Rules are functions of this snapshot, so their tests
//! need no disk. Owns which files count; what must hold for them is [`crate::tidy`]'s business.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Paths relative to the root, with `/`, and the text of each file that is text.
#[derive(Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, Option<String>>,
}

impl Tree {
    /// Reads what git tracks or would track; without git, everything but hidden and `target`
    /// directories. New files count before they are committed, or the first run would miss them.
    pub(crate) fn read(root: &Path) -> Result<Tree, String> {
        let paths = match listed_by_git(root) {
            Some(paths) => paths,
            None => {
                eprintln!("xtask: git does not list the files here; checking all of them");
                let mut paths = Vec::new();
                walk(root, "", &mut paths).map_err(|e| format!("cannot list {}: {e}", root.display()))?;
                paths
            }
        };
        let mut files = BTreeMap::new();
        for path in paths {
            // Tracked, but deleted here and not committed yet.
            if !root.join(&path).is_file() {
                continue;
            }
            let bytes = fs::read(root.join(&path)).map_err(|e| format!("cannot read {path}: {e}"))?;
            let text = if bytes.contains(&0) { None } else { String::from_utf8(bytes).ok() };
            files.insert(path, text);
        }
        Ok(Tree { files })
    }

    /// A tree of these files, for tests.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Tree {
        Tree { files: files.iter().map(|(p, t)| (p.to_string(), Some(t.to_string()))).collect() }
    }

    /// Every path, text or not.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Path and text of every text file.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)))
    }

    /// Path and text of every Rust file.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts().filter(|(path, _)| path.ends_with(".rs"))
    }

    /// The text of one file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.as_deref()
    }

    /// Whether a file or a directory of that path exists; the empty path is the root.
    pub(crate) fn contains(&self, path: &str) -> bool {
        let directory = format!("{path}/");
        path.is_empty() || self.files.contains_key(path) || self.paths().any(|p| p.starts_with(&directory))
    }
}

fn listed_by_git(root: &Path) -> Option<Vec<String>> {
    // A checkout owned by another user, usual in containers, is fine to read.
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.split('\0').filter(|p| !p.is_empty()).map(String::from).collect())
}

/// Hidden directories that belong to the repository.
const HIDDEN: &[&str] = &[".cargo", ".ci"];

fn walk(directory: &Path, prefix: &str, paths: &mut Vec<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() && name != "target" && (!name.starts_with('.') || HIDDEN.contains(&name.as_str())) {
            walk(&entry.path(), &format!("{path}/"), paths)?;
        } else if kind.is_file() {
            paths.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_files_and_directories() {
        let tree = Tree::of(&[("docs/a.md", ""), ("src/lib.rs", "")]);
        assert!(tree.contains("docs/a.md") && tree.contains("docs") && tree.contains(""));
        assert!(!tree.contains("doc") && !tree.contains("docs/b.md"));
        assert_eq!(tree.rust().map(|(p, _)| p).collect::<Vec<_>>(), ["src/lib.rs"]);
    }
}
