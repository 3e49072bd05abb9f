//! A pass that makes unmodified WebAssembly programs freezable: Wasm in, suspendable Wasm out.
//!
//! An engine compiles Wasm to machine code, and a running program's stack is machine frames that no
//! other machine can read. This pass adds to every function that can be on the stack when the
//! program stops a way out that writes its live values to a memory (*unwind*), and a way back in
//! (*rewind*). The stack is data then. Asyncify is the ancestor of the idea; what is different here
//! is that nothing is skipped or re-executed: the way out is a branch, the way in is a jump.
//!
//! # Two forms
//!
//! | form | can | when it runs |
//! |---|---|---|
//! | *run* | unwind | from the start |
//! | *resume* | unwind, rewind | after a thaw |
//!
//! They have the same functions, sites and frames, so that a frame of one is a frame of the other.
//! The way in costs code and speed, so a program that was never stopped does not carry it.
//!
//! # Before and after
//!
//! ```wat
//! (func $count (param $n i32) (result i32)
//!   (loop $next
//!     (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
//!   (local.get $n))
//! ```
//!
//! The run form, with our memories and globals by name:
//!
//! ```wat
//! (func $count (param $n i32) (result i32) (local $site i32)
//!   block $header
//!     block $tail
//!       block $spill
//!         block $body (result i32)
//!           loop $next
//!             (br_if $spill (i32.atomic.load $control (i32.const 0)))   ;; the poll
//!             (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1))))
//!           end
//!           local.get $n
//!         end
//!         return
//!       end
//!       (local.set $site (i32.const 0))
//!       br $tail
//!     end
//!     (i32.store $frames (global.get $top) (local.get $n))
//!   end
//!   (i32.store $frames offset=4 (global.get $top) (i32.const 0))        ;; which function
//!   (i32.store $frames offset=8 (global.get $top) (local.get $site))    ;; which site
//!   (global.set $top (i32.const 12))
//!   (global.set $state (i32.const 1))                                   ;; unwinding
//!   (return (i32.const 0)))                                             ;; a dummy
//! ```
//!
//! The poll is atomic because an optimiser may delete a plain load from a loop, and it returns
//! because a cold path that merges back into a loop makes the loop slow.
//!
//! A function that calls nothing is the innermost, so its frame is the first. In others a helper does what the last lines
//! but one do, adds to the top, and makes room for the next frame.
//!
//! # Where a program can stop
//!
//! | site | test | innermost |
//! |---|---|---|
//! | a loop's header, unless each of its rounds meets another poll, or they are few | [`abi::LOOP`] is not zero | always |
//! | the entry of a function that breaks a cycle of the call graph | [`abi::ENTRY`] is not zero | always |
//! | a call of an import that may block | [`abi::LEAVE`] is not zero | always |
//! | a call of a function that can stop, direct or through a table, unless nothing is left to do after it | [`abi::STATE`] is not zero | never |
//!
//! # A frame
//!
//! Frames stand in [`abi::FRAMES`] from 0 to [`abi::TOP`], innermost first, without gaps.
//!
//! | bytes | what |
//! |---|---|
//! | `0 .. frame_bytes - 8` | values, each at a place that is fixed for its function; places that the site does not use hold anything |
//! | `frame_bytes - 8 ..` | the function, `u32` little-endian |
//! | `frame_bytes - 4 ..` | the site within the function, `u32` little-endian |
//!
//! There is always room for one more frame of any size above the top. When there cannot be, the
//! program ends with a trap (`unreachable`): a stack is never cut short. A frame holds what the
//! native frame holds, so frames need about as much room as the native stack may have.
//!
//! # What a host does
//!
//! *Start.* Instantiate the run form; call [`abi::START`] if it is there; call the export.
//!
//! *Freeze.* Set [`abi::REQUEST`] in both words, from any thread. The call returns with
//! [`abi::STATE`] 1 and dummy results, and the frames are there. Read them with the memories,
//! mutable globals, tables, *dropped* globals and the table of references. If it returns with
//! state 0, the program ended first. Clear the request, [`abi::LEAVE`] and the state.
//!
//! *Thaw.* Check the frames ([`Sites::check_frames`], [`Sites::enters`]). Instantiate the resume
//! form, put everything back, call [`abi::RESTORE`], grow the frames' memory to what is needed and
//! write them, set the top and state 2, set [`abi::REWIND`] in both words, and call the same export
//! with zeros for arguments. The native stack needs headroom: frames of the resume form are larger.
//!
//! *Block.* An import that would wait writes 1 to `LEAVE` and returns zeros at once. It is called
//! again, with the same arguments, after the thaw. An import that is not in
//! [`Options::instant_imports`] may do so; another may not.
//!
//! # What is refused
//!
//! By feature, function and offset, before anything runs: shared memory and atomics, memories and
//! tables of 64 bits, typed function references and garbage collection, legacy exceptions, and
//! external or exception references that are live at a safepoint.
//!
//! A function that a host calls while it serves an import is not part of the stack that is saved.

#![forbid(unsafe_code)]

pub mod abi;
mod analyze;
mod body;
mod bounds;
pub mod check;
mod cycles;
mod error;
pub mod index;
mod last;
mod liveness;
mod options;
mod origins;
mod parse;
mod plan;
mod report;
mod rewrite;
mod rounds;
pub mod sites;
mod table;
mod tails;

