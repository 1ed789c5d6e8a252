//! A thread between its answer and its turn: compressed text, and the few facts that further requests need.

use std::{collections::BTreeMap, sync::Arc};

use gharvest_model::RepositoryId;
use serde_json::{Value, json, value::RawValue};

use super::{
    Listed, ThreadParts, Wanted,
    events::EventType,
    shape::{self, Place, has_reactions},
    tree,
};
use crate::packed::Packed;

/// Details of entries as text, by the id that was asked for.
pub(super) type Details = BTreeMap<String, Box<RawValue>>;

/// A thread as it came, before its shape is REST's.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) wanted: Wanted,
    /// GraphQL's repository.
    repository: Arc<Value>,
    /// With the first page of its timeline.
    node: Packed<Value>,
    /// Nodes with the further pages.
    pages: Vec<Packed<Value>>,
    pub(super) is_pull: bool,
    /// GraphQL's, to be compared with that of later pages.
    updated_at: Value,
    /// How many entries GraphQL counts.
    pub(super) count: Option<u64>,
    /// The cursor of the timeline's next page.
    pub(super) next: Option<String>,
    /// That page could not be had, entries came or went meanwhile, or REST's pages are cheaper.
    pub(super) stuck: bool,
    entries: Seen,
    own_id: Option<String>,
    has_reactions: bool,
}

/// What was seen of the entries so far.
#[derive(Debug, Default)]
struct Seen {
    /// Why the timeline goes by REST, if one of them says so.
    rest: Option<String>,
    /// The node ids of which more must be known.
    details: Vec<String>,
    /// Whether somebody was asked for a review.
    has_requests: bool,
}

impl Seen {
    fn look_at(&mut self, entries: &[Value], knows_comments: bool) {
        for entry in entries {
            self.rest = self.rest.take().or_else(|| needs_rest(entry, knows_comments));
            self.details.extend(id_of_detail(entry).map(str::to_owned));
            self.has_requests |= entry["__typename"] == "ReviewRequestedEvent";
        }
    }
}

impl Held {
    /// A thread from its node, which is also given as the text that it was read from.
    pub(super) fn new(wanted: Wanted, repository: Arc<Value>, text: &RawValue, node: Value) -> Self {
        let mut node = node;
        let Page { entries, count, next } = Page::take(&mut node);
        let mut seen = Seen::default();
        seen.look_at(&entries, wanted.knows_comments());
        Self {
            repository,
            node: Packed::of_text(text.get()),
            pages: Vec::new(),
            is_pull: node["__typename"] == "PullRequest",
            updated_at: node["updatedAt"].take(),
            count,
            next,
            stuck: false,
            entries: seen,
            own_id: node["id"].as_str().map(str::to_owned),
            has_reactions: has_reactions(&node["reactionGroups"]),
            wanted,
        }
    }

    /// Takes the next page of the timeline; one that does not fit those before leaves the thread stuck.
    pub(super) fn take_page(&mut self, text: Option<&RawValue>) {
        let mut node = text.map(tree).unwrap_or_default();
        let Page { entries, count, next } = Page::take(&mut node);
        let is_as_before = count == self.count && node["updatedAt"] == self.updated_at;
        match text {
            Some(text) if !entries.is_empty() && next != self.next && is_as_before => {
                self.entries.look_at(&entries, self.wanted.knows_comments());
                self.pages.push(Packed::of_text(text.get()));
                self.next = next;
            }
            _ => self.stuck = true,
        }
    }

    /// How many bytes are held.
    pub(super) fn size(&self) -> usize {
        let older = self.wanted.listed.iter().flat_map(|listed| &listed.older_comments);
        let ids = self.entries.details.iter().chain(older).map(String::len);
        self.node.size() + self.pages.iter().map(Packed::size).chain(ids).sum::<usize>()
    }

    /// Whether the timeline goes on, and is wanted.
    pub(super) fn is_long(&self) -> bool {
        self.next.is_some() && self.rest_timeline().is_none()
    }

    /// Why the whole thread goes by REST, if it does: without its issue object the timeline alone is not enough.
    pub(super) fn by_rest(&self) -> Option<&str> {
        self.rest_timeline().filter(|_| self.wanted.listed.is_none())
    }

