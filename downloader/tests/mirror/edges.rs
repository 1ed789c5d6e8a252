//! Where lists end: at the edge of a page, in the middle of a change, and where an address is refused.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{StreamExt, stream};
use gharvest_archive::{Hint, LedgerChange};
use gharvest_downloader::{
    fetch::{Answers, Fetcher, RestFetcher, Wanted},
    track,
};
use gharvest_github::{PAGE, Purpose};
use gharvest_github_simulator::{Change, Control, Fault, GraphqlError, Rule, Simulator, Truth, Withheld};
use gharvest_model::{
    ItemId, Lane, QueueName, Record, RepositoryId, RepositoryName, Subject,
    job::part,
    ledger::{Entry, NumberState},
    progress::ItemsCursor,
};
use gharvest_queue::{Filter, JobState, QueueAdmin as _};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::world::{World, client, github, nothing};

async fn record(world: &World, number: u64) -> Record {
    world.archive.record(ItemId { repository: world.id, number }).await.unwrap().unwrap()
}

async fn visit(world: &World, number: u64) {
    world.push(Subject::item(world.id, number), Lane::Manual).await;
    world.work().await;
}

/// The timeline and the review comments that GitHub shows of a number.
fn told(world: &World, number: u64) -> (Vec<Value>, Vec<Value>) {
    match world.control.truth(&world.name, number) {
        Some(Truth::Present { timeline, review_comments, .. }) => (timeline, review_comments),
        other => panic!("#{number} is {other:?}"),
    }
}

/// The issue object that GitHub shows of a number.
fn issue(world: &World, number: u64) -> Value {
    match world.control.truth(&world.name, number) {
        Some(Truth::Present { issue, .. }) => issue,
        other => panic!("#{number} is {other:?}"),
    }
}

fn ids(entries: &[Value]) -> Vec<Option<u64>> {
    entries.iter().map(|entry| entry["id"].as_u64()).collect()
}

/// How many pages of lists of items were given.
fn pages(control: &Control) -> u64 {
    control.requests().get("GET /repos/{owner}/{repo}/issues").copied().unwrap_or(0)
}

/// The first pull request with few review comments.
fn pull(world: &World) -> u64 {
    let is_pull =
        |number: &u64| matches!(world.control.truth(&world.name, *number), Some(Truth::Present { pull: Some(_), .. }));
    let is_short = |number: &u64| told(world, *number).0.len() < PAGE && told(world, *number).1.len() < PAGE;
    world.control.truth_numbers(&world.name).into_iter().filter(is_pull).find(is_short).unwrap()
}

#[tokio::test]
async fn a_list_that_grows_across_the_edge_of_a_page_loses_nothing() {
    let world = World::new(12).await;
    world.track().await;
    world.work().await;
    let issue = world.issues().into_iter().find(|number| told(&world, *number).0.len() < PAGE).unwrap();
    let pull = pull(&world);
    let comment = |number| Change::Comment { number, body: "One more".to_owned() };
    let review = |number| Change::ReviewComment { number, body: "One more".to_owned() };
    for (number, change) in [(issue, comment as fn(u64) -> Change), (pull, review)] {
        let length = || {
            let (timeline, comments) = told(&world, number);
            if number == issue { timeline.len() } else { comments.len() }
        };
        while length() < PAGE - 2 {
            world.control.change(&world.name, change(number)).unwrap();
        }
        for expected in [PAGE - 1, PAGE, PAGE + 1, PAGE + 2] {
            world.control.change(&world.name, change(number)).unwrap();
            assert_eq!(length(), expected);
            // The second visit has the ETags of the first.
            for _ in 0..2 {
                visit(&world, number).await;
                let (record, (timeline, comments)) = (record(&world, number).await, told(&world, number));
                assert_eq!(ids(&record.timeline), ids(&timeline), "#{number} at {expected}");
                assert_eq!(ids(&record.review_comments), ids(&comments), "#{number} at {expected}");
            }
        }
    }
    nothing(&world.differences().await);
}

