//! What a thread fetched by GraphQL lacks, compared with one fetched by REST: a reviewed list.
//!
//! The table of facts it follows from: GitHub's GraphQL schema and REST description. Tests compare both ways on every
//! kind of event; a difference that is not listed fails them, and so does an entry that never occurs. An entry says what
//! may stand there instead of the truth: any other value is a difference like one that is not listed.

use jiff::Timestamp;
use serde_json::Value;

/// A field that differs between a thread fetched by GraphQL and one fetched by REST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lossy {
    /// Where: `issue.…`, `timeline.EVENT.…`, `pull.…`; `*` stands for every event, `**` at the beginning for any place.
    /// An entry is about the field itself, not about what lies below or has the same name elsewhere.
    pub path: &'static str,
    /// What GraphQL may give in place of REST's value. Anything else is a difference.
    pub instead: Instead,
    /// Why.
    pub reason: &'static str,
}

/// What may stand in place of REST's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instead {
    /// Null, or no such key.
    Null,
    /// No such key. Of an entry of the timeline: no such entry.
    Absent,
    /// The empty text in place of null.
    Empty,
    /// This text.
    Exactly(&'static str),
    /// Another text in place of a text.
    AnyText,
    /// A text in place of another or of none.
    Text,
    /// No number, or a smaller one.
    NoMore,
    /// An earlier time.
    Earlier,
    /// An address of a picture that ends in the same way, but for its query.
    SamePicture,
    /// An account, or null.
    Account,
    /// An object with fewer keys; those that it has are compared like any.
    Fewer,
    /// A copy of another item as it is now, with the same number and node id.
    LiveCopy,
}

const fn lossy(path: &'static str, instead: Instead, reason: &'static str) -> Lossy {
    Lossy { path, instead, reason }
}

const NO_FIELD: &str = "GraphQL has no such field";
const NO_COMMIT: &str = "the commit cannot be reached any more";
const NO_NODE_ID: &str = "the node id is not read";
const MOVING: &str = "GitHub computes it when asked, and it changes by itself";
const NO_SCHEMA: &str = "on servers whose schema lacks it";
const EIGHTY: &str = "REST's object of a repository or a team has up to eighty more fields";

