//! The index: documents a second into tantivy, over its bare writer with the same documents ready made.
//!
//! Ours renders each thread's documents for the engine, looks up the versions that are stored, and replaces; the bare
//! writer gets finished engine documents and only adds.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use gharvest_search::document::ThreadDocuments;
use gharvest_search_tantivy::EngineDocuments;
use tantivy::{Index, IndexWriter};

use crate::{
    measure::{Scale, in_turns, rate},
    memory,
    table::Row,
    threads::{PER_THREAD, fill, threads},
};

/// The share of the bare writer's speed that ours should reach.
const GOAL: f64 = 0.7;

/// Fills indices with the same threads, ours and a bare one.
pub async fn measure(scale: &Scale) -> Result<Vec<Row>> {
    let size = scale.pick(1_300, 130_000, 260_000);
    let documents = size / PER_THREAD * PER_THREAD;
    let threads: Vec<_> = threads(size / PER_THREAD).collect();
    let mut grown = 0;
    let ours = async || {
        let folder = tempfile::tempdir()?;
        let batches = threads.clone().into_iter();
        let before = memory::reset_peak();
        let (_, time) = fill(folder.path(), "bench", batches).await?;
        grown = memory::peak().saturating_sub(before);
        Ok(time)
    };
    let bare = async || {
        let folder = tempfile::tempdir()?;
        tokio::task::block_in_place(|| bare_writer(folder.path(), &threads))
    };
    let (ours, bare) = in_turns(scale.of(1, 3, 3), ours, bare).await?;
    Ok(vec![
        Row::new(
            format!("documents into tantivy ({documents} of {} threads)", threads.len()),
            rate(documents, ours),
            "documents/s",
        )
        .over("bare tantivy writer, documents ready made", rate(documents, bare))
        .at_least(GOAL),
        Row::new("peak memory beyond the threads in hand", memory::mebibytes(grown), "MiB"),
    ])
}

/// How long tantivy by itself takes for the same documents, ready made.
fn bare_writer(folder: &Path, threads: &[ThreadDocuments]) -> Result<Duration> {
    let EngineDocuments { schema, tokenizers, documents } = EngineDocuments::of(threads);
    let mut index = Index::create_in_dir(folder, schema)?;
    index.set_tokenizers(tokenizers);
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(2));
    let mut writer: IndexWriter = index.writer_with_num_threads(workers, 96 << 20)?;
    let begun = Instant::now();
    for document in documents {
        writer.add_document(document)?;
    }
    writer.commit()?;
    Ok(begun.elapsed())
}
