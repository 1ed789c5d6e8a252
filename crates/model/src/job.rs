//! Jobs: what work there is, and how urgent it is.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::ids::{InvalidName, ItemId, RepositoryId};

/// One of the two queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueName {
    /// Fetch from GitHub into the archive.
    Download,
    /// Load from the archive into the search engine.
    Index,
}

impl QueueName {
    /// Both queues, in the order of the flow.
    pub const ALL: [Self; 2] = [Self::Download, Self::Index];

    /// `download` or `index`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Index => "index",
        }
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for QueueName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::ALL
            .into_iter()
            .find(|queue| queue.as_str() == text)
            .ok_or_else(|| InvalidName::new(text, "a queue: expected `download` or `index`"))
    }
}

/// A job's priority class. The order is that of urgency: a lane is less than every lane behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// GitHub told us that something changed.
    Webhook,
    /// A person asked.
    Manual,
    /// A schedule found a difference.
    Reconcile,
    /// A first mirror, or everything once more.
    Backfill,
    /// Finding repositories and packages.
    Discovery,
}

impl Lane {
    /// All lanes, most urgent first.
    pub const ALL: [Self; 5] = [Self::Webhook, Self::Manual, Self::Reconcile, Self::Backfill, Self::Discovery];

    /// The lane's share of the work while every lane has work waiting.
    pub fn weight(self) -> u64 {
        match self {
            Self::Webhook => 256,
            Self::Manual => 64,
            Self::Reconcile => 16,
            Self::Backfill => 4,
            Self::Discovery => 1,
        }
    }

    /// 0 for the most urgent lane, and so on: the form stored by backends.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The lane's name in every interface.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Manual => "manual",
            Self::Reconcile => "reconcile",
            Self::Backfill => "backfill",
            Self::Discovery => "discovery",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Lane {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::ALL.into_iter().find(|lane| lane.as_str() == text).ok_or_else(|| {
            InvalidName::new(text, "a lane: expected one of webhook, manual, reconcile, backfill, discovery")
        })
    }
}

/// What a job is about. With its queue it is the job's identity: there is one job per (queue, subject).
///
/// Written and read as `12345#67` (an item), `12345/labels` (a part of a repository) or `~text` (anything else).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// One item.
    Item(ItemId),
    /// A named part of a repository, one of [`part`].
    Part {
        /// The repository.
        repository: RepositoryId,
        /// The part's name: 1 to 40 lower-case letters, digits and `-`.
        part: String,
    },
    /// Another short text, at most [`Subject::LONGEST`] bytes with its `~`.
    Text(String),
}

/// The parts of a repository that jobs name.
///
/// A handler that meets another part buries the job with that reason: a newer version may know it.
pub mod part {
    /// Download: GitHub's repository object, by ETag. Index: the repository's document.
    pub const METADATA: &str = "metadata";
    /// Download: all labels.
    pub const LABELS: &str = "labels";
    /// Download: all milestones.
    pub const MILESTONES: &str = "milestones";
    /// Download: all releases. Index: their documents.
    pub const RELEASES: &str = "releases";
    /// Download: walk the list of all items, keep their bodies as hints, fill the ledger, push a job for each.
    pub const ITEMS: &str = "items";
    /// Download: walk the list of items updated since the cursor, with overlap, and push a job for what differs.
    pub const UPDATES: &str = "updates";
    /// Part of the walk over all items: the review comments of all pull requests. Names its cursor only.
    pub const REVIEW_COMMENTS: &str = "review-comments";
    /// Download: what edited texts said before, as far as GitHub tells and the budget allows.
    pub const EDITS: &str = "edits";
    /// Index: the daily counts of the repository.
    pub const DAILY: &str = "daily";
}

/// Reasons that say how a job is done; all others are for people.
pub mod reason {
    /// What the sweep's rotation has downloaded is [`swept`] by this: it is compared by GraphQL before it is fetched.
    pub const ROTATION: &str = "rotation";
    const SWEEP: &str = "sweep";

