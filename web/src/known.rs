//! Who may know of a repository: the one place that says it.

use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt, stream};
use gharvest_archive::{Archive, ErrorKind, Repository, Result};
use gharvest_model::{RepositoryId, RepositoryName, record::Visibility, tracking::Tracked};

use crate::{access::Caller, state::WebState};

/// Files that are read at the same time.
const AT_ONCE: usize = 8;

/// What the archive and tracking say of a repository.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Known {
    pub(crate) file: Option<Repository>,
    pub(crate) tracked: Option<Tracked>,
}

/// Every repository that is tracked, or was and is archived still.
pub(crate) type Standings = HashMap<RepositoryId, Known>;

impl Known {
    /// What is known of a repository now.
    pub(crate) async fn of(state: &WebState, id: RepositoryId) -> Result<Self> {
        let archive = &state.backends.archive;
        let tracked = archive.tracking().await?.into_iter().find(|tracked| tracked.id == id);
        Ok(Self { file: archive.repository(id).await?, tracked })
    }

    /// Who may see it: only some, if either says so, or if neither says anything.
    pub(crate) fn visibility(&self) -> Visibility {
        let said = [self.file.as_ref().map(Repository::visibility), self.tracked.as_ref().map(Tracked::visibility)];
        let is_public = said.contains(&Some(Visibility::Public)) && !said.contains(&Some(Visibility::Private));
        if is_public { Visibility::Public } else { Visibility::Private }
    }

    /// Its name now; none if nothing is known of it.
    pub(crate) fn name(&self) -> Option<&RepositoryName> {
        self.file.as_ref().map(|file| &file.full_name).or(self.tracked.as_ref().map(|tracked| &tracked.name))
    }

    /// Whether the caller may know of it.
    pub(crate) fn is_seen_by(&self, caller: &Caller, id: RepositoryId) -> bool {
        self.visibility() == Visibility::Public || caller.sees_private(id, self.name())
    }
}

/// Reads from the archive what decides who may know of each repository: its entry if it is tracked, which is private
/// before its file is, or else its file. One whose file cannot be read counts as private.
pub(crate) async fn standings(archive: &Archive) -> Result<Standings> {
    let entered = |tracked: Tracked| (tracked.id, Known { file: None, tracked: Some(tracked) });
    let mut all: Standings = archive.tracking().await?.into_iter().map(entered).collect();
    let mut others = archive.repositories().await?;
    others.retain(|id| !all.contains_key(id));
    let read = async |id| match archive.repository(id).await {
        Ok(file) => Ok(file.map(|file| (id, Known { file: Some(file), tracked: None }))),
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(Some((id, Known::default()))),
        Err(error) => Err(error),
    };
    let others: Vec<_> = stream::iter(others).map(read).buffered(AT_ONCE).try_collect().await?;
    all.extend(others.into_iter().flatten());
    Ok(all)
}