/// All that GraphQL cannot give. Paths of `issue` count only where the issue object came by GraphQL.
pub const LOSSY: &[Lossy] = &[
    lossy("issue.id", Instead::Null, "GraphQL has no such field of a pull request, and no event tells it"),
    lossy("issue.performed_via_github_app", Instead::Null, NO_FIELD),
    lossy("issue.milestone.open_issues", Instead::Null, "would cost two requests an item"),
    lossy("issue.milestone.closed_issues", Instead::Null, "would cost two requests an item"),
    lossy("issue.type.created_at", Instead::Absent, NO_FIELD),
    lossy("issue.type.updated_at", Instead::Absent, NO_FIELD),
    lossy("issue.type.id", Instead::Null, NO_NODE_ID),
    lossy("issue.closed_by", Instead::Account, "the actor of the last closing; null for deleted accounts"),
    lossy("issue.pinned_comment", Instead::Absent, NO_FIELD),
    lossy("issue.issue_field_values", Instead::Absent, NO_FIELD),
    lossy("issue.sub_issues_summary", Instead::Absent, NO_SCHEMA),
    lossy("issue.issue_dependencies_summary", Instead::Absent, NO_SCHEMA),
    lossy("**.body", Instead::Empty, "null and the empty text are one to GraphQL: always a text"),
    lossy("**.user_view_type", Instead::Exactly("public"), "REST shows the own account of who asks as `private`"),
    lossy(
        "**.avatar_url",
        Instead::SamePicture,
        "without the part of its query that changes by itself; of a deleted account on GitHub's own host",
    ),
    lossy("timeline.*.performed_via_github_app", Instead::Null, NO_FIELD),
    lossy("timeline.(rest only)", Instead::Absent, "not in GraphQL's unions, as Copilot's events"),
    lossy(
        "timeline.line-commented",
        Instead::Absent,
        "where the node id has the new form, it does not tell such threads from others",
    ),
    lossy("timeline.commented.pin", Instead::Null, "newer than the supported schema"),
    lossy(
        "timeline.committed.verification.reason",
        Instead::AnyText,
        "GraphQL has more words, as for certificates that were revoked",
    ),
    lossy("timeline.cross-referenced.updated_at", Instead::Earlier, "the time of creation: GraphQL has no such field"),
    lossy("timeline.cross-referenced.source.issue", Instead::LiveCopy, "what names the item and shows its state"),
    lossy("timeline.labeled.label.name", Instead::AnyText, "the label as it is now; REST keeps the name of then"),
    lossy("timeline.labeled.label.color", Instead::AnyText, "the label as it is now; REST keeps the color of then"),
    lossy("timeline.unlabeled.label.name", Instead::AnyText, "the label as it is now; REST keeps the name of then"),
    lossy("timeline.unlabeled.label.color", Instead::AnyText, "the label as it is now; REST keeps the color of then"),
    lossy("timeline.removed_from_project.project_card", Instead::Absent, NO_FIELD),
    lossy("timeline.referenced.commit_id", Instead::Null, NO_COMMIT),
    lossy("timeline.referenced.commit_url", Instead::Null, NO_COMMIT),
    lossy("timeline.head_ref_force_pushed.commit_id", Instead::Null, NO_COMMIT),
    lossy("timeline.head_ref_force_pushed.commit_url", Instead::Null, NO_COMMIT),
    lossy("timeline.review_requested.requested_team", Instead::Fewer, EIGHTY),
    lossy("timeline.review_request_removed.requested_team", Instead::Fewer, EIGHTY),
    lossy("timeline.reviewed.commit_id", Instead::Null, NO_COMMIT),
    lossy("timeline.*.sub_issue.repository", Instead::Fewer, EIGHTY),
    lossy("timeline.*.parent_issue.repository", Instead::Fewer, EIGHTY),
    lossy("timeline.*.blocked_by.repository", Instead::Fewer, EIGHTY),
    lossy("timeline.*.blocking.repository", Instead::Fewer, EIGHTY),
    lossy("timeline.*.issue_type.id", Instead::Null, NO_NODE_ID),
    lossy("timeline.*.prev_issue_type.id", Instead::Null, NO_NODE_ID),
    lossy("pull.milestone.open_issues", Instead::Null, "would cost two requests an item"),
    lossy("pull.milestone.closed_issues", Instead::Null, "would cost two requests an item"),
    lossy("pull.head.user", Instead::Account, "the author where the fork is gone: GraphQL does not tell whose it was"),
    lossy("pull.head.label", Instead::Text, "with the author's name where the fork is gone; REST may have none then"),
    lossy("pull.head.repo", Instead::Fewer, EIGHTY),
    lossy("pull.base.repo", Instead::Fewer, EIGHTY),
    lossy("pull.mergeable", Instead::Null, MOVING),
    lossy("pull.rebaseable", Instead::Null, MOVING),
    lossy("pull.mergeable_state", Instead::Exactly("unknown"), MOVING),
    lossy("pull.merge_commit_sha", Instead::Null, "for some: a test merge that changes by itself"),
    lossy(
        "pull.review_comments",
        Instead::NoMore,
        "GraphQL counts threads, so those of the list are counted; REST also counts some that it does not list",
    ),
    lossy("pull.requested_teams", Instead::Fewer, EIGHTY),
];

