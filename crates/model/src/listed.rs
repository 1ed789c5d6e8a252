//! Whether an entry of GitHub's lists of items says what a record's issue object says.
//!
//! One table for all who compare the two: what is not in it causes no download, and a difference in it that no download
//! could mend would cause one at each look.

use serde_json::{Map, Value};

use crate::drift::Drift;

/// The fields that lists and single answers share, and the kind of a silent change in each; none where another field
/// names it, or nothing does. Labels and assignees are compared beside these.
pub(crate) const FIELDS: &[(&str, Option<Drift>)] = &[
    ("title", Some(Drift::Title)),
    ("body", Some(Drift::Body)),
    ("state", Some(Drift::State)),
    ("state_reason", Some(Drift::State)),
    ("draft", Some(Drift::State)),
    ("pull_request/merged_at", Some(Drift::State)),
    ("milestone/title", Some(Drift::Milestone)),
    ("milestone/state", Some(Drift::Milestone)),
    ("milestone/number", Some(Drift::Milestone)),
    ("locked", Some(Drift::Lock)),
    ("active_lock_reason", Some(Drift::Lock)),
    ("reactions", Some(Drift::Reactions)),
    ("user/login", Some(Drift::People)),
    ("comments", None),
    ("updated_at", None),
    ("closed_at", None),
    ("type/name", None),
];

/// Fields that count where both have such a key: not all servers and not all lists tell them.
const IF_TOLD: &[&str] =
    &["milestone/due_on", "milestone/description", "sub_issues_summary", "issue_dependencies_summary"];

/// Whether an entry of a list says what the record's issue object says.
pub fn is_same(known: &Value, listed: &Value) -> bool {
    let is_told = |field: &&&str| [known, listed].iter().all(|issue| value_at(issue, field).is_some());
    FIELDS.iter().all(|(field, _)| is_same_field(known, listed, field))
        && IF_TOLD.iter().filter(is_told).all(|field| is_same_field(known, listed, field))
        && labels(known).eq(labels(listed))
        && assignees(known).eq(assignees(listed))
}

/// Whether a field of two issue objects is the same; null and an empty text are as good as none.
pub(crate) fn is_same_field(one: &Value, other: &Value, field: &str) -> bool {
    match (at(one, field), at(other, field)) {
        (Some(Value::Object(one)), Some(Value::Object(other))) => are_same_counts(one, other),
        (one, other) => one == other,
    }
}

fn at<'a>(issue: &'a Value, field: &str) -> Option<&'a Value> {
    value_at(issue, field).filter(|value| !value.is_null() && *value != "")
}

fn value_at<'a>(issue: &'a Value, field: &str) -> Option<&'a Value> {
    field.split('/').try_fold(issue, |value, key| value.get(key))
}

/// Of reactions, whose address says how GitHub is reached.
fn are_same_counts(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    let counts = |reactions: &Map<String, Value>| reactions.keys().filter(|key| *key != "url").count();
    counts(one) == counts(other) && one.iter().all(|(key, count)| key == "url" || other.get(key) == Some(count))
}

/// Names and colours.
fn labels(issue: &Value) -> impl Iterator<Item = (Option<&str>, Option<&str>)> {
    let labels = issue.get("labels").and_then(Value::as_array).into_iter().flatten();
    labels.map(|label| (label.as_str().or_else(|| label["name"].as_str()), label["color"].as_str()))
}

fn assignees(issue: &Value) -> impl Iterator<Item = &Value> {
    let people = issue.get("assignees").and_then(Value::as_array).into_iter().flatten();
    people.map(|person| &person["login"])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_differs_from_its_record_by_what_people_see() {
        let known = json!({"updated_at": "a", "state": "open", "title": "t", "comments": 1, "body": "",
            "labels": [{"name": "bug", "color": "f00", "id": 1}], "assignees": [{"login": "ann", "id": 1}],
            "milestone": {"title": "m", "open_issues": 1, "due_on": null}, "closed_by": null,
            "sub_issues_summary": {"total": 2, "completed": 0},
            "reactions": {"url": "https://a/1", "total_count": 0, "+1": 0}});
        let listed = |path: &str, value: Value| {
            let mut listed = known.clone();
            *listed.pointer_mut(path).unwrap() = value;
            listed
        };
        for (path, value) in [
            ("/body", json!(null)),
            ("/closed_by", json!({"login": "ann"})),
            ("/milestone/open_issues", json!(2)),
            ("/reactions/url", json!("https://b/1")),
            ("/labels/0/id", json!(2)),
            ("/milestone", json!({"title": "m", "open_issues": 1})),
        ] {
            assert!(is_same(&known, &listed(path, value)), "{path}");
        }
        for (path, value) in [
            ("/updated_at", json!("b")),
            ("/title", json!("x")),
            ("/body", json!("x")),
            ("/labels", json!([])),
            ("/labels/0/name", json!("defect")),
            ("/labels/0/color", json!("0f0")),
            ("/assignees/0/login", json!("anna")),
            ("/milestone", json!(null)),
            ("/reactions/+1", json!(1)),
            ("/sub_issues_summary/completed", json!(1)),
            ("/milestone/due_on", json!("2026-01-01T00:00:00Z")),
        ] {
            let listed = listed(path, value);
            assert!(!is_same(&known, &listed) && !is_same(&listed, &known), "{path}");
        }
        assert!(is_same(&json!({"labels": ["bug"]}), &json!({"labels": [{"name": "bug"}], "assignees": []})));
    }
}
