//! The diagram as a picture: time runs down, a lane for each node, a bar of its own colour for each process where it is.
//!
//! Letters go from bar to bar in their sender's colour; what nodes tell each other about them has a colour for each kind. A move is
//! a band from the bar that ends to the bar that begins.

use std::fmt::Write as _;

use api::{EventKind, Pid};

use super::diagram::{Diagram, REGISTRY, Row, Shape, Stay};

const LANE: f64 = 210.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 40.0;
const TOP: f64 = 128.0;
const ROW: f64 = 21.0;
const BAR: f64 = 9.0;

/// Colours of processes that can be told apart, by most who see colours differently, too.
const COLORS: [&str; 8] =
    ["#2563eb", "#ea7317", "#0d9488", "#a21caf", "#b45309", "#0284c7", "#4d7c0f", "#be123c"];

const INK: &str = "#1e293b";
const FAINT: &str = "#94a3b8";
const MOVE: &str = "#64748b";
const HINT: &str = "#b7791f";
const WRONG: &str = "#dc2626";
const ASKED: &str = "#7c3aed";

/// Draws it.
pub(crate) fn render(group: &str, diagram: &Diagram) -> String {
    let mut canvas = Canvas { diagram, out: String::new() };
    canvas.begin(group);
    canvas.lanes();
    canvas.travels();
    canvas.bars();
    for at in 0..diagram.rows.len() {
        canvas.row(at);
    }
    canvas.out.push_str("</svg>\n");
    canvas.out
}

struct Canvas<'a> {
    diagram: &'a Diagram,
    out: String,
}

/// How a line is drawn.
#[derive(Clone, Copy)]
struct Pen {
    color: &'static str,
    width: f64,
    dashes: &'static str,
}

macro_rules! put {
    ($canvas:expr, $($text:tt)*) => {
        writeln!($canvas.out, $($text)*).expect("a string takes all")
    };
}

