//! Documents as the engine gets them: ours, with what queries ask beside it.

use bytes::{BufMut, Bytes, BytesMut};
use gharvest_search::{
    document::{CommentDocument, IntervalDocument, ThreadDocuments},
    marks::exact_title,
    query::{
        fields,
        tree::{Flag, Keyword, Number, Time},
    },
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::schema::{flag_name, keyword_name, number_name, time_name};

/// Fields that are the engine's and not the document's.
pub(crate) const OWN_FIELDS: [&str; 4] = ["q", "said", "history", "meta"];
/// The most intervals of an item that are asked; engines take 10,000 nested documents.
const MOST_SPANS: usize = 9_000;
/// The most text of comments that is searched below an item, in bytes.
const MOST_SAID: usize = 16 << 20;

/// The most children that a thread ever had, by sort: comments, events, intervals.
pub(crate) type Children = [u64; 3];

/// A document with one more field.
pub(crate) fn with(document: &impl Serialize, more: &Value) -> Bytes {
    let mut bytes = BytesMut::new().writer();
    serde_json::to_writer(&mut bytes, document).expect("documents have text keys and plain values");
    let mut bytes = bytes.into_inner();
    if let Some(more) = more.as_object().filter(|more| !more.is_empty()) {
        bytes.truncate(bytes.len() - 1);
        let more = serde_json::to_string(more).expect("a value has text keys");
        bytes.put_u8(b',');
        bytes.put_slice(&more.as_bytes()[1..]);
    }
    bytes.freeze()
}

/// A child with its ordinal.
pub(crate) fn child(document: &impl Serialize, ordinal: usize) -> Bytes {
    with(document, &json!({"q": {"ordinal": ordinal}}))
}

/// What stays where a document was.
pub(crate) fn gone(key: &str, repository: u64) -> Bytes {
    Bytes::from(json!({"key": key, "repository_id": repository, "deleted": true, "q": {"gone": true}}).to_string())
}

/// An item's document.
pub(crate) fn item(thread: &ThreadDocuments, children: Children) -> Bytes {
    let item = &thread.item;
    let mut asked = Map::new();
    for field in Keyword::ALL {
        let values: Vec<String> = fields::keywords(item, field).iter().map(|value| value.to_lowercase()).collect();
        asked.insert(keyword_name(field), values.into());
    }
    for field in Number::ALL {
        asked.insert(number_name(field), fields::number(item, field).into());
    }
    for field in Time::ALL {
        asked.insert(time_name(field), fields::time(item, field).map(|at| at.as_microsecond()).into());
    }
    let flags: Vec<String> = Flag::ALL.into_iter().filter(|flag| fields::flag(item, *flag)).map(flag_name).collect();
    asked.insert("flags".into(), flags.into());
    asked.insert("exact_title".into(), exact_title(&item.title).into());
    asked.insert("number_text".into(), item.number.to_string().into());
    let more = json!({
        "q": asked,
        "said": said(&thread.comments),
        "history": thread.intervals.iter().rev().take(MOST_SPANS).filter_map(span).collect::<Vec<_>>(),
        "meta": {"digest": thread.digest, "children": children},
    });
    with(item, &more)
}

fn said(comments: &[CommentDocument]) -> Vec<&str> {
    let mut room = MOST_SAID;
    let fits = |comment: &&CommentDocument| {
        room = room.saturating_sub(comment.body.len());
        room > 0
    };
    comments.iter().take_while(fits).map(|comment| comment.body.as_str()).collect()
}

/// An interval, asked by its names then and now. The engine knows milliseconds, and refuses a span without length.
fn span(interval: &IntervalDocument) -> Option<Value> {
    let (from, to) = (interval.from.as_millisecond(), interval.to.map(|to| to.as_millisecond()));
    if to.is_some_and(|to| to <= from) {
        return None;
    }
    let mut names = vec![interval.value.to_lowercase()];
    names.extend(interval.value_now.as_ref().map(|now| now.to_lowercase()));
    let during = match to {
        Some(to) => json!({"gte": from, "lt": to}),
        None => json!({"gte": from}),
    };
    Some(json!({"dimension": interval.dimension, "value": names, "during": during}))
}

/// A stored source without what is the engine's.
pub(crate) fn own(source: &Value) -> Value {
    let mut own = source.clone();
    if let Value::Object(fields) = &mut own {
        fields.retain(|name, _| !OWN_FIELDS.contains(&name.as_str()));
    }
    own
}
