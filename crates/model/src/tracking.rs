//! Which repositories are mirrored, and how.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{RepositoryId, RepositoryName},
    removal::DeletionPolicy,
};

/// One tracked repository, an entry of `tracking.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracked {
    /// GitHub's numeric id.
    pub id: RepositoryId,
    /// The name it had when it was last seen.
    pub name: RepositoryName,
    /// Who may see it.
    #[serde(default)]
    pub private: bool,
    /// Since when it is tracked.
    pub since: Timestamp,
    /// When the first mirror was over: the list read to its end, and every number looked at once, though some may have
    /// failed. None until then; from then on silent changes are looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_at: Option<Timestamp>,
    /// Why it is not fetched at present (disabled issues, blocked, gone), in words; none when all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// When `trouble` was first seen: what deletes must be confirmed a day apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble_since: Option<Timestamp>,
    /// What becomes of the content of items that GitHub no longer shows.
    #[serde(default, skip_serializing_if = "DeletionPolicy::is_keep")]
    pub deleted: DeletionPolicy,
}
