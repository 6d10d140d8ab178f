//! The experiments at sizes a debug build can run: what must match the paper, and what differs says why.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

/// Small enough for a debug build.
const SMALL: Effort = Effort { rows: 8, size: 256, threads: 2 };

fn table(id: u32, effort: Effort) -> Table {
    let experiment = EXPERIMENTS.iter().find(|e| e.id == id).unwrap();
    (experiment.run)(effort).unwrap()
}

fn ours(table: &Table, name: &str) -> f64 {
    let rows: Vec<&Row> = table.rows.iter().filter(|r| r.name.contains(name)).collect();
    assert_eq!(rows.len(), 1, "{name} in {:?}", table.rows);
    rows[0].ours
}

#[test]
fn tables_stand_in_their_order_and_explain_what_differs() {
    assert!(EXPERIMENTS.is_sorted_by(|a, b| a.id < b.id));
    for experiment in EXPERIMENTS {
        let table = (experiment.run)(SMALL).unwrap();
        assert_eq!(table.id, experiment.id);
        assert!(table.rows.iter().all(|r| r.ours.is_finite()), "{table:?}");
        for row in &table.rows {
            let is_near = match row.paper {
                Published::Nothing => false,
                // What these sizes shift is within it.
                Published::Value(paper, _) => (row.ours - paper).abs() <= 0.02 * paper,
                Published::Range(low, high, _) => (low..=high).contains(&row.ours),
            };
            assert!(is_near || row.note.is_some() || !table.notes.is_empty(), "table {}: {row:?}", table.id);
        }
        let names = |t: &Table| t.rows.iter().map(|r| r.name.clone()).collect::<std::collections::BTreeSet<_>>().len();
        assert_eq!(names(&table), table.rows.len(), "a name stands twice");
    }
}

#[test]
fn nothing_depends_on_the_number_of_threads() {
    let small = |threads| Effort { rows: 4, size: 64, threads };
    for id in [1, 9, 10, 12, 13, 14, 16] {
        let (one, three) = (table(id, small(1)), table(id, small(3)));
        assert_eq!(format!("{one:?}"), format!("{three:?}"));
    }
}

#[test]
fn closed_forms_are_the_papers() {
    for id in [6, 7] {
        for row in table(id, SMALL).rows {
            assert!(matches!(row.paper, Published::Value(paper, _) if paper == row.ours), "{row:?}");
        }
    }
}

/// What the paper's baseline is: both operands truncated. 0.60 % at every size, and a good third of it
/// to nearest; two digits have a 254th of the error of one. The norm of 2048 outputs and that of their
/// errors are each off by 1/64 of themselves in one standard deviation; 4 are allowed.
#[test]
fn products_with_an_integer_weight() {
    let table = table(9, SMALL);
    let exactly = |name: &str| table.rows.iter().find(|r| r.name == name).unwrap().ours;
    let near = |ours: f64, wanted: f64| (ours / wanted - 1.0).abs() < 4.0 * std::f64::consts::SQRT_2 / 64.0;
    let (truncated, nearest) = (exactly("dequant, BF16 truncated"), exactly("dequant, BF16 to nearest"));
    assert!(near(truncated, 0.61) && near(nearest, 0.233), "{truncated} {nearest}");
    let (one, two) = (exactly("MSD K=1 int8x1"), exactly("MSD K=2 int8x2-greedy"));
    assert!((0.5..1.0).contains(&one) && near(one / two, 254.0), "{one} {two}");
    assert!((ours(&table, "worst case") - 15.98).abs() < 0.01);
}

/// Within 0.05 bit for N, U and Laplace, as the paper's 2 decimals and a sample of this size allow.
#[test]
fn bits_are_the_papers() {
    let table = table(13, SMALL);
    for row in table.rows.iter().filter(|r| ["N(", "U(", "La"].iter().any(|start| r.name.starts_with(start))) {
        let is_near = matches!(row.paper, Published::Value(paper, _) if (row.ours - paper).abs() <= 0.05);
        assert!(is_near || row.name.ends_with("rule"), "{row:?}");
    }
    let configurations = self::table(1, SMALL);
    for row in configurations.rows.iter().filter(|r| r.name.ends_with("(L2)")) {
        assert!(matches!(row.paper, Published::Value(paper, _) if (row.ours - paper).abs() <= 0.1), "{row:?}");
    }
}

#[test]
fn the_bound_holds() {
    let table = table(16, SMALL);
    for row in table.rows.iter().filter(|r| r.name.contains("largest")) {
        assert!(row.ours <= 1.0 && row.ours > 0.99, "{row:?}");
    }
}

#[test]
fn attention_in_digits_is_nearer_than_in_bf16() {
    let table = table(12, SMALL);
    for rounding in ["BF16 truncated", "BF16 to nearest"] {
        let [dequant, flash, msd] =
            ["dequant, ", "flash, ", "flash + MSD, "].map(|name| ours(&table, &format!("{name}{rounding}")));
        assert!(msd < flash && (flash / dequant - 1.0).abs() < 0.2, "{dequant} {flash} {msd}");
    }
    assert!(ours(&table, "int8x2-radix") < 0.05);
}
