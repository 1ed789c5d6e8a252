//! Which repositories are mirrored, and how.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{RepositoryId, RepositoryName},
    record::Visibility,
    removal::DeletionPolicy,
};

/// The trouble of a repository that is gone from GitHub for certain begins so.
pub const GONE: &str = "gone from GitHub";

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

impl Tracked {
    /// Whether it is certain that GitHub shows it no more.
    pub fn is_gone(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.starts_with(GONE))
    }

    /// Who may see what is mirrored of it. What is gone may have become private: GitHub's answer is the same.
    pub fn visibility(&self) -> Visibility {
        if self.private || self.is_gone() { Visibility::Private } else { Visibility::Public }
    }
}
