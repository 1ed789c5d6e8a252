//! What follows from a delivery: a pure function from event and payload.

use gharvest_model::{
    ItemId, Lane, QueueName, RepositoryId, Subject, job::part, labels::LabelRename, ledger::Ledger, record::Fact,
};
use gharvest_queue::{Timing, Trigger};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    hooks::Hook,
    payload::{Payload, PayloadRepository, repository_id, values},
};

/// What follows from a delivery.
#[derive(Debug, Default, PartialEq)]
pub struct Classified {
    /// The repository the delivery is about.
    pub repository: Option<RepositoryId>,
    /// Jobs to trigger, if the repository is tracked.
    pub triggers: Vec<Trigger>,
    /// What GitHub will never say again, and about which item.
    pub facts: Option<(ItemId, Fact)>,
    /// What a label of the repository was called until now: in between two lists of labels nobody else says it.
    pub label_rename: Option<LabelRename>,
    /// What happens to tracking.
    pub tracking: Vec<TrackingChange>,
    /// What the access log and the answer call it: `item`, `repository`, `ping`, `nothing`.
    pub meaning: &'static str,
}

/// A change of what is tracked, told by an installation event.
#[derive(Debug, PartialEq, Eq)]
pub enum TrackingChange {
    /// An installation was given a repository.
    Added(RepositoryId, String, bool),
    /// An installation lost a repository: it can no longer be fetched, what is archived stays.
    Removed(RepositoryId),
    /// Everything of a user or an organisation may have changed: the login that its repositories have, or had until now.
    Owner(String),
}

/// What a delivery's headers say.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a> {
    /// `X-GitHub-Event`
    pub event: &'a str,
    /// `X-GitHub-Delivery`
    pub delivery: &'a str,
    /// Whose hook sent it; none of an App's, and of what is taken from GitHub's list of deliveries.
    pub hook: Option<Hook>,
}

/// Decides what follows from a delivery. Unknown events and actions are no error: what names an item triggers it,
/// everything else means nothing to us. Nothing follows for repositories that the sender has no say about.
pub fn classify(headers: Headers<'_>, payload: &Payload, received_at: Timestamp) -> Classified {
    let mut classified = follows(headers, payload, received_at);
    let is_foreign = |id: RepositoryId| payload.foreign.contains(&id);
    classified.triggers.retain(|trigger| !trigger.subject.repository().is_some_and(is_foreign));
    classified.facts = classified.facts.filter(|(item, _)| !is_foreign(item.repository));
    classified
}

fn follows(headers: Headers<'_>, payload: &Payload, received_at: Timestamp) -> Classified {
    match headers.event {
        "ping" => {
            return Classified {
                meaning: "ping",
                repository: payload.repository.as_ref().map(|r| r.id),
                ..Classified::default()
            };
        }
        "installation" | "installation_repositories" => return installation(payload),
        "installation_target" | "organization" => return owner(payload),
        _ => {}
    }
    let Some(repository) = &payload.repository else {
        return Classified { meaning: "nothing", ..Classified::default() };
    };
    let items = items(payload, repository);
    if !items.is_empty() {
        return Classified {
            repository: Some(repository.id),
            facts: facts(headers, payload, received_at).map(|facts| (items[0], facts)),
            triggers: items.into_iter().map(|item| trigger(Subject::Item(item), headers.event)).collect(),
            meaning: "item",
            ..Classified::default()
        };
    }
    let parts = parts(headers.event, payload, repository);
    let meaning = if parts.is_empty() { "nothing" } else { "repository" };
    let triggers = parts.iter().map(|part| trigger(Subject::part(repository.id, part), headers.event)).collect();
    let label_rename = label_rename(headers, payload, received_at);
    Classified { repository: Some(repository.id), triggers, label_rename, meaning, ..Classified::default() }
}

fn label_rename(headers: Headers<'_>, payload: &Payload, at: Timestamp) -> Option<LabelRename> {
    let label = payload.label.as_ref().filter(|_| headers.event == "label")?;
    let from = payload.changes.as_ref()?.pointer("/name/from")?.as_str()?;
    Some(LabelRename { label: label.id, from: from.to_owned(), to: label.name.clone(), at, pending: true })
}

pub(crate) fn trigger(subject: Subject, event: &str) -> Trigger {
    let reason = event.bytes().take(Trigger::LONGEST_REASON).map(char::from).collect();
    Trigger { queue: QueueName::Download, subject, lane: Lane::Webhook, timing: Timing::Settled, reason }
}

