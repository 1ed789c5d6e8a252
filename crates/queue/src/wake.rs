//! Waiting for work without polling and without missing any.

use std::time::Duration;

use tokio::sync::Notify;

use crate::{Result, clock::Clock};

/// After this long a wait ends in any case, so that a missed signal costs seconds and not for ever.
pub const FALLBACK: Duration = Duration::from_secs(10);

/// What a backend knows about work, at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    /// The backend's time of this glance, in milliseconds since 1970, as all times here are.
    pub now: i64,
    /// A lease would find something to do now: a ready job, one to promote, or a lost lease.
    pub work: bool,
    /// When there may be work without a push.
    pub next_at: Option<i64>,
}

/// Returns when there is work, when `until` has passed, or after [`FALLBACK`].
///
/// The state is looked at after interest in `changed` was registered, so a change between a fruitless lease and the
/// wait, or between looking and sleeping, is never missed. All times are the backend's: `clock` only lets the
/// difference between two of them pass.
pub async fn wait<F>(clock: &Clock, changed: &Notify, until: Option<i64>, outlook: impl Fn() -> F) -> Result<()>
where
    F: Future<Output = Result<Outlook>>,
{
    let fallback = tokio::time::sleep(FALLBACK);
    tokio::pin!(fallback);
    loop {
        let mut signal = std::pin::pin!(changed.notified());
        signal.as_mut().enable();
        let Outlook { now, work, next_at } = outlook().await?;
        if work || until.is_some_and(|until| until <= now) {
            return Ok(());
        }
        // A time that has passed without making work (a pause of one repository that ended) is no reason to spin.
        let next_at = next_at.filter(|at| *at > now);
        let alarm = until.into_iter().chain(next_at).min().unwrap_or(i64::MAX);
        tokio::select! {
            () = signal => {}
            () = sleep_until(clock, alarm, now) => {}
            () = &mut fallback => return Ok(()),
        }
    }
}

async fn sleep_until(clock: &Clock, at: i64, now: i64) {
    if at == i64::MAX {
        std::future::pending::<()>().await;
    }
    clock.sleep_until(at, now).await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::Instant;

    use super::*;

    /// How long a wait of three seconds takes on a backend whose clock is some seconds off, and how often it looks.
    async fn wait_on_a_clock_off_by(seconds: i64, until: bool) -> (Duration, u32) {
        let (begin, looks) = (Instant::now(), AtomicU32::new(0));
        let began = Clock::System.now() + seconds * 1_000;
        let due = began + 3_000;
        let outlook = || async {
            looks.fetch_add(1, Ordering::Relaxed);
            let now = began + i64::try_from(begin.elapsed().as_millis()).unwrap();
            Ok(Outlook { now, work: !until && due <= now, next_at: Some(due) })
        };
        wait(&Clock::System, &Notify::new(), until.then_some(due), outlook).await.unwrap();
        (begin.elapsed(), looks.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn this_machines_clock_does_not_matter() {
        for seconds in [-3_600, -60, 0, 60, 3_600] {
            for until in [true, false] {
                let (took, looks) = wait_on_a_clock_off_by(seconds, until).await;
                assert_eq!(looks, 2, "{seconds} s off: once to learn the time, and once when it has come");
                assert!(took.as_millis().abs_diff(3_000) < 10, "{seconds} s off: {took:?}");
            }
        }
    }
}
