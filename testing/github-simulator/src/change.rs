//! What people do to a world while it runs, and what GitHub would send to webhooks about it.

use gharvest_model::{Kind, RepositoryName};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    objects::{Place, ReviewComment, actor, author, issue_id, time},
    people::GHOST,
    random::{mix, stream},
    render::{SHARED, Subject, Thread, new_pull},
    repository::{Gone, Repository, Standing},
    state::{Detail, State, View, extend},
    text,
    token::Token,
};

/// One thing done to a repository or to an item of it.
///
/// The same form travels over HTTP: `{"change": "comment", "number": 5, "body": "…"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
#[allow(missing_docs, reason = "the variants and their fields say what is done; units and limits stand where needed")]
pub enum Change {
    OpenIssue {
        title: String,
        body: Option<String>,
    },
    OpenPull {
        title: String,
        body: Option<String>,
    },
    Comment {
        number: u64,
        body: String,
    },
    /// `comment` is the comment's id.
    EditComment {
        number: u64,
        comment: u64,
        body: String,
    },
    DeleteComment {
        number: u64,
        comment: u64,
    },
    EditTitle {
        number: u64,
        title: String,
    },
    EditBody {
        number: u64,
        body: String,
    },
    /// Takes the first version of a body that was edited out of its history: no webhook, no later `updated_at`.
    DeleteFirstEdit {
        number: u64,
    },
    /// `reason`: `completed`, `not_planned`, `duplicate`; none for pull requests.
    Close {
        number: u64,
        reason: Option<String>,
    },
    Reopen {
        number: u64,
    },
    Merge {
        number: u64,
    },
    /// A label that does not exist yet is created first.
    Label {
        number: u64,
        label: String,
    },
    Unlabel {
        number: u64,
        label: String,
    },
    Assign {
        number: u64,
        login: String,
    },
    Unassign {
        number: u64,
        login: String,
    },
    Milestone {
        number: u64,
        title: String,
    },
    Demilestone {
        number: u64,
    },
    /// `state`: `approved`, `changes_requested`, `commented`.
    Review {
        number: u64,
        state: String,
        body: String,
    },
    ReviewComment {
        number: u64,
        body: String,
    },
    EditReviewComment {
        number: u64,
        comment: u64,
        body: String,
    },
    DeleteReviewComment {
        number: u64,
        comment: u64,
    },
    /// No webhook, no later `updated_at`. `review` is the review's id.
    EditReview {
        number: u64,
        review: u64,
        body: String,
    },
    Push {
        number: u64,
        message: String,
    },
    Lock {
        number: u64,
        reason: Option<String>,
    },
    Unlock {
        number: u64,
    },
    /// No webhook, no event, no later `updated_at`.
    React {
        number: u64,
    },
    /// The same to a comment.
    ReactToComment {
        number: u64,
        comment: u64,
    },
    /// A mention in another item, of the same repository unless `of` names another: no later `updated_at`.
    CrossReference {
        number: u64,
        from: u64,
        #[serde(default)]
        of: Option<RepositoryName>,
    },
    /// A commit that names the item: no later `updated_at`.
    ReferenceByCommit {
        number: u64,
    },
    /// A timeline event of any name, with the common keys.
    Event {
        number: u64,
        event: String,
    },
    DeleteItem {
        number: u64,
    },
    /// The item answers 404 from now on, without a word.
    HideItem {
        number: u64,
    },
    /// Shows again what `HideItem` hid, of a generated or recorded repository.
    ShowItem {
        number: u64,
    },
    /// `to` is another repository of the world.
    TransferItem {
        number: u64,
        to: RepositoryName,
    },
    ConvertToDiscussion {
        number: u64,
    },
    /// The old name redirects from now on.
    RenameRepository {
        to: RepositoryName,
    },
    /// Seen by tokens that may see it, which all are: its objects say that it is private.
    MakePrivate,
    /// Private or deleted: 404 either way.
    HideRepository,
    /// `status` is 451 or 403; `reason` `dmca`, `tos`, `unavailable`.
    BlockRepository {
        status: u16,
        reason: String,
    },
    ShowRepository,
    DisableIssues,
    EnableIssues,
    /// Shows on every item that carries it; only a `label` webhook tells.
    RenameLabel {
        from: String,
        to: String,
    },
    DeleteLabel {
        label: String,
    },
    CreateMilestone {
        title: String,
    },
    CloseMilestone {
        title: String,
    },
    /// Shows on every item of it; only a `milestone` webhook tells.
    RenameMilestone {
        from: String,
        to: String,
    },
    /// Shows everywhere; nothing tells.
    RenameUser {
        from: String,
        to: String,
    },
    /// The account is gone: the ghost takes the place of it in what it wrote on this item.
    DeleteAuthor {
        number: u64,
    },
    PublishRelease {
        tag: String,
        body: String,
    },
    Star,
}

/// What GitHub sends about a change: one delivery, not yet signed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Announcement {
    /// `X-GitHub-Event`
    pub event: String,
    /// The payload's `action`, for events that have one.
    pub action: Option<String>,
    /// The repository's id.
    pub repository: u64,
    /// The item it is about, if any.
    pub number: Option<u64>,
    /// The whole payload.
    pub payload: Value,
}

/// Why a change could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// No repository of this name in the world.
    #[error("the world has no repository `{0}`")]
    NoRepository(RepositoryName),
    /// The number shows no item.
    #[error("number {0} shows no item")]
    NoItem(u64),
    /// What the change names does not exist there.
    #[error("item {number} has no {what}")]
    Missing {
        /// The item's number.
        number: u64,
        /// What was looked for.
        what: &'static str,
    },
    /// The change makes no sense as things stand.
    #[error("{0}")]
    Refused(&'static str),
}

type Outcome = Result<Vec<Announcement>, ChangeError>;

