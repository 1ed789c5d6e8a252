//! GraphQL's objects from REST's: the same facts under GraphQL's names.
//!
//! A connection is an object with the key `@nodes`; the executor turns it into pages. Every object says its
//! `__typename`. A field that is not here is one that this simulator lacks, and asking for it is a violation.

use serde_json::{Value, json};

use crate::{
    node_id,
    objects::event_type,
    people::GHOST,
    render::Thread,
    repository::Repository,
    state::{Detail, State, View},
};

/// All nodes of a connection.
pub(crate) const NODES: &str = "@nodes";

/// The members of `PullRequestTimelineItems`.
pub(crate) const TIMELINE_TYPES: &[&str] = &[
    "AddedToMergeQueueEvent",
    "AddedToProjectEvent",
    "AddedToProjectV2Event",
    "AssignedEvent",
    "AutoMergeDisabledEvent",
    "AutoMergeEnabledEvent",
    "AutoRebaseEnabledEvent",
    "AutoSquashEnabledEvent",
    "AutomaticBaseChangeFailedEvent",
    "AutomaticBaseChangeSucceededEvent",
    "BaseRefChangedEvent",
    "BaseRefDeletedEvent",
    "BaseRefForcePushedEvent",
    "BlockedByAddedEvent",
    "BlockedByRemovedEvent",
    "BlockingAddedEvent",
    "BlockingRemovedEvent",
    "ClosedEvent",
    "CommentDeletedEvent",
    "ConnectedEvent",
    "ConvertToDraftEvent",
    "ConvertedFromDraftEvent",
    "ConvertedNoteToIssueEvent",
    "ConvertedToDiscussionEvent",
    "CrossReferencedEvent",
    "DemilestonedEvent",
    "DeployedEvent",
    "DeploymentEnvironmentChangedEvent",
    "DisconnectedEvent",
    "HeadRefDeletedEvent",
    "HeadRefForcePushedEvent",
    "HeadRefRestoredEvent",
    "IssueComment",
    "IssueCommentPinnedEvent",
    "IssueCommentUnpinnedEvent",
    "IssueFieldAddedEvent",
    "IssueFieldChangedEvent",
    "IssueFieldRemovedEvent",
    "IssueTypeAddedEvent",
    "IssueTypeChangedEvent",
    "IssueTypeRemovedEvent",
    "LabeledEvent",
    "LockedEvent",
    "MarkedAsDuplicateEvent",
    "MentionedEvent",
    "MergedEvent",
    "MilestonedEvent",
    "MovedColumnsInProjectEvent",
    "ParentIssueAddedEvent",
    "ParentIssueRemovedEvent",
    "PinnedEvent",
    "ProjectV2ItemStatusChangedEvent",
    "PullRequestCommit",
    "PullRequestCommitCommentThread",
    "PullRequestReview",
    "PullRequestReviewThread",
    "PullRequestRevisionMarker",
    "ReadyForReviewEvent",
    "ReferencedEvent",
    "RemovedFromMergeQueueEvent",
    "RemovedFromProjectEvent",
    "RemovedFromProjectV2Event",
    "RenamedTitleEvent",
    "ReopenedEvent",
    "ReviewDismissedEvent",
    "ReviewRequestRemovedEvent",
    "ReviewRequestedEvent",
    "SubIssueAddedEvent",
    "SubIssueRemovedEvent",
    "SubscribedEvent",
    "TransferredEvent",
    "UnassignedEvent",
    "UnlabeledEvent",
    "UnlockedEvent",
    "UnmarkedAsDuplicateEvent",
    "UnpinnedEvent",
    "UnsubscribedEvent",
    "UserBlockedEvent",
];

pub(crate) fn connection(nodes: Vec<Value>) -> Value {
    json!({"@nodes": nodes})
}

/// A connection of which only the count is known.
fn counted(count: &Value) -> Value {
    json!({"@nodes": [], "totalCount": count})
}

fn upper(value: &Value) -> Value {
    value.as_str().map_or(Value::Null, |text| json!(text.to_uppercase().replace([' ', '-'], "_")))
}

fn text_id(value: &Value) -> Value {
    value.as_u64().map_or(Value::Null, |id| json!(id.to_string()))
}

