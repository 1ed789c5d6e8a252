//! Budgets, limits and troubles of tokens, on paused time.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use gharvest_state::State;
use jiff::Timestamp;

use super::stub::{
    Log, MemoryState, Reply, Seen, client_of, client_sharing, client_taking, config, epoch, issue, name, reply, start,
};
use crate::{Answer, Client, Clock, Config, ErrorKind, Purpose};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(start().as_second() + seconds).unwrap()
}

fn budget(status: u16, limit: &str, remaining: &str, reset: i64) -> Reply {
    let reset = epoch(reset);
    let headers = [
        ("x-ratelimit-limit", limit),
        ("x-ratelimit-remaining", remaining),
        ("x-ratelimit-reset", reset.as_str()),
        ("x-ratelimit-resource", "core"),
    ];
    reply(status, &headers, r#"{"message":"API rate limit exceeded for user ID 1."}"#)
}

async fn limited_until(client: &Client, purpose: Purpose) -> Timestamp {
    let error = client.get(&issue(7), None, purpose).await.unwrap_err();
    error.retry_at().unwrap_or_else(|| panic!("{error}"))
}

#[tokio::test(start_paused = true)]
async fn the_token_with_the_most_left_is_used() {
    let (client, log) = client_of(&config(&["a", "b", "c"]), |seen| match seen.token() {
        "a" => budget(200, "5000", "10", 600),
        "b" => budget(200, "5000", "4000.0", 600),
        _ => budget(200, "5000", "0", 600),
    });
    for _ in 0..6 {
        client.get(&issue(7), None, Purpose::Live).await.unwrap();
    }
    let used: Vec<_> = log.all().iter().map(|seen| seen.token().to_owned()).collect();
    assert_eq!(used, ["a", "b", "c", "b", "b", "b"], "each unknown budget is tried once, then the fullest");
    let budgets = client.budgets();
    assert_eq!(budgets.len(), 3);
    assert_eq!((budgets[1].token.as_str(), budgets[1].limit, budgets[1].remaining), ("token 2", 5000, 4000));
    assert_eq!(budgets[1].reset_at, at(600));
}

#[tokio::test(start_paused = true)]
async fn a_used_up_budget_is_waited_for_shortly_and_told_when_it_takes_long() {
    let (client, log) = client_of(&config(&["a"]), |seen| {
        if seen.at < at(15) { budget(403, "5000", "0", 15) } else { budget(200, "5000", "4999", 3615) }
    });
    client.get(&issue(7), None, Purpose::Backfill).await.unwrap();
    let times: Vec<_> = log.all().iter().map(|seen| seen.at).collect();
    assert_eq!(times.len(), 2);
    assert!(times[1] >= at(16), "a second of slack: {times:?}");

    for status in [403, 429] {
        let (client, log) = client_of(&config(&["a"]), move |_| budget(status, "5000", "0", 1800));
        assert_eq!(client.blocked_until(Purpose::Live), None);
        assert_eq!(limited_until(&client, Purpose::Live).await, at(1801));
        assert_eq!(limited_until(&client, Purpose::Live).await, at(1801));
        assert_eq!(client.blocked_until(Purpose::Live), Some(at(1801)));
        assert_eq!(log.count(), 1, "a second call while told to wait would be one too many");
    }
}

#[tokio::test(start_paused = true)]
async fn the_reserve_is_for_live_work_and_never_more_than_a_tenth() {
    for (limit, remaining, scheduled_works) in
        [("5000", "201", true), ("5000", "200", false), ("60", "7", true), ("60", "6", false)]
    {
        let (client, _) = client_of(&config(&["a"]), move |_| budget(200, limit, remaining, 1800));
        client.get(&issue(1), None, Purpose::Scheduled).await.unwrap();
        for purpose in [Purpose::Scheduled, Purpose::Backfill] {
            let blocked = client.blocked_until(purpose);
            assert_eq!(blocked.is_none(), scheduled_works, "{limit} {remaining} {purpose:?}");
            assert_eq!(client.get(&issue(2), None, purpose).await.is_ok(), scheduled_works);
        }
        client.get(&issue(3), None, Purpose::Live).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn requests_in_flight_count_as_spent() {
    let left = Arc::new(AtomicUsize::new(5));
    let (client, log) = client_taking(
        &Config { concurrency: 100, ..config(&["a"]) },
        None,
        Clock::following_tokio(start()),
        Duration::from_secs(1),
        move |_| {
            let spent = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            match spent {
                Ok(before) => budget(200, "5000", &(before - 1).to_string(), 1800),
                Err(_) => budget(403, "5000", "0", 1800),
            }
        },
    );
    client.get(&issue(0), None, Purpose::Live).await.unwrap();
    let results = futures::future::join_all((1..=50).map(|number| {
        let client = client.clone();
        async move { client.get(&issue(number), None, Purpose::Live).await }
    }))
    .await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 4);
    assert_eq!(log.count(), 5, "no call went out that the budget did not bear");
}

#[tokio::test(start_paused = true)]
async fn retry_after_comes_first() {
    let (client, log) = client_of(&config(&["a"]), |seen| {
        if seen.at < at(10) {
            let reset = epoch(1800);
            let headers = [
                ("retry-after", "10"),
                ("x-ratelimit-limit", "5000"),
                ("x-ratelimit-remaining", "4000"),
                ("x-ratelimit-reset", &reset),
            ];
            return reply(403, &headers, r#"{"message":"You have exceeded a secondary rate limit."}"#);
        }
        reply(200, &[], "{}")
    });
    client.get(&issue(7), None, Purpose::Scheduled).await.unwrap();
    assert_eq!(log.count(), 2);
    assert!(log.all()[1].at >= at(10) && log.all()[1].at < at(11));
}

#[tokio::test(start_paused = true)]
async fn secondary_limits_without_a_time_wait_a_minute_and_then_twice_as_long() {
    for (status, body) in [
        (
            403,
            r#"{"message":"You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}"#,
        ),
        (429, r#"{"message":"You have triggered an abuse detection mechanism."}"#),
        (403, "<html><h1>Whoa there!</h1>You have exceeded a secondary rate limit.</html>"),
        (429, ""),
        (403, r#"{"message":"API rate limit exceeded for 192.0.2.1."}"#),
    ] {
        let works = Arc::new(AtomicBool::new(false));
        let switch = Arc::clone(&works);
        let (client, _) = client_of(&config(&["a"]), move |_| {
            if switch.load(Ordering::Relaxed) { reply(200, &[], "{}") } else { reply(status, &[], body) }
        });
        let mut clock = 0;
        for wait in [60, 120, 240] {
            let until = limited_until(&client, Purpose::Live).await.duration_since(start()).as_secs();
            assert!((clock + wait..clock + wait + 3).contains(&until), "{status} {body}: {until} after {clock}");
            tokio::time::advance(Duration::from_secs(wait.unsigned_abs())).await;
            clock += wait;
        }
        works.store(true, Ordering::Relaxed);
        client.get(&issue(7), None, Purpose::Live).await.unwrap();
        works.store(false, Ordering::Relaxed);
        let until = limited_until(&client, Purpose::Live).await.duration_since(start()).as_secs();
        assert!((clock + 60..clock + 63).contains(&until), "a success ends the series: {until}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_refusals_counts_once_and_nothing_is_sent_while_told_to_wait() {
    let (client, log) = client_taking(
        &Config { concurrency: 8, ..config(&["a"]) },
        None,
        Clock::following_tokio(start()),
        Duration::from_millis(100),
        |_| reply(403, &[], r#"{"message":"You have exceeded a secondary rate limit."}"#),
    );
    let results = futures::future::join_all((1..=40).map(|number| {
        let client = client.clone();
        async move { client.get(&issue(number), None, Purpose::Backfill).await }
    }))
    .await;
    assert!(results.iter().all(|result| result.is_err()));
    assert_eq!(log.count(), 8, "only what was in flight when the first refusal came");
    let until = client.blocked_until(Purpose::Live).unwrap();
    assert!(until < at(62), "eight refusals of one storm are one strike: {until}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_always_says_wait_a_moment_does_not_hold_the_job_for_ever() {
    let (client, log) = client_of(&config(&["a"]), |_| reply(429, &[("retry-after", "0")], ""));
    let until = limited_until(&client, Purpose::Backfill).await;
    assert!(until > at(60), "{until}");
    assert!(log.count() < 10);
    for pair in log.all().windows(2) {
        assert!(pair[1].at.duration_since(pair[0].at).as_secs() >= 1);
    }
}

#[tokio::test(start_paused = true)]
async fn absurd_times_are_cut_to_an_hour() {
    for headers in [
        vec![("retry-after", "99999999999999")],
        vec![("x-ratelimit-limit", "5"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "99999999999999")],
    ] {
        let (client, _) = client_of(&config(&["a"]), move |_| reply(403, &headers, "{}"));
        assert!(limited_until(&client, Purpose::Live).await < at(3700));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_set_aside_and_work_goes_on() {
    let revoked = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&revoked);
    let (client, log) = client_of(&config(&["bad", "good"]), move |seen| {
        if seen.token() == "bad" && switch.load(Ordering::Relaxed) {
            return reply(401, &[], r#"{"message":"Bad credentials"}"#);
        }
        budget(200, "5000", if seen.token() == "bad" { "4900" } else { "4000" }, 3000)
    });
    for _ in 0..3 {
        client.get(&issue(7), None, Purpose::Live).await.unwrap();
    }
    assert_eq!(log.all().iter().filter(|seen| seen.token() == "bad").count(), 1);
    let trouble = client.budgets().into_iter().find(|budget| budget.token == "token 1").unwrap().trouble.unwrap();
    assert!(trouble.contains("Bad credentials"), "{trouble}");

    revoked.store(false, Ordering::Relaxed);
    tokio::time::advance(Duration::from_secs(15 * 60)).await;
    client.get(&issue(7), None, Purpose::Live).await.unwrap();
    assert_eq!(log.all().last().unwrap().token(), "bad", "after a while it gets another chance");
    assert!(client.budgets().iter().all(|budget| budget.trouble.is_none()));
}

#[tokio::test(start_paused = true)]
async fn without_an_accepted_token_the_error_says_so() {
    let (client, log) = client_of(&config(&["x", "y"]), |_| reply(401, &[], r#"{"message":"Bad credentials"}"#));
    for _ in 0..2 {
        let error = client.get(&issue(7), None, Purpose::Live).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Unauthorized);
        assert!(
            error.to_string().contains("Bad credentials") && error.to_string().contains("[github] tokens"),
            "{error}"
        );
    }
    assert_eq!(log.count(), 2, "each was asked once");
    assert_eq!(client.blocked_until(Purpose::Live), None);
}

#[tokio::test(start_paused = true)]
async fn all_budgets_are_known_after_a_refresh() {
    let (client, log) = client_of(&config(&["a", "b", "bad"]), |seen| {
        if seen.token() == "bad" {
            return reply(401, &[], "");
        }
        let reset = epoch(100);
        let body = format!(
            r#"{{"resources":{{"core":{{"limit":5000,"remaining":7,"reset":{reset},"used":1}},
                "graphql":{{"limit":5000,"remaining":8,"reset":{reset},"used":1}},"odd":{{"limit":"x"}}}}}}"#
        );
        reply(200, &[], &body)
    });
    let budgets = client.refresh_budgets().await.unwrap();
    let told: Vec<_> =
        budgets.iter().map(|budget| (budget.token.as_str(), budget.resource.as_str(), budget.remaining)).collect();
    assert_eq!(
        told,
        [
            ("token 1", "core", 7),
            ("token 1", "graphql", 8),
            ("token 2", "core", 7),
            ("token 2", "graphql", 8),
            ("token 3", "core", 0)
        ]
    );
    assert!(budgets[4].trouble.is_some());
    assert!(log.all().iter().all(|seen: &Seen| seen.uri == "https://api.github.com/rate_limit"));
}

#[tokio::test(start_paused = true)]
async fn processes_that_share_state_share_budgets_and_waits() {
    let state: Arc<dyn State> = Arc::new(MemoryState::default());
    let clock = Clock::following_tokio(start());
    let sharing =
        |answer: fn(&Seen) -> Reply| client_sharing(&config(&["a"]), Some(Arc::clone(&state)), clock.clone(), answer);
    let (first, _) = sharing(|_| budget(200, "5000", "150", 1800));
    first.get(&issue(7), None, Purpose::Live).await.unwrap();
    let (second, log) = sharing(|_| reply(403, &[("retry-after", "100")], ""));
    assert_eq!(limited_until(&second, Purpose::Backfill).await, at(1801), "the first told what is left");
    assert_eq!(log.count(), 0);
    assert_eq!(limited_until(&second, Purpose::Live).await, at(100));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(limited_until(&first, Purpose::Live).await, at(100), "and the second told of its wait");
    let keys: Vec<_> = state.list("budget/").await.unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), 1);
    assert!(keys[0].starts_with("budget/") && keys[0].ends_with("/core"), "{keys:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_refusal_narrowed_is_told_to_everybody_who_looks() {
    let state: Arc<dyn State> = Arc::new(MemoryState::default());
    let config = Config { concurrency: 8, ..config(&["a"]) };
    let clock = Clock::following_tokio(start());
    let refused = r#"{"message":"You have exceeded a secondary rate limit"}"#;
    let refuse = |_: &Seen| reply(403, &[("retry-after", "100")], refused);
    let (client, _) = client_sharing(&config, Some(Arc::clone(&state)), clock, refuse);
    assert!(client.get(&issue(7), None, Purpose::Live).await.is_err());
    let told = state.list("narrowed/").await.unwrap();
    let told = told.iter().map(|(_, value)| serde_json::from_slice(value).unwrap());
    let told: Vec<serde_json::Value> = told.collect();
    assert_eq!(told, [serde_json::json!({"to": 4, "of": 8, "quiet_from": at(100).to_string()})]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_one_process_was_refused_is_not_tried_by_another() {
    let state: Arc<dyn State> = Arc::new(MemoryState::default());
    let clock = Clock::following_tokio(start());
    let answer = |seen: &Seen| match seen.token() {
        "bad" => reply(401, &[], r#"{"message":"Bad credentials"}"#),
        _ => budget(200, "5000", "4000", 3000),
    };
    let sharing = || client_sharing(&config(&["bad", "good"]), Some(Arc::clone(&state)), clock.clone(), answer);
    let ((first, _), (second, log)) = (sharing(), sharing());
    first.get(&issue(7), None, Purpose::Live).await.unwrap();
    second.get(&issue(7), None, Purpose::Live).await.unwrap();
    assert!(log.all().iter().all(|seen| seen.token() == "good"), "the first told that the other is refused");
    let report = second.tokens().into_iter().find(|report| report.trouble.is_some()).unwrap();
    assert!(report.trouble.unwrap().contains("Bad credentials"));
    let shared = state.list("trouble/").await.unwrap();
    assert!(shared.len() == 1 && !shared[0].0.contains("bad"), "no token is told");
    // Both try it again after the same time.
    tokio::time::advance(Duration::from_secs(15 * 60)).await;
    second.get(&issue(7), None, Purpose::Live).await.unwrap();
    assert!(log.all().iter().any(|seen| seen.token() == "bad"));
}

#[tokio::test(start_paused = true)]
async fn lost_state_costs_nothing_but_the_sharing() {
    let state: Arc<dyn State> = Arc::new(MemoryState { lost: true, ..MemoryState::default() });
    let (client, _) =
        client_sharing(&config(&["a"]), Some(state), Clock::following_tokio(start()), |_| reply(200, &[], "{}"));
    assert!(matches!(client.get(&issue(7), None, Purpose::Live).await.unwrap(), Answer::Found(_)));
}

#[tokio::test(start_paused = true)]
async fn one_token_given_twice_is_one_budget() {
    let (client, _) = client_of(&config(&["a", " a\n"]), |_| budget(200, "5000", "4000", 600));
    client.refresh_budgets().await.unwrap();
    assert_eq!(client.budgets().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_cannot_stand_in_a_header_are_refused_at_start() {
    let error = Client::new(config(&["fine", "a\nb"])).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("token 2"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn processes_that_share_state_share_the_pace() {
    let state: Arc<dyn State> = Arc::new(MemoryState::default());
    let clock = Clock::following_tokio(start());
    let slow = Config { points_per_minute: 120, ..config(&["a"]) };
    let clients: Vec<_> = (0..4)
        .map(|_| client_sharing(&slow, Some(Arc::clone(&state)), clock.clone(), |_| reply(200, &[], "{}")))
        .collect();
    let work = clients.iter().map(|(client, _)| async move {
        for number in 1..=100 {
            client.get(&issue(number), None, Purpose::Backfill).await.unwrap();
        }
    });
    futures::future::join_all(work).await;
    let mut times: Vec<Timestamp> = clients.iter().flat_map(|(_, log)| log.all()).map(|seen| seen.at).collect();
    times.sort();
    assert_eq!(times.len(), 400);
    // The first twenty seconds go by before all know of each other.
    for (index, begin) in times.iter().enumerate().filter(|(_, begin)| **begin > at(20)) {
        let within = times[index..].iter().filter(|time| time.duration_since(*begin).as_secs() < 60).count();
        assert!(within <= 136, "{within} points in one minute");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_does_not_ask_with_a_token_that_was_told_to_wait() {
    let (client, log) = client_of(&config(&["a"]), |_| reply(429, &[("retry-after", "600")], ""));
    limited_until(&client, Purpose::Live).await;
    let budgets = client.refresh_budgets().await.unwrap();
    assert!(budgets[0].trouble.as_ref().is_some_and(|trouble| trouble.contains("wait")), "{budgets:?}");
    assert_eq!(log.count(), 1);

    let (client, _) = client_of(&config(&["a"]), |_| reply(503, &[], ""));
    assert_eq!(*client.refresh_budgets().await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn after_a_secondary_limit_fewer_are_sent_at_once_and_later_one_more_a_minute() {
    const LATENCY: Duration = Duration::from_millis(100);
    // A server that bears two requests at once, as far as arrivals tell.
    let arrivals: Arc<Mutex<Vec<Timestamp>>> = Arc::default();
    let (seen_at, bears) = (Arc::clone(&arrivals), Arc::new(AtomicUsize::new(2)));
    let most = Arc::clone(&bears);
    let answer = move |seen: &Seen| {
        let mut arrivals = seen_at.lock().unwrap();
        arrivals.push(seen.at);
        if at_once(&arrivals, seen.at, LATENCY) > most.load(Ordering::Relaxed) {
            return reply(403, &[("retry-after", "5")], r#"{"message":"You have exceeded a secondary rate limit"}"#);
        }
        reply(200, &[], "{}")
    };
    let clock = Clock::following_tokio(start());
    let (client, log) = client_taking(&config(&["a"]), None, clock, LATENCY, answer);
    let ask_many = async |count: usize| {
        let resource = issue(7);
        let asked = (0..count).map(|_| client.get(&resource, None, Purpose::Backfill));
        futures::future::join_all(asked).await.into_iter().for_each(|answer| drop(answer.unwrap()));
    };
    ask_many(100).await;
    // Eight, six of them refused; four, two refused; two. Growth and another refusal would come a minute later.
    assert_eq!(log.count(), 100 + 6 + 2);
    bears.store(usize::MAX, Ordering::Relaxed);
    let after = async |minutes: u64| {
        tokio::time::advance(Duration::from_secs(60 * minutes)).await;
        arrivals.lock().unwrap().clear();
        ask_many(20).await;
        let arrivals = arrivals.lock().unwrap();
        arrivals.iter().map(|at| at_once(&arrivals, *at, LATENCY)).max().unwrap()
    };
    assert_eq!(after(1).await, 3);
    assert_eq!(after(1).await, 4);
    assert_eq!(after(60).await, Config::default().concurrency);
}

/// How many of these requests, of which each takes so long, are under way at a time.
fn at_once(arrivals: &[Timestamp], now: Timestamp, latency: Duration) -> usize {
    let is_under_way = |at: &&Timestamp| **at <= now && now.duration_since(**at).unsigned_abs() < latency;
    arrivals.iter().filter(is_under_way).count()
}

/// How long GraphQL takes in these tests.
const WORK: Duration = Duration::from_millis(500);

/// Clients with these tokens, which share the state.
fn graphql_clients(count: usize, tokens: &[&str]) -> Vec<(Client, Log)> {
    let state: Arc<dyn State> = Arc::new(MemoryState::default());
    let clock = Clock::following_tokio(start());
    let answer = |_: &Seen| reply(200, &[], r#"{"data":{"rateLimit":{"cost":1},"repository":{}}}"#);
    let client = |_| client_taking(&config(tokens), Some(Arc::clone(&state)), clock.clone(), WORK, answer);
    (0..count).map(client).collect()
}

/// Asks GraphQL so often, always eight callers at a time.
async fn ask_graphql(client: &Client, count: usize) {
    futures::stream::iter(0..count)
        .for_each_concurrent(8, |_| async { assert!(client.count_items(&name(), Purpose::Backfill).await.is_ok()) })
        .await;
}

/// The most that were under way together at arrivals after so many seconds, and how many came then.
fn most_at_once(clients: &[(Client, Log)], after: i64) -> (usize, usize) {
    let mut arrivals: Vec<Timestamp> = clients.iter().flat_map(|(_, log)| log.all()).map(|seen| seen.at).collect();
    arrivals.retain(|arrival| *arrival > at(after));
    let most = arrivals.iter().map(|arrival| at_once(&arrivals, *arrival, WORK)).max();
    (most.unwrap_or(0), arrivals.len())
}

#[tokio::test(start_paused = true)]
async fn processes_that_share_state_have_two_graphql_requests_a_token_under_way_together() {
    for (processes, tokens, most) in [(1, &["a"][..], 2), (2, &["a"], 2), (2, &["a", "b"], 4), (3, &["a"], 3)] {
        let clients = graphql_clients(processes, tokens);
        futures::future::join_all(clients.iter().map(|(client, _)| ask_graphql(client, 400))).await;
        // The first twenty seconds go by before all know of each other.
        let (found, count) = most_at_once(&clients, if processes > 1 { 22 } else { 0 });
        assert!(count > 10, "{count} of {processes}");
        assert_eq!(found, most, "{processes} processes with {} tokens", tokens.len());
    }
}

#[tokio::test(start_paused = true)]
async fn fewer_tokens_let_fewer_graphql_requests_in_also_when_all_were_under_way() {
    let clients = graphql_clients(1, &["a", "b", "c"]);
    let client = &clients[0].0;
    let fewer = async {
        tokio::time::sleep(WORK * 5 / 2).await;
        client.set_tokens(&config(&["a"]).tokens, &[]).unwrap();
    };
    futures::join!(ask_graphql(client, 60), fewer);
    assert_eq!(most_at_once(&clients, 0).0, 6);
    let (most, count) = most_at_once(&clients, 2);
    assert!(count > 10, "{count}");
    assert_eq!(most, 2);
}
