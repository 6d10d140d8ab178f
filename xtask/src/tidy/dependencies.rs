//! Rules about manifests.
//!
//! * `layers`: a crate uses only the crates below it. The core stays testable without a back end
//!   and a back end replaceable only while nothing reaches upwards or sideways; cargo forbids
//!   cycles, not wrong directions. Dev-dependencies may look anywhere but round in a circle,
//!   which cargo allows and which makes two copies of a crate meet in one test.
//! * `external`: msd-ir and xtask stay (nearly) free of other people's code, and Cranelift stays
//!   in msd-jit: it is the one dependency large enough to want out of some day.
//! * `lints`: every crate inherits the workspace's lints. The crates that may hold `unsafe` cannot
//!   (`forbid` has no exception), so they write their own and must keep clippy's demand for an
//!   argument beside each block.

use std::collections::BTreeMap;

use super::{Report, Rule};
use crate::manifest::{Dependency, Kind, Manifest};
use crate::rust_source::{RustSource, line_of, words};
use crate::tree::Tree;

pub(super) const RULES: &[Rule] = &[
    Rule { name: "layers", check: layers },
    Rule { name: "external", check: external },
    Rule { name: "lints", check: lints },
];

/// Each crate and the crates of ours it may use; those not written yet keep their place.
const LAYERS: &[(&str, &[&str])] = &[
    ("msd-ir", &[]),
    ("msd-grammar", &["msd-ir"]),
    ("msd-io", &["msd-ir"]),
    ("msd-jit", &["msd-ir"]),
    ("msd-ascend", &["msd-ir"]),
    ("msd-macros", &["msd-grammar", "msd-ir"]),
    ("msd", &["msd-macros", "msd-jit", "msd-ascend", "msd-grammar", "msd-io", "msd-ir"]),
    ("msd-cli", &["msd"]),
    ("msd-capi", &["msd"]),
    ("xtask", &[]),
];

/// Crates that may name another one to switch its features, and for nothing else.
const FEATURES_ONLY: &[(&str, &str)] = &[("msd-cli", "msd-jit")];

/// Crates with a closed list of dependencies from outside.
const CLOSED: &[(&str, &[&str])] = &[("msd-ir", &["half"]), ("xtask", &[])];

/// The crate that may use packages whose name starts so.
const OWNED: &[(&str, &str)] = &[("cranelift", "msd-jit")];

/// Crates that may hold `unsafe`; `tidy::source` knows where in them.
const OWN_LINTS: &[&str] = &["msd-jit", "msd-io", "msd-capi"];

/// A package of the workspace.
struct Package {
    name: String,
    /// Its directory, empty for the root, else with a slash at the end.
    directory: String,
    manifest: Manifest,
    dependencies: Vec<Dependency>,
}

impl Package {
    fn path(&self) -> String {
        format!("{}Cargo.toml", self.directory)
    }
}

/// The packages of the workspace; a member without a manifest is cargo's to report.
fn packages(tree: &Tree) -> Vec<Package> {
    let workspace = Manifest::parse(tree.text("Cargo.toml").unwrap_or_default());
    let member = |member: &str| {
        let directory = if member == "." { String::new() } else { format!("{member}/") };
        let manifest = Manifest::parse(tree.text(&format!("{directory}Cargo.toml"))?);
        let name = manifest.string(&["package", "name"])?.to_string();
        let dependencies = manifest.dependencies(&workspace);
        Some(Package { name, directory, manifest, dependencies })
    };
    workspace.array(&["workspace", "members"]).into_iter().filter_map(member).collect()
}

/// Names and directories of the workspace's packages, for other rules.
pub(super) fn names(tree: &Tree) -> Vec<(String, String)> {
    packages(tree).into_iter().map(|p| (p.name, p.directory)).collect()
}

fn is_ours(name: &str) -> bool {
    LAYERS.iter().any(|(ours, _)| *ours == name)
}

