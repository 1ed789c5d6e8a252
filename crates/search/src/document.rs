//! Documents: what a record becomes in the index. Fields as in `_docs/available-data.md`.
//!
//! Ids are built from the numeric repository id: an item is `{repository}:{number}`; its children are ordinal below
//! it, `{repository}:{number}:c0`, `…:e0`, `…:i0`, so that leftovers of an older version are known without a search.

mod extra;

use gharvest_model::{ItemId, Kind, RepositoryId, Revision};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use extra::Extra;

/// The version of a document: `revision · 2^32 +` the second of rendering since 2020-01-01, so that a re-index of an
/// unchanged record is written, and a late one is not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    /// Seconds from 1970 to 2020.
    const EPOCH: i64 = 1_577_836_800;

    /// The version of a record rendered now.
    pub fn new(revision: Revision, rendered_at: Timestamp) -> Self {
        let seconds = u32::try_from((rendered_at.as_second() - Self::EPOCH).max(0)).unwrap_or(u32::MAX);
        Self((u64::from(revision.0) << 32) | u64::from(seconds))
    }

    /// The revision in it.
    pub fn revision(self) -> Revision {
        Revision((self.0 >> 32) as u32)
    }
}

/// All documents of one thread.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadDocuments {
    /// The item.
    pub item: ItemDocument,
    /// Comments, reviews and review comments, in the order of the thread.
    pub comments: Vec<CommentDocument>,
    /// Timeline events, in the order of the timeline; comments and reviews among them.
    pub events: Vec<EventDocument>,
    /// What was true when.
    pub intervals: Vec<IntervalDocument>,
    /// The version of all of them.
    pub version: Version,
    /// SHA-256 over the ids and digests of all documents in order of id, hex; see [`document_digest`] and [`thread_digest`].
    pub digest: String,
}

impl ThreadDocuments {
    /// About how many bytes they take in memory: their long texts, and a kibibyte for whatever else a document says.
    pub fn size(&self) -> usize {
        let documents = 1 + self.comments.len() + self.events.len() + self.intervals.len();
        let comments: usize = self.comments.iter().map(|comment| comment.body.len() + comment.extra.len()).sum();
        let events: usize = self.events.iter().map(|event| event.extra.len()).sum();
        1_024 * documents + self.item.body.len() + self.item.extra.len() + comments + events
    }

    /// Ids and digests of all documents, in order of id: what [`crate::StoredThread::documents`] is compared with.
    pub fn digests(&self) -> Vec<(String, String)> {
        let mut digests = vec![(self.item.key.clone(), digest(&self.item))];
        digests.extend(self.comments.iter().map(|document| (document.key.clone(), digest(document))));
        digests.extend(self.events.iter().map(|document| (document.key.clone(), digest(document))));
        digests.extend(self.intervals.iter().map(|document| (document.key.clone(), digest(document))));
        digests.sort_unstable();
        digests
    }
}

/// The digest of a thread: SHA-256 over a line `id digest` for each of its documents, in order of id, hex.
pub fn thread_digest(documents: &[(String, String)]) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for (id, digest) in documents {
        context.update(format!("{id} {digest}\n").as_bytes());
    }
    hex::encode(context.finish())
}

