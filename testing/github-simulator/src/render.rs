//! Documents of a generated item, from its script.

use gharvest_model::Kind;
use serde_json::{Value, json};

use crate::{
    node_id,
    objects::{self, Place, ReviewComment, actor, author, issue_id, pull_id, reactions, time},
    people::{GHOST, People, is_bot},
    random::{mix, pick, sha, stream},
    script::{Plot, Script, Step, WORLD_END, What},
    text::{self, HOSTILE, LABELS},
    token::Token,
};

/// One item with everything said and done on it, with placeholders.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Thread {
    pub(crate) issue: Value,
    pub(crate) timeline: Vec<Value>,
    pub(crate) pull: Option<Value>,
    pub(crate) review_comments: Vec<Value>,
    /// The next unused index for ids.
    pub(crate) next: u64,
}

impl Thread {
    pub(crate) fn kind(&self) -> Kind {
        if self.pull.is_some() { Kind::PullRequest } else { Kind::Issue }
    }

    /// Lets an issue object that shows a pinned comment show it as it is now, if it is still there.
    pub(crate) fn show_pin(&mut self) {
        if !self.issue["pinned_comment"].is_object() {
            return;
        }
        let pinned = self.timeline.iter().find(|entry| entry["pin"].is_object());
        show_pinned(&mut self.issue, pinned);
    }
}

/// Puts a comment of the timeline where an issue shows the pinned one.
fn show_pinned(issue: &mut Value, pinned: Option<&Value>) {
    let Value::Object(issue) = issue else { return };
    issue.shift_remove("pinned_comment");
    if let Some(mut comment) = pinned.cloned() {
        if let Value::Object(comment) = &mut comment {
            comment.retain(|key, _| key != "event" && key != "actor");
        }
        issue.insert("pinned_comment".to_owned(), comment);
    }
}

/// What lists need to know of an item without its documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) kind: Kind,
    pub(crate) open: bool,
    pub(crate) created: i64,
    pub(crate) updated: i64,
    pub(crate) comments: u32,
}

/// The state of an item after all its steps.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    closed: Option<(i64, Option<u64>, Option<&'static str>)>,
    reopened: bool,
    labels: Vec<u16>,
    assignees: Vec<u64>,
    milestone: Option<u16>,
    locked: Option<Option<&'static str>>,
    draft: bool,
    merged: Option<(i64, Option<u64>)>,
    renames: u64,
    comments: u32,
    commits: u64,
    review_comments: u64,
    issue_type: Option<&'static str>,
    requested: Vec<u64>,
    /// Whether the team is asked for a review.
    team_requested: bool,
    updated: i64,
}

/// Events after which `updated_at` stays as it was (measured on GitHub's own data).
pub(crate) const QUIET: &[&str] = &[
    "referenced",
    "unsubscribed",
    "cross-referenced",
    "user_blocked",
    "connected",
    "marked_as_duplicate",
    "mentioned",
    "subscribed",
];

fn bumps(what: What) -> bool {
    match what {
        What::Referenced | What::CrossReference { .. } => false,
        What::Plain(name) => !QUIET.contains(&name),
        _ => true,
    }
}

/// One comment in ten was edited, up to an hour later.
fn edited(script: &Script, index: usize, at: i64) -> i64 {
    let luck = mix(script.created as u64, &[script.number, index as u64]);
    if luck.is_multiple_of(10) { (at + (luck >> 8) as i64 % 3_600).min(WORLD_END - 1) } else { at }
}

impl Outcome {
    pub(crate) fn of(script: &Script) -> Self {
        let mut outcome = Self { updated: script.created, ..Self::default() };
        for (index, step) in script.steps.iter().enumerate() {
            if bumps(step.what) {
                outcome.updated = outcome.updated.max(step.at);
            }
            outcome.take(script, index, step);
        }
        outcome
    }

