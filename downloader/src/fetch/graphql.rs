//! Threads by GraphQL, many in one request: for first mirrors, where the walk gave the issue objects already.
//!
//! Only backfills with a hint go this way: then the issue is REST's own, and what GraphQL cannot give
//! ([`gharvest_github::LOSSY`]) is a short list. Everything else, and whatever GraphQL cannot answer, goes by REST.

use async_trait::async_trait;
use gharvest_github::{Client, Purpose, Resource, ThreadOutcome, ThreadParts, Wanted as Asked};
use gharvest_model::{
    RepositoryName,
    record::{Origin, Origins},
};
use serde_json::Map;

use super::{Fetched, Fetcher, RestFetcher, Thread, Wanted};
use crate::outcome::Failure;

/// Fetches backfills by GraphQL and everything else by REST.
#[derive(Debug, Clone)]
pub struct GraphqlFetcher {
    client: Client,
    rest: RestFetcher,
}

impl GraphqlFetcher {
    /// A fetcher; what it cannot ask by GraphQL it asks by `rest`.
    pub fn new(client: Client, rest: RestFetcher) -> Self {
        Self { client, rest }
    }

    /// What GraphQL answers of these. Without an answer is what it does not know, cannot tell, or has no budget for.
    async fn threads(
        &self,
        repository: &RepositoryName,
        wanted: &[Wanted],
        purpose: Purpose,
    ) -> Vec<(u64, Box<ThreadParts>)> {
        let asked: Vec<Asked> = wanted
            .iter()
            .filter_map(|wanted| {
                Some(Asked { number: wanted.number, issue: Some(wanted.hint.as_ref()?.issue.clone()) })
            })
            .collect();
        if asked.is_empty() || purpose != Purpose::Backfill || !self.client.can_graphql() {
            return Vec::new();
        }
        match self.client.threads(repository, &asked, purpose).await {
            Ok(answers) => answers
                .into_iter()
                .filter_map(|answer| match answer.outcome {
                    ThreadOutcome::Found(parts) => Some((answer.number, parts)),
                    ThreadOutcome::NotFound | ThreadOutcome::ByRest(_) => None,
                })
                .collect(),
            Err(error) => {
                tracing::info!(repo.name = %repository, error = %error, "GraphQL gives no threads now, REST is asked");
                Vec::new()
            }
        }
    }

    /// Fills in what GraphQL leaves to REST.
    async fn completed(
        &self,
        repository: &RepositoryName,
        number: u64,
        parts: ThreadParts,
        purpose: Purpose,
    ) -> Result<Fetched, Failure> {
        let is_pull = parts.pull.is_some();
        let review_comments = match parts.review_comments {
            Some(known) => known,
            None if is_pull => {
                self.rest.pages(Resource::ReviewComments(repository.clone(), number), number, purpose).await?
            }
            None => Vec::new(),
        };
        let issue = if parts.issue_is_graphql { Origin::Graphql } else { Origin::Rest };
        Ok(Fetched::Thread(Box::new(Thread {
            issue: parts.issue,
            timeline: parts.timeline,
            pull: parts.pull,
            review_comments,
            etags: Map::new(),
            origin: Origins {
                issue: Some(issue),
                timeline: Some(Origin::Graphql),
                pull: is_pull.then_some(Origin::Graphql),
                review_comments: is_pull.then_some(Origin::Rest),
            },
        })))
    }
}

#[async_trait]
impl Fetcher for GraphqlFetcher {
    fn batch(&self, repository: &RepositoryName) -> usize {
        self.client.batch_size(repository)
    }

    async fn fetch(
        &self,
        repository: &RepositoryName,
        wanted: Vec<Wanted>,
        purpose: Purpose,
    ) -> Vec<Result<Fetched, Failure>> {
        let mut found = self.threads(repository, &wanted, purpose).await;
        let mut fetched = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let number = wanted.number;
            let place = found.iter().position(|(found, _)| *found == number);
            fetched.push(match place.map(|place| found.swap_remove(place)) {
                Some((_, parts)) => self.completed(repository, number, *parts, purpose).await,
                None => self.rest.thread(repository, wanted, purpose).await,
            });
        }
        fetched
    }
}
