//! Routes, parameters and bodies compared with GitHub's own description of its API, so that simulator and client
//! cannot share a mistake. The description comes from npm (`@octokit/openapi`) when the tests run.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

#[path = "description/schema.rs"]
mod schema;

use std::collections::{BTreeMap, BTreeSet};

use gharvest_github_simulator::{Change, Control, Options, Simulator, Truth, World, endpoints};
use gharvest_model::RepositoryName;
use gharvest_testkit::npm_package;
use schema::Schemas;
use serde_json::Value;

const VERSION: &str = "23.0.2";

/// The description; none, after saying that `test` is skipped, where npm cannot fetch it.
fn description(test: &str) -> Option<Value> {
    let package = npm_package(test, "@octokit/openapi", VERSION)?;
    Some(serde_json::from_slice(&std::fs::read(package.join("generated/api.github.com.json")).unwrap()).unwrap())
}

/// What is served though the description does not have it, and why.
const UNDESCRIBED: &[(&str, &str, &str)] =
    &[("/repos/{owner}/{repo}/issues", "after", "GitHub's own Link headers use it; only the OpenAPI file is silent")];

#[test]
fn every_route_and_parameter_is_one_that_github_describes() {
    let Some(description) = description("every_route_and_parameter_is_one_that_github_describes") else { return };
    for (method, template, parameters) in endpoints() {
        let operation = &description["paths"][template][method.to_lowercase()];
        assert!(operation.is_object(), "{method} {template} is not described");
        let described: BTreeSet<String> = operation["parameters"]
            .as_array()
            .unwrap_or(&Vec::new())
            .iter()
            .map(|parameter| resolve(&description, parameter)["name"].as_str().unwrap().to_owned())
            .collect();
        for parameter in parameters {
            let known = UNDESCRIBED.iter().any(|(path, name, _)| *path == template && name == parameter);
            assert!(known || described.contains(*parameter), "{template} has no parameter {parameter}");
        }
    }
}

fn resolve<'a>(description: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(place) => description.pointer(&place[1..]).unwrap(),
        None => value,
    }
}

/// What GitHub sends though its schema says otherwise: the end of a problem's text, and how it is known.
const WRONG_SCHEMAS: &[(&str, &str)] = &[
    ("/actor is null", "events of deleted accounts have no actor (measured)"),
    ("/user is null", "reviews of deleted accounts have no user (measured)"),
    ("/head/repo is null", "a deleted fork"),
    ("/review_requester is null", "events of deleted accounts"),
    ("/description is null", "the label's own schema says that it may be; the one inside pull requests forgot"),
    ("/state_reason is not in the schema", "documented for closed and reopened events; missing in this one schema"),
    ("/user_view_type is not in the schema", "in every account since 2024; some webhook schemas lag"),
];

struct Checked {
    schemas: Schemas,
    problems: BTreeMap<String, String>,
}

impl Checked {
    fn check(&mut self, what: &str, schema: &str, value: &Value) {
        for problem in self.schemas.problems(schema, value) {
            if !WRONG_SCHEMAS.iter().any(|(end, _)| problem.ends_with(end)) {
                let digits: String = problem.chars().filter(|c| !c.is_ascii_digit()).collect();
                self.problems.entry(format!("{schema}: {digits}")).or_insert_with(|| format!("{what}: {problem}"));
            }
        }
    }

    fn finish(self) {
        let lines: Vec<String> =
            self.problems.into_iter().map(|(schema, first)| format!("{schema}  ({first})")).collect();
        assert!(lines.is_empty(), "{} differences:\n{}", lines.len(), lines.join("\n"));
    }
}

