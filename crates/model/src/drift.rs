//! What changed between two visits that nothing had announced: the kinds in which silent changes are counted.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    listed::{FIELDS, is_same_field},
    record::{Record, RecordState},
};

/// A kind of silent change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drift {
    /// The title.
    Title,
    /// The item's own text.
    Body,
    /// Open, closed, merged, draft, or why.
    State,
    /// Which labels it carries, or what they are called.
    Labels,
    /// The milestone, or what it is called.
    Milestone,
    /// Who is assigned.
    Assignees,
    /// Locked or not.
    Lock,
    /// Counts of reactions, of the item or of a comment.
    Reactions,
    /// An account has another name, or is gone.
    People,
    /// A comment or a review comment that was not there.
    CommentAdded,
    /// A comment, review or review comment with another text.
    CommentEdited,
    /// A comment or a review comment that is not there any more.
    CommentDeleted,
    /// Another item or a commit names it.
    Reference,
    /// A review that was not there.
    Review,
    /// Commits, branches and what else belongs to the code of a pull request.
    Code,
    /// Another entry of the timeline.
    Event,
    /// The item is gone: deleted, transferred, hidden, a discussion.
    Gone,
    /// An item that was gone is there.
    Returned,
    /// Anything else.
    Other,
}

impl Drift {
    /// The name in metrics and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Title => "title",
            Self::Body => "body",
            Self::State => "state",
            Self::Labels => "labels",
            Self::Milestone => "milestone",
            Self::Assignees => "assignees",
            Self::Lock => "lock",
            Self::Reactions => "reactions",
            Self::People => "people",
            Self::CommentAdded => "comment_added",
            Self::CommentEdited => "comment_edited",
            Self::CommentDeleted => "comment_deleted",
            Self::Reference => "reference",
            Self::Review => "review",
            Self::Code => "code",
            Self::Event => "event",
            Self::Gone => "gone",
            Self::Returned => "returned",
            Self::Other => "other",
        }
    }
}

/// The kinds in which two revisions of a record differ; [`Drift::Other`] if nothing else names the difference.
pub fn between(old: &Record, new: &Record) -> BTreeSet<Drift> {
    let mut kinds = BTreeSet::new();
    match (&old.state, &new.state) {
        (RecordState::Present, RecordState::Present) => {}
        (_, RecordState::Present) => drop(kinds.insert(Drift::Returned)),
        _ => drop(kinds.insert(Drift::Gone)),
    }
    item(old, new, &mut kinds);
    timeline(&old.timeline, &new.timeline, &mut kinds);
    comments(&old.review_comments, &new.review_comments, &mut kinds);
    if kinds.is_empty() {
        kinds.insert(Drift::Other);
    }
    kinds
}

fn item(old: &Record, new: &Record, kinds: &mut BTreeSet<Drift>) {
    let null = Value::Null;
    let (before, after) = (old.core().unwrap_or(&null), new.core().unwrap_or(&null));
    let differs = |field: &&(&str, Option<Drift>)| !is_same_field(before, after, field.0);
    kinds.extend(FIELDS.iter().filter(differs).filter_map(|(_, kind)| *kind));
    if names(before, "labels", "name") != names(after, "labels", "name") {
        kinds.insert(Drift::Labels);
    }
    let (ids, logins) = (|item| names(item, "assignees", "node_id"), |item| names(item, "assignees", "login"));
    if ids(before) != ids(after) {
        kinds.insert(Drift::Assignees);
    } else if logins(before) != logins(after) {
        kinds.insert(Drift::People);
    }
    let (before, after) = (old.pull.as_ref().unwrap_or(&null), new.pull.as_ref().unwrap_or(&null));
    let code = ["/head/sha", "/head/ref", "/base/ref", "/commits", "/additions", "/deletions", "/changed_files"];
    if old.pull.is_some() && code.iter().any(|path| before.pointer(path) != after.pointer(path)) {
        kinds.insert(Drift::Code);
    }
}

fn names<'a>(item: &'a Value, list: &str, field: &str) -> BTreeSet<&'a str> {
    let entries = item.get(list).and_then(Value::as_array).into_iter().flatten();
    entries.filter_map(|entry| entry.get(field)?.as_str()).collect()
}

