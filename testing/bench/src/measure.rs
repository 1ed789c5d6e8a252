//! How large a run is, and what is made of measured times.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::Result;
use hdrhistogram::Histogram;

/// How large a run is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scale {
    /// Small sizes: everything in seconds, to see that it works.
    pub quick: bool,
    /// The largest sizes as well: ten million jobs, a million documents, ten minutes of load.
    pub full: bool,
    /// Instead of a part's usual number of jobs, records, documents or items.
    pub size: Option<u64>,
}

impl Scale {
    /// The number to work with: what was asked for, or one of these.
    pub fn pick(&self, quick: u64, usual: u64, full: u64) -> u64 {
        self.size.unwrap_or(self.of(quick, usual, full))
    }

    /// One of these, whatever `size` says.
    pub fn of<T>(&self, quick: T, usual: T, full: T) -> T {
        match (self.quick, self.full) {
            (true, _) => quick,
            (false, true) => full,
            (false, false) => usual,
        }
    }
}

/// So many in so long, a second.
pub fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// How long something takes.
pub async fn timed<T>(work: impl Future<Output = Result<T>>) -> Result<(T, Duration)> {
    let begun = Instant::now();
    let done = work.await?;
    Ok((done, begun.elapsed()))
}

/// Measures two ways in turns, and keeps the best time of each: what else a machine does slows both, and the best least.
pub async fn in_turns(
    rounds: usize,
    mut ours: impl AsyncFnMut() -> Result<Duration>,
    mut bare: impl AsyncFnMut() -> Result<Duration>,
) -> Result<(Duration, Duration)> {
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..rounds {
        best = (best.0.min(ours().await?), best.1.min(bare().await?));
    }
    Ok(best)
}

/// Measured times, in as much memory for ten minutes of load as for a second: what is measured grows, not the measure.
#[derive(Debug, Clone)]
pub struct Times(Histogram<u32>);

impl Default for Times {
    fn default() -> Self {
        // Nanoseconds from a microsecond to a minute, to three digits.
        Self(Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("the bounds are in order"))
    }
}

impl Times {
    /// Adds one; more than a minute counts as a minute.
    pub fn add(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The time that this share of all does not exceed, in milliseconds; not a number if there is none.
    pub fn percentile(&self, share: f64) -> f64 {
        if self.0.is_empty() {
            return f64::NAN;
        }
        self.0.value_at_quantile(share) as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_times_to_three_digits() {
        let mut times = Times::default();
        (1..=100).for_each(|millis| times.add(Duration::from_millis(millis)));
        for (share, expected) in [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            let found = times.percentile(share);
            assert!((found / expected - 1.0).abs() < 0.001, "{share}: {found}");
        }
        assert!(Times::default().percentile(0.5).is_nan());
    }

    #[test]
    fn what_takes_too_long_counts_as_a_minute() {
        let mut times = Times::default();
        times.add(Duration::from_secs(1_000));
        assert!((times.percentile(0.5) / 60_000.0 - 1.0).abs() < 0.2);
    }
}
