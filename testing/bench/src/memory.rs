//! What the kernel says of a process: resident memory and processor time. Linux only; elsewhere figures are zero.

use std::{fs, time::Duration};

/// Clock ticks a second in `/proc`: the same on every Linux that Rust has a first-class target for.
const TICKS: f64 = 100.0;

/// Makes the peak begin anew at what is resident now. Returns that, in bytes.
pub fn reset_peak() -> u64 {
    // 5 resets VmHWM, see proc_pid_clear_refs(5). Where it is refused, the peak is the process' whole.
    drop(fs::write("/proc/self/clear_refs", "5"));
    resident()
}

/// The most that was resident since the last reset, in bytes.
pub fn peak() -> u64 {
    status("VmHWM:")
}

/// The most that was resident of another process, in bytes; 0 if there is no such process.
pub fn peak_of(process: u32) -> u64 {
    status_of(&process.to_string(), "VmHWM:")
}

/// What is resident, in bytes.
pub fn resident() -> u64 {
    status("VmRSS:")
}

/// Bytes as MiB.
pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn status(field: &str) -> u64 {
    status_of("self", field)
}

fn status_of(process: &str, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// Processor time that a process has used, all its threads together; none if there is no such process.
pub fn processor_time(process: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may hold spaces; user and system time are the 12th and 13th fields behind it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_secs_f64(ticks as f64 / TICKS))
}

/// The bytes of all files below a folder.
pub fn size_of(folder: &std::path::Path) -> std::io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.metadata()?;
        sum += if found.is_dir() { size_of(&entry.path())? } else { found.len() };
    }
    Ok(sum)
}
