//! Labels that were renamed.
//!
//! A timeline names labels by the names that they had, without their ids, and GitHub tells of a rename in no list. Two
//! lists of a repository's labels do: they carry ids, so one id under two names is a rename between them. What happened
//! between the two lists, as a name in the middle of two renames, webhooks alone say.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A label that got another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelRename {
    /// GitHub's id of the label.
    pub label: u64,
    /// Its name before.
    pub from: String,
    /// Its name since.
    pub to: String,
    /// When this was seen; it happened earlier, at the time of the list before at the earliest.
    pub at: Timestamp,
    /// Whether a webhook told of it, and documents have not been made with it yet.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pending: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// A webhook that comes within this time of another that said the same is the same, sent again.
const SENT_AGAIN: SignedDuration = SignedDuration::from_hours(4 * 24);

/// All renames of a repository's labels, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LabelRenames(Vec<LabelRename>);

impl LabelRenames {
    /// The most that are kept; what is older is forgotten.
    pub const MOST: usize = 10_000;

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Learns what two lists of labels tell, the later one seen at a time, beside what is known already. Says whether
    /// that was anything new: told again of the same two lists, it is not.
    pub fn learn(&mut self, before: &Value, after: &Value, at: Timestamp) -> bool {
        let mut called: HashMap<u64, &str> = labels(before).collect();
        called.extend(self.0.iter().map(|rename| (rename.label, rename.to.as_str())));
        let new: Vec<_> = labels(after)
            .filter_map(|(label, name)| {
                let from = called.get(&label).filter(|from| **from != name)?;
                Some(LabelRename { label, from: (*from).to_owned(), to: name.to_owned(), at, pending: false })
            })
            .collect();
        let is_new = !new.is_empty();
        self.0.extend(new);
        self.forget_oldest();
        is_new
    }

    /// Learns of a rename by a webhook; it is pending then. Says whether it was new. A wrong order of webhooks is put
    /// right by the next list.
    pub fn hear(&mut self, rename: LabelRename) -> bool {
        let is_same = |known: &LabelRename| {
            (known.label, &known.from, &known.to) == (rename.label, &rename.from, &rename.to)
                && known.at.duration_since(rename.at).abs() < SENT_AGAIN
        };
        if rename.from == rename.to || self.0.iter().any(is_same) {
            return false;
        }
        let place = self.0.partition_point(|known| known.at <= rename.at);
        self.0.insert(place, LabelRename { pending: true, ..rename });
        self.forget_oldest();
        true
    }

    /// Whether documents have still to be made with some of them.
    pub fn is_pending(&self) -> bool {
        self.0.iter().any(|rename| rename.pending)
    }

    /// Documents have been made with these.
    pub fn settle(&mut self, made_with: &Self) {
        for rename in &mut self.0 {
            rename.pending &= !made_with.0.contains(rename);
        }
    }

    fn forget_oldest(&mut self) {
        self.0.drain(..self.0.len().saturating_sub(Self::MOST));
    }

    /// The renames after a time of the label that had a name then, oldest first. Names are compared without regard to
    /// case, as GitHub does.
    pub fn of(&self, name: &str, then: Timestamp) -> impl Iterator<Item = &LabelRename> {
        let name = name.to_lowercase();
        let first = self.0.iter().position(|rename| rename.at > then && rename.from.to_lowercase() == name);
        let later = first.map_or(&[][..], |first| &self.0[first..]);
        let label = later.first().map(|rename| rename.label);
        later.iter().filter(move |rename| Some(rename.label) == label)
    }

    /// What a label is called now that had a name at a time.
    pub fn name_now<'a>(&'a self, name: &'a str, then: Timestamp) -> &'a str {
        self.of(name, then).last().map_or(name, |rename| rename.to.as_str())
    }
}

