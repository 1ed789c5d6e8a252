//! Records become documents: what is told, what is concluded, and that nothing in a record is an error.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Instant;

use gharvest_model::{
    Kind, Record, RepositoryId, RepositoryName, Revision,
    labels::LabelRenames,
    record::{RecordRepository, RecordState, RecordText},
};
use gharvest_search::{
    daily,
    document::{IntervalDocument, ThreadDocuments, WaitingOn, document_digest, thread_digest},
    query::{ParseContext, Query, evaluate::matches},
    render::{self, RenderContext},
};
use gharvest_testkit::{recorded_data, recorded_records};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

fn record(kind: Kind) -> Record {
    let name: RepositoryName = "Owner/Name".parse().unwrap();
    let mut record =
        Record::new(RecordRepository { id: RepositoryId(7), full_name: name }, 12, kind, time("2026-03-01T00:00:00Z"));
    record.revision = Revision(3);
    record
}

fn context() -> RenderContext {
    RenderContext {
        repository: "Owner/Name".into(),
        archived: false,
        label_renames: Default::default(),
        rendered_at: time("2026-03-02T00:00:00Z"),
    }
}

fn renamed(label: u64, from: &str, to: &str, at: &str) -> LabelRenames {
    serde_json::from_value(json!([{"label": label, "from": from, "to": to, "at": at}])).unwrap()
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn user(login: &str) -> Value {
    json!({"login": login, "id": 1, "type": if login.ends_with("[bot]") { "Bot" } else { "User" }})
}

fn issue() -> Value {
    json!({
        "number": 12, "title": "Crash in FooBar", "body": "Since #3 <!-- fill in --> see `src/a.rs:9`, @helper",
        "state": "open", "user": user("author"), "labels": [{"name": "bug", "color": "D73A4A"}], "assignees": [],
        "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-02-01T00:00:00Z", "locked": false,
        "reactions": {"total_count": 2, "+1": 2}, "type": {"name": "Bug"},
    })
}

fn event(event: &str, actor: &str, at: &str, more: Value) -> Value {
    let mut value = json!({"event": event, "actor": user(actor), "created_at": at, "id": 5});
    value.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    value
}

fn comment(author: &str, association: &str, at: &str, body: &str) -> Value {
    event("commented", author, at, json!({"user": user(author), "author_association": association, "body": body}))
}

fn spans<'a>(documents: &'a ThreadDocuments, dimension: &str) -> Vec<&'a IntervalDocument> {
    documents.intervals.iter().filter(|interval| interval.dimension == dimension).collect()
}

fn rendered(timeline: Vec<Value>, change: impl FnOnce(&mut Value)) -> ThreadDocuments {
    let mut record = record(Kind::Issue);
    let mut issue = issue();
    change(&mut issue);
    record.issue = Some(issue);
    record.timeline = timeline;
    render::thread(&record, &context())
}

#[test]
fn an_item_carries_what_github_says_and_what_its_texts_refer_to() {
    let documents = rendered(vec![comment("helper", "MEMBER", "2026-01-01T05:00:00Z", "as in other/repo#4")], |_| {});
    let item = &documents.item;
    assert_eq!(
        (item.key.as_str(), item.state.as_str(), item.labels.as_slice()),
        ("7:12", "open", ["bug".to_owned()].as_slice())
    );
    assert_eq!(item.label_colors, ["d73a4a"]);
    assert_eq!(item.body, "Since #3  see `src/a.rs:9`, @helper");
    assert_eq!(item.refs, ["other/repo#4", "Owner/Name#3"]);
    assert_eq!(
        (item.paths.as_slice(), item.mentions.as_slice()),
        (["src/a.rs".to_owned()].as_slice(), ["helper".to_owned()].as_slice())
    );
    assert_eq!((item.reactions, item.interactions, item.participants, item.comments), (2, 3, 2, 1));
    assert_eq!(item.extra.fields()["type"]["name"], "Bug");
    assert_eq!((item.comment_documents, item.event_documents), (1, 1));
    assert_eq!(documents.comments[0].key, "7:12:c0");
    assert_eq!(documents.events[0].key, "7:12:e0");
}

