//! REST's objects from GraphQL's: the same fields, in REST's order, absent facts as REST shows them.
//!
//! What cannot be told is in [`gharvest_model::lossy::LOSSY`].

use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::events::EventType;
use crate::node_id::NodeId;

/// Where a thread belongs: what addresses are made of.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Base of the REST API, without a slash at the end.
    pub(crate) api: String,
    /// GraphQL's repository.
    pub(crate) repository: Value,
    pub(crate) number: u64,
    pub(crate) pull: bool,
}

impl Place {
    fn full_name(&self) -> &str {
        self.repository["nameWithOwner"].as_str().unwrap_or_default()
    }

    fn repo(&self, rest: &str) -> String {
        format!("{}/repos/{}{rest}", self.api, self.full_name())
    }

    fn issue(&self, rest: &str) -> String {
        self.repo(&format!("/issues/{}{rest}", self.number))
    }

    fn pull(&self, rest: &str) -> String {
        self.repo(&format!("/pulls/{}{rest}", self.number))
    }

    /// A page of the repository on the web.
    fn page(&self, rest: &str) -> String {
        format!("{}{rest}", self.repository["url"].as_str().unwrap_or_default())
    }

    fn web(&self) -> &str {
        let page = self.repository["url"].as_str().unwrap_or_default();
        page.strip_suffix(self.full_name()).unwrap_or(page).trim_end_matches('/')
    }

    /// A commit's address, also in another repository.
    fn commit_url(&self, commit: &Value, repository: &Value) -> Value {
        match (commit["oid"].as_str(), repository["nameWithOwner"].as_str()) {
            (Some(sha), Some(name)) => json!(format!("{}/repos/{name}/commits/{sha}", self.api)),
            (Some(sha), None) => json!(self.repo(&format!("/commits/{sha}"))),
            (None, _) => Value::Null,
        }
    }

    /// An account; null stays null.
    pub(crate) fn user(&self, actor: &Value) -> Value {
        let Some(login) = actor["login"].as_str() else { return Value::Null };
        let kind = actor["__typename"].as_str().unwrap_or("User");
        // GraphQL leaves out what REST adds to the names of apps, except to Copilot's.
        let login = if kind == "Bot" && login != "Copilot" && !login.ends_with("[bot]") {
            format!("{login}[bot]")
        } else {
            login.to_owned()
        };
        let id = number(&actor["databaseId"]).or_else(|| id_of(&actor["id"]));
        self.account(&login, id, &actor["id"], picture(&actor["avatarUrl"]), &actor["url"], kind, &actor["isSiteAdmin"])
    }

    #[expect(clippy::too_many_arguments, reason = "one call with all that differs between accounts")]
    fn account(
        &self,
        login: &str,
        id: Option<u64>,
        node_id: &Value,
        picture: Value,
        page: &Value,
        kind: &str,
        admin: &Value,
    ) -> Value {
        let path = login.replace('[', "%5B").replace(']', "%5D");
        let api = |rest: &str| format!("{}/users/{path}{rest}", self.api);
        json!({
            "login": login,
            "id": id,
            "node_id": node_id,
            "avatar_url": picture,
            "gravatar_id": "",
            "url": api(""),
            "html_url": page,
            "followers_url": api("/followers"),
            "following_url": api("/following{/other_user}"),
            "gists_url": api("/gists{/gist_id}"),
            "starred_url": api("/starred{/owner}{/repo}"),
            "subscriptions_url": api("/subscriptions"),
            "organizations_url": api("/orgs"),
            "repos_url": api("/repos"),
            "events_url": api("/events{/privacy}"),
            "received_events_url": api("/received_events"),
            "type": kind,
            "user_view_type": "public",
            "site_admin": admin.as_bool().unwrap_or(false),
        })
    }

    /// The author of an item or a comment: for a deleted account GitHub's stand-in.
    pub(crate) fn author(&self, actor: &Value) -> Value {
        /// The account that REST shows for deleted ones.
        const GHOST: (u64, &str) = (10_137, "MDQ6VXNlcjEwMTM3");
        if !actor.is_null() {
            return self.user(actor);
        }
        let picture = json!(format!("https://avatars.githubusercontent.com/u/{}?v=4", GHOST.0));
        let page = json!(format!("{}/ghost", self.web()));
        self.account("ghost", Some(GHOST.0), &json!(GHOST.1), picture, &page, "User", &Value::Null)
    }