pub use error::{Error, Place};
pub use options::{Options, Polls};
pub use report::Report;
pub use sites::Sites;

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use body::Body;
use index::{FuncIdx, Idx};
use plan::Plan;
use rewrite::{Added, Context, Form, Rewritten, Types};

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

/// Names this very transform: two builds whose sources differ have different ones. Whoever keeps
/// transformed programs keeps it with them, and makes them anew when it changes.
pub const FINGERPRINT: &str = env!("TRANSFORM_FINGERPRINT");

/// A function in both forms, and its sites.
struct Done {
    run: Option<Rewritten>,
    resume: Option<Rewritten>,
    function: sites::Function,
    loops_without_poll: u32,
    calls_without_test: u32,
}

/// Transforms a core module.
pub fn transform(wasm: &[u8], options: &Options) -> Result<Transformed, Error> {
    let mut module = parse::parse(wasm)?;
    let analysis = analyze::analyze(&mut module, options)?;
    let module = module;
    let context = |form| Context {
        module: &module,
        analysis: &analysis,
        polls: options.polls,
        form,
        added: Added::new(&module, &analysis),
        frame_bytes_max: AtomicU32::new(0),
        types: Types::new(&module, &analysis),
    };
    let (run, resume) = (context(Form::Run), context(Form::Resume));
    let done = functions(&run, &resume)?;
    let (sites, mut report) = table::describe(&module, &analysis, &done);
    let (runs, resumes): (Vec<_>, Vec<_>) =
        done.into_iter().map(|done| (done.run, done.resume)).unzip();
    let run = rewrite::assemble(&run, &runs);
    let resume = rewrite::assemble(&resume, &resumes);
    report.original_bytes = wasm.len() as u64;
    report.run_bytes = run.len() as u64;
    report.resume_bytes = resume.len() as u64;
    Ok(Transformed { run, resume, sites, report })
}

/// How many functions a thread takes at a time.
const BATCH: usize = 32;

/// All defined functions, rewritten on as many threads as there are processors.
fn functions(run: &Context<'_, '_>, resume: &Context<'_, '_>) -> Result<Vec<Done>, Error> {
    let first = run.module.imported_functions.len();
    let count = run.module.functions.len() - first;
    let next = AtomicUsize::new(0);
    let batch = |start: usize| {
        let indices = first + start..first + (start + BATCH).min(count);
        let done = indices.map(|at| function(run, resume, FuncIdx::new(at)));
        (start, done.collect::<Result<Vec<Done>, Error>>())
    };
    let work = || {
        let starts = std::iter::repeat_with(|| next.fetch_add(BATCH, Ordering::Relaxed));
        starts.take_while(|&start| start < count).map(batch).collect::<Vec<_>>()
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = processors.min(count / BATCH).max(1);
    let mut batches = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut batches = work();
        for other in others {
            batches.extend(other.join().expect("the transform does not panic"));
        }
        batches
    });
    batches.sort_by_key(|(start, _)| *start);
    let mut done = Vec::with_capacity(count);
    for (_, batch) in batches {
        done.extend(batch?);
    }
    Ok(done)
}

fn function(
    run: &Context<'_, '_>,
    resume: &Context<'_, '_>,
    index: FuncIdx,
) -> Result<Done, Error> {
    let analysis = run.analysis;
    let body = Body::read(run.module, index)?;
    let plan: Plan = plan::plan(run.module, analysis, &body)?;
    for context in [run, resume] {
        context.frame_bytes_max.fetch_max(plan.frame_bytes, Ordering::Relaxed);
    }
    let function = sites::Function {
        name: run.module.name(index),
        ty: run.module.functions[index].ty,
        tail_calls: analysis.tail_calls[index],
        frame_bytes: plan.frame_bytes,
        sites: plan.public_sites(&body),
    };
    let changed = !plan.sites.is_empty() || analysis.edited[index] || body.is_wrapper();
    let rewritten =
        |context, changed: bool| changed.then(|| rewrite::rewrite(context, &body, &plan));
    Ok(Done {
        run: rewritten(run, changed),
        resume: rewritten(resume, changed || analysis.tail_calls[index]),
        function,
        loops_without_poll: plan.loops_without_poll,
        calls_without_test: plan.calls_without_test,
    })
}

impl Transformed {
    /// Validates both forms. Whoever compiles them does so too; this says where one is wrong, and
    /// prints the text around it.
    pub fn validate(&self) -> Result<(), String> {
        valid(&self.run)?;
        valid(&self.resume)
    }
}

fn valid(wasm: &[u8]) -> Result<(), String> {
    /// Lines to print before the error.
    const CONTEXT: usize = 40;
    let Err(error) = wasmparser::Validator::new().validate_all(wasm) else { return Ok(()) };
    let mut text = String::new();
    let mut printer = wasmprinter::PrintFmtWrite(&mut text);
    // What cannot be printed has no text around it.
    _ = wasmprinter::Config::new().print_offsets(true).print(wasm, &mut printer);
    let offset = |line: &str| {
        let (_, hex) = line.split_once("(;@")?;
        usize::from_str_radix(hex.split_once(';')?.0.trim(), 16).ok()
    };
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.iter().position(|line| offset(line) > Some(error.offset()));
    let last = last.unwrap_or(lines.len());
    Err(format!("{}\n{error}", lines[last.saturating_sub(CONTEXT)..last].join("\n")))
}
