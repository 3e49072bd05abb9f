//! `rebalance`: how full the nodes are, what would move where, and the moves.

use api::{Error, NodeLoad, PlannedMove, RebalanceEvent, RebalanceRequest, route};

use crate::bars::Bars;
use crate::destination::Choice;
use crate::moving::{line, stayed, unknown_end};
use crate::say;
use crate::table::{Align, Table};
use crate::units::bytes;
use crate::words::{Format, Rebalance};

pub(crate) async fn rebalance(at: &Choice, word: Rebalance) -> Result<u8, Error> {
    let request = RebalanceRequest { plan: word.plan };
    let client = at.daemon()?;
    let mut events = client.events(route::REBALANCE, &route::REBALANCE.fill(&[]), &request).await?;
    let json = word.printing.format == Format::Json;
    let (mut bars, mut done, mut total) = (Bars::new(), 0, 0);
    while let Some(event) = events.next().await? {
        if json {
            say::json_line(&event);
        } else {
            bars.clear();
            say_event(&event, word.plan);
        }
        match event {
            RebalanceEvent::Plan { .. } if word.plan => return Ok(0),
            RebalanceEvent::Plan { moves, .. } => total = moves.len() as u64,
            RebalanceEvent::Moved(_) | RebalanceEvent::Stayed { .. } => {
                done += 1;
                let step = api::Step::Leave;
                bars.update(&api::Progress { step, done, total: Some(total) });
            }
            RebalanceEvent::Balanced { stayed: not, .. } => return Ok(stayed(0 < not)),
            RebalanceEvent::Failed { error } => return Err(error),
        }
    }
    Err(unknown_end())
}

fn say_event(event: &RebalanceEvent, only_plan: bool) {
    match event {
        RebalanceEvent::Plan { nodes, moves, unanswered } => {
            loads(nodes).print();
            if !unanswered.is_empty() {
                let nodes = unanswered.join(", ");
                say::aside(&format!("whimbrel: no answer from {nodes}, which take no part"));
            }
            if moves.is_empty() {
                say::out("nothing would be better off elsewhere");
            } else if only_plan {
                say::out("");
                plan(moves).print();
            }
        }
        RebalanceEvent::Moved(report) => say::out(&line(report)),
        RebalanceEvent::Stayed { pid, error } => say::out(&format!("{pid} stayed: {error}")),
        RebalanceEvent::Balanced { moved: 0, stayed: 0 } => {}
        RebalanceEvent::Balanced { moved, stayed: 0 } => say::out(&format!("{moved} moved")),
        RebalanceEvent::Balanced { moved, stayed } => {
            say::out(&format!("{moved} moved, {stayed} stayed"));
        }
        RebalanceEvent::Failed { .. } => {}
    }
}

fn loads(nodes: &[NodeLoad]) -> Table {
    let mut table = Table::new(&[
        ("NODE", Align::Left),
        ("CPU", Align::Right),
        ("OF", Align::Right),
        ("MEMORY", Align::Right),
        ("OF", Align::Right),
        ("FULL", Align::Right),
        ("THEN", Align::Right),
        ("LABELS", Align::Left),
    ]);
    for node in nodes {
        let name =
            if node.draining { format!("{} (draining)", node.node) } else { node.node.clone() };
        table.row([
            name,
            processors(node.cpu_milli),
            processors(node.cpu_milli_max),
            bytes(node.memory_bytes),
            bytes(node.memory_bytes_max),
            percent(node.share_ppm),
            percent(node.share_ppm_after),
            node.labels.join(" "),
        ]);
    }
    table
}

fn plan(moves: &[PlannedMove]) -> Table {
    let mut table = Table::new(&[
        ("PID", Align::Left),
        ("PROGRAM", Align::Left),
        ("CPU", Align::Right),
        ("MEMORY", Align::Right),
        ("FROM", Align::Left),
        ("TO", Align::Left),
        ("BECAUSE", Align::Left),
    ]);
    for planned in moves {
        table.row([
            planned.pid.to_string(),
            planned.program.clone(),
            processors(planned.cpu_milli),
            bytes(planned.memory_bytes),
            planned.from.clone(),
            planned.to.clone(),
            planned.reason.words().to_owned(),
        ]);
    }
    table
}

/// As in `1.5`.
fn processors(milli: u64) -> String {
    let tenths = milli.saturating_add(50) / 100;
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn percent(ppm: u64) -> String {
    format!("{} %", ppm.saturating_add(5_000) / 10_000)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_plan_is_two_tables() {
        let node = |name: &str, cpu_milli, cpu_milli_after| NodeLoad {
            node: name.to_owned(),
            labels: vec!["zone=a".to_owned()],
            draining: name == "plover",
            cpu_milli,
            cpu_milli_max: 2_000,
            memory_bytes: 3 << 20,
            memory_bytes_max: 4 << 30,
            share_ppm: cpu_milli * 500,
            cpu_milli_after,
            memory_bytes_after: 3 << 20,
            share_ppm_after: cpu_milli_after * 500,
        };
        let moves = [PlannedMove {
            pid: "k3x9.2".parse().unwrap(),
            program: "pi.wasm".to_owned(),
            from: "heron".to_owned(),
            to: "osprey".to_owned(),
            cpu_milli: 996,
            memory_bytes: 1 << 20,
            reason: api::MoveReason::Load,
        }];
        let nodes = [node("heron", 2_988, 1_992), node("osprey", 4, 1_000), node("plover", 0, 0)];
        let text = [loads(&nodes).render(false), plan(&moves).render(false)].join("\n\n");
        expect![[r#"
            NODE               CPU   OF   MEMORY       OF   FULL   THEN  LABELS
            heron              3.0  2.0  3.0 MiB  4.0 GiB  149 %  100 %  zone=a
            osprey             0.0  2.0  3.0 MiB  4.0 GiB    0 %   50 %  zone=a
            plover (draining)  0.0  2.0  3.0 MiB  4.0 GiB    0 %    0 %  zone=a

            PID     PROGRAM  CPU   MEMORY  FROM   TO      BECAUSE
            k3x9.2  pi.wasm  1.0  1.0 MiB  heron  osprey  emptier"#]]
        .assert_eq(&text);
    }
}
