//! What can go wrong, as the command tells it: a code for programs, a sentence for people, a hint,
//! and the exit code that scripts branch on.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A request that was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// Which of the known kinds.
    pub code: ErrorCode,
    /// One sentence: what and where, lower-case, no full stop.
    pub message: String,
    /// What to do about it; [`ErrorCode::hint`] where this is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The kinds of failure. Each says what is true afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request makes no sense as it stands. Nothing was done.
    InvalidRequest,
    /// The file is not WebAssembly, or not valid. Nothing was started.
    InvalidProgram,
    /// The program needs a feature that Whimbrel does not have. Nothing was started.
    UnsupportedFeature,
    /// The program imports a function that no node offers. Nothing was started.
    MissingImport,
    /// The image is damaged, cut short, or not an image. Nothing was started.
    CorruptImage,
    /// The image is of a version that this node does not read. Nothing was started.
    ImageVersion,
    /// The image names code that is not the code at hand. Nothing was started.
    ImageCode,
    /// A file named on the command line cannot be read. Nothing was done.
    NoInput,
    /// A file to be written is there already. Nothing was done.
    Exists,
    /// No process, group or name begins so.
    UnknownProcess,
    /// The cluster has no such member.
    UnknownNode,
    /// No node has a program of this hash.
    UnknownProgram,
    /// More than one process begins so; the message lists them. Nothing was done.
    Ambiguous,
    /// The process has ended already.
    Ended,
    /// No daemon runs here, or not the one named.
    NoDaemon,
    /// Several daemons run here and none was named. Nothing was done.
    SeveralDaemons,
    /// The node is gone or does not answer. A process on its way there still runs at the source.
    NodeUnavailable,
    /// The registry's home does not answer: joins, moves and lookups wait.
    RegistryUnavailable,
    /// No common version of a format; the message has both ranges. Nothing was said.
    Versions,
    /// The target does not take the process (space, limits, a directory it lacks). It still runs at the source.
    Refused,
    /// The move was given up. The process runs at the source.
    GivenUp,
    /// The process is being moved or frozen already; try again.
    Busy,
    /// The name belongs to another. Nothing was done.
    NameTaken,
    /// A bound of this node is reached. Nothing was started.
    Limit,
    /// A disk is full. What was being written is gone, a process on its way still runs at the source.
    DiskFull,
    /// Another program listens on this address. The node did not start.
    AddressInUse,
    /// Another daemon runs with this data directory. The node did not start.
    DataInUse,
    /// The token is unknown, or was used before. The node did not join.
    BadToken,
    /// The token's hour is over. The node did not join.
    TokenExpired,
    /// The other end's certificate is not of this cluster, or its number was forgotten.
    ForeignCertificate,
    /// A file or a socket failed. The message says which.
    Io,
    /// The command was interrupted.
    Interrupted,
    /// This part is not there in this version.
    Unimplemented,
    /// A mistake in Whimbrel.
    Internal,
}