    /// Puts into a review comment, as REST gave it, what GraphQL tells of it now. Its text is not asked for: the time says
    /// whether it was edited. Apps have other names there.
    pub(crate) fn refresh(&self, comment: &mut Value, node: &Value) {
        comment["updated_at"] = node["updatedAt"].clone();
        let author = &node["author"];
        if comment["user"].is_object() && (author.is_null() || author["__typename"] == "User") {
            comment["user"]["login"] = self.author(author)["login"].take();
        }
        if let Some(url) = comment["reactions"]["url"].as_str() {
            comment["reactions"] = reactions(url, &node["reactionGroups"]);
        }
    }

    fn users(&self, connection: &Value) -> Vec<Value> {
        nodes(connection).map(|actor| self.user(actor)).filter(|user| !user.is_null()).collect()
    }

    fn label(&self, label: &Value) -> Value {
        let name = label["name"].as_str().unwrap_or_default();
        json!({
            "id": id_of(&label["id"]),
            "node_id": label["id"],
            "url": self.repo(&format!("/labels/{}", utf8_percent_encode(name, NON_ALPHANUMERIC_BUT_UNRESERVED))),
            "name": name,
            "color": label["color"],
            "default": label["isDefault"],
            "description": label["description"],
        })
    }

    fn milestone(&self, milestone: &Value) -> Value {
        if milestone.is_null() {
            return Value::Null;
        }
        let number = &milestone["number"];
        json!({
            "url": self.repo(&format!("/milestones/{number}")),
            "html_url": milestone["url"],
            "labels_url": self.repo(&format!("/milestones/{number}/labels")),
            "id": id_of(&milestone["id"]),
            "node_id": milestone["id"],
            "number": number,
            "title": milestone["title"],
            "description": milestone["description"],
            "creator": self.user(&milestone["creator"]),
            "open_issues": null,
            "closed_issues": null,
            "state": lower(&milestone["state"]),
            "created_at": milestone["createdAt"],
            "updated_at": milestone["updatedAt"],
            "due_on": milestone["dueOn"],
            "closed_at": milestone["closedAt"],
        })
    }

    /// The issue object of an issue or a pull request. `timeline` is in REST's shape.
    pub(crate) fn issue_object(&self, core: &Value, timeline: &[Value]) -> Value {
        let assignees = self.users(&core["assignees"]);
        let closed = !core["closedAt"].is_null();
        let id = if self.pull { issue_id_of(timeline) } else { number(&core["fullDatabaseId"]) };
        let mut issue = json!({
            "url": self.issue(""),
            "repository_url": self.repo(""),
            "labels_url": self.issue("/labels{/name}"),
            "comments_url": self.issue("/comments"),
            "events_url": self.issue("/events"),
            "html_url": core["url"],
            "id": id,
            "node_id": core["id"],
            "number": self.number,
            "title": core["title"],
            "user": self.author(&core["author"]),
            "labels": nodes(&core["labels"]).map(|label| self.label(label)).collect::<Vec<_>>(),
            "state": if closed { "closed" } else { "open" },
            "locked": core["locked"],
            "assignee": assignees.first(),
            "assignees": assignees,
            "milestone": self.milestone(&core["milestone"]),
            "comments": core["comments"]["totalCount"],
            "created_at": core["createdAt"],
            "updated_at": core["updatedAt"],
            "closed_at": core["closedAt"],
            "author_association": core["authorAssociation"],
            "type": issue_type(&core["issueType"]),
            "active_lock_reason": lock_reason(&core["activeLockReason"]),
        });
        if self.pull {
            issue["draft"] = core["isDraft"].clone();
            issue["pull_request"] = json!({
                "url": self.pull(""),
                "html_url": core["url"],
                "diff_url": format!("{}.diff", core["url"].as_str().unwrap_or_default()),
                "patch_url": format!("{}.patch", core["url"].as_str().unwrap_or_default()),
                "merged_at": core["mergedAt"],
            });
        }
        let summaries = [
            ("sub_issues_summary", sub_issues(&core["subIssuesSummary"])),
            ("issue_dependencies_summary", dependencies(&core["issueDependenciesSummary"])),
            ("parent_issue_url", self.parent_url(&core["parent"])),
        ];
        for (key, value) in summaries {
            if !value.is_null() {
                issue[key] = value;
            }
        }
        issue["body"] = core["body"].clone();
        issue["closed_by"] = if closed { closed_by(timeline) } else { Value::Null };
        issue["reactions"] = reactions(&self.issue("/reactions"), &core["reactionGroups"]);
        issue["timeline_url"] = json!(self.issue("/timeline"));
        issue["performed_via_github_app"] = Value::Null;
        issue["state_reason"] = lower(&core["stateReason"]);
        issue
    }

