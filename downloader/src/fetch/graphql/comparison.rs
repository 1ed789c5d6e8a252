//! Archived threads by GraphQL, to be compared: many in one request, and nothing of them by REST.
//!
//! What GraphQL cannot tell is left to who asked. While it tells nothing, be it that its budget is used up, threads wait
//! for it: by REST they would cost thirty times as much, and nobody reckons with that. After an hour of it they do not.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use gharvest_archive::Repository;
use gharvest_github::{Error, Listed, Purpose, ThreadOutcome, ThreadParts, Threads, Wanted as Asked};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{ASK_AGAIN, Comparison, GraphqlFetcher, MOST_COMMITS, commits, later};
use crate::{
    fetch::{Fetched, Thread},
    outcome::Failure,
};

/// One comparison.
struct Run<'a> {
    fetcher: &'a GraphqlFetcher,
    repository: &'a Repository,
    /// What GraphQL is asked, until it has answered.
    threads: Option<Threads<'a>>,
    /// Of which it said nothing so far.
    open: BTreeSet<u64>,
    /// When these are to be asked for again; none if GraphQL has answered, and left them out.
    until: Option<Timestamp>,
    /// Whether GraphQL said anything.
    has_brought: bool,
}

pub(super) fn compare<'a>(
    fetcher: &'a GraphqlFetcher,
    repository: &'a Repository,
    archived: Vec<(u64, Listed)>,
) -> Comparison<'a> {
    let mut run = Run {
        fetcher,
        repository,
        threads: None,
        open: archived.iter().map(|(number, _)| *number).collect(),
        until: None,
        has_brought: false,
    };
    match fetcher.silence_or_turn(&repository.full_name) {
        Some(silence) => run.until = Some(later(silence.until)),
        None => {
            let asked = archived.into_iter().map(|(number, listed)| Asked { number, listed: Some(listed) });
            run.threads = Some(fetcher.client.threads(&repository.full_name, asked.collect(), Purpose::Backfill));
        }
    }
    stream::unfold(run, |mut run| async { run.next().await.map(|answer| (answer, run)) }).boxed()
}

impl Run<'_> {
    async fn next(&mut self) -> Option<(u64, Result<Option<Box<Thread>>, Failure>)> {
        while let Some(threads) = &mut self.threads {
            match threads.next().await {
                Ok(Some(answer)) if self.open.remove(&answer.number) => {
                    self.brought();
                    let thread = match answer.outcome {
                        ThreadOutcome::Found(parts) => self.thread(answer.number, *parts).await,
                        // Changed or gone, or more than GraphQL tells.
                        _ => Ok(None),
                    };
                    return Some((answer.number, thread));
                }
                Ok(Some(_)) => {}
                Ok(None) => self.threads = None,
                Err(error) => self.end(&error),
            }
        }
        let number = self.open.pop_first()?;
        let answer = match self.until {
            None => Ok(None),
            Some(until) => {
                let reason = format!("GraphQL tells nothing of {} now", self.repository.full_name);
                Err(Failure::Later { until, reason })
            }
        };
        Some((number, answer))
    }

    /// The thread, if GraphQL tells it whole, and it is this repository's: another one may have got its name.
    async fn thread(&self, number: u64, parts: ThreadParts) -> Result<Option<Box<Thread>>, Failure> {
        let is_whole = parts.timeline.as_ref().is_some_and(|timeline| commits(timeline) < MOST_COMMITS)
            && (parts.pull.is_none() || parts.review_comments.is_some());
        if !is_whole || parts.repository.is_some_and(|id| id != self.repository.id) {
            return Ok(None);
        }
        let name = &self.repository.full_name;
        match self.fetcher.completed(name, number, parts, Purpose::Backfill).await? {
            Fetched::Thread(thread) => Ok(Some(thread)),
            _ => Ok(None),
        }
    }

    fn brought(&mut self) {
        if !std::mem::replace(&mut self.has_brought, true) {
            self.fetcher.has_spoken(&self.repository.full_name);
        }
    }

    /// GraphQL says no more: what it left out waits.
    fn end(&mut self, error: &Error) {
        self.threads = None;
        let again = match self.has_brought {
            true => error.retry_at().unwrap_or_else(|| later(Instant::now() + ASK_AGAIN)),
            false => later(self.fetcher.fell_silent(&self.repository.full_name, Some(error)).until),
        };
        tracing::warn!(repo.name = %self.repository.full_name, error = %error, threads = self.open.len(),
            until = %again, "Threads wait to be compared");
        self.until = Some(again);
    }
}
