//! Repositories: what is mirrored, and how completely.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use gharvest_archive::{ErrorKind, audit::Verdict};
use gharvest_model::{RepositoryId, ledger::Ledger, record::Visibility, tracking::Tracked};
use gharvest_search::{SearchRequest, Start};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    access::{Caller, Role},
    error::ApiResult,
    known::Known,
    requests::{
        RepositoryPath,
        search::{self, LARGEST_PAGE},
        visible_repository,
    },
    state::WebState,
};

/// All repositories that the caller may see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RepositoriesAnswer {
    /// In the order of their names.
    pub repositories: Vec<RepositoryAnswer>,
}

/// A repository and how completely it is mirrored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RepositoryAnswer {
    /// GitHub's numeric id.
    pub id: u64,
    /// `owner/name` now.
    pub full_name: String,
    /// Names it had before, latest first.
    pub former_names: Vec<String>,
    /// Seen only by who may read it.
    pub private: bool,
    /// Archived on GitHub.
    pub archived: bool,
    /// GitHub's description.
    pub description: Option<String>,
    /// The main language.
    pub language: Option<String>,
    /// Stars.
    pub stars: u64,
    /// Forks.
    pub forks: u64,
    /// Whether it is followed.
    pub tracked: bool,
    /// Since when it is tracked.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// When GitHub's object was last fetched.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub fetched_at: Option<Timestamp>,
    /// Why what is new is not known, in words: it cannot be fetched at present, or nobody asked for a day; none when all is
    /// well.
    pub trouble: Option<String>,
    /// Whether it is complete, as its audit says: every number is accounted for, and what is new is heard of.
    #[serde(default)]
    pub complete: bool,
    /// What became of its numbers.
    pub ledger: LedgerAnswer,
}

/// What became of every number of a repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LedgerAnswer {
    /// The highest number seen.
    pub highest: u64,
    /// Whether every number up to the highest is accounted for, and the highest is known; not whether what is new is heard
    /// of.
    pub complete: bool,
    /// Numbers with a record that GitHub shows.
    pub present: u64,
    /// Numbers that GitHub said were deleted.
    pub deleted: u64,
    /// Numbers that moved to another repository.
    pub transferred: u64,
    /// Numbers that GitHub shows nothing for, confirmed.
    pub hidden: u64,
    /// Numbers of discussions.
    pub not_an_item: u64,
    /// Numbers that nothing is known of yet.
    pub unknown: u64,
    /// Numbers that could not be fetched.
    pub failed: u64,
    /// When the number verified longest ago was verified; none if one never was.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub oldest_verification: Option<Timestamp>,
}

impl LedgerAnswer {
    /// Counts a ledger; the verdict tells whether its highest number is known.
    fn new(ledger: &Ledger, verdict: &Verdict) -> Self {
        let [unknown, present, deleted, transferred, hidden, not_an_item, failed] = ledger.counts();
        Self {
            highest: ledger.highest(),
            complete: verdict.counts.is_complete(),
            present,
            deleted,
            transferred,
            hidden,
            not_an_item,
            unknown,
            failed,
            oldest_verification: verdict.oldest_verification,
        }
    }
}

/// All tracked repositories that the caller may see, by name.
pub async fn list(state: &WebState, caller: &Caller) -> ApiResult<RepositoriesAnswer> {
    let mut tracked = state.backends.archive.tracking().await?;
    tracked.sort_by_cached_key(|tracked| tracked.name.key());
    let entry = |tracked| entry(state, caller, tracked);
    let repositories: Vec<_> = futures::stream::iter(tracked).map(entry).buffered(8).try_collect().await?;
    Ok(RepositoriesAnswer { repositories: repositories.into_iter().flatten().collect() })
}

/// A repository in the list, if the caller may see it. One whose file is damaged hides no other.
async fn entry(state: &WebState, caller: &Caller, tracked: Tracked) -> ApiResult<Option<RepositoryAnswer>> {
    let id = tracked.id;
    let (file, damage) = match state.backends.archive.repository(id).await {
        Err(error) if error.kind() == ErrorKind::Corrupt => (None, Some(error.to_string())),
        file => (file?, None),
    };
    let known = Known { file, tracked: Some(tracked) };
    if !known.is_seen_by(caller, id) {
        return Ok(None);
    }
    match damage {
        None => answer(state, id, known).await.map(Some),
        Some(damage) => Ok(Some(damaged(id, &known, damage))),
    }
}

/// What tracking alone says of a repository whose file is damaged.
fn damaged(id: RepositoryId, known: &Known, damage: String) -> RepositoryAnswer {
    RepositoryAnswer {
        id: id.0,
        full_name: name_of(id, known),
        former_names: Vec::new(),
        private: known.visibility() == Visibility::Private,
        archived: false,
        description: None,
        language: None,
        stars: 0,
        forks: 0,
        tracked: known.tracked.is_some(),
        since: known.tracked.as_ref().map(|tracked| tracked.since),
        fetched_at: None,
        trouble: Some(damage),
        complete: false,
        ledger: LedgerAnswer::default(),
    }
}

fn name_of(id: RepositoryId, known: &Known) -> String {
    known.name().map_or_else(|| id.to_string(), ToString::to_string)
}

/// One repository.
pub async fn show(state: &WebState, caller: &Caller, path: &RepositoryPath) -> ApiResult<RepositoryAnswer> {
    let visible = visible_repository(state, caller, &path.full_name()?).await?;
    answer(state, visible.id, Known::of(state, visible.id).await?).await
}

