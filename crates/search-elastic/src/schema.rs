//! Indices: names, settings and strict mappings.
//!
//! Each sort of document has three aliases: `{prefix}-items` for readers and Kibana, without tombstones;
//! `{prefix}-items-all` with all, which is written and read back; and `{prefix}-items-next` while an index is being built.
//! Concrete indices are named `{prefix}-items-v{mapping}-{build}`, and carry in `_meta` the archive they are made of. One
//! that was built beside another has two names more, `{prefix}-build-{build}-items` and `{prefix}-build-{build}-items-all`:
//! whoever writes to what is being built uses those, so that a write can come neither to an index that was built later
//! nor, once this one serves, too late. They stay as long as the index.
//!
//! Where the operator wants them, there are indices of what is public as well: the same again, with `items-public` in the
//! place of `items`. In them what is private is a tombstone, so nothing of it can be read there in whatever way. Their
//! readers have `{prefix}-public-items`, the one name of theirs that begins so: whoever may read such names and no other
//! gets the tombstones by their ids at most.
//!
//! A document is what `gharvest_search::document` says, and beside it `q`: what queries ask, prepared (values in lower
//! case, times in microseconds, numbers), so that every engine answers alike; `said`: the texts of an item's comments;
//! `history`: its intervals. Those three are indexed and not stored. `meta` is stored and not indexed: the digest of the
//! thread, and the most children that it ever had.

use gharvest_search::query::tree::{Flag, Keyword, Number, Time};
use serde_json::{Map, Value, json};

/// The version of the mappings; an index of an older one is rebuilt.
pub(crate) const MAPPING: u64 = 3;

/// The sorts of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Sort {
    Items,
    Comments,
    Events,
    Intervals,
    Daily,
    Repositories,
    Releases,
}

impl Sort {
    pub(crate) const ALL: [Self; 7] =
        [Self::Items, Self::Comments, Self::Events, Self::Intervals, Self::Daily, Self::Repositories, Self::Releases];
    /// Those that belong to a thread, below its item; with the letter of their ids.
    pub(crate) const CHILDREN: [(Self, char); 3] = [(Self::Comments, 'c'), (Self::Events, 'e'), (Self::Intervals, 'i')];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Items => "items",
            Self::Comments => "comments",
            Self::Events => "events",
            Self::Intervals => "intervals",
            Self::Daily => "daily",
            Self::Repositories => "repositories",
            Self::Releases => "releases",
        }
    }

    pub(crate) fn properties(self) -> Value {
        match self {
            Self::Items => items(),
            Self::Comments => merged(&[child(), comments()]),
            Self::Events => merged(&[child(), events()]),
            Self::Intervals => merged(&[child(), intervals()]),
            Self::Daily => merged(&[common(), daily()]),
            Self::Repositories => merged(&[common(), repositories()]),
            Self::Releases => merged(&[common(), releases()]),
        }
    }
}

/// Names of aliases and indices.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) prefix: String,
    /// When the index was begun, in milliseconds: for what was built beside another and goes by names of its own.
    pub(crate) build: Option<i64>,
    /// Of what is public alone.
    pub(crate) is_public: bool,
}

impl Names {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), build: None, is_public: false }
    }

    /// The names of an index that is built beside the one of these.
    pub(crate) fn of_build(&self, build: i64) -> Self {
        Self { build: Some(build), ..self.clone() }
    }

    /// The names of what is public of the same.
    pub(crate) fn of_public(&self) -> Self {
        Self { is_public: true, ..self.clone() }
    }

    fn sort(&self, sort: Sort) -> String {
        let public = if self.is_public { PUBLIC } else { "" };
        format!("{}{public}", sort.name())
    }

    fn beginning(&self) -> String {
        match self.build {
            Some(build) => format!("{}-build-{build}", self.prefix),
            None => self.prefix.clone(),
        }
    }

    /// For readers: no tombstones.
    pub(crate) fn visible(&self, sort: Sort) -> String {
        match self.build {
            None if self.is_public => format!("{}-public-{}", self.prefix, sort.name()),
            _ => format!("{}-{}", self.beginning(), self.sort(sort)),
        }
    }

    /// For writing and reading back.
    pub(crate) fn all(&self, sort: Sort) -> String {
        format!("{}-{}-all", self.beginning(), self.sort(sort))
    }

    /// What is being built; nothing is written under this name.
    pub(crate) fn next(&self, sort: Sort) -> String {
        format!("{}-{}-next", self.prefix, self.sort(sort))
    }

    pub(crate) fn concrete(&self, sort: Sort, build: i64) -> String {
        format!("{}-{}-v{MAPPING}-{build}", self.prefix, self.sort(sort))
    }

    /// Whether a concrete index of any mapping is one of a sort of these.
    pub(crate) fn is_of(&self, sort: Sort, concrete: &str) -> bool {
        concrete.starts_with(&format!("{}-{}-v", self.prefix, self.sort(sort)))
    }

    /// The build in the name of a concrete index.
    pub(crate) fn build_of(concrete: &str) -> Option<i64> {
        concrete.rsplit_once('-')?.1.parse().ok()
    }

    /// A pattern of all our indices of documents, of any mapping: neither the log of operations nor indices of another
    /// installation whose prefix begins with ours.
    pub(crate) fn own(&self) -> String {
        let of = |sort: Sort| ["", PUBLIC].map(|public| format!("{}-{}{public}-v*", self.prefix, sort.name()));
        Sort::ALL.map(of).concat().join(",")
    }
}

