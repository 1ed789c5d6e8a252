//! What live readers are told after a change became searchable.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{ItemId, Kind, RepositoryName},
    record::{Revision, Visibility},
};

/// One change, published by the indexer after its commit. At least once: who tells of it and dies before it can note
/// that tells of it again, with the same revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveEvent {
    /// Which item.
    pub item: ItemId,
    /// The repository's name now.
    pub repository: RepositoryName,
    /// An issue or a pull request.
    pub kind: Kind,
    /// The item's title now.
    pub title: String,
    /// `open`, `closed`, `merged`, or the tombstone's state.
    pub state: String,
    /// The revision that is searchable now.
    pub revision: Revision,
    /// Who may be told.
    pub visibility: Visibility,
    /// When it became searchable.
    pub at: Timestamp,
}
