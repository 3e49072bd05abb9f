//! The registry by itself: what it still knows after a start.

use std::collections::BTreeMap;

use protocol::{Instant, Registry, Span};
use wire::{
    Epoch, Generation, GroupId, Incarnation, Key, MemberStanding, NodeId, Offer, Owner, Peer, Pid,
    Record, RegistryRefusal, Reply, Request, Swap, SwapKind, TokenHash, Write,
};

/// A registry and its disk.
struct Kept {
    registry: Registry,
    disk: BTreeMap<Key, Record>,
    now: Instant,
}

impl Kept {
    /// A cluster of two nodes that are up, of which the first may start groups.
    fn founded() -> Self {
        let (now, disk) = (Instant::ZERO, BTreeMap::new());
        let mut kept = Self { registry: Registry::recover(now, 1, []), disk, now };
        for node in 1..=2 {
            let token = TokenHash([node; 32]);
            kept.ask(1, 1, Request::Token { hash: token, life_micros: 1_000_000 });
            let (name, address) = (format!("node{node}"), String::from("here"));
            let join = Request::Join { token, name: name.clone(), address: address.clone() };
            assert_eq!(kept.ask(1, 1, join), Reply::Joined(NodeId(node.into())));
            kept.start(node.into(), 1, false);
        }
        assert!(matches!(kept.ask(1, 1, Request::Block), Reply::Block(..)));
        kept
    }

    fn ask(&mut self, node: u32, incarnation: u64, request: Request) -> Reply {
        let from = peer(node, incarnation);
        let (reply, writes) = self.registry.apply(self.now, from, request);
        for write in writes {
            match write {
                Write::Put(key, record) => drop(self.disk.insert(key, record)),
                Write::Delete(key) => drop(self.disk.remove(&key)),
            }
        }
        reply
    }

    fn start(&mut self, node: u32, incarnation: u64, claims: bool) -> Reply {
        self.start_as(node, incarnation, claims, false)
    }

    fn start_as(&mut self, node: u32, incarnation: u64, claims: bool, fenced: bool) -> Reply {
        let (name, address) = (format!("node{node}"), String::from("here"));
        self.ask(node, incarnation, Request::Start { name, address, claims, fenced })
    }

    /// So much time passes, of which the registry hears from one member alone.
    fn wait(&mut self, node: u32, span: Span) {
        self.now = self.now + span;
        self.ask(node, 1, Request::Renew { seen: 0, handled: Generation(0) });
    }

    /// Every member says that it has dealt with all that is known.
    fn all_have_handled(&mut self, members: [(u32, u64); 2]) {
        for (node, incarnation) in members {
            let handled = Generation(u64::MAX);
            self.ask(node, incarnation, Request::Renew { seen: 0, handled });
        }
    }

    fn crash(&mut self) {
        let records: Vec<_> = self.disk.clone().into_iter().collect();
        self.registry = Registry::recover(self.now, 2, records);
    }
}

fn peer(node: u32, incarnation: u64) -> Peer {
    Peer { node: NodeId(node), incarnation: Incarnation(incarnation) }
}

const PROCESS: Pid = Pid { group: GroupId(1), index: 0 };

fn swap(kind: SwapKind, from: Peer, to: Peer) -> Request {
    let (owner, to) = (Owner::Node(from), Owner::Node(to));
    Request::Swap(Swap { pid: PROCESS, kind, owner, epoch: Epoch(0), to, offer: Offer(1) })
}

/// A commit that was long on its way comes after the kill is over, and after the registry has forgotten all but its disk.
#[test]
fn a_late_commit_of_a_killed_group_is_refused_after_a_crash_too() {
    let mut kept = Kept::founded();
    assert!(matches!(kept.ask(1, 1, Request::KillGroup(GroupId(1))), Reply::Killing(..)));
    kept.all_have_handled([(1, 1), (2, 1)]);
    let over = kept.ask(1, 1, Request::KillGroup(GroupId(1)));
    assert_eq!(over, Reply::Killing(GroupId(1), Vec::new()));
    kept.crash();
    let late = kept.ask(2, 1, swap(SwapKind::Commit, peer(1, 1), peer(2, 1)));
    assert!(matches!(late, Reply::NotSwapped(..)), "{late:?}");
    kept.all_have_handled([(1, 1), (2, 1)]);
    kept.now = kept.now + Span::seconds(601);
    kept.all_have_handled([(1, 1), (2, 1)]);
    assert!(!kept.disk.contains_key(&Key::Killed(GroupId(1))), "nothing is kept for ever");
}

