//! The index: documents a second into tantivy, over its bare writer with the same documents ready
//! made; and how long searches
//! and suggestions take at 10,000, 100,000 and, with `--full`, 1,000,000 documents.
#![allow(clippy::print_stdout, reason = "the table is the data")]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use gharvest_model::Kind;
use gharvest_search::{
    Access, Applied, Facet, SearchIndex, SearchRequest, Start,
    document::ThreadDocuments,
    query::{ParseContext, Query, suggest},
    sample,
};
use gharvest_search_tantivy::{EngineDocuments, TantivyIndex};
use jiff::{SignedDuration, Timestamp};
use tantivy::{Index, IndexWriter};

/// The share of the bare writer's speed that ours should reach.
const GOAL: f64 = 0.7;
/// A search or suggestion may take so long, in milliseconds, at the 99th percentile.
const SEARCH_GOAL: f64 = 50.0;
const SUGGEST_GOAL: f64 = 20.0;
/// A result below this share of its goal fails the run.
const FAILS_BELOW: f64 = 0.7;
/// Documents of a thread: the item, 8 comments and 4 intervals.
const PER_THREAD: usize = 13;
const COMMENTS: usize = 8;
/// How often each query is asked.
const ROUNDS: usize = 40;

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

/// Fills two indices with the same threads and prints the ratio.
pub async fn index(documents: usize) -> Result<()> {
    let folder = tempfile::TempDir::new()?;
    let threads = threads(documents / PER_THREAD);
    let count = threads.len() * PER_THREAD;
    let bare = bare_writer(&folder.path().join("bare"), &threads)?;
    let ours = fill(&folder.path().join("ours"), threads).await?.1;
    let (bare, ours) = (count as f64 / bare.as_secs_f64(), count as f64 / ours.as_secs_f64());
    println!("| index | documents | bare writer/s | ours/s | ratio | goal |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    println!("| tantivy | {count} | {bare:.0} | {ours:.0} | {:.2} | {GOAL} |", ours / bare);
    ensure!(ours / bare >= GOAL * FAILS_BELOW, "indexing reaches less than {FAILS_BELOW} of its goal");
    Ok(())
}

/// Asks a mix of queries at each size and prints percentiles.
pub async fn search(full: bool) -> Result<()> {
    println!("| search | documents | p50 ms | p99 ms | goal p99 |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    let sizes: &[usize] = if full { &[10_000, 100_000, 1_000_000] } else { &[10_000, 100_000] };
    for size in sizes {
        let folder = tempfile::TempDir::new()?;
        let (index, _) = fill(folder.path(), threads(size / PER_THREAD)).await?;
        let searches = measure_searches(&index).await?;
        let suggestions = measure_suggestions(&index).await?;
        for (what, times, goal) in [("queries", searches, SEARCH_GOAL), ("suggestions", suggestions, SUGGEST_GOAL)] {
            let (p50, p99) = (percentile(&times, 0.5), percentile(&times, 0.99));
            println!("| {what} | {size} | {p50:.2} | {p99:.2} | {goal} |");
            ensure!(p99 <= goal / FAILS_BELOW, "{what} at {size} documents take {p99:.1} ms");
        }
    }
    Ok(())
}

async fn measure_searches(index: &TantivyIndex) -> Result<Vec<Duration>> {
    let context = ParseContext { now: sample::at("2024-06-15T12:00:00Z"), me: None };
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        for text in QUERIES {
            let request = SearchRequest {
                query: Query::parse(text, &context).query,
                access: Access::Public,
                per_page: 20,
                start: Start::Page(1),
                facets: Facet::ALL.to_vec(),
                snippets: true,
                timeout: Duration::from_secs(10),
            };
            let began = Instant::now();
            index.search(&request).await?;
            // The first round finds cold pages.
            if round > 0 {
                times.push(began.elapsed());
            }
        }
    }
    Ok(times)
}

async fn measure_suggestions(index: &TantivyIndex) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        for typed in TYPED {
            let began = Instant::now();
            index.suggest(&suggest::at_end(typed), &Access::Public, 10).await?;
            if round > 0 {
                times.push(began.elapsed());
            }
        }
    }
    Ok(times)
}

