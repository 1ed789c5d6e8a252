//! The client against the simulated GitHub: REST and GraphQL give the same threads, and GitHub has no complaint.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use gharvest_github::{
    Answer, Client, Config, EDITS_AT_ONCE, Listed, Purpose, Resource, Sort, ThreadOutcome, Threads, Wanted,
};
use gharvest_github_simulator::{Change, Options, Simulator, Token, Truth, World};
use gharvest_model::{
    Kind, RepositoryName,
    lossy::{LOSSY, differences, is_told},
};
use gharvest_testkit::npm_package;
use serde_json::Value;

const ITEMS: u64 = 200;

struct Setup {
    simulator: Simulator,
    client: Client,
    repository: RepositoryName,
}

fn setup(options: Options) -> Setup {
    setup_of(ITEMS, options)
}

fn setup_of(items: u64, options: Options) -> Setup {
    let repository: RepositoryName = "lumen/lumen".parse().unwrap();
    // The token of somebody who takes part: their own account looks otherwise to them.
    let own = Token { value: "simulated-one".to_owned(), login: "mei-rossi".to_owned(), limit: options.core_limit };
    let options = Options { tokens: vec![own], ..options };
    let simulator = Simulator::start(World::generated(7, repository.clone(), items), options).unwrap();
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

/// Where threads differ by the two ways.
#[derive(Default)]
struct Found {
    /// What no entry of the list permits: the path, and an example of both.
    unlisted: BTreeMap<String, String>,
    /// The entries that were needed.
    listed: BTreeSet<&'static str>,
}

impl Found {
    fn compare<'a>(&mut self, mut path: Vec<&'a str>, graphql: &'a Value, rest: &'a Value) {
        differences(&mut path, Some(graphql), Some(rest), &mut |difference| match difference.listed {
            Some(listed) => drop(self.listed.insert(listed.path)),
            None => {
                let example = format!("{:.100?} / {:.100?}", difference.rest, difference.graphql);
                self.unlisted.insert(difference.path.join("."), example);
            }
        });
    }
}

/// REST's timeline without what GraphQL never lists, which counts as found.
fn listed(timeline: Value, found: &mut Found) -> Vec<Value> {
    let Value::Array(entries) = timeline else { panic!("a timeline is a list") };
    let never = |entry: &Value| match entry["event"].as_str().unwrap_or_default() {
        "line-commented" => Some("timeline.line-commented"),
        event if !is_told(event) => Some("timeline.(rest only)"),
        _ => None,
    };
    found.listed.extend(entries.iter().filter_map(never));
    entries.into_iter().filter(|entry| never(entry).is_none()).collect()
}

/// All differences between REST and GraphQL in these threads, and how many threads were compared.
async fn compare(setup: &Setup, wanted: &[Wanted], found: &mut Found) -> u64 {
    let mut compared = 0;
    let mut threads = setup.client.threads(&setup.repository, wanted.to_vec(), Purpose::Backfill);
    while let Some(answer) = threads.next().await.unwrap() {
        let (number, repository) = (answer.number, setup.repository.clone());
        let parts = match answer.outcome {
            ThreadOutcome::Found(parts) => parts,
            ThreadOutcome::ByRest(_) | ThreadOutcome::Changed => continue,
            ThreadOutcome::NotFound => panic!("{number} is there"),
        };
        compared += 1;
        let issue = setup.rest(Resource::Issue(repository.clone(), number)).await;
        found.compare(vec!["issue"], &parts.issue, &issue);
        let Some(told) = &parts.timeline else { continue };
        let timeline = listed(setup.rest(Resource::Timeline(repository.clone(), number)).await, found);
        let events = |timeline: &[Value]| timeline.iter().map(|entry| entry["event"].clone()).collect::<Vec<_>>();
        assert_eq!(events(&timeline), events(told), "{number}");
        for (rest, graphql) in timeline.iter().zip(told) {
            let event = rest["event"].as_str().unwrap_or_default();
            found.compare(vec!["timeline", event], graphql, rest);
        }
        if let Some(pull) = &parts.pull {
            let rest = setup.rest(Resource::Pull(repository, number)).await;
            found.compare(vec!["pull"], pull, &rest);
        }
    }
    compared
}

/// The same of what a few threads of a larger world have.
async fn compare_rare(found: &mut Found) {
    const RARE: [&str; 2] = ["line-commented", "issue_type_removed"];
    let setup = setup_of(450, still());
    let control = setup.simulator.control();
    let has_rare = |number: &u64| match control.truth(&setup.repository, *number) {
        Some(Truth::Present { timeline, .. }) => {
            timeline.iter().any(|entry| RARE.iter().any(|rare| entry["event"] == *rare))
        }
        _ => false,
    };
    let numbers = control.truth_numbers(&setup.repository).into_iter().filter(has_rare);
    let compared = compare(&setup, &numbers.map(Wanted::from).collect::<Vec<_>>(), found).await;
    assert!(compared >= RARE.len() as u64, "{compared}");
}

