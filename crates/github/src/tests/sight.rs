//! Tokens that are not shown what others are: who is asked, and when nothing is believed to be there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::SignedDuration;
use serde_json::json;

use super::stub::{Log, Reply, Seen, client_of, config, epoch, issue, name, reply, start};
use crate::{Answer, Client, Error, ErrorKind, Purpose, Resource};

const MISSING: &str = r#"{"message":"Not Found","status":"404"}"#;
const SAML: &str = r#"{"message":"Resource protected by organization SAML enforcement."}"#;

/// An answer to a token with so many calls left.
fn with_left(status: u16, left: u64, body: &str) -> Reply {
    let (left, reset) = (left.to_string(), epoch(3600));
    let headers = [
        ("x-ratelimit-limit", "5000"),
        ("x-ratelimit-remaining", left.as_str()),
        ("x-ratelimit-reset", reset.as_str()),
    ];
    reply(status, &headers, body)
}

/// A GitHub that shows everything to `ghp_seeing`, and answers the other, which has more left, like this.
fn half_blind(status: u16, body: &'static str) -> (Client, Log) {
    client_of(&config(&["ghp_blind", "ghp_seeing"]), move |seen| match seen.token() {
        "ghp_blind" => with_left(status, 4900, body),
        _ => with_left(200, 4000, "{}"),
    })
}

async fn ask(client: &Client) -> Result<Answer, Error> {
    client.get(&issue(7), None, Purpose::Live).await
}