    fn take(&mut self, script: &Script, index: usize, step: &Step) {
        match step.what {
            What::Comment => {
                self.comments += 1;
                self.updated = self.updated.max(edited(script, index, step.at));
            }
            What::Labeled(label) if !self.labels.contains(&label) => self.labels.push(label),
            What::Unlabeled(label) => self.labels.retain(|other| *other != label),
            What::Assigned(person) if !self.assignees.contains(&person) => self.assignees.push(person),
            What::Unassigned(person) => self.assignees.retain(|other| *other != person),
            What::Milestoned(milestone) => self.milestone = Some(milestone),
            What::Demilestoned(_) => self.milestone = None,
            What::Renamed => self.renames += 1,
            What::Closed { reason, .. } => self.closed = Some((step.at, step.actor, reason)),
            What::Reopened => {
                self.closed = None;
                self.reopened = true;
            }
            What::Locked(reason) => self.locked = Some(reason),
            What::Merged => self.merged = Some((step.at, step.actor)),
            What::Committed => self.commits += 1,
            What::Reviewed { comments, .. } => self.review_comments += u64::from(comments),
            What::LineCommented => self.review_comments += 1,
            What::ReviewRequested { person: Some(person), removed } => {
                self.requested.retain(|other| *other != person);
                if !removed {
                    self.requested.push(person);
                }
            }
            What::ReviewRequested { person: None, removed } => self.team_requested = !removed,
            What::IssueType(event) => {
                self.issue_type = match event {
                    "issue_type_added" => Some("Bug"),
                    "issue_type_changed" => Some("Feature"),
                    _ => None,
                };
            }
            What::Plain("unlocked") => self.locked = None,
            What::Plain("convert_to_draft") => self.draft = true,
            What::Plain("ready_for_review") => self.draft = false,
            _ => {}
        }
    }

    pub(crate) fn summary(&self, script: &Script) -> Summary {
        Summary {
            kind: script.kind,
            open: self.closed.is_none(),
            created: script.created,
            updated: self.updated,
            comments: self.comments,
        }
    }
}

/// Renders items of one generated repository.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Renderer<'a> {
    pub(crate) plot: &'a Plot,
    pub(crate) people: &'a People,
    pub(crate) ordinal: u64,
}

