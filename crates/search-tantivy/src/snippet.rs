//! Snippets: a piece of text around the hits, and where it stands.
//!
//! The body is shown where it has a hit, otherwise the best comment, otherwise the title. Where nothing is asked in
//! words, there are none.

use std::collections::{HashMap, HashSet};

use gharvest_search::{
    Hit, Piece, Result, Snippet,
    document::CommentDocument,
    query::tree::{Node, Parts},
    tokens,
};
use tantivy::{
    DocAddress, Searcher, Term,
    query::{BooleanQuery, EnableScoring, Occur, Query, TermQuery, TermSetQuery},
    schema::IndexRecordOption,
};

use crate::{
    error::{corrupt, from_tantivy},
    lower::wanted_texts,
    schema::{Fields, ordinal},
    search,
};

/// How much text a snippet shows, in bytes, about.
const LENGTH: usize = 180;
/// How much of a text is looked at, in bytes.
const LOOKED_AT: usize = 64 << 10;

/// The tokens that are marked.
struct Wanted {
    words: HashSet<String>,
    identifiers: HashSet<String>,
}

impl Wanted {
    fn of(node: &Node) -> Self {
        let texts = wanted_texts(node);
        let words = texts.iter().flat_map(|text| tokens::words(&text.text)).map(|token| token.text).collect();
        let identifiers = texts.iter().filter(|text| !text.exact).flat_map(|text| tokens::ident(&text.text));
        Self { words, identifiers: identifiers.map(|token| token.text).collect() }
    }

    /// Where hits stand in a text, in order, none inside another.
    fn hits(&self, text: &str) -> Vec<(usize, usize)> {
        let words = tokens::words(text).filter(|token| self.words.contains(&token.text));
        let identifiers = tokens::ident(text).filter(|token| self.identifiers.contains(&token.text));
        let mut found: Vec<_> = words.chain(identifiers).map(|token| (token.range.start, token.range.end)).collect();
        found.sort_unstable_by_key(|(start, end)| (*start, usize::MAX - end));
        let mut kept: Vec<(usize, usize)> = Vec::with_capacity(found.len());
        for (start, end) in found {
            if kept.last().is_none_or(|(_, last)| start >= *last) {
                kept.push((start, end));
            }
        }
        kept
    }
}

/// Adds snippets to hits.
pub(crate) fn add(searcher: &Searcher, fields: &Fields, node: &Node, hits: &mut [Hit]) -> Result<()> {
    let wanted = Wanted::of(node);
    if wanted.words.is_empty() {
        return Ok(());
    }
    let mut parts = Parts { title: false, body: false, comments: false };
    for text in wanted_texts(node) {
        parts.title |= text.parts.title;
        parts.body |= text.parts.body;
        parts.comments |= text.parts.comments;
    }
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
        hit.snippet = cut(&hit.item.title, &wanted).map(|pieces| snippet("title", None, pieces));
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
    wanted: &Wanted,
    items: &[u64],
) -> Result<HashMap<u64, (f32, DocAddress)>> {
    let mut best: HashMap<u64, (f32, DocAddress)> = HashMap::new();
    if items.is_empty() {
        return Ok(best);
    }
    let words = wanted.words.iter().map(|word| {
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

/// The window of a text with the most different hits near each other, in pieces; none without a hit.
fn cut(text: &str, wanted: &Wanted) -> Option<Vec<Piece>> {
    let text = &text[..floor(text, LOOKED_AT)];
    let hits = wanted.hits(text);
    let count = |first: usize| {
        let from = hits[first].0;
        hits[first..].iter().take_while(|(_, end)| *end <= from + LENGTH * 3 / 4).count()
    };
    let first = (0..hits.len()).rev().max_by_key(|first| count(*first))?;
    let start = word_start(text, floor(text, hits[first].0.saturating_sub(LENGTH / 4)), hits[first].0);
    let end = word_end(text, floor(text, start + LENGTH)).max(hits[first].1);
    let mut pieces = Vec::new();
    let mut push = |text: &str, hit: bool| {
        if !text.is_empty() {
            pieces.push(Piece { text: text.to_owned(), hit });
        }
    };
    if start > 0 {
        push("…", false);
    }
    let mut at = start;
    for (from, to) in hits.into_iter().filter(|(from, to)| *from >= start && *to <= end) {
        push(&text[at..from], false);
        push(&text[from..to], true);
        at = to;
    }
    push(&text[at..end], false);
    if end < text.len() {
        push("…", false);
    }
    Some(pieces)
}

/// The greatest boundary of a character not beyond a place.
fn floor(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The beginning of the first word at or after a place, if it comes before `latest`.
fn word_start(text: &str, at: usize, latest: usize) -> usize {
    if at == 0 {
        return 0;
    }
    let space = text[at..latest].find(char::is_whitespace);
    space.map_or(at, |space| latest - text[at + space..latest].trim_start().len())
}

/// The end of the last whole word before a place.
fn word_end(text: &str, at: usize) -> usize {
    if at == text.len() {
        return at;
    }
    text[..at].rfind(char::is_whitespace).map_or(at, |space| text[..space].trim_end().len())
}
