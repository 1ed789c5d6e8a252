//! Lenient reading of GitHub's JSON: a missing field, a null and a wrong type are all the same, and never an error.

use jiff::Timestamp;
use serde_json::Value;

/// The longest name or short text that is taken over, in bytes.
pub(crate) const LONGEST_NAME: usize = 1024;
/// The longest body that is taken over, in bytes; GitHub's own limit is 65,536 characters.
pub(crate) const LONGEST_BODY: usize = 512 * 1024;

/// A text of at most [`LONGEST_NAME`] bytes.
pub(crate) fn name(value: &Value, pointer: &str) -> Option<String> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
        .map(|text| bounded(text, LONGEST_NAME).to_owned())
}

/// A text of at most [`LONGEST_BODY`] bytes; empty where there is none.
pub(crate) fn body<'a>(value: &'a Value, pointer: &str) -> &'a str {
    bounded(value.pointer(pointer).and_then(Value::as_str).unwrap_or_default(), LONGEST_BODY)
}

/// A point in time.
pub(crate) fn time(value: &Value, pointer: &str) -> Option<Timestamp> {
    value.pointer(pointer).and_then(Value::as_str).and_then(|text| text.parse().ok()).filter(is_storable)
}

/// Engines keep milliseconds, and tantivy nanoseconds, in 64 bits: only years that fit both are taken over.
fn is_storable(time: &Timestamp) -> bool {
    const FROM_1700: i64 = -8_520_336_000;
    const TO_2200: i64 = 7_258_118_400;
    (FROM_1700..TO_2200).contains(&time.as_second())
}

/// A number of things; more than 32 bits hold is as many as they hold.
pub(crate) fn count(value: &Value, pointer: &str) -> u32 {
    u32::try_from(number(value, pointer).unwrap_or_default()).unwrap_or(u32::MAX)
}

/// A number from 0.
pub(crate) fn number(value: &Value, pointer: &str) -> Option<u64> {
    value.pointer(pointer).and_then(Value::as_u64)
}

/// Whether a field says true.
pub(crate) fn flag(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).and_then(Value::as_bool).unwrap_or_default()
}

/// The entries of a list.
pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) login: String,
    pub(crate) is_bot: bool,
}

/// A user: GitHub marks bots by their type, and names them `name[bot]`.
pub(crate) fn person(value: &Value, pointer: &str) -> Option<Person> {
    let login = name(value, &format!("{pointer}/login"))?;
    let is_bot = name(value, &format!("{pointer}/type")).is_some_and(|kind| kind == "Bot") || login.ends_with("[bot]");
    Some(Person { login, is_bot })
}

/// The beginning of a text, whole characters only.
pub(crate) fn bounded(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}
