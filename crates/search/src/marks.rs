//! What a query marks in texts: snippets, the same in every engine.
//!
//! A snippet is the window of a text with the most different hits near each other. What is marked is decided by the
//! tokens of [`crate::tokens`], not by the engine.

use std::collections::HashSet;

use crate::{
    Piece,
    query::tree::{Keyword, Node, Parts, Text},
    tokens,
};

/// How much text a snippet shows, in bytes, about.
const LENGTH: usize = 180;
/// How much of a text is looked at, in bytes.
const LOOKED_AT: usize = 64 << 10;

/// The tokens that are marked.
#[derive(Debug)]
pub struct Marks {
    words: HashSet<String>,
    identifiers: HashSet<String>,
}

impl Marks {
    /// What a tree looks for, without what it leaves out.
    pub fn of(node: &Node) -> Self {
        let texts = wanted_texts(node);
        let words = texts.iter().flat_map(|text| tokens::words(&text.text)).map(|token| token.text).collect();
        let identifiers = texts.iter().filter(|text| !text.exact).flat_map(|text| tokens::ident(&text.text));
        Self { words, identifiers: identifiers.map(|token| token.text).collect() }
    }

    /// Whether nothing is asked in words.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The words, as tokens.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str)
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

/// The window of a text with the most different hits near each other, in pieces; none without a hit.
pub fn cut(text: &str, wanted: &Marks) -> Option<Vec<Piece>> {
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

/// The words that every hit has, in their order: what is compared with whole titles.
pub fn whole_text(node: &Node) -> String {
    match node {
        Node::Text(text) if text.parts.title => text.text.clone(),
        Node::And(members) => {
            let texts: Vec<_> = members.iter().map(whole_text).filter(|text| !text.is_empty()).collect();
            texts.join(" ")
        }
        // A word that may also be a path or a sha: the word is its first meaning.
        Node::Or(members) => match members.first() {
            Some(first @ Node::Text(_)) if members.len() == 2 => match members[1] {
                Node::Is(Keyword::Path | Keyword::Reference, _) | Node::Starts(Keyword::Sha, _) => whole_text(first),
                _ => String::new(),
            },
            _ => String::new(),
        },
        _ => String::new(),
    }
}

/// Words as one text: what whole titles are compared by.
pub fn exact_title(text: &str) -> String {
    let words: Vec<_> = tokens::words(text).map(|token| token.text).collect();
    words.join(" ")
}

/// The parts of an item in which a tree looks for words.
pub fn asked_parts(node: &Node) -> Parts {
    let mut parts = Parts { title: false, body: false, comments: false };
    for text in wanted_texts(node) {
        parts.title |= text.parts.title;
        parts.body |= text.parts.body;
        parts.comments |= text.parts.comments;
    }
    parts
}

/// The words and identifiers that a tree looks for, not those it leaves out: what snippets mark.
pub fn wanted_texts(node: &Node) -> Vec<&Text> {
    match node {
        Node::Text(text) => vec![text],
        Node::And(members) | Node::Or(members) => members.iter().flat_map(wanted_texts).collect(),
        _ => Vec::new(),
    }
}
