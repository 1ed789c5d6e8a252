//! How far a repository's mirror has come: the place of its first walk, and what is accounted for.

use std::ops::RangeInclusive;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    ids::RepositoryId,
    job::part,
    ledger::{Ledger, NumberState},
};

/// The place of the walk over the list of all items, as its cursor keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemsCursor {
    /// When the walk began.
    pub started_at: Option<Timestamp>,
    /// The address of the next page; none before the first.
    #[serde(default)]
    pub next: Option<String>,
    /// Items seen so far.
    #[serde(default)]
    pub seen: u64,
    /// How many of them are pull requests.
    #[serde(default)]
    pub pulls: u64,
    /// Whether the list of items was read to its end; what it left out, and review comments, may still be to do.
    #[serde(default)]
    pub listed: bool,
    /// Up to this number it is known of all that the list left out whether they are discussions: the number before the
    /// first of which GraphQL did not tell, the highest if there is none.
    #[serde(default)]
    pub discussions_told: u64,
    /// When it ended; none while it is under way.
    #[serde(default)]
    pub finished_at: Option<Timestamp>,
}

impl ItemsCursor {
    /// The cursor's name among the archive's cursors.
    pub fn feed(id: RepositoryId) -> String {
        format!("{}/{id}", part::ITEMS)
    }

    /// Reads a stored cursor; what cannot be read counts as none, so that the walk begins again.
    pub fn read(stored: Option<Value>) -> Option<Self> {
        serde_json::from_value(stored?).ok()
    }
}

/// The place of the walk over updated items, as its cursor keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdatesCursor {
    /// The latest `updated_at` that was seen.
    pub since: Timestamp,
    /// The ETag of the answer to the question after `since`, if that was one page: unchanged costs nothing.
    #[serde(default)]
    pub etag: Option<String>,
    /// When GitHub last told everything that was updated, to the hour: a mirror that nobody runs has no later one.
    #[serde(default)]
    pub heard_at: Option<Timestamp>,
}

impl UpdatesCursor {
    /// The cursor's name among the archive's cursors.
    pub fn feed(id: RepositoryId) -> String {
        format!("{}/{id}", part::UPDATES)
    }

    /// Reads a stored cursor; what cannot be read counts as none.
    pub fn read(stored: Option<Value>) -> Option<Self> {
        serde_json::from_value(stored?).ok()
    }

    /// Notes that everything was told now. Says whether that is worth a write.
    pub fn hear(&mut self, now: Timestamp) -> bool {
        let is_noted = self.heard_at.is_some_and(|at| now.duration_since(at) < NOTED_EVERY);
        if !is_noted {
            self.heard_at = Some(now);
        }
        !is_noted
    }
}

/// An hour between notes that nothing was updated: most looks find nothing, and write nothing.
const NOTED_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// How much of a repository is accounted for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completeness {
    /// Whether the list of all items was read to its end: only then is the highest number known.
    pub walked: bool,
    /// The highest number seen.
    pub highest: u64,
    /// Numbers with a record of an item that GitHub shows.
    pub present: u64,
    /// Numbers that are gone: deleted, transferred, hidden.
    pub gone: u64,
    /// Numbers that are not items.
    pub not_items: u64,
    /// Numbers of which nothing is known, or nothing for certain.
    pub unknown: u64,
    /// Numbers that could not be fetched.
    pub failed: u64,
}

impl Completeness {
    /// Counts a ledger.
    pub fn new(ledger: &Ledger, cursor: Option<&ItemsCursor>) -> Self {
        let counts = ledger.counts();
        let of = |state: NumberState| counts[state as usize];
        Self {
            walked: cursor.is_some_and(|cursor| cursor.finished_at.is_some()),
            highest: ledger.highest(),
            present: of(NumberState::Present),
            gone: of(NumberState::Deleted) + of(NumberState::Transferred) + of(NumberState::Hidden),
            not_items: of(NumberState::NotAnItem),
            unknown: of(NumberState::Unknown),
            failed: of(NumberState::Failed),
        }
    }

    /// Whether every number up to the highest is accounted for, and the highest is known. Whether what is new is heard of
    /// as well, the archive's verdict says.
    pub fn is_complete(&self) -> bool {
        self.walked && self.unknown == 0 && self.failed == 0
    }

    /// The share of numbers that are accounted for, 0 to 1: 1 only if the repository is complete.
    pub fn share(&self) -> f64 {
        if self.is_complete() {
            return 1.0;
        }
        let share = self.accounted() as f64 / self.highest.max(1) as f64;
        // A repository that is not complete never looks as if it were.
        share.min(0.999)
    }

    /// How many numbers are accounted for.
    pub fn accounted(&self) -> u64 {
        self.highest - self.unknown - self.failed
    }
}

/// Ascending numbers as runs of consecutive ones: what a queue takes as ranges.
pub fn runs(numbers: impl IntoIterator<Item = u64>) -> impl Iterator<Item = RangeInclusive<u64>> {
    let mut numbers = numbers.into_iter().peekable();
    std::iter::from_fn(move || {
        let first = numbers.next()?;
        let mut last = first;
        while let Some(next) = numbers.next_if(|next| *next <= last + 1) {
            last = next;
        }
        Some(first..=last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_runs() {
        let of = |numbers: &[u64]| runs(numbers.iter().copied()).collect::<Vec<_>>();
        assert_eq!(of(&[1, 2, 3, 7, 9, 10]), [1..=3, 7..=7, 9..=10]);
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[4, 4, 5]), [4..=5]);
    }

    #[test]
    fn a_mirror_is_complete_when_the_walk_has_ended_and_no_number_is_open() {
        let mut ledger = Ledger::default();
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        ledger.set(1, NumberState::Present, at);
        ledger.set(2, NumberState::Deleted, at);
        ledger.reach(3);
        let walking = ItemsCursor { started_at: Some(at), ..ItemsCursor::default() };
        let walked = ItemsCursor { finished_at: Some(at), ..walking.clone() };
        let completeness = Completeness::new(&ledger, Some(&walked));
        assert_eq!((completeness.accounted(), completeness.unknown, completeness.gone), (2, 1, 1));
        assert!(!completeness.is_complete());
        assert_eq!(completeness.share(), 2.0 / 3.0);
        ledger.set(3, NumberState::NotAnItem, at);
        assert!(Completeness::new(&ledger, Some(&walked)).is_complete());
        assert_eq!(Completeness::new(&ledger, Some(&walked)).share(), 1.0);
        assert!(!Completeness::new(&ledger, Some(&walking)).is_complete());
        assert_eq!(Completeness::new(&ledger, Some(&walking)).share(), 0.999, "the highest number is not known");
        assert!(!Completeness::new(&ledger, None).is_complete());
    }
}