#[test]
fn metrics_leave_out_bots_and_the_author() {
    let documents = rendered(
        vec![
            comment("ci[bot]", "NONE", "2026-01-01T01:00:00Z", "beep"),
            event("labeled", "ci[bot]", "2026-01-01T01:00:00Z", json!({"label": {"name": "bug"}})),
            comment("author", "NONE", "2026-01-01T02:00:00Z", "more"),
            comment("passer-by", "NONE", "2026-01-01T03:00:00Z", "me too"),
            comment("owner", "OWNER", "2026-01-01T04:00:00Z", "look"),
            event("milestoned", "owner", "2026-01-01T06:00:00Z", json!({"milestone": {"title": "1.0"}})),
        ],
        |issue| issue["milestone"] = json!({"title": "1.0"}),
    );
    let metrics = documents.item.metrics;
    assert_eq!((metrics.h_first_response, metrics.h_first_maintainer_response), (Some(3.0), Some(4.0)));
    assert_eq!((metrics.h_to_triage, metrics.h_to_close, metrics.h_open_total), (Some(6.0), None, None));
    assert_eq!(metrics.waiting_on, Some(WaitingOn::Author));
}

#[test]
fn a_reopened_item_has_every_open_span_and_one_first_close() {
    let documents = rendered(
        vec![
            event("closed", "owner", "2026-01-02T00:00:00Z", json!({})),
            event("reopened", "author", "2026-01-03T00:00:00Z", json!({})),
            event("closed", "owner", "2026-01-03T12:00:00Z", json!({})),
        ],
        |issue| {
            issue["state"] = "closed".into();
            issue["closed_at"] = "2026-01-03T12:00:00Z".into();
        },
    );
    let states: Vec<_> = spans(&documents, "state").iter().map(|span| (span.value.as_str(), span.to)).collect();
    let ends = [
        Some(time("2026-01-02T00:00:00Z")),
        Some(time("2026-01-03T00:00:00Z")),
        Some(time("2026-01-03T12:00:00Z")),
        None,
    ];
    assert_eq!(states.iter().map(|(value, _)| *value).collect::<Vec<_>>(), ["open", "closed", "open", "closed"]);
    assert_eq!(states.iter().map(|(_, to)| *to).collect::<Vec<_>>(), ends);
    assert_eq!((documents.item.metrics.h_to_close, documents.item.metrics.h_open_total), (Some(24.0), Some(36.0)));
    assert_eq!((documents.item.reopens, documents.item.closed_by.as_deref()), (1, Some("owner")));
}

#[test]
fn a_merge_and_its_close_are_one_change() {
    let mut record = record(Kind::PullRequest);
    let mut pull = issue();
    pull["state"] = "closed".into();
    pull["merged_at"] = "2026-01-05T00:00:00Z".into();
    pull["closed_at"] = "2026-01-05T00:00:00Z".into();
    pull["body"] = "Fixes #3".into();
    pull["head"] = json!({"ref": "topic", "sha": "0123456789abcdef0123456789abcdef01234567"});
    record.pull = Some(pull);
    record.timeline = vec![
        event("ready_for_review", "author", "2026-01-02T00:00:00Z", json!({})),
        json!({"event": "reviewed", "user": user("owner"), "state": "APPROVED", "submitted_at": "2026-01-04T00:00:00Z", "id": 9}),
        event(
            "merged",
            "owner",
            "2026-01-05T00:00:00Z",
            json!({"commit_id": "abcdef0123456789abcdef0123456789abcdef01"}),
        ),
        event("closed", "owner", "2026-01-05T00:00:00Z", json!({})),
    ];
    let documents = render::thread(&record, &context());
    let states: Vec<_> = spans(&documents, "state").iter().map(|span| span.value.as_str()).collect();
    assert_eq!(states, ["open", "merged"]);
    let [draft] = spans(&documents, "draft")[..] else { panic!("one span of draft") };
    assert_eq!(
        (draft.from, draft.to, draft.inferred),
        (time("2026-01-01T00:00:00Z"), Some(time("2026-01-02T00:00:00Z")), true)
    );
    let item = &documents.item;
    assert_eq!(
        (item.state.as_str(), item.review.as_deref(), item.head.as_deref()),
        ("merged", Some("approved"), Some("topic"))
    );
    assert!(item.linked);
    assert_eq!(item.shas.len(), 2);
    assert_eq!((item.metrics.h_to_merge, item.metrics.h_to_first_review), (Some(96.0), Some(72.0)));
}