    fn parent_url(&self, parent: &Value) -> Value {
        match (parent["repository"]["nameWithOwner"].as_str(), parent["number"].as_u64()) {
            (Some(name), Some(number)) => json!(format!("{}/repos/{name}/issues/{number}", self.api)),
            _ => Value::Null,
        }
    }

    /// The pull request's object: what it shares with its issue object in REST's shape, and its own part.
    pub(crate) fn pull_object(&self, issue: &Value, part: &Value) -> Value {
        let [mut pull, people, links, state] = [
            self.pull_shared(issue, part),
            self.pull_people(issue, part),
            self.pull_links(issue, part),
            self.pull_state(issue, part),
        ];
        for more in [people, links, state] {
            if let (Value::Object(pull), Value::Object(more)) = (&mut pull, more) {
                pull.extend(more);
            }
        }
        pull
    }

    fn pull_shared(&self, issue: &Value, part: &Value) -> Value {
        let page = issue["html_url"].as_str().unwrap_or_default();
        let merged = part["mergeCommit"]["oid"].clone();
        json!({
            "url": self.pull(""),
            "id": number(&part["fullDatabaseId"]),
            "node_id": part["id"],
            "html_url": page,
            "diff_url": format!("{page}.diff"),
            "patch_url": format!("{page}.patch"),
            "issue_url": self.issue(""),
            "number": self.number,
            "state": issue["state"],
            "locked": issue["locked"],
            "title": issue["title"],
            "user": issue["user"],
            "body": issue["body"],
            "created_at": issue["created_at"],
            "updated_at": issue["updated_at"],
            "closed_at": issue["closed_at"],
            "merged_at": part["mergedAt"],
            "merge_commit_sha": if merged.is_null() { part["potentialMergeCommit"]["oid"].clone() } else { merged },
        })
    }

    fn pull_people(&self, issue: &Value, part: &Value) -> Value {
        let requested = nodes(&part["reviewRequests"]).map(|request| &request["requestedReviewer"]);
        let (teams, people): (Vec<&Value>, Vec<&Value>) =
            requested.filter(|who| !who.is_null()).partition(|who| who["__typename"] == "Team");
        json!({
            "assignee": issue["assignee"],
            "assignees": issue["assignees"],
            "requested_reviewers": people.into_iter().map(|who| self.user(who)).collect::<Vec<_>>(),
            "requested_teams": teams.into_iter().map(team).collect::<Vec<_>>(),
            "labels": issue["labels"],
            "milestone": issue["milestone"],
            "draft": issue["draft"],
        })
    }

    fn pull_links(&self, issue: &Value, part: &Value) -> Value {
        let head = part["headRefOid"].as_str().unwrap_or_default();
        let statuses = self.repo(&format!("/statuses/{head}"));
        let link = |href: &str| json!({"href": href});
        let (own, item) = (|rest: &str| self.pull(rest), |rest: &str| self.issue(rest));
        let one_comment = self.repo("/pulls/comments{/number}");
        json!({
            "commits_url": own("/commits"),
            "review_comments_url": own("/comments"),
            "review_comment_url": one_comment,
            "comments_url": item("/comments"),
            "statuses_url": statuses,
            "head": self.head(issue, part),
            "base": self.base(part),
            "_links": {
                "self": link(&own("")),
                "html": link(issue["html_url"].as_str().unwrap_or_default()),
                "issue": link(&item("")),
                "comments": link(&item("/comments")),
                "review_comments": link(&own("/comments")),
                "review_comment": link(&one_comment),
                "commits": link(&own("/commits")),
                "statuses": link(&statuses),
            },
        })
    }

    fn pull_state(&self, issue: &Value, part: &Value) -> Value {
        json!({
            "author_association": issue["author_association"],
            "auto_merge": self.auto_merge(&part["autoMergeRequest"]),
            "active_lock_reason": issue["active_lock_reason"],
            "merged": part["merged"],
            "mergeable": null,
            "rebaseable": null,
            "mergeable_state": "unknown",
            "merged_by": self.user(&part["mergedBy"]),
            "comments": issue["comments"],
            "review_comments": if part["reviewThreads"]["totalCount"] == 0 { json!(0) } else { Value::Null },
            "maintainer_can_modify": part["maintainerCanModify"],
            "commits": null,
            "additions": part["additions"],
            "deletions": part["deletions"],
            "changed_files": part["changedFiles"],
        })
    }

