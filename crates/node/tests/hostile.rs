//! A member that has lost its mind, or its key to somebody else: whatever it says ends its own connection, and nothing else.

mod common;

use std::path::Path;

use api::Outcome;
use common::{Member, PATIENCE, cluster};
use hyper::Method;
use node::disk::{DataDir, DiskError};
use node::trust::{Credentials, Fingerprint, Tls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use wire::{
    Blob, Channel, Envelope, Hello, HelloRefused, Incarnation, Message, NodeId, Offer, Peer, Pid,
    Stream, Versions,
};

/// Everything that a member has to show for itself, in the wrong hands.
struct Stolen {
    tls: Tls,
    hello: Hello,
    to: Peer,
    address: String,
}

type Link = TlsStream<TcpStream>;

/// Stops a member, and takes its key.
async fn steal(member: Member, from: &Member) -> (Stolen, tempfile::TempDir) {
    let Member { mut handle, data } = member;
    let ready = handle.ready().clone();
    handle.stop();
    handle.ended().await;
    let credentials = credentials(data.path()).await;
    let cluster = Fingerprint::of(&credentials.authority).cluster();
    let theirs = from.handle.ready();
    let peer = Peer { node: NodeId(ready.node), incarnation: Incarnation(ready.incarnation) };
    let hello = Hello {
        cluster,
        peer,
        channel: Channel::Messages,
        wire: Versions::only(wire::WIRE_VERSION as u16),
        image: wire::image::VERSIONS,
        registry: Versions::only(1),
        release: "evil".to_owned(),
    };
    let to = Peer { node: NodeId(theirs.node), incarnation: Incarnation(theirs.incarnation) };
    let tls = Tls::new(&credentials).unwrap();
    (Stolen { tls, hello, to, address: theirs.address.clone() }, data)
}

async fn credentials(data: &Path) -> Credentials {
    let opened = async {
        loop {
            match DataDir::open(data) {
                Err(DiskError::Locked { .. }) => tokio::task::yield_now().await,
                opened => return opened.unwrap(),
            }
        }
    };
    let dir = tokio::time::timeout(PATIENCE, opened).await.expect("its directory is let go");
    Credentials::load(&dir).unwrap().unwrap()
}

impl Stolen {
    async fn connect(&self) -> std::io::Result<Link> {
        let socket = TcpStream::connect(&self.address).await?;
        let (connector, name) = self.tls.connector(self.to.node);
        connector.connect(name, socket).await
    }

    /// Says hello, and what the answer was.
    async fn greet(&self, hello: &Hello) -> (Link, Result<Hello, HelloRefused>) {
        let mut link = self.connect().await.unwrap();
        frame(&mut link, &wire::encode(hello)).await.unwrap();
        let length = link.read_u32_le().await.unwrap();
        let mut answer = vec![0; length as usize];
        link.read_exact(&mut answer).await.unwrap();
        (link, wire::decode(&answer).unwrap())
    }

    async fn link(&self, channel: Channel) -> Link {
        let (link, answer) = self.greet(&Hello { channel, ..self.hello.clone() }).await;
        answer.unwrap();
        link
    }

    fn envelope(&self, from: Peer, message: Message) -> Vec<u8> {
        wire::encode(&Envelope { from, to: self.to, message })
    }
}

async fn frame(link: &mut Link, bytes: &[u8]) -> std::io::Result<()> {
    link.write_u32_le(bytes.len() as u32).await?;
    link.write_all(bytes).await?;
    link.flush().await
}

/// The far end hangs up, and says nothing before that.
async fn hangs_up(mut link: Link, why: &str) {
    let mut rest = Vec::new();
    // However it does that.
    let read = tokio::time::timeout(PATIENCE, link.read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "{why}: it still listens");
    assert!(rest.is_empty(), "{why}: {rest:?}");
}

fn output(pid: Pid, bytes: &[u8]) -> Message {
    let (life, bytes) = (wire::Life(1), Blob(bytes.to_vec()));
    Message::Output { pid, life, offset: 0, base: 0, stream: Stream::Out, bytes }
}

async fn is_refused(stolen: &Stolen) {
    let hello = &stolen.hello;
    let another = Peer { node: stolen.to.node, ..hello.peer };
    let (link, answer) = stolen.greet(&Hello { peer: another, ..hello.clone() }).await;
    assert_eq!(answer, Err(HelloRefused::Certificate(hello.peer.node)));
    hangs_up(link, "another's name").await;

    let past = Peer { incarnation: Incarnation(0), ..hello.peer };
    let (link, answer) = stolen.greet(&Hello { peer: past, ..hello.clone() }).await;
    assert_eq!(answer, Err(HelloRefused::Past(past)));
    hangs_up(link, "an earlier incarnation").await;

    let newer = Versions { oldest: 8, newest: 9 };
    let (link, answer) = stolen.greet(&Hello { wire: newer, ..hello.clone() }).await;
    assert!(answer.unwrap_err().to_string().contains("no common message format"));
    hangs_up(link, "another release").await;

    for (length, bytes) in [(u32::MAX, vec![0; 8]), (12, vec![0xff; 12])] {
        let mut link = stolen.connect().await.unwrap();
        link.write_u32_le(length).await.unwrap();
        link.write_all(&bytes).await.unwrap();
        hangs_up(link, "no hello").await;
    }
}

async fn ends_its_own_link(stolen: &Stolen, pid: Pid) {
    let mut link = stolen.link(Channel::Messages).await;
    link.write_u32_le(u32::MAX).await.unwrap();
    hangs_up(link, "a message of four gigabytes").await;

    let mut link = stolen.link(Channel::Messages).await;
    frame(&mut link, &[0xff; 64]).await.unwrap();
    hangs_up(link, "no message").await;

    let whole = stolen.envelope(stolen.hello.peer, output(pid, b"not its own words\n"));
    let mut link = stolen.link(Channel::Messages).await;
    frame(&mut link, &whole[..whole.len() - 1]).await.unwrap();
    hangs_up(link, "most of a message").await;

    let mut link = stolen.link(Channel::Messages).await;
    let more: Vec<u8> = whole.iter().copied().chain([0]).collect();
    frame(&mut link, &more).await.unwrap();
    hangs_up(link, "a message and a bit").await;

    let mut link = stolen.link(Channel::Bulk).await;
    let _ = link.write_all(&[0xff; 4096]).await;
    hangs_up(link, "no image").await;

    // Said in another's name it is dropped, and the link goes on: the next one ends it.
    let mut link = stolen.link(Channel::Messages).await;
    let forged = Peer { node: NodeId(77), ..stolen.hello.peer };
    frame(&mut link, &stolen.envelope(forged, output(pid, b"forged\n"))).await.unwrap();
    let settled = Message::Settled { pid, offer: Offer(99) };
    frame(&mut link, &stolen.envelope(stolen.hello.peer, settled)).await.unwrap();
    frame(&mut link, &[0xff; 4]).await.unwrap();
    hangs_up(link, "no message after two").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_hostile_member_says_ends_its_own_connection_and_nothing_else() {
    let mut members = cluster(&["heron", "osprey", "plover"]).await;
    let plover = members.pop().unwrap();
    let heron = members[0].client();
    let wasm = std::fs::read(programs::guest("hear").expect("it builds")).unwrap();
    let mut ear = heron.run(&wasm, |_| ()).await;
    ear.until("here\n".len()).await;

    let (stolen, _data) = steal(plover, &members[0]).await;
    // Not even encrypted.
    let mut plain = TcpStream::connect(&stolen.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    let read = tokio::time::timeout(PATIENCE, plain.read_to_end(&mut said)).await;
    assert!(read.is_ok() && !said.starts_with(b"HTTP"), "nothing is served in the clear: {said:?}");
    // Certified, but by somebody else.
    let elsewhere = cluster(&["stranger"]).await.pop().unwrap();
    let (mut stranger, _their_data) = steal(elsewhere, &members[0]).await;
    stranger.to = stolen.to;
    assert!(stranger.connect().await.is_err(), "neither knows the other's authority");

    is_refused(&stolen).await;
    ends_its_own_link(&stolen, ear.pid).await;

    // All is well: it hears, moves, hears again, and what was forged was never its.
    for (text, to) in [("one", "osprey"), ("two", "heron")] {
        let path = format!("/v1/processes/{}/messages", ear.pid);
        let sent = heron.send(Method::POST, &path, text.as_bytes().to_vec()).await;
        assert!(sent.status().is_success(), "{:?}", sent.status());
        heron.move_to(ear.pid, to).await.unwrap();
    }
    let path = format!("/v1/processes/{}/messages", ear.pid);
    let sent = heron.send(Method::POST, &path, Vec::new()).await;
    assert!(sent.status().is_success());
    assert_eq!(ear.until_end().await, Outcome::Exited { code: 0 });
    let heard = "here\noperator: one\noperator: two\nend\nErr(Gone)\n";
    assert_eq!(ear.text(), heard);
}
