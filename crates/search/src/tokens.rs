//! The one tokenisation of all engines, in pure Rust.
//!
//! Elasticsearch and OpenSearch run two Lucene analyzers (the settings stand in `gharvest-search-elastic`); this module
//! gives the same tokens, so that tantivy, snippets and tests agree with them:
//!
//! | analyzer | tokenizer | filters, in order |
//! | --- | --- | --- |
//! | `words` | `standard` | `word_delimiter_graph` (`split_on_numerics: false`), `length` 1 to 100, `lowercase`, `asciifolding`, `stemmer` `english` |
//! | `ident` | `whitespace` | `pattern_replace` of the marks around, `length` 1 to 100, `lowercase` |
//!
//! `words` finds identifiers by their parts and phrases across them; `ident` finds a written token as a whole. The
//! stemmer is Porter's, not the `light_english` of Lucene: that one is a dictionary, which nothing outside Lucene has.
//!
//! Lengths are counted in UTF-16 units, as Lucene does. Characters that Unicode added after the engine's Java was made
//! may be judged differently by it.

mod character;
mod folding;
mod parts;
mod porter;
mod standard;

use std::ops::Range;

use character::is_java_whitespace;
use parts::Parts;
use standard::StandardTokens;

/// The longest token that is kept, in UTF-16 units.
const LONGEST_TOKEN: usize = 100;
/// Where Lucene's tokenizers cut a token that does not end, in UTF-16 units.
const LUCENE_CUT: usize = 255;

/// A token of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The term to index or to look for.
    pub text: String,
    /// Its position, from 0; a token that was left out leaves a hole.
    pub position: u32,
    /// The bytes of the text that it stands for.
    pub range: Range<usize>,
}

/// The tokens of a text for full-text search: parts of words and identifiers, folded and stemmed.
pub fn words(text: &str) -> Words<'_> {
    Words {
        text,
        standard: StandardTokens::new(text),
        parts: None,
        next_position: 0,
        stemmer: porter::Stemmer::default(),
    }
}

/// The tokens of a text for exact search: what stands between blanks, without the marks around it, in lower case.
pub fn ident(text: &str) -> Ident<'_> {
    Ident { text, offset: 0, next_position: 0 }
}

/// The iterator behind [`words`]; holds one token at a time.
#[derive(Debug)]
pub struct Words<'a> {
    text: &'a str,
    standard: StandardTokens<'a>,
    parts: Option<Parts<'a>>,
    next_position: u32,
    stemmer: porter::Stemmer,
}

impl Words<'_> {
    fn next_part(&mut self) -> Option<Range<usize>> {
        loop {
            if let Some(part) = self.parts.as_mut().and_then(Iterator::next) {
                return Some(part);
            }
            let whole = self.standard.next()?;
            let parts = Parts::new(self.text, whole);
            if parts.is_empty() {
                self.next_position += 1;
            }
            self.parts = Some(parts);
        }
    }
}

impl Iterator for Words<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            let range = self.next_part()?;
            let position = self.next_position;
            self.next_position += 1;
            let part = self.text.get(range.clone()).expect("parts end at the bounds of characters");
            if is_too_long(part) {
                continue;
            }
            let mut text = String::with_capacity(part.len());
            for character in part.chars().map(character::lower) {
                folding::push_folded(character, &mut text);
            }
            self.stemmer.stem(&mut text);
            return Some(Token { text, position, range });
        }
    }
}

/// The iterator behind [`ident`]; holds one token at a time.
#[derive(Debug)]
pub struct Ident<'a> {
    text: &'a str,
    offset: usize,
    next_position: u32,
}

impl Ident<'_> {
    /// What stands up to the next blank, cut where Lucene cuts it.
    fn next_chunk(&mut self) -> Option<Range<usize>> {
        let rest = self.text.get(self.offset..)?;
        let start = self.offset + rest.find(|character| !is_java_whitespace(character))?;
        let mut end = start;
        let mut units = 0;
        for character in self.text[start..].chars().take_while(|character| !is_java_whitespace(*character)) {
            end += character.len_utf8();
            units += character.len_utf16();
            if units >= LUCENE_CUT {
                break;
            }
        }
        self.offset = end;
        Some(start..end)
    }
}

