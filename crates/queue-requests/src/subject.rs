//! What people write for a job's subject.

use std::{fmt, str::FromStr};

use gharvest_model::{ItemRef, RepositoryId, RepositoryName, Subject};

/// A subject as a person writes it: an item, a part of a repository, or the queue's own form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// `owner/name#12` or an address.
    Item(ItemRef),
    /// `owner/name/labels`.
    Part(RepositoryName, String),
    /// `12345#67`, as lists print it.
    Subject(Subject),
}

impl FromStr for Written {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(subject) = text.parse() {
            return Ok(Self::Subject(subject));
        }
        if let Ok(item) = text.parse() {
            return Ok(Self::Item(item));
        }
        if let Some((repository, part)) = text.rsplit_once('/')
            && let Ok(repository) = repository.parse()
            && Subject::part(RepositoryId(0), part).to_string().parse::<Subject>().is_ok()
        {
            return Ok(Self::Part(repository, part.to_owned()));
        }
        Err(format!(
            "`{text}` is no subject: expected an item as in `mozilla/web-bugs#91234` or its GitHub URL, or a part of a \
             repository as in `mozilla/web-bugs/labels`"
        ))
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Item(item) => item.fmt(f),
            Self::Part(repository, part) => write!(f, "{repository}/{part}"),
            Self::Subject(subject) => subject.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_read_as_people_write_them() {
        for text in ["mozilla/web-bugs#12", "https://github.com/mozilla/web-bugs/issues/12"] {
            assert!(matches!(text.parse(), Ok(Written::Item(_))), "{text}");
        }
        assert!(matches!("mozilla/web-bugs/labels".parse(), Ok(Written::Part(..))));
        assert!(matches!("12#34".parse(), Ok(Written::Subject(_))));
        for text in ["", "web-bugs", "mozilla/web-bugs", "mozilla/web-bugs#0", "mozilla/web bugs#1"] {
            assert!(text.parse::<Written>().unwrap_err().contains("expected an item"), "{text}");
        }
    }
}
