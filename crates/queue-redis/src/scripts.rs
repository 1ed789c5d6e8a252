//! The Lua scripts, each behind the parts of a shared library that it needs: Redis makes all functions of a script anew
//! at each call, which for the whole library takes longer than one job does.

use redis::Script;

/// Refused as a whole when Redis is out of memory: these add jobs.
const ADDS: &str = "#!lua\n";
/// May run when Redis is out of memory: these let work drain. A lease takes a little memory, for as many jobs as
/// workers hold, and without it nothing would ever drain.
const DRAINS: &str = "#!lua flags=allow-oom\n";
/// Writes nothing.
const READS: &str = "#!lua flags=no-writes\n";

/// Before all others, and before the script of the state.
pub(crate) const CLOCK: &str = include_str!("scripts/clock.lua");
const BASE: &str = include_str!("scripts/base.lua");
const JOBS: &str = include_str!("scripts/jobs.lua");
const ENDS: &str = include_str!("scripts/ends.lua");
const TURNS: &str = include_str!("scripts/turns.lua");
const MANY: &str = include_str!("scripts/many.lua");

/// All scripts.
#[derive(Debug)]
pub(crate) struct Scripts {
    pub(crate) push: Script,
    pub(crate) push_range: Script,
    pub(crate) lease: Script,
    pub(crate) settle: Script,
    pub(crate) extend: Script,
    pub(crate) pause: Script,
    pub(crate) outlook: Script,
    pub(crate) counts: Script,
    pub(crate) pauses: Script,
    pub(crate) oldest: Script,
    pub(crate) job: Script,
    pub(crate) browse: Script,
    pub(crate) remove: Script,
    pub(crate) purge: Script,
    pub(crate) revive: Script,
    pub(crate) dead: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        let script = |flags: &str, parts: &[&str], body: &str| {
            let parts = [&[CLOCK, BASE], parts, &[body]].concat();
            Script::new(&format!("{flags}{}", parts.join("\n")))
        };
        Self {
            push: script(ADDS, &[JOBS], include_str!("scripts/push.lua")),
            push_range: script(ADDS, &[JOBS], include_str!("scripts/push_range.lua")),
            lease: script(DRAINS, &[JOBS, ENDS, TURNS], include_str!("scripts/lease.lua")),
            settle: script(DRAINS, &[JOBS, ENDS], include_str!("scripts/settle.lua")),
            extend: script(DRAINS, &[], include_str!("scripts/extend.lua")),
            pause: script(DRAINS, &[JOBS], include_str!("scripts/pause.lua")),
            outlook: script(READS, &[TURNS], include_str!("scripts/outlook.lua")),
            counts: script(READS, &[], include_str!("scripts/counts.lua")),
            pauses: script(READS, &[], include_str!("scripts/pauses.lua")),
            oldest: script(READS, &[JOBS], include_str!("scripts/oldest.lua")),
            job: script(READS, &[JOBS], include_str!("scripts/job.lua")),
            browse: script(READS, &[JOBS, MANY], include_str!("scripts/browse.lua")),
            remove: script(DRAINS, &[JOBS, MANY], include_str!("scripts/remove.lua")),
            purge: script(DRAINS, &[JOBS, MANY], include_str!("scripts/purge.lua")),
            revive: script(DRAINS, &[JOBS], include_str!("scripts/revive.lua")),
            dead: script(READS, &[JOBS, MANY], include_str!("scripts/dead.lua")),
        }
    }
}
