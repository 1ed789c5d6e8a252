//! The whole world at one moment, and how its documents look to a reader.

use std::collections::{BTreeMap, HashMap};

use gharvest_model::RepositoryName;
use serde_json::{Map, Value, json};

use crate::{
    node_id,
    objects::time,
    people::{People, User},
    repository::{Gone, Repository, Standing},
    script::{WORLD_END, WORLD_START},
    token::{MARK, Token},
};

/// How documents are shown.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct View {
    /// Moves every volatile field; 0 shows them at rest.
    pub(crate) tick: u64,
    /// The later API version, which drops some fields.
    pub(crate) later: bool,
    /// Who asks, if it is somebody of this world.
    pub(crate) viewer: Option<u64>,
}

/// How much of a repository an object tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Names and addresses, as related issues carry it.
    Simple,
    /// As it stands inside pull requests and webhooks.
    Standard,
    /// As `GET /repos/{owner}/{repo}` answers.
    Full,
}

/// The result of looking a name up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// The name it has now.
    Here(u64),
    /// A name it had.
    Moved(u64),
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) api_url: String,
    pub(crate) seed: u64,
    pub(crate) people: People,
    pub(crate) repositories: BTreeMap<u64, Repository>,
    /// Lower-case full names, present and former.
    pub(crate) names: HashMap<String, u64>,
    /// How many changes were made.
    pub(crate) changes: u64,
    /// Added to the real time.
    pub(crate) shift: i64,
    /// The time stands still here, when set.
    pub(crate) frozen: Option<i64>,
}

impl State {
    /// Seconds since 1970, as this world's clock shows: never before the end of the generated history.
    pub(crate) fn now(&self) -> i64 {
        let real = jiff::Timestamp::now().as_second().max(WORLD_END + 60);
        self.frozen.unwrap_or(real) + self.shift
    }

    pub(crate) fn find(&self, owner: &str, name: &str) -> Option<Found> {
        let key = format!("{owner}/{name}").to_ascii_lowercase();
        let id = *self.names.get(&key)?;
        let now = self.repositories.get(&id)?.full_name().to_ascii_lowercase();
        Some(if now == key { Found::Here(id) } else { Found::Moved(id) })
    }

    pub(crate) fn by_name(&self, name: &RepositoryName) -> Option<u64> {
        self.names.get(&name.key()).copied()
    }

    /// Fills in every placeholder of a document.
    pub(crate) fn show(&self, mut value: Value, view: View) -> Value {
        self.fill(&mut value, view);
        value
    }

