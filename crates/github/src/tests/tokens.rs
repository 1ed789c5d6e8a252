//! Tokens: what each is for and can see, and how they come and go while work goes on.

use std::{sync::Mutex, time::Duration};

use super::stub::{Reply, Seen, client_of, config, epoch, issue, reply};
use crate::{Answer, AppInstallation, Client, Config, ErrorKind, PersonalToken, Purpose, TokenKind, TokenUse};

fn token(secret: &str, used_for: TokenUse) -> PersonalToken {
    PersonalToken { used_for, ..secret.into() }
}

fn reserved() -> Config {
    let tokens = vec![token("ghp_live", TokenUse::Live), token("ghp_scheduled", TokenUse::Scheduled)];
    Config { tokens, ..config(&[]) }
}

fn with_left(remaining: u64) -> Reply {
    let left = remaining.to_string();
    let reset = epoch(3600);
    let headers = [
        ("x-ratelimit-limit", "5000"),
        ("x-ratelimit-remaining", left.as_str()),
        ("x-ratelimit-reset", reset.as_str()),
        ("x-ratelimit-resource", "core"),
    ];
    reply(200, &headers, "{}")
}

async fn ask(client: &Client, purpose: Purpose) -> Result<(), ErrorKind> {
    client.get(&issue(7), None, purpose).await.map(drop).map_err(|error| error.kind().clone())
}

#[tokio::test(start_paused = true)]
async fn a_reserved_token_does_its_work_and_no_other() {
    let (client, log) = client_of(&reserved(), |_| with_left(4000));
    for purpose in [Purpose::Live, Purpose::Scheduled, Purpose::Backfill] {
        ask(&client, purpose).await.unwrap();
    }
    let used: Vec<_> = log.all().iter().map(|seen| seen.token().to_owned()).collect();
    assert_eq!(used, ["ghp_live", "ghp_scheduled", "ghp_scheduled"]);
    let budgets_for = |purpose| client.budgets_for(purpose).into_iter().map(|budget| budget.token).collect::<Vec<_>>();
    assert_eq!(budgets_for(Purpose::Live), ["token 1"]);
    assert_eq!(budgets_for(Purpose::Backfill), ["token 2"], "shares are taken of what may be used");
    assert_eq!(client.budgets().len(), 2);
    assert_eq!(client.calls_an_hour(Purpose::Backfill), 5000);
}

#[tokio::test(start_paused = true)]
async fn where_no_limits_are_told_calls_are_those_of_the_clients_own_pace() {
    let config = Config { points_per_minute: 700, ..config(&["a"]) };
    let (client, _) = client_of(&config, |_| reply(404, &[], ""));
    assert_eq!(client.refresh_budgets().await.unwrap(), []);
    assert_eq!(client.calls_an_hour(Purpose::Backfill), 42_000);
    // A token that is not accepted is no server without limits.
    let (client, _) = client_of(&config, |_| reply(401, &[], ""));
    client.refresh_budgets().await.unwrap();
    assert_eq!(client.calls_an_hour(Purpose::Backfill), 0);
    // Nor is one beside another a limit.
    let config = Config { tokens: vec!["refused".into(), "a".into()], ..config };
    let (client, _) = client_of(&config, |seen| reply(if seen.token() == "refused" { 401 } else { 404 }, &[], ""));
    client.refresh_budgets().await.unwrap();
    assert_eq!(client.calls_an_hour(Purpose::Backfill), 42_000);
}

#[tokio::test(start_paused = true)]
async fn an_etag_is_free_with_the_token_that_it_belongs_to_for_the_work_that_has_it() {
    let with_etag = |_: &Seen| reply(200, &[("etag", "\"x\"")], "{}");
    let etag = async |client: &Client, purpose| {
        let Answer::Found(found) = client.get(&issue(7), None, purpose).await.unwrap() else { panic!("it is found") };
        found.etag.unwrap()
    };
    let (client, _) = client_of(&reserved(), with_etag);
    let (live, scheduled) = (etag(&client, Purpose::Live).await, etag(&client, Purpose::Backfill).await);
    assert!(client.is_free(&live, Purpose::Live) && !client.is_free(&live, Purpose::Backfill));
    assert!(client.is_free(&scheduled, Purpose::Backfill));
    let (other, _) = client_of(&config(&["another"]), with_etag);
    assert!(!other.is_free(&scheduled, Purpose::Backfill), "its token is gone");
    let (nobody, _) = client_of(&config(&[]), with_etag);
    let anonymous = etag(&nobody, Purpose::Backfill).await;
    assert!(!nobody.is_free(&anonymous, Purpose::Backfill), "GitHub counts its 304");
}

