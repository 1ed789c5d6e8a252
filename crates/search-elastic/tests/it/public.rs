//! Indices of what is public: whoever may read them alone, by whatever request, learns nothing else.

use std::sync::Arc;

use gharvest_model::RepositoryId;
use gharvest_search::{
    Applied, ErrorKind, SearchIndex,
    document::{DailyDocument, ItemDocument, ReleaseDocument, RepositoryDocument, ThreadDocuments, Version},
    sample,
};
use gharvest_search_elastic::{ElasticIndex, Options};
use gharvest_testkit::{
    search::{Make, search_server_of},
    search_server,
};
use serde_json::{Value, json};

use crate::{ensured, options};

/// Stands in every text of a private document.
const SECRET: &str = "Nobody";

fn public(url: &str) -> Options {
    Options { public: true, ..options(url) }
}

/// A thread with so many comments, and as many intervals; where it is private every text of it is secret.
fn thread(number: u64, comments: usize, private: bool, version: u64) -> ThreadDocuments {
    let said = if private { "Nobody may know" } else { "All may know" };
    let item = ItemDocument { private, title: said.to_owned(), body: said.to_owned(), ..sample::item(number) };
    let children = 0..comments;
    let intervals = children.clone().map(|ordinal| sample::interval(&item, ordinal, "label", said)).collect();
    let mut comments: Vec<_> = children.map(|ordinal| sample::comment(&item, ordinal, said)).collect();
    comments.iter_mut().for_each(|comment| comment.private = private);
    sample::thread(item, comments, intervals, version)
}

/// What is read there.
struct Reader {
    url: String,
    prefix: String,
    client: reqwest::Client,
}

impl Reader {
    fn new(options: &Options) -> Self {
        Self { url: options.urls.clone(), prefix: options.prefix.clone(), client: reqwest::Client::new() }
    }

    async fn ask(&self, path: &str) -> Value {
        self.client.get(format!("{}/{path}", self.url)).send().await.unwrap().json().await.unwrap()
    }

    /// How many documents each name for readers shows: of items, comments and intervals.
    async fn counts(&self) -> [u64; 3] {
        let mut counts = [0; 3];
        for (count, sort) in counts.iter_mut().zip(["items", "comments", "intervals"]) {
            let answer = self.ask(&format!("{}-public-{sort}/_count", self.prefix)).await;
            *count = answer["count"].as_u64().unwrap_or_else(|| panic!("{answer}"));
        }
        counts
    }

    /// Everything that the indices hold, tombstones too; and what an item's id alone brings.
    async fn everything(&self) -> String {
        let mut everything = String::new();
        for pattern in ["public-*", "*-public-*", "build-*-public-*"] {
            let found = self.ask(&format!("{}-{pattern}/_search?size=1000", self.prefix)).await;
            assert!(found["hits"]["total"]["value"].as_u64().unwrap() < 1000);
            everything += &found.to_string();
        }
        everything + &self.ask(&format!("{}-public-items/_doc/1:2", self.prefix)).await.to_string()
    }

    /// Nothing secret is there in whatever way.
    async fn finds_no_secret(&self) {
        let everything = self.everything().await;
        assert!(!everything.contains(SECRET), "{everything}");
        // What suggestions and terms come from is not what searches find.
        let terms =
            json!({"size": 0, "aggs": {"terms": {"terms": {"field": "title.raw", "min_doc_count": 0, "size": 1000}}}});
        let path = format!("{}/{}-public-items/_search", self.url, self.prefix);
        let found = self.client.post(path).json(&terms).send().await.unwrap().text().await.unwrap();
        assert!(found.contains("aggregations") && !found.contains(SECRET), "{found}");
    }
}

async fn apply(index: &Arc<dyn SearchIndex>, threads: Vec<ThreadDocuments>) {
    let count = threads.len();
    assert_eq!(index.apply(threads).await.unwrap(), vec![Applied::Written; count]);
    index.commit().await.unwrap();
}