/// Where and by whom a change is made.
#[derive(Debug, Clone, Copy)]
struct Scene {
    repository: u64,
    who: u64,
    now: i64,
}

impl State {
    /// Makes a change. `by` is a login; without one somebody of the team acts.
    pub(crate) fn change(&mut self, repository: &RepositoryName, by: Option<&str>, change: Change) -> Outcome {
        let id = self.by_name(repository).ok_or_else(|| ChangeError::NoRepository(repository.clone()))?;
        self.changes += 1;
        let now = self.now();
        let who = match by {
            Some(login) => self.people.ensure(login),
            None => self.people.member(&mut stream(mix(self.seed, &[80, now as u64]), &[id])),
        };
        self.apply(Scene { repository: id, who, now }, change)
    }

    fn apply(&mut self, scene: Scene, change: Change) -> Outcome {
        match change {
            Change::OpenIssue { title, body } => self.open(scene, Kind::Issue, title, body),
            Change::OpenPull { title, body } => self.open(scene, Kind::PullRequest, title, body),
            Change::Comment { number, body } => self.comment(scene, number, &body),
            Change::EditComment { number, comment, body } => self.edit_comment(scene, number, comment, &body),
            Change::DeleteComment { number, comment } => self.delete_comment(scene, number, comment),
            Change::EditTitle { number, title } => self.edit_title(scene, number, &title),
            Change::EditBody { number, body } => self.edit_body(scene, number, &body),
            Change::DeleteFirstEdit { number } => self.delete_first_edit(scene, number),
            Change::Close { number, reason } => self.close(scene, number, reason),
            Change::Reopen { number } => self.reopen(scene, number),
            Change::Merge { number } => self.merge(scene, number),
            Change::Label { number, label } => self.label(scene, number, &label, true),
            Change::Unlabel { number, label } => self.label(scene, number, &label, false),
            Change::Assign { number, login } => self.assign(scene, number, &login, true),
            Change::Unassign { number, login } => self.assign(scene, number, &login, false),
            Change::Milestone { number, title } => self.milestone_item(scene, number, &title),
            Change::Demilestone { number } => self.demilestone(scene, number),
            Change::Review { number, state, body } => self.review(scene, number, &state, &body),
            Change::ReviewComment { number, body } => self.review_comment(scene, number, &body),
            Change::EditReviewComment { number, comment, body } => {
                self.edit_review_comment(scene, number, comment, &body)
            }
            Change::DeleteReviewComment { number, comment } => self.delete_review_comment(scene, number, comment),
            Change::Push { number, message } => self.push(scene, number, &message),
            Change::Lock { number, reason } => self.lock(scene, number, Some(reason)),
            Change::Unlock { number } => self.lock(scene, number, None),
            Change::EditReview { number, review, body } => self.edit_review(scene, number, review, &body),
            Change::React { number } => self.react(scene, number),
            Change::ReactToComment { number, comment } => self.react_to_comment(scene, number, comment),
            Change::CrossReference { number, from, of } => {
                let of = of.map(|of| self.by_name(&of).ok_or(ChangeError::NoRepository(of))).transpose()?;
                self.quiet(scene, number, |place, _| {
                    place.cross_reference(Some(scene.who), scene.now, (of.unwrap_or(scene.repository), from))
                })
            }
            Change::ReferenceByCommit { number } => self.quiet(scene, number, |place, index| {
                let sha = place.sha(index + 50_000);
                let mut event = place.event("referenced", index, Some(scene.who), scene.now);
                event["commit_url"] = json!(place.api(&format!("/commits/{sha}")));
                event["commit_id"] = json!(sha);
                event
            }),
            Change::Event { number, event } => self.plain_event(scene, number, &event),
            Change::DeleteAuthor { number } => self.delete_author(scene, number),
            other => self.apply_to_repository(scene, other),
        }
    }

    fn apply_to_repository(&mut self, scene: Scene, change: Change) -> Outcome {
        match change {
            Change::DeleteItem { number } => self.delete_item(scene, number),
            Change::HideItem { number } => self.hide_item(scene, number),
            Change::ShowItem { number } => self.show_item(scene, number),
            Change::TransferItem { number, to } => self.transfer(scene, number, &to),
            Change::ConvertToDiscussion { number } => self.convert(scene, number),
            Change::RenameRepository { to } => self.rename_repository(scene, &to),
            Change::MakePrivate => {
                self.repository_mut(scene)?.private = true;
                Ok(Vec::new())
            }
            Change::HideRepository => self.stand(scene, Standing::Unseen),
            Change::BlockRepository { status, reason } => self.stand(scene, Standing::Blocked { status, reason }),
            Change::ShowRepository => self.stand(scene, Standing::Public),
            Change::DisableIssues => self.enable_issues(scene, false),
            Change::EnableIssues => self.enable_issues(scene, true),
            Change::RenameLabel { from, to } => self.rename_label(scene, &from, &to),
            Change::DeleteLabel { label } => self.delete_label(scene, &label),
            Change::CreateMilestone { title } => self.create_milestone(scene, &title),
            Change::CloseMilestone { title } => self.close_milestone(scene, &title),
            Change::RenameMilestone { from, to } => self.rename_milestone(scene, &from, &to),
            Change::RenameUser { from, to } => {
                let id = self.people.by_login(&from).ok_or(ChangeError::Refused("no person has this login"))?.id;
                self.people.rename(id, &to);
                Ok(Vec::new())
            }
            Change::PublishRelease { tag, body } => self.publish_release(scene, &tag, &body),
            Change::Star => {
                self.repository_mut(scene)?.stars += 1;
                Ok(vec![self.announce(scene, "star", Some("created"), None, json!({"starred_at": time(scene.now)}))])
            }
            _ => Err(ChangeError::Refused("this change is about an item")),
        }
    }