/// The schema of a timeline entry. Events that GitHub does not describe have the common keys.
fn entry_schema(event: &str) -> &'static str {
    match event {
        "labeled" => "labeled-issue-event",
        "unlabeled" => "unlabeled-issue-event",
        "milestoned" => "milestoned-issue-event",
        "demilestoned" => "demilestoned-issue-event",
        "renamed" => "renamed-issue-event",
        "review_requested" => "review-requested-issue-event",
        "review_request_removed" => "review-request-removed-issue-event",
        "review_dismissed" => "review-dismissed-issue-event",
        "locked" => "locked-issue-event",
        "added_to_project" => "added-to-project-issue-event",
        "moved_columns_in_project" => "moved-column-in-project-issue-event",
        "removed_from_project" => "removed-from-project-issue-event",
        "converted_note_to_issue" => "converted-note-to-issue-issue-event",
        "commented" => "timeline-comment-event",
        "cross-referenced" => "timeline-cross-referenced-event",
        "committed" => "timeline-committed-event",
        "reviewed" => "timeline-reviewed-event",
        "line-commented" => "timeline-line-commented-event",
        "commit-commented" => "timeline-commit-commented-event",
        "assigned" => "timeline-assigned-issue-event",
        "unassigned" => "timeline-unassigned-issue-event",
        "issue_type_added" => "issue-type-added-issue-event",
        "issue_type_removed" => "issue-type-removed-issue-event",
        "issue_type_changed" => "issue-type-changed-issue-event",
        "sub_issue_added" => "sub-issue-added-issue-event",
        "sub_issue_removed" => "sub-issue-removed-issue-event",
        "parent_issue_added" => "parent-issue-added-issue-event",
        "parent_issue_removed" => "parent-issue-removed-issue-event",
        "blocked_by_added" => "blocked-by-added-issue-event",
        "blocked_by_removed" => "blocked-by-removed-issue-event",
        "blocking_added" => "blocking-added-issue-event",
        "blocking_removed" => "blocking-removed-issue-event",
        _ => "state-change-issue-event",
    }
}

#[test]
fn every_kind_of_document_fits_its_schema() {
    let Some(description) = description("every_kind_of_document_fits_its_schema") else { return };
    let (simulator, repository) = start();
    let control = simulator.control();
    let mut checked = Checked { schemas: Schemas::new(description), problems: BTreeMap::new() };
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for number in control.truth_numbers(&repository) {
        let Some(Truth::Present { issue, timeline, pull, review_comments }) = control.truth(&repository, number) else {
            panic!("{number} is no item");
        };
        checked.check(&format!("issue {number}"), "issue", &issue);
        for entry in &timeline {
            let event = entry["event"].as_str().unwrap();
            let times = seen.entry(event.to_owned()).or_default();
            *times += 1;
            if *times <= 30 {
                checked.check(&format!("{event} of {number}"), entry_schema(event), entry);
            }
        }
        if let Some(pull) = pull {
            checked.check(&format!("pull {number}"), "pull-request", &pull);
        }
        for comment in review_comments.iter().take(3) {
            checked.check(&format!("review comment of {number}"), "pull-request-review-comment", comment);
        }
    }
    assert!(seen.len() >= 60, "only {} kinds of events: {:?}", seen.len(), seen.keys());
    checked.finish();
}

fn start() -> (Simulator, RepositoryName) {
    let repository: RepositoryName = "lumen/lumen".parse().unwrap();
    let world = World::generated(3, repository.clone(), 600).and_generated("lumen/docs".parse().unwrap(), 20);
    (Simulator::start(world, Options::unlimited()).unwrap(), repository)
}

/// Lists and single things, each with the schema of one element.
const LISTS: &[(&str, &str)] = &[
    ("/issues?state=all&per_page=100", "issue"),
    ("/issues/5/timeline?per_page=100", "timeline-issue-events"),
    ("/issues/5/comments", "issue-comment"),
    ("/issues/comments?per_page=100", "issue-comment"),
    ("/issues/5/events", "issue-event-for-issue"),
    ("/issues/events", "issue-event"),
    ("/pulls?state=all&per_page=50", "pull-request-simple"),
    ("/pulls/comments?per_page=100", "pull-request-review-comment"),
    ("/pulls/2/comments", "pull-request-review-comment"),
    ("/pulls/2/reviews", "pull-request-review"),
    ("/labels?per_page=100", "label"),
    ("/milestones?state=all", "milestone"),
    ("/releases", "release"),
    ("/events", "event"),
    ("/hooks", "hook"),
    ("/hooks/4711/deliveries", "hook-delivery-item"),
];

