//! `gharvest rebuild`: the index anew from the archive.

use std::sync::Arc;

use clap::Args;
use gharvest_indexer::rebuild::{Progress as Done, begin, rebuild};
use gharvest_model::ledger::NumberState;
use gharvest_service_kit::process::{CommonArgs, Exit, shutdown_on_signals};
use tokio_util::sync::CancellationToken;

use crate::{
    output::{grouped, safe, say},
    progress::Progress,
    system::System,
};

#[derive(Debug, Args)]
pub(crate) struct RebuildArgs {}

/// Builds an embedded index anew that another version made: it answers nothing, and no other process can while this one
/// has it. The new one is begun when this returns, takes what is written, and answers with what it has so far.
pub(crate) async fn renew_embedded(system: &System) -> anyhow::Result<()> {
    let is_embedded = gharvest_backends::index_folder(&system.settings).is_some();
    if !is_embedded || !system.index.status().await?.outdated {
        return Ok(());
    }
    let (archive, index) = (system.archive.clone(), Arc::clone(&system.index));
    let begun = begin(&archive, index.as_ref()).await?;
    tracing::info!("Index of another version is built anew, and answers with what is done of it");
    tokio::spawn(async move {
        match begun.complete(&archive, index.as_ref(), &CancellationToken::new(), &mut |_| {}).await {
            Ok(done) => tracing::info!(items = done.items, "Index is built anew"),
            Err(error) => tracing::error!(error = %error, "Index is not built anew: the next start begins it again"),
        }
    });
    Ok(())
}

pub(crate) async fn run(common: &CommonArgs, _: RebuildArgs) -> anyhow::Result<Exit> {
    let settings = common.load()?.settings;
    let archive = gharvest_backends::existing_archive(&settings).await?;
    let index = gharvest_backends::index(&settings).await?;
    let mut total = 0;
    for id in archive.repositories().await? {
        // Without a ledger the bar is wrong, and nothing else.
        total += archive.ledger(id).await.map_or(0, |ledger| ledger.counts()[NumberState::Present as usize]);
    }
    let mut progress = Progress::new("items");
    let mut show = |done: &Done| progress.set(done.items, total.max(done.items), &done.repository);
    let done = rebuild(&archive, index.as_ref(), &shutdown_on_signals()?, &mut show).await?;
    progress.finish();
    for (document, reason) in &done.refused {
        say(format_args!("refused: {document}: {}", safe(reason)));
    }
    for reason in &done.unreadable {
        say(format_args!("left out: {}", safe(reason)));
    }
    say(format_args!("{} items of {} repositories indexed", grouped(done.items), done.repositories));
    Ok(if done.refused.is_empty() && done.unreadable.is_empty() { Exit::Done } else { Exit::Differs })
}
