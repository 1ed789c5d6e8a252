//! Edit histories: what bodies, comments and reviews said before somebody edited them. REST tells nothing of it.
//!
//! [`Client::edited`] is cheap enough to be asked of everything: twelve hundred texts are a call and a point.
//! [`Client::edits`] is for those that were edited: a connection each, and the answer has whole texts, so fewer come in
//! one request.

use std::collections::{BTreeMap, BTreeSet};

use gharvest_model::RepositoryName;
use jiff::Timestamp;
use serde_json::{Value, value::RawValue};

use super::{
    document,
    nodes::{By, MOST_NODES, Nodes},
    tree,
};
use crate::{Client, Purpose, Result};

/// Texts whose versions come in one request: a text can have 256 KiB, and each version is whole.
pub const EDITS_AT_ONCE: usize = 50;
/// The latest versions of a text that are asked for.
pub const MOST_EDITS: usize = 20;

/// One version of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// When it began to be the text; of the first version, when that was written.
    pub edited_at: Timestamp,
    /// Who made it so, by login; none where the account is gone.
    pub by: Option<String>,
    /// The whole text; none where somebody took it out of the history.
    pub text: Option<String>,
}

/// What GitHub told of texts, by node id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told<T> {
    /// Of each that it told of.
    pub texts: BTreeMap<String, T>,
    /// Those about which it said nothing, even alone: what is true of them is not known.
    pub failed: BTreeSet<String>,
}

impl Client {
    /// When these texts were last edited: issues, pull requests, comments, reviews and review comments. What was never
    /// edited, or is not there any more, is missing.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn edited(
        &self,
        repository: &RepositoryName,
        ids: &[String],
        purpose: Purpose,
    ) -> Result<Told<Timestamp>> {
        let asked = By { write: document::edited, at_once: MOST_NODES, purpose, repository };
        let Nodes { found, failed } = self.nodes(asked, ids.to_vec()).await?;
        let edited = found.into_iter().filter_map(|(id, node)| Some((id, time(&tree(&node)["lastEditedAt"])?)));
        Ok(Told { texts: edited.collect(), failed })
    }

    /// The latest [`MOST_EDITS`] versions of these texts, oldest first, the present one included. What was never edited
    /// has none.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn edits(
        &self,
        repository: &RepositoryName,
        ids: &[String],
        purpose: Purpose,
    ) -> Result<Told<Vec<Edit>>> {
        let asked = By { write: document::edits, at_once: EDITS_AT_ONCE, purpose, repository };
        let Nodes { found, failed } = self.nodes(asked, ids.to_vec()).await?;
        let told = |node: &RawValue| versions(tree(node)["userContentEdits"]["nodes"].take());
        Ok(Told { texts: found.into_iter().map(|(id, node)| (id, told(&node))).collect(), failed })
    }
}

/// GitHub lists the newest first.
fn versions(nodes: Value) -> Vec<Edit> {
    let Value::Array(nodes) = nodes else { return Vec::new() };
    let version = |mut node: Value| {
        let is_deleted = !node["deletedAt"].is_null();
        Some(Edit {
            edited_at: time(&node["editedAt"])?,
            by: node["editor"]["login"].as_str().map(str::to_owned),
            text: match node["diff"].take() {
                Value::String(text) if !is_deleted => Some(text),
                _ => None,
            },
        })
    };
    let mut versions: Vec<Edit> = nodes.into_iter().rev().filter_map(version).collect();
    versions.sort_by_key(|version| version.edited_at);
    versions
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_stand_in_the_order_of_time_and_what_was_taken_out_has_no_text() {
        let node = |minute, by: Value, diff: Value, deleted: Value| json!({"editedAt": format!("2026-01-01T00:0{minute}:00Z"), "editor": by, "diff": diff, "deletedAt": deleted});
        let login = json!({"login": "ann"});
        let nodes = json!([
            node(2, login.clone(), json!("three"), Value::Null),
            {"editedAt": null},
            node(1, Value::Null, json!("secret"), json!("2026-01-02T00:00:00Z")),
            node(0, login, json!("one"), Value::Null),
        ]);
        let told = versions(nodes);
        let texts: Vec<_> = told.iter().map(|edit| edit.text.as_deref()).collect();
        assert_eq!(texts, [Some("one"), None, Some("three")]);
        let by: Vec<_> = told.iter().map(|edit| edit.by.as_deref()).collect();
        assert_eq!(by, [Some("ann"), None, Some("ann")]);
        assert_eq!(versions(Value::Null), []);
    }
}