/// Ids and names of a list of labels, as GitHub gives it.
fn labels(list: &Value) -> impl Iterator<Item = (u64, &str)> {
    let labels = list.as_array().into_iter().flatten();
    labels.filter_map(|label| Some((label.get("id")?.as_u64()?, label.get("name")?.as_str()?)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(day: u8) -> Timestamp {
        format!("2024-01-{day:02}T00:00:00Z").parse().unwrap()
    }

    fn list(names: &[(u64, &str)]) -> Value {
        names.iter().map(|(id, name)| json!({"id": id, "name": name})).collect()
    }

    #[test]
    fn one_id_under_two_names_is_a_rename_and_is_learnt_once() {
        let mut renames = LabelRenames::default();
        let (before, after) = (list(&[(1, "bug"), (2, "gone")]), list(&[(1, "kind: bug"), (3, "new")]));
        assert!(renames.learn(&before, &after, at(5)));
        assert!(!renames.learn(&before, &after, at(6)), "after a crash the same lists are compared again");
        assert!(!renames.learn(&after, &after, at(7)));
        assert!(!renames.learn(&Value::Null, &after, at(7)));
        assert_eq!(renames.name_now("Bug", at(4)), "kind: bug");
        assert_eq!(renames.name_now("gone", at(4)), "gone");
    }

    #[test]
    fn a_label_is_followed_by_its_id_whoever_has_its_old_name_later() {
        let mut renames = LabelRenames::default();
        renames.learn(&list(&[(1, "bug")]), &list(&[(1, "defect")]), at(5));
        renames.learn(&list(&[(1, "defect"), (2, "bug")]), &list(&[(1, "kind: bug"), (2, "beetle")]), at(9));
        assert_eq!(renames.name_now("bug", at(4)), "kind: bug");
        assert_eq!(renames.name_now("bug", at(6)), "beetle");
        assert_eq!(renames.name_now("bug", at(9)), "bug");
        assert_eq!(
            renames.of("bug", at(4)).map(|rename| rename.to.as_str()).collect::<Vec<_>>(),
            ["defect", "kind: bug"]
        );
        assert_eq!(serde_json::from_value::<LabelRenames>(serde_json::to_value(&renames).unwrap()).unwrap(), renames);
    }

    #[test]
    fn a_name_between_two_renames_is_known_by_webhooks_alone() {
        let heard = |from: &str, to: &str, second| LabelRename {
            label: 1,
            from: from.to_owned(),
            to: to.to_owned(),
            at: at(second),
            pending: false,
        };
        let (before, after) = (list(&[(1, "bug")]), list(&[(1, "kind: bug")]));
        let mut renames = LabelRenames::default();
        assert!(renames.hear(heard("defect", "kind: bug", 7)));
        assert!(renames.hear(heard("bug", "defect", 5)), "a webhook may come late");
        assert!(!renames.hear(heard("bug", "defect", 8)), "or twice");
        assert!(!renames.learn(&before, &after, at(20)), "the lists tell nothing more");
        assert_eq!(renames.name_now("bug", at(1)), "kind: bug");
        assert_eq!(renames.name_now("defect", at(6)), "kind: bug");
        assert!(renames.is_pending());
        let mut settled = renames.clone();
        assert!(settled.hear(heard("kind: bug", "k: bug", 30)));
        settled.settle(&renames);
        assert!(settled.is_pending(), "one came meanwhile");
        settled.settle(&settled.clone());
        assert!(!settled.is_pending());

        // A webhook was lost: the list goes on from where the last one was.
        let mut renames = LabelRenames::default();
        renames.hear(heard("bug", "defect", 5));
        assert!(renames.learn(&before, &after, at(20)));
        assert_eq!(renames.name_now("defect", at(6)), "kind: bug");
    }

    #[test]
    fn a_rename_and_back_again_is_two() {
        let mut renames = LabelRenames::default();
        let (one, other) = (list(&[(1, "a")]), list(&[(1, "b")]));
        assert!(renames.learn(&one, &other, at(2)));
        assert!(renames.learn(&other, &one, at(3)));
        assert!(renames.learn(&one, &other, at(4)));
        assert_eq!(["a", "b"].map(|name| renames.name_now(name, at(1))), ["b", "b"]);
    }
}