fn percentile(times: &[Duration], share: f64) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    let place = ((times.len() as f64 * share) as usize).min(times.len() - 1);
    times[place].as_secs_f64() * 1000.0
}

/// Applies threads as an indexer does, and commits once.
async fn fill(folder: &Path, mut threads: Vec<ThreadDocuments>) -> Result<(std::sync::Arc<TantivyIndex>, Duration)> {
    let index = TantivyIndex::open(folder).await.context("opening the index")?;
    index.ensure("bench").await?;
    let began = Instant::now();
    while !threads.is_empty() {
        let batch = threads.split_off(threads.len().saturating_sub(500));
        let applied = index.apply(batch).await?;
        ensure!(applied.iter().all(|one| *one == Applied::Written), "a thread was not written");
    }
    index.commit().await?;
    Ok((index, began.elapsed()))
}

/// How long tantivy by itself takes for the same documents, ready made.
fn bare_writer(folder: &Path, threads: &[ThreadDocuments]) -> Result<Duration> {
    std::fs::create_dir_all(folder)?;
    let EngineDocuments { schema, tokenizers, documents } = EngineDocuments::of(threads);
    let mut index = Index::create_in_dir(folder, schema)?;
    index.set_tokenizers(tokenizers);
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(2));
    let mut writer: IndexWriter = index.writer_with_num_threads(workers, 96 << 20)?;
    let began = Instant::now();
    for document in documents {
        writer.add_document(document)?;
    }
    writer.commit()?;
    Ok(began.elapsed())
}

/// Threads that look like a project's: few words are frequent, most are rare.
fn threads(count: usize) -> Vec<ThreadDocuments> {
    let mut rng = Rng::with_seed(7);
    (1..=count as u64).map(|number| thread(&mut rng, number)).collect()
}

fn thread(rng: &mut Rng, number: u64) -> ThreadDocuments {
    let mut item = sample::item(number);
    let created = sample::at("2020-01-01T00:00:00Z") + SignedDuration::from_hours(rng.i64(0..38_000));
    item.kind = if rng.u8(0..3) == 0 { Kind::PullRequest } else { Kind::Issue };
    item.title = words(rng, 7);
    item.body = words(rng, 80);
    item.author = Some(format!("person{}", skewed(rng, 3000)));
    item.labels = (0..rng.usize(0..3)).map(|_| format!("label{}", skewed(rng, 60))).collect();
    item.milestone = (rng.u8(0..5) == 0).then(|| format!("milestone {}", rng.u8(0..30)));
    item.created_at = created;
    item.updated_at = created + SignedDuration::from_hours(rng.i64(1..5000));
    item.comments = COMMENTS as u32;
    item.reactions = skewed(rng, 40) as u32;
    item.interactions = item.comments + item.reactions;
    let closed = (rng.u8(0..3) > 0).then(|| created + SignedDuration::from_hours(rng.i64(1..5000)));
    item.state = if closed.is_some() { "closed".into() } else { "open".into() };
    item.closed_at = closed;
    let comments = (0..COMMENTS).map(|ordinal| sample::comment(&item, ordinal, &words(rng, 40))).collect();
    let label = item.labels.first().cloned().unwrap_or_else(|| "label1".into());
    let spans =
        [("state", "open", closed), ("state", "closed", None), ("label", &*label, None), ("title", &*item.title, None)];
    let span = |(ordinal, (dimension, value, to)): (usize, (&str, &str, Option<Timestamp>))| {
        let mut interval = sample::interval(&item, ordinal, dimension, value);
        interval.from = if value == "closed" { closed.unwrap_or(Timestamp::MAX) } else { created };
        interval.to = to;
        interval
    };
    let intervals = spans.into_iter().enumerate().map(span).collect();
    sample::thread(item, comments, intervals, 1)
}

fn skewed(rng: &mut Rng, below: usize) -> usize {
    let place = rng.f64();
    (place * place * place * below as f64) as usize
}

fn words(rng: &mut Rng, count: usize) -> String {
    let mut text = String::new();
    for _ in 0..count {
        match rng.u8(0..200) {
            0 => text.push_str("parser "),
            1 => text.push_str("crash "),
            2 => text.push_str("secp256k1_ecdsa_sign "),
            _ => text.push_str(&format!("word{} ", skewed(rng, 20_000))),
        }
    }
    text
}
