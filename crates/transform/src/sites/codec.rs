//! The bytes of a site table: little-endian, LEB128 numbers, versioned; decoding never panics and
//! never allocates more than the input can justify.

use super::{
    Function, Global, Memory, Role, Saved, Segment, Signature, Site, SiteKind, Sites, Table,
    ValueType,
};
use crate::abi::HEADER_BYTES;
use crate::index::{FuncIdx, IndexVec, TypeIdx};

/// The first bytes of a site table, and the version of its format.
const MAGIC: &[u8; 8] = b"whsites\x01";

/// Why bytes are not a site table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("site table at byte {offset:#x}: {what}")]
pub struct DecodeError {
    /// What was wrong.
    pub what: &'static str,
    /// Where.
    pub offset: usize,
}

impl Sites {
    /// The table as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(MAGIC.to_vec());
        out.list(&self.types, |out, ty| {
            out.list(&ty.params, |out, ty| out.value_type(*ty));
            out.list(&ty.results, |out, ty| out.value_type(*ty));
        });
        out.number(self.imported_functions.into());
        out.list(&self.functions, Writer::function);
        out.list(&self.exports, |out, (name, function)| {
            out.string(name);
            out.number(function.0.into());
        });
        out.option(self.start.map(|function| function.0.into()));
        out.flag(self.references);
        out.list(&self.memories, |out, memory| {
            out.number(memory.pages_min);
            out.option(memory.pages_max);
            out.flag(memory.imported);
        });
        out.list(&self.globals, |out, global| {
            out.value_type(global.ty);
            out.flag(global.mutable);
            out.flag(global.imported);
        });
        out.list(&self.tables, |out, table| {
            out.value_type(table.ty);
            out.number(table.entries_min);
            out.option(table.entries_max);
            out.flag(table.mutable);
            out.flag(table.imported);
        });
        for segments in [&self.data_segments, &self.element_segments] {
            out.list(segments, |out, segment| {
                out.flag(segment.active);
                out.flag(segment.droppable);
            });
        }
        out.0
    }

    /// The table that `encode` wrote. The input may be hostile.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader { bytes, offset: 0 };
        if input.take(MAGIC.len())? != MAGIC {
            return Err(DecodeError { what: "not a site table of a known version", offset: 0 });
        }
        let types = input.list(|input| {
            let params = input.list(Reader::value_type)?;
            let results = input.list(Reader::value_type)?;
            Ok(Signature { params, results })
        })?;
        let imported_functions = input.number32()?;
        let functions = input.list(Reader::function)?;
        let exports = input.list(|input| Ok((input.string()?, FuncIdx(input.number32()?))))?;
        let start = match input.option()? {
            None => None,
            Some(function) => Some(FuncIdx(input.narrow(function)?)),
        };
        let references = input.flag()?;
        let memories = input.list(|input| {
            let (pages_min, pages_max) = (input.number()?, input.option()?);
            Ok(Memory { pages_min, pages_max, imported: input.flag()? })
        })?;
        let globals = input.list(|input| {
            let ty = input.value_type()?;
            Ok(Global { ty, mutable: input.flag()?, imported: input.flag()? })
        })?;
        let tables = input.list(|input| {
            let ty = input.value_type()?;
            let (entries_min, entries_max) = (input.number()?, input.option()?);
            let (mutable, imported) = (input.flag()?, input.flag()?);
            Ok(Table { ty, entries_min, entries_max, mutable, imported })
        })?;
        let data_segments = input.list(Reader::segment)?;
        let element_segments = input.list(Reader::segment)?;
        if input.offset != bytes.len() {
            return Err(input.error("bytes after the end"));
        }
        let sites = Self {
            types: types.into(),
            imported_functions,
            functions: functions.into(),
            exports,
            start,
            references,
            memories,
            globals,
            tables,
            data_segments,
            element_segments,
        };
        sites.check_indices().map_err(|what| DecodeError { what, offset: bytes.len() })?;
        Ok(sites)
    }

    /// Every index points at something, so that nothing that uses the table can panic.
    fn check_indices(&self) -> Result<(), &'static str> {
        let function = |index: FuncIdx| self.functions.get(index).ok_or("no such function");
        let ty = |index: TypeIdx| self.types.get(index).ok_or("no such type");
        function_count(self)?;
        for &(_, index) in &self.exports {
            function(index)?;
        }
        if let Some(index) = self.start {
            function(index)?;
        }
        for each in self.functions.iter() {
            ty(each.ty)?;
            if each.sites.is_empty() != (each.frame_bytes == 0) {
                return Err("frames without sites, or sites without frames");
            }
            for site in each.sites.iter() {
                match site.kind {
                    SiteKind::Entry | SiteKind::Loop => {}
                    SiteKind::Import(index) | SiteKind::Call(index) => _ = function(index)?,
                    SiteKind::CallIndirect(index) => _ = ty(index)?,
                }
                check_layout(site, each.frame_bytes)?;
            }
        }
        Ok(())
    }
}

