//! A record as people read it: what was said and done, in order, now or as of a date.
//!
//! Everything is read leniently from GitHub's own objects: a missing field leaves a gap, never an error.

use std::collections::HashSet;

use gharvest_model::{
    Kind, Record, RepositoryName,
    labels::LabelRenames,
    record::{Fact, OlderText, RecordState},
};
use gharvest_search::{
    document::{IntervalDocument, Metrics},
    render::{self, RenderContext},
};
use jiff::{Timestamp, civil::Date};
use serde_json::Value;

/// One thing in the order of the thread.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Entry<'a> {
    /// A comment on the conversation.
    Comment(&'a Value),
    /// A comment that was deleted on GitHub, as a webhook showed it at last, and what told of it.
    Deleted(&'a Value, &'a Fact),
    /// Texts of comments that are not there any more: nobody told whose they were.
    Lost(Vec<&'a OlderText>),
    /// A review with the conversations that it began.
    Review { review: &'a Value, conversations: Vec<Conversation<'a>> },
    /// Review comments that belong to no review we have.
    Conversations(Vec<Conversation<'a>>),
    /// Commits pushed one after another.
    Commits(Vec<&'a Value>),
    /// Events told in one line: one, or several of one kind by one person within a minute.
    Events(Vec<&'a Value>),
}

/// A review comment and the answers to it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conversation<'a> {
    /// The first comment carries path and hunk.
    pub(crate) comments: Vec<&'a Value>,
}

/// A text as it was before it was edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Older<'a> {
    /// When a newer one was written, or first seen.
    pub(crate) until: Timestamp,
    pub(crate) text: &'a str,
    /// Who wrote that, if it is known.
    pub(crate) by: Option<&'a str>,
}

/// A thread as it is, or as it was.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Thread<'a> {
    pub(crate) record: &'a Record,
    /// GitHub's issue or pull request object; null where an import had none.
    pub(crate) core: &'a Value,
    pub(crate) repository: RepositoryName,
    /// What labels were called before.
    pub(crate) label_renames: &'a LabelRenames,
    pub(crate) facts: Facts,
    /// Computed as for the index, of now.
    pub(crate) metrics: Metrics,
    pub(crate) entries: Vec<Entry<'a>>,
    /// Events left out because nobody reads them: subscriptions and mentions.
    pub(crate) quiet: usize,
    /// Entries left out because they are later than the date asked for.
    pub(crate) later: usize,
    /// The date asked for.
    pub(crate) at: Option<Date>,
    /// Whether the item was there by that date.
    pub(crate) existed: bool,
}

/// What is true of an item at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) title: String,
    /// `open`, `closed` or `merged`.
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    pub(crate) draft: bool,
    pub(crate) locked: bool,
    /// Names and colours.
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) assignees: Vec<String>,
    pub(crate) milestone: Option<String>,
}

/// A text field somewhere in an object.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}

/// A time field.
pub(crate) fn time(value: &Value, pointer: &str) -> Option<Timestamp> {
    text(value, pointer)?.parse().ok()
}

/// An event's name.
pub(crate) fn event_name(event: &Value) -> &str {
    text(event, "/event").unwrap_or("unknown")
}

/// When something in a timeline happened: each kind of entry says it in another field.
pub(crate) fn happened_at(event: &Value) -> Option<Timestamp> {
    ["/created_at", "/submitted_at", "/committer/date", "/author/date", "/comments/0/created_at"]
        .into_iter()
        .find_map(|pointer| time(event, pointer))
}

/// Who did it.
pub(crate) fn actor(event: &Value) -> Option<&str> {
    ["/actor/login", "/user/login", "/author/login"].into_iter().find_map(|pointer| text(event, pointer))
}

static NULL: Value = Value::Null;

