//! `msd paper`: its object, and the tables that are cheap at the paper's size. What the others measure
//! is tested at smaller sizes, where the experiments are.

use std::fs;

use serde_json::Value;

use crate::{dir, json, msd};

/// The rows of one table of the object.
fn rows(id: u32) -> Vec<Value> {
    let (status, object) = json(&dir(&[]), &["paper", "--table", &id.to_string()], "msd.paper/1");
    let tables = object["tables"].as_array().unwrap();
    assert_eq!((status, tables.len(), &tables[0]["id"]), (0, 1, &id.into()), "{object}");
    assert!(tables[0]["title"].is_string() && tables[0]["setup"].is_string() && tables[0]["notes"].is_array());
    let rows = tables[0]["rows"].as_array().unwrap().clone();
    for row in &rows {
        assert!(row["name"].is_string() && row["ours"].is_number(), "{row}");
        assert!(["unit", "note"].iter().all(|k| row[k].is_null() || row[k].is_string()), "{row}");
    }
    rows
}

#[test]
fn closed_forms_are_the_papers() {
    for (id, count) in [(6, 5), (7, 4)] {
        let rows = rows(id);
        assert_eq!(rows.len(), count);
        assert!(rows.iter().all(|r| r["paper"].is_number() && r["paper"] == r["ours"]), "{rows:?}");
    }
}

#[test]
fn bits_are_the_papers() {
    for row in rows(13) {
        let (name, ours) = (row["name"].as_str().unwrap(), row["ours"].as_f64().unwrap());
        match row["paper"].as_f64() {
            Some(paper) if ["N(", "U(", "Laplace"].iter().any(|d| name.starts_with(d)) => {
                assert!((ours - paper).abs() <= 0.05, "{row}");
            }
            Some(_) => assert!(row["note"].is_string(), "{row}"),
            // The largest elements of U(-1,1) are what the rule of OCP clips.
            None if name.ends_with("rule") => assert!(ours < 4.5 || !name.starts_with("U(-1,1)"), "{row}"),
            None => assert!(name.ends_with("worst case"), "{row}"),
        }
    }
}

#[test]
fn the_bound_is_reached_and_holds() {
    for row in rows(16) {
        let ours = row["ours"].as_f64().unwrap();
        match row["paper"].as_array() {
            None => assert!(ours > 0.99 && ours <= 1.0, "{row}"),
            Some(range) => {
                let ends = [0, 1].map(|i| range[i].as_f64().unwrap());
                assert!((ends[0]..=ends[1]).contains(&ours) || row["note"].is_string(), "{row}");
            }
        }
    }
}

#[test]
fn charts_and_a_page() {
    let dir = dir(&[]);
    let ran = msd(&dir, &["paper", "--table", "13", "--svg", "docs/paper", "--markdown", "docs/paper.md"]);
    assert!(ran.status == 0 && ran.stderr.is_empty(), "{}", ran.stderr);
    assert!(ran.stdout.contains("table 13") && ran.stdout.contains("6.60 bits"), "{}", ran.stdout);
    let page = fs::read_to_string(dir.path().join("docs/paper.md")).unwrap();
    assert!(page.contains("(paper/bits-by-distribution.svg)") && page.contains("| 6.60 bits |"), "{page}");
    let chart = fs::read_to_string(dir.path().join("docs/paper/bits-by-distribution.svg")).unwrap();
    assert!(chart.starts_with("<svg ") && chart.ends_with("</svg>\n"));
    // Two bars for each distribution, two keys and the background.
    assert_eq!(chart.matches("<rect").count(), 2 * 7 + 2 + 1);
}

#[test]
fn other_tables_are_a_slip() {
    let (status, object) = json(&dir(&[]), &["paper", "--table", "5"], "msd.paper/1");
    let help = object["diagnostics"][0]["help"].as_str().unwrap();
    assert_eq!((status, help), (2, "tables are 1, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16"));
    let ran = msd(&dir(&[("file", b"")]), &["paper", "--table", "6", "--markdown", "file/page.md"]);
    assert!(ran.status == 1 && ran.stdout.is_empty() && ran.stderr.contains("page.md"), "{}", ran.stderr);
}
