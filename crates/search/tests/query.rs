//! The query language as a whole: what it understands, what it notes, and that nothing upsets it.
#![allow(clippy::unwrap_used, reason = "a test that fails here says where")]

use gharvest_search::query::{
    ParseContext, Parsed, Query, edit, suggest, table,
    tree::{Keyword, Node},
};
use proptest::prelude::*;

fn context() -> ParseContext {
    ParseContext { now: "2024-06-15T10:30:00Z".parse().unwrap(), me: Some("octocat".into()) }
}

fn parse(text: &str) -> Parsed {
    Query::parse(text, &context())
}

/// The same query without notes, however it is spelled.
fn same(one: &str, other: &str) {
    let (one_parsed, other_parsed) = (parse(one), parse(other));
    assert_eq!(one_parsed.notes, [], "{one}");
    assert_eq!(other_parsed.notes, [], "{other}");
    assert_eq!(one_parsed.query.node(), other_parsed.query.node(), "`{one}` and `{other}`");
    assert_eq!(one_parsed.query.sort(), other_parsed.query.sort(), "`{one}` and `{other}`");
}

#[test]
fn different_spellings_are_one_query() {
    same("a b", "a AND b");
    same("-a", "NOT a");
    same("-(-a)", "a");
    same("(a) (b c)", "a b c");
    same("a OR (b OR c)", "a OR b OR c");
    same("label:a,b", "label:a OR label:b");
    same("IS:Open", "is:open");
    same("type:pr", "is:pr");
    same("state:closed", "is:closed");
    same("reason:\"not planned\"", "reason:not_planned");
    same("author:@me", "author:OctoCat");
    same("author:app/dependabot", "author:dependabot[bot]");
    same("created:>@today-7d", "created:>2024-06-08");
    same("label:bug@@today-1d", "label:bug@2024-06-14");
    same("was:label:\"good first issue\"", "was:\"label:good first issue\"");
    same("sort:updated", "sort:updated-desc");
    same("", "sort:created-desc");
    same("repo:a/b repo:c/d is:open", "is:open (repo:a/b OR repo:c/d)");
}

#[test]
fn words_with_marks_are_words() {
    for text in ["main()", "std::vec", "--no-default-features", "https://example.com/a?b=c", "C++", "f(x)"] {
        let parsed = parse(text);
        assert_eq!(parsed.query.print(), text);
        assert!(!matches!(parsed.query.node(), Node::All | Node::Not(_)), "{text}: {:?}", parsed.query.node());
    }
}

#[test]
fn or_binds_weaker_than_and() {
    let Node::Or(sides) = parse("a b OR c").query.node().clone() else { panic!("not an or") };
    assert!(matches!(sides[0], Node::And(_)));
}

#[test]
fn several_repositories_mean_any_of_them() {
    let parsed = parse("repo:a/b org:c");
    let expected =
        Node::Or(vec![Node::Is(Keyword::Repository, "a/b".into()), Node::Starts(Keyword::Repository, "c/".into())]);
    assert_eq!(parsed.query.node(), &expected);
}