async fn what_is_private_is_not_there(url: &str) {
    let options = public(url);
    let (index, reader) = (ensured(&options).await, Reader::new(&options));
    apply(&index, vec![thread(1, 2, false, 1), thread(2, 3, true, 1)]).await;
    assert_eq!(reader.counts().await, [1, 2, 2]);
    let read = reader.ask(&format!("{}-public-items/_doc/1:1", options.prefix)).await;
    assert_eq!(read["_source"]["title"], "All may know", "{read}");
    reader.finds_no_secret().await;
    // For those who may read everything nothing is different.
    let all = reader.ask(&format!("{}-items/_count", options.prefix)).await;
    assert_eq!(all["count"], 2);

    // The first becomes private, and public again with less; the second becomes public; and then it is deleted.
    apply(&index, vec![thread(1, 4, true, 2)]).await;
    assert_eq!(reader.counts().await, [0, 0, 0]);
    reader.finds_no_secret().await;
    apply(&index, vec![thread(1, 1, false, 3), thread(2, 3, false, 2)]).await;
    assert_eq!(reader.counts().await, [2, 4, 4]);
    let mut deleted = thread(2, 0, false, 3);
    (deleted.item.deleted, deleted.item.title) = (true, "Nobody may know".to_owned());
    apply(&index, vec![deleted]).await;
    assert_eq!(reader.counts().await, [1, 1, 1]);
    reader.finds_no_secret().await;
}

#[tokio::test]
async fn what_is_private_is_not_in_the_indices_of_what_is_public() {
    let name = "what_is_private_is_not_in_the_indices_of_what_is_public";
    for make in [Make::OpenSearch2, Make::Elasticsearch8] {
        let Some(url) = search_server_of(name, make) else { return };
        what_is_private_is_not_there(&url).await;
    }
}

#[tokio::test]
async fn a_late_write_of_what_was_public_shows_nothing() {
    let Some(url) = search_server("a_late_write_of_what_was_public_shows_nothing") else { return };
    let options = public(&url);
    let (index, reader) = (ensured(&options).await, Reader::new(&options));
    apply(&index, vec![thread(2, 2, true, 5)]).await;
    assert_eq!(index.apply(vec![thread(2, 6, false, 4)]).await.unwrap(), [Applied::Stale]);
    // Both at once, many times: whoever comes first, the newer one stays.
    for round in 0..10 {
        let (private, earlier) = (thread(3, 1, true, 2 * round + 3), thread(3, 4, false, 2 * round + 2));
        let (newer, older) = tokio::join!(index.apply(vec![private]), index.apply(vec![earlier]));
        assert_eq!(newer.unwrap(), [Applied::Written]);
        older.unwrap();
        index.commit().await.unwrap();
        assert_eq!(reader.counts().await, [0, 0, 0], "round {round}");
    }
    reader.finds_no_secret().await;
}

fn repository(private: bool, version: u64) -> RepositoryDocument {
    let item = sample::item(1);
    RepositoryDocument {
        key: "1".to_owned(),
        repository_id: RepositoryId(1),
        repository: item.repository,
        private,
        archived: false,
        description: private.then(|| "Nobody may know".to_owned()),
        topics: Vec::new(),
        language: None,
        stars: 0,
        forks: 0,
        open_items: 0,
        created_at: None,
        pushed_at: None,
        fetched_at: item.fetched_at,
        version,
    }
}

fn release(private: bool, version: u64) -> ReleaseDocument {
    ReleaseDocument {
        key: "1:r:1".to_owned(),
        repository_id: RepositoryId(1),
        repository: sample::item(1).repository,
        private,
        tag: "v1".to_owned(),
        name: None,
        body: if private { "Nobody may know" } else { "All may know" }.to_owned(),
        author: None,
        prerelease: false,
        created_at: sample::at("2024-01-01T00:00:00Z"),
        published_at: None,
        version,
    }
}

fn day(day: &str, private: bool, version: u64) -> DailyDocument {
    let item = sample::item(1);
    DailyDocument {
        key: format!("1:d:{day}:all:"),
        repository_id: RepositoryId(1),
        repository: item.repository,
        private,
        day: day.to_owned(),
        dimension: "all".to_owned(),
        value: String::new(),
        kind: item.kind,
        open: 1,
        opened: 1,
        closed: 0,
        merged: 0,
        reopened: 0,
        version,
    }
}

