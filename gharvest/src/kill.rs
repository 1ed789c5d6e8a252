//! For tests only: the process kills itself, as by `kill -9`, at a named step of the work.
//!
//! `KILL_AT=downloader-stored:3` is death when that step is reached for the third time. The steps are the
//! `fail_point!`s of the components; in a build without the feature `failpoints` they are nothing.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;
use rustix::process::{Signal, getpid, kill_process};

/// Arms the step that the environment names, if any.
pub(crate) fn arm() -> anyhow::Result<()> {
    let Ok(wanted) = std::env::var("KILL_AT") else { return Ok(()) };
    let (step, times) = wanted.split_once(':').context("KILL_AT is STEP:TIMES")?;
    let left = AtomicU32::new(times.parse().context("KILL_AT is STEP:TIMES")?);
    let die_at_last = move || {
        if left.fetch_sub(1, Ordering::AcqRel) == 1 {
            kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
        }
    };
    fail::cfg_callback(step, die_at_last).map_err(anyhow::Error::msg)
}
