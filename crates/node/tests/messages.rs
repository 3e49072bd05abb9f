//! Groups whose members talk while they are moved.

mod common;

use std::time::{SystemTime, UNIX_EPOCH};

use api::{Locate, LocateReply, LocateRequest, MemberRequest, Outcome, Pid, ProcessEvent};
use common::{Client, Events, Member, cluster};
use hyper::Method;

const NAMES: [&str; 3] = ["heron", "osprey", "curlew"];

fn wasm(name: &str) -> Vec<u8> {
    std::fs::read(programs::guest(name).expect("it builds")).expect("it was built")
}

fn args(args: &[&str]) -> Vec<String> {
    args.iter().map(ToString::to_string).collect()
}

/// Starts a group on the first node, detached. Says the first member's id.
async fn group(client: &Client, locate: Locate, programs: &[(&str, &[&str])]) -> Pid {
    let mut others = Vec::new();
    for (name, arguments) in &programs[1..] {
        let program = client.upload(&wasm(name)).await.unwrap();
        let program_name = (*name).to_owned();
        others.push(MemberRequest { program, program_name, args: args(arguments) });
    }
    let (name, arguments) = programs[0];
    let wasm = wasm(name);
    let started = client.run(&wasm, |request| {
        request.args = args(arguments);
        request.attached = false;
        request.others = others;
        request.locate = locate;
    });
    started.await.pid
}

/// Everything that a process writes, and how it ends.
async fn journal(client: Client, pid: Pid) -> (String, Outcome) {
    let path = format!("/v1/processes/{pid}/logs?follow=true");
    let mut events = Events::new(client.send(Method::GET, &path, vec![]).await);
    let mut text = Vec::new();
    loop {
        let next = tokio::time::timeout(3 * common::PATIENCE, events.next()).await;
        match next.expect("output, or an end").expect("a last line") {
            ProcessEvent::Output { bytes, .. } => text.extend(bytes.0),
            ProcessEvent::Ended { outcome } => {
                return (String::from_utf8(text).expect("text"), outcome);
            }
            other => panic!("{other:?} out of place"),
        }
    }
}

/// Moves the members of a group at random, until all have ended, and changes how they are found, if that is wanted.
/// Says how many moves there were; or changes, if these are wanted and were fewer.
async fn move_about(
    members: &[Member],
    group: &[Pid],
    changes: bool,
    ended: impl Fn() -> bool,
) -> u32 {
    let mut random = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
    println!("seed {random}");
    let mut draw = |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % bound as u64) as usize
    };
    let (mut moves, mut changed) = (0, 0);
    while !ended() {
        let (pid, to, asked) = (group[draw(group.len())], NAMES[draw(3)], draw(3));
        // It may be there already, be on its way, or have ended.
        moves += u32::from(members[asked].client().move_to(pid, to).await.is_ok());
        if changes && draw(4) == 0 {
            let (target, locate) = (pid.group.to_string(), strategies()[draw(7)].clone());
            let request = LocateRequest { target, locate, poll_ms: Some(5) };
            let reply: Result<LocateReply, _> =
                members[asked].client().json(Method::POST, "/v1/locate", &request).await;
            changed += reply.map_or(0, |reply| reply.changed.len() as u32);
        }
    }
    if changes { moves.min(changed) } else { moves }
}

