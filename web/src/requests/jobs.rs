//! Jobs: an operator's hand on the queues.
//!
//! The requests themselves are `gharvest_queue_cli`'s, so that its command line and this API cannot disagree; here stands
//! who may ask.

pub use gharvest_queue_cli::requests::{
    AddAllAnswer, AddAllParams, AddAnswer, AddParams, Affected, CountAnswer, CountParams, FeedHealth, ItemParams,
    JobAnswer, JobFilter, JobPath, JobStateWord, LaneWord, ListAnswer, ListParams, ManyParams, PauseAnswer,
    PauseParams, QueueWord, RangeAnswer, RangeParams, RemoveAnswer, RemoveParams, ResumeParams, SinceAnswer,
    SinceParams, StatusAnswer, StatusParams, WhereAnswer,
};
use gharvest_queue_cli::requests::{Jobs, Needs, Problem, Purge, Request, Revive, TURN, remove_one};

use gharvest_model::Subject;

use crate::{
    access::{Caller, Role},
    error::{ApiError, ApiResult},
    requests::visible_repository,
    state::WebState,
};

/// What jobs' requests work on.
pub(crate) fn of(state: &WebState) -> Jobs {
    let backends = &state.backends;
    Jobs {
        queue: backends.queue.clone(),
        archive: backends.archive.clone(),
        state: backends.state.clone(),
        search: Some(backends.search.clone()),
        turn: TURN,
    }
}

/// Any request on the queues, if the caller may.
pub async fn ask<R: Request>(state: &WebState, caller: &Caller, request: &R) -> ApiResult<R::Answer> {
    caller.require(match request.needs() {
        Needs::Read => Role::Read,
        Needs::Operate => Role::Operate,
        Needs::Admin => Role::Admin,
    })?;
    Ok(request.ask(&of(state)).await?)
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Invalid(message) => Self::invalid(message),
            Problem::NotFound(message) => Self::new(axum::http::StatusCode::NOT_FOUND, message),
            Problem::Archive(error) => error.into(),
            Problem::Queue(error) => error.into(),
            Problem::State(error) => error.into(),
        }
    }
}

/// Jobs of a queue, those of private repositories only for who may see them.
pub async fn list(state: &WebState, caller: &Caller, params: &ListParams) -> ApiResult<ListAnswer> {
    let mut answer = ask(state, caller, params).await?;
    let mut seen = Vec::with_capacity(answer.jobs.len());
    for job in answer.jobs {
        if may_see(state, caller, &job).await? {
            seen.push(job);
        }
    }
    answer.jobs = seen;
    Ok(answer)
}

/// One job.
pub async fn show(state: &WebState, caller: &Caller, path: &JobPath) -> ApiResult<JobAnswer> {
    let job: JobAnswer = ask(state, caller, path).await?;
    match may_see(state, caller, &job).await? {
        true => Ok(job),
        false => Err(ApiError::not_found(&path.subject)),
    }
}

/// Queues, pauses and budgets, with the repositories that the caller may see.
pub async fn overview(state: &WebState, caller: &Caller) -> ApiResult<StatusAnswer> {
    let mut answer = ask(state, caller, &StatusParams {}).await?;
    for queue in &mut answer.queues {
        let mut seen = Vec::new();
        for jobs in std::mem::take(&mut queue.repositories) {
            if is_visible(state, caller, &jobs.repository).await {
                seen.push(jobs);
            }
        }
        queue.repositories = seen;
    }
    let mut feeds = Vec::new();
    for feed in answer.feeds {
        if is_visible(state, caller, &feed.repository).await {
            feeds.push(feed);
        }
    }
    answer.feeds = feeds;
    let mut pauses = Vec::new();
    for pause in answer.pauses {
        let name = pause.repository.as_deref();
        if name.is_none() || is_visible(state, caller, name.unwrap_or_default()).await {
            pauses.push(pause);
        }
    }
    answer.pauses = pauses;
    Ok(answer)
}

/// Where one item is: its jobs, its record, its place in the index.
pub async fn item(state: &WebState, caller: &Caller, params: &ItemParams) -> ApiResult<WhereAnswer> {
    let answer = ask(state, caller, params).await?;
    let name = answer.item.split('#').next().unwrap_or_default();
    if is_visible(state, caller, name).await { Ok(answer) } else { Err(ApiError::not_found(&answer.item)) }
}

async fn is_visible(state: &WebState, caller: &Caller, name: &str) -> bool {
    match name.parse() {
        Ok(name) => visible_repository(state, caller, &name).await.is_ok(),
        Err(_) => caller.sees_everything(),
    }
}

/// Whether the caller may know of a job: of a private repository, or one that nothing is known of, only who may see it.
async fn may_see(state: &WebState, caller: &Caller, job: &JobAnswer) -> ApiResult<bool> {
    let subject = job.subject.parse::<Subject>().ok().and_then(|subject| subject.repository());
    let Some(id) = subject.filter(|_| !caller.sees_everything()) else { return Ok(true) };
    let archive = &state.backends.archive;
    let tracked = archive.tracking().await?.into_iter().find(|tracked| tracked.id == id);
    let file = archive.repository(id).await?;
    let is_private = tracked.as_ref().is_some_and(|tracked| tracked.private)
        || file.as_ref().is_some_and(|file| file.repository["private"] == true);
    let name = file.map(|file| file.full_name).or(tracked.map(|tracked| tracked.name));
    Ok(name.is_some_and(|name| !is_private || caller.sees_private(&name)))
}

/// Adds jobs.
pub async fn add(state: &WebState, caller: &Caller, params: &AddParams) -> ApiResult<AddAnswer> {
    ask(state, caller, params).await
}

/// Removes a job; one being worked on goes when it is settled.
pub async fn remove(state: &WebState, caller: &Caller, path: &JobPath) -> ApiResult<()> {
    caller.require(Role::Admin)?;
    Ok(remove_one(&of(state), path).await?)
}

/// Tries a job again at once, whatever it waits for; a buried one is revived.
pub async fn retry(state: &WebState, caller: &Caller, path: &JobPath) -> ApiResult<AddAnswer> {
    show(state, caller, path).await?;
    let params = AddParams { queue: path.queue, subjects: vec![path.subject.clone()], lane: None };
    add(state, caller, &params).await
}

/// Makes buried jobs ready again with fresh attempts.
pub async fn revive(state: &WebState, caller: &Caller, params: &ManyParams) -> ApiResult<Affected> {
    ask(state, caller, &Revive(params.clone())).await
}

/// Removes all jobs that match.
pub async fn purge(state: &WebState, caller: &Caller, params: &ManyParams) -> ApiResult<Affected> {
    ask(state, caller, &Purge(params.clone())).await
}

/// Counts jobs; costs the same at ten and at ten million.
pub async fn counts(state: &WebState, caller: &Caller, params: &CountParams) -> ApiResult<CountAnswer> {
    ask(state, caller, params).await
}
