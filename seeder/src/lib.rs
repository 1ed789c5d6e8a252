//! Produces jobs on a schedule: what no webhook announced is found all the same.
//!
//! | task | how often | pushes |
//! | --- | --- | --- |
//! | `reconcile` | each repository every `reconcile_every`, spread out | `updates` |
//! | `metadata` | each repository every `metadata_every`, spread out | `metadata`, `labels`, `milestones`, `releases` |
//! | `daily` | once a UTC day | `daily` on the index queue: a new day needs its counts |
//! | `gaps` | every `gap_every` | numbers never fetched; 404s and failures after a day |
//! | `sweep` | every ten minutes | what changed in silence: see [`sweep`] |
//! | `deliveries` | each repository every `deliveries_every`, spread out | what follows from deliveries that failed |
//! | `snapshot` | every `snapshot_every` | nothing: a snapshot of the archive is made, and old ones are removed |
//! | `inbox` | every minute | deliveries that waited for the queue, items whose facts wait though they have no job |
//!
//! Each task runs aside, once at a time: whatever one of them waits for, the lead is renewed, the others go on, and the
//! end of the process is heard at once.
//!
//! Any number of seeders may run: the state grants one the lead. When the lead changes during a long run two may push
//! the same; pushes coalesce, so that costs nothing. When a task last ran, is due, and how it ended stand in the state
//! under `schedule/{task}`; if the state is lost, each runs once. [`run_now`] has any of them run at once.
//! An interval may be cron times instead, see [`Cadence`]. Beside these, each with a lead of its own, [`notify`] tells a
//! person of what needs one, and [`operations`] notes for dashboards how the system is doing.
//!
//! Metrics: `gharvest_seeder_leads`, `gharvest_seeder_runs_total` (`task`, `result`),
//! `gharvest_seeder_pushed_total` (`task`), `gharvest_completeness` (`repository_id`): the share of numbers
//! accounted for, 1 only if the repository is complete, as of the last run of `gaps`, and not a number where it is no
//! longer looked at; and those of [`levels`].

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use gharvest_archive::Archive;
use gharvest_github::{Client, ErrorKind};
use gharvest_queue::QueueAdmin;
use gharvest_service_kit::{
    cadence::Cadence,
    settings::{DeliveryLog, Settings, Untracked},
};
use gharvest_state::State;
use jiff::Timestamp;
use metrics::{counter, gauge};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub mod deliveries;
pub mod gaps;
pub mod inbox;
pub mod levels;
pub mod notify;
pub mod operations;
pub mod schedule;
pub mod snapshots;
pub mod sweep;
mod work;

