//! Syntax, layout, completions, usage: what needs no tensor.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use crate::{command, dir, json, msd};

const GOOD: &str = "kernel double(X: f32[N]) -> f32[N] { X + X }\n";
const BAD: &str = "kernel broken(X: f32[N]) -> f32[N] {\n    Y\n}\n";

fn read(dir: &TempDir, name: &str) -> String {
    fs::read_to_string(dir.path().join(name)).unwrap()
}

#[test]
fn check_accepts() {
    let dir = dir(&[("a.msd", GOOD.as_bytes())]);
    let ran = msd(&dir, &["check", "a.msd"]);
    assert_eq!((ran.status, ran.stdout.as_str(), ran.stderr.as_str()), (0, "a.msd: double\n", ""));
    let (status, object) = json(&dir, &["check", "a.msd"], "msd.check/1");
    assert_eq!((status, &object["diagnostics"]), (0, &serde_json::json!([])));
    assert_eq!(object["files"], serde_json::json!([{"file": "a.msd", "kernels": ["double"]}]));
}

#[test]
fn check_finds_the_faults_of_every_file() {
    let dir = dir(&[("a.msd", BAD.as_bytes()), ("b.msd", GOOD.as_bytes()), ("c.msd", BAD.as_bytes())]);
    let files = ["check", "a.msd", "b.msd", "gone.msd", "c.msd"];
    let ran = msd(&dir, &files);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, "b.msd: double\n"));
    for place in ["a.msd:2:5", "gone.msd", "c.msd:2:5"] {
        assert!(ran.stderr.contains(place), "{}", ran.stderr);
    }
    let (status, object) = json(&dir, &files, "msd.check/1");
    let places: Vec<_> = object["diagnostics"].as_array().unwrap().iter().map(|d| (&d["file"], &d["code"])).collect();
    assert_eq!(status, 1);
    assert_eq!(
        places,
        [(&"a.msd".into(), &"E0201".into()), (&"gone.msd".into(), &"E0701".into()), (&"c.msd".into(), &"E0201".into())]
    );
    let first = &object["diagnostics"][0];
    assert_eq!((&first["severity"], &first["line"], &first["column"]), (&"error".into(), &2.into(), &5.into()));
    let gone = &object["diagnostics"][1];
    assert!(gone["line"].is_null() && gone["column"].is_null());
}

#[test]
fn colours_are_for_terminals() {
    let dir = dir(&[("a.msd", BAD.as_bytes())]);
    for ran in [msd(&dir, &["check", "a.msd"]), msd(&dir, &["check"]), msd(&dir, &["--help"])] {
        assert!(!ran.stderr.contains('\x1b') && !ran.stdout.contains('\x1b'));
    }
    let forced = command(&dir, &["check", "a.msd"]).env("CLICOLOR_FORCE", "1").output().unwrap();
    assert!(forced.stderr.contains(&0x1b));
    let refused = command(&dir, &["check", "a.msd"]).env("NO_COLOR", "1").output().unwrap();
    assert!(!refused.stderr.contains(&0x1b));
}

#[test]
fn bytes_that_are_no_text() {
    let dir = dir(&[("a.msd", b"kernel k(X: f32[N])\n  -> \xFF")]);
    for command in ["check", "fmt"] {
        let (status, object) = json(&dir, &[command, "a.msd"], &format!("msd.{command}/1"));
        let diagnostic = &object["diagnostics"][0];
        assert_eq!((status, &diagnostic["code"]), (1, &"E0101".into()));
        assert_eq!((&diagnostic["line"], &diagnostic["column"]), (&2.into(), &6.into()));
        assert!(msd(&dir, &[command, "a.msd"]).stderr.contains("a.msd:2:6"));
    }
    assert_eq!(fs::read(dir.path().join("a.msd")).unwrap().last(), Some(&0xFF));
}

#[test]
fn files_that_are_none() {
    let dir = dir(&[]);
    fs::create_dir(dir.path().join("folder")).unwrap();
    for command in ["check", "fmt"] {
        for name in ["gone.msd", "folder", ""] {
            let ran = msd(&dir, &[command, name]);
            assert_eq!(ran.status, if name.is_empty() { 2 } else { 1 }, "{command} {name}: {}", ran.stderr);
            assert!(ran.stdout.is_empty() && ran.stderr.contains(name));
        }
        let (_, object) = json(&dir, &[command, "folder"], &format!("msd.{command}/1"));
        assert_eq!(object["diagnostics"][0]["code"], "E0701");
        assert!(object["diagnostics"][0]["message"].as_str().unwrap().contains("directory"));
    }
}

#[test]
#[cfg(unix)]
fn an_endless_file_ends() {
    let ran = msd(&dir(&[]), &["check", "/dev/zero"]);
    assert!(ran.status == 1 && ran.stderr.contains("larger than"), "{}", ran.stderr);
}

