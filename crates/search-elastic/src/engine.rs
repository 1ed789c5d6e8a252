//! Which engine answers: Elasticsearch 8 or 9, OpenSearch 2 or 3; others are refused with a sentence.
//!
//! Elasticsearch marks its answers with the header `X-elastic-product`, whatever their status; OpenSearch names itself in
//! `version.distribution`. A trimmed Elasticsearch answers `GET /` with 405: its version stands in `_nodes`.

use std::{fmt, time::Duration};

use elasticsearch::http::Method;
use gharvest_search::{Error, ErrorKind, Result};
use serde_json::Value;

use crate::client::{Answer, Client};

const TIMEOUT: Duration = Duration::from_secs(10);

/// The engine and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Engine {
    name: &'static str,
    version: String,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// Asks the engine what it is.
pub(crate) async fn detect(client: &Client) -> Result<Engine> {
    let root = client.ask("open", Method::Get, "/", None, TIMEOUT).await?;
    let nodes = if needs_nodes(&root) {
        let path = "/_nodes/_local?filter_path=nodes.*.version";
        Some(client.ask("open", Method::Get, path, None, TIMEOUT).await?)
    } else {
        None
    };
    judge(&root, nodes.as_ref())
}

fn needs_nodes(root: &Answer) -> bool {
    root.product.is_some() && root.body.pointer("/version/number").is_none()
}

fn judge(root: &Answer, nodes: Option<&Answer>) -> Result<Engine> {
    if matches!(root.status, 401 | 403 | 429 | 502..=504) {
        return Err(root.error("open"));
    }
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let told = text(root.body.pointer("/version/number"));
    let refused = |message: String| Err(Error::new(ErrorKind::Refused, "open", message));
    if root.product.as_deref() == Some("Elasticsearch") {
        let of_nodes = || text(nodes?.body.get("nodes")?.as_object()?.values().next()?.get("version"));
        let Some(version) = told.or_else(of_nodes) else {
            return refused(
                "this Elasticsearch does not say its version; give the credentials the privilege monitor".into(),
            );
        };
        return supported("Elasticsearch", version, &["8", "9"]);
    }
    match (root.body.pointer("/version/distribution").and_then(Value::as_str), told) {
        (Some("opensearch"), Some(version)) => supported("OpenSearch", version, &["2", "3"]),
        (_, Some(version)) => refused(format!(
            "this search engine calls itself version {version} and is none that is served; use Elasticsearch 8 or 9, or OpenSearch 2 or 3"
        )),
        _ => refused(format!("what answers at [search] url is no search engine (status {})", root.status)),
    }
}

fn supported(name: &'static str, version: String, majors: &[&str]) -> Result<Engine> {
    let major = version.split('.').next().unwrap_or_default();
    if majors.contains(&major) {
        return Ok(Engine { name, version });
    }
    let message = format!("{name} {version} is not served; use {name} {} or {}", majors[0], majors[1]);
    Err(Error::new(ErrorKind::Refused, "open", message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, product: Option<&str>, body: Value) -> Answer {
        Answer { status, product: product.map(str::to_owned), body }
    }

    #[test]
    fn engines_are_told_from_each_other_by_recorded_answers() {
        let elastic = |number: &str| {
            answer(200, Some("Elasticsearch"), json!({"version": {"number": number, "build_flavor": "default"}}))
        };
        let open =
            |number: &str| answer(200, None, json!({"version": {"distribution": "opensearch", "number": number}}));
        for (root, expected) in [
            (elastic("8.19.0"), Some("Elasticsearch 8.19.0")),
            (elastic("9.1.0"), Some("Elasticsearch 9.1.0")),
            (elastic("7.17.9"), None),
            (open("2.19.1"), Some("OpenSearch 2.19.1")),
            (open("3.8.0"), Some("OpenSearch 3.8.0")),
            (open("1.3.0"), None),
            (answer(200, None, json!({"version": {"number": "7.10.2"}})), None),
            (answer(200, None, Value::Null), None),
            (answer(401, None, Value::Null), None),
        ] {
            assert_eq!(judge(&root, None).ok().map(|engine| engine.to_string()).as_deref(), expected, "{root:?}");
        }
        let trimmed = answer(405, Some("Elasticsearch"), json!({"error": "Incorrect HTTP method"}));
        assert!(needs_nodes(&trimmed));
        let nodes = answer(200, Some("Elasticsearch"), json!({"nodes": {"x": {"version": "8.19.0"}}}));
        assert_eq!(judge(&trimmed, Some(&nodes)).unwrap().to_string(), "Elasticsearch 8.19.0");
    }
}