#[test]
fn spans_are_reconciled_with_what_github_says_now() {
    let mut record = record(Kind::Issue);
    let mut issue = issue();
    issue["labels"] = json!([{"name": "kind: bug"}, {"name": "from nowhere"}]);
    issue["title"] = "New title".into();
    record.issue = Some(issue);
    record.timeline = vec![
        event("labeled", "owner", "2026-01-02T00:00:00Z", json!({"label": {"name": "bug"}})),
        event("labeled", "owner", "2026-01-02T00:00:00Z", json!({"label": {"name": "deleted since"}})),
        event("unlabeled", "owner", "2026-01-03T00:00:00Z", json!({"label": {"name": "there from the start"}})),
        event("labeled", "owner", "2026-01-04T00:00:00Z", json!({"label": {"name": "a moment"}})),
        event("unlabeled", "owner", "2026-01-04T00:00:00Z", json!({"label": {"name": "a moment"}})),
        event("renamed", "owner", "2026-01-05T00:00:00Z", json!({"rename": {"from": "Old title", "to": "New title"}})),
    ];
    let context = RenderContext { label_renames: renamed(1, "bug", "kind: bug", "2026-01-20T00:00:00Z"), ..context() };
    let documents = render::thread(&record, &context);
    let found: Vec<_> = spans(&documents, "label")
        .iter()
        .map(|span| (span.value.as_str(), span.value_now.as_deref(), span.to.map(|to| to.to_string()), span.inferred))
        .collect();
    assert_eq!(
        found,
        [
            ("from nowhere", None, None, true),
            ("there from the start", None, Some("2026-01-03T00:00:00Z".into()), true),
            ("bug", Some("kind: bug"), Some("2026-01-20T00:00:00Z".into()), false),
            ("deleted since", None, Some("2026-02-01T00:00:00Z".into()), true),
            ("kind: bug", None, None, false),
        ]
    );
    assert!(documents.item.labels_ever.contains(&"a moment".to_owned()));
    let titles: Vec<_> = spans(&documents, "title").iter().map(|span| span.value.as_str()).collect();
    assert_eq!(titles, ["Old title", "New title"]);
}

#[test]
fn a_renamed_label_is_found_by_the_name_it_had_then_and_by_the_name_it_has() {
    let mut record = record(Kind::Issue);
    let mut issue = issue();
    // As it was fetched, before the second rename.
    issue["labels"] = json!([{"name": "defect"}]);
    record.issue = Some(issue);
    record.timeline = vec![
        event("labeled", "owner", "2026-01-02T00:00:00Z", json!({"label": {"name": "bug"}})),
        event("unlabeled", "owner", "2026-01-20T00:00:00Z", json!({"label": {"name": "defect"}})),
        event("labeled", "owner", "2026-01-25T00:00:00Z", json!({"label": {"name": "defect"}})),
        // Another label, that took the name when it was free.
        event("labeled", "owner", "2026-01-26T00:00:00Z", json!({"label": {"name": "bug"}})),
        event("unlabeled", "owner", "2026-01-28T00:00:00Z", json!({"label": {"name": "bug"}})),
    ];
    let label_renames = serde_json::from_value(json!([
        {"label": 1, "from": "bug", "to": "defect", "at": "2026-01-10T00:00:00Z"},
        {"label": 1, "from": "defect", "to": "kind: bug", "at": "2026-03-05T00:00:00Z"},
    ]));
    let context =
        RenderContext { label_renames: label_renames.unwrap(), rendered_at: time("2026-03-06T00:00:00Z"), ..context() };
    let documents = render::thread(&record, &context);
    assert_eq!(documents.item.labels, ["kind: bug"]);
    let parse = ParseContext { now: time("2026-03-06T00:00:00Z"), me: None };
    let found = |query: &str| matches(Query::parse(query, &parse).query.node(), &documents);
    for (query, is_found) in [
        ("label:bug@2026-01-05", true),
        ("label:bug@2026-01-12", false),
        ("label:defect@2026-01-05", false),
        ("label:defect@2026-01-12", true),
        ("label:\"kind: bug\"@2026-01-05", true),
        ("label:\"kind: bug\"@2026-01-22", false),
        ("label:defect@2026-01-27", true),
        ("label:bug@2026-01-27", true),
        ("label:bug@2026-01-30", false),
        ("label:\"kind: bug\"@2026-03-06", true),
        ("label:defect@2026-03-06", false),
        ("label:\"kind: bug\"", true),
        ("label:defect", false),
        ("was:label:defect was:label:bug was:label:\"kind: bug\"", true),
    ] {
        assert_eq!(found(query), is_found, "{query}");
    }
}

