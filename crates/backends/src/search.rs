//! The search engine as set.

use std::sync::Arc;

use anyhow::Context;
use gharvest_search::SearchIndex;
use gharvest_search_tantivy::TantivyIndex;
use gharvest_service_kit::Settings;

use crate::{index_folder, opening};

/// Opens the index for writing. The caller makes it with `ensure`.
pub async fn index(settings: &Settings) -> anyhow::Result<Arc<dyn SearchIndex>> {
    let url = settings.search_url();
    match index_folder(settings) {
        Some(folder) => Ok(TantivyIndex::open(&folder).await.with_context(|| opening("index", &url))?),
        None => elastic(settings, &url).await,
    }
}

/// Makes the index if there is none, and says so if an earlier version of the program made it.
pub async fn ensure_index(index: &dyn SearchIndex, archive: &str) -> anyhow::Result<()> {
    index.ensure(archive).await.context("making the index")?;
    let status = index.status().await.context("looking at the index")?;
    if status.outdated {
        tracing::warn!(
            mapping = status.mapping,
            "An earlier version of the program made this index: `gharvest rebuild` makes it anew from the archive"
        );
    }
    Ok(())
}

/// Opens the index for reading: works beside the process that writes it.
pub async fn index_read_only(settings: &Settings) -> anyhow::Result<Arc<dyn SearchIndex>> {
    let url = settings.search_url();
    match index_folder(settings) {
        Some(folder) => Ok(TantivyIndex::open_read_only(&folder).await.with_context(|| opening("index", &url))?),
        None => elastic(settings, &url).await,
    }
}

async fn elastic(settings: &Settings, url: &str) -> anyhow::Result<Arc<dyn SearchIndex>> {
    let options = crate::elastic::options(settings, url).await?;
    gharvest_search_elastic::ElasticIndex::open(&options).await.with_context(|| opening("index", url))
}
