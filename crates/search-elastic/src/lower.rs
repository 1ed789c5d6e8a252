//! From the query tree to the engine's queries.
//!
//! Conditions ask the prepared fields below `q`, and add nothing to the score. Only words have one: a word counts most
//! where it stands in the title, less in the body, least in comments, and more where it was typed as the whole
//! identifier that stands there.

use std::ops::Bound;

use gharvest_model::RepositoryId;
use gharvest_search::{
    Access,
    marks::{exact_title, whole_text},
    query::tree::{Held, Keyword, Node, Range, Text},
    tokens,
};
use serde_json::{Map, Value, json};

use crate::schema::{flag_name, keyword_name, number_name, time_name};

/// What a word is worth in each place: (words, identifier).
const TITLE: (f32, f32) = (4.0, 6.0);
const BODY: (f32, f32) = (1.0, 2.0);
const COMMENTS: (f32, f32) = (0.4, 0.8);
/// What it is worth that the words are the whole title: more than any sum of the above.
const EXACT_TITLE: f32 = 200.0;
/// From so many words on, identifiers that are plain words are not asked apart: engines take 1,024 clauses.
const MANY_WORDS: usize = 100;

/// A whole search: the tree, what the caller may see, and the bonus for an exact title.
pub(crate) fn search(node: &Node, access: &Access) -> Value {
    let lowering = Lowering { saves_clauses: words(node) > MANY_WORDS };
    let mut query = json!({"bool": {"must": [lowering.node(node)], "filter": visible(access)}});
    let whole = exact_title(&whole_text(node));
    if !whole.is_empty() {
        let title = json!({"term": {"q.exact_title": whole}});
        query["bool"]["should"] = json!([{"constant_score": {"filter": title, "boost": EXACT_TITLE}}]);
    }
    query
}

/// What the caller may see; tombstones are left out by the alias.
pub(crate) fn visible(access: &Access) -> Vec<Value> {
    let public = json!({"term": {"private": false}});
    match access {
        Access::All => Vec::new(),
        Access::Public => vec![public],
        Access::Some { and, except } => {
            let of = |repositories: &[RepositoryId]| {
                let ids: Vec<u64> = repositories.iter().map(|repository| repository.0).collect();
                json!({"terms": {"repository_id": ids}})
            };
            let mut visible = json!({"bool": {"should": [public, of(and)], "minimum_should_match": 1}});
            if !except.is_empty() {
                visible["bool"]["must_not"] = of(except);
            }
            vec![visible]
        }
    }
}

fn words(node: &Node) -> usize {
    match node {
        Node::Text(_) => 1,
        Node::And(members) | Node::Or(members) => members.iter().map(words).sum(),
        Node::Not(inner) => words(inner),
        _ => 0,
    }
}

/// A condition that adds nothing to the score.
fn condition(query: &Value) -> Value {
    json!({"constant_score": {"filter": query, "boost": 0.0}})
}

fn everything() -> Value {
    condition(&json!({"match_all": {}}))
}

/// Names below `q`.
pub(crate) fn asked(name: &str) -> String {
    format!("q.{name}")
}

pub(crate) fn keyword(field: Keyword) -> String {
    asked(&keyword_name(field))
}

fn one(kind: &str, field: String, value: Value) -> Value {
    json!({kind: Map::from_iter([(field, value)])})
}

struct Lowering {
    saves_clauses: bool,
}

impl Lowering {
    fn node(&self, node: &Node) -> Value {
        match node {
            Node::All => everything(),
            Node::Nothing => condition(&json!({"match_none": {}})),
            Node::And(members) if members.is_empty() => everything(),
            Node::Or(members) if members.is_empty() => condition(&json!({"match_none": {}})),
            Node::And(members) => json!({"bool": {"must": self.members(members)}}),
            Node::Or(members) => json!({"bool": {"should": self.members(members), "minimum_should_match": 1}}),
            Node::Not(inner) => self.not(inner),
            Node::Text(text) => self.text(text),
            Node::Is(field, value) => condition(&one("term", keyword(*field), json!(value))),
            Node::Starts(field, prefix) => condition(&one("prefix", keyword(*field), json!(prefix))),
            Node::Any(field) => condition(&json!({"exists": {"field": keyword(*field)}})),
            Node::Flag(flag) => condition(&json!({"term": {"q.flags": flag_name(*flag)}})),
            Node::Number(number, range) => {
                condition(&between(asked(&number_name(*number)), range, |value| json!(value)))
            }
            Node::Time(time, range) => {
                condition(&between(asked(&time_name(*time)), range, |at| json!(at.as_microsecond())))
            }
            Node::Held(held) => condition(&spans(held)),
        }
    }

    fn members(&self, members: &[Node]) -> Vec<Value> {
        members.iter().map(|member| self.node(member)).collect()
    }

    /// Doubly negated is asked as it is: engines allow about thirty levels.
    fn not(&self, inner: &Node) -> Value {
        match inner {
            Node::Not(inner) => condition(&self.node(inner)),
            inner => condition(&json!({"bool": {"must_not": [self.node(inner)]}})),
        }
    }

    fn text(&self, text: &Text) -> Value {
        let words: Vec<_> = tokens::words(&text.text).collect();
        let mut identifier = if text.exact { None } else { tokens::ident(&text.text).next() };
        if self.saves_clauses && text.text.bytes().all(|byte| byte.is_ascii_lowercase()) {
            identifier = None;
        }
        if words.is_empty() && identifier.is_none() {
            return everything();
        }
        let places = [
            (text.parts.title, "title", TITLE),
            (text.parts.body, "body", BODY),
            (text.parts.comments, "said", COMMENTS),
        ];
        let mut clauses = Vec::new();
        for (_, field, (words_boost, identifier_boost)) in places.into_iter().filter(|(asked, ..)| *asked) {
            if !words.is_empty() {
                clauses.push(one("match_phrase", field.to_owned(), json!({"query": text.text, "boost": words_boost})));
            }
            if let Some(identifier) = &identifier {
                let whole = json!({"value": identifier.text, "boost": identifier_boost});
                clauses.push(one("term", format!("{field}.ident"), whole));
            }
        }
        json!({"bool": {"should": clauses, "minimum_should_match": 1}})
    }
}

/// Values between bounds; without bounds, whatever has a value.
fn between<T>(field: String, range: &Range<T>, value: impl Fn(&T) -> Value) -> Value {
    let mut bounds = Map::new();
    match &range.from {
        Bound::Included(from) => bounds.insert("gte".into(), value(from)),
        Bound::Excluded(from) => bounds.insert("gt".into(), value(from)),
        Bound::Unbounded => None,
    };
    match &range.to {
        Bound::Included(to) => bounds.insert("lte".into(), value(to)),
        Bound::Excluded(to) => bounds.insert("lt".into(), value(to)),
        Bound::Unbounded => None,
    };
    if bounds.is_empty() { json!({"exists": {"field": field}}) } else { one("range", field, bounds.into()) }
}

fn spans(held: &Held) -> Value {
    let mut filter =
        vec![json!({"term": {"history.dimension": held.dimension}}), json!({"term": {"history.value": held.value}})];
    filter.extend(held.at.map(|at| json!({"term": {"history.during": at.as_millisecond()}})));
    json!({"nested": {"path": "history", "query": {"bool": {"filter": filter}}}})
}