#[tokio::test]
async fn jobs_of_what_is_neither_tracked_nor_archived_are_dropped_where_anything_is_tracked() {
    let world = World::new(12).await;
    let stranger = RepositoryId(world.id.0 + 1_000);
    let buried = async || {
        for subject in [Subject::item(stranger, 1), Subject::part(stranger, part::METADATA)] {
            world.push(subject, Lane::Webhook).await;
        }
        world.work().await;
        let counts = world.counts(QueueName::Download).await;
        assert_eq!(counts.outstanding(), 0);
        counts.buried
    };
    assert_eq!(buried().await, 2, "an archive that tracks nothing may be the wrong one");
    world.track().await;
    assert_eq!(buried().await, 0);
    nothing(&world.differences().await);
}

#[tokio::test]
async fn what_is_updated_behind_a_full_page_is_found() {
    let mut world = World::new(90).await;
    world.options.overlap = Duration::from_secs(50 * 366 * 24 * 3600);
    world.track().await;
    world.work().await;
    let reconcile = async || {
        // Twice, so that what was found is known, and the ETag of the answer with it.
        for _ in 0..2 {
            world.push(Subject::part(world.id, part::UPDATES), Lane::Reconcile).await;
            world.work().await;
        }
    };
    let open = || world.control.change(&world.name, Change::OpenIssue { title: "One more".to_owned(), body: None });
    while world.control.truth_numbers(&world.name).len() < PAGE - 1 {
        open().unwrap();
    }
    for _ in 0..4 {
        reconcile().await;
        nothing(&world.differences().await);
        open().unwrap();
    }
}

#[tokio::test]
async fn an_address_that_is_always_refused_ends_the_walk_and_a_kept_one_begins_it_again() {
    let world = World::new(230).await;
    let further = format!("/repositories/{}/issues", world.id);
    world.control.inject(Rule::often(Fault::Status { status: 422 }, 1.0).on(&further));
    world.track().await;
    let pages = || pages(&world.control);
    world.work_with(world.queue.clone(), |counts| counts.buried > 0 && counts.outstanding() == 0).await;
    assert_eq!(pages(), 1, "the walk fails, it does not begin again for ever");
    let subject = Subject::part(world.id, part::ITEMS);
    let job = world.queue.job(QueueName::Download, &subject).await.unwrap().unwrap();
    assert!(format!("{job:?}").contains("422"), "{job:?}");
    world.control.clear_faults();
    // An address of another host stands in the cursor, as after a move of the API.
    let kept = ItemsCursor {
        started_at: Some(Timestamp::now()),
        next: Some("https://elsewhere.example/repositories/1/issues?page=2".to_owned()),
        ..ItemsCursor::default()
    };
    world.archive.set_cursor(&ItemsCursor::feed(world.id), json!(kept)).await.unwrap();
    world.queue.revive(QueueName::Download, &Filter::default(), 10).await.unwrap();
    world.work().await;
    nothing(&world.differences().await);
    assert_eq!(pages(), 5, "three pages, and a look whether the token sees items");
}

/// All review comments with their pull requests, in the order of the repository's list.
fn review_comments(world: &World) -> Vec<(u64, Value)> {
    let numbers = world.control.truth_numbers(&world.name);
    let of = |number: u64| told(world, number).1.into_iter().map(move |comment| (number, comment));
    let mut all: Vec<(u64, Value)> = numbers.into_iter().flat_map(of).collect();
    let at = |comment: &Value| (comment["updated_at"].as_str().map(str::to_owned), comment["id"].as_u64());
    all.sort_by_key(|(_, comment)| at(comment));
    all
}

#[tokio::test]
async fn a_review_comment_that_changes_while_all_are_walked_takes_no_other_with_it() {
    let mut world = World::new(120).await;
    world.options.graphql = true;
    world.options.worker.batch = 400;
    let number = pull(&world);
    // More of one second than stand on a page.
    world.control.freeze(Some(Timestamp::now().as_second() - 3600));
    for _ in 0..250 {
        world.control.change(&world.name, Change::ReviewComment { number, body: "In one second".to_owned() }).unwrap();
    }
    world.control.freeze(None);
    let all = review_comments(&world);
    let (first, comment) = all.first().unwrap();
    let edited =
        Change::EditReviewComment { number: *first, comment: comment["id"].as_u64().unwrap(), body: "Later".into() };
    let gone = Change::DeleteReviewComment { number, comment: all[all.len() - 240].1["id"].as_u64().unwrap() };
    let pages = all.len().div_ceil(PAGE) as u64;
    for (what, after) in [(edited, 1), (gone, pages - 2)] {
        let change = Fault::Change { repository: world.name.clone(), what };
        world.control.inject(Rule::once(change).on("/pulls/comments").after(after));
    }
    world.track().await;
    world.work().await;
    assert_eq!(world.control.fault_hits(), 2);
    for (number, _) in all {
        let (record, (_, comments)) = (record(&world, number).await, told(&world, number));
        assert_eq!(ids(&record.review_comments), ids(&comments), "#{number}");
    }
    let requests = world.control.requests();
    let own = requests.get("GET /repos/{owner}/{repo}/pulls/{pull_number}/comments").copied().unwrap_or(0);
    assert!(own < 12, "only those that changed have lists of their own: {requests:?}");
    let completeness = track::completeness(&world.archive, world.id).await.unwrap();
    assert!(completeness.is_complete(), "{completeness:?}");
}

