//! The contract of every search engine, with the parity scenarios, on both engines.

use std::sync::Arc;

use gharvest_search::SearchIndex;
use gharvest_search_elastic::ElasticIndex;

use crate::options;

/// An index under names of its own on the server that all tests share.
pub(crate) async fn fresh(url: String) -> (Arc<dyn SearchIndex>, ()) {
    (ElasticIndex::open(&options(&url)).await.unwrap(), ())
}

mod opensearch {
    gharvest_search::search_contract!({
        let Some(url) = gharvest_testkit::search_server("the contract on OpenSearch 2") else { return };
        super::fresh(url)
    });
}

/// With indices of what is public beside it, which make no difference to its readers.
mod elasticsearch {
    use std::sync::Arc;

    use gharvest_search::SearchIndex;
    use gharvest_search_elastic::{ElasticIndex, Options};
    use gharvest_testkit::search::{Make, search_server_of};

    async fn fresh(url: String) -> (Arc<dyn SearchIndex>, ()) {
        (ElasticIndex::open(&Options { public: true, ..crate::options(&url) }).await.unwrap(), ())
    }

    gharvest_search::search_contract!({
        let Some(url) = search_server_of("the contract on Elasticsearch 8", Make::Elasticsearch8) else { return };
        fresh(url)
    });
}