impl Canvas<'_> {
    fn width(&self) -> f64 {
        // Room for the legend.
        (LEFT + LANE * self.diagram.lanes.len() as f64 + RIGHT).max(760.0)
    }

    fn y(&self, row: usize) -> f64 {
        TOP + ROW * (row as f64 + 1.0)
    }

    fn bottom(&self) -> f64 {
        self.y(self.diagram.rows.len())
    }

    fn center(&self, lane: usize) -> f64 {
        LEFT + LANE * (lane as f64 + 0.5)
    }

    fn place(&self, pid: Pid) -> usize {
        self.diagram.processes.iter().position(|process| *process == pid).unwrap_or(0)
    }

    fn color(&self, pid: Pid) -> &'static str {
        COLORS[self.place(pid) % COLORS.len()]
    }

    /// Where a process's bar is in a lane.
    fn bar(&self, lane: usize, pid: Pid) -> f64 {
        let count = self.diagram.processes.len() as f64;
        let apart = (LANE * 0.6 / count).min(26.0);
        self.center(lane) + (self.place(pid) as f64 - (count - 1.0) / 2.0) * apart
    }

    /// Where a message ends in a lane: at the process if it is there, else at the node.
    fn end(&self, lane: usize, pid: Option<Pid>, row: usize) -> f64 {
        let is = |stay: &Stay, pid| {
            let there = stay.from <= row && stay.to.is_none_or(|to| row <= to);
            (stay.pid, stay.lane) == (pid, lane) && there
        };
        match pid.filter(|pid| self.diagram.stays.iter().any(|stay| is(stay, *pid))) {
            Some(pid) => self.bar(lane, pid),
            None => self.center(lane),
        }
    }

    fn begin(&mut self, group: &str) {
        let (width, height) = (self.width(), self.bottom() + 56.0);
        put!(
            self,
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="Inter, 'DejaVu Sans', Helvetica, Arial, sans-serif" font-size="11">"#
        );
        put!(self, r##"<rect width="100%" height="100%" fill="#ffffff"/>"##);
        put!(self, r#"<defs>"#);
        for color in COLORS.iter().chain([&MOVE, &HINT, &WRONG, &ASKED]) {
            let id = &color[1..];
            put!(
                self,
                r#"<marker id="a{id}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto-start-reverse"><path d="M0 0.8 L10 5 L0 9.2 L2.6 5 z" fill="{color}"/></marker>"#
            );
        }
        put!(self, "</defs>");
        put!(
            self,
            r#"<text x="24" y="34" font-size="18" font-weight="600" fill="{INK}">Group {}</text>"#,
            escape(group)
        );
        let rows = self.diagram.rows.len();
        let span = self.diagram.rows.last().map_or(0, |row| row.at_us);
        let left_out = match self.diagram.left_out {
            0 => String::new(),
            rows => format!(", {rows} earlier ones are left out"),
        };
        put!(
            self,
            r#"<text x="24" y="52" fill="{FAINT}">{rows} events in {} ms{left_out}; what is caused stands below its cause</text>"#,
            millis(span)
        );
        self.legend();
    }

    fn legend(&mut self) {
        let mut x = 24.0;
        for pid in self.diagram.processes.clone().into_iter().take(COLORS.len()) {
            let color = self.color(pid);
            let name = format!(".{}", pid.index);
            put!(
                self,
                r#"<rect x="{x}" y="63" width="{BAR}" height="13" rx="3" fill="{color}"/><text x="{}" y="74" fill="{INK}">{name}</text>"#,
                x + 14.0
            );
            x += 24.0 + 7.0 * name.len() as f64;
        }
        x = (x + 14.0).max(150.0);
        let kinds = [
            ("letter", Pen { color: INK, width: 1.8, dashes: "" }),
            ("move", Pen { color: MOVE, width: 1.2, dashes: "" }),
            ("cancel, update", Pen { color: HINT, width: 1.4, dashes: "6 3" }),
            ("error, forwarder, held", Pen { color: WRONG, width: 1.4, dashes: "6 3" }),
            ("registry", Pen { color: ASKED, width: 1.4, dashes: "2 3" }),
        ];
        for (name, Pen { color, width, dashes }) in kinds {
            put!(
                self,
                r#"<line x1="{x}" y1="70" x2="{}" y2="70" stroke="{color}" stroke-width="{width}" stroke-dasharray="{dashes}"/><text x="{}" y="74" fill="{INK}">{name}</text>"#,
                x + 26.0,
                x + 32.0
            );
            x += 48.0 + 6.2 * name.len() as f64;
        }
    }

    fn lanes(&mut self) {
        let bottom = self.bottom();
        for (lane, name) in self.diagram.lanes.iter().enumerate() {
            let x = self.center(lane);
            let registry = name == REGISTRY;
            if lane % 2 == 0 {
                put!(
                    self,
                    r##"<rect x="{}" y="{TOP}" width="{LANE}" height="{}" fill="#f8fafc"/>"##,
                    x - LANE / 2.0,
                    bottom - TOP
                );
            }
            put!(
                self,
                r##"<line x1="{x}" y1="{TOP}" x2="{x}" y2="{bottom}" stroke="#cbd5e1" stroke-width="1.2" stroke-dasharray="3 4"/>"##
            );
            let (fill, ink) = if registry { ("#ede9fe", ASKED) } else { ("#e2e8f0", INK) };
            for y in [TOP - 34.0, bottom + 8.0] {
                put!(
                    self,
                    r#"<rect x="{}" y="{y}" width="128" height="26" rx="{}" fill="{fill}"/><text x="{x}" y="{}" text-anchor="middle" font-size="13" font-weight="600" fill="{ink}">{}</text>"#,
                    x - 64.0,
                    if registry { 13 } else { 5 },
                    y + 18.0,
                    escape(name)
                );
            }
        }
    }

    /// Moves: from where a process was frozen to where it goes on.
    fn travels(&mut self) {
        for stay in &self.diagram.stays {
            let before = stay.before.and_then(|before| self.diagram.stays.get(before));
            let Some(before) = before.filter(|before| before.lane != stay.lane) else { continue };
            // What was over before the first row is not drawn.
            let Some(left) = before.to.filter(|left| *left > 0) else { continue };
            let (x1, y1) = (self.bar(before.lane, stay.pid), self.y(left));
            let (x2, y2) = (self.bar(stay.lane, stay.pid), self.y(stay.from));
            let (color, middle) = (self.color(stay.pid), f64::midpoint(y1, y2));
            put!(
                self,
                r#"<path d="M{x1} {y1} C{x1} {middle} {x2} {middle} {x2} {y2}" fill="none" stroke="{color}" stroke-width="{BAR}" stroke-linecap="round" opacity="0.22"/>"#
            );
        }
    }

    fn bars(&mut self) {
        for stay in self.diagram.stays.iter().filter(|stay| stay.to != Some(0)) {
            let x = self.bar(stay.lane, stay.pid);
            let (from, to) = (self.y(stay.from), stay.to.map_or(self.bottom(), |to| self.y(to)));
            let color = self.color(stay.pid);
            put!(
                self,
                r#"<rect x="{}" y="{from}" width="{BAR}" height="{}" rx="3" fill="{color}" opacity="0.85"/>"#,
                x - BAR / 2.0,
                (to - from).max(4.0)
            );
            put!(
                self,
                r#"<text x="{x}" y="{}" text-anchor="middle" font-weight="600" fill="{color}">.{}</text>"#,
                from - 4.0,
                stay.pid.index
            );
        }
    }

    fn row(&mut self, at: usize) {
        let row = &self.diagram.rows[at];
        let y = self.y(at);
        let before = at.checked_sub(1).map(|at| self.diagram.rows[at].at_us);
        // Rows of one instant have one time.
        if before.is_none_or(|before| before + 20 < row.at_us) && row_is_drawn(row) {
            put!(
                self,
                r#"<text x="{}" y="{}" text-anchor="end" font-size="9.5" fill="{FAINT}">{}</text>"#,
                LEFT - 14.0,
                y + 3.0,
                millis(row.at_us)
            );
        }
        match row.shape {
            Shape::Said { .. } => (),
            Shape::At(lane) => self.spot(row, lane, at),
            Shape::Arrow { from, to, said } => {
                self.arrow(row, (from, said.unwrap_or(at)), (to, at));
            }
            Shape::Lost { from, to } => self.lost(row, from, to, at),
        }
    }

    /// Something at one node.
    fn spot(&mut self, row: &Row, lane: usize, at: usize) {
        let (x, y) = (self.end(lane, row.pid, at), self.y(at));
        let color = row.pid.map_or(INK, |pid| self.color(pid));
        let label = match row.kind {
            EventKind::Send => {
                put!(
                    self,
                    r##"<circle cx="{x}" cy="{y}" r="3.4" fill="#ffffff" stroke="{color}" stroke-width="1.8"/>"##
                );
                String::new()
            }
            EventKind::Deliver => {
                let sender = row.other.map_or(INK, |pid| self.color(pid));
                put!(
                    self,
                    r##"<circle cx="{x}" cy="{y}" r="4.2" fill="{sender}" stroke="#ffffff" stroke-width="1.4"/>"##
                );
                row.label.clone()
            }
            EventKind::Step | EventKind::Life => {
                put!(
                    self,
                    r##"<path d="M{x} {} l4.6 4.6 l-4.6 4.6 l-4.6 -4.6 z" fill="#ffffff" stroke="{color}" stroke-width="1.6"/>"##,
                    y - 4.6
                );
                row.word.clone()
            }
            EventKind::Decide => {
                put!(
                    self,
                    r##"<circle cx="{x}" cy="{y}" r="4.4" fill="#fef3c7" stroke="{HINT}" stroke-width="1.6"/>"##
                );
                row.text.split(':').next().unwrap_or_default().to_owned()
            }
            EventKind::Hold => {
                put!(
                    self,
                    r##"<rect x="{}" y="{}" width="8" height="8" rx="1.5" fill="#ffffff" stroke="{WRONG}" stroke-width="1.5"/>"##,
                    x - 4.0,
                    y - 4.0
                );
                row.word.clone()
            }
            _ => {
                put!(self, r##"<circle cx="{x}" cy="{y}" r="2.4" fill="{FAINT}"/>"##);
                row.label.clone()
            }
        };
        let ink = match row.kind {
            EventKind::Hold => WRONG,
            EventKind::Decide => HINT,
            _ => MOVE,
        };
        self.words(x + 10.0, y + 3.5, "start", ink, &label);
    }

    fn pen(&self, row: &Row) -> Pen {
        let color = row.pid.map_or(MOVE, |pid| self.color(pid));
        match row.kind {
            EventKind::Hop => Pen { color, width: 1.8, dashes: "" },
            EventKind::Hint => Pen { color: HINT, width: 1.4, dashes: "6 3" },
            EventKind::Redirect | EventKind::Hold | EventKind::Monitor => {
                Pen { color: WRONG, width: 1.4, dashes: "6 3" }
            }
            EventKind::Lookup => Pen { color: ASKED, width: 1.4, dashes: "2 3" },
            EventKind::Move if self.with_registry(row) => {
                Pen { color: ASKED, width: 1.4, dashes: "2 3" }
            }
            _ => Pen { color: MOVE, width: 1.2, dashes: "" },
        }
    }

    fn with_registry(&self, row: &Row) -> bool {
        let is = |lane: usize| self.diagram.lanes.get(lane).is_some_and(|lane| lane == REGISTRY);
        matches!(row.shape, Shape::Arrow { from, to, .. } if is(from) || is(to))
    }

    /// Whose bars the two ends of a message are at, if they are there.
    fn ends(row: &Row) -> (Option<Pid>, Option<Pid>) {
        match row.kind {
            EventKind::Hop | EventKind::Hint | EventKind::Ack => (row.pid, row.other),
            EventKind::Redirect | EventKind::Hold | EventKind::Monitor => (None, row.other),
            _ => (None, None),
        }
    }

    fn arrow(&mut self, row: &Row, (from, said): (usize, usize), (to, heard): (usize, usize)) {
        let Pen { color, width, dashes } = self.pen(row);
        let (sender, receiver) = Self::ends(row);
        // Two rows that follow each other are one: such an arrow is level.
        let said = if heard - said.min(heard) <= 1 { heard } else { said };
        let (x1, y1) = (self.end(from, sender, said), self.y(said));
        let (x2, y2) = (self.end(to, receiver, heard), self.y(heard));
        let x2 = x2 - (x2 - x1).signum() * (if receiver.is_some() { BAR / 2.0 } else { 1.0 });
        put!(
            self,
            r#"<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{color}" stroke-width="{width}" stroke-dasharray="{dashes}" marker-end="url(#a{})"/>"#,
            &color[1..]
        );
        self.upon((x1, y1), (x2, y2), color, &row.label.clone());
    }

    fn lost(&mut self, row: &Row, from: usize, to: usize, at: usize) {
        let Pen { color, width, .. } = self.pen(row);
        let (x1, y) = (self.end(from, Self::ends(row).0, at), self.y(at));
        let x2 = x1 + (self.center(to) - x1) * 0.6;
        put!(
            self,
            r#"<line x1="{x1}" y1="{y}" x2="{x2}" y2="{y}" stroke="{color}" stroke-width="{width}" opacity="0.6"/><path d="M{} {} l8 8 m0 -8 l-8 8" stroke="{WRONG}" stroke-width="1.8"/>"#,
            x2 - 4.0,
            y - 4.0
        );
        self.upon((x1, y), (x2, y), color, &row.label.clone());
    }

    /// Words on a line, at its middle and in its direction.
    fn upon(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), ink: &str, words: &str) {
        let (x, y) = (f64::midpoint(x1, x2), f64::midpoint(y1, y2));
        let (run, rise) = if x1 < x2 { (x2 - x1, y2 - y1) } else { (x1 - x2, y1 - y2) };
        let angle = rise.atan2(run).to_degrees();
        let turn = format!(r#" transform="rotate({angle:.2} {x} {y})""#);
        let turn = if angle.abs() < 0.01 { String::new() } else { turn };
        put!(
            self,
            r##"<text x="{x}" y="{}"{turn} text-anchor="middle" font-size="10.5" fill="{ink}" stroke="#ffffff" stroke-width="3" paint-order="stroke" stroke-linejoin="round">{}</text>"##,
            y - 3.5,
            escape(words)
        );
    }

    fn words(&mut self, x: f64, y: f64, anchor: &str, ink: &str, words: &str) {
        if !words.is_empty() {
            put!(
                self,
                r##"<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="10" fill="{ink}" stroke="#ffffff" stroke-width="3" paint-order="stroke">{}</text>"##,
                escape(words)
            );
        }
    }
}

/// What is said is drawn with where it is heard.
fn row_is_drawn(row: &Row) -> bool {
    !matches!(row.shape, Shape::Said { .. })
}

fn millis(us: u64) -> String {
    format!("{}.{:02}", us / 1_000, us % 1_000 / 10)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::diagram::{Detail, draw, tests::story};
    use super::super::order::order;
    use super::*;

    #[test]
    fn a_story_is_a_picture() {
        let diagram = draw(&order(story()), Detail { all: false, rows_max: 100 });
        let picture = render("a<b", &diagram);
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
        assert!(picture.contains("Group a&lt;b"));
        // Two processes, one of them at two nodes, joined by one band.
        assert_eq!(picture.matches(r##"rx="3" fill="#2563eb" opacity"##).count(), 1);
        assert_eq!(picture.matches(r##"rx="3" fill="#ea7317" opacity"##).count(), 2);
        assert_eq!(picture.matches(r#"<path d="M"#).count(), 1 + 4 + 12, "a band, steps, tips");
        for words in ["error: .1 is not here", "where is .1?", "commit", ".0→.1 #0"] {
            assert!(picture.contains(words), "{words}");
        }
    }
}