    fn repository_mut(&mut self, scene: Scene) -> Result<&mut Repository, ChangeError> {
        self.repositories.get_mut(&scene.repository).ok_or(ChangeError::Refused("the repository is gone"))
    }

    /// Changes a thread's documents and keeps everything that follows from them in step.
    fn edit<T>(
        &mut self,
        scene: Scene,
        number: u64,
        edit: impl FnOnce(&mut Thread, Place) -> Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        self.edit_at(scene, number, Some(scene.now), edit)
    }

    fn edit_at<T>(
        &mut self,
        scene: Scene,
        number: u64,
        updated: Option<i64>,
        edit: impl FnOnce(&mut Thread, Place) -> Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        let Self { repositories, people, .. } = self;
        let found = repositories.get_mut(&scene.repository).ok_or(ChangeError::Refused("the repository is gone"))?;
        let mut thread = found.thread(people, number).ok_or(ChangeError::NoItem(number))?.into_owned();
        let place = found.place(&thread);
        let result = edit(&mut thread, place)?;
        thread.show_pin();
        if let Some(updated) = updated {
            thread.issue["updated_at"] = json!(time(updated));
        }
        if let Some(pull) = &mut thread.pull {
            for key in SHARED {
                pull[*key] = thread.issue[*key].clone();
            }
        }
        found.hold(number, thread);
        Ok(result)
    }

    /// The payload of an event about the item itself, named by its kind.
    fn item_event(&self, scene: Scene, number: u64, action: &str, more: Value) -> Announcement {
        let thread = self.thread(scene.repository, number);
        let (event, mut payload) = match thread.map(|thread| (thread.issue, thread.pull)) {
            Some((_, Some(pull))) => ("pull_request", json!({"number": number, "pull_request": pull})),
            Some((issue, None)) => ("issues", json!({"issue": as_sent(issue)})),
            None => ("issues", json!({})),
        };
        extend(&mut payload, more);
        self.announce(scene, event, Some(action), Some(number), payload)
    }

    fn thread(&self, repository: u64, number: u64) -> Option<Thread> {
        Some(self.repositories.get(&repository)?.thread(&self.people, number)?.into_owned())
    }

    fn announce(
        &self,
        scene: Scene,
        event: &str,
        action: Option<&str>,
        number: Option<u64>,
        more: Value,
    ) -> Announcement {
        let mut payload = json!({});
        if let Some(action) = action {
            payload["action"] = json!(action);
        }
        extend(&mut payload, more);
        if let Some(repository) = self.repositories.get(&scene.repository) {
            payload["repository"] = self.repository_object(repository, Detail::Standard, 0);
        }
        payload["organization"] = json!({
            "login": Token::Owner(scene.repository, "").text(),
        });
        payload["sender"] = actor(Some(scene.who));
        let mut payload = self.show(payload, View::default());
        payload["organization"] = organization(&payload["organization"]["login"]);
        Announcement {
            event: event.to_owned(),
            action: action.map(str::to_owned),
            repository: scene.repository,
            number,
            payload,
        }
    }

    fn open(&mut self, scene: Scene, kind: Kind, title: String, body: Option<String>) -> Outcome {
        let association = self.people.association(Some(scene.who));
        let repository = self.repository_mut(scene)?;
        let number = repository.highest + 1;
        let place = Place {
            repository: repository.id,
            ordinal: repository.ordinal,
            number,
            kind,
            issue_id: issue_id(repository.ordinal, scene.now, number),
            seed: repository.seed,
        };
        let subject = Subject {
            place,
            created: scene.now,
            author: Some(scene.who),
            association,
            title,
            body: body.map_or(Value::Null, Value::String),
        };
        let issue = subject.issue();
        let pull = (kind == Kind::PullRequest).then(|| new_pull(&place, &issue, scene.now, Some(scene.who)));
        let timeline = match kind {
            Kind::Issue => Vec::new(),
            Kind::PullRequest => vec![place.commit(0, "author", scene.now - 60, &subject.title)],
        };
        repository.hold(number, Thread { issue, timeline, pull, review_comments: Vec::new(), next: 1 });
        Ok(vec![self.item_event(scene, number, "opened", json!({}))])
    }

    fn comment(&mut self, scene: Scene, number: u64, body: &str) -> Outcome {
        let association = self.people.association(Some(scene.who));
        let comment = self.edit(scene, number, |thread, place| {
            let comment =
                place.comment(thread.take_index(), Some(scene.who), association, (scene.now, scene.now), body);
            thread.timeline.push(comment.clone());
            count(&mut thread.issue, "comments", 1);
            Ok(comment)
        })?;
        Ok(vec![self.comment_event(scene, number, "created", comment, json!({}))])
    }

    fn comment_event(&self, scene: Scene, number: u64, action: &str, comment: Value, more: Value) -> Announcement {
        let issue = self.thread(scene.repository, number).map_or(Value::Null, |thread| as_sent(thread.issue));
        let mut payload = json!({"issue": issue, "comment": without(comment, &["event", "actor"])});
        extend(&mut payload, more);
        self.announce(scene, "issue_comment", Some(action), Some(number), payload)
    }

    fn edit_comment(&mut self, scene: Scene, number: u64, id: u64, body: &str) -> Outcome {
        let (comment, old) = self.edit(scene, number, |thread, _| {
            let missing = ChangeError::Missing { number, what: "such comment" };
            let comment = thread.comment_mut(id).ok_or(missing)?;
            let old = std::mem::replace(&mut comment["body"], json!(body));
            comment["updated_at"] = json!(time(scene.now));
            Ok((comment.clone(), old))
        })?;
        self.repository_mut(scene)?.keep_edit(&comment, &old, body, scene.who, scene.now);
        Ok(vec![self.comment_event(scene, number, "edited", comment, json!({"changes": {"body": {"from": old}}}))])
    }