/// REST's names of the events that GraphQL has types for. What has none is missing in a timeline without a trace.
pub const TOLD: &[&str] = &[
    "added_to_merge_queue",
    "added_to_project",
    "added_to_project_v2",
    "assigned",
    "auto_merge_disabled",
    "auto_merge_enabled",
    "auto_rebase_enabled",
    "auto_squash_enabled",
    "automatic_base_change_failed",
    "automatic_base_change_succeeded",
    "base_ref_changed",
    "base_ref_deleted",
    "base_ref_force_pushed",
    "blocked_by_added",
    "blocked_by_removed",
    "blocking_added",
    "blocking_removed",
    "closed",
    "comment_deleted",
    "commented",
    "commit-commented",
    "committed",
    "connected",
    "convert_to_draft",
    "converted_from_draft",
    "converted_note_to_issue",
    "converted_to_discussion",
    "cross-referenced",
    "demilestoned",
    "deployed",
    "deployment_environment_changed",
    "disconnected",
    "head_ref_deleted",
    "head_ref_force_pushed",
    "head_ref_restored",
    "issue_comment_pinned",
    "issue_comment_unpinned",
    "issue_field_added",
    "issue_field_changed",
    "issue_field_removed",
    "issue_type_added",
    "issue_type_changed",
    "issue_type_removed",
    "labeled",
    "line-commented",
    "locked",
    "marked_as_duplicate",
    "mentioned",
    "merged",
    "milestoned",
    "moved_columns_in_project",
    "parent_issue_added",
    "parent_issue_removed",
    "pinned",
    "project_v2_item_status_changed",
    "ready_for_review",
    "referenced",
    "removed_from_merge_queue",
    "removed_from_project",
    "removed_from_project_v2",
    "renamed",
    "reopened",
    "review_dismissed",
    "review_request_removed",
    "review_requested",
    "reviewed",
    "sub_issue_added",
    "sub_issue_removed",
    "subscribed",
    "transferred",
    "unassigned",
    "unlabeled",
    "unlocked",
    "unmarked_as_duplicate",
    "unpinned",
    "unsubscribed",
    "user_blocked",
];

/// Whether GraphQL has a type for this event of REST's timeline.
pub fn is_told(event: &str) -> bool {
    TOLD.binary_search(&event).is_ok()
}

/// Whether GraphQL tells this event wherever REST lists it, and counts it as a probe counts: comments of old threads are
/// told to some visits only.
pub fn is_always_told(event: &str) -> bool {
    is_told(event) && event != "line-commented"
}

/// The entry that permits GraphQL's value beside REST's at this path: `timeline`, the event, and the keys below it, or
/// `issue` or `pull` and the keys below. None if it must be REST's. No value means that the key is absent.
///
/// Where the entry is [`Instead::Fewer`], the keys that GraphQL's object has are still to be compared.
pub fn permits(path: &[&str], graphql: Option<&Value>, rest: Option<&Value>) -> Option<&'static Lossy> {
    LOSSY.iter().find(|lossy| lossy.is_at(path) && lossy.instead.permits(graphql, rest))
}

/// A place where a value by GraphQL differs from REST's.
#[derive(Debug, Clone, Copy)]
pub struct Difference<'a> {
    /// As for [`permits`].
    pub path: &'a [&'a str],
    /// What GraphQL gave; none if the key is absent.
    pub graphql: Option<&'a Value>,
    /// What REST gave; none if the key is absent.
    pub rest: Option<&'a Value>,
    /// The entry that permits it; none if nothing does.
    pub listed: Option<&'static Lossy>,
}

/// Tells all places where two values differ, at and below `path`. Absent is null, where no entry says otherwise.
pub fn differences<'a>(
    path: &mut Vec<&'a str>,
    graphql: Option<&'a Value>,
    rest: Option<&'a Value>,
    tell: &mut impl FnMut(Difference<'_>),
) {
    if is_same(graphql, rest) {
        return;
    }
    let listed = permits(path, graphql, rest);
    let is_fewer = listed.is_some_and(|listed| listed.instead == Instead::Fewer);
    match (graphql, rest) {
        (Some(Value::Array(graphql)), Some(Value::Array(rest))) if graphql.len() == rest.len() => {
            for (graphql, rest) in graphql.iter().zip(rest) {
                differences(path, Some(graphql), Some(rest), tell);
            }
        }
        (Some(Value::Object(own)), Some(Value::Object(other))) if listed.is_none() || is_fewer => {
            let lacks_some = other.keys().any(|key| !own.contains_key(key));
            if is_fewer && lacks_some {
                tell(Difference { path, graphql, rest, listed });
            }
            let more = other.keys().filter(|key| !is_fewer && !own.contains_key(*key));
            for key in own.keys().chain(more) {
                path.push(key);
                differences(path, own.get(key), other.get(key), tell);
                path.pop();
            }
        }
        _ => tell(Difference { path, graphql, rest, listed }),
    }
}

fn is_same(a: Option<&Value>, b: Option<&Value>) -> bool {
    a.unwrap_or(&Value::Null) == b.unwrap_or(&Value::Null)
}

