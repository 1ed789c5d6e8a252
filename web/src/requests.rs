//! Operations on a running system: one parameter struct, one request function, and in `api` one route each.
//!
//! Pages, the HTTP API and callers in the same process share these functions, so they cannot disagree.

use gharvest_model::{RepositoryId, RepositoryName, record::Visibility};
use serde::{Deserialize, Serialize};

use crate::{
    access::Caller,
    error::{ApiError, ApiResult},
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
    let archive = &state.backends.archive;
    let missing = || ApiError::not_found(name);
    let id = archive.resolve(name).await?.ok_or_else(missing)?;
    let file = archive.repository(id).await?;
    let tracked = archive.tracking().await?.into_iter().find(|tracked| tracked.id == id);
    let is_private = tracked.as_ref().is_some_and(|tracked| tracked.private)
        || file.as_ref().is_some_and(|file| file.repository["private"] == true);
    let current = file.as_ref().map(|file| file.full_name.clone()).or(tracked.map(|tracked| tracked.name));
    let visible = Visible {
        id,
        name: current.unwrap_or_else(|| name.clone()),
        visibility: if is_private { Visibility::Private } else { Visibility::Public },
        file,
    };
    if caller.sees(visible.visibility, &visible.name) { Ok(visible) } else { Err(missing()) }
}