use schedule::{Schedule, later};
use snapshots::Snapshots;
use work::Tools;

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The archive.
    #[error(transparent)]
    Archive(#[from] gharvest_archive::Error),
    /// The queue.
    #[error(transparent)]
    Queue(#[from] gharvest_queue::Error),
    /// The state.
    #[error(transparent)]
    State(#[from] gharvest_state::Error),
    /// GitHub.
    #[error(transparent)]
    Github(#[from] gharvest_github::Error),
    /// A recovered delivery could be kept nowhere.
    #[error(transparent)]
    NotDurable(#[from] gharvest_webhook_receiver::NotDurable),
    /// The search engine.
    #[error(transparent)]
    Search(#[from] gharvest_search::Error),
    /// Snapshots are wanted of an archive that is no folder, and nobody said where they go.
    #[error("the archive is no folder: set [seeder] snapshot_folder to where snapshots go")]
    NoSnapshotFolder,
    /// Something stands against a part of the work; the rest was done.
    #[error("{0}")]
    Partly(String),
    /// A task ended in a fault of the program.
    #[error("the task ended unexpectedly: {0}")]
    Ended(#[from] tokio::task::JoinError),
}

impl Failure {
    /// Whether GitHub did not answer: for one repository, or for all.
    fn is_silence(&self) -> bool {
        matches!(self, Self::Github(error) if *error.kind() == ErrorKind::Unavailable)
    }

    /// Whether it stands against the one repository that was asked for.
    fn is_of_one(&self) -> bool {
        match self {
            Self::Github(error) => {
                matches!(
                    error.kind(),
                    ErrorKind::Forbidden | ErrorKind::Unconfirmed { .. } | ErrorKind::BadAnswer | ErrorKind::Refused
                )
            }
            // Forgotten while it was looked at, or damaged.
            Self::Archive(error) => {
                matches!(error.kind(), gharvest_archive::ErrorKind::Corrupt | gharvest_archive::ErrorKind::Forgotten)
            }
            _ => false,
        }
    }
}

/// Tells an outage of GitHub from the trouble of one repository: what two in a row meet, all would, for minutes each.
#[derive(Debug, Default)]
struct Outage {
    before: bool,
}

impl Outage {
    /// Whether it is one, now that a repository was asked for, and met silence or did not.
    fn is_certain(&mut self, met_silence: bool) -> bool {
        std::mem::replace(&mut self.before, met_silence) && met_silence
    }
}

/// What the seeder is set to.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// How often each repository is asked what was updated.
    pub reconcile_every: Cadence,
    /// How often repository data is fetched.
    pub metadata_every: Cadence,
    /// How often ledgers are looked at.
    pub gap_every: Cadence,
    /// How often each hook's failed deliveries are asked for.
    pub deliveries_every: Duration,
    /// Whose log of deliveries is read.
    pub deliveries_of: DeliveryLog,
    /// What becomes of recovered deliveries of repositories that are not tracked.
    pub untracked: Untracked,
    /// Every item is verified once in this time.
    pub sweep_period: Duration,
    /// The sweep's share of the budget, 0 to 1.
    pub sweep_share: f64,
    /// Whether downloads use GraphQL.
    pub graphql: bool,
    /// Snapshots of the archive.
    pub snapshots: Snapshots,
}

impl Options {
    /// The options as set.
    pub fn new(settings: &Settings) -> Self {
        let set = &settings.seeder;
        Self {
            reconcile_every: set.reconcile_every.clone(),
            metadata_every: set.metadata_every.clone(),
            gap_every: set.gap_every.clone(),
            deliveries_every: set.deliveries_every,
            deliveries_of: set.deliveries_of,
            untracked: settings.webhook.untracked,
            sweep_period: set.sweep_period,
            sweep_share: set.sweep_share,
            graphql: settings.downloader.graphql,
            snapshots: Snapshots::new(settings),
        }
    }
}

/// What the seeder does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// Asks each repository what was updated.
    Reconcile,
    /// Fetches repository data.
    Metadata,
    /// Has daily counts made for a new day.
    Daily,
    /// Looks for numbers that nobody accounts for.
    Gaps,
    /// Looks for silent changes.
    Sweep,
    /// Pushes what waits in the inbox.
    Inbox,
    /// Recovers deliveries that failed.
    Deliveries,
    /// Makes a snapshot of the archive.
    Snapshot,
}

impl Task {
    /// Every task, in the order in which they begin.
    pub const ALL: [Self; 8] = [
        Self::Inbox,
        Self::Reconcile,
        Self::Gaps,
        Self::Metadata,
        Self::Daily,
        Self::Sweep,
        Self::Deliveries,
        Self::Snapshot,
    ];

    /// The task's name in status, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reconcile => "reconcile",
            Self::Metadata => "metadata",
            Self::Daily => "daily",
            Self::Gaps => "gaps",
            Self::Sweep => "sweep",
            Self::Inbox => "inbox",
            Self::Deliveries => "deliveries",
            Self::Snapshot => "snapshot",
        }
    }

    /// Where the state keeps the task's last run.
    pub fn key(self) -> String {
        format!("schedule/{}", self.as_str())
    }

    /// The task of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.as_str() == name)
    }

    /// Where the state keeps that somebody wants it to run now.
    fn wanted_key(self) -> String {
        format!("{WANTED}{}", self.as_str())
    }

    /// How soon it is tried again once it failed.
    fn again_after(self) -> Duration {
        match self {
            Self::Snapshot => SNAPSHOT_AGAIN_AFTER,
            // Each run has its share of the budget, which a failed one may have spent as well.
            Self::Sweep => SWEEP_EVERY,
            // All ledgers are read for one repository that cannot be.
            Self::Gaps => SWEEP_EVERY,
            _ => RETRY_AFTER,
        }
    }

    /// Whether repositories have turns spread over the interval, instead of one run for all.
    fn is_spread(self) -> bool {
        matches!(self, Self::Reconcile | Self::Metadata | Self::Deliveries)
    }
}

/// A task's last run, for `status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// When it last began and did not fail; none if it never did.
    #[serde(default)]
    pub last: Option<Timestamp>,
    /// When it is due again: where repositories have turns of their own, when the next one has its turn.
    pub next: Timestamp,
    /// What it pushed then.
    pub pushed: u64,
    /// Why the attempt after that failed; none if it did not. May name any repository: for operators.
    #[serde(default)]
    pub error: Option<String>,
}

