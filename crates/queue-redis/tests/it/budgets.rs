//! Token budgets that several downloaders share through one server: what one learns the other knows.

use gharvest_github::{Client, Config, ErrorKind, Purpose, Resource, Result};
use gharvest_github_simulator::{Fault, Options, Rule, Simulator, Token, World};
use gharvest_model::RepositoryName;
use gharvest_queue_redis::RedisState;

use crate::support::{Namespace, Place};

const TOKENS: [&str; 2] = ["token-of-ann", "token-of-bob"];

/// A GitHub, and the clients of two downloaders with a connection each to the state they share.
struct Two {
    simulator: Simulator,
    clients: [Client; 2],
    _namespace: Namespace,
}

impl Two {
    /// With so many calls an hour for each of the first so many tokens. None where there is no server.
    async fn new(test: &str, tokens: usize, limit: u64) -> Option<Self> {
        let url = Place::Redis.url(test)?;
        let namespace = Namespace::new(&url);
        let tokens = &TOKENS[..tokens];
        let known = |token: &&str| Token { value: (*token).to_owned(), login: (*token).to_owned(), limit };
        let options = Options { tokens: tokens.iter().map(known).collect(), ..Options::unlimited() };
        let simulator = Simulator::start(World::generated(1, repository(), 5), options).unwrap();
        let config = Config {
            api_url: simulator.api_url(),
            tokens: tokens.iter().map(|token| (*token).into()).collect(),
            ..Config::default()
        };
        let mut clients = Vec::new();
        for _ in 0..2 {
            let state = RedisState::connect(&url, &namespace.name).await.unwrap();
            clients.push(Client::with_state(config.clone(), Some(state)).unwrap());
        }
        let clients = clients.try_into().unwrap_or_else(|_| unreachable!("two were made"));
        Some(Self { simulator, clients, _namespace: namespace })
    }
}

fn repository() -> RepositoryName {
    "lumen/lumen".parse().unwrap()
}

async fn ask(client: &Client) -> Result<()> {
    client.get(&Resource::Repository(repository()), None, Purpose::Live).await.map(drop)
}

#[tokio::test]
async fn what_one_downloader_spends_the_other_has_no_more() {
    let Some(two) = Two::new("what_one_downloader_spends_the_other_has_no_more", 1, 1).await else { return };
    let [first, second] = &two.clients;
    ask(first).await.unwrap();
    let error = ask(second).await.unwrap_err();
    let reset_at = first.budgets()[0].reset_at;
    assert!(error.retry_at().is_some_and(|at| at >= reset_at), "{error}");
    assert_eq!(second.budgets(), first.budgets());
    assert_eq!((first.calls(), second.calls()), (1, 0), "the second never asked GitHub");
    assert_eq!(two.simulator.control().violations(), []);
}

#[tokio::test]
async fn a_wait_that_one_downloader_was_told_stops_the_other() {
    let Some(two) = Two::new("a_wait_that_one_downloader_was_told_stops_the_other", 1, 5000).await else { return };
    let [first, second] = &two.clients;
    let limit = Fault::SecondaryLimit { retry_after_s: Some(600), status: 403 };
    two.simulator.control().inject(Rule::once(limit));
    let told = ask(first).await.unwrap_err().retry_at().unwrap();
    let known = ask(second).await.unwrap_err().retry_at().unwrap();
    assert_eq!(known, told);
    assert_eq!((first.calls(), second.calls()), (1, 0), "the second never asked GitHub");
    assert_eq!(two.simulator.control().violations(), []);
}

#[tokio::test]
async fn a_token_that_one_downloader_was_refused_is_left_alone_by_the_other() {
    let test = "a_token_that_one_downloader_was_refused_is_left_alone_by_the_other";
    let Some(two) = Two::new(test, 1, 5000).await else { return };
    let [first, second] = &two.clients;
    two.simulator.control().revoke_token(TOKENS[0]);
    assert_eq!(*ask(first).await.unwrap_err().kind(), ErrorKind::Unauthorized);
    assert_eq!(*ask(second).await.unwrap_err().kind(), ErrorKind::Unauthorized);
    assert_eq!((first.calls(), second.calls()), (1, 0), "the second never asked GitHub");
}

#[tokio::test]
async fn two_downloaders_spend_two_budgets_to_the_end_and_no_more() {
    const LIMIT: u64 = 12;
    let test = "two_downloaders_spend_two_budgets_to_the_end_and_no_more";
    let Some(two) = Two::new(test, 2, LIMIT).await else { return };
    let mut spent = 0;
    for client in two.clients.iter().cycle() {
        match ask(client).await {
            Ok(()) => spent += 1,
            Err(error) => {
                assert!(error.retry_at().is_some(), "{error}");
                break;
            }
        }
    }
    assert_eq!(spent, 2 * LIMIT);
}