#[tokio::test(start_paused = true)]
async fn any_answer_tells_how_far_the_clocks_are_apart() {
    let (client, _) = client_of(&config(&["a"]), |_| reply(401, &[("date", "Wed, 31 Dec 2025 23:59:00 GMT")], ""));
    assert_eq!(client.clock_ahead(), None);
    client.refresh_budgets().await.unwrap();
    assert_eq!(client.clock_ahead().unwrap().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn what_one_kind_of_work_used_up_leaves_the_other_its_budget() {
    // The scheduled token may be used to its last call: nothing of it is kept for live work.
    for (used_up, stopped) in [("ghp_scheduled", Purpose::Backfill), ("ghp_live", Purpose::Live)] {
        let (client, log) = client_of(&reserved(), move |seen| with_left(if seen.token() == used_up { 0 } else { 1 }));
        ask(&client, Purpose::Live).await.unwrap();
        ask(&client, Purpose::Backfill).await.unwrap();
        let others: Vec<_> =
            [Purpose::Live, Purpose::Backfill].into_iter().filter(|purpose| *purpose != stopped).collect();
        assert!(matches!(ask(&client, stopped).await, Err(ErrorKind::RateLimited { .. })), "{used_up}");
        for purpose in others {
            ask(&client, purpose).await.unwrap();
        }
        assert_eq!(log.count(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_stops_working_is_set_aside_and_work_goes_on_with_the_others() {
    let (client, log) = client_of(&config(&["ghp_good", "ghp_revoked"]), |seen| match seen.token() {
        "ghp_revoked" => reply(401, &[], r#"{"message":"Bad credentials"}"#),
        _ => with_left(100),
    });
    for _ in 0..5 {
        ask(&client, Purpose::Live).await.unwrap();
    }
    assert_eq!(log.all().iter().filter(|seen| seen.token() == "ghp_revoked").count(), 1, "it is asked once");
    let troubles: Vec<_> = client.tokens().into_iter().map(|one| (one.token, one.trouble)).collect();
    assert_eq!(troubles[0], ("token 1".to_owned(), None));
    assert!(troubles[1].1.as_ref().is_some_and(|trouble| trouble.contains("Bad credentials")), "{troubles:?}");

    // It may have been an outage: after a while it is tried again.
    tokio::time::advance(Duration::from_secs(16 * 60)).await;
    ask(&client, Purpose::Live).await.unwrap();
    assert_eq!(log.all().iter().filter(|seen| seen.token() == "ghp_revoked").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn tokens_come_and_go_while_what_stays_keeps_its_budget() {
    let (client, log) = client_of(&config(&["ghp_first", "ghp_second"]), |seen| {
        with_left(if seen.token() == "ghp_second" { 4100 } else { 4000 })
    });
    ask(&client, Purpose::Live).await.unwrap();
    ask(&client, Purpose::Live).await.unwrap();
    client.set_tokens(&["ghp_second".into(), "ghp_third".into()], &[]).unwrap();
    let budgets = client.budgets();
    assert_eq!(budgets.len(), 1, "nothing is known of the new one: {budgets:?}");
    assert_eq!((budgets[0].token.as_str(), budgets[0].remaining), ("token 1", 4100));
    for _ in 0..3 {
        ask(&client, Purpose::Live).await.unwrap();
    }
    let used: Vec<_> = log.all()[2..].iter().map(|seen| seen.token().to_owned()).collect();
    assert_eq!(used, ["ghp_third", "ghp_second", "ghp_second"], "the one with the most left, never the withdrawn one");

    let refused = client.set_tokens(&[token("ghp_fourth", TokenUse::Live)], &[]).unwrap_err();
    assert_eq!(*refused.kind(), ErrorKind::Misconfigured);
    assert_eq!(client.tokens().len(), 2, "a change that cannot be used changes nothing");
    client.set_tokens(&[], &[]).unwrap();
    assert_eq!(client.tokens()[0].kind, TokenKind::Anonymous);
    ask(&client, Purpose::Live).await.unwrap();
    assert_eq!(log.all().last().unwrap().header("authorization"), None);
}

#[tokio::test(start_paused = true)]
async fn an_installation_that_stays_keeps_its_token_unless_its_key_changed() {
    let installation = |key: &str| AppInstallation {
        app: "12".to_owned(),
        private_key: key.into(),
        installation: 7,
        used_for: TokenUse::Anything,
    };
    let key = include_str!("../../testdata/app-key.pem");
    let issued = Mutex::new(0);
    let config = Config { installations: vec![installation(key)], ..config(&[]) };
    let (client, log) = client_of(&config, move |seen: &Seen| {
        if !seen.uri.ends_with("/access_tokens") {
            return with_left(100);
        }
        let mut issued = issued.lock().unwrap();
        *issued += 1;
        let expires_at = seen.at + jiff::SignedDuration::from_hours(1);
        reply(201, &[], &format!(r#"{{"token":"ghs_secret-{issued}","expires_at":"{expires_at}"}}"#))
    });
    ask(&client, Purpose::Live).await.unwrap();
    client.set_tokens(&["ghp_other".into()], &[installation(key)]).unwrap();
    client.set_tokens(&[], &[installation(key)]).unwrap();
    ask(&client, Purpose::Live).await.unwrap();
    assert_eq!(log.all().last().unwrap().token(), "ghs_secret-1");
    client.set_tokens(&[], &[installation(include_str!("../../testdata/app-key-pkcs8.pem"))]).unwrap();
    ask(&client, Purpose::Live).await.unwrap();
    assert_eq!(log.all().last().unwrap().token(), "ghs_secret-2");
    assert_eq!(client.budgets().len(), 1, "one budget for the installation");
}

#[tokio::test(start_paused = true)]
async fn each_token_says_its_scopes_and_what_it_cannot_see() {
    let (client, _) = client_of(&config(&["ghp_none", "ghp_repo", "github_pat_fine"]), |seen| match seen.token() {
        "ghp_none" => reply(200, &[("x-oauth-scopes", "")], "{}"),
        "ghp_repo" => reply(200, &[("x-oauth-scopes", "repo, read:org")], "{}"),
        _ => reply(200, &[], "{}"),
    });
    client.refresh_budgets().await.unwrap();
    let reports = client.tokens();
    assert_eq!(reports[0].scopes, Some(vec![]));
    assert!(reports[0].blindness().contains("public repositories only"));
    assert_eq!(reports[1].scopes, Some(vec!["repo".to_owned(), "read:org".to_owned()]));
    assert!(reports[1].blindness().contains("what its user sees"));
    assert_eq!((reports[2].kind, &reports[2].scopes), (TokenKind::FineGrained, &None));
    assert!(reports[2].blindness().contains("cross-references"));
}
