//! The record: the archived JSON of one thread.
//!
//! One JSON object holds GitHub's own objects untouched (`issue`, `timeline`, `pull`, `review_comments`), what the
//! mirror knows about them (revision, times, origin), and what GitHub will never say again (`kept`, `history`).
//! Readers ignore fields that they do not know: they are kept in [`Record::unknown`] and written back.
//!
//! A tree takes many times the memory of its text, and nearly all of a record is in its long lists. Whoever needs them
//! only once reads a [`RecordText`] instead: of its lists each entry is still text.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use crate::ids::{ItemId, Kind, RepositoryId, RepositoryName};

/// A record's version: 1 at the first write, one more at each stored change; 0 means that nothing is stored yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u32);

impl Revision {
    /// Nothing is stored yet.
    pub const NONE: Self = Self(0);

    /// The revision that the next stored change gets.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The format version that this code writes.
pub const SCHEMA: u32 = 1;

/// GitHub's REST API version that records are fetched with. `2026-03-10` drops `assignee` and `merge_commit_sha`.
pub const API_VERSION: &str = "2022-11-28";

/// A record of which the entries of the long lists are text, borrowed from the text of the whole.
pub type RecordText<'a> = Record<&'a RawValue>;

/// The archived JSON of one thread. The entries of its long lists are trees, unless `E` says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record<E = Value> {
    /// The format version, [`SCHEMA`] when we wrote it.
    pub schema: u32,
    /// The repository it belongs to, under the name it had at this revision.
    pub repository: RecordRepository,
    /// The item's number.
    pub number: u64,
    /// An issue or a pull request.
    pub kind: Kind,
    /// The version of this record.
    #[serde(default)]
    pub revision: Revision,
    /// Whether GitHub still shows the item.
    pub state: RecordState,
    /// Who may see it.
    #[serde(default)]
    pub visibility: Visibility,
    /// When this revision was fetched.
    pub fetched_at: Timestamp,
    /// When the stored content last changed.
    pub changed_at: Timestamp,
    /// By which way each part came.
    #[serde(default)]
    pub origin: Origins,
    /// The REST API version in use when it was fetched.
    #[serde(default = "default_api_version")]
    pub api_version: String,
    /// ETags by part (`issue`, `pull`), for conditional requests.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub etags: Map<String, Value>,
    /// GitHub's issue object. Absent only with origin import, until the first fetch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issue: Option<Value>,
    /// GitHub's timeline: comments are its `commented` entries, reviews its `reviewed` ones.
    #[serde(default = "Vec::new")]
    pub timeline: Vec<E>,
    /// GitHub's pull request object, for a pull request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull: Option<Value>,
    /// GitHub's review comments, for a pull request.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub review_comments: Vec<E>,
    /// Facts of webhooks that GitHub will never say again, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Fact>,
    /// Older titles, bodies and comments that were seen, oldest first; bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<OlderText>,
    /// Where the item is a placeholder, what stands behind it in a private repository: `repository` (`owner/name`),
    /// `number`, and `issue`, GitHub's object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<Value>,
    /// Fields of a newer version of this program, written back as they were.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

fn default_api_version() -> String {
    API_VERSION.to_owned()
}

impl Record {
    /// A record of a thread just fetched, with nothing in it yet and [`Revision::NONE`].
    pub fn new(repository: RecordRepository, number: u64, kind: Kind, fetched_at: Timestamp) -> Self {
        Self {
            schema: SCHEMA,
            repository,
            number,
            kind,
            revision: Revision::NONE,
            state: RecordState::Present,
            visibility: Visibility::Public,
            fetched_at,
            changed_at: fetched_at,
            origin: Origins::default(),
            api_version: default_api_version(),
            etags: Map::new(),
            issue: None,
            timeline: Vec::new(),
            pull: None,
            review_comments: Vec::new(),
            kept: Vec::new(),
            history: Vec::new(),
            twin: None,
            unknown: Map::new(),
        }
    }
}

impl<E> Record<E> {
    /// Which item this is.
    pub fn id(&self) -> ItemId {
        ItemId { repository: self.repository.id, number: self.number }
    }

    /// The object that carries title, body, state and people: `issue`, or `pull` where an import had only that.
    pub fn core(&self) -> Option<&Value> {
        self.issue.as_ref().or(self.pull.as_ref())
    }

    /// Who may see it while its repository is this visible: what a private twin says is private everywhere.
    pub fn visibility_in(&self, repository: Visibility) -> Visibility {
        if self.twin.is_some() { Visibility::Private } else { repository }
    }
}

impl<E: Clone> Record<E> {
    /// The record as it is read by who may see it: with the title and body of its private twin, if it has one.
    pub fn shown(&self) -> Cow<'_, Self> {
        let Some(twin) = self.twin.as_ref().and_then(|twin| twin.get("issue")) else { return Cow::Borrowed(self) };
        let mut shown = self.clone();
        if let Some(Value::Object(core)) = shown.issue.as_mut().or(shown.pull.as_mut()) {
            let texts = ["title", "body"].into_iter().filter_map(|name| Some((name, twin.get(name)?)));
            core.extend(texts.map(|(name, text)| (name.to_owned(), text.clone())));
        }
        Cow::Owned(shown)
    }
}