/// Has a task run now, for all repositories, by whichever seeder leads.
pub async fn run_now(state: &dyn State, task: Task) -> gharvest_state::Result<()> {
    state.put(&task.wanted_key(), b"", None, None).await.map(|_| ())
}

/// The last run of each task that ever ran.
pub async fn runs(state: &dyn State) -> gharvest_state::Result<Vec<(Task, Run)>> {
    let mut runs = Vec::new();
    for task in Task::ALL {
        let stored = state.get(&task.key()).await?;
        let run = stored.and_then(|stored| serde_json::from_slice(&stored.value).ok());
        runs.extend(run.map(|run| (task, run)));
    }
    Ok(runs)
}

/// Tasks that somebody wants to run now stand in the state below this.
const WANTED: &str = "run-now/";
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Between two looks at what is due.
const TICK: Duration = Duration::from_secs(1);
/// How long the lead lasts without renewal.
const LEAD: Duration = Duration::from_secs(30);
/// Between two looks at the inbox.
const INBOX_EVERY: Duration = Duration::from_secs(60);
/// Between two runs of the sweep.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// A task that failed is tried again after this.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// A snapshot that failed, for want of room as a rule, after this: each attempt reads the whole archive.
const SNAPSHOT_AGAIN_AFTER: Duration = Duration::from_secs(15 * 60);
/// Tasks with turns look when the next repository has its turn, and this often for repositories that came meanwhile;
/// what the state keeps of them is written as often if nothing was pushed.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Produces jobs on a schedule.
#[derive(Debug)]
pub struct Seeder {
    tools: Tools,
    /// Names this process to the others.
    holder: String,
    runs: HashMap<Task, Run>,
    saved: HashMap<Task, Timestamp>,
    failed: HashMap<Task, Timestamp>,
    /// When tasks with turns look again; this leader's alone, because the intervals may have changed before it led.
    looks: HashMap<Task, Timestamp>,
    /// What is being done.
    at_work: HashMap<Task, AtWork>,
    leads: bool,
}

/// A task that is being done.
#[derive(Debug)]
struct AtWork {
    began: Timestamp,
    /// Whether somebody wanted it to run now.
    is_wanted: bool,
    running: JoinHandle<Result<Ran, Failure>>,
}

/// What a run did.
#[derive(Debug)]
pub(crate) struct Ran {
    /// How many jobs were pushed.
    pushed: u64,
    /// When the next repository has its turn; none where they have none.
    next_turn: Option<Timestamp>,
}

/// Seeds until `shutdown`, whenever it has the lead.
pub async fn run(
    queue: Arc<dyn QueueAdmin>,
    archive: Archive,
    state: Arc<dyn State>,
    client: Client,
    options: Options,
    shutdown: CancellationToken,
) {
    // A new name at each start: what a former process of this host held is not ours.
    let holder = format!("{}-{:08x}", std::process::id(), fastrand::u32(..));
    let mut seeder = Seeder::new(archive, queue, state, client.clone(), options, holder);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let tick = async {
            ticks.tick().await;
            seeder.tick(Timestamp::now()).await;
        };
        // A tick that is given up half-way is as if this process had died then.
        if shutdown.run_until_cancelled(tick).await.is_none() {
            break;
        }
    }
    seeder.resign().await;
    client.keep_spent().await;
}