    /// Why the timeline goes by REST, if it does.
    fn rest_timeline(&self) -> Option<&str> {
        let stuck = "a page of its timeline fails, it changes while it is read, or REST's pages are cheaper";
        if self.stuck { Some(stuck) } else { self.entries.rest.as_deref() }
    }

    /// Whether somebody may be asked for a review: no event says so, and then nobody is, or the events are not known.
    fn may_have_requests(&self) -> bool {
        self.is_pull && (self.rest_timeline().is_some() || self.entries.has_requests)
    }

    /// The node ids of which more must be known.
    pub(super) fn details(&self) -> impl Iterator<Item = &str> {
        let is_wanted = self.by_rest().is_none();
        let entries = if self.rest_timeline().is_some() { &[] } else { self.entries.details.as_slice() };
        let own = self.own_id.as_ref().filter(|_| self.has_reactions || self.may_have_requests());
        let comments = self.wanted.listed.iter().flat_map(|listed| &listed.older_comments);
        entries.iter().chain(own).chain(comments).filter(move |_| is_wanted).map(String::as_str)
    }

    /// The thread in REST's shape; the error is the reason for going by REST.
    pub(super) fn shaped(&self, api: String, details: &Details) -> Result<ThreadParts, String> {
        let mut node = self.node.open();
        let mut entries = Page::take(&mut node).entries;
        for page in &self.pages {
            entries.extend(Page::take(&mut page.open()).entries);
        }
        if self.rest_timeline().is_some() {
            entries.clear();
        }
        self.fill_in(&mut node, &mut entries, details)?;
        let repository = (*self.repository).clone();
        let id = repository["databaseId"].as_u64().map(RepositoryId);
        let place = Place { api, repository, number: self.wanted.number, pull: self.is_pull };
        let comments = self.wanted.listed.as_ref().and_then(|listed| comments_now(listed, details, &place));
        let timeline = self.rest_timeline().is_none().then(|| shaped_entries(entries, &place, comments.as_deref()));
        let known = self.wanted.listed.as_ref().map(|listed| listed.issue());
        let issue_is_graphql = known.is_none();
        let issue = known.unwrap_or_else(|| place.issue_object(&node, timeline.as_deref().unwrap_or_default()));
        let pull = place.pull.then(|| place.pull_object(&issue, &node));
        let pull = pull.map(|pull| with_counts(pull, timeline.as_deref(), comments.as_deref()));
        let none = node["reviewThreads"]["totalCount"] == 0;
        let review_comments = comments.or_else(|| none.then(Vec::new));
        Ok(ThreadParts { repository: id, issue, issue_is_graphql, timeline, pull, review_comments })
    }

    /// Puts details where they belong; the error is the reason for going by REST.
    fn fill_in(&self, node: &mut Value, entries: &mut [Value], details: &Details) -> Result<(), String> {
        let detail = |id: &Value, key: &str| {
            let detail = id.as_str().and_then(|id| details.get(id)).map(|detail| tree(detail)[key].take());
            detail.filter(|detail| !detail.is_null()).ok_or_else(|| format!("its {key} cannot be read"))
        };
        for entry in entries {
            if entry["__typename"] == "PullRequestCommit" {
                entry["prCommit"]["parents"] = detail(&entry["prCommit"]["id"], "parents")?;
            } else if entry["__typename"] == "PullRequestReviewThread" && is_old_thread(&entry["id"]) {
                entry["comments"] = detail(&entry["id"], "comments")?;
            } else if has_reactions(&entry["reactionGroups"]) {
                entry["reactionGroups"] = detail(&entry["id"], "reactionGroups")?;
            }
        }
        if self.has_reactions {
            node["reactionGroups"] = detail(&node["id"], "reactionGroups")?;
        }
        if self.may_have_requests() {
            node["reviewRequests"] = detail(&node["id"], "reviewRequests")?;
        }
        Ok(())
    }
}

