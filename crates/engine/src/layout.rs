//! What a program's state consists of, read once from its modules: memories in order, what they
//! hold at the start, and what is in its tables.
//!
//! A bundle is hostile: whatever does not make sense is an error here, so that nothing later has
//! to doubt an index.

use std::collections::{BTreeMap, HashMap};

use transform::{Sites, abi};
use wasmparser::{
    ConstExpr, DataKind, ElementItems, ElementKind, ExternalKind, Operator, Parser, Payload,
};

use crate::CodeError;
use crate::raw::{Mapping, PAGE_BYTES};

/// A Wasm page, in bytes.
const WASM_PAGE_BYTES: u64 = 65_536;

/// What a program's state consists of.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    /// The memories that both forms define, in order.
    pub(crate) memories: Vec<MemoryLayout>,
    /// What is in the original's memories at the start, by index.
    pub(crate) initial: Vec<Initial>,
    /// What is in the original's tables at the start, by index.
    pub(crate) tables: Vec<TableLayout>,
    /// The functions that the program imports.
    pub(crate) imports: Vec<(String, String)>,
}

/// A memory of either form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryLayout {
    pub(crate) role: Role,
    /// Bytes at the start.
    pub(crate) bytes_min: u64,
    /// Bytes it may have.
    pub(crate) bytes_max: u64,
}

/// What a memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The program's own, with the original's index.
    Guest(u32),
    /// The control words.
    Control,
    /// The frames.
    Frames,
}

/// Bytes that are in a memory at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Data {
    /// The original's memory.
    pub(crate) memory: u32,
    pub(crate) offset: u64,
    pub(crate) bytes: Box<[u8]>,
}

/// The pages of a memory that are not all zero at the start. Images leave out what is as it is
/// here, so this must come out the same wherever a bundle is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Initial {
    /// Numbers, ascending.
    pages: Vec<u32>,
    /// Their bytes, one after the other.
    bytes: Vec<u8>,
}

/// A table of the original.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableLayout {
    /// Its entries at the start, by number of function; none is null.
    pub(crate) entries: Vec<Option<u32>>,
    /// Whether the program can change it.
    pub(crate) mutable: bool,
    /// Whether the resume form fills it by itself.
    pub(crate) filled: bool,
}

/// The parts of a module that we look at.
#[derive(Default)]
struct Parsed {
    memories: Vec<(u64, Option<u64>)>,
    memory_exports: HashMap<String, u32>,
    imports: Vec<(String, String)>,
    data: Vec<Data>,
    /// Table, offset, functions.
    elements: Vec<(u32, u64, Vec<Option<u32>>)>,
}

impl Layout {
    pub(crate) fn parse(sites: &Sites, run: &[u8], resume: &[u8]) -> Result<Self, CodeError> {
        let run = Parsed::of(run)?;
        let resume = Parsed::of(resume)?;
        let memories = run.memory_layouts(sites)?;
        if memories != resume.memory_layouts(sites)? || run.imports != resume.imports {
            return Err(refused("its two forms differ in memories or imports"));
        }
        let tables = sites.tables.iter().enumerate().map(|(index, table)| {
            let index = index as u32;
            Ok(TableLayout {
                entries: run.table_entries(index, table.entries_min)?,
                mutable: table.mutable,
                filled: resume.elements.iter().any(|(table, ..)| *table == index),
            })
        });
        let tables = tables.collect::<Result<_, CodeError>>()?;
        let known = |data: &Data| {
            let memory = memories.iter().find(|memory| memory.role == Role::Guest(data.memory));
            let end = data.offset.checked_add(data.bytes.len() as u64);
            memory.is_some_and(|memory| end.is_some_and(|end| end <= memory.bytes_min))
        };
        // A segment that does not fit traps when the run form is instantiated; it is no base then.
        let data: Vec<_> = run.data.into_iter().filter(known).collect();
        let initial = (0..sites.memories.len() as u32).map(|memory| Initial::of(memory, &data));
        let initial = initial.collect();
        Ok(Self { memories, initial, tables, imports: run.imports })
    }