#[tokio::test]
async fn every_answer_over_http_fits_its_schema() {
    let Some(description) = description("every_answer_over_http_fits_its_schema") else { return };
    let (simulator, repository) = start();
    let control = simulator.control();
    control.set_webhook(Some(gharvest_github_simulator::Webhook::new("http://127.0.0.1:9/", "s")));
    control.change(&repository, Change::Comment { number: 1, body: "x".to_owned() }).unwrap();
    control.change(&repository, Change::OpenPull { title: "x".to_owned(), body: None }).unwrap();
    control.change(&repository, Change::OpenIssue { title: "x".to_owned(), body: None }).unwrap();
    control.webhooks_settled().await;
    let client = reqwest::Client::builder().user_agent("test").no_proxy().build().unwrap();
    let get = async |path: &str| -> Value {
        let request = client.get(simulator.api_url() + path).bearer_auth("simulated-1");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    };
    let mut checked = Checked { schemas: Schemas::new(description), problems: BTreeMap::new() };
    for (path, schema) in LISTS {
        let list = get(&format!("/repos/lumen/lumen{path}")).await;
        assert!(list.as_array().is_some_and(|list| !list.is_empty()), "{path} is empty");
        for element in list.as_array().unwrap() {
            checked.check(path, schema, element);
        }
    }
    for (path, schema) in [
        ("/repos/lumen/lumen", "full-repository"),
        ("/repos/lumen/lumen/issues/1", "issue"),
        ("/repos/lumen/lumen/pulls/2", "pull-request"),
        ("/rate_limit", "rate-limit-overview"),
        ("/meta", "api-overview"),
        ("/user", "public-user"),
    ] {
        checked.check(path, schema, &get(path).await);
    }
    assert!(control.violations().is_empty(), "{:?}", control.violations());
    checked.finish();
}

#[test]
fn every_webhook_payload_fits_its_schema() {
    let Some(description) = description("every_webhook_payload_fits_its_schema") else { return };
    let (simulator, repository) = start();
    let control = simulator.control();
    let mut checked = Checked { schemas: Schemas::new(description), problems: BTreeMap::new() };
    let mut seen = BTreeSet::new();
    for change in changes(&control, &repository) {
        let announced =
            control.change(&repository, change.clone()).unwrap_or_else(|error| panic!("{change:?}: {error}"));
        for one in announced {
            let action = one.action.as_deref().map_or(String::new(), |action| format!("-{action}"));
            let schema = format!("webhook-{}{action}", one.event).replace('_', "-");
            checked.check(&format!("{change:?}"), &schema, &one.payload);
            seen.insert(schema);
        }
    }
    assert!(seen.len() >= 30, "{seen:?}");
    checked.finish();
}

/// One change of every kind that is announced, on an open issue and an open pull request made for it.
fn changes(control: &Control, repository: &RepositoryName) -> Vec<Change> {
    let number = control.highest_number(repository) + 1;
    let text = || "some words".to_owned();
    let mut list = vec![
        Change::OpenIssue { title: text(), body: Some(text()) },
        Change::OpenPull { title: text(), body: None },
        Change::Review { number: number + 1, state: "approved".to_owned(), body: text() },
        Change::ReviewComment { number: number + 1, body: text() },
        Change::Push { number: number + 1, message: text() },
    ];
    for number in [number, number + 1] {
        list.extend([
            Change::Comment { number, body: text() },
            Change::EditTitle { number, title: "other words".to_owned() },
            Change::EditBody { number, body: text() },
            Change::Label { number, label: "bug".to_owned() },
            Change::Unlabel { number, label: "bug".to_owned() },
            Change::Assign { number, login: "mei-rossi".to_owned() },
            Change::Unassign { number, login: "mei-rossi".to_owned() },
            Change::Milestone { number, title: "2.2".to_owned() },
            Change::Demilestone { number },
            Change::Lock { number, reason: Some("resolved".to_owned()) },
            Change::Unlock { number },
            Change::Close { number, reason: None },
            Change::Reopen { number },
        ]);
    }
    list.extend([
        Change::Merge { number: number + 1 },
        Change::Label { number, label: "brand new".to_owned() },
        Change::RenameLabel { from: "brand new".to_owned(), to: "renamed".to_owned() },
        Change::DeleteLabel { label: "renamed".to_owned() },
        Change::CreateMilestone { title: "9.0".to_owned() },
        Change::CloseMilestone { title: "9.0".to_owned() },
        Change::PublishRelease { tag: "v9.0.0".to_owned(), body: text() },
        Change::Star,
        Change::TransferItem { number: 1, to: "lumen/docs".parse().unwrap() },
        Change::DeleteItem { number },
    ]);
    list
}