#[tokio::test]
async fn a_repository_that_became_private_is_gone_with_its_own_document() {
    let Some(url) = search_server("a_repository_that_became_private_is_gone_with_its_own_document") else { return };
    let options = public(&url);
    let (index, reader) = (ensured(&options).await, Reader::new(&options));
    let living = async || {
        let found = reader.ask(&format!("{}-public-*/_count", options.prefix)).await;
        found["count"].as_u64().unwrap()
    };
    let id = RepositoryId(1);
    apply(&index, (1..=3).map(|number| thread(number, 2, false, 1)).collect()).await;
    index.apply_repositories(vec![repository(false, 1)]).await.unwrap();
    index.apply_releases(id, Version(1), vec![release(false, 1)]).await.unwrap();
    index.apply_daily(id, vec![day("2024-01-01", false, 1), day("2024-01-02", false, 1)], true).await.unwrap();
    index.commit().await.unwrap();
    assert_eq!(living().await, 3 + 6 + 6 + 1 + 1 + 2);

    index.apply_repositories(vec![repository(true, 2)]).await.unwrap();
    index.commit().await.unwrap();
    assert_eq!(living().await, 0, "no job of a thread is done yet");
    let hidden = reader.ask(&format!("{}-public-items/_doc/1:2", options.prefix)).await;
    assert!(hidden["_source"].get("title").is_none(), "{hidden}");
    index.apply_releases(id, Version(2), vec![release(true, 2)]).await.unwrap();
    index.apply_daily(id, vec![day("2024-01-03", true, 2)], false).await.unwrap();
    apply(&index, (1..=3).map(|number| thread(number, 2, true, 2)).collect()).await;
    assert_eq!(living().await, 0);
    reader.finds_no_secret().await;

    // As public as it was: with fewer children, of which none is left over. Nobody counts days that are as they were.
    index.apply_repositories(vec![repository(false, 3)]).await.unwrap();
    index.commit().await.unwrap();
    assert_eq!(living().await, 1 + 2, "days that no count made private");
    index.apply_releases(id, Version(3), vec![release(false, 3)]).await.unwrap();
    index.apply_daily(id, vec![day("2024-01-01", false, 3)], true).await.unwrap();
    apply(&index, (1..=3).map(|number| thread(number, 1, false, 3)).collect()).await;
    assert_eq!(living().await, 3 + 3 + 3 + 1 + 1 + 1);
    index.purge_repository(id).await.unwrap();
    assert!(!reader.everything().await.contains("may know"));
}

#[tokio::test]
async fn whoever_took_a_public_repository_for_private_and_comes_late_hides_nothing() {
    let name = "whoever_took_a_public_repository_for_private_and_comes_late_hides_nothing";
    let Some(url) = search_server(name) else { return };
    let options = public(&url);
    let (index, reader) = (ensured(&options).await, Reader::new(&options));
    let id = RepositoryId(1);
    index.apply_repositories(vec![repository(false, 3)]).await.unwrap();
    index.apply_daily(id, vec![day("2024-01-01", false, 6)], false).await.unwrap();
    apply(&index, vec![thread(1, 1, false, 1)]).await;
    index.apply_repositories(vec![repository(true, 2)]).await.unwrap();
    index.apply_daily(id, vec![day("2024-01-01", true, 5)], false).await.unwrap();
    index.commit().await.unwrap();
    let found = reader.ask(&format!("{}-public-*/_count", options.prefix)).await;
    assert_eq!(found["count"], 1 + 1 + 3, "{found}");
}