/// An account; REST's stand-in for deleted ones is nobody here.
pub(crate) fn actor(user: &Value) -> Value {
    if user.is_null() || user["id"] == GHOST {
        return Value::Null;
    }
    let login = user["login"].as_str().unwrap_or_default();
    json!({
        "__typename": user["type"],
        "login": login.trim_end_matches("[bot]"),
        "url": user["html_url"],
        "resourcePath": format!("/{login}"),
        "avatarUrl": user["avatar_url"],
        "databaseId": user["id"],
        "id": user["node_id"],
        "isSiteAdmin": user["site_admin"],
        "name": null,
    })
}

fn actors(users: &Value) -> Value {
    connection(users.as_array().into_iter().flatten().map(actor).collect())
}

/// A repository from REST's object of it.
fn repository_of(object: &Value) -> Value {
    if object.is_null() {
        return Value::Null;
    }
    json!({
        "__typename": "Repository",
        "id": object["node_id"],
        "databaseId": object["id"],
        "name": object["name"],
        "nameWithOwner": object["full_name"],
        "url": object["html_url"],
        "isPrivate": object["private"],
        "isFork": object["fork"],
        "owner": actor(&object["owner"]),
    })
}

fn label(label: &Value) -> Value {
    json!({
        "__typename": "Label",
        "id": label["node_id"],
        "name": label["name"],
        "color": label["color"],
        "description": label["description"],
        "isDefault": label["default"],
    })
}

fn milestone(milestone: &Value) -> Value {
    if milestone.is_null() {
        return Value::Null;
    }
    json!({
        "__typename": "Milestone",
        "id": milestone["node_id"],
        "number": milestone["number"],
        "title": milestone["title"],
        "description": milestone["description"],
        "state": upper(&milestone["state"]),
        "dueOn": milestone["due_on"],
        "createdAt": milestone["created_at"],
        "updatedAt": milestone["updated_at"],
        "closedAt": milestone["closed_at"],
        "url": milestone["html_url"],
        "creator": actor(&milestone["creator"]),
    })
}

/// All eight kinds of reaction, each with its count.
fn reaction_groups(reactions: &Value, created: &Value) -> Value {
    let kinds = [
        ("THUMBS_UP", "+1"),
        ("THUMBS_DOWN", "-1"),
        ("LAUGH", "laugh"),
        ("HOORAY", "hooray"),
        ("CONFUSED", "confused"),
        ("HEART", "heart"),
        ("ROCKET", "rocket"),
        ("EYES", "eyes"),
    ];
    kinds
        .iter()
        .map(|(content, key)| {
            let count = reactions[*key].as_u64().unwrap_or(0);
            json!({
                "__typename": "ReactionGroup",
                "content": content,
                "createdAt": if count > 0 { created.clone() } else { Value::Null },
                "reactors": counted(&json!(count)),
            })
        })
        .collect()
}

fn issue_type(kind: &Value) -> Value {
    if kind.is_null() {
        return Value::Null;
    }
    let id = kind["id"].as_u64().unwrap_or(0);
    json!({
        "__typename": "IssueType",
        "id": crate::render::type_node_id(id),
        "name": kind["name"],
        "description": kind["description"],
        "color": upper(&kind["color"]),
        "isEnabled": true,
    })
}

/// The fields of an issue that `__type(name: "Issue")` tells of beyond the oldest schema.
pub(crate) const NEWER_ISSUE_FIELDS: &[&str] = &["issueType", "subIssuesSummary", "issueDependenciesSummary", "parent"];

impl State {
    /// A repository as GraphQL's object.
    pub(crate) fn graph_repository(&self, repository: &Repository) -> Value {
        let view = View::default();
        repository_of(&self.show(self.repository_object(repository, Detail::Standard, 0), view))
    }

