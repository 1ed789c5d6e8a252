//! Pauses between tries that failed.

use std::time::Duration;

/// A pause that doubles with each failure, with jitter: workers that failed together do not return together.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    const SHORTEST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(30);

    /// The pause before the next try: between half and all of 100 ms, 200 ms … 30 s.
    pub fn next_pause(&mut self) -> Duration {
        let full = Self::SHORTEST.saturating_mul(1 << self.failures.min(16)).min(Self::LONGEST);
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Begins again after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_the_longest_and_begins_again_after_a_success() {
        let mut backoff = Backoff::default();
        for full in [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000] {
            let pause = backoff.next_pause();
            assert!(
                pause <= Duration::from_millis(full) && pause * 2 >= Duration::from_millis(full),
                "{full}: {pause:?}"
            );
        }
        backoff.reset();
        assert!(backoff.next_pause() <= Backoff::SHORTEST);
    }
}
