//! How the whole system is.

use std::collections::BTreeMap;

use gharvest_downloader::plan;
use gharvest_github::Spent;
use gharvest_model::{Lane, QueueName, RepositoryId, job::part};
use gharvest_queue::JobState;
use gharvest_search::IndexStatus;
use gharvest_state::Published;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    jobs::{self, CountAnswer, FeedHealth, JobAnswer, ListParams, Narrowed},
    live::may_hear,
    repositories::{self, RepositoryAnswer},
};
use crate::{
    access::{Caller, Role},
    data_access::any_private,
    error::ApiResult,
    state::{Budget, WebState},
};

/// Failures shown at once.
const FAILURES: usize = 50;

/// How many live events are looked at for each repository's last change.
const LOOKED_BACK: usize = 1000;

/// Where the seeder keeps its last runs.
const SCHEDULES: &str = "schedule/";

/// How the whole system is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StatusAnswer {
    /// This program's version.
    pub version: String,
    /// When this was true.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Both queues, in the order of the flow.
    pub queues: Vec<QueueStatus>,
    /// What a crash of the queue's backend can lose.
    pub durability: String,
    /// Budgets of tokens; empty where this process does not know them.
    pub budgets: Vec<Budget>,
    /// Processes that let fewer requests in at once, because GitHub refused some as too much; for those who may operate.
    #[serde(default)]
    pub narrowed: Vec<Narrowed>,
    /// What each first mirror was said to cost, and what was spent; for those who may operate.
    pub costs: Vec<CostAnswer>,
    /// The search engine; none if it does not answer.
    pub index: Option<IndexAnswer>,
    /// Free bytes where the archive is, where known.
    pub free_bytes: Option<u64>,
    /// Repositories and how completely they are mirrored.
    pub repositories: Vec<RepositoryAnswer>,
    /// How far each repository's feed of changes was read.
    pub feeds: Vec<FeedAnswer>,
    /// What runs on a schedule, and how it went; empty before the first run.
    pub schedules: Vec<ScheduleAnswer>,
    /// Buried jobs, for those who may operate; at most 50 a queue.
    pub failures: Vec<JobAnswer>,
    /// When something that the caller may see last became searchable.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_change_at: Option<Timestamp>,
}

/// What a repository costs GitHub: the plan of its first mirror beside what was spent since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CostAnswer {
    /// `owner/name`.
    pub repository: String,
    /// What the first mirror was said to cost; none if it was tracked without a plan.
    pub planned: Option<PlanAnswer>,
    /// What was spent in the last 90 days, by purpose: `live`, `scheduled`, `backfill`.
    pub spent: BTreeMap<String, SpentAnswer>,
}

/// What a first mirror was said to cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanAnswer {
    /// Items, at most.
    pub items: u64,
    /// Calls by REST.
    pub rest: u64,
    /// Calls by GraphQL.
    pub graphql: u64,
    /// Points of GraphQL.
    pub points: u64,
    /// Seconds that it takes.
    pub seconds: u64,
}

/// What was spent for one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SpentAnswer {
    /// Calls by REST.
    pub rest: u64,
    /// Calls by GraphQL.
    pub graphql: u64,
    /// Points of GraphQL.
    pub points: u64,
    /// Requests answered as unchanged, which cost nothing.
    pub unchanged: u64,
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QueueStatus {
    /// Jobs by state and lane.
    pub counts: CountAnswer,
    /// Lanes with waiting jobs, and since when the oldest waits; empty where some jobs are hidden from the caller.
    pub oldest: Vec<LaneAge>,
    /// Jobs finished a minute in the last ten minutes, or since this process was first asked; none at the first time, and
    /// where some jobs are hidden from the caller.
    pub finished_a_minute: Option<f64>,
}

/// How far a repository's feed of changes was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FeedAnswer {
    /// `owner/name`.
    pub repository: String,
    /// Everything that GitHub changed before this moment was seen; none before the first look.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub read_until: Option<Timestamp>,
    /// When something of it last became searchable, as far as live events are kept.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_change_at: Option<Timestamp>,
    /// How its webhook is; none while nothing is known of one.
    pub hook: Option<FeedHealth>,
}

/// Something that runs on a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleAnswer {
    /// `reconcile`, `sweep` …
    pub task: String,
    /// When it last ran without failing; none if it never did.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last: Option<Timestamp>,
    /// When it is due again.
    #[schema(value_type = String, format = DateTime)]
    pub next: Timestamp,
    /// Jobs that it pushed last.
    pub pushed: u64,
    /// That the last attempt failed, and why for those who may operate and see every repository; none if it did not.
    #[serde(default)]
    pub error: Option<String>,
}