impl Seeder {
    /// A seeder that does nothing until it is run. `holder` names it among the others.
    pub fn new(
        archive: Archive,
        queue: Arc<dyn QueueAdmin>,
        state: Arc<dyn State>,
        client: Client,
        options: Options,
        holder: String,
    ) -> Self {
        // Alerts on what a counter grows by do not see one that begins with its first failure.
        for (task, result) in Task::ALL.into_iter().flat_map(|task| [(task, "done"), (task, "failed")]) {
            counter!("gharvest_seeder_runs_total", "task" => task.as_str(), "result" => result).increment(0);
        }
        Self {
            tools: Tools::new(archive, queue, state, client, options),
            holder,
            runs: HashMap::new(),
            saved: HashMap::new(),
            failed: HashMap::new(),
            looks: HashMap::new(),
            at_work: HashMap::new(),
            leads: false,
        }
    }

    /// Takes note of what has ended, and begins what is due, if this seeder leads. A failure is counted, and the task
    /// stays due; it is tried again soon.
    pub async fn tick(&mut self, now: Timestamp) {
        match self.lead().await {
            Ok(leads) => self.leads = leads,
            Err(error) => {
                tracing::error!(error = %error, "State does not answer, nothing is scheduled");
                self.leads = false;
            }
        }
        gauge!("gharvest_seeder_leads").set(if self.leads { 1.0 } else { 0.0 });
        if !self.leads {
            // What the last leader saw is another's to say now.
            gauge!("gharvest_inbox_entries").set(0.0);
            self.tools.shares.keep(&BTreeSet::new());
            return;
        }
        self.take_notes().await;
        let wanted = self.wanted().await;
        for task in Task::ALL {
            self.begin_if_due(task, wanted.contains(&task), now);
        }
    }

    /// Waits until everything that was begun has ended, and takes note of it.
    pub async fn settle(&mut self) {
        for task in Task::ALL {
            self.end(task).await;
        }
    }

    /// Takes note of every task that has ended.
    async fn take_notes(&mut self) {
        for task in Task::ALL {
            if self.at_work.get(&task).is_some_and(|at_work| at_work.running.is_finished()) {
                self.end(task).await;
            }
        }
    }

    /// Waits for a task's end, if it is at work, and takes note of it.
    async fn end(&mut self, task: Task) {
        let Some(AtWork { began, is_wanted, running }) = self.at_work.remove(&task) else { return };
        let result = running.await.map_err(Failure::from).flatten();
        self.take_note(task, result, began).await;
        if is_wanted && let Err(error) = self.tools.state.delete(&task.wanted_key()).await {
            tracing::warn!(task = task.as_str(), error = %error, "Task may run once more than wanted");
        }
    }

    /// What somebody wants to run now.
    async fn wanted(&self) -> Vec<Task> {
        let kept = self.tools.state.list(WANTED).await.unwrap_or_else(|error| {
            tracing::warn!(error = %error, "State does not say what is wanted now");
            Vec::new()
        });
        kept.iter().filter_map(|(key, _)| Task::named(key.trim_start_matches(WANTED))).collect()
    }

    fn begin_if_due(&mut self, task: Task, is_wanted: bool, now: Timestamp) {
        if self.at_work.contains_key(&task) {
            return;
        }
        if is_wanted {
            // As if it had never run: every repository has its turn. Tried once; if that fails, as any other.
            self.runs.remove(&task);
        } else if !self.is_due(task, now) {
            return;
        }
        let (tools, schedule, last) = (self.tools.clone(), self.schedule(task), self.last(task));
        let running = tokio::spawn(async move { tools.run(task, &schedule, last, now).await });
        self.at_work.insert(task, AtWork { began: now, is_wanted, running });
    }

    /// Gives the lead back, so that another seeder need not wait for its end. What is being done is given up.
    pub async fn resign(&mut self) {
        self.leads = false;
        let given_up: Vec<_> = self.at_work.drain().map(|(_, at_work)| at_work.running).collect();
        given_up.iter().for_each(JoinHandle::abort);
        for running in given_up {
            // Only then does it show nothing more.
            drop(running.await);
        }
        self.tools.shares.keep(&BTreeSet::new());
        if let Err(error) = self.tools.state.resign("seeder", &self.holder).await {
            tracing::warn!(error = %error, "Lead could not be given back, another seeder takes over when it runs out");
        }
    }

