//! Labels that were renamed.
//!
//! A timeline names labels by the names that they had, without their ids, and GitHub tells of a rename in no list. Two
//! lists of a repository's labels do: they carry ids, so one id under two names is a rename between them.

use std::collections::HashMap;

use jiff::Timestamp;
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
}

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

    /// Learns what two lists of labels tell, the later one seen at a time. Says whether that was anything new: told again
    /// of the same two lists, it is not.
    pub fn learn(&mut self, before: &Value, after: &Value, at: Timestamp) -> bool {
        let known: HashMap<u64, &str> = labels(before).collect();
        let is_known = |all: &[LabelRename], id, name: &str| {
            all.iter().rev().find(|rename| rename.label == id).is_some_and(|last| last.to == name)
        };
        let count = self.0.len();
        for (id, name) in labels(after) {
            let Some(from) = known.get(&id).filter(|from| **from != name) else { continue };
            if !is_known(&self.0[..count], id, name) {
                self.0.push(LabelRename { label: id, from: (*from).to_owned(), to: name.to_owned(), at });
            }
        }
        let is_new = self.0.len() > count;
        self.0.drain(..self.0.len().saturating_sub(Self::MOST));
        is_new
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
    fn a_rename_and_back_again_is_two() {
        let mut renames = LabelRenames::default();
        let (one, other) = (list(&[(1, "a")]), list(&[(1, "b")]));
        assert!(renames.learn(&one, &other, at(2)));
        assert!(renames.learn(&other, &one, at(3)));
        assert!(renames.learn(&one, &other, at(4)));
        assert_eq!(["a", "b"].map(|name| renames.name_now(name, at(1))), ["b", "b"]);
    }
}
