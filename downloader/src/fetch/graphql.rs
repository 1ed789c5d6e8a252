//! Threads by GraphQL, many in one request: for first mirrors, where the walk gave the issue objects already, and for
//! archived threads that are to be compared (`comparison`).
//!
//! Of backfills only items without a record go this way: then the issue, and mostly the review comments, are REST's own,
//! and what GraphQL cannot give ([`gharvest_model::lossy::LOSSY`]) is a short list. Everything else, and whatever GraphQL
//! cannot answer, goes by REST. [`plan::choose`] decides for each batch.
//!
//! A call that brings nothing at all is a silence of GraphQL's about this repository, and its jobs are given back. In an
//! outage they wait, as REST costs twenty times as much: for a minute, then one call asks again for all, and after an
//! hour of it they go by REST. What REST fetches in one call is about a turn's work: the rest is given back as well, so
//! that live work never waits for a whole batch.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream};
use gharvest_archive::Repository;
use gharvest_github::{
    Client, Error, ErrorKind, Listed, Purpose, Resource, ThreadAnswer, ThreadOutcome, ThreadParts, Threads,
    Wanted as Asked,
};
use gharvest_model::{
    RepositoryName,
    record::{Origin, Origins},
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{Answers, Comparison, Fetched, Fetcher, RestFetcher, Thread, Wanted};
use crate::{
    outcome::{Failure, until_then},
    plan::{self, Left, Situation, Way},
};

mod comparison;

/// So long after a call that brought nothing GraphQL is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// So long threads wait for GraphQL in an outage. A budget that is used up comes back in that time as well.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Threads of one call that go by REST: about as many as a turn has time for.
const MOST_BY_REST: usize = 25;
/// So many commits a timeline shows at most.
const MOST_COMMITS: usize = 250;

/// Fetches backfills by GraphQL and everything else by REST.
#[derive(Debug, Clone)]
pub struct GraphqlFetcher {
    client: Client,
    rest: RestFetcher,
    patience: Duration,
    /// By the repository's name in lower case.
    silences: Arc<Mutex<HashMap<String, Silence>>>,
}

/// The last calls about a repository's threads brought nothing.
#[derive(Debug, Clone, Copy)]
struct Silence {
    /// When the first of them ended.
    since: Instant,
    /// When GraphQL is asked again.
    until: Instant,
    /// Whether threads wait until then, instead of going by REST.
    waits: bool,
}

impl GraphqlFetcher {
    /// A fetcher; what it cannot ask by GraphQL it asks by `rest`.
    pub fn new(client: Client, rest: RestFetcher) -> Self {
        Self { client, rest, patience: PATIENCE, silences: Arc::default() }
    }

    /// The same with another time than an hour for which threads wait in an outage.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn silences(&self) -> MutexGuard<'_, HashMap<String, Silence>> {
        self.silences.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether GraphQL tells nothing of a repository, and has not for so long that nobody waits for it any more.
    fn is_given_up(&self, repository: &RepositoryName) -> bool {
        let now = Instant::now();
        let is_lasting = |silence: &Silence| now.duration_since(silence.since) >= self.patience;
        let is_late = |silence: &Silence| now.duration_since(silence.until) < self.patience;
        self.silences().get(&repository.key()).is_some_and(|silence| is_lasting(silence) && is_late(silence))
    }

    /// The silence that lasts, if there is one.
    fn silence(&self, repository: &RepositoryName) -> Option<Silence> {
        self.silences().get(&repository.key()).copied().filter(|silence| silence.until > Instant::now())
    }

    /// The same, but whoever finds that it is time to ask again does so alone: for others it lasts on.
    fn silence_or_turn(&self, repository: &RepositoryName) -> Option<Silence> {
        let now = Instant::now();
        let mut silences = self.silences();
        let silence = silences.get_mut(&repository.key())?;
        if silence.until > now {
            return Some(*silence);
        }
        silence.until = now + ASK_AGAIN;
        None
    }

    /// A call brought nothing: for this reason, or because nothing that GraphQL said was of use.
    fn fell_silent(&self, repository: &RepositoryName, error: Option<&Error>) -> Silence {
        let now = Instant::now();
        let mut silences = self.silences();
        let before = silences.get(&repository.key());
        // One of long ago was another one.
        let before = before.filter(|before| now.duration_since(before.until) < self.patience);
        let since = before.map_or(now, |before| before.since);
        let is_outage =
            error.is_some_and(|error| matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::BadAnswer));
        let waits = is_outage && now.duration_since(since) < self.patience;
        let told = error.and_then(Error::retry_at).map(|at| until_then(Timestamp::now(), at).min(PATIENCE));
        let silence = Silence { since, until: now + told.unwrap_or(ASK_AGAIN), waits };
        silences.insert(repository.key(), silence);
        silence
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
        mut parts: ThreadParts,
        purpose: Purpose,
    ) -> Result<Fetched, Failure> {
        let mut etags = Map::new();
        let by_graphql = parts.timeline.is_some();
        let timeline = match parts.timeline.take() {
            Some(timeline) => timeline,
            None => self.rest.timeline(repository, number, &mut etags, purpose).await?,
        };
        if commits(&timeline) >= MOST_COMMITS {
            // Only REST's pull request says how many there are.
            let wanted = Wanted { number, hint: None, known: None };
            return self.rest.thread(repository, wanted, purpose).await;
        }
        let review_comments = match parts.review_comments.take() {
            Some(known) => known,
            None if parts.pull.is_some() => {
                let list = Resource::ReviewComments(repository.clone(), number);
                self.rest.list(list, number, None, purpose).await?.all
            }
            None => Vec::new(),
        };
        let origin = if by_graphql { Origin::Graphql } else { Origin::Rest };
        let thread = assembled(parts, timeline, origin, review_comments);
        Ok(Fetched::Thread(Box::new(Thread { etags, ..thread })))
    }
}