impl<'a> Thread<'a> {
    /// The thread of a record; with a date, as it was at the last instant of that UTC day.
    pub(crate) fn new(
        record: &'a Record,
        repository: RepositoryName,
        label_renames: &'a LabelRenames,
        at: Option<Date>,
    ) -> Self {
        let core = record.core().unwrap_or(&NULL);
        let cutoff = at.and_then(end_of_day);
        let now = Facts::now(record, core, label_renames);
        let context = RenderContext {
            repository: repository.to_string(),
            archived: false,
            label_renames: label_renames.clone(),
            rendered_at: record.fetched_at,
        };
        let documents = render::thread(record, &context);
        let mut thread = Self {
            record,
            core,
            repository,
            label_renames,
            facts: match cutoff {
                Some(cutoff) => now.as_of(&documents.intervals, &record.timeline, cutoff),
                None => now,
            },
            metrics: documents.item.metrics,
            entries: Vec::new(),
            quiet: 0,
            later: 0,
            at,
            existed: cutoff.is_none_or(|cutoff| time(core, "/created_at").is_none_or(|created| created <= cutoff)),
        };
        thread.collect(cutoff);
        thread
    }

    fn collect(&mut self, cutoff: Option<Timestamp>) {
        let mut comments: Vec<&Value> = self.record.review_comments.iter().collect();
        if let Some(cutoff) = cutoff {
            comments.retain(|comment| time(comment, "/created_at").is_none_or(|at| at <= cutoff));
        }
        let mut conversations = conversations(&comments);
        let mut deleted = self.deleted(cutoff);
        let mut last = None;
        for event in &self.record.timeline {
            let at = happened_at(event).or(last);
            last = at;
            if cutoff.is_some_and(|cutoff| at.is_some_and(|at| at > cutoff)) {
                self.later += 1;
                continue;
            }
            let earlier = deleted.iter().take_while(|(created, _)| at.is_some_and(|at| *created <= at)).count();
            self.entries.extend(deleted.drain(..earlier).map(|(_, entry)| entry));
            self.add(event, &mut conversations);
        }
        self.entries.extend(deleted.into_iter().map(|(_, entry)| entry));
        if !conversations.is_empty() {
            self.entries.push(Entry::Conversations(conversations));
        }
        let lost = self.lost();
        if !lost.is_empty() {
            self.entries.push(Entry::Lost(lost));
        }
    }