    /// Takes or renews the lead; whoever takes it goes on where the last leader was.
    async fn lead(&mut self) -> Result<bool, Failure> {
        let leads = self.tools.state.lead("seeder", &self.holder, LEAD).await?;
        if leads && !self.leads {
            self.runs = runs(self.tools.state.as_ref()).await?.into_iter().collect();
            self.looks.clear();
        }
        Ok(leads)
    }

    fn last(&self, task: Task) -> Option<Timestamp> {
        self.runs.get(&task).and_then(|run| run.last)
    }

    fn schedule(&self, task: Task) -> Schedule {
        let options = &self.tools.options;
        match task {
            Task::Reconcile => Schedule::new(&options.reconcile_every),
            Task::Metadata => Schedule::new(&options.metadata_every),
            Task::Gaps => Schedule::new(&options.gap_every),
            Task::Daily => Schedule::every(DAY),
            Task::Sweep => Schedule::every(SWEEP_EVERY.min(options.sweep_period)),
            Task::Inbox => Schedule::every(INBOX_EVERY),
            Task::Deliveries => Schedule::every(options.deliveries_every),
            // Only asked for where there is one; what somebody wants once is noted as if it came daily.
            Task::Snapshot => options.snapshots.every.as_ref().map_or_else(|| Schedule::every(DAY), Schedule::new),
        }
    }

    fn is_due(&self, task: Task, now: Timestamp) -> bool {
        if self.failed.get(&task).is_some_and(|failed| later(*failed, task.again_after()) > now) {
            return false;
        }
        match task {
            _ if task.is_spread() => self.looks.get(&task).is_none_or(|look| *look <= now),
            // Made only when somebody asks, and again if that failed.
            Task::Snapshot if self.tools.options.snapshots.every.is_none() => self.failed.contains_key(&task),
            Task::Daily => self.last(task).is_none_or(|last| day(last) != day(now)),
            _ => self.schedule(task).is_due(self.last(task), now),
        }
    }

    /// Keeps how a run ended that began at `now`: what comes up meanwhile is the next run's.
    async fn take_note(&mut self, task: Task, result: Result<Ran, Failure>, now: Timestamp) {
        let label = if result.is_ok() { "done" } else { "failed" };
        if !matches!(result, Ok(Ran { pushed: 0, .. })) || !task.is_spread() {
            counter!("gharvest_seeder_runs_total", "task" => task.as_str(), "result" => label).increment(1);
        }
        let run = match result {
            Ok(Ran { pushed, next_turn }) => {
                counter!("gharvest_seeder_pushed_total", "task" => task.as_str()).increment(pushed);
                tracing::debug!(task = task.as_str(), pushed, "Task ran");
                self.failed.remove(&task);
                let next = next_turn.unwrap_or_else(|| self.schedule(task).next(Some(now), now));
                self.looks.insert(task, next.min(later(now, LOOK_EVERY)));
                Run { last: Some(now), next, pushed, error: None }
            }
            // `last` stays: what was missed is still due.
            Err(error) => {
                tracing::error!(task = task.as_str(), error = %error, "Task failed, it is tried again");
                self.failed.insert(task, now);
                let (last, pushed) = self.runs.get(&task).map_or((None, 0), |run| (run.last, run.pushed));
                Run { last, next: later(now, task.again_after()), pushed, error: Some(error.to_string()) }
            }
        };
        self.remember(task, run, now).await;
    }

    async fn remember(&mut self, task: Task, run: Run, now: Timestamp) {
        let value = serde_json::to_vec(&run).expect("a run is plain data");
        let says_nothing_new = task.is_spread() && run.pushed == 0 && run.error.is_none();
        let saved_lately = self.saved.get(&task).is_some_and(|at| later(*at, LOOK_EVERY) > now);
        let former = self.runs.insert(task, run);
        if says_nothing_new && saved_lately && former.is_some_and(|former| former.error.is_none()) {
            return;
        }
        match self.tools.state.put(&task.key(), &value, None, None).await {
            Ok(_) => {
                self.saved.insert(task, now);
            }
            Err(error) => tracing::warn!(task = task.as_str(), error = %error, "Last run cannot be kept"),
        }
    }
}

/// The UTC day.
fn day(at: Timestamp) -> i64 {
    at.as_second().div_euclid(24 * 3600)
}
