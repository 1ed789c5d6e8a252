//! What repositories and items are called.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// GitHub's numeric id of a repository. Names change, this does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RepositoryId(pub u64);

impl fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one item for machines: the repository's id and the number that issues and pull requests share.
///
/// Displayed and parsed as `12345#67`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ItemId {
    /// The repository's numeric id.
    pub repository: RepositoryId,
    /// The item's number, from 1.
    pub number: u64,
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.repository, self.number)
    }
}

/// An issue or a pull request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An issue.
    Issue,
    /// A pull request.
    PullRequest,
}

impl Kind {
    /// `issue` or `pull_request`, as in records, documents and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Issue => "issue",
            Self::PullRequest => "pull_request",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `owner/name`, checked, in the letters GitHub gave it.
///
/// Letters, digits, `-`, `_` and `.` only, an owner of at most 39 characters (enterprise managed users may carry
/// `_`), a name of at most 100, neither of them `.` or `..`: so a name is safe as a path component and in a URL.
/// GitHub compares names without regard to case; [`RepositoryName::key`] is the form to compare and to store by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryName {
    owner: String,
    name: String,
}

/// Why a text is not a repository, an item or a subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct InvalidName {
    /// The text as it was given, cut to 100 characters.
    pub text: String,
    /// What was expected, with an example.
    pub expected: &'static str,
}

impl InvalidName {
    pub(crate) fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.chars().take(100).collect(), expected }
    }
}

const EXPECTED_REPOSITORY: &str = "a repository: expected OWNER/NAME, as in `rust-lang/log`";
const EXPECTED_ITEM: &str = "an item: expected OWNER/NAME#NUMBER or a GitHub URL, as in `rust-lang/log#12` or `https://github.com/rust-lang/log/issues/12`";

impl RepositoryName {
    /// Checks and builds a name from its two parts.
    pub fn new(owner: &str, name: &str) -> Result<Self, InvalidName> {
        if is_component(owner, 39) && is_component(name, 100) {
            Ok(Self { owner: owner.to_owned(), name: name.to_owned() })
        } else {
            Err(InvalidName::new(&format!("{owner}/{name}"), EXPECTED_REPOSITORY))
        }
    }

    /// The owner's login, as GitHub writes it.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The repository's name without its owner, as GitHub writes it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `owner/name` in lower case: equal for all spellings of one repository.
    pub fn key(&self) -> String {
        self.to_string().to_ascii_lowercase()
    }
}

fn is_component(text: &str, longest: usize) -> bool {
    !text.is_empty()
        && text.len() <= longest
        && text != "."
        && text != ".."
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl FromStr for RepositoryName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let path = strip_web_address(text).trim_end_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        match path.split_once('/') {
            Some((owner, name)) => Self::new(owner, name).map_err(|_| InvalidName::new(text, EXPECTED_REPOSITORY)),
            None => Err(InvalidName::new(text, EXPECTED_REPOSITORY)),
        }
    }
}

impl TryFrom<String> for RepositoryName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<RepositoryName> for String {
    fn from(name: RepositoryName) -> Self {
        name.to_string()
    }
}

/// Cuts `https://HOST/` off, whichever host it is: a mirror of GitHub Enterprise has its own.
fn strip_web_address(text: &str) -> &str {
    let text = text.trim();
    for scheme in ["https://", "http://"] {
        if let Some(rest) = text.strip_prefix(scheme) {
            let path = rest.split_once('/').map_or("", |(_, path)| path);
            return path.split(['?', '#']).next().unwrap_or(path);
        }
    }
    text
}

/// Names one item for people: `owner/name#123`, or any GitHub URL of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemRef {
    /// The repository's name.
    pub repository: RepositoryName,
    /// The item's number, from 1.
    pub number: u64,
}

impl fmt::Display for ItemRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.repository, self.number)
    }
}

impl FromStr for ItemRef {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName::new(text, EXPECTED_ITEM);
        let path = strip_web_address(text);
        let (repository, number) = if let Some((repository, number)) = path.split_once('#') {
            (repository.to_owned(), number)
        } else {
            let mut parts = path.split('/');
            let (Some(owner), Some(name), Some("issues" | "pull" | "pulls"), Some(number)) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                return Err(invalid());
            };
            (format!("{owner}/{name}"), number)
        };
        let number = number.parse().ok().filter(|number| *number > 0).ok_or_else(invalid)?;
        Ok(Self { repository: repository.parse().map_err(|_| invalid())?, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_every_usual_form() {
        for text in [
            "rust-lang/log",
            "https://github.com/rust-lang/log",
            "https://github.com/rust-lang/log.git",
            " rust-lang/log/ ",
        ] {
            assert_eq!(text.trim().parse::<RepositoryName>().unwrap().to_string(), "rust-lang/log", "{text}");
        }
    }

    #[test]
    fn names_that_could_leave_a_folder_are_refused() {
        for text in
            ["", "a", "../x", "a/..", "a/b/c", "a/b\\c", "a/b c", "a/\u{202e}b", "a//b", "/a/b", "a/%2e%2e", "a/b\0"]
        {
            assert!(text.parse::<RepositoryName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_differing_in_case_have_one_key() {
        let a: RepositoryName = "Rust-Lang/Log".parse().unwrap();
        let b: RepositoryName = "rust-lang/log".parse().unwrap();
        assert_eq!(a.key(), b.key());
        assert_eq!(a.to_string(), "Rust-Lang/Log");
    }

    #[test]
    fn items_are_read_from_references_and_addresses() {
        for text in [
            "rust-lang/log#12",
            "https://github.com/rust-lang/log/issues/12",
            "https://github.com/rust-lang/log/pull/12/files",
            "https://mirror.example/rust-lang/log/issues/12#issuecomment-5",
        ] {
            assert_eq!(text.parse::<ItemRef>().unwrap().to_string(), "rust-lang/log#12", "{text}");
        }
        for text in [
            "rust-lang/log",
            "rust-lang/log#0",
            "rust-lang/log#x",
            "rust-lang/log#-1",
            "log#1",
            "rust-lang/log#99999999999999999999",
        ] {
            assert!(text.parse::<ItemRef>().is_err(), "{text}");
        }
    }
}
