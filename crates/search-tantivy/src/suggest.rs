//! Completions while typing: values of a qualifier with exact counts, and items.
//!
//! Values that begin as typed come from the dictionary of the field's terms. The dictionary counts what is deleted or
//! private as well, so its counts are only upper bounds: values are counted exactly in the order of their bounds,
//! until no bound can reach the worst that is kept.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use gharvest_search::{
    Access, ItemSuggestion, Result, Suggestion,
    query::{
        fields,
        suggest::SuggestRequest,
        tree::{Keyword, Time},
    },
    tokens,
};
use tantivy::{
    DocAddress, DocSet, Searcher, TERMINATED, Term,
    query::{BooleanQuery, EnableScoring, Occur, Query, TermQuery},
    schema::IndexRecordOption,
};

use crate::{
    error::{corrupt, from_tantivy},
    lower::{Lowering, consecutive},
    schema::{Fields, time_name},
    search,
};

/// The longest prefix that is completed, in bytes.
const LONGEST_PREFIX: usize = 200;
/// When more terms of titles than this begin as typed, the latest titles are read before the terms are joined.
const MANY_TERMS: usize = 500;
/// How many titles are read then: where so many terms begin so, few titles have none of them.
const LOOKED_AT: usize = 100;

/// Completes what is being typed.
pub(crate) fn suggest(
    searcher: &Searcher,
    fields: &Fields,
    request: &SuggestRequest,
    access: &Access,
    limit: usize,
) -> Result<Vec<Suggestion>> {
    let suggester = Suggester { searcher, fields, access };
    let prefix = request.prefix.trim().to_lowercase();
    if prefix.len() > LONGEST_PREFIX || limit == 0 {
        return Ok(Vec::new());
    }
    match &request.qualifier {
        Some(qualifier) => match field_of(qualifier) {
            Some((keyword, kind)) => suggester.values(keyword, kind, prefix.trim_start_matches('@'), limit),
            None => Ok(Vec::new()),
        },
        None if prefix.is_empty() => Ok(Vec::new()),
        None => suggester.anything(&prefix, &request.prefix, limit),
    }
}

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

fn all_of(queries: Vec<Box<dyn Query>>) -> BooleanQuery {
    BooleanQuery::new(queries.into_iter().map(|query| (Occur::Must, query)).collect())
}

struct Suggester<'a> {
    searcher: &'a Searcher,
    fields: &'a Fields,
    access: &'a Access,
}