impl Lossy {
    fn is_at(&self, path: &[&str]) -> bool {
        let mut pattern = self.path.split('.');
        if let Some(below) = self.path.strip_prefix("**.") {
            return path.last() == Some(&below);
        }
        path.iter().all(|key| pattern.next().is_some_and(|own| own == "*" || own == *key)) && pattern.next().is_none()
    }
}

impl Instead {
    fn permits(self, graphql: Option<&Value>, rest: Option<&Value>) -> bool {
        let Some(graphql) = graphql else { return matches!(self, Self::Absent | Self::Null) };
        let rest = rest.unwrap_or(&Value::Null);
        let texts = graphql.as_str().zip(rest.as_str());
        match self {
            Self::Absent => false,
            Self::Null => graphql.is_null(),
            Self::Empty => rest.is_null() && graphql == "",
            Self::Exactly(text) => graphql == text,
            Self::AnyText => texts.is_some(),
            Self::Text => graphql.is_string() && (rest.is_string() || rest.is_null()),
            Self::NoMore => {
                graphql.is_null() || graphql.as_u64().zip(rest.as_u64()).is_some_and(|(own, rest)| own < rest)
            }
            Self::Earlier => texts.is_some_and(|(graphql, rest)| is_earlier(graphql, rest)),
            Self::SamePicture => texts.is_some_and(|(graphql, rest)| picture(graphql) == picture(rest)),
            Self::Account => graphql.is_null() || graphql["login"].is_string() && graphql["type"].is_string(),
            Self::Fewer => graphql.is_object() && rest.is_object(),
            Self::LiveCopy => ["number", "node_id"].iter().all(|key| graphql[*key] == rest[*key]),
        }
    }
}

fn is_earlier(one: &str, other: &str) -> bool {
    let time = |text: &str| text.parse::<Timestamp>().ok();
    time(one).zip(time(other)).is_some_and(|(one, other)| one < other)
}

