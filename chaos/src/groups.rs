//! The processes: three groups of four at all times, say, each of which writes to the others of its group.
//!
//! A process that died with its node is replaced by starting a whole new group: what groups can send across is not
//! decided by a run. What is left of the old one writes on for a while, so that it learns of the death, then it is told
//! to stop and comes to a proper end, among faults. The groups take their turns with the ways in which letters find processes.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api::{
    Dir, Error, ErrorCode, GroupId, Locate, LogsQuery, MemberRequest, Outcome, Pid, ProcessEvent,
    RunRequest, route,
};
use tokio::task::JoinSet;

use crate::random::Random;
use crate::run::{Group, Phase, Run};

/// How long what is left of a group writes on.
const AFTERLIFE: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(12));

/// A story that says nothing for so long is asked for anew, of another daemon perhaps.
const STORY_TIME_MAX: Duration = Duration::from_secs(15);

/// The dead are replaced so long after the last fault at most: it must be known by then that they are.
const WHOLE_TIME_MAX: Duration = Duration::from_secs(90);

/// So long the last ones talk.
const TALK_TIME: Duration = Duration::from_secs(2);

/// How often what did not work is tried again.
const TRIED_EVERY: Duration = Duration::from_millis(300);

/// Keeps so many whole groups, until the time of faults is over; returns when all processes have ended.
pub(crate) async fn keep(run: Arc<Run>) {
    let mut random = run.random();
    let mut followed: BTreeSet<Pid> = BTreeSet::new();
    let mut stories = JoinSet::new();
    let mut is_quiet = false;
    loop {
        if !is_quiet && run.whole_groups().len() < run.shape.groups {
            is_quiet = run.unless(Phase::Quiet, start(&run, &mut random)).await.is_none();
        }
        // A start of which the answer was not heard may have been one: there are journals.
        let (new, living) = look(&run, &followed);
        for pid in new {
            followed.insert(pid);
            stories.spawn(follow(Arc::clone(&run), pid));
        }
        if is_quiet && living == 0 {
            return;
        }
        tokio::select! {
            Some(ended) = stories.join_next() => {
                if let Ok((pid, outcome)) = ended {
                    note(&run, &mut random, pid, outcome);
                }
            }
            () = tokio::time::sleep(TRIED_EVERY) => {
                is_quiet |= *run.phase.borrow() == Phase::Quiet;
            }
        }
    }
}

/// Waits until the last of the dead is replaced, and those that came last have talked for a while: whatever was killed
/// when, there is something to judge.
pub(crate) async fn all_whole(run: &Run) {
    let whole = async {
        while run.whole_groups().len() < run.shape.groups {
            tokio::time::sleep(TRIED_EVERY).await;
        }
    };
    if tokio::time::timeout(WHOLE_TIME_MAX, whole).await.is_err() {
        run.find(format!("the dead are not replaced {WHOLE_TIME_MAX:?} after the last fault"));
    }
    tokio::time::sleep(TALK_TIME).await;
}

/// Those that nobody follows yet, and how many live.
fn look(run: &Run, followed: &BTreeSet<Pid>) -> (Vec<Pid>, usize) {
    let mut processes = run.processes.lock().expect("nobody panics with it");
    for pid in journals(run) {
        processes.entry(pid).or_insert(None);
    }
    let new = processes.keys().filter(|pid| !followed.contains(pid)).copied().collect();
    (new, processes.values().filter(|end| end.is_none()).count())
}

/// The processes that have a journal.
fn journals(run: &Run) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir(&run.journals) else { return Vec::new() };
    let name = |entry: fs::DirEntry| entry.file_name().into_string().ok()?.parse().ok();
    entries.flatten().filter_map(name).collect()
}

/// Starts one group somewhere. If that fails, it will be tried again.
async fn start(run: &Arc<Run>, random: &mut Random) {
    let Some(node) = run.cluster.any_up(random) else { return };
    let number = run.counts.groups.load(Ordering::Relaxed);
    let locate = match number % 4 {
        0 => Locate::Directory,
        1 => Locate::Update,
        2 => Locate::Forwarding,
        _ => Locate::Mailbox(None),
    };
    let request = request(run, locate);
    let path = route::RUN.fill(&[]);
    let started = async {
        let mut events = run.cluster.client(node).events(route::RUN, &path, &request).await?;
        while let Some(event) = events.next().await? {
            match event {
                ProcessEvent::Started { pid, .. } => return Ok(pid.group),
                ProcessEvent::Failed { error } => return Err(error),
                _ => {}
            }
        }
        Err(Error::new(ErrorCode::NodeUnavailable, "the story broke off"))
    };
    match tokio::time::timeout(Duration::from_secs(30), started).await {
        Ok(Ok(group)) => {
            run.counts.groups.fetch_add(1, Ordering::Relaxed);
            adopt(run, group);
        }
        Ok(Err(error)) if crate::moves::is_of_the_faults(error.code) => {}
        Ok(Err(error)) => {
            run.find(format!("a group does not start at {}: {error}", run.cluster.name(node)));
        }
        Err(_) => {
            run.find(format!("a group's start at {} is not answered", run.cluster.name(node)));
        }
    }
}

