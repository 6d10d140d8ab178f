//! Tables for people: aligned columns without rules, numbers to the right. Owns the form alone;
//! what stands in the cells, units included, is the command's.

use comfy_table::{CellAlignment, Table, presets};

/// A column.
pub(crate) struct Column {
    /// Its head.
    pub(crate) head: &'static str,
    /// Whether it holds numbers.
    pub(crate) numeric: bool,
}

/// The rows under their heads, each line ended.
pub(crate) fn table(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns.iter().map(|c| c.head));
    for row in rows {
        table.add_row(row);
    }
    for (column, formatted) in columns.iter().zip(table.column_iter_mut()) {
        formatted.set_padding((0, 2));
        if column.numeric {
            formatted.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right() {
        let columns = [Column { head: "name", numeric: false }, Column { head: "ms", numeric: true }];
        let rows = [vec!["a".to_owned(), "1.5".to_owned()], vec!["longer".to_owned(), "100.0".to_owned()]];
        assert_eq!(table(&columns, rows), "name       ms\na         1.5\nlonger  100.0\n");
    }
}
