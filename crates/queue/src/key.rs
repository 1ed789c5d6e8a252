//! A subject as backends store and order it.

use gharvest_model::{RepositoryId, Subject};

use crate::{Error, ErrorKind, Result};

/// A subject split into the repository that fairness goes by and the name within it.
///
/// The order is that of listings and of every tie between jobs: by repository as a number (texts, which belong to
/// none, count as repository 0), then items by number, then everything else by the bytes of its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The repository's id, 0 for a text.
    pub repository: u64,
    /// What it is within the repository.
    pub name: Name,
}

/// What a subject is within its repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// An item's number.
    Number(u64),
    /// A part's name; or a text behind `~`, which no part's name contains.
    Text(String),
}

/// The largest repository id and item number: what fits a double exactly, because backends count with doubles.
pub const LARGEST: u64 = (1 << 53) - 1;

impl Key {
    /// Splits a subject, if it is one that a queue takes.
    pub fn new(operation: &'static str, subject: &Subject) -> Result<Self> {
        let valid = match subject {
            Subject::Item(item) => check(item.repository.0) && check(item.number),
            Subject::Part { repository, .. } => check(repository.0) && reads_back(subject),
            Subject::Text(_) => reads_back(subject),
        };
        if !valid {
            let message = format!("`{subject}` is no subject of a job: expected ID#NUMBER, ID/PART or ~TEXT");
            return Err(Error::new(ErrorKind::Refused, operation, message));
        }
        Ok(match subject {
            Subject::Item(item) => Self { repository: item.repository.0, name: Name::Number(item.number) },
            Subject::Part { repository, part } => Self { repository: repository.0, name: Name::Text(part.clone()) },
            Subject::Text(text) => Self { repository: 0, name: Name::Text(format!("~{text}")) },
        })
    }

    /// The subject again.
    pub fn subject(&self) -> Subject {
        match &self.name {
            Name::Number(number) => Subject::item(RepositoryId(self.repository), *number),
            Name::Text(text) => match text.strip_prefix('~') {
                Some(text) => Subject::Text(text.to_owned()),
                None => Subject::part(RepositoryId(self.repository), text),
            },
        }
    }
}

fn check(id: u64) -> bool {
    (1..=LARGEST).contains(&id)
}

fn reads_back(subject: &Subject) -> bool {
    subject.to_string().parse().is_ok_and(|read: Subject| read == *subject)
}
