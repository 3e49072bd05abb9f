//! A module as the transform reads it: sections kept as they are, their contents listed.

use std::collections::BTreeMap;

use wasmparser::{
    BinaryReaderError, Data, DataKind, Element, ElementItems, ElementKind, Encoding, Export,
    ExternalKind, FuncToValidate, FunctionBody, GlobalType, Imports, KnownCustom, MemoryType, Name,
    Operator, Parser, Payload, SectionLimited, TableType, TagType, TypeRef, ValidPayload,
    Validator, ValidatorResources, WasmFeatures,
};

use crate::abi;
use crate::error::{Error, Place};
use crate::index::{FuncIdx, Idx, IndexVec, TypeIdx};
use crate::sites::{Signature, ValueType};

/// What we can move.
const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::GC_TYPES)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::BULK_MEMORY_OPT)
    .union(WasmFeatures::CALL_INDIRECT_OVERLONG)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::RELAXED_SIMD)
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::EXCEPTIONS)
    .union(WasmFeatures::EXTENDED_CONST);

/// A function of the module.
pub(crate) struct Function<'a> {
    pub(crate) ty: TypeIdx,
    /// `None` for an import.
    pub(crate) body: Option<Source<'a>>,
}

/// Where a function's code comes from.
pub(crate) enum Source<'a> {
    /// The code section.
    Code(FunctionBody<'a>, FuncToValidate<ValidatorResources>),
    /// We add it: it calls this import, so that the import itself is never called indirectly.
    Wrapper(FuncIdx),
}

/// An imported function.
pub(crate) struct ImportedFunction<'a> {
    pub(crate) module: &'a str,
    pub(crate) name: &'a str,
}

/// An element segment, as far as we look into it.
pub(crate) struct Elements {
    /// The table it initialises, if active.
    pub(crate) table: Option<u32>,
    pub(crate) functions: Vec<FuncIdx>,
    /// Whether a `global.get` may add functions we do not see.
    pub(crate) opaque: bool,
}

/// A global and whether it is imported.
pub(crate) struct Global {
    pub(crate) ty: GlobalType,
    pub(crate) imported: bool,
}

/// A module: raw sections to copy, and their contents to look at.
#[derive(Default)]
pub(crate) struct Module<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) types: IndexVec<TypeIdx, Signature>,
    pub(crate) functions: IndexVec<FuncIdx, Function<'a>>,
    pub(crate) imported_functions: Vec<ImportedFunction<'a>>,
    pub(crate) tables: Vec<(TableType, bool)>,
    pub(crate) memories: Vec<(MemoryType, bool)>,
    pub(crate) globals: Vec<Global>,
    pub(crate) tags: Vec<TagType>,
    pub(crate) exports: Vec<Export<'a>>,
    pub(crate) start: Option<FuncIdx>,
    pub(crate) elements: Vec<Elements>,
    /// Whether each data segment is active.
    pub(crate) data_active: Vec<bool>,
    /// Functions in initialisers of globals and tables.
    pub(crate) initial_functions: Vec<FuncIdx>,
    pub(crate) names: BTreeMap<u32, &'a str>,
    pub(crate) name_section: Option<&'a [u8]>,
    pub(crate) sections: Sections<'a>,
}

/// Sections to copy.
#[derive(Default)]
pub(crate) struct Sections<'a> {
    pub(crate) types: Option<wasmparser::TypeSectionReader<'a>>,
    pub(crate) imports: Option<wasmparser::ImportSectionReader<'a>>,
    pub(crate) tables: Option<wasmparser::TableSectionReader<'a>>,
    pub(crate) memories: Option<wasmparser::MemorySectionReader<'a>>,
    pub(crate) globals: Option<wasmparser::GlobalSectionReader<'a>>,
    pub(crate) tags: Option<wasmparser::TagSectionReader<'a>>,
    pub(crate) elements: Option<wasmparser::ElementSectionReader<'a>>,
    pub(crate) data_count: Option<u32>,
    pub(crate) data: Option<wasmparser::DataSectionReader<'a>>,
}

