//! Timeline events in words.
//!
//! GitHub adds events without notice, so an event that is not known here is told by its own name.

use gharvest_model::labels::LabelRenames;
use maud::{Markup, html};
use serde_json::Value;

use super::super::{person, ticked};
use crate::{
    labels, links,
    thread::{actor, event_name, happened_at, text},
};

/// What one person did, once or several times in a row.
pub(super) fn describe(group: &[&Value], repository: &str, renames: &LabelRenames) -> Markup {
    let Some(first) = group.first() else { return html! {} };
    html! {
        @match actor(first) { Some(login) => (person(login)), None => span class="person" { "somebody" } }
        " " (deed(group, first, repository, renames))
    }
}

fn deed(group: &[&Value], first: &Value, repository: &str, renames: &LabelRenames) -> Markup {
    let quoted = |pointer: &str| html! { bdi class="name" { (text(first, pointer).unwrap_or("…")) } };
    match event_name(first) {
        "labeled" | "unlabeled" => label_changes(group, renames),
        "assigned" => html! { "assigned " (people(group, "/assignee/login")) },
        "unassigned" => html! { "unassigned " (people(group, "/assignee/login")) },
        "milestoned" => html! { "added this to the milestone " (quoted("/milestone/title")) },
        "demilestoned" => html! { "removed this from the milestone " (quoted("/milestone/title")) },
        "renamed" => {
            html! { "changed the title from " del { bdi { (text(first, "/rename/from").unwrap_or("…")) } } " to " ins { bdi { (text(first, "/rename/to").unwrap_or("…")) } } }
        }
        "closed" => closed(first, repository),
        "reopened" => html! { "reopened this" },
        "merged" => html! { "merged this" (commit(first, " as ")) },
        "locked" => {
            html! { "locked the conversation" @if let Some(reason) = text(first, "/lock_reason") { " as " (reason) } }
        }
        "unlocked" => html! { "unlocked the conversation" },
        "cross-referenced" => cross_referenced(group),
        "referenced" => referenced(group),
        "review_requested" => html! { "asked " (requested(group)) " for a review" },
        "review_request_removed" => html! { "no longer asks " (requested(group)) " for a review" },
        "review_dismissed" => {
            html! { "dismissed a review" @if let Some(why) = text(first, "/dismissed_review/dismissal_message") { ": " bdi class="name" { (why) } } }
        }
        "head_ref_force_pushed" => {
            html! { "force-pushed the branch" @if group.len() > 1 { " " (group.len()) " times" } (commit(group.last().unwrap_or(&first), ", last to ")) }
        }
        "head_ref_deleted" => html! { "deleted the branch" },
        "head_ref_restored" => html! { "restored the branch" },
        "base_ref_changed" => html! { "changed the branch it goes to" },
        "convert_to_draft" => html! { "made this a draft" },
        "ready_for_review" => html! { "marked this as ready for review" },
        "connected" => html! { "linked an issue or pull request" },
        "disconnected" => html! { "unlinked an issue or pull request" },
        "marked_as_duplicate" => html! { "marked this as a duplicate" },
        "unmarked_as_duplicate" => html! { "unmarked this as a duplicate" },
        "transferred" => html! { "moved this here from another repository" },
        "converted_to_discussion" => html! { "made this a discussion" },
        "comment_deleted" => html! { "deleted a comment" @if group.len() > 1 { " (" (group.len()) " of them)" } },
        "pinned" => html! { "pinned this" },
        "unpinned" => html! { "unpinned this" },
        "user_blocked" => html! { "blocked a user" },
        "auto_merge_enabled" => html! { "enabled merging as soon as possible" },
        "auto_merge_disabled" => html! { "disabled merging as soon as possible" },
        "added_to_merge_queue" => html! { "added this to the merge queue" },
        "removed_from_merge_queue" => html! { "removed this from the merge queue" },
        "deployed" => html! { "deployed this" },
        "added_to_project" | "added_to_project_v2" => html! { "added this to a project" },
        "removed_from_project" | "removed_from_project_v2" => html! { "removed this from a project" },
        "moved_columns_in_project" | "project_v2_item_status_changed" => html! { "moved this in a project" },
        "issue_type_added" | "issue_type_changed" => html! { "set the type to " (quoted("/issue_type/name")) },
        "issue_type_removed" => html! { "removed the type" },
        "sub_issue_added" => html! { "added the sub-issue " (related(first, "/sub_issue", repository)) },
        "sub_issue_removed" => html! { "removed the sub-issue " (related(first, "/sub_issue", repository)) },
        "parent_issue_added" => html! { "made this a sub-issue of " (related(first, "/parent_issue", repository)) },
        "parent_issue_removed" => html! { "took this from its parent " (related(first, "/parent_issue", repository)) },
        "blocked_by_added" => html! { "marked this as blocked by " (related(first, "/blocked_by", repository)) },
        "blocked_by_removed" => html! { "marked this as not blocked by " (related(first, "/blocked_by", repository)) },
        "blocking_added" => html! { "marked this as blocking " (related(first, "/blocking", repository)) },
        "blocking_removed" => html! { "marked this as not blocking " (related(first, "/blocking", repository)) },
        "copilot_work_started" => html! { "started to work on this" },
        "copilot_work_finished" => html! { "finished work on this" },
        unknown => {
            html! { "did something that GitHub calls " code { bdi { (unknown) } } @if group.len() > 1 { " " (group.len()) " times" } }
        }
    }
}

