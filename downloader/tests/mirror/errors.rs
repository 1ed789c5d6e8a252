//! Everything that GitHub's GraphQL says instead of an answer: a mirror through it is what GitHub shows, what was told
//! is kept, the rest is asked for again in smaller requests, and what fails alone goes by REST.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use gharvest_downloader::fetch::{GraphqlFetcher, RestFetcher};
use gharvest_github_simulator::{Change, Control, Exchange, Fault, GraphqlError, Options, Rule, Simulator, Withheld};
use gharvest_model::{ItemId, Lane, QueueName, Subject, record::Origin};

use crate::world::{MIRRORED, World, nothing};

const ITEMS: u64 = 40;
const ERRORS: [GraphqlError; 3] = [GraphqlError::Forbidden, GraphqlError::WentWrong, GraphqlError::ResourceLimits];
/// How many threads the first request holds.
const FIRST_BATCH: usize = 25;

/// A GitHub with several threads of more than a page, which keeps what GraphQL says.
fn github() -> Arc<Simulator> {
    let name = MIRRORED.parse().unwrap();
    let github = gharvest_github_simulator::World::generated(1, name, ITEMS);
    let simulator = Simulator::start(github, Options { keep_graphql: true, ..Options::unlimited() }).unwrap();
    let name = MIRRORED.parse().unwrap();
    for number in [1, 3, 4] {
        for word in 0..105 {
            let body = format!("word {word}");
            drop(simulator.control().change(&name, Change::Comment { number, body }).unwrap());
        }
    }
    Arc::new(simulator)
}

/// What came of a mirror.
struct Mirrored {
    /// The items whose timelines came by GraphQL.
    by_graphql: BTreeSet<u64>,
    /// The numbers that each request for threads asked for.
    asked: Vec<Vec<u64>>,
}

/// Mirrors under these rules, and compares with the truth.
async fn mirror(simulator: &Arc<Simulator>, rules: Vec<Rule>) -> Mirrored {
    let control = simulator.control();
    let before = control.graphql_exchanges().len();
    for rule in rules.clone() {
        control.inject(rule);
    }
    let mut world = World::on(Arc::clone(simulator)).await;
    world.options.graphql = true;
    world.options.worker.batch = 400;
    world.options.worker.workers = 1;
    world.track().await;
    work_without_patience(&world).await;
    control.clear_faults();
    let differences = world.differences().await;
    assert!(differences.is_empty(), "{rules:?}: {differences:#?}");
    assert_eq!(world.counts(QueueName::Download).await.buried, 0, "{rules:?}");
    assert_eq!(control.violations(), [], "{rules:?}");
    let asked = control.graphql_exchanges()[before..].iter().filter_map(threads).collect();
    Mirrored { by_graphql: by_graphql(&world).await, asked }
}

/// Works until nothing is left to do, and waits for no outage of GraphQL's to end.
async fn work_without_patience(world: &World) {
    let rest = RestFetcher::new(world.client.clone(), world.options.max_timeline_pages);
    let fetcher = GraphqlFetcher::new(world.client.clone(), rest).with_patience(Duration::ZERO);
    world.work_by(world.downloader().with_fetcher(Arc::new(fetcher))).await;
}

/// The items whose timelines came by GraphQL.
async fn by_graphql(world: &World) -> BTreeSet<u64> {
    let mut by_graphql = BTreeSet::new();
    for number in world.control.truth_numbers(&world.name) {
        let item = ItemId { repository: world.id, number };
        let record = world.archive.record(item).await.unwrap().unwrap();
        by_graphql.extend((record.origin.timeline == Some(Origin::Graphql)).then_some(number));
    }
    by_graphql
}

/// How many pages of timelines came by REST.
fn timelines(control: &Control) -> u64 {
    control.requests().get("GET /repos/{owner}/{repo}/issues/{issue_number}/timeline").copied().unwrap_or(0)
}

