//! The first words on a connection between members, at both ends.

use std::sync::{Arc, RwLock};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;
use wire::{
    Channel, ClusterId, Hello, HelloRefused, Incarnation, Member, MemberStanding, NodeId, Peer,
    Versions,
};

/// What this release reads and writes of each format.
const WIRE: Versions = Versions::only(wire::WIRE_VERSION as u16);
const IMAGE: Versions = wire::image::VERSIONS;
const REGISTRY: Versions = Versions::only(1);

/// A hello is a few dozen bytes; more is no hello.
const HELLO_BYTES_MAX: u32 = 4096;

/// Who this node is, for the first word on each connection.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) cluster: ClusterId,
    pub(crate) peer: Peer,
    /// Offered versions can be overridden, so that a test can be a node of another release.
    pub(crate) wire: Versions,
}

/// The members as of the last news, shared by all who let connections in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    members: Arc<RwLock<Vec<Member>>>,
    news: Arc<Notify>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HelloError {
    /// The far end, or this one, refused.
    #[error("{0}")]
    Refused(HelloRefused),
    /// What came is no hello.
    #[error("{0}")]
    Malformed(wire::DecodeError),
    /// It is longer than any hello.
    #[error("a hello of {0} bytes, {HELLO_BYTES_MAX} at most")]
    TooLong(u32),
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Identity {
    pub(crate) fn new(cluster: ClusterId, peer: Peer) -> Self {
        Self { cluster, peer, wire: WIRE }
    }

    fn hello(&self, channel: Channel) -> Hello {
        Hello {
            cluster: self.cluster,
            peer: self.peer,
            channel,
            wire: self.wire,
            image: IMAGE,
            registry: REGISTRY,
            release: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

impl Roster {
    pub(crate) fn set(&self, members: &[Member]) {
        *self.members.write().expect("nobody panics in here") = members.to_vec();
        self.news.notify_one();
    }

    /// Until they have been set since this was awaited last. For one who waits.
    pub(crate) async fn changed(&self) {
        self.news.notified().await;
    }

    pub(crate) fn members(&self) -> Vec<Member> {
        self.members.read().expect("nobody panics in here").clone()
    }

    pub(crate) fn member(&self, node: NodeId) -> Option<Member> {
        let members = self.members.read().expect("nobody panics in here");
        members.iter().find(|member| member.peer.node == node).cloned()
    }

    /// May this peer come in? The certificate said who was let into the cluster once; this says who
    /// still belongs to it.
    fn admit(&self, peer: Peer) -> Result<(), HelloRefused> {
        match self.member(peer.node) {
            None => Err(HelloRefused::Unknown(peer.node)),
            Some(member) if member.standing == MemberStanding::Forgotten => {
                Err(HelloRefused::Unknown(peer.node))
            }
            Some(member) if peer.incarnation < member.peer.incarnation => {
                Err(HelloRefused::Past(peer))
            }
            Some(_) => Ok(()),
        }
    }
}

/// Calls: says hello, hears whether it was accepted. `certified` is the number in the far end's
/// certificate.
pub(crate) async fn call(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    identity: &Identity,
    channel: Channel,
    certified: NodeId,
) -> Result<Incarnation, HelloError> {
    let ours = identity.hello(channel);
    write(stream, &ours).await?;
    let theirs: Hello =
        read::<Result<Hello, HelloRefused>>(stream).await?.map_err(HelloError::Refused)?;
    ours.agree(&theirs).map_err(HelloError::Refused)?;
    if theirs.peer.node != certified {
        return Err(HelloError::Refused(HelloRefused::Certificate(certified)));
    }
    Ok(theirs.peer.incarnation)
}

/// Answers a call: who it is and what for.
pub(crate) async fn answer(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    identity: &Identity,
    roster: &Roster,
    certified: NodeId,
) -> Result<(Peer, Channel), HelloError> {
    let theirs: Hello = read(stream).await?;
    let ours = identity.hello(theirs.channel);
    let checked = ours.agree(&theirs).and_then(|_| {
        if theirs.peer.node != certified {
            return Err(HelloRefused::Certificate(certified));
        }
        roster.admit(theirs.peer)
    });
    match checked {
        Ok(()) => {
            write(stream, &Ok::<_, HelloRefused>(ours)).await?;
            Ok((theirs.peer, theirs.channel))
        }
        Err(refused) => {
            write(stream, &Err::<Hello, _>(refused.clone())).await?;
            stream.shutdown().await?;
            Err(HelloError::Refused(refused))
        }
    }
}

async fn write<T: serde::Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    value: &T,
) -> std::io::Result<()> {
    let bytes = wire::encode(value);
    let length = u32::try_from(bytes.len()).expect("a hello is short");
    stream.write_u32_le(length).await?;
    stream.write_all(&bytes).await?;
    stream.flush().await
}

async fn read<T: serde::de::DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<T, HelloError> {
    let length = stream.read_u32_le().await?;
    if HELLO_BYTES_MAX < length {
        return Err(HelloError::TooLong(length));
    }
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes).await?;
    wire::decode(&bytes).map_err(HelloError::Malformed)
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    const ONE: Peer = Peer { node: NodeId(1), incarnation: Incarnation(4) };
    const TWO: Peer = Peer { node: NodeId(2), incarnation: Incarnation(1) };

    fn roster(standing: MemberStanding) -> Roster {
        let roster = Roster::default();
        roster.set(&[Member {
            peer: ONE,
            name: "one".to_owned(),
            address: String::new(),
            standing,
            settled: Incarnation(0),
            fenced: false,
        }]);
        roster
    }

    async fn meet(one: Identity, certified: NodeId, roster: &Roster) -> [String; 2] {
        let two = Identity::new(ClusterId([1; 16]), TWO);
        let (mut near, mut far) = duplex(1 << 16);
        let (called, answered) = tokio::join!(
            call(&mut near, &one, Channel::Messages, TWO.node),
            answer(&mut far, &two, roster, certified)
        );
        let called = called.map_or_else(|error| error.to_string(), |of| format!("{of:?}"));
        [called, answered.map_or_else(|error| error.to_string(), |found| format!("{found:?}"))]
    }

    #[tokio::test]
    async fn a_member_is_let_in() {
        let one = Identity::new(ClusterId([1; 16]), ONE);
        let met = meet(one, ONE.node, &roster(MemberStanding::Up)).await;
        assert_eq!(met[0], "Incarnation(1)");
        assert_eq!(met[1], format!("{:?}", (ONE, Channel::Messages)));
    }

    #[tokio::test]
    async fn both_ends_hear_why_not() {
        let check = async |one: Identity, certified, roster: &Roster, why: &str| {
            assert_eq!(meet(one, certified, roster).await, [why, why]);
        };
        let up = roster(MemberStanding::Up);
        let one = |peer| Identity::new(ClusterId([1; 16]), peer);
        let foreign = Identity::new(ClusterId([2; 16]), ONE);
        check(foreign, ONE.node, &up, "it belongs to another cluster").await;
        check(one(ONE), NodeId(7), &up, "its certificate is for n7").await;
        check(one(TWO), TWO.node, &up, "n2 is not a member").await;
        check(one(ONE), ONE.node, &roster(MemberStanding::Forgotten), "n1 is not a member").await;
        let past = Peer { incarnation: Incarnation(3), ..ONE };
        check(one(past), ONE.node, &up, "n1/3 has ended").await;
        let newer = Identity { wire: Versions { oldest: 8, newest: 9 }, ..one(ONE) };
        let why = "no common message format: it has 8 to 9, this node 1";
        check(newer, ONE.node, &up, why).await;
    }
}
