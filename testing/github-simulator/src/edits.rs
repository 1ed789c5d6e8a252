//! The edit history of texts, which only GraphQL tells.
//!
//! What was edited here is kept. Texts that were edited before the world began (comments whose `updated_at` says so, and
//! the body of every fifth item) have an earlier version that is made of the present one.

use gharvest_model::Kind;
use serde_json::{Value, json};

use crate::{
    graph::{actor, connection},
    objects::{author, seconds, time},
    repository::Repository,
    state::{State, View, extend},
};

/// One version of a text.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    /// When it began to be the text, seconds since 1970.
    at: i64,
    /// Whose it is, as REST's documents have accounts.
    by: Value,
    text: String,
    /// When somebody took it out of the history.
    deleted_at: Option<i64>,
}

impl Repository {
    /// Keeps that a text of this object (an issue or a comment, as it was before) was edited.
    pub(crate) fn keep_edit(&mut self, of: &Value, old: &Value, new: &str, by: u64, at: i64) {
        let Some(id) = of["node_id"].as_str() else { return };
        let created = of["created_at"].as_str().or_else(|| of["submitted_at"].as_str()).and_then(seconds);
        let first = || Edit {
            at: created.unwrap_or(at),
            by: of["user"].clone(),
            text: old.as_str().unwrap_or_default().to_owned(),
            deleted_at: None,
        };
        let edits = self.edits.entry(id.to_owned()).or_insert_with(|| vec![first()]);
        edits.push(Edit { at, by: author(Some(by)), text: new.to_owned(), deleted_at: None });
    }

    /// Takes the first version of an item's body out of its history. False if it was never edited.
    pub(crate) fn delete_first_edit(&mut self, issue: &Value, at: i64) -> bool {
        let edits = issue["node_id"].as_str().and_then(|id| self.edits.get_mut(id));
        let first = edits.and_then(|edits| edits.first_mut());
        first.map(|first| first.deleted_at = Some(at)).is_some()
    }
}

impl State {
    /// GraphQL's object of a comment, a review or an item, with the history of its text.
    pub(crate) fn with_edits(&self, repository: &Repository, mut node: Value) -> Value {
        let edits = match node["id"].as_str().and_then(|id| repository.edits.get(id)) {
            Some(kept) => kept.iter().map(|edit| self.shown_edit(edit)).collect(),
            None => edits_before(&node),
        };
        let last = edits.last().cloned().unwrap_or_default();
        let history = json!({
            "lastEditedAt": last["editedAt"],
            "editor": last["editor"],
            "includesCreatedEdit": !edits.is_empty(),
            "userContentEdits": connection(edits.into_iter().rev().collect()),
        });
        extend(&mut node, history);
        node
    }

    fn shown_edit(&self, edit: &Edit) -> Value {
        let by = actor(&self.show(edit.by.clone(), View::default()));
        let text = edit.deleted_at.is_none().then_some(edit.text.as_str());
        edit_object(edit.at, &by, text, edit.deleted_at)
    }
}

fn edit_object(at: i64, by: &Value, text: Option<&str>, deleted_at: Option<i64>) -> Value {
    json!({
        "__typename": "UserContentEdit",
        "createdAt": time(at),
        "editedAt": time(at),
        "updatedAt": time(deleted_at.unwrap_or(at)),
        "deletedAt": deleted_at.map(time),
        "editor": by,
        "diff": text,
    })
}

/// The versions of a text that nobody has edited since the world began.
fn edits_before(node: &Value) -> Vec<Value> {
    let at = |key: &str| node[key].as_str().and_then(seconds);
    let (Some(created), Some(body)) = (at("createdAt"), node["body"].as_str().filter(|body| !body.is_empty())) else {
        return Vec::new();
    };
    let is_item = [Kind::Issue, Kind::PullRequest].iter().any(|kind| node["__typename"] == typename(*kind));
    let edited = match node["number"].as_u64() {
        Some(number) if is_item => number.is_multiple_of(5).then_some(created + 3600),
        _ => at("updatedAt").filter(|updated| *updated > created),
    };
    let Some(edited) = edited else { return Vec::new() };
    let first = format!("{body}\n\n(as first written)");
    let by = &node["author"];
    vec![edit_object(created, by, Some(&first), None), edit_object(edited, by, Some(body), None)]
}

fn typename(kind: Kind) -> &'static str {
    match kind {
        Kind::Issue => "Issue",
        Kind::PullRequest => "PullRequest",
    }
}
