//! The scenarios cover the whole language, and the plain reading of the tree agrees with them.
#![allow(clippy::unwrap_used, reason = "a test that fails here says where")]

use std::collections::BTreeSet;

use gharvest_model::RepositoryId;
use gharvest_search::{
    Access, Facet,
    document::ThreadDocuments,
    query::{
        Query, evaluate, suggest,
        syntax::{Content, Term},
        table::{self, Values},
    },
    scenario::{self, Name},
};

/// Every query of every scenario.
fn queries() -> Vec<Query> {
    let rows = scenario::all().into_iter().flat_map(|scenario| scenario.queries);
    rows.filter_map(|row| row.query).map(|text| Query::parse(&text, &scenario::context()).query).collect()
}

/// The terms of every query.
fn terms() -> Vec<Term> {
    let parsed = queries();
    let expressions = parsed.iter().filter_map(|query| gharvest_search::query::syntax::parse(query.text()).0);
    expressions.flat_map(|expression| expression.terms().into_iter().cloned().collect::<Vec<_>>()).collect()
}

#[test]
fn every_qualifier_and_each_of_its_words_has_a_scenario() {
    let terms = terms();
    let mut missing = Vec::new();
    for qualifier in table::QUALIFIERS {
        let values: BTreeSet<String> = terms
            .iter()
            .filter_map(|term| match &term.content {
                Content::Qualifier(name, values) if *name == qualifier.name => Some(values),
                _ => None,
            })
            .flatten()
            .map(|value| value.text.to_lowercase())
            .collect();
        if values.is_empty() {
            missing.push(format!("{}:", qualifier.name));
        }
        if let Values::Fixed(choices) = qualifier.values {
            let unseen = choices.iter().filter(|choice| !values.contains(choice.word));
            missing.extend(unseen.map(|choice| format!("{}:{}", qualifier.name, choice.word)));
        }
    }
    assert_eq!(missing, [""; 0], "without a scenario");
}

#[test]
fn every_qualifier_that_can_be_asked_as_of_a_date_has_such_a_scenario() {
    let terms = terms();
    for qualifier in table::QUALIFIERS.iter().filter(|qualifier| qualifier.as_of) {
        let asked = terms.iter().any(|term| match &term.content {
            Content::Qualifier(name, values) => {
                *name == qualifier.name && values.iter().any(|value| value.as_of.is_some())
            }
            _ => false,
        });
        assert!(asked, "{}:…@date has no scenario", qualifier.name);
    }
}

/// How an operator shows in a query's text.
fn shows(operator: &str, text: &str) -> bool {
    let words: Vec<_> = text.split_whitespace().collect();
    let value =
        |start: &str| words.iter().any(|word| word.split_once(':').is_some_and(|(_, value)| value.starts_with(start)));
    let strict = |sign: &str| value(sign) && !value(&format!("{sign}="));
    match operator {
        "words" => words.len() > 1 && words.iter().all(|word| word.chars().all(char::is_alphanumeric)),
        "phrase" => text.starts_with('"'),
        "minus" => words.iter().any(|word| word.starts_with('-') && word.len() > 1 && !word.starts_with("--")),
        "NOT" | "AND" | "OR" => words.contains(&operator),
        "parentheses" => text.contains(" OR ") && text.starts_with('('),
        "comma" => words.iter().any(|word| word.starts_with("label:") && word.contains(',')),
        "greater" => strict(">"),
        "at least" => value(">="),
        "less" => strict("<"),
        "at most" => value("<="),
        "range" => text.contains("..") && !text.contains('*'),
        "open range" => text.contains("..*") || text.contains("*.."),
        "today" => text.contains("@today"),
        "as of" => words.iter().any(|word| word.starts_with("label:") && word.contains("@20")),
        other => panic!("the test does not know the operator {other}"),
    }
}

#[test]
fn every_operator_has_a_scenario() {
    let queries = queries();
    for operator in table::OPERATORS {
        let shown = queries.iter().any(|query| shows(operator.name, query.text()));
        assert!(shown, "the operator {} has no scenario", operator.name);
    }
}

#[test]
fn every_facet_and_every_kind_of_suggestion_has_a_scenario() {
    let scenarios = scenario::all();
    let rows: Vec<_> = scenarios.iter().flat_map(|scenario| &scenario.queries).collect();
    for facet in Facet::ALL {
        let name = scenario::facet_name(facet);
        assert!(rows.iter().any(|row| row.facets.get(&name).is_some_and(|values| !values.is_empty())), "{name}");
    }
    let kinds: BTreeSet<_> = rows.iter().flat_map(|row| &row.suggestions).map(|(kind, ..)| kind.as_str()).collect();
    for kind in ["label", "author", "assignee", "milestone", "repository", "item"] {
        assert!(kinds.contains(kind), "no scenario suggests a {kind}");
    }
    let asked = rows.iter().filter_map(|row| row.suggest.as_deref()).map(suggest::at_end);
    assert!(asked.map(|request| request.qualifier).collect::<BTreeSet<_>>().len() > 4);
}

fn may_see(access: &Access, thread: &ThreadDocuments) -> bool {
    let id = &thread.item.repository_id;
    match access {
        Access::Public => !thread.item.private,
        Access::Some { and, except } => (!thread.item.private || and.contains(id)) && !except.contains(id),
        Access::All => true,
    }
}

#[test]
fn the_plain_reading_of_the_tree_agrees_with_every_scenario() {
    for scenario in scenario::all() {
        let threads = scenario.threads();
        for row in &scenario.queries {
            let (Some(text), Some(expected)) = (&row.query, &row.items) else { continue };
            let query = Query::parse(text, &scenario::context()).query;
            let matching =
                threads.iter().filter(|thread| may_see(&row.access, thread) && evaluate::matches(query.node(), thread));
            let mut found: Vec<_> = matching
                .map(|thread| match thread.item.repository_id {
                    RepositoryId(1) => Name::Number(thread.item.number),
                    RepositoryId(other) => Name::Elsewhere(other, thread.item.number),
                })
                .collect();
            let mut expected = expected.clone();
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "{}: {text}", scenario.name);
        }
    }
}