    /// Deleted comments, in the order in which they were written.
    fn deleted(&self, cutoff: Option<Timestamp>) -> Vec<(Timestamp, Entry<'a>)> {
        let facts = self.record.kept.iter().filter(|fact| fact.action == "deleted");
        let entry = |fact: &'a Fact| {
            let about = fact.facts.get("about").filter(|about| about["body"].is_string())?;
            let created = time(about, "/created_at").unwrap_or(fact.received_at);
            cutoff.is_none_or(|cutoff| created <= cutoff).then_some((created, Entry::Deleted(about, fact)))
        };
        let mut deleted: Vec<_> = facts.filter_map(entry).collect();
        deleted.sort_by_key(|(created, _)| *created);
        deleted
    }

    /// Last texts of what is neither in the timeline nor known to be deleted.
    fn lost(&self) -> Vec<&'a OlderText> {
        if self.record.history.is_empty() {
            return Vec::new();
        }
        let record = self.record;
        let reviewed = record.timeline.iter().filter_map(|event| event["comments"].as_array()).flatten();
        let deleted = record.kept.iter().filter_map(|fact| fact.facts.get("about"));
        let known: HashSet<&str> =
            (record.timeline.iter().chain(&record.review_comments).chain(reviewed).chain(deleted))
                .filter_map(|object| text(object, "/node_id"))
                .chain(["title", "body"])
                .collect();
        record.history.iter().filter(|older| !known.contains(older.of.as_str())).collect()
    }

    /// Older texts of the opening (`body`) or of what has a node id, oldest first.
    pub(crate) fn older_texts(&self, of: &str) -> Vec<Older<'a>> {
        let record = self.record;
        let seen = record.history.iter().filter(|older| older.of == of);
        let seen =
            seen.map(|older| Older { until: older.replaced_at, text: older.text.as_str(), by: older.by.as_deref() });
        let told = record.kept.iter().filter(|fact| match fact.facts.get("about") {
            Some(about) => text(about, "/node_id") == Some(of),
            None => of == "body" && matches!(fact.event.as_str(), "issues" | "pull_request"),
        });
        let told = told.filter_map(|fact| {
            let text = text(&fact.facts, "/changes/body/from")?;
            Some(Older { until: fact.received_at, text, by: fact.actor.as_deref() })
        });
        let mut texts: Vec<_> = seen.chain(told).collect();
        texts.sort_by_key(|older| older.until);
        // A webhook, the next visit and GitHub's edit history may tell of the same text.
        texts.dedup_by_key(|older| older.text);
        texts
    }

    /// A text as it was at the date asked for, as far as older ones are known; the present one otherwise.
    pub(crate) fn text_then(&self, of: &str, now: &'a str) -> &'a str {
        let Some(cutoff) = self.at.and_then(end_of_day) else { return now };
        self.older_texts(of).into_iter().find(|older| older.until > cutoff).map_or(now, |older| older.text)
    }

    fn add(&mut self, event: &'a Value, conversations: &mut Vec<Conversation<'a>>) {
        match event_name(event) {
            "mentioned" | "subscribed" | "unsubscribed" => self.quiet += 1,
            "commented" => self.entries.push(Entry::Comment(event)),
            "reviewed" => {
                let own = take_conversations(conversations, event.get("id").and_then(Value::as_u64));
                let is_empty = text(event, "/body").is_none_or(|body| body.trim().is_empty());
                // A reply is also a review of its own, with nothing in it.
                if !(is_empty && own.is_empty() && text(event, "/state").is_none_or(|state| state == "commented")) {
                    self.entries.push(Entry::Review { review: event, conversations: own });
                }
            }
            "line-commented" | "commit-commented" => {
                let comments = event.get("comments").and_then(Value::as_array);
                if let Some(comments) = comments.filter(|comments| !comments.is_empty()) {
                    let known = conversations
                        .iter()
                        .any(|known| known.comments.iter().any(|own| own["id"] == comments[0]["id"]));
                    if !known {
                        let conversation = Conversation { comments: comments.iter().collect() };
                        self.entries.push(Entry::Conversations(vec![conversation]));
                    }
                }
            }
            "committed" => match self.entries.last_mut() {
                Some(Entry::Commits(commits)) => commits.push(event),
                _ => self.entries.push(Entry::Commits(vec![event])),
            },
            _ => match self.entries.last_mut() {
                Some(Entry::Events(group)) if belongs_to(group, event) => group.push(event),
                _ => self.entries.push(Entry::Events(vec![event])),
            },
        }
    }

    /// The author's login.
    pub(crate) fn author(&self) -> Option<&'a str> {
        text(self.core, "/user/login")
    }

    /// Whether it is a pull request.
    pub(crate) fn is_pull(&self) -> bool {
        self.record.kind == Kind::PullRequest
    }

    /// What became of it on GitHub, in words; none while GitHub shows it.
    pub(crate) fn tombstone(&self) -> Option<String> {
        match &self.record.state {
            RecordState::Present => None,
            RecordState::Deleted => Some("GitHub says that this was deleted.".to_owned()),
            RecordState::Hidden => Some("GitHub does not show this any more, without saying why.".to_owned()),
            RecordState::Transferred { to: Some(to) } => Some(format!("This was moved to {to}.")),
            RecordState::Transferred { to: None } => Some("This was moved to another repository.".to_owned()),
        }
    }

    /// Everybody who said something, the author first, in the order of appearance.
    pub(crate) fn participants(&self) -> Vec<&'a str> {
        let mut people: Vec<&str> = self.author().into_iter().collect();
        let mut add = |login: Option<&'a str>| {
            if let Some(login) = login.filter(|login| !people.contains(login)) {
                people.push(login);
            }
        };
        for entry in &self.entries {
            match entry {
                Entry::Comment(comment) => add(actor(comment)),
                Entry::Review { review, conversations } => {
                    add(actor(review));
                    conversations.iter().flat_map(|one| &one.comments).for_each(|comment| add(actor(comment)));
                }
                Entry::Conversations(conversations) => {
                    conversations.iter().flat_map(|one| &one.comments).for_each(|comment| add(actor(comment)));
                }
                Entry::Deleted(about, _) => add(actor(about)),
                Entry::Commits(_) | Entry::Events(_) | Entry::Lost(_) => {}
            }
        }
        people
    }

    /// How many comments of all kinds are shown.
    pub(crate) fn comment_count(&self) -> usize {
        let of = |conversations: &[Conversation<'_>]| conversations.iter().map(|one| one.comments.len()).sum::<usize>();
        let count = |entry: &Entry<'_>| match entry {
            Entry::Comment(_) => 1,
            Entry::Review { review, conversations } => {
                of(conversations) + usize::from(text(review, "/body").is_some_and(|body| !body.trim().is_empty()))
            }
            Entry::Conversations(conversations) => of(conversations),
            Entry::Commits(_) | Entry::Events(_) | Entry::Deleted(..) | Entry::Lost(_) => 0,
        };
        self.entries.iter().map(count).sum()
    }

    /// Lengths of time in hours, with what they measure, where they can be known.
    pub(crate) fn figures(&self) -> Vec<(&'static str, f32)> {
        let metrics = &self.metrics;
        [
            ("first answer", metrics.h_first_response),
            ("by a maintainer", metrics.h_first_maintainer_response),
            ("first review", metrics.h_to_first_review),
            ("triage", metrics.h_to_triage),
            ("first close", metrics.h_to_close),
            ("merge", metrics.h_to_merge),
        ]
        .into_iter()
        .filter_map(|(name, hours)| Some((name, hours?)))
        .collect()
    }

    /// The opening text.
    pub(crate) fn body(&self) -> &'a str {
        self.text_then("body", text(self.core, "/body").unwrap_or(""))
    }
}

