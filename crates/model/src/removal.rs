//! Deletion policies: what of an item is kept once GitHub no longer shows it.
//!
//! A tombstone keeps the content by default. Where that must not be, [`DeletionPolicy::apply`] takes it out of the
//! record, in the same revision that makes it a tombstone: so no later reader, index or snapshot has it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::record::{Record, RecordState, Revision};

/// What becomes of the content of a repository's deleted, hidden and transferred items.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeletionPolicy {
    /// Everything stays; search leaves the item out.
    #[default]
    Keep,
    /// What people wrote goes: titles, bodies, comments, reviews, and their older texts. Who did what when stays.
    Redact,
    /// Everything goes but the tombstone itself: which number it was, what became of it, and when.
    Purge,
}

/// What a policy took out of a record: the receipt, a line of `removals.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The item's number.
    pub number: u64,
    /// What had become of the item.
    pub state: RecordState,
    /// The policy that was followed.
    pub policy: DeletionPolicy,
    /// The revision that still had the content.
    pub revision: Revision,
    /// When it was taken out.
    pub removed_at: Timestamp,
    /// How many texts went.
    pub texts: u64,
    /// Their length, bytes of UTF-8.
    pub bytes: u64,
}

/// Members of GitHub's objects that hold what a person wrote about an item.
const TEXTS: &[&str] = &[
    "title",
    "body",
    "body_text",
    "body_html",
    "diff_hunk",
    "message",
    "commit_title",
    "commit_message",
    "dismissal_message",
];
/// Objects inside that are not the item's: their titles are names, not texts.
const NOT_ITS_OWN: &[&str] = &["milestone", "repository", "head", "base"];

impl DeletionPolicy {
    /// All policies.
    pub const ALL: [Self; 3] = [Self::Keep, Self::Redact, Self::Purge];

    /// Its name in settings, arguments and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Redact => "redact",
            Self::Purge => "purge",
        }
    }

    /// Whether this is the default.
    pub fn is_keep(&self) -> bool {
        *self == Self::Keep
    }

    /// Takes out of a tombstone what the policy does not keep, and says what went; none if there was nothing to take
    /// out, or GitHub shows the item.
    pub fn apply(self, record: &mut Record, now: Timestamp) -> Option<Receipt> {
        if self.is_keep() || !record.state.is_tombstone() {
            return None;
        }
        let mut receipt = Receipt {
            number: record.number,
            state: record.state.clone(),
            policy: self,
            revision: record.revision,
            removed_at: now,
            texts: 0,
            bytes: 0,
        };
        let had_content = record.core().is_some() || !record.timeline.is_empty();
        for older in record.history.drain(..) {
            receipt.count(&older.text);
        }
        let parts = record.issue.iter_mut().chain(&mut record.pull).chain(&mut record.twin);
        let parts = parts.chain(&mut record.timeline).chain(&mut record.review_comments);
        for part in parts.chain(record.kept.iter_mut().map(|fact| &mut fact.facts)) {
            redact(part, &mut receipt);
        }
        // Conditional requests would otherwise be answered "unchanged" when the item comes back.
        record.etags.clear();
        if self == Self::Purge {
            (record.issue, record.pull, record.twin) = (None, None, None);
            record.timeline.clear();
            record.review_comments.clear();
            record.kept.clear();
            record.unknown.clear();
        }
        (receipt.texts > 0 || (self == Self::Purge && had_content)).then_some(receipt)
    }
}

impl std::fmt::Display for DeletionPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for DeletionPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|policy| policy.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is no deletion policy: keep, redact or purge"))
    }
}

impl Receipt {
    fn count(&mut self, text: &str) {
        if !text.is_empty() {
            self.texts += 1;
            self.bytes += text.len() as u64;
        }
    }

    fn count_all(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.count(text),
            Value::Array(values) => values.iter().for_each(|value| self.count_all(value)),
            Value::Object(members) => members.values().for_each(|value| self.count_all(value)),
            _ => {}
        }
    }
}