/// A thread whose timeline came this way.
fn assembled(parts: ThreadParts, timeline: Vec<Value>, origin: Origin, review_comments: Vec<Value>) -> Thread {
    let pull = parts.pull.map(|mut pull| {
        pull["commits"] = json!(commits(&timeline));
        pull["review_comments"] = json!(review_comments.len());
        pull
    });
    let issue = if parts.issue_is_graphql { Origin::Graphql } else { Origin::Rest };
    let origin = Origins {
        issue: Some(issue),
        timeline: Some(origin),
        pull: pull.as_ref().map(|_| Origin::Graphql),
        review_comments: pull.as_ref().map(|_| Origin::Rest),
    };
    Thread { issue: parts.issue, timeline, pull, review_comments, etags: Map::new(), origin }
}

/// How many commits a timeline shows.
fn commits(timeline: &[Value]) -> usize {
    timeline.iter().filter(|entry| entry["event"] == "committed").count()
}

/// Threads that GraphQL is asked for. What it says of use, or that it says nothing, counts for the repository's silence.
struct Conversation<'a> {
    fetcher: &'a GraphqlFetcher,
    repository: &'a RepositoryName,
    threads: Threads<'a>,
    /// Whether GraphQL said anything of use.
    has_brought: bool,
}

/// What comes next in a [`Conversation`].
enum Said {
    Answer(ThreadAnswer),
    /// No more, because of the error if there is one; a silence if it said nothing of use at all.
    Over(Option<Error>, Option<Silence>),
}

impl<'a> Conversation<'a> {
    fn begin(
        fetcher: &'a GraphqlFetcher,
        repository: &'a RepositoryName,
        asked: impl Iterator<Item = Asked>,
        purpose: Purpose,
    ) -> Self {
        let threads = fetcher.client.threads(repository, asked.collect(), purpose);
        Self { fetcher, repository, threads, has_brought: false }
    }

    async fn next(&mut self) -> Said {
        match self.threads.next().await {
            Ok(Some(answer)) => {
                // In an outage a thread that fails alone is left to REST as well.
                if !matches!(answer.outcome, ThreadOutcome::ByRest(_))
                    && !std::mem::replace(&mut self.has_brought, true)
                {
                    self.fetcher.silences().remove(&self.repository.key());
                }
                Said::Answer(answer)
            }
            Ok(None) => self.over(None),
            Err(error) => self.over(Some(error)),
        }
    }

    fn over(&self, error: Option<Error>) -> Said {
        let silence = (!self.has_brought).then(|| self.fetcher.fell_silent(self.repository, error.as_ref()));
        Said::Over(error, silence)
    }
}

impl Fetcher for GraphqlFetcher {
    fn batch(&self, repository: &RepositoryName, jobs: usize, purpose: Purpose) -> usize {
        if purpose != Purpose::Backfill || !self.client.can_graphql() {
            return 1;
        }
        // Details are asked for once a call, so all jobs are one.
        let together = match self.silence(repository) {
            Some(silence) => silence.waits,
            None => self.way(repository, jobs) == Way::Graphql,
        };
        if together { jobs } else { 1 }
    }