/// Runs a group to its end, moving its members meanwhile: what each wrote, and the moves.
async fn run(locate: Locate, changes: bool, programs: &[(&str, &[&str])]) -> (Vec<String>, u32) {
    let members = cluster(&NAMES).await;
    let first = group(&members[0].client(), locate, programs).await;
    let group: Vec<Pid> = (0..programs.len() as u32).map(|index| Pid { index, ..first }).collect();
    let journals: Vec<_> =
        group.iter().map(|pid| tokio::spawn(journal(members[0].client(), *pid))).collect();
    let moves =
        move_about(&members, &group, changes, || journals.iter().all(|it| it.is_finished())).await;
    let mut texts = Vec::new();
    for (pid, journal) in group.iter().zip(journals) {
        let (text, outcome) = journal.await.unwrap();
        assert_eq!(outcome, Outcome::Exited { code: 0 }, "{pid}: {text}");
        texts.push(text);
    }
    (texts, moves)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_goes_round_a_ring_whose_members_are_moved() {
    for locate in strategies() {
        println!("by {locate}");
        a_token_goes_round(locate, false).await;
    }
    println!("by one after the other");
    a_token_goes_round(Locate::Adaptive, true).await;
}

/// All of them.
fn strategies() -> [Locate; 7] {
    let elsewhere = Locate::Mailbox(Some("curlew".to_owned()));
    let kept = Locate::MailboxPull(Some("curlew".to_owned()));
    [
        Locate::Directory,
        Locate::Update,
        Locate::Forwarding,
        Locate::Mailbox(None),
        elsewhere,
        kept,
        Locate::Adaptive,
    ]
}

async fn a_token_goes_round(locate: Locate, changes: bool) {
    // As many rounds as it takes to move its members ten times.
    let mut rounds = 1000;
    let texts = loop {
        let words = rounds.to_string();
        let ring: &[&str] = &["ring", &words];
        let (texts, moves) =
            run(locate.clone(), changes, &[("ring", ring), ("ring", ring), ("ring", ring)]).await;
        println!("{rounds} rounds, {moves} moves");
        if moves >= 10 {
            break texts;
        }
        rounds *= 4;
        assert!(rounds < 10_000_000, "it is never moved");
    };
    for (place, text) in (0..).zip(&texts) {
        // Each got exactly its numbers, once, in order; nothing else.
        let numbers: Vec<u64> =
            text.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
        let first = if place == 0 { 3 } else { place };
        let due: Vec<u64> = (0..rounds).map(|round| first + 3 * round).collect();
        assert!(numbers == due, "member {place} got other numbers, or in another order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_messages_under_way_survive_moves_of_both_ends() {
    let mut count = 20_000;
    loop {
        let words = count.to_string();
        let ping: &[&str] = &["ping", &words, "200", "3000"];
        let (texts, moves) =
            run(Locate::default(), false, &[("ping", ping), ("pong", &["pong"])]).await;
        println!("{count} messages, {moves} moves");
        assert!(texts[0].ends_with(&format!("\n{count}\n")), "{}", texts[0]);
        assert_eq!(texts[1], format!("{count} sent back\n"));
        if moves >= 10 {
            break;
        }
        count *= 4;
        assert!(count < 10_000_000, "it is never moved");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_arrives_although_its_sender_has_ended() {
    // More than an inbox holds, so that the last of it waits when its sender ends.
    let (texts, _) = run(
        Locate::default(),
        false,
        &[("pour", &["pour", "4000", "3000"]), ("catch", &["catch", "4000"])],
    )
    .await;
    assert_eq!(texts[1], "4000 in order\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_inbox_turns_letters_away_and_none_is_lost() {
    // Seven letters of the longest kind at once, where three have room.
    let due = 7 * 3;
    let catch: &[&str] = &["catch", &due.to_string(), "300"];
    let places: Vec<String> = (1..=7).map(|place: usize| (8 - place).to_string()).collect();
    let pours: Vec<[&str; 4]> = places.iter().map(|by| ["pour", "3", "1048576", by]).collect();
    let mut programs = vec![("catch", catch)];
    programs.extend(pours.iter().map(|args| ("pour", &args[..])));
    let (texts, _) = run(Locate::default(), false, &programs).await;
    assert_eq!(texts[0], format!("{due} in order\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_delivered_is_said_and_the_longest_letter_is() {
    let outcomes: (&str, &[&str]) = ("outcomes", &["outcomes"]);
    let (texts, _) = run(Locate::default(), false, &[outcomes, outcomes]).await;
    let length = 1 << 20;
    assert_eq!(
        texts[0],
        format!(
            "too long: Err(TooLarge)\n\
             longest: Ok(())\n\
             arrived: {length} {}\n\
             ended: Gone\n\
             unknown: Gone\n\
             foreign: Err(Denied)\n",
            3 * length
        )
    );
}
