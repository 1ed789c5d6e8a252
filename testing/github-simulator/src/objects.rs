//! GitHub's JSON objects, built with placeholders: what rendering from a script and changing at run time share.

use gharvest_model::Kind;
use serde_json::{Value, json};

use crate::{
    node_id,
    people::{ACTIONS, GHOST, GITHUB},
    random::{mix, sha},
    script::{WORLD_END, WORLD_START},
    token::Token,
};

/// Where an object belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// The repository's id.
    pub(crate) repository: u64,
    /// The repository's place in the world: keeps ids of different repositories apart.
    pub(crate) ordinal: u64,
    pub(crate) number: u64,
    pub(crate) kind: Kind,
    /// The id of the item's issue object.
    pub(crate) issue_id: u64,
    pub(crate) seed: u64,
}

/// `2026-11-01T00:00:00Z`
pub(crate) fn time(second: i64) -> String {
    jiff::Timestamp::from_second(second).map(|time| time.to_string()).unwrap_or_default()
}

pub(crate) fn seconds(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

/// The person, or GitHub's stand-in for a deleted account.
pub(crate) fn author(id: Option<u64>) -> Value {
    Value::String(Token::User(id.unwrap_or(GHOST)).text())
}

/// What was done by way of an App: GitHub's own for workflows, else none.
pub(crate) fn app_of(who: Option<u64>) -> Value {
    if who == Some(ACTIONS) { actions_app() } else { Value::Null }
}

/// The App that workflows act as.
pub(crate) fn actions_app() -> Value {
    json!({
        "id": 15_368,
        "client_id": "Iv1.simulated",
        "slug": "github-actions",
        "node_id": node_id::old("App", 15_368),
        "owner": author(Some(GITHUB)),
        "name": "GitHub Actions",
        "description": "Workflows of a repository",
        "external_url": Token::Web("/features/actions").text(),
        "html_url": Token::Web("/apps/github-actions").text(),
        "created_at": "2018-07-30T09:30:17Z",
        "updated_at": "2025-12-08T15:34:01Z",
        "permissions": {"issues": "write", "metadata": "read", "pull_requests": "write"},
        "events": ["issues", "issue_comment"],
    })
}

/// The person, or nothing: events and reviews of deleted accounts have no stand-in.
pub(crate) fn actor(id: Option<u64>) -> Value {
    id.map_or(Value::Null, |id| Value::String(Token::User(id).text()))
}

/// Ids grow with time and number, and the latest are beyond 32 bits, as on GitHub.
pub(crate) fn issue_id(ordinal: u64, created: i64, number: u64) -> u64 {
    let share = (created - WORLD_START) as f64 / (WORLD_END - WORLD_START) as f64;
    100_000_000 + ordinal * 1_000_000_000_000 + (share.max(0.0) * 4.9e9) as u64 + number
}

pub(crate) fn pull_id(ordinal: u64, created: i64, number: u64) -> u64 {
    let share = (created - WORLD_START) as f64 / (WORLD_END - WORLD_START) as f64;
    60_000_000 + ordinal * 1_000_000_000_000 + (share.max(0.0) * 2.6e9) as u64 + number
}

impl Place {
    /// The id of the n-th thing said or done in this thread.
    pub(crate) fn id(&self, base: u64, index: u64) -> u64 {
        base + self.ordinal * 1_000_000_000_000 + self.number * 10_000 + index
    }

    pub(crate) fn api(&self, rest: &str) -> String {
        Token::Repository(self.repository, rest).text()
    }

    /// The item's web page, or a place on it.
    pub(crate) fn page(&self, rest: &str) -> String {
        let word = if self.kind == Kind::Issue { "issues" } else { "pull" };
        Token::RepositoryPage(self.repository, &format!("/{word}/{}{rest}", self.number)).text()
    }

    pub(crate) fn issue_url(&self, rest: &str) -> String {
        self.api(&format!("/issues/{}{rest}", self.number))
    }

    pub(crate) fn pull_url(&self, rest: &str) -> String {
        self.api(&format!("/pulls/{}{rest}", self.number))
    }

    pub(crate) fn sha(&self, index: u64) -> String {
        sha(self.seed, &[self.repository, self.number, index])
    }

    /// An event with the keys that all share.
    pub(crate) fn event(&self, name: &str, index: u64, who: Option<u64>, at: i64) -> Value {
        let id = self.id(2_100_000_000, index);
        let (legacy, prefix) = event_type(name);
        json!({
            "id": id,
            "node_id": node_id::event(&legacy, &prefix, at, (self.repository, self.issue_id), id),
            "url": self.api(&format!("/issues/events/{id}")),
            "actor": actor(who),
            "event": name,
            "commit_id": null,
            "commit_url": null,
            "created_at": time(at),
            "performed_via_github_app": app_of(who),
        })
    }

    /// A comment as the timeline shows it.
    pub(crate) fn comment(&self, index: u64, who: Option<u64>, association: &str, at: (i64, i64), body: &str) -> Value {
        let id = self.id(900_000_000, index);
        let (created, updated) = at;
        json!({
            "url": self.api(&format!("/issues/comments/{id}")),
            "html_url": self.page(&format!("#issuecomment-{id}")),
            "issue_url": self.issue_url(""),
            "id": id,
            "node_id": node_id::object("IssueComment", "IC", created, self.repository, id),
            "user": author(who),
            "created_at": time(created),
            "updated_at": time(updated),
            "body": body,
            "author_association": association,
            "reactions": reactions(&self.api(&format!("/issues/comments/{id}/reactions")), mix(self.seed, &[id])),
            "performed_via_github_app": app_of(who),
            "pin": null,
            "minimized": null,
            "event": "commented",
            "actor": author(who),
        })
    }

    /// A review as the timeline shows it: `state` in lower case.
    pub(crate) fn review(&self, index: u64, who: Option<u64>, association: &str, at: i64, said: (&str, &str)) -> Value {
        let id = self.id(700_000_000, index);
        let (state, body) = said;
        let page = self.page(&format!("#pullrequestreview-{id}"));
        json!({
            "id": id,
            "node_id": node_id::object("PullRequestReview", "PRR", at, self.repository, id),
            "user": actor(who),
            "body": body,
            "commit_id": self.sha(0),
            "submitted_at": time(at),
            "updated_at": time(at),
            "state": state,
            "html_url": page,
            "pull_request_url": self.pull_url(""),
            "author_association": association,
            "_links": {"html": {"href": page}, "pull_request": {"href": self.pull_url("")}},
            "event": "reviewed",
        })
    }

    /// A comment on a line of the diff. `review` is its review's id, `reply` the comment it answers.
    pub(crate) fn review_comment(&self, said: ReviewComment<'_>) -> Value {
        let id = self.id(600_000_000, said.index);
        let (path, hunk, line) = said.hunk;
        let page = self.page(&format!("#discussion_r{id}"));
        let url = self.api(&format!("/pulls/comments/{id}"));
        let mut comment = json!({
            "url": url,
            "pull_request_review_id": said.review,
            "id": id,
            "node_id": node_id::object("PullRequestReviewComment", "PRRC", said.at, self.repository, id),
            "diff_hunk": hunk,
            "path": path,
            "commit_id": self.sha(0),
            "original_commit_id": self.sha(0),
            "user": author(said.who),
            "body": said.body,
            "created_at": time(said.at),
            "updated_at": time(said.at),
            "html_url": page,
            "pull_request_url": self.pull_url(""),
            "_links": {
                "self": {"href": url},
                "html": {"href": page},
                "pull_request": {"href": self.pull_url("")},
            },
            "reactions": reactions(&format!("{url}/reactions"), mix(self.seed, &[id])),
            "start_line": null,
            "original_start_line": null,
            "start_side": null,
            "line": line,
            "original_line": line,
            "side": "RIGHT",
            "author_association": said.association,
            "original_position": 3,
            "position": 3,
            "subject_type": "line",
        });
        if let Some(reply) = said.reply {
            comment["in_reply_to_id"] = json!(reply);
        }
        comment
    }

    /// A commit as the timeline shows it: no id, no actor, no created_at.
    pub(crate) fn commit(&self, index: u64, name: &str, at: i64, message: &str) -> Value {
        let (sha, tree, parent) = (self.sha(index), self.sha(index + 20_000), self.sha(index + 40_000));
        let person = json!({"name": name, "email": format!("{name}@users.example"), "date": time(at)});
        let reason = if index.is_multiple_of(3) { signature_reason(&sha) } else { "unsigned" };
        let signed = reason != "unsigned";
        let text = |text: String| if signed { json!(text) } else { Value::Null };
        json!({
            "sha": sha,
            "node_id": node_id::commit(at, self.repository, &sha),
            "url": self.api(&format!("/git/commits/{sha}")),
            "html_url": Token::RepositoryPage(self.repository, &format!("/commit/{sha}")).text(),
            "author": person,
            "committer": person,
            "tree": {"sha": tree, "url": self.api(&format!("/git/trees/{tree}"))},
            "message": message,
            "parents": [{
                "sha": parent,
                "url": self.api(&format!("/git/commits/{parent}")),
                "html_url": Token::RepositoryPage(self.repository, &format!("/commit/{parent}")).text(),
            }],
            "verification": {
                "verified": reason == "valid",
                "reason": reason,
                "signature": text("-----BEGIN PGP SIGNATURE-----\n".to_owned()),
                "payload": text(format!("tree {tree}\n")),
                "verified_at": if reason == "valid" { json!(time(at)) } else { Value::Null },
            },
            "event": "committed",
        })
    }

    /// A reference from another item; the copy of that item is filled in when served. One in four was made again later.
    pub(crate) fn cross_reference(&self, who: Option<u64>, at: i64, source: (u64, u64)) -> Value {
        let again = if at % 4 == 0 { (at + 3_600).min(WORLD_END.max(at)) } else { at };
        json!({
            "actor": actor(who),
            "created_at": time(at),
            "updated_at": time(again),
            "source": {"type": "issue", "issue": Token::Issue(source.0, source.1).text()},
            "event": "cross-referenced",
        })
    }
}

/// What GitHub found of the signature of a signed commit: mostly that it is good.
fn signature_reason(sha: &str) -> &'static str {
    match sha.as_bytes().last() {
        Some(b'0') => "malformed_signature",
        Some(b'1') => "unknown_signature_type",
        Some(b'2') => "unverified_email",
        Some(b'3') => "bad_cert",
        _ => "valid",
    }
}