/// The last instant of a UTC day.
fn end_of_day(day: Date) -> Option<Timestamp> {
    let next = day.tomorrow().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    next.checked_sub(jiff::SignedDuration::from_nanos(1)).ok()
}

/// Whether an event joins the line of those before it: the same kind, by the same person, within a minute.
fn belongs_to(group: &[&Value], event: &Value) -> bool {
    let Some(first) = group.first() else { return false };
    let kind = |event: &Value| match event_name(event) {
        "labeled" | "unlabeled" => "labels".to_owned(),
        other => other.to_owned(),
    };
    if kind(first) != kind(event) || actor(first) != actor(event) || event_name(event) == "renamed" {
        return false;
    }
    // Rebases mention the same commit message over and over: one line for all of them.
    if matches!(event_name(event), "referenced" | "head_ref_force_pushed") {
        return true;
    }
    match (happened_at(first), happened_at(event)) {
        (Some(first), Some(now)) => now.duration_since(first).as_secs().abs() <= 60,
        _ => false,
    }
}

/// Review comments by conversation: answers name the comment that they answer.
fn conversations<'a>(comments: &[&'a Value]) -> Vec<Conversation<'a>> {
    let mut conversations: Vec<Conversation<'a>> = Vec::new();
    let mut place = std::collections::HashMap::new();
    for comment in comments {
        let answered = comment.get("in_reply_to_id").and_then(Value::as_u64);
        let id = comment.get("id").and_then(Value::as_u64);
        let at = match answered.and_then(|answered| place.get(&answered).copied()) {
            Some(at) => at,
            None => {
                conversations.push(Conversation { comments: Vec::new() });
                conversations.len() - 1
            }
        };
        conversations[at].comments.push(comment);
        place.extend(id.map(|id| (id, at)));
    }
    conversations
}

/// Takes the conversations that a review began.
fn take_conversations<'a>(all: &mut Vec<Conversation<'a>>, review: Option<u64>) -> Vec<Conversation<'a>> {
    let Some(review) = review else { return Vec::new() };
    let begins = |one: &mut Conversation<'_>| {
        one.comments.first().and_then(|first| first.get("pull_request_review_id")?.as_u64()) == Some(review)
    };
    all.extract_if(.., begins).collect()
}

impl Facts {
    fn now(record: &Record, core: &Value, label_renames: &LabelRenames) -> Self {
        let merged = [record.issue.as_ref(), record.pull.as_ref()].into_iter().flatten().any(|object| {
            object["merged"] == true
                || object["merged_at"].is_string()
                || object["pull_request"]["merged_at"].is_string()
        });
        let label = |label: &Value| match label {
            Value::String(name) => Some((name.clone(), String::new())),
            object => Some((text(object, "/name")?.to_owned(), text(object, "/color").unwrap_or("").to_owned())),
        };
        // A record that was fetched before a rename carries the old name.
        let renamed =
            |(name, color): (String, String)| (label_renames.name_now(&name, record.fetched_at).to_owned(), color);
        let list = |key: &str| core.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Self {
            title: text(core, "/title").unwrap_or("").to_owned(),
            state: if merged { "merged" } else { text(core, "/state").unwrap_or("open") }.to_lowercase(),
            reason: text(core, "/state_reason").map(str::to_owned),
            draft: core["draft"] == true || record.pull.as_ref().is_some_and(|pull| pull["draft"] == true),
            locked: core["locked"] == true,
            labels: list("labels").iter().filter_map(label).map(renamed).collect(),
            assignees: list("assignees").iter().filter_map(|user| Some(text(user, "/login")?.to_owned())).collect(),
            milestone: text(core, "/milestone/title").map(str::to_owned),
        }
    }