    fn head(&self, issue: &Value, part: &Value) -> Value {
        let owner = &part["headRepositoryOwner"];
        // A deleted fork has no owner any more; REST then names the author.
        let user = if owner.is_null() { issue["user"].clone() } else { self.user(owner) };
        self.branch(user, &part["headRefName"], &part["headRefOid"], &part["headRepository"])
    }

    fn base(&self, part: &Value) -> Value {
        let user = self.user(&self.repository["owner"]);
        self.branch(user, &part["baseRefName"], &part["baseRefOid"], &self.repository)
    }

    fn branch(&self, user: Value, name: &Value, sha: &Value, repository: &Value) -> Value {
        let label = format!("{}:{}", user["login"].as_str().unwrap_or("unknown"), name.as_str().unwrap_or_default());
        json!({"label": label, "ref": name, "sha": sha, "user": user, "repo": self.repository_object(repository)})
    }

    /// What GraphQL cheaply tells of a repository; REST's object has eighty more fields.
    fn repository_object(&self, repository: &Value) -> Value {
        let Some(name) = repository["nameWithOwner"].as_str() else { return Value::Null };
        json!({
            "id": number(&repository["databaseId"]),
            "node_id": repository["id"],
            "name": repository["name"],
            "full_name": name,
            "private": repository["isPrivate"],
            "owner": self.user(&repository["owner"]),
            "html_url": repository["url"],
            "fork": repository["isFork"],
            "url": format!("{}/repos/{name}", self.api),
        })
    }

    fn related(&self, issue: &Value) -> Value {
        if issue.is_null() {
            return Value::Null;
        }
        json!({
            "number": issue["number"],
            "title": issue["title"],
            "state": lower(&issue["state"]),
            "state_reason": lower(&issue["stateReason"]),
            "repository": self.repository_object(&issue["repository"]),
            "issue_type": null,
        })
    }

    fn auto_merge(&self, request: &Value) -> Value {
        if request.is_null() {
            return Value::Null;
        }
        json!({
            "enabled_by": self.user(&request["enabledBy"]),
            "merge_method": lower(&request["mergeMethod"]),
            "commit_title": request["commitHeadline"],
            "commit_message": request["commitBody"],
        })
    }

    /// One entry of the timeline; none for what REST does not show.
    pub(crate) fn entry(&self, kind: &EventType, node: &Value) -> Option<Value> {
        Some(match kind.graphql {
            "IssueComment" => self.comment(node),
            "PullRequestCommit" => self.commit(&node["prCommit"]),
            "PullRequestReview" => self.review(node),
            "CrossReferencedEvent" => self.cross_reference(node),
            // Where GraphQL lists threads, REST shows their reviews.
            "PullRequestReviewThread" | "PullRequestRevisionMarker" => return None,
            _ => self.event(kind, node),
        })
    }

    fn event(&self, kind: &EventType, node: &Value) -> Value {
        let id = id_of(&node["id"]);
        let mut event = Map::new();
        let mut put = |key: &str, value: Value| event.insert(key.to_owned(), value);
        put("id", json!(id));
        put("node_id", node["id"].clone());
        put("url", id.map_or(Value::Null, |id| json!(self.repo(&format!("/issues/events/{id}")))));
        put("actor", self.user(&node["actor"]));
        put("event", json!(kind.rest));
        let (commit, repository) = commit_of(kind, node);
        put("commit_id", commit["oid"].clone());
        put("commit_url", self.commit_url(commit, repository));
        put("created_at", node["createdAt"].clone());
        for (key, value) in self.own_fields(kind, node) {
            put(key, value);
        }
        put("performed_via_github_app", Value::Null);
        Value::Object(event)
    }