/// What identifies an entry of a timeline.
fn key(entry: &Value) -> String {
    let own = ["node_id", "sha", "id"].iter().find_map(|field| entry.get(*field).filter(|value| !value.is_null()));
    own.map_or_else(
        || format!("{}{}{}", entry["event"], entry["created_at"], entry["source"]["issue"]["id"]),
        Value::to_string,
    )
}

fn timeline(old: &[Value], new: &[Value], kinds: &mut BTreeSet<Drift>) {
    let before: BTreeMap<String, &Value> = old.iter().map(|entry| (key(entry), entry)).collect();
    let after: BTreeMap<String, &Value> = new.iter().map(|entry| (key(entry), entry)).collect();
    for (key, entry) in &after {
        match before.get(key) {
            None => drop(kinds.insert(added(entry))),
            Some(known) => text(known, entry, kinds),
        }
    }
    for (_, entry) in before.iter().filter(|(key, _)| !after.contains_key(*key)) {
        let is_comment = entry["event"] == "commented";
        kinds.insert(if is_comment { Drift::CommentDeleted } else { Drift::Event });
    }
}

fn added(entry: &Value) -> Drift {
    match entry["event"].as_str().unwrap_or_default() {
        "commented" => Drift::CommentAdded,
        "comment_deleted" => Drift::CommentDeleted,
        "cross-referenced" | "referenced" => Drift::Reference,
        "reviewed" => Drift::Review,
        "committed" | "head_ref_force_pushed" => Drift::Code,
        _ => Drift::Event,
    }
}

/// What differs between two copies of one comment or entry.
fn text(old: &Value, new: &Value, kinds: &mut BTreeSet<Drift>) {
    if old["body"] != new["body"] && !(old["body"].is_null() && new["body"] == "") {
        kinds.insert(Drift::CommentEdited);
    }
    if old["reactions"]["total_count"] != new["reactions"]["total_count"] {
        kinds.insert(Drift::Reactions);
    }
    if ["user", "actor"].iter().any(|who| old[*who]["login"] != new[*who]["login"]) {
        kinds.insert(Drift::People);
    }
}

fn comments(old: &[Value], new: &[Value], kinds: &mut BTreeSet<Drift>) {
    let ids = |comments: &[Value]| comments.iter().map(|comment| comment["id"].to_string()).collect::<BTreeSet<_>>();
    let (before, after) = (ids(old), ids(new));
    if !after.is_subset(&before) {
        kinds.insert(Drift::CommentAdded);
    }
    if !before.is_subset(&after) {
        kinds.insert(Drift::CommentDeleted);
    }
    for comment in new {
        if let Some(known) = old.iter().find(|known| known["id"] == comment["id"]) {
            text(known, comment, kinds);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        ids::{Kind, RepositoryId},
        record::RecordRepository,
    };

    #[test]
    fn each_difference_has_its_kind() {
        let repository = RecordRepository { id: RepositoryId(7), full_name: "a/b".parse().unwrap() };
        let mut old = Record::new(repository, 1, Kind::Issue, jiff::Timestamp::UNIX_EPOCH);
        old.issue = Some(json!({"title": "t", "labels": [{"name": "bug"}], "reactions": {"total_count": 0},
            "user": {"login": "ann"}, "assignees": [{"node_id": "u", "login": "bob"}]}));
        old.timeline = vec![json!({"event": "commented", "id": 1, "body": "a", "user": {"login": "ann"}})];
        let cases: &[(&str, Value, Drift)] = &[
            ("/issue/title", json!("u"), Drift::Title),
            ("/issue/labels", json!([{"name": "defect"}]), Drift::Labels),
            ("/issue/reactions/total_count", json!(1), Drift::Reactions),
            ("/issue/user/login", json!("anna"), Drift::People),
            ("/issue/assignees/0/login", json!("robert"), Drift::People),
            ("/issue/assignees", json!([]), Drift::Assignees),
            ("/timeline/0/body", json!("b"), Drift::CommentEdited),
            ("/timeline", json!([]), Drift::CommentDeleted),
            ("/state", json!({"is": "deleted"}), Drift::Gone),
            ("/visibility", json!("private"), Drift::Other),
        ];
        for (path, value, kind) in cases {
            let mut new = serde_json::to_value(&old).unwrap();
            *new.pointer_mut(path).unwrap() = value.clone();
            let new: Record = serde_json::from_value(new).unwrap();
            assert_eq!(between(&old, &new), BTreeSet::from([*kind]), "{path}");
        }
    }
}
