//! Commits shared by batches: one commit serves everything that was applied before it began.
//!
//! A commit costs much more than a document. The first batch after a quiet time is committed at once; further ones
//! wait until the last commit is `linger` old, or until `full` threads wait, and are then committed together.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use gharvest_search::{Result, SearchIndex};
use metrics::{counter, histogram};
use tokio::{
    sync::{Mutex, Notify},
    time::Instant,
};

/// Groups commits of one index.
#[derive(Debug)]
pub(crate) struct Committer {
    index: Arc<dyn SearchIndex>,
    linger: Duration,
    full: u64,
    /// Threads applied so far.
    applied: AtomicU64,
    more: Notify,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    /// How many threads had been applied when the last commit began.
    covers: u64,
    /// None of those were lost that were applied in this epoch of the index.
    epoch: u64,
    at: Option<Instant>,
}

impl Committer {
    pub(crate) fn new(index: Arc<dyn SearchIndex>, linger: Duration, full: usize) -> Self {
        let full = full.max(1) as u64;
        Self { index, linger, full, applied: AtomicU64::new(0), more: Notify::new(), last: Mutex::default() }
    }

    /// Returns when `threads` just applied, since the index had this epoch, are committed; fails if they were lost,
    /// whoever's failure that was.
    pub(crate) async fn commit(&self, threads: usize, epoch: u64) -> Result<()> {
        let mine = self.applied.fetch_add(threads as u64, Ordering::AcqRel) + threads as u64;
        self.more.notify_waiters();
        // Whoever gets the lock commits for all who wait for it; they find their work covered.
        let mut last = self.last.lock().await;
        if last.at.is_some() && last.covers >= mine && last.epoch == epoch {
            return Ok(());
        }
        self.linger(&last).await;
        let covers = self.applied.load(Ordering::Acquire);
        let began = Instant::now();
        self.index.commit_since(epoch).await?;
        counter!("gharvest_index_commits_total").increment(1);
        histogram!("gharvest_index_commit_seconds").record(began.elapsed().as_secs_f64());
        *last = Last { covers, epoch, at: Some(Instant::now()) };
        Ok(())
    }

    async fn linger(&self, last: &Last) {
        let Some(at) = last.at else { return };
        let until = at + self.linger;
        loop {
            let more = self.more.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            if self.applied.load(Ordering::Acquire) - last.covers >= self.full {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                () = more => {}
            }
        }
    }
}
