//! Jobs: an operator's hand on the queues.
//!
//! The requests themselves are `gharvest_queue_requests`', so that queue-cli and this API cannot disagree; here stands
//! who may ask.

pub use gharvest_queue_requests::{
    AddAllAnswer, AddAllParams, AddAnswer, AddParams, Affected, CountAnswer, CountParams, FeedHealth, ItemParams,
    JobAnswer, JobFilter, JobPath, JobStateWord, LaneWord, ListAnswer, ListParams, ManyParams, Narrowed, PauseAnswer,
    PauseParams, QueueWord, RangeAnswer, RangeParams, RemoveAnswer, RemoveParams, ResumeParams, SinceAnswer,
    SinceParams, StatusAnswer, StatusParams, WhereAnswer,
};
use gharvest_queue_requests::{Jobs, Named, Needs, Problem, Purge, Request, Revive, Route, TURN, remove_one};

use gharvest_model::{Subject, job::part, record::Visibility};

use crate::{
    access::{Caller, Role},
    error::{ApiError, ApiResult},
    known::Known,
    requests::{items, visible_ids, visible_repository},
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

/// Any request on the queues, if the caller may, and may see all that it names.
pub async fn ask<R: Request>(state: &WebState, caller: &Caller, request: &R) -> ApiResult<R::Answer> {
    check(state, caller, request).await?;
    Ok(request.ask(&of(state)).await?)
}

/// What the caller may not see is missing, as is what nobody knows of; what is done to all repositories is only for who may
/// see every one of them.
async fn check<R: Request>(state: &WebState, caller: &Caller, request: &R) -> ApiResult<()> {
    caller.require(match request.needs() {
        Needs::Read => Role::Read,
        Needs::Operate => Role::Operate,
        Needs::Admin => Role::Admin,
    })?;
    if caller.sees_everything() {
        return Ok(());
    }
    let Named { repositories, subjects } = request.names();
    let is_of_all = repositories.is_empty() && subjects.is_empty() && matches!(request.route(), Route::Post(_));
    if is_of_all && !caller.hidden(state).await?.is_empty() {
        let message = "this is done to all repositories, and this key may not see every one of them: name a repository";
        return Err(ApiError::new(axum::http::StatusCode::FORBIDDEN, message));
    }
    let jobs = of(state);
    for text in repositories {
        // Every part of a repository is seen by whoever sees the repository.
        let subject = jobs.repository(text).await.map(|id| Subject::part(id, part::METADATA));
        check_subject(state, caller, text, subject).await?;
    }
    for text in subjects {
        check_subject(state, caller, text, jobs.subject(text).await).await?;
    }
    Ok(())
}

async fn check_subject(
    state: &WebState,
    caller: &Caller,
    text: &str,
    found: Result<Subject, Problem>,
) -> ApiResult<()> {
    let is_seen = match found {
        Ok(subject) => may_see(state, caller, &subject).await?,
        Err(Problem::NotFound(_)) => false,
        Err(problem) => return Err(problem.into()),
    };
    if is_seen { Ok(()) } else { Err(ApiError::not_found(text)) }
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
    let mut answer = match params.repository.is_some() || caller.sees_everything() {
        true => ask(state, caller, params).await?,
        false => list_visible(state, caller, params).await?,
    };
    let mut seen = Vec::with_capacity(answer.jobs.len());
    for job in answer.jobs {
        if may_see(state, caller, &job.subject.parse()?).await? {
            seen.push(job);
        }
    }
    answer.jobs = seen;
    Ok(answer)
}

/// One repository after the other, by id. Of what the caller may not see nothing is asked, so the place of the next page
/// tells nothing of it either.
async fn list_visible(state: &WebState, caller: &Caller, params: &ListParams) -> ApiResult<ListAnswer> {
    check(state, caller, params).await?;
    let wanted = params.limit.unwrap_or(100);
    let after = params.after.as_deref().map(str::parse::<Subject>).transpose()?;
    let from = after.as_ref().and_then(Subject::repository);
    let mut answer = ListAnswer { jobs: Vec::new(), next: None };
    for id in visible_ids(state, caller).await?.into_iter().filter(|id| from.is_none_or(|from| from <= *id)) {
        let page = ListParams {
            repository: Some(id.to_string()),
            after: params.after.clone().filter(|_| from == Some(id)),
            limit: Some(wanted.saturating_sub(answer.jobs.len())),
            ..params.clone()
        };
        let page = page.ask(&of(state)).await?;
        answer.jobs.extend(page.jobs);
        answer.next = page.next;
        if answer.jobs.len() >= wanted {
            break;
        }
    }
    Ok(answer)
}

/// One job.
pub async fn show(state: &WebState, caller: &Caller, path: &JobPath) -> ApiResult<JobAnswer> {
    ask(state, caller, path).await
}

/// Queues, pauses and budgets, with the repositories that the caller may see.
pub async fn overview(state: &WebState, caller: &Caller) -> ApiResult<StatusAnswer> {
    let mut answer = ask(state, caller, &StatusParams {}).await?;
    let sees_all = caller.hidden(state).await?.is_empty();
    for queue in &mut answer.queues {
        queue.counts = without_hidden(state, caller, queue.counts.clone()).await?;
        queue.oldest.retain(|_| sees_all);
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
    ask(state, caller, params).await
}

/// Adds a job for everything that is archived.
pub async fn add_all(state: &WebState, caller: &Caller, params: &AddAllParams) -> ApiResult<AddAllAnswer> {
    ask(state, caller, params).await
}

async fn is_visible(state: &WebState, caller: &Caller, name: &str) -> bool {
    match name.parse() {
        Ok(name) => visible_repository(state, caller, &name).await.is_ok(),
        Err(_) => caller.sees_everything(),
    }
}

/// Whether the caller may know of a job: of a private repository or thread, or of a repository that nothing is known of,
/// only who may see it.
async fn may_see(state: &WebState, caller: &Caller, subject: &Subject) -> ApiResult<bool> {
    let Some(id) = subject.repository().filter(|_| !caller.sees_everything()) else { return Ok(true) };
    let known = Known::of(state, id).await?;
    let Some(name) = known.name() else { return Ok(false) };
    if caller.sees_private(id, Some(name)) {
        return Ok(true);
    }
    Ok(match subject {
        _ if known.visibility() == Visibility::Private => false,
        Subject::Item(item) => !items::is_private(state, *item).await?,
        _ => true,
    })
}

/// Adds jobs.
pub async fn add(state: &WebState, caller: &Caller, params: &AddParams) -> ApiResult<AddAnswer> {
    ask(state, caller, params).await
}

/// Removes a job; one being worked on goes when it is settled.
pub async fn remove(state: &WebState, caller: &Caller, path: &JobPath) -> ApiResult<()> {
    caller.require(Role::Admin)?;
    check(state, caller, path).await?;
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
    let counts = ask(state, caller, params).await?;
    if params.repository.is_some() { Ok(counts) } else { without_hidden(state, caller, counts).await }
}

/// A queue's counts without the jobs of repositories that the caller may not see, and without totals, which are not
/// counted by repository.
pub(crate) async fn without_hidden(
    state: &WebState,
    caller: &Caller,
    mut counts: CountAnswer,
) -> ApiResult<CountAnswer> {
    for id in caller.hidden(state).await? {
        let own = state.backends.queue.repository_counts(counts.queue, id).await?;
        for (ready, own) in counts.ready.iter_mut().zip(own.ready) {
            *ready = ready.saturating_sub(own);
        }
        counts.delayed = counts.delayed.saturating_sub(own.delayed);
        counts.leased = counts.leased.saturating_sub(own.leased);
        counts.buried = counts.buried.saturating_sub(own.buried);
        (counts.finished, counts.retried) = (0, 0);
    }
    Ok(counts)
}
