//! Porter's stemmer with the three departures of its author's published code (words of one or two letters stay; `bli`
//! instead of `abli`; `logi`): what Lucene's `PorterStemFilter` runs.
//!
//! M. F. Porter, "An algorithm for suffix stripping", Program 14 (1980). Anything but a vowel counts as a consonant.

/// A stemmer with its scratch space, to be used again.
#[derive(Debug, Default)]
pub(super) struct Stemmer {
    letters: Vec<u16>,
}

/// Step 2: what follows a stem with at least one vowel-consonant pair. The first that fits decides.
const DOUBLE_SUFFIXES: [(&str, &str); 21] = [
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("logi", "log"),
];

/// Step 3.
const NESS_SUFFIXES: [(&str, &str); 7] =
    [("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", "")];

/// Step 4: left out after two pairs. Longer ones stand before those that they end with.
const LAST_SUFFIXES: [&str; 19] = [
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti",
    "ous", "ive", "ize",
];

impl Stemmer {
    /// Replaces a word in lower case by its stem.
    pub(super) fn stem(&mut self, word: &mut String) {
        self.letters.clear();
        self.letters.extend(word.encode_utf16());
        if self.letters.len() <= 2 {
            return;
        }
        self.plurals_and_participles();
        self.y_to_i();
        self.replace_first(&DOUBLE_SUFFIXES);
        self.replace_first(&NESS_SUFFIXES);
        self.last_suffix();
        self.last_letters();
        word.clear();
        word.extend(
            char::decode_utf16(self.letters.iter().copied())
                .map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)),
        );
    }

    fn plurals_and_participles(&mut self) {
        if self.stem_before("sses").or_else(|| self.stem_before("ies")).is_some() {
            self.cut(2);
        } else if self.stem_before("s").is_some() && self.stem_before("ss").is_none() {
            self.cut(1);
        }
        if let Some(stem) = self.stem_before("eed") {
            if self.measure(stem) > 0 {
                self.cut(1);
            }
            return;
        }
        let Some(stem) = self.stem_before("ed").or_else(|| self.stem_before("ing")) else { return };
        if !self.has_vowel(stem) {
            return;
        }
        self.letters.truncate(stem);
        if ["at", "bl", "iz"].iter().any(|end| self.stem_before(end).is_some()) {
            self.letters.push(u16::from(b'e'));
        } else if self.ends_in_double_consonant() {
            if !matches!(self.letters.last().copied().map(char_of), Some('l' | 's' | 'z')) {
                self.cut(1);
            }
        } else if self.measure(stem) == 1 && self.ends_in_short_syllable(self.letters.len()) {
            self.letters.push(u16::from(b'e'));
        }
    }

    fn y_to_i(&mut self) {
        if let Some(stem) = self.stem_before("y")
            && self.has_vowel(stem)
        {
            self.cut(1);
            self.letters.push(u16::from(b'i'));
        }
    }

    fn replace_first(&mut self, suffixes: &[(&str, &str)]) {
        for (suffix, replacement) in suffixes {
            if let Some(stem) = self.stem_before(suffix) {
                if self.measure(stem) > 0 {
                    self.letters.truncate(stem);
                    self.letters.extend(replacement.encode_utf16());
                }
                return;
            }
        }
    }

    fn last_suffix(&mut self) {
        for suffix in LAST_SUFFIXES {
            let Some(stem) = self.stem_before(suffix) else { continue };
            if suffix == "ion"
                && !matches!(stem.checked_sub(1).map(|last| char_of(self.letters[last])), Some('s' | 't'))
            {
                continue;
            }
            if self.measure(stem) > 1 {
                self.letters.truncate(stem);
            }
            return;
        }
    }

    fn last_letters(&mut self) {
        let whole = self.letters.len();
        if self.stem_before("e").is_some() {
            let measure = self.measure(whole);
            if measure > 1 || (measure == 1 && !self.ends_in_short_syllable(whole - 1)) {
                self.cut(1);
            }
        }
        if self.stem_before("l").is_some()
            && self.ends_in_double_consonant()
            && self.measure(whole.min(self.letters.len())) > 1
        {
            self.cut(1);
        }
    }

    fn cut(&mut self, letters: usize) {
        self.letters.truncate(self.letters.len() - letters);
    }

    /// The length of what stands before a suffix.
    fn stem_before(&self, suffix: &str) -> Option<usize> {
        let stem = self.letters.len().checked_sub(suffix.len())?;
        let fits = self.letters[stem..].iter().zip(suffix.bytes()).all(|(letter, byte)| *letter == u16::from(byte));
        fits.then_some(stem)
    }

    fn is_consonant(&self, at: usize) -> bool {
        match char_of(self.letters[at]) {
            'a' | 'e' | 'i' | 'o' | 'u' => false,
            'y' => at == 0 || !self.is_consonant(at - 1),
            _ => true,
        }
    }

    fn has_vowel(&self, length: usize) -> bool {
        (0..length).any(|at| !self.is_consonant(at))
    }

    /// How often a vowel is followed by a consonant in the first letters.
    fn measure(&self, length: usize) -> usize {
        (1..length).filter(|at| !self.is_consonant(at - 1) && self.is_consonant(*at)).count()
    }

    fn ends_in_double_consonant(&self) -> bool {
        let length = self.letters.len();
        length >= 2 && self.letters[length - 1] == self.letters[length - 2] && self.is_consonant(length - 1)
    }

    /// Consonant, vowel, consonant other than `w`, `x`, `y`: what lost an `e`.
    fn ends_in_short_syllable(&self, length: usize) -> bool {
        length >= 3
            && self.is_consonant(length - 1)
            && !self.is_consonant(length - 2)
            && self.is_consonant(length - 3)
            && !matches!(char_of(self.letters[length - 1]), 'w' | 'x' | 'y')
    }
}

/// A unit as a letter; what is not ASCII is some consonant.
fn char_of(unit: u16) -> char {
    u8::try_from(unit).ok().filter(u8::is_ascii).map_or('b', char::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lose_their_endings_as_the_author_of_the_algorithm_says() {
        let pairs = [
            ("caresses", "caress"),
            ("ponies", "poni"),
            ("cats", "cat"),
            ("feed", "feed"),
            ("agreed", "agre"),
            ("plastered", "plaster"),
            ("bled", "bled"),
            ("motoring", "motor"),
            ("sing", "sing"),
            ("conflated", "conflat"),
            ("sized", "size"),
            ("hopping", "hop"),
            ("falling", "fall"),
            ("failing", "fail"),
            ("filing", "file"),
            ("happy", "happi"),
            ("sky", "sky"),
            ("relational", "relat"),
            ("conditional", "condit"),
            ("digitizer", "digit"),
            ("triplicate", "triplic"),
            ("hopefulness", "hope"),
            ("electrical", "electr"),
            ("revival", "reviv"),
            ("adoption", "adopt"),
            ("replacement", "replac"),
            ("probate", "probat"),
            ("rate", "rate"),
            ("cease", "ceas"),
            ("controll", "control"),
            ("roll", "roll"),
            ("is", "is"),
            ("secp256k1", "secp256k1"),
            ("привет", "привет"),
            ("ed", "ed"),
            ("ing", "ing"),
            ("ies", "i"),
            ("sses", "ss"),
        ];
        let mut stemmer = Stemmer::default();
        for (word, stem) in pairs {
            let mut text = word.to_owned();
            stemmer.stem(&mut text);
            assert_eq!(text, stem, "{word}");
        }
    }
}