/// The repository as a record names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordRepository {
    /// GitHub's numeric id.
    pub id: RepositoryId,
    /// The name at the time of the revision.
    pub full_name: RepositoryName,
}

/// Whether GitHub still shows an item. Everything but `Present` makes the record a tombstone; its content stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum RecordState {
    /// GitHub shows it.
    Present,
    /// GitHub said that it was deleted.
    Deleted,
    /// GitHub does not show it, without saying why.
    Hidden,
    /// It moved.
    Transferred {
        /// Where to, as far as known: `owner/name#12`, or the address GitHub gave.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
}

impl RecordState {
    /// Whether the item is gone from GitHub.
    pub fn is_tombstone(&self) -> bool {
        *self != Self::Present
    }
}

/// Who may see a thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Everybody.
    #[default]
    Public,
    /// Only who may read its repository.
    Private,
}

/// By which way a part of a record came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// GitHub's REST API.
    Rest,
    /// GitHub's GraphQL API; what it cannot give is listed in the docs.
    Graphql,
    /// Files of github-metadata-backup.
    Import,
}

/// The origin of each part of a record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origins {
    /// Of `issue`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issue: Option<Origin>,
    /// Of `timeline`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Origin>,
    /// Of `pull`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull: Option<Origin>,
    /// Of `review_comments`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_comments: Option<Origin>,
}

/// What a webhook said and REST will never say again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// The delivery's GUID (`X-GitHub-Delivery`): merging the same fact twice changes nothing.
    pub delivery: String,
    /// The event, as in `X-GitHub-Event`.
    pub event: String,
    /// The payload's `action`.
    #[serde(default)]
    pub action: String,
    /// When it was received.
    pub received_at: Timestamp,
    /// Who did it: `sender.login`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// What GitHub said: `changes`, and what else only this payload has.
    pub facts: Value,
}

/// An older text of something that was edited: between two visits, or as GitHub's edit history tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OlderText {
    /// `title`, `body`, or the node id of the comment or review.
    pub of: String,
    /// The text as it was.
    pub text: String,
    /// When a newer text was first seen; when it was written, where GitHub told so.
    pub replaced_at: Timestamp,
    /// Who replaced it, by login, where GitHub told so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// `graphql` where GitHub's edit history told it; none where the mirror saw it itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

impl OlderText {
    /// A text that the mirror saw itself, and then a newer one.
    pub fn seen(of: &str, text: &str, replaced_at: Timestamp) -> Self {
        Self { of: of.to_owned(), text: text.to_owned(), replaced_at, by: None, origin: None }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_private_twin_stands_in_for_the_placeholder_and_is_private_everywhere() {
        let repository = RecordRepository { id: RepositoryId(7), full_name: "a/b".parse().unwrap() };
        let mut record = Record::new(repository, 3, Kind::Issue, Timestamp::UNIX_EPOCH);
        record.issue = Some(json!({"title": "Wait.", "body": null, "state": "open"}));
        assert_eq!(*record.shown(), record);
        assert_eq!(record.visibility_in(Visibility::Public), Visibility::Public);
        let issue = json!({"title": "What is so", "body": "All of it", "state": "closed"});
        record.twin = Some(json!({"repository": "a/c", "number": 9, "issue": issue}));
        let shown = json!({"title": "What is so", "body": "All of it", "state": "open"});
        assert_eq!(record.shown().issue, Some(shown));
        assert_eq!(record.visibility_in(Visibility::Public), Visibility::Private);
    }

    #[test]
    fn a_record_keeps_the_fields_it_does_not_know() {
        let text = r#"{"schema":1,"repository":{"id":7,"full_name":"a/b"},"number":3,"kind":"issue","revision":2,
            "state":{"is":"transferred","to":"c/d#9"},"fetched_at":"2026-01-01T00:00:00Z","changed_at":"2026-01-01T00:00:00Z",
            "issue":{"zeta":1,"alpha":{"x":[1,2]}},"timeline":[{"event":"from_the_future"}],"later":{"a":1}}"#;
        let record: Record = serde_json::from_str(text).unwrap();
        assert_eq!(record.unknown["later"]["a"], 1);
        let written = serde_json::to_string(&record).unwrap();
        assert!(written.contains(r#"{"zeta":1,"alpha":{"x":[1,2]}}"#), "GitHub's objects keep their order: {written}");
        assert_eq!(serde_json::from_str::<Record>(&written).unwrap(), record);
        let read: RecordText<'_> = serde_json::from_str(&written).unwrap();
        assert_eq!(read.timeline[0].get(), r#"{"event":"from_the_future"}"#);
        assert_eq!(serde_json::to_string(&read).unwrap(), written, "lists of text are the same record");
    }
}
