//! What the transform did, in numbers: `whimbrel transform --report` prints it.

/// Counts and sizes of one transform.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Functions that the original defines.
    pub functions: u32,
    /// Functions that got a way out, because they can be on the stack when the program stops.
    pub functions_instrumented: u32,
    /// Polls at function entries.
    pub sites_entry: u32,
    /// Polls at loop headers.
    pub sites_loop: u32,
    /// Loops that need no poll of their own.
    pub loops_without_poll: u32,
    /// Tests after calls of functions that may suspend, direct and indirect.
    pub sites_call: u32,
    /// Calls that need no test.
    pub calls_without_test: u32,
    /// Calls of imports that may block.
    pub sites_import: u32,
    /// Values saved, summed over all sites.
    pub values_saved: u64,
    /// The largest frame of any function.
    pub frame_bytes_max: u32,
    /// Size of the original module.
    pub original_bytes: u64,
    /// Size of the run form.
    pub run_bytes: u64,
    /// Size of the resume form.
    pub resume_bytes: u64,
    /// Imports that were taken to be instantaneous, as `module.name`.
    pub instant_imports: Vec<String>,
    /// Imports that may block, as `module.name`.
    pub blocking_imports: Vec<String>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = |bytes: u64| bytes * 100 / self.original_bytes.max(1);
        writeln!(
            f,
            "functions         {} of {} instrumented",
            self.functions_instrumented, self.functions
        )?;
        writeln!(f, "entry polls       {}", self.sites_entry)?;
        writeln!(
            f,
            "loop polls        {} ({} loops need none)",
            self.sites_loop, self.loops_without_poll
        )?;
        writeln!(
            f,
            "calls tested      {} ({} need no test)",
            self.sites_call, self.calls_without_test
        )?;
        writeln!(f, "blocking calls    {}", self.sites_import)?;
        writeln!(f, "values saved      {}", self.values_saved)?;
        writeln!(f, "largest frame     {} bytes", self.frame_bytes_max)?;
        writeln!(f, "original          {} bytes", self.original_bytes)?;
        writeln!(f, "run form          {} bytes ({} %)", self.run_bytes, percent(self.run_bytes))?;
        writeln!(
            f,
            "resume form       {} bytes ({} %)",
            self.resume_bytes,
            percent(self.resume_bytes)
        )?;
        writeln!(f, "blocking imports  {}", self.blocking_imports.join(", "))?;
        write!(f, "instant imports   {}", self.instant_imports.join(", "))
    }
}
