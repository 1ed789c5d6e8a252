//! `/api/v1`: one route for each request function, described in OpenAPI by the code itself.

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use utoipa::{OpenApi, openapi::OpenApi as Description};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    access::Caller,
    error::{ApiError, ApiResult, Problem},
    extract::{Body, InPath, Params},
    feeds,
    requests::{
        RepositoryPath,
        audit::{self, AuditAnswer},
        deletions::{self, DeletionsAnswer, PolicyParams},
        items::{self, DownloadAnswer, ItemPath, SimilarAnswer, SimilarParams},
        jobs::{
            self, AddAllAnswer, AddAllParams, AddAnswer, AddParams, Affected, CountAnswer, CountParams, ItemParams,
            JobAnswer, JobPath, ListAnswer, ListParams, ManyParams, PauseAnswer, PauseParams, RangeAnswer, RangeParams,
            RemoveAnswer, RemoveParams, ResumeParams, SinceAnswer, SinceParams, WhereAnswer,
        },
        live::{self, RecentAnswer, RecentParams},
        repositories::{self, RepositoriesAnswer, RepositoryAnswer, ResponsivenessAnswer, UntrackParams},
        search::{Format, SearchAnswer, SearchParams},
        status::{self, StatusAnswer},
        suggest::{self, SuggestAnswer, SuggestParams},
    },
    state::WebState,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "gharvest", description = "A mirror of GitHub's issues and pull requests.", license(name = "MIT")),
    components(schemas(jobs::QueueWord, jobs::LaneWord, jobs::JobStateWord, Problem, Format))
)]
struct Api;

/// All routes of the API, and its description.
pub(crate) fn router() -> (axum::Router<WebState>, Description) {
    OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(search))
        .routes(routes!(suggest_words))
        .routes(routes!(item, download))
        .routes(routes!(similar))
        .routes(routes!(list_repositories))
        .routes(routes!(show_repository, track, untrack))
        .routes(routes!(responsiveness))
        .routes(routes!(show_audit))
        .routes(routes!(badge))
        .routes(routes!(show_deletions, set_deletion_policy))
        .routes(routes!(recent))
        .routes(routes!(show_status))
        .routes(routes!(list_jobs, add_jobs))
        .routes(routes!(count_jobs))
        .routes(routes!(jobs_status))
        .routes(routes!(where_is))
        .routes(routes!(add_range))
        .routes(routes!(add_all))
        .routes(routes!(add_updated_since))
        .routes(routes!(remove_jobs))
        .routes(routes!(show_job, remove_job))
        .routes(routes!(retry_job))
        .routes(routes!(revive_jobs))
        .routes(routes!(purge_jobs))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .split_for_parts()
}

type Caught<T> = ApiResult<Json<T>>;

/// The errors that every route may answer, for the description.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "describes what ApiError answers")]
enum Problems {
    /// What is wrong with the request.
    #[response(status = "4XX", content_type = "application/problem+json")]
    Request(Problem),
    /// What failed.
    #[response(status = "5XX", content_type = "application/problem+json")]
    Failure(Problem),
}

/// Search.
#[utoipa::path(get, path = "/api/v1/search", params(SearchParams), responses(
    (status = 200, description = "A page of hits; or a feed, or a file of all hits, as `format` says.", content((SearchAnswer = "application/json"), (String = "application/atom+xml"), (Object = "application/feed+json"), (String = "text/csv"), (String = "application/x-ndjson"))), Problems))]
async fn search(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    Params(params): Params<SearchParams>,
) -> ApiResult<Response> {
    feeds::respond(&state, &caller, params).await
}

/// Completions of a query being typed.
#[utoipa::path(get, path = "/api/v1/suggest", params(SuggestParams), responses(
    (status = 200, description = "Completions, best first.", body = SuggestAnswer), Problems))]
async fn suggest_words(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    Params(params): Params<SuggestParams>,
) -> Caught<SuggestAnswer> {
    suggest::suggest(&state, &caller, &params).await.map(Json)
}

/// The record of an item, as it is stored.
#[utoipa::path(get, path = "/api/v1/items/{owner}/{name}/{number}", params(ItemPath), responses(
    (status = 200, description = "The record.", body = Object),
    (status = 304, description = "It is still what `If-None-Match` names."), Problems))]