async fn answer(state: &WebState, id: RepositoryId, known: Known) -> ApiResult<RepositoryAnswer> {
    let archive = &state.backends.archive;
    let full_name = name_of(id, &known);
    let private = known.visibility() == Visibility::Private;
    let Known { file, tracked } = known;
    let ledger = archive.ledger(id).await?;
    let verdict = archive.verdict(id, tracked.as_ref(), state.clock.now()).await?;
    let object = file.as_ref().map(|file| &file.repository);
    let text = |key: &str| object.and_then(|object| object[key].as_str()).map(str::to_owned);
    let number = |key: &str| object.and_then(|object| object[key].as_u64()).unwrap_or(0);
    let is = |key: &str| object.is_some_and(|object| object[key] == true);
    Ok(RepositoryAnswer {
        id: id.0,
        full_name,
        former_names: file.iter().flat_map(|file| &file.former_names).map(ToString::to_string).collect(),
        private,
        archived: is("archived"),
        description: text("description"),
        language: text("language"),
        stars: number("stargazers_count"),
        forks: number("forks_count"),
        tracked: tracked.is_some(),
        since: tracked.as_ref().map(|tracked| tracked.since),
        fetched_at: file.as_ref().filter(|file| !file.repository.is_null()).map(|file| file.fetched_at),
        ledger: LedgerAnswer::new(&ledger, &verdict),
        trouble: verdict.trouble,
        complete: verdict.complete,
    })
}

/// Begins to mirror a repository, by name: GitHub is asked for it.
pub async fn track(state: &WebState, caller: &Caller, path: &RepositoryPath) -> ApiResult<RepositoryAnswer> {
    caller.require(Role::Operate)?;
    let name = path.full_name()?;
    // One that is mirrored already is nobody's to ask for who may not see it.
    if state.backends.archive.resolve(&name).await?.is_some() {
        visible_repository(state, caller, &name).await?;
    }
    let tracked = state.backends.operations.track(&name).await?;
    let id = tracked.id;
    let known = Known { file: state.backends.archive.repository(id).await?, tracked: Some(tracked) };
    answer(state, id, known).await
}

/// How tracking ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct UntrackParams {
    /// Also remove everything that was archived and indexed; needs the role `admin`.
    #[serde(default)]
    pub purge: bool,
}

/// Ends the mirroring of a repository.
pub async fn untrack(
    state: &WebState,
    caller: &Caller,
    path: &RepositoryPath,
    params: &UntrackParams,
) -> ApiResult<()> {
    caller.require(if params.purge { Role::Admin } else { Role::Operate })?;
    let visible = visible_repository(state, caller, &path.full_name()?).await?;
    Ok(state.backends.operations.untrack(visible.id, params.purge).await?)
}

/// How quickly a repository answers and closes issues, by the month in which they were opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResponsivenessAnswer {
    /// The latest month first, as far back as the latest issues reach.
    pub months: Vec<MonthAnswer>,
    /// How many of the latest issues were looked at.
    pub issues: usize,
}

/// Times of the issues opened in one month, in hours; none where nothing of the kind happened yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MonthAnswer {
    /// `2024-05`
    pub month: String,
    /// Issues opened.
    pub opened: usize,
    /// Half of the answered ones got their first answer by a human other than the author within this.
    pub response_p50: Option<f32>,
    /// Nine in ten of them did within this.
    pub response_p90: Option<f32>,
    /// Half of the closed ones were first closed within this.
    pub close_p50: Option<f32>,
    /// Nine in ten of them were within this.
    pub close_p90: Option<f32>,
}

/// Issues looked at for times: enough for a year of most repositories, and quickly read.
const LOOKED_AT: usize = 500;

/// How quickly a repository answers and closes issues.
pub async fn responsiveness(
    state: &WebState,
    caller: &Caller,
    path: &RepositoryPath,
) -> ApiResult<ResponsivenessAnswer> {
    let visible = visible_repository(state, caller, &path.full_name()?).await?;
    let (query, _) = search::parse(state, &format!("repo:{} is:issue sort:created-desc", visible.name))?;
    let mut request = SearchRequest {
        query,
        access: caller.search_access(state).await?,
        per_page: LARGEST_PAGE,
        start: Start::Page(1),
        facets: Vec::new(),
        snippets: false,
        timeout: state.search_timeout,
    };
    let mut months: BTreeMap<String, (usize, Vec<f32>, Vec<f32>)> = BTreeMap::new();
    let mut issues = 0;
    while issues < LOOKED_AT {
        let reply = state.backends.search.search(&request).await?;
        for hit in &reply.hits {
            let (opened, responses, closes) =
                months.entry(hit.item.created_at.strftime("%Y-%m").to_string()).or_default();
            *opened += 1;
            responses.extend(hit.item.metrics.h_first_response);
            closes.extend(hit.item.metrics.h_to_close);
        }
        issues += reply.hits.len();
        let Some(next) = reply.next else { break };
        request.start = Start::Cursor(next);
    }
    let months = months.into_iter().rev().map(|(month, (opened, mut responses, mut closes))| MonthAnswer {
        month,
        opened,
        response_p50: percentile(&mut responses, 50),
        response_p90: percentile(&mut responses, 90),
        close_p50: percentile(&mut closes, 50),
        close_p90: percentile(&mut closes, 90),
    });
    Ok(ResponsivenessAnswer { months: months.collect(), issues })
}

/// The value that this many of a hundred do not exceed: the nearest rank.
fn percentile(values: &mut [f32], percent: usize) -> Option<f32> {
    values.sort_by(f32::total_cmp);
    let rank = (values.len() * percent).div_ceil(100);
    values.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occur() {
        assert_eq!(percentile(&mut [3.0, 1.0, 2.0], 50), Some(2.0));
        assert_eq!(percentile(&mut [4.0, 1.0], 50), Some(1.0));
        assert_eq!(percentile(&mut [4.0, 1.0], 90), Some(4.0));
        assert_eq!(percentile(&mut [], 50), None);
    }
}