/// A mirror by GraphQL of what another one mirrors, which has nothing yet.
async fn by_graphql(simulator: &Arc<Simulator>) -> World {
    let mut world = World::on(Arc::clone(simulator)).await;
    world.options.graphql = true;
    world.options.worker.batch = 400;
    world
}

fn comments_feed(world: &World) -> String {
    format!("{}/{}", part::REVIEW_COMMENTS, world.id)
}

#[tokio::test]
async fn a_walk_over_items_reads_review_comments_that_an_earlier_one_read() {
    let simulator = github(120);
    let earlier = by_graphql(&simulator).await;
    earlier.track().await;
    earlier.work().await;
    let cursor = earlier.archive.cursor(&comments_feed(&earlier)).await.unwrap().unwrap();
    assert_eq!(cursor["is_done"], true);
    // Of what that walk gathered nothing is stored here.
    let world = by_graphql(&simulator).await;
    world.archive.set_cursor(&comments_feed(&world), cursor).await.unwrap();
    world.track().await;
    world.work().await;
    nothing(&world.differences().await);
}

#[tokio::test]
async fn what_another_list_says_during_a_walk_has_not_the_walks_review_comments() {
    let world = by_graphql(&github(40)).await;
    world.track().await;
    world.queue.purge(QueueName::Download, &Filter::default()).await.unwrap();
    let (number, _) = review_comments(&world).remove(0);
    let Some(Truth::Present { issue, .. }) = world.control.truth(&world.name, number) else { panic!("#{number}") };
    // All review comments were read; then a reconcile listed a pull request that waits for its job.
    let started_at = Some(Timestamp::now());
    let items = ItemsCursor { started_at, listed: true, pulls: 20, ..ItemsCursor::default() };
    world.archive.set_cursor(&ItemsCursor::feed(world.id), json!(items)).await.unwrap();
    let comments = json!({"walk": started_at, "since": Timestamp::now(), "pages": 1, "is_done": true});
    world.archive.set_cursor(&comments_feed(&world), comments).await.unwrap();
    world.archive.reach(world.id, world.control.highest_number(&world.name)).await.unwrap();
    world.archive.put_hints(world.id, vec![Hint::new(Timestamp::now(), issue)]).await.unwrap();
    world.push(Subject::part(world.id, part::ITEMS), Lane::Backfill).await;
    world.work().await;
    nothing(&world.differences().await);
}

#[tokio::test]
async fn a_loss_of_power_after_the_walk_over_review_comments_takes_none_of_them() {
    let world = by_graphql(&github(120)).await;
    let fails = Fault::Withhold { what: Withheld::Everything, error: GraphqlError::WentWrong };
    world.control.inject(Rule::often(fails, 1.0).on("#Discussions"));
    world.track().await;
    // All review comments are read, and what follows fails.
    world.work_with(world.queue.clone(), |counts| counts.buried > 0 && counts.outstanding() == 0).await;
    let cursor = world.archive.cursor(&comments_feed(&world)).await.unwrap().unwrap();
    assert_eq!(cursor["is_done"], true);
    world.store.lose_power().await.unwrap();
    world.control.clear_faults();
    world.queue.revive(QueueName::Download, &Filter::default(), 10).await.unwrap();
    world.work().await;
    nothing(&world.differences().await);
}

