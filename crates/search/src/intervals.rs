//! Intervals: what was true of an item from when to when.
//!
//! Built from the timeline in the order of (time, id), and reconciled at the end with what GitHub says now, because
//! timelines have gaps: renamed and deleted labels, transferred items, events older than GitHub keeps. An end that was
//! concluded and not told by an event is `inferred`. Spans are half open, and those of no length are left out.
//!
//! - State: `open` at creation, then `closed`, `merged` and `open` again; a merge and its close are one change.
//! - A value that is taken off without having been put on was there since the creation.
//! - A value that is there now without having been put on came when it was last taken off, else at the creation.
//! - A value that was put on and is not there now ended at GitHub's `updated_at`; a label that was renamed goes on
//!   under its new name, and each span says the name now. A milestone that is taken off, or there now, under another title was renamed.
//! - A tombstone's open spans end when the item was first seen to be gone.

use std::collections::BTreeMap;

use gharvest_model::{Kind, labels::LabelRenames};
use jiff::Timestamp;

use crate::render::timeline::Entry;

/// Something that was true for a time; the document's own fields are added by `render`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    pub(crate) dimension: &'static str,
    pub(crate) value: String,
    pub(crate) value_now: Option<String>,
    pub(crate) from: Timestamp,
    pub(crate) to: Option<Timestamp>,
    pub(crate) by: Option<String>,
    pub(crate) inferred: bool,
}

impl Span {
    /// The span with its end.
    fn until(mut self, at: Timestamp, inferred: bool) -> Self {
        self.to = Some(at.max(self.from));
        self.inferred |= inferred;
        self
    }

    /// The span of something that is called so now.
    fn renamed(mut self, name: &str) -> Self {
        self.value_now = Some(name.to_owned()).filter(|name| *name != self.value);
        self
    }
}

/// What GitHub says of the item now, to reconcile with.
#[derive(Debug)]
pub(crate) struct Now<'a> {
    pub(crate) kind: Kind,
    pub(crate) author: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) closed_at: Option<Timestamp>,
    pub(crate) merged_at: Option<Timestamp>,
    pub(crate) state: &'a str,
    pub(crate) title: &'a str,
    pub(crate) labels: &'a [String],
    pub(crate) assignees: &'a [String],
    pub(crate) milestone: Option<&'a str>,
    pub(crate) draft: bool,
    pub(crate) locked: bool,
    /// When a tombstone was first seen to be one.
    pub(crate) gone_at: Option<Timestamp>,
}

/// The spans of an item, in the order of dimension, beginning and value.
pub(crate) fn spans(entries: &[Entry], now: &Now<'_>, renames: &LabelRenames) -> Vec<Span> {
    let mut ordered: Vec<&Entry> = entries.iter().collect();
    ordered.sort_by_key(|entry| (entry.at, entry.id));
    let mut spans = Vec::new();
    spans.extend(state(&ordered, now));
    spans.extend(title(&ordered, now));
    let name_now = |name: &str, then| renames.name_now(name, then).to_owned();
    let labels = values("label", &ordered, now, &name_now, now.labels);
    spans.extend(labels.into_iter().flat_map(|span| by_name(span, renames)));
    spans.extend(values("assignee", &ordered, now, &same_name, now.assignees));
    spans.extend(milestone(&ordered, now));
    if now.kind == Kind::PullRequest {
        spans.extend(switch("draft", ("convert_to_draft", "ready_for_review"), &ordered, now, now.draft));
    }
    spans.extend(switch("locked", ("locked", "unlocked"), &ordered, now, now.locked));
    for span in &mut spans {
        end_with_the_item(span, now.gone_at);
    }
    spans.retain(|span| span.to.is_none_or(|to| to > span.from));
    spans.sort_by(|a, b| (a.dimension, a.from, &a.value, a.to).cmp(&(b.dimension, b.from, &b.value, b.to)));
    spans
}

/// A label's span by the names that it had meanwhile: one ends where the next begins.
fn by_name(mut span: Span, renames: &LabelRenames) -> Vec<Span> {
    let mut spans = Vec::new();
    let is_within = |span: &Span, at: Timestamp| at > span.from && span.to.is_none_or(|to| at < to);
    for rename in renames.of(&span.value.clone(), span.from).filter(|rename| rename.from != rename.to) {
        if is_within(&span, rename.at) {
            let later = Span { value: rename.to.clone(), from: rename.at, ..span.clone() };
            spans.push(Span { to: Some(rename.at), ..span });
            span = later;
        }
    }
    spans.push(span);
    let name_now = |span: &Span| renames.name_now(&span.value, span.from).to_owned();
    spans.into_iter().map(|span| Span { value_now: None, ..span.clone() }.renamed(&name_now(&span))).collect()
}