    /// An issue or pull request with everything, as GraphQL's object.
    pub(crate) fn graph_item(&self, repository: &Repository, thread: Thread) -> Value {
        let view = View::default();
        let issue = self.show(thread.issue, view);
        let mut item = self.graph_core(self.graph_repository(repository), &issue, thread.pull.is_some());
        let mut entries = Vec::new();
        for entry in thread.timeline {
            let threads = review_threads(repository, &entry, &thread.review_comments);
            entries.extend(self.graph_entry(repository, &self.show(entry, view)));
            entries.extend(threads);
        }
        // What the caller saw last, of the pull requests that they looked at.
        if thread.pull.is_some() && issue["number"].as_u64().is_some_and(|number| number % 2 == 1) {
            entries.push(json!({"__typename": "PullRequestRevisionMarker", "createdAt": issue["updated_at"]}));
        }
        let comments = entries.iter().filter(|entry| entry["__typename"] == "IssueComment").cloned().collect();
        item["comments"] = connection(comments);
        item["timelineItems"] = json!({"@nodes": entries, "updatedAt": issue["updated_at"]});
        if let Some(pull) = thread.pull {
            let threads = thread.review_comments.iter().filter(|comment| comment["in_reply_to_id"].is_null()).count();
            let part = graph_pull(&self.show(pull, view), threads);
            crate::state::extend(&mut item, part);
        }
        self.with_edits(repository, item)
    }

    /// The review comment of a pull request with this node id: items show them by threads only.
    pub(crate) fn graph_review_comment(&self, repository: &Repository, number: u64, id: &str) -> Value {
        let thread = repository.thread(&self.people, number);
        let comment = thread.as_ref().and_then(|thread| thread.review_comments.iter().find(|one| one["node_id"] == id));
        comment.map_or(Value::Null, |comment| {
            self.with_edits(repository, review_comment(&self.show(comment.clone(), View::default())))
        })
    }

    /// What issue and pull request share, and references to them show.
    fn graph_core(&self, home: Value, issue: &Value, pull: bool) -> Value {
        let closed = issue["state"] == "closed";
        let merged = !issue["pull_request"]["merged_at"].is_null();
        let state = if merged {
            "MERGED"
        } else if closed {
            "CLOSED"
        } else {
            "OPEN"
        };
        let summary = &issue["sub_issues_summary"];
        let waits = &issue["issue_dependencies_summary"];
        let mut core = json!({
            "__typename": if pull { "PullRequest" } else { "Issue" },
            "id": issue["node_id"],
            "databaseId": issue["id"],
            "fullDatabaseId": text_id(&issue["id"]),
            "number": issue["number"],
            "title": issue["title"],
            "body": issue["body"].as_str().unwrap_or_default(),
            "url": issue["html_url"],
            "state": state,
            "closed": closed,
            "locked": issue["locked"],
            "activeLockReason": upper(&issue["active_lock_reason"]),
            "createdAt": issue["created_at"],
            "updatedAt": issue["updated_at"],
            "closedAt": issue["closed_at"],
            "authorAssociation": issue["author_association"],
            "author": actor(&issue["user"]),
            "assignees": actors(&issue["assignees"]),
            "labels": connection(issue["labels"].as_array().into_iter().flatten().map(label).collect()),
            "milestone": milestone(&issue["milestone"]),
            "reactionGroups": reaction_groups(&issue["reactions"], &issue["created_at"]),
            "repository": home,
        });
        let own = if pull {
            json!({"isDraft": issue["draft"], "merged": merged, "mergedAt": issue["pull_request"]["merged_at"]})
        } else {
            json!({
                "stateReason": upper(&issue["state_reason"]),
                "issueType": issue_type(&issue["type"]),
                "subIssuesSummary": {
                    "total": summary["total"],
                    "completed": summary["completed"],
                    "percentCompleted": summary["percent_completed"],
                },
                "issueDependenciesSummary": {
                    "blockedBy": waits["blocked_by"],
                    "blocking": waits["blocking"],
                    "totalBlockedBy": waits["total_blocked_by"],
                    "totalBlocking": waits["total_blocking"],
                },
                "parent": null,
            })
        };
        crate::state::extend(&mut core, own);
        core
    }

    /// A timeline entry; none for what only REST shows.
    fn graph_entry(&self, repository: &Repository, entry: &Value) -> Option<Value> {
        let event = entry["event"].as_str()?;
        Some(match event {
            "commented" => self.with_edits(repository, comment(entry)),
            "reviewed" => self.with_edits(repository, review(entry)),
            "committed" => {
                json!({"__typename": "PullRequestCommit", "id": format!("PURC_{}", entry["sha"]), "commit": commit(repository, entry)})
            }
            "line-commented" => {
                let comments = entry["comments"].as_array().into_iter().flatten();
                let comments = comments.map(|comment| {
                    json!({"__typename": "PullRequestReviewComment", "fullDatabaseId": text_id(&comment["id"])})
                });
                json!({
                    "__typename": "PullRequestReviewThread",
                    "id": entry["node_id"],
                    "comments": connection(comments.collect()),
                })
            }
            "commit-commented" => {
                json!({"__typename": "PullRequestCommitCommentThread", "id": entry["node_id"]})
            }
            "cross-referenced" => self.cross_reference(repository, entry),
            _ => {
                let (typename, _) = event_type(event);
                if !TIMELINE_TYPES.contains(&typename.as_str()) {
                    return None;
                }
                let mut node = json!({
                    "__typename": typename,
                    "id": entry["node_id"],
                    "databaseId": entry["id"],
                    "createdAt": entry["created_at"],
                    "actor": actor(&entry["actor"]),
                });
                crate::state::extend(&mut node, self.own_fields(repository, event, entry));
                node
            }
        })
    }

