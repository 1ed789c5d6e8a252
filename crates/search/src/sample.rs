//! Documents for tests, scenarios and benchmarks, from the few fields that matter to each.

use gharvest_model::{Kind, RepositoryId, Revision};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::document::{
    CommentDocument, EventDocument, Extra, IntervalDocument, ItemDocument, Metrics, ThreadDocuments, Version,
    thread_digest,
};

/// A thread by what differs from a plain one: fields of the documents as they are named there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Fields of the item; `number` at least.
    pub item: Map<String, Value>,
    /// Fields of its comments, reviews and review comments.
    #[serde(default)]
    pub comments: Vec<Map<String, Value>>,
    /// Fields of its events.
    #[serde(default)]
    pub events: Vec<Map<String, Value>>,
    /// Fields of its intervals.
    #[serde(default)]
    pub intervals: Vec<Map<String, Value>>,
}

/// A plain item: an open public issue of repository 1, `octo/box`, with a title and nothing more.
pub fn item(number: u64) -> ItemDocument {
    let repository_id = RepositoryId(1);
    let created_at = "2024-01-01T00:00:00Z".parse().expect("a time");
    ItemDocument {
        key: format!("{repository_id}:{number}"),
        repository_id,
        repository: "octo/box".into(),
        number,
        kind: Kind::Issue,
        state: "open".into(),
        state_reason: None,
        draft: false,
        locked: false,
        deleted: false,
        private: false,
        archived: false,
        title: format!("Item {number}"),
        body: String::new(),
        author: None,
        author_is_bot: false,
        author_association: None,
        labels: Vec::new(),
        label_colors: Vec::new(),
        labels_ever: Vec::new(),
        assignees: Vec::new(),
        milestone: None,
        created_at,
        updated_at: created_at,
        closed_at: None,
        merged_at: None,
        closed_by: None,
        head: None,
        base: None,
        refs: Vec::new(),
        shas: Vec::new(),
        paths: Vec::new(),
        mentions: Vec::new(),
        commenters: Vec::new(),
        reviewers: Vec::new(),
        review_requested: Vec::new(),
        review: None,
        actors: Vec::new(),
        linked: false,
        comments: 0,
        reviews: 0,
        review_comments: 0,
        reactions: 0,
        interactions: 0,
        participants: 0,
        reopens: 0,
        metrics: Metrics::default(),
        comment_documents: 0,
        event_documents: 0,
        interval_documents: 0,
        revision: Revision(1),
        fetched_at: created_at,
        extra: Extra::default(),
    }
}

/// A plain comment of an item.
pub fn comment(item: &ItemDocument, ordinal: usize, body: &str) -> CommentDocument {
    CommentDocument {
        key: format!("{}:c{ordinal}", item.key),
        item: item.key.clone(),
        repository_id: item.repository_id,
        repository: item.repository.clone(),
        number: item.number,
        kind: item.kind,
        title: item.title.clone(),
        deleted: item.deleted,
        private: item.private,
        part: "comment".into(),
        id: Some(item.number * 1000 + ordinal as u64),
        author: None,
        author_is_bot: false,
        author_association: None,
        body: body.to_owned(),
        review_state: None,
        path: None,
        reactions: 0,
        created_at: item.created_at,
        updated_at: None,
        revision: item.revision,
        extra: Extra::default(),
    }
}

/// A plain event of an item.
pub fn event(item: &ItemDocument, ordinal: usize, name: &str) -> EventDocument {
    EventDocument {
        key: format!("{}:e{ordinal}", item.key),
        item: item.key.clone(),
        repository_id: item.repository_id,
        repository: item.repository.clone(),
        number: item.number,
        kind: item.kind,
        deleted: item.deleted,
        private: item.private,
        event: name.to_owned(),
        actor: None,
        actor_is_bot: false,
        label: None,
        value: None,
        created_at: item.created_at,
        revision: item.revision,
        extra: Extra::default(),
    }
}

/// An interval of an item, from its creation and still open.
pub fn interval(item: &ItemDocument, ordinal: usize, dimension: &str, value: &str) -> IntervalDocument {
    IntervalDocument {
        key: format!("{}:i{ordinal}", item.key),
        item: item.key.clone(),
        repository_id: item.repository_id,
        repository: item.repository.clone(),
        number: item.number,
        kind: item.kind,
        deleted: item.deleted,
        private: item.private,
        dimension: dimension.to_owned(),
        value: value.to_owned(),
        value_now: None,
        from: item.created_at,
        to: None,
        hours: None,
        by: None,
        inferred: false,
        revision: item.revision,
    }
}

/// A thread of one version; its digest covers the documents.
pub fn thread(
    mut item: ItemDocument,
    comments: Vec<CommentDocument>,
    intervals: Vec<IntervalDocument>,
    version: u64,
) -> ThreadDocuments {
    item.comment_documents = comments.len() as u32;
    item.interval_documents = intervals.len() as u32;
    let mut thread = ThreadDocuments {
        item,
        comments,
        events: Vec::new(),
        intervals,
        version: Version(version),
        digest: String::new(),
    };
    thread.digest = thread_digest(&thread.digests());
    thread
}

impl Sample {
    /// The documents. An item without an `updated_at` was last updated when it was made.
    ///
    /// # Panics
    /// When a field has a value that the document cannot hold: a mistake in the test.
    pub fn documents(&self, version: u64) -> ThreadDocuments {
        let number = self.item.get("number").and_then(Value::as_u64).expect("a sample names its number");
        let mut fields = self.item.clone();
        let created = fields.get("created_at").cloned();
        if let Some(created) = created {
            fields.entry("updated_at").or_insert(created);
        }
        let mut plain = item(number);
        plain.repository_id = RepositoryId(fields.get("repository_id").and_then(Value::as_u64).unwrap_or(1));
        plain.key = format!("{}:{number}", plain.repository_id);
        let item: ItemDocument = overlay(plain, &fields);
        let comments = (0..).zip(&self.comments).map(|(ordinal, fields)| overlay(comment(&item, ordinal, ""), fields));
        let events = (0..).zip(&self.events).map(|(ordinal, fields)| overlay(event(&item, ordinal, ""), fields));
        let intervals =
            (0..).zip(&self.intervals).map(|(ordinal, fields)| overlay(interval(&item, ordinal, "", ""), fields));
        let (comments, events, intervals) = (comments.collect(), events.collect::<Vec<_>>(), intervals.collect());
        let mut thread = thread(item, comments, intervals, version);
        thread.item.event_documents = events.len() as u32;
        thread.events = events;
        thread.digest = thread_digest(&thread.digests());
        thread
    }
}

/// A document with some fields replaced.
fn overlay<T: Serialize + DeserializeOwned>(document: T, fields: &Map<String, Value>) -> T {
    let mut value = serde_json::to_value(document).expect("documents have text keys only");
    for (name, field) in fields {
        assert!(value.get(name).is_some(), "a sample has no field `{name}`");
        value[name] = field.clone();
    }
    serde_json::from_value(value).unwrap_or_else(|error| panic!("a sample's fields {fields:?}: {error}"))
}

/// A time of tests.
///
/// # Panics
/// When it is none.
pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}