#[test]
fn fmt_lays_out_and_then_has_nothing_to_do() {
    let loose = "kernel   double( X:f32[N] )->f32[N]{X+X}";
    let dir = dir(&[("a.msd", loose.as_bytes()), ("b.msd", GOOD.as_bytes())]);
    let check = msd(&dir, &["fmt", "--check", "a.msd", "b.msd"]);
    assert_eq!((check.status, check.stdout.as_str()), (1, "a.msd\n"));
    assert_eq!(read(&dir, "a.msd"), loose);
    let (status, object) = json(&dir, &["fmt", "--check", "a.msd", "b.msd"], "msd.fmt/1");
    let wanted = serde_json::json!([{"file": "a.msd", "changed": true}, {"file": "b.msd", "changed": false}]);
    assert_eq!((status, &object["files"]), (1, &wanted));

    let ran = msd(&dir, &["fmt", "a.msd", "b.msd"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (0, "a.msd\n"), "{}", ran.stderr);
    assert_eq!(read(&dir, "a.msd"), GOOD);
    assert_eq!(msd(&dir, &["fmt", "--check", "a.msd", "b.msd"]).status, 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "a temporary file was left");
}

#[test]
fn fmt_leaves_a_file_with_faults_alone() {
    let loose = "kernel   double( X:f32[N] )->f32[N]{X+X}";
    let broken = "kernel  k(X: f32[N] -> { X";
    let dir = dir(&[("a.msd", broken.as_bytes()), ("b.msd", loose.as_bytes())]);
    let ran = msd(&dir, &["fmt", "a.msd", "b.msd"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, "b.msd\n"));
    assert_eq!((read(&dir, "a.msd").as_str(), read(&dir, "b.msd").as_str()), (broken, GOOD));
}

#[test]
#[cfg(unix)]
fn fmt_keeps_links_and_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let loose = b"kernel   double( X:f32[N] )->f32[N]{X+X}";
    let dir = dir(&[("a.msd", loose), ("locked.msd", loose)]);
    let path = |name: &str| -> PathBuf { Path::new(dir.path()).join(name) };
    std::os::unix::fs::symlink("a.msd", path("link.msd")).unwrap();
    fs::set_permissions(path("a.msd"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(path("locked.msd"), fs::Permissions::from_mode(0o444)).unwrap();
    assert_eq!(msd(&dir, &["fmt", "link.msd"]).status, 0);
    assert!(fs::symlink_metadata(path("link.msd")).unwrap().is_symlink());
    assert_eq!(read(&dir, "a.msd"), GOOD);
    assert_eq!(fs::metadata(path("a.msd")).unwrap().permissions().mode() & 0o777, 0o640);
    let (status, object) = json(&dir, &["fmt", "locked.msd"], "msd.fmt/1");
    assert_eq!((status, &object["diagnostics"][0]["code"]), (1, &"E0702".into()));
    assert_eq!(read(&dir, "locked.msd").as_bytes(), loose);
}

#[test]
fn usage_errors_name_the_nearest() {
    let dir = dir(&[("a.msd", GOOD.as_bytes())]);
    let cases: &[(&[&str], &str, &str)] = &[
        (&["chekc", "a.msd"], "msd.usage/1", "'check'"),
        (&["fmt", "--chek", "a.msd"], "msd.fmt/1", "'--check'"),
        (&["completions", "bsah"], "msd.completions/1", "'bash'"),
        (&["check"], "msd.check/1", "<FILE>..."),
        (&[], "msd.usage/1", "Usage: msd"),
    ];
    for (args, schema, words) in cases {
        let ran = msd(&dir, args);
        assert!(ran.status == 2 && ran.stdout.is_empty() && ran.stderr.contains(words), "{args:?} {}", ran.stderr);
        let (status, object) = json(&dir, args, schema);
        let diagnostic = &object["diagnostics"][0];
        assert_eq!((status, &diagnostic["code"]), (2, &"E0801".into()));
        let text = format!("{} {}", diagnostic["message"], diagnostic["help"]);
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn help_and_version() {
    let dir = dir(&[]);
    for args in [&["--help"][..], &["--version"], &["help"], &["check", "--help"]] {
        let ran = msd(&dir, args);
        assert!(ran.status == 0 && ran.stderr.is_empty() && ran.stdout.contains("msd"), "{args:?} {}", ran.stderr);
    }
    let (status, object) = json(&dir, &["check", "--help"], "msd.check/1");
    assert!(status == 0 && object["text"].as_str().unwrap().contains("<FILE>"));
}

#[test]
fn completions_for_every_shell() {
    let dir = dir(&[]);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = msd(&dir, &["completions", shell]);
        assert!(ran.status == 0 && ran.stdout.contains("msd") && ran.stdout.contains("check"), "{shell}");
        let (_, object) = json(&dir, &["completions", shell], "msd.completions/1");
        assert_eq!(object["script"].as_str().unwrap(), ran.stdout);
    }
}

#[test]
fn a_reader_that_hangs_up_is_no_fault() {
    let dir = dir(&[]);
    let mut child = command(&dir, &["completions", "zsh"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_reported() {
    let dir = dir(&[("a.msd", GOOD.as_bytes())]);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(&dir, &["check", "a.msd"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard output"));
}

#[test]
#[cfg(unix)]
fn arguments_that_are_no_text() {
    use std::os::unix::ffi::OsStrExt;
    let dir = dir(&[]);
    let name = std::ffi::OsStr::from_bytes(b"\xFF.msd");
    fs::write(dir.path().join(name), GOOD).unwrap();
    let output = command(&dir, &["check", "--json"]).arg(name).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let output = command(&dir, &["--json", "completions"]).arg(name).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["schema"], "msd.completions/1");
}
