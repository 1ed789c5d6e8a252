//! What counts as a change: canonical JSON outside a reviewed list of volatile paths.
//!
//! Only a change raises the revision; a visit that says the same at most completes the record ([`crate::fill`]). Two
//! values are compared in step, without copies: the order of an object's keys does not count, the order of an array does.
//!
//! # What is volatile, and why
//! | path | reason |
//! | --- | --- |
//! | `schema`, `revision`, `fetched_at`, `changed_at`, `etags`, `api_version` of a record | of the visit, not of the thread |
//! | `pull.mergeable`, `mergeable_state`, `rebaseable` | computed anew, and null while that is going on |
//! | `pull.merge_commit_sha` while it is open, or where one side lacks it | a test merge; dropped by later API versions |
//! | `base.repo`, `head.repo` of a pull request, `repository` of an issue | a live copy of a repository with its counters |
//! | the same below `twin.issue` as below `issue` | a live copy like any |
//! | `open_issues`, `closed_issues`, `updated_at` of milestones | counters of other items |
//! | `source.issue` of a cross-reference, `sub_issue`, `parent_issue`, `blocked_by`, `blocking` of events, but for `id` and `number` | a live copy of another item |
//! | `performed_via_github_app`, but for `id` and `slug` | a live copy of an app |
//! | `assignee` beside `assignees` | the first of them again; dropped by later API versions |
//! | scheme and host of addresses, `/api/v3` before their path | how GitHub is reached: a proxy, Enterprise |
//! | the query of `avatar_url` | a cache's key |
//! | `origin`; and what [`crate::lossy`] lists, where one side came by GraphQL and the other by REST | of the visit: the thread is the same |
//! | in the same case keys of events and pull requests that only REST's side has | new ones of REST's; [`crate::fill`] keeps them |

use serde_json::{Map, Value};

use crate::{
    lossy::{self, Instead},
    record::{Origin, Record},
};

/// Whether two records say the same but for volatile paths. Of what is gone nothing moves by itself: there a difference
/// is one that somebody wanted, and counts wherever it is.
pub fn same_content(a: &Record, b: &Record) -> bool {
    if a.state.is_tombstone() && b.state.is_tombstone() && !same_to_the_letter(a, b) {
        return false;
    }
    a.repository == b.repository
        && a.number == b.number
        && a.kind == b.kind
        && a.state == b.state
        && a.visibility == b.visibility
        && a.kept == b.kept
        && a.history == b.history
        && same_option(a.twin.as_ref(), b.twin.as_ref(), Place::Twin)
        && same_map(&a.unknown, &b.unknown, Place::Other)
        && same_part(
            a.issue.as_ref(),
            b.issue.as_ref(),
            Place::Issue,
            "issue",
            lossy_side(a.origin.issue, b.origin.issue),
        )
        && same_part(a.pull.as_ref(), b.pull.as_ref(), Place::Pull, "pull", lossy_side(a.origin.pull, b.origin.pull))
        && same_timeline(a, b)
        && same_list(&a.review_comments, &b.review_comments, Place::Other)
}

fn same_to_the_letter(a: &Record, b: &Record) -> bool {
    a.issue == b.issue && a.pull == b.pull && a.timeline == b.timeline && a.review_comments == b.review_comments
}

/// Where in GitHub's objects a value stands, as far as the rules depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Issue,
    Pull,
    /// `base` or `head` of a pull request.
    Side,
    Milestone,
    Event,
    Source,
    /// A live copy of another item: only what identifies it counts.
    OtherItem,
    App,
    /// The private twin of a placeholder.
    Twin,
    Other,
}

impl Place {
    /// The place of a member; none if the member is volatile.
    fn member(self, key: &str) -> Option<Self> {
        match (self, key) {
            (Self::OtherItem, "id" | "number") | (Self::App, "id" | "slug") => Some(Self::Other),
            (Self::OtherItem | Self::App, _)
            | (Self::Pull, "mergeable" | "mergeable_state" | "rebaseable")
            | (Self::Side, "repo")
            | (Self::Issue, "repository")
            | (Self::Milestone, "open_issues" | "closed_issues" | "updated_at") => None,
            (Self::Pull, "base" | "head") => Some(Self::Side),
            (Self::Twin, "issue") => Some(Self::Issue),
            (Self::Issue | Self::Pull, "milestone") => Some(Self::Milestone),
            (Self::Event, "source") => Some(Self::Source),
            (Self::Source, "issue") | (Self::Event, "sub_issue" | "parent_issue" | "blocked_by" | "blocking") => {
                Some(Self::OtherItem)
            }
            (_, "performed_via_github_app") => Some(Self::App),
            _ => Some(Self::Other),
        }
    }
}

