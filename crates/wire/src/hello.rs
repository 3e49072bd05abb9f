//! The first word on every link, in both directions, before anything else is believed.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{NodeId, Peer};

/// Names a cluster: drawn at random when its certificate authority is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId(pub [u8; 16]);

/// Opens a link. Its layout never changes; what it says about versions decides about the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The cluster that the speaker belongs to.
    pub cluster: ClusterId,
    /// The speaker and its incarnation. The number must be the one in its certificate.
    pub peer: Peer,
    /// What this connection is for.
    pub channel: Channel,
    /// Message formats.
    pub wire: Versions,
    /// Image formats.
    pub image: Versions,
    /// Formats of registry records.
    pub registry: Versions,
    /// The release, for people.
    pub release: String,
}

/// Each kind of traffic has its own connections, so that an image never stands before a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Channel {
    /// [`Envelope`](crate::Envelope)s.
    Messages,
    /// Images, as streams.
    Bulk,
    /// Requests of the control plane that one member passes on to another, and code.
    Control,
}

/// An inclusive range of format versions that a release reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest.
    pub oldest: u16,
    /// The newest.
    pub newest: u16,
}

/// What both ends use from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Agreed {
    /// Message format.
    pub wire: u16,
    /// Image format.
    pub image: u16,
    /// Registry format.
    pub registry: u16,
}

/// Why a link was closed after its `hello`. Sent before closing, so that the far end can say it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HelloRefused {
    /// Another cluster.
    Cluster,
    /// No format in common: what, theirs, ours.
    Versions(Format, Versions, Versions),
    /// The certificate is for another node.
    Certificate(NodeId),
    /// The registry has forgotten this number, or never gave it.
    Unknown(NodeId),
    /// An incarnation that has been seen to end.
    Past(Peer),
}

/// What a range of versions is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Format {
    /// Messages.
    Wire,
    /// Images.
    Image,
    /// Registry records.
    Registry,
}

impl Versions {
    /// The range of one version.
    #[must_use]
    pub const fn only(version: u16) -> Self {
        Self { oldest: version, newest: version }
    }

    /// The newest version that both ranges hold.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.newest.min(other.newest);
        (self.oldest.max(other.oldest) <= newest).then_some(newest)
    }
}

impl Hello {
    /// Compares our hello with a peer's: the formats to use, or why there is no link.
    ///
    /// # Errors
    /// The refusal to send back. Nothing of the peer's has been believed.
    pub fn agree(&self, theirs: &Self) -> Result<Agreed, HelloRefused> {
        if self.cluster != theirs.cluster {
            return Err(HelloRefused::Cluster);
        }
        let common = |format, ours: Versions, theirs: Versions| {
            ours.common(theirs).ok_or(HelloRefused::Versions(format, theirs, ours))
        };
        Ok(Agreed {
            wire: common(Format::Wire, self.wire, theirs.wire)?,
            image: common(Format::Image, self.image, theirs.image)?,
            registry: common(Format::Registry, self.registry, theirs.registry)?,
        })
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { oldest, newest } = *self;
        if oldest == newest { write!(f, "{oldest}") } else { write!(f, "{oldest} to {newest}") }
    }
}

impl fmt::Display for HelloRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("it belongs to another cluster"),
            Self::Versions(format, theirs, ours) => {
                let format = match format {
                    Format::Wire => "message",
                    Format::Image => "image",
                    Format::Registry => "registry",
                };
                write!(f, "no common {format} format: it has {theirs}, this node {ours}")
            }
            Self::Certificate(node) => write!(f, "its certificate is for {node}"),
            Self::Unknown(node) => write!(f, "{node} is not a member"),
            Self::Past(peer) => write!(f, "{peer} has ended"),
        }
    }
}
