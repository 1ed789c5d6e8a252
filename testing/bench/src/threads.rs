//! Generated threads for the index, and an index filled with them.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use gharvest_model::Kind;
use gharvest_search::{Applied, SearchIndex, document::ThreadDocuments, sample};
use gharvest_search_tantivy::TantivyIndex;
use jiff::{SignedDuration, Timestamp};

use crate::measure::timed;

/// Documents of a thread: the item, 8 comments and 4 intervals.
pub const PER_THREAD: u64 = 13;
const COMMENTS: usize = 8;
/// Threads handed to the index at once.
const BATCH: usize = 500;

/// Opens an index in a folder and fills it as an indexer does, with one commit. Says how long the index worked on it.
pub async fn fill(
    folder: &Path,
    archive: &str,
    mut threads: impl Iterator<Item = ThreadDocuments>,
) -> Result<(Arc<TantivyIndex>, Duration)> {
    let index = TantivyIndex::open(folder).await.context("opening the index")?;
    index.ensure(archive).await?;
    let mut worked = Duration::ZERO;
    loop {
        let batch: Vec<_> = threads.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            break;
        }
        let (applied, time) = timed(async { Ok(index.apply(batch).await?) }).await?;
        ensure!(applied.iter().all(|one| *one == Applied::Written), "a thread was not written");
        worked += time;
    }
    let ((), time) = timed(async { Ok(index.commit().await?) }).await?;
    Ok((index, worked + time))
}

/// The same threads as [`threads`], made by a thread beside the one that takes them.
pub fn threads_made_beside(count: u64) -> impl Iterator<Item = ThreadDocuments> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(2 * BATCH);
    std::thread::spawn(move || threads(count).try_for_each(|thread| sender.send(thread).ok()));
    receiver.into_iter()
}

/// Threads that look like a project's: few words are frequent, most are rare.
pub fn threads(count: u64) -> impl Iterator<Item = ThreadDocuments> {
    let mut rng = Rng::with_seed(7);
    (1..=count).map(move |number| thread(&mut rng, number))
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
