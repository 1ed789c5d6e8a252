//! Recorded data: a folder of `issues/N.json` and `pulls/N.json`, as github-metadata-backup writes it.
//!
//! That tool passes GitHub's answers through typed structs, so some keys are missing and addresses are percent-encoded.
//! What can be told is put back: the issue object of a pull request (its id is inside the node ids of its events),
//! addresses, empty reaction counts, who closed it. Files are read when asked for; only summaries stay in memory.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use gharvest_model::{Kind, RepositoryName};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    node_id,
    objects::{Place, issue_id, reactions, seconds},
    render::{SHARED, Subject, Summary, Thread, new_pull},
    repository::{Gone, Repository, Source},
    token::Token,
};

/// Where a repository's recorded threads lie.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recording {
    folder: PathBuf,
    full_name: String,
}

/// What a first look at a file takes from it.
#[derive(Debug, Deserialize)]
struct Glance {
    #[serde(alias = "pull")]
    issue: GlanceItem,
}

#[derive(Debug, Deserialize)]
struct GlanceItem {
    number: u64,
    url: Option<String>,
    state: String,
    created_at: String,
    updated_at: String,
    #[serde(default)]
    comments: u32,
    #[serde(default)]
    labels: Vec<Value>,
    milestone: Option<Value>,
    base: Option<GlanceBase>,
}

#[derive(Debug, Deserialize)]
struct GlanceBase {
    repo: Option<GlanceRepository>,
}

#[derive(Debug, Deserialize)]
struct GlanceRepository {
    id: u64,
}

/// The neighbour that recorded transfers point to; it exists in no world.
const ELSEWHERE: u64 = 999_000_001;

/// Reads summaries, labels and milestones of all files.
pub(crate) fn load(folder: &Path, name: &RepositoryName, ordinal: u64, seed: u64) -> io::Result<Repository> {
    let mut repository = Repository::empty((name.owner(), name.name()), ordinal, 700_000_000 + ordinal, seed);
    let mut items = Vec::new();
    for (part, kind) in [("issues", Kind::Issue), ("pulls", Kind::PullRequest)] {
        let part = folder.join(part);
        if part.try_exists()? {
            for entry in fs::read_dir(part)? {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "json") {
                    items.push((kind, glance(&path)?));
                }
            }
        }
    }
    if items.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("{} holds no issues/N.json or pulls/N.json", folder.display()),
        ));
    }
    let real = items.iter().find_map(|(_, item)| item.base.as_ref()?.repo.as_ref());
    if let Some(real) = real {
        repository.id = real.id;
    }
    // What it was called when it was recorded: addresses say so.
    let called = items.iter().find_map(|(_, item)| called(item.url.as_deref()?)).unwrap_or_else(|| name.to_string());
    for (kind, item) in items {
        take(&mut repository, &called, kind, item);
    }
    for number in
        (1..repository.highest).filter(|number| !repository.summaries.contains_key(number)).collect::<Vec<_>>()
    {
        repository.gone.insert(number, absent(number));
    }
    repository.source = Source::Recorded(Recording { folder: folder.to_owned(), full_name: called });
    Ok(repository)
}

/// The fixed mix by which numbers without a file answer: 404, 410 and 301.
fn absent(number: u64) -> Gone {
    match number % 3 {
        0 => Gone::Hidden,
        1 => Gone::Deleted,
        _ => Gone::Transferred { repository: ELSEWHERE, number },
    }
}

fn glance(path: &Path) -> io::Result<GlanceItem> {
    let glance: Glance = serde_json::from_slice(&fs::read(path)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display())))?;
    Ok(glance.issue)
}

/// The name of the repository in an address of the API.
fn called(address: &str) -> Option<String> {
    let mut parts = address.strip_prefix("https://api.github.com/repos/")?.split('/');
    Some(format!("{}/{}", parts.next()?, parts.next()?))
}

fn take(repository: &mut Repository, called: &str, kind: Kind, item: GlanceItem) {
    let names = Names { id: repository.id, full_name: called.to_owned() };
    for mut label in item.labels {
        names.rewrite(&mut label);
        if let Some(key) = label["id"].as_u64() {
            repository.labels.insert(key, label);
        }
    }
    if let Some(mut milestone) = item.milestone {
        names.rewrite(&mut milestone);
        if let Some(key) = milestone["number"].as_u64() {
            repository.milestones.insert(key, milestone);
        }
    }
    let summary = Summary {
        kind,
        open: item.state == "open",
        created: seconds(&item.created_at).unwrap_or(0),
        updated: seconds(&item.updated_at).unwrap_or(0),
        comments: item.comments,
    };
    repository.note(item.number, summary);
}

