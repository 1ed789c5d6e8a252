//! Bodies of webhooks, signed by whoever has the secret or sent where none is asked for.
//!
//! An input is what the headers say in a line, and a body: `issues`, or `issues form` for one that is form-encoded.
//!
//! - Nothing panics.
//! - Every subject reads back as it is written: it comes back from queues and archives as text.
//! - A number that is triggered is one that the payload says where numbers of items stand, as a plain JSON reader reads
//!   it.

use gharvest_model::Subject;
use gharvest_webhook_receiver::{classify::Classified, classify_bytes};
use serde_json::Value;

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

/// What became of an input: a fuzzer that sees only one of these reaches nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// No payload.
    Refused,
    /// A payload, of whose triggers so many name items that a plain reader found as well.
    Read {
        /// How many.
        compared: usize,
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
    for trigger in &classified.triggers {
        let text = trigger.subject.to_string();
        assert_eq!(text.parse().as_ref(), Ok(&trigger.subject), "a subject reads back as it is written");
    }
    // Numbers beyond all bounds in what is passed over are the plain reader's trouble only.
    let compared = serde_json::from_slice(body).map_or(0, |plain| numbers_are_said(&classified, &plain));
    Seen::Read { compared }
}

fn numbers_are_said(classified: &Classified, plain: &Value) -> usize {
    let said: Vec<u64> = PLACES.iter().filter_map(|place| plain.pointer(place).and_then(Value::as_u64)).collect();
    let items = classified.triggers.iter().filter_map(|trigger| match &trigger.subject {
        Subject::Item(item) => Some(item),
        _ => None,
    });
    items
        .inspect(|item| assert!(said.contains(&item.number), "{item} is triggered, and the payload says {said:?}"))
        .count()
}
