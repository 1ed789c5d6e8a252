//! What GitHub says and no field of a document has: nothing is lost but what is meant to be, and nothing can grow.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;

use gharvest_github_simulator::{Options, Simulator, Truth, World};
use gharvest_model::{
    Kind, Record, RepositoryId, RepositoryName,
    record::{RecordRepository, RecordState},
};
use gharvest_search::{
    document::{CommentDocument, EventDocument, Extra, ThreadDocuments},
    render::{self, RenderContext},
};
use gharvest_testkit::{recorded_data, recorded_records};
use serde::Serialize;
use serde_json::{Value, json};

fn record(kind: Kind) -> Record {
    let full_name: RepositoryName = "Owner/Name".parse().unwrap();
    let fetched_at = "2026-03-01T00:00:00Z".parse().unwrap();
    let mut record = Record::new(RecordRepository { id: RepositoryId(7), full_name }, 12, kind, fetched_at);
    record.state = RecordState::Present;
    record
}

fn documents(record: &Record) -> ThreadDocuments {
    let context = RenderContext {
        repository: "Owner/Name".into(),
        archived: false,
        label_renames: Default::default(),
        rendered_at: "2026-03-02T00:00:00Z".parse().unwrap(),
    };
    render::thread(record, &context)
}

/// A person as GitHub puts one wherever it names one.
fn user(login: &str) -> Value {
    json!({
        "login": login, "id": 1, "node_id": "U_1", "url": "https://api.github.com/users/x", "type": "User",
        "html_url": "https://github.com/x", "followers_url": "https://api.github.com/users/x/followers", "site_admin": false,
    })
}

fn issue() -> Value {
    json!({
        "id": 9_007_199_254_740_993_u64, "node_id": "I_1", "number": 12, "title": "Crash", "body": "text", "state": "open",
        "url": "https://api.github.com/x", "html_url": "https://github.com/Owner/Name/issues/12", "user": user("author"),
        "labels": [{"name": "bug"}], "assignees": [], "created_at": "2026-01-01T00:00:00Z", "locked": true,
        "updated_at": "2026-02-01T00:00:00Z", "active_lock_reason": "spam", "milestone": null,
        "type": {"id": 4, "node_id": "IT_4", "name": "Bug", "description": null, "is_enabled": true},
        "reactions": {"url": "https://api.github.com/x", "total_count": 2, "+1": 2, "-1": 0},
        "sub_issues_summary": {"total": 0, "completed": 0, "percent_completed": 0},
        "performed_via_github_app": {
            "id": 3, "slug": "ci", "name": "CI", "owner": user("ci-makers"), "permissions": {"issues": "write"},
            "external_url": "https://ci.example", "events": ["push"],
        },
        "timeline_url": "https://api.github.com/x",
    })
}

fn item_extra(issue: Value, pull: Option<Value>) -> Value {
    let mut record = record(if pull.is_some() { Kind::PullRequest } else { Kind::Issue });
    (record.issue, record.pull) = (Some(issue), pull);
    Value::Object(documents(&record).item.extra.fields())
}

/// The documents of an entry of the timeline.
fn of_entry(entry: Value) -> (EventDocument, Option<CommentDocument>) {
    let mut record = record(Kind::PullRequest);
    record.issue = Some(issue());
    record.timeline = vec![entry];
    let mut documents = documents(&record);
    (documents.events.remove(0), documents.comments.pop())
}

fn event_extra(event: &str, more: Value) -> Value {
    let mut entry = json!({
        "event": event, "id": 5, "node_id": "LE_5", "actor": user("owner"), "created_at": "2026-01-02T00:00:00Z",
        "url": "https://api.github.com/x", "commit_id": null, "commit_url": null, "performed_via_github_app": null,
    });
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut extra = of_entry(entry).0.extra.fields();
    assert_eq!(extra.remove("id"), Some(json!(5)), "{event}");
    Value::Object(extra)
}

