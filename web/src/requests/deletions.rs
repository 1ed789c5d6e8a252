//! What becomes of items that GitHub no longer shows.

use axum::http::StatusCode;
use gharvest_downloader::deletions;
use gharvest_model::{
    record::RecordState,
    removal::{self, DeletionPolicy},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    access::{Caller, Role},
    error::{ApiError, ApiResult},
    requests::{RepositoryPath, visible_repository},
    state::WebState,
};

/// A deletion policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyParams {
    /// `keep` everything, `redact` what people wrote, or `purge` all but the tombstone.
    #[schema(value_type = String)]
    pub policy: DeletionPolicy,
}

/// The deletion policy of a repository, and what it took out so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeletionsAnswer {
    /// `keep`, `redact` or `purge`.
    #[schema(value_type = String)]
    pub policy: DeletionPolicy,
    /// What was taken out, oldest first.
    pub receipts: Vec<ReceiptAnswer>,
}

/// What was taken out of one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReceiptAnswer {
    /// The item's number.
    pub number: u64,
    /// `deleted`, `hidden` or `transferred`.
    pub state: String,
    /// The policy that was followed.
    #[schema(value_type = String)]
    pub policy: DeletionPolicy,
    /// The record's revision that still had the content.
    pub revision: u32,
    /// When it was taken out.
    #[schema(value_type = String, format = DateTime)]
    pub removed_at: Timestamp,
    /// How many texts went.
    pub texts: u64,
    /// Their length in bytes.
    pub bytes: u64,
}

impl From<removal::Receipt> for ReceiptAnswer {
    fn from(receipt: removal::Receipt) -> Self {
        let state = match receipt.state {
            RecordState::Present => "present",
            RecordState::Deleted => "deleted",
            RecordState::Hidden => "hidden",
            RecordState::Transferred { .. } => "transferred",
        };
        Self {
            number: receipt.number,
            state: state.to_owned(),
            policy: receipt.policy,
            revision: receipt.revision.0,
            removed_at: receipt.removed_at,
            texts: receipt.texts,
            bytes: receipt.bytes,
        }
    }
}

/// The deletion policy of a repository and its receipts; they name numbers that are gone, so `operate` is needed.
pub async fn show(state: &WebState, caller: &Caller, path: &RepositoryPath) -> ApiResult<DeletionsAnswer> {
    caller.require(Role::Operate)?;
    let visible = visible_repository(state, caller, &path.full_name()?).await?;
    let archive = &state.backends.archive;
    let policy = archive.deletion_policy(visible.id).await?;
    let receipts = archive.receipts(visible.id).await?.into_iter().map(ReceiptAnswer::from).collect();
    Ok(DeletionsAnswer { policy, receipts })
}

/// Sets the deletion policy and follows it for what is gone already; `redact` and `purge` cannot be undone.
pub async fn set(
    state: &WebState,
    caller: &Caller,
    path: &RepositoryPath,
    params: &PolicyParams,
) -> ApiResult<DeletionsAnswer> {
    caller.require(Role::Admin)?;
    let name = path.full_name()?;
    let visible = visible_repository(state, caller, &name).await?;
    let backends = &state.backends;
    let set = deletions::set_policy(&backends.archive, backends.queue.as_ref(), visible.id, params.policy).await;
    if set.map_err(|failure| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, failure.to_string()))?.is_none() {
        return Err(ApiError::not_found(&name));
    }
    show(state, caller, path).await
}
