//! Icons, drawn here on a 16 by 16 grid. They inherit the colour of the text around them.

use maud::{Markup, html};

fn icon(path: &str) -> Markup {
    html! { svg class="icon" viewBox="0 0 16 16" aria-hidden="true" { path d=(path) {} } }
}

/// The state of an item: its shape says kind and state, its colour only repeats it.
pub(crate) fn state(is_pull: bool, state: &str, reason: Option<&str>, draft: bool) -> Markup {
    let (class, word, path) = match (is_pull, state) {
        (_, "merged") => ("merged", "merged", MERGED),
        (true, "closed") => ("closed", "closed", PULL_CLOSED),
        (true, _) if draft => ("draft", "draft", PULL_DRAFT),
        (true, _) => ("open", "open", PULL),
        (false, "closed") if matches!(reason, Some("not_planned" | "duplicate")) => {
            ("skipped", "closed as not planned", SKIPPED)
        }
        (false, "closed") => ("done", "closed", DONE),
        (false, _) => ("open", "open", OPEN),
    };
    let kind = if is_pull { "pull request" } else { "issue" };
    html! {
        span class=(format_args!("state {class}")) role="img" aria-label=(format_args!("{word} {kind}"))
            title=(format_args!("{word} {kind}")) { (icon(path)) }
    }
}

/// A speech bubble.
pub(crate) fn comment() -> Markup {
    icon("M2 2.5h12v8.5H7.5L4 14v-3H2z")
}

/// A dot for events.
pub(crate) fn dot() -> Markup {
    icon("M8 5.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z")
}

const OPEN: &str = "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zM8 6.8a1.2 1.2 0 1 0 0 2.4 1.2 1.2 0 0 0 0-2.4z";
const DONE: &str = "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zM5.3 8.2l1.9 1.9 3.6-3.9";
const SKIPPED: &str = "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zM4 12l8-8";
const PULL: &str = "M4 2.5a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3zM4 5.5v5M4 10.5a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3zM12 10.5a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3zM12 10.5V6a2 2 0 0 0-2-2H7.5M9.5 2L7.5 4l2 2";
const PULL_DRAFT: &str = "M4 2.5a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3zM4 5.5v5M4 10.5a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3zM12 10.5a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3zM12 3v1M12 6.5v1";
const PULL_CLOSED: &str = "M4 2.5a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3zM4 5.5v5M4 10.5a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3zM12 10.5a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3zM12 10.5V7M10.5 2.5l3 3M13.5 2.5l-3 3";
const MERGED: &str = "M4 2.5a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3zM4 5.5v5M4 10.5a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3zM4 5.5c0 2.2 2 3.5 6.5 3.5M12 7.5a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3z";