/// The numbers that a request for threads asks for.
fn threads(exchange: &Exchange) -> Option<Vec<u64>> {
    let query = exchange.request["query"].as_str()?.strip_prefix("query Threads")?;
    let aliases = query.split_whitespace().filter_map(|word| word.strip_prefix('i')?.split_once(':'));
    Some(aliases.filter_map(|(number, _)| number.parse().ok()).collect())
}

fn withhold(what: Withheld, error: GraphqlError) -> Rule {
    Rule { times: None, ..Rule::once(Fault::Withhold { what, error }) }
}

/// How often each number was asked for.
fn times(asked: &[Vec<u64>]) -> BTreeMap<u64, usize> {
    let mut times = BTreeMap::new();
    for number in asked.iter().flatten() {
        *times.entry(*number).or_default() += 1;
    }
    times
}

#[tokio::test]
async fn what_graphql_tells_beside_an_error_is_kept_and_the_rest_comes_in_smaller_requests_and_by_rest() {
    let simulator = github();
    let usual = mirror(&simulator, Vec::new()).await.by_graphql;
    assert!(usual.len() as u64 > ITEMS / 2, "{usual:?}");
    for error in ERRORS {
        let asks_again = error != GraphqlError::Forbidden;
        let kept_back = |number: &u64| number.is_multiple_of(3);
        let told = mirror(&simulator, vec![withhold(Withheld::Items(3), error).on("#Threads")]).await;
        let expected: BTreeSet<u64> = usual.iter().copied().filter(|number| !kept_back(number)).collect();
        assert_eq!(told.by_graphql, expected, "{error:?}");
        assert_eq!(told.asked[0].len(), FIRST_BATCH);
        for (number, times) in times(&told.asked) {
            assert!(times == 1 || kept_back(&number) && asks_again, "{error:?} {number} {times}");
        }
        // Down to one that fails alone; after several of those nobody asks for the others, and all go by REST.
        let mut alone = told.asked.iter().filter(|numbers| numbers.len() == 1).flatten();
        assert_eq!(alone.clone().count() > 0, asks_again, "{error:?} {:?}", told.asked);
        assert!(alone.all(kept_back), "{error:?} {:?}", told.asked);
        if asks_again {
            // Of those that were not asked for yet; what was left out comes afterwards, apart.
            let sizes: Vec<usize> = told.asked.iter().map(Vec::len).take(3).collect();
            assert!(sizes.windows(2).all(|pair| pair[1] <= pair[0] / 2), "{error:?} {sizes:?}");
        }

        let entries = mirror(&simulator, vec![withhold(Withheld::Entries(4), error).on("#Threads")]).await;
        assert!(entries.by_graphql.is_subset(&usual));
        assert!(usual.difference(&entries.by_graphql).all(|number| number.is_multiple_of(4)), "{error:?}");
        assert!(entries.by_graphql.iter().any(|number| !number.is_multiple_of(4)));
        assert!(entries.by_graphql.len() < usual.len(), "a thread that lacks an entry goes by REST: {error:?}");
    }
}

#[tokio::test]
async fn a_graphql_that_tells_nothing_is_asked_less_and_less_and_everything_comes_by_rest() {
    let simulator = github();
    for error in ERRORS {
        for what in [Withheld::Everything, Withheld::Fields] {
            let told = mirror(&simulator, vec![withhold(what, error).on("#Threads")]).await;
            assert_eq!(told.by_graphql, BTreeSet::new(), "{what:?} {error:?}");
            let sizes: Vec<usize> = told.asked.iter().map(Vec::len).collect();
            assert_eq!(sizes[0], FIRST_BATCH);
            if error != GraphqlError::Forbidden {
                assert_eq!(sizes[..5], [25, 12, 6, 3, 1], "{what:?} {error:?} {sizes:?}");
            }
            assert!(sizes.len() < 20, "{what:?} {error:?} {sizes:?}");
        }
    }
}

