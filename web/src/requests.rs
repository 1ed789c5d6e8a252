//! Operations on a running system: one parameter struct, one request function, and in `api` one route each.
//!
//! Pages, the HTTP API and callers in the same process share these functions, so they cannot disagree.

use gharvest_model::{RepositoryId, RepositoryName, record::Visibility, tracking::Tracked};
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

/// What the archive and tracking say of a repository.
#[derive(Debug, Default)]
pub(crate) struct Known {
    file: Option<gharvest_archive::Repository>,
    tracked: Option<Tracked>,
}

impl Known {
    pub(crate) async fn of(state: &WebState, id: RepositoryId) -> ApiResult<Self> {
        let archive = &state.backends.archive;
        let tracked = archive.tracking().await?.into_iter().find(|tracked| tracked.id == id);
        Ok(Self { file: archive.repository(id).await?, tracked })
    }

    pub(crate) fn is_tracked(&self) -> bool {
        self.tracked.is_some()
    }

    /// Who may see it: only some, if either says so.
    pub(crate) fn visibility(&self) -> Visibility {
        let said = [self.file.as_ref().map(|file| file.visibility()), self.tracked.as_ref().map(Tracked::visibility)];
        if said.contains(&Some(Visibility::Private)) { Visibility::Private } else { Visibility::Public }
    }

    /// Its name now; none if nothing is known of it.
    pub(crate) fn name(&self) -> Option<&RepositoryName> {
        self.file.as_ref().map(|file| &file.full_name).or(self.tracked.as_ref().map(|tracked| &tracked.name))
    }
}

/// Finds a repository by a name it has or had. One that the caller may not see is not found, as on GitHub.
pub async fn visible_repository(state: &WebState, caller: &Caller, name: &RepositoryName) -> ApiResult<Visible> {
    let missing = || ApiError::not_found(name);
    let id = state.backends.archive.resolve(name).await?.ok_or_else(missing)?;
    let known = Known::of(state, id).await?;
    let visible =
        Visible { id, name: known.name().unwrap_or(name).clone(), visibility: known.visibility(), file: known.file };
    if caller.sees(visible.visibility, id, &visible.name) { Ok(visible) } else { Err(missing()) }
}

/// The tracked repositories that the caller may see, by id.
pub(crate) async fn visible_ids(state: &WebState, caller: &Caller) -> ApiResult<Vec<RepositoryId>> {
    let hidden = caller.hidden(state).await?;
    let standings = state.standings().await?;
    let tracked = standings.iter().filter(|(_, standing)| standing.is_tracked).map(|(id, _)| *id);
    let mut ids: Vec<_> = tracked.filter(|id| !hidden.contains(id)).collect();
    ids.sort_unstable();
    Ok(ids)
}