async fn item(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    InPath(path): InPath<ItemPath>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let stored = items::record(&state, &caller, &path).await?;
    let known = headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok()).unwrap_or("");
    let is_known =
        known.split(',').map(|tag| tag.trim().trim_start_matches("W/")).any(|tag| tag == stored.etag || tag == "*");
    let tag = [(header::ETAG, stored.etag), (header::CACHE_CONTROL, "private, no-cache".to_owned())];
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, tag).into_response());
    }
    Ok((tag, [(header::CONTENT_TYPE, "application/json")], stored.bytes).into_response())
}

/// Downloads an item again, now.
#[utoipa::path(post, path = "/api/v1/items/{owner}/{name}/{number}", params(ItemPath), responses(
    (status = 200, description = "The job that was pushed.", body = DownloadAnswer), Problems))]
async fn download(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    InPath(path): InPath<ItemPath>,
) -> Caught<DownloadAnswer> {
    items::download(&state, &caller, &path).await.map(Json)
}

/// Items like one.
#[utoipa::path(get, path = "/api/v1/items/{owner}/{name}/{number}/similar", params(ItemPath, SimilarParams), responses(
    (status = 200, description = "Most similar first.", body = SimilarAnswer), Problems))]
async fn similar(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    InPath(path): InPath<ItemPath>,
    Params(params): Params<SimilarParams>,
) -> Caught<SimilarAnswer> {
    items::similar(&state, &caller, &path, &params).await.map(Json)
}

/// All tracked repositories.
#[utoipa::path(get, path = "/api/v1/repositories", responses(
    (status = 200, description = "In the order of their names.", body = RepositoriesAnswer), Problems))]
async fn list_repositories(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
) -> Caught<RepositoriesAnswer> {
    repositories::list(&state, &caller).await.map(Json)
}

/// One repository and how completely it is mirrored.
#[utoipa::path(get, path = "/api/v1/repositories/{owner}/{name}", params(RepositoryPath), responses(
    (status = 200, description = "The repository.", body = RepositoryAnswer), Problems))]
async fn show_repository(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    InPath(path): InPath<RepositoryPath>,
) -> Caught<RepositoryAnswer> {
    repositories::show(&state, &caller, &path).await.map(Json)
}

/// How quickly a repository answers and closes issues, by month.
#[utoipa::path(get, path = "/api/v1/repositories/{owner}/{name}/responsiveness", params(RepositoryPath), responses(
    (status = 200, description = "The latest month first.", body = ResponsivenessAnswer), Problems))]
async fn responsiveness(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    InPath(path): InPath<RepositoryPath>,
) -> Caught<ResponsivenessAnswer> {
    repositories::responsiveness(&state, &caller, &path).await.map(Json)
}

/// What is accounted for of a repository, what is not, and what drifted.
#[utoipa::path(get, path = "/api/v1/repositories/{owner}/{name}/audit", params(RepositoryPath), responses(
    (status = 200, description = "The gap report.", body = AuditAnswer), Problems))]
async fn show_audit(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    InPath(path): InPath<RepositoryPath>,
) -> Caught<AuditAnswer> {
    audit::audit(&state, &caller, &path).await.map(Json)
}

/// A badge that says how completely a repository is mirrored.
#[utoipa::path(get, path = "/api/v1/repositories/{owner}/{name}/badge.svg", params(RepositoryPath), responses(
    (status = 200, description = "The badge.", body = String, content_type = "image/svg+xml"), Problems))]
async fn badge(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    InPath(path): InPath<RepositoryPath>,
) -> ApiResult<Response> {
    let svg = audit::badge(&state, &caller, &path).await?;
    let headers = [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "private, no-cache")];
    Ok((headers, svg).into_response())
}

/// Tracks a repository.
#[utoipa::path(put, path = "/api/v1/repositories/{owner}/{name}", params(RepositoryPath), responses(
    (status = 200, description = "It is tracked.", body = RepositoryAnswer), Problems))]
async fn track(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    InPath(path): InPath<RepositoryPath>,
) -> Caught<RepositoryAnswer> {
    repositories::track(&state, &caller, &path).await.map(Json)
}

/// Ends the tracking of a repository. With `purge`, 503 says that not all of it is forgotten yet: asked again it goes on.
#[utoipa::path(delete, path = "/api/v1/repositories/{owner}/{name}", params(RepositoryPath, UntrackParams), responses(
    (status = 204, description = "It is not tracked any more."), Problems))]