#[test]
fn an_item_keeps_what_has_no_field() {
    let of_issue = json!({
        "id": 9_007_199_254_740_993_u64, "node_id": "I_1", "html_url": "https://github.com/Owner/Name/issues/12",
        "active_lock_reason": "spam", "type": {"id": 4, "node_id": "IT_4", "name": "Bug", "is_enabled": true},
        "reactions": {"total_count": 2, "+1": 2}, "performed_via_github_app": {"id": 3, "slug": "ci", "name": "CI"},
    });
    assert_eq!(item_extra(issue(), None), of_issue);
    let pull = json!({
        "id": 77, "number": 12, "additions": 0, "merge_commit_sha": "ab", "merged": false, "_links": {"self": {}},
        "head": {"label": "fork:topic", "ref": "topic", "sha": "cd", "user": user("fork"), "repo": {
            "id": 8, "full_name": "fork/Name", "owner": user("fork"), "description": "a copy", "forks_url": "https://x"}},
        "auto_merge": {"enabled_by": user("owner"), "merge_method": "squash"}, "requested_reviewers": [user("r")],
    });
    let mut of_both = of_issue;
    of_both.as_object_mut().unwrap().extend(
        json!({
            "additions": 0, "merge_commit_sha": "ab", "merged": false,
            "head": {"label": "fork:topic", "ref": "topic", "sha": "cd", "user": {"id": 1, "login": "fork"},
                "repo": {"id": 8, "full_name": "fork/Name"}},
            "auto_merge": {"enabled_by": {"id": 1, "login": "owner"}, "merge_method": "squash"},
        })
        .as_object()
        .unwrap()
        .clone(),
    );
    assert_eq!(item_extra(issue(), Some(pull)), of_both, "the issue's own fields go before the pull request's");
}

#[test]
fn every_sort_of_comment_keeps_what_has_no_field() {
    let said = |more: Value| {
        let mut said = json!({
            "id": 6, "node_id": "C_6", "user": user("helper"), "body": "text", "author_association": "MEMBER",
            "created_at": "2026-01-02T00:00:00Z", "updated_at": "2026-01-03T00:00:00Z", "html_url": "https://github.com/x#6",
            "issue_url": "https://api.github.com/x",
        });
        said.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        said
    };
    let (event, comment) = of_entry(said(json!({
        "event": "commented", "actor": user("helper"), "performed_via_github_app": {"id": 3, "slug": "ci", "owner": user("x")},
        "reactions": {"total_count": 1, "heart": 1, "+1": 0}, "pin": {"pinned_at": "2026-01-04T00:00:00Z", "pinned_by": user("o")},
        "minimized": {"reason": "outdated"},
    })));
    let comment = comment.unwrap();
    assert_eq!(
        Value::Object(comment.extra.fields()),
        json!({
            "node_id": "C_6", "html_url": "https://github.com/x#6", "performed_via_github_app": {"id": 3, "slug": "ci"},
            "reactions": {"total_count": 1, "heart": 1}, "minimized": {"reason": "outdated"},
            "pin": {"pinned_at": "2026-01-04T00:00:00Z", "pinned_by": {"id": 1, "login": "o"}},
        })
    );
    assert_eq!(Value::Object(event.extra.fields()), json!({"id": 6}), "its comment has the rest");

    let (event, review) = of_entry(said(json!({
        "event": "reviewed", "state": "approved", "commit_id": "ab", "submitted_at": "2026-01-02T00:00:00Z", "_links": {},
    })));
    let review = json!({"node_id": "C_6", "html_url": "https://github.com/x#6", "commit_id": "ab"})
        == json!(review.unwrap().extra);
    assert!(review, "the state and its time have fields");
    assert_eq!(Value::Object(event.extra.fields()), json!({"id": 6}));

    let place = json!({
        "diff_hunk": "@@ -1,2 +1,3 @@\n fn main() {\n+\tx(\"\\u{0}\");", "line": 5, "original_line": 5, "side": "RIGHT", "position": 0,
        "start_line": null, "commit_id": "ab", "in_reply_to_id": 4, "subject_type": "line", "pull_request_review_id": 3,
        "reactions": {"total_count": 0, "+1": 0},
    });
    let mut expected = place.clone();
    expected.as_object_mut().unwrap().retain(|name, _| !["start_line", "reactions"].contains(&name.as_str()));
    expected["node_id"] = json!("C_6");
    expected["html_url"] = json!("https://github.com/x#6");
    let mut record = record(Kind::PullRequest);
    record.issue = Some(issue());
    record.review_comments = vec![said(place.clone())];
    assert_eq!(json!(documents(&record).comments[0].extra), expected);
    let (event, comment) = of_entry(json!({"event": "line-commented", "node_id": "T_1", "comments": [said(place)]}));
    assert_eq!(json!(comment.unwrap().extra), expected, "as those of old threads, which only the timeline has");
    assert!(event.extra.is_empty());
}