fn same_name(name: &str, _then: Timestamp) -> String {
    name.to_owned()
}

fn end_with_the_item(span: &mut Span, gone_at: Option<Timestamp>) {
    if let (None, Some(gone_at)) = (span.to, gone_at) {
        span.to = Some(gone_at.max(span.from));
        span.inferred = true;
    }
}

/// A dimension that always has one value: each change ends the span before.
struct Line {
    dimension: &'static str,
    spans: Vec<Span>,
}

impl Line {
    fn new(dimension: &'static str, value: &str, from: Timestamp, by: Option<String>) -> Self {
        let mut line = Self { dimension, spans: Vec::new() };
        line.change(value, from, by, false);
        line
    }

    fn value(&self) -> &str {
        self.spans.last().map_or("", |span| span.value.as_str())
    }

    fn change(&mut self, value: &str, at: Timestamp, by: Option<String>, inferred: bool) {
        if let Some(last) = self.spans.last_mut() {
            if last.value == value {
                return;
            }
            last.to = Some(at.max(last.from));
            last.inferred |= inferred;
        }
        let from = self.spans.last().and_then(|last| last.to).unwrap_or(at);
        self.spans.push(Span {
            dimension: self.dimension,
            value: value.to_owned(),
            value_now: None,
            from,
            to: None,
            by,
            inferred,
        });
    }
}

fn actor(entry: &Entry) -> Option<String> {
    entry.actor.as_ref().map(|actor| actor.login.clone())
}

fn state(entries: &[&Entry], now: &Now<'_>) -> Vec<Span> {
    let mut line = Line::new("state", "open", now.created_at, now.author.clone());
    for entry in entries {
        match (entry.event.as_str(), line.value()) {
            ("merged", _) => line.change("merged", entry.at, actor(entry), false),
            ("closed", "open") => line.change("closed", entry.at, actor(entry), false),
            ("reopened", _) => line.change("open", entry.at, actor(entry), false),
            _ => {}
        }
    }
    let told = match now.state {
        "merged" => now.merged_at.or(now.closed_at),
        "closed" => now.closed_at,
        _ => None,
    };
    line.change(now.state, told.unwrap_or(now.updated_at), None, true);
    line.spans
}

fn title(entries: &[&Entry], now: &Now<'_>) -> Vec<Span> {
    let renames = || entries.iter().filter(|entry| entry.event == "renamed");
    let first = renames().find_map(|entry| entry.title_before.as_deref());
    let mut line = Line::new("title", first.unwrap_or(now.title), now.created_at, now.author.clone());
    for entry in renames() {
        if let Some(title) = &entry.subject {
            line.change(title, entry.at, actor(entry), false);
        }
    }
    line.change(now.title, now.updated_at, None, true);
    line.spans
}

/// What a value is called now that had a name at a time.
type NameNow<'a> = &'a dyn Fn(&str, Timestamp) -> String;

/// A dimension of which an item has any number of values at once. Values are the same when their names now are.
struct Set<'a> {
    dimension: &'static str,
    created_at: Timestamp,
    name_now: NameNow<'a>,
    open: BTreeMap<String, Span>,
    ended: Vec<Span>,
    /// When each value ended last.
    last_ends: BTreeMap<String, Timestamp>,
}

impl<'a> Set<'a> {
    fn new(dimension: &'static str, created_at: Timestamp, name_now: NameNow<'a>) -> Self {
        Self { dimension, created_at, name_now, open: BTreeMap::new(), ended: Vec::new(), last_ends: BTreeMap::new() }
    }

    fn key(&self, value: &str, then: Timestamp) -> String {
        (self.name_now)(value, then).to_lowercase()
    }

    fn span(&self, value: &str, from: Timestamp, by: Option<String>, inferred: bool) -> Span {
        let (dimension, value) = (self.dimension, value.to_owned());
        Span { dimension, value, value_now: None, from, to: None, by, inferred }
    }

