//! Older texts: what stood in a thread at an earlier visit and was edited or deleted since, and what GitHub tells of
//! them.

use std::collections::BTreeMap;

use gharvest_github::Edit;
use gharvest_model::{
    Record,
    record::{Fact, OlderText, Origin},
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
    keep_newest(&mut new.history, most);
}

/// Takes in all versions of a text that GitHub tells, oldest first, the present one included; of a text with more
/// versions than it tells these are the latest. What it tells, with the time, stands in for what the mirror saw of it.
pub(crate) fn merge_edits(record: &mut Record, of: &str, versions: &[Edit], most: usize) {
    let Some(first) = versions.first() else { return };
    let told: Vec<OlderText> = versions.windows(2).filter_map(|pair| told_text(of, &pair[0], &pair[1])).collect();
    record.history.retain(|known| match known.origin {
        _ if known.of != of => true,
        Some(_) => known.replaced_at <= first.edited_at,
        None => !told.iter().any(|told| told.text == known.text),
    });
    record.history.extend(told);
    record.history.sort_by_key(|older| older.replaced_at);
    keep_newest(&mut record.history, most);
}

/// The last edit of a text that GitHub told already.
pub(crate) fn told_to(record: &Record, of: &str) -> Option<Timestamp> {
    let told = record.history.iter().filter(|older| older.of == of && older.origin.is_some());
    told.map(|older| older.replaced_at).max()
}

fn told_text(of: &str, version: &Edit, next: &Edit) -> Option<OlderText> {
    let text = version.text.as_ref().filter(|text| !text.is_empty() && next.text.as_ref() != Some(text))?;
    let older = OlderText::seen(of, text, next.edited_at);
    Some(OlderText { by: next.by.clone(), origin: Some(Origin::Graphql), ..older })
}

fn keep_newest(history: &mut Vec<OlderText>, most: usize) {
    let surplus = history.len().saturating_sub(most);
    history.drain(..surplus);
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
    // GitHub may have told already that the text was replaced after it was fetched.
    let is_told = |of: &str, text: &str| {
        let last = old.history.iter().rfind(|older| older.of == of && older.origin.is_some());
        last.is_some_and(|last| last.text == text && last.replaced_at >= old.fetched_at)
    };
    let replaced = texts(old).into_iter().filter(replaced).filter(|(of, text)| !is_told(of, text));
    replaced.map(|(of, text)| OlderText::seen(of, text, now)).collect()
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
        assert_eq!(second.history, [OlderText::seen("title", "one", now)]);
        carry_over(&second, &mut third, 1, now);
        assert_eq!(third.history, [OlderText::seen("IC_1", "hello", now)]);
        let mut unchanged = third.clone();
        carry_over(&third, &mut unchanged, 10, now);
        assert_eq!(unchanged.history, third.history);
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn version(second: i64, text: Option<&str>) -> Edit {
        Edit { edited_at: at(second), by: Some(format!("editor-{second}")), text: text.map(str::to_owned) }
    }

    /// Time, text and who replaced it.
    fn told(record: &Record) -> Vec<(i64, &str, Option<&str>)> {
        let history = record.history.iter();
        history.map(|older| (older.replaced_at.as_second(), older.text.as_str(), older.by.as_deref())).collect()
    }

    #[test]
    fn what_github_tells_of_edits_stands_in_for_what_was_seen_of_them() {
        let mut record = record("title", None);
        record.history = vec![OlderText::seen("body", "one", at(90)), OlderText::seen("body", "unknown", at(95))];
        let versions =
            [version(10, Some("zero")), version(20, Some("one")), version(30, None), version(40, Some("now"))];
        merge_edits(&mut record, "body", &versions, 10);
        let by = Some("editor-20");
        let expected = [(20, "zero", by), (30, "one", Some("editor-30")), (95, "unknown", None)];
        assert_eq!(told(&record), expected, "the version that was taken out has no text");
        assert_eq!((told_to(&record, "body"), told_to(&record, "IC_1")), (Some(at(30)), None));
        let before = record.clone();
        merge_edits(&mut record, "body", &versions, 10);
        assert_eq!(record, before, "told twice");
        // The first version is taken out as well: its text goes. Of what lies before the told versions nothing is said.
        merge_edits(&mut record, "body", &[version(10, None), version(20, Some("one")), version(30, None)], 10);
        assert_eq!(told(&record), [(30, "one", Some("editor-30")), (95, "unknown", None)]);
        merge_edits(&mut record, "body", &[version(35, Some("late")), version(40, Some("now"))], 10);
        assert_eq!(told(&record)[..2], [(30, "one", Some("editor-30")), (40, "late", Some("editor-40"))]);
        merge_edits(&mut record, "body", &versions, 1);
        assert_eq!(told(&record), [(95, "unknown", None)], "the newest are kept");
    }

    #[test]
    fn a_text_that_github_told_to_be_replaced_is_not_kept_again_at_the_next_visit() {
        let (mut old, mut new) = (record("title", Some("first")), record("title", Some("second")));
        old.fetched_at = at(5);
        merge_edits(&mut old, "IC_1", &[version(1, Some("first")), version(8, Some("second"))], 10);
        carry_over(&old, &mut new, 10, at(100));
        assert_eq!(told(&new), [(8, "first", Some("editor-8"))]);
        // What came back and went again is another text.
        let mut newest = record("title", Some("third"));
        new.timeline[0]["body"] = json!("first");
        new.fetched_at = at(100);
        carry_over(&new, &mut newest, 10, at(200));
        assert_eq!(told(&newest), [(8, "first", Some("editor-8")), (200, "first", None)]);
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
