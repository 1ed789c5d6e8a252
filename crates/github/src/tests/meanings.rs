//! What each answer of GitHub becomes, and what is sent.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::stub::{Seen, client_of, config, epoch, issue, name, reply};
use crate::{Answer, Client, Config, Error, ErrorKind, Purpose, Resource};

async fn ask(client: &Client) -> Result<Answer, Error> {
    client.get(&issue(7), None, Purpose::Live).await
}

#[tokio::test(start_paused = true)]
async fn every_fact_about_the_thing_asked_for_is_an_answer() {
    let moved = |location: &str| Answer::Moved { location: location.to_owned() };
    let blocked = |reason: &str| Answer::Blocked { reason: reason.to_owned() };
    for (status, headers, body, expected) in [
        (404, vec![], r#"{"message":"Not Found","status":"404"}"#, Answer::NotFound),
        (404, vec![], "<html>not here</html>", Answer::NotFound),
        (410, vec![], r#"{"message":"This issue was deleted","status":"410"}"#, Answer::Deleted),
        (410, vec![], r#"{"message":"Issues are disabled for this repo"}"#, Answer::IssuesDisabled),
        (
            410,
            vec![],
            r#"{"message":"Issues has been disabled: Issues are disabled for this repo"}"#,
            Answer::IssuesDisabled,
        ),
        (451, vec![], r#"{"message":"Repository access blocked","block":{"reason":"dmca"}}"#, blocked("dmca")),
        (451, vec![], "gone for lawyers", blocked("without a message")),
        (403, vec![], r#"{"message":"Repository access blocked","block":{"reason":"tos"}}"#, blocked("tos")),
        (403, vec![], r#"{"message":"Repository access blocked","block":{}}"#, blocked("Repository access blocked")),
        (
            403,
            vec![("x-ratelimit-limit", "60"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")],
            r#"{"message":"Repository access blocked","block":{"reason":"unavailable"}}"#,
            blocked("unavailable"),
        ),
        (
            301,
            vec![("location", "https://api.github.com/repositories/9/issues/3")],
            "{}",
            moved("https://api.github.com/repositories/9/issues/3"),
        ),
        (308, vec![("location", "/repositories/9")], "", moved("https://api.github.com/repositories/9")),
    ] {
        let headers: Vec<(&'static str, &'static str)> = headers;
        let (client, log) = client_of(&config(&["t"]), move |_| reply(status, &headers, body));
        assert_eq!(ask(&client).await.unwrap(), expected, "{status} {body}");
        assert_eq!(log.count(), 1, "{status} {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_are_errors_of_their_kind_and_are_not_asked_again() {
    for (status, body, kind, words) in [
        (
            403,
            r#"{"message":"Resource not accessible by personal access token"}"#,
            ErrorKind::Forbidden,
            "not accessible",
        ),
        (403, r#"{"message":"Resource protected by organization SAML enforcement."}"#, ErrorKind::Forbidden, "SAML"),
        (403, "<html>no</html>", ErrorKind::Forbidden, "403"),
        (422, r#"{"message":"Pagination with the page parameter is not supported"}"#, ErrorKind::Refused, "Pagination"),
        (400, r#"{"message":"Unsupported API version"}"#, ErrorKind::Refused, "API version"),
        (410, r#"{"message":"This API version is retired"}"#, ErrorKind::Refused, "retired"),
        (418, "teapot", ErrorKind::Refused, "418"),
    ] {
        let (client, log) = client_of(&config(&["t"]), move |_| reply(status, &[], body));
        let error = ask(&client).await.unwrap_err();
        assert_eq!(*error.kind(), kind, "{status} {body}");
        assert!(
            error.to_string().contains(words) && error.to_string().contains("/repos/rust-lang/log/issues/7"),
            "{error}"
        );
        assert_eq!(log.count(), 1, "{status} {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_permission_refused_with_the_last_call_of_the_hour_is_no_limit() {
    let (client, _) = client_of(&config(&["t"]), |_| {
        let budget = [("x-ratelimit-limit", "60"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", &epoch(9))];
        reply(403, &budget, r#"{"message":"Resource not accessible by integration"}"#)
    });
    assert_eq!(*ask(&client).await.unwrap_err().kind(), ErrorKind::Forbidden);
}

#[tokio::test(start_paused = true)]
async fn passing_failures_are_retried_and_then_told() {
    for (status, body, kind) in [
        (500, "oops", ErrorKind::Unavailable),
        (502, "<html>Bad Gateway</html>", ErrorKind::Unavailable),
        (503, "", ErrorKind::Unavailable),
        (202, "{}", ErrorKind::Unavailable),
        (200, "", ErrorKind::BadAnswer),
        (200, "<html>", ErrorKind::BadAnswer),
        (200, r#"{"number":7"#, ErrorKind::BadAnswer),
        (304, "", ErrorKind::BadAnswer),
        (301, "{}", ErrorKind::BadAnswer),
        (206, "{}", ErrorKind::BadAnswer),
    ] {
        let (client, log) = client_of(&config(&["t"]), move |_| reply(status, &[], body));
        assert_eq!(*ask(&client).await.unwrap_err().kind(), kind, "{status} {body}");
        assert_eq!((log.count(), client.calls()), (4, 4), "{status} {body}");

        let answered = AtomicUsize::new(0);
        let (client, log) = client_of(&config(&["t"]), move |_| match answered.fetch_add(1, Ordering::Relaxed) {
            0..3 => reply(status, &[], body),
            _ => reply(200, &[], r#"{"number":7}"#),
        });
        let Answer::Found(found) = ask(&client).await.unwrap() else { panic!("{status}") };
        assert_eq!(found.body, json!({"number": 7}));
        let times: Vec<_> = log.all().iter().map(|seen| seen.at).collect();
        let waits: Vec<f64> = times.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_secs_f64()).collect();
        for (wait, first) in waits.iter().zip([0.25, 0.5, 1.0]) {
            assert!((first..=first * 3.0 + 0.01).contains(wait), "backoff doubles: {waits:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_redirect_that_is_not_githubs_own_says_nothing_of_what_was_asked_for() {
    for (status, location) in [
        (301, "https://evil.example/repositories/9/issues/3"),
        (301, "http://api.github.com/repos/rust-lang/log/issues/7"),
        (308, "//login.example/?return_to=/repos/rust-lang/log/issues/7"),
        (302, "/repositories/9/issues/3"),
        (303, "/repositories/9/issues/3"),
        (307, "/repositories/9/issues/3"),
    ] {
        let (client, _) = client_of(&config(&["t"]), move |_| reply(status, &[("location", location)], "{}"));
        let error = ask(&client).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::BadAnswer, "{status} {location}");
    }
}

#[tokio::test(start_paused = true)]
async fn json_nested_without_end_is_a_bad_answer_and_no_crash() {
    let (client, _) = client_of(&config(&[]), |_| reply(200, &[], &"[".repeat(1_000_000)));
    assert_eq!(*ask(&client).await.unwrap_err().kind(), ErrorKind::BadAnswer);
}

#[tokio::test(start_paused = true)]
async fn requests_carry_what_github_asks_for_and_nothing_twice() {
    let with = Config { user_agent: "gharvest-test".to_owned(), ..config(&["secret-token"]) };
    let (client, log) = client_of(&with, |_| reply(200, &[], "{}"));
    ask(&client).await.unwrap();
    let seen = &log.all()[0];
    assert_eq!(seen.uri, "https://api.github.com/repos/rust-lang/log/issues/7");
    for (name, value) in [
        ("accept", "application/vnd.github+json"),
        ("accept-encoding", "gzip"),
        ("user-agent", "gharvest-test"),
        ("x-github-api-version", "2022-11-28"),
        ("authorization", "Bearer secret-token"),
    ] {
        let values: Vec<_> = seen.headers.get_all(name).iter().collect();
        assert_eq!(values, [value], "{name}");
    }
    assert_eq!(seen.headers.len(), 5, "{:?}", seen.headers);

    let (client, log) = client_of(&config(&["", "  \n"]), |_| reply(200, &[], "{}"));
    ask(&client).await.unwrap();
    assert_eq!(log.all()[0].header("authorization"), None, "empty tokens are nobody");
}

#[tokio::test(start_paused = true)]
async fn lists_are_followed_by_link_alone_and_204_is_an_empty_one() {
    let (client, log) = client_of(&config(&["t"]), |seen| match seen.uri.rsplit_once('?').unwrap().1 {
        "per_page=100" => reply(
            200,
            &[(
                "link",
                r#"<https://api.github.com/repositories/7/labels?page=2>; rel="next", <https://api.github.com/repositories/7/labels?page=2>; rel="last""#,
            )],
            "[1]",
        ),
        _ => reply(204, &[], ""),
    });
    let Answer::Found(first) = client.get(&Resource::Labels(name()), None, Purpose::Scheduled).await.unwrap() else {
        panic!()
    };
    assert_eq!((&first.body, first.last_page), (&json!([1]), Some(2)));
    let next = Resource::Address(first.next.unwrap());
    let Answer::Found(second) = client.get(&next, None, Purpose::Scheduled).await.unwrap() else { panic!() };
    assert_eq!((second.body, second.next), (json!([]), None));
    assert_eq!(log.all()[1].uri, "https://api.github.com/repositories/7/labels?page=2");
}

#[tokio::test(start_paused = true)]
async fn an_address_elsewhere_is_never_asked() {
    let (client, log) = client_of(&config(&["t"]), |_| reply(200, &[], "{}"));
    for address in ["https://evil.example/repos", "http://api.github.com/repos", "https://api.github.com:444/", "x"] {
        let error = client.get(&Resource::Address(address.to_owned()), None, Purpose::Live).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Refused, "{address}");
    }
    assert_eq!(log.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn enterprise_servers_are_asked_below_their_prefix() {
    let with = Config { api_url: "https://ghe.example/api/v3/".to_owned(), ..config(&["t"]) };
    let (client, log) = client_of(&with, |_| reply(200, &[], "{}"));
    ask(&client).await.unwrap();
    let next = Resource::Address("https://ghe.example/api/v3/repositories/1/issues?page=2".to_owned());
    client.get(&next, None, Purpose::Live).await.unwrap();
    let uris: Vec<_> = log.all().into_iter().map(|seen| seen.uri).collect();
    assert_eq!(
        uris,
        [
            "https://ghe.example/api/v3/repos/rust-lang/log/issues/7",
            "https://ghe.example/api/v3/repositories/1/issues?page=2"
        ]
    );
}

/// Answers 304 to the ETag of this token, as GitHub does: the hash covers the token.
fn conditional(seen: &Seen) -> super::stub::Reply {
    let etag = format!("\"{}\"", seen.token());
    let budget = if seen.token() == "big" { "4000" } else { "3000" };
    let headers = [
        ("etag", etag.as_str()),
        ("x-ratelimit-limit", "5000"),
        ("x-ratelimit-remaining", budget),
        ("x-ratelimit-reset", &epoch(1800)),
    ];
    let status = if seen.header("if-none-match") == Some(&etag) { 304 } else { 200 };
    reply(status, &headers, "{}")
}

#[tokio::test(start_paused = true)]
async fn an_etag_goes_back_with_the_token_that_got_it() {
    let (client, log) = client_of(&config(&["big", "small"]), conditional);
    client.refresh_budgets().await.unwrap();
    let Answer::Found(found) = ask(&client).await.unwrap() else { panic!() };
    assert_eq!(log.all().last().unwrap().token(), "big");
    let etag = found.etag.unwrap();
    assert!(!etag.contains("big:"), "an ETag is stored, and must not tell the token: {etag}");

    let (other, log) = client_of(&config(&["other", "small", "big"]), conditional);
    assert_eq!(other.get(&issue(7), Some(&etag), Purpose::Backfill).await.unwrap(), Answer::NotModified);
    assert_eq!(log.all()[0].token(), "big", "the ETag's token goes first");

    let (stranger, log) = client_of(&config(&["small"]), conditional);
    assert!(matches!(stranger.get(&issue(7), Some(&etag), Purpose::Live).await.unwrap(), Answer::Found(_)));
    assert_eq!(log.all()[0].header("if-none-match"), None, "another token's ETag would never match");
}

#[tokio::test(start_paused = true)]
async fn a_weak_etag_is_the_same_as_its_strong_form() {
    let (client, log) = client_of(&config(&[]), |_| reply(200, &[("etag", "W/\"abc\"")], "{}"));
    let answer = client.get(&issue(7), Some("anonymous:\"abc\""), Purpose::Live).await.unwrap();
    assert_eq!(answer, Answer::NotModified);
    assert_eq!(log.all()[0].header("if-none-match"), Some("\"abc\""));
}

#[tokio::test(start_paused = true)]
async fn etags_that_nobody_gave_are_ignored() {
    let (client, log) = client_of(&config(&[]), |_| reply(200, &[], "{}"));
    for etag in ["", "abc", ":", "anonymous:", "anonymous:a\r\nx: y", "x:\"1\""] {
        assert!(
            matches!(client.get(&issue(7), Some(etag), Purpose::Live).await.unwrap(), Answer::Found(_)),
            "{etag:?}"
        );
    }
    assert!(log.all().iter().all(|seen| !seen.headers.contains_key("x")));
}

/// Collects everything that is logged.
#[derive(Clone, Default)]
struct Written(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn no_token_and_no_body_is_told_by_logs_errors_or_debug_output() {
    let written = Written::default();
    let writer = written.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut told = String::new();
    for (status, body) in [
        (200, "canary-body not json canary-token"),
        (200, r#"{"canary-body": "canary-token"}"#),
        (401, r#"{"message":"Bad credentials: canary-token","x":"canary-body"}"#),
        (403, r#"{"message":"no: Bearer canary-token","x":"canary-body"}"#),
        (422, r#"{"message":"wrong: canary-token","x":"canary-body"}"#),
        (500, "canary-body canary-token"),
        (429, "canary-body canary-token"),
    ] {
        let (client, log) = client_of(&config(&["canary-token"]), move |_| reply(status, &[], body));
        if let Err(error) = ask(&client).await {
            told += &format!("{error} {error:?} {:?}\n", std::error::Error::source(&error));
        }
        told += &format!("{client:?} {:?} {:?}\n", client.budgets(), client.blocked_until(Purpose::Live));
        assert_eq!(log.all()[0].token(), "canary-token", "the canary was really sent");
    }
    told += &String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    assert!(told.contains("set aside"), "something was logged: {told}");
    assert!(!told.contains("canary"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_full_last_page_has_no_etag_for_what_comes_next_would_not_change_it() {
    for (entries, next, has_etag) in
        [(0, false, true), (99, false, true), (100, false, false), (100, true, true), (101, false, false)]
    {
        let (client, _) = client_of(&config(&["t"]), move |_| {
            let next = next.then_some(("link", r#"<https://api.github.com/repositories/1/issues?page=2>; rel="next""#));
            let headers: Vec<_> = [("etag", r#""abc""#)].into_iter().chain(next).collect();
            reply(200, &headers, &json!(vec![json!({}); entries]).to_string())
        });
        let answer = client.get(&Resource::Timeline(name(), 7), None, Purpose::Live).await.unwrap();
        let Answer::Found(found) = answer else { panic!("{answer:?}") };
        assert_eq!(found.etag.is_some(), has_etag, "{entries} entries, another page: {next}");
    }
}
