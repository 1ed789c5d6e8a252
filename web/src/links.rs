//! Paths of our own pages. All of them are built here, so that an owner named like one of our pages stays reachable.

use gharvest_model::Kind;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// First words of paths that are ours; an owner of that name is reached below `/-/`.
pub(crate) const RESERVED: [&str; 11] =
    ["-", "api", "data", "events", "healthz", "kibana", "metrics", "readyz", "status", "webhooks", "favicon.ico"];

/// Whether an owner's page cannot stand at its first word.
pub(crate) fn is_reserved(owner: &str) -> bool {
    RESERVED.iter().any(|word| word.eq_ignore_ascii_case(owner))
}

const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'%')
    .add(b'/')
    .add(b'\\')
    .add(b'{')
    .add(b'}')
    .add(b'\'');

/// The page of an owner.
pub(crate) fn owner(owner: &str) -> String {
    let prefix = if is_reserved(owner) { "/-/" } else { "/" };
    format!("{prefix}{}", utf8_percent_encode(owner, SEGMENT))
}

/// The page of a repository, given as `owner/name`.
pub(crate) fn repository(full_name: &str) -> String {
    let (owner_login, name) = full_name.split_once('/').unwrap_or((full_name, ""));
    format!("{}/{}", owner(owner_login), utf8_percent_encode(name, SEGMENT))
}

/// The page that says how completely a repository is mirrored.
pub(crate) fn audit(full_name: &str) -> String {
    let path = repository(full_name);
    format!("/-/{}/audit", path.trim_start_matches("/-/").trim_start_matches('/'))
}

/// A repository in the API.
fn in_api(full_name: &str) -> String {
    let (owner, name) = full_name.split_once('/').unwrap_or((full_name, ""));
    format!("/api/v1/repositories/{}/{}", utf8_percent_encode(owner, SEGMENT), utf8_percent_encode(name, SEGMENT))
}

/// The badge of a repository in the API.
pub(crate) fn badge(full_name: &str) -> String {
    format!("{}/badge.svg", in_api(full_name))
}

/// The gap report of a repository in the API.
pub(crate) fn gap_report(full_name: &str) -> String {
    format!("{}/audit", in_api(full_name))
}

/// The page of a thread.
pub(crate) fn item(full_name: &str, kind: Kind, number: u64) -> String {
    let word = match kind {
        Kind::Issue => "issues",
        Kind::PullRequest => "pull",
    };
    format!("{}/{word}/{number}", repository(full_name))
}

/// The page of a search.
pub(crate) fn search(query: &str) -> String {
    let query: String = form_urlencoded(&[("q", query)]);
    format!("/?{query}")
}

/// Pairs as a query string.
pub(crate) fn form_urlencoded(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// A record in the API.
pub(crate) fn record(full_name: &str, number: u64) -> String {
    let (owner, name) = full_name.split_once('/').unwrap_or((full_name, ""));
    format!("/api/v1/items/{}/{}/{number}", utf8_percent_encode(owner, SEGMENT), utf8_percent_encode(name, SEGMENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_named_like_our_pages_are_reached_below_a_dash() {
        assert_eq!(item("Status/x", Kind::Issue, 3), "/-/Status/x/issues/3");
        assert_eq!(item("rust-lang/log", Kind::PullRequest, 3), "/rust-lang/log/pull/3");
        assert_eq!(["a/b", "Status/x"].map(audit), ["/-/a/b/audit", "/-/Status/x/audit"]);
        assert_eq!(search(r#"label:"a b" #3"#), "/?q=label%3A%22a+b%22+%233");
    }
}
