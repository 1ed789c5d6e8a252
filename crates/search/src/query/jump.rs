//! Where a text leads that names one thing and asks nothing else.

use gharvest_model::{ItemRef, RepositoryName};

use super::syntax::{Content, Expression};

/// A thread, repository or commit that a query names. Whether it exists is for others to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Jump {
    /// A number alone, as `123` or `#123`: of whichever repository has it.
    Number(u64),
    /// `owner/name#123`, a GitHub URL of a thread, or `repo:owner/name 123`.
    Item(ItemRef),
    /// `owner/name`'s URL.
    Repository(RepositoryName),
    /// A commit's sha, or seven of its first digits or more; lower case.
    Commit(String),
}

pub(super) fn find(text: &str, expression: Option<&Expression>) -> Option<Jump> {
    let text = text.trim();
    if text.len() > 500 {
        return None;
    }
    if let Some(number) = number(text) {
        return Some(Jump::Number(number));
    }
    if is_sha(text) && text.bytes().any(|byte| byte.is_ascii_digit()) {
        return Some(Jump::Commit(text.to_ascii_lowercase()));
    }
    if let Ok(item) = text.parse::<ItemRef>() {
        return Some(Jump::Item(item));
    }
    if text.starts_with("https://") || text.starts_with("http://") {
        return from_address(text);
    }
    number_in_repository(expression?)
}

/// A number of `123` or `#123`, from 1 to nine digits.
pub(super) fn number(text: &str) -> Option<u64> {
    let digits = text.strip_prefix('#').unwrap_or(text);
    let plain = (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|number| plain && *number > 0)
}

/// Whether a word may be a sha or the beginning of one: 7 to 40 hex digits.
pub(super) fn is_sha(text: &str) -> bool {
    (7..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn from_address(text: &str) -> Option<Jump> {
    let path = text.split_once("://")?.1.split_once('/')?.1;
    let parts: Vec<_> = path.split(['?', '#']).next()?.split('/').filter(|part| !part.is_empty()).collect();
    match parts[..] {
        [_, _, "commit", sha, ..] if is_sha(sha) => Some(Jump::Commit(sha.to_ascii_lowercase())),
        [owner, name] | [owner, name, "issues" | "pulls"] => {
            RepositoryName::new(owner, name.strip_suffix(".git").unwrap_or(name)).ok().map(Jump::Repository)
        }
        _ => None,
    }
}

/// `repo:owner/name 123` and the other way round.
fn number_in_repository(expression: &Expression) -> Option<Jump> {
    let Expression::And(members) = expression else { return None };
    let [Expression::Term(one), Expression::Term(other)] = &members[..] else { return None };
    let (Content::Qualifier("repo", values), Content::Word(word)) = (if matches!(one.content, Content::Word(_)) {
        (&other.content, &one.content)
    } else {
        (&one.content, &other.content)
    }) else {
        return None;
    };
    let [repository] = &values[..] else { return None };
    Some(Jump::Item(ItemRef { repository: repository.text.parse().ok()?, number: number(word)? }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{ParseContext, Query};

    fn jump(text: &str) -> Option<Jump> {
        let context = ParseContext { now: "2024-06-01T12:00:00Z".parse().unwrap(), me: None };
        Query::parse(text, &context).query.jump().cloned()
    }

    fn item(text: &str) -> Option<Jump> {
        Some(Jump::Item(text.parse().unwrap()))
    }

    #[test]
    fn a_text_that_names_one_thing_leads_there() {
        assert_eq!(jump(" 123 "), Some(Jump::Number(123)));
        assert_eq!(jump("#123"), Some(Jump::Number(123)));
        assert_eq!(jump("rust-lang/log#12"), item("rust-lang/log#12"));
        assert_eq!(jump("https://github.com/rust-lang/log/pull/12/files"), item("rust-lang/log#12"));
        assert_eq!(jump("https://github.com/rust-lang/log/issues/12#issuecomment-5"), item("rust-lang/log#12"));
        assert_eq!(jump("repo:rust-lang/log 12"), item("rust-lang/log#12"));
        assert_eq!(jump("#12 repo:rust-lang/log"), item("rust-lang/log#12"));
        assert_eq!(jump("4F3A1C9"), Some(Jump::Commit("4f3a1c9".into())));
        let commit = "https://github.com/rust-lang/log/commit/4f3a1c9aa";
        assert_eq!(jump(commit), Some(Jump::Commit("4f3a1c9aa".into())));
        let repository = Some(Jump::Repository("rust-lang/log".parse().unwrap()));
        assert_eq!(jump("https://github.com/rust-lang/log"), repository);
    }

    #[test]
    fn other_texts_lead_nowhere() {
        for text in ["", "0", "12 34", "defaced", "is:open 12", "https://example.com/", "-12", "#", "repo:a/b crash"] {
            assert_eq!(jump(text), None, "{text}");
        }
    }
}
