//! A record becomes documents.
//!
//! Parsing is lenient: GitHub adds events and leaves out fields, imports lack whole objects, deleted accounts are null.
//! Nothing in a record is an error; what cannot be read is left out, and stays in the archive. Everything that comes
//! from outside is bounded: names at 1 KiB, bodies at 512 KiB, references at 2,000 of each sort, `extra` at 4 KiB.
//!
//! The long lists are read in one pass, an entry at a time: what documents say of it is kept, and GitHub's own object
//! goes before the next one comes. So a thread of any length needs little more memory than its text and its documents.

mod extra;
pub(crate) mod extract;
pub(crate) mod json;
pub(crate) mod text;
pub(crate) mod timeline;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    convert::Infallible,
    mem,
};

use gharvest_model::{
    Kind, Record, RepositoryId, Revision,
    labels::LabelRenames,
    record::{RecordText, Visibility},
};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    document::{
        CommentDocument, EventDocument, IntervalDocument, ItemDocument, Metrics, ReleaseDocument, RepositoryDocument,
        ThreadDocuments, Version, thread_digest,
    },
    intervals::{self, Now},
    metrics::{Facts, hours},
};
use extract::{References, Unique, closed_items};
use json::Person;
use text::without_html_comments;
use timeline::Entry;

/// What documents say that the record does not know.
#[derive(Debug, Clone)]
pub struct RenderContext {
    /// The repository's `owner/name` now.
    pub repository: String,
    /// Whether the repository is archived on GitHub.
    pub archived: bool,
    /// What the repository's labels were called before.
    pub label_renames: LabelRenames,
    /// When the documents are made.
    pub rendered_at: Timestamp,
}

/// The documents of a thread.
pub fn thread(record: &Record, context: &RenderContext) -> ThreadDocuments {
    let Ok(documents) = documents(record, context, |tree| Ok::<_, Infallible>(Cow::Borrowed(tree)));
    documents
}

/// The same of a record whose entries are still text: each is a tree while it is read.
///
/// # Errors
/// An entry that is no JSON.
pub fn thread_of_text(record: &RecordText<'_>, context: &RenderContext) -> serde_json::Result<ThreadDocuments> {
    documents(record, context, |text| serde_json::from_str(text.get()).map(Cow::Owned))
}

fn documents<E: Clone, F>(
    record: &Record<E>,
    context: &RenderContext,
    tree: impl for<'e> Fn(&'e E) -> Result<Cow<'e, Value>, F>,
) -> Result<ThreadDocuments, F> {
    let record = &*record.shown();
    let mut thread = Thread::new(record, context);
    for comment in &record.review_comments {
        thread.read_review_comment(&*tree(comment)?);
    }
    for entry in &record.timeline {
        thread.read_entry(&*tree(entry)?);
    }
    Ok(thread.into_documents())
}

fn length<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

static NOTHING: Value = Value::Null;

/// What all documents of a record have in common, and what was read of its lists so far.
struct Thread<'a> {
    context: &'a RenderContext,
    /// GitHub's issue object, or the pull request where there is only that.
    core: &'a Value,
    pull: &'a Value,
    repository_id: RepositoryId,
    number: u64,
    kind: Kind,
    revision: Revision,
    fetched_at: Timestamp,
    /// When a tombstone was first seen to be one.
    gone_at: Option<Timestamp>,
    private: bool,
    key: String,
    title: String,
    author: Option<Person>,
    created_at: Timestamp,
    updated_at: Timestamp,
    labels: Vec<String>,
    assignees: Vec<String>,
    milestone: Option<String>,
    entries: Vec<Entry>,
    /// Comments and reviews, in the order of the timeline.
    said: Vec<CommentDocument>,
    review_comments: Vec<CommentDocument>,
    /// The ids of review comments.
    known: HashSet<u64>,
    /// A pull request that refers to this issue says that it closes it.
    is_closed_elsewhere: bool,
}

