//! A progress bar for work that takes seconds. Owns when one is shown: on a terminal only, on
//! standard error, so that no output holds it. It is drawn by the thread that advances it and by
//! no other, since a timer's thread would show in what bench measures.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar over a known number of steps; cleared when dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar of `steps` steps, or nothing where standard error is not a terminal.
    pub(crate) fn new(steps: u64) -> Progress {
        // indicatif's own target is hidden where standard error is not a terminal.
        Progress::on(ProgressDrawTarget::stderr(), steps)
    }

    fn on(target: ProgressDrawTarget, steps: u64) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(steps), target);
        // The template is a constant; should it ever be refused, the default style serves.
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg}") {
            bar.set_style(style);
        }
        Progress { bar }
    }

    /// Says what the current step does.
    pub(crate) fn step(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// Ends the current step.
    pub(crate) fn advance(&self) {
        self.bar.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