/// All review comments, if they are known: of older ones those that are still there, as they are now.
fn comments_now(listed: &Listed, details: &Details, place: &Place) -> Option<Vec<Value>> {
    let mut comments = listed.review_comments()?;
    if !listed.older_comments.is_empty() {
        comments.retain_mut(|comment| match comment["node_id"].as_str().and_then(|id| details.get(id)) {
            Some(detail) => {
                place.refresh(comment, &tree(detail));
                true
            }
            None => false,
        });
    }
    Some(comments)
}

/// Whether a node has a timeline with entries, or none: an error may leave them out, and say so anywhere.
pub(super) fn has_entries(node: &Value) -> bool {
    ["timelineItems", "prItems"].iter().any(|key| node[*key]["nodes"].is_array())
}

/// A page of a timeline.
struct Page {
    entries: Vec<Value>,
    /// How many entries GraphQL counts on all pages.
    count: Option<u64>,
    /// The cursor of the next page.
    next: Option<String>,
}

impl Page {
    /// Takes the timeline out of a node.
    fn take(node: &mut Value) -> Self {
        let key = if node.get("prItems").is_some() { "prItems" } else { "timelineItems" };
        let mut connection = node.get_mut(key).map(Value::take).unwrap_or_default();
        let next = match connection["pageInfo"]["hasNextPage"].as_bool() {
            Some(true) => connection["pageInfo"]["endCursor"].as_str().map(str::to_owned),
            _ => None,
        };
        let count = connection["totalCount"].as_u64();
        let entries = connection.get_mut("nodes").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
        Self { entries, count, next }
    }
}

/// The timeline in REST's shape. Each entry goes as its shape comes.
fn shaped_entries(entries: Vec<Value>, place: &Place, comments: Option<&[Value]>) -> Vec<Value> {
    let comments = comments.unwrap_or_default();
    let shaped = |entry: Value| match entry["__typename"].as_str() {
        Some("PullRequestReviewThread") if is_old_thread(&entry["id"]) => Some(shape::line_comments(&entry, comments)),
        _ => place.entry(type_of(&entry)?, &entry),
    };
    entries.into_iter().filter_map(shaped).collect()
}

/// What the counts of a pull request's object follow from: GitHub's own count of commits is that of the timeline's.
fn with_counts(mut pull: Value, timeline: Option<&[Value]>, review_comments: Option<&[Value]>) -> Value {
    if let Some(timeline) = timeline {
        pull["commits"] = json!(timeline.iter().filter(|entry| entry["event"] == "committed").count());
    }
    if let Some(comments) = review_comments {
        pull["review_comments"] = json!(comments.len());
    }
    pull
}

fn type_of(entry: &Value) -> Option<&'static EventType> {
    EventType::of(entry["__typename"].as_str()?)
}

/// The node id of which more must be known, if an entry has one.
fn id_of_detail(entry: &Value) -> Option<&str> {
    match entry["__typename"].as_str() {
        Some("PullRequestCommit") => entry["prCommit"]["id"].as_str(),
        Some("PullRequestReviewThread") if is_old_thread(&entry["id"]) => entry["id"].as_str(),
        _ if has_reactions(&entry["reactionGroups"]) => entry["id"].as_str(),
        _ => None,
    }
}

/// Why a thread with this entry goes by REST, if it does.
fn needs_rest(entry: &Value, knows_comments: bool) -> Option<String> {
    let name = entry["__typename"].as_str().unwrap_or("nothing");
    match type_of(entry) {
        None => Some(format!("its timeline has `{}`, which is not known here", crate::base::cut(name))),
        Some(kind) if kind.needs_rest(entry) => Some(format!("GraphQL does not tell enough of `{name}`")),
        // Of the threads of old reviews REST shows the comments; their ids have the old form with a version.
        Some(kind) if kind.graphql == "PullRequestReviewThread" && is_old_thread(&entry["id"]) && !knows_comments => {
            Some("GraphQL does not tell enough of comments without a review".to_owned())
        }
        Some(_) => None,
    }
}

fn is_old_thread(id: &Value) -> bool {
    let id = id.as_str().and_then(crate::node_id::NodeId::parse);
    id.is_some_and(|id| id.parts.len() == 2 && id.type_name == "PullRequestReviewThread")
}