    /// The fields beyond the common ones.
    fn own_fields(&self, kind: &EventType, node: &Value) -> Vec<(&'static str, Value)> {
        match kind.rest {
            "labeled" | "unlabeled" => {
                vec![("label", json!({"name": node["label"]["name"], "color": node["label"]["color"]}))]
            }
            "milestoned" | "demilestoned" => vec![("milestone", json!({"title": node["milestoneTitle"]}))],
            _ if kind.is_of_card() => vec![("project_card", self.card(node))],
            "renamed" => vec![("rename", json!({"from": node["previousTitle"], "to": node["currentTitle"]}))],
            "assigned" | "unassigned" => vec![("assignee", self.user(&node["assignee"]))],
            "locked" => vec![("lock_reason", lock_reason(&node["lockReason"]))],
            "closed" | "reopened" => vec![("state_reason", lower(&node["stateReason"]))],
            "review_requested" | "review_request_removed" => {
                let who = &node["requestedReviewer"];
                let asked = match who["__typename"].as_str() {
                    Some("Team") => ("requested_team", team(who)),
                    _ => ("requested_reviewer", self.user(who)),
                };
                vec![("review_requester", self.user(&node["actor"])), asked]
            }
            "review_dismissed" => vec![("dismissed_review", dismissed(node))],
            "sub_issue_added" | "sub_issue_removed" => vec![("sub_issue", self.related(&node["subIssue"]))],
            "parent_issue_added" | "parent_issue_removed" => vec![("parent_issue", self.related(&node["parent"]))],
            "blocked_by_added" | "blocked_by_removed" => vec![("blocked_by", self.related(&node["blockingIssue"]))],
            "blocking_added" | "blocking_removed" => vec![("blocking", self.related(&node["blockedIssue"]))],
            "issue_type_added" => vec![("issue_type", short_type(&node["issueType"]))],
            "issue_type_changed" => vec![
                ("issue_type", short_type(&node["issueType"])),
                ("prev_issue_type", short_type(&node["prevIssueType"])),
            ],
            "issue_type_removed" => vec![("prev_issue_type", short_type(&node["issueType"]))],
            _ => Vec::new(),
        }
    }

    /// A card of a classic project.
    fn card(&self, node: &Value) -> Value {
        let (card, project) = (&node["projectCard"]["databaseId"], &node["project"]["databaseId"]);
        let mut shown = json!({
            "id": card,
            "url": format!("{}/projects/columns/cards/{card}", self.api),
            "project_id": project,
            "project_url": format!("{}/projects/{project}", self.api),
            "column_name": node["projectColumnName"],
        });
        if let Some(previous) = node.get("previousProjectColumnName") {
            shown["previous_column_name"] = previous.clone();
        }
        shown
    }

    fn comment(&self, node: &Value) -> Value {
        let id = number(&node["fullDatabaseId"]).or_else(|| id_of(&node["id"]));
        let url = id.map(|id| self.repo(&format!("/issues/comments/{id}"))).unwrap_or_default();
        let user = self.author(&node["author"]);
        let minimized = match node["isMinimized"].as_bool() {
            Some(true) => json!({"reason": lower(&node["minimizedReason"])}),
            _ => Value::Null,
        };
        json!({
            "url": url,
            "html_url": node["url"],
            "issue_url": self.issue(""),
            "id": id,
            "node_id": node["id"],
            "user": user,
            "created_at": node["createdAt"],
            "updated_at": node["updatedAt"],
            "body": node["body"],
            "author_association": node["authorAssociation"],
            "reactions": reactions(&format!("{url}/reactions"), &node["reactionGroups"]),
            "performed_via_github_app": null,
            "pin": null,
            "minimized": minimized,
            "event": "commented",
            "actor": user,
        })
    }

    fn review(&self, node: &Value) -> Value {
        json!({
            "id": number(&node["fullDatabaseId"]).or_else(|| id_of(&node["id"])),
            "node_id": node["id"],
            "user": self.user(&node["author"]),
            "body": node["body"],
            "commit_id": node["commit"]["oid"],
            "submitted_at": node["submittedAt"],
            "updated_at": node["updatedAt"],
            "state": lower(&node["state"]),
            "html_url": node["url"],
            "pull_request_url": self.pull(""),
            "author_association": node["authorAssociation"],
            "_links": {"html": {"href": node["url"]}, "pull_request": {"href": self.pull("")}},
            "event": "reviewed",
        })
    }

