//! How long searches, suggestions, pages and answers take, and how that grows with the index.
//!
//! Requests go to the web front's own router in this process, bodies read to their end: no socket, no browser. The
//! first round of everything finds cold pages and does not count. Threads of the index are generated words; the first
//! few hundred numbers also have records as the simulated GitHub shows them, which pages and record answers read.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
};
use futures::{StreamExt, future::try_join_all};
use gharvest_archive::{Archive, LedgerChange, Repository};
use gharvest_model::{
    ItemId, Kind, Record, RepositoryId, Revision, ledger::NumberState, live::LiveEvent, record::Visibility,
};
use gharvest_search::{
    Access, Facet, SearchIndex, SearchRequest, Start,
    query::{ParseContext, Query, suggest},
    sample,
};
use gharvest_service_kit::{Settings, load::Sources};
use gharvest_state::State;
use gharvest_web::{Backends, WebState, operations::GithubOperations};
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::json;
use tower::ServiceExt;

use crate::{
    archive::generated,
    measure::{Scale, Times, rate, timed},
    memory,
    table::Row,
    threads::{PER_THREAD, fill, threads_made_beside},
};

/// Goals at the 99th percentile, in milliseconds.
const SEARCH_GOAL: f64 = 50.0;
const SUGGEST_GOAL: f64 = 20.0;
const ANSWER_GOAL: f64 = 50.0;
const LONG_THREAD_GOAL: f64 = 300.0;

/// Comments of the long thread.
const MANY_COMMENTS: usize = 1_000;

const QUERIES: &[&str] = &[
    "parser crash",
    "\"word17 word3\"",
    "is:open label:label3 sort:updated",
    "is:open word12",
    "label:label1@2023-05-01 is:open@2023-05-01",
    "was:label:label7 author:person9",
    "created:2023 comments:>5 -label:label2",
    "secp256k1_ecdsa_sign",
    "word1 OR word2 OR word3",
    "",
];
const TYPED: &[&str] = &["label:la", "author:person1", "wor", "word1", "#12", "milestone:"];

/// Measures at growing sizes; live readers at the largest.
pub async fn measure(scale: &Scale) -> Result<Vec<Row>> {
    let sizes = match scale.size {
        Some(size) => vec![size],
        None => scale.of(vec![1_300], vec![10_000, 100_000], vec![10_000, 100_000, 1_000_000]),
    };
    let largest = sizes[sizes.len() - 1];
    let mut records = generated(scale.of(50, 500, 500))?;
    records.push(long_thread(&records)?);
    let mut rows = Vec::new();
    for size in sizes {
        let front = Front::open(size, &records).await?;
        rows.extend(front.measure(scale, size).await?);
        if size == largest {
            rows.extend(front.crowd(scale, size).await?);
        }
    }
    Ok(rows)
}

/// A web front over an index of some size.
struct Front {
    _folder: tempfile::TempDir,
    index: Arc<dyn SearchIndex>,
    state: Arc<dyn State>,
    router: Router,
    /// The items that have records.
    items: Vec<(Kind, u64)>,
    /// The one of very many comments.
    long: (Kind, u64),
}

impl Front {
    async fn open(size: u64, records: &[Record]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let settings = settings(folder.path())?;
        let archive = gharvest_backends::archive(&settings).await?;
        fill_archive(&archive, records).await?;
        let place = folder.path().join("index");
        let (index, _) = fill(&place, archive.id(), threads_made_beside(size / PER_THREAD)).await?;
        let index: Arc<dyn SearchIndex> = index;
        let queue = gharvest_backends::queue(&settings).await?;
        let state = gharvest_backends::state(&settings).await?;
        let github = gharvest_backends::github(&settings, None)?;
        let operations = GithubOperations::new(archive.clone(), Arc::clone(&queue), Arc::clone(&index), github);
        let backends = Backends {
            queue,
            archive,
            state: Arc::clone(&state),
            search: Arc::clone(&index),
            operations: Arc::new(operations),
        };
        let router = gharvest_web::router(WebState::new(backends, &settings));
        let mut items: Vec<_> = records.iter().map(|record| (record.kind, record.number)).collect();
        let long = items.pop().context("the long thread comes last")?;
        Ok(Self { _folder: folder, index, state, router, items, long })
    }

