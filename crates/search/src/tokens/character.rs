//! Classes of characters as Java and Lucene's `WordDelimiterIterator` know them.

use std::sync::OnceLock;

use regex_syntax::hir::{Class, HirKind};

/// What a character is to the splitter; bits, so that `UPPER | LOWER` is any letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Type(u8);

impl Type {
    pub(super) const LOWER: Self = Self(0b0001);
    pub(super) const UPPER: Self = Self(0b0010);
    pub(super) const LETTER: Self = Self(0b0011);
    pub(super) const DIGIT: Self = Self(0b0100);
    pub(super) const ANY: Self = Self(0b0111);
    pub(super) const MARK: Self = Self(0b1000);

    pub(super) fn of(character: char) -> Self {
        match character {
            '\0'..='\u{ff}' if character.is_lowercase() => Self::LOWER,
            '\0'..='\u{ff}' if character.is_uppercase() => Self::UPPER,
            '0'..='9' => Self::DIGIT,
            '\0'..='\u{ff}' => Self::MARK,
            // Lucene looks at UTF-16 units, and never splits at a surrogate.
            '\u{10000}'.. => Self::ANY,
            _ => Self::of_category(character),
        }
    }

    fn of_category(character: char) -> Self {
        let classes = classes();
        if classes.upper.contains(character) {
            Self::UPPER
        } else if classes.lower.contains(character) {
            Self::LOWER
        } else if classes.letter.contains(character) || classes.combining.contains(character) {
            Self::LETTER
        } else if classes.number.contains(character) {
            Self::DIGIT
        } else {
            Self::MARK
        }
    }

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Sorted ranges of characters.
#[derive(Debug)]
struct Ranges(Vec<(char, char)>);

impl Ranges {
    /// The characters of a class in the notation of regular expressions.
    fn of(pattern: &'static str) -> Self {
        let parsed = regex_syntax::parse(pattern).expect("the pattern is a constant class");
        match parsed.into_kind() {
            HirKind::Class(Class::Unicode(class)) => {
                Self(class.ranges().iter().map(|range| (range.start(), range.end())).collect())
            }
            other => unreachable!("{pattern} is a class of characters, not {other:?}"),
        }
    }

    fn contains(&self, character: char) -> bool {
        let after = self.0.partition_point(|(start, _)| *start <= character);
        after > 0 && character <= self.0[after - 1].1
    }
}

#[derive(Debug)]
struct Classes {
    upper: Ranges,
    lower: Ranges,
    letter: Ranges,
    combining: Ranges,
    number: Ranges,
    digit: Ranges,
    letter_or_number: Ranges,
    no_spaces: Ranges,
    emoji: Ranges,
}

fn classes() -> &'static Classes {
    static CLASSES: OnceLock<Classes> = OnceLock::new();
    CLASSES.get_or_init(|| Classes {
        upper: Ranges::of(r"\p{Lu}"),
        lower: Ranges::of(r"\p{Ll}"),
        letter: Ranges::of(r"\p{L}"),
        combining: Ranges::of(r"\p{M}"),
        number: Ranges::of(r"\p{N}"),
        digit: Ranges::of(r"\p{Nd}"),
        letter_or_number: Ranges::of(r"[\p{L}\p{N}]"),
        no_spaces: Ranges::of(
            r"[[\p{Thai}\p{Lao}\p{Myanmar}\p{Khmer}\p{Tai_Le}\p{New_Tai_Lue}\p{Tai_Tham}\p{Tai_Viet}\p{Ahom}]&&[\p{L}\p{M}]]",
        ),
        emoji: Ranges::of(r"[\p{Emoji}&&[^\x00-\x7f]]"),
    })
}

/// `\p{L}` or `\p{N}`.
pub(super) fn is_letter_or_number(character: char) -> bool {
    if character.is_ascii() {
        character.is_ascii_alphanumeric()
    } else {
        classes().letter_or_number.contains(character)
    }
}

/// A decimal digit of any script.
pub(super) fn is_digit(character: char) -> bool {
    if character.is_ascii() { character.is_ascii_digit() } else { classes().digit.contains(character) }
}

/// A letter of a script that is written without spaces, and that Lucene keeps in one piece.
pub(super) fn is_of_script_without_spaces(character: char) -> bool {
    character >= '\u{e00}' && classes().no_spaces.contains(character)
}

/// A character that is an emoji by itself.
pub(super) fn is_emoji(character: char) -> bool {
    !character.is_ascii() && classes().emoji.contains(character)
}

/// Java's `Character.isWhitespace`: blanks but not those that forbid a break.
pub(super) fn is_java_whitespace(character: char) -> bool {
    match character {
        '\u{1c}'..='\u{1f}' => true,
        '\u{85}' | '\u{a0}' | '\u{2007}' | '\u{202f}' => false,
        _ => character.is_whitespace(),
    }
}

/// Java's `Character.toLowerCase`: one character for one.
pub(super) fn lower(character: char) -> char {
    if character.is_ascii() {
        return character.to_ascii_lowercase();
    }
    character.to_lowercase().next().unwrap_or(character)
}