impl<'a> Thread<'a> {
    fn new<E>(record: &'a Record<E>, context: &'a RenderContext) -> Self {
        let core = record.core().unwrap_or(&NOTHING);
        // A record that was fetched before a rename carries the old name.
        let label_now = |name: &str| context.label_renames.name_now(name, record.fetched_at).to_owned();
        let created_at = json::time(core, "/created_at").unwrap_or(record.fetched_at);
        Self {
            context,
            core,
            pull: record.pull.as_ref().unwrap_or(&NOTHING),
            repository_id: record.repository.id,
            number: record.number,
            kind: record.kind,
            revision: record.revision,
            fetched_at: record.fetched_at,
            gone_at: record.state.is_tombstone().then_some(record.changed_at),
            private: record.visibility == Visibility::Private,
            key: format!("{}:{}", record.repository.id, record.number),
            title: json::name(core, "/title").unwrap_or_default(),
            author: json::person(core, "/user"),
            created_at,
            updated_at: json::time(core, "/updated_at").unwrap_or(created_at),
            labels: label_names(core).map(|name| label_now(&name)).collect(),
            assignees: json::list(core, "/assignees").iter().filter_map(|user| json::name(user, "/login")).collect(),
            milestone: json::name(core, "/milestone/title"),
            entries: Vec::with_capacity(record.timeline.len()),
            said: Vec::new(),
            review_comments: Vec::with_capacity(record.review_comments.len()),
            known: HashSet::new(),
            is_closed_elsewhere: false,
        }
    }

    fn read_review_comment(&mut self, value: &Value) {
        if json::number(value, "/id").is_none_or(|id| self.known.insert(id)) {
            self.review_comments.push(self.comment("review_comment", value, self.created_at));
        }
    }

    fn read_entry(&mut self, value: &Value) {
        let entry = Entry::read(value, self.entries.last().map_or(self.created_at, |previous| previous.at));
        match entry.event.as_str() {
            "commented" => self.said.push(self.comment("comment", value, entry.at)),
            "reviewed" => self.said.push(self.comment("review", value, entry.at)),
            // Old threads without a review, and comments on commits; most of them are review comments as well.
            "line-commented" | "commit-commented" => {
                json::list(value, "/comments").iter().for_each(|comment| self.read_review_comment(comment));
            }
            "cross-referenced" => self.is_closed_elsewhere |= self.is_closed_by(&entry, value),
            _ => {}
        }
        self.entries.push(entry);
    }

    /// Whether a cross reference is a pull request's that says it closes this issue.
    fn is_closed_by(&self, entry: &Entry, value: &Value) -> bool {
        let is_pull = value.pointer("/source/issue/pull_request").is_some_and(Value::is_object);
        let Some(source) = entry.subject.as_ref().filter(|_| is_pull && self.kind == Kind::Issue) else { return false };
        let repository = source.split('#').next().unwrap_or_default();
        let own = self.own_reference().to_lowercase();
        closed_items(json::body(value, "/source/issue/body"), repository).any(|item| item.to_lowercase() == own)
    }

    fn into_documents(mut self) -> ThreadDocuments {
        let comments = self.comments();
        let spans = self.spans();
        let mut item = self.item(&comments, &spans);
        let intervals = self.intervals(spans);
        let events = self.events();
        item.comment_documents = length(&comments);
        item.event_documents = length(&events);
        item.interval_documents = length(&intervals);
        let version = Version::new(self.revision, self.context.rendered_at);
        let mut documents = ThreadDocuments { item, comments, events, intervals, version, digest: String::new() };
        documents.digest = thread_digest(&documents.digests());
        documents
    }

    fn is_deleted(&self) -> bool {
        self.gone_at.is_some()
    }

    fn merged_at(&self) -> Option<Timestamp> {
        let merge_event = || self.entries.iter().find(|entry| entry.event == "merged").map(|entry| entry.at);
        json::time(self.pull, "/merged_at")
            .or_else(|| json::time(self.core, "/pull_request/merged_at"))
            .or_else(|| json::flag(self.pull, "/merged").then(merge_event).flatten())
    }

