//! How large a run is, and what is made of measured times.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::Result;

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

/// Measured times.
#[derive(Debug, Clone, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Adds one.
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Adds others.
    pub fn extend(&mut self, times: Self) {
        self.0.extend(times.0);
    }

    /// The time that this share of all does not exceed, in milliseconds; not a number if there is none.
    pub fn percentile(&self, share: f64) -> f64 {
        let mut times = self.0.clone();
        times.sort_unstable();
        let place = (times.len() as f64 * share).ceil() as usize;
        times.get(place.saturating_sub(1)).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_times() {
        let times = Times((1..=100).map(Duration::from_millis).collect());
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| times.percentile(share)), [1.0, 50.0, 99.0, 100.0]);
        assert!(Times::default().percentile(0.5).is_nan());
    }
}
