//! Lucene's `StandardTokenizer`: words by Unicode's text segmentation (UAX #29).
//!
//! It differs from the plain standard in three things: only pieces with a letter, a number or an emoji are tokens;
//! scripts that write no spaces (Thai, Khmer …) stay in one piece; and a token longer than 255 units is cut.

use std::{iter::Peekable, ops::Range};

use unicode_segmentation::{UWordBoundIndices, UnicodeSegmentation};

use super::{
    LUCENE_CUT,
    character::{is_digit, is_emoji, is_of_script_without_spaces},
};

pub(super) struct StandardTokens<'a> {
    text: &'a str,
    /// Where `segments` begin.
    base: usize,
    segments: Peekable<UWordBoundIndices<'a>>,
}

impl std::fmt::Debug for StandardTokens<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StandardTokens").field("base", &self.base).finish_non_exhaustive()
    }
}

impl<'a> StandardTokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, base: 0, segments: text.split_word_bound_indices().peekable() }
    }

    /// Joins what follows to a segment of a script without spaces.
    fn end_of_run(&mut self, start: usize, segment: &str) -> usize {
        let mut end = start + segment.len();
        if segment.chars().next().is_some_and(is_of_script_without_spaces) {
            while let Some((_, next)) =
                self.segments.next_if(|(_, next)| next.chars().next().is_some_and(is_of_script_without_spaces))
            {
                end += next.len();
            }
        }
        end
    }

    /// Cuts a token that is too long, and begins anew behind the cut.
    fn cut(&mut self, range: Range<usize>) -> Range<usize> {
        let mut units = 0;
        let mut end = range.start;
        for character in self.text[range.clone()].chars() {
            units += character.len_utf16();
            if units > LUCENE_CUT {
                self.base = end;
                self.segments = self.text[end..].split_word_bound_indices().peekable();
                return range.start..end;
            }
            end += character.len_utf8();
        }
        range
    }
}

impl Iterator for StandardTokens<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        loop {
            let (offset, segment) = self.segments.next()?;
            if !is_token(segment) {
                continue;
            }
            let start = self.base + offset;
            let end = self.end_of_run(start, segment);
            let range = start..end;
            return Some(if end - start > LUCENE_CUT { self.cut(range) } else { range });
        }
    }
}

fn is_token(segment: &str) -> bool {
    segment.chars().any(|character| {
        character.is_alphabetic()
            || is_digit(character)
            || is_emoji(character)
            || is_of_script_without_spaces(character)
    })
}
