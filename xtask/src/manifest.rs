//! Reads as much TOML as our own manifests use: tables, dotted keys, strings, arrays, inline
//! tables. Not a TOML parser: no arrays of tables, no multi-line strings. A manifest beyond that
//! is for cargo to accept and for us to keep plain.

/// `path = value`, the path with its table's header in front.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    /// Keys from the outermost table inwards.
    pub(crate) path: Vec<String>,
    /// The value as written, comments removed, on one line.
    pub(crate) value: String,
    /// 1-based line of the key.
    pub(crate) line: usize,
}

/// Which table a dependency stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Build,
    Dev,
}

/// One dependency of a package.
#[derive(Debug, PartialEq)]
pub(crate) struct Dependency {
    /// Name of the package, renames resolved.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Whether `features` are asked for.
    pub(crate) features: bool,
    pub(crate) line: usize,
}

/// A parsed `Cargo.toml`.
pub(crate) struct Manifest {
    entries: Vec<Entry>,
}

impl Manifest {
    pub(crate) fn parse(text: &str) -> Manifest {
        let mut entries = Vec::new();
        let mut table: Vec<String> = Vec::new();
        let mut lines = text.lines().enumerate();
        while let Some((index, raw)) = lines.next() {
            let line = without_comment(raw).trim();
            if let Some(header) = line.strip_prefix('[') {
                table = keys(header.trim_end_matches(']'));
            } else if let Some((key, value)) = split_outside_quotes(line, '=') {
                let mut value = value.trim().to_string();
                while open_brackets(&value) > 0 {
                    let Some((_, next)) = lines.next() else { break };
                    value.push(' ');
                    value.push_str(without_comment(next).trim());
                }
                let path = table.iter().cloned().chain(keys(key)).collect();
                entries.push(Entry { path, value, line: index + 1 });
            }
        }
        Manifest { entries }
    }

    /// The value at a path.
    pub(crate) fn get(&self, path: &[&str]) -> Option<&Entry> {
        self.entries.iter().find(|e| e.path == path)
    }

    /// The string at a path.
    pub(crate) fn string(&self, path: &[&str]) -> Option<&str> {
        self.get(path).and_then(|e| strings(&e.value).into_iter().next())
    }

    /// The strings of the array at a path.
    pub(crate) fn array(&self, path: &[&str]) -> Vec<&str> {
        self.get(path).map(|e| strings(&e.value)).unwrap_or_default()
    }

    /// Dependencies of the package, each once per table; `workspace` resolves renames of
    /// inherited ones.
    pub(crate) fn dependencies(&self, workspace: &Manifest) -> Vec<Dependency> {
        let mut found: Vec<Dependency> = Vec::new();
        for entry in &self.entries {
            let path: Vec<&str> = entry.path.iter().map(String::as_str).collect();
            let (table, key, field) = match path.as_slice() {
                ["target", _, table, key, field @ ..] | [table, key, field @ ..] => (*table, *key, field.first()),
                _ => continue,
            };
            let kind = match table {
                "dependencies" => Kind::Normal,
                "build-dependencies" => Kind::Build,
                "dev-dependencies" => Kind::Dev,
                _ => continue,
            };
            let inherited = workspace.get(&["workspace", "dependencies", key]);
            let renamed = match field {
                Some(&"package") => strings(&entry.value).into_iter().next(),
                _ => package(&entry.value).or_else(|| inherited.and_then(|e| package(&e.value))),
            };
            let name = renamed.unwrap_or(key).to_string();
            let features = field == Some(&"features") || (field.is_none() && entry.value.contains("features"));
            match found.iter_mut().find(|d| d.name == name && d.kind == kind) {
                Some(known) => known.features |= features,
                None => found.push(Dependency { name, kind, features, line: entry.line }),
            }
        }
        found
    }
}

/// `package = "name"` inside an inline table.
fn package(value: &str) -> Option<&str> {
    let (_, after) = value.split_once("package")?;
    strings(after.trim_start().strip_prefix('=')?).into_iter().next()
}

fn strings(value: &str) -> Vec<&str> {
    value.split('"').skip(1).step_by(2).collect()
}

fn without_comment(line: &str) -> &str {
    split_outside_quotes(line, '#').map_or(line, |(before, _)| before)
}

fn split_outside_quotes(text: &str, separator: char) -> Option<(&str, &str)> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, c) if c == separator => return Some((&text[..at], &text[at + c.len_utf8()..])),
            _ => {}
        }
    }
    None
}

fn keys(text: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut rest = text;
    loop {
        let (key, after) = split_outside_quotes(rest, '.').unwrap_or((rest, ""));
        keys.push(key.trim().trim_matches(['"', '\'']).to_string());
        if after.is_empty() {
            return keys;
        }
        rest = after;
    }
}

fn open_brackets(value: &str) -> usize {
    let outside: String = value.split('"').step_by(2).collect();
    let count = |set: [char; 2]| outside.matches(set).count();
    count(['[', '{']).saturating_sub(count([']', '}']))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
[package] # of ours
name = \"a\"
[dependencies]
half.workspace = true
jit = { workspace = true, features = [\"disas\"] }
renamed = { package = \"real\", version = \"1\" }
[dependencies.table]
version = \"1\"
features = [\"x\"]
[target.'cfg(target_os = \"linux\")'.dependencies]
only-there = \"1\"
[dev-dependencies]
half.workspace = true
[workspace]
members = [
  \"one\", # the first
  \"two\",
]
";

    fn summary(manifest: &Manifest, workspace: &str) -> Vec<(String, Kind, bool)> {
        let workspace = Manifest::parse(workspace);
        manifest.dependencies(&workspace).into_iter().map(|d| (d.name, d.kind, d.features)).collect()
    }

    #[test]
    fn reads_every_way_to_write_a_dependency() {
        let expected = [
            ("half", Kind::Normal, false),
            ("real-jit", Kind::Normal, true),
            ("real", Kind::Normal, false),
            ("table", Kind::Normal, true),
            ("only-there", Kind::Normal, false),
            ("half", Kind::Dev, false),
        ];
        let workspace = "[workspace.dependencies]\njit = { package = \"real-jit\", path = \"jit\" }";
        let expected = expected.map(|(name, kind, features)| (name.to_string(), kind, features));
        assert_eq!(summary(&Manifest::parse(TEXT), workspace), expected);
    }

    #[test]
    fn reads_strings_and_arrays_with_lines() {
        let manifest = Manifest::parse(TEXT);
        assert_eq!(manifest.string(&["package", "name"]), Some("a"));
        assert_eq!(manifest.array(&["workspace", "members"]), ["one", "two"]);
        assert_eq!(manifest.get(&["workspace", "members"]).map(|e| e.line), Some(15));
    }
}
