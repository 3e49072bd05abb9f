//! A registry is made anew, from what the members say, when the last one is lost for good.
//!
//! An operator asks for it, and names all members that will not come back: they are forgotten, and what they had is lost.
//! All others must have been heard. What they own they own; a process that was frozen for one that is forgotten, or for an
//! incarnation that is over, may have run there and been seen, so it is lost, too: who holds its image cannot know. Of
//! processes in files nobody knows: such a file starts a new process from now on.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use wire::{
    Claim, Epoch, Generation, GroupId, Held, Incarnation, Key, Member, MemberRecord,
    MemberStanding, NodeId, Offer, Owner, Peer, Pid, Place, Record, Testimony,
};

use crate::Machine;
use crate::process::Phase;

/// Ids that only those who are forgotten have heard of are below this much more than any that is known.
const IDS_SKIPPED: u64 = 1 << 32;

/// The same for numbers of nodes: one that joined a moment ago may be known to the lost home alone.
const NODES_SKIPPED: u32 = 1 << 10;

impl Machine {
    /// What this node knows that the registry knew.
    #[must_use]
    pub fn testimony(&self) -> Option<Testimony> {
        let news = self.news.as_ref()?;
        let claims = self.processes.iter().map(|(pid, process)| Claim {
            pid: *pid,
            epoch: process.epoch,
            offer: process.offer,
            name: process.name.clone(),
            held: match &process.phase {
                Phase::Offered(m) => Held::Offered(m.target),
                Phase::Kept(m) => Held::Kept(m.target),
                _ => Held::Owned,
            },
        });
        let committed = self.floors.iter().filter(|(_, floor)| floor.committed != Offer(0));
        let committed = committed.map(|(pid, floor)| (*pid, floor.committed)).collect();
        let blocks: Vec<(GroupId, GroupId)> = self.ids.iter().copied().collect();
        let open = self.logs.iter().filter(|(_, log)| !log.ended && !log.concluding);
        let logs: Vec<Pid> = open.map(|(pid, _)| *pid).collect();
        let correspondents = self.processes.values().flat_map(|p| p.delivery.pairs.keys());
        let known = self.processes.keys().chain(&logs).chain(correspondents);
        let known = known.map(|pid| pid.group).chain(blocks.iter().map(|(_, last)| *last));
        let highest = known.max().unwrap_or(GroupId(0));
        Some(Testimony {
            from: self.config.me,
            members: news.members.clone(),
            generation: news.generation,
            killed: news.killed.clone(),
            claims: claims.collect(),
            committed,
            blocks,
            logs,
            highest,
        })
    }
}

/// The records of a registry as all these members know it. `forgotten` are those that will not come back.
#[must_use]
pub fn rebuild(said: &[Testimony], forgotten: &BTreeSet<NodeId>) -> Vec<(Key, Record)> {
    let newest = said.iter().map(|testimony| testimony.generation).max();
    let generation = Generation(newest.unwrap_or_default().0 + 1);
    let here: BTreeSet<Peer> = said.iter().map(|testimony| testimony.from).collect();
    let members = members(said, forgotten, generation);
    let next_node = members.keys().next_back().map_or(1, |last| last.0 + NODES_SKIPPED);
    let highest = said.iter().map(|testimony| testimony.highest.0).max().unwrap_or(0);
    let next_group = highest + IDS_SKIPPED;
    let counters = Record::Counters { next_node, next_group, generation };
    let mut records = Vec::from([(Key::Counters, counters)]);
    let (places, names) = places(said, &here);
    let lost = lost(said, &places, &members, forgotten);
    records.extend(members.into_iter().map(|(node, of)| (Key::Member(node), Record::Member(of))));
    for testimony in said {
        let blocks = testimony.blocks.iter();
        records.extend(
            blocks.map(|(first, last)| (Key::Block(*first), Record::Block(*last, testimony.from))),
        );
    }
    let places = places.into_iter().chain(lost);
    records.extend(places.map(|(pid, place)| (Key::Place(pid), Record::Place(place))));
    records.extend(names.into_iter().map(|(name, pid)| (Key::Name(name), Record::Name(pid))));
    let killed: BTreeSet<GroupId> = said.iter().flat_map(|t| t.killed.iter().copied()).collect();
    records
        .extend(killed.into_iter().map(|group| (Key::Killed(group), Record::Killed(generation))));
    records
}