fn asked(log: &Log) -> Vec<String> {
    log.all().iter().map(|seen| seen.token().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn another_token_is_asked_before_anything_is_missing_and_the_blind_one_no_more() {
    for (status, body) in [(404, MISSING), (403, SAML)] {
        let (client, log) = half_blind(status, body);
        for _ in 0..4 {
            assert!(matches!(ask(&client).await.unwrap(), Answer::Found(_)), "{status}");
        }
        assert_eq!(asked(&log), ["ghp_blind", "ghp_seeing", "ghp_seeing", "ghp_seeing", "ghp_seeing"], "{status}");
        let other = Resource::Issue("rust-lang/cargo".parse().unwrap(), 1);
        client.get(&other, None, Purpose::Live).await.unwrap();
        assert_eq!(asked(&log)[5], "ghp_blind", "of another repository nothing is known");
        // It may have been given the right meanwhile.
        tokio::time::advance(Duration::from_secs(3601)).await;
        let before = log.count();
        ask(&client).await.unwrap();
        assert_eq!(asked(&log)[before..], ["ghp_blind", "ghp_seeing"], "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_no_token_is_shown_is_missing_and_a_refusal_stands_before_a_404() {
    for (first, second, expected) in [
        (404, 404, Ok(Answer::NotFound)),
        (403, 403, Err(ErrorKind::Forbidden)),
        (403, 404, Err(ErrorKind::Forbidden)),
        (404, 403, Err(ErrorKind::Forbidden)),
    ] {
        let (client, log) = client_of(&config(&["ghp_first", "ghp_second"]), move |seen| {
            let (status, left) = if seen.token() == "ghp_first" { (first, 4900) } else { (second, 4000) };
            with_left(status, left, if status == 404 { MISSING } else { SAML })
        });
        assert_eq!(ask(&client).await.map_err(|error| error.kind().clone()), expected, "{first} {second}");
        assert_eq!(asked(&log), ["ghp_first", "ghp_second"], "each once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_lately_saw_the_repository_has_the_last_word_on_its_items() {
    let (client, log) = client_of(&config(&["ghp_first", "ghp_second"]), |seen| {
        if seen.uri.ends_with("/issues/7") { with_left(404, 4000, MISSING) } else { with_left(200, 4000, "{}") }
    });
    client.get(&issue(1), None, Purpose::Live).await.unwrap();
    client.get(&issue(2), None, Purpose::Live).await.unwrap();
    let before = log.count();
    assert_eq!(ask(&client).await.unwrap(), Answer::NotFound);
    assert_eq!(log.count() - before, 1, "{:?}", asked(&log));
    // It may have lost the right since.
    tokio::time::advance(Duration::from_secs(601)).await;
    assert_eq!(ask(&client).await.unwrap(), Answer::NotFound);
    assert_eq!(log.count() - before, 3);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_missing_before_a_token_that_may_see_it_has_budget_again() {
    let (client, log) = client_of(&config(&["ghp_blind", "ghp_empty"]), |seen| match seen.token() {
        "ghp_empty" => with_left(200, 0, "{}"),
        _ => with_left(404, 4900, MISSING),
    });
    client.refresh_budgets().await.unwrap();
    let before = log.count();
    let error = ask(&client).await.unwrap_err();
    let until = start() + SignedDuration::from_secs(3601);
    assert_eq!(*error.kind(), ErrorKind::Unconfirmed { until }, "{error}");
    assert_eq!(asked(&log)[before..], ["ghp_blind"]);
    // A short time is waited.
    tokio::time::advance(Duration::from_secs(3590)).await;
    assert!(matches!(ask(&client).await.unwrap(), Answer::Found(_)));
    assert_eq!(asked(&log)[before + 1..], ["ghp_blind", "ghp_empty"]);
}

#[tokio::test(start_paused = true)]
async fn a_404_is_believed_again_after_the_token_that_saw_more_was_not_accepted_for_a_while() {
    let is_revoked = Arc::new(AtomicBool::new(false));
    let revoked = Arc::clone(&is_revoked);
    let (client, log) = client_of(&config(&["ghp_first", "ghp_second"]), move |seen| match seen.token() {
        "ghp_second" if revoked.load(Ordering::Relaxed) => with_left(401, 4900, r#"{"message":"Bad credentials"}"#),
        "ghp_second" => with_left(200, 4900, "{}"),
        _ if seen.uri.ends_with("/issues/7") => with_left(404, 4000, MISSING),
        _ => with_left(200, 4000, "{}"),
    });
    let see = async |number| client.get(&issue(number), None, Purpose::Live).await.unwrap();
    // The first asks for the first one, the second has more left afterwards.
    see(1).await;
    see(2).await;
    assert_eq!(asked(&log), ["ghp_first", "ghp_second"]);
    is_revoked.store(true, Ordering::Relaxed);
    let minutes = |minutes: u64| tokio::time::advance(Duration::from_secs(60 * minutes));
    minutes(11).await;
    let error = ask(&client).await.unwrap_err();
    let Some(until) = error.retry_at() else { panic!("{error}") };
    assert_eq!(*error.kind(), ErrorKind::Unconfirmed { until }, "it concerns this number alone");
    assert_eq!(until, start() + SignedDuration::from_mins(26), "when the other one is tried again");
    // What else is asked of the repository shows that the first one sees it.
    see(3).await;
    assert_eq!(ask(&client).await.unwrap(), Answer::NotFound);
    minutes(50).await;
    assert_eq!(ask(&client).await.unwrap(), Answer::NotFound, "for an hour nothing of the other one's was missed");
}

#[tokio::test(start_paused = true)]
async fn a_fine_grained_token_is_asked_only_about_what_no_other_is_shown() {
    let tokens = ["github_pat_fine", "ghp_classic"];
    let left = Arc::new(AtomicU64::new(1000));
    let classic = Arc::clone(&left);
    let (client, log) = client_of(&config(&tokens), move |seen| match seen.token() {
        "ghp_classic" if seen.uri.contains("/cargo/") => with_left(404, 1000, MISSING),
        "ghp_classic" => with_left(200, classic.load(Ordering::Relaxed), "{}"),
        _ => with_left(200, 4900, "{}"),
    });
    for _ in 0..3 {
        ask(&client).await.unwrap();
    }
    assert_eq!(asked(&log), ["ghp_classic"; 3], "the other one has more left, and would leave events out");
    let budgets: Vec<_> = client.budgets_for(Purpose::Live).into_iter().map(|budget| budget.token).collect();
    assert_eq!(budgets, ["token 2"]);
    let other = Resource::Issue("rust-lang/cargo".parse().unwrap(), 1);
    for _ in 0..2 {
        assert!(matches!(client.get(&other, None, Purpose::Live).await.unwrap(), Answer::Found(_)));
    }
    assert_eq!(asked(&log)[3..], ["ghp_classic", "github_pat_fine", "github_pat_fine"]);
    // Its budget is waited for: what was fetched meanwhile would change to and fro.
    left.store(0, Ordering::Relaxed);
    ask(&client).await.unwrap();
    assert!(matches!(ask(&client).await.unwrap_err().kind(), ErrorKind::RateLimited { .. }));
    assert_eq!(log.count(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_fine_grained_token_does_all_the_work_once_no_other_is_accepted() {
    let (client, log) = client_of(&config(&["github_pat_fine", "ghp_revoked"]), |seen| match seen.token() {
        "ghp_revoked" => reply(401, &[], r#"{"message":"Bad credentials"}"#),
        _ => with_left(200, 4900, "{}"),
    });
    for _ in 0..2 {
        assert!(matches!(ask(&client).await.unwrap(), Answer::Found(_)));
    }
    assert_eq!(asked(&log), ["ghp_revoked", "github_pat_fine", "github_pat_fine"]);
    assert!(client.budgets_for(Purpose::Live).iter().any(|budget| budget.token == "token 1"));
}

#[tokio::test(start_paused = true)]
async fn who_sees_a_repository_but_not_its_hooks_still_sees_its_items() {
    let (client, log) = client_of(&config(&["ghp_reads", "ghp_admin"]), |seen| {
        let hooks = seen.uri.contains("/hooks");
        match seen.token() {
            "ghp_reads" if hooks => with_left(404, 4900, MISSING),
            "ghp_reads" => with_left(200, 4900, "{}"),
            _ => with_left(200, 4000, "[]"),
        }
    });
    ask(&client).await.unwrap();
    for _ in 0..2 {
        let answer = client.get(&Resource::Hooks(name()), None, Purpose::Live).await.unwrap();
        assert!(matches!(answer, Answer::Found(_)), "{answer:?}");
    }
    ask(&client).await.unwrap();
    assert_eq!(asked(&log).last().map(String::as_str), Some("ghp_reads"));
}

#[tokio::test(start_paused = true)]
async fn a_repository_that_graphql_does_not_show_one_token_is_asked_with_another() {
    let shown = json!({"data": {"rateLimit": {"cost": 1}, "__type": null, "repository": {
        "issues": {"totalCount": 3, "nodes": [{"number": 5}]},
        "pullRequests": {"totalCount": 2, "nodes": []},
    }}})
    .to_string();
    let hidden = json!({"data": {"rateLimit": {"cost": 1}, "__type": null, "repository": null}, "errors": [
        {"type": "NOT_FOUND", "path": ["repository"], "message": "Could not resolve to a Repository"}
    ]})
    .to_string();
    let is_count = |seen: &Seen| String::from_utf8_lossy(&seen.body).contains("totalCount");
    let (client, log) = client_of(&config(&["ghp_blind", "ghp_seeing"]), move |seen| match seen.token() {
        "ghp_blind" => with_left(200, 4900, if is_count(seen) { &hidden } else { &shown }),
        _ => with_left(200, 4000, &shown),
    });
    for _ in 0..3 {
        let counts = client.count_items(&name(), Purpose::Live).await.unwrap().unwrap();
        assert_eq!(counts.items(), 5);
    }
    let counts: Vec<String> =
        log.all().iter().filter(|seen| is_count(seen)).map(|seen| seen.token().to_owned()).collect();
    // The schema is asked for first, with the one that has more left.
    assert_eq!(counts, ["ghp_seeing", "ghp_blind", "ghp_seeing", "ghp_seeing"]);
}