#[test]
fn events_keep_what_has_no_field() {
    let app = json!({"id": 3, "slug": "ci", "name": "CI", "owner": user("x"), "permissions": {}});
    let source = json!({"type": "issue", "issue": {
        "id": 8, "number": 3, "title": "Perhaps private", "html_url": "https://github.com/o/n/issues/3", "user": user("x"),
        "body": "long", "repository": {"id": 2, "full_name": "o/n"}}});
    let commit = json!({
        "event": "committed", "sha": "ab", "node_id": "C_1", "html_url": "https://github.com/x", "message": "Fix it",
        "author": {"name": "A", "email": "a@example.org", "date": "2026-01-01T00:00:00Z"}, "tree": {"sha": "cd", "url": "https://x"},
        "parents": [{"sha": "ef", "url": "https://x", "html_url": "https://x"}],
        "verification": {"verified": true, "reason": "valid", "signature": "-----BEGIN", "payload": "tree", "verified_at": null},
    });
    for (event, said, kept) in [
        (
            "labeled",
            json!({"label": {"name": "bug", "color": "ff0000"}, "performed_via_github_app": app}),
            json!({"performed_via_github_app": {"id": 3, "slug": "ci", "name": "CI"}}),
        ),
        (
            "assigned",
            json!({"assignee": user("helper"), "assigner": user("owner")}),
            json!({"assigner": {"id": 1, "login": "owner"}}),
        ),
        ("milestoned", json!({"milestone": {"title": "1.0"}}), json!({})),
        ("renamed", json!({"rename": {"from": "Old", "to": "New"}}), json!({"rename": {"from": "Old", "to": "New"}})),
        (
            "review_requested",
            json!({"review_requester": user("owner"), "requested_team": {"slug": "core", "id": 9}}),
            json!({"review_requester": {"id": 1, "login": "owner"}}),
        ),
        (
            "review_dismissed",
            json!({"dismissed_review": {"state": "approved", "review_id": 3, "dismissal_message": "old"}}),
            json!({"dismissed_review": {"state": "approved", "review_id": 3, "dismissal_message": "old"}}),
        ),
        ("locked", json!({"lock_reason": "spam"}), json!({})),
        ("closed", json!({"commit_id": null, "state_reason": "not_planned"}), json!({})),
        ("closed", json!({"commit_id": "ab", "state_reason": "completed"}), json!({"state_reason": "completed"})),
        (
            "moved_columns_in_project",
            json!({"project_id": 4, "project_card": {"id": 2, "url": "https://x",
            "project_url": "https://x", "column_name": "Done", "previous_column_name": "To do"}}),
            json!({"project_id": 4, "project_card": {"id": 2, "column_name": "Done", "previous_column_name": "To do"}}),
        ),
        (
            "cross-referenced",
            json!({"source": source, "updated_at": "2026-01-02T00:00:00Z"}),
            json!({"source": {"type": "issue", "issue": {"id": 8, "number": 3, "html_url": "https://github.com/o/n/issues/3"}}}),
        ),
        (
            "from_the_future",
            json!({"body": "text", "comments": 3, "who": [user("a"), null], "updated_at": "2027"}),
            json!({"body": "text", "comments": 3, "who": [{"id": 1, "login": "a"}, null], "updated_at": "2027"}),
        ),
    ] {
        assert_eq!(event_extra(event, said), kept, "{event}");
    }
    let expected = json!({
        "html_url": "https://github.com/x", "message": "Fix it", "tree": {"sha": "cd"}, "parents": [{"sha": "ef"}],
        "author": {"name": "A", "email": "a@example.org", "date": "2026-01-01T00:00:00Z"},
        "verification": {"verified": true, "reason": "valid"},
    });
    assert_eq!(json!(of_entry(commit).0.extra), expected);
}

#[test]
fn what_has_nothing_more_to_say_has_no_extra() {
    let (event, _) =
        of_entry(json!({"event": "closed", "actor": user("owner"), "created_at": "2026-01-02T00:00:00Z", "url": "x",
        "commit_id": null, "note": "", "list": [], "none": [null, {}], "object": {"count": 0, "url": "x"}}));
    assert!(event.extra.is_empty());
    let written = serde_json::to_value(&event).unwrap();
    assert!(written.get("extra").is_none(), "{written}");
    assert_eq!(serde_json::from_value::<EventDocument>(written).unwrap(), event);
}