/// An issue or pull request as it is now, with computed metrics: alias `gharvest-items`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemDocument {
    /// `{repository_id}:{number}`.
    pub key: String,
    /// The numeric id.
    pub repository_id: RepositoryId,
    /// `owner/name` now.
    pub repository: String,
    /// The number.
    pub number: u64,
    /// Issue or pull request.
    pub kind: Kind,
    /// `open`, `closed` or `merged`.
    pub state: String,
    /// `completed`, `not_planned`, `duplicate`, `reopened`.
    pub state_reason: Option<String>,
    /// A draft pull request.
    pub draft: bool,
    /// Conversation locked.
    pub locked: bool,
    /// The record is a tombstone: hidden from every search.
    pub deleted: bool,
    /// Seen only by who may read the repository.
    pub private: bool,
    /// Whether the repository is archived on GitHub.
    pub archived: bool,
    /// The title.
    pub title: String,
    /// The body, HTML comments left out.
    pub body: String,
    /// The author's login.
    pub author: Option<String>,
    /// The author is a bot.
    pub author_is_bot: bool,
    /// GitHub's `author_association`.
    pub author_association: Option<String>,
    /// Labels now.
    pub labels: Vec<String>,
    /// Colours of the labels, same order, six hex digits.
    pub label_colors: Vec<String>,
    /// Labels ever.
    pub labels_ever: Vec<String>,
    /// Assignees now.
    pub assignees: Vec<String>,
    /// Milestone now: its title.
    pub milestone: Option<String>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// GitHub's `updated_at`.
    pub updated_at: Timestamp,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// When it was merged.
    pub merged_at: Option<Timestamp>,
    /// Who merged or closed it.
    pub closed_by: Option<String>,
    /// Branch of a pull request's change.
    pub head: Option<String>,
    /// Branch it goes to.
    pub base: Option<String>,
    /// Items it refers to: `#12` of its own repository as `owner/name#12`.
    pub refs: Vec<String>,
    /// Commit shas of the thread, full, lower case.
    pub shas: Vec<String>,
    /// Paths mentioned, and of review comments.
    pub paths: Vec<String>,
    /// Logins mentioned anywhere in the thread.
    pub mentions: Vec<String>,
    /// Logins that commented.
    pub commenters: Vec<String>,
    /// Logins that reviewed.
    pub reviewers: Vec<String>,
    /// Logins (and teams) asked for review now.
    pub review_requested: Vec<String>,
    /// `none`, `required`, `approved`, `changes_requested`: the pull request's review state now.
    pub review: Option<String>,
    /// Logins of every event: what `touched-by:` asks.
    pub actors: Vec<String>,
    /// Whether an issue is linked to a pull request, or the other way round (`closes #12`, connected events).
    pub linked: bool,
    /// Comments on the conversation.
    pub comments: u32,
    /// Reviews.
    pub reviews: u32,
    /// Review comments.
    pub review_comments: u32,
    /// Reactions on the item.
    pub reactions: u32,
    /// Reactions and comments.
    pub interactions: u32,
    /// People who said something, the author included, bots left out.
    pub participants: u32,
    /// How often it was reopened.
    pub reopens: u32,
    /// Computed metrics, hours; none where unknown. Their definitions stand in `_docs/available-data.md`.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// How many comment documents there are.
    pub comment_documents: u32,
    /// How many event documents there are.
    pub event_documents: u32,
    /// How many interval documents there are.
    pub interval_documents: u32,
    /// The record's revision.
    pub revision: Revision,
    /// When the record was fetched.
    pub fetched_at: Timestamp,
    /// What GitHub says and no other field has.
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    pub extra: Extra,
}

impl ItemDocument {
    /// Which item this is.
    pub fn id(&self) -> ItemId {
        ItemId { repository: self.repository_id, number: self.number }
    }
}

/// Computed metrics of an item. Hours; none where it did not happen or cannot be known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// First comment, review or review comment by a human other than the author.
    pub h_first_response: Option<f32>,
    /// The same by an owner, member or collaborator.
    pub h_first_maintainer_response: Option<f32>,
    /// First label, assignee or milestone set by a human other than the author.
    pub h_to_triage: Option<f32>,
    /// First close.
    pub h_to_close: Option<f32>,
    /// Merge.
    pub h_to_merge: Option<f32>,
    /// First review by a human other than the author.
    pub h_to_first_review: Option<f32>,
    /// Sum of all open spans that ended.
    pub h_open_total: Option<f32>,
    /// Who has to act: `author` or `maintainers`; none when closed.
    pub waiting_on: Option<WaitingOn>,
}

