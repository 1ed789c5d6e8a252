//! Threads by GraphQL, many in one request: for first mirrors, where the walk gave the issue objects already.
//!
//! Only backfills of items without a record go this way: then the issue, and mostly the review comments, are REST's own,
//! and what GraphQL cannot give ([`gharvest_model::lossy::LOSSY`]) is a short list. Everything else, and whatever GraphQL
//! cannot answer, goes by REST. [`plan::choose`] decides for each batch.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use gharvest_github::{Client, Purpose, Resource, ThreadOutcome, ThreadParts, Threads, Wanted as Asked};
use gharvest_model::{
    RepositoryName,
    record::{Origin, Origins},
};
use serde_json::{Map, json};

use super::{Answers, ENTRIES, Fetched, Fetcher, RestFetcher, Thread, Wanted};
use crate::{
    outcome::Failure,
    plan::{self, Left, Situation, Way},
};

/// So many commits a timeline shows at most.
const MOST_COMMITS: usize = 250;

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

    /// By which way so many threads are best fetched; what they are is not known yet.
    fn way(&self, repository: &RepositoryName, items: usize) -> Way {
        let (budgets, speeds) = (self.client.budgets_for(Purpose::Backfill), self.client.speeds());
        plan::choose(&Situation {
            items: items as u64,
            pulls: items as u64 / 2,
            batch: self.client.batch_size(repository) as u64,
            core: Left::of(&budgets, "core"),
            graphql: Left::of(&budgets, "graphql"),
            rest_seconds: speeds.rest,
            thread_seconds: speeds.thread,
        })
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
        let mut etags = Map::new();
        let by_graphql = parts.timeline.is_some();
        let timeline = match parts.timeline {
            Some(timeline) => timeline,
            None => self.rest.timeline(repository, number, &mut etags, purpose).await?,
        };
        let commits = timeline.iter().filter(|entry| entry["event"] == "committed").count();
        if commits >= MOST_COMMITS {
            // Only REST's pull request says how many there are.
            let wanted = Wanted { number, hint: None, known: None };
            return self.rest.thread(repository, wanted, purpose).await;
        }
        let review_comments = match parts.review_comments {
            Some(known) => known,
            None if is_pull => {
                let list = Resource::ReviewComments(repository.clone(), number);
                self.rest.list(list, number, None, purpose).await?.all
            }
            None => Vec::new(),
        };
        let pull = parts.pull.map(|mut pull| {
            pull["commits"] = json!(commits);
            pull["review_comments"] = json!(review_comments.len());
            pull
        });
        let issue = if parts.issue_is_graphql { Origin::Graphql } else { Origin::Rest };
        etags.extend(parts.entries.map(|entries| (ENTRIES.to_owned(), json!(entries))));
        Ok(Fetched::Thread(Box::new(Thread {
            issue: parts.issue,
            timeline,
            pull,
            review_comments,
            etags,
            origin: Origins {
                issue: Some(issue),
                timeline: Some(if by_graphql { Origin::Graphql } else { Origin::Rest }),
                pull: is_pull.then_some(Origin::Graphql),
                review_comments: is_pull.then_some(Origin::Rest),
            },
        })))
    }
}

impl Fetcher for GraphqlFetcher {
    fn batch(&self, repository: &RepositoryName, jobs: usize, purpose: Purpose) -> usize {
        let graphql = purpose == Purpose::Backfill && self.client.can_graphql();
        // Details are asked for once a call, so all jobs are one.
        if graphql && self.way(repository, jobs) == Way::Graphql { jobs } else { 1 }
    }

    fn fetch<'a>(&'a self, repository: &'a RepositoryName, wanted: Vec<Wanted>, purpose: Purpose) -> Answers<'a> {
        if wanted.len() == 1 || purpose != Purpose::Backfill || !self.client.can_graphql() {
            return self.rest.fetch(repository, wanted, purpose);
        }
        let suitable = wanted.iter().filter(|wanted| wanted.known.is_none() && wanted.hint.is_some());
        let asked = suitable.map(|wanted| Asked { number: wanted.number, listed: wanted.hint.clone() }).collect();
        let call = Call {
            fetcher: self,
            repository,
            purpose,
            threads: self.client.threads(repository, asked, purpose),
            unanswered: wanted.into_iter().map(|wanted| (wanted.number, wanted)).collect(),
        };
        stream::unfold(call, |mut call| async { call.next().await.map(|answer| (answer, call)) }).boxed()
    }
}

/// One call: first what GraphQL answers, then by REST what it does not know, cannot tell, or has no budget for.
struct Call<'a> {
    fetcher: &'a GraphqlFetcher,
    repository: &'a RepositoryName,
    purpose: Purpose,
    threads: Threads<'a>,
    unanswered: BTreeMap<u64, Wanted>,
}

impl Call<'_> {
    async fn next(&mut self) -> Option<(u64, Result<Fetched, Failure>)> {
        let Self { fetcher, repository, purpose, .. } = *self;
        if let Some((number, parts)) = self.next_by_graphql().await {
            self.unanswered.remove(&number);
            return Some((number, fetcher.completed(repository, number, *parts, purpose).await));
        }
        let (number, wanted) = self.unanswered.pop_first()?;
        Some((number, fetcher.rest.thread(repository, wanted, purpose).await))
    }

    async fn next_by_graphql(&mut self) -> Option<(u64, Box<ThreadParts>)> {
        let repository = self.repository;
        loop {
            let answer = match self.threads.next().await {
                Ok(answer) => answer?,
                Err(error) => {
                    tracing::info!(repo.name = %repository, error = %error, "GraphQL gives no threads now, REST is asked");
                    return None;
                }
            };
            match answer.outcome {
                ThreadOutcome::Found(parts) => return Some((answer.number, parts)),
                ThreadOutcome::NotFound => {}
                // With the issue as it was, it would be a thread of two times.
                ThreadOutcome::Changed => {
                    self.unanswered.entry(answer.number).and_modify(|wanted| wanted.hint = None);
                }
                ThreadOutcome::ByRest(reason) => {
                    tracing::debug!(repo.name = %repository, number = answer.number, reason, "Thread goes by REST");
                }
            }
        }
    }
}
