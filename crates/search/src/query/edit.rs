//! Changes of a query's text, so that the text stays the only state: what a click on a facet leads to.

use super::{
    ParseContext,
    lower::{lower, spelled},
    syntax::{self, Content, Expression, Term},
    tree::Node,
};

/// The text with a condition more. One that contradicts it is replaced: another state, kind, author, milestone or
/// sort. A text with `OR` at the top is put in parentheses.
pub fn with(text: &str, qualifier: &str, value: &str) -> String {
    if is_active(text, qualifier, value) {
        return text.trim().to_owned();
    }
    let group = exclusive_group(qualifier, value);
    let rest = match group {
        Some(group) => remove(text, |term| group_of(term) == Some(group)),
        None => text.trim().to_owned(),
    };
    let added = spelled(qualifier, value);
    if rest.is_empty() {
        return added;
    }
    match syntax::parse(&rest).0 {
        Some(either @ Expression::Or(_)) => format!("({either}) {added}"),
        other => {
            let text = format!("{rest} {added}");
            // An open quote or group would swallow the condition: then the canonical spelling closes it.
            if is_active(&text, qualifier, value) {
                text
            } else {
                other.map_or(added.clone(), |rest| format!("{rest} {added}"))
            }
        }
    }
}

/// The text without a condition. Only conditions that every hit fulfils are looked at: none inside a group or behind
/// a `-`.
pub fn without(text: &str, qualifier: &str, value: &str) -> String {
    let Some(wanted) = meaning(&spelled(qualifier, value)) else { return text.trim().to_owned() };
    remove(text, |term| meaning(&term.to_string()).as_ref() == Some(&wanted))
}

/// Whether every hit fulfils the condition because the text says so; in whatever spelling, as in `type:pr` and `is:pr`.
pub fn is_active(text: &str, qualifier: &str, value: &str) -> bool {
    let Some(wanted) = meaning(&spelled(qualifier, value)) else { return false };
    let expression = syntax::parse(text).0;
    conditions(expression.as_ref()).iter().any(|term| meaning(&term.to_string()).as_ref() == Some(&wanted))
}

/// The terms that stand beside each other at the top.
fn conditions(expression: Option<&Expression>) -> Vec<&Term> {
    let members = match expression {
        Some(Expression::And(members)) => &members[..],
        Some(single) => std::slice::from_ref(single),
        None => &[],
    };
    members.iter().filter_map(|member| if let Expression::Term(term) = member { Some(term) } else { None }).collect()
}

/// What one term means: its node and sort. Relative times need no real clock here, because both sides have this one.
fn meaning(term: &str) -> Option<(Node, super::Sort)> {
    let context = ParseContext { now: jiff::Timestamp::UNIX_EPOCH, me: Some("@me".into()) };
    let expression = syntax::parse(term).0?;
    let lowered = lower(Some(&expression), &context);
    let says_something =
        lowered.node != Node::All || matches!(&expression, Expression::Term(term) if name_of(term) == Some("sort"));
    says_something.then_some((lowered.node, lowered.sort))
}

/// Cuts terms out of the text and leaves the rest as it was typed.
fn remove(text: &str, drop: impl Fn(&Term) -> bool) -> String {
    let expression = syntax::parse(text).0;
    let mut kept = String::with_capacity(text.len());
    let mut at = 0;
    for term in conditions(expression.as_ref()).into_iter().filter(|term| drop(term)) {
        kept.push_str(text[at..term.span.start].trim_end());
        at = term.span.end;
        if !kept.is_empty() {
            kept.push(' ');
        }
        at += text[at..].len() - text[at..].trim_start().len();
    }
    kept.push_str(&text[at..]);
    kept.trim().to_owned()
}

fn name_of(term: &Term) -> Option<&'static str> {
    match &term.content {
        Content::Qualifier(name, _) => Some(name),
        _ => None,
    }
}

fn group_of(term: &Term) -> Option<&'static str> {
    match &term.content {
        Content::Qualifier(name, values) => values.first().and_then(|value| exclusive_group(name, &value.text)),
        _ => None,
    }
}

/// Conditions of one group contradict each other, so that adding one replaces the other.
fn exclusive_group(qualifier: &str, value: &str) -> Option<&'static str> {
    match (qualifier, value) {
        ("is" | "state", "open" | "closed" | "merged" | "unmerged") => Some("state"),
        ("is" | "type", "issue" | "pr") => Some("kind"),
        ("is", "public" | "private") => Some("visibility"),
        ("author", _) => Some("author"),
        ("milestone", _) => Some("milestone"),
        ("repo", _) => Some("repo"),
        ("created", _) => Some("created"),
        ("sort", _) => Some("sort"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_added_once_and_replaces_what_contradicts_it() {
        for (text, qualifier, value, expected) in [
            ("", "label", "bug", "label:bug"),
            ("crash", "label", "good first issue", "crash label:\"good first issue\""),
            ("crash label:bug", "label", "ui", "crash label:bug label:ui"),
            ("crash LABEL:Bug", "label", "bug", "crash LABEL:Bug"),
            ("is:open crash", "is", "closed", "crash is:closed"),
            ("type:pr crash", "is", "pr", "type:pr crash"),
            ("type:pr crash", "is", "issue", "crash is:issue"),
            ("a OR b", "is", "open", "(a OR b) is:open"),
            ("a -is:open", "is", "open", "a -is:open is:open"),
            ("sort:created x", "sort", "updated-desc", "x sort:updated-desc"),
        ] {
            assert_eq!(with(text, qualifier, value), expected, "{text} + {qualifier}:{value}");
        }
    }

    #[test]
    fn a_condition_is_removed_and_the_rest_stays_as_it_was_typed() {
        for (text, qualifier, value, expected) in [
            ("crash  label:\"Bug\"   \"two  words\"", "label", "bug", "crash \"two  words\""),
            ("label:bug", "label", "bug", ""),
            ("-label:bug x", "label", "bug", "-label:bug x"),
            ("(label:bug OR x)", "label", "bug", "(label:bug OR x)"),
            ("type:pr x", "is", "pr", "x"),
        ] {
            assert_eq!(without(text, qualifier, value), expected, "{text} - {qualifier}:{value}");
        }
    }

    #[test]
    fn active_is_what_every_hit_fulfils() {
        assert!(is_active("crash is:open", "is", "open"));
        assert!(is_active("milestone:\"1.0 beta\"", "milestone", "1.0 Beta"));
        assert!(is_active("sort:updated", "sort", "updated-desc"));
        assert!(!is_active("-is:open", "is", "open"));
        assert!(!is_active("is:open OR crash", "is", "open"));
        assert!(!is_active("label:a,b", "label", "a"));
    }
}