#[test]
fn nothing_that_a_remote_sends_makes_extra_large() {
    const LARGEST: usize = 4 * 1024;
    let deep = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    for (name, value) in [
        ("text", json!("x".repeat(2 * 1024))),
        ("controls", json!("\u{1}".repeat(400))),
        ("list", json!(vec![1; 2 * 1024])),
        ("nulls", json!([vec![Value::Null; 500], 1])),
        ("object", (0..200).map(|number| (format!("field number {number}"), json!(1))).collect()),
        ("deep", deep(9)),
        ("deeper", deep(100)),
    ] {
        assert_eq!(event_extra("e", json!({name: value, "small": 1})), json!({"small": 1}), "{name}");
    }
    assert_eq!(event_extra("e", json!({"n".repeat(2 * 1024): 1})), json!({}), "a long name");
    let nearly = json!({"text": "x".repeat(2_000), "deep": deep(8), "controls": "\u{1}".repeat(300)});
    assert_eq!(event_extra("e", nearly.clone()), nearly);

    let many: Value = (0..100_000).map(|number| (format!("field{number}"), json!("value"))).collect();
    let mut entry = json!({"event": "e", "large": "x".repeat(1_500)});
    entry.as_object_mut().unwrap().extend(many.as_object().unwrap().clone());
    let one = of_entry(entry.clone()).0.extra;
    assert!(one.len() <= LARGEST && one.len() > LARGEST - 100, "{}", one.len());
    let kept = one.fields();
    assert!(kept.contains_key("field0") && !kept.contains_key("large"), "the small ones go first: {:?}", kept.keys());
    let turned: Value =
        entry.as_object().unwrap().iter().rev().map(|(name, value)| (name.clone(), value.clone())).collect();
    assert_eq!(of_entry(turned).0.extra, one, "whatever order GitHub sends them in");
}

/// Numbers and texts are what GitHub sent, to the last digit and letter.
#[test]
fn what_is_kept_is_kept_exactly() {
    let odd = json!({
        "large": 9_007_199_254_740_993_u64, "largest": u64::MAX, "least": i64::MIN, "part": 0.1, "small": 1e-7,
        "a.dotted.name": {"": {"b.c": "ü\u{0}\u{1f600}\"\\"}}, "": "nameless", "lists": [[[]], [0, -1], ["", "x"]],
    });
    let mut kept = odd.clone();
    kept["lists"] = json!([null, [0, -1], [null, "x"]]);
    assert_eq!(event_extra("e", odd), kept);
    let extra: Extra = serde_json::from_value(kept.clone()).unwrap();
    let again: Extra = serde_json::from_str(&serde_json::to_string(&extra).unwrap()).unwrap();
    assert_eq!((Value::Object(again.fields()), again), (kept, extra));
}

/// GitHub's fields that documents have under these names.
const ITEM_FIELDS: [(&str, &str); 26] = [
    ("assignee", "assignees"),
    ("assignees", "assignees"),
    ("author_association", "author_association"),
    ("body", "body"),
    ("closed_at", "closed_at"),
    ("closed_by", "closed_by"),
    ("comments", "comments"),
    ("created_at", "created_at"),
    ("draft", "draft"),
    ("labels", "labels"),
    ("locked", "locked"),
    ("merged_at", "merged_at"),
    ("merged_by", "closed_by"),
    ("milestone", "milestone"),
    ("number", "number"),
    ("pull_request", "kind"),
    ("repository", "repository"),
    ("requested_reviewers", "review_requested"),
    ("requested_teams", "review_requested"),
    ("review_comments", "review_comments"),
    ("state", "state"),
    ("state_reason", "state_reason"),
    ("title", "title"),
    ("updated_at", "updated_at"),
    ("user", "author"),
    ("reactions", "reactions"),
];
const COMMENT_FIELDS: [(&str, &str); 12] = [
    ("actor", "author"),
    ("author_association", "author_association"),
    ("body", "body"),
    ("created_at", "created_at"),
    ("event", "part"),
    ("id", "id"),
    ("path", "path"),
    ("reactions", "reactions"),
    ("state", "review_state"),
    ("submitted_at", "created_at"),
    ("updated_at", "updated_at"),
    ("user", "author"),
];
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("actor", "actor"),
    ("created_at", "created_at"),
    ("event", "event"),
    ("label", "label"),
    ("state", "value"),
    ("submitted_at", "created_at"),
    ("user", "actor"),
];

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.iter().all(is_empty),
        Value::Object(fields) => fields.iter().all(|(name, value)| is_address(name) || is_empty(value) || *value == 0),
        _ => false,
    }
}

fn is_address(name: &str) -> bool {
    name == "url" || name == "_links" || name.ends_with("_url")
}

