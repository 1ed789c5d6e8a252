//! One call of [`Client::threads`], a portion at a time.
//!
//! A portion is asked for in as many requests as its threads need, then their long timelines, then the details of all
//! together. Meanwhile each thread is [`Held`] as compressed text; then they become trees and leave, one at a time, as
//! they are asked for. All that is wanted is mostly one portion: it ends early only where threads are very long, so that
//! what is held stays small whatever they are like.

use std::{collections::BTreeMap, mem, sync::Arc, time::Duration};

use gharvest_model::RepositoryName;
use serde_json::{Value, json, value::RawValue};

use super::{
    Data, Fields, MOST_FAILURES, Reached, ThreadAnswer, ThreadOutcome, Wanted,
    document::{self, Schema},
    held::{self, Details, Held},
    is_too_much,
    nodes::{By, MOST_NODES},
    text, tree,
};
use crate::{Client, Error, ErrorKind, PAGE, Purpose, Result};

/// A timeline of more pages goes by REST.
const MOST_PAGES: usize = 500;
/// Long timelines of which a page is asked for in one request.
const MOST_LONG: usize = 10;
/// Bytes of compressed text that end a portion: hundreds of usual threads are a few hundred thousand.
const MOST_HELD: usize = 2 << 20;
/// Bytes of an answer that make the next one smaller: it is held whole while it is read.
const LARGE_ANSWER: usize = 4 << 20;

/// Threads that are being fetched, made by [`Client::threads`].
#[derive(Debug)]
pub struct Threads<'a> {
    client: &'a Client,
    repository: &'a RepositoryName,
    purpose: Purpose,
    /// Not asked for yet, the next one last.
    waiting: Vec<Wanted>,
    /// What answers left out that told others: asked for apart, a batch at a time, so that it holds nothing back.
    apart: Vec<Vec<Wanted>>,
    /// Without a thread.
    answers: Vec<ThreadAnswer>,
    /// The threads of this portion.
    held: Vec<Held>,
    details: Details,
    /// Failed requests in a row.
    failures: u32,
    /// Told when everything before it was given.
    failure: Option<Error>,
}

impl<'a> Threads<'a> {
    pub(super) fn new(
        client: &'a Client,
        repository: &'a RepositoryName,
        wanted: Vec<Wanted>,
        purpose: Purpose,
    ) -> Self {
        let unique: BTreeMap<u64, Wanted> = wanted.into_iter().map(|wanted| (wanted.number, wanted)).collect();
        Self {
            client,
            repository,
            purpose,
            waiting: unique.into_values().rev().collect(),
            apart: Vec::new(),
            answers: Vec::new(),
            held: Vec::new(),
            details: Details::new(),
            failures: 0,
            failure: None,
        }
    }

    /// The next answer, none after the last. The order is not that of the numbers.
    ///
    /// # Errors
    /// As [`Client::get`]. When the budget ends or GitHub fails in the middle, the answers so far are given first; after
    /// the error there are none, and the missing ones are to be asked for again.
    pub async fn next(&mut self) -> Result<Option<ThreadAnswer>> {
        loop {
            if let Some(answer) = self.answers.pop() {
                return Ok(Some(answer));
            }
            if let Some(thread) = self.held.pop() {
                return Ok(Some(self.shaped(&thread)));
            }
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            if self.waiting.is_empty() && self.apart.is_empty() {
                return Ok(None);
            }
            if let Err(failure) = self.fetch_portion().await {
                self.waiting.clear();
                self.apart.clear();
                self.failure = Some(failure);
            }
        }
    }

    fn shaped(&self, thread: &Held) -> ThreadAnswer {
        let outcome = match thread.by_rest() {
            Some(reason) => ThreadOutcome::ByRest(reason.to_owned()),
            None => match thread.shaped(self.client.inner.base.to_text(), &self.details) {
                Ok(parts) => ThreadOutcome::Found(Box::new(parts)),
                Err(reason) => ThreadOutcome::ByRest(reason),
            },
        };
        ThreadAnswer { number: thread.wanted.number, outcome }
    }

    async fn fetch_portion(&mut self) -> Result<()> {
        self.details.clear();
        let asked = self.ask_threads().await;
        let completed = self.ask_further().await;
        if completed.is_err() {
            // What came before the failure may need no more.
            self.held.retain(|held| held.by_rest().is_some() || !held.is_long() && held.details().next().is_none());
        }
        completed.and(asked)
    }

    /// Asks for threads until all are there, or enough are held; for what was left out when the others are there.
    async fn ask_threads(&mut self) -> Result<()> {
        while self.size() < MOST_HELD {
            if !self.waiting.is_empty() {
                let size = self.client.batch_size(self.repository).min(self.waiting.len());
                let batch = self.waiting.split_off(self.waiting.len() - size);
                self.ask_batch(batch).await?;
            } else if let Some(batch) = self.apart.pop() {
                self.ask_apart(batch).await?;
            } else {
                break;
            }
        }
        Ok(())
    }

    /// How many bytes are held.
    pub(crate) fn size(&self) -> usize {
        self.held.iter().map(Held::size).sum()
    }