fn request(run: &Run, locate: Locate) -> RunRequest {
    let args = vec!["chatter".to_owned(), run.pace.to_string()];
    let other = MemberRequest {
        program: run.code,
        program_name: "chatter.wasm".to_owned(),
        args: args.clone(),
    };
    RunRequest {
        program: run.code,
        program_name: "chatter.wasm".to_owned(),
        args,
        env: Vec::new(),
        dirs: vec![Dir {
            host: run.journals.to_string_lossy().into_owned(),
            guest: "/journals".to_owned(),
            read_only: false,
        }],
        name: None,
        on: None,
        memory_bytes_max: None,
        stub_missing: false,
        attached: false,
        stdin: false,
        count: 1,
        others: vec![other; run.shape.members as usize - 1],
        locate,
        poll_ms: None,
        in_transit: api::InTransit::default(),
        together: false,
        checkpoint_ms: None,
        placement: api::Placement::default(),
        allow_send: Vec::new(),
        trace: false,
    }
}

fn adopt(run: &Run, group: GroupId) {
    let mut processes = run.processes.lock().expect("nobody panics with it");
    for index in 0..run.shape.members {
        processes.entry(Pid { group, index }).or_insert(None);
    }
    let whole = Group { whole: true };
    run.groups.lock().expect("nobody panics with it").insert(group, whole);
}

/// Follows a process, whichever daemon answers, until it has ended.
async fn follow(run: Arc<Run>, pid: Pid) -> (Pid, Outcome) {
    let mut random = run.random();
    loop {
        if let Some(node) = run.cluster.any_up(&mut random) {
            let story = tokio::time::timeout(STORY_TIME_MAX, story(&run, node, pid)).await;
            if let Ok(Ok(outcome)) = story {
                return (pid, outcome);
            }
        }
        tokio::time::sleep(TRIED_EVERY).await;
    }
}

async fn story(run: &Run, node: usize, pid: Pid) -> Result<Outcome, Error> {
    let query = LogsQuery { follow: true, from: 0 };
    let path = route::LOGS.fill(&[&pid.to_string()]) + &query.to_query();
    let mut events = run.cluster.client(node).events(route::LOGS, &path, &()).await?;
    while let Some(event) = events.next().await? {
        match event {
            ProcessEvent::Ended { outcome } => return Ok(outcome),
            ProcessEvent::Failed { error } => return Err(error),
            _ => {}
        }
    }
    Err(Error::new(ErrorCode::NodeUnavailable, "the story broke off"))
}

/// A process has ended: what follows for its group and its journal.
fn note(run: &Arc<Run>, random: &mut Random, pid: Pid, outcome: Outcome) {
    let died = match &outcome {
        Outcome::Exited { code: 0 } => None,
        Outcome::Lost { .. } => Some("lost"),
        Outcome::Killed => Some("killed"),
        other => {
            run.find(format!("{pid} ended: {other:?}"));
            Some("failed")
        }
    };
    if let Some(how) = died {
        mark(run, pid, how);
    }
    run.processes.lock().expect("nobody panics with it").insert(pid, Some(outcome));
    let mut groups = run.groups.lock().expect("nobody panics with it");
    let group = groups.entry(pid.group).or_insert(Group { whole: true });
    if std::mem::take(&mut group.whole) {
        let (least, most) = AFTERLIFE;
        let after = random.between(least, most);
        let stop = run.journals.join(format!("stop-{}", pid.group));
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let _ = fs::write(stop, "");
        });
    }
}

/// Writes into a process's journal that it is dead: what a daemon that was killed had begun to write ends here, and
/// nothing is written after it.
pub(crate) fn mark(run: &Run, pid: Pid, how: &str) {
    let path = run.journals.join(pid.to_string());
    let journal = fs::File::options().create(true).append(true).open(&path);
    let marked = journal.and_then(|mut journal| journal.write_all(format!("~{how}\n").as_bytes()));
    if let Err(error) = marked {
        run.find(format!("{}: {error}", path.display()));
    }
}

/// Tells every process to come to its end.
pub(crate) fn stop(run: &Run) {
    let stop = run.journals.join("stop");
    if let Err(error) = fs::write(&stop, "") {
        run.find(format!("{}: {error}", stop.display()));
    }
}
