//! The web pages that addresses in documents lead to: bare, so that a link in a browser ends somewhere.

use axum::body::Body;
use gharvest_model::Kind;
use http::Response;

use crate::{
    server::{Shared, html},
    state::{Found, View},
};

/// A page for a path that is not of the API.
pub(crate) fn answer(shared: &Shared, path: &str) -> Response<Body> {
    match page(shared, path) {
        Some(text) => html(200, &text),
        None => html(404, &frame("Not found", "There is no such page in this simulated GitHub.")),
    }
}

fn page(shared: &Shared, path: &str) -> Option<String> {
    let state = shared.state.lock();
    let parts: Vec<&str> = path.trim_matches('/').split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [] => {
            let names: String = state
                .repositories
                .values()
                .map(|found| format!("<li><a href=\"/{0}\">{0}</a></li>", escape(&found.full_name())))
                .collect();
            Some(frame("A simulated GitHub", &format!("<ul>{names}</ul>")))
        }
        [owner, name, rest @ ..] => {
            let (Found::Here(id) | Found::Moved(id)) = state.find(owner, name)?;
            let found = state.repositories.get(&id)?;
            match rest {
                [] => {
                    let items: String = found
                        .summaries
                        .iter()
                        .rev()
                        .take(30)
                        .map(|(number, summary)| {
                            let word = if summary.kind == Kind::Issue { "issues" } else { "pull" };
                            format!(
                                "<li><a href=\"/{}/{word}/{number}\">#{number}</a></li>",
                                escape(&found.full_name())
                            )
                        })
                        .collect();
                    Some(frame(&escape(&found.full_name()), &format!("<ul>{items}</ul>")))
                }
                ["issues" | "pull", number, ..] => {
                    let issue = state.show(found.issue(&state.people, number.parse().ok()?)?, View::default());
                    let text = |key: &str| escape(issue[key].as_str().unwrap_or_default());
                    let title = format!("{} #{number}", text("title"));
                    Some(frame(&title, &format!("<p>{}</p><pre>{}</pre>", text("state"), text("body"))))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// `title` and `body` are HTML already.
fn frame(title: &str, body: &str) -> String {
    format!("<!doctype html><meta charset=\"utf-8\"><title>{title}</title><h1>{title}</h1>{body}")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
