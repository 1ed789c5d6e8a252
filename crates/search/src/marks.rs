//! What a query marks in texts: snippets, the same in every engine.
//!
//! A snippet is the window of a text with the most different hits near each other. What is marked is decided by the
//! tokens of [`crate::tokens`], not by the engine. Markdown is shown as it reads: a link by its text, code without its
//! fences, no tags; only a hit in what that leaves out, as in a link's address, shows the text as it was written.

use std::{borrow::Cow, collections::HashSet, sync::LazyLock};

use regex::{Captures, Regex};

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

/// The window of a Markdown text with the most different hits near each other, in pieces; none without a hit.
pub fn cut(markdown: &str, wanted: &Marks) -> Option<Vec<Piece>> {
    let markdown = &markdown[..floor(markdown, LOOKED_AT)];
    let read = as_read(markdown);
    cut_plain(&read, wanted).or_else(|| if read == markdown { None } else { cut_plain(markdown, wanted) })
}

/// Marks of Markdown and HTML that a reader does not see. Only known tags: `Vec<String>` is code.
static UNSEEN: LazyLock<Regex> = LazyLock::new(|| {
    let link = r#"!?\[(?<text>[^\[\]]*)\]\((?:[^()\s]|\([^()\s]*\))*(?:\s+"[^"\n]*")?\)"#;
    let tag = r#"(?i:</?(?:a|b|br|code|dd|del|details|div|dl|dt|em|h[1-6]|hr|i|img|ins|kbd|li|ol|p|picture|pre|q|s|samp|source|span|strong|sub|summary|sup|table|tbody|td|tfoot|th|thead|tr|ul|video)(?:\s+[\w:-]+(?:\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'<>]+))?)*\s*/?>)"#;
    let fence = r"(?m:^[ \t>]*(?:```+|~~~+)[^`\n]*$)";
    let rule = r"(?m:^[ \t>]*\|?(?:[ \t]*:?-{3,}:?[ \t]*\|?)+[ \t]*$)";
    let start = r"(?m:^[ \t]*(?:>[ \t]?)+|^[ \t]*#{1,6}[ \t]+|^[ \t]*[-*+][ \t]+\[[ xX]\][ \t]+)";
    let strong = r"\*\*(?<strong>[^*\n]+)\*\*";
    Regex::new(&format!("{link}|{tag}|{fence}|{rule}|{start}|{strong}|`+")).expect("a constant")
});

/// A Markdown text without what its readers do not see.
fn as_read(markdown: &str) -> Cow<'_, str> {
    let kept = |found: &Captures<'_>| {
        let kept = found.name("text").or_else(|| found.name("strong"));
        kept.map_or("", |kept| kept.as_str()).to_owned()
    };
    let once = UNSEEN.replace_all(markdown, kept);
    // A picture inside a link was the inner one.
    if once.contains("](") { UNSEEN.replace_all(&once, kept).into_owned().into() } else { once }
}

/// The same window of a text that is no Markdown.
pub fn cut_plain(text: &str, wanted: &Marks) -> Option<Vec<Piece>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_is_shown_as_it_reads() {
        for (written, read) in [
            ("see [the docs](https://example.com/a_(b) \"title\") for more", "see the docs for more"),
            ("[![build](https://img.test/x.svg)](https://ci.test/) passes", "build passes"),
            ("![a screenshot](https://img.test/x.png)", "a screenshot"),
            ("## Steps\n> quoted `code` and **strong** words", "Steps\nquoted code and strong words"),
            ("```rust\nlet x: Vec<String> = f();\n```\nend", "\nlet x: Vec<String> = f();\n\nend"),
            ("- [x] done\n- [ ] not\n- item", "done\nnot\n- item"),
            ("| a | b |\n| --- | ---: |\n| 1 | 2 |", "| a | b |\n\n| 1 | 2 |"),
            ("<details>\n<summary>More</summary>\nif a <b && c> d", "\nMore\nif a <b && c> d"),
            ("one<br/>two <img width=\"3\" src=\"x\"> a[0](1) #12 x**y snake__case", "onetwo  a0 #12 x**y snake__case"),
            ("nothing to leave out", "nothing to leave out"),
        ] {
            assert_eq!(as_read(written), read, "{written}");
        }
    }

    #[test]
    fn a_hit_in_an_address_shows_the_text_as_it_was_written() {
        let wanted = |text: &str| Marks { words: HashSet::from([text.to_owned()]), identifiers: HashSet::new() };
        let text = "see [docs](https://zebra.test/)";
        let shown = |text: &str, word: &str| {
            let pieces = cut(text, &wanted(word))?;
            Some(
                pieces
                    .iter()
                    .map(|piece| if piece.hit { format!("<{}>", piece.text) } else { piece.text.clone() })
                    .collect::<String>(),
            )
        };
        assert_eq!(shown(text, "doc").as_deref(), Some("see <docs>"));
        assert_eq!(shown(text, "zebra").as_deref(), Some("see [docs](https://<zebra>.test/)"));
        assert_eq!(shown(text, "lion"), None);
    }
}
