//! Notes how the system is doing, for dashboards: queues, lanes and budgets at each look, repositories once an
//! hour and when their number changes.
//!
//! The leader of all seeders looks every `[seeder] operations_every`; what it saw goes to the [`OperationsLog`], if the
//! engine has one. An observation is named by its minute (or hour), so that two leaders, or a look that is made again
//! after a failure, note it once; a second look in one minute notes nothing. Counters only grow, dashboards want what was
//! added: what they were at the last look stands in the state under `operations`, so that neither a restart nor another
//! leader counts anything twice. Whole months that ended `[seeder] operations_keep` ago are forgotten.
//!
//! Metrics: `gharvest_observations_total` (`result`: `done`, `failed`, `left_out` for each repository that cannot be read).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use gharvest_archive::Archive;
use gharvest_github::{Budget, Client};
use gharvest_model::{Lane, QueueName, tracking::Tracked};
use gharvest_queue::{QueueAdmin, Totals};
use gharvest_search::operations::{Observation, OperationsLog, Seen};
use gharvest_service_kit::{cadence::Cadence, settings::Settings};
use gharvest_state::{
    State,
    feed::{self, Checked},
};
use jiff::Timestamp;
use metrics::counter;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    Failure,
    schedule::{Schedule, earlier},
};

/// How long the lead lasts without renewal.
const LEAD: Duration = Duration::from_secs(180);
/// Where the state keeps the last look, and the name of the lead.
const KEPT: &str = "operations";
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;

/// When to look, and how long it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// When looks are made; none for never.
    pub every: Option<Cadence>,
    /// Whole months that ended so long ago are forgotten.
    pub keep: Duration,
}

impl Options {
    /// The options as set.
    pub fn new(settings: &Settings) -> Self {
        Self { every: settings.seeder.operations_every.clone(), keep: settings.seeder.operations_keep }
    }
}

/// The last look.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    totals: BTreeMap<String, Totals>,
    /// The minute of it, as its first second.
    minute: i64,
    /// The hour in which repositories were last looked at, as its first second; and how many there were.
    hour: i64,
    repositories: usize,
}

/// Looks at the whole system.
#[derive(Debug)]
pub struct Observer {
    queue: Arc<dyn QueueAdmin>,
    archive: Archive,
    state: Arc<dyn State>,
    client: Client,
    log: Arc<dyn OperationsLog>,
    schedule: Schedule,
    keep: Duration,
    /// Names this process to the others.
    holder: String,
}

/// Looks until `shutdown`, whenever this process has the lead; only waits if nobody keeps what is seen.
pub async fn run(observer: Option<Observer>, shutdown: CancellationToken) {
    let Some(observer) = observer else { return shutdown.cancelled().await };
    let mut last = None;
    loop {
        let now = Timestamp::now();
        let wait = observer.schedule.next(last, now).duration_since(now);
        let look = async {
            tokio::time::sleep(wait.try_into().unwrap_or_default()).await;
            let now = Timestamp::now();
            observer.look(now).await;
            now
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            looked = look => last = Some(looked),
        }
    }
    // A lead that is not given back ends by itself.
    drop(observer.state.resign(KEPT, &observer.holder).await);
}

impl Observer {
    /// An observer of these backends; none where nobody keeps what is seen, or nobody wants it.
    pub fn new(
        queue: Arc<dyn QueueAdmin>,
        archive: Archive,
        state: Arc<dyn State>,
        client: Client,
        log: Option<Arc<dyn OperationsLog>>,
        options: Options,
    ) -> Option<Self> {
        let schedule = Schedule::new(&options.every?);
        let holder = format!("{}-{:08x}", std::process::id(), fastrand::u32(..));
        Some(Self { queue, archive, state, client, log: log?, schedule, keep: options.keep, holder })
    }