/// Who has to act next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitingOn {
    /// A maintainer other than the author spoke last, bots left out.
    Author,
    /// Somebody else spoke last, or nobody yet.
    Maintainers,
}

/// A comment, review or review comment: alias `gharvest-comments`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommentDocument {
    /// `{repository_id}:{number}:c{ordinal}`.
    pub key: String,
    /// The item's key.
    pub item: String,
    /// The numeric id.
    pub repository_id: RepositoryId,
    /// `owner/name` now.
    pub repository: String,
    /// The item's number.
    pub number: u64,
    /// The item's kind.
    pub kind: Kind,
    /// The item's title.
    pub title: String,
    /// The thread is a tombstone.
    pub deleted: bool,
    /// Seen only by who may read the repository.
    pub private: bool,
    /// `comment`, `review` or `review_comment`.
    pub part: String,
    /// GitHub's id of it.
    pub id: Option<u64>,
    /// Who wrote it.
    pub author: Option<String>,
    /// Written by a bot.
    pub author_is_bot: bool,
    /// GitHub's `author_association`.
    pub author_association: Option<String>,
    /// The text, HTML comments left out.
    pub body: String,
    /// `approved`, `changes_requested`, `commented`, `dismissed`, for a review.
    pub review_state: Option<String>,
    /// The file, for a review comment.
    pub path: Option<String>,
    /// Reactions on it.
    pub reactions: u32,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it was last edited.
    pub updated_at: Option<Timestamp>,
    /// The record's revision.
    pub revision: Revision,
    /// What GitHub says and no other field has.
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    pub extra: Extra,
}

/// A timeline event: alias `gharvest-events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventDocument {
    /// `{repository_id}:{number}:e{ordinal}`.
    pub key: String,
    /// The item's key.
    pub item: String,
    /// The numeric id.
    pub repository_id: RepositoryId,
    /// `owner/name` now.
    pub repository: String,
    /// The item's number.
    pub number: u64,
    /// The item's kind.
    pub kind: Kind,
    /// The thread is a tombstone.
    pub deleted: bool,
    /// Seen only by who may read the repository.
    pub private: bool,
    /// GitHub's event name, whatever it is.
    pub event: String,
    /// Who did it.
    pub actor: Option<String>,
    /// Done by a bot.
    pub actor_is_bot: bool,
    /// The label of `labeled` and `unlabeled`.
    pub label: Option<String>,
    /// The assignee, the reviewer asked, the milestone, the new title, the commit: what the event is about.
    pub value: Option<String>,
    /// When. The previous event's time where GitHub gives none.
    pub created_at: Timestamp,
    /// The record's revision.
    pub revision: Revision,
    /// What GitHub says and no other field has.
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    pub extra: Extra,
}

/// Something that was true from one instant to another: alias `gharvest-intervals`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntervalDocument {
    /// `{repository_id}:{number}:i{ordinal}`.
    pub key: String,
    /// The item's key.
    pub item: String,
    /// The numeric id.
    pub repository_id: RepositoryId,
    /// `owner/name` now.
    pub repository: String,
    /// The item's number.
    pub number: u64,
    /// The item's kind.
    pub kind: Kind,
    /// The thread is a tombstone.
    pub deleted: bool,
    /// Seen only by who may read the repository.
    pub private: bool,
    /// `state`, `label`, `assignee`, `milestone`, `title`, `draft`, `locked`.
    pub dimension: String,
    /// `open`, `closed`, `merged`; the label, login, milestone or title; `true` for draft and locked.
    pub value: String,
    /// The value's name now, where it was renamed since: labels are matched by the name then and the name now.
    pub value_now: Option<String>,
    /// Since when, inclusive.
    pub from: Timestamp,
    /// Until when, exclusive; open spans have none.
    pub to: Option<Timestamp>,
    /// How long it lasted, hours; none while it lasts.
    pub hours: Option<f32>,
    /// Who began it.
    pub by: Option<String>,
    /// An end of it was concluded, not told by an event.
    pub inferred: bool,
    /// The record's revision.
    pub revision: Revision,
}

