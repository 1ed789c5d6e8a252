//! The client against the simulated GitHub: REST and GraphQL give the same threads, and GitHub has no complaint.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use gharvest_github::{Answer, Client, Config, Purpose, Resource, Sort, ThreadOutcome, Wanted, is_told_by_graphql};
use gharvest_github_simulator::{Options, Simulator, World};
use gharvest_model::RepositoryName;
use serde_json::Value;

const ITEMS: u64 = 200;

struct Setup {
    simulator: Simulator,
    client: Client,
    repository: RepositoryName,
}

fn setup(options: Options) -> Setup {
    let repository: RepositoryName = "lumen/lumen".parse().unwrap();
    let simulator = Simulator::start(World::generated(7, repository.clone(), ITEMS), options).unwrap();
    let client = Client::new(Config {
        api_url: simulator.api_url(),
        tokens: vec!["simulated-one".into()],
        points_per_minute: 600_000,
        ..Config::default()
    });
    Setup { simulator, client: client.unwrap(), repository }
}

fn still() -> Options {
    Options { volatile: false, ..Options::unlimited() }
}

impl Setup {
    /// One object, or all pages of a list.
    async fn rest(&self, resource: Resource) -> Value {
        let mut next = Some(resource);
        let mut all: Option<Value> = None;
        while let Some(resource) = next.take() {
            let answer = self.client.get(&resource, None, Purpose::Backfill).await.unwrap();
            let Answer::Found(found) = answer else { panic!("{resource:?}: {answer:?}") };
            match (&mut all, found.body) {
                (Some(Value::Array(all)), Value::Array(page)) => all.extend(page),
                (all, body) => *all = Some(body),
            }
            next = found.next.map(Resource::Address);
        }
        all.unwrap()
    }

    async fn issues(&self) -> BTreeMap<u64, Value> {
        let list = Resource::Issues { repository: self.repository.clone(), since: None, sort: Sort::Created };
        let Value::Array(issues) = self.rest(list).await else { panic!("a list") };
        issues.into_iter().map(|issue| (issue["number"].as_u64().unwrap(), issue)).collect()
    }
}

/// All paths at which two values differ and an example of both, with `timeline.EVENT` for entries of a timeline.
fn differences(path: &str, rest: &Value, graphql: &Value, found: &mut BTreeMap<String, String>) {
    match (rest, graphql) {
        (Value::Object(rest), Value::Object(graphql)) => {
            for key in rest.keys().chain(graphql.keys()).collect::<BTreeSet<_>>() {
                let side = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                differences(&format!("{path}.{key}"), &side(rest), &side(graphql), found);
            }
        }
        (Value::Array(rest), Value::Array(graphql)) if rest.len() == graphql.len() => {
            for (rest, graphql) in rest.iter().zip(graphql) {
                differences(path, rest, graphql, found);
            }
        }
        _ if rest == graphql => {}
        _ => {
            found.insert(path.to_owned(), format!("{rest:.100} / {graphql:.100}"));
        }
    }
}

/// Whether a path is one that GraphQL cannot give.
fn is_lossy(path: &str) -> bool {
    gharvest_model::lossy::is_lossy(&path.split('.').collect::<Vec<_>>())
}

/// REST's timeline without what GraphQL never lists.
fn listed(timeline: Value) -> Vec<Value> {
    let Value::Array(entries) = timeline else { panic!("a timeline is a list") };
    let never = |entry: &Value| {
        let event = entry["event"].as_str().unwrap_or_default();
        !is_told_by_graphql(event) || event == "line-commented"
    };
    entries.into_iter().filter(|entry| !never(entry)).collect()
}

#[tokio::test]
async fn a_thread_is_the_same_whichever_way_it_came() {
    let setup = setup(still());
    let issues = setup.issues().await;
    let hinted: Vec<Wanted> = issues
        .iter()
        .map(|(number, issue)| Wanted { number: *number, issue: Some(issue.clone()), review_comments: None })
        .collect();
    let bare: Vec<Wanted> = issues.keys().map(|number| Wanted::from(*number)).collect();
    let (mut found, mut compared) = (BTreeMap::new(), 0);
    for wanted in [hinted, bare] {
        for answer in setup.client.threads(&setup.repository, &wanted, Purpose::Backfill).await.unwrap() {
            let (number, repository) = (answer.number, setup.repository.clone());
            let parts = match answer.outcome {
                ThreadOutcome::Found(parts) => parts,
                ThreadOutcome::ByRest(_) => continue,
                ThreadOutcome::NotFound => panic!("{number} is there"),
            };
            compared += 1;
            let issue = setup.rest(Resource::Issue(repository.clone(), number)).await;
            differences("issue", &issue, &parts.issue, &mut found);
            let Some(told) = &parts.timeline else { continue };
            let timeline = listed(setup.rest(Resource::Timeline(repository.clone(), number)).await);
            let events = |timeline: &[Value]| timeline.iter().map(|entry| entry["event"].clone()).collect::<Vec<_>>();
            assert_eq!(events(&timeline), events(told), "{number}");
            for (rest, graphql) in timeline.iter().zip(told) {
                let event = rest["event"].as_str().unwrap_or_default();
                differences(&format!("timeline.{event}"), rest, graphql, &mut found);
            }
            if let Some(pull) = &parts.pull {
                let rest = setup.rest(Resource::Pull(repository, number)).await;
                differences("pull", &rest, pull, &mut found);
            }
        }
    }
    let unlisted: Vec<_> = found.iter().filter(|(path, _)| !is_lossy(path)).collect();
    assert!(unlisted.is_empty(), "{unlisted:#?}");
    assert!(compared > ITEMS, "most threads go by GraphQL: {compared}");
    assert!(setup.simulator.control().violations().is_empty(), "{:?}", setup.simulator.control().violations());
}