fn layers(tree: &Tree, report: &mut Report<'_>) {
    let packages = packages(tree);
    for package in &packages {
        let Some((_, below)) = LAYERS.iter().find(|(name, _)| *name == package.name) else {
            let message =
                format!("`{}` has no place in the layers; give it one in xtask and ARCHITECTURE.md", package.name);
            report.at(&package.path(), 1, message);
            continue;
        };
        for d in package.dependencies.iter().filter(|d| d.kind != Kind::Dev && is_ours(&d.name)) {
            let switched = FEATURES_ONLY.contains(&(package.name.as_str(), d.name.as_str()));
            if switched && d.features {
                check_not_named(tree, package, &d.name, report);
            } else if switched {
                let message = format!("`{}` may name `{}` only to switch its features", package.name, d.name);
                report.at(&package.path(), d.line, message);
            } else if !below.contains(&d.name.as_str()) {
                let message = format!("`{}` may not use `{}`, which is not below it", package.name, d.name);
                report.at(&package.path(), d.line, message);
            }
        }
    }
    check_circles(&packages, report);
}

/// A dependency taken for its features is not used in code.
fn check_not_named(tree: &Tree, package: &Package, dependency: &str, report: &mut Report<'_>) {
    let name = dependency.replace('-', "_");
    for (path, text) in tree.rust().filter(|(path, _)| path.starts_with(&format!("{}src/", package.directory))) {
        for at in words(&RustSource::parse(text).code, &name) {
            let message = format!("`{}` may not use `{name}` in code; go through `msd`", package.name);
            report.at(path, line_of(text, at), message);
        }
    }
}

/// Reports each package that reaches itself, dev-dependencies included.
fn check_circles(packages: &[Package], report: &mut Report<'_>) {
    let uses: BTreeMap<&str, &[Dependency]> =
        packages.iter().map(|p| (p.name.as_str(), p.dependencies.as_slice())).collect();
    for package in packages {
        for first in &package.dependencies {
            let mut seen = vec![first.name.as_str()];
            let mut next = 0;
            while let Some(name) = seen.get(next).copied() {
                next += 1;
                for d in uses.get(name).copied().unwrap_or_default() {
                    if !seen.contains(&d.name.as_str()) {
                        seen.push(&d.name);
                    }
                }
            }
            if seen.contains(&package.name.as_str()) {
                let message = format!("`{}` reaches itself through `{}`", package.name, first.name);
                report.at(&package.path(), first.line, message);
            }
        }
    }
}

fn external(tree: &Tree, report: &mut Report<'_>) {
    for package in packages(tree) {
        let closed = CLOSED.iter().find(|(name, _)| *name == package.name);
        for d in package.dependencies.iter().filter(|d| d.kind != Kind::Dev && !is_ours(&d.name)) {
            if let Some((_, allowed)) = closed
                && !allowed.contains(&d.name.as_str())
            {
                let message = format!("`{}` may use std and {allowed:?} only, not `{}`", package.name, d.name);
                report.at(&package.path(), d.line, message);
            }
            let owner = OWNED.iter().find(|(prefix, _)| d.name.starts_with(prefix));
            if let Some((_, owner)) = owner.filter(|(_, owner)| *owner != package.name) {
                report.at(&package.path(), d.line, format!("`{}` belongs in `{owner}` alone", d.name));
            }
        }
    }
}