/// Reads and validates a module, all but the code in its functions.
pub(crate) fn parse(bytes: &[u8]) -> Result<Module<'_>, Error> {
    let mut module = Module { bytes, ..Module::default() };
    let mut validator = Validator::new_with_features(FEATURES);
    let mut next_body = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| refuse(bytes, None, None, &error))?;
        if let Payload::Version { encoding: Encoding::Component, .. } = payload {
            return Err(Error::NotAModule { found: "a component".to_owned() });
        }
        let valid =
            validator.payload(&payload).map_err(|error| refuse(bytes, None, None, &error))?;
        if let ValidPayload::Func(validate, body) = valid {
            let index = module.imported_functions.len() + next_body;
            next_body += 1;
            module.functions[FuncIdx::new(index)].body = Some(Source::Code(body, validate));
        }
        module.section(payload).map_err(|error| refuse(bytes, None, None, &error))?;
    }
    module.check_exports()?;
    Ok(module)
}

impl<'a> Module<'a> {
    fn section(&mut self, payload: Payload<'a>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::TypeSection(reader) => {
                self.sections.types = Some(reader.clone());
                for ty in reader.into_iter_err_on_gc_types() {
                    let ty = ty?;
                    let params = ty.params().iter().map(|&ty| value_type(ty)).collect();
                    let results = ty.results().iter().map(|&ty| value_type(ty)).collect();
                    self.types.push(Signature { params, results });
                }
            }
            Payload::ImportSection(reader) => {
                self.sections.imports = Some(reader.clone());
                self.imports(reader)?;
            }
            Payload::FunctionSection(reader) => {
                for ty in reader {
                    self.functions.push(Function { ty: TypeIdx(ty?), body: None });
                }
            }
            Payload::TableSection(reader) => {
                self.sections.tables = Some(reader.clone());
                for table in reader {
                    let table = table?;
                    if let wasmparser::TableInit::Expr(expr) = &table.init {
                        self.initial_functions.extend(functions_of(expr)?.0);
                    }
                    self.tables.push((table.ty, false));
                }
            }
            Payload::MemorySection(reader) => {
                self.sections.memories = Some(reader.clone());
                for memory in reader {
                    self.memories.push((memory?, false));
                }
            }
            Payload::TagSection(reader) => {
                self.sections.tags = Some(reader.clone());
                for tag in reader {
                    self.tags.push(tag?);
                }
            }
            Payload::GlobalSection(reader) => {
                self.sections.globals = Some(reader.clone());
                for global in reader {
                    let global = global?;
                    self.initial_functions.extend(functions_of(&global.init_expr)?.0);
                    self.globals.push(Global { ty: global.ty, imported: false });
                }
            }
            Payload::ExportSection(reader) => {
                self.exports = reader.into_iter().collect::<Result<_, _>>()?;
            }
            Payload::StartSection { func, .. } => self.start = Some(FuncIdx(func)),
            Payload::ElementSection(reader) => {
                self.sections.elements = Some(reader.clone());
                for element in reader {
                    self.elements.push(elements(element?)?);
                }
            }
            Payload::DataCountSection { count, .. } => self.sections.data_count = Some(count),
            Payload::DataSection(reader) => {
                self.sections.data = Some(reader.clone());
                self.data(reader)?;
            }
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(names) = section.as_known() {
                    self.name_section = Some(section.data());
                    self.function_names(names);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn imports(
        &mut self,
        reader: SectionLimited<'a, Imports<'a>>,
    ) -> Result<(), BinaryReaderError> {
        for import in reader.into_imports() {
            let import = import?;
            match import.ty {
                TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                    self.functions.push(Function { ty: TypeIdx(ty), body: None });
                    let (module, name) = (import.module, import.name);
                    self.imported_functions.push(ImportedFunction { module, name });
                }
                TypeRef::Table(ty) => self.tables.push((ty, true)),
                TypeRef::Memory(ty) => self.memories.push((ty, true)),
                TypeRef::Global(ty) => self.globals.push(Global { ty, imported: true }),
                TypeRef::Tag(ty) => self.tags.push(ty),
            }
        }
        Ok(())
    }

    fn data(&mut self, reader: SectionLimited<'a, Data<'a>>) -> Result<(), BinaryReaderError> {
        for data in reader {
            self.data_active.push(matches!(data?.kind, DataKind::Active { .. }));
        }
        Ok(())
    }

    /// Names are a courtesy: a broken section has none.
    fn function_names(&mut self, names: wasmparser::NameSectionReader<'a>) {
        for subsection in names {
            let Ok(Name::Function(map)) = subsection else { continue };
            for naming in map.into_iter().flatten() {
                self.names.insert(naming.index, naming.name);
            }
        }
    }