impl Renderer<'_> {
    pub(crate) fn place(&self, script: &Script) -> Place {
        Place {
            repository: self.plot.repository,
            ordinal: self.ordinal,
            number: script.number,
            kind: script.kind,
            issue_id: issue_id(self.ordinal, script.created, script.number),
            seed: self.plot.seed,
        }
    }

    /// The title that the item was given `age` renames ago.
    fn title(&self, script: &Script, age: u64) -> String {
        let original = script.duplicate_of.unwrap_or(script.number);
        if script.number % 53 == 11 {
            return pick(&mut self.plot.random(script.number, 20), HOSTILE).to_owned();
        }
        let mut random = self.plot.random(original, 21 + age);
        let title = text::title(&mut random, script.kind == Kind::PullRequest);
        if script.duplicate_of.is_some() { format!("{title} (still)") } else { title }
    }

    fn body(&self, script: &Script) -> Value {
        let number = script.number;
        let mut random = self.plot.random(number, 40);
        let text = match number {
            7 => text::longest_body(&mut random),
            _ if number % 31 == 9 => return Value::Null,
            _ if number % 37 == 9 => String::new(),
            _ if number % 53 == 11 => HOSTILE.join("\n\n"),
            _ if script.kind == Kind::PullRequest => {
                let closes = (number > 4 && random.bool()).then(|| random.u64(1..number));
                text::pull_body(&mut random, closes)
            }
            _ => match script.duplicate_of {
                Some(original) => format!("Duplicate of #{original}\n\n{}", text::issue_body(&mut random, number)),
                None => text::issue_body(&mut random, number),
            },
        };
        Value::String(text)
    }

    /// The issue object alone: what lists and cross references show.
    pub(crate) fn issue(&self, script: &Script) -> Value {
        let outcome = Outcome::of(script);
        let subject = Subject {
            place: self.place(script),
            created: script.created,
            author: script.author,
            association: self.people.association(script.author),
            title: self.title(script, 0),
            body: self.body(script),
        };
        let mut issue = subject.issue();
        let place = subject.place;
        let labels: Vec<Value> = outcome
            .labels
            .iter()
            .map(|label| json!(Token::Label(place.repository, label_id(self.ordinal, u64::from(*label))).text()))
            .collect();
        issue["labels"] = json!(labels);
        issue["assignee"] = actor(outcome.assignees.first().copied());
        issue["assignees"] = outcome.assignees.iter().map(|person| actor(Some(*person))).collect();
        if let Some(milestone) = outcome.milestone {
            issue["milestone"] = json!(Token::Milestone(place.repository, u64::from(milestone) + 1).text());
        }
        if let Some(reason) = outcome.locked {
            issue["locked"] = json!(true);
            issue["active_lock_reason"] = json!(reason);
        }
        issue["comments"] = json!(outcome.comments);
        issue["updated_at"] = json!(time(outcome.updated));
        issue["reactions"] = reactions(&place.issue_url("/reactions"), mix(self.plot.seed, &[8, script.number]));
        if outcome.reopened && script.kind == Kind::Issue {
            issue["state_reason"] = json!("reopened");
        }
        if let Some((at, who, reason)) = outcome.closed {
            issue["state"] = json!("closed");
            issue["closed_at"] = json!(time(at));
            issue["closed_by"] = actor(who);
            issue["state_reason"] = json!(reason);
        }
        if let Some(name) = outcome.issue_type {
            issue["type"] = issue_type(name);
        }
        self.newer_fields(script, &mut issue);
        if script.kind == Kind::PullRequest {
            issue["draft"] = json!(outcome.draft);
            issue["pull_request"]["merged_at"] = json!(outcome.merged.map(|(at, _)| time(at)));
        }
        issue
    }

    /// What GitHub shows of few issues, and only since lately.
    fn newer_fields(&self, script: &Script, issue: &mut Value) {
        if script.number % 19 == 4 {
            issue["performed_via_github_app"] = objects::actions_app();
        }
        if script.number % 23 == 6 && script.kind == Kind::Issue {
            issue["issue_field_values"] = json!([priority()]);
        }
        if let Some((index, step)) = pinned_of(script) {
            let comment = self.writer(script, 0).entry(index, step);
            show_pinned(issue, Some(&comment));
        }
    }

    fn writer<'a>(&'a self, script: &'a Script, renames: u64) -> Writer<'a> {
        Writer {
            renderer: self,
            script,
            place: self.place(script),
            renames_left: renames,
            review_comments: Vec::new(),
            last_review: None,
        }
    }

    pub(crate) fn thread(&self, script: &Script) -> Thread {
        let issue = self.issue(script);
        let outcome = Outcome::of(script);
        let mut writer = self.writer(script, outcome.renames);
        let timeline = script.steps.iter().enumerate().map(|(index, step)| writer.entry(index, step)).collect();
        let review_comments = writer.review_comments;
        let pull = (script.kind == Kind::PullRequest).then(|| self.pull(script, &issue, &outcome));
        let next = (script.steps.len() + review_comments.len()) as u64 + 10;
        Thread { issue, timeline, pull, review_comments, next }
    }

    fn pull(&self, script: &Script, issue: &Value, outcome: &Outcome) -> Value {
        let place = self.place(script);
        let mut pull = new_pull(&place, issue, script.created, script.author);
        let luck = mix(self.plot.seed, &[9, script.number]);
        pull["merged"] = json!(outcome.merged.is_some());
        pull["merged_at"] = json!(outcome.merged.map(|(at, _)| time(at)));
        pull["merged_by"] = actor(outcome.merged.and_then(|(_, who)| who));
        pull["requested_reviewers"] = outcome.requested.iter().map(|person| actor(Some(*person))).collect();
        if outcome.team_requested {
            pull["requested_teams"] = json!([simple_team(place.repository)]);
        }
        pull["review_comments"] = json!(outcome.review_comments);
        pull["commits"] = json!(outcome.commits);
        pull["additions"] = json!(luck % 900);
        pull["deletions"] = json!((luck >> 16) % 300);
        pull["changed_files"] = json!(1 + (luck >> 32) % 12);
        // The fork was deleted; some were not the author's.
        if luck.is_multiple_of(11) && !script.author.is_some_and(is_bot) {
            pull["head"]["repo"] = Value::Null;
            if luck.is_multiple_of(2) {
                let owner = self.people.member(&mut self.plot.random(script.number, 50));
                let branch = pull["head"]["ref"].as_str().unwrap_or_default();
                pull["head"]["label"] = json!(Token::Login(owner, &format!(":{branch}")).text());
                pull["head"]["user"] = author(Some(owner));
            }
        }
        pull
    }
}