#[tokio::test]
async fn a_discussion_is_no_item_however_often_its_number_is_visited() {
    let mut world = World::new(300).await;
    world.options.graphql = true;
    world.options.worker.batch = 400;
    world.track().await;
    world.work().await;
    let highest = world.control.highest_number(&world.name);
    let is_discussion = |number: &u64| world.control.truth(&world.name, *number) == Some(Truth::NotAnItem);
    let number = (1..=highest).find(is_discussion).unwrap();
    for _ in 0..2 {
        visit(&world, number).await;
        assert_eq!(world.archive.ledger(world.id).await.unwrap().get(number).state, NumberState::NotAnItem);
    }
}

#[tokio::test]
async fn a_discussion_of_which_graphql_does_not_tell_is_not_taken_for_hidden() {
    let withhold = |error| Fault::Withhold { what: Withheld::Items(1), error };
    let half = |error| Fault::Withhold { what: Withheld::Items(2), error };
    let mut world = World::new(300).await;
    world.options.graphql = true;
    world.options.worker.batch = 400;
    // The walk is told a part, the rest when it asks again; of the first item that asks by itself nothing is told.
    for error in [GraphqlError::ResourceLimits, GraphqlError::WentWrong] {
        world.control.inject(Rule::often(half(error), 1.0).on("#Discussions").times(1));
    }
    world.track().await;
    world.work().await;
    assert_eq!(world.control.fault_hits(), 2);
    let is_discussion = |number: &u64| world.control.truth(&world.name, *number) == Some(Truth::NotAnItem);
    let discussions: Vec<u64> = (1..=world.control.highest_number(&world.name)).filter(is_discussion).collect();
    assert!(discussions.iter().any(|number| number % 2 == 0) && discussions.iter().any(|number| number % 2 == 1));
    nothing(&world.differences().await);

    // An item that became one, while GitHub has its troubles, and while the token may not see it: also on the last try.
    let number = discussions[0];
    for max_attempts in [world.options.max_attempts, 1] {
        world.options.max_attempts = max_attempts;
        for error in [GraphqlError::ResourceLimits, GraphqlError::Forbidden] {
            world.control.inject(Rule::often(withhold(error), 1.0).on("#Discussions").times(1));
            visit(&world, number).await;
            let state = world.archive.ledger(world.id).await.unwrap().get(number).state;
            assert_eq!(state, NumberState::NotAnItem, "{error:?}");
        }
    }
    let number = world.issues()[3];
    drop(world.control.change(&world.name, Change::ConvertToDiscussion { number }).unwrap());
    world.control.inject(Rule::often(withhold(GraphqlError::WentWrong), 1.0).on("#Discussions").times(1));
    visit(&world, number).await;
    nothing(&world.differences().await);
}

#[tokio::test]
async fn a_discussion_that_only_graphql_can_tell_waits_for_its_budget_and_pauses_nothing() {
    let mut world = World::new(300).await;
    world.options.graphql = true;
    world.track().await;
    world.work().await;
    let is_discussion = |number: &u64| world.control.truth(&world.name, *number) == Some(Truth::NotAnItem);
    let number = (1..=world.control.highest_number(&world.name)).find(is_discussion).unwrap();
    let (archive, id) = (world.archive.clone(), world.id);
    let forget = async || {
        let unknown = LedgerChange { number, state: NumberState::Unknown, verified_at: Timestamp::now() };
        archive.update_ledger(id, &[unknown]).await.unwrap();
    };
    let state = async || archive.ledger(id).await.unwrap().get(number).state;
    forget().await;
    let used_up = Fault::PrimaryLimit { reset_in_s: 1200, status: 200 };
    world.control.inject(Rule::often(used_up, 1.0).on("#Discussions"));
    let hits = world.control.fault_hits();
    world.push(Subject::item(world.id, number), Lane::Manual).await;
    world.work_with(Arc::clone(&world.queue) as _, |_| world.control.fault_hits() > hits).await;
    assert_eq!(state().await, NumberState::Unknown);
    let counts = world.counts(QueueName::Download).await;
    assert_eq!((counts.delayed, counts.totals.retried, counts.paused), (1, 0, None));

    // With another client's budget; and as a first mirror's gap, opened after its walk had looked.
    world.control.clear_faults();
    world.control.allow_token("another-token", "ann", 5000);
    world.client = client(&world.simulator, "another-token");
    world.work().await;
    assert_eq!(state().await, NumberState::NotAnItem);
    let feed = ItemsCursor::feed(world.id);
    let walk = ItemsCursor::read(world.archive.cursor(&feed).await.unwrap()).unwrap();
    assert_eq!(walk.discussions_told, world.control.highest_number(&world.name));
    let before = ItemsCursor { discussions_told: number - 1, ..walk };
    world.archive.set_cursor(&feed, json!(before)).await.unwrap();
    forget().await;
    world.push(Subject::item(world.id, number), Lane::Backfill).await;
    world.work().await;
    assert_eq!(state().await, NumberState::NotAnItem);
}

