//! Messages between processes, which are frozen and thawed while they talk.

mod post;

use std::time::{Duration, Instant};

use engine::{
    Config, Engine, Event, INBOX_BYTES_MAX, MESSAGE_BYTES_EXTRA, MESSAGE_BYTES_MAX,
    OUTBOX_BYTES_EACH_MAX, Outcome, Setup, Status, Took, Wait, What,
};
use post::{GROUP, Post, args, guest, pid, sent, wat};
use wire::{Grant, GroupId, Pid};

fn engine() -> Engine {
    Engine::new(Config { workers: 1, ..Config::default() }).expect("an engine")
}

/// What is imported by programs that are written here.
const IMPORTS: &str = r#"
  (import "whimbrel" "self" (func $self (param i32) (result i32)))
  (import "whimbrel" "group" (func $group (param i32 i32 i32) (result i32)))
  (import "whimbrel" "node" (func $node (param i32 i32 i32) (result i32)))
  (import "whimbrel" "send" (func $send (param i64 i32 i32 i32 i64) (result i32)))
  (import "whimbrel" "receive" (func $receive (param i32 i32 i32 i64) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 64)"#;

/// Starts a program that consists of the body of `_start`, alone in its group.
fn alone<'a>(engines: &'a [Engine], body: &str) -> Post<'a> {
    let program = wat(&format!("(module {IMPORTS} (func (export \"_start\") {body}))"));
    Post::start(engines, vec![(program, Setup::default())])
}

fn ends_with(body: &str) -> Outcome {
    let engines = [engine()];
    alone(&engines, body).run(0).remove(0).outcome
}

#[test]
fn a_ring_is_the_same_however_its_members_are_moved() {
    let engines = [engine(), engine()];
    let members = || {
        let ring = |_| (guest("ring"), args(&["ring", "100"]));
        (0..3).map(ring).collect::<Vec<_>>()
    };
    let still = Post::start(&engines, members()).run(0);
    let moved = Post::start(&engines, members()).run(3);
    for (still, moved) in still.iter().zip(&moved) {
        assert_eq!(still.outcome, Outcome::Exit(0), "{}", still.output);
        assert_eq!((&moved.output, &moved.outcome), (&still.output, &still.outcome));
        assert!(moved.moves >= 10, "only {} moves", moved.moves);
    }
}

#[test]
fn many_messages_of_all_sizes_come_back_as_they_were_sent() {
    let engines = [engine(), engine()];
    // As long as the machine needs to have each of them moved a few times.
    for doublings in 0..10 {
        let rounds = (300_u32 << doublings).to_string();
        let members = || {
            let ping = args(&["ping", &rounds, "40", "20000"]);
            vec![(guest("ping"), ping), (guest("pong"), Setup::default())]
        };
        let still = Post::start(&engines, members()).run(0);
        let moved = Post::start(&engines, members()).run(20);
        assert_eq!(still[1].output, format!("{rounds} sent back\n"), "{}", still[0].output);
        for (still, moved) in still.iter().zip(&moved) {
            assert_eq!(still.outcome, Outcome::Exit(0), "{}", still.output);
            assert_eq!((&moved.output, &moved.outcome), (&still.output, &still.outcome));
        }
        if moved.iter().all(|member| member.moves >= 5) {
            return;
        }
    }
    panic!("few moves");
}