/// A project's label, by its place in the list of words.
pub(crate) fn label_id(ordinal: u64, index: u64) -> u64 {
    2_100_000_000 + ordinal * 100_000 + index * 37
}

pub(crate) fn issue_type(name: &str) -> Value {
    let id = 40_000 + name.len() as u64;
    json!({
        "id": id,
        "node_id": type_node_id(id),
        "name": name,
        "description": null,
        "color": "red",
        "created_at": "2025-01-20T10:00:00Z",
        "updated_at": "2025-01-20T10:00:00Z",
        "is_enabled": true,
    })
}

/// The node id of a type of issues. GitHub calls node ids opaque; that of `Feature` tells nothing.
pub(crate) fn type_node_id(id: u64) -> String {
    const FEATURE: u64 = 40_007;
    if id == FEATURE { "IT_opaque".to_owned() } else { node_id::new("IT", &[node_id::Part::Id(id)]) }
}

/// The comment of an issue that somebody of the team pinned: the first of one issue in many.
fn pinned_of(script: &Script) -> Option<(usize, &Step)> {
    let first = || script.steps.iter().enumerate().find(|(_, step)| matches!(step.what, What::Comment));
    (script.number % 41 == 17 && script.kind == Kind::Issue).then(first).flatten()
}

/// The value of a field of the organization's issues.
fn priority() -> Value {
    json!({
        "issue_field_id": 50_001,
        "issue_field_name": "Priority",
        "node_id": node_id::new("IFSS", &[node_id::Part::Id(50_001)]),
        "data_type": "single_select",
        "value": "High",
        "single_select_option": {"id": 50_011, "name": "High", "color": "red"},
    })
}

/// What an item is when it is opened.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) place: Place,
    pub(crate) created: i64,
    pub(crate) author: Option<u64>,
    pub(crate) association: &'static str,
    pub(crate) title: String,
    pub(crate) body: Value,
}

impl Subject {
    /// The issue object of a new item; a pull request's carries `pull_request` and the pull request's node id.
    pub(crate) fn issue(&self) -> Value {
        let place = &self.place;
        let pull = place.kind == Kind::PullRequest;
        let node = if pull {
            let id = pull_id(place.ordinal, self.created, place.number);
            node_id::object("PullRequest", "PR", self.created, place.repository, id)
        } else {
            node_id::object("Issue", "I", self.created, place.repository, place.issue_id)
        };
        let mut issue = json!({
            "url": place.issue_url(""),
            "repository_url": place.api(""),
            "labels_url": place.issue_url("/labels{/name}"),
            "comments_url": place.issue_url("/comments"),
            "events_url": place.issue_url("/events"),
            "html_url": place.page(""),
            "id": place.issue_id,
            "node_id": node,
            "number": place.number,
            "title": self.title,
            "user": author(self.author),
            "labels": [],
            "state": "open",
            "locked": false,
            "assignee": null,
            "assignees": [],
            "milestone": null,
            "comments": 0,
            "created_at": time(self.created),
            "updated_at": time(self.created),
            "closed_at": null,
            "author_association": self.association,
            "type": null,
            "active_lock_reason": null,
            "sub_issues_summary": {"total": 0, "completed": 0, "percent_completed": 0},
            "issue_dependencies_summary": {"blocked_by": 0, "total_blocked_by": 0, "blocking": 0, "total_blocking": 0},
            "body": self.body,
            "closed_by": null,
            "reactions": reactions(&place.issue_url("/reactions"), 1),
            "timeline_url": place.issue_url("/timeline"),
            "performed_via_github_app": null,
            "state_reason": null,
        });
        if pull {
            issue["draft"] = json!(false);
            issue["pull_request"] = json!({
                "url": place.pull_url(""),
                "html_url": place.page(""),
                "diff_url": place.page(".diff"),
                "patch_url": place.page(".patch"),
                "merged_at": null,
            });
        }
        issue
    }
}

/// What the pull request's object shares with its issue object, word for word.
pub(crate) const SHARED: &[&str] = &[
    "number",
    "state",
    "locked",
    "title",
    "user",
    "body",
    "labels",
    "milestone",
    "active_lock_reason",
    "created_at",
    "updated_at",
    "closed_at",
    "assignee",
    "assignees",
    "author_association",
    "draft",
    "comments",
    "node_id",
];

