//! One item: its record, and items like it.

use bytes::Bytes;
use gharvest_model::{ItemId, RepositoryName, labels::LabelRenames, ledger::NumberState, record::Visibility};
use serde::{Deserialize, Serialize};

use super::search::SearchItem;
use crate::{
    access::Caller,
    error::{ApiError, ApiResult},
    requests::{RepositoryPath, visible_repository},
    state::WebState,
};

/// An item in a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub struct ItemPath {
    /// The owner's login.
    pub owner: String,
    /// The repository's name without its owner.
    pub name: String,
    /// The number that issues and pull requests share.
    pub number: u64,
}

impl ItemPath {
    /// The repository of the path.
    pub fn repository(&self) -> RepositoryPath {
        RepositoryPath { owner: self.owner.clone(), name: self.name.clone() }
    }
}

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Which item.
    pub id: ItemId,
    /// The repository's name now.
    pub repository: RepositoryName,
    /// What the repository's labels were called before.
    pub label_renames: LabelRenames,
    /// The JSON.
    pub bytes: Bytes,
    /// A strong ETag: changes with the stored bytes and with nothing else.
    pub etag: String,
}

/// What decides who sees a record, and its revision.
#[derive(Deserialize)]
struct Head {
    revision: u32,
    #[serde(default)]
    visibility: Visibility,
}

/// Whether a thread is private though its repository may be public: so is a record that cannot be read.
pub(crate) async fn is_private(state: &WebState, item: ItemId) -> ApiResult<bool> {
    let Some(bytes) = state.backends.archive.record_bytes(item).await? else { return Ok(false) };
    let head: Option<Head> = serde_json::from_slice(&bytes).ok();
    Ok(head.is_none_or(|head| head.visibility == Visibility::Private))
}

/// The record of an item.
pub async fn record(state: &WebState, caller: &Caller, path: &ItemPath) -> ApiResult<StoredRecord> {
    let name = path.repository().full_name()?;
    let missing = || ApiError::not_found(format!("{name}#{}", path.number));
    let repository = visible_repository(state, caller, &name).await.map_err(|error| match error.status {
        axum::http::StatusCode::NOT_FOUND => missing(),
        _ => error,
    })?;
    let id = ItemId { repository: repository.id, number: path.number };
    let Some(bytes) = state.backends.archive.record_bytes(id).await? else {
        let known = state.backends.archive.ledger(id.repository).await?.get(id.number).state;
        return Err(ApiError::new(
            axum::http::StatusCode::NOT_FOUND,
            absence(&format!("{name}#{}", path.number), known),
        ));
    };
    let head: Head = serde_json::from_slice(&bytes).map_err(|error| {
        tracing::error!(%error, item = %id, "a stored record cannot be read");
        ApiError::new(
            axum::http::StatusCode::INTERNAL_SERVER_ERROR,
            format!("the record of {name}#{} is damaged: `gharvest verify` says more", path.number),
        )
    })?;
    if !caller.sees(head.visibility, id.repository, &repository.name) {
        return Err(missing());
    }
    // A revision may be completed in place, so it does not tell which bytes these are.
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
    let etag = format!("\"{}-{}\"", head.revision, hex::encode(&digest.as_ref()[..16]));
    let label_renames = repository.file.map(|file| file.label_renames).unwrap_or_default();
    Ok(StoredRecord { id, repository: repository.name, label_renames, bytes, etag })
}

/// Why there is no record of a number, in words.
fn absence(item: &str, known: NumberState) -> String {
    match known {
        NumberState::NotAnItem => format!("{item} is a discussion, not an issue or pull request"),
        NumberState::Deleted => format!("{item} was deleted before it could be recorded"),
        NumberState::Transferred => format!("{item} was moved to another repository before it could be recorded"),
        NumberState::Hidden => format!("GitHub does not show {item}, without saying why"),
        NumberState::Failed => format!("{item} could not be fetched: the status page says why"),
        NumberState::Unknown | NumberState::Present => format!("{item} is not in this mirror, or not yet"),
    }
}

/// How many similar items.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SimilarParams {
    /// At most this many, 1 to 50; 5 if not said.
    #[param(minimum = 1, maximum = 50)]
    pub limit: Option<usize>,
}

/// Items like one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SimilarAnswer {
    /// Most similar first.
    pub items: Vec<SearchItem>,
}

/// Items like this one, most similar first.
pub async fn similar(
    state: &WebState,
    caller: &Caller,
    path: &ItemPath,
    params: &SimilarParams,
) -> ApiResult<SimilarAnswer> {
    let limit = params.limit.unwrap_or(5);
    if !(1..=50).contains(&limit) {
        return Err(ApiError::invalid("`limit` is 1 to 50"));
    }
    let stored = record(state, caller, path).await?;
    let access = caller.search_access(state).await?;
    let hits = state.backends.search.similar(stored.id, &access, limit).await?;
    Ok(SimilarAnswer { items: hits.into_iter().map(SearchItem::from).collect() })
}

/// What became of a trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DownloadAnswer {
    /// The job's subject.
    pub subject: String,
}

/// Asks for an item to be downloaded again, now; one that has no record yet as well.
pub async fn download(state: &WebState, caller: &Caller, path: &ItemPath) -> ApiResult<DownloadAnswer> {
    caller.require(crate::access::Role::Operate)?;
    let name = path.repository().full_name()?;
    let repository = visible_repository(state, caller, &name).await?;
    if path.number == 0 || path.number > gharvest_model::ledger::Ledger::LIMIT {
        return Err(ApiError::invalid("an item's number is 1 or more"));
    }
    let item = gharvest_model::ItemRef { repository: repository.name, number: path.number };
    let id = state.backends.operations.download(&item).await?;
    Ok(DownloadAnswer { subject: id.to_string() })
}
