//! The paper's tables as people and programs read them: text, a Markdown page, JSON. Owns the form of
//! figures and footnotes; what they are is [`crate::paper`].

use std::fmt::Write;

use serde::Serialize;

use super::table::{Column, table};
use crate::paper::{Published, Row, Table};

/// A table of `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct JsonTable {
    /// Its number in the paper.
    pub(crate) id: u32,
    /// What is compared.
    pub(crate) title: &'static str,
    /// What was drawn and how much of it was compared.
    pub(crate) setup: String,
    /// What holds for all rows.
    pub(crate) notes: Vec<&'static str>,
    /// The figures.
    pub(crate) rows: Vec<JsonRow>,
}

/// A row of `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct JsonRow {
    /// What is measured.
    pub(crate) name: String,
    /// The paper's figure, or the two ends of its figures; null where it has none.
    pub(crate) paper: JsonPublished,
    /// Ours, rounded to what is worth printing.
    pub(crate) ours: f64,
    /// Unit of both: `%`, `x`, `bits`; null for pure numbers.
    pub(crate) unit: Option<&'static str>,
    /// Why they differ, or what ours adds; null where there is nothing to say.
    pub(crate) note: Option<&'static str>,
}

/// A figure of the paper.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum JsonPublished {
    /// Of one value.
    Value(Option<f64>),
    /// From here to there.
    Range([f64; 2]),
}

/// The tables of `--json`.
pub(crate) fn json(tables: &[Table]) -> Vec<JsonTable> {
    let row = |row: &Row| JsonRow {
        name: row.name.clone(),
        paper: match row.paper {
            Published::Nothing => JsonPublished::Value(None),
            Published::Value(value, _) => JsonPublished::Value(Some(value)),
            Published::Range(low, high, _) => JsonPublished::Range([low, high]),
        },
        ours: row.ours,
        unit: Some(row.unit).filter(|u| !u.is_empty()),
        note: row.note,
    };
    let all = tables.iter().map(|t| JsonTable {
        id: t.id,
        title: t.title,
        setup: t.setup.clone(),
        notes: t.notes.clone(),
        rows: t.rows.iter().map(row).collect(),
    });
    all.collect()
}

/// The tables for a terminal, footnotes below each.
pub(crate) fn text(tables: &[Table]) -> String {
    let mut text = String::new();
    for (i, each) in tables.iter().enumerate() {
        let columns = [
            Column { head: "", numeric: false },
            Column { head: "paper", numeric: true },
            Column { head: "ours", numeric: true },
            Column { head: "", numeric: false },
        ];
        let footnotes = Footnotes::of(each);
        let _ = write!(text, "{}table {}: {}\n{}\n\n", if i > 0 { "\n" } else { "" }, each.id, each.title, each.setup);
        text += &table(&columns, each.rows.iter().map(|row| footnotes.cells(row).into()));
        text += "\n";
        footnotes.lines(each).for_each(|line| text += &wrapped(&line));
    }
    text
}

/// A line in lines of at most [`WIDTH`] columns, where words allow; what follows the first is indented.
fn wrapped(line: &str) -> String {
    let (mut text, mut column) = (String::new(), 0);
    for word in line.split(' ') {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > WIDTH {
            text += "\n    ";
            column = 4;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text += word;
        column += width;
    }
    text + "\n"
}

const WIDTH: usize = 100;

/// The tables as a page, with their charts; the one of the documentation is made so.
pub(crate) fn markdown(tables: &[Table]) -> String {
    let mut page = String::from(
        "# The paper's tables\n\nWritten by `msd paper --markdown docs/paper.md --svg docs/paper`; seeds are fixed, \
         and every figure beside the paper's is measured by that run.\n",
    );
    for table in tables {
        let footnotes = Footnotes::of(table);
        let _ = write!(page, "\n## Table {}: {}\n\n{}.\n\n", table.id, table.title, table.setup);
        page += "| | paper | ours | |\n|---|---:|---:|---|\n";
        for row in &table.rows {
            let [name, paper, ours, note] = footnotes.cells(row);
            let _ = writeln!(page, "| {name} | {paper} | {ours} | {note} |");
        }
        page += "\n";
        footnotes.lines(table).for_each(|line| page += &format!("* {line}\n"));
        for figure in &table.figures {
            let _ = write!(page, "\n![{}](paper/{}.svg)\n", figure.chart.title, figure.name);
        }
    }
    page
}

/// The notes of a table's rows, each once, in the order of the rows.
struct Footnotes(Vec<&'static str>);

impl Footnotes {
    fn of(table: &Table) -> Footnotes {
        let mut notes = Vec::new();
        for note in table.rows.iter().filter_map(|r| r.note) {
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        Footnotes(notes)
    }

    /// Name, the paper's figure, ours, and the number of the note.
    fn cells(&self, row: &Row) -> [String; 4] {
        let unit = if row.unit.is_empty() { String::new() } else { format!(" {}", row.unit) };
        let paper = match row.paper {
            Published::Nothing => "-".to_owned(),
            Published::Value(value, decimals) => format!("{value:.decimals$}{unit}"),
            Published::Range(low, high, decimals) => format!("{low:.decimals$} to {high:.decimals$}{unit}"),
        };
        let note = row.note.and_then(|note| self.0.iter().position(|n| *n == note));
        let note = note.map_or_else(String::new, |i| format!("[{}]", i + 1));
        [row.name.clone(), paper, format!("{:.*}{unit}", row.decimals, row.ours), note]
    }

    /// What holds for all rows, then the notes by their numbers.
    fn lines(&self, table: &Table) -> impl Iterator<Item = String> {
        let own = table.notes.iter().map(|note| (*note).to_owned());
        let numbered = self.0.iter().enumerate().map(|(i, note)| format!("[{}] {note}", i + 1));
        own.chain(numbered).collect::<Vec<_>>().into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_indented_below_the_first() {
        let line = vec!["word"; 30].join(" ");
        let wrapped = wrapped(&line);
        assert!(wrapped.lines().all(|l| l.len() <= WIDTH) && wrapped.ends_with("word\n"));
        assert_eq!(wrapped.lines().skip(1).map(|l| l.find('w')).collect::<Vec<_>>(), [Some(4)]);
        assert_eq!(wrapped.split_whitespace().count(), 30);
    }

    #[test]
    fn a_note_is_numbered_once() {
        let row = |name: &str, note| Row {
            name: name.into(),
            unit: "%",
            paper: Published::Value(0.6, 2),
            ours: 0.61,
            decimals: 3,
            note,
        };
        let rows = vec![row("a", Some("first")), row("b", None), row("c", Some("second")), row("d", Some("first"))];
        let table = Table { id: 9, title: "t", setup: "s".into(), notes: vec!["all"], rows, figures: Vec::new() };
        let notes = Footnotes::of(&table);
        assert_eq!(notes.cells(&table.rows[3]), ["d", "0.60 %", "0.610 %", "[1]"]);
        assert_eq!(notes.lines(&table).collect::<Vec<_>>(), ["all", "[1] first", "[2] second"]);
        assert_eq!(json(&[table])[0].rows[1].note, None);
    }
}
