//! The wall clock, replaceable in tests.

use std::{fmt, sync::Arc};

use jiff::Timestamp;

/// Tells the wall time. Waiting is always done with tokio's timers, so a test that pauses those brings a clock that
/// follows them.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// A clock of one's own.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// A clock that starts at `start` now, and follows tokio's time, also when that is paused and advanced.
    pub fn following_tokio(start: Timestamp) -> Self {
        let origin = tokio::time::Instant::now();
        Self::new(move || start.saturating_add(origin.elapsed()).unwrap_or(Timestamp::MAX))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}