    /// The memories that are not the control words.
    pub(crate) fn mapped(&self) -> impl Iterator<Item = &MemoryLayout> {
        self.memories.iter().filter(|memory| memory.role != Role::Control)
    }

    /// The index of the control words' memory in both forms: no form imports a memory.
    pub(crate) fn control(&self) -> u32 {
        let control = self.memories.iter().position(|memory| memory.role == Role::Control);
        control.expect("a layout has control words") as u32
    }

    /// What the program's own memories need at the start, in bytes.
    pub(crate) fn guest_bytes_min(&self) -> u64 {
        let guest = self.memories.iter().filter(|memory| matches!(memory.role, Role::Guest(_)));
        guest.map(|memory| memory.bytes_min).sum()
    }
}

impl Initial {
    fn of(memory: u32, data: &[Data]) -> Self {
        let mut pages = BTreeMap::<u32, Box<[u8; PAGE_BYTES]>>::new();
        for data in data.iter().filter(|data| data.memory == memory) {
            let mut rest = &data.bytes[..];
            let mut at = usize::try_from(data.offset).expect("it lies within the memory");
            while !rest.is_empty() {
                let (page, within) = (at / PAGE_BYTES, at % PAGE_BYTES);
                let (now, later) = rest.split_at(rest.len().min(PAGE_BYTES - within));
                let page = u32::try_from(page).expect("a memory has fewer pages");
                let bytes = pages.entry(page).or_insert_with(|| Box::new([0; PAGE_BYTES]));
                bytes[within..within + now.len()].copy_from_slice(now);
                at += now.len();
                rest = later;
            }
        }
        let bytes = pages.values().flat_map(|page| page.iter().copied()).collect();
        Self { pages: pages.into_keys().collect(), bytes }
    }

    /// A page; none if it is all zero.
    pub(crate) fn page(&self, page: u32) -> Option<&[u8]> {
        let at = self.pages.binary_search(&page).ok()?;
        Some(&self.bytes[at * PAGE_BYTES..(at + 1) * PAGE_BYTES])
    }

    /// Writes those that are wanted to where they belong, in memory that is lent to nobody.
    pub(crate) fn write(&self, mapping: &mut Mapping, wanted: impl Fn(u32) -> bool) {
        // Where many are wanted together, the kernel makes them ready at once.
        let together = |one: &u32, next: &u32| one + 1 == *next && wanted(*one) == wanted(*next);
        let ranges = self.pages.chunk_by(together);
        for range in ranges.filter(|range| wanted(range[0])) {
            mapping.populate(range[0] as usize * PAGE_BYTES, range.len() * PAGE_BYTES);
        }
        let bytes = mapping.bytes().expect("it is lent to nobody");
        for (page, content) in self.pages().filter(|(page, _)| wanted(*page)) {
            let start = page as usize * PAGE_BYTES;
            bytes[start..start + PAGE_BYTES].copy_from_slice(content);
        }
    }

    /// All of them, with their numbers.
    fn pages(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.pages.iter().copied().zip(self.bytes.chunks_exact(PAGE_BYTES))
    }
}

impl Parsed {
    fn of(wasm: &[u8]) -> Result<Self, CodeError> {
        let mut parsed = Self::default();
        for payload in Parser::new(0).parse_all(wasm) {
            parsed.payload(payload.map_err(malformed)?).map_err(malformed)?;
        }
        Ok(parsed)
    }

