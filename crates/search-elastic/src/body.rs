//! Documents as the engine gets them: ours, with what queries ask beside it.

use gharvest_search::{
    document::{CommentDocument, IntervalDocument, ItemDocument, ThreadDocuments},
    marks::exact_title,
    query::{
        fields,
        tree::{Flag, Keyword, Number, Time},
    },
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Value, json};

use crate::schema::{flag_name, keyword_name, number_name, time_name};

/// Fields that are the engine's and not the document's.
pub(crate) const OWN_FIELDS: [&str; 4] = ["q", "said", "history", "meta"];
/// The most intervals of an item that are asked; engines take 10,000 nested documents.
const MOST_SPANS: usize = 9_000;
/// The most text of comments that is searched below an item, in bytes.
const MOST_SAID: usize = 16 << 20;

/// The most children that a thread ever had, by sort: comments, events, intervals.
pub(crate) type Children = [u64; 3];

/// A document as it is.
pub(crate) fn plain(into: &mut Vec<u8>, document: &impl Serialize) {
    serde_json::to_writer(into, document).expect("documents have text keys and plain values");
}

/// A document with the fields of another object.
fn with(into: &mut Vec<u8>, document: &impl Serialize, more: &impl Serialize) {
    plain(into, document);
    let end = into.len() - 1;
    into.truncate(end);
    plain(into, more);
    // The opening brace of the other object stands where the document's closing one was.
    into[end] = b',';
}

/// A child with its ordinal.
pub(crate) fn child(into: &mut Vec<u8>, document: &impl Serialize, ordinal: u64) {
    #[derive(Serialize)]
    struct Asked {
        q: Place,
    }
    #[derive(Serialize)]
    struct Place {
        ordinal: u64,
    }
    with(into, document, &Asked { q: Place { ordinal } });
}

/// What stays where a document was.
pub(crate) fn gone(into: &mut Vec<u8>, key: &str, repository: u64) {
    plain(into, &json!({"key": key, "repository_id": repository, "deleted": true, "q": {"gone": true}}));
}

/// What stands in an index of what is public where a document is not: a tombstone that still says, of an item, how many
/// children the index ever had.
pub(crate) fn hidden(into: &mut Vec<u8>, key: &str, repository: u64, children: Option<Children>) {
    let children = children.map(|children| json!({"digest": "", "children": children}));
    let grave =
        json!({"key": key, "repository_id": repository, "deleted": true, "q": {"gone": true}, "meta": children});
    plain(into, &grave);
}

/// What an item's document has beside its own fields.
#[derive(Serialize)]
struct Beside<'a> {
    q: Prepared<'a>,
    said: Vec<&'a str>,
    history: Vec<Span<'a>>,
    meta: Meta<'a>,
}

#[derive(Serialize)]
struct Meta<'a> {
    digest: &'a str,
    children: Children,
}

/// An interval, asked by its names then and now.
#[derive(Serialize)]
struct Span<'a> {
    dimension: &'a str,
    value: Vec<String>,
    during: During,
}

/// In milliseconds.
#[derive(Serialize)]
struct During {
    gte: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lt: Option<i64>,
}

/// An item's document.
pub(crate) fn item(into: &mut Vec<u8>, thread: &ThreadDocuments, children: Children) {
    let beside = Beside {
        q: Prepared(&thread.item),
        said: said(&thread.comments),
        history: thread.intervals.iter().rev().take(MOST_SPANS).filter_map(span).collect(),
        meta: Meta { digest: &thread.digest, children },
    };
    with(into, &thread.item, &beside);
}

/// What queries ask of an item.
struct Prepared<'a>(&'a ItemDocument);

impl Serialize for Prepared<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let item = self.0;
        let mut asked = serializer.serialize_map(None)?;
        for field in Keyword::ALL {
            let values: Vec<String> = fields::keywords(item, field).iter().map(|value| value.to_lowercase()).collect();
            asked.serialize_entry(&keyword_name(field), &values)?;
        }
        for field in Number::ALL {
            asked.serialize_entry(&number_name(field), &fields::number(item, field))?;
        }
        for field in Time::ALL {
            asked.serialize_entry(&time_name(field), &fields::time(item, field).map(|at| at.as_microsecond()))?;
        }
        let flags: Vec<_> = Flag::ALL.into_iter().filter(|flag| fields::flag(item, *flag)).map(flag_name).collect();
        asked.serialize_entry("flags", &flags)?;
        asked.serialize_entry("exact_title", &exact_title(&item.title))?;
        asked.serialize_entry("number_text", &item.number.to_string())?;
        asked.end()
    }
}

fn said(comments: &[CommentDocument]) -> Vec<&str> {
    let mut room = MOST_SAID;
    let fits = |comment: &&CommentDocument| {
        room = room.saturating_sub(comment.body.len());
        room > 0
    };
    comments.iter().take_while(fits).map(|comment| comment.body.as_str()).collect()
}

/// The engine knows milliseconds, and refuses a span without length.
fn span(interval: &IntervalDocument) -> Option<Span<'_>> {
    let (gte, lt) = (interval.from.as_millisecond(), interval.to.map(|to| to.as_millisecond()));
    if lt.is_some_and(|lt| lt <= gte) {
        return None;
    }
    let mut value = vec![interval.value.to_lowercase()];
    value.extend(interval.value_now.as_ref().map(|now| now.to_lowercase()));
    Some(Span { dimension: &interval.dimension, value, during: During { gte, lt } })
}

/// A stored source without what is the engine's.
pub(crate) fn own(source: &Value) -> Value {
    let mut own = source.clone();
    if let Value::Object(fields) = &mut own {
        fields.retain(|name, _| !OWN_FIELDS.contains(&name.as_str()));
    }
    own
}