/// The pull request's object for its issue object.
pub(crate) fn new_pull(place: &Place, issue: &Value, created: i64, who: Option<u64>) -> Value {
    let head = sha(place.seed, &[place.repository, place.number, 0]);
    let branch = format!("topic-{}", place.number);
    let repository = Token::RepositoryObject(place.repository).text();
    let own = |text: String| json!(text);
    let (label, user, fork) = match who {
        Some(bot) if is_bot(bot) => (
            Token::Owner(place.repository, &format!(":{branch}")).text(),
            own(Token::Owner(place.repository, "").text()),
            own(repository.clone()),
        ),
        who => (
            Token::Login(who.unwrap_or(GHOST), &format!(":{branch}")).text(),
            author(who),
            who.map_or(Value::Null, |who| own(Token::Fork(place.repository, who).text())),
        ),
    };
    let link = |rest: &str| json!({"href": place.pull_url(rest)});
    let mut pull = json!({
        "url": place.pull_url(""),
        "id": pull_id(place.ordinal, created, place.number),
        "html_url": place.page(""),
        "diff_url": place.page(".diff"),
        "patch_url": place.page(".patch"),
        "issue_url": place.issue_url(""),
        "commits_url": place.pull_url("/commits"),
        "review_comments_url": place.pull_url("/comments"),
        "review_comment_url": place.api("/pulls/comments{/number}"),
        "comments_url": place.issue_url("/comments"),
        "statuses_url": place.api(&format!("/statuses/{head}")),
        "merged_at": null,
        "merge_commit_sha": sha(place.seed, &[place.repository, place.number, 99_999]),
        "requested_reviewers": [],
        "requested_teams": [],
        "head": {
            "label": label,
            "ref": branch,
            "sha": head,
            "user": user,
            "repo": fork,
        },
        "base": {
            "label": Token::Owner(place.repository, ":main").text(),
            "ref": "main",
            "sha": sha(place.seed, &[place.repository, place.number, 77_777]),
            "user": Token::Owner(place.repository, "").text(),
            "repo": repository,
        },
        "_links": {
            "self": link(""),
            "html": {"href": place.page("")},
            "issue": {"href": place.issue_url("")},
            "comments": {"href": place.issue_url("/comments")},
            "review_comments": link("/comments"),
            "review_comment": {"href": place.api("/pulls/comments{/number}")},
            "commits": link("/commits"),
            "statuses": {"href": place.api(&format!("/statuses/{head}"))},
        },
        "auto_merge": null,
        "merged": false,
        "mergeable": null,
        "rebaseable": null,
        "mergeable_state": "unknown",
        "merged_by": null,
        "review_comments": 0,
        "maintainer_can_modify": true,
        "commits": 1,
        "additions": 1,
        "deletions": 0,
        "changed_files": 1,
    });
    for key in SHARED {
        pull[*key] = issue[*key].clone();
    }
    pull
}

/// Writes timeline entries one after the other.
struct Writer<'a> {
    renderer: &'a Renderer<'a>,
    script: &'a Script,
    place: Place,
    renames_left: u64,
    review_comments: Vec<Value>,
    last_review: Option<u64>,
}