async fn untrack(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    InPath(path): InPath<RepositoryPath>,
    Params(params): Params<UntrackParams>,
) -> ApiResult<StatusCode> {
    repositories::untrack(&state, &caller, &path, &params).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What becomes of items that GitHub no longer shows, and what was taken out so far. Needs the role `operate`.
#[utoipa::path(get, path = "/api/v1/repositories/{owner}/{name}/deletions", params(RepositoryPath), responses(
    (status = 200, description = "The policy and its receipts.", body = DeletionsAnswer), Problems))]
async fn show_deletions(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    InPath(path): InPath<RepositoryPath>,
) -> Caught<DeletionsAnswer> {
    deletions::show(&state, &caller, &path).await.map(Json)
}

/// Says what becomes of items that GitHub no longer shows, and follows it for those gone already. Needs the role
/// `admin`.
#[utoipa::path(put, path = "/api/v1/repositories/{owner}/{name}/deletions", params(RepositoryPath),
    request_body = PolicyParams, responses(
    (status = 200, description = "The policy and its receipts.", body = DeletionsAnswer), Problems))]
async fn set_deletion_policy(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    InPath(path): InPath<RepositoryPath>,
    Body(params): Body<PolicyParams>,
) -> Caught<DeletionsAnswer> {
    deletions::set(&state, &caller, &path, &params).await.map(Json)
}

/// What became searchable lately; `/events` goes on from there.
#[utoipa::path(get, path = "/api/v1/recent", params(RecentParams), responses(
    (status = 200, description = "Latest first.", body = RecentAnswer), Problems))]
async fn recent(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    Params(params): Params<RecentParams>,
) -> Caught<RecentAnswer> {
    live::recent(&state, &caller, &params).await.map(Json)
}

/// How the whole system is.
#[utoipa::path(get, path = "/api/v1/status", responses(
    (status = 200, description = "Queues, budgets, index, repositories, failures.", body = StatusAnswer), Problems))]
async fn show_status(State(state): State<WebState>, Extension(caller): Extension<Caller>) -> Caught<StatusAnswer> {
    status::status(&state, &caller).await.map(Json)
}

/// Jobs of a queue.
#[utoipa::path(get, path = "/api/v1/jobs", params(ListParams), responses(
    (status = 200, description = "A page of jobs.", body = ListAnswer), Problems))]
async fn list_jobs(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    Params(params): Params<ListParams>,
) -> Caught<ListAnswer> {
    jobs::list(&state, &caller, &params).await.map(Json)
}

/// Adds jobs.
#[utoipa::path(post, path = "/api/v1/jobs", request_body = AddParams, responses(
    (status = 200, description = "What became of each.", body = AddAnswer), Problems))]
async fn add_jobs(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    Body(params): Body<AddParams>,
) -> Caught<AddAnswer> {
    jobs::add(&state, &caller, &params).await.map(Json)
}

/// Counts of jobs.
#[utoipa::path(get, path = "/api/v1/jobs/counts", params(CountParams), responses(
    (status = 200, description = "By state and lane.", body = CountAnswer), Problems))]
async fn count_jobs(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    Params(params): Params<CountParams>,
) -> Caught<CountAnswer> {
    jobs::counts(&state, &caller, &params).await.map(Json)
}

/// How the queues are, with what stops them.
#[utoipa::path(get, path = "/api/v1/jobs/status", responses(
    (status = 200, description = "Queues, pauses, budgets, hooks.", body = jobs::StatusAnswer), Problems))]
async fn jobs_status(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
) -> Caught<jobs::StatusAnswer> {
    jobs::overview(&state, &caller).await.map(Json)
}

/// Where an item is.
#[utoipa::path(get, path = "/api/v1/jobs/item", params(ItemParams), responses(
    (status = 200, description = "Its jobs, its record, its place in the index.", body = WhereAnswer), Problems))]
async fn where_is(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    Params(params): Params<ItemParams>,
) -> Caught<WhereAnswer> {
    jobs::item(&state, &caller, &params).await.map(Json)
}

/// Adds a job for every number of a range.
#[utoipa::path(post, path = "/api/v1/jobs/range", request_body = RangeParams, responses(
    (status = 200, description = "How many.", body = RangeAnswer), Problems))]
