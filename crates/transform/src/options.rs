//! What the caller may choose.

/// How polls decide to fire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Polls {
    /// A poll tests a control word.
    #[default]
    Normal,
    /// A poll counts [`abi::COUNTER`](crate::abi::COUNTER) down and fires at zero, so that a test
    /// freezes at exactly the k-th safepoint. Slow. Polls do not count while rewinding.
    Counted,
}

/// What the caller may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How polls decide to fire.
    pub polls: Polls,
    /// Imported functions that always finish at once, as (module, name); all others may block, and
    /// every call of those is a safepoint.
    pub instant_imports: Vec<(String, String)>,
}

/// WASI functions that never wait, for preview 1 and preview 0 alike.
const WASI_INSTANT: &[&str] = &[
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_advise",
    "fd_fdstat_get",
    "fd_filestat_get",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "fd_tell",
    "proc_exit",
    "random_get",
    "sched_yield",
];

/// Functions of Whimbrel's own module that never wait.
const WHIMBREL_INSTANT: &[&str] = &["group", "node", "self"];

impl Default for Options {
    fn default() -> Self {
        let modules = ["wasi_snapshot_preview1", "wasi_unstable"];
        let names = |module: &'static str, names: &'static [&'static str]| {
            names.iter().map(move |name| (module.to_owned(), (*name).to_owned()))
        };
        let instant_imports = modules
            .into_iter()
            .flat_map(|module| names(module, WASI_INSTANT))
            .chain(names("whimbrel", WHIMBREL_INSTANT))
            .collect();
        Self { polls: Polls::Normal, instant_imports }
    }
}
