//! Behaviours that every engine must show: what the contract of [`crate::SearchIndex`] says, as tests.
//!
//! A behaviour is declared once, which also registers it: `search_contract!` makes a test of each. Its argument is an
//! expression that gives a fresh index and whatever keeps it alive, `(Arc<dyn SearchIndex>, guard)`.

use std::{collections::BTreeSet, time::Duration};

use futures::TryStreamExt;
use gharvest_model::{ItemId, RepositoryId};
use serde_json::json;

use crate::{
    Access, Applied, ErrorKind, Facet, Hit, SearchIndex, SearchReply, SearchRequest, Start,
    document::{
        CommentDocument, DailyDocument, EventDocument, Extra, ItemDocument, Metrics, ReleaseDocument,
        RepositoryDocument, ThreadDocuments, Version, thread_digest,
    },
    query::{ParseContext, Query, suggest::SuggestRequest},
    sample::{at, comment, event, interval, item, thread},
};

/// The archive that the index of a behaviour belongs to.
pub const ARCHIVE: &str = "archive-of-the-contract";

const REPOSITORY: RepositoryId = RepositoryId(1);

/// Asks for a page of ten of what everybody may see.
fn request(text: &str) -> SearchRequest {
    let context = ParseContext { now: at("2024-06-15T12:00:00Z"), me: None };
    SearchRequest {
        query: Query::parse(text, &context).query,
        access: Access::Public,
        per_page: 10,
        start: Start::Page(1),
        facets: Vec::new(),
        snippets: false,
        timeout: Duration::from_secs(30),
    }
}

async fn search(index: &dyn SearchIndex, text: &str) -> SearchReply {
    index.search(&request(text)).await.expect("the search is answered")
}

fn numbers(hits: &[Hit]) -> Vec<u64> {
    hits.iter().map(|hit| hit.item.number).collect()
}

async fn found(index: &dyn SearchIndex, text: &str) -> Vec<u64> {
    let mut found = numbers(&search(index, text).await.hits);
    found.sort_unstable();
    found
}

async fn apply(index: &dyn SearchIndex, threads: Vec<ThreadDocuments>) -> Vec<Applied> {
    index.apply(threads).await.expect("threads are applied")
}

async fn store(index: &dyn SearchIndex, threads: Vec<ThreadDocuments>) {
    let count = threads.len();
    assert_eq!(apply(index, threads).await, vec![Applied::Written; count]);
    index.commit().await.expect("the index commits");
}

async fn ensured(index: &dyn SearchIndex) {
    index.ensure(ARCHIVE).await.expect("the index is made");
}

fn titled(number: u64, title: &str) -> ItemDocument {
    ItemDocument { title: title.to_owned(), ..item(number) }
}

fn plain(number: u64, title: &str, version: u64) -> ThreadDocuments {
    thread(titled(number, title), Vec::new(), Vec::new(), version)
}

/// A thread whose documents, one of each sort, all say this beside their fields.
fn with_extra(number: u64, extra: serde_json::Value) -> ThreadDocuments {
    let extra: Extra = serde_json::from_value(extra).expect("an object");
    let mut item = ItemDocument { extra: extra.clone(), ..titled(number, "quiet") };
    item.event_documents = 1;
    let said = CommentDocument { extra: extra.clone(), ..comment(&item, 0, "nothing") };
    let events = vec![EventDocument { extra, ..event(&item, 0, "closed") }];
    let mut thread = thread(item, vec![said], Vec::new(), 1);
    thread.events = events;
    thread.digest = thread_digest(&thread.digests());
    thread
}

/// Public threads and the private ones of some repositories, and nothing of others.
fn but(and: &[u64], except: &[u64]) -> Access {
    let ids = |ids: &[u64]| ids.iter().copied().map(RepositoryId).collect();
    Access::Some { and: ids(and), except: ids(except) }
}

fn private(number: u64, repository: u64, title: &str) -> ThreadDocuments {
    let document = ItemDocument {
        key: format!("{repository}:{number}"),
        repository_id: RepositoryId(repository),
        repository: format!("octo/secret{repository}"),
        private: true,
        labels: vec!["hidden".into()],
        author: Some("insider".into()),
        ..titled(number, title)
    };
    thread(document, Vec::new(), Vec::new(), 1)
}

fn day(day: &str, dimension: &str, value: &str, open: u32, version: u64) -> DailyDocument {
    DailyDocument {
        key: format!("1:d:{day}:{dimension}:{value}"),
        repository_id: REPOSITORY,
        repository: "octo/box".into(),
        private: false,
        day: day.to_owned(),
        dimension: dimension.to_owned(),
        value: value.to_owned(),
        kind: gharvest_model::Kind::Issue,
        open,
        opened: 0,
        closed: 0,
        merged: 0,
        reopened: 0,
        version,
    }
}

fn repository(stars: u64, version: u64) -> RepositoryDocument {
    RepositoryDocument {
        key: "1".into(),
        repository_id: REPOSITORY,
        repository: "octo/box".into(),
        private: false,
        archived: false,
        description: None,
        topics: Vec::new(),
        language: None,
        stars,
        forks: 0,
        open_items: 0,
        created_at: None,
        pushed_at: None,
        fetched_at: at("2024-01-01T00:00:00Z"),
        version,
    }
}