/// Renames a label that was put on an item and taken off again: the events keep its name of then.
fn rename_a_label(setup: &Setup) {
    let control = setup.simulator.control();
    let name_in = |number| match control.truth(&setup.repository, number) {
        Some(Truth::Present { timeline, .. }) => {
            let event = timeline.iter().find(|entry| entry["event"] == "unlabeled")?;
            event["label"]["name"].as_str().map(ToOwned::to_owned)
        }
        _ => None,
    };
    let from = control.truth_numbers(&setup.repository).into_iter().find_map(name_in).unwrap();
    let to = format!("{from} (as it is called now)");
    drop(control.change(&setup.repository, Change::RenameLabel { from, to }).unwrap());
}

#[tokio::test]
async fn a_thread_is_the_same_whichever_way_it_came() {
    let setup = setup(still());
    rename_a_label(&setup);
    let issues = setup.issues().await;
    let hinted = |(number, issue): (&u64, &Value)| Wanted { number: *number, listed: Some(Listed::new(issue, None)) };
    let bare: Vec<Wanted> = issues.keys().map(|number| Wanted::from(*number)).collect();
    let mut found = Found::default();
    let mut compared = compare(&setup, &issues.iter().map(hinted).collect::<Vec<_>>(), &mut found).await;
    compared += compare(&setup, &bare, &mut found).await;
    assert!(compared > ITEMS, "most threads go by GraphQL: {compared}");
    assert_eq!(setup.simulator.control().violations(), []);
    compare_rare(&mut found).await;
    assert!(found.unlisted.is_empty(), "{:#?}", found.unlisted);

    // What changes by itself, of some pull requests: between two requests it differs in more than the way.
    let moving = self::setup(Options::unlimited());
    let issues = moving.issues().await;
    let pulls = issues.iter().filter(|(_, issue)| issue["pull_request"].is_object()).take(25).map(hinted);
    compare(&moving, &pulls.collect::<Vec<_>>(), &mut found).await;
    let idle: Vec<_> = LOSSY.iter().map(|lossy| lossy.path).filter(|path| !found.listed.contains(path)).collect();
    assert!(idle.is_empty(), "listed and never different: {idle:#?}");
}

/// The version of `@octokit/graphql-schema`: GitHub's public schema.
const SCHEMA: &str = "15.26.1";

/// What GitHub documents and this version of its schema does not have yet: asked for only where introspection shows it.
const NEWER: &[&str] = &[
    "AddedToProjectV2Event",
    "BlockedByAddedEvent",
    "BlockedByRemovedEvent",
    "BlockingAddedEvent",
    "BlockingRemovedEvent",
    "ConvertedFromDraftEvent",
    "IssueCommentPinnedEvent",
    "IssueCommentUnpinnedEvent",
    "IssueFieldAddedEvent",
    "IssueFieldChangedEvent",
    "IssueFieldRemovedEvent",
    "IssueTypeAddedEvent",
    "IssueTypeChangedEvent",
    "IssueTypeRemovedEvent",
    "ProjectV2ItemStatusChangedEvent",
    "RemovedFromProjectV2Event",
    "issueType",
    "issueDependenciesSummary",
];

/// Takes all answers.
async fn all(mut threads: Threads<'_>) {
    while threads.next().await.unwrap().is_some() {}
}

/// Everything that the client asks by GraphQL, with answers that have errors and further pages among them.
async fn ask_everything(setup: &Setup) {
    let issues = setup.issues().await;
    let wanted = |hinted: bool, comments: bool| {
        let wanted = |(number, issue): (&u64, &Value)| Wanted {
            number: *number,
            listed: hinted.then(|| Listed::new(issue, comments.then(Vec::new).as_ref())),
        };
        issues.iter().map(wanted).collect::<Vec<_>>()
    };
    for wanted in [wanted(true, true), wanted(true, false), wanted(false, false)] {
        all(setup.client.threads(&setup.repository, wanted, Purpose::Backfill)).await;
    }
    let highest = setup.simulator.control().highest_number(&setup.repository);
    let missing: Vec<Wanted> = (1..=highest + 3).map(Wanted::from).collect();
    all(setup.client.threads(&setup.repository, missing, Purpose::Backfill)).await;
    let kind = |issue: &Value| if issue["pull_request"].is_null() { Kind::Issue } else { Kind::PullRequest };
    let probed: Vec<_> = (1..=highest + 3).map(|number| (number, issues.get(&number).map(kind))).collect();
    setup.client.probe(&setup.repository, &probed, Purpose::Scheduled).await.unwrap();
    let numbers: Vec<u64> = (1..=highest).filter(|number| !issues.contains_key(number)).collect();
    setup.client.discussions(&setup.repository, &numbers, Purpose::Backfill).await.unwrap();
    let counts = setup.client.count_items(&setup.repository, Purpose::Live).await.unwrap().unwrap();
    assert_eq!((counts.items(), counts.highest), (ITEMS, highest));
    let nodes: Vec<String> = texts(setup, &issues).await.into_keys().chain(["I_nobody".to_owned()]).collect();
    let edited = setup.client.edited(&setup.repository, &nodes, Purpose::Backfill).await.unwrap().texts;
    let edited: Vec<String> = edited.into_keys().collect();
    setup.client.edits(&setup.repository, &edited, Purpose::Backfill).await.unwrap();
}