const PUBLIC: &str = "-public";

/// What the aliases for readers leave out.
pub(crate) fn visible_filter() -> Value {
    json!({"bool": {"must_not": [{"term": {"deleted": true}}, {"term": {"q.gone": true}}]}})
}

/// The body that makes an index.
pub(crate) fn index(sort: Sort, archive: &str, aliases: Map<String, Value>) -> Value {
    json!({
        "settings": {"index": {
            "number_of_shards": 1,
            "auto_expand_replicas": "0-1",
            "refresh_interval": "5s",
            "analysis": analysis(),
        }},
        "mappings": {
            "dynamic": "strict",
            "_meta": {"gharvest": {"archive": archive, "mapping": MAPPING}},
            "_source": {"excludes": ["q", "said", "history"]},
            "properties": sort.properties(),
        },
        "aliases": aliases,
    })
}

/// What `gharvest_search::tokens` does, in the engine's words.
fn analysis() -> Value {
    json!({
        "filter": {
            "parts": {"type": "word_delimiter_graph", "split_on_case_change": true, "split_on_numerics": false, "stem_english_possessive": true},
            "trim_marks": {"type": "pattern_replace", "pattern": "^[^\\p{L}\\p{N}]+|[^\\p{L}\\p{N}+#]+$", "replacement": ""},
            "english_stem": {"type": "stemmer", "language": "english"},
            "length_100": {"type": "length", "min": 1, "max": 100},
        },
        "analyzer": {
            "words": {"type": "custom", "tokenizer": "standard", "filter": ["parts", "length_100", "lowercase", "asciifolding", "english_stem"]},
            "ident": {"type": "custom", "tokenizer": "whitespace", "filter": ["trim_marks", "length_100", "lowercase"]},
        },
    })
}

pub(crate) fn keyword() -> Value {
    json!({"type": "keyword", "ignore_above": 1024})
}

fn text() -> Value {
    json!({"type": "text", "analyzer": "words", "fields": {
        "ident": {"type": "text", "analyzer": "ident", "norms": false, "index_options": "docs"},
    }})
}

pub(crate) fn of(kind: &str) -> Value {
    json!({"type": kind})
}

/// Not indexed, kept as it is: the engine does not even look at names and types in it, so none of them is refused.
fn stored() -> Value {
    json!({"type": "object", "enabled": false})
}

pub(crate) fn merged(parts: &[Value]) -> Value {
    let fields = parts.iter().filter_map(Value::as_object).flatten();
    Value::Object(fields.map(|(name, field)| (name.clone(), field.clone())).collect())
}

pub(crate) fn fields(names: &[&str], field: &Value) -> Value {
    Value::Object(names.iter().map(|name| ((*name).to_owned(), field.clone())).collect())
}

/// Of every document.
fn common() -> Value {
    merged(&[
        json!({
            "q": {"properties": {"gone": of("boolean"), "ordinal": of("integer")}},
            "meta": stored(),
            "repository_id": of("long"),
        }),
        fields(&["key", "repository"], &keyword()),
        fields(&["private", "deleted"], &of("boolean")),
    ])
}

fn child() -> Value {
    merged(&[common(), fields(&["item", "kind"], &keyword()), fields(&["number", "revision"], &of("long"))])
}