/// Replaces every text below a value by null, and counts it.
fn redact(value: &mut Value, receipt: &mut Receipt) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| redact(value, receipt)),
        Value::Object(members) => {
            for (name, member) in members {
                if TEXTS.contains(&name.as_str()) || name == "rename" {
                    receipt.count_all(&member.take());
                } else if !NOT_ITS_OWN.contains(&name.as_str()) {
                    redact(member, receipt);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        Kind, RepositoryId,
        record::{Fact, OlderText, RecordRepository},
    };

    fn tombstone() -> Record {
        let repository = RecordRepository { id: RepositoryId(7), full_name: "a/b".parse().unwrap() };
        let mut record = Record::new(repository, 3, Kind::PullRequest, Timestamp::UNIX_EPOCH);
        record.revision = Revision(4);
        record.state = RecordState::Deleted;
        record.etags.insert("issue".to_owned(), json!("W/1"));
        record.issue = Some(json!({"number": 3, "title": "secret", "body": "secret body", "user": {"login": "ann"},
            "milestone": {"title": "v1"}, "labels": [{"name": "bug"}]}));
        record.pull = Some(json!({"title": "secret", "body": null, "head": {"label": "ann:fix"},
            "auto_merge": {"merge_method": "squash", "commit_title": "secret squash", "commit_message": "secret words"}}));
        record.timeline = vec![
            json!({"event": "commented", "body": "secret comment", "user": {"login": "bob"}}),
            json!({"event": "renamed", "rename": {"from": "older secret", "to": "secret"}}),
            json!({"event": "cross-referenced", "source": {"issue": {"number": 9, "title": "secret of 9"}}}),
            json!({"event": "labeled", "label": {"name": "bug"}}),
            json!({"event": "review_dismissed", "dismissed_review": {"state": "approved", "dismissal_message": "secret why"}}),
        ];
        record.review_comments = vec![json!({"diff_hunk": "@@ secret", "body": "secret too", "path": "src/a.rs"})];
        let told = OlderText { by: Some("ann".to_owned()), ..OlderText::seen("IC_1", "secret", Timestamp::UNIX_EPOCH) };
        record.history = vec![OlderText::seen("body", "secret once", Timestamp::UNIX_EPOCH), told];
        record.kept = vec![Fact {
            delivery: "d".to_owned(),
            event: "issues".to_owned(),
            action: "edited".to_owned(),
            received_at: Timestamp::UNIX_EPOCH,
            actor: Some("ann".to_owned()),
            facts: json!({"changes": {"title": {"from": "oldest secret"}}}),
        }];
        record
    }

    #[test]
    fn redacting_leaves_no_text_and_keeps_who_did_what() {
        let mut record = tombstone();
        let receipt = DeletionPolicy::Redact.apply(&mut record, Timestamp::UNIX_EPOCH).unwrap();
        let left = serde_json::to_string(&record).unwrap();
        assert!(!left.contains("secret"), "{left}");
        for kept in ["ann", "bob", "\"bug\"", "v1", "src/a.rs", "labeled"] {
            assert!(left.contains(kept), "{kept} in {left}");
        }
        assert_eq!((receipt.number, receipt.revision, receipt.texts), (3, Revision(4), 15));
        assert_eq!(DeletionPolicy::Redact.apply(&mut record, Timestamp::UNIX_EPOCH), None, "nothing is left to redact");
    }

    #[test]
    fn purging_leaves_the_tombstone_alone() {
        let mut record = tombstone();
        let receipt = DeletionPolicy::Purge.apply(&mut record, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((receipt.policy, receipt.texts), (DeletionPolicy::Purge, 15));
        let mut bare = Record::new(record.repository.clone(), 3, Kind::PullRequest, Timestamp::UNIX_EPOCH);
        (bare.revision, bare.state) = (Revision(4), RecordState::Deleted);
        assert_eq!(record, bare);
        assert_eq!(DeletionPolicy::Purge.apply(&mut record, Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn a_redacted_item_can_still_be_purged() {
        let mut record = tombstone();
        DeletionPolicy::Redact.apply(&mut record, Timestamp::UNIX_EPOCH).unwrap();
        let receipt = DeletionPolicy::Purge.apply(&mut record, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((receipt.texts, record.issue), (0, None));
    }

    #[test]
    fn what_github_shows_is_never_touched() {
        let mut record = Record { state: RecordState::Present, ..tombstone() };
        let before = record.clone();
        for policy in DeletionPolicy::ALL {
            assert_eq!(policy.apply(&mut record, Timestamp::UNIX_EPOCH), None);
        }
        let mut kept = tombstone();
        assert_eq!(DeletionPolicy::Keep.apply(&mut kept, Timestamp::UNIX_EPOCH), None);
        assert_eq!((record, kept), (before, tombstone()));
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_right_ones() {
        assert_eq!("redact".parse(), Ok(DeletionPolicy::Redact));
        assert_eq!(
            "erase".parse::<DeletionPolicy>().unwrap_err(),
            "`erase` is no deletion policy: keep, redact or purge"
        );
    }
}
