//! Elasticsearch or OpenSearch as set.

use std::sync::Arc;

use anyhow::Context;
use gharvest_search::operations::OperationsLog;
use gharvest_search_elastic::{ElasticOperations, Options};
use gharvest_service_kit::Settings;

use crate::{index_folder, opening};

/// Where it is kept how the system of this archive is doing; none where the index is embedded, which no dashboard reads.
/// The engine need not be up yet.
pub async fn operations_log(settings: &Settings, archive: &str) -> anyhow::Result<Option<Arc<dyn OperationsLog>>> {
    if index_folder(settings).is_some() {
        return Ok(None);
    }
    let url = settings.search_url();
    let log = ElasticOperations::open(&options(settings, &url).await?, archive);
    Ok(Some(log.with_context(|| opening("log of operations", &url))?))
}

/// How to reach the engine at this URL.
pub(crate) async fn options(settings: &Settings, url: &str) -> anyhow::Result<Options> {
    let search = &settings.search;
    let ca = match search.ca_file.as_str() {
        "" => None,
        path => Some(tokio::fs::read(path).await.with_context(|| format!("[search] ca_file `{path}` cannot be read"))?),
    };
    Ok(Options {
        urls: url.to_owned(),
        username: search.username.clone(),
        password: search.password.clone(),
        api_key: search.api_key.clone(),
        ca,
        prefix: search.index_prefix.clone(),
        public: search.public_indices,
    })
}
