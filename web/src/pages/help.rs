//! `/-/help/search`: the language of the search box, from the parser's own tables.

use gharvest_search::query::table::{OPERATORS, QUALIFIERS, Values};
use maud::{Markup, html};

use super::Page;
use crate::links;

/// `GET /-/help/search`
pub(crate) async fn page() -> Page {
    Page {
        title: "Search help".to_owned(),
        class: "text",
        body: html! {
            h1 { "Search help" }
            p class="lead" {
                "The language is GitHub's, with more of it. Words are looked for in titles, bodies, comments, reviews and review comments of all mirrored repositories. "
                "A number, a GitHub address or a commit's sha leads straight to its thread."
            }
            section {
                h2 { "Words and operators" }
                div class="scroll" tabindex="0" { table class="wide" {
                    thead { tr { th scope="col" { "Example" } th scope="col" { "Finds" } } }
                    tbody { @for operator in OPERATORS { tr { td { (example(operator.example)) } td { (operator.help) } } } }
                } }
            }
            section {
                h2 { "Qualifiers" }
                div class="scroll" tabindex="0" { table class="wide" {
                    thead { tr { th scope="col" { "Qualifier" } th scope="col" { "Finds" } th scope="col" { "Example" } th scope="col" { "Words" } } }
                    tbody {
                        @for qualifier in QUALIFIERS {
                            tr id=(qualifier.name) {
                                th scope="row" { code { (qualifier.name) ":" } }
                                td { (qualifier.help) @if qualifier.as_of { span class="quiet" { " · may end in " code { "@2024-01-05" } } } }
                                td { (example(qualifier.example)) }
                                td { (words(qualifier.values)) }
                            }
                        }
                    }
                } }
            }
            section {
                h2 { "Keys" }
                dl {
                    dt { kbd { "/" } } dd { "to the search box" }
                    dt { kbd { "j" } " " kbd { "k" } } dd { "to the next and the previous entry" }
                    dt { kbd { "Enter" } } dd { "opens it" }
                    dt { kbd { "Esc" } } dd { "closes the suggestions" }
                }
            }
        },
        ..Page::default()
    }
}

fn example(query: &str) -> Markup {
    html! { a href=(links::search(query)) { code { (query) } } }
}

fn words(values: Values) -> Markup {
    let kind = match values {
        Values::Fixed(choices) => {
            return html! { @for (at, choice) in choices.iter().enumerate() { @if at > 0 { ", " } code title=(choice.help) { (choice.word) } } };
        }
        Values::Label => "a label",
        Values::Person => "a login, or @me",
        Values::Milestone => "a milestone",
        Values::Repository => "owner/name",
        Values::Owner => "a login",
        Values::Text => "any text",
        Values::Time => "a day, month or year, or a range",
        Values::Count => "a number or a range",
        Values::Duration => "a length of time such as 7d, or a range",
        Values::Condition => "another condition",
    };
    html! { span class="quiet" { (kind) } }
}