    fn state(&self) -> &'static str {
        let told = self.core.pointer("/state").and_then(Value::as_str);
        if self.merged_at().is_some() {
            "merged"
        } else if told.is_some_and(|state| state.eq_ignore_ascii_case("closed")) {
            "closed"
        } else {
            "open"
        }
    }

    fn is_open(&self) -> bool {
        self.state() == "open"
    }

    fn closed_at(&self) -> Option<Timestamp> {
        json::time(self.core, "/closed_at").filter(|_| !self.is_open())
    }

    /// All that was said, in order of time.
    fn comments(&mut self) -> Vec<CommentDocument> {
        let mut comments = mem::take(&mut self.said);
        comments.append(&mut self.review_comments);
        comments.sort_by_key(|comment| comment.created_at);
        for (ordinal, comment) in comments.iter_mut().enumerate() {
            comment.key = format!("{}:c{ordinal}", self.key);
        }
        comments
    }

    fn comment(&self, part: &str, value: &Value, at: Timestamp) -> CommentDocument {
        let author = json::person(value, "/user").or_else(|| json::person(value, "/actor"));
        CommentDocument {
            key: String::new(),
            item: self.key.clone(),
            repository_id: self.repository_id,
            repository: self.context.repository.clone(),
            number: self.number,
            kind: self.kind,
            title: self.title.clone(),
            deleted: self.is_deleted(),
            private: self.private,
            part: part.into(),
            id: json::number(value, "/id"),
            author_is_bot: author.as_ref().is_some_and(|author| author.is_bot),
            author: author.map(|author| author.login),
            author_association: json::name(value, "/author_association"),
            body: without_html_comments(json::body(value, "/body")),
            review_state: json::name(value, "/state").filter(|_| part == "review").map(|state| state.to_lowercase()),
            path: json::name(value, "/path"),
            reactions: json::count(value, "/reactions/total_count"),
            created_at: json::time(value, "/created_at").unwrap_or(at),
            updated_at: json::time(value, "/updated_at"),
            revision: self.revision,
            extra: extra::of_comment(part, value),
        }
    }

    /// The entries become events.
    fn events(&mut self) -> Vec<EventDocument> {
        let entries = mem::take(&mut self.entries);
        let event = |(ordinal, entry): (usize, Entry)| EventDocument {
            key: format!("{}:e{ordinal}", self.key),
            item: self.key.clone(),
            repository_id: self.repository_id,
            repository: self.context.repository.clone(),
            number: self.number,
            kind: self.kind,
            deleted: self.is_deleted(),
            private: self.private,
            event: entry.event,
            actor_is_bot: entry.actor.as_ref().is_some_and(|actor| actor.is_bot),
            actor: entry.actor.map(|actor| actor.login),
            label: entry.label,
            value: entry.subject,
            created_at: entry.at,
            revision: self.revision,
            extra: entry.extra,
        };
        entries.into_iter().enumerate().map(event).collect()
    }

    fn spans(&self) -> Vec<intervals::Span> {
        let now = Now {
            kind: self.kind,
            author: self.author.as_ref().map(|author| author.login.clone()),
            created_at: self.created_at,
            updated_at: self.updated_at,
            closed_at: self.closed_at(),
            merged_at: self.merged_at(),
            state: self.state(),
            title: &self.title,
            labels: &self.labels,
            assignees: &self.assignees,
            milestone: self.milestone.as_deref(),
            draft: self.is_draft(),
            locked: json::flag(self.core, "/locked"),
            gone_at: self.gone_at,
        };
        intervals::spans(&self.entries, &now, &self.context.label_renames)
    }

    fn intervals(&self, spans: Vec<intervals::Span>) -> Vec<IntervalDocument> {
        let interval = |(ordinal, span): (usize, intervals::Span)| IntervalDocument {
            key: format!("{}:i{ordinal}", self.key),
            item: self.key.clone(),
            repository_id: self.repository_id,
            repository: self.context.repository.clone(),
            number: self.number,
            kind: self.kind,
            deleted: self.is_deleted(),
            private: self.private,
            dimension: span.dimension.into(),
            value: span.value,
            value_now: span.value_now,
            from: span.from,
            to: span.to,
            hours: span.to.map(|to| hours(span.from, to)),
            by: span.by,
            inferred: span.inferred,
            revision: self.revision,
        };
        spans.into_iter().enumerate().map(interval).collect()
    }

    fn is_draft(&self) -> bool {
        json::flag(self.core, "/draft") || json::flag(self.pull, "/draft")
    }

    fn item(&self, comments: &[CommentDocument], spans: &[intervals::Span]) -> ItemDocument {
        let (context, core) = (self.context, self.core);
        let references = self.references(comments);
        let people = People::of(self, comments);
        let count = |part: &str| u32::try_from(comments.iter().filter(|c| c.part == part).count()).unwrap_or(u32::MAX);
        let reactions = json::count(core, "/reactions/total_count");
        ItemDocument {
            key: self.key.clone(),
            repository_id: self.repository_id,
            repository: context.repository.clone(),
            number: self.number,
            kind: self.kind,
            state: self.state().into(),
            state_reason: json::name(core, "/state_reason"),
            draft: self.is_draft(),
            locked: json::flag(core, "/locked"),
            deleted: self.is_deleted(),
            private: self.private,
            archived: context.archived,
            title: self.title.clone(),
            body: without_html_comments(json::body(core, "/body")),
            author: self.author.as_ref().map(|author| author.login.clone()),
            author_is_bot: self.author.as_ref().is_some_and(|author| author.is_bot),
            author_association: json::name(core, "/author_association"),
            labels: self.labels.clone(),
            label_colors: self.label_colors(),
            labels_ever: self.labels_ever(spans),
            assignees: self.assignees.clone(),
            milestone: self.milestone.clone(),
            created_at: self.created_at,
            updated_at: self.updated_at,
            closed_at: self.closed_at(),
            merged_at: self.merged_at(),
            closed_by: self.closed_by(),
            head: json::name(self.pull, "/head/ref"),
            base: json::name(self.pull, "/base/ref"),
            linked: self.is_linked(),
            refs: references.items.into_vec(),
            shas: references.shas.into_vec(),
            paths: references.paths.into_vec(),
            mentions: references.mentions.into_vec(),
            commenters: people.commenters.into_vec(),
            reviewers: people.reviewers.into_vec(),
            review: (self.kind == Kind::PullRequest).then(|| self.review(comments).into()),
            review_requested: self.review_requested(),
            actors: people.actors.into_vec(),
            comments: count("comment"),
            reviews: count("review"),
            review_comments: count("review_comment"),
            reactions,
            interactions: reactions.saturating_add(count("comment")),
            participants: u32::try_from(people.participants.len()).unwrap_or(u32::MAX),
            reopens: u32::try_from(self.entries.iter().filter(|e| e.event == "reopened").count()).unwrap_or(u32::MAX),
            metrics: self.metrics(comments, spans),
            comment_documents: 0,
            event_documents: 0,
            interval_documents: 0,
            revision: self.revision,
            fetched_at: self.fetched_at,
            extra: extra::of_item(core, self.pull),
        }
    }

    fn metrics(&self, comments: &[CommentDocument], spans: &[intervals::Span]) -> Metrics {
        Facts {
            author: self.author.as_ref(),
            created_at: self.created_at,
            closed_at: self.closed_at(),
            merged_at: self.merged_at(),
            is_open: self.is_open(),
            entries: &self.entries,
            comments,
            spans,
        }
        .metrics()
    }

    fn label_colors(&self) -> Vec<String> {
        let color = |label: &Value| {
            let told = json::name(label, "/color").filter(|c| c.len() == 6 && c.bytes().all(|b| b.is_ascii_hexdigit()));
            told.map_or_else(|| NO_COLOR.to_owned(), |color| color.to_ascii_lowercase())
        };
        json::list(self.core, "/labels").iter().filter(|label| label_name(label).is_some()).map(color).collect()
    }

    fn labels_ever(&self, spans: &[intervals::Span]) -> Vec<String> {
        let mut ever = Unique::default();
        ever.extend(self.labels.iter().cloned());
        // An event of a span without length is no interval, and the label was there all the same.
        for entry in self.entries.iter().filter(|entry| entry.event == "labeled") {
            let Some(label) = &entry.label else { continue };
            ever.insert(self.context.label_renames.name_now(label, entry.at));
            ever.insert(label.as_str());
        }
        for span in spans.iter().filter(|span| span.dimension == "label") {
            ever.insert(span.value.as_str());
            ever.extend(span.value_now.clone());
        }
        ever.into_vec()
    }

    fn closed_by(&self) -> Option<String> {
        if self.is_open() {
            return None;
        }
        let told = json::name(self.pull, "/merged_by/login").or_else(|| json::name(self.core, "/closed_by/login"));
        told.or_else(|| {
            let ends = |entry: &&Entry| matches!(entry.event.as_str(), "closed" | "merged");
            self.entries.iter().rfind(ends).and_then(|entry| Some(entry.actor.as_ref()?.login.clone()))
        })
    }

    fn references(&self, comments: &[CommentDocument]) -> References {
        let repository = &self.context.repository;
        let mut references = References::default();
        references.read(&self.title, repository);
        references.read(json::body(self.core, "/body"), repository);
        for comment in comments {
            references.read(&comment.body, repository);
            if let Some(path) = &comment.path {
                references.known_path(path);
            }
        }
        for entry in &self.entries {
            entry.shas.iter().for_each(|sha| references.sha(sha));
            match (entry.event.as_str(), &entry.actor) {
                ("mentioned", Some(actor)) => references.mentions.insert(actor.login.as_str()),
                ("cross-referenced", _) => references.items.extend(entry.subject.clone()),
                _ => {}
            }
        }
        for pointer in ["/head/sha", "/merge_commit_sha"] {
            if let Some(sha) = json::name(self.pull, pointer) {
                references.sha(&sha);
            }
        }
        references.items.remove(&self.own_reference());
        references
    }

    fn own_reference(&self) -> String {
        format!("{}#{}", self.context.repository, self.number)
    }

    /// Connected by hand, or by closing words: of a pull request, or of one that refers to this issue.
    fn is_linked(&self) -> bool {
        let times = |event: &str| self.entries.iter().filter(|entry| entry.event == event).count();
        if times("connected") > times("disconnected") {
            return true;
        }
        if self.kind == Kind::PullRequest {
            return closed_items(json::body(self.core, "/body"), &self.context.repository).next().is_some();
        }
        self.is_closed_elsewhere
    }

    fn review_requested(&self) -> Vec<String> {
        let mut asked = Unique::default();
        let people = json::list(self.pull, "/requested_reviewers").iter();
        asked.extend(people.filter_map(|user| json::name(user, "/login")));
        let teams = json::list(self.pull, "/requested_teams").iter();
        asked.extend(teams.filter_map(|team| json::name(team, "/slug")));
        asked.into_vec()
    }

    /// The pull request's review state: the last verdict of each reviewer, bots' and the author's left out.
    fn review(&self, comments: &[CommentDocument]) -> &'static str {
        let mut verdicts = BTreeMap::new();
        for review in comments.iter().filter(|comment| comment.part == "review" && !comment.author_is_bot) {
            let verdict = review.review_state.as_deref().unwrap_or_default();
            if matches!(verdict, "approved" | "changes_requested" | "dismissed") {
                verdicts.insert(review.author.as_deref(), verdict);
            }
        }
        verdicts.remove(&self.author.as_ref().map(|author| author.login.as_str()));
        if verdicts.values().any(|verdict| *verdict == "changes_requested") {
            "changes_requested"
        } else if verdicts.values().any(|verdict| *verdict == "approved") {
            "approved"
        } else if self.review_requested().is_empty() {
            "none"
        } else {
            "required"
        }
    }
}