    /// Recorded references do not say whose item it was: then it is taken for one of the same repository.
    fn cross_reference(&self, repository: &Repository, entry: &Value) -> Value {
        let issue = &entry["source"]["issue"];
        let home = match self.repositories.get(&issue["repository"]["id"].as_u64().unwrap_or(repository.id)) {
            Some(found) => self.graph_repository(found),
            None => repository_of(&issue["repository"]),
        };
        let id = format!("{}{}", entry["created_at"], issue["id"]);
        let unique = crate::random::mix(id.len() as u64, &[issue["id"].as_u64().unwrap_or(0)]);
        json!({
            "__typename": "CrossReferencedEvent",
            "id": node_id::old("CrossReferencedEvent", unique),
            "createdAt": entry["created_at"],
            "referencedAt": entry["created_at"],
            "actor": actor(&entry["actor"]),
            "isCrossRepository": false,
            "willCloseTarget": false,
            "source": self.graph_core(home, issue, issue["pull_request"].is_object()),
        })
    }

    /// A commit that an event names; none of a name that is null. What only commits of a pull request tell is not here.
    fn commit_named(&self, repository: &Repository, entry: &Value) -> Value {
        let Some(sha) = entry["commit_id"].as_str() else { return Value::Null };
        json!({
            "__typename": "Commit",
            "id": node_id::commit(i64::MAX, repository.id, sha),
            "oid": sha,
            "url": null,
            "repository": self.home_of_commit(repository, entry),
        })
    }

    /// The repository of the commit that an event names: commits of forks name items as well.
    fn home_of_commit(&self, repository: &Repository, entry: &Value) -> Value {
        let path = entry["commit_url"].as_str().and_then(|url| url.split_once("/repos/"));
        let name = path.and_then(|(_, path)| path.split_once("/commits/")).map(|(name, _)| name);
        match name {
            Some(name) if name != repository.full_name() => json!({"__typename": "Repository", "nameWithOwner": name}),
            _ => self.graph_repository(repository),
        }
    }

    /// What an event of this name tells beside the common fields.
    fn own_fields(&self, repository: &Repository, event: &str, entry: &Value) -> Value {
        let commit = || self.commit_named(repository, entry);
        // A commit that no branch has any more: GraphQL has no object for it, REST still its name.
        let reachable = || {
            let gone = entry["commit_id"].as_str().is_some_and(is_unreachable);
            if gone { Value::Null } else { commit() }
        };
        match event {
            "added_to_project" | "converted_note_to_issue" | "moved_columns_in_project" => card(entry),
            "labeled" | "unlabeled" => {
                let now = entry["label"]["name"].as_str().and_then(|then| repository.label_once_named(then));
                json!({"label": label(now.unwrap_or(&entry["label"]))})
            }
            "assigned" | "unassigned" => json!({"assignee": actor(&entry["assignee"])}),
            "milestoned" | "demilestoned" => json!({"milestoneTitle": entry["milestone"]["title"]}),
            "renamed" => json!({"previousTitle": entry["rename"]["from"], "currentTitle": entry["rename"]["to"]}),
            "closed" => json!({"stateReason": upper(&entry["state_reason"]), "closer": commit()}),
            "reopened" => json!({"stateReason": upper(&entry["state_reason"])}),
            "locked" => json!({"lockReason": upper(&entry["lock_reason"])}),
            "merged" => json!({"commit": commit(), "mergeRefName": "main"}),
            "referenced" => json!({
                "commit": reachable(),
                "commitRepository": self.home_of_commit(repository, entry),
                "isDirectReference": true,
                "isCrossRepository": false,
            }),
            "head_ref_force_pushed" | "base_ref_force_pushed" => {
                json!({"afterCommit": reachable(), "beforeCommit": null})
            }
            "review_requested" | "review_request_removed" => json!({"requestedReviewer": reviewer(entry)}),
            "review_dismissed" => dismissed(&entry["dismissed_review"]),
            "sub_issue_added" | "sub_issue_removed" => json!({"subIssue": related(&entry["sub_issue"])}),
            "parent_issue_added" | "parent_issue_removed" => json!({"parent": related(&entry["parent_issue"])}),
            "blocked_by_added" | "blocked_by_removed" => json!({"blockingIssue": related(&entry["blocked_by"])}),
            "blocking_added" | "blocking_removed" => json!({"blockedIssue": related(&entry["blocking"])}),
            "issue_type_removed" => json!({"issueType": issue_type(&entry["prev_issue_type"])}),
            "issue_type_added" | "issue_type_changed" => json!({
                "issueType": issue_type(&entry["issue_type"]),
                "prevIssueType": issue_type(&entry["prev_issue_type"]),
            }),
            _ => json!({}),
        }
    }
}