    fn delete_comment(&mut self, scene: Scene, number: u64, id: u64) -> Outcome {
        let comment = self.edit(scene, number, |thread, place| {
            let found = thread.timeline.iter().position(|entry| entry["event"] == "commented" && entry["id"] == id);
            let comment = thread.timeline.remove(found.ok_or(ChangeError::Missing { number, what: "such comment" })?);
            let event = place.event("comment_deleted", thread.take_index(), Some(scene.who), scene.now);
            thread.timeline.push(event);
            count(&mut thread.issue, "comments", -1);
            Ok(comment)
        })?;
        Ok(vec![self.comment_event(scene, number, "deleted", comment, json!({}))])
    }

    /// Adds an event with the common keys and what `finish` puts into it and into the issue.
    fn with_event(
        &mut self,
        scene: Scene,
        number: u64,
        name: &str,
        finish: impl FnOnce(&mut Value, &mut Thread) -> Result<(), ChangeError>,
    ) -> Result<(), ChangeError> {
        self.edit(scene, number, |thread, place| {
            let mut event = place.event(name, thread.take_index(), Some(scene.who), scene.now);
            finish(&mut event, thread)?;
            thread.timeline.push(event);
            Ok(())
        })
    }

    fn edit_title(&mut self, scene: Scene, number: u64, title: &str) -> Outcome {
        let mut old = Value::Null;
        self.with_event(scene, number, "renamed", |event, thread| {
            old = std::mem::replace(&mut thread.issue["title"], json!(title));
            event["rename"] = json!({"from": old, "to": title});
            Ok(())
        })?;
        Ok(vec![self.item_event(scene, number, "edited", json!({"changes": {"title": {"from": old}}}))])
    }

    fn edit_body(&mut self, scene: Scene, number: u64, body: &str) -> Outcome {
        let (issue, old) = self.edit(scene, number, |thread, _| {
            let old = std::mem::replace(&mut thread.issue["body"], json!(body));
            Ok((thread.issue.clone(), json!(old.as_str().unwrap_or_default())))
        })?;
        self.repository_mut(scene)?.keep_edit(&issue, &old, body, scene.who, scene.now);
        Ok(vec![self.item_event(scene, number, "edited", json!({"changes": {"body": {"from": old}}}))])
    }

    fn delete_first_edit(&mut self, scene: Scene, number: u64) -> Outcome {
        let issue = self.issue_of(scene.repository, number).ok_or(ChangeError::NoItem(number))?;
        let was_edited = self.repository_mut(scene)?.delete_first_edit(&issue, scene.now);
        let missing = ChangeError::Missing { number, what: "edited body" };
        was_edited.then(Vec::new).ok_or(missing)
    }

    fn close(&mut self, scene: Scene, number: u64, reason: Option<String>) -> Outcome {
        self.with_event(scene, number, "closed", |event, thread| {
            if thread.issue["state"] == "closed" {
                return Err(ChangeError::Refused("the item is closed already"));
            }
            event["state_reason"] = json!(reason);
            close_issue(thread, scene, json!(reason));
            Ok(())
        })?;
        Ok(vec![self.item_event(scene, number, "closed", json!({}))])
    }

    fn reopen(&mut self, scene: Scene, number: u64) -> Outcome {
        self.with_event(scene, number, "reopened", |event, thread| {
            if thread.issue["state"] == "open" || thread.pull.as_ref().is_some_and(|pull| pull["merged"] == true) {
                return Err(ChangeError::Refused("the item is open or merged"));
            }
            event["state_reason"] = Value::Null;
            thread.issue["state"] = json!("open");
            thread.issue["closed_at"] = Value::Null;
            thread.issue["closed_by"] = Value::Null;
            thread.issue["state_reason"] = if thread.pull.is_some() { Value::Null } else { json!("reopened") };
            Ok(())
        })?;
        Ok(vec![self.item_event(scene, number, "reopened", json!({}))])
    }

    fn merge(&mut self, scene: Scene, number: u64) -> Outcome {
        self.with_event(scene, number, "merged", |event, thread| {
            let open = thread.issue["state"] == "open";
            let Some(pull) = thread.pull.as_mut().filter(|_| open) else {
                return Err(ChangeError::Refused("only an open pull request can be merged"));
            };
            let commit = pull["merge_commit_sha"].clone();
            event["commit_url"] = json!(
                Token::Repository(scene.repository, &format!("/commits/{}", commit.as_str().unwrap_or_default()))
                    .text()
            );
            event["commit_id"] = commit;
            pull["merged"] = json!(true);
            pull["merged_at"] = json!(time(scene.now));
            pull["merged_by"] = actor(Some(scene.who));
            thread.issue["pull_request"]["merged_at"] = json!(time(scene.now));
            Ok(())
        })?;
        self.with_event(scene, number, "closed", |event, thread| {
            event["state_reason"] = Value::Null;
            close_issue(thread, scene, Value::Null);
            Ok(())
        })?;
        Ok(vec![self.item_event(scene, number, "closed", json!({}))])
    }

    fn label(&mut self, scene: Scene, number: u64, name: &str, add: bool) -> Outcome {
        let repository = self.repository_mut(scene)?;
        let new = repository.label_named(name).is_none();
        if new && !add {
            return Err(ChangeError::Missing { number, what: "such label" });
        }
        let id = repository.ensure_label(name);
        let label = repository.labels.get(&id).cloned().unwrap_or_default();
        let token = json!(Token::Label(scene.repository, id).text());
        let word = if add { "labeled" } else { "unlabeled" };
        self.with_event(scene, number, word, |event, thread| {
            let labels = thread.issue["labels"].as_array_mut().expect("every issue object has a list of labels");
            let place = labels.iter().position(|other| *other == token);
            match (add, place) {
                (true, None) => labels.push(token),
                (false, Some(place)) => drop(labels.remove(place)),
                _ => return Err(ChangeError::Refused("nothing to do for this label")),
            }
            event["label"] = json!({"name": label["name"], "color": label["color"]});
            Ok(())
        })?;
        let mut sent = Vec::new();
        if new {
            sent.push(self.announce(scene, "label", Some("created"), None, json!({"label": label.clone()})));
        }
        sent.push(self.item_event(scene, number, word, json!({"label": label})));
        Ok(sent)
    }