#[tokio::test]
async fn what_githubs_own_list_shows_is_not_hidden_by_one_404() {
    let world = World::new(12).await;
    let number = world.issues()[2];
    world.control.inject(Rule::often(Fault::Status { status: 404 }, 1.0).on(&format!("/issues/{number}")));
    world.track().await;
    world.work().await;
    let entry = || async { world.archive.ledger(world.id).await.unwrap().get(number) };
    assert_eq!(entry().await.state, NumberState::Unknown);
    assert!(entry().await.verified_at.is_some(), "it is suspected");
    // A day later the list that showed it is older than the suspicion.
    let item = ItemId { repository: world.id, number };
    let hint = world.archive.hint(item).await.unwrap().unwrap();
    let yesterday = Timestamp::now() - SignedDuration::from_hours(25);
    let suspect = |at| LedgerChange { number, state: NumberState::Unknown, verified_at: at };
    world.archive.update_ledger(world.id, &[suspect(yesterday)]).await.unwrap();
    visit(&world, number).await;
    assert_eq!(entry().await.state, NumberState::Unknown, "the list was read since");
    let older = Hint { seen_at: yesterday - SignedDuration::from_hours(1), ..hint };
    world.archive.forget_hint(item).await.unwrap();
    world.archive.put_hints(world.id, vec![older]).await.unwrap();
    world.archive.update_ledger(world.id, &[suspect(yesterday)]).await.unwrap();
    visit(&world, number).await;
    assert_eq!(entry().await.state, NumberState::Hidden);
}

#[tokio::test]
async fn what_a_list_says_late_does_not_replace_what_was_fetched_since() {
    let world = World::new(40).await;
    world.track().await;
    world.work().await;
    let is_open = |state: &Value| state["state"] == "open";
    let mut open = world.issues().into_iter();
    let number = open.find(|number| is_open(&issue(&world, *number))).unwrap();
    let before = issue(&world, number);
    world.control.change(&world.name, Change::Close { number, reason: Some("completed".to_owned()) }).unwrap();
    visit(&world, number).await;
    let stored = record(&world, number).await;
    assert!(!is_open(stored.issue.as_ref().unwrap()));
    // The answer of a copy of GitHub's that lags behind.
    world.archive.put_hints(world.id, vec![Hint::new(Timestamp::now(), before)]).await.unwrap();
    world.push(Subject::item(world.id, number), Lane::Reconcile).await;
    world.work().await;
    let now = record(&world, number).await;
    assert_eq!((now.revision, &now.issue.unwrap()["state"]), (stored.revision, &json!("closed")));
}

/// Notes which items are fetched, and how many pages of lists had been read by then.
#[derive(Debug)]
struct Noting {
    rest: RestFetcher,
    control: Control,
    fetched: Arc<Mutex<Vec<(u64, u64)>>>,
}

impl Fetcher for Noting {
    fn batch(&self, _: &RepositoryName, _: usize, _: Purpose) -> usize {
        1
    }

    fn fetch<'a>(&'a self, repository: &'a RepositoryName, wanted: Vec<Wanted>, purpose: Purpose) -> Answers<'a> {
        let pages = pages(&self.control);
        self.fetched.lock().unwrap().extend(wanted.iter().map(|wanted| (wanted.number, pages)));
        self.rest.fetch(repository, wanted, purpose)
    }
}

#[tokio::test]
async fn what_somebody_waits_for_goes_before_a_walk_of_the_same_batch() {
    let world = World::new(12).await;
    world.track().await;
    world.work().await;
    let before = pages(&world.control);
    let fetched = Arc::new(Mutex::default());
    let rest = RestFetcher::new(world.client.clone(), world.options.max_timeline_pages);
    let noting = Noting { rest, control: world.control.clone(), fetched: Arc::clone(&fetched) };
    world.push(Subject::part(world.id, part::ITEMS), Lane::Manual).await;
    world.push(Subject::item(world.id, 1), Lane::Webhook).await;
    world.work_by(world.downloader().with_fetcher(Arc::new(noting))).await;
    assert!(pages(&world.control) > before);
    assert_eq!(fetched.lock().unwrap().first(), Some(&(1, before)));
}

