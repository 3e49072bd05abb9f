//! The chart: one panel for each number of nodes and correspondents, cost by ratio, counted as lines and predicted as
//! rings. Plain SVG, so that any browser shows it.

use std::fmt::Write as _;

/// What one point of the sweep has shown.
pub(crate) struct Point {
    pub(crate) nodes: usize,
    pub(crate) correspondents: u32,
    pub(crate) ratio: String,
    /// Name, counted, predicted.
    pub(crate) costs: Vec<(&'static str, f64, Option<f64>)>,
}

const PANEL: (f64, f64) = (300.0, 210.0);
const MARGIN: (f64, f64) = (44.0, 34.0);
const LEGEND: f64 = 30.0;

/// Costs are drawn on a logarithmic scale from here to there.
const COSTS: (f64, f64) = (0.005, 100.0);

fn colour(name: &str) -> &'static str {
    match name {
        "directory" => "#4477aa",
        "update" => "#ee6677",
        "forwarding" => "#228833",
        "mailbox" => "#ccaa22",
        "mailbox-pull" => "#aa3377",
        _ => "#222222",
    }
}

/// Draws all panels, a row for each number of nodes.
pub(crate) fn draw(points: &[Point]) -> String {
    let mut panels: Vec<Vec<&Point>> = Vec::new();
    for point in points {
        let same = |panel: &&mut Vec<&Point>| {
            panel.first().is_some_and(|first| {
                (first.nodes, first.correspondents) == (point.nodes, point.correspondents)
            })
        };
        match panels.iter_mut().find(same) {
            Some(panel) => panel.push(point),
            None => panels.push(vec![point]),
        }
    }
    let columns = 3;
    let rows = panels.len().div_ceil(columns);
    let width = columns as f64 * PANEL.0;
    let height = rows as f64 * PANEL.1 + LEGEND;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"9\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    legend(&mut svg, points);
    for (number, panel) in panels.iter().enumerate() {
        let x = (number % columns) as f64 * PANEL.0;
        let y = (number / columns) as f64 * PANEL.1 + LEGEND;
        let _ = writeln!(svg, "<g transform=\"translate({x} {y})\">");
        draw_panel(&mut svg, panel);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

fn legend(svg: &mut String, points: &[Point]) {
    let Some(first) = points.first() else { return };
    for (number, (name, ..)) in first.costs.iter().enumerate() {
        let x = MARGIN.0 + number as f64 * 95.0;
        let colour = colour(name);
        let _ = writeln!(
            svg,
            "<path d=\"M{x} 14h18\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{}\" y=\"17\">{name}</text>",
            x + 22.0
        );
    }
    let x = MARGIN.0 + first.costs.len() as f64 * 95.0;
    let _ = writeln!(
        svg,
        "<text x=\"{x}\" y=\"17\">cost per event by letters:moves; lines counted, rings predicted</text>"
    );
}

fn draw_panel(svg: &mut String, panel: &[&Point]) {
    let (left, right) = (MARGIN.0, PANEL.0 - 8.0);
    let (top, bottom) = (14.0, PANEL.1 - MARGIN.1);
    let step = (right - left) / (panel.len().max(2) - 1) as f64;
    let x = |number: usize| left + number as f64 * step;
    let y = |cost: f64| {
        let part = (cost.max(COSTS.0) / COSTS.0).ln() / (COSTS.1 / COSTS.0).ln();
        bottom - part.min(1.0) * (bottom - top)
    };
    let first = panel[0];
    let (nodes, correspondents) = (first.nodes, first.correspondents);
    let _ = writeln!(
        svg,
        "<text x=\"{left}\" y=\"9\" font-weight=\"bold\">{nodes} nodes, {correspondents} correspondents</text>"
    );
    for cost in [0.01, 0.1, 1.0, 10.0, 100.0] {
        let at = y(cost);
        let _ = writeln!(
            svg,
            "<path d=\"M{left} {at:.1}H{right}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{cost}</text>",
            left - 4.0,
            at + 3.0
        );
    }
    for (number, point) in panel.iter().enumerate() {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            x(number),
            bottom + 12.0,
            point.ratio
        );
    }
    for (strategy, (name, ..)) in first.costs.iter().enumerate() {
        let colour = colour(name);
        let mut path = String::new();
        for (number, point) in panel.iter().enumerate() {
            let (_, counted, predicted) = point.costs[strategy];
            let pen = if number == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{pen}{:.1} {:.1}", x(number), y(counted));
            if let Some(predicted) = predicted {
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"none\" stroke=\"{colour}\"/>",
                    x(number),
                    y(predicted)
                );
            }
        }
        let dash = if *name == "adaptive" { " stroke-dasharray=\"4 3\"" } else { "" };
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"{dash}/>"
        );
    }
}