    fn fill(&self, value: &mut Value, view: View) {
        match value {
            Value::String(text) if text.starts_with(MARK) => {
                if let Some(shown) = Token::parse(text).map(|token| self.resolve(token, view)) {
                    *value = shown;
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|element| self.fill(element, view)),
            Value::Object(object) => {
                if view.later {
                    drop_old_fields(object);
                }
                move_volatile(object, view.tick);
                object.values_mut().for_each(|element| self.fill(element, view));
            }
            _ => {}
        }
    }

    fn resolve(&self, token: Token<'_>, view: View) -> Value {
        match token {
            Token::Api(rest) | Token::Web(rest) => json!(format!("{}{rest}", self.api_url)),
            Token::Repository(id, rest) => json!(format!("{}/repos/{}{rest}", self.api_url, self.name_of(id))),
            Token::RepositoryPage(id, rest) => json!(format!("{}/{}{rest}", self.api_url, self.name_of(id))),
            Token::FullName(id, rest) => json!(format!("{}{rest}", self.name_of(id))),
            Token::User(id) => self.person(id).map_or(Value::Null, |user| self.show(user.object(view), view)),
            Token::Login(id, rest) => json!(format!("{}{rest}", self.person(id).map_or("ghost", |user| &user.login))),
            Token::Owner(id, "") => self.owner_object(id, view),
            Token::Owner(id, rest) => {
                json!(format!("{}{rest}", self.repositories.get(&id).map_or("", |repository| &repository.owner)))
            }
            Token::Label(repository, id) => {
                let label = self.repositories.get(&repository).and_then(|repository| repository.labels.get(&id));
                label.map_or(Value::Null, |label| self.show(label.clone(), view))
            }
            Token::Milestone(repository, number) => self.milestone(repository, number, view),
            Token::RepositoryObject(id) => self.repositories.get(&id).map_or(Value::Null, |repository| {
                self.show(self.repository_object(repository, Detail::Standard, view.tick), view)
            }),
            Token::SimpleRepository(id) => self.repositories.get(&id).map_or(Value::Null, |repository| {
                self.show(self.repository_object(repository, Detail::Simple, view.tick), view)
            }),
            Token::Fork(repository, user) => self.fork(repository, user, view),
            Token::Issue(repository, number) => self.live_copy(repository, number, view),
        }
    }

    fn person(&self, id: u64) -> Option<&User> {
        self.people.get(id)
    }

    fn name_of(&self, id: u64) -> String {
        self.repositories.get(&id).map_or_else(|| format!("elsewhere/repository-{id}"), Repository::full_name)
    }

    fn milestone(&self, repository: u64, number: u64, view: View) -> Value {
        let milestone = self.repositories.get(&repository).and_then(|found| found.milestones.get(&number));
        let Some(milestone) = milestone else { return Value::Null };
        let mut shown = self.show(milestone.clone(), view);
        shift(&mut shown, "open_issues", view.tick % 5);
        shift(&mut shown, "closed_issues", view.tick);
        shown
    }

    /// Another item inside a cross reference: as it is now, and seldom twice the same.
    fn live_copy(&self, repository: u64, number: u64, view: View) -> Value {
        let found = self.repositories.get(&repository);
        let Some((found, mut issue)) = found.and_then(|found| Some((found, found.issue(&self.people, number)?))) else {
            return Value::Null;
        };
        shift(&mut issue, "comments", view.tick % 3);
        issue["repository"] = self.repository_object(found, Detail::Standard, view.tick);
        self.show(issue, view)
    }

    fn fork(&self, repository: u64, user: u64, view: View) -> Value {
        let (Some(found), Some(person)) = (self.repositories.get(&repository), self.person(user)) else {
            return Value::Null;
        };
        let mut fork = self.show(self.repository_object(found, Detail::Standard, view.tick), view);
        let full_name = format!("{}/{}", person.login, found.name);
        fork["id"] = json!(repository + user);
        fork["full_name"] = json!(full_name);
        fork["owner"] = self.show(person.object(view), view);
        fork["fork"] = json!(true);
        let (old, new) = (format!("/{}", found.full_name()), format!("/{full_name}"));
        if let Some(object) = fork.as_object_mut() {
            for (key, value) in object.iter_mut().filter(|(key, _)| key.ends_with("url")) {
                if let (Some(text), true) = (value.as_str(), key != "avatar_url") {
                    *value = json!(text.replacen(&old, &new, 1));
                }
            }
        }
        fork
    }

    /// The account that owns a repository: an organisation made of its name.
    pub(crate) fn owner_object(&self, repository: u64, view: View) -> Value {
        let Some(found) = self.repositories.get(&repository) else { return Value::Null };
        let owner = User { id: 9_000_000 + found.ordinal, login: found.owner.clone(), kind: "Organization" };
        self.show(owner.object(view), view)
    }

    /// A repository: in full as `GET /repos/{owner}/{repo}` shows it, or as it stands inside other objects.
    pub(crate) fn repository_object(&self, repository: &Repository, detail: Detail, tick: u64) -> Value {
        let api = |rest: &str| Token::Repository(repository.id, rest).text();
        let open = repository.open_items + tick % 4;
        let stars = repository.stars + tick;
        let pushed = time(WORLD_END + tick as i64);
        let mut object = json!({
            "id": repository.id,
            "node_id": node_id::object("Repository", "R", repository.created, repository.id, repository.id),
            "name": repository.name,
            "full_name": Token::FullName(repository.id, "").text(),
            "private": repository.private,
            "owner": Token::Owner(repository.id, "").text(),
            "html_url": Token::RepositoryPage(repository.id, "").text(),
            "description": "An embedded database that fits in your pocket",
            "fork": false,
            "url": api(""),
        });
        for (key, rest) in REPOSITORY_URLS {
            object[*key] = json!(api(rest));
        }
        if detail == Detail::Simple {
            return object;
        }
        let rest = json!({
            "created_at": time(WORLD_START - 86_400),
            "updated_at": pushed,
            "pushed_at": pushed,
            "git_url": Token::RepositoryPage(repository.id, ".git").text(),
            "ssh_url": Token::FullName(repository.id, ".git").text(),
            "clone_url": Token::RepositoryPage(repository.id, ".git").text(),
            "svn_url": Token::RepositoryPage(repository.id, "").text(),
            "homepage": null,
            "size": 48_213 + tick,
            "stargazers_count": stars,
            "watchers_count": stars,
            "language": "Rust",
            "has_issues": repository.issues_enabled,
            "has_projects": true,
            "has_downloads": true,
            "has_wiki": false,
            "has_pages": false,
            "has_discussions": true,
            "forks_count": stars / 9,
            "mirror_url": null,
            "archived": false,
            "disabled": false,
            "open_issues_count": open,
            "license": {
                "key": "mit",
                "name": "MIT License",
                "spdx_id": "MIT",
                "url": Token::Api("/licenses/mit").text(),
                "node_id": "MDc6TGljZW5zZTEz",
            },
            "allow_forking": true,
            "is_template": false,
            "web_commit_signoff_required": false,
            "topics": ["database", "embedded", "rust"],
            "visibility": if repository.private { "private" } else { "public" },
            "forks": stars / 9,
            "open_issues": open,
            "watchers": stars,
            "default_branch": "main",
        });
        extend(&mut object, rest);
        if detail == Detail::Full {
            let more = json!({
                "temp_clone_token": null,
                "organization": Token::Owner(repository.id, "").text(),
                "network_count": stars / 9,
                "subscribers_count": 37 + tick % 2,
            });
            extend(&mut object, more);
        }
        object
    }

    /// Where the numeric form of an address lies.
    pub(crate) fn by_id_url(&self, repository: u64, rest: &str) -> String {
        format!("{}/repositories/{repository}{rest}", self.api_url)
    }

    /// Where a number was transferred to, unless the target is known to be out of sight.
    pub(crate) fn transfer_target(&self, gone: Gone) -> Option<(u64, u64)> {
        let Gone::Transferred { repository, number } = gone else { return None };
        let target = self.repositories.get(&repository);
        target.is_none_or(|target| target.standing == Standing::Public).then_some((repository, number))
    }
}

pub(crate) fn extend(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}

fn shift(object: &mut Value, key: &str, by: u64) {
    if let Some(count) = object[key].as_u64() {
        object[key] = json!(count + by);
    }
}

/// Moves what a document carries in itself: pictures of recorded people, counters of recorded repositories, and what
/// GitHub computes of a pull request each time anew. Objects that were shown before (their address is filled in, as in
/// the delivery log) stay as they were.
fn move_volatile(object: &mut Map<String, Value>, tick: u64) {
    if tick == 0 || !object.get("url").and_then(Value::as_str).is_some_and(|url| url.starts_with(MARK)) {
        return;
    }
    if let Some(Value::String(picture)) = object.get_mut("avatar_url")
        && picture.starts_with("http")
        && tick % 2 == 1
    {
        picture.push_str(if picture.contains('?') { "&u=moved" } else { "?u=moved" });
    }
    for key in ["stargazers_count", "open_issues_count", "size"] {
        if let Some(count) = object.get(key).and_then(Value::as_u64) {
            object.insert(key.to_owned(), json!(count + tick));
        }
    }
    if object.contains_key("mergeable_state") && object.get("state").is_some_and(|state| state == "open") {
        // Who asks in threes is not told the same of each.
        let number = object.get("number").and_then(Value::as_u64).unwrap_or_default();
        let (mergeable, state) = match (tick + number) % 3 {
            0 => (Value::Null, "unknown"),
            1 => (json!(true), "clean"),
            _ => (json!(false), "dirty"),
        };
        object.insert("mergeable".to_owned(), mergeable.clone());
        object.insert("rebaseable".to_owned(), mergeable);
        object.insert("mergeable_state".to_owned(), json!(state));
        object.insert("merge_commit_sha".to_owned(), json!(crate::random::sha(tick, &[])));
    }
}

/// What version 2026-03-10 no longer sends.
fn drop_old_fields(object: &mut Map<String, Value>) {
    if object.contains_key("assignees") {
        object.shift_remove("assignee");
    }
    if object.contains_key("diff_url") && object.contains_key("head") {
        object.shift_remove("merge_commit_sha");
    }
    object.shift_remove("has_downloads");
}

const REPOSITORY_URLS: &[(&str, &str)] = &[
    ("forks_url", "/forks"),
    ("keys_url", "/keys{/key_id}"),
    ("collaborators_url", "/collaborators{/collaborator}"),
    ("teams_url", "/teams"),
    ("hooks_url", "/hooks"),
    ("issue_events_url", "/issues/events{/number}"),
    ("events_url", "/events"),
    ("assignees_url", "/assignees{/user}"),
    ("branches_url", "/branches{/branch}"),
    ("tags_url", "/tags"),
    ("blobs_url", "/git/blobs{/sha}"),
    ("git_tags_url", "/git/tags{/sha}"),
    ("git_refs_url", "/git/refs{/sha}"),
    ("trees_url", "/git/trees{/sha}"),
    ("statuses_url", "/statuses/{sha}"),
    ("languages_url", "/languages"),
    ("stargazers_url", "/stargazers"),
    ("contributors_url", "/contributors"),
    ("subscribers_url", "/subscribers"),
    ("subscription_url", "/subscription"),
    ("commits_url", "/commits{/sha}"),
    ("git_commits_url", "/git/commits{/sha}"),
    ("comments_url", "/comments{/number}"),
    ("issue_comment_url", "/issues/comments{/number}"),
    ("contents_url", "/contents/{+path}"),
    ("compare_url", "/compare/{base}...{head}"),
    ("merges_url", "/merges"),
    ("archive_url", "/{archive_format}{/ref}"),
    ("downloads_url", "/downloads"),
    ("issues_url", "/issues{/number}"),
    ("pulls_url", "/pulls{/number}"),
    ("milestones_url", "/milestones{/number}"),
    ("notifications_url", "/notifications{?since,all,participating}"),
    ("labels_url", "/labels{/name}"),
    ("releases_url", "/releases{/id}"),
    ("deployments_url", "/deployments"),
];