fn closed(event: &Value, repository: &str) -> Markup {
    let reason = match text(event, "/state_reason") {
        Some("not_planned") => " as not planned",
        Some("duplicate") => " as a duplicate",
        Some("completed") => " as completed",
        _ => "",
    };
    let _ = repository;
    html! { "closed this" (reason) (commit(event, " in ")) }
}

/// The commit of an event, as a link to the threads that mention it.
fn commit(event: &Value, before: &str) -> Markup {
    match text(event, "/commit_id") {
        Some(sha) => html! { (before) a href=(links::search(sha)) { code { (sha.get(..10).unwrap_or(sha)) } } },
        None => html! {},
    }
}

fn label_changes(group: &[&Value], renames: &LabelRenames) -> Markup {
    let of = |name: &str| group.iter().filter(|event| event_name(event) == name).copied().collect::<Vec<_>>();
    let (added, removed) = (of("labeled"), of("unlabeled"));
    let one = |event: &Value| {
        let (name, color) = (text(event, "/label/name").unwrap_or("…"), text(event, "/label/color").unwrap_or(""));
        let now = happened_at(event).map_or(name, |at| renames.name_now(name, at));
        html! { " " (labels::label(name, color, None)) @if now != name { " (now " bdi class="name" { (now) } ")" } }
    };
    let list = |events: &[&Value]| html! { @for event in events { (one(event)) } };
    html! {
        @if !added.is_empty() { "added" (list(&added)) }
        @if !added.is_empty() && !removed.is_empty() { " and " }
        @if !removed.is_empty() { "removed" (list(&removed)) }
    }
}

fn people(group: &[&Value], pointer: &str) -> Markup {
    html! { @for (at, event) in group.iter().enumerate() { @if at > 0 { ", " } (person(text(event, pointer).unwrap_or("somebody"))) } }
}

fn requested(group: &[&Value]) -> Markup {
    html! {
        @for (at, event) in group.iter().enumerate() {
            @if at > 0 { ", " }
            @match text(event, "/requested_reviewer/login") {
                Some(login) => (person(login)),
                None => bdi class="name" { (text(event, "/requested_team/name").unwrap_or("somebody")) },
            }
        }
    }
}

