//! Tables on a terminal: columns in a fixed order, two spaces apart, no lines.

use crate::say;

/// To which side a column leans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a header.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// No rows yet.
    pub fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// One more row.
    ///
    /// # Panics
    ///
    /// If it has more or fewer cells than there are columns.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        assert_eq!(N, self.columns.len(), "a cell for each column");
        self.rows.push(cells.into());
    }

    /// The table as text, without the last line's end. `bold` marks the header.
    pub fn render(&self, bold: bool) -> String {
        let widths: Vec<usize> = (0..self.columns.len()).map(|at| self.width(at)).collect();
        let header: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        let mut lines = vec![self.line(&widths, &header)];
        if bold {
            lines[0] = format!("\x1b[1m{}\x1b[0m", lines[0]);
        }
        for row in &self.rows {
            let cells: Vec<&str> = row.iter().map(String::as_str).collect();
            lines.push(self.line(&widths, &cells));
        }
        lines.join("\n")
    }

    /// Prints it.
    pub fn print(&self) {
        say::out(&self.render(say::color_out()));
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[column].as_str());
        cells.chain([self.columns[column].0]).map(|cell| cell.chars().count()).max().unwrap_or(0)
    }

    fn line(&self, widths: &[usize], cells: &[&str]) -> String {
        let mut line = String::new();
        for ((cell, width), (_, align)) in cells.iter().zip(widths).zip(&self.columns) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            match align {
                Align::Left => line.push_str(&format!("{cell:<width$}")),
                Align::Right => line.push_str(&format!("{cell:>width$}")),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let mut table =
            Table::new(&[("PID", Align::Left), ("MEMORY", Align::Right), ("NAME", Align::Left)]);
        table.row(["k3x9.0".into(), "17.3 MiB".into(), "π".into()]);
        table.row(["k3x9.10".into(), "0 B".into(), String::new()]);
        expect![[r#"
            PID        MEMORY  NAME
            k3x9.0   17.3 MiB  π
            k3x9.10       0 B"#]]
        .assert_eq(&table.render(false));
    }
}