    fn assign(&mut self, scene: Scene, number: u64, login: &str, add: bool) -> Outcome {
        let person = actor(Some(self.people.ensure(login)));
        let word = if add { "assigned" } else { "unassigned" };
        self.with_event(scene, number, word, |event, thread| {
            let list = thread.issue["assignees"].as_array_mut().expect("every issue object has a list of assignees");
            match (add, list.iter().position(|other| *other == person)) {
                (true, None) => list.push(person.clone()),
                (false, Some(place)) => drop(list.remove(place)),
                _ => return Err(ChangeError::Refused("nothing to do for this assignee")),
            }
            let first = list.first().cloned().unwrap_or_default();
            thread.issue["assignee"] = first;
            event["assignee"] = person.clone();
            Ok(())
        })?;
        Ok(vec![self.item_event(scene, number, word, json!({"assignee": person}))])
    }

    fn milestone_item(&mut self, scene: Scene, number: u64, title: &str) -> Outcome {
        let found = self.repository_mut(scene)?.milestones.iter().find(|(_, one)| one["title"] == title);
        let (key, milestone) = found.ok_or(ChangeError::Missing { number, what: "such milestone" })?;
        let (token, milestone) = (Token::Milestone(scene.repository, *key).text(), milestone.clone());
        self.with_event(scene, number, "milestoned", |event, thread| {
            thread.issue["milestone"] = json!(token);
            event["milestone"] = json!({"title": title});
            Ok(())
        })?;
        Ok(vec![self.item_event(scene, number, "milestoned", json!({"milestone": milestone}))])
    }

    fn demilestone(&mut self, scene: Scene, number: u64) -> Outcome {
        let mut old = Value::Null;
        let held = self.thread(scene.repository, number).ok_or(ChangeError::NoItem(number))?;
        let title = self.show(held.issue["milestone"].clone(), View::default())["title"].clone();
        self.with_event(scene, number, "demilestoned", |event, thread| {
            old = std::mem::take(&mut thread.issue["milestone"]);
            if old.is_null() {
                return Err(ChangeError::Missing { number, what: "milestone" });
            }
            event["milestone"] = json!({"title": title});
            Ok(())
        })?;
        Ok(vec![self.item_event(scene, number, "demilestoned", json!({"milestone": old}))])
    }

    fn review(&mut self, scene: Scene, number: u64, state: &str, body: &str) -> Outcome {
        let association = self.people.association(Some(scene.who));
        let review = self.edit(scene, number, |thread, place| {
            if thread.pull.is_none() {
                return Err(ChangeError::Refused("only a pull request can be reviewed"));
            }
            let said = (state, body);
            let review = place.review(thread.take_index(), Some(scene.who), association, scene.now, said);
            thread.timeline.push(review.clone());
            Ok(review)
        })?;
        let pull = self.pull_of(scene, number);
        let review = without(review, &["event"]);
        let payload = json!({"review": review, "pull_request": pull});
        Ok(vec![self.announce(scene, "pull_request_review", Some("submitted"), Some(number), payload)])
    }

    /// The pull request as events about its reviews carry it: without the details of the single object.
    fn pull_of(&self, scene: Scene, number: u64) -> Value {
        let pull = self.thread(scene.repository, number).and_then(|thread| thread.pull).unwrap_or_default();
        without(pull, crate::routes::DETAILS)
    }

    fn review_comment_event(
        &self,
        scene: Scene,
        number: u64,
        action: &str,
        comment: Value,
        more: Value,
    ) -> Announcement {
        let mut payload = json!({"comment": comment, "pull_request": self.pull_of(scene, number)});
        extend(&mut payload, more);
        self.announce(scene, "pull_request_review_comment", Some(action), Some(number), payload)
    }

    /// A comment on a line; GitHub wraps it into a review of its own.
    fn review_comment(&mut self, scene: Scene, number: u64, body: &str) -> Outcome {
        let association = self.people.association(Some(scene.who));
        let comment = self.edit(scene, number, |thread, place| {
            if thread.pull.is_none() {
                return Err(ChangeError::Refused("only a pull request has review comments"));
            }
            let review = place.review(thread.take_index(), Some(scene.who), association, scene.now, ("commented", ""));
            let (path, diff, line) = text::hunk(&mut stream(place.seed, &[scene.now as u64, number]));
            let comment = place.review_comment(ReviewComment {
                index: thread.take_index(),
                who: Some(scene.who),
                association,
                at: scene.now,
                body,
                review: review["id"].as_u64(),
                reply: None,
                hunk: (path, &diff, line),
            });
            thread.timeline.push(review);
            thread.review_comments.push(comment.clone());
            if let Some(pull) = &mut thread.pull {
                count(pull, "review_comments", 1);
            }
            Ok(comment)
        })?;
        Ok(vec![self.review_comment_event(scene, number, "created", comment, json!({}))])
    }

    fn edit_review_comment(&mut self, scene: Scene, number: u64, id: u64, body: &str) -> Outcome {
        let (comment, old) = self.edit(scene, number, |thread, _| {
            let found = thread.review_comments.iter_mut().find(|comment| comment["id"] == id);
            let comment = found.ok_or(ChangeError::Missing { number, what: "such review comment" })?;
            let old = std::mem::replace(&mut comment["body"], json!(body));
            comment["updated_at"] = json!(time(scene.now));
            Ok((comment.clone(), old))
        })?;
        self.repository_mut(scene)?.keep_edit(&comment, &old, body, scene.who, scene.now);
        let more = json!({"changes": {"body": {"from": old}}});
        Ok(vec![self.review_comment_event(scene, number, "edited", comment, more)])
    }

