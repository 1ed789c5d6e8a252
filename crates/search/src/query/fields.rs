//! Which part of an item's document each field of the tree asks: the same for every engine.

use jiff::Timestamp;

use super::tree::{Flag, Keyword, Number, Time};
use crate::document::{ItemDocument, WaitingOn};

/// The values of a keyword field as the document spells them; engines index and compare them in lower case.
pub fn keywords(item: &ItemDocument, field: Keyword) -> Vec<String> {
    let optional = |value: &Option<String>| value.iter().cloned().collect();
    match field {
        Keyword::Repository => vec![item.repository.clone()],
        Keyword::Kind => vec![item.kind.as_str().to_owned()],
        Keyword::State => vec![item.state.clone()],
        Keyword::Reason => optional(&item.state_reason),
        Keyword::Label => item.labels.clone(),
        Keyword::Author => optional(&item.author),
        Keyword::Assignee => item.assignees.clone(),
        Keyword::Milestone => optional(&item.milestone),
        Keyword::Head => optional(&item.head),
        Keyword::Base => optional(&item.base),
        Keyword::Reference => {
            item.refs.iter().flat_map(|reference| with_tails(reference, |c| c == '#', true)).collect()
        }
        Keyword::Sha => item.shas.clone(),
        Keyword::Path => item.paths.iter().flat_map(|path| with_tails(path, |c| c == '/', false)).collect(),
        Keyword::Mention => item.mentions.clone(),
        Keyword::Commenter => item.commenters.clone(),
        Keyword::Reviewer => item.reviewers.clone(),
        Keyword::ReviewRequested => item.review_requested.clone(),
        Keyword::Review => optional(&item.review),
        Keyword::Actor => item.actors.clone(),
        Keyword::Waiting => match item.metrics.waiting_on {
            Some(WaitingOn::Author) => vec!["author".into()],
            Some(WaitingOn::Maintainers) => vec!["maintainers".into()],
            None => Vec::new(),
        },
    }
}

/// A text, and what remains of it from (or after) each separator.
fn with_tails(text: &str, separator: impl Fn(char) -> bool, keep: bool) -> Vec<String> {
    let mut tails = vec![text.to_owned()];
    for (at, c) in text.char_indices().filter(|(_, c)| separator(*c)) {
        let tail = &text[if keep { at } else { at + c.len_utf8() }..];
        if !tail.is_empty() && tail.len() < text.len() {
            tails.push(tail.to_owned());
        }
    }
    tails
}

/// Whether a flag is set.
pub fn flag(item: &ItemDocument, flag: Flag) -> bool {
    match flag {
        Flag::Draft => item.draft,
        Flag::Locked => item.locked,
        Flag::Private => item.private,
        Flag::Archived => item.archived,
        Flag::Linked => item.linked,
    }
}

/// A number, where the item has it.
pub fn number(item: &ItemDocument, number: Number) -> Option<f64> {
    Some(match number {
        Number::Number => item.number as f64,
        Number::Comments => f64::from(item.comments),
        Number::Reactions => f64::from(item.reactions),
        Number::Interactions => f64::from(item.interactions),
        Number::Participants => f64::from(item.participants),
        Number::Reopens => f64::from(item.reopens),
        Number::FirstResponse => f64::from(item.metrics.h_first_response?),
    })
}

/// A time, where the item has it.
pub fn time(item: &ItemDocument, time: Time) -> Option<Timestamp> {
    match time {
        Time::Created => Some(item.created_at),
        Time::Updated => Some(item.updated_at),
        Time::Closed => item.closed_at,
        Time::Merged => item.merged_at,
    }
}
