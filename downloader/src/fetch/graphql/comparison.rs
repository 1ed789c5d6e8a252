//! Archived threads by GraphQL, to be compared: many in one request, and nothing of them by REST.
//!
//! What GraphQL cannot tell is left to who asked. While it tells nothing at all, or its budget is used up, threads wait for
//! it: by REST they would cost fifty times as much, and nobody reckons with that. After an hour of silence they do not.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use gharvest_archive::Repository;
use gharvest_github::{Error, Listed, Purpose, ThreadOutcome, ThreadParts, Wanted as Asked};
use gharvest_model::record::Origin;
use jiff::Timestamp;

use super::{Comparison, Conversation, GraphqlFetcher, MOST_COMMITS, Said, Silence, assembled, commits, later};
use crate::{fetch::Thread, outcome::Failure};

/// One comparison.
struct Run<'a> {
    repository: &'a Repository,
    /// With GraphQL, until that is over.
    conversation: Option<Conversation<'a>>,
    /// Of which it said nothing so far.
    open: BTreeSet<u64>,
    /// When these are to be asked for again; none if GraphQL has answered, and left them out.
    until: Option<Timestamp>,
}

pub(super) fn compare<'a>(
    fetcher: &'a GraphqlFetcher,
    repository: &'a Repository,
    archived: Vec<(u64, Listed)>,
) -> Comparison<'a> {
    let open = archived.iter().map(|(number, _)| *number).collect();
    let mut run = Run { repository, conversation: None, open, until: None };
    if run.open.is_empty() {
        // Nothing is asked, so nothing is learnt of GraphQL.
    } else if let Some(silence) = fetcher.silence_or_turn(&repository.full_name) {
        run.until = Some(later(silence.until));
    } else {
        let asked = archived.into_iter().map(|(number, listed)| Asked { number, listed: Some(listed) });
        run.conversation = Some(Conversation::begin(fetcher, &repository.full_name, asked, Purpose::Backfill));
    }
    stream::unfold(run, |mut run| async { run.next().await.map(|answer| (answer, run)) }).boxed()
}

impl Run<'_> {
    async fn next(&mut self) -> Option<(u64, Result<Option<Box<Thread>>, Failure>)> {
        while let Some(conversation) = &mut self.conversation {
            match conversation.next().await {
                Said::Answer(answer) => {
                    self.open.remove(&answer.number);
                    let thread = match answer.outcome {
                        ThreadOutcome::Found(parts) => self.thread(*parts),
                        // Changed or gone, or more than GraphQL tells.
                        _ => None,
                    };
                    return Some((answer.number, Ok(thread)));
                }
                Said::Over(error, silence) => self.end(error, silence),
            }
        }
        let number = self.open.pop_first()?;
        let Some(until) = self.until else { return Some((number, Ok(None))) };
        let reason = format!("GraphQL tells nothing of {} now", self.repository.full_name);
        Some((number, Err(Failure::Later { until, reason })))
    }

    /// The thread, if GraphQL tells it whole, and it is this repository's: another one may have got its name.
    fn thread(&self, mut parts: ThreadParts) -> Option<Box<Thread>> {
        let is_own = parts.repository.is_none_or(|id| id == self.repository.id);
        let timeline = parts.timeline.take().filter(|timeline| is_own && commits(timeline) < MOST_COMMITS)?;
        // The archive's, as far as they are still there.
        let review_comments = parts.review_comments.take().unwrap_or_default();
        Some(Box::new(assembled(parts, timeline, Origin::Graphql, review_comments)))
    }

    /// GraphQL says no more. What is left waits for its budget, or for the end of a silence; if GraphQL said something of
    /// others, it fails by itself.
    fn end(&mut self, error: Option<Error>, silence: Option<Silence>) {
        self.conversation = None;
        let Some(error) = error else { return };
        self.until = silence.map(|silence| later(silence.until)).or(error.retry_at());
        tracing::warn!(repo.name = %self.repository.full_name, error = %error, threads = self.open.len(),
            until = ?self.until, "Threads are left that GraphQL does not tell now");
    }
}
