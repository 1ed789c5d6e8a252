//! One repository of the world: generated on demand or recorded, with what was changed since on top.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use gharvest_model::Kind;
use serde_json::{Value, json};

use crate::{
    edits::Edit,
    node_id,
    objects::{Place, reactions, seconds, time},
    people::People,
    random::{mix, sha, stream},
    recorded::Recording,
    render::{Outcome, Renderer, Summary, Thread, label_id},
    script::{Gap, Plot, WORLD_START},
    text::{self, LABELS, MILESTONES},
    token::Token,
};

/// Why a number that was an item shows none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    Deleted,
    /// Answers 404, as what a spammer wrote, or a number that never was an item.
    Hidden,
    Discussion,
    Transferred {
        repository: u64,
        number: u64,
    },
}

/// Who may see the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    Public,
    /// Private or deleted: nobody can tell which.
    Unseen,
    /// Blocked with this status (451 or 403) for this reason.
    Blocked {
        status: u16,
        reason: String,
    },
}

#[derive(Debug)]
pub(crate) enum Source {
    Generated(Plot),
    Recorded(Recording),
}

#[derive(Debug)]
pub(crate) struct Repository {
    pub(crate) id: u64,
    pub(crate) ordinal: u64,
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) seed: u64,
    pub(crate) created: i64,
    pub(crate) source: Source,
    /// Threads held as documents: recorded ones, and generated ones once changed.
    pub(crate) held: BTreeMap<u64, Thread>,
    pub(crate) gone: BTreeMap<u64, Gone>,
    pub(crate) summaries: BTreeMap<u64, Summary>,
    pub(crate) by_update: BTreeSet<(i64, u64)>,
    pub(crate) open_items: u64,
    pub(crate) labels: BTreeMap<u64, Value>,
    /// Labels by the names that they had before.
    pub(crate) former_labels: BTreeMap<String, u64>,
    pub(crate) milestones: BTreeMap<u64, Value>,
    pub(crate) releases: Vec<Value>,
    pub(crate) standing: Standing,
    pub(crate) private: bool,
    pub(crate) issues_enabled: bool,
    pub(crate) highest: u64,
    pub(crate) stars: u64,
    /// The newest events of the repository's feed, newest first.
    pub(crate) feed: Vec<Value>,
    /// Versions of texts that were edited here, by node id, oldest first.
    pub(crate) edits: BTreeMap<String, Vec<Edit>>,
}

impl Repository {
    pub(crate) fn generated(name: (&str, &str), ordinal: u64, plot: Plot, people: &People) -> Self {
        let mut repository = Self::empty(name, ordinal, plot.repository, plot.seed);
        repository.highest = plot.highest;
        repository.stars = mix(plot.seed, &[50, plot.repository]) % 9_000;
        for number in 1..=plot.highest {
            match plot.gap(number) {
                Some(gap) => {
                    repository.gone.insert(number, gone(gap, plot.neighbour, number));
                }
                None => {
                    let script = plot.script(number, people);
                    repository.note(number, Outcome::of(&script).summary(&script));
                }
            }
        }
        repository.labels = labels(plot.repository, ordinal);
        repository.milestones = milestones(plot.repository, ordinal, people);
        repository.releases = releases(plot.repository, ordinal, plot.seed, people);
        repository.source = Source::Generated(plot);
        repository
    }

    pub(crate) fn empty(name: (&str, &str), ordinal: u64, id: u64, seed: u64) -> Self {
        Self {
            id,
            ordinal,
            owner: name.0.to_owned(),
            name: name.1.to_owned(),
            seed,
            created: WORLD_START - 86_400,
            source: Source::Recorded(Recording::default()),
            open_items: 0,
            held: BTreeMap::new(),
            gone: BTreeMap::new(),
            summaries: BTreeMap::new(),
            by_update: BTreeSet::new(),
            labels: BTreeMap::new(),
            milestones: BTreeMap::new(),
            releases: Vec::new(),
            standing: Standing::Public,
            private: false,
            issues_enabled: true,
            highest: 0,
            stars: 0,
            feed: Vec::new(),
            edits: BTreeMap::new(),
            former_labels: BTreeMap::new(),
        }
    }

    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    pub(crate) fn note(&mut self, number: u64, summary: Summary) {
        self.forget(number);
        self.summaries.insert(number, summary);
        self.open_items += u64::from(summary.open);
        self.by_update.insert((summary.updated, number));
        self.highest = self.highest.max(number);
    }