fn function_count(sites: &Sites) -> Result<(), &'static str> {
    if sites.imported_functions as usize > sites.functions.len() {
        return Err("more imports than functions");
    }
    Ok(())
}

fn check_layout(site: &Site, frame_bytes: u32) -> Result<(), &'static str> {
    let values_end = frame_bytes.checked_sub(HEADER_BYTES).ok_or("frame without a header")?;
    for saved in &site.saved {
        let end = saved.offset.checked_add(saved.ty.bytes()).ok_or("value outside its frame")?;
        if end > values_end {
            return Err("value outside its frame");
        }
    }
    Ok(())
}

struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
    fn flag(&mut self, value: bool) {
        self.0.push(value.into());
    }
    fn option(&mut self, value: Option<u64>) {
        self.flag(value.is_some());
        if let Some(value) = value {
            self.number(value);
        }
    }
    fn string(&mut self, value: &str) {
        self.number(value.len() as u64);
        self.0.extend_from_slice(value.as_bytes());
    }
    fn list<'a, T: 'a>(&mut self, items: impl Items<'a, T>, mut write: impl FnMut(&mut Self, &T)) {
        let items = items.items();
        self.number(items.len() as u64);
        for item in items {
            write(self, item);
        }
    }
    fn value_type(&mut self, ty: ValueType) {
        let code = VALUE_TYPES.iter().position(|&known| known == ty);
        self.0.push(code.expect("every value type is listed") as u8);
    }
    fn function(&mut self, function: &Function) {
        self.flag(function.name.is_some());
        if let Some(name) = &function.name {
            self.string(name);
        }
        self.number(function.ty.0.into());
        self.flag(function.tail_calls);
        self.number(function.frame_bytes.into());
        let mut previous = 0;
        self.list(&function.sites, |out, site| {
            out.site(site, previous);
            previous = site.code_offset;
        });
    }
    /// Sites stand in program order, so that offsets are small as differences.
    fn site(&mut self, site: &Site, previous: u32) {
        let (code, index) = match site.kind {
            SiteKind::Entry => (0, None),
            SiteKind::Loop => (1, None),
            SiteKind::Import(function) => (2, Some(function.0)),
            SiteKind::Call(function) => (3, Some(function.0)),
            SiteKind::CallIndirect(ty) => (4, Some(ty.0)),
        };
        self.0.push(code);
        if let Some(index) = index {
            self.number(index.into());
        }
        self.number(site.code_offset.wrapping_sub(previous).into());
        self.list(&site.saved, |out, saved| {
            let (code, number) = match saved.role {
                Role::Local(number) => (0, number),
                Role::Operand(number) => (1, number),
            };
            out.number(u64::from(number) << 1 | code);
            out.value_type(saved.ty);
            out.number(saved.offset.into());
        });
    }
}