fn release(id: u64, version: u64) -> ReleaseDocument {
    ReleaseDocument {
        key: format!("1:r:{id}"),
        repository_id: REPOSITORY,
        repository: "octo/box".into(),
        private: false,
        tag: format!("v{id}"),
        name: None,
        body: String::new(),
        author: None,
        prerelease: false,
        created_at: at("2024-01-01T00:00:00Z"),
        published_at: None,
        version,
    }
}

async fn documents(index: &dyn SearchIndex, alias: &str) -> u64 {
    let status = index.status().await.expect("the index says how it is");
    status.documents.iter().find(|(name, _)| name == alias).map_or(0, |(_, count)| *count)
}

/// Declares behaviours, and `search_contract!` with a test for each.
macro_rules! contract {
    ($dollar:tt $( $(#[doc = $doc:literal])* async fn $name:ident($index:ident: &dyn SearchIndex) $body:block )*) => {
        $(
            $(#[doc = $doc])*
            pub async fn $name($index: &dyn SearchIndex) $body
        )*

        /// The names of all behaviours, in the order in which they are declared.
        pub const NAMES: &[&str] = &[$(stringify!($name)),*];

        /// A test of every behaviour, on a fresh index each: `search_contract!(async { (index, guard) });`
        #[macro_export]
        macro_rules! search_contract {
            ($dollar make:expr) => {
                $(
                    #[tokio::test]
                    async fn $name() {
                        let (index, _guard) = $dollar make.await;
                        $crate::contract::$name(&*index).await;
                    }
                )*
            };
        }
    };
}

contract! { $
    /// What was applied is found after a commit, as it was given.
    async fn what_was_applied_is_found_after_a_commit(index: &dyn SearchIndex) {
        ensured(index).await;
        let stored = plain(1, "parser crash", 1);
        store(index, vec![stored.clone(), plain(2, "other", 1)]).await;
        let reply = search(index, "crash").await;
        assert_eq!(reply.total, 1);
        assert_eq!(reply.hits[0].item, stored.item);
    }

    /// What was applied in the epoch that still is one is committed; what was applied in another one counts as lost.
    async fn a_commit_tells_who_applied_in_another_epoch(index: &dyn SearchIndex) {
        ensured(index).await;
        let epoch = index.epoch().await.expect("the index has an epoch");
        for number in 1..=2 {
            assert_eq!(apply(index, vec![plain(number, "written", 1)]).await, [Applied::Written]);
            index.commit_since(epoch).await.expect("nothing was lost");
        }
        assert_eq!(found(index, "written").await, [1, 2]);
        let lost = index.commit_since(epoch + 1).await.expect_err("it is another epoch");
        assert_eq!((lost.kind(), lost.is_retryable()), (ErrorKind::Lost, true));
    }

    /// What documents say beside their fields comes back as it was given, whatever its names and values are, and no
    /// search finds it.
    async fn extra_comes_back_as_given_and_is_not_searched(index: &dyn SearchIndex) {
        ensured(index).await;
        let first = with_extra(1, json!({
            "a.dotted.name": {"": "walrus", "..": 1, "x.y.": true}, "": [], " ": {},
            "state": "walrus", "deleted": true, "q": {"gone": true, "ordinal": "none"}, "meta": ["walrus"],
            "title": {"raw": "walrus"}, "created_at": "never", "number": "walrus", "body": null,
            "large": 9_007_199_254_740_993_u64, "largest": u64::MAX, "least": i64::MIN, "part": 0.1,
            "lists": [[], [[1, "walrus"], {"deep": [null, {"er": [[]]}]}]], "mixed": [1, "one", {"one": 1}, null],
        }));
        // The same names with values of other sorts.
        let second = with_extra(2, json!({
            "a": {"dotted": 5}, "state": ["walrus"], "deleted": "walrus", "large": "walrus", "lists": {"0": 1}, "mixed": 1.5,
        }));
        store(index, vec![first.clone(), second.clone()]).await;
        for given in [&first, &second] {
            let stored = index.thread(given.item.id()).await.expect("the thread is read").expect("the thread is there");
            assert_eq!((stored.documents, &stored.digest), (given.digests(), &given.digest));
        }
        let hits = search(index, "quiet sort:created").await.hits;
        let extra: Vec<_> = hits.iter().map(|hit| (hit.item.number, &hit.item.extra)).collect();
        assert_eq!(extra, [(2, &second.item.extra), (1, &first.item.extra)]);
        assert_eq!(found(index, "is:open quiet").await, [1, 2]);
        for text in ["walrus", "in:comments walrus", "dotted", "9007199254740993"] {
            assert_eq!(found(index, text).await, [0_u64; 0], "{text}");
        }
    }

    /// A stale version never replaces a newer one, committed or not; the same version may come again.
    async fn a_stale_version_changes_nothing(index: &dyn SearchIndex) {
        ensured(index).await;
        store(index, vec![plain(1, "newer", 5)]).await;
        assert_eq!(apply(index, vec![plain(1, "older", 4)]).await, [Applied::Stale]);
        assert_eq!(apply(index, vec![plain(1, "newest", 6), plain(1, "older", 5)]).await, [Applied::Written, Applied::Stale]);
        assert_eq!(apply(index, vec![plain(1, "newest", 6)]).await, [Applied::Written]);
        index.commit().await.expect("the index commits");
        assert_eq!(search(index, "").await.total, 1);
        assert_eq!(found(index, "newest").await, [1]);
    }

    /// Nothing of an older version is left, neither documents nor words.
    async fn replacing_leaves_nothing_behind(index: &dyn SearchIndex) {
        ensured(index).await;
        let document = titled(1, "first");
        let comments = vec![comment(&document, 0, "zebra"), comment(&document, 1, "giraffe")];
        let intervals = vec![interval(&document, 0, "label", "bug"), interval(&document, 1, "state", "open")];
        store(index, vec![thread(document, comments, intervals, 1)]).await;
        assert_eq!(found(index, "giraffe").await, [1]);
        let document = titled(1, "second");
        let comments = vec![comment(&document, 0, "zebra")];
        store(index, vec![thread(document, comments, Vec::new(), 2)]).await;
        assert_eq!(found(index, "first").await, [0_u64; 0]);
        assert_eq!(found(index, "giraffe").await, [0_u64; 0]);
        assert_eq!(found(index, "was:label:bug").await, [0_u64; 0]);
        let stored = index.thread(item(1).id()).await.expect("the thread is read").expect("the thread is there");
        let ids: Vec<_> = stored.documents.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["1:1", "1:1:c0"]);
    }

    /// A thread is found at every moment while it is being replaced.
    async fn a_thread_is_never_missing_while_it_is_replaced(index: &dyn SearchIndex) {
        ensured(index).await;
        store(index, vec![plain(1, "steady", 1)]).await;
        for version in 2..8 {
            apply(index, vec![plain(1, "steady", version)]).await;
            assert_eq!(found(index, "steady").await, [1]);
            index.commit().await.expect("the index commits");
            assert_eq!(found(index, "steady").await, [1]);
        }
    }

    /// Tombstones are in no hit, count, suggestion or similar item, but their numbers are known.
    async fn tombstones_are_hidden_and_known(index: &dyn SearchIndex) {
        ensured(index).await;
        let gone = |version| {
            let document = ItemDocument { deleted: true, labels: vec!["bug".into()], ..titled(1, "parser crash") };
            thread(document, Vec::new(), Vec::new(), version)
        };
        let labelled = ItemDocument { labels: vec!["bug".into()], ..titled(1, "parser crash") };
        store(index, vec![thread(labelled, Vec::new(), Vec::new(), 1), plain(2, "parser crash", 1)]).await;
        assert_eq!(found(index, "crash").await, [1, 2]);
        store(index, vec![gone(2)]).await;
        assert_eq!(found(index, "crash").await, [2]);
        assert_eq!(found(index, "-nothing").await, [2]);
        let request = SearchRequest { facets: vec![Facet::Label], access: Access::All, ..request("") };
        assert_eq!(index.search(&request).await.expect("an answer").facets[0].values, []);
        let typed = SuggestRequest { qualifier: Some("label".into()), prefix: String::new() };
        assert_eq!(index.suggest(&typed, &Access::All, 10).await.expect("an answer"), []);
        assert_eq!(index.similar(item(2).id(), &Access::All, 10).await.expect("an answer"), []);
        let known: Vec<u64> = index.numbers(REPOSITORY).try_collect().await.expect("numbers are read");
        assert_eq!(known, [1, 2]);
        assert_eq!(documents(index, "gharvest-items").await, 1);
    }

    /// Private items are in hits, counts, suggestions and similar items of those only who may read the repository.
    async fn private_items_are_for_those_who_may_read_them(index: &dyn SearchIndex) {
        ensured(index).await;
        store(index, vec![plain(1, "parser crash one", 1), private(2, 7, "parser crash two"), private(3, 8, "parser crash three")]).await;
        let accesses = [
            (Access::Public, vec![1], 0),
            (but(&[], &[]), vec![1], 0),
            (but(&[7], &[]), vec![1, 2], 1),
            (but(&[7, 8], &[8]), vec![1, 2], 1),
            (Access::All, vec![1, 2, 3], 2),
        ];
        for (access, expected, hidden) in accesses {
            for text in ["crash", "", "-nothing", "created:>2000-01-01"] {
                let asked = SearchRequest { access: access.clone(), facets: Facet::ALL.to_vec(), ..request(text) };
                let reply = index.search(&asked).await.expect("an answer");
                let mut found = numbers(&reply.hits);
                found.sort_unstable();
                assert_eq!(found, expected, "{access:?} `{text}`");
                assert_eq!(reply.total, expected.len() as u64);
                let labels = reply.facets.iter().find(|facet| facet.facet == Facet::Label).expect("labels are counted");
                assert_eq!(labels.values.iter().map(|value| value.count).sum::<u64>(), hidden, "{access:?}");
            }
            let typed = SuggestRequest { qualifier: Some("label".into()), prefix: "hid".into() };
            let counted: Vec<_> =
                index.suggest(&typed, &access, 10).await.expect("an answer").into_iter().map(|one| one.count).collect();
            assert_eq!(counted, if hidden == 0 { vec![] } else { vec![Some(hidden)] }, "{access:?}");
            let typed = SuggestRequest { qualifier: None, prefix: "crash".into() };
            assert_eq!(index.suggest(&typed, &access, 10).await.expect("an answer").len(), expected.len(), "{access:?}");
            let similar = index.similar(item(1).id(), &access, 10).await.expect("an answer");
            assert_eq!(similar.len(), expected.len() - 1, "{access:?}");
        }
        let secret = ItemId { repository: RepositoryId(7), number: 2 };
        assert_eq!(index.similar(secret, &Access::Public, 10).await.expect("an answer"), []);
    }

    /// What became private is hidden at once, though its documents still say that it is public.
    async fn what_became_private_is_hidden_while_its_documents_say_otherwise(index: &dyn SearchIndex) {
        ensured(index).await;
        let labelled = |number, repository: u64, title: &str| {
            let document = ItemDocument {
                key: format!("{repository}:{number}"),
                repository_id: RepositoryId(repository),
                repository: format!("octo/{repository}"),
                labels: vec!["hidden".into()],
                ..titled(number, title)
            };
            thread(document, Vec::new(), Vec::new(), 1)
        };
        store(index, vec![plain(1, "parser crash one", 1), labelled(2, 7, "parser crash two"), labelled(3, 8, "parser crash three")]).await;
        for (access, expected, hidden) in
            [(but(&[], &[7]), vec![1, 3], 1), (but(&[8], &[7]), vec![1, 3], 1), (but(&[], &[7, 8]), vec![1], 0)]
        {
            for text in ["crash", "", "-nothing", "repo:octo/7 OR crash"] {
                let asked = SearchRequest { access: access.clone(), facets: Facet::ALL.to_vec(), ..request(text) };
                let reply = index.search(&asked).await.expect("an answer");
                let mut found = numbers(&reply.hits);
                found.sort_unstable();
                assert_eq!((found, reply.total), (expected.clone(), expected.len() as u64), "{access:?} `{text}`");
                let labels = reply.facets.iter().find(|facet| facet.facet == Facet::Label).expect("labels are counted");
                assert_eq!(labels.values.iter().map(|value| value.count).sum::<u64>(), hidden, "{access:?}");
            }
            let typed = SuggestRequest { qualifier: Some("repo".into()), prefix: "octo/7".into() };
            assert_eq!(index.suggest(&typed, &access, 10).await.expect("an answer"), [], "{access:?}");
            let typed = SuggestRequest { qualifier: None, prefix: "crash tw".into() };
            assert_eq!(index.suggest(&typed, &access, 10).await.expect("an answer"), [], "{access:?}");
            let similar = index.similar(item(1).id(), &access, 10).await.expect("an answer");
            assert_eq!(similar.len(), expected.len() - 1, "{access:?}");
            let became_private = ItemId { repository: RepositoryId(7), number: 2 };
            assert_eq!(index.similar(became_private, &access, 10).await.expect("an answer"), []);
        }
    }

    /// Pages and cursors show every item once, in every order.
    async fn pages_and_cursors_show_every_item_once(index: &dyn SearchIndex) {
        ensured(index).await;
        let threads = (1..=57_u32).map(|number| {
            let document = ItemDocument { comments: number % 5, ..titled(u64::from(number), "same words") };
            thread(document, Vec::new(), Vec::new(), 1)
        });
        store(index, threads.collect()).await;
        for sort in ["created", "created-asc", "comments", "comments-asc", "relevance", "relevance-asc"] {
            let text = format!("same words sort:{sort}");
            let mut by_cursor = Vec::new();
            let mut start = Start::Page(1);
            loop {
                let reply = index.search(&SearchRequest { start, ..request(&text) }).await.expect("an answer");
                assert_eq!(reply.total, 57);
                by_cursor.extend(numbers(&reply.hits));
                match reply.next {
                    Some(next) => start = Start::Cursor(next),
                    None => break,
                }
            }
            let mut by_page = Vec::new();
            for page in 1..=6 {
                let asked = SearchRequest { start: Start::Page(page), ..request(&text) };
                by_page.extend(numbers(&index.search(&asked).await.expect("an answer").hits));
            }
            assert_eq!(by_cursor, by_page, "{sort}");
            assert_eq!(by_cursor.iter().collect::<BTreeSet<_>>().len(), 57, "{sort}");
        }
    }

    /// An item that comes between two pages neither doubles nor hides another.
    async fn a_cursor_holds_while_items_come_and_go(index: &dyn SearchIndex) {
        ensured(index).await;
        let day = |number: u64| ItemDocument {
            created_at: at(&format!("2024-01-{number:02}T00:00:00Z")),
            ..titled(number, "same")
        };
        let stored = |number| thread(day(number), Vec::new(), Vec::new(), 1);
        store(index, (1..=20).map(stored).collect()).await;
        let first = search(index, "sort:created").await;
        assert_eq!(numbers(&first.hits), (11..=20).rev().collect::<Vec<_>>());
        let gone = ItemDocument { deleted: true, ..day(15) };
        store(index, vec![stored(21), stored(22), thread(gone, Vec::new(), Vec::new(), 2)]).await;
        let start = Start::Cursor(first.next.expect("there is more"));
        let second = index.search(&SearchRequest { start, ..request("sort:created") }).await.expect("an answer");
        assert_eq!(numbers(&second.hits), (1..=10).rev().collect::<Vec<_>>());
        assert_eq!(second.next, None);
    }

    /// The same by relevance, whose scores depend on everything that is stored: what was there all the time is shown once.
    async fn a_cursor_by_relevance_holds_while_items_come_and_go(index: &dyn SearchIndex) {
        ensured(index).await;
        let with_body = |number: u64, body: String| {
            thread(ItemDocument { body, ..titled(number, "a title") }, Vec::new(), Vec::new(), 1)
        };
        let longer = |number: u64| with_body(number, format!("same {}", "other ".repeat(10 * number as usize)));
        store(index, (1..=20).map(longer).collect()).await;
        let (mut shown, mut round) = (Vec::new(), 0);
        let mut start = Start::Page(1);
        loop {
            let asked = SearchRequest { start, per_page: 5, ..request("same sort:relevance") };
            let reply = index.search(&asked).await.expect("an answer");
            shown.extend(numbers(&reply.hits).into_iter().filter(|number| *number <= 20));
            let Some(next) = reply.next else { break };
            start = Start::Cursor(next);
            // The word becomes more frequent and texts shorter on average, so that every score is another one.
            store(index, (1..=15).map(|nth| with_body(100 + 20 * round + nth, "same same".to_owned())).collect()).await;
            if round == 0 {
                // It was shown.
                let gone = ItemDocument { deleted: true, ..titled(shown[0], "a title") };
                store(index, vec![thread(gone, Vec::new(), Vec::new(), 2)]).await;
            }
            round += 1;
        }
        shown.sort_unstable();
        assert_eq!(shown, (1..=20).collect::<Vec<_>>());
    }

    /// A page beyond the hits is empty, and the total stays.
    async fn a_page_beyond_the_hits_is_empty(index: &dyn SearchIndex) {
        ensured(index).await;
        store(index, vec![plain(1, "one", 1)]).await;
        for page in [2, 1000, 1001, usize::MAX] {
            let asked = SearchRequest { start: Start::Page(page), ..request("") };
            let reply = index.search(&asked).await.expect("an answer");
            assert_eq!((reply.total, reply.hits.len(), reply.next), (1, 0, None), "{page}");
        }
    }

    /// A cursor that is none is the caller's mistake.
    async fn a_wrong_cursor_is_refused(index: &dyn SearchIndex) {
        ensured(index).await;
        for cursor in ["", "x", "1.2", "\u{0}"] {
            let asked = SearchRequest { start: Start::Cursor(cursor.into()), ..request("") };
            let error = index.search(&asked).await.expect_err("a wrong cursor is refused");
            assert_eq!(error.kind(), ErrorKind::Invalid, "{cursor:?}");
        }
    }

    /// A search that has no time left says so.
    async fn a_search_without_time_is_timed_out(index: &dyn SearchIndex) {
        ensured(index).await;
        store(index, vec![plain(1, "one", 1)]).await;
        let asked = SearchRequest { timeout: Duration::ZERO, ..request("") };
        let error = index.search(&asked).await.expect_err("no time is not enough");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    /// A purged repository leaves nothing, and others stay; it can come back with any version.
    async fn a_purged_repository_leaves_nothing(index: &dyn SearchIndex) {
        ensured(index).await;
        store(index, vec![plain(1, "one", 9), private(2, 7, "two")]).await;
        index.apply_repositories(vec![repository(1, 1)]).await.expect("repositories are applied");
        index.apply_daily(REPOSITORY, vec![day("2024-01-01", "all", "", 1, 1)], true).await.expect("days are applied");
        index.purge_repository(REPOSITORY).await.expect("the repository is purged");
        index.commit().await.expect("the index commits");
        assert_eq!(search(index, "").await.total, 0);
        assert_eq!(index.thread(item(1).id()).await.expect("an answer"), None);
        assert_eq!(index.repository(REPOSITORY).await.expect("an answer"), None);
        assert_eq!(index.daily(REPOSITORY, "all", None).await.expect("an answer"), []);
        assert_eq!(documents(index, "gharvest-items").await, 1);
        store(index, vec![plain(1, "back", 1)]).await;
        assert_eq!(found(index, "back").await, [1]);
    }

    /// Of a repository's documents the newest stays.
    async fn the_newest_repository_document_stays(index: &dyn SearchIndex) {
        ensured(index).await;
        for (stars, version) in [(5, 2), (4, 1), (6, 3), (1, 1)] {
            index.apply_repositories(vec![repository(stars, version)]).await.expect("repositories are applied");
        }
        index.commit().await.expect("the index commits");
        let stored = index.repository(REPOSITORY).await.expect("an answer").expect("the repository is there");
        assert_eq!((stored.stars, stored.version), (6, 3));
        assert_eq!(documents(index, "gharvest-repositories").await, 1);
    }

    /// A repository's releases are replaced as a whole, and not by older ones.
    async fn releases_are_replaced_as_a_whole(index: &dyn SearchIndex) {
        ensured(index).await;
        for (version, count, expected) in [(2, 3, 3), (3, 1, 1), (1, 2, 1)] {
            let releases = (0..count).map(|id| release(id, version)).collect();
            index.apply_releases(REPOSITORY, Version(version), releases).await.expect("releases are applied");
            index.commit().await.expect("the index commits");
            assert_eq!(documents(index, "gharvest-releases").await, expected);
        }
    }

    /// Days are written one by one or all anew, read in their order, and an older one replaces nothing.
    async fn daily_counts_are_kept_by_day(index: &dyn SearchIndex) {
        ensured(index).await;
        let days = vec![
            day("2024-01-02", "label", "bug", 2, 5),
            day("2024-01-01", "label", "bug", 1, 5),
            day("2024-01-01", "label", "ui", 7, 5),
            day("2024-01-01", "all", "", 9, 5),
        ];
        index.apply_daily(REPOSITORY, days, true).await.expect("days are applied");
        index.commit().await.expect("the index commits");
        let days = vec![day("2024-01-02", "label", "bug", 3, 6), day("2024-01-01", "label", "bug", 99, 4)];
        index.apply_daily(REPOSITORY, days, false).await.expect("days are applied");
        index.commit().await.expect("the index commits");
        let bugs = index.daily(REPOSITORY, "label", Some("bug")).await.expect("an answer");
        assert_eq!(bugs.iter().map(|day| (day.day.as_str(), day.open)).collect::<Vec<_>>(), [("2024-01-01", 1), ("2024-01-02", 3)]);
        assert_eq!(index.daily(REPOSITORY, "label", None).await.expect("an answer").len(), 3);
        assert_eq!(index.daily(RepositoryId(2), "label", None).await.expect("an answer"), []);
        index.apply_daily(REPOSITORY, vec![day("2024-01-03", "all", "", 1, 7)], true).await.expect("days are applied");
        index.commit().await.expect("the index commits");
        assert_eq!(documents(index, "gharvest-daily").await, 1);
    }

    /// Numbers ascend; intervals come in the order of numbers, then of the thread, also beyond the tenth.
    async fn numbers_and_intervals_come_in_order(index: &dyn SearchIndex) {
        ensured(index).await;
        let with_intervals = |number: u64| {
            let document = item(number);
            let intervals = (0..12).map(|ordinal| interval(&document, ordinal, "label", &format!("l{ordinal}"))).collect();
            thread(document, Vec::new(), intervals, 1)
        };
        store(index, [3, 250, 1, 20].into_iter().map(with_intervals).collect()).await;
        store(index, vec![private(9, 7, "elsewhere")]).await;
        let known: Vec<u64> = index.numbers(REPOSITORY).try_collect().await.expect("numbers are read");
        assert_eq!(known, [1, 3, 20, 250]);
        let intervals: Vec<_> = index.intervals(REPOSITORY).try_collect().await.expect("intervals are read");
        let expected: Vec<_> = [1_u64, 3, 20, 250].iter().flat_map(|n| (0..12).map(move |i| (*n, format!("l{i}")))).collect();
        assert_eq!(intervals.into_iter().map(|one| (one.number, one.value)).collect::<Vec<_>>(), expected);
    }

    /// While a rebuild is under way the old index answers and both are written; then the new one takes over.
    async fn a_rebuild_serves_the_old_index_until_it_is_finished(index: &dyn SearchIndex) {
        ensured(index).await;
        store(index, vec![plain(1, "old one", 1), plain(2, "old two", 1)]).await;
        let rebuild = index.begin_rebuild(ARCHIVE).await.expect("a rebuild begins");
        assert!(index.status().await.expect("an answer").rebuilding);
        assert_eq!(apply(index, vec![plain(1, "new one", 2)]).await, [Applied::Written]);
        index.commit().await.expect("the index commits");
        assert_eq!(search(index, "").await.total, 2);
        assert_eq!(found(index, "new").await, [1]);
        rebuild.finish().await.expect("the rebuild ends");
        assert!(!index.status().await.expect("an answer").rebuilding);
        assert_eq!(found(index, "").await, [1]);
        store(index, vec![plain(3, "after", 1)]).await;
        assert_eq!(found(index, "").await, [1, 3]);
    }

    /// What a rebuild writes reaches the new index alone, where a newer version is not replaced, and is read from there.
    async fn a_rebuild_writes_and_reads_the_new_index_alone(index: &dyn SearchIndex) {
        ensured(index).await;
        store(index, vec![plain(1, "old", 7)]).await;
        let rebuild = index.begin_rebuild(ARCHIVE).await.expect("a rebuild begins");
        let built = rebuild.index();
        assert_eq!(built.thread(item(1).id()).await.expect("an answer"), None);
        store(built, vec![plain(1, "rendered before", 5), plain(2, "another", 5)]).await;
        built.apply_daily(REPOSITORY, vec![day("2024-01-01", "all", "", 1, 1)], false).await.expect("days are applied");
        built.commit().await.expect("the new index commits");
        assert_eq!(built.daily(REPOSITORY, "all", Some("")).await.expect("an answer").len(), 1);
        assert_eq!((found(index, "").await, found(built, "").await), (vec![1], vec![1, 2]));
        assert_eq!(index.daily(REPOSITORY, "all", Some("")).await.expect("an answer"), []);
        store(index, vec![plain(2, "live", 6)]).await;
        assert_eq!(apply(built, vec![plain(2, "rendered before", 5)]).await, [Applied::Stale]);
        rebuild.finish().await.expect("the rebuild ends");
        assert_eq!((found(index, "before").await, found(index, "live").await), (vec![1], vec![2]));
        assert_eq!(documents(index, "gharvest-daily").await, 1);
    }

    /// A rebuild that is given up leaves the old index as it is.
    async fn a_rebuild_can_be_given_up(index: &dyn SearchIndex) {
        ensured(index).await;
        store(index, vec![plain(1, "one", 1)]).await;
        let rebuild = index.begin_rebuild(ARCHIVE).await.expect("a rebuild begins");
        store(index, vec![plain(2, "two", 1)]).await;
        rebuild.abort().await.expect("the rebuild is given up");
        rebuild.abort().await.expect("there is nothing to give up");
        assert!(!index.status().await.expect("an answer").rebuilding);
        assert!(rebuild.finish().await.is_err());
        assert_eq!(found(index, "").await, [1, 2]);
    }

    /// Of two rebuilds the one that began last is finished, and the other one is told and can spoil nothing.
    async fn a_rebuild_ends_the_one_before_it_and_that_one_is_told(index: &dyn SearchIndex) {
        ensured(index).await;
        store(index, vec![plain(1, "one", 1)]).await;
        let first = index.begin_rebuild(ARCHIVE).await.expect("a rebuild begins");
        store(first.index(), vec![plain(2, "of the first", 1)]).await;
        let second = index.begin_rebuild(ARCHIVE).await.expect("a rebuild begins anew");
        let told = first.index().apply(vec![plain(3, "late", 1)]).await.expect_err("the first one is given up");
        assert_eq!((told.kind(), told.to_string().contains("another one has begun")), (ErrorKind::Refused, true), "{told}");
        assert_eq!(first.finish().await.expect_err("the first one is given up").kind(), ErrorKind::Refused);
        first.abort().await.expect("what is gone is given up");
        assert!(index.status().await.expect("an answer").rebuilding);
        store(second.index(), vec![plain(4, "of the second", 1)]).await;
        assert_eq!(found(index, "").await, [1]);
        second.finish().await.expect("the rebuild ends");
        second.abort().await.expect("what has taken over stays");
        assert_eq!(found(index, "").await, [4]);
    }

    /// A rebuild needs no index that serves.
    async fn a_rebuild_needs_no_index_that_serves(index: &dyn SearchIndex) {
        let rebuild = index.begin_rebuild(ARCHIVE).await.expect("a rebuild begins");
        store(rebuild.index(), vec![plain(1, "one", 1)]).await;
        rebuild.finish().await.expect("the rebuild ends");
        ensured(index).await;
        assert_eq!(found(index, "one").await, [1]);
    }

    /// Another archive's index is refused, also for a rebuild; one's own is not.
    async fn another_archives_index_is_refused(index: &dyn SearchIndex) {
        ensured(index).await;
        ensured(index).await;
        let error = index.ensure("another").await.expect_err("another archive is refused");
        assert_eq!(error.kind(), ErrorKind::Refused);
        let error = index.begin_rebuild("another").await.expect_err("another archive is refused");
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert_eq!(index.status().await.expect("an answer").archive, ARCHIVE);
    }

    /// The documents of a thread are read back with the digests of what was given.
    async fn a_thread_is_read_back_with_its_digests(index: &dyn SearchIndex) {
        ensured(index).await;
        let metrics = Metrics { h_first_response: Some(0.1), ..Metrics::default() };
        let document = ItemDocument { metrics, ..titled(1, "one") };
        let comments = vec![comment(&document, 0, "a"), comment(&document, 1, "b")];
        let intervals = vec![interval(&document, 0, "state", "open")];
        let given = thread(document, comments, intervals, 77);
        store(index, vec![given.clone()]).await;
        let stored = index.thread(item(1).id()).await.expect("an answer").expect("the thread is there");
        assert_eq!((stored.item, stored.version, &stored.digest), (item(1).id(), Version(77), &given.digest));
        assert_eq!(stored.documents, given.digests());
        assert_eq!(index.thread(item(2).id()).await.expect("an answer"), None);
    }

    /// Items that share rare words are similar, most of all in titles; none is similar to itself.
    async fn similar_items_share_rare_words(index: &dyn SearchIndex) {
        ensured(index).await;
        let mut threads: Vec<_> = (10..40).map(|number| plain(number, "common words about things", 1)).collect();
        threads.push(plain(1, "segfault in elliptic multiplication", 1));
        threads.push(plain(2, "elliptic multiplication gives a segfault", 1));
        threads.push(plain(3, "elliptic documentation", 1));
        store(index, threads).await;
        let similar = index.similar(item(1).id(), &Access::Public, 5).await.expect("an answer");
        assert_eq!(similar.first().map(|hit| hit.item.number), Some(2));
        assert!(similar.iter().all(|hit| hit.item.number != 1));
        assert_eq!(index.similar(item(999).id(), &Access::Public, 5).await.expect("an answer"), []);
    }

    /// A snippet marks the hits and says where they stand; a link in it is its text.
    async fn a_snippet_marks_hits_and_says_where(index: &dyn SearchIndex) {
        ensured(index).await;
        let document = ItemDocument { body: "The parser crashes [here](https://x.test) on <é>.".into(), ..titled(1, "zebra") };
        let remark = comment(&document, 0, "A giraffe was seen");
        store(index, vec![thread(document, vec![remark], Vec::new(), 1)]).await;
        for (text, part, comment_id, marked, whole) in [
            ("crash", "body", None, "crashes", "The parser crashes here on <é>."),
            ("giraffe", "comment", Some(1000), "giraffe", "A giraffe was seen"),
            ("zebra", "title", None, "zebra", "zebra"),
        ] {
            let asked = SearchRequest { snippets: true, ..request(text) };
            let reply = index.search(&asked).await.expect("an answer");
            let snippet = reply.hits[0].snippet.clone().expect("words give a snippet");
            assert_eq!((snippet.part.as_str(), snippet.comment_id), (part, comment_id), "{text}");
            let hits: Vec<_> = snippet.pieces.iter().filter(|piece| piece.hit).map(|piece| piece.text.as_str()).collect();
            assert_eq!(hits, [marked], "{text}");
            assert_eq!(snippet.pieces.iter().map(|piece| piece.text.as_str()).collect::<String>(), whole);
        }
        let asked = SearchRequest { snippets: true, ..request("is:open") };
        assert_eq!(index.search(&asked).await.expect("an answer").hits[0].snippet, None);
    }

    /// The whole title comes first, then a word in the title, in the body, in a comment.
    async fn titles_rank_above_bodies_and_bodies_above_comments(index: &dyn SearchIndex) {
        ensured(index).await;
        let in_body = ItemDocument { body: "a walrus, a walrus and a walrus".into(), ..titled(3, "other things") };
        let silent = titled(4, "other things");
        let remarks = (0..5).map(|ordinal| comment(&silent, ordinal, "walrus walrus walrus")).collect();
        let mut threads: Vec<_> = (10..30).map(|number| plain(number, "filling words", 1)).collect();
        threads.push(thread(silent, remarks, Vec::new(), 1));
        threads.push(thread(in_body, Vec::new(), Vec::new(), 1));
        threads.push(plain(2, "the walrus in the garden", 1));
        threads.push(plain(1, "Walrus", 1));
        store(index, threads).await;
        assert_eq!(numbers(&search(index, "walrus").await.hits), [1, 2, 3, 4]);
    }

    /// Of equally good matches, the recently updated and the much discussed come before the old and silent.
    async fn recent_and_discussed_items_rank_above_old_and_silent_ones(index: &dyn SearchIndex) {
        ensured(index).await;
        let updated = |number, time: &str, interactions| {
            let item = titled(number, "a walrus here");
            let document = ItemDocument { updated_at: at(time), interactions, ..item };
            thread(document, Vec::new(), Vec::new(), 1)
        };
        let recent = updated(1, "2024-06-01T00:00:00Z", 0);
        let discussed = updated(2, "2024-06-01T00:00:00Z", 50);
        let old = updated(3, "2015-06-01T00:00:00Z", 0);
        store(index, vec![old, recent, discussed]).await;
        assert_eq!(numbers(&search(index, "walrus").await.hits), [2, 1, 3]);
    }

    /// Every document is counted under its alias.
    async fn status_counts_documents(index: &dyn SearchIndex) {
        ensured(index).await;
        let document = item(1);
        let comments = vec![comment(&document, 0, "a"), comment(&document, 1, "b")];
        let intervals = vec![interval(&document, 0, "state", "open")];
        store(index, vec![thread(document, comments, intervals, 1), plain(2, "two", 1)]).await;
        for (alias, count) in [("gharvest-items", 2), ("gharvest-comments", 2), ("gharvest-intervals", 1), ("gharvest-events", 0)] {
            assert_eq!(documents(index, alias).await, count, "{alias}");
        }
    }

    /// A query of the greatest size is answered.
    async fn the_largest_query_is_answered(index: &dyn SearchIndex) {
        ensured(index).await;
        store(index, vec![plain(1, "one", 1)]).await;
        for text in ["a OR ".repeat(255) + "one", "-(".repeat(31) + "one", format!("-{}", "x".repeat(4000)), "\"a \"".repeat(250)] {
            index.search(&request(&text)).await.expect("an answer");
        }
    }

    /// Every scenario is answered as it says.
    async fn every_scenario_is_answered(index: &dyn SearchIndex) {
        ensured(index).await;
        let mut differences = Vec::new();
        for scenario in crate::scenario::all() {
            let threads = scenario.threads();
            let repositories: BTreeSet<_> = threads.iter().map(|thread| thread.item.repository_id).collect();
            store(index, threads).await;
            differences.extend(scenario.differences(index).await);
            for repository in repositories {
                index.purge_repository(repository).await.expect("the repository is purged");
            }
        }
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }
}