impl Error {
    /// An error without a hint of its own.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// The same with a hint for this very case.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The hint to show: its own, else its code's.
    pub fn shown_hint(&self) -> Option<&str> {
        self.hint.as_deref().or_else(|| self.code.hint())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl ErrorCode {
    /// Every code, in the order of docs/cli.md.
    pub const ALL: [Self; 34] = [
        Self::InvalidRequest,
        Self::InvalidProgram,
        Self::UnsupportedFeature,
        Self::MissingImport,
        Self::CorruptImage,
        Self::ImageVersion,
        Self::ImageCode,
        Self::NoInput,
        Self::Exists,
        Self::UnknownProcess,
        Self::UnknownNode,
        Self::UnknownProgram,
        Self::Ambiguous,
        Self::Ended,
        Self::NoDaemon,
        Self::SeveralDaemons,
        Self::NodeUnavailable,
        Self::RegistryUnavailable,
        Self::Versions,
        Self::Refused,
        Self::GivenUp,
        Self::Busy,
        Self::NameTaken,
        Self::Limit,
        Self::DiskFull,
        Self::AddressInUse,
        Self::DataInUse,
        Self::BadToken,
        Self::TokenExpired,
        Self::ForeignCertificate,
        Self::Io,
        Self::Interrupted,
        Self::Unimplemented,
        Self::Internal,
    ];

    /// The command's exit code. The numbers are those of `sysexits.h` where it has one that fits.
    pub fn exit(self) -> u8 {
        match self {
            Self::InvalidRequest | Self::Ambiguous | Self::SeveralDaemons => 64,
            Self::InvalidProgram
            | Self::UnsupportedFeature
            | Self::MissingImport
            | Self::CorruptImage
            | Self::ImageVersion
            | Self::ImageCode => 65,
            Self::NoInput => 66,
            Self::UnknownProcess | Self::UnknownProgram | Self::Ended => 67,
            Self::UnknownNode => 68,
            Self::NoDaemon
            | Self::NodeUnavailable
            | Self::RegistryUnavailable
            | Self::Unimplemented => 69,
            Self::Internal => 70,
            Self::Exists | Self::DiskFull | Self::AddressInUse | Self::DataInUse => 73,
            Self::Io => 74,
            Self::Refused | Self::GivenUp | Self::Busy | Self::NameTaken | Self::Limit => 75,
            Self::Versions => 76,
            Self::BadToken | Self::TokenExpired | Self::ForeignCertificate => 77,
            Self::Interrupted => 130,
        }
    }

    /// The HTTP status that carries it.
    pub fn status(self) -> u16 {
        match self.exit() {
            64..=66 => 400,
            67 | 68 => 404,
            69 => 503,
            75 => 409,
            77 => 403,
            _ => 500,
        }
    }

    /// What to do about it, where that is the same every time.
    pub fn hint(self) -> Option<&'static str> {
        Some(match self {
            Self::InvalidProgram => {
                "programs are WebAssembly modules: build with `--target wasm32-wasip1`"
            }
            Self::UnsupportedFeature => {
                "build without that feature; docs/cli.md lists what is supported"
            }
            Self::MissingImport => {
                "with `--stub-missing`, given to `run` or to the daemon, unknown WASI functions answer ENOSYS"
            }
            Self::CorruptImage => "freeze the process again, or use another copy of the file",
            Self::ImageVersion => {
                "thaw it with the release that wrote it, or a direct neighbour of it"
            }
            Self::Exists => "choose another file: what is there may be the only copy of a process",
            Self::UnknownProcess | Self::Ended => "`whimbrel ps --all` lists the processes",
            Self::UnknownNode => "`whimbrel nodes` lists the members",
            Self::Ambiguous => "type more of the id",
            Self::NoDaemon => "`whimbrel node start -d` starts one",
            Self::SeveralDaemons => "choose with `--node NAME`, or set WHIMBREL_NODE",
            Self::NodeUnavailable => {
                "`whimbrel nodes` shows who answers; if that machine is off for good: `whimbrel node forget NAME`"
            }
            Self::RegistryUnavailable => {
                "processes run on meanwhile; `whimbrel status` names the registry's home"
            }
            Self::Versions => {
                "upgrade one release at a time; neighbouring releases understand each other"
            }
            Self::Refused | Self::GivenUp => "the process runs on where it was",
            Self::Busy => "try again in a moment",
            Self::NameTaken => "choose another name",
            Self::DiskFull => "make room there, then try again",
            Self::AddressInUse => "choose another with `--listen`; port 0 takes any free one",
            Self::DataInUse => "choose another with `--name` or `--data`",
            Self::BadToken | Self::TokenExpired => {
                "a token is good for one join within an hour: `whimbrel token create` on a member makes a new one"
            }
            Self::ForeignCertificate => {
                "a node belongs to one cluster; join this one with a token and an empty data directory"
            }
            Self::Internal => "this is a mistake in Whimbrel, please report it",
            Self::InvalidRequest
            | Self::ImageCode
            | Self::NoInput
            | Self::UnknownProgram
            | Self::Limit
            | Self::Io
            | Self::Interrupted
            | Self::Unimplemented => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_plain_json() {
        let error = Error::new(ErrorCode::UnknownNode, "no member is called `osprey`");
        let json = serde_json::to_string(&error).unwrap();
        assert_eq!(json, r#"{"code":"unknown_node","message":"no member is called `osprey`"}"#);
        assert_eq!(serde_json::from_str::<Error>(&json).unwrap(), error);
    }

    #[test]
    fn every_code_has_a_number_of_its_own_kind() {
        for code in ErrorCode::ALL {
            assert!(matches!(code.exit(), 64..=77 | 130), "{code:?}");
            assert!(matches!(code.status(), 400..=503), "{code:?}");
        }
    }
}