impl Suggester<'_> {
    /// For a bare word: some values of each kind, and items for what room is left; at least half of it.
    fn anything(&self, prefix: &str, typed: &str, limit: usize) -> Result<Vec<Suggestion>> {
        let kinds = [
            (Keyword::Label, "label"),
            (Keyword::Author, "author"),
            (Keyword::Milestone, "milestone"),
            (Keyword::Repository, "repository"),
        ];
        let mut found = Vec::new();
        for (keyword, kind) in kinds {
            found.extend(self.values(keyword, kind, prefix, (limit / 8).max(1))?);
        }
        found.truncate(limit / 2);
        found.extend(self.items(typed, limit - found.len())?);
        Ok(found)
    }

    /// Values that begin so, most frequent first, equal ones in the order of their letters.
    fn values(&self, keyword: Keyword, kind: &str, prefix: &str, limit: usize) -> Result<Vec<Suggestion>> {
        let bounds = self.bounds(keyword, prefix)?;
        let visible = Lowering { fields: self.fields }.visible(self.access);
        let mut best: Vec<(Reverse<u64>, String, DocAddress)> = Vec::new();
        for (bound, term) in bounds {
            let full = best.len() >= limit;
            if full && best.last().is_some_and(|(Reverse(worst), ..)| bound < *worst) {
                break;
            }
            if let Some((count, first)) = self.count(keyword, &term, visible.as_ref())? {
                best.push((Reverse(count), term, first));
                best.sort_unstable();
                best.truncate(limit);
            }
        }
        let suggestion = |(Reverse(count), term, first): (Reverse<u64>, String, DocAddress)| {
            let value = self.as_spelled(keyword, &term, first)?;
            Ok(Suggestion { kind: kind.to_owned(), value, count: Some(count), item: None })
        };
        best.into_iter().map(suggestion).collect()
    }

    /// Terms that begin so with an upper bound of their counts, the highest first. A repository also by its name.
    fn bounds(&self, keyword: Keyword, prefix: &str) -> Result<Vec<(u64, String)>> {
        let mut bounds: HashMap<String, u64> = HashMap::new();
        let inside = format!("/{prefix}");
        for segment in self.searcher.segment_readers() {
            let index = segment.inverted_index(self.fields.keyword(keyword)).map_err(from_tantivy("suggest"))?;
            let from = if keyword == Keyword::Repository { "" } else { prefix };
            let range = index.terms().range().ge(from.as_bytes());
            let mut terms = range.into_stream().map_err(|error| corrupt("suggest", error))?;
            while terms.advance() {
                let Ok(term) = std::str::from_utf8(terms.key()) else { continue };
                let begins = term.starts_with(prefix);
                if begins || (keyword == Keyword::Repository && term.contains(&inside)) {
                    *bounds.entry(term.to_owned()).or_default() += u64::from(terms.value().doc_freq);
                } else if keyword != Keyword::Repository {
                    break;
                }
            }
        }
        let mut bounds: Vec<_> = bounds.into_iter().map(|(term, bound)| (bound, term)).collect();
        bounds.sort_unstable_by(|(one, a), (other, b)| (Reverse(one), a).cmp(&(Reverse(other), b)));
        Ok(bounds)
    }

    /// How many visible items have the value, and one of them; none where there is none.
    fn count(&self, keyword: Keyword, term: &str, visible: &dyn Query) -> Result<Option<(u64, DocAddress)>> {
        let term = Term::from_field_text(self.fields.keyword(keyword), term);
        let value: Box<dyn Query> = Box::new(TermQuery::new(term, IndexRecordOption::Basic));
        let query = BooleanQuery::new(vec![(Occur::Must, visible.box_clone()), (Occur::Must, value)]);
        let scoring = EnableScoring::disabled_from_searcher(self.searcher);
        let weight = query.weight(scoring).map_err(from_tantivy("suggest"))?;
        let mut count = 0;
        let mut first = None;
        for (segment_ord, segment) in (0_u32..).zip(self.searcher.segment_readers()) {
            let mut scorer = weight.scorer(segment, 1.0).map_err(from_tantivy("suggest"))?;
            let alive = segment.alive_bitset();
            let mut doc = scorer.doc();
            while doc != TERMINATED {
                if alive.is_none_or(|alive| alive.is_alive(doc)) {
                    count += 1;
                    first.get_or_insert(DocAddress::new(segment_ord, doc));
                }
                doc = scorer.advance();
            }
        }
        Ok(first.map(|first| (count, first)))
    }

    /// The value as an item that has it spells it.
    fn as_spelled(&self, keyword: Keyword, term: &str, item: DocAddress) -> Result<String> {
        let item = search::item(self.searcher, self.fields, item)?;
        let spelled = fields::keywords(&item, keyword).into_iter().find(|value| value.to_lowercase() == term);
        Ok(spelled.unwrap_or_else(|| term.to_owned()))
    }

    /// Items whose number begins so, or whose title has the words, the last one begun; latest updated first.
    fn items(&self, typed: &str, limit: usize) -> Result<Vec<Suggestion>> {
        let lowering = Lowering { fields: self.fields };
        let visible = lowering.visible(self.access);
        let number = typed.trim().trim_start_matches('#');
        if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
            let begins = lowering.prefix(self.fields.number_text, number);
            return self.latest_items(&all_of(vec![visible, begins]), limit);
        }
        let trimmed = typed.trim_end();
        let (done, last) = trimmed.rsplit_once(char::is_whitespace).unwrap_or(("", trimmed));
        let done = done.split_whitespace().map(|word| tokens::words(word).collect::<Vec<_>>());
        let mut clauses: Vec<_> =
            done.filter(|words| !words.is_empty()).map(|words| consecutive(self.fields.title, &words)).collect();
        let last = last.to_lowercase();
        let last = last.trim_matches(|c: char| !c.is_alphanumeric());
        if clauses.is_empty() && last.is_empty() {
            return Ok(Vec::new());
        }
        clauses.push(visible);
        if last.is_empty() {
            return self.latest_items(&all_of(clauses), limit);
        }
        if self.begins_many(last)?
            && let Some(found) = self.among_latest(clauses.iter().map(|clause| clause.box_clone()), last, limit)?
        {
            return Ok(found);
        }
        // Stemming may have cut the end of a word, never that of an identifier.
        let either = [self.fields.title, self.fields.title_identifiers];
        let begins = either.map(|field| (Occur::Should, lowering.prefix(field, last)));
        clauses.push(Box::new(BooleanQuery::new(begins.into())));
        self.latest_items(&all_of(clauses), limit)
    }

    /// Whether so many terms of titles begin so that it would be slow to join what they are in.
    fn begins_many(&self, prefix: &str) -> Result<bool> {
        let mut terms = 0;
        for segment in self.searcher.segment_readers() {
            let index = segment.inverted_index(self.fields.title).map_err(from_tantivy("suggest"))?;
            let range = index.terms().range().ge(prefix.as_bytes());
            let mut stream = range.into_stream().map_err(|error| corrupt("suggest", error))?;
            while stream.advance() && stream.key().starts_with(prefix.as_bytes()) {
                terms += 1;
                if terms > MANY_TERMS {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The latest items whose title has a word that begins so, if they are found among the latest of all.
    fn among_latest(
        &self,
        clauses: impl Iterator<Item = Box<dyn Query>>,
        prefix: &str,
        limit: usize,
    ) -> Result<Option<Vec<Suggestion>>> {
        let mut found = Vec::with_capacity(limit);
        for address in self.latest(&all_of(clauses.collect()), LOOKED_AT)? {
            let item = self.item(address)?;
            let begins = |token: tokens::Token| token.text.starts_with(prefix);
            if tokens::words(&item.value).any(begins) || tokens::ident(&item.value).any(begins) {
                found.push(item);
            }
            if found.len() == limit {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn latest_items(&self, query: &dyn Query, limit: usize) -> Result<Vec<Suggestion>> {
        self.latest(query, limit)?.into_iter().map(|address| self.item(address)).collect()
    }

    /// What matches: the latest updated first, then the later item.
    fn latest(&self, query: &dyn Query, limit: usize) -> Result<Vec<DocAddress>> {
        let scoring = EnableScoring::disabled_from_searcher(self.searcher);
        let weight = query.weight(scoring).map_err(from_tantivy("suggest"))?;
        let mut best = BinaryHeap::new();
        for (segment_ord, segment) in (0_u32..).zip(self.searcher.segment_readers()) {
            let columns = segment.fast_fields();
            let updated = columns.i64(&time_name(Time::Updated)).map_err(from_tantivy("suggest"))?;
            let items = columns.u64("item").map_err(from_tantivy("suggest"))?;
            let mut each = |doc, _score| {
                if !segment.is_deleted(doc) {
                    let rank = (updated.first(doc), items.first(doc));
                    best.push(Reverse((rank, DocAddress::new(segment_ord, doc))));
                    if best.len() > limit {
                        best.pop();
                    }
                }
            };
            weight.for_each(segment, &mut each).map_err(from_tantivy("suggest"))?;
        }
        Ok(best.into_sorted_vec().into_iter().map(|Reverse((_, address))| address).collect())
    }

    fn item(&self, address: DocAddress) -> Result<Suggestion> {
        let item = search::item(self.searcher, self.fields, address)?;
        let value = item.title.clone();
        let item = ItemSuggestion { repository: item.repository, number: item.number, title: item.title };
        Ok(Suggestion { kind: "item".to_owned(), value, count: None, item: Some(item) })
    }
}