fn members(
    said: &[Testimony],
    forgotten: &BTreeSet<NodeId>,
    generation: Generation,
) -> BTreeMap<NodeId, MemberRecord> {
    let mut members: BTreeMap<NodeId, MemberRecord> = BTreeMap::new();
    let told = said.iter().flat_map(|t| &t.members);
    for Member { peer, name, address, standing, settled, fenced } in told {
        let record = members.entry(peer.node).or_insert_with(|| MemberRecord {
            name: name.clone(),
            address: address.clone(),
            incarnation: peer.incarnation,
            forgotten: false,
            departed: Generation(0),
            settled: *settled,
            fenced: *fenced,
            lapsed: false,
        });
        record.forgotten |= *standing == MemberStanding::Forgotten;
        record.settled = record.settled.max(*settled);
        if record.incarnation < peer.incarnation {
            record.lapsed = false;
        }
        if record.incarnation <= peer.incarnation {
            record.incarnation = peer.incarnation;
            record.fenced = *fenced;
            record.lapsed |= *standing == MemberStanding::Lapsed;
            record.name.clone_from(name);
            record.address.clone_from(address);
        }
    }
    for Testimony { from, .. } in said {
        if let Some(record) = members.get_mut(&from.node) {
            // It speaks, so it is one that has started since.
            record.lapsed &= from.incarnation <= record.incarnation;
            record.incarnation = record.incarnation.max(from.incarnation);
        }
    }
    for (node, record) in &mut members {
        record.forgotten |= forgotten.contains(node);
        // What may be lost of it is settled when all have dealt with its going.
        let gone = record.incarnation.0.saturating_sub(u64::from(!record.lapsed));
        let over = record.settled.0 < gone || record.forgotten;
        if over && record.settled != Incarnation(u64::MAX) {
            record.departed = generation;
        }
    }
    members
}

/// Where processes are, and what they are called.
fn places(
    said: &[Testimony],
    here: &BTreeSet<Peer>,
) -> (BTreeMap<Pid, Place>, BTreeMap<alloc::string::String, Pid>) {
    let (mut places, mut names) = (BTreeMap::<Pid, Place>::new(), BTreeMap::new());
    let claims = said.iter().flat_map(|said| said.claims.iter().map(move |of| (said.from, of)));
    let committed =
        said.iter().flat_map(|said| said.committed.iter().map(move |of| (said.from, *of)));
    let committed: BTreeMap<(Peer, Pid), Offer> =
        committed.map(|(from, (pid, offer))| ((from, pid), offer)).collect();
    for (from, claim) in claims {
        let Some(place) = placed(from, claim, here, &committed) else { continue };
        let known = places.entry(claim.pid).or_insert(place);
        if known.epoch < place.epoch {
            *known = place;
        }
        if let Some(name) = &claim.name
            && places[&claim.pid].owner == Owner::Node(from)
        {
            names.insert(name.clone(), claim.pid);
        }
    }
    (places, names)
}

fn placed(
    from: Peer,
    claim: &Claim,
    here: &BTreeSet<Peer>,
    committed: &BTreeMap<(Peer, Pid), Offer>,
) -> Option<Place> {
    let Claim { pid, epoch, offer, held, .. } = claim;
    let at = |peer, epoch| Some(Place { owner: Owner::Node(peer), epoch, offer: *offer });
    match held {
        Held::Owned => at(from, *epoch),
        // It may have raised the epoch and been seen: nobody may take it back.
        Held::Offered(target) | Held::Kept(target) if !here.contains(target) => {
            at(*target, epoch.next().next())
        }
        // The target says itself what became of it there.
        Held::Kept(_) => None,
        Held::Offered(target) => match committed.get(&(*target, *pid)) {
            Some(last) if offer <= last => None,
            _ => at(from, *epoch),
        },
    }
}

