//! The time of a backend, injected so that tests decide when it passes.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::Notify;

/// Where a backend reads the time. Queues count in whole milliseconds since 1970.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// A clock that a test moves.
    Manual(ManualClock),
}

impl Clock {
    /// Milliseconds since 1970.
    pub fn now(&self) -> i64 {
        match self {
            Self::System => Timestamp::now().as_millisecond(),
            Self::Manual(clock) => clock.now(),
        }
    }

    /// Returns once the time from `now` to `at` has passed, both in milliseconds since 1970 and of the backend: what
    /// this machine's clock shows does not matter.
    pub async fn sleep_until(&self, at: i64, now: i64) {
        match self {
            Self::System => {
                let left = at.saturating_sub(now).max(0).unsigned_abs();
                tokio::time::sleep(Duration::from_millis(left)).await;
            }
            Self::Manual(clock) => clock.sleep_until(at).await,
        }
    }
}

impl From<ManualClock> for Clock {
    fn from(clock: ManualClock) -> Self {
        Self::Manual(clock)
    }
}

/// A clock that stands still until it is moved. Clones share the time.
#[derive(Clone)]
pub struct ManualClock {
    shared: Arc<Shared>,
}

struct Shared {
    now: AtomicI64,
    moved: Notify,
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}

impl Default for ManualClock {
    /// A clock that shows a round moment of 2023.
    fn default() -> Self {
        Self::at(1_700_000_000_000)
    }
}

impl ManualClock {
    /// A clock that shows `now`, in milliseconds since 1970.
    pub fn at(now: i64) -> Self {
        Self { shared: Arc::new(Shared { now: AtomicI64::new(now), moved: Notify::new() }) }
    }

    /// Milliseconds since 1970.
    pub fn now(&self) -> i64 {
        self.shared.now.load(Ordering::SeqCst)
    }

    /// The same as a timestamp.
    pub fn timestamp(&self) -> Timestamp {
        timestamp(self.now())
    }

    /// Moves the clock forward and wakes who waits for it.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().saturating_add(milliseconds(by)));
    }

    /// Sets the clock, also backwards.
    pub fn set(&self, now: i64) {
        self.shared.now.store(now, Ordering::SeqCst);
        self.shared.moved.notify_waiters();
    }

    async fn sleep_until(&self, at: i64) {
        loop {
            // Interest is registered before the time is read, so that a move in between is not missed.
            let moved = self.shared.moved.notified();
            if self.now() >= at {
                return;
            }
            moved.await;
        }
    }
}

/// The longest duration that a queue counts with: a hundred years.
const LONGEST: i64 = 100 * 366 * 86_400_000;

/// A duration in milliseconds, cut to a hundred years so that sums stay in range.
pub fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).map_or(LONGEST, |value| value.min(LONGEST))
}

/// A timestamp of milliseconds since 1970; the latest there is where the number is beyond it.
pub fn timestamp(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)
}
