//! What a mirror costs GitHub: calls and points an item, by gharvest's defaults and under GitHub's own limits.
//!
//! Points are counted by the less favourable reading of GitHub's prices, as the simulated GitHub charges them. Requests
//! answered 304 are free, as on GitHub. Measured at several latencies, because speed must not change the price:
//! 1. a first mirror of everything, the walk over its lists included;
//! 2. its verification while nothing changes: all that the sweep asks for in one period, after a first one, and what its
//!    rotation has downloaded in that time, which is its share of a whole turn;
//! 3. items with a new comment, each fetched for a webhook;
//! 4. items where nothing is new, fetched all the same.
//!
//! Where a recorded repository is found, it is mirrored as well.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use gharvest_github_simulator::Change;
use gharvest_model::{
    Lane, QueueName, RepositoryId, Subject,
    job::reason::{ROTATION, swept},
    ledger::NumberState,
    tracking::Tracked,
};
use gharvest_queue::{Timing, Trigger};
use gharvest_seeder::{Options, Seeder, snapshots::Snapshots, sweep::ROTATIONS};
use gharvest_service_kit::cadence::Cadence;
use gharvest_state::SqliteState;
use gharvest_testkit::recorded_data;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    measure::Scale,
    memory,
    system::{self, Github, REPOSITORY, Shown, Stages, System},
    table::Row,
};

/// Calls and points an item.
const MIRROR_GOAL: f64 = 0.10;
const VERIFY_GOAL: f64 = 0.022;
const CHANGE_GOAL: f64 = 3.0;
/// Items of the repository that the goals are about.
const ITEMS: u64 = 1_825;
const LATENCIES_MS: [u64; 3] = [0, 50, 200];
/// Items that change, and as many that do not.
const CHANGED: usize = 40;
/// The period of the sweep, and the time between two looks of its clock.
const PERIOD: Duration = Duration::from_secs(48 * 3600);
const LOOK: Duration = Duration::from_secs(3 * 3600);
/// What gharvest uses of each component to fetch.
const DOWNLOAD: Stages = Stages { download: true, index: false };

/// Measures each latency on generated items, and a recording if there is one.
pub async fn measure(scale: &Scale) -> Result<Vec<Row>> {
    let items = scale.pick(150, ITEMS, ITEMS);
    let mut rows = Vec::new();
    for latency_ms in LATENCIES_MS.into_iter().take(scale.of(1, 3, 3)) {
        let shown = Shown { items, latency_ms, limited: true, recording: None };
        rows.extend(all(&shown, &format!("{latency_ms} ms")).await?);
    }
    if !scale.quick
        && let Some(folder) = recorded_data("the cost of a recorded repository")
    {
        let shown = Shown { recording: Some(folder), limited: true, ..Shown::default() };
        rows.extend(all(&shown, "recorded").await?);
    }
    Ok(rows)
}

/// Everything on one GitHub.
async fn all(shown: &Shown, label: &str) -> Result<Vec<Row>> {
    let github = Github::start(shown)?;
    let folder = tempfile::tempdir()?;
    let settings = system::settings(folder.path(), &github.url)?;
    let system = System::open(settings).await?;
    let mut measured = Measured { label, github: &github, system: &system, rows: Vec::new() };
    let id = measured.mirror().await?;
    measured.verification(id, &folder.path().join("clock.sqlite")).await?;
    measured.visits(id).await?;
    let violations = measured.control("violations").await?;
    ensure!(violations == Value::Array(Vec::new()), "GitHub was asked what it forbids: {violations}");
    Ok(measured.rows)
}

struct Measured<'a> {
    label: &'a str,
    github: &'a Github,
    system: &'a System,
    rows: Vec<Row>,
}

