//! Operations on a running system: one parameter struct, one request function, and in `api` one route each.
//!
//! Pages, the HTTP API and callers in the same process share these functions, so they cannot disagree.

use gharvest_model::{RepositoryId, RepositoryName, record::Visibility};
use serde::{Deserialize, Serialize};

use crate::{
    access::Caller,
    error::{ApiError, ApiResult},
    known::Known,
    state::WebState,
};

pub mod audit;
pub mod deletions;
pub mod items;
pub mod jobs;
pub mod live;
pub mod repositories;
pub mod search;
pub mod status;
pub mod suggest;

/// A repository in a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub struct RepositoryPath {
    /// The owner's login.
    pub owner: String,
    /// The repository's name without its owner.
    pub name: String,
}

impl RepositoryPath {
    /// The checked name.
    pub fn full_name(&self) -> ApiResult<RepositoryName> {
        Ok(RepositoryName::new(&self.owner, &self.name)?)
    }
}

/// A repository that the caller may see.
#[derive(Debug, Clone, PartialEq)]
pub struct Visible {
    /// Its id.
    pub id: RepositoryId,
    /// Its name now.
    pub name: RepositoryName,
    /// Who may see it.
    pub visibility: Visibility,
    /// Its file.
    pub file: Option<gharvest_archive::Repository>,
}

/// Finds a repository by a name it has or had. One that the caller may not see is not found, as on GitHub.
pub async fn visible_repository(state: &WebState, caller: &Caller, name: &RepositoryName) -> ApiResult<Visible> {
    let missing = || ApiError::not_found(name);
    let id = state.backends.archive.resolve(name).await?.ok_or_else(missing)?;
    let known = Known::of(state, id).await?;
    if !known.is_seen_by(caller, id) {
        return Err(missing());
    }
    Ok(Visible { id, name: known.name().unwrap_or(name).clone(), visibility: known.visibility(), file: known.file })
}

/// The tracked repositories that the caller may see, by id.
pub(crate) async fn visible_ids(state: &WebState, caller: &Caller) -> ApiResult<Vec<RepositoryId>> {
    let standings = state.standings().await?;
    let seen = standings.iter().filter(|(id, known)| known.tracked.is_some() && known.is_seen_by(caller, **id));
    let mut ids: Vec<_> = seen.map(|(id, _)| *id).collect();
    ids.sort_unstable();
    Ok(ids)
}
