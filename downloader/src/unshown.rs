//! What a 404 of an item means, as a decision over all that is known of its number.
//!
//! GitHub answers 404 for what is hidden, for what was deleted or transferred long ago, for a discussion, and for
//! whatever a token may not see. So a record, and what GitHub's own list showed, must be missing twice, a day apart.

use gharvest_model::{
    ledger::{Entry, NumberState},
    record::RecordState,
};
use jiff::{SignedDuration, Timestamp};

use crate::item::is_confirmed;

/// What is known of a number that answers 404.
#[derive(Debug, Clone)]
pub(crate) struct Unshown {
    /// How it ended, if a webhook said so.
    pub(crate) last_word: Option<RecordState>,
    /// The state of its record, if there is one.
    pub(crate) record: Option<RecordState>,
    /// When a list of GitHub's showed it, if it was not stored since.
    pub(crate) listed_at: Option<Timestamp>,
    /// Whether the repository shows any item.
    pub(crate) shows_others: bool,
    /// Whether it is a discussion; none if that could not be asked.
    pub(crate) discussion: Option<bool>,
    /// Its entry in the ledger: unknown with a time while it is suspected.
    pub(crate) entry: Entry,
    /// Whether a webhook named it just now: GitHub's own copies lag a little.
    pub(crate) is_named: bool,
}

/// What follows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Meaning {
    /// The item ended so.
    Ended(RecordState),
    /// The number is a discussion's.
    Discussion,
    /// It was there: to be confirmed in a day.
    Suspect,
    /// It waits to be confirmed.
    Suspected,
    /// Nothing: the token sees nothing at all there.
    Unseen,
    /// Nothing yet: it may not have come to all of GitHub's copies.
    TooEarly,
}

impl Unshown {
    /// Decides.
    pub(crate) fn meaning(&self, now: Timestamp) -> Meaning {
        if let Some(state) = &self.last_word {
            return Meaning::Ended(state.clone());
        }
        if !self.shows_others {
            return Meaning::Unseen;
        }
        // Who cannot ask keeps what was told before.
        if self.discussion.unwrap_or(self.entry.state == NumberState::NotAnItem) {
            return Meaning::Discussion;
        }
        let is_present = self.record == Some(RecordState::Present);
        if self.is_named && !is_present {
            return Meaning::TooEarly;
        }
        let ended =
            Meaning::Ended(self.record.clone().filter(RecordState::is_tombstone).unwrap_or(RecordState::Hidden));
        if !is_present && self.listed_at.is_none() {
            return ended;
        }
        let suspected = (self.entry.state == NumberState::Unknown).then_some(self.entry.verified_at).flatten();
        match suspected {
            // A list that showed it afterwards says the contrary: it begins anew.
            Some(since) if self.listed_at.is_some_and(|listed| is_after(listed, since)) => Meaning::Suspect,
            Some(since) if is_confirmed(since, now) => ended,
            Some(_) => Meaning::Suspected,
            None => Meaning::Suspect,
        }
    }
}