impl Writer<'_> {
    fn entry(&mut self, index: usize, step: &Step) -> Value {
        let place = self.place;
        let number = index as u64;
        let mut random = stream(place.seed, &[30, place.repository, place.number, number]);
        let people = self.renderer.people;
        let association = people.association(step.actor);
        let named = |name: &str| place.event(name, number, step.actor, step.at);
        let login = step.actor.and_then(|id| people.get(id)).map_or("ghost", |user| &user.login);
        match step.what {
            What::Comment => {
                let times = (step.at, edited(self.script, index, step.at));
                let body = text::comment(&mut random, login);
                let mut comment = place.comment(number, step.actor, association, times, &body);
                if pinned_of(self.script).is_some_and(|(pinned, _)| pinned == index) {
                    let by = people.member(&mut random);
                    comment["pin"] = json!({"pinned_at": time(step.at + 60), "pinned_by": actor(Some(by))});
                }
                comment
            }
            What::Committed => place.commit(number, login, step.at - 60, &text::commit_message(&mut random)),
            What::CrossReference { repository, number } => {
                place.cross_reference(step.actor, step.at, (repository, number))
            }
            What::Reviewed { state, comments } => {
                let body = if random.bool() { text::comment(&mut random, login) } else { String::new() };
                let review = place.review(number, step.actor, association, step.at, (state, &body));
                self.last_review = review["id"].as_u64();
                for _ in 0..comments {
                    self.review_comment(step, &mut random, self.last_review);
                }
                review
            }
            What::LineCommented => {
                let comment = self.review_comment(step, &mut random, None);
                json!({"event": "line-commented", "node_id": self.thread_node_id(number), "comments": [comment]})
            }
            What::CommitCommented => self.commit_comment(step, &mut random, number),
            _ => self.common(step, named, &mut random, number),
        }
    }

    /// The node id of a thread of review comments. Those of old threads say that they are of the second version; some
    /// were given new ones, which do not tell them from the threads of reviews.
    fn thread_node_id(&self, index: u64) -> String {
        let id = self.place.id(0, index);
        if self.place.number % 4 == 3 {
            return node_id::new("PRRT", &[node_id::Part::Id(self.place.repository), node_id::Part::Id(id)]);
        }
        let thread = format!("023:PullRequestReviewThread{id}:v2");
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, thread)
    }

    /// Entries that have the common keys and at most a few more.
    fn common(&mut self, step: &Step, named: impl Fn(&str) -> Value, random: &mut fastrand::Rng, number: u64) -> Value {
        let place = self.place;
        let with = |name: &str, key: &str, value: Value| {
            let mut event = named(name);
            event[key] = value;
            event
        };
        let commit = |mut event: Value, sha: String| {
            event["commit_url"] = json!(place.api(&format!("/commits/{sha}")));
            event["commit_id"] = json!(sha);
            event
        };
        // Labels had no color of their own at first, and events keep the color of then.
        let label = |index: u16| {
            let (name, color, ..) = LABELS[index as usize];
            json!({"name": name, "color": if step.at % 5 == 0 { "ededed" } else { color }})
        };
        let milestone = |index: u16| json!({"title": text::MILESTONES[index as usize]});
        match step.what {
            What::Labeled(index) => with("labeled", "label", label(index)),
            What::Unlabeled(index) => with("unlabeled", "label", label(index)),
            What::Assigned(person) => with("assigned", "assignee", actor(Some(person))),
            What::Unassigned(person) => with("unassigned", "assignee", actor(Some(person))),
            What::Milestoned(index) => with("milestoned", "milestone", milestone(index)),
            What::Demilestoned(index) => with("demilestoned", "milestone", milestone(index)),
            What::Renamed => {
                let from = self.renderer.title(self.script, self.renames_left);
                self.renames_left -= 1;
                let to = self.renderer.title(self.script, self.renames_left);
                with("renamed", "rename", json!({"from": from, "to": to}))
            }
            What::Closed { reason, by_commit } => {
                let event = with("closed", "state_reason", json!(reason));
                if by_commit { commit(event, place.sha(number)) } else { event }
            }
            What::Reopened => with("reopened", "state_reason", Value::Null),
            What::Locked(reason) => with("locked", "lock_reason", json!(reason)),
            What::Referenced => commit(named("referenced"), place.sha(number)),
            What::Merged => commit(named("merged"), sha(place.seed, &[place.repository, place.number, 99_999])),
            What::ForcePushed => commit(named("head_ref_force_pushed"), place.sha(0)),
            What::ReviewRequested { person, removed } => {
                let name = if removed { "review_request_removed" } else { "review_requested" };
                let mut event = with(name, "review_requester", actor(step.actor));
                match person {
                    Some(person) => event["requested_reviewer"] = actor(Some(person)),
                    None => event["requested_team"] = team(place.repository),
                }
                event
            }
            What::ReviewDismissed => {
                let dismissed = json!({
                    "state": "changes_requested",
                    "review_id": self.last_review.unwrap_or(1),
                    "dismissal_message": "Addressed since.",
                });
                with("review_dismissed", "dismissed_review", dismissed)
            }
            What::Related(name, other) => {
                let key = name.trim_end_matches("_added").trim_end_matches("_removed");
                with(name, key, related(place.repository, other))
            }
            What::IssueType(name) => typed(named(name), name),
            What::Project(name) => {
                let mut card = project_card(random);
                if let (true, Value::Object(card)) = (name != "moved_columns_in_project", &mut card) {
                    card.shift_remove("previous_column_name");
                }
                with(name, "project_card", card)
            }
            What::Plain(name) => named(name),
            What::Comment
            | What::Committed
            | What::CrossReference { .. }
            | What::Reviewed { .. }
            | What::LineCommented
            | What::CommitCommented => unreachable!("entry() renders these itself"),
        }
    }

    fn review_comment(&mut self, step: &Step, random: &mut fastrand::Rng, review: Option<u64>) -> Value {
        let index = self.review_comments.len() as u64;
        let people = self.renderer.people;
        let (path, diff, line) = text::hunk(random);
        let reply =
            if index % 4 == 3 { self.review_comments.last().and_then(|last| last["id"].as_u64()) } else { None };
        let comment = self.place.review_comment(ReviewComment {
            index,
            who: step.actor,
            association: people.association(step.actor),
            at: step.at,
            body: &text::comment(random, "dana-rossi"),
            review,
            reply,
            hunk: (path, &diff, line),
        });
        self.review_comments.push(comment.clone());
        comment
    }

    fn commit_comment(&self, step: &Step, random: &mut fastrand::Rng, index: u64) -> Value {
        let place = self.place;
        let (id, sha) = (place.id(300_000_000, index), place.sha(0));
        let page = Token::RepositoryPage(place.repository, &format!("/commit/{sha}#commitcomment-{id}")).text();
        let node = node_id::object("CommitComment", "CC", step.at, place.repository, id);
        json!({
            "event": "commit-commented",
            "node_id": node,
            "commit_id": sha,
            "comments": [{
                "html_url": page,
                "url": place.api(&format!("/comments/{id}")),
                "id": id,
                "node_id": node,
                "body": text::comment(random, "dana-rossi"),
                "path": null,
                "position": null,
                "line": null,
                "commit_id": sha,
                "user": author(step.actor),
                "created_at": time(step.at),
                "updated_at": time(step.at),
                "author_association": self.renderer.people.association(step.actor),
                "reactions": objects::reactions(&place.api(&format!("/comments/{id}/reactions")), 1),
            }],
        })
    }
}