    fn payload(&mut self, payload: Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import?;
                    self.imports.push((import.module.to_owned(), import.name.to_owned()));
                }
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    let memory = memory?;
                    self.memories.push((memory.initial, memory.maximum));
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    if export.kind == ExternalKind::Memory {
                        self.memory_exports.insert(export.name.to_owned(), export.index);
                    }
                }
            }
            Payload::DataSection(segments) => {
                for segment in segments {
                    let segment = segment?;
                    if let DataKind::Active { memory_index: memory, offset_expr } = segment.kind
                        && let Some(offset) = constant(&offset_expr)
                    {
                        self.data.push(Data { memory, offset, bytes: segment.data.into() });
                    }
                }
            }
            Payload::ElementSection(segments) => {
                for segment in segments {
                    let segment = segment?;
                    if let ElementKind::Active { table_index, offset_expr } = segment.kind
                        && let Some(offset) = constant(&offset_expr)
                    {
                        let entries = functions(segment.items)?;
                        self.elements.push((table_index.unwrap_or(0), offset, entries));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn memory_layouts(&self, sites: &Sites) -> Result<Vec<MemoryLayout>, CodeError> {
        let roles = (0..sites.memories.len() as u32)
            .map(|index| (abi::memory(index), Role::Guest(index)))
            .chain([(abi::CONTROL.into(), Role::Control), (abi::FRAMES.into(), Role::Frames)]);
        let mut layouts: Vec<Option<MemoryLayout>> = vec![None; self.memories.len()];
        for (name, role) in roles {
            let index = self.memory_exports.get(&name);
            let index = *index.ok_or_else(|| CodeError::Bundle(format!("it exports no {name}")))?;
            let index = index as usize;
            let layout = self.memories.get(index).map(|(min, max)| MemoryLayout {
                role,
                bytes_min: min.saturating_mul(WASM_PAGE_BYTES),
                bytes_max: max.unwrap_or(65_536).min(65_536) * WASM_PAGE_BYTES,
            });
            let layout = layout.filter(|layout| layout.bytes_min <= layout.bytes_max);
            let layout =
                layout.ok_or_else(|| refused("it exports a memory that is not its own"))?;
            layouts[index] = Some(layout);
        }
        let layouts: Option<Vec<_>> = layouts.into_iter().collect();
        layouts.ok_or_else(|| refused("it has a memory that it does not export"))
    }

    fn table_entries(&self, index: u32, min: u64) -> Result<Vec<Option<u32>>, CodeError> {
        let end = |(table, offset, entries): &(u32, u64, Vec<_>)| {
            (*table == index).then(|| offset.saturating_add(entries.len() as u64))
        };
        // As many as segments fill; entries beyond are null, and need not be written out.
        let count = self.elements.iter().filter_map(end).max().unwrap_or(0);
        if count > min {
            return Err(refused("a table is filled beyond its end"));
        }
        let mut all = vec![None; usize::try_from(count).expect("as many as segments have")];
        for (table, offset, entries) in &self.elements {
            if *table == index {
                let offset = usize::try_from(*offset).expect("checked above");
                all[offset..offset + entries.len()].copy_from_slice(entries);
            }
        }
        Ok(all)
    }
}

fn functions(items: ElementItems<'_>) -> wasmparser::Result<Vec<Option<u32>>> {
    match items {
        ElementItems::Functions(functions) => {
            functions.into_iter().map(|function| function.map(Some)).collect()
        }
        ElementItems::Expressions(_, expressions) => expressions
            .into_iter()
            .map(|expression| {
                let mut operators = expression?.get_operators_reader();
                Ok(match operators.read()? {
                    Operator::RefFunc { function_index } => Some(function_index),
                    _ => None,
                })
            })
            .collect(),
    }
}

/// The value of `i32.const` and `i64.const`; other offsets (extended or imported) are not known.
fn constant(expression: &ConstExpr<'_>) -> Option<u64> {
    let mut operators = expression.get_operators_reader();
    let value = match operators.read().ok()? {
        Operator::I32Const { value } => u64::from(value.cast_unsigned()),
        Operator::I64Const { value } => value.cast_unsigned(),
        _ => return None,
    };
    matches!(operators.read().ok()?, Operator::End).then_some(value)
}

fn refused(what: &str) -> CodeError {
    CodeError::Bundle(what.to_owned())
}

fn malformed(error: wasmparser::BinaryReaderError) -> CodeError {
    CodeError::Bundle(format!("a module in it: {error}"))
}