    fn delete_review_comment(&mut self, scene: Scene, number: u64, id: u64) -> Outcome {
        let comment = self.edit(scene, number, |thread, _| {
            let found = thread.review_comments.iter().position(|comment| comment["id"] == id);
            let found = found.ok_or(ChangeError::Missing { number, what: "such review comment" })?;
            let comment = thread.review_comments.remove(found);
            if let Some(pull) = &mut thread.pull {
                count(pull, "review_comments", -1);
            }
            Ok(comment)
        })?;
        Ok(vec![self.review_comment_event(scene, number, "deleted", comment, json!({}))])
    }

    fn push(&mut self, scene: Scene, number: u64, message: &str) -> Outcome {
        let (before, after) = self.edit(scene, number, |thread, place| {
            let index = thread.take_index();
            let commit = place.commit(index, "author", scene.now, message);
            let Some(pull) = &mut thread.pull else {
                return Err(ChangeError::Refused("only a pull request can be pushed to"));
            };
            count(pull, "commits", 1);
            let before = std::mem::replace(&mut pull["head"]["sha"], commit["sha"].clone());
            let after = commit["sha"].clone();
            thread.timeline.push(commit);
            Ok((before, after))
        })?;
        Ok(vec![self.item_event(scene, number, "synchronize", json!({"before": before, "after": after}))])
    }

    fn lock(&mut self, scene: Scene, number: u64, lock: Option<Option<String>>) -> Outcome {
        let word = if lock.is_some() { "locked" } else { "unlocked" };
        self.with_event(scene, number, word, |event, thread| {
            thread.issue["locked"] = json!(lock.is_some());
            thread.issue["active_lock_reason"] = json!(lock.clone().flatten());
            event["lock_reason"] = json!(lock.flatten());
            Ok(())
        })?;
        Ok(vec![self.item_event(scene, number, word, json!({}))])
    }

    fn react(&mut self, scene: Scene, number: u64) -> Outcome {
        self.edit_at(scene, number, None, |thread, _| {
            count(&mut thread.issue["reactions"], "+1", 1);
            count(&mut thread.issue["reactions"], "total_count", 1);
            Ok(())
        })?;
        Ok(Vec::new())
    }

    fn react_to_comment(&mut self, scene: Scene, number: u64, id: u64) -> Outcome {
        self.edit_at(scene, number, None, |thread, _| {
            let comment = thread.comment_mut(id).ok_or(ChangeError::Missing { number, what: "such comment" })?;
            count(&mut comment["reactions"], "+1", 1);
            count(&mut comment["reactions"], "total_count", 1);
            Ok(())
        })?;
        Ok(Vec::new())
    }

    fn edit_review(&mut self, scene: Scene, number: u64, id: u64, body: &str) -> Outcome {
        let (review, old) = self.edit_at(scene, number, None, |thread, _| {
            let review = thread.timeline.iter_mut().find(|entry| entry["event"] == "reviewed" && entry["id"] == id);
            let review = review.ok_or(ChangeError::Missing { number, what: "such review" })?;
            let old = std::mem::replace(&mut review["body"], json!(body));
            Ok((review.clone(), old))
        })?;
        self.repository_mut(scene)?.keep_edit(&review, &old, body, scene.who, scene.now);
        Ok(Vec::new())
    }

    /// An entry that nothing announces and that leaves `updated_at` alone.
    fn quiet(&mut self, scene: Scene, number: u64, make: impl FnOnce(&Place, u64) -> Value) -> Outcome {
        self.edit_at(scene, number, None, |thread, place| {
            let index = thread.take_index();
            thread.timeline.push(make(&place, index));
            Ok(())
        })?;
        Ok(Vec::new())
    }

    fn plain_event(&mut self, scene: Scene, number: u64, name: &str) -> Outcome {
        let updated = (!crate::render::QUIET.contains(&name)).then_some(scene.now);
        self.edit_at(scene, number, updated, |thread, place| {
            let event = place.event(name, thread.take_index(), Some(scene.who), scene.now);
            thread.timeline.push(event);
            Ok(())
        })?;
        Ok(Vec::new())
    }

    fn delete_author(&mut self, scene: Scene, number: u64) -> Outcome {
        self.edit_at(scene, number, None, |thread, _| {
            let gone = std::mem::replace(&mut thread.issue["user"], author(Some(GHOST)));
            for entry in &mut thread.timeline {
                if entry["actor"] == gone {
                    entry["actor"] = if entry["event"] == "commented" { author(None) } else { Value::Null };
                }
                if entry["user"] == gone {
                    entry["user"] = if entry["event"] == "commented" { author(None) } else { Value::Null };
                }
            }
            for comment in thread.review_comments.iter_mut().filter(|comment| comment["user"] == gone) {
                comment["user"] = author(None);
            }
            Ok(())
        })?;
        Ok(Vec::new())
    }

    fn delete_item(&mut self, scene: Scene, number: u64) -> Outcome {
        let announcement = self.existing_event(scene, number, "deleted")?;
        self.repository_mut(scene)?.lose(number, Gone::Deleted);
        Ok(vec![announcement])
    }

    fn existing_event(&self, scene: Scene, number: u64, action: &str) -> Result<Announcement, ChangeError> {
        self.thread(scene.repository, number).ok_or(ChangeError::NoItem(number))?;
        Ok(self.item_event(scene, number, action, json!({})))
    }

