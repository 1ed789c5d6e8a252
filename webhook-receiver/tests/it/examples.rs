//! Every example of a delivery that Octokit publishes, for github.com and for GitHub Enterprise.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use gharvest_archive::{Archive, Options};
use gharvest_model::{QueueName, RepositoryId, tracking::Tracked};
use gharvest_queue::{Filter, Policy, QueueAdmin, clock::ManualClock, model::MemoryQueue};
use gharvest_testkit::npm_package;
use gharvest_webhook_receiver::{Receiver, router};
use serde_json::Value;

use crate::scene::{SECRET, send, settings, signed, tracked};

const VERSION: &str = "7.6.1";

/// The examples of all versions of GitHub: event and payload. None, after saying that `test` is skipped, without npm.
pub(crate) fn examples(test: &str) -> Option<Vec<(String, Value)>> {
    let package = npm_package(test, "@octokit/webhooks-examples", VERSION)?;
    let mut all = Vec::new();
    for version in ["api.github.com", "ghes-31", "ghes-32", "ghes-33", "ghes-34", "ghes-35"] {
        all.extend(of_version(&package.join(version).join("index.json")));
    }
    Some(all)
}

fn of_version(file: &Path) -> Vec<(String, Value)> {
    let events: Vec<Value> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let of_event = |event: &Value| {
        let name = event["name"].as_str().unwrap().to_owned();
        let payloads = event["examples"].as_array().unwrap().clone();
        payloads.into_iter().map(move |payload| (name.clone(), payload)).collect::<Vec<_>>()
    };
    events.iter().flat_map(of_event).collect()
}

/// One archive that tracks every repository of the examples, and one receiver with a new queue for each delivery.
struct Judge {
    archive: Archive,
    tracked: BTreeSet<RepositoryId>,
    _folder: tempfile::TempDir,
}

impl Judge {
    async fn new(examples: &[(String, Value)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file:{}", folder.path().display());
        let archive = Archive::open(&url, &Options::default()).await.unwrap();
        let named: BTreeMap<u64, String> = examples.iter().filter_map(|(_, payload)| repository(payload)).collect();
        for (id, name) in &named {
            // Known to be private, whatever an example says: that is no news.
            archive.track(Tracked { private: true, ..tracked(*id, name) }).await.unwrap();
        }
        Self { archive, tracked: named.into_keys().map(RepositoryId).collect(), _folder: folder }
    }

    /// What follows from a delivery: `outcome: subjects`, repositories by their place in the payload, and whether facts
    /// are kept.
    async fn judge(&self, event: &str, payload: &Value, delivery: &str) -> String {
        let untracked = if event.starts_with("installation") { "track" } else { "ignore" };
        let settings = settings(&[("GHARVEST_WEBHOOK__SECRETS", SECRET), ("GHARVEST_WEBHOOK__UNTRACKED", untracked)]);
        let queue = MemoryQueue::new(Policy::default(), ManualClock::default()).unwrap();
        let receiver = Receiver::new(Arc::clone(&queue) as _, self.archive.clone(), settings.untracked);
        let request = signed(event, delivery, payload.to_string().into_bytes(), SECRET);
        let answer = send(&router(receiver, &settings), request).await;
        assert_eq!(answer.status.as_u16(), 202, "{event}: {answer:?}");
        let jobs = queue.list(QueueName::Download, &Filter::default(), None, 1000).await.unwrap();
        let own = repository(payload).map(|(id, _)| id);
        let shown = jobs.iter().map(|job| {
            let text = job.subject.to_string();
            let is_own = job.subject.repository().is_some_and(|id| Some(id.0) == own);
            let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
            let kind = if rest.starts_with('#') { "#n" } else { rest };
            if is_own { format!("own{kind}") } else { format!("other{kind}") }
        });
        let shown: BTreeSet<String> = shown.collect();
        let shown: Vec<String> = shown.into_iter().collect();
        let mut kept = String::new();
        {
            use futures::TryStreamExt;
            let inbox: Vec<_> = self.archive.inbox_all().try_collect().await.unwrap();
            for entry in inbox {
                kept = format!(" +{}", keys(&entry.fact.facts));
                self.archive.remove_inbox(&entry.fact.delivery).await.unwrap();
            }
        }
        for tracked in self.archive.tracking().await.unwrap() {
            if !self.tracked.contains(&tracked.id) {
                self.archive.untrack(tracked.id).await.unwrap();
            }
        }
        format!("{}: {}{kept}", answer.said().1, shown.join(" ")).trim_end_matches([':', ' ']).to_owned()
    }
}

fn keys(facts: &Value) -> String {
    facts.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>().join("+")
}

fn repository(payload: &Value) -> Option<(u64, String)> {
    let repository = &payload["repository"];
    Some((repository["id"].as_u64()?, repository["full_name"].as_str()?.to_owned()))
}

#[tokio::test]
async fn every_published_example_is_accepted_and_triggers_what_it_should() {
    let test = "every_published_example_is_accepted_and_triggers_what_it_should";
    let Some(examples) = examples(test) else { return };
    let judge = Judge::new(&examples).await;
    let mut judged: BTreeMap<String, BTreeMap<String, u32>> = BTreeMap::new();
    for (number, (event, payload)) in examples.iter().enumerate() {
        let name = match payload["action"].as_str() {
            Some(action) => format!("{event}.{action}"),
            None => event.clone(),
        };
        let outcome = judge.judge(event, payload, &format!("example-{number}")).await;
        *judged.entry(name).or_default().entry(outcome).or_default() += 1;
    }
    let lines = judged.iter().flat_map(|(name, outcomes)| {
        outcomes.iter().map(move |(outcome, count)| format!("{name} ×{count} → {outcome}"))
    });
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
}
