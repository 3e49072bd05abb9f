//! Why a module is refused. Nothing has run when any of these is returned.

use crate::index::FuncIdx;

/// Where in the module something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The function, if it is in one.
    pub function: Option<FuncIdx>,
    /// Its name in the name section.
    pub name: Option<String>,
    /// Bytes from the start of the module.
    pub offset: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(function) = self.function {
            write!(f, "{function}")?;
            if let Some(name) = &self.name {
                write!(f, " ({name})")?;
            }
            write!(f, ", ")?;
        }
        write!(f, "byte {:#x}", self.offset)
    }
}

/// Why a module is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not a valid module under any set of features we know.
    #[error("not a valid WebAssembly module: {message} at {place}")]
    Invalid {
        /// The validator's words.
        message: String,
        /// Where it stopped.
        place: Place,
    },
    /// The bytes are a component or another kind of WebAssembly, not a core module.
    #[error("not a core WebAssembly module: {found}")]
    NotAModule {
        /// What was found instead.
        found: String,
    },
    /// The module is valid but cannot be moved while it runs. It can still run pinned.
    #[error("{feature} cannot be moved yet: {place}")]
    Unsupported {
        /// The feature, as its proposal is called.
        feature: String,
        /// Where it is used.
        place: Place,
    },
    /// The module already exports one of our names.
    #[error("the export {name:?} is reserved: byte {offset:#x}")]
    Reserved {
        /// The export's name.
        name: String,
        /// Bytes from the start of the module.
        offset: usize,
    },
    /// A Wasm limit would be exceeded by what we add.
    #[error("{what} would exceed the limit of {limit}: {place}")]
    TooLarge {
        /// What grew too large.
        what: String,
        /// The limit.
        limit: u64,
        /// Where.
        place: Place,
    },
}