/// Processes of which there are only logs: they were with one that is forgotten.
fn lost(
    said: &[Testimony],
    places: &BTreeMap<Pid, Place>,
    members: &BTreeMap<NodeId, MemberRecord>,
    forgotten: &BTreeSet<NodeId>,
) -> Vec<(Pid, Place)> {
    let last = forgotten.iter().find_map(|node| {
        let incarnation = members.get(node)?.incarnation;
        Some(Peer { node: *node, incarnation })
    });
    let Some(last) = last else { return Vec::new() };
    let logs: BTreeSet<Pid> = said.iter().flat_map(|said| said.logs.iter().copied()).collect();
    let unclaimed = logs.into_iter().filter(|pid| !places.contains_key(pid));
    let place = Place { owner: Owner::Node(last), epoch: Epoch(0), offer: Offer(0) };
    unclaimed.map(|pid| (pid, place)).collect()
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString as _};
    use alloc::vec;

    use wire::Standing;

    use super::*;
    use crate::testing::{peer, pid};
    use crate::{Instant, Registry};

    fn said(from: u32, claims: Vec<Claim>) -> Testimony {
        let member = |node| Member {
            peer: peer(node),
            name: node.to_string(),
            address: String::new(),
            standing: MemberStanding::Up,
            settled: Incarnation(0),
            fenced: false,
        };
        Testimony {
            from: peer(from),
            members: (1..4).map(member).collect(),
            generation: Generation(from.into()),
            killed: vec![],
            claims,
            committed: vec![],
            blocks: vec![(GroupId(u64::from(from) << 10), GroupId((u64::from(from) << 10) + 9))],
            logs: vec![],
            highest: GroupId(5_000),
        }
    }

    fn claim(of: u64, epoch: u64, held: Held) -> Claim {
        Claim { pid: pid(of), epoch: Epoch(epoch), offer: Offer(1), name: None, held }
    }

    /// The registry that two members make after the loss of the first.
    fn rebuilt(two: Testimony, three: Testimony) -> Registry {
        let records = rebuild(&[two, three], &[NodeId(1)].into());
        Registry::recover(Instant::default(), 1, records)
    }

    fn owner(registry: &Registry, of: u64) -> (Owner, u64, Standing) {
        let location = registry.locate(pid(of));
        (location.place.owner, location.place.epoch.0, location.standing)
    }

    #[test]
    fn whoever_has_a_process_owns_it_and_one_that_begins_later_is_found_by_its_block() {
        let mut two = said(2, vec![claim(7, 4, Held::Owned)]);
        two.claims[0].name = Some("web".to_string());
        let registry = rebuilt(two, said(3, vec![claim(8, 0, Held::Owned)]));
        let [two, three] = [2, 3].map(|node| Owner::Node(peer(node)));
        assert_eq!(owner(&registry, 7), (two, 4, Standing::Up));
        assert_eq!(owner(&registry, 8), (three, 0, Standing::Up));
        assert_eq!(owner(&registry, (3 << 10) + 2), (three, 0, Standing::Up), "not born yet");
        assert_eq!(owner(&registry, 9).2, Standing::Unknown);
        let news = registry.news();
        let forgotten = news.members.iter().filter(|m| m.standing == MemberStanding::Forgotten);
        assert_eq!(forgotten.map(|member| member.peer.node).collect::<Vec<_>>(), [NodeId(1)]);
        assert_eq!(news.generation, Generation(4));
    }

    #[test]
    fn of_a_process_between_two_nodes_the_one_that_may_run_it_has_it() {
        let offered = |to| claim(7, 2, Held::Offered(peer(to)));
        let [two, three] = [2, 3].map(|node| Owner::Node(peer(node)));
        // Its target has not committed: it is still the source's to give.
        let registry = rebuilt(said(2, vec![offered(3)]), said(3, vec![]));
        assert_eq!(owner(&registry, 7), (two, 2, Standing::Up));
        // Its target has.
        let mut has = said(3, vec![claim(7, 3, Held::Owned)]);
        has.committed = vec![(pid(7), Offer(1))];
        let registry = rebuilt(said(2, vec![offered(3)]), has.clone());
        assert_eq!(owner(&registry, 7), (three, 3, Standing::Up));
        // It has ended there since.
        has.claims.clear();
        let registry = rebuilt(said(2, vec![offered(3)]), has);
        assert_eq!(owner(&registry, 7).2, Standing::Unknown);
        // Its target is forgotten, and may have shown what it did: it is not taken back.
        for held in [Held::Offered(peer(1)), Held::Kept(peer(1))] {
            let registry = rebuilt(said(2, vec![claim(7, 2, held)]), said(3, vec![]));
            let (owner, epoch, _) = owner(&registry, 7);
            assert_eq!((owner, epoch), (Owner::Node(peer(1)), 4));
        }
    }

    #[test]
    fn a_process_of_which_there_is_only_output_was_with_the_lost_home() {
        let mut two = said(2, vec![]);
        two.logs = vec![pid(7)];
        let registry = rebuilt(two, said(3, vec![]));
        assert_eq!(owner(&registry, 7).0, Owner::Node(peer(1)));
    }
}
