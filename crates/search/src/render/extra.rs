//! What GitHub says and no field of a document has: its `extra`.
//!
//! One rule for items, comments and events. A field is kept as GitHub says it or not at all, except that of whatever is
//! told of as a whole wherever it is named ([`THINGS`]) only stays which one it is. Left out are
//! - what the document says under its own names;
//! - what says nothing: nulls, empty texts, lists and objects, and inside of objects zeros, as of reactions nobody gave;
//! - addresses, which follow from names and ids; the page's own stays;
//! - fields that are too large or too deep, and of too many the largest.
//!
//! The archive has all of it.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use crate::document::Extra;

/// The largest field, in bytes of JSON: two of three pieces of a diff that review comments hang on are shorter.
const LARGEST_FIELD: usize = 2 * 1024;
/// The most that all fields of a document take together, in bytes of JSON.
const LARGEST_EXTRA: usize = 4 * 1024;
/// How deep a field may be nested.
const DEEPEST: usize = 8;

/// Things that GitHub puts as a whole wherever they are named: by which fields they are known, and what is kept of them.
const THINGS: [(&[&str], &[&str]); 5] = [
    // People and organizations.
    (&["login"], &["id", "login"]),
    // Teams and apps.
    (&["slug"], &["id", "name", "slug"]),
    // Repositories.
    (&["full_name"], &["full_name", "id"]),
    // Issues and pull requests: the number alone does not say of which repository, and the title may be private.
    (&["number", "title"], &["html_url", "id", "number"]),
    // Signatures, which are longer than the rest of a commit and prove something only to who has it.
    (&["signature", "verified"], &["reason", "verified", "verified_at"]),
];

/// Fields of the issue and the pull request that items have under their own names.
const OF_ITEMS: [&str; 27] = [
    "assignee",
    "assignees",
    "author_association",
    "body",
    "body_html",
    "body_text",
    "closed_at",
    "closed_by",
    "comments",
    "created_at",
    "draft",
    "labels",
    "locked",
    "merged_at",
    "merged_by",
    "milestone",
    "number",
    "pull_request",
    "repository",
    "requested_reviewers",
    "requested_teams",
    "review_comments",
    "state",
    "state_reason",
    "title",
    "updated_at",
    "user",
];

/// Fields that comments of every sort have under their own names.
const OF_COMMENTS: [&str; 11] = [
    "actor",
    "author_association",
    "body",
    "body_html",
    "body_text",
    "created_at",
    "event",
    "id",
    "path",
    "updated_at",
    "user",
];

/// And those of reviews.
const OF_REVIEWS: [&str; 2] = ["state", "submitted_at"];

/// Fields that events have under their own names, and their second id: there are very many events, and who asks GraphQL
/// for one asks for its thread.
const OF_EVENTS: [&str; 6] = ["actor", "created_at", "event", "label", "node_id", "user"];

/// Of an issue or pull request.
pub(crate) fn of_item(core: &Value, pull: &Value) -> Extra {
    kept(&[core, pull], |name, _| OF_ITEMS.contains(&name))
}

/// Of a comment, review or review comment.
pub(crate) fn of_comment(part: &str, value: &Value) -> Extra {
    kept(&[value], |name, _| OF_COMMENTS.contains(&name) || (part == "review" && OF_REVIEWS.contains(&name)))
}

/// Of an event that is about `subject`. What comments say stands in documents of their own: their events say which.
pub(crate) fn of_event(event: &str, value: &Value, subject: Option<&str>) -> Extra {
    let created_at = value.get("created_at");
    let is_said = |name: &str, field: &Value| match event {
        "commented" | "reviewed" => name != "id",
        "line-commented" | "commit-commented" if name == "comments" => true,
        _ if OF_EVENTS.contains(&name) => true,
        _ if name == "updated_at" => Some(field) == created_at,
        _ => subject.is_some_and(|subject| says_only(field, subject)),
    };
    kept(&[value], is_said)
}

/// Whether a field says no more than what an event is about: a text, or who or what is named so.
fn says_only(field: &Value, subject: &str) -> bool {
    let named = ["login", "slug", "title"].iter().find_map(|name| field.get(name));
    named.unwrap_or(field).as_str() == Some(subject)
}