    async fn measure(&self, scale: &Scale, size: u64) -> Result<Vec<Row>> {
        let rounds = scale.of(2, 40, 40);
        let thread = |(kind, number): &(Kind, u64)| match kind {
            Kind::Issue => format!("/octo/box/issues/{number}"),
            Kind::PullRequest => format!("/octo/box/pull/{number}"),
        };
        let record = |(_, number): &(Kind, u64)| format!("/api/v1/items/octo/box/{number}");
        let about = |of: fn(&str) -> String| QUERIES.iter().map(|text| of(&encoded(text))).collect::<Vec<_>>();
        let pages = about(|text| format!("/?q={text}"));
        let answers = about(|text| format!("/api/v1/search?q={text}"));
        let threads: Vec<_> = self.items.iter().map(thread).collect();
        let long = [thread(&self.long)];
        let records: Vec<_> = self.items.iter().map(record).collect();
        let all = [
            ("queries with facets and snippets", self.searches(rounds).await?, SEARCH_GOAL),
            ("suggestions", self.suggestions(rounds).await?, SUGGEST_GOAL),
            ("search page", self.requests(&pages, rounds).await?, ANSWER_GOAL),
            ("API search", self.requests(&answers, rounds).await?, ANSWER_GOAL),
            ("thread page", self.requests(&threads, 2).await?, ANSWER_GOAL),
            ("thread page of 1,000 comments", self.requests(&long, rounds).await?, LONG_THREAD_GOAL),
            ("API record", self.requests(&records, 2).await?, ANSWER_GOAL),
        ];
        let mut rows = Vec::new();
        for (what, times, goal) in all {
            rows.push(Row::new(format!("{what}, {size} documents, p50"), times.percentile(0.5), "ms"));
            rows.push(Row::new(format!("{what}, {size} documents, p99"), times.percentile(0.99), "ms").at_most(goal));
        }
        rows.push(Row::new(
            format!("resident, {size} documents, index pages included"),
            memory::mebibytes(memory::resident()),
            "MiB",
        ));
        Ok(rows)
    }

    async fn searches(&self, rounds: usize) -> Result<Times> {
        let mut times = Times::default();
        for round in 0..rounds {
            for text in QUERIES {
                let time = timed(async { Ok(self.index.search(&request(text)).await?) }).await?.1;
                if round > 0 {
                    times.add(time);
                }
            }
        }
        Ok(times)
    }

    async fn suggestions(&self, rounds: usize) -> Result<Times> {
        let mut times = Times::default();
        for round in 0..rounds {
            for typed in TYPED {
                let request = suggest::at_end(typed);
                let found = async { Ok(self.index.suggest(&request, &Access::Public, 10).await?) };
                let time = timed(found).await?.1;
                if round > 0 {
                    times.add(time);
                }
            }
        }
        Ok(times)
    }

    async fn requests(&self, paths: &[String], rounds: usize) -> Result<Times> {
        let mut times = Times::default();
        for round in 0..rounds {
            for path in paths {
                let time = timed(get(&self.router, path)).await?.1;
                if round > 0 {
                    times.add(time);
                }
            }
        }
        Ok(times)
    }

    /// Many live readers, and many searches at once, while changes are published.
    async fn crowd(&self, scale: &Scale, size: u64) -> Result<Vec<Row>> {
        let (readers, at_once, events) = (scale.of(50, 1_000, 1_000), scale.of(20, 200, 200), scale.of(5, 50, 50));
        let before = memory::reset_peak();
        let mut heard = Vec::with_capacity(readers);
        for _ in 0..readers {
            let response = self.router.clone().oneshot(get_request("/events")?).await?;
            ensure!(response.status() == StatusCode::OK, "a live reader got {}", response.status());
            heard.push(tokio::spawn(hear(response.into_body(), events)));
        }
        let paths: Vec<_> = QUERIES.iter().map(|text| format!("/api/v1/search?q={}", encoded(text))).collect();
        let begun = Instant::now();
        let searches = (0..at_once).map(|number| {
            let path = &paths[number % paths.len()];
            async move { Ok::<_, anyhow::Error>(timed(get(&self.router, path)).await?.1) }
        });
        let publishing = async {
            let begun = Instant::now();
            for number in 0..events {
                self.state.publish(&[event(number as u64)]).await?;
            }
            Ok::<_, anyhow::Error>(begun)
        };
        let (found, published) = futures::join!(try_join_all(searches), publishing);
        let all_found = begun.elapsed();
        let (found, published) = (found?, published?);
        for reader in heard {
            reader.await.context("a live reader panicked")??;
        }
        let told = published.elapsed();
        let grown = memory::peak().saturating_sub(before);
        let mut times = Times::default();
        found.into_iter().for_each(|time| times.add(time));
        let name = format!("{at_once} searches at once and {readers} live readers, {size} documents");
        Ok(vec![
            Row::new(format!("{name}: searches"), rate(at_once as u64, all_found), "searches/s"),
            Row::new(format!("{name}: search p50"), times.percentile(0.5), "ms"),
            Row::new(format!("{name}: search p99"), times.percentile(0.99), "ms"),
            Row::new(format!("{name}: until every reader heard {events} changes"), told.as_secs_f64(), "s")
                .at_most(5.0),
            Row::new(format!("{name}: more memory"), memory::mebibytes(grown), "MiB").at_most(256.0),
        ])
    }
}