/// Every text with a history of its own, by node id: of issues, pull requests, comments, reviews and review comments.
async fn texts(setup: &Setup, issues: &BTreeMap<u64, Value>) -> BTreeMap<String, Value> {
    let control = setup.simulator.control();
    let mut texts = BTreeMap::new();
    for (number, issue) in issues {
        let Some(Truth::Present { timeline, review_comments, .. }) = control.truth(&setup.repository, *number) else {
            continue;
        };
        let is_said = |entry: &Value| matches!(entry["event"].as_str(), Some("commented" | "reviewed"));
        let said = timeline.into_iter().filter(is_said).chain(review_comments).chain([issue.clone()]);
        texts.extend(said.map(|text| (text["node_id"].as_str().unwrap().to_owned(), text)));
    }
    texts
}

#[tokio::test]
async fn edited_texts_tell_what_they_said_before_and_what_was_taken_out_is_not_told() {
    let setup = setup(still());
    let control = setup.simulator.control();
    // Its body was never edited before.
    let number = 1;
    for body in ["second", "third"] {
        drop(control.change_by(&setup.repository, "ann", Change::EditBody { number, body: body.to_owned() }).unwrap());
    }
    drop(control.change(&setup.repository, Change::DeleteFirstEdit { number }).unwrap());
    let issues = setup.issues().await;
    let texts = texts(&setup, &issues).await;
    let ids: Vec<String> = texts.keys().cloned().collect();
    let spent = setup.client.spent();
    let edited = setup.client.edited(&setup.repository, &ids, Purpose::Backfill).await.unwrap().texts;
    let cost = setup.client.spent().cost() - spent.cost();
    assert_eq!(cost, 2 * ids.len().div_ceil(1_200) as u64, "a call and a point for 1,200 of {}", ids.len());
    for (id, text) in &texts {
        let is_later = text["event"] == "commented" && text["updated_at"] != text["created_at"];
        assert!(!is_later || edited.contains_key(id), "{text}");
    }
    assert!(edited.len() > 20 && edited.len() < ids.len() / 2, "{} of {}", edited.len(), ids.len());
    let asked: Vec<String> = edited.keys().cloned().collect();
    let spent = setup.client.spent();
    let edits = setup.client.edits(&setup.repository, &asked, Purpose::Backfill).await.unwrap().texts;
    assert_eq!(setup.client.spent().cost() - spent.cost(), 2 * asked.len().div_ceil(EDITS_AT_ONCE) as u64);
    for (id, last) in &edited {
        let versions = &edits[id];
        assert_eq!(versions.last().map(|version| version.edited_at), Some(*last));
        let is_now = versions.last().and_then(|version| version.text.as_deref()) == texts[id]["body"].as_str();
        assert!(is_now && versions.len() >= 2, "{versions:?}");
    }
    let own = &edits[issues[&number]["node_id"].as_str().unwrap()];
    let own: Vec<_> = own.iter().map(|version| (version.text.as_deref(), version.by.as_deref())).collect();
    assert_eq!(own[1..], [(Some("second"), Some("ann")), (Some("third"), Some("ann"))]);
    assert_eq!(own[0].0, None, "it was taken out");
    assert_eq!(control.violations(), []);
}

#[tokio::test]
async fn every_document_and_every_answer_is_of_github_s_public_schema() {
    let test = "every_document_and_every_answer_is_of_github_s_public_schema";
    let Some(package) = npm_package(test, "@octokit/graphql-schema", SCHEMA) else { return };
    let setup = setup(Options { keep_graphql: true, ..still() });
    ask_everything(&setup).await;
    let exchanges = setup.simulator.control().graphql_exchanges();
    let operations: BTreeSet<&str> = exchanges.iter().filter_map(|exchange| operation(&exchange.request)).collect();
    let expected = ["Counts", "Details", "Discussions", "Edited", "Edits", "Page", "Probe", "Schema", "Threads"];
    assert!(operations.iter().eq(expected.iter()), "{operations:?}");
    let kept = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(&kept, &exchanges).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schema.cjs");
    let checked = Command::new("node").arg(script).arg(&package).arg(kept.path()).args(NEWER).output().unwrap();
    let told = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{told}");
    assert!(told.contains(&format!("{} exchanges", exchanges.len())), "{told}");
}

/// The name of the operation that a request holds.
fn operation(request: &Value) -> Option<&str> {
    request["query"].as_str()?.strip_prefix("query ")?.split(['(', '{']).next()
}
