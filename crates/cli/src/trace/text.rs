//! The diagram on a terminal: a column for each node, a line for each row.
//!
//! A node's line is double where a process of the group is; a process's number stands on it where it comes.

use api::EventKind;

use super::diagram::{Diagram, Row, Shape};
use crate::say;

/// How wide a column is.
const WIDTH: usize = 16;

/// How wide the times are.
const MARGIN: usize = 12;

/// What has been shown of a diagram that grows.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// How many rows, those left out included.
    rows: usize,
    lanes: Vec<String>,
}

impl Shown {
    /// Prints the rows that are new, under the names of the columns if these are.
    pub(crate) fn show(&mut self, diagram: &Diagram) {
        let lines = render(diagram, self.rows);
        if self.lanes != diagram.lanes {
            self.lanes.clone_from(&diagram.lanes);
            say::out(&header(diagram));
        }
        self.rows = diagram.left_out + diagram.rows.len();
        for line in lines {
            say::out(&line);
        }
    }
}

fn header(diagram: &Diagram) -> String {
    let mut line = " ".repeat(MARGIN);
    for lane in &diagram.lanes {
        line += &format!("{:^WIDTH$}", lane.chars().take(WIDTH - 2).collect::<String>());
    }
    line.trim_end().to_owned()
}

/// The lines of all rows but the first ones.
fn render(diagram: &Diagram, skip: usize) -> Vec<String> {
    let skip = skip.saturating_sub(diagram.left_out);
    let rows = diagram.rows.iter().enumerate().skip(skip);
    // What is said is drawn where it is heard.
    let rows = rows.filter(|(_, row)| !matches!(row.shape, Shape::Said { .. }));
    rows.map(|(at, row)| line(diagram, at, row)).collect()
}

fn line(diagram: &Diagram, at: usize, row: &Row) -> String {
    let mut cells: Vec<char> = vec![' '; diagram.lanes.len() * WIDTH];
    for lane in 0..diagram.lanes.len() {
        let here = |stay: &&super::diagram::Stay| {
            stay.lane == lane && stay.from <= at && stay.to.is_none_or(|to| at <= to)
        };
        let several = diagram.stays.iter().filter(here).count();
        cells[middle(lane)] = if several == 0 { '│' } else { '║' };
    }
    match row.shape {
        Shape::At(lane) => {
            cells[middle(lane)] = mark(row);
            let begins = diagram
                .stays
                .iter()
                .find(|stay| stay.lane == lane && stay.from == at && Some(stay.pid) == row.pid);
            if let Some(stay) = begins {
                for (offset, char) in format!("[{}]", stay.pid.index).chars().enumerate() {
                    cells[(middle(lane) + 1 + offset).min(diagram.lanes.len() * WIDTH - 1)] = char;
                }
            }
        }
        Shape::Arrow { from, to, .. } => arrow(&mut cells, from, to, row, false),
        Shape::Lost { from, to } => arrow(&mut cells, from, to, row, true),
        Shape::Said { .. } => (),
    }
    let cells: String = cells.into_iter().collect();
    let ms = format!("{}.{:03}", row.at_us / 1_000, row.at_us % 1_000);
    let lost = if matches!(row.shape, Shape::Lost { .. }) { " (not heard)" } else { "" };
    let what = match row.shape {
        Shape::At(_) => &row.text,
        _ => &row.label,
    };
    format!("{ms:>9}   {cells} {what}{lost}").trim_end().to_owned()
}

fn middle(lane: usize) -> usize {
    lane * WIDTH + WIDTH / 2 - 1
}

/// Letters go on whole lines, words about them on broken ones.
fn arrow(cells: &mut [char], from: usize, to: usize, row: &Row, lost: bool) {
    let (start, end) = (middle(from), middle(to));
    let (low, high) = (start.min(end), start.max(end));
    let dash = match row.kind {
        EventKind::Hop | EventKind::Move => '─',
        _ => '╌',
    };
    for cell in &mut cells[low + 1..high] {
        *cell = dash;
    }
    let right = start < end;
    cells[start] = if right { '├' } else { '┤' };
    let tip = if right { end - 1 } else { end + 1 };
    cells[tip] = match (lost, right) {
        (true, _) => '✕',
        (false, true) => '▶',
        (false, false) => '◀',
    };
}

fn mark(row: &Row) -> char {
    match row.kind {
        EventKind::Send => '○',
        EventKind::Deliver => '●',
        EventKind::Hold => '◌',
        EventKind::Step | EventKind::Life => '◆',
        EventKind::Decide => '◇',
        _ => '·',
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::diagram::{Detail, draw, tests::story};
    use super::super::order::order;
    use super::*;

    #[test]
    fn a_story_is_drawn() {
        let diagram = draw(&order(story()), Detail { all: false, rows_max: 100 });
        let mut lines = vec![header(&diagram)];
        lines.extend(render(&diagram, 0));
        // The bar keeps the blanks that lines begin with.
        let text: String = lines.iter().map(|line| format!("|{line}\n")).collect();
        expect![[r#"
            |                 heron           osprey          curlew         registry
            |    0.000          ◆[0]            │               │               │         begins(k3x9.0)
            |    0.250          ◆[1]            │               │               │         begins(k3x9.1)
            |    0.750          ├──────────────▶│               │               │         prepare
            |    1.000          ◆               │               │               │         frozen k3x9.1#1
            |    1.250          ║               ├──────────────────────────────▶│         commit
            |    1.500          ║               │◀──────────────────────────────┤         yes
            |    1.750          ║               ◆[1]            │               │         committed k3x9.1#1
            |    2.000          ○               ║               │               │         sent(k3x9.0)
            |    2.500          ├──────────────────────────────▶│               │         .0→.1 #0
            |    3.000          ║◀╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┤               │         error: .1 is not here
            |    3.250          ├╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌▶│         where is .1?
            |    3.500          ║◀╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┤         there
            |    4.000          ├──────────────▶║               │               │         .0→.1 #0
            |    4.250          ║               ●               │               │         delivered(k3x9.1)
        "#]].assert_eq(&text);
    }

    #[test]
    fn what_was_shown_is_not_shown_again() {
        let diagram = draw(&order(story()), Detail { all: false, rows_max: 100 });
        let whole = render(&diagram, 0).len();
        assert_eq!(render(&diagram, diagram.rows.len()).len(), 0);
        assert_eq!(render(&diagram, diagram.rows.len() - 1).len(), 1);
        // Though the first rows are no longer drawn.
        let last = draw(&order(story()), Detail { all: false, rows_max: 5 });
        assert!(render(&last, diagram.rows.len() - 2).len() == 2 && whole > 5);
    }
}