/// A recorded file, whole.
#[derive(Debug, Deserialize)]
struct File {
    issue: Option<Value>,
    pull: Option<Value>,
    #[serde(default)]
    events: Vec<Value>,
    #[serde(default)]
    comments: Vec<Value>,
}

impl Recording {
    /// The thread as REST would show it. `None` when its file went away or broke since the start.
    pub(crate) fn thread(&self, repository: &Repository, number: u64) -> Option<Thread> {
        let summary = repository.summaries.get(&number)?;
        let part = if summary.kind == Kind::Issue { "issues" } else { "pulls" };
        let bytes = fs::read(self.folder.join(part).join(format!("{number}.json"))).ok()?;
        let mut file: File = serde_json::from_slice(&bytes).ok()?;
        let names = Names { id: repository.id, full_name: self.full_name.clone() };
        let parts = file.issue.iter_mut().chain(&mut file.pull).chain(&mut file.events).chain(&mut file.comments);
        parts.for_each(|part| names.rewrite(part));
        Some(restore(repository, number, *summary, file))
    }
}

fn restore(repository: &Repository, number: u64, summary: Summary, mut file: File) -> Thread {
    let known = file.issue.as_ref().and_then(|issue| issue["id"].as_u64());
    let place = Place {
        repository: repository.id,
        ordinal: repository.ordinal,
        number,
        kind: summary.kind,
        issue_id: known
            .or_else(|| issue_id_inside(&file.events))
            .unwrap_or_else(|| issue_id(repository.ordinal, summary.created, number)),
        seed: repository.seed,
    };
    file.events.iter_mut().for_each(|event| restore_event(&place, event));
    let subject = Subject {
        place,
        created: summary.created,
        author: None,
        association: "NONE",
        title: String::new(),
        body: Value::Null,
    };
    let mut issue = subject.issue();
    issue["reactions"] = reactions(&place.issue_url("/reactions"), 1);
    let closing = file.events.iter().rev().find(|event| event["event"] == "closed");
    if summary.open {
        issue["closed_by"] = Value::Null;
    } else if let Some(closing) = closing {
        issue["closed_by"] = closing["actor"].clone();
    }
    if let Some(Value::Object(recorded)) = file.issue {
        overlay(&mut issue, &recorded, |_| true);
    }
    let pull = file.pull.map(|recorded| restore_pull(&place, &mut issue, summary, recorded));
    tokenise(repository, &mut issue);
    let pull = pull.map(|mut pull| {
        tokenise(repository, &mut pull);
        pull
    });
    for comment in &mut file.comments {
        let url = format!("{}/reactions", comment["url"].as_str().unwrap_or_default());
        fill_in(comment, "pull_request_url", json!(place.pull_url("")));
        fill_in(comment, "reactions", reactions(&url, 1));
        fill_in(comment, "subject_type", json!("line"));
    }
    let next = (file.events.len() + file.comments.len()) as u64 + 10;
    Thread { issue, timeline: file.events, pull, review_comments: file.comments, next }
}

fn restore_pull(place: &Place, issue: &mut Value, summary: Summary, recorded: Value) -> Value {
    if let Value::Object(recorded) = &recorded {
        overlay(issue, recorded, |key| SHARED.contains(&key));
        issue["pull_request"]["merged_at"] = recorded.get("merged_at").cloned().unwrap_or_default();
    }
    let mut pull = new_pull(place, issue, summary.created, None);
    if let Value::Object(recorded) = recorded {
        overlay(&mut pull, &recorded, |key| key != "_links");
        let merged = recorded.get("merged_at").is_some_and(|at| !at.is_null());
        pull["merged"] = json!(merged);
        // It is served under a name of its own, which may have another owner.
        let branch = pull["base"]["ref"].as_str().unwrap_or_default().to_owned();
        pull["base"]["label"] = json!(Token::Owner(place.repository, &format!(":{branch}")).text());
        pull["base"]["user"] = json!(Token::Owner(place.repository, "").text());
        pull["_links"]["statuses"]["href"] = pull["statuses_url"].clone();
    }
    pull
}

fn overlay(object: &mut Value, recorded: &Map<String, Value>, takes: impl Fn(&str) -> bool) {
    for (key, value) in recorded {
        if takes(key) {
            object[key.as_str()] = value.clone();
        }
    }
}