    fn commit(&self, commit: &Value) -> Value {
        let sha = commit["oid"].as_str().unwrap_or_default();
        let tree = &commit["tree"]["oid"];
        let git = |kind: &str, sha: &str| self.repo(&format!("/git/{kind}/{sha}"));
        let person =
            |person: &Value| json!({"name": person["name"], "email": person["email"], "date": utc(&person["date"])});
        let parents = nodes(&commit["parents"]).filter_map(|parent| parent["oid"].as_str()).map(|parent| {
            json!({"sha": parent, "url": git("commits", parent), "html_url": self.page(&format!("/commit/{parent}"))})
        });
        let signature = &commit["signature"];
        let reason = match signature["state"].as_str() {
            None => json!("unsigned"),
            Some("MALFORMED_SIG") => json!("malformed_signature"),
            Some("UNKNOWN_SIG_TYPE") => json!("unknown_signature_type"),
            Some(state) => json!(state.to_lowercase()),
        };
        json!({
            "sha": sha,
            "node_id": commit["id"],
            "url": git("commits", sha),
            "html_url": self.page(&format!("/commit/{sha}")),
            "author": person(&commit["author"]),
            "committer": person(&commit["committer"]),
            "tree": {"sha": tree, "url": git("trees", tree.as_str().unwrap_or_default())},
            "message": commit["message"],
            "parents": parents.collect::<Vec<_>>(),
            "verification": {
                "verified": signature["isValid"].as_bool().unwrap_or(false),
                "reason": reason,
                "signature": signature["signature"],
                "payload": signature["payload"],
                "verified_at": signature["verifiedAt"],
            },
            "event": "committed",
        })
    }

    fn cross_reference(&self, node: &Value) -> Value {
        json!({
            "actor": self.user(&node["actor"]),
            "created_at": node["createdAt"],
            "updated_at": node["createdAt"],
            "source": {"type": "issue", "issue": self.source(&node["source"])},
            "event": "cross-referenced",
        })
    }

    /// The live copy of another item: what names it and shows its state.
    fn source(&self, source: &Value) -> Value {
        let repository = &source["repository"];
        let other = Self {
            api: self.api.clone(),
            repository: repository.clone(),
            number: source["number"].as_u64().unwrap_or_default(),
            pull: source["__typename"] == "PullRequest",
        };
        let closed = !source["closedAt"].is_null();
        let mut issue = json!({
            "url": other.issue(""),
            "repository_url": other.repo(""),
            "html_url": source["url"],
            "id": if other.pull { None } else { number(&source["fullDatabaseId"]) },
            "node_id": source["id"],
            "number": other.number,
            "title": source["title"],
            "user": self.author(&source["author"]),
            "state": if closed { "closed" } else { "open" },
            "created_at": source["createdAt"],
            "updated_at": source["updatedAt"],
            "closed_at": source["closedAt"],
            "repository": self.repository_object(repository),
            "state_reason": lower(&source["stateReason"]),
        });
        if other.pull {
            issue["draft"] = source["isDraft"].clone();
            issue["pull_request"] =
                json!({"url": other.pull(""), "html_url": source["url"], "merged_at": source["mergedAt"]});
        }
        issue
    }
}

const NON_ALPHANUMERIC_BUT_UNRESERVED: &percent_encoding::AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The commit that an event points at, and the repository that holds it.
fn commit_of<'a>(kind: &EventType, node: &'a Value) -> (&'a Value, &'a Value) {
    match kind.rest {
        "closed" => (&node["closer"], &node["closer"]["repository"]),
        "merged" => (&node["commit"], &node["commit"]["repository"]),
        "referenced" => (&node["commit"], &node["commitRepository"]),
        "head_ref_force_pushed" | "base_ref_force_pushed" => (&node["afterCommit"], &node["afterCommit"]["repository"]),
        _ => (&Value::Null, &Value::Null),
    }
}

fn dismissed(node: &Value) -> Value {
    let mut review = json!({
        "state": lower(&node["previousReviewState"]),
        "review_id": number(&node["review"]["fullDatabaseId"]),
        "dismissal_message": node["dismissalMessage"],
    });
    let commit = &node["pullRequestCommit"]["prCommit"]["oid"];
    if !commit.is_null() {
        review["dismissal_commit_id"] = commit.clone();
    }
    review
}

fn team(team: &Value) -> Value {
    json!({
        "id": number(&team["databaseId"]),
        "node_id": team["id"],
        "name": team["name"],
        "slug": team["slug"],
        "description": team["description"],
        "html_url": team["url"],
    })
}

fn short_type(kind: &Value) -> Value {
    json!({"id": id_of(&kind["id"]), "name": kind["name"], "color": lower(&kind["color"])})
}

