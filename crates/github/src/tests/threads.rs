//! Threads by GraphQL: how batches adapt, what becomes of errors, and REST's shape of what came.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use gharvest_model::Kind;
use serde_json::{Value, json};

use super::stub::{Reply, Seen, client_of, config, epoch, name, reply};
use crate::{Client, Config, Error, ErrorKind, Glimpse, Listed, Probed, Purpose, ThreadOutcome, ThreadParts, Wanted};

const REPO: u64 = 272_700_405;

fn repository() -> Value {
    json!({
        "id": "R_1", "databaseId": REPO, "name": "log", "nameWithOwner": "Rust-Lang/log",
        "url": "https://github.com/Rust-Lang/log", "isPrivate": false, "isFork": false,
        "owner": {"__typename": "Organization", "login": "Rust-Lang", "url": "https://github.com/Rust-Lang",
            "avatarUrl": "https://avatars.example/u/5?v=4", "databaseId": 5, "id": "O_kgDNBQ"},
    })
}

fn user(login: &str) -> Value {
    json!({"__typename": "User", "login": login, "url": format!("https://github.com/{login}"), "databaseId": 7,
        "avatarUrl": "https://avatars.example/u/7?u=abc&v=4", "id": "U_kgDOBpEBlQ", "isSiteAdmin": false})
}

/// An issue node with these timeline entries.
fn issue(number: u64, entries: Value) -> Value {
    json!({
        "__typename": "Issue", "id": "I_kwDOEEET9c416Z4m", "fullDatabaseId": "5000000001", "number": number,
        "title": "A title", "body": "", "url": format!("https://github.com/Rust-Lang/log/issues/{number}"),
        "locked": true, "activeLockReason": "TOO_HEATED", "state": "OPEN", "stateReason": null,
        "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-02T00:00:00Z", "closedAt": null,
        "authorAssociation": "MEMBER", "author": null, "assignees": {"nodes": [user("ann")]},
        "labels": {"nodes": [{"id": "MDU6TGFiZWwyMTQ3NjkzODg0", "name": "good first", "color": "ff0000",
            "description": null, "isDefault": false}]},
        "milestone": null, "comments": {"totalCount": 1}, "reactionGroups": [],
        "timelineItems": {"pageInfo": {"hasNextPage": false, "endCursor": null}, "nodes": entries},
    })
}

fn pull(number: u64, entries: Value) -> Value {
    json!({
        "__typename": "PullRequest", "id": "PR_1", "fullDatabaseId": "77", "merged": true,
        "mergedAt": "2026-01-03T00:00:00Z", "mergedBy": user("ann"), "headRefName": "topic", "headRefOid": "aa",
        "headRepository": null, "headRepositoryOwner": null, "baseRefName": "main", "baseRefOid": "bb",
        "mergeCommit": {"oid": "cc"}, "potentialMergeCommit": null, "additions": 1, "deletions": 2,
        "changedFiles": 3, "commits": {"totalCount": 4}, "maintainerCanModify": false,
        "reviewThreads": {"totalCount": 0}, "autoMergeRequest": null, "number": number,
        "prItems": {"pageInfo": {"hasNextPage": false, "endCursor": null}, "nodes": entries},
    })
}

/// The aliases of a query: the numbers asked for.
fn asked(query: &str) -> Vec<u64> {
    let numbers = query.split("(number:").skip(1).filter_map(|rest| rest.split_once(')')?.0.parse().ok());
    numbers.collect()
}

fn query_of(seen: &Seen) -> String {
    let body: Value = serde_json::from_slice(&seen.body).unwrap();
    body["query"].as_str().unwrap().to_owned()
}

/// An answer with one node for each number asked for.
fn nodes(seen: &Seen, node: impl Fn(u64) -> Value) -> Reply {
    let mut found = repository();
    for number in asked(&query_of(seen)) {
        found[format!("i{number}")] = node(number);
    }
    data(&json!({"rateLimit": {"cost": 1}, "repository": found}))
}

fn data(data: &Value) -> Reply {
    let reset = epoch(1800);
    let headers = [
        ("x-ratelimit-limit", "5000"),
        ("x-ratelimit-remaining", "4000"),
        ("x-ratelimit-reset", reset.as_str()),
        ("x-ratelimit-resource", "graphql"),
    ];
    reply(200, &headers, &json!({"data": data}).to_string())
}

fn errors(data: &Value, errors: &Value) -> Reply {
    reply(200, &[], &json!({"data": data, "errors": errors}).to_string())
}

fn is_introspection(seen: &Seen) -> bool {
    query_of(seen).contains("__type(")
}

fn schema() -> Reply {
    data(&json!({"timeline": {"possibleTypes": [{"name": "IssueTypeAddedEvent"}]}, "issue": {"fields": []}}))
}

fn wanted(numbers: impl IntoIterator<Item = u64>) -> Vec<Wanted> {
    numbers.into_iter().map(Wanted::from).collect()
}

async fn fetch(client: &Client, wanted: &[Wanted]) -> BTreeMap<u64, ThreadOutcome> {
    let (answers, failure) = fetch_until_failure(client, wanted).await;
    assert!(failure.is_none(), "{failure:?}");
    answers
}

/// The answers before the failure, if there is one.
async fn fetch_until_failure(client: &Client, wanted: &[Wanted]) -> (BTreeMap<u64, ThreadOutcome>, Option<Error>) {
    let (name, mut answers) = (name(), BTreeMap::new());
    let mut threads = client.threads(&name, wanted.to_vec(), Purpose::Backfill);
    loop {
        match threads.next().await {
            Ok(Some(answer)) => {
                assert_eq!(answers.insert(answer.number, answer.outcome), None, "each number is answered once");
            }
            Ok(None) => return (answers, None),
            Err(error) => {
                assert_eq!(threads.next().await.unwrap(), None, "nothing comes behind a failure");
                return (answers, Some(error));
            }
        }
    }
}

fn found(outcome: &ThreadOutcome) -> &ThreadParts {
    match outcome {
        ThreadOutcome::Found(parts) => parts,
        other => panic!("{other:?}"),
    }
}

async fn timeline_of(entries: Value) -> Vec<Value> {
    let (client, _) = client_of(&config(&["token"]), move |seen| {
        if is_introspection(seen) { schema() } else { nodes(seen, |number| issue(number, entries.clone())) }
    });
    found(&fetch(&client, &wanted([7])).await[&7]).timeline.clone().unwrap()
}

