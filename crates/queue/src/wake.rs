//! Waiting for work without polling and without missing any.

use std::time::Duration;

use tokio::sync::Notify;

use crate::{Result, clock::Clock};

/// After this long a wait ends in any case, so that a missed signal costs seconds and not for ever.
pub const FALLBACK: Duration = Duration::from_secs(10);

/// What a backend knows about work, at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    /// A lease would find something to do now: a ready job, one to promote, or a lost lease.
    pub work: bool,
    /// When there may be work without a push.
    pub next_at: Option<i64>,
}

/// Returns when there is work, when `until` has passed, or after [`FALLBACK`].
///
/// The state is looked at after interest in `changed` was registered, so a change between a fruitless lease and the
/// wait, or between looking and sleeping, is never missed.
pub async fn wait<F>(clock: &Clock, changed: &Notify, until: Option<i64>, outlook: impl Fn() -> F) -> Result<()>
where
    F: Future<Output = Result<Outlook>>,
{
    let fallback = tokio::time::sleep(FALLBACK);
    tokio::pin!(fallback);
    loop {
        let mut signal = std::pin::pin!(changed.notified());
        signal.as_mut().enable();
        // Read first: a time that passes while the backend answers must not be taken for one that had passed before.
        let now = clock.now();
        let outlook = outlook().await?;
        if outlook.work || until.is_some_and(|until| until <= now) {
            return Ok(());
        }
        // A time that has passed without making work (a pause of one repository that ended) is no reason to spin.
        let next_at = outlook.next_at.filter(|at| *at > now);
        let alarm = until.into_iter().chain(next_at).min().unwrap_or(i64::MAX);
        tokio::select! {
            () = signal => {}
            () = sleep_until(clock, alarm) => {}
            () = &mut fallback => return Ok(()),
        }
    }
}

async fn sleep_until(clock: &Clock, at: i64) {
    if at == i64::MAX {
        std::future::pending::<()>().await;
    }
    clock.sleep_until(at).await;
}
