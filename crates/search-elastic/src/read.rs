//! Reading back: threads for `verify`, numbers, intervals, days.

use elasticsearch::http::Method;
use futures::stream::{self, BoxStream, StreamExt};
use gharvest_model::{ItemId, RepositoryId};
use gharvest_search::{
    Error, ErrorKind, Result, StoredThread,
    document::{DailyDocument, IntervalDocument, RepositoryDocument, Version, document_digest},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{ElasticIndex, body::own, client::Client, schema::Sort};

/// Documents of a page.
const PAGE: usize = 1_000;

/// A walk through all hits of a query, in an order without ties.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) alias: String,
    pub(crate) query: Value,
    pub(crate) sort: Value,
    pub(crate) source: Value,
    /// Where the page before ended.
    pub(crate) after: Option<Value>,
}

impl Page {
    /// The next hits; none at the end.
    pub(crate) async fn next(&mut self, client: &Client) -> Result<Option<Vec<Value>>> {
        let mut body = json!({
            "query": self.query, "sort": self.sort, "_source": self.source, "size": PAGE,
            "version": true, "track_total_hits": false,
        });
        if let Some(after) = &self.after {
            body["search_after"] = after.clone();
        }
        let answer = client.find("read", Method::Post, &format!("/{}/_search", self.alias), Some(&body)).await?;
        let hits = answer.map(hits).unwrap_or_default();
        self.after = hits.last().and_then(|hit| hit.get("sort")).cloned();
        Ok(if hits.is_empty() { None } else { Some(hits) })
    }

    fn into_stream(self, client: Client) -> BoxStream<'static, Result<Value>> {
        let pages = stream::try_unfold((self, client), |(mut page, client)| async move {
            Ok::<_, Error>(page.next(&client).await?.map(|hits| (hits, (page, client))))
        });
        let flat = pages.flat_map(|page| match page {
            Ok(hits) => stream::iter(hits.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        });
        flat.boxed()
    }
}

/// The hits of an answer.
pub(crate) fn hits(mut answer: Value) -> Vec<Value> {
    match answer.pointer_mut("/hits/hits").map(Value::take) {
        Some(Value::Array(hits)) => hits,
        _ => Vec::new(),
    }
}

/// A hit's document.
pub(crate) fn document<T: DeserializeOwned>(hit: &Value) -> Result<T> {
    let source = hit.get("_source").unwrap_or(&Value::Null);
    T::deserialize(source).map_err(|error| {
        let id = hit.get("_id").and_then(Value::as_str).unwrap_or_default();
        Error::new(
            ErrorKind::Document,
            "read",
            format!("the stored document {id} is none of ours ({error}); rebuild the index"),
        )
    })
}

impl ElasticIndex {
    fn page(&self, sort: Sort, query: Value, order: Value) -> Page {
        Page { alias: self.generations.names.all(sort), query, sort: order, source: json!(true), after: None }
    }

    pub(crate) async fn read_thread(&self, item: ItemId) -> Result<Option<StoredThread>> {
        let key = format!("{}:{}", item.repository, item.number);
        let path = format!("/{}/_doc/{}", self.generations.names.all(Sort::Items), key.replace(':', "%3A"));
        let Some(found) = self.generations.client.find("thread", Method::Get, &path, None).await? else {
            return Ok(None);
        };
        let source = found.get("_source").unwrap_or(&Value::Null);
        let mut documents = vec![(key.clone(), document_digest(&own(source)))];
        for (sort, _) in Sort::CHILDREN {
            let query =
                json!({"bool": {"filter": [{"term": {"item": key}}], "must_not": [{"term": {"q.gone": true}}]}});
            let mut page = self.page(sort, query, json!([{"key": "asc"}]));
            while let Some(hits) = page.next(&self.generations.client).await? {
                for hit in &hits {
                    let id = hit.get("_id").and_then(Value::as_str).unwrap_or_default().to_owned();
                    documents.push((id, document_digest(&own(hit.get("_source").unwrap_or(&Value::Null)))));
                }
            }
        }
        documents.sort_unstable();
        Ok(Some(StoredThread {
            item,
            version: Version(found.get("_version").and_then(Value::as_u64).unwrap_or_default()),
            digest: source.pointer("/meta/digest").and_then(Value::as_str).unwrap_or_default().to_owned(),
            documents,
        }))
    }

    pub(crate) fn read_numbers(&self, repository: RepositoryId) -> BoxStream<'static, Result<u64>> {
        let mut page = self.page(Sort::Items, of(repository), json!([{"number": "asc"}]));
        page.source = json!(false);
        let hits = page.into_stream(self.generations.client.clone());
        hits.map(|hit| Ok(hit?.pointer("/sort/0").and_then(Value::as_u64).unwrap_or_default())).boxed()
    }

    pub(crate) fn read_intervals(&self, repository: RepositoryId) -> BoxStream<'static, Result<IntervalDocument>> {
        let query = json!({"bool": {"filter": [of(repository)], "must_not": [{"term": {"q.gone": true}}]}});
        let page = self.page(Sort::Intervals, query, json!([{"number": "asc"}, {"q.ordinal": "asc"}]));
        page.into_stream(self.generations.client.clone()).map(|hit| document(&hit?)).boxed()
    }

    pub(crate) async fn read_daily(
        &self,
        repository: RepositoryId,
        dimension: &str,
        value: Option<&str>,
    ) -> Result<Vec<DailyDocument>> {
        let mut filter = vec![of(repository), json!({"term": {"dimension": dimension}})];
        filter.extend(value.map(|value| json!({"term": {"value": value}})));
        let query = json!({"bool": {"filter": filter, "must_not": [{"term": {"q.gone": true}}]}});
        let mut page = self.page(Sort::Daily, query, json!([{"day": "asc"}, {"key": "asc"}]));
        let mut days = Vec::new();
        while let Some(hits) = page.next(&self.generations.client).await? {
            for hit in &hits {
                days.push(document(hit)?);
            }
        }
        Ok(days)
    }

    pub(crate) async fn read_repository(&self, repository: RepositoryId) -> Result<Option<RepositoryDocument>> {
        let path = format!("/{}/_doc/{repository}", self.generations.names.all(Sort::Repositories));
        let found = self.generations.client.find("repository", Method::Get, &path, None).await?;
        found.map(|found| document(&found)).transpose()
    }
}

fn of(repository: RepositoryId) -> Value {
    json!({"term": {"repository_id": repository.0}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_document_that_cannot_be_read_is_alone_to_blame() {
        let error = document::<DailyDocument>(&json!({"_id": "1:d:x", "_source": {"day": 5}})).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Document);
        assert!(error.to_string().contains("1:d:x"), "{error}");
    }
}
