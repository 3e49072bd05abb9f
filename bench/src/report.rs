//! What a benchmark found: named rows, as a table for people and as JSON for programs.

use std::fmt::Write as _;

/// One measured number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) value: f64,
    /// `ratio`, `ms`, `bytes`, …; `ratio` is to the rival that the benchmark names.
    pub(crate) unit: &'static str,
}

/// All rows of one run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    bench: &'static str,
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(bench: &'static str) -> Self {
        Self { bench, rows: Vec::new() }
    }

    pub(crate) fn push(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.rows.push(Row { name: name.into(), value, unit });
    }

    pub(crate) fn json(&self) -> String {
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| serde_json::json!({ "name": row.name, "value": rounded(row.value), "unit": row.unit }))
            .collect();
        format!("{}\n", serde_json::json!({ "bench": self.bench, "rows": rows }))
    }

    pub(crate) fn table(&self) -> String {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        let mut table = String::new();
        for Row { name, value, unit } in &self.rows {
            let digits = if value.abs() >= 1000.0 { 0 } else { 3 };
            writeln!(table, "{name:<width$}  {value:>14.digits$}  {unit}")
                .expect("a string takes it all");
        }
        table
    }
}

/// Four digits after the point: more would be noise.
fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}
