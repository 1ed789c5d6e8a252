//! A test binary of its own: the recorder is the whole process's, and so is the memory that is measured.
#![allow(clippy::unwrap_used, reason = "a test that fails here says where")]

use std::{fs, time::Duration};

use gharvest_service_kit::telemetry;

/// So many samples, in so many parts; each takes 16 bytes until it is summed up.
const SAMPLES: u32 = 4_000_000;
const PARTS: u32 = 40;

#[tokio::test(start_paused = true)]
async fn metrics_that_nobody_asks_for_do_not_fill_the_memory() {
    let metrics = telemetry::init_metrics().unwrap();
    let histogram = metrics::histogram!("gharvest_test_seconds");
    histogram.record(0.5);
    let before = resident();
    for _ in 0..PARTS {
        for _ in 0..SAMPLES / PARTS {
            histogram.record(0.5);
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more");
    let count = format!("gharvest_test_seconds_count {}\n", SAMPLES + 1);
    assert!(metrics.render().contains(&count), "all were summed up");
}

/// What is resident, in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