#[test]
fn only_a_later_incarnation_of_its_node_begins_a_process_anew() {
    let mut kept = Kept::founded();
    let by_another = kept.ask(2, 1, swap(SwapKind::Restart, peer(1, 1), peer(2, 1)));
    assert!(matches!(by_another, Reply::Refused(_)), "{by_another:?}");
    kept.start(1, 2, true);
    // What it had is not lost while it has not said that it has dealt with that.
    kept.ask(2, 1, Request::Renew { seen: 0, handled: Generation(u64::MAX) });
    let standing = |kept: &Kept| kept.registry.locate(PROCESS).standing;
    assert_eq!(standing(&kept), wire::Standing::Gone);
    let anew = kept.ask(1, 2, swap(SwapKind::Restart, peer(1, 1), peer(1, 2)));
    assert!(matches!(anew, Reply::Swapped(..)), "{anew:?}");
    kept.all_have_handled([(1, 2), (2, 1)]);
    assert_eq!(standing(&kept), wire::Standing::Up);
    kept.start(1, 3, false);
    kept.all_have_handled([(1, 3), (2, 1)]);
    assert_eq!(standing(&kept), wire::Standing::Lost, "nothing of it was on the disk");
}

/// Its first word was lost on the way, its commit was not; then it is off for good, and nobody has heard of it.
#[test]
fn a_process_is_lost_with_an_incarnation_that_was_never_heard_of() {
    let mut again = Kept::founded();
    is_lost_with_it(&mut again, peer(2, 2));
    // One that has only ever joined.
    let mut first = Kept::founded();
    let token = TokenHash([3; 32]);
    first.ask(1, 1, Request::Token { hash: token, life_micros: 1_000_000 });
    let join = Request::Join { token, name: String::from("node3"), address: String::from("here") };
    assert_eq!(first.ask(1, 1, join), Reply::Joined(NodeId(3)));
    is_lost_with_it(&mut first, peer(3, 1));
}

fn is_lost_with_it(kept: &mut Kept, unheard: Peer) {
    let commit = swap(SwapKind::Commit, peer(1, 1), unheard);
    let commit = kept.ask(unheard.node.0, unheard.incarnation.0, commit);
    assert!(matches!(commit, Reply::Swapped(..)), "{commit:?}");
    kept.now = kept.now + Span::seconds(60);
    let others = if unheard.node == NodeId(2) { [(1, 1), (1, 1)] } else { [(1, 1), (2, 1)] };
    kept.all_have_handled(others);
    assert_eq!(kept.ask(1, 1, Request::Forget(unheard.node)), Reply::Done);
    kept.all_have_handled(others);
    assert_eq!(kept.registry.locate(PROCESS).standing, wire::Standing::Lost);
    kept.crash();
    assert_eq!(kept.registry.locate(PROCESS).standing, wire::Standing::Lost);
}

#[test]
fn only_a_fenced_incarnation_is_gone_when_its_lease_is_over() {
    let mut kept = Kept::founded();
    kept.start_as(2, 2, false, true);
    let standing = |kept: &Kept, node| {
        let news = kept.registry.news();
        news.members.iter().find(|it| it.peer.node == NodeId(node)).unwrap().standing
    };
    kept.wait(1, Span::seconds(7));
    assert_eq!(standing(&kept, 2), MemberStanding::Silent, "not longer than seven seconds");
    // A start of the registry counts everyone as just heard.
    kept.crash();
    kept.wait(1, Span::seconds(1));
    assert_eq!(standing(&kept, 2), MemberStanding::Up);
    kept.wait(1, Span::seconds(7));
    assert_eq!(standing(&kept, 2), MemberStanding::Lapsed);
    let late = kept.ask(2, 2, Request::Renew { seen: 0, handled: Generation(0) });
    assert_eq!(late, Reply::Refused(RegistryRefusal::Gone));
    assert_eq!(kept.start_as(2, 2, false, true), Reply::Refused(RegistryRefusal::Gone));
    kept.crash();
    assert_eq!(standing(&kept, 2), MemberStanding::Lapsed, "it stays so");
    assert!(matches!(kept.start(2, 3, false), Reply::News(Some(_))));
    assert_eq!(standing(&kept, 2), MemberStanding::Up);

    kept.wait(1, Span::seconds(60));
    assert_eq!(standing(&kept, 2), MemberStanding::Silent, "it is fenced no longer");
}

#[test]
fn what_one_had_whose_lease_is_over_is_lost_when_the_others_know() {
    let mut kept = Kept::founded();
    kept.start_as(1, 2, false, true);
    assert!(matches!(kept.ask(1, 2, Request::Block), Reply::Block(..)));
    let committed = kept.ask(1, 2, swap(SwapKind::Commit, peer(1, 1), peer(1, 2)));
    assert!(matches!(committed, Reply::Swapped(..)), "{committed:?}");
    kept.wait(2, Span::seconds(8));
    assert_eq!(kept.registry.locate(PROCESS).standing, wire::Standing::Gone);
    kept.ask(2, 1, Request::Renew { seen: 0, handled: Generation(u64::MAX) });
    assert_eq!(kept.registry.locate(PROCESS).standing, wire::Standing::Lost);
}
