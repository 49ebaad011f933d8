//! Tables as Docker prints them: a header, columns padded to the widest cell, three spaces between them.

use std::io::{self, Write};

use treering::error::escape;

/// A table in the making.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

/// Docker's columns are at least this wide.
const MIN: usize = 10;
const GAP: usize = 3;

impl Table {
    /// Returns a table with these column names.
    pub fn new(header: &[&str]) -> Table {
        Table { rows: vec![header.iter().map(|name| name.to_string()).collect()] }
    }

    /// Adds a row. Control characters in it are escaped.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| escape(cell.as_bytes())).collect());
    }

    /// Writes it all.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            let widest = self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            (widest + GAP).max(MIN)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["REPOSITORY", "TAG", "SIZE"]);
        table.row(["app".into(), "a-long-tag-name".into(), "1kB".into()]);
        table.row(["é\n".into(), "v1".into(), "20kB".into()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        let expected = "\
REPOSITORY   TAG               SIZE
app          a-long-tag-name   1kB
é\\n          v1                20kB
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