/// The fields of objects that are not said elsewhere; of two with the same name the first one's.
fn kept(objects: &[&Value], is_said: impl Fn(&str, &Value) -> bool) -> Extra {
    let mut fields = BTreeMap::new();
    for (name, field) in objects.iter().filter_map(|object| object.as_object()).flatten() {
        if is_address(name) || fields.contains_key(name) || is_said(name, field) {
            continue;
        }
        let mut copying = Copying { room: LARGEST_FIELD };
        if let Ok(Some(copy)) = copying.field(name, field, DEEPEST) {
            fields.insert(name, (LARGEST_FIELD - copying.room, copy));
        }
    }
    let mut smallest_first: Vec<_> = fields.into_iter().collect();
    smallest_first.sort_by_key(|(_, (bytes, _))| *bytes);
    let mut room = Some(LARGEST_EXTRA - "{}".len());
    let fitting = smallest_first.into_iter().map_while(|(name, (bytes, copy))| {
        room = room?.checked_sub(bytes);
        room.map(|_| (name.clone(), copy))
    });
    fitting.collect::<Map<_, _>>().into()
}

fn is_address(name: &str) -> bool {
    name == "_links" || name == "url" || (name.ends_with("_url") && name != "html_url")
}

/// A field is larger or deeper than what is kept.
struct TooMuch;

/// Copies a field as long as there is room.
struct Copying {
    /// Bytes of JSON that may still be copied.
    room: usize,
}

impl Copying {
    fn take(&mut self, bytes: usize) -> Result<(), TooMuch> {
        self.room = self.room.checked_sub(bytes).ok_or(TooMuch)?;
        Ok(())
    }

    /// A field's value; none where it says nothing.
    fn field(&mut self, name: &str, value: &Value, depth: usize) -> Result<Option<Value>, TooMuch> {
        let copy = self.value(value, depth)?;
        if copy.is_some() {
            self.take(quoted_length(name) + ":,".len())?;
        }
        Ok(copy)
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<Option<Value>, TooMuch> {
        let bytes = match value {
            Value::Null => return Ok(None),
            Value::Array(list) => return self.list(list, depth),
            Value::Object(fields) => return self.object(fields, depth),
            Value::String(text) if text.is_empty() => return Ok(None),
            Value::String(text) => quoted_length(text),
            Value::Number(number) if !is_exact(number) => return Ok(None),
            Value::Bool(_) | Value::Number(_) => value.to_string().len(),
        };
        self.take(bytes)?;
        Ok(Some(value.clone()))
    }

    fn list(&mut self, list: &[Value], depth: usize) -> Result<Option<Value>, TooMuch> {
        let depth = depth.checked_sub(1).ok_or(TooMuch)?;
        self.take("[]".len())?;
        let mut copy = Vec::new();
        for value in list {
            let entry = self.value(value, depth)?.unwrap_or_default();
            // What says nothing keeps its place.
            self.take(if entry.is_null() { "null,".len() } else { ",".len() })?;
            copy.push(entry);
        }
        Ok(copy.iter().any(|entry| !entry.is_null()).then_some(Value::Array(copy)))
    }

    fn object(&mut self, fields: &Map<String, Value>, depth: usize) -> Result<Option<Value>, TooMuch> {
        let depth = depth.checked_sub(1).ok_or(TooMuch)?;
        self.take("{}".len())?;
        let thing = THINGS.iter().find(|(known_by, _)| known_by.iter().all(|name| fields.contains_key(*name)));
        let is_wanted = |name: &str| match thing {
            Some((_, wanted)) => wanted.contains(&name),
            None => !is_address(name) && name != "html_url",
        };
        let mut copy = Map::new();
        for (name, value) in fields.iter().filter(|(name, value)| is_wanted(name) && value.as_u64() != Some(0)) {
            if let Some(value) = self.field(name, value, depth)? {
                copy.insert(name.clone(), value);
            }
        }
        Ok((!copy.is_empty()).then_some(Value::Object(copy)))
    }
}

/// Whether a number is read again as it was written, as all whole ones are: a digest must not depend on it otherwise.
fn is_exact(number: &Number) -> bool {
    !number.is_f64() || number.to_string().parse().is_ok_and(|again: Number| again == *number)
}

/// Bytes of a text as JSON.
fn quoted_length(text: &str) -> usize {
    let bytes = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | 0x08 | b'\t' | b'\n' | 0x0c | b'\r' => 2,
        0..0x20 => "\\u0000".len(),
        _ => 1,
    });
    "\"\"".len() + bytes.sum::<usize>()
}