/// A thread with very many of the comments that others have.
fn long_thread(records: &[Record]) -> Result<Record> {
    let comments = records.iter().flat_map(|record| &record.timeline).filter(|event| event["event"] == "commented");
    let timeline: Vec<_> = comments.cycle().take(MANY_COMMENTS).cloned().collect();
    ensure!(timeline.len() == MANY_COMMENTS, "no generated thread has a comment");
    let issue = records.iter().find(|record| record.kind == Kind::Issue).context("no generated thread is an issue")?;
    let number = records.iter().map(|record| record.number).max().unwrap_or(0) + 1;
    Ok(Record { number, timeline, ..issue.clone() })
}

fn request(text: &str) -> SearchRequest {
    let context = ParseContext { now: sample::at("2024-06-15T12:00:00Z"), me: None };
    SearchRequest {
        query: Query::parse(text, &context).query,
        access: Access::Public,
        per_page: 20,
        start: Start::Page(1),
        facets: Facet::ALL.to_vec(),
        snippets: true,
        timeout: Duration::from_secs(10),
    }
}

async fn get(router: &Router, path: &str) -> Result<()> {
    let response = router.clone().oneshot(get_request(path)?).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(
        status == StatusCode::OK && !body.is_empty(),
        "GET {path} gave {status}: {}",
        String::from_utf8_lossy(&body)
    );
    Ok(())
}

fn get_request(path: &str) -> Result<Request<Body>> {
    Ok(Request::get(path).header(header::HOST, "127.0.0.1:8080").body(Body::empty())?)
}

/// Reads a live stream until it told of so many changes.
async fn hear(body: Body, events: usize) -> Result<()> {
    let mut body = body.into_data_stream();
    let mut heard = 0;
    while heard < events {
        let piece = body.next().await.context("a live stream ended early")??;
        heard += String::from_utf8_lossy(&piece).matches("event: change").count();
    }
    Ok(())
}

fn event(number: u64) -> LiveEvent {
    LiveEvent {
        item: ItemId { repository: RepositoryId(1), number: number + 1 },
        repository: "octo/box".parse().expect("a name"),
        kind: Kind::Issue,
        title: format!("Change {number}"),
        state: "open".to_owned(),
        revision: Revision(2),
        visibility: Visibility::Public,
        at: Timestamp::now(),
    }
}

async fn fill_archive(archive: &Archive, records: &[Record]) -> Result<()> {
    let object = json!({ "id": 1, "full_name": "octo/box", "private": false });
    let file = json!({ "id": 1, "full_name": "octo/box", "repository": object, "fetched_at": Timestamp::now() });
    archive.put_repository(&serde_json::from_value::<Repository>(file)?).await?;
    let mut changes = Vec::new();
    for record in records {
        archive.put_record(record.clone()).await?;
        let verified_at = record.fetched_at;
        changes.push(LedgerChange { number: record.number, state: NumberState::Present, verified_at });
    }
    let tracked = json!({ "id": 1, "name": "octo/box", "since": Timestamp::now() });
    archive.track(serde_json::from_value(tracked)?).await?;
    Ok(archive.update_ledger(RepositoryId(1), &changes).await?)
}

fn settings(folder: &std::path::Path) -> Result<Settings> {
    let environment = std::collections::BTreeMap::new();
    let mut settings = Sources { config: None, data_dir: Some(folder.to_owned()), environment }.load()?.settings;
    // All readers here look like one client.
    settings.web.live_readers_per_client = settings.web.live_readers;
    Ok(settings)
}

/// A text as a parameter of an address.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => all.push(char::from(byte)),
            _ => all.push_str(&format!("%{byte:02X}")),
        }
        all
    })
}