fn fill_in(object: &mut Value, key: &str, value: Value) {
    if let Value::Object(object) = object {
        object.entry(key).or_insert(value);
    }
}

/// The issue's id, as new event ids carry it: the element before the last.
fn issue_id_inside(events: &[Value]) -> Option<u64> {
    events
        .iter()
        .filter(|event| event["event"] != "commented" && event["event"] != "reviewed")
        .filter_map(|event| node_id::decode(event["node_id"].as_str()?))
        .find_map(|numbers| (numbers.len() == 3).then(|| numbers[1]))
}

/// Takes off the null keys that REST does not send for this event, and puts back what it always sends.
fn restore_event(place: &Place, event: &mut Value) {
    let name = event["event"].as_str().unwrap_or_default().to_owned();
    let Value::Object(keys) = event else { return };
    let absent: &[&str] = match name.as_str() {
        "committed" => &["id", "actor", "created_at", "commit_id", "commit_url"],
        "commented" => &["commit_id", "commit_url"],
        "reviewed" => &["url", "actor", "created_at", "commit_url"],
        "line-commented" => &["id", "url", "actor", "created_at", "commit_id", "commit_url"],
        "cross-referenced" => &["id", "node_id", "url", "commit_id", "commit_url"],
        _ => &[],
    };
    for key in absent {
        if keys.get(*key).is_some_and(Value::is_null) {
            keys.shift_remove(*key);
        }
    }
    match name.as_str() {
        "commented" => {
            let url = format!("{}/reactions", keys.get("url").and_then(Value::as_str).unwrap_or_default());
            keys.entry("reactions").or_insert_with(|| reactions(&url, 1));
            keys.entry("performed_via_github_app").or_insert(Value::Null);
        }
        "line-commented" => {
            keys.entry("comments").or_insert_with(|| json!([]));
        }
        "reviewed" => {
            let page = keys.get("html_url").cloned().unwrap_or_default();
            let links = json!({"html": {"href": page}, "pull_request": {"href": place.pull_url("")}});
            keys.entry("_links").or_insert(links);
            // In timelines GitHub spells states in small letters.
            if let Some(Value::String(state)) = keys.get_mut("state") {
                state.make_ascii_lowercase();
            }
        }
        "committed" | "cross-referenced" => {}
        "closed" => {
            keys.entry("state_reason").or_insert(Value::Null);
            keys.entry("performed_via_github_app").or_insert(Value::Null);
        }
        _ => {
            keys.entry("performed_via_github_app").or_insert(Value::Null);
        }
    }
}

/// Labels and milestones become placeholders, so that renaming them shows everywhere.
fn tokenise(repository: &Repository, item: &mut Value) {
    for label in item["labels"].as_array_mut().into_iter().flatten() {
        if let Some(id) = label["id"].as_u64().filter(|id| repository.labels.contains_key(id)) {
            *label = json!(Token::Label(repository.id, id).text());
        }
    }
    if let Some(number) = item["milestone"]["number"].as_u64().filter(|key| repository.milestones.contains_key(key)) {
        item["milestone"] = json!(Token::Milestone(repository.id, number).text());
    }
}

/// Turns recorded addresses into placeholders.
struct Names {
    id: u64,
    full_name: String,
}

impl Names {
    fn rewrite(&self, value: &mut Value) {
        match value {
            Value::Array(list) => list.iter_mut().for_each(|element| self.rewrite(element)),
            Value::Object(object) => {
                for (key, element) in object.iter_mut() {
                    match element {
                        Value::String(text) if key.ends_with("url") || key == "href" => {
                            *text = self.address(text);
                        }
                        _ => self.rewrite(element),
                    }
                }
            }
            _ => {}
        }
    }

    fn address(&self, text: &str) -> String {
        let text = text.replace("%7B", "{").replace("%7D", "}");
        if let Some(rest) = text.strip_prefix("https://api.github.com") {
            return match rest.strip_prefix("/repos/").and_then(|rest| rest.strip_prefix(&self.full_name)) {
                Some(rest) if rest.is_empty() || rest.starts_with(['/', '{']) => {
                    Token::Repository(self.id, rest).text()
                }
                _ => Token::Api(rest).text(),
            };
        }
        if let Some(rest) = text.strip_prefix("https://github.com") {
            return match rest.strip_prefix('/').and_then(|rest| rest.strip_prefix(&self.full_name)) {
                Some(rest) if rest.is_empty() || rest.starts_with('/') => Token::RepositoryPage(self.id, rest).text(),
                _ => Token::Web(rest).text(),
            };
        }
        text
    }
}