/// GitHub's colour for a label that has none.
const NO_COLOR: &str = "ededed";

fn label_names(core: &Value) -> impl Iterator<Item = String> {
    json::list(core, "/labels").iter().filter_map(label_name)
}

/// A label is an object, or by GitHub's schema just its name.
fn label_name(label: &Value) -> Option<String> {
    json::name(label, "/name").or_else(|| json::name(label, ""))
}

/// Who took part, by what they did.
struct People {
    commenters: Unique,
    reviewers: Unique,
    actors: Unique,
    participants: Unique,
}

impl People {
    fn of(thread: &Thread<'_>, comments: &[CommentDocument]) -> Self {
        let (mut commenters, mut reviewers) = (Unique::default(), Unique::default());
        let (mut actors, mut participants) = (Unique::default(), Unique::default());
        if let Some(author) = &thread.author {
            actors.insert(author.login.as_str());
            if !author.is_bot {
                participants.insert(author.login.as_str());
            }
        }
        for comment in comments {
            let Some(login) = comment.author.as_deref() else { continue };
            actors.insert(login);
            if !comment.author_is_bot {
                participants.insert(login);
            }
            let said = if comment.part == "comment" { &mut commenters } else { &mut reviewers };
            said.insert(login);
        }
        actors.extend(thread.entries.iter().filter_map(|entry| Some(entry.actor.as_ref()?.login.clone())));
        Self { commenters, reviewers, actors, participants }
    }
}

