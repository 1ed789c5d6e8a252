//! Pages: one frame around all of them, and what they share.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

use crate::{
    assets,
    error::{ApiError, CHALLENGE},
    links,
    state::WebState,
};

pub(crate) mod audit;
pub(crate) mod help;
pub(crate) mod repository;
pub(crate) mod search;
pub(crate) mod status;
pub(crate) mod thread;

/// A page before it is put into its frame.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) title: String,
    pub(crate) body: Markup,
    /// What stands in the search box.
    pub(crate) query: String,
    /// Limits a search from this page: `repo:owner/name `.
    pub(crate) live: Option<String>,
    /// Feeds of this page: address and type.
    pub(crate) feeds: Vec<(String, &'static str)>,
    /// A wide page has a column beside the text.
    pub(crate) class: &'static str,
}

impl Page {
    /// The page with its frame.
    pub(crate) fn render(&self) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    title { (self.title) " · gharvest" }
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    link rel="stylesheet" href=(assets::style());
                    link rel="icon" type="image/svg+xml" href=(assets::icon());
                    link rel="search" type="application/opensearchdescription+xml" title="gharvest" href="/-/opensearch.xml";
                    @for (address, kind) in &self.feeds { link rel="alternate" type=(kind) title=(self.title) href=(address); }
                    script src=(assets::script()) defer {}
                }
                body class=(self.class) data-live=[self.live.as_deref()] {
                    a class="skip" href="#main" { "Skip to content" }
                    (header(&self.query))
                    main id="main" tabindex="-1" { (self.body) }
                    footer {
                        a href="/status" { "Status" } " · " a href="/-/help/search" { "Search help" } " · "
                        a href="/api/v1/openapi.json" { "API" }
                        span class="keys" { kbd { "/" } " search " kbd { "j" } kbd { "k" } " move " kbd { "Enter" } " open" }
                    }
                }
            }
        }
    }
}

fn header(query: &str) -> Markup {
    html! {
        header class="top" {
            a class="brand" href="/" aria-label="gharvest, home" { "gharvest" }
            form class="search" role="search" action="/" method="get" {
                input type="search" name="q" value=(query) placeholder="Search issues, pull requests and every word said on them"
                    aria-label="Search" autocomplete="off" spellcheck="false" maxlength="2048" enterkeyhint="search" data-search;
                button type="submit" { "Search" }
            }
            nav aria-label="Pages" { a href="/status" { "Status" } a href="/-/help/search" { "Help" } }
        }
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let mut response = self.render().into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        response
    }
}

/// An error in the form that the path promises: problem details for the API, a page for people.
pub(crate) fn error_for(path: &str, error: &ApiError, state: &WebState) -> Response {
    if path.starts_with("/api/") || path == "/events" {
        return error.clone().into_response();
    }
    let page = Page {
        title: error.status.canonical_reason().unwrap_or("Error").to_owned(),
        body: html! {
            article class="message" {
                h1 { (error.status.canonical_reason().unwrap_or("Error")) }
                p { (sentence(&error.detail)) }
                @if error.status == StatusCode::NOT_FOUND {
                    p { "GitHub may have it: " a rel="nofollow noopener noreferrer" href=(github_link(path, state)) { (github_link(path, state)) } }
                }
                p { a href="/" { "Back to the search" } }
            }
        },
        ..Page::default()
    };
    let mut response = page.into_response();
    *response.status_mut() = error.status;
    if error.status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
    }
    response
}

/// Gives errors of pages a page instead of problem details.
pub(crate) async fn dress_errors(
    axum::extract::State(state): axum::extract::State<WebState>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    match response.extensions_mut().remove::<ApiError>() {
        Some(error) => error_for(&path, &error, &state),
        None => response,
    }
}

/// The same path on GitHub, without our prefix for owners named like our pages.
pub(crate) fn github_link(path: &str, state: &WebState) -> String {
    let path = path.strip_prefix("/-/").map_or_else(|| path.to_owned(), |rest| format!("/{rest}"));
    format!("{}{path}", state.github_url)
}

/// Text that begins with a capital letter and ends with a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    let end = if text.ends_with(['.', '?', '!']) { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}

/// A moment as people say it, exact on hover and for machines.
pub(crate) fn moment(at: Timestamp, now: Timestamp) -> Markup {
    let exact = at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let seconds = now.duration_since(at).as_secs();
    let words = match seconds {
        ..-60 => format!("in {}", span(seconds.unsigned_abs())),
        -60..60 => "just now".to_owned(),
        60..2_592_000 => format!("{} ago", span(seconds.unsigned_abs())),
        _ => at.strftime("%-d %b %Y").to_string(),
    };
    html! { time datetime=(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()) title=(exact) { (words) } }
}

/// A length of time in its largest unit.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        172_800..63_072_000 => format!("{} days", seconds / 86_400),
        _ => format!("{} years", seconds / 31_536_000),
    }
}

/// Hours in their largest unit.
pub(crate) fn hours(hours: f32) -> String {
    span((f64::from(hours.max(0.0)) * 3600.0) as u64)
}

/// A line of text in which backticks mark code, as in titles on GitHub.
pub(crate) fn ticked(text: &str) -> Markup {
    let pieces: Vec<&str> = text.split('`').collect();
    // An unpaired backtick is just a backtick.
    if pieces.len().is_multiple_of(2) {
        return html! { (text) };
    }
    html! {
        @for (at, piece) in pieces.iter().enumerate() {
            @if at % 2 == 1 && !piece.is_empty() { code { (piece) } } @else if at % 2 == 1 { "``" } @else { (piece) }
        }
    }
}

/// A number with separators for thousands.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things, one of them or several.
pub(crate) fn counted(number: u64, thing: &str) -> String {
    let end = if number == 1 { "" } else { "s" };
    format!("{} {thing}{end}", count(number))
}

/// Somebody, as a link to what they took part in.
pub(crate) fn person(login: &str) -> Markup {
    html! { a class="person" href=(links::search(&format!("involves:{login}"))) { bdi { (login) } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_said_briefly() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(999), "999");
        let now: Timestamp = "2024-06-01T12:00:00Z".parse().unwrap();
        let said = |at: &str| moment(at.parse().unwrap(), now).into_string();
        assert!(said("2024-06-01T10:00:00Z").contains(">2 h ago<"));
        assert!(said("2023-02-03T10:00:00Z").contains(">3 Feb 2023<"));
    }
}
