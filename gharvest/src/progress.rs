//! Long work as people see it: a bar on a terminal, a plain line now and then elsewhere.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::{grouped, rough, say};

/// How often a plain line is printed where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Shows how far long work has come, at which rate, and when it will be done.
#[derive(Debug)]
pub(crate) struct Progress {
    what: String,
    bar: Option<ProgressBar>,
    begun: Instant,
    last_line: Instant,
    first: Option<u64>,
}

impl Progress {
    /// Begins to show work on `what` (`items`).
    pub(crate) fn new(what: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let template = "{prefix} {wide_bar:.green/dim} {human_pos}/{human_len}  {msg}";
            bar.set_style(ProgressStyle::with_template(template).expect("the template is constant"));
            bar.set_prefix(what.to_owned());
            bar
        });
        let now = Instant::now();
        Self { what: what.to_owned(), bar, begun: now, last_line: now, first: None }
    }

    /// Says how far the work is; `note` is what else there is to say (`4,812 calls left`).
    pub(crate) fn set(&mut self, done: u64, total: u64, note: &str) {
        let first = *self.first.get_or_insert(done);
        let seconds = self.begun.elapsed().as_secs_f64();
        let rate = if seconds > 0.0 { (done - first.min(done)) as f64 / seconds } else { 0.0 };
        let left = total.saturating_sub(done);
        let eta = if left == 0 || rate <= 0.0 {
            String::new()
        } else {
            format!(", {} left", rough((left as f64 / rate) as u64))
        };
        let note = if note.is_empty() { String::new() } else { format!(", {note}") };
        let message = format!("{rate:.1}/s{eta}{note}");
        match &self.bar {
            Some(bar) => {
                bar.set_length(total);
                bar.set_position(done);
                bar.set_message(message);
            }
            None if self.last_line.elapsed() >= PLAIN_EVERY => {
                self.last_line = Instant::now();
                say(format_args!("{} of {} {}, {message}", grouped(done), grouped(total), self.what));
            }
            None => {}
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