#[tokio::test]
async fn while_graphql_is_away_backfills_wait_and_live_work_goes_on() {
    /// Whole batches, their halves, and what fails alone: then it is an outage.
    const ASKED: u64 = 7;
    let simulator = github();
    let control = simulator.control();
    control.inject(Rule::often(Fault::Status { status: 502 }, 1.0).on("#Threads"));
    let mut world = World::on(Arc::clone(&simulator)).await;
    world.options.graphql = true;
    world.options.worker.batch = 400;
    world.options.worker.workers = 1;
    world.track().await;
    let downloader = Arc::new(world.downloader());
    world.work_on(Arc::clone(&world.queue) as _, &downloader, |_| control.fault_hits() >= ASKED).await;
    let waiting = world.counts(QueueName::Download).await.outstanding();
    assert!(waiting > ITEMS / 2, "{waiting} wait");
    let by_rest = timelines(&control);
    assert!(by_rest <= 5, "what failed alone: {by_rest}");

    // Somebody waits for one of them; the others are due as well, and GraphQL was asked just now.
    let number = *control.truth_numbers(&world.name).last().unwrap();
    world.push(Subject::item(world.id, number), Lane::Webhook).await;
    world.clock.advance(Duration::from_secs(61));
    world.work_on(Arc::clone(&world.queue) as _, &downloader, |_| timelines(&control) > by_rest).await;
    let item = ItemId { repository: world.id, number };
    assert!(world.archive.record(item).await.unwrap().is_some());
    let counts = world.counts(QueueName::Download).await;
    assert_eq!(counts.outstanding(), waiting - 1, "nothing else went by REST");
    assert_eq!(control.fault_hits(), ASKED, "nobody asks an outage again and again");
    assert_eq!((counts.totals.retried, counts.buried, counts.paused), (0, 0, None), "an outage costs no attempt");

    control.clear_faults();
    world.work().await;
    nothing(&world.differences().await);
    assert!(by_graphql(&world).await.len() as u64 > ITEMS / 2);
}

#[tokio::test]
async fn limits_that_come_with_200_are_waited_for_and_broken_answers_are_asked_for_again() {
    let simulator = github();
    let faults = [
        Fault::PrimaryLimit { reset_in_s: 1, status: 200 },
        Fault::SecondaryLimit { retry_after_s: Some(1), status: 200 },
        Fault::SecondaryLimit { retry_after_s: Some(1), status: 429 },
        Fault::Status { status: 502 },
        Fault::HtmlPage { status: 504 },
        Fault::Truncate,
        Fault::Reset,
    ];
    let hits = simulator.control().fault_hits();
    let rules: Vec<Rule> = faults.iter().map(|fault| Rule::once(fault.clone()).on("#Threads")).collect();
    let told = mirror(&simulator, rules).await;
    assert_eq!(simulator.control().fault_hits() - hits, faults.len() as u64);
    assert!(told.by_graphql.len() as u64 > ITEMS / 3, "{:?}", told.by_graphql);
}

#[tokio::test]
async fn an_error_of_details_or_further_pages_that_never_ends_is_gone_around_by_rest() {
    /// Attempts of a few requests: nobody asks once for each item.
    const MOST: u64 = 40;
    let usual = mirror(&github(), Vec::new()).await.by_graphql;
    // Generated ones, one of them by its threads of review comments, and those of `github`.
    let long: BTreeSet<u64> = [1, 2, 3, 4, 5].into();
    assert!(usual.intersection(&long).count() > 0, "threads of several pages come by GraphQL: {usual:?}");
    let withheld = Fault::Withhold { what: Withheld::Everything, error: GraphqlError::WentWrong };
    for fault in [Fault::Status { status: 502 }, withheld] {
        for operation in ["#Details", "#Page"] {
            let simulator = github();
            let told = mirror(&simulator, vec![Rule::often(fault.clone(), 1.0).on(operation)]).await;
            let asked = simulator.control().fault_hits();
            assert!((1..=MOST).contains(&asked), "{operation} {fault:?}: asked {asked} times");
            let lacking: BTreeSet<u64> = usual.difference(&told.by_graphql).copied().collect();
            let is_expected = match operation {
                "#Details" => !lacking.is_empty() && lacking.len() < usual.len(),
                _ => lacking == usual.intersection(&long).copied().collect(),
            };
            assert!(is_expected, "{operation} {fault:?}: by REST came {lacking:?} of {usual:?}");
        }
    }
}