async fn add_range(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    Body(params): Body<RangeParams>,
) -> Caught<RangeAnswer> {
    jobs::ask(&state, &caller, &params).await.map(Json)
}

/// Adds a job for everything that is archived.
#[utoipa::path(post, path = "/api/v1/jobs/all", request_body = AddAllParams, responses(
    (status = 200, description = "How many, by repository.", body = AddAllAnswer), Problems))]
async fn add_all(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    Body(params): Body<AddAllParams>,
) -> Caught<AddAllAnswer> {
    jobs::add_all(&state, &caller, &params).await.map(Json)
}

/// Asks GitHub what was updated since a time.
#[utoipa::path(post, path = "/api/v1/jobs/updated-since", request_body = SinceParams, responses(
    (status = 200, description = "What became of the job that asks.", body = SinceAnswer), Problems))]
async fn add_updated_since(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    Body(params): Body<SinceParams>,
) -> Caught<SinceAnswer> {
    jobs::ask(&state, &caller, &params).await.map(Json)
}

/// Removes named jobs, or those of a range.
#[utoipa::path(post, path = "/api/v1/jobs/remove", request_body = RemoveParams, responses(
    (status = 200, description = "What became of each.", body = RemoveAnswer), Problems))]
async fn remove_jobs(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    Body(params): Body<RemoveParams>,
) -> Caught<RemoveAnswer> {
    jobs::ask(&state, &caller, &params).await.map(Json)
}

/// One job.
#[utoipa::path(get, path = "/api/v1/jobs/{queue}/{subject}", params(JobPath), responses(
    (status = 200, description = "The job.", body = JobAnswer), Problems))]
async fn show_job(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    InPath(path): InPath<JobPath>,
) -> Caught<JobAnswer> {
    jobs::show(&state, &caller, &path).await.map(Json)
}

/// Removes a job.
#[utoipa::path(delete, path = "/api/v1/jobs/{queue}/{subject}", params(JobPath), responses(
    (status = 204, description = "It is gone, or will be when its work ends."), Problems))]
async fn remove_job(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    InPath(path): InPath<JobPath>,
) -> ApiResult<StatusCode> {
    jobs::remove(&state, &caller, &path).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tries a job again at once.
#[utoipa::path(post, path = "/api/v1/jobs/{queue}/{subject}/retry", params(JobPath), responses(
    (status = 200, description = "What became of it.", body = AddAnswer), Problems))]
async fn retry_job(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    InPath(path): InPath<JobPath>,
) -> Caught<AddAnswer> {
    jobs::retry(&state, &caller, &path).await.map(Json)
}

/// Makes buried jobs ready again.
#[utoipa::path(post, path = "/api/v1/jobs/revive", request_body = ManyParams, responses(
    (status = 200, description = "How many.", body = Affected), Problems))]
async fn revive_jobs(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    Body(params): Body<ManyParams>,
) -> Caught<Affected> {
    jobs::revive(&state, &caller, &params).await.map(Json)
}

/// Removes jobs that match.
#[utoipa::path(post, path = "/api/v1/jobs/purge", request_body = ManyParams, responses(
    (status = 200, description = "How many.", body = Affected), Problems))]
async fn purge_jobs(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    Body(params): Body<ManyParams>,
) -> Caught<Affected> {
    jobs::purge(&state, &caller, &params).await.map(Json)
}

/// Pauses a queue, or a repository on it.
#[utoipa::path(post, path = "/api/v1/jobs/pause", request_body = PauseParams, responses(
    (status = 200, description = "Until when.", body = PauseAnswer), Problems))]
async fn pause(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    Body(params): Body<PauseParams>,
) -> Caught<PauseAnswer> {
    jobs::ask(&state, &caller, &params).await.map(Json)
}

/// Ends a pause.
#[utoipa::path(post, path = "/api/v1/jobs/resume", request_body = ResumeParams, responses(
    (status = 204, description = "It goes on."), Problems))]
async fn resume(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    Body(params): Body<ResumeParams>,
) -> ApiResult<StatusCode> {
    jobs::ask(&state, &caller, &params).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/…` that is nothing of ours.
pub(crate) async fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "there is no such route: /api/v1/openapi.json lists all of them")
}