/// Adds what of GitHub's object is neither said by a field of the document, nor by `extra`.
fn lost(sort: &str, object: &Value, document: &impl Serialize, fields: &[(&str, &str)], lost: &mut BTreeSet<String>) {
    let document = serde_json::to_value(document).unwrap();
    for (name, value) in object.as_object().unwrap() {
        let has_field = || fields.iter().any(|(theirs, ours)| theirs == name && !document[ours].is_null());
        let is_about = || document["value"].as_str().is_some_and(|about| says(value, about));
        let is_kept = is_address(name) || is_empty(value) || document["extra"].get(name).is_some();
        if !is_kept && !has_field() && !is_about() {
            lost.insert(format!("{sort}: {name}"));
        }
    }
}

/// Whether a text is a value, or stands right in it.
fn says(value: &Value, text: &str) -> bool {
    value == text || value.as_object().is_some_and(|fields| fields.values().any(|field| field == text))
}

/// All that documents of these records do not say, as `event: field`.
fn lost_of(records: &[Record]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for record in records {
        let documents = documents(record);
        for object in [&record.issue, &record.pull].into_iter().flatten() {
            lost("item", object, &documents.item, &ITEM_FIELDS, &mut found);
        }
        let mut said: Vec<&Value> = record.review_comments.iter().collect();
        for (entry, document) in record.timeline.iter().zip(&documents.events) {
            let mut named = entry.clone();
            named.as_object_mut().unwrap().remove("node_id");
            lost(&document.event, &named, document, &EVENT_FIELDS, &mut found);
            match document.event.as_str() {
                "commented" | "reviewed" => said.push(entry),
                "line-commented" | "commit-commented" => {
                    said.extend(entry["comments"].as_array().into_iter().flatten())
                }
                _ => {}
            }
        }
        for comment in said {
            let id = comment["id"].as_u64();
            let document = documents.comments.iter().find(|document| document.id == id).unwrap();
            lost(&document.part, comment, document, &COMMENT_FIELDS, &mut found);
        }
    }
    found
}

/// What is left out on purpose, and occurs everywhere.
const LEFT_OUT: [&str; 8] = [
    // The document of the comment or review says it.
    "commented: author_association",
    "commented: body",
    "commented: updated_at",
    "reviewed: author_association",
    "reviewed: body",
    "reviewed: commit_id",
    "reviewed: updated_at",
    // The same as `created_at`.
    "cross-referenced: updated_at",
];

/// Fails unless just this is left out beside [`LEFT_OUT`] and the second ids of events.
fn assert_left_out(records: &[Record], more: &[&str]) {
    let expected: BTreeSet<&str> = LEFT_OUT.iter().chain(more).copied().collect();
    let lost = lost_of(records);
    let lost: BTreeSet<&str> = lost.iter().map(String::as_str).collect();
    assert_eq!(lost, expected);
}

#[test]
fn nothing_of_a_simulated_repository_is_lost_but_what_is_meant_to_be() {
    let name: RepositoryName = "octo/box".parse().unwrap();
    let world = World::generated(7, name.clone(), 150);
    let simulator = Simulator::start(world, Options::unlimited()).unwrap();
    let control = simulator.control();
    let present = control.truth_numbers(&name).into_iter().filter_map(|number| {
        let Truth::Present { issue, timeline, pull, review_comments } = control.truth(&name, number)? else {
            return None;
        };
        let mut record = record(if pull.is_some() { Kind::PullRequest } else { Kind::Issue });
        (record.issue, record.timeline, record.pull) = (Some(issue), timeline, pull);
        record.review_comments = review_comments;
        Some(record)
    });
    let records: Vec<_> = present.collect();
    assert!(records.len() > 100);
    // The documents of the comments say it.
    let of_comments = ["commented: performed_via_github_app", "commented: pin", "commented: reactions"];
    assert_left_out(&records, &[&of_comments[..], &["commit-commented: comments"]].concat());
}

#[test]
fn nothing_of_a_recorded_repository_is_lost_but_what_is_meant_to_be() {
    let name = "nothing_of_a_recorded_repository_is_lost_but_what_is_meant_to_be";
    let Some(folder) = recorded_data(name) else { return };
    let records: Vec<_> = recorded_records(&folder, record).into_iter().step_by(4).collect();
    // Large ones; and who had closed what is open again, which its events say.
    assert_left_out(&records, &["committed: message", "review_comment: diff_hunk", "item: closed_by"]);
}