#[test]
fn a_tombstone_is_marked_in_every_document_and_ends_its_spans() {
    let mut record = record(Kind::Issue);
    record.issue = Some(issue());
    record.state = RecordState::Deleted;
    record.changed_at = time("2026-02-20T00:00:00Z");
    let documents = render::thread(&record, &context());
    assert!(documents.item.deleted && documents.intervals.iter().all(|interval| interval.deleted));
    assert!(documents.intervals.iter().all(|interval| interval.to == Some(time("2026-02-20T00:00:00Z"))));
}

#[test]
fn the_digest_says_what_the_documents_say_and_not_when_they_were_made() {
    let mut record = record(Kind::Issue);
    record.issue = Some(issue());
    let first = render::thread(&record, &context());
    record.revision = Revision(9);
    record.fetched_at = time("2026-04-01T00:00:00Z");
    let later = render::thread(&record, &RenderContext { rendered_at: time("2026-05-01T00:00:00Z"), ..context() });
    assert_eq!(first.digest, later.digest);
    assert!(later.version > first.version);
    record.issue.as_mut().unwrap()["title"] = "Another".into();
    assert_ne!(render::thread(&record, &context()).digest, first.digest);
    assert_eq!(first.digest, thread_digest(&first.digests()));
    let stored: serde_json::Value = serde_json::to_value(&first.item).unwrap();
    let read: gharvest_search::document::ItemDocument = serde_json::from_value(stored.clone()).unwrap();
    assert_eq!(read, first.item, "a document survives being stored");
    assert_eq!(first.digests()[0], ("7:12".into(), document_digest(&stored)));
}

#[test]
fn an_entry_that_is_no_json_is_an_error_that_says_so() {
    let mut record = record(Kind::Issue);
    record.timeline = vec![json!({"event": "closed"})];
    let text = serde_json::to_string(&record).unwrap().replace("closed", "\\ud800");
    let read: RecordText<'_> = serde_json::from_str(&text).unwrap();
    let error = render::thread_of_text(&read, &context()).unwrap_err();
    assert!(error.to_string().contains("hex escape"), "{error}");
}

#[test]
fn repository_and_releases_become_documents() {
    let object = json!({"private": true, "stargazers_count": 5, "topics": ["rust", 3], "description": null});
    let version = gharvest_search::document::Version(8);
    let document = render::repository(RepositoryId(7), "a/b", &object, time("2026-01-01T00:00:00Z"), version);
    assert_eq!(
        (document.stars, document.private, document.topics.as_slice()),
        (5, true, ["rust".to_owned()].as_slice())
    );
    let list = json!([{"id": 1, "tag_name": "v1", "body": "x<!-- y -->", "created_at": "2026-01-01T00:00:00Z"}, {"id": 2, "draft": true}, 5]);
    let releases = render::releases(RepositoryId(7), "a/b", true, &list, time("2026-01-01T00:00:00Z"), version);
    let [release] = releases.as_slice() else { panic!("one release: {releases:?}") };
    assert_eq!((release.key.as_str(), release.body.as_str(), release.private), ("7:r:1", "x", true));
}