    fn hide_item(&mut self, scene: Scene, number: u64) -> Outcome {
        let thread = self.thread(scene.repository, number).ok_or(ChangeError::NoItem(number))?;
        let repository = self.repository_mut(scene)?;
        repository.lose(number, Gone::Hidden);
        repository.held.insert(number, thread);
        Ok(Vec::new())
    }

    fn show_item(&mut self, scene: Scene, number: u64) -> Outcome {
        let repository = self.repository_mut(scene)?;
        if repository.gone.get(&number) != Some(&Gone::Hidden) {
            return Err(ChangeError::Refused("the item is not hidden"));
        }
        let thread = repository.held.remove(&number).ok_or(ChangeError::Refused("the item was never shown"))?;
        repository.hold(number, thread);
        Ok(Vec::new())
    }

    /// Moves an item: comments and events go along, labels and milestones stay behind.
    fn transfer(&mut self, scene: Scene, number: u64, to: &RepositoryName) -> Outcome {
        let target = self.by_name(to).ok_or_else(|| ChangeError::NoRepository(to.clone()))?;
        let old = self.thread(scene.repository, number).ok_or(ChangeError::NoItem(number))?;
        if old.pull.is_some() || target == scene.repository {
            return Err(ChangeError::Refused("only an issue can be transferred, and only to another repository"));
        }
        let there = Scene { repository: target, ..scene };
        let title = old.issue["title"].as_str().unwrap_or_default().to_owned();
        let body = old.issue["body"].as_str().map(str::to_owned);
        self.open(there, Kind::Issue, title, body)?;
        let new = self.repository_mut(there)?.highest;
        self.edit(there, new, |thread, place| {
            for key in ["user", "created_at", "state", "closed_at", "state_reason", "comments", "author_association"] {
                thread.issue[key] = old.issue[key].clone();
            }
            thread.timeline = old.timeline.iter().map(|entry| moved_entry(entry, &place)).collect();
            thread.next = old.next;
            let event = place.event("transferred", thread.take_index(), Some(scene.who), scene.now);
            thread.timeline.push(event);
            Ok(())
        })?;
        let new_issue = self.thread(target, new).map_or(Value::Null, |thread| as_sent(thread.issue));
        let changes = |word: &str, issue: Value, repository: u64| {
            let mut changes = json!({});
            changes[format!("{word}_issue")] = issue;
            changes[format!("{word}_repository")] = json!(Token::RepositoryObject(repository).text());
            json!({"changes": changes})
        };
        let leaving = self.item_event(scene, number, "transferred", changes("new", new_issue, target));
        let arriving = self.item_event(there, new, "opened", changes("old", as_sent(old.issue), scene.repository));
        self.repository_mut(scene)?.lose(number, Gone::Transferred { repository: target, number: new });
        Ok(vec![leaving, arriving])
    }

    /// The issue is closed, stays readable, and says so in its timeline.
    fn convert(&mut self, scene: Scene, number: u64) -> Outcome {
        self.with_event(scene, number, "converted_to_discussion", |_, thread| {
            close_issue(thread, scene, Value::Null);
            Ok(())
        })?;
        Ok(vec![self.item_event(scene, number, "closed", json!({}))])
    }

    fn rename_repository(&mut self, scene: Scene, to: &RepositoryName) -> Outcome {
        let repository = self.repository_mut(scene)?;
        let (old_owner, old_name) = (repository.owner.clone(), repository.name.clone());
        to.owner().clone_into(&mut repository.owner);
        to.name().clone_into(&mut repository.name);
        self.names.insert(to.key(), scene.repository);
        let (action, changes) = if old_owner.eq_ignore_ascii_case(to.owner()) {
            ("renamed", json!({"repository": {"name": {"from": old_name}}}))
        } else {
            ("transferred", json!({"owner": {"from": {"organization": {"login": old_owner}}}}))
        };
        Ok(vec![self.announce(scene, "repository", Some(action), None, json!({"changes": changes}))])
    }

    fn stand(&mut self, scene: Scene, standing: Standing) -> Outcome {
        self.repository_mut(scene)?.standing = standing;
        Ok(Vec::new())
    }

    fn enable_issues(&mut self, scene: Scene, enabled: bool) -> Outcome {
        self.repository_mut(scene)?.issues_enabled = enabled;
        Ok(Vec::new())
    }

    fn rename_label(&mut self, scene: Scene, from: &str, to: &str) -> Outcome {
        let repository = self.repository_mut(scene)?;
        let id = repository.label_named(from).ok_or(ChangeError::Refused("no label has this name"))?;
        let old = repository.labels.get(&id).cloned().unwrap_or_default();
        let color = old["color"].as_str().unwrap_or("ededed");
        let description = old["description"].as_str().unwrap_or_default();
        let mut label = crate::repository::label(repository.id, id, (to, color, description), 0);
        label["node_id"] = old["node_id"].clone();
        repository.labels.insert(id, label.clone());
        repository.former_labels.insert(from.to_owned(), id);
        let payload = json!({"label": label, "changes": {"name": {"from": from}}});
        Ok(vec![self.announce(scene, "label", Some("edited"), None, payload)])
    }

    /// Takes a label off every item, without an event on any.
    fn delete_label(&mut self, scene: Scene, name: &str) -> Outcome {
        let repository = self.repository_mut(scene)?;
        let id = repository.label_named(name).ok_or(ChangeError::Refused("no label has this name"))?;
        let token = json!(Token::Label(scene.repository, id).text());
        let numbers: Vec<u64> = repository.summaries.keys().copied().collect();
        for number in numbers {
            let carries = self
                .issue_of(scene.repository, number)
                .is_some_and(|issue| issue["labels"].as_array().is_some_and(|labels| labels.contains(&token)));
            if carries {
                self.edit_at(scene, number, None, |thread, _| {
                    if let Some(labels) = thread.issue["labels"].as_array_mut() {
                        labels.retain(|label| *label != token);
                    }
                    Ok(())
                })?;
            }
        }
        let label = self.repository_mut(scene)?.labels.remove(&id).unwrap_or_default();
        Ok(vec![self.announce(scene, "label", Some("deleted"), None, json!({"label": label}))])
    }