#[test]
fn cpython_speaks_to_a_rust_program_through_files() {
    let source = "
own = open('/whimbrel/self').read().strip()
first, second = open('/whimbrel/group').read().split()
assert own == first, (own, first)
with open('/whimbrel/inbox', 'rb') as inbox, \\
        open('/whimbrel/send/' + second, 'wb', buffering=0) as other:
    for number in range(60):
        text = b'%d ' % number * (number * 100)
        sent = text or b'nothing'
        assert other.write(sent) == len(sent)
        what, sender, length = inbox.readline().split()
        got = inbox.read(int(length))
        assert (what, sender.decode(), got) == (b'message', second, sent), (what, sender, length)
        if number % 10 == 9: print(number, len(got))
    other.write(b'')
try:
    open('/whimbrel/send/zzzz.0', 'wb', buffering=0).write(b'?')
except PermissionError as error:
    print('another group:', error.strerror)
try:
    open('/whimbrel/send/' + second, 'wb', buffering=0).write(b'x' * ((1 << 20) + 1))
except OSError as error:
    print('too long:', error.errno)
";
    let Some(python) = post::python(source) else {
        eprintln!("CPython is not in the cache: `cargo xtask guests` brings it");
        return;
    };
    let engines = [engine(), engine()];
    let members = || vec![python.clone(), (guest("pong"), Setup::default())];
    let still = Post::start(&engines, members()).run(0);
    let moved = Post::start(&engines, members()).run(12);
    let last = "59 17700\nanother group: Permission denied\ntoo long: 35\n";
    assert!(still[0].output.ends_with(last), "{}", still[0].output);
    assert_eq!(still[1].output, "60 sent back\n");
    for (still, moved) in still.iter().zip(&moved) {
        assert_eq!((&moved.output, &moved.outcome), (&still.output, &still.outcome));
    }
    assert!(moved.iter().all(|member| member.moves >= 3), "few moves");
}

#[test]
fn the_largest_message_is_sent_and_one_byte_more_is_not() {
    let send = |length: usize| {
        let Pid { group, index } = pid(0);
        ends_with(&format!(
            "(call $exit (call $send (i64.const {}) (i32.const {index}) (i32.const 16)
              (i32.const {length}) (i64.const 0)))",
            group.0
        ))
    };
    assert_eq!(send(MESSAGE_BYTES_MAX), Outcome::Exit(0));
    assert_eq!(send(MESSAGE_BYTES_MAX + 1), Outcome::Exit(4));
}

#[test]
fn another_group_is_reached_only_where_that_is_granted() {
    let engines = [engine()];
    let body = format!(
        "(module {IMPORTS} (func (export \"_start\")
          (call $exit (call $send (i64.const 77) (i32.const 0) (i32.const 0) (i32.const 4) (i64.const 0)))))"
    );
    let outcome = |grant: Grant| {
        let setup = Setup { grant, ..Setup::default() };
        Post::start(&engines, vec![(wat(&body), setup)]).run(0).remove(0).outcome
    };
    assert_eq!(outcome(Grant::Own), Outcome::Exit(5));
    assert_eq!(outcome(Grant::Groups(vec![GroupId(78)])), Outcome::Exit(5));
    assert_eq!(outcome(Grant::Groups(vec![GroupId(77)])), Outcome::Exit(0));
    assert_eq!(outcome(Grant::All), Outcome::Exit(0));
}

#[test]
fn a_bad_address_is_an_answer_and_takes_nothing() {
    // With a message in the inbox: one address after the other is outside the memory.
    let body = r#"
      (if (i32.ne (call $self (i32.const 0x3ffff1)) (i32.const 1)) (then (call $exit (i32.const 10))))
      (if (i32.ne (call $send (i64.const 0) (i32.const 0) (i32.const 0x3ffff1) (i32.const 16)
        (i64.const 0)) (i32.const 1)) (then (call $exit (i32.const 11))))
      (if (i32.ne (call $receive (i32.const 0x3ffff1) (i32.const 0) (i32.const 8)
        (i64.const -1)) (i32.const 1)) (then (call $exit (i32.const 12))))
      (if (i32.ne (call $receive (i32.const 0) (i32.const 0x3ffff1) (i32.const 16)
        (i64.const -1)) (i32.const 1)) (then (call $exit (i32.const 13))))
      (if (i32.ne (call $receive (i32.const 0) (i32.const 64) (i32.const 4)
        (i64.const -1)) (i32.const 3)) (then (call $exit (i32.const 14))))
      (if (i32.ne (i32.load (i32.const 16)) (i32.const 5)) (then (call $exit (i32.const 15))))
      (if (i32.ne (call $receive (i32.const 0) (i32.const 64) (i32.const 5)
        (i64.const -1)) (i32.const 0)) (then (call $exit (i32.const 16))))
      (if (i32.ne (i32.load8_u (i32.const 68)) (i32.const 111)) (then (call $exit (i32.const 17))))
      (call $exit (call $receive (i32.const 0) (i32.const 64) (i32.const 5) (i64.const 0)))"#;
    let engines = [engine()];
    let post = alone(&engines, body);
    assert!(post.process(0).deliver(pid(7), What::Message, b"hello"[..].into()));
    assert_eq!(post.run(0).remove(0).outcome, Outcome::Exit(2), "and then there is nothing");
}