/// What a review comment is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReviewComment<'a> {
    pub(crate) index: u64,
    pub(crate) who: Option<u64>,
    pub(crate) association: &'a str,
    pub(crate) at: i64,
    pub(crate) body: &'a str,
    pub(crate) review: Option<u64>,
    pub(crate) reply: Option<u64>,
    pub(crate) hunk: (&'a str, &'a str, u64),
}

/// The counts of reactions: most things have none.
pub(crate) fn reactions(url: &str, luck: u64) -> Value {
    let few = if luck.is_multiple_of(7) { luck >> 8 } else { 0 };
    let [up, heart, rocket] = [few % 9, (few >> 8) % 3, (few >> 16) % 2];
    json!({
        "url": url,
        "total_count": up + heart + rocket,
        "+1": up,
        "-1": 0,
        "laugh": 0,
        "hooray": 0,
        "confused": 0,
        "heart": heart,
        "rocket": rocket,
        "eyes": 0,
    })
}

/// GraphQL's type name and the letters of the new node id, for a REST event.
pub(crate) fn event_type(name: &str) -> (String, String) {
    let known = match name {
        "assigned" => ("AssignedEvent", "AE"),
        "unassigned" => ("UnassignedEvent", "UNE"),
        "closed" => ("ClosedEvent", "CE"),
        "reopened" => ("ReopenedEvent", "REE"),
        "comment_deleted" => ("CommentDeletedEvent", "CDE"),
        "connected" => ("ConnectedEvent", "COE"),
        "convert_to_draft" => ("ConvertToDraftEvent", "CTDE"),
        "ready_for_review" => ("ReadyForReviewEvent", "RFRE"),
        "converted_to_discussion" => ("ConvertedToDiscussionEvent", "CITDE"),
        "demilestoned" => ("DemilestonedEvent", "DEME"),
        "milestoned" => ("MilestonedEvent", "MIE"),
        "head_ref_deleted" => ("HeadRefDeletedEvent", "HRDE"),
        "head_ref_force_pushed" => ("HeadRefForcePushedEvent", "HRFPE"),
        "head_ref_restored" => ("HeadRefRestoredEvent", "HRRE"),
        "labeled" => ("LabeledEvent", "LE"),
        "unlabeled" => ("UnlabeledEvent", "UNLE"),
        "locked" => ("LockedEvent", "LOE"),
        "unlocked" => ("UnlockedEvent", "UNLOE"),
        "marked_as_duplicate" => ("MarkedAsDuplicateEvent", "MADE"),
        "mentioned" => ("MentionedEvent", "MEE"),
        "merged" => ("MergedEvent", "ME"),
        "referenced" => ("ReferencedEvent", "REFE"),
        "renamed" => ("RenamedTitleEvent", "RTE"),
        "review_dismissed" => ("ReviewDismissedEvent", "RDE"),
        "review_requested" => ("ReviewRequestedEvent", "RRE"),
        "review_request_removed" => ("ReviewRequestRemovedEvent", "RRRE"),
        "subscribed" => ("SubscribedEvent", "SE"),
        "unsubscribed" => ("UnsubscribedEvent", "UE"),
        "user_blocked" => ("UserBlockedEvent", "UBE"),
        "issue_type_added" => ("IssueTypeAddedEvent", "ITAE"),
        "copilot_work_started" => ("CopilotWorkStartedEvent", "CWSE"),
        "copilot_work_finished" => ("CopilotWorkFinishedEvent", "CWFE"),
        _ => return by_rule(name),
    };
    (known.0.to_owned(), known.1.to_owned())
}

fn by_rule(name: &str) -> (String, String) {
    let words: Vec<String> = name
        .split('_')
        .map(|word| {
            word.chars().take(1).map(|letter| letter.to_ascii_uppercase()).chain(word.chars().skip(1)).collect()
        })
        .collect();
    let prefix: String = words.iter().filter_map(|word| word.chars().next()).collect();
    (format!("{}Event", words.concat()), format!("{prefix}E"))
}