/// Every item that the payload names, the one it is about first; sub-issues and dependencies may be elsewhere.
fn items(payload: &Payload, repository: &PayloadRepository) -> Vec<ItemId> {
    let named = [
        (&payload.issue, None),
        (&payload.pull_request, None),
        (&payload.sub_issue, payload.sub_issue_repo.as_ref()),
        (&payload.parent_issue, payload.parent_issue_repo.as_ref()),
        (&payload.blocked_issue, payload.blocked_issue_repo.as_ref()),
        (&payload.blocking_issue, payload.blocking_issue_repo.as_ref()),
    ];
    let mut items: Vec<ItemId> = Vec::new();
    let mut add = |repository: RepositoryId, number: u64| {
        let item = ItemId { repository, number };
        // A number that no ledger can hold is not one of GitHub's.
        if (1..=Ledger::LIMIT).contains(&number) && !items.contains(&item) {
            items.push(item);
        }
    };
    for (found, elsewhere) in named {
        if let Some(found) = found {
            add(elsewhere.unwrap_or(repository).id, found.number);
        }
    }
    if let Some(number) = payload.number {
        add(repository.id, number);
    }
    // The other side of a transfer.
    for (issue, repository) in [("new_issue", "new_repository"), ("old_issue", "old_repository")] {
        let changes = payload.changes.as_ref();
        let found = |object: &str, field: &str| changes?.get(object)?.get(field)?.as_u64();
        if let (Some(number), Some(id)) = (found(issue, "number"), found(repository, "id").and_then(repository_id)) {
            add(id, number);
        }
    }
    items
}

/// The parts of a repository that an event without an item concerns.
fn parts(event: &str, payload: &Payload, repository: &PayloadRepository) -> Vec<&'static str> {
    match event {
        "repository" | "public" | "meta" | "star" | "fork" | "watch" => vec![part::METADATA],
        // A renamed label or milestone changes items without any event of theirs.
        "label" => vec![part::LABELS, part::UPDATES],
        "milestone" => vec![part::MILESTONES, part::UPDATES],
        "release" => vec![part::RELEASES],
        "push" if is_default_branch(payload, repository) => vec![part::METADATA],
        _ => Vec::new(),
    }
}

fn is_default_branch(payload: &Payload, repository: &PayloadRepository) -> bool {
    match (&payload.git_ref, &repository.default_branch) {
        (Some(git_ref), Some(branch)) => git_ref.strip_prefix("refs/heads/") == Some(branch),
        _ => false,
    }
}

fn installation(payload: &Payload) -> Classified {
    let deleted = matches!(payload.action.as_deref(), Some("deleted" | "suspend"));
    let all = payload.repositories.iter().flatten();
    let added = payload.repositories_added.iter().flatten().chain(all.clone().filter(|_| !deleted));
    let removed = payload.repositories_removed.iter().flatten().chain(all.filter(|_| deleted));
    let mut tracking: Vec<_> = added.map(|r| TrackingChange::Added(r.id, r.full_name.to_string(), r.private)).collect();
    tracking.extend(removed.map(|r| TrackingChange::Removed(r.id)));
    // Suspended, resumed, given other rights: no repository is named, all are meant.
    if tracking.is_empty()
        && let Some((owner, None)) = payload.whose()
    {
        tracking.push(TrackingChange::Owner(owner.to_owned()));
    }
    Classified { tracking, meaning: "installation", ..Classified::default() }
}

fn owner(payload: &Payload) -> Classified {
    let old = payload.changes.as_ref().and_then(|changes| changes.pointer("/login/from")?.as_str());
    match old {
        Some(old) if payload.action.as_deref() == Some("renamed") => Classified {
            tracking: vec![TrackingChange::Owner(old.to_owned())],
            meaning: "owner",
            ..Classified::default()
        },
        _ => Classified { meaning: "nothing", ..Classified::default() },
    }
}

/// Old texts, transfer targets, deletions: what no later request can tell.
fn facts(headers: Headers<'_>, payload: &Payload, received_at: Timestamp) -> Option<Fact> {
    let action = payload.action.as_deref().unwrap_or_default();
    let mut facts = Map::new();
    if let Some(changes) = &payload.changes {
        facts.insert("changes".to_owned(), changes.clone());
    }
    let about = match headers.event {
        "issue_comment" | "pull_request_review_comment" => payload.comment.as_deref(),
        "pull_request_review" => payload.review.as_deref(),
        "pull_request_review_thread" => payload.thread.as_deref(),
        _ => None,
    };
    let is_last_word = matches!(action, "deleted" | "transferred" | "dismissed" | "resolved" | "unresolved");
    if facts.is_empty() && !is_last_word {
        return None;
    }
    // Read here only: most deliveries leave nothing to keep.
    if let Some(about) = about.and_then(|about| values(about.get()).ok().flatten()) {
        facts.insert("about".to_owned(), if action == "deleted" { about } else { identity(&about) });
    }
    Some(Fact {
        delivery: headers.delivery.to_owned(),
        event: headers.event.to_owned(),
        action: action.to_owned(),
        received_at,
        actor: payload.sender.as_ref().map(|sender| sender.login.clone()),
        facts: Value::Object(facts),
    })
}