    fn fetch<'a>(&'a self, repository: &'a RepositoryName, wanted: Vec<Wanted>, purpose: Purpose) -> Answers<'a> {
        if wanted.len() == 1 || purpose != Purpose::Backfill || !self.client.can_graphql() {
            return self.rest.fetch(repository, wanted, purpose);
        }
        let is_suitable = |wanted: &Wanted| wanted.known.is_none() && wanted.hint.is_some();
        let (suitable, others): (Vec<Wanted>, Vec<Wanted>) = wanted.into_iter().partition(is_suitable);
        let asked = |wanted: &Wanted| Asked { number: wanted.number, listed: wanted.hint.clone() };
        let mut call = Call {
            fetcher: self,
            repository,
            purpose,
            conversation: None,
            asked: BTreeMap::new(),
            given_back: Vec::new(),
            by_rest: others,
            fetched_by_rest: 0,
        };
        if suitable.is_empty() {
            // Nothing is asked, so nothing is learnt of GraphQL.
        } else if let Some(silence) = self.silence_or_turn(repository) {
            call.give_back(suitable, &silence);
        } else {
            call.conversation = Some(Conversation::begin(self, repository, suitable.iter().map(asked), purpose));
            call.asked = suitable.into_iter().map(|wanted| (wanted.number, wanted)).collect();
        }
        stream::unfold(call, |mut call| async { call.next().await.map(|answer| (answer, call)) }).boxed()
    }

    fn compares(&self, repository: &RepositoryName) -> bool {
        self.client.can_graphql() && !self.is_given_up(repository)
    }

    fn compare<'a>(&'a self, repository: &'a Repository, archived: Vec<(u64, Listed)>) -> Comparison<'a> {
        comparison::compare(self, repository, archived)
    }
}

/// One call: first what GraphQL answers, then what is given back, then by REST what GraphQL does not know or cannot tell.
struct Call<'a> {
    fetcher: &'a GraphqlFetcher,
    repository: &'a RepositoryName,
    purpose: Purpose,
    /// With GraphQL, until that is over.
    conversation: Option<Conversation<'a>>,
    /// Of which it said nothing so far.
    asked: BTreeMap<u64, Wanted>,
    /// To be asked for again, not before then.
    given_back: Vec<(u64, Timestamp)>,
    by_rest: Vec<Wanted>,
    fetched_by_rest: usize,
}

impl Call<'_> {
    async fn next(&mut self) -> Option<(u64, Result<Fetched, Failure>)> {
        let Self { fetcher, repository, purpose, .. } = *self;
        if let Some((number, parts)) = self.next_by_graphql().await {
            return Some((number, fetcher.completed(repository, number, *parts, purpose).await));
        }
        if let Some((number, until)) = self.given_back.pop() {
            let reason = format!("GraphQL tells nothing of {repository} now");
            return Some((number, Err(Failure::Later { until, reason })));
        }
        let wanted = self.by_rest.pop()?;
        let number = wanted.number;
        if self.fetched_by_rest >= MOST_BY_REST {
            let reason = format!("{MOST_BY_REST} threads that GraphQL does not tell were fetched in one turn");
            return Some((number, Err(Failure::Later { until: Timestamp::now(), reason })));
        }
        self.fetched_by_rest += 1;
        Some((number, fetcher.rest.thread(repository, wanted, purpose).await))
    }

    async fn next_by_graphql(&mut self) -> Option<(u64, Box<ThreadParts>)> {
        loop {
            let answer = match self.conversation.as_mut()?.next().await {
                Said::Answer(answer) => answer,
                Said::Over(error, silence) => {
                    self.end(error.as_ref(), silence);
                    return None;
                }
            };
            let wanted = self.asked.remove(&answer.number);
            match answer.outcome {
                ThreadOutcome::Found(parts) => return Some((answer.number, parts)),
                ThreadOutcome::NotFound => self.by_rest.extend(wanted),
                // With the issue as it was, it would be a thread of two times.
                ThreadOutcome::Changed => {
                    self.by_rest.extend(wanted.map(|wanted| Wanted { hint: None, ..wanted }));
                }
                ThreadOutcome::ByRest(reason) => {
                    tracing::debug!(repo.name = %self.repository, number = answer.number, reason, "Thread goes by REST");
                    self.by_rest.extend(wanted);
                }
            }
        }
    }

    /// GraphQL says no more: what it left out goes by REST if it said something of others, as it fails by itself then.
    fn end(&mut self, error: Option<&Error>, silence: Option<Silence>) {
        self.conversation = None;
        let left: Vec<Wanted> = std::mem::take(&mut self.asked).into_values().collect();
        let Some(silence) = silence else { return self.by_rest.extend(left) };
        let reason = error.map_or_else(|| "nothing of use".to_owned(), Error::to_string);
        tracing::warn!(repo.name = %self.repository, reason, waits = silence.waits, "GraphQL tells no threads now");
        self.give_back(left, &silence);
    }

    /// In an outage threads wait for its end; else each goes by REST, in a turn of its own.
    fn give_back(&mut self, wanted: Vec<Wanted>, silence: &Silence) {
        let until = match silence.waits {
            true => later(silence.until),
            false => Timestamp::now(),
        };
        self.given_back.extend(wanted.into_iter().map(|wanted| (wanted.number, until)));
    }
}

/// An instant as a time.
fn later(at: Instant) -> Timestamp {
    Timestamp::now().saturating_add(at.duration_since(Instant::now())).unwrap_or(Timestamp::MAX)
}