    fn check_exports(&self) -> Result<(), Error> {
        match self.exports.iter().find(|export| export.name.starts_with(abi::PREFIX)) {
            None => Ok(()),
            Some(export) => {
                let name = export.name.to_owned();
                let offset = export.name.as_ptr() as usize - self.bytes.as_ptr() as usize;
                Err(Error::Reserved { name, offset })
            }
        }
    }

    /// The name of a function, if the module names it.
    pub(crate) fn name(&self, function: FuncIdx) -> Option<String> {
        self.names.get(&function.0).map(|&name| name.to_owned())
    }

    /// A function's type.
    pub(crate) fn signature(&self, function: FuncIdx) -> &Signature {
        &self.types[self.functions[function].ty]
    }

    /// A place in a function.
    pub(crate) fn place(&self, function: FuncIdx, offset: usize) -> Place {
        Place { function: Some(function), name: self.name(function), offset }
    }

    /// Turns a validator's complaint about a function into ours.
    pub(crate) fn refuse(&self, function: FuncIdx, error: &BinaryReaderError) -> Error {
        refuse(self.bytes, Some(function), self.name(function), error)
    }

    /// Exported functions, by name.
    pub(crate) fn exported_functions(&self) -> impl Iterator<Item = (&'a str, FuncIdx)> + '_ {
        self.exports
            .iter()
            .filter(|export| export.kind == ExternalKind::Func)
            .map(|export| (export.name, FuncIdx(export.index)))
    }
}

/// A complaint of our validator is about a feature if a validator with all features has none.
fn refuse(
    bytes: &[u8],
    function: Option<FuncIdx>,
    name: Option<String>,
    error: &BinaryReaderError,
) -> Error {
    let place = Place { function, name, offset: error.offset() };
    let message = error.message().to_owned();
    match Validator::new_with_features(WasmFeatures::all()).validate_all(bytes) {
        Ok(_) => Error::Unsupported { feature: feature(&message), place },
        Err(_) => Error::Invalid { message, place },
    }
}

/// The feature that a validator's message speaks of.
fn feature(message: &str) -> String {
    let name = message
        .split_once(" support is not enabled")
        .or_else(|| message.split_once(" must be enabled"))
        .or_else(|| message.split_once(" proposal"))
        .map_or(message, |(name, _)| name);
    name.to_owned()
}

fn elements(element: Element<'_>) -> Result<Elements, BinaryReaderError> {
    let mut functions = Vec::new();
    let mut opaque = false;
    match element.items {
        ElementItems::Functions(items) => {
            for item in items {
                functions.push(FuncIdx(item?));
            }
        }
        ElementItems::Expressions(_, items) => {
            for item in items {
                let (found, unknown) = functions_of(&item?)?;
                functions.extend(found);
                opaque |= unknown;
            }
        }
    }
    let table = match element.kind {
        ElementKind::Active { table_index, .. } => Some(table_index.unwrap_or(0)),
        ElementKind::Passive | ElementKind::Declared => None,
    };
    Ok(Elements { table, functions, opaque })
}

/// The functions that an initialiser names, and whether it reads a global.
fn functions_of(
    expr: &wasmparser::ConstExpr<'_>,
) -> Result<(Vec<FuncIdx>, bool), BinaryReaderError> {
    let mut functions = Vec::new();
    let mut opaque = false;
    for operator in expr.get_operators_reader() {
        match operator? {
            Operator::RefFunc { function_index } => functions.push(FuncIdx(function_index)),
            Operator::GlobalGet { .. } => opaque = true,
            _ => {}
        }
    }
    Ok((functions, opaque))
}

/// Our name for a type. Only the reference types of the features we accept occur.
pub(crate) fn value_type(ty: wasmparser::ValType) -> ValueType {
    match ty {
        wasmparser::ValType::I32 => ValueType::I32,
        wasmparser::ValType::I64 => ValueType::I64,
        wasmparser::ValType::F32 => ValueType::F32,
        wasmparser::ValType::F64 => ValueType::F64,
        wasmparser::ValType::V128 => ValueType::V128,
        wasmparser::ValType::Ref(reference) => match reference.heap_type() {
            wasmparser::HeapType::Abstract { ty: wasmparser::AbstractHeapType::Extern, .. } => {
                ValueType::ExternRef
            }
            wasmparser::HeapType::Abstract { ty: wasmparser::AbstractHeapType::Exn, .. } => {
                ValueType::ExnRef
            }
            _ => ValueType::FuncRef,
        },
    }
}
