//! Which functions can be on the stack when the program stops, and which must poll when entered.
//!
//! A function *suspends* if it polls, calls an import that may block, or calls a function that
//! suspends. Calls through a table reach what the table can hold, of the right type. A function
//! polls at entry if that breaks a cycle of the call graph, so that no program runs for ever
//! between two polls.

use std::collections::{BTreeSet, HashMap};

use wasmparser::Operator;

use crate::cycles::Cycles;
use crate::error::Error;
use crate::index::{FuncIdx, Idx, IndexVec, TypeIdx};
use crate::last::{Callee, LastCall, LastCalls};
use crate::options::Options;
use crate::parse::{Function, Module, Source};
use crate::sites::Signature;

/// What is known of the module as a whole.
pub(crate) struct Analysis {
    /// Whether a call of the function can come back while unwinding.
    pub(crate) suspends: IndexVec<FuncIdx, bool>,
    /// Whether the function polls when entered.
    pub(crate) polls_entry: IndexVec<FuncIdx, bool>,
    /// Whether another function's frame can stand in the function's place: it tail-calls something
    /// that suspends, or calls it and has nothing left to do.
    pub(crate) tail_calls: IndexVec<FuncIdx, bool>,
    /// Calls after which nothing is left to do, in order.
    last: IndexVec<FuncIdx, Vec<LastCall>>,
    /// Whether a call of this type through this table can come back while unwinding.
    indirect: HashMap<(TypeIdx, u32), bool>,
    /// Functions that can be in tables and globals.
    pub(crate) escaped: BTreeSet<FuncIdx>,
    /// The wrapper of each import that escapes.
    pub(crate) wrappers: HashMap<FuncIdx, FuncIdx>,
    /// Data segments that some instruction drops.
    pub(crate) dropped_data: BTreeSet<u32>,
    /// Element segments that some instruction drops.
    pub(crate) dropped_elements: BTreeSet<u32>,
    /// Tables that some instruction changes.
    pub(crate) mutable_tables: BTreeSet<u32>,
    /// Functions that refer to functions or drop segments: their code changes in any case.
    pub(crate) edited: IndexVec<FuncIdx, bool>,
    /// Imports that never block.
    pub(crate) instant: BTreeSet<FuncIdx>,
}

impl Analysis {
    /// Whether a call through a table can come back while unwinding.
    pub(crate) fn suspends_indirect(&self, ty: TypeIdx, table: u32) -> bool {
        self.indirect.get(&(ty, table)).copied().unwrap_or(true)
    }
    /// Whether an import may ask the program to leave.
    pub(crate) fn blocks(&self, module: &Module<'_>, function: FuncIdx) -> bool {
        function.index() < module.imported_functions.len() && !self.instant.contains(&function)
    }
    /// Whether nothing is left to do after the call that is this operator of a function.
    pub(crate) fn is_last(&self, function: FuncIdx, at: u32) -> bool {
        self.last[function].binary_search_by_key(&at, |call| call.at).is_ok()
    }
    /// What a reference to a function refers to in the output.
    pub(crate) fn reference(&self, function: FuncIdx) -> FuncIdx {
        self.wrappers.get(&function).copied().unwrap_or(function)
    }
    /// Whether there is any such function.
    pub(crate) fn any_tail_calls(&self) -> bool {
        self.tail_calls.iter().any(|&calls| calls)
    }
}

/// What one scan of a function finds.
#[derive(Default)]
struct Facts {
    calls: Vec<FuncIdx>,
    tail_calls: Vec<FuncIdx>,
    indirect: Vec<(TypeIdx, u32)>,
    tail_indirect: Vec<(TypeIdx, u32)>,
    /// Calls after which nothing is left to do.
    last: Vec<LastCall>,
    loops: bool,
    edited: bool,
}

/// What all scans find together.
#[derive(Default)]
struct Found {
    references: BTreeSet<FuncIdx>,
    dropped_data: BTreeSet<u32>,
    dropped_elements: BTreeSet<u32>,
    mutable_tables: BTreeSet<u32>,
}