/// The threads of review comments that began with a review: in the timeline only GraphQL has them.
fn review_threads(repository: &Repository, entry: &Value, comments: &[Value]) -> Vec<Value> {
    let begins = |comment: &&Value| {
        let review = &comment["pull_request_review_id"];
        entry["event"] == "reviewed" && *review == entry["id"] && comment["in_reply_to_id"].is_null()
    };
    let thread = |comment: &Value| {
        let parts = [node_id::Part::Id(repository.id), node_id::Part::Id(comment["id"].as_u64().unwrap_or(0))];
        json!({"__typename": "PullRequestReviewThread", "id": node_id::new("PRRT", &parts)})
    };
    comments.iter().filter(begins).map(thread).collect()
}

/// A card of a classic project.
fn card(entry: &Value) -> Value {
    let card = &entry["project_card"];
    json!({
        "projectColumnName": card["column_name"],
        "previousProjectColumnName": card["previous_column_name"],
        "project": {"__typename": "Project", "databaseId": card["project_id"]},
        "projectCard": {"__typename": "ProjectCard", "databaseId": card["id"]},
    })
}

/// An item that another one names as its part, its parent, or what it waits for.
fn related(issue: &Value) -> Value {
    json!({
        "__typename": "Issue",
        "number": issue["number"],
        "title": issue["title"],
        "state": upper(&issue["state"]),
        "stateReason": upper(&issue["state_reason"]),
        "repository": repository_of(&issue["repository"]),
    })
}

fn dismissed(review: &Value) -> Value {
    json!({
        "previousReviewState": upper(&review["state"]),
        "dismissalMessage": review["dismissal_message"],
        "review": {"__typename": "PullRequestReview", "fullDatabaseId": text_id(&review["review_id"])},
        "pullRequestCommit": null,
    })
}

fn reviewer(entry: &Value) -> Value {
    let team = &entry["requested_team"];
    if team.is_null() {
        return actor(&entry["requested_reviewer"]);
    }
    json!({
        "__typename": "Team",
        "databaseId": team["id"],
        "id": team["node_id"],
        "name": team["name"],
        "slug": team["slug"],
        "description": team["description"],
        "url": team["html_url"],
    })
}

fn comment(entry: &Value) -> Value {
    let mut comment = said(entry, "IssueComment");
    comment["isMinimized"] = json!(false);
    comment["minimizedReason"] = Value::Null;
    comment
}

fn review_comment(entry: &Value) -> Value {
    said(entry, "PullRequestReviewComment")
}

/// What comments of both sorts have.
fn said(entry: &Value, sort: &str) -> Value {
    json!({
        "__typename": sort,
        "id": entry["node_id"],
        "databaseId": entry["id"],
        "fullDatabaseId": text_id(&entry["id"]),
        "url": entry["html_url"],
        "body": entry["body"],
        "createdAt": entry["created_at"],
        "updatedAt": entry["updated_at"],
        "authorAssociation": entry["author_association"],
        "author": actor(&entry["user"]),
        "reactionGroups": reaction_groups(&entry["reactions"], &entry["created_at"]),
    })
}

/// One commit in eight was pushed away.
fn is_unreachable(sha: &str) -> bool {
    sha.ends_with(['3', 'b'])
}

