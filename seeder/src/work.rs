//! What each task does, apart from when it does it.

use std::{sync::Arc, time::Duration};

use gharvest_archive::Archive;
use gharvest_github::{Client, Purpose};
use gharvest_model::{Lane, QueueName, Subject, job::part, tracking::Tracked};
use gharvest_queue::{Queue, QueueAdmin, Timing, Trigger};
use gharvest_state::State;
use gharvest_webhook_receiver::Receiver;
use jiff::Timestamp;

use crate::{
    Failure, Options, Outage, Ran, SWEEP_EVERY, Task,
    deliveries::{self, Recovery},
    gaps::{self, Shares},
    inbox::Inbox,
    schedule::Schedule,
    sweep::{Pace, Sweep},
};

/// What tasks work with. Cheap to clone: each task has its own while it runs.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    pub(crate) archive: Archive,
    pub(crate) queue: Arc<dyn QueueAdmin>,
    pub(crate) state: Arc<dyn State>,
    pub(crate) client: Client,
    pub(crate) receiver: Arc<Receiver>,
    pub(crate) options: Arc<Options>,
    /// Only one task looks at the inbox, once at a time.
    pub(crate) inbox: Arc<tokio::sync::Mutex<Inbox>>,
    pub(crate) shares: Arc<Shares>,
}

impl Tools {
    pub(crate) fn new(
        archive: Archive,
        queue: Arc<dyn QueueAdmin>,
        state: Arc<dyn State>,
        client: Client,
        options: Options,
    ) -> Self {
        let receiver = Receiver::new(Arc::clone(&queue) as Arc<dyn Queue>, archive.clone(), options.untracked);
        Self {
            receiver: Arc::new(receiver),
            archive,
            queue,
            state,
            client,
            options: Arc::new(options),
            inbox: Arc::default(),
            shares: Arc::default(),
        }
    }

