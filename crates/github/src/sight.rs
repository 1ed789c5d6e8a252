//! What tokens see: a repository that is shown to one may not be shown to another, and both say 404.
//!
//! So a token that is shown nothing has the last word only where it was lately shown something of the same repository,
//! or where every other token is shown nothing either. One that is shown nothing where another is shown something is
//! not asked about that repository for an hour. While another one that may be shown more has no budget, or saw the
//! repository within the last hour and is not accepted any more, one token's 404 is no answer yet.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::tokens::Trouble;

/// So long it is believed that a token sees a repository: it may lose a right meanwhile.
const SEES_FOR: SignedDuration = SignedDuration::from_mins(10);
/// So long a token is not asked about a repository that it does not see: it may get a right meanwhile.
const BLIND_FOR: SignedDuration = SignedDuration::from_hours(1);
/// So long a token that is not accepted any more may be the only one that saw a repository. Longer than anybody goes on
/// believing that some token sees it: afterwards the others are asked for everything anew, and their word stands.
const MISSED_FOR: SignedDuration = SignedDuration::from_hours(1);
/// The most repositories remembered for one token.
const MOST_REPOSITORIES: usize = 10_000;

/// What one token was seen to see, by the repository's name in lower case.
#[derive(Debug, Default)]
pub(crate) struct Sight(HashMap<String, (bool, Timestamp)>);

impl Sight {
    /// Learns whether the token sees a repository.
    pub(crate) fn learn(&mut self, repository: &str, sees: bool, now: Timestamp) {
        if self.0.len() >= MOST_REPOSITORIES && !self.0.contains_key(repository) {
            self.0.clear();
        }
        self.0.insert(repository.to_owned(), (sees, now));
    }

    /// Whether it was lately shown something of it.
    pub(crate) fn sees(&self, repository: &str, now: Timestamp) -> bool {
        self.0.get(repository).is_some_and(|(sees, at)| *sees && now.duration_since(*at) < SEES_FOR)
    }

    /// Whether it was shown something of it when last asked, so that it is missed while it cannot be asked.
    pub(crate) fn is_missed(&self, repository: &str, now: Timestamp) -> bool {
        self.0.get(repository).is_some_and(|(sees, at)| *sees && now.duration_since(*at) < MISSED_FOR)
    }

    /// Whether another token was shown something of it lately, and this one was not.
    pub(crate) fn is_blind(&self, repository: &str, now: Timestamp) -> bool {
        self.0.get(repository).is_some_and(|(sees, at)| !sees && now.duration_since(*at) < BLIND_FOR)
    }
}

/// Whom a request is for, as far as the choice of a token depends on it.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// The repository that it is about, if that is known.
    pub(crate) repository: Option<String>,
    /// The tokens that were shown nothing, by identity.
    pub(crate) tried: Vec<String>,
}

/// Whether another token may be shown more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Others {
    /// One can be asked, now or when it has budget.
    Waiting,
    /// One that lately was is set aside: its name, and why.
    SetAside(String, Trouble),
    /// None.
    Nobody,
}