/// Counts at the last instant of a UTC day: alias `gharvest-daily`, id `{repository_id}:d:{day}:{dimension}:{hash}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DailyDocument {
    /// The document's id.
    pub key: String,
    /// The numeric id.
    pub repository_id: RepositoryId,
    /// `owner/name` now.
    pub repository: String,
    /// Seen only by who may read the repository.
    pub private: bool,
    /// `2026-11-21`.
    pub day: String,
    /// `all`, `label`, `assignee`, `milestone`.
    pub dimension: String,
    /// The value; empty for `all`.
    pub value: String,
    /// Issue or pull request.
    pub kind: Kind,
    /// Open at the end of the day, with that value.
    pub open: u32,
    /// Opened on the day.
    pub opened: u32,
    /// Closed on the day, merged ones included.
    pub closed: u32,
    /// Merged on the day.
    pub merged: u32,
    /// Reopened on the day.
    pub reopened: u32,
    /// The repository's daily version.
    pub version: u64,
}

/// A repository: alias `gharvest-repositories`, id `{repository_id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RepositoryDocument {
    /// The document's id.
    pub key: String,
    /// The numeric id.
    pub repository_id: RepositoryId,
    /// `owner/name` now.
    pub repository: String,
    /// Seen only by who may read it.
    pub private: bool,
    /// Archived on GitHub.
    pub archived: bool,
    /// GitHub's description.
    pub description: Option<String>,
    /// Topics.
    pub topics: Vec<String>,
    /// The main language.
    pub language: Option<String>,
    /// Stars.
    pub stars: u64,
    /// Forks.
    pub forks: u64,
    /// Open issues and pull requests by GitHub's count.
    pub open_items: u64,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it was last pushed to.
    pub pushed_at: Option<Timestamp>,
    /// When it was last fetched.
    pub fetched_at: Timestamp,
    /// The version to compare.
    pub version: u64,
}

/// A release or changelog entry: alias `gharvest-releases`, id `{repository_id}:r:{release id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseDocument {
    /// The document's id.
    pub key: String,
    /// The numeric id.
    pub repository_id: RepositoryId,
    /// `owner/name` now.
    pub repository: String,
    /// Seen only by who may read it.
    pub private: bool,
    /// The tag.
    pub tag: String,
    /// The name.
    pub name: Option<String>,
    /// The notes.
    pub body: String,
    /// Who published it.
    pub author: Option<String>,
    /// Marked as not for production.
    pub prerelease: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was published.
    pub published_at: Option<Timestamp>,
    /// The version to compare.
    pub version: u64,
}

/// Fields that say which version a document is of, not what it says.
const VERSION_FIELDS: [&str; 2] = ["revision", "fetched_at"];

/// The digest of one document as an index holds it: SHA-256 of its canonical JSON (keys sorted, no blanks) without
/// `revision` and `fetched_at`, hex.
///
/// Numbers must be those of the document: an `f32` printed to text and read as JSON is another number, so an engine
/// that stores text reads it as the document's type first, and uses [`digest`].
pub fn document_digest(document: &Value) -> String {
    digest_of(document.clone())
}

fn digest_of(mut value: Value) -> String {
    if let Value::Object(fields) = &mut value {
        fields.retain(|name, _| !VERSION_FIELDS.contains(&name.as_str()));
    }
    value.sort_all_objects();
    hex::encode(ring::digest::digest(&ring::digest::SHA256, value.to_string().as_bytes()))
}

/// The same of a document as it was rendered.
pub fn digest(document: &impl Serialize) -> String {
    // By way of the text, as an index stores it: a value made directly would widen the digits of an `f32`.
    let text = serde_json::to_string(document).expect("documents have text keys and plain values");
    digest_of(serde_json::from_str(&text).expect("JSON just written"))
}
