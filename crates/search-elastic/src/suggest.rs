//! Completions while typing: values of a qualifier with exact counts, and items; and items like another.

use std::time::Duration;

use elasticsearch::http::Method;
use gharvest_model::ItemId;
use gharvest_search::{
    Access, Hit, ItemSuggestion, Result, Suggestion,
    document::ItemDocument,
    query::{fields, suggest::SuggestRequest, tree::Keyword},
    tokens,
};
use serde_json::{Value, json};

use crate::{
    ElasticIndex,
    client::json_body,
    lower,
    read::{document, hits},
    schema::Sort,
};

/// The longest prefix that is completed, in bytes.
const LONGEST_PREFIX: usize = 200;
/// How much of a body is compared with others, in bytes.
const LOOKED_AT: usize = 16 << 10;
/// How many of its words are compared with others.
const MOST_WORDS: usize = 25;
const TIMEOUT: Duration = Duration::from_secs(5);

/// The field whose values complete a qualifier, and what they are called.
fn field_of(qualifier: &str) -> Option<(Keyword, &'static str)> {
    Some(match qualifier {
        "label" => (Keyword::Label, "label"),
        "milestone" => (Keyword::Milestone, "milestone"),
        "repo" | "org" | "user" => (Keyword::Repository, "repository"),
        "author" | "involves" => (Keyword::Author, "author"),
        "assignee" => (Keyword::Assignee, "assignee"),
        "commenter" => (Keyword::Commenter, "commenter"),
        "mentions" => (Keyword::Mention, "mentions"),
        "reviewed-by" => (Keyword::Reviewer, "reviewed-by"),
        "review-requested" => (Keyword::ReviewRequested, "review-requested"),
        "touched-by" => (Keyword::Actor, "touched-by"),
        "head" => (Keyword::Head, "head"),
        "base" => (Keyword::Base, "base"),
        _ => return None,
    })
}

impl ElasticIndex {
    pub(crate) async fn complete(
        &self,
        request: &SuggestRequest,
        access: &Access,
        limit: usize,
    ) -> Result<Vec<Suggestion>> {
        let prefix = request.prefix.trim().to_lowercase();
        if prefix.len() > LONGEST_PREFIX || limit == 0 {
            return Ok(Vec::new());
        }
        match &request.qualifier {
            Some(qualifier) => match field_of(qualifier) {
                Some(field) => self.values(&[field], prefix.trim_start_matches('@'), access, limit).await,
                None => Ok(Vec::new()),
            },
            None if prefix.is_empty() => Ok(Vec::new()),
            None => self.anything(&prefix, &request.prefix, access, limit).await,
        }
    }

    /// For a bare word: some values of each kind, and items for what room is left; at least half of it.
    async fn anything(&self, prefix: &str, typed: &str, access: &Access, limit: usize) -> Result<Vec<Suggestion>> {
        let kinds = [
            (Keyword::Label, "label"),
            (Keyword::Author, "author"),
            (Keyword::Milestone, "milestone"),
            (Keyword::Repository, "repository"),
        ];
        let mut found = self.values(&kinds, prefix, access, (limit / 8).max(1)).await?;
        found.truncate(limit / 2);
        let room = limit - found.len();
        found.extend(self.items(typed, access, room).await?);
        Ok(found)
    }