fn lints(tree: &Tree, report: &mut Report<'_>) {
    for package in packages(tree) {
        let value = |path: &[&str]| package.manifest.get(path).map(|e| e.value.as_str());
        let inherits = value(&["lints", "workspace"]) == Some("true");
        let argues = value(&["lints", "clippy", "undocumented_unsafe_blocks"]) == Some("\"deny\"");
        let own = OWN_LINTS.contains(&package.name.as_str());
        if !inherits && !own {
            report.at(&package.path(), 1, "does not inherit the lints: add `[lints]` with `workspace = true`");
        } else if !inherits && !argues {
            report.at(&package.path(), 1, "has lints of its own without `undocumented_unsafe_blocks = \"deny\"`");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::found_by;

    /// A workspace of packages, each with the rest of its manifest after the name.
    fn workspace(packages: &[(&str, &str)]) -> Vec<(String, String)> {
        let members: Vec<String> = packages.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let root = format!("[workspace]\nmembers = [{}]\n", members.join(", "));
        let manifest = |(name, rest): &(&str, &str)| {
            (format!("{name}/Cargo.toml"), format!("[package]\nname = \"{name}\"\n{rest}"))
        };
        [("Cargo.toml".to_string(), root)].into_iter().chain(packages.iter().map(manifest)).collect()
    }

    fn found(check: fn(&Tree, &mut Report<'_>), packages: &[(&str, &str)], more: &[(&str, &str)]) -> Vec<String> {
        let files = workspace(packages);
        let files: Vec<(&str, &str)> = files.iter().map(|(p, t)| (p.as_str(), t.as_str())).collect();
        found_by(check, &[files.as_slice(), more].concat())
    }

    #[test]
    fn layers_stops_upward_and_sideways_use() {
        let up = [("msd-ir", "[dependencies]\nmsd-grammar.workspace = true"), ("msd-grammar", "")];
        assert_eq!(
            found(layers, &up, &[]),
            ["msd-ir/Cargo.toml:4: `msd-ir` may not use `msd-grammar`, which is not below it"]
        );
        let sideways = [("msd-jit", "[build-dependencies]\nmsd-ascend = { path = \"../msd-ascend\" }")];
        assert_eq!(
            found(layers, &sideways, &[]),
            ["msd-jit/Cargo.toml:4: `msd-jit` may not use `msd-ascend`, which is not below it"]
        );
        let chore = [("xtask", "[target.'cfg(unix)'.dependencies]\nmsd-ir = \"1\"")];
        assert_eq!(found(layers, &chore, &[]).len(), 1);
    }

    #[test]
    fn layers_knows_every_crate() {
        assert_eq!(
            found(layers, &[("msd-new", "")], &[]),
            ["msd-new/Cargo.toml:1: `msd-new` has no place in the layers; give it one in xtask and ARCHITECTURE.md"]
        );
    }

    #[test]
    fn layers_frees_dev_dependencies_but_not_circles() {
        let fine = [("msd-jit", "[dev-dependencies]\nmsd-grammar = \"1\""), ("msd-grammar", "")];
        assert!(found(layers, &fine, &[]).is_empty());
        let circle =
            [("msd-ir", "[dev-dependencies]\nmsd-grammar = \"1\""), ("msd-grammar", "[dependencies]\nmsd-ir = \"1\"")];
        assert_eq!(
            found(layers, &circle, &[]),
            [
                "msd-ir/Cargo.toml:4: `msd-ir` reaches itself through `msd-grammar`",
                "msd-grammar/Cargo.toml:4: `msd-grammar` reaches itself through `msd-ir`",
            ]
        );
    }

    #[test]
    fn layers_lets_the_command_switch_features_of_the_jit_only() {
        let plain = [("msd-cli", "[dependencies]\nmsd-jit.workspace = true")];
        assert_eq!(
            found(layers, &plain, &[]),
            ["msd-cli/Cargo.toml:4: `msd-cli` may name `msd-jit` only to switch its features"]
        );
        let features = [("msd-cli", "[dependencies]\nmsd-jit = { workspace = true, features = [\"disas\"] }")];
        let main = [("msd-cli/src/main.rs", "// msd_jit\nuse msd_jit::Module;\n")];
        assert!(found(layers, &features, &[]).is_empty());
        assert_eq!(
            found(layers, &features, &main),
            ["msd-cli/src/main.rs:2: `msd-cli` may not use `msd_jit` in code; go through `msd`"]
        );
    }

    #[test]
    fn external_closes_the_core_and_keeps_cranelift_in_its_room() {
        let core = [("msd-ir", "[dependencies]\nhalf = \"2\"\nserde = \"1\"\n[dev-dependencies]\nproptest = \"1\"")];
        assert_eq!(
            found(external, &core, &[]),
            ["msd-ir/Cargo.toml:5: `msd-ir` may use std and [\"half\"] only, not `serde`"]
        );
        let stray = [("msd", "[dependencies]\ncode = { package = \"cranelift-codegen\" }"), ("msd-jit", "")];
        assert_eq!(found(external, &stray, &[]), ["msd/Cargo.toml:4: `cranelift-codegen` belongs in `msd-jit` alone"]);
        assert!(found(external, &[("msd-jit", "[dependencies]\ncranelift-jit = \"1\"")], &[]).is_empty());
    }

    #[test]
    fn lints_are_inherited_or_keep_the_argument() {
        assert_eq!(found(lints, &[("msd-ir", "[lints.clippy]\nundocumented_unsafe_blocks = \"deny\"")], &[]).len(), 1);
        assert_eq!(found(lints, &[("msd-jit", "[lints.rust]\nunsafe_code = \"allow\"")], &[]).len(), 1);
        assert!(found(lints, &[("msd-jit", "[lints.clippy]\nundocumented_unsafe_blocks = \"deny\"")], &[]).is_empty());
        assert!(found(lints, &[("msd-ir", "[lints]\nworkspace = true")], &[]).is_empty());
    }
}