/// The ledger's times are those of whole seconds.
fn is_after(listed: Timestamp, since: Timestamp) -> bool {
    listed.duration_since(since) >= SignedDuration::from_secs(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(hour: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + hour * 3600).unwrap()
    }

    const NOW: i64 = 100;

    /// A 404 of a number of which nothing is known.
    fn nothing_known() -> Unshown {
        Unshown {
            last_word: None,
            record: None,
            listed_at: None,
            shows_others: true,
            discussion: Some(false),
            entry: Entry::UNKNOWN,
            is_named: false,
        }
    }

    /// Every combination of what the further questions can be answered.
    fn all(known: &Unshown) -> Vec<Unshown> {
        let moved = RecordState::Transferred { to: Some("a/b#1".to_owned()) };
        let records = [None, Some(RecordState::Present), Some(RecordState::Deleted), Some(moved)];
        let entries = [
            Entry::UNKNOWN,
            Entry { state: NumberState::Unknown, verified_at: Some(hour(NOW - 1)) },
            Entry { state: NumberState::Unknown, verified_at: Some(hour(NOW - 30)) },
            Entry { state: NumberState::Present, verified_at: Some(hour(NOW - 30)) },
            Entry { state: NumberState::NotAnItem, verified_at: Some(hour(NOW - 30)) },
        ];
        let mut all = Vec::new();
        for record in &records {
            for entry in entries {
                for listed_at in [None, Some(hour(NOW - 40)), Some(hour(NOW))] {
                    for is_named in [false, true] {
                        all.push(Unshown { record: record.clone(), entry, listed_at, is_named, ..known.clone() });
                    }
                }
            }
        }
        all
    }

    #[test]
    fn a_webhooks_word_then_blindness_then_a_discussion_decide_whatever_else_is_known() {
        let said = Unshown { last_word: Some(RecordState::Deleted), shows_others: false, ..nothing_known() };
        for known in all(&said).into_iter().chain(all(&Unshown { discussion: Some(true), ..said.clone() })) {
            assert_eq!(known.meaning(hour(NOW)), Meaning::Ended(RecordState::Deleted), "{known:?}");
        }
        for discussion in [None, Some(true), Some(false)] {
            for known in all(&Unshown { shows_others: false, discussion, ..nothing_known() }) {
                assert_eq!(known.meaning(hour(NOW)), Meaning::Unseen, "{known:?}");
            }
        }
        for known in all(&Unshown { discussion: Some(true), ..nothing_known() }) {
            assert_eq!(known.meaning(hour(NOW)), Meaning::Discussion, "{known:?}");
        }
    }

    #[test]
    fn what_was_told_to_be_a_discussion_stays_one_while_nobody_can_ask() {
        for known in all(&Unshown { discussion: None, ..nothing_known() }) {
            let asked = Unshown { discussion: Some(false), ..known.clone() };
            let expected = match known.entry.state {
                NumberState::NotAnItem => Meaning::Discussion,
                _ => asked.meaning(hour(NOW)),
            };
            assert_eq!(known.meaning(hour(NOW)), expected, "{known:?}");
        }
    }

    #[test]
    fn what_was_there_or_was_listed_is_hidden_when_it_is_missing_a_day_later() {
        use Meaning::{Ended, Suspect, Suspected, TooEarly};
        let hidden = || Ended(RecordState::Hidden);
        let present = Some(RecordState::Present);
        let deleted = Some(RecordState::Deleted);
        let suspected = |before| Entry { state: NumberState::Unknown, verified_at: Some(hour(NOW - before)) };
        let entry = |state| Entry { state, verified_at: Some(hour(NOW - 30)) };
        let (never, fresh, old) = (Entry::UNKNOWN, suspected(1), suspected(30));
        // Not listed, listed before it was suspected, listed since.
        for (record, entry, expected) in [
            (None, never, [hidden(), Suspect, Suspect]),
            (None, fresh, [hidden(), Suspected, Suspect]),
            (None, old, [hidden(), hidden(), Suspect]),
            (None, entry(NumberState::Hidden), [hidden(), Suspect, Suspect]),
            (None, entry(NumberState::NotAnItem), [hidden(), Suspect, Suspect]),
            (None, entry(NumberState::Failed), [hidden(), Suspect, Suspect]),
            (present.clone(), never, [Suspect, Suspect, Suspect]),
            (present.clone(), fresh, [Suspected, Suspected, Suspect]),
            (present.clone(), old, [hidden(), hidden(), Suspect]),
            (present.clone(), entry(NumberState::Present), [Suspect, Suspect, Suspect]),
            (present.clone(), entry(NumberState::Failed), [Suspect, Suspect, Suspect]),
            (deleted.clone(), never, [Ended(RecordState::Deleted), Suspect, Suspect]),
            (deleted.clone(), fresh, [Ended(RecordState::Deleted), Suspected, Suspect]),
            (deleted.clone(), old, [Ended(RecordState::Deleted), Ended(RecordState::Deleted), Suspect]),
            (deleted.clone(), entry(NumberState::Deleted), [Ended(RecordState::Deleted), Suspect, Suspect]),
        ] {
            for (listed_at, expected) in [None, Some(hour(NOW - 40)), Some(hour(NOW))].into_iter().zip(expected) {
                let known = Unshown { record: record.clone(), entry, listed_at, ..nothing_known() };
                assert_eq!(known.meaning(hour(NOW)), expected, "{known:?}");
                // A webhook that names it is believed more than a 404, unless it is known that it was there.
                let named = Unshown { is_named: true, ..known };
                let expected = if record == present { expected } else { TooEarly };
                assert_eq!(named.meaning(hour(NOW)), expected, "{named:?}");
            }
        }
    }
}