    /// Values that begin so, most frequent first, equal ones in the order of their letters; as an item spells them.
    async fn values(
        &self,
        kinds: &[(Keyword, &'static str)],
        prefix: &str,
        access: &Access,
        limit: usize,
    ) -> Result<Vec<Suggestion>> {
        let aggregation = |keyword: Keyword| {
            let mut terms = json!({
                "field": lower::keyword(keyword), "size": limit, "order": [{"_count": "desc"}, {"_key": "asc"}],
            });
            if !prefix.is_empty() {
                terms["include"] = pattern(keyword, prefix).into();
            }
            json!({"terms": terms, "aggs": {"one": {"top_hits": {"size": 1, "_source": {"excludes": ["meta", "extra"]}}}}})
        };
        let aggregations: serde_json::Map<String, Value> =
            kinds.iter().map(|(keyword, kind)| ((*kind).to_owned(), aggregation(*keyword))).collect();
        let body = json!({"size": 0, "query": {"bool": {"filter": lower::visible(access)}}, "aggs": aggregations});
        let answer = self.ask_items(&body, TIMEOUT).await?;
        let mut found = Vec::new();
        for (keyword, kind) in kinds {
            let buckets = answer.pointer(&format!("/aggregations/{kind}/buckets")).and_then(Value::as_array);
            for bucket in buckets.into_iter().flatten() {
                let term = bucket.get("key").and_then(Value::as_str).unwrap_or_default();
                let item: Option<ItemDocument> = bucket.pointer("/one/hits/hits/0").map(document).transpose()?;
                let spelled = item
                    .iter()
                    .flat_map(|item| fields::keywords(item, *keyword))
                    .find(|value| value.to_lowercase() == term);
                found.push(Suggestion {
                    kind: (*kind).to_owned(),
                    value: spelled.unwrap_or_else(|| term.to_owned()),
                    count: bucket.get("doc_count").and_then(Value::as_u64),
                    item: None,
                });
            }
        }
        Ok(found)
    }

    /// Items whose number begins so, or whose title has the words, the last one begun; latest updated first.
    async fn items(&self, typed: &str, access: &Access, limit: usize) -> Result<Vec<Suggestion>> {
        let number = typed.trim().trim_start_matches('#');
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let mut filter = lower::visible(access);
        if is_number {
            filter.push(json!({"prefix": {"q.number_text": number}}));
        } else {
            let words = title(typed);
            if words.is_empty() {
                return Ok(Vec::new());
            }
            filter.extend(words);
        }
        let body = json!({
            "size": limit,
            "query": {"bool": {"filter": filter}},
            "sort": [{"q.t_updated": "desc"}, {"repository_id": "desc"}, {"number": "desc"}],
            "_source": {"excludes": ["meta", "extra", "body"]},
            "fields": [],
        });
        let found = hits(self.ask_items(&body, TIMEOUT).await?);
        let suggestion = |hit: &Value| {
            let text = |name: &str| {
                hit.pointer(&format!("/_source/{name}")).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let number = hit.pointer("/_source/number").and_then(Value::as_u64).unwrap_or_default();
            let item = ItemSuggestion { repository: text("repository"), number, title: text("title") };
            Suggestion { kind: "item".to_owned(), value: text("title"), count: None, item: Some(item) }
        };
        Ok(found.iter().map(suggestion).collect())
    }

    /// Items that share the rarest words of another; none where the caller may not see it.
    pub(crate) async fn alike(&self, item: ItemId, access: &Access, limit: usize) -> Result<Vec<Hit>> {
        let key = format!("{}:{}", item.repository, item.number);
        let mut itself = lower::visible(access);
        itself.push(json!({"term": {"key": key}}));
        let own = self.ask_items(&json!({"size": 1, "query": {"bool": {"filter": itself}}}), TIMEOUT).await?;
        let Some(like) = hits(own).first().map(document::<ItemDocument>).transpose()? else { return Ok(Vec::new()) };
        let words = self.telling_words(&like).await?;
        let shared = json!({"bool": {
            "should": words.iter().map(|(word, weight)| in_any_part(word, *weight)).collect::<Vec<_>>(),
            "minimum_should_match": words.len().clamp(1, 2),
            "filter": lower::visible(access),
            "must_not": [{"term": {"key": key}}],
        }});
        let body = json!({
            "size": limit,
            "query": of_the_same_kind(&like, discussed(shared)),
            "sort": ["_score", {"repository_id": "desc"}, {"number": "desc"}],
            "_source": {"excludes": ["meta"]},
        });
        let found = hits(self.ask_items(&body, TIMEOUT).await?);
        let hit = |hit: &Value| {
            let score = hit.get("_score").and_then(Value::as_f64).unwrap_or_default() as f32;
            Ok(Hit { item: document(hit)?, score, snippet: None })
        };
        found.iter().map(hit).collect()
    }

    /// The words that tell an item from others: frequent in it, most of all in its title, and rare elsewhere. Each with
    /// how much it is spoken of.
    async fn telling_words(&self, like: &ItemDocument) -> Result<Vec<(String, f64)>> {
        let end = (0..=LOOKED_AT.min(like.body.len())).rev().find(|at| like.body.is_char_boundary(*at)).unwrap_or(0);
        let text = format!("{0}\n{0}\n{0}\n{1}", like.title, &like.body[..end]);
        let asked = json!({
            "doc": {"body": text, "title": text}, "fields": ["body", "title"], "offsets": false, "positions": false, "field_statistics": false,
            "filter": {"max_num_terms": MOST_WORDS, "min_term_freq": 1, "min_doc_freq": 2, "min_word_length": 2},
        });
        let path = format!("/{}/_termvectors", self.generations.names.visible(Sort::Items));
        let answer =
            self.generations.client.ask("similar", Method::Post, &path, Some(json_body(&asked)), TIMEOUT).await?;
        let answer = answer.success("similar")?;
        // Logs repeat themselves: the tenth time says little more than the first.
        let weight = |term: &Value| 1.0 + term.get("term_freq").and_then(Value::as_f64).unwrap_or(1.0).max(1.0).ln();
        let mut words: Vec<(String, f64)> = Vec::new();
        // How rare a word is, bodies say best; where they are short or silent, titles do.
        for field in ["body", "title"] {
            let terms = answer.pointer(&format!("/term_vectors/{field}/terms")).and_then(Value::as_object);
            for (word, term) in terms.into_iter().flatten() {
                if words.len() < MOST_WORDS && words.iter().all(|(known, _)| known != word) {
                    words.push((word.clone(), weight(term)));
                }
            }
        }
        Ok(words)
    }
}

/// A word wherever it stands: what a duplicate calls by another name is often called so in comments on the original.
fn in_any_part(word: &str, weight: f64) -> Value {
    let places = [("title", 3.0), ("body", 1.0), ("said", 0.5)];
    let places = places.map(|(field, boost)| json!({"term": {field: {"value": word, "boost": boost * weight}}}));
    json!({"bool": {"should": places}})
}

/// People look for the original of a duplicate, and that one is discussed.
fn discussed(query: Value) -> Value {
    json!({"function_score": {
        "query": query,
        "functions": [
            {"weight": 1.0},
            {"field_value_factor": {"field": "interactions", "modifier": "ln1p", "missing": 0}, "weight": 0.1},
        ],
        "score_mode": "sum",
        "boost_mode": "multiply",
    }})
}

/// An item of the other kind is worth less.
fn of_the_same_kind(like: &ItemDocument, query: Value) -> Value {
    let other = json!({"bool": {"must_not": [{"term": {"kind": like.kind.as_str()}}]}});
    json!({"function_score": {
        "query": query,
        "functions": [{"filter": other, "weight": 0.7}],
        "boost_mode": "multiply",
    }})
}

/// A pattern of the engine for terms that begin so; a repository also by its name.
fn pattern(keyword: Keyword, prefix: &str) -> String {
    let mut escaped = String::new();
    for character in prefix.chars() {
        if !character.is_alphanumeric() {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    if keyword == Keyword::Repository { format!("(.*/)?{escaped}.*") } else { format!("{escaped}.*") }
}

/// Conditions on titles: every word, the last one begun. Stemming may have cut the end of a word, never that of an
/// identifier.
fn title(typed: &str) -> Vec<Value> {
    let trimmed = typed.trim_end();
    let (done, last) = trimmed.rsplit_once(char::is_whitespace).unwrap_or(("", trimmed));
    let whole = done.split_whitespace().filter(|word| tokens::words(word).next().is_some());
    let mut conditions: Vec<Value> = whole.map(|word| json!({"match_phrase": {"title": word}})).collect();
    let last = last.to_lowercase();
    let last = last.trim_matches(|c: char| !c.is_alphanumeric());
    if !last.is_empty() {
        let either = ["title", "title.ident"].map(|field| json!({"prefix": {field: last}}));
        conditions.push(json!({"bool": {"should": either, "minimum_should_match": 1}}));
    }
    conditions
}
