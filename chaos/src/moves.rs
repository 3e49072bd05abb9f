//! Moves, at random, of whatever lives.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api::{Error, ErrorCode, GroupId, MoveEvent, MoveRequest, Pid, route};
use tokio::task::JoinSet;

use crate::random::Random;
use crate::run::{Phase, Run};

/// How often one is moved.
const EVERY: Duration = Duration::from_millis(50);

/// So many moves are under way at most.
const AT_A_TIME: usize = 48;

/// Whoever asks for something is told its end within this time, whatever is cut or killed meanwhile: no cut lasts as long.
pub(crate) const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// Moves until the time of faults is over, and returns when all moves have come to their end.
pub(crate) async fn keep(run: Arc<Run>) {
    let mut random = run.random();
    let mut under_way = JoinSet::new();
    let mut ticks = tokio::time::interval(EVERY);
    while run.unless(Phase::Mended, ticks.tick()).await.is_some() {
        while under_way.try_join_next().is_some() {}
        let living = run.living();
        if living.is_empty() || under_way.len() >= AT_A_TIME {
            continue;
        }
        let pid = *random.of(&living);
        let to = elsewhere(&run, &mut random, pid);
        let Some(asked) = run.cluster.any_up(&mut random) else { continue };
        under_way.spawn(one(Arc::clone(&run), asked, pid, to));
        // Now and then a second wish for the same process, or for another at the same instant.
        if random.once_in(8) {
            let pid = if random.once_in(2) { pid } else { *random.of(&living) };
            let to = elsewhere(&run, &mut random, pid);
            under_way.spawn(one(Arc::clone(&run), asked, pid, to));
        }
    }
    while under_way.join_next().await.is_some() {}
}

/// A node where it is not, as far as is known.
fn elsewhere(run: &Run, random: &mut Random, pid: Pid) -> usize {
    let place = run.places.lock().expect("nobody panics with it").get(&pid).copied();
    let count = run.cluster.count();
    match place {
        Some(place) => (place + 1 + random.below(count - 1)) % count,
        None => random.below(count),
    }
}

/// Moves both ends of conversations at the same instant, so often in all. Nothing else is broken, so that every move has to
/// be made: each end once a round, in turns across each other, to the same place, and wherever.
pub(crate) async fn together(run: Arc<Run>, rounds: u64) {
    let groups = loop {
        let groups = run.whole_groups();
        if groups.len() >= run.shape.groups {
            break groups;
        }
        tokio::time::sleep(EVERY).await;
    };
    let each = rounds.div_ceil(groups.len() as u64);
    let mut conversations = JoinSet::new();
    for group in groups {
        conversations.spawn(converse(Arc::clone(&run), group, each));
    }
    while conversations.join_next().await.is_some() {}
    let counts = &run.counts;
    for (count, what) in [
        (&counts.refused, "refused"),
        (&counts.given_up, "given up"),
        (&counts.busy, "busy"),
        (&counts.void, "void"),
    ] {
        let count = count.load(Ordering::Relaxed);
        if count > 0 {
            run.find(format!("{count} moves were {what}, and nothing was in their way"));
        }
    }
}

async fn converse(run: Arc<Run>, group: GroupId, rounds: u64) {
    let mut random = run.random();
    let [a, b] = [0, 1].map(|index| Pid { group, index });
    let count = run.cluster.count();
    let (mut at_a, mut at_b) = (0, 0);
    for round in 0..rounds {
        let other = |at: usize, random: &mut Random| (at + 1 + random.below(count - 1)) % count;
        let (to_a, to_b) = match round % 4 {
            // Past each other.
            0 if at_a != at_b => (at_b, at_a),
            // To each other: one of them may be there.
            1 => (other(at_a, &mut random), at_a),
            2 => {
                let to = other(at_a, &mut random);
                (to, to)
            }
            _ => (other(at_a, &mut random), other(at_b, &mut random)),
        };
        let asked = [random.below(count), random.below(count)];
        tokio::join!(
            one(Arc::clone(&run), asked[0], a, to_a),
            one(Arc::clone(&run), asked[1], b, to_b)
        );
        (at_a, at_b) = (to_a, to_b);
    }
}

async fn one(run: Arc<Run>, asked: usize, pid: Pid, to: usize) {
    let counts = &run.counts;
    let place = to;
    let to = run.cluster.name(to);
    let told = tokio::time::timeout(ANSWER_TIME_MAX, ask(&run, asked, pid, to)).await;
    if let Ok(Ok(_)) = told {
        run.places.lock().expect("nobody panics with it").insert(pid, place);
    }
    let counted = match told {
        Ok(Ok(true)) => &counts.moves,
        Ok(Ok(false)) => &counts.there,
        Ok(Err(error)) => match error.code {
            ErrorCode::Refused => &counts.refused,
            ErrorCode::GivenUp => &counts.given_up,
            ErrorCode::Busy => &counts.busy,
            code if is_of_the_faults(code) => &counts.void,
            code => {
                run.find(format!("a move of {pid} to {to}: {code:?}: {error}"));
                &counts.void
            }
        },
        Err(_) => {
            let asked = run.cluster.name(asked);
            run.find(format!(
                "a move of {pid} to {to}, asked of {asked}, has no answer after {ANSWER_TIME_MAX:?}"
            ));
            &counts.void
        }
    };
    counted.fetch_add(1, Ordering::Relaxed);
}

/// Whether it was moved; not, if it was there.
async fn ask(run: &Run, asked: usize, pid: Pid, to: &str) -> Result<bool, Error> {
    let path = route::MOVE.fill(&[&pid.to_string()]);
    let request = MoveRequest { to: to.to_owned() };
    let mut events = run.cluster.client(asked).events(route::MOVE, &path, &request).await?;
    while let Some(event) = events.next().await? {
        match event {
            MoveEvent::Moved(report) => return Ok(report.from != report.to),
            MoveEvent::Failed { error } => return Err(error),
            MoveEvent::Progress(_) | MoveEvent::MovedTogether { .. } => {}
        }
    }
    Err(Error::new(ErrorCode::NodeUnavailable, "the story broke off"))
}

/// Whether a wish may fail so while daemons and links fail.
pub(crate) fn is_of_the_faults(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NoDaemon
            | ErrorCode::NodeUnavailable
            | ErrorCode::RegistryUnavailable
            | ErrorCode::UnknownProcess
            | ErrorCode::Ended
            | ErrorCode::Refused
            | ErrorCode::GivenUp
            | ErrorCode::Busy
    )
}