#[tokio::test(start_paused = true)]
async fn many_threads_come_in_few_requests_that_grow() {
    let (client, log) = client_of(&config(&["token"]), |seen| {
        if is_introspection(seen) { schema() } else { nodes(seen, |number| issue(number, json!([]))) }
    });
    let answers = fetch(&client, &wanted((1..=100).chain(1..=5))).await;
    assert_eq!(answers.len(), 100);
    let sizes: Vec<usize> = log.all()[1..].iter().map(|seen| asked(&query_of(seen)).len()).collect();
    assert_eq!(sizes, [25, 50, 25]);
    assert_eq!(client.points(), 4);
    assert_eq!(client.spent_on(&name())[&Purpose::Backfill].cost(), 6, "the schema belongs to no repository");
    assert_eq!(log.all()[0].uri, "https://api.github.com/graphql");
    assert!(client.budgets().iter().any(|budget| budget.resource == "graphql" && budget.remaining == 4000));
}

/// A comment with a reaction, so that a detail of it is asked for, and this body.
fn comment(body: &str) -> Value {
    json!({"__typename": "IssueComment", "id": "IC_kwDOEEET9c416Z4m", "author": user("ann"), "body": body,
        "reactionGroups": [{"content": "HEART", "createdAt": "t"}]})
}

/// An answer with a detail for each id asked for.
fn details(seen: &Seen) -> Reply {
    data(&listed(seen, |_| json!({"reactionGroups": [{"content": "HEART", "reactors": {"totalCount": 3}}]})))
}

#[tokio::test(start_paused = true)]
async fn threads_wait_for_their_details_as_compressed_text() {
    let (client, log) = client_of(&config(&["token"]), |seen| match seen {
        _ if is_introspection(seen) => schema(),
        _ if query_of(seen).contains("nodes(ids:") => details(seen),
        _ => nodes(seen, |number| issue(number, json!(vec![comment("Some usual words."); 50]))),
    });
    let text = issue(7, json!(vec![comment("Some usual words."); 50])).to_string().len();
    let name = name();
    let mut threads = client.threads(&name, wanted(1..=400), Purpose::Backfill);
    let mut given = 0;
    while let Some(answer) = threads.next().await.unwrap() {
        given += 1;
        assert_eq!(found(&answer.outcome).timeline.as_ref().unwrap()[49]["reactions"]["heart"], 3);
        assert!(threads.size() < (400 - given) * text / 10 + 1, "{} bytes wait, {given} are given", threads.size());
        assert_eq!(log.count(), 1 + 5 + 17, "everything is asked for before the first leaves: details once for all");
    }
    assert_eq!(given, 400);
}

#[tokio::test(start_paused = true)]
async fn very_long_threads_are_fetched_in_portions_and_large_answers_make_smaller_batches() {
    let mut rng = fastrand::Rng::with_seed(1);
    let body: String = std::iter::repeat_with(|| rng.alphanumeric()).take(150_000).collect();
    let (client, log) = client_of(&config(&["token"]), move |seen| match seen {
        _ if is_introspection(seen) => schema(),
        _ if query_of(seen).contains("nodes(ids:") => details(seen),
        _ => nodes(seen, |number| issue(number, json!([comment(&body)]))),
    });
    let name = name();
    let mut threads = client.threads(&name, wanted(1..=100), Purpose::Backfill);
    let (mut given, mut most) = (0, 0);
    while let Some(answer) = threads.next().await.unwrap() {
        given += 1;
        most = most.max(threads.size());
        assert_eq!(found(&answer.outcome).timeline.as_ref().unwrap()[0]["reactions"]["heart"], 3);
    }
    assert_eq!(given, 100);
    assert!(most < 6_000_000, "{most} bytes waited at once: one answer; all together are 11 MB");
    let sizes: Vec<usize> = log.all()[1..].iter().map(|seen| asked(&query_of(seen)).len()).collect();
    assert_eq!(sizes, [25, 0, 50, 0, 25, 0], "threads and their details by turns");
}

#[tokio::test(start_paused = true)]
async fn batches_halve_until_github_bears_them() {
    let limits = r#"{"data":{"repository":null},"errors":[{"type":"RESOURCE_LIMITS_EXCEEDED","path":["repository"],
        "message":"Resource limits for this query exceeded."}]}"#;
    let something = r#"{"data":null,"errors":[{"message":"Something went wrong while executing your query."}]}"#;
    for (status, body) in [
        (502, "<html>Bad Gateway</html>".to_owned()),
        (504, String::new()),
        (200, something.to_owned()),
        (502, something.to_owned()),
        (500, String::new()),
        (200, limits.to_owned()),
    ] {
        let (client, log) = client_of(&config(&["token"]), move |seen| match asked(&query_of(seen)).len() {
            _ if is_introspection(seen) => schema(),
            6.. => reply(status, &[], &body),
            _ => nodes(seen, |number| issue(number, json!([]))),
        });
        let answers = fetch(&client, &wanted(1..=40)).await;
        assert_eq!(answers.values().filter(|outcome| matches!(outcome, ThreadOutcome::Found(_))).count(), 40);
        assert!(log.count() < 24, "{status}: {} requests", log.count());
    }
}

#[tokio::test(start_paused = true)]
async fn slow_answers_make_batches_smaller() {
    let (client, _) = super::stub::client_taking(
        &config(&["token"]),
        None,
        crate::Clock::following_tokio(super::stub::start()),
        Duration::from_secs(8),
        |seen| if is_introspection(seen) { schema() } else { nodes(seen, |number| issue(number, json!([]))) },
    );
    fetch(&client, &wanted(1..=20)).await;
    assert_eq!(client.batch_size(&name()), 10);
}