    /// What was true at a time, by the same intervals that searches as of a date are answered with.
    fn as_of(&self, intervals: &[IntervalDocument], timeline: &[Value], cutoff: Timestamp) -> Self {
        let mut then = Self::default();
        let held = |interval: &&IntervalDocument| interval.from <= cutoff && interval.to.is_none_or(|to| to > cutoff);
        for interval in intervals.iter().filter(held) {
            let value = interval.value.clone();
            match interval.dimension.as_str() {
                "title" => then.title = value,
                "state" => then.state = value,
                "label" => {
                    let color = self.color(&value, interval.value_now.as_deref().unwrap_or(&value), timeline);
                    then.labels.push((value, color));
                }
                "assignee" => then.assignees.push(value),
                "milestone" => then.milestone = Some(value),
                "draft" => then.draft = true,
                "locked" => then.locked = true,
                _ => {}
            }
        }
        let closed = timeline
            .iter()
            .rev()
            .find(|event| event_name(event) == "closed" && happened_at(event).is_some_and(|at| at <= cutoff));
        then.reason = closed.and_then(|event| text(event, "/state_reason")).map(str::to_owned);
        then
    }

    /// A label's colour now, or the one it had when it was set.
    fn color(&self, label: &str, name_now: &str, timeline: &[Value]) -> String {
        let now = self.labels.iter().find(|(name, _)| name == name_now).map(|(_, color)| color.as_str());
        let then = || {
            timeline
                .iter()
                .find_map(|event| (text(event, "/label/name")? == label).then(|| text(event, "/label/color"))?)
        };
        now.or_else(then).unwrap_or("").to_owned()
    }
}

#[cfg(test)]
mod tests {
    use gharvest_model::record::RecordRepository;
    use serde_json::json;

    use super::*;

    fn record(timeline: Value) -> Record {
        let repository = RecordRepository { id: gharvest_model::RepositoryId(1), full_name: "a/b".parse().unwrap() };
        let mut record = Record::new(repository, 7, Kind::Issue, "2024-06-01T00:00:00Z".parse().unwrap());
        record.issue = Some(
            json!({"title": "new", "state": "closed", "created_at": "2023-12-31T00:00:00Z", "labels": [{"name": "late", "color": "ff0000"}]}),
        );
        record.timeline = serde_json::from_value(timeline).unwrap();
        record
    }

    #[test]
    fn a_thread_as_of_a_date_shows_what_was_true_then() {
        let renames = LabelRenames::default();
        let record = record(json!([
            {"event": "labeled", "label": {"name": "early", "color": "00ff00"}, "created_at": "2024-01-01T00:00:00Z"},
            {"event": "closed", "created_at": "2024-01-02T23:59:59Z"},
            {"event": "renamed", "rename": {"from": "old", "to": "new"}, "created_at": "2024-01-03T00:00:00Z"},
            {"event": "unlabeled", "label": {"name": "early", "color": "00ff00"}, "created_at": "2024-01-03T00:00:01Z"},
            {"event": "labeled", "label": {"name": "late", "color": "ff0000"}, "created_at": "2024-01-03T00:00:02Z"},
        ]));
        let thread = Thread::new(&record, "a/b".parse().unwrap(), &renames, Some("2024-01-02".parse().unwrap()));
        assert_eq!(thread.facts.title, "old");
        assert_eq!(thread.facts.state, "closed");
        assert_eq!(thread.facts.labels, [("early".to_owned(), "00ff00".to_owned())]);
        assert_eq!((thread.entries.len(), thread.later), (2, 3));
    }