impl Iterator for Ident<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            let chunk = self.next_chunk()?;
            let position = self.next_position;
            self.next_position += 1;
            let range = without_marks(self.text, chunk);
            let kept = self.text.get(range.clone()).expect("marks end at the bounds of characters");
            if !kept.is_empty() && !is_too_long(kept) {
                let text = kept.chars().map(character::lower).collect();
                return Some(Token { text, position, range });
            }
        }
    }
}

/// Leaves out what is neither letter nor number at both ends; `+` and `#` stay at the end, for `c++` and `c#`.
fn without_marks(text: &str, range: Range<usize>) -> Range<usize> {
    let chunk = &text[range.clone()];
    let kept_front = chunk.trim_start_matches(|c| !character::is_letter_or_number(c));
    let start = range.end - kept_front.len();
    let kept = kept_front.trim_end_matches(|c| !(character::is_letter_or_number(c) || c == '+' || c == '#'));
    start..start + kept.len()
}

fn is_too_long(text: &str) -> bool {
    text.len() > LONGEST_TOKEN && text.encode_utf16().count() > LONGEST_TOKEN
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(tokens: impl Iterator<Item = Token>) -> Vec<String> {
        tokens.map(|token| token.text).collect()
    }

    #[test]
    fn identifiers_are_split_into_parts_at_consecutive_positions() {
        let tokens: Vec<Token> = words("errors in FooBarBaz parser").collect();
        assert_eq!(texts(tokens.iter().cloned()), ["error", "in", "foo", "bar", "baz", "parser"]);
        assert!(tokens.iter().enumerate().all(|(index, token)| token.position as usize == index));
        assert_eq!(&"errors in FooBarBaz parser"[tokens[3].range.clone()], "Bar");
        assert_eq!(texts(words("secp256k1_ecdsa_sign")), ["secp256k1", "ecdsa", "sign"]);
        assert_eq!(
            texts(words("src/lib.rs:10 XMLHttpRequest v1.2.3")),
            ["src", "lib", "rs", "10", "xmlhttp", "request", "v1", "2", "3"]
        );
    }

    #[test]
    fn possessives_accents_and_endings_are_folded() {
        assert_eq!(
            texts(words("The author's crashes, crashed, crashing")),
            ["the", "author", "crash", "crash", "crash"]
        );
        assert_eq!(texts(words("Café Ærø STRASSE naïve İstanbul")), ["cafe", "aero", "strass", "naiv", "istanbul"]);
    }

    #[test]
    fn every_script_gives_tokens() {
        assert_eq!(
            texts(words("検索エンジン 한국어 검색")),
            ["検", "索", "エンシン".replace("シ", "ジ").as_str(), "한국어", "검색"]
        );
        assert_eq!(texts(words("привет мир")), ["привет", "мир"]);
        assert_eq!(texts(words("שלום עולם")), ["שלום", "עולם"]);
    }

    #[test]
    fn marks_are_left_out_and_a_too_long_token_leaves_a_hole() {
        assert!(words("-- !? ___ ()").next().is_none());
        let text = format!("before {} after", "x".repeat(101));
        let tokens: Vec<Token> = words(&text).collect();
        assert_eq!(tokens.iter().map(|token| token.position).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn ident_keeps_written_tokens_whole() {
        let text = "(FooBarBaz). foo::bar `no-default-features`, C++ c# v1.2.3; src/file.rs:10 --";
        let expected = ["foobarbaz", "foo::bar", "no-default-features", "c++", "c#", "v1.2.3", "src/file.rs:10"];
        assert_eq!(texts(ident(text)), expected);
    }

    proptest! {
        #[test]
        fn any_text_gives_tokens_with_true_ranges(text in "\\PC{0,300}") {
            for token in words(&text).chain(ident(&text)) {
                prop_assert!(text.get(token.range.clone()).is_some_and(|piece| !piece.is_empty()));
                prop_assert!(!token.text.is_empty());
            }
        }
    }
}