#[test]
fn mistakes_are_noted_with_their_column_and_the_rest_runs() {
    for (text, column, needle, suggestion, rest) in [
        ("crash lable:bug", 7, "not a qualifier", Some("label:bug"), "crash"),
        ("crash is:opne", 7, "has no `opne`", Some("is:open"), "crash"),
        ("created:yesterday crash", 1, "expected a time", Some("created:>=2024-01-01"), "crash"),
        ("é comments:many", 3, "expected a number", Some("comments:>50"), "é"),
        ("first-response:>7 crash", 1, "expected a length of time", Some("first-response:>7d"), "crash"),
        ("label:bug@2024-13-01 crash", 1, "expected a date", None, "crash"),
        ("author:x@2024-01-01 crash", 1, "cannot be asked as of a date", None, "crash"),
        ("label: crash", 1, "expected a value", None, "crash"),
        ("sort:udpated crash", 1, "has no `udpated`", Some("sort:updated"), "crash"),
        ("crash OR", 9, "both sides", None, "crash"),
        ("(crash", 1, "not closed", None, "crash"),
        ("\"crash", 1, "not closed", None, "\"crash\""),
        ("crash )", 7, "no group", None, "crash"),
        ("was:nonsense crash", 1, "expected `open`", Some("was:label:bug"), "crash"),
        ("repo:log crash", 1, "OWNER/NAME", Some("org:log"), "crash"),
    ] {
        let parsed = parse(text);
        let [note] = &parsed.notes[..] else { panic!("{text}: {:?}", parsed.notes) };
        assert_eq!(note.column, column, "{text}: {note:?}");
        assert!(note.message.contains(needle), "{text}: {note:?}");
        assert_eq!(note.suggestion.as_deref(), suggestion, "{text}");
        assert_eq!(parsed.query.node(), parse(rest).query.node(), "{text}");
    }
}

#[test]
fn me_is_noted_where_nobody_is_signed_in() {
    let parsed = Query::parse("author:@me crash", &ParseContext { me: None, ..context() });
    assert_eq!(parsed.notes.len(), 1);
    assert_eq!(parsed.query.node(), parse("crash").query.node());
}

#[test]
fn length_depth_and_number_of_terms_are_bounded() {
    for text in ["(".repeat(3000), "-(".repeat(2000), "a ".repeat(2000), "NOT ".repeat(1000), "x".repeat(100_000)] {
        let parsed = parse(&text);
        assert!(!parsed.notes.is_empty(), "{}", &text[..10]);
        assert!(parsed.notes.len() < 100);
    }
}

/// Pieces that mean something to the parser, in any order.
fn query_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("(".to_owned()),
        Just(")".to_owned()),
        Just("-".to_owned()),
        Just("NOT ".to_owned()),
        Just(" OR ".to_owned()),
        Just(" AND ".to_owned()),
        Just("\"".to_owned()),
        Just("\\".to_owned()),
        Just(" ".to_owned()),
        Just(",".to_owned()),
        Just("@2024-01-05".to_owned()),
        Just("..".to_owned()),
        Just(">=".to_owned()),
        "[a-c]{1,2}",
        "\\PC{1,3}",
        proptest::sample::select(table::QUALIFIERS).prop_map(|qualifier| format!("{}:", qualifier.name)),
        proptest::sample::select(table::QUALIFIERS).prop_map(|qualifier| format!("{} ", qualifier.example)),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn printing_and_parsing_again_gives_the_same_query(text in query_text()) {
        let first = parse(&text).query;
        let printed = first.print();
        let second = parse(&printed).query;
        prop_assert_eq!(second.print(), printed.clone(), "from {:?}", text);
        prop_assert_eq!(second.node(), first.node(), "{:?} printed as {:?}", text, printed);
        prop_assert_eq!(second.sort(), first.sort());
    }

    #[test]
    fn no_text_upsets_the_parser(text in "\\PC{0,200}|[\\x00-\\x7f]{0,200}") {
        let parsed = parse(&text);
        prop_assert!(parsed.notes.iter().all(|note| note.column >= 1 && note.column <= text.chars().count() + 1));
        let request = suggest::at_end(&text);
        let _known = suggest::known(&request);
        prop_assert!(suggest::complete(&text, "x").ends_with("x "));
    }

    #[test]
    fn a_condition_that_was_added_is_active_until_it_is_removed(text in query_text(), label in "[a-z ,\"]{0,6}[a-z]") {
        let added = edit::with(&text, "label", &label);
        prop_assert!(edit::is_active(&added, "label", &label), "{:?} -> {:?}", text, added);
        let removed = edit::without(&added, "label", &label);
        prop_assert!(!edit::is_active(&removed, "label", &label), "{:?} -> {:?}", added, removed);
    }
}