/// Any JSON, with GitHub's own field names often among the keys.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        "(2026-01-0[1-9]T00:00:00Z|-9999-01-01T00:00:00Z|closed|open|#1|<!--|true)".prop_map(Value::from),
    ];
    let keys = "(event|actor|user|login|type|created_at|label|labels|name|title|body|state|milestone|rename|from|to|id|comments|source|issue|number|assignee|assignees|head|ref|sha|reactions|total_count|merged_at|closed_at|draft|locked|url|[a-z]{1,3})";
    leaf.prop_recursive(5, 60, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((keys, inner), 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// A timeline entry of a known event with fields of any kind.
fn any_event() -> impl Strategy<Value = Value> {
    let events = "(labeled|unlabeled|closed|reopened|merged|renamed|assigned|unassigned|milestoned|demilestoned|locked|unlocked|convert_to_draft|ready_for_review|commented|reviewed|cross-referenced|line-commented|from_the_future)";
    (events, any_json(), any_json(), "2026-01-0[1-9]T00:00:00Z", "(a|b|c)").prop_map(|(event, one, two, at, name)| {
        json!({"event": event, "actor": one, "created_at": at, "label": {"name": name}, "milestone": {"title": name},
            "assignee": {"login": name}, "rename": {"from": name, "to": two}, "source": two, "comments": two, "user": one})
    })
}

proptest! {
    #[test]
    fn nothing_in_a_record_is_an_error(
        issue in proptest::option::of(any_json()), pull in proptest::option::of(any_json()),
        events in proptest::collection::vec(prop_oneof![any_json(), any_event()], 0..30),
        review_comments in proptest::collection::vec(any_json(), 0..5), is_pull in any::<bool>(),
    ) {
        let mut record = record(if is_pull { Kind::PullRequest } else { Kind::Issue });
        (record.issue, record.pull, record.timeline, record.review_comments) = (issue, pull, events, review_comments);
        let documents = render::thread(&record, &context());
        let text = serde_json::to_string(&record).unwrap();
        let read: RecordText<'_> = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&render::thread_of_text(&read, &context()).unwrap(), &documents, "entries as text");
        prop_assert_eq!(documents.intervals.len(), documents.item.interval_documents as usize);
        for interval in &documents.intervals {
            prop_assert!(interval.to.is_none_or(|to| interval.from < to));
        }
        for dimension in ["state", "title"] {
            let line = spans(&documents, dimension);
            prop_assert!(line.windows(2).all(|pair| pair[0].to == Some(pair[1].from)), "{} has no gap", dimension);
            prop_assert_eq!(line.iter().filter(|span| span.to.is_none()).count(), 1);
        }
        let open = |dimension: &str| {
            let mut open: Vec<String> = spans(&documents, dimension).iter().filter(|s| s.to.is_none()).map(|s| s.value.to_lowercase()).collect();
            open.sort();
            open
        };
        let mut labels: Vec<String> = documents.item.labels.iter().map(|label| label.to_lowercase()).collect();
        labels.sort();
        labels.dedup();
        prop_assert_eq!(open("label"), labels, "open spans are what GitHub says now");
    }
}

#[test]
fn a_recorded_repository_renders_and_its_daily_counts_agree_with_a_replay() {
    let name = "a_recorded_repository_renders_and_its_daily_counts_agree_with_a_replay";
    let Some(folder) = recorded_data(name) else { return };
    let records = recorded_records(&folder, record);
    let begin = Instant::now();
    let threads: Vec<ThreadDocuments> = records.iter().map(|record| render::thread(record, &context())).collect();
    let taken = begin.elapsed();
    let count = |of: fn(&ThreadDocuments) -> usize| threads.iter().map(of).sum::<usize>();
    let (comments, events, intervals) =
        (count(|t| t.comments.len()), count(|t| t.events.len()), count(|t| t.intervals.len()));
    let mut builder = daily::Builder::new();
    threads.iter().flat_map(|thread| &thread.intervals).for_each(|interval| builder.add(interval.clone()));
    let until = daily::day_of(threads.iter().map(|thread| thread.item.updated_at).max().unwrap());
    let context = daily::DailyContext {
        repository_id: RepositoryId(7),
        repository: "Owner/Name".into(),
        private: false,
        version: 1,
    };
    let begin = Instant::now();
    let rows: Vec<_> = builder.finish(context, until).collect();
    eprintln!(
        "{} items in {taken:?}: {comments} comments, {events} events, {intervals} intervals; {} daily rows in {:?}",
        threads.len(),
        rows.len(),
        begin.elapsed()
    );
    let open_now = |kind| threads.iter().filter(|t| t.item.kind == kind && t.item.state == "open").count() as u32;
    for kind in [Kind::Issue, Kind::PullRequest] {
        let last = rows.iter().rfind(|row| row.dimension == "all" && row.kind == kind).unwrap();
        assert_eq!((last.day.clone(), last.open), (until.to_string(), open_now(kind)));
        let opened: u32 =
            rows.iter().filter(|row| row.dimension == "all" && row.kind == kind).map(|row| row.opened).sum();
        assert_eq!(opened as usize, threads.iter().filter(|thread| thread.item.kind == kind).count());
    }
    assert!(threads.iter().all(|thread| !thread.item.title.is_empty()));
}