fn cross_referenced(group: &[&Value]) -> Markup {
    html! {
        "mentioned this in "
        @for (at, event) in group.iter().enumerate() { @if at > 0 { ", " } (source(event)) }
    }
}

/// The thread that a cross reference comes from.
pub(super) fn source(event: &Value) -> Markup {
    let Some(issue) = event.pointer("/source/issue") else { return html! { "a thread that was not recorded" } };
    let number = issue["number"].as_u64().unwrap_or(0);
    let repository = text(issue, "/repository/full_name")
        .or_else(|| text(issue, "/repository_url").and_then(|url| url.split_once("/repos/")).map(|(_, name)| name))
        .unwrap_or("");
    let kind =
        if issue["pull_request"].is_object() { gharvest_model::Kind::PullRequest } else { gharvest_model::Kind::Issue };
    html! { a href=(links::item(repository, kind, number)) { (repository) "#" (number) } " " bdi class="name" { (ticked(text(issue, "/title").unwrap_or(""))) } }
}

fn referenced(group: &[&Value]) -> Markup {
    let mut commits: Vec<&str> = group.iter().filter_map(|event| text(event, "/commit_id")).collect();
    commits.dedup();
    let shown = 3.min(commits.len());
    let list = |commits: &[&str]| {
        html! { @for (at, sha) in commits.iter().enumerate() { @if at > 0 { ", " } a href=(links::search(sha)) { code { (sha.get(..10).unwrap_or(sha)) } } } }
    };
    html! {
        "mentioned this in "
        @match commits.len() { 0 => "a commit", 1 => "the commit ", _ => { (commits.len()) " commits: " } }
        (list(&commits[..shown]))
        @if commits.len() > shown { details class="more" { summary { (commits.len() - shown) " more" } (list(&commits[shown..])) } }
    }
}

fn related(event: &Value, pointer: &str, repository: &str) -> Markup {
    let number = event.pointer(pointer).and_then(|issue| issue["number"].as_u64());
    let theirs = text(event, &format!("{pointer}/repository/full_name")).unwrap_or(repository);
    match number {
        Some(number) => html! {
            a href=(links::item(theirs, gharvest_model::Kind::Issue, number)) { "#" (number) }
            " " bdi class="name" { (text(event, &format!("{pointer}/title")).unwrap_or("")) }
        },
        None => html! { "another issue" },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(event: &Value) -> String {
        let renames = serde_json::from_value(json!([
            {"label": 1, "from": "bug", "to": "kind: bug", "at": "2024-01-05T00:00:00Z"}
        ]));
        let html = describe(&[event], "a/b", &renames.unwrap()).into_string();
        let mut text = String::new();
        let mut inside = false;
        for letter in html.chars() {
            match letter {
                '<' => inside = true,
                '>' => inside = false,
                letter if !inside => text.push(letter),
                _ => {}
            }
        }
        text
    }

    #[test]
    fn events_are_told_in_words_and_unknown_ones_by_their_name() {
        let x = json!({"login": "x"});
        assert_eq!(
            said(&json!({"event": "closed", "actor": x, "state_reason": "not_planned"})),
            "x closed this as not planned"
        );
        assert_eq!(
            said(&json!({"event": "renamed", "actor": x, "rename": {"from": "a", "to": "b"}})),
            "x changed the title from a to b"
        );
        assert_eq!(
            said(&json!({"event": "merged", "actor": null, "commit_id": "0123456789abcdef"})),
            "somebody merged this as 0123456789"
        );
        let labeled = |at: &str| json!({"event": "labeled", "actor": x, "label": {"name": "bug"}, "created_at": at});
        assert_eq!(said(&labeled("2024-01-04T00:00:00Z")), "x added bug (now kind: bug)");
        assert_eq!(said(&labeled("2024-01-06T00:00:00Z")), "x added bug");
        assert_eq!(said(&json!({"event": "teleported"})), "somebody did something that GitHub calls teleported");
    }
}