    /// Asks for one batch, and learns from it how many threads GitHub bears.
    async fn ask_batch(&mut self, batch: Vec<Wanted>) -> Result<()> {
        let asked = batch.len();
        let (left, too_much, took, bytes) = match self.ask_once(batch).await? {
            Told::Some { left, too_much, took, bytes } => (left, too_much, took, bytes),
            Told::Nothing { batch, reason, error } => return self.smaller(batch, &reason, error).await,
        };
        let slow = self.client.inner.graphql.slow;
        self.client.inner.graphql.change(self.repository, |size| match took {
            // One that is left out may be bad by itself; many are too many.
            _ if too_much || 2 * left.len() >= asked => size.halve(asked),
            _ if took > slow || bytes > LARGE_ANSWER => size.slow_down(asked),
            // A short batch says nothing about larger ones.
            _ if took <= slow / 2 && asked >= size.threads => size.grow(),
            _ => {}
        });
        self.put_apart(left);
        Ok(())
    }

    /// Asks once more for what was left out: in halves while that brings nothing, by REST what is left out alone.
    async fn ask_apart(&mut self, batch: Vec<Wanted>) -> Result<()> {
        match self.ask_once(batch).await? {
            Told::Some { left, .. } => self.put_apart(left),
            Told::Nothing { batch, reason, error } => {
                self.fail(&reason, error)?;
                if batch.len() == 1 {
                    self.by_rest_all(batch, &reason);
                    return Ok(());
                }
                let mut first = batch;
                let second = first.split_off(first.len() / 2);
                self.apart.extend([second, first]);
                tokio::time::sleep(self.client.inner.backoff(self.failures)).await;
            }
        }
        Ok(())
    }

    fn put_apart(&mut self, left: Vec<Wanted>) {
        if !left.is_empty() {
            self.apart.push(left);
        }
    }