impl Measured<'_> {
    fn row(&self, what: impl std::fmt::Display, measured: f64, unit: &str) -> Row {
        Row::new(format!("{}: {what}", self.label), measured, unit)
    }

    async fn mirror(&mut self) -> Result<RepositoryId> {
        let (begun, before) = (Instant::now(), self.requests().await?);
        memory::reset_peak();
        let id = self.system.track().await?;
        self.system.run(self.github, id, DOWNLOAD).await?;
        let time = begun.elapsed();
        self.system.is_complete(id).await?;
        let peak = memory::peak();
        let items = self.items(id).await?.len() as f64;
        let spent = self.system.github.spent();
        let asked = difference(&before, &self.requests().await?);
        let goal =
            self.row(format_args!("mirror of {items} items"), spent.cost() as f64 / items, "calls + points an item");
        self.rows.push(goal.at_most(MIRROR_GOAL));
        self.rows.push(self.row("mirror, points", spent.points as f64, "points"));
        for (endpoint, calls) in asked {
            self.rows.push(self.row(format_args!("mirror, {endpoint}"), calls, "requests"));
        }
        self.rows.push(self.row("mirror, time", time.as_secs_f64(), "s"));
        self.rows.push(self.row("mirror, peak memory", memory::mebibytes(peak), "MiB"));
        Ok(id)
    }

    /// What the sweep asks for in one period, on a clock of its own, and then the rotation's downloads of a whole turn,
    /// twice, of which each period has its share: downloads verify by the real clock, and must not come between.
    async fn verification(&mut self, id: RepositoryId, clock: &std::path::Path) -> Result<()> {
        let items = self.items(id).await?.len() as f64;
        let tracked = self.system.archive.tracking().await?.into_iter().find(|tracked| tracked.id == id);
        let tracked = tracked.context("the repository is tracked")?;
        self.system.archive.track(Tracked { complete_at: Some(Timestamp::now()), ..tracked }).await?;
        let mut sweep = Sweep::new(self.system, clock).await?;
        // The first period takes what there is for known.
        sweep.pass(PERIOD).await;
        self.system.forget_jobs(id).await?;
        let (before, oldest) = (self.system.github.spent(), self.oldest(id).await?);
        sweep.pass(PERIOD).await;
        let after = self.system.github.spent();
        ensure!(self.oldest(id).await? > oldest, "a period verifies every number once more");
        let asked = (after.cost() - before.cost()) as f64;
        self.system.forget_jobs(id).await?;
        let all = self.items(id).await?;
        let reason = swept(ROTATION);
        let first = self.fetch(id, &all, Lane::Backfill, &reason).await? / f64::from(ROTATIONS);
        let later = self.fetch(id, &all, Lane::Backfill, &reason).await? / f64::from(ROTATIONS);
        let unit = "calls + points an item";
        let verified = self.row("unchanged, verified once", asked / items + first, unit).at_most(VERIFY_GOAL);
        self.rows.push(verified);
        self.rows.push(self.row("the same, the rotation's downloads alone", first, unit));
        self.rows.push(self.row("the same in the rotation's second turn", asked / items + later, unit));
        self.rows.push(self.row("the same, points", (after.points - before.points) as f64, "points"));
        self.rows.push(self.row(
            "the same, requests answered 304",
            (after.unchanged - before.unchanged) as f64,
            "requests",
        ));
        Ok(())
    }

    async fn oldest(&self, id: RepositoryId) -> Result<Timestamp> {
        let audit = self.system.archive.audit(id, Timestamp::now()).await?.context("the repository is mirrored")?;
        audit.verdict.oldest_verification.context("every number was verified")
    }

    /// Items that changed, and then the same without a change.
    async fn visits(&mut self, id: RepositoryId) -> Result<()> {
        let items = self.items(id).await?;
        let some: Vec<u64> = items.iter().copied().step_by((items.len() / CHANGED).max(1)).take(CHANGED).collect();
        // What the sweep wants is none of this.
        self.system.forget_jobs(id).await?;
        let mut changed = Vec::new();
        for number in some {
            let change = Change::Comment { number, body: "Is there any news?".to_owned() };
            // Nobody comments on a locked item.
            if self.change(&change).await? {
                changed.push(number);
            }
        }
        ensure!(changed.len() > CHANGED / 2, "most items take a comment");
        // The first visit of what came by GraphQL fetches all of it.
        let first = self.visit(id, &changed).await?;
        self.rows.push(self.row("changed, fetched", first, "calls + points an item").at_most(CHANGE_GOAL));
        let again = self.visit(id, &changed).await?;
        self.rows.push(self.row("unchanged, fetched", again, "calls + points an item"));
        Ok(())
    }

    async fn visit(&self, id: RepositoryId, numbers: &[u64]) -> Result<f64> {
        self.fetch(id, numbers, Lane::Webhook, "cost").await
    }

    /// Downloads items for this reason. Says what each cost.
    async fn fetch(&self, id: RepositoryId, numbers: &[u64], lane: Lane, reason: &str) -> Result<f64> {
        let before = self.system.github.spent();
        let trigger = |number: &u64| Trigger {
            queue: QueueName::Download,
            subject: Subject::item(id, *number),
            lane,
            timing: Timing::Now,
            reason: reason.to_owned(),
        };
        let triggers: Vec<Trigger> = numbers.iter().map(trigger).collect();
        self.system.queue.push(&triggers, None).await?;
        self.system.run(self.github, id, DOWNLOAD).await?;
        Ok((self.system.github.spent().cost() - before.cost()) as f64 / numbers.len() as f64)
    }

    /// The numbers of what is there.
    async fn items(&self, id: RepositoryId) -> Result<Vec<u64>> {
        Ok(self.system.archive.ledger(id).await?.numbers(NumberState::Present).collect())
    }

    async fn requests(&self) -> Result<Value> {
        self.control("requests").await
    }

    async fn control(&self, what: &str) -> Result<Value> {
        let answer = http().get(format!("{}/_simulator/{what}", self.github.url)).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Whether the change could be made.
    async fn change(&self, change: &Change) -> Result<bool> {
        let url = format!("{}/_simulator/change/{REPOSITORY}", self.github.url);
        Ok(http().post(url).json(change).send().await?.status().is_success())
    }
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("nothing is configured that could fail")
}

