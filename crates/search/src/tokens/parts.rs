//! Lucene's `word_delimiter_graph`: parts of a token, split at marks and where small letters turn into capitals.

use std::ops::Range;

use super::character::Type;

/// The parts of one token, as ranges of bytes of the text.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    text: &'a str,
    at: usize,
    end: usize,
}

impl<'a> Parts<'a> {
    pub(super) fn new(text: &'a str, token: Range<usize>) -> Self {
        let is_mark = |character| Type::of(character) == Type::MARK;
        let piece = text[token.clone()].trim_end_matches(is_mark);
        let end = token.start + piece.len();
        let start = end - piece.trim_start_matches(is_mark).len();
        let mut parts = Self { text, at: start, end };
        if parts.ends_with_possessive(end) {
            parts.end -= 2;
        }
        parts
    }

    /// Nothing but marks.
    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.end
    }

    /// Whether an English `'s` ends at a place: after a letter, and before a mark or the end.
    fn ends_with_possessive(&self, place: usize) -> bool {
        let Some(before) = place.checked_sub(2).filter(|start| *start >= self.at) else { return false };
        matches!(self.text.get(before..place), Some("'s" | "'S"))
            && self.text[self.at..before].chars().next_back().is_some_and(|last| Type::of(last).has(Type::LETTER))
            && (place == self.end
                || self.text[place..self.end].chars().next().is_some_and(|next| Type::of(next) == Type::MARK))
    }
}

impl Iterator for Parts<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let rest = &self.text[self.at.min(self.end)..self.end];
        let start = self.end - rest.trim_start_matches(|character| Type::of(character) == Type::MARK).len();
        let mut characters = self.text[start..self.end].char_indices().map(|(at, c)| (at, Type::of(c)));
        let (_, mut last) = characters.next()?;
        let mut end = self.end;
        for (offset, next) in characters {
            if is_break(last, next) {
                end = start + offset;
                break;
            }
            last = next;
        }
        self.at = start;
        self.at = if end + 2 <= self.end && self.ends_with_possessive(end + 2) { end + 2 } else { end };
        Some(start..end)
    }
}

fn is_break(last: Type, next: Type) -> bool {
    let between_letter_and_digit =
        (last.has(Type::LETTER) && next.has(Type::DIGIT)) || (last.has(Type::DIGIT) && next.has(Type::LETTER));
    let after_capital = last.has(Type::UPPER) && next.has(Type::LETTER);
    !(last.has(next) || after_capital || between_letter_and_digit)
}
