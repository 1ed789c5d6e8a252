//! Older texts: what stood in a thread at an earlier visit and was edited or deleted since.

use std::collections::BTreeMap;

use gharvest_model::{
    Record,
    record::{Fact, OlderText},
};
use jiff::Timestamp;
use serde_json::Value;

/// The most facts of webhooks kept in a record; the oldest go first.
const MOST_FACTS: usize = 1000;

/// Carries into `new` what only the mirror knows: facts, older texts, and fields of a newer program.
pub(crate) fn carry_over(old: &Record, new: &mut Record, most: usize, now: Timestamp) {
    new.kept.clone_from(&old.kept);
    new.twin.clone_from(&old.twin);
    new.unknown.clone_from(&old.unknown);
    new.history.clone_from(&old.history);
    let replaced = replaced_texts(old, new, now);
    new.history.extend(replaced);
    let surplus = new.history.len().saturating_sub(most);
    new.history.drain(..surplus);
}

/// Merges facts of webhooks; a delivery counts once.
pub(crate) fn merge_facts<'a>(record: &mut Record, facts: impl IntoIterator<Item = &'a Fact>) {
    for fact in facts {
        if !record.kept.iter().any(|kept| kept.delivery == fact.delivery) {
            record.kept.push(fact.clone());
        }
    }
    record.kept.sort_by_key(|fact| fact.received_at);
    let surplus = record.kept.len().saturating_sub(MOST_FACTS);
    record.kept.drain(..surplus);
}

fn replaced_texts(old: &Record, new: &Record, now: Timestamp) -> Vec<OlderText> {
    let texts_now = texts(new);
    let replaced = |(of, text): &(&str, &str)| !text.is_empty() && texts_now.get(*of) != Some(text);
    let older = |(of, text): (&str, &str)| OlderText { of: of.to_owned(), text: text.to_owned(), replaced_at: now };
    texts(old).into_iter().filter(replaced).map(older).collect()
}

/// Every text that people can edit, by what it is of.
fn texts(record: &Record) -> BTreeMap<&str, &str> {
    let core =
        record.core().into_iter().flat_map(|core| [("title", text(core, "title")), ("body", text(core, "body"))]);
    let parts = record.timeline.iter().chain(&record.review_comments);
    let bodies = parts.filter_map(|part| Some((part.get("node_id")?.as_str()?, text(part, "body"))));
    core.chain(bodies).collect()
}

/// A text without the difference between null, absent and empty, which says nothing.
fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use gharvest_model::{Kind, RepositoryId, record::RecordRepository};
    use serde_json::json;

    use super::*;

    fn record(title: &str, comment: Option<&str>) -> Record {
        let repository = RecordRepository { id: RepositoryId(7), full_name: "a/b".parse().unwrap() };
        let mut record = Record::new(repository, 1, Kind::Issue, Timestamp::UNIX_EPOCH);
        record.issue = Some(json!({"title": title, "body": null}));
        record.timeline =
            comment.map(|body| json!({"event": "commented", "node_id": "IC_1", "body": body})).into_iter().collect();
        record
    }

    #[test]
    fn edited_and_deleted_texts_are_kept_up_to_the_limit() {
        let (first, mut second, mut third) =
            (record("one", Some("hello")), record("two", Some("hello")), record("two", None));
        let now = Timestamp::from_second(5).unwrap();
        carry_over(&first, &mut second, 10, now);
        assert_eq!(second.history, [OlderText { of: "title".into(), text: "one".into(), replaced_at: now }]);
        carry_over(&second, &mut third, 1, now);
        assert_eq!(third.history, [OlderText { of: "IC_1".into(), text: "hello".into(), replaced_at: now }]);
        let mut unchanged = third.clone();
        carry_over(&third, &mut unchanged, 10, now);
        assert_eq!(unchanged.history, third.history);
    }

    #[test]
    fn a_fact_delivered_twice_is_kept_once_and_facts_stand_in_order() {
        let fact = |delivery: &str, second| Fact {
            delivery: delivery.into(),
            event: "issues".into(),
            action: "edited".into(),
            received_at: Timestamp::from_second(second).unwrap(),
            actor: None,
            facts: json!({}),
        };
        let mut record = record("one", None);
        merge_facts(&mut record, &[fact("b", 2), fact("a", 1), fact("b", 2)]);
        let deliveries: Vec<_> = record.kept.iter().map(|fact| fact.delivery.as_str()).collect();
        assert_eq!(deliveries, ["a", "b"]);
    }
}