    fn forget(&mut self, number: u64) {
        if let Some(old) = self.summaries.remove(&number) {
            self.by_update.remove(&(old.updated, number));
            self.open_items -= u64::from(old.open);
        }
    }

    /// Keeps a thread as documents from now on.
    pub(crate) fn hold(&mut self, number: u64, thread: Thread) {
        let summary = summary_of(&thread);
        self.held.insert(number, thread);
        self.gone.remove(&number);
        self.note(number, summary);
    }

    /// Takes an item away.
    pub(crate) fn lose(&mut self, number: u64, gone: Gone) {
        self.forget(number);
        self.held.remove(&number);
        self.gone.insert(number, gone);
        self.highest = self.highest.max(number);
    }

    pub(crate) fn thread<'a>(&'a self, people: &People, number: u64) -> Option<Cow<'a, Thread>> {
        self.summaries.get(&number)?;
        if let Some(thread) = self.held.get(&number) {
            return Some(Cow::Borrowed(thread));
        }
        match &self.source {
            Source::Generated(plot) => {
                let renderer = Renderer { plot, people, ordinal: self.ordinal };
                Some(Cow::Owned(renderer.thread(&plot.script(number, people))))
            }
            Source::Recorded(recording) => recording.thread(self, number).map(Cow::Owned),
        }
    }

    /// The issue object alone, without the cost of the rest.
    pub(crate) fn issue(&self, people: &People, number: u64) -> Option<Value> {
        self.summaries.get(&number)?;
        if let Some(thread) = self.held.get(&number) {
            return Some(thread.issue.clone());
        }
        match &self.source {
            Source::Generated(plot) => {
                let renderer = Renderer { plot, people, ordinal: self.ordinal };
                Some(renderer.issue(&plot.script(number, people)))
            }
            Source::Recorded(recording) => recording.thread(self, number).map(|thread| thread.issue),
        }
    }

    pub(crate) fn place(&self, thread: &Thread) -> Place {
        Place {
            repository: self.id,
            ordinal: self.ordinal,
            number: thread.issue["number"].as_u64().unwrap_or(0),
            kind: thread.kind(),
            issue_id: thread.issue["id"].as_u64().unwrap_or(0),
            seed: self.seed,
        }
    }

    pub(crate) fn label_named(&self, name: &str) -> Option<u64> {
        self.labels.iter().find(|(_, label)| label["name"] == name).map(|(id, _)| *id)
    }

    /// The label that has this name, or had it once.
    pub(crate) fn label_once_named(&self, name: &str) -> Option<&Value> {
        let id = self.label_named(name).or_else(|| self.former_labels.get(name).copied())?;
        self.labels.get(&id)
    }

    /// The id of the label of this name, made now when there is none.
    pub(crate) fn ensure_label(&mut self, name: &str) -> u64 {
        if let Some(id) = self.label_named(name) {
            return id;
        }
        let id = self.labels.keys().next_back().map_or(label_id(self.ordinal, 0), |last| last + 37);
        self.labels.insert(id, label(self.id, id, (name, "ededed", ""), i64::MAX));
        id
    }
}

pub(crate) fn summary_of(thread: &Thread) -> Summary {
    let at = |key: &str| thread.issue[key].as_str().and_then(seconds).unwrap_or(0);
    Summary {
        kind: thread.kind(),
        open: thread.issue["state"] == "open",
        created: at("created_at"),
        updated: at("updated_at"),
        comments: thread.issue["comments"].as_u64().unwrap_or(0) as u32,
    }
}

fn gone(gap: Gap, neighbour: u64, number: u64) -> Gone {
    match gap {
        Gap::Deleted => Gone::Deleted,
        Gap::Hidden => Gone::Hidden,
        Gap::Discussion => Gone::Discussion,
        Gap::Transferred => Gone::Transferred { repository: neighbour, number: 1 + number % 10 },
    }
}

pub(crate) fn label(repository: u64, id: u64, words: (&str, &str, &str), created: i64) -> Value {
    let (name, color, description) = words;
    let path: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20");
    json!({
        "id": id,
        "node_id": node_id::object("Label", "LA", created, repository, id),
        "url": Token::Repository(repository, &format!("/labels/{path}")).text(),
        "name": name,
        "color": color,
        "default": matches!(name, "bug" | "enhancement" | "documentation" | "duplicate" | "question" | "wontfix"),
        "description": if description.is_empty() { Value::Null } else { json!(description) },
    })
}

