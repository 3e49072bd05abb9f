//! Progress bars: on standard error, on a terminal only, and only for what takes longer than a second.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use api::{Progress, Step};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is over sooner is not worth a look.
const PATIENCE: Duration = Duration::from_secs(1);

/// Follows the steps of one request, of which the first may be over soon and the last take long.
pub(crate) struct Bars {
    terminal: bool,
    begun: Instant,
    current: Option<Current>,
}

struct Current {
    step: Step,
    bar: Option<ProgressBar>,
}

impl Bars {
    pub(crate) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), begun: Instant::now(), current: None }
    }

    /// Shows how far it is.
    pub(crate) fn update(&mut self, progress: &Progress) {
        self.at(Instant::now(), progress);
    }

    /// Removes what is shown, so that something else can be.
    pub(crate) fn clear(&mut self) {
        if let Some(Current { bar: Some(bar), .. }) = self.current.take() {
            bar.finish_and_clear();
        }
    }

    fn at(&mut self, now: Instant, progress: &Progress) {
        if !self.terminal {
            return;
        }
        if self.current.as_ref().is_none_or(|current| current.step != progress.step) {
            self.clear();
            self.current = Some(Current { step: progress.step, bar: None });
        }
        let current = self.current.as_mut().expect("was set");
        if current.bar.is_none() && now.duration_since(self.begun) >= PATIENCE {
            current.bar = Some(bar(progress));
        }
        if let Some(bar) = &current.bar {
            if let Some(total) = progress.total {
                bar.set_length(total);
            }
            bar.set_position(progress.done);
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.clear();
    }
}

fn bar(progress: &Progress) -> ProgressBar {
    let (what, counts) = match progress.step {
        Step::Compile => ("compiling", "{pos}/{len} functions"),
        Step::Fetch => ("fetching", "{binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}"),
        Step::Gather => ("gathering", "{pos}/{len} processes {elapsed}"),
        Step::Leave => ("moving", "{pos}/{len} processes {elapsed}"),
        Step::Transfer => ("moving", "{binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}"),
    };
    let style = match progress.total {
        Some(_) => format!("{what} {{bar:30}} {counts}"),
        None => format!("{what} {{spinner}} {{elapsed}}"),
    };
    let bar = ProgressBar::with_draw_target(progress.total, ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template(&style).expect("a template of ours"));
    // What cannot be counted shows at least that it lives.
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
