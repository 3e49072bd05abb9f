//! What goes wrong: daemons are killed and started again, links are cut and mended, slow and quick, and now and then
//! somebody ends a whole group.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api::{Error, KillReply, KillRequest, Pid, route};

use crate::groups;
use crate::moves::{self, ANSWER_TIME_MAX};
use crate::network::Cut;
use crate::random::Random;
use crate::run::Run;

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Kills daemons and starts them again. When the time of faults is over, all run.
pub(crate) async fn kills(run: Arc<Run>) {
    let mut random = run.random();
    while run.sleeps(random.between(millis(3_000), millis(9_000))).await {
        let mut victims = vec![random.below(run.cluster.count())];
        if random.once_in(6) {
            victims.push((victims[0] + 1) % run.cluster.count());
        }
        for &victim in &victims {
            if let Err(said) = run.cluster.kill(victim).await {
                run.find(said);
            }
            run.counts.kills.fetch_add(1, Ordering::Relaxed);
        }
        // Often it is back before anyone has missed it.
        let most = if random.once_in(4) { 7_000 } else { 1_500 };
        let _ = run.sleeps(random.between(millis(50), millis(most))).await;
        for victim in victims {
            if let Err(said) = run.cluster.launch(victim, None).await {
                run.find(said);
            }
        }
        for said in run.cluster.ended_by_themselves() {
            run.find(said);
        }
    }
}

/// Cuts links and mends them. When the time of faults is over, none is cut.
pub(crate) async fn cuts(run: Arc<Run>) {
    let mut random = run.random();
    while run.sleeps(random.between(millis(1_500), millis(7_000))).await {
        let cut = draw_cut(&run, &mut random);
        if let Err(said) = run.cluster.network.cut(cut) {
            run.find(said);
        }
        run.counts.cuts.fetch_add(1, Ordering::Relaxed);
        // Some are longer than the lease, so that a living node is silent.
        let time = match random.below(4) {
            0 => random.between(millis(5_000), millis(9_000)),
            _ => random.between(millis(100), millis(3_000)),
        };
        let _ = run.sleeps(time).await;
        if let Err(said) = run.cluster.network.mend(cut) {
            run.find(said);
        }
    }
}

fn draw_cut(run: &Run, random: &mut Random) -> Cut {
    let count = run.cluster.count();
    let node = random.below(count);
    match random.once_in(2) {
        true => Cut::Node(node),
        false => Cut::Pair(node, (node + 1 + random.below(count - 1)) % count),
    }
}

/// Makes what reaches a node late. When the time of faults is over, nothing is.
pub(crate) async fn delays(run: Arc<Run>) {
    let mut random = run.random();
    while run.sleeps(random.between(millis(2_000), millis(8_000))).await {
        let node = random.below(run.cluster.count());
        let delay = random.between(millis(1), millis(60));
        let jitter = random.between(millis(0), millis(40));
        run.cluster.network.delay(node, delay, jitter);
        run.counts.delays.fetch_add(1, Ordering::Relaxed);
        let _ = run.sleeps(random.between(millis(1_000), millis(5_000))).await;
        run.cluster.network.delay(node, Duration::ZERO, Duration::ZERO);
    }
}

/// Ends whole groups, wherever their members are or are on their way to.
pub(crate) async fn group_kills(run: Arc<Run>) {
    let mut random = run.random();
    while run.sleeps(random.between(millis(10_000), millis(25_000))).await {
        let groups = run.whole_groups();
        if groups.is_empty() {
            continue;
        }
        let group = *random.of(&groups);
        let Some(asked) = run.cluster.any_up(&mut random) else { continue };
        let request = KillRequest { target: group.to_string() };
        let path = route::KILL.fill(&[]);
        let told = run.cluster.client(asked).reply::<KillReply>(route::KILL, &path, &request);
        let told: Result<KillReply, Error> = match tokio::time::timeout(ANSWER_TIME_MAX, told).await
        {
            Ok(told) => told,
            Err(_) => {
                let asked = run.cluster.name(asked);
                run.find(format!(
                    "a kill of {group}, asked of {asked}, has no answer after {ANSWER_TIME_MAX:?}"
                ));
                continue;
            }
        };
        match told {
            Ok(reply) => {
                run.counts.group_kills.fetch_add(1, Ordering::Relaxed);
                // Everyone has answered: from now on nobody of the group does anything.
                if reply.unanswered.is_empty() {
                    for index in 0..run.shape.members {
                        groups::mark(&run, Pid { group, index }, "killed");
                    }
                }
            }
            Err(error) if moves::is_of_the_faults(error.code) => {}
            Err(error) => run.find(format!("a kill of {group}: {:?}: {error}", error.code)),
        }
    }
}