/// Which of two values came by GraphQL while the other came by REST: then what GraphQL cannot give does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lossy {
    First,
    Second,
}

fn lossy_side(a: Option<Origin>, b: Option<Origin>) -> Option<Lossy> {
    match (a == Some(Origin::Graphql), b == Some(Origin::Graphql)) {
        (true, false) => Some(Lossy::First),
        (false, true) => Some(Lossy::Second),
        _ => None,
    }
}

fn same_part(a: Option<&Value>, b: Option<&Value>, place: Place, name: &str, side: Option<Lossy>) -> bool {
    let (graphql, rest) = match side {
        _ if same_option(a, b, place) => return true,
        None => return false,
        Some(Lossy::First) => (a, b),
        Some(Lossy::Second) => (b, a),
    };
    graphql.is_some() && rest.is_some() && agrees(&mut vec![name], graphql, rest, place)
}

fn same_timeline(a: &Record, b: &Record) -> bool {
    let (graphql, rest) = match lossy_side(a.origin.timeline, b.origin.timeline) {
        Some(Lossy::First) => (&a.timeline, &b.timeline),
        Some(Lossy::Second) => (&b.timeline, &a.timeline),
        None => return same_list(&a.timeline, &b.timeline, Place::Event),
    };
    let event = |entry: &Value| entry.get("event").and_then(Value::as_str).unwrap_or_default().to_owned();
    let told: Vec<String> = graphql.iter().map(event).collect();
    // What GraphQL has no type for is missing without a trace.
    let counts = |entry: &&Value| lossy::is_always_told(&event(entry)) || told.contains(&event(entry));
    let rest: Vec<&Value> = rest.iter().filter(counts).collect();
    rest.len() == graphql.len()
        && graphql
            .iter()
            .zip(rest)
            .zip(&told)
            .all(|((a, b), event)| agrees(&mut vec!["timeline", event], Some(a), Some(b), Place::Event))
}

/// Whether a value by GraphQL is REST's but for what is volatile and what GraphQL cannot give; absent is null then.
fn agrees<'a>(path: &mut Vec<&'a str>, graphql: Option<&'a Value>, rest: Option<&'a Value>, place: Place) -> bool {
    if lossy::permits(path, graphql, rest).is_some_and(|listed| listed.instead != Instead::Fewer) {
        return true;
    }
    match (graphql, rest) {
        (Some(Value::Object(own)), Some(Value::Object(other))) => own.keys().all(|key| {
            let Some(below) = place.member(key).filter(|_| !is_derived(own, other, place, key)) else {
                return true;
            };
            let (one, two) = (own.get(key), other.get(key));
            path.push(key);
            let is_same = one.zip(two).is_some_and(|(one, two)| same_member(key, one, two, place));
            let agree = is_same || agrees(path, one, two, below);
            path.pop();
            agree
        }),
        (Some(Value::Array(one)), Some(Value::Array(two))) => {
            one.len() == two.len() && one.iter().zip(two).all(|(a, b)| agrees(path, Some(a), Some(b), place))
        }
        (one, two) => one.unwrap_or(&Value::Null) == two.unwrap_or(&Value::Null),
    }
}

fn same_option(a: Option<&Value>, b: Option<&Value>, place: Place) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => same(a, b, place),
        (a, b) => a.is_none() && b.is_none(),
    }
}

fn same(a: &Value, b: &Value, place: Place) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => same_map(a, b, place),
        (Value::Array(a), Value::Array(b)) => same_list(a, b, place),
        (a, b) => a == b,
    }
}

fn same_list(a: &[Value], b: &[Value], place: Place) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, place))
}

fn same_map(a: &Map<String, Value>, b: &Map<String, Value>, place: Place) -> bool {
    let volatile = |key: &str| place.member(key).is_none() || is_derived(a, b, place, key);
    a.iter().all(|(key, value)| volatile(key) || b.get(key).is_some_and(|other| same_member(key, value, other, place)))
        && b.keys().all(|key| volatile(key) || a.contains_key(key))
}