/// Since when a lane's oldest job waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LaneAge {
    /// Which lane.
    #[schema(value_type = jobs::LaneWord)]
    pub lane: Lane,
    /// When its oldest job became due.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// What the index says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IndexAnswer {
    /// The engine and its version.
    pub engine: String,
    /// Documents by alias; with those of private repositories only for who may see all.
    pub documents: Vec<DocumentCount>,
    /// Bytes on disk, where known.
    pub bytes: Option<u64>,
    /// Whether a rebuild is under way.
    pub rebuilding: bool,
    /// What a person has to mend; none if nothing.
    #[serde(default)]
    pub trouble: Option<TroubleAnswer>,
}

impl IndexAnswer {
    /// What the index says, without its documents unless the caller sees all of them.
    fn new(status: IndexStatus, sees_all: bool) -> Self {
        let documents = status.documents.into_iter().map(|(alias, count)| DocumentCount { alias, count });
        Self {
            engine: status.engine,
            documents: if sees_all { documents.collect() } else { Vec::new() },
            bytes: status.bytes,
            rebuilding: status.rebuilding,
            trouble: status.trouble.map(|trouble| TroubleAnswer { found: trouble.found, remedy: trouble.remedy }),
        }
    }
}

/// What is wrong with the search engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TroubleAnswer {
    /// What is wrong.
    pub found: String,
    /// What to do.
    pub remedy: String,
}

/// How many documents an alias has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DocumentCount {
    /// The alias.
    pub alias: String,
    /// Documents, tombstones left out.
    pub count: u64,
}

/// How the whole system is, as far as the caller may know it.
pub async fn status(state: &WebState, caller: &Caller) -> ApiResult<StatusAnswer> {
    let queue = &state.backends.queue;
    let sees_all = caller.hidden(state).await?.is_empty();
    let mut queues = Vec::new();
    let mut failures = Vec::new();
    for name in QueueName::ALL {
        let oldest = queue.oldest(name).await?;
        let ages = Lane::ALL.into_iter().zip(oldest).filter_map(|(lane, since)| Some(LaneAge { lane, since: since? }));
        let counts = queue.counts(name).await?;
        let rate = state.rates.finished_a_minute(name, counts.totals.finished, state.clock.now());
        queues.push(QueueStatus {
            finished_a_minute: rate.filter(|_| sees_all),
            counts: jobs::without_hidden(state, caller, CountAnswer::new(name, counts)).await?,
            oldest: ages.filter(|_| sees_all).collect(),
        });
        if caller.is(Role::Operate) {
            failures.extend(buried(state, caller, name).await?);
        }
    }
    let repositories = repositories::list(state, caller).await?.repositories;
    let mut heard = state.backends.state.history(0, LOOKED_BACK).await?;
    let standings = state.standings().await?;
    heard.retain(|published| may_hear(caller, &standings, published));
    Ok(StatusAnswer {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at: state.clock.now(),
        queues,
        durability: queue.durability().await?.to_string(),
        budgets: if caller.is(Role::Operate) { state.backends.operations.budgets().await } else { Vec::new() },
        narrowed: if caller.is(Role::Operate) { narrowed(state).await } else { Vec::new() },
        costs: if caller.is(Role::Operate) { costs(state, &repositories).await? } else { Vec::new() },
        index: index(state, caller).await,
        free_bytes: state.backends.archive.space().await?.free,
        feeds: feeds(state, &repositories, &heard).await?,
        schedules: schedules(state, caller).await?,
        repositories,
        failures,
        last_change_at: heard.iter().map(|published| published.event.at).max(),
    })
}

/// A state that is away must not hide the rest.
async fn narrowed(state: &WebState) -> Vec<Narrowed> {
    let narrowed = gharvest_queue_requests::narrowed(state.backends.state.as_ref(), state.clock.now()).await;
    narrowed.unwrap_or_else(|error| {
        tracing::warn!(%error, "how many requests are let in at once is not known now");
        Vec::new()
    })
}

