//! Documents into a search engine, over sending the same documents ready made.
//!
//! Ours renders each thread's documents for the engine, looks up what is stored, writes in bulk, looks at every item's
//! result, and looks once more whether somebody else was quicker; the limit is the same engine with the same bulk
//! requests made before, sent one after the other, with nothing looked at but whether they failed. Each way fills an
//! index of its own, and both end with a refresh.

use std::time::Duration;

use anyhow::{Result, ensure};
use gharvest_search::Applied;
use gharvest_search_elastic::{ElasticIndex, Options, bulk_bodies};
use gharvest_testkit::SearchServer;

use crate::{
    measure::{Scale, in_turns, rate, timed},
    table::Row,
    threads::{PER_THREAD, threads},
};

/// The share of the bare requests' speed that ours should reach.
const GOAL: f64 = 0.9;
/// Threads that an indexer hands over at once: about two MiB.
const BATCH: usize = 150;

/// Fills indices with the same threads, ours and bare ones.
pub async fn measure(scale: &Scale) -> Result<Vec<Row>> {
    let Some(server) = SearchServer::start("documents into an engine", &[]) else {
        eprintln!("documents into an engine are not measured");
        return Ok(Vec::new());
    };
    let size = scale.pick(1_300, 65_000, 260_000);
    let documents = size / PER_THREAD * PER_THREAD;
    let threads: Vec<_> = threads(size / PER_THREAD).collect();
    let mut round = 0;
    let ours = async || {
        round += 1;
        let index = ElasticIndex::open(&Options::without_credentials(server.url(), &format!("ours-{round}"))).await?;
        index.ensure("bench").await?;
        let mut worked = Duration::ZERO;
        for batch in threads.chunks(BATCH) {
            let batch = batch.to_vec();
            let (applied, time) = timed(async { Ok(index.apply(batch).await?) }).await?;
            ensure!(applied.iter().all(|one| *one == Applied::Written), "a thread was not written");
            worked += time;
        }
        Ok(worked + timed(async { Ok(index.commit().await?) }).await?.1)
    };
    let mut bare_round = 0;
    let bare = async || {
        bare_round += 1;
        let prefix = format!("bare-{bare_round}");
        ElasticIndex::open(&Options::without_credentials(server.url(), &prefix)).await?.ensure("bench").await?;
        let bodies = bulk_bodies(&prefix, &threads);
        Ok(timed(send(server.url(), &prefix, bodies)).await?.1)
    };
    let (ours, bare) = in_turns(scale.of(1, 3, 3), ours, bare).await?;
    Ok(vec![
        Row::new(
            format!("documents into OpenSearch ({documents} of {} threads)", threads.len()),
            rate(documents, ours),
            "documents/s",
        )
        .over("bulk requests ready made", rate(documents, bare))
        .at_least(GOAL),
    ])
}

async fn send(url: &str, prefix: &str, bodies: Vec<bytes::Bytes>) -> Result<()> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    for body in bodies {
        let request = client.post(format!("{url}/_bulk?require_alias=true&filter_path=errors"));
        let answer = request.header("content-type", "application/x-ndjson").body(body).send().await?;
        let text = answer.error_for_status()?.text().await?;
        ensure!(text.contains("\"errors\":false"), "a document was refused: {text}");
    }
    client.post(format!("{url}/{prefix}-*/_refresh")).send().await?.error_for_status()?;
    Ok(())
}