/// Members that depend on what stands beside them.
fn is_derived(a: &Map<String, Value>, b: &Map<String, Value>, place: Place, key: &str) -> bool {
    let both = |key: &str| a.contains_key(key) && b.contains_key(key);
    let is_open = |side: &Map<String, Value>| side.get("state").is_some_and(|state| state == "open");
    match (place, key) {
        (Place::Issue | Place::Pull, "assignee") => both("assignees"),
        (Place::Pull, "merge_commit_sha") => !both(key) || (is_open(a) && is_open(b)),
        _ => false,
    }
}

fn same_member(key: &str, a: &Value, b: &Value, place: Place) -> bool {
    if let (Value::String(a), Value::String(b)) = (a, b)
        && (key == "url" || key == "href" || key.ends_with("_url"))
    {
        return a == b || address(key, a) == address(key, b);
    }
    same(a, b, place.member(key).unwrap_or(place))
}

/// The part of an address that counts.
fn address<'a>(key: &str, text: &'a str) -> &'a str {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else { return text };
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    let path = path.strip_prefix("/api/v3").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    if key == "avatar_url" { path.split('?').next().unwrap_or(path) } else { path }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        ids::{Kind, RepositoryId},
        record::RecordRepository,
    };

    fn record() -> Record {
        let repository = RecordRepository { id: RepositoryId(7), full_name: "a/b".parse().unwrap() };
        let mut record = Record::new(repository, 3, Kind::PullRequest, jiff::Timestamp::UNIX_EPOCH);
        record.issue = Some(json!({
            "id": 1, "title": "t", "body": null, "assignee": {"login": "x"}, "assignees": [{"login": "x"}],
            "repository": {"stargazers_count": 1}, "url": "https://api.github.com/repos/a/b/issues/3",
            "user": {"login": "x", "avatar_url": "https://avatars.example/u/1?v=4"},
            "milestone": {"title": "m", "open_issues": 1, "closed_issues": 2, "updated_at": "2026"},
            "performed_via_github_app": {"id": 5, "slug": "app", "updated_at": "2026"}
        }));
        record.pull = Some(json!({
            "id": 2, "state": "open", "mergeable": null, "mergeable_state": "unknown", "rebaseable": null,
            "merge_commit_sha": "aa", "base": {"ref": "main", "repo": {"size": 1}}, "head": {"sha": "ff", "repo": {"size": 2}}
        }));
        record.timeline = vec![
            json!({"event": "commented", "id": 9, "body": "hello"}),
            json!({"event": "cross-referenced", "source": {"type": "issue", "issue": {"id": 8, "number": 4, "title": "u"}}}),
        ];
        record.review_comments = vec![json!({"id": 11, "body": "nit"})];
        let twin = json!({"title": "u", "repository": {"stargazers_count": 1}});
        record.twin = Some(json!({"repository": "a/c", "number": 4, "issue": twin}));
        record
    }

    const VOLATILE: &[&str] = &[
        "/twin/issue/repository/stargazers_count",
        "/issue/assignee/login",
        "/issue/repository/stargazers_count",
        "/issue/milestone/open_issues",
        "/issue/milestone/closed_issues",
        "/issue/milestone/updated_at",
        "/issue/performed_via_github_app/updated_at",
        "/pull/mergeable",
        "/pull/mergeable_state",
        "/pull/rebaseable",
        "/pull/merge_commit_sha",
        "/pull/base/repo/size",
        "/pull/head/repo/size",
        "/timeline/1/source/issue/title",
    ];

    fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| leaves(value, &format!("{path}/{key}"), found)),
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(at, value)| leaves(value, &format!("{path}/{at}"), found));
            }
            _ => found.push(path.to_owned()),
        }
    }

    #[test]
    fn changing_any_leaf_counts_unless_it_is_volatile() {
        let record = record();
        let whole = serde_json::to_value(&record).unwrap();
        let mut paths = Vec::new();
        for part in ["issue", "pull", "timeline", "review_comments", "twin"] {
            leaves(&whole[part], &format!("/{part}"), &mut paths);
        }
        assert!(VOLATILE.iter().all(|path| paths.iter().any(|found| found == path)));
        for path in paths {
            let mut changed = whole.clone();
            *changed.pointer_mut(&path).unwrap() = json!("something else");
            let changed: Record = serde_json::from_value(changed).unwrap();
            assert_eq!(same_content(&record, &changed), VOLATILE.contains(&path.as_str()), "{path}");
            assert_eq!(same_content(&changed, &record), VOLATILE.contains(&path.as_str()), "{path} reversed");
        }
    }

    #[test]
    fn hosts_and_pictures_do_not_count_but_paths_do() {
        let mut other = record();
        let issue = other.issue.as_mut().unwrap();
        issue["url"] = json!("http://ghe.example:8443/api/v3/repos/a/b/issues/3");
        issue["user"]["avatar_url"] = json!("https://cdn.example/u/1?u=moved");
        assert!(same_content(&record(), &other));
        other.issue.as_mut().unwrap()["url"] = json!("https://api.github.com/repos/a/b/issues/4");
        assert!(!same_content(&record(), &other));
    }

    #[test]
    fn the_order_of_keys_does_not_count_and_that_of_the_timeline_does() {
        let mut other = record();
        let pull = other.pull.as_mut().and_then(Value::as_object_mut).unwrap();
        *pull = std::mem::take(pull).into_iter().rev().collect();
        assert!(same_content(&record(), &other));
        other.timeline.reverse();
        assert!(!same_content(&record(), &other));
    }

    #[test]
    fn a_member_more_or_less_counts_and_what_newer_versions_drop_does_not() {
        let mut other = record();
        other.issue.as_mut().and_then(Value::as_object_mut).unwrap().shift_remove("assignee");
        other.pull.as_mut().and_then(Value::as_object_mut).unwrap().shift_remove("merge_commit_sha");
        assert!(same_content(&record(), &other));
        other.issue.as_mut().and_then(Value::as_object_mut).unwrap().shift_remove("body");
        assert!(!same_content(&record(), &other));
        assert!(!same_content(&other, &record()));
    }

    #[test]
    fn what_graphql_cannot_give_does_not_count_and_everything_else_does() {
        let rest = record();
        let mut graphql = record();
        let by_graphql = Some(Origin::Graphql);
        graphql.origin = crate::record::Origins { timeline: by_graphql, pull: by_graphql, ..graphql.origin };
        assert!(same_content(&rest, &graphql), "the way it came does not count");
        let mut rest = rest;
        rest.timeline[0]["performed_via_github_app"] = json!({"id": 1});
        rest.timeline.push(json!({"event": "copilot_work_started", "id": 4}));
        rest.pull.as_mut().unwrap()["head"]["repo"]["size"] = json!(9);
        assert!(same_content(&rest, &graphql) && same_content(&graphql, &rest));
        let mut other_app = graphql.clone();
        other_app.timeline[0]["performed_via_github_app"] = json!({"id": 2});
        assert!(!same_content(&rest, &other_app), "what it gives is compared");
        let mut other_id = graphql.clone();
        other_id.pull.as_mut().unwrap()["id"] = json!(1);
        assert!(!same_content(&rest, &other_id), "an entry for an issue's id says nothing of a pull request's");
        let mut changed = rest.clone();
        changed.timeline.insert(0, json!({"event": "cross-referenced", "source": {"issue": {"id": 5}}}));
        let mut without = graphql.clone();
        without.timeline.retain(|entry| entry["event"] != "cross-referenced");
        assert!(!same_content(&changed, &without), "GraphQL tells of references: all of them missing is a difference");
        let (mut null, mut empty) = (rest.clone(), graphql.clone());
        (null.timeline[0]["body"], empty.timeline[0]["body"]) = (Value::Null, json!(""));
        assert!(same_content(&null, &empty) && same_content(&empty, &null), "GraphQL knows no text that is null");
        let mut changed = graphql.clone();
        changed.timeline[0]["body"] = json!("edited");
        assert!(!same_content(&rest, &changed));
        changed = graphql.clone();
        changed.timeline.push(json!({"event": "closed", "id": 5}));
        assert!(!same_content(&rest, &changed));
        changed = graphql;
        changed.issue.as_mut().unwrap()["title"] = json!("edited");
        assert!(!same_content(&rest, &changed), "a part that came the same way counts in whole");
    }

    #[test]
    fn of_what_is_gone_every_difference_counts() {
        let mut gone = record();
        gone.state = crate::record::RecordState::Deleted;
        assert!(same_content(&gone, &gone.clone()));
        let mut redacted = gone.clone();
        redacted.timeline[1]["source"]["issue"]["title"] = Value::Null;
        assert!(!same_content(&gone, &redacted));
    }

    #[test]
    fn what_a_visit_brings_with_it_does_not_count() {
        let mut other = record();
        other.revision = crate::Revision(9);
        other.fetched_at = jiff::Timestamp::MAX;
        other.etags.insert("issue".to_owned(), json!("x"));
        assert!(same_content(&record(), &other));
        other.state = crate::record::RecordState::Deleted;
        assert!(!same_content(&record(), &other));
    }
}