/// Plan and spending of every tracked repository among those that the caller sees.
async fn costs(state: &WebState, seen: &[RepositoryAnswer]) -> ApiResult<Vec<CostAnswer>> {
    let archive = &state.backends.archive;
    let mut costs = Vec::new();
    let tracking = archive.tracking().await?;
    for tracked in tracking.into_iter().filter(|tracked| seen.iter().any(|seen| seen.id == tracked.id.0)) {
        let planned = plan::kept(archive, tracked.id).await?.map(|figures| PlanAnswer {
            items: figures.items,
            rest: figures.calls.saturating_sub(figures.graphql),
            graphql: figures.graphql,
            points: figures.points,
            seconds: figures.seconds,
        });
        // A state that is away must not hide the rest.
        let spent = match plan::spent(archive, state.backends.state.as_ref(), &tracked).await {
            Ok(spent) => spent,
            Err(error) => {
                tracing::warn!(%error, "what was spent is not known now");
                BTreeMap::new()
            }
        };
        let answer = |spent: Spent| SpentAnswer {
            rest: spent.calls.saturating_sub(spent.graphql),
            graphql: spent.graphql,
            points: spent.points,
            unchanged: spent.unchanged,
        };
        costs.push(CostAnswer {
            repository: tracked.name.to_string(),
            planned,
            spent: spent.into_iter().map(|(purpose, spent)| (purpose.name().to_owned(), answer(spent))).collect(),
        });
    }
    Ok(costs)
}

async fn feeds(state: &WebState, repositories: &[RepositoryAnswer], heard: &[Published]) -> ApiResult<Vec<FeedAnswer>> {
    let names = repositories.iter().map(|one| (RepositoryId(one.id), one.full_name.clone())).collect();
    let hooks = gharvest_queue_requests::feeds(state.backends.state.as_ref(), &names).await?;
    let mut feeds = Vec::with_capacity(repositories.len());
    for repository in repositories {
        let cursor = state.backends.archive.cursor(&format!("{}/{}", part::UPDATES, repository.id)).await?;
        let read_until = cursor.and_then(|cursor| cursor["since"].as_str()?.parse().ok());
        let own = heard.iter().filter(|published| published.event.item.repository.0 == repository.id);
        let last_change_at = own.map(|published| published.event.at).max();
        let hook = hooks.iter().find(|hook| hook.repository == repository.full_name).cloned();
        feeds.push(FeedAnswer { repository: repository.full_name.clone(), read_until, last_change_at, hook });
    }
    Ok(feeds)
}

/// What the seeder keeps of its last runs; what cannot be read is left out. Why one failed may name any repository.
async fn schedules(state: &WebState, caller: &Caller) -> ApiResult<Vec<ScheduleAnswer>> {
    let may_know_why = caller.is(Role::Operate) && (caller.sees_everything() || !any_private(state).await?);
    let kept = state.backends.state.list(SCHEDULES).await?;
    let read = kept.into_iter().filter_map(|(key, value)| {
        let mut run: Value = serde_json::from_slice(&value).ok()?;
        run["task"] = key.trim_start_matches(SCHEDULES).into();
        let mut answer: ScheduleAnswer = serde_json::from_value(run).ok()?;
        if let Some(error) = answer.error.as_mut().filter(|_| !may_know_why) {
            *error = "failed".to_owned();
        }
        Some(answer)
    });
    Ok(read.collect())
}

async fn buried(state: &WebState, caller: &Caller, queue: QueueName) -> ApiResult<Vec<JobAnswer>> {
    let params = ListParams {
        queue,
        repository: None,
        lane: None,
        state: Some(JobState::Buried),
        after: None,
        limit: Some(FAILURES),
    };
    Ok(jobs::list(state, caller, &params).await?.jobs)
}

/// An engine that is away must not hide the rest.
async fn index(state: &WebState, caller: &Caller) -> Option<IndexAnswer> {
    let status = match state.backends.search.status().await {
        Ok(status) => status,
        Err(error) => {
            tracing::warn!(%error, "the search engine does not say how it is");
            return None;
        }
    };
    Some(IndexAnswer::new(status, caller.sees_everything()))
}

#[cfg(test)]
mod tests {
    use gharvest_search::Trouble;

    use super::*;

    #[test]
    fn what_is_wrong_with_the_engine_is_told_to_everybody_and_its_documents_are_not() {
        let trouble = Trouble { found: "no room".to_owned(), remedy: "make some".to_owned() };
        let status = IndexStatus {
            engine: "Elasticsearch 8.19.0".to_owned(),
            archive: "archive".to_owned(),
            mapping: 2,
            outdated: false,
            documents: vec![("gharvest-items".to_owned(), 3)],
            bytes: Some(1),
            rebuilding: false,
            trouble: Some(trouble),
        };
        for (sees_all, documents) in [(true, 1), (false, 0)] {
            let answer = IndexAnswer::new(status.clone(), sees_all);
            let trouble = answer.trouble.unwrap();
            assert_eq!((trouble.found.as_str(), trouble.remedy.as_str()), ("no room", "make some"));
            assert_eq!(answer.documents.len(), documents);
        }
    }
}