fn review(entry: &Value) -> Value {
    let reachable = entry["commit_id"].as_str().filter(|sha| !is_unreachable(sha));
    let commit = reachable.map(|sha| json!({"__typename": "Commit", "oid": sha}));
    json!({
        "__typename": "PullRequestReview",
        "id": entry["node_id"],
        "databaseId": entry["id"],
        "fullDatabaseId": text_id(&entry["id"]),
        "url": entry["html_url"],
        "body": entry["body"].as_str().unwrap_or_default(),
        "state": upper(&entry["state"]),
        "submittedAt": entry["submitted_at"],
        "updatedAt": entry["updated_at"],
        "authorAssociation": entry["author_association"],
        "author": actor(&entry["user"]),
        "commit": commit,
        "reactionGroups": reaction_groups(&Value::Null, &Value::Null),
    })
}

/// GraphQL has words of its own for some reasons of REST's; of certificates that were revoked REST only says that they
/// are bad.
fn signature_state(reason: &Value) -> Value {
    match reason.as_str() {
        Some("malformed_signature") => json!("MALFORMED_SIG"),
        Some("unknown_signature_type") => json!("UNKNOWN_SIG_TYPE"),
        Some("bad_cert") => json!("OCSP_REVOKED"),
        _ => upper(reason),
    }
}

fn commit(repository: &Repository, entry: &Value) -> Value {
    let verification = &entry["verification"];
    let signature = verification["signature"].as_str().map(|signature| {
        json!({
            "__typename": "GpgSignature",
            "isValid": verification["verified"],
            "state": signature_state(&verification["reason"]),
            "payload": verification["payload"],
            "signature": signature,
            "verifiedAt": verification["verified_at"],
        })
    });
    let parents = entry["parents"].as_array().into_iter().flatten();
    json!({
        "__typename": "Commit",
        "id": entry["node_id"],
        "oid": entry["sha"],
        "url": entry["html_url"],
        "message": entry["message"],
        "tree": {"__typename": "Tree", "oid": entry["tree"]["sha"]},
        "author": entry["author"],
        "committer": entry["committer"],
        "parents": connection(parents.map(|parent| json!({"__typename": "Commit", "oid": parent["sha"]})).collect()),
        "signature": signature,
        "repository": {"__typename": "Repository", "nameWithOwner": repository.full_name()},
    })
}

fn graph_pull(pull: &Value, threads: usize) -> Value {
    let merged = pull["merged"] == true;
    let commit = json!({"__typename": "Commit", "oid": pull["merge_commit_sha"]});
    let requested = |key: &str| pull[key].as_array().into_iter().flatten().cloned().collect::<Vec<_>>();
    let people = requested("requested_reviewers").into_iter().map(|person| json!({"requested_reviewer": person}));
    let teams = requested("requested_teams").into_iter().map(|team| json!({"requested_team": team}));
    let requests = people
        .chain(teams)
        .map(|request| json!({"__typename": "ReviewRequest", "requestedReviewer": reviewer(&request)}));
    json!({
        "databaseId": pull["id"],
        "fullDatabaseId": text_id(&pull["id"]),
        "mergedBy": actor(&pull["merged_by"]),
        "headRefName": pull["head"]["ref"],
        "headRefOid": pull["head"]["sha"],
        "headRepository": repository_of(&pull["head"]["repo"]),
        "headRepositoryOwner": actor(&pull["head"]["repo"]["owner"]),
        "baseRefName": pull["base"]["ref"],
        "baseRefOid": pull["base"]["sha"],
        "baseRepository": repository_of(&pull["base"]["repo"]),
        "mergeCommit": if merged { commit.clone() } else { Value::Null },
        // Of a closed one there is no test merge any more.
        "potentialMergeCommit": if pull["state"] == "open" { commit } else { Value::Null },
        "additions": pull["additions"],
        "deletions": pull["deletions"],
        "changedFiles": pull["changed_files"],
        "commits": counted(&pull["commits"]),
        "maintainerCanModify": pull["maintainer_can_modify"],
        "reviewThreads": counted(&json!(threads)),
        "autoMergeRequest": null,
        "reviewRequests": connection(requests.collect()),
        "mergeable": "UNKNOWN",
        "mergeStateStatus": "UNKNOWN",
    })
}