/// How often each endpoint was asked, the most asked first.
fn difference(before: &Value, after: &Value) -> Vec<(String, f64)> {
    let count = |value: &Value, endpoint: &str| value[endpoint].as_u64().unwrap_or(0);
    let endpoints = after.as_object().into_iter().flatten().map(|(endpoint, _)| endpoint.clone());
    let asked = endpoints.map(|endpoint| {
        let calls = count(after, &endpoint) - count(before, &endpoint);
        (endpoint, calls as f64)
    });
    let mut asked: Vec<(String, f64)> = asked.filter(|(_, calls)| *calls > 0.0).collect();
    asked.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    asked
}

/// The seeder with nothing but the sweep, on a clock that it is told.
struct Sweep {
    seeder: Seeder,
    /// Seconds that have passed on that clock.
    passed: Arc<AtomicI64>,
}

impl Sweep {
    async fn new(system: &System, clock: &std::path::Path) -> Result<Self> {
        let passed = Arc::new(AtomicI64::new(0));
        let offset = Arc::clone(&passed);
        let millis = move || Timestamp::now().as_millisecond() + offset.load(Ordering::SeqCst) * 1000;
        let state = SqliteState::open_with_time(clock, millis).await?;
        let never = Duration::from_secs(3650 * 24 * 3600);
        let options = Options {
            reconcile_every: Cadence::Every(never),
            metadata_every: Cadence::Every(never),
            gap_every: Cadence::Every(never),
            deliveries_every: never,
            deliveries_of: gharvest_service_kit::settings::DeliveryLog::Auto,
            untracked: gharvest_service_kit::settings::Untracked::Ignore,
            sweep_period: PERIOD,
            sweep_share: 0.5,
            graphql: true,
            snapshots: Snapshots { every: None, folder: None, keep: never },
        };
        let (archive, queue, client) = (system.archive.clone(), Arc::clone(&system.queue) as _, system.github.clone());
        Ok(Self { seeder: Seeder::new(archive, queue, state, client, options, "cost".to_owned()), passed })
    }

    /// Lets so much time pass.
    async fn pass(&mut self, time: Duration) {
        let looks = time.as_secs() / LOOK.as_secs();
        for _ in 0..looks {
            let step = LOOK.as_secs() as i64;
            let passed = self.passed.fetch_add(step, Ordering::SeqCst) + step;
            self.seeder.tick(Timestamp::now() + SignedDuration::from_secs(passed)).await;
            self.seeder.settle().await;
        }
    }
}
