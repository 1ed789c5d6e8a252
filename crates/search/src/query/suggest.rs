//! What is being typed, and what could complete it.

use super::table::{self, Values};

/// The word being typed at the end of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuggestRequest {
    /// The qualifier that it follows (`label`, `author`, …), or none for a bare word.
    pub qualifier: Option<String>,
    /// What was typed of the value.
    pub prefix: String,
}

/// A completion that the language itself offers: the name of a qualifier, or a word of a fixed set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What would stand in the query, as `label:` or `is:open`.
    pub text: String,
    /// What it says.
    pub help: &'static str,
}

/// The word at the end of a text. After white space that is an empty one.
pub fn at_end(text: &str) -> SuggestRequest {
    let word = text[last_word(text)..].trim_start_matches(['(', '-']);
    if let Some((name, value)) = word.split_once(':')
        && let Some(qualifier) = table::find(name)
    {
        let value = value.rsplit_once(',').map_or(value, |(_, last)| last);
        let prefix = value.trim_start_matches('"').to_owned();
        return SuggestRequest { qualifier: Some(qualifier.name.to_owned()), prefix };
    }
    SuggestRequest { qualifier: None, prefix: word.trim_start_matches('"').to_owned() }
}

/// The text with its last word replaced: what choosing a completion leads to. `completion` is put in as it is.
pub fn complete(text: &str, completion: &str) -> String {
    let start = last_word(text);
    let marks = text[start..].len() - text[start..].trim_start_matches(['(', '-']).len();
    format!("{}{completion} ", &text[..start + marks])
}

/// Where the last word begins, in bytes; white space inside quotes does not end a word.
fn last_word(text: &str) -> usize {
    let mut start = 0;
    let mut quoted = false;
    let mut previous = ' ';
    for (at, c) in text.char_indices() {
        // A quote opens only where one may: at a word's beginning, or after a colon or comma.
        if c == '"' && (quoted || previous.is_whitespace() || ":,(-".contains(previous)) {
            quoted = !quoted;
        } else if c.is_whitespace() && !quoted {
            start = at + c.len_utf8();
        }
        previous = c;
    }
    start
}

/// What the language itself offers: names of qualifiers that begin so, or the words of a qualifier.
pub fn known(request: &SuggestRequest) -> Vec<Known> {
    let prefix = request.prefix.to_lowercase();
    let Some(name) = &request.qualifier else {
        let names = table::QUALIFIERS.iter().filter(|qualifier| qualifier.name.starts_with(&prefix));
        return names.map(|qualifier| Known { text: format!("{}:", qualifier.name), help: qualifier.help }).collect();
    };
    let Some(Values::Fixed(choices)) = table::find(name).map(|qualifier| qualifier.values) else { return Vec::new() };
    let choices = choices.iter().filter(|choice| choice.word.starts_with(&prefix));
    choices.map(|choice| Known { text: super::lower::spelled(name, choice.word), help: choice.help }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_is_what_is_being_typed() {
        for (text, qualifier, prefix) in [
            ("", None, ""),
            ("crash ", None, ""),
            ("is:open cra", None, "cra"),
            ("is:open -label:wont", Some("label"), "wont"),
            ("label:\"good fi", Some("label"), "good fi"),
            ("label:bug,cr", Some("label"), "cr"),
            ("(author:oc", Some("author"), "oc"),
            ("std::ve", None, "std::ve"),
            ("\"two wo", None, "two wo"),
        ] {
            let expected = SuggestRequest { qualifier: qualifier.map(str::to_owned), prefix: prefix.to_owned() };
            assert_eq!(at_end(text), expected, "{text}");
        }
    }

    #[test]
    fn a_completion_replaces_the_last_word_only() {
        assert_eq!(complete("is:open -label:wo", "label:wontfix"), "is:open -label:wontfix ");
        assert_eq!(complete("label:\"good fi", "label:\"good first issue\""), "label:\"good first issue\" ");
    }

    #[test]
    fn the_language_offers_its_own_words() {
        let request = SuggestRequest { qualifier: Some("is".into()), prefix: "un".into() };
        let texts: Vec<_> = known(&request).into_iter().map(|known| known.text).collect();
        assert_eq!(texts, ["is:unmerged", "is:unlocked"]);
        let request = SuggestRequest { qualifier: None, prefix: "lab".into() };
        assert_eq!(known(&request)[0].text, "label:");
        let request = SuggestRequest { qualifier: Some("reason".into()), prefix: "not".into() };
        assert_eq!(known(&request)[0].text, "reason:\"not planned\"");
    }
}
