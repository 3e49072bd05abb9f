//! What a host knows about transformed code without parsing it: functions, safepoints and the
//! typed layout of every frame.

mod check;
mod codec;

pub use check::{FrameError, FrameInfo, FrameValue};
pub use codec::DecodeError;

use crate::index::{FuncIdx, IndexVec, SiteIdx, TypeIdx};

/// The type of a value, as far as a frame, a global or a table is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueType {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// 128-bit vector.
    V128,
    /// A function reference or null. In a frame: `u32`, an entry of the table of references.
    FuncRef,
    /// A reference to something of the host, or null. Never in a frame.
    ExternRef,
    /// An exception or null. Never in a frame.
    ExnRef,
}

impl ValueType {
    /// Bytes that a value takes in a frame.
    pub fn bytes(self) -> u32 {
        match self {
            Self::I32 | Self::F32 | Self::FuncRef => 4,
            Self::I64 | Self::F64 => 8,
            Self::V128 => 16,
            Self::ExternRef | Self::ExnRef => 0,
        }
    }
}

/// A function type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Signature {
    /// Parameters.
    pub params: Vec<ValueType>,
    /// Results.
    pub results: Vec<ValueType>,
}

/// What a saved value is, for whoever shows a stack to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A local variable of the original function.
    Local(u32),
    /// An operand, counted from the bottom of the function's operand stack.
    Operand(u32),
}

/// One saved value of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// What it is.
    pub role: Role,
    /// Its type.
    pub ty: ValueType,
    /// Bytes from the start of the frame.
    pub offset: u32,
}

/// Why a program can stop at a safepoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteKind {
    /// A poll at the function's entry. Always the innermost frame.
    Entry,
    /// A poll at a loop's header. Always the innermost frame.
    Loop,
    /// A call of an import that wanted to block. Always the innermost frame; the call is issued
    /// again after the thaw.
    Import(FuncIdx),
    /// A call of a function of this module, whose frame is the next inner one.
    Call(FuncIdx),
    /// A call through a table, of a function of this type.
    CallIndirect(TypeIdx),
}

/// A safepoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Why a program can stop here.
    pub kind: SiteKind,
    /// Where it stands in the original module, in bytes from its start.
    pub code_offset: u32,
    /// The values that the frame holds, without overlap, each within the frame.
    pub saved: Vec<Saved>,
}

/// A function of the transformed module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name in the original's name section.
    pub name: Option<String>,
    /// Its type.
    pub ty: TypeIdx,
    /// Whether it tail-calls, or makes calls after which nothing is left to do: then a frame of
    /// another function can stand where its own is expected.
    pub tail_calls: bool,
    /// Bytes of each of its frames, header included; 0 if it has no sites.
    pub frame_bytes: u32,
    /// Its safepoints.
    pub sites: IndexVec<SiteIdx, Site>,
}

/// A memory of the original module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Pages at the start.
    pub pages_min: u64,
    /// Pages it may have, if bounded.
    pub pages_max: Option<u64>,
    /// Whether it is imported.
    pub imported: bool,
}

/// A global of the original module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Global {
    /// Its type.
    pub ty: ValueType,
    /// Only mutable ones are exported by us and part of an image.
    pub mutable: bool,
    /// Whether it is imported.
    pub imported: bool,
}

/// A table of the original module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// The type of its entries.
    pub ty: ValueType,
    /// Entries at the start.
    pub entries_min: u64,
    /// Entries it may have, if bounded.
    pub entries_max: Option<u64>,
    /// Whether the program can change it after the start. If not, it is as the run form makes it.
    pub mutable: bool,
    /// Whether it is imported.
    pub imported: bool,
}

/// A data or element segment of the original module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Whether it is copied at the start (and dropped then).
    pub active: bool,
    /// Whether some instruction drops it: then it has a *dropped* global.
    pub droppable: bool,
}

/// All that a host knows about transformed code without parsing it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sites {
    /// Function types.
    pub types: IndexVec<TypeIdx, Signature>,
    /// How many of the functions are imports; they come first.
    pub imported_functions: u32,
    /// Imports, definitions, then our wrappers of imports that escape.
    pub functions: IndexVec<FuncIdx, Function>,
    /// What the original exports as functions.
    pub exports: Vec<(String, FuncIdx)>,
    /// The original start function.
    pub start: Option<FuncIdx>,
    /// Whether frames may hold function references.
    pub references: bool,
    /// The original's memories.
    pub memories: Vec<Memory>,
    /// The original's globals.
    pub globals: Vec<Global>,
    /// The original's tables.
    pub tables: Vec<Table>,
    /// The original's data segments.
    pub data_segments: Vec<Segment>,
    /// The original's element segments.
    pub element_segments: Vec<Segment>,
}

impl Sites {
    /// The function that an export of the original names.
    pub fn export(&self, name: &str) -> Option<FuncIdx> {
        self.exports.iter().find(|(export, _)| export == name).map(|(_, function)| *function)
    }

    /// The function's name, or its number.
    pub fn function_name(&self, function: FuncIdx) -> String {
        let named = self.functions.get(function).and_then(|function| function.name.clone());
        named.unwrap_or_else(|| function.to_string())
    }
}