fn team(repository: u64) -> Value {
    json!({
        "id": repository % 10_000_000 + 1,
        "node_id": node_id::new("T", &[node_id::Part::Id(repository % 10_000_000 + 1)]),
        "name": "Storage",
        "slug": "storage",
        "description": "Pages, log, files",
        "privacy": "closed",
        "notification_setting": "notifications_enabled",
        "url": Token::Api("/organizations/1/team/1").text(),
        "html_url": Token::Web("/orgs/lumen/teams/storage").text(),
        "members_url": Token::Api("/organizations/1/team/1/members{/member}").text(),
        "repositories_url": Token::Api("/organizations/1/team/1/repos").text(),
        "permission": "push",
        "parent": null,
        "type": "organization",
        "organization_id": 1,
    })
}

/// The team as pull requests show it.
fn simple_team(repository: u64) -> Value {
    let mut team = team(repository);
    if let Value::Object(team) = &mut team {
        team.shift_remove("parent");
    }
    team
}

fn related(repository: u64, number: u64) -> Value {
    json!({
        "number": number,
        "title": format!("Part {number} of the plan"),
        "state": "open",
        "state_reason": null,
        "repository": Token::SimpleRepository(repository).text(),
        "issue_type": null,
    })
}

fn typed(mut event: Value, name: &str) -> Value {
    let bug = json!({"id": 40_003, "name": "Bug", "color": "red"});
    let feature = json!({"id": 40_007, "name": "Feature", "color": "blue"});
    match name {
        "issue_type_added" => event["issue_type"] = bug,
        "issue_type_changed" => {
            event["issue_type"] = feature;
            event["prev_issue_type"] = bug;
        }
        _ => event["prev_issue_type"] = feature,
    }
    event
}

fn project_card(random: &mut fastrand::Rng) -> Value {
    let id = random.u32(1_000_000..9_000_000);
    json!({
        "id": id,
        "url": Token::Api(&format!("/projects/columns/cards/{id}")).text(),
        "project_id": 4_711,
        "project_url": Token::Api("/projects/4711").text(),
        "column_name": "In progress",
        "previous_column_name": "To do",
    })
}