    /// The reason of a job that is to count what it finds as drift; `by` names what asks for it.
    pub fn swept(by: &str) -> String {
        format!("{SWEEP}: {by}")
    }

    /// Whether a job with this reason is to count what it finds as drift.
    pub fn is_swept(reason: &str) -> bool {
        reason.starts_with(SWEEP)
    }
}

impl Subject {
    /// The longest subject in its text form, in bytes.
    pub const LONGEST: usize = 200;

    /// The subject of one item.
    pub fn item(repository: RepositoryId, number: u64) -> Self {
        Self::Item(ItemId { repository, number })
    }

    /// The subject of a part of a repository; `part` is one of [`part`].
    pub fn part(repository: RepositoryId, part: &str) -> Self {
        Self::Part { repository, part: part.to_owned() }
    }

    /// The repository it belongs to, if any: what fairness and batches go by.
    pub fn repository(&self) -> Option<RepositoryId> {
        match self {
            Self::Item(item) => Some(item.repository),
            Self::Part { repository, .. } => Some(*repository),
            Self::Text(_) => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Item(item) => item.fmt(f),
            Self::Part { repository, part } => write!(f, "{repository}/{part}"),
            Self::Text(text) => write!(f, "~{text}"),
        }
    }
}

impl FromStr for Subject {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || {
            InvalidName::new(
                text,
                "a subject: expected ID#NUMBER, ID/PART or ~TEXT, of 200 bytes at most, as in `12345#67`",
            )
        };
        if text.len() > Self::LONGEST {
            return Err(invalid());
        }
        if let Some(rest) = text.strip_prefix('~') {
            let printable = !rest.is_empty() && !rest.chars().any(char::is_control);
            return printable.then(|| Self::Text(rest.to_owned())).ok_or_else(invalid);
        }
        if let Some((repository, number)) = text.split_once('#') {
            let number = decimal(number).filter(|number| *number > 0);
            return match (decimal(repository), number) {
                (Some(repository), Some(number)) => Ok(Self::item(RepositoryId(repository), number)),
                _ => Err(invalid()),
            };
        }
        match text.split_once('/') {
            Some((repository, part)) if is_part(part) => {
                decimal(repository).map(|id| Self::part(RepositoryId(id), part)).ok_or_else(invalid)
            }
            _ => Err(invalid()),
        }
    }
}

/// A number as we print it: no sign, no leading zero, so that one subject has one text.
fn decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    canonical.then(|| text.parse().ok()).flatten()
}

fn is_part(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

impl Serialize for Subject {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subject() -> impl Strategy<Value = Subject> {
        prop_oneof![
            (any::<u64>(), 1..u64::MAX).prop_map(|(id, number)| Subject::item(RepositoryId(id), number)),
            (any::<u64>(), "[a-z0-9-]{1,40}").prop_map(|(id, part)| Subject::part(RepositoryId(id), &part)),
            "[^\\p{C}]{1,40}".prop_map(Subject::Text),
        ]
    }

    proptest! {
        #[test]
        fn a_subject_survives_its_text(subject in subject()) {
            prop_assert_eq!(subject.to_string().parse::<Subject>().unwrap(), subject);
        }
    }

    #[test]
    fn malformed_subjects_are_refused() {
        for text in
            ["", "#", "1#", "#1", "1#0", "1#01", "01#1", "+1#1", "1#x", "1/", "1/Labels", "x/labels", "~", "~a\nb", "1"]
        {
            assert!(text.parse::<Subject>().is_err(), "{text:?}");
        }
        assert!(format!("~{}", "x".repeat(200)).parse::<Subject>().is_err());
    }

    #[test]
    fn lanes_are_ordered_by_urgency() {
        assert!(Lane::ALL.windows(2).all(|pair| pair[0] < pair[1] && pair[0].weight() > pair[1].weight()));
    }
}