/// The document of a repository, from GitHub's own object.
pub fn repository(
    id: RepositoryId,
    full_name: &str,
    object: &Value,
    fetched_at: Timestamp,
    version: Version,
) -> RepositoryDocument {
    RepositoryDocument {
        key: id.to_string(),
        repository_id: id,
        repository: full_name.to_owned(),
        private: json::flag(object, "/private"),
        archived: json::flag(object, "/archived"),
        description: json::name(object, "/description"),
        topics: json::list(object, "/topics").iter().filter_map(|topic| json::name(topic, "")).collect(),
        language: json::name(object, "/language"),
        stars: json::number(object, "/stargazers_count").unwrap_or_default(),
        forks: json::number(object, "/forks_count").unwrap_or_default(),
        open_items: json::number(object, "/open_issues_count").unwrap_or_default(),
        created_at: json::time(object, "/created_at"),
        pushed_at: json::time(object, "/pushed_at"),
        fetched_at,
        version: version.0,
    }
}

/// The documents of a repository's releases, from GitHub's list; drafts are left out, nobody else sees them.
pub fn releases(
    id: RepositoryId,
    full_name: &str,
    private: bool,
    list: &Value,
    fetched_at: Timestamp,
    version: Version,
) -> Vec<ReleaseDocument> {
    let published = json::list(list, "").iter().filter(|release| !json::flag(release, "/draft"));
    let document = |release: &Value| {
        Some(ReleaseDocument {
            key: format!("{id}:r:{}", json::number(release, "/id")?),
            repository_id: id,
            repository: full_name.to_owned(),
            private,
            tag: json::name(release, "/tag_name").unwrap_or_default(),
            name: json::name(release, "/name"),
            body: without_html_comments(json::body(release, "/body")),
            author: json::name(release, "/author/login"),
            prerelease: json::flag(release, "/prerelease"),
            created_at: json::time(release, "/created_at").unwrap_or(fetched_at),
            published_at: json::time(release, "/published_at"),
            version: version.0,
        })
    };
    published.filter_map(document).collect()
}
