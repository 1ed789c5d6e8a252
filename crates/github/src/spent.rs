//! What requests cost, by repository and purpose: for plans, for `status`, and as metrics.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use gharvest_model::RepositoryName;
use metrics::counter;
use serde::{Deserialize, Serialize};

use crate::Purpose;

/// What was spent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Requests that GitHub charges, retries included.
    pub calls: u64,
    /// How many of these were GraphQL's.
    pub graphql: u64,
    /// Requests answered 304: GitHub does not charge them.
    pub unchanged: u64,
    /// Points of GraphQL, as GitHub told them.
    pub points: u64,
}

impl Spent {
    /// Calls and points together: what is compared with a number of items.
    pub fn cost(self) -> u64 {
        self.calls + self.points
    }
}

impl std::ops::AddAssign for Spent {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.graphql += other.graphql;
        self.unchanged += other.unchanged;
        self.points += other.points;
    }
}

/// How quick GitHub has been lately.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Speeds {
    /// Seconds of a REST request; none before the first.
    pub rest: Option<f64>,
    /// Seconds of a GraphQL request for each thread in it; none before the first.
    pub thread: Option<f64>,
}

/// Of how many former requests a mean remembers most.
const MEMORY: f64 = 8.0;
/// The most repositories counted apart; more are counted together.
const MOST_REPOSITORIES: usize = 10_000;
/// Stands for requests that belong to no repository, and for those beyond the limit.
const NONE: &str = "none";

/// Counts what is spent.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    spent: BTreeMap<(String, Purpose), Spent>,
    /// Whose figures changed since they were last kept.
    changed: BTreeSet<String>,
    /// Names by id: addresses of further pages have the id.
    names: HashMap<u64, String>,
    speeds: Speeds,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("nothing panics while this is locked")
    }

    /// Whom a request is counted for.
    pub(crate) fn owner(&self, repository: Option<&RepositoryName>, path: &str) -> String {
        self.repository(repository, path).unwrap_or_else(|| NONE.to_owned())
    }

    /// The repository that a request is about: by name, or by the address of a page.
    pub(crate) fn repository(&self, repository: Option<&RepositoryName>, path: &str) -> Option<String> {
        if let Some(repository) = repository {
            return Some(repository.key());
        }
        let mut segments = path.split('/').skip_while(|segment| !matches!(*segment, "repos" | "repositories")).skip(1);
        let first = segments.next()?;
        match first.parse::<u64>() {
            Ok(id) => self.lock().names.get(&id).cloned(),
            Err(_) => RepositoryName::new(first, segments.next()?).ok().map(|name| name.key()),
        }
    }

    pub(crate) fn learn_name(&self, id: u64, name: &str) {
        let mut inner = self.lock();
        if inner.names.len() < MOST_REPOSITORIES {
            inner.names.insert(id, name.to_lowercase());
        }
    }

    pub(crate) fn add(&self, owner: &str, purpose: Purpose, spent: Spent) {
        let labels = [("repository", owner.to_owned()), ("purpose", purpose.name().to_owned())];
        counter!("gharvest_github_calls_total", &labels).increment(spent.calls);
        counter!("gharvest_github_unchanged_total", &labels).increment(spent.unchanged);
        counter!("gharvest_github_points_total", &labels).increment(spent.points);
        let mut inner = self.lock();
        let is_full = inner.spent.len() >= MOST_REPOSITORIES;
        let key = (owner.to_owned(), purpose);
        let key = if is_full && !inner.spent.contains_key(&key) { (NONE.to_owned(), purpose) } else { key };
        inner.changed.insert(key.0.clone());
        *inner.spent.entry(key).or_default() += spent;
    }

    /// Takes the time of one REST request into the mean.
    pub(crate) fn took_rest(&self, took: Duration) {
        take_into(&mut self.lock().speeds.rest, took.as_secs_f64());
    }

    /// Takes the time of one GraphQL request for so many threads into the mean.
    pub(crate) fn took_threads(&self, threads: usize, took: Duration) {
        take_into(&mut self.lock().speeds.thread, took.as_secs_f64() / threads.max(1) as f64);
    }

    pub(crate) fn speeds(&self) -> Speeds {
        self.lock().speeds
    }

    pub(crate) fn of(&self, repository: &RepositoryName) -> BTreeMap<Purpose, Spent> {
        let owner = repository.key();
        let inner = self.lock();
        let own = inner.spent.iter().filter(|((name, _), _)| *name == owner);
        own.map(|((_, purpose), spent)| (*purpose, *spent)).collect()
    }

    /// The figures of repositories that changed since this was last asked.
    pub(crate) fn changed(&self) -> Vec<(String, BTreeMap<Purpose, Spent>)> {
        let mut inner = self.lock();
        let changed = std::mem::take(&mut inner.changed);
        let of = |owner: String| {
            let own = inner.spent.iter().filter(|((name, _), _)| *name == owner);
            let own = own.map(|((_, purpose), spent)| (*purpose, *spent)).collect();
            (owner, own)
        };
        changed.into_iter().filter(|owner| owner != NONE).map(of).collect()
    }

    /// The figures could not be kept.
    pub(crate) fn changed_again(&self, owner: &str) {
        self.lock().changed.insert(owner.to_owned());
    }

    pub(crate) fn total(&self) -> Spent {
        let mut total = Spent::default();
        self.lock().spent.values().for_each(|spent| total += *spent);
        total
    }
}

fn take_into(mean: &mut Option<f64>, seconds: f64) {
    *mean = Some(mean.map_or(seconds, |mean| mean + (seconds - mean) / MEMORY));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_s_address_belongs_to_the_repository_whose_id_it_has() {
        let ledger = Ledger::default();
        ledger.learn_name(7, "Rust-Lang/Log");
        assert_eq!(ledger.owner(None, "/repositories/7/issues"), "rust-lang/log");
        assert_eq!(ledger.owner(None, "/api/v3/repos/a/B/issues"), "a/b");
        assert_eq!(ledger.owner(None, "/repositories/8/issues"), NONE);
        assert_eq!(ledger.owner(None, "/rate_limit"), NONE);
        let name = "a/b".parse().unwrap();
        assert_eq!(ledger.owner(Some(&name), "/graphql"), "a/b");
        ledger.add("a/b", Purpose::Live, Spent { calls: 1, graphql: 1, unchanged: 2, points: 3 });
        ledger.add("a/b", Purpose::Live, Spent { calls: 1, ..Spent::default() });
        assert_eq!(ledger.of(&name)[&Purpose::Live], Spent { calls: 2, graphql: 1, unchanged: 2, points: 3 });
        assert_eq!(ledger.total().cost(), 5);
    }
}