/// Analyses the call graph, and adds a wrapper to the module for each import that escapes.
pub(crate) fn analyze(module: &mut Module<'_>, options: &Options) -> Result<Analysis, Error> {
    let mut found = Found::default();
    let mut facts: IndexVec<FuncIdx, Facts> = IndexVec::new();
    for (index, function) in module.functions.iter_enumerated() {
        let scanned = scan(module, index, function, &mut found);
        facts.push(scanned.map_err(|error| module.refuse(index, &error))?);
    }
    let mut escaped = found.references;
    escaped.extend(module.initial_functions.iter());
    escaped.extend(module.elements.iter().flat_map(|elements| elements.functions.iter()));
    // A start function that is imported is wrapped too, so that it can block like any other.
    let imports = module.imported_functions.len();
    escaped.extend(module.start.filter(|start| start.index() < imports));
    let wrappers = add_wrappers(module, &mut escaped, &mut facts);
    let instant = instant_imports(module, options);

    let graph = Graph::new(module, &facts, &escaped, &wrappers, &found.mutable_tables);
    let polls = Cycles::breakers(&graph.edges, module.functions.len());
    let seeds = module.functions.iter_enumerated().map(|(index, _)| {
        let imported = index.index() < module.imported_functions.len();
        facts[index].loops || polls[index.index()] || (imported && !instant.contains(&index))
    });
    let suspends = graph.reaches(seeds.collect());

    let functions = module.functions.len();
    let indirect_suspends =
        |key: &(TypeIdx, u32)| graph.indirect.get(key).is_none_or(|&node| suspends[node]);
    let tail_calls = facts.iter().map(|facts| {
        let stops = |callee: FuncIdx| callee.index() >= imports && suspends[callee.index()];
        facts.tail_calls.iter().any(|&callee| stops(callee))
            || facts.tail_indirect.iter().any(indirect_suspends)
            || facts.last.iter().any(|call| match call.callee {
                Callee::Function(callee) => stops(callee),
                Callee::Table(ty, table) => indirect_suspends(&(ty, table)),
            })
    });
    let tail_calls: Vec<bool> = tail_calls.collect();
    let indirect = graph.indirect.keys().map(|key| (*key, indirect_suspends(key))).collect();
    Ok(Analysis {
        tail_calls: tail_calls.into(),
        last: facts.iter().map(|facts| facts.last.clone()).collect::<Vec<_>>().into(),
        edited: facts.iter().map(|facts| facts.edited).collect::<Vec<_>>().into(),
        polls_entry: polls.into(),
        suspends: suspends[..functions].to_vec().into(),
        indirect,
        escaped,
        wrappers,
        dropped_data: found.dropped_data,
        dropped_elements: found.dropped_elements,
        mutable_tables: found.mutable_tables,
        instant,
    })
}

fn scan(
    module: &Module<'_>,
    index: FuncIdx,
    function: &Function<'_>,
    found: &mut Found,
) -> Result<Facts, wasmparser::BinaryReaderError> {
    let mut facts = Facts::default();
    let Some(Source::Code(body, _)) = &function.body else { return Ok(facts) };
    let mut last = LastCalls::new(module, index);
    for operator in body.get_operators_reader()? {
        let operator = operator?;
        last.pass(&operator);
        match operator {
            Operator::Loop { .. } => facts.loops = true,
            Operator::Call { function_index } => facts.calls.push(FuncIdx(function_index)),
            Operator::ReturnCall { function_index } => {
                facts.tail_calls.push(FuncIdx(function_index));
            }
            Operator::CallIndirect { type_index, table_index } => {
                facts.indirect.push((TypeIdx(type_index), table_index));
            }
            Operator::ReturnCallIndirect { type_index, table_index } => {
                facts.tail_indirect.push((TypeIdx(type_index), table_index));
            }
            Operator::RefFunc { function_index } => {
                facts.edited = true;
                found.references.insert(FuncIdx(function_index));
            }
            Operator::DataDrop { data_index } => {
                facts.edited = true;
                found.dropped_data.insert(data_index);
            }
            Operator::ElemDrop { elem_index } => {
                facts.edited = true;
                found.dropped_elements.insert(elem_index);
            }
            Operator::TableSet { table }
            | Operator::TableFill { table }
            | Operator::TableGrow { table }
            | Operator::TableInit { table, .. }
            | Operator::TableCopy { dst_table: table, .. } => {
                found.mutable_tables.insert(table);
            }
            _ => {}
        }
    }
    facts.last = last.found();
    Ok(facts)
}

/// Gives each escaping import a local function, which escapes in its place.
fn add_wrappers(
    module: &mut Module<'_>,
    escaped: &mut BTreeSet<FuncIdx>,
    facts: &mut IndexVec<FuncIdx, Facts>,
) -> HashMap<FuncIdx, FuncIdx> {
    let imports = module.imported_functions.len();
    let escaping: Vec<FuncIdx> =
        escaped.iter().copied().filter(|function| function.index() < imports).collect();
    let mut wrappers = HashMap::new();
    for import in escaping {
        let ty = module.functions[import].ty;
        let wrapper = module.functions.push(Function { ty, body: Some(Source::Wrapper(import)) });
        facts.push(Facts { calls: vec![import], ..Facts::default() });
        escaped.remove(&import);
        escaped.insert(wrapper);
        wrappers.insert(import, wrapper);
    }
    wrappers
}