const VALUE_TYPES: [ValueType; 8] = [
    ValueType::I32,
    ValueType::I64,
    ValueType::F32,
    ValueType::F64,
    ValueType::V128,
    ValueType::FuncRef,
    ValueType::ExternRef,
    ValueType::ExnRef,
];

/// What can be written as a list.
trait Items<'a, T: 'a> {
    fn items(self) -> std::slice::Iter<'a, T>;
}

impl<'a, T> Items<'a, T> for &'a Vec<T> {
    fn items(self) -> std::slice::Iter<'a, T> {
        self.iter()
    }
}

impl<'a, I: crate::index::Idx, T> Items<'a, T> for &'a IndexVec<I, T> {
    fn items(self) -> std::slice::Iter<'a, T> {
        self.iter()
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn error(&self, what: &'static str) -> DecodeError {
        DecodeError { what, offset: self.offset }
    }
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.offset..];
        let taken = rest.get(..bytes).ok_or_else(|| self.error("cut short"))?;
        self.offset += bytes;
        Ok(taken)
    }
    fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take(1)?[0])
    }
    fn number(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error("number too large"))
    }
    fn narrow(&self, value: u64) -> Result<u32, DecodeError> {
        u32::try_from(value).map_err(|_| self.error("number too large"))
    }
    fn number32(&mut self) -> Result<u32, DecodeError> {
        let value = self.number()?;
        self.narrow(value)
    }
    fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.error("neither true nor false")),
        }
    }
    fn option(&mut self) -> Result<Option<u64>, DecodeError> {
        Ok(if self.flag()? { Some(self.number()?) } else { None })
    }
    fn string(&mut self) -> Result<String, DecodeError> {
        let bytes = self.number()?;
        let bytes = usize::try_from(bytes).map_err(|_| self.error("cut short"))?;
        let text = std::str::from_utf8(self.take(bytes)?);
        text.map(str::to_owned).map_err(|_| self.error("not UTF-8"))
    }
    /// Reads items one by one: a lying count ends the input, not the memory.
    fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.number()?;
        if count > (self.bytes.len() - self.offset) as u64 {
            return Err(self.error("more items than bytes"));
        }
        (0..count).map(|_| read(self)).collect()
    }
    fn value_type(&mut self) -> Result<ValueType, DecodeError> {
        let code = self.byte()?;
        VALUE_TYPES.get(usize::from(code)).copied().ok_or_else(|| self.error("no such value type"))
    }
    fn segment(&mut self) -> Result<Segment, DecodeError> {
        Ok(Segment { active: self.flag()?, droppable: self.flag()? })
    }
    fn function(&mut self) -> Result<Function, DecodeError> {
        let name = if self.flag()? { Some(self.string()?) } else { None };
        let ty = TypeIdx(self.number32()?);
        let tail_calls = self.flag()?;
        let frame_bytes = self.number32()?;
        let mut previous = 0;
        let sites = self.list(|input| {
            let site = input.site(previous)?;
            previous = site.code_offset;
            Ok(site)
        })?;
        Ok(Function { name, ty, tail_calls, frame_bytes, sites: sites.into() })
    }
    fn site(&mut self, previous: u32) -> Result<Site, DecodeError> {
        let kind = match self.byte()? {
            0 => SiteKind::Entry,
            1 => SiteKind::Loop,
            2 => SiteKind::Import(FuncIdx(self.number32()?)),
            3 => SiteKind::Call(FuncIdx(self.number32()?)),
            4 => SiteKind::CallIndirect(TypeIdx(self.number32()?)),
            _ => return Err(self.error("no such kind of site")),
        };
        let code_offset = previous.wrapping_add(self.number32()?);
        let saved = self.list(|input| {
            let packed = input.number()?;
            let number = input.narrow(packed >> 1)?;
            let role = if packed & 1 == 0 { Role::Local(number) } else { Role::Operand(number) };
            Ok(Saved { role, ty: input.value_type()?, offset: input.number32()? })
        })?;
        Ok(Site { kind, code_offset, saved })
    }
}