    pub(crate) fn issue_of(&self, repository: u64, number: u64) -> Option<Value> {
        self.repositories.get(&repository)?.issue(&self.people, number)
    }

    fn create_milestone(&mut self, scene: Scene, title: &str) -> Outcome {
        let repository = self.repository_mut(scene)?;
        let number = repository.milestones.keys().next_back().map_or(1, |last| last + 1);
        let id = 5_000_000 + repository.ordinal * 10_000 + number;
        let milestone =
            crate::repository::milestone(repository.id, id, number, title, actor(Some(scene.who)), scene.now);
        repository.milestones.insert(number, milestone.clone());
        Ok(vec![self.announce(scene, "milestone", Some("created"), None, json!({"milestone": milestone}))])
    }

    fn close_milestone(&mut self, scene: Scene, title: &str) -> Outcome {
        let repository = self.repository_mut(scene)?;
        let found = repository.milestones.values_mut().find(|one| one["title"] == title);
        let milestone = found.ok_or(ChangeError::Refused("no milestone has this title"))?;
        milestone["state"] = json!("closed");
        milestone["closed_at"] = json!(time(scene.now));
        milestone["updated_at"] = json!(time(scene.now));
        let payload = json!({"milestone": milestone.clone()});
        Ok(vec![self.announce(scene, "milestone", Some("closed"), None, payload)])
    }

    fn rename_milestone(&mut self, scene: Scene, from: &str, to: &str) -> Outcome {
        let repository = self.repository_mut(scene)?;
        let found = repository.milestones.values_mut().find(|one| one["title"] == from);
        let milestone = found.ok_or(ChangeError::Refused("no milestone has this title"))?;
        milestone["title"] = json!(to);
        let payload = json!({"milestone": milestone.clone(), "changes": {"title": {"from": from}}});
        Ok(vec![self.announce(scene, "milestone", Some("edited"), None, payload)])
    }

    fn publish_release(&mut self, scene: Scene, tag: &str, body: &str) -> Outcome {
        let repository = self.repository_mut(scene)?;
        let mut release =
            repository.releases.first().cloned().ok_or(ChangeError::Refused("there is no release yet"))?;
        let id = release["id"].as_u64().unwrap_or(0) + 1;
        let url = Token::Repository(scene.repository, &format!("/releases/{id}")).text();
        release["id"] = json!(id);
        release["node_id"] = json!(crate::node_id::object("Release", "RE", scene.now, scene.repository, id));
        release["assets_url"] = json!(format!("{url}/assets"));
        release["upload_url"] = json!(format!("{url}/assets{{?name,label}}"));
        release["url"] = json!(url);
        release["tag_name"] = json!(tag);
        release["name"] = json!(tag);
        release["body"] = json!(body);
        release["html_url"] = json!(Token::RepositoryPage(scene.repository, &format!("/releases/tag/{tag}")).text());
        for key in ["created_at", "updated_at", "published_at"] {
            release[key] = json!(time(scene.now));
        }
        repository.releases.insert(0, release.clone());
        Ok(vec![self.announce(scene, "release", Some("published"), None, json!({"release": release}))])
    }
}

impl Thread {
    fn take_index(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    fn comment_mut(&mut self, id: u64) -> Option<&mut Value> {
        self.timeline.iter_mut().find(|entry| entry["event"] == "commented" && entry["id"] == id)
    }
}

fn close_issue(thread: &mut Thread, scene: Scene, reason: Value) {
    thread.issue["state"] = json!("closed");
    thread.issue["state_reason"] = reason;
    thread.issue["closed_at"] = json!(time(scene.now));
    thread.issue["closed_by"] = actor(Some(scene.who));
}

fn count(object: &mut Value, key: &str, by: i64) {
    let now = object[key].as_i64().unwrap_or(0);
    object[key] = json!(now + by);
}

fn without(mut object: Value, keys: &[&str]) -> Value {
    if let Value::Object(object) = &mut object {
        for key in keys {
            object.shift_remove(*key);
        }
    }
    object
}

/// An issue as webhooks carry it.
fn as_sent(issue: Value) -> Value {
    without(issue, &["closed_by", "body_html", "body_text", "repository", "parent_issue_url"])
}

/// A timeline entry after its issue moved to another place.
fn moved_entry(entry: &Value, place: &Place) -> Value {
    let mut entry = entry.clone();
    if entry["event"] == "commented" {
        let id = entry["id"].as_u64().unwrap_or(0);
        entry["url"] = json!(place.api(&format!("/issues/comments/{id}")));
        entry["html_url"] = json!(place.page(&format!("#issuecomment-{id}")));
        entry["issue_url"] = json!(place.issue_url(""));
    } else if let Some(id) = entry["id"].as_u64() {
        entry["url"] = json!(place.api(&format!("/issues/events/{id}")));
    }
    entry
}

/// The organisation's object of a payload, from its account's.
fn organization(account: &Value) -> Value {
    let url = account["url"].as_str().unwrap_or_default().replace("/users/", "/orgs/");
    json!({
        "login": account["login"],
        "id": account["id"],
        "node_id": account["node_id"],
        "url": url,
        "repos_url": format!("{url}/repos"),
        "events_url": format!("{url}/events"),
        "hooks_url": format!("{url}/hooks"),
        "issues_url": format!("{url}/issues"),
        "members_url": format!("{url}/members{{/member}}"),
        "public_members_url": format!("{url}/public_members{{/member}}"),
        "avatar_url": account["avatar_url"],
        "description": null,
    })
}