    /// One look, if this process leads. What fails is logged, and seen at the next look.
    pub async fn look(&self, now: Timestamp) {
        match self.state.lead(KEPT, &self.holder, LEAD).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return tracing::error!(%error, "State does not answer, nothing is noted for dashboards"),
        }
        let result = self.note(now).await;
        let label = if result.is_ok() { "done" } else { "failed" };
        counter!("gharvest_observations_total", "result" => label).increment(1);
        if let Err(error) = result {
            tracing::error!(%error, "Dashboards are not told how the system is, tried again at the next look");
        }
    }

    async fn note(&self, now: Timestamp) -> Result<(), Failure> {
        let stored = self.state.get(KEPT).await?;
        let mut kept: Kept = stored.and_then(|stored| serde_json::from_slice(&stored.value).ok()).unwrap_or_default();
        let minute = beginning(now, MINUTE).as_second();
        if kept.minute == minute {
            // What was added since would replace what this minute has: it counts at the next look.
            return Ok(());
        }
        let mut seen = self.queues(&mut kept.totals, now).await?;
        seen.extend(self.budgets().await.into_iter().map(of_budget));
        self.log.keep(&at(seen, now, MINUTE)).await?;
        kept.minute = minute;
        // Before anything else can fail: what is noted must not be counted again.
        self.remember(&kept).await?;
        self.hourly(&mut kept, now).await
    }

    /// Notes repositories if the hour or their number is another one, and forgets old months once an hour.
    async fn hourly(&self, kept: &mut Kept, now: Timestamp) -> Result<(), Failure> {
        let hour = beginning(now, HOUR).as_second();
        let is_new_hour = kept.hour != hour;
        let tracked = self.archive.tracking().await?;
        if is_new_hour || kept.repositories != tracked.len() {
            (kept.hour, kept.repositories) = (hour, tracked.len());
            self.log.keep(&at(self.repositories(tracked, now).await, now, HOUR)).await?;
            self.remember(kept).await?;
        }
        if is_new_hour {
            for month in self.log.forget(earlier(now, self.keep)).await? {
                tracing::info!(month, "Old observations of the system are forgotten");
            }
        }
        Ok(())
    }

    async fn remember(&self, kept: &Kept) -> Result<(), Failure> {
        let value = serde_json::to_vec(kept).expect("plain data");
        self.state.put(KEPT, &value, None, None).await?;
        Ok(())
    }

    async fn queues(&self, totals: &mut BTreeMap<String, Totals>, now: Timestamp) -> Result<Vec<Seen>, Failure> {
        let mut seen = Vec::new();
        for queue in QueueName::ALL {
            let counts = self.queue.counts(queue).await?;
            let oldest = self.queue.oldest(queue).await?;
            let before = totals.insert(queue.to_string(), counts.totals);
            // A queue that was made anew counts from nothing again.
            let since =
                |of: fn(&Totals) -> u64| before.as_ref().map(|before| of(&counts.totals).saturating_sub(of(before)));
            seen.push(Seen::Queue {
                queue,
                ready: counts.ready.iter().sum(),
                delayed: counts.delayed,
                leased: counts.leased,
                buried: counts.buried,
                lag_seconds: seconds(oldest.iter().flatten().min().copied(), now),
                finished: since(|totals| totals.finished),
                retried: since(|totals| totals.retried),
            });
            seen.extend(Lane::ALL.into_iter().map(|lane| Seen::Lane {
                queue,
                lane,
                ready: counts.ready[lane.index()],
                lag_seconds: seconds(oldest[lane.index()], now),
            }));
        }
        Ok(seen)
    }

    /// As GitHub says now, which costs nothing of them; as last heard of, where it does not answer.
    async fn budgets(&self) -> Vec<Budget> {
        match self.client.refresh_budgets().await {
            Ok(budgets) => budgets,
            Err(error) => {
                tracing::debug!(%error, "GitHub does not say what is left of the budgets");
                self.client.budgets()
            }
        }
    }

    /// One that cannot be read is left out, and must not hide the others.
    async fn repositories(&self, tracked: Vec<Tracked>, now: Timestamp) -> Vec<Seen> {
        let mut seen = Vec::with_capacity(tracked.len());
        for tracked in tracked {
            let name = tracked.name.clone();
            match self.repository(tracked, now).await {
                Ok(repository) => seen.push(repository),
                Err(error) => {
                    counter!("gharvest_observations_total", "result" => "left_out").increment(1);
                    tracing::error!(repository = %name, %error, "Dashboards are not told how this repository is");
                }
            }
        }
        seen
    }

    async fn repository(&self, tracked: Tracked, now: Timestamp) -> Result<Seen, Failure> {
        let verdict = self.archive.verdict(tracked.id, Some(&tracked), now).await?;
        let counts = verdict.counts;
        let checked: Checked = feed::get(&*self.state, tracked.id).await?.unwrap_or_default();
        Ok(Seen::Repository {
            repository_id: tracked.id,
            repository: tracked.name.to_string(),
            private: tracked.private,
            completeness: verdict.share(),
            unaccounted: counts.unknown + counts.failed,
            failed: counts.failed,
            missed_deliveries: checked.failures,
            recovered_deliveries: checked.recovered,
            trouble: verdict.trouble,
        })
    }
}

fn of_budget(budget: Budget) -> Seen {
    Seen::Budget {
        token: budget.token,
        resource: budget.resource,
        limit: budget.limit,
        remaining: budget.remaining,
        used: budget.limit.saturating_sub(budget.remaining),
        trouble: budget.trouble,
    }
}

fn at(seen: Vec<Seen>, now: Timestamp, step: i64) -> Vec<Observation> {
    let at = beginning(now, step);
    seen.into_iter().map(|seen| Observation { at, seen }).collect()
}

/// The first second of the minute or hour.
fn beginning(now: Timestamp, step: i64) -> Timestamp {
    Timestamp::from_second(now.as_second().div_euclid(step) * step).unwrap_or(Timestamp::MIN)
}

/// How long something has waited.
fn seconds(since: Option<Timestamp>, now: Timestamp) -> u64 {
    since.map_or(0, |since| u64::try_from(now.duration_since(since).as_secs()).unwrap_or_default())
}