/// What a picture's address ends in: the id of whose it is.
fn picture(address: &str) -> Option<&str> {
    address.split('?').next()?.rsplit('/').next()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(path: &str, graphql: &Value, rest: &Value) -> Vec<(String, Option<&'static str>)> {
        let mut found = Vec::new();
        let mut keys: Vec<&str> = path.split('.').collect();
        differences(&mut keys, Some(graphql), Some(rest), &mut |difference| {
            found.push((difference.path.join("."), difference.listed.map(|listed| listed.path)));
        });
        found
    }

    /// Where they differ in what no entry permits.
    fn unlisted(path: &str, graphql: &Value, rest: &Value) -> Vec<String> {
        told(path, graphql, rest).into_iter().filter(|(_, listed)| listed.is_none()).map(|(path, _)| path).collect()
    }

    #[test]
    fn an_entry_permits_one_value_in_its_own_place_and_nothing_else() {
        let account = json!({"login": "ann", "type": "User"});
        for (path, rest, permitted, others) in [
            ("issue.id", json!(7), json!(null), vec![json!(8), json!("7"), json!("")]),
            ("issue.body", json!(null), json!(""), vec![json!("text")]),
            ("timeline.commented.body", json!(null), json!(""), vec![json!("text"), json!(0)]),
            ("issue.closed_by", account.clone(), json!(null), vec![json!("ann"), json!({"login": "ann"})]),
            ("issue.user.user_view_type", json!("private"), json!("public"), vec![json!("other"), json!(null)]),
            (
                "timeline.closed.actor.avatar_url",
                json!("https://a/1?u=x&v=4"),
                json!("https://a/1?v=4"),
                vec![json!("https://a/2")],
            ),
            ("timeline.closed.performed_via_github_app", json!({"id": 1}), json!(null), vec![json!({"id": 2})]),
            (
                "timeline.committed.verification.reason",
                json!("unsigned"),
                json!("bad_cert"),
                vec![json!(null), json!(1)],
            ),
            (
                "timeline.cross-referenced.updated_at",
                json!("2024-01-02T00:00:00Z"),
                json!("2024-01-01T00:00:00Z"),
                vec![json!("2024-01-03T00:00:00Z"), json!("then"), json!(null)],
            ),
            ("timeline.labeled.label.name", json!("then"), json!("now"), vec![json!(null), json!(["now"])]),
            ("timeline.reviewed.commit_id", json!("aa"), json!(null), vec![json!("bb"), json!("")]),
            ("pull.mergeable_state", json!("clean"), json!("unknown"), vec![json!("dirty"), json!(null)]),
            ("pull.merge_commit_sha", json!("aa"), json!(null), vec![json!("bb")]),
            ("pull.review_comments", json!(3), json!(null), vec![json!(4), json!("2")]),
            ("pull.review_comments", json!(3), json!(2), vec![json!(4), json!(true)]),
            ("pull.head.label", json!(null), json!("ghost:main"), vec![json!(4), json!(["ghost:main"])]),
            ("pull.head.user", account, json!(null), vec![json!({}), json!(4)]),
        ] {
            assert_eq!(unlisted(path, &permitted, &rest), [""; 0], "{path}: {permitted} for {rest}");
            assert_eq!(told(path, &permitted, &rest).len(), 1, "{path}: a difference that is listed");
            for other in others {
                assert!(!unlisted(path, &other, &rest).is_empty(), "{path}: {other} for {rest}");
            }
        }
    }

    #[test]
    fn what_lies_below_an_entry_or_bears_its_name_elsewhere_is_compared() {
        for (path, graphql, rest, differs) in [
            ("pull", json!({"id": 1}), json!({"id": 2}), "pull.id"),
            ("pull", json!({"id": null}), json!({"id": 2}), "pull.id"),
            (
                "timeline.labeled",
                json!({"label": {"name": "a", "id": 5}}),
                json!({"label": {"name": "b"}}),
                "timeline.labeled.label.id",
            ),
            ("timeline.labeled", json!({"label": null}), json!({"label": {"name": "b"}}), "timeline.labeled.label"),
            (
                "timeline.review_requested",
                json!({"requested_team": {"id": 1, "slug": "x"}}),
                json!({"requested_team": {"id": 1, "slug": "y", "url": "…"}}),
                "timeline.review_requested.requested_team.slug",
            ),
            ("pull", json!({"head": {"repo": null}}), json!({"head": {"repo": {"id": 1}}}), "pull.head.repo"),
            ("pull", json!({"requested_teams": []}), json!({"requested_teams": [{"id": 1}]}), "pull.requested_teams"),
            (
                "pull",
                json!({"base": {"repo": {"id": 1, "owner": {"login": "a"}}}}),
                json!({"base": {"repo": {"id": 1, "owner": {"login": "b"}, "size": 3}}}),
                "pull.base.repo.owner.login",
            ),
            (
                "timeline.cross-referenced",
                json!({"source": {"issue": {"number": 4, "node_id": "I_1"}}}),
                json!({"source": {"issue": {"number": 5, "node_id": "I_1", "title": "t"}}}),
                "timeline.cross-referenced.source.issue.number",
            ),
            ("issue", json!({"type": {"name": "Bug"}}), json!({"type": {"name": "Task", "id": 1}}), "issue.type.name"),
            ("issue", json!({"pinned_comment": null}), json!({"pinned_comment": {"id": 1}}), "issue.pinned_comment"),
        ] {
            let found = unlisted(path, &graphql, &rest);
            assert!(found.iter().any(|found| found == differs), "{differs}: {found:?}");
        }
    }

    #[test]
    fn an_object_with_fewer_keys_is_listed_once_and_lists_are_compared_entry_by_entry() {
        let team = |name: &str| json!({"id": 1, "name": name});
        let rest = json!({"requested_teams": [{"id": 1, "name": "a", "url": "…"}, {"id": 1, "name": "b", "url": "…"}]});
        let graphql = json!({"requested_teams": [team("a"), team("b")]});
        let entry = ("pull.requested_teams".to_owned(), Some("pull.requested_teams"));
        assert_eq!(told("pull", &graphql, &rest), [entry.clone(), entry]);
        let absent = told("issue", &json!({}), &json!({"pinned_comment": {"id": 1}, "locked": null}));
        assert_eq!(absent, [("issue.pinned_comment".to_owned(), Some("issue.pinned_comment"))]);
    }
}
