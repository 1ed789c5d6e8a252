//! Bodies of webhooks, signed by whoever has the secret or sent where none is asked for.
//!
//! An input is what the headers say in a line, and a body: `issues`, or `issues form` for one that is form-encoded.
//!
//! - Nothing panics.
//! - Every subject reads back as it is written, and is one that queues take: it comes back from them as text.
//! - A number that is triggered is one that the payload says where numbers of items stand, as a plain JSON reader reads
//!   it.
//! - A fact, which is kept for good, is about such a number and has the payload's own words at their places, and nothing
//!   else; so has the rename of a label.
//! - A fact reads back from the record that it ends in.

use gharvest_model::{Subject, record::Fact};
use gharvest_webhook_receiver::{classify::Classified, classify_bytes};
use serde_json::{Value, json};

/// Where payloads name items.
const PLACES: &[&str] = &[
    "/issue/number",
    "/pull_request/number",
    "/sub_issue/number",
    "/parent_issue/number",
    "/blocked_issue/number",
    "/blocking_issue/number",
    "/number",
    "/changes/new_issue/number",
    "/changes/old_issue/number",
];

/// Where payloads name the comment, the review or the thread that they are about.
const ABOUT: &[&str] = &["comment", "review", "thread"];

/// What became of an input: a fuzzer that sees only one of these reaches nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// No payload.
    Refused,
    /// A payload.
    Read {
        /// So many of its triggers name items that a plain reader found as well.
        compared: usize,
        /// Whether a fact or a label's former name is kept of it, and a plain reader found that as well.
        kept: bool,
    },
}

/// Reads an input as the receiver does.
///
/// # Panics
/// When a promise is broken.
pub fn check(input: &[u8]) -> Seen {
    let (line, body) = input.iter().position(|byte| *byte == b'\n').map_or((input, &[][..]), |at| {
        let (line, rest) = input.split_at(at);
        (line, &rest[1..])
    });
    let line = String::from_utf8_lossy(line);
    let (event, content_type) = match line.strip_suffix(" form") {
        Some(event) => (event, "application/x-www-form-urlencoded"),
        None => (&*line, "application/json"),
    };
    let Ok(classified) = classify_bytes(event, content_type, body) else { return Seen::Refused };
    let taken = gharvest_queue::check::triggers(&classified.triggers, None);
    assert!(taken.is_ok(), "a queue says {taken:?} of {:?}", classified.triggers);
    for trigger in &classified.triggers {
        let text = trigger.subject.to_string();
        assert_eq!(text.parse().as_ref(), Ok(&trigger.subject), "a subject reads back as it is written");
    }
    if let Some((_, fact)) = &classified.facts {
        reads_back(fact);
    }
    // Numbers beyond all bounds in what is passed over are the plain reader's trouble only.
    let Ok(plain) = serde_json::from_slice(body) else { return Seen::Read { compared: 0, kept: false } };
    Seen::Read { compared: numbers_are_said(&classified, &plain), kept: facts_are_said(&classified, &plain) }
}

/// A record has its facts in a list of its own.
fn reads_back(fact: &Fact) {
    let text = json!({ "record": { "kept": [fact] } }).to_string();
    let read: Value = serde_json::from_str(&text).expect("what is kept can be read");
    let again = serde_json::from_value(read["record"]["kept"][0].clone());
    assert_eq!(again.ok().as_ref(), Some(fact), "a fact reads back as it is written");
}

fn facts_are_said(classified: &Classified, plain: &Value) -> bool {
    if let Some(rename) = &classified.label_rename {
        assert_eq!(plain.pointer("/changes/name/from"), Some(&json!(rename.from)));
        assert_eq!((&plain["label"]["name"], &plain["label"]["id"]), (&json!(rename.to), &json!(rename.label)));
    }
    let Some((item, fact)) = &classified.facts else { return classified.label_rename.is_some() };
    assert!(said(plain).contains(&item.number), "facts are of {item}, which the payload does not say");
    assert!(fact.action.is_empty() || plain["action"] == fact.action);
    assert!(fact.actor.is_none() || plain["sender"]["login"].as_str() == fact.actor.as_deref());
    for (name, kept) in fact.facts.as_object().expect("facts have names") {
        let is_said = match name.as_str() {
            "changes" => *kept == plain["changes"],
            // The whole of it, or which it is.
            "about" => ABOUT.iter().any(|place| {
                let whole = &plain[*place];
                *kept == *whole || *kept == json!({ "id": whole.get("id"), "node_id": whole.get("node_id") })
            }),
            _ => false,
        };
        assert!(is_said, "{name} is kept as {kept}, and the payload is {plain}");
    }
    true
}

fn said(plain: &Value) -> Vec<u64> {
    PLACES.iter().filter_map(|place| plain.pointer(place).and_then(Value::as_u64)).collect()
}

fn numbers_are_said(classified: &Classified, plain: &Value) -> usize {
    let said = said(plain);
    let items = classified.triggers.iter().filter_map(|trigger| match &trigger.subject {
        Subject::Item(item) => Some(item),
        _ => None,
    });
    items
        .inspect(|item| assert!(said.contains(&item.number), "{item} is triggered, and the payload says {said:?}"))
        .count()
}
