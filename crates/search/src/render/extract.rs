//! What texts refer to: items, commits, paths and people.

use std::{collections::BTreeMap, sync::LazyLock};

use regex::Regex;

use super::json::bounded;

/// The most references of one sort that an item's document carries.
const MOST: usize = 2000;
/// The longest path, in bytes.
const LONGEST_PATH: usize = 512;

/// A list without doubles, compared without regard to case; in order, and bounded.
#[derive(Debug, Default)]
pub(crate) struct Unique(BTreeMap<String, String>);

impl Unique {
    pub(crate) fn insert(&mut self, value: impl Into<String>) {
        let value = value.into();
        if self.0.len() < MOST && !value.is_empty() {
            self.0.entry(value.to_lowercase()).or_insert(value);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn remove(&mut self, value: &str) {
        self.0.remove(&value.to_lowercase());
    }

    pub(crate) fn into_vec(self) -> Vec<String> {
        self.0.into_values().collect()
    }
}

impl Extend<String> for Unique {
    fn extend<I: IntoIterator<Item = String>>(&mut self, values: I) {
        values.into_iter().for_each(|value| self.insert(value));
    }
}

/// References found in texts.
#[derive(Debug, Default)]
pub(crate) struct References {
    pub(crate) items: Unique,
    pub(crate) shas: Unique,
    pub(crate) paths: Unique,
    pub(crate) mentions: Unique,
}

static ITEM: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?:^|[^\w/.#&-])(?:(?<name>[A-Za-z0-9][\w-]*/[\w.-]+)?#|(?:GH|gh)-)(?<number>\d{1,18})\b|//[^/\s]+/(?<linked>[A-Za-z0-9][\w-]*/[\w.-]+)/(?:issues|pulls?)/(?<linked_number>\d{1,18})\b",
    )
});
static SHA: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b[0-9A-Fa-f]{40}\b"));
static MENTION: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?:^|[^\w/@.`-])@([A-Za-z0-9](?:[A-Za-z0-9-]{0,38})(?:/[A-Za-z0-9_.-]{1,100})?)"));
static PATH: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?:[\w.@+~-]+/)+[\w.@+~-]*\.[A-Za-z][A-Za-z0-9]{0,9}$"));
static CLOSING: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?):?\s+(?:(?<name>[A-Za-z0-9][\w-]*/[\w.-]+)?#(?<number>\d{1,18})\b|https?://[^/\s]+/(?<linked>[A-Za-z0-9][\w-]*/[\w.-]+)/(?:issues|pulls?)/(?<linked_number>\d{1,18})\b)",
    )
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is a constant")
}

impl References {
    /// Adds what a text of this repository refers to.
    pub(crate) fn read(&mut self, text: &str, repository: &str) {
        self.items.extend(items(&ITEM, text, repository));
        self.shas.extend(SHA.find_iter(text).map(|found| found.as_str().to_ascii_lowercase()));
        self.mentions.extend(MENTION.captures_iter(text).map(|found| found[1].trim_end_matches(['-', '.']).to_owned()));
        for word in text.split(|c: char| c.is_whitespace() || "`'\"()[]{}<>,;|*".contains(c)) {
            self.path(word);
        }
    }

    /// Adds a path, if a word is one: `src/lib.rs`, `src/lib.rs:10`, but not `https://host/page.html`.
    fn path(&mut self, word: &str) {
        if word.len() > LONGEST_PATH || !word.contains('/') || word.contains("//") {
            return;
        }
        let without_line = word.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, ':' | '-'));
        let path = if word.contains(':') { without_line } else { word };
        let path = path.trim_end_matches(['.', '!', '?', ':']).trim_start_matches("./");
        if PATH.is_match(path) {
            self.paths.insert(path);
        }
    }

    /// Adds a path that GitHub names as one.
    pub(crate) fn known_path(&mut self, path: &str) {
        self.paths.insert(bounded(path, LONGEST_PATH));
    }

    /// Adds a commit, if it is a full sha.
    pub(crate) fn sha(&mut self, sha: &str) {
        if matches!(sha.len(), 40 | 64) && sha.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            self.shas.insert(sha.to_ascii_lowercase());
        }
    }
}

/// The items that a text says it closes (`closes #12`): `owner/name#12`.
pub(crate) fn closed_items(text: &str, repository: &str) -> impl Iterator<Item = String> {
    items(&CLOSING, text, repository)
}

fn items(pattern: &Regex, text: &str, repository: &str) -> impl Iterator<Item = String> {
    pattern.captures_iter(text).filter_map(move |found| {
        let number = found.name("number").or_else(|| found.name("linked_number"))?.as_str().parse::<u64>().ok()?;
        let name = found.name("name").or_else(|| found.name("linked")).map_or(repository, |name| name.as_str());
        (number > 0).then(|| format!("{name}#{number}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> References {
        let mut references = References::default();
        references.read(text, "me/mine");
        references
    }

    #[test]
    fn items_are_found_in_every_spelling() {
        let found = read(
            "see #12, other/thing#3 and GH-4 (https://github.com/a/b.c/pull/5#issuecomment-1); not x#6, &#39; a/b/c#7",
        );
        assert_eq!(found.items.into_vec(), ["a/b.c#5", "me/mine#12", "me/mine#4", "other/thing#3"]);
    }

    #[test]
    fn people_commits_and_paths_are_found() {
        let sha = "0123456789ABCDEF0123456789abcdef01234567";
        let found = read(&format!(
            "@one, (@two-three) me@mail.example @org/team; {sha} in `src/lib.rs:10`, ./a/b.c and https://host/x/y.html, and/or"
        ));
        assert_eq!(found.mentions.into_vec(), ["one", "org/team", "two-three"]);
        assert_eq!(found.shas.into_vec(), [sha.to_ascii_lowercase()]);
        assert_eq!(found.paths.into_vec(), ["a/b.c", "src/lib.rs"]);
    }

    #[test]
    fn closing_words_name_the_items_they_close() {
        let text = "Fixes #1, resolves: a/b#2 and closed https://github.com/c/d/issues/3; mentions #4";
        assert_eq!(closed_items(text, "me/mine").collect::<Vec<_>>(), ["me/mine#1", "a/b#2", "c/d#3"]);
    }
}
