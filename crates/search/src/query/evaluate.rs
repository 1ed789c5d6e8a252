//! What a query means, said once more in the plainest way: looks at one thread and answers yes or no.
//!
//! Slow, and sharing nothing with an engine but the tokens: tests compare engines with it.

use super::{
    fields,
    tree::{Held, Keyword, Node, Text},
};
use crate::{
    document::ThreadDocuments,
    tokens::{self, Token},
};

/// Whether the thread's item matches. Tombstones match nothing; who may see it is not asked here.
pub fn matches(node: &Node, thread: &ThreadDocuments) -> bool {
    !thread.item.deleted && holds(node, thread)
}

fn holds(node: &Node, thread: &ThreadDocuments) -> bool {
    let item = &thread.item;
    match node {
        Node::All => true,
        Node::Nothing => false,
        Node::And(members) => members.iter().all(|member| holds(member, thread)),
        Node::Or(members) => members.iter().any(|member| holds(member, thread)),
        Node::Not(inner) => !holds(inner, thread),
        Node::Text(text) => contains(text, thread),
        Node::Is(keyword, value) => any_value(thread, *keyword, |known| known == value),
        Node::Starts(keyword, prefix) => any_value(thread, *keyword, |known| known.starts_with(prefix.as_str())),
        Node::Any(keyword) => any_value(thread, *keyword, |_| true),
        Node::Flag(flag) => fields::flag(item, *flag),
        Node::Number(number, range) => fields::number(item, *number).is_some_and(|value| range.contains(&value)),
        Node::Time(time, range) => fields::time(item, *time).is_some_and(|at| range.contains(&at)),
        Node::Held(held) => held_then(held, thread),
    }
}

fn any_value(thread: &ThreadDocuments, keyword: Keyword, test: impl Fn(&str) -> bool) -> bool {
    fields::keywords(&thread.item, keyword).iter().any(|value| test(&value.to_lowercase()))
}

fn contains(text: &Text, thread: &ThreadDocuments) -> bool {
    let words: Vec<Token> = tokens::words(&text.text).collect();
    let identifier = if text.exact { None } else { tokens::ident(&text.text).next() };
    if words.is_empty() && identifier.is_none() {
        return true;
    }
    let mut parts: Vec<&str> = Vec::new();
    if text.parts.title {
        parts.push(&thread.item.title);
    }
    if text.parts.body {
        parts.push(&thread.item.body);
    }
    if text.parts.comments {
        parts.extend(thread.comments.iter().map(|comment| comment.body.as_str()));
    }
    parts.into_iter().any(|part| {
        let by_words = !words.is_empty() && has_consecutive(&tokens::words(part).collect::<Vec<_>>(), &words);
        by_words || identifier.as_ref().is_some_and(|wanted| tokens::ident(part).any(|token| token.text == wanted.text))
    })
}

/// Whether the words stand in the text at the same distances.
fn has_consecutive(text: &[Token], words: &[Token]) -> bool {
    text.iter().any(|start| {
        words.iter().all(|word| {
            let position = start.position + (word.position - words[0].position);
            text.iter().any(|token| token.position == position && token.text == word.text)
        })
    })
}

fn held_then(held: &Held, thread: &ThreadDocuments) -> bool {
    thread.intervals.iter().any(|interval| {
        let mut names = std::iter::once(&interval.value).chain(&interval.value_now);
        interval.dimension == held.dimension
            && names.any(|name| name.to_lowercase() == held.value)
            && held.at.is_none_or(|at| interval.from <= at && interval.to.is_none_or(|to| at < to))
    })
}