#[test]
fn a_function_that_the_module_lacks_is_named() {
    let wasm = wat(r#"(module (import "whimbrel" "fly" (func)) (func (export "_start")))"#);
    let refused = engine().prepare(&wasm, &|_| {}).err().expect("it is refused");
    assert_eq!(refused.to_string(), "missing import: whimbrel.fly is not offered here");
}

/// Sends to itself without end, and counts.
const FLOOD: &str = r#"(local $count i32)
  (loop $more
    (if (i32.eqz (call $send (i64.const 1) (i32.const 0) (i32.const 0) (i32.const 65536) (i64.const -1)))
      (then
        (local.set $count (i32.add (local.get $count) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $count) (i32.const 100))))))
  (call $exit (local.get $count))"#;

#[test]
fn a_send_without_room_waits_is_moved_and_goes_on() {
    let engines = [engine(), engine()];
    let mut post = alone(&engines, FLOOD);
    let full = |status| status == Status::Waiting(Wait::SendRoom(pid(0), 65_536, None));
    post.waits(0, full);
    post.migrate(0);
    post.waits(0, full);
    let mut taken = 0;
    let outcome = loop {
        let mut some = 0..3;
        taken += post.process(0).carry(|_| some.next().is_some());
        match post.try_next() {
            Some((0, Event::Ended(outcome))) => break outcome,
            _ => std::thread::yield_now(),
        }
    };
    taken += post.process(0).carry(|_| true);
    assert_eq!((taken, outcome), (100, Outcome::Exit(100)));
}

#[test]
fn a_send_to_one_that_has_ended_says_so_and_does_not_wait() {
    let engines = [engine()];
    let post = alone(&engines, FLOOD);
    post.waits(0, |status| matches!(status, Status::Waiting(Wait::SendRoom(..))));
    post.process(0).is_gone(pid(0));
    // It counts those that were sent: as many as have room.
    let sent = OUTBOX_BYTES_EACH_MAX / (65_536 + MESSAGE_BYTES_EXTRA);
    assert_eq!(post.outcome(0), Outcome::Exit(sent as u32));
}

#[test]
fn a_process_that_waits_for_mail_is_killed_at_once() {
    let engines = [engine()];
    let post = alone(&engines, FLOOD);
    post.waits(0, |status| matches!(status, Status::Waiting(Wait::SendRoom(..))));
    post.process(0).kill();
    assert_eq!(post.outcome(0), Outcome::Killed);
    let body = "(drop (call $receive (i32.const 0) (i32.const 64) (i32.const 8) (i64.const -1)))";
    let post = alone(&engines, body);
    post.waits(0, |status| status == Status::Waiting(Wait::Message(None)));
    post.process(0).kill();
    assert_eq!(post.outcome(0), Outcome::Killed);
}

#[test]
fn a_timeout_goes_on_while_its_process_is_frozen() {
    let time = Duration::from_secs(3);
    let body = format!(
        "(call $exit (call $receive (i32.const 0) (i32.const 64) (i32.const 8) (i64.const {})))",
        time.as_nanos()
    );
    let engines = [engine(), engine()];
    let begun = Instant::now();
    let mut post = alone(&engines, &body);
    post.waits(0, |status| matches!(status, Status::Waiting(Wait::Message(Some(_)))));
    let image = post.freeze(0);
    while begun.elapsed() < time {
        std::thread::sleep(time.saturating_sub(begun.elapsed()));
    }
    post.thaw(0, &image, false);
    assert_eq!(post.outcome(0), Outcome::Exit(2));
    assert!(begun.elapsed() < 2 * time, "it began anew");
}

