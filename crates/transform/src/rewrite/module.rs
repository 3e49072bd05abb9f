//! The module around the rewritten functions: the original's sections, with ours appended.

use std::sync::atomic::Ordering;

use wasm_encoder::reencode::{self, Reencode};
use wasm_encoder::{
    BranchHint, BranchHints, CodeSection, ConstExpr, CustomSection, DataCountSection, DataSection,
    ElementSection, Elements, ExportKind, ExportSection, FunctionSection, GlobalSection,
    GlobalType, ImportSection, MemorySection, MemoryType, RefType, TableSection, TableType,
    TagSection, TypeSection, ValType,
};
use wasmparser::{DataKind, ElementItems, ElementKind};

use super::helpers::{Helper, has_thunks, helpers};
use super::{Context, Form, Rewritten};
use crate::abi;
use crate::analyze::Analysis;
use crate::index::{FuncIdx, Idx};
use crate::parse::Source;

/// References to imports become references to their wrappers; all else stays.
struct References<'p>(&'p Analysis);

impl Reencode for References<'_> {
    type Error = std::convert::Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, reencode::Error> {
        Ok(self.0.reference(FuncIdx(function)).0)
    }
}

/// What stays as it was.
struct Same;

impl Reencode for Same {
    type Error = std::convert::Infallible;
}

const VALID: &str = "the module was read before";

/// Puts a module together. `functions` are the defined ones; `None` for code that stays.
pub(crate) fn assemble(context: &Context<'_, '_>, functions: &[Option<Rewritten>]) -> Vec<u8> {
    let mut output = wasm_encoder::Module::new();
    let helpers = helpers(context);
    let helper_types: Vec<u32> = helpers
        .iter()
        .map(|helper| context.function_type(&helper.params, &helper.results))
        .collect();
    output.section(&types(context));
    if let Some(reader) = &context.module.sections.imports {
        let mut section = ImportSection::new();
        Same.parse_import_section(&mut section, reader.clone()).expect(VALID);
        output.section(&section);
    }
    output.section(&function_types(context, &helper_types));
    output.section(&tables(context));
    output.section(&memories(context));
    if let Some(reader) = &context.module.sections.tags {
        let mut section = TagSection::new();
        Same.parse_tag_section(&mut section, reader.clone()).expect(VALID);
        output.section(&section);
    }
    output.section(&globals(context));
    output.section(&exports(context));
    output.section(&elements(context));
    if let Some(count) = context.module.sections.data_count {
        output.section(&DataCountSection { count });
    }
    code(context, functions, &helpers, &mut output);
    if let Some(section) = data(context) {
        output.section(&section);
    }
    if let (Some(names), Form::Run) = (context.module.name_section, context.form) {
        output.section(&CustomSection { name: "name".into(), data: names.into() });
    }
    output.finish()
}

fn types(context: &Context<'_, '_>) -> TypeSection {
    let mut section = TypeSection::new();
    if let Some(reader) = &context.module.sections.types {
        Same.parse_type_section(&mut section, reader.clone()).expect(VALID);
    }
    for signature in &context.types.added {
        let params = signature.params.iter().map(|&ty| super::encoded(ty));
        let results = signature.results.iter().map(|&ty| super::encoded(ty));
        section.ty().function(params.collect::<Vec<_>>(), results.collect::<Vec<_>>());
    }
    section
}

fn function_types(context: &Context<'_, '_>, helper_types: &[u32]) -> FunctionSection {
    let mut section = FunctionSection::new();
    let imports = context.module.imported_functions.len();
    for function in context.module.functions.iter().skip(imports) {
        section.function(function.ty.0);
    }
    for &ty in helper_types {
        section.function(ty);
    }
    section
}

fn tables(context: &Context<'_, '_>) -> TableSection {
    let mut section = TableSection::new();
    if let Some(reader) = &context.module.sections.tables {
        let mut references = References(context.analysis);
        references.parse_table_section(&mut section, reader.clone()).expect(VALID);
    }
    let table = |minimum, maximum| TableType {
        element_type: RefType::FUNCREF,
        minimum,
        maximum,
        table64: false,
        shared: false,
    };
    let functions = context.module.functions.len() as u64;
    section.table(table(functions, Some(functions)));
    section.table(table(0, None));
    if has_thunks(context) {
        section.table(table(functions, Some(functions)));
    }
    section
}

fn memories(context: &Context<'_, '_>) -> MemorySection {
    let mut section = MemorySection::new();
    if let Some(reader) = &context.module.sections.memories {
        Same.parse_memory_section(&mut section, reader.clone()).expect(VALID);
    }
    let memory = |minimum, maximum| MemoryType {
        minimum,
        maximum,
        memory64: false,
        shared: false,
        page_size_log2: None,
    };
    section.memory(memory(1, Some(1)));
    // There is always room for one more frame; at the start for two, because a leaf makes none.
    let room = 2 * u64::from(context.frame_bytes_max.load(Ordering::Relaxed));
    section.memory(memory((room >> 16) + 1, None));
    section
}