    #[test]
    fn deleted_comments_stand_where_they_were_and_edited_texts_have_older_ones() {
        let renames = LabelRenames::default();
        let mut record = record(json!([
            {"event": "commented", "node_id": "C1", "body": "three", "created_at": "2024-01-01T00:00:00Z"},
            {"event": "commented", "node_id": "C3", "body": "last", "created_at": "2024-01-03T00:00:00Z"},
        ]));
        let fact = |action: &str, at: &str, facts: Value| json!({"delivery": at, "event": "issue_comment", "action": action, "received_at": at, "facts": facts});
        record.kept = serde_json::from_value(json!([
            fact(
                "edited",
                "2024-01-05T00:00:00Z",
                json!({"about": {"node_id": "C1"}, "changes": {"body": {"from": "one"}}})
            ),
            fact(
                "deleted",
                "2024-01-06T00:00:00Z",
                json!({"about": {"node_id": "C2", "body": "gone", "created_at": "2024-01-02T00:00:00Z"}})
            ),
        ]))
        .unwrap();
        let older = |of: &str, text: &str, at: &str| json!({"of": of, "text": text, "replaced_at": at});
        record.history = serde_json::from_value(json!([
            older("C1", "one", "2024-01-05T00:01:00Z"),
            json!({"of": "C1", "text": "two", "replaced_at": "2024-01-07T00:00:00Z", "by": "ann", "origin": "graphql"}),
            older("C2", "gone", "2024-01-06T00:01:00Z"),
            older("C9", "nobody knows", "2024-01-08T00:00:00Z"),
        ]))
        .unwrap();
        let thread = Thread::new(&record, "a/b".parse().unwrap(), &renames, None);
        let [Entry::Comment(_), Entry::Deleted(about, _), Entry::Comment(_), Entry::Lost(lost)] = &thread.entries[..]
        else {
            panic!("{:?}", thread.entries)
        };
        assert_eq!((about["body"].as_str(), lost.len(), lost[0].text.as_str()), (Some("gone"), 1, "nobody knows"));
        let texts: Vec<_> = thread.older_texts("C1").into_iter().map(|older| (older.text, older.by)).collect();
        assert_eq!(texts, [("one", None), ("two", Some("ann"))]);
        let then = Thread::new(&record, "a/b".parse().unwrap(), &renames, Some("2024-01-05".parse().unwrap()));
        assert_eq!(then.text_then("C1", "three"), "two");
        let before = Thread::new(&record, "a/b".parse().unwrap(), &renames, Some("2024-01-04".parse().unwrap()));
        assert_eq!(before.text_then("C1", "three"), "one");
    }

    #[test]
    fn labels_set_in_one_go_are_one_line() {
        let renames = LabelRenames::default();
        let label = |name: &str, second: u8| {
            json!({"event": "labeled", "actor": {"login": "x"}, "label": {"name": name},
                   "created_at": format!("2024-01-01T00:00:{second:02}Z")})
        };
        let record = record(json!([label("a", 1), label("b", 2), {"event": "from_the_future"}]));
        let thread = Thread::new(&record, "a/b".parse().unwrap(), &renames, None);
        assert!(
            matches!(&thread.entries[..], [Entry::Events(two), Entry::Events(one)] if two.len() == 2 && one.len() == 1)
        );
    }

    #[test]
    fn answers_stand_below_what_they_answer_and_replies_make_no_review() {
        let renames = LabelRenames::default();
        let mut record = record(json!([
            {"event": "reviewed", "id": 10, "state": "commented", "body": ""},
            {"event": "reviewed", "id": 11, "state": "commented", "body": null},
            {"event": "reviewed", "id": 12, "state": "approved"},
        ]));
        record.review_comments = vec![
            json!({"id": 1, "pull_request_review_id": 10, "body": "why"}),
            json!({"id": 2, "pull_request_review_id": 11, "in_reply_to_id": 1, "body": "because"}),
            json!({"id": 3, "pull_request_review_id": 99, "body": "lost"}),
        ];
        let thread = Thread::new(&record, "a/b".parse().unwrap(), &renames, None);
        let [Entry::Review { conversations, .. }, Entry::Review { review, .. }, Entry::Conversations(lost)] =
            &thread.entries[..]
        else {
            panic!("{:?}", thread.entries)
        };
        assert_eq!(conversations[0].comments.len(), 2);
        assert_eq!(review["state"], "approved");
        assert_eq!(lost.len(), 1);
    }
}