fn items() -> Value {
    merged(&[
        child(),
        json!({
            "title": text_with_raw(),
            "body": text(),
            "said": text(),
            "label_colors": {"type": "keyword", "index": false, "doc_values": false},
            "history": {"type": "nested", "properties": {
                "dimension": of("keyword"), "value": of("keyword"), "during": of("date_range"),
            }},
            "q": {"properties": prepared()},
            "extra": stored(),
        }),
        fields(
            &[
                "state",
                "state_reason",
                "author",
                "author_association",
                "labels",
                "labels_ever",
                "assignees",
                "milestone",
            ],
            &keyword(),
        ),
        fields(
            &["closed_by", "head", "base", "refs", "shas", "paths", "mentions", "commenters", "reviewers"],
            &keyword(),
        ),
        fields(&["review_requested", "review", "actors", "waiting_on"], &keyword()),
        fields(&["draft", "locked", "archived", "author_is_bot", "linked"], &of("boolean")),
        fields(&["created_at", "updated_at", "closed_at", "merged_at", "fetched_at"], &of("date")),
        fields(
            &["comments", "reviews", "review_comments", "reactions", "interactions", "participants", "reopens"],
            &of("long"),
        ),
        fields(&["comment_documents", "event_documents", "interval_documents"], &of("long")),
        fields(&["h_first_response", "h_first_maintainer_response", "h_to_triage", "h_to_close"], &of("float")),
        fields(&["h_to_merge", "h_to_first_review", "h_open_total"], &of("float")),
    ])
}

fn text_with_raw() -> Value {
    json!({"type": "text", "analyzer": "words", "fields": {
        "ident": {"type": "text", "analyzer": "ident", "norms": false, "index_prefixes": {"min_chars": 1, "max_chars": 10}},
        "raw": {"type": "keyword", "ignore_above": 1024},
    }})
}

/// What queries ask, a field for each of the tree's.
fn prepared() -> Value {
    let mut properties = Map::new();
    properties.insert("gone".into(), of("boolean"));
    properties.insert("ordinal".into(), of("integer"));
    properties.insert("exact_title".into(), json!({"type": "keyword", "ignore_above": 8192, "doc_values": false}));
    properties.insert("number_text".into(), of("keyword"));
    properties.insert("flags".into(), of("keyword"));
    for field in Keyword::ALL {
        // Tails of paths can be longer than a name.
        properties.insert(keyword_name(field), json!({"type": "keyword", "ignore_above": 4096}));
    }
    for field in Number::ALL {
        properties.insert(number_name(field), of("double"));
    }
    for field in Time::ALL {
        properties.insert(time_name(field), of("long"));
    }
    Value::Object(properties)
}

fn comments() -> Value {
    merged(&[
        json!({"title": text(), "body": text(), "id": of("long"), "reactions": of("long"), "extra": stored()}),
        fields(&["part", "author", "author_association", "review_state", "path"], &keyword()),
        fields(&["created_at", "updated_at"], &of("date")),
        fields(&["author_is_bot"], &of("boolean")),
    ])
}

fn events() -> Value {
    merged(&[
        fields(&["event", "actor", "label", "value"], &keyword()),
        json!({"actor_is_bot": of("boolean"), "created_at": of("date"), "extra": stored()}),
    ])
}

fn intervals() -> Value {
    merged(&[
        fields(&["dimension", "value", "value_now", "by"], &keyword()),
        fields(&["from", "to"], &of("date")),
        json!({"inferred": of("boolean"), "hours": of("float")}),
    ])
}

fn daily() -> Value {
    merged(&[
        fields(&["dimension", "value", "kind"], &keyword()),
        fields(&["open", "opened", "closed", "merged", "reopened", "version"], &of("long")),
        json!({"day": {"type": "date", "format": "strict_date"}}),
    ])
}

fn repositories() -> Value {
    merged(&[
        fields(&["topics", "language"], &keyword()),
        fields(&["stars", "forks", "open_items", "version"], &of("long")),
        fields(&["created_at", "pushed_at", "fetched_at"], &of("date")),
        json!({"description": text(), "archived": of("boolean")}),
    ])
}

fn releases() -> Value {
    merged(&[
        fields(&["tag", "author"], &keyword()),
        fields(&["created_at", "published_at"], &of("date")),
        json!({"name": text(), "body": text(), "prerelease": of("boolean"), "version": of("long")}),
    ])
}

/// A field below `q`, without it.
pub(crate) fn keyword_name(field: Keyword) -> String {
    format!("k_{field:?}").to_lowercase()
}

pub(crate) fn number_name(field: Number) -> String {
    format!("n_{field:?}").to_lowercase()
}

pub(crate) fn time_name(field: Time) -> String {
    format!("t_{field:?}").to_lowercase()
}

pub(crate) fn flag_name(flag: Flag) -> String {
    format!("{flag:?}").to_lowercase()
}