fn globals(context: &Context<'_, '_>) -> GlobalSection {
    let mut section = GlobalSection::new();
    if let Some(reader) = &context.module.sections.globals {
        let mut references = References(context.analysis);
        references.parse_global_section(&mut section, reader.clone()).expect(VALID);
    }
    let added = &context.added;
    for _ in 0..3 + added.dropped_data.len() + added.dropped_elements.len() {
        let ty = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        section.global(ty, &ConstExpr::i32_const(0));
    }
    section
}

fn exports(context: &Context<'_, '_>) -> ExportSection {
    let (module, added) = (context.module, &context.added);
    let mut section = ExportSection::new();
    for export in &module.exports {
        Same.parse_export(&mut section, *export).expect(VALID);
    }
    for memory in 0..module.memories.len() as u32 {
        section.export(&abi::memory(memory), ExportKind::Memory, memory);
    }
    for (index, global) in (0..).zip(&module.globals) {
        if global.ty.mutable {
            section.export(&abi::global(index), ExportKind::Global, index);
        }
    }
    for table in 0..module.tables.len() as u32 {
        section.export(&abi::table(table), ExportKind::Table, table);
    }
    for (&segment, &global) in &added.dropped_data {
        section.export(&abi::dropped_data(segment), ExportKind::Global, global);
    }
    for (&segment, &global) in &added.dropped_elements {
        section.export(&abi::dropped_element(segment), ExportKind::Global, global);
    }
    section.export(abi::CONTROL, ExportKind::Memory, added.control);
    section.export(abi::FRAMES, ExportKind::Memory, added.frames);
    section.export(abi::STATE, ExportKind::Global, added.state);
    section.export(abi::TOP, ExportKind::Global, added.top);
    section.export(abi::FUNCTIONS, ExportKind::Table, added.functions);
    section.export(abi::REFERENCES, ExportKind::Table, added.references);
    section.export(abi::REFERENCES_TOP, ExportKind::Global, added.references_top);
    if let Some(start) = module.start {
        section.export(abi::START, ExportKind::Func, context.analysis.reference(start).0);
    }
    if context.form == Form::Resume {
        section.export(abi::RESTORE, ExportKind::Func, added.restore);
    }
    section
}

fn elements(context: &Context<'_, '_>) -> ElementSection {
    let mut section = ElementSection::new();
    if let Some(reader) = &context.module.sections.elements {
        let mut references = References(context.analysis);
        for element in reader.clone() {
            let element = element.expect(VALID);
            match (context.form, &element.kind) {
                (Form::Resume, ElementKind::Active { .. }) => empty(&mut section, &element),
                _ => references.parse_element(&mut section, element).expect(VALID),
            }
        }
    }
    let escaped: Vec<u32> = context.analysis.escaped.iter().map(|function| function.0).collect();
    for run in escaped.chunk_by(|one, next| one + 1 == *next) {
        let offset = ConstExpr::i32_const(run[0] as i32);
        section.active(Some(context.added.functions), &offset, Elements::Functions(run.into()));
    }
    if has_thunks(context) {
        let first = context.added.first_thunk;
        let count = context.module.functions.len() as u32;
        let thunks: Vec<u32> = (first..first + count).collect();
        let offset = ConstExpr::i32_const(0);
        section.active(Some(context.added.thunks), &offset, Elements::Functions(thunks.into()));
    }
    section
}

/// An active segment is dropped once it is copied; an empty passive one behaves as dropped.
fn empty(section: &mut ElementSection, element: &wasmparser::Element<'_>) {
    match &element.items {
        ElementItems::Functions(_) => section.passive(Elements::Functions([][..].into())),
        ElementItems::Expressions(ty, _) => {
            let ty = Same.ref_type(*ty).expect(VALID);
            section.passive(Elements::Expressions(ty, [][..].into()))
        }
    };
}

fn data(context: &Context<'_, '_>) -> Option<DataSection> {
    let reader = context.module.sections.data.as_ref()?;
    let mut section = DataSection::new();
    for data in reader.clone() {
        let data = data.expect(VALID);
        match (context.form, &data.kind) {
            (Form::Resume, DataKind::Active { .. }) => _ = section.passive([]),
            _ => Same.parse_data(&mut section, data).expect(VALID),
        }
    }
    Some(section)
}

fn code(
    context: &Context<'_, '_>,
    functions: &[Option<Rewritten>],
    helpers: &[Helper],
    output: &mut wasm_encoder::Module,
) {
    let imports = context.module.imported_functions.len();
    let mut section = CodeSection::new();
    let mut hints = BranchHints::new();
    for (at, rewritten) in functions.iter().enumerate() {
        let index = FuncIdx::new(imports + at);
        match (rewritten, &context.module.functions[index].body) {
            (Some(rewritten), _) => {
                section.raw(&rewritten.body);
                if !rewritten.hints.is_empty() {
                    let encode = |&(offset, taken): &(u32, bool)| BranchHint {
                        branch_func_offset: offset,
                        branch_hint_value: taken.into(),
                    };
                    hints.function_hints(index.0, rewritten.hints.iter().map(encode));
                }
            }
            (None, Some(Source::Code(body, _))) => _ = section.raw(body.as_bytes()),
            (None, _) => unreachable!("only code from the module stays"),
        }
    }
    for helper in helpers {
        section.function(&helper.code);
    }
    if !hints.is_empty() {
        output.section(&hints);
    }
    output.section(&section);
}