#[tokio::test]
async fn a_walk_that_stops_after_each_page_comes_to_its_end() {
    let mut world = World::new(230).await;
    world.options.graphql = true;
    world.options.worker.batch = 400;
    world.track().await;
    world.work_by(world.downloader().with_turn(Duration::ZERO)).await;
    nothing(&world.differences().await);
    assert_eq!(world.without_index_job().await, Vec::<u64>::new());
}

/// Ends the process that fetches by it: nothing comes of it any more. With `panics`, only the work.
#[derive(Debug)]
struct Deadly {
    fetches: Semaphore,
    panics: bool,
}

impl Fetcher for Deadly {
    fn batch(&self, _: &RepositoryName, _: usize, _: Purpose) -> usize {
        1
    }

    fn fetch<'a>(&'a self, _: &'a RepositoryName, _: Vec<Wanted>, _: Purpose) -> Answers<'a> {
        self.fetches.add_permits(1);
        assert!(!self.panics, "over an item");
        stream::pending().boxed()
    }
}

/// Tries an item until its job is buried, of which the ledger says this: what it says at each try, and the reason.
async fn tries_until_buried(before: Option<(NumberState, Timestamp)>, panics: bool) -> (Vec<Entry>, String) {
    let world = World::new(12).await;
    world.track().await;
    world.queue.purge(QueueName::Download, &Filter::default()).await.unwrap();
    let (number, item) = (3, Subject::item(world.id, 3));
    if let Some((state, verified_at)) = before {
        world.archive.update_ledger(world.id, &[LedgerChange { number, state, verified_at }]).await.unwrap();
    }
    world.push(item.clone(), Lane::Backfill).await;
    let deadly = Arc::new(Deadly { fetches: Semaphore::new(0), panics });
    let mut worker = world.options.worker.clone();
    worker.workers = 10;
    let downloader = Arc::new(world.downloader().with_fetcher(Arc::clone(&deadly) as _));
    let running = gharvest_worker::run(Arc::clone(&world.queue) as _, downloader, worker, CancellationToken::new());
    let running = tokio::spawn(running);
    let mut entries = Vec::new();
    loop {
        let job = world.queue.job(QueueName::Download, &item).await.unwrap().unwrap();
        if let Ok(fetch) = deadly.fetches.try_acquire() {
            fetch.forget();
            entries.push(world.archive.ledger(world.id).await.unwrap().get(number));
            if !panics {
                // Nobody lives who extends the lease.
                world.clock.advance(world.options.worker.lease);
            }
        } else if job.state == JobState::Buried {
            running.abort();
            return (entries, job.reason.unwrap());
        } else if job.state == JobState::Delayed {
            world.clock.advance(Duration::from_secs(60));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn an_item_that_ends_who_works_on_it_is_failed_in_the_ledger() {
    use NumberState::{Failed, NotAnItem, Present, Unknown};
    let (entries, reason) = tries_until_buried(None, false).await;
    assert_eq!(states(&entries), [Unknown, Unknown, Failed]);
    assert!(reason.starts_with("poison"), "{reason}");
    let (entries, reason) = tries_until_buried(None, true).await;
    assert_eq!(states(&entries).split_last().unwrap(), (&Failed, &[Unknown; 7][..]), "{reason}");
    // One that failed a day ago is asked for again a day from now.
    let yesterday = Timestamp::from_second(Timestamp::now().as_second() - 24 * 3600).unwrap();
    let (entries, _) = tries_until_buried(Some((Failed, yesterday)), false).await;
    assert_eq!(states(&entries), [Failed; 3]);
    assert_eq!(
        entries.iter().map(|entry| entry.verified_at > Some(yesterday)).collect::<Vec<_>>(),
        [false, false, true]
    );
    // What is known is not forgotten over it: neither what it was, nor that it is suspected.
    for known in [Present, NotAnItem, Unknown] {
        let (entries, _) = tries_until_buried(Some((known, yesterday)), false).await;
        assert_eq!(entries, [Entry { state: known, verified_at: Some(yesterday) }; 3]);
    }
}

fn states(entries: &[Entry]) -> Vec<NumberState> {
    entries.iter().map(|entry| entry.state).collect()
}
