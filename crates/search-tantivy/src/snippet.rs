//! Snippets: a piece of text around the hits, and where it stands.
//!
//! The body is shown where it has a hit, otherwise the best comment, otherwise the title. Where nothing is asked in
//! words, there are none.

use std::collections::HashMap;

use gharvest_search::{
    Hit, Piece, Result, Snippet,
    document::CommentDocument,
    marks::{Marks, asked_parts, cut, cut_plain},
    query::tree::Node,
};
use tantivy::{
    DocAddress, Searcher, Term,
    query::{BooleanQuery, EnableScoring, Occur, Query, TermQuery, TermSetQuery},
    schema::IndexRecordOption,
};

use crate::{
    error::{corrupt, from_tantivy},
    schema::{Fields, ordinal},
    search,
};

/// Adds snippets to hits.
pub(crate) fn add(searcher: &Searcher, fields: &Fields, node: &Node, hits: &mut [Hit]) -> Result<()> {
    let wanted = Marks::of(node);
    if wanted.is_empty() {
        return Ok(());
    }
    let parts = asked_parts(node);
    for hit in hits.iter_mut().filter(|_| parts.body) {
        hit.snippet = cut(&hit.item.body, &wanted).map(|pieces| snippet("body", None, pieces));
    }
    if parts.comments {
        let without: Vec<_> =
            hits.iter().filter(|hit| hit.snippet.is_none()).filter_map(|hit| ordinal(hit.item.id())).collect();
        let best = best_comments(searcher, fields, &wanted, &without)?;
        for hit in hits.iter_mut().filter(|hit| hit.snippet.is_none()) {
            let Some((_, address)) = ordinal(hit.item.id()).and_then(|item| best.get(&item)) else { continue };
            let json = search::json(searcher, fields, *address)?;
            let comment: CommentDocument =
                serde_json::from_str(&json).map_err(|error| corrupt("search", format!("a stored comment: {error}")))?;
            let part = if comment.part == "comment" { "comment" } else { "review" };
            hit.snippet = cut(&comment.body, &wanted).map(|pieces| snippet(part, comment.id, pieces));
        }
    }
    for hit in hits.iter_mut().filter(|hit| parts.title && hit.snippet.is_none()) {
        hit.snippet = cut_plain(&hit.item.title, &wanted).map(|pieces| snippet("title", None, pieces));
    }
    Ok(())
}

fn snippet(part: &str, comment_id: Option<u64>, pieces: Vec<Piece>) -> Snippet {
    Snippet { part: part.to_owned(), comment_id, pieces }
}

/// The comment of each item that matches the words best.
fn best_comments(
    searcher: &Searcher,
    fields: &Fields,
    wanted: &Marks,
    items: &[u64],
) -> Result<HashMap<u64, (f32, DocAddress)>> {
    let mut best: HashMap<u64, (f32, DocAddress)> = HashMap::new();
    if items.is_empty() {
        return Ok(best);
    }
    let words = wanted.words().map(|word| {
        let term = Term::from_field_text(fields.comment_words, word);
        (Occur::Should, Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs)) as Box<dyn Query>)
    });
    let of_items = TermSetQuery::new(items.iter().map(|item| fields.item_term(*item)));
    let query = BooleanQuery::new(vec![
        (Occur::Must, Box::new(of_items)),
        (Occur::Must, Box::new(BooleanQuery::new(words.collect()))),
    ]);
    let weight = query.weight(EnableScoring::enabled_from_searcher(searcher)).map_err(from_tantivy("search"))?;
    for (segment_ord, segment) in (0_u32..).zip(searcher.segment_readers()) {
        let column = segment.fast_fields().u64("item").map_err(from_tantivy("search"))?;
        let mut each = |doc, score| {
            let Some(item) = column.first(doc).filter(|_| !segment.is_deleted(doc)) else { return };
            if best.get(&item).is_none_or(|(known, _)| score > *known) {
                best.insert(item, (score, DocAddress::new(segment_ord, doc)));
            }
        };
        weight.for_each(segment, &mut each).map_err(from_tantivy("search"))?;
    }
    Ok(best)
}
