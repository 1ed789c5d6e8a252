//! Tokens of GitHub App installations: got, renewed before they end, and given up on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use gharvest_state::State;
use jiff::SignedDuration;
use secrecy::SecretString;

use super::stub::{MemoryState, Reply, Seen, client_of, client_sharing, config, issue, reply, start};
use crate::{AppInstallation, Client, Clock, Config, ErrorKind, Purpose, TokenUse};

fn installed(ids: &[u64]) -> Config {
    let installation = |id: &u64| AppInstallation {
        app: "12".to_owned(),
        private_key: SecretString::from(include_str!("../../testdata/app-key.pem")),
        installation: *id,
        used_for: TokenUse::Anything,
    };
    Config { installations: ids.iter().map(installation).collect(), ..config(&[]) }
}

fn is_renewal(seen: &Seen) -> bool {
    seen.uri.ends_with("/access_tokens")
}

/// A token that lives an hour.
fn token(seen: &Seen, secret: &str) -> Reply {
    let expires_at = seen.at + SignedDuration::from_hours(1);
    reply(201, &[], &format!(r#"{{"token":"{secret}","expires_at":"{expires_at}"}}"#))
}

async fn ask(client: &Client) {
    client.get(&issue(7), None, Purpose::Live).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_token_is_got_once_and_renewed_before_it_ends() {
    let issued = AtomicUsize::new(0);
    let (client, log) = client_of(&installed(&[77]), move |seen| {
        if !is_renewal(seen) {
            return reply(200, &[], "{}");
        }
        token(seen, &format!("ghs_secret-{}", issued.fetch_add(1, Ordering::Relaxed)))
    });
    futures::future::join_all((0..5).map(|_| ask(&client))).await;
    let all = log.all();
    assert_eq!(all[0].uri, "https://api.github.com/app/installations/77/access_tokens");
    assert_eq!(all[0].token().split('.').count(), 3, "a JWT");
    assert_eq!(all[0].header("user-agent"), Some("gharvest"));
    assert_eq!(all.iter().filter(|seen| is_renewal(seen)).count(), 1);
    assert!(all[1..].iter().all(|seen| seen.token() == "ghs_secret-0"));

    tokio::time::advance(Duration::from_secs(56 * 60)).await;
    ask(&client).await;
    assert_eq!(
        log.all().last().unwrap().token(),
        "ghs_secret-1",
        "four minutes before its end it is not used any more"
    );
    assert!(client.can_graphql());
}

#[tokio::test(start_paused = true)]
async fn a_revoked_token_is_replaced_and_only_a_new_one_refused_sets_the_installation_aside() {
    let revoked = Arc::new(AtomicBool::new(false));
    let (issued, switch) = (AtomicUsize::new(0), Arc::clone(&revoked));
    let (client, log) = client_of(&installed(&[77]), move |seen| {
        if is_renewal(seen) {
            return token(seen, &format!("ghs_secret-{}", issued.fetch_add(1, Ordering::Relaxed)));
        }
        let refused =
            switch.load(Ordering::Relaxed) && seen.token() == "ghs_secret-0" || seen.token() == "ghs_secret-2";
        reply(if refused { 401 } else { 200 }, &[], r#"{"message":"Bad credentials"}"#)
    });
    ask(&client).await;
    revoked.store(true, Ordering::Relaxed);
    tokio::time::advance(Duration::from_secs(600)).await;
    ask(&client).await;
    assert_eq!(log.all().last().unwrap().token(), "ghs_secret-1");

    tokio::time::advance(Duration::from_secs(3600)).await;
    let error = client.get(&issue(7), None, Purpose::Live).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Unauthorized);
    assert!(client.budgets()[0].trouble.as_ref().is_some_and(|trouble| trouble.contains("Bad credentials")));
    assert_eq!(client.budgets()[0].token, "installation 77");
}

#[tokio::test(start_paused = true)]
async fn an_installation_that_is_gone_is_set_aside_and_the_others_work_on() {
    for status in [401, 403, 404] {
        let (client, log) = client_of(&installed(&[1, 2]), move |seen| match seen.uri.as_str() {
            "https://api.github.com/app/installations/1/access_tokens" => {
                reply(status, &[], r#"{"message":"suspended"}"#)
            }
            _ if is_renewal(seen) => token(seen, "ghs_second-one"),
            _ => reply(200, &[], "{}"),
        });
        ask(&client).await;
        ask(&client).await;
        assert_eq!(log.all().last().unwrap().token(), "ghs_second-one", "{status}");
        assert_eq!(log.count(), 4, "{status}: the first is asked once");
        let trouble = client.budgets()[0].trouble.clone().unwrap();
        assert!(trouble.contains("suspended"), "{trouble}");
    }
}

#[tokio::test(start_paused = true)]
async fn outages_of_the_token_endpoint_are_retried() {
    let calls = AtomicUsize::new(0);
    let (client, _) = client_of(&installed(&[1]), move |seen| match calls.fetch_add(1, Ordering::Relaxed) {
        0 => reply(502, &[], ""),
        1 => reply(201, &[], "{}"),
        _ if is_renewal(seen) => token(seen, "ghs_third-try"),
        _ => reply(200, &[], "{}"),
    });
    ask(&client).await;
}

#[tokio::test(start_paused = true)]
async fn an_installation_that_one_process_was_refused_is_not_tried_by_another_with_the_same_key() {
    let state: Arc<dyn State> = Arc::new(MemoryState::default());
    let clock = Clock::following_tokio(start());
    let answer = |seen: &Seen| match seen.uri.as_str() {
        "https://api.github.com/app/installations/1/access_tokens" => reply(403, &[], r#"{"message":"suspended"}"#),
        _ if is_renewal(seen) => token(seen, "ghs_second-one"),
        _ => reply(200, &[], "{}"),
    };
    let sharing = |config: &Config| client_sharing(config, Some(Arc::clone(&state)), clock.clone(), answer);
    let ((first, _), (second, log)) = (sharing(&installed(&[1, 2])), sharing(&installed(&[1, 2])));
    ask(&first).await;
    ask(&second).await;
    let asked_first = |seen: &Seen| seen.uri.contains("/installations/1/");
    assert!(!log.all().iter().any(asked_first), "the first told that it is suspended");
    let report = second.tokens().into_iter().find(|report| report.trouble.is_some()).unwrap();
    assert_eq!((report.token.as_str(), report.trouble.as_deref()), ("installation 1", Some("403: suspended")));
    let shared = state.list("trouble/").await.unwrap();
    assert!(shared.len() == 1 && shared[0].0.starts_with("trouble/app-12-1-"), "{shared:?}");
    // Another key of the same App may be accepted.
    let mut renewed = installed(&[1, 2]);
    for installation in &mut renewed.installations {
        installation.private_key = SecretString::from(include_str!("../../testdata/app-key-pkcs8.pem"));
    }
    let (third, log) = sharing(&renewed);
    ask(&third).await;
    assert!(log.all().iter().any(asked_first));
    // All try it again after the same time.
    tokio::time::advance(Duration::from_secs(15 * 60)).await;
    let (fourth, log) = sharing(&installed(&[1]));
    fourth.get(&issue(7), None, Purpose::Live).await.unwrap_err();
    assert!(log.all().iter().any(asked_first));
}

#[tokio::test(start_paused = true)]
async fn a_proof_that_one_process_was_refused_is_tried_by_another_whose_clock_may_be_right() {
    let state: Arc<dyn State> = Arc::new(MemoryState::default());
    let clock = Clock::following_tokio(start());
    let client = |is_fast: bool| {
        let refusal = r#"{"message":"'Issued at' claim ('iat') must be in the past"}"#;
        let answer = move |seen: &Seen| {
            if !is_renewal(seen) {
                reply(200, &[], "{}")
            } else if is_fast {
                reply(401, &[], refusal)
            } else {
                token(seen, "ghs_installed")
            }
        };
        client_sharing(&installed(&[1]), Some(Arc::clone(&state)), clock.clone(), answer)
    };
    let ((fast, _), (punctual, _)) = (client(true), client(false));
    let error = fast.get(&issue(7), None, Purpose::Live).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Unauthorized);
    ask(&punctual).await;
    assert_eq!(state.list("trouble/").await.unwrap(), []);
}
