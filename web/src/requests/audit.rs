//! What is accounted for of a repository, what is not, and what drifted: the gap report of `gharvest audit`.

use std::collections::BTreeMap;

use gharvest_archive::audit::Audit;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    access::Caller,
    error::{ApiError, ApiResult},
    requests::{RepositoryPath, visible_repository},
    state::WebState,
};

/// A repository's gap report, as `gharvest audit --json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditAnswer {
    /// `owner/name` now.
    pub repository: String,
    /// GitHub's numeric id.
    pub id: u64,
    /// Whether every number up to the highest is accounted for, the highest is known, and what is new is heard of.
    pub complete: bool,
    /// Why what is new is not known, in words: the repository cannot be fetched, or nobody asked for a day; none when all
    /// is well.
    pub trouble: Option<String>,
    /// Since when that is so.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub trouble_since: Option<Timestamp>,
    /// Whether the list of all items was read to its end: only then is the highest number known.
    pub walked: bool,
    /// The highest number seen.
    pub highest: u64,
    /// Numbers with a record of an item that GitHub shows.
    pub present: u64,
    /// Numbers that are gone: deleted, transferred, hidden.
    pub gone: u64,
    /// Numbers that are not items.
    pub not_items: u64,
    /// Numbers of which nothing is known, or nothing for certain.
    pub unknown: u64,
    /// Numbers that could not be fetched.
    pub failed: u64,
    /// When the number verified longest ago was verified; none if one never was.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub oldest_verification: Option<Timestamp>,
    /// First and last of each run of unknown numbers; the first 10,000 runs.
    pub unknown_numbers: Vec<[u64; 2]>,
    /// First and last of each run of numbers that could not be fetched; the first 10,000 runs.
    pub failed_numbers: Vec<[u64; 2]>,
    /// Gone numbers by state: deleted, transferred, hidden.
    pub gone_by_state: BTreeMap<String, u64>,
    /// Silent changes that were found and healed, by kind.
    pub drift: BTreeMap<String, DriftAnswer>,
}

/// Silent changes of one kind that were found and healed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriftAnswer {
    /// How often.
    pub count: u64,
    /// When last.
    #[schema(value_type = String, format = DateTime)]
    pub last_at: Timestamp,
    /// The number of the item where that was.
    pub number: u64,
}

impl From<Audit> for AuditAnswer {
    fn from(audit: Audit) -> Self {
        let verdict = audit.verdict;
        let runs = |runs: Vec<(u64, u64)>| runs.into_iter().map(|(first, last)| [first, last]).collect();
        let drift = audit.drift.into_iter().map(|(kind, drifted)| {
            let answer = DriftAnswer { count: drifted.count, last_at: drifted.last_at, number: drifted.number };
            (kind.as_str().to_owned(), answer)
        });
        Self {
            repository: audit.repository.to_string(),
            id: audit.id.0,
            complete: verdict.complete,
            trouble: verdict.trouble,
            trouble_since: verdict.trouble_since,
            walked: verdict.counts.walked,
            highest: verdict.counts.highest,
            present: verdict.counts.present,
            gone: verdict.counts.gone,
            not_items: verdict.counts.not_items,
            unknown: verdict.counts.unknown,
            failed: verdict.counts.failed,
            oldest_verification: verdict.oldest_verification,
            unknown_numbers: runs(audit.unknown_numbers),
            failed_numbers: runs(audit.failed_numbers),
            gone_by_state: audit
                .gone_by_state
                .into_iter()
                .map(|(state, count)| (state.as_str().to_owned(), count))
                .collect(),
            drift: drift.collect(),
        }
    }
}

/// The gap report of a repository.
pub async fn audit(state: &WebState, caller: &Caller, path: &RepositoryPath) -> ApiResult<AuditAnswer> {
    read(state, caller, path).await.map(AuditAnswer::from)
}

/// The badge of a repository's completeness, as SVG.
pub async fn badge(state: &WebState, caller: &Caller, path: &RepositoryPath) -> ApiResult<String> {
    read(state, caller, path).await.map(|audit| audit.badge())
}

async fn read(state: &WebState, caller: &Caller, path: &RepositoryPath) -> ApiResult<Audit> {
    let visible = visible_repository(state, caller, &path.full_name()?).await?;
    let audit = state.backends.archive.audit(visible.id, state.clock.now()).await?;
    audit.ok_or_else(|| ApiError::not_found(visible.name))
}