#[tokio::test]
async fn days_that_what_is_public_does_not_take_are_not_counted_as_written() {
    let Some(url) = search_server("days_that_what_is_public_does_not_take_are_not_counted_as_written") else { return };
    let options = public(&url);
    let index = ensured(&options).await;
    let block = async |is_on: bool| {
        let path = format!("{url}/{}-public-daily/_settings", options.prefix);
        let set = reqwest::Client::new().put(path).json(&json!({"index.blocks.write": is_on})).send().await;
        set.unwrap().error_for_status().unwrap();
    };
    let id = RepositoryId(1);
    block(true).await;
    index.apply_daily(id, vec![day("2024-01-01", false, 1)], false).await.unwrap_err();
    index.commit().await.unwrap();
    assert_eq!(index.daily(id, "all", None).await.unwrap(), [], "who counts next finds it missing");
    block(false).await;
    index.apply_daily(id, vec![day("2024-01-01", false, 2)], false).await.unwrap();
    index.commit().await.unwrap();
    assert_eq!(index.daily(id, "all", None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_day_that_what_is_public_refuses_is_not_counted_as_written() {
    let Some(url) = search_server("a_day_that_what_is_public_refuses_is_not_counted_as_written") else { return };
    let options = public(&url);
    let index = ensured(&options).await;
    let client = reqwest::Client::new();
    // What is public gets an index that knows less, so that it alone refuses the day.
    let found = client.get(format!("{url}/{}-public-daily", options.prefix)).send().await.unwrap();
    let found: Value = found.error_for_status().unwrap().json().await.unwrap();
    let (name, made) = found.as_object().unwrap().iter().next().unwrap();
    let mut made = made.clone();
    made["mappings"]["properties"].as_object_mut().unwrap().remove("merged").unwrap();
    made["settings"] = json!({"analysis": made["settings"]["index"]["analysis"]});
    let place = format!("{url}/{name}");
    client.delete(&place).send().await.unwrap().error_for_status().unwrap();
    client.put(&place).json(&made).send().await.unwrap().error_for_status().unwrap();
    let id = RepositoryId(1);
    let refused = index.apply_daily(id, vec![day("2024-01-01", false, 1)], false).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Document);
    index.commit().await.unwrap();
    assert_eq!(index.daily(id, "all", None).await.unwrap(), [], "who counts next finds it missing");
}

#[tokio::test]
async fn a_rebuild_makes_what_is_public_too_and_live_writes_reach_it() {
    let Some(url) = search_server("a_rebuild_makes_what_is_public_too_and_live_writes_reach_it") else { return };
    let options = public(&url);
    let (index, reader) = (ensured(&options).await, Reader::new(&options));
    apply(&index, vec![thread(1, 1, false, 1), thread(2, 1, false, 1)]).await;
    let rebuild = index.begin_rebuild("archive").await.unwrap();
    apply(&index, vec![thread(2, 1, true, 2)]).await;
    assert_eq!(reader.counts().await, [1, 1, 1], "what serves is written as before");
    let built = rebuild.index();
    built.apply(vec![thread(1, 1, false, 1), thread(3, 2, true, 1), thread(2, 1, false, 1)]).await.unwrap();
    rebuild.finish().await.unwrap();
    assert_eq!(reader.counts().await, [1, 1, 1]);
    reader.finds_no_secret().await;
    apply(&index, vec![thread(4, 1, false, 1)]).await;
    assert_eq!(reader.counts().await, [2, 2, 2]);

    let given_up = index.begin_rebuild("archive").await.unwrap();
    given_up.abort().await.unwrap();
    let left = reader.ask(&format!("_alias/{}-*-next", options.prefix)).await;
    assert_eq!(left.as_object().map(serde_json::Map::len), Some(0), "{left}");
}

#[tokio::test]
async fn indices_of_what_is_public_come_with_a_rebuild_and_go_with_the_setting() {
    let Some(url) = search_server("indices_of_what_is_public_come_with_a_rebuild_and_go_with_the_setting") else {
        return;
    };
    let without = options(&url);
    let with = Options { public: true, ..without.clone() };
    let index = ensured(&without).await;
    let reader = Reader::new(&without);
    apply(&index, vec![thread(1, 1, false, 1), thread(2, 1, true, 1)]).await;
    // As an earlier version made the name of what is public: a filter.
    let filtered = json!({"filter": {"term": {"private": false}}});
    let alias = format!("{url}/{}-items-v*/_alias/{}-public-items", without.prefix, without.prefix);
    reader.client.put(alias).json(&filtered).send().await.unwrap().error_for_status().unwrap();

    let public = ensured(&with).await;
    let trouble = public.status().await.unwrap().trouble.unwrap();
    assert!(trouble.found.contains("public") && trouble.remedy.contains("gharvest rebuild"), "{trouble:?}");
    let found = reader.ask(&format!("{}-public-*/_search", with.prefix)).await;
    assert_eq!(found["hits"]["total"]["value"], 0, "{found}");
    let rebuild = public.begin_rebuild("archive").await.unwrap();
    rebuild.index().apply(vec![thread(1, 1, false, 1), thread(2, 1, true, 1)]).await.unwrap();
    rebuild.finish().await.unwrap();
    assert_eq!(public.status().await.unwrap().trouble, None);
    assert_eq!(reader.counts().await, [1, 1, 1]);
    reader.finds_no_secret().await;

    // A process that has not heard of the setting writes them all the same: nothing public stays that is not any more.
    let unaware = ElasticIndex::open(&without).await.unwrap();
    apply(&unaware, vec![thread(1, 1, true, 2)]).await;
    assert_eq!(reader.counts().await, [0, 0, 0]);
    unaware.ensure("archive").await.unwrap();
    let left = reader.ask(&format!("_alias/{}-*public*", with.prefix)).await;
    assert_eq!(left.as_object().map(serde_json::Map::len), Some(0), "{left}");
    apply(&unaware, vec![thread(1, 1, false, 3)]).await;
}