    /// Does a task that last ran at `last`.
    pub(crate) async fn run(
        &self,
        task: Task,
        schedule: &Schedule,
        last: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Ran, Failure> {
        let tracked = self.archive.tracking().await?;
        let pushed = self.push_due(task, schedule, &tracked, last, now).await?;
        let turns = tracked.iter().filter(|_| task.is_spread()).map(|tracked| schedule.next_turn(tracked.id, now));
        Ok(Ran { pushed, next_turn: turns.min() })
    }

    /// Says how many jobs were pushed.
    async fn push_due(
        &self,
        task: Task,
        schedule: &Schedule,
        tracked: &[Tracked],
        last: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<u64, Failure> {
        let turns = || tracked.iter().filter(|tracked| schedule.has_turn(tracked.id, last, now));
        match task {
            Task::Inbox => self.inbox.lock().await.look(&self.archive, self.queue.as_ref(), now).await,
            Task::Reconcile => self.push_parts(turns(), &[part::UPDATES]).await,
            Task::Metadata => {
                let parts = [part::METADATA, part::LABELS, part::MILESTONES, part::RELEASES, part::EDITS];
                self.push_parts(turns(), &parts).await
            }
            Task::Daily => {
                let daily = |tracked: &Tracked| trigger(QueueName::Index, tracked, part::DAILY);
                self.push(tracked.iter().map(daily).collect()).await
            }
            Task::Gaps => self.gaps(tracked, now).await,
            Task::Sweep => self.sweep(tracked, now).await,
            Task::Deliveries => self.recovery().run(&turns().collect::<Vec<_>>(), now).await,
            Task::Snapshot => self.options.snapshots.make(&self.archive).await.map(|()| 0),
        }
    }

    fn recovery(&self) -> Recovery<'_> {
        Recovery {
            archive: &self.archive,
            receiver: &self.receiver,
            state: self.state.as_ref(),
            client: &self.client,
            log: self.options.deliveries_of,
            most_pages: deliveries::MOST_PAGES,
        }
    }

    async fn push_parts(&self, of: impl Iterator<Item = &Tracked>, parts: &[&str]) -> Result<u64, Failure> {
        let triggers = of.flat_map(|tracked| parts.iter().map(|part| trigger(QueueName::Download, tracked, part)));
        self.push(triggers.collect()).await
    }

    async fn push(&self, triggers: Vec<Trigger>) -> Result<u64, Failure> {
        for step in triggers.chunks(500) {
            self.queue.push(step, None).await?;
        }
        Ok(triggers.len() as u64)
    }

    async fn gaps(&self, all: &[Tracked], now: Timestamp) -> Result<u64, Failure> {
        self.shares.keep(&all.iter().map(|tracked| tracked.id).collect());
        let (mut pushed, mut failed) = (0, Vec::new());
        for tracked in all {
            match gaps::check(&self.archive, self.queue.as_ref(), &self.shares, tracked, now).await {
                Ok(own) => pushed += own,
                Err(error) if error.is_of_one() => {
                    tracing::warn!(repository = %tracked.name, error = %error, "Repository cannot be looked at for gaps");
                    failed.push(format!("{}: {error}", tracked.name));
                }
                Err(error) => return Err(error),
            }
        }
        done(pushed, &failed, all.len(), "looked at for gaps")
    }

    async fn sweep(&self, all: &[Tracked], now: Timestamp) -> Result<u64, Failure> {
        // The first mirror of a repository verifies everything by itself; what cannot be fetched is not asked for.
        let swept = |tracked: &&Tracked| tracked.complete_at.is_some() && tracked.trouble.is_none();
        let swept: Vec<&Tracked> = all.iter().filter(swept).collect();
        if swept.is_empty() {
            return Ok(0);
        }
        let pace = self.pace().await?;
        let (archive, queue, client) = (&self.archive, self.queue.as_ref(), &self.client);
        let (mut left, mut pushed, mut failed, mut outage) = (pace.affordable(), 0, Vec::new(), Outage::default());
        // A different repository begins each time, so that none takes all.
        let first = usize::try_from(now.as_second().unsigned_abs() / SWEEP_EVERY.as_secs()).unwrap_or(0) % swept.len();
        for tracked in swept[first..].iter().chain(&swept[..first]) {
            if left == 0 {
                break;
            }
            let mut sweep = Sweep { archive, queue, client, tracked, pace, now, left };
            let result = sweep.run().await;
            left = sweep.left;
            let met_silence = result.as_ref().is_err_and(Failure::is_silence);
            let is_outage = outage.is_certain(met_silence);
            match result {
                Ok(own) => pushed += own,
                Err(error) if error.is_of_one() || met_silence && !is_outage => {
                    tracing::warn!(repository = %tracked.name, error = %error, "Repository cannot be swept now");
                    failed.push(format!("{}: {error}", tracked.name));
                }
                Err(error) => return Err(error),
            }
        }
        done(pushed, &failed, swept.len(), "swept")
    }

    /// What sweeps may cost now.
    async fn pace(&self) -> Result<Pace, Failure> {
        self.client.refresh_budgets().await?;
        let calls_an_hour = self.client.calls_an_hour(Purpose::Backfill);
        Ok(Pace {
            every: SWEEP_EVERY.min(self.options.sweep_period).max(Duration::from_secs(1)),
            period: self.options.sweep_period,
            cost_per_hour: calls_an_hour as f64 * self.options.sweep_share,
            by_graphql: self.options.graphql && self.client.can_graphql(),
        })
    }
}

/// What a run over so many repositories did, of which some failed.
fn done(pushed: u64, failed: &[String], of: usize, what: &str) -> Result<u64, Failure> {
    let Some(first) = failed.first() else { return Ok(pushed) };
    Err(Failure::Partly(format!("{} of {of} repositories could not be {what}; the first: {first}", failed.len())))
}

fn trigger(queue: QueueName, tracked: &Tracked, part: &str) -> Trigger {
    Trigger {
        queue,
        subject: Subject::part(tracked.id, part),
        lane: Lane::Reconcile,
        timing: Timing::WhenFree,
        reason: "schedule".to_owned(),
    }
}