#[tokio::test(start_paused = true)]
async fn slowness_alone_leaves_batches_that_are_worth_a_request() {
    let (client, log) = super::stub::client_taking(
        &config(&["token"]),
        None,
        crate::Clock::following_tokio(super::stub::start()),
        Duration::from_secs(20),
        |seen| if is_introspection(seen) { schema() } else { nodes(seen, |number| issue(number, json!([]))) },
    );
    let answers = fetch(&client, &wanted(1..=200)).await;
    assert!(answers.values().all(|outcome| matches!(outcome, ThreadOutcome::Found(_))), "nothing goes by REST");
    let sizes: Vec<usize> = log.all()[1..].iter().map(|seen| asked(&query_of(seen)).len()).collect();
    assert_eq!((sizes[0], &sizes[1..3]), (25, &[12, 10][..]));
    assert!(sizes[2..sizes.len() - 1].iter().all(|size| *size == 10), "{sizes:?}");
    assert_eq!(client.speeds().thread.map(f64::round), Some(2.0));
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_turn_is_no_slowness_of_github() {
    let (client, _) = super::stub::client_taking(
        &config(&["token"]),
        None,
        crate::Clock::following_tokio(super::stub::start()),
        Duration::from_secs(3),
        |seen| if is_introspection(seen) { schema() } else { nodes(seen, |number| issue(number, json!([]))) },
    );
    fetch(&client, &wanted([1])).await;
    // Two at once: the last of these waits for three others, nine seconds.
    let many: Vec<Vec<Wanted>> = (0..8).map(|part| wanted(part * 25 + 1..=part * 25 + 25)).collect();
    futures::future::join_all(many.iter().map(|some| fetch(&client, some))).await;
    assert!(client.batch_size(&name()) > 25, "{}", client.batch_size(&name()));
}

#[tokio::test(start_paused = true)]
async fn what_fails_alone_goes_by_rest_and_the_others_are_kept() {
    let (client, _) = client_of(&config(&["token"]), |seen| {
        if is_introspection(seen) {
            return schema();
        }
        let mut found = repository();
        let mut wrong = Vec::new();
        for number in asked(&query_of(seen)) {
            let alias = format!("i{number}");
            match number {
                3 => wrong
                    .push(json!({"type": "NOT_FOUND", "path": ["repository", alias], "message": "Could not resolve"})),
                4 => wrong.push(json!({"type": "FORBIDDEN", "path": ["repository", alias], "message": "SAML"})),
                5 => {
                    let path = json!(["repository", alias, "timelineItems", "nodes", 3]);
                    wrong.push(json!({"type": "RESOURCE_LIMITS_EXCEEDED", "path": path, "message": "Resource limits"}));
                    found[alias] = issue(number, json!([null]));
                }
                _ => found[alias] = issue(number, json!([])),
            }
        }
        errors(&json!({"repository": found}), &json!(wrong))
    });
    let answers = fetch(&client, &wanted(1..=6)).await;
    assert_eq!(answers.len(), 6);
    for number in [1, 2, 6] {
        found(&answers[&number]);
    }
    assert_eq!(answers[&3], ThreadOutcome::NotFound);
    assert!(matches!(&answers[&4], ThreadOutcome::ByRest(reason) if reason == "SAML"));
    assert!(matches!(&answers[&5], ThreadOutcome::ByRest(_)));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_left_out_is_asked_for_apart_and_the_others_stay_many_at_a_time() {
    for bad in [
        json!({"__typename": "Issue", "number": 30, "timelineItems": null}),
        json!({"__typename": "Issue", "number": 30, "timelineItems": {"totalCount": 3, "nodes": null}}),
        Value::Null,
    ] {
        let (client, log) = client_of(&config(&["token"]), move |seen| {
            if is_introspection(seen) {
                return schema();
            }
            let mut found = repository();
            for number in asked(&query_of(seen)) {
                found[format!("i{number}")] = if number == 30 { bad.clone() } else { issue(number, json!([])) };
            }
            // An error that does not say where.
            errors(&json!({"rateLimit": {"cost": 1}, "repository": found}), &json!([{"message": "Something else"}]))
        });
        let answers = fetch(&client, &wanted(1..=300)).await;
        assert!(matches!(&answers[&30], ThreadOutcome::ByRest(_)), "{:?}", answers[&30]);
        assert_eq!(answers.values().filter(|outcome| matches!(outcome, ThreadOutcome::Found(_))).count(), 299);
        let sizes: Vec<usize> = log.all()[1..].iter().map(|seen| asked(&query_of(seen)).len()).collect();
        assert_eq!(sizes, [25, 50, 100, 125, 1], "the size grows although one is left out");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_with_nothing_in_it_waits_before_the_next_and_many_are_an_outage() {
    let (client, log) =
        client_of(
            &config(&["token"]),
            |seen| {
                if is_introspection(seen) { schema() } else { nodes(seen, |_| Value::Null) }
            },
        );
    let (answers, failure) = fetch_until_failure(&client, &wanted(1..=200)).await;
    assert!(answers.values().all(|outcome| matches!(outcome, ThreadOutcome::ByRest(_))), "what came to nothing alone");
    assert_eq!(failure.map(|error| error.kind().clone()), Some(ErrorKind::Unavailable));
    let sizes: Vec<usize> = log.all()[1..].iter().map(|seen| asked(&query_of(seen)).len()).collect();
    assert_eq!(sizes, [25, 12, 6, 3, 1, 1, 1]);
    assert!(log.all()[1..6].windows(2).all(|pair| pair[0].at < pair[1].at), "it waits before it asks for fewer");
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_changed_since_the_list_was_read_says_so() {
    let (client, _) = client_of(&config(&["token"]), |seen| {
        if is_introspection(seen) { schema() } else { nodes(seen, |number| issue(number, json!([]))) }
    });
    let of = |number: u64, at: &str| Wanted {
        number,
        listed: Some(Listed::new(&json!({"number": number, "updated_at": at}), None)),
    };
    let answers = fetch(&client, &[of(1, "2026-01-01T00:00:00Z"), of(2, "2026-01-02T00:00:00Z")]).await;
    assert_eq!(answers[&1], ThreadOutcome::Changed);
    assert!(matches!(answers[&2], ThreadOutcome::Found(_)));
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_an_error_and_not_a_thousand_requests() {
    let (client, log) =
        client_of(&config(&["token"]), |seen| if is_introspection(seen) { schema() } else { reply(503, &[], "") });
    let (answers, error) = fetch_until_failure(&client, &wanted(1..=1000)).await;
    assert!(answers.values().all(|outcome| matches!(outcome, ThreadOutcome::ByRest(_))), "what failed alone");
    assert_eq!(*error.unwrap().kind(), ErrorKind::Unavailable);
    assert!(log.count() < 30, "{}", log.count());
}

/// An answer about nodes: by the ids asked for, list by list.
fn listed(seen: &Seen, node: impl Fn(&str) -> Value) -> Value {
    let body: Value = serde_json::from_slice(&seen.body).unwrap();
    let nodes = |ids: &Vec<Value>| ids.iter().map(|id| node(id.as_str().unwrap())).collect::<Value>();
    let lists = body["variables"].as_object().unwrap().iter().filter_map(|(list, ids)| Some((list, ids.as_array()?)));
    lists.map(|(list, ids)| (list.clone(), nodes(ids))).collect()
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("IC_{number}")).collect()
}

#[tokio::test(start_paused = true)]
async fn an_outage_while_texts_are_asked_about_is_an_error_and_not_a_thousand_requests() {
    const SEVERAL: u64 = 6;
    let nothing = |seen: &Seen| errors(&listed(seen, |_| Value::Null), &json!([{"message": "Something went wrong"}]));
    let no_lists = |seen: &Seen| {
        let mut lists = listed(seen, |_| Value::Null);
        lists.as_object_mut().unwrap().values_mut().for_each(|list| *list = Value::Null);
        lists["rateLimit"] = json!({"cost": 1});
        data(&lists)
    };
    let outages: [fn(&Seen) -> Reply; 4] = [
        |_| reply(502, &[], ""),
        |_| reply(200, &[], r#"{"data": null, "errors": [{"message": "Something went wrong"}]}"#),
        nothing,
        no_lists,
    ];
    for (what, outage) in outages.into_iter().enumerate() {
        let (client, log) = client_of(&config(&["token"]), outage);
        let begun = tokio::time::Instant::now();
        let edited = client.edited(&name(), &texts(2400), Purpose::Backfill).await;
        assert_eq!(*edited.unwrap_err().kind(), ErrorKind::Unavailable, "{what}");
        assert_eq!(log.count() as u64, SEVERAL + 1, "{what}");
        assert!(begun.elapsed() > config(&["token"]).backoff * 8, "{what}: it waits longer and longer");
        let edits = client.edits(&name(), &texts(60), Purpose::Backfill).await;
        assert_eq!(*edits.unwrap_err().kind(), ErrorKind::Unavailable, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_text_that_fails_alone_is_told_from_one_that_is_not_there() {
    const BAD: &str = "IC_777";
    const GONE: &str = "IC_5";
    let time = "2026-01-01T00:00:00Z";
    let (client, log) = client_of(&config(&["token"]), move |seen| {
        let told = listed(seen, |id| if id == GONE { Value::Null } else { json!({"id": id, "lastEditedAt": time}) });
        let has_bad = String::from_utf8_lossy(&seen.body).contains(&format!("\"{BAD}\""));
        if has_bad { reply(504, &[], "") } else { data(&told) }
    });
    let edited = client.edited(&name(), &texts(1200), Purpose::Backfill).await.unwrap();
    assert_eq!(edited.failed.into_iter().collect::<Vec<_>>(), [BAD]);
    assert_eq!(edited.texts.len(), 1200 - 2);
    assert!(!edited.texts.contains_key(GONE));
    assert!(log.count() < 40, "{}", log.count());
}

#[tokio::test(start_paused = true)]
async fn what_a_partial_answer_lacks_is_asked_for_again() {
    let limits =
        json!([{"type": "RESOURCE_LIMITS_EXCEEDED", "message": "Resource limits", "path": ["l0", 3, "lastEditedAt"]}]);
    let (client, log) = client_of(&config(&["token"]), move |seen| {
        let mut told = listed(seen, |id| json!({"id": id, "lastEditedAt": "2026-01-01T00:00:00Z"}));
        if told.get("l2").is_none() {
            return data(&told);
        }
        told["l0"][3]["lastEditedAt"] = Value::Null;
        told["l2"] = Value::Null;
        errors(&told, &limits)
    });
    let edited = client.edited(&name(), &texts(300), Purpose::Backfill).await.unwrap();
    assert_eq!((edited.texts.len(), edited.failed.len(), log.count()), (300, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_text_that_may_not_be_seen_is_not_taken_for_one_that_was_never_edited() {
    let refusal = json!([{"type": "FORBIDDEN", "message": "Resource not accessible", "path": ["l0", 3]}]);
    let (client, log) = client_of(&config(&["token"]), move |seen| {
        let mut told = listed(seen, |id| json!({"id": id, "lastEditedAt": "2026-01-01T00:00:00Z"}));
        told["l0"][3] = Value::Null;
        errors(&told, &refusal)
    });
    let edited = client.edited(&name(), &texts(10), Purpose::Backfill).await.unwrap();
    assert_eq!(edited.failed.into_iter().collect::<Vec<_>>(), ["IC_3"]);
    assert_eq!((edited.texts.len(), log.count()), (9, 1));
}

#[tokio::test(start_paused = true)]
async fn texts_that_no_token_is_shown_the_repository_of_are_an_error() {
    let hidden = json!([{"type": "NOT_FOUND", "message": "Could not resolve to a Repository", "path": ["repository"]}]);
    let (client, log) = client_of(&config(&["ghp_blind", "ghp_as_blind"]), move |seen| {
        let mut told = listed(seen, |_| Value::Null);
        told["repository"] = Value::Null;
        errors(&told, &hidden)
    });
    let error = client.edited(&name(), &texts(10), Purpose::Backfill).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("no token is shown rust-lang/log"), "{error}");
    assert_eq!(log.count(), 2, "each was asked");
}

#[tokio::test(start_paused = true)]
async fn histories_that_are_too_large_together_come_in_smaller_requests() {
    let with_limit = Config { max_body_bytes: 4_000, ..config(&["token"]) };
    let (client, _) = client_of(&with_limit, |seen| {
        let edit = json!({"editedAt": "2026-01-01T00:00:00Z", "diff": "x".repeat(100)});
        data(&listed(seen, |id| json!({"id": id, "userContentEdits": {"nodes": [edit]}})))
    });
    let edits = client.edits(&name(), &texts(60), Purpose::Backfill).await.unwrap();
    assert_eq!((edits.texts.len(), edits.failed.len()), (60, 0));
    assert!(edits.texts.values().all(|versions| versions.len() == 1));
    let (client, _) = client_of(&config(&["token"]), |_| reply(200, &[], "<html>a proxy's page</html>"));
    let edits = client.edits(&name(), &texts(60), Purpose::Backfill).await;
    assert_eq!(*edits.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn limits_of_graphql_come_with_200_and_are_obeyed() {
    let limited = json!([{"type": "RATE_LIMITED", "message": "API rate limit exceeded"}]);
    let secondary = json!([{"message": "You have exceeded a secondary rate limit."}]);
    for (told, headers, until) in [
        (
            &limited,
            vec![
                ("x-ratelimit-limit", "5000".to_owned()),
                ("x-ratelimit-remaining", "0".to_owned()),
                ("x-ratelimit-reset", epoch(900)),
            ],
            901,
        ),
        (&limited, vec![], 60),
        (&secondary, vec![("retry-after", "90".to_owned())], 90),
        (&secondary, vec![], 60),
    ] {
        let (told, calls) = (told.clone(), Mutex::new(0));
        let (client, log) = client_of(&config(&["token"]), move |seen| {
            let mut calls = calls.lock().unwrap();
            *calls += 1;
            match *calls {
                1 => schema(),
                2 => nodes(seen, |number| issue(number, json!([]))),
                _ => {
                    let headers: Vec<(&str, &str)> =
                        headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                    reply(200, &headers, &json!({"errors": told}).to_string())
                }
            }
        });
        let (answers, error) = fetch_until_failure(&client, &wanted(1..=50)).await;
        assert_eq!(answers.len(), 25, "what was got before the limit is kept");
        assert!(error.is_some(), "and that more is missing is told");
        let (answers, error) = fetch_until_failure(&client, &wanted(1..=50)).await;
        assert!(answers.is_empty());
        let waits = error.unwrap().retry_at().unwrap().duration_since(super::stub::start()).as_secs();
        assert!((until..until + 2).contains(&waits), "{waits} {until}");
        assert_eq!(log.count(), 3, "nothing is sent while told to wait");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_repository_is_left_to_rest() {
    let (client, _) = client_of(&config(&["token"]), |seen| {
        if is_introspection(seen) {
            return schema();
        }
        errors(&json!({"repository": null}), &json!([{"type": "NOT_FOUND", "path": ["repository"], "message": "no"}]))
    });
    let answers = fetch(&client, &wanted(1..=3)).await;
    assert!(answers.values().all(|outcome| matches!(outcome, ThreadOutcome::ByRest(_))));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hides_its_schema_gets_what_all_servers_know() {
    let (client, log) = client_of(&config(&["token"]), |seen| {
        if is_introspection(seen) {
            return reply(200, &[], r#"{"errors":[{"message":"introspection is off"}]}"#);
        }
        nodes(seen, |number| issue(number, json!([])))
    });
    found(&fetch(&client, &wanted([1])).await[&1]);
    assert!(!query_of(&log.all()[1]).contains("IssueTypeAddedEvent"));
}

#[tokio::test(start_paused = true)]
async fn half_of_a_schema_is_not_taken_for_all_of_it() {
    let wrong = json!([{"path": ["timeline"], "message": "Something went wrong while executing your query."}]);
    let calls = Mutex::new(0);
    let (client, log) = client_of(&config(&["token"]), move |seen| {
        if !is_introspection(seen) {
            return nodes(seen, |number| issue(number, json!([])));
        }
        let mut calls = calls.lock().unwrap();
        *calls += 1;
        match *calls {
            1 => errors(&json!({"timeline": null, "issue": {"fields": [{"name": "issueType"}]}}), &wrong),
            _ => data(&json!({"timeline": {"possibleTypes": [{"name": "IssueTypeAddedEvent"}]}})),
        }
    });
    let (answers, error) = fetch_until_failure(&client, &wanted([1])).await;
    assert_eq!((answers.len(), error.unwrap().kind().clone()), (0, ErrorKind::Unavailable));
    found(&fetch(&client, &wanted([1])).await[&1]);
    assert!(query_of(&log.all()[2]).contains("IssueTypeAddedEvent"));
}

#[tokio::test(start_paused = true)]
async fn long_timelines_are_read_to_their_end() {
    let entry =
        |index: u64| json!({"__typename": "PinnedEvent", "id": "x", "createdAt": format!("t{index}"), "actor": null});
    let (client, log) = client_of(&config(&["token"]), move |seen| {
        if is_introspection(seen) {
            return schema();
        }
        let query = query_of(seen);
        let after = query.split_once("after:\"").and_then(|(_, rest)| rest.split_once('"'));
        let page = after.map_or(0, |(cursor, _)| cursor.parse::<u64>().unwrap());
        nodes(seen, |number| {
            let mut node = issue(number, json!([entry(page)]));
            node["timelineItems"]["pageInfo"] = json!({"hasNextPage": page < 3, "endCursor": (page + 1).to_string()});
            node
        })
    });
    let answers = fetch(&client, &wanted(7..=9)).await;
    for number in 7..=9 {
        let timeline = found(&answers[&number]).timeline.iter().flatten();
        let times: Vec<_> = timeline.map(|entry| entry["created_at"].clone()).collect();
        assert_eq!(times, ["t0", "t1", "t2", "t3"]);
    }
    assert_eq!(log.count(), 5, "the pages of several timelines come together");
    // One alone costs REST a call a page, and GraphQL a call and a point.
    let alone = fetch(&client, &wanted([7])).await;
    assert!(matches!(&alone[&7], ThreadOutcome::ByRest(_)));
}

#[tokio::test(start_paused = true)]
async fn a_long_timeline_that_changes_while_it_is_read_goes_by_rest() {
    let entry = json!({"__typename": "PinnedEvent", "id": "x", "createdAt": "t", "actor": null});
    let (client, _) = client_of(&config(&["token"]), move |seen| {
        if is_introspection(seen) {
            return schema();
        }
        let second = query_of(seen).contains("after:");
        nodes(seen, |number| {
            let mut node = issue(number, json!([entry]));
            node["timelineItems"]["pageInfo"] = json!({"hasNextPage": !second, "endCursor": "1"});
            // One entry of the eighth went meanwhile, so that another moved to a page that was read already.
            node["timelineItems"]["totalCount"] = json!(if second && number == 8 { 1 } else { 2 });
            // Of the ninth one went and another came.
            if second && number == 9 {
                node["updatedAt"] = json!("2026-01-02T00:00:01Z");
            }
            node
        })
    });
    let answers = fetch(&client, &wanted(7..=9)).await;
    assert_eq!(found(&answers[&7]).timeline.as_ref().unwrap().len(), 2);
    for number in [8, 9] {
        let outcome = &answers[&number];
        assert!(matches!(outcome, ThreadOutcome::ByRest(reason) if reason.contains("changes")), "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn entries_that_graphql_tells_too_little_of_send_the_thread_by_rest() {
    let old_thread = "MDIzOlB1bGxSZXF1ZXN0UmV2aWV3VGhyZWFkMTcyNDY4MTY6djI=";
    for (kind, id, by_rest) in [
        ("FromTheFutureEvent", "x", true),
        ("PullRequestCommitCommentThread", "x", true),
        ("AddedToProjectEvent", "x", true),
        ("PullRequestReviewThread", old_thread, true),
        ("PullRequestReviewThread", "PRRT_kwDOEEET9c416Z4m", false),
        ("PullRequestRevisionMarker", "x", false),
    ] {
        let (client, _) = client_of(&config(&["token"]), move |seen| {
            if is_introspection(seen) {
                return schema();
            }
            nodes(seen, |number| issue(number, json!([{"__typename": kind, "id": id}])))
        });
        match &fetch(&client, &wanted([7])).await[&7] {
            ThreadOutcome::ByRest(_) => assert!(by_rest, "{kind}"),
            ThreadOutcome::Found(parts) => {
                assert!(!by_rest && parts.timeline.as_ref().is_some_and(Vec::is_empty), "{kind}")
            }
            ThreadOutcome::NotFound | ThreadOutcome::Changed => panic!("{kind}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn parents_and_reactions_are_asked_for_by_id_where_there_are_some() {
    let entries = json!([
        {"__typename": "IssueComment", "id": "IC_kwDOEEET9c416Z4m", "reactionGroups": [{"content": "HEART", "createdAt": "t"}]},
        {"__typename": "IssueComment", "id": "none", "reactionGroups": [{"content": "HEART", "createdAt": null}]},
        {"__typename": "PullRequestCommit", "prCommit": {"id": "C_1", "oid": "ab", "author": {"name": "n", "email": "e",
            "date": "2026-01-01T02:00:00+02:00"}, "tree": {"oid": "tt"}, "signature": null}},
    ]);
    let (client, log) = client_of(&config(&["token"]), move |seen| {
        if is_introspection(seen) {
            return schema();
        }
        if query_of(seen).contains("nodes(ids:") {
            return data(&json!({"l0": [
                {"__typename": "IssueComment", "id": "new form", "reactionGroups": [{"content": "HEART", "reactors": {"totalCount": 3}}]},
                {"__typename": "Commit", "id": "C_1", "parents": {"nodes": [{"oid": "cd"}]}},
            ]}));
        }
        nodes(seen, |number| issue(number, entries.clone()))
    });
    let answers = fetch(&client, &wanted([7])).await;
    let timeline = found(&answers[&7]).timeline.as_ref().unwrap();
    assert_eq!(timeline[0]["reactions"]["heart"], 3);
    assert_eq!(timeline[0]["reactions"]["total_count"], 3);
    assert_eq!(timeline[1]["reactions"]["total_count"], 0);
    assert_eq!(timeline[2]["parents"][0]["url"], "https://api.github.com/repos/Rust-Lang/log/git/commits/cd");
    assert_eq!(timeline[2]["author"]["date"], "2026-01-01T00:00:00Z");
    assert_eq!(timeline[2]["verification"]["reason"], "unsigned");
    let body: Value = serde_json::from_slice(&log.all()[2].body).unwrap();
    assert_eq!(body["variables"]["l0"], json!(["IC_kwDOEEET9c416Z4m", "C_1"]));
}

#[tokio::test(start_paused = true)]
async fn an_issue_has_rests_fields_in_rests_order() {
    let (client, _) = client_of(&config(&["token"]), |seen| {
        if is_introspection(seen) { schema() } else { nodes(seen, |number| issue(number, json!([]))) }
    });
    let answers = fetch(&client, &wanted([7])).await;
    let parts = found(&answers[&7]);
    assert!(parts.issue_is_graphql && parts.pull.is_none());
    let keys: Vec<&str> = parts.issue.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "url",
            "repository_url",
            "labels_url",
            "comments_url",
            "events_url",
            "html_url",
            "id",
            "node_id",
            "number",
            "title",
            "user",
            "labels",
            "state",
            "locked",
            "assignee",
            "assignees",
            "milestone",
            "comments",
            "created_at",
            "updated_at",
            "closed_at",
            "author_association",
            "type",
            "active_lock_reason",
            "body",
            "closed_by",
            "reactions",
            "timeline_url",
            "performed_via_github_app",
            "state_reason"
        ]
    );
    let issue = &parts.issue;
    assert_eq!(issue["id"], 5_000_000_001_u64);
    assert_eq!(issue["user"]["login"], "ghost", "a deleted author has a stand-in");
    assert_eq!(issue["user"]["html_url"], "https://github.com/ghost");
    assert_eq!(issue["active_lock_reason"], "too heated");
    assert_eq!(issue["labels"][0]["id"], 2_147_693_884_u64);
    assert_eq!(issue["labels"][0]["url"], "https://api.github.com/repos/Rust-Lang/log/labels/good%20first");
    assert_eq!(issue["assignee"]["avatar_url"], "https://avatars.example/u/7?v=4");
}

#[tokio::test(start_paused = true)]
async fn a_known_issue_object_makes_the_request_cheap_and_stays_as_it_is() {
    let asked_for = json!([{"__typename": "ReviewRequestedEvent", "id": "x", "createdAt": "t", "actor": user("ann"),
        "requestedReviewer": user("bob")}]);
    let requests = json!({"__typename": "PullRequest", "id": "PR_1", "reviewRequests": {"nodes": [
        {"requestedReviewer": user("bob")},
        {"requestedReviewer": {"__typename": "Team", "databaseId": 9, "id": "T_1", "name": "Core", "slug": "core"}}]}});
    let (client, log) = client_of(&config(&["token"]), move |seen| match seen {
        _ if is_introspection(seen) => schema(),
        _ if query_of(seen).contains("nodes(ids:") => data(&json!({"l0": [requests.clone()]})),
        _ => nodes(seen, |number| if number == 7 { pull(7, asked_for.clone()) } else { issue(number, json!([])) }),
    });
    let known = json!({"number": 7, "title": "exact", "state": "closed", "user": {"login": "author"},
        "html_url": "https://github.com/Rust-Lang/log/pull/7", "pull_request": {"merged_at": null}, "labels": ["as REST"]});
    let other = json!({"number": 8, "title": "an issue"});
    let hinted = |number, issue: &Value| Wanted { number, listed: Some(Listed::new(issue, None)) };
    let asked = [hinted(7, &known), hinted(8, &other)];
    let answers = fetch(&client, &asked).await;
    let query = query_of(&log.all()[1]);
    assert!(query.contains("i7:pullRequest(number:7)") && query.contains("i8:issue(number:8)"), "{query}");
    assert!(!query.contains("labels(first"), "what is known is not asked for");
    let parts = found(&answers[&7]);
    assert_eq!((&parts.issue, parts.issue_is_graphql), (&known, false));
    assert_eq!(found(&answers[&8]).issue, other);
    let pull = parts.pull.as_ref().unwrap();
    assert_eq!(pull["title"], "exact");
    assert_eq!(pull["labels"], json!(["as REST"]));
    assert_eq!((&pull["id"], &pull["merged"], &pull["merge_commit_sha"]), (&json!(77), &json!(true), &json!("cc")));
    assert_eq!(
        pull["head"],
        json!({"label": "author:topic", "ref": "topic", "sha": "aa", "user": {"login": "author"}, "repo": null})
    );
    assert_eq!(pull["base"]["label"], "Rust-Lang:main");
    assert_eq!(pull["base"]["repo"]["full_name"], "Rust-Lang/log");
    assert_eq!(pull["requested_reviewers"][0]["login"], "bob");
    assert_eq!(pull["requested_teams"][0]["slug"], "core");
    assert_eq!(parts.review_comments, Some(Vec::new()), "no threads, so no comments");
}

#[tokio::test(start_paused = true)]
async fn events_have_rests_fields() {
    let id = "LE_lADOEEET9c46Qr9QzwAAAAE5FpT7";
    let event = |kind: &str, more: Value| {
        let mut event =
            json!({"__typename": kind, "id": id, "createdAt": "2026-01-01T00:00:00Z", "actor": user("ann")});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let commit = json!({"__typename": "Commit", "id": "C", "oid": "ab", "repository": {"nameWithOwner": "fork/log"}});
    let timeline = timeline_of(json!([
        event("LabeledEvent", json!({"label": {"name": "bug", "color": "f00"}})),
        event("ClosedEvent", json!({"stateReason": "NOT_PLANNED", "closer": commit})),
        event("ClosedEvent", json!({"stateReason": null, "closer": {"__typename": "PullRequest"}})),
        event("ReferencedEvent", json!({"commit": commit, "commitRepository": {"nameWithOwner": "other/log"}})),
        event("ReferencedEvent", json!({"commit": null, "commitRepository": {"nameWithOwner": "other/log"}})),
        event("RenamedTitleEvent", json!({"previousTitle": "a", "currentTitle": "b"})),
        event("LockedEvent", json!({"lockReason": "OFF_TOPIC"})),
        event(
            "ReviewRequestedEvent",
            json!({"requestedReviewer": {"__typename": "Bot", "login": "dependabot", "id": "BOT_kgDOCnlnWA"}})
        ),
        event(
            "ReviewDismissedEvent",
            json!({"previousReviewState": "APPROVED", "review": {"fullDatabaseId": "5"}, "dismissalMessage": "no"})
        ),
        event(
            "SubIssueAddedEvent",
            json!({"subIssue": {"number": 3, "title": "t", "state": "OPEN", "repository": {"nameWithOwner": "a/b"}}})
        ),
        event("MentionedEvent", json!({"actor": null})),
    ]))
    .await;
    let keys: Vec<&str> = timeline[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "id",
            "node_id",
            "url",
            "actor",
            "event",
            "commit_id",
            "commit_url",
            "created_at",
            "label",
            "performed_via_github_app"
        ]
    );
    assert_eq!(timeline[0]["id"], 5_252_748_539_u64);
    assert_eq!(timeline[0]["url"], "https://api.github.com/repos/Rust-Lang/log/issues/events/5252748539");
    assert_eq!(timeline[0]["label"], json!({"name": "bug", "color": "f00"}));
    assert_eq!(timeline[1]["commit_url"], "https://api.github.com/repos/fork/log/commits/ab");
    assert_eq!((&timeline[1]["commit_id"], &timeline[1]["state_reason"]), (&json!("ab"), &json!("not_planned")));
    assert_eq!((&timeline[2]["commit_id"], &timeline[2]["commit_url"]), (&Value::Null, &Value::Null));
    assert_eq!(timeline[3]["commit_url"], "https://api.github.com/repos/other/log/commits/ab");
    assert_eq!((&timeline[4]["commit_id"], &timeline[4]["commit_url"]), (&Value::Null, &Value::Null));
    assert_eq!(timeline[5]["rename"], json!({"from": "a", "to": "b"}));
    assert_eq!(timeline[6]["lock_reason"], "off-topic");
    assert_eq!(timeline[7]["requested_reviewer"]["login"], "dependabot[bot]");
    assert_eq!(timeline[7]["requested_reviewer"]["id"], 175_728_472);
    assert_eq!(timeline[7]["review_requester"]["login"], "ann");
    assert_eq!(
        timeline[8]["dismissed_review"],
        json!({"state": "approved", "review_id": 5, "dismissal_message": "no"})
    );
    assert_eq!(timeline[9]["sub_issue"]["repository"]["full_name"], "a/b");
    assert_eq!(timeline[10]["actor"], Value::Null, "events of deleted accounts have no stand-in");
}

#[tokio::test(start_paused = true)]
async fn comments_reviews_and_cross_references_have_rests_fields() {
    let timeline = timeline_of(json!([
        {"__typename": "IssueComment", "id": "IC_kwDOEEET9c416Z4m", "fullDatabaseId": "904502822", "url": "https://github.com/x",
            "body": "hi", "createdAt": "t1", "updatedAt": "t2", "authorAssociation": "NONE", "author": null,
            "isMinimized": true, "minimizedReason": "OUTDATED", "reactionGroups": []},
        {"__typename": "PullRequestReview", "id": "PRR_x", "fullDatabaseId": "9", "state": "CHANGES_REQUESTED", "author": null,
            "body": "", "url": "https://github.com/y", "submittedAt": "t3", "updatedAt": "t3",
            "authorAssociation": "NONE", "commit": null},
        {"__typename": "CrossReferencedEvent", "id": "x", "createdAt": "t4", "actor": user("ann"),
            "source": {"__typename": "PullRequest", "id": "PR_2", "number": 12, "title": "other", "closedAt": null,
                "url": "https://github.com/a/b/pull/12", "repository": {"nameWithOwner": "a/b", "name": "b", "databaseId": 3}}},
    ]))
    .await;
    assert_eq!(timeline[0]["url"], "https://api.github.com/repos/Rust-Lang/log/issues/comments/904502822");
    assert_eq!(timeline[0]["user"]["login"], "ghost");
    assert_eq!(timeline[0]["minimized"], json!({"reason": "outdated"}));
    assert_eq!(timeline[0]["event"], "commented");
    assert_eq!((&timeline[1]["user"], &timeline[1]["state"]), (&Value::Null, &json!("changes_requested")));
    assert_eq!(timeline[1]["_links"]["html"]["href"], "https://github.com/y");
    let keys: Vec<&str> = timeline[2].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["actor", "created_at", "updated_at", "source", "event"], "REST gives no id");
    let source = &timeline[2]["source"]["issue"];
    assert_eq!(source["url"], "https://api.github.com/repos/a/b/issues/12");
    assert_eq!(source["pull_request"]["url"], "https://api.github.com/repos/a/b/pulls/12");
    assert_eq!(source["repository"]["full_name"], "a/b");
}

#[tokio::test(start_paused = true)]
async fn many_items_are_probed_by_one_request() {
    let (client, log) = client_of(&config(&["token"]), |seen| {
        if is_introspection(seen) {
            return data(&json!({"repository": {"fields": [{"name": "discussion"}]}}));
        }
        let query = query_of(seen);
        let numbers = asked(&query.replace(":discussion(number:", ":discussion("));
        if numbers.len() > 70 {
            return reply(502, &[], "");
        }
        let mut found = json!({"id": "R_1"});
        let mut wrong = Vec::new();
        for number in numbers {
            let alias = format!("i{number}");
            match number {
                5 => wrong.push(json!({"type": "NOT_FOUND", "path": ["repository", alias], "message": "no"})),
                7 => {
                    wrong.push(json!({"type": "NOT_FOUND", "path": ["repository", alias], "message": "no"}));
                    found["d7"] = json!({"__typename": "Discussion"});
                }
                6 => wrong.push(json!({"type": "INTERNAL", "path": ["repository", alias], "message": "no"})),
                _ => {
                    found[alias] = json!({"__typename": "PullRequest", "updatedAt": "2026-01-01T00:00:00Z",
                        "prItems": {"filteredCount": number, "updatedAt": null}});
                }
            }
        }
        errors(&json!({"repository": found}), &json!(wrong))
    });
    let items: Vec<_> = (1..=250).map(|number| (number, (number % 2 == 0).then_some(Kind::PullRequest))).collect();
    let Probed { probes, requests } = client.probe(&name(), &items, Purpose::Scheduled).await.unwrap();
    assert!(probes.iter().map(|probe| probe.number).eq(1..=250), "in the order of asking");
    let seen = |number: usize| probes[number - 1].seen.clone();
    assert_eq!((seen(5), seen(6), seen(7)), (Glimpse::NotFound, Glimpse::Unknown, Glimpse::Discussion));
    let updated_at = "2026-01-01T00:00:00Z".parse().unwrap();
    let expected = Glimpse::Present { kind: Kind::PullRequest, updated_at, entries: 9, timeline_updated_at: None };
    assert_eq!(seen(9), expected);
    assert_eq!(requests, 8, "two batches that are halved, what is left, and once more what is not told");
    assert_eq!(log.count(), 9, "and the schema");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_probed_even_alone_is_not_told_and_hides_no_other() {
    const SLOW: u64 = 5;
    const HEAVY: std::ops::RangeInclusive<u64> = 90..=97;
    let (client, log) = client_of(&config(&["token"]), |seen| {
        let numbers = asked(&query_of(seen));
        if numbers.contains(&SLOW) {
            return reply(502, &[], "");
        }
        let mut found = json!({"id": "R_1"});
        let mut wrong = Vec::new();
        for number in &numbers {
            let alias = format!("i{number}");
            let node = json!({"__typename": "Issue", "updatedAt": "2026-01-01T00:00:00Z",
                "timelineItems": {"filteredCount": 1, "updatedAt": null}});
            // All but the first of some is too much at once.
            if HEAVY.contains(number) && numbers.first() != Some(number) {
                found[&alias] = Value::Null;
                wrong.push(json!({"type": "RESOURCE_LIMITS_EXCEEDED", "path": ["repository", alias], "message": "no"}));
            } else {
                found[alias] = node;
            }
        }
        errors(&json!({"repository": found}), &json!(wrong))
    });
    let items: Vec<_> = (1..=149).map(|number| (number, Some(Kind::Issue))).collect();
    let Probed { probes, requests } = client.probe(&name(), &items, Purpose::Backfill).await.unwrap();
    let untold: Vec<u64> =
        probes.iter().filter(|probe| probe.seen == Glimpse::Unknown).map(|probe| probe.number).collect();
    assert_eq!(untold, [SLOW]);
    assert_eq!(requests + 1, log.count() as u64, "and the schema");
    assert!(requests < 30, "{requests}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_ends_a_probe_after_a_few_requests() {
    let outage = |seen: &_| if is_introspection(seen) { data(&json!({})) } else { reply(502, &[], "") };
    let (client, log) = client_of(&config(&["token"]), outage);
    let items: Vec<_> = (1..=149).map(|number| (number, Some(Kind::Issue))).collect();
    let error = client.probe(&name(), &items, Purpose::Backfill).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Unavailable);
    assert!(log.count() < 20, "{}", log.count());
}