/// Which comment, review or thread it is; its present text comes with the download.
fn identity(about: &Value) -> Value {
    json!({ "id": about.get("id"), "node_id": about.get("node_id") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classified(event: &str, payload: Value) -> Classified {
        let payload = Payload::read("application/json", payload.to_string().as_bytes()).unwrap();
        classify(Headers { event, delivery: "d1", hook: None }, &payload, Timestamp::UNIX_EPOCH)
    }

    fn subjects(event: &str, payload: Value) -> Vec<String> {
        classified(event, payload).triggers.iter().map(|trigger| trigger.subject.to_string()).collect()
    }

    fn repository() -> Value {
        json!({"id": 9, "full_name": "o/r", "default_branch": "main"})
    }

    #[test]
    fn whatever_names_an_item_triggers_its_download() {
        for event in ["issues", "issue_comment", "an_event_of_tomorrow"] {
            assert_eq!(
                subjects(event, json!({"repository": repository(), "issue": {"number": 4}})),
                ["9#4"],
                "{event}"
            );
        }
        let pull = json!({"repository": repository(), "number": 5, "pull_request": {"number": 5}});
        assert_eq!(subjects("pull_request", pull), ["9#5"]);
    }

    #[test]
    fn sub_issues_elsewhere_are_triggered_too() {
        let payload = json!({"repository": repository(), "sub_issue": {"number": 1}, "sub_issue_repo": {"id": 8, "full_name": "o/s"},
            "parent_issue": {"number": 2}});
        assert_eq!(subjects("sub_issues", payload), ["8#1", "9#2"]);
    }

    #[test]
    fn both_sides_of_a_dependency_are_triggered_each_in_its_repository() {
        let elsewhere = json!({"id": 8, "full_name": "o/s"});
        let blocked_elsewhere = json!({"repository": repository(), "blocked_issue": {"number": 1},
            "blocked_issue_repo": elsewhere, "blocking_issue": {"number": 2}, "blocking_issue_repo": repository()});
        assert_eq!(subjects("issue_dependencies", blocked_elsewhere), ["8#1", "9#2"]);
        let blocking_elsewhere = json!({"repository": repository(), "blocked_issue": {"number": 1},
            "blocking_issue": {"number": 2}, "blocking_issue_repo": elsewhere});
        assert_eq!(subjects("issue_dependencies", blocking_elsewhere), ["9#1", "8#2"]);
    }

    #[test]
    fn repository_events_trigger_their_parts() {
        let subjects_of = |event: &str| subjects(event, json!({"repository": repository(), "ref": "refs/heads/main"}));
        assert_eq!(subjects_of("label"), ["9/labels", "9/updates"]);
        assert_eq!(subjects_of("release"), ["9/releases"]);
        assert_eq!(subjects_of("repository"), ["9/metadata"]);
        assert_eq!(subjects_of("push"), ["9/metadata"]);
        assert!(subjects("push", json!({"repository": repository(), "ref": "refs/heads/topic"})).is_empty());
        assert!(subjects_of("workflow_run").is_empty());
    }

    #[test]
    fn what_github_never_says_again_is_kept() {
        let edited = classified(
            "issues",
            json!({"action": "edited", "repository": repository(), "issue": {"number": 4},
            "changes": {"title": {"from": "old"}}, "sender": {"login": "ann"}}),
        );
        let (item, fact) = edited.facts.unwrap();
        assert_eq!((item.to_string().as_str(), fact.actor.as_deref()), ("9#4", Some("ann")));
        assert_eq!(fact.facts["changes"]["title"]["from"], "old");

        let deleted = classified(
            "issue_comment",
            json!({"action": "deleted", "repository": repository(), "issue": {"number": 4},
            "comment": {"id": 77, "body": "gone"}}),
        );
        assert_eq!(deleted.facts.unwrap().1.facts["about"]["body"], "gone");

        let labeled =
            classified("issues", json!({"action": "labeled", "repository": repository(), "issue": {"number": 4}}));
        assert_eq!(labeled.facts, None);
    }

    #[test]
    fn installations_change_what_is_tracked() {
        let payload = json!({"action": "added", "repositories_added": [repository()], "repositories_removed": [{"id": 3, "full_name": "o/x"}]});
        let changes = classified("installation_repositories", payload).tracking;
        assert_eq!(
            changes,
            [TrackingChange::Added(RepositoryId(9), "o/r".into(), false), TrackingChange::Removed(RepositoryId(3))]
        );
    }

    #[test]
    fn impossible_numbers_trigger_nothing() {
        for number in [json!(0), json!(u64::MAX), json!(-1), json!(1.5), json!("4")] {
            assert!(subjects("issues", json!({"repository": repository(), "issue": {"number": number}})).is_empty());
        }
    }
}