    /// Sends one request for a batch, and takes what is whole.
    async fn ask_once(&mut self, batch: Vec<Wanted>) -> Result<Told> {
        let query = document::threads(&batch, self.client.schema(self.purpose).await?);
        let asked = batch.len();
        match self.ask(&query, &self.place(), asked == 1).await {
            Ok(Reached::Data { data, errors, took }) => {
                self.client.inner.took_threads(asked, took);
                let left = self.take(batch, &data, &errors);
                if left.len() < asked {
                    self.failures = 0;
                    let too_much = errors.iter().any(is_too_much);
                    return Ok(Told::Some { left, too_much, took, bytes: data.size() });
                }
                let reason = errors.first().map_or("answered without the threads", |error| text(error));
                Ok(Told::Nothing { batch: left, reason: crate::base::cut(reason), error: None })
            }
            Ok(Reached::TooMuch(reason)) => Ok(Told::Nothing { batch, reason, error: None }),
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::BadAnswer) => {
                Ok(Told::Nothing { batch, reason: error.to_string(), error: Some(error) })
            }
            Err(error) => Err(error),
        }
    }

    async fn ask(&self, query: &str, variables: &Value, patient: bool) -> Result<Reached> {
        self.client.ask_graphql(query, variables, self.purpose, patient, Some(self.repository)).await
    }

    /// The variables that name the repository.
    fn place(&self) -> Value {
        json!({"owner": self.repository.owner(), "name": self.repository.name()})
    }

    /// After a request that brought nothing: half as many, or by REST what fails alone; an error when nothing works any
    /// more.
    async fn smaller(&mut self, batch: Vec<Wanted>, reason: &str, error: Option<Error>) -> Result<()> {
        self.fail(reason, error)?;
        self.client.inner.graphql.change(self.repository, |size| size.halve(batch.len()));
        if batch.len() == 1 {
            self.by_rest_all(batch, reason);
            return Ok(());
        }
        tokio::time::sleep(self.client.inner.backoff(self.failures)).await;
        self.waiting.extend(batch);
        Ok(())
    }

    /// Counts a request that brought nothing; an error if it is one of many in a row.
    fn fail(&mut self, reason: &str, error: Option<Error>) -> Result<()> {
        self.failures += 1;
        metrics::counter!("gharvest_github_batches_halved_total").increment(1);
        if self.failures > MOST_FAILURES {
            let unavailable = || Error::new(ErrorKind::Unavailable, "POST /graphql", reason);
            return Err(error.unwrap_or_else(unavailable));
        }
        Ok(())
    }

    fn by_rest_all(&mut self, all: Vec<Wanted>, reason: &str) -> Vec<Wanted> {
        for wanted in all {
            self.answer(wanted.number, ThreadOutcome::ByRest(reason.to_owned()));
        }
        Vec::new()
    }

    fn answer(&mut self, number: u64, outcome: ThreadOutcome) {
        self.answers.push(ThreadAnswer { number, outcome });
    }

    /// Takes what is whole; gives back what is to be asked for again.
    fn take(&mut self, batch: Vec<Wanted>, data: &Data, errors: &[Value]) -> Vec<Wanted> {
        let Some(mut answered) = data.fields("repository") else {
            return self.by_rest_all(batch, "GraphQL does not know the repository");
        };
        let texts: Vec<Option<&RawValue>> = batch.iter().map(|wanted| answered.remove(&alias(wanted.number))).collect();
        let repository: Value = answered.into_iter().map(|(field, text)| (field, tree(text))).collect();
        let repository = Arc::new(repository);
        let mut again = Vec::new();
        for (wanted, text) in batch.into_iter().zip(texts) {
            again.extend(self.take_one(wanted, text, &repository, errors));
        }
        again
    }

    /// Takes a thread if it is whole; gives it back if it is to be asked for again.
    fn take_one(
        &mut self,
        wanted: Wanted,
        text: Option<&RawValue>,
        repository: &Arc<Value>,
        errors: &[Value],
    ) -> Option<Wanted> {
        let alias = alias(wanted.number);
        let own = errors.iter().find(|error| error["path"][1] == alias.as_str());
        match (own, text.map(|text| (text, tree(text)))) {
            (None, Some((_, node))) if node.is_object() && wanted.is_stale(&node) => {
                self.answer(wanted.number, ThreadOutcome::Changed);
            }
            // One without its entries is not whole, whatever the error says that came with it.
            (None, Some((text, node))) if held::has_entries(&node) => {
                self.held.push(Held::new(wanted, Arc::clone(repository), text, node));
            }
            (Some(error), node) if is_absent(node.as_ref()) && error["type"] == "NOT_FOUND" => {
                self.answer(wanted.number, ThreadOutcome::NotFound);
            }
            (Some(error), _) if error["type"] == "FORBIDDEN" => {
                let reason = crate::base::cut(self::text(error));
                self.answer(wanted.number, ThreadOutcome::ByRest(reason));
            }
            _ => return Some(wanted),
        }
        None
    }

    /// Pages what is long, and asks for details.
    async fn ask_further(&mut self) -> Result<()> {
        let mut held = mem::take(&mut self.held);
        let read = self.read_on(&mut held).await;
        self.held = held;
        read?;
        let ids = self.held.iter().flat_map(Held::details).map(str::to_owned).collect();
        self.details = self.ask_details(ids).await?;
        Ok(())
    }

    /// Reads long timelines to their ends, a page of several in one request. One whose page fails keeps its cursor and
    /// goes by REST, as all do when too much is held.
    async fn read_on(&self, held: &mut [Held]) -> Result<()> {
        let schema = self.client.schema(self.purpose).await?;
        for _ in 0..MOST_PAGES {
            let size: usize = held.iter().map(Held::size).sum();
            let mut long: Vec<&mut Held> = held.iter_mut().filter(|held| held.is_long()).collect();
            if long.is_empty() {
                return Ok(());
            }
            // A page by REST costs one call, one of several timelines by GraphQL a call and a point together.
            let pages = |held: &&mut Held| held.count.map_or(2, |count| count.div_ceil(PAGE as u64));
            let (all, most) = (long.iter().map(pages).sum::<u64>(), long.iter().map(pages).max().unwrap_or(0));
            if all <= 2 * most.saturating_sub(1) || size > 2 * MOST_HELD {
                long.iter_mut().for_each(|held| held.stuck = true);
                continue;
            }
            for some in long.chunks_mut(MOST_LONG) {
                self.read_pages(some, schema).await?;
            }
        }
        // More than anybody wrote: what is still long is not whole.
        held.iter_mut().filter(|held| held.is_long()).for_each(|held| held.stuck = true);
        Ok(())
    }

    async fn read_pages(&self, held: &mut [&mut Held], schema: &Schema) -> Result<()> {
        let pages: Vec<(u64, bool, &str)> = held
            .iter()
            .map(|held| (held.wanted.number, held.is_pull, held.next.as_deref().unwrap_or_default()))
            .collect();
        let data = match self.ask(&document::pages(&pages, schema), &self.place(), true).await {
            Ok(Reached::Data { data, errors, .. }) if errors.is_empty() => data,
            Ok(_) => Data::default(),
            Err(error) if *error.kind() == ErrorKind::Unavailable => Data::default(),
            Err(error) => return Err(error),
        };
        let answered: Fields<'_> = data.fields("repository").unwrap_or_default();
        for held in held {
            held.take_page(answered.get(&alias(held.wanted.number)).copied());
        }
        Ok(())
    }

    /// Parents of commits and counts of reactions, by node id. What fails alone is missing.
    async fn ask_details(&self, ids: Vec<String>) -> Result<Details> {
        let Self { client, repository, purpose, .. } = *self;
        let asked = By { write: document::details, at_once: MOST_NODES, purpose, repository };
        Ok(client.nodes(asked, ids).await?.found)
    }
}

/// What came of one request for a batch.
enum Told {
    /// Some threads, and these were left out; GitHub may have said that it was too much.
    Some { left: Vec<Wanted>, too_much: bool, took: Duration, bytes: usize },
    /// Nothing.
    Nothing { batch: Vec<Wanted>, reason: String, error: Option<Error> },
}

/// The name of a thread in an answer.
fn alias(number: u64) -> String {
    format!("i{number}")
}

fn is_absent(node: Option<&(&RawValue, Value)>) -> bool {
    node.is_none_or(|(_, node)| node.is_null())
}