fn labels(repository: u64, ordinal: u64) -> BTreeMap<u64, Value> {
    (0..)
        .zip(LABELS)
        .map(|(index, words)| {
            let id = label_id(ordinal, index);
            (id, label(repository, id, *words, if index < 12 { WORLD_START } else { i64::MAX }))
        })
        .collect()
}

pub(crate) fn milestone(repository: u64, id: u64, number: u64, title: &str, creator: Value, at: i64) -> Value {
    json!({
        "url": Token::Repository(repository, &format!("/milestones/{number}")).text(),
        "html_url": Token::RepositoryPage(repository, &format!("/milestone/{number}")).text(),
        "labels_url": Token::Repository(repository, &format!("/milestones/{number}/labels")).text(),
        "id": id,
        "node_id": node_id::object("Milestone", "MI", at, repository, id),
        "number": number,
        "title": title,
        "description": null,
        "creator": creator,
        "open_issues": number % 7,
        "closed_issues": number * 13,
        "state": "open",
        "created_at": time(at),
        "updated_at": time(at),
        "due_on": null,
        "closed_at": null,
    })
}

fn milestones(repository: u64, ordinal: u64, people: &People) -> BTreeMap<u64, Value> {
    let mut random = stream(repository, &[60]);
    (1..)
        .zip(MILESTONES)
        .map(|(number, title)| {
            let at = WORLD_START + number as i64 * 31_000_000;
            let creator = crate::objects::actor(Some(people.member(&mut random)));
            let id = 5_000_000 + ordinal * 10_000 + number;
            let mut made = milestone(repository, id, number, title, creator, at);
            if number < 6 {
                made["state"] = json!("closed");
                made["closed_at"] = json!(time(at + 30_000_000));
                made["due_on"] = json!(time(at + 29_000_000));
            }
            (number, made)
        })
        .collect()
}

fn releases(repository: u64, ordinal: u64, seed: u64, people: &People) -> Vec<Value> {
    let mut random = stream(seed, &[61, repository]);
    let make = |index: u64| {
        let id = 30_000_000 + ordinal * 10_000 + index;
        let at = WORLD_START + index as i64 * 14_000_000;
        let tag = format!("v{}.{}.0", 1 + index / 8, index % 8);
        let url = Token::Repository(repository, &format!("/releases/{id}")).text();
        let page = |rest: &str| Token::RepositoryPage(repository, rest).text();
        json!({
            "url": url,
            "assets_url": format!("{url}/assets"),
            "upload_url": format!("{url}/assets{{?name,label}}"),
            "html_url": page(&format!("/releases/tag/{tag}")),
            "id": id,
            "author": crate::objects::actor(Some(people.member(&mut random))),
            "node_id": node_id::object("Release", "RE", at, repository, id),
            "tag_name": tag,
            "target_commitish": "main",
            "name": format!("Lumen {tag}"),
            "draft": false,
            "immutable": index > 20,
            "prerelease": index % 8 == 7,
            "created_at": time(at),
            "updated_at": time(at),
            "published_at": time(at + 600),
            "assets": [],
            "tarball_url": Token::Repository(repository, &format!("/tarball/{tag}")).text(),
            "zipball_url": Token::Repository(repository, &format!("/zipball/{tag}")).text(),
            "body": format!("## Changes\n\n- {}\n- {}\n\n`{}`", text::title(&mut random, true), text::title(&mut random, true), sha(seed, &[index])),
            "reactions": reactions(&format!("{url}/reactions"), index),
        })
    };
    let mut list: Vec<Value> = (0..24).map(make).collect();
    list.reverse();
    list
}

/// Numbers that a list shows, in its order, from just behind `after`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ItemQuery {
    /// `None` for both.
    pub(crate) open: Option<bool>,
    pub(crate) since: Option<i64>,
    pub(crate) kind: Option<Kind>,
    pub(crate) ascending: bool,
}

impl ItemQuery {
    pub(crate) fn takes(&self, summary: &Summary) -> bool {
        self.open.is_none_or(|open| open == summary.open)
            && self.since.is_none_or(|since| summary.updated >= since)
            && self.kind.is_none_or(|kind| kind == summary.kind)
    }
}
