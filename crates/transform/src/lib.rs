//! A pass that makes unmodified WebAssembly programs freezable: Wasm in, suspendable Wasm out.

#![forbid(unsafe_code)]

pub mod abi;
mod error;
pub mod index;
mod options;
mod report;
pub mod sites;

pub use error::{Error, Place};
pub use options::{Options, Polls};
pub use report::Report;
pub use sites::Sites;

/// Both forms of a module, and what a host needs to know about them.
#[derive(Clone, Debug)]
pub struct Transformed {
    /// What runs from the start: it can unwind, not rewind.
    pub run: Vec<u8>,
    /// What a thaw instantiates: it can unwind and rewind. No start section and no active segments
    /// of the original; segment indices keep their meaning.
    pub resume: Vec<u8>,
    /// Functions, safepoints and frame layouts, the same for both forms.
    pub sites: Sites,
    /// What was done, in numbers.
    pub report: Report,
}

/// Transforms a core module.
pub fn transform(wasm: &[u8], options: &Options) -> Result<Transformed, Error> {
    let _ = (wasm, options);
    todo!("transform")
}
