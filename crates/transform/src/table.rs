//! The site table and the report, put together from what was planned.

use crate::Done;
use crate::analyze::Analysis;
use crate::index::{FuncIdx, Idx, IndexVec};
use crate::parse::{Module, value_type};
use crate::report::Report;
use crate::sites::{Function, Global, Memory, Segment, SiteKind, Sites, Table, ValueType};

pub(crate) fn describe(module: &Module<'_>, analysis: &Analysis, done: &[Done]) -> (Sites, Report) {
    let mut functions = IndexVec::new();
    for (index, function) in module.functions.iter_enumerated() {
        if index.index() < module.imported_functions.len() {
            functions.push(Function {
                name: module.name(index),
                ty: function.ty,
                tail_calls: false,
                frame_bytes: 0,
                sites: IndexVec::new(),
            });
        }
    }
    for done in done {
        functions.push(done.function.clone());
    }
    let holds_reference = |function: &Function| {
        let mut saved = function.sites.iter().flat_map(|site| &site.saved);
        saved.any(|saved| saved.ty == ValueType::FuncRef)
    };
    let references = functions.iter().any(holds_reference);
    let report = report(module, analysis, done, &functions);
    let exports =
        module.exported_functions().map(|(name, index)| (name.to_owned(), index)).collect();
    let sites = Sites {
        types: module.types.clone(),
        imported_functions: module.imported_functions.len() as u32,
        functions,
        exports,
        start: module.start.map(|start| analysis.reference(start)),
        references,
        memories: memories(module),
        globals: globals(module),
        tables: tables(module, analysis),
        data_segments: data_segments(module, analysis),
        element_segments: element_segments(module, analysis),
    };
    (sites, report)
}

fn memories(module: &Module<'_>) -> Vec<Memory> {
    let memory = |(ty, imported): &(wasmparser::MemoryType, bool)| Memory {
        pages_min: ty.initial,
        pages_max: ty.maximum,
        imported: *imported,
    };
    module.memories.iter().map(memory).collect()
}

fn globals(module: &Module<'_>) -> Vec<Global> {
    let global = |global: &crate::parse::Global| Global {
        ty: value_type(global.ty.content_type),
        mutable: global.ty.mutable,
        imported: global.imported,
    };
    module.globals.iter().map(global).collect()
}

fn tables(module: &Module<'_>, analysis: &Analysis) -> Vec<Table> {
    let table = |(index, (ty, imported)): (usize, &(wasmparser::TableType, bool))| Table {
        ty: value_type(wasmparser::ValType::Ref(ty.element_type)),
        entries_min: ty.initial,
        entries_max: ty.maximum,
        mutable: *imported || analysis.mutable_tables.contains(&(index as u32)),
        imported: *imported,
    };
    module.tables.iter().enumerate().map(table).collect()
}

fn data_segments(module: &Module<'_>, analysis: &Analysis) -> Vec<Segment> {
    let segment = |(index, &active): (usize, &bool)| Segment {
        active,
        droppable: analysis.dropped_data.contains(&(index as u32)),
    };
    module.data_active.iter().enumerate().map(segment).collect()
}

fn element_segments(module: &Module<'_>, analysis: &Analysis) -> Vec<Segment> {
    let segment = |(index, elements): (usize, &crate::parse::Elements)| Segment {
        active: elements.table.is_some(),
        droppable: analysis.dropped_elements.contains(&(index as u32)),
    };
    module.elements.iter().enumerate().map(segment).collect()
}

fn report(
    module: &Module<'_>,
    analysis: &Analysis,
    done: &[Done],
    functions: &IndexVec<FuncIdx, Function>,
) -> Report {
    let mut report = Report::default();
    for (index, import) in module.imported_functions.iter().enumerate() {
        let name = format!("{}.{}", import.module, import.name);
        if analysis.blocks(module, FuncIdx::new(index)) {
            report.blocking_imports.push(name);
        } else {
            report.instant_imports.push(name);
        }
    }
    report.functions = done.len() as u32;
    for done in done {
        report.loops_without_poll += done.loops_without_poll;
        report.calls_without_test += done.calls_without_test;
    }
    for function in functions.iter() {
        report.functions_instrumented += u32::from(!function.sites.is_empty());
        report.frame_bytes_max = report.frame_bytes_max.max(function.frame_bytes);
        for site in function.sites.iter() {
            report.values_saved += site.saved.len() as u64;
            match site.kind {
                SiteKind::Entry => report.sites_entry += 1,
                SiteKind::Loop => report.sites_loop += 1,
                SiteKind::Import(_) => report.sites_import += 1,
                SiteKind::Call(_) | SiteKind::CallIndirect(_) => report.sites_call += 1,
            }
        }
    }
    report
}