    fn put_on(&mut self, value: &str, at: Timestamp, by: Option<String>) {
        let span = self.span(value, at, by, false);
        self.open.entry(self.key(value, at)).or_insert(span);
    }

    fn take_off(&mut self, value: &str, at: Timestamp) {
        let key = self.key(value, at);
        let span = self.open.remove(&key).unwrap_or_else(|| self.span(value, self.last_end(&key), None, true));
        self.end(key, span, at, false);
    }

    fn end(&mut self, key: String, span: Span, at: Timestamp, inferred: bool) {
        let span = span.until(at, inferred);
        self.last_ends.insert(key, span.to.unwrap_or(at));
        self.ended.push(span);
    }

    fn last_end(&self, key: &str) -> Timestamp {
        self.last_ends.get(key).copied().unwrap_or(self.created_at)
    }

    /// `values` are what there is now, by the names that they have now.
    fn reconcile(mut self, values: &[String], updated_at: Timestamp) -> Vec<Span> {
        let there: BTreeMap<String, &String> = values.iter().map(|value| (value.to_lowercase(), value)).collect();
        for (key, value) in &there {
            if !self.open.contains_key(key) {
                let span = self.span(value, self.last_end(key), None, true);
                self.open.insert(key.clone(), span);
            }
        }
        for (key, span) in std::mem::take(&mut self.open) {
            if there.contains_key(&key) {
                self.ended.push(span);
            } else {
                self.end(key, span, updated_at, true);
            }
        }
        self.ended
    }
}

fn values(
    dimension: &'static str,
    entries: &[&Entry],
    now: &Now<'_>,
    name_now: NameNow<'_>,
    current: &[String],
) -> Vec<Span> {
    let mut set = Set::new(dimension, now.created_at, name_now);
    for entry in entries {
        let put_on = match (dimension, entry.event.as_str()) {
            ("label", "labeled") | ("assignee", "assigned") => true,
            ("label", "unlabeled") | ("assignee", "unassigned") => false,
            _ => continue,
        };
        let Some(value) = (if dimension == "label" { &entry.label } else { &entry.subject }) else { continue };
        if put_on {
            set.put_on(value, entry.at, actor(entry));
        } else {
            set.take_off(value, entry.at);
        }
    }
    set.reconcile(current, now.updated_at)
}

/// An item has one milestone at a time. One that is taken off, or there now, under another title was renamed.
fn milestone(entries: &[&Entry], now: &Now<'_>) -> Vec<Span> {
    let mut ended: Vec<Span> = Vec::new();
    let mut open: Option<Span> = None;
    let span = |title: &str, from, by, inferred| Span {
        dimension: "milestone",
        value: title.to_owned(),
        value_now: None,
        from,
        to: None,
        by,
        inferred,
    };
    let last_end = |ended: &[Span]| ended.last().and_then(|span| span.to).unwrap_or(now.created_at);
    for entry in entries {
        let Some(title) = &entry.subject else { continue };
        match entry.event.as_str() {
            "milestoned" if open.as_ref().is_some_and(|open| open.value == *title) => {}
            "milestoned" => {
                ended.extend(open.take().map(|before| before.until(entry.at, true)));
                open = Some(span(title, entry.at, actor(entry), false));
            }
            "demilestoned" => {
                let before = open.take().unwrap_or_else(|| span(title, last_end(&ended), None, true));
                ended.push(before.renamed(title).until(entry.at, false));
            }
            _ => {}
        }
    }
    let last = match (open, now.milestone) {
        (Some(open), Some(title)) => Some(open.renamed(title)),
        (Some(open), None) => Some(open.until(now.updated_at, true)),
        (None, Some(title)) => Some(span(title, last_end(&ended), None, true)),
        (None, None) => None,
    };
    ended.extend(last);
    ended
}

/// A dimension that is on or off: its spans are those in which it was on, with the value `true`.
fn switch(
    dimension: &'static str,
    (on, off): (&str, &str),
    entries: &[&Entry],
    now: &Now<'_>,
    is_on: bool,
) -> Vec<Span> {
    let mut set = Set::new(dimension, now.created_at, &same_name);
    for entry in entries {
        if entry.event == on {
            set.put_on("true", entry.at, actor(entry));
        } else if entry.event == off {
            set.take_off("true", entry.at);
        }
    }
    let current: Vec<String> = is_on.then(|| "true".to_owned()).into_iter().collect();
    set.reconcile(&current, now.updated_at)
}
