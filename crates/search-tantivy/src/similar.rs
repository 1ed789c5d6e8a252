//! Items like another: those in which its telling words stand.
//!
//! Words are taken from title and body, and looked for in comments as well: what a duplicate calls by another name is
//! often called so in the discussion of the original. People look for the original, so an item of the same kind and one
//! that was discussed stand before others. `gharvest_search::judged` measures it on recorded duplicates.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use gharvest_model::ItemId;
use gharvest_search::{
    Access, Hit, Result,
    document::ItemDocument,
    query::tree::{Keyword, Number},
    tokens,
};
use tantivy::{
    DocAddress, Searcher, Term,
    query::{BooleanQuery, BoostQuery, EnableScoring, Occur, Query, TermQuery},
    schema::IndexRecordOption,
};

use crate::{
    error::{corrupt, from_tantivy},
    lower::Lowering,
    schema::{Fields, counted_name, number_name, ordinal},
    search,
};

/// How many words are compared.
const MOST_WORDS: usize = 25;
/// A word of the title says as much as so many of the body.
const TITLE_WEIGHT: f32 = 3.0;
/// And one of a comment half as much.
const COMMENT_WEIGHT: f32 = 0.5;
/// How many of the words a similar item must have.
const SHARED: usize = 2;
/// What is left of the score of an item of the other kind.
const OTHER_KIND: f32 = 0.7;
/// What each e-fold of comments and reactions adds.
const DISCUSSED: f32 = 0.1;
/// How much of a body is looked at, in bytes.
const LOOKED_AT: usize = 16 << 10;

/// Items like this one, most similar first; none where the caller may not see it.
pub(crate) fn similar(
    searcher: &Searcher,
    fields: &Fields,
    item: ItemId,
    access: &Access,
    limit: usize,
) -> Result<Vec<Hit>> {
    let Some(own) = ordinal(item) else { return Ok(Vec::new()) };
    let lowering = Lowering { fields };
    let itself = BooleanQuery::new(vec![
        (Occur::Must, lowering.visible(access)),
        (Occur::Must, Box::new(TermQuery::new(fields.item_term(own), IndexRecordOption::Basic))),
    ]);
    let Some(address) = search::addresses(searcher, &itself)?.first().copied() else { return Ok(Vec::new()) };
    let like = search::item(searcher, fields, address)?;
    let words = telling_words(searcher, fields, &like)?;
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let query = BooleanQuery::new(vec![
        (Occur::Must, lowering.visible(access)),
        (Occur::Must, sharing(fields, &words)),
        (Occur::MustNot, Box::new(TermQuery::new(fields.item_term(own), IndexRecordOption::Basic))),
    ]);
    let hit = |(score, address)| Ok(Hit { item: search::item(searcher, fields, address)?, score, snippet: None });
    best(searcher, &query, &like, limit)?.into_iter().map(hit).collect()
}

/// Items that share enough of the words; each counts as much more as it tells of the item.
fn sharing(fields: &Fields, words: &[(String, f32)]) -> Box<dyn Query> {
    let clause = |(word, weight): &(String, f32)| {
        let in_field = |field, boost| {
            let term = TermQuery::new(Term::from_field_text(field, word), IndexRecordOption::WithFreqs);
            (Occur::Should, Box::new(BoostQuery::new(Box::new(term), boost * weight)) as Box<dyn Query>)
        };
        let places = vec![
            in_field(fields.title, TITLE_WEIGHT),
            in_field(fields.body, 1.0),
            in_field(fields.comments, COMMENT_WEIGHT),
        ];
        Box::new(BooleanQuery::new(places)) as Box<dyn Query>
    };
    let required = SHARED.min(words.len());
    Box::new(BooleanQuery::union_with_minimum_required_clauses(words.iter().map(clause).collect(), required))
}

/// The words that tell an item from others: frequent in it, most of all in its title, and rare elsewhere. Each with how
/// much it is spoken of.
fn telling_words(searcher: &Searcher, fields: &Fields, item: &ItemDocument) -> Result<Vec<(String, f32)>> {
    let mut weights: HashMap<String, f32> = HashMap::new();
    for token in tokens::words(&item.title) {
        *weights.entry(token.text).or_default() += TITLE_WEIGHT;
    }
    let end = (0..=LOOKED_AT.min(item.body.len())).rev().find(|at| item.body.is_char_boundary(*at)).unwrap_or(0);
    for token in tokens::words(&item.body[..end]) {
        *weights.entry(token.text).or_default() += 1.0;
    }
    let documents = searcher.num_docs() as f32;
    let mut ranked = Vec::with_capacity(weights.len());
    for (word, weight) in weights {
        let in_bodies = searcher.doc_freq(&Term::from_field_text(fields.body, &word));
        let in_titles = searcher.doc_freq(&Term::from_field_text(fields.title, &word));
        let elsewhere = in_bodies.and_then(|bodies| Ok(bodies + in_titles?)).map_err(from_tantivy("similar"))?;
        // A word that no other item has finds none.
        if elsewhere > 1 && word.chars().count() > 1 {
            let rarity = (documents / elsewhere as f32).max(1.0).ln();
            // Logs repeat themselves: the tenth time says little more than the first.
            let weight = 1.0 + weight.ln();
            ranked.push((weight * rarity, word, weight));
        }
    }
    ranked.sort_by(|(one, a, _), (other, b, _)| other.total_cmp(one).then_with(|| a.cmp(b)));
    Ok(ranked.into_iter().take(MOST_WORDS).map(|(_, word, weight)| (word, weight)).collect())
}

fn best(searcher: &Searcher, query: &dyn Query, like: &ItemDocument, limit: usize) -> Result<Vec<(f32, DocAddress)>> {
    let weight = query.weight(EnableScoring::enabled_from_searcher(searcher)).map_err(from_tantivy("similar"))?;
    // Scores are not negative, so their bits stand in their order; among equal ones the later item comes first.
    let mut best: BinaryHeap<Reverse<(u32, u64, DocAddress)>> = BinaryHeap::new();
    for (segment_ord, segment) in (0_u32..).zip(searcher.segment_readers()) {
        let columns = segment.fast_fields();
        let items = columns.u64("item").map_err(from_tantivy("similar"))?;
        let interactions = columns.f64(&number_name(Number::Interactions)).map_err(from_tantivy("similar"))?;
        let kinds = columns.str(&counted_name(Keyword::Kind)).map_err(from_tantivy("similar"))?;
        let own_kind = match &kinds {
            Some(kinds) => {
                kinds.dictionary().term_ord(like.kind.as_str()).map_err(|error| corrupt("similar", error))?
            }
            None => None,
        };
        let mut each = |doc, score: f32| {
            if !segment.is_deleted(doc) {
                let item = items.first(doc).unwrap_or(0);
                let kind = kinds.as_ref().and_then(|kinds| kinds.term_ords(doc).next());
                let same = if kind == own_kind { 1.0 } else { OTHER_KIND };
                let discussed = 1.0 + DISCUSSED * (interactions.first(doc).unwrap_or(0.0) as f32).ln_1p();
                let score = score.max(0.0) * same * discussed;
                best.push(Reverse((score.to_bits(), item, DocAddress::new(segment_ord, doc))));
                if best.len() > limit {
                    best.pop();
                }
            }
        };
        weight.for_each(segment, &mut each).map_err(from_tantivy("similar"))?;
    }
    let found = best.into_sorted_vec().into_iter();
    Ok(found.map(|Reverse((bits, _, address))| (f32::from_bits(bits), address)).collect())
}
