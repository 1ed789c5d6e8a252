//! The page about the search language says what the parser knows: its tables are made of the parser's own.
//!
//! `GHARVEST_WRITE_DOCS=1 cargo test -p gharvest-search --test documented` writes them anew.
#![allow(clippy::unwrap_used, reason = "a test that fails here says where")]

use std::fmt::Write;

use gharvest_search::query::table::{OPERATORS, QUALIFIERS, SORTS, Values};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../_docs/search.md");
const BEGIN: &str = "<!-- Made from the parser's tables: begin -->\n";
const END: &str = "<!-- Made from the parser's tables: end -->\n";

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn words(values: Values) -> String {
    match values {
        Values::Fixed(choices) => {
            choices.iter().map(|choice| format!("`{}`", choice.word)).collect::<Vec<_>>().join(" ")
        }
        Values::Label => "a label".into(),
        Values::Person => "a login, or `@me`".into(),
        Values::Milestone => "a milestone".into(),
        Values::Repository => "`owner/name`".into(),
        Values::Owner => "a login".into(),
        Values::Text => "any text".into(),
        Values::Time => "a day, month or year, or a range".into(),
        Values::Count => "a number or a range".into(),
        Values::Duration => "a length of time such as `7d`, or a range".into(),
        Values::Condition => "another condition".into(),
    }
}

fn tables() -> String {
    let mut text = String::from("| example | finds |\n| --- | --- |\n");
    for operator in OPERATORS {
        writeln!(text, "| `{}` | {} |", cell(operator.example), cell(operator.help)).unwrap();
    }
    text.push_str("\n| qualifier | finds | example | words | as of |\n| --- | --- | --- | --- | --- |\n");
    for qualifier in QUALIFIERS.iter().filter(|qualifier| qualifier.name != "sort") {
        let (help, example) = (cell(qualifier.help), cell(qualifier.example));
        let as_of = if qualifier.as_of { "`@2024-01-05`" } else { "" };
        writeln!(text, "| `{}:` | {help} | `{example}` | {} | {as_of} |", qualifier.name, words(qualifier.values))
            .unwrap();
    }
    text.push_str("\n| sort | order; `-asc` turns it round |\n| --- | --- |\n");
    for (choice, _) in SORTS {
        writeln!(text, "| `sort:{}` | {} |", choice.word, choice.help).unwrap();
    }
    text
}

#[test]
fn the_page_says_what_the_parser_knows() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has the mark of the beginning");
    let (own, after) = rest.split_once(END).expect("the page has the mark of the end");
    let tables = tables();
    if std::env::var_os("GHARVEST_WRITE_DOCS").is_some() {
        std::fs::write(PAGE, format!("{before}{BEGIN}\n{tables}\n{END}{after}")).unwrap();
        return;
    }
    assert_eq!(own.trim(), tables.trim(), "write it anew with GHARVEST_WRITE_DOCS=1");
}