#[test]
fn what_is_sent_while_effects_are_held_is_held_and_received_mail_is_not() {
    // Sends back what it gets, twice.
    let body = r#"(local $count i32)
      (loop $more
        (drop (call $receive (i32.const 0) (i32.const 64) (i32.const 8) (i64.const -1)))
        (drop (call $send (i64.load (i32.const 0)) (i32.load (i32.const 8)) (i32.const 64)
          (i32.load (i32.const 16)) (i64.const -1)))
        (local.set $count (i32.add (local.get $count) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $count) (i32.const 2))))
      (drop (call $receive (i32.const 0) (i32.const 64) (i32.const 8) (i64.const -1)))"#;
    let engines = [engine(), engine()];
    let mut post = alone(&engines, body);
    post.waits(0, |status| status == Status::Waiting(Wait::Message(None)));
    assert!(post.process(0).deliver(pid(5), What::Message, b"one"[..].into()));
    assert!(post.process(0).deliver(pid(6), What::Message, b"two"[..].into()));
    let image = post.freeze(0);
    post.thaw(0, &image, true);
    post.waits(0, |status| status == Status::Waiting(Wait::Message(None)));
    assert_eq!(sent(post.process(0)), []);
    while let Some((_, event)) = post.try_next() {
        assert!(!matches!(event, Event::Sent), "it is held");
    }
    post.process(0).release_effects();
    assert!(matches!(post.next(), (0, Event::Sent)));
    let sent = sent(post.process(0));
    let sent: Vec<_> = sent.iter().map(|message| (message.to, &*message.bytes)).collect();
    assert_eq!(sent, [(pid(5), &b"one"[..]), (pid(6), b"two")]);
}

#[test]
fn what_is_taken_from_an_inbox_that_was_full_is_told() {
    // Waits for a word on its input before it takes anything.
    let wasm = wat(r#"(module
      (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
      (import "whimbrel" "receive" (func $receive (param i32 i32 i32 i64) (result i32)))
      (memory (export "memory") 64)
      (data (i32.const 0) "\20\00\00\00\01\00\00\00")
      (func (export "_start")
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))
        (loop $more
          (br_if $more (i32.eqz (call $receive (i32.const 0x100) (i32.const 0x1000)
            (i32.const 0x100000) (i64.const 0)))))))"#);
    let engines = [engine(), engine()];
    let mut post = Post::start(&engines, vec![(wasm, Setup::default())]);
    let large = vec![7; MESSAGE_BYTES_MAX - MESSAGE_BYTES_EXTRA];
    let fit = INBOX_BYTES_MAX / MESSAGE_BYTES_MAX;
    let deliver = |post: &Post<'_>, bytes: &[u8]| {
        post.process(0).deliver(pid(5), What::Message, bytes.into())
    };
    assert!((0..fit).all(|_| deliver(&post, &large)));
    assert!(!deliver(&post, b""));
    assert!(post.process(0).deliver(pid(5), What::Down, b"normal"[..].into()), "news fits");
    post.waits(0, |status| status == Status::Waiting(Wait::Stdin(None)));
    post.migrate(0);
    assert!(!deliver(&post, b""));
    post.process(0).stdin(0, b"!");
    let mut took = Took::default();
    while took.messages < fit as u64 {
        match post.next() {
            (0, Event::Took) => {
                for (from, more) in post.process(0).took() {
                    assert_eq!(from, pid(5));
                    took.messages += more.messages;
                    took.bytes += more.bytes;
                }
            }
            (_, Event::Ended(outcome)) => panic!("{outcome} after {took:?}"),
            _ => {}
        }
    }
    assert_eq!(took.bytes, (fit * large.len()) as u64);
    assert_eq!(post.outcome(0), Outcome::Exit(0));
}

#[test]
fn an_image_that_is_a_copy_has_no_messages() {
    let body = format!(
        "(drop (call $send (i64.const {}) (i32.const 0) (i32.const 0) (i32.const 4) (i64.const -1)))
         (call $exit (call $receive (i32.const 0) (i32.const 64) (i32.const 8) (i64.const -1)))",
        GROUP.0
    );
    let engines = [engine(), engine()];
    let mut post = alone(&engines, &body);
    post.waits(0, |status| status == Status::Waiting(Wait::Message(None)));
    let image = post.freeze_with(0, Some(b"mail"));
    post.thaw_as(0, Pid { group: GroupId(99), index: 0 }, &image, false);
    post.waits(0, |status| status == Status::Waiting(Wait::Message(None)));
    assert_eq!(sent(post.process(0)), []);
}