fn instant_imports(module: &Module<'_>, options: &Options) -> BTreeSet<FuncIdx> {
    let listed = |import: &crate::parse::ImportedFunction<'_>| {
        let mut instant = options.instant_imports.iter();
        instant.any(|(module, name)| module == import.module && name == import.name)
    };
    let imports = module.imported_functions.iter().enumerate();
    imports.filter(|(_, import)| listed(import)).map(|(at, _)| FuncIdx::new(at)).collect()
}

/// The call graph. After the functions come nodes for "any function of this type in this table".
struct Graph {
    edges: Vec<Vec<usize>>,
    indirect: HashMap<(TypeIdx, u32), usize>,
}

impl Graph {
    fn new(
        module: &Module<'_>,
        facts: &IndexVec<FuncIdx, Facts>,
        escaped: &BTreeSet<FuncIdx>,
        wrappers: &HashMap<FuncIdx, FuncIdx>,
        mutable_tables: &BTreeSet<u32>,
    ) -> Self {
        let functions = module.functions.len();
        let mut graph = Self { edges: vec![Vec::new(); functions], indirect: HashMap::new() };
        let contents = Contents::new(module, escaped, wrappers, mutable_tables);
        for (index, facts) in facts.iter_enumerated() {
            let direct = facts.calls.iter().chain(&facts.tail_calls);
            let mut edges: Vec<usize> = direct.map(|callee| callee.index()).collect();
            for &key in facts.indirect.iter().chain(&facts.tail_indirect) {
                edges.push(graph.indirect_node(module, key, &contents));
            }
            edges.sort_unstable();
            edges.dedup();
            graph.edges[index.index()] = edges;
        }
        graph
    }

    fn indirect_node(
        &mut self,
        module: &Module<'_>,
        key: (TypeIdx, u32),
        contents: &Contents,
    ) -> usize {
        if let Some(&node) = self.indirect.get(&key) {
            return node;
        }
        let targets = contents.of(key.1, &module.types[key.0]);
        self.edges.push(targets.iter().map(|target| target.index()).collect());
        self.indirect.insert(key, self.edges.len() - 1);
        self.edges.len() - 1
    }

    /// Which nodes reach a seed.
    fn reaches(&self, seeds: Vec<bool>) -> Vec<bool> {
        let mut callers = vec![Vec::new(); self.edges.len()];
        for (caller, edges) in self.edges.iter().enumerate() {
            for &callee in edges {
                callers[callee].push(caller);
            }
        }
        let mut reached = seeds;
        reached.resize(self.edges.len(), false);
        let mut work: Vec<usize> = (0..reached.len()).filter(|&node| reached[node]).collect();
        while let Some(node) = work.pop() {
            for &caller in &callers[node] {
                if !reached[caller] {
                    reached[caller] = true;
                    work.push(caller);
                }
            }
        }
        reached
    }
}

/// What each table can hold, by type.
struct Contents {
    tables: Vec<HashMap<Signature, Vec<FuncIdx>>>,
}

impl Contents {
    fn new(
        module: &Module<'_>,
        escaped: &BTreeSet<FuncIdx>,
        wrappers: &HashMap<FuncIdx, FuncIdx>,
        mutable_tables: &BTreeSet<u32>,
    ) -> Self {
        let by_type = |functions: &mut dyn Iterator<Item = FuncIdx>| {
            let mut map: HashMap<Signature, Vec<FuncIdx>> = HashMap::new();
            for function in functions {
                let function = wrappers.get(&function).copied().unwrap_or(function);
                map.entry(module.signature(function).clone()).or_default().push(function);
            }
            map
        };
        let tables = module.tables.iter().enumerate().map(|(table, &(_, imported))| {
            let table = table as u32;
            let initial = || module.elements.iter().filter(|e| e.table == Some(table));
            let unknown = imported
                || mutable_tables.contains(&table)
                || initial().any(|elements| elements.opaque)
                || !module.initial_functions.is_empty();
            if unknown {
                by_type(&mut escaped.iter().copied())
            } else {
                by_type(&mut initial().flat_map(|elements| elements.functions.iter().copied()))
            }
        });
        Self { tables: tables.collect() }
    }

    fn of(&self, table: u32, ty: &Signature) -> &[FuncIdx] {
        let table = self.tables.get(table as usize);
        table.and_then(|table| table.get(ty)).map_or(&[], Vec::as_slice)
    }
}