fn issue_type(kind: &Value) -> Value {
    if kind.is_null() {
        return Value::Null;
    }
    json!({
        "id": id_of(&kind["id"]),
        "node_id": kind["id"],
        "name": kind["name"],
        "description": kind["description"],
        "color": lower(&kind["color"]),
        "is_enabled": kind["isEnabled"],
    })
}

fn sub_issues(summary: &Value) -> Value {
    if summary.is_null() {
        return Value::Null;
    }
    json!({
        "total": summary["total"], "completed": summary["completed"], "percent_completed": summary["percentCompleted"],
    })
}

fn dependencies(summary: &Value) -> Value {
    if summary.is_null() {
        return Value::Null;
    }
    json!({
        "blocked_by": summary["blockedBy"],
        "total_blocked_by": summary["totalBlockedBy"],
        "blocking": summary["blocking"],
        "total_blocking": summary["totalBlocking"],
    })
}

/// Counts of reactions; a group without a count has none.
fn reactions(url: &str, groups: &Value) -> Value {
    let count = |content: &str| {
        let group = groups.as_array().into_iter().flatten().find(|group| group["content"] == content);
        group.and_then(|group| group["reactors"]["totalCount"].as_u64()).unwrap_or_default()
    };
    let total: u64 =
        groups.as_array().into_iter().flatten().filter_map(|group| group["reactors"]["totalCount"].as_u64()).sum();
    json!({
        "url": url,
        "total_count": total,
        "+1": count("THUMBS_UP"),
        "-1": count("THUMBS_DOWN"),
        "laugh": count("LAUGH"),
        "hooray": count("HOORAY"),
        "confused": count("CONFUSED"),
        "heart": count("HEART"),
        "rocket": count("ROCKET"),
        "eyes": count("EYES"),
    })
}

/// Whether somebody reacted: a group is created with its first reaction.
pub(crate) fn has_reactions(groups: &Value) -> bool {
    groups.as_array().into_iter().flatten().any(|group| !group["createdAt"].is_null())
}

/// Who closed it last.
fn closed_by(timeline: &[Value]) -> Value {
    let last = timeline.iter().rev().find(|entry| entry["event"] == "closed");
    last.map_or(Value::Null, |entry| entry["actor"].clone())
}

/// REST's issue id of a pull request, which GraphQL does not tell: its events' node ids do.
fn issue_id_of(timeline: &[Value]) -> Option<u64> {
    timeline.iter().filter_map(|entry| NodeId::parse(entry["node_id"].as_str()?)).find_map(|id| id.issue_id())
}

/// Comments of a thread that belongs to no review: REST shows them whole in the timeline.
pub(crate) fn line_comments(thread: &Value, all: &[Value]) -> Value {
    let ids: Vec<u64> = nodes(&thread["comments"]).filter_map(|comment| number(&comment["fullDatabaseId"])).collect();
    let own = |comment: &&Value| comment["id"].as_u64().is_some_and(|id| ids.contains(&id));
    let comments: Vec<&Value> = all.iter().filter(own).collect();
    json!({"event": "line-commented", "node_id": thread["id"], "comments": comments})
}

fn nodes(connection: &Value) -> impl Iterator<Item = &Value> {
    connection["nodes"].as_array().into_iter().flatten().filter(|node| !node.is_null())
}

/// A number that may come as text: GraphQL's `BigInt`.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn id_of(node_id: &Value) -> Option<u64> {
    NodeId::parse(node_id.as_str()?)?.id()
}

fn lower(value: &Value) -> Value {
    value.as_str().map_or(Value::Null, |text| json!(text.to_lowercase()))
}

fn lock_reason(value: &Value) -> Value {
    match value.as_str() {
        Some("OFF_TOPIC") => json!("off-topic"),
        Some("TOO_HEATED") => json!("too heated"),
        _ => lower(value),
    }
}

/// Git's times carry the zone of who committed; REST shows UTC.
fn utc(value: &Value) -> Value {
    let time = value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    time.map_or_else(|| value.clone(), |time| json!(time.to_string()))
}

/// The picture without the part of its query that changes by itself.
fn picture(url: &Value) -> Value {
    let Some((address, query)) = url.as_str().and_then(|url| url.split_once('?')) else { return url.clone() };
    match query.split('&').find(|parameter| parameter.starts_with("v=")) {
        Some(version) => json!(format!("{address}?{version}")),
        None => url.clone(),
    }
}
