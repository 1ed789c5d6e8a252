//! What scripts are told: triggers in few words, because Redis reads every argument by itself.

use gharvest_model::{Lane, QueueName};
use gharvest_queue::{Outcome, Timing, Trigger, check, clock::milliseconds, key::Key};

use crate::record::member;

/// A kind is looked for among so many of the latest: triggers of a call mostly come in runs.
const LATEST: usize = 8;

/// What triggers have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kind {
    queue: QueueName,
    lane: Lane,
    timing: Timing,
    reason: String,
}

impl Kind {
    pub(crate) fn of(trigger: &Trigger) -> Self {
        let reason = check::cut(&trigger.reason, Trigger::LONGEST_REASON).to_owned();
        Self { queue: trigger.queue, lane: trigger.lane, timing: trigger.timing, reason }
    }
}

/// The kinds of a call's triggers, each told once.
#[derive(Debug, Default)]
pub(crate) struct Kinds(Vec<Kind>);

impl Kinds {
    /// The number of a kind, from 1.
    pub(crate) fn number(&mut self, kind: Kind) -> usize {
        let known = self.0.iter().enumerate().rev().take(LATEST).find(|(_, known)| **known == kind);
        known.map(|(index, _)| index + 1).unwrap_or_else(|| {
            self.0.push(kind);
            self.0.len()
        })
    }

    /// How many kinds there are, and what each is.
    pub(crate) fn into_arguments(self) -> impl Iterator<Item = String> {
        let kind = |kind: Kind| {
            let timing = match kind.timing {
                Timing::Settled => "settled",
                Timing::Now => "now",
                Timing::WhenFree => "free",
            };
            [kind.queue.as_str().to_owned(), kind.lane.index().to_string(), timing.to_owned(), kind.reason]
        };
        std::iter::once(self.0.len().to_string()).chain(self.0.into_iter().flat_map(kind))
    }
}

/// A settlement: its letter, a `+` where a follow-up comes, the member, and what belongs to the outcome.
pub(crate) fn outcome(outcome: &Outcome, followed: bool, key: &Key) -> Vec<String> {
    let text = |reason: &str| check::cut(reason, check::LONGEST_FAILURE).to_owned();
    let begin = |letter: char| format!("{letter}{}{}", if followed { '+' } else { ' ' }, member(key));
    match outcome {
        Outcome::Finish => vec![begin('f')],
        Outcome::Retry { after, reason } => {
            let after = after.map(|after| milliseconds(after).to_string()).unwrap_or_default();
            vec![begin('t'), after, text(reason)]
        }
        Outcome::Bury { reason } => vec![begin('b'), text(reason)],
        Outcome::Release { after } => vec![begin('l'), milliseconds(*after).to_string()],
    }
}

#[cfg(test)]
mod tests {
    use gharvest_model::{RepositoryId, Subject};

    use super::*;

    #[test]
    fn what_triggers_have_in_common_is_told_once() {
        let trigger = |reason: &str| Trigger {
            queue: QueueName::Download,
            subject: Subject::item(RepositoryId(1), 2),
            lane: Lane::Manual,
            timing: Timing::Now,
            reason: reason.to_owned(),
        };
        let mut kinds = Kinds::default();
        let told = ["a", "b", "a", "b"].map(|reason| kinds.number(Kind::of(&trigger(reason))));
        assert_eq!(told, [1, 2, 1, 2]);
        let arguments: Vec<String> = kinds.into_arguments().collect();
        assert_eq!(arguments, ["2", "download", "1", "now", "a", "download", "1", "now", "b"]);
    }
}
